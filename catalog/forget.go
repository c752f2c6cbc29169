package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ForgetPrunings deletes what belongs to targets and partitions that are gone, and entries older than the history of
// runs. It has views follow partitions again that are back and of which nobody has noted so. It makes several transactions.
func ForgetPrunings(ctx context.Context, q Querier) error {
	for _, step := range []func(context.Context, Querier) error{forgetKept, thaw, forgetHorizons} {
		if err := step(ctx, q); err != nil {
			return fmt.Errorf("forget what retention did: %w", err)
		}
	}
	return nil
}

const known = `
WITH target AS (
    SELECT s.view_id AS id, s.owner::oid AS owner FROM mvscheduler.view_state AS s WHERE s.method = 'incremental'
     UNION ALL
    SELECT r.id, r.owner::oid FROM mvscheduler.source_state AS r
), `

// forgetKept forgets partitions that somebody has dropped or given away while they were aside.
func forgetKept(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, known+`lost AS (
    DELETE FROM mvscheduler.kept AS k
     WHERE NOT EXISTS (SELECT FROM target AS t JOIN pg_class AS c ON c.oid = k.relation::oid AND c.relowner = t.owner WHERE t.id = k.target)
    RETURNING k.target, k.until, k.detached_at
)
UPDATE mvscheduler.frozen AS f
   SET gone = greatest(f.gone, l.until)
  FROM (SELECT x.target, max(x.until) AS until FROM lost AS x WHERE x.detached_at IS NOT NULL GROUP BY x.target) AS l
 WHERE f.target = l.target`)
	return err
}

// thaw has views follow what is back, each target in a transaction of its own, as mvscheduler.thaw asks for.
func thaw(ctx context.Context, q Querier) error {
	rows, err := q.Query(ctx, `SELECT f.target FROM mvscheduler.frozen AS f WHERE f.labels > mvscheduler.still_left(f.target)`)
	if err != nil {
		return err
	}
	targets, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	for _, id := range targets {
		if _, err := q.Exec(ctx, `SELECT mvscheduler.thaw($1)`, id); err != nil {
			return err
		}
	}
	return nil
}

// forgetHorizons forgets those of views and tables that are gone. What has left a table has left it as long as the table is there.
func forgetHorizons(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, known+`frozen AS (
    DELETE FROM mvscheduler.frozen AS f
     WHERE NOT EXISTS (SELECT FROM target AS t WHERE t.id = f.target)
       AND (f.labels = '-infinity' OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = f.relation::oid))
), frozen_by AS (
    DELETE FROM mvscheduler.frozen_by AS b
     WHERE NOT EXISTS (SELECT FROM target AS t WHERE t.id = b.view_id)
)
DELETE FROM mvscheduler.pruning AS p
 USING mvscheduler.settings AS g
 WHERE p.at < clock_timestamp() - g.keep_runs`)
	return err
}
