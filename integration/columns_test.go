package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// columnEffects says for each column of views how an UPDATE changes it and how one sees that it took
// effect. The views are v (SELECT a, b FROM t) and nothing else. A new column without a line here fails
// the test.
var columnEffects = map[string]struct {
	set    string // what follows SET
	effect string // a query that is true afterwards; empty when the UPDATE is refused
	code   string // SQLSTATE of the refusal
}{
	"id":                {set: `id = 99`, code: "428C9"},
	"name":              {set: `name = 'w'`, effect: `SELECT to_regclass('w') IS NOT NULL AND to_regclass('w__query') IS NOT NULL AND to_regclass('v') IS NULL AND (SELECT name LIKE '%.w' FROM mvscheduler.status)`},
	"query":             {set: `query = 'SELECT a + 1 AS a, b FROM t'`, effect: `SELECT pg_get_viewdef('v__query') LIKE '%a + 1%' AND (SELECT next_refresh_at <= now() + interval '1 second' FROM mvscheduler.status)`},
	"owner":             {set: `owner = '$team'`, effect: `SELECT bool_and(relowner = '$team'::regrole) FROM pg_class WHERE relname IN ('v', 'v__query')`},
	"method":            {set: `method = 'concurrent', unique_key = '{a}'`, effect: `SELECT method = 'concurrent' FROM $state`},
	"refresh_interval":  {set: `refresh_interval = '7 minutes'`, effect: `SELECT refresh_interval = '7 minutes' AND cron IS NULL FROM $state`},
	"cron":              {set: `cron = '5 4 * * *'`, effect: `SELECT cron = '5 4 * * *' AND refresh_interval IS NULL AND reschedule FROM $state`},
	"calendar":          {set: `calendar = '[{"at": "04:05"}]'`, effect: `SELECT calendar @> '[{"at": "04:05"}]' AND refresh_interval IS NULL AND cron IS NULL AND reschedule FROM $state`},
	"timezone":          {set: `timezone = 'Asia/Tokyo'`, effect: `SELECT timezone = 'Asia/Tokyo' AND reschedule FROM $state`},
	"refresh_on":        {set: `refresh_on = 'manual'`, effect: `SELECT refresh_on = 'manual' AND reschedule FROM $state`},
	"catchup":           {set: `catchup = 'all'`, effect: `SELECT catchup = 'all' FROM $state`},
	"retention_period":  {set: `query = 'SELECT a, b, now() AS at FROM t', time_column = 'at', retention_period = '1 day'`, effect: `SELECT retention_period = '1 day' FROM $state`},
	"time_column":       {set: `time_column = 'a'`, effect: `SELECT time_column = 'a' FROM $state`},
	"adopted":           {set: `adopted = true`, effect: `SELECT adopted FROM mvscheduler.status`},
	"bucket_width":      {set: `bucket_width = '1 hour'`, code: "0A000"},
	"change_tracking":   {set: `change_tracking = 'none'`, effect: `SELECT change_tracking = 'none' FROM $state`},
	"lateness":          {set: `lateness = '1 hour'`, code: "0A000"},
	"real_time":         {set: `real_time = true`, code: "0A000"},
	"unique_key":        {set: `unique_key = '{b,a}'`, effect: `SELECT pg_get_indexdef(indexrelid) LIKE '%UNIQUE%(b, a)' FROM pg_index WHERE indrelid = 'v'::regclass`},
	"indexes":           {set: `indexes = '{(b DESC),USING hash (a)}'`, effect: `SELECT count(*) = 2 FROM pg_index WHERE indrelid = 'v'::regclass`},
	"refresh_group":     {set: `refresh_group = 'g'`, code: "0A000"},
	"priority":          {set: `priority = 1`, effect: `SELECT priority = 1 FROM $state`},
	"statement_timeout": {set: `statement_timeout = '1 minute'`, effect: `SELECT statement_timeout = '1 minute' FROM $state`},
	"lock_timeout":      {set: `lock_timeout = '100 ms'`, effect: `SELECT lock_timeout = '100 ms' FROM $state`},
	"work_mem":          {set: `work_mem = '8MB'`, effect: `SELECT work_mem = '8MB' FROM $state`},
	"max_attempts":      {set: `max_attempts = 3`, effect: `SELECT max_attempts = 3 FROM $state`},
	"max_size_bytes":    {set: `max_size_bytes = 100000`, effect: `SELECT max_size_bytes = 100000 FROM $state`},
	"analyze":           {set: `"analyze" = false`, effect: `SELECT NOT "analyze" FROM $state`},
	"optimize":          {set: `optimize = 'off'`, effect: `SELECT optimize = 'off' FROM mvscheduler.views`},
	"min_interval":      {set: `min_interval = '1 minute'`, effect: `SELECT min_interval = '1 minute' FROM mvscheduler.view_state`},
	"max_interval":      {set: `max_interval = '1 minute'`, effect: `SELECT max_interval = '1 minute' FROM mvscheduler.view_state`},
	"min_retention":     {set: `min_retention = '1 day'`, effect: `SELECT min_retention = '1 day' FROM mvscheduler.view_state`},
	"max_retention":     {set: `max_retention = '1 day'`, effect: `SELECT max_retention = '1 day' FROM mvscheduler.view_state`},
	"enabled":           {set: `enabled = false`, effect: `SELECT activity = 'paused' AND next_refresh_at IS NULL AND reason = 'disabled' FROM mvscheduler.status`},
	"paused_at":         {set: `paused_at = now()`, effect: `SELECT activity = 'paused' AND next_refresh_at IS NULL FROM mvscheduler.status`},
	"paused_until":      {set: `paused_until = 'tomorrow'`, effect: `SELECT activity = 'paused' AND reason LIKE 'paused until %' AND next_refresh_at = 'tomorrow' FROM mvscheduler.status`},
	"pause_reason":      {set: `pause_reason = 'because'`, effect: `SELECT activity = 'paused' AND reason LIKE '%because%' FROM mvscheduler.status`},
	"search_path":       {set: `search_path = 'other'`, effect: `SELECT pg_get_viewdef('v__query') LIKE '%other.t%'`},
	"created_at":        {set: `created_at = '2000-01-01'`, effect: `SELECT created_at > now() - interval '1 hour' FROM mvscheduler.views`},
	"updated_at":        {set: `updated_at = '2000-01-01'`, effect: `SELECT updated_at > now() - interval '1 hour' FROM mvscheduler.views`},
	"updated_by":        {set: `updated_by = '$team'`, effect: `SELECT updated_by::text = current_user FROM mvscheduler.views`},
}

