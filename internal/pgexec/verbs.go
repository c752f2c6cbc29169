package pgexec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Refresh runs REFRESH MATERIALIZED VIEW on the target and makes sure that it was this relation which was
// refreshed. It takes ACCESS EXCLUSIVE on the view, or concurrently EXCLUSIVE, and ACCESS SHARE on what
// the query reads, until the transaction ends. The error is a *NotItError or [ErrMissing] when the view
// was renamed, replaced or given away, and PostgreSQL's otherwise; the transaction has to be rolled back.
func (tx *Tx) Refresh(ctx context.Context, target Target, concurrently bool) error {
	_, err := tx.refresh(ctx, target, concurrently)
	return err
}

func (tx *Tx) refresh(ctx context.Context, target Target, concurrently bool) (name string, err error) {
	name, err = tx.identify(ctx, target, "")
	if err != nil {
		return name, err
	}
	statement := "REFRESH MATERIALIZED VIEW " + name
	if concurrently {
		statement = "REFRESH MATERIALIZED VIEW CONCURRENTLY " + name
	}
	if err := run(ctx, tx.Conn(), statement); err != nil {
		return name, err
	}
	found, err := tx.refreshed(ctx, target, name, concurrently)
	return found.quoted(), err
}

// RefreshAndEmpty is Refresh, and then REFRESH MATERIALIZED VIEW ... WITH NO DATA, which runs nothing of the query. The look
// at the target that ends the one begins the other.
func (tx *Tx) RefreshAndEmpty(ctx context.Context, target Target) error {
	name, err := tx.refresh(ctx, target, false)
	if err != nil {
		return err
	}
	return tx.empty(ctx, target, name)
}

func (tx *Tx) empty(ctx context.Context, target Target, name string) error {
	if err := run(ctx, tx.Conn(), "REFRESH MATERIALIZED VIEW "+name+" WITH NO DATA"); err != nil {
		return err
	}
	found, err := tx.refreshed(ctx, target, name, false)
	if err == nil && found.populated { // the lock is there already, and proves nothing
		err = &NotItError{Reason: fmt.Sprintf("another relation took the name %s while it was emptied", name)}
	}
	return err
}

// refreshed cleans up after a refresh, makes sure that it was this relation and returns what it is.
func (tx *Tx) refreshed(ctx context.Context, target Target, name string, concurrently bool) (found identity, err error) {
	mode := "AccessExclusiveLock"
	if concurrently {
		mode = "ExclusiveLock"
	}
	var (
		batch   pgx.Batch
		scanned error
	)
	batch.Queue(`CLOSE ALL`) // a cursor that a function left open would run as us when it is read
	batch.Queue(identify, identified(target, mode)...).QueryRow(func(row pgx.Row) error {
		scanned = found.scan(row)
		return nil
	})
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return found, fmt.Errorf("close cursors: %w", err)
	}
	_, err = found.judge(scanned, target, mode) // under our lock nobody can change it any more
	if errors.Is(err, errNotLocked) {
		return found, &NotItError{Reason: fmt.Sprintf("another relation took the name %s while it was refreshed", name)}
	}
	return found, err
}

// Analyze runs ANALYZE on the target, which may also be a partitioned table, unless somebody holds a lock against it.
func (s *Session) Analyze(ctx context.Context, target Target, settings Settings) error {
	return s.InTx(ctx, settings, func(tx *Tx) error {
		name, err := tx.identify(ctx, target, "", "m", "p")
		if err != nil {
			return err
		}
		return run(ctx, tx.Conn(), "ANALYZE (SKIP_LOCKED) "+name)
	})
}

// errNotLocked says that a lock which a statement should have taken on the target is not there.
var errNotLocked = errors.New("the statement took no lock on this relation")

// identify returns the quoted name of the target after looking at what it is and, unless mode is empty, that we
// hold a lock of this mode (as in pg_locks) on it. No lock is taken. Without a mode a statement on the target follows,
// which is planned and compiled as the server has it; with one only our own follow, for which Acquire has set that aside.
// It has to be of one of the kinds (of pg_class); none = a materialized view.
func (tx *Tx) identify(ctx context.Context, target Target, mode string, kinds ...string) (string, error) {
	var found identity
	err := found.scan(tx.QueryRow(ctx, identify, identified(target, mode)...))
	return found.judge(err, target, mode, kinds...)
}

const identify = `
SELECT n.nspname, c.relname, c.relkind::text, c.relowner, c.relispopulated,
       (SELECT q.relname FROM pg_class AS q WHERE q.oid = $3 AND q.relowner <> $4),
       $2 <> '' AND EXISTS (SELECT
                              FROM pg_locks AS l
                             WHERE l.pid = pg_backend_pid()
                               AND l.locktype = 'relation'
                               AND l.relation = $1
                               AND l.granted
                               AND l.mode = $2),
       set_config('jit', CASE WHEN $2 <> '' THEN 'off' END, true),
       set_config('plan_cache_mode', CASE WHEN $2 <> '' THEN 'force_generic_plan' END, true),
       set_config('enable_seqscan', CASE WHEN $2 <> '' THEN 'off' END, true)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.oid = $1`

func identified(target Target, mode string) []any {
	return []any{target.OID, mode, target.Query, target.Owner}
}

// identity is what a target is.
type identity struct {
	schema, name, kind string
	owner              uint32
	populated          bool
	foreign            *string // plain view with its query, where that is another role's
	locked             bool    // by us, in the mode that was asked for
}

func (i *identity) scan(row pgx.Row) error {
	return row.Scan(&i.schema, &i.name, &i.kind, &i.owner, &i.populated, &i.foreign, &i.locked, nil, nil, nil)
}

func (i *identity) quoted() string { return pgx.Identifier{i.schema, i.name}.Sanitize() }

// judge is the rest of identify, when reading has ended with err.
func (i *identity) judge(err error, target Target, mode string, kinds ...string) (string, error) {
	if mode != "" && (errors.Is(err, pgx.ErrNoRows) || err == nil && !i.locked) {
		return "", errNotLocked
	}
	quoted := i.quoted()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", ErrMissing
	case err != nil:
		return "", fmt.Errorf("identify relation %d: %w", target.OID, err)
	case i.kind != "m" && !slices.Contains(kinds, i.kind):
		return "", &NotItError{Reason: quoted + " is not a materialized view any more"}
	case i.owner != target.Owner:
		return "", &NotItError{Reason: quoted + " was given to another owner by hand"}
	case i.foreign != nil:
		return "", &NotItError{Reason: fmt.Sprintf("the plain view %s, which holds the query of %s, was given to another owner by hand", pgx.Identifier{*i.foreign}.Sanitize(), quoted)}
	}
	return quoted, nil
}
