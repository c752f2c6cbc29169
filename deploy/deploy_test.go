package deploy

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// documents reads the YAML documents of a file; a key given twice is an error.
func documents(t *testing.T, path string) []map[string]any {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	var all []map[string]any
	for decoder := yaml.NewDecoder(file, yaml.Strict()); ; {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err, path)
		all = append(all, document)
	}
}

// at follows keys and indexes down a document; nil where something is missing.
func at(node any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := node.(map[string]any)
			node = m[step]
		case int:
			list, _ := node.([]any)
			if step >= len(list) {
				return nil
			}
			node = list[step]
		}
	}
	return node
}

func TestPodsRunWithoutAnyRight(t *testing.T) {
	t.Parallel()
	pods := 0
	for _, file := range []string{"kubernetes/mvscheduler.yaml", "kubernetes/migrate.yaml"} {
		for _, document := range documents(t, file) {
			pod := at(document, "spec", "template", "spec")
			if pod == nil {
				continue
			}
			pods++
			require.Equal(t, true, at(pod, "securityContext", "runAsNonRoot"))
			require.EqualValues(t, 65532, at(pod, "securityContext", "runAsUser"), "the user of the image")
			require.Equal(t, "RuntimeDefault", at(pod, "securityContext", "seccompProfile", "type"))
			require.Equal(t, false, at(pod, "automountServiceAccountToken"))
			for _, no := range []string{"hostNetwork", "hostPID", "hostIPC"} {
				require.Nil(t, at(pod, no))
			}
			require.Len(t, at(pod, "containers"), 1)
			container := at(pod, "containers", 0)
			require.Equal(t, map[string]any{
				"allowPrivilegeEscalation": false,
				"readOnlyRootFilesystem":   true,
				"capabilities":             map[string]any{"drop": []any{"ALL"}},
			}, at(container, "securityContext"))
			require.NotNil(t, at(container, "resources", "limits", "memory"))
			env, _ := at(container, "env").([]any)
			for _, variable := range env {
				if at(variable, "name") == "DATABASE_URL" {
					require.NotNil(t, at(variable, "valueFrom", "secretKeyRef", "key"))
					require.Nil(t, at(variable, "value"))
				}
			}
		}
	}
	require.Equal(t, 2, pods)
}

func TestTheDeploymentRollsWithoutAGapAndItsProbesAskTheRightPages(t *testing.T) {
	t.Parallel()
	kinds := map[string]any{}
	for _, document := range documents(t, "kubernetes/mvscheduler.yaml") {
		kinds[document["kind"].(string)] = document
	}
	deployment := kinds["Deployment"]
	require.EqualValues(t, 2, at(deployment, "spec", "replicas"))
	require.EqualValues(t, 0, at(deployment, "spec", "strategy", "rollingUpdate", "maxUnavailable"))
	require.Greater(t, at(deployment, "spec", "template", "spec", "terminationGracePeriodSeconds"), uint64(20), "--grace is 20 s")
	labels := at(deployment, "spec", "template", "metadata", "labels")
	require.Equal(t, labels, at(deployment, "spec", "selector", "matchLabels"))
	require.Equal(t, labels, at(kinds["PodDisruptionBudget"], "spec", "selector", "matchLabels"))
	require.EqualValues(t, 1, at(kinds["PodDisruptionBudget"], "spec", "minAvailable"))
	require.Equal(t, labels, at(kinds["Service"], "spec", "selector"))

	container := at(deployment, "spec", "template", "spec", "containers", 0)
	for probe, page := range map[string]string{"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
		require.Equal(t, map[string]any{"path": page, "port": "http"}, at(container, probe, "httpGet"), probe)
	}
	patience := at(container, "startupProbe", "periodSeconds").(uint64) * at(container, "startupProbe", "failureThreshold").(uint64)
	require.Greater(t, patience, uint64(60), "serve waits a minute for its database")
}

func TestComposeGivesNoServiceMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	all := documents(t, "../docker-compose.yml")
	require.Len(t, all, 1)
	services := at(all[0], "services").(map[string]any)
	require.Len(t, services, 6)
	withPassword := regexp.MustCompile(`://[^/@:]*:[^/@]*@`)
	for name, service := range services {
		require.Equal(t, true, at(service, "read_only"), name)
		require.Equal(t, []any{"ALL"}, at(service, "cap_drop"), name)
		require.Equal(t, []any{"no-new-privileges:true"}, at(service, "security_opt"), name)
		for _, no := range []string{"privileged", "cap_add", "pid", "ipc", "devices"} {
			require.Nil(t, at(service, no), "%s: %s", name, no)
		}
		require.Contains(t, []any{nil, "none"}, at(service, "network_mode"), name)
		ports, _ := at(service, "ports").([]any)
		for _, port := range ports {
			require.True(t, strings.HasPrefix(port.(string), "127.0.0.1:"), "%s publishes %s", name, port)
		}
		environment, _ := at(service, "environment").(map[string]any)
		for key, value := range environment {
			require.False(t, strings.Contains(key, "PASSWORD") && !strings.HasSuffix(key, "_FILE"), "%s: %s", name, key)
			text, _ := value.(string)
			require.NotRegexp(t, withPassword, text, name)
		}
		if name == "db" || name == "prepare" {
			continue
		}
		networks, _ := at(service, "networks").([]any)
		require.Contains(t, networks, "database", name)
	}
	require.Equal(t, []any{"database"}, at(services, "db", "networks"))
	require.Equal(t, true, at(all[0], "networks", "database", "internal"))

	require.Equal(t, "postgres://mvscheduler_sidecar@db/app", at(services, "mvscheduler", "environment", "DATABASE_URL"))
	volumes, _ := at(services, "mvscheduler", "volumes").([]any)
	require.False(t, slices.ContainsFunc(volumes, func(v any) bool { return strings.HasPrefix(v.(string), "admin:") }), "the sidecar sees no password of a superuser")
	for service, waits := range map[string][2]string{
		"db": {"prepare", "service_completed_successfully"}, "migrate": {"db", "service_healthy"},
		"roles": {"migrate", "service_completed_successfully"}, "mvscheduler": {"roles", "service_completed_successfully"},
		"sample": {"roles", "service_completed_successfully"},
	} {
		require.Equal(t, waits[1], at(services, service, "depends_on", waits[0], "condition"), service)
	}
}

func TestTheImageIsOneBinaryOfNobody(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	stages := strings.Split(string(content), "\nFROM ")
	final := stages[len(stages)-1]
	require.Contains(t, stages[0], "ARG RUNTIME_IMAGE=scratch\n")
	require.True(t, strings.HasPrefix(final, "${RUNTIME_IMAGE}\n"))
	require.Contains(t, final, "\nUSER 65532:65532\n")
	require.Contains(t, final, `CMD ["/mvscheduler", "health"]`)
	require.NotContains(t, final, "\nRUN ")
	require.Contains(t, stages[1], "CGO_ENABLED=0")
}

func TestEveryPackageOfTheProgramReachesTheBuildOfTheImage(t *testing.T) {
	t.Parallel()
	ignore, err := os.ReadFile("../.dockerignore")
	require.NoError(t, err)
	const module = "github.com/mvscheduler/mvscheduler/"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"cmd/mvscheduler").Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		if ours, ok := strings.CutPrefix(strings.TrimSpace(line), module); ok {
			folder, _, _ := strings.Cut(ours, "/")
			require.Contains(t, strings.Split(string(ignore), "\n"), "!"+folder)
		}
	}
}

func TestSystemdTakesTheUnitAndFindsItHardened(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile("systemd/mvscheduler.service")
	require.NoError(t, err)
	for _, line := range []string{"DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "KillMode=mixed", "EnvironmentFile=/etc/mvscheduler/mvscheduler.env"} {
		require.Contains(t, strings.Split(string(unit), "\n"), line)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not on this machine")
	}
	// It looks for the program, which is not installed here.
	installed := strings.Replace(string(unit), "ExecStart=/usr/local/bin/mvscheduler", "ExecStart=/bin/true", 1)
	path := filepath.Join(t.TempDir(), "mvscheduler.service")
	require.NoError(t, os.WriteFile(path, []byte(installed), 0o600))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", path).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "mvscheduler.service:", "nothing about the unit itself")
	// Exposure from 0 (best) to 10; in tenths with --threshold.
	out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", path).CombinedOutput()
	if err != nil && strings.Contains(string(out), "unrecognized option") {
		t.Skip("this systemd-analyze cannot rate a file")
	}
	require.NoError(t, err, string(out))
}
