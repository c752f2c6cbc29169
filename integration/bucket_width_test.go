package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The query cuts wider than bucket_width says. No try can succeed before somebody changes the row, so there is one, and the reason is
// about the row and neither about data nor about what a step is made of.
func TestAWrongBucketWidthPausesTheViewAndSaysWhatToChange(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	const daily = `SELECT date_bin('1 day', ts, '2000-01-01 00:00+00') + interval '0' AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`
	s.incremental(t, "filled", daily)
	pgtest.Exec(t, s.alice, `CREATE TABLE late (ts timestamptz NOT NULL)`, `INSERT INTO late VALUES ('2026-03-02 00:10+00')`)
	s.incremental(t, "went_on", `SELECT date_bin('1 day', ts, '2000-01-01 00:00+00') + interval '0' AS hour, count(*) AS n FROM late WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "went_on")
	pgtest.Exec(t, s.alice, `INSERT INTO late VALUES ('2026-03-02 20:10+00')`)
	for _, view := range []string{"filled", "went_on"} {
		says := s.outcomeOf(t, view)
		require.Contains(t, says, "which is not the start of a bucket of 01:00:00")
		require.Contains(t, says, "Set bucket_width to how wide the query cuts")
		require.Equal(t, 1, strings.Count(says, "bucket_width"), "said once: %s", says)
		require.Contains(t, says, "or change the query")
		require.NotContains(t, says, "CONTEXT")
		require.NotContains(t, says, "Mend the data")
		require.True(t, ask[bool](t, s.root, `SELECT count(*) > 0 AND count(*) = count(DISTINCT a.run_id) FROM mvscheduler.attempt AS a JOIN mvscheduler.run AS r ON r.id = a.run_id WHERE r.view_name = $1 AND a.outcome = 'failed'`, s.owner+"."+view))
		require.Contains(t, ask[string](t, s.alice, `SELECT activity || ': ' || reason FROM mvscheduler.status WHERE name = $1`, s.owner+"."+view), "paused: paused by mvscheduler: a row between")
		require.Equal(t, 1, strings.Count(ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE name = $1`, s.owner+"."+view), "bucket_width"))
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET bucket_width = '1 day' WHERE name = '`+s.owner+`.`+view+`'`)
		s.incremented(t, view)
		same(t, s.alice, view)
	}
}

// In the middle of much that is computed in one pass, where no row beside a window tells of it.
func TestABucketThatIsFarFromItsRowsFailsAWideRefresh(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) + CASE WHEN extract(second FROM ts) = 7 THEN interval '400 days' ELSE interval '0' END AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "max_attempts", 1)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET rows_estimate = 10000000`) // computed in one pass
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT ts, 9, 9 FROM metrics WHERE device = 1 UNION ALL SELECT '2026-03-02 12:00:07+00', 9, 9`)
	require.Contains(t, s.outcomeOf(t, "v"), "has 2027-04-06 12:00:00+00 in column hour, which is not the start of a bucket")
}

// The first fill reads whole partitions and has not noticed it. A row beside the window of a wide range, whose label is within, would be left out.
func TestARowBesideTheWindowOfAWideRefreshWhoseBucketIsWithinFailsIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ row, shift, changed, says string }{
		"after it":  {"2026-03-03 12:30:07+00", "-10 hours", "ts <= '2026-03-03 09:10+00'", "has 2026-03-03 02:00:00+00 in column hour"},
		"before it": {"2026-03-02 06:30:07+00", "10 hours", "ts >= '2026-03-02 10:00+00'", "has 2026-03-02 16:00:00+00 in column hour"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('`+c.row+`', 1, 1)`)
			s.incremental(t, "v", `SELECT date_trunc('hour', ts) + CASE WHEN extract(second FROM ts) = 7 THEN interval '`+c.shift+`' ELSE interval '0' END AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "max_attempts", 1)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT ts, 9, 9 FROM metrics WHERE device = 1 AND `+c.changed+` AND ts NOT IN ('`+c.row+`')`)
			require.Contains(t, s.outcomeOf(t, "v"), c.says)
		})
	}
}

