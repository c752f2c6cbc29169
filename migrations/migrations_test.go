package migrations_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/migrations"
)

// snapshot is everything that a migration makes, as text.
func snapshot(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
SELECT 'relation ' || c.relkind::text || ' ' || c.relname || ' ' || pg_get_userbyid(c.relowner) || ' ' || coalesce(c.relacl, acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner))::text || ' '
       || coalesce(array_to_string(c.reloptions, ','), '') || ' '
       || coalesce((SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), ''), ', ' ORDER BY a.attname)
                      FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v')), '')
  FROM pg_class AS c WHERE c.relnamespace = 'mvscheduler'::regnamespace AND c.relkind <> 'c'
UNION ALL
SELECT 'function ' || p.oid::regprocedure::text || ' ' || coalesce(p.proacl, acldefault('f', p.proowner))::text || ' ' || pg_get_userbyid(p.proowner) || ' ' || p.prosecdef
  FROM pg_proc AS p WHERE p.pronamespace = 'mvscheduler'::regnamespace
UNION ALL
SELECT 'trigger ' || g.tgname || ' ' || g.tgrelid::regclass FROM pg_trigger AS g JOIN pg_class AS c ON c.oid = g.tgrelid
 WHERE c.relnamespace = 'mvscheduler'::regnamespace AND NOT g.tgisinternal
ORDER BY 1`)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return lines
}

// difference is what only one of two snapshots has.
func difference(a, b []string) []string {
	var only []string
	for i, pair := range [][2][]string{{a, b}, {b, a}} {
		for _, line := range pair[0] {
			if !slices.Contains(pair[1], line) {
				only = append(only, []string{"only the first: ", "only the second: "}[i]+line)
			}
		}
	}
	return only
}

func TestUpDownUpIsClean(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	conn := db.Conn(t, "postgres")
	url := db.URL()
	pgtest.Exec(t, conn, `CREATE TABLE public.kept AS SELECT 1 AS a`)

	report, err := migrations.Up(t.Context(), url, migrations.Options{})
	require.NoError(t, err)
	require.Zero(t, report.Before)
	latest, err := migrations.Latest()
	require.NoError(t, err)
	require.Equal(t, latest, report.After)
	require.NoError(t, migrations.Check(t.Context(), conn))
	first := snapshot(t, conn)
	require.Greater(t, len(first), 60)

	again, err := migrations.Up(t.Context(), url, migrations.Options{})
	require.NoError(t, err)
	require.Equal(t, latest, again.Before)
	require.Empty(t, difference(first, snapshot(t, conn)))

	require.NoError(t, migrations.Down(t.Context(), url, migrations.Options{}))
	var left, kept, roles int
	require.NoError(t, conn.QueryRow(t.Context(), `
SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'mvscheduler'),
       (SELECT count(*) FROM pg_class WHERE oid = to_regclass('public.kept')),
       (SELECT count(*) FROM pg_roles WHERE rolname IN ('mvscheduler_owner', 'mvscheduler_user', 'mvscheduler_worker'))`).Scan(&left, &kept, &roles))
	require.Zero(t, left)
	require.Equal(t, 1, kept, "users' data stay")
	require.Equal(t, 3, roles, "the roles are the cluster's")
	require.NoError(t, migrations.Down(t.Context(), url, migrations.Options{}), "nothing to do is no error")

	_, err = migrations.Up(t.Context(), url, migrations.Options{})
	require.NoError(t, err)
	require.Empty(t, difference(first, snapshot(t, conn)))
}

func TestReplicasThatMigrateAtOnceAreSafe(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			_, err := migrations.Up(t.Context(), db.URL(), migrations.Options{})
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.NoError(t, migrations.Check(t.Context(), db.Conn(t, "postgres")))
}

func TestTheWaitForAnotherMigrationIsBoundedAndNamesIt(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	other := db.Conn(t, "postgres")
	pgtest.Exec(t, other, `SELECT pg_advisory_lock(x'6d767363686564'::bigint)`)
	_, err := migrations.Up(t.Context(), db.URL(), migrations.Options{LockWait: 300 * time.Millisecond})
	require.ErrorContains(t, err, "another migration has been under way")
	require.ErrorContains(t, err, "pg_terminate_backend(")
}

func TestASchemaThatDoesNotFitIsRefusedWithTheCommandThatHelps(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	conn := db.Conn(t, "postgres")
	require.ErrorContains(t, migrations.Check(t.Context(), conn), "run `mvscheduler migrate up`")

	_, err := migrations.Up(t.Context(), db.URL(), migrations.Options{})
	require.NoError(t, err)
	pgtest.Exec(t, conn, `UPDATE mvscheduler.schema_migrations SET version = version - 1`)
	var wrong *migrations.VersionError
	require.ErrorAs(t, migrations.Check(t.Context(), conn), &wrong)
	require.ErrorContains(t, wrong, "run `mvscheduler migrate up`")

	pgtest.Exec(t, conn, `UPDATE mvscheduler.schema_migrations SET version = version + 8`)
	require.ErrorContains(t, migrations.Check(t.Context(), conn), "upgrade the program")
	_, err = migrations.Up(t.Context(), db.URL(), migrations.Options{})
	require.ErrorContains(t, err, "upgrade the program", "an older program changes nothing")
}

func TestAMigrationThatFailedIsNamedAndTriedAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	conn := db.Conn(t, "postgres")
	_, err := migrations.Up(t.Context(), db.URL(), migrations.Options{})
	require.NoError(t, err)
	require.NoError(t, migrations.Down(t.Context(), db.URL(), migrations.Options{}))

	pgtest.Exec(t, conn, `CREATE SCHEMA mvscheduler AUTHORIZATION mvscheduler_owner`, `CREATE TABLE mvscheduler.attempt (in_the_way int)`)
	_, err = migrations.Up(t.Context(), db.URL(), migrations.Options{})
	require.ErrorContains(t, err, "000001_catalog.up.sql")
	require.ErrorContains(t, err, `relation "attempt" already exists`)
	require.Less(t, len(err.Error()), 400, "the message does not repeat the file")
	var views *string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT to_regclass('mvscheduler.views')::text`).Scan(&views))
	require.Nil(t, views, "a file that fails leaves nothing")
	require.ErrorContains(t, migrations.Check(t.Context(), conn), "failed half-way")

	pgtest.Exec(t, conn, `DROP TABLE mvscheduler.attempt`)
	_, err = migrations.Up(t.Context(), db.URL(), migrations.Options{})
	require.NoError(t, err)
	require.NoError(t, migrations.Check(t.Context(), conn))
}

func TestDownNamesWhatOthersBuiltOnTheSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "postgres")
	pgtest.Exec(t, conn, `CREATE VIEW public.my_board AS SELECT name, lag FROM mvscheduler.status`)
	err := migrations.Down(t.Context(), db.URL(), migrations.Options{})
	require.ErrorContains(t, err, "my_board")
	require.NoError(t, migrations.Check(t.Context(), conn), "nothing was changed")
	pgtest.Exec(t, conn, `DROP VIEW public.my_board`)
	require.NoError(t, migrations.Down(t.Context(), db.URL(), migrations.Options{}))
}

func TestDownIsAllOrNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "postgres")
	pgtest.Exec(t, conn, `CREATE FUNCTION public.mine(v mvscheduler.views) RETURNS int LANGUAGE sql AS 'SELECT 1'`)
	err := migrations.Down(t.Context(), db.URL(), migrations.Options{})
	require.ErrorContains(t, err, "nothing was changed")
	require.ErrorContains(t, err, "other objects depend on it")
	require.NoError(t, migrations.Check(t.Context(), conn))
	pgtest.Exec(t, conn, `DROP FUNCTION public.mine`)
	require.NoError(t, migrations.Down(t.Context(), db.URL(), migrations.Options{}))
}

func TestDownRemovesWhatAFailedUpLeft(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	conn := db.Conn(t, "postgres")
	_, err := migrations.Up(t.Context(), db.URL(), migrations.Options{})
	require.NoError(t, err)
	require.NoError(t, migrations.Down(t.Context(), db.URL(), migrations.Options{}))
	pgtest.Exec(t, conn, `CREATE SCHEMA mvscheduler AUTHORIZATION mvscheduler_owner`, `CREATE TABLE mvscheduler.view_source (in_the_way int)`, `ALTER TABLE mvscheduler.view_source OWNER TO mvscheduler_owner`)
	_, err = migrations.Up(t.Context(), db.URL(), migrations.Options{})
	require.ErrorContains(t, err, "000017_change_log.up.sql")
	pgtest.Exec(t, conn, `DROP TABLE mvscheduler.view_source`)
	require.NoError(t, migrations.Down(t.Context(), db.URL(), migrations.Options{}))
	require.Error(t, migrations.Check(t.Context(), conn))
}

