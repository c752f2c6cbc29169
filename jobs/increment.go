package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// editTries is how often one attempt begins anew since its view was changed right before.
const editTries = 5

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
	if err != nil || i.tracking == refresh.ByTrigger && refresh.Untracked(i.leaves) > 0 || i.tracking == refresh.ByCounters && i.horizon.Unknown != "" {
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

// increment is an attempt at an incremental view. First the triggers are made that are missing, in a transaction of
// their own: what is written after it is noted, what was written before is in the snapshot that follows.
func (w *RefreshWorker) increment(ctx context.Context, job *river.Job[RefreshArgs], work catalog.Work, attempt catalog.Attempt, session *pgexec.Session) error {
	log := w.log.With("view", work.ViewName, "run_id", work.RunID, "attempt", attempt.Number)
	var (
		began  = time.Now()
		waited time.Duration
	)
	if work.Leftovers {
		w.dropLeftovers(ctx, log, work, attempt, session)
	}
	result, err := w.incrementOnce(ctx, log, job, work, attempt, session, w.waiting(ctx, log, attempt, &waited))
	for tries := 0; tries < editTries && errors.Is(err, refresh.ErrEdited); tries++ {
		if work, err = catalog.LoadWork(ctx, w.control, work.RunID); err == nil {
			result, err = w.incrementOnce(ctx, log, job, work, attempt, session, w.waiting(ctx, log, attempt, &waited))
		}
	}
	took := time.Since(began)
	if err != nil {
		return w.fail(ctx, log, work, attempt, session, err, took, waited)
	}
	w.metrics.ended(outcomeSucceeded, took, waited)
	log.InfoContext(ctx, "refreshed", "method", result.Method, "cause", work.Cause, "duration", took, "size_bytes", result.SizeBytes, "changed", result.Changed, "reason", result.Reason)
	if !work.Redefined { // a new version was analyzed before it was swapped in
		w.analyzeData(ctx, log, session, work, result)
	}
	return nil
}

// analyzeData brings the statistics of the contents up to date when much of them changed: autovacuum looks after
// partitions, but never after the table that they are of.
func (w *RefreshWorker) analyzeData(ctx context.Context, log *slog.Logger, session *pgexec.Session, work catalog.Work, result refresh.Result) {
	if !work.Analyze || result.Rows == nil || !refresh.ChangedMuch(work.AnalyzedRows, *result.Rows, result.Changed) {
		return
	}
	below, err := catalog.LoadIncremental(ctx, w.control, work.ViewID)
	if err != nil {
		log.WarnContext(ctx, "ANALYZE after the refresh failed", "err", err)
		return
	}
	work.Relation = below.Data
	w.analyze(ctx, log, session, work, result)
}

// incrementOnce brings the contents up to date: of the version that is served, and then the run is complete, or of one
// that is being built, which then is swapped in.
func (w *RefreshWorker) incrementOnce(ctx context.Context, log *slog.Logger, job *river.Job[RefreshArgs], work catalog.Work, attempt catalog.Attempt, session *pgexec.Session, onBusy func(refresh.Busyness)) (_ refresh.Result, err error) {
	below, err := w.lookBelow(ctx, work, false)
	if err != nil {
		return refresh.Result{}, err
	}
	at := below.Data
	version, err := catalog.LoadRedefinition(ctx, w.control, work.ViewID)
	if err != nil {
		return refresh.Result{}, err
	}
	if (version != nil) != work.Redefined || version != nil && version.Next != at {
		return refresh.Result{}, refresh.ErrEdited
	}
	if version != nil {
		if err := catalog.BeginBuild(ctx, w.control, attempt); err != nil {
			return refresh.Result{}, err
		}
	}
	defer func() { // what has no sense any more since its owner has changed it again is no fault of anything
		if err != nil && ctx.Err() == nil {
			if now, loadErr := catalog.LoadIncremental(ctx, w.control, work.ViewID); loadErr == nil && now.Data != at {
				err = refresh.ErrEdited
			}
		}
	}()
	policy := refresh.Policy{BusyDeadline: busyPatience}
	looked, made := true, false // and nothing has happened since
	if below.tracking == refresh.ByTrigger && refresh.Untracked(below.leaves) > 0 {
		looked, made = false, true
		for left, before := refresh.Untracked(below.leaves), math.MaxInt; left > 0 && left < before; { // some at a time
			if err := w.track(ctx, work, below, attempt, session, policy, onBusy); err != nil {
				return refresh.Result{}, err
			}
			leaves, err := catalog.LoadLeaves(ctx, w.control, work.ViewID)
			if err != nil {
				return refresh.Result{}, err
			}
			left, before = refresh.Untracked(leaves), left
		}
		if below, err = w.lookBelow(ctx, work, made); err != nil {
			return refresh.Result{}, err
		}
		log.InfoContext(ctx, "triggers were made that note what changes")
	}
	filled, err := w.fill(ctx, log, work, below, attempt, session, policy, onBusy)
	if err != nil {
		return refresh.Result{}, err
	}
	var (
		reason string
		did    catalog.StepResult
		dirty  bool
		rows   int64
	)
	looked = looked && below.Seen && below.Fill == nil
	i := refresh.Increment{
		View: versionView(work, below), Gate: below.Gate, Data: below.Data,
		Prepare: func(ctx context.Context) (err error) {
			if !looked {
				below, err = w.lookBelow(ctx, work, made)
			}
			looked = false
			return err
		},
		Plan: func(ctx context.Context, tx pgx.Tx) ([]refresh.Pass, error) {
			var now time.Time
			if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
				return nil, fmt.Errorf("read the clock: %w", err)
			}
			state, err := catalog.LoadIncremental(ctx, tx, work.ViewID)
			if err != nil {
				return nil, err
			}
			if work.RearmedAt == nil || !state.Rearmed.Equal(*work.RearmedAt) {
				return nil, refresh.ErrEdited
			}
			dirt, err := below.dirt(ctx, tx, work, state, now)
			if err != nil {
				return nil, err
			}
			before, err := state.Before()
			if err != nil {
				return nil, err
			}
			since, err := catalog.NextTransaction(ctx, tx)
			if err != nil {
				return nil, err
			}
			refresh.Mark(before, below.leaves, since)
			var ranges []refresh.Range
			ranges, reason = refresh.Coalesce(dirt, below.Width+2*time.Hour)
			dirty = len(ranges) > 0
			did = catalog.StepResult{}
			var passes []refresh.Pass
			if dirty {
				if passes, err = w.passes(ctx, tx, work, below, ranges, &reason); err != nil {
					return nil, err
				}
			}
			if !dirty {
				reason = "nothing changed below"
			}
			if filled.Done {
				reason = fmt.Sprintf("filled in %d partitions; %s meanwhile", filled.Partitions, reason)
			}
			return passes, nil
		},
		Open: func(ctx context.Context, tx pgx.Tx, passes []refresh.Pass) error {
			if err := catalog.LetThrough(ctx, tx, attempt, catalog.StepIncrement); err != nil {
				return err
			}
			ranges := make([]catalog.PassRange, len(passes))
			for n, p := range passes {
				ranges[n] = catalog.PassRange{Lo: p.Lo, Hi: p.Hi, Staged: p.Staged}
			}
			return catalog.GiveRanges(ctx, tx, attempt, ranges)
		},
		Close: func(ctx context.Context, tx pgx.Tx, result *refresh.Result) (err error) {
			did, err = catalog.TakeBack(ctx, tx, attempt)
			result.Changed = did.Inserted + did.Updated + did.Deleted
			return err
		},
		Complete: func(ctx context.Context, tx pgx.Tx, result refresh.Result) error {
			rows = did.Inserted - did.Deleted + filled.Rows
			if before := rowsBefore(work, version); before != nil {
				rows += *before
			}
			if version != nil {
				filled, err := catalog.Filled(ctx, tx, attempt, refresh.Incremental, at, work.AsOf(below.provedAsOf(result.DataAsOf)), &rows, result.SizeBytes)
				if err == nil && !filled {
					err = refresh.ErrEdited
				}
				if err != nil {
					return err
				}
				return catalog.Incremented(ctx, tx, work.ViewID, at, below.leaves, below.tracking, below.reason)
			}
			err := catalog.Succeed(ctx, tx, attempt, catalog.Success{
				Method: refresh.Incremental, Reason: reasons(reason, below.reason), DataAsOf: work.AsOf(below.provedAsOf(result.DataAsOf)), Rows: &rows, SizeBytes: result.SizeBytes, WALBytes: result.WALBytes,
				Took: result.Took, Changed: &result.Changed,
			})
			if err != nil {
				return err
			}
			if err := catalog.SetBuckets(ctx, tx, attempt, did.Buckets); err != nil {
				return err
			}
			if err := catalog.Incremented(ctx, tx, work.ViewID, below.Data, below.leaves, below.tracking, below.reason); err != nil {
				return err
			}
			return completeJob(ctx, tx, job)
		},
	}
	result, err := i.Do(ctx, session, w.control, policy, onBusy)
	result.Reason = reason
	result.Rows = &rows
	if err == nil && version != nil {
		err = w.swapData(ctx, log, job, work, below, attempt, session, onBusy, reasons(reason, below.reason))
	}
	return result, err
}

