package schedule

import (
	"fmt"
	"slices"
	"time"
)

// wall is a clock that is read on a wall.
type wall struct {
	on      func(year int, month time.Month, day int) *times // when it fires on a day; nil = never
	elapsed bool                                             // elapsed time is meant, see the documentation of the package
}

// times of day: the minutes of each hour, as bits.
type times [24]uint64

func weekday(year int, month time.Month, day int) time.Weekday {
	return time.Date(year, month, day, 12, 0, 0, 0, time.UTC).Weekday()
}

func (t *times) everyHour() bool { return !slices.Contains(t[:], 0) }

// daysAhead is how far next looks: leap days can be eight years apart.
const daysAhead = 9 * 366

// next is the first instant after the given one at which it fires, and what daylight saving has to do with it.
func (w *wall) next(after time.Time, loc *time.Location) (time.Time, string) {
	if w.elapsed {
		return w.nextElapsed(after, loc), ""
	}
	year, month, day := after.In(loc).Date()
	for i := -1; i < daysAhead; i++ { // the day before: the clock may have jumped over midnight
		date := time.Date(year, month, day+i, 12, 0, 0, 0, time.UTC)
		t := w.on(date.Date())
		if t == nil {
			continue
		}
		if at, note := t.nextOn(date, after, loc); !at.IsZero() {
			return at, note
		}
	}
	return time.Time{}, ""
}

// nextOn is the first instant after the given one that a wall time of the date stands for.
func (t *times) nextOn(date, after time.Time, loc *time.Location) (time.Time, string) {
	year, month, day := date.Date()
	for hour := range 24 {
		if t[hour] == 0 {
			continue
		}
		if last, _ := instant(year, month, day, hour, 59, loc); !last.After(after) {
			continue
		}
		for minute := range 60 {
			if t[hour]>>minute&1 == 0 {
				continue
			}
			if at, note := instant(year, month, day, hour, minute, loc); at.After(after) {
				return at, note
			}
		}
	}
	return time.Time{}, ""
}

// nextElapsed is next for clocks that fire in every hour: real time is searched, not wall time.
func (w *wall) nextElapsed(after time.Time, loc *time.Location) time.Time {
	at := after.Truncate(time.Minute).Add(time.Minute).In(loc)
	for end := at.Add(daysAhead * 24 * time.Hour); at.Before(end); {
		switch t := w.on(at.Date()); {
		case t == nil:
			at = at.Add(time.Duration(60-at.Minute()) * time.Minute) // to the next hour: days can be 23 hours long
		case t[at.Hour()]>>at.Minute()&1 == 0:
			at = at.Add(time.Minute)
		default:
			return at.UTC()
		}
	}
	return time.Time{}
}

// instant is the one instant that a wall time stands for: the first of two, or where the clock skips it,
// the jump.
func instant(year int, month time.Month, day, hour, minute int, loc *time.Location) (time.Time, string) {
	wall := time.Date(year, month, day, hour, minute, 0, 0, time.UTC).Unix()
	guess := time.Date(year, month, day, hour, minute, 0, 0, loc)
	begin, end := guess.ZoneBounds()
	_, here := guess.Zone()
	before, after := here, here
	if !begin.IsZero() {
		_, before = begin.Add(-time.Second).Zone()
	}
	if !end.IsZero() {
		_, after = end.Zone()
	}

	// Each offset would show this wall time at one instant; it counts where the offset is in force then.
	shows := func(offset int) (time.Time, bool) {
		at := time.Unix(wall-int64(offset), 0).In(loc)
		_, inForce := at.Zone()
		return at, inForce == offset
	}
	var first time.Time
	times := 0
	for i, offset := range []int{before, here, after} {
		if i > 0 && offset == before || i == 2 && offset == here {
			continue
		}
		at, ok := shows(offset)
		if !ok {
			continue
		}
		times++
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	switch {
	case times == 1:
		return first.UTC(), ""
	case times > 1:
		return first.UTC(), fmt.Sprintf("the clock shows %02d:%02d twice that day: the first time counts", hour, minute)
	}
	jump := end
	if !begin.IsZero() && wall >= begin.Unix()+int64(before) && wall < begin.Unix()+int64(here) {
		jump = begin
	}
	return jump.UTC(), fmt.Sprintf("%02d:%02d is skipped that day: it fires when the clock jumps to %s", hour, minute, jump.In(loc).Format("15:04"))
}
