package integration

import (
	"compress/gzip"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const (
	flightsByHour = `SELECT date_trunc('hour', scheduled_departure) AS hour, origin, count(*) AS flights, count(*) FILTER (WHERE delay_minutes >= 15) AS late, sum(delay_minutes) AS delay, avg(distance_miles) AS distance
  FROM flights WHERE mvscheduler.in_window(scheduled_departure) GROUP BY 1, 2`
	flightsByDay = `SELECT date_trunc('day', hour) AS day, origin, sum(flights)::bigint AS flights, sum(late)::bigint AS late, sum(delay)::bigint AS delay
  FROM by_hour WHERE mvscheduler.in_window(hour) GROUP BY 1, 2`
	flightsByMonth = `SELECT date_trunc('month', day) AS month, sum(flights)::bigint AS flights, sum(late)::bigint AS late, sum(delay)::bigint AS delay
  FROM by_day WHERE mvscheduler.in_window(day) GROUP BY 1`
)

// Flights like those of the sample: none at night, some airports with many of them.
func TestRollupsOfFlightsFollowLateRowsWhileRawDataLeave(t *testing.T) {
	t.Parallel()
	heavy(t)
	s := newScene(t)
	flights, days := 20_000, 35
	if long {
		flights, days = 300_000, 181
	}
	pgtest.Exec(t, s.alice, `CREATE TABLE arriving (scheduled_departure timestamp, delay_minutes int, distance_miles int, origin text, destination text)`,
		fmt.Sprintf(`INSERT INTO arriving SELECT '2001-01-01'::timestamp + ((random() * %d)::int + 0.25 + 0.7 * random()) * interval '1 day', (30 * random() * random() * random())::int * 8 - 10, 100 + (2000 * random())::int,
			'A' || (60 * random() * random())::int, 'A' || (60 * random())::int FROM generate_series(1, %d)`, days-1, flights))
	s.replay(t)
}

// The real ones, of the US Bureau of Transportation Statistics; internal/demo/data has a part of them.
func TestRollupsOfThreeMillionRealFlightsFollowLateRowsWhileRawDataLeave(t *testing.T) {
	path := os.Getenv("MVSCHEDULER_FLIGHTS")
	if path == "" {
		t.Skip("MVSCHEDULER_FLIGHTS is not set: give it the path of flights-3m.csv.gz (scheduled_departure,delay_minutes,distance_miles,origin,destination)")
	}
	t.Parallel()
	s := newScene(t)
	file, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	lines, err := gzip.NewReader(file)
	require.NoError(t, err)
	pgtest.Exec(t, s.alice, `CREATE TABLE arriving (scheduled_departure timestamp, delay_minutes int, distance_miles int, origin text, destination text)`)
	_, err = s.alice.PgConn().CopyFrom(t.Context(), lines, `COPY arriving FROM STDIN WITH (FORMAT csv, HEADER)`)
	require.NoError(t, err)
	s.replay(t)
}

// replay lets the flights of the table arriving arrive day by day, one in fifty up to five days late, and lets raw data
// of the week before leave meanwhile. The clock of retention cannot be set back, so the period grows instead.
func (s *scene) replay(t *testing.T) {
	t.Helper()
	began := time.Now()
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`,
		`CREATE TABLE kept AS SELECT f.*, scheduled_departure::date + CASE WHEN hashint4(n::int) % 50 = 0 THEN 1 + abs(hashint4(n::int + 1)) % 5 ELSE 0 END AS arrives FROM (SELECT *, row_number() OVER () AS n FROM arriving) AS f`,
		`CREATE INDEX ON kept (arrives)`, `ANALYZE kept`,
		`CREATE TABLE flights (LIKE arriving) PARTITION BY RANGE (scheduled_departure)`, `CREATE INDEX ON flights (scheduled_departure)`,
		`DO $$ DECLARE d date; BEGIN FOR d IN SELECT generate_series(min(scheduled_departure)::date, max(scheduled_departure)::date, '1 day') FROM arriving LOOP
			EXECUTE format('CREATE TABLE %I PARTITION OF flights FOR VALUES FROM (%L) TO (%L)', 'flights_' || to_char(d, 'YYYYMMDD'), d, d + 1); END LOOP; END $$`)
	s.incremental(t, "by_hour", flightsByHour)
	s.incremental(t, "by_day", flightsByDay, "time_column", "day", "bucket_width", "1 day", "refresh_on", "upstream")
	s.incremental(t, "by_month", flightsByMonth, "time_column", "month", "bucket_width", "1 month", "refresh_on", "upstream")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period) VALUES ('flights', '100 years', '0')`)
	startSidecar(t, s.db)
	partitions := ask[int64](t, s.alice, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'flights'::regclass`)
	days := ask[[]time.Time](t, s.alice, `SELECT array_agg(DISTINCT arrives ORDER BY arrives) FROM kept`)
	loaded := time.Now()
	var refreshing time.Duration
	// What is older than a week has left for good; of a time without zone a day more is kept, and a bucket.
	const leftBehind = `SELECT count(*) = 0 FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'flights'::regclass AND right(c.relname, 8) < to_char($1::date - 10, 'YYYYMMDD')`
	for n, day := range days {
		_, err := s.alice.Exec(t.Context(), `INSERT INTO flights SELECT scheduled_departure, delay_minutes, distance_miles, origin, destination FROM kept WHERE arrives = $1`, day)
		require.NoError(t, err)
		_, err = s.alice.Exec(t.Context(), `UPDATE mvscheduler.source_retention SET retention_period = make_interval(days => (now() AT TIME ZONE 'UTC')::date - $1::date + 7)`, day)
		require.NoError(t, err)
		at := time.Now()
		s.incremented(t, "by_hour")
		refreshing += time.Since(at)
		if n >= 14 && n%5 == 0 { // as it goes, and not in the end alone
			untilWithin(t, 3*patience, s.alice, leftBehind, day)
			require.NotZero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'detach'`))
		}
	}
	replayed := time.Now()
	s.incremented(t, "by_hour", "by_day", "by_month")
	untilWithin(t, 3*patience, s.alice, leftBehind, days[len(days)-1])
	s.incremented(t, "by_hour", "by_day", "by_month")
	pruned := time.Now()

	s.manage(t, "full_by_hour", strings.ReplaceAll(flightsByHour, "FROM flights", "FROM kept"), "method", "full", "refresh_on", "manual")
	s.incremented(t, "full_by_hour")
	for view, query := range map[string]string{
		"by_hour":  `SELECT * FROM full_by_hour`,
		"by_day":   `SELECT date_trunc('day', scheduled_departure) AS day, origin, count(*) AS flights, count(*) FILTER (WHERE delay_minutes >= 15) AS late, sum(delay_minutes) AS delay FROM kept GROUP BY 1, 2`,
		"by_month": `SELECT date_trunc('month', scheduled_departure) AS month, count(*) AS flights, count(*) FILTER (WHERE delay_minutes >= 15) AS late, sum(delay_minutes) AS delay FROM kept GROUP BY 1`,
	} {
		require.Zero(t, ask[int64](t, s.alice, `SELECT (SELECT count(*) FROM (SELECT * FROM `+view+` EXCEPT ALL (`+query+`)) AS more) + (SELECT count(*) FROM ((`+query+`) EXCEPT ALL SELECT * FROM `+view+`) AS less)`), view)
		v, _ := s.verify(t, 0, view, "--all")
		require.Zero(t, v.Wrong+v.Dirty, view)
		if view == "by_hour" {
			require.NotZero(t, v.Frozen)
		}
	}
	left := ask[int64](t, s.alice, `SELECT count(*) FROM flights`)
	require.Less(t, left, ask[int64](t, s.alice, `SELECT count(*) FROM kept`)/2)
	t.Logf("%d flights, %d of them late, %d days: loaded in %s, replayed in %s (of that refreshes %s), pruned after another %s, compared in %s",
		ask[int64](t, s.alice, `SELECT count(*) FROM kept`), ask[int64](t, s.alice, `SELECT count(*) FROM kept WHERE arrives > scheduled_departure::date`), len(days),
		loaded.Sub(began).Round(time.Millisecond), replayed.Sub(loaded).Round(time.Millisecond), refreshing.Round(time.Millisecond), pruned.Sub(replayed).Round(time.Millisecond), time.Since(pruned).Round(time.Millisecond))
	t.Logf("%d of %d partitions left, %d rows; %s", partitions-ask[int64](t, s.alice, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'flights'::regclass`), partitions, left,
		ask[string](t, s.root, `SELECT string_agg(line, '; ' ORDER BY line) FROM (SELECT format('%s: %s runs, median %s ms, longest %s ms, %s buckets a run', split_part(view_name, '.', 2), count(*), round(1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM took)))::int, round(1000 * max(extract(epoch FROM took)))::int, round(avg(buckets))) AS line
			FROM mvscheduler.run WHERE state = 'succeeded' AND kind = 'refresh' GROUP BY view_name) AS r`))
}
