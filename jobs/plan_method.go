package jobs

import (
	"context"
	"math"
	"time"

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
	view := optimizer.Rebuilt{
		Name: v.Name, Method: v.Method, TimeColumn: record.TimeColumn, Full: model.Median(v.Rows[len(v.Rows)-1]), Runs: model.Runs, Refreshes: 86400 / *v.Interval,
		ChangedShare: -1, ChangedBelow: -1, Level: facts.Level, Source: "refreshes that ran, counters of the tables below",
	}
	if record.Bucket != nil {
		view.Bucket = duration(*record.Bucket)
	}
	if record.Kept != nil {
		view.Kept = duration(*record.Kept)
	}
	if record.ChangedShare != nil {
		view.ChangedShare = *record.ChangedShare
	}
	samples, err := catalog.LoadSamples(ctx, p.pool, []int64{v.ViewID}, facts.Now.Add(-7*24*time.Hour))
	if err != nil {
		return nil, err
	}
	var changes, seconds float64
	for _, s := range samples {
		for _, n := range s.Changes {
			if !math.IsNaN(float64(n)) {
				changes += float64(n)
				seconds += float64(s.Width)
			}
		}
	}
	if seconds > 86400 {
		view.ChangedBelow = changes / seconds * *v.Interval
	}
	r, ok := view.Incremental()
	if !ok {
		return nil, nil
	}
	return &r, nil
}
