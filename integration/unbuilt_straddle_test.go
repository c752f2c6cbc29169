package integration

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Of the first of them what is before the border was not built: these rows are in no bucket that was.
func TestHowFarBucketsThatBeginBeforeTheBorderOfWhatWasBuiltReach(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for name, c := range map[string]struct{ border, width, zone, label, source, want string }{
		"days by UTC":                           {"2026-03-02 00:00+00", "1 day", "UTC", "timestamptz", "timestamptz", "0"},
		"days by a zone behind":                 {"2026-03-02 00:00+00", "1 day", "America/Los_Angeles", "timestamptz", "timestamptz", "longest"},
		"hours by a zone behind":                {"2026-03-02 00:00+00", "1 hour", "America/Los_Angeles", "timestamptz", "timestamptz", "0"},
		"hours by a zone of half an hour":       {"2026-03-02 00:00+00", "1 hour", "Asia/Kathmandu", "timestamptz", "timestamptz", "longest"},
		"weeks from Monday":                     {"2026-03-02 00:00+00", "7 days", "UTC", "timestamptz", "timestamptz", "0"},
		"weeks from Tuesday":                    {"2026-03-03 00:00+00", "7 days", "UTC", "timestamptz", "timestamptz", "longest"},
		"months from the first":                 {"2026-03-01 00:00+00", "1 month", "UTC", "timestamptz", "timestamptz", "0"},
		"months from the second":                {"2026-03-02 00:00+00", "1 month", "UTC", "timestamptz", "timestamptz", "longest"},
		"quarters from April":                   {"2026-04-01 00:00+00", "3 months", "UTC", "timestamptz", "timestamptz", "0"},
		"quarters from March":                   {"2026-03-01 00:00+00", "3 months", "UTC", "timestamptz", "timestamptz", "longest"},
		"years from January":                    {"2026-01-01 00:00+00", "1 year", "UTC", "timestamptz", "timestamptz", "0"},
		"years from February":                   {"2026-02-01 00:00+00", "1 year", "UTC", "timestamptz", "timestamptz", "longest"},
		"two months, of an origin nobody knows": {"2026-03-01 00:00+00", "2 months", "UTC", "timestamptz", "timestamptz", "longest"},
		"labels lose a zone behind":             {"2026-03-02 00:00+00", "1 day", "America/Los_Angeles", "timestamp", "timestamptz", "8 hours"},
		"dates of a zone behind":                {"2026-03-02 00:00+00", "1 day", "America/Los_Angeles", "date", "timestamptz", "8 hours"},
		"labels lose a zone ahead":              {"2026-03-02 00:00+00", "1 day", "Asia/Tokyo", "timestamp", "timestamptz", "0"},
		"labels get a zone ahead":               {"2026-03-02 00:00+00", "1 hour", "Asia/Tokyo", "timestamptz", "timestamp", "9 hours"},
		"labels get a zone behind":              {"2026-03-02 00:00+00", "1 hour", "America/Los_Angeles", "timestamptz", "timestamp", "0"},
		"without zones":                         {"2026-03-02 00:00+00", "1 day", "America/Los_Angeles", "timestamp", "timestamp", "0"},
		"all was built":                         {"-infinity", "1 day", "America/Los_Angeles", "timestamptz", "timestamptz", "0"},
	} {
		require.True(t, ask[bool](t, s.root, `SELECT mvscheduler.straddle($1::text::timestamptz, $2::text::interval, $3, $4::text::regtype, $5::text::regtype) = CASE $6 WHEN 'longest' THEN mvscheduler.longest($2::text::interval) ELSE $6::interval END`,
			c.border, c.width, c.zone, c.label, c.source, c.want), name)
	}
}
