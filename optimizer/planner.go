package optimizer

import (
	"math"
	"time"
)

// Outlook is what is expected of a view from now on, bin by bin.
type Outlook struct {
	Width time.Duration // of a bin
	Reads []float64     // expected in each bin; the length is the horizon
	Cost  []float64     // of a refresh at the start of each bin, in refresh-seconds; one element stands for all
	Kappa float64       // refresh-seconds that a second of age is worth to one read
	Age   time.Duration // of what readers see now: since the first change that they do not see

	// Waits are equally likely times from a refresh to the next change, and Next the same from now on, in whole
	// bins; both empty = the sources change all the time.
	Waits, Next []int
}

// Plan is the cheapest way to refresh for an outlook.
type Plan struct {
	First int     // bin of the next refresh; the length of the horizon = none within it
	Cost  float64 // expected J up to the horizon, in refresh-seconds
	AtNow float64 // the same, if the view is refreshed now
}

// Plan solves the outlook. Only its first refresh is meant to be carried out: the next plan knows more.
func (o Outlook) Plan() Plan {
	reads := momentsOf(o.Reads)
	if len(o.Waits) == 0 {
		return o.planSteady(reads)
	}
	return o.planBursts(reads)
}

func (o Outlook) cost(s int) float64 {
	if len(o.Cost) == 1 {
		return o.Cost[0]
	}
	return o.Cost[s]
}

// price is what a read pays for each bin of age, in refresh-seconds.
func (o Outlook) price() float64 { return o.Kappa * o.Width.Seconds() }

// planSteady is exact where the sources change all the time, by the dynamic program that also finds the
// clairvoyant optimum (spec 1.2).
func (o Outlook) planSteady(reads moments) Plan {
	n, price := reads.len(), o.price()
	// rest[n-s] = cost from a refresh at s to the horizon: the program runs backwards, from the horizon
	rest, _ := mongeDP(n, func(j, i int) float64 {
		s, e := n-i, n-j
		return o.cost(s) + price*reads.age(float64(s), s, e)
	})
	return o.first(reads, func(e int) float64 { return rest[n-e] })
}

// planBursts plans for a source whose changes are a renewal process: the time to the next change is drawn
// anew after each. As nothing is refreshed that did not change, there are two kinds of states,
//
//	fresh[s] = cost(s) + mean over the waits w of dirty[s+w]         refreshed at s
//	dirty[j] = min over e > j of the age paid in [j, e) + fresh[e]   the first unseen change came in bin j
//
// Waiting is worth something here: it shows whether a burst goes on, and one refresh shows all of it.
func (o Outlook) planBursts(reads moments) Plan {
	n, price := reads.len(), o.price()
	fresh := make([]float64, n+1) // nothing is paid beyond the horizon
	dirty := make([]float64, n+1)
	expect := func(s int, waits []int) (mean float64) {
		for _, wait := range waits {
			mean += dirty[min(s+wait, n)] / float64(len(waits))
		}
		return mean
	}
	for j := n - 1; j >= 0; j-- {
		dirty[j] = math.Inf(1)
		changed := float64(j) + 0.5
		for e := j + 1; e <= n; e++ {
			age := price * (reads.moment[e] - reads.moment[j] - changed*(reads.count[e]-reads.count[j]))
			if age >= dirty[j] {
				break
			}
			dirty[j] = min(dirty[j], age+fresh[e])
		}
		fresh[j] = o.cost(j) + expect(j, o.Waits)
	}
	return o.first(reads, func(e int) float64 {
		if e == n {
			return 0
		}
		var sum float64
		for _, next := range o.Next { // refreshed at e, before or after the next change
			if next >= e {
				sum += o.cost(e) + dirty[min(next, n)]
			} else {
				sum += fresh[e]
			}
		}
		return sum / float64(len(o.Next))
	})
}

// first chooses the bin of the next refresh, given the cost from a refresh in a bin to the horizon.
func (o Outlook) first(reads moments, rest func(e int) float64) Plan {
	price, age := o.price(), o.Age.Seconds()/o.Width.Seconds()
	plan := Plan{Cost: math.Inf(1), AtNow: rest(0)}
	for e := range reads.len() + 1 {
		paid := price * reads.age(-age, 0, e)
		if paid >= plan.Cost {
			break
		}
		if c := paid + rest(e); c < plan.Cost-1e-12 {
			plan.First, plan.Cost = e, c
		}
	}
	return plan
}

// EOQ is the best fixed interval for a constant rate, in seconds: sqrt(2c/(kappa*rate)), the economic order
// quantity of inventory theory (Harris 1913; spec 1.1). Cost in refresh-seconds, rate in reads per second.
// Without reads it is infinite.
func EOQ(cost, kappa, rate float64) float64 { return math.Sqrt(2 * cost / (kappa * rate)) }

// KappaFor is the exchange rate at which [EOQ] is the target interval.
func KappaFor(target time.Duration, cost, rate float64) float64 {
	return 2 * cost / (rate * target.Seconds() * target.Seconds())
}

// horizon is how far a plan looks ahead.
func horizon(eoq float64) time.Duration {
	if eoq > horizonMost.Seconds() { // also infinite
		return horizonMost
	}
	return min(max(time.Duration(horizonCycles*eoq*float64(time.Second)), horizonLeast), horizonMost)
}

// guardFactor is how many times the cost of a refresh readers may pay in age before the view is refreshed
// without regard to the plan. With 1 this is the rule for acknowledging packets of Dooly, Goldman and Scott
// (JACM 2001), 2-competitive where reads are dense; a single read of a rarely read view overshoots it without
// bound, and reacting to it is noise (spec 1.3).
func guardFactor(readsPerCycle float64) float64 {
	return 1 + guardExtra/(guardReads+readsPerCycle)
}
