package integration

import (
	"testing"

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
