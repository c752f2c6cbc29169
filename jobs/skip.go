package jobs

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
	"github.com/mvscheduler/mvscheduler/refresh"
)

// watchInterval is how often a sidecar looks which sessions are idle: the closer it looks, the closer to
// the present is what a skip proves.
const watchInterval = 2 * time.Second

// judgement is what a worker knows before it opens an attempt.
type judgement struct {
	refresh.Skip
	Token string // what the contents will depend on; empty = unknown
}

// skipper finds out whether anything changed below a view.
type skipper struct {
	control     *pgxpool.Pool
	log         *slog.Logger
	activity    refresh.Activity
	definitions refresh.Definitions
}

// Run watches the sessions of the database until ctx ends, which is not an error.
func (s *skipper) Run(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		looking, cancel := context.WithTimeout(ctx, watchInterval)
		if _, err := s.activity.Horizon(looking, s.control); err != nil {
			s.log.DebugContext(ctx, "the sessions of the database could not be looked at", "err", err)
		}
		cancel()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// judge says whether the run can be skipped. It never fails: what cannot be found out is no reason to
// skip.
func (s *skipper) judge(ctx context.Context, session *pgexec.Session, work catalog.Work) judgement {
	facts := refresh.SkipFacts{
		Asked:    work.Asked,
		Tracking: work.ChangeTracking, Skips: work.Skips, MaxSkips: work.MaxSkips,
		Target: work.Target, UpstreamUnknown: work.UpstreamUnknown, UpstreamAsOf: work.UpstreamAsOf,
	}
	if work.ChangeToken != nil {
		facts.Before = *work.ChangeToken
	}
	if work.Contents != nil {
		facts.BeforeContents = *work.Contents
	}
	if work.DataAsOf != nil {
		facts.BeforeAsOf = *work.DataAsOf
	}
	if work.RefreshBegan != nil {
		facts.BeforeBegan = *work.RefreshBegan
	}
	var err error
	if facts.Horizon, err = s.activity.Recent(ctx, s.control, min(work.Target/10, watchInterval)); err == nil {
		facts.Token, err = refresh.ReadToken(ctx, s.control, session.Settings(), view(work), &s.definitions) // after the horizon
	}
	if err != nil {
		s.log.WarnContext(ctx, "whether anything changed could not be found out", "view", work.ViewName, "run_id", work.RunID, "err", err)
		return judgement{Skip: refresh.Skip{Reason: "not skipped: whether anything changed could not be found out"}}
	}
	j := judgement{Skip: refresh.DecideSkip(facts)}
	if j.Skip.Skip || facts.Token.Unknown != "" {
		return j
	}
	if err := catalog.Settle(ctx, s.control); err != nil { // else the refresh may not see what the token stands for
		s.log.WarnContext(ctx, "what the next run compares with is not known", "view", work.ViewName, "run_id", work.RunID, "err", err)
		return j
	}
	j.Token = facts.Token.Value
	return j
}

// skip ends the run and its job in one transaction.
func (w *RefreshWorker) skip(ctx context.Context, job *river.Job[RefreshArgs], work catalog.Work, verdict judgement) error {
	err := pgx.BeginFunc(ctx, w.control, func(tx pgx.Tx) error {
		if err := catalog.Skip(ctx, tx, work.RunID, job.ID, w.name, verdict.Reason, verdict.AsOf); err != nil {
			return err
		}
		return w.complete(ctx, tx, job, work)
	})
	if err != nil {
		return err
	}
	w.metrics.skipped()
	w.log.DebugContext(ctx, "skipped", "view", work.ViewName, "run_id", work.RunID, "reason", verdict.Reason)
	return nil
}
