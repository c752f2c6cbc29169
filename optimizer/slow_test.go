package optimizer

import (
	"math"
	"time"
)

// slowCalendar is FitCalendar said plainly: every calendar is replayed bin by bin on two typical weeks. It is the simplest calendar whose predicted cost on the typical week is within mergeLoss of the
// best one with at most maxWindows windows. Rates are in reads per second by hour of the week, cost in
// refresh-seconds; bounds are those of the intervals. It is empty for a view that nobody reads.
//
// Days that share a routine share their windows: all seven, or working days and the weekend, or Saturday and
// Sunday apart as well. Within a day the best windows are found by a dynamic program over the hours, instead
// of by merging slots greedily (spec 3d.5); the combinations are then compared exactly, on the whole week.
func slowCalendar(rates [hoursOfWeek]float64, cost, kappa float64, bounds Bounds) Calendar {
	week := slowWeek(rates, cost, kappa).World()
	best, chosen := math.Inf(1), Calendar{}
	type fit struct {
		calendar Calendar
		cost     float64
	}
	var fits []fit
	for _, routine := range [][]Days{{EveryDay}, {Weekdays, Weekend}, {Weekdays, saturday, sunday}} {
		options := make([][][]window, len(routine))
		for i, days := range routine {
			options[i] = slowPlanDay(typicalDay(rates, days), cost, kappa, bounds)
		}
		for _, calendar := range slowCombine(routine, options) {
			f := fit{calendar, week.costOfWeek(calendar, bounds)}
			fits = append(fits, f)
			best = min(best, f.cost)
		}
	}
	if math.IsInf(best, 1) {
		return nil
	}
	least := math.Inf(1)
	for _, f := range fits {
		simpler := len(f.calendar) < len(chosen) || len(f.calendar) == len(chosen) && less(f.cost, least)
		if !less((1+mergeLoss)*best, f.cost) && (math.IsInf(least, 1) || simpler) {
			chosen, least = f.calendar, f.cost
		}
	}
	return chosen
}

// slowCombine lists the calendars that take one option for each part of a routine and have at most maxWindows
// rules.
func slowCombine(routine []Days, options [][][]window) []Calendar {
	calendars := []Calendar{nil}
	for part, days := range routine {
		var longer []Calendar
		for _, calendar := range calendars {
			for _, windows := range options[part] {
				if len(calendar)+len(windows) > maxWindows {
					continue
				}
				next := append(Calendar(nil), calendar...)
				for _, w := range windows {
					next = append(next, w.rule(days))
				}
				longer = append(longer, next)
			}
		}
		calendars = longer
	}
	return calendars
}

// slowWeek is two equal weeks; the first one only serves to begin the second as it would go on.
func slowWeek(rates [hoursOfWeek]float64, cost, kappa float64) History {
	grid := Grid{Start: time.Unix(firstMonday, 0).UTC(), Width: 5 * time.Minute}
	reads := make([]float64, 2*7*binsOfDay)
	for t := range reads {
		reads[t] = rates[t/12%hoursOfWeek] * grid.seconds()
	}
	return History{Grid: grid, Reads: reads, Cost: cost, Kappa: kappa}
}

// costOfWeek is the cost of the second of two weeks under a calendar; infinite if it breaks the bounds that
// were set.
func (w *World) costOfWeek(calendar Calendar, bounds Bounds) float64 {
	due := slowRefreshes(calendar, w.Grid, 0, w.reads.len())
	for i, limit := 1, bounds.longestPause(); limit > 0 && i <= len(due); i++ {
		next := w.reads.len()
		if i < len(due) {
			next = due[i]
		}
		if time.Duration(next-due[i-1])*w.Grid.Width > limit {
			return math.Inf(1)
		}
	}
	for i := 2; i < len(due); i++ { // bin 0 need be no slot of it
		if time.Duration(due[i]-due[i-1])*w.Grid.Width < bounds.least() {
			return math.Inf(1)
		}
	}
	var sum float64
	for _, day := range w.daily(due, 0, w.reads.len())[7:] {
		sum += day
	}
	return sum
}

// slowPlanDay gives the best windows for a day, by how many there are: 0, 1, ... maxWindows.
func slowPlanDay(rates [24]float64, cost, kappa float64, bounds Bounds) [][]window {
	bins := make([]float64, binsOfDay)
	for b := range bins {
		bins[b] = rates[b/12] * 300
	}
	d := slowDay{reads: momentsOf(bins), price: kappa * 300, pause: int(bounds.longestPause() / (5 * time.Minute))}
	for from := range 24 {
		for to := from + 1; to <= 24; to++ {
			d.every[from][to], d.cost[from][to] = bestInterval(d.reads, from, to, cost, kappa, bounds)
		}
	}
	options := make([][]window, maxWindows+1)
	for k := range options {
		// the day before ends as this one: the second pass knows how old data is at midnight
		first := d.plan(k, 0)
		options[k] = d.plan(k, first.last-binsOfDay).windows
	}
	return options
}

