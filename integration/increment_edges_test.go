package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestEdgesAreExactWhereTheQueryIsKnownToCutByDateTrunc(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE local (ts timestamp, at date, "Of" timestamptz)`, `CREATE TABLE other (device int)`, `CREATE FUNCTION date_trunc(text, int) RETURNS timestamptz LANGUAGE sql IMMUTABLE RETURN '2026-01-01'::timestamptz`)
	for _, c := range []struct{ query, width, want string }{
		{`SELECT date_trunc('hour', ts) AS hour, device, count(*) FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 hour", "hour Europe/Berlin"},
		{`SELECT m.device, date_trunc('hour', m.ts) AS hour FROM metrics AS m JOIN other AS l USING (device) WHERE mvscheduler.in_window(m.ts)`, "60 minutes", "hour Europe/Berlin"},
		{`SELECT DISTINCT date_trunc('day', ts, 'Asia/Tokyo') AS hour FROM metrics WHERE mvscheduler.in_window(ts)`, "1 day", "day Asia/Tokyo"},
		{`SELECT date_trunc('month', ts) AS hour FROM local WHERE mvscheduler.in_window(ts)`, "1 month", "month UTC"},
		{`SELECT date_trunc('week', "Of") AS hour FROM local WHERE mvscheduler.in_window("Of")`, "7 days", "week Europe/Berlin"},
		{`SELECT date_trunc('hour', ts) AS hour FROM metrics WHERE mvscheduler.in_window(ts)`, "2 hours", ""},
		{`SELECT date_trunc('hour', ts) + '1 hour' AS hour FROM metrics WHERE mvscheduler.in_window(ts)`, "1 hour", ""},
		{`SELECT date_trunc('hour', ts + '1 hour') AS hour FROM metrics WHERE mvscheduler.in_window(ts)`, "1 hour", ""},
		{`SELECT date_trunc('hour', ts), date_bin('1 hour', ts, '2026-01-01') AS hour FROM metrics WHERE mvscheduler.in_window(ts)`, "1 hour", ""},
		{`SELECT date_trunc('hour', ts) AS hour FROM metrics WHERE mvscheduler.in_window(ts) UNION ALL SELECT date_trunc('day', ts) FROM metrics WHERE mvscheduler.in_window(ts)`, "1 hour", ""},
		{`SELECT date_trunc('hour', ts) AS hour FROM (SELECT ts + '1 hour' AS ts FROM metrics WHERE mvscheduler.in_window(ts)) AS metrics`, "1 hour", ""},
		{`WITH metrics AS (SELECT ts + '1 hour' AS ts FROM metrics WHERE mvscheduler.in_window(ts)) SELECT date_trunc('hour', ts) AS hour FROM metrics`, "1 hour", ""},
		{`SELECT date_trunc('hour', m.ts) AS hour FROM metrics AS m, metrics AS n WHERE mvscheduler.in_window(n.ts)`, "1 hour", ""},
		{`SELECT date_trunc('month', at) AS hour FROM local WHERE mvscheduler.in_window(at)`, "1 month", ""},
		{`SELECT ` + s.owner + `.date_trunc('hour', device) AS hour FROM metrics WHERE mvscheduler.in_window(ts)`, "1 hour", ""},
		{`SELECT date_trunc('hour', ts) AS hour, lag(value) OVER (PARTITION BY date_trunc('hour', ts) ORDER BY ts) FROM metrics WHERE mvscheduler.in_window(ts)`, "1 hour", ""},
	} {
		pgtest.Exec(t, s.alice, `DROP VIEW IF EXISTS q`, `CREATE VIEW q AS `+c.query)
		require.Equal(t, c.want, ask[string](t, s.alice, `SELECT concat_ws(' ', cut.unit, cut.zone)
			FROM mvscheduler.cut_of('q'::regclass, 'hour', $1::text::interval, (SELECT a.atttypid FROM mvscheduler.sources_of('q'::regclass) AS s JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attnum = s.col WHERE s.col > 0 LIMIT 1), 'Europe/Berlin') AS cut`, c.width), c.query)
	}
}

