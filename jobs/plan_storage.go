package jobs

import (
	"context"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// storage says what a person may do about the rows and the indexes of a materialized view. Scans of an index on standbys
// are not looked at, so where there is one no index is called unused.
func (p *planner) storage(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView) (found []catalog.Recommendation, err error) {
	var indexes []catalog.IdleIndex
	if v.Indexed {
		indexes, err = catalog.WatchIndexes(ctx, p.pool, v.ViewID)
	}
	if err != nil || v.Optimize == "off" || !v.Active || v.Since == nil {
		return nil, err
	}
	for _, index := range indexes { // the largest first
		a, ok := optimizer.UnusedIndex(index.Name, false, facts.Now.Sub(index.Since), float64(index.Bytes))
		if ok && facts.Servers == 1 && usageKnown(facts, v) {
			found = append(found, adviceOf(v, a, "it is there", "DROP INDEX "+index.Name, map[string]any{"index": index.Name, "bytes": index.Bytes, "since": index.Since}, map[string]any{"bytes_freed": index.Bytes}))
			break
		}
	}
	if !v.Concurrent { // auto rebuilds a bloated view by itself
		return found, nil
	}
	s, err := catalog.LoadStorage(ctx, p.pool, v.ViewID)
	if err != nil || !optimizer.Bloated(s.Live, s.Dead) {
		return found, err
	}
	zone, err := time.LoadLocation(v.Timezone)
	if err != nil {
		zone = time.UTC
	}
	history, err := p.history(ctx, facts, []int64{v.ViewID}, zone, facts.Now)
	if err != nil {
		return nil, err
	}
	if a, ok := optimizer.Rebuild(s.Live, s.Dead, history.ByHourOfWeek()); ok && len(history.Reads) >= history.Grid.Bins(7*24*time.Hour) {
		found = append(found, adviceOf(v, a, "refreshed concurrently", "REFRESH MATERIALIZED VIEW "+s.Name, map[string]any{"live_rows": s.Live, "dead_rows": s.Dead}, nil))
	}
	return found, nil
}

func adviceOf(v catalog.TunedView, a optimizer.Advice, current, command string, evidence, predicted map[string]any) catalog.Recommendation {
	return catalog.Recommendation{
		Kind: a.Kind, Current: current, Proposed: a.Proposed, Command: command, Evidence: evidence, Predicted: predicted,
		Reason: v.Name + ": " + strings.Join(a.Why, "; ") + ". Evidence: counters of the server.",
	}
}
