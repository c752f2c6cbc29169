package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What was restored its owner empties and uses for other times: it has not left once.
func TestWhatWasRestoredAndIsUsedForOtherTimesIsANewPartition(t *testing.T) {
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
	pgtest.Exec(t, s.alice, `ALTER TABLE readings DETACH PARTITION readings_m9`, `TRUNCATE readings_m9`, `DO $$ BEGIN
		EXECUTE format('ALTER TABLE readings ATTACH PARTITION readings_m9 FOR VALUES FROM (%L) TO (%L)', date_trunc('day', now(), 'UTC') - interval '20 days', date_trunc('day', now(), 'UTC') - interval '19 days'); END $$`,
		`INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '20 days', 7, 700)`)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET enabled = enabled`) // has it looked at once
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.kept WHERE detached_at IS NOT NULL AND relation = to_regclass($1))`, s.owner+".readings_m9__kept")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily WHERE device = 7`))
}
