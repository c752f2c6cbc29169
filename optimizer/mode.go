package optimizer

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Prediction is what a schedule costs and gives a day.
type Prediction struct {
	RefreshSeconds float64 // a day
	Refreshes      float64 // a day
	MeanAge        float64 // seconds, that readers see
	P95Age         float64 // seconds
	Cost           float64 // J a day, in refresh-seconds
	// Low and High enclose J of eight days in ten.
	Low, High float64
}

// study is a history and what is derived of it once: modes are fitted on the bins before lo, and compared on the others,
// the last two weeks.
type study struct {
	History
	bounds     Bounds
	lo         int
	recent     History     // from lo on
	world      *World      // of the same
	before     typical     // what was known at lo
	all        *ReadModel  // of all bins
	predicted  []Candidate // so far
	costs      []float64   // of the bins from lo on, by niceIntervals; infinite = out of bounds; empty = not asked for yet
	readBefore float64     // in the bins before lo, as far as that is known
	read       float64     // in all
}

// studies that are over leave their memory to those that follow: a planner makes one of each view.
var studies = sync.Pool{New: func() any { return &study{all: new(ReadModel), world: new(World)} }}

// study is to be given to studies when it is over.
func (h History) study(bounds Bounds) *study {
	n := len(h.Reads)
	s := studies.Get().(*study)
	*s = study{History: h, bounds: bounds, lo: max(n-h.Grid.Bins(modeWindow), n/2), all: s.all, world: s.world, predicted: s.predicted[:0], costs: s.costs[:0]}
	s.all.reset(h.Grid.Zone)
	h.observe(s.all, 0, s.lo)
	s.before = s.all.typical()
	h.observe(s.all, s.lo, n)
	s.recent = History{Grid: h.Grid, Reads: h.Reads[s.lo:], MaxSkips: h.MaxSkips}
	s.recent.Grid.Start = h.Grid.At(s.lo)
	if h.Changes != nil {
		s.recent.Changes = h.Changes[s.lo:]
	}
	s.world.record(s.recent.Grid, s.recent.Reads, s.recent.Changes, nil, 0)
	s.readBefore = h.known(0, 0, s.lo)
	s.read = h.known(s.readBefore, s.lo, n)
	s.price(h.Kappa, h.Cost)
	return s
}

// price says what a refresh and the age of data cost.
func (s *study) price(kappa, cost float64) {
	s.Kappa, s.Cost = kappa, cost
	s.recent.Kappa, s.recent.Cost = kappa, cost
	s.world.Kappa, s.world.cost = kappa, []float64{cost}
	s.predicted, s.costs = s.predicted[:0], s.costs[:0]
}

// predict replays a schedule on the last two weeks.
func (s *study) predict(schedule Schedule) Prediction {
	for _, c := range s.predicted {
		if reflect.DeepEqual(c.Schedule, schedule) {
			return c.Predicted
		}
	}
	p := s.replay(schedule)
	s.predicted = append(s.predicted, Candidate{schedule, p})
	return p
}

func (s *study) replay(schedule Schedule) Prediction {
	hi := len(s.recent.Reads)
	var refreshes []int
	if schedule.Mode == Piloted { // which learns from what was before
		for _, t := range s.fly(s.bounds, s.lo, len(s.Reads)) {
			refreshes = append(refreshes, t-s.lo)
		}
	} else {
		refreshes = s.recent.refreshes(s.world, schedule, s.bounds, 0, hi)
	}
	out := s.world.Replay(refreshes, 0, hi)
	days := float64(hi) / float64(s.Grid.Bins(24*time.Hour))
	p := Prediction{
		RefreshSeconds: out.RefreshSeconds / days, Refreshes: float64(out.Refreshes) / days,
		MeanAge: out.MeanAge, P95Age: out.P95Age, Cost: out.Cost / days,
	}
	daily := s.world.daily(refreshes, 0, hi)
	p.Low, p.High = quantileOf(daily, 0.1), quantileOf(daily, 0.9)
	return p
}

// Choice is the schedule that the optimizer would propose for a view.
type Choice struct {
	Schedule   Schedule
	Predicted  Prediction
	Candidates []Candidate // in order of simplicity
	Evidence   Evidence
	Why        []string
}

// Candidate is one schedule that was considered.
type Candidate struct {
	Schedule  Schedule
	Predicted Prediction
}

// enough says that there is a choice to make.
func (s *study) enough() bool {
	return len(s.Reads) >= s.Grid.Bins(7*24*time.Hour) && s.readBefore > 0 && s.read > s.readBefore
}

