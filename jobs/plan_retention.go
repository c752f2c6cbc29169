package jobs

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
	"github.com/mvscheduler/mvscheduler/retention"
)

// retained is what was thought of the retention of a view.
type retained struct {
	found []optimizer.Recommendation
	since *time.Time // since when everything speaks for a shorter period; nil = it does not
	why   []string   // also where nothing is recommended; nil = nothing of it leaves in partitions, so nothing was thought
}

// retention says whether less of an incremental view may be kept, or older data in coarser buckets. Where reads are not known,
// or on standbys whose counters are not, nothing is recommended. It is never done by itself: it takes weeks until somebody
// misses what is gone.
func (p *planner) retention(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView) (retained, error) {
	if v.Optimize == "off" || !v.Active || v.Since == nil || !v.Incremental {
		return retained{}, nil
	}
	stays := func(why string) (retained, error) { return retained{why: []string{why}}, nil }
	switch {
	case facts.Standbys > 0:
		return stays("reads on a standby that is not sampled are not known: it stays")
	case !usageKnown(facts, v):
		return stays("reads are not known for more than 5 % of the time: it stays")
	}
	record, found, err := catalog.LoadRetention(ctx, p.pool, v.ViewID)
	if err != nil || record == nil {
		return retained{}, err
	}
	if len(found) == 0 {
		return stays("how far back readers look is not known yet: it stays")
	}
	pruning, err := planPruning(ctx, p.pool, v.ViewID, nil)
	if err != nil || pruning == nil || len(pruning.facts.Relation.Key) == 0 {
		return retained{}, err
	}
	reads := lookedBackOn(found)
	view := retentionView(facts, v, record, reads, pruning.facts)
	d := optimizer.Retention(view, stateOf(record, facts.Now))
	p.log.DebugContext(ctx, "thought about a retention", "view", v.Name, "why", d.Why)
	thought := retained{since: record.ShrinkSince, why: d.Why}
	switch {
	case d.State.WeeksBelow == 0:
		thought.since = nil
	case thought.since == nil:
		thought.since = &facts.Now
	}
	if thought.found, err = p.coarser(ctx, v, view); err != nil {
		return retained{}, err
	}
	period := d.Proposed(view)
	if period == 0 || record.Tuned { // a longer one is in force, since readers asked for it
		return thought, nil
	}
	leaving := leavingAt(pruning.facts, period)
	if record.Period != nil {
		leaving.CurrentPeriod = *record.Period
	}
	if r, ok := optimizer.RecommendRetention(v.Name, view, d, reads, leaving, scannedPartitions); ok {
		thought.found = append(thought.found, r)
	}
	return thought, nil
}

const scannedPartitions = "the partitions that reads scanned"

// coarser says whether buckets beyond what readers look back to may be coarser.
func (p *planner) coarser(ctx context.Context, v catalog.TunedView, r optimizer.RetentionView) ([]optimizer.Recommendation, error) {
	view := optimizer.Coarsened{
		Name: v.Name, Timezone: v.Timezone, Bucket: r.Bucket, Kept: r.Kept, LookBacks: r.LookBacks, BytesPerDay: r.BytesPerDay, Worth: r.WorthBytes(), Source: scannedPartitions,
	}
	if r.Current > 0 {
		view.Kept = min(r.Current, r.Kept)
	}
	if _, ok := view.Coarser(); !ok {
		return nil, nil
	}
	shape, err := catalog.LoadShape(ctx, p.pool, v.ViewID, "by_"+view.Unit())
	if err != nil || shape == nil {
		return nil, err
	}
	view.TimeColumn, view.ColumnName, view.Keys, view.Values, view.Coarse = shape.TimeColumn, shape.ColumnName, shape.Keys, shape.Values, shape.Coarse
	if recommendation, ok := view.Coarser(); ok {
		return []optimizer.Recommendation{recommendation}, nil
	}
	return nil, nil
}

