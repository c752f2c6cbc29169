package integration

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// An owner changes the row while the sidecar thinks about what it said: what comes of that is not put in force.
func TestWhatWasChangedSinceItWasThoughtAboutIsNotTuned(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ change, in string }{
		"interval":  {`refresh_interval = '5 minutes'`, `tuned_interval IS NOT NULL`},
		"timezone":  {`timezone = 'Asia/Tokyo'`, `tuned_interval IS NOT NULL`},
		"retention": {`retention_period = '10 days'`, `retention_period > row_retention`},
		"nothing":   {``, `tuned_interval IS NOT NULL AND retention_period > row_retention`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `CREATE TABLE events (ts timestamptz, n int)`,
				`INSERT INTO mvscheduler.views (name, query, refresh_interval, timezone, optimize, time_column, retention_period, max_retention) VALUES ('v', 'SELECT ts, n FROM events', '15 minutes', 'UTC', 'auto', 'ts', '30 days', '90 days')`)
			pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.view_usage (view_id, since) SELECT view_id, now() - interval '60 days' FROM mvscheduler.view_state`)
			_, views, err := catalog.LoadOptimizer(t.Context(), s.root)
			require.NoError(t, err)
			require.Len(t, views, 1)
			if c.change != "" {
				pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET `+c.change)
			}
			every, keep := 30*time.Minute, 60*24*time.Hour
			recommendation := func(kind, proposed string) catalog.Recommendation {
				return catalog.Recommendation{Kind: kind, Current: "this", Proposed: proposed, Basis: map[string]*string{}, Change: map[string]*string{}, Evidence: map[string]any{}}
			}
			interval, longer := recommendation("interval", "that"), recommendation("retention", "more")
			interval.Apply, longer.Keep = &every, &keep
			require.NoError(t, pgx.BeginFunc(t.Context(), s.root, func(tx pgx.Tx) error {
				_, err := catalog.Recommend(t.Context(), tx, views[0].Advised(interval, longer))
				return err
			}))
			require.Equal(t, c.change == "", ask[bool](t, s.root, `SELECT `+c.in+` FROM mvscheduler.view_state`))
			want := int64(0)
			if c.change == "" {
				want = 2
			}
			require.Equal(t, want, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.recommendation WHERE state = 'applied'`))
		})
	}
}

// The planner says every day what is still true. Where none ran for long nobody knows, and a person does not do what was true once.
func TestWhatNobodyFoundTrueForAWeekIsNotAccepted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	s.recommended(t)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET seen_at = now() - interval '8 days'`)
	requireSQLState(t, s.alice, "55000", `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
	out := mvscheduler(t, s.db, s.owner, "", "recommend", "accept", "1")
	require.NotZero(t, out.code)
	require.Contains(t, out.stderr, "was found true last")
	require.Equal(t, "proposed", ask[string](t, s.alice, `SELECT state FROM mvscheduler.recommendations`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.snooze_recommendation(id, now() + '1 day') FROM mvscheduler.recommendations`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET seen_at = now() - interval '6 days'`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET seen_at = now() - interval '60 days'`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations`)
}
