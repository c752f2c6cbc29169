package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// closed says that a session gets nothing done through the gate of a view.
func closed(t testing.TB, conn *pgx.Conn, view int64) {
	t.Helper()
	require.Zero(t, ask[int64](t, conn, `SELECT mvscheduler.step($1)`, view))
	require.Zero(t, ask[int64](t, conn, `SELECT mvscheduler.step_swap($1) + mvscheduler.step_drop_leftover($1)`, view))
	require.True(t, ask[bool](t, conn, `SELECT mvscheduler.step_at_hand($1) IS NULL`, view))
	require.True(t, ask[bool](t, conn, `SELECT (owner, relation, query_relation, next, next_query) IS NULL FROM mvscheduler.swap_at_hand($1)`, view))
	require.Zero(t, ask[int64](t, conn, `SELECT count(*) FROM mvscheduler.leftovers_at_hand($1)`, view))
	require.Zero(t, ask[int64](t, conn, `SELECT mvscheduler.step_track($1) + mvscheduler.step_increment($1) + mvscheduler.step_build($1)`, view))
	require.True(t, ask[bool](t, conn, `SELECT i.owner IS NULL AND b.owner IS NULL AND NOT EXISTS (SELECT FROM mvscheduler.track_at_hand($1)) FROM mvscheduler.increment_at_hand($1) AS i, mvscheduler.build_at_hand($1) AS b`, view))
	pgtest.Exec(t, conn, fmt.Sprintf(`SELECT mvscheduler.increment_done(%[1]d, 1, 1, 1, 1), mvscheduler.build_done(%[1]d, now(), now(), now(), 1, 1)`, view))
	pgtest.Exec(t, conn, fmt.Sprintf(`SELECT mvscheduler.swap_done(%d)`, view), fmt.Sprintf(`SELECT mvscheduler.leftovers_done(%d)`, view))
}

