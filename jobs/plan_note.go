package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// thoughts are views that were thought about, and what is to be written of them.
type thoughts struct {
	views  []int64
	clocks []string // what was thought of the clock of each of the views
	advice []catalog.Advice
}

// note writes what was thought about until an instant, many views in one statement.
func (p *planner) note(ctx context.Context, at time.Time, t *thoughts) (err error) {
	defer func() { *t = thoughts{t.views[:0], t.clocks[:0], t.advice[:0]} }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeepingTime) // also when the time to think is over
	defer cancel()
	if len(t.advice) > 0 {
		_, err = catalog.WriteAdvice(ctx, p.pool, t.advice...)
	}
	if err != nil && len(t.advice) > 1 { // one of them is not to take the others with it
		err = nil
		for _, a := range t.advice {
			_, failed := catalog.WriteAdvice(ctx, p.pool, a)
			err = errors.Join(err, failed)
		}
	}
	return errors.Join(err, catalog.NoteThought(ctx, p.pool, at, t.views, t.clocks))
}

// apply writes what is recommended for a view and puts it in force, as far as its row lets the sidecar.
func (p *planner) apply(ctx context.Context, a catalog.Advice, shrinkSince *time.Time) error {
	var applied []int64
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) (err error) {
		if err = catalog.NoteShrink(ctx, tx, a.ViewID, shrinkSince); err != nil {
			return err
		}
		applied, err = catalog.Recommend(ctx, tx, a)
		return err
	})
	if err == nil && len(applied) > 0 {
		p.log.InfoContext(ctx, "tuned a view", "view", a.Name, "recommendation", applied)
	}
	return err
}
