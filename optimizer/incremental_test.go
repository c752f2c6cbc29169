package optimizer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAViewOfWhichFewBucketsChangeIsAdvisedToBecomeIncremental(t *testing.T) {
	t.Parallel()
	view := Rebuilt{Name: "app.v", Method: "concurrent", TimeColumn: "hour", Full: 40, Runs: 20, Refreshes: 96, ChangedShare: 0.01, ChangedBelow: -1, Level: "L0", Source: "refreshes that ran"}
	r, ok := view.Incremental()
	require.True(t, ok)
	require.Equal(t, "method", r.Kind)
	require.Nil(t, r.Change, "a person has to shape the query")
	require.Contains(t, r.Reason, "A refresh costs 40 s, and 1 % of its rows change between two refreshes: computing those alone would cost about 1 s")
	require.Contains(t, r.Command, "bucket_width = '<width of a bucket>'")
	require.InDelta(t, 40*96, r.Predicted["refresh_seconds_a_day"].(map[string]any)["before"], 0.1)

	view.ChangedShare, view.ChangedBelow, view.Bucket, view.Kept = -1, 200, time.Hour, 365*oneDay
	r, ok = view.Incremental()
	require.True(t, ok)
	require.Contains(t, r.Reason, "200 rows are written below it between two refreshes, so at most as many of its 8760 buckets change")
	require.Contains(t, r.Command, "bucket_width = '1 hour'")
	for why, change := range map[string]func(*Rebuilt){
		"many buckets change":           func(r *Rebuilt) { r.ChangedBelow = 2700 },
		"a third of its rows change":    func(r *Rebuilt) { r.ChangedShare = 0.34 },
		"a refresh is quick":            func(r *Rebuilt) { r.Full = 0.9 },
		"it has few runs":               func(r *Rebuilt) { r.Runs = 4 },
		"changes are not known":         func(r *Rebuilt) { r.ChangedBelow = -1 },
		"how many buckets is not known": func(r *Rebuilt) { r.Kept = 0 },
	} {
		v := view
		change(&v)
		_, ok := v.Incremental()
		require.False(t, ok, why)
	}
}