func TestDownSaysHowTablesWithRetentionAreGivenBack(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "postgres")
	pgtest.Exec(t, conn, `CREATE TABLE public.flights (ts timestamptz) PARTITION BY RANGE (ts)`, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('public.flights', '1 day')`)
	err := migrations.Down(t.Context(), db.URL(), migrations.Options{})
	require.ErrorContains(t, err, "DELETE FROM mvscheduler.source_retention (public.flights)")
	require.NotContains(t, err.Error(), "mvscheduler release")
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on) VALUES ('public.v', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM public.flights WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual')`)
	err = migrations.Down(t.Context(), db.URL(), migrations.Options{})
	require.ErrorContains(t, err, "(incremental ones, when method = 'auto' has made materialized views of them): public.v.")
	require.ErrorContains(t, err, "DELETE FROM mvscheduler.source_retention (public.flights)")
	pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`, `DELETE FROM mvscheduler.source_retention`)
	require.NoError(t, migrations.Down(t.Context(), db.URL(), migrations.Options{}))
}

func TestDownKeepsUsersViews(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "postgres")
	pgtest.Exec(t, conn,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('public.v', 'SELECT 1 AS a')`,
		`REFRESH MATERIALIZED VIEW public.v`)
	require.NoError(t, migrations.Down(t.Context(), db.URL(), migrations.Options{}))
	var a int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT a FROM public.v`).Scan(&a))
	require.Equal(t, 1, a)
}

func TestTheScriptForADBADoesWhatUpAndDownDo(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	run := func(db *pgtest.DB, sql string, err error) {
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", db.URL())
		cmd.Stdin = strings.NewReader(sql)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	byHand, byProgram := pgtest.NewEmpty(t), pgtest.New(t)
	conn := byHand.Conn(t, "postgres")
	whole, err := migrations.UpScript(migrations.Version{})
	run(byHand, whole, err)
	require.NoError(t, migrations.Check(t.Context(), conn))
	want := snapshot(t, byProgram.Conn(t, "postgres"))
	require.Empty(t, difference(want, snapshot(t, conn)))

	// From each version on only what is missing: ours first, then River's.
	latest, err := migrations.Latest()
	require.NoError(t, err)
	for _, from := range []migrations.Version{{Catalog: 1}, {Catalog: 7}, {Catalog: latest.Catalog}, {Catalog: latest.Catalog, River: latest.River - 2}, latest} {
		next := fmt.Sprintf("\n-- %06d_", from.Catalog+1)
		if from.Catalog == latest.Catalog {
			next = fmt.Sprintf("\n-- River %d:", from.River+1)
		}
		before, _, found := strings.Cut(whole, next)
		if from == latest {
			before, _, found = strings.Cut(whole, "\n-- done")
		}
		require.True(t, found)
		older := pgtest.NewEmpty(t)
		run(older, before+fmt.Sprintf("\nCREATE TABLE IF NOT EXISTS mvscheduler.schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);\nTRUNCATE mvscheduler.schema_migrations; INSERT INTO mvscheduler.schema_migrations VALUES (%d, false);", from.Catalog), nil)
		sql, err := migrations.UpScript(from)
		run(older, sql, err)
		require.NoError(t, migrations.Check(t.Context(), older.Conn(t, "postgres")))
		require.Empty(t, difference(want, snapshot(t, older.Conn(t, "postgres"))), "from %s", from)
	}
	var wrong *migrations.VersionError
	_, err = migrations.UpScript(migrations.Version{Catalog: latest.Catalog + 1})
	require.ErrorAs(t, err, &wrong)

	down, err := migrations.DownScript()
	run(byHand, down, err)
	require.Error(t, migrations.Check(t.Context(), conn))
	_, err = migrations.Up(t.Context(), byHand.URL(), migrations.Options{})
	require.NoError(t, err)
}

func TestARoleThatIsNoSuperuserCanMigrate(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	conn := db.Conn(t, "postgres")
	dba := db.Role(t, "dba", "CREATEROLE")
	pgtest.Exec(t, conn, `GRANT CREATE ON DATABASE `+db.Name+` TO `+dba)
	if db.Version() >= 160000 { // from 16 on CREATEROLE reaches only roles that it made or was given
		pgtest.New(t) // makes ours, unless another test has
		pgtest.Exec(t, conn, `GRANT mvscheduler_owner, mvscheduler_worker TO `+dba+` WITH ADMIN TRUE`)
	}
	_, err := migrations.Up(t.Context(), db.URLAs(dba), migrations.Options{})
	require.NoError(t, err)
	require.NoError(t, migrations.Check(t.Context(), conn))

	_, err = migrations.Up(t.Context(), db.URLAs(db.Role(t, "nobody")), migrations.Options{})
	require.ErrorContains(t, err, "migrate up --print-sql")
}

func TestEveryObjectIsDocumented(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "postgres")
	require.Empty(t, listed(t, conn, `
