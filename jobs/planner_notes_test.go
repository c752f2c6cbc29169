package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// watching calls a function for each record of a log.
type watching struct {
	slog.Handler
	see func(message string)
}

func (w watching) Handle(_ context.Context, r slog.Record) error {
	w.see(r.Message)
	return nil
}

// A go that is ended in its midst, by its patience or with its sidecar, would begin with the same views for ever.
func TestViewsThatWereThoughtAboutAreNotedBeforeTheGoIsOver(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (id bigint)`)
	const views = 2*noteAtOnce + 5
	for i := range views {
		pgtest.Exec(t, alice, fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v%d', 'SELECT id FROM t', '1 hour')`, i))
	}
	db.Exec(t, `INSERT INTO mvscheduler.view_usage (view_id, since, reads) SELECT view_id, now(), 0 FROM mvscheduler.view_state`)
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	root := db.Conn(t, "")
	var noted []int // before each view
	log := watching{slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}), func(message string) {
		if message == "thought about a view" {
			var n int
			require.NoError(t, root.QueryRow(t.Context(), `SELECT count(planned_at) FROM mvscheduler.view_usage`).Scan(&n))
			noted = append(noted, n)
		}
	}}
	p := &planner{pool: pool, log: slog.New(log), name: "test"}
	require.NoError(t, p.plan(t.Context(), evidence{level: "L0", words: "counters of scans", servers: 1}))
	require.Len(t, noted, views)
	for i, n := range noted {
		require.Equal(t, i/noteAtOnce*noteAtOnce, n)
	}
	var left int
	require.NoError(t, root.QueryRow(t.Context(), `SELECT count(*) FROM mvscheduler.view_usage WHERE planned_at IS NULL`).Scan(&left))
	require.Zero(t, left)
}

// Recommendations are written by twenties: one that cannot be written is said, and the others are there.
func TestARecommendationThatCannotBeWrittenTakesNoOtherWithIt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (id bigint)`)
	var th thoughts
	for _, name := range []string{"a", "b", "c"} {
		var id int64
		require.NoError(t, alice.QueryRow(t.Context(), `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ($1, 'SELECT id FROM t', '1 hour') RETURNING id`, name).Scan(&id))
		th.views, th.clocks = append(th.views, id), append(th.clocks, "of "+name)
		r := catalog.Recommendation{Kind: "interval", Current: "every 1 hour", Proposed: "every 2 hours", Evidence: map[string]any{"reads": 1}}
		if name == "b" {
			r.Kind = "no such kind"
		}
		th.advice = append(th.advice, catalog.Advice{ViewID: id, Name: name, Recommendations: []catalog.Recommendation{r}})
	}
	db.Exec(t, `INSERT INTO mvscheduler.view_usage (view_id, since, reads) SELECT view_id, now(), 0 FROM mvscheduler.view_state`)
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	p := &planner{pool: pool, log: slog.New(slog.DiscardHandler)}
	err = p.note(t.Context(), time.Now(), &th)
	require.ErrorContains(t, err, `write the recommendations for ["b"]`)
	require.NotContains(t, err.Error(), `"a"`)
	require.Empty(t, th.views)
	require.Empty(t, th.advice)
	root := db.Conn(t, "")
	var open string
	var noted int
	require.NoError(t, root.QueryRow(t.Context(), `SELECT string_agg(view_name || ' ' || state, ', ' ORDER BY view_name), (SELECT count(planned_at) FROM mvscheduler.view_usage WHERE thought LIKE 'of _') FROM mvscheduler.recommendation`).Scan(&open, &noted))
	require.Equal(t, "a proposed, c proposed", open)
	require.Equal(t, 3, noted)
}
