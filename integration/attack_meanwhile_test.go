package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// handover is how an administrator gives mallory's view to alice.
const handover = `UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.v'`

// handoverArena lets alice own views in mallory's schema.
func handoverArena(t *testing.T) (*arena, *pgx.Conn) {
	t.Helper()
	a := newArena(t)
	pgtest.Exec(t, a.root, a.sql(`GRANT ALL ON SCHEMA mallory TO alice`), `GRANT CREATE ON DATABASE `+a.db.Name+` TO `+a.mallory)
	return a, a.db.Conn(t, "")
}

// whileBlocked runs a statement of an administrator, which waits for the name of a relation that mallory is making;
// meanwhile she does something, and then lets go.
func (a *arena) whileBlocked(statement, relation string, meanwhile ...string) error {
	a.t.Helper()
	admin, blocker := a.db.Conn(a.t, ""), a.db.Conn(a.t, a.mallory)
	pgtest.Exec(a.t, blocker, `BEGIN`, a.sql(`CREATE TABLE `+relation+` ()`))
	ended := make(chan error, 1)
	pid := admin.PgConn().PID()
	go func() {
		_, err := admin.Exec(context.WithoutCancel(a.t.Context()), a.sql(statement))
		ended <- err
	}()
	until(a.t, a.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)`, pid)
	a.as(`SET lock_timeout = '1s'`)
	for _, s := range meanwhile {
		if _, err := a.m.Exec(a.t.Context(), a.sql(s)); err != nil {
			a.t.Logf("%s: %v", s, err) // held, as it should be
		}
	}
	pgtest.Exec(a.t, blocker, `ROLLBACK`)
	return <-ended
}

// A function that runs while the text is parsed changes the very row, or deletes it.
func TestARowCannotChangeItselfWhileItsTextIsParsed(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`,
		`CREATE FUNCTION mallory.hook(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
		     IF current_setting('x.todo', true) <> '' THEN
		         PERFORM set_config('x.now', current_setting('x.todo'), true), set_config('x.todo', '', true), mallory.steal('nested');
		         EXECUTE current_setting('x.now');
		     END IF; RETURN true; END $$`,
		`CREATE DOMAIN mallory.dom AS int CHECK (mallory.hook(VALUE))`)
	for todo, statement := range map[string]string{
		`UPDATE mvscheduler.views SET query = ''SELECT 1 AS a'' WHERE name = ''mallory.v''`:         `UPDATE mvscheduler.views SET query = 'SELECT mallory.steal(''row'') + (''{1}''::mallory.dom[])[1]::int AS a'`,
		`UPDATE mvscheduler.views SET priority = 1 WHERE name = ''mallory.v''`:                      `UPDATE mvscheduler.views SET query = 'SELECT (''{1}''::mallory.dom[])[1]::int AS a'`,
		`DELETE FROM mvscheduler.views WHERE name = ''mallory.v''`:                                  `UPDATE mvscheduler.views SET query = 'SELECT (''{1}''::mallory.dom[])[1]::int AS a'`,
		`DELETE FROM mvscheduler.views WHERE name = ''mallory.w''`:                                  `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.w', 'SELECT (''{1}''::mallory.dom[])[1]::int AS a')`,
		`UPDATE mvscheduler.views SET query = ''SELECT 2 AS a, 3 AS b'' WHERE name = ''mallory.v''`: `UPDATE mvscheduler.views SET query = 'SELECT mallory.steal(''row'') AS a, (''{1}''::mallory.dom[])[1]::int AS b'`,
	} {
		a.as(`SET x.todo = '` + todo + `'`)
		_, err := a.m.Exec(t.Context(), a.sql(statement))
		require.Error(t, err, todo)
		require.Equal(t, "SELECT 1 AS a", ask[string](t, admin, `SELECT string_agg(query, ';') FROM mvscheduler.views`))
		require.Equal(t, 1, ask[int](t, admin, `SELECT count(*)::int FROM mvscheduler.view_state`), "no ghost")
	}
	a.nothingStolen(a.mallory, "nested")
	pgtest.Exec(t, admin, a.sql(handover))
}

