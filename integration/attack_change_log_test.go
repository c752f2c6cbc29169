package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Everybody may write to tables of his own, and have it noted, of as many as he likes: what no view needs of the change log is deleted
// nonetheless, also where views read many partitions.
func TestTheChangeLogIsTrimmedWhateverManyTablesItTellsOf(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	a.as(`CREATE TABLE few (ts timestamptz)`)
	for i := range 20 {
		a.as(fmt.Sprintf(`INSERT INTO mvscheduler.views (name, method, time_column, bucket_width, query) VALUES ('few_%d', 'incremental', 'hour', '1 hour',
			'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM few WHERE mvscheduler.in_window(ts) GROUP BY 1')`, i))
	}
	const one = 16_000_000 // where no relation is
	pgtest.Exec(t, a.root,
		fmt.Sprintf(`INSERT INTO mvscheduler.increment_state (view_id, data, taken, seen_at, system_identifier, filled_from, leaves, tracking)
			SELECT p.view_id, p.relation, pg_current_snapshot(), now(), c.system_identifier, '-infinity', (SELECT jsonb_agg(jsonb_build_object('oid', %d + g)) FROM generate_series(1, 1000) AS g), 'trigger'
			  FROM mvscheduler.piece AS p, pg_control_system() AS c WHERE p.kind = 'data'`, one),
		fmt.Sprintf(`INSERT INTO mvscheduler.dirt (source, col, lo, hi, xid) SELECT (%d + g)::oid::regclass, -1, '-infinity', 'infinity', '3' FROM generate_series(1, 2000) AS g`, one),
		`SET statement_timeout = '15s'`, `SET enable_seqscan = off`, `SET jit = off`)
	gone, err := catalog.ForgetChanges(t.Context(), a.root, 5000)
	require.NoError(t, err)
	require.Equal(t, int64(2000), gone)
	pgtest.Exec(t, a.root, fmt.Sprintf(`INSERT INTO mvscheduler.dirt (source, col, lo, hi) SELECT (%d + g)::oid::regclass, -1, '-infinity', 'infinity' FROM unnest('{1, 1000, 1001}'::int[]) AS g`, one))
	require.Eventually(t, func() bool { // once no other transaction of the server is older
		_, err := catalog.ForgetChanges(t.Context(), a.root, 5000)
		require.NoError(t, err)
		return ask[int64](t, a.root, `SELECT count(*) FROM mvscheduler.dirt`) == 2
	}, patience, 50*time.Millisecond, "what a view may not have seen stays")
}
