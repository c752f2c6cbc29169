package refresh_test

import (
	"crypto/md5"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgexec"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/internal/pgtest/allowlist"
	"github.com/mvscheduler/mvscheduler/refresh"
)

type bundle struct {
	db      *pgtest.DB
	alice   *pgx.Conn
	session *pgexec.Session
	known   refresh.Definitions
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := pgtest.New(t)
	b := &bundle{db: db, alice: db.Conn(t, db.User(t, "alice"))}
	b.session = b.newSession(t)
	pgtest.Exec(t, b.alice,
		`CREATE TYPE state AS ENUM ('new', 'paid')`,
		`CREATE TABLE sales (id int PRIMARY KEY, at timestamptz NOT NULL, amount numeric, state state, note text, extra jsonb)`,
		`CREATE TABLE shops (id int PRIMARY KEY, name text)`,
		`CREATE TABLE log (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at)`,
		`CREATE TABLE log_a PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')`,
		`CREATE TABLE log_b (at timestamptz NOT NULL, n int)`,
		`CREATE VIEW cheap AS SELECT id, at, amount FROM sales WHERE amount < 10`)
	return b
}

// newSession is a session for runs.
func (b *bundle) newSession(t *testing.T) *pgexec.Session {
	t.Helper()
	pool, err := pgexec.NewPool(t.Context(), b.db.URLAs(b.db.Worker(t)), pgexec.Config{MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	session, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(session.Release)
	return session
}

// view makes a materialized view of a query and returns what a refresh knows of it.
func (b *bundle) view(t *testing.T, name, query string) refresh.View {
	t.Helper()
	pgtest.Exec(t, b.alice, "CREATE MATERIALIZED VIEW "+name+" AS "+query+" WITH NO DATA")
	v := refresh.View{Name: name, TimeZone: "Europe/Berlin"}
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT c.oid, c.relowner FROM pg_class AS c WHERE c.oid = $1::text::regclass`, name).Scan(&v.Target.OID, &v.Target.Owner))
	return v
}

func (b *bundle) token(t *testing.T, v refresh.View) refresh.Token {
	t.Helper()
	token, err := refresh.ReadToken(t.Context(), b.session, b.session.Settings(), v, &b.known)
	require.NoError(t, err)
	return token
}

// do runs statements of alice and makes her session report its counters.
func (b *bundle) do(t *testing.T, statements ...string) {
	t.Helper()
	pgtest.Exec(t, b.alice, `SELECT pg_stat_force_next_flush()`)
	pgtest.Exec(t, b.alice, statements...)
	pgtest.Exec(t, b.alice, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
}

func TestATokenChangesWithWhatTheContentsDependOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.view(t, "v", `SELECT date_trunc('day', s.at) AS day, s.state, count(*) AS n, sum(c.amount) AS cheap
		FROM sales AS s LEFT JOIN cheap AS c USING (id) LEFT JOIN log AS l ON l.at = s.at LEFT JOIN shops AS p ON p.id = s.id GROUP BY 1, 2`)
	before := b.token(t, v)
	require.Empty(t, before.Unknown)
	require.Equal(t, 3, before.Relations, "sales, shops, log_a")
	for _, change := range []struct {
		name       string
		statements []string
	}{
		{"insert", []string{`INSERT INTO sales VALUES (1, '2026-01-01', 5, 'new')`}},
		{"update", []string{`UPDATE sales SET amount = 6`}},
		{"delete", []string{`DELETE FROM sales`}},
		{"a row of a leaf", []string{`INSERT INTO log_a VALUES ('2026-01-02', 1)`}},
		{"a row through the parent", []string{`INSERT INTO log VALUES ('2026-01-02', 1)`}},
		{"truncate", []string{`TRUNCATE log`}},
		{"attach", []string{`ALTER TABLE log ATTACH PARTITION log_b FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`}},
		{"detach", []string{`ALTER TABLE log DETACH PARTITION log_a`}},
		{"a view below", []string{`CREATE OR REPLACE VIEW cheap AS SELECT id, at, amount FROM sales WHERE amount < 20`}},
		{"a column with a default", []string{`ALTER TABLE sales ADD COLUMN extra2 int DEFAULT 7`}},
		{"a renamed column", []string{`ALTER TABLE shops RENAME COLUMN name TO title`}},
		{"an enumeration", []string{`ALTER TYPE state RENAME VALUE 'paid' TO 'settled'`}},
		{"a prepared transaction", []string{`BEGIN`, `INSERT INTO shops VALUES (1, 'x')`, `PREPARE TRANSACTION 'p'`, `COMMIT PREPARED 'p'`}},
		{"a transaction that rolled back, for nothing", []string{`BEGIN`, `INSERT INTO shops VALUES (2, 'x')`, `ROLLBACK`}},
		{"a rewritten table", []string{`VACUUM FULL sales`}},
		{"a child comes", []string{`CREATE TABLE more_shops () INHERITS (shops)`}},
		{"a row of a child", []string{`INSERT INTO more_shops VALUES (3, 'y')`}},
		{"a child goes", []string{`ALTER TABLE more_shops NO INHERIT shops`}},
	} {
		b.do(t, change.statements...)
		after := b.token(t, v)
		require.NotEqual(t, before.Value, after.Value, change.name)
		require.Equal(t, after, b.token(t, v), "%s: it stays until the next change", change.name)
		before = after
	}
	pgtest.Exec(t, b.alice, `SELECT pg_stat_force_next_flush()`)
	_, err := b.alice.PgConn().CopyFrom(t.Context(), strings.NewReader("7\tcopied\n"), `COPY shops FROM STDIN`)
	require.NoError(t, err)
	pgtest.Exec(t, b.alice, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	require.NotEqual(t, before.Value, b.token(t, v).Value, "COPY")
	before = b.token(t, v)
	for _, nothing := range []string{
		`SELECT count(*) FROM sales`, `ANALYZE sales`, `VACUUM sales`, `CREATE TABLE other (a int)`, `INSERT INTO other VALUES (1)`,
		`BEGIN`, `SELECT 1 FROM sales`, `COMMIT`,
	} {
		b.do(t, nothing)
		require.Equal(t, before.Value, b.token(t, v).Value, nothing)
	}
	b.db.Exec(t, `SELECT pg_stat_reset_single_table_counters($1::text::regclass)`, b.alice.Config().User+".sales")
	require.NotEqual(t, before.Value, b.token(t, v).Value, "counters that were reset say nothing")
	// As many rows as there were: the number alone is that of before.
	b.do(t, `CREATE TABLE again (a int)`, `INSERT INTO again SELECT generate_series(1, 3)`)
	counted := b.view(t, "counted", `SELECT a FROM again`)
	seen := b.token(t, counted)
	b.db.Exec(t, `SELECT pg_stat_reset_single_table_counters($1::text::regclass)`, b.alice.Config().User+".again")
	b.do(t, `INSERT INTO again SELECT generate_series(1, 3)`)
	var inserted int64
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = 'again'::regclass`).Scan(&inserted))
	require.Equal(t, int64(3), inserted)
	require.NotEqual(t, seen.Value, b.token(t, counted).Value, "counters that were reset and came to the same number")
	elsewhere := v
	elsewhere.TimeZone = "Asia/Tokyo"
	require.NotEqual(t, b.token(t, v).Value, b.token(t, elsewhere).Value)
}

func TestWhatDependsOnRowsAloneHasAToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, query := range map[string]string{
		"rollup":     `SELECT date_trunc('hour', at) AS hour, state, count(*) FILTER (WHERE amount > 1) AS n, avg(amount), percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) FROM sales GROUP BY 1, 2`,
		"day":        `SELECT at::date AS day, extract(dow FROM at) AS dow, to_char(at, 'YYYY-MM') AS month, at AT TIME ZONE 'Asia/Tokyo' AS tokyo, date_bin('15 minutes', at, '2001-01-01') AS bin FROM sales`,
		"joins":      `WITH c AS (SELECT id, sum(amount) AS total FROM cheap GROUP BY id) SELECT s.name, c.total FROM shops AS s JOIN c USING (id) WHERE EXISTS (SELECT FROM log WHERE n = c.id)`,
		"windows":    `SELECT id, row_number() OVER (ORDER BY at) AS r, lag(amount) OVER w AS before FROM sales WINDOW w AS (PARTITION BY state ORDER BY at)`,
		"sets":       `SELECT state, count(*) FROM sales GROUP BY GROUPING SETS ((state), ()) UNION ALL SELECT 'new', 0 EXCEPT SELECT NULL, 1`,
		"recursive":  `WITH RECURSIVE r(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM r WHERE i < 10) SELECT i, note FROM r JOIN sales ON id = i`,
		"json":       `SELECT jsonb_agg(note ORDER BY id) AS notes, json_object_agg(id, note) AS by_id, jsonb_build_object('a', max(id)) AS o, array_agg(extra -> 'x') AS xs FROM sales`,
		"text":       `SELECT concat(note, id), format('%s', id), id::text || note AS t, note LIKE 'a%' AS l, lower(note), string_agg(note, ',') OVER (), coalesce(note, '-'), id::text::int AS i FROM sales`,
		"sideways":   `SELECT s.id, g FROM sales AS s, LATERAL generate_series(1, s.id) AS g, LATERAL (SELECT max(n) FROM log WHERE at < s.at) AS x WHERE s.note ~ 'x' AND s.id IN (1, 2, 3)`,
		"range":      `SELECT tstzrange(at, at + interval '1 hour') AS r, age(at, '2020-01-01') AS a, greatest(amount, 1), CASE state WHEN 'new' THEN 1 ELSE 0 END AS c FROM sales`,
		"constants":  `SELECT 1 AS a, 'x'::text AS b`,
		"whole_row":  `SELECT to_jsonb(s) AS j FROM sales AS s`,
		"enum_order": `SELECT state, rank() OVER (ORDER BY state) AS r FROM sales ORDER BY state`,
	} {
		require.Empty(t, b.token(t, b.view(t, name, query)).Unknown, name)
	}
}