func TestAnUpdateOfEveryColumnTakesEffect(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, team := db.User(t, "alice"), db.User(t, "team")
	db.Exec(t, `GRANT `+team+` TO `+alice+`; GRANT ALL ON SCHEMA `+alice+` TO `+team+`; CREATE SCHEMA other; GRANT ALL ON SCHEMA other TO `+alice)
	admin, conn := db.Conn(t, ""), db.Conn(t, alice)
	db.Exec(t, `GRANT SELECT ON mvscheduler.view_state TO `+alice)
	pgtest.Exec(t, conn, `CREATE TABLE t (a int, b text)`, `CREATE TABLE other.t (a int, b text)`)
	columns := ask[[]string](t, admin, `SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'mvscheduler.views'::regclass AND attnum > 0 AND NOT attisdropped`)
	require.Greater(t, len(columns), 30)
	with := strings.NewReplacer("$team", team, "$state", "mvscheduler.view_state")
	for _, column := range columns {
		c, known := columnEffects[column]
		if !known {
			t.Errorf("nothing is said about UPDATE of column %s", column)
			continue
		}
		pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a, b FROM t')`)
		statement := `UPDATE mvscheduler.views SET ` + with.Replace(c.set)
		if c.code != "" {
			failed := refused(t, conn, c.code, statement)
			require.Contains(t, failed.Message, column)
		} else {
			require.Nil(t, send(t, conn, statement), column)
			if !ask[bool](t, conn, with.Replace(c.effect)) {
				t.Errorf("UPDATE ... SET %s has no effect", c.set)
			}
			require.NotZero(t, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.audit_log WHERE action = 'update'`))
		}
		pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
		require.Zero(t, ask[int](t, admin, `SELECT count(*)::int FROM mvscheduler.view_state`))
	}
}

func TestReservedColumnsSayThatTheyAreReserved(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	for assignment, why := range map[string]string{
		`bucket_width = '1 hour'`: `is for method "incremental" only`, `change_tracking = 'trigger'`: `is for method "incremental" only`, `lateness = '1 hour'`: `is for method "incremental" only`,
		`real_time = true`: "in this version", `refresh_group = 'g'`: "in this version",
		`method = 'continuous_aggregate'`: "in this version",
	} {
		column, value, _ := strings.Cut(assignment, " = ")
		for _, statement := range []string{`INSERT INTO mvscheduler.views (name, query, ` + column + `) VALUES ('w', 'SELECT 1 AS a', ` + value + `)`, `UPDATE mvscheduler.views SET ` + assignment} {
			failed := refused(t, conn, "0A000", statement)
			require.Contains(t, failed.Message, column)
			require.Contains(t, failed.Message, why)
			require.NotEmpty(t, failed.Hint)
		}
	}
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_class WHERE relname ~ '^w(__query)?$'`))
}

func TestValuesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin, conn := db.Conn(t, ""), db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	before := ask[string](t, admin, residue)
	refusals := map[string][]string{
		"22023": {
			`refresh_interval = '0'`, `refresh_interval = '-1 hour'`, `refresh_interval = '1 month'`, `refresh_interval = '1 year'`, `refresh_interval = '1 month -30 days'`,
			`refresh_interval = '1 millisecond'`, `refresh_interval = '100000 days'`, `refresh_interval = '178000000 years'`,
			`cron = '60 * * * *'`, `cron = '0 0 31 2 *'`, `cron = '* * * *'`, `cron = '* * * * * *'`, `cron = '@daily'`, `cron = '0 0 L * *'`, `cron = '0 0 15W * *'`, `cron = '0 0 * * 5#2'`,
			`cron = ''`, `cron = ' '`, `cron = 'a b c d e'`, `cron = '*/0 * * * *'`, `cron = '1-2-3 * * * *'`, `cron = ', * * * *'`, `cron = '-1 * * * *'`, `cron = '١ * * * *'`, `cron = E'0 0 * * *\n'`,
			`calendar = '[]'`, `calendar = '{}'`, `calendar = 'null'`, `calendar = '[{"at": "24:00"}]'`, `calendar = '[{"days": "fri-mon", "at": "06:00"}]'`, `calendar = '[{"every": "1 second"}]'`, `calendar = '[{"at": "06:00"}, {"from": "07:00"}]'`,
			`cron = repeat('*', 300)`, `cron = '0 0 * * *', refresh_interval = '5 minutes'`,
			`timezone = 'posixrules'`, `timezone = 'Nowhere/City'`, `timezone = ''`, `timezone = '+02'`, `timezone = 'europe/berlin'`, `timezone = '<+03>-3'`, `timezone = 'localtime'`, `timezone = 'posix/Europe/Berlin'`,
			`method = 'quick'`, `method = ''`, `method = 'AUTO'`, `refresh_on = 'always'`, `catchup = 'some'`, `optimize = 'yes'`, `change_tracking = 'magic'`,
			`priority = 0`, `priority = 5`, `priority = -1`, `max_attempts = 0`, `max_attempts = 101`, `max_size_bytes = 0`, `max_size_bytes = -1`,
			`statement_timeout = '0'`, `statement_timeout = '-1 s'`, `statement_timeout = '1 month'`, `lock_timeout = '0'`, `lock_timeout = '1 hour'`,
			`work_mem = '1'`, `work_mem = '1kB'`, `work_mem = '100GB'`, `work_mem = '-1'`, `work_mem = 'lots'`, `work_mem = ''`,
			`unique_key = '{NULL}'`, `indexes = '{NULL}'`, `indexes = '{""}'`, `indexes = '{a}'`, `indexes = '{"ON t (a)"}'`, `indexes = '{"(a); DROP TABLE x"}'`, `indexes = '{"(a);"}'`,
		},
		"42602": {`name = 'a b'`, `name = '"a'`, `name = 'a.'`, `name = '.a'`, `name = ''`, `name = ' '`, `name = '""'`, `name = 'a;b'`, `name = '1a'`, `name = 'U&"\0061"'`},
		"0A000": {`name = 'a.b.c'`},
		"42622": {`name = repeat('a', 64)`, `name = repeat('é', 32)`, `name = '"' || repeat('a', 64) || '"'`},
		"42P16": {`name = 'pg_temp.v'`, `name = 'pg_temp_3.v'`, `name = 'pg_toast.v'`},
		"42939": {`name = 'pg_catalog.v'`, `name = 'information_schema.v'`, `name = 'mvscheduler.v'`},
		"42601": {`query = ''`, `query = ' ; '`, `indexes = '{(a}'`, `indexes = '{(a) x}'`},
		"42703": {`unique_key = '{nosuch}'`, `unique_key = '{A}'`, `unique_key = '{"a, a"}'`, `indexes = '{(nosuch)}'`},
		"22004": {`enabled = NULL`, `"analyze" = NULL`},
		"23502": {`lateness = NULL`, `real_time = NULL`},
		"22P02": {`priority = 'x'`, `owner = '{}'::text::int::regrole`},
		"42704": {`owner = 'nosuch'`},
	}
	for code, assignments := range refusals {
		for _, assignment := range assignments {
			failed := send(t, conn, `UPDATE mvscheduler.views SET `+assignment)
			if failed == nil {
				t.Errorf("%s is accepted", assignment)
				continue
			}
			if failed.Code != code {
				t.Errorf("%s: %s %s, not %s", assignment, failed.Code, failed.Message, code)
			}
			require.Equal(t, before, ask[string](t, admin, residue))
			if column, value, _ := strings.Cut(assignment, " = "); !strings.Contains(value, " = ") {
				insert := `INSERT INTO mvscheduler.views (name, query, ` + column + `) VALUES ('w', 'SELECT 1 AS a', ` + value + `)`
				if column == "name" || column == "query" {
					insert = strings.Replace(strings.Replace(insert, ", "+column+")", ")", 1), map[string]string{"name": `'w'`, "query": `'SELECT 1 AS a'`}[column], value, 1)
					insert = strings.TrimSuffix(insert, ", "+value+")") + ")"
				}
				inserted := send(t, conn, insert)
				if inserted == nil || inserted.Code != code {
					t.Errorf("%s: %v", insert, inserted)
				}
				require.Equal(t, before, ask[string](t, admin, residue))
			}
		}
	}
}

