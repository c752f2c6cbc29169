package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// incremental is what a refresh of an incremental view knows before it begins.
type incremental struct {
	catalog.Incremental

	leaves   map[uint32]catalog.Leaf
	tracking string
	reason   string          // why, where it was left to us
	horizon  refresh.Horizon // by counters: what was committed before is counted
}

// lookBelow finds out what is below an incremental view and how its changes are known. The horizon comes before
// the counters. Which tables the query reads, which takes longest, is asked when the row was changed since the last
// refresh, or a view that the query is made of is another one. made = the step track has just run.
func (w *RefreshWorker) lookBelow(ctx context.Context, work catalog.Work, made bool) (i incremental, err error) {
	if i.horizon, err = w.skipper.activity.Recent(ctx, w.control, watchInterval); err != nil {
		return i, err
	}
	if i.Incremental, err = catalog.LoadIncremental(ctx, w.control, work.ViewID); err != nil {
		return i, err
	}
	before, err := i.Before()
	if err != nil {
		return i, err
	}
	if i.leaves, err = catalog.LoadLeaves(ctx, w.control, work.ViewID); err != nil {
		return i, err
	}
	edited := work.RearmedAt == nil || work.RefreshBegan == nil || !work.RearmedAt.Before(*work.RefreshBegan)
	if !i.Seen || edited || refresh.Replaced(before, i.leaves) {
		if err := catalog.SyncSources(ctx, w.control, work.ViewID); err != nil {
			return i, err
		}
		if i.Incremental, err = catalog.LoadIncremental(ctx, w.control, work.ViewID); err != nil {
			return i, err
		}
		if i.leaves, err = catalog.LoadLeaves(ctx, w.control, work.ViewID); err != nil {
			return i, err
		}
	}
	i.tracking, i.reason, err = refresh.ChooseTracking(work.ChangeTracking, work.OwnerName, i.leaves, made)
	return i, err
}

// dirt is what has to be computed, by what q sees of the change log and the state that it sees.
func (i incremental) dirt(ctx context.Context, q catalog.Querier, work catalog.Work, state catalog.Incremental, now time.Time) ([]refresh.Dirt, error) {
	return refresh.Unseen(ctx, q, work.ViewID, state, i.leaves, i.tracking, now)
}

// provedAsOf is up to which instant the contents are whole when everything is computed that is known to have
// changed as of an instant.
func (i incremental) provedAsOf(instant time.Time) time.Time {
	counted := i.tracking == refresh.ByCounters
	for _, leaf := range i.leaves {
		counted = counted || leaf.Kind == "m"
	}
	if counted && i.horizon.At.Before(instant) {
		return i.horizon.At
	}
	return instant
}

// judgeIncremental says whether a run of an incremental view can be skipped: nothing is dirty, and nobody asked. What
// cannot be found out is no reason to skip.
func (w *RefreshWorker) judgeIncremental(ctx context.Context, work catalog.Work) judgement {
	if work.Asked || work.DataAsOf == nil || work.UpstreamUnknown {
		return judgement{}
	}
	var now time.Time
	err := w.control.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	if err != nil {
		return judgement{}
	}
	i, err := w.lookBelow(ctx, work, false)
	if err != nil || refresh.Untracked(i.leaves, i.tracking) > 0 || i.tracking == refresh.ByCounters && i.horizon.Unknown != "" {
		return judgement{} // the attempt will find the same, and say it
	}
	dirt, err := i.dirt(ctx, w.control, work, i.Incremental, now)
	if err != nil || len(dirt) > 0 {
		return judgement{}
	}
	asOf := *work.AsOf(i.provedAsOf(now))
	if work.Target > 0 && now.Sub(asOf) > work.Target && i.tracking == refresh.ByCounters {
		return judgement{}
	}
	if asOf.Before(*work.DataAsOf) {
		asOf = *work.DataAsOf
	}
	return judgement{Skip: refresh.Skip{Skip: true, AsOf: asOf, Reason: fmt.Sprintf("nothing changed below, up to %s", asOf.UTC().Format("15:04:05 UTC"))}}
}