func TestWithExactEdgesOneBucketIsComputedForOneRow(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	s.incremental(t, "days", `SELECT date_trunc('day', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "bucket_width", "1 day", "timezone", "Australia/Lord_Howe")
	startSidecar(t, s.db)
	s.incremented(t, "v", "days")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:00+00', 1, 100)`)
	s.incremented(t, "v", "days")
	require.Equal(t, "1", s.last(t, "v", "buckets"))
	require.Equal(t, "1", s.last(t, "days", "buckets"))
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-04-05 10:00+00', 1, 100)`) // clocks change
	s.incremented(t, "v", "days")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `SET TimeZone = 'Australia/Lord_Howe'`)
	same(t, s.alice, "days")
}

func TestWhatIsTheSameIsNotWrittenHoweverItIsComputed(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "keyed", hourly)
	s.incremental(t, "keyless", `SELECT date_trunc('hour', ts) AS hour, to_json(device) AS j, value FROM metrics WHERE mvscheduler.in_window(ts)`)
	startSidecar(t, s.db)
	s.incremented(t, "keyed", "keyless")
	for _, size := range []int{1000, 1000000000} {
		pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.view_health SET rows_estimate = %d`, size))
		for _, c := range []struct {
			statement      string
			keyed, keyless string
		}{
			{`UPDATE metrics SET value = value`, "0", "0"},
			{`INSERT INTO metrics SELECT * FROM metrics WHERE ts = '2026-03-02 10:00+00' AND device = 1`, "1", "1"},
			{`DELETE FROM metrics WHERE ctid = (SELECT min(ctid) FROM metrics WHERE ts = '2026-03-02 10:00+00' AND device = 1)`, "1", "1"},
			{`UPDATE metrics SET value = 1.00 WHERE ts = '2026-03-02 10:00+00' AND device = 1`, "", "2"}, // the same number, shown otherwise
			{`UPDATE metrics SET value = 1 WHERE ts = '2026-03-02 10:00+00' AND device = 1`, "", "2"},
		} {
			pgtest.Exec(t, s.alice, c.statement)
			s.incremented(t, "keyed", "keyless")
			same(t, s.alice, "keyed")
			same(t, s.alice, "keyless")
			if c.keyed != "" {
				require.Equal(t, c.keyed, s.last(t, "keyed", "changed"), "%s with %d rows", c.statement, size)
			}
			require.Equal(t, c.keyless, s.last(t, "keyless", "changed"), "%s with %d rows", c.statement, size)
			if size > 1000 {
				require.Contains(t, s.last(t, "keyless", "reason"), "in one pass")
			}
		}
	}
	require.Equal(t, "", ask[string](t, s.root, `SELECT coalesce(string_agg(relname, ' '), '') FROM pg_class WHERE relname LIKE '%\_\_differ%' OR relname LIKE '%\_\_fresh%'`))
}

// TestWhatEqualsAndIsShownOtherwiseIsWritten: an operator = of a type may call equal what readers can tell apart.
func TestWhatEqualsAndIsShownOtherwiseIsWritten(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	kinds := [][3]string{ // with two values, which in most types are equal
		{"bool", "true", "false"}, {"int2", "1", "2"}, {"int4", "1", "2"}, {"int8", "1", "2"}, {"oid", "1", "2"}, {"bytea", `\x01`, `\x02`}, {"date", "2026-01-01", "infinity"},
		{"time", "00:00", "24:00"}, {"timestamp", "2026-01-01", "infinity"}, {"timestamptz", "2026-01-01 00:00+00", "infinity"}, {"uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"},
		{"text", "a", "A"}, {"varchar(9)", "a", "a "}, {"text COLLATE nocase", "a", "A"}, {"varchar(9) COLLATE nocase", "a", "A"}, {"char(3)", "a", "b"}, {`"char"`, "a", "b"},
		{"float4", "0", "-0"}, {"float8", "0", "-0"}, {"float8", "NaN", "infinity"}, {"numeric", "1", "1.00"}, {"interval", "1 day", "24:00"}, {"timetz", "10:00+00", "11:00+01"},
		{"jsonb", "1", "1.0"}, {"json", "1", "1 "}, {"float8[]", "{0}", "{-0}"}, {"small", "0", "-0"}, {"odd", "(0)", "(-0)"}, {"numrange", "[1,2)", "[1.0,2)"},
	}
	pgtest.Exec(t, s.alice, `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`, `CREATE DOMAIN small AS float8`, `CREATE TYPE odd AS (a float8)`, `CREATE TABLE kinds (ts timestamptz NOT NULL, device int NOT NULL)`)
	query := `SELECT date_trunc('hour', ts) AS hour, device`
	for n, kind := range kinds {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`ALTER TABLE kinds ADD c%d %s`, n, kind[0]))
		query += fmt.Sprintf(`, c%d`, n)
	}
	pgtest.Exec(t, s.alice, `INSERT INTO kinds SELECT '2026-03-02 10:10+00', d FROM generate_series(1, 9) AS d`)
	s.incremental(t, "v", query+` FROM kinds WHERE mvscheduler.in_window(ts)`, "unique_key", []string{"hour", "device"})
	startSidecar(t, s.db)
	s.incremented(t, "v")
	for _, size := range []int{1000, 1000000000} { // the latter in one pass
		pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.view_health SET rows_estimate = %d`, size))
		for _, value := range []string{"$1", "$2", "$1", "NULL"} {
			for n, kind := range kinds {
				value := strings.NewReplacer("$1", "'"+kind[1]+"'", "$2", "'"+kind[2]+"'").Replace(value)
				pgtest.Exec(t, s.alice, fmt.Sprintf(`UPDATE kinds SET c%d = %s WHERE device = 1 + %[1]d %% 9`, n, value))
				if n%9 == 8 || n == len(kinds)-1 { // each row has one that changed
					s.incremented(t, "v")
					same(t, s.alice, "v")
					require.Equal(t, fmt.Sprint(n%9+1), s.last(t, "v", "changed"), "to %s, up to %s", value, kind[0])
				}
			}
		}
		require.Equal(t, size > 1000, strings.Contains(s.last(t, "v", "reason"), "in one pass"))
	}
}

