package optimizer

import (
	"math"
	"time"
)

// repeat lists the bins in which a clock has several slots as often as it refreshes in them. A slot before which nothing
// changed refreshes nothing: of n slots among which c changes are spread evenly, n*(1-(1-1/n)^c) are expected to refresh.
func (h History) repeat(refreshes []int, s Schedule, lo, hi int) []int {
	slots := h.slotsOfBins(s, lo, hi)
	if slots == nil {
		return refreshes
	}
	repeated := make([]int, 0, 2*len(refreshes))
	var more float64 // expected, and not listed yet
	for t := lo; t < hi; t++ {
		if len(refreshes) > 0 && refreshes[0] == t {
			repeated, refreshes = append(repeated, t), refreshes[1:]
		}
		n := float64(slots[t-lo])
		if n > 1 && h.Changes != nil && !math.IsNaN(h.Changes[t]) {
			n *= 1 - math.Pow(1-1/n, h.Changes[t])
		}
		for more += max(0, n-1); more > 1-1e-9; more-- {
			repeated = append(repeated, t)
		}
	}
	return repeated
}

// skips are the bins with slots in a row that may refresh nothing; zero = any number.
func (h History) skips(s Schedule) int {
	if finest := s.finest(); finest > 0 && finest < h.Grid.Width && h.MaxSkips > 0 {
		return max(1, int(float64(h.MaxSkips)*finest.Seconds()/h.Grid.seconds()))
	}
	return h.MaxSkips
}

// slotsOfBins counts the slots of a clock in each of the bins [lo, hi); nil = there never are two in one.
func (h History) slotsOfBins(s Schedule, lo, hi int) []int {
	finest := s.finest()
	switch {
	case finest <= 0 || finest >= h.Grid.Width:
		return nil
	case s.Mode == CalendarMode:
		return h.slotsOfCalendar(s.Calendar, lo, hi)
	}
	slots := make([]int, hi-lo)
	since := time.Duration(h.Grid.sinceMonday()+lo) * h.Grid.Width // as the scheduler counts them
	for i := range slots {
		slots[i] = int((since+h.Grid.Width-1)/finest - (since-1)/finest)
		since += h.Grid.Width
	}
	return slots
}

// finest is the shortest time between two slots in a row; zero = there are none.
func (s Schedule) finest() (finest time.Duration) {
	switch s.Mode {
	case Piloted:
	case CalendarMode:
		for _, r := range s.Calendar {
			if every := time.Duration(r.Every); every > 0 && (finest == 0 || every < finest) {
				finest = every
			}
		}
	default:
		finest = s.Interval
	}
	return finest
}

func (h History) slotsOfCalendar(c Calendar, lo, hi int) []int {
	due, width := slotsOf(c), int(h.Grid.Width/time.Minute)
	slots := make([]int, hi-lo)
	clock := wallClock{zone: h.Grid.Zone}
	for _, t := range dueBins(c, h.Grid, lo, hi) {
		_, minute := clock.weekAndMinute(h.Grid.At(t).Unix())
		for to := min(minute+width, minutesOfWeek); minute < to; minute++ {
			if due[minute/64]>>(minute%64)&1 != 0 {
				slots[t-lo]++
			}
		}
	}
	return slots
}
