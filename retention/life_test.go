package retention

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// life is a model of the whole: a raw table with partitions by day, a chain of rollups that count its rows, late
// rows, refreshes that come when they come, and plans that are carried out. Nothing in it knows about Plan.
type life struct {
	now      Timestamp
	raw      map[Timestamp]int // rows by their time; those of partitions that are aside are in aside
	aside    map[Timestamp]int
	promised map[Timestamp]int // rows that came while they were younger than the retention period
	facts    Facts
	views    []*rollup
}

// rollup counts rows by bucket. It reads what is below it, nil = the raw table.
type rollup struct {
	name    string
	width   time.Duration
	offset  time.Duration // of its bucket edges
	late    time.Duration // by which a label is later than its bucket begins, as where clocks are changed
	below   *rollup
	whole   bool // it is not incremental: each refresh computes all of it
	counts  map[Timestamp]int
	dirt    []Range
	until   Timestamp
	frozen  Timestamp
	rewrite int // counts that a refresh made smaller
}

func (r *rollup) label(t Timestamp) Timestamp {
	width, offset := Timestamp(r.width.Microseconds()), Timestamp(r.offset.Microseconds())
	bucket := (t - offset) / width
	if (t-offset)%width < 0 {
		bucket--
	}
	return (bucket*width + offset).Add(r.late)
}

// bucket is the label under which a row of the raw table is counted.
func (r *rollup) bucket(t Timestamp) Timestamp {
	if r.below != nil {
		t = r.below.bucket(t)
	}
	return r.label(t)
}

// refresh recomputes each bucket that has dirt and is not frozen from what is there, as refresh does.
func (l *life) refresh(r *rollup) {
	source := l.raw
	if r.below != nil {
		source = r.below.counts
	}
	dirty := map[Timestamp]bool{}
	if r.whole {
		for _, times := range []map[Timestamp]int{r.counts, source} {
			for at := range times {
				dirty[r.label(at)] = true
			}
		}
		r.dirt = nil
	}
	for _, dirt := range r.dirt {
		for at := r.label(dirt.From); at <= r.label(dirt.To); at = at.Add(r.width) {
			dirty[at] = true
		}
	}
	for label := range dirty {
		if label < r.frozen {
			continue
		}
		count := 0
		for at, n := range source {
			if r.label(at) == label {
				count += n
			}
		}
		if count != r.counts[label] {
			if count < r.counts[label] {
				r.rewrite++
			}
			r.counts[label] = count
			for _, above := range l.views {
				if above.below == r {
					above.dirt = append(above.dirt, Range{label, label})
				}
			}
		}
	}
	r.dirt, r.until = nil, l.now
}

// plan makes a plan and carries it out.
func (l *life) plan(t *rapid.T) {
	f := l.facts
	f.Now = l.now
	for _, r := range l.views {
		if r.whole {
			f.Readers = append(f.Readers, Reader{Name: r.name, Method: "full", Direct: r.below == nil, Stored: r.below != nil})
			continue
		}
		f.Readers = append(f.Readers, Reader{
			Name: r.name, Method: Incremental, Direct: r.below == nil, Windowed: true, Label: TypeTimestamptz,
			BucketWidth: Interval{Microseconds: r.width.Microseconds()}, Tracking: "trigger",
			FilledFrom: new(NegInfinity), MaterializedUntil: &r.until, Dirt: r.dirt, Frozen: &r.frozen,
		})
	}
	out := Plan(f)
	for _, d := range out.Decisions {
		if d.Action != Detach {
			continue
		}
		for at, n := range l.raw {
			if d.Bound.From <= at && at < d.Bound.To {
				require.LessOrEqual(t, at, f.Policy.RetentionPeriod.Before(l.now, nil))
				l.aside[at] = n
				delete(l.raw, at)
			}
		}
	}
	after := carriedOut(f, out, everything)
	l.facts.Relation = after.Relation
	for i, r := range l.views {
		if r.whole {
			continue
		}
		require.GreaterOrEqual(t, *after.Readers[i].Frozen, r.frozen)
		r.frozen = *after.Readers[i].Frozen
	}
}

// insert adds rows, unless the partition for them has left, which is an error of the insert.
func (l *life) insert(at Timestamp, rows int) {
	from := Timestamp(0)
	for from.Add(day) <= at {
		from = from.Add(day)
	}
	bound := boundText(Bound{From: from, To: from.Add(day)}, TypeTimestamptz)
	switch i := slices.IndexFunc(l.facts.Relation.Partitions, func(p Partition) bool { return p.Bound == bound }); {
	case i < 0 && l.facts.Relation.Frozen != nil && from < *l.facts.Relation.Frozen:
		return
	case i < 0:
		l.facts.Relation.Partitions = append(l.facts.Relation.Partitions, Partition{OID: uint32(from / second / 3600), Name: "raw_" + from.String(), Bound: bound})
	case l.facts.Relation.Partitions[i].DetachedAt != nil:
		return
	}
	l.raw[at] += rows
	if at > l.facts.Policy.RetentionPeriod.Before(l.now, nil) {
		l.promised[at] += rows
	}
	for _, r := range l.views {
		if r.below == nil {
			r.dirt = append(r.dirt, Range{at, at})
		}
	}
}

