package integration

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

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
	{"date_trunc('minute', at)", "timestamptz", "1 minute", "minute"},
	{"date_trunc('minute', at AT TIME ZONE current_setting('TimeZone'))", "timestamptz", "1 minute", ""},
	{"date_trunc('minute', at)", "timestamp", "1 minute", ""},
	{"date_bin('15 minutes', at, '2000-01-01 00:00+00')", "timestamptz", "15 minutes", ""},
	{"date_bin('15 minutes', at, '2000-01-01')", "timestamp", "15 minutes", ""},
	{"date_bin('15 minutes', at AT TIME ZONE current_setting('TimeZone'), '2000-01-01')", "timestamptz", "15 minutes", ""},
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

// points are the instants at which something changed: beside changes of clocks, and at borders of days, months and
// years (of every other year), which are all there are where clocks do not change. $1 is the zone, $2 and $3 are the years, $4 are all of
// them rather than a sample.
const points = `
WITH change AS (
    SELECT g AS at
      FROM generate_series(make_timestamptz($2, 1, 1, 0, 0, 0, 'UTC'), make_timestamptz($3, 1, 1, 0, 0, 0, 'UTC'), '30 minutes') AS g
     WHERE (g AT TIME ZONE $1) - ((g - interval '30 minutes') AT TIME ZONE $1) <> interval '30 minutes'
     ORDER BY g DESC
     LIMIT CASE WHEN $4 THEN NULL ELSE 2 END
), border AS (
    SELECT b AT TIME ZONE $1 AS at
      FROM generate_series(CASE WHEN $4 THEN $2 ELSE $3 - 1 END, $3 - 1, 2) AS y,
           unnest(ARRAY[make_timestamp(y, 1, 1, 0, 0, 0), make_timestamp(y, 2 + y % 11, 1, 0, 0, 0), make_timestamp(y, 2 + y * 5 % 11, 3 + y * 7 % 25, 0, 0, 0)]) AS b
), beside AS (
    SELECT at + shift AS at, 'change' AS kind
      FROM change, unnest(CASE WHEN $4 THEN '{-1 day,-30 minutes,0,30 minutes,2 hours}' ELSE '{-30 minutes,0,30 minutes}' END::interval[]) AS shift
    UNION ALL
    SELECT at + shift, 'border' FROM border, unnest('{-20 seconds,0}'::interval[]) AS shift
), numbered AS (
    SELECT at, kind, row_number() OVER (ORDER BY at, kind) AS n FROM beside
)
INSERT INTO point SELECT $1, n, kind, at, at + (n % 3) * interval '30 hours' FROM numbered` // one instant, or what changed meanwhile

// monthsWide tells widths of which buckets are dear to compute.
func monthsWide(width string) bool {
	return strings.Contains(width, "month") || strings.Contains(width, "year") || width == "30 days"
}

