package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// admit lets the sidecar refresh for a role on the versions where that needs a DBA.
func admit(t testing.TB, db *pgtest.DB, role string) {
	t.Helper()
	switch {
	case db.Version() >= 170000:
	case db.Version() >= 160000:
		db.Exec(t, "GRANT "+role+" TO mvscheduler_worker WITH INHERIT TRUE, SET FALSE")
	default:
		db.Exec(t, "GRANT "+role+" TO mvscheduler_worker")
	}
}

func TestARoleRegistersForARoleThatItCanBecome(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, team := db.User(t, "alice"), db.User(t, "team")
	if db.Version() >= 160000 {
		db.Exec(t, `GRANT `+team+` TO `+alice+` WITH INHERIT FALSE, SET TRUE`)
	} else {
		db.Exec(t, `GRANT `+team+` TO `+alice)
	}
	conn, member := db.Conn(t, alice), db.Conn(t, team)
	pgtest.Exec(t, conn, `CREATE TABLE sales (amount int)`, `INSERT INTO sales VALUES (1), (2)`, `GRANT USAGE ON SCHEMA `+alice+` TO `+team, `GRANT SELECT ON sales TO `+team)
	pgtest.Exec(t, member, `CREATE TABLE sales (amount text)`)
	path := ask[string](t, conn, `SELECT current_setting('search_path')`)
	pgtest.Exec(t, conn, `BEGIN`,
		`INSERT INTO mvscheduler.views (name, query, owner) VALUES ('`+team+`.v', 'SELECT sum(amount) AS total FROM sales', '`+team+`'), ('own', 'SELECT 1 AS a', DEFAULT)`)
	require.Equal(t, path, ask[string](t, conn, `SELECT current_setting('search_path')`), "search_path is restored")
	require.Equal(t, alice+" none", ask[string](t, conn, `SELECT current_user || ' ' || current_setting('role')`), "the role is restored")
	pgtest.Exec(t, conn, `COMMIT`)
	require.Equal(t, alice+" none", ask[string](t, conn, `SELECT current_user || ' ' || current_setting('role')`))
	require.Equal(t, []string{team, team}, ask[[]string](t, conn, `SELECT array_agg(relowner::regrole::text) FROM pg_class WHERE relname IN ('v', 'v__query') AND relkind IN ('m', 'v')`))
	require.Equal(t, 2, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.status`))
	require.Equal(t, 1, ask[int](t, member, `SELECT count(*)::int FROM mvscheduler.status`))

	// The names in a query are looked up as the writer sees them, also when "$user" is in the path.
	pgtest.Exec(t, member, `REFRESH MATERIALIZED VIEW v`)
	require.Equal(t, int64(3), ask[int64](t, member, `SELECT total FROM v`))

	// The same from another role that was set before, and with UPDATE and DELETE.
	pgtest.Exec(t, conn, `SET ROLE mvscheduler_user`, `RESET ROLE`, `UPDATE mvscheduler.views SET query = 'SELECT max(amount)::bigint AS total FROM sales', unique_key = '{total}' WHERE name LIKE '%.v'`)
	require.Equal(t, alice+" none", ask[string](t, conn, `SELECT current_user || ' ' || current_setting('role')`))
	require.Equal(t, alice, ask[string](t, conn, `SELECT role FROM mvscheduler.audit_log WHERE action = 'update'`), "who did it is in the audit log")
	pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_class WHERE relkind IN ('m', 'v') AND relowner::regrole::text IN ('`+team+`', '`+alice+`')`))
}

