package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Partitions that are used again, as in a ring: taken out, emptied or given other times, and put back for other times before the view is refreshed.
func TestAPartitionThatComesBackForOtherTimesTakesItsOldRowsWithIt(t *testing.T) {
	t.Parallel()
	const (
		detach = `ALTER TABLE ring DETACH PARTITION slot`
		attach = `ALTER TABLE ring ATTACH PARTITION slot FOR VALUES FROM ('2026-03-08') TO ('2026-03-09')`
		later  = `UPDATE slot SET ts = ts + interval '7 days'`
	)
	for name, c := range map[string]struct {
		slot     string
		tracking string
		reuse    []string
	}{
		"emptied":             {``, "trigger", []string{detach, `TRUNCATE slot`, attach}},
		"emptied in one":      {``, "trigger", []string{`BEGIN`, detach, `TRUNCATE slot`, attach, `COMMIT`}},
		"filled":              {``, "trigger", []string{detach, `DELETE FROM slot`, attach, `INSERT INTO ring VALUES ('2026-03-08 10:00', 5)`}},
		"other times":         {``, "trigger", []string{detach, later, attach}},
		"other times, counts": {``, "counters", []string{detach, later, attach}},
		"with parts":          {` PARTITION BY LIST (k)`, "trigger", []string{detach, later, attach}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE ring (ts timestamptz NOT NULL, k int NOT NULL) PARTITION BY RANGE (ts)`,
				`CREATE TABLE slot PARTITION OF ring FOR VALUES FROM ('2026-03-01') TO ('2026-03-02')`+c.slot, `CREATE TABLE next PARTITION OF ring FOR VALUES FROM ('2026-03-02') TO ('2026-03-03')`)
			if c.slot != "" {
				pgtest.Exec(t, s.alice, `CREATE TABLE part PARTITION OF slot DEFAULT`)
			}
			pgtest.Exec(t, s.alice, `INSERT INTO ring VALUES ('2026-03-01 10:00', 1), ('2026-03-01 12:00', 2), ('2026-03-02 10:00', 3)`)
			s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, sum(k) AS n FROM ring WHERE mvscheduler.in_window(ts) GROUP BY 1`, "change_tracking", c.tracking)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			pgtest.Exec(t, s.alice, c.reuse...)
			s.counted(t)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			require.Contains(t, s.last(t, "v", "reason"), "2 ranges of times changed, from 2026-03-01 00:00:00 to 2026-03-09 00:00:00 UTC", "and not the partition between")
		})
	}
}

// What retention has put aside is emptied and attached for times to come: it was not brought back, and the views keep what they have of it.
func TestAPartitionThatWasPutAsideAndIsUsedForOtherTimesIsNotTakenForRestored(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]bool{"retention goes on": false, "retention ends": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.readings(t, 9)
			s.incremental(t, "hourly", hourlyReadings)
			startSidecar(t, s.db)
			s.incremented(t, "hourly")
			pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, olderThan(5)))
			until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
			s.pruned(t)
			s.incremented(t, "hourly")
			s.snapshotOf(t, "hourly", "before")

			newest := ask[string](t, s.root, `SELECT relation::text FROM mvscheduler.kept ORDER BY until DESC LIMIT 1`)
			pgtest.Exec(t, s.alice, `BEGIN`, `TRUNCATE `+newest, `ALTER TABLE readings ATTACH PARTITION `+newest+` FOR VALUES FROM ('2199-01-01') TO ('2199-01-02')`)
			if ends {
				pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.source_retention`)
			}
			pgtest.Exec(t, s.alice, `COMMIT`)
			pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES ('2199-01-01 10:00', 1, 1)`)
			if ends { // what the housekeeper does
				pgtest.Exec(t, s.root, `SELECT mvscheduler.thaw(target) FROM mvscheduler.frozen`)
			}
			pgtest.Exec(t, s.root, everythingDirty)
			s.incremented(t, "hourly")
			require.Zero(t, s.lost(t, "before", "hourly", "true"))
			require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM hourly WHERE hour > '2199-01-01'`))
			require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'restore'`))

			if !ends { // and what is still aside comes back as it was
				require.Equal(t, catalog.Reused, ask[string](t, s.root, `SELECT reason FROM mvscheduler.pruning WHERE action = 'drop'`))
				pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`)
				pgtest.Exec(t, s.root, everythingDirty)
				s.incremented(t, "hourly")
				require.Zero(t, s.lost(t, "before", "hourly", "true"))
				require.Equal(t, int64(3), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'restore'`))
			}
		})
	}
}

// Who brings partitions back asks whether his own has come back: one that its owner uses for other times has not.
func TestAPartitionThatIsUsedForOtherTimesIsNotCountedAsRestored(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	worker := startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, olderThan(5)))
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	worker.kill()
	newest := ask[string](t, s.root, `SELECT relation::text FROM mvscheduler.kept ORDER BY until DESC LIMIT 1`)
	pgtest.Exec(t, s.alice, `TRUNCATE `+newest, `ALTER TABLE readings ATTACH PARTITION `+newest+` FOR VALUES FROM ('2199-01-01') TO ('2199-01-02')`)
	restored := func() int64 {
		n, err := catalog.NoteRestored(t.Context(), s.root, ask[int64](t, s.root, `SELECT id FROM mvscheduler.source_state`), nil, catalog.ByOwner)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, restored())
	require.Equal(t, catalog.Reused, ask[string](t, s.root, `SELECT reason FROM mvscheduler.pruning WHERE action = 'drop'`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_partitions(r.id, (SELECT k.relation::oid FROM mvscheduler.visible_kept AS k ORDER BY k.bound LIMIT 1)) FROM mvscheduler.source_retention AS r`)
	require.Equal(t, int64(1), restored())
}
