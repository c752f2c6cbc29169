package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Lost is an attempt whose backend is gone.
type Lost struct {
	Attempt
	ViewName    string
	Counted     int
	MaxAttempts int
	Priority    int16
	Stop        string
}

// LockLost locks the runs whose attempt is open on a backend that does not exist any more, passing over
// those that another replica holds. A backend that we may not see is unknown, never lost: without
// pg_read_all_stats the start of another role's backend reads as NULL.
func LockLost(ctx context.Context, tx pgx.Tx, limit int) ([]Lost, error) {
	rows, err := tx.Query(ctx, `
SELECT r.id, r.view_id, t.attempt, r.token, t.started_at, r.view_name, r.counted,
       coalesce(s.max_attempts, 1), coalesce(s.priority, 2), coalesce(t.stop, '')
  FROM mvscheduler.run AS r
  JOIN mvscheduler.attempt AS t ON t.run_id = r.id AND t.token = r.token AND t.outcome = 'running'
  LEFT JOIN mvscheduler.view_state AS s ON s.view_id = r.view_id
  LEFT JOIN pg_stat_get_activity(NULL) AS b ON b.pid = t.backend_pid
 WHERE r.state = 'running'
   AND (b.pid IS NULL OR b.backend_start <> t.backend_start)
 LIMIT $1
   FOR UPDATE OF r SKIP LOCKED`, limit)
	if err != nil {
		return nil, fmt.Errorf("look for lost attempts: %w", err)
	}
	lost, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Lost, error) {
		var l Lost
		err := row.Scan(&l.RunID, &l.ViewID, &l.Number, &l.Token, &l.Started, &l.ViewName, &l.Counted,
			&l.MaxAttempts, &l.Priority, &l.Stop)
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for lost attempts: %w", err)
	}
	return lost, nil
}

// Orphan is a queued run that no live River job carries.
type Orphan struct {
	RunID    int64
	ViewName string
	Priority int16
}

// LockOrphans locks queued runs whose River job was deleted or has ended, or was fetched more than
// patience ago by a worker that has neither opened an attempt nor ended one since.
func LockOrphans(ctx context.Context, tx pgx.Tx, patience time.Duration, limit int) ([]Orphan, error) {
	rows, err := tx.Query(ctx, `
SELECT r.id, r.view_name, coalesce(s.priority, 2)
  FROM mvscheduler.run AS r
  LEFT JOIN mvscheduler.view_state AS s ON s.view_id = r.view_id
  LEFT JOIN mvscheduler.river_job AS j ON j.id = r.job_id
 WHERE r.state = 'queued'
   AND (j.id IS NULL
        OR j.state IN ('completed', 'cancelled', 'discarded')
        OR j.state = 'running'
           AND greatest(j.attempted_at, (SELECT max(t.finished_at) FROM mvscheduler.attempt AS t WHERE t.run_id = r.id))
               < clock_timestamp() - make_interval(secs => $1))
 LIMIT $2
   FOR UPDATE OF r SKIP LOCKED`, patience.Seconds(), limit)
	if err != nil {
		return nil, fmt.Errorf("look for orphaned runs: %w", err)
	}
	orphans, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Orphan, error) {
		var o Orphan
		return o, row.Scan(&o.RunID, &o.ViewName, &o.Priority)
	})
	if err != nil {
		return nil, fmt.Errorf("look for orphaned runs: %w", err)
	}
	return orphans, nil
}

// BuryJobs ends River jobs that count as being worked although they carry no run: their worker died, or
// is about to find out that nothing is left to do. River itself would rescue them a week later.
func BuryJobs(ctx context.Context, q Querier) error {
	err := execPrepared(ctx, q, `
UPDATE mvscheduler.river_job
   SET state = 'cancelled',
       finalized_at = now()
 WHERE id IN (
       SELECT j.id
         FROM mvscheduler.river_job AS j
        WHERE j.state = 'running'
          AND j.kind = 'refresh'
          AND NOT EXISTS (SELECT FROM mvscheduler.run AS r WHERE r.job_id = j.id AND r.state IN ('queued', 'running'))
          FOR UPDATE SKIP LOCKED)`)
	if err != nil {
		return fmt.Errorf("end abandoned jobs: %w", err)
	}
	return nil
}

