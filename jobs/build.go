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

// leftoverPatience is how long a refresh is put off by what an earlier swap left.
const leftoverPatience = 3 * time.Second

// build is an attempt of a run whose view has a new version to be built: it fills the version, which
// nobody reads yet, unless an earlier attempt of this run has, and then swaps it in through the gate of the
// view. Whatever ends it in between, the old version is served and the next attempt goes on.
func (w *RefreshWorker) build(ctx context.Context, job *river.Job[RefreshArgs], work catalog.Work, attempt catalog.Attempt, session *pgexec.Session) error {
	log := w.log.With("view", work.ViewName, "run_id", work.RunID, "attempt", attempt.Number)
	var (
		began  = time.Now()
		waited time.Duration
	)
	analyzed, err := w.buildAndSwap(ctx, log, job, work, attempt, session, w.waiting(ctx, log, attempt, &waited))
	if err != nil {
		return w.fail(ctx, log, work, attempt, session, err, time.Since(began), waited)
	}
	took := time.Since(began)
	w.metrics.ended(outcomeSucceeded, took, waited)
	log.InfoContext(ctx, "a new version was built and swapped in", "cause", work.Cause, "duration", took)
	if analyzed != nil {
		if err := catalog.Analyzed(ctx, w.control, work.ViewID, *analyzed); err != nil {
			log.WarnContext(ctx, "ANALYZE could not be recorded", "err", err)
		}
	}
	return nil
}

func (w *RefreshWorker) buildAndSwap(ctx context.Context, log *slog.Logger, job *river.Job[RefreshArgs], work catalog.Work, attempt catalog.Attempt, session *pgexec.Session, onBusy func(refresh.Busyness)) (analyzed *int64, err error) {
	if err := catalog.BeginBuild(ctx, w.control, attempt); err != nil {
		return nil, err
	}
	version, err := catalog.LoadRedefinition(ctx, w.control, work.ViewID)
	if err != nil {
		return nil, err
	}
	if version == nil {
		return nil, refresh.ErrReplaced
	}
	progress := w.progress(ctx, log, attempt, session.PID())
	defer progress.stop()
	defer func() { // a version that its owner has replaced meanwhile is gone, which is no fault of anything
		var piece *refresh.PieceError
		if !errors.As(err, &piece) {
			return
		}
		if now, loadErr := catalog.LoadRedefinition(ctx, w.control, work.ViewID); loadErr == nil && (now == nil || now.Next != version.Next) {
			err = refresh.ErrReplaced
		}
	}()

	policy := refresh.Policy{BusyDeadline: busyPatience}
	next := view(work)
	next.Target.OID, next.Target.Query, next.Method, next.RowsBefore = version.Next, version.NextQuery, refresh.Full, nil
	if !version.FilledBy(work.RunID) {
		progress.enter("filling the new version")
		_, err := refresh.Try(ctx, session, w.control, next, policy, onBusy, func(ctx context.Context, tx pgx.Tx, result refresh.Result) error {
			filled, err := catalog.Filled(ctx, tx, attempt, refresh.Full, version.Next, &result.DataAsOf, result.Rows, result.SizeBytes)
			if err == nil && !filled {
				return refresh.ErrReplaced
			}
			return err
		})
		if err != nil {
			return nil, refresh.OfPiece("its new version", err)
		}
		if version, err = catalog.LoadRedefinition(ctx, w.control, work.ViewID); err != nil {
			return nil, err
		}
		if version == nil || !version.FilledBy(work.RunID) {
			return nil, refresh.ErrReplaced
		}
		log.InfoContext(ctx, "a new version is filled", "size_bytes", *version.FilledBytes)
	}
	if work.Analyze {
		progress.enter("analyzing the new version")
		if err := refresh.Analyze(ctx, session, next); err != nil {
			log.WarnContext(ctx, "ANALYZE of the new version failed", "err", err)
		} else {
			analyzed = version.FilledRows
		}
	}
	progress.enter("putting the new version in place")
	how := swap{step: catalog.StepSwap, method: refresh.Full, reason: "a new version with other columns took the place of the old one", changed: refresh.ErrReplaced}
	if version.OtherMethod {
		how.step, how.reason = catalog.StepSwapMethod, fmt.Sprintf("a new version by method %q took the place of the old one", version.Method)
	}
	return analyzed, w.swap(ctx, job, work, *version, attempt, session, onBusy, how)
}

// swap is how a new version takes the place of the old one.
type swap struct {
	step    string // of the gate
	method  string // by which it was filled
	reason  string // of the run
	changed error  // when that version is not wanted any more
}

// swap completes the run in the transaction in which the new version takes the place of the old one.
func (w *RefreshWorker) swap(ctx context.Context, job *river.Job[RefreshArgs], work catalog.Work, version catalog.Redefinition, attempt catalog.Attempt, session *pgexec.Session, onBusy func(refresh.Busyness), how swap) error {
	policy := refresh.Policy{BusyDeadline: busyPatience, Needs: func(ctx context.Context) ([]catalog.Lock, error) {
		return catalog.SwapLocks(ctx, w.control, work.ViewID)
	}}
	return refresh.Step(ctx, session, view(work), version.Gate, policy, onBusy,
		func(ctx context.Context, tx pgx.Tx) error {
			return catalog.LetThrough(ctx, tx, attempt, how.step)
		},
		func(ctx context.Context, tx pgx.Tx) error {
			if err := catalog.Closed(ctx, tx, attempt); err != nil {
				return err
			}
			served, err := catalog.IsServed(ctx, tx, work.ViewID, version.Next)
			if err != nil {
				return err
			}
			if !served {
				return how.changed
			}
			err = catalog.Succeed(ctx, tx, attempt, catalog.Success{
				Method: how.method, Reason: how.reason, DataAsOf: version.FilledAsOf,
				Rows: version.FilledRows, SizeBytes: *version.FilledBytes,
			})
			if err != nil {
				return err
			}
			return completeJob(ctx, tx, job)
		})
}

// dropLeftovers drops what an earlier swap could not. It is no reason for the refresh to fail.
func (w *RefreshWorker) dropLeftovers(ctx context.Context, log *slog.Logger, work catalog.Work, attempt catalog.Attempt, session *pgexec.Session) {
	gate, err := catalog.GateOf(ctx, w.control, work.ViewID)
	if err == nil {
		err = refresh.Step(ctx, session, view(work), gate, refresh.Policy{BusyDeadline: leftoverPatience}, func(refresh.Busyness) {},
			func(ctx context.Context, tx pgx.Tx) error {
				return catalog.LetThrough(ctx, tx, attempt, catalog.StepDropLeftover)
			},
			func(ctx context.Context, tx pgx.Tx) error { return catalog.Closed(ctx, tx, attempt) })
	}
	if err != nil {
		log.WarnContext(ctx, "what an earlier swap left could not be dropped, will retry", "err", err)
	}
}
