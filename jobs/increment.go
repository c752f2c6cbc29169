package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
// the counters.
func (w *RefreshWorker) lookBelow(ctx context.Context, work catalog.Work) (incremental, error) {
	if err := catalog.SyncSources(ctx, w.control, work.ViewID, work.QueryRelation); err != nil {
		return incremental{}, err
	}
	known, err := catalog.LoadIncremental(ctx, w.control, work.ViewID)
	if err != nil {
		return incremental{}, err
	}
	i := incremental{Incremental: known}
	if i.horizon, err = w.skipper.activity.Recent(ctx, w.control, watchInterval); err != nil {
		return incremental{}, err
	}
	if i.leaves, err = catalog.LoadLeaves(ctx, w.control, work.ViewID); err != nil {
		return incremental{}, err
	}
	i.tracking, i.reason, err = refresh.ChooseTracking(work.ChangeTracking, work.OwnerName, i.leaves)
	return i, err
}

// dirt is what has to be computed, by what q sees of the change log.
func (i incremental) dirt(ctx context.Context, q catalog.Querier, work catalog.Work, now time.Time) ([]refresh.Dirt, error) {
	return refresh.Unseen(ctx, q, work.ViewID, i.leaves, i.tracking, now)
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
	i, err := w.lookBelow(ctx, work)
	if err != nil || i.tracking == refresh.ByTrigger && refresh.Untracked(i.leaves) || i.tracking == refresh.ByCounters && i.horizon.Unknown != "" {
		return judgement{} // the attempt will find the same, and say it
	}
	dirt, err := i.dirt(ctx, w.control, work, now)
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
	w.analyzeData(ctx, log, session, work, result)
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

func (w *RefreshWorker) incrementOnce(ctx context.Context, log *slog.Logger, job *river.Job[RefreshArgs], work catalog.Work, attempt catalog.Attempt, session *pgexec.Session, onBusy func(refresh.Busyness)) (refresh.Result, error) {
	below, err := w.lookBelow(ctx, work)
	if err != nil {
		return refresh.Result{}, err
	}
	policy := refresh.Policy{BusyDeadline: busyPatience}
	if below.tracking == refresh.ByTrigger && refresh.Untracked(below.leaves) {
		if err := w.track(ctx, work, below, attempt, session, policy, onBusy); err != nil {
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
	i := refresh.Increment{
		View: view(work), Gate: below.Gate, Data: below.Data,
		Prepare: func(ctx context.Context) (err error) {
			below, err = w.lookBelow(ctx, work)
			return err
		},
		Plan: func(ctx context.Context, tx pgx.Tx) ([]refresh.Pass, error) {
			var now time.Time
			if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
				return nil, fmt.Errorf("read the clock: %w", err)
			}
			if state, err := catalog.LoadIncremental(ctx, tx, work.ViewID); err != nil {
				return nil, err
			} else if work.RearmedAt == nil || !state.Rearmed.Equal(*work.RearmedAt) {
				return nil, refresh.ErrEdited
			}
			dirt, err := below.dirt(ctx, tx, work, now)
			if err != nil {
				return nil, err
			}
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
			if work.RowsEstimate != nil {
				rows += *work.RowsEstimate
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
			if err := catalog.Incremented(ctx, tx, work.ViewID, below.leaves, below.tracking, below.reason); err != nil {
				return err
			}
			return completeJob(ctx, tx, job)
		},
	}
	result, err := i.Do(ctx, session, w.control, policy, onBusy)
	result.Reason = reason
	result.Rows = &rows
	return result, err
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
		if err := catalog.BeginFill(ctx, w.control, work.ViewID, leaves, below.tracking, below.reason); err != nil {
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
		far, err := catalog.LoadFilling(ctx, w.control, work.ViewID)
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

// track has the gate make the triggers that are missing.
func (w *RefreshWorker) track(ctx context.Context, work catalog.Work, below incremental, attempt catalog.Attempt, session *pgexec.Session, policy refresh.Policy, onBusy func(refresh.Busyness)) error {
	return refresh.Step(ctx, session, view(work), below.Gate, policy, onBusy,
		func(ctx context.Context, tx pgx.Tx) error {
			return catalog.LetThrough(ctx, tx, attempt, catalog.StepTrack)
		},
		func(ctx context.Context, tx pgx.Tx) error { return catalog.Closed(ctx, tx, attempt) })
}
