package retention

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Interval is PostgreSQL's interval, with its three parts, since a month has no fixed length and neither has a
// day where clocks are changed. The zero value is no time at all.
type Interval struct {
	Months       int32
	Days         int32
	Microseconds int64
}

// Days is an interval of so many days.
func Days(n int32) Interval { return Interval{Days: n} }

// Positive says whether i is more than no time, by PostgreSQL's order of intervals: a month counts as 30 days
// and a day as 24 hours.
func (i Interval) Positive() bool {
	const daily = 86400 * second
	whole, rest := i.Microseconds/daily, i.Microseconds%daily
	days := int64(i.Months)*30 + int64(i.Days) + whole
	return days > 0 || days == 0 && rest > 0
}

// Before is t - i, as PostgreSQL computes it in a session of that time zone (nil = UTC): months first, to the
// last day of a shorter month, then days, then the rest.
func (i Interval) Before(t Timestamp, zone *time.Location) Timestamp {
	return Interval{Months: -i.Months, Days: -i.Days, Microseconds: -i.Microseconds}.After(t, zone)
}

// After is t + i, as Before is t - i.
func (i Interval) After(t Timestamp, zone *time.Location) Timestamp {
	if !t.Finite() {
		return t
	}
	if i.Months != 0 || i.Days != 0 {
		if zone == nil {
			zone = time.UTC
		}
		at := t.Time().In(zone)
		year, month, dayOfMonth := at.Date()
		first := time.Date(year, month+time.Month(i.Months), 1, 0, 0, 0, 0, time.UTC)
		last := first.AddDate(0, 1, -1).Day()
		t = At(time.Date(first.Year(), first.Month(), min(dayOfMonth, last)+int(i.Days),
			at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), zone))
	}
	return t.shift(i.Microseconds)
}

// longest is as long as i can be: a month has 31 days, and 30 days are as much as a month. It never overflows.
func (i Interval) longest() time.Duration {
	const most = math.MaxInt64 / 4
	days := float64(i.Days) + float64(i.Microseconds)*1000/float64(day)
	months := float64(i.Months) + math.Floor(days/30)
	long := (months*31 + days - 30*math.Floor(days/30)) * float64(day)
	return time.Duration(max(0, min(long, most)))
}

// String writes i for people, for example "1 month 3 days" or "90 minutes".
func (i Interval) String() string {
	var parts []string
	add := func(n int64, unit string) {
		if n == 1 || n == -1 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit))
		} else if n != 0 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, unit))
		}
	}
	add(int64(i.Months/12), "year")
	add(int64(i.Months%12), "month")
	add(int64(i.Days), "day")
	switch rest := i.Microseconds; {
	case rest%(3600*second) == 0:
		add(rest/(3600*second), "hour")
	case rest%(60*second) == 0:
		add(rest/(60*second), "minute")
	case rest%second == 0:
		add(rest/second, "second")
	default:
		add(rest, "microsecond")
	}
	if parts == nil {
		return "0 days"
	}
	return strings.Join(parts, " ")
}
