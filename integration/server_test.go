package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestAFullQueueOfNotificationsDoesNotStopRefreshes(t *testing.T) {
	t.Parallel()
	if pgtest.New(t).Version() < 170000 {
		t.Skip("before PostgreSQL 17 the queue holds 8 GB")
	}
	a := arm(t, pgtest.Dedicated(t, map[string]string{"max_notify_queue_pages": "64", "log_statement": "none"}))
	alice := a.victim()
	startSidecar(t, a.db)
	a.staysFresh(1)
	listener := a.db.Conn(t, a.mallory) // whose open transaction keeps what was notified since
	pgtest.Exec(t, listener, `LISTEN mine`, `BEGIN`, `SELECT 1`)
	for full := false; !full; {
		_, err := a.m.Exec(t.Context(), `SELECT pg_notify('mine', g || repeat('x', 7000)) FROM generate_series(1, 30) AS g`)
		full = err != nil
	}
	for range 10 {
		_, _ = a.m.Exec(t.Context(), `SELECT pg_notify('mine', 'x')`)
	}
	a.staysFresh(5)
	refreshed(t, alice, a.sql("alice.watched"))
	a.manual(alice, "alice.another", "SELECT 1 AS id")
	require.NoError(t, listener.Close(t.Context()))
	a.staysFresh(2)
}
