package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// RememberedRuns is how many runs of each method the choice of a method looks back on.
const RememberedRuns = 20

// Measured is what one refresh cost.
type Measured struct {
	RunID          int64
	Method         string // full or concurrent
	GaveUp         string // method that was tried first, in vain; empty = none
	StartedAt      time.Time
	Took           time.Duration // from the start of the transaction until right before it committed
	WALBytes       int64
	Rows           *int64 // in the view afterwards; nil = unknown
	Changed        *int64 // rows inserted and deleted; nil = unknown
	SizeBytes      int64  // of the view afterwards, with indexes and TOAST
	ReadersWaiting int    // sessions that waited to read the view when the refresh ended
	Reason         string
}

const measured = `
SELECT r.id AS run_id, m.method, coalesce(r.gave_up, '') AS gave_up, coalesce(r.started_at, r.finished_at) AS started_at, r.took, coalesce(r.wal_bytes, 0) AS wal_bytes, r.rows, r.changed,
       coalesce(r.size_bytes, 0) AS size_bytes, coalesce(r.readers_waiting, 0) AS readers_waiting, coalesce(r.reason, '') AS reason
  FROM (VALUES ('full'), ('concurrent')) AS m(method)
 CROSS JOIN LATERAL (
        SELECT *
          FROM %s AS r
         WHERE r.view_id = $1
           AND r.method = m.method
           AND r.took IS NOT NULL
         ORDER BY r.id DESC
         LIMIT $2) AS r
 ORDER BY r.id DESC`

// LoadMeasured reads the last refreshes of a view that ended well, at most [RememberedRuns] of each
// method, the newest first. It reads the private table, by an index of its own.
func LoadMeasured(ctx context.Context, q Querier, viewID int64) ([]Measured, error) {
	return loadMeasured(ctx, q, "mvscheduler.run", viewID)
}

// MeasuredRuns is LoadMeasured for any caller who may see the view's runs.
func MeasuredRuns(ctx context.Context, q Querier, viewID int64) ([]Measured, error) {
	return loadMeasured(ctx, q, "mvscheduler.runs", viewID)
}

func loadMeasured(ctx context.Context, q Querier, from string, viewID int64) ([]Measured, error) {
	rows, err := q.Query(ctx, fmt.Sprintf(measured, from), viewID, RememberedRuns)
	if err != nil {
		return nil, fmt.Errorf("read what refreshes of view %d cost: %w", viewID, err)
	}
	runs, err := pgx.CollectRows(rows, pgx.RowToStructByName[Measured])
	if err != nil {
		return nil, fmt.Errorf("read what refreshes of view %d cost: %w", viewID, err)
	}
	return runs, nil
}

// TookLately reads how long the last refreshes of a view took by the method in force, at most [RememberedRuns] of them,
// for any caller who may see its runs.
func TookLately(ctx context.Context, q Querier, viewID int64) ([]time.Duration, error) {
	rows, err := q.Query(ctx, `
SELECT r.took
  FROM mvscheduler.runs AS r
  JOIN mvscheduler.status AS s ON s.id = r.view_id AND s.method = r.method
 WHERE r.view_id = $1
   AND r.took IS NOT NULL
 ORDER BY r.id DESC
 LIMIT $2`, viewID, RememberedRuns)
	if err != nil {
		return nil, fmt.Errorf("read how long refreshes of view %d took: %w", viewID, err)
	}
	took, err := pgx.CollectRows(rows, pgx.RowTo[time.Duration])
	if err != nil {
		return nil, fmt.Errorf("read how long refreshes of view %d took: %w", viewID, err)
	}
	return took, nil
}

// Storage is what a materialized view takes now, by the server's counters.
type Storage struct {
	SizeBytes int64 `json:"size_bytes"` // with indexes and TOAST
	LiveRows  int64 `json:"live_rows"`
	DeadRows  int64 `json:"dead_rows"` // not yet removed by VACUUM
}

// StorageOf looks at a materialized view by its qualified name; nil when there is none.
func StorageOf(ctx context.Context, q Querier, name string) (*Storage, error) {
	rows, err := q.Query(ctx, `
SELECT coalesce(pg_total_relation_size(c.oid), 0) AS size_bytes, coalesce(pg_stat_get_live_tuples(c.oid), 0) AS live_rows,
       coalesce(pg_stat_get_dead_tuples(c.oid), 0) AS dead_rows
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind = 'm'
   AND format('%I.%I', n.nspname, c.relname) = $1`, name)
	if err != nil {
		return nil, fmt.Errorf("look at the storage of view %q: %w", name, err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Storage])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the storage of view %q: %w", name, err)
	}
	return s, nil
}