func TestWhatDependsOnMoreThanRowsHasNoTokenAndSaysWhy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.Exec(t, b.alice,
		`CREATE TABLE guarded (id int)`, `ALTER TABLE guarded ENABLE ROW LEVEL SECURITY`,
		`CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 + 1`,
		`CREATE DOMAIN positive AS int CHECK (VALUE > 0)`,
		`CREATE SEQUENCE counter`,
		`CREATE VIEW hidden AS SELECT id, now() AS seen FROM sales`,
		`CREATE VIEW hidden_deeper AS SELECT id, seen FROM hidden`,
		`CREATE FUNCTION less(numeric, numeric) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1 < $2`,
		`CREATE OPERATOR <<< (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = less)`,
		`CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int)`)
	b.db.Exec(t, `CREATE EXTENSION IF NOT EXISTS plpgsql`)
	for name, want := range map[string][2]string{
		"now":          {`SELECT id FROM sales WHERE at > now() - interval '1 day'`, "now()"},
		"today":        {`SELECT id FROM sales WHERE at > CURRENT_DATE`, "CURRENT_DATE"},
		"who":          {`SELECT CURRENT_USER AS me`, "CURRENT_USER"},
		"random":       {`SELECT random() AS r`, "random()"},
		"setting":      {`SELECT current_setting('app.x', true) AS s`, "current_setting"},
		"age":          {`SELECT age(at) AS a FROM sales`, "age("},
		"sequence":     {`SELECT nextval('counter') AS n`, "counter is neither"},
		"sample":       {`SELECT id FROM sales TABLESAMPLE system (10)`, "TABLESAMPLE"},
		"security":     {`SELECT id FROM guarded`, "row-level security"},
		"function":     {`SELECT mine(id) AS m FROM sales`, "mine(integer) is not built in"},
		"operator":     {`SELECT id FROM sales WHERE amount <<< 3`, "is not built in"},
		"aggregate":    {`SELECT total(id) FROM sales`, "is not built in"},
		"domain":       {`SELECT id::positive AS p FROM sales`, "domain"},
		"catalog":      {`SELECT relname::text FROM pg_class`, "system catalog"},
		"below":        {`SELECT id FROM hidden_deeper`, "now()"},
		"text_to_time": {`SELECT note::timestamptz AS t FROM sales`, "from text"},
		"regclass":     {`SELECT 'sales'::regclass::text AS r`, "regclass"},
		"search":       {`SELECT to_tsvector('english', note) AS v FROM sales`, "to_tsvector"},
		"last":         {`SELECT last_value FROM counter`, "neither a table nor a view"},
		"xml":          {`SELECT query_to_xml('SELECT 1', true, true, '')::text AS x`, "query_to_xml"},
		"backend":      {`SELECT pg_backend_pid() AS p`, "pg_backend_pid"},
	} {
		require.Contains(t, b.token(t, b.view(t, name, want[0])).Unknown, want[1], name)
	}
	plain := b.view(t, "plain", `SELECT id FROM sales`)
	for _, off := range []string{"off", "fals", "n"} {
		b.db.Exec(t, `ALTER DATABASE `+b.db.Name+` SET track_counts = `+off)
		require.Contains(t, b.token(t, plain).Unknown, "track_counts", off)
	}
	b.db.Exec(t, `ALTER DATABASE `+b.db.Name+` SET track_counts = tru`)
	require.Empty(t, b.token(t, plain).Unknown)
}