func TestAGateDoesNothingForAnybodyButTheRunningAttempt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	bob := s.db.Conn(t, s.db.User(t, "bob"))
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	s.redefine(t, "v", `SELECT id, amount, 1 AS one FROM sales`)
	state := func() string {
		return ask[string](t, s.root, `SELECT concat_ws(' ', relation::oid, query_relation::oid, (SELECT string_agg(concat(kind, relation::oid), ',' ORDER BY kind) FROM mvscheduler.piece), (SELECT count(*) FROM mvscheduler.redefinition)) FROM mvscheduler.view_state`)
	}
	was := state()
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v__next`)
	for _, conn := range []*pgx.Conn{s.alice, bob, s.root, s.db.Conn(t, s.db.Worker(t))} {
		closed(t, conn, 1)
	}
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v__gate`)
	require.Zero(t, ask[int64](t, s.alice, `SELECT step FROM v__gate`))
	requireSQLState(t, s.alice, "42501", `INSERT INTO mvscheduler.pass (run_id, token, view_id, step) VALUES (1, 1, 1, 'swap')`)
	requireSQLState(t, bob, "42501", `SELECT mvscheduler.views_pieces()`)
	require.Equal(t, was, state())

	// While the attempt that fills the new version is under way.
	s.redefine(t, "v", `SELECT id, slow(0.03) AS one FROM sales`)
	was = state()
	sidecar := startSidecar(t, s.db)
	s.working(t, "v")
	for _, conn := range []*pgx.Conn{s.alice, bob, s.root, s.db.Conn(t, s.db.Worker(t))} {
		closed(t, conn, 1)
	}
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v__gate`)
	require.Equal(t, was, state())
	s.oneVersion(t, "v")

	// Even a pass that is left over holds for no other transaction.
	require.Zero(t, sidecar.stop())
	s.redefine(t, "v", `SELECT id, amount, 2 AS two FROM sales`)
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v__next`)
	was = state()
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET state = 'running' WHERE id = (SELECT max(id) FROM mvscheduler.run)`,
		`INSERT INTO mvscheduler.pass (run_id, token, view_id, step) SELECT id, token, view_id, 'swap' FROM mvscheduler.run WHERE state = 'running'`)
	_, err := s.root.Exec(t.Context(), `UPDATE mvscheduler.attempt SET outcome = 'running', backend_pid = $1, backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = $1) WHERE run_id = (SELECT run_id FROM mvscheduler.pass)`,
		int32(s.alice.PgConn().PID()))
	require.NoError(t, err)
	closed(t, s.alice, 1)
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v__gate`)
	require.Equal(t, was, state())
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.pass`, `UPDATE mvscheduler.run SET state = 'failed' WHERE state = 'running'`, `UPDATE mvscheduler.attempt SET outcome = 'failed' WHERE outcome = 'running'`)
}

func TestADatabaseThatIsRestoredInTheMiddleOfARedefinitionGoesOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v`, `CREATE VIEW dependent AS SELECT amount FROM v`)
	s.redefine(t, "v", `SELECT id, amount, 1 AS one FROM sales`)
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v__next`, `REFRESH MATERIALIZED VIEW v__gate`) // so that a restore runs the gate
	to := pgtest.NewEmpty(t)
	t.Cleanup(func() {
		if !t.Failed() {
			to.Exec(t, "DROP OWNED BY "+s.owner+" CASCADE")
		}
	})
	client(t, to, client(t, s.db, "", "pg_dump", "-d", s.db.URL()), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")
	copied := &scene{db: to, owner: s.owner, alice: to.Conn(t, s.owner), root: to.Conn(t, "")}
	require.Equal(t, "id integer, amount integer", copied.columns(t, "v"), "the restore swapped nothing")
	startSidecar(t, to)
	copied.oneVersion(t, "v")
	require.Equal(t, "id integer, amount integer, one integer", copied.columns(t, "v"))
	require.Equal(t, int64(5050), ask[int64](t, copied.alice, `SELECT sum(amount) FROM dependent`))
}

func TestPiecesThatAreNotWhatTheyWereEndInAClearState(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	bob := s.db.User(t, "bob")
	for _, schema := range []string{s.owner, bob} {
		s.db.Exec(t, `GRANT USAGE, CREATE ON SCHEMA `+schema+` TO `+s.owner+`, `+bob)
	}
	pgtest.Exec(t, s.db.Conn(t, bob), `CREATE TABLE bobs AS SELECT 1 AS a`)
	cases := []struct {
		name   string
		by     *pgx.Conn
		do     []string
		reason string
	}{
		{"gate_dropped", s.alice, []string{`DROP MATERIALIZED VIEW VIEW_gate`}, "its gate: the materialized view does not exist any more"},
		{"gate_replaced", s.alice, []string{`DROP MATERIALIZED VIEW VIEW_gate`, `CREATE MATERIALIZED VIEW VIEW_gate AS SELECT mvscheduler.step(1) AS step WITH NO DATA`}, "its gate: the materialized view does not exist any more"},
		{"gate_given", s.root, []string{`ALTER MATERIALIZED VIEW ALICE.VIEW_gate OWNER TO BOB`}, "was given to another owner by hand"},
		{"next_dropped", s.alice, []string{`DROP MATERIALIZED VIEW VIEW_next`}, "its new version: the materialized view does not exist any more"},
		{"next_replaced", s.alice, []string{`DROP MATERIALIZED VIEW VIEW_next`, `CREATE TABLE VIEW_next (id int)`}, "its new version: the materialized view does not exist any more"},
		{"next_given", s.root, []string{`ALTER MATERIALIZED VIEW ALICE.VIEW_next OWNER TO BOB`}, "its new version"},
		{"query_given", s.root, []string{`ALTER VIEW ALICE.VIEW_next__query OWNER TO BOB`}, "query"},
		{"query_replaced", s.alice, []string{`DROP VIEW VIEW_next__query CASCADE`, `CREATE VIEW VIEW_next__query AS SELECT 1 AS id`}, "its new version: the materialized view does not exist any more"},
	}
	for _, c := range cases {
		s.manage(t, c.name, `SELECT id, amount FROM sales`, "refresh_interval", "1 day", "max_attempts", 1)
		pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW `+c.name)
		s.redefine(t, c.name, `SELECT id, amount, 1 AS one FROM sales`)
		for _, statement := range c.do {
			pgtest.Exec(t, c.by, strings.NewReplacer("ALICE", s.owner, "BOB", bob, "VIEW_", c.name+"__").Replace(statement))
		}
	}
	// Renamed by hand they are what they were.
	s.manage(t, "renamed", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	s.redefine(t, "renamed", `SELECT id, amount, 1 AS one FROM sales`)
	pgtest.Exec(t, s.alice, `ALTER MATERIALIZED VIEW renamed__gate RENAME TO "odd; gate"`, `ALTER MATERIALIZED VIEW renamed__next RENAME TO "odd; ""next"`, `ALTER VIEW renamed__query RENAME TO "odd query"`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET max_runs_per_owner = 20`)
	startSidecar(t, s.db)
	for _, c := range cases {
		until(t, s.alice, `SELECT activity = 'paused' FROM mvscheduler.status WHERE name LIKE '%.' || $1`, c.name)
		reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.' || $1`, c.name)
		require.Contains(t, reason, c.reason, c.name)
		require.Contains(t, reason, "resume", c.name)
		require.Equal(t, "id integer, amount integer", s.columns(t, c.name), "the old version is served")
	}
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE kind = 'build' AND state = 'succeeded'`)
	require.Equal(t, "id integer, amount integer, one integer", s.columns(t, "renamed"))
	for _, c := range cases { // resuming makes what is missing anew
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('`+c.name+`')`)
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition AS r JOIN mvscheduler.view_state AS v USING (view_id) WHERE v.name LIKE '%.' || $1)`, c.name)
		require.Equal(t, "id integer, amount integer, one integer", s.columns(t, c.name), c.name)
	}
	require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM `+bob+`.bobs`))
}

