package jobs

import (
	"context"
	"math"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// index says which index would serve the readers of a view; nil = none. It needs what pg_qualstats told.
func (p *planner) index(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView) (*optimizer.Recommendation, error) {
	if v.Optimize == "off" || !v.Active || v.Since == nil || !v.Tested {
		return nil, nil
	}
	record, found, err := catalog.LoadTested(ctx, p.pool, v.ViewID)
	if err != nil || record == nil {
		return nil, err
	}
	view := optimizer.Indexable{
		Name: v.Name, Days: max(1, facts.Now.Sub(record.First).Hours()/24), Rows: record.Rows, Refreshes: record.Refreshes, Written: record.Written,
		Leading: record.Leading, Sources: "pg_qualstats and " + facts.Sources,
	}
	err = catalog.EachSample(ctx, p.pool, v.ViewID, record.First, facts.Now, func(s catalog.Samples) {
		for _, reads := range s.Reads {
			if !math.IsNaN(float64(reads)) {
				view.Reads += float64(reads)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	tested := make([]optimizer.Tested, len(found))
	for i, t := range found {
		tested[i] = optimizer.Tested{Columns: t.Columns, Range: t.Ranged, Reads: t.Reads, Examined: t.Examined, Removed: t.Removed}
	}
	r, ok := view.Index(tested)
	if !ok {
		return nil, nil
	}
	return &r, nil
}
