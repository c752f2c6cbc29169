package jobs

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// track has the gate make the triggers that are missing, some at a time.
func (s *incrementShell) track(ctx context.Context) error {
	if refresh.Untracked(s.below.leaves, s.below.tracking) == 0 {
		return nil
	}
	s.looked, s.made = false, true
	for left, before := refresh.Untracked(s.below.leaves, s.below.tracking), math.MaxInt; left > 0 && left < before; {
		err := s.step(ctx, catalog.StepTrack, func(ctx context.Context, tx pgx.Tx) error { return catalog.Closed(ctx, tx, s.attempt) })
		if err != nil {
			return err
		}
		leaves, err := catalog.LoadLeaves(ctx, s.w.control, s.work.ViewID)
		if err != nil {
			return err
		}
		left, before = refresh.Untracked(leaves, s.below.tracking), left
	}
	var err error
	if s.below, err = s.w.lookBelow(ctx, s.work, s.made); err == nil {
		s.log.InfoContext(ctx, "triggers were made that note what changes")
	}
	return err
}

// fill builds the first contents partition by partition, unless they are there. It goes on where an earlier attempt
// was; what changed meanwhile the increment brings that follows. The zero Filling means that there was nothing to do.
func (s *incrementShell) fill(ctx context.Context) (catalog.Filling, error) {
	if s.below.Leaves != nil && (s.below.Fill == nil || !s.below.Seen) {
		return catalog.Filling{}, nil
	}
	if s.below.Fill == nil {
		now, err := s.w.lookBelow(ctx, s.work, s.made) // with the triggers that were made
		if err != nil {
			return catalog.Filling{}, err
		}
		since, err := catalog.NextTransaction(ctx, s.w.control)
		if err != nil {
			return catalog.Filling{}, err
		}
		refresh.Mark(nil, now.leaves, since)
		if err := catalog.BeginFill(ctx, s.w.control, s.work.ViewID, s.below.Data, now.leaves, s.below.tracking, s.below.reason); err != nil {
			return catalog.Filling{}, err
		}
	}
	if !s.below.Bound { // in one go, see dirt
		return catalog.Filling{}, nil
	}
	began, first := time.Now(), -1.0
	for {
		far, err := catalog.LoadFilling(ctx, s.w.control, s.work.ViewID, s.below.Data)
		if err != nil || far.Done {
			return far, err
		}
		if first < 0 {
			first = far.Share
		}
		done := howFar(far, first, time.Since(began))
		if err := catalog.ReportPhase(ctx, s.w.control, s.attempt, "filling the view, newest first", &done); err != nil {
			s.log.WarnContext(ctx, "progress could not be reported", "err", err)
		}
		err = s.step(ctx, catalog.StepBuild, func(ctx context.Context, tx pgx.Tx) error {
			err := catalog.TakeBack(s.attempt, new(catalog.StepResult)).Alone(ctx, tx)
			return err
		})
		if err != nil {
			return catalog.Filling{}, err
		}
	}
}

// howFar says what is filled, and how long the rest takes at the rate since it was at a share.
func howFar(far catalog.Filling, first float64, since time.Duration) catalog.ServerProgress {
	p := catalog.Progress{Buckets: far.Buckets, Total: far.Total(), Rows: far.Rows}
	what := buckets(p.Buckets)
	if p.Total > 0 {
		what = fmt.Sprintf("%d of about %s", p.Buckets, buckets(p.Total))
	}
	what += fmt.Sprintf(", %d rows", p.Rows)
	if far.From != nil {
		what += ", from " + far.From.UTC().Format("2006-01-02") + " on"
	}
	if far.Share >= first+0.01 { // before, the rate says nothing
		p.Left = time.Duration(float64(since) * (1 - far.Share) / (far.Share - first))
		what += fmt.Sprintf(", about %s left", p.Left.Round(time.Second))
	}
	return catalog.ServerProgress{What: what, Percent: far.Percent(), Fill: &p}
}

func buckets(n int64) string {
	if n == 1 {
		return "1 bucket"
	}
	return fmt.Sprintf("%d buckets", n)
}

func partitions[N int | int64](n N) string {
	if n == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%d partitions", n)
}

// step runs one step of the gate, in a transaction of its own.
func (s *incrementShell) step(ctx context.Context, name string, done func(ctx context.Context, tx pgx.Tx) error) error {
	policy := s.policy
	policy.Needs = func(ctx context.Context) ([]catalog.Lock, error) { return s.needs(ctx, name) }
	return refresh.Step(ctx, s.session, view(s.work), s.below.Gate, policy, s.onBusy,
		func(ctx context.Context, tx pgx.Tx) error { return catalog.LetThrough(ctx, tx, s.attempt, name) }, done)
}

// needs are the locks that a step may ask for: who holds one that was not had is told.
func (s *incrementShell) needs(ctx context.Context, step string) (needs []catalog.Lock, err error) {
	if err := catalog.ReadIncrementLocks(s.at, &needs).Alone(ctx, s.w.control); err != nil {
		return nil, err
	}
	needs = append(needs, catalog.Lock{Relation: s.below.Gate, Mode: "AccessExclusiveLock"})
	for oid := range s.below.files {
		needs = append(needs, catalog.Lock{Relation: oid, Mode: "AccessShareLock"})
	}
	if step == catalog.StepTrack {
		for oid := range s.below.leaves { // CREATE TRIGGER
			needs = append(needs, catalog.Lock{Relation: oid, Mode: "ShareRowExclusiveLock"})
		}
	}
	return needs, nil
}
