package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// randomWorld has n bins of any kind: quiet or busy, with or without changes, with one price or one for each
// bin.
func randomWorld(random *rand.Rand, n int) *World {
	reads := make([]float64, n)
	for t := range reads {
		if random.IntN(3) > 0 {
			reads[t] = float64(random.IntN(20))
		}
	}
	var changes []float64
	if random.IntN(2) == 0 {
		changes = make([]float64, n)
		density := random.Float64()
		for t := range changes {
			if random.Float64() < density {
				changes[t] = 1
			}
		}
	}
	cost := []float64{1 + 30*random.Float64()}
	if random.IntN(2) == 0 {
		cost = make([]float64, n)
		for t := range cost {
			cost[t] = 1 + 30*random.Float64()
		}
	}
	kappa := math.Exp(-6 + 8*random.Float64())
	return NewWorld(Grid{Start: time.Unix(0, 0), Width: time.Second}, reads, changes, cost, kappa)
}

// byHand is the cost of refreshes, read by read.
func byHand(w *World, refreshes []int, lo, hi int) float64 {
	var cost float64
	for i, s := range refreshes {
		end := hi
		if i+1 < len(refreshes) {
			end = refreshes[i+1]
		}
		cost += w.RefreshCost(s)
		for t := s; t < end; t++ {
			if age := float64(t) + 0.5 - w.unseen(s); age > 0 {
				cost += w.Kappa * w.Grid.seconds() * w.reads.total(t, t+1) * age
			}
		}
	}
	return cost
}

func TestTheClairvoyantOptimumEqualsBruteForceOnAThousandInstances(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		n := 1 + random.IntN(11)
		w := randomWorld(random, n)
		best := math.Inf(1)
		for set := range 1 << (n - 1) { // bit i-1: refresh at i
			refreshes := []int{0}
			for i := 1; i < n; i++ {
				if set>>(i-1)&1 == 1 {
					refreshes = append(refreshes, i)
				}
			}
			best = min(best, byHand(w, refreshes, 0, n))
		}
		refreshes, cost := w.Clairvoyant(0, n)
		require.InEpsilon(t, best, cost, 1e-9)
		require.InEpsilon(t, best, byHand(w, refreshes, 0, n), 1e-9, "the refreshes are those of the optimum")
		require.Equal(t, 0, refreshes[0])
	}
}

func TestTheClairvoyantOptimumEqualsTheQuadraticProgramOnLongInstances(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "bins")
		w := randomWorld(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), n)
		lo := rapid.IntRange(0, n-1).Draw(t, "first bin")
		best := make([]float64, n+1)
		for e := lo + 1; e <= n; e++ {
			best[e] = math.Inf(1)
			for s := lo; s < e; s++ {
				best[e] = min(best[e], best[s]+w.segment(s, e))
			}
		}
		refreshes, cost := w.Clairvoyant(lo, n)
		require.InEpsilon(t, best[n], cost, 1e-9)
		require.InEpsilon(t, cost, w.Replay(refreshes, lo, n).Cost, 1e-9)
	})
}

func TestTheCostOfASegmentIsMonge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := randomWorld(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), 40)
		a := rapid.IntRange(0, 36).Draw(t, "a")
		b := rapid.IntRange(a+1, 37).Draw(t, "b")
		c := rapid.IntRange(b+1, 38).Draw(t, "c")
		d := rapid.IntRange(c+1, 39).Draw(t, "d")
		require.LessOrEqual(t, w.segment(a, c)+w.segment(b, d), w.segment(a, d)+w.segment(b, c)+1e-9)
	})
}

func TestReplayAddsUpReadByRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 300).Draw(t, "bins")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		w := randomWorld(random, n)
		refreshes := []int{0}
		for s := 1; s < n; s++ {
			if random.IntN(10) == 0 {
				refreshes = append(refreshes, s)
			}
		}
		out := w.Replay(refreshes, 0, n)
		require.InEpsilon(t, byHand(w, refreshes, 0, n), out.Cost, 1e-9)
		require.Equal(t, len(refreshes), out.Refreshes)
		require.InDelta(t, out.Cost, out.RefreshSeconds+w.Kappa*out.MeanAge*out.Reads, 1e-6*out.Cost)

		var days float64
		w.Grid.Width = 12 * time.Hour // two bins a day
		for _, day := range w.daily(refreshes, 0, n/2*2) {
			days += day
		}
		refreshes = refreshes[:len(refreshes):len(refreshes)]
		if n%2 == 0 {
			require.InEpsilon(t, byHand(w, refreshes, 0, n), days, 1e-9, "the days add up")
		}
	})
}

func TestTheAgeOfAReadCountsFromTheFirstChangeThatItDoesNotSee(t *testing.T) {
	t.Parallel()
	reads := []float64{1, 1, 1, 1, 1, 1}
	changes := []float64{0, 0, 1, 0, 1, 0}
	grid := Grid{Start: time.Unix(0, 0), Width: time.Minute}
	out := NewWorld(grid, reads, changes, []float64{1}, 1).Replay([]int{0, 4}, 0, 6)
	// under the first snapshot, reads 2 and 3 are 0 and 60 s late; under the second, reads 4 and 5
	require.InDelta(t, (0+60+0+60)/6.0, out.MeanAge, 1e-9)
	require.Equal(t, 60.0, out.P95Age)

	all := NewWorld(grid, reads, nil, []float64{1}, 1).Replay([]int{0, 4}, 0, 6)
	require.InDelta(t, 60*(0.5+1.5+2.5+3.5+0.5+1.5)/6, all.MeanAge, 1e-9, "without changes: since the refresh")
}

func TestReadersSeeARefreshWhenItIsOver(t *testing.T) {
	t.Parallel()
	reads := make([]float64, 20)
	for i := range reads {
		reads[i] = 1
	}
	w := NewWorld(Grid{Width: time.Minute}, reads, nil, []float64{1}, 1)
	got := w.ReplayShown([]int{0, 5, 12}, []int{0, 8, 12}, 0, 20)
	var age float64
	for i := range 20 {
		snapshot := 0
		switch {
		case i >= 12:
			snapshot = 12
		case i >= 8:
			snapshot = 5
		}
		age += float64(i-snapshot) + 0.5
	}
	require.InDelta(t, 60*age/20, got.MeanAge, 1e-9)
	require.InDelta(t, 60*7.5, got.P95Age, 1e-9)
	require.Equal(t, 3.0, got.RefreshSeconds)

	changes := make([]float64, 20)
	changes[15] = 1
	w = NewWorld(Grid{Width: time.Minute}, reads, changes, []float64{1}, 1)
	got = w.ReplayShown([]int{0, 5, 12}, []int{0, 8, 14}, 0, 20)
	require.InDelta(t, 60*(0.+1+2+3+4)/20, got.MeanAge, 1e-9, "nothing else changed")
}
