package optimizer

import (
	"math"
	"time"
)

// shift notices that the rate of reads changed for good. It is Page's two-sided cumulative sum (Biometrika
// 1954) of the log likelihood ratio of a Poisson count under twice, or half, the expected rate, hour by hour.
//
// Reads come in bursts, and a Poisson count would call every burst a change. The ratio is therefore divided
// by the dispersion of the counts around what was expected (quasi-likelihood, McCullagh and Nelder 1989).
type shift struct {
	up, down           float64
	upSince, downSince int64 // in nanoseconds since 1970

	hour            int64 // the hour that is being filled; zero = none
	reads, expected float64

	dispersion float64 // mean of (reads-expected)^2/expected
	hours      float64 // that it was learnt from

	since time.Time // when the rate changed, as far as that is known; zero = never
	alarm time.Time // when that was noticed
}

// observe takes a bin and says whether an hour that was completed by it raised an alarm.
func (s *shift) observe(at int64, reads, expected float64) bool {
	alarm := false
	if !s.within(at) {
		if s.hour != 0 && s.expected > 0 {
			alarm = s.judge()
		}
		s.hour, s.reads, s.expected = at-floorMod(at, int64(time.Hour)), 0, 0
	}
	s.reads += reads
	s.expected += expected
	return alarm
}

// within says whether an instant is in the hour that is being filled.
func (s *shift) within(at int64) bool {
	passed := at - s.hour
	return passed >= 0 && passed < int64(time.Hour)
}

// dispersionWeight is that of an hour, so that old ones fade as in the profile.
var dispersionWeight = 1 - math.Exp2(-1/(profileHalfLife*hoursOfWeek))

var logShiftRatio = math.Log(shiftRatio)

func (s *shift) judge() bool {
	n, expected := s.reads, s.expected
	s.hours++
	weight := max(1/s.hours, dispersionWeight)
	s.dispersion += weight * ((n-expected)*(n-expected)/expected - s.dispersion)
	if s.hours < minDispersionHours {
		return false
	}
	phi := max(1, s.dispersion)
	sum := func(side *float64, since *int64, by float64) bool {
		if *side == 0 {
			*since = s.hour
		}
		*side = min(max(0, *side+by/phi), shiftCap)
		return *side > shiftAlarm && s.hour-*since >= int64(shiftLeast)
	}
	up := sum(&s.up, &s.upSince, n*logShiftRatio-expected*(shiftRatio-1))
	down := sum(&s.down, &s.downSince, expected*(1-1/shiftRatio)-n*logShiftRatio)
	if !up && !down {
		return false
	}
	since := s.downSince
	if up {
		since = s.upSince
	}
	s.since, s.alarm = time.Unix(0, since).UTC(), time.Unix(0, s.hour).UTC().Add(time.Hour)
	s.up, s.down = 0, 0
	return true
}