func TestTheOwnerCanBeChangedToARoleThatTheWriterCanBecome(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, team, stranger := db.User(t, "alice"), db.User(t, "team"), db.User(t, "stranger")
	db.Exec(t, `GRANT `+team+` TO `+alice)
	db.Exec(t, `CREATE SCHEMA shared`)
	db.Exec(t, `GRANT ALL ON SCHEMA shared TO `+alice+`, `+team)
	db.Exec(t, `GRANT USAGE ON SCHEMA shared TO mvscheduler_worker`)
	conn, member := db.Conn(t, alice), db.Conn(t, team)
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('shared.v', 'SELECT 1 AS a, current_user::text AS who')`)
	for _, sql := range []string{`UPDATE mvscheduler.views SET owner = '` + stranger + `'`, `INSERT INTO mvscheduler.views (name, query, owner) VALUES ('w', 'SELECT 1 AS a', '` + stranger + `')`} {
		denied := refused(t, conn, "42501", sql)
		require.Contains(t, denied.Message, "role "+stranger)
		require.Contains(t, denied.Hint, "GRANT "+stranger+" TO ")
	}
	refused(t, conn, "42704", `UPDATE mvscheduler.views SET owner = 'nosuch'`)
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET owner = '`+team+`'`)
	require.Equal(t, []string{team, team}, ask[[]string](t, conn, `SELECT array_agg(relowner::regrole::text) FROM pg_class WHERE relname IN ('v', 'v__query') AND relkind IN ('m', 'v')`))
	s := startSidecar(t, db)
	until(t, member, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	require.Equal(t, team, ask[string](t, member, `SELECT who FROM shared.v`), "its query runs with the rights of the owner")
	require.Zero(t, s.stop())
}

