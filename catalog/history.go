package catalog

import (
	"context"
	"fmt"
)

// Forget deletes up to limit runs that were skipped and as many others, with their attempts, and alerts that are over, as soon as
// settings.keep_runs and keep_skipped_runs allow, and returns how many runs went. The last run of each view
// stays. Rows that another sidecar is deleting are passed over.
func Forget(ctx context.Context, q Querier, limit int) (int64, error) {
	var runs int64
	err := q.QueryRow(ctx, `
WITH oldest AS (
    (SELECT r.id
       FROM mvscheduler.run AS r
      WHERE r.state <> 'skipped'
        AND r.finished_at < now() - (SELECT keep_runs FROM mvscheduler.settings)
        AND NOT EXISTS (SELECT FROM mvscheduler.view_health AS h WHERE h.view_id = r.view_id AND h.last_run_id = r.id)
      ORDER BY r.finished_at
      LIMIT $1)
    UNION ALL
    (SELECT r.id
       FROM mvscheduler.run AS r
      WHERE r.state = 'skipped'
        AND r.finished_at < now() - (SELECT keep_skipped_runs FROM mvscheduler.settings)
        AND NOT EXISTS (SELECT FROM mvscheduler.view_health AS h WHERE h.view_id = r.view_id AND h.last_run_id = r.id)
      ORDER BY r.finished_at
      LIMIT $1)
), locked AS (
    SELECT r.id
      FROM mvscheduler.run AS r
     WHERE r.id = ANY (ARRAY(SELECT o.id FROM oldest AS o))  -- a join would walk all of them
       AND NOT EXISTS (SELECT FROM mvscheduler.view_health AS h WHERE h.view_id = r.view_id AND h.last_run_id = r.id)
       FOR UPDATE SKIP LOCKED
), attempts AS (
    DELETE FROM mvscheduler.attempt AS a WHERE a.run_id = ANY (ARRAY(SELECT l.id FROM locked AS l))
), alerts AS (
    DELETE FROM mvscheduler.alert AS a WHERE a.resolved_at < clock_timestamp() - (SELECT keep_runs FROM mvscheduler.settings)
), gone AS (
    DELETE FROM mvscheduler.run AS r WHERE r.id = ANY (ARRAY(SELECT l.id FROM locked AS l))
    RETURNING r.id
)
SELECT count(*) FROM gone`, limit).Scan(&runs)
	if err != nil {
		return 0, fmt.Errorf("delete old runs: %w", err)
	}
	return runs, nil
}
