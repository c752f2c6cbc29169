package draw

import (
	"slices"
	"time"
)

// Refresh is when contents became visible, and as of when they are.
type Refresh struct{ At, AsOf time.Time }

// Line goes from one point to another: x in percent, y in pixels.
type Line struct {
	X1, Y1, X2, Y2 float64
	Over           bool // above the target
}

// Staleness is the age of what a view showed, over time: it grows with the clock and drops with each refresh.
type Staleness struct {
	H       int
	TargetY float64 // 0 = there is none
	Highest time.Duration
	Lines   []Line
	Ticks   []Tick
}

const (
	staleTop    = 12
	staleBottom = 118
	staleH      = 140
)

// Sawtooth draws the age until now. A target of 0 is none; without a refresh there are no lines.
func Sawtooth(refreshes []Refresh, target time.Duration, now time.Time) Staleness {
	p := Staleness{H: staleH}
	if len(refreshes) == 0 {
		return p
	}
	sorted := slices.Clone(refreshes)
	slices.SortFunc(sorted, func(a, b Refresh) int { return a.At.Compare(b.At) })
	s := scale{sorted[0].At, now}
	p.Ticks = s.ticks()
	type tooth struct {
		from, to   time.Time
		young, old time.Duration
	}
	var teeth []tooth
	for i, r := range sorted {
		to := now
		if i+1 < len(sorted) {
			to = sorted[i+1].At
		}
		t := tooth{r.At, to, max(0, r.At.Sub(r.AsOf)), max(0, to.Sub(r.AsOf))}
		teeth = append(teeth, t)
		p.Highest = max(p.Highest, t.old)
	}
	top := max(p.Highest, target+target/8, time.Second)
	y := func(d time.Duration) float64 {
		return hundredth(staleBottom - (staleBottom-staleTop)*float64(d)/float64(top))
	}
	if target > 0 {
		p.TargetY = y(target)
	}
	for i, t := range teeth {
		if i > 0 {
			p.Lines = append(p.Lines, Line{s.x(t.from), y(teeth[i-1].old), s.x(t.from), y(t.young), false})
		}
		over := target > 0 && t.young >= target
		if target > 0 && t.young < target && t.old > target {
			crossing := t.from.Add(target - t.young)
			p.Lines = append(p.Lines, Line{s.x(t.from), y(t.young), s.x(crossing), y(target), false})
			t.from, t.young, over = crossing, target, true
		}
		p.Lines = append(p.Lines, Line{s.x(t.from), y(t.young), s.x(t.to), y(t.old), over})
	}
	return p
}
