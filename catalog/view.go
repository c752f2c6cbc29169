package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Seconds is an interval as it is shown: in seconds, fractions included. It is a plain number in JSON.
type Seconds float64

// Duration rounds to nanoseconds.
func (s Seconds) Duration() time.Duration {
	return time.Duration(float64(s) * float64(time.Second))
}

// View is one row of mvscheduler.views: what its owner wants. Intervals are PostgreSQL's text, so that
// "3 mons" stays what was written. Nil means NULL.
type View struct {
	ID               int64           `db:"id" json:"id"`
	Name             string          `db:"name" json:"name"`
	Query            string          `db:"query" json:"query"`
	Owner            string          `db:"owner" json:"owner"`
	Method           string          `db:"method" json:"method"`
	RefreshInterval  *string         `db:"refresh_interval" json:"refresh_interval"`
	Cron             *string         `db:"cron" json:"cron"`
	Calendar         json.RawMessage `db:"calendar" json:"calendar"`
	Timezone         string          `db:"timezone" json:"timezone"`
	RefreshOn        string          `db:"refresh_on" json:"refresh_on"`
	Catchup          string          `db:"catchup" json:"catchup"`
	RetentionPeriod  *string         `db:"retention_period" json:"retention_period"`
	TimeColumn       *string         `db:"time_column" json:"time_column"`
	BucketWidth      *string         `db:"bucket_width" json:"bucket_width"`
	ChangeTracking   string          `db:"change_tracking" json:"change_tracking"`
	Tracking         *string         `db:"tracking" json:"tracking"`               // change_tracking in force at the last refresh; nil = there was none, or the method is another one
	TrackingReason   *string         `db:"tracking_reason" json:"tracking_reason"` // nil = it was not left to us
	Lateness         string          `db:"lateness" json:"lateness"`
	RealTime         bool            `db:"real_time" json:"real_time"`
	UniqueKey        []string        `db:"unique_key" json:"unique_key"`
	Indexes          []string        `db:"indexes" json:"indexes"`
	RefreshGroup     *string         `db:"refresh_group" json:"refresh_group"`
	Priority         int16           `db:"priority" json:"priority"`
	StatementTimeout string          `db:"statement_timeout" json:"statement_timeout"`
	LockTimeout      string          `db:"lock_timeout" json:"lock_timeout"`
	WorkMem          *string         `db:"work_mem" json:"work_mem"`
	MaxAttempts      int16           `db:"max_attempts" json:"max_attempts"`
	MaxSizeBytes     *int64          `db:"max_size_bytes" json:"max_size_bytes"`
	Analyze          bool            `db:"analyze" json:"analyze"`
	Optimize         string          `db:"optimize" json:"optimize"`
	MinInterval      *string         `db:"min_interval" json:"min_interval"`
	MaxInterval      *string         `db:"max_interval" json:"max_interval"`
	MinRetention     *string         `db:"min_retention" json:"min_retention"`
	MaxRetention     *string         `db:"max_retention" json:"max_retention"`
	Enabled          bool            `db:"enabled" json:"enabled"`
	PausedAt         *time.Time      `db:"paused_at" json:"paused_at"`
	PausedUntil      *time.Time      `db:"paused_until" json:"paused_until"`
	PauseReason      *string         `db:"pause_reason" json:"pause_reason"`
	SearchPath       string          `db:"search_path" json:"search_path"`
	CreatedAt        time.Time       `db:"created_at" json:"created_at"`
	UpdatedAt        time.Time       `db:"updated_at" json:"updated_at"`
	UpdatedBy        *string         `db:"updated_by" json:"updated_by"`
}

var selectView = `
SELECT v.id, v.name, v.query, v.owner::text AS owner, v.method, v.refresh_interval::text AS refresh_interval, v.cron,
       v.calendar, v.timezone, v.refresh_on, v.catchup, v.retention_period::text AS retention_period, v.time_column,
       v.bucket_width::text AS bucket_width, v.change_tracking, i.tracking, i.tracking_reason, v.lateness::text AS lateness, v.real_time, v.unique_key,
       v.indexes, v.refresh_group, v.priority, v.statement_timeout::text AS statement_timeout,
       v.lock_timeout::text AS lock_timeout, v.work_mem, v.max_attempts, v.max_size_bytes, v."analyze", v.optimize,
       v.min_interval::text AS min_interval, v.max_interval::text AS max_interval,
       v.min_retention::text AS min_retention, v.max_retention::text AS max_retention,
       v.enabled, ` + writable("v.paused_at") + ` AS paused_at, ` + writable("v.paused_until") + ` AS paused_until, v.pause_reason, v.search_path, v.created_at, v.updated_at,
       v.updated_by::text AS updated_by
  FROM mvscheduler.views AS v
  LEFT JOIN mvscheduler.visible_increments AS i ON i.view_id = v.id
 WHERE v.id = $1`

// ViewByID reads the catalog row of a view, or returns nil without an error when the caller may not
// see it: row-level security hides it, or its role may not read the table at all, as a sidecar's may not.
func ViewByID(ctx context.Context, q Querier, id int64) (*View, error) {
	rows, err := q.Query(ctx, selectView, id)
	if err != nil {
		return nil, fmt.Errorf("read view %d: %w", id, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[View])
	var pgErr *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.As(err, &pgErr) && pgErr.Code == "42501":
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read view %d: %w", id, err)
	}
	return v, nil
}

// NotFoundError says that nothing of that name is visible to the caller.
type NotFoundError struct {
	Kind string // "managed view" or "run"
	Name string
	Near []string // what may have been meant, see ViewsLike
	Err  error    // what the server said; may be nil
	Else string   // what else has the name, and what shows it; empty = nothing
}

func (e *NotFoundError) Error() string {
	if e.Else != "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("%s %s does not exist", e.Kind, e.Name)
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// FindView turns a name as a person types it into views.id; an unqualified name is looked up in the
// search_path. The error is a *NotFoundError when the caller sees no such view.
func FindView(ctx context.Context, q Querier, name string) (int64, error) {
	var id int64
	err := q.QueryRow(ctx, `SELECT mvscheduler.view_id($1)`, name).Scan(&id)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "42P01" && pgErr.Routine == "exec_stmt_raise" {
		return 0, &NotFoundError{Kind: "managed view", Name: name, Err: err}
	}
	if errors.As(err, &pgErr) && pgErr.Code == "42809" && pgErr.Routine == "exec_stmt_raise" {
		return 0, &NotFoundError{Kind: "managed view", Name: name, Err: errors.New(pgErr.Message), Else: pgErr.Hint}
	}
	if err != nil {
		return 0, fmt.Errorf("look up view %q: %w", name, err)
	}
	return id, nil
}

// ViewsLike are at most three views that the caller may see with this name in whatever schema.
func ViewsLike(ctx context.Context, q Querier, name string) ([]string, error) {
	rows, err := q.Query(ctx, `
SELECT v.name
  FROM mvscheduler.visible_views AS v
 WHERE right(lower(v.name), length($1) + 1) = '.' || lower($1)
 ORDER BY v.name
 LIMIT 3`, name[strings.LastIndexByte(name, '.')+1:])
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
