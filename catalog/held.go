package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var errGone = errors.New("nobody has that name")

// held calls f while an extension cannot be dropped: else whoever may create in its schema could put his own functions in its place
// in between. The lock is taken on the view that has the extension's name, by name; who has that name does not change before
// the transaction ends, so that what is found then is what is locked. Where nobody has that name, nothing is.
func held(ctx context.Context, pool *pgxpool.Pool, schema, extension string, f func(q Querier, locked bool) error) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "LOCK TABLE "+pgx.Identifier{schema, extension}.Sanitize()+" IN ACCESS SHARE MODE")
		var pg *pgconn.PgError
		switch {
		case errors.As(err, &pg) && (pg.Code == pgerrcode.UndefinedTable || pg.Code == pgerrcode.InvalidSchemaName):
			return errGone
		case err != nil:
			return fmt.Errorf("hold %s: %w", extension, err)
		}
		return f(tx, true)
	})
	if errors.Is(err, errGone) {
		return f(pool, false)
	}
	return err
}

// HoldStatements calls f with what is found of pg_stat_statements, which cannot be dropped meanwhile.
func HoldStatements(ctx context.Context, pool *pgxpool.Pool, s StatementSource, f func(Querier, StatementSource) error) error {
	if s.Missing != "" {
		return f(pool, s)
	}
	return held(ctx, pool, s.Schema, "pg_stat_statements", func(q Querier, locked bool) error {
		found, err := FindStatements(ctx, q)
		if err != nil {
			return err
		}
		if found.Missing == "" && (!locked || found.Schema != s.Schema) {
			found.Missing = "pg_stat_statements was moved to another schema a moment ago"
		}
		return f(q, found)
	})
}

// HoldQuals is the same for pg_qualstats.
func HoldQuals(ctx context.Context, pool *pgxpool.Pool, s QualSource, f func(Querier, QualSource) error) error {
	if s.Missing != "" {
		return f(pool, s)
	}
	return held(ctx, pool, s.Schema, "pg_qualstats", func(q Querier, locked bool) error {
		found, err := FindQuals(ctx, q)
		if err != nil {
			return err
		}
		if found.Missing == "" && (!locked || found.Schema != s.Schema) {
			found.Missing = "pg_qualstats was moved to another schema a moment ago"
		}
		return f(q, found)
	})
}
