package optimizer

import (
	"math"
	"time"
)

// fall is how the reads since an instant compare with the habit of the time before it. Only bins whose reads are known
// are compared: a gap is not a silence.
type fall struct {
	Came, Expected float64
	Deviations     float64 // that fewer came, in standard deviations of their difference
}

// Fell says that reads fell by more than readsFell, and by more than they vary by themselves.
func (f fall) Fell() bool {
	return f.Expected > minReads && f.Came < (1-readsFell)*f.Expected && f.Deviations > fallDeviations
}

// fall compares the reads from a bin on with those before it; it is zero where these are fewer than a week.
//
// What is expected is the profile at the slow level, but at most at its own: reads above the habit may be a burst that is
// over, reads below it may stay few. The fast level is left out. Given the n reads of both times together, a count that
// did not change has the share p of what was expected of the later one, with the variance phi*n*p*(1-p) (the conditional
// test of two Poisson counts, Przyborowski and Wilenski 1940). Reads come in bursts, which is what phi is for: the
// dispersion of the days before around their profile (McCullagh and Nelder 1989). Bursts last for hours, so that days
// are taken to be independent.
func (h History) fall(from int) (f fall) {
	day := h.Grid.Bins(24 * time.Hour)
	if from < h.Grid.Bins(evidenceWindow) || from >= len(h.Reads) {
		return f
	}
	m := h.learn(from)
	resolution := max(m.resolution, HourOfDayRates) // weekends are no fall, proven or not
	m.rates = m.profile.rates(resolution)
	m.slow = m.level(m.slowSince(), 1)

	clock := m.clock
	count := func(lo, hi int) (came, expected float64) {
		for t := lo; t < hi; t++ {
			if reads := h.Reads[t]; !math.IsNaN(reads) {
				_, hour := clock.weekAndHour(h.Grid.At(t))
				came += reads
				expected += m.rates[hour] * h.Grid.seconds()
			}
		}
		return came, expected
	}
	f.Came, f.Expected = count(from, len(h.Reads))
	f.Expected *= min(1, m.slow)
	var squares, sum float64
	weight := 1.0 // as in the profile
	for hi := from; hi >= day; hi -= day {
		came, expected := count(hi-day, hi)
		squares += weight * (came - expected) * (came - expected)
		sum += weight * expected
		weight *= math.Exp2(-1 / (7 * profileHalfLife))
	}
	if sum == 0 {
		return f
	}
	kindsOfDays := 2.0 // that the profile tells apart: it was fitted to the days
	if resolution == HourOfWeekRates {
		kindsOfDays = 7
	}
	days := float64(from / day)
	phi := max(1, squares/sum*days/(days-kindsOfDays))
	before := m.profile.effectiveReads()
	n, p := f.Came+before, f.Expected/(f.Expected+before)
	f.Deviations = (n*p - f.Came) / math.Sqrt(phi*n*p*(1-p))
	return f
}
