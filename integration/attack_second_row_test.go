package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What a view is not computed for any more stays, as it may never have seen it, also by another row of source_retention.
func TestASecondRowOfSourceRetentionLetsNothingGoThatAFrozenViewHasNotSeen(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]string{"by the same row": `SELECT`, "by a second row": `DELETE FROM mvscheduler.source_retention`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.readings(t, 9)
			s.incremental(t, "hourly", hourlyReadings)
			startSidecar(t, s.db)
			s.incremented(t, "hourly")
			const retention = `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days') ON CONFLICT DO NOTHING`
			pgtest.Exec(t, s.alice, retention)
			until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
			s.pruned(t)
			pgtest.Exec(t, s.alice, `DO $$ DECLARE d date := (now() AT TIME ZONE 'UTC')::date - 7; BEGIN
				EXECUTE format('CREATE TABLE backfilled PARTITION OF readings FOR VALUES FROM (%L) TO (%L)', d || ' 00:00+00', (d + 1) || ' 00:00+00'); END $$`,
				`INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '7 days' + interval '1 hour', 99, 99)`, between)
			s.incremented(t, "hourly")
			require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM hourly WHERE device = 99`), "frozen is frozen")
			pgtest.Exec(t, s.alice, retention)
			out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run", "-o", "json")
			require.Zero(t, out.code, out.stderr)
			require.Contains(t, out.stdout, "hourly is not recomputed below ")
			attached := ask[int64](t, s.alice, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'readings'::regclass`)
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = '2 days'`) // what leaves then tells that it was looked at
			until(t, s.alice, `SELECT count(*) < $1 FROM pg_inherits WHERE inhparent = 'readings'::regclass`, attached)
			s.pruned(t)
			require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM readings WHERE device = 99`))
		})
	}
}