func TestRolesWithOddNamesCanRegister(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := db.Conn(t, "")
	for _, name := range []string{`O'Brien "x" Ünï`, `select`, `12345`, `-`, `a.b`, `mvscheduler odd $user`} {
		quoted := pgx.Identifier{name + " " + strings.TrimPrefix(db.Name, "test_")}.Sanitize()
		pgtest.Exec(t, admin, `CREATE ROLE `+quoted+` LOGIN IN ROLE mvscheduler_user`, `CREATE SCHEMA `+quoted+` AUTHORIZATION `+quoted)
		admit(t, db, quoted)
		t.Cleanup(func() { db.Exec(t, `DROP OWNED BY `+quoted+`; DROP ROLE `+quoted) })
		pgtest.Exec(t, admin, `SET SESSION AUTHORIZATION `+quoted, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`,
			`INSERT INTO mvscheduler.views (name, query, owner) VALUES ('w', 'SELECT a FROM v', quote_ident(current_user)::regrole)`,
			`SELECT mvscheduler.refresh_view('v')`, `REFRESH MATERIALIZED VIEW v`)
		require.Equal(t, 2, ask[int](t, admin, `SELECT count(*)::int FROM mvscheduler.status`), name)
		pgtest.Exec(t, admin, `SELECT mvscheduler.drop_view('w')`, `DELETE FROM mvscheduler.views`, `RESET SESSION AUTHORIZATION`)
	}
	require.Zero(t, ask[int](t, admin, `SELECT count(*)::int FROM mvscheduler.views`))
}

func TestARenamedRoleKeepsItsViews(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn, admin := db.Conn(t, alice), db.Conn(t, "")
	pgtest.Exec(t, conn, `CREATE TABLE t (a int)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`)
	pgtest.Exec(t, admin, `ALTER ROLE `+alice+` RENAME TO x_`+alice)
	t.Cleanup(func() { db.Exec(t, `ALTER ROLE x_`+alice+` RENAME TO `+alice) })
	renamed := db.Conn(t, "x_"+alice)
	require.Equal(t, "x_"+alice, ask[string](t, renamed, `SELECT owner::text FROM mvscheduler.status`))
	s := startSidecar(t, db)
	until(t, renamed, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	pgtest.Exec(t, renamed, `UPDATE mvscheduler.views SET query = 'SELECT a + 1 AS a FROM `+alice+`.t', indexes = '{(a)}'`)
	until(t, renamed, `SELECT count(*) > 1 FROM mvscheduler.runs WHERE state = 'succeeded'`)
	pgtest.Exec(t, renamed, `DELETE FROM mvscheduler.views`)
	require.Zero(t, s.stop())
}

func TestADroppedRoleBreaksNobodyElse(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn, admin := db.Conn(t, alice), db.Conn(t, "")
	boss := db.Conn(t, db.Role(t, "boss", "IN ROLE mvscheduler_owner"))
	gone := "gone_" + strings.TrimPrefix(db.Name, "test_")
	pgtest.Exec(t, admin, `CREATE ROLE `+gone+` LOGIN IN ROLE mvscheduler_user`, `CREATE SCHEMA `+gone+` AUTHORIZATION `+gone)
	admit(t, db, gone)
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v', 'SELECT now() AS a', '1 second')`)
	leaver := db.Conn(t, gone)
	pgtest.Exec(t, leaver, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a'), ('w', 'SELECT 1 AS a')`, `SELECT mvscheduler.refresh_view('v')`)
	s := startSidecar(t, db)
	until(t, admin, `SELECT count(*) = 3 FROM mvscheduler.status WHERE freshness = 'fresh'`)
	pgtest.Exec(t, leaver, `SELECT mvscheduler.refresh_view('v')`)
	require.NoError(t, leaver.Close(t.Context()))
	pgtest.Exec(t, admin, `ALTER TABLE `+gone+`.v__query OWNER TO `+alice, `ALTER MATERIALIZED VIEW `+gone+`.v OWNER TO `+alice, `DROP OWNED BY `+gone+` CASCADE`, `DROP ROLE `+gone)

	// The rows stay, an administrator sees what became of them, and nobody else notices.
	last := ask[int64](t, conn, `SELECT max(id) FROM mvscheduler.runs`)
	until(t, conn, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id > $1 AND state = 'succeeded')`, last)
	require.Equal(t, 1, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.views`))
	require.Equal(t, 1, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.status`))
	for _, relation := range []string{"status", "runs", "attempts", "audit_log", "views"} {
		ask[int](t, boss, `SELECT count(x)::int FROM mvscheduler.`+relation+` AS x`)
		ask[int](t, conn, `SELECT count(x)::int FROM mvscheduler.`+relation+` AS x`)
	}
	require.Equal(t, []string{"missing", "missing"}, ask[[]string](t, boss, `SELECT array_agg(freshness) FROM mvscheduler.status WHERE name LIKE '`+gone+`.%'`))
	require.Zero(t, mvscheduler(t, db, alice, "", "status").code)
	require.Zero(t, mvscheduler(t, db, "", "", "status").code)
	pgtest.Exec(t, boss, `DELETE FROM mvscheduler.views WHERE name LIKE '`+gone+`.%'`)
	require.Equal(t, 1, ask[int](t, boss, `SELECT count(*)::int FROM mvscheduler.status`))
	require.Zero(t, s.stop())
}

func TestAViewThatWasReassignedGetsItsNewOwnerByUpdate(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn, admin := db.Conn(t, alice), db.Conn(t, "")
	gone := "gone_" + strings.TrimPrefix(db.Name, "test_")
	pgtest.Exec(t, admin, `CREATE ROLE `+gone+` LOGIN IN ROLE mvscheduler_user`, `CREATE SCHEMA `+gone+` AUTHORIZATION `+gone)
	admit(t, db, gone)
	leaver := db.Conn(t, gone)
	pgtest.Exec(t, leaver, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	require.NoError(t, leaver.Close(t.Context()))
	pgtest.Exec(t, admin, `REASSIGN OWNED BY `+gone+` TO `+alice, `DROP OWNED BY `+gone, `DROP ROLE `+gone)
	require.Contains(t, ask[string](t, admin, `SELECT reason FROM mvscheduler.status`), "UPDATE its owner")
	pgtest.Exec(t, admin, `UPDATE mvscheduler.views SET owner = '`+alice+`'`)
	s := startSidecar(t, db)
	until(t, conn, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
	require.Zero(t, s.stop())
}

// byHand registers v and w of alice and lets her change v with SQL.
func byHand(t *testing.T, statements ...string) (db *pgtest.DB, alice string, conn *pgx.Conn) {
	t.Helper()
	db = pgtest.New(t)
	alice = db.User(t, "alice")
	db.Exec(t, `CREATE SCHEMA other; GRANT ALL ON SCHEMA other TO `+alice)
	db.Exec(t, `GRANT USAGE ON SCHEMA other TO mvscheduler_worker`)
	conn = db.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE TABLE t (a int)`, `INSERT INTO t VALUES (1)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`)
	pgtest.Exec(t, conn, statements...)
	return db, alice, conn
}

