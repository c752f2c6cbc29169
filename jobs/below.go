package jobs

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// incremental is what a refresh of an incremental view knows before it begins.
type incremental struct {
	catalog.Incremental

	leaves   map[uint32]catalog.Leaf
	files    refresh.Files
	tracking string
	reason   string          // why, where it was left to us
	horizon  refresh.Horizon // by counters: what was committed before is counted
}

// lookBelow finds out what is below an incremental view and how its changes are known. The horizon comes before
// the counters. Which tables the query reads, which takes longest, is asked when the row was changed since the last
// refresh, or a view that the query is made of is another one, or triggers have come to note what it asks about, or may have ceased to for a while. made = the step track has just run. Most of the time that
// is one round trip on two connections at once: what tables there are takes as long as all the rest.
func (w *RefreshWorker) lookBelow(ctx context.Context, work catalog.Work, made bool) (i incremental, err error) {
	if i.horizon, err = w.skipper.activity.Recent(ctx, w.control, watchInterval); err != nil {
		return i, err
	}
	look := func() error { return w.lookSettled(ctx, work, &i) }
	if err := look(); err != nil {
		return i, err
	}
	for _, target := range i.Restored {
		if _, err := catalog.NoteRestored(ctx, w.control, target, nil, catalog.ByOwner); err != nil {
			return i, err
		}
	}
	before, err := i.Before()
	if err != nil {
		return i, err
	}
	edited := work.RearmedAt == nil || work.RefreshBegan == nil || !work.RearmedAt.Before(*work.RefreshBegan)
	if !i.Seen || edited || i.Turned || refresh.Replaced(before, i.leaves) || refresh.Covered(before, i.leaves) {
		for tries, seen := 0, i.leaves; tries == 0 || refresh.OtherViews(seen, i.leaves); tries++ { // what those read that came meanwhile nobody would record
			if tries == mostLooks {
				return i, refresh.ErrMoved
			}
			if err := catalog.SyncSources(ctx, w.control, work.ViewID); err != nil {
				return i, err
			}
			seen = i.leaves
			if err := look(); err != nil {
				return i, err
			}
		}
	}
	if i.Query != work.QueryRelation { // of a version that is being built
		if err := refresh.ReadFiles(i.Query, nil, &i.files).Alone(ctx, w.control); err != nil {
			return i, err
		}
	}
	i.tracking, i.reason, err = refresh.ChooseTracking(work.ChangeTracking, work.OwnerName, i.leaves, made)
	return i, err
}

// lookConnections is how many connections looks have: each takes two. mostLooks is how often one view is looked at while its
// owner replaces what it reads.
const lookConnections, mostLooks = 4, 5

// look is one glance at what is below a view.
func (w *RefreshWorker) look(ctx context.Context, work catalog.Work, i *incremental) error {
	var (
		tables, views []catalog.Leaf
		at            time.Time
	)
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		return catalog.Together(ctx, w.below, catalog.ReadNow(&at), catalog.ReadTablesBelow(work.ViewID, &tables))
	})
	both.Go(func() error {
		return catalog.Together(ctx, w.below, catalog.ReadIncremental(work.ViewID, &i.Incremental), catalog.ReadViewsBelow(work.ViewID, &views),
			refresh.ReadFiles(work.QueryRelation, nil, &i.files))
	})
	if err := both.Wait(); err != nil {
		return err
	}
	i.leaves = catalog.Leaves(tables, views)
	if at.Before(i.At) {
		i.At = at
	}
	return nil
}

// lookSettled waits, where something has come or gone since the last refresh, for the end of the COMMIT that it came with: it would be taken
// for computed, and a session that has not heard of it yet reads what was there before.
func (w *RefreshWorker) lookSettled(ctx context.Context, work catalog.Work, i *incremental) error {
	if err := w.look(ctx, work, i); err != nil {
		return err
	}
	before, err := i.Before()
	if err != nil || !refresh.Changed(before, i.leaves) {
		return err
	}
	return catalog.Settle(ctx, w.control)
}

// lookAhead begins to look below a view, beside what gets a session and opens the attempt, and returns what waits for the answer:
// nil where the attempt does something before. seen is what is known already; nil = nothing.
func (w *RefreshWorker) lookAhead(ctx context.Context, work catalog.Work, seen *incremental) func() (incremental, error) {
	switch {
	case work.Method != refresh.Incremental || work.Leftovers || work.DataAsOf == nil:
		return nil
	case seen != nil:
		return func() (incremental, error) { return *seen, nil }
	}
	var (
		i    incremental
		err  error
		done = make(chan struct{})
	)
	go func() {
		defer close(done)
		i, err = w.lookBelow(ctx, work, false)
	}()
	return func() (incremental, error) {
		<-done
		return i, err
	}
}

// provedAsOf is up to which instant the contents are whole when everything is computed that is known to have
// changed as of an instant. Of a partition that came after we looked below nothing is known.
func (i incremental) provedAsOf(instant time.Time) time.Time {
	if i.At.Before(instant) {
		instant = i.At
	}
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
// cannot be found out is no reason to skip. seen is what it saw below; nil = it did not look.
func (w *RefreshWorker) judgeIncremental(ctx context.Context, work catalog.Work) (verdict judgement, seen *incremental) {
	if work.Asked || work.DataAsOf == nil || work.UpstreamUnknown {
		return judgement{}, nil
	}
	var now time.Time
	err := w.control.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	if err != nil {
		return judgement{}, nil
	}
	i, err := w.lookBelow(ctx, work, false)
	if err != nil {
		return judgement{}, nil // the attempt will find the same, and say it
	}
	if refresh.Untracked(i.leaves, i.tracking) > 0 || i.tracking == refresh.ByCounters && i.horizon.Unknown != "" {
		return judgement{}, &i // here too
	}
	changes, err := catalog.LoadChanges(ctx, w.control, work.ViewID)
	if err != nil {
		return judgement{}, &i
	}
	dirt, err := refresh.Unseen(i.Incremental, changes, i.leaves, i.tracking, now)
	if err != nil || len(dirt) > 0 {
		return judgement{}, &i
	}
	asOf := *work.AsOf(i.provedAsOf(now))
	if work.Target > 0 && now.Sub(asOf) > work.Target && i.tracking == refresh.ByCounters {
		return judgement{}, &i
	}
	if asOf.Before(*work.DataAsOf) {
		asOf = *work.DataAsOf
	}
	return judgement{Skip: refresh.Skip{Skip: true, AsOf: asOf, Reason: fmt.Sprintf("nothing changed below, up to %s", asOf.UTC().Format("15:04:05 UTC"))}}, &i
}
