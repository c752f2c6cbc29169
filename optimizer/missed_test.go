package optimizer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestALookBackIsSurelyLongerThanIsSaidOfIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		back := rapid.Float64Range(0, 4000).Draw(t, "days")
		hour := rapid.Float64Range(0, 1).Draw(t, "rest of the day")
		n := DaysBack(back + hour)
		require.LessOrEqual(t, surely(n).Hours()/24, back)
		require.GreaterOrEqual(t, float64(n), back)
	})
}

func TestALongerRetentionIsAdvisedWhereReadersAskedForWhatHasLeft(t *testing.T) {
	t.Parallel()
	view := Kept{Name: "app.v", Period: "30 days", RowPeriod: "30 days", Current: 30 * oneDay, Row: 30 * oneDay, Incremental: true, Sources: "pg_qualstats"}
	asked := func(days int, on ...int) (found []LookedBackOn) {
		for _, d := range on {
			found = append(found, LookedBackOn{LookedBack: LookedBack{Days: days}, At: monday.AddDate(0, 0, d), Days: 1, Reads: 4})
		}
		return found
	}
	r, ok := view.Longer(append(asked(8, 1, 2, 3), asked(64, 1, 5)...))
	require.True(t, ok)
	require.Equal(t, map[string]string{"retention_period": "96 days"}, r.Change)
	require.Equal(t, map[string]string{"retention_period": "30 days"}, r.Basis)
	require.Contains(t, r.Reason, "app.v: keep 96 days. On 2 days 8 reads of 20 asked for what is older than the 30 days that are kept, as far back as 64 days")
	require.Contains(t, r.Reason, "mvscheduler restore app.v")
	view.Max = 50 * oneDay
	r, ok = view.Longer(asked(64, 1, 5))
	require.True(t, ok)
	require.Equal(t, "keep 50 days", r.Proposed)
	for why, reads := range map[string][]LookedBackOn{
		"on one day":          asked(64, 1),
		"perhaps not further": asked(32, 1, 2, 3),
		"since 1970":          asked(farthest, 1, 2, 3),
		"none":                nil,
	} {
		_, ok = view.Longer(reads)
		require.False(t, ok, why)
	}
	entire := asked(64, 1, 5)
	for i := range entire {
		entire[i].Entire = true
	}
	_, ok = view.Longer(entire)
	require.False(t, ok, "who asks for everything asks for nothing certain")
	view.Max = 20 * time.Hour
	_, ok = view.Longer(asked(64, 1, 5))
	require.False(t, ok, "the owner's bound")

	// By itself it goes as far as the row says, or twice as far; then a person is asked.
	view.Auto, view.Max, view.Cost = true, 0, 12
	r, _ = view.Longer(asked(64, 1, 5))
	require.Equal(t, 60*oneDay, r.Keep)
	require.Equal(t, "keep 60 days", r.Proposed)
	require.InDelta(t, 12, r.Predicted["refresh_seconds"], 1e-9, "partitions cost a refresh nothing")
	view.Period, view.Current, view.Incremental = "60 days", 60*oneDay, false
	_, ok = view.Longer(asked(64, 1, 5))
	require.False(t, ok, "64 days may be 54")
	r, _ = view.Longer(asked(128, 1, 5))
	require.Zero(t, r.Keep)
	require.Equal(t, "60 days are kept -> keep 192 days", r.Current+" -> "+r.Proposed)
	require.Equal(t, "30 days", r.Basis["retention_period"], "the row says what it said")
	require.InDelta(t, 12*192./60, r.Predicted["refresh_seconds"], 1e-9)
	view.Max = 200 * oneDay
	r, _ = view.Longer(asked(128, 1, 5))
	require.Equal(t, 192*oneDay, r.Keep)
}

func TestALongerRetentionIsTakenBackOnlyWhenRefreshesCannotBearIt(t *testing.T) {
	t.Parallel()
	base := Trial{PredictedCost: 20, MeasuredCost: 24, Ended: 10, Failures: 0.2}
	require.Equal(t, Judgement{Why: []string{"a refresh takes 24 s, 20 s were predicted"}}, base.JudgeLonger(6*oneDay))
	require.True(t, base.JudgeLonger(7*oneDay).Final)
	dear, failing := base, base
	dear.MeasuredCost, failing.Failures = 31, 0.3
	require.True(t, dear.JudgeLonger(oneDay).RollBack)
	require.Equal(t, Judgement{RollBack: true, Final: true, Why: []string{"30 % of the refreshes fail, 0 % did before"}}, failing.JudgeLonger(oneDay))
}