// swapData puts a new version in the place of the one that is served, and completes the run in that transaction.
func (w *RefreshWorker) swapData(ctx context.Context, log *slog.Logger, job *river.Job[RefreshArgs], work catalog.Work, below incremental, attempt catalog.Attempt, session *pgexec.Session, onBusy func(refresh.Busyness), reason string) error {
	version, err := catalog.LoadRedefinition(ctx, w.control, work.ViewID)
	if err != nil {
		return err
	}
	if version == nil || version.Next != below.Data || version.FilledRun == nil || *version.FilledRun != work.RunID {
		return refresh.ErrEdited
	}
	if work.Analyze {
		next := versionView(work, below)
		next.Target.OID = version.Next
		if err := refresh.Analyze(ctx, session, next); err != nil {
			log.WarnContext(ctx, "ANALYZE of the new version failed", "err", err)
		} else if err := catalog.Analyzed(ctx, w.control, work.ViewID, *version.FilledRows); err != nil {
			log.WarnContext(ctx, "ANALYZE could not be recorded", "err", err)
		}
	}
	if err := catalog.ReportPhase(ctx, w.control, attempt, "putting the new version in place", nil); err != nil {
		log.WarnContext(ctx, "progress could not be reported", "err", err)
	}
	return w.swap(ctx, job, work, *version, attempt, session, onBusy, swap{
		step: catalog.StepSwapData, method: refresh.Incremental, reason: "a new version took the place of the old one; " + reason, changed: refresh.ErrEdited,
	})
}

