package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// oddObjects are what the odd queries read.
const oddObjects = `
CREATE TABLE t (id int PRIMARY KEY, a int, b text, d date, n numeric(8, 2), j json, jb jsonb, r int4range, arr int[], x xid, p point, u int UNIQUE);
INSERT INTO t SELECT i, i % 3, CASE WHEN i % 4 > 0 THEN 'x' || i % 4 END, '2026-01-01'::date + i, i / 3.0, '{"a": 1}', '{"a": 1}', int4range(i, i + 2), ARRAY[i, 2], '7', point(i, 1), nullif(i, 3) FROM generate_series(1, 12) AS i;
CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1, 'a'); INSERT INTO child VALUES (1, 'b'), (1, 'b');
CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
INSERT INTO parts VALUES (1, '2026-01-02'), (1, '2026-01-03');
CREATE VIEW plain AS SELECT id, a FROM t;
CREATE VIEW barrier WITH (security_barrier) AS SELECT id, a FROM t WHERE a > 0;
CREATE MATERIALIZED VIEW empty AS SELECT id FROM t WITH NO DATA;
CREATE MATERIALIZED VIEW filled AS SELECT id, a FROM t;
CREATE SEQUENCE seq;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (l int, r text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION boom() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'boom' USING ERRCODE = 'YY001'; END $$;
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO parent VALUES (100) ON CONFLICT DO NOTHING; RETURN 1; END $$;
CREATE FUNCTION pairs() RETURNS SETOF pair LANGUAGE sql AS $$ SELECT 1, 'x' UNION ALL SELECT 2, 'y' $$;
CREATE FUNCTION two(OUT x int, OUT y text) LANGUAGE sql AS $$ SELECT 1, 'x' $$;
CREATE TABLE "Odd ""table""" ("select" int, "a.b" int, "ü" int, " " int, "$1" int, "--" int, "🙂" int);
INSERT INTO "Odd ""table""" VALUES (1, 2, 3, 4, 5, 6, 7);
CREATE UNLOGGED TABLE unlogged (a int); INSERT INTO unlogged VALUES (1);
CREATE TEMP TABLE temporary (a int); CREATE TEMP VIEW temporary_view AS SELECT * FROM temporary;
PREPARE prepared AS SELECT 1 AS a;
`

func repeated(n int, format string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i+1)
	}
	return strings.Join(all, ", ")
}