// Built-in functions leave no trace in pg_depend, and some run a text.
func TestAMaterializedViewThatDoesMoreThanToReadItsQueryIsNoPair(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`CREATE VIEW mallory.beside AS SELECT 1 AS b WHERE mallory.steal('beside') IS NOT NULL`)
	for _, more := range []string{`WHERE (SELECT count(*) FROM ts_stat('SELECT NULL::tsvector')) >= 0`, `WHERE query_to_xml('SELECT 1', true, true, '') IS NOT NULL`, `LIMIT 1`, `ORDER BY 1`, `WHERE q.a = 1`, `, (SELECT 1) AS x`, `, mallory.beside`, `CROSS JOIN mallory.beside`, ` OFFSET 0`, `, LATERAL (SELECT b FROM mallory.beside) AS l`} {
		a.as(`CREATE VIEW mallory.v__query AS SELECT 1 AS a`, `COMMENT ON VIEW mallory.v__query IS 'mvscheduler: query of mallory.v'`,
			`CREATE MATERIALIZED VIEW mallory.v AS SELECT q.a FROM mallory.v__query AS q `+more+` WITH NO DATA`)
		a.refused(a.m, "42P07", `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`)
		a.as(`SELECT mvscheduler.adopt_view('mallory.v')`)
		require.Contains(t, ask[string](t, admin, `SELECT query FROM mvscheduler.views`), "v__query", "the row shows what it is")
		a.as(`DELETE FROM mvscheduler.views`, `DROP MATERIALIZED VIEW mallory.v`, `DROP VIEW mallory.v__query`)
	}
}

