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
	s := restoredScene(t)
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

// What was restored its owner empties and uses for other times: it has not left once.
func TestWhatWasRestoredAndIsUsedForOtherTimesIsANewPartition(t *testing.T) {
	t.Parallel()
	s := restoredScene(t)
	pgtest.Exec(t, s.alice, `ALTER TABLE readings DETACH PARTITION readings_m9`, `TRUNCATE readings_m9`, `DO $$ BEGIN
		EXECUTE format('ALTER TABLE readings ATTACH PARTITION readings_m9 FOR VALUES FROM (%L) TO (%L)', date_trunc('day', now(), 'UTC') - interval '20 days', date_trunc('day', now(), 'UTC') - interval '19 days'); END $$`,
		`INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '20 days', 7, 700)`)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET enabled = enabled`) // has it looked at once
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.kept WHERE detached_at IS NOT NULL AND relation = to_regclass($1))`, s.owner+".readings_m9__kept")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily WHERE device = 7`))
}
