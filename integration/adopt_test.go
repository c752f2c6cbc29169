package integration

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// dump is what pg_dump sees of a schema.
func dump(t *testing.T, db *pgtest.DB, schema string) string {
	t.Helper()
	out, err := db.Server(t).Command(t.Context(), nil, "pg_dump", "-n", schema, "-d", db.Name)
	if err != nil {
		t.Skipf("pg_dump of this server's version is not there: %v", err)
	}
	return regexp.MustCompile(`(?m)^(--.*|\\(un)?restrict .*)\n`).ReplaceAllString(out, "")
}

// existing is alice's materialized view with everything that can hang on one.
func existing(t *testing.T, db *pgtest.DB, user string) {
	t.Helper()
	reader := db.Role(t, "reader")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice,
		`CREATE TABLE sales (day date, amount int)`, `INSERT INTO sales SELECT '2026-01-01'::date + i % 10, i FROM generate_series(1, 100) AS i`,
		`CREATE MATERIALIZED VIEW daily AS SELECT day, sum(amount) AS amount FROM sales GROUP BY day`,
		`CREATE UNIQUE INDEX daily_day ON daily (day)`, `CREATE INDEX daily_amount ON daily (amount DESC) WHERE amount > 5`,
		`COMMENT ON MATERIALIZED VIEW daily IS 'ours'`, `COMMENT ON COLUMN daily.day IS 'the day'`,
		`ALTER MATERIALIZED VIEW daily ALTER COLUMN day SET STATISTICS 500`, `CREATE VIEW best WITH (security_barrier) AS SELECT max(amount) AS amount FROM daily`,
		`GRANT SELECT ON daily TO `+reader, `GRANT SELECT (day) ON daily TO PUBLIC`,
		`GRANT USAGE ON SCHEMA `+user+` TO mvscheduler_worker`)
}

