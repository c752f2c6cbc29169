package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A crash empties unlogged tables: no trigger runs, and the file is the same. So the view is computed anew.
func TestAnUnloggedTableThatACrashEmptiedIsNotMissed(t *testing.T) {
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, nil))
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE UNLOGGED TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`,
		`INSERT INTO metrics SELECT t, 1, 1 FROM generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-04 23:50+00', '10 minutes') AS t`)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	file := `SELECT relfilenode || ' ' || (SELECT count(*) FROM metrics) FROM pg_class WHERE oid = 'metrics'::regclass`
	before := ask[string](t, s.alice, file)
	require.NoError(t, s.db.Server(t).Restart(t.Context(), pgserver.Immediate))
	s.reconnected(t)
	t.Log(before, " -> ", ask[string](t, s.alice, file))
	s.incremented(t, "v")
	t.Log(s.last(t, "v", "reason"))
	same(t, s.alice, "v")
}

// A function with a body in standard SQL calls another one, which is replaced: the view is computed anew, and what the new one reads is
// watched.
func TestAFunctionThatAFunctionCallsIsFollowed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE one (k int)`, `CREATE TABLE two (k int)`, `INSERT INTO one VALUES (1)`, `INSERT INTO two VALUES (1), (2)`,
		`CREATE FUNCTION inner_f() RETURNS SETOF int LANGUAGE sql STABLE BEGIN ATOMIC SELECT k FROM one; END`,
		`CREATE FUNCTION outer_f() RETURNS SETOF int LANGUAGE sql STABLE BEGIN ATOMIC SELECT inner_f FROM inner_f(); END`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) AND device IN (SELECT outer_f()) GROUP BY 1, 2`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO one VALUES (3)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE FUNCTION inner_f() RETURNS SETOF int LANGUAGE sql STABLE BEGIN ATOMIC SELECT k FROM two; END`)
	s.incremented(t, "v")
	t.Log(s.last(t, "v", "reason"))
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO two VALUES (3)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// A function that is not called yet names a table that may not be read yet.
func TestATableThatMayBeReadLaterIsWatchedFromThenOn(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE factor (n int)`, `INSERT INTO factor VALUES (2)`, a.sql(`GRANT SELECT, TRIGGER ON factor TO mallory`))
	a.as(`CREATE TABLE mallory.base (ts timestamptz, k int)`, `INSERT INTO mallory.base VALUES ('2026-03-01 00:10+00', 1)`, `CREATE TABLE mallory.switch (is_on boolean)`, `INSERT INTO mallory.switch VALUES (false)`,
		`CREATE FUNCTION mallory.factor() RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT sum(n) FROM alice.factor; END`)
	pgtest.Exec(t, alice, a.sql(`REVOKE SELECT ON factor FROM mallory`))
	a.as(`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on) VALUES ('mallory.v', $$SELECT date_trunc('hour', ts) AS hour, CASE WHEN is_on THEN mallory.factor() ELSE 1 END AS n FROM mallory.base, mallory.switch WHERE mvscheduler.in_window(ts)$$, 'incremental', 'hour', '1 hour', 'manual')`)
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	pgtest.Exec(t, alice, a.sql(`GRANT SELECT ON factor TO mallory`))
	for _, change := range []string{`UPDATE mallory.switch SET is_on = true`, `UPDATE alice.factor SET n = 5`} {
		pgtest.Exec(t, a.root, a.sql(change))
		refreshed(t, a.m, a.sql("mallory.v"))
		require.Equal(t, ask[int64](t, a.m, a.sql(`SELECT n FROM mallory.v__query`)), ask[int64](t, a.m, a.sql(`SELECT n FROM mallory.v`)), change)
	}
}

// What a policy calls is replaced; or the table is given to the view's owner, whom its policies do not concern.
func TestWhatAPolicyCallsIsFollowed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"function": `CREATE OR REPLACE FUNCTION may(k int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT k = 1'`,
		"owner":    `ALTER TABLE base OWNER TO mallory`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArena(t)
			alice := a.db.Conn(t, a.alice)
			pgtest.Exec(t, alice, `CREATE FUNCTION may(k int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true'`, `CREATE TABLE base (ts timestamptz, k int)`, `INSERT INTO base VALUES ('2026-03-01 00:10+00', 1), ('2026-03-01 00:10+00', 2)`,
				a.sql(`GRANT SELECT, TRIGGER ON base TO mallory`), `ALTER TABLE base ENABLE ROW LEVEL SECURITY`, `CREATE POLICY p ON base USING (may(k))`)
			a.as(fmt.Sprintf(sumByHour, "mallory.v", "alice.base"))
			startSidecar(t, a.db)
			refreshed(t, a.m, a.sql("mallory.v"))
			if name == "owner" {
				pgtest.Exec(t, alice, `ALTER POLICY p ON base USING (k = 1)`)
				refreshed(t, a.m, a.sql("mallory.v"))
				pgtest.Exec(t, a.root, a.sql(`SET search_path = alice`), a.sql(change), `RESET search_path`)
			} else {
				pgtest.Exec(t, alice, a.sql(change))
			}
			refreshed(t, a.m, a.sql("mallory.v"))
			require.Equal(t, ask[int64](t, a.m, a.sql(`SELECT sum(n)::bigint FROM mallory.v__query`)), ask[int64](t, a.m, a.sql(`SELECT sum(n)::bigint FROM mallory.v`)))
		})
	}
}

