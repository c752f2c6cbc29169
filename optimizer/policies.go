package optimizer

import (
	"math"
	"slices"
	"time"
)

// scenario is the world that a policy is tried on: it knows the bins before lo and refreshes in [lo, hi), the
// first time at lo.
type scenario struct {
	History
	world    *World
	lo, hi   int
	interval time.Duration // of the policy fixed
}

// policy gives the bins at whose start it refreshes. Policies other than bestFixed and clairvoyant decide
// each refresh on the bins before it.
type policy struct {
	name  string
	about string
	run   func(*scenario) []int
}

var policies = []policy{
	{"mvscheduler", "each refresh planned on a forecast of the reads: what could be had, and more than the clocks that are recommended do", (*scenario).mvscheduler},
	{"adaptive", "an interval, and a refresh in between when readers saw enough old data, as optimize = 'auto' does it", (*scenario).adaptive},
	{"fixed", "a fixed interval, --interval", (*scenario).fixed},
	{"best_fixed", "the best of fixed intervals a cube root of two (26 %) apart, chosen in hindsight", (*scenario).bestFixed},
	{"half_read_gap", "half the mean gap between the reads of the last day", (*scenario).halfReadGap},
	{"eoq", "the best interval at the mean rate of the last seven days, sqrt(2c/(kappa*rate))", (*scenario).eoq},
	{"power_of_two", "the same, rounded down to a power of two bins of the trace, as target lags are", (*scenario).powerOfTwo},
	{"clairvoyant", "the optimum for somebody who knows every read beforehand", (*scenario).clairvoyant},
}

func (s *scenario) mvscheduler() []int {
	return s.Refreshes(Schedule{Mode: Piloted}, Bounds{}, s.lo, s.hi)
}

func (s *scenario) adaptive() []int {
	return s.Refreshes(AdaptiveSchedule(s.Cost, s.Kappa, s.learn(s.lo).MeanRate(), Bounds{}), Bounds{}, s.lo, s.hi)
}

func (s *scenario) fixed() []int {
	return s.Refreshes(Schedule{Mode: Fixed, Interval: s.interval}, Bounds{}, s.lo, s.hi)
}

// bestFixed tries intervals of one bin times powers of the cube root of two, up to about two days.
func (s *scenario) bestFixed() []int {
	var best []int
	cost := math.Inf(1)
	for i := 0; ; i++ {
		bins := math.Exp2(float64(i) / 3)
		if bins*s.Grid.seconds() > 2.25*24*3600 {
			return best
		}
		refreshes := s.world.skipUnchanged(every(s.Grid, bins, s.lo, s.hi), 0)
		if j := s.world.Replay(refreshes, s.lo, s.hi).Cost; j < cost {
			best, cost = refreshes, j
		}
	}
}

// rate is the number of reads per bin in the last so many bins before t.
func (s *scenario) rate(t, bins int) float64 {
	from := max(0, t-bins)
	return s.world.reads.total(from, t) / float64(max(1, t-from))
}

func (s *scenario) halfReadGap() []int {
	day := s.Grid.Bins(24 * time.Hour)
	return s.stepwise(func(t int) int {
		rate := s.rate(t, day)
		if rate <= 0 {
			return t + day
		}
		return t + min(max(1, int(math.RoundToEven(min(0.5/rate, float64(day))))), day)
	})
}

func (s *scenario) eoqBins(t int) float64 {
	width := s.Grid.seconds()
	rate := max(s.rate(t, s.Grid.Bins(7*24*time.Hour)), 1e-9)
	return min(EOQ(s.Cost, s.Kappa, rate/width)/width, float64(s.Grid.Bins(7*24*time.Hour)))
}

func (s *scenario) eoq() []int {
	return s.stepwise(func(t int) int { return t + max(1, int(math.RoundToEven(s.eoqBins(t)))) })
}

func (s *scenario) powerOfTwo() []int {
	offset := s.Grid.sinceMonday()
	return s.stepwise(func(t int) int {
		k := 1 << int(math.Log2(max(1, s.eoqBins(t))))
		return ((t+offset)/k+1)*k - offset
	})
}

// stepwise refreshes at the bins that next gives, each from the one before.
func (s *scenario) stepwise(next func(t int) int) []int {
	refreshes := []int{s.lo}
	for t := next(s.lo); t < s.hi; t = next(t) {
		refreshes = append(refreshes, t)
	}
	return s.world.skipUnchanged(refreshes, 0)
}

func (s *scenario) clairvoyant() []int {
	refreshes, _ := s.world.Clairvoyant(s.lo, s.hi)
	return slices.Clip(refreshes)
}
