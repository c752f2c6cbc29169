package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// same says that a view holds what its query gives, row for row, as PostgreSQL stores them.
func same(t testing.TB, conn *pgx.Conn, view string) {
	t.Helper()
	require.Equal(t, "", ask[string](t, conn, `
SELECT coalesce(string_agg(r, E'\n'), '') FROM (
    (SELECT 'missing ' || whole::text AS r FROM `+view+`__query AS whole EXCEPT ALL SELECT 'missing ' || whole::text FROM `+view+` AS whole)
    UNION ALL
    (SELECT 'too much ' || whole::text AS r FROM `+view+` AS whole EXCEPT ALL SELECT 'too much ' || whole::text FROM `+view+`__query AS whole)
    LIMIT 20) AS differ`))
}

// incremented is refreshed that does not wait for what has failed for good.
func (s *scene) incremented(t testing.TB, views ...string) {
	t.Helper()
	for _, view := range views {
		run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view($1)`, view)
		until(t, s.alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs AS r LEFT JOIN mvscheduler.runs AS j ON j.id = r.joined_run WHERE r.id = $1 AND coalesce(j.state, r.state) NOT IN ('queued', 'running'))`, run)
		require.Equal(t, "succeeded", ask[string](t, s.alice, `SELECT concat_ws(' ', coalesce(j.state, r.state), coalesce(j.error, r.error)) FROM mvscheduler.runs AS r LEFT JOIN mvscheduler.runs AS j ON j.id = r.joined_run WHERE r.id = $1`, run))
	}
	s.committed(t)
}

// committed waits until no run is within its COMMIT. Others see what it wrote before they hear of partitions that it attached: for so
// long who knows that it has succeeded may miss the rows of these.
func (s *scene) committed(t testing.TB) {
	t.Helper()
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'mvscheduler run' AND state = 'active' AND query = 'commit')`)
}

// last is one column of the last run of a view.
func (s *scene) last(t testing.TB, view, column string) string {
	t.Helper()
	return ask[string](t, s.root, `SELECT coalesce((`+column+`)::text, '') FROM mvscheduler.run WHERE view_name = $1 ORDER BY id DESC LIMIT 1`, s.owner+"."+view)
}

func TestOnlyTheBucketsThatChangedAreComputed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, int64(3*96), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
	require.Equal(t, "incremental fresh", ask[string](t, s.alice, `SELECT method || ' ' || freshness FROM mvscheduler.status`))
	require.Equal(t, "trigger", ask[string](t, s.root, `SELECT tracking FROM mvscheduler.increment_state`))
	require.Equal(t, "mvscheduler_changed_delete mvscheduler_changed_insert mvscheduler_changed_row_N mvscheduler_changed_truncate mvscheduler_changed_update",
		ask[string](t, s.alice, `SELECT string_agg(replace(tgname, tgrelid::oid::text, 'N'), ' ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'metrics'::regclass`))

	s.incremented(t, "v")
	require.Equal(t, "nothing changed below; changes are noted by triggers", s.last(t, "v", "reason"))
	narrow := 0
	for _, c := range []struct {
		statement, did string // rows that changed in the view
	}{
		{`INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, "1"},
		{`INSERT INTO metrics SELECT '2026-03-03 10:05+00', d, 7 FROM generate_series(4, 9) AS d`, "6"},
		{`UPDATE metrics SET value = value + 1 WHERE ts >= '2026-03-02 12:00+00' AND ts < '2026-03-02 13:00+00' AND device = 2`, "1"},
		{`UPDATE metrics SET ts = ts + '1 day' WHERE ts = '2026-03-02 10:05+00'`, "2"},
		{`DELETE FROM metrics WHERE device = 9`, "1"},
		{`INSERT INTO metrics VALUES ('2026-04-20 10:05+00', 1, 1), ('2019-04-20 10:05+00', 1, 1), ('infinity', 1, 1), ('-infinity', 1, 1), ('9999-04-20 10:05+00', 1, 1)`, "3"},
		{`INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, NULL)`, "1"},
		{`UPDATE metrics SET value = value`, "0"},
		{`MERGE INTO metrics AS m USING (VALUES ('2026-03-02 10:00+00'::timestamptz, 1), ('2026-03-05 10:00+00', 1)) AS n(ts, device) ON m.ts = n.ts AND m.device = n.device
		  WHEN MATCHED THEN UPDATE SET value = 5 WHEN NOT MATCHED THEN INSERT VALUES (n.ts, n.device, 3)`, "2"},
		{`TRUNCATE metrics`, ""},
		{`COPY metrics FROM PROGRAM 'echo 2026-03-02 10:00+00,1,1' WITH (FORMAT csv)`, "1"},
	} {
		conn := s.alice
		if c.statement[:4] == "COPY" {
			conn = s.root
			pgtest.Exec(t, conn, `SET search_path = `+s.owner)
		}
		pgtest.Exec(t, conn, c.statement)
		s.incremented(t, "v")
		same(t, s.alice, "v")
		if c.did != "" {
			require.Equal(t, c.did, s.last(t, "v", "changed"), c.statement)
		}
		if strings.HasPrefix(s.last(t, "v", "reason"), "changed: 2026") { // within an hour
			require.Equal(t, "1", s.last(t, "v", "buckets"), c.statement)
			narrow++
		}
		t.Log(s.last(t, "v", "concat_ws(' | ', buckets || ' buckets', changed || ' rows', wal_bytes || ' bytes', took, reason)"))
	}
	require.Equal(t, 6, narrow)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'sum(value)', 'max(value)')`, `UPDATE mvscheduler.views SET timezone = 'Asia/Kathmandu'`)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `SET TimeZone = 'Asia/Kathmandu'`)
	same(t, s.alice, "v")
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.pass`)+ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.pass_range`))
	require.False(t, ask[bool](t, s.alice, `SELECT relispopulated FROM pg_class WHERE oid = 'v__gate'::regclass`))
}

func TestTheFirstFillComesInStepsAndGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, d, d FROM generate_series('2024-01-01 00:00+00'::timestamptz, '2026-03-04 23:50+00', '12 hours') AS t, generate_series(1, 2) AS d`,
		`INSERT INTO metrics VALUES ('2012-05-05 05:05+00', 1, 1), ('9999-12-31 05:05+00', 1, 1), ('infinity', 1, 1), ('190000-12-31 05:05+00', 1, 1)`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value + slow(0.002)) AS total FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "indexes", []string{"(device)"})
	first := startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) > 4 FROM pg_inherits WHERE inhparent = $1::text::regclass`, s.owner+".v__data")
	until(t, s.alice, `SELECT coalesce((progress ->> 'buckets')::int > 61 AND (progress ->> 'rows')::int > 2 * 61 AND (progress ->> 'eta')::timestamptz > clock_timestamp() - interval '5 seconds'
		AND (progress ->> 'percent')::int BETWEEN 1 AND 50 AND (progress ->> 'buckets_total')::int > 3 * (progress ->> 'buckets')::int, false) FROM mvscheduler.runs WHERE state = 'running'`)
	until(t, s.alice, `SELECT reason ~ '^filling the view, newest first: [0-9]+ of about [0-9]+ buckets, [0-9]+ rows, from 20..-..-.. on, about .* left, [0-9]+ %$' FROM mvscheduler.status`)
	first.kill()
	require.Regexp(t, `newest first: \d+ of about \d+ buckets, \d+ rows, from 20..-..-.. on, about \S+ left, \d+ %`, strings.Join(strings.Fields(mvscheduler(t, s.db, s.owner, "", "runs").stdout), " "))
	half := ask[int](t, s.root, `SELECT count(*)::int FROM pg_inherits WHERE inhparent = $1::text::regclass`, s.owner+".v__data")
	require.Equal(t, "never", ask[string](t, s.alice, `SELECT freshness FROM mvscheduler.status`))
	require.Less(t, half, 28)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2011-05-05 05:05+00', 1, 1), ('2026-03-01 05:05+00', 7, 7), ('2024-02-01 05:05+00', 7, 7)`)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'succeeded')`)
	same(t, s.alice, "v")
	require.Equal(t, 27+4, ask[int](t, s.root, `SELECT count(*)::int FROM pg_inherits WHERE inhparent = $1::text::regclass`, s.owner+".v__data"))
	require.Contains(t, ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE state = 'succeeded'`), "in 31 partitions; ")
	require.Equal(t, "-infinity", ask[string](t, s.root, `SELECT filled_from::text FROM mvscheduler.increment_state`))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM pg_constraint AS n JOIN pg_inherits AS h ON h.inhrelid = n.conrelid WHERE n.contype = 'c' AND h.inhparent = $1::text::regclass`, s.owner+".v__data"), "what told ATTACH of the bounds goes")
	require.Equal(t, 2*31, ask[int](t, s.root, `SELECT count(*)::int FROM pg_index AS i JOIN pg_inherits AS h ON h.inhrelid = i.indrelid WHERE h.inhparent = $1::text::regclass`, s.owner+".v__data"))
	s.incremented(t, "v")
	require.Equal(t, "nothing changed below; changes are noted by triggers", s.last(t, "v", "reason"))
}

