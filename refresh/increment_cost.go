package refresh

import (
	"fmt"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// Extent says how many rows an incremental view has for how much time.
type Extent struct {
	Rows int64         // 0 = not known
	Span time.Duration // of its partitions together
	End  time.Time     // of the last of them; zero = not known
	// What is read by the window. A view of few rows may be made of many; without it a row of the view stands for what is read for it.
	Below []catalog.Stretch
}

// Pass is a range and how it is computed.
type Pass struct {
	Range
	// Of staged ranges what differs from what is there is computed into a table of its own first, by statements
	// that run in parallel; others by one statement, which cannot, but has less to set up.
	Staged bool
}

// Costs in seconds, of a row of the view with what is read for it, measured with an hour of 1,000 devices and a
// hundred days of them; only their relations matter.
const (
	costOfStatement = 0.004 // planned anew each time
	costOfRow       = 6e-6
	costOfStaging   = 0.040 // two tables made, analyzed and dropped
	costOfStagedRow = 2e-6
	costOfRead      = 4e-7 // of a row below
)

// Passes joins neighbouring ranges where that is cheaper than to compute each, chooses how each is computed, and
// says why where it is not by ranges. The window of a range reaches margin further on either side.
func Passes(ranges []Range, margin time.Duration, e Extent) (passes []Pass, reason string) {
	if len(ranges) == 0 {
		return nil, ""
	}
	var joined []Range
	for _, r := range ranges {
		for len(joined) > 0 {
			last := joined[len(joined)-1]
			both := Range{Lo: last.Lo, Hi: later(last.Hi, r.Hi)}
			if e.cost(both, margin) > e.cost(last, margin)+e.cost(r, margin) {
				break
			}
			joined, r = joined[:len(joined)-1], both
		}
		joined = append(joined, r)
	}
	whole, apart := Range{Lo: joined[0].Lo, Hi: joined[len(joined)-1].Hi}, 0.0
	for _, r := range joined {
		apart += e.cost(r, margin)
	}
	if e.cost(whole, margin) <= apart {
		joined = []Range{whole}
	}
	staged, rows := 0, int64(0)
	for _, r := range joined {
		n, known := e.rows(r, margin)
		pass := Pass{Range: r, Staged: !known || costOfStaging+float64(n)*costOfStagedRow < costOfStatement+float64(n)*costOfRow}
		if pass.Staged {
			staged, rows = staged+1, rows+n
		}
		passes = append(passes, pass)
	}
	if staged > 0 {
		reason = "in one pass"
		if len(passes) > 1 {
			reason = fmt.Sprintf("%d of %s in one pass each", staged, count(len(passes), "range"))
		}
		if rows > 0 {
			reason += fmt.Sprintf(", since they have about %d rows", rows)
		}
	}
	return passes, reason
}

// rows estimates how many rows the view has in the window of a range; known is false where that may be any number.
func (e Extent) rows(r Range, margin time.Duration) (n int64, known bool) {
	r = e.until(r)
	bounded := r.Lo != nil && r.Hi != nil
	if e.Rows <= 0 || e.Span <= 0 {
		return 0, bounded && r.Hi.Sub(*r.Lo) <= 2*margin
	}
	return int64(e.share(r, margin) * float64(e.Rows)), true
}

// until is r to the end of what there is: nothing comes after that.
func (e Extent) until(r Range) Range {
	if r.Lo != nil && r.Hi == nil && !e.End.IsZero() {
		r.Hi = later(r.Lo, &e.End)
	}
	return r
}

// share is how much of the time that the view has partitions for is in the window of a range.
func (e Extent) share(r Range, margin time.Duration) float64 {
	if r.Lo == nil || r.Hi == nil || e.Span <= 0 {
		return 1
	}
	return min(float64(r.Hi.Sub(*r.Lo)+margin)/float64(e.Span), 1)
}

// read estimates how many rows below are read for a range.
func (e Extent) read(r Range, margin time.Duration) (n float64) {
	for _, b := range e.Below {
		if b.Lo == nil || b.Hi == nil || !b.Hi.After(*b.Lo) {
			n += float64(b.Rows) * e.share(e.until(r), margin)
			continue
		}
		lo, hi := *b.Lo, *b.Hi
		if r.Lo != nil && r.Lo.Add(-margin).After(lo) {
			lo = r.Lo.Add(-margin)
		}
		if r.Hi != nil && r.Hi.Add(margin).Before(hi) {
			hi = r.Hi.Add(margin)
		}
		n += float64(b.Rows) * max(float64(hi.Sub(lo))/float64(b.Hi.Sub(*b.Lo)), 0)
	}
	return n
}

func (e Extent) cost(r Range, margin time.Duration) float64 {
	n, _ := e.rows(r, margin)
	return min(costOfStatement+float64(n)*costOfRow, costOfStaging+float64(n)*costOfStagedRow) + e.read(r, margin)*costOfRead
}
