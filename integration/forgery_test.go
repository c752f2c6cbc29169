package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestAUserWritesNothingOfOursButRowsOfTheirOwn(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	a.manual(alice, "alice.v", "SELECT 1 AS id")
	a.manual(a.m, "mallory.v", "SELECT 1 AS id")
	pgtest.Exec(t, alice, a.sql(`SELECT mvscheduler.refresh_view('alice.v')`))

	for _, table := range []string{"view_state", "view_health", "run", "attempt", "audit_entry", "river_job", "river_queue", "river_leader", "settings", "schema_migrations", "river_migration"} {
		for _, statement := range []string{
			"INSERT INTO mvscheduler." + table + " DEFAULT VALUES", "DELETE FROM mvscheduler." + table, "TRUNCATE mvscheduler." + table,
			"DO 'BEGIN LOCK TABLE mvscheduler." + table + " IN ROW EXCLUSIVE MODE; END'", "DROP TABLE mvscheduler." + table, "ALTER TABLE mvscheduler." + table + " ADD COLUMN x int",
			"CREATE TRIGGER t BEFORE INSERT ON mvscheduler." + table + " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
			"CREATE RULE r AS ON INSERT TO mvscheduler." + table + " DO INSTEAD NOTHING", "CREATE INDEX ON mvscheduler." + table + " ((1))",
			"CREATE TABLE mallory.child () INHERITS (mvscheduler." + table + ")", "COMMENT ON TABLE mvscheduler." + table + " IS 'mine'",
		} {
			a.refused(a.m, "42501", statement)
		}
	}
	for _, statement := range []string{
		`INSERT INTO mvscheduler.request (kind, view_id) VALUES ('refresh', 1)`, `INSERT INTO mvscheduler.request (kind, view_id, target_run) VALUES ('cancel', 1, 1)`,
		`INSERT INTO mvscheduler.request (kind, view_id, requested_by) VALUES ('refresh', 2, 'alice')`, `INSERT INTO mvscheduler.request (kind, view_id, run_id) VALUES ('refresh', 2, 1)`,
		`INSERT INTO mvscheduler.request (id, kind, view_id) OVERRIDING SYSTEM VALUE VALUES (1, 'refresh', 2)`,
		`UPDATE mvscheduler.request SET kind = 'cancel'`, `DELETE FROM mvscheduler.request`, `SELECT FROM mvscheduler.request FOR UPDATE`, `SELECT FROM mvscheduler.request FOR KEY SHARE`,
		`SELECT setval('mvscheduler.run_id_seq', 9223372036854775807)`, `ALTER SEQUENCE mvscheduler.run_id_seq RESTART`, `SELECT nextval('mvscheduler.views_id_seq')`,
		`SELECT setval('mvscheduler.views_id_seq', 1)`, `CREATE FUNCTION mvscheduler.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `CREATE TABLE mvscheduler.t (a int)`,
		`INSERT INTO mvscheduler.views (name, query, owner) VALUES ('mallory.w', 'SELECT 1 AS id', 'alice')`, `UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.v'`,
		`INSERT INTO mvscheduler.views (name, query, owner) VALUES ('mallory.w', 'SELECT 1 AS id', 'mvscheduler_owner')`, `INSERT INTO mvscheduler.views (name, query) VALUES ('alice.w', 'SELECT 1 AS id')`,
		`CREATE TABLE mallory.fk (id bigint REFERENCES mvscheduler.views)`, `CREATE POLICY mine ON mvscheduler.views USING (true)`, `ALTER TABLE mvscheduler.views DISABLE TRIGGER ALL`,
		`ALTER TABLE mvscheduler.views DISABLE ROW LEVEL SECURITY`, `CREATE STATISTICS mallory.st ON name, query FROM mvscheduler.views`, `SET session_replication_role = replica`,
		`SET ROLE mvscheduler_owner`, `SET ROLE mvscheduler_worker`, `COMMENT ON VIEW alice.v__query IS 'mvscheduler: query of mallory.v'`,
		`ALTER FUNCTION mvscheduler.my_roles() RESET ALL`, `CREATE OR REPLACE VIEW mvscheduler.status AS SELECT 1 AS a`, `UPDATE mvscheduler.attempts SET outcome = 'succeeded'`,
	} {
		a.refused(a.m, "42501", statement)
	}
	a.refused(a.m, "55000", `UPDATE mvscheduler.runs SET state = 'succeeded'`) // no view that can be updated
	a.refused(a.m, "42501", `TRUNCATE mvscheduler.views`)
	a.refused(a.m, "42P01", `SELECT mvscheduler.refresh_view('alice.v')`)
	a.refused(a.m, "42P01", `SELECT mvscheduler.drop_view('alice.v')`)
	a.refused(a.m, "42P01", `SELECT mvscheduler.pause_view('alice.v')`)
	a.refused(a.m, "P0002", `SELECT mvscheduler.cancel_run(1)`)
	a.as(`UPDATE mvscheduler.views SET enabled = false WHERE name = 'alice.v'`, `DELETE FROM mvscheduler.views WHERE id = 1`,
		`INSERT INTO mvscheduler.request (kind, view_id, target_run) VALUES ('cancel', 2, 1)`) // asks for alice's run under the name of mallory's view

	startSidecar(t, a.db)
	until(t, a.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE id = 1 AND state = 'succeeded'`)
	until(t, a.root, `SELECT count(*) = 0 FROM mvscheduler.request`)
	require.True(t, ask[bool](t, alice, `SELECT enabled FROM mvscheduler.views`))
}

// A request to cancel names a view and a run. The view has to be the run's.
func TestACancelUnderTheNameOfAnotherViewStopsNothing(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, a.sql(`CREATE FUNCTION alice.nap() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(5); RETURN 1; END $$`))
	a.manual(alice, "alice.v", "SELECT alice.nap() AS id")
	a.manual(a.m, "mallory.v", "SELECT 1 AS id")
	a.manual(alice, "alice.w", "SELECT 1 / count(*) FILTER (WHERE false) AS id FROM pg_class") // queued most of the time, to be tried again
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET max_attempts = 8`)
	startSidecar(t, a.db)
	pgtest.Exec(t, alice, a.sql(`SELECT mvscheduler.refresh_view('alice.v')`), a.sql(`SELECT mvscheduler.refresh_view('alice.w')`))
	until(t, a.root, `SELECT count(*) FILTER (WHERE state = 'running') = 1 AND count(*) FILTER (WHERE state = 'queued' AND attempts > 0) = 1 FROM mvscheduler.run`)
	a.as(`INSERT INTO mvscheduler.request (kind, view_id, target_run) SELECT 'cancel', view_id, r FROM mvscheduler.visible_views CROSS JOIN generate_series(1, 5) AS r`)
	until(t, a.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE view_name LIKE 'alice%' AND state = 'succeeded'`)
	until(t, a.root, `SELECT max(attempts) > 3 FROM mvscheduler.run`)
	require.Zero(t, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.run WHERE state = 'cancelled'`))
	require.Zero(t, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.attempt WHERE stop IS NOT NULL`))
	pgtest.Exec(t, alice, `SELECT mvscheduler.cancel_run(id) FROM mvscheduler.runs WHERE state IN ('queued', 'running')`)
	until(t, a.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE state = 'cancelled'`)
}

