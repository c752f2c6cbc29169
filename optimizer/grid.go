package optimizer

import "time"

// Grid cuts time into bins: bin i covers [At(i), At(i+1)).
type Grid struct {
	Start time.Time      // of bin 0
	Width time.Duration  // of a bin; positive
	Zone  *time.Location // of the readers' clock; nil = UTC
}

// At is the start of bin i, which may lie outside of what was recorded.
func (g Grid) At(i int) time.Time { return g.Start.Add(time.Duration(i) * g.Width) }

// Bins is how many whole bins a duration holds.
func (g Grid) Bins(d time.Duration) int { return int(d / g.Width) }

// seconds is the width of a bin.
func (g Grid) seconds() float64 { return g.Width.Seconds() }

const hoursOfWeek = 7 * 24

// HourOfWeek is the hour of the week, 0 = Monday 00:00 to 01:00, that the clocks of a zone show at an
// instant; nil = UTC. An hour that daylight saving skips or repeats is seen less or more often, nothing else.
func HourOfWeek(at time.Time, zone *time.Location) int {
	_, hour := weekAndHour(at, zone)
	return hour
}

// weekAndHour also numbers the weeks, from Monday to Sunday on the clock of the zone.
func weekAndHour(at time.Time, zone *time.Location) (week, hour int) {
	week, minute := weekAndMinute(at, zone)
	return week, minute / 60
}

func weekAndMinute(at time.Time, zone *time.Location) (week, minute int) {
	offset := 0
	if zone != nil && zone != time.UTC {
		_, offset = at.In(zone).Zone()
	}
	const weekSeconds = hoursOfWeek * 3600
	local := at.Unix() + int64(offset) - firstMonday
	number := floorDiv(local, weekSeconds)
	return int(number), int((local - number*weekSeconds) / 60)
}

// firstMonday is the first Monday of 1970, 00:00 UTC, in seconds.
const firstMonday = 4 * 86400

func (g Grid) hourOfWeek(i int) int { return HourOfWeek(g.At(i), g.Zone) }

// group is the hour of the day, on a weekday or at the weekend, that an hour of the week belongs to.
func group(hourOfWeek int) int {
	if hourOfWeek >= 5*24 {
		return 24 + hourOfWeek%24
	}
	return hourOfWeek % 24
}

const groups = 2 * 24