// What changed beside a change of clocks, or at an ordinary border, in each of the odd zones and by each way to make
// buckets, is computed to exactly what the query gives. A short run has the last two changes of each zone, of those
// since 2015, and the borders of one year, and half of these points for each way, as the wide ones have always.
func TestBucketsAreRightAtEveryChangeOfClocks(t *testing.T) {
	t.Parallel()
	const first, last = 2015, 2025
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn, `CREATE TABLE point (zone text, n bigint, kind text, at timestamptz, until timestamptz)`)
	for _, zone := range oddZones {
		_, err := conn.Exec(t.Context(), points, zone, first, last, long)
		require.NoError(t, err)
	}
	pgtest.Exec(t, conn, `CREATE TABLE beside AS SELECT i + s AS at, (i AT TIME ZONE zone) + s AS wall
		  FROM point, unnest(ARRAY[at, until]) AS i, LATERAL (SELECT n * interval '20 seconds' FROM generate_series(-6, 6) AS n UNION SELECT n * interval '450 seconds' FROM generate_series(-6, 6) AS n) AS f(s)`,
		fmt.Sprintf(`CREATE TABLE src_timestamptz AS SELECT generate_series('%d-11-01 00:00+00'::timestamptz, '%d-03-01', '30 minutes') AS at UNION SELECT at FROM beside`, first-2, last+1), `CREATE INDEX ON src_timestamptz (at)`,
		`CREATE TABLE src_timestamp AS SELECT at AT TIME ZONE 'UTC' AS at FROM src_timestamptz UNION SELECT wall FROM beside`, `CREATE INDEX ON src_timestamp (at)`,
		`CREATE TABLE src_date AS SELECT DISTINCT at::date AS at FROM src_timestamp`, `CREATE INDEX ON src_date (at)`, `ANALYZE`,
		`CREATE FUNCTION wrong(label text, source text, width interval, unit text, inzone text, turn int) RETURNS TABLE (changes bigint, borders bigint, difference text) LANGUAGE plpgsql AS $f$
DECLARE
    r record; p timestamptz; q timestamptz; w record; lo text; hi text; got text; want text; missed bigint;
BEGIN
    changes := 0; borders := 0;
    FOR r IN SELECT * FROM point WHERE zone = inzone AND (turn IS NULL OR (n + turn) % 2 = 0) ORDER BY n LOOP
        changes := changes + (r.kind = 'change')::int;
        borders := borders + (r.kind = 'border')::int;
        p := r.at; q := r.until;
        IF source <> 'src_timestamptz' THEN   -- what the clock on the wall shows, as if it were UTC
            p := (p AT TIME ZONE inzone) AT TIME ZONE 'UTC'; q := greatest(p, (q AT TIME ZONE inzone) AT TIME ZONE 'UTC');
        END IF;
        IF source = 'src_date' THEN
            p := date_trunc('day', p, 'UTC'); q := date_trunc('day', q, 'UTC');
        END IF;
        SELECT o.window_start, o.window_end, o.label_start, o.label_end INTO w FROM mvscheduler.window_of(p, q, width, inzone, unit) AS o;
        EXECUTE format('SELECT mvscheduler.label_text($1, pg_typeof(%1$s)::oid, pg_typeof(at)::oid, $3), mvscheduler.label_text($2, pg_typeof(%1$s)::oid, pg_typeof(at)::oid, $3) FROM %2$s LIMIT 1', label, source) INTO lo, hi USING w.label_start, w.label_end, inzone;
        PERFORM set_config('mvscheduler.window_start', w.window_start::text, false), set_config('mvscheduler.window_end', w.window_end::text, false);
        EXECUTE format('SELECT string_agg(q::text, '' '' ORDER BY label) FROM (SELECT %1$s AS label, count(*) AS n, min(at) AS least, max(at) AS most FROM %2$s WHERE mvscheduler.in_window(at) GROUP BY 1) AS q WHERE label >= %3$L AND label < %4$L', label, source, lo, hi) INTO got;
        PERFORM set_config('mvscheduler.window_start', (w.window_start - 1.2 * width - interval '3 days')::text, false), set_config('mvscheduler.window_end', (w.window_end + 1.2 * width + interval '3 days')::text, false);
        EXECUTE format('SELECT string_agg(q::text, '' '' ORDER BY label) FROM (SELECT %1$s AS label, count(*) AS n, min(at) AS least, max(at) AS most FROM %2$s WHERE mvscheduler.in_window(at) GROUP BY 1) AS q WHERE label >= %3$L AND label < %4$L', label, source, lo, hi) INTO want;
        EXECUTE format('SELECT count(*) FROM %2$s WHERE at >= $1 %5$s AND at <= $2 %5$s AND NOT (%1$s >= %3$L AND %1$s < %4$L)', label, source, lo, hi, CASE WHEN source = 'src_timestamptz' THEN '' ELSE 'AT TIME ZONE ''UTC''' END) INTO missed USING p, q;
        IF got IS NULL OR got IS DISTINCT FROM want OR missed > 0 THEN
            difference := format('%s to %s: labels %s to %s, %s missed, got %s, want %s', p, q, lo, hi, missed, left(got, 200), left(want, 200)); RETURN NEXT; RETURN;
        END IF;
    END LOOP;
    RETURN NEXT;
END $f$`)
	var total atomic.Int64
	for _, zone := range oddZones {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			conn := db.Conn(t, "")
			pgtest.Exec(t, conn, `SET jit = off`, `SET TimeZone = '`+zone+`'`)
			for turn, c := range cuttings {
				if strings.HasSuffix(c.width, "year") && !long { // half a second each
					continue
				}
				for _, unit := range []string{"", c.unit} {
					var changes, borders int64
					var difference *string
					require.NoError(t, conn.QueryRow(t.Context(), `SELECT * FROM wrong($1, $2, $3::text::interval, nullif($4, ''), $5, CASE WHEN $6 THEN NULL ELSE $7::int END)`,
						c.label, "src_"+c.source, c.width, unit, zone, long && !monthsWide(c.width), turn).Scan(&changes, &borders, &difference))
					if difference != nil {
						t.Errorf("%s of %s in %s, unit %q: %s", c.label, c.source, zone, unit, *difference)
					}
					require.Equal(t, zone == "UTC" || zone == "Asia/Kathmandu", changes == 0, "clocks there do not change")
					require.NotZero(t, borders)
					total.Add(changes + borders)
					if unit == c.unit {
						break
					}
				}
			}
		})
	}
	t.Cleanup(func() {
		t.Log(total.Load(), "points")
		require.Greater(t, total.Load(), int64(1000))
	})
}

// Two points of those above, through the sidecar. Where clocks skip midnight the label of a time that does not
// exist is an hour after it; and a month of 31 days is longer than the 30 days that are equal to a month.
func TestBucketsThatBeginWhereClocksSkipAnHourOrLastLongerThanTheirWidthAreComputed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE local (ts timestamp NOT NULL, k int)`, `CREATE TABLE metrics (ts timestamptz NOT NULL, k int)`)
	s.incremental(t, "days", `SELECT date_trunc('day', ts AT TIME ZONE 'Africa/Cairo') AS hour, count(*) AS n FROM local WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "1 day", "timezone", "Africa/Cairo")
	s.incremental(t, "months", `SELECT date_trunc('month', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "30 days", "timezone", "Europe/Berlin")
	startSidecar(t, s.db)
	s.incremented(t, "days", "months")
	pgtest.Exec(t, s.alice, `INSERT INTO local VALUES ('2023-04-28 00:00', 1)`, `INSERT INTO metrics VALUES ('2019-03-31 01:30+01', 1)`)
	s.incremented(t, "days", "months")
	for view, zone := range map[string]string{"days": "Africa/Cairo", "months": "Europe/Berlin"} {
		pgtest.Exec(t, s.alice, `SET TimeZone = '`+zone+`'`)
		differ := ask[string](t, s.alice, fmt.Sprintf(`SELECT concat_ws(' / ', (SELECT string_agg(q::text, ' ') FROM %[1]s__query AS q), (SELECT coalesce(string_agg(q::text, ' '), 'nothing') FROM %[1]s AS q))`, view))
		left, right, _ := strings.Cut(differ, " / ")
		if left != right {
			t.Errorf("%s: the query gives %s, the view has %s; %s", view, left, right, s.last(t, view, "reason"))
		}
	}
}
