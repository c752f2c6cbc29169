package integration

import (
	"testing"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A query that does not ask in_window gives all its rows whatever the window is: none of them is strange.
func TestAViewWithoutAWindowIsComputedAlsoForARangeOfChanges(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	const all = `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n FROM metrics GROUP BY 1, 2`
	s.incremental(t, "v", all, "max_attempts", 1)
	s.incremental(t, "latest", all, "max_attempts", 1, "change_tracking", "none", "lateness", "100 years")
	startSidecar(t, s.db)
	s.incremented(t, "v", "latest")
	same(t, s.alice, "latest")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-01 10:05+00', 1, 100)`)
	s.incremented(t, "v", "latest")
	same(t, s.alice, "v")
	same(t, s.alice, "latest")
	pgtest.Exec(t, s.alice, `UPDATE v__data SET n = 0`, `SELECT mvscheduler.mark_dirty('v', '2026-01-01', '2026-12-31')`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `UPDATE v__data SET n = 0 WHERE hour = '2026-03-02 10:00+00'`, `SELECT mvscheduler.mark_dirty('v', '2026-03-02 10:00+00', '2026-03-02 10:30+00')`)
	s.incremented(t, "v")
	same(t, s.alice, "v")

	// Times that no window leaves out are in no bucket.
	pgtest.Exec(t, s.alice, `ALTER TABLE metrics ALTER ts DROP NOT NULL`, `INSERT INTO metrics VALUES ('infinity', 1, 1), ('-infinity', 1, 1), (NULL, 1, 1)`,
		`CREATE VIEW finite AS SELECT * FROM v`, `CREATE VIEW finite__query AS SELECT * FROM v__query WHERE isfinite(hour)`)
	s.incremented(t, "v")
	same(t, s.alice, "finite")
}
