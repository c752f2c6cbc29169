package catalog_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// It takes minutes to think about a thousand views, and what was thought of a row that was written meanwhile is not put in force.
func TestNothingIsAppliedThatWasTakenBackLatelyOrToARowThatWasWrittenSinceItWasLoaded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval, optimize) VALUES ('v', 'SELECT 1 AS k', '1 hour', 'auto')`)
	db.Exec(t, `INSERT INTO mvscheduler.view_usage (view_id, since, reads) SELECT view_id, now(), 0 FROM mvscheduler.view_state`)
	worker, root := db.Conn(t, db.Worker(t)), db.Conn(t, "")
	applied := func(meanwhile string) (n int) {
		t.Helper()
		_, views, err := catalog.LoadOptimizer(t.Context(), worker)
		require.NoError(t, err)
		require.Len(t, views, 1)
		pgtest.Exec(t, alice, meanwhile)
		require.NoError(t, pgx.BeginFunc(t.Context(), worker, func(tx pgx.Tx) error {
			ids, err := catalog.Recommend(t.Context(), tx, views[0].Advised(catalog.Recommendation{
				Kind: "interval", Current: "every 1 hour", Proposed: "every 2 hours", Reason: "v: every 2 hours", Evidence: map[string]any{"reads": 1}, Apply: new(2 * time.Hour),
			}))
			n = len(ids)
			return err
		}))
		return n
	}
	tuned := func() (interval string) {
		t.Helper()
		require.NoError(t, root.QueryRow(t.Context(), `SELECT coalesce(tuned_interval::text, 'none') FROM mvscheduler.view_state`).Scan(&interval))
		return interval
	}
	require.Zero(t, applied(`UPDATE mvscheduler.views SET timezone = 'Asia/Tokyo'`))
	require.Equal(t, "none", tuned())
	for _, state := range []string{"undone", "rejected"} { // another one of the kind, which no person wanted
		db.Exec(t, `
INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, evidence, state, decided_at)
SELECT view_id, name, 'interval', 'every 1 hour', 'every 3 hours', '', '', '{}', '`+state+`', now() - interval '29 days' FROM mvscheduler.view_state`)
		require.Zero(t, applied(`SELECT 1`), state)
		require.Equal(t, "none", tuned())
		db.Exec(t, `UPDATE mvscheduler.recommendation SET decided_at = now() - interval '31 days' WHERE state = '`+state+`'`)
	}
	require.Equal(t, 1, applied(`SELECT 1`))
	require.Equal(t, "02:00:00", tuned())
}