func TestTheContentsAreAnalyzedAfterMuchChanged(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	s.incremental(t, "not", hourly, "analyze", false)
	startSidecar(t, s.db)
	s.incremented(t, "v", "not")
	until(t, s.root, `SELECT reltuples = 288 FROM pg_class WHERE relname = 'v__data'`)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 7, 100)`)
	s.incremented(t, "v", "not")
	require.Equal(t, "288", ask[string](t, s.root, `SELECT analyzed_rows::text FROM mvscheduler.view_health AS h JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.v'`))
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT '2026-03-02 10:05+00', g, 100 FROM generate_series(100, 300) AS g`)
	s.incremented(t, "v", "not")
	until(t, s.root, `SELECT reltuples = 490 FROM pg_class WHERE relname = 'v__data'`)
	require.Equal(t, float32(-1), ask[float32](t, s.root, `SELECT reltuples FROM pg_class WHERE relname = 'not__data'`))
}

func TestTheChangeLogOfAPausedViewDoesNotGrowForEver(t *testing.T) { // not parallel: an open transaction of any database of the server delays forgetting
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE other (ts timestamptz)`)
	s.incremental(t, "v", hourly)
	s.incremental(t, "quick", hourly)
	s.incremental(t, "apart", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM other WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v", "quick", "apart")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('v'), mvscheduler.mark_dirty('v'), mvscheduler.mark_dirty('quick')`)
	for range 30 {
		pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, `INSERT INTO other VALUES ('2026-03-02 10:05+00')`)
	}
	pgtest.Exec(t, s.alice, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	s.incremented(t, "quick", "apart")
	entries := func() string {
		return ask[string](t, s.root, `SELECT count(*) FILTER (WHERE source = $1::text::regclass) || ' ' || count(*) FILTER (WHERE source = $2::text::regclass) || ' ' || coalesce(string_agg(v.name, ' '), '')
			FROM mvscheduler.dirt LEFT JOIN mvscheduler.view_state AS v USING (view_id)`, s.owner+".metrics", s.owner+".other")
	}
	until(t, s.root, `SELECT pg_stat_get_live_tuples('mvscheduler.dirt'::regclass) > 20`)
	require.NoError(t, catalog.GiveUpChanges(t.Context(), s.root, 1000))
	forgotten := func(want string) { // once no other transaction of the server is older
		require.Eventually(t, func() bool {
			gone, err := catalog.ForgetChanges(t.Context(), s.root, 7)
			require.NoError(t, err)
			require.LessOrEqual(t, gone, int64(7))
			return entries() == want
		}, patience, 50*time.Millisecond, want)
	}
	forgotten("30 0 " + s.owner + ".v") // what the paused view has not seen, of its table alone, and what was noted for it
	require.NoError(t, catalog.GiveUpChanges(t.Context(), s.root, 20))
	forgotten("0 0 " + s.owner + ".v")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Contains(t, s.last(t, "v", "reason"), "more than 20 changes were waiting, which were forgotten")
}

