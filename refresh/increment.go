package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
)

// ErrEdited says that the row of a view was changed between when it was read and the snapshot of its refresh, which
// would take the change for done.
var ErrEdited = errors.New("the view was changed right before it was refreshed")

// Incremental is the method by which the buckets of time that changed are computed.
const Incremental = "incremental"

// Increment is one refresh of an incremental view, and what it needs of its caller.
type Increment struct {
	View View
	Gate uint32
	Data uint32 // the table with the contents

	// Prepare reads what is below the view, and returns its files. It runs before each try, outside of its transaction.
	Prepare func(context.Context) (Files, error)
	// Read queues what Plan needs to know of the snapshot of the transaction.
	Read func(*pgx.Batch)
	// Plan finds out what is dirty.
	Plan func(context.Context, pgx.Tx, Snapshot) ([]Pass, error)
	// Open queues what lets the attempt through the gate, where there is dirt.
	Open func(*pgx.Batch, []Pass)
	// Close queues what takes that back.
	Close func(*pgx.Batch)
	// Complete ends the run in the transaction.
	Complete func(context.Context, pgx.Tx, Result) error
}

// Snapshot is that of an increment.
type Snapshot struct {
	Before time.Time // it was taken after this instant, and everything that was committed before is in it
	Next   string    // number of the first transaction that had not begun
}

// Do runs the increment in one REPEATABLE READ transaction: what is dirty is read from the same snapshot as the
// rows, so what commits later is dirty for the next one. With nothing dirty the gate is not touched. Locks are
// waited for as the policy says.
func (i Increment) Do(ctx context.Context, session *pgexec.Session, catalogs querier, policy Policy, onBusy func(Busyness)) (Result, error) {
	var (
		result Result
		below  Files
	)
	settings := pgexec.Settings{TimeZone: i.View.TimeZone, WorkMem: i.View.WorkMem, StatementTimeout: i.View.StatementTimeout, LockTimeout: i.View.LockTimeout}
	gate := pgexec.Target{OID: i.Gate, Owner: i.View.Target.Owner, Query: i.View.Target.Query}
	try := func() error {
		result = Result{Method: Incremental}
		before, err := i.Prepare(ctx)
		if err != nil {
			return err
		}
		below = before
		var (
			snapshot Snapshot
			wal      string
		)
		first := func(batch *pgx.Batch) {
			batch.Queue(`
SELECT now(),   -- before the snapshot
       pg_snapshot_xmax(pg_current_snapshot())::text,
       pg_current_wal_insert_lsn()::text`).QueryRow(func(row pgx.Row) error {
				if err := row.Scan(&snapshot.Before, &snapshot.Next, &wal); err != nil {
					return fmt.Errorf("read the clock: %w", err)
				}
				return nil
			})
			i.Read(batch)
		}
		return session.InSnapshot(ctx, settings, first, func(tx *pgexec.Tx) error {
			result.DataAsOf = snapshot.Before
			passes, err := i.Plan(ctx, tx, snapshot)
			if err != nil {
				return err
			}
			var last pgx.Batch
			if len(passes) > 0 {
				scanned, err := i.through(ctx, tx, gate, passes)
				if err != nil {
					return err
				}
				after, err := loadFiles(ctx, catalogs, i.View.Target.Query, nil)
				if err != nil {
					return err
				}
				if before.moved(after) {
					return ErrMoved
				}
				i.Close(&last)
				recordScans(i.View.ID, scanned).Queue(&last)
			}
			var ended time.Time
			last.Queue(`
SELECT clock_timestamp(),
       pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $2::pg_lsn)::bigint,
       coalesce((SELECT sum(pg_total_relation_size(t.relid)) FROM pg_partition_tree($1::oid::regclass) AS t WHERE t.isleaf), 0)::bigint`, i.Data, wal).QueryRow(func(row pgx.Row) error {
				if err := row.Scan(&ended, &result.WALBytes, &result.SizeBytes); err != nil {
					return fmt.Errorf("measure the refresh: %w", err)
				}
				return nil
			})
			if err := tx.SendBatch(ctx, &last).Close(); err != nil {
				return err
			}
			result.Took = ended.Sub(result.DataAsOf)
			if i.View.MaxSizeBytes > 0 && result.SizeBytes > i.View.MaxSizeBytes {
				return &SizeError{Size: result.SizeBytes, Limit: i.View.MaxSizeBytes}
			}
			return i.Complete(ctx, tx, result)
		})
	}
	err := patiently(ctx, policy, onBusy,
		func() error {
			if err := try(); err != nil {
				return fmt.Errorf("refresh view %q: %w", i.View.Name, err)
			}
			return nil
		},
		func() (*holder, error) {
			var needs []catalog.Lock
			if err := catalog.ReadIncrementLocks(i.Data, &needs).Alone(ctx, catalogs); err != nil {
				return nil, err
			}
			return holderOf(ctx, catalogs, append(needs, toRead(below)...))
		})
	return result, err
}

// through has the step compute the passes, and returns where the session's counters of scans stood before.
func (i Increment) through(ctx context.Context, tx *pgexec.Tx, gate pgexec.Target, passes []Pass) (before scans, err error) {
	var batch pgx.Batch
	readScans(i.View.ID, &before).Queue(&batch)
	i.Open(&batch, passes)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return before, err
	}
	return before, OfPiece("its gate", tx.RefreshAndEmpty(ctx, gate))
}
