package optimizer

import (
	"fmt"
	"time"
)

// Trial is a change of schedule under observation.
type Trial struct {
	// History covers some time before the change as well, from which an old schedule that was adaptive learns.
	History   History
	Changed   int   // bin in which the new schedule began
	Refreshes []int // bins of those that really ran since, in order, the first at or after Changed
	Old       Schedule
	Bounds    Bounds

	PredictedCost float64 // of a refresh, in refresh-seconds, when the change was proposed; zero = unknown
	MeasuredCost  float64 // the median since; zero = unknown
	Failures      float64 // failed or timed-out refreshes per refresh since the change
	FailuresWere  float64 // and before
	Ended         int     // refreshes since the change, failed ones as well
}

// Judgement is the verdict on a [Trial].
type Judgement struct {
	RollBack bool
	Final    bool // no longer under observation; a roll-back is always final
	New, Old Outcome
	Why      []string
}

// Reasons says why.
func (j Judgement) Reasons() []string { return j.Why }

// Judge replays the reads that really came under the old schedule and compares. That is the counterfactual
// itself and not an estimate of it, because reads do not depend on refreshes (spec 3e); the one exception,
// readers who stay away from stale data, is looked for separately. In the first week only a clear loss counts
// (earlyLoss); at its end a small one does (lateLoss), and the trial is over.
func (t Trial) Judge() Judgement {
	h := t.History
	n := len(h.Reads)
	world := h.World()
	passed := time.Duration(n-t.Changed) * h.Grid.Width
	if passed < verifyLeast {
		return Judgement{Why: []string{fmt.Sprintf("under observation for %s, judged after %s at the earliest", shortly(passed.Seconds()), words(verifyLeast))}}
	}
	refreshes := t.Refreshes
	if len(refreshes) == 0 || refreshes[0] > t.Changed {
		refreshes = append([]int{t.Changed}, refreshes...)
	}
	j := Judgement{
		New:   world.Replay(refreshes, t.Changed, n),
		Old:   world.Replay(h.Refreshes(t.Old, t.Bounds, t.Changed, n), t.Changed, n),
		Final: passed >= verifyMost,
	}
	back := func(format string, args ...any) Judgement {
		j.RollBack, j.Final = true, true
		j.Why = append(j.Why, fmt.Sprintf(format, args...))
		return j
	}
	loss := j.New.Cost / j.Old.Cost
	compared := fmt.Sprintf("on the %.0f reads since the change, the new schedule cost %.0f refresh-seconds (mean age %s), the old one would have cost %.0f (mean age %s): %.2f times",
		j.New.Reads, j.New.Cost, shortly(j.New.MeanAge), j.Old.Cost, shortly(j.Old.MeanAge), loss)
	var readers fall
	if j.New.RefreshSeconds < j.Old.RefreshSeconds { // it is slower
		readers = h.fall(t.Changed)
	}
	switch {
	case t.ill() != "":
		return back("%s", t.ill())
	case t.Bounds.MaxStaleness > 0 && j.New.P95Age > t.Bounds.MaxStaleness.Seconds():
		return back("a reader in twenty sees data older than %s, the limit is %s", shortly(j.New.P95Age), words(t.Bounds.MaxStaleness))
	case readers.Fell():
		return back("%.0f reads came where %.0f were expected, bursts left out, %.1f standard deviations fewer: readers may stay away from staler data", readers.Came, readers.Expected, readers.Deviations)
	case max(j.New.Refreshes, j.Old.Refreshes) < verifyRefreshes && !j.Final:
		j.Why = []string{fmt.Sprintf("only %d refreshes so far, %d are needed for an early judgement", max(j.New.Refreshes, j.Old.Refreshes), verifyRefreshes)}
		return j
	case loss > earlyLoss, j.Final && loss > lateLoss:
		return back("%s", compared)
	}
	j.Why = append(j.Why, compared)
	return j
}

// ill says what is wrong with the refreshes themselves; empty = nothing.
func (t Trial) ill() string {
	switch {
	case t.MeasuredCost > 0 && t.PredictedCost > 0 && t.MeasuredCost > dearer*max(t.PredictedCost, stepSeconds):
		return t.costs()
	case t.Failures > 2*t.FailuresWere && t.Failures*float64(t.Ended) >= 3:
		return fmt.Sprintf("%.0f %% of the refreshes fail, %.0f %% did before", 100*t.Failures, 100*t.FailuresWere)
	}
	return ""
}

// JudgeLonger judges a longer retention, so long after it was put in force. Readers lose nothing by it: it is taken back
// only when refreshes cannot bear it.
func (t Trial) JudgeLonger(passed time.Duration) Judgement {
	if why := t.ill(); why != "" {
		return Judgement{RollBack: true, Final: true, Why: []string{why}}
	}
	return Judgement{Final: passed >= verifyMost, Why: []string{t.costs()}}
}

func (t Trial) costs() string {
	return fmt.Sprintf("a refresh takes %s, %s were predicted", shortly(t.MeasuredCost), shortly(t.PredictedCost))
}

// Freeze says until when a view is left alone after its roll-backs: freezeAfter of them within freezeWindow
// freeze it for freezeWindow. Zero = it is not frozen.
func Freeze(rollBacks []time.Time, now time.Time) (until time.Time, why []string) {
	recent := 0
	var last time.Time
	for _, at := range rollBacks {
		if now.Sub(at) < freezeWindow {
			recent++
			last = later(last, at)
		}
	}
	if recent < freezeAfter {
		return time.Time{}, nil
	}
	until = last.Add(freezeWindow)
	return until, []string{fmt.Sprintf("%d changes had to be taken back within %s: the view is left alone until %s", recent, words(freezeWindow), date(until))}
}
