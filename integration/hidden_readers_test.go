package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A function with a body in standard SQL, or a policy, reads the table: PostgreSQL knows, and the change log of an
// incremental view follows it, so the view needs what is there.
func TestAPartitionThatAViewReadsThroughAFunctionOrAPolicyStays(t *testing.T) {
	heavy(t)
	t.Parallel()
	const (
		f        = `CREATE FUNCTION ks() RETURNS SETOF int LANGUAGE sql STABLE BEGIN ATOMIC SELECT k FROM raw; END`
		g        = `CREATE FUNCTION one() RETURNS int LANGUAGE sql STABLE RETURN (SELECT min(k) FROM ks() AS k)`
		equal    = `CREATE FUNCTION same_k(int, text) RETURNS boolean LANGUAGE sql STABLE RETURN $1 = one() AND $2 IS NOT NULL`
		operator = `CREATE OPERATOR === (LEFTARG = int, RIGHTARG = text, FUNCTION = same_k)`
		insert   = `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on, timezone) VALUES ('v', 'SELECT date_trunc(''hour'', at) AS hour, count(*) AS n FROM events WHERE mvscheduler.in_window(at) AND `
		rest     = ` GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual', 'UTC')`
		whole    = "the query of view {}.v reads it not only within in_window"
		full     = "view {}.v reads it and is not incremental"
	)
	protect := func(policy string) []string {
		return []string{`ALTER TABLE events ENABLE ROW LEVEL SECURITY`, `ALTER TABLE events FORCE ROW LEVEL SECURITY`, `CREATE POLICY p ON events USING (` + policy + `)`}
	}
	for name, c := range map[string]struct {
		make []string
		why  string
	}{
		"incremental":                {[]string{f, insert + `k IN (SELECT ks())` + rest}, whole},
		"function by function":       {[]string{f, g, insert + `k = one()` + rest}, whole},
		"operator":                   {[]string{f, g, equal, operator, `INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('v', 'SELECT count(*) AS n FROM events WHERE k === ''x''', 'manual')`}, full},
		"full":                       {[]string{f, `INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('v', 'SELECT count(*) AS n FROM ks()', 'manual')`}, full},
		"unmanaged":                  {[]string{f, `CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM ks()`}, "materialized view {}.v reads it, is not managed"},
		"plain view":                 {[]string{f, `CREATE VIEW w AS SELECT * FROM ks() AS k`, `INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('v', 'SELECT count(*) AS n FROM w', 'manual')`}, full},
		"policy":                     {append(protect(`k IN (SELECT k FROM raw)`), insert+`true`+rest), whole},
		"policy by function":         {append(append([]string{f}, protect(`k IN (SELECT ks())`)...), insert+`true`+rest), whole},
		"joined directly":            {[]string{insert + `k IN (SELECT k FROM raw)` + rest}, whole},
		"within in_window and again": {[]string{f, `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on, timezone) VALUES ('v', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) AND k IN (SELECT ks()) GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual', 'UTC')`}, whole},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.oldYear(t)
			pgtest.Exec(t, s.alice, `CREATE TABLE events (at timestamptz, k int)`, `INSERT INTO events VALUES ('2026-03-01 10:00+00', 1)`)
			pgtest.Exec(t, s.alice, c.make...)
			startSidecar(t, s.db)
			if name != "unmanaged" {
				s.incremented(t, "v")
			}
			pgtest.Exec(t, s.alice, keepAYear)
			s.stays(t, "raw", strings.ReplaceAll(c.why, "{}", s.owner))
			if name != "unmanaged" {
				s.incremented(t, "v")
			}
			require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
		})
	}
}

// Whoever may not read the table, nor execute what reads it, keeps none of its partitions by naming it in a function or policy.
func TestSomebodyWithoutPrivilegesDoesNotKeepPartitionsOfOthersByAFunction(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `SET jit = off`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`CREATE FUNCTION ks() RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER BEGIN ATOMIC SELECT k FROM raw; END`, `REVOKE ALL ON FUNCTION ks() FROM PUBLIC`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period, enabled) VALUES ('raw', '1 year', false)`)
	a.as(`CREATE FUNCTION mallory.invoker() RETURNS int LANGUAGE sql STABLE RETURN (SELECT min(k) FROM alice.raw)`,
		`CREATE FUNCTION mallory.definer() RETURNS int LANGUAGE sql STABLE SECURITY DEFINER RETURN (SELECT min(k) FROM alice.raw)`,
		`CREATE FUNCTION mallory.calls() RETURNS int LANGUAGE sql STABLE RETURN (SELECT min(k) FROM alice.ks() AS k)`,
		`CREATE TABLE mallory.t (k int)`, `ALTER TABLE mallory.t ENABLE ROW LEVEL SECURITY`, `CREATE POLICY p ON mallory.t USING (k IN (SELECT k FROM alice.raw))`, `CREATE POLICY q ON mallory.t USING (k IN (SELECT alice.ks()))`,
		`CREATE MATERIALIZED VIEW mallory.a AS SELECT CASE WHEN false THEN mallory.invoker() END`, `CREATE MATERIALIZED VIEW mallory.b AS SELECT CASE WHEN false THEN mallory.definer() END`,
		`CREATE MATERIALIZED VIEW mallory.c AS SELECT CASE WHEN false THEN mallory.calls() END`, `CREATE MATERIALIZED VIEW mallory.d AS SELECT k FROM mallory.t`, `CREATE MATERIALIZED VIEW mallory.e AS SELECT alice.ks() WITH NO DATA`)
	readers := func() string {
		return ask[string](t, alice, `SELECT coalesce(string_agg(DISTINCT split_part(r ->> 'Name', '.', 2), ' '), '') FROM mvscheduler.prune_facts AS f, jsonb_array_elements(f.facts -> 'Readers') AS r WHERE f.name LIKE '%.raw'`)
	}
	require.Empty(t, readers())
	pgtest.Exec(t, alice, a.sql(`GRANT EXECUTE ON FUNCTION ks() TO mallory`))
	require.Equal(t, "c d e", readers())
	pgtest.Exec(t, alice, a.sql(`REVOKE EXECUTE ON FUNCTION ks() FROM mallory`), a.sql(`GRANT SELECT ON raw TO mallory`))
	require.Equal(t, "a b d", readers())
}

// A full view of another owner has read the table; the right to read it is away for a while. It would lose rows.
func TestAPartitionThatAFailingFullViewOfAnotherOwnerReadsStays(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`INSERT INTO raw VALUES ('2020-05-05', 1)`, a.sql(`GRANT SELECT ON raw TO mallory`))
	a.as(`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('mallory.v', 'SELECT count(*) AS n FROM alice.raw', 'manual')`)
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	pgtest.Exec(t, alice, a.sql(`REVOKE SELECT ON raw FROM mallory`), keepAYear)
	s := &scene{db: a.db, root: a.root, alice: alice, owner: a.alice}
	s.stays(t, "raw", a.sql("view mallory.v reads it and is not incremental"))

	// A query that never ran with that right tells nothing.
	pgtest.Exec(t, alice, `CREATE TABLE other (LIKE raw) PARTITION BY RANGE (ts)`, `CREATE TABLE other_old PARTITION OF other FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('other', '1 year')`)
	a.as(`UPDATE mvscheduler.views SET query = 'SELECT count(*) AS n FROM alice.other'`)
	until(t, a.root, `SELECT count(*) = 2 FROM mvscheduler.kept`)
}