func TestOddButSoundValuesAreAccepted(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	db.Exec(t, `CREATE SCHEMA "Odd ""schema"" 🙂" AUTHORIZATION `+alice)
	for _, name := range []string{strings.Repeat("a", 63), strings.Repeat("é", 31), strings.Repeat("a", 56) + "__query", "v__query", "v__query__query", `"With ""quotes"" and 'quotes'"`, "MiXeD", `"MiXeD"`, "naïve", `"🙂"`,
		"\"\u202eRTL\"", "\"zero\u200bwidth\"", `" "`, `"a.b"`, `"select"`, `"$user"`, `"pg_temp"`, `"Odd ""schema"" 🙂"."v%I"`, ` " spaced "`, `"tab	nl
"`, `"\backslash"`, `"v;DROP TABLE t"`, `"--"`, `"/*"`, `"$$"`, `"{}"`} {
		require.Nil(t, send(t, conn, register, name, "SELECT 1 AS a, 2 AS b"), name)
		ask[int64](t, conn, `SELECT mvscheduler.refresh_view(name) FROM mvscheduler.views`)
		require.Nil(t, send(t, conn, `UPDATE mvscheduler.views SET query = 'SELECT 3 AS a, 4 AS b', unique_key = '{a}', indexes = '{(b)}'`), name)
		require.Nil(t, send(t, conn, `SELECT mvscheduler.drop_view(name) FROM mvscheduler.views`), name)
		require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_class WHERE relkind IN ('m', 'v') AND relowner = current_user::regrole`), name)
	}
	for i, assignment := range []string{
		`refresh_interval = '1 second'`, `refresh_interval = '1.5 seconds'`, `refresh_interval = '3653 days'`, `refresh_interval = NULL`, `refresh_interval = '1 day -1 hour'`,
		`cron = '*/5 9-17 * jan-mar MON-fri', refresh_interval = NULL`, `cron = '0 0 29 2 *'`, `cron = '0,30 * * * 7'`, `cron = '0 22-6 * * *'`, `cron = E'0\t0 1,15 * *'`,
		`calendar = '[{"every": "1 minute"}]'`, `calendar = '[{"days": "Sun, mon-WED", "from": "7:00", "to": "24:00", "every": "90 minutes"}, {"at": "0:00"}]'`,
		`timezone = 'EST5EDT'`, `timezone = 'UTC'`, `timezone = 'America/Argentina/ComodRivadavia'`, `timezone = 'Etc/GMT+12'`, `timezone = NULL`,
		`unique_key = '{}'`, `indexes = '{}'`, `indexes = '{(a DESC NULLS LAST) WHERE a > 0,using BRIN (a)}'`, `indexes = '{"((a::text || '';''))"}'`,
		`work_mem = '64kB'`, `work_mem = ' 64 kB '`, `statement_timeout = '7 days'`, `lock_timeout = '10 ms'`, `paused_until = '-infinity'`, `paused_until = 'infinity'`, `name = '"Odd ""schema"" 🙂"."W"'`,
		`owner = current_user::regrole`, `max_size_bytes = 9223372036854775807`, `search_path = ''`,
	} {
		name := fmt.Sprintf("v%d", i)
		require.Nil(t, send(t, conn, register, name, "SELECT 1 AS a"), name)
		require.Nil(t, send(t, conn, `UPDATE mvscheduler.views SET `+assignment), assignment)
		require.Equal(t, 1, ask[int](t, conn, `SELECT count(*)::int FROM mvscheduler.status`), assignment)
		pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
	}
}

func TestOddSettingsOfTheSessionDoNotMatter(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `CREATE TABLE t (a int PRIMARY KEY, "B \ ""b""" text)`, `INSERT INTO t VALUES (1, 'x')`,
		// What a name could be taken for in the session's own schemas.
		`CREATE TYPE text AS (x int)`, `CREATE DOMAIN int8 AS int4`, `CREATE FUNCTION format(varchar, varchar) RETURNS text LANGUAGE sql AS 'SELECT NULL'`, `CREATE TABLE views (x int)`)
	for _, setting := range drawn(t, 12, []string{
		`standard_conforming_strings = off`, `quote_all_identifiers = on`, `plpgsql.extra_errors = 'all'`, `DateStyle = 'German'`, `IntervalStyle = 'iso_8601'`, `IntervalStyle = 'sql_standard'`,
		`transform_null_equals = on`, `array_nulls = off`, `search_path = pg_temp, public`, `search_path = ''`, `extra_float_digits = -15`, `client_encoding = 'LATIN1'`, `TimeZone = '<+03>-3'`, `TimeZone = 'PST8PDT'`,
		`default_transaction_isolation = 'serializable'`, `default_transaction_isolation = 'repeatable read'`, `check_function_bodies = off`, `enable_seqscan = off`, `bytea_output = 'escape'`,
		`row_security = on`, `jit = off`, `statement_timeout = '1min'`, `xmloption = 'document'`, `backslash_quote = off`, `synchronize_seqscans = off`, `plan_cache_mode = force_generic_plan`,
		`search_path = "$user", public, pg_catalog`,
	}) {
		pgtest.Exec(t, conn, `SET `+setting)
		path, schema := ask[string](t, conn, `SELECT current_setting('search_path')`), ask[string](t, conn, `SELECT quote_ident(current_user)`)
		if strings.HasPrefix(setting, "quote_all") {
			schema = strings.Trim(schema, `"`)
		}
		query := `SELECT a, "B \ ""b""" FROM ` + schema + `.t`
		require.Nil(t, send(t, conn, register, schema+".v", query), setting)
		require.Nil(t, send(t, conn, `UPDATE mvscheduler.views SET query = query || ' WHERE true', unique_key = $1, indexes = '{(a)}', cron = '5 4 * * *', work_mem = '8MB'`, `{a,"B \\ \"b\""}`), setting)
		require.Equal(t, path, ask[string](t, conn, `SELECT current_setting('search_path')`), setting)
		require.Equal(t, schema+".v", ask[string](t, conn, `SELECT name FROM mvscheduler.status`), setting)
		require.Empty(t, ask[string](t, conn, `SELECT reason FROM mvscheduler.status`), setting)
		pgtest.Exec(t, conn, `SELECT mvscheduler.pause_view('`+schema+`.v')`, `SELECT mvscheduler.drop_view('`+schema+`.v')`, `RESET ALL`)
	}
}

