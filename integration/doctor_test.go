package integration

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// finding as `mvscheduler doctor --json` prints it.
type finding struct{ Severity, Check, Subject, What, Fix string }

func examine(t *testing.T, db *pgtest.DB, role string) (found []finding, code int) {
	t.Helper()
	r := mvscheduler(t, db, role, "", "doctor", "--json")
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &found), r.stderr)
	return found, r.code
}

// about are the findings of a check.
func about(found []finding, check string) []finding {
	var of []finding
	for _, f := range found {
		if f.Check == check {
			of = append(of, f)
		}
	}
	return of
}

func TestTheDoctorFindsNothingWhereAllIsWell(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT count(*) FROM pg_class')`)
	startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	found, code := examine(t, db, "")
	for _, f := range found {
		require.Equal(t, "note", f.Severity, f)
	}
	require.Zero(t, code)
	r := mvscheduler(t, db, "", "", "doctor")
	require.Zero(t, r.code)
}

func TestTheDoctorNamesWhatIsWrongAndTheFixMendsIt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`,
		`CREATE MATERIALIZED VIEW lonely AS SELECT 1 AS a`, `CREATE MATERIALIZED VIEW cared_for AS SELECT 1 AS a`)
	db.Exec(t, `INSERT INTO mvscheduler.views (name, query) VALUES ('public.mighty', 'SELECT 1 AS a')`)
	db.Exec(t, `CREATE SCHEMA cron`)
	db.Exec(t, `CREATE TABLE cron.job (jobid bigint, schedule text, command text, nodename text, nodeport int, database text, username text, active boolean, jobname text)`)
	db.Exec(t, `INSERT INTO cron.job VALUES (7, '*/5 * * * *', 'REFRESH MATERIALIZED VIEW CONCURRENTLY `+user+`.V', '', 0, current_database(), 'alice', true, 'night'),
		(8, '@daily', 'refresh materialized view cared_for', '', 0, current_database(), 'alice', true, NULL),
		(9, '@daily', 'refresh materialized view lonely', '', 0, 'elsewhere', 'alice', true, NULL),
		(10, '@daily', E'BEGIN; SELECT 1; -- both\n refresh materialized view `+user+`.v with data; SELECT 2', '', 0, current_database(), 'alice', true, NULL),
		(11, '@daily', 'DO $$BEGIN REFRESH MATERIALIZED VIEW `+user+`.v; END$$', '', 0, current_database(), 'alice', true, NULL)`)
	switch {
	case db.Version() >= 170000:
		pgtest.Exec(t, alice, `REVOKE MAINTAIN ON v FROM mvscheduler_worker`)
	default:
		db.Exec(t, `REVOKE `+user+` FROM mvscheduler_worker`)
	}
	pgtest.Exec(t, alice, `REVOKE USAGE ON SCHEMA `+user+` FROM mvscheduler_worker`)

	found, code := examine(t, db, "")
	require.Equal(t, 5, code)
	require.Equal(t, "error", found[0].Severity, "the worst come first")
	require.Contains(t, about(found, "sidecar")[0].What, "no sidecar is connected")
	mighty := about(found, "owner")
	require.Len(t, mighty, 1)
	require.Equal(t, "public.mighty", mighty[0].Subject)
	if db.Version() >= 170000 {
		require.Equal(t, "warning", mighty[0].Severity)
	} else {
		require.Equal(t, "error", mighty[0].Severity)
		require.Contains(t, mighty[0].What, "the sidecar cannot refresh before PostgreSQL 17")
	}
	require.Contains(t, mighty[0].What, "which role shall own it cannot be told from here")
	unique := about(found, "index")
	require.Contains(t, unique[0].What, "no unique index")
	for _, f := range unique {
		db.Exec(t, f.Fix)
	}
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "index"), "the fixes can be pasted as they are")
	scheduler := about(found, "scheduler")
	require.Len(t, scheduler, 3)
	require.Equal(t, user+".v", scheduler[0].Subject)
	require.Contains(t, scheduler[0].Fix, "cron.unschedule(7)")
	require.Equal(t, "SELECT cron.alter_job(10, command => 'BEGIN; SELECT 1; SELECT 2')", scheduler[1].Fix)
	require.Contains(t, scheduler[2].What, "only its author can take the REFRESH out")
	require.Equal(t, "SELECT command FROM cron.job WHERE jobid = 11", scheduler[2].Fix)
	unmanaged := about(found, "unmanaged")
	require.Len(t, unmanaged, 1, "pg_cron refreshes the other")
	require.Contains(t, unmanaged[0].Subject, "lonely")
	grants := about(found, "grants")
	require.Len(t, grants, 2)
	for _, f := range grants {
		db.Exec(t, f.Fix)
	}
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "grants"), "the fixes were what was missing")

	db.Exec(t, `ALTER TABLE `+user+`.t OWNER TO postgres`)
	found, _ = examine(t, db, "")
	grants = about(found, "grants")
	require.Len(t, grants, 1)
	require.Equal(t, "GRANT SELECT ON "+user+".t TO "+user, grants[0].Fix)
	db.Exec(t, grants[0].Fix)
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "grants"))

	bob := db.User(t, "bob")
	found, _ = examine(t, db, bob)
	for _, f := range found {
		require.NotContains(t, f.Subject, user, "bob sees nothing of alice's views")
	}
}

func TestTheDoctorSeesASuperuserAtWorkAndADatabaseWithoutSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	startSidecarAs(t, db, "postgres", "--allow-superuser")
	found, code := examine(t, db, "")
	require.Equal(t, 5, code)
	require.Contains(t, about(found, "login")[0].What, "superuser")
	found, code = examine(t, pgtest.NewEmpty(t), "")
	require.Equal(t, 5, code)
	require.Equal(t, "mvscheduler migrate up", about(found, "schema")[0].Fix)
}

func TestTheDoctorFindsLeftoversAndStarvedTables(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	admin := db.Conn(t, "")
	pgtest.Exec(t, admin, `SET session_replication_role = replica`, `DELETE FROM mvscheduler.views`, `DELETE FROM mvscheduler.view_state`, `SET session_replication_role = origin`,
		`ALTER TABLE mvscheduler.run SET (autovacuum_enabled = off)`,
		`INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state) SELECT 1, 'x', 'postgres', 'manual', now(), now(), 'succeeded' FROM generate_series(1, 21000)`,
		`DELETE FROM mvscheduler.run`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	found, _ := examine(t, db, "")
	leftover := about(found, "leftover")
	require.Len(t, leftover, 1)
	require.Contains(t, leftover[0].Subject, "v__query")
	require.Contains(t, leftover[0].Fix, "adopt_view", "the view needs it")
	require.Contains(t, about(found, "vacuum")[0].Subject, "mvscheduler.run")
	require.True(t, strings.HasPrefix(about(found, "vacuum")[0].Fix, "VACUUM"))
}

func TestTheDoctorSaysWhatTheServerLacks(t *testing.T) {
	t.Parallel()
	db := pgtest.Dedicated(t, nil)
	for _, s := range []string{`ALTER SYSTEM SET track_counts = off`, `ALTER SYSTEM SET track_activities = off`, `SELECT pg_reload_conf()`} {
		db.Exec(t, s)
	}
	until(t, db.Conn(t, ""), `SELECT NOT current_setting('track_counts')::boolean`)
	db.Exec(t, `REVOKE pg_read_all_stats FROM mvscheduler_worker`)
	db.Exec(t, `CREATE ROLE busy LOGIN CREATEDB IN ROLE mvscheduler_worker`)
	found, code := examine(t, db, "")
	require.Equal(t, 5, code)
	var missing []string
	for _, f := range about(found, "statistics") {
		missing = append(missing, f.Subject)
		for _, fix := range strings.Split(f.Fix, "; ") {
			db.Exec(t, fix)
		}
	}
	require.ElementsMatch(t, []string{"track_counts", "track_activities", "mvscheduler_worker"}, missing)
	require.Equal(t, "busy", about(found, "login")[0].Subject)
	db.Exec(t, about(found, "login")[0].Fix)
	until(t, db.Conn(t, ""), `SELECT current_setting('track_counts')::boolean`)
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "statistics"), "the fixes were what was missing")
	require.Empty(t, about(found, "login"))
	db.Exec(t, `DROP ROLE busy`)
	if db.Version() >= 160000 { // as a role that made it is: its administrator, and no sidecar's login
		db.Exec(t, `CREATE ROLE maker LOGIN CREATEROLE`)
		db.Exec(t, `GRANT mvscheduler_worker TO maker WITH ADMIN TRUE, INHERIT FALSE, SET FALSE`)
		require.NotContains(t, mvscheduler(t, db, "", "", "grants").stdout, "in force: CREATE ROLE")
	}
	found, _ = examine(t, db, "")
	require.Contains(t, about(found, "login")[0].What, "no login is a member of mvscheduler_worker")
}

func TestTheDoctorSeesAStandby(t *testing.T) {
	t.Parallel()
	db := pgtest.Dedicated(t, nil)
	require.NoError(t, db.Server(t).Stop(pgserver.Fast))
	signal := filepath.Join(db.Server(t).DataDir(), "standby.signal")
	require.NoError(t, os.WriteFile(signal, nil, 0o644))
	require.NoError(t, db.Server(t).Restart(t.Context(), pgserver.Fast))
	found, code := examine(t, db, "")
	require.Equal(t, 5, code)
	require.Equal(t, "export PGTARGETSESSIONATTRS=read-write", about(found, "standby")[0].Fix)
	require.Contains(t, about(found, "standby")[0].What, "the URL names")
	refused := mvscheduler(t, db, "", "", "serve", "--allow-superuser", "--listen", "127.0.0.1:0")
	require.NotZero(t, refused.code)
	require.Contains(t, refused.stderr, "standby")
	require.NoError(t, db.Server(t).Stop(pgserver.Fast))
	require.NoError(t, os.Remove(signal))
	require.NoError(t, db.Server(t).Restart(t.Context(), pgserver.Fast))
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "standby"))
}

func TestTheDoctorSeesAPooler(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	behind, err := url.Parse(db.URL())
	require.NoError(t, err)
	behind.Host, behind.RawQuery = pgtest.Pooler(t, db), "sslmode=disable"
	r := mvscheduler(t, db, "", "", "doctor", "--json", "--database-url", behind.String())
	var found []finding
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &found), r.stderr)
	require.Contains(t, about(found, "pooler")[0].What, "goes through a pooler")
	direct := regexp.MustCompile(`^mvscheduler serve --database-url ('[^']+'|\S+)$`).FindStringSubmatch(about(found, "pooler")[0].Fix)
	require.NotNil(t, direct, about(found, "pooler")[0].Fix)
	r = mvscheduler(t, db, "", "", "doctor", "--json", "--database-url", strings.Trim(direct[1], "'"))
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &found), r.stderr)
	require.Empty(t, about(found, "pooler"))
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "pooler"))
}

