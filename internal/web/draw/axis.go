package draw

import (
	"math"
	"time"
)

// Tick is a label on an axis of time.
type Tick struct {
	X    float64 // percent
	Text string
}

// scale is a stretch of time that is the whole width.
type scale struct{ from, to time.Time }

// x is where an instant lies, in percent to a hundredth; what is outside lies on the edge.
func (s scale) x(t time.Time) float64 {
	share := float64(t.Sub(s.from)) / float64(max(1, s.to.Sub(s.from)))
	return hundredth(100 * min(1, max(0, share)))
}

func hundredth(v float64) float64 { return math.Round(100*v) / 100 }

var steps = []time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

const ticksAtMost = 6 // so many labels fit on a telephone

// ticks are round instants in UTC, at most six. Those at the edges are left out, where their labels would be cut.
func (s scale) ticks() []Tick {
	length := s.to.Sub(s.from)
	step := steps[len(steps)-1]
	for _, candidate := range steps {
		if length <= ticksAtMost*candidate {
			step = candidate
			break
		}
	}
	for length > ticksAtMost*step {
		step *= 2
	}
	layout := "15:04"
	switch {
	case step < time.Minute:
		layout = "15:04:05"
	case step >= 24*time.Hour:
		layout = "Jan 2"
	}
	var all []Tick
	for t := s.from.UTC().Truncate(step).Add(step); t.Before(s.to); t = t.Add(step) {
		if x := s.x(t); x >= 5 && x <= 95 {
			all = append(all, Tick{X: x, Text: t.Format(layout)})
		}
	}
	return all
}
