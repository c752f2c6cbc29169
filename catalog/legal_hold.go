package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// WithParts are a partition and all that is below it.
func WithParts(ctx context.Context, q Querier, partition uint32) ([]uint32, error) {
	rows, err := q.Query(ctx, `
WITH RECURSIVE tree(oid) AS (
    SELECT $1::oid
     UNION
    SELECT i.inhrelid FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid
)
SELECT t.oid FROM tree AS t`, partition)
	if err != nil {
		return nil, fmt.Errorf("look for the parts of a partition: %w", err)
	}
	parts, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, fmt.Errorf("look for the parts of a partition: %w", err)
	}
	return parts, nil
}

// LegalHold names one of some tables that has a legal hold, which may be gone; empty = none has.
func LegalHold(ctx context.Context, q Querier, tables []uint32) (held string, err error) {
	err = q.QueryRow(ctx, `SELECT coalesce(min(r.name), '') FROM mvscheduler.source_state AS r WHERE r.legal_hold AND r.relation::oid = ANY ($1::oid[])`, tables).Scan(&held)
	if err != nil {
		return "", fmt.Errorf("look for legal holds on the parts of a partition: %w", err)
	}
	return held, nil
}
