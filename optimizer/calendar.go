package optimizer

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog/schedule"
)

// A calendar is that of the column calendar of a view.
type (
	Calendar      = schedule.Calendar
	Rule          = schedule.Rule
	Days          = schedule.Days
	TimeOfDay     = schedule.TimeOfDay
	IntervalWords = schedule.IntervalWords
)

const (
	Weekdays = schedule.Weekdays
	Weekend  = schedule.Weekend
	EveryDay = schedule.EveryDay
)

func words(d time.Duration) string { return schedule.Words(d) }

// dueBins are the bins in [lo, hi) in which a calendar is due, lo included.
func dueBins(c Calendar, grid Grid, lo, hi int) []int {
	slots := slotsOf(c)
	width := int(grid.Width / time.Minute)
	due := append(make([]int, 0, min(slots.count()*((hi-lo)*width/minutesOfWeek+1)+1, hi-lo+1)), lo)
	clock := wallClock{zone: grid.Zone}
	start, seconds := grid.Start.Unix(), int64(width)*60
	for t := lo + 1; t < hi; {
		now := start + int64(t)*seconds
		_, minute := clock.weekAndMinute(now)
		midnight := (minute/minutesOfDay + 1) * minutesOfDay
		next := slots.next(minute, midnight)
		if next < min(minute+width, midnight) {
			due = append(due, t)
			t++
			continue
		}
		idle := max(1, (next-minute)/width)
		t += int(min(int64(idle), (clock.span.to-now+seconds-1)/seconds)) // until the clock is set
	}
	return due
}

const minutesOfDay, minutesOfWeek = 24 * 60, hoursOfWeek * 60

// weekSlots are the minutes of a week in which a calendar is due, as bits.
type weekSlots [minutesOfWeek/64 + 1]uint64

func slotsOf(c Calendar) (slots weekSlots) {
	for i := range c {
		times := c[i].Times()
		for day := range 7 {
			if !c[i].Days.Has(day) {
				continue
			}
			for _, at := range times {
				minute := day*minutesOfDay + int(at)
				slots[minute/64] |= 1 << (minute % 64)
			}
		}
	}
	return slots
}

// next is the first slot in minutes [from, to); to = there is none.
func (s *weekSlots) next(from, to int) int {
	for from < to {
		word, n := s[from/64]>>(from%64), 64-from%64
		if word != 0 {
			return min(from+bits.TrailingZeros64(word), to)
		}
		from += n
	}
	return to
}

func (s *weekSlots) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// longestPause is the longest time between two slots that follow each other, in minutes of the week, on the wall clock: from 0 to
// 10,079, to after it; zero where there is no slot.
func (s *weekSlots) longestPause() (from, to int) {
	first := s.next(0, minutesOfWeek)
	if first == minutesOfWeek {
		return 0, 0
	}
	for at := first; at < minutesOfWeek; {
		next := s.next(at+1, minutesOfWeek)
		end := next
		if next == minutesOfWeek {
			end += first
		}
		if end-at > to-from {
			from, to = at, end
		}
		at = next
	}
	return from, to
}

// pauseWords is a sentence about the longest time that a calendar leaves between two refreshes: who comes then sees data so old.
func pauseWords(c Calendar) string {
	slots := slotsOf(c)
	from, to := slots.longestPause()
	if from == to {
		return ""
	}
	at := func(minute int) string {
		minute %= minutesOfWeek
		return fmt.Sprintf("%s %s", Days(1<<(minute/minutesOfDay)), TimeOfDay(minute%minutesOfDay))
	}
	return fmt.Sprintf(" The longest time between two refreshes is %s, %s to %s.", shortly(float64(to-from)*60), at(from), at(to))
}

// oneLine is the rule of the calendar that alone costs least on the last two weeks, where a line of cron can say it and
// it costs hardly more than all of them: people read a line more easily.
func (s *study) oneLine(c Calendar) (best Calendar, ok bool) {
	if s.bounds.longestPause() > 0 && len(c) > 1 { // the rules keep it together
		return nil, false
	}
	costOf := func(c Calendar) float64 {
		n := len(s.recent.Reads)
		return s.world.costOf(s.recent.refreshes(s.world, Schedule{Mode: CalendarMode, Calendar: c}, s.bounds, 0, n), n)
	}
	least := (1 + simplerLoss) * costOf(c)
	for _, r := range c {
		alone := Calendar{r}
		if _, said := alone.Cron(); !said {
			continue
		}
		if cost := costOf(alone); cost <= least {
			best, least, ok = alone, cost, true
		}
	}
	return best, ok
}
