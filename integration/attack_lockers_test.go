package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// From PostgreSQL 17 on, to print the bound of a partition takes a lock on it.
func TestWhoLocksAPartitionOfHisDoesNotStopTheCollector(t *testing.T) { // alone: samples and reads keep to the clock
	s := newScene(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, method) VALUES ('v', 'SELECT id, amount FROM sales', 'full')`)
	other := sceneOn(t, s.db)
	other.metrics(t)
	other.incremental(t, "w", hourly)
	side := startSidecar(t, s.db)
	other.incremented(t, "w")
	until(t, s.alice, `SELECT freshness = 'fresh' FROM mvscheduler.status WHERE name LIKE '%.v'`)
	reported(t, s.alice)
	require.Zero(t, side.stop())

	part := ask[string](t, other.alice, `SELECT relid::regclass::text FROM pg_partition_tree('w__data') WHERE isleaf LIMIT 1`)
	pgtest.Exec(t, other.alice, `BEGIN`, fmt.Sprintf(`LOCK TABLE %s IN ACCESS EXCLUSIVE MODE`, part))
	side = startSidecar(t, s.db, often...)
	collecting(t, s.root)
	s.readAndSampled(t, 3)
	require.Zero(t, side.stop())
	require.Equal(t, int64(3), ask[int64](t, s.root, usage, "v"))
}

// Nobody waits for them: the size of each would be waited for.
func TestWhoLocksManyTablesOfHisDoesNotKeepPartitionsOfOthers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE raw (ts timestamptz NOT NULL) PARTITION BY RANGE (ts)`, `CREATE TABLE raw_old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('raw', '100 years')`)
	other := sceneOn(t, s.db)
	const many = 45
	for i := range many {
		pgtest.Exec(t, other.alice, fmt.Sprintf(`CREATE TABLE log_%[1]d (ts timestamptz NOT NULL) PARTITION BY RANGE (ts)`, i), fmt.Sprintf(`CREATE TABLE log_%[1]d_old PARTITION OF log_%[1]d FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')`, i),
			fmt.Sprintf(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('log_%d', '100 years')`, i))
	}
	pgtest.Exec(t, other.alice, `BEGIN`)
	for i := range many {
		pgtest.Exec(t, other.alice, fmt.Sprintf(`LOCK TABLE log_%d_old IN ACCESS EXCLUSIVE MODE`, i))
	}
	side := startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = '1 day' WHERE "table" = 'raw'::regclass`)
	until(t, s.alice, `SELECT NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'raw'::regclass)`)
	require.NotContains(t, side.log.String(), "what retention concerns could not be looked at", "a round comes to its end")
}
