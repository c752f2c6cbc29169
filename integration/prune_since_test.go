package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/retention"
)

// Everybody who uses the table waits while the plan is made anew, and a view that is refreshed once a day has a change log of a day:
// with 60 000 entries for 5 views readers waited for more than a second.
func TestUnderTheLocksOfADetachTheChangeLogIsReadFromWhereThePlanBeforeHasRead(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('readings', '6 days', false)`,
		`SELECT mvscheduler.pause_view('hourly')`, `INSERT INTO readings VALUES (now() - interval '8 days', 3, 1)`)
	dirt := func(q catalog.Querier) (int, string) {
		target, err := catalog.LoadPruneTarget(t.Context(), q, ask[int64](t, s.alice, `SELECT id FROM mvscheduler.source_retention`))
		require.NoError(t, err)
		facts, _, err := retention.Decode(target.Facts)
		require.NoError(t, err)
		require.Len(t, facts.Readers, 1)
		return len(facts.Readers[0].Dirt), target.Seen
	}
	known, seen := dirt(s.root)
	require.Equal(t, 1, known)
	require.NoError(t, pgx.BeginFunc(t.Context(), s.root, func(tx pgx.Tx) error {
		require.NoError(t, catalog.OnlySince(t.Context(), tx, seen))
		n, _ := dirt(tx)
		require.Zero(t, n)
		pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '7 days', 3, 1)`)
		n, _ = dirt(tx)
		require.Equal(t, 1, n)
		return nil
	}))
	n, _ := dirt(s.root)
	require.Equal(t, 2, n)
}

// What a table tells concerns all views that read it. It was read once for each: 7 000 changes for 60 views took seconds.
func TestThePlanReadsTheChangeLogOnceForAllViewsOfATable(t *testing.T) {
	t.Parallel()
	const views, changes = 12, 1000
	s := newScene(t)
	s.readings(t, 9)
	startSidecar(t, s.db)
	var names []string
	for i := range views {
		names = append(names, fmt.Sprintf("hourly%d", i))
		s.incremental(t, names[i], hourlyReadings)
	}
	s.incremented(t, names...)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('readings', '6 days', false)`,
		fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP INSERT INTO readings VALUES (now() - interval '7 days' + i %% 3 * interval '1 day', 3, 1); COMMIT; END LOOP; END $$`, changes))
	require.EqualValues(t, changes, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.dirt WHERE source = (SELECT relation FROM mvscheduler.source_state)`))
	for _, analyzed := range []bool{false, true} { // whatever the planner knows of it
		if analyzed {
			pgtest.Exec(t, s.root, `ANALYZE mvscheduler.dirt`)
		}
		require.NoError(t, pgx.BeginFunc(t.Context(), s.root, func(tx pgx.Tx) error {
			// which counts what the session has not told yet, too
			const counted = `SELECT coalesce(sum(seq_tup_read), 0) + coalesce(sum(idx_tup_fetch), 0) FROM pg_stat_xact_user_tables WHERE relid = 'mvscheduler.dirt'::regclass`
			before, began := ask[int64](t, s.root, counted), time.Now()
			target, err := catalog.LoadPruneTarget(t.Context(), tx, ask[int64](t, s.alice, `SELECT id FROM mvscheduler.source_retention`))
			require.NoError(t, err)
			took := time.Since(began)
			facts, _, err := retention.Decode(target.Facts)
			require.NoError(t, err)
			require.Len(t, facts.Readers, views)
			for _, r := range facts.Readers {
				require.GreaterOrEqual(t, len(r.Dirt), 3, r.Name)
			}
			read := ask[int64](t, s.root, counted) - before
			t.Logf("analyzed %t: %d rows read, %s", analyzed, read, took)
			require.LessOrEqual(t, read, int64(2*changes), "rows of the change log that were read for %d views", views)
			require.NoError(t, catalog.OnlySince(t.Context(), tx, target.Seen))
			before = ask[int64](t, s.root, counted)
			_, err = catalog.LoadPruneTarget(t.Context(), tx, target.ID)
			require.NoError(t, err)
			require.LessOrEqual(t, ask[int64](t, s.root, counted)-before, int64(2*changes), "and when they are known, in whatever way")
			return nil
		}))
	}
}
