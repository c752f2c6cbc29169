package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

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