func TestAPairIsNotExchangedWhileAnAdministratorTakesItOver(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`, `SELECT mvscheduler.release_view('mallory.v')`)
	err := a.whileBlocked(`INSERT INTO mvscheduler.views (name, query, owner) VALUES ('mallory.v', 'SELECT 2 AS a', 'mallory')`, `mallory.v__query__probe`,
		`ALTER VIEW mallory.v__query RENAME TO kept`, `CREATE OR REPLACE VIEW mallory.kept AS SELECT mallory.steal('race') AS a`, `CREATE VIEW mallory.v__query AS SELECT 1 AS a`)
	require.NoError(t, err)
	require.Contains(t, ask[string](t, admin, `SELECT pg_get_viewdef(query_relation::oid) FROM mvscheduler.view_state`), "2")
	pgtest.Exec(t, admin, a.sql(handover))
}

// No lock keeps a schema from being renamed.
func TestASchemaThatIsRenamedUnderDDLIsNoticed(t *testing.T) {
	t.Parallel()
	away := []string{`ALTER SCHEMA mallory RENAME TO mallory_x`, `CREATE SCHEMA mallory`, `GRANT ALL ON SCHEMA mallory TO PUBLIC`}
	back := []string{`DROP SCHEMA mallory CASCADE`, `ALTER SCHEMA mallory_x RENAME TO mallory`}
	for _, c := range []struct{ name, setup, statement, waitsFor, decoy string }{
		{"edit", `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`, `UPDATE mvscheduler.views SET query = 'SELECT 5 AS a'`, `mallory.v__query__probe`,
			`CREATE MATERIALIZED VIEW mallory.v__query__probe AS SELECT 1 AS a`},
		{"registration", `SELECT 1`, `INSERT INTO mvscheduler.views (name, query, owner) VALUES ('mallory.v', 'SELECT 5 AS a', 'mallory')`, `mallory.v__query`, `COMMENT ON SCHEMA mallory IS NULL`},
		{"redefinition", `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`, `UPDATE mvscheduler.views SET query = 'SELECT 5 AS a, 6 AS b'`, `mallory.v__next`,
			`CREATE VIEW mallory.v__next__query AS SELECT 5 AS a, mallory_x.steal('decoy') AS b`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, admin := handoverArena(t)
			a.as(`GRANT ALL ON SCHEMA mallory TO PUBLIC`, c.setup)
			before := ask[string](t, admin, `SELECT coalesce(string_agg(query, ';'), '') FROM mvscheduler.views`)
			err := a.whileBlocked(c.statement, c.waitsFor, append(away, c.decoy, `COMMENT ON VIEW mallory.v__next__query IS 'mvscheduler: query of mallory.v'`, `CREATE VIEW mallory.v__query AS SELECT mallory_x.steal('decoy') AS a`, `COMMENT ON VIEW mallory.v__query IS 'mvscheduler: query of mallory.v'`)...)
			require.Error(t, err)
			a.as(back...)
			require.Equal(t, before, ask[string](t, admin, `SELECT coalesce(string_agg(query, ';'), '') FROM mvscheduler.views`), "nothing was changed")
			a.nothingStolen("")
		})
	}
}

func TestAPieceIsNotExchangedDuringAHandover(t *testing.T) {
	t.Parallel()
	a, _ := handoverArena(t)
	a.as(`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`, `UPDATE mvscheduler.views SET query = 'SELECT 1 AS a, 2 AS b'`,
		`BEGIN`, `ALTER VIEW mallory.v__next__query RENAME TO kept`, `CREATE VIEW mallory.v__next__query AS SELECT v FROM alice.secret`, `GRANT SELECT ON mallory.v__next__query TO PUBLIC`)
	require.ErrorContains(t, a.whileAdminWaits(handover, `COMMIT`), "was renamed or replaced meanwhile")
	a.refused(a.m, "42501", `SELECT v FROM mallory.v__next__query`)
}

// What a swap could not drop stays with whom it served.
func TestLeftoversAreNotHandedOver(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`CREATE FUNCTION mallory.hook(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
	          IF to_regclass('mallory.v__old') IS NOT NULL AND to_regclass('mallory.reader') IS NULL THEN EXECUTE 'CREATE VIEW mallory.reader AS SELECT * FROM mallory.v__old'; END IF;
	          RETURN true; END $$`,
		`CREATE DOMAIN mallory.dom AS int CHECK (mallory.hook(VALUE))`)
	a.manual(a.m, "mallory.v", "SELECT 1 AS v")
	a.as(`CREATE VIEW mallory.dep AS SELECT v.v, '{1}'::mallory.dom[] AS x FROM mallory.v`)
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	a.as(`UPDATE mvscheduler.views SET query = 'SELECT 1 AS v, 2 AS b'`)
	refreshed(t, a.m, a.sql("mallory.v"))
	require.Equal(t, 2, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.piece WHERE kind IN ('old', 'old_query')`))
	a.as(`CREATE OR REPLACE VIEW mallory.v__old__query AS SELECT v FROM alice.secret`, `GRANT SELECT ON mallory.v__old__query TO PUBLIC`)
	pgtest.Exec(t, admin, a.sql(handover))
	a.refused(a.m, "42501", `SELECT v FROM mallory.v__old__query`)
	require.Zero(t, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.piece WHERE kind IN ('old', 'old_query')`))
	refreshed(t, admin, a.sql("mallory.v"))
	require.Zero(t, sidecar.stop())
	achieved, _ := a.loot()
	require.Empty(t, achieved)
}

// A run that was made for one owner and ends for the next one is the next one's.
func TestWhoseAnAttemptIsIsWhoItRunsAs(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`INSERT INTO mvscheduler.views (name, query, refresh_interval, max_attempts) VALUES ('mallory.v', 'SELECT current_user::text::int AS a', '1 s', 100)`)
	startSidecar(t, a.db)
	until(t, admin, `SELECT EXISTS (SELECT FROM mvscheduler.attempts WHERE outcome = 'failed')`)
	pgtest.Exec(t, admin, a.sql(handover))
	until(t, admin, `SELECT EXISTS (SELECT FROM mvscheduler.attempts WHERE error LIKE '%"alice%')`)
	for _, view := range []string{"attempts", "runs"} {
		require.Zero(t, ask[int](t, a.m, `SELECT count(*)::int FROM mvscheduler.`+view+` WHERE error LIKE '%"alice%'`), view)
	}
	require.NotZero(t, ask[int](t, a.db.Conn(t, a.alice), `SELECT count(*)::int FROM mvscheduler.attempts WHERE error LIKE '%"alice%'`))
}

// A view below is replaced by one that reads a managed view: from then on its age counts.
func TestWhatAViewReadsIsLookedAtAtEveryRun(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE VIEW between AS SELECT id FROM sales`)
	s.manage(t, "below", `SELECT id FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	s.manage(t, "above", `SELECT id FROM between`, "refresh_interval", "1 second")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "below", "above")
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between AS SELECT id FROM below`)
	until(t, s.alice, `SELECT coalesce((SELECT upstream[1] FROM mvscheduler.status WHERE name LIKE '%.above'), '') = (SELECT name FROM mvscheduler.status WHERE name LIKE '%.below')`)
	refreshes := ask[int64](t, s.root, `SELECT max(refreshes) FROM mvscheduler.view_health`)
	until(t, s.root, `SELECT max(refreshes) > $1 + 1 FROM mvscheduler.view_health`, refreshes)
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(DISTINCT data_as_of)::int FROM mvscheduler.status`), "it is as old as what it reads")
}

// Somebody registers what others' views read, and leaves the transaction open.
func TestAnOpenRegistrationStopsNoViewThatReadsIt(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	a.as(`CREATE MATERIALIZED VIEW mallory.v AS SELECT 1 AS a`, `GRANT SELECT ON mallory.v TO PUBLIC`)
	pgtest.Exec(t, alice, a.sql(`INSERT INTO mvscheduler.views (name, query, refresh_interval, change_tracking) VALUES ('alice.watched', 'SELECT a, clock_timestamp() AS at FROM mallory.v', '1 s', 'none')`))
	startSidecar(t, a.db)
	a.staysFresh(1)
	a.as(`BEGIN`, `SELECT mvscheduler.adopt_view('mallory.v')`)
	a.staysFresh(3)
	pgtest.Exec(t, alice, `SET statement_timeout = '5s'`, `SELECT mvscheduler.pause_view('watched')`, `SELECT mvscheduler.resume_view('watched')`)
	a.as(`COMMIT`)
	until(t, alice, a.sql(`SELECT upstream = '{mallory.v}' FROM mvscheduler.status WHERE name = 'alice.watched'`))
}

func TestTheGroupRolesOwnNoView(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`GRANT ALL ON SCHEMA mallory TO mvscheduler_user`)
	a.refused(a.m, "42501", `INSERT INTO mvscheduler.views (name, query, owner) VALUES ('mallory.v', 'SELECT 1 AS a', 'mvscheduler_user')`)
	a.refused(a.root, "42501", `INSERT INTO mvscheduler.views (name, query, owner) VALUES ('mallory.v', 'SELECT 1 AS a', 'mvscheduler_owner')`)
}

// Names that other schedulers' tables have can be taken by whoever makes schemas.
func TestTheDoctorReadsNoTableOfSomebodyElse(t *testing.T) {
	t.Parallel()
	a, _ := handoverArena(t)
	pgtest.Exec(t, a.root, `GRANT CREATE ON SCHEMA public TO PUBLIC`)
	a.as(`CREATE SCHEMA cron`, `GRANT USAGE ON SCHEMA cron TO PUBLIC`, immutable("planned", "int"),
		`CREATE VIEW cron.job AS SELECT 1::bigint AS jobid, 'x'::text AS jobname, '* * * * *'::text AS schedule, 'x'::text AS username, 'REFRESH MATERIALIZED VIEW x'::text AS command, mallory.steal('cron') = 1 AS active, current_database()::text AS database`,
		`GRANT SELECT ON cron.job TO PUBLIC`, `SELECT count(*) FROM cron.job WHERE active`, `CREATE TABLE public.view_state (query_relation int)`)
	for _, args := range [][]string{{"doctor"}, {"adopt", "--from-pg-cron", "--dry-run"}} {
		r := mvscheduler(t, a.db, "", "", args...)
		require.NotContains(t, r.stdout, "DROP SCHEMA public")
		if args[0] == "doctor" {
			require.Contains(t, r.stdout, "it belongs to "+a.mallory)
		}
	}
	a.as(`DROP VIEW cron.job`, `CREATE TABLE cron.job (jobid bigint, schedule text, command text, nodename text, nodeport int, database text, username text, active boolean, jobname text)`,
		`CREATE INDEX ON cron.job (jobid) WHERE mallory.planned(1) = 1`, `GRANT SELECT ON cron.job TO PUBLIC`)
	r := mvscheduler(t, a.db, "", "", "doctor")
	require.Contains(t, r.stdout, "it belongs to "+a.mallory)
	_, ran := a.loot()
	require.Equal(t, []string{a.mallory}, ran["cron"])
	a.nothingStolen(a.mallory, "cron")
}

// The schema is there before it is installed.
func TestASchemaOfSomebodyElseIsNotMigratedInto(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	root := db.Conn(t, "")
	mallory := db.Role(t, "mallory")
	pgtest.Exec(t, root, `GRANT CREATE ON DATABASE `+db.Name+` TO `+mallory)
	pgtest.Exec(t, db.Conn(t, mallory), `CREATE SCHEMA mvscheduler`, `GRANT ALL ON SCHEMA mvscheduler TO PUBLIC`, `CREATE TABLE mvscheduler.schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)`,
		`CREATE FUNCTION mvscheduler.evil() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'RAN|squat|%|%', session_user, current_user; RETURN true; END $$`,
		`CREATE VIEW mvscheduler.status AS SELECT mvscheduler.evil() AS name`, `CREATE VIEW mvscheduler.settings AS SELECT mvscheduler.evil() AS max_skips`,
		`GRANT ALL ON ALL TABLES IN SCHEMA mvscheduler TO PUBLIC`)
	for _, args := range [][]string{{"migrate", "up"}, {"migrate", "down", "-y"}, {"migrate", "status"}, {"status"}, {"doctor"}, {"runs"}, {"serve", "--allow-superuser", "--listen", "127.0.0.1:0"}} {
		r := mvscheduler(t, db, "", "", args...)
		require.NotZero(t, r.code, args)
		require.Contains(t, r.stderr, "and not to mvscheduler_owner", args)
	}
	for _, line := range db.Log(t) {
		require.NotContains(t, line.Message, "LOG:  RAN|squat")
	}
	require.Equal(t, mallory, ask[string](t, root, `SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'mvscheduler'`))
}

// Roles belong to the cluster: who made mvscheduler_owner first, or is a member of it, could change every function.
func TestMembersOfARoleThatWasThereAreNamed(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	mallory := db.Role(t, "mallory")
	pgtest.New(t) // the roles are there
	db.Exec(t, `GRANT mvscheduler_owner TO `+mallory+` WITH ADMIN OPTION`)
	r := mvscheduler(t, db, "", "", "migrate", "up")
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stderr, mallory)
	require.Contains(t, r.stderr, "REVOKE mvscheduler_owner FROM")
	named := func() bool {
		found, _ := examine(t, db, "")
		return slices.ContainsFunc(about(found, "login"), func(f finding) bool { return f.Severity == "note" && f.Subject == mallory })
	}
	require.True(t, named())
	db.Exec(t, `REVOKE mvscheduler_owner FROM `+mallory+` CASCADE`)
	require.False(t, named())
}

// A rule on the plain view would act with the rights of the new owner, a cast of its rows as whoever casts one; who
// only reads may stay.
func TestNothingThatHangsOnTheRelationsIsHandedOverUnseen(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`CREATE FUNCTION mallory.act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('act'); RETURN NULL; END $$`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a, 0 AS z')`, `GRANT ALL ON mallory.v__query TO PUBLIC`)
	for _, pending := range []string{"", "__next"} {
		if pending != "" {
			a.as(`UPDATE mvscheduler.views SET query = 'SELECT 1 AS a, 2 AS b'`)
		}
		for object, make := range map[string]string{
			"RULE r ON mallory.v%__query":    `CREATE RULE r AS ON INSERT TO mallory.v%__query DO INSTEAD INSERT INTO alice.secret SELECT 666`,
			"TRIGGER r ON mallory.v%__query": `CREATE TRIGGER r INSTEAD OF INSERT ON mallory.v%__query FOR EACH ROW EXECUTE FUNCTION mallory.act()`,
		} {
			a.as(strings.ReplaceAll(make, "%", pending))
			_, err := admin.Exec(t.Context(), a.sql(handover))
			require.ErrorContains(t, err, "which the row does not show", make)
			a.as("DROP " + strings.ReplaceAll(object, "%", pending))
		}
	}
	a.as(`UPDATE mvscheduler.views SET query = 'SELECT 1 AS a, 0 AS z'`) // back to the old columns: no version is pending
	a.as(`CREATE TYPE mallory.other AS (x text)`, `CREATE VIEW mallory.reads AS SELECT * FROM mallory.v`, `CREATE STATISTICS mallory.plain (ndistinct) ON a, z FROM mallory.v`)
	for object, make := range map[string]string{
		"ALTER VIEW mallory.v__query ALTER COLUMN a DROP DEFAULT":    `ALTER VIEW mallory.v__query ALTER COLUMN a SET DEFAULT mallory.steal('default')`,
		"DROP FUNCTION mallory.f(mallory.v)":                         `CREATE FUNCTION mallory.f(mallory.v) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$`,
		"DROP FUNCTION mallory.f(mallory.v__query[])":                `CREATE FUNCTION mallory.f(mallory.v__query[]) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$`,
		"DROP CAST (mallory.v AS mallory.other)":                     `CREATE CAST (mallory.v AS mallory.other) WITH INOUT`,
		"DROP CAST (mallory.other[] AS mallory.v__query[])":          `CREATE CAST (mallory.other[] AS mallory.v__query[]) WITH INOUT`,
		"DROP SEQUENCE mallory.s":                                    `CREATE SEQUENCE mallory.s OWNED BY mallory.v__query.a`,
		"ALTER MATERIALIZED VIEW mallory.v RENAME COLUMN other TO a": `ALTER MATERIALIZED VIEW mallory.v RENAME COLUMN a TO other`,
		"ALTER VIEW mallory.v__query RENAME COLUMN other TO a":       `ALTER VIEW mallory.v__query RENAME COLUMN a TO other`,
	} {
		a.as(make)
		_, err := admin.Exec(t.Context(), a.sql(handover))
		require.ErrorContains(t, err, "cannot be given to "+a.alice, make)
		a.as(object)
	}
	_, err := admin.Exec(t.Context(), a.sql(`UPDATE mvscheduler.views SET owner = 'alice', query = 'SELECT 1 AS a, 0 AS z, 2 AS b' WHERE name = 'mallory.v'`))
	require.ErrorContains(t, err, "cannot be changed at once")
	pgtest.Exec(t, admin, a.sql(handover))
}

