package jobs

import (
	"context"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// missed says whether more should be kept of a view, since readers asked for what has left; nil = not, as far as pg_qualstats
// told.
func (p *planner) missed(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView) (*optimizer.Recommendation, error) {
	if v.Optimize == "off" || !v.Active || v.Since == nil || !v.Asked {
		return nil, nil
	}
	record, asked, err := catalog.LoadAsked(ctx, p.pool, v.ViewID, optimizer.MissedWithin)
	if err != nil || record == nil {
		return nil, err
	}
	view := optimizer.Kept{
		Name: v.Name, Period: record.Period, Current: duration(record.Seconds), RowPeriod: record.RowPeriod, Row: duration(record.RowSeconds), Auto: v.Optimize == "auto",
		Incremental: record.Incremental, Sources: "conditions of statements, by pg_qualstats",
	}
	if refresh, ok := optimizer.Expect(v.Method, runsOf(v)); ok {
		view.Cost = refresh.Whole
	}
	if record.Most != nil {
		view.Max = duration(*record.Most)
	}
	r, ok := view.Longer(lookedBackOn(asked))
	if !ok {
		return nil, nil
	}
	return &r, nil
}
