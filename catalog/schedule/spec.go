package schedule

import (
	"errors"
	"fmt"
	"time"
)

// Catchup says what becomes of slots that passed while nobody could claim them.
type Catchup string

const (
	Latest Catchup = "latest" // one run, for the newest of them; the default
	Skip   Catchup = "skip"   // none: the next slot will do
	All    Catchup = "all"    // one run each, oldest first
)

const (
	// MaxInterval is the longest interval that a clock may have.
	MaxInterval = 3653 * 24 * time.Hour

	maxJitter = 10 * time.Second
)

// Spec is the clock of a view. The zero value has no slots.
type Spec struct {
	// Interval between slots; zero = none. Whole microseconds, at most [MaxInterval].
	Interval time.Duration
	// Cron has five fields; empty = none. It excludes the other two.
	Cron string
	// Calendar is a list of rules as JSON, see [Calendar]; empty = none. It excludes the other two.
	Calendar string
	// Location in which Cron and Calendar are read; nil = UTC.
	Location *time.Location
	// JitterKey chooses the jitter of an interval.
	JitterKey int64
	// Catchup of missed slots; empty = [Latest].
	Catchup Catchup
	// HeldUntil is when the clock was last set going again by a person or the end of a window; zero = never.
	// Slots up to then passed on purpose: they are not missed, and not made up for but by one run.
	HeldUntil time.Time
}

// Validate says what is wrong with a clock. None at all is fine.
func (s Spec) Validate() error {
	switch s.Catchup {
	case "", Latest, Skip, All:
	default:
		return fmt.Errorf("unknown catch-up policy %q: use latest, skip or all", s.Catchup)
	}
	switch {
	case s.Interval != 0 && s.Cron != "" || s.Interval != 0 && s.Calendar != "" || s.Cron != "" && s.Calendar != "":
		return errors.New("a clock is one of an interval, cron and a calendar, not several")
	case s.Interval < 0:
		return errors.New("it must be positive")
	case s.Interval > MaxInterval:
		return errors.New("it must not be longer than ten years")
	case s.Interval%time.Microsecond != 0:
		return errors.New("it must be whole microseconds")
	}
	_, err := s.walls()
	return err
}

// walls are the clocks on the wall that it fires with; none for an interval.
func (s Spec) walls() ([]wall, error) {
	switch {
	case s.Cron != "":
		line, err := parseCron(s.Cron)
		if err != nil {
			return nil, err
		}
		return []wall{line.wall()}, nil
	case s.Calendar != "":
		calendar, err := ParseCalendar(s.Calendar)
		if err != nil {
			return nil, err
		}
		return calendar.walls(), nil
	}
	return nil, nil
}

// firstOf is the first instant after the given one at which one of the clocks fires, and what daylight saving has to do
// with it.
func firstOf(walls []wall, after time.Time, loc *time.Location) (first time.Time, note string) {
	for i := range walls {
		if at, why := walls[i].next(after, loc); first.IsZero() || !at.IsZero() && at.Before(first) {
			first, note = at, why
		}
	}
	return first, note
}

// HasClock says whether there are slots at all.
func (s Spec) HasClock() bool { return s.Interval > 0 || s.Cron != "" || s.Calendar != "" }

// Next is the first slot after the given instant; zero when there is none, or when the spec is invalid.
func (s Spec) Next(after time.Time) time.Time {
	if s.Interval >= time.Microsecond {
		step := s.Interval.Microseconds()
		return time.UnixMicro((floorDiv(after.UnixMicro(), step) + 1) * step).UTC()
	}
	walls, err := s.walls()
	if err != nil {
		return time.Time{}
	}
	at, _ := firstOf(walls, after, s.location())
	return at
}

// ShortestGap is the shortest time between two slots, of cron and of a calendar of those in the week from the first one
// after an instant on; zero when there are no two.
func (s Spec) ShortestGap(after time.Time) (gap time.Duration) {
	if s.Interval >= time.Microsecond {
		return s.Interval
	}
	walls, err := s.walls()
	if err != nil {
		return 0
	}
	first := s.Next(after)
	for at := first; !at.IsZero() && at.Before(first.Add(7*24*time.Hour)) && gap != time.Minute; {
		next, _ := firstOf(walls, at, s.location())
		if next.IsZero() {
			break
		}
		if d := next.Sub(at); gap == 0 || d < gap {
			gap = d
		}
		at = next
	}
	return gap
}

// DueAt is when a slot is claimed: the slot plus the jitter.
func (s Spec) DueAt(slot time.Time) time.Time { return slot.Add(s.jitter()) }

// jitter is a fixed share, in [0, 1), of the smaller of a tenth of the interval and 10 s. The share is
// the key through SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
func (s Spec) jitter() time.Duration {
	z := uint64(s.JitterKey) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	share := float64(z>>11) / (1 << 53)
	return time.Duration(share * float64(min(s.Interval/10, maxJitter))).Truncate(time.Microsecond)
}

func (s Spec) location() *time.Location {
	if s.Location == nil {
		return time.UTC
	}
	return s.Location
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Fire is one slot to come.
type Fire struct {
	Slot time.Time
	Note string // what daylight saving does to it; empty = nothing
}

// Upcoming lists the first n slots after the given instant, fewer where there are no more.
func (s Spec) Upcoming(after time.Time, n int) []Fire {
	var fires []Fire
	walls, err := s.walls()
	for range n {
		var f Fire
		if len(walls) > 0 && err == nil {
			f.Slot, f.Note = firstOf(walls, after, s.location())
		} else {
			f.Slot = s.Next(after)
		}
		if f.Slot.IsZero() {
			break
		}
		fires = append(fires, f)
		after = f.Slot
	}
	return fires
}
