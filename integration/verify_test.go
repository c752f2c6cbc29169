package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

type verification struct {
	Buckets, Compared, Agree, Frozen, Wrong, Dirty int
	Repair                                         string
	Differences                                    []struct {
		Bucket, State             string
		Missing, Extra, Different int64
	}
}

// verify runs the command and wants its exit code.
func (s *scene) verify(t testing.TB, code int, args ...string) (v verification, talk string) {
	t.Helper()
	out := mvscheduler(t, s.db, s.owner, "", append([]string{"verify", "-o", "json"}, args...)...)
	require.Equal(t, code, out.code, "%s%s", out.stdout, out.stderr)
	require.NoError(t, json.Unmarshal([]byte(out.stdout), &v), out.stdout)
	return v, out.stderr
}

// unwatched runs statements of which the change log then knows nothing. No sidecar runs meanwhile.
func (s *scene) unwatched(t testing.TB, statements ...string) {
	t.Helper()
	pgtest.Exec(t, s.alice, statements...)
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.dirt`)
}

func TestVerifyTellsWrongBucketsFromDirtyOnesAndRepairsThem(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	v, _ := s.verify(t, 0, "v", "--all")
	require.Zero(t, v.Wrong, "nothing is wrong with what was never filled")
	require.Len(t, v.Differences, 96)
	out := mvscheduler(t, s.db, s.owner, "", "verify", "v", "--all")
	require.Equal(t, 50, strings.Count(out.stdout, " dirty "), "people read no thousand lines")
	require.Contains(t, out.stderr, "46 more")
	worker := startSidecar(t, s.db)
	s.incremented(t, "v")
	v, talk := s.verify(t, 0, "v")
	require.Equal(t, verification{Buckets: 96, Compared: 30, Agree: 30, Differences: v.Differences}, v)
	require.Empty(t, v.Differences)
	require.Contains(t, talk, "compared 30 of 96 buckets")
	require.Contains(t, talk, "all are what the query gives")
	require.NotContains(t, talk, "warning")
	v, _ = s.verify(t, 0, "v", "--all")
	require.Equal(t, 96, v.Compared)
	v, _ = s.verify(t, 0, "v", "--sample", "2")
	require.Equal(t, 2, v.Compared)
	require.Zero(t, worker.stop())

	// One dirty, three wrong: rows of the view changed by hand, and of the table behind the back of the triggers.
	s.unwatched(t, `INSERT INTO metrics VALUES ('2026-03-09 23:10+00', 3, NULL)`)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 7, 1)`,
		`UPDATE v__data SET total = total + 1 WHERE hour = '2026-03-01 00:00+00' AND device = 1`, `DELETE FROM v__data WHERE hour = '2026-03-03 05:00+00'`,
		`INSERT INTO v__data VALUES ('2026-03-03 07:00+00', 99, 1, NULL)`)
	v, talk = s.verify(t, 5, "v", "--all")
	require.Equal(t, 4, v.Wrong)
	require.Equal(t, 1, v.Dirty)
	require.Equal(t, []int{95, 92}, []int{v.Compared, v.Agree}, "two of those that differ are not there")
	require.Contains(t, talk, "; 92 agree, 2 more are not stored; 4 wrong; 1 dirty: something changed below, and the next refresh computes them")
	require.Contains(t, talk, "do:  mvscheduler verify "+s.owner+".v --all --repair")
	var lines []string
	for _, d := range v.Differences {
		line, err := json.Marshal([]any{d.Bucket, d.State, d.Missing, d.Extra, d.Different})
		require.NoError(t, err)
		lines = append(lines, string(line))
	}
	require.Equal(t, []string{
		`["2026-03-01 00:00:00+00","wrong",0,0,1]`, `["2026-03-02 10:00:00+00","dirty",1,0,0]`, `["2026-03-03 05:00:00+00","wrong",3,0,0]`,
		`["2026-03-03 07:00:00+00","wrong",0,1,0]`, `["2026-03-09 23:00:00+00","wrong",1,0,0]`}, lines)
	v, talk = s.verify(t, 5, "v", "--sample", "2")
	require.Contains(t, talk, "do:  mvscheduler verify "+s.owner+".v --all --repair", "another sample may be of others")
	require.Equal(t, 2, v.Wrong, "the oldest and the newest are in every sample, with what follows")
	out = mvscheduler(t, s.db, s.owner, "", "verify", "v", "--all")
	require.Equal(t, 5, out.code)
	require.Contains(t, out.stdout, "2026-03-03 05:00:00+00")
	require.NotContains(t, out.stdout, "2026-03-01 01:00:00+00", "what agrees is counted")
	out = mvscheduler(t, s.db, s.owner, "", "verify", "v", "--all", "-o", "csv")
	require.Contains(t, out.stdout, "2026-03-03 05:00:00+00,wrong,3,0,0")

	v, talk = s.verify(t, 0, "v", "--all", "--repair")
	require.Equal(t, "4 buckets marked as dirty, for the next refresh to compute", v.Repair)
	require.Contains(t, talk, "mvscheduler refresh --wait")
	v, _ = s.verify(t, 0, "v", "--all")
	require.Equal(t, 5, v.Dirty)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "marked as dirty by hand")
	same(t, s.alice, "v")
	v, _ = s.verify(t, 0, "v", "--all")
	require.Zero(t, v.Dirty)
}

