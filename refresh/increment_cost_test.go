package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// days are partitions of a day.
func days(n int, rows int64) (below []catalog.Stretch) {
	for i := range n {
		below = append(below, catalog.Stretch{Lo: at(i * 24), Hi: at(i*24 + 24), Rows: rows})
	}
	return below
}

func TestMuchIsComputedInOnePass(t *testing.T) {
	t.Parallel()
	rollup := Extent{Rows: 2_400_000, Span: 100 * 24 * time.Hour} // 1,000 an hour
	every := func(gap, n int) (ranges []Range) {
		for i := range n {
			ranges = append(ranges, Range{at(i * gap), at(i * gap)})
		}
		return ranges
	}
	one := func(r Range, staged bool) []Pass { return []Pass{{Range: r, Staged: staged}} }
	for name, c := range map[string]struct {
		ranges []Range
		extent Extent
		want   []Pass
		reason string
	}{
		"nothing":                        {nil, rollup, nil, ""},
		"an hour":                        {every(0, 1), rollup, one(Range{at(0), at(0)}, false), ""},
		"hours far apart":                {every(100, 2), rollup, []Pass{{Range: Range{at(0), at(0)}}, {Range: Range{at(100), at(100)}}}, ""},
		"a hundred days":                 {[]Range{{at(0), at(2400)}}, rollup, one(Range{at(0), at(2400)}, true), "in one pass, since they have about 2400000 rows"},
		"many hours near to each other":  {every(2, 300), rollup, one(Range{at(0), at(598)}, true), "in one pass, since they have about 599000 rows"},
		"everything":                     {[]Range{{nil, nil}}, rollup, one(Range{}, true), "in one pass, since they have about 2400000 rows"},
		"two days of a hundred":          {[]Range{{at(2352), nil}}, Extent{Rows: 72_000, Span: 100 * 24 * time.Hour, End: *at(2400)}, one(Range{at(2352), nil}, false), ""},
		"what is after all there is":     {[]Range{{at(2500), nil}}, Extent{Rows: 72_000, Span: 100 * 24 * time.Hour, End: *at(2400)}, one(Range{at(2500), nil}, false), ""},
		"since whenever":                 {[]Range{{at(2352), nil}}, Extent{Rows: 72_000, Span: 100 * 24 * time.Hour}, one(Range{at(2352), nil}, true), "in one pass, since they have about 72000 rows"},
		"everything of a small view":     {[]Range{{nil, nil}}, Extent{Rows: 500, Span: time.Hour}, one(Range{}, false), ""},
		"everything, and nobody knows":   {[]Range{{nil, nil}}, Extent{}, one(Range{}, true), "in one pass"},
		"an hour, and nobody knows":      {every(0, 1), Extent{}, one(Range{at(0), at(0)}, false), ""},
		"few rows that are made of many": {every(100, 2), Extent{Rows: 2400, Span: 100 * 24 * time.Hour, Below: days(100, 50_000)}, []Pass{{Range: Range{at(0), at(0)}}, {Range: Range{at(100), at(100)}}}, ""},
		"few rows of one large table":    {every(100, 2), Extent{Rows: 2400, Span: 100 * 24 * time.Hour, Below: []catalog.Stretch{{Rows: 5_000_000}}}, []Pass{{Range: Range{at(0), at(0)}}, {Range: Range{at(100), at(100)}}}, ""},
		"many rows are below elsewhere":  {every(100, 2), Extent{Rows: 2400, Span: 100 * 24 * time.Hour, Below: []catalog.Stretch{{Lo: at(2000), Hi: at(2024), Rows: 5_000_000}}}, one(Range{at(0), at(100)}, false), ""},
		"small hours are taken together": {every(100, 20), Extent{Rows: 2400, Span: 100 * 24 * time.Hour}, one(Range{at(0), at(1900)}, false), ""},
	} {
		got, reason := Passes(c.ranges, time.Hour, c.extent)
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.reason, reason, name)
	}
}

func TestPassesHoldAllOfTheRangesAndCostNoMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		e := Extent{Rows: rapid.Int64Range(0, 10_000_000).Draw(r, "rows"), Span: time.Duration(rapid.IntRange(0, 10_000).Draw(r, "span")) * time.Hour}
		if below := rapid.Int64Range(0, 100_000).Draw(r, "rows below"); below > 0 {
			e.Below = append(days(rapid.IntRange(0, 30).Draw(r, "days below"), below), catalog.Stretch{Rows: below})
		}
		margin := time.Duration(rapid.IntRange(0, 50).Draw(r, "margin")) * time.Hour
		var ranges []Range
		last, apart := 0, 0.0
		for range rapid.IntRange(1, 200).Draw(r, "ranges") {
			lo := last + rapid.IntRange(1, 200).Draw(r, "gap")
			last = lo + rapid.IntRange(0, 50).Draw(r, "long")
			ranges = append(ranges, Range{at(lo), at(last)})
		}
		if rapid.IntRange(0, 10).Draw(r, "open") == 0 {
			ranges[0].Lo = nil
		}
		for _, g := range ranges {
			apart += e.cost(g, margin)
		}
		passes, _ := Passes(ranges, margin, e)
		together := 0.0
		for _, p := range passes {
			together += e.cost(p.Range, margin)
		}
		require.LessOrEqual(r, together, apart+1e-9)
		for _, g := range ranges {
			held := false
			for _, p := range passes {
				held = held || (p.Lo == nil || g.Lo != nil && !g.Lo.Before(*p.Lo)) && !g.Hi.After(*p.Hi)
			}
			require.True(r, held)
		}
	})
}
