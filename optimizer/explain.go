package optimizer

import (
	"fmt"
	"strings"
)

// Proposal is what a person is asked to accept.
type Proposal struct {
	View          string
	Old, New      Schedule
	Before, After Prediction // on the same two weeks of reads
	Evidence      Evidence
	Days          float64 // that the reads were observed for
	Reads         float64 // in them
	Cost, CostP90 float64 // of a refresh, in refresh-seconds
	Sources       string  // of the reads, and what was missing, for example "counters; no pg_stat_statements"
}

// Propose compares the schedule in force with the chosen one on the last two weeks of the history. CostP90
// and the sources of the reads are for the text alone.
func Propose(view string, h History, old Schedule, choice Choice, bounds Bounds, costP90 float64, sources string) Proposal {
	return h.study(bounds).propose(view, old, choice, costP90, sources)
}

func (s *study) propose(view string, old Schedule, choice Choice, costP90 float64, sources string) Proposal {
	n := len(s.Reads)
	return Proposal{
		View: view, Old: old, New: choice.Schedule, Before: s.predict(old), After: s.predict(choice.Schedule),
		Evidence: choice.Evidence, Days: float64(n) * s.Grid.Width.Hours() / 24, Reads: s.read,
		Cost: s.Cost, CostP90: costP90, Sources: sources,
	}
}

// Sentence explains the proposal to a person, as in the specification (section 3e).
func (p Proposal) Sentence() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %s -> %s. ", p.View, p.Old, p.New)
	fmt.Fprintf(&s, "In %.0f days %.0f reads", p.Days, p.Reads)
	if p.Evidence.Resolution > FlatRate {
		fmt.Fprintf(&s, ", with a weekly rhythm (out-of-sample gain %.2fx)", p.Evidence.Gain)
	}
	fmt.Fprintf(&s, ". A refresh costs %s", shortly(p.Cost))
	if p.CostP90 > 0 {
		fmt.Fprintf(&s, " (p90 %s)", shortly(p.CostP90))
	}
	fmt.Fprintf(&s, ". Expected: %.0f -> %.0f refresh-s/day; mean age seen by readers %s -> %s, p95 %s -> %s; cost %.0f -> %.0f a day (8 days in 10: %.0f to %.0f).",
		p.Before.RefreshSeconds, p.After.RefreshSeconds, shortly(p.Before.MeanAge), shortly(p.After.MeanAge),
		shortly(p.Before.P95Age), shortly(p.After.P95Age), p.Before.Cost, p.After.Cost, p.After.Low, p.After.High)
	if p.Sources != "" {
		fmt.Fprintf(&s, " Evidence: %s.", p.Sources)
	}
	return s.String()
}

// Reasons is the sentence and what the evidence rests on.
func (p Proposal) Reasons() []string { return append([]string{p.Sentence()}, p.Evidence.Reasons()...) }
