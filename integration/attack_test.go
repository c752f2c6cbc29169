package integration

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// doors are the ways by which code of a view's owner gets into a refresh, each a query and what it needs.
// The tag of its payload is its name.
var doors = []struct {
	name   string
	setup  []string
	query  string
	fails  bool // PostgreSQL refuses it, so the run does not succeed
	silent bool // its payload does not run in a refresh, or not on every version
	later  []string
}{
	{name: "volatile", query: `SELECT 1 AS id, mallory.steal('volatile') AS a`},
	{name: "planned", setup: []string{immutable("planned", "")}, query: `SELECT 1 AS id, mallory.planned() AS a`},
	{name: "parsed", silent: true, setup: []string{
		`CREATE FUNCTION mallory.parsed(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('parsed'); RETURN true; END $$`,
		`CREATE DOMAIN mallory.dom AS int CHECK (mallory.parsed(VALUE))`,
	}, query: `SELECT 1 AS id, ('{1}'::mallory.dom[])[1]::int AS a`},
	{name: "cast", setup: []string{
		`CREATE TYPE mallory.odd AS (x int)`,
		`CREATE FUNCTION mallory.to_odd(int) RETURNS mallory.odd LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('cast'); RETURN ROW($1)::mallory.odd; END $$`,
		`CREATE CAST (int AS mallory.odd) WITH FUNCTION mallory.to_odd(int) AS IMPLICIT`,
	}, query: `SELECT 1 AS id, (1::mallory.odd).x AS a`},
	{name: "base_index", setup: []string{
		`CREATE TABLE mallory.indexed AS SELECT g AS a FROM generate_series(1, 100) AS g`,
		immutable("folded", "int"), `CREATE INDEX ON mallory.indexed (mallory.folded(a)) WHERE mallory.folded(1) = 1`, `ANALYZE mallory.indexed`,
		immutable("base_index", "int"), `CREATE INDEX ON mallory.indexed (a) WHERE a = mallory.base_index(1)`,
		`CREATE STATISTICS mallory.extended ON mallory.folded(a), (a + mallory.folded(2)) FROM mallory.indexed`,
	}, query: `SELECT a AS id, a FROM mallory.indexed WHERE a = 1 AND mallory.folded(a) = 1`},
	{name: "matview_index", setup: []string{
		immutable("matview_index", "int"),
		`CREATE FUNCTION mallory.statistic(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE LOG 'RAN|statistic|%|%', session_user, current_user; RETURN $1; END $$`,
		`CREATE FUNCTION mallory.subtype_diff(float8, float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE LOG 'RAN|subtype_diff|%|%', session_user, current_user; RETURN $1 - $2; END $$`,
		`CREATE TYPE mallory.span AS RANGE (subtype = float8, subtype_diff = mallory.subtype_diff)`,
	}, query: `SELECT g AS id, mallory.span(g, g + extract(epoch FROM clock_timestamp())::float8) AS a FROM generate_series(1, 400) AS g`, later: []string{
		`CREATE INDEX ON mallory.matview_index (mallory.matview_index(id)) WHERE id < 4 AND mallory.matview_index(1) = 1`,
		`CREATE INDEX ON mallory.matview_index USING gist (a)`,
		`CREATE STATISTICS mallory.on_matview ON (mallory.statistic(id)), id FROM mallory.matview_index`,
	}},
	{name: "policy", setup: []string{
		`CREATE TABLE mallory.guarded AS SELECT 1 AS a`, immutable("policy", "int"),
		`CREATE POLICY evil ON mallory.guarded USING (mallory.policy(a) = 1)`,
		`ALTER TABLE mallory.guarded ENABLE ROW LEVEL SECURITY`, `ALTER TABLE mallory.guarded FORCE ROW LEVEL SECURITY`,
	}, query: `SELECT a AS id, a FROM mallory.guarded`},
	{name: "triggers", setup: []string{
		`CREATE TABLE mallory.trapped (a int DEFAULT mallory.steal('default'))`,
		`CREATE FUNCTION mallory.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('triggers'); RETURN NEW; END $$`,
		`CREATE TRIGGER r BEFORE INSERT OR UPDATE OR DELETE ON mallory.trapped FOR EACH ROW EXECUTE FUNCTION mallory.trap()`,
		`CREATE TRIGGER s AFTER INSERT OR UPDATE OR DELETE ON mallory.trapped FOR EACH STATEMENT EXECUTE FUNCTION mallory.trap()`,
		`CREATE FUNCTION mallory.insert_trapped() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mallory.trapped DEFAULT VALUES; RETURN 1; END $$`,
	}, query: `SELECT 1 AS id, mallory.insert_trapped() AS a`},
	{name: "deferred", fails: true, silent: true, setup: []string{
		`CREATE TABLE mallory.late (a int)`,
		`CREATE FUNCTION mallory.too_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('deferred'); RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER t AFTER INSERT ON mallory.late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.too_late()`,
		`CREATE FUNCTION mallory.insert_late() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO mallory.late VALUES (1); RETURN 1; END $$`,
	}, query: `SELECT 1 AS id, mallory.insert_late() AS a`},
	{name: "held_cursor", fails: true, silent: true, setup: []string{
		`CREATE FUNCTION mallory.hold() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT mallory.steal(''held_cursor'')'; RETURN 1; END $$`,
	}, query: `SELECT 1 AS id, mallory.hold() AS a`},
	{name: "refcursor", silent: true, setup: []string{
		`CREATE FUNCTION mallory.leave_open() RETURNS int LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'left open'; BEGIN OPEN c FOR SELECT mallory.steal('refcursor') FROM generate_series(1, 3); RETURN 1; END $$`,
	}, query: `SELECT 1 AS id, mallory.leave_open() AS a`},
	{name: "definer", setup: []string{
		`CREATE FUNCTION mallory.definer() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN PERFORM mallory.steal('definer'); RETURN 1; END $$`,
	}, query: `SELECT 1 AS id, mallory.definer() AS a`},
	{name: "nested", setup: []string{
		`CREATE FUNCTION mallory.nested() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		     DELETE FROM mvscheduler.views WHERE name = 'mallory.nested_one';
		     PERFORM mvscheduler.create_view('mallory.nested_one', 'SELECT mallory.steal(''nested'') AS a', refresh_interval => NULL, refresh_on => 'manual');
		     PERFORM mallory.steal('nested'), mvscheduler.refresh_view('mallory.volatile');
		     RETURN 1; END $$`,
	}, query: `SELECT 1 AS id, mallory.nested() AS a`},
	{name: "ddl", setup: []string{
		`CREATE FUNCTION mallory.ddl() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		     CREATE TABLE mallory.made (a int DEFAULT mallory.steal('ddl')); INSERT INTO mallory.made DEFAULT VALUES; DROP TABLE mallory.made;
		     PERFORM pg_notify('mvscheduler_due', ''), pg_advisory_lock(4242), set_config('search_path', 'mallory', false),
		             set_config('session_authorization', 'mallory', false);
		     RETURN 1; EXCEPTION WHEN insufficient_privilege THEN PERFORM mallory.steal('ddl'); RETURN 1; END $$`,
	}, query: `SELECT 1 AS id, mallory.ddl() AS a`},
}

