package jobs

import (
	"context"
	"slices"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// method says whether a view is better off with another method; nil = not, as far as it is known. Incremental comes first: a
// person who rejects it is told of the others.
func (p *planner) method(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView, kappa float64) (*optimizer.Recommendation, error) {
	if v.Optimize == "off" || !v.Active || v.Since == nil || v.Method != refresh.Full && v.Method != refresh.Concurrent {
		return nil, nil
	}
	if v.Timed && v.Interval != nil && !slices.Contains(v.Refused, "method") {
		if r, err := p.incremental(ctx, facts, v); r != nil || err != nil {
			return r, err
		}
	}
	if !v.WasFull || v.Unique && v.Wanted != refresh.Full && v.Method == refresh.Full { // there is nothing to compare, or auto does by itself
		return nil, nil
	}
	past, err := catalog.LoadMeasured(ctx, p.pool, v.ViewID)
	if err != nil || len(past) == 0 {
		return nil, err
	}
	methods := methodsOf(facts, v, past)
	methods.Kappa = kappa
	if methods.DependsOnReaders() && usageKnown(facts, v) {
		var began []time.Time
		var took []time.Duration
		for _, run := range past {
			if run.Method == v.Method {
				began, took = append(began, run.StartedAt), append(took, run.Took)
			}
		}
		since := facts.Now
		if len(began) > 0 {
			since = began[len(began)-1]
		}
		history, err := p.recorder.record(ctx, p.pool, []int64{v.ViewID}, time.UTC, since.Truncate(24*time.Hour), facts.Now, facts.Now)
		if err != nil {
			return nil, err
		}
		methods.Undisturbed, methods.Quiet = history.Undisturbed(began, took)
	}
	r, why := methods.Advise()
	if why != nil {
		p.log.DebugContext(ctx, "thought about a method", "view", v.Name, "why", why)
		return nil, nil
	}
	return &r, nil
}

// methodsOf draws together what the last refreshes say, the newest first. The view has grown since the last full one, perhaps.
func methodsOf(facts catalog.OptimizerFacts, v catalog.TunedView, past []catalog.Measured) optimizer.Methods {
	weighed := refresh.Weigh(past)
	cost := func(method string, c refresh.Cost, times float64) (m optimizer.MethodCost) {
		for _, run := range past {
			if run.Method == method {
				m.Runs++
			}
		}
		m.Took = time.Duration(times * float64(c.Took))
		wal := min(float64(c.WALBytes), 4*float64(past[0].SizeBytes)) // that of the whole server
		m.Seconds = optimizer.Run{Duration: m.Took, WALBytes: times * wal}.Seconds()
		return m
	}
	grown := 1.0
	if i := slices.IndexFunc(past, func(run catalog.Measured) bool { return run.Method == refresh.Full }); i >= 0 && past[0].Rows != nil && past[i].Rows != nil {
		grown = max(1, float64(*past[0].Rows)/float64(max(1, *past[i].Rows)))
	}
	return optimizer.Methods{
		Name: v.Name, Wanted: v.Wanted, Now: v.Method, Unique: v.Unique,
		Full: cost(refresh.Full, weighed.Full, grown), Conc: cost(refresh.Concurrent, weighed.Concurrent, 1), Waits: weighed.ReadersWaited,
		Every: shortestGap(facts.Now, v), Standby: facts.Servers > 1 || facts.Standbys > 0, Rate: v.Rate, Reads: v.Rate * 7 * 86400,
		Level: facts.Level, Source: "the refreshes that ran",
	}
}

// incremental says whether a view is better off when only the buckets that changed are computed.
func (p *planner) incremental(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView) (*optimizer.Recommendation, error) {
	model, ok := optimizer.FitCost(runsOf(v))
	if !ok {
		return nil, nil
	}
	record, err := catalog.LoadRebuilt(ctx, p.pool, v.ViewID)
	if err != nil || record == nil {
		return nil, err
	}
	refreshes, err := slotsADay(v)
	if err != nil {
		return nil, err
	}
	rows, every := v.Rows[0], duration(86400/refreshes)
	rebuilt := optimizer.Rebuilt{
		Name: v.Name, TimeColumn: record.TimeColumn, Full: model.Median(rows), Runs: model.Runs, Refreshes: refreshes,
		Level: facts.Level, Source: "the refreshes that ran",
	}
	switch {
	case record.ChangedShare != nil:
		rebuilt.ChangedShare, rebuilt.Counted = *record.ChangedShare, true
	case v.Method == refresh.Full: // which counts no changes
		history, err := p.history(ctx, facts, []int64{v.ViewID}, time.UTC, facts.Now)
		if err != nil {
			return nil, err
		}
		written, known := history.Written(every)
		if !known || rows <= 0 {
			p.log.DebugContext(ctx, "thought about a method", "view", v.Name, "why", "method: how many rows are written below the view is not known, and full refreshes do not count what they change")
			return nil, nil
		}
		rebuilt.ChangedShare, rebuilt.Source = written/rows, "the refreshes that ran, and the counters of what is below the view"
	default:
		p.log.DebugContext(ctx, "thought about a method", "view", v.Name, "why", "method: fewer than five concurrent refreshes have counted what they change")
		return nil, nil
	}
	r, ok := rebuilt.Incremental()
	if !ok {
		p.log.DebugContext(ctx, "thought about a method", "view", v.Name, "why", rebuilt.Reasons())
		return nil, nil
	}
	return &r, nil
}

// slotsADay is how many slots a view with an interval, or a calendar in its place, has a day, on average.
func slotsADay(v catalog.TunedView) (float64, error) {
	calendar, err := calendarOf(v)
	if err != nil {
		return 0, err
	}
	clock := optimizer.Schedule{Interval: duration(*v.Interval)}
	if calendar != nil {
		clock = optimizer.Schedule{Mode: optimizer.CalendarMode, Calendar: calendar}
	}
	return clock.PerDay(), nil
}
