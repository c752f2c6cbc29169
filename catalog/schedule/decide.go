package schedule

import (
	"fmt"
	"time"
)

const (
	// lateAfter is how long after it was due a slot still counts as on time for the policy Skip.
	lateAfter = time.Minute

	// keptMissed is how many missed slots the policy All makes up for.
	keptMissed = 1000

	// counted is how many missed slots of cron or of a calendar are counted one by one; after that the count says
	// "at least".
	counted = 10_000
)

// Decision is what becomes of the slots that are due.
type Decision struct {
	Slot   time.Time // the slot that is run, or that is skipped
	Run    bool      // false: Slot passes without a run
	Cause  string    // schedule, or catchup when slots were missed
	Missed int       // slots before Slot that pass without a run of their own
	Held   int       // how many of these passed on purpose, while the clock was stopped
	Next   time.Time // the slot after that
	Reason string    // why it is not an ordinary run; empty when it is
}

// Decide judges the clock of a view whose slot is due at the instant now.
func (s Spec) Decide(slot, now time.Time) Decision {
	overdue := s.overdue(slot, now)
	held, stopped := overdue.release(s.HeldUntil)
	latest := overdue.slots[len(overdue.slots)-1]
	missed := overdue.dropped + len(overdue.slots) - 1

	d := Decision{Slot: latest, Run: true, Cause: "schedule", Missed: missed + held, Held: held, Next: s.Next(latest)}
	if missed > 0 || stopped {
		d.Cause = "catchup"
	}
	switch {
	case stopped && missed == 0 && s.Catchup == Skip && !latest.After(s.HeldUntil) && now.Sub(s.DueAt(latest)) > lateAfter:
		d.Run = false
		d.Reason = "it passed while the clock was stopped, and catchup is skip"
	case stopped && missed == 0:
		d.Reason = "the first run since the clock was stopped"
	case s.Catchup == All && missed > 0:
		d.Slot = overdue.slots[0]
		d.Missed = overdue.dropped + held
		d.Next = s.Next(d.Slot)
		d.Reason = fmt.Sprintf("making up for missed slots, %d more to come", len(overdue.slots)-1)
		if overdue.dropped > 0 {
			d.Reason += fmt.Sprintf("; %d older ones are left out, the policy makes up for %d", overdue.dropped, keptMissed)
		}
	case s.Catchup == Skip && now.Sub(s.DueAt(latest)) > lateAfter:
		d.Run = false
		d.Reason = fmt.Sprintf("nobody could claim it in time (it was due %s ago) and catchup is skip", now.Sub(s.DueAt(latest)).Round(time.Second))
	case s.Catchup == Skip && missed > 0:
		d.Cause = "schedule"
		d.Reason = fmt.Sprintf("%d earlier slots were passed over, catchup is skip", missed)
	case missed > 0:
		d.Reason = fmt.Sprintf("stands for %d earlier slots that nobody could claim", missed)
		if overdue.atLeast {
			d.Reason = fmt.Sprintf("stands for more than %d earlier slots that nobody could claim", counted)
		}
		if missed == 1 {
			d.Reason = "stands for an earlier slot that nobody could claim"
		}
	}
	return d
}

// overdue are the slots that are due.
type overdue struct {
	slots   []time.Time // the newest, in order, at most keptMissed + 1; never empty
	dropped int         // older ones
	atLeast bool        // dropped was not counted to its end
}

// release drops what passed while the clock was stopped, but for the newest slot, and says how many and whether
// any slot did.
func (o *overdue) release(until time.Time) (held int, stopped bool) {
	if o.slots[0].After(until) {
		return 0, false
	}
	held = o.dropped
	o.dropped, o.atLeast = 0, false
	for len(o.slots) > 1 && !o.slots[0].After(until) {
		o.slots = o.slots[1:]
		held++
	}
	return held, true
}

func (s Spec) overdue(slot, now time.Time) overdue {
	slot = slot.UTC()
	if s.Interval >= time.Microsecond {
		step := s.Interval.Microseconds()
		first := floorDiv(slot.UnixMicro(), step)
		last := max(first, floorDiv(now.Add(-s.jitter()).UnixMicro(), step))
		kept := max(first, last-keptMissed)
		out := overdue{dropped: int(kept - first)}
		if kept == first { // the slot itself may lie off the grid, after the interval was changed
			out.slots = append(out.slots, slot)
			kept++
		}
		for i := kept; i <= last; i++ {
			out.slots = append(out.slots, time.UnixMicro(i*step).UTC())
		}
		return out
	}

	out := overdue{slots: []time.Time{slot}}
	walls, err := s.walls()
	if err != nil {
		return out
	}
	for n := 0; ; n++ {
		next, _ := firstOf(walls, slot, s.location())
		if next.IsZero() || next.After(now) {
			return out
		}
		if n == counted {
			if near := now.Add(-8 * 24 * time.Hour); near.After(next) {
				if first, _ := firstOf(walls, near, s.location()); !first.After(now) {
					next, out.atLeast = first, true
				}
			}
		}
		out.slots = append(out.slots, next)
		if len(out.slots) > keptMissed+1 {
			out.slots = out.slots[1:]
			out.dropped++
		}
		slot = next
	}
}
