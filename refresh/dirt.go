package refresh

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// Dirt is a range of times of which something changed since the last refresh.
type Dirt struct {
	Lo, Hi *time.Time // first and last instant; nil = there is no first, or no last
	Why    string     // for people; empty = rows were written
}

// Everything is dirt without bounds.
func Everything(why string) Dirt { return Dirt{Why: why} }

// Range is a range of times that one statement recomputes.
type Range struct{ Lo, Hi *time.Time }

// String shows a range as people read it.
func (r Range) String() string {
	switch {
	case r.Lo == nil && r.Hi == nil:
		return "everything"
	case r.Lo != nil && r.Hi != nil && r.Lo.Equal(*r.Hi):
		return shown(*r.Lo) + " UTC"
	}
	return r.ends()
}

func (r Range) ends() string {
	switch {
	case r.Lo == nil && r.Hi == nil:
		return "the beginning to the end"
	case r.Lo == nil:
		return "the beginning to " + shown(*r.Hi) + " UTC"
	case r.Hi == nil:
		return shown(*r.Lo) + " UTC to the end"
	}
	return shown(*r.Lo) + " to " + shown(*r.Hi) + " UTC"
}

func shown(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// mostRanges is how many statements one refresh may take: each of them is planned anew.
const mostRanges = 400

// Coalesce turns dirt into the ranges that are recomputed, in order of time, and says why. The window of a range
// reaches margin further than the range on either side, see mvscheduler.window_of: two ranges whose windows meet
// cost less as one. Of more than mostRanges those become one that have the smallest gaps between them.
func Coalesce(dirt []Dirt, margin time.Duration) (ranges []Range, reason string) {
	if len(dirt) == 0 {
		return nil, ""
	}
	whys := map[string]bool{}
	for _, d := range dirt {
		if d.Why != "" {
			whys[d.Why] = true
		}
		ranges = append(ranges, Range{Lo: d.Lo, Hi: d.Hi})
	}
	slices.SortFunc(ranges, func(a, b Range) int {
		switch {
		case a.Lo == nil && b.Lo == nil:
			return 0
		case a.Lo == nil:
			return -1
		case b.Lo == nil:
			return 1
		}
		return a.Lo.Compare(*b.Lo)
	})
	merged := ranges[:1:1]
	for _, r := range ranges[1:] {
		last := &merged[len(merged)-1]
		if gap, apart := between(*last, r); apart && gap > 2*margin {
			merged = append(merged, r)
			continue
		}
		last.Hi = later(last.Hi, r.Hi)
	}
	asked := len(merged)
	merged = fewest(merged)
	reason = fmt.Sprintf("%d ranges of times changed, from %s", len(merged), Range{Lo: merged[0].Lo, Hi: merged[len(merged)-1].Hi}.ends())
	if len(merged) == 1 {
		reason = "changed: " + merged[0].String()
	}
	if asked > len(merged) {
		reason += fmt.Sprintf(", joined from %d", asked)
	}
	if len(whys) > 0 {
		sorted := make([]string, 0, len(whys))
		for why := range whys {
			sorted = append(sorted, why)
		}
		slices.Sort(sorted)
		if more := len(sorted) - 3; more > 0 {
			sorted = append(sorted[:3], "and "+count(more, "more reason"))
		}
		reason += " (" + strings.Join(sorted, "; ") + ")"
	}
	return merged, reason
}

// between is the time from the end of a to the begin of b; apart is false where they meet.
func between(a, b Range) (gap time.Duration, apart bool) {
	if a.Hi == nil || b.Lo == nil {
		return 0, false
	}
	return b.Lo.Sub(*a.Hi), b.Lo.After(*a.Hi)
}

func later(a, b *time.Time) *time.Time {
	if a == nil || b == nil {
		return nil
	}
	if a.After(*b) {
		return a
	}
	return b
}

// fewest joins neighbours, those with the smallest gaps first, until few enough are left.
func fewest(ranges []Range) []Range {
	if len(ranges) <= mostRanges {
		return ranges
	}
	gaps := make([]time.Duration, 0, len(ranges)-1)
	for i := range ranges[1:] {
		gap, _ := between(ranges[i], ranges[i+1])
		gaps = append(gaps, gap)
	}
	sorted := slices.Sorted(slices.Values(gaps))
	limit := sorted[len(ranges)-mostRanges-1]
	joined := ranges[:1:1]
	for i, r := range ranges[1:] {
		if last := &joined[len(joined)-1]; gaps[i] <= limit {
			last.Hi = later(last.Hi, r.Hi)
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Leaf is a table or partition below an incremental view.
type Leaf = catalog.Leaf

// LeafChanges compares what is below a view with what its last refresh has seen. Counters are looked at where no
// triggers note the changes: with tracking counters, and always of what can have none.
func LeafChanges(before, now map[uint32]Leaf, counters bool) (dirt []Dirt) {
	gone := slices.DeleteFunc(sortedKeys(before), func(oid uint32) bool { _, there := now[oid]; return there })
	for _, oid := range gone {
		why := before[gone[0]].Name + " is gone"
		if more := len(gone) - 1; more > 0 {
			why = fmt.Sprintf("%s and %d more are gone", before[gone[0]].Name, more)
		}
		dirt = append(dirt, Dirt{Lo: before[oid].Lo, Hi: before[oid].Hi, Why: why})
	}
	for _, oid := range sortedKeys(now) {
		leaf := now[oid]
		whole := Dirt{Lo: leaf.Lo, Hi: leaf.Hi}
		was, known := before[oid]
		moved := known && (!sameInstant(was.Lo, leaf.Lo) || !sameInstant(was.Hi, leaf.Hi))
		switch {
		case !known:
			whole.Why = leaf.Name + " is new"
		case leaf.Kind == "f":
			whole.Why = leaf.Name + " is a foreign table, of which nobody knows what changed"
		case leaf.Kind == "S":
			whole.Why = leaf.Name + " is a sequence, of which nobody knows what changed"
		case moved:
			whole.Why = leaf.Name + " has other bounds"
		case was.Identity != leaf.Identity && leaf.Kind == "v":
			whole.Why = leaf.Name + " was replaced, or what it depends on: a function, an operator, an enumeration, row-level security"
		case was.Identity != leaf.Identity:
			whole.Why = leaf.Name + otherIdentity(was, leaf)
		case was.Covered != leaf.Covered || was.Hidden != leaf.Hidden:
			whole.Why = leaf.Name + " was watched in another way"
		case !strings.HasPrefix(leaf.Columns+",", was.Columns+","): // columns that were added are no reason
			whole.Why = leaf.Name + " was altered, or a part of another table for a while"
		case was.Counters != leaf.Counters && (counters || leaf.Kind == "m"):
			whole.Why = "rows of " + leaf.Name + " were written"
		default:
			continue
		}
		if moved { // what it held before is gone, whatever else happened to it
			dirt = append(dirt, Dirt{Lo: was.Lo, Hi: was.Hi})
		}
		dirt = append(dirt, whole)
	}
	return dirt
}

// otherIdentity says what is known of why a table is not the one that was seen: its file comes first in mvscheduler.tables_below.
func otherIdentity(was, now Leaf) string {
	before, _, _ := strings.Cut(was.Identity, "/")
	if file, _, _ := strings.Cut(now.Identity, "/"); file != before {
		return " was rewritten or truncated"
	}
	return " was not watched for a while, or in another way: its triggers were made anew, as for a view that reads it by another column or without in_window, or it was detached or emptied"
}

// Mark writes into what is below since when it is what it is, and watched as it is: since, or as before where nothing of
// that has changed.
func Mark(before, now map[uint32]Leaf, since string) {
	replaced := Replaced(before, now)
	for oid, leaf := range now {
		was, known := before[oid]
		leaf.Since = was.Since
		if !known || replaced || was.Since == "" || len(LeafChanges(map[uint32]Leaf{oid: was}, map[uint32]Leaf{oid: leaf}, false)) > 0 {
			leaf.Since = since
		}
		now[oid] = leaf
	}
}

func sameInstant(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

func sortedKeys(leaves map[uint32]Leaf) []uint32 {
	keys := make([]uint32, 0, len(leaves))
	for oid := range leaves {
		keys = append(keys, oid)
	}
	slices.Sort(keys)
	return keys
}
