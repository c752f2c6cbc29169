package optimizer

import (
	"fmt"
	"math"
	"time"
)

// PilotConfig is what a [Pilot] is told about its view.
type PilotConfig struct {
	Width time.Duration  // of the bins that are observed
	Zone  *time.Location // of the readers; nil = UTC
	Kappa float64        // refresh-seconds that a second of age is worth to one read
	Cost  float64        // of a refresh, the median, in refresh-seconds
	// Min and Max bound the time between refreshes; zero = 60 s, and no upper bound. MaxStaleness is the
	// greatest age that readers may see; zero = any.
	Min, Max, MaxStaleness time.Duration
	// Tracked says that changes of the sources are observed. Otherwise they are taken to change all the time.
	Tracked bool
}

// Pilot steers one view in the mode Piloted: it is told what happens and says when to refresh. It plans on
// its own forecast, at least every hour and after each refresh, and guards the plan: a view is refreshed at
// once when its readers have paid enough (spec 3d). It only ever looks back. Not for concurrent use.
type Pilot struct {
	PilotConfig
	Reads   *ReadModel
	Changes *ChangeModel

	refreshed time.Time // start of the last refresh
	unseen    time.Time // first change since then; zero = none
	paid      float64   // by reads since then, in refresh-seconds
	planned   time.Time // when the plan was made; zero = it is void
	due       time.Time
	plan      Plan
	guard     float64 // in costs of a refresh
}

// NewPilot steers a view that was never observed and is refreshed at the given instant.
func NewPilot(cfg PilotConfig, refreshed time.Time) *Pilot {
	p := &Pilot{PilotConfig: cfg, Reads: NewReadModel(cfg.Zone), Changes: &ChangeModel{}}
	p.Refreshed(refreshed)
	return p
}

// Refreshed says that a refresh started at an instant: changes before it are seen from now on.
func (p *Pilot) Refreshed(at time.Time) {
	p.refreshed, p.paid, p.planned = at, 0, time.Time{}
	p.unseen = time.Time{}
	if !p.Tracked {
		p.unseen = at
	}
}

// Observe tells the pilot what happened in the bin that starts at an instant, after its end. NaN = unknown.
func (p *Pilot) Observe(at time.Time, reads, changes float64) {
	p.Reads.Observe(at, p.Width, reads)
	middle := at.Add(p.Width / 2)
	if p.Tracked {
		p.Changes.Observe(at, p.Width, changes)
		if changes != 0 && p.unseen.IsZero() {
			p.unseen = middle
		}
		if changes != 0 {
			p.planned = time.Time{} // the plan waited for something else
		}
	}
	if math.IsNaN(reads) {
		reads = p.Reads.Forecast(at, 1, p.Width)[0]
	}
	p.paid += p.Kappa * reads * p.age(middle).Seconds()
}

func (p *Pilot) age(at time.Time) time.Duration {
	if p.unseen.IsZero() {
		return 0
	}
	return max(0, at.Sub(p.unseen))
}

// Decision is what to do at an instant.
type Decision struct {
	Refresh bool      // now
	Cause   Cause     // why, or why not
	Due     time.Time // of the next refresh by plan; zero = none is planned

	Paid, Allowed float64       // by readers since the last refresh, and before the guard acts, in refresh-seconds
	Age           time.Duration // of what readers see
	Plan          Plan
	Cost          float64 // of a refresh
}

// Cause is the reason of a [Decision].
type Cause int

const (
	Unchanged Cause = iota // there is nothing to refresh
	TooSoon                // the view's shortest interval
	Guarded                // readers paid enough
	Overdue                // the view's longest interval or greatest staleness
	Planned                // the plan says now
	Waiting                // the plan says later
)

// Decide says what to do now, after the bins before were observed.
func (p *Pilot) Decide(now time.Time) Decision {
	d := Decision{Paid: p.paid, Age: p.age(now), Cost: p.Cost}
	if p.unseen.IsZero() {
		d.Cause = Unchanged
		return d
	}
	if p.planned.IsZero() || now.Sub(p.planned) >= replan || !now.Before(p.due) {
		p.replan(now)
	}
	d.Due, d.Allowed, d.Plan = p.due, p.guard*p.Cost, p.plan
	switch least := max(p.Min, minInterval); {
	case now.Sub(p.refreshed) < least:
		d.Cause = TooSoon
		d.Due = later(d.Due, p.refreshed.Add(least))
	case p.paid >= d.Allowed:
		d.Refresh, d.Cause = true, Guarded
	case p.Max > 0 && now.Sub(p.refreshed) >= p.Max, p.MaxStaleness > 0 && d.Age+p.Width+seconds(p.Cost) > p.MaxStaleness:
		d.Refresh, d.Cause = true, Overdue
	case !now.Before(p.due):
		d.Refresh, d.Cause = true, Planned
	default:
		d.Cause = Waiting
	}
	return d
}

// replan makes a plan for the time from now on.
func (p *Pilot) replan(now time.Time) {
	rate := p.Reads.MeanRate()
	eoq := EOQ(p.Cost, p.Kappa, rate)
	p.guard = guardFactor(rate * min(eoq, horizonMost.Seconds()))
	n := int(horizon(eoq) / p.Width)
	o := Outlook{
		Width: p.Width, Reads: p.Reads.Forecast(now, n, p.Width), Kappa: p.Kappa,
		Cost: []float64{p.Cost}, Age: p.age(now),
	}
	if p.Tracked {
		p.Changes.Outlook(&o, now)
	}
	p.plan = o.Plan()
	p.planned, p.due = now, now.Add(time.Duration(p.plan.First)*p.Width)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Reasons says it in words.
func (d Decision) Reasons() []string {
	switch d.Cause {
	case Unchanged:
		return []string{"nothing changed since the last refresh"}
	case TooSoon:
		return []string{"the view's shortest interval has not passed"}
	case Guarded:
		return []string{fmt.Sprintf("readers paid %.1f refresh-seconds in age since the last refresh, more than the %.1f that the guard allows", d.Paid, d.Allowed)}
	case Overdue:
		return []string{fmt.Sprintf("data is %s old, the view's bounds allow no more", d.Age.Round(time.Second))}
	case Planned:
		return []string{fmt.Sprintf("the plan refreshes now: %.1f refresh-seconds up to its horizon, data is %s old", d.Plan.Cost, d.Age.Round(time.Second))}
	}
	return []string{fmt.Sprintf("the plan waits until %s: %.1f refresh-seconds up to its horizon instead of %.1f when refreshed now",
		d.Due.UTC().Format("2006-01-02 15:04 MST"), d.Plan.Cost, d.Plan.AtNow)}
}
