package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"
)

func logins(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'error', a.usename::text, 'a sidecar is connected as a superuser: whoever finds a hole has everything',
       'make a login that is only a member of mvscheduler_worker: mvscheduler grants'
  FROM pg_stat_activity AS a
  JOIN pg_roles AS r ON r.oid = a.usesysid AND r.rolsuper
 WHERE a.application_name IN ('mvscheduler run', 'mvscheduler control')
   AND a.datname = current_database()
 GROUP BY a.usename
UNION ALL
SELECT 'warning', 'mvscheduler_worker', 'no login is a member of mvscheduler_worker, so no sidecar can work', 'mvscheduler grants'
 WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, 'mvscheduler_worker', 'USAGE'))
UNION ALL
SELECT 'warning', r.rolname::text, format('login %s of the sidecar can also create roles or databases', r.rolname), format('ALTER ROLE %I NOCREATEROLE NOCREATEDB', r.rolname)
  FROM pg_roles AS r
 WHERE r.rolcanlogin AND NOT r.rolsuper AND (r.rolcreaterole OR r.rolcreatedb)
   AND pg_has_role(r.oid, 'mvscheduler_worker', 'USAGE')   -- on 16 and later who makes a role is a member, and may not use it
 ORDER BY 1, 2`)
}

func sidecars(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', '', 'no sidecar is connected to this database: nothing is refreshed', 'mvscheduler serve'
 WHERE EXISTS (SELECT FROM mvscheduler.status)
   AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.application_name = 'mvscheduler control' AND a.datname = current_database())`)
}

// viewGrants finds views that the sidecar may not refresh.
func viewGrants(ctx context.Context, conn *pgx.Conn, s server) ([]Finding, error) {
	if s.Version < 170000 {
		return rowsOf(ctx, conn, `
SELECT 'error', o.owner, format('the sidecar may not refresh what %s owns', o.owner),
       format('GRANT %s TO mvscheduler_worker', o.owner) || CASE WHEN $1 >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END
  FROM (SELECT DISTINCT v.owner::text AS owner, v.owner::oid AS id FROM mvscheduler.status AS v) AS o
  JOIN pg_roles AS r ON r.oid = o.id AND NOT r.rolsuper
 WHERE NOT pg_has_role('mvscheduler_worker', o.id, 'USAGE')
UNION ALL
SELECT DISTINCT 'error', n.nspname::text, format('the sidecar has no access to schema %I', n.nspname), format('GRANT USAGE ON SCHEMA %I TO mvscheduler_worker', n.nspname)
  FROM mvscheduler.visible_views AS v
  JOIN pg_class AS c ON c.oid = v.relation::oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE NOT has_schema_privilege('mvscheduler_worker', n.oid, 'USAGE')
 ORDER BY 2`, s.Version)
	}
	return rowsOf(ctx, conn, `
SELECT 'error', v.name, 'the sidecar lacks MAINTAIN on it', 'GRANT MAINTAIN ON TABLE ' || v.name || ' TO mvscheduler_worker'
  FROM mvscheduler.visible_views AS v
  JOIN pg_class AS c ON c.oid = v.relation::oid AND c.relkind = 'm'
 WHERE NOT has_table_privilege('mvscheduler_worker', c.oid, 'MAINTAIN')
UNION ALL
SELECT 'error', v.name, format('the sidecar lacks MAINTAIN on %s, which its steps need', c.oid::regclass), format('GRANT MAINTAIN ON TABLE %s TO mvscheduler_worker', c.oid::regclass)
  FROM mvscheduler.visible_pieces AS p
  JOIN mvscheduler.visible_views AS v ON v.view_id = p.view_id
  JOIN pg_class AS c ON c.oid = p.relation::oid AND c.relkind = 'm'
 WHERE p.kind IN ('gate', 'next')
   AND NOT has_table_privilege('mvscheduler_worker', c.oid, 'MAINTAIN')
UNION ALL
SELECT DISTINCT 'error', n.nspname::text, format('the sidecar has no access to schema %I', n.nspname), format('GRANT USAGE ON SCHEMA %I TO mvscheduler_worker', n.nspname)
  FROM mvscheduler.visible_views AS v
  JOIN pg_class AS c ON c.oid = v.relation::oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE NOT has_schema_privilege('mvscheduler_worker', n.oid, 'USAGE')
 ORDER BY 2`)
}

func superuserOwners(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', v.name, format('it belongs to the superuser %s: its query runs with unlimited rights', r.rolname),
       format('UPDATE mvscheduler.views SET owner = ''ROLE'' WHERE name = %L', v.name)
  FROM mvscheduler.visible_views AS v
  JOIN pg_roles AS r ON r.oid = v.owner::oid AND r.rolsuper
 ORDER BY 2`)
}
