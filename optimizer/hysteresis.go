package optimizer

import (
	"fmt"
	"math"
	"time"
)

// Change is a proposal to change a view's schedule, and what has to be known to act on it.
type Change struct {
	Old, New         Schedule
	OldCost, NewCost float64 // predicted J a day

	Now         time.Time
	LastChange  time.Time // zero = never
	FrozenUntil time.Time // after roll-backs; zero = not frozen
	Alarm       time.Time // when the rate of reads was last noticed to change; zero = never
	Reads       float64   // effective reads in the last seven days
	Rare        bool      // the costs go by the most reads that there may be, and a person decides: few of them do, and no steps are taken
	Bounds      Bounds
}

// Verdict is what becomes of a [Change].
type Verdict struct {
	Act      bool
	Schedule Schedule // to apply; a step towards the new one
	Why      []string
}

// Settle decides whether a schedule is touched at all, and how far one step goes (spec 3d.6). J is flat
// around its optimum, J(T)/J* = (T/T* + T*/T)/2: an interval within a factor of the square root of two of the
// best one costs at most 6 % more, which is not worth surprising anybody. A step ends within the bounds, wherever it begins.
func (c Change) Settle() Verdict {
	keep := func(format string, args ...any) Verdict {
		return Verdict{Schedule: c.Old, Why: []string{fmt.Sprintf(format, args...)}}
	}
	if why := c.wait(); why != "" {
		return keep("%s", why)
	}
	saved := 1 - c.NewCost/c.OldCost
	if !(saved >= minGain) {
		return keep("the best schedule would save %.1f %% of the cost, less than the %.0f %% that a change is worth", 100*saved, 100*minGain)
	}
	saves := fmt.Sprintf("%s -> %s saves %.0f %% of the cost", c.Old, c.New, 100*saved)
	if c.Old.Mode != Fixed || c.New.Mode != Fixed {
		return Verdict{Act: true, Schedule: c.New, Why: []string{saves}}
	}
	ratio := c.New.Interval.Seconds() / c.Old.Interval.Seconds()
	if math.Abs(math.Log2(ratio)) < minStep {
		return keep("%s is within a factor of %.1f of %s", c.Old, math.Exp2(minStep), c.New)
	}
	v := Verdict{Act: true, Schedule: c.New, Why: []string{saves}}
	if !c.Rare && (ratio > maxStep || ratio < 1/maxStep) {
		step := stepTowards(c.Old.Interval, c.New.Interval)
		if v.Schedule.Interval = c.Bounds.Clamp(step); v.Schedule.Interval == step {
			v.Why = append(v.Why, fmt.Sprintf("%s for now: one step changes an interval by a factor of %.0f at most", v.Schedule, maxStep))
		} else {
			v.Why = append(v.Why, fmt.Sprintf("%s for now: that is within its bounds", v.Schedule))
		}
	}
	return v
}

// wait says why a schedule is not touched now, however much another one would save; empty = it may be.
func (c Change) wait() string {
	switch {
	case c.Bounds.none():
		return "no interval is within its bounds"
	case c.Now.Before(c.FrozenUntil):
		return fmt.Sprintf("frozen until %s: the last changes had to be taken back", date(c.FrozenUntil))
	case c.Reads < minReads && !c.Rare:
		return fmt.Sprintf("rarely read: %.0f reads in seven days, %.0f are needed to judge", c.Reads, minReads)
	case !c.Alarm.IsZero() && c.Now.Sub(c.Alarm) < shiftTrust:
		return fmt.Sprintf("the rate of reads changed %s ago: it is watched for %s first", shortly(c.Now.Sub(c.Alarm).Seconds()), words(shiftTrust))
	case !c.LastChange.IsZero() && c.Now.Sub(c.LastChange) < coolDown:
		return fmt.Sprintf("changed %s ago: the next step comes after %s at the earliest", shortly(c.Now.Sub(c.LastChange).Seconds()), words(coolDown))
	}
	return ""
}

// stepTowards is the offered interval that is nearest to the target within one step; the step itself where
// none is.
func stepTowards(from, target time.Duration) time.Duration {
	least, most := seconds(from.Seconds()/maxStep), seconds(from.Seconds()*maxStep)
	best, distance := time.Duration(0), math.Inf(1)
	for _, every := range niceIntervals {
		if every < least || every > most || every == from {
			continue
		}
		if d := math.Abs(math.Log(every.Seconds() / target.Seconds())); d < distance {
			best, distance = every, d
		}
	}
	switch {
	case best != 0 && (best > from) == (target > from):
		return best
	case target > from:
		return most
	}
	return least
}

func date(at time.Time) string { return at.UTC().Format("2006-01-02") }