// oddQueries are compared with CREATE MATERIALIZED VIEW v AS <query>.
var oddQueries = append([]string{
	// Ends, comments, several statements.
	"", " ", ";", ";;", "SELECT 1 AS a;", "SELECT 1 AS a ; ;", "SELECT 1 AS a -- ;", "SELECT 1 AS a --", "SELECT 1 AS a -- c\n;\n", "SELECT 1 AS a /* c */", "SELECT 1 AS a /* ; */ ;", "-- only", "/* only */", "/* a /* nested */ b */ SELECT 1 AS a",
	"SELECT 1 AS a /*", "SELECT 1 AS a /* /* */", "SELECT 1 AS a */", "/*", "--\nSELECT 1 AS a", "SELECT 1 AS a; SELECT 2 AS a", "SELECT 1 AS a; DROP TABLE t", "SELECT 1 AS a; DROP TABLE t; CREATE TABLE x AS SELECT 1 AS b",
	"SELECT 1 AS a; CREATE MATERIALIZED VIEW other AS SELECT 1 AS b", "SELECT 1 AS a; CREATE TABLE other AS SELECT 1 AS b", "SELECT 1 AS a;; CREATE TABLE other AS SELECT 1 AS b", "SELECT 1 AS a FROM filled; DROP MATERIALIZED VIEW filled CASCADE; CREATE TABLE filled AS SELECT 1 AS a",
	"SELECT 1 AS a; ROLLBACK; CREATE TABLE other AS SELECT 1 AS b", "SELECT 1 AS a; COMMIT; CREATE TABLE other AS SELECT 1 AS b", "; SELECT 1 AS a", "SELECT 1 AS a; -- x", "SELECT 1 AS a) AS q; DROP TABLE t; SELECT * FROM (SELECT 1 AS a",
	"SELECT 1 AS a) WITH NO DATA; CREATE TABLE other AS (SELECT 1 AS b", "(SELECT 1 AS a); CREATE TABLE other AS (SELECT 1 AS b)", "SELECT 1 AS a; CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; CREATE TABLE other AS SELECT 1 AS b",
	"BEGIN; SELECT 1 AS a; COMMIT", "COMMIT", "SELECT 1 AS a\\g", "\\d", "SELECT 1 AS a \\gexec", "\\! rm -rf /", "\\copy t from x", "SELECT 1 AS a\\;SELECT 2 AS a",
	// Brackets and quotes.
	"(SELECT 1 AS a)", "((SELECT 1 AS a))", "(SELECT 1 AS a", "SELECT 1 AS a)", ") SELECT 1 AS a (", "SELECT (1 AS a", "SELECT ((1)) AS a", "SELECT 1) AS (a", "SELECT '", "SELECT 'x", "SELECT 'it''s' AS a", "SELECT \"", "SELECT 1 AS \"", "SELECT 1 AS \"\"",
	"SELECT 1 AS \"a\"\"b\"", "SELECT $$", "SELECT $$x$$ AS a", "SELECT $q$x$$ $q$ AS a", "SELECT $q$x$r$", "SELECT $q$;$q$ AS a", "SELECT ';' AS a", "SELECT 'a;b' AS \";\"", "SELECT E'\\'' AS a", "SELECT E'\\", "SELECT '\\' AS a", "SELECT E'\\x41\\u00e9\\U0001F642' AS a",
	"SELECT U&'d\\0061t\\+000061' AS a", "SELECT U&'d!0061' UESCAPE '!' AS a", "SELECT U&'\\' AS a", "SELECT U&'\\D800' AS a", "SELECT 1 AS U&\"d\\0061t\"", "SELECT B'101' AS a", "SELECT X'1F' AS a", "SELECT X'G'", "SELECT N'x' AS a", "SELECT 'a'\n'b' AS a", "SELECT 'a' 'b'",
	// Encodings and blanks.
	"\ufeffSELECT 1 AS a", "SELECT\u00a01 AS a", "SELECT 1 AS a\u00a0", "SELECT 1 AS a;\u00a0", "SELECT\t1\r\nAS\fa\v", "SELECT\r1\rAS\ra", "SELECT 'ü🙂\u202e' AS a", "SELECT 1 AS ü", "SELECT 1 AS 🙂", "SELECT 1 AS \"\u202ea\"", "SELECT 1 AS \"a\u200bb\"", "ＳＥＬＥＣＴ 1", "SELECT “x”", "SELECT ‘x’", "SELECT 1 – 2", "sElEcT 1 As A",
	// Statements that are no query.
	"INSERT INTO t VALUES (1)", "INSERT INTO parent VALUES (9) RETURNING id", "UPDATE t SET a = 1", "DELETE FROM t", "DELETE FROM t RETURNING id", "MERGE INTO t USING t AS s ON true WHEN MATCHED THEN DO NOTHING", "TRUNCATE t", "CREATE TABLE x (a int)", "DROP TABLE t", "EXPLAIN SELECT 1", "EXECUTE prepared",
	"SHOW search_path", "SET ROLE postgres", "RESET ROLE", "CALL p()", "DO $$ BEGIN END $$", "COPY t TO STDOUT", "LOCK TABLE t", "NOTIFY x", "PREPARE x AS SELECT 1", "DECLARE c CURSOR FOR SELECT 1", "FETCH ALL FROM c", "VACUUM", "REFRESH MATERIALIZED VIEW filled", "GRANT ALL ON t TO PUBLIC", "hello world", "SELECT", "SELECT FROM t", "SELECT WHERE true", "NULL", "42", "'SELECT 1'", "SELECT 1 AS a INTO x", "SELECT a INTO TEMP x FROM t",
	"WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x", "WITH x AS (INSERT INTO parent VALUES (5) RETURNING id) SELECT id FROM x", "WITH x AS (UPDATE t SET a = 1 RETURNING id) SELECT 1 AS a", "WITH x AS (SELECT 1) DELETE FROM t", "SELECT * FROM (DELETE FROM t RETURNING id) AS q",
	"SELECT 1 AS a FOR UPDATE", "SELECT id FROM t FOR UPDATE", "SELECT id FROM t FOR SHARE SKIP LOCKED", "SELECT id FROM (SELECT id FROM t FOR UPDATE) AS q", "SELECT count(*) FROM t FOR UPDATE",
	// Forms of a query.
	"VALUES (1, 'a'), (2, 'b')", "VALUES (1), (1, 2)", "TABLE plain", "TABLE t", "TABLE ONLY parent", "SELECT * FROM parent", "SELECT id FROM ONLY parent", "SELECT id FROM parts", "SELECT * FROM parts", "SELECT * FROM plain", "SELECT * FROM barrier", "SELECT * FROM filled", "SELECT * FROM empty", "SELECT * FROM unlogged",
	"WITH x AS (SELECT 1 AS a) SELECT * FROM x", "WITH x AS MATERIALIZED (SELECT 1 AS a) TABLE x", "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT i FROM r", "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 3) SEARCH DEPTH FIRST BY i SET o SELECT i FROM r", "WITH x AS (SELECT 1), x AS (SELECT 2) SELECT 1",
	"SELECT 1 AS a UNION SELECT 2", "SELECT 1 AS a UNION ALL SELECT 1", "SELECT 1 AS a INTERSECT SELECT 1", "SELECT 1 AS a EXCEPT SELECT 1", "SELECT 1 AS a UNION SELECT 'x'", "(SELECT 1 AS a ORDER BY 1 LIMIT 1) UNION (SELECT 2)", "SELECT 1 AS a UNION SELECT 1, 2", "SELECT 'x' AS a UNION SELECT NULL",
	"SELECT DISTINCT a, b FROM t", "SELECT DISTINCT ON (a) a, id FROM t ORDER BY a, id", "SELECT DISTINCT j FROM t", "SELECT DISTINCT jb FROM t", "SELECT DISTINCT x FROM t", "SELECT DISTINCT p FROM t", "SELECT a, count(*) FROM t GROUP BY a", "SELECT a FROM t GROUP BY b", "SELECT id, b FROM t GROUP BY id", "SELECT a, b, count(*) FROM t GROUP BY ROLLUP (a, b)", "SELECT a, b, count(*) FROM t GROUP BY CUBE (a, b)", "SELECT a, count(*) FROM t GROUP BY GROUPING SETS ((a), ())", "SELECT count(*) FROM t GROUP BY ()", "SELECT count(*) FROM t GROUP BY a, a", "SELECT x, count(*) FROM t GROUP BY x", "SELECT count(*) FROM t HAVING count(*) > 100", "SELECT 1 AS a HAVING true",
	"SELECT id, row_number() OVER (ORDER BY id) AS n FROM t", "SELECT lag(a) OVER w FROM t", "SELECT sum(a) OVER (PARTITION BY b ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s, id FROM t", "SELECT generate_series(1, 3) AS a, id FROM t", "SELECT unnest(arr) AS a FROM t", "SELECT * FROM unnest(ARRAY[1, 2], ARRAY['x']) WITH ORDINALITY", "SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS q(x, y)", "SELECT * FROM pairs()", "SELECT * FROM two()", "SELECT (two()).*", "SELECT pairs()",
	"SELECT * FROM t AS x, LATERAL (SELECT x.a + 1 AS y) AS l", "SELECT * FROM t JOIN parent USING (id)", "SELECT * FROM t NATURAL JOIN parent", "SELECT * FROM t CROSS JOIN parent", "SELECT t.id, p.v FROM t LEFT JOIN parent AS p ON p.id = t.a", "SELECT t.id FROM t FULL JOIN parent AS p ON p.id = t.a", "SELECT * FROM t, parent", "SELECT id FROM t TABLESAMPLE BERNOULLI (100)", "SELECT id FROM t TABLESAMPLE SYSTEM (100) REPEATABLE (1)", "SELECT id FROM t TABLESAMPLE nosuch (1)",
	"SELECT id FROM t ORDER BY id DESC LIMIT 3 OFFSET 1", "SELECT a FROM t ORDER BY a FETCH FIRST 2 ROWS WITH TIES", "SELECT id FROM t LIMIT -1", "SELECT id FROM t LIMIT NULL", "SELECT id FROM t LIMIT 0", "SELECT id FROM t ORDER BY 2", "SELECT id FROM t ORDER BY nosuch",
	// Columns.
	"SELECT 1", "SELECT 1, 2", "SELECT 1 AS a, 2 AS a", "SELECT id, id FROM t", "SELECT t.*, t.* FROM t", "SELECT *", "SELECT t FROM t", "SELECT t.* FROM t", "SELECT (t).id FROM t", "SELECT ROW(1, 2)", "SELECT ROW(1, 2)::pair AS p", "SELECT null::void", "SELECT null::record", "SELECT null::anyelement", "SELECT null::cstring", "SELECT null::internal", "SELECT null::trigger", "SELECT pg_sleep(0)", "SELECT NULL AS a", "SELECT 'x' AS a", "SELECT '{}' AS a", "SELECT array[]", "SELECT array[]::int[] AS a", "SELECT ARRAY[ROW(1)] AS a",
	"SELECT ctid FROM t", "SELECT ctid AS c FROM t", "SELECT 1 AS ctid", "SELECT 1 AS tableoid", "SELECT 1 AS xmin", "SELECT oid FROM pg_class WHERE false", "SELECT tableoid::regclass::text AS rel, id FROM parent", "SELECT 1 AS \"" + strings.Repeat("a", 63) + "\"", "SELECT 1 AS \"" + strings.Repeat("a", 64) + "\"", "SELECT 1 AS " + strings.Repeat("é", 40), "SELECT 1 AS \"" + strings.Repeat("a", 63) + "\", 2 AS \"" + strings.Repeat("a", 64) + "\"", `SELECT * FROM "Odd ""table"""`, `SELECT "select", "--" FROM "Odd ""table"""`, "SELECT 1 AS select", "SELECT 1 AS \"?column?\", 2", "SELECT a AS \":groupClause <>\", b AS \"({QUERY\" FROM t", "SELECT id AS \":hasDistinctOn true\", a AS \"\\\" FROM t",
	"SELECT n FROM t", "SELECT b COLLATE \"C\" AS b FROM t", "SELECT b COLLATE nosuch FROM t", "SELECT 'happy'::mood AS m", "SELECT 'angry'::mood AS m", "SELECT 1::positive AS p", "SELECT (-1)::positive AS p", "SELECT id::positive FROM t", "SELECT a::positive AS p FROM t", "SELECT 'x'::varchar(3) AS a, 'y'::char(2) AS b, '1'::bit(1) AS c", "SELECT interval '1 day' AS a", "SELECT r, arr, jb, p FROM t", "SELECT xmlelement(name x) AS a", "SELECT '1'::money AS a", "SELECT to_tsvector('english', 'cats') AS a", "SELECT 'pg_class'::regclass AS a",
	// Errors of values, when parsed and when run.
	"SELECT 'x'::int", "SELECT '2026-02-30'::date", "SELECT '{'::json", "SELECT '99999999999'::int", "SELECT 1 / 0 AS a", "SELECT a / (a - a) AS a FROM t", "SELECT boom()", "SELECT writes()", "SELECT 'x' || id::int FROM t WHERE b::int = 1", "SELECT (SELECT id FROM t) AS a", "SELECT sqrt(-1)", "SELECT 2147483647 + 1", "SELECT 1e400::float8", "SELECT 'infinity'::timestamptz AS a, '294276-12-31'::timestamp AS b, '4713-01-01 BC'::date AS c", "SELECT '294277-01-01'::timestamp", "SELECT 'NaN'::numeric AS a, '-0'::float8 AS b", "SELECT jsonb_path_query('[1]', 'strict $.a')", "SELECT regexp_replace('a', '(', '')", "SELECT to_date('x', 'YYYY')", "SELECT current_setting('nosuch.setting')", "SELECT repeat('x', 100000) AS a",
	// Names and rights.
	"SELECT * FROM nosuch", "SELECT * FROM nosuch.t", "SELECT nosuch FROM t", "SELECT nosuch()", "SELECT t.nosuch FROM t", "SELECT x.id FROM t", "SELECT * FROM v", "SELECT * FROM v__query", "SELECT * FROM temporary", "SELECT * FROM temporary_view", "SELECT * FROM pg_temp.temporary", "SELECT * FROM t WHERE id IN (SELECT a FROM temporary)", "SELECT 1 AS a FROM seq", "SELECT last_value FROM seq", "SELECT relname FROM pg_class WHERE relname = 'pg_class'", "SELECT rolname FROM pg_authid", "SELECT name FROM mvscheduler.views", "SELECT * FROM mvscheduler.view_state", "SELECT count(*) FROM mvscheduler.status", "SELECT pg_read_file('/etc/passwd')", "SELECT lo_import('/etc/passwd')", "SELECT set_config('role', 'postgres', false)", "SELECT pg_terminate_backend(0)", "SELECT * FROM dblink('') AS t(a int)", "SELECT * FROM postgres.public.t",
	"SELECT $1", "SELECT $1::int AS a", "SELECT $0", "SELECT :x", "SELECT ?", "SELECT @x", "SELECT {{ x }}", "SELECT `a` FROM t", "SELECT [a] FROM t", "SELECT TOP 1 a FROM t", "SELECT a FROM t LIMIT 1, 2", "SELECT IFNULL(a, 1) FROM t", "SELECT a FROM t QUALIFY true", "SELECT 1 AS a FROM dual", "SELECT 1 == 1", "SELECT 1 AS a WITH NO SCHEMA BINDING", "SELECT a FROM t WHERE a = ANY ('{1,2}')", "SELECT id FROM t WHERE CURRENT OF c",
	// Long, deep, wide.
	"SELECT '" + strings.Repeat("x", 1<<20) + "' AS a", "SELECT 1 AS a --" + strings.Repeat("x", 1<<20), "SELECT 1 AS a" + strings.Repeat(" ", 1<<20), "SELECT " + strings.Repeat("1 + ", 1000) + "1 AS a", "SELECT " + strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500) + " AS a", "SELECT " + strings.Repeat("(", 200000) + "1" + strings.Repeat(")", 200000) + " AS a",
	"SELECT 1 AS a WHERE 1 IN (" + repeated(20000, "%d") + ")", "SELECT " + repeated(1600, "%d AS c%[1]d"), "SELECT " + repeated(1601, "%d AS c%[1]d"), "SELECT " + repeated(1665, "%d AS c%[1]d"), "SELECT DISTINCT " + repeated(40, "%d AS c%[1]d"), "SELECT " + strings.Join(strings.Split(strings.Repeat("SELECT 1 AS a|", 400), "|"), " UNION ALL ") + " SELECT 2",
	"SELECT 1 AS a" + strings.Repeat(" UNION ALL SELECT 2", 500), strings.Repeat("SELECT * FROM (", 60) + "SELECT 1 AS a" + strings.Repeat(") AS q", 60), "WITH " + repeated(200, "w%d AS (SELECT %[1]d AS a)") + " SELECT a FROM w200",
}, "SELECT "+strings.TrimSuffix(strings.Repeat("a, ", 3), ", ")+" FROM t")