func TestAdoptionAndReleaseChangeNothingThatPgDumpSees(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	existing(t, db, user)
	alice := db.Conn(t, user)
	before := dump(t, db, user)
	oid := ask[uint32](t, alice, `SELECT 'daily'::regclass::oid`)
	startSidecar(t, db)

	pgtest.Exec(t, alice, `SELECT mvscheduler.adopt_view('daily', '1 day')`)
	status := ask[string](t, alice, `SELECT concat_ws(' ', freshness, adopted, reason) FROM mvscheduler.status`)
	require.Contains(t, status, "never t adopted: how old its contents are is known after its first refresh")
	adopted := strings.ReplaceAll(dump(t, db, user), "GRANT MAINTAIN ON TABLE "+user+".daily TO mvscheduler_worker;\n", "")
	require.Equal(t, strings.Fields(before), strings.Fields(adopted), "but for MAINTAIN")
	require.Contains(t, ask[string](t, alice, `SELECT query FROM mvscheduler.views`), "sum(sales.amount)")

	pgtest.Exec(t, alice, `INSERT INTO sales VALUES ('2026-02-01', 7)`)
	refreshed(t, alice, "daily")
	require.Equal(t, int64(11), ask[int64](t, alice, `SELECT count(*) FROM daily`))
	require.Equal(t, "concurrent", ask[string](t, alice, `SELECT method FROM mvscheduler.status`))
	pgtest.Exec(t, alice, `DELETE FROM sales WHERE amount = 7 AND day = '2026-02-01'`)
	refreshed(t, alice, "daily")

	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET indexes = '{(day DESC)}', unique_key = '{day}'`, `SELECT mvscheduler.release_view('daily')`)
	require.Equal(t, strings.Fields(before), strings.Fields(dump(t, db, user)), "released as it was")
	require.Equal(t, oid, ask[uint32](t, alice, `SELECT 'daily'::regclass::oid`))
	require.Zero(t, ask[int64](t, alice, `SELECT count(*) FROM mvscheduler.status`))
	pgtest.Exec(t, alice, `SELECT mvscheduler.adopt_view('daily')`, `DELETE FROM mvscheduler.views`)
	require.Equal(t, int64(10), ask[int64](t, alice, `SELECT count(*) FROM daily`), "DELETE lets go, it never drops")
}

func TestWhatCannotBeAdoptedSaysWhy(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user, bob := db.User(t, "alice"), db.User(t, "bob")
	existing(t, db, user)
	alice := db.Conn(t, user)
	for sql, want := range map[string]string{
		`SELECT mvscheduler.adopt_view('nix')`:                               "does not exist",
		`SELECT mvscheduler.adopt_view('sales')`:                             "is not a materialized view",
		`SELECT mvscheduler.adopt_view('daily', NULL, cron => '61 * * * *')`: "invalid cron",
		`INSERT INTO mvscheduler.views (name, query, adopted, retention_period, time_column) VALUES ('daily', '', true, '1 day', 'day')`: "Adopt it first",
	} {
		_, err := alice.Exec(t.Context(), sql)
		require.Error(t, err, sql)
		require.Contains(t, errorText(err), want, sql)
	}
	_, err := db.Conn(t, bob).Exec(t.Context(), `SELECT mvscheduler.adopt_view($1)`, user+".daily")
	require.Error(t, err, "another's")
	pgtest.Exec(t, alice, `SELECT mvscheduler.adopt_view('daily')`)
	_, err = alice.Exec(t.Context(), `SELECT mvscheduler.adopt_view('daily')`)
	require.Contains(t, errorText(err), "is managed already")
	_, err = alice.Exec(t.Context(), `UPDATE mvscheduler.views SET adopted = false`)
	require.Contains(t, errorText(err), "stays so")
}

func TestAMemberOfAGroupIsToldWhichTextOfTheGroupANewVersionWouldParse(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user, team := db.User(t, "alice"), db.User(t, "team")
	existing(t, db, user)
	for _, sql := range []string{`GRANT ` + team + ` TO ` + user, `GRANT ALL ON SCHEMA ` + user + ` TO ` + team, `GRANT SELECT ON ` + user + `.sales TO ` + team, `ALTER MATERIALIZED VIEW ` + user + `.daily OWNER TO ` + team} {
		db.Exec(t, sql)
	}
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `DROP VIEW best`, `SELECT mvscheduler.adopt_view('daily')`)
	edit := `UPDATE mvscheduler.views SET query = 'SELECT day, sum(amount) AS amount, count(*) AS n FROM ` + user + `.sales GROUP BY day'`
	_, err := alice.Exec(t.Context(), edit)
	require.Contains(t, errorText(err), "That text is in index "+user+".daily_amount.")
	require.NotContains(t, errorText(err), "write a query of your own", "that is what she did")
	pgtest.Exec(t, alice, `SET ROLE `+team, edit)
}

func TestAnAdoptedViewTurnsIntoAPairWhenItsQueryIsEdited(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	existing(t, db, user)
	alice := db.Conn(t, user)
	startSidecar(t, db)
	pgtest.Exec(t, alice, `SELECT mvscheduler.adopt_view('daily')`,
		`UPDATE mvscheduler.views SET query = 'SELECT day, sum(amount) AS amount, count(*) AS n FROM sales GROUP BY day'`)
	until(t, alice, `SELECT count(*) = 1 FROM pg_attribute WHERE attrelid = 'daily'::regclass AND attname = 'n'`)
	require.Equal(t, int64(10), ask[int64](t, alice, `SELECT count(n) FROM daily`))
	require.Equal(t, "ours", ask[string](t, alice, `SELECT obj_description('daily'::regclass, 'pg_class')`))
	require.True(t, ask[bool](t, alice, `SELECT reloptions::text LIKE '%security_barrier%' FROM pg_class WHERE oid = 'best'::regclass`))
	require.Positive(t, ask[int64](t, alice, `SELECT amount::bigint FROM best`))
	pgtest.Exec(t, alice, `SELECT mvscheduler.release_view('daily')`)
	require.Equal(t, int64(10), ask[int64](t, alice, `SELECT count(n) FROM daily`), "it stays")
}

func TestAViewThatMvschedulerMadeCanBeGivenBack(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (at timestamptz, a int)`, `INSERT INTO t VALUES (now(), 1)`,
		`INSERT INTO mvscheduler.views (name, query, retention_period, time_column) VALUES ('v', 'SELECT at, count(*) AS n FROM t GROUP BY at', '1 day', 'at')`)
	startSidecar(t, db)
	refreshed(t, alice, "v")
	require.Zero(t, mvscheduler(t, db, user, "", "release", "v").code)
	pgtest.Exec(t, alice, `REFRESH MATERIALIZED VIEW CONCURRENTLY v`)
	require.Equal(t, int64(1), ask[int64](t, alice, `SELECT count(*) FROM v`))
	require.NotContains(t, ask[string](t, alice, `SELECT pg_get_viewdef('v__query'::regclass)`), "cutoff", "the filter of the retention is gone")
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT at, count(*) AS n FROM t GROUP BY at')`)
	require.Equal(t, int64(1), ask[int64](t, alice, `SELECT count(*) FROM mvscheduler.status`), "and it can be registered again")
}