SELECT c.oid::regclass::text
  FROM pg_class AS c
 WHERE c.relnamespace = 'mvscheduler'::regnamespace AND c.relkind IN ('r', 'v', 'm')
   AND obj_description(c.oid, 'pg_class') IS NULL
UNION ALL
SELECT c.oid::regclass || '.' || a.attname
  FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'mvscheduler'::regnamespace AND c.relkind IN ('r', 'v', 'm')
   AND (col_description(c.oid, a.attnum) IS NULL OR col_description(c.oid, a.attnum) = 'views.name' AND a.attname NOT IN ('name', 'view_name'))
UNION ALL
SELECT p.oid::regprocedure::text
  FROM pg_proc AS p
 WHERE p.pronamespace = 'mvscheduler'::regnamespace AND p.proname NOT LIKE 'river\_%' AND obj_description(p.oid, 'pg_proc') IS NULL`))
}

// listed are the answers of a query for one text each.
func listed(t *testing.T, conn *pgx.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return found
}

func TestDefinerFunctionsPinTheirSearchPathAndNobodyMayCallThem(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "postgres")
	require.Empty(t, listed(t, conn, `
SELECT p.oid::regprocedure::text
  FROM pg_proc AS p
 WHERE p.pronamespace = 'mvscheduler'::regnamespace
   AND p.prosecdef
   AND (coalesce(NOT 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig), true)
        OR has_function_privilege('mvscheduler_user', p.oid, 'EXECUTE')
           -- what a step asks, which demands the running attempt in this very transaction
           AND p.proname <> ALL ('{step_at_hand,swap_at_hand,swap_done,swap_data_at_hand,swap_data_done,swap_method_at_hand,swap_method_done,leftovers_at_hand,leftovers_done,track_at_hand,increment_at_hand,increment_done,build_at_hand,build_done,partition_at_hand,unfrozen_label}')
           -- what the query of a view with retention asks, at every refresh, with the rights of its owner: a time
           AND p.proname <> 'cutoff'
           -- what the owner of a view makes triggers of: they write for registered tables, which they know by TG_RELID
           AND p.proname <> ALL ('{changed,changed_row}')
        -- those name a column, which is PostgreSQL's own record of a registered one and whose type is looked at each time
        OR p.prosrc ~* '\mexecute\M' AND p.proname <> ALL ('{changed,changed_row}'))`))
}

// The text of a function is parsed when a session calls it first. With standard_conforming_strings off, as old programs have it and
// as a function in the midst of a query can set it, a backslash in it would be another text: what a query reads would be told wrong.
func TestFunctionsWithABackslashSayWhatItStandsFor(t *testing.T) {
	t.Parallel()
	conn := pgtest.New(t).Conn(t, "postgres")
	require.Empty(t, listed(t, conn, `
SELECT p.oid::regprocedure::text
  FROM pg_proc AS p
 WHERE p.pronamespace = 'mvscheduler'::regnamespace
   AND p.proname NOT LIKE 'river\_%'
   AND p.prosqlbody IS NULL
   AND strpos(p.prosrc, '\') > 0
   AND NOT coalesce('standard_conforming_strings=on' = ANY (p.proconfig), false)`))
}
