package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"
)

func logins(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'error', a.usename::text, 'a sidecar is connected as a superuser: whoever finds a hole has everything; the fix says how to make a login that is only a member of mvscheduler_worker',
       'mvscheduler grants'
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
UNION ALL
SELECT 'note', r.rolname::text, format('%s may act as mvscheduler_owner: it administers every managed view, and could change the functions that run in everybody''s session; the fix is for when you do not trust it with that', r.rolname),
       format('REVOKE mvscheduler_owner FROM %I CASCADE', r.rolname)
  FROM pg_roles AS r
 WHERE NOT r.rolsuper AND r.rolname <> 'mvscheduler_owner'
   AND pg_has_role(r.oid, 'mvscheduler_owner', 'MEMBER')
 ORDER BY 1, 2`)
}

func sidecars(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', '', 'no sidecar is connected to this database: nothing is refreshed', 'mvscheduler serve'
 WHERE EXISTS (SELECT FROM mvscheduler.status)
   AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.application_name = 'mvscheduler control' AND a.datname = current_database())`)
}

// viewGrants finds views that the sidecar may not refresh, and those whose owner may not read what they read, or not
// write to the view itself.
func viewGrants(ctx context.Context, conn *pgx.Conn, s server) ([]Finding, error) {
	sidecar, err := sidecarGrants(ctx, conn, s)
	if err != nil {
		return nil, err
	}
	owner, err := rowsOf(ctx, conn, `
SELECT 'error', v.name, format('its owner %s may not read %s', v.owner, m.name), format('GRANT SELECT ON %s TO %s', m.name, v.owner)
  FROM mvscheduler.visible_views AS v
  JOIN pg_roles AS r ON r.oid = v.owner::oid
 CROSS JOIN LATERAL mvscheduler.missing_rights(v.owner::oid, coalesce(v.query_relation::oid, v.relation::oid)) AS m
UNION ALL
SELECT 'error', v.name, format('its owner %s lacks %s on it, which REFRESH CONCURRENTLY does as that role', v.owner, m.rights), format('GRANT %s ON %s TO %s', m.rights, mvscheduler.shown_name(c.oid), v.owner)
  FROM mvscheduler.visible_views AS v
  JOIN pg_roles AS r ON r.oid = v.owner::oid
  JOIN pg_class AS c ON c.oid = v.relation::oid AND c.relkind = 'm' AND c.relowner = r.oid
 CROSS JOIN LATERAL (SELECT string_agg(p.name, ', ' ORDER BY p.place) AS rights
                       FROM unnest(ARRAY['SELECT', 'INSERT', 'DELETE']) WITH ORDINALITY AS p(name, place)
                      WHERE NOT has_table_privilege(r.oid, c.oid, p.name)) AS m
 WHERE v.method IN ('auto', 'concurrent')
   AND m.rights IS NOT NULL
 ORDER BY 2, 4`)
	return append(sidecar, owner...), err
}

func sidecarGrants(ctx context.Context, conn *pgx.Conn, s server) ([]Finding, error) {
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

// superuserOwners: before PostgreSQL 17 only a superuser refreshes what a superuser owns, unless somebody made the
// sidecar a member of that role.
func superuserOwners(ctx context.Context, conn *pgx.Conn, s server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT CASE WHEN o.able THEN 'warning' ELSE 'error' END, o.name,
       format(CASE WHEN o.able THEN 'it belongs to the superuser %s: its query runs with unlimited rights'
                   ELSE 'it belongs to the superuser %s, for whom the sidecar cannot refresh before PostgreSQL 17' END, o.rolname)
           || CASE WHEN o.likely IS NULL THEN '; which role shall own it cannot be told from here' ELSE '; the fix gives it to the owner of its schema' END,
       format('UPDATE mvscheduler.views SET owner = %L WHERE name = %L', coalesce(o.likely, 'ROLE'), o.name)
  FROM (SELECT v.name, r.rolname,
               (SELECT quote_ident(k.rolname) FROM pg_namespace AS n JOIN pg_roles AS k ON k.oid = n.nspowner AND NOT k.rolsuper AND k.rolname !~ '^pg_' WHERE n.oid = c.relnamespace) AS likely, $1 >= 170000 OR pg_has_role('mvscheduler_worker', r.oid, 'USAGE') AS able
          FROM mvscheduler.visible_views AS v
          JOIN pg_class AS c ON c.oid = v.relation::oid
          JOIN pg_roles AS r ON r.oid = v.owner::oid AND r.rolsuper) AS o
 ORDER BY 2`, s.Version)
}
