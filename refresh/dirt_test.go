package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func at(hour int) *time.Time {
	return new(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(hour) * time.Hour))
}

func TestDirtBecomesRangesWithReasons(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dirt   []Dirt
		want   []Range
		reason string
	}{
		"nothing":                 {nil, nil, ""},
		"an instant":              {[]Dirt{{Lo: at(5), Hi: at(5)}}, []Range{{at(5), at(5)}}, "changed: 2026-03-01 05:00:00 UTC"},
		"near ones are one":       {[]Dirt{{Lo: at(9), Hi: at(10)}, {Lo: at(2), Hi: at(5)}}, []Range{{at(2), at(10)}}, "changed: 2026-03-01 02:00:00 to 2026-03-01 10:00:00 UTC"},
		"far ones are two":        {[]Dirt{{Lo: at(90), Hi: at(91)}, {Lo: at(2), Hi: at(5)}}, []Range{{at(2), at(5)}, {at(90), at(91)}}, "2 ranges of times changed, from 2026-03-01 02:00:00 to 2026-03-04 19:00:00 UTC"},
		"one within another":      {[]Dirt{{Lo: at(0), Hi: at(50)}, {Lo: at(2), Hi: at(5)}}, []Range{{at(0), at(50)}}, "changed: 2026-03-01 00:00:00 to 2026-03-03 02:00:00 UTC"},
		"everything":              {[]Dirt{{Lo: at(2), Hi: at(5)}, Everything("the query was changed")}, []Range{{nil, nil}}, "changed: everything (the query was changed)"},
		"open ends":               {[]Dirt{{Hi: at(2)}, {Lo: at(90), Why: "p is new"}}, []Range{{nil, at(2)}, {at(90), nil}}, "2 ranges of times changed, from the beginning to the end (p is new)"},
		"open at one end":         {[]Dirt{{Lo: at(2)}}, []Range{{at(2), nil}}, "changed: 2026-03-01 02:00:00 UTC to the end"},
		"four reasons":            {[]Dirt{Everything("a"), Everything("b"), Everything("c"), Everything("d")}, []Range{{nil, nil}}, "changed: everything (a; b; c; and 1 more reason)"},
		"many reasons, few words": {[]Dirt{Everything("a"), Everything("b"), Everything("c"), Everything("d"), Everything("e")}, []Range{{nil, nil}}, "changed: everything (a; b; c; and 2 more reasons)"},
	} {
		got, reason := Coalesce(c.dirt, 3*time.Hour)
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.reason, reason, name)
	}
}

func TestRangesHoldAllOfTheDirtAndAreFew(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		margin := time.Duration(rapid.IntRange(0, 50).Draw(r, "margin")) * time.Hour
		dirt := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) Dirt {
			lo := rapid.IntRange(0, 1_000_000).Draw(r, "lo")
			d := Dirt{Lo: at(lo), Hi: at(lo + rapid.SampledFrom([]int{0, 1, 30, 5000}).Draw(r, "long"))}
			if rapid.IntRange(0, 300).Draw(r, "open") == 0 {
				d.Lo = nil
			}
			if rapid.IntRange(0, 300).Draw(r, "open") == 0 {
				d.Hi = nil
			}
			return d
		}), 1, 1500).Draw(r, "dirt")
		ranges, reason := Coalesce(dirt, margin)
		require.NotEmpty(r, reason)
		require.LessOrEqual(r, len(ranges), mostRanges)
		for _, d := range dirt {
			held := false
			for _, g := range ranges {
				held = held || (g.Lo == nil || d.Lo != nil && !d.Lo.Before(*g.Lo)) && (g.Hi == nil || d.Hi != nil && !d.Hi.After(*g.Hi))
			}
			require.True(r, held)
		}
		for i := range ranges[1:] {
			gap, apart := between(ranges[i], ranges[i+1])
			require.True(r, apart && gap > 2*margin, "windows of two ranges do not meet")
		}
	})
}

