package optimizer

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAViewOfWhichFewBucketsChangeIsAdvisedToBecomeIncremental(t *testing.T) {
	t.Parallel()
	view := Rebuilt{Name: "app.v", TimeColumn: "hour", Full: 40, Runs: 20, Refreshes: 96, ChangedShare: 0.01, Level: "L0", Source: "refreshes that ran"}
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
	}
}
