package jobs

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/refresh"
	"github.com/mvscheduler/mvscheduler/retention"
)

const (
	pruneLooks    = time.Second      // how often it is looked which rows of source_retention were changed
	pruneAllEvery = 30 * time.Second // how often everything is planned, whether it was refreshed or not
	pruneRound    = 30 * time.Second // one look may take no longer, and after that long no other one begins in a round
)

// pruner finds out of what partitions have to leave, and makes runs that prune. Any number may run at once.
type pruner struct {
	control   *pgxpool.Pool
	river     *river.Client[pgx.Tx]
	log       *slog.Logger
	refreshed chan int64 // views
	asked     map[int64]time.Time
	took      turns
	waiting   sync.Map // views of which partitions have to move, while a run is under way
}

func newPruner(control *pgxpool.Pool, log *slog.Logger) *pruner {
	return &pruner{control: control, log: log, refreshed: make(chan int64, 256), asked: make(map[int64]time.Time), took: make(turns)}
}

// notice has it looked whether something can leave after a refresh. It never waits: what is not noticed is found a
// little later.
func (p *pruner) notice(work catalog.Work) {
	if work.Method != refresh.Incremental {
		return
	}
	select {
	case p.refreshed <- work.ViewID:
	default:
	}
}

// follow makes the run that prunes a view in the transaction that ends another run of it, where it waits for that: of a
// view that is refreshed without a pause the dispatcher makes the next run sooner than we have looked. What comes in the way is no
// reason to do all that was done again.
func (p *pruner) follow(ctx context.Context, tx pgx.Tx, view int64) {
	if _, waits := p.waiting.LoadAndDelete(view); !waits {
		return
	}
	err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		queued, err := catalog.QueuePruneAfter(ctx, savepoint, view, prunePause)
		if err != nil {
			return err
		}
		return insertJobs(ctx, p.river, savepoint, queued)
	})
	if err != nil {
		p.log.WarnContext(ctx, "a run that prunes could not be made, will retry", "view_id", view, "err", err)
	}
}

// Run looks until ctx ends, which is not an error.
func (p *pruner) Run(ctx context.Context) error {
	ticker := time.NewTicker(pruneLooks)
	defer ticker.Stop()
	var last time.Time
	for {
		var ids []int64
		var err error
		looking, cancel := context.WithTimeout(ctx, pruneRound)
		select {
		case <-ctx.Done():
			cancel()
			return nil
		case view := <-p.refreshed:
			ids, err = catalog.PruneConcerned(looking, p.control, view)
		case <-ticker.C:
			if time.Since(last) >= pruneAllEvery {
				last = time.Now()
				ids, err = catalog.PruneCandidates(looking, p.control)
				err = errors.Join(err, catalog.ForgetPrunings(looking, p.control))
			}
			changed, changedErr := p.changed(looking)
			ids, err = append(ids, changed...), errors.Join(err, changedErr)
		}
		cancel()
		err = errors.Join(err, p.took.each(ids, time.Now, func(id int64) error {
			looking, cancel := context.WithTimeout(ctx, pruneRound)
			defer cancel()
			return p.look(looking, id)
		}))
		if err != nil && ctx.Err() == nil {
			p.log.WarnContext(ctx, "what retention concerns could not be looked at, will retry", "err", err)
		}
	}
}

// turns is how long it took to look at targets. How long that is their owners choose, and others wait meanwhile: those that take
// long come last.
type turns map[int64]time.Duration

// each looks at the targets for as long as a round lasts. One that it does not come to counts half from then on, so that
// it comes forward.
func (t turns) each(ids []int64, now func() time.Time, look func(int64) error) (err error) {
	slices.SortStableFunc(ids, func(a, b int64) int { return cmp.Compare(t[a], t[b]) })
	round := now()
	for _, id := range ids {
		began := now()
		if began.Sub(round) >= pruneRound {
			t[id] /= 2
			continue
		}
		err = errors.Join(err, look(id))
		t[id] = now().Sub(began)
	}
	return err
}

// changed are the tables whose rows in source_retention were written or deleted since it was looked last.
func (p *pruner) changed(ctx context.Context) ([]int64, error) {
	asked, err := catalog.PruneAsked(ctx, p.control)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for id, at := range asked {
		if !at.Equal(p.asked[id]) {
			ids = append(ids, id)
		}
	}
	for id := range p.asked {
		if _, there := asked[id]; !there { // what it has frozen may be followed again
			ids = append(ids, id)
		}
	}
	p.asked = asked
	return ids, nil
}

// look makes a run where there is something to do.
func (p *pruner) look(ctx context.Context, id int64) error {
	if _, err := catalog.NoteRestored(ctx, p.control, id, nil, catalog.ByOwner); err != nil {
		return err
	}
	var plan *pruning
	err := pgx.BeginFunc(ctx, p.control, func(tx pgx.Tx) (err error) {
		if _, err = tx.Exec(ctx, `SET LOCAL lock_timeout = '50ms'`); err == nil { // others wait for their turn
			plan, err = planPruning(ctx, tx, id, nil)
		}
		return err
	})
	if refresh.Classify(err) == refresh.Busy { // DDL on the table, perhaps a run that prunes it
		return nil
	}
	p.waiting.Delete(id)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) { // the run says why, to who can change it
		return errors.Join(err, p.queue(context.WithoutCancel(ctx), id, nil))
	}
	if err != nil || plan == nil || plan.plan.Empty() {
		return err
	}
	return p.queue(ctx, id, plan)
}

// queue makes the run; without a plan where it takes too long to make one.
func (p *pruner) queue(ctx context.Context, id int64, plan *pruning) error {
	ctx, cancel := context.WithTimeout(ctx, bookkeepingTime)
	defer cancel()
	return pgx.BeginFunc(ctx, p.control, func(tx pgx.Tx) error {
		queued, err := catalog.QueuePrune(ctx, tx, id, prunePause)
		if err != nil {
			return err
		}
		if len(queued) == 0 {
			p.waiting.Store(id, nil)
			return nil
		}
		if plan == nil {
			return insertJobs(ctx, p.river, tx, queued)
		}
		detach, drop, attach := plan.plan.Total(retention.Detach), plan.plan.Total(retention.Drop), plan.plan.Total(retention.Attach)
		p.log.InfoContext(ctx, "partitions have to move", "view", plan.Name, "detach", detach.Partitions, "drop", drop.Partitions, "attach", attach.Partitions)
		return insertJobs(ctx, p.river, tx, queued)
	})
}
