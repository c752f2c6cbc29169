package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ForgetPrunings deletes what belongs to targets and partitions that are gone, and entries older than the history of
// runs. It has views follow partitions again that are back and of which nobody has noted so. Each statement is a transaction of
// its own, so q is none; what somebody holds for longer than its lock_timeout, who redefines a view, say, and has not
// committed, is left for the next time and keeps nothing else from being done.
func ForgetPrunings(ctx context.Context, q Querier) error {
	err := errors.Join(forgetKept(ctx, q), thaw(ctx, q), forgetHorizons(ctx, q),
		unlessHeld(ctx, q, `DELETE FROM mvscheduler.pruning AS p USING mvscheduler.settings AS g WHERE p.at < clock_timestamp() - g.keep_runs`))
	if err != nil {
		return fmt.Errorf("forget what retention did: %w", err)
	}
	return nil
}

func unlessHeld(ctx context.Context, q Querier, sql string, args ...any) error {
	_, err := q.Exec(ctx, sql, args...)
	if held := new(pgconn.PgError); errors.As(err, &held) && held.Code == pgerrcode.LockNotAvailable {
		return nil
	}
	return err
}

// known are the targets that there are, with views that are to be.
const known = `
WITH target AS (
    SELECT s.view_id AS id, s.owner::oid AS owner FROM mvscheduler.view_state AS s LEFT JOIN mvscheduler.redefinition AS r ON r.view_id = s.view_id WHERE 'incremental' IN (s.method, r.method)
     UNION ALL
    SELECT r.id, r.owner::oid FROM mvscheduler.source_state AS r
)`

// forgetKept forgets partitions that somebody has dropped or given away while they were aside.
func forgetKept(ctx context.Context, q Querier) error {
	const lost = ` FROM mvscheduler.kept AS k
     WHERE NOT EXISTS (SELECT FROM target AS t JOIN pg_class AS c ON c.oid = k.relation::oid AND c.relowner = t.owner WHERE t.id = k.target)`
	return ofEach(ctx, q, known+`
SELECT DISTINCT k.target`+lost, known+`, lost AS (
    DELETE`+lost+`
       AND k.target = $1
    RETURNING k.until, k.detached_at
)
UPDATE mvscheduler.frozen AS f
   SET gone = greatest(f.gone, l.until)
  FROM (SELECT max(x.until) AS until FROM lost AS x WHERE x.detached_at IS NOT NULL) AS l
 WHERE f.target = $1`)
}

// thaw has views follow what is back, as mvscheduler.thaw asks for.
func thaw(ctx context.Context, q Querier) error {
	return ofEach(ctx, q, `SELECT f.target FROM mvscheduler.frozen AS f WHERE f.labels > mvscheduler.still_left(f.target)`, `SELECT mvscheduler.thaw($1)`)
}

// ofEach does something for each of some targets.
func ofEach(ctx context.Context, q Querier, some, do string) error {
	rows, err := q.Query(ctx, some)
	if err != nil {
		return err
	}
	targets, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	for _, id := range targets {
		err = errors.Join(err, unlessHeld(ctx, q, do, id))
	}
	return err
}

// forgetHorizons forgets those of views and tables that are gone. What has left a table has left it as long as the table is there.
func forgetHorizons(ctx context.Context, q Querier) error {
	return unlessHeld(ctx, q, known+`, frozen AS (
    DELETE FROM mvscheduler.frozen AS f
     WHERE NOT EXISTS (SELECT FROM target AS t WHERE t.id = f.target)
       AND (f.labels = '-infinity' OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = f.relation::oid))
)
DELETE FROM mvscheduler.frozen_by AS b
 WHERE NOT EXISTS (SELECT FROM target AS t WHERE t.id = b.view_id)`)
}
