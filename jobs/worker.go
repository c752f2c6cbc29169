package jobs

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
	"github.com/mvscheduler/mvscheduler/refresh"
)

const (
	refreshQueue = "refresh"

	// A lock that is not had within this time ends the attempt, so that the worker is free for others.
	busyPatience = 20 * time.Second

	// The backend is terminated this long after statement_timeout and busyPatience: a function can swallow a
	// cancel.
	deadlineGrace = 10 * time.Second

	// A first fill of an incremental view takes as many transactions as it has partitions; statement_timeout bounds
	// each of them.
	fillDeadline = 24 * time.Hour

	// Bookkeeping after an attempt goes on this long when the process is ending.
	bookkeepingTime = 10 * time.Second
)

// RefreshArgs names the run that a River job carries. Everything else is read when the job is worked.
type RefreshArgs struct {
	RunID int64 `json:"run_id"`
}

// Kind is River's name for the job.
func (RefreshArgs) Kind() string { return "refresh" }

// InsertOpts puts the job in its queue. The catalog counts attempts; River's limit is only never to be
// reached.
func (RefreshArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: refreshQueue, MaxAttempts: 10_000}
}

// RefreshWorker works one run: it opens an attempt, refreshes the view and completes the run, the view's
// health and the River job in the transaction of the refresh.
type RefreshWorker struct {
	river.WorkerDefaults[RefreshArgs]

	control *pgxpool.Pool
	below   *pgxpool.Pool // control, or one of its own, for the large statements of [RefreshWorker.look]
	runs    *pgexec.Pool
	log     *slog.Logger
	metrics *Metrics
	name    string // of this sidecar, as shown in runs.worker
	skipper *skipper
	lanes   lanes
	// ownerCap is how many workers one owner may hold, whatever the settings say.
	ownerCap int
	ended    func() // tells the dispatcher that a run has ended
	pruner   *pruner
}

// Timeout is longer than any run may take: the deadline of the attempt ends it, not River.
func (w *RefreshWorker) Timeout(*river.Job[RefreshArgs]) time.Duration { return 8 * 24 * time.Hour }

// Work is one attempt. A job that comes too late (its run has ended, or has passed on to another job)
// does nothing.
func (w *RefreshWorker) Work(ctx context.Context, job *river.Job[RefreshArgs]) error {
	work, err := catalog.LoadWork(ctx, w.control, job.Args.RunID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return w.later(ctx, err)
	case work.State != stateQueued || work.JobID == nil || *work.JobID != job.ID:
		return nil
	case work.Gone:
		return catalog.EndQueued(ctx, w.control, work.RunID, stateCancelled, "the view was dropped")
	case work.CancelRequested:
		return catalog.EndQueued(ctx, w.control, work.RunID, stateCancelled, "cancelled on request")
	}

	leave, ok := w.lanes.enter(work.Owner, min(w.ownerCap, work.RunsPerOwner))
	if !ok {
		return river.JobSnooze(turnedAway())
	}
	defer leave()
	if work.Kind == kindPrune {
		return w.pruneRun(ctx, job, work)
	}
	if work.UpstreamMoved {
		if err := catalog.SetUpstream(ctx, w.control, work); err != nil {
			return w.later(ctx, err)
		}
	}

	var (
		verdict judgement
		ahead   func() (incremental, error)
	)
	if work.Method == refresh.Incremental {
		var seen *incremental
		if !work.Redefined {
			verdict, seen = w.judgeIncremental(ctx, work)
		}
		if !verdict.Skip.Skip {
			ahead = w.lookAhead(ctx, work, seen)
		}
	}
	session, err := w.runs.Acquire(ctx)
	if err != nil {
		return w.later(ctx, err)
	}
	defer session.Release()
	if work.Method != refresh.Incremental && !work.Redefined {
		verdict = w.skipper.judge(ctx, session, work)
	}
	if verdict.Skip.Skip {
		switch err := w.skip(ctx, job, work, verdict); {
		case errors.Is(err, catalog.ErrFenced):
			return nil
		case err != nil:
			return w.later(ctx, err)
		}
		w.ended()
		w.pruner.notice(work)
		return nil
	}
	var deadline time.Duration
	if work.StatementTimeout > 0 {
		deadline = work.StatementTimeout + busyPatience + deadlineGrace
		if work.Redefined || work.Leftovers || work.Method == refresh.Incremental { // two or three transactions
			deadline += work.StatementTimeout + busyPatience
		}
		if work.Method == "auto" { // a full refresh that is given up after lock_timeout, or tried after a concurrent one
			deadline += work.LockTimeout
		}
	}
	if work.Method == refresh.Incremental && (work.DataAsOf == nil || work.Redefined) {
		deadline = fillDeadline
	}
	attempt, err := catalog.OpenAttempt(ctx, w.control, work, job.ID, session.PID(), session.BackendStart(), w.name, deadline)
	if errors.Is(err, catalog.ErrFenced) {
		return nil
	}
	if err != nil {
		return w.later(ctx, err)
	}
	w.metrics.started(work, attempt)
	defer w.ended()
	if work.Method == refresh.Incremental {
		defer w.pruner.notice(work)
		return w.increment(ctx, job, work, attempt, session, ahead)
	}
	if work.Redefined {
		return w.build(ctx, job, work, attempt, session)
	}
	return w.attempt(ctx, job, work, verdict, attempt, session)
}

