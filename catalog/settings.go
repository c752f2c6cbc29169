package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Settings are what a sidecar knows of a row of mvscheduler.views, from its private copy: everything but the query, the
// indexes and the key. Intervals are PostgreSQL's text. Nil means NULL.
type Settings struct {
	Method           string     `db:"method" json:"method"`
	ChangeTracking   string     `db:"change_tracking" json:"change_tracking"`
	Tracking         *string    `db:"tracking" json:"tracking"`               // change_tracking in force at the last refresh; nil = there was none, or the method is another one
	TrackingReason   *string    `db:"tracking_reason" json:"tracking_reason"` // nil = it was not left to us
	Catchup          string     `db:"catchup" json:"catchup"`
	Priority         int16      `db:"priority" json:"priority"`
	StatementTimeout string     `db:"statement_timeout" json:"statement_timeout"`
	LockTimeout      string     `db:"lock_timeout" json:"lock_timeout"`
	WorkMem          *string    `db:"work_mem" json:"work_mem"`
	MaxAttempts      int16      `db:"max_attempts" json:"max_attempts"`
	MaxSizeBytes     *int64     `db:"max_size_bytes" json:"max_size_bytes"`
	Analyze          bool       `db:"analyze" json:"analyze"`
	RetentionPeriod  *string    `db:"retention_period" json:"retention_period"`
	TimeColumn       *string    `db:"time_column" json:"time_column"`
	BucketWidth      *string    `db:"bucket_width" json:"bucket_width"`
	Optimize         string     `db:"optimize" json:"optimize"`
	MinInterval      *string    `db:"min_interval" json:"min_interval"`
	MaxInterval      *string    `db:"max_interval" json:"max_interval"`
	Lateness         string     `db:"lateness" json:"lateness"`
	PausedAt         *time.Time `db:"paused_at" json:"paused_at"`
	PausedUntil      *time.Time `db:"paused_until" json:"paused_until"`
	PauseReason      *string    `db:"pause_reason" json:"pause_reason"`
}

// TrackingWords say how changes below a view are known: what was asked for, what is in force, and why.
func TrackingWords(asked string, inForce, reason *string) string {
	said := asked
	if inForce != nil && *inForce != asked {
		said += ": " + *inForce
	}
	if reason != nil && *reason != "" {
		said += ", " + *reason
	}
	return said
}

// SettingsByID reads the settings of a view, for a sidecar. The error is a *NotFoundError when there is no such view.
func SettingsByID(ctx context.Context, q Querier, id int64) (Settings, error) {
	rows, err := q.Query(ctx, `
SELECT s.method, s.change_tracking, i.tracking, i.tracking_reason, s.catchup, s.priority, s.statement_timeout::text AS statement_timeout, s.lock_timeout::text AS lock_timeout,
       s.work_mem, s.max_attempts, s.max_size_bytes, s."analyze", s.retention_period::text AS retention_period, s.time_column,
       s.bucket_width::text AS bucket_width, s.lateness::text AS lateness, s.optimize, s.min_interval::text AS min_interval, s.max_interval::text AS max_interval, `+writable("s.paused_at")+` AS paused_at, `+writable("s.paused_until")+` AS paused_until, s.pause_reason
  FROM mvscheduler.view_state AS s
  LEFT JOIN mvscheduler.visible_increments AS i ON i.view_id = s.view_id
 WHERE s.view_id = $1`, id)
	if err != nil {
		return Settings{}, fmt.Errorf("read settings of view %d: %w", id, err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Settings])
	if errors.Is(err, pgx.ErrNoRows) {
		return s, &NotFoundError{Kind: "managed view", Name: fmt.Sprint(id)}
	}
	if err != nil {
		return s, fmt.Errorf("read settings of view %d: %w", id, err)
	}
	return s, nil
}

// OptimizerTarget is settings.optimizer_target: what the optimizer takes for the right interval of the median view.
func OptimizerTarget(ctx context.Context, q Querier) (time.Duration, error) {
	var seconds float64
	if err := q.QueryRow(ctx, `SELECT extract(epoch FROM s.optimizer_target)::float8 FROM mvscheduler.settings AS s`).Scan(&seconds); err != nil {
		return 0, fmt.Errorf("read settings.optimizer_target: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
