package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// PruneCandidates are the targets of which something may have to leave, to be dropped or to be brought back.
func PruneCandidates(ctx context.Context, q Querier) ([]int64, error) {
	rows, err := q.Query(ctx, `
SELECT s.view_id
  FROM mvscheduler.view_state AS s
 WHERE s.method = 'incremental'
   AND s.enabled
   AND s.retention_period IS NOT NULL
 UNION
SELECT r.id
  FROM mvscheduler.source_state AS r
 WHERE r.enabled
   AND NOT r.legal_hold
 UNION
SELECT k.target
  FROM mvscheduler.kept AS k
 WHERE k.detached_at IS NOT NULL`)
	return concerned(rows, err)
}

// PruneConcerned are those of the candidates that a refresh of a view concerns: itself, and the tables that it reads.
func PruneConcerned(ctx context.Context, q Querier, viewID int64) ([]int64, error) {
	rows, err := q.Query(ctx, `
SELECT s.view_id
  FROM mvscheduler.view_state AS s
 WHERE s.view_id = $1
   AND s.enabled
   AND s.retention_period IS NOT NULL
 UNION
SELECT coalesce(r.id, u.view_id)
  FROM mvscheduler.view_source AS v
  LEFT JOIN mvscheduler.source_state AS r ON r.relation = v.relation AND r.enabled
  LEFT JOIN mvscheduler.piece AS p ON p.relation = v.relation AND p.kind = 'data'
  LEFT JOIN mvscheduler.view_state AS u ON u.view_id = p.view_id AND u.enabled AND u.retention_period IS NOT NULL
 WHERE v.view_id = $1
   AND coalesce(r.id, u.view_id) IS NOT NULL`, viewID)
	return concerned(rows, err)
}

// concerned reads numbers of targets.
func concerned(rows pgx.Rows, err error) ([]int64, error) {
	if err == nil {
		var ids []int64
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err == nil {
			return ids, nil
		}
	}
	return nil, fmt.Errorf("look for what retention concerns: %w", err)
}

// PruneAsked are the tables of source_retention and when their rows were changed last.
func PruneAsked(ctx context.Context, q Querier) (map[int64]time.Time, error) {
	rows, err := q.Query(ctx, `SELECT r.id, r.asked_at FROM mvscheduler.source_state AS r`)
	if err != nil {
		return nil, fmt.Errorf("look for tables with retention: %w", err)
	}
	asked := make(map[int64]time.Time)
	var id int64
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		asked[id] = at
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for tables with retention: %w", err)
	}
	return asked, nil
}

// QueuePrune makes a run that prunes. It makes none while another run of the target is under way, nor soon after one
// that failed, unless the row of a table was written since; nor while the dispatcher, or its owner, is at the row of a view: it
// would take the place of the run for which the dispatcher has taken requests.
func QueuePrune(ctx context.Context, tx pgx.Tx, id int64, pause time.Duration) ([]Queued, error) {
	return queuePrune(ctx, tx, id, pause, false)
}

// QueuePruneAfter is [QueuePrune] where the transaction has ended another run of the view. Until it commits, that one is under way for
// everybody else, and from then on this one is, so that nobody takes requests meanwhile, and the row of the view is left alone: the
// dispatcher writes to it where a slot passes, and in the snapshot of a refresh a row that was written to since is an error.
func QueuePruneAfter(ctx context.Context, tx pgx.Tx, id int64, pause time.Duration) ([]Queued, error) {
	return queuePrune(ctx, tx, id, pause, true)
}

func queuePrune(ctx context.Context, tx pgx.Tx, id int64, pause time.Duration, after bool) ([]Queued, error) {
	rows, err := tx.Query(ctx, `
WITH free AS MATERIALIZED (
    SELECT s.view_id
      FROM mvscheduler.view_state AS s
     WHERE s.view_id = $1
       AND NOT $3
       FOR UPDATE SKIP LOCKED
)
INSERT INTO mvscheduler.run (view_id, view_name, owner, kind, cause, slot, due_at, state)
SELECT t.id, t.name, t.owner, 'prune', 'schedule', clock_timestamp(), clock_timestamp(), 'queued'
  FROM mvscheduler.visible_targets AS t
 WHERE t.id = $1
   AND (t.kind = 'source' OR $3 OR EXISTS (SELECT FROM free))
   AND NOT EXISTS (SELECT
                     FROM mvscheduler.run AS r
                    WHERE r.view_id = $1
                      AND r.kind = 'prune'
                      AND r.state = 'failed'
                      AND r.finished_at > greatest(clock_timestamp() - make_interval(secs => $2), (SELECT s.asked_at FROM mvscheduler.source_state AS s WHERE s.id = $1)))
ON CONFLICT DO NOTHING
RETURNING id`, id, pause.Seconds(), after)
	if err != nil {
		return nil, fmt.Errorf("queue a run that prunes target %d: %w", id, err)
	}
	runs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("queue a run that prunes target %d: %w", id, err)
	}
	var queued []Queued
	for _, run := range runs {
		queued = append(queued, Queued{RunID: run, Priority: 3})
	}
	return queued, nil
}
