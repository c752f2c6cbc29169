package jobs

import (
	"context"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// method says whether a view is better off when only the buckets that changed are computed; nil = not, as far as it is known.
func (p *planner) method(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView) (*optimizer.Recommendation, error) {
	if v.Optimize == "off" || !v.Active || v.Since == nil || !v.Timed || v.Interval == nil || v.Method != "full" && v.Method != "concurrent" {
		return nil, nil
	}
	model, ok := optimizer.FitCost(runsOf(v))
	if !ok {
		return nil, nil
	}
	record, err := catalog.LoadRebuilt(ctx, p.pool, v.ViewID)
	if err != nil || record == nil {
		return nil, err
	}
	rows, every := v.Rows[len(v.Rows)-1], shortestGap(facts.Now, v)
	rebuilt := optimizer.Rebuilt{
		Name: v.Name, TimeColumn: record.TimeColumn, Full: model.Median(rows), Runs: model.Runs, Refreshes: 86400 / every.Seconds(),
		Level: facts.Level, Source: "the refreshes that ran",
	}
	switch {
	case record.ChangedShare != nil:
		rebuilt.ChangedShare, rebuilt.Counted = *record.ChangedShare, true
	case v.Method == "full": // which counts no changes
		history, err := p.history(ctx, facts, []int64{v.ViewID}, time.UTC)
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