func TestVerifyComparesWhatIsStoredAndNotWhatIsEqual(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE odd (ts timestamp, k text, n numeric, f float8, j json, a int[])`,
		`INSERT INTO odd VALUES ('2026-03-01 10:10', NULL, 1.0, 'NaN', '{"a": 1}', '{1,NULL}'), ('2026-03-01 10:20', 'x', NULL, '-0', NULL, NULL), ('2026-03-01 10:20', 'x', NULL, '-0', NULL, NULL),
		 (NULL, 'nowhere', 1, 1, NULL, NULL), ('infinity', 'never', 1, 1, NULL, NULL)`)
	columns := []any{"time_column", "day", "bucket_width", "1 day", "timezone", "America/Havana"}
	s.incremental(t, "keyless", `SELECT ts::date AS day, k, n, f, j, a FROM odd WHERE mvscheduler.in_window(ts)`, columns...)
	s.incremental(t, "keyed", `SELECT date_trunc('day', ts) AS day, k, array_agg(n) AS n, sum(f) AS f, min(j::text)::json AS j, a FROM odd WHERE mvscheduler.in_window(ts) GROUP BY 1, 2, 6`, append(columns, "unique_key", "{day,k,a}")...)
	s.incremental(t, "unbound", `SELECT ts::date AS day, count(*) AS n FROM odd WHERE isfinite(ts) GROUP BY 1`, columns...)
	s.manage(t, "plain", `SELECT k, n, f, j, a FROM odd`, "refresh_interval", "1 day")
	s.manage(t, "grouped", `SELECT k, sum(n) AS n, count(*) AS c FROM odd GROUP BY k`, "refresh_interval", "1 day")
	worker := startSidecar(t, s.db)
	s.incremented(t, "keyless", "keyed", "unbound", "plain", "grouped")
	require.Zero(t, worker.stop())
	for _, view := range []string{"keyless", "keyed", "unbound", "plain", "grouped"} {
		s.verify(t, 0, view, "--all")
	}
	s.unwatched(t, `UPDATE odd SET n = 1.00 WHERE k IS NULL`, `UPDATE odd SET f = 0 WHERE k = 'x'`)
	for view, want := range map[string][3]int64{"keyless": {3, 3, 0}, "keyed": {0, 0, 2}, "plain": {3, 3, 0}, "grouped": {1, 1, 0}} {
		v, talk := s.verify(t, 5, view)
		require.Equal(t, want, [3]int64{v.Differences[0].Missing, v.Differences[0].Extra, v.Differences[0].Different}, view)
		if view == "plain" || view == "grouped" {
			require.Contains(t, talk, "what changed since then counts too")
		}
	}
	s.verify(t, 0, "unbound")
	v, _ := s.verify(t, 0, "grouped", "--repair")
	require.Contains(t, v.Repair, "asked for a refresh: run ")
	startSidecar(t, s.db)
	until(t, s.alice, `SELECT (SELECT n::text FROM grouped WHERE k IS NULL) = '1.00'`)
	s.manage(t, "young", `SELECT 1 AS a`, "enabled", false)
	out := mvscheduler(t, s.db, s.owner, "", "verify", "young")
	require.Equal(t, 1, out.code)
	require.Contains(t, out.stderr, "no contents yet")
	require.Equal(t, 3, mvscheduler(t, s.db, s.owner, "", "verify", "nix").code)
	require.Equal(t, 2, mvscheduler(t, s.db, s.owner, "", "verify", "plain", "--all", "--sample", "3").code)
}

func TestVerifyDoesNotMindTheLastDigitsOfASumOfFloats(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE measured (ts timestamptz, f float8, r float4)`, `INSERT INTO measured VALUES ('2026-03-01 10:10+00', 0.1, 0.1), ('2026-03-01 10:20+00', 0.2, 0.2), ('2026-03-02 10:00+00', 0.3, 0.3)`)
	s.incremental(t, "v", `SELECT date_trunc('day', ts, 'UTC') AS day, sum(f) AS f, sum(r) AS r, count(*) AS n FROM measured WHERE mvscheduler.in_window(ts) GROUP BY 1`, "time_column", "day", "bucket_width", "1 day", "timezone", "UTC")
	worker := startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Zero(t, worker.stop())
	for values, wrong := range map[string]int{
		`f = f * (1 + 1e-12::float8), r = r * (1 + 1e-6::float4)`: 0,
		`f = f * (1 + 1e-6::float8)`:                              2,
		`r = r * 1.01`:                                            2,
		`f = f * (1 + 1e-12::float8), n = n + 1`:                  2,
		`f = -f`:                                                  2,
		`f = 'infinity'`:                                          2,
		`f = 'NaN'`:                                               2,
		`f = NULL`:                                                2,
		`f = 1e-320`:                                              2,
		`f = -1.7e308`:                                            2,
		`f = CASE WHEN n = 2 THEN 0.30000000000000004 ELSE 0.3 END`: 0,
	} {
		pgtest.Exec(t, s.alice, `BEGIN`, `UPDATE v__data SET `+values)
		require.Equal(t, wrong, ask[int](t, s.alice, `SELECT count(*) FROM mvscheduler.compare_buckets(mvscheduler.view_id('v'), '-infinity', 'infinity')`), values)
		pgtest.Exec(t, s.alice, `ROLLBACK`)
	}
}

