package optimizer

import (
	"math"
	"slices"
	"time"
)

// A day is planned in bins of five minutes.
const (
	planBin    = 5 * time.Minute
	binsOfHour = 12
	binsOfDay  = 24 * binsOfHour
)

// window is a span of hours with one interval.
type window struct {
	from, to int // hours
	every    time.Duration
}

// step is the number of bins between two refreshes; there is at most one in a bin.
func (w window) step() int { return max(1, int(w.every/planBin)) }

// slots is the number of refreshes.
func (w window) slots() int {
	return ((w.to-w.from)*binsOfHour + w.step() - 1) / w.step()
}

// last is the bin of the last refresh.
func (w window) last() int { return w.from*binsOfHour + (w.slots()-1)*w.step() }

// rule makes a window with a single slot a rule with "at".
func (w window) rule(days Days) Rule {
	if w.every >= time.Duration(w.to-w.from)*time.Hour {
		at := TimeOfDay(w.from * 60)
		return Rule{Days: days, At: &at}
	}
	return Rule{Days: days, From: TimeOfDay(w.from * 60), To: TimeOfDay(w.to * 60), Every: IntervalWords(w.every)}
}

// less says whether a cost is less than another by more than rounding: hours in which as much is read give many plans that
// cost the same, of which the first is taken.
func less(a, b float64) bool { return a < b*(1-1e-9) }

// day is what it costs to refresh in some hours of a typical day with the best interval. Reads are spread
// evenly over an hour, so that all sums are over hours.
type day struct {
	reads moments // by hour
	price float64 // of an hour of age to a read
	pause int     // longest time without a refresh, in bins; zero = any
	every [24][25]time.Duration
	last  [24][25]int // bin of the last refresh
	cost  [24][25]float64
}

// planDay gives the best windows for a day, by how many there are at most: 0, 1, ... maxWindows.
func planDay(rates [24]float64, cost, kappa float64, bounds Bounds) [maxWindows + 1][]window {
	perHour := make([]float64, 24)
	for h, rate := range rates {
		perHour[h] = rate * 3600
	}
	d := day{reads: momentsOf(perHour), price: kappa * 3600, pause: int(bounds.longestPause() / planBin)}
	d.chooseIntervals(perHour, cost, bounds)
	var options [maxWindows + 1][]window
	var plans dayPlans
	d.plan(&plans, 0, maxWindows)
	first := plans.best
	for k := 1; k <= maxWindows; {
		// the day before ends as this one: the second pass knows how old data is at midnight
		most := k
		for most < maxWindows && first[most+1].last == first[k].last {
			most++
		}
		d.plan(&plans, first[k].last-binsOfDay, most)
		for ; k <= most; k++ {
			options[k] = plans.windows(&d, k)
		}
	}
	return options
}

// chooseIntervals finds the best of the intervals that people are offered for every span of hours, and its cost: an
// hour is added to a span in constant time.
func (d *day) chooseIntervals(reads []float64, cost float64, bounds Bounds) {
	for from := range d.cost {
		for to := range d.cost[from] {
			d.cost[from][to] = math.Inf(1)
		}
	}
	for _, every := range niceIntervals {
		if !bounds.allow(every) {
			continue
		}
		hours := int(every / time.Hour) // zero = several times an hour, and every hour is like the others
		perHour, age := cost/every.Hours(), d.price*every.Hours()/2
		for from := range d.cost {
			c, refreshed := 0.0, from
			for to := from + 1; to <= 24; to++ {
				hour := to - 1
				if hours == 0 {
					c += perHour + age*reads[hour]
				} else {
					if hour == from || hour-refreshed == hours {
						c, refreshed = c+cost, hour
					}
					c += d.price * reads[hour] * (float64(hour-refreshed) + 0.5)
				}
				if less(c, d.cost[from][to]) {
					d.every[from][to], d.cost[from][to] = every, c
				}
			}
		}
	}
	for from := range d.every {
		for to := from + 1; to <= 24; to++ {
			if every := d.every[from][to]; every > 0 {
				d.last[from][to] = window{from, to, every}.last()
			}
		}
	}
}

// dayPlans are the best plans of a day when the last refresh before it is known. From hour to hour, the program
// tells plans that end in a window from plans that end in a stretch without refreshes, in which data gets older.
type dayPlans struct {
	busy, idle [maxWindows + 1][25]hourPlan // of the hours before h, with k windows
	best       [maxWindows + 1]dayEnd       // of the whole day, with k windows at most
}

// hourPlan is a plan of the first hours of a day.
type hourPlan struct {
	cost      float64
	last      int32 // bin of the last refresh
	from      int16 // hour in which its last window or stretch begins
	afterIdle bool  // which comes after a stretch without refreshes
}

// dayEnd is where the plan of a day ends.
type dayEnd struct {
	cost float64
	last int
	k    int
	idle bool
}

// plan is for a day when the last refresh before it was in a bin, with so many windows at most.
func (d *day) plan(p *dayPlans, last, most int) {
	for k := range most + 1 {
		for h := range p.busy[k] {
			p.busy[k][h].cost, p.idle[k][h].cost = math.Inf(1), math.Inf(1)
		}
	}
	p.busy[0][0] = hourPlan{last: int32(last)}
	for from := range 24 {
		for k := range min(from, most) + 1 {
			before, idle := p.busy[k][from], p.idle[k][from]
			start, afterIdle := before.cost, less(idle.cost, before.cost)
			if afterIdle {
				start = idle.cost
			}
			if math.IsInf(start, 1) {
				continue
			}
			hour := float64(before.last) / binsOfHour
			for to := from + 1; to <= 24; to++ {
				age := d.reads.moment[to] - d.reads.moment[from] - hour*d.reads.total(from, to)
				tooLong := d.pause > 0 && to*binsOfHour-int(before.last) > d.pause
				if c := before.cost + d.price*age; !tooLong && less(c, p.idle[k][to].cost) {
					p.idle[k][to] = hourPlan{cost: c, last: before.last, from: int16(from)}
				}
				if k == most {
					continue
				}
				if c := start + d.cost[from][to]; less(c, p.busy[k+1][to].cost) {
					p.busy[k+1][to] = hourPlan{c, int32(d.last[from][to]), int16(from), afterIdle}
				}
			}
		}
	}
	best := dayEnd{cost: math.Inf(1)}
	for k := range most + 1 {
		if end := p.busy[k][24]; less(end.cost, best.cost) {
			best = dayEnd{end.cost, int(end.last), k, false}
		}
		if end := p.idle[k][24]; less(end.cost, best.cost) {
			best = dayEnd{end.cost, int(end.last), k, true}
		}
		p.best[k] = best
	}
}

// windows are those of the best plan with so many at most.
func (p *dayPlans) windows(d *day, most int) (windows []window) {
	end := p.best[most]
	for k, to, idle := end.k, 24, end.idle; to > 0 && !math.IsInf(end.cost, 1); {
		if idle {
			to, idle = int(p.idle[k][to].from), false
			continue
		}
		at := &p.busy[k][to]
		windows = append(windows, window{int(at.from), to, d.every[at.from][to]})
		k, to, idle = k-1, int(at.from), at.afterIdle
	}
	slices.Reverse(windows)
	// Several ends mean the same refreshes; the one that is a whole number of intervals is what a person would write.
	for i := range windows {
		w, end := &windows[i], 24
		if i+1 < len(windows) {
			end = windows[i+1].from
		}
		w.to = min(end, w.from+(w.slots()*w.step()+binsOfHour-1)/binsOfHour)
	}
	return windows
}
