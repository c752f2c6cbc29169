package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Steps for which an attempt can be let through the gate of its view; the functions are in the migration
// 000011_redefine.
const (
	StepSwap         = "swap"
	StepSwapData     = "swap_data"   // of an incremental view, see 000020_redefine_incremental
	StepSwapMethod   = "swap_method" // by another method, see 000023_change_method
	StepDropLeftover = "drop_leftover"
)

// Redefinition is a new version of a view that waits to take the place of the one that is served.
type Redefinition struct {
	Gate        uint32
	Next        uint32     // the materialized view of the new version
	NextQuery   uint32     // the plain view with its query
	FilledRun   *int64     // run that filled it; nil = none
	FilledAsOf  *time.Time // everything committed before is in it; nil = unknown
	FilledRows  *int64
	FilledBytes *int64
	Populated   bool
	Method      string // views.method
	OtherMethod bool   // it is incremental and what is served is not, or the other way round
}

// FilledBy says whether an earlier attempt of the run has filled the new version.
func (r Redefinition) FilledBy(runID int64) bool {
	return r.Populated && r.FilledRun != nil && *r.FilledRun == runID
}

// SwapLocks are the locks that a swap needs: of the view, its contents and its query, and of those of the new version. Who reads a view upon
// it holds the view itself, too.
func SwapLocks(ctx context.Context, q Querier, viewID int64) ([]Lock, error) {
	rows, err := q.Query(ctx, `
SELECT r.oid, 'AccessExclusiveLock'
  FROM (SELECT unnest(ARRAY[s.relation::oid, s.query_relation::oid]) AS oid
          FROM mvscheduler.view_state AS s
         WHERE s.view_id = $1
        UNION
        SELECT p.relation::oid
          FROM mvscheduler.piece AS p
         WHERE p.view_id = $1
           AND p.kind IN ('data', 'next', 'next_query')) AS r
 WHERE r.oid IS NOT NULL`, viewID)
	if err != nil {
		return nil, fmt.Errorf("look for the locks that a swap needs: %w", err)
	}
	locks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Lock])
	if err != nil {
		return nil, fmt.Errorf("look for the locks that a swap needs: %w", err)
	}
	return locks, nil
}

// LoadRedefinition reads what is to be built; nil when nothing is any more.
func LoadRedefinition(ctx context.Context, q Querier, viewID int64) (*Redefinition, error) {
	rows, err := q.Query(ctx, `
SELECT coalesce(g.relation::oid, 0::oid) AS gate, n.relation::oid AS next, coalesce(q.relation::oid, 0::oid) AS next_query, r.filled_run, r.filled_as_of, r.filled_rows, r.filled_bytes,
       coalesce(c.relispopulated, false) AS populated, r.method, (r.method = 'incremental') <> (s.method = 'incremental') AS other_method
  FROM mvscheduler.redefinition AS r
  JOIN mvscheduler.view_state AS s ON s.view_id = r.view_id
  JOIN mvscheduler.piece AS n ON n.view_id = r.view_id AND n.kind = 'next'
  LEFT JOIN mvscheduler.piece AS q ON q.view_id = r.view_id AND q.kind = 'next_query'
  LEFT JOIN mvscheduler.piece AS g ON g.view_id = r.view_id AND g.kind = 'gate'
  LEFT JOIN pg_class AS c ON c.oid = n.relation::oid
 WHERE r.view_id = $1`, viewID)
	if err != nil {
		return nil, fmt.Errorf("load the redefinition of view %d: %w", viewID, err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Redefinition])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load the redefinition of view %d: %w", viewID, err)
	}
	return r, nil
}

// GateOf is the gate of a view; zero when it has none.
func GateOf(ctx context.Context, q Querier, viewID int64) (uint32, error) {
	var gate uint32
	err := q.QueryRow(ctx, `SELECT coalesce(max(relation::oid), 0::oid) FROM mvscheduler.piece WHERE view_id = $1 AND kind = 'gate'`, viewID).Scan(&gate)
	if err != nil {
		return 0, fmt.Errorf("look for the gate of view %d: %w", viewID, err)
	}
	return gate, nil
}

