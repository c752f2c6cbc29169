package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAPlanIsAsGoodAsTheBestOfAllPlans(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		n := rapid.IntRange(1, 9).Draw(t, "bins")
		o := Outlook{Width: time.Second, Kappa: 0.1 + random.Float64(), Cost: []float64{5 * random.Float64()}, Age: time.Duration(random.IntN(5)) * time.Second}
		for range n {
			o.Reads = append(o.Reads, 4*random.Float64())
		}
		best := math.Inf(1)
		for set := range 1 << n { // bit i: refresh at i
			cost, since := 0.0, -o.Age.Seconds()
			for i, r := range o.Reads {
				if set>>i&1 == 1 {
					cost, since = cost+o.Cost[0], float64(i)
				}
				cost += o.Kappa * r * (float64(i) + 0.5 - since)
			}
			best = min(best, cost)
		}
		require.InEpsilon(t, best, o.Plan().Cost, 1e-9)
	})
}

func TestThePlanForBurstsIsExactForARegularSource(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		n := rapid.IntRange(1, 9).Draw(t, "bins")
		wait := rapid.IntRange(0, 3).Draw(t, "wait")
		o := Outlook{
			Width: time.Second, Kappa: 0.1 + random.Float64(), Cost: []float64{5 * random.Float64()}, Age: 3 * time.Second,
			Waits: []int{wait}, Next: []int{0},
		}
		for range n {
			o.Reads = append(o.Reads, 4*random.Float64())
		}
		best := math.Inf(1)
		for set := range 1 << n { // bit i: refresh at i
			cost, first, refreshed := 0.0, -o.Age.Seconds(), false
			for i, r := range o.Reads {
				if set>>i&1 == 1 {
					cost += o.Cost[0]
					first = float64(i+wait) + 0.5 // the next change
					if !refreshed && i == 0 {
						first = 0.5
					}
					refreshed = true
				}
				cost += o.Kappa * r * max(0, float64(i)+0.5-first)
			}
			best = min(best, cost)
		}
		require.InEpsilon(t, best, o.Plan().Cost, 1e-9)
	})
}

func TestThePlanWaitsForTheMorningAndRefreshesAtItsFoot(t *testing.T) {
	t.Parallel()
	reads := make([]float64, 24*12) // it is 18:00; readers come at 09:00
	for i := range reads {
		if hour := (18 + i/12) % 24; hour >= 9 && hour < 17 {
			reads[i] = 10
		}
	}
	o := Outlook{Width: 5 * time.Minute, Reads: reads, Cost: []float64{30}, Kappa: 1e-3, Age: time.Hour}
	plan := o.Plan()
	require.InDelta(t, 15*12, plan.First, 1)
	require.Less(t, plan.Cost, plan.AtNow)
}

func TestADearHourIsAvoided(t *testing.T) {
	t.Parallel()
	reads, cost := make([]float64, 48), make([]float64, 48)
	for i := range reads {
		reads[i], cost[i] = 1, 30
		if i < 12 {
			cost[i] = 120
		}
	}
	o := Outlook{Width: 5 * time.Minute, Reads: reads, Cost: cost, Kappa: 1e-3, Age: time.Hour}
	require.Equal(t, 12, o.Plan().First)
	o.Cost = []float64{30}
	require.Less(t, o.Plan().First, 12)
}

func TestABurstOfChangesIsWaitedOut(t *testing.T) {
	t.Parallel()
	changes := &ChangeModel{}
	at, width := monday, 5*time.Minute
	bin := func(n float64) {
		changes.Observe(at, width, n)
		at = at.Add(width)
	}
	for range 30 { // six changes in half an hour, then silence for five hours and a half
		for range 6 {
			bin(1)
		}
		for range 66 {
			bin(0)
		}
	}
	reads := make([]float64, 12*12)
	for i := range reads {
		reads[i] = 1
	}
	plan := func(quiet int) Plan {
		model := *changes
		now := at
		model.Observe(now, width, 1)
		now = now.Add(width)
		for range quiet {
			model.Observe(now, width, 0)
			now = now.Add(width)
		}
		o := Outlook{Width: width, Reads: reads, Cost: []float64{30}, Kappa: 5e-3, Age: now.Sub(at)}
		model.Outlook(&o, now)
		require.NotEmpty(t, o.Waits)
		return o.Plan()
	}
	require.Positive(t, plan(0).First, "the burst has just begun")
	require.Zero(t, plan(3).First, "the burst is over")
}

func TestAlmostNothingKnownOfChangesMeansTheyComeAllTheTime(t *testing.T) {
	t.Parallel()
	o := Outlook{Width: time.Minute, Reads: []float64{1, 2, 3}}
	(&ChangeModel{}).Outlook(&o, monday)
	require.Empty(t, o.Waits)

	busy := &ChangeModel{}
	for i := range 100 {
		busy.Observe(monday.Add(time.Duration(i)*time.Minute), time.Minute, 1)
	}
	busy.Outlook(&o, monday.Add(100*time.Minute))
	require.Empty(t, o.Waits)
}

func TestTheEconomicOrderQuantityIsTheBottomOfTheCost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cost := rapid.Float64Range(0.1, 1000).Draw(t, "cost")
		rate := rapid.Float64Range(1e-5, 10).Draw(t, "rate")
		kappa := KappaFor(time.Hour, cost, rate)
		best := EOQ(cost, kappa, rate)
		require.InEpsilon(t, 3600, best, 1e-9)
		j := func(interval float64) float64 { return cost/interval + kappa*rate*interval/2 }
		require.InEpsilon(t, j(best)*1.25, j(2*best), 1e-9, "a factor of two costs a quarter")
		require.Less(t, j(best), j(1.01*best))
	})
	require.True(t, math.IsInf(EOQ(1, 1, 0), 1))
}

func TestHorizonsAreBounded(t *testing.T) {
	t.Parallel()
	require.Equal(t, 12*time.Hour, horizon(60))
	require.Equal(t, 24*time.Hour, horizon(7200))
	require.Equal(t, 48*time.Hour, horizon(math.Inf(1)))
}

// What a view reads is refreshed less often than its max_interval: that holds all the same.
func TestBoundsThatContradictEachOtherEndAtTheLongest(t *testing.T) {
	t.Parallel()
	for b, most := range map[Bounds]time.Duration{{Min: 2 * time.Hour, Max: 25 * time.Minute}: 25 * time.Minute, {Min: 48 * time.Hour}: 48 * time.Hour, {}: 24 * time.Hour} {
		require.Equal(t, most, NiceInterval(10, 1, 1e-9, b))
		require.LessOrEqual(t, b.least(), most)
		require.Equal(t, most, b.most())
	}
}