func TestNoFunctionOfOursLendsItsOwnersRights(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	require.Positive(t, ask[int](t, a.root, `SELECT count(*)::int FROM pg_proc WHERE pronamespace = 'mvscheduler'::regnamespace AND prosecdef`))
	for _, c := range []struct{ why, sql string }{
		{"a definer function that users may call, and that does not ask for the attempt that runs on this very backend", `SELECT coalesce(string_agg(oid::regprocedure::text, ', '), '') FROM pg_proc WHERE pronamespace = 'mvscheduler'::regnamespace AND prosecdef
		   AND (has_function_privilege($1, oid, 'EXECUTE') OR has_function_privilege('mvscheduler_user', oid, 'EXECUTE') OR has_function_privilege('mvscheduler_worker', oid, 'EXECUTE'))
		   AND proname <> 'cutoff' -- tells an instant, to whoever reads a view that compares with it
		   AND NOT (proname IN ('changed', 'changed_row') AND prorettype = 'trigger'::regtype AND prosrc ~ 'watched\(TG_RELID\)') -- write about the registered table on which they are
		   AND prosrc !~ '(pg_backend_pid\(|(step|swap)_at_hand\(view_id)'`},
		{"a definer function without a pinned search_path", `SELECT coalesce(string_agg(oid::regprocedure::text, ', '), '') FROM pg_proc WHERE pronamespace = 'mvscheduler'::regnamespace AND prosecdef
		   AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false) AND $1 <> ''`},
		{"a definer function with dynamic SQL", `SELECT coalesce(string_agg(oid::regprocedure::text, ', '), '') FROM pg_proc WHERE pronamespace = 'mvscheduler'::regnamespace AND prosecdef AND prosrc ~* '\mexecute\M' AND $1 <> ''
		   AND proname NOT IN ('changed', 'changed_row') -- name a column of a built-in type, quoted; see attack_increment_test.go`},
		{"a plpgsql function that looks names up in the caller's path, and is not one of those that have to know it", `SELECT coalesce(string_agg(oid::regprocedure::text, ', '), '') FROM pg_proc
		   WHERE pronamespace = 'mvscheduler'::regnamespace AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
		   AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false) AND proname NOT IN ('views_normalize', 'view_id', 'adopt_view', 'release_view', 'target_id') AND $1 <> ''`},
		{"a view that shows rows before it has filtered them", `SELECT coalesce(string_agg(oid::regclass::text, ', '), '') FROM pg_class WHERE relnamespace = 'mvscheduler'::regnamespace AND relkind = 'v'
		   AND NOT coalesce('security_barrier=true' = ANY (reloptions) OR 'security_barrier' = ANY (reloptions), false) AND $1 <> ''`},
		{"something that anybody may write", `SELECT coalesce(string_agg(oid::regclass::text, ', '), '') FROM pg_class WHERE relnamespace = 'mvscheduler'::regnamespace AND relkind IN ('r', 'p', 'v')
		   AND oid NOT IN ('mvscheduler.views'::regclass, 'mvscheduler.request'::regclass, 'mvscheduler.source_retention'::regclass, 'mvscheduler.verify_scan'::regclass) AND has_table_privilege($1, oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')`},
	} {
		require.Empty(t, ask[string](t, a.root, c.sql, a.mallory), c.why)
	}
	a.as(`CREATE TABLE mallory.own (LIKE mvscheduler.views)`)
	for _, f := range []string{"views_bookkeeping", "request_bookkeeping", "record_auto_pause"} {
		a.refused(a.m, "42501", `CREATE TRIGGER t AFTER INSERT ON mallory.own FOR EACH ROW EXECUTE FUNCTION mvscheduler.`+f+`()`)
	}
}