// BeginBuild shows the run as one that builds a new version.
func BeginBuild(ctx context.Context, q Querier, a Attempt) error {
	_, err := q.Exec(ctx, `
UPDATE mvscheduler.run
   SET kind = 'build'
 WHERE id = $1
   AND token = $2
   AND state = 'running'`, a.RunID, a.Token)
	if err != nil {
		return fmt.Errorf("show run %d as a build: %w", a.RunID, err)
	}
	return nil
}

// Filled records that the attempt filled the new version, by a method, in the transaction that did. It returns false
// when that is not the version that is wanted any more, or the run is not the attempt's. What is recorded is as old as
// the managed views that a new version which is a materialized view reads. asOf is nil when it is not known.
func Filled(ctx context.Context, tx pgx.Tx, a Attempt, method string, next uint32, asOf *time.Time, rows *int64, sizeBytes int64) (bool, error) {
	tag, err := tx.Exec(ctx, `
UPDATE mvscheduler.redefinition AS r
   SET filled_run = u.id,
       filled_as_of = (SELECT CASE WHEN bool_and(h.data_as_of IS NOT NULL) IS NOT FALSE THEN least($4::timestamptz, min(h.data_as_of)) END
                         FROM unnest(mvscheduler.upstream_of($3::oid)) AS b(view_id)
                         LEFT JOIN mvscheduler.view_health AS h ON h.view_id = b.view_id),
       filled_rows = $5,
       filled_bytes = $6,
       filled_method = $7
  FROM mvscheduler.run AS u,
       mvscheduler.piece AS n
 WHERE u.id = $1
   AND u.token = $2
   AND u.state = 'running'
   AND r.view_id = u.view_id
   AND n.view_id = u.view_id
   AND n.kind = 'next'
   AND n.relation::oid = $3`, a.RunID, a.Token, next, asOf, rows, sizeBytes, method)
	if err != nil {
		return false, fmt.Errorf("record that run %d filled the new version: %w", a.RunID, err)
	}
	return tag.RowsAffected() == 1, nil
}

// LetThrough lets the attempt through the gate of its view for one step, for the rest of this transaction
// or until [Closed]. It returns [ErrFenced] when the run is not the attempt's any more.
func LetThrough(ctx context.Context, tx pgx.Tx, a Attempt, step string) error {
	return Pass(a, step).Alone(ctx, tx)
}

// Pass is [LetThrough], to be asked with others.
func Pass(a Attempt, step string) Read {
	return Read{What: fmt.Sprintf("let run %d through the gate", a.RunID), Args: []any{a.RunID, a.Token, step}, Collect: func(rows pgx.Rows) error {
		passed := rows.Next()
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
		if !passed {
			return ErrFenced
		}
		return nil
	}, SQL: `
INSERT INTO mvscheduler.pass (run_id, token, view_id, step)
SELECT id, token, view_id, $3
  FROM mvscheduler.run
 WHERE id = $1
   AND token = $2
   AND state = 'running'
RETURNING run_id`}
}

// Closed takes the pass back, in the transaction that gave it.
func Closed(ctx context.Context, tx pgx.Tx, a Attempt) error {
	_, err := tx.Exec(ctx, `DELETE FROM mvscheduler.pass WHERE run_id = $1`, a.RunID)
	if err != nil {
		return fmt.Errorf("close the gate behind run %d: %w", a.RunID, err)
	}
	return nil
}

// IsServed says whether the relation is the one that the view serves, or holds its contents.
func IsServed(ctx context.Context, q Querier, viewID int64, relation uint32) (bool, error) {
	var served bool
	err := q.QueryRow(ctx, `
SELECT EXISTS (SELECT FROM mvscheduler.view_state WHERE view_id = $1 AND relation::oid = $2)
    OR EXISTS (SELECT FROM mvscheduler.piece WHERE view_id = $1 AND kind = 'data' AND relation::oid = $2)`, viewID, relation).Scan(&served)
	if err != nil {
		return false, fmt.Errorf("look at what view %d serves: %w", viewID, err)
	}
	return served, nil
}
