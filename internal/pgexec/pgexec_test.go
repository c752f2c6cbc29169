package pgexec_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgexec"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/internal/pgtest/allowlist"
)

func TestMain(m *testing.M) { pgtest.Main(m, allowlist.SearchShared(1)) }

type bundle struct {
	db    *pgtest.DB
	alice *pgx.Conn
	owner string
	pool  *pgexec.Pool
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := pgtest.New(t)
	db.LogParsing(t)
	b := &bundle{db: db, owner: db.User(t, "alice")}
	b.alice = db.Conn(t, b.owner)
	pool, err := pgexec.NewPool(t.Context(), db.URLAs(db.Worker(t)), pgexec.Config{MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	b.pool = pool
	return b
}

// view makes a populated materialized view that the worker may refresh.
func (b *bundle) view(t *testing.T, name, query string) pgexec.Target {
	t.Helper()
	pgtest.Exec(t, b.alice, "CREATE MATERIALIZED VIEW "+name+" AS "+query)
	if b.db.Version() >= 170000 {
		pgtest.Exec(t, b.alice, "GRANT MAINTAIN ON "+name+" TO mvscheduler_worker")
	}
	pgtest.Exec(t, b.alice, "GRANT USAGE ON SCHEMA "+b.owner+" TO mvscheduler_worker")
	return b.target(t, name)
}

func (b *bundle) target(t *testing.T, name string) pgexec.Target {
	t.Helper()
	var target pgexec.Target
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT c.oid, c.relowner FROM pg_class AS c WHERE c.oid = $1::text::regclass`, name).Scan(&target.OID, &target.Owner))
	return target
}

func (b *bundle) session(t *testing.T) *pgexec.Session {
	t.Helper()
	s, err := b.pool.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(s.Release)
	return s
}

func refresh(t *testing.T, s *pgexec.Session, target pgexec.Target, concurrently bool) error {
	t.Helper()
	return s.InTx(t.Context(), pgexec.Settings{LockTimeout: time.Second}, func(tx *pgexec.Tx) error {
		return tx.Refresh(t.Context(), target, concurrently)
	})
}

func TestOnlyTheVeryRelationIsRefreshed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.session(t)
	target := b.view(t, "v", "SELECT clock_timestamp() AS at")
	require.NoError(t, refresh(t, s, target, false))

	var notIt *pgexec.NotItError
	pgtest.Exec(t, b.alice, `ALTER MATERIALIZED VIEW v RENAME TO w`)
	require.NoError(t, refresh(t, s, target, false), "by OID: a new name changes nothing")
	other := target
	other.Owner = 10
	require.ErrorAs(t, refresh(t, s, other, false), &notIt)
	require.ErrorContains(t, notIt, "given to another owner")
	pgtest.Exec(t, b.alice, `CREATE TABLE plain (a int)`)
	require.ErrorAs(t, refresh(t, s, b.target(t, "plain"), false), &notIt)
	require.ErrorContains(t, notIt, "not a materialized view")
	pgtest.Exec(t, b.alice, `DROP MATERIALIZED VIEW w`, `CREATE MATERIALIZED VIEW v AS SELECT 1 AS a`)
	require.ErrorIs(t, refresh(t, s, target, false), pgexec.ErrMissing, "one of the same name is not it")
}

func TestASessionForgetsWhatAUsersFunctionLeftBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.Exec(t, b.alice, `CREATE FUNCTION leave_traces() RETURNS int LANGUAGE plpgsql AS $$
DECLARE c text;
BEGIN
    PERFORM pg_advisory_lock(42);
    PERFORM set_config('app.left_behind', 'x', false);
    -- Those of the session are prepared statements too, and nobody may put another in their place.
    FOREACH c IN ARRAY ARRAY['DEALLOCATE ALL', 'DISCARD ALL', 'PREPARE mine AS SELECT 1', 'LISTEN mine', 'CREATE TEMPORARY TABLE mine (a int)'] LOOP
        BEGIN
            EXECUTE c;
            RAISE EXCEPTION '% ran', c USING ERRCODE = 'data_corrupted';
        EXCEPTION WHEN insufficient_privilege OR active_sql_transaction THEN NULL;
        END;
    END LOOP;
    RETURN 1;
END $$`)
	target := b.view(t, "v", "SELECT "+b.owner+".leave_traces() AS a WITH NO DATA")
	s, err := b.pool.Acquire(t.Context())
	require.NoError(t, err)
	require.NoError(t, refresh(t, s, target, false))
	pid := s.PID()
	prepared := func(s *pgexec.Session) []string {
		rows, err := s.Query(t.Context(), `SELECT name FROM pg_prepared_statements ORDER BY 1`)
		require.NoError(t, err)
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return names
	}
	before := prepared(s)
	require.NotEmpty(t, before)
	s.Release()
	again, err := b.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer again.Release()
	require.Equal(t, pid, again.PID(), "the same backend")
	require.Subset(t, prepared(again), before, "our own are kept")
	rows, err := again.Query(t.Context(), `
SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())::int, coalesce(current_setting('app.left_behind', true), ''), current_setting('search_path')`)
	require.NoError(t, err)
	left, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[struct {
		Locks            int
		Setting, LooksIn string
	}])
	require.NoError(t, err)
	require.Zero(t, left.Locks)
	require.Empty(t, left.Setting)
	require.Equal(t, "pg_catalog, pg_temp", left.LooksIn)
}

// Read later in the transaction, it would run as the sidecar.
func TestACursorThatAFunctionLeftOpenIsClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.Exec(t, b.alice, `CREATE FUNCTION leave_open() RETURNS int LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'left open'; BEGIN OPEN c FOR SELECT 1; RETURN 1; END $$`)
	target, s := b.view(t, "v", "SELECT "+b.owner+".leave_open() AS a"), b.session(t)
	require.NoError(t, s.InTx(t.Context(), pgexec.Settings{LockTimeout: time.Second}, func(tx *pgexec.Tx) error {
		require.NoError(t, tx.Refresh(t.Context(), target, false))
		rows, err := tx.Query(t.Context(), `SELECT name FROM pg_cursors`)
		require.NoError(t, err)
		open, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.NotContains(t, open, "left open")
		return nil
	}))
}

func TestAMessageOfManyMegabytesEndsTheSessionInsteadOfFillingMemory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.Exec(t, b.alice, `CREATE FUNCTION shout() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF session_user <> current_user THEN
        RAISE EXCEPTION '%', repeat('x', 20000000);
    END IF;
    RETURN 1;
END $$`)
	s := b.session(t)
	target := b.view(t, "v", "SELECT "+b.owner+".shout() AS a")
	var tooLong *pgproto3.ExceededMaxBodyLenErr
	require.ErrorAs(t, refresh(t, s, target, false), &tooLong)
	s.Destroy()
}

func TestASuperuserIsRefusedAndAPoolerFoundOut(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, err := pgexec.NewPool(t.Context(), db.URL(), pgexec.Config{})
	require.ErrorIs(t, err, pgexec.ErrSuperuser)
	pool, err := pgexec.NewPool(t.Context(), db.URL(), pgexec.Config{AllowSuperuser: true})
	require.NoError(t, err)
	pool.Close()

	address := pgtest.Pooler(t, db)
	_, err = pgexec.NewPool(t.Context(), "postgres://"+db.Worker(t)+"@"+address+"/"+db.Name+"?sslmode=disable", pgexec.Config{})
	require.ErrorIs(t, err, pgexec.ErrPooler)
}

func TestTheSettingsOfARunReachTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, setting := range []string{`DateStyle = 'German'`, `IntervalStyle = 'sql_standard'`, `search_path = 'public'`} {
		b.db.Exec(t, `ALTER DATABASE `+b.db.Name+` SET `+setting)
	}
	target := b.view(t, "v", `SELECT current_setting('TimeZone') AS zone, current_setting('work_mem') AS work_mem, current_setting('lock_timeout') AS lock_timeout,
		current_setting('statement_timeout') AS statement_timeout, current_setting('search_path') AS path, current_setting('DateStyle') AS dates, current_setting('IntervalStyle') AS intervals, concat_ws(' ', current_setting('jit'), current_setting('plan_cache_mode'), current_setting('enable_seqscan')) AS plans`)
	b.pool.Close() // its first connection has seen other defaults
	pool, err := pgexec.NewPool(t.Context(), b.db.URLAs(b.db.Worker(t)), pgexec.Config{MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	b.pool = pool
	s := b.session(t)
	settings := pgexec.Settings{TimeZone: "Asia/Kathmandu", WorkMem: "7MB", StatementTimeout: 9 * time.Second, LockTimeout: 300 * time.Millisecond}
	require.NoError(t, s.InTx(t.Context(), settings, func(tx *pgexec.Tx) error { return tx.Refresh(t.Context(), target, false) }))
	var got string
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT concat_ws('|', zone, work_mem, lock_timeout, statement_timeout, path, dates, intervals, plans) FROM v`).Scan(&got))
	require.Equal(t, "Asia/Kathmandu|7MB|300ms|9s|pg_catalog, pg_temp|ISO, MDY|postgres|on auto on", got, "plans as the server has them")
	rows, err := s.Query(t.Context(), `SELECT concat_ws(' ', current_setting('jit'), current_setting('plan_cache_mode'), current_setting('enable_seqscan'))`)
	require.NoError(t, err)
	plans, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, "off force_generic_plan off", plans, "for queries of the catalog")
	rows, err = s.Query(t.Context(), `SELECT current_setting('work_mem')`)
	require.NoError(t, err)
	after, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotEqual(t, "7MB", after, "only for the transaction")
}

