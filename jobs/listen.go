package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// hintChannel is where the catalog's triggers say that something may be due. Every role can NOTIFY, so
// a notification is only a reason to look, its payload is not read, and its rate is bounded by the
// dispatcher.
const hintChannel = "mvscheduler_due"

// listener turns notifications into hints. It holds one connection of its own.
type listener struct {
	config *pgx.ConnConfig
	log    *slog.Logger
	hint   func()
}

// Run listens until ctx ends, which is not an error. While the server is away it tries again; polling
// goes on meanwhile.
func (l *listener) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := l.listen(ctx); err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "listening for hints failed, will retry", "err", err, "retry_in", pollInterval)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollInterval):
		}
	}
	return nil
}

func (l *listener) listen(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, l.config)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+hintChannel); err != nil {
		return err
	}
	l.hint() // what was notified while nobody listened
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
		l.hint()
	}
}

// driver is River's driver for pgx with a deaf ear: of what arrives by LISTEN only the hint that a job
// was inserted gets through. River would obey its control channel, on which any role can NOTIFY, to
// pause queues, cancel jobs and give up leadership.
type driver struct{ *riverpgxv5.Driver }

// UnwrapExecutor is what River inserts jobs with.
func (d driver) UnwrapExecutor(tx pgx.Tx) riverdriver.ExecutorTx {
	return sparing{d.Driver.UnwrapExecutor(tx)}
}

// sparing leaves a notification out when the server's queue of them is half full. A transaction that
// notifies fails when it is full, and any role can fill it: with a session that listens and keeps a
// transaction open, and another that notifies.
type sparing struct{ riverdriver.ExecutorTx }

func (s sparing) NotifyMany(ctx context.Context, params *riverdriver.NotifyManyParams) error {
	var usage float64
	if err := s.QueryRow(ctx, `SELECT pg_catalog.pg_notification_queue_usage()`).Scan(&usage); err != nil {
		return fmt.Errorf("look at the queue of notifications: %w", err)
	}
	if usage > 0.5 {
		return nil
	}
	return s.ExecutorTx.NotifyMany(ctx, params)
}

func (d driver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return insertHints{d.Driver.GetListener(params)}
}

type insertHints struct{ riverdriver.Listener }

const insertTopic = "river_insert"

// WaitForNotification returns the next hint. Its payload is ours, not the sender's.
func (l insertHints) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	for {
		notification, err := l.Listener.WaitForNotification(ctx)
		if err != nil {
			return nil, err
		}
		if notification.Topic == insertTopic {
			return &riverdriver.Notification{Topic: insertTopic, Payload: `{"queue":"` + refreshQueue + `"}`}, nil
		}
	}
}
