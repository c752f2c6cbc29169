package pgexec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Session is one connection for one attempt. Not safe for concurrent use.
type Session struct {
	conn     *pgxpool.Conn
	start    time.Time
	settings string
	gone     bool
	canceled bool // a cancel may still be on its way to the backend
}

// PID of the backend.
func (s *Session) PID() uint32 { return s.conn.Conn().PgConn().PID() }

// BackendStart of the backend: with the PID it names one session of the server.
func (s *Session) BackendStart() time.Time { return s.start }

// Settings are those that built-in functions read, as they were when the session was acquired: what a query returns may
// change with them. Those that a [Settings] has are not among them.
func (s *Session) Settings() string { return s.settings }

// scrub is DISCARD ALL but for our prepared statements. It is a constant, so it may be several statements.
const scrub = `SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES`

// Release discards everything that users' functions could have left in the session and gives it back. A session
// that does not answer, is still in a transaction, or was told to cancel one, is destroyed.
func (s *Session) Release() {
	if s.gone {
		return
	}
	if s.canceled {
		s.Destroy()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrubTime)
	defer cancel()
	if err := s.conn.Conn().PgConn().Exec(ctx, scrub).Close(); err != nil {
		s.Destroy()
		return
	}
	s.gone = true
	s.conn.Release()
}

// Destroy closes the connection, which ends the backend.
func (s *Session) Destroy() {
	if s.gone {
		return
	}
	s.gone = true
	conn := s.conn.Hijack()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// Settings of one transaction.
type Settings struct {
	TimeZone         string        // IANA name; empty = the session's
	WorkMem          string        // with unit; empty = the session's
	StatementTimeout time.Duration // zero = none
	LockTimeout      time.Duration // zero = none
}

// Tx is a transaction in which relations of users are touched. Embedded is the transaction itself, for
// what is written to the catalog of mvscheduler and read from PostgreSQL's.
type Tx struct{ pgx.Tx }

// InTx runs f in a READ COMMITTED transaction with these settings and commits. When f or the commit
// fails, everything is rolled back. When ctx ends meanwhile the session stays until it is released: by its backend
// everybody sees that somebody still has the attempt in hand.
func (s *Session) InTx(ctx context.Context, settings Settings, f func(*Tx) error) error {
	return s.in(ctx, pgx.ReadCommitted, settings, nil, f)
}

// InSnapshot is InTx in a REPEATABLE READ transaction: all of its statements, and what the relations that it
// refreshes read, see what was committed before it began. A row that somebody else has written since is an error,
// so f may write only rows that nobody else does. first queues what is read before f runs, which takes no round trip
// of its own.
func (s *Session) InSnapshot(ctx context.Context, settings Settings, first func(*pgx.Batch), f func(*Tx) error) error {
	return s.in(ctx, pgx.RepeatableRead, settings, first, f)
}

func (s *Session) in(ctx context.Context, level pgx.TxIsoLevel, settings Settings, first func(*pgx.Batch), f func(*Tx) error) error {
	var batch pgx.Batch
	batch.BeginTx(pgx.TxOptions{IsoLevel: level})
	setUp(&batch, settings)
	if first != nil {
		first(&batch)
	}
	began := s.conn.Conn().SendBatch(ctx, &batch)
	tx := began.Tx()
	defer func() { // what fails is the cause, also where a connection that died cannot roll back
		s.canceled = s.canceled || ctx.Err() != nil
		rolling, cancel := context.WithTimeout(context.WithoutCancel(ctx), scrubTime)
		defer cancel()
		_ = tx.Rollback(rolling)
	}()
	if err := began.Close(); err != nil {
		return err
	}
	if err := f(&Tx{Tx: tx}); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// setUp also makes the backend report its counters as soon as it is idle: whoever compares them later can then rely on
// an idle session for runs.
func setUp(batch *pgx.Batch, settings Settings) {
	batch.Queue(`
SELECT pg_stat_force_next_flush(),
       set_config('statement_timeout', $1, true),
       set_config('lock_timeout', $2, true),
       CASE WHEN $3 <> '' THEN set_config('TimeZone', $3, true) END,
       CASE WHEN $4 <> '' THEN set_config('work_mem', $4, true) END`,
		milliseconds(settings.StatementTimeout), milliseconds(settings.LockTimeout), settings.TimeZone, settings.WorkMem).Query(func(rows pgx.Rows) error {
		rows.Close()
		if err := rows.Err(); err != nil {
			return fmt.Errorf("set up the transaction: %w", err)
		}
		return nil
	})
}

// run sends one statement without parameters by the extended protocol, which takes no second one: pgx's
// Exec would fall back to the simple protocol, which does.
func run(ctx context.Context, conn *pgx.Conn, statement string) error {
	return conn.PgConn().ExecParams(ctx, statement, nil, nil, nil, nil).Read().Err
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// Query reads PostgreSQL's own catalogs, or those of mvscheduler, outside a transaction.
func (s *Session) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return s.conn.Query(ctx, sql, args...)
}

// Target is a materialized view: its OID, the role that has to own it, and the plain view whose owner could
// replace its query, which has to belong to the same role; 0 = there is none.
type Target struct{ OID, Owner, Query uint32 }

// NotItError says that a relation is not what the catalog of mvscheduler says it is; nothing was changed.
type NotItError struct{ Reason string }

func (e *NotItError) Error() string { return e.Reason }

// ErrMissing says that the relation does not exist any more.
var ErrMissing = errors.New("the materialized view does not exist any more")
