package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Of the first of them what is before the border was not built: these rows are in no bucket that was.
func TestHowFarBucketsThatBeginBeforeTheBorderOfWhatWasBuiltReach(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE stamped (ts timestamptz)`, `CREATE TABLE bare (ts timestamp)`)
	for name, c := range map[string]struct{ border, cut, width, zone, label, source, want string }{
		"days by UTC":                     {"2026-03-02 00:00+00", `date_trunc('day', ts)`, "1 day", "UTC", "timestamptz", "stamped", "00:00:00"},
		"days by a zone behind":           {"2026-03-02 00:00+00", `date_trunc('day', ts)`, "1 day", "America/Los_Angeles", "timestamptz", "stamped", "longest"},
		"days by UTC, as the query says":  {"2026-03-02 00:00+00", `date_trunc('day', ts, 'UTC')`, "1 day", "America/Los_Angeles", "timestamptz", "stamped", "00:00:00"},
		"hours by a zone behind":          {"2026-03-02 00:00+00", `date_trunc('hour', ts)`, "1 hour", "America/Los_Angeles", "timestamptz", "stamped", "00:00:00"},
		"hours by a zone of half an hour": {"2026-03-02 00:00+00", `date_trunc('hour', ts)`, "1 hour", "Asia/Kathmandu", "timestamptz", "stamped", "longest"},
		"weeks from Monday":               {"2026-03-02 00:00+00", `date_trunc('week', ts)`, "7 days", "UTC", "timestamptz", "stamped", "00:00:00"},
		"weeks from Tuesday":              {"2026-03-03 00:00+00", `date_trunc('week', ts)`, "7 days", "UTC", "timestamptz", "stamped", "longest"},
		"months from the first":           {"2026-03-01 00:00+00", `date_trunc('month', ts)`, "1 month", "UTC", "timestamptz", "stamped", "00:00:00"},
		"months from the second":          {"2026-03-02 00:00+00", `date_trunc('month', ts)`, "1 month", "UTC", "timestamptz", "stamped", "longest"},
		"quarters from April":             {"2026-04-01 00:00+00", `date_trunc('quarter', ts)`, "3 months", "UTC", "timestamptz", "stamped", "00:00:00"},
		"quarters from March":             {"2026-03-01 00:00+00", `date_trunc('quarter', ts)`, "3 months", "UTC", "timestamptz", "stamped", "longest"},
		"years from January":              {"2026-01-01 00:00+00", `date_trunc('year', ts)`, "1 year", "UTC", "timestamptz", "stamped", "00:00:00"},
		"years from February":             {"2026-02-01 00:00+00", `date_trunc('year', ts)`, "1 year", "UTC", "timestamptz", "stamped", "longest"},
		"bins from midnight":              {"2026-03-02 00:00+00", `date_bin('12 hours', ts, '2020-01-01 00:00+00')`, "12 hours", "America/Los_Angeles", "timestamptz", "stamped", "00:00:00"},
		"bins from six":                   {"2026-03-02 00:00+00", `date_bin('12 hours', ts, '2020-01-01 06:00+00')`, "12 hours", "UTC", "timestamptz", "stamped", "longest"},
		"bins without a zone":             {"2026-03-02 00:00+00", `date_bin('12 hours', ts, '2020-01-01 06:00')`, "12 hours", "UTC", "timestamp", "bare", "longest"},
		"nobody knows how":                {"2026-03-02 00:00+00", `least(date_trunc('day', ts), ts)`, "1 day", "UTC", "timestamptz", "stamped", "longest"},
		"dates of a zone behind":          {"2026-03-02 00:00+00", `(ts AT TIME ZONE 'America/Los_Angeles')::date`, "1 day", "America/Los_Angeles", "date", "stamped", "08:00:00"},
		"dates of a zone ahead":           {"2026-03-02 00:00+00", `(ts AT TIME ZONE 'Asia/Tokyo')::date`, "1 day", "Asia/Tokyo", "date", "stamped", "00:00:00"},
		"labels get a zone ahead":         {"2026-03-02 00:00+00", `date_bin('1 hour', ts AT TIME ZONE 'Asia/Tokyo', '2020-01-01 00:00+00')`, "1 hour", "Asia/Tokyo", "timestamptz", "bare", "at least 9 hours"},
		"without zones":                   {"2026-03-02 00:00+00", `date_trunc('day', ts)`, "1 day", "America/Los_Angeles", "timestamp", "bare", "00:00:00"},
		"all was built":                   {"-infinity", `date_trunc('day', ts)`, "1 day", "America/Los_Angeles", "timestamptz", "stamped", "00:00:00"},
	} {
		pgtest.Exec(t, s.alice, `CREATE VIEW cuts AS SELECT `+c.cut+` AS at FROM `+c.source+` WHERE mvscheduler.in_window(ts)`)
		got := ask[string](t, s.alice, `
SELECT CASE WHEN f.straddle = mvscheduler.longest($2::text::interval) THEN 'longest' WHEN f.straddle > '9 hours' THEN 'at least 9 hours' ELSE f.straddle::text END
  FROM pg_attribute AS a, pg_attribute AS l, mvscheduler.straddle(l.attrelid, 'at', $1::text::timestamptz, $2::text::interval, $3, l.atttypid, a.atttypid) AS f(straddle)
 WHERE l.attrelid = $4::text::regclass AND l.attname = 'at' AND a.attrelid = $5::text::regclass AND a.attname = 'ts'`, c.border, c.width, c.zone, "cuts", c.source)
		require.Equal(t, c.want, got, name)
		pgtest.Exec(t, s.alice, `DROP VIEW cuts`)
	}
}
