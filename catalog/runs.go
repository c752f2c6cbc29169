package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// RunRecord is one row of mvscheduler.runs: a slot and what became of it. Nil means NULL.
type RunRecord struct {
	ID          int64           `db:"id" json:"id"`
	ViewID      int64           `db:"view_id" json:"view_id"`
	ViewName    string          `db:"view_name" json:"view_name"`
	Owner       string          `db:"owner" json:"owner"`
	Kind        string          `db:"kind" json:"kind"`
	Cause       string          `db:"cause" json:"cause"`
	Slot        time.Time       `db:"slot" json:"slot"`
	DueAt       time.Time       `db:"due_at" json:"due_at"`
	State       string          `db:"state" json:"state"`
	Attempts    int             `db:"attempts" json:"attempts"`
	QueuedAt    time.Time       `db:"queued_at" json:"queued_at"`
	StartedAt   *time.Time      `db:"started_at" json:"started_at"`
	FinishedAt  *time.Time      `db:"finished_at" json:"finished_at"`
	Method      *string         `db:"method" json:"method"`
	DataAsOf    *time.Time      `db:"data_as_of" json:"data_as_of"`
	Rows        *int64          `db:"rows" json:"rows"`
	Buckets     *int64          `db:"buckets" json:"buckets"`
	SizeBytes   *int64          `db:"size_bytes" json:"size_bytes"`
	WALBytes    *int64          `db:"wal_bytes" json:"wal_bytes"`
	SQLState    *string         `db:"sqlstate" json:"sqlstate"`
	Error       *string         `db:"error" json:"error"`
	Reason      *string         `db:"reason" json:"reason"`
	Worker      *string         `db:"worker" json:"worker"`
	MissedSlots int             `db:"missed_slots" json:"missed_slots"`
	JoinedRun   *int64          `db:"joined_run" json:"joined_run"`
	Progress    json.RawMessage `db:"progress" json:"progress"`
	AsOf        time.Time       `db:"as_of" json:"as_of"` // the database's clock when this was read
}

// Ended says whether the run is in a terminal state.
func (r RunRecord) Ended() bool { return r.State != "queued" && r.State != "running" }

// Took is the time from the start of the last attempt to the end, or until now for a run under way;
// zero when no attempt was made.
func (r RunRecord) Took() time.Duration {
	switch {
	case r.StartedAt == nil:
		return 0
	case r.FinishedAt != nil:
		return r.FinishedAt.Sub(*r.StartedAt)
	default:
		return r.AsOf.Sub(*r.StartedAt)
	}
}

// report is what is in RunRecord.Progress.
type report struct {
	WaitingFor string `json:"waiting_for"`
	Phase      string `json:"phase"`
	What       string `json:"what"`
	Percent    int    `json:"percent"`
}

func (r RunRecord) report() (p report, ok bool) {
	return p, len(r.Progress) > 0 && json.Unmarshal(r.Progress, &p) == nil
}

// Percent is how far a build is; known is false where nobody says so.
func (r RunRecord) Percent() (percent int, known bool) {
	p, ok := r.report()
	return p.Percent, ok && p.WaitingFor == "" && p.What != ""
}

// WaitingFor names the lock that the run waits for and who holds it, or what a build is doing and how far it is;
// empty when neither is known.
func (r RunRecord) WaitingFor() string {
	p, ok := r.report()
	switch {
	case !ok:
		return ""
	case p.WaitingFor != "":
		return p.WaitingFor
	case p.What != "":
		return fmt.Sprintf("%s: %s, %d %%", p.Phase, p.What, p.Percent)
	}
	return p.Phase
}

// AttemptRecord is one row of mvscheduler.attempts: one try of a run. Nil means NULL.
type AttemptRecord struct {
	RunID      int64      `db:"run_id" json:"run_id"`
	Attempt    int        `db:"attempt" json:"attempt"`
	Outcome    string     `db:"outcome" json:"outcome"`
	StartedAt  time.Time  `db:"started_at" json:"started_at"`
	FinishedAt *time.Time `db:"finished_at" json:"finished_at"`
	BackendPID int32      `db:"backend_pid" json:"backend_pid"`
	Worker     string     `db:"worker" json:"worker"`
	SQLState   *string    `db:"sqlstate" json:"sqlstate"`
	Error      *string    `db:"error" json:"error"`
}

const runColumns = `
SELECT r.id, r.view_id, r.view_name, r.owner::text AS owner, r.kind, r.cause, r.slot, r.due_at, r.state, r.attempts, r.queued_at, r.started_at,
       r.finished_at, r.method, r.data_as_of, r.rows, r.buckets, r.size_bytes, r.wal_bytes, r.sqlstate, r.error, r.reason, r.worker,
       r.missed_slots, r.joined_run, r.progress, clock_timestamp() AS as_of
  FROM mvscheduler.runs AS r`

const selectRuns = runColumns + `
 WHERE ($1::bigint IS NULL OR r.view_id = $1)
   AND (NOT $2::boolean OR r.state = 'failed')
   AND (NOT $5::boolean OR r.state IN ('queued', 'running'))
   AND ($3::text IS NULL OR r.queued_at >= clock_timestamp() - $3::interval)
 ORDER BY r.id DESC
 LIMIT $4`

// RunFilter narrows Runs down. The zero value means every run.
type RunFilter struct {
	ViewID int64  // views.id; 0 = every view
	Failed bool   // only runs that ended as failed
	Open   bool   // only runs that have not ended
	Since  string // queued not longer ago than this interval, in PostgreSQL's words ("24h", "7 days"); empty = ever
	Limit  int    // at most so many, the newest; 0 = 100
}

// Runs reads runs, the newest first.
func Runs(ctx context.Context, q Querier, f RunFilter) ([]RunRecord, error) {
	limit := f.Limit
	if limit == 0 {
		limit = 100
	}
	var view *int64
	if f.ViewID != 0 {
		view = &f.ViewID
	}
	var since *string
	if f.Since != "" {
		since = &f.Since
	}
	rows, err := q.Query(ctx, selectRuns, view, f.Failed, since, limit, f.Open)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	runs, err := pgx.CollectRows(rows, pgx.RowToStructByName[RunRecord])
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return runs, nil
}

const selectRun = runColumns + `
 WHERE r.id = $1`

// RunByID reads one run. The error is a *NotFoundError when the caller sees no such run; a run that was
// asked for is queued from the commit of the request on, under the same id.
func RunByID(ctx context.Context, q Querier, id int64) (RunRecord, error) {
	rows, err := q.Query(ctx, selectRun, id)
	if err != nil {
		return RunRecord{}, fmt.Errorf("read run %d: %w", id, err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[RunRecord])
	if errors.Is(err, pgx.ErrNoRows) {
		return RunRecord{}, &NotFoundError{Kind: "run", Name: fmt.Sprint(id)}
	}
	if err != nil {
		return RunRecord{}, fmt.Errorf("read run %d: %w", id, err)
	}
	return r, nil
}

// Attempts reads the tries of some runs, the newest run first, the tries of a run in their order.
func Attempts(ctx context.Context, q Querier, runs []int64) ([]AttemptRecord, error) {
	rows, err := q.Query(ctx, `
SELECT a.run_id, a.attempt, a.outcome, a.started_at, a.finished_at, a.backend_pid, a.worker, a.sqlstate, a.error
  FROM mvscheduler.attempts AS a
 WHERE a.run_id = ANY ($1)
 ORDER BY a.run_id DESC, a.attempt`, runs)
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	attempts, err := pgx.CollectRows(rows, pgx.RowToStructByName[AttemptRecord])
	if err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	return attempts, nil
}