// Nothing below these views is written to, and still their results change.
func TestNoTokenStaysWhileTheResultChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setup  []string
		query  string // of a column x
		change string
		since  int // version of PostgreSQL
	}{
		"composite, attribute renamed": {[]string{`CREATE TYPE comp AS (a int, b int)`},
			`SELECT row_to_json(ROW(id, id)::comp)::text AS x FROM shops`, `ALTER TYPE comp RENAME ATTRIBUTE a TO zz`, 0},
		"composite column": {[]string{`CREATE TYPE comp AS (a int, b int)`, `CREATE TABLE h (c comp)`, `INSERT INTO h VALUES (ROW(1, 2))`},
			`SELECT to_json(c)::text AS x FROM h`, `ALTER TYPE comp RENAME ATTRIBUTE a TO zz`, 0},
		"composite, attribute added": {[]string{`CREATE TYPE comp AS (a int, b int)`, `CREATE TABLE h (j jsonb)`, `INSERT INTO h VALUES ('{"a":1,"b":2,"c":3}')`},
			`SELECT to_json(jsonb_populate_record(NULL::comp, j))::text AS x FROM h`, `ALTER TYPE comp ADD ATTRIBUTE c int`, 0},
		"row type of another table": {[]string{`CREATE TABLE inner_t (a int, b int)`, `CREATE TABLE h (c inner_t)`, `INSERT INTO h VALUES (ROW(1, 2))`},
			`SELECT to_json(c)::text AS x FROM h`, `ALTER TABLE inner_t RENAME COLUMN a TO zz`, 0},
		"regclass in a whole row": {[]string{`CREATE TABLE other (a int)`, `CREATE TABLE h (r regclass)`, `INSERT INTO h VALUES ('other')`},
			`SELECT to_json(h)::text AS x FROM h`, `ALTER TABLE other RENAME TO other2`, 0},
		"regclass in a row as text": {[]string{`CREATE TABLE other (a int)`, `CREATE TABLE h (r regclass)`, `INSERT INTO h VALUES ('other')`},
			`SELECT h::text AS x FROM h`, `ALTER TABLE other RENAME TO other2`, 0},
		"regclass in an array": {[]string{`CREATE TABLE other (a int)`, `CREATE TABLE h (r regclass[])`, `INSERT INTO h VALUES ('{other}')`},
			`SELECT r::text AS x FROM h`, `ALTER TABLE other RENAME TO other2`, 0},
		"xmax": {[]string{`CREATE TABLE h (a int)`, `INSERT INTO h VALUES (1)`},
			`SELECT xmax::text AS x FROM h`, `SELECT a FROM h FOR UPDATE`, 0},
		"array of times from text": {[]string{`CREATE TABLE h (n text)`, `INSERT INTO h VALUES ('{now}')`},
			`SELECT n::timestamptz[]::text AS x FROM h`, `SELECT pg_sleep(0.1)`, 0},
		"range of times from text": {[]string{`CREATE TABLE h (n text)`, `INSERT INTO h VALUES ('[now,infinity]')`},
			`SELECT n::tstzrange::text AS x FROM h`, `SELECT pg_sleep(0.1)`, 0},
		"multirange of times from text": {[]string{`CREATE TABLE h (n text)`, `INSERT INTO h VALUES ('{[now,infinity]}')`},
			`SELECT n::tstzmultirange::text AS x FROM h`, `SELECT pg_sleep(0.1)`, 0},
		"row with a time from text": {[]string{`CREATE TABLE h (n text)`, `CREATE TABLE rt (d timestamptz)`, `INSERT INTO h VALUES ('(now)')`},
			`SELECT n::rt::text AS x FROM h LEFT JOIN rt ON false`, `SELECT pg_sleep(0.1)`, 0},
		"time from JSON": {[]string{`CREATE TABLE h (j jsonb)`, `INSERT INTO h VALUES ('{"d":"now"}')`},
			`SELECT d::text AS x FROM h, jsonb_to_record(j) AS r(d timestamptz)`, `SELECT pg_sleep(0.1)`, 0},
		"times from JSON": {[]string{`CREATE TABLE h (j jsonb)`, `INSERT INTO h VALUES ('[{"d":"now"}]')`},
			`SELECT d::text AS x FROM h, jsonb_to_recordset(j) AS r(d timestamptz)`, `SELECT pg_sleep(0.1)`, 0},
		"cast of an enumeration to json replaced": {[]string{`CREATE TYPE mood AS ENUM ('new')`, `CREATE TABLE h (m mood)`, `INSERT INTO h VALUES ('new')`,
			`CREATE FUNCTION mj(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT '"one"'::json $$`, `CREATE CAST (mood AS json) WITH FUNCTION mj(mood)`},
			`SELECT jsonb_agg(m)::text AS x FROM h`, `CREATE OR REPLACE FUNCTION mj(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT '"two"'::json $$`, 0},
		"cast of an enumeration to json dropped": {[]string{`CREATE TYPE mood AS ENUM ('new')`, `CREATE TABLE h (m mood)`, `INSERT INTO h VALUES ('new')`,
			`CREATE FUNCTION mj(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT '"one"'::json $$`, `CREATE CAST (mood AS json) WITH FUNCTION mj(mood)`},
			`SELECT to_jsonb(m)::text AS x FROM h`, `DROP CAST (mood AS json)`, 0},
		"cast of an enumeration to json made": {[]string{`CREATE TYPE mood AS ENUM ('new')`, `CREATE TABLE h (m mood)`, `INSERT INTO h VALUES ('new')`,
			`CREATE FUNCTION mj(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT '"one"'::json $$`},
			`SELECT to_jsonb(ARRAY[m])::text AS x FROM h`, `CREATE CAST (mood AS json) WITH FUNCTION mj(mood)`, 0},
		"virtual column": {[]string{`CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple)`, `CREATE TEXT SEARCH CONFIGURATION cfg (COPY = english)`,
			`CREATE TABLE h (n text, g tsvector GENERATED ALWAYS AS (to_tsvector('cfg'::regconfig, n)) VIRTUAL)`, `INSERT INTO h VALUES ('the running dogs')`},
			`SELECT g::text AS x FROM h`, `ALTER TEXT SEARCH CONFIGURATION cfg ALTER MAPPING FOR asciiword WITH d`, 18},
		"expression of a virtual column": {[]string{`CREATE TABLE h (n int, g int GENERATED ALWAYS AS (n + 1) VIRTUAL)`, `INSERT INTO h VALUES (1)`},
			`SELECT g::text AS x FROM h`, `ALTER TABLE h ALTER COLUMN g SET EXPRESSION AS (n + 2)`, 18},
		"column added to a row": {[]string{`CREATE TABLE h (n int)`, `INSERT INTO h VALUES (1)`},
			`SELECT to_json(h)::text AS x FROM h`, `ALTER TABLE h ADD COLUMN r regclass DEFAULT 'shops'`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if b.db.Version() < c.since*10000 {
				t.Skipf("PostgreSQL %d has it first", c.since)
			}
			b.do(t, `INSERT INTO shops VALUES (1, 'a')`)
			b.do(t, c.setup...)
			v := b.view(t, "v", c.query)
			tokenBefore, before := b.token(t, v), b.result(t, c.query)
			b.do(t, c.change)
			tokenAfter, after := b.token(t, v), b.result(t, c.query)
			require.NotEqual(t, before, after)
			require.True(t, tokenBefore.Unknown != "" || tokenAfter.Unknown != "" || tokenBefore.Value != tokenAfter.Value, "%s became %s, and the token stays", before, after)
		})
	}
}

