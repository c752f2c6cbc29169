package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// slowSources finds tables of which each refresh of an incremental view that finds a change reads all: those that are not
// partitioned, are larger than some megabytes and have no index on the column of in_window. Sizes are pg_class's, which takes no lock.
func slowSources(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', mvscheduler.shown_name(c.oid),
       format('it has no index that begins with %I: each refresh of %s that finds a change reads all of its %s', a.attname, s.views, pg_size_pretty(c.relpages::bigint * current_setting('block_size')::int)),
       format('CREATE INDEX CONCURRENTLY ON %s (%I)', mvscheduler.shown_name(c.oid), a.attname)
  FROM (SELECT x.relation::oid AS oid, x.col, string_agg(v.name, ', ' ORDER BY v.name) AS views
          FROM mvscheduler.visible_sources AS x
          JOIN mvscheduler.visible_views AS v ON v.view_id = x.view_id
         WHERE x.col > 0
         GROUP BY 1, 2) AS s
  JOIN pg_class AS c ON c.oid = s.oid AND c.relkind = 'r' AND c.relpages > 1000
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = s.col
 WHERE NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = s.col)
 ORDER BY 2`)
}

// lastPartitions finds tables that incremental views or source_retention know of which the newest partition ends soon, or has
// ended in the last week, and none comes after it: there, rows are refused. A DEFAULT partition would take them. What ended
// earlier is history that nobody adds to.
func lastPartitions(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', mvscheduler.shown_name(s.oid),
       format(CASE WHEN p.hi > s.now THEN 'its newest partition ends at %s, and none comes after it: rows from then on will be refused'
                   ELSE 'its newest partition ended at %s, and none comes after it: rows since then are refused' END || '; the fix makes one as wide, pg_partman or a cron job keeps making them',
              mvscheduler.bound_text(p.hi, s.type)),
       format('CREATE TABLE %s PARTITION OF %s FOR VALUES FROM (%L) TO (%L)', mvscheduler.qualified_name(s.nspname, left(s.relname, 46) || to_char(p.hi, '_YYYYMMDD_HH24MI')),
              mvscheduler.shown_name(s.oid), mvscheduler.bound_text(p.hi, s.type), mvscheduler.bound_text(p.hi + age(p.hi, p.lo), s.type))
  FROM (SELECT c.oid, n.nspname, c.relname, a.atttypid AS type, statement_timestamp() AT TIME ZONE 'UTC' AS now
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
          JOIN pg_partitioned_table AS t ON t.partrelid = c.oid AND t.partstrat = 'r' AND t.partnatts = 1 AND t.partdefid = 0
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = t.partattrs[0] AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
         WHERE c.oid IN (SELECT x.relation::oid FROM mvscheduler.visible_sources AS x WHERE x.col > 0
                         UNION ALL
                         SELECT r.relation::oid FROM mvscheduler.visible_targets AS r WHERE r.kind = 'source')
           AND NOT EXISTS (SELECT FROM mvscheduler.visible_targets AS v WHERE v.kind <> 'source' AND v.relation::oid = c.oid)) AS s   -- we make those of views
 CROSS JOIN LATERAL (SELECT d.lo, d.hi FROM mvscheduler.partitions_of(s.oid) AS d WHERE d.lo IS NOT NULL ORDER BY d.hi DESC LIMIT 1) AS p
 WHERE isfinite(p.lo)
   AND isfinite(p.hi)
   AND p.hi BETWEEN s.now - interval '7 days' AND s.now + least(p.hi - p.lo, interval '7 days')
 ORDER BY 2`)
}
