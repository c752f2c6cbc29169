package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Whoever makes a view that takes all the time there is takes it from others once a day, and not in each hour.
func TestAViewThatTakesAllTheTimeDoesNotComeFirstForEver(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (id bigint)`)
	for i := range 3 {
		pgtest.Exec(t, alice, fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v%d', 'SELECT id FROM t', '1 hour')`, i))
	}
	db.Exec(t, `INSERT INTO mvscheduler.view_usage (view_id, since, reads) SELECT view_id, now() - interval '40 days', 1000 FROM mvscheduler.view_state`)
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	root := db.Conn(t, "")
	lock := db.Conn(t, "")
	pgtest.Exec(t, lock, `BEGIN`, `LOCK TABLE mvscheduler.sampled_days`) // it takes for ever to read the samples of a view
	p := &planner{pool: pool, log: slog.New(slog.DiscardHandler), name: "test", patience: time.Second}
	for n := range 3 {
		require.ErrorIs(t, p.plan(t.Context(), evidence{level: "L0", servers: 1}), context.DeadlineExceeded)
		var noted int
		require.NoError(t, root.QueryRow(t.Context(), `SELECT count(planned_at) FROM mvscheduler.view_usage`).Scan(&noted))
		require.Equal(t, n+1, noted)
	}
	pgtest.Exec(t, lock, `ROLLBACK`)
}

func BenchmarkWhatIsAboveAChainOfViews(b *testing.B) {
	upstream := make(map[int64][]int64)
	for i := int64(2); i <= 5000; i++ {
		upstream[i] = []int64{i - 1}
	}
	for b.Loop() {
		require.Len(b, withAbove(1, upstream), 5000)
	}
}