// nothingLeft holds when neither a row nor a relation of v is there any more.
func nothingLeft(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.views`))
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.status`))
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_class WHERE relname ~ '__query'`))
}

func TestAViewDroppedByHandIsMissing(t *testing.T) {
	t.Parallel()
	for _, drop := range []string{`DROP MATERIALIZED VIEW v`, `DROP VIEW v__query CASCADE`} {
		t.Run(drop, func(t *testing.T) {
			t.Parallel()
			// Nothing of the same name is taken for it, neither by the sidecar nor by an UPDATE or a DELETE.
			db, _, conn := byHand(t, drop, `CREATE MATERIALIZED VIEW v AS SELECT 7 AS a`)
			s := startSidecar(t, db)
			until(t, conn, `SELECT freshness = 'missing' AND reason LIKE '%dropped or replaced by hand%' AND activity = 'paused' FROM mvscheduler.status`)
			pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET refresh_interval = '1 minute'`)
			for _, statement := range []string{`UPDATE mvscheduler.views SET unique_key = '{a}'`, `UPDATE mvscheduler.views SET indexes = '{(a)}'`, `UPDATE mvscheduler.views SET query = 'SELECT a + 1 AS a FROM t'`} {
				require.Contains(t, refused(t, conn, "42P01", statement).Hint, "DELETE", statement)
			}
			require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass`))
			pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
			nothingLeft(t, conn)
			require.Equal(t, 7, ask[int](t, conn, `SELECT a FROM v`))
			pgtest.Exec(t, conn, `DROP MATERIALIZED VIEW v`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`)
			until(t, conn, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
			require.Zero(t, s.stop())
		})
	}
}

// The view itself reads its data alone, and stays.
func TestAnIncrementalViewWithoutWhatItsQueryReadsSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "refresh_on", "manual")
	side := startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Empty(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`))
	pgtest.Exec(t, s.alice, `ALTER TABLE metrics RENAME TO former`, `CREATE TABLE metrics (LIKE former)`, `DROP TABLE former CASCADE`)
	const broken = `its query was dropped, perhaps with what it reads, and it cannot be refreshed: SELECT mvscheduler.resume_view('%s.v') makes it anew`
	require.Equal(t, fmt.Sprintf(broken, s.owner), ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`))
	require.Contains(t, mvscheduler(t, s.db, "", "", "doctor").stdout, fmt.Sprintf("SELECT mvscheduler.resume_view('%s.v')", s.owner))
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.resume_view('%s.v')`, s.owner))
	require.Empty(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`))
	require.Zero(t, side.stop())
}

func TestAViewRenamedOrMovedByHandIsStillRefreshed(t *testing.T) {
	t.Parallel()
	for statement, name := range map[string]string{`ALTER MATERIALIZED VIEW v RENAME TO w`: "w", `ALTER MATERIALIZED VIEW v SET SCHEMA other`: "other.v"} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			db, alice, conn := byHand(t, statement, `CREATE TABLE v (a int)`)
			s := startSidecar(t, db)
			until(t, conn, `SELECT freshness = 'fresh' AND reason LIKE '%it is now called%UPDATE its name%' FROM mvscheduler.status`)
			require.Equal(t, 1, ask[int](t, conn, `SELECT a FROM `+name))
			// Every change reaches the view and not the table that took its name.
			pgtest.Exec(t, conn, `SELECT mvscheduler.pause_view('v')`, `SELECT mvscheduler.resume_view('v')`,
				`UPDATE mvscheduler.views SET unique_key = '{a}', indexes = '{(a)}'`, `UPDATE mvscheduler.views SET query = 'SELECT a + 1 AS a FROM t'`)
			require.Equal(t, 2, ask[int](t, conn, `SELECT count(*)::int FROM pg_index WHERE indrelid = '`+name+`'::regclass`))
			require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass`))
			refreshed(t, conn, "v")
			require.Equal(t, 2, ask[int](t, conn, `SELECT a FROM `+name))
			pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET name = '`+name+`'`)
			require.Empty(t, ask[string](t, conn, `SELECT reason FROM mvscheduler.status`))
			schema, _, found := strings.Cut(name, ".")
			if !found {
				schema = alice
			}
			require.Equal(t, schema, ask[string](t, conn, `SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname LIKE '%\_\_query'`), "v__query goes with it")
			refreshed(t, conn, name)
			pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
			nothingLeft(t, conn)
			require.Zero(t, s.stop())
		})
	}
}