// beyond are the documented differences from CREATE MATERIALIZED VIEW v AS <query> as a driver sends it.
var beyond = map[string]string{
	// A semicolon may end the query, and then nothing follows it but blanks.
	"SELECT 1 AS a; -- x": "42601",
	// A text of several statements that end like a CREATE TABLE AS is refused after the first were tried,
	// so the error can be theirs; all of it is undone.
	"SELECT 1 AS a; DROP TABLE t; CREATE TABLE x AS SELECT 1 AS b":                                           "2BP01",
	"SELECT 1 AS a FROM filled; DROP MATERIALIZED VIEW filled CASCADE; CREATE TABLE filled AS SELECT 1 AS a": "42P01",
	"SELECT 1 AS a; ROLLBACK; CREATE TABLE other AS SELECT 1 AS b":                                           "0A000",
	"SELECT 1 AS a; COMMIT; CREATE TABLE other AS SELECT 1 AS b":                                             "0A000",
	// As in psql; in the extended protocol a parameter could be bound.
	"SELECT $1":           "42P02",
	"SELECT $1::int AS a": "42P02",
}

// changing are queries whose result is another at every time.
func changing(query string) bool {
	for _, f := range []string{"last_value", "mvscheduler.", "ctid", "TABLESAMPLE"} {
		if strings.Contains(query, f) {
			return true
		}
	}
	return false
}