func TestAnIncrementalViewFollowsAnother(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "hours", hourly)
	s.incremental(t, "days", `SELECT date_trunc('day', hour) AS hour, device, sum(n) AS n, max(total) AS most FROM hours WHERE mvscheduler.in_window(hour) GROUP BY 1, 2`, "bucket_width", "1 day", "refresh_interval", nil, "refresh_on", "upstream")
	s.manage(t, "plain", `SELECT device, sum(n) AS n FROM days GROUP BY 1`, "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "hours", "days", "plain")
	same(t, s.alice, "days")
	for _, statement := range []string{
		`INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`,
		`INSERT INTO metrics VALUES ('2025-07-02 10:05+00', 1, 100), ('2026-09-02 10:05+00', 1, 100)`, // new partitions of hours
		`UPDATE metrics SET ts = ts + '40 days' WHERE device = 2 AND ts < '2026-03-02'`,
		`TRUNCATE metrics`,
	} {
		pgtest.Exec(t, s.alice, statement)
		s.incremented(t, "hours", "days", "plain")
		same(t, s.alice, "hours")
		same(t, s.alice, "days")
		require.Equal(t, ask[string](t, s.alice, `SELECT coalesce(sum(n), 0)::text FROM hours`), ask[string](t, s.alice, `SELECT coalesce(sum(n), 0)::text FROM plain`))
	}
}

func TestOtherWaysToFindChanges(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	bob := s.db.User(t, "bob")
	pgtest.Exec(t, s.alice, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+bob, `GRANT SELECT ON metrics TO `+bob)
	conn := s.db.Conn(t, bob)
	table := s.owner + ".metrics"
	view := `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, timezone, change_tracking, lateness) VALUES ('%s', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM ` + table + ` WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', '1 day', 'UTC', '%s', '%s')`
	pgtest.Exec(t, conn, `SET TimeZone = 'UTC'`, fmt.Sprintf(view, "counted", "auto", "0"), fmt.Sprintf(view, "late", "none", "2 days"))
	startSidecar(t, s.db)
	refreshed(t, conn, "counted", "late")
	require.Equal(t, "counters none", ask[string](t, s.root, `SELECT string_agg(tracking, ' ' ORDER BY tracking) FROM mvscheduler.increment_state`))
	require.Contains(t, ask[string](t, conn, `SELECT reason FROM mvscheduler.runs WHERE view_name LIKE '%.counted' AND state = 'succeeded' ORDER BY id DESC LIMIT 1`), "may not make triggers on "+table)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now() - interval '1 day', 1, 1), ('2026-03-02 10:05+00', 1, 100)`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	refreshed(t, conn, "counted", "late")
	same(t, conn, "counted")
	require.Equal(t, int64(1), ask[int64](t, conn, `SELECT n FROM late WHERE hour > '2026-03-05'`))
	require.Equal(t, int64(18), ask[int64](t, conn, `SELECT n FROM late WHERE hour = '2026-03-02 10:00+00'`), "older than lateness")
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET change_tracking = 'counters' WHERE name LIKE '%.late'`)
	refreshed(t, conn, "late")
	same(t, conn, "late")
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET change_tracking = 'trigger' WHERE name LIKE '%.counted'`, `SELECT mvscheduler.refresh_view('counted')`)
	until(t, conn, `SELECT EXISTS (SELECT FROM mvscheduler.status WHERE name LIKE '%.counted' AND reason LIKE '%GRANT TRIGGER ON%')`)
}
