package optimizer

import (
	"fmt"
	"math"
	"time"
)

// RetentionView is what the decision on a view's retention rests on.
type RetentionView struct {
	Now       time.Time
	Current   time.Duration // retention in force; zero = everything is kept
	LookBacks LookBacks
	// Evidence is the level of the reads' source: 0 = counters alone, which know no look-back; 1 = which partitions were
	// read, so that look-backs end where the data ends, and reads of what is gone are not seen; 2 = what was asked for.
	Evidence int

	Age                time.Duration // of the view: how long it was observed how far back it is read
	Kept               time.Duration // age of its oldest data; zero = not known
	Bucket             time.Duration // width of a time bucket
	Lateness           time.Duration // how late rows may arrive
	Min, Max           time.Duration // the owner's bounds; zero = none
	RawHorizon         time.Duration // how far back the source can rebuild the view; zero = all of it
	AllowIrrecoverable bool          // the owner allows to delete what cannot be rebuilt

	BytesPerDay   float64 // of the view's data
	DatabaseBytes float64 // zero = unknown
}

// RetentionState is what has to be remembered between two weekly evaluations. The zero value begins.
type RetentionState struct {
	WeeksBelow  int       // evaluations in a row that spoke for shrinking
	LastShrink  time.Time // zero = never
	FrozenUntil time.Time // after a miss
}

// RetentionDecision is the outcome of an evaluation.
type RetentionDecision struct {
	Period time.Duration // to be in force; the current one when nothing changes
	Advice time.Duration // a first period that a person may want to set, where everything is kept; zero = none
	State  RetentionState
	Need   time.Duration // what readers need, as far as it is known; zero = unknown
	Why    []string
}

// Retention decides, once a week, how long a view's data is kept (spec 3f). It lengthens at once and shrinks
// slowly: only on enough reads, after four weeks in a row that spoke for it, by a fifth in 30 days at most.
// What it takes away is to be kept aside, so that a person can bring it back; where it is noticed that
// readers ask for what is gone, [Kept.Longer] lengthens it.
func Retention(v RetentionView, s RetentionState) RetentionDecision {
	d := RetentionDecision{Period: v.Current, State: s}
	keep := func(format string, args ...any) RetentionDecision {
		d.State.WeeksBelow = 0
		d.Why = append(d.Why, fmt.Sprintf(format, args...))
		return d
	}
	if v.Evidence == 0 {
		return keep("counters alone do not say how far back readers look: retention stays")
	}
	limit, need, why := v.need()
	d.Need = need
	d.Why = append(d.Why, why...)
	if v.Evidence > 1 && v.Current > 0 && limit > v.Current && limit < forever {
		d.Period = v.within(max(need, limit))
		if d.Period > v.Current {
			d.State.WeeksBelow = 0
			d.Why = append(d.Why, fmt.Sprintf("readers look back further than the %s that are kept: lengthened to %s", shortly(v.Current.Seconds()), shortly(d.Period.Seconds())))
			return d
		}
		d.Period = v.Current
		return keep("readers look back further than the %s that are kept, the owner's bound allows no more", shortly(v.Current.Seconds()))
	}
	current := v.Current
	if current == 0 {
		current = max(v.Age, v.Kept) // everything so far
	}
	switch n := v.LookBacks.Effective; {
	case n < coarseReads:
		return keep("thin evidence: %.0f effective reads, %.0f are needed to shrink", n, coarseReads)
	case need >= forever:
		return keep("some readers ask for everything: nothing is shrunk")
	case float64(need) >= shrinkBelow*float64(current):
		return keep("readers need %s of the %s that are kept: it stays", shortly(need.Seconds()), shortly(current.Seconds()))
	}
	saved := v.BytesPerDay * (current - need).Hours() / 24
	switch {
	case v.LookBacks.Unbounded > unboundedShare:
		return keep("%.1f %% of the reads ask for everything: shrinking is left to a person", 100*v.LookBacks.Unbounded)
	case v.RawHorizon > 0 && current > v.RawHorizon && !v.AllowIrrecoverable:
		return keep("the source goes back %s only, older data could not be rebuilt: it is kept", shortly(v.RawHorizon.Seconds()))
	case saved < v.WorthBytes():
		return keep("shrinking would save %s only", size(saved))
	case v.Now.Before(s.FrozenUntil):
		return keep("a read missed data lately: nothing is shrunk until %s", date(s.FrozenUntil))
	}
	d.State.WeeksBelow++
	if d.State.WeeksBelow < shrinkWeeks {
		d.Why = append(d.Why, fmt.Sprintf("readers need %s: week %d of %d that speaks for shrinking", shortly(need.Seconds()), d.State.WeeksBelow, shrinkWeeks))
		return d
	}
	if !s.LastShrink.IsZero() && v.Now.Sub(s.LastShrink) < shrinkPause {
		d.Why = append(d.Why, fmt.Sprintf("shrunk on %s: the next step comes after %s", date(s.LastShrink), words(shrinkPause)))
		return d
	}
	period := v.within(max(need, time.Duration(float64(current)*(1-shrinkStep))))
	switch {
	case period >= current:
		return keep("the owner's bounds allow no less")
	case v.Current == 0:
		d.Advice = period
		d.Why = append(d.Why, "no retention is set: setting one is left to a person")
		return d
	}
	d.Period = period
	d.State.LastShrink = v.Now
	d.Why = append(d.Why, fmt.Sprintf("shrunk from %s to %s, which saves %s; what is taken away is kept aside first",
		shortly(v.Current.Seconds()), shortly(d.Period.Seconds()), size(v.BytesPerDay*(v.Current-d.Period).Hours()/24)))
	return d
}