// Where the query says itself how wide it cuts, nothing has to be computed to know that it is wider.
func TestABucketWidthThatDateTruncContradictsIsRefused(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	query := func(unit string) string {
		return `SELECT date_trunc('` + unit + `', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`
	}
	for i, c := range []struct{ unit, width, set string }{
		{"day", "1 hour", "1 day"}, {"week", "1 day", "1 week"}, {"month", "1 week", "1 month"}, {"quarter", "1 month", "3 months"}, {"year", "3 months", "1 year"},
		{"hour", "1 minute", ""}, {"hour", "1 day", ""}, {"month", "31 days", ""}, {"year", "366 days", ""}, {"quarter", "3 months", ""}, {"day", "23 hours", ""}, // an hour longer, when clocks are set back
	} {
		insert := fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES ('v%d', %s, 'incremental', 'hour', '%s')`, i, quote(query(c.unit)), c.width)
		if c.set == "" {
			pgtest.Exec(t, s.alice, insert)
			continue
		}
		told := says(t, s.alice, "22023", insert)
		require.Contains(t, told, "cuts hour by "+c.unit+", and bucket_width is ")
		require.Contains(t, told, "Set bucket_width to '"+c.set+"'")
	}
	for i, c := range []struct{ label, width, cut string }{
		{`date_bin('1 day', ts, '2000-01-01 00:00+00')`, "1 hour", "1 day"}, {`date_bin('90 minutes', ts, '2000-01-01 00:00+00')`, "10 minutes", "01:30:00"}, {`date_bin('15 minutes', ts, '2000-01-01 00:00+00')`, "1 minute", ""},
		{`ts::date`, "1 hour", "1 day"}, {`(ts AT TIME ZONE 'Europe/Berlin')::date`, "1 hour", "1 day"}, {`ts::date`, "1 day", ""}, {`date_trunc('month', ts)::date`, "1 day", "month"},
		{`date_trunc('week', ts AT TIME ZONE 'Europe/Berlin')`, "1 day", "week"}, {`date_trunc('day', ts, 'Europe/Berlin')`, "1 hour", "day"},
		{`date_trunc('day', ts) + date_trunc('hour', ts - date_trunc('day', ts))`, "1 hour", ""}, {`date_trunc('day', ts) + interval '0'`, "1 hour", ""},
	} {
		insert := fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES ('w%d', %s, 'incremental', 'hour', '%s')`, i,
			quote(`SELECT `+c.label+` AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`), c.width)
		if c.cut == "" {
			pgtest.Exec(t, s.alice, insert)
			continue
		}
		require.Contains(t, says(t, s.alice, "22023", insert), "cuts hour by "+c.cut+", and bucket_width is ", c.label)
	}
	s.incremental(t, "v", query("day"), "bucket_width", "1 day")
	for _, change := range []string{`bucket_width = '1 hour'`, `bucket_width = '2 hours'`, `query = ` + quote(query("month")), `bucket_width = '1 minute'`} {
		require.Contains(t, says(t, s.alice, "22023", `UPDATE mvscheduler.views SET `+change+` WHERE name LIKE '%.v'`), "and bucket_width is ")
	}
}

// Clocks that are set back make a bucket an hour longer, so that much is read.
func TestABucketMayLastAnHourLongerThanItsWidth(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "bucket_width", "1 minute")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	for _, statement := range []string{
		`INSERT INTO metrics VALUES ('2026-03-02 10:00+00', 1, 1)`,
		`INSERT INTO metrics VALUES ('2026-03-02 11:59:59.999999+00', 2, 2)`,
		`UPDATE metrics SET ts = '2026-03-03 05:30+00' WHERE ts = '2026-03-02 10:30+00'`,
		`DELETE FROM metrics WHERE ts >= '2026-03-02 11:20+00' AND ts < '2026-03-02 13:40+00'`,
		`INSERT INTO metrics VALUES ('2026-03-20 23:59+00', 1, 1)`,
	} {
		pgtest.Exec(t, s.alice, statement)
		s.incremented(t, "v")
		same(t, s.alice, "v")
		require.Regexp(t, `^[0-9]{1,2} `, s.last(t, "v", "buckets || ' ' || changed"), statement)
	}
}