func TestAQueryWithTheSameColumnsKeepsOIDGrantsIndexesAndDependents(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, bob := db.User(t, "alice"), db.User(t, "bob")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE TABLE t (a int, b varchar(10), c numeric(10, 2))`, `INSERT INTO t VALUES (1, 'x', 1), (1, 'x', 2), (2, 'y', 3)`,
		`INSERT INTO mvscheduler.views (name, query, indexes) VALUES ('v', 'SELECT a, b, sum(c) AS total FROM t GROUP BY a, b', '{(total)}')`,
		`REFRESH MATERIALIZED VIEW v`, `GRANT SELECT ON v TO `+bob, `CREATE VIEW report AS SELECT * FROM v`, `CREATE INDEX by_hand ON v (b)`, `COMMENT ON MATERIALIZED VIEW v IS 'mine'`)
	const identity = `SELECT c.oid::text || c.relfilenode || c.relacl::text || obj_description(c.oid) || (SELECT string_agg(indexrelid::text, ' ' ORDER BY indexrelid) FROM pg_index WHERE indrelid = c.oid) FROM pg_class AS c WHERE c.oid = 'v'::regclass`
	before := ask[string](t, conn, identity)
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET query = 'SELECT a, b, max(c) AS total FROM t WHERE a > 1 GROUP BY b, a'`)
	require.Equal(t, before, ask[string](t, conn, identity), "not one of them was made anew")
	require.Equal(t, 2, ask[int](t, conn, `SELECT count(*)::int FROM report`), "the old contents stay until the next refresh")
	s := startSidecar(t, db)
	until(t, conn, `SELECT count(*) = 1 FROM report`)
	require.Zero(t, s.stop())

	require.Equal(t, 3, ask[int](t, conn, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass`))
	// Another key: the index follows, or says why it cannot.
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET query = 'SELECT DISTINCT a, b, c AS total FROM (SELECT a, b, sum(c) AS c FROM t GROUP BY a, b) AS q'`)
	require.Equal(t, "(a, b, total)", ask[string](t, conn, `SELECT substring(pg_get_indexdef(indexrelid) from '\(.*') FROM pg_index WHERE indrelid = 'v'::regclass AND indisunique`))
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET query = 'SELECT a, b, c::numeric AS total FROM t'`)
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass AND indisunique`))
}