func TestAViewThatIsGivenBackAndAdoptedKeepsItsIndexes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (a int, b int)`)
	const indexes = `SELECT string_agg(indexdef, E'\n' ORDER BY indexdef) FROM pg_indexes WHERE tablename = $1`
	for name, columns := range map[string]string{
		"derived": `'SELECT a, count(*) AS n FROM t GROUP BY a', NULL, '{(n)}'`,
		"named":   `'SELECT a, b FROM t', '{a}', NULL`,
	} {
		pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, unique_key, indexes) VALUES ('`+name+`', `+columns+`)`)
		before := ask[string](t, alice, indexes, name)
		require.Contains(t, before, "UNIQUE")
		for range 2 {
			pgtest.Exec(t, alice, `SELECT mvscheduler.release_view('`+name+`')`, `SELECT mvscheduler.adopt_view('`+name+`')`)
			require.Equal(t, before, ask[string](t, alice, indexes, name), name)
		}
		pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET indexes = '{(a DESC)}' WHERE name LIKE '%'||'`+name+`'`)
		require.Contains(t, ask[string](t, alice, indexes, name), before[:strings.Index(before, "\n")+1], "what became the owner's stays")
	}
	found, _ := examine(t, db, "")
	require.Empty(t, about(found, "leftover"))
	pgtest.Exec(t, alice, `SELECT mvscheduler.release_view('named')`)
	found, _ = examine(t, db, "")
	for _, f := range about(found, "leftover") {
		require.NotContains(t, f.Fix, "DROP", "a materialized view needs it")
	}
	require.NotEmpty(t, about(found, "unmanaged"))
}

func TestJobsOfPgCronAreTakenOverWithTheirSchedules(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	existing(t, db, user)
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE MATERIALIZED VIEW weekly AS SELECT 1 AS a`, `CREATE MATERIALIZED VIEW often AS SELECT 1 AS a`, `CREATE MATERIALIZED VIEW together AS SELECT 1 AS a`)
	db.Exec(t, `CREATE SCHEMA cron`)
	db.Exec(t, `GRANT USAGE ON SCHEMA cron TO PUBLIC`)
	db.Exec(t, `CREATE TABLE cron.job (jobid bigint, schedule text, command text, nodename text, nodeport int, database text, username text, active boolean, jobname text)`)
	db.Exec(t, `GRANT SELECT ON cron.job TO PUBLIC`)
	db.Exec(t, `INSERT INTO cron.job VALUES (1, '*/5 * * * *', 'REFRESH MATERIALIZED VIEW CONCURRENTLY daily', '', 0, current_database(), 'alice', true, 'd'),
		(2, '@weekly', 'refresh materialized view `+user+`.weekly; SELECT 1', '', 0, current_database(), 'alice', true, NULL),
		(3, '30 seconds', 'REFRESH MATERIALIZED VIEW often', '', 0, current_database(), 'alice', true, 'o'),
		(4, '@daily', 'REFRESH MATERIALIZED VIEW gone', '', 0, current_database(), 'alice', true, 'g'),
		(5, '@daily', 'VACUUM', '', 0, current_database(), 'alice', true, 'x'),
		(6, '@daily', 'REFRESH MATERIALIZED VIEW together; REFRESH MATERIALIZED VIEW lost', '', 0, current_database(), 'alice', true, 't'),
		(7, '@hourly', 'REFRESH MATERIALIZED VIEW often', '', 0, current_database(), 'alice', true, 'o2')`)
	r := mvscheduler(t, db, user, "", "adopt", "--from-pg-cron", "--dry-run", "-o", "json")
	require.Equal(t, 1, r.code, "one cannot be")
	var plans []struct{ View, Schedule, Timezone, Today, Stop, Result string }
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &plans))
	require.Len(t, plans, 7)
	require.Equal(t, "would be adopted", plans[0].Result)
	require.Equal(t, "would be adopted", plans[2].Result)
	require.Equal(t, "would be managed already", plans[6].Result, "by the schedule of another job")
	require.Equal(t, "cron */5 * * * *", plans[0].Schedule)
	require.Contains(t, plans[0].Today, "pg_cron job d")
	require.Contains(t, plans[3].Result, "does not exist")
	require.NotContains(t, plans[3].Result, "SQLSTATE")
	require.Zero(t, ask[int64](t, alice, `SELECT count(*) FROM mvscheduler.status`))
	r = mvscheduler(t, db, user, "", "adopt", "--from-pg-cron")
	require.Contains(t, r.stderr, "SELECT cron.unschedule(1)")
	require.NotContains(t, r.stderr, "unschedule(2)", "it does more than to refresh")
	require.Contains(t, r.stderr, "take the REFRESH out of the job, which does more (cron.alter_job): pg_cron job 2")
	require.NotContains(t, r.stderr, "gone")
	require.NotContains(t, r.stderr, "unschedule(6)", "another view needs it")
	require.Contains(t, r.stderr, "take the REFRESH out of the job, which does more (cron.alter_job): pg_cron job t")
	db.Exec(t, `DELETE FROM cron.job WHERE jobid IN (4, 6, 7)`)
	again := mvscheduler(t, db, user, "", "adopt", "--from-pg-cron")
	require.Zero(t, again.code, again.stderr)
	require.Contains(t, again.stdout, "is managed already")
	require.Equal(t, "daily */5 * * * *, often 30s, together 0 0 * * *, weekly 0 0 * * 0", ask[string](t, alice, `
SELECT string_agg(split_part(name, '.', 2) || ' ' || coalesce(cron, extract(epoch FROM refresh_interval)::int || 's'), ', ' ORDER BY name) FROM mvscheduler.views`))
}