// Partitions that came, counters, lateness and dimensions are dirt that no entry of the change log tells of, or all of it.
func TestVerifyKnowsWhatTheNextRefreshWouldCompute(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	pgtest.Exec(t, s.alice, `CREATE TABLE names (device int PRIMARY KEY, name text)`, `INSERT INTO names VALUES (1, 'one'), (2, 'two')`)
	s.incremental(t, "triggered", hourlyReadings)
	s.incremental(t, "counted", hourlyReadings, "change_tracking", "counters")
	s.incremental(t, "late", hourlyReadings, "change_tracking", "none", "lateness", "1 day")
	s.incremental(t, "named", `SELECT date_trunc('hour', r.ts) AS hour, n.name, count(*) AS n FROM readings AS r JOIN names AS n ON n.device = r.device WHERE mvscheduler.in_window(r.ts) GROUP BY 1, 2`)
	s.incremental(t, "daily", `SELECT date_trunc('day', hour) AS day, sum(n) AS n FROM triggered WHERE mvscheduler.in_window(hour) GROUP BY 1`, "time_column", "day", "bucket_width", "1 day")
	worker := startSidecar(t, s.db)
	s.incremented(t, "triggered", "counted", "late", "named", "daily")
	require.Zero(t, worker.stop())
	for _, view := range []string{"triggered", "counted", "late", "named", "daily"} {
		s.verify(t, 0, view, "--all")
	}
	old := `date_trunc('day', now(), 'UTC') - interval '60 days'`
	pgtest.Exec(t, s.alice, `DO $$ DECLARE d date := (now() AT TIME ZONE 'UTC')::date - 60; BEGIN
			CREATE TABLE older (LIKE readings); INSERT INTO older VALUES (`+old+` + interval '1 hour', 1, 1);
			EXECUTE format('ALTER TABLE readings ATTACH PARTITION older FOR VALUES FROM (%L) TO (%L)', d || ' 00:00+00', (d + 1) || ' 00:00+00'); END $$`,
		`UPDATE names SET name = 'eins' WHERE device = 1`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	for view, want := range map[string][2]int{"triggered": {0, 1}, "counted": {0, 1}, "late": {1, 0}, "daily": {0, 0}} {
		v, _ := s.verify(t, 5*want[0], view, "--all")
		require.Equal(t, want, [2]int{v.Wrong, v.Dirty}, view)
	}
	v, _ := s.verify(t, 0, "named", "--all")
	require.Greater(t, v.Dirty, 70)
}

func TestVerifyLeavesOutWhatNobodyCanComputeAnyMore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.chain(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days')`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	s.incremented(t, "hourly", "daily")
	v, talk := s.verify(t, 0, "hourly", "--all")
	require.GreaterOrEqual(t, v.Frozen, 5*24)
	require.Contains(t, talk, "left out: what they were made of has left")
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.compare_buckets(mvscheduler.view_id('hourly'), '-infinity', 'infinity')`), "nor does SQL miss what has left")
	require.Positive(t, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.buckets_of(mvscheduler.view_id('hourly')) WHERE frozen`))
	v, _ = s.verify(t, 0, "daily", "--all")
	require.Zero(t, v.Frozen, "the hours that it is made of are there")

	// What nobody can compute is not missed where it was deleted by hand, and that is said.
	pgtest.Exec(t, s.alice, `DELETE FROM hourly__data WHERE hour < now() - interval '4 days'`)
	v, talk = s.verify(t, 0, "hourly", "--all")
	require.Zero(t, v.Wrong)
	require.Regexp(t, `all are what the query gives; .*what is missing before 20\d\d-\d\d-\d\d \d\d:00:00 UTC is not seen`, talk)
}

