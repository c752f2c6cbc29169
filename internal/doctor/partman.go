package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// partmanRetention finds tables of which pg_partman lets partitions go that incremental views or source_retention know:
// the buckets of these go with them, which those of source_retention do not. Its table is read where it is the
// extension's own and a superuser's, in a schema that nobody else can rename: reading another one would run the code of its owner.
func partmanRetention(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	var table, schema, renamer string
	err := conn.QueryRow(ctx, `
SELECT coalesce(max(format('%I.%I', n.nspname, c.relname)), ''), coalesce(max(quote_ident(n.nspname)), ''), coalesce(max(mvscheduler.renamer(n.oid)), '')
  FROM pg_extension AS e
  JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
  JOIN pg_class AS c ON c.oid = d.objid AND c.relname = 'part_config' AND c.relkind = 'r'
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_roles AS r ON r.oid = c.relowner AND r.rolsuper
 WHERE e.extname = 'pg_partman'
   AND has_schema_privilege(n.oid, 'USAGE')
   AND has_table_privilege(c.oid, 'SELECT')`).Scan(&table, &schema, &renamer)
	if err != nil || table == "" {
		return nil, err
	}
	if renamer != "" {
		return []Finding{{
			Note, "retention", "", "pg_partman is in a schema of " + renamer + ", who could put a view of her or his own in the place of its table: what it lets go is not looked at",
			fmt.Sprintf("ALTER SCHEMA %s OWNER TO CURRENT_USER", schema),
		}}, nil
	}
	found, err := rowsOf(ctx, conn, `
SELECT CASE WHEN s.id IS NULL THEN 'note' ELSE 'warning' END, mvscheduler.shown_name(c.oid),
       format('pg_partman lets its partitions go after %s: the buckets computed from them go with them%s%s; the fix leaves it to source_retention, and views keep what they have',
              p.retention, ' from ' || v.names, CASE WHEN s.id IS NOT NULL THEN ', although there is a row of source_retention' END),
       concat(CASE WHEN s.id IS NULL THEN format('INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES (%L, %L); ', mvscheduler.shown_name(c.oid), p.retention) END,
              format('UPDATE %s SET retention = NULL WHERE parent_table = %L', $1::text, p.parent_table))
  FROM `+table+` AS p
  JOIN pg_class AS c ON format('%s.%s', (SELECT n.nspname FROM pg_namespace AS n WHERE n.oid = c.relnamespace), c.relname) = p.parent_table
  JOIN pg_partitioned_table AS t ON t.partrelid = c.oid
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = t.partattrs[0] AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
  LEFT JOIN mvscheduler.visible_targets AS s ON s.kind = 'source' AND s.relation::oid = c.oid
 CROSS JOIN LATERAL (SELECT string_agg(DISTINCT o.name, ', ') AS names
                       FROM mvscheduler.visible_sources AS x JOIN mvscheduler.visible_views AS o ON o.view_id = x.view_id
                      WHERE x.relation::oid = c.oid) AS v
 WHERE p.retention IS NOT NULL
   AND (v.names IS NOT NULL OR s.id IS NOT NULL)
 ORDER BY 2`, table)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	return found, nil
}