// TestRollupsKeepWhatTheyHaveSeenWhileRawDataLeaves lives through weeks: whatever the order of inserts, late
// rows, refreshes and plans, a rollup never loses a row through a refresh, and has each row that came in time.
func TestRollupsKeepWhatTheyHaveSeenWhileRawDataLeaves(t *testing.T) {
	t.Parallel()
	left := 0
	for range 20 { // a hundred lives each, unless -rapid.checks says otherwise
		rapid.Check(t, func(t *rapid.T) { left += live(t) })
	}
	require.NotZero(t, left, "something left, else this test shows nothing")
}

// live lives one life, and returns how many times of rows have left.
func live(t *rapid.T) int {
	l := &life{
		now: Timestamp(0).Add(12 * hour), raw: map[Timestamp]int{}, aside: map[Timestamp]int{}, promised: map[Timestamp]int{},
		facts: Facts{
			Relation: Relation{Name: "raw", Kind: Source, Strategy: "r", TimeColumn: "ts", Key: []Column{{"ts", TypeTimestamptz}}},
			Policy:   Policy{Enabled: true, RetentionPeriod: new(Days(rapid.Int32Range(1, 6).Draw(t, "retention"))), GracePeriod: Days(1000)},
		},
	}
	widths := []time.Duration{hour, 5 * hour, day, 3 * day}
	var below *rollup
	for i := range rapid.IntRange(1, 3).Draw(t, "views") {
		r := &rollup{
			name: fmt.Sprintf("v%d", i), width: rapid.SampledFrom(widths).Draw(t, "width"), counts: map[Timestamp]int{}, below: below,
			offset: time.Duration(rapid.IntRange(0, 4).Draw(t, "offset")) * 15 * time.Minute, until: NegInfinity, frozen: NegInfinity,
			late: rapid.SampledFrom([]time.Duration{0, 0, clockChange}).Draw(t, "label is late"),
		}
		if below != nil { // buckets of a chain fit into each other
			r.width, r.offset = below.width*time.Duration(rapid.IntRange(1, 4).Draw(t, "times")), below.offset
		}
		l.views = append(l.views, r)
		if rapid.Bool().Draw(t, "chain") {
			below = r
		}
	}
	held := false
	if rapid.Bool().Draw(t, "one that is not incremental") { // upon the last one of the chain, or upon the raw table
		l.views = append(l.views, &rollup{name: "whole", width: 96 * hour, below: below, whole: true, counts: map[Timestamp]int{}, until: NegInfinity, frozen: NegInfinity})
		held = below == nil
	}
	for range rapid.IntRange(10, 60).Draw(t, "steps") {
		switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
		case step < 3:
			l.now = l.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "pass")) * hour)
		case step < 6:
			late := time.Duration(rapid.IntRange(0, 7*24*4).Draw(t, "late")) * 15 * time.Minute
			at := max(0, l.now.Add(-late))
			if rapid.Bool().Draw(t, "near the edge of a partition") {
				at = max(0, At(at.Time().Truncate(day)).Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "quarters"))*15*time.Minute))
			}
			l.insert(at, rapid.IntRange(1, 5).Draw(t, "rows"))
		case step < 8:
			l.refresh(rapid.SampledFrom(l.views).Draw(t, "view"))
		default:
			l.plan(t)
		}
	}
	for _, r := range l.views { // in the order of the chain
		l.refresh(r)
		all := map[Timestamp]int{}
		for at, n := range l.promised {
			all[r.bucket(at)] += n
		}
		require.Zero(t, r.rewrite, "a refresh of %s lost rows", r.name)
		for label, n := range all {
			require.GreaterOrEqual(t, r.counts[label], n, "%s at %s, frozen below %s", r.name, label, r.frozen)
		}
		present := map[Timestamp]int{}
		for _, rows := range []map[Timestamp]int{l.raw, l.aside} {
			for at, n := range rows {
				present[r.bucket(at)] += n
			}
		}
		for label := range maps.Keys(r.counts) {
			require.LessOrEqual(t, r.counts[label], present[label])
		}
	}
	l.plan(t) // all have taken everything
	if held {
		require.Empty(t, l.aside)
		return 0
	}
	widest := time.Duration(0)
	for _, r := range l.views {
		widest = max(widest, r.width)
	}
	horizon := l.facts.Policy.RetentionPeriod.Before(l.now, nil)
	for at := range l.raw {
		require.Greater(t, at.Add(day+widest+2*clockChange), horizon, "rows of %s stay although nobody needs them", at)
	}
	return len(l.aside)
}