// A snapshot has the horizon of its time, and a query the partitions of the time at which it is planned.
func TestVerifyCallsNothingWrongThatLeftWhileItLooked(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	// It has its snapshot, and lists the buckets.
	pgtest.Exec(t, s.alice, `BEGIN`, `LOCK TABLE hourly__data IN ACCESS EXCLUSIVE MODE`)
	verified := make(chan result)
	go func() {
		verified <- mvscheduler(t, s.db, s.owner, "", "verify", "hourly", "--all", "-o", "json")
	}()
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation WHERE c.relname = 'hourly__data' AND NOT l.granted)`)
	pgtest.Exec(t, s.db.Conn(t, s.owner), `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.kept)`)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state IN ('queued', 'running'))`)
	pgtest.Exec(t, s.alice, `COMMIT`)
	out := <-verified
	require.Zero(t, out.code, "%s%s", out.stdout, out.stderr)
	require.Contains(t, out.stderr, "left out: what they were made of has left")
}

// The query is somebody's code; and a mark is for views that the caller manages.
func TestVerifyRunsNobodyElsesQueryAndMarksNobodyElsesView(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE metrics (ts timestamptz, value int)`, `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on) VALUES ('v', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual')`)
	a.as(`CREATE TABLE mine (ts timestamptz, value int)`,
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on) VALUES ('trap', 'SELECT date_trunc(''hour'', ts) AS hour, max(steal(''query'')) AS n FROM mine WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('plain', 'SELECT steal(''plain'') AS n', 'manual')`)
	a.db.LogParsing(t)
	for _, view := range []string{".trap", ".plain"} {
		out := mvscheduler(t, a.db, "", "", "verify", a.mallory+view)
		require.Equal(t, 1, out.code)
		require.Contains(t, out.stderr, "only "+a.mallory+" can verify "+a.mallory+view)
		require.Equal(t, 3, mvscheduler(t, a.db, a.alice, "", "verify", a.mallory+view).code)
	}
	id := ask[int64](t, a.root, `SELECT view_id FROM mvscheduler.view_state WHERE name = $1`, a.alice+".v")
	trap := ask[int64](t, a.root, `SELECT view_id FROM mvscheduler.view_state WHERE name = $1`, a.mallory+".trap")
	for _, f := range []string{`buckets_of(%d)`, `compare_buckets(%d, '-infinity', 'infinity')`, `compare_contents(%d)`} {
		_, err := a.m.Exec(t.Context(), `SELECT * FROM mvscheduler.`+fmt.Sprintf(f, id))
		require.ErrorContains(t, err, "does not exist", f)
	}
	a.refused(a.m, "42809", fmt.Sprintf(`SELECT * FROM mvscheduler.dirty_buckets(%d, '{-infinity}', '{infinity}')`, id))
	a.refused(a.root, "42501", fmt.Sprintf(`SELECT * FROM mvscheduler.compare_buckets(%d, '-infinity', 'infinity')`, trap))
	a.refused(a.m, "42P01", `SELECT mvscheduler.mark_dirty('alice.v')`)
	a.refused(a.m, "44000", fmt.Sprintf(`INSERT INTO mvscheduler.marked_dirty (view_id, lo, hi) VALUES (%d, now(), now())`, id))
	a.refused(a.m, "44000", fmt.Sprintf(`INSERT INTO mvscheduler.marked_dirty (view_id, lo, hi) VALUES (%d, now(), now() - interval '1 day')`, trap))
	a.refused(a.m, "42501", fmt.Sprintf(`INSERT INTO mvscheduler.marked_dirty (view_id, lo, hi, why) VALUES (%d, now(), now(), 'x')`, trap))
	a.refused(a.m, "42501", `SELECT * FROM mvscheduler.marked_dirty`)
	a.refused(a.m, "42501", `DELETE FROM mvscheduler.marked_dirty`)
	a.refused(a.m, "42501", `INSERT INTO mvscheduler.dirt (view_id, lo, hi) VALUES (1, now(), now())`)
	a.as(`SELECT mvscheduler.mark_dirty('trap', '2026-01-01')`)
	pgtest.Exec(t, a.root, `SELECT mvscheduler.mark_dirty('`+a.alice+`.v')`)
	require.Equal(t, []int64{id, trap}, ask[[]int64](t, a.root, `SELECT array_agg(DISTINCT view_id ORDER BY view_id) FROM mvscheduler.dirt WHERE why = 'marked as dirty by hand'`))
	require.Zero(t, ask[int64](t, a.m, `SELECT count(*) FROM mvscheduler.visible_increments WHERE view_id = $1`, id)+ask[int64](t, a.m, `SELECT count(*) FROM mvscheduler.visible_changes WHERE view_id = $1`, id)+
		ask[int64](t, a.m, `SELECT count(*) FROM mvscheduler.visible_sources WHERE view_id = $1`, id))
	a.nothingStolen(a.mallory)
}

// A snapshot shows the names of its time. Who owns the schema of a view can rename it, and put another in its place.
func TestVerifyReadsNoLookAlike(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	pgtest.Exec(t, a.root, `GRANT CREATE ON DATABASE `+a.db.Name+` TO `+a.mallory)
	a.as(`CREATE SCHEMA lent`, `GRANT ALL ON SCHEMA lent TO alice`)
	pgtest.Exec(t, a.root, `GRANT USAGE ON SCHEMA lent TO mvscheduler_worker`)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE metrics (ts timestamptz, value int)`, `INSERT INTO metrics VALUES ('2026-01-01', 1)`,
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on) VALUES ('lent.v', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('lent.w', 'SELECT count(*) AS n FROM metrics', 'manual')`)
	a.as(`GRANT USAGE ON SCHEMA mallory TO PUBLIC`)
	pgtest.Exec(t, alice, `REFRESH MATERIALIZED VIEW lent.w`, `BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT count(*) FROM pg_class`)
	a.as(`ALTER SCHEMA lent RENAME TO taken`, `CREATE SCHEMA lent`, `GRANT ALL ON SCHEMA lent TO PUBLIC`)
	for _, name := range []string{"v", "v__query", "v__data"} {
		a.as(`CREATE VIEW lent.`+name+` AS SELECT '2026-01-01'::timestamptz AS hour, mallory.steal('`+name+`')::bigint AS n`, `GRANT ALL ON lent.`+name+` TO PUBLIC`)
	}
	for _, name := range []string{"w", "w__query"} {
		a.as(`CREATE VIEW lent.`+name+` AS SELECT mallory.steal('`+name+`')::bigint AS n`, `GRANT ALL ON lent.`+name+` TO PUBLIC`)
	}
	id := func(name string) int64 {
		return ask[int64](t, a.root, `SELECT view_id FROM mvscheduler.view_state WHERE name = $1`, name)
	}
	require.Zero(t, ask[int64](t, alice, `SELECT count(*) FROM mvscheduler.buckets_of($1)`, id("lent.v")))
	require.Equal(t, int64(1), ask[int64](t, alice, `SELECT missing FROM mvscheduler.compare_buckets($1, '-infinity', 'infinity')`, id("lent.v")))
	require.Zero(t, ask[int64](t, alice, `SELECT missing + extra FROM mvscheduler.compare_contents($1)`, id("lent.w")))
	pgtest.Exec(t, alice, `ROLLBACK`)
	a.nothingStolen(a.mallory)
}

