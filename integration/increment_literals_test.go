package integration

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// plans are those of statements that computed a query, as the server planned them, in the order of their ends.
func (s *scene) plans(t testing.TB) (plans []string) {
	t.Helper()
	file, err := os.Open(s.db.LogFile())
	require.NoError(t, err)
	defer file.Close()
	lines, err := pgtest.ReadLog(file, func(l pgtest.LogLine) bool {
		return l.Database == s.db.Name && l.Application == "mvscheduler run" && strings.Contains(l.Message, " plan:")
	})
	require.NoError(t, err)
	for _, l := range lines {
		if _, plan, found := strings.Cut(l.Message, "Query Text: "); found {
			plans = append(plans, plan)
		}
	}
	return plans
}

// Of a table with a thousand leaves a step plans the few that its window has, by literals: neither is a plan of all of them made and
// pruned when it runs, nor is a function called for each row.
func TestBelowAThousandLeavesStepsArePlannedWithLiteralsAndFewLeaves(t *testing.T) {
	heavy(t)
	t.Parallel()
	const parts = 1000
	s := newScene(t)
	s.manyParts(t, parts)
	pgtest.Exec(t, s.alice, `CREATE INDEX ON raw (ts)`)
	_, err := s.root.Exec(t.Context(), `LOAD 'auto_explain'`)
	var missing *pgconn.PgError
	if errors.As(err, &missing) && missing.Code == "58P01" {
		t.Skipf("the contrib modules of this PostgreSQL are not installed, and auto_explain is one: %v", err)
	}
	require.NoError(t, err)
	for _, setting := range []string{`session_preload_libraries = 'auto_explain'`, `auto_explain.log_min_duration = 0`, `auto_explain.log_nested_statements = on`} {
		pgtest.Exec(t, s.root, `ALTER DATABASE `+s.db.Name+` SET `+setting)
	}
	const query = `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`
	cut := map[string]string{"v": query, "binned": strings.Replace(query, "date_trunc('hour', ts)", "date_bin('1 hour', ts, '2000-01-01 00:30+00')", 1)} // with exact edges, and without
	for view, query := range cut {
		s.incremental(t, view, query, "change_tracking", "none", "lateness", "1 hour", "refresh_on", "manual")
	}
	startSidecar(t, s.db)
	s.incremented(t, "v", "binned")
	leaf := regexp.MustCompile(` on (?:\S+\.)?(p\d+)\b`)
	// Of the plans since the first ones, those that read leaves and are none of a search for the oldest and the newest row.
	reading := func(begins string, since int) (found []string) {
		for _, plan := range s.plans(t)[since:] {
			if strings.HasPrefix(plan, begins) && leaf.MatchString(plan) {
				found = append(found, plan)
			}
		}
		return found
	}
	leaves := func(plan string) []string {
		var names []string
		for _, m := range leaf.FindAllStringSubmatch(plan, -1) {
			names = append(names, m[1])
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	literal := func(plan string) {
		t.Helper()
		require.NotContains(t, plan, "window_start", "a function is asked as the plan runs")
		require.NotContains(t, plan, "window_end")
		require.NotContains(t, plan, "Subplans Removed", "leaves are pruned as the plan runs")
		require.Regexp(t, `ts >= '[^']+'::timestamp with time zone`, plan)
	}
	built := reading("CREATE TABLE", 0)
	require.GreaterOrEqual(t, len(built), 20, "months are filled one by one")
	for _, plan := range built {
		literal(plan)
		require.LessOrEqual(t, len(leaves(plan)), 31+3, plan)
	}
	since := len(s.plans(t))
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES (now(), 99, 1)`)
	s.incremented(t, "v", "binned")
	for view := range cut {
		require.Equal(t, int64(1), ask[int64](t, s.alice, fmt.Sprintf(`SELECT count(*) FROM %s WHERE device = 99`, view)))
	}
	computed := reading("", since)
	require.NotEmpty(t, computed)
	for _, plan := range computed {
		literal(plan)
		require.LessOrEqual(t, len(leaves(plan)), 3, plan)
	}
}
