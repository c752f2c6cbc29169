package integration

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// register is the least row.
const register = `INSERT INTO mvscheduler.views (name, query) VALUES ($1, $2)`

// send runs one statement in the extended protocol, as drivers do: several in one text are an error.
func send(t testing.TB, conn *pgx.Conn, sql string, params ...string) *pgconn.PgError {
	t.Helper()
	values := make([][]byte, len(params))
	for i, p := range params {
		values[i] = []byte(p)
	}
	result := conn.PgConn().ExecParams(context.WithoutCancel(t.Context()), sql, values, nil, nil, nil).Read()
	var failed *pgconn.PgError
	if result.Err != nil && !errors.As(result.Err, &failed) {
		t.Fatalf("%.200s: %v", sql, result.Err)
	}
	return failed
}

// typed runs a statement as somebody types it into psql.
func typed(t testing.TB, conn *pgx.Conn, sql string) *pgconn.PgError {
	t.Helper()
	_, err := conn.Exec(context.WithoutCancel(t.Context()), sql)
	var failed *pgconn.PgError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("%.200s: %v", sql, err)
	}
	return failed
}

// refused runs a statement that must fail with the SQLSTATE, and returns its error.
func refused(t testing.TB, conn *pgx.Conn, sqlstate, sql string, params ...string) *pgconn.PgError {
	t.Helper()
	failed := send(t, conn, sql, params...)
	require.NotNil(t, failed, "%.300s %.300s is accepted", sql, params)
	require.Equal(t, sqlstate, failed.Code, "%.300s %.300s\n%s: %s", sql, params, failed.Code, failed.Message)
	return failed
}

// connNoticing is db.Conn that keeps what the server says besides.
func connNoticing(t testing.TB, url string) (*pgx.Conn, *[]*pgconn.Notice) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	var said []*pgconn.Notice
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn, &said
}

// residue counts everything that a registration makes: users' relations and types, and our rows.
const residue = `
SELECT pg_catalog.format('%s relations, %s types, %s rows, %s states, %s entries, %s requests',
    (SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname !~ '^(pg_|information_schema|mvscheduler)'),
    (SELECT count(*) FROM pg_type AS c JOIN pg_namespace AS n ON n.oid = c.typnamespace WHERE n.nspname !~ '^(pg_|information_schema|mvscheduler)'),
    (SELECT count(*) FROM mvscheduler.views), (SELECT count(*) FROM mvscheduler.view_state),
    (SELECT count(*) FROM mvscheduler.audit_entry), (SELECT count(*) FROM mvscheduler.request))`

// within is the position of an error in what follows the first line of our internal statement.
func within(e *pgconn.PgError) int {
	if e.InternalPosition == 0 {
		return 0
	}
	return int(e.InternalPosition) - utf8.RuneCountInString(e.InternalQuery[:strings.Index(e.InternalQuery, "\n")+1])
}

