package optimizer

import (
	"math"
	"math/bits"
	"slices"
)

// FitCalendar is the simplest calendar whose predicted cost on the typical week is within mergeLoss of the
// best one with at most maxWindows windows. Rates are in reads per second by hour of the week, cost in
// refresh-seconds; bounds are those of the intervals. It is empty for a view that nobody reads.
//
// Days that share a routine share their windows: all seven, or working days and the weekend, or Saturday and
// Sunday apart as well. Within a day the best windows are found by a dynamic program over the hours, instead
// of by merging slots greedily (spec 3d.5); the combinations are then compared exactly, on the whole week.
func FitCalendar(rates [hoursOfWeek]float64, cost, kappa float64, bounds Bounds) Calendar {
	week := newTypicalWeek(rates, cost, kappa, bounds)
	options := func(days Days) daysOptions {
		return week.options(days, planDay(typicalDay(rates, days), cost, kappa, bounds))
	}
	every, working, weekend := options(EveryDay), options(Weekdays), options(Weekend)
	var fits []fit
	for _, routine := range [][]daysOptions{{every}, {working, weekend}, {working, options(saturday), options(sunday)}} {
		fits = week.combine(fits, fit{}, routine)
	}
	best := math.Inf(1)
	for i := range fits {
		best = min(best, fits[i].cost)
	}
	if math.IsInf(best, 1) {
		return nil
	}
	var chosen *fit
	for i := range fits {
		f := &fits[i]
		if less((1+mergeLoss)*best, f.cost) {
			continue
		}
		if chosen == nil || f.rules < chosen.rules || f.rules == chosen.rules && less(f.cost, chosen.cost) {
			chosen = f
		}
	}
	return chosen.calendar()
}

const saturday, sunday Days = 1 << 5, 1 << 6

// typicalDay is the mean rate of each hour over the days.
func typicalDay(rates [hoursOfWeek]float64, days Days) (mean [24]float64) {
	n := float64(bits.OnesCount8(uint8(days)))
	for h, r := range rates {
		if days.Has(h / 24) {
			mean[h%24] += r / n
		}
	}
	return mean
}

// typicalWeek is a week that comes again and again.
type typicalWeek struct {
	reads       moments // by hour
	cost, price float64 // of a refresh, and of an hour of age to a read
	pause       int     // longest time without a refresh, in bins; zero = any
	rest        int     // shortest one
}

func newTypicalWeek(rates [hoursOfWeek]float64, cost, kappa float64, bounds Bounds) *typicalWeek {
	perHour := make([]float64, hoursOfWeek)
	for h, rate := range rates {
		perHour[h] = rate * 3600
	}
	return &typicalWeek{reads: momentsOf(perHour), cost: cost, price: kappa * 3600, pause: int(bounds.longestPause() / planBin),
		rest: int((bounds.least() + planBin - 1) / planBin)}
}

// age is what the age of data costs in hours [from, to) of the week, when it was refreshed in a bin.
func (w *typicalWeek) age(refreshed, from, to int) float64 {
	return w.price * w.reads.age(float64(refreshed)/binsOfHour, from, to)
}

// daysOptions are the choices for some days of the week.
type daysOptions struct {
	days    Days
	options []dayOption
}

// dayOption is a choice for a day.
type dayOption struct {
	windows []window
	pause   int        // the longest one between two refreshes, in bins
	rest    int        // the shortest one between two windows
	cost    [7]float64 // by day of the week: from the first refresh to midnight
}

// options prices windows on some days; those that are there already are left out.
func (w *typicalWeek) options(days Days, choices [maxWindows + 1][]window) daysOptions {
	d := daysOptions{days: days}
	for i, windows := range choices {
		if i > 0 && slices.Equal(windows, choices[i-1]) {
			continue
		}
		o := dayOption{windows: windows, rest: math.MaxInt}
		for day := range 7 {
			if days.Has(day) {
				o.cost[day] = w.costFromFirst(windows, day)
			}
		}
		for i, x := range windows {
			if x.slots() > 1 {
				o.pause = max(o.pause, x.step())
			}
			if i > 0 {
				gap := x.from*binsOfHour - windows[i-1].last()
				o.pause, o.rest = max(o.pause, gap), min(o.rest, gap)
			}
		}
		d.options = append(d.options, o)
	}
	return d
}

// costFromFirst is what a day costs from the first refresh to midnight.
func (w *typicalWeek) costFromFirst(windows []window, day int) (sum float64) {
	for i, x := range windows {
		end := 24
		if i+1 < len(windows) {
			end = windows[i+1].from
		}
		sum += w.cost * float64(x.slots())
		midnight, step := day*24, x.step()
		if step < binsOfHour { // every hour is like the others
			sum += w.price * w.reads.total(midnight+x.from, midnight+x.to) * float64(step) / binsOfHour / 2
			sum += w.age(day*binsOfDay+x.last(), midnight+x.to, midnight+end)
			continue
		}
		for hour, hours := x.from, step/binsOfHour; hour < x.to; hour += hours {
			until := hour + hours
			if until >= x.to {
				until = end
			}
			sum += w.age((midnight+hour)*binsOfHour, midnight+hour, midnight+until)
		}
	}
	return sum
}

// fit is a calendar: a choice for each part of the week.
type fit struct {
	parts  [3]Days
	chosen [3]*dayOption
	n      int // parts
	rules  int
	cost   float64 // of a typical week; infinite if it breaks the bounds that were set
}

func (f *fit) calendar() (c Calendar) {
	for i := range f.n {
		for _, x := range f.chosen[i].windows {
			c = append(c, x.rule(f.parts[i]))
		}
	}
	return c
}

// combine lists the calendars that take one option for each part of a routine and have at most maxWindows rules.
func (w *typicalWeek) combine(fits []fit, f fit, routine []daysOptions) []fit {
	if f.n == len(routine) {
		f.cost = w.costOf(&f)
		return append(fits, f)
	}
	part := &routine[f.n]
	for i := range part.options {
		next, o := f, &part.options[i]
		if next.rules += len(o.windows); next.rules > maxWindows {
			continue
		}
		next.parts[f.n], next.chosen[f.n] = part.days, o
		next.n++
		fits = w.combine(fits, next, routine)
	}
	return fits
}

// costOf is the cost of the typical week; where nothing is ever refreshed, of the second week without.
func (w *typicalWeek) costOf(f *fit) (sum float64) {
	var days [7]*dayOption
	last := -7 * binsOfDay // of the week before
	for day := range days {
		for i := range f.n {
			if f.parts[i].Has(day) {
				days[day] = f.chosen[i]
			}
		}
		if windows := days[day].windows; len(windows) > 0 {
			last = day*binsOfDay + windows[len(windows)-1].last() - 7*binsOfDay
		}
	}
	tooLong := func(pause int) bool { return w.pause > 0 && pause > w.pause }
	if f.rules == 0 && tooLong(2*7*binsOfDay) {
		return math.Inf(1)
	}
	for day, o := range days {
		if len(o.windows) == 0 {
			sum += w.age(last, day*24, day*24+24)
			continue
		}
		first := o.windows[0].from
		night := (day*24+first)*binsOfHour - last
		if tooLong(o.pause) || tooLong(night) || min(o.rest, night) < w.rest {
			return math.Inf(1)
		}
		sum += w.age(last, day*24, day*24+first) + o.cost[day]
		last = day*binsOfDay + o.windows[len(o.windows)-1].last()
	}
	return sum
}