func TestBordersOfRetentionAreInTheTokenOfWhoeverReadsThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.do(t, `INSERT INTO mvscheduler.views (name, query, refresh_on, retention_period, time_column) VALUES ('kept', 'SELECT at FROM sales', 'manual', '10 days', 'at')`)
	var id int64
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT id FROM mvscheduler.views`).Scan(&id))
	kept := refresh.View{Name: "kept", TimeZone: "UTC"}
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT c.oid, c.relowner FROM pg_class AS c WHERE c.oid = 'kept'::regclass`).Scan(&kept.Target.OID, &kept.Target.Owner))
	views := map[string]refresh.View{
		"the view itself":      kept,
		"a reader":             b.view(t, "reader", `SELECT count(*) AS n FROM kept__query`),
		"a reader of a reader": b.view(t, "reader2", `WITH k AS (SELECT at FROM kept__query) SELECT count(*) AS n FROM k, kept__query`),
	}
	before := map[string]refresh.Token{}
	for name, v := range views {
		before[name] = b.token(t, v)
		require.Empty(t, before[name].Unknown, name)
	}
	b.do(t, `UPDATE mvscheduler.views SET retention_period = '5 days'`)
	for name, v := range views {
		require.NotEqual(t, before[name].Value, b.token(t, v).Value, name)
	}
	for name, query := range map[string]string{
		"called":       fmt.Sprintf(`SELECT mvscheduler.cutoff(%d) AS c`, id),
		"called_again": fmt.Sprintf(`SELECT at FROM kept__query WHERE at > mvscheduler.cutoff(%d)`, id),
		"called_bare":  `SELECT mvscheduler.cutoff_at('1 day', at) AS c FROM sales`,
	} {
		require.Contains(t, b.token(t, b.view(t, name, query)).Unknown, "cutoff", name)
	}
}