func TestAViewGivenAwayByHandIsPausedAndSaysSo(t *testing.T) {
	t.Parallel()
	db, alice, conn := byHand(t)
	team := db.User(t, "team")
	db.Exec(t, `GRANT `+team+` TO `+alice)
	db.Exec(t, `GRANT ALL ON SCHEMA `+alice+` TO `+team)
	pgtest.Exec(t, conn, `GRANT SELECT ON t TO `+team, `ALTER MATERIALIZED VIEW v OWNER TO `+team)
	s := startSidecar(t, db)
	until(t, conn, `SELECT activity = 'paused' AND reason LIKE '%given to another owner by hand%' FROM mvscheduler.status`)
	// A pause that is lifted and set meanwhile loses nothing.
	pgtest.Exec(t, conn, `SELECT mvscheduler.pause_view('v')`, `SELECT mvscheduler.resume_view('v')`, `UPDATE mvscheduler.views SET owner = '`+team+`'`)
	require.Equal(t, []string{team, team}, ask[[]string](t, conn, `SELECT array_agg(relowner::regrole::text) FROM pg_class WHERE relname IN ('v', 'v__query')`))
	until(t, conn, `SELECT freshness = 'fresh' AND activity = 'idle' FROM mvscheduler.status`)
	pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
	nothingLeft(t, conn)
	require.Zero(t, s.stop())
}

func TestDropOwnedAndDropSchemaLeaveRowsThatAreMissing(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{`DROP OWNED BY CURRENT_USER`, `DROP SCHEMA "$" CASCADE`} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			db, alice, conn := byHand(t)
			bob := db.Conn(t, db.User(t, "bob"))
			pgtest.Exec(t, bob, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
			s := startSidecar(t, db)
			until(t, conn, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
			pgtest.Exec(t, conn, strings.ReplaceAll(statement, "$", alice))
			require.Equal(t, "missing", ask[string](t, conn, `SELECT freshness FROM mvscheduler.status`))
			ask[int64](t, conn, `SELECT mvscheduler.refresh_view($1)`, alice+".v")
			until(t, conn, `SELECT activity = 'paused' FROM mvscheduler.status`)
			until(t, bob, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
			pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
			require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.status`))
			require.Zero(t, s.stop())
		})
	}
}

func TestDeleteNamesWhatDependsOnTheView(t *testing.T) {
	t.Parallel()
	_, _, conn := byHand(t, `CREATE VIEW report AS SELECT * FROM v`, `CREATE VIEW deep AS SELECT * FROM v__query`)
	failed := refused(t, conn, "2BP01", `DELETE FROM mvscheduler.views`)
	require.Contains(t, failed.Detail, ".report depends on materialized view ")
	require.Contains(t, refused(t, conn, "2BP01", `SELECT mvscheduler.drop_view('v')`).Detail, "report")
	pgtest.Exec(t, conn, `DROP VIEW report`)
	require.Contains(t, refused(t, conn, "2BP01", `DELETE FROM mvscheduler.views`).Detail, ".deep depends on view ")
	require.Equal(t, 1, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.status`))
	pgtest.Exec(t, conn, `DROP VIEW deep`, `DELETE FROM mvscheduler.views`)
	nothingLeft(t, conn)
}

func TestADeleteDuringARefreshMakesItEndCancelled(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('slow', 'SELECT 1 AS a FROM pg_sleep(120)'), ('other', 'SELECT 1 AS a')`)
	s := startSidecar(t, db)
	until(t, conn, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE state = 'running' AND view_name LIKE '%.slow')`)
	// The refresh makes way for the DROP that waits behind it.
	pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views WHERE name LIKE '%.slow'`)
	until(t, conn, `SELECT bool_and(state = 'cancelled') FROM mvscheduler.runs WHERE view_name LIKE '%.slow'`)
	require.Contains(t, ask[string](t, conn, `SELECT reason FROM mvscheduler.runs WHERE view_name LIKE '%.slow'`), "dropped")
	require.Equal(t, 1, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.status`))
	refreshed(t, conn, "other")
	for _, line := range db.Log(t) {
		require.NotContains(t, line.Message, "deadlock detected")
	}
	require.Zero(t, s.stop())
}