func TestTheDoctorSeesWhatElseIsWrongWithAView(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `INSERT INTO t VALUES (1), (1)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t'), ('w', 'SELECT a FROM t')`,
		`REFRESH MATERIALIZED VIEW v`, `CREATE OR REPLACE VIEW w__query AS SELECT a + 1 AS a FROM t`)
	_, err := alice.Exec(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY half ON v (a)`)
	require.Error(t, err)
	db.Exec(t, `CREATE SCHEMA timetable`)
	db.Exec(t, `CREATE TABLE timetable.chain (chain_id bigint, chain_name text, run_at text, live boolean)`)
	db.Exec(t, `CREATE TABLE timetable.task (task_id bigint, chain_id bigint, task_order float8, kind text, command text, run_as text, database_connection text)`)
	db.Exec(t, `INSERT INTO timetable.chain VALUES (3, 'nightly', '0 3 * * *', true)`)
	db.Exec(t, `INSERT INTO timetable.task VALUES (1, 3, 1, 'SQL', 'REFRESH MATERIALIZED VIEW v', NULL, NULL)`)
	db.Exec(t, `CREATE SCHEMA mvscheduler_old`)
	db.Exec(t, `CREATE TABLE mvscheduler_old.view_state (LIKE mvscheduler.view_state)`)
	db.Exec(t, `ALTER TABLE mvscheduler_old.view_state OWNER TO mvscheduler_owner`)
	pgtest.Exec(t, alice, `CREATE MATERIALIZED VIEW sales__old AS SELECT 1 AS a`, `UPDATE mvscheduler.views SET query = 'SELECT a, 2 AS b FROM t' WHERE name LIKE '%.v'`, `ALTER MATERIALIZED VIEW v__gate RENAME TO mygate`)

	found, code := examine(t, db, "")
	require.Equal(t, 5, code)
	invalid := about(found, "index")[0]
	require.Equal(t, user+".v", invalid.Subject)
	require.Contains(t, invalid.What, "is invalid")
	db.Exec(t, invalid.Fix)
	schedulers := about(found, "scheduler")
	require.Len(t, schedulers, 2)
	lonely := about(found, "unmanaged")
	require.Len(t, lonely, 1, "a name makes no leftover, and a gate by another name stays one")
	require.Equal(t, user+".sales__old", lonely[0].Subject)
	require.Contains(t, schedulers[0].What, "second catalog of mvscheduler in schema mvscheduler_old")
	require.Contains(t, schedulers[1].What, "pg_timetable refreshes it too (job nightly, 0 3 * * *")
	for _, f := range schedulers {
		db.Exec(t, f.Fix)
	}
	require.Equal(t, user+".w", about(found, "query")[0].Subject)
	pgtest.Exec(t, alice, about(found, "query")[0].Fix)
	found, _ = examine(t, db, "")
	require.Empty(t, about(found, "scheduler"))
	require.Empty(t, about(found, "query"))
	for _, f := range about(found, "index") {
		require.Equal(t, "note", f.Severity)
	}
	require.Equal(t, "SELECT a FROM t", strings.TrimSpace(ask[string](t, alice, `SELECT query FROM mvscheduler.views WHERE name LIKE '%.w'`)))
}

func TestTheDoctorSeesViewsAtWhichAPersonHasToLook(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, name := range []string{"well", "gone", "called", "given", "forbidden"} {
		s.manage(t, name, `SELECT id FROM sales`, "refresh_interval", "1 day")
	}
	team := s.db.User(t, "team")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "well", "gone", "called", "given", "forbidden")
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW gone`, `ALTER MATERIALIZED VIEW called RENAME TO otherwise`)
	s.db.Exec(t, `GRANT ALL ON SCHEMA `+s.owner+` TO `+team)
	s.db.Exec(t, `ALTER MATERIALIZED VIEW `+s.owner+`.given OWNER TO `+team)
	s.db.Exec(t, `ALTER VIEW `+s.owner+`.given__query OWNER TO `+team)
	s.db.Exec(t, `ALTER TABLE `+s.owner+`.sales OWNER TO `+team)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('forbidden')`)
	until(t, s.alice, `SELECT activity = 'paused' FROM mvscheduler.status WHERE name LIKE '%.forbidden'`)

	found, code := examine(t, s.db, "")
	require.Equal(t, 5, code)
	said := map[string]string{}
	for _, f := range about(found, "view") {
		said[strings.TrimPrefix(f.Subject, s.owner+".")] += f.Severity + " " + f.What
		if strings.HasPrefix(f.Fix, "UPDATE") {
			s.db.Exec(t, f.Fix)
		}
	}
	require.Len(t, said, 4, said)
	require.Contains(t, said["gone"], "error missing")
	require.Contains(t, said["called"], "warning it was renamed by hand to "+s.owner+".otherwise")
	require.Contains(t, said["given"], "error it was given to "+team)
	require.Contains(t, said["forbidden"], "error ")
	require.Contains(t, said["forbidden"], "permission denied for table sales")
	require.Equal(t, s.owner+".otherwise "+team, ask[string](t, s.root, `SELECT string_agg(CASE WHEN name LIKE '%.given' THEN owner::text ELSE name END, ' ' ORDER BY id) FROM mvscheduler.views WHERE name LIKE '%.given' OR name LIKE '%.otherwise'`), "the fixes mend it")
}

func TestWhatPausedAViewIsNamedWithTheGrantAndThenItIsResumed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, sum(amount) AS n FROM sales GROUP BY 1`, "refresh_interval", "1 day")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `REVOKE ALL ON v FROM `+s.owner, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.alice, `SELECT activity = 'paused' FROM mvscheduler.status`)

	found, code := examine(t, s.db, s.owner)
	require.Equal(t, 5, code)
	view := s.owner + ".v"
	require.Len(t, about(found, "grants"), 1)
	require.Equal(t, "GRANT SELECT, INSERT, DELETE ON "+view+" TO "+s.owner, about(found, "grants")[0].Fix)
	require.Equal(t, "mvscheduler resume "+view, about(found, "view")[0].Fix)
	pgtest.Exec(t, s.alice, about(found, "grants")[0].Fix)
	require.Zero(t, mvscheduler(t, s.db, s.owner, "", "resume", view).code)
	refreshed(t, s.alice, "v")
	found, _ = examine(t, s.db, s.owner)
	require.Empty(t, about(found, "grants"))
	require.Empty(t, about(found, "view"))
}

