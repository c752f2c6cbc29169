package jobs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/mvscheduler/mvscheduler/catalog"
)

const (
	reapInterval    = 2 * time.Second
	orphanPatience  = 10 * time.Second // a job that was fetched this long ago and has not begun is given up
	stopGrace       = 5 * time.Second  // between cancelling a backend and terminating it
	yieldsPerRun    = 3                // times that one run makes way for DDL
	reapersPatience = 30 * time.Second // one round may take no longer
	reapBatch       = 200
)

// Reaper cleans up after workers that died and stops what has to be stopped. It trusts the server's
// list of backends and no one's word; any number of reapers may run at once.
type Reaper struct {
	pool          *pgxpool.Pool
	river         *river.Client[pgx.Tx]
	log           *slog.Logger
	metrics       *Metrics
	yieldPatience time.Duration // how long somebody's DDL waits behind a refresh before it is stopped
}

// Run reaps until ctx ends, which is not an error.
func (r *Reaper) Run(ctx context.Context) error {
	ticker := time.NewTicker(reapInterval)
	defer ticker.Stop()
	for {
		if err := r.Tick(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "clean-up failed, will retry", "err", err, "retry_in", reapInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Tick is one round of the reaper.
func (r *Reaper) Tick(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reapersPatience)
	defer cancel()

	// Each step is tried: what hinders one of them must not leave lost runs where they are.
	return errors.Join(
		r.stop(ctx),
		r.reapLost(ctx),
		catalog.EndCancelled(ctx, r.pool),
		r.adoptOrphans(ctx),
		catalog.BuryJobs(ctx, r.pool),
		catalog.Hasten(ctx, r.pool),
	)
}

// stop ends the queries of attempts that have to stop.
func (r *Reaper) stop(ctx context.Context) error {
	if err := catalog.MarkStops(ctx, r.pool, r.yieldPatience, yieldsPerRun); err != nil {
		return err
	}
	stopped, err := catalog.StopBackends(ctx, r.pool, stopGrace)
	for _, s := range stopped {
		r.log.WarnContext(ctx, "stopped a refresh", "view", s.ViewName, "run_id", s.RunID, "reason", s.Stop,
			"backend_pid", s.PID, "terminated", s.Terminated)
	}
	return err
}

// reapLost ends attempts whose backend is gone and gives their runs to the next worker.
func (r *Reaper) reapLost(ctx context.Context) error {
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		lost, err := catalog.LockLost(ctx, tx, reapBatch)
		if err != nil {
			return err
		}
		var again []catalog.Queued
		for _, l := range lost {
			v := afterLoss(l)
			if err := catalog.Fail(ctx, tx, l.Attempt, v.Failure); err != nil {
				return err
			}
			if v.RunState == stateQueued {
				again = append(again, catalog.Queued{RunID: l.RunID, Priority: l.Priority, After: v.Retry})
			}
			r.metrics.lost()
			r.log.WarnContext(ctx, "attempt lost, its backend is gone", "view", l.ViewName, "run_id", l.RunID,
				"attempt", l.Number, "outcome", v.Outcome, "run_state", v.RunState)
		}
		return insertJobs(ctx, r.river, tx, again)
	})
}

// adoptOrphans gives a new job to each queued run that none carries.
func (r *Reaper) adoptOrphans(ctx context.Context) error {
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		orphans, err := catalog.LockOrphans(ctx, tx, orphanPatience, reapBatch)
		if err != nil {
			return err
		}
		queued := make([]catalog.Queued, len(orphans))
		for i, o := range orphans {
			queued[i] = catalog.Queued{RunID: o.RunID, Priority: o.Priority}
			r.log.WarnContext(ctx, "a queued run had no live job and got a new one", "view", o.ViewName, "run_id", o.RunID)
		}
		return insertJobs(ctx, r.river, tx, queued)
	})
}
