package optimizer

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func drawFleet(t *rapid.T) []Member {
	members := make([]Member, rapid.IntRange(1, 30).Draw(t, "views"))
	for i := range members {
		members[i] = Member{
			Name: fmt.Sprint("v", i),
			Cost: math.Exp(rapid.Float64Range(-2, 6).Draw(t, "log cost")),
			Rate: math.Exp(rapid.Float64Range(-12, 0).Draw(t, "log rate")),
		}
	}
	return members
}

func TestABudgetIsKeptAndSharedAtOnePrice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		members := drawFleet(t)
		kappa := FleetKappa(members, 15*time.Minute)
		budget := math.Exp(rapid.Float64Range(-7, 0).Draw(t, "log budget"))
		share := ShareBudget(members, kappa, budget)
		require.NotEmpty(t, share.Why)
		if share.Feasible {
			require.LessOrEqual(t, share.Load, budget*(1+1e-6))
		}
		if share.Price > 0 && share.Feasible {
			require.InEpsilon(t, budget, share.Load, 1e-6, "a price above zero means that the budget is used up")
		}
		for i, m := range members { // the marginal age saved by a refresh-second is the same for all
			interval := share.Intervals[i].Seconds()
			if interval > 60*1.001 && interval < 86400*0.999 {
				require.InEpsilon(t, 1+share.Price, kappa*m.Rate*interval*interval/(2*m.Cost), 1e-4)
			}
		}
	})
}

func TestNoOtherSharingOfTheBudgetServesReadersBetter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		members := drawFleet(t)
		kappa := FleetKappa(members, 15*time.Minute)
		share := ShareBudget(members, kappa, 0.05)
		if !share.Feasible {
			return
		}
		age := func(intervals []time.Duration) (sum float64) {
			for i, m := range members {
				sum += m.Rate * intervals[i].Seconds() / 2
			}
			return sum
		}
		load := func(intervals []time.Duration) (sum float64) {
			for i, m := range members {
				sum += m.Cost / intervals[i].Seconds()
			}
			return sum
		}
		other := make([]time.Duration, len(members))
		for i, interval := range share.Intervals {
			factor := math.Exp(rapid.Float64Range(-1, 1).Draw(t, "log factor"))
			other[i] = min(max(seconds(interval.Seconds()*factor), time.Minute), 24*time.Hour)
		}
		if share.Price > 0 && load(other) <= share.Load {
			require.GreaterOrEqual(t, age(other), age(share.Intervals)*(1-1e-6))
		}
	})
}

func TestTheMedianViewGetsTheTarget(t *testing.T) {
	t.Parallel()
	members := []Member{{Cost: 10, Rate: 0.001}, {Cost: 10, Rate: 0.1}, {Cost: 10, Rate: 10}, {Cost: 10}}
	kappa := FleetKappa(members, 0)
	require.InEpsilon(t, 15*60, EOQ(10, kappa, 0.1), 1e-9)
	require.Zero(t, FleetKappa(nil, 0))
}

func TestABudgetThatBoundsForbidIsReported(t *testing.T) {
	t.Parallel()
	share := ShareBudget([]Member{{Cost: 600, Rate: 1, Bounds: Bounds{Max: 10 * time.Minute}}}, 1e-3, 0.1)
	require.False(t, share.Feasible)
	require.Equal(t, 10*time.Minute, share.Intervals[0])
	require.Contains(t, share.Why[1], "raise the budget")
}

func TestWhatIsPaidAtAnyIntervalLeavesLessForTheRest(t *testing.T) {
	t.Parallel()
	members := []Member{{Name: "a", Cost: 30, Rate: 0.1}, {Name: "b", Cost: 1, Paid: 0.02, Rate: 0.1}}
	kappa := FleetKappa(members, 15*time.Minute)
	alone := ShareBudget([]Member{{Name: "a", Cost: 30, Rate: 0.1}, {Name: "b", Cost: 1, Rate: 0.1}}, kappa, 0.03)
	share := ShareBudget(members, kappa, 0.03)
	require.True(t, share.Feasible)
	require.InEpsilon(t, 0.03, share.Load, 1e-6)
	require.Greater(t, share.Price, alone.Price)
	members[1].Paid = 0.04
	require.False(t, ShareBudget(members, kappa, 0.03).Feasible)
}
