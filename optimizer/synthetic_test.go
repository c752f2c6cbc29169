package optimizer

import (
	"math"
	"math/rand/v2"
	"time"
)

// monday is the start of all synthetic histories.
var monday = time.Date(2025, 1, 6, 0, 0, 0, 0, time.UTC)

func fiveMinutes() Grid { return Grid{Start: monday, Width: 5 * time.Minute} }

const dayBins, weekBins = 288, 7 * 288

func poisson(random *rand.Rand, mean float64) float64 {
	if mean > 50 {
		return max(0, math.Round(mean+math.Sqrt(mean)*random.NormFloat64()))
	}
	limit, n := math.Exp(-mean), 0.0
	for p := random.Float64(); p > limit; p *= random.Float64() {
		n++
	}
	return n
}

// flat is the same rate at all times.
func flat(int) float64 { return 1 }

// office is nine to five on working days, and almost nothing else.
func office(hour int) float64 {
	if h := hour % 24; hour < 5*24 && h >= 9 && h < 17 {
		return 7 * 24.0 / 40
	}
	return 0.01
}

// draw draws Poisson reads with a mean of perDay and a rhythm by hour of the week.
func draw(seed uint64, grid Grid, days int, perDay float64, rhythm func(hour int) float64) []float64 {
	random := rand.New(rand.NewPCG(seed, 1))
	perBin := perDay / (24 * time.Hour).Seconds() * grid.seconds()
	reads := make([]float64, days*grid.Bins(24*time.Hour))
	for t := range reads {
		reads[t] = poisson(random, perBin*rhythm(grid.hourOfWeek(t)))
	}
	return reads
}

// bursty is a flat rate with bursts: thirtyfold for about an hour, on average once every two days.
func bursty(seed uint64, days int, perDay float64) []float64 {
	random := rand.New(rand.NewPCG(seed, 2))
	reads := make([]float64, days*dayBins)
	burst := 0.0
	for t := range reads {
		if random.Float64() < 1.0/(2*dayBins) {
			burst = 30
		}
		reads[t] = poisson(random, perDay/dayBins*(1+burst))
		burst *= 0.93
	}
	return reads
}

// history prices reads so that a fixed interval of the target is right at their mean rate.
func history(grid Grid, reads []float64, target time.Duration) History {
	var total float64
	for _, r := range reads {
		if !math.IsNaN(r) {
			total += r
		}
	}
	const cost = 30
	return History{Grid: grid, Reads: reads, Cost: cost, Kappa: KappaFor(target, cost, total/(float64(len(reads))*grid.seconds()))}
}

// equalAgeRatio is how many times the refreshes of a policy a fixed interval needs for the same mean age, by
// log-log interpolation over a geometric grid of intervals; NaN outside of it.
func equalAgeRatio(w *World, refreshes []int, lo, hi int) float64 {
	out := w.Replay(refreshes, lo, hi)
	var ageBefore, countBefore float64
	for i := range 34 {
		fixed := w.Replay(w.skipUnchanged(every(w.Grid, 300*math.Exp2(float64(i)/4)/w.Grid.seconds(), lo, hi), 0), lo, hi)
		age, count := fixed.MeanAge, float64(fixed.Refreshes)
		if age <= ageBefore {
			continue
		}
		if ageBefore > 0 && ageBefore <= out.MeanAge && out.MeanAge <= age {
			f := math.Log(out.MeanAge/ageBefore) / math.Log(age/ageBefore)
			return math.Exp(math.Log(countBefore)*(1-f)+math.Log(count)*f) / float64(out.Refreshes)
		}
		ageBefore, countBefore = age, count
	}
	return math.NaN()
}
