package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestTheWindowFunctionsAreConditionsOnTheBareColumn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE times (a timestamptz, b timestamp, c date)`,
		`INSERT INTO times SELECT t, t AT TIME ZONE 'UTC', t::date FROM generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS t`,
		`INSERT INTO times VALUES ('infinity', 'infinity', 'infinity'), ('-infinity', '-infinity', '-infinity'), (NULL, NULL, NULL), ('200000-01-01 00:00+00', '200000-01-01', '4000000-01-01'), ('4500-01-01 BC', '4500-01-01 BC', '4500-01-01 BC')`,
		`CREATE INDEX ON times (a)`, `CREATE INDEX ON times (b)`, `CREATE INDEX ON times (c)`, `ANALYZE times`)
	for _, column := range []string{"a", "b", "c"} {
		require.Equal(t, int64(8737), ask[int64](t, s.alice, `SELECT count(*) FROM times WHERE mvscheduler.in_window(`+column+`)`), "everything that calendars can be computed with")
		pgtest.Exec(t, s.alice, `BEGIN`, `SET LOCAL mvscheduler.window_start = '2026-03-29 00:00:00+00'`, `SET LOCAL mvscheduler.window_end = '2026-03-30 00:00:00+00'`, `SET LOCAL TimeZone = 'Europe/Berlin'`, `DISCARD PLANS`) // in which the window is a literal
		require.Equal(t, int64(24), ask[int64](t, s.alice, `SELECT count(*) FROM times WHERE mvscheduler.in_window(`+column+`)`), column)
		require.Contains(t, plan(t, s.alice, `SELECT count(*) FROM times WHERE mvscheduler.in_window(`+column+`)`), "Index Cond", column)
		pgtest.Exec(t, s.alice, `ROLLBACK`)
	}
}

func plan(t testing.TB, conn *pgx.Conn, query string) (text string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `EXPLAIN `+query)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return fmt.Sprint(lines)
}

// cutting is a way to make buckets.
type cutting struct {
	label, source string // expression of the column at, and its type
	width         string
	unit          string // for exact edges; empty = not known
}

var cuttings = []cutting{
	{"date_trunc('hour', at)", "timestamptz", "1 hour", "hour"},
	{"date_trunc('day', at)", "timestamptz", "1 day", "day"},
	{"date_trunc('week', at)", "timestamptz", "7 days", "week"},
	{"date_trunc('month', at)", "timestamptz", "1 month", "month"},
	{"date_trunc('month', at)", "timestamptz", "30 days", "month"},
	{"date_trunc('quarter', at)", "timestamptz", "3 months", "quarter"},
	{"date_trunc('year', at)", "timestamptz", "1 year", "year"},
	{"date_trunc('day', at, 'Asia/Tokyo')", "timestamptz", "1 day", ""},
	{"date_bin('15 minutes', at, '2000-01-01 00:07+00')", "timestamptz", "15 minutes", ""},
	{"date_bin('1 day', at, '2000-01-01 05:30+00')", "timestamptz", "1 day", ""},
	{"at::date", "timestamptz", "1 day", ""},
	{"date_trunc('hour', at AT TIME ZONE current_setting('TimeZone'))", "timestamptz", "1 hour", ""},
	{"date_trunc('hour', at)", "timestamp", "1 hour", ""},
	{"at::date", "timestamp", "1 day", ""},
	{"date_trunc('day', at AT TIME ZONE current_setting('TimeZone'))", "timestamp", "1 day", ""},
	{"date_trunc('month', at)::date", "date", "1 month", ""},
	{"at", "date", "1 day", ""},
	{"date_trunc('month', at)", "date", "1 month", ""},
}

var oddZones = []string{"Australia/Lord_Howe", "America/Havana", "Africa/Cairo", "Asia/Kathmandu", "Europe/Berlin", "Antarctica/Troll", "Pacific/Apia", "America/St_Johns", "Pacific/Chatham", "Asia/Tehran", "America/Sao_Paulo", "UTC"}

// What is recomputed for a change has to be what the query itself gives, for all the buckets that the change touches.
func TestTheWindowOfAChangeGivesItsBucketsAsTheQueryDoes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn, `CREATE TABLE base (at timestamptz)`,
		`INSERT INTO base SELECT generate_series('2009-12-01 00:00+00'::timestamptz, '2012-03-01', '10 minutes') UNION ALL SELECT generate_series('2022-09-01 00:00+00'::timestamptz, '2025-01-01', '10 minutes')`,
		`CREATE TABLE src_timestamptz AS SELECT at FROM base`, `CREATE INDEX ON src_timestamptz (at)`,
		`CREATE TABLE src_timestamp AS SELECT at AT TIME ZONE 'UTC' AS at FROM base`, `CREATE INDEX ON src_timestamp (at)`,
		`CREATE TABLE src_date AS SELECT DISTINCT (at AT TIME ZONE 'UTC')::date AS at FROM base`, `CREATE INDEX ON src_date (at)`, `ANALYZE`)
	first, last := time.Date(2009, 12, 15, 0, 0, 0, 0, time.UTC), time.Date(2012, 2, 15, 0, 0, 0, 0, time.UTC)
	later := time.Date(2022, 9, 15, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(r *rapid.T) {
		zone := rapid.SampledFrom(oddZones).Draw(r, "zone")
		c := rapid.SampledFrom(cuttings).Draw(r, "cutting")
		start := rapid.SampledFrom([]time.Time{first, later}).Draw(r, "era")
		from := start.Add(time.Duration(rapid.Int64Range(0, int64(last.Sub(first)/time.Minute)).Draw(r, "minutes")) * time.Minute)
		to := from.Add(time.Duration(rapid.SampledFrom([]int64{0, 0, 1, 60, 3000, 100000}).Draw(r, "span")) * time.Minute)
		var unit *string
		if c.unit != "" && rapid.Bool().Draw(r, "exact") {
			unit = &c.unit
		}
		pgtest.Exec(t, conn, `SET TimeZone = '`+zone+`'`)
		table := "src_" + c.source
		bounds := fmt.Sprintf(`mvscheduler.window_of($1, $2, '%s', '%s', $3)`, c.width, zone)
		var windowStart, windowEnd, labelStart, labelEnd string
		require.NoError(r, conn.QueryRow(t.Context(), `SELECT window_start::text, window_end::text,
			mvscheduler.label_text(label_start, pg_typeof(`+c.label+`)::oid, pg_typeof(at)::oid, '`+zone+`'), mvscheduler.label_text(label_end, pg_typeof(`+c.label+`)::oid, pg_typeof(at)::oid, '`+zone+`')
			FROM `+bounds+`, (SELECT at FROM `+table+` LIMIT 1) AS s`, from, to, unit).Scan(&windowStart, &windowEnd, &labelStart, &labelEnd))
		typed := `SELECT ` + c.label + ` AS label, count(*) AS n, min(at) AS least FROM ` + table + ` WHERE mvscheduler.in_window(at) GROUP BY 1`
		window := func(start, end string) {
			pgtest.Exec(t, conn, fmt.Sprintf(`SELECT set_config('mvscheduler.window_start', '%s', false), set_config('mvscheduler.window_end', '%s', false)`, start, end),
				`DISCARD PLANS`) // in which the window is a literal
		}
		range_ := fmt.Sprintf(`WHERE label >= '%s' AND label < '%s'`, labelStart, labelEnd)
		window(windowStart, windowEnd)
		got := ask[string](t, conn, `SELECT coalesce(string_agg(q::text, ' ' ORDER BY label), '') FROM (`+typed+`) AS q `+range_)
		window(from.AddDate(-1, -6, 0).Format(time.RFC3339), to.AddDate(1, 6, 0).Format(time.RFC3339)) // wide enough for every bucket in question
		want := ask[string](t, conn, `SELECT coalesce(string_agg(q::text, ' ' ORDER BY label), '') FROM (`+typed+`) AS q `+range_)
		require.Equal(r, want, got, "%s in %s for %s to %s", c.label, zone, from, to)
		missed := ask[string](t, conn, fmt.Sprintf(`SELECT coalesce(string_agg(DISTINCT (%[1]s)::text, ' '), '') FROM %[2]s
			WHERE at >= '%[3]s'::timestamptz %[7]s AND at <= '%[4]s'::timestamptz %[7]s AND NOT (%[1]s >= '%[5]s' AND %[1]s < '%[6]s')`,
			c.label, table, from.Format(time.RFC3339), to.Format(time.RFC3339), labelStart, labelEnd, map[bool]string{true: "", false: "AT TIME ZONE 'UTC'"}[c.source == "timestamptz"]))
		require.Empty(r, missed, "%s in %s for %s to %s: buckets that changed and are not replaced", c.label, zone, from, to)
	})
}
