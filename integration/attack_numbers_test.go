package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Arithmetic on what is no number, or has no end, makes nonsense of every view.
func TestSettingsOfTheOptimizerAreNumbersWithAnEnd(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, set := range []string{`optimizer_budget = 'NaN'`, `optimizer_budget = 'Infinity'`, `optimizer_budget = -1`, `optimizer_budget = 0`, `optimizer_target = '1000000 years'`, `optimizer_target = '-1 day'`} {
		requireSQLState(t, s.root, "23514", `UPDATE mvscheduler.settings SET `+set)
	}
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET optimizer_budget = 64, optimizer_target = '10 years'`)
}

// Spans that are longer than a computer's are bounds as well: nothing leaves sooner for it, no sidecar ends, and pages show them.
func TestBoundsOfManyYearsAreBounds(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "refresh_interval", "1 hour", "optimize", "auto", "min_interval", "1 minute", "max_interval", "3653 days", "min_retention", "4000 years", "max_retention", "100000000 years")
	side := startSidecar(t, s.db, often...)
	refreshed(t, s.alice, "v")
	s.history(t, "v", 160, "true")
	s.planned(t)
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(planned_at) FROM mvscheduler.view_usage`))
	for _, path := range []string{"/", "/views", "/views/" + s.owner + ".v", "/recommendations", "/api/v1/views/" + s.owner + ".v"} {
		code, body := side.get(path)
		require.Equal(t, 200, code, body)
	}
	for _, args := range [][]string{{"show", s.owner + ".v"}, {"recommend", "report"}, {"export"}} {
		out := mvscheduler(t, s.db, s.owner, "", args...)
		require.Zero(t, out.code, out.stderr)
	}
}
