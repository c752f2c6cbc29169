package catalog

import (
	"context"
	"fmt"
)

// Forget deletes up to limit of the oldest runs with their attempts, and alerts that are over, as soon as
// settings.keep_runs and keep_skipped_runs allow, and returns how many runs went. The last run of each view
// stays. Rows that another sidecar is deleting are passed over.
func Forget(ctx context.Context, q Querier, limit int) (int64, error) {
	var runs int64
	err := q.QueryRow(ctx, `
WITH oldest AS (
    SELECT r.id
      FROM mvscheduler.run AS r
     WHERE r.state <> 'skipped'
       AND r.finished_at < clock_timestamp() - (SELECT keep_runs FROM mvscheduler.settings)
     UNION ALL
    SELECT r.id
      FROM mvscheduler.run AS r
     WHERE r.state = 'skipped'
       AND r.finished_at < clock_timestamp() - (SELECT keep_skipped_runs FROM mvscheduler.settings)
     LIMIT $1
), locked AS (
    SELECT r.id
      FROM mvscheduler.run AS r
     WHERE r.id IN (SELECT id FROM oldest)
       AND NOT EXISTS (SELECT FROM mvscheduler.view_health AS h WHERE h.last_run_id = r.id)
       FOR UPDATE SKIP LOCKED
), attempts AS (
    DELETE FROM mvscheduler.attempt AS a USING locked AS l WHERE a.run_id = l.id
), alerts AS (
    DELETE FROM mvscheduler.alert AS a WHERE a.resolved_at < clock_timestamp() - (SELECT keep_runs FROM mvscheduler.settings)
), gone AS (
    DELETE FROM mvscheduler.run AS r USING locked AS l WHERE r.id = l.id
    RETURNING r.id
)
SELECT count(*) FROM gone`, limit).Scan(&runs)
	if err != nil {
		return 0, fmt.Errorf("delete old runs: %w", err)
	}
	return runs, nil
}

// ReportBuilds shows how far the index builds of running attempts are, as PostgreSQL tells it: a plain
// REFRESH builds every index of the view anew, which is often the longer part. PostgreSQL tells nothing
// of the query itself.
func ReportBuilds(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, `
UPDATE mvscheduler.run AS r
   SET progress = coalesce(r.progress, '{}') || jsonb_build_object(
           'phase', p.phase,
           'blocks_done', p.blocks_done, 'blocks_total', p.blocks_total,
           'tuples_done', p.tuples_done, 'tuples_total', p.tuples_total,
           'percent', CASE WHEN p.tuples_total > 0 THEN round(100.0 * p.tuples_done / p.tuples_total)
                           WHEN p.blocks_total > 0 THEN round(100.0 * p.blocks_done / p.blocks_total) END)
  FROM mvscheduler.attempt AS t
  JOIN pg_stat_progress_create_index AS p ON p.pid = t.backend_pid AND p.datname = current_database()
 WHERE t.outcome = 'running'
   AND t.run_id = r.id
   AND t.token = r.token
   AND r.state = 'running'`)
	if err != nil {
		return fmt.Errorf("report the progress of builds: %w", err)
	}
	return nil
}
