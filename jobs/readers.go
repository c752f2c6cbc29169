package jobs

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// span is what happened to a view from an instant on. NaN = unknown.
type span struct {
	at             time.Time
	width          time.Duration
	reads, changes float64
}

// spansKept is a day of minutes: what is older does not matter to who asks for a refresh today.
const spansKept = 24 * 60

// heed asks for a refresh of the views whose readers have seen enough old data. What is remembered for that begins with
// what was written down, so a sidecar that takes over has missed a few minutes at most.
func (c *collector) heed(ctx context.Context, at time.Time, width time.Duration, reads map[int64]float64, metered map[int64]optimizer.Metered) error {
	adaptive, budget, err := catalog.LoadAdaptive(ctx, c.pool)
	if err != nil {
		return err
	}
	spent := make(optimizer.Allowance)
	for _, v := range adaptive {
		spent[v.Owner] += duration(v.Spent)
	}
	spans := make(map[int64][]span, len(adaptive))
	var due []waiting
	for _, v := range adaptive {
		above := withAbove(v.ViewID, c.upstream)
		seen, known := c.spans[v.ViewID]
		if !known {
			if seen, err = c.recall(ctx, v, above); err != nil {
				return err
			}
		}
		spans[v.ViewID] = since(append(seen, span{at, width, readsOf(above, reads), metered[v.ViewID].Changes}), v.AsOf)
		if !v.Ready {
			continue
		}
		tab := optimizer.NewTab(v.AsOf)
		for _, s := range spans[v.ViewID] {
			tab.Add(s.at, s.width, s.reads, s.changes)
		}
		if tab.Due(v.Patience, v.NextDue.Sub(at.Add(width))) {
			due = append(due, waiting{v, tab})
		}
	}
	c.spans = spans
	return catalog.AskForReaders(ctx, c.pool, c.name, affordable(due, spent, budget))
}

// waiting is a view whose readers have paid enough.
type waiting struct {
	catalog.AdaptiveView
	tab optimizer.Tab
}

// affordable are those of them that the budget is enough for. What is left of it goes to those whose readers have paid most of what
// they may, so that none is left out for ever by the order in which views are read.
func affordable(due []waiting, spent optimizer.Allowance, budget time.Duration) (asked []catalog.Asking) {
	slices.SortStableFunc(due, func(a, b waiting) int { return cmp.Compare(b.tab.Age/b.Patience, a.tab.Age/a.Patience) })
	for _, v := range due {
		if spent.Left(v.Owner, budget) > 0 {
			asked = append(asked, catalog.Asking{ViewID: v.ViewID, Reason: v.tab.Words(v.Patience)})
			spent[v.Owner] += duration(v.Took)
		}
	}
	return asked
}

// recall is what was written down of a view since its last refresh.
func (c *collector) recall(ctx context.Context, v catalog.AdaptiveView, above []int64) ([]span, error) {
	from := v.Now.Add(-spansKept * time.Minute)
	if v.AsOf.After(from) {
		from = v.AsOf
	}
	var r recorder
	h, err := r.record(ctx, c.pool, above, time.UTC, from.Truncate(time.Hour), from, v.Now)
	if err != nil {
		return nil, err
	}
	spans := make([]span, len(h.Reads))
	for i, reads := range h.Reads {
		spans[i] = span{h.Grid.At(i), h.Grid.Width, reads, math.NaN()}
		if h.Changes != nil {
			spans[i].changes = h.Changes[i]
		}
	}
	return spans, nil
}

// readsOf are those of a view, which comes first, and of the views above it as far as they are known.
func readsOf(views []int64, reads map[int64]float64) (sum float64) {
	for i, view := range views {
		n, known := reads[view]
		switch {
		case known && !math.IsNaN(n):
			sum += n
		case i == 0:
			return math.NaN()
		}
	}
	return sum
}

// since leaves out what ended before an instant, and what is too much to be kept.
func since(spans []span, asOf time.Time) []span {
	spans = slices.DeleteFunc(spans, func(s span) bool { return s.at.Add(s.width).Before(asOf) })
	return spans[max(0, len(spans)-spansKept):]
}
