package optimizer

import (
	"math"
	"slices"
)

// World is what happened to one view, bin by bin, and what its owner pays for. It gives the exact cost of
// any set of refreshes:
//
//	J = sum of the refreshes' cost + kappa * sum over the reads of the age that they saw
//
// A refresh at the start of bin s shows every change of the bins before s. Reads happen in the middle of their bin, a change
// as well; the first of n changes at 1/(n+1) of it, where the first of n that are spread evenly is expected. The age of a
// read is the time since the first change that it does not see, as in Cho and Garcia-Molina (TODS 2003), zero when there is
// none. Where a source changes all the time, it is the time since the refresh.
//
// A World does not change after [NewWorld] and may be used by several goroutines.
type World struct {
	Grid  Grid
	Kappa float64 // refresh-seconds that a second of age is worth to one read

	reads moments
	cost  []float64
	first []float64 // by snapshot: position of the first change that it does not show; none = the snapshot itself
}

// NewWorld prices what was recorded. Reads and changes are counts per bin; nil changes mean that the source
// changes all the time. Reads that are not known (NaN) are nobody's: they cost nothing under any schedule. Changes that are not
// known are taken to happen. Cost is in refresh-seconds by the bin in which a refresh starts; one element stands
// for all bins.
func NewWorld(grid Grid, reads, changes, cost []float64, kappa float64) *World {
	w := new(World)
	w.record(grid, reads, changes, cost, kappa)
	return w
}

// record makes it another world, in the memory that it has.
func (w *World) record(grid Grid, reads, changes, cost []float64, kappa float64) {
	w.Grid, w.Kappa, w.cost = grid, kappa, cost
	w.reads.of(reads)
	w.first = w.first[:0]
	if changes != nil {
		n := len(reads)
		w.first = slices.Grow(w.first, n+1)[:n+1]
		w.first[n] = float64(n + 1) // later than any read
		for t := n - 1; t >= 0; t-- {
			w.first[t] = w.first[t+1]
			switch c := changes[t]; {
			case c > 1:
				w.first[t] = float64(t) + 1/(1+c)
			case c > 0 || math.IsNaN(c):
				w.first[t] = float64(t) + 0.5
			}
		}
	}
}

// RefreshCost is what a refresh at the start of bin s costs, in refresh-seconds.
func (w *World) RefreshCost(s int) float64 {
	if len(w.cost) == 1 {
		return w.cost[0]
	}
	return w.cost[s]
}

// unseen is the position, in bins, of the first change that snapshot s does not show.
func (w *World) unseen(s int) float64 {
	if len(w.first) == 0 {
		return float64(s)
	}
	return w.first[s]
}

// changedBy says whether at the start of bin t there is something that snapshot s does not show.
func (w *World) changedBy(s, t int) bool { return len(w.first) == 0 || w.first[s] < float64(t) }

// segment is the cost of snapshot s and of the reads that see it until the next one at e.
//
// It is Monge, which the dynamic program relies on: for a < b < c < d
//
//	segment(a, d) - segment(a, c) = kappa * sum over the reads in [c, d) of their age under a
//
// and no read is younger under a than under the later b. The price of a refresh depends on its start alone
// and cancels.
func (w *World) segment(s, e int) float64 {
	return w.RefreshCost(s) + w.Kappa*w.Grid.seconds()*w.reads.age(w.unseen(s), s, e)
}

// within is the age, in bins, of what reads of a bin see that is refreshed so many times in it, in equal steps, among which its
// changes are spread evenly.
func (w *World) within(s, times int) float64 {
	first := w.unseen(s) - float64(s)
	if first >= 0.5 {
		return 0
	}
	if times > 1 {
		first = min(0.5, 1/(1+(1/first-1)/float64(times))) // 1/first-1 are the changes of the bin
	}
	return (0.5 - first) / float64(times)
}

// younger is the age, in bins and added up over the reads of a bin, that more than one refresh in it spares them.
func (w *World) younger(s, times int) float64 {
	if times == 1 {
		return 0
	}
	return w.reads.total(s, s+1) * (w.within(s, 1) - w.within(s, times))
}

// repeated is what all but the first of the refreshes in a bin add to J: their cost, less the age that they spare.
func (w *World) repeated(s, times int) float64 {
	if times == 1 {
		return 0
	}
	return float64(times-1)*w.RefreshCost(s) - w.Kappa*w.Grid.seconds()*w.younger(s, times)
}

// moments are prefix sums of reads and of reads times their position, with which the age of any range of
// reads is known in constant time.
type moments struct {
	count  []float64 // count[t] = reads before bin t
	moment []float64 // moment[t] = sum of reads times the middle of their bin, before bin t
}

func momentsOf(reads []float64) (m moments) {
	m.of(reads)
	return m
}

// of makes them those of other reads, in the memory that they have.
func (m *moments) of(reads []float64) {
	n := len(reads) + 1
	m.count, m.moment = slices.Grow(m.count[:0], n)[:n], slices.Grow(m.moment[:0], n)[:n]
	m.count[0], m.moment[0] = 0, 0
	for t, r := range reads {
		if math.IsNaN(r) {
			r = 0
		}
		m.count[t+1] = m.count[t] + r
		m.moment[t+1] = m.moment[t] + r*(float64(t)+0.5)
	}
}

func (m moments) len() int { return len(m.count) - 1 }

// total is the number of reads in bins [a, b).
func (m moments) total(a, b int) float64 { return m.count[b] - m.count[a] }

// age is the sum, over the reads in bins [a, b), of the time since position f, in bins; reads before f have
// none.
func (m moments) age(f float64, a, b int) float64 {
	if first := int(math.Ceil(f - 0.5)); first > a {
		a = first
	}
	if a >= b {
		return 0
	}
	return m.moment[b] - m.moment[a] - f*(m.count[b]-m.count[a])
}