// Whoever reads the row takes a backslash for a backslash.
func TestATextMeansWhatTheRowShows(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`SET standard_conforming_strings = off`, `SET transform_null_equals = on`, `SET quote_all_identifiers = on`,
		`INSERT INTO mvscheduler.views (name, query, indexes) VALUES ('mallory.v', $$SELECT 'x\' AS a, NULL = NULL AS b$$, $${"((a || 'y\\'))"}$$)`)
	require.Equal(t, `x\`, ask[string](t, a.m, a.sql(`SELECT a FROM mallory.v__query WHERE b IS NULL`)))
	require.Contains(t, ask[string](t, admin, a.sql(`SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'mallory.v'::regclass AND indexprs IS NOT NULL`)), `'y\'`)
	a.as(`GRANT ALL ON SCHEMA mallory TO mvscheduler_user`)
	a.refused(a.m, "42501", `INSERT INTO mvscheduler.views (name, query, owner) VALUES ('mallory.w', 'SELECT 1 AS a', 'mvscheduler_user')`)
}

// Two owners lock all that they have; the sidecar's own connections wait a second at most.
func TestLocksOnOnesOwnViewsDoNotStopOthers(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	a.victim()
	carol := a.db.User(t, "carol")
	owners := []*pgx.Conn{a.m, a.db.Conn(t, carol)}
	for _, conn := range owners {
		pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, refresh_interval, lock_timeout, statement_timeout, unique_key)
			SELECT 'l' || i, 'SELECT 1 AS id, clock_timestamp() AS at', '1 s', '10 ms', '100 ms', '{id}' FROM generate_series(1, 5) AS i`)
	}
	startSidecar(t, a.db)
	until(t, a.root, `SELECT count(*) = 11 FROM mvscheduler.view_health WHERE refreshes > 0`)
	for _, conn := range owners {
		pgtest.Exec(t, conn, `BEGIN`)
		for i := range 5 {
			pgtest.Exec(t, conn, fmt.Sprintf(`DROP INDEX l%d_id_idx`, i+1))
		}
	}
	began := ask[time.Time](t, a.root, `SELECT clock_timestamp()`)
	until(t, a.root, `SELECT clock_timestamp() > $1::timestamptz + interval '5 seconds'`, began) // all that can hang does
	before := ask[int64](t, a.root, `SELECT max(refreshes) FROM mvscheduler.view_health AS h JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.watched'`)
	until(t, a.root, `SELECT max(refreshes) > $1 + 2 FROM mvscheduler.view_health AS h JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.watched'`, before)
}