// A domain calls a function of the owner's when the dependent view is parsed anew, in the middle of the swap.
func TestAVersionThatCannotBeDroppedIsNamedAndHoldsNothingBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE FUNCTION hook(int) RETURNS boolean LANGUAGE plpgsql SET search_path = `+s.owner+` AS $$ BEGIN
	          IF to_regclass('v__old') IS NOT NULL AND to_regclass('reader') IS NULL THEN EXECUTE 'CREATE VIEW reader AS SELECT id FROM v__old'; END IF;
	          RETURN true; END $$`, `CREATE DOMAIN dom AS int CHECK (hook(VALUE))`)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	s.manage(t, "xv", `SELECT 1 AS a`, "refresh_interval", "1 day")
	pgtest.Exec(t, s.alice, `CREATE VIEW dep AS SELECT v.id, '{1}'::dom[] AS x FROM v`, `CREATE STATISTICS both_of ON id, amount FROM v`)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v", "xv")
	s.redefine(t, "v", `SELECT id, amount, 1 AS one FROM sales`)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.piece WHERE kind IN ('old', 'old_query')`)
	require.Equal(t, "both_of", ask[string](t, s.alice, `SELECT string_agg(stxname, ' ') FROM pg_statistic_ext AS e JOIN pg_class AS c ON c.oid = e.stxrelid WHERE c.relname = 'v'`), "the old version's have another name now")
	found, _ := examine(t, s.db, "")
	left := about(found, "leftover")
	require.Len(t, left, 2)
	require.Equal(t, s.owner+".v__old", left[0].Subject)
	require.Contains(t, left[0].What, s.owner+".reader reads it")
	pgtest.Exec(t, s.alice, `DROP VIEW reader`)
	refreshed(t, s.alice, "v")
	s.oneVersion(t, "v")
	found, _ = examine(t, s.db, "")
	require.Empty(t, about(found, "leftover"))

	// A name that ends like that of another view, or has a wildcard in it, hides nothing.
	pgtest.Exec(t, s.alice, `COMMENT ON VIEW dep IS 'mvscheduler: query of `+s.owner+`.zv'`)
	found, _ = examine(t, s.db, "")
	require.Len(t, about(found, "leftover"), 1)
}

