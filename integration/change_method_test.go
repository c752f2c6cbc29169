package integration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const (
	toIncremental = `UPDATE mvscheduler.views SET method = 'incremental', time_column = 'hour', bucket_width = '1 hour' WHERE name LIKE '%.v'`
	toAuto        = `UPDATE mvscheduler.views SET method = 'auto' WHERE name LIKE '%.v'`
)

// stands says that v is served by a method, holds what its query gives, and that nothing is left of what made it.
func (s *scene) stands(t testing.TB, method string) {
	t.Helper()
	require.Equal(t, method+" "+method, ask[string](t, s.root, `SELECT v.method || ' ' || s.method FROM mvscheduler.views AS v JOIN mvscheduler.view_state AS s ON s.view_id = v.id WHERE v.name = $1`, s.owner+".v"))
	if method == "incremental" {
		s.whole(t, "v")
		return
	}
	s.oneVersion(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, "m", ask[string](t, s.root, `SELECT relkind::text FROM pg_class WHERE oid = ($1 || '.v')::regclass`, s.owner))
	require.Zero(t, ask[int](t, s.root, `SELECT (SELECT count(*) FROM mvscheduler.view_source) + (SELECT count(*) FROM mvscheduler.increment_state)`))
}

func TestAViewChangesItsMethodInPlaceAndWhatHangsOnItStays(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.manage(t, "v", hourly, "refresh_interval", "1 day", "timezone", "UTC", "indexes", []string{"(device)"})
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "v")
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.alice, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+bob, `GRANT SELECT ON v TO `+bob, `GRANT UPDATE (n) ON v TO `+bob, `COMMENT ON MATERIALIZED VIEW v IS 'by hour'`, `COMMENT ON COLUMN v.n IS 'how many'`,
		`CREATE INDEX by_n ON v (n) WHERE n > 5`, `CREATE UNIQUE INDEX also_unique ON v (device, n, hour)`, `CREATE STATISTICS both_ ON device, n FROM v`,
		`CREATE VIEW direct WITH (security_barrier) AS SELECT hour, n FROM v`, `CREATE VIEW deep AS SELECT sum(n)::bigint AS n FROM direct`, `GRANT SELECT ON direct, deep TO `+bob)
	s.manage(t, "below", `SELECT sum(n) AS n FROM v`, "refresh_interval", nil, "refresh_on", "upstream")
	said := ask[string](t, s.alice, `SELECT md5(string_agg(v::text, '' ORDER BY v)) FROM v`)
	rights := ask[string](t, s.root, `SELECT c.relacl::text FROM pg_class AS c WHERE c.oid = $1::text::regclass`, s.owner+".deep")
	kept := func(method string) {
		t.Helper()
		s.stands(t, method)
		require.Equal(t, said, ask[string](t, s.alice, `SELECT md5(string_agg(v::text, '' ORDER BY v)) FROM v`))
		require.Equal(t, "by hour how many t t f", ask[string](t, s.root, `SELECT concat_ws(' ', obj_description(c.oid, 'pg_class'), col_description(c.oid, 3), has_table_privilege($2, c.oid, 'SELECT'), has_column_privilege($2, c.oid, 'n', 'UPDATE'), has_column_privilege($2, c.oid, 'device', 'UPDATE'))
			FROM pg_class AS c WHERE c.oid = $1::text::regclass`, s.owner+".v", bob))
		require.Equal(t, "{security_barrier=true}", ask[string](t, s.root, `SELECT reloptions::text FROM pg_class WHERE oid = $1::text::regclass`, s.owner+".direct"))
		require.Equal(t, rights, ask[string](t, s.root, `SELECT c.relacl::text FROM pg_class AS c WHERE c.oid = $1::text::regclass`, s.owner+".deep"))
		require.Equal(t, int64(1728), ask[int64](t, s.alice, `SELECT n FROM deep`))
		require.Equal(t, s.owner+".v", ask[string](t, s.alice, `SELECT array_to_string(upstream, ' ') FROM mvscheduler.status WHERE name LIKE '%.below'`))
		s.incremented(t, "below")
		require.Equal(t, int64(1728), ask[int64](t, s.alice, `SELECT n::bigint FROM below`))
		require.Equal(t, "fresh ", ask[string](t, s.alice, `SELECT freshness || ' ' || reason FROM mvscheduler.status WHERE name LIKE '%.v'`))
		require.Equal(t, method != "incremental", strings.Contains(mvscheduler(t, s.db, s.owner, "", "show", "v").stdout, "  measured "), "what the other method cost is the past")
		s.incremented(t, "v")
		took, err := catalog.TookLately(t.Context(), s.alice, ask[int64](t, s.alice, `SELECT mvscheduler.view_id('v')`))
		require.NoError(t, err)
		require.NotEmpty(t, took, "simulate asks for it")
	}
	require.Zero(t, sidecar.stop())

	// Until the new version is there the old one is served, and the way back cancels it.
	oid := ask[uint32](t, s.alice, `SELECT 'v'::regclass::oid`)
	const reason = `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.v'`
	pgtest.Exec(t, s.alice, toIncremental)
	require.Contains(t, ask[string](t, s.alice, reason), `a new version by method "incremental" waits to be built, the old one is served until then`)
	require.Equal(t, "auto full", ask[string](t, s.alice, `SELECT (SELECT s.method FROM mvscheduler.visible_views AS s WHERE s.name LIKE '%.v') || ' ' || method FROM mvscheduler.status WHERE name LIKE '%.v'`))
	r := mvscheduler(t, s.db, s.owner, "", "verify", s.owner+".v")
	require.Zero(t, r.code, r.stdout+r.stderr)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = `+quote(s.owner+".w")+` WHERE name LIKE '%.v'`, `UPDATE mvscheduler.views SET name = `+quote(s.owner+".v")+`, indexes = '{(device),(total)}' WHERE name LIKE '%.w'`)
	require.Equal(t, said, ask[string](t, s.alice, `SELECT md5(string_agg(v::text, '' ORDER BY v)) FROM v`))
	pgtest.Exec(t, s.alice, toAuto)
	require.Equal(t, oid, ask[uint32](t, s.alice, `SELECT 'v'::regclass::oid`))
	require.Equal(t, "below m, below__query v, deep v, direct v, v m, v__query v", s.relations(t))
	require.Equal(t, "auto NULL", ask[string](t, s.alice, `SELECT method || ' ' || coalesce(bucket_width::text, 'NULL') FROM mvscheduler.views WHERE name LIKE '%.v'`))
	require.Contains(t, s.refusal(t, `UPDATE mvscheduler.views SET method = 'incremental', time_column = 'hour' WHERE name LIKE '%.v'`), "needs bucket_width")

	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET indexes = '{(device)}' WHERE name LIKE '%.v'`, toIncremental)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	kept("incremental")
	require.Contains(t, s.last(t, "v", "reason"), "triggers")
	require.Equal(t, "also_unique, by_n, v__data_device_idx, v__data_key", ask[string](t, s.alice, `SELECT string_agg(indexrelid::regclass::text, ', ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'v__data'::regclass`))
	require.Equal(t, "v__data_20260301", ask[string](t, s.alice, `SELECT string_agg(inhrelid::regclass::text, ', ') FROM pg_inherits WHERE inhparent = 'v__data'::regclass`))
	pgtest.Exec(t, s.alice, `UPDATE metrics SET value = 5 WHERE ts = '2026-03-02 10:10+00' AND device = 1`)
	s.incremented(t, "v")
	require.Equal(t, "1", s.last(t, "v", "changed"))
	s.stands(t, "incremental")
	pgtest.Exec(t, s.alice, `UPDATE metrics SET value = 1 WHERE ts = '2026-03-02 10:10+00' AND device = 1`)
	s.incremented(t, "v")

	// The way back cancels here too.
	data := ask[uint32](t, s.alice, `SELECT 'v__data'::regclass::oid`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET refresh_on = 'manual', refresh_interval = NULL WHERE name LIKE '%.v'`, toAuto)
	r = mvscheduler(t, s.db, s.owner, "", "verify", "--all", s.owner+".v")
	require.Zero(t, r.code, r.stdout+r.stderr)
	pgtest.Exec(t, s.alice, `BEGIN`, `UPDATE mvscheduler.views SET refresh_on = 'schedule', refresh_interval = '1 day' WHERE name LIKE '%.v'`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, toIncremental, `COMMIT`)
	require.Equal(t, data, ask[uint32](t, s.alice, `SELECT 'v__data'::regclass::oid`))
	s.incremented(t, "v")
	s.stands(t, "incremental")
	pgtest.Exec(t, s.alice, `DELETE FROM metrics WHERE value = 100`)
	s.incremented(t, "v")

	// What hangs on the contents, and cannot follow, is named.
	for made, c := range map[string]struct{ undo, says string }{
		`CREATE VIEW around AS SELECT * FROM v__data`:               {`DROP VIEW around`, "around reads it directly"},
		`CREATE MATERIALIZED VIEW stored AS SELECT total FROM v`:    {`DROP MATERIALIZED VIEW stored`, "stored reads it directly"},
		`CREATE OR REPLACE VIEW v AS SELECT * FROM v__data LIMIT 3`: {`CREATE OR REPLACE VIEW v AS SELECT hour, device, n, total FROM v__data`, "is not what it was made as"},
	} {
		pgtest.Exec(t, s.alice, made)
		require.Contains(t, s.refusal(t, toAuto), c.says, made)
		pgtest.Exec(t, s.alice, c.undo)
	}
	pgtest.Exec(t, s.alice, toAuto)
	s.incremented(t, "v")
	kept("auto")
	require.Equal(t, "also_unique, by_n, v_device_idx", ask[string](t, s.alice, `SELECT string_agg(indexrelid::regclass::text, ', ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'v'::regclass AND obj_description(indexrelid) IS DISTINCT FROM 'mvscheduler: derived key'`))
	s.incremented(t, "v")
	kept("auto")

	// Both at once: another query, and the method.
	pgtest.Exec(t, s.alice, `CREATE MATERIALIZED VIEW stored AS SELECT total FROM v`)
	says := s.refusal(t, toIncremental)
	require.Contains(t, says, "stored reads it directly")
	require.NotContains(t, says, "other columns", "no column changes")
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW stored`,
		`UPDATE mvscheduler.views SET method = 'incremental', time_column = 'day', bucket_width = '1 day', indexes = NULL, query = $$SELECT date_trunc('day', ts) AS day, min(ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1$$ WHERE name LIKE '%.v'`)
	s.incremented(t, "v")
	s.stands(t, "incremental")
	require.Equal(t, int64(1728), ask[int64](t, s.alice, `SELECT n FROM deep`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET method = 'full' WHERE name LIKE '%.v'`, `UPDATE mvscheduler.views SET method = 'concurrent' WHERE name LIKE '%.v'`)
	s.incremented(t, "v")
	s.stands(t, "concurrent")
	s.incremented(t, "v")
	require.Equal(t, "concurrent", s.last(t, "v", "method"))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET method = 'incremental', bucket_width = '1 day' WHERE name LIKE '%.v'`)
	s.idle(t)
	s.manage(t, "x", hourly, "refresh_interval", "1 day")
	pgtest.Exec(t, s.alice, `DROP VIEW direct CASCADE`, `BEGIN`, `UPDATE mvscheduler.views SET method = 'incremental', time_column = 'hour', bucket_width = '1 hour' WHERE name LIKE '%.x'`, toAuto, `DELETE FROM mvscheduler.views`, `COMMIT`)
	require.Equal(t, "", s.relations(t))
	require.Zero(t, ask[int](t, s.root, `SELECT (SELECT count(*) FROM mvscheduler.piece) + (SELECT count(*) FROM mvscheduler.redefinition)`))
}

func TestAViewThatOthersAskInWindowAboutStaysIncremental(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	s.incremental(t, "days", `SELECT date_trunc('day', hour) AS hour, sum(n) AS n FROM v WHERE mvscheduler.in_window(hour) GROUP BY 1`, "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "v", "days")
	_, err := s.alice.Exec(t.Context(), toAuto)
	require.Contains(t, errorText(err), "managed view "+s.owner+".days asks in_window about it")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'mvscheduler.in_window(hour)', 'true') WHERE name LIKE '%.days'`)
	s.incremented(t, "days")
	pgtest.Exec(t, s.alice, toAuto)
	s.incremented(t, "v", "days")
	same(t, s.alice, "days")
}