// Times that make no sense, thousands of them.
func TestManyAbsurdTimesDoNotBreakARunAndAreNamed(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "max_attempts", 1)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT '3000-01-01 00:00+00'::timestamptz + g * interval '40 days', 1, 1 FROM generate_series(1, 2500) AS g`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	untilWithin(t, 3*patience, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE id = $1 AND state NOT IN ('queued', 'running'))`, run)
	require.Equal(t, "succeeded", s.last(t, "v", "state"), s.last(t, "v", "error"))
	require.Contains(t, s.last(t, "v", "reason"), "from 2026-03-02 10:05:00 to 3273-10-16 00:00:00 UTC")
	same(t, s.alice, "v")
	parts := func(view string) int {
		return ask[int](t, s.alice, `SELECT count(*)::int FROM pg_inherits WHERE inhparent = '`+view+`__data'::regclass`)
	}
	require.Less(t, parts("v"), 10)
	s.incremental(t, "w", hourly)
	s.incremented(t, "w")
	same(t, s.alice, "w")
	require.Less(t, parts("w"), 10)
	// Others could be meant, and are too many: those that are far away have a year.
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT '1905-01-01 00:00+00'::timestamptz + g * interval '40 days', 1, 1 FROM generate_series(1, 700) AS g`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Less(t, parts("v"), 320, "200 months, and years")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now() + interval '40 days', 1, 1)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, "month", ask[string](t, s.root, `SELECT mvscheduler.unit_in_force($1::text::regclass)`, s.owner+".v__data"))
}

// A statement that touches two hours far apart changes those two, and what lies between is not computed; so does an
// UPDATE that moves a row from the one to the other.
func TestHoursBetweenThoseThatAStatementTouchesAreNotComputed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE parts (LIKE metrics) PARTITION BY RANGE (ts)`, `CREATE TABLE part PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`, `INSERT INTO parts SELECT * FROM metrics`)
	s.incremental(t, "metrics_v", hourly)
	s.incremental(t, "parts_v", strings.ReplaceAll(hourly, "metrics", "parts"))
	startSidecar(t, s.db)
	s.incremented(t, "metrics_v", "parts_v")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET rows_estimate = 10000000`) // of a small view all is computed rather than two ranges
	for _, table := range []string{"metrics", "parts"} {
		for _, did := range []struct{ statement, buckets string }{
			{`INSERT INTO %s VALUES ('2026-03-01 10:00+00', 1, 100), ('2026-03-04 10:00+00', 1, 100)`, "2"},
			{`UPDATE %s SET ts = ts + '3 days' WHERE ts = '2026-03-01 10:00+00'`, "2"},
			{`DELETE FROM %s WHERE ts IN ('2026-03-01 05:00+00', '2026-03-04 05:00+00')`, "2"},
			{`INSERT INTO %s VALUES ('2026-03-01 12:40+00', 1, 100), ('2026-03-01 13:20+00', 1, 100), ('2026-03-04 10:00+00', 1, 100)`, "3"}, // the first two are noted as one range
		} {
			statement := fmt.Sprintf(did.statement, table)
			pgtest.Exec(t, s.alice, statement)
			s.incremented(t, table+"_v")
			same(t, s.alice, table+"_v")
			require.Equal(t, did.buckets, s.last(t, table+"_v", "buckets"), "%s; %s", statement, s.last(t, table+"_v", "reason"))
		}
	}
}
