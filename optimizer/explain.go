package optimizer

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Proposal is what a person is asked to accept.
type Proposal struct {
	View          string
	Old, New      Schedule
	Before, After Prediction // on the same two weeks of reads
	Evidence      Evidence
	Days          float64 // that the reads were observed for
	Reads         float64 // in them
	Cost          float64 // of a refresh, that the interval decides about, in refresh-seconds
	Refresh       Expected
	Width         time.Duration // of a bin of the reads, of which ages are told apart by [partsOfBin]; zero = not known
	Sources       string        // of the reads, and what was missing, for example "counters; no pg_stat_statements"
}

// propose compares the schedule in force with the chosen one on the last two weeks of the history. What a refresh costs in all
// and the sources of the reads are for the text alone.
func (s *study) propose(view string, old Schedule, choice Choice, refresh Expected, sources string) Proposal {
	n := len(s.Reads)
	return Proposal{
		View: view, Old: old, New: choice.Schedule, Before: s.predict(old), After: s.predict(choice.Schedule),
		Evidence: choice.Evidence, Days: float64(n) * s.Grid.Width.Hours() / 24, Reads: s.read,
		Cost: s.Cost, Refresh: refresh, Width: s.Grid.Width, Sources: sources,
	}
}

// Sentence explains the proposal to a person, as in the specification (section 3e).
func (p Proposal) Sentence() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %s -> %s. ", p.View, p.Old, p.New)
	fmt.Fprintf(&s, "In %.0f days %.0f reads", p.Days, p.Reads)
	if p.Evidence.Resolution > FlatRate {
		fmt.Fprintf(&s, ", with a weekly rhythm (one rate for all hours costs %.2f times as much)", p.Evidence.Gain)
	}
	s.WriteString(". " + p.refreshWords())
	fmt.Fprintf(&s, ". Expected a day: %.0f -> %.0f s of refreshes; mean age seen by readers %s -> %s (19 reads in 20: up to %s -> %s); cost of both, in s of refreshes, %.0f -> %.0f (8 days in 10: %.0f to %.0f).",
		p.Before.RefreshSeconds, p.After.RefreshSeconds, p.age(p.Before.MeanAge), p.age(p.After.MeanAge),
		p.age(p.Before.P95Age), p.age(p.After.P95Age), p.Before.Cost, p.After.Cost, p.After.Low, p.After.High)
	if p.New.Mode == CalendarMode {
		s.WriteString(pauseWords(p.New.Calendar))
	}
	if p.Sources != "" {
		fmt.Fprintf(&s, " Evidence: %s.", p.Sources)
	}
	return s.String()
}

// refreshWords say what a refresh takes, and as what it counts where that is more.
func (p Proposal) refreshWords() string {
	took := cmp.Or(p.Refresh.Whole, p.Cost)
	switch said := fmt.Sprintf("A refresh takes %s (nine in ten at most %s)", shortly(took), shortly(p.Refresh.P90)); {
	case p.Refresh.PerRow > 0:
		return fmt.Sprintf("A refresh takes %s, and as it is %s more for the rows that change, which are paid for at any interval and left out here", shortly(p.Cost), shortly(p.Refresh.PerRow*p.Refresh.Rows))
	case p.Refresh.Cost > took:
		return fmt.Sprintf("%s and counts as %s, what one costs at least", said, shortly(p.Cost))
	case p.Cost > waitsTell*took:
		return fmt.Sprintf("%s and counts as %s, with readers who wait for its lock", said, shortly(p.Cost))
	default:
		return said
	}
}

// waitsTell is how many times as much as it takes a refresh has to count before it is said why.
const waitsTell = 1.1

func (p Proposal) age(seconds float64) string {
	if seconds == 0 && p.Width > 0 {
		return shortly(p.Width.Seconds() / partsOfBin)
	}
	return shortly(seconds)
}