func TestReadersOfAViewWhoseMethodChangesFindItWhole(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	version := func(n int) string {
		return fmt.Sprintf(`SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, %d AS version FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, n)
	}
	s.manage(t, "v", version(0), "refresh_interval", "1 day", "timezone", "UTC")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `CREATE VIEW through AS SELECT hour, device, n, version FROM v`, `CREATE VIEW deep AS SELECT version FROM through`)
	const said = ` SELECT concat_ws('-', min(version), max(version), max(version), count(*) / 288 * 100) FROM `
	direct, deep := startWatch(t, s, said+`v`), startWatch(t, s, said+`deep`)
	for n := 1; n <= 6; n++ {
		method, change := "auto", toAuto
		if n%2 == 1 {
			method, change = "incremental", toIncremental
		}
		pgtest.Exec(t, s.alice, `BEGIN`, change, `UPDATE mvscheduler.views SET query = `+quote(version(n))+` WHERE name LIKE '%.v'`, `COMMIT`)
		s.incremented(t, "v")
		s.stands(t, method)
		require.Equal(t, n, ask[int](t, s.alice, `SELECT max(version) FROM deep`))
	}
	consistent(t, direct.end(t))
	consistent(t, deep.end(t))

	// Who holds the old contents keeps them from being dropped, and nobody from reading.
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, s.alice, toIncremental)
	s.incremented(t, "v")
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM v__data_20260301`)
	pgtest.Exec(t, s.alice, toAuto)
	s.incremented(t, "v")
	require.Contains(t, s.pieces(t), "old "+s.owner+".v__old, old_query "+s.owner+".v__old__query")
	pgtest.Exec(t, reader, `COMMIT`)
	s.incremented(t, "v")
	s.stands(t, "auto")
}

func TestAChangeOfMethodThatIsKilledAtAnyPointLeavesOneVersionInTheEnd(t *testing.T) {
	heavy(t)
	t.Parallel()
	points := 4
	if long {
		points = 20
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newScene(t)
	pgtest.Exec(t, s.alice, append(slowToParse, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, d, d FROM generate_series('2025-10-01 00:00+00'::timestamptz, '2026-03-04 23:50+00', '12 hours') AS t, generate_series(1, 2) AS d`)...)
	rows := ask[int](t, s.alice, `SELECT count(*)::int FROM metrics`)
	s.manage(t, "v", `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value + slow(0.001)) AS total FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "refresh_interval", "1 day", "timezone", "UTC", "max_attempts", 3)
	replicas := []*sidecar{startSidecar(t, s.db), startSidecar(t, s.db)}
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `CREATE VIEW direct WITH (security_barrier) AS SELECT hour, n, ('{1}'::moment[])[1]::int AS one FROM v`, `CREATE VIEW deep AS SELECT sum(n) AS n FROM direct`, `GRANT SELECT ON v, deep TO PUBLIC`)
	seen := startWatch(t, s, `SELECT n::text FROM deep`)
	const swap = `SELECT FROM pg_locks AS l JOIN mvscheduler.attempt AS a ON a.backend_pid = l.pid AND a.outcome = 'running' WHERE l.relation = to_regclass($1) AND l.mode = 'AccessExclusiveLock' AND l.granted`
	kills, effective, swapping := 0, 0, 0
	for round := 0; effective < points || round%2 == 1 || swapping == 0; round++ {
		method, change := "incremental", toIncremental
		if round%2 == 1 {
			method, change = "auto", toAuto
		}
		pgtest.Exec(t, s.alice, change, `SELECT mvscheduler.refresh_view('v')`)
		for again := range 2 {
			if again == 1 { // in the swap
				until(t, s.root, `SELECT EXISTS (`+swap+`) OR NOT EXISTS (SELECT FROM mvscheduler.redefinition)`, s.owner+".v")
				time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
			} else {
				time.Sleep(time.Duration(random.Int64N(int64(1200 * time.Millisecond)))) // the point of the kill
			}
			var struck, inSwap int
			err := s.root.QueryRow(t.Context(), `
SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.backend_pid AND l.relation = to_regclass($1) AND l.mode = 'AccessExclusiveLock'))
  FROM mvscheduler.attempt AS a JOIN pg_stat_activity AS b ON b.pid = a.backend_pid
 WHERE a.outcome = 'running'`, s.owner+".v").Scan(&struck, &inSwap)
			require.NoError(t, err)
			if kills%3 == 2 {
				for n := range replicas {
					replicas[n].kill()
					replicas[n] = startSidecar(t, s.db)
				}
			} else {
				pgtest.Exec(t, s.root, `SELECT pg_terminate_backend(a.backend_pid) FROM mvscheduler.attempt AS a JOIN pg_stat_activity AS b ON b.pid = a.backend_pid AND b.backend_start = a.backend_start WHERE a.outcome = 'running'`)
			}
			kills++
			effective += min(1, struck)
			swapping += inSwap
		}
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition) AND NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running')) AND NOT EXISTS (SELECT FROM mvscheduler.request)`)
		s.stands(t, method)
		require.True(t, ask[bool](t, s.root, `SELECT has_table_privilege('public', $1 || '.v', 'SELECT') AND has_table_privilege('public', $1 || '.deep', 'SELECT')`, s.owner))
	}
	t.Logf("%d of %d kills hit, %d of them a swap", effective, kills, swapping)
	require.Equal(t, []string{fmt.Sprint(rows)}, slices.Collect(maps.Keys(seen.end(t))), "readers find it whole")
	s.idle(t)
	for _, replica := range replicas {
		require.Zero(t, replica.stop())
	}
	s.nothingIsLeft(t)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE state NOT IN ('succeeded', 'skipped')`))
}

func TestAChangeOfMethodLosesNothingThatRetentionHasTakenFromUnderIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.manage(t, "v", hourlyReadings, "refresh_interval", nil, "refresh_on", "manual", "timezone", "UTC")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '5 days')`)
	dry := func() string {
		t.Helper()
		r := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run", "-o", "json")
		require.Zero(t, r.code, r.stderr)
		return r.stdout
	}
	require.NotContains(t, dry(), `"action": "detach"`, "a full view needs all of it")
	pgtest.Exec(t, s.alice, toIncremental)
	require.NotContains(t, dry(), `"action": "detach"`, "and so does the new version that is being built")
	s.snapshotOf(t, "v__next__query", "wanted")
	s.incremented(t, "v")
	require.Zero(t, s.lost(t, "wanted", "v", "true"))
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.readings')`)
	require.Less(t, s.leaves(t), int64(11))
	require.Zero(t, s.lost(t, "wanted", "v", "true"))

	// Of what has left nobody can compute the rows again.
	refused := s.refusal(t, toAuto)
	require.Contains(t, refused, "cannot be built anew: what it showed before")
	require.Contains(t, refused, "mvscheduler restore")
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`))
	require.Equal(t, "incremental", ask[string](t, s.alice, `SELECT method FROM mvscheduler.views`))
	require.Zero(t, s.lost(t, "wanted", "v", "true"))
	// When it is back they can.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET enabled = false`)
	r := mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".readings")
	require.Zero(t, r.code, r.stderr)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.frozen AS f JOIN mvscheduler.view_state AS v ON v.view_id = f.target WHERE f.times > '-infinity')`)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, toAuto)
	s.incremented(t, "v")
	s.stands(t, "auto")
	require.Zero(t, s.lost(t, "wanted", "v", "true"))
	require.NotContains(t, dry(), `"action": "detach"`)
}

// What a view's owner hangs on it runs as the owner in the session of the owner or of the sidecar's sandbox, and not in
// that of an administrator who changes the method.
func TestNothingOfAViewWhoseMethodChangesRunsAsSomebodyElse(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	a.as(immutable("in_query", "int"), immutable("in_index", "int"), immutable("in_dependent", "int"), immutable("in_statistics", "int"),
		`CREATE FUNCTION mallory.checked(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('path'); RETURN true; END $$`, `CREATE DOMAIN mallory.label AS text CHECK (mallory.checked(VALUE))`,
		`CREATE TABLE mallory.base (ts timestamptz, k int)`, `INSERT INTO mallory.base SELECT '2026-03-01 00:00+00'::timestamptz + g * interval '1 hour', g % 3 FROM generate_series(1, 150) AS g`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on, max_attempts, indexes, timezone)
		 VALUES ('mallory.v', 'SELECT date_trunc(''hour'', ts) AS hour, k, count(*) + 0 * max(mallory.in_query(k)) AS n, (''{x}''::mallory.label[])[1]::text AS b FROM mallory.base WHERE mvscheduler.in_window(ts) GROUP BY 1, 2', NULL, 'manual', 2, '{(mallory.in_index(k))}', 'UTC')`)
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	a.as(`CREATE INDEX ON mallory.v (mallory.in_index(k + 1)) WHERE mallory.in_index(1) = 1`, `CREATE STATISTICS mallory.s ON mallory.in_statistics(k), n FROM mallory.v`,
		`CREATE VIEW mallory.d AS SELECT hour, mallory.in_dependent(k) AS k, (('{x}'::mallory.label[])[1])::text AS b FROM mallory.v WHERE mallory.in_dependent(1) = 1`)
	const change = `UPDATE mvscheduler.views SET method = 'incremental', time_column = 'hour', bucket_width = '1 hour' WHERE name = 'mallory.v'`
	a.refused(a.root, "42501", change)
	for range 2 {
		a.as(change)
		a.refused(a.root, "42501", `UPDATE mvscheduler.views SET method = 'auto' WHERE name = 'mallory.v'`)
		pgtest.Exec(t, a.root, a.sql(`UPDATE mvscheduler.views SET priority = 1 WHERE name = 'mallory.v'`))
		refreshed(t, a.m, a.sql("mallory.v"))
		require.Equal(t, "v", ask[string](t, a.m, a.sql(`SELECT relkind::text FROM pg_class WHERE oid = 'mallory.v'::regclass`)))
		a.as(`CREATE INDEX ON mallory.v__data (mallory.in_index(k + 2)) WHERE mallory.in_index(2) = 1`)
		a.refused(a.root, "42501", `UPDATE mvscheduler.views SET method = 'auto' WHERE name = 'mallory.v'`)
		a.as(`UPDATE mvscheduler.views SET method = 'auto' WHERE name = 'mallory.v'`)
		refreshed(t, a.m, a.sql("mallory.v"))
		require.Equal(t, "m", ask[string](t, a.m, a.sql(`SELECT relkind::text FROM pg_class WHERE oid = 'mallory.v'::regclass`)))
	}
	a.nothingStolen(sidecar.role, "in_query", "in_index")
	_, ran := a.loot()
	for tag, sessions := range ran {
		require.NotContains(t, sessions, "postgres", "%s ran in the administrator's session", tag)
	}
	// A piece that is replaced under the sidecar's feet is not used.
	a.as(change, `DROP TABLE mallory.v__next`, `CREATE TABLE mallory.v__next (LIKE mallory.v__next__query) PARTITION BY RANGE (hour)`)
	state, _ := a.ended(a.m, "mallory.v")
	require.Equal(t, "failed", state)
	require.Equal(t, "m", ask[string](t, a.m, a.sql(`SELECT relkind::text FROM pg_class WHERE oid = 'mallory.v'::regclass`)))
	a.nothingStolen("")
}

func TestAnAdoptedViewThatShallBeIncrementalIsToldTheWay(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE MATERIALIZED VIEW v AS SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM metrics GROUP BY 1`, `SELECT mvscheduler.adopt_view('v')`)
	says := s.refusal(t, toIncremental)
	require.Contains(t, says, "managed view "+s.owner+".v was adopted, and method \"incremental\" is for views that mvscheduler made")
	way := "SELECT mvscheduler.release_view('" + s.owner + ".v'); DROP MATERIALIZED VIEW " + s.owner + ".v;"
	require.Contains(t, says, way)
	pgtest.Exec(t, s.alice, strings.Split(way, "; ")...)
	s.incremental(t, "v", hourly)
}
