package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A DROP ... CASCADE of a table that is joined takes the query of a view along, by which it is known what the view reads. Raw
// data that left then would be missing when the query is made again, and everything is computed.
func TestNothingLeavesBelowAViewOfWhichTheQueryWasDropped(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 6)
	const devices = `CREATE TABLE devices AS SELECT d AS id, 'site ' || d AS site FROM generate_series(1, 2) AS d`
	pgtest.Exec(t, s.alice, devices)
	s.incremental(t, "hourly", `SELECT date_trunc('hour', ts) AS hour, site, count(*) AS n, sum(value) AS total FROM readings JOIN devices ON id = device WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	s.snapshotOf(t, "hourly", "before")
	pgtest.Exec(t, s.alice, `DROP TABLE devices CASCADE`, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '2 days')`)
	stays := func() {
		t.Helper()
		out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run")
		require.Zero(t, out.code, out.stderr)
		require.Contains(t, out.stdout, "view "+s.owner+".hourly reads it, and its query was dropped")
		require.NotContains(t, out.stdout, " detach ")
	}
	stays()
	require.NotZero(t, mvscheduler(t, s.db, s.owner, "", "refresh", "--wait", "hourly").code)
	stays()
	found, _ := examine(t, s.db, "")
	require.Empty(t, about(found, "leftover"), "its triggers will be needed again")
	pruned := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
	require.Zero(t, pruned.code, pruned.stderr)
	require.Equal(t, int64(8), s.leaves(t))

	pgtest.Exec(t, s.alice, devices, `SELECT mvscheduler.resume_view('hourly')`)
	s.incremented(t, "hourly")
	until(t, s.alice, `SELECT count(*) < 8 FROM pg_inherits WHERE inhparent = 'readings'::regclass`)
	s.incremented(t, "hourly")
	require.Zero(t, s.lost(t, "before", "hourly", "true"))
}