// immutable makes a function that the planner evaluates, or an index.
func immutable(name, arguments string) string {
	return `CREATE FUNCTION mallory.` + name + `(` + arguments + `) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('` + name + `'); RETURN 1; END $$`
}

func TestTheAuthorOfAViewNeverRunsAsSomebodyElse(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for _, d := range doors {
		a.as(d.setup...)
		a.as(`INSERT INTO mvscheduler.views (name, query, unique_key, refresh_interval, refresh_on, max_attempts)
		      VALUES ('mallory.` + d.name + `', ` + quote(d.query) + `, '{id}', NULL, 'manual', 1)`)
	}
	sidecar := startSidecar(t, a.db)
	succeed := func() {
		for _, d := range doors {
			if d.fails {
				until(t, a.m, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id = $1 AND state = 'failed')`,
					ask[int64](t, a.m, `SELECT mvscheduler.refresh_view($1)`, a.sql("mallory."+d.name)))
			} else {
				refreshed(t, a.m, a.sql("mallory."+d.name))
			}
		}
	}
	succeed()
	for _, d := range doors { // the view is populated, so an index is built over its rows, and REFRESH goes CONCURRENTLY from here
		if !d.fails {
			a.as(d.later...)
		}
	}
	succeed()
	require.Positive(t, ask[int64](t, a.m, `SELECT count(*) FROM mvscheduler.runs WHERE method = 'concurrent' AND state = 'succeeded'`))

	// Every column whose change is DDL.
	for _, d := range doors {
		a.as(`UPDATE mvscheduler.views SET query = query || ' -- edited' WHERE name = 'mallory.`+d.name+`'`,
			`UPDATE mvscheduler.views SET unique_key = NULL, indexes = '{(id) WHERE id > 0}' WHERE name = 'mallory.`+d.name+`'`,
			`UPDATE mvscheduler.views SET unique_key = '{id}', indexes = NULL, name = name || '2' WHERE name = 'mallory.`+d.name+`'`,
			`UPDATE mvscheduler.views SET name = left(name, -1) WHERE name = 'mallory.`+d.name+`2'`)
	}
	succeed()
	a.as(`DELETE FROM mvscheduler.views`)
	require.Zero(t, sidecar.stop())

	var tags []string
	for _, d := range doors {
		if !d.silent {
			tags = append(tags, d.name)
		}
	}
	a.nothingStolen(sidecar.role, append(tags, "default", "subtype_diff", "statistic")...)
}

func TestTextOfAnIndexOrAKeyIsParsedInTheSessionOfItsAuthorOnly(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`CREATE FUNCTION mallory.checked(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('index text'); RETURN true; END $$`,
		`CREATE DOMAIN mallory.dom AS int CHECK (mallory.checked(VALUE))`, immutable("expression", "int"),
		`INSERT INTO mvscheduler.views (name, query, indexes, refresh_interval)
		 VALUES ('mallory.v', 'SELECT g AS id FROM generate_series(1, 9) AS g', ARRAY['((id + (''{1}''::mallory.dom[])[1]))', '(mallory.expression(id)) WHERE mallory.expression(id) = 1'], '1 s')`)
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	_, ran := a.loot()
	require.Equal(t, []string{a.mallory}, ran["index text"])
	a.nothingStolen(a.mallory, "index text")
	a.nothingStolen(sidecar.role, "expression")
}

// The search_path of a view is its owner's, and so is lower in it.
func TestAnAdministratorsIndexIsNotParsedByTheSearchPathOfTheOwner(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`SET search_path = mallory, pg_catalog`, `CREATE FUNCTION mallory.lower(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('lower'); RETURN 'x'; END $$`,
		`SELECT lower('a')`, `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT ''a''::text AS a')`)
	admin := a.db.Conn(t, "")
	a.refused(admin, "42501", `UPDATE mvscheduler.views SET indexes = '{"(lower(''A''))"}' WHERE name = 'mallory.v'`)
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET indexes = '{"(a DESC)"}' WHERE name = 'mallory.v'`))
	a.nothingStolen(a.mallory, "lower")
}

// The index is not there yet when an administrator's UPDATE begins; the UPDATE then waits for it.
func TestTextOfAnIndexThatComesInSightMeanwhileIsNotParsedByAnAdministrator(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(storedText, storedDomain, `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT now() AS at, 1 AS a')`,
		`BEGIN`, `CREATE INDEX ON mallory.v`+storedIndex)
	err := a.whileAdminWaits(`UPDATE mvscheduler.views SET query = 'SELECT now() AS at, 1 AS a, 3 AS b' WHERE name = 'mallory.v'`, `COMMIT`)
	require.ErrorContains(t, err, "only "+a.mallory+" can change this")
	a.nothingStolen(a.mallory, "stored text")
}

// whileAdminWaits runs a statement of an administrator and, while it waits for a lock, statements of mallory.
func (a *arena) whileAdminWaits(statement string, meanwhile ...string) error {
	a.t.Helper()
	admin, ended := a.db.Conn(a.t, ""), make(chan error, 1)
	pid := admin.PgConn().PID()
	go func() {
		_, err := admin.Exec(context.WithoutCancel(a.t.Context()), a.sql(statement))
		ended <- err
	}()
	until(a.t, a.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)`, pid)
	a.as(meanwhile...)
	return <-ended
}

const storedText = `CREATE FUNCTION mallory.checked(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('stored text'); RETURN true; END $$`
const storedDomain = `CREATE DOMAIN mallory.dom AS int CHECK (mallory.checked(VALUE))`
const storedIndex = ` ((a + ('{1}'::mallory.dom[])[1]::int))`

// An administrator takes a view over while its owner puts a look-alike in its place.
func TestALookAlikeIsNotTakenOverInPlaceOfAView(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(storedText, storedDomain, `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`,
		`BEGIN`, `ALTER MATERIALIZED VIEW mallory.v RENAME TO kept`, `CREATE MATERIALIZED VIEW mallory.v AS SELECT 1 AS a`)
	err := a.whileAdminWaits(`UPDATE mvscheduler.views SET owner = 'postgres' WHERE name = 'mallory.v'`, `COMMIT`, `CREATE INDEX ON mallory.kept`+storedIndex)
	require.ErrorContains(t, err, "belongs to "+a.mallory+" and not to postgres")
	a.nothingStolen(a.mallory, "stored text")
}

// The row says one role, the relation belongs to another, who can write text that hangs on it.
func TestTextOnARelationThatBelongsToAnotherRoleIsNotParsed(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	admin := a.db.Conn(t, "")
	a.as(storedText, storedDomain)
	pgtest.Exec(t, admin, a.sql(`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.w', 'SELECT 1 AS a')`),
		a.sql(`ALTER MATERIALIZED VIEW mallory.w OWNER TO mallory`), a.sql(`ALTER VIEW mallory.w__query OWNER TO mallory`))
	a.as(`CREATE INDEX ON mallory.w` + storedIndex)
	a.refused(admin, "55000", `UPDATE mvscheduler.views SET query = 'SELECT 1 AS a, 2 AS b' WHERE name = 'mallory.w'`)

	// A role that was dropped is nobody whose rights could be taken on.
	carol := a.db.User(t, "carol")
	pgtest.Exec(t, a.db.Conn(t, carol), `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	pgtest.Exec(t, admin, `REASSIGN OWNED BY `+carol+` TO `+a.mallory, `DROP OWNED BY `+carol, `DROP ROLE `+carol)
	a.as(`CREATE INDEX ON ` + carol + `.v` + storedIndex)
	a.refused(admin, "55000", `UPDATE mvscheduler.views SET owner = 'mallory', query = 'SELECT 1 AS a, 2 AS b' WHERE name LIKE 'carol%'`)
	a.refused(admin, "55000", `UPDATE mvscheduler.views SET owner = 'mallory' WHERE name LIKE 'carol%'`) // REASSIGN OWNED looked at nothing
	pgtest.Exec(t, admin, `DROP INDEX `+carol+`.v_expr_idx`, `UPDATE mvscheduler.views SET owner = '`+a.mallory+`' WHERE name LIKE 'carol%'`)
	a.as(`CREATE INDEX ON ` + carol + `.v` + storedIndex)
	a.refused(admin, "42501", `UPDATE mvscheduler.views SET query = 'SELECT 1 AS a, 2 AS b' WHERE name LIKE 'carol%'`)
	a.nothingStolen(a.mallory, "stored text")
	pgtest.Exec(t, admin, `CREATE ROLE `+carol) // the end of the test drops it
}

// Everybody may make functions in schema public of a database that comes from PostgreSQL 14.
func TestTheCommandsOfAnAdministratorCallNothingOfUsers(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	pgtest.Exec(t, a.root, `GRANT CREATE ON SCHEMA public TO PUBLIC`)
	a.as(`INSERT INTO mvscheduler.views (name, query, retention_period, time_column) VALUES ('mallory.v', 'SELECT now() AS at, 1 AS a', '3 days', 'at')`)
	for _, signature := range []string{
		"format(text, name)", "format(text, text)", "format(text, regrole)", "format(text, regclass)", "format(text, text, text)", "format(text, name, name)", "concat_ws(text, text)", "concat_ws(text, text, text)",
		"max(interval)", "array_agg(text)", "array_agg(name)", "array_agg(regrole)", "unnest(text[])", "unnest(aclitem[])", "unnest(oid[])", "pg_has_role(oid, name)", "pg_has_role(regrole, text)", "has_schema_privilege(oid, oid, text)",
		"string_agg(name, text)", "string_agg(regclass, text)", "jsonb_build_object(text, text)", "jsonb_agg(text)", "to_jsonb(mvscheduler.views)", "to_jsonb(text)", "quote_ident(name)", "quote_literal(name)",
		"count(bigint)", "lower(name)", "length(name)", "array_to_string(text[], text)", "array_to_string(name[], text)", "cardinality(bigint[])", "cardinality(text[])",
	} {
		returns, end := "text", "RETURN 'x'"
		if strings.HasPrefix(signature, "unnest") {
			returns, end = "SETOF text", "RETURN NEXT 'x'"
		}
		a.as(`CREATE FUNCTION public.` + signature + ` RETURNS ` + returns + ` LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'RAN|path|%|%', session_user, current_user; ` + end + `; END $$`)
	}
	a.as(`SET search_path = public`, `SELECT format('x'::text, 'y'::name)`)
	v := a.sql("mallory.v")
	for _, args := range [][]string{
		{"doctor"}, {"status"}, {"list"}, {"show", v}, {"show", "nowhere.v"}, {"export", v}, {"prune", v, "--dry-run"}, {"health"}, {"grants"}, {"grants", "--for", a.mallory}, {"next", v}, {"runs"}, {"runs", v},
		{"adopt", "--from-pg-cron", "--dry-run"}, {"refresh", v}, {"pause", v}, {"resume", v}, {"edit", v, "--interval", "5 minutes"}, {"edit", v, "--rename", "w"}, {"edit", a.sql("mallory.w"), "--rename", v}, {"release", v},
	} {
		r := mvscheduler(t, a.db, "", "", args...)
		t.Logf("%v: %d %.200s", args, r.code, r.stderr)
	}
	a.nothingStolen(a.mallory, "path")
}

func TestNamesThatShadowPgCatalogChangeNothing(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`CREATE FUNCTION mallory.bad() RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN PERFORM mallory.steal('shadow'); RETURN false; END $$`)
	for _, f := range []string{
		"count(bigint)", "now()", "format(text, text, text)", "format(text, VARIADIC text[])", "set_config(text, text, boolean)", "current_setting(text)",
		"quote_ident(name)", "quote_ident(text)", "current_schema()", "current_schemas(boolean)", "coalesce_(text)", "cardinality(text[])",
		"lower(text)", "left(text, int)", "pg_notify(text, text)", "to_jsonb(anyelement)", "array_agg(text)", "unnest(name[])", "pg_has_role(oid, text)",
		"parse_ident(text)", "clock_timestamp()", "obj_description(oid, name)", "string_agg(text, text)", "regexp_replace(text, text, text)",
	} {
		a.as(`CREATE FUNCTION mallory.` + f + ` RETURNS boolean LANGUAGE sql AS 'SELECT mallory.bad()'`)
	}
	for _, types := range []string{"text, text", "name, text", "name, name", "bigint, bigint", "oid, oid", "regrole, regrole", "boolean, boolean", "jsonb, text", "text[], text[]", "int, int", "text, anynonarray"} {
		a.as(`CREATE FUNCTION mallory.operated(` + types + `) RETURNS boolean LANGUAGE sql AS 'SELECT mallory.bad()'`)
		for _, op := range []string{"=", "<>", "||", "<", ">", "->", "->>", "~~"} {
			left, right, _ := cut(types)
			a.as(`CREATE OPERATOR mallory.` + op + ` (LEFTARG = ` + left + `, RIGHTARG = ` + right + `, FUNCTION = mallory.operated)`)
		}
	}
	for _, typ := range []string{"text", "name", "int8", "regrole", "oid", "bool", "jsonb", "interval"} {
		a.as(`CREATE DOMAIN mallory.` + typ + ` AS pg_catalog.` + typ + ` CHECK (mallory.bad())`)
	}
	for _, table := range []string{"pg_roles", "pg_class", "views", "view_state", "run", "request", "settings", "audit_entry", "visible_views"} {
		a.as(`CREATE TABLE mallory.` + table + ` (rolname pg_catalog.text, oid pg_catalog.oid, view_id pg_catalog.int8)`)
	}
	sidecar := startSidecar(t, a.db)
	a.as(`SET search_path = mallory, pg_catalog`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v', 'SELECT 1 AS id', '1 s')`,
		`SELECT mvscheduler.create_view('w', 'SELECT 2 AS id')`)
	fresh := a.db.Conn(t, a.mallory)
	pgtest.Exec(t, fresh, a.sql(`SET search_path = mallory, pg_catalog`))
	for _, s := range []string{
		`UPDATE mvscheduler.views SET query = 'SELECT 3 AS id', indexes = '{(id)}' WHERE id = 1`, `SELECT mvscheduler.pause_view('w', 'why')`, `SELECT mvscheduler.resume_view('mallory.w')`,
		`SELECT mvscheduler.refresh_view('v')`, `SELECT pg_catalog.count(name) FROM mvscheduler.status`, `SELECT pg_catalog.count(view_name) FROM mvscheduler.runs`,
		`SELECT pg_catalog.count(run_id) FROM mvscheduler.attempts`, `SELECT pg_catalog.count(id) FROM mvscheduler.audit_log`, `UPDATE mvscheduler.views SET name = 'x' WHERE id = 2`,
	} {
		pgtest.Exec(t, fresh, a.sql(s))
	}
	until(t, a.root, `SELECT count(*) > 1 FROM mvscheduler.run WHERE state = 'succeeded'`)
	pgtest.Exec(t, fresh, `SELECT mvscheduler.drop_view('x')`)
	require.Zero(t, sidecar.stop())
	achieved, ran := a.loot()
	require.Empty(t, achieved)
	require.NotContains(t, ran, "shadow", "something of ours looked a name up in the caller's search_path")
}