// The comment on the plain view with the query is a mark for restores; what is managed is known by its OID.
func TestCommentsOnThePlainViewAreTheOwners(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `COMMENT ON VIEW v__query IS 'mine'`, `COMMENT ON COLUMN v__query.amount IS 'in cents'`)
	s.redefine(t, "v", `SELECT id, amount, 1 AS one FROM sales`)
	s.oneVersion(t, "v")
	require.Equal(t, "in cents", ask[string](t, s.alice, `SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'v__query'::regclass AND attname = 'amount'`))
	refreshed(t, s.alice, "v")
}

func TestWhatASwapCouldNotDropIsDroppedByALaterRun(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	bob := s.db.User(t, "bob")
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", "1 day")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	s.redefine(t, "v", `SELECT id, amount, 1 AS one FROM sales`)
	s.oneVersion(t, "v")
	pgtest.Exec(t, s.alice, `CREATE VIEW v__old__query AS SELECT 1 AS a`, `CREATE MATERIALIZED VIEW v__old AS SELECT * FROM v__old__query`, `CREATE MATERIALIZED VIEW given AS SELECT 1 AS a`,
		`CREATE TABLE a_table (a int)`)
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.piece SELECT 1, k, (`+quote(s.owner)+` || '.' || r)::regclass FROM (VALUES ('old', 'v__old'), ('old_query', 'v__old__query'), ('old', 'given'), ('old', 'a_table')) AS p(k, r)`,
		`ALTER MATERIALIZED VIEW `+s.owner+`.given OWNER TO `+bob)
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `SELECT * FROM v__old`)
	refreshed(t, s.alice, "v")
	require.Equal(t, 4, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.piece WHERE kind LIKE 'old%'`), "not while somebody reads it")
	pgtest.Exec(t, holder, `COMMIT`)
	refreshed(t, s.alice, "v")
	s.oneVersion(t, "v")
	require.Equal(t, "a_table given", ask[string](t, s.root, `SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relname IN ('given', 'a_table', 'v__old', 'v__old__query')`), "what is not the view's is left alone")
}

