package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrFenced says that the run is no longer this attempt's: another attempt has begun, or the run has
// ended. Whoever gets it rolls back and writes nothing.
var ErrFenced = errors.New("the run has passed on to another attempt")

// Attempt is one try of a run on one backend.
type Attempt struct {
	RunID   int64
	ViewID  int64
	Number  int
	Token   int64
	Started time.Time

	// RearmedAt is the version of the catalog row that the attempt began with; nil = that of now.
	RearmedAt *time.Time
}

// OpenAttempt makes a queued run running, on the given backend, and returns its fencing token. It
// returns [ErrFenced] when the run is not queued or another job carries it. deadline is the longest
// time that the attempt may take before a sidecar terminates its backend; zero means no limit.
func OpenAttempt(ctx context.Context, q Querier, w Work, jobID int64, pid uint32, backendStart time.Time, worker string, deadline time.Duration) (Attempt, error) {
	a := Attempt{RunID: w.RunID, ViewID: w.ViewID, RearmedAt: w.RearmedAt}
	err := q.QueryRow(ctx, `
WITH opened AS (
    UPDATE mvscheduler.run
       SET state = 'running',
           attempts = attempts + 1,
           token = token + 1,
           started_at = clock_timestamp(),
           worker = $5,
           owner = $7::oid,   -- as whom it runs, and who may see what comes of it
           progress = NULL
     WHERE id = $1
       AND state = 'queued'
       AND job_id = $2
    RETURNING id, view_id, owner, attempts, token, started_at
)
INSERT INTO mvscheduler.attempt (run_id, attempt, view_id, owner, token, backend_pid, backend_start, worker, outcome, started_at, deadline_at)
SELECT id, attempts, view_id, owner, token, $3, $4, $5, 'running', started_at,
       CASE WHEN $6::float8 > 0 THEN clock_timestamp() + make_interval(secs => $6) END
  FROM opened
RETURNING attempt, token, started_at`,
		w.RunID, jobID, int32(pid), backendStart, worker, deadline.Seconds(), w.Owner).Scan(&a.Number, &a.Token, &a.Started)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, ErrFenced
	}
	if err != nil {
		return a, fmt.Errorf("open an attempt of run %d: %w", w.RunID, err)
	}
	return a, nil
}

// Success is what a finished refresh leaves behind.
type Success struct {
	Method    string
	Reason    string
	DataAsOf  *time.Time // nil = unknown
	Rows      *int64
	SizeBytes int64
	WALBytes  int64
	Token     string // what the contents depend on; empty = unknown
	Contents  string // see refresh.Result; empty = unknown

	// What the choice of the next method looks back on.
	Took           time.Duration // zero = no refresh of the view itself
	Changed        *int64
	Buckets        *int64 // that were computed; nil = the view has none
	ReadersWaiting int
	GaveUp         string // method that was tried before this one, in vain; empty = none
}