// What is found out about a definition is remembered for as long as the tables look the same.
func TestAPartitionWhoseDetachIsPendingIsNotBelow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.do(t, `CREATE TABLE pp (a int) PARTITION BY LIST (a)`, `CREATE TABLE pp1 (a int, CHECK (a IS NOT NULL AND a = 1))`, `CREATE TABLE pp2 (a int, CHECK (a IS NOT NULL AND a = 2))`,
		`ALTER TABLE pp ATTACH PARTITION pp1 FOR VALUES IN (1)`, `ALTER TABLE pp ATTACH PARTITION pp2 FOR VALUES IN (2)`, `INSERT INTO pp VALUES (1), (2)`)
	v := b.view(t, "v", `SELECT count(*) AS n FROM pp`)
	before := b.token(t, v)
	reader := b.db.Conn(t, b.alice.Config().User)
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM pp`)
	pgtest.Exec(t, b.alice, `SET statement_timeout = '300ms'`)
	_, err := b.alice.Exec(t.Context(), `ALTER TABLE pp DETACH PARTITION pp1 CONCURRENTLY`)
	require.Error(t, err, "its second half waits for the reader")
	pgtest.Exec(t, b.alice, `SET statement_timeout = 0`)
	pgtest.Exec(t, reader, `COMMIT`)
	var n int
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT count(*) FROM pp`).Scan(&n))
	require.Equal(t, 1, n, "queries do not see the partition any more")
	after := b.token(t, v)
	require.Equal(t, before.Relations-1, after.Relations)
	require.NotEqual(t, before.Value, after.Value)
}