// Hasten lets a run that waits for its next try begin it now, when somebody has changed the row of its view or asked for
// a refresh since the last try began: what was wrong may be mended. Each change and each request hastens one try at most.
func Hasten(ctx context.Context, q Querier) error {
	err := execPrepared(ctx, q, `
UPDATE mvscheduler.river_job
   SET state = 'available',
       scheduled_at = now()
 WHERE id IN (
       SELECT j.id
         FROM mvscheduler.run AS r
         JOIN mvscheduler.view_state AS s ON s.view_id = r.view_id
         JOIN mvscheduler.river_job AS j ON j.id = r.job_id
        WHERE r.state = 'queued'
          AND j.state = 'scheduled'
          AND greatest(s.rearmed_at, (SELECT c.requested_at FROM mvscheduler.request AS c WHERE c.kind = 'refresh' AND c.view_id = r.view_id ORDER BY c.id DESC LIMIT 1))
              > (SELECT max(t.started_at) FROM mvscheduler.attempt AS t WHERE t.run_id = r.id)
          FOR UPDATE OF j SKIP LOCKED)`)
	if err != nil {
		return fmt.Errorf("hasten what was mended: %w", err)
	}
	return nil
}

// Stopped is a backend that was told to stop.
type Stopped struct {
	RunID      int64
	ViewName   string
	PID        int32
	Stop       string
	Terminated bool
}

// MarkStops notes on each running attempt why its backend has to stop: a person asked for it (cancel),
// its deadline has passed (deadline), or somebody's DDL has waited behind it for longer than patience
// (yield; an attempt yields only yieldsPerRun times for one run). Edits of a row wait in SHARE UPDATE
// EXCLUSIVE first, which readers do not feel. Then StopBackends acts.
func MarkStops(ctx context.Context, q Querier, patience time.Duration, yieldsPerRun int) error {
	_, err := q.Exec(ctx, `
WITH waiting AS MATERIALIZED (
    SELECT l.pid, pg_blocking_pids(l.pid) AS blockers
      FROM pg_locks AS l
     WHERE NOT l.granted
       AND l.locktype = 'relation'
       AND l.mode IN ('AccessExclusiveLock', 'ShareUpdateExclusiveLock')
       AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
       AND l.waitstart < clock_timestamp() - make_interval(secs => $1)
       AND NOT EXISTS (SELECT FROM mvscheduler.attempt AS o WHERE o.outcome = 'running' AND o.backend_pid = l.pid)
), verdict AS (
    SELECT t.run_id, t.attempt,
           CASE WHEN EXISTS (SELECT FROM mvscheduler.request AS c WHERE c.kind = 'cancel' AND c.target_run = t.run_id AND c.view_id = t.view_id) THEN 'cancel'
                WHEN t.deadline_at < clock_timestamp() THEN 'deadline'
                WHEN EXISTS (SELECT FROM waiting AS w WHERE t.backend_pid = ANY (w.blockers))
                 AND (SELECT count(*) FROM mvscheduler.attempt AS y WHERE y.run_id = t.run_id AND y.stop = 'yield') < $2 THEN 'yield'
           END AS stop
      FROM mvscheduler.attempt AS t
     WHERE t.outcome = 'running'
       AND t.stop IS NULL
)
UPDATE mvscheduler.attempt AS t
   SET stop = v.stop,
       stop_at = clock_timestamp()
  FROM verdict AS v
 WHERE t.run_id = v.run_id
   AND t.attempt = v.attempt
   AND v.stop IS NOT NULL
   AND t.outcome = 'running'
   AND t.stop IS NULL`, patience.Seconds(), yieldsPerRun)
	if err != nil {
		return fmt.Errorf("look for attempts to stop: %w", err)
	}
	return nil
}

