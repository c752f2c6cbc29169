package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestATabAddsUpTheAgeOfWhatReadersSaw(t *testing.T) {
	t.Parallel()
	unknown, minute := math.NaN(), time.Minute
	at := func(m int) time.Time { return monday.Add(time.Duration(m) * minute) }
	tab := NewTab(monday)
	tab.Add(at(0), minute, 100, 0)
	require.Zero(t, tab.Age, "nothing has changed yet")
	tab.Add(at(1), minute, 100, 5) // in the middle of this minute
	require.Zero(t, tab.Age)
	tab.Add(at(11), minute, 3, 0)
	require.InDelta(t, 3*600, tab.Age, 1e-9)
	tab.Add(at(12), minute, unknown, 1)
	require.InDelta(t, 3*600, tab.Age, 1e-9, "what is not known pays nothing")
	require.InDelta(t, 3, tab.Reads, 1e-9)

	tab = NewTab(monday)
	tab.Add(at(-1), minute, 50, unknown)
	tab.Add(at(9), minute, 2, unknown)
	require.InDelta(t, 2*(9*60+30), tab.Age, 1e-9, "it changes all the time")
	tab = NewTab(monday)
	tab.Add(at(-5), minute, 50, 7)
	tab.Add(at(9), minute, 2, 0)
	require.Zero(t, tab.Age, "the contents show what changed before")
	tab = NewTab(monday)
	tab.Add(at(0), minute, unknown, unknown)
	tab.Add(at(9), minute, 2, 0)
	require.Zero(t, tab.Age, "a gap is no change")
}

func TestATabIsDueWhenReadersPaidUnlessTheSlotIsNear(t *testing.T) {
	t.Parallel()
	tab := Tab{Age: 1000, Reads: 10}
	require.True(t, tab.Due(1000, 100*time.Second))
	require.False(t, tab.Due(1001, 100*time.Second))
	require.False(t, tab.Due(1000, 99*time.Second), "ten more reads in a hundred seconds would not pay it")
	require.False(t, tab.Due(1000, -time.Second), "the slot is due")
	require.Contains(t, tab.Words(900), "10 reads since the last refresh saw data that was 2 min old on average, which adds up to 17 min where 15 min are allowed")
}

func TestReadersAskOnlyForWhatTheySaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		random := rand.New(rand.NewPCG(seed, 3))
		h := history(fiveMinutes(), bursty(seed, 5, 500), time.Hour)
		if rapid.Bool().Draw(t, "tracked") {
			h.Changes = draw(seed, fiveMinutes(), 5, 20, flat)
		}
		least := rapid.SampledFrom([]time.Duration{0, 20 * time.Minute}).Draw(t, "min_interval")
		lo, hi := dayBins, len(h.Reads)
		s := AdaptiveSchedule(h.Cost, h.Kappa, h.learn(lo).MeanRate(), Bounds{Min: least})
		require.GreaterOrEqual(t, s.Interval, least)
		before := h.Refreshes(s, Bounds{Min: least}, lo, hi)
		require.Equal(t, h.World().skipUnchanged(before, 0), before, "no refresh without a change")
		slots := map[int]bool{}
		for _, at := range every(h.Grid, s.Interval.Seconds()/h.Grid.seconds(), lo, hi) {
			slots[at] = true
		}
		for i := 1; i < len(before); i++ {
			require.True(t, slots[before[i]] || time.Duration(before[i]-before[i-1])*h.Grid.Width >= least)
		}

		cut := lo + random.IntN(hi-lo)
		h.Reads = append([]float64(nil), h.Reads...)
		for i := cut; i < hi; i++ { // another future
			h.Reads[i] = float64(random.IntN(50))
		}
		after := h.Refreshes(s, Bounds{Min: least}, lo, hi)
		for i := 0; i < len(before) && before[i] <= cut; i++ {
			require.Equal(t, before[i], after[i], "bin %d is decided before the cut at %d", before[i], cut)
		}

		for i := lo; i < hi; i++ { // nothing is known
			h.Reads[i] = math.NaN()
		}
		for _, at := range h.Refreshes(s, Bounds{Min: least}, lo, hi)[1:] {
			require.True(t, slots[at], "what is not known asks for nothing")
		}
	})
}

func TestABurstyViewIsBetterOffWhenReadersAskThanWithAnyInterval(t *testing.T) {
	t.Parallel()
	for seed := range seeds(8, 100) {
		h := history(fiveMinutes(), bursty(seed, 63, 2000), time.Hour)
		lo, hi := 49*dayBins, 63*dayBins
		w := h.World()
		fixed := math.Inf(1)
		for _, every := range niceIntervals {
			fixed = min(fixed, w.Replay(h.Refreshes(Schedule{Interval: every}, Bounds{}, lo, hi), lo, hi).Cost)
		}
		s := AdaptiveSchedule(h.Cost, h.Kappa, h.learn(lo).MeanRate(), Bounds{})
		require.Less(t, w.Replay(h.Refreshes(s, Bounds{}, lo, hi), lo, hi).Cost, 0.95*fixed, "seed %d", seed)
	}
}

func TestAPatienceThatIsWrongIsTakenBackAndARightOneIsKept(t *testing.T) {
	t.Parallel()
	good, lost := 0, 0
	judged := func(h History, is Schedule) bool {
		was := Schedule{Mode: Fixed, Interval: time.Hour}
		for day := 1; day <= 7; day++ {
			n := 7*dayBins + day*dayBins
			so := h
			so.Reads = h.Reads[:n]
			trial := Trial{History: so, Changed: 7 * dayBins, Old: was, Refreshes: so.Refreshes(is, Bounds{}, 7*dayBins, n)}
			if trial.Judge().RollBack {
				return true
			}
		}
		return false
	}
	for seed := range seeds(12, 100) {
		h := history(fiveMinutes(), bursty(seed, 14, 2000), time.Hour)
		right := AdaptiveSchedule(h.Cost, h.Kappa, h.learn(len(h.Reads)).MeanRate(), Bounds{})
		for _, factor := range []float64{1. / 16, 16} {
			wrong := right
			wrong.Patience *= factor
			require.True(t, judged(h, wrong), "seed %d: %g", seed, factor)
		}
		good++
		if judged(h, right) {
			lost++
		}
	}
	require.Less(t, float64(lost), 0.05*float64(good))
}
