package optimizer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nightly are the changes of a source that is loaded within five minutes, once a day at a time of no clock.
func nightly(days int) []float64 {
	random := rand.New(rand.NewPCG(7, 7))
	changes := make([]float64, days*dayBins)
	for day := range days {
		changes[day*dayBins+random.IntN(dayBins)] = 5000
	}
	return changes
}

// Slots that find nothing to do cost little: a view is looked at more often than it could be refreshed for its readers.
func TestASourceThatChangesNowAndThenIsLookedAtMoreOften(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 63, 400, flat), 4*time.Hour)
	h.Changes = nightly(63)
	learnt := h
	learnt.Reads, learnt.Changes = h.Reads[:42*dayBins], h.Changes[:42*dayBins]
	choice, ok := chooseSchedule(learnt, Bounds{})
	require.True(t, ok)
	require.Equal(t, Fixed, choice.Schedule.Mode)
	require.LessOrEqual(t, choice.Schedule.Interval, 30*time.Minute)
	require.Contains(t, choice.Why[len(choice.Why)-1], "every 4 hours would do if its sources changed all the time, but nothing changed before 82 % of those slots")

	lo, hi := 42*dayBins, 63*dayBins // which nobody has seen yet
	cost := func(s Schedule) float64 { return h.World().Replay(h.Refreshes(s, Bounds{}, lo, hi), lo, hi).Cost }
	best := cost(Schedule{Interval: 15 * time.Minute})
	for _, every := range niceIntervals {
		best = min(best, cost(Schedule{Interval: every}))
	}
	require.Less(t, cost(choice.Schedule), 1.1*best)
	require.Greater(t, cost(Schedule{Interval: 4 * time.Hour}), 1.2*best, "which is right where it changes all the time")

	within := Bounds{Min: 2 * time.Hour}
	choice, _ = chooseSchedule(learnt, within)
	require.Equal(t, 2*time.Hour, choice.Schedule.Interval)

	learnt.Changes = make([]float64, len(learnt.Reads))
	choice, _ = chooseSchedule(learnt, Bounds{})
	require.Equal(t, 4*time.Hour, choice.Schedule.Interval, "nothing is known of how it changes")
}

// After settings.max_skips skips a run refreshes all the same, and that is paid for.
func TestRefreshesThatNothingAsksForButTooManySkipsAreCounted(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 42, 400, flat), time.Hour)
	h.Changes = make([]float64, len(h.Reads))
	for _, c := range []struct {
		every time.Duration
		skips int
		want  float64 // a day
	}{
		{5 * time.Minute, 0, 0}, {5 * time.Minute, 11, 24}, {time.Minute, 59, 24}, {time.Minute, math.MaxInt32, 0}, {time.Hour, 5, 4},
	} {
		h.MaxSkips = c.skips
		p := h.study(Bounds{}).predict(Schedule{Interval: c.every})
		require.InDelta(t, c.want, p.Refreshes, 0.2, "%v", c)
	}
	h.MaxSkips = 5
	asked := h.study(Bounds{}).predict(Schedule{Mode: Adaptive, Interval: time.Hour, Patience: 1e12})
	require.InDelta(t, 4, asked.Refreshes, 0.2)
	steady := Calendar{{Days: EveryDay, To: 24 * 60, Every: IntervalWords(time.Hour)}}
	require.InDelta(t, 4, h.study(Bounds{}).predict(Schedule{Mode: CalendarMode, Calendar: steady}).Refreshes, 0.2)
}

// Of intervals that cost the same it is the longest, since slots that find nothing to do are not free.
func TestTheLongestOfEquallyGoodIntervalsIsTaken(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 63, 400, flat), 8*time.Hour)
	h.Changes = nightly(63)
	s := h.study(Bounds{})
	chosen, why := s.interval(s.all.MeanRate())
	require.NotEmpty(t, why)
	costs := s.intervalCosts()
	var good []time.Duration
	for i, every := range niceIntervals {
		if costs[i] <= (1+idleLoss)*slices.Min(costs) {
			good = append(good, every)
		}
	}
	require.Greater(t, len(good), 1)
	require.Equal(t, good[len(good)-1], chosen)
}