func TestAWrongQueryFailsInTheWordsOfPostgreSQL(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin, alice := db.Conn(t, ""), db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (id int PRIMARY KEY, a int, b text)`)
	before := ask[string](t, admin, residue)
	for _, query := range []string{
		`SELECT nosuch FROM t`, `SELECT * FROM nosuch`, `SELECT * FROM nosuch.t`, `SELECT nosuch(1)`, `SELECT a FROM t GROUP BY b`,
		`SELECT t.a, a FROM t JOIN t u USING (id)`, `SELECT a, a FROM t`, `SELECT 'x'::int`, `SELECT '2026-02-30'::date`, `SELECT 1 + 'x'`,
		`SELECT * FROM t WHERE b = 1`, `SELECT id FROM t, t u`, `SELECT * FROM t WHERE count(*) > 1`, `SELECT sum(sum(a)) FROM t`,
		`SELECT $1`, `SELECT $1::int`, `SELEC 1 AS a`, `SELECT FROM FROM t`, `SELECT 1) AS (a`, `INSERT INTO t VALUES (1)`,
		`WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x`, `SELECT 1 AS a INTO x FROM t`, `SELECT ROW(1, 2) AS r`, `SELECT null::void AS v`,
		`SELECT lag(a) OVER w FROM t`, `SELECT a FROM t UNION SELECT b FROM t`, `SELECT 1 AS a UNION SELECT 1, 2`, `SELECT * FROM t ORDER BY 9`,
		`SELECT 'ü' AS ü, nosuch FROM t`, "SELECT\r\n  'é',\r\n  nosuch\r\nFROM t", `SELECT ctid FROM t`, `SELECT b COLLATE nosuch FROM t`,
		`SELECT * FROM t TABLESAMPLE nosuch (1)`, `SELECT x.* FROM t`, `SELECT a.b.c.d FROM t`, `SELECT * FROM generate_series(1)`,
		`EXECUTE p`, `EXPLAIN SELECT 1`, `SHOW search_path`, `CALL p()`, `DO $$ BEGIN END $$`, `SELECT a FROM t FETCH FIRST ROW WITH TIES`,
	} {
		statement := "CREATE MATERIALIZED VIEW v AS "
		plain := typed(t, alice, statement+query)
		require.NotNil(t, plain, query)
		ours := refused(t, alice, plain.Code, register, "v", query)
		require.Equal(t, plain.Message, ours.Message, query)
		require.Equal(t, plain.Detail, ours.Detail, query)
		require.Equal(t, plain.Hint, ours.Hint, query)
		require.Equal(t, max(0, int(plain.Position)-len(statement)), within(ours), "position in %s", query)
		require.Equal(t, before, ask[string](t, admin, residue), query)
	}
	// Where the text ends too soon PostgreSQL names what follows it, and there something of ours follows.
	for _, query := range []string{`SELECT (1 AS a`, `SELECT 1 +`, `SELECT 'x`, `SELECT "x`, `SELECT $q$x`, `SELECT 1 /*`, `WITH x AS (SELECT 1)`, `-- nothing`} {
		plain := typed(t, alice, "CREATE MATERIALIZED VIEW v AS "+query)
		require.Equal(t, "42601", plain.Code, query)
		refused(t, alice, "42601", register, "v", query)
	}

	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('kept', 'SELECT id, a FROM t')`)
	for _, query := range []string{`SELECT nosuch FROM t`, `SELECT id, a FROM FROM t`, `SELECT 'x'::int, a FROM t`} {
		statement := "CREATE MATERIALIZED VIEW v AS "
		plain := typed(t, alice, statement+query)
		ours := refused(t, alice, plain.Code, `UPDATE mvscheduler.views SET query = $1`, query)
		require.Equal(t, plain.Message, ours.Message)
		require.Equal(t, int(plain.Position)-len(statement), within(ours))
		require.Equal(t, `SELECT id, a FROM t`, ask[string](t, alice, `SELECT query FROM mvscheduler.views`))
	}
}

func TestAWrongPlaceFailsInTheWordsOfPostgreSQL(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, bob := db.User(t, "alice"), db.User(t, "bob")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE TABLE taken (a int)`, `CREATE TYPE also_taken AS ENUM ('x')`)
	for _, name := range []string{"nosuch.v", bob + ".v", "taken", "also_taken", `"no such"."v"`} {
		plain := typed(t, conn, "CREATE MATERIALIZED VIEW "+name+" AS SELECT 1 AS a")
		require.NotNil(t, plain, name)
		ours := refused(t, conn, plain.Code, register, name, "SELECT 1 AS a")
		require.Equal(t, plain.Message, ours.Message, name)
	}
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.views`))
}

func TestARolledBackInsertLeavesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin, alice := db.Conn(t, ""), db.Conn(t, db.User(t, "alice"))
	before := ask[string](t, admin, residue)
	pgtest.Exec(t, alice, `BEGIN`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`, `TABLE v__query`,
		`SELECT mvscheduler.refresh_view('v')`, `ROLLBACK`)
	require.Equal(t, before, ask[string](t, admin, residue))

	// To a savepoint: the session's search_path and role are what they were, and it goes on.
	pgtest.Exec(t, alice, `SET search_path = "$user", pg_catalog`, `BEGIN`, `SAVEPOINT s`)
	refused(t, alice, "42703", register, "v", "SELECT nosuch")
	pgtest.Exec(t, alice, `ROLLBACK TO s`)
	require.Equal(t, `"$user", pg_catalog`, ask[string](t, alice, `SELECT current_setting('search_path')`))
	require.Equal(t, `none`, ask[string](t, alice, `SELECT current_setting('role')`))
	require.Nil(t, send(t, alice, register, "v", "SELECT 1 AS a"))
	require.Equal(t, `"$user", pg_catalog`, ask[string](t, alice, `SELECT current_setting('search_path')`))
	pgtest.Exec(t, alice, `COMMIT`, `TABLE v__query`)
	require.Equal(t, 1, ask[int](t, alice, `SELECT count(*)::int FROM mvscheduler.status`))
}

