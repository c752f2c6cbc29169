package jobs

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// HistoryOf puts samples of a view, and of what is above it, on a grid of five minutes that ends now. Hours of the past are
// spread evenly. Reads of the view that are not known stay so; those of what is above it are added where they are known.
func HistoryOf(view int64, samples []catalog.Samples, zone *time.Location, now time.Time) optimizer.History {
	var r recorder
	r.begin(view, zone, now)
	for _, own := range []bool{true, false} {
		for _, s := range samples {
			if own == (s.ViewID == view) {
				r.add(s)
			}
		}
	}
	return r.history()
}

// recorder makes a history of samples, one after the other. The next history takes the place of the one before.
type recorder struct {
	view           int64
	now            time.Time
	grid           optimizer.Grid
	reads, changes []float64
	tracked        bool // some changes are known
}

func (r *recorder) begin(view int64, zone *time.Location, now time.Time) {
	*r = recorder{view: view, now: now, grid: optimizer.Grid{Start: now, Width: catalog.BinWidth, Zone: zone}, reads: r.reads[:0], changes: r.changes[:0]}
}

// add takes samples of the view in order of time, and after these those of what is above it.
func (r *recorder) add(s catalog.Samples) {
	if s.ViewID != r.view {
		r.put(r.reads, s, s.Reads, true)
		return
	}
	if len(r.reads) == 0 {
		r.grid.Start = s.At.UTC()
		n := max(0, int(r.now.Sub(r.grid.Start)/catalog.BinWidth))
		r.reads, r.changes = unknowns(r.reads, n), unknowns(r.changes, n)
	}
	r.put(r.reads, s, s.Reads, false)
	r.put(r.changes, s, s.Changes, false)
	r.tracked = r.tracked || slices.ContainsFunc(s.Changes, func(c float32) bool { return !math.IsNaN(float64(c)) })
}

func (r *recorder) put(into []float64, s catalog.Samples, counts catalog.Counts, add bool) {
	parts := s.Width / int(catalog.BinWidth.Seconds())
	at := int(s.At.Sub(r.grid.Start) / catalog.BinWidth)
	for i, c := range counts {
		from, to := max(0, at+i*parts), min(len(into), at+(i+1)*parts)
		if from >= to || math.IsNaN(float64(c)) {
			continue
		}
		bins, share := into[from:to], float64(c)/float64(parts)
		if add {
			for j := range bins {
				bins[j] += share
			}
			continue
		}
		for j := range bins {
			bins[j] = share
		}
	}
}

// history begins with what is known: the hour in which sampling began is not whole.
func (r *recorder) history() optimizer.History {
	begin := 0
	for begin < len(r.reads) && math.IsNaN(r.reads[begin]) {
		begin++
	}
	h := optimizer.History{Grid: r.grid, Reads: r.reads[begin:]}
	h.Grid.Start = h.Grid.At(begin)
	if r.tracked {
		h.Changes = r.changes[begin:]
	}
	return h
}

// unknowns are so many of them, in the place of others.
func unknowns(u []float64, n int) []float64 {
	u = slices.Grow(u[:0], n)[:n]
	for i := range u {
		u[i] = math.NaN()
	}
	return u
}

// record makes a history of what was sampled of views: of the first, and of those above it. Changes are known of the first alone,
// on days from an instant on. One sample is in memory at a time.
func (r *recorder) record(ctx context.Context, q catalog.Querier, views []int64, zone *time.Location, since, changesSince, now time.Time) (optimizer.History, error) {
	r.begin(views[0], zone, now)
	for _, view := range views {
		if err := catalog.EachSample(ctx, q, view, since, changesSince, r.add); err != nil {
			return optimizer.History{}, err
		}
		if len(r.reads) == 0 {
			break
		}
		changesSince = now
	}
	return r.history(), nil
}
