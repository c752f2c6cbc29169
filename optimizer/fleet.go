package optimizer

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Member is a view of the fleet as its budget sees it.
type Member struct {
	Name   string
	Cost   float64 // of a refresh, the median, in refresh-seconds
	Paid   float64 // refresh-seconds per second that it takes at any interval beside
	Rate   float64 // of the mean week, in reads per second
	Weight float64 // of its reads; zero = 1
	Bounds Bounds
}

func (m Member) weight() float64 {
	if m.Weight == 0 {
		return 1
	}
	return m.Weight
}

// FleetKappa is the one exchange rate of a fleet: that at which the median view, by the rate that it asks for,
// is refreshed every target at its mean load. Views that are never read have no say; zero without any other.
// A target of zero stands for 15 minutes.
func FleetKappa(members []Member, target time.Duration) float64 {
	if target == 0 {
		target = defaultTarget
	}
	var kappas []float64
	for _, m := range members {
		if rate := m.Rate * m.weight(); rate > 0 && m.Cost > 0 {
			kappas = append(kappas, KappaFor(target, m.Cost, rate))
		}
	}
	if len(kappas) == 0 {
		return 0
	}
	slices.Sort(kappas)
	return kappas[len(kappas)/2]
}

// Share is how a fleet shares its budget.
type Share struct {
	Intervals []time.Duration // by member
	Price     float64         // mu: a refresh-second costs 1+mu; zero when the budget is not reached
	Load      float64         // refresh-seconds per second that the intervals take
	Feasible  bool            // false: even the longest intervals take more than the budget
	Why       []string
}

// ShareBudget minimises the age that all readers together see, for at most so many refresh-seconds per second
// (a tenth of a backend is 0.1, the default for zero). The Lagrange condition gives every view
//
//	T = sqrt(2 (1+mu) c / (kappa * rate))
//
// within its bounds, with one price mu for all (spec 1.4). The load falls as mu rises, so mu is found by
// bisection.
func ShareBudget(members []Member, kappa, budget float64) Share {
	if budget == 0 {
		budget = defaultBudget
	}
	at := func(mu float64) (intervals []time.Duration, load float64) {
		intervals = make([]time.Duration, len(members))
		for i, m := range members {
			t := EOQ((1+mu)*m.Cost, kappa*m.weight(), m.Rate)
			t = min(max(t, m.Bounds.least().Seconds()), m.Bounds.most().Seconds())
			intervals[i] = seconds(t)
			load += m.Cost/t + m.Paid
		}
		return intervals, load
	}
	share := Share{Feasible: true}
	share.Intervals, share.Load = at(0)
	if share.Load <= budget {
		share.Why = []string{fmt.Sprintf("every view gets the interval that it would have alone: together they take %.3f of the %.3f refresh-seconds per second that are allowed", share.Load, budget)}
		return share
	}
	free := share.Load
	low, high := 0.0, 1.0
	for range 60 {
		if _, load := at(high); load <= budget {
			break
		}
		low, high = high, 2*high
	}
	for range 60 {
		if mid := (low + high) / 2; mid == low || mid == high {
			break
		} else if _, load := at(mid); load <= budget {
			high = mid
		} else {
			low = mid
		}
	}
	share.Price = high
	share.Intervals, share.Load = at(high)
	share.Feasible = share.Load <= budget*(1+1e-9)
	share.Why = []string{fmt.Sprintf("alone, the views would take %.3f refresh-seconds per second, %.3f are allowed: a refresh-second is priced %.2f times, which makes intervals %.2f times as long",
		free, budget, 1+share.Price, math.Sqrt(1+share.Price))}
	if !share.Feasible {
		share.Why = append(share.Why, fmt.Sprintf("even at their longest intervals the views take %.3f: raise the budget or max_interval", share.Load))
	}
	return share
}