// After its middle or its end, as some call them: what a bucket may be away from its rows leaves room for an hour.
func TestBucketsThatAreCalledWithinAnHourOfTheirStartAreComputedRight(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	var views []string
	for _, c := range []struct{ label, width string }{
		{`date_trunc('hour', ts) + interval '30 minutes'`, "1 hour"}, {`date_trunc('hour', ts) + interval '1 hour'`, "1 hour"}, {`date_trunc('hour', ts) - interval '1 hour'`, "1 hour"},
		{`date_bin('15 minutes', ts, '2000-01-01 00:00+00') + interval '1 hour'`, "15 minutes"}, {`date_trunc('day', ts) + interval '1 hour'`, "1 day"}, {`date_trunc('day', ts) - interval '1 hour'`, "1 day"},
	} {
		views = append(views, fmt.Sprintf("v%d", len(views)))
		s.incremental(t, views[len(views)-1], `SELECT `+c.label+` AS hour, device, count(*) AS n, sum(value) AS total FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "bucket_width", c.width)
	}
	startSidecar(t, s.db)
	for _, statement := range []string{
		`SELECT`, // the first fill
		`INSERT INTO metrics VALUES ('2026-03-02 10:00+00', 1, 1)`,
		`INSERT INTO metrics VALUES ('2026-03-02 11:59:59.999999+00', 2, 2)`,
		`INSERT INTO metrics VALUES ('2026-03-03 00:00+00', 2, 2), ('2026-03-03 23:59:59.999999+00', 2, 2)`,
		`INSERT INTO metrics VALUES ('2026-03-02 01:59+00', 1, 1)`,
		`INSERT INTO metrics VALUES ('2026-03-02 22:01+00', 1, 1)`,
		`UPDATE metrics SET ts = '2026-03-03 05:30+00' WHERE ts = '2026-03-02 10:30+00'`,
		`DELETE FROM metrics WHERE ts >= '2026-03-02 11:20+00' AND ts < '2026-03-02 13:40+00'`,
		`INSERT INTO metrics VALUES ('2026-03-20 23:59+00', 1, 1)`,
	} {
		pgtest.Exec(t, s.alice, statement)
		s.incremented(t, views...)
		for _, view := range views {
			same(t, s.alice, view)
		}
	}
}

// More than an hour away, the row that has changed may be well and the bucket beside it be cut off by the window: the rows beside that tell.
func TestABucketThatIsCalledFartherFromItsStartIsNotCutOffByWhatChangesBesideIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ label, newest, row string }{ // the fill looks at the newest row, which is well
		"later":   {`date_trunc('day', ts) + interval '90 minutes'`, "2026-03-05 12:00+00", "2026-03-03 02:25+00"},
		"earlier": {`date_trunc('day', ts) - interval '90 minutes'`, "2026-03-05 12:00+00", "2026-03-02 21:35+00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('`+c.newest+`', 1, 1)`)
			s.incremental(t, "v", `SELECT `+c.label+` AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "1 day")
			startSidecar(t, s.db)
			s.incremented(t, "v")
			before := ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`)
			pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('`+c.row+`', 1, 1)`)
			says := s.outcomeOf(t, "v")
			require.Equal(t, before, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
			require.Contains(t, says, "which is not the start of a bucket of")
		})
	}
}

// Of a bucket's width says an error nothing that the condition is to blame for.
func TestAWindowThatOtherConditionsGetRoundIsRefusedWithTheConditionToWrite(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	const insert = `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES ('v', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM metrics WHERE %s GROUP BY 1', 'incremental', 'hour', '1 hour')`
	told := says(t, s.alice, "0A000", fmt.Sprintf(insert, "mvscheduler.in_window(ts) OR device = 1"))
	for _, want := range []string{"rows that in_window does not leave out", "WHERE mvscheduler.in_window(ts) AND (... OR ...)"} {
		require.Contains(t, told, want)
	}
	pgtest.Exec(t, s.alice, fmt.Sprintf(insert, "mvscheduler.in_window(ts) AND (device = 1 OR device = 2)"))
}