func TestNothingInARedefinitionRunsAsSomebodyElse(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	victim := a.db.Conn(t, a.alice)
	pgtest.Exec(t, victim, `CREATE TABLE base AS SELECT 1 AS a`, `INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on) VALUES ('theirs', 'SELECT a FROM base', NULL, 'manual')`,
		`REFRESH MATERIALIZED VIEW theirs`, `UPDATE mvscheduler.views SET query = 'SELECT a, 2 AS b FROM base'`, `REFRESH MATERIALIZED VIEW theirs__next`)
	theirs := ask[int64](t, victim, `SELECT id FROM mvscheduler.views`)
	attempts := fmt.Sprintf(`
DECLARE c text; n bigint;
BEGIN
    PERFORM mallory.steal(tag);
    FOREACH c IN ARRAY ARRAY['SELECT mvscheduler.step(%[1]d)', 'SELECT mvscheduler.step_swap(%[1]d)', 'SELECT count(next) FROM mvscheduler.swap_at_hand(%[1]d)', 'SELECT count(*) FROM mvscheduler.leftovers_at_hand(%[1]d)',
        'SELECT count(*) FROM mvscheduler.pass', 'INSERT INTO mvscheduler.pass (run_id, token, view_id, step) SELECT 1, 1, %[1]d, ''swap'' RETURNING 1',
        'UPDATE mvscheduler.pass SET view_id = %[1]d RETURNING 1', 'SELECT count(*) FROM mvscheduler.piece', 'DELETE FROM mvscheduler.redefinition RETURNING 1', 'UPDATE mvscheduler.view_state SET relation = 0 RETURNING 1']
    LOOP
        BEGIN
            EXECUTE c INTO n;
            IF n <> 0 THEN RAISE LOG 'LOOT|%%|%%|%%|%%', tag, session_user, current_user, c; END IF;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    PERFORM mvscheduler.swap_done(%[1]d), mvscheduler.leftovers_done(%[1]d);
    -- one's own step, in the middle of the fill or of the swap itself
    FOREACH c IN ARRAY ARRAY['SELECT mvscheduler.step((SELECT id FROM mvscheduler.views WHERE name = ''mallory.v''))', 'REFRESH MATERIALIZED VIEW mallory.v__gate', CASE tag WHEN 'fill' THEN 'SELECT 1' ELSE 'DROP MATERIALIZED VIEW mallory.v__gate' END,
        'SELECT mvscheduler.step_swap((SELECT id FROM mvscheduler.views WHERE name = ''mallory.v''))']
    LOOP
        BEGIN
            IF own AND session_user <> 'mallory' THEN EXECUTE c; END IF;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    RETURN 1;
END`, theirs)
	define := func(name, arguments, body string) string {
		return `CREATE FUNCTION mallory.` + name + `(` + arguments + `) RETURNS ` + body
	}
	a.as(`CREATE FUNCTION mallory.try(tag text, own boolean) RETURNS int LANGUAGE plpgsql AS `+quote(attempts),
		define("in_fill", "", `int LANGUAGE plpgsql AS $$ BEGIN RETURN mallory.try('fill', true); END $$`),
		define("in_index", "int", `int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.try('index', false); RETURN $1; END $$`),
		define("in_hand_index", "int", `int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.try('hand index', false); RETURN $1; END $$`),
		define("in_statistics", "int", `int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.try('statistics', false); RETURN $1; END $$`),
		define("in_domain", "int", `boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.try('swap', true); RETURN true; END $$`),
		define("in_dependent", "", `int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.try('dependent', true); RETURN 1; END $$`),
		`CREATE DOMAIN mallory.dom AS int CHECK (mallory.in_domain(VALUE))`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on, unique_key, indexes, max_attempts) VALUES ('mallory.v', 'SELECT g AS id, mallory.in_fill() AS a FROM generate_series(1, 2) AS g', NULL, 'manual', '{id}', '{(mallory.in_index(id))}', 1)`)
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	a.as(`CREATE INDEX "x""; DROP TABLE mallory.canary; --" ON mallory.v (mallory.in_hand_index(id)) WHERE id > 0`, `CREATE STATISTICS mallory.s ON (mallory.in_statistics(id)), id FROM mallory.v`,
		`CREATE TABLE mallory.canary AS SELECT 1 AS a`, `ALTER DEFAULT PRIVILEGES IN SCHEMA mallory GRANT ALL ON TABLES TO PUBLIC`,
		`CREATE VIEW mallory."d""; DROP TABLE mallory.canary; --" WITH (security_barrier = 'true') AS SELECT id AS "c""; DROP TABLE mallory.canary; --", mallory.in_dependent() AS d, ('{1}'::mallory.dom[])[1]::int AS e, '; DROP TABLE mallory.canary; --'::text AS f FROM mallory.v`,
		`COMMENT ON MATERIALIZED VIEW mallory.v IS '''; DROP TABLE mallory.canary; --'`, `COMMENT ON COLUMN mallory.v.id IS E'\\''; DROP TABLE mallory.canary; --'`)
	for _, more := range []string{`, 1 AS "x""; DROP TABLE mallory.canary; --"`, `, 2 AS two`} {
		a.as(`UPDATE mvscheduler.views SET query = ` + quote(`SELECT g AS id, mallory.in_fill() AS a`+more+` FROM generate_series(1, 2) AS g`) + ` WHERE name = 'mallory.v'`)
		refreshed(t, a.m, a.sql("mallory.v"))
		require.Zero(t, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.redefinition AS r JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.owner = $1::text::regrole`, a.mallory))
		require.Equal(t, 1, ask[int](t, a.m, a.sql(`SELECT count(*)::int FROM mallory.canary`)))
	}
	require.Equal(t, int64(2), ask[int64](t, a.m, a.sql(`SELECT sum(two) / 2 FROM mallory.v`)))
	require.False(t, ask[bool](t, a.root, `SELECT has_table_privilege($1, $2::text::regclass, 'SELECT')`, a.alice, a.mallory+".v"), "what default privileges gave to the new version is not on the view")

	// Names of relations, schemas and roles that want to be more.
	a.as(`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on) VALUES ('mallory."n""; DROP TABLE mallory.canary; --"', 'SELECT 1 AS a', NULL, 'manual')`,
		`CREATE VIEW mallory.on_odd AS SELECT a FROM mallory."n""; DROP TABLE mallory.canary; --"`,
		`UPDATE mvscheduler.views SET query = 'SELECT 1 AS a, 2 AS "b%s%I$1"' WHERE name LIKE '%canary%'`)
	refreshed(t, a.m, a.sql(`mallory."n""; DROP TABLE mallory.canary; --"`))
	require.Equal(t, 1, ask[int](t, a.m, a.sql(`SELECT count(*)::int FROM mallory.canary`)))
	require.Equal(t, 2, ask[int](t, a.m, a.sql(`SELECT count(*)::int FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relname = 'n"; DROP TABLE mallory.canary; --' AND a.attnum > 0`)))

	// A gate that is another's, and a tale about pieces.
	a.as(`SELECT set_config('mvscheduler.pieces', (SELECT 'alice.theirs__gate'::regclass::oid || ' ' || 'alice.theirs__next'::regclass::oid || ' ' || 'alice.theirs__next__query'::regclass::oid), false)`,
		`UPDATE mvscheduler.views SET priority = 3 WHERE name = 'mallory.v'`)
	require.Zero(t, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.redefinition AS r JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.owner = $1::text::regrole`, a.mallory))
	require.Equal(t, "a integer", (&scene{alice: victim}).columns(t, "theirs"), "the other's view waits as it did")
	require.Equal(t, 1, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.redefinition WHERE view_id = $1`, theirs))
	refreshed(t, victim, a.alice+".theirs")
	require.Equal(t, "a integer, b integer", (&scene{alice: victim}).columns(t, "theirs"))
	require.Zero(t, sidecar.stop())
	a.nothingStolen(sidecar.role, "fill", "index", "hand index", "swap")
}

func TestDefaultPrivilegesOpenNoWayPastTheGrantsOfAView(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	reader := s.db.Role(t, "reader")
	pgtest.Exec(t, s.alice, `ALTER DEFAULT PRIVILEGES IN SCHEMA `+s.owner+` GRANT SELECT ON TABLES TO `+reader, `ALTER DEFAULT PRIVILEGES IN SCHEMA `+s.owner+` GRANT SELECT ON TABLES TO PUBLIC`,
		`CREATE MATERIALIZED VIEW adopted AS SELECT 1 AS a`, `REVOKE SELECT ON adopted FROM PUBLIC, `+reader,
		`SELECT mvscheduler.adopt_view('adopted')`)
	s.manage(t, "made", `SELECT 1 AS a`, "refresh_interval", "1 day")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "made")
	readable := func() []string {
		return ask[[]string](t, s.root, `
SELECT coalesce(array_agg(c.relname::text ORDER BY c.relname), '{}')
  FROM pg_class AS c
 WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('m', 'v') AND has_table_privilege($2, c.oid, 'SELECT')
   AND (c.relname LIKE 'made%' OR c.relname LIKE 'adopted%')`, s.owner, reader)
	}
	require.Equal(t, []string{"made"}, readable())
	pgtest.Exec(t, s.alice, `REVOKE SELECT ON made FROM PUBLIC`, `UPDATE mvscheduler.views SET query = 'SELECT 1 AS a, 2 AS b'`)
	require.Equal(t, []string{"made"}, readable(), "while the new versions wait")
	until(t, s.alice, `SELECT count(*) = 2 FROM pg_attribute WHERE attrelid IN ('made'::regclass, 'adopted'::regclass) AND attname = 'b'`)
	require.Equal(t, []string{"made"}, readable())
}
