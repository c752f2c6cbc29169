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

// increment is an attempt at an incremental view. First the triggers are made that are missing, in a transaction of
// their own: what is written after it is noted, what was written before is in the snapshot that follows. ahead is of
// [RefreshWorker.lookAhead].
func (w *RefreshWorker) increment(ctx context.Context, job *river.Job[RefreshArgs], work catalog.Work, attempt catalog.Attempt, session *pgexec.Session, ahead func() (incremental, error)) error {
	log := w.log.With("view", work.ViewName, "run_id", work.RunID, "attempt", attempt.Number)
	var (
		began  = time.Now()
		waited time.Duration
	)
	if work.Leftovers {
		w.dropLeftovers(ctx, log, work, attempt, session)
	}
	once := func() (refresh.Result, error) {
		s := &incrementShell{
			w: w, log: log, job: job, work: work, attempt: attempt, session: session, ahead: ahead,
			policy: refresh.Policy{BusyDeadline: busyPatience}, onBusy: w.waiting(ctx, log, attempt, &waited),
		}
		return s.increment(ctx)
	}
	result, err := once()
	for tries := 0; tries < editTries && errors.Is(err, refresh.ErrEdited); tries++ {
		ahead = nil
		if work, err = catalog.LoadWork(ctx, w.control, work.RunID); err == nil {
			result, err = once()
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

// incrementShell brings the contents of an incremental view up to date once: of the version that is served, and then the
// run is complete, or of one that is being built, which then is swapped in.
type incrementShell struct {
	w       *RefreshWorker
	log     *slog.Logger
	job     *river.Job[RefreshArgs]
	work    catalog.Work
	attempt catalog.Attempt
	session *pgexec.Session
	policy  refresh.Policy
	onBusy  func(refresh.Busyness)
	ahead   func() (incremental, error) // gives what is below; nil = nobody has looked yet

	below   incremental
	at      uint32                // the contents that are worked on
	version *catalog.Redefinition // that they are of; nil = they are served
	made    bool                  // triggers were made that were missing
	looked  bool                  // below is as it is now, as far as we know
	last    catalog.LastRefresh   // in the snapshot
	changes []catalog.Change      // that it shows
	filled  catalog.Filling

	reason string // of what is computed
	did    catalog.StepResult
	rows   int64
}

func (s *incrementShell) increment(ctx context.Context) (result refresh.Result, err error) {
	look := s.ahead
	if look == nil {
		look = func() (incremental, error) { return s.w.lookBelow(ctx, s.work, false) }
	}
	if s.below, err = look(); err != nil {
		return result, err
	}
	s.looked = true
	if err := s.choose(ctx); err != nil {
		return result, err
	}
	defer func() { err = s.unlessEdited(ctx, err) }()
	if err := s.track(ctx); err != nil {
		return result, err
	}
	if s.filled, err = s.fill(ctx); err != nil {
		return result, err
	}
	s.looked = s.looked && s.below.Seen && s.below.Fill == nil
	i := refresh.Increment{
		View: versionView(s.work, s.below), Gate: s.below.Gate, Data: s.below.Data,
		Prepare: s.prepare, Read: s.read, Plan: s.plan, Open: s.open, Close: s.close, Complete: s.complete,
	}
	result, err = i.Do(ctx, s.session, s.w.control, s.policy, s.onBusy)
	result.Reason = s.reason
	result.Rows = &s.rows
	result.Changed = s.did.Inserted + s.did.Updated + s.did.Deleted
	if err == nil && s.version != nil {
		err = s.swap(ctx)
	}
	return result, err
}

// choose finds the version that is worked on.
func (s *incrementShell) choose(ctx context.Context) (err error) {
	s.at = s.below.Data
	if s.below.Building != s.work.Redefined {
		return refresh.ErrEdited
	}
	if !s.below.Building {
		return nil
	}
	if s.version, err = catalog.LoadRedefinition(ctx, s.w.control, s.work.ViewID); err != nil {
		return err
	}
	if s.version == nil || s.version.Next != s.at {
		return refresh.ErrEdited
	}
	return catalog.BeginBuild(ctx, s.w.control, s.attempt)
}

// unlessEdited is err, or ErrEdited: what has no sense any more since its owner has changed it again is no fault of
// anything.
func (s *incrementShell) unlessEdited(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		if now, loadErr := catalog.LoadIncremental(ctx, s.w.control, s.work.ViewID); loadErr == nil && now.Data != s.at {
			return refresh.ErrEdited
		}
	}
	return err
}

// prepare looks below again, unless nothing has happened since.
func (s *incrementShell) prepare(ctx context.Context) (files refresh.Files, err error) {
	if !s.looked {
		s.below, err = s.w.lookBelow(ctx, s.work, s.made)
	}
	s.looked = false
	return s.below.files, err
}

// read queues what plan needs to know.
func (s *incrementShell) read(batch *pgx.Batch) {
	catalog.ReadLastRefresh(s.work.ViewID, &s.last).Queue(batch)
	catalog.ReadChanges(s.work.ViewID, &s.changes).Queue(batch)
}

// plan says what has to be computed, in the snapshot in which it will be.
func (s *incrementShell) plan(ctx context.Context, tx pgx.Tx, snapshot refresh.Snapshot) ([]refresh.Pass, error) {
	if s.work.RearmedAt == nil || !s.last.Rearmed.Equal(*s.work.RearmedAt) || len(s.last.Restored) > 0 {
		return nil, refresh.ErrEdited
	}
	state := s.below.Incremental
	state.LastRefresh = s.last
	dirt, err := refresh.Unseen(state, s.changes, s.below.leaves, s.below.tracking, snapshot.Before)
	if err != nil {
		return nil, err
	}
	before, err := s.last.Before()
	if err != nil {
		return nil, err
	}
	refresh.Mark(before, s.below.leaves, snapshot.Next)
	s.did = catalog.StepResult{}
	passes, err := s.passes(ctx, tx, dirt)
	if s.filled.Done {
		s.reason = fmt.Sprintf("filled in %s; %s meanwhile", partitions(s.filled.Partitions), s.reason) // buckets are counted beside it
	}
	return passes, err
}

// passes decides how what is dirty is computed.
func (s *incrementShell) passes(ctx context.Context, tx pgx.Tx, dirt []refresh.Dirt) ([]refresh.Pass, error) {
	ranges, reason := refresh.Coalesce(dirt, s.below.Width+2*time.Hour)
	if len(ranges) == 0 {
		s.reason = "nothing changed below"
		return nil, nil
	}
	span, end, err := catalog.LoadSpan(ctx, tx, s.below.Data)
	if err != nil {
		return nil, err
	}
	extent := refresh.Extent{Span: span, End: end}
	if s.work.RowsEstimate != nil {
		extent.Rows = *s.work.RowsEstimate
	}
	if len(ranges) > 1 { // which may be joined
		if extent.Below, err = catalog.LoadStretches(ctx, tx, s.work.ViewID, s.below.leaves); err != nil {
			return nil, err
		}
	}
	passes, how := refresh.Passes(ranges, s.below.Width, extent)
	if how != "" {
		reason += ", " + how
	}
	s.reason = reason
	return passes, nil
}

func (s *incrementShell) open(batch *pgx.Batch, passes []refresh.Pass) {
	catalog.Pass(s.attempt, catalog.StepIncrement).Queue(batch)
	ranges := make([]catalog.PassRange, len(passes))
	for n, p := range passes {
		ranges[n] = catalog.PassRange{Lo: p.Lo, Hi: p.Hi, Staged: p.Staged}
	}
	catalog.GiveRanges(s.attempt, ranges).Queue(batch)
}

func (s *incrementShell) close(batch *pgx.Batch) {
	catalog.TakeBack(s.attempt, &s.did).Queue(batch)
}

// complete records what was done, in the transaction that did it. The run is complete when the version is served.
func (s *incrementShell) complete(ctx context.Context, tx pgx.Tx, result refresh.Result) error {
	changed := s.did.Inserted + s.did.Updated + s.did.Deleted
	s.rows = s.did.Inserted - s.did.Deleted + s.filled.Rows
	if before := s.rowsBefore(); before != nil {
		s.rows += *before
	}
	asOf := s.work.AsOf(s.below.provedAsOf(result.DataAsOf))
	if s.version != nil {
		filled, err := catalog.Filled(ctx, tx, s.attempt, refresh.Incremental, s.at, asOf, &s.rows, result.SizeBytes)
		if err == nil && !filled {
			err = refresh.ErrEdited
		}
		if err != nil {
			return err
		}
	} else {
		buckets := s.filled.Buckets + s.did.Buckets
		err := catalog.Succeed(ctx, tx, s.attempt, catalog.Success{
			Method: refresh.Incremental, Reason: reasons(s.reason, s.below.reason), DataAsOf: asOf, Rows: &s.rows, SizeBytes: result.SizeBytes, WALBytes: result.WALBytes,
			Took: result.Took, Changed: &changed, Buckets: &buckets,
		})
		if err != nil {
			return err
		}
	}
	if err := catalog.Incremented(ctx, tx, s.work.ViewID, s.at, s.below.leaves, s.below.tracking, s.below.reason); err != nil {
		return err
	}
	if s.version != nil {
		return nil
	}
	return s.w.complete(ctx, tx, s.job, s.work)
}

// swap puts a new version in the place of the one that is served, and completes the run in that transaction.
func (s *incrementShell) swap(ctx context.Context) error {
	version, err := catalog.LoadRedefinition(ctx, s.w.control, s.work.ViewID)
	if err != nil {
		return err
	}
	if version == nil || version.Next != s.below.Data || version.FilledRun == nil || *version.FilledRun != s.work.RunID {
		return refresh.ErrEdited
	}
	if s.work.Analyze {
		next := versionView(s.work, s.below)
		next.Target.OID = version.Next
		if err := refresh.Analyze(ctx, s.session, next); err != nil {
			s.log.WarnContext(ctx, "ANALYZE of the new version failed", "err", err)
		} else if err := catalog.Analyzed(ctx, s.w.control, s.work.ViewID, *version.FilledRows); err != nil {
			s.log.WarnContext(ctx, "ANALYZE could not be recorded", "err", err)
		}
	}
	if err := catalog.ReportPhase(ctx, s.w.control, s.attempt, "putting the new version in place", nil); err != nil {
		s.log.WarnContext(ctx, "progress could not be reported", "err", err)
	}
	how := swap{
		step: catalog.StepSwapData, method: refresh.Incremental, changed: refresh.ErrEdited,
		reason: "a new version took the place of the old one; " + reasons(s.reason, s.below.reason),
	}
	if version.OtherMethod {
		how.step, how.reason = catalog.StepSwapMethod, "of method \"incremental\", "+how.reason
	}
	return s.w.swap(ctx, s.job, s.work, *version, s.attempt, s.session, s.onBusy, how)
}

// rowsBefore are the rows of the version that runs work on, as far as they are known.
func (s *incrementShell) rowsBefore() *int64 {
	if s.version == nil {
		return s.work.RowsEstimate
	}
	return s.version.FilledRows
}

// versionView is the view, with the query of the version that runs work on.
func versionView(work catalog.Work, below incremental) refresh.View {
	v := view(work)
	v.Target.Query = below.Query
	return v
}
