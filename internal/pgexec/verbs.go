package pgexec

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Refresh runs REFRESH MATERIALIZED VIEW on the target and makes sure that it was this relation which was
// refreshed. It takes ACCESS EXCLUSIVE on the view, or concurrently EXCLUSIVE, and ACCESS SHARE on what
// the query reads, until the transaction ends. The error is a *NotItError or [ErrMissing] when the view
// was renamed, replaced or given away, and PostgreSQL's otherwise; the transaction has to be rolled back.
func (tx *Tx) Refresh(ctx context.Context, target Target, concurrently bool) error {
	name, err := tx.identify(ctx, target)
	if err != nil {
		return err
	}
	statement := "REFRESH MATERIALIZED VIEW " + name
	if concurrently {
		statement = "REFRESH MATERIALIZED VIEW CONCURRENTLY " + name
	}
	if err := run(ctx, tx.Conn(), statement); err != nil {
		return err
	}
	return tx.refreshed(ctx, target, name, concurrently)
}

// Empty runs REFRESH MATERIALIZED VIEW ... WITH NO DATA on the target, which runs nothing of its query.
// It takes ACCESS EXCLUSIVE on the view until the transaction ends; errors are those of Refresh.
func (tx *Tx) Empty(ctx context.Context, target Target) error {
	name, err := tx.identify(ctx, target)
	if err != nil {
		return err
	}
	if err := run(ctx, tx.Conn(), "REFRESH MATERIALIZED VIEW "+name+" WITH NO DATA"); err != nil {
		return err
	}
	return tx.refreshed(ctx, target, name, false)
}

// refreshed cleans up after a refresh and makes sure that it was this relation.
func (tx *Tx) refreshed(ctx context.Context, target Target, name string, concurrently bool) error {
	// A cursor that a function left open would run as us when it is read.
	if err := run(ctx, tx.Conn(), `CLOSE ALL`); err != nil {
		return fmt.Errorf("close cursors: %w", err)
	}
	var locked bool
	err := tx.QueryRow(ctx, `
SELECT EXISTS (
    SELECT
      FROM pg_locks AS l
     WHERE l.pid = pg_backend_pid()
       AND l.locktype = 'relation'
       AND l.relation = $1
       AND l.granted
       AND l.mode = CASE WHEN $2 THEN 'ExclusiveLock' ELSE 'AccessExclusiveLock' END)`, target.OID, concurrently).Scan(&locked)
	if err != nil {
		return fmt.Errorf("look at the locks of the refresh: %w", err)
	}
	if !locked {
		return &NotItError{Reason: fmt.Sprintf("another relation took the name %s while it was refreshed", name)}
	}
	_, err = tx.identify(ctx, target) // under our lock nobody can change it any more
	return err
}

// Analyze runs ANALYZE on the target, unless somebody holds a lock against it.
func (s *Session) Analyze(ctx context.Context, target Target, settings Settings) error {
	return s.InTx(ctx, settings, func(tx *Tx) error {
		name, err := tx.identify(ctx, target)
		if err != nil {
			return err
		}
		return run(ctx, tx.Conn(), "ANALYZE (SKIP_LOCKED) "+name)
	})
}

// identify returns the quoted name of the target after looking at what it is. No lock is taken.
func (tx *Tx) identify(ctx context.Context, target Target) (string, error) {
	var (
		schema, name, kind string
		owner              uint32
	)
	err := tx.QueryRow(ctx, `
SELECT n.nspname, c.relname, c.relkind::text, c.relowner
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.oid = $1`, target.OID).Scan(&schema, &name, &kind, &owner)
	quoted := pgx.Identifier{schema, name}.Sanitize()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", ErrMissing
	case err != nil:
		return "", fmt.Errorf("identify relation %d: %w", target.OID, err)
	case kind != "m":
		return "", &NotItError{Reason: quoted + " is not a materialized view any more"}
	case owner != target.Owner:
		return "", &NotItError{Reason: quoted + " was given to another owner by hand"}
	}
	return quoted, nil
}
