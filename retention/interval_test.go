package retention

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestIntervalsAreSubtractedAsPostgreSQLDoes has results of PostgreSQL 15, where that does not fail.
func TestIntervalsAreSubtractedAsPostgreSQLDoes(t *testing.T) {
	t.Parallel()
	newYork, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	for _, c := range []struct {
		from string
		by   Interval
		zone *time.Location
		want string
	}{
		{"2024-03-31 12:00:00", Interval{Months: 1, Days: 1}, newYork, "2024-02-28 13:00:00 UTC"},
		{"2024-03-11 16:30:00", Days(1), newYork, "2024-03-10 16:30:00 UTC"},
		{"2024-03-10 16:30:00", Days(1), newYork, "2024-03-09 17:30:00 UTC"},
		{"2024-03-11 06:30:00", Interval{Microseconds: 24 * 3600 * second}, newYork, "2024-03-10 06:30:00 UTC"},
		{"2024-03-11 07:30:00", Interval{Months: 1, Days: -1, Microseconds: 3600 * second}, newYork, "2024-02-12 07:30:00 UTC"},
		{"2024-03-31 00:00:00", Interval{Months: 13}, nil, "2023-02-28"},
		{"2024-02-29 00:00:00", Interval{Months: 12}, nil, "2023-02-28"},
		{"2024-02-29 00:00:00", Interval{Months: 12 * 5000}, nil, "2977-02-29 BC"},
		{"2024-02-29 00:00:00", Interval{Months: math.MaxInt32, Days: math.MaxInt32}, nil, "-infinity"},
	} {
		require.Equal(t, c.want, c.by.Before(at(t, c.from), c.zone).String(), "%s - %s", c.from, c.by)
	}
	require.Equal(t, Infinity, Days(1).Before(Infinity, nil))
}

func TestIntervalsReadLikePostgreSQLs(t *testing.T) {
	t.Parallel()
	for want, i := range map[string]Interval{
		"0 days":                     {},
		"1 year 2 months 3 days":     {Months: 14, Days: 3},
		"1 day 90 minutes":           {Days: 1, Microseconds: 5400 * second},
		"1 hour":                     {Microseconds: 3600 * second},
		"-1 day":                     {Days: -1},
		"61 seconds":                 {Microseconds: 61 * second},
		"1500000 microseconds":       {Microseconds: 1_500_000},
		"12 days -1 hour":            {Days: 12, Microseconds: -3600 * second},
		"178956970 years 7 months":   {Months: math.MaxInt32},
		"-178956970 years -8 months": {Months: math.MinInt32},
	} {
		require.Equal(t, want, i.String())
	}
	require.True(t, Interval{Months: 1, Days: -29}.Positive())
	require.False(t, Interval{Months: 1, Days: -30}.Positive())
	require.False(t, Interval{Days: 1, Microseconds: -86400 * second}.Positive())
	require.True(t, Interval{Days: 1, Microseconds: -86400*second + 1}.Positive())
}

func TestALongerIntervalNeverEndsLater(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "Africa/Cairo"}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		require.NoError(t, err)
		now := at(t, "2026-01-01 00:00:00").Add(time.Duration(rapid.Int64Range(0, 40_000).Draw(t, "hours")) * hour)
		i := Interval{
			Months:       rapid.Int32Range(0, 60_000).Draw(t, "months"),
			Days:         rapid.Int32Range(0, 10_000).Draw(t, "days"),
			Microseconds: rapid.Int64Range(0, 1<<50).Draw(t, "microseconds"),
		}
		longer := i
		switch rapid.IntRange(0, 2).Draw(t, "part") {
		case 0:
			longer.Months++
		case 1:
			longer.Days++
		default:
			longer.Microseconds++
		}
		require.LessOrEqual(t, longer.Before(now, zone), i.Before(now, zone))
		require.LessOrEqual(t, i.Before(now, zone), now)
	})
}

func TestWhatCameOfAClockIsToldToTheSecond(t *testing.T) {
	t.Parallel()
	for at, says := range map[Timestamp]string{1_500_000: "2000-01-01 00:00:01 UTC", -1: "1999-12-31 23:59:59 UTC", 0: "2000-01-01", Infinity: "infinity", NegInfinity: "-infinity"} {
		require.Equal(t, says, at.second().String())
	}
}
