package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

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
	const views, atMost = 45, 20
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
		require.Less(t, i-n, atMost, "views that were thought about and are not noted")
	}
	var left int
	require.NoError(t, root.QueryRow(t.Context(), `SELECT count(*) FROM mvscheduler.view_usage WHERE planned_at IS NULL`).Scan(&left))
	require.Zero(t, left)
}
