package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestThePilotDoesNotLookAhead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		random := rand.New(rand.NewPCG(seed, 3))
		h := history(fiveMinutes(), draw(seed, fiveMinutes(), 5, 200, office), time.Hour)
		h.Changes = draw(seed, fiveMinutes(), 5, 20, flat)
		lo, hi := 3*dayBins, len(h.Reads)
		before := h.Refreshes(Schedule{Mode: Piloted}, Bounds{}, lo, hi)

		cut := lo + random.IntN(hi-lo)
		h.Reads, h.Changes = append([]float64(nil), h.Reads...), append([]float64(nil), h.Changes...)
		for i := cut; i < hi; i++ { // another future
			h.Reads[i], h.Changes[i] = float64(random.IntN(50)), float64(random.IntN(2))
		}
		after := h.Refreshes(Schedule{Mode: Piloted}, Bounds{}, lo, hi)
		for i := 0; i < len(before) && before[i] <= cut; i++ {
			require.Equal(t, before[i], after[i], "bin %d is decided before the cut at %d", before[i], cut)
		}
	})
}

func TestNothingIsRefreshedThatDidNotChange(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 21, 500, flat), 15*time.Minute)
	h.Changes = draw(2, fiveMinutes(), 21, 3, flat)
	lo, hi := 10*dayBins, len(h.Reads)
	w := h.World()
	for _, s := range []Schedule{{Mode: Piloted}, {Mode: Fixed, Interval: 10 * time.Minute}} {
		refreshes := h.Refreshes(s, Bounds{}, lo, hi)
		require.Equal(t, w.skipUnchanged(refreshes, 0), refreshes)
		require.Greater(t, len(refreshes), 10)
	}
}

// pilot has seen 21 flat days and was refreshed at their end.
func pilot(t *testing.T, cfg PilotConfig) (*Pilot, time.Time) {
	t.Helper()
	reads := draw(3, fiveMinutes(), 21, 2000, flat)
	h := history(fiveMinutes(), reads, 4*time.Hour)
	cfg.Width, cfg.Kappa, cfg.Cost = 5*time.Minute, h.Kappa, h.Cost
	p := NewPilot(cfg, monday)
	for i, r := range reads {
		p.Observe(h.Grid.At(i), r, 1)
	}
	now := h.Grid.At(len(reads))
	p.Refreshed(now)
	return p, now
}

func TestTheGuardAnswersABurst(t *testing.T) {
	t.Parallel()
	p, now := pilot(t, PilotConfig{})
	d := p.Decide(now)
	require.False(t, d.Refresh)
	require.WithinDuration(t, now.Add(4*time.Hour), d.Due, 45*time.Minute, "the plan is the target interval")

	for range 3 {
		p.Observe(now, 7, math.NaN())
		now = now.Add(5 * time.Minute)
	}
	require.False(t, p.Decide(now).Refresh, "as many as ever")
	p.Observe(now, 5000, math.NaN())
	d = p.Decide(now.Add(5 * time.Minute))
	require.True(t, d.Refresh)
	require.Equal(t, Guarded, d.Cause)
	require.GreaterOrEqual(t, d.Paid, d.Allowed)
	require.Contains(t, d.Reasons()[0], "readers paid")
}

func TestBoundsAreKept(t *testing.T) {
	t.Parallel()
	fly := func(cfg PilotConfig, reads float64, bins int) (Decision, time.Duration) {
		p, start := pilot(t, cfg)
		now := start
		for range bins {
			p.Observe(now, reads, math.NaN())
			now = now.Add(5 * time.Minute)
			if d := p.Decide(now); d.Refresh || bins == 1 {
				return d, now.Sub(start)
			}
		}
		return p.Decide(now), now.Sub(start)
	}
	d, after := fly(PilotConfig{Max: time.Hour}, 0, 50)
	require.Equal(t, Overdue, d.Cause)
	require.Equal(t, time.Hour, after)

	d, after = fly(PilotConfig{MaxStaleness: 30 * time.Minute}, 7, 50)
	require.True(t, d.Refresh)
	require.Less(t, after, 30*time.Minute, "the refresh itself and the next bin take time too")

	d, _ = fly(PilotConfig{Min: 2 * time.Hour}, 1e6, 1)
	require.Equal(t, TooSoon, d.Cause)
	require.NotEmpty(t, d.Reasons())
}

func TestAViewThatNobodyReadsIsRefreshedEverMoreRarely(t *testing.T) {
	t.Parallel()
	h := History{Grid: fiveMinutes(), Reads: make([]float64, 56*dayBins), Cost: 30, Kappa: 1e-3}
	refreshes := h.Refreshes(Schedule{Mode: Piloted}, Bounds{}, dayBins, len(h.Reads))
	require.Less(t, len(refreshes), 16)
	last := len(refreshes) - 1
	require.Greater(t, refreshes[last]-refreshes[last-1], 2*(refreshes[1]-refreshes[0]))
}

func TestLostSamplesAreNotTakenForQuietHours(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(5, fiveMinutes(), 42, 1000, flat), time.Hour)
	lo, hi := 21*dayBins, len(h.Reads)
	whole := h.World()
	lost := h
	lost.Reads = append([]float64(nil), h.Reads...)
	random := rand.New(rand.NewPCG(6, 6))
	for i := range lost.Reads {
		if random.IntN(5) == 0 {
			lost.Reads[i] = math.NaN()
		}
	}
	cost := func(h History) float64 {
		return whole.Replay(h.Refreshes(Schedule{Mode: Piloted}, Bounds{}, lo, hi), lo, hi).Cost
	}
	require.InEpsilon(t, cost(h), cost(lost), 0.01)
}

// pilots have seen three weeks, by the office hours of a view that is read often or rarely, with and without
// changes.
func pilots(n int) ([]*Pilot, time.Time) {
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 21, 400, office), 4*time.Hour)
	changes := draw(2, fiveMinutes(), 21, 8, flat)
	fleet := make([]*Pilot, n)
	for i := range fleet {
		fleet[i] = NewPilot(PilotConfig{Width: h.Grid.Width, Kappa: h.Kappa, Cost: h.Cost, Tracked: i%2 == 1}, monday)
		for t, r := range h.Reads {
			fleet[i].Observe(h.Grid.At(t), r, changes[t])
		}
	}
	return fleet, h.Grid.At(len(h.Reads))
}

// BenchmarkHourOfAThousandViews is what the optimizer does every hour for 1,000 views, half of them with
// sources that change in bursts: learn twelve bins and plan. The bar is two seconds.
func BenchmarkHourOfAThousandViews(b *testing.B) {
	fleet, now := pilots(1000)
	for b.Loop() {
		for _, p := range fleet {
			for i := range 12 {
				p.Observe(now.Add(time.Duration(i)*p.Width), 1, 0)
			}
			p.replan(now.Add(time.Hour))
		}
		now = now.Add(time.Hour)
	}
}

// BenchmarkLearn is reading six weeks of a view's history, as after a restart.
func BenchmarkLearn(b *testing.B) {
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 42, 400, office), 4*time.Hour)
	for b.Loop() {
		h.learn(len(h.Reads))
	}
}

// BenchmarkTheChoiceOfASchedule is the daily choice of a mode on six weeks of history.
func BenchmarkTheChoiceOfASchedule(b *testing.B) {
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 42, 400, office), time.Hour)
	for b.Loop() {
		chooseSchedule(h, Bounds{})
	}
}