func TestAUserSeesRowsOfTheirOwnOnly(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	a.manual(alice, "alice.hidden", "SELECT 'hidden' AS id")
	startSidecar(t, a.db)
	refreshed(t, alice, a.sql("alice.hidden"))
	pgtest.Exec(t, alice, `BEGIN`, a.sql(`SELECT mvscheduler.refresh_view('alice.hidden')`))
	a.as(`CREATE FUNCTION mallory.leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE LOG 'LOOT|leak|%', $1; RETURN true; END $$`,
		`CREATE FUNCTION mallory.leak2(anyelement, boolean) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE LOG 'LOOT|leak|%', $1; RETURN true; END $$`,
		`CREATE OPERATOR mallory.<<<< (LEFTARG = anyelement, RIGHTARG = boolean, FUNCTION = mallory.leak2)`)
	for relation, column := range map[string]string{"views": "query", "status": "name", "runs": "view_name", "attempts": "run_id", "audit_log": "view_name", "visible_views": "name", "request": "view_id"} {
		for _, where := range []string{"true", "mallory.leak(" + column + ")", column + " OPERATOR(mallory.<<<<) true", "mallory.leak(r)", "NOT mallory.leak(" + column + ") OR true"} {
			require.Equal(t, 0, ask[int](t, a.m, a.sql(`SELECT count(*)::int FROM mvscheduler.`+relation+` AS r WHERE `+where)), "%s %s", relation, where)
		}
		require.Equal(t, 0, ask[int](t, a.m, a.sql(`SELECT count(*)::int FROM mvscheduler.`+relation+` AS r JOIN LATERAL (SELECT mallory.leak(r)) AS l ON true`)), relation)
	}
	require.Equal(t, 0, ask[int](t, a.m, `SELECT count(*)::int FROM pg_stats WHERE schemaname = 'mvscheduler'`), "the planner's statistics hold values")
	a.nothingStolen("")
}