// A fix is pasted into a shell or psql by somebody with more rights than who named the view.
func TestNamesRunNothingWhereAFixIsPasted(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	root := db.Conn(t, "")
	pgtest.Exec(t, root, `CREATE TABLE public.precious (a int)`)
	pgtest.Exec(t, alice, `CREATE TABLE m (ts timestamptz)`)
	dir := t.TempDir()
	views := map[string]string{}
	for _, kind := range []string{"gone", "replaced", "index", "grants"} {
		name := kind + "$(touch ran)';\nDROP TABLE precious; --"
		insert := `INSERT INTO mvscheduler.views (name, query) VALUES (quote_ident($1), 'SELECT 1 AS a') RETURNING name`
		if kind == "gone" {
			insert = `INSERT INTO mvscheduler.views (name, method, time_column, bucket_width, query) VALUES (quote_ident($1), 'incremental', 'hour', '1 hour', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM m WHERE mvscheduler.in_window(ts) GROUP BY 1') RETURNING name`
		}
		require.NoError(t, alice.QueryRow(t.Context(), insert, name).Scan(&name))
		views[kind] = name
	}
	query := ask[string](t, alice, `SELECT query_relation FROM mvscheduler.visible_views WHERE name = $1`, views["replaced"])
	pgtest.Exec(t, alice, `DROP VIEW `+views["gone"], `CREATE OR REPLACE VIEW `+query+` AS SELECT 2 AS a`)
	if db.Version() >= 170000 {
		pgtest.Exec(t, alice, `REVOKE MAINTAIN ON TABLE `+views["grants"]+` FROM mvscheduler_worker`)
	}
	found, _ := examine(t, db, "")
	commands, statements := 0, 0
	for _, f := range found {
		if !strings.Contains(f.Fix, "touch ran") {
			continue
		}
		if strings.HasPrefix(f.Fix, "mvscheduler ") {
			shell := exec.CommandContext(t.Context(), "sh", "-c", `mvscheduler() { printf %s "$2"; }; `+f.Fix)
			shell.Dir = dir
			said, err := shell.Output()
			require.NoError(t, err, f.Fix)
			require.Equal(t, views["gone"], string(said))
			commands++
			continue
		}
		_, _ = root.PgConn().Exec(t.Context(), f.Fix).ReadAll()
		statements++
	}
	require.Equal(t, 1, commands)
	require.GreaterOrEqual(t, statements, 3)
	require.NoFileExists(t, filepath.Join(dir, "ran"))
	require.True(t, ask[bool](t, alice, `SELECT to_regclass('public.precious') IS NOT NULL`))
}