func TestAQueryCannotComeToReadItsOwnView(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('a', 'SELECT 1 AS x'), ('b', 'SELECT x FROM a')`, `CREATE VIEW c AS SELECT x FROM b`)
	for _, query := range []string{`SELECT x FROM a`, `SELECT x FROM a__query`, `SELECT x FROM b`, `SELECT x FROM c`, `SELECT 1 AS x WHERE EXISTS (SELECT FROM c)`} {
		require.Contains(t, refused(t, conn, "42P17", `UPDATE mvscheduler.views SET query = $1 WHERE name LIKE '%.a'`, query).Message, "reads the view itself")
	}
	pgtest.Exec(t, conn, `DROP VIEW c`, `DELETE FROM mvscheduler.views`)
}

func TestAUniqueIndexIsGivenDerivedOrAbsentWithANotice(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn, said := connNoticing(t, db.URLAs(alice))
	pgtest.Exec(t, conn, `CREATE TABLE t (id int PRIMARY KEY, a int, b text, n int UNIQUE, nn int NOT NULL UNIQUE, j json, x xid)`)
	key := func(query, columns, values string) string {
		*said = nil
		require.Nil(t, send(t, conn, `INSERT INTO mvscheduler.views (name, query`+columns+`) VALUES ('v', $1`+values+`)`, query), query)
		keys := ask[string](t, conn, `SELECT coalesce(string_agg(substring(pg_get_indexdef(indexrelid) from '\(.*'), ' '), '') FROM pg_index WHERE indrelid = 'v'::regclass AND indisunique`)
		noticed := slices.ContainsFunc(*said, func(n *pgconn.Notice) bool {
			return n.Severity == "NOTICE" && strings.Contains(n.Message, "has no unique index")
		})
		require.Equal(t, keys == "", noticed, "the NOTICE about %s", query)
		pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
		return keys
	}
	for query, want := range map[string]string{
		`SELECT b, a, count(*) FROM t GROUP BY a, b`: "(b, a)", `SELECT DISTINCT b FROM t`: "(b)", `SELECT a, id FROM t`: "(id)", `SELECT nn FROM t WHERE a = 1`: "(nn)",
		`SELECT count(*) AS n FROM t`: "(n)", `SELECT upper(b) AS u, max(a) FROM t GROUP BY 1`: "(u)", `SELECT n FROM t`: "", `SELECT a, count(*) FROM t GROUP BY a, b`: "",
		`SELECT a FROM t`: "", `SELECT t.id FROM t JOIN t AS u USING (a)`: "", `SELECT x, count(*) FROM t GROUP BY x`: "", `SELECT id AS "The Id" FROM t ORDER BY a LIMIT 5`: `("The Id")`,
	} {
		require.Equal(t, want, key(query, "", ""), query)
	}
	require.Equal(t, "(a, b)", key(`SELECT * FROM t`, ", unique_key", `, '{a,b}'`))
	require.Equal(t, "", key(`SELECT * FROM t`, ", unique_key", `, '{}'`), "an empty key is none at all")
	require.Contains(t, refused(t, conn, "55000", `INSERT INTO mvscheduler.views (name, query, method) VALUES ('v', 'SELECT a FROM t', 'concurrent')`).Hint, "unique_key")
	refused(t, conn, "55000", `INSERT INTO mvscheduler.views (name, query, method, unique_key) VALUES ('v', 'SELECT id FROM t', 'concurrent', '{}')`)
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`, `CREATE UNIQUE INDEX by_hand ON v (a)`,
		`UPDATE mvscheduler.views SET method = 'concurrent'`, `UPDATE mvscheduler.views SET query = 'SELECT a + 1 AS a FROM t'`)
}
