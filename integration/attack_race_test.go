package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What somebody else decides in a transaction that is open is found when it ends, and the bounds are those of then.
func TestWhoeverAcceptsAShorterRetentionWaitsForWhomChangesItsBounds(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := keeping(t)
	s.readForYears(t, "v", 1, 2, 4, 7, 8, 10)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET shrink_since = now() - interval '60 days'`)
	require.Equal(t, "50 days are kept -> keep 40 days proposed", s.retention(t, "v"))
	colleague := s.db.Conn(t, s.owner)
	pgtest.Exec(t, colleague, `BEGIN`, `UPDATE mvscheduler.views SET min_retention = '45 days'`)
	pid := ask[int](t, s.alice, `SELECT pg_backend_pid()`)
	pgtest.Exec(t, s.alice, `SET lock_timeout = 0`)
	accepted := make(chan error, 1)
	go func() {
		_, err := s.alice.Exec(t.Context(), `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'retention'`)
		accepted <- err
	}()
	until(t, s.root, `SELECT cardinality(pg_blocking_pids($1::int)) > 0`, pid)
	pgtest.Exec(t, colleague, `COMMIT`)
	select {
	case err := <-accepted:
		require.ErrorContains(t, err, "it is shorter than min_retention by now")
	case <-time.After(time.Minute):
		t.Fatal("it waits for ever")
	}
	require.Equal(t, "50 days", ask[string](t, s.alice, `SELECT retention_period::text FROM mvscheduler.views`))
}
