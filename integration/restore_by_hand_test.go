package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What was restored its owner detaches by hand, and younger ones leave meanwhile. When he attaches it again, with other rows, no view
// follows it: it is not what has left once and was taken by all.
func TestWhatIsDetachedByHandAfterItWasRestoredAndComesBackBelowTheFrozenHorizonStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.chain(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '`+olderThan(7)+`')`)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`)
	s.incremented(t, "hourly", "daily")
	bound := ask[string](t, s.alice, `SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'readings_m9'::regclass`)
	pgtest.Exec(t, s.alice, `ALTER TABLE readings DETACH PARTITION readings_m9`, `ALTER TABLE readings DETACH PARTITION readings_m8`)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = '`+olderThan(5)+`'`)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `INSERT INTO readings_m9 SELECT min(ts), 7, 700 FROM readings_m9`, `ALTER TABLE readings ATTACH PARTITION readings_m9 `+bound, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	s.incremented(t, "hourly", "daily")
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.pruning WHERE action = 'drop'`)
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
	require.Zero(t, out.code, out.stderr)
	require.Regexp(t, `m9 .*keep .*hourly is not recomputed below \S+ any more and may never have seen its rows: when they are not needed, drop it by hand`, out.stdout)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM readings WHERE device = 7`))
}