// rowsBefore are the rows of the version that runs work on, as far as they are known.
func rowsBefore(work catalog.Work, version *catalog.Redefinition) *int64 {
	if version == nil {
		return work.RowsEstimate
	}
	return version.FilledRows
}

// versionView is the view, with the query of the version that runs work on.
func versionView(work catalog.Work, below incremental) refresh.View {
	v := view(work)
	v.Target.Query = below.Query
	return v
}

// passes decides how the ranges are computed, and adds to the reason why.
func (w *RefreshWorker) passes(ctx context.Context, tx pgx.Tx, work catalog.Work, below incremental, ranges []refresh.Range, reason *string) ([]refresh.Pass, error) {
	span, err := catalog.LoadSpan(ctx, tx, below.Data)
	if err != nil {
		return nil, err
	}
	extent := refresh.Extent{Span: span}
	if work.RowsEstimate != nil {
		extent.Rows = *work.RowsEstimate
	}
	passes, how := refresh.Passes(ranges, below.Width, extent)
	if how != "" {
		*reason += ", " + how
	}
	return passes, nil
}

// fill builds the first contents partition by partition, unless they are there. It goes on where an earlier attempt
// was; what changed meanwhile the increment brings that follows. The zero Filling means that there was nothing to do.
func (w *RefreshWorker) fill(ctx context.Context, log *slog.Logger, work catalog.Work, below incremental, attempt catalog.Attempt, session *pgexec.Session, policy refresh.Policy, onBusy func(refresh.Busyness)) (catalog.Filling, error) {
	if below.Leaves != nil && (below.Fill == nil || !below.Seen) {
		return catalog.Filling{}, nil
	}
	if below.Fill == nil {
		leaves, err := catalog.LoadLeaves(ctx, w.control, work.ViewID) // with the triggers that were made
		if err != nil {
			return catalog.Filling{}, err
		}
		since, err := catalog.NextTransaction(ctx, w.control)
		if err != nil {
			return catalog.Filling{}, err
		}
		refresh.Mark(nil, leaves, since)
		if err := catalog.BeginFill(ctx, w.control, work.ViewID, below.Data, leaves, below.tracking, below.reason); err != nil {
			return catalog.Filling{}, err
		}
		if err := catalog.LimitFill(ctx, w.control, work.ViewID); err != nil {
			return catalog.Filling{}, err
		}
	}
	if !below.Bound { // in one go, see dirt
		return catalog.Filling{}, nil
	}
	began, first := time.Now(), -1
	for {
		far, err := catalog.LoadFilling(ctx, w.control, work.ViewID, below.Data)
		if err != nil || far.Done {
			return far, err
		}
		if first < 0 {
			first = far.Percent
		}
		what := fmt.Sprintf("%d partitions, %d rows", far.Partitions, far.Rows)
		if far.From != nil {
			what += ", from " + far.From.UTC().Format("2006-01-02") + " on"
		}
		if far.Percent > first {
			left := time.Duration(float64(time.Since(began)) * float64(100-far.Percent) / float64(far.Percent-first))
			what += fmt.Sprintf(", about %s left", left.Round(time.Second))
		}
		if err := catalog.ReportPhase(ctx, w.control, attempt, "filling the view, newest first", &catalog.ServerProgress{What: what, Percent: far.Percent}); err != nil {
			log.WarnContext(ctx, "progress could not be reported", "err", err)
		}
		err = refresh.Step(ctx, session, view(work), below.Gate, policy, onBusy,
			func(ctx context.Context, tx pgx.Tx) error {
				return catalog.LetThrough(ctx, tx, attempt, catalog.StepBuild)
			},
			func(ctx context.Context, tx pgx.Tx) error {
				_, err := catalog.TakeBack(ctx, tx, attempt)
				return err
			})
		if err != nil {
			return catalog.Filling{}, err
		}
	}
}

// track has the gate make triggers that are missing.
func (w *RefreshWorker) track(ctx context.Context, work catalog.Work, below incremental, attempt catalog.Attempt, session *pgexec.Session, policy refresh.Policy, onBusy func(refresh.Busyness)) error {
	return refresh.Step(ctx, session, view(work), below.Gate, policy, onBusy,
		func(ctx context.Context, tx pgx.Tx) error {
			return catalog.LetThrough(ctx, tx, attempt, catalog.StepTrack)
		},
		func(ctx context.Context, tx pgx.Tx) error { return catalog.Closed(ctx, tx, attempt) })
}
