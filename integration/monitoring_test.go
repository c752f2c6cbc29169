package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const (
	rulesFile     = "../deploy/prometheus/mvscheduler.rules.yml"
	dashboardFile = "../deploy/grafana/mvscheduler.json"
)

func TestRulesAndDashboardUseOnlyMetricsThatTheSidecarHas(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	s := startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	var metrics string
	require.Eventually(t, func() bool { // a commit is seen before it is counted
		_, metrics = s.get("/metrics")
		return strings.Contains(metrics, "mvscheduler_refresh_duration_seconds_bucket")
	}, patience, 50*time.Millisecond)
	used := regexp.MustCompile(`mvscheduler_[a-z_]+`)
	for _, file := range []string{rulesFile, dashboardFile} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		names := used.FindAllString(string(text), -1)
		require.NotEmpty(t, names)
		for _, name := range names {
			require.True(t, strings.Contains(metrics, "\n"+name+"{") || strings.Contains(metrics, "\n"+name+" "), "%s: there is no metric %s", file, name)
		}
	}
	for _, name := range []string{ // of the contract
		"view_lag_seconds", "view_target_seconds", "refresh_duration_seconds_bucket", "refresh_total", "slots_missed_total", "lock_wait_seconds_bucket",
		"dispatch_delay_seconds_bucket", "queue_depth", "lost_attempts_total", "pruned_partitions_total", "build_info",
	} {
		require.True(t, strings.Contains(metrics, "\nmvscheduler_"+name), name)
	}
}

type dashboard struct {
	UID    string
	Panels []struct {
		Title, Description string
		GridPos            struct{ W, H, X, Y int }
		Targets            []struct{ Expr string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &d))
	return d
}

func (d dashboard) queries() (all []string) {
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

func TestTheDashboardLoadsAndItsPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	dashboard := readDashboard(t)
	require.Equal(t, "mvscheduler", dashboard.UID)
	taken := map[[2]int]string{}
	for _, p := range dashboard.Panels {
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s lies over another panel", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func TestPrometheusTakesTheRulesAndTheMetrics(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (package prometheus)")
	}
	out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", rulesFile).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "SUCCESS: 9 rules found")
	out, err = exec.CommandContext(t.Context(), promtool, "check", "rules", rulesOfDashboard(t)).CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.CommandContext(t.Context(), promtool, "test", "rules", strings.Replace(rulesFile, ".yml", ".test.yml", 1)).CombinedOutput()
	require.NoError(t, err, string(out))

	s := startSidecar(t, pgtest.New(t))
	_, metrics := s.get("/metrics")
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(metrics)
	out, err = check.CombinedOutput()
	require.NoError(t, err, string(out))
}

// rulesOfDashboard writes the queries of the dashboard as rules, which promtool parses.
func rulesOfDashboard(t *testing.T) (file string) {
	t.Helper()
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for i, expr := range readDashboard(t).queries() {
		rules = append(rules, rule{fmt.Sprintf("query%d", i), expr})
	}
	require.NotEmpty(t, rules)
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}}) // JSON is YAML
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "rules.yml")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}