const shape = `SELECT string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod) || attcollation, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0`

func TestOddQueriesAreTakenOrRefusedAsPostgreSQLDoes(t *testing.T) {
	heavy(t)
	t.Parallel()
	require.Greater(t, len(oddQueries), 200)
	db := pgtest.New(t)
	admin, conn := db.Conn(t, ""), db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, oddObjects, `SET statement_timeout = '30s'`)
	before := ask[string](t, admin, residue)
	const audited = ` entries`
	clean := func(query string) {
		now := ask[string](t, admin, residue)
		cut := func(s string) string { return s[:strings.LastIndex(s[:strings.Index(s, audited)], ",")] }
		if cut(now) != cut(before) {
			t.Fatalf("%.200q leaves something: %s, before %s", query, now, before)
		}
	}
	taken, declined := 0, 0
	for _, query := range oddQueries {
		name := query
		if len(name) > 200 {
			name = name[:200]
		}
		plain := send(t, conn, "CREATE MATERIALIZED VIEW v AS "+query)
		var contents, columns string
		if plain == nil {
			columns = ask[string](t, conn, `SELECT coalesce((`+shape+`), '')`, "v")
			contents = contentsOf(t, conn, query)
			pgtest.Exec(t, conn, `DROP MATERIALIZED VIEW v`)
		}
		clean(query)

		ours := send(t, conn, register, "v", query)
		if ours == nil {
			ours = send(t, conn, `REFRESH MATERIALIZED VIEW v`) // what only a run can tell
			if ours == nil && plain == nil {
				require.Equal(t, columns, ask[string](t, conn, `SELECT coalesce((`+shape+`), '')`, "v"), name)
				require.Equal(t, contents, contentsOf(t, conn, query), name)
				require.Nil(t, send(t, conn, `REFRESH MATERIALIZED VIEW v`), name)
				if ask[bool](t, conn, `SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = 'v'::regclass AND indisunique)`) {
					require.Nil(t, send(t, conn, `REFRESH MATERIALIZED VIEW CONCURRENTLY v`), name)
					require.Equal(t, contents, contentsOf(t, conn, query), name)
				}
				require.Equal(t, query, ask[string](t, conn, `SELECT query FROM mvscheduler.views`), name)
			}
			pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
			taken++
		} else {
			declined++
		}
		clean(query)
		switch code := beyond[query]; {
		case code != "":
			require.NotNil(t, ours, name)
			require.Equal(t, code, ours.Code, name)
		case plain == nil && ours != nil:
			t.Errorf("%q: PostgreSQL takes it, we say %s %s", name, ours.Code, ours.Message)
		case plain != nil && ours == nil:
			t.Errorf("%q: we take it, PostgreSQL says %s %s", name, plain.Code, plain.Message)
		case plain != nil && (plain.Code != ours.Code || plain.Message != ours.Message && !endsEarly(query, plain)):
			t.Errorf("%q: PostgreSQL says %s %s, we say %s %s", name, plain.Code, plain.Message, ours.Code, ours.Message)
		}
	}
	t.Logf("%d queries: %d taken, %d refused", len(oddQueries), taken, declined)
	require.Greater(t, taken, 100)
	require.Greater(t, declined, 100)
}