// StopBackends cancels the query of each backend that MarkStops marked and terminates the backend when
// that has not helped after grace, or when its deadline is what ended it: a function can swallow a
// cancel. Only backends of a role whose rights we have are touched, and only the very session of the attempt.
func StopBackends(ctx context.Context, q Querier, grace time.Duration) ([]Stopped, error) {
	rows, err := q.Query(ctx, `
WITH marked AS MATERIALIZED (
    SELECT t.run_id, r.view_name, t.backend_pid, t.stop,
           t.stop = 'deadline' OR t.stop_at < clock_timestamp() - make_interval(secs => $1) AS terminate
      FROM mvscheduler.attempt AS t
      JOIN mvscheduler.run AS r ON r.id = t.run_id
      JOIN pg_stat_activity AS b ON b.pid = t.backend_pid AND b.backend_start = t.backend_start
     WHERE t.outcome = 'running'
       AND t.stop IS NOT NULL
       AND pg_has_role(b.usesysid, 'USAGE') -- as these functions demand
)
SELECT run_id, view_name, backend_pid, stop, terminate
  FROM marked
 WHERE CASE WHEN terminate THEN pg_terminate_backend(backend_pid) ELSE pg_cancel_backend(backend_pid) END`, grace.Seconds())
	if err != nil {
		return nil, fmt.Errorf("stop backends: %w", err)
	}
	stopped, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Stopped, error) {
		var s Stopped
		return s, row.Scan(&s.RunID, &s.ViewName, &s.PID, &s.Stop, &s.Terminated)
	})
	if err != nil {
		return nil, fmt.Errorf("stop backends: %w", err)
	}
	return stopped, nil
}

// EndCancelled ends queued runs that somebody asked to cancel, and those whose view, or row of source_retention, is gone; and it
// forgets requests that nothing is left to answer.
func EndCancelled(ctx context.Context, q Querier) error {
	err := execPrepared(ctx, q, `
WITH ended AS (
    UPDATE mvscheduler.run AS r
       SET state = 'cancelled',
           finished_at = clock_timestamp(),
           reason = CASE WHEN c.requested_by IS NULL THEN 'the view was dropped' ELSE 'cancelled by ' || c.requested_by::text END
      FROM (SELECT q.id, (SELECT min(c.requested_by::oid)::regrole FROM mvscheduler.request AS c WHERE c.kind = 'cancel' AND c.target_run = q.id AND c.view_id = q.view_id) AS requested_by,
                   NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = q.view_id)
                   AND NOT EXISTS (SELECT FROM mvscheduler.source_state AS s WHERE s.id = q.view_id) AS gone
              FROM mvscheduler.run AS q
             WHERE q.state = 'queued'
               FOR UPDATE OF q SKIP LOCKED) AS c
     WHERE r.id = c.id
       AND (c.gone OR c.requested_by IS NOT NULL)
), healthless AS (
    DELETE FROM mvscheduler.view_health AS h
     WHERE NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = h.view_id)
       AND NOT EXISTS (SELECT FROM mvscheduler.run AS r WHERE r.view_id = h.view_id AND r.state IN ('queued', 'running'))
), viewless AS MATERIALIZED (
    SELECT q.view_id
      FROM mvscheduler.requested_view AS q
     WHERE NOT EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = q.view_id)
)
DELETE FROM mvscheduler.request AS c
 WHERE EXISTS (SELECT FROM viewless)   -- else none is looked at, whatever the plan, which was made while there were few; as a join all are, from PostgreSQL 18 on
   AND c.kind = 'refresh'
   AND c.view_id = ANY (ARRAY(SELECT v.view_id FROM viewless AS v))`)
	if err != nil {
		return fmt.Errorf("end cancelled runs: %w", err)
	}
	// A flood of requests must not make this quadratic: no OR, and an index for each look.
	err = execPrepared(ctx, q, `
DELETE FROM mvscheduler.request AS c
 WHERE c.kind = 'cancel'
   AND NOT EXISTS (SELECT FROM mvscheduler.run AS r WHERE r.id = c.target_run AND r.state IN ('queued', 'running'))
   AND NOT EXISTS (SELECT FROM mvscheduler.request AS q WHERE q.kind = 'refresh' AND q.run_id = c.target_run)`)
	if err != nil {
		return fmt.Errorf("forget requests to cancel: %w", err)
	}
	return nil
}