func TestTheOffsetOfATimeIsThatOfToday(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.do(t, `CREATE TABLE tm (a time, b timetz, c timestamptz)`)
	for query, doubted := range map[string]bool{
		`SELECT a::timetz AS x FROM tm`: true, `SELECT a AS x FROM tm WHERE a > b`: true, `SELECT c::timetz AS x FROM tm`: false,
		`SELECT jsonb_path_exists_tz(to_jsonb(a), '$.datetime() ? (@ < "13:00+02".datetime())') AS x FROM tm`: true,
	} {
		name := fmt.Sprintf("v%x", md5.Sum([]byte(query)))[:12]
		require.Equal(t, doubted, b.token(t, b.view(t, name, query)).Unknown != "", query)
	}
}

func TestADoubtComesWithAColumn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.view(t, "v", `SELECT to_jsonb(s) AS j FROM shops AS s`)
	require.Empty(t, b.token(t, v).Unknown)
	b.do(t, `ALTER TABLE shops ADD COLUMN place regclass`)
	require.Contains(t, b.token(t, v).Unknown, "regclass")
}

func TestSettingsThatBuiltInFunctionsReadAreInTheToken(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"timezone_abbreviations": "'India'", "array_nulls": "off", "xmloption": "document", "xmlbinary": "hex",
		"extra_float_digits": "0", "bytea_output": "escape", "default_text_search_config": "'pg_catalog.german'", "lc_numeric": "'POSIX'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			v := b.view(t, "v", `SELECT name FROM shops`)
			b.db.Exec(t, `ALTER DATABASE `+b.db.Name+` SET `+name+` = `+value)
			after := b.newSession(t)
			ask := `SELECT current_setting('` + name + `')`
			require.NotEqual(t, one(t, b.session, ask), one(t, after, ask), "the setting is another one")
			token, err := refresh.ReadToken(t.Context(), after, after.Settings(), v, &b.known)
			require.NoError(t, err)
			require.NotEqual(t, b.token(t, v).Value, token.Value)
		})
	}
}

func one(t *testing.T, session *pgexec.Session, query string) (value string) {
	t.Helper()
	rows, err := session.Query(t.Context(), query)
	require.NoError(t, err)
	value, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return value
}

func (b *bundle) result(t *testing.T, query string) (all string) {
	t.Helper()
	require.NoError(t, b.alice.QueryRow(t.Context(), `SELECT string_agg(x, ',') FROM (`+query+`) AS q`).Scan(&all))
	return all
}

func TestAForeignTableAndAnotherMaterializedViewBelow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	below := b.view(t, "lower", `SELECT state, count(*) AS n FROM sales GROUP BY 1`)
	v := b.view(t, "upper", `SELECT sum(n) AS n FROM lower`)
	b.do(t, `REFRESH MATERIALIZED VIEW lower`)
	before := b.token(t, v)
	require.Empty(t, before.Unknown)
	require.Equal(t, 1, before.Relations)
	b.do(t, `INSERT INTO sales VALUES (1, '2026-01-01', 5, 'new')`)
	require.Equal(t, before.Value, b.token(t, v).Value, "what it reads has not changed")
	b.do(t, `REFRESH MATERIALIZED VIEW lower`)
	after := b.token(t, v)
	require.NotEqual(t, before.Value, after.Value)
	b.do(t, `CREATE UNIQUE INDEX ON lower (state)`, `UPDATE sales SET state = 'paid'`, `REFRESH MATERIALIZED VIEW CONCURRENTLY lower`)
	require.NotEqual(t, after.Value, b.token(t, v).Value)
	require.NotZero(t, below.Target.OID)

	if _, err := b.alice.Exec(t.Context(), `SELECT 1`); err != nil {
		t.Fatal(err)
	}
	b.db.Exec(t, `CREATE FOREIGN DATA WRAPPER dummy`)
	b.db.Exec(t, `CREATE SERVER far FOREIGN DATA WRAPPER dummy`)
	b.db.Exec(t, `GRANT USAGE ON FOREIGN SERVER far TO `+b.alice.Config().User)
	pgtest.Exec(t, b.alice, `CREATE FOREIGN TABLE abroad (id int) SERVER far`)
	require.Contains(t, b.token(t, b.view(t, "far_view", `SELECT id FROM abroad`)).Unknown, "foreign table")
}

