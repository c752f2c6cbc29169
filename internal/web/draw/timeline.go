package draw

import (
	"strconv"
	"time"
)

// Run is one run for the timeline.
type Run struct {
	ID      int64
	State   string // as in mvscheduler.runs
	Queued  time.Time
	Started time.Time // zero = it has not
	Ended   time.Time // zero = it has not
	Tries   []Try     // those that had trouble
	Title   string    // said of it in words
}

// Try is one attempt of a run: Kind is failed, cancelled, or wait (for a lock).
type Try struct {
	Kind string
	Stretch
}

// Stretch is a time from From to To.
type Stretch struct{ From, To time.Time }

// Lane is one view and what happened to it.
type Lane struct {
	Name   string
	Runs   []Run
	Pauses []Stretch
}

// Mark is something on a lane: X and W in percent.
type Mark struct {
	ID    int64  // of its run; 0 = none
	Kind  string // succeeded, failed, cancelled, running, queued, skipped, wait, pause
	X, W  float64
	Title string
}

// Width is W as an attribute of SVG; what would be too thin to see is two pixels wide.
func (m Mark) Width() string {
	if m.W < thin {
		return "2"
	}
	return strconv.FormatFloat(m.W, 'f', -1, 64) + "%"
}

// Row is a lane in its place: Y in pixels.
type Row struct {
	Name  string
	Y     int
	Marks []Mark // those behind come first
}

// Timeline is the picture of some lanes over a time.
type Timeline struct {
	H     int // pixels
	Ticks []Tick
	Rows  []Row
}

const (
	laneH = 46  // a line of text and a bar
	thin  = 0.2 // percent
	axisH = 24
)

// Lanes lays the lanes out between two instants.
func Lanes(lanes []Lane, from, to time.Time) Timeline {
	s := scale{from, to}
	t := Timeline{H: axisH + len(lanes)*laneH, Ticks: s.ticks()}
	for i, lane := range lanes {
		row := Row{Name: lane.Name, Y: axisH + i*laneH}
		for _, p := range lane.Pauses {
			if m, visible := s.mark("pause", p.From, p.To); visible {
				m.Title = "paused"
				row.Marks = append(row.Marks, m)
			}
		}
		for _, r := range lane.Runs {
			row.Marks = append(row.Marks, s.run(r)...)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (s scale) mark(kind string, from, to time.Time) (Mark, bool) {
	if !to.After(from) {
		to = from
	}
	x := s.x(from)
	return Mark{Kind: kind, X: x, W: hundredth(s.x(to) - x)}, !to.Before(s.from) && !from.After(s.to)
}

// run is the time in the queue and between tries, the last try, and before it those that had trouble.
func (s scale) run(r Run) []Mark {
	end := r.Ended
	if end.IsZero() {
		end = s.to
	}
	start := r.Started
	if start.IsZero() {
		start = end
	}
	var marks []Mark
	add := func(kind string, from, to time.Time) {
		if m, visible := s.mark(kind, from, to); visible {
			m.ID, m.Title = r.ID, r.Title
			marks = append(marks, m)
		}
	}
	if r.State == "skipped" {
		add("skipped", end, end)
		return marks
	}
	if start.After(r.Queued) {
		add("queued", r.Queued, start)
	}
	if !r.Started.IsZero() || !r.Ended.IsZero() {
		add(r.State, start, end)
	}
	for _, try := range r.Tries {
		to := try.To
		if to.IsZero() {
			to = s.to
		}
		add(try.Kind, try.From, to)
	}
	return marks
}