func TestTheAuditLogNamesWhoDidIt(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`SET mvscheduler.actor = 'alice'`, `SELECT set_config('mvscheduler.actor', 'alice', false)`,
		`CREATE FUNCTION mallory.lie() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM set_config('mvscheduler.actor', 'alice', true), set_config('mvscheduler.actor', 'alice', false); RETURN 1; END $$`,
		`CREATE FUNCTION mallory.lies(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
		     PERFORM mallory.lie();
		     UPDATE mvscheduler.views SET priority = 3 WHERE name = 'mallory.first';
		     SET LOCAL mvscheduler.actor = 'alice'; RETURN true; END $$`,
		`CREATE DOMAIN mallory.liar AS int CHECK (mallory.lies(VALUE))`,
		`CREATE TABLE mallory.late (a int)`,
		`CREATE FUNCTION mallory.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.lie(); UPDATE mvscheduler.views SET priority = 4; PERFORM mallory.lie(); RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER t AFTER INSERT ON mallory.late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.late()`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.first', 'SELECT mallory.lie() AS a')`,
		`BEGIN`, `INSERT INTO mallory.late VALUES (1)`,
		`INSERT INTO mvscheduler.views (name, query, indexes) VALUES ('mallory.second', 'SELECT (''{1}''::mallory.liar[])[1]::int AS a', ARRAY['((a + (''{2}''::mallory.liar[])[1]))']), ('mallory.third', 'SELECT 1 AS a', NULL)`,
		`UPDATE mvscheduler.views SET query = query || ' ' WHERE name = 'mallory.second'`, `SET LOCAL mvscheduler.actor = 'alice'`, `SELECT mvscheduler.pause_view('mallory.first')`, `COMMIT`,
		`WITH l AS (SELECT mallory.lie()) UPDATE mvscheduler.views SET priority = priority - (SELECT 1 FROM l)::smallint`,
		`SELECT mvscheduler.refresh_view('mallory.first')`, `DELETE FROM mvscheduler.views WHERE name = 'mallory.third' AND mallory.lie() = 1`)
	require.Equal(t, a.mallory, ask[string](t, a.root, `SELECT string_agg(DISTINCT role, ', ') FROM mvscheduler.audit_entry`))
	require.Equal(t, a.mallory, ask[string](t, a.root, `SELECT string_agg(DISTINCT updated_by::text, ', ') FROM mvscheduler.views`))
}

func TestNobodyTakesANameOrANumberThatIsNotTheirs(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)

	// A row that has lost its relations needs no right to be renamed, and would hold the name for good.
	a.manual(a.m, "mallory.v", "SELECT 1 AS id")
	a.as(`DROP MATERIALIZED VIEW mallory.v`, `DROP VIEW mallory.v__query`)
	a.refused(a.m, "42501", `UPDATE mvscheduler.views SET name = 'alice.daily'`)
	a.refused(a.m, "3F000", `UPDATE mvscheduler.views SET name = 'not_there_yet.daily'`)

	// While code of the query's author is evaluated, the name must not be taken yet.
	a.as(`CREATE FUNCTION mallory.dawdle(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'LOOT|a name was held meanwhile'; RETURN true; END $$`,
		`CREATE DOMAIN mallory.slow AS int CHECK (mallory.dawdle(VALUE))`)
	a.refused(a.m, "42501", `INSERT INTO mvscheduler.views (name, query) VALUES ('alice.daily', 'SELECT (''{1}''::mallory.slow[])[1]::int AS id')`)
	a.nothingStolen("")

	// The numbers that come next, and those of views that are gone, whose health is still known.
	a.refused(a.m, "42501", `INSERT INTO mvscheduler.views (id, name, query) OVERRIDING SYSTEM VALUE SELECT g, 'mallory.v' || g, 'SELECT 1 AS id' FROM generate_series(2, 20) AS g`)
	a.manual(alice, "alice.daily", "SELECT 1 AS id")
	a.refused(a.m, "428C9", `UPDATE mvscheduler.views SET id = 1000`)
	a.refused(a.m, "0A000", `UPDATE mvscheduler.views SET id = DEFAULT`)
}
