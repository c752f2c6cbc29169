package optimizer

import (
	"math"
	"slices"
	"time"
)

// finer is what the slots of a clock that lie within one bin, after its first one, add to a replay, which knows of one refresh a
// bin: refreshes by bin, and how much younger what readers see is, in seconds of all reads. Nil = no clock is that fine.
//
// A slot refreshes nothing where nothing changed, and there are no more refreshes than changes. Where changes are counted, reads
// see no change of their own bin, whatever the clock: nothing proves that they would gain.
func (h History) finer(s Schedule) (refreshes []float64, younger float64) {
	slots := h.slotsOfBins(s)
	for t, n := range slots {
		if h.Changes != nil && !math.IsNaN(h.Changes[t]) {
			n = min(n, math.Ceil(h.Changes[t]))
		}
		slots[t] = max(0, n-1)
		if h.Changes == nil && n > 1 && !math.IsNaN(h.Reads[t]) {
			younger += h.Reads[t] * h.Grid.seconds() / 2 * (1 - 1/n)
		}
	}
	return slots, younger
}

// slotsOfBins counts the slots of a clock in each bin; nil = there never are two in one.
func (h History) slotsOfBins(s Schedule) []float64 {
	if s.Mode == Piloted || s.Mode != CalendarMode && (s.Interval <= 0 || s.Interval >= h.Grid.Width) {
		return nil
	}
	if s.Mode == CalendarMode {
		if !slices.ContainsFunc(s.Calendar, func(r Rule) bool { return r.Every > 0 && time.Duration(r.Every) < h.Grid.Width }) {
			return nil
		}
		return h.slotsOfCalendar(s.Calendar)
	}
	slots := make([]float64, len(h.Reads))
	for t := range slots {
		slots[t] = h.Grid.seconds() / s.Interval.Seconds()
	}
	return slots
}

func (h History) slotsOfCalendar(c Calendar) []float64 {
	due, width := slotsOf(c), int(h.Grid.Width/time.Minute)
	slots := make([]float64, len(h.Reads))
	clock := wallClock{zone: h.Grid.Zone}
	for _, t := range dueBins(c, h.Grid, 0, len(slots)) {
		_, minute := clock.weekAndMinute(h.Grid.At(t).Unix())
		for to := min(minute+width, minutesOfWeek); minute < to; minute++ {
			if due[minute/64]>>(minute%64)&1 != 0 {
				slots[t]++
			}
		}
	}
	return slots
}