// What a query is made of besides functions: an operator, an aggregate, the label of an enum as text, whole rows to which ALTER TABLE
// adds a column with a default.
func TestCodeBehindOperatorsAggregatesAndLabelsIsFollowed(t *testing.T) {
	heavy(t)
	t.Parallel()
	cases := map[string]struct{ before, expression, change string }{
		"operator":  {`CREATE FUNCTION f(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b'; CREATE OPERATOR @@@ (FUNCTION = f, LEFTARG = int, RIGHTARG = int)`, `sum(device @@@ 1)`, `CREATE OR REPLACE FUNCTION f(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 2 * b'`},
		"aggregate": {`CREATE FUNCTION f(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b'; CREATE AGGREGATE agg(int) (SFUNC = f, STYPE = int, INITCOND = '0')`, `agg(device)`, `CREATE OR REPLACE FUNCTION f(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 2 * b'`},
		"enum":      {`CREATE TYPE e AS ENUM ('a', 'b'); ALTER TABLE metrics ADD state e; UPDATE metrics SET state = 'a'`, `min(state::text)`, `ALTER TYPE e RENAME VALUE 'a' TO 'z'`},
		"array":     {`CREATE TYPE e AS ENUM ('a', 'b'); ALTER TABLE metrics ADD state e[]; UPDATE metrics SET state = '{a}'`, `min(state::text)`, `ALTER TYPE e RENAME VALUE 'a' TO 'z'`},
		"body":      {`CREATE TABLE other AS SELECT 1 AS a; CREATE FUNCTION f() RETURNS text LANGUAGE sql STABLE RETURN (SELECT to_jsonb(other)::text FROM other)`, `min(f())`, `ALTER TABLE other ADD z int DEFAULT 7`},
		"composite": {`CREATE TYPE e AS ENUM ('a', 'b'); CREATE TYPE c AS (e e); ALTER TABLE metrics ADD state c[]; UPDATE metrics SET state = ARRAY[ROW('a')::c]`, `min(state::text)`, `ALTER TYPE e RENAME VALUE 'a' TO 'z'`},
		"attribute": {`CREATE TYPE c AS (a int); ALTER TABLE metrics ADD state c; UPDATE metrics SET state = ROW(1)::c`, `min(to_jsonb(state)::text)`, `ALTER TYPE c RENAME ATTRIBUTE a TO z`},
		"cast":      {`CREATE TYPE e AS ENUM ('a', 'b'); ALTER TABLE metrics ADD state e; UPDATE metrics SET state = 'a'; CREATE FUNCTION f(e) RETURNS json LANGUAGE sql IMMUTABLE AS 'SELECT ''1''::json'`, `min(to_jsonb(state)::text)`, `CREATE CAST (e AS json) WITH FUNCTION f(e)`},
		"enum row":  {`CREATE TYPE e AS ENUM ('a', 'b'); ALTER TABLE metrics ADD state e; UPDATE metrics SET state = 'a'`, `min(metrics::text)`, `ALTER TYPE e RENAME VALUE 'a' TO 'z'`},
		"enum body": {`CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE other AS SELECT 'a'::e AS a; CREATE FUNCTION f() RETURNS text LANGUAGE sql STABLE RETURN (SELECT to_jsonb(other)::text FROM other)`, `min(f())`, `ALTER TYPE e RENAME VALUE 'a' TO 'z'`},
		"view row":  {`CREATE TABLE other AS SELECT 1 AS a; CREATE VIEW shown AS SELECT a FROM other; CREATE FUNCTION f() RETURNS text LANGUAGE sql STABLE RETURN (SELECT to_jsonb(shown)::text FROM shown)`, `min(f())`, `ALTER VIEW shown RENAME COLUMN a TO z`},
		"row":       {`SELECT 1`, `min(to_jsonb(metrics)::text)`, `ALTER TABLE metrics ADD z int DEFAULT 7`},
	}
	for _, name := range drawn(t, 6, slices.Sorted(maps.Keys(cases))) {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			for _, b := range strings.Split(c.before, "; ") {
				pgtest.Exec(t, s.alice, b)
			}
			s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, `+c.expression+` AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			pgtest.Exec(t, s.alice, c.change)
			s.incremented(t, "v")
			t.Log(s.last(t, "v", "reason"))
			same(t, s.alice, "v")
		})
	}
}

// Nothing tells when a sequence went on, so what reads one is computed at every run.
func TestASequenceThatAQueryReadsIsNotMissed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE SEQUENCE counter`, `CREATE FUNCTION reached() RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT last_value FROM counter; END`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, device, max(last_value) AS n FROM metrics, counter WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
	s.incremental(t, "w", `SELECT date_trunc('hour', ts) AS hour, device, max(reached()) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
	startSidecar(t, s.db)
	s.incremented(t, "v", "w")
	pgtest.Exec(t, s.alice, `SELECT setval('counter', 7)`)
	s.incremented(t, "v", "w")
	same(t, s.alice, "v")
	same(t, s.alice, "w")
	require.Contains(t, s.last(t, "v", "reason"), "counter is a sequence, of which nobody knows what changed")
}

// It is in no bucket, so nothing has to be computed for it.
func TestAnInfiniteTimeThatASubscriptionAppliesChangesNoBucket(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.root, `SET session_replication_role = replica`, `INSERT INTO `+s.owner+`.metrics VALUES ('infinity', 1, 1), ('-infinity', 1, 1)`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "nothing changed below")
	pgtest.Exec(t, s.root, `INSERT INTO `+s.owner+`.metrics VALUES ('2026-03-02 10:05+00', 1, 1)`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changed: 2026-03-02 10:05:00 UTC")
	same(t, s.alice, "v")
}