func TestAStatementOfSeveralRowsIsAtomic(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin, alice := db.Conn(t, ""), db.Conn(t, db.User(t, "alice"))
	before := ask[string](t, admin, residue)
	refused(t, alice, "42703", `INSERT INTO mvscheduler.views (name, query) VALUES ('a', 'SELECT 1 AS x'), ('b', 'SELECT y FROM a'), ('c', 'SELECT 1 AS x')`)
	require.Equal(t, before, ask[string](t, admin, residue))
	// Later rows may read the views of earlier ones.
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('a', 'SELECT 1 AS x'), ('b', 'SELECT x FROM a'), ('c', 'SELECT a.x FROM a JOIN b USING (x)')`)
	require.Equal(t, 3, ask[int](t, alice, `SELECT count(*)::int FROM pg_matviews WHERE schemaname = current_schema()`))
	require.Equal(t, 2, ask[int](t, alice, `SELECT cardinality(upstream) FROM mvscheduler.status WHERE name LIKE '%.c'`))
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET name = name || '2'`)
	require.Equal(t, 3, ask[int](t, alice, `SELECT count(*)::int FROM pg_matviews WHERE schemaname = current_schema() AND matviewname LIKE '_2'`))
	// One statement drops what reads and what is read, whatever the order of the rows.
	pgtest.Exec(t, alice, `DELETE FROM mvscheduler.views`)
	require.Zero(t, ask[int](t, alice, `SELECT count(*)::int FROM pg_class WHERE relnamespace = current_schema()::regnamespace`))
}

func TestOnConflictDoesWhatItSays(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, bob := db.User(t, "alice"), db.User(t, "bob")
	conn, other := db.Conn(t, alice), db.Conn(t, bob)
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	oid := ask[uint32](t, conn, `SELECT 'v'::regclass::oid`)
	tag, err := conn.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT nosuch') ON CONFLICT DO NOTHING`)
	require.NoError(t, err)
	require.Zero(t, tag.RowsAffected())
	tag, err = conn.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v', 'SELECT 2 AS a', '5 minutes'), ('w', 'SELECT 1 AS a', '5 minutes')
		ON CONFLICT (name) DO UPDATE SET query = EXCLUDED.query, refresh_interval = EXCLUDED.refresh_interval`)
	require.NoError(t, err)
	require.Equal(t, int64(2), tag.RowsAffected())
	pgtest.Exec(t, conn, `REFRESH MATERIALIZED VIEW v`)
	require.Equal(t, 2, ask[int](t, conn, `SELECT a FROM v`))
	require.Equal(t, oid, ask[uint32](t, conn, `SELECT 'v'::regclass::oid`))
	require.Equal(t, 2, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.status WHERE refresh_interval = '5 minutes'`))
	refused(t, conn, "23505", register, alice+".v", "SELECT 3 AS a")
	refused(t, other, "42501", `INSERT INTO mvscheduler.views (name, query) VALUES ('`+alice+`.v', 'SELECT 1') ON CONFLICT (name) DO UPDATE SET query = EXCLUDED.query`)

	pgtest.Exec(t, conn, `MERGE INTO mvscheduler.views AS v USING (VALUES ('`+alice+`.v', 'SELECT 4 AS a'), ('`+alice+`.x', 'SELECT 1 AS a')) AS s(name, query) ON v.name = s.name
		WHEN MATCHED THEN UPDATE SET query = s.query WHEN NOT MATCHED THEN INSERT (name, query) VALUES (s.name, s.query)`, `REFRESH MATERIALIZED VIEW v`, `TABLE x__query`)
	require.Equal(t, 4, ask[int](t, conn, `SELECT a FROM v`))
}

func TestARowCanBeInsertedInsideAFunction(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, bob := db.User(t, "alice"), db.User(t, "bob")
	conn, caller := db.Conn(t, alice), db.Conn(t, bob)
	pgtest.Exec(t, conn, `GRANT USAGE, CREATE ON SCHEMA `+alice+` TO `+bob, `GRANT USAGE ON SCHEMA `+alice+` TO mvscheduler_worker`,
		`CREATE FUNCTION invoker(name text, query text) RETURNS void LANGUAGE plpgsql SET search_path = `+alice+`, pg_catalog
		 AS $$ BEGIN INSERT INTO mvscheduler.views (name, query) VALUES (name, query); PERFORM 1 FROM pg_class; END $$`,
		`CREATE FUNCTION definer(name text, query text, owner regrole DEFAULT NULL) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = `+alice+`, pg_temp
		 AS $$ BEGIN INSERT INTO mvscheduler.views (name, query, owner) VALUES (name, query, coalesce(owner, quote_ident(current_user)::regrole)); END $$`)
	path := ask[string](t, caller, `SELECT current_setting('search_path')`)
	pgtest.Exec(t, caller, `SELECT `+alice+`.invoker('by_invoker', 'SELECT 1 AS a')`, `SELECT `+alice+`.definer('by_definer', 'SELECT 1 AS a')`)
	require.Equal(t, bob, ask[string](t, caller, `SELECT relowner::regrole::text FROM pg_class WHERE relname = 'by_invoker'`))
	require.Equal(t, alice, ask[string](t, caller, `SELECT relowner::regrole::text FROM pg_class WHERE relname = 'by_definer'`))
	require.Equal(t, alice+".by_invoker", ask[string](t, caller, `SELECT name FROM mvscheduler.views`), "bob sees his own")
	require.Equal(t, path, ask[string](t, caller, `SELECT current_setting('search_path')`))
	// A definer function cannot act for a third role: PostgreSQL refuses SET ROLE there.
	db.Exec(t, `GRANT `+bob+` TO `+alice)
	refused(t, caller, "42501", `SELECT `+alice+`.definer('third', 'SELECT 1 AS a', '`+bob+`')`)
	require.Equal(t, bob, ask[string](t, caller, `SELECT current_user::text`))
}

