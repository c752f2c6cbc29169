package catalog

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// applyClock puts an interval or a calendar in force; no row = not now.
func applyClock(ctx context.Context, tx pgx.Tx, a Advice, id int64, r Recommendation) (bool, error) {
	var seconds *float64
	if r.Apply != nil {
		seconds = new(r.Apply.Seconds())
	}
	return apply(ctx, tx, a, id, r.Kind, `
       SET tuned_interval = make_interval(secs => $6),
           tuned_patience = nullif($7::float8, 0),
           tuned_calendar = $8::jsonb,
           tuned_by = $2,
           reschedule = true
      FROM free AS f
     WHERE s.view_id = f.view_id
       AND s.refresh_on = 'schedule'
       AND s.cron IS NULL
       AND s.calendar IS NULL
       AND s.refresh_interval IS NOT NULL`, seconds, r.Patience, r.Rules)
}

// applyKeep puts a longer retention in force; no row = not now.
func applyKeep(ctx context.Context, tx pgx.Tx, a Advice, id int64, keep time.Duration) (bool, error) {
	return apply(ctx, tx, a, id, "retention", `
       SET retention_period = justify_hours(least(make_interval(secs => $6), coalesce(s.max_retention, 2 * s.row_retention))),
           retained_by = $2
      FROM free AS f
     WHERE s.view_id = f.view_id
       AND least(make_interval(secs => $6), coalesce(s.max_retention, 2 * s.row_retention)) > s.retention_period`, keep.Seconds())
}

// apply changes the row of view_state as change says, whose arguments begin with $6, where optimize is auto, no
// recommendation of the kind was taken back not long ago, and nobody wrote the row of views since it was loaded: what it said is what
// the recommendation rests on. Users' transactions lock a row of view_state for as long as they
// like: then it is for the next time. The bounds are constraints of the table.
func apply(ctx context.Context, tx pgx.Tx, a Advice, id int64, kind, change string, args ...any) (applied bool, err error) {
	err = tx.QueryRow(ctx, `
WITH free AS (
    SELECT s.view_id
      FROM mvscheduler.view_state AS s
     WHERE s.view_id = $1
       AND s.optimize = 'auto'
       AND s.rearmed_at = $5
       AND NOT EXISTS (SELECT
                         FROM mvscheduler.recommendation AS x
                        WHERE x.view_id = $1 AND x.kind = $3 AND x.state IN ('undone', 'rejected') AND x.decided_at > clock_timestamp() - make_interval(secs => $4))
       FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE mvscheduler.view_state AS s`+change+`
    RETURNING s.view_id
)
UPDATE mvscheduler.recommendation AS r
   SET state = 'applied', automatic = true, decided_at = clock_timestamp(), decided_by = 'mvscheduler'
  FROM changed AS c
 WHERE r.id = $2
   AND r.view_id = c.view_id
RETURNING true`, append([]any{a.ViewID, id, kind, keepUndone.Seconds(), a.written}, args...)...).Scan(&applied)
	return applied, err
}
