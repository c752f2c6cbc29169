package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Read is a query and where its answer goes. Several are asked in one round trip, in their order.
type Read struct {
	What    string // for people: what failed
	SQL     string
	Args    []any
	Collect func(pgx.Rows) error
}

// Queue has the answer taken when the results of the batch are closed.
func (r Read) Queue(batch *pgx.Batch) {
	batch.Queue(r.SQL, r.Args...).Query(r.take)
}

// Batcher is what a pool, a connection and a transaction have in common.
type Batcher interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Together asks for all in one round trip.
func Together(ctx context.Context, q Batcher, reads ...Read) error {
	var batch pgx.Batch
	for _, r := range reads {
		r.Queue(&batch)
	}
	return q.SendBatch(ctx, &batch).Close()
}

// Alone asks for it by itself.
func (r Read) Alone(ctx context.Context, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) error {
	rows, err := q.Query(ctx, r.SQL, r.Args...)
	if err != nil {
		return fmt.Errorf("%s: %w", r.What, err)
	}
	return r.take(rows)
}

func (r Read) take(rows pgx.Rows) error {
	if err := r.Collect(rows); err != nil {
		return fmt.Errorf("%s: %w", r.What, err)
	}
	return nil
}