func TestTheFunctionsMeanWhatTheStatementsMean(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	id := ask[int64](t, conn, `SELECT mvscheduler.create_view('v', 'SELECT 1 AS a', refresh_interval => '5 minutes')`)
	require.Equal(t, alice+".v", ask[string](t, conn, `SELECT name FROM mvscheduler.views WHERE id = $1 AND refresh_interval = '5 minutes'`, id))
	ask[int64](t, conn, `SELECT mvscheduler.create_view(name => 'w', query => 'SELECT 1 AS a, 2 AS b;', cron => '0 6 * * *', timezone => 'Europe/Berlin', refresh_on => 'schedule', method => 'concurrent', catchup => 'skip',
		unique_key => '{b}', indexes => '{(a)}', priority => 1::smallint, statement_timeout => '1 minute', lock_timeout => '1 second', work_mem => '8MB', max_attempts => 2::smallint, max_size_bytes => 1000000, "analyze" => false, enabled => false)`)
	require.JSONEq(t, `{"cron": "0 6 * * *", "owner": "`+alice+`", "method": "concurrent", "analyze": false, "catchup": "skip", "enabled": false, "indexes": ["(a)"], "priority": 1, "timezone": "Europe/Berlin", "work_mem": "8MB", "unique_key": ["b"], "max_attempts": 2, "max_size_bytes": 1000000, "refresh_interval": null}`,
		ask[string](t, conn, `SELECT jsonb_build_object('cron', cron, 'owner', owner, 'method', method, 'analyze', "analyze", 'catchup', catchup, 'enabled', enabled, 'indexes', indexes, 'priority', priority, 'timezone', timezone,
			'work_mem', work_mem, 'unique_key', unique_key, 'max_attempts', max_attempts, 'max_size_bytes', max_size_bytes, 'refresh_interval', refresh_interval)::text FROM mvscheduler.views WHERE name = $1`, alice+".w"))
	refused(t, conn, "42703", `SELECT mvscheduler.create_view('x', 'SELECT nosuch')`)
	ask[int64](t, conn, `SELECT mvscheduler.create_view('x', 'SELECT now() AS t', retention_period => '1 day', time_column => 't')`)
	refused(t, conn, "22023", `SELECT mvscheduler.create_view('y', 'SELECT now() AS t', retention_period => '1 day')`)

	require.Empty(t, ask[[]string](t, conn, `
SELECT coalesce(array_agg(a.attname::text), '{}')
  FROM pg_attribute AS a
 WHERE a.attrelid = 'mvscheduler.views'::regclass
   AND a.attnum > 0
   AND NOT a.attname = ANY ('{id,search_path,created_at,updated_at,updated_by,paused_at,paused_until,pause_reason,adopted}')
   AND NOT a.attname = ANY ('{real_time,refresh_group,optimize,min_interval,max_interval,min_retention,max_retention}')
   AND NOT a.attname = ANY (SELECT unnest(p.proargnames) FROM pg_proc AS p WHERE p.oid = 'mvscheduler.create_view'::regproc)`),
		"every column that a writer sets is an argument, except for the reserved ones")

	pgtest.Exec(t, conn, `SELECT mvscheduler.pause_view('v', 'because', 'tomorrow')`)
	require.Equal(t, "paused", ask[string](t, conn, `SELECT activity FROM mvscheduler.status WHERE id = $1`, id))
	require.Contains(t, ask[string](t, conn, `SELECT reason FROM mvscheduler.status WHERE id = $1`, id), "because")
	pgtest.Exec(t, conn, `SELECT mvscheduler.resume_view('`+alice+`.v')`)
	require.Equal(t, "idle", ask[string](t, conn, `SELECT activity FROM mvscheduler.status WHERE id = $1`, id))
	for _, call := range []string{`pause_view('nosuch')`, `resume_view('nosuch')`, `refresh_view('nosuch')`, `drop_view('nosuch')`} {
		require.Contains(t, refused(t, conn, "42P01", `SELECT mvscheduler.`+call).Message, "nosuch")
	}
	refused(t, conn, "P0002", `SELECT mvscheduler.cancel_run(123)`)
	pgtest.Exec(t, conn, `SELECT mvscheduler.drop_view('v')`)
	require.Nil(t, ask[*string](t, conn, `SELECT to_regclass('v')::text`))
	require.Nil(t, ask[*string](t, conn, `SELECT to_regclass('v__query')::text`))
}

