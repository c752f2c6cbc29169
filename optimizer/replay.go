package optimizer

import (
	"math"
	"slices"
	"sync"
)

// Outcome is what a set of refreshes came to.
type Outcome struct {
	Refreshes      int
	RefreshSeconds float64 // spent on refreshes
	MeanAge        float64 // seconds, the mean over all reads; zero without reads
	P95Age         float64 // seconds, 95 % of the reads saw no older data
	Reads          float64
	Cost           float64 // J, in refresh-seconds
}

// Replay says what refreshes at the start of the given bins, in order and the first at lo, would have come to
// in bins [lo, hi). A bin that is listed several times is refreshed as often, in equal steps. Reads do not depend on
// refreshes, so that this is exact for any schedule.
func (w *World) Replay(refreshes []int, lo, hi int) Outcome {
	return w.ReplayShown(refreshes, refreshes, lo, hi)
}

// ReplayShown is [World.Replay] of refreshes of which readers see each only from another bin on, in which it is over. Those bins are
// in order, none before its refresh.
func (w *World) ReplayShown(refreshes, shown []int, lo, hi int) Outcome {
	out := Outcome{Refreshes: len(refreshes), Reads: w.reads.total(lo, hi)}
	width := w.Grid.seconds()
	kept := ages.Get().(*[]float64)
	byAge := append((*kept)[:0], 0) // reads by the age of what they saw, in parts of a bin
	defer func() {
		*kept = byAge
		ages.Put(kept)
	}()
	var paid float64
	for i := 0; i < len(refreshes); {
		from := shown[i]
		times, end := stretch(shown[i:], hi)
		i += times
		s := refreshes[i-1]
		unseen := w.unseen(s)
		out.RefreshSeconds += float64(times) * w.RefreshCost(s)
		age := int(math.Round(partsOfBin * (float64(from) + 0.5 - unseen)))
		younger, first := 0.0, max(0, age)
		if s == from {
			younger, first = w.younger(s, times), int(math.Round(partsOfBin*w.within(s, times)))
		}
		paid += (w.reads.age(unseen, from, end) - younger) * width
		if oldest := age + partsOfBin*(end-from); oldest > len(byAge) {
			byAge = append(byAge, make([]float64, oldest-len(byAge))...)
		}
		byAge[first] += w.reads.total(from, from+1)
		for t := from + 1; t < end; t++ {
			age += partsOfBin
			byAge[max(0, age)] += w.reads.total(t, t+1)
		}
	}
	out.Cost = out.RefreshSeconds + w.Kappa*paid
	if out.Reads <= 0 {
		return out
	}
	out.MeanAge = paid / out.Reads
	var so float64
	for age, reads := range byAge {
		if so += reads; reads > 0 && so >= 0.95*out.Reads {
			out.P95Age = float64(age) / partsOfBin * width
			break
		}
	}
	return out
}

// ages are the memory of replays that are over: it grows to the longest time without a refresh.
var ages = sync.Pool{New: func() any { return new([]float64) }}

// partsOfBin is how finely ages are told apart for [Outcome].P95Age; 15 s where bins have five minutes.
const partsOfBin = 20

// stretch is how often the first of the bins is listed, and up to where what was refreshed in it is read.
func stretch(refreshes []int, hi int) (times, end int) {
	for times = 1; times < len(refreshes); times++ {
		if refreshes[times] != refreshes[0] {
			return times, refreshes[times]
		}
	}
	return times, hi
}

// costOf is J up to a bin of refreshes in order.
func (w *World) costOf(refreshes []int, hi int) (sum float64) {
	for i := 0; i < len(refreshes); {
		s := refreshes[i]
		times, end := stretch(refreshes[i:], hi)
		i += times
		sum += w.segment(s, end) + w.repeated(s, times)
	}
	return sum
}

// skipUnchanged leaves out the refreshes before which nothing changed, in place: they cost nothing. After most of them in a
// row the next one is kept all the same; zero = never.
func (w *World) skipUnchanged(refreshes []int, most int) []int {
	if len(w.first) == 0 || len(refreshes) == 0 {
		return refreshes
	}
	kept, skipped := refreshes[:1], 0
	for _, t := range refreshes[1:] {
		if !w.changedBy(kept[len(kept)-1], t) && (most == 0 || skipped < most) {
			skipped++
			continue
		}
		kept, skipped = append(kept, t), 0
	}
	return kept
}

// daily is J of each whole day of bins [lo, hi).
func (w *World) daily(refreshes []int, lo, hi int) []float64 {
	day := int(24 * 3600 / w.Grid.seconds())
	costs := make([]float64, (hi-lo)/day)
	price := w.Kappa * w.Grid.seconds()
	today, midnight := 0, lo+day // of the refresh
	for i := 0; i < len(refreshes); {
		s := refreshes[i]
		times, end := stretch(refreshes[i:], hi)
		i += times
		for ; s >= midnight; midnight += day {
			today++
		}
		if today < len(costs) {
			costs[today] += w.RefreshCost(s) + w.repeated(s, times)
		}
		unseen := w.unseen(s)
		for from, d, until := s, today, midnight; from < end && d < len(costs); d, until = d+1, until+day { // the days that the snapshot serves
			to := min(end, until)
			costs[d] += price * w.reads.age(unseen, from, to)
			from = to
		}
	}
	return costs
}

// quantileOf interpolates between the order statistics; zero without values.
func quantileOf(values []float64, q float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return quantileOfSorted(sorted, q)
}

func quantileOfSorted(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := min(int(at), len(sorted)-2)
	if i < 0 {
		return sorted[0]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
