package optimizer

import (
	"slices"
	"time"
)

// ChangeModel learns how long after a refresh the sources change again. Changes are taken for a renewal
// process: the gaps between them follow one distribution, the observed one. That catches what matters, that
// changes come in bursts: after a change the next one is near, and the longer a silence lasts the longer it
// will go on. The mean gap would be mostly the pause between bursts and is of no use (spec 3b).
//
// A clock that follows the hours of the week was tried and gained nothing on the pairs of dev.
//
// The zero value is ready and expects a change at once. It is fed bin by bin, in order. Not for concurrent use.
type ChangeModel struct {
	gaps   []float64 // seconds between bins with changes, zero for adjacent ones, in order, the last keptGaps
	last   time.Time // end of the last bin with a change; zero = none yet
	sorted []float64 // gaps in order of length; nil = to be sorted again
}

// Observe adds a bin. A NaN, or a source without counters (foreign tables, functions, now()), counts as
// changed: a token that is equal before and after proves that nothing changed, never the reverse.
func (m *ChangeModel) Observe(at time.Time, width time.Duration, changes float64) {
	if changes == 0 {
		return
	}
	if !m.last.IsZero() {
		if len(m.gaps) == keptGaps {
			m.gaps = m.gaps[:copy(m.gaps, m.gaps[1:])]
		}
		m.gaps = append(m.gaps, at.Sub(m.last).Seconds())
		m.sorted = nil
	}
	m.last = at.Add(width)
}

// Outlook adds what is known of the changes to an outlook from now on.
func (m *ChangeModel) Outlook(o *Outlook, now time.Time) {
	if m.sorted == nil {
		m.sorted = slices.Sorted(slices.Values(m.gaps))
	}
	var silent float64
	for _, gap := range m.sorted {
		silent += gap
	}
	if n := float64(len(m.sorted)); n < minGaps || silent < n*o.Width.Seconds() {
		return // too little is known, or they change in most bins
	}
	o.Waits, o.Next = m.waits(0, o), m.waits(now.Sub(m.last).Seconds(), o)
}

// waits are equally likely times to the next change when so many seconds have passed since the last one, in
// whole bins: quantiles of the gaps that are longer.
func (m *ChangeModel) waits(passed float64, o *Outlook) []int {
	from, _ := slices.BinarySearch(m.sorted, passed)
	longer := m.sorted[from:]
	waits := make([]int, waitQuantiles)
	for k := range waits {
		waits[k] = len(o.Reads) // nobody has ever seen so long a silence end
		if len(longer) > 0 {
			gap := longer[(2*k+1)*len(longer)/(2*waitQuantiles)]
			waits[k] = int(min((gap-passed)/o.Width.Seconds(), float64(len(o.Reads))))
		}
	}
	return waits
}
