package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Queries that window by window are something else than as a whole: their labels are not near the rows that they come
// from, or what is brought together is named by a time that is not the bucket. Each of them is refused, or fails and says
// why, or is right; want is which. Rows come one by one into a table that is almost empty, so no other row gives it away.
func TestNoQueryIsSilentlyWrongWindowByWindow(t *testing.T) {
	heavy(t)
	t.Parallel()
	const refused, fails, right = "refused", "fails", "right"
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`)
	startSidecar(t, s.db)
	cases := map[string]struct{ query, width, zone, want string }{
		// labels
		"tokyo":        {`SELECT (ts AT TIME ZONE 'Asia/Tokyo')::date AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "UTC", fails},
		"tokyo_known":  {`SELECT (ts AT TIME ZONE 'Asia/Tokyo')::date AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "Asia/Tokyo", right},
		"tokyo_stamps": {`SELECT date_trunc('day', ts AT TIME ZONE 'Asia/Tokyo') AT TIME ZONE 'Asia/Tokyo' AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "UTC", right},
		"angeles":      {`SELECT (ts AT TIME ZONE 'America/Los_Angeles')::date AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "UTC", fails},
		"end_day":      {`SELECT date_trunc('day', ts) + interval '1 day' AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "UTC", fails},
		"end_month":    {`SELECT (date_trunc('month', ts) + interval '1 month - 1 day')::date AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 month", "UTC", fails},
		"sundays":      {`SELECT date_trunc('week', ts + interval '1 day') - interval '1 day' AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "7 days", "UTC", right},
		"bins":         {`SELECT date_bin('15 minutes', ts, '2000-01-01 00:07+00') AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "15 minutes", "UTC", right},
		"spans":        {`SELECT h AS hour, count(*) AS n FROM $, generate_series(date_trunc('hour', ts), date_trunc('hour', ts) + id * interval '1 hour', '1 hour') AS h WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"onwards":      {`WITH RECURSIVE r AS (SELECT date_trunc('hour', ts) AS hour, id, 0 AS depth FROM $ WHERE mvscheduler.in_window(ts) UNION SELECT hour + interval '1 hour', id, depth + 1 FROM r WHERE depth < 2) SELECT hour, id, depth FROM r`, "1 hour", "UTC", fails},
		"too_narrow":   {`SELECT ts::date AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 hour", "UTC", refused},
		// what is brought together
		"of_the_day":    {`SELECT date_trunc('hour', ts) AS hour, count(*) AS n, sum(count(*)) OVER (PARTITION BY date_trunc('day', ts) ORDER BY date_trunc('hour', ts)) AS total FROM $ WHERE mvscheduler.in_window(ts) GROUP BY date_trunc('hour', ts), date_trunc('day', ts)`, "1 hour", "UTC", refused},
		"share":         {`SELECT x.hour, x.n, x.n / x.whole AS share FROM (SELECT date_trunc('hour', ts) AS hour, count(*) AS n, sum(count(*)) OVER (PARTITION BY ts::date) AS whole FROM $ WHERE mvscheduler.in_window(ts) GROUP BY date_trunc('hour', ts), ts::date) AS x`, "1 hour", "UTC", refused},
		"lag_in_month":  {`WITH d AS (SELECT date_trunc('day', ts) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1) SELECT hour, n, lag(n) OVER (PARTITION BY date_trunc('month', hour) ORDER BY hour) AS before FROM d`, "1 day", "UTC", refused},
		"cohort":        {`SELECT min(date_trunc('hour', ts)) AS hour, born, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY born`, "1 hour", "UTC", refused},
		"cohort_inside": {`SELECT x.hour, count(*) AS n FROM (SELECT date_trunc('hour', min(ts)) AS hour, born FROM $ WHERE mvscheduler.in_window(ts) GROUP BY born) AS x GROUP BY 1`, "1 hour", "UTC", refused},
		"other_day":     {`SELECT date_trunc('hour', ts) AS hour, id, row_number() OVER (PARTITION BY born ORDER BY ts) AS nth FROM $ WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", refused},
		"constant":      {`SELECT date_trunc('hour', ts) AS hour, id, row_number() OVER (PARTITION BY date '2026-01-01' ORDER BY ts) AS nth FROM $ WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", refused},
		"first_of_day":  {`SELECT DISTINCT ON (born) date_trunc('hour', ts) AS hour, born, id FROM $ WHERE mvscheduler.in_window(ts) ORDER BY born, ts`, "1 hour", "UTC", refused},
		"unnamed":       {`SELECT x.h AS hour, x.n, x.n / x.whole AS share FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n, sum(count(*)) OVER (PARTITION BY ts::date) AS whole FROM $ WHERE mvscheduler.in_window(ts) GROUP BY date_trunc('hour', ts), ts::date) AS x`, "1 hour", "UTC", refused},
		"unnamed_cte":   {`WITH x AS (SELECT date_trunc('day', ts) AS d, date_trunc('hour', ts) AS h, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1, 2), y AS (SELECT h AS at, rank() OVER (PARTITION BY d ORDER BY n, h) AS place FROM x) SELECT at AS hour, place FROM y`, "1 hour", "UTC", refused},
		"unnamed_arm":   {`SELECT date_trunc('hour', ts) AS hour, 0 AS nth FROM $ WHERE mvscheduler.in_window(ts) AND id < 2 UNION ALL SELECT x.h, x.nth FROM (SELECT date_trunc('hour', ts) AS h, row_number() OVER (PARTITION BY ts::date ORDER BY ts, id) AS nth FROM $ WHERE mvscheduler.in_window(ts) AND id >= 2) AS x`, "1 hour", "UTC", refused},
		"unnamed_first": {`SELECT date_trunc('hour', x.at) AS hour, count(*) AS n FROM (SELECT DISTINCT ON (ts::date) ts AS at, ts::date AS d FROM $ WHERE mvscheduler.in_window(ts) ORDER BY ts::date, ts, id) AS x GROUP BY 1`, "1 hour", "UTC", refused},
		"misnamed":      {`SELECT x.h AS hour, x.place FROM (SELECT ts::date AS hour, date_trunc('hour', ts) AS h, rank() OVER (PARTITION BY ts::date ORDER BY ts, id) AS place FROM $ WHERE mvscheduler.in_window(ts)) AS x`, "1 hour", "UTC", refused},
		"renamed":       {`WITH x AS (SELECT ts AS at, id FROM $ WHERE mvscheduler.in_window(ts)), y AS (SELECT date_trunc('hour', at) AS h, count(*) AS n, rank() OVER (PARTITION BY date_trunc('hour', at) ORDER BY count(*)) AS place FROM x GROUP BY 1) SELECT z.h AS hour, max(z.n) AS n, max(z.place) AS place FROM y AS z GROUP BY z.h`, "1 hour", "UTC", right},
		"renamed_arms":  {`SELECT u.h AS hour, sum(u.n) AS n FROM (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) AND id < 2 GROUP BY 1 UNION ALL SELECT date_trunc('hour', ts), count(*) FROM $ WHERE mvscheduler.in_window(ts) AND id >= 2 GROUP BY 1) AS u GROUP BY 1`, "1 hour", "UTC", right},
		"by_using":      {`SELECT hour, sum(a.n) AS n FROM (SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1) AS a JOIN (SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS hour) AS b USING (hour) GROUP BY hour`, "1 hour", "UTC", right},
		"calendar":      {`SELECT b.hour, sum(a.n) AS n FROM (SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS hour) AS b JOIN (SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1) AS a ON a.h = b.hour GROUP BY 1`, "1 hour", "UTC", right},
		"cohort_array":  {`SELECT (array_agg(date_trunc('hour', ts) ORDER BY ts))[1] AS hour, born, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY born`, "1 hour", "UTC", refused},
		"cohort_sub":    {`SELECT (SELECT date_trunc('hour', min(ts))) AS hour, born, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY born`, "1 hour", "UTC", refused},
		"cohort_called": {`SELECT date_trunc('hour', (SELECT min(ts))) AS hour, born, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY born`, "1 hour", "UTC", refused},
		"first_sub":     {`SELECT DISTINCT ON (born) (SELECT date_trunc('hour', ts)) AS hour, born, id FROM $ WHERE mvscheduler.in_window(ts) ORDER BY born, ts`, "1 hour", "UTC", refused},
		"nth_array":     {`SELECT (ARRAY[date_trunc('hour', ts)])[1] AS hour, id, row_number() OVER (PARTITION BY born ORDER BY ts) AS nth FROM $ WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", refused},
		"one_of_two":    {`SELECT date_trunc('hour', coalesce(ts, born)) AS hour, id, row_number() OVER (PARTITION BY born ORDER BY ts) AS nth FROM $ WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", refused},
		"zone_asked":    {`SELECT date_trunc('hour', ts AT TIME ZONE (SELECT 'UTC')) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 hour", "UTC", right},
		"arrays":        {`SELECT (ARRAY[date_trunc('hour', ts)])[1] AS hour, born, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 hour", "UTC", right},
		"twice":         {`SELECT date_trunc('hour', ts) + (ts - ts) AS hour, id, row_number() OVER (PARTITION BY ts ORDER BY id) AS nth FROM $ WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", right},
		"sub_of_day":    {`SELECT (SELECT x.h) AS hour, x.place FROM (SELECT date_trunc('hour', ts) AS h, rank() OVER (PARTITION BY ts::date ORDER BY ts, id) AS place FROM $ WHERE mvscheduler.in_window(ts)) AS x`, "1 hour", "UTC", refused},
		"row_of_day":    {`SELECT (x.r).h AS hour, x.place FROM (SELECT y AS r, rank() OVER (PARTITION BY y.h::date ORDER BY y.ts, y.id) AS place FROM (SELECT date_trunc('hour', ts) AS h, ts, id FROM $ WHERE mvscheduler.in_window(ts)) AS y) AS x`, "1 hour", "UTC", refused},
		"all_hours":     {`SELECT b.hour, sum(a.n) AS n FROM (SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS hour) AS b, (SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1) AS a GROUP BY 1`, "1 hour", "UTC", refused},
		"days_of_hours": {`SELECT b.hour, a.place FROM (SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS hour) AS b JOIN (SELECT date_trunc('hour', ts) AS h, rank() OVER (PARTITION BY ts::date ORDER BY ts, id) AS place FROM $ WHERE mvscheduler.in_window(ts)) AS a ON a.h = b.hour`, "1 hour", "UTC", refused},
		"any":           {`SELECT b.hour FROM (SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS hour) AS b WHERE EXISTS (SELECT FROM $ WHERE mvscheduler.in_window(ts))`, "1 hour", "UTC", refused},
		"shifts":        {`SELECT b.hour, count(*) AS n FROM (SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS hour) AS b JOIN $ AS a ON a.ts >= b.hour AND a.ts < b.hour + interval '1 hour' WHERE mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", right},
		"laterally":     {`SELECT x.h AS hour, count(*) AS n, max(y) = x.h AS same FROM $ AS a CROSS JOIN LATERAL (SELECT date_trunc('hour', a.ts) AS h) AS x CROSS JOIN LATERAL date_trunc('hour', a.ts) AS y WHERE mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", right},
		"called":        {`SELECT y AS hour, count(*) AS n FROM $ AS a CROSS JOIN LATERAL date_trunc('hour', a.ts) AS y WHERE mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", right},
		"greatest":      {`SELECT date_trunc('hour', greatest(ts, born)) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"other_first":   {`SELECT date_trunc('hour', x.at) AS hour, count(*) AS n FROM (SELECT coalesce(born::timestamptz, ts) AS at FROM $ WHERE mvscheduler.in_window(ts)) AS x GROUP BY 1`, "1 hour", "UTC", refused},
		"other_alone":   {`SELECT born AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "UTC", refused},
		"pushed":        {`SELECT date_trunc('hour', ts) + id * interval '8 days' AS hour, id FROM $ WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", refused},
		"joined_time":   {`SELECT date_trunc('hour', coalesce(b.at, a.ts)) AS hour, count(*) AS n FROM $ AS a LEFT JOIN (SELECT 1 AS id, '2026-01-01'::timestamptz AS at) AS b ON b.id = a.id WHERE mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"not_compared":  {`SELECT b.at AS hour, a.id FROM $ AS a JOIN (SELECT 1 AS id, '2026-01-01'::timestamptz AS at) AS b ON b.id = a.id WHERE mvscheduler.in_window(a.ts)`, "1 hour", "UTC", refused},
		"json":          {`SELECT date_trunc('hour', coalesce((more ->> 'at')::timestamptz, ts)) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"json_below":    {`SELECT date_trunc('hour', coalesce(x.at, x.ts)) AS hour, count(*) AS n FROM (SELECT ts, (more ->> 'at')::timestamptz AS at FROM $ WHERE mvscheduler.in_window(ts)) AS x GROUP BY 1`, "1 hour", "UTC", refused},
		"flagged":       {`SELECT date_trunc('hour', CASE WHEN x.late THEN ts + '40 days' ELSE ts END) AS hour, count(*) AS n FROM (SELECT ts, more IS NOT NULL AS late FROM $ WHERE mvscheduler.in_window(ts)) AS x GROUP BY 1`, "1 hour", "UTC", refused},
		"asked":         {`SELECT date_trunc('hour', ts + (SELECT x.shift FROM (VALUES (3, interval '40 days')) AS x(id, shift) WHERE x.id = t.id)) AS hour, count(*) AS n FROM $ AS t WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"asked_itself":  {`SELECT date_trunc('hour', ts) + (SELECT t.id) * interval '8 days' AS hour, id FROM $ AS t WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", refused},
		"zones":         {`SELECT date_trunc('day', ts, x.zone) AS hour, count(*) AS n FROM $ AS t JOIN (VALUES (1, 'Asia/Tokyo'), (2, 'UTC'), (4, 'Pacific/Auckland')) AS x(id, zone) USING (id) WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "UTC", right},
		"zones_stamps":  {`SELECT date_trunc('day', ts AT TIME ZONE x.zone) AT TIME ZONE x.zone AS hour, count(*) AS n FROM $ AS t JOIN (VALUES (1, 'Asia/Tokyo'), (2, 'UTC'), (4, 'Pacific/Auckland')) AS x(id, zone) USING (id) WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "UTC", right},
		"zones_days":    {`SELECT (ts AT TIME ZONE x.zone)::date AS hour, count(*) AS n FROM $ AS t JOIN (VALUES (1, 'Asia/Tokyo'), (2, 'UTC'), (4, 'Pacific/Auckland')) AS x(id, zone) USING (id) WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 day", "UTC", refused},
		"maybe":         {`SELECT b.hour, count(*) AS n FROM (SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS hour) AS b JOIN $ AS a ON date_trunc('hour', a.ts) = b.hour OR a.id = 3 WHERE mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"so_far":        {`SELECT b.hour, count(*) AS n FROM (SELECT generate_series('2026-01-01 00:00+00'::timestamptz, '2026-04-20', '1 day') AS hour) AS b JOIN $ AS a ON a.ts <= b.hour WHERE mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"ends":          {`SELECT b.starts AS hour, count(*) AS n FROM (SELECT h AS starts, h + interval '1 hour' AS ends FROM generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS h) AS b JOIN $ AS a ON a.ts >= b.starts AND a.ts < b.ends WHERE mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", right},
		"nowhere":       {`SELECT b.hour, count(*) AS n FROM $ AS a LEFT JOIN (SELECT generate_series('2026-03-10 00:00+00'::timestamptz, '2026-03-11', '1 hour') AS hour) AS b ON date_trunc('hour', a.ts) = b.hour WHERE mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", fails},
		"gaps":          {`SELECT b AS hour, count(a.ts) AS n FROM generate_series('2026-03-10 00:00+00'::timestamptz, '2026-03-20', '1 hour') AS b LEFT JOIN $ AS a ON a.ts >= b AND a.ts < b + interval '1 hour' AND mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"gaps_below":    {`SELECT b.hour, a.n FROM (SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1) AS a RIGHT JOIN generate_series('2026-03-10 00:00+00'::timestamptz, '2026-03-20', '1 hour') AS b(hour) ON a.hour = b.hour`, "1 hour", "UTC", refused},
		"gaps_full":     {`SELECT date_trunc('hour', coalesce(a.ts, b.hour)) AS hour, count(*) AS n FROM $ AS a FULL JOIN generate_series('2026-03-10 00:00+00'::timestamptz, '2026-03-20', '1 hour') AS b(hour) ON a.ts = b.hour AND mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"no_gaps":       {`SELECT b.hour, a.n FROM (SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1) AS a RIGHT JOIN generate_series('2026-01-01 00:00+00'::timestamptz, '2026-12-31', '1 hour') AS b(hour) ON a.hour = b.hour WHERE a.n > 0`, "1 hour", "UTC", right},
		"kept_side":     {`SELECT date_trunc('hour', a.ts) AS hour, count(b) AS n FROM $ AS a LEFT JOIN (SELECT 1 AS id) AS b ON b.id = a.id AND mvscheduler.in_window(a.ts) GROUP BY 1`, "1 hour", "UTC", refused},
		"only_shown":    {`SELECT date_trunc('hour', ts) AS hour, mvscheduler.in_window(ts) AS inside FROM $`, "1 hour", "UTC", refused},
		"inner_on":      {`SELECT date_trunc('hour', a.ts) AS hour, count(*) AS n FROM $ AS a JOIN (SELECT 1 AS id UNION SELECT 3) AS b ON b.id = a.id AND mvscheduler.in_window(a.ts) LEFT JOIN (SELECT 1 AS id) AS c ON c.id = a.id GROUP BY 1`, "1 hour", "UTC", right},
		"either":        {`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) AND id < 2 OR mvscheduler.in_window(ts) AND id > 2 GROUP BY 1`, "1 hour", "UTC", right},
		"either_less":   {`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE (mvscheduler.in_window(ts) OR mvscheduler.in_window(ts) AND id > 2) AND id < 9 GROUP BY 1`, "1 hour", "UTC", right},
		"or":            {`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) OR id = 2 GROUP BY 1`, "1 hour", "UTC", refused},
		"or_unclosed":   {`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) AND id = 1 OR id = 2 GROUP BY 1`, "1 hour", "UTC", refused},
		"or_below":      {`SELECT x.hour, count(*) AS n FROM (SELECT date_trunc('hour', ts) AS hour FROM $ WHERE id > 0 AND (id = 2 OR mvscheduler.in_window(ts))) AS x GROUP BY 1`, "1 hour", "UTC", refused},
		"not":           {`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM $ WHERE NOT mvscheduler.in_window(ts) IS NULL GROUP BY 1`, "1 hour", "UTC", refused},
		"filtered":      {`SELECT date_trunc('hour', ts) AS hour, count(*) FILTER (WHERE mvscheduler.in_window(ts)) AS n FROM $ WHERE ts > '2000-01-01' GROUP BY 1`, "1 hour", "UTC", refused},
		"never":         {`SELECT CASE WHEN ts < '2026-03-15' THEN date_trunc('hour', ts) ELSE 'infinity' END AS hour, count(*) AS n FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1`, "1 hour", "UTC", fails},
		"within":        {`SELECT date_trunc('hour', ts) AS hour, id, row_number() OVER (PARTITION BY date_trunc('hour', ts) ORDER BY ts, id) AS nth FROM $ WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", right},
		"instants":      {`SELECT date_trunc('hour', ts) AS hour, id, row_number() OVER (PARTITION BY ts ORDER BY id) AS nth FROM $ WHERE mvscheduler.in_window(ts)`, "1 hour", "UTC", right},
		"finer":         {`SELECT date_trunc('day', x.hours) AS hour, max(n) AS n, max(x.place) AS place FROM (SELECT date_trunc('hour', ts) AS hours, count(*) AS n, rank() OVER (PARTITION BY date_trunc('hour', ts) ORDER BY count(*)) AS place FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1) AS x GROUP BY 1`, "1 day", "UTC", right},
		"top":           {`WITH x AS (SELECT date_trunc('hour', ts) AS hour, id, count(*) AS n, rank() OVER (PARTITION BY date_trunc('hour', ts) ORDER BY count(*), id) AS place FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1, 2) SELECT hour, id, n FROM x WHERE place < 3`, "1 hour", "UTC", right},
		"casts":         {`SELECT ts::date AS hour, born, array_agg(id ORDER BY id) AS ids, min(ts) AS first FROM $ WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "1 day", "UTC", right},
		"last_of":       {`SELECT DISTINCT ON (hour, born) date_trunc('hour', ts) AS hour, born, id FROM $ WHERE mvscheduler.in_window(ts) ORDER BY hour, born, ts DESC`, "1 hour", "UTC", right},
	}
	for _, name := range drawn(t, 40, slices.Sorted(maps.Keys(cases))) {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, s.outcome(t, name, c.query, c.width, c.zone), refused)
		})
	}
}

// A table to which nobody writes any more: the first fill is all that there is.
func TestAFirstFillLeavesOutNoRowsWhoseLabelsAreFarAway(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE past AS SELECT ts FROM generate_series('2025-10-05 12:00+00'::timestamptz, '2026-02-10 12:00+00', '1 hour') AS ts`)
	startSidecar(t, s.db)
	for name, c := range map[string]struct{ label, zone, want string }{
		"tokyo":       {`(ts AT TIME ZONE 'Asia/Tokyo')::date`, "UTC", "is not the start of a bucket"},
		"angeles":     {`(ts AT TIME ZONE 'America/Los_Angeles')::date`, "UTC", ""}, // within what is read
		"tokyo_known": {`(ts AT TIME ZONE 'Asia/Tokyo')::date`, "Asia/Tokyo", ""},
		"bins":        {`date_bin('1 day', ts, '2000-01-01 05:30+00')`, "UTC", ""},
	} {
		s.incremental(t, name, `SELECT `+c.label+` AS hour, count(*) AS n FROM past WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "1 day", "retention_period", "100 years", "timezone", c.zone, "max_attempts", 1) // partitions of a year
		run := `FROM mvscheduler.runs WHERE view_name = '` + s.owner + `.` + name + `'`
		until(t, s.alice, `SELECT count(*) > 0 AND bool_and(state NOT IN ('queued', 'running')) `+run)
		failed := ask[string](t, s.alice, `SELECT coalesce(string_agg(error, ' '), '') `+run)
		if c.want != "" {
			require.Contains(t, failed, c.want, name)
			continue
		}
		require.Equal(t, "", failed, name)
		same(t, s.alice, name)
		// A wide range, as counters tell it, ends within buckets.
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.mark_dirty('`+name+`', '2026-01-05 00:00+00', '2026-01-08 00:00+00'), mvscheduler.refresh_view('`+name+`')`)
		until(t, s.alice, `SELECT count(*) > 1 AND bool_and(state NOT IN ('queued', 'running')) `+run)
		if state := ask[string](t, s.alice, `SELECT concat_ws(' ', state, error) `+run+` ORDER BY id DESC LIMIT 1`); name == "angeles" {
			require.Contains(t, state, "is not the start of a bucket")
			continue
		}
		same(t, s.alice, name)
	}
}

// outcome registers a view on a table of its own and tells what becomes of it: refused, fails, right, or what differs.
func (s *scene) outcome(t *testing.T, name, query, width, zone string) string {
	pgtest.Exec(t, s.alice, `CREATE TABLE t_`+name+` (ts timestamptz NOT NULL, id int, born date, more jsonb)`, `SET TimeZone = '`+zone+`'`)
	t.Cleanup(func() { pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name = '`+name+`'`) })
	if _, err := s.alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on, timezone, max_attempts) VALUES ($1, $2, 'incremental', 'hour', $3::text::interval, 'manual', $4, 1)`,
		name, strings.ReplaceAll(query, "$", "t_"+name), width, zone); err != nil {
		require.Regexp(t, "rows of several buckets would be|the query gives rows that in_window does not leave out|is not computed from the column that in_window is asked about alone|cuts hour by 1 day, and bucket_width is 01:00:00", err.Error(), "and not for something else")
		return "refused"
	}
	for i, ts := range []string{"2026-03-10 12:00", "2026-03-10 23:30", "2026-03-20 01:00", "2026-03-10 05:30", "2026-03-20 20:00", "2026-04-20 20:00", "2026-03-10 12:10"} {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO t_%s VALUES ('%s+00', %d, '2026-03-%d')`, name, ts, i+1, 10+i%2))
		run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view($1)`, name)
		const ended = ` FROM mvscheduler.runs AS r LEFT JOIN mvscheduler.runs AS j ON j.id = r.joined_run WHERE r.id = $1`
		until(t, s.alice, `SELECT EXISTS (SELECT`+ended+` AND coalesce(j.state, r.state) NOT IN ('queued', 'running'))`, run)
		if state := ask[string](t, s.alice, `SELECT concat_ws(' ', coalesce(j.state, r.state), coalesce(j.error, r.error))`+ended, run); state != "succeeded" {
			require.Contains(t, state, "is not the start of a bucket")
			return "fails"
		}
		s.committed(t)
		if differ := ask[string](t, s.alice, fmt.Sprintf(`SELECT concat_ws(' / ', (SELECT string_agg(q::text, ' ' ORDER BY q::text) FROM %[1]s__query AS q), (SELECT coalesce(string_agg(q::text, ' ' ORDER BY q::text), 'nothing') FROM %[1]s AS q))`, name)); true {
			if left, right, _ := strings.Cut(differ, " / "); left != right {
				return fmt.Sprintf("row %d: the query gives %s, the view has %s", i, left, right)
			}
		}
	}
	return "right"
}
