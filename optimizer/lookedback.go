package optimizer

import (
	"math"
	"slices"
	"time"
)

// LookedBack is how far back a read of a view with time partitions looked, by the oldest partition that it scanned.
type LookedBack struct {
	Days   int  // at most, from the end of its day in UTC to where that partition begins; one of those of [DaysBack]
	Entire bool // it was the oldest that there was: perhaps the read wanted more
}

// farthest is 45 years, in days.
const farthest = 1 << 14

// DaysBack rounds up to a number of days of which there are few: a fifth more each, powers of two among them.
func DaysBack(days float64) int {
	for step := 0; ; step++ {
		if n := int(math.Ceil(math.Exp2(float64(step)/4) - 1e-9)); float64(n) >= days || n >= farthest {
			return n
		}
	}
}

// lookBacksOf tells how far back the reads between two samples looked, of which there were no more than most. A read
// that looks back scans all partitions since then, so of two partitions the older one tells of reads that the younger
// one does not have to be added to. Where reads skip partitions, those that look back less are missed, none that look
// back more.
//
// To estimate how many rows a condition finds, the planner looks up the least and the greatest value of a column that
// has an index, also in partitions which the query will leave out (get_actual_variable_range of PostgreSQL). That shows
// as a scan of the index that found one key and, where VACUUM marked the page, no row. It is no read; nor is a query
// that finds one key in the index alone and fetches no row. Where VACUUM never was, it cannot be told from a read.
func lookBacksOf(parts []scanned, now time.Time, most float64) map[LookedBack]float64 {
	slices.SortFunc(parts, func(a, b scanned) int { return a.from.Compare(b.from) })
	end := now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	found := make(map[LookedBack]float64)
	var counted, peeks float64
	for i, p := range parts {
		reads := p.full
		switch {
		case p.idx <= 0:
		case p.peeked:
			peeks = max(peeks, p.idx)
		default: // peeks are in it as well
			reads += max(1, p.idx-peeks)
		}
		if reads = min(reads, most); reads > counted {
			found[LookedBack{DaysBack(end.Sub(p.from).Hours() / 24), i == 0}] += reads - counted
			counted = reads
		}
	}
	return found
}

// AddLookBacks adds those of another server.
func (m *Metered) AddLookBacks(there Metered) {
	m.LookBacks = addLookBacks(m.LookBacks, there.LookBacks)
}

func addLookBacks(to, more map[LookedBack]float64) map[LookedBack]float64 {
	if to == nil {
		to = make(map[LookedBack]float64, len(more))
	}
	for l, n := range more {
		to[l] += n
	}
	return to
}

// LookedBackOn are reads that looked back equally far on some days of a span that ends at an instant.
type LookedBackOn struct {
	LookedBack
	At    time.Time // the middle of the span
	Days  int       // on how many of its days
	Reads float64
}

// SummariseDays weighs look-backs as of an instant. Nothing tells statements apart here, so all reads of a day that look
// back equally far count once: fewer than there are readers, so that it takes longer until there are enough.
func SummariseDays(reads []LookedBackOn, now time.Time) LookBacks {
	var l LookBacks
	for _, r := range reads {
		w := float64(r.Days) * math.Exp2(-float64(now.Sub(r.At))/float64(lookBackHalfLife))
		span := float64(r.LookedBack.Days) * 86400
		l.Effective += w
		l.Longest = max(l.Longest, seconds(span))
		if r.Entire {
			l.Unbounded += w
			span = math.Inf(1)
		}
		l.spans = append(l.spans, weighted{span, w})
	}
	if l.Effective > 0 {
		l.Unbounded /= l.Effective
	}
	sortLongestFirst(l.spans)
	return l
}

// MissedBy is the share of the reads, each counted, that looked back further than a period.
func MissedBy(reads []LookedBackOn, period time.Duration) float64 {
	var all, missed float64
	for _, r := range reads {
		all += r.Reads
		if r.Entire || float64(r.LookedBack.Days)*86400 > period.Seconds() {
			missed += r.Reads
		}
	}
	if all == 0 {
		return 0
	}
	return missed / all
}