// slowDay is what it costs to refresh in some hours of a typical day with the best interval.
type slowDay struct {
	reads moments
	price float64 // of a read, per bin of age
	pause int     // longest time without a refresh, in bins; zero = any
	every [25][25]time.Duration
	cost  [25][25]float64
}

// slowDayPlan is a plan of the first hours of a day.
type slowDayPlan struct {
	windows []window
	last    int // bin of the last refresh
	cost    float64
}

// plan is the best one with so many windows at most, when the last refresh before the day was in a bin. From
// hour to hour, the program tells plans that end in a window from plans that end in a stretch without
// refreshes, in which data gets older.
func (d *slowDay) plan(windows, last int) slowDayPlan {
	none := slowDayPlan{cost: math.Inf(1)}
	var busy, idle [maxWindows + 1][25]slowDayPlan // of the hours before h, with k windows
	for k := range busy {
		for h := range busy[k] {
			busy[k][h], idle[k][h] = none, none
		}
	}
	busy[0][0] = slowDayPlan{last: last}
	for to := 1; to <= 24; to++ {
		for from := range to {
			for k := range windows + 1 {
				before := busy[k][from]
				tooLong := d.pause > 0 && to*12-before.last > d.pause
				if c := before.cost + d.price*d.reads.age(float64(before.last), from*12, to*12); less(c, idle[k][to].cost) && !tooLong {
					idle[k][to] = slowDayPlan{before.windows, before.last, c}
				}
				if k == 0 {
					continue
				}
				before = busy[k-1][from]
				if less(idle[k-1][from].cost, before.cost) {
					before = idle[k-1][from]
				}
				if c := before.cost + d.cost[from][to]; less(c, busy[k][to].cost) {
					w := window{from, to, d.every[from][to]}
					busy[k][to] = slowDayPlan{append(before.windows[:len(before.windows):len(before.windows)], w), w.last(), c}
				}
			}
		}
	}
	best := none
	for k := range windows + 1 {
		for _, p := range []slowDayPlan{busy[k][24], idle[k][24]} {
			if less(p.cost, best.cost) {
				best = p
			}
		}
	}
	return best
}

// bestInterval is the best of the intervals that people are offered, for some hours of a day.
func bestInterval(reads moments, from, to int, cost, kappa float64, bounds Bounds) (time.Duration, float64) {
	best, least := time.Duration(0), math.Inf(1)
	for _, every := range niceIntervals {
		if !bounds.allow(every) {
			continue
		}
		if c := windowCost(reads, from*12, to*12, every, cost, kappa); less(c, least) {
			best, least = every, c
		}
	}
	return best, least
}

// windowCost is the cost of refreshing every so often in bins [from, to) of a day.
func windowCost(reads moments, from, to int, every time.Duration, cost, kappa float64) float64 {
	step := int(every / (5 * time.Minute))
	if step == 0 { // finer than the bins: c/T + kappa*r*T/2
		span := float64(to-from) * 300
		return cost*span/every.Seconds() + kappa*reads.total(from, to)*every.Seconds()/2
	}
	var sum float64
	for s := from; s < to; s += step {
		sum += cost + kappa*300*reads.age(float64(s), s, min(s+step, to))
	}
	return sum
}

// dueWithin says whether a rule is due in [minute, minute+width) of a day, 0 = Monday.
func dueWithin(r *Rule, day, minute, width int) bool {
	if !r.Days.Has(day) {
		return false
	}
	if r.At != nil {
		at := int(*r.At)
		return at >= minute && at < minute+width
	}
	every := int(time.Duration(r.Every) / time.Minute)
	slot := int(r.From)
	if minute > slot {
		slot += (minute - slot + every - 1) / every * every
	}
	return slot < min(minute+width, int(r.To))
}

// slowRefreshes are the bins in [lo, hi) in which the calendar is due, lo included.
func slowRefreshes(c Calendar, grid Grid, lo, hi int) []int {
	width := int(grid.Width / time.Minute)
	due := []int{lo}
	for t := lo + 1; t < hi; t++ {
		_, minute := weekAndMinute(grid.At(t), grid.Zone)
		day, minute := minute/(24*60), minute%(24*60)
		for i := range c {
			if dueWithin(&c[i], day, minute, width) {
				due = append(due, t)
				break
			}
		}
	}
	return due
}