func TestARunCanBeCancelledBeforeAndWhileItRuns(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('v', 'SELECT 1 AS a FROM pg_sleep(60)', 'manual')`)
	s := startSidecar(t, db)
	run := ask[int64](t, conn, `SELECT mvscheduler.refresh_view('v')`)
	until(t, conn, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id = $1 AND state = 'running')`, run)
	pgtest.Exec(t, conn, `SELECT mvscheduler.cancel_run((SELECT max(id) FROM mvscheduler.runs))`)
	until(t, conn, `SELECT state = 'cancelled' FROM mvscheduler.runs WHERE id = $1`, run)
	require.Contains(t, refused(t, conn, "55000", `SELECT mvscheduler.cancel_run((SELECT max(id) FROM mvscheduler.runs))`).Message, "already ended (cancelled)")
	require.Equal(t, "cancel", ask[string](t, conn, `SELECT string_agg(action, ' ') FROM mvscheduler.audit_log WHERE action = 'cancel'`))
	require.Zero(t, s.stop())
}

func TestWhoChangedWhatIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `SET mvscheduler.actor = 'forged'`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`,
		`UPDATE mvscheduler.views SET refresh_interval = '5 minutes'`, `SELECT mvscheduler.pause_view('v', 'because')`,
		`SELECT mvscheduler.refresh_view('v')`, `SELECT mvscheduler.drop_view('v')`)
	rows := ask[[]string](t, conn, `SELECT array_agg(action || ' ' || coalesce(old::text, '-') || ' ' || coalesce(new::text, '-') ORDER BY id) FROM mvscheduler.audit_log WHERE role = current_user AND view_name = $1`, alice+".v")
	require.Len(t, rows, 5)
	require.Regexp(t, `^insert - \{.*"query": "SELECT 1 AS a"`, rows[0])
	require.Equal(t, `update {"refresh_interval": "01:00:00"} {"refresh_interval": "00:05:00"}`, rows[1])
	require.Regexp(t, `^update \{"paused_at": null, "pause_reason": null\} \{"paused_at": "20.*", "pause_reason": "because"\}$`, rows[2])
	require.Regexp(t, `^refresh - \{"run": \d+\}$`, rows[3])
	require.Regexp(t, `^delete \{.*"query": "SELECT 1 AS a".*\} -$`, rows[4])
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.audit_log WHERE role <> current_user`))
	refused(t, conn, "42501", `INSERT INTO mvscheduler.audit_entry (role, action) VALUES ('x', 'y')`)
	refused(t, conn, "42501", `DELETE FROM mvscheduler.audit_log`)
}

func TestTruncateIsRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, admin := db.Conn(t, db.User(t, "alice")), db.Conn(t, "")
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	refused(t, alice, "42501", `TRUNCATE mvscheduler.views`)
	require.Contains(t, refused(t, admin, "0A000", `TRUNCATE mvscheduler.views`).Hint, "DELETE")
	refused(t, admin, "0A000", `TRUNCATE mvscheduler.views CASCADE`)
	require.Equal(t, 1, ask[int](t, alice, `SELECT count(*)::int FROM mvscheduler.views`))
}

func TestASuperusersRowIsAcceptedWithAWarning(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, said := connNoticing(t, db.URL())
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('public.v', 'SELECT 1 AS a')`)
	var warnings []string
	for _, n := range *said {
		if n.Severity == "WARNING" {
			warnings = append(warnings, n.Message+n.Detail+n.Hint)
		}
	}
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "superuser")
	require.Contains(t, warnings[0], "application role")
	pgtest.Exec(t, conn, `REFRESH MATERIALIZED VIEW public.v`)
}
