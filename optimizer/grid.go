package optimizer

import (
	"math"
	"time"
)

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

// nanos is At in nanoseconds since 1970, for those who go through many bins.
func (g Grid) nanos(i int) int64 { return g.Start.UnixNano() + int64(i)*int64(g.Width) }

// seconds is the width of a bin.
func (g Grid) seconds() float64 { return float64(g.Width) / float64(time.Second) }

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
	clock := wallClock{zone: zone}
	return clock.weekAndMinute(at.Unix())
}

// wallClock tells the time of a zone; nil = UTC. It remembers what it looked up last, for those who go through time
// in order. Not for concurrent use.
type wallClock struct {
	zone   *time.Location
	offset int64 // of the clock from UTC, in seconds
	span   span  // in which it is in force

	week, hour int
	hourSpan   span // in which the clock shows them
}

// span is a stretch of time in seconds since 1970, its end exclusive; the zero value is empty.
type span struct{ from, to int64 }

func (s span) has(at int64) bool { return at >= s.from && at < s.to }

// weekAndMinute is of an instant in seconds since 1970.
func (c *wallClock) weekAndMinute(now int64) (week, minute int) {
	if !c.span.has(now) {
		c.look(now)
	}
	const weekSeconds = hoursOfWeek * 3600
	local := now + c.offset - firstMonday
	number := floorDiv(local, weekSeconds)
	return int(number), int((local - number*weekSeconds) / 60)
}

func (c *wallClock) weekAndHour(now int64) (week, hour int) {
	switch next := c.hourSpan.to; {
	case c.hourSpan.has(now):
	case now == next && c.span.has(now): // time goes on
		if c.hour++; c.hour == hoursOfWeek {
			c.week, c.hour = c.week+1, 0
		}
		c.hourSpan = span{now, min(now+3600, c.span.to)}
	default:
		week, minute := c.weekAndMinute(now)
		from := now - floorMod(now+c.offset, 3600)
		c.week, c.hour = week, minute/60
		c.hourSpan = span{max(from, c.span.from), min(from+3600, c.span.to)}
	}
	return c.week, c.hour
}

// look finds the offset that is in force.
func (c *wallClock) look(now int64) {
	c.offset, c.span = 0, span{math.MinInt64, math.MaxInt64}
	if c.zone == nil {
		return
	}
	at := time.Unix(now, 0).In(c.zone)
	_, offset := at.Zone()
	c.offset = int64(offset)
	begin, end := at.ZoneBounds()
	if !begin.IsZero() {
		c.span.from = begin.Unix()
	}
	if !end.IsZero() {
		c.span.to = end.Unix()
	}
}

// firstMonday is the first Monday of 1970, 00:00 UTC, in seconds.
const firstMonday = 4 * 86400

func (g Grid) hourOfWeek(i int) int { return HourOfWeek(g.At(i), g.Zone) }

// group is the hour of the day, on a weekday or at the weekend, that an hour of the week belongs to.
var group = func() (groups [hoursOfWeek]int) {
	for h := range groups {
		groups[h] = h % 24
		if h >= 5*24 {
			groups[h] += 24
		}
	}
	return groups
}()

const groups = 2 * 24