// Succeed ends the run, its attempt and the view's health in the transaction of the refresh itself. It
// touches only rows that the sidecar alone writes, so no user's transaction can make it wait.
func Succeed(ctx context.Context, tx pgx.Tx, a Attempt, s Success) error {
	var fenced bool
	err := tx.QueryRow(ctx, `
WITH ended AS (
    UPDATE mvscheduler.run
       SET state = 'succeeded',
           finished_at = clock_timestamp(),
           method = $4,
           reason = concat_ws('; ', CASE WHEN attempts = 1 THEN reason END, nullif($5, '')),  -- the dispatcher's, and ours
           data_as_of = $6,
           rows = $7,
           size_bytes = $8,
           wal_bytes = $9,
           took = make_interval(secs => nullif($11::float8, 0)),
           changed = $12,
           buckets = $16,
           readers_waiting = CASE WHEN $11 > 0 THEN $13::integer END,
           gave_up = nullif($14, ''),
           sqlstate = NULL,
           error = NULL,
           progress = NULL
     WHERE id = $1
       AND token = $2
       AND state = 'running'
    RETURNING id, view_id, started_at, finished_at
), attempted AS (
    UPDATE mvscheduler.attempt AS t
       SET outcome = 'succeeded',
           finished_at = e.finished_at
      FROM ended AS e
     WHERE t.run_id = e.id
       AND t.attempt = $3
), healthy AS (
    INSERT INTO mvscheduler.view_health AS h (view_id, last_run_id, refreshes, last_refresh_at, data_as_of, last_duration, method, rows_estimate, size_bytes, change_token, contents, read_rule)
    SELECT e.view_id, e.id, 1, e.finished_at, $6, e.finished_at - e.started_at, $4, $7, $8, nullif($10, ''), nullif($15, ''), w.xmin
      FROM ended AS e
      LEFT JOIN mvscheduler.view_state AS s ON s.view_id = e.view_id
      LEFT JOIN pg_rewrite AS w ON w.ev_class = coalesce(s.query_relation, s.relation)::oid AND w.ev_type = '1'
    ON CONFLICT (view_id) DO UPDATE
       SET last_run_id = EXCLUDED.last_run_id,
           refreshes = h.refreshes + 1,
           last_refresh_at = EXCLUDED.last_refresh_at,
           data_as_of = EXCLUDED.data_as_of,
           last_duration = EXCLUDED.last_duration,
           method = EXCLUDED.method,
           rows_estimate = EXCLUDED.rows_estimate,
           size_bytes = EXCLUDED.size_bytes,
           change_token = EXCLUDED.change_token,
           contents = EXCLUDED.contents,
           read_rule = EXCLUDED.read_rule,
           skips = 0,
           consecutive_failures = 0,
           last_sqlstate = NULL,
           last_error = NULL,
           auto_paused_at = NULL,
           auto_paused_version = NULL,
           auto_pause_reason = NULL
)
SELECT count(*) = 0
  FROM ended`,
		a.RunID, a.Token, a.Number, s.Method, s.Reason, s.DataAsOf, s.Rows, s.SizeBytes, s.WALBytes, s.Token,
		s.Took.Seconds(), s.Changed, s.ReadersWaiting, s.GaveUp, s.Contents, s.Buckets).Scan(&fenced)
	if err != nil {
		return fmt.Errorf("complete run %d: %w", a.RunID, err)
	}
	if fenced {
		return ErrFenced
	}
	return nil
}

// Skip ends a queued run without an attempt: nothing changed below its view, whose contents are whole up
// to asOf. It touches only rows that the sidecar alone writes. It returns [ErrFenced] when the run is not
// queued or another job carries it.
func Skip(ctx context.Context, tx pgx.Tx, runID, jobID int64, worker, reason string, asOf time.Time) error {
	var fenced bool
	err := tx.QueryRow(ctx, `
WITH ended AS (
    UPDATE mvscheduler.run
       SET state = 'skipped',
           started_at = clock_timestamp(),
           finished_at = clock_timestamp(),
           worker = $3,
           reason = concat_ws('; ', reason, $4::text),
           data_as_of = $5
     WHERE id = $1
       AND state = 'queued'
       AND job_id = $2
    RETURNING id, view_id
), healthy AS (
    UPDATE mvscheduler.view_health AS h
       SET last_run_id = e.id,
           refreshes = h.refreshes + 1,
           skips = h.skips + 1,
           data_as_of = greatest(h.data_as_of, $5),
           consecutive_failures = 0,
           last_sqlstate = NULL,
           last_error = NULL
      FROM ended AS e
     WHERE h.view_id = e.view_id
)
SELECT count(*) = 0
  FROM ended`, runID, jobID, worker, reason, asOf).Scan(&fenced)
	if err != nil {
		return fmt.Errorf("skip run %d: %w", runID, err)
	}
	if fenced {
		return ErrFenced
	}
	return nil
}

// Failure is how an attempt that did not succeed ends.
type Failure struct {
	Outcome  string // failed, busy, lost or cancelled
	RunState string // queued (to be tried again), failed or cancelled
	Counts   bool   // towards max_attempts
	SQLState string
	Error    string
	Reason   string // what happens next
	Pause    string // not empty: the view is paused, with this reason
}

