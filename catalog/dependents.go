package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Hurry bounds each statement that follows in a transaction that holds locks for which others wait.
func Hurry(ctx context.Context, tx pgx.Tx, most time.Duration) error {
	_, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', $1, true)`, fmt.Sprintf("%dms", most.Milliseconds()))
	if err != nil {
		return fmt.Errorf("bound what is done under locks: %w", err)
	}
	return nil
}

// Dependents counts the views and functions that are built upon the table of a target, through each other or not, and says whose most of them
// are, and how many.
func Dependents(ctx context.Context, q Querier, target int64) (all int64, owner string, most int64, err error) {
	err = q.QueryRow(ctx, `
WITH RECURSIVE built(class, oid) AS (
    SELECT 'pg_class'::regclass::oid, t.relation::oid
      FROM mvscheduler.visible_targets AS t
     WHERE t.id = $1
     UNION
    SELECT x.class, x.oid
      FROM built AS b
     CROSS JOIN LATERAL (
            SELECT CASE WHEN w.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass::oid END AS class, coalesce(w.ev_class, d.objid) AS oid
              FROM pg_depend AS d
              LEFT JOIN pg_rewrite AS w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
             WHERE d.refclassid = b.class
               AND d.refobjid = b.oid
               AND d.deptype = 'n'
               AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)) AS x
), owned AS (
    SELECT coalesce(c.relowner, f.proowner) AS owner, count(*) AS n
      FROM built AS b
      LEFT JOIN pg_class AS c ON b.class = 'pg_class'::regclass AND c.oid = b.oid
      LEFT JOIN pg_proc AS f ON b.class = 'pg_proc'::regclass AND f.oid = b.oid
     WHERE b.oid NOT IN (SELECT t.relation::oid FROM mvscheduler.visible_targets AS t WHERE t.id = $1)
     GROUP BY 1
)
SELECT coalesce(sum(o.n), 0)::bigint, coalesce((array_agg(pg_get_userbyid(o.owner) ORDER BY o.n DESC))[1], 'nobody'), coalesce(max(o.n), 0)
  FROM owned AS o`, target).Scan(&all, &owner, &most)
	if err != nil {
		return 0, "", 0, fmt.Errorf("look who builds upon a table: %w", err)
	}
	return all, owner, most, nil
}
