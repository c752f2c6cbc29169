package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ViewStatus is one row of mvscheduler.status. Instants and intervals are nil where SQL has NULL.
type ViewStatus struct {
	ID                  int64           `db:"id" json:"id"`
	Name                string          `db:"name" json:"name"`
	Freshness           string          `db:"freshness" json:"freshness"` // fresh, late, stale, never, missing
	Activity            string          `db:"activity" json:"activity"`   // idle, queued, running, waiting, paused
	Reason              string          `db:"reason" json:"reason"`       // empty when nothing is wrong
	DataAsOf            *time.Time      `db:"data_as_of" json:"data_as_of"`
	Lag                 *Seconds        `db:"lag_seconds" json:"lag_seconds"`
	Target              *Seconds        `db:"target_seconds" json:"target_seconds"`
	LastRefreshAt       *time.Time      `db:"last_refresh_at" json:"last_refresh_at"`
	LastDuration        *Seconds        `db:"last_duration_seconds" json:"last_duration_seconds"`
	NextRefreshAt       *time.Time      `db:"next_refresh_at" json:"next_refresh_at"`
	ConsecutiveFailures int             `db:"consecutive_failures" json:"consecutive_failures"`
	LastSQLState        *string         `db:"last_sqlstate" json:"last_sqlstate"`
	LastError           *string         `db:"last_error" json:"last_error"`
	SizeBytes           *int64          `db:"size_bytes" json:"size_bytes"`
	RowsEstimate        *int64          `db:"rows_estimate" json:"rows_estimate"`
	Method              string          `db:"method" json:"method"`
	Adopted             bool            `db:"adopted" json:"adopted"`
	Upstream            []string        `db:"upstream" json:"upstream"`
	Owner               string          `db:"owner" json:"owner"`
	RefreshOn           string          `db:"refresh_on" json:"refresh_on"`
	RefreshInterval     *Seconds        `db:"refresh_interval_seconds" json:"refresh_interval_seconds"`
	TunedInterval       *Seconds        `db:"tuned_interval_seconds" json:"tuned_interval_seconds"` // by the optimizer, in the place of refresh_interval; nil = none
	TunedCalendar       json.RawMessage `db:"tuned_calendar" json:"tuned_calendar"`                 // the same, rules instead of an interval
	TunedPatience       *float64        `db:"tuned_patience" json:"tuned_patience"`                 // seconds of age, over all reads, for which it is refreshed between two slots; nil = it is not
	Cron                *string         `db:"cron" json:"cron"`
	Calendar            json.RawMessage `db:"calendar" json:"calendar"`
	Timezone            string          `db:"timezone" json:"timezone"`
	Enabled             bool            `db:"enabled" json:"enabled"`
	PausedUntil         *time.Time      `db:"paused_until" json:"paused_until"`
	WaitingFor          *string         `db:"waiting_for" json:"waiting_for"`
	RunID               *int64          `db:"run_id" json:"run_id"`
	TunedRetention      *string         `db:"tuned_retention" json:"tuned_retention"` // by the optimizer, in the place of retention_period; nil = none
	KeptPartitions      int64           `db:"kept_partitions" json:"kept_partitions"` // put aside by retention, restorable
	AutoPaused          bool            `db:"auto_paused" json:"auto_paused"`         // paused by the sidecar after failures
	AsOf                time.Time       `db:"as_of" json:"as_of"`                     // the database's clock when this was read
}

// Unhealthy says whether a person has to look: the contents are much older than promised and nobody has paused the
// view or all of them, the relation is gone, failures ended the clock, the first refresh fails or nobody begins it, or so many fail in a
// row that it is an alert.
func (s ViewStatus) Unhealthy() bool {
	notBegun := s.Activity != "paused" && s.Activity != "running" && s.NextRefreshAt != nil && s.AsOf.Sub(*s.NextRefreshAt) > time.Minute
	return s.Freshness == "stale" && s.Activity != "paused" || s.Freshness == "missing" || s.AutoPaused ||
		s.Freshness == "never" && (s.ConsecutiveFailures > 0 || notBegun) || s.ConsecutiveFailures >= failingAfter
}

// failingAfter is how many failed attempts in a row raise the alert "failing".
const failingAfter = 3

// HasData says that an incremental view was dropped by hand, and that its data is still there.
func (s ViewStatus) HasData() bool {
	return s.Freshness == "missing" && strings.HasPrefix(s.Reason, "the view was dropped or replaced by hand, and its data is still there")
}

// writable is a column of time in SQL where JSON can write it, in the years 1 to 9999, else NULL: no end of a pause, say.
// Users choose them.
func writable(column string) string {
	return "CASE WHEN " + column + " >= '0001-01-02Z' AND " + column + " < '9999-12-31Z' THEN " + column + " END"
}

// An instant that is infinite (paused_until) is no end: NULL.
var selectStatus = `
SELECT s.id, s.name, s.freshness, s.activity, coalesce(s.reason, '') AS reason, s.data_as_of,
       extract(epoch FROM s.lag)::float8 AS lag_seconds,
       extract(epoch FROM s.target)::float8 AS target_seconds,
       s.last_refresh_at,
       extract(epoch FROM s.last_duration)::float8 AS last_duration_seconds,
       ` + writable("s.next_refresh_at") + ` AS next_refresh_at,
       s.consecutive_failures, s.last_sqlstate, s.last_error, s.size_bytes, s.rows_estimate, s.method, s.adopted,
       s.upstream, s.owner::text AS owner, s.refresh_on,
       extract(epoch FROM s.refresh_interval)::float8 AS refresh_interval_seconds,
       extract(epoch FROM s.tuned_interval)::float8 AS tuned_interval_seconds, s.tuned_calendar, s.tuned_patience, s.tuned_retention::text AS tuned_retention,
       s.cron, s.calendar, s.timezone, s.enabled,
       ` + writable("s.paused_until") + ` AS paused_until,
       s.waiting_for, s.run_id, s.kept_partitions,
       s.activity = 'paused' AND s.reason ~ '(^|; )paused by mvscheduler(:|;|$)' AS auto_paused,
       clock_timestamp() AS as_of
  FROM mvscheduler.status AS s
 WHERE $1::bigint IS NULL OR s.id = $1
 ORDER BY s.name`

// Statuses reads the status of every view that the caller may see, ordered by name.
func Statuses(ctx context.Context, q Querier) ([]ViewStatus, error) {
	rows, err := q.Query(ctx, selectStatus, nil)
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[ViewStatus])
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	return all, nil
}

// StatusByID reads the status of one view. The error is a *NotFoundError when the caller sees no such view.
func StatusByID(ctx context.Context, q Querier, id int64) (ViewStatus, error) {
	rows, err := q.Query(ctx, selectStatus, id)
	if err != nil {
		return ViewStatus{}, fmt.Errorf("read status of view %d: %w", id, err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[ViewStatus])
	if errors.Is(err, pgx.ErrNoRows) {
		return ViewStatus{}, &NotFoundError{Kind: "managed view", Name: fmt.Sprint(id)}
	}
	if err != nil {
		return ViewStatus{}, fmt.Errorf("read status of view %d: %w", id, err)
	}
	return s, nil
}
