package refresh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
)

// View is what a refresh has to know of a view.
type View struct {
	ID               int64
	Name             string
	Target           pgexec.Target
	Method           string // auto, full or concurrent
	TimeZone         string
	StatementTimeout time.Duration
	LockTimeout      time.Duration
	WorkMem          string             // with unit; empty = the server's
	MaxSizeBytes     int64              // zero = no limit
	RowsBefore       *int64             // rows after the refresh before; nil = unknown
	Past             []catalog.Measured // the last refreshes, the newest first; only method auto needs them
}

// Policy bounds how long an attempt waits for locks.
type Policy struct {
	// BusyDeadline is the time after which an attempt that finds locks taken ends. Defaults to 20 s.
	BusyDeadline time.Duration
	// Needs are the locks of which [Step] asks who holds one when a lock was not had in time. Nil = that of the view,
	// ACCESS EXCLUSIVE.
	Needs func(context.Context) ([]catalog.Lock, error)
}

// Busyness is one lock that was not had in time.
type Busyness struct {
	Waited time.Duration // for the lock, and until the next try
	Holder string        // who holds it; empty when nobody does any more
	Err    error
}

// String says what the refresh waits for.
func (b Busyness) String() string {
	if b.Holder != "" {
		return b.Holder
	}
	return Describe(b.Err)
}

// Result is what a refresh did.
type Result struct {
	Method    string
	Reason    string    // why this method; empty where there was nothing to choose
	DataAsOf  time.Time // everything committed before this instant is in the view
	Rows      *int64    // rows in the view; nil when the server does not count (track_counts is off)
	Changed   int64     // rows inserted and deleted
	SizeBytes int64     // with indexes and TOAST
	WALBytes  int64     // written by the whole server meanwhile, an upper bound

	// Contents names what this refresh left in the view: its file, and the server's counters of rows inserted,
	// updated and deleted in it, as they are when this session has reported its own.
	Contents string

	Took           time.Duration // from the start of the transaction until right before it committed
	ReadersWaiting int           // sessions that waited to read the view by then
	GaveUp         string        // method that this attempt has given up for this one; empty = none

	chosen bool // between two methods that are possible, with the settings that go with it
}

// SizeError says that the view would have grown past its limit.
type SizeError struct{ Size, Limit int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the view would have %d bytes, more than its max_size_bytes of %d; the old contents stay", e.Size, e.Limit)
}

const (
	shortestPause = 200 * time.Millisecond
	longestPause  = 2 * time.Second
)

// Try refreshes a view once, waiting for locks as the policy says. complete runs in the transaction of
// the refresh, right before it commits: what it writes is there if and only if the new contents are.
// onBusy hears of each lock that was not had in time.
//
// What can be read of PostgreSQL's catalogs before the transaction is read on the pool catalogs, which keeps
// prepared statements.
func Try(ctx context.Context, session *pgexec.Session, catalogs querier, view View, policy Policy, onBusy func(Busyness), complete func(context.Context, pgx.Tx, Result) error) (Result, error) {
	var (
		result Result
		below  Files
		gaveUp string
		hidden []uint32 // relations that functions and policies read, and somebody rewrote
	)
	err := patiently(ctx, policy, onBusy,
		func() (err error) {
			began := time.Now()
			result, below, err = once(ctx, session, catalogs, view, gaveUp, &hidden, complete)
			if gaveUp == "" && ctx.Err() == nil && givesUp(result, err, view.LockTimeout, time.Since(began)) {
				again, read, other := once(ctx, session, catalogs, view, result.Method, &hidden, complete)
				if !errors.Is(other, errNoOther) {
					gaveUp, result, below, err = again.GaveUp, again, read, other
				}
			}
			if err != nil {
				return fmt.Errorf("refresh view %q: %w", view.Name, err)
			}
			return nil
		},
		func() (*holder, error) {
			return lockHolder(ctx, catalogs, view.Target.OID, below, result.Method == Concurrent)
		})
	return result, err
}