// Fail ends an attempt without success and puts its run in the state that f names.
func Fail(ctx context.Context, q Querier, a Attempt, f Failure) error {
	var fenced bool
	err := q.QueryRow(ctx, `
WITH ended AS (
    UPDATE mvscheduler.run
       SET state = $4,
           counted = counted + $5::boolean::int,
           finished_at = CASE WHEN $4 <> 'queued' THEN clock_timestamp() END,
           sqlstate = nullif($6, ''),
           error = nullif($7, ''),
           reason = nullif($8, ''),
           progress = NULL
     WHERE id = $1
       AND token = $2
       AND state = 'running'
    RETURNING id, view_id
), attempted AS (
    UPDATE mvscheduler.attempt AS t
       SET outcome = $9,
           finished_at = clock_timestamp(),
           sqlstate = nullif($6, ''),
           error = nullif($7, '')
      FROM ended AS e
     WHERE t.run_id = e.id
       AND t.attempt = $3
), ill AS (
    INSERT INTO mvscheduler.view_health AS h (view_id, last_run_id, consecutive_failures, last_failure_at, last_sqlstate, last_error, auto_paused_at, auto_paused_version, auto_pause_reason)
    SELECT view_id, id, 1, clock_timestamp(), nullif($6, ''), nullif($7, ''), CASE WHEN $10 <> '' THEN clock_timestamp() END,
           CASE WHEN $10 <> '' THEN coalesce($11, (SELECT s.rearmed_at FROM mvscheduler.view_state AS s WHERE s.view_id = ended.view_id)) END, nullif($10, '')
      FROM ended
     WHERE $5
    ON CONFLICT (view_id) DO UPDATE
       SET last_run_id = EXCLUDED.last_run_id,
           consecutive_failures = h.consecutive_failures + 1,
           last_failure_at = EXCLUDED.last_failure_at,
           last_sqlstate = EXCLUDED.last_sqlstate,
           last_error = EXCLUDED.last_error,
           auto_paused_at = EXCLUDED.auto_paused_at,
           auto_paused_version = EXCLUDED.auto_paused_version,
           auto_pause_reason = EXCLUDED.auto_pause_reason
), answered AS (
    DELETE FROM mvscheduler.request AS c
     USING ended AS e
     WHERE c.kind = 'cancel'
       AND c.view_id = e.view_id
       AND c.target_run = e.id
       AND $4 <> 'queued'
)
SELECT count(*) = 0
  FROM ended`,
		a.RunID, a.Token, a.Number, f.RunState, f.Counts, f.SQLState, f.Error, f.Reason, f.Outcome, f.Pause, a.RearmedAt).Scan(&fenced)
	if err != nil {
		return fmt.Errorf("end attempt %d of run %d: %w", a.Number, a.RunID, err)
	}
	if fenced {
		return ErrFenced
	}
	return nil
}

// StopReason is why a sidecar told the attempt's backend to stop: cancel, deadline or yield; empty when
// none did.
func StopReason(ctx context.Context, q Querier, a Attempt) (string, error) {
	var stop *string
	err := q.QueryRow(ctx, `SELECT stop FROM mvscheduler.attempt WHERE run_id = $1 AND attempt = $2`, a.RunID, a.Number).Scan(&stop)
	if err != nil {
		return "", fmt.Errorf("read why attempt %d of run %d was stopped: %w", a.Number, a.RunID, err)
	}
	if stop == nil {
		return "", nil
	}
	return *stop, nil
}

// ReportProgress shows what a running attempt is doing; an empty waitingFor clears it.
func ReportProgress(ctx context.Context, q Querier, a Attempt, waitingFor string) error {
	_, err := q.Exec(ctx, `
UPDATE mvscheduler.run
   SET progress = CASE WHEN $3 <> '' THEN jsonb_build_object('waiting_for', $3::text, 'since', clock_timestamp()) END
 WHERE id = $1
   AND token = $2
   AND state = 'running'`, a.RunID, a.Token, waitingFor)
	if err != nil {
		return fmt.Errorf("report progress of run %d: %w", a.RunID, err)
	}
	return nil
}

// ServerProgress is how far the server says that a backend is.
type ServerProgress struct {
	What    string    // building an index, or analyzing
	Percent int       // of the blocks, where the server knows how many there are
	Fill    *Progress `db:"-"` // of a fill; nil = it is none
}