// held is a commit that the counters do not tell of yet.
func TestCommitsThatTheCountersHideAreBeyondTheHorizon(t *testing.T) {
	t.Parallel()
	for name, hide := range map[string]func(t *testing.T, control *pgxpool.Pool, writer *pgx.Conn){
		"commit and chain, again and again": func(t *testing.T, _ *pgxpool.Pool, writer *pgx.Conn) {
			pgtest.Exec(t, writer, `BEGIN`, `INSERT INTO shops VALUES (1, 'x')`, `COMMIT AND CHAIN`, `SELECT 1`, `COMMIT AND CHAIN`)
		},
		"a procedure that commits": func(t *testing.T, control *pgxpool.Pool, writer *pgx.Conn) {
			pgtest.Exec(t, writer, `CREATE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shops VALUES (1, 'x'); COMMIT; PERFORM pg_sleep(20); END $$`)
			go func() { _, _ = writer.Exec(t.Context(), `CALL work()`) }()
			require.Eventually(t, func() bool {
				var sleeps bool
				return control.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')`, writer.PgConn().PID()).Scan(&sleeps) == nil && sleeps
			}, 30*time.Second, 10*time.Millisecond)
		},
		"a session that has just become idle": func(t *testing.T, _ *pgxpool.Pool, writer *pgx.Conn) {
			pgtest.Exec(t, writer, `SELECT 1`, `INSERT INTO shops VALUES (1, 'x')`)
		},
		"the next transaction is open": func(t *testing.T, _ *pgxpool.Pool, writer *pgx.Conn) {
			pgtest.Exec(t, writer, `BEGIN`, `INSERT INTO shops VALUES (1, 'x')`, `COMMIT`, `BEGIN`, `SELECT 1`)
		},
	} {
		for _, application := range []string{"", "mvscheduler run", "mvscheduler control"} { // anybody can take these names
			t.Run(name+" "+application, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				v := b.view(t, "v", `SELECT id, name FROM shops`)
				writer := b.db.Conn(t, b.alice.Config().User)
				allowlist.Forger(writer.Config().User)
				pgtest.Exec(t, writer, `SET application_name = '`+application+`'`)
				control := b.db.Pool(t, b.db.Worker(t))
				require.NoError(t, b.alice.Close(t.Context())) // no other session holds the horizon back
				var activity refresh.Activity
				_, err := activity.Horizon(t.Context(), control)
				require.NoError(t, err)
				before := b.token(t, v)
				hide(t, control, writer)
				var committed time.Time
				require.NoError(t, control.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&committed))
				horizon, err := activity.Horizon(t.Context(), control)
				require.NoError(t, err)
				after := b.token(t, v)
				if before.Value == after.Value {
					require.True(t, horizon.At.Before(committed), "the counters hide a commit of before %s, and the horizon is %s", committed, horizon.At)
					t.Log("the counters hid it")
				} else {
					require.NotContains(t, []string{"commit and chain, again and again", "a procedure that commits"}, name, "a session that is never idle reports nothing")
				}
			})
		}
	}
}

func TestWithoutTheRightToSeeSessionsThereIsNoHorizon(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var activity refresh.Activity
	horizon, err := activity.Horizon(t.Context(), b.db.Pool(t, b.db.Role(t, "blind")))
	require.NoError(t, err)
	require.Contains(t, horizon.Unknown, "GRANT pg_read_all_stats")
}
