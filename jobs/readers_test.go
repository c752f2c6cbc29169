package jobs

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

func TestReadsAreNewOnceThoughScansAreReportedLaterThanCalls(t *testing.T) {
	t.Parallel()
	c := collector{sampling: sampling{bins: map[int64]*optimizer.Bin{7: {}}, ratios: map[int64]*optimizer.Ratio{}}}
	unknown := math.NaN()
	var news []float64
	for _, m := range []struct{ scans, calls float64 }{{0, 5}, {5, 0}, {2, unknown}, {3, 4}, {unknown, unknown}} {
		news = append(news, c.add(7, optimizer.Metered{Reads: m.scans}, m.calls, time.Minute))
	}
	require.Equal(t, []float64{5, 0, 2, 4}, news[:4])
	require.True(t, math.IsNaN(news[4]))
	require.InDelta(t, 11, c.bins[7].Reads(&optimizer.Ratio{}), 1e-9, "together they are what is in the bin")
}

func TestReadsOfViewsAboveCountWhereTheyAreKnown(t *testing.T) {
	t.Parallel()
	above := withAbove(1, map[int64][]int64{2: {1}, 3: {2}, 4: {9}})
	require.ElementsMatch(t, []int64{1, 2, 3}, above)
	require.InDelta(t, 11, readsOf(above, map[int64]float64{1: 1, 2: 10, 3: math.NaN(), 4: 100}), 1e-9)
	require.True(t, math.IsNaN(readsOf(above, map[int64]float64{1: math.NaN(), 2: 10})))
	require.True(t, math.IsNaN(readsOf(above, map[int64]float64{2: 10})), "it was not there")
}

func TestOnlyADayOfSpansSinceTheLastRefreshIsKept(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	spans := make([]span, 3000)
	for i := range spans {
		spans[i] = span{at: start.Add(time.Duration(i) * time.Minute), width: time.Minute}
	}
	kept := since(spans, start)
	require.Len(t, kept, spansKept)
	require.Equal(t, start.Add(2999*time.Minute), kept[len(kept)-1].at)
	kept = since(kept, start.Add(2990*time.Minute))
	require.Len(t, kept, 11, "one that ends then may hold a read after it")
}

func TestWhatIsLeftOfTheBudgetGoesToReadersWhoHavePaidMost(t *testing.T) {
	t.Parallel()
	view := func(id int64, owner uint32, patience, age float64) waiting {
		return waiting{catalog.AdaptiveView{ViewID: id, Owner: owner, Patience: patience, Took: 60}, optimizer.Tab{Age: age, Reads: 1}}
	}
	asked := func(budget time.Duration) (views []int64) {
		due := []waiting{view(1, 7, 100, 110), view(2, 7, 10, 30), view(3, 7, 100, 200), view(4, 8, 100, 101)}
		for _, a := range affordable(due, optimizer.Allowance{7: 30 * time.Second, 8: 0}, budget) {
			views = append(views, a.ViewID)
		}
		return views
	}
	require.Equal(t, []int64{2, 3, 1, 4}, asked(time.Hour))
	require.Equal(t, []int64{2, 3, 4}, asked(4*time.Minute), "one may take longer than was left")
	require.Equal(t, []int64{2, 4}, asked(3*time.Minute))
	require.Equal(t, []int64{4}, asked(time.Minute))
}
