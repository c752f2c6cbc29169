package refresh

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
)

// ErrReplaced says that a new version of a view was replaced or cancelled while it was being built. Trying
// again finds out what is wanted now.
var ErrReplaced = errors.New("the new version was replaced or cancelled while it was being built")

// PieceError says that a relation with which a new version is built is not there any more, or not the
// owner's. It wraps [pgexec.ErrMissing] or a *[pgexec.NotItError].
type PieceError struct {
	Piece string // "its gate" or "its new version"
	Err   error
}

func (e *PieceError) Error() string { return e.Piece + ": " + e.Err.Error() }

func (e *PieceError) Unwrap() error { return e.Err }

// OfPiece makes a [PieceError] of an error about which relation it was; other errors pass.
func OfPiece(piece string, err error) error {
	var notIt *pgexec.NotItError
	switch {
	case errors.Is(err, pgexec.ErrMissing):
		return &PieceError{Piece: piece, Err: pgexec.ErrMissing}
	case errors.As(err, &notIt):
		return &PieceError{Piece: piece, Err: notIt}
	}
	return err
}

// Step has the gate of a view do what the attempt was let through for, in one transaction: open lets it
// through, REFRESH of the gate runs the step as the owner, the gate is emptied, and complete looks at what
// was done and writes it down. Locks are waited for as the policy says; how long the step itself waits,
// lock_timeout bounds for all its locks together. Who holds one of the locks that the policy says it needs is named to onBusy.
func Step(ctx context.Context, session *pgexec.Session, view View, gate uint32, policy Policy, onBusy func(Busyness), open, complete func(context.Context, pgx.Tx) error) error {
	target := pgexec.Target{OID: gate, Owner: view.Target.Owner}
	settings := pgexec.Settings{TimeZone: view.TimeZone, WorkMem: view.WorkMem, StatementTimeout: view.StatementTimeout, LockTimeout: view.LockTimeout}
	return patiently(ctx, policy, onBusy,
		func() error {
			err := session.InTx(ctx, settings, func(tx *pgexec.Tx) error {
				if err := open(ctx, tx); err != nil {
					return err
				}
				if err := tx.RefreshAndEmpty(ctx, target); err != nil {
					return OfPiece("its gate", err)
				}
				return complete(ctx, tx)
			})
			if err != nil {
				return fmt.Errorf("through the gate of view %q: %w", view.Name, err)
			}
			return nil
		},
		func() (_ *holder, err error) {
			needs := []catalog.Lock{{Relation: view.Target.OID, Mode: "AccessExclusiveLock"}}
			if policy.Needs != nil {
				if needs, err = policy.Needs(ctx); err != nil {
					return nil, err
				}
			}
			return holderOf(ctx, session, needs)
		})
}