// Of many gaps of one length none is the smallest.
func TestRangesWithTheSameGapsAreFewToo(t *testing.T) {
	t.Parallel()
	var dirt []Dirt
	for i := range 1000 {
		dirt = append(dirt, Dirt{Lo: at(100 * i), Hi: at(100 * i)})
	}
	ranges, reason := Coalesce(dirt, time.Hour)
	require.LessOrEqual(t, len(ranges), mostRanges)
	require.Equal(t, Range{at(0), at(99900)}, Range{ranges[0].Lo, ranges[len(ranges)-1].Hi})
	require.Contains(t, reason, ", joined from 1000")
}

func TestLeavesThatChangedAreDirt(t *testing.T) {
	t.Parallel()
	leaf := Leaf{Name: "p", Kind: "r", Lo: at(0), Hi: at(24), Identity: "1", Counters: "7"}
	with := func(change func(*Leaf)) map[uint32]Leaf {
		other := leaf
		change(&other)
		return map[uint32]Leaf{5: other}
	}
	before := map[uint32]Leaf{5: leaf}
	for name, c := range map[string]struct {
		now      map[uint32]Leaf
		counters bool
		want     []Dirt
	}{
		"the same":                 {with(func(*Leaf) {}), true, nil},
		"counters do not matter":   {with(func(l *Leaf) { l.Counters = "8" }), false, nil},
		"counters":                 {with(func(l *Leaf) { l.Counters = "8" }), true, []Dirt{{at(0), at(24), "rows of p were written"}}},
		"another file":             {with(func(l *Leaf) { l.Identity = "2" }), false, []Dirt{{at(0), at(24), "p was rewritten or truncated"}}},
		"other bounds, both dirty": {with(func(l *Leaf) { l.Hi = at(48) }), false, []Dirt{{at(0), at(24), ""}, {at(0), at(48), "p has other bounds"}}},
		"and another file":         {with(func(l *Leaf) { l.Lo, l.Hi, l.Identity = at(48), at(72), "2" }), false, []Dirt{{at(0), at(24), ""}, {at(48), at(72), "p has other bounds"}}},
		"gone":                     {nil, false, []Dirt{{at(0), at(24), "p is gone"}}},
	} {
		require.Equal(t, c.want, LeafChanges(before, c.now, c.counters), name)
	}
	require.Equal(t, []Dirt{{at(0), at(24), "p is new"}}, LeafChanges(nil, before, false))
}

func TestAColumnThatIsAddedIsNoChangeAndOneThatIsWrittenIs(t *testing.T) {
	t.Parallel()
	before := map[uint32]Leaf{1: {OID: 1, Kind: "r", Name: "p", Columns: "731,,740", Covered: true, Since: "5"}}
	for columns, changed := range map[string]bool{"731,,740": false, "731,,740,": false, "731,,740,800": false, "731,800,740": true, "731,,7400": true, "731,,800": true, "": true} {
		now := map[uint32]Leaf{1: {OID: 1, Kind: "r", Name: "p", Columns: columns, Covered: true}, 2: {OID: 2, Kind: "v", Name: "q"}}
		require.Equal(t, changed, len(LeafChanges(before, map[uint32]Leaf{1: now[1]}, false)) > 0, columns)
		Mark(map[uint32]Leaf{1: before[1], 2: {OID: 2, Kind: "v", Name: "q", Since: "5"}}, now, "9")
		require.Equal(t, map[bool]string{true: "9", false: "5"}[changed], now[1].Since, columns)
		require.Equal(t, "5", now[2].Since)
	}
	watched := map[uint32]Leaf{1: {OID: 1, Kind: "r", Name: "p", Columns: "731,,740"}}
	require.Len(t, LeafChanges(before, watched, false), 1)
	Mark(nil, watched, "9")
	require.Equal(t, "9", watched[1].Since)
}
