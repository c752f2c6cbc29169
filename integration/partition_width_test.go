package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestTheWidthOfPartitionsGoesByBucketsRetentionAndData(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, c := range []struct{ unit, bucket, period string }{
		{"day", "1 minute", "infinity"}, {"day", "1 minute", "1 year"}, {"week", "1 minute", "3 years"}, {"month", "1 minute", "20 years"},
		{"month", "1 hour", "infinity"}, {"month", "1 hour", "5 years"}, {"year", "1 hour", "110 years"},
		{"day", "1 hour", "20 days"}, {"year", "1 day", "20 years"}, {"century", "1 month", "infinity"},
	} {
		require.Equal(t, c.unit, ask[string](t, s.root, `SELECT mvscheduler.partition_unit($1::text::interval, CASE WHEN $2 <> 'infinity' THEN $2::text::interval END)`, c.bucket, c.period), c)
	}
	const gigabyte = int64(1) << 30
	for _, c := range []struct {
		want, unit, bucket string
		bytes              int64
		extent             string
	}{
		{"month", "month", "1 hour", 8 * gigabyte, "1 minute"},
		{"month", "month", "1 hour", 90 * gigabyte, "1 year"},
		{"week", "month", "1 hour", 100 * gigabyte, "1 year"},
		{"day", "month", "1 hour", 900 * gigabyte, "1 year"},
		{"day", "month", "1 hour", 9000 * gigabyte, "1 year"},     // no better is possible
		{"month", "month", "1 hour", 600 * gigabyte, "56 years"},  // one row may be of 1970
		{"month", "month", "1 hour", 600 * gigabyte, "-1 second"}, // all is older than what is kept
		{"day", "month", "1 hour", 10 * gigabyte, "0"},            // of one day there is no more than that
		{"month", "year", "1 day", 80 * gigabyte, "1 year"},
		{"week", "century", "1 week", 9000 * gigabyte, "1 year"}, // no narrower than a bucket
		{"month", "month", "1 hour", 0, "1 year"},
	} {
		require.Equal(t, c.want, ask[string](t, s.root, `SELECT mvscheduler.finer_unit($1, $2::text::interval, $3, $4::text::interval)`, c.unit, c.bucket, c.bytes, c.extent), c)
	}
	for _, c := range []struct {
		want, unit, bucket, period string
		built                      int
	}{
		{"day", "day", "1 minute", "infinity", 0}, {"day", "day", "1 minute", "infinity", 199}, {"week", "day", "1 minute", "infinity", 200}, {"month", "day", "1 minute", "infinity", 300},
		{"century", "day", "1 minute", "infinity", 5000}, {"week", "day", "1 minute", "299 days", 5000}, {"day", "day", "1 minute", "60 days", 5000}, {"century", "century", "1 year", "10 years", 5000},
	} {
		require.Equal(t, c.want, ask[string](t, s.root, `SELECT mvscheduler.coarser_unit($1, $2::text::interval, CASE WHEN $3 <> 'infinity' THEN $3::text::interval END, $4)`, c.unit, c.bucket, c.period, c.built), c)
	}
}

// A constant stands for hundreds of partitions, and for gigabytes.
func TestWhatIsOldComesInWiderPartitions(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.root, `CREATE OR REPLACE FUNCTION mvscheduler.partitions_of_a_unit() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 5`)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE readings (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON readings (ts)`,
		`INSERT INTO readings SELECT t, d, d FROM generate_series(date_trunc('day', now(), 'UTC') - interval '150 days', now(), '12 hours') AS t, generate_series(1, 2) AS d`,
		`INSERT INTO readings VALUES ('1970-01-01 00:00+00', 1, 1)`)
	s.minutely(t, "v")
	s.minutely(t, "young", "retention_period", "100 days")
	startSidecar(t, s.db)
	s.incremented(t, "v", "young")
	same(t, s.alice, "v")
	const widths = `SELECT string_agg(days || ' x ' || n, ', ' ORDER BY days) FROM (SELECT CASE WHEN p.hi - p.lo <= '1 day' THEN 1 WHEN p.hi - p.lo <= '7 days' THEN 7 WHEN p.hi - p.lo <= '31 days' THEN 31 ELSE 366 END AS days, count(*) AS n
		FROM mvscheduler.partitions_of($1::text::regclass) AS p GROUP BY 1) AS w`
	parts := func(view string) string { return ask[string](t, s.root, widths, s.owner+"."+view+"__data") }
	require.Regexp(t, `^1 x 1\d, 7 x [456], 31 x [456](, 366 x 1)?$`, parts("v"), "what is left of a week or a month is narrower")
	require.Equal(t, "day", ask[string](t, s.root, `SELECT mvscheduler.unit_in_force($1::text::regclass)`, s.owner+".v__data"))

	// Of what is kept for 100 days a partition holds no more than a week, and what is in the oldest is followed as a whole.
	require.Regexp(t, `^1 x 1\d, 7 x 1\d$`, parts("young"))
	oldest := func() string {
		return ask[string](t, s.root, `SELECT min(p.lo)::text FROM mvscheduler.partitions_of($1::text::regclass) AS p`, s.owner+".young__data")
	}
	from := oldest()
	require.True(t, ask[bool](t, s.alice, `SELECT '`+from+`+00'::timestamptz BETWEEN now() - interval '109 days' AND now() - interval '100 days'`), from)
	pgtest.Exec(t, s.alice, `UPDATE readings SET value = value + 1`)
	s.incremented(t, "v", "young")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `CREATE VIEW kept AS SELECT * FROM young WHERE minute >= '`+from+`+00'`, `CREATE VIEW kept__query AS SELECT * FROM young__query WHERE minute >= '`+from+`+00'`)
	same(t, s.alice, "kept")
	require.Equal(t, from, oldest())

	// The row asks for what it asked for, whatever became of it: nothing is built anew.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET bucket_width = '2 minutes'`)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`))
}

func TestOfALargeTablePartitionsAreNarrower(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.root, `CREATE OR REPLACE FUNCTION mvscheduler.partition_bytes() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 100000`)
	s.readings(t, 60)
	s.incremental(t, "v", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, "week", ask[string](t, s.root, `SELECT mvscheduler.unit_in_force($1::text::regclass)`, s.owner+".v__data"), ask[int64](t, s.root, `SELECT mvscheduler.bytes_below($1::text::regclass)`, s.owner+".readings"))
	weeks := ask[int](t, s.alice, `SELECT count(DISTINCT date_trunc('week', hour, 'UTC'))::int FROM v`) // 9 from Friday to Sunday, else 10
	require.Contains(t, s.last(t, "v", "reason"), fmt.Sprintf(" in %d partitions", weeks))

	// Other columns, and back before they are built.
	for range 2 {
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('v')`, `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS sum')`)
		require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`))
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'AS sum', 'AS total')`)
		require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`), "an UPDATE back cancels it")
	}
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`, `UPDATE readings SET value = 0 WHERE device = 1`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}
