package jobs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/mvscheduler/mvscheduler/catalog"
)

const (
	housekeepingInterval = 5 * time.Second
	housekeepingPatience = 30 * time.Second // each of what it does may take no longer
	forgetBatch          = 2000             // runs deleted in one statement
	changesBatch         = 50_000           // entries of the change log
	webhookLease         = time.Minute      // longer than one delivery may take
	webhooksPerRound     = 20
)

// housekeeper raises alerts, tells the webhook of them, deletes old runs and finds what views follow. Any number may run at once.
type housekeeper struct {
	pool    *pgxpool.Pool // for what the webhook is told of
	own     *pgxpool.Pool // for the rest
	webhook *Webhook      // nil = none
	log     *slog.Logger
}

// Run keeps house until ctx ends, which is not an error. The webhook has a loop of its own: a receiver that
// hangs holds up nothing else.
func (h *housekeeper) Run(ctx context.Context) error {
	loops, ctx := errgroup.WithContext(ctx)
	loops.Go(func() error { return h.every(ctx, h.tick) })
	if h.webhook != nil {
		loops.Go(func() error { return h.every(ctx, h.tell) })
	}
	return loops.Wait()
}

func (h *housekeeper) every(ctx context.Context, do func(context.Context) error) error {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			h.log.WarnContext(ctx, "housekeeping failed, will retry", "err", err, "retry_in", housekeepingInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// tick does each for so long at most: how long one takes may be some user's to choose, and the others do not wait for that in vain.
func (h *housekeeper) tick(ctx context.Context) (err error) {
	for _, do := range []func(context.Context) error{
		h.alert,
		func(ctx context.Context) error { return inBatches(ctx, h.own, forgetBatch, catalog.Forget) },
		func(ctx context.Context) error { return catalog.FindUpstream(ctx, h.own) },
		func(ctx context.Context) error { return catalog.GiveUpChanges(ctx, h.own, catalog.MostChanges) },
		func(ctx context.Context) error { return inBatches(ctx, h.own, changesBatch, catalog.ForgetChanges) },
	} {
		limited, cancel := context.WithTimeout(ctx, housekeepingPatience)
		err = errors.Join(err, do(limited))
		cancel()
	}
	return err
}

func (h *housekeeper) alert(ctx context.Context) error {
	alerts, err := catalog.RaiseAlerts(ctx, h.own)
	for _, a := range alerts {
		log := h.log.WarnContext
		if a.Event == "resolved" {
			log = h.log.InfoContext
		}
		log(ctx, "alert "+a.Event, "kind", a.Kind, "view", a.ViewName, "reason", a.Reason)
	}
	return err
}

// inBatches deletes until nothing is left of it, each batch for good.
func inBatches(ctx context.Context, pool *pgxpool.Pool, batch int, forget func(context.Context, catalog.Querier, int) (int64, error)) error {
	for {
		gone, err := forget(ctx, pool, batch)
		if err != nil || gone < int64(batch) {
			return err
		}
	}
}

// tell delivers what the webhook has not taken yet, at least once. How long that takes is bound by the
// webhook; what became of a delivery is recorded during a shutdown too.
func (h *housekeeper) tell(ctx context.Context) error {
	for range webhooksPerRound {
		alert, err := catalog.ClaimAlert(ctx, h.pool, webhookLease)
		if err != nil || alert == nil {
			return err
		}
		err = h.webhook.Send(ctx, *alert)
		if err != nil {
			h.log.WarnContext(ctx, "the webhook did not take an alert, will retry", "view", alert.ViewName, "err", err)
		}
		if err := h.told(ctx, *alert, err == nil); err != nil {
			return err
		}
	}
	return nil
}

func (h *housekeeper) told(ctx context.Context, alert catalog.Alert, taken bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeepingTime)
	defer cancel()
	return catalog.AlertTold(ctx, h.pool, alert, taken)
}