func TestAFailedRefreshRollsBackEverything(t *testing.T) {
	t.Parallel()
	b := setup(t)
	target := b.view(t, "v", "SELECT clock_timestamp() AS at")
	var before, after time.Time
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT at FROM v`).Scan(&before))
	s := b.session(t)
	nope := errors.New("the caller changed its mind")
	err := s.InTx(t.Context(), pgexec.Settings{}, func(tx *pgexec.Tx) error {
		if err := tx.Refresh(t.Context(), target, false); err != nil {
			return err
		}
		return nope
	})
	require.ErrorIs(t, err, nope)
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT at FROM v`).Scan(&after))
	require.Equal(t, before, after)
}

// The backend is the sign that somebody has the attempt in hand: it is there until what became of it is recorded.
func TestASessionOutlivesTheCancelOfItsTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.Exec(t, b.alice, `CREATE TABLE naps AS SELECT 0 AS seconds`)
	target := b.view(t, "v", `SELECT count(pg_sleep(seconds)) FROM naps`)
	pgtest.Exec(t, b.alice, `UPDATE naps SET seconds = 600`)
	s := b.session(t)
	ctx, cancel := context.WithCancel(t.Context())
	watcher := b.db.Conn(t, "")
	go func() {
		defer cancel()
		_, _ = watcher.Exec(t.Context(), fmt.Sprintf(`DO $$ BEGIN
			WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %d AND wait_event = 'PgSleep') LOOP
				PERFORM pg_stat_clear_snapshot();
			END LOOP; END $$`, s.PID()))
	}()
	err := s.InTx(ctx, pgexec.Settings{}, func(tx *pgexec.Tx) error { return tx.Refresh(ctx, target, false) })
	require.Error(t, err)
	rows, err := s.Query(t.Context(), `SELECT 1`)
	require.NoError(t, err)
	rows.Close()
	pid := s.PID()
	s.Release() // a late cancel must not meet somebody else's transaction
	require.NotEqual(t, pid, b.session(t).PID())
}

func TestASessionThatTheServerEndedIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, err := b.pool.Acquire(t.Context())
	require.NoError(t, err)
	pid := first.PID()
	first.Release()
	var ended bool
	require.NoError(t, b.db.Conn(t, "postgres").QueryRow(t.Context(), `SELECT pg_terminate_backend($1, 10000)`, pid).Scan(&ended))
	require.True(t, ended)
	second := b.session(t)
	require.NotEqual(t, pid, second.PID())
	require.NoError(t, refresh(t, second, b.view(t, "v", "SELECT 1 AS a"), false))
}