// choose proposes the simplest mode whose predicted cost is within simplerLoss of the best one (spec 3d.5), among some modes,
// of which Fixed always is one. The modes are fitted on all but the last two weeks of the history and compared on those, so
// that a mode cannot win by having seen the answer; what is proposed is then fitted on everything. A calendar is considered
// only if the weekly rhythm pays out of sample. Without reads, or with less than a week, there is no choice to make and the
// second result is false.
func (s *study) choose(modes ...Mode) (Choice, bool) {
	h, bounds := &s.History, s.bounds
	if !s.enough() {
		return Choice{}, false
	}
	_, evidence := s.all.Week(calendarGain)
	choice := Choice{Evidence: evidence, Why: evidence.Reasons()}

	add := func(schedule Schedule) {
		choice.Candidates = append(choice.Candidates, Candidate{schedule, s.predict(schedule)})
	}
	every, _ := s.interval(s.before.mean)
	add(Schedule{Mode: Fixed, Interval: every})
	if evidence.Resolution > FlatRate && slices.Contains(modes, CalendarMode) {
		if calendar := FitCalendar(s.before.week, h.Cost, h.Kappa, bounds); len(calendar) > 0 { // the gate has judged the whole history
			add(Schedule{Mode: CalendarMode, Calendar: calendar})
		}
	}
	if slices.Contains(modes, Adaptive) {
		add(AdaptiveSchedule(h.Cost, h.Kappa, s.before.mean, bounds))
	}
	if slices.Contains(modes, Piloted) {
		add(Schedule{Mode: Piloted})
	}

	best := math.Inf(1)
	for _, c := range choice.Candidates {
		best = min(best, c.Predicted.Cost)
	}
	for _, c := range choice.Candidates {
		if c.Predicted.Cost <= (1+simplerLoss)*best {
			choice.Schedule, choice.Predicted = c.Schedule, c.Predicted
			break
		}
	}
	for _, c := range choice.Candidates {
		choice.Why = append(choice.Why, fmt.Sprintf("%s (%s): %.0f s of refreshes a day and a mean age of %s, together %.2f times the cost of the best",
			c.Schedule.Mode, c.Schedule, c.Predicted.RefreshSeconds, shortly(c.Predicted.MeanAge), c.Predicted.Cost/best))
	}
	choice.Why = append(choice.Why, fmt.Sprintf("%s is the simplest mode within %.0f %% of the best", choice.Schedule.Mode, 100*simplerLoss))

	switch choice.Schedule.Mode {
	case Fixed:
		var why []string
		choice.Schedule.Interval, why = s.interval(s.all.MeanRate())
		choice.Why = append(choice.Why, why...)
	case CalendarMode:
		rates, _ := s.all.Week(0)
		choice.Schedule.Calendar = FitCalendar(rates, h.Cost, h.Kappa, bounds)
	case Adaptive:
		choice.Schedule = AdaptiveSchedule(h.Cost, h.Kappa, s.all.MeanRate(), bounds)
	}
	return choice, true
}

// known adds to reads how many of bins [lo, hi) are known of.
func (h History) known(reads float64, lo, hi int) float64 {
	for _, r := range h.Reads[lo:hi] {
		if !math.IsNaN(r) {
			reads += r
		}
	}
	return reads
}

// learn is a read model of the bins before hi.
func (h History) learn(hi int) *ReadModel {
	m := NewReadModel(h.Grid.Zone)
	h.observe(m, 0, hi)
	return m
}

// observe tells a model of the bins [lo, hi).
func (h History) observe(m *ReadModel, lo, hi int) {
	for t := lo; t < hi; {
		t += m.observe(h.Grid.nanos(t), h.Grid.Width, h.Reads[t:hi])
	}
}

// NiceInterval is the best of the intervals that people are offered within the bounds, for a constant rate in
// reads per second.
func NiceInterval(cost, kappa, rate float64, bounds Bounds) time.Duration {
	best, least := bounds.most(), math.Inf(1)
	for _, every := range niceIntervals {
		t := every.Seconds()
		if j := cost/t + kappa*rate*t/2; j < least && bounds.allow(every) {
			best, least = every, j
		}
	}
	return best
}

// interval is the best of the intervals that people are offered within the bounds. For a source that changes all the time it
// goes by the rate of reads. Where slots often find nothing to do, more of them cost little, and show a change sooner: what
// the last two weeks would have cost decides, and a longer interval is taken where it costs hardly more.
func (s *study) interval(rate float64) (best time.Duration, why []string) {
	best = NiceInterval(s.Cost, s.Kappa, rate, s.bounds)
	if s.recent.Changes == nil {
		return best, nil
	}
	n := len(s.recent.Reads)
	refreshes := s.refreshesEvery(best)
	idle := 1 - float64(len(refreshes))*best.Seconds()/(float64(n)*s.Grid.seconds()) // share of its slots
	if idle < rarelyIdle {
		return best, nil
	}
	costs := s.intervalCosts()
	enough := (1 + idleLoss) * slices.Min(costs)
	if s.world.costOf(refreshes, n) <= enough {
		return best, nil
	}
	steady := best
	for i, every := range niceIntervals {
		if costs[i] <= enough && s.bounds.allow(every) {
			best = every
		}
	}
	return best, []string{fmt.Sprintf("every %s would do if its sources changed all the time, but nothing changed before %.0f %% of those slots: with every %s changes are seen sooner, and slots that find nothing to do cost little",
		words(steady), 100*idle, words(best))}
}

// refreshesEvery are those of an interval, from lo on.
func (s *study) refreshesEvery(interval time.Duration) []int {
	return s.recent.refreshes(s.world, Schedule{Mode: Fixed, Interval: interval}, s.bounds, 0, len(s.recent.Reads))
}

// intervalCosts are what the intervals within the bounds would have cost from lo on.
func (s *study) intervalCosts() []float64 {
	if len(s.costs) > 0 {
		return s.costs
	}
	for _, every := range niceIntervals {
		cost := math.Inf(1)
		if s.bounds.allow(every) {
			cost = s.world.costOf(s.refreshesEvery(every), len(s.recent.Reads))
		}
		s.costs = append(s.costs, cost)
	}
	return s.costs
}

// shortly writes an age or a duration for people: "0.27 s", "45 s", "12 min", "3.4 h", "2.1 days".
func shortly(seconds float64) string {
	switch {
	case seconds > 0 && seconds < 9.5:
		return fmt.Sprintf("%.2g s", seconds)
	case seconds < 90:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 90*60:
		return fmt.Sprintf("%.0f min", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%.1f h", seconds/3600)
	}
	return fmt.Sprintf("%.1f days", seconds/86400)
}