// Progress is how far the fill of an incremental view is. Zero = unknown.
type Progress struct {
	Buckets int64
	Total   int64 // buckets, estimated
	Rows    int64
	Left    time.Duration
}

// LookAtProgress asks the server how far a backend is; nil where it does nothing that the server tells about.
func LookAtProgress(ctx context.Context, q Querier, pid uint32) (*ServerProgress, error) {
	rows, err := q.Query(ctx, `
SELECT coalesce('building index ' || c.relname, 'building an index') AS what,
       coalesce(100 * p.blocks_done / nullif(p.blocks_total, 0), 100 * p.tuples_done / nullif(p.tuples_total, 0), 0)::int AS percent
  FROM pg_stat_progress_create_index AS p
  LEFT JOIN pg_class AS c ON c.oid = p.index_relid
 WHERE p.pid = $1
 UNION ALL
SELECT 'reading a sample', coalesce(100 * p.sample_blks_scanned / nullif(p.sample_blks_total, 0), 0)::int
  FROM pg_stat_progress_analyze AS p
 WHERE p.pid = $1
 LIMIT 1`, int32(pid))
	if err != nil {
		return nil, fmt.Errorf("look at the progress of pid %d: %w", pid, err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[ServerProgress])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the progress of pid %d: %w", pid, err)
	}
	return p, nil
}

// ReportPhase shows what the attempt is doing and how far it is. It waits for nobody: a run that is about to end
// needs no progress.
func ReportPhase(ctx context.Context, q Querier, a Attempt, phase string, done *ServerProgress) error {
	var what *string
	var percent *int
	var buckets, total, rows *int64
	var left *float64
	if done != nil {
		what, percent = &done.What, &done.Percent
		if f := done.Fill; f != nil {
			buckets, rows = &f.Buckets, &f.Rows
			if f.Total > 0 {
				total = &f.Total
			}
			if f.Left > 0 {
				left = new(f.Left.Seconds())
			}
		}
	}
	_, err := q.Exec(ctx, `
UPDATE mvscheduler.run
   SET progress = jsonb_strip_nulls(jsonb_build_object('phase', $3::text, 'what', $4::text, 'percent', $5::int, 'since', clock_timestamp(),
                                                'buckets', $6::bigint, 'buckets_total', $7::bigint, 'rows', $8::bigint, 'eta', clock_timestamp() + make_interval(secs => $9::float8)))
 WHERE id = (SELECT r.id FROM mvscheduler.run AS r WHERE r.id = $1 AND r.token = $2 AND r.state = 'running' FOR NO KEY UPDATE SKIP LOCKED)`,
		a.RunID, a.Token, phase, what, percent, buckets, total, rows, left)
	if err != nil {
		return fmt.Errorf("report the phase of run %d: %w", a.RunID, err)
	}
	return nil
}

// EndQueued ends a run that no attempt has begun: its view was dropped, or somebody cancelled it.
func EndQueued(ctx context.Context, q Querier, runID int64, state, reason string) error {
	_, err := q.Exec(ctx, `
WITH ended AS (
    UPDATE mvscheduler.run
       SET state = $2,
           reason = $3,
           finished_at = clock_timestamp()
     WHERE id = $1
       AND state = 'queued'
    RETURNING id, view_id
)
DELETE FROM mvscheduler.request AS c
 USING ended AS e
 WHERE c.kind = 'cancel'
   AND c.view_id = e.view_id
   AND c.target_run = e.id`, runID, state, reason)
	if err != nil {
		return fmt.Errorf("end queued run %d: %w", runID, err)
	}
	return nil
}

// Analyzed records the size of the view when it was analyzed, by which the next refresh judges whether
// it changed much.
func Analyzed(ctx context.Context, q Querier, viewID int64, rows int64) error {
	_, err := q.Exec(ctx, `
UPDATE mvscheduler.view_health
   SET analyzed_rows = $2
 WHERE view_id = $1`, viewID, rows)
	if err != nil {
		return fmt.Errorf("record ANALYZE of view %d: %w", viewID, err)
	}
	return nil
}
