package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
	"github.com/mvscheduler/mvscheduler/refresh"
	"github.com/mvscheduler/mvscheduler/retention"
)

const (
	kindPrune = "prune"

	// Everybody who reads or writes the table queues behind a DETACH that waits.
	detachLockTimeout = 100 * time.Millisecond
	// A view is not refreshed meanwhile, so readers that stay long are not waited for; the next run tries again.
	prunePatience = 5 * time.Second
	// No table holds so many rows that their files take longer to unlink.
	pruneTimeout = 5 * time.Minute
	// How often a run plans anew since what the readers read has changed between plan and lock.
	pruneReplans = 5
	// Those after the first that was not had are waited for shorter, since nobody waits for all of them together.
	pruneImpatience = 500 * time.Millisecond
	pruneBusy       = 10 // so many that were not had end it: everybody may be reading
	// After a run that did not come through, for example since readers held the oldest partition.
	prunePause = time.Minute
	// To plan again under the locks of a step may take no longer: everybody who uses the table waits. How long it takes is others'
	// to choose, by what they build upon the table.
	underLocks = 3 * time.Second
	// A session that is idle for longer is taken for one whose sidecar is gone.
	factsPatience = 15 * time.Second
)

// pruneRun is an attempt of a run that prunes.
func (w *RefreshWorker) pruneRun(ctx context.Context, job *river.Job[RefreshArgs], work catalog.Work) error {
	session, err := w.runs.Acquire(ctx)
	if err != nil {
		return w.later(ctx, err)
	}
	defer session.Release()
	attempt, err := catalog.OpenAttempt(ctx, w.control, work, job.ID, session.PID(), session.BackendStart(), w.name, fillDeadline)
	if errors.Is(err, catalog.ErrFenced) {
		return nil
	}
	if err != nil {
		return w.later(ctx, err)
	}
	defer w.ended()
	log := w.log.With("view", work.ViewName, "run_id", work.RunID, "attempt", attempt.Number)
	s := &pruneShell{w: w, log: log, work: work, attempt: attempt, session: session}
	if err := s.prune(ctx); err != nil {
		return s.fail(ctx, err)
	}
	err = pgx.BeginFunc(ctx, w.control, func(tx pgx.Tx) error {
		if err := catalog.EndPrune(ctx, tx, attempt, s.detached.Rows, s.detached.Bytes, s.words()); err != nil {
			return err
		}
		return completeJob(ctx, tx, job)
	})
	if err != nil {
		return s.fail(ctx, err)
	}
	log.InfoContext(ctx, "pruned", "detached", s.detached.Partitions, "dropped", s.dropped.Partitions, "attached", s.attached.Partitions, "rows", s.detached.Rows, "size_bytes", s.detached.Bytes)
	return nil
}

// pruneShell carries out a plan, one partition in a transaction.
type pruneShell struct {
	w       *RefreshWorker
	log     *slog.Logger
	work    catalog.Work
	attempt catalog.Attempt
	session *pgexec.Session

	detached, dropped, attached retention.Total

	notes  []string
	undone []undone
	plans  int // made since the first one
}

// cause is what a person has to mend, else what came first; nil when all was done.
func (s *pruneShell) cause() error {
	for _, u := range s.undone {
		if refresh.Classify(u.err) != refresh.Busy {
			return u.err
		}
	}
	if len(s.undone) > 0 {
		return s.undone[0].err
	}
	return nil
}

// ends says whether an error concerns more than the partition that was to be moved.
func ends(ctx context.Context, err error) bool {
	var piece *refresh.PieceError
	return ctx.Err() != nil || errors.Is(err, catalog.ErrFenced) || errors.As(err, &piece) || refresh.Classify(err) == refresh.Away || refresh.SQLState(err) == "57014"
}

