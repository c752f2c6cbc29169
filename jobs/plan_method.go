package jobs

import (
	"context"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// method says whether a view is better off when only the buckets that changed are computed; nil = not, as far as it is known.
func (p *planner) method(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView) (*optimizer.Recommendation, error) {
	if v.Optimize == "off" || !v.Active || v.Since == nil || v.Interval == nil || v.Method != "full" && v.Method != "concurrent" {
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
	r, ok := optimizer.Rebuilt{
		Name: v.Name, TimeColumn: record.TimeColumn, Full: model.Median(v.Rows[len(v.Rows)-1]), Runs: model.Runs, Refreshes: 86400 / *v.Interval,
		ChangedShare: record.ChangedShare, Level: facts.Level, Source: "the refreshes that ran",
	}.Incremental()
	if !ok {
		return nil, nil
	}
	return &r, nil
}