// patiently does something until it does not meet a lock any more, or the policy's time is over. find says
// who holds the lock.
func patiently(ctx context.Context, policy Policy, onBusy func(Busyness), try func() error, find func() (*holder, error)) error {
	deadline := time.Now().Add(policy.BusyDeadline)
	if policy.BusyDeadline == 0 {
		deadline = time.Now().Add(20 * time.Second)
	}
	for tries := 0; ; tries++ {
		began := time.Now()
		err := try()
		if err == nil || Classify(err) != Busy || ctx.Err() != nil {
			return err
		}
		pause := pauseAfter(tries)
		if time.Now().Add(pause).After(deadline) {
			return err
		}
		busy := Busyness{Waited: time.Since(began) + pause, Err: err}
		if SQLState(err) == "55P03" {
			if h, err := find(); err == nil && h != nil {
				busy.Holder = h.String()
			}
		}
		onBusy(busy)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// pauseAfter is how long nothing is held before the next try: doubled each time between the bounds, from half to
// one and a half times that at random, so that those who met the same lock do not meet again.
func pauseAfter(tries int) time.Duration {
	pause := min(longestPause, shortestPause<<min(tries, 4))
	return pause/2 + rand.N(pause)
}

var errNoOther = errors.New("the other method is not possible any more")

// givesUp says whether an error is one that the other method does not meet: a full refresh that did not
// finish within lock_timeout, a concurrent one that needs too much space. Only what was chosen is given up,
// not what was asked for.
func givesUp(result Result, err error, lockTimeout, took time.Duration) bool {
	if err == nil || !result.chosen {
		return false
	}
	var tooLarge *SizeError
	switch {
	case result.Method == Concurrent:
		return errors.As(err, &tooLarge)
	case SQLState(err) == "57014": // a cancel by a person has the same SQLSTATE
		return took >= lockTimeout
	}
	return SQLState(err) == "55P03"
}

// once is one REFRESH, not by the method that was given up.
func once(ctx context.Context, session *pgexec.Session, catalogs querier, view View, gaveUp string, hidden *[]uint32, complete func(context.Context, pgx.Tx, Result) error) (Result, Files, error) {
	facts, err := readFacts(ctx, catalogs, view)
	if err != nil {
		return Result{}, nil, err
	}
	facts.GaveUp = gaveUp
	result := Result{GaveUp: gaveUp, chosen: facts.choice()}
	if result.Method, result.Reason, err = ChooseMethod(facts); err != nil {
		return result, nil, err
	}
	if result.Method == gaveUp {
		return result, nil, errNoOther
	}
	before, err := loadFiles(ctx, catalogs, view.Target.OID, *hidden)
	if err != nil {
		return result, nil, err
	}
	settings := pgexec.Settings{
		TimeZone: view.TimeZone, WorkMem: view.WorkMem,
		StatementTimeout: view.StatementTimeout, LockTimeout: view.LockTimeout,
	}
	if result.chosen && result.Method == Full && (settings.StatementTimeout == 0 || view.LockTimeout < settings.StatementTimeout) {
		settings.StatementTimeout = view.LockTimeout // waiting for the lock and holding it, for readers both are one
	}
	err = session.InTx(ctx, settings, func(tx *pgexec.Tx) error {
		start, err := readStart(ctx, tx, view, &result)
		if err != nil {
			return err
		}
		var scanned scans
		if err := readScans(view.ID, &scanned).Alone(ctx, tx); err != nil {
			return err
		}
		if err := refreshIn(ctx, tx, session, catalogs, view, result.Method); err != nil {
			return err
		}
		after, err := loadFiles(ctx, catalogs, view.Target.OID, *hidden) // a table that the query's own functions rewrote has not moved
		if err != nil {
			return err
		}
		if before.moved(after) {
			return ErrMoved
		}
		rewritten, err := measure(ctx, tx, view, start, before, &result)
		if err != nil {
			return err
		}
		if len(rewritten) > 0 { // from now on it is known which files they have before
			*hidden = append(*hidden, rewritten...)
			return ErrMoved
		}
		if view.MaxSizeBytes > 0 && result.SizeBytes > view.MaxSizeBytes {
			return &SizeError{Size: result.SizeBytes, Limit: view.MaxSizeBytes}
		}
		if err := recordScans(view.ID, scanned).Alone(ctx, tx); err != nil {
			return err
		}
		return complete(ctx, tx, result)
	})
	return result, before, err
}

func readFacts(ctx context.Context, q querier, view View) (Facts, error) {
	facts := Facts{Wanted: view.Method, LockTimeout: view.LockTimeout, MaxSizeBytes: view.MaxSizeBytes, Past: view.Past}
	rows, err := q.Query(ctx, `
SELECT c.relispopulated,
       EXISTS (SELECT
                 FROM pg_index AS i
                WHERE i.indrelid = c.oid
                  AND i.indisunique
                  AND i.indimmediate
                  AND i.indisvalid
                  AND i.indpred IS NULL
                  AND i.indexprs IS NULL),
       EXISTS (SELECT
                 FROM pg_stat_get_wal_senders() AS w
                WHERE w.pid NOT IN (SELECT s.active_pid FROM pg_replication_slots AS s WHERE s.slot_type = 'logical' AND s.active_pid IS NOT NULL)),
       pg_total_relation_size(c.oid),
       coalesce(pg_stat_get_live_tuples(c.oid), 0),
       coalesce(pg_stat_get_dead_tuples(c.oid), 0)
  FROM pg_class AS c
 WHERE c.oid = $1`, view.Target.OID)
	if err != nil {
		return facts, fmt.Errorf("look at the view: %w", err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[struct {
		Populated, UniqueKey, Standby bool
		Size                          *int64 // nil when it is dropped at this moment
		Live, Dead                    int64
	}])
	if errors.Is(err, pgx.ErrNoRows) || err == nil && found.Size == nil {
		return facts, pgexec.ErrMissing
	}
	if err != nil {
		return facts, fmt.Errorf("look at the view: %w", err)
	}
	facts.Populated, facts.UniqueKey, facts.Standby = found.Populated, found.UniqueKey, found.Standby
	facts.Storage = catalog.Storage{SizeBytes: *found.Size, LiveRows: found.Live, DeadRows: found.Dead}
	return facts, nil
}

// start is where the counters stood before REFRESH.
type start struct {
	wal               string
	snapshot          string // older than that of REFRESH
	inserted, deleted int64
}

// readStart notes the clock before REFRESH takes its snapshot, where the server's WAL stands, and this
// session's counters of the view: they hold what earlier transactions did as well, until the session
// reports it, at most once a second.
func readStart(ctx context.Context, tx *pgexec.Tx, view View, result *Result) (s start, err error) {
	err = tx.QueryRow(ctx, `
SELECT clock_timestamp(),
       pg_current_wal_insert_lsn()::text,
       pg_current_snapshot()::text,
       coalesce(pg_stat_get_xact_tuples_inserted($1), 0),
       coalesce(pg_stat_get_xact_tuples_deleted($1), 0)`, view.Target.OID).
		Scan(&result.DataAsOf, &s.wal, &s.snapshot, &s.inserted, &s.deleted)
	if err != nil {
		return s, fmt.Errorf("read the clock: %w", err)
	}
	return s, nil
}

// measure says what the refresh did: a plain REFRESH counts what it wrote as inserted, a concurrent one
// what it inserted and deleted.
//
// rewritten are relations that only a function or a policy reads, since they are locked but not below, and whose
// row in pg_class some transaction replaced that had not ended when the attempt began: TRUNCATE does, and leaves
// nothing for our snapshot to see. What is locked against everybody was rewritten by the function itself.
func measure(ctx context.Context, tx pgx.Tx, view View, s start, below Files, result *Result) (rewritten []uint32, err error) {
	var (
		inserted, deleted int64
		counted           bool
		ended             time.Time
	)
	err = tx.QueryRow(ctx, `
WITH locks AS MATERIALIZED (  -- the server collects those of all sessions, each time that it is asked
    SELECT l.pid, l.relation, l.mode, l.granted
      FROM pg_locks AS l
     WHERE l.locktype = 'relation'
       AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
       AND (l.relation = $1 OR l.pid = pg_backend_pid())
)
SELECT coalesce(pg_stat_get_xact_tuples_inserted($1), 0),
       coalesce(pg_stat_get_xact_tuples_deleted($1), 0),
       current_setting('track_counts')::boolean,
       pg_total_relation_size($1),
       pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $2::pg_lsn)::bigint,
       clock_timestamp(),
       (SELECT count(*) FROM locks AS l WHERE l.relation = $1 AND l.mode = 'AccessShareLock' AND NOT l.granted),
       (SELECT concat_ws(' ', c.relfilenode,
                         pg_stat_get_tuples_inserted(c.oid) + coalesce(pg_stat_get_xact_tuples_inserted(c.oid), 0),
                         pg_stat_get_tuples_updated(c.oid) + coalesce(pg_stat_get_xact_tuples_updated(c.oid), 0),
                         pg_stat_get_tuples_deleted(c.oid) + coalesce(pg_stat_get_xact_tuples_deleted(c.oid), 0))
          FROM pg_class AS c
         WHERE c.oid = $1),
       ARRAY(SELECT c.oid
               FROM locks AS l
               JOIN pg_class AS c ON c.oid = l.relation
              WHERE l.pid = pg_backend_pid()
                AND c.relkind IN ('r', 'm')
                AND c.oid >= 16384
                AND c.oid <> $1
                AND c.oid <> ALL ($4::oid[])
                AND c.relnamespace <> 'mvscheduler'::regnamespace
                AND mod(mod(c.xmin::text::bigint - pg_snapshot_xmin($3::pg_snapshot)::text::bigint, 4294967296) + 4294967296, 4294967296)
                    < pg_snapshot_xmax(pg_current_snapshot())::text::bigint - pg_snapshot_xmin($3::pg_snapshot)::text::bigint
              GROUP BY c.oid
             HAVING NOT bool_or(l.mode = 'AccessExclusiveLock')
              ORDER BY c.oid)`, view.Target.OID, s.wal, s.snapshot, slices.AppendSeq(make([]uint32, 0, len(below)), maps.Keys(below))).
		Scan(&inserted, &deleted, &counted, &result.SizeBytes, &result.WALBytes, &ended, &result.ReadersWaiting, &result.Contents, &rewritten)
	if err != nil {
		return nil, fmt.Errorf("measure the refresh: %w", err)
	}
	result.Took = ended.Sub(result.DataAsOf)
	if !counted {
		return rewritten, nil
	}
	inserted, deleted = inserted-s.inserted, deleted-s.deleted
	result.Changed = inserted + deleted
	switch {
	case result.Method == Full:
		result.Rows = &inserted
	case view.RowsBefore != nil:
		result.Rows = new(*view.RowsBefore + inserted - deleted)
	}
	return rewritten, nil
}

// Analyze brings the planner's statistics of the view up to date, unless somebody holds a lock against it.
func Analyze(ctx context.Context, session *pgexec.Session, view View) error {
	return session.Analyze(ctx, view.Target, pgexec.Settings{
		TimeZone: view.TimeZone, StatementTimeout: view.StatementTimeout, LockTimeout: view.LockTimeout,
	})
}