// prune puts aside what is old enough, the oldest first, and then drops what was kept for long enough. One that is left
// behind would stay for good below the frozen horizon, so the first that cannot leave ends that. What the retention period
// reaches again comes back at last. What cannot be done keeps nothing else from being done, and the run fails with it.
func (s *pruneShell) prune(ctx context.Context) error {
	gate, err := catalog.PruneGate(ctx, s.w.control, s.work.ViewID)
	if err != nil {
		return err
	}
	// What is back since the run was made counts: until that is noted, views are frozen there, and a younger one would leave.
	if _, err := catalog.NoteRestored(ctx, s.w.control, s.work.ViewID, nil, catalog.ByOwner); err != nil {
		return err
	}
	p, err := s.plan(ctx, nil)
	if err != nil || p == nil {
		return err
	}
	for {
		err := s.each(ctx, p, gate, retention.Detach, catalog.StepDetach)
		if err == nil {
			break
		}
		if !errors.Is(err, errLeaves) {
			return err
		}
		s.plans++
		before := p
		if p, err = s.plan(ctx, p); err != nil || p == nil {
			return err
		}
		if stays := p.staying(before); stays != "" {
			s.notes = append(s.notes, stays)
		}
	}
	for _, then := range []struct {
		action retention.Action
		step   string
	}{{retention.Drop, catalog.StepDropKept}, {retention.Attach, catalog.StepAttach}} {
		if err := s.each(ctx, p, gate, then.action, then.step); err != nil {
			return err
		}
	}
	s.notes = append(s.notes, p.plan.Notes...)
	return s.cause()
}

