package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The days of Los Angeles begin at seven or eight by UTC, partitions at midnight. The first day that was built is that after the midnight by
// which the border was drawn: of the partition that begins there the months never got the hours before it.
func TestRawDataStayOfWhichTheBucketBegunBeforeTheBorderOfWhatWasBuilt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 4)
	const zone = "America/Los_Angeles"
	s.incremental(t, "local", `SELECT date_trunc('day', ts, '`+zone+`') AS day, device, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`,
		"time_column", "day", "bucket_width", "1 day", "timezone", zone, "retention_period", olderThan(4))
	s.incremental(t, "monthly", `SELECT date_trunc('month', day, '`+zone+`') AS month, device, sum(n) AS n FROM local WHERE mvscheduler.in_window(day) GROUP BY 1, 2`,
		"time_column", "month", "bucket_width", "1 month", "timezone", zone, "refresh_on", "upstream")
	startSidecar(t, s.db)
	s.incremented(t, "local", "monthly")
	require.Less(t, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM monthly`), ask[int64](t, s.alice, `SELECT count(*) FROM readings`))
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '`+olderThan(2)+`')`)
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
	require.Zero(t, out.code, out.stderr)
	require.Regexp(t, `m4 .*keep .*view \S+\.monthly may lack rows of \S+\.readings_m4, which it would keep, since view \S+\.local`, out.stdout)
	require.Equal(t, int64(6), s.leaves(t))
}

// Days that begin where partitions do were built of all that is in the first of them.
func TestRawDataLeaveOfWhichTheBucketsBeginAtTheBorderOfWhatWasBuilt(t *testing.T) {
	heavy(t)
	t.Parallel()
	for name, query := range map[string]string{
		"date_trunc": `SELECT date_trunc('day', ts, 'UTC') AS day, device, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`,
		"date_bin":   `SELECT date_bin('1 day', ts, '2000-01-01 00:00+00') AS day, device, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.readings(t, 4)
			s.incremental(t, "local", query, "time_column", "day", "bucket_width", "1 day", "retention_period", olderThan(4))
			s.incremental(t, "monthly", `SELECT date_trunc('month', day, 'UTC') AS month, device, sum(n) AS n FROM local WHERE mvscheduler.in_window(day) GROUP BY 1, 2`,
				"time_column", "month", "bucket_width", "1 month", "refresh_on", "upstream")
			startSidecar(t, s.db)
			s.incremented(t, "local", "monthly")
			all := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
			require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM monthly`))
			pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '`+olderThan(2)+`')`)
			until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.kept WHERE detached_at IS NOT NULL)`)
			require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM monthly`))
		})
	}
}

// Bins that begin at six, where partitions begin at midnight: the border of what was built is a midnight, and the bin in which it lies was
// not built. Of a query that does not show how it cuts the same is feared.
func TestRawDataStayOfWhichABinBegunBeforeTheBorderOfWhatWasBuilt(t *testing.T) {
	heavy(t)
	t.Parallel()
	for name, day := range map[string]string{
		"of an origin":  `date_bin('1 day', ts, '2000-01-01 06:00+00')`,
		"of an unknown": `date_trunc('day', ts - interval '6 hours', 'UTC') + interval '6 hours'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.readings(t, 4)
			s.incremental(t, "local", `SELECT `+day+` AS day, device, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`,
				"time_column", "day", "bucket_width", "1 day", "retention_period", olderThan(4))
			s.incremental(t, "monthly", `SELECT date_trunc('month', day, 'UTC') AS month, device, sum(n) AS n FROM local WHERE mvscheduler.in_window(day) GROUP BY 1, 2`,
				"time_column", "month", "bucket_width", "1 month", "refresh_on", "upstream")
			startSidecar(t, s.db)
			s.incremented(t, "local", "monthly")
			require.Less(t, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM monthly`), ask[int64](t, s.alice, `SELECT count(*) FROM readings`))
			pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '`+olderThan(2)+`')`)
			out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
			require.Zero(t, out.code, out.stderr)
			require.Regexp(t, `m4 .*keep .*view \S+\.monthly may lack rows of \S+\.readings_m4, which it would keep, since view \S+\.local`, out.stdout)
			require.Equal(t, int64(6), s.leaves(t))
		})
	}
}