// endsEarly holds for a query that is empty or has no end, which for us is the end of our statement, and for several
// statements, which the protocol refuses in its own words.
func endsEarly(query string, plain *pgconn.PgError) bool {
	return plain.Code == "42601" && (strings.Trim(query, " ;") == "" ||
		strings.HasPrefix(plain.Message, "unterminated ") || strings.HasPrefix(plain.Message, "cannot insert multiple commands"))
}

func contentsOf(t testing.TB, conn *pgx.Conn, query string) string {
	if changing(query) {
		return ""
	}
	return ask[string](t, conn, `SELECT count(*) || ' ' || coalesce(md5(string_agg(x::text, E'\n' ORDER BY x::text COLLATE "C")), '') FROM v AS x`)
}

func TestTextThatIsNoTextIsRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin, conn := db.Conn(t, ""), db.Conn(t, db.User(t, "alice"))
	before := ask[string](t, admin, residue)
	for _, odd := range []string{"SELECT 'a\x00b' AS a", "SELECT '\xff' AS a", "SELECT '\xc3' AS a", "SELECT '\xed\xa0\x80' AS a", "\xfe\xffSELECT 1"} {
		refused(t, conn, "22021", register, "v", odd)
		refused(t, conn, "22021", register, odd, "SELECT 1 AS a")
	}
	refused(t, conn, "54000", register, "v", "SELECT '"+strings.Repeat("x", 11<<20)+"' AS a")
	require.Equal(t, before, ask[string](t, admin, residue))
}

func TestADerivedKeyThatIsTooLongCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	conn := func() *pgx.Conn { db := pgtest.New(t); return db.Conn(t, db.User(t, "alice")) }()
	pgtest.Exec(t, conn, `CREATE TABLE t AS SELECT string_agg(md5(i::text), '') AS a FROM generate_series(1, 1000) AS i`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT DISTINCT a FROM t')`)
	refused(t, conn, "54000", `REFRESH MATERIALIZED VIEW v`)
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET unique_key = '{}'`, `REFRESH MATERIALIZED VIEW v`)
}

// TestADerivedKeyIdentifiesRows throws random queries at the derivation. Where it names a key, the result
// is unique on it, whatever the data: NULLs count as equal here, which an index would let pass.
func TestADerivedKeyIdentifiesRows(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, oddObjects, `CREATE TABLE nullable (a int UNIQUE, b int, c text); INSERT INTO nullable VALUES (1, 1, 'x'), (NULL, 1, 'x'), (NULL, 1, 'x')`,
		`CREATE TABLE wide (a int NOT NULL, b int NOT NULL, c text NOT NULL, UNIQUE (a, b)); INSERT INTO wide VALUES (1, 1, 'x'), (1, 2, 'x'), (2, 1, 'x'), (2, 2, 'x')`,
		`CREATE TABLE deferred (a int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO deferred VALUES (1), (2)`,
		`CREATE TABLE partial (a int NOT NULL, b int NOT NULL); CREATE UNIQUE INDEX ON partial (a) WHERE b > 1; CREATE UNIQUE INDEX ON partial ((a + b)); INSERT INTO partial VALUES (1, 1), (1, 0), (1, 2)`,
		`CREATE TABLE including (a int NOT NULL, b int NOT NULL); CREATE UNIQUE INDEX ON including (a) INCLUDE (b); INSERT INTO including VALUES (1, 1), (2, 1)`,
		`CREATE TABLE numbers (a float8 PRIMARY KEY); INSERT INTO numbers VALUES (0), ('NaN'), ('-Infinity')`)
	sources := []string{"t", "parent", "ONLY parent", "child", "parts", "plain", "filled", "nullable", "wide", "partial", "including", "deferred", "numbers", "(SELECT * FROM wide) AS s", "wide AS x(a, b, c)", "(VALUES (1, 1), (1, 1)) AS v(a, b)",
		"wide JOIN nullable USING (a)", "wide CROSS JOIN nullable AS n", "wide AS l, wide AS r", "wide LEFT JOIN nullable AS n ON true", "generate_series(1, 2) AS g(a), wide AS w", "wide TABLESAMPLE BERNOULLI (100)", "ROWS FROM (generate_series(1, 2)) AS a", "wide AS w, LATERAL generate_series(1, 2) AS g(i)", "pairs() AS p"}
	outputs := []string{"a", "b", "c", "id", "a, b", "b, a", "a, c", "*", "id, a", "a + b AS s", "a AS x, a AS y", "generate_series(1, 2) AS g, a", "unnest(ARRAY[a, a]) AS u", "a, b, count(*) AS n", "count(*) AS n", "a, count(*) AS n", "b, max(a) AS m", "sum(count(*)) OVER () AS n", "a, row_number() OVER (PARTITION BY a) AS rn",
		"1 AS one", "DISTINCT a", "DISTINCT a, b", "DISTINCT ON (a) a, b", "DISTINCT ON (a) b", "DISTINCT 1 AS one", "DISTINCT count(*) AS n", "upper(c) AS u, count(*) AS n", "l.a, r.b", "w.a", "x.a", "n.a", "count(*) AS n, generate_series(1, 2) AS g", "a, (SELECT count(*) FROM wide) AS n", "l, i", "random() < 2 AS r, count(*) AS n", "a COLLATE \"C\"", "DISTINCT lower(c) AS c"}
	tails := []string{"", "", "", " WHERE true", " GROUP BY a", " GROUP BY b", " GROUP BY a, b", " GROUP BY 1", " GROUP BY 1, 2", " GROUP BY upper(c)", " GROUP BY ROLLUP (a, b)", " GROUP BY CUBE (a)", " GROUP BY GROUPING SETS ((a), (a))", " GROUP BY GROUPING SETS ((a), (b), ())", " GROUP BY ()", " GROUP BY DISTINCT a, a", " GROUP BY id", " HAVING true", " HAVING count(*) > 0", " ORDER BY 1 LIMIT 100", " FOR UPDATE", " UNION ALL SELECT 1", " UNION ALL SELECT a FROM wide", " UNION ALL SELECT a, b FROM wide", " UNION SELECT a FROM wide", " EXCEPT ALL SELECT 7", " FETCH FIRST 3 ROWS ONLY"}
	wraps := []string{"%s", "%s", "%s", "SELECT * FROM (%s) AS q", "SELECT q.* FROM (%s) AS q, generate_series(1, 2) AS g", "WITH q AS (%s) SELECT * FROM q UNION ALL SELECT * FROM q", "SELECT DISTINCT * FROM (%s) AS q", "(%s)", "SELECT 1 AS one FROM (%s) AS q"}
	random := rand.New(rand.NewPCG(3, 1))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	tried, derived := 0, 0
	for derived < 200 {
		tried++
		require.Less(t, tried, 40000)
		query := fmt.Sprintf(pick(wraps), "SELECT "+pick(outputs)+" FROM "+pick(sources)+pick(tails))
		if _, err := conn.Exec(context.WithoutCancel(t.Context()), "CREATE OR REPLACE VIEW probe AS "+query); err != nil {
			continue
		}
		key := ask[[]string](t, conn, `SELECT coalesce(mvscheduler.derived_key('probe'::regclass), '{}')`)
		if len(key) > 0 {
			derived++
			list := pgx.Identifier(key)
			columns := make([]string, len(list))
			for i, c := range list {
				columns[i] = pgx.Identifier{c}.Sanitize()
			}
			group := strings.Join(columns, ", ")
			if n := ask[int](t, conn, `SELECT count(*)::int FROM (SELECT FROM probe GROUP BY `+group+` HAVING count(*) > 1) AS q`); n > 0 {
				t.Errorf("(%s) is not a key of %s", group, query)
			}
		}
		pgtest.Exec(t, conn, `DROP VIEW probe`)
	}
	t.Logf("%d queries tried, %d with a key", tried, derived)
}

func TestAUniqueIndexOfAnotherCollationProvesNoKey(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	if send(t, conn, `CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`) != nil {
		t.Skip("this PostgreSQL was built without ICU")
	}
	pgtest.Exec(t, conn, `CREATE TABLE t (a text COLLATE folded NOT NULL)`, `CREATE UNIQUE INDEX ON t (a COLLATE "C")`, `INSERT INTO t VALUES ('x'), ('X')`, `CREATE VIEW w AS SELECT a FROM t`)
	require.Nil(t, ask[[]string](t, conn, `SELECT mvscheduler.derived_key('w'::regclass)`))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`, `REFRESH MATERIALIZED VIEW v`)
}

func TestAnUnvalidatedNotNullProvesNoKey(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if db.Version() < 180000 {
		t.Skip("NOT NULL ... NOT VALID came with PostgreSQL 18")
	}
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `CREATE TABLE t (a int UNIQUE)`, `INSERT INTO t VALUES (NULL), (NULL)`, `ALTER TABLE t ADD CONSTRAINT nn NOT NULL a NOT VALID`, `CREATE VIEW w AS SELECT a FROM t`)
	require.Nil(t, ask[[]string](t, conn, `SELECT mvscheduler.derived_key('w'::regclass)`))
	pgtest.Exec(t, conn, `ALTER TABLE t DISABLE TRIGGER ALL`, `DELETE FROM t`, `ALTER TABLE t VALIDATE CONSTRAINT nn`)
	require.Equal(t, []string{"a"}, ask[[]string](t, conn, `SELECT mvscheduler.derived_key('w'::regclass)`))
}