// plan plans and tells the views that do not know it yet what has left already. before is an earlier plan of this run.
func (s *pruneShell) plan(ctx context.Context, before *pruning) (*pruning, error) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, factsPatience)
	defer cancel()
	p, err := planPruning(limited, s.w.control, s.work.ViewID, before)
	if took := time.Since(began); err != nil && took >= factsPatience && ctx.Err() == nil {
		s.undone = append(s.undone, undone{what: "nothing was put aside", err: s.tooLong(ctx, took)})
		return nil, s.cause()
	}
	if err != nil || p == nil {
		return nil, err
	}
	for tries := 0; tries < 2 && p.took > underLocks && time.Since(began) < factsPatience/2; tries++ { // with what it has read in memory, or with less to do for others, the server may take less
		again, err := loadPruning(ctx, s.w.control, s.work.ViewID)
		if err != nil || again == nil {
			return nil, err
		}
		p.took = min(p.took, again.took)
	}
	for _, f := range p.plan.Freezes {
		if err := s.freeze(ctx, s.w.control, p, f); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// each moves all partitions of an action. It returns what ends the run, or that the plan has to be made anew; what else
// a partition meets it notes, and goes on with the next one. Of those that leave the first that stays ends it.
func (s *pruneShell) each(ctx context.Context, p *pruning, gate uint32, action retention.Action, step string) error {
	busy, patience := 0, prunePatience
	for _, d := range p.plan.Decisions {
		if d.Action != action {
			continue
		}
		if p.took > underLocks {
			err := s.tooLong(ctx, p.took)
			s.undone = append(s.undone, undone{what: d.Partition.Name + " was not " + participle[step], err: err})
			break
		}
		stays, holder, err := s.move(ctx, p, gate, step, d, patience)
		if err != nil {
			if ends(ctx, err) || errors.Is(err, errLeaves) && s.plans < pruneReplans {
				return err
			}
			s.undone = append(s.undone, undone{what: d.Partition.Name + " was not " + participle[step], err: err, holder: holder, tried: patience})
			stays = step == catalog.StepDetach
			if refresh.Classify(err) == refresh.Busy {
				busy, patience = busy+1, pruneImpatience
			}
		}
		if stays || busy == pruneBusy {
			break
		}
	}
	return nil
}

var participle = map[string]string{catalog.StepDetach: "put aside", catalog.StepDropKept: "dropped", catalog.StepAttach: "brought back"}

// slowError says that what was to be done under locks took too long.
type slowError struct{ took time.Duration }

func (e *slowError) Error() string {
	return "planning under locks was given up after " + e.took.String()
}

// tooLong is the error of a partition that stays since planning for it under its locks would take so long.
func (s *pruneShell) tooLong(ctx context.Context, took time.Duration) error {
	dependents, owner, most, err := catalog.Dependents(ctx, s.w.control, s.work.ViewID)
	if err != nil {
		return err
	}
	return &refresh.PreconditionError{
		Reason: fmt.Sprintf("to find out who reads it takes %s, and everybody who uses %s would wait for that: %d views and functions are built upon it, most of them, %d, by %s", took.Round(100*time.Millisecond), s.work.ViewName, dependents, most, owner),
		Advice: "Drop those that nobody needs.",
	}
}

func (s *pruneShell) freeze(ctx context.Context, q catalog.Querier, p *pruning, f retention.Freeze) error {
	id, known := p.ids[f.View]
	if !known {
		return fmt.Errorf("freeze view %q: it is not known any more", f.View)
	}
	var unasked *time.Time
	if f.Unasked != nil {
		at := f.Unasked.Time()
		unasked = &at
	}
	return catalog.FreezeView(ctx, q, id, p.ID, f.Below.Time(), f.Horizon.Time(), unasked)
}

// move has the gate move one partition, in a transaction of its own. It says whether the partition stays by what was
// found under its lock, and notes why; holder is who held the lock last that was not had.
func (s *pruneShell) move(ctx context.Context, p *pruning, gate uint32, step string, d retention.Decision, patience time.Duration) (stays bool, holder string, _ error) {
	target := refresh.View{
		ID: s.work.ViewID, Name: s.work.ViewName, Target: pgexec.Target{OID: p.Relation, Owner: s.work.Owner}, TimeZone: "UTC",
		StatementTimeout: pruneTimeout, LockTimeout: detachLockTimeout,
	}
	moved := catalog.Moved{
		Target: p.ID, Partition: d.Partition.OID, Name: d.Partition.Name, Bound: d.Partition.Bound, Rows: d.Partition.Rows, Bytes: d.Partition.Bytes, Reason: d.Reason,
	}
	done := false
	var parts []uint32 // of what is dropped; where others come or go before its lock is had, it is another one and stays
	onBusy := func(busy refresh.Busyness) {
		holder = busy.Holder
		if err := catalog.ReportProgress(ctx, s.w.control, s.attempt, busy.String()); err != nil {
			s.log.WarnContext(ctx, "progress could not be reported", "err", err)
		}
	}
	policy := refresh.Policy{BusyDeadline: patience, Needs: func(ctx context.Context) ([]catalog.Lock, error) {
		return catalog.PartitionLocks(ctx, s.w.control, p.Relation, d.Partition.OID, step)
	}}
	err := refresh.Step(ctx, s.session, target, gate, policy, onBusy,
		func(ctx context.Context, tx pgx.Tx) (err error) {
			if err := catalog.LetThrough(ctx, tx, s.attempt, step); err != nil {
				return err
			}
			if step == catalog.StepDropKept {
				if parts, err = catalog.WithParts(ctx, tx, d.Partition.OID); err != nil {
					return err
				}
			}
			return catalog.GivePartition(ctx, tx, s.attempt, d.Partition.OID)
		},
		func(ctx context.Context, tx pgx.Tx) (err error) {
			if err := catalog.TakePartitionBack(ctx, tx, s.attempt); err != nil {
				return err
			}
			began := time.Now()
			if err := catalog.Hurry(ctx, tx, underLocks); err != nil {
				return err
			}
			defer func() {
				if took := time.Since(began); refresh.SQLState(err) == "57014" && took >= underLocks {
					err = &slowError{took}
				}
			}()
			switch step {
			case catalog.StepDropKept:
				if done, err = catalog.Dropped(ctx, tx, s.attempt, moved); err != nil || !done {
					return err
				}
				return s.demandDrop(ctx, tx, p.ID, d, parts)
			case catalog.StepAttach:
				noted, err := catalog.NoteRestored(ctx, tx, p.ID, &s.attempt.RunID, d.Reason)
				done = noted > 0
				return err
			}
			done = true
			return s.recordDetach(ctx, tx, p, moved)
		})
	var slow *slowError
	if errors.As(err, &slow) {
		return false, "", s.tooLong(ctx, slow.took)
	}
	var kept *keptError
	if errors.As(err, &kept) {
		s.notes = append(s.notes, kept.reason)
		return true, "", nil
	}
	if err != nil || !done {
		return false, holder, err
	}
	var total *retention.Total
	switch step {
	case catalog.StepDropKept:
		total = &s.dropped
	case catalog.StepAttach:
		total = &s.attached
	default:
		total = &s.detached
		s.w.metrics.pruned.Inc()
	}
	total.Partitions++
	total.Rows += max(0, moved.Rows)
	total.Bytes += moved.Bytes
	if moved.Rows < 0 {
		total.Uncounted++
	}
	return false, "", nil
}

// demandDrop plans again for a partition that this transaction has dropped: what was committed before its lock was had
// counts, for example a legal hold, also on a part of it. Who reads what is aside does not matter, so it does for no view.
func (s *pruneShell) demandDrop(ctx context.Context, tx pgx.Tx, id int64, d retention.Decision, parts []uint32) error {
	target, err := catalog.LoadPruneTarget(ctx, tx, id)
	if err != nil {
		return err
	}
	if target == nil {
		return &keptError{reason: d.Partition.Name + " stays aside: its table is not what it was any more"}
	}
	facts, _, err := decode(target)
	if err != nil {
		return err
	}
	if d.Partition.Held, err = catalog.LegalHold(ctx, tx, parts); err != nil {
		return err
	}
	facts.Readers, facts.Relation.Partitions = nil, []retention.Partition{d.Partition}
	if again := retention.Plan(facts).Decisions[0]; again.Action != retention.Drop {
		return &keptError{reason: again.Reason}
	}
	return nil
}

// recordDetach plans again, under the locks that the DETACH holds until the transaction ends: who wrote to the
// partition has committed, or comes too late.
func (s *pruneShell) recordDetach(ctx context.Context, tx pgx.Tx, before *pruning, m catalog.Moved) error {
	aside, err := catalog.IsAside(ctx, tx, m.Target, m.Partition)
	if err != nil {
		return err
	}
	if !aside {
		return &keptError{reason: m.Name + " is not what it was any more"}
	}
	again, err := planAgain(ctx, tx, before)
	if err != nil {
		return err
	}
	if again == nil {
		return &keptError{reason: m.Name + " stays: its table is not what it was any more"}
	}
	d := again.decision(m.Partition)
	switch {
	case d == nil:
		return &keptError{reason: m.Name + " is not what it was any more"}
	case d.Action != retention.Detach: // by the name that it has again when the transaction is over
		return &keptError{reason: m.Name + strings.TrimPrefix(d.Reason, d.Partition.Name)}
	}
	m.Rows, m.Bytes = d.Partition.Rows, d.Partition.Bytes
	if err := catalog.Detached(ctx, tx, s.attempt, m, d.Bound.To.Time()); err != nil {
		return err
	}
	began := time.Now()
	for _, f := range d.Freezes {
		if err := s.freeze(ctx, tx, again, f); err != nil {
			return err
		}
		if took := time.Since(began); took > underLocks {
			return &slowError{took}
		}
	}
	return nil
}

// fail ends the run: what has left has left, and what is to be done yet the next run finds out. The view is not ill:
// its refreshes go on.
func (s *pruneShell) fail(ctx context.Context, cause error) error {
	if errors.Is(cause, catalog.ErrFenced) {
		return s.w.fenced(ctx, s.log, 0, 0)
	}
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeepingTime)
	defer cancel()
	v := judge(ended{View: s.work.ViewName, Err: cause, ShuttingDown: ctx.Err() != nil, MaxAttempts: 1})
	v.Counts, v.Pause = false, ""
	var piece *refresh.PieceError
	partitions := len(s.undone) > 0 && errors.Is(cause, s.cause())
	switch {
	case errors.As(cause, &piece) && s.work.ViewID < 0: // a table is not resumed
		v.RunState = stateFailed
		v.Reason = fmt.Sprintf("An UPDATE of its row makes it anew: UPDATE mvscheduler.source_retention SET enabled = enabled WHERE id = %d", s.work.ViewID)
	case partitions:
		v.RunState = stateFailed
		v.Reason = fmt.Sprintf("%s; tried again in %s", s.left(), prunePause)
	case refresh.Classify(cause) == refresh.Busy:
		v.RunState, v.Reason = stateFailed, fmt.Sprintf("a lock was not had in time; tried again in %s", prunePause)
	case v.Outcome == outcomeFailed && refresh.Classify(cause) != refresh.Away:
		v.RunState = stateFailed
	}
	if len(s.undone) > 0 && !partitions {
		v.Reason = s.left() + "; " + v.Reason
	}
	if s.detached.Partitions+s.dropped.Partitions+s.attached.Partitions > 0 {
		v.Reason = s.words() + "; " + v.Reason
	}
	if err := catalog.Fail(recording, s.w.control, s.attempt, v.Failure); err != nil {
		s.session.Destroy()
		if errors.Is(err, catalog.ErrFenced) {
			return s.w.fenced(ctx, s.log, 0, 0)
		}
		return s.w.later(ctx, err)
	}
	s.log.WarnContext(ctx, "pruning did not come through, will retry", "err", refresh.Describe(cause), "outcome", v.Outcome, "reason", v.Reason)
	switch {
	case v.RunState != stateQueued:
		return river.JobCancel(cause)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return river.JobSnooze(v.Retry)
}
