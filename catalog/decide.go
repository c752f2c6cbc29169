package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog/schedule"
)

// NewRun is a run to be made.
type NewRun struct {
	ID          int64 // zero = the database chooses one
	ViewID      int64
	ViewName    string
	Owner       uint32
	Priority    int16
	Cause       string // schedule, catchup, initial, upstream, manual or readers
	Slot        time.Time
	DueAt       time.Time
	Reason      string
	MissedSlots int
	HeldSlots   int // of these, while the clock was stopped on purpose
}

// Clock is where a view's clock stands after a decision. Zero times mean that the view has no clock.
type Clock struct {
	ViewID        int64
	Slot, Due     time.Time
	Target        time.Duration // gap between two slots; zero when there is no clock
	UpstreamCount int64
}

// Decision says what becomes of one due view.
type Decision struct {
	Run     *NewRun // the run to queue; nil = none
	Skipped *NewRun // the slot that passes without a run, with the reason; nil = none
	Joined  []int64 // requests that Run answers besides its own: run ids to be recorded as skipped
	Clock   *Clock  // nil = the clock stays where it is
	Pause   *Pause  // nil = there is no reason to pause it
}

// Pause stops the clock of a view whose columns cannot be read: only a person can mend that.
type Pause struct {
	ViewID int64
	Reason string
}

// Decide is the dispatcher's whole judgement about one view at the instant now. It is pure.
func Decide(d Due, now time.Time) Decision {
	var out Decision
	spec, err := d.Spec()
	if err != nil { // what was asked for is done all the same
		d.Paused = true
		out.Pause = &Pause{d.ViewID, fmt.Sprintf("its clock cannot be read: %v. Set another one, or resume it with a sidecar that can read it: SELECT mvscheduler.resume_view('%s').", err, strings.ReplaceAll(d.Name, "'", "''"))}
	}
	clockAt := func(since, slot time.Time) *Clock { // since the slot before, or now
		c := &Clock{ViewID: d.ViewID, UpstreamCount: d.UpstreamCount}
		if spec.HasClock() && !slot.IsZero() {
			c.Slot, c.Due = slot, spec.DueAt(slot)
			switch after := spec.Next(slot); {
			case spec.Interval > 0:
				c.Target = spec.Interval
			case since.Equal(now) && !after.IsZero(): // the slot before is not known
				c.Target = max(slot.Sub(since), after.Sub(slot))
			default: // the gap that begins: office hours leave a night out
				c.Target = slot.Sub(since)
			}
		}
		return c
	}
	newRun := func(cause string, slot, due time.Time) *NewRun {
		return &NewRun{
			ViewID: d.ViewID, ViewName: d.Name, Owner: d.Owner, Priority: d.Priority,
			Cause: cause, Slot: slot, DueAt: due,
		}
	}
	due := d.NextDue != nil && !d.NextDue.After(now) && !d.Paused

	switch {
	case due && d.NextCause != nil && d.ActiveRun == nil: // first fill, or the first refresh after an edit
		out.Run = newRun(*d.NextCause, *d.NextSlot, *d.NextDue)
		out.Clock = clockAt(now, spec.Next(now))

	case d.Reschedule && !d.Paused && d.NextCause == nil:
		out.Clock = clockAt(now, spec.Next(now))

	case due && d.NextCause == nil && (d.ActiveRun == nil || spec.Catchup != schedule.All): // All makes up for it afterwards
		verdict := spec.Decide(*d.NextSlot, now)
		run := newRun(verdict.Cause, verdict.Slot, spec.DueAt(verdict.Slot))
		run.MissedSlots, run.HeldSlots, run.Reason = verdict.Missed, verdict.Held, verdict.Reason
		out.Clock = clockAt(verdict.Slot, verdict.Next)
		switch {
		case d.ActiveRun != nil:
			run.Reason = fmt.Sprintf("run %d was still under way when this slot came", *d.ActiveRun)
			out.Skipped = run
		case verdict.Run:
			out.Run = run
		default:
			out.Skipped = run
		}

	case d.UpstreamMoved && !d.Paused && d.ActiveRun == nil:
		out.Run = newRun("upstream", now, now)
		out.Clock = clockAt(now, time.Time{})
	}

	if len(d.Requests) > 0 && d.ActiveRun == nil {
		requests := slices.Sorted(slices.Values(d.Requests))
		if out.Run == nil {
			out.Run = newRun("manual", now, now)
			out.Run.ID = requests[0]
			requests = requests[1:]
		}
		out.Joined = requests
	}
	// Readers are answered by any run, and are no reason to end a pause.
	if d.Readers != nil && out.Run == nil && d.ActiveRun == nil && !d.Paused && d.RefreshOn == "schedule" {
		out.Run = newRun("readers", now, now)
		out.Run.ID, out.Run.Reason = d.Readers.RunID, d.Readers.Reason
	}
	return out
}