// WorthBytes is how much has to be saved for a change to be worth it.
func (v RetentionView) WorthBytes() float64 {
	if v.DatabaseBytes > 0 {
		return min(savedBytes, savedShare*v.DatabaseBytes)
	}
	return savedBytes
}

const forever = time.Duration(math.MaxInt64)

// need is how far back readers look, as an upper limit and without a margin, zero = unknown, and how long data
// has to be kept for them: with a margin, and never less than the floors.
func (v RetentionView) need() (limit, need time.Duration, why []string) {
	floor := max(retentionFloor, v.Min)
	if v.Age < longFloor || v.LookBacks.Longest > longSign {
		if longFloor > floor {
			why = append(why, "at least 13 months are kept: the view is younger, or somebody looked back further than 180 days")
		}
		floor = max(floor, longFloor)
	}
	q, factor := fineQuantile, fineFactor
	if v.LookBacks.Effective < fineReads {
		q, factor = coarseQuantile, coarseFactor
	}
	span, ok := v.LookBacks.UpperLimit(q)
	switch {
	case !ok:
		return 0, floor, why
	case math.IsInf(span, 1):
		return forever, forever, why
	}
	why = append(why, fmt.Sprintf("of %.0f effective reads, %.1f %% look back at most %s (95 %% confidence)", v.LookBacks.Effective, 100*q, shortly(span)))
	rest := v.Bucket + v.Lateness
	return seconds(span) + rest, max(floor, seconds(factor*span)+rest), why
}

// within applies the owner's bounds.
func (v RetentionView) within(d time.Duration) time.Duration {
	if v.Max > 0 {
		d = min(d, v.Max)
	}
	return max(d, v.Min)
}

// FreezeAfterMiss is until when nothing is shrunk after something was missed.
func FreezeAfterMiss(at time.Time) time.Time { return at.Add(missFreeze) }

// size writes a size for people.
func size(n float64) string {
	for _, unit := range []string{"bytes", "kB", "MB", "GB"} {
		if math.Abs(n) < 1024 {
			return fmt.Sprintf("%.0f %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.1f TB", n)
}
