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
// Bursts say little about how many readers there are, and vary the most: an hour counts at most burstDeviations above what
// the profile says, before and since. What is expected is what came so for each read of the profile, on weekdays and on
// weekends, at the level of the last days, but at most at that of all: reads above the habit may be a burst that is over,
// reads below it may stay few. The fast level is left out. Given the n reads of both times together, a count that
// did not change has the share p of what was expected of the later one, with the variance phi*n*p*(1-p) (the conditional
// test of two Poisson counts, Przyborowski and Wilenski 1940). Phi is the dispersion of the days before around their
// profile (McCullagh and Nelder 1989). What varies lasts for hours, so that days are taken to be independent.
func (h History) fall(from int) (f fall) {
	day := h.Grid.Bins(24 * time.Hour)
	if from < h.Grid.Bins(evidenceWindow) || from >= len(h.Reads) {
		return f
	}
	m := h.learn(from)
	resolution := max(m.resolution, HourOfDayRates) // weekends are no fall, proven or not
	m.rates = m.profile.rates(resolution)

	clock := m.clock
	count := func(lo, hi int) (c counted) {
		for hour := h.Grid.Bins(time.Hour); lo < hi; lo += hour {
			var reads, usual float64
			kind := 0
			for t := lo; t < min(lo+hour, hi); t++ {
				if n := h.Reads[t]; !math.IsNaN(n) {
					_, slot := clock.weekAndHour(h.Grid.At(t).Unix())
					kind = slot / (5 * 24)
					reads += n
					usual += m.rates[slot] * h.Grid.seconds()
				}
			}
			c.came[kind] += min(reads, usual+burstDeviations*math.Sqrt(usual)+1)
			c.profile[kind] += usual
		}
		return c
	}
	var days []counted // the latest first
	var before counted // all of them, weighted as in the profile
	for hi := from; hi >= day; hi -= day {
		d := count(hi-day, hi)
		for kind := range 2 {
			before.came[kind] += dayWeight(len(days)) * d.came[kind]
			before.profile[kind] += dayWeight(len(days)) * d.profile[kind]
		}
		days = append(days, d)
	}
	usual := before.ratio()
	known := before.came[0] + before.came[1]
	if known == 0 {
		return f
	}
	var squares float64
	for i, d := range days {
		squares += dayWeight(i) * math.Pow(d.total()-d.expected(usual), 2)
	}
	since := count(from, len(h.Reads))
	recent := count(max(0, from-h.Grid.Bins(time.Duration(m.last-m.slowSince()))), from)
	level := (recent.total() + levelPriorReads) / (recent.expected(usual) + levelPriorReads)
	f.Came, f.Expected = since.total(), min(1, level)*since.expected(usual)
	if level < 1-readsFell/2 && recent.expected(usual) > minReads { // they fell before: the days that this is known from
		known = recent.total()
	}
	kindsOfDays := 2.0 // that the profile tells apart: it was fitted to the days
	if resolution == HourOfWeekRates {
		kindsOfDays = 7
	}
	rest := float64(len(days)) - kindsOfDays
	phi := max(1, squares/(before.came[0]+before.came[1])*float64(len(days))/rest)
	all, p := f.Came+known, f.Expected/(f.Expected+known)
	f.Deviations = (all*p - f.Came) / math.Sqrt(phi*all*p*(1-p))
	// Phi is known from few days: a quantile of Student's t is that of the normal distribution times this.
	f.Deviations /= 1 + (fallDeviations*fallDeviations+1)/(4*rest)
	return f
}

// counted are reads, and what the profile says, on weekdays and on weekends.
type counted struct{ came, profile [2]float64 }

func (c counted) total() float64 { return c.came[0] + c.came[1] }

// ratio is how many reads came for each one that the profile says.
func (c counted) ratio() (usual [2]float64) {
	for kind := range 2 {
		if c.profile[kind] > 0 {
			usual[kind] = c.came[kind] / c.profile[kind]
		}
	}
	return usual
}

// expected is how many reads are to be expected.
func (c counted) expected(usual [2]float64) float64 {
	return usual[0]*c.profile[0] + usual[1]*c.profile[1]
}

// dayWeight is the weight of a day so many days before, as in the profile.
func dayWeight(ago int) float64 { return math.Exp2(-float64(ago) / (7 * profileHalfLife)) }