// A view below is replaced, together with the data that it chooses, while the refresh waits for it.
func TestAViewThatIsReplacedWhileARefreshWaitsIsReadAnew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ below, replace string }{
		"view":   {`CREATE VIEW p AS SELECT v FROM t WHERE flag = 'a'`, `CREATE OR REPLACE VIEW p AS SELECT v FROM t WHERE flag = 'b'`},
		"policy": {`CREATE VIEW p AS SELECT v FROM t; CREATE POLICY pol ON t USING (flag = 'a'); ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY`, `ALTER POLICY pol ON t USING (flag = 'b')`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			for _, sql := range append([]string{`CREATE TABLE t AS SELECT 'a'::text AS flag, 1 AS v`}, strings.Split(c.below, "; ")...) {
				pgtest.Exec(t, s.alice, sql)
			}
			s.manage(t, "v", `SELECT v FROM p`, "refresh_interval", "1 hour", "lock_timeout", "1 minute")
			sidecar := startSidecar(t, s.db)
			refreshed(t, s.alice, "v")
			other := s.db.Conn(t, "")
			pgtest.Exec(t, other, `BEGIN`, `SET LOCAL search_path = `+s.owner, `UPDATE t SET flag = 'b'`, c.replace, `LOCK TABLE t`)
			pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
			until(t, s.root, `SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND a.usename = $1`, sidecar.role)
			pgtest.Exec(t, other, `COMMIT`)
			s.idle(t)
			require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM v`), "one row before, and one after")
		})
	}
}

func TestViewsThatReadEachOtherInACircleBreakNobodysDelete(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.victim()
	a.as(`CREATE VIEW mallory.p AS SELECT 1 AS a`)
	a.manual(a.m, "mallory.v", "SELECT a FROM mallory.p")
	a.manual(a.m, "mallory.w", "SELECT a FROM mallory.v")
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"), a.sql("mallory.w"))
	a.as(`CREATE OR REPLACE VIEW mallory.p AS SELECT a FROM mallory.w`)
	refreshed(t, a.m, a.sql("mallory.v"), a.sql("mallory.w"))
	a.refused(admin, "2BP01", `DELETE FROM mvscheduler.views WHERE owner = 'mallory'::regrole`)
	pgtest.Exec(t, admin, a.sql(`DELETE FROM mvscheduler.views WHERE owner = 'alice'::regrole`))
	a.as(`CREATE OR REPLACE VIEW mallory.p AS SELECT 1 AS a`, `DELETE FROM mvscheduler.views`)
}

// The columns of a pair are those of its query, one by one.
func TestAPairWithItsColumnsExchangedIsNone(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	for _, columns := range []string{`q.b AS a, q.a AS b`, `q.a, q.a AS b`, `q.b`} {
		a.as(`CREATE VIEW mallory.v__query AS SELECT 1 AS a, 2 AS b`, `COMMENT ON VIEW mallory.v__query IS 'mvscheduler: query of mallory.v'`,
			`CREATE MATERIALIZED VIEW mallory.v AS SELECT `+columns+` FROM mallory.v__query AS q WITH NO DATA`)
		a.refused(a.m, "42P07", `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a, 2 AS b')`)
		a.as(`SELECT mvscheduler.adopt_view('mallory.v')`)
		require.Contains(t, ask[string](t, admin, `SELECT query FROM mvscheduler.views`), "v__query", "the row shows what it is")
		a.as(`DELETE FROM mvscheduler.views`, `DROP MATERIALIZED VIEW mallory.v`, `DROP VIEW mallory.v__query`)
	}
}
