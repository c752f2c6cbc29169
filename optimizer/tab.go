package optimizer

import (
	"fmt"
	"math"
	"time"
)

// Tab is what the readers of a view have paid since the instant up to which its contents are whole: the age of what each
// of them saw. Reads that are not known pay nothing.
type Tab struct {
	Age   float64 // added up over all reads, in seconds
	Reads float64 // that saw old data

	asOf   int64 // in nanoseconds since 1970
	unseen int64 // first change that the contents do not show; zero = none
}

// NewTab is empty: the contents are whole up to an instant.
func NewTab(asOf time.Time) Tab {
	if asOf.IsZero() {
		return Tab{}
	}
	return Tab{asOf: asOf.UnixNano()}
}

// Add puts down what happened in a span, in the order of time. NaN = unknown: of changes it means that they are taken to
// happen all the time, of both that nothing is put down.
func (t *Tab) Add(at time.Time, width time.Duration, reads, changes float64) {
	t.add(at.UnixNano(), width, reads, changes)
}

func (t *Tab) add(at int64, width time.Duration, reads, changes float64) {
	middle := at + int64(width/2)
	if middle < t.asOf || math.IsNaN(reads) && math.IsNaN(changes) {
		return
	}
	if t.unseen == 0 {
		switch {
		case math.IsNaN(changes):
			t.unseen = t.asOf
		case changes != 0:
			t.unseen = middle
		}
	}
	if age := time.Duration(middle - t.unseen); t.unseen != 0 && age > 0 && !math.IsNaN(reads) {
		t.Age += reads * age.Seconds()
		t.Reads += reads
	}
}

// Due says whether to refresh between two slots: readers have paid what they may, and as many again would pay as much
// until the next slot, which is so far away.
func (t *Tab) Due(patience float64, nextSlot time.Duration) bool {
	return t.Age >= patience && t.Reads*nextSlot.Seconds() >= patience
}

// Words say why it is due.
func (t *Tab) Words(patience float64) string {
	return fmt.Sprintf("%.0f reads since the last refresh saw data that was %s old on average, which adds up to %s where %s are allowed",
		t.Reads, shortly(t.Age/t.Reads), shortly(t.Age), shortly(patience))
}

// AdaptiveSchedule is the best of the mode for a mean rate, in reads per second. Readers may pay what a refresh costs,
// times [guardFactor]; since they then get one, the slots are far apart.
func AdaptiveSchedule(cost, kappa, rate float64, bounds Bounds) Schedule {
	cycle := min(EOQ(cost, kappa, rate), horizonMost.Seconds())
	return Schedule{
		Mode:     Adaptive,
		Interval: NiceInterval(slotStretch*slotStretch*cost, kappa, rate, bounds), // the best interval goes with the root of the cost
		Patience: guardFactor(rate*cycle) * cost / kappa,
	}
}

// ask refreshes a view that changed in the slots of an interval, and between them when the tab says so.
func (h History) ask(world *World, s Schedule, bounds Bounds, lo, hi int) []int {
	slots := append(every(h.Grid, s.Interval.Seconds()/h.Grid.seconds(), lo, hi), hi)
	least := bounds.least()
	refreshes, next := append(make([]int, 0, len(slots)), lo), 1
	at, most, skipped := h.Grid.nanos(lo), h.skips(s), 0
	tab := Tab{asOf: at}
	for t := lo + 1; t < hi; t++ {
		changes := math.NaN()
		if h.Changes != nil {
			changes = h.Changes[t-1]
		}
		tab.add(at, h.Grid.Width, h.Reads[t-1], changes)
		at += int64(h.Grid.Width)
		slot := slots[next] == t
		if slot {
			next++
		}
		left := time.Duration(slots[next]-t) * h.Grid.Width
		last := refreshes[len(refreshes)-1]
		soon := time.Duration(t-last)*h.Grid.Width < least
		switch changed := world.changedBy(last, t); {
		case changed && (slot || !soon && tab.Due(s.Patience, left)), slot && most > 0 && skipped == most:
			refreshes, skipped = append(refreshes, t), 0
			tab = Tab{asOf: at}
		case slot:
			skipped++
		}
	}
	return refreshes
}