// completeJob ends the job in the transaction that ends its run.
func completeJob(ctx context.Context, tx pgx.Tx, job *river.Job[RefreshArgs]) error {
	_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
	if errors.Is(err, river.ErrNotFound) {
		return nil // deleted by hand: it was only what brought the run here
	}
	return err
}

// complete ends the job of a refresh in the transaction that ends its run. What prunes the view comes next, where it waits for that.
func (w *RefreshWorker) complete(ctx context.Context, tx pgx.Tx, job *river.Job[RefreshArgs], work catalog.Work) error {
	w.pruner.follow(ctx, tx, work.ViewID)
	return completeJob(ctx, tx, job)
}

// reasons joins what is to be said about a run.
func reasons(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), "; ")
}

// later gives the job back to River because the server did not answer before the attempt began.
func (w *RefreshWorker) later(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.log.WarnContext(ctx, "an attempt could not begin, will retry", "err", err)
	return river.JobSnooze(backoff(0, time.Second, time.Second))
}

func (w *RefreshWorker) attempt(ctx context.Context, job *river.Job[RefreshArgs], work catalog.Work, verdict judgement, attempt catalog.Attempt, session *pgexec.Session) error {
	log := w.log.With("view", work.ViewName, "run_id", work.RunID, "attempt", attempt.Number)
	var (
		began  = time.Now()
		waited time.Duration
	)
	policy := refresh.Policy{BusyDeadline: busyPatience}
	onBusy := w.waiting(ctx, log, attempt, &waited)
	if work.Leftovers {
		w.dropLeftovers(ctx, log, work, attempt, session)
	}
	complete := func(ctx context.Context, tx pgx.Tx, result refresh.Result) error {
		err := catalog.Succeed(ctx, tx, attempt, catalog.Success{
			Method: result.Method, Reason: reasons(result.Reason, verdict.Reason), DataAsOf: work.AsOf(result.DataAsOf),
			Rows: result.Rows, SizeBytes: result.SizeBytes, WALBytes: result.WALBytes, Token: verdict.Token, Contents: result.Contents,
			Took: result.Took, Changed: changed(result), ReadersWaiting: result.ReadersWaiting, GaveUp: result.GaveUp,
		})
		if err != nil {
			return err
		}
		return w.complete(ctx, tx, job, work)
	}

	target := view(work)
	if work.Method == "auto" {
		past, err := catalog.LoadMeasured(ctx, w.control, work.ViewID)
		if err != nil { // then nothing is known, which means concurrent
			log.WarnContext(ctx, "what earlier refreshes cost could not be read", "err", err)
		}
		target.Past = past
	}
	result, err := refresh.Try(ctx, session, w.control, target, policy, onBusy, complete)
	if err == nil {
		took := time.Since(began)
		w.metrics.ended(outcomeSucceeded, took, waited)
		attributes := []any{"method", result.Method, "cause", work.Cause, "duration", took, "size_bytes", result.SizeBytes}
		if result.Rows != nil {
			attributes = append(attributes, "rows", *result.Rows)
		}
		log.InfoContext(ctx, "refreshed", attributes...)
		w.analyze(ctx, log, session, work, result)
		return nil
	}
	return w.fail(ctx, log, work, attempt, session, err, time.Since(began), waited)
}

// changed is how many rows a refresh wrote and removed; nil where the server does not count.
func changed(result refresh.Result) *int64 {
	if result.Rows == nil {
		return nil
	}
	return &result.Changed
}

// waiting shows which lock an attempt waits for, and adds up how long.
func (w *RefreshWorker) waiting(ctx context.Context, log *slog.Logger, attempt catalog.Attempt, waited *time.Duration) func(refresh.Busyness) {
	return func(busy refresh.Busyness) {
		*waited += busy.Waited
		log.InfoContext(ctx, "waiting for a lock", "lock", busy.String())
		if err := catalog.ReportProgress(ctx, w.control, attempt, busy.String()); err != nil {
			log.WarnContext(ctx, "progress could not be reported", "err", err)
		}
	}
}

