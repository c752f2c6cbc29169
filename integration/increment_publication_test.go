package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Replication by Debezium and its like. What has no replica identity can neither be updated nor deleted from.
func TestAPublicationOfAllTablesStopsNothing(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `ALTER TABLE metrics REPLICA IDENTITY FULL`)
	s.incremental(t, "v", hourly)
	s.manage(t, "f", `SELECT device, count(*) AS n FROM metrics GROUP BY 1`, "refresh_interval", "1 day", "method", "concurrent")
	startSidecar(t, s.db)
	s.incremented(t, "v", "f")
	pgtest.Exec(t, s.root, `CREATE PUBLICATION everything FOR ALL TABLES`)
	pgtest.Exec(t, s.alice, `UPDATE metrics SET value = value + 1`)
	s.incremented(t, "v", "f")
	pgtest.Exec(t, s.alice, `DELETE FROM metrics WHERE device = 1`)
	s.incremented(t, "v", "f")
	same(t, s.alice, "v")
	without := ask[string](t, s.root, `SELECT coalesce(string_agg(c.oid::regclass::text, ', '), '') FROM pg_class AS c WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.relnamespace IN ('mvscheduler'::regnamespace, (SELECT relnamespace FROM pg_class WHERE relname = 'v__data'))
		AND c.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)`)
	require.Equal(t, s.owner+".v__data", without, "of a partitioned table nothing is deleted, only of its partitions")
	_, err := s.root.Exec(t.Context(), `DELETE FROM mvscheduler.dirt`)
	require.NoError(t, err, "the housekeeper")
}