// A script verifies hours, days and months one after the other; all of it is between two samples, and none of it a read.
func TestScansOfVerificationsThatFollowEachOtherAddUp(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.incremental(t, "hourly", hourlyReadings)
	side := startSidecar(t, s.db, "--sample-every", "0")
	s.incremented(t, "hourly")
	require.Zero(t, side.stop())
	verify := func() int64 {
		out := mvscheduler(t, s.db, s.owner, "", "verify", s.owner+".hourly", "--all")
		require.Zero(t, out.code, out.stderr)
		return ask[int64](t, s.root, `SELECT coalesce(sum(seq + idx), 0)::bigint FROM mvscheduler.verify_scan`)
	}
	once := verify()
	require.NotZero(t, once)
	require.Equal(t, 2*once, verify())
}

// Of a bucket everything is read that it is made of, also where that lies before the time that it is called after, or a whole
// width after it: each of them, computed by itself, is what the refresh made of it.
func TestVerifyReadsOfEachBucketAllThatItIsMadeOf(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE metrics (ts timestamptz NOT NULL)`,
		`INSERT INTO metrics SELECT generate_series('2026-10-24 12:00+00'::timestamptz, '2026-10-26 12:00+00', '10 minutes')`) // clocks are set back in Berlin
	views := map[string]string{
		"shifted": `date_trunc('hour', ts) - interval '50 minutes'`,
		"local":   `date_trunc('hour', ts AT TIME ZONE 'Europe/Berlin')`,
		"days":    `(ts AT TIME ZONE 'Europe/Berlin')::date`,
	}
	for name, label := range views {
		width := "1 hour"
		if name == "days" {
			width = "1 day"
		}
		s.incremental(t, name, `SELECT `+label+` AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", width, "timezone", "Europe/Berlin")
	}
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'Europe/Berlin'`)
	for name := range views {
		s.incremented(t, name)
		same(t, s.alice, name)
		require.Empty(t, ask[string](t, s.alice, `
SELECT coalesce(string_agg(b.bucket || ' ' || d, E'\n'), '')
  FROM (SELECT x.bucket, coalesce(lead(x.bucket) OVER (ORDER BY x.instant), 'infinity') AS next FROM mvscheduler.buckets_of(mvscheduler.view_id($1)) AS x) AS b
 CROSS JOIN LATERAL mvscheduler.compare_buckets(mvscheduler.view_id($1), b.bucket, b.next) AS d`, name), name)
	}
}

// A query that names its zone is cut there, whatever the zone of the view is.
func TestVerifyKnowsTheDirtyBucketsOfAQueryThatNamesItsZone(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", `SELECT date_trunc('day', ts, 'Asia/Tokyo') AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "1 day")
	worker := startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Zero(t, worker.stop())
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	v, _ := s.verify(t, 0, "v", "--all")
	require.Equal(t, 1, v.Dirty)
	require.Equal(t, "2026-03-01 15:00:00+00", v.Differences[0].Bucket)
}