// fail records an attempt that did not succeed. When even that cannot be written, the backend is given
// up: the reaper of some replica will find it gone and open the next attempt.
func (w *RefreshWorker) fail(ctx context.Context, log *slog.Logger, work catalog.Work, attempt catalog.Attempt, session *pgexec.Session, cause error, took, waited time.Duration) error {
	shuttingDown := ctx.Err() != nil
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeepingTime)
	defer cancel()

	if errors.Is(cause, catalog.ErrFenced) {
		return w.fenced(ctx, log, took, waited)
	}
	stop, err := catalog.StopReason(recording, w.control, attempt)
	if err != nil {
		session.Destroy()
		return w.later(ctx, err)
	}
	if stop != "" {
		session.Destroy() // another cancel may be on its way, which must not hit the next attempt
	}
	now, err := catalog.LoadWork(recording, w.control, work.RunID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		session.Destroy()
		return w.later(ctx, err)
	}
	v := judge(ended{
		View: work.ViewName, Err: cause, Stop: stop, ShuttingDown: shuttingDown, Gone: now.Gone,
		Edited:  work.RearmedAt != nil && now.RearmedAt != nil && !now.RearmedAt.Equal(*work.RearmedAt),
		Counted: work.Counted, MaxAttempts: work.MaxAttempts, Busy: attempt.Number - work.Counted - 1,
	})
	if err := catalog.Fail(recording, w.control, attempt, v.Failure); err != nil {
		session.Destroy()
		if errors.Is(err, catalog.ErrFenced) {
			return w.fenced(ctx, log, took, waited)
		}
		return w.later(ctx, err)
	}
	w.metrics.ended(v.Outcome, took, waited)

	attributes := []any{"err", refresh.Describe(cause), "sqlstate", v.SQLState, "outcome", v.Outcome, "run_state", v.RunState, "duration", took, "reason", v.Reason}
	switch {
	case v.Pause != "":
		log.ErrorContext(ctx, "refresh failed for good, the view is paused", attributes...)
	case v.RunState == stateFailed:
		log.ErrorContext(ctx, "refresh failed, the slot is given up", attributes...)
	case v.RunState == stateCancelled || shuttingDown:
		log.InfoContext(ctx, "refresh cancelled", attributes...)
	default:
		log.WarnContext(ctx, "refresh did not succeed, will retry", attributes...)
	}
	switch {
	case v.RunState != stateQueued:
		return river.JobCancel(cause)
	case shuttingDown:
		return context.Cause(ctx) // River makes the job available at once, without counting an attempt
	default:
		return river.JobSnooze(v.Retry)
	}
}

// fenced is the end of an attempt that was taken for lost: nothing that it did is there.
func (w *RefreshWorker) fenced(ctx context.Context, log *slog.Logger, took, waited time.Duration) error {
	log.WarnContext(ctx, "the run has passed on to another attempt, this one is rolled back")
	w.metrics.ended(outcomeCancelled, took, waited)
	return nil
}

// analyze brings the planner's statistics up to date when the refresh changed much. The run has ended
// already; an ANALYZE that fails is only reported.
func (w *RefreshWorker) analyze(ctx context.Context, log *slog.Logger, session *pgexec.Session, work catalog.Work, result refresh.Result) {
	if !work.Analyze || result.Rows == nil || !refresh.ChangedMuch(work.AnalyzedRows, *result.Rows, result.Changed) {
		return
	}
	if err := refresh.Analyze(ctx, session, view(work)); err != nil {
		log.WarnContext(ctx, "ANALYZE after the refresh failed", "err", err)
		return
	}
	if err := catalog.Analyzed(ctx, w.control, work.ViewID, *result.Rows); err != nil {
		log.WarnContext(ctx, "ANALYZE could not be recorded", "err", err)
	}
}

// view is the part of a run's view that a refresh needs.
func view(w catalog.Work) refresh.View {
	v := refresh.View{
		ID: w.ViewID, Name: w.ViewName,
		Target:           pgexec.Target{OID: w.Relation, Owner: w.Owner, Query: w.QueryRelation},
		Method:           w.Method,
		TimeZone:         w.Timezone,
		StatementTimeout: w.StatementTimeout,
		LockTimeout:      w.LockTimeout,
		RowsBefore:       w.RowsEstimate,
	}
	if w.WorkMem != nil {
		v.WorkMem = *w.WorkMem
	}
	if w.MaxSizeBytes != nil {
		v.MaxSizeBytes = *w.MaxSizeBytes
	}
	return v
}
