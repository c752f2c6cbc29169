package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/mvscheduler/mvscheduler/catalog"
)

const (
	pollInterval = time.Second           // how often due views are looked for when no hint comes
	batchSize    = 200                   // views claimed in one transaction
	hintsAtMost  = 50 * time.Millisecond // hints of others are heeded no more often than this
	endsAtMost   = 10 * time.Millisecond // and ends of our own runs no more often than this
	giveUpAfter  = 30 * time.Second      // one tick may take no longer
	slowestRetry = 5 * time.Second       // while the server is away
)

// Dispatcher turns due views into queued runs. Any number of dispatchers may run at once.
type Dispatcher struct {
	pool     *pgxpool.Pool
	river    *river.Client[pgx.Tx]
	log      *slog.Logger
	metrics  *Metrics
	ownerCap int             // never more runs of one owner than this, whatever the settings say
	hints    <-chan struct{} // wakes the loop before its time; anybody may send one
	ends     <-chan struct{} // the same when a run of this process has ended, whose place is free for another
}

// Run dispatches until ctx ends, which is not an error. It survives a server that is away.
func (d *Dispatcher) Run(ctx context.Context) error {
	var failures int
	for ctx.Err() == nil {
		started := time.Now()
		claimed, next, err := d.Tick(ctx)
		if ctx.Err() != nil {
			break
		}
		var wait time.Duration
		switch {
		case err != nil:
			failures++
			wait = min(slowestRetry, time.Duration(1<<min(failures, 6))*100*time.Millisecond)
			wait += rand.N(wait / 2)
			d.log.WarnContext(ctx, "dispatch failed, will retry", "err", err, "retry_in", wait)
		case claimed == batchSize:
			failures = 0
		default:
			failures, wait = 0, min(pollInterval, max(next, time.Millisecond))
		}
		if !d.sleep(ctx, wait, started, time.Since(started)) {
			return nil
		}
	}
	return nil //nolint:nilerr // the end of ctx is not an error
}

// sleep waits for so long, or until a hint comes and the last tick is old enough. It reports whether ctx goes on.
// While runs end all the time, half of the time at most is spent on ticks, which are long when much is due.
func (d *Dispatcher) sleep(ctx context.Context, wait time.Duration, lastTick time.Time, took time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	atMost := hintsAtMost
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-d.hints:
	case <-d.ends:
		atMost = min(hintsAtMost, max(endsAtMost, 2*took))
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-time.After(time.Until(lastTick.Add(atMost))):
		return true
	}
}

// Tick claims what is due now. It returns how many views it decided about and how long it is until the
// next one is due; zero or less means that one is due already, the poll interval that none is known.
func (d *Dispatcher) Tick(ctx context.Context) (int, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUpAfter)
	defer cancel()

	var (
		now     time.Time
		decided int
	)
	err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var (
			ownerCap int
			err      error
		)
		if now, ownerCap, err = catalog.Tick(ctx, tx); err != nil {
			return err
		}
		decided, err = d.claim(ctx, tx, now, ownerCap)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	next, err := catalog.UntilNextDue(ctx, d.pool, now)
	if err != nil {
		return decided, 0, err
	}
	if next == nil {
		return decided, pollInterval, nil
	}
	return decided, *next, nil
}

// claim decides about each due view, writes the decisions and gives each queued run its River job.
func (d *Dispatcher) claim(ctx context.Context, tx pgx.Tx, now time.Time, ownerCap int) (int, error) {
	due, err := catalog.LockDue(ctx, tx, now, min(ownerCap, d.ownerCap), batchSize)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	decisions := make([]catalog.Decision, 0, len(due))
	for _, view := range due {
		decision := catalog.Decide(view, now)
		if decision.Pause != nil {
			d.log.ErrorContext(ctx, "the view is paused", "view", view.Name, "reason", decision.Pause.Reason)
		}
		decisions = append(decisions, decision)
	}
	queued, err := catalog.Apply(ctx, tx, now, decisions)
	if err != nil {
		return 0, err
	}
	if err := insertJobs(ctx, d.river, tx, queued); err != nil {
		return 0, err
	}
	d.metrics.dispatched(decisions)
	return len(due), nil
}

// insertJobs gives each run a River job, in the transaction that made the run.
func insertJobs(ctx context.Context, client *river.Client[pgx.Tx], tx pgx.Tx, queued []catalog.Queued) error {
	if len(queued) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(queued))
	for i, q := range queued {
		opts := &river.InsertOpts{Priority: int(q.Priority)}
		if q.After > 0 {
			opts.ScheduledAt = time.Now().Add(q.After)
		}
		params[i] = river.InsertManyParams{Args: RefreshArgs{RunID: q.RunID}, InsertOpts: opts}
	}
	inserted, err := client.InsertManyTx(ctx, tx, params)
	if err != nil {
		return fmt.Errorf("insert %d jobs: %w", len(queued), err)
	}
	if len(inserted) != len(queued) {
		return errors.New("insert jobs: River returned another number of jobs than it was given")
	}
	runs, jobs := make([]int64, len(queued)), make([]int64, len(queued))
	for i := range queued {
		runs[i], jobs[i] = queued[i].RunID, inserted[i].Job.ID
	}
	return catalog.SetJobs(ctx, tx, runs, jobs)
}
