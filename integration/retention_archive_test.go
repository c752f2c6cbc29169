package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What one table has put aside its owner attaches to another one, an archive, which lets it go in its turn: the first one has it back as little as before.
func TestAPartitionThatAnotherTablePutsAsideWasNotRestoredToTheFirst(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	pgtest.Exec(t, s.alice, `CREATE TABLE young PARTITION OF raw FOR VALUES FROM ('2021-01-01') TO ('2199-01-01')`, `CREATE TABLE archive (LIKE raw) PARTITION BY RANGE (ts)`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept`)
	s.pruned(t)
	s.incremented(t, "v")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM v`))

	pgtest.Exec(t, s.alice, `ALTER TABLE archive ATTACH PARTITION `+ask[string](t, s.alice, `SELECT relation::text FROM mvscheduler.visible_kept`)+` FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('archive', '2 years')`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.pruning WHERE action = 'detach' AND name LIKE '%.archive'`)
	s.pruned(t)
	pgtest.Exec(t, s.root, `SELECT mvscheduler.thaw(f.target) FROM mvscheduler.frozen AS f`) // what the housekeeper does
	pgtest.Exec(t, s.root, everythingDirty)
	s.incremented(t, "v")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM v`), "the row of 2020 is in no partition of raw")

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('archive')`)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM archive`))
}
