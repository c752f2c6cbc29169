package jobs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mvscheduler/mvscheduler/catalog"
)

const (
	housekeepingInterval = 5 * time.Second
	housekeepingPatience = 30 * time.Second // one round may take no longer
	forgetBatch          = 2000             // runs deleted in one statement
	webhookLease         = time.Minute      // longer than one delivery may take
	webhooksPerRound     = 20
)

// housekeeper raises alerts, tells the webhook of them and deletes old runs. Any number may run at once.
type housekeeper struct {
	pool    *pgxpool.Pool
	webhook *Webhook // nil = none
	log     *slog.Logger
}

// Run keeps house until ctx ends, which is not an error.
func (h *housekeeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for {
		if err := h.tick(ctx); err != nil && ctx.Err() == nil {
			h.log.WarnContext(ctx, "housekeeping failed, will retry", "err", err, "retry_in", housekeepingInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (h *housekeeper) tick(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, housekeepingPatience)
	defer cancel()
	if err := catalog.ReportBuilds(ctx, h.pool); err != nil {
		return err
	}
	alerts, err := catalog.RaiseAlerts(ctx, h.pool)
	if err != nil {
		return err
	}
	for _, a := range alerts {
		log := h.log.WarnContext
		if a.Event == "resolved" {
			log = h.log.InfoContext
		}
		log(ctx, "alert "+a.Event, "kind", a.Kind, "view", a.ViewName, "reason", a.Reason)
	}
	return errors.Join(h.forget(ctx), h.tell(ctx))
}

// forget deletes the history that is older than its keeping.
func (h *housekeeper) forget(ctx context.Context) error {
	for {
		gone, err := catalog.Forget(ctx, h.pool, forgetBatch)
		if err != nil || gone < forgetBatch {
			return err
		}
	}
}

// tell delivers what the webhook has not taken yet, at least once.
func (h *housekeeper) tell(ctx context.Context) error {
	if h.webhook == nil {
		return nil
	}
	for range webhooksPerRound {
		alert, err := catalog.ClaimAlert(ctx, h.pool, webhookLease)
		if err != nil || alert == nil {
			return err
		}
		err = h.webhook.Send(ctx, *alert)
		if err != nil {
			h.log.WarnContext(ctx, "the webhook did not take an alert, will retry", "view", alert.ViewName, "err", err)
		}
		if err := catalog.AlertTold(ctx, h.pool, *alert, err == nil); err != nil {
			return err
		}
	}
	return nil
}