func TestTheDoctorKnowsTheGatesOfTablesAndTheFixMakesOneAnew(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 5)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '200 days')`)
	table, view := s.owner+".readings", s.owner+".hourly"
	for _, role := range []string{"", s.owner} {
		found, _ := examine(t, s.db, role)
		require.Empty(t, about(found, "leftover"))
		require.Empty(t, about(found, "part"))
	}
	gates := func() string {
		return ask[string](t, s.alice, `SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class AS c WHERE c.relkind = 'm' AND c.relnamespace = current_schema()::regnamespace`)
	}
	require.Equal(t, "hourly__gate readings__gate", gates())

	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW readings__gate, hourly__gate`)
	found, code := examine(t, s.db, "")
	require.Equal(t, 5, code)
	missing := about(found, "part")
	require.Len(t, missing, 2)
	require.Equal(t, []string{"error", view, "error", table}, []string{missing[0].Severity, missing[0].Subject, missing[1].Severity, missing[1].Subject})
	for _, f := range missing {
		pgtest.Exec(t, s.alice, f.Fix)
	}
	require.Equal(t, "hourly__gate readings__gate", gates())
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW readings__gate`, `UPDATE mvscheduler.source_retention SET retention_period = '2 days'`)
	require.Equal(t, "hourly__gate readings__gate", gates(), "any UPDATE makes it anew")
	found, _ = examine(t, s.db, "")
	require.Empty(t, about(found, "part"))
	require.Empty(t, about(found, "leftover"))
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.kept)`)

	// Given away by hand, it is not the owner's any more, and stays what it is.
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.root, `ALTER MATERIALIZED VIEW `+s.owner+`.readings__gate OWNER TO `+bob)
	found, _ = examine(t, s.db, "")
	require.Equal(t, table, about(found, "part")[0].Subject)
	pgtest.Exec(t, s.alice, about(found, "part")[0].Fix)
	require.Equal(t, "hourly__gate readings__gate readings__gate1", gates())
	require.Equal(t, "readings__gate1", ask[string](t, s.alice, `SELECT gate::text FROM mvscheduler.visible_targets WHERE kind = 'source'`))
}

func TestARunThatFoundNoGateSaysWhatMakesItAnew(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 5)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '2 days')`, `DROP MATERIALIZED VIEW readings__gate`)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'failed')`)
	out := mvscheduler(t, s.db, s.owner, "", "runs", "readings", "-o", "json")
	require.Zero(t, out.code, out.stderr)
	require.NotContains(t, out.stdout, "Resuming")
	fix := `UPDATE mvscheduler.source_retention SET enabled = enabled WHERE id = -1`
	require.Contains(t, out.stdout, fix)
	pgtest.Exec(t, s.alice, fix)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded')`)
	out = mvscheduler(t, s.db, s.owner, "", "runs", s.owner+".readings")
	require.Contains(t, out.stdout, "put aside")
	require.Equal(t, 3, mvscheduler(t, s.db, s.owner, "", "runs", "nix").code)
}
