package optimizer

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A clock may be finer than the bins that reads are known in: all of its refreshes are paid for.
func TestRefreshesWithinABinAreCounted(t *testing.T) {
	t.Parallel()
	const minutely = time.Minute
	h := history(fiveMinutes(), slices.Repeat([]float64{200}, 42*dayBins), 15*time.Minute)
	officeHours := Schedule{Mode: CalendarMode, Calendar: Calendar{{Days: EveryDay, From: 8 * 60, To: 18 * 60, Every: IntervalWords(minutely)}}}
	predict := func(changes []float64, s Schedule) Prediction {
		h.Changes = changes
		return h.study(Bounds{}).predict(s)
	}
	always, onceABin := slices.Repeat([]float64{1000}, 42*dayBins), slices.Repeat([]float64{1}, 42*dayBins)
	for _, changes := range [][]float64{nil, always} {
		require.InDelta(t, 24*60, predict(changes, Schedule{Interval: minutely}).Refreshes, 0.1)
		require.InDelta(t, 24*60*h.Cost, predict(changes, Schedule{Interval: minutely}).RefreshSeconds, h.Cost)
		require.InDelta(t, 10*60, predict(changes, officeHours).Refreshes, 0.1)
	}
	require.InDelta(t, 30, predict(nil, Schedule{Interval: minutely}).MeanAge, 0.1)
	require.InDelta(t, 288, predict(onceABin, Schedule{Interval: minutely}).Refreshes, 0.1, "no more refreshes than changes")
	require.InDelta(t, 288, predict(always, Schedule{Interval: 5 * time.Minute}).Refreshes, 0.1)
	require.Greater(t, predict(always, officeHours).Cost, predict(always, Schedule{Interval: 5 * time.Minute}).Cost)
}

// What readers gain by a clock that is finer than what is known of changes is not known: nobody is told to give it up.
func TestAClockThatIsFinerThanChangesAreKnownIsLeftAlone(t *testing.T) {
	t.Parallel()
	v := reviewed(draw(1, fiveMinutes(), 63, 400, flat), time.Minute)
	recommendations, _ := Review(v)
	require.NotEmpty(t, recommendations, "its source changes all the time")
	v.History.Changes = slices.Repeat([]float64{1000}, len(v.History.Reads))
	recommendations, why := Review(v)
	require.Empty(t, recommendations)
	require.Equal(t, []string{"it is refreshed more often than every 5 minutes: what readers gain by that is not known where changes are counted"}, why)
}
