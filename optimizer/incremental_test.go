package optimizer

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAViewOfWhichFewBucketsChangeIsAdvisedToBecomeIncremental(t *testing.T) {
	t.Parallel()
	view := Rebuilt{Name: "app.v", TimeColumn: "hour", Full: 40, Runs: 20, Refreshes: 96, ChangedShare: 0.01, Counted: true, Level: "L0", Source: "refreshes that ran"}
	r, ok := view.Incremental()
	require.True(t, ok)
	require.Equal(t, "method", r.Kind)
	require.Nil(t, r.Change, "a person has to shape the query")
	require.Contains(t, r.Reason, "A refresh costs 40.0 s, and 1 % of its rows change between two refreshes: computing those alone would cost about 0.9 s")
	require.Contains(t, r.Command, "bucket_width = '<width of a bucket>'")
	require.InDelta(t, 40*96, r.Predicted["refresh_seconds_a_day"].(map[string]any)["before"], 0.1)

	for why, change := range map[string]func(*Rebuilt){
		"a third of its rows change": func(r *Rebuilt) { r.ChangedShare = 0.3 },
		"a refresh is quick":         func(r *Rebuilt) { r.Full = 0.9 },
		"it has few runs":            func(r *Rebuilt) { r.Runs = 4 },
	} {
		v := view
		change(&v)
		_, ok := v.Incremental()
		require.False(t, ok, why)
		require.NotEmpty(t, v.Reasons(), why)
	}

	view.Counted = false
	r, ok = view.Incremental()
	require.True(t, ok)
	require.Contains(t, r.Reason, "between two refreshes no more rows are written below it than 1 % of its own")
}

func TestWhatIsWrittenBelowAViewBetweenTwoRefreshesIsKnownFromCounters(t *testing.T) {
	t.Parallel()
	unknown := math.NaN()
	h := History{Grid: fiveMinutes(), Changes: make([]float64, 14*dayBins)}
	for i := range h.Changes {
		h.Changes[i] = 3
		if i%3 == 0 {
			h.Changes[i] = unknown
		}
	}
	rows, known := h.Written(time.Hour)
	require.True(t, known)
	require.InDelta(t, 36, rows, 1e-9)
	for i := range h.Changes {
		if i%4 == 1 {
			h.Changes[i] = unknown
		}
	}
	rows, known = h.Written(time.Hour)
	require.True(t, known, "half of the time")
	require.InDelta(t, 36, rows, 1e-9)
	h.Changes[2] = unknown
	_, known = h.Written(time.Hour)
	require.False(t, known, "less than half of it")
	h.Changes = h.Changes[:6*dayBins]
	_, known = h.Written(time.Hour)
	require.False(t, known, "less than a week")
	h.Changes = append(h.Changes, slices.Repeat([]float64{unknown}, 14*dayBins)...)
	_, known = h.Written(time.Hour)
	require.False(t, known, "two weeks of which nothing is known")
	_, known = History{Grid: fiveMinutes()}.Written(time.Hour)
	require.False(t, known)
}
