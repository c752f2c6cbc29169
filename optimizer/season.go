package optimizer

import "math"

// season decides whether the hours of the week differ enough, and lastingly enough, to tell them apart. It
// keeps the counts of the last weeks, learns a profile on every other week and scores it on the weeks between.
type season struct {
	weeks []weekCounts // in order, the last one still running
	folds [2]fold      // the even and the odd weeks
}

// fold are the sums of every other week, and what was learnt from them: it holds while the other weeks run.
type fold struct {
	profile
	learnt [HourOfWeekRates]learntRates // by resolution but the coarsest
}

// learntRates are the rates by hour of the week, and their square roots.
type learntRates struct {
	known        bool
	rates, roots [hoursOfWeek]float64
}

func (f *fold) observe(hour int, reads, seconds float64) {
	f.profile.observe(hour, reads, seconds)
	for i := range f.learnt {
		f.learnt[i].known = false
	}
}

// at are the rates at a resolution other than FlatRate.
func (f *fold) at(resolution Resolution) *learntRates {
	l := &f.learnt[resolution-1]
	if !l.known {
		l.known, l.rates = true, f.rates(resolution)
		for h, rate := range &l.rates {
			l.roots[h] = math.Sqrt(rate)
		}
	}
	return l
}

type weekCounts struct {
	number            int
	reads, seconds    [hoursOfWeek]float64
	allReads, allTime float64 // their sums
}

func (s *season) observe(week, hour int, reads, seconds float64) {
	if n := len(s.weeks); n == 0 || s.weeks[n-1].number != week {
		if n == foldWeeks+1 {
			s.weeks = s.weeks[:copy(s.weeks, s.weeks[1:])]
			s.fold()
		}
		if s.weeks == nil {
			s.weeks = make([]weekCounts, 0, foldWeeks+1)
		}
		s.weeks = append(s.weeks, weekCounts{number: week})
	}
	w := &s.weeks[len(s.weeks)-1]
	w.reads[hour] += reads
	w.seconds[hour] += seconds
	w.allReads += reads
	w.allTime += seconds
	s.folds[week&1].observe(hour, reads, seconds)
}

func (s *season) fold() {
	s.folds = [2]fold{}
	for i := range s.weeks {
		w := &s.weeks[i]
		for h := range hoursOfWeek {
			s.folds[w.number&1].observe(h, w.reads[h], w.seconds[h])
		}
	}
}

// observedWeeks is the time that was observed, in whole weeks.
func (s *season) observedWeeks() int {
	var seconds float64
	for i := range s.weeks {
		seconds += s.weeks[i].allTime
	}
	return int(seconds / (hoursOfWeek * 3600))
}

func (s *season) reads() float64 {
	var sum float64
	for i := range s.weeks {
		sum += s.weeks[i].allReads
	}
	return sum
}

// resolution is the finest one that has the evidence and whose gain out of sample, on even and on odd weeks,
// is at least the given one. Where the weeks do not suffice to measure it, it is 1.
func (s *season) resolution(least float64) (Resolution, float64) {
	weeks, reads := s.observedWeeks(), s.reads()
	if weeks >= gateWeeks && reads >= gateReads {
		if gain := s.gain(HourOfWeekRates, least); gain >= least {
			return HourOfWeekRates, gain
		}
	}
	if weeks >= groupWeeks && reads >= groupReads {
		if gain := s.gain(HourOfDayRates, least); gain >= least {
			return HourOfDayRates, gain
		}
	}
	return FlatRate, 1
}

// gain is the smaller of the gains of the two folds, or one of them that is not enough: of the fold that learns this week
// nothing has to be derived then.
func (s *season) gain(resolution Resolution, least float64) float64 {
	a, b := &s.folds[0], &s.folds[1]
	if !a.learnt[resolution-1].known {
		a, b = b, a
	}
	gain := gainOn(a.at(resolution), &b.profile)
	if gain >= least {
		gain = min(gain, gainOn(b.at(resolution), &a.profile))
	}
	return gain
}

// gainOn is J of the best fixed interval over J of intervals that follow the rates, T = a/sqrt(rate), with
// the best a, on counts that the rates were not learnt from. At rate r an interval T costs c/T + kappa*r*T/2
// a second; with both scales at their optimum c and kappa cancel:
//
//	gain^2 = (sum of time * sum of reads) / (sum of time*sqrt(rate) * sum of reads/sqrt(rate))
//
// By Cauchy and Schwarz it is at least 1 for the true rates (spec 1.2: 1/h), and below 1 for noise.
func gainOn(learnt *learntRates, counts *profile) float64 {
	var time, reads, root, weighted float64
	for h, sqrt := range &learnt.roots {
		if counts.seconds[h] == 0 || learnt.rates[h] <= 0 {
			continue
		}
		time += counts.seconds[h]
		reads += counts.reads[h]
		root += counts.seconds[h] * sqrt
		weighted += counts.reads[h] / sqrt
	}
	if reads == 0 || weighted == 0 {
		return 0 // nothing to score on
	}
	return math.Sqrt(time * reads / (root * weighted))
}
