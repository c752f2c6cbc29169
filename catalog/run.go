package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Querier is what a pool, a connection and a transaction have in common.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// execPrepared runs a statement without parameters that comes again and again. Exec would send it as a plain text, which
// the server parses and plans each time.
func execPrepared(ctx context.Context, q Querier, sql string) error {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// Tick begins a tick: it reads the database's clock, the only one that decides when something is due, and
// settings.max_runs_per_owner.
func Tick(ctx context.Context, q Querier) (now time.Time, runsPerOwner int, err error) {
	err = q.QueryRow(ctx, `
SELECT clock_timestamp(), max_runs_per_owner
  FROM mvscheduler.settings`).Scan(&now, &runsPerOwner)
	if err != nil {
		return now, 0, fmt.Errorf("read the database's clock: %w", err)
	}
	return now, runsPerOwner, nil
}

// insertRun leaves the decision about doubles to the unique indexes: an active run of the view, or a
// run for the slot, makes it return no row.
const insertRun = `
INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state, reason, missed_slots, finished_at)
VALUES (coalesce($1, nextval('mvscheduler.run_id_seq')), $2, $3, $4::oid, $5, $6, $7, $8, nullif($9, ''), $10,
        CASE WHEN $8 = 'skipped' THEN clock_timestamp() END)
ON CONFLICT DO NOTHING
RETURNING id`

const insertJoined = `
INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state, reason, joined_run, finished_at)
SELECT id, $2, $3, $4::oid, 'manual', $5, $5, 'skipped', $6, $7, clock_timestamp()
  FROM unnest($1::bigint[]) AS r(id)
ON CONFLICT DO NOTHING`

const moveClock = `
UPDATE mvscheduler.view_state
   SET next_slot = $2,
       next_due = $3,
       next_cause = NULL,
       reschedule = false,
       target = make_interval(secs => nullif($4::float8, 0)),
       upstream_seen = $5
 WHERE view_id = $1`

// pause leaves a view alone that is paused for its row as it is already.
const pause = `
INSERT INTO mvscheduler.view_health AS h (view_id, auto_paused_at, auto_paused_version, auto_pause_reason)
SELECT s.view_id, clock_timestamp(), s.rearmed_at, $2
  FROM mvscheduler.view_state AS s
 WHERE s.view_id = $1
ON CONFLICT (view_id) DO UPDATE
   SET auto_paused_at = EXCLUDED.auto_paused_at,
       auto_paused_version = EXCLUDED.auto_paused_version,
       auto_pause_reason = EXCLUDED.auto_pause_reason
 WHERE h.auto_paused_version IS DISTINCT FROM EXCLUDED.auto_paused_version`

// Queued is a run that was made and waits for its River job.
type Queued struct {
	RunID    int64
	Priority int16
	After    time.Duration // its job is not worked sooner
}

// Apply writes decisions: runs, skipped slots, clocks and pauses. It returns the queued runs, which need a
// River job in the same transaction.
func Apply(ctx context.Context, tx pgx.Tx, now time.Time, decisions []Decision) ([]Queued, error) {
	var queued []Queued
	batch := &pgx.Batch{}
	insert := func(r *NewRun, state string) *pgx.QueuedQuery {
		var id *int64
		if r.ID != 0 {
			id = &r.ID
		}
		return batch.Queue(insertRun, id, r.ViewID, r.ViewName, r.Owner, r.Cause, r.Slot, r.DueAt, state, r.Reason, r.MissedSlots)
	}
	runIDs := make(map[int]int64)
	enqueue := func(i int, r *NewRun) {
		insert(r, "queued").QueryRow(func(row pgx.Row) error {
			var id int64
			if err := row.Scan(&id); errors.Is(err, pgx.ErrNoRows) {
				return nil
			} else if err != nil {
				return err
			}
			runIDs[i] = id
			queued = append(queued, Queued{RunID: id, Priority: r.Priority})
			return nil
		})
	}
	for i, d := range decisions {
		if d.Pause != nil {
			batch.Queue(pause, d.Pause.ViewID, d.Pause.Reason)
		}
		if d.Run != nil {
			enqueue(i, d.Run)
		}
		if len(d.Joined) > 0 { // in case the slot has a run already, as after the server's clock was set back
			enqueue(i, &NewRun{
				ID: d.Joined[0], ViewID: d.Run.ViewID, ViewName: d.Run.ViewName, Owner: d.Run.Owner, Priority: d.Run.Priority,
				Cause: "manual", Slot: now, DueAt: now,
			})
		}
		if d.Skipped != nil {
			insert(d.Skipped, "skipped")
		}
		if c := d.Clock; c != nil {
			batch.Queue(moveClock, c.ViewID, orNil(c.Slot), orNil(c.Due), c.Target.Seconds(), c.UpstreamCount)
		}
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("write %d decisions: %w", len(decisions), err)
	}

	joined := &pgx.Batch{}
	for i, d := range decisions {
		if len(d.Joined) > 0 {
			reason := fmt.Sprintf("run %d answers this request", runIDs[i])
			joined.Queue(insertJoined, d.Joined, d.Run.ViewID, d.Run.ViewName, d.Run.Owner, now, reason, runIDs[i])
		}
	}
	if joined.Len() > 0 {
		if err := tx.SendBatch(ctx, joined).Close(); err != nil {
			return nil, fmt.Errorf("record joined requests: %w", err)
		}
	}
	return queued, nil
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// SetJobs records which River job carries each run.
func SetJobs(ctx context.Context, tx pgx.Tx, runs, jobs []int64) error {
	_, err := tx.Exec(ctx, `
UPDATE mvscheduler.run AS r
   SET job_id = j.job_id
  FROM unnest($1::bigint[], $2::bigint[]) AS j(run_id, job_id)
 WHERE r.id = j.run_id`, runs, jobs)
	if err != nil {
		return fmt.Errorf("record %d jobs: %w", len(runs), err)
	}
	return nil
}

// Work is what a worker has to know of a run.
type Work struct {
	RunID            int64
	State            string
	JobID            *int64
	Counted          int
	ViewID           int64
	ViewName         string
	DueAt            time.Time
	Cause            string
	Asked            bool       // by a person, or by an edit: it is never skipped
	RunsPerOwner     int        // settings.max_runs_per_owner
	Gone             bool       // the catalog row was deleted
	RearmedAt        *time.Time // last change of the catalog row
	CancelRequested  bool
	Kind             string
	Relation         uint32
	QueryRelation    uint32 // the plain view with its query; 0 = an adopted view has none
	Owner            uint32
	OwnerName        string
	Method           string // of the version that runs work on
	Timezone         string
	StatementTimeout time.Duration
	LockTimeout      time.Duration
	WorkMem          *string
	MaxAttempts      int
	MaxSizeBytes     *int64
	Analyze          bool
	Target           time.Duration
	AnalyzedRows     *int64     // rows when the view was last analyzed
	RowsEstimate     *int64     // rows after the last refresh
	Upstream         []int64    // managed views that it reads, by the catalog as it is now
	UpstreamMoved    bool       // they are not those that view_state names
	UpstreamAsOf     *time.Time // their oldest data_as_of
	UpstreamUnknown  bool       // one of them has none
	ChangeTracking   string
	ChangeToken      *string    // at the last refresh; nil = unknown
	Contents         *string    // see refresh.Result; nil = unknown
	DataAsOf         *time.Time // nil = the view has no contents yet, or nobody knows how old they are
	RefreshBegan     *time.Time // start of the attempt that refreshed it last
	Skips            int        // in a row so far
	MaxSkips         int        // settings.max_skips
	Redefined        bool       // a new version is to be built
	Leftovers        bool       // of an earlier swap
}

// AsOf is the instant up to which the contents are whole when a refresh saw everything committed before seen: as old
// as the oldest of the managed views below, and nil when one of these is of unknown age.
func (w Work) AsOf(seen time.Time) *time.Time {
	switch {
	case w.UpstreamUnknown:
		return nil
	case w.UpstreamAsOf != nil && w.UpstreamAsOf.Before(seen):
		return w.UpstreamAsOf
	}
	return &seen
}

// SetUpstream records what a view reads now: a view below it was replaced, or became managed, since its row was
// written. It waits for nobody: where the row is locked, the next run records it.
func SetUpstream(ctx context.Context, q Querier, w Work) error {
	_, err := q.Exec(ctx, `
UPDATE mvscheduler.view_state
   SET upstream = $2
 WHERE view_id IN (SELECT s.view_id FROM mvscheduler.view_state AS s WHERE s.view_id = $1 FOR UPDATE SKIP LOCKED)`, w.ViewID, w.Upstream)
	if err != nil {
		return fmt.Errorf("record what view %q reads: %w", w.ViewName, err)
	}
	return nil
}

// FindUpstream looks again at views that follow others and know none: after a restore the rows of those may have
// come later. Their own runs would find them too, but they have none without.
func FindUpstream(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, `
UPDATE mvscheduler.view_state AS s
   SET upstream = f.found
  FROM (SELECT v.view_id, mvscheduler.upstream_of(CASE WHEN v.method = 'incremental' THEN v.query_relation::oid ELSE v.relation::oid END) AS found
          FROM mvscheduler.view_state AS v
         WHERE v.refresh_on = 'upstream'
           AND v.upstream = '{}'
           FOR UPDATE SKIP LOCKED) AS f
 WHERE s.view_id = f.view_id
   AND f.found <> '{}'`)
	if err != nil {
		return fmt.Errorf("find what views follow: %w", err)
	}
	return nil
}

// LoadWork reads a run and the present state of its view.
func LoadWork(ctx context.Context, q Querier, runID int64) (Work, error) {
	rows, err := q.Query(ctx, `
SELECT r.id AS run_id, r.state, r.job_id, r.counted, r.view_id, r.view_name, r.due_at, r.cause, r.kind,
       r.cause IN ('manual', 'initial') OR EXISTS (SELECT FROM mvscheduler.run AS j WHERE j.joined_run = r.id) AS asked,
       (SELECT g.max_runs_per_owner FROM mvscheduler.settings AS g) AS runs_per_owner,
       s.view_id IS NULL AND k.id IS NULL AS gone, s.rearmed_at,
       EXISTS (SELECT FROM mvscheduler.request AS c WHERE c.kind = 'cancel' AND c.view_id = r.view_id AND c.target_run = r.id) AS cancel_requested,
       coalesce(s.relation::oid, 0::oid) AS relation, coalesce(s.query_relation::oid, 0::oid) AS query_relation, coalesce(s.owner::oid, k.owner::oid, 0::oid) AS owner, coalesce(s.owner::text, k.owner::text, '') AS owner_name,
       coalesce(d.method, s.method, '') AS method, coalesce(s.timezone, '') AS timezone,
       coalesce(s.statement_timeout, '0') AS statement_timeout, coalesce(s.lock_timeout, '0') AS lock_timeout, s.work_mem,
       coalesce(s.max_attempts, 0) AS max_attempts, s.max_size_bytes, coalesce(s."analyze", false) AS "analyze",
       coalesce(s.target, s.tuned_interval, s.refresh_interval, '0') AS target,
       h.analyzed_rows, h.rows_estimate, coalesce(s.change_tracking, '') AS change_tracking, h.change_token, h.contents, h.data_as_of,
       h.last_refresh_at - h.last_duration AS refresh_began,
       coalesce(h.skips, 0) AS skips, (SELECT g.max_skips FROM mvscheduler.settings AS g) AS max_skips,
       d.view_id IS NOT NULL AS redefined,
       EXISTS (SELECT FROM mvscheduler.piece AS p WHERE p.view_id = r.view_id AND p.kind IN ('old', 'old_query')) AS leftovers,
       coalesce(up.stream, '{}') AS upstream, up.stream IS DISTINCT FROM s.upstream AS upstream_moved,
       below.as_of AS upstream_as_of, below.unknown AS upstream_unknown
  FROM mvscheduler.run AS r
  LEFT JOIN mvscheduler.view_state AS s ON s.view_id = r.view_id
  LEFT JOIN mvscheduler.source_state AS k ON k.id = r.view_id
  LEFT JOIN mvscheduler.redefinition AS d ON d.view_id = r.view_id
  LEFT JOIN mvscheduler.view_health AS h ON h.view_id = r.view_id
 CROSS JOIN LATERAL (SELECT mvscheduler.upstream_of(CASE WHEN 'incremental' IN (s.method, d.method) THEN (mvscheduler.version_at_work(s.view_id)).query ELSE s.relation::oid END) AS stream OFFSET 0) AS up  -- asked once
 CROSS JOIN LATERAL (SELECT min(u.data_as_of) AS as_of, coalesce(bool_or(u.data_as_of IS NULL), false) AS unknown
                       FROM unnest(up.stream) AS n(view_id)
                       LEFT JOIN mvscheduler.view_health AS u ON u.view_id = n.view_id) AS below
 WHERE r.id = $1`, runID)
	if err != nil {
		return Work{}, fmt.Errorf("load run %d: %w", runID, err)
	}
	w, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByNameLax[Work])
	if err != nil {
		return Work{}, fmt.Errorf("load run %d: %w", runID, err)
	}
	return w, nil
}
