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

func TestAnEditAndARefreshTakeTheirLocksInOneOrder(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn, reader, root := db.Conn(t, alice), db.Conn(t, ""), db.Conn(t, "")
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, unique_key, method, refresh_interval, refresh_on, lock_timeout)
	                      VALUES ('v', 'SELECT 1 AS a', '{a}', 'full', NULL, 'manual', '1 minute')`)
	s := startSidecar(t, db)
	refreshed(t, conn, "v")
	pgtest.Exec(t, reader, `BEGIN`, `SELECT a FROM `+alice+`.v`)
	pgtest.Exec(t, conn, `SELECT mvscheduler.refresh_view('v')`)
	const waits = `SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND a.usename = $1`
	until(t, root, waits, s.role)
	edited := make(chan error, 1)
	ctx := t.Context()
	go func() {
		_, err := conn.Exec(ctx, `UPDATE mvscheduler.views SET query = 'SELECT 2 AS a', indexes = '{(a)}'`)
		edited <- err
	}()
	until(t, root, waits, alice)
	pgtest.Exec(t, reader, `COMMIT`) // the refresh has its lock on v and goes on to v__query, which the edit wants too
	require.NoError(t, <-edited)
	refreshed(t, conn, "v")
	require.Equal(t, 2, ask[int](t, conn, `SELECT a FROM v`))
	require.Zero(t, ask[int](t, root, `SELECT count(*)::int FROM mvscheduler.attempt WHERE sqlstate = '40P01'`))
}
