// Package layout checks that the packages use each other only in the directions of ARCHITECTURE.md.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/mvscheduler/mvscheduler/"

// allowed says which packages of the module each package may import, tests aside.
var allowed = map[string][]string{
	"catalog/schedule":          {},
	"optimizer":                 {"catalog/schedule"},
	"optimizer/attribution":     {},
	"retention":                 {},
	"internal/pgexec":           {},
	"internal/pgserver":         {},
	"catalog":                   {"catalog/schedule"},
	"migrations":                {},
	"refresh":                   {"catalog", "internal/pgexec"},
	"jobs":                      {"catalog", "catalog/schedule", "refresh", "retention", "optimizer", "optimizer/attribution", "internal/pgexec"},
	"internal/words":            {"catalog", "catalog/schedule"},
	"internal/web/draw":         {},
	"internal/web":              {"catalog", "internal/doctor", "internal/words", "internal/web/draw"},
	"internal/doctor":           {"catalog", "refresh", "internal/words"},
	"internal/demo":             {"internal/pgserver", "catalog", "migrations"},
	"internal/pgtest":           {"internal/pgserver", "migrations"},
	"internal/pgtest/allowlist": {"internal/pgtest"},
	"internal/bench":            {"internal/pgserver", "migrations"},
	"internal/layout":           {},
	"integration":               {},
	"deploy":                    {},
}

// only says which packages may import a library, by the library's path prefix.
var only = map[string][]string{
	"github.com/riverqueue/river":         {"jobs", "migrations", "cmd/mvscheduler"},
	"riverqueue.com/riverui":              {"cmd/mvscheduler"},
	"github.com/alecthomas/kong":          {"cmd/mvscheduler"},
	"github.com/jedib0t/go-pretty":        {"cmd/mvscheduler"},
	"github.com/prometheus/client_golang": {"jobs", "internal/web", "cmd/mvscheduler"},
	"github.com/golang-migrate/migrate":   {"migrations"},
	"github.com/netresearch/go-cron":      {"catalog/schedule"},
	"github.com/testcontainers":           {"integration"},
	"github.com/sqlc-dev/oliphant":        {"internal/pgtest/allowlist", "optimizer/attribution"},
	"github.com/jackc/pgx/v5":             {"catalog", "refresh", "jobs", "migrations", "internal/pgexec", "internal/pgserver", "internal/pgtest", "internal/web", "internal/demo", "internal/doctor", "internal/bench", "cmd/mvscheduler", "integration"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...").Output()
	require.NoError(t, err)
	var all []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

func TestPackagesImportOnlyWhatTheArchitectureAllows(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		may, known := allowed[name]
		if !known && !strings.HasPrefix(name, "cmd/") {
			t.Errorf("%s is in no list of what a package may import", name)
		}
		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			if isOurs && strings.HasPrefix(ours, "cmd/") {
				t.Errorf("%s imports %s: nothing imports a command", name, ours)
			}
			if isOurs && known && !slices.Contains(may, ours) && !strings.HasPrefix(ours, name+"/") {
				t.Errorf("%s imports %s, which ARCHITECTURE.md does not allow", name, ours)
			}
			for library, who := range only {
				if strings.HasPrefix(imported, library) && !slices.Contains(who, name) {
					t.Errorf("%s imports %s, which only %v may", name, imported, who)
				}
			}
		}
	}
}

func TestPureCoresReachNoDatabaseDriver(t *testing.T) {
	t.Parallel()
	for _, core := range []string{"catalog/schedule", "optimizer", "retention"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+core).Output()
		require.NoError(t, err)
		require.NotContains(t, string(out), "github.com/jackc/pgx", "%s reaches a database driver", core)
	}
}

func TestEachPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{.Doc}}", module+"...").Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		path, doc, _ := strings.Cut(strings.TrimSpace(line), " ")
		if path == module+"internal/layout" {
			continue
		}
		if doc == "" {
			t.Errorf("%s has no package comment", path)
		}
	}
}
