package optimizer

import (
	"math"
	"time"
)

// Mode is how a view's refreshes are scheduled; the simpler one comes first.
type Mode int

const (
	Fixed        Mode = iota // an interval
	CalendarMode             // windows of the week
	Adaptive                 // an interval, and a refresh in between when readers have paid enough
	Piloted                  // the pilot decides; nothing in production does so
)

func (m Mode) String() string { return [...]string{"fixed", "calendar", "adaptive", "piloted"}[m] }

// Schedule is when a view is refreshed.
type Schedule struct {
	Mode     Mode
	Interval time.Duration // in the modes Fixed and Adaptive
	Patience float64       // in the mode Adaptive: age that readers may see between two refreshes, added up over all reads, in seconds
	Calendar Calendar      // in the mode CalendarMode
}

func (s Schedule) String() string {
	switch s.Mode {
	case Fixed:
		return "every " + words(s.Interval)
	case CalendarMode:
		return s.Calendar.String()
	case Adaptive:
		return "every " + words(s.Interval) + " and when readers saw enough old data"
	}
	return "when readers need it (piloted)"
}

// PerDay is how many slots it has a day, on average.
func (s Schedule) PerDay() float64 {
	if s.Mode == CalendarMode {
		slots := slotsOf(s.Calendar)
		return float64(slots.count()) / 7
	}
	return 86400 / s.Interval.Seconds()
}

// Bounds are what a view's owner allows. Zero values: 60 s, 24 h, any.
type Bounds struct {
	Min, Max     time.Duration // of the interval, and of the time between two slots of a calendar, which has no greatest where Max is zero
	MaxStaleness time.Duration // that readers may see; it bounds the interval as well
}

// least is no longer than most: what a view may be at most its owner has promised, and what it reads may be older.
func (b Bounds) least() time.Duration { return min(max(b.Min, minInterval), b.most()) }

func (b Bounds) most() time.Duration {
	most := max(maxInterval, b.Min)
	if b.Max > 0 {
		most = b.Max
	}
	if b.MaxStaleness > 0 {
		most = min(most, b.MaxStaleness)
	}
	return max(most, minInterval)
}

// longestPause is the longest time that a calendar may leave between two refreshes; zero = any.
func (b Bounds) longestPause() time.Duration {
	if b.Max == 0 && b.MaxStaleness == 0 {
		return 0
	}
	return b.most()
}

// Clamp is the interval within the bounds that is nearest to another.
func (b Bounds) Clamp(interval time.Duration) time.Duration {
	return min(max(interval, b.least()), b.most())
}

// none says that no interval is within them.
func (b Bounds) none() bool { return b.Max > 0 && b.Max < max(b.Min, minInterval) }

func (b Bounds) allow(interval time.Duration) bool {
	return interval >= b.least() && interval <= b.most()
}

// History is what was recorded of a view, and what it costs.
type History struct {
	Grid    Grid
	Reads   []float64 // per bin; NaN = unknown
	Changes []float64 // of the sources, per bin; NaN = unknown; nil = they change all the time
	Cost    float64   // of a refresh, the median, in refresh-seconds
	Kappa   float64   // refresh-seconds that a second of age is worth to one read
	// MaxSkips are the slots in a row that refresh nothing since nothing changed; the next one does all the same. Zero = any number.
	MaxSkips int
}

// World prices the history.
func (h History) World() *World {
	return NewWorld(h.Grid, h.Reads, h.Changes, []float64{h.Cost}, h.Kappa)
}

// Refreshes are the bins in [lo, hi) at whose start a schedule would have refreshed the view, lo first; one that it would
// have refreshed several times is listed as often. The modes Adaptive and Piloted never look ahead; the latter learns from
// the bins before lo.
func (h History) Refreshes(s Schedule, bounds Bounds, lo, hi int) []int {
	return h.refreshes(h.World(), s, bounds, lo, hi)
}

// refreshes is Refreshes where the history was priced already.
func (h History) refreshes(world *World, s Schedule, bounds Bounds, lo, hi int) []int {
	var refreshes []int
	switch s.Mode {
	case Fixed:
		refreshes = world.skipUnchanged(every(h.Grid, s.Interval.Seconds()/h.Grid.seconds(), lo, hi), h.skips(s))
	case CalendarMode:
		refreshes = world.skipUnchanged(dueBins(s.Calendar, h.Grid, lo, hi), h.skips(s))
	case Adaptive:
		refreshes = h.ask(world, s, bounds, lo, hi)
	case Piloted:
		return h.fly(bounds, lo, hi)
	}
	return h.repeat(refreshes, s, lo, hi)
}

// every refreshes every so many bins, counted from a Monday midnight: intervals that divide a day meet the
// slots of the scheduler.
func every(grid Grid, bins float64, lo, hi int) []int {
	k := max(1, int(math.RoundToEven(bins)))
	offset := grid.sinceMonday()
	refreshes := append(make([]int, 0, (hi-lo)/k+2), lo)
	for t := lo + k - int(floorMod(int64(lo+offset), int64(k))); t < hi; t += k {
		refreshes = append(refreshes, t)
	}
	return refreshes
}

// sinceMonday is the number of bins from the first Monday of 1970, 00:00 UTC, to bin 0.
func (g Grid) sinceMonday() int {
	return int(floorDiv(g.Start.Unix()-firstMonday, int64(g.Width/time.Second)))
}

// fly lets the pilot decide, bin by bin.
func (h History) fly(bounds Bounds, lo, hi int) []int {
	pilot := NewPilot(PilotConfig{
		Width: h.Grid.Width, Zone: h.Grid.Zone, Kappa: h.Kappa, Cost: h.Cost, Tracked: h.Changes != nil,
		Min: bounds.Min, Max: bounds.Max, MaxStaleness: bounds.MaxStaleness,
	}, h.Grid.At(lo))
	observe := func(t int) {
		var changes float64
		if h.Changes != nil {
			changes = h.Changes[t]
		}
		pilot.Observe(h.Grid.At(t), h.Reads[t], changes)
	}
	for t := range lo {
		observe(t)
	}
	pilot.Refreshed(h.Grid.At(lo))
	refreshes := []int{lo}
	for t := lo; t < hi-1; t++ {
		observe(t)
		if now := h.Grid.At(t + 1); pilot.Decide(now).Refresh {
			pilot.Refreshed(now)
			refreshes = append(refreshes, t+1)
		}
	}
	return refreshes
}
