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
	view := Kept{Name: "app.v", Period: "30 days", Current: 30 * oneDay, Incremental: true, Sources: "pg_qualstats"}
	asked := func(days int, on ...int) (found []LookedBackOn) {
		for _, d := range on {
			found = append(found, LookedBackOn{LookedBack: LookedBack{Days: days}, At: monday.AddDate(0, 0, d), Days: 1, Reads: 4})
		}
		return found
	}
	r, ok := view.Longer(append(asked(8, 1, 2, 3), asked(64, 1, 5)...))
	require.True(t, ok)
	require.Equal(t, map[string]string{"retention_period": "80 days"}, r.Change)
	require.Equal(t, map[string]string{"retention_period": "30 days"}, r.Basis)
	require.Contains(t, r.Reason, "app.v: keep 80 days. On 2 days 8 reads of 20 asked for what is older than the 30 days that are kept, as far back as 64 days")
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
}
