package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const selectRunsSince = runColumns + `
 WHERE r.view_id = ANY ($1)
   AND (r.finished_at IS NULL OR r.finished_at >= clock_timestamp() - $2::interval)
 ORDER BY r.id DESC
 LIMIT $3`

// RunsSince reads the runs of some views that ended not longer ago than this, or have not ended: the newest
// first, at most limit.
func RunsSince(ctx context.Context, q Querier, views []int64, ago time.Duration, limit int) ([]RunRecord, error) {
	rows, err := q.Query(ctx, selectRunsSince, views, ago, limit)
	if err != nil {
		return nil, fmt.Errorf("read runs of the last %s: %w", ago, err)
	}
	runs, err := pgx.CollectRows(rows, pgx.RowToStructByName[RunRecord])
	if err != nil {
		return nil, fmt.Errorf("read runs of the last %s: %w", ago, err)
	}
	return runs, nil
}

// PauseRecord is a time in which the clock of a view stood still by somebody's wish.
type PauseRecord struct {
	ViewName string     `db:"view_name" json:"view_name"`
	From     time.Time  `db:"paused_at" json:"from"`
	Until    *time.Time `db:"until" json:"until"` // nil = until it is ended by hand
	Reason   *string    `db:"pause_reason" json:"reason"`
}

// PausesSince reads the pauses of some views, those to be seen in the row and those that somebody has ended since, which the audit
// log tells. For a sidecar.
func PausesSince(ctx context.Context, q Querier, views []int64, ago time.Duration) ([]PauseRecord, error) {
	rows, err := q.Query(ctx, `
WITH named AS (
    SELECT s.name, CASE WHEN s.paused_at IS NOT NULL THEN least(greatest(s.paused_at, 'epoch'), '9999-12-30Z') END AS paused_at, `+writable("s.paused_until")+` AS until, s.pause_reason
      FROM mvscheduler.view_state AS s
     WHERE s.view_id = ANY ($1)
)
SELECT n.name AS view_name, n.paused_at, n.until, n.pause_reason
  FROM named AS n
 WHERE n.paused_at IS NOT NULL
   AND coalesce(n.until, 'infinity') >= clock_timestamp() - $2::interval
UNION ALL
SELECT e.view_name, least(greatest((e.old ->> 'paused_at')::timestamptz, 'epoch'), e.at), greatest(e.at - $2::interval, least(e.at, (e.old ->> 'paused_until')::timestamptz)), e.old ->> 'pause_reason'
  FROM mvscheduler.audit_log AS e
 WHERE e.view_name IN (SELECT n.name FROM named AS n)
   AND e.action = 'update'
   AND e.at >= clock_timestamp() - $2::interval
   AND e.old ->> 'paused_at' IS NOT NULL
   AND e.new ->> 'paused_at' IS NULL
 ORDER BY 1, 2`, views, ago)
	if err != nil {
		return nil, fmt.Errorf("read pauses: %w", err)
	}
	pauses, err := pgx.CollectRows(rows, pgx.RowToStructByName[PauseRecord])
	if err != nil {
		return nil, fmt.Errorf("read pauses: %w", err)
	}
	return pauses, nil
}