func TestADeleteBesideRefreshesNeverDeadlocks(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn, second := db.Conn(t, alice), db.Conn(t, alice)
	s := startSidecar(t, db)
	for round := range 10 {
		pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v', 'SELECT now() AS a', '1 second')`)
		if round%2 == 0 {
			until(t, conn, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE finished_at IS NULL) OR (SELECT freshness = 'fresh' FROM mvscheduler.status)`)
		}
		pgtest.Exec(t, conn, `BEGIN`, `UPDATE mvscheduler.views SET priority = 1`)
		pgtest.Exec(t, second, `SELECT mvscheduler.refresh_view('v')`)
		pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
		pgtest.Exec(t, second, `INSERT INTO mvscheduler.request (kind, view_id) SELECT 'refresh', id FROM mvscheduler.status`)
		pgtest.Exec(t, conn, `COMMIT`)
	}
	until(t, conn, `SELECT NOT EXISTS (SELECT FROM mvscheduler.runs WHERE state IN ('queued', 'running'))`)
	until(t, db.Conn(t, ""), `SELECT NOT EXISTS (SELECT FROM mvscheduler.request)`)
	for _, line := range db.Log(t) {
		require.NotContains(t, line.Message, "deadlock detected")
	}
	require.Zero(t, s.stop())
}

func TestRowsOfOthersAreNeitherSeenNorChanged(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, bob := db.User(t, "alice"), db.User(t, "bob")
	boss := db.Role(t, "boss", "IN ROLE mvscheduler_owner")
	a, b, c := db.Conn(t, alice), db.Conn(t, bob), db.Conn(t, boss)
	pgtest.Exec(t, a, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`, `SELECT mvscheduler.refresh_view('v')`)
	db.Exec(t, `INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state) SELECT id, name, owner, 'manual', now(), now(), 'queued' FROM mvscheduler.views`)
	db.Exec(t, `INSERT INTO mvscheduler.attempt (run_id, attempt, view_id, owner, token, backend_pid, backend_start, worker, outcome) SELECT id, 1, view_id, owner, 1, 1, now(), 'w', 'failed' FROM mvscheduler.run`)
	pgtest.Exec(t, b, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	for _, relation := range []string{"views", "status", "visible_views"} {
		require.Equal(t, alice+".v", ask[string](t, a, `SELECT string_agg(name, ' ') FROM mvscheduler.`+relation))
		require.Equal(t, bob+".v", ask[string](t, b, `SELECT string_agg(name, ' ') FROM mvscheduler.`+relation))
		require.Equal(t, 2, ask[int](t, c, `SELECT count(*)::int FROM mvscheduler.`+relation))
	}
	for _, relation := range []string{"runs", "attempts", "request", "audit_log WHERE view_name LIKE 'alice%'"} {
		require.Zero(t, ask[int](t, b, `SELECT count(*)::int FROM mvscheduler.`+relation), relation)
		require.NotZero(t, ask[int](t, a, `SELECT count(*)::int FROM mvscheduler.`+relation), relation)
		require.NotZero(t, ask[int](t, c, `SELECT count(*)::int FROM mvscheduler.`+relation), relation)
	}
	for _, statement := range []string{`UPDATE mvscheduler.views SET enabled = false WHERE name LIKE 'alice%'`, `DELETE FROM mvscheduler.views WHERE name LIKE 'alice%'`} {
		tag, err := b.Exec(t.Context(), statement)
		require.NoError(t, err)
		require.Zero(t, tag.RowsAffected())
	}
	for _, call := range []string{"drop_view", "refresh_view", "pause_view", "resume_view"} {
		refused(t, b, "42P01", `SELECT mvscheduler.`+call+`('`+alice+`.v')`)
	}
	refused(t, b, "P0002", `SELECT mvscheduler.cancel_run(`+ask[string](t, a, `SELECT max(id)::text FROM mvscheduler.runs`)+`)`)
	refused(t, b, "42501", `INSERT INTO mvscheduler.request (kind, view_id) SELECT 'refresh', id - 1 FROM mvscheduler.views`)
	refused(t, b, "42501", `INSERT INTO mvscheduler.views (name, query, owner) VALUES ('x', 'SELECT 1 AS a', '`+alice+`')`)
	refused(t, b, "42501", `UPDATE mvscheduler.views SET owner = '`+alice+`'`)
	for _, private := range []string{"view_state", "view_health", "run", "attempt", "audit_entry", "river_job"} {
		refused(t, b, "42501", `SELECT FROM mvscheduler.`+private)
	}
	tag, err := c.Exec(t.Context(), `UPDATE mvscheduler.views SET priority = 1`)
	require.NoError(t, err)
	require.Equal(t, int64(2), tag.RowsAffected())
}

func TestTheSidecarGetsTheLeastRightsOfTheServersVersion(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	role := db.Role(t, "carol")
	db.Exec(t, `GRANT mvscheduler_user TO `+role)
	db.Exec(t, `CREATE SCHEMA `+role+` AUTHORIZATION `+role)
	conn := db.Conn(t, role)
	if db.Version() < 170000 {
		failed := refused(t, conn, "42501", register, "v", "SELECT 1 AS a")
		_, grant, found := strings.Cut(failed.Hint, ": ")
		require.True(t, found, failed.Hint)
		require.Equal(t, db.Version() >= 160000, strings.Contains(grant, "INHERIT TRUE, SET FALSE"))
		require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_class WHERE relnamespace = current_schema()::regnamespace`))
		db.Exec(t, grant)
	}
	require.Nil(t, send(t, conn, register, "v", "SELECT 1 AS a"))
	acl := ask[[]string](t, conn, `SELECT coalesce(array_agg(c.relname || ' ' || x.privilege_type), '{}') FROM pg_class AS c, aclexplode(c.relacl) AS x WHERE c.relnamespace = current_schema()::regnamespace AND x.grantee = 'mvscheduler_worker'::regrole`)
	schema := ask[[]string](t, conn, `SELECT coalesce(array_agg(x.privilege_type), '{}') FROM pg_namespace AS n, aclexplode(n.nspacl) AS x WHERE n.oid = current_schema()::regnamespace AND x.grantee = 'mvscheduler_worker'::regrole`)
	if db.Version() >= 170000 {
		require.Equal(t, []string{"v MAINTAIN"}, acl)
		require.Equal(t, []string{"USAGE"}, schema)
	} else {
		require.Empty(t, acl)
		require.Empty(t, schema)
	}
	if db.Version() >= 160000 {
		require.False(t, ask[bool](t, conn, `SELECT pg_has_role('mvscheduler_worker', current_user, 'SET')`))
	}
	s := startSidecar(t, db)
	until(t, conn, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	require.Zero(t, s.stop())
}

func TestASchemaOfSomebodyElseNeedsItsOwnersGrant(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if db.Version() < 170000 {
		t.Skip("before PostgreSQL 17 the sidecar inherits the owner's rights")
	}
	alice := db.User(t, "alice")
	db.Exec(t, `CREATE SCHEMA shared; GRANT CREATE, USAGE ON SCHEMA shared TO `+alice)
	conn := db.Conn(t, alice)
	failed := refused(t, conn, "42501", register, "shared.v", "SELECT 1 AS a")
	require.Nil(t, send(t, conn, register, "v", "SELECT 1 AS a"))
	refused(t, conn, "42501", `UPDATE mvscheduler.views SET name = 'shared.v'`)
	_, grant, _ := strings.Cut(failed.Hint, ": ")
	db.Exec(t, grant)
	require.Nil(t, send(t, conn, `UPDATE mvscheduler.views SET name = 'shared.v'`))
	s := startSidecar(t, db)
	until(t, conn, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	require.Zero(t, s.stop())
}

func TestAColumnThatWasRenamedByHandIsNamedWhenTheQueryChanges(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS id, 2 AS a')`, `ALTER MATERIALIZED VIEW v RENAME COLUMN id TO "The Id"`)
	failed := refused(t, conn, "55000", `UPDATE mvscheduler.views SET query = 'SELECT 3 AS id, 2 AS a'`)
	require.Contains(t, failed.Message, `renamed by hand to "The Id"`)
	_, back, found := strings.Cut(failed.Hint, ": ")
	require.True(t, found)
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET priority = 3`, back, `UPDATE mvscheduler.views SET query = 'SELECT 3 AS id, 2 AS a'`)
}