func lookedBackOn(found []catalog.LookBack) []optimizer.LookedBackOn {
	reads := make([]optimizer.LookedBackOn, len(found))
	for i, f := range found {
		half := 12 * time.Hour
		if f.Monthly {
			half = 15 * 24 * time.Hour
		}
		reads[i] = optimizer.LookedBackOn{LookedBack: optimizer.LookedBack{Days: f.DaysBack, Entire: f.Entire}, At: f.At.Add(half), Days: f.Days, Reads: f.Reads}
	}
	return reads
}

func retentionView(facts catalog.OptimizerFacts, v catalog.TunedView, r *catalog.RetentionRecord, reads []optimizer.LookedBackOn, parts retention.Facts) optimizer.RetentionView {
	seconds := func(s *float64) time.Duration {
		if s == nil {
			return 0
		}
		return duration(*s)
	}
	view := optimizer.RetentionView{
		Now: facts.Now, Current: seconds(r.Seconds), LookBacks: optimizer.SummariseDays(reads, facts.Now), Evidence: 1,
		Bucket: duration(r.Bucket), Lateness: duration(r.Lateness), Min: seconds(r.Least), Max: seconds(r.Most), RawHorizon: seconds(r.Rebuildable),
		AllowIrrecoverable: r.Least != nil, DatabaseBytes: r.DatabaseBytes,
	}
	if r.LookedSince != nil { // a view that became incremental was watched before, and not how far back
		view.Age = min(facts.Now.Sub(*v.Since), facts.Now.Sub(*r.LookedSince))
	}
	view.LookBacks.Longest = max(view.LookBacks.Longest, time.Duration(r.Furthest)*24*time.Hour)
	if r.Rebuildable != nil {
		view.RawHorizon = max(view.RawHorizon, 1) // zero would be all of it
	}
	var bytes float64
	for _, part := range parts.Relation.Partitions {
		bound, err := retention.ParseBound(part.Bound, parts.Relation.Key[0].Type)
		if err != nil || part.DetachedAt != nil {
			continue
		}
		bytes += float64(part.Bytes)
		if bound.From.Finite() {
			view.Kept = max(view.Kept, facts.Now.Sub(bound.From.Time()))
		}
	}
	if days := view.Kept.Hours() / 24; days > 1 {
		view.BytesPerDay = bytes / days
	}
	return view
}

func stateOf(r *catalog.RetentionRecord, now time.Time) (s optimizer.RetentionState) {
	if r.ShrinkSince != nil {
		s.WeeksBelow = int(now.Sub(*r.ShrinkSince) / (7 * 24 * time.Hour))
	}
	if r.LastApplied != nil {
		s.LastShrink = *r.LastApplied
	}
	for _, missed := range []*time.Time{r.LastUndone, r.LastMissed} { // a person has missed something, or reads have
		if missed != nil && optimizer.FreezeAfterMiss(*missed).After(s.FrozenUntil) {
			s.FrozenUntil = optimizer.FreezeAfterMiss(*missed)
		}
	}
	return s
}

// leavingAt is what would leave under a retention period, as the pruner would decide.
func leavingAt(facts retention.Facts, period time.Duration) optimizer.Leaving {
	const day = 24 * time.Hour
	facts.Policy.RetentionPeriod = &retention.Interval{Days: int32(period / day), Microseconds: (period % day).Microseconds()}
	plan := retention.Plan(facts)
	total := plan.Total(retention.Detach)
	leaving := optimizer.Leaving{Partitions: total.Partitions, Rows: total.Rows, Bytes: total.Bytes, Aside: facts.Policy.GracePeriod.String()}
	var blockers []string
	for _, d := range plan.Decisions {
		if d.Blocker != "" && !slices.Contains(blockers, d.Blocker) {
			blockers = append(blockers, d.Blocker)
		}
	}
	leaving.Blocked = strings.Join(blockers, ", ")
	return leaving
}

// usageKnown says that the reads of a view are known for nearly all of the time.
func usageKnown(facts catalog.OptimizerFacts, v catalog.TunedView) bool {
	return v.Unknown < 0.05*facts.Now.Sub(*v.Since).Seconds()
}
