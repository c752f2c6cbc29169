package doctor

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/words"
)

// unwell finds views at which a person has to look, and those that were renamed or given away by hand.
func unwell(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	all, err := catalog.Statuses(ctx, conn)
	if err != nil {
		return nil, err
	}
	moved, err := movedByHand(ctx, conn)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, s := range all {
		if !s.Unhealthy() {
			continue
		}
		f := Finding{Severity: Warning, Subject: s.Name, What: s.Freshness + ": " + cmp.Or(s.Reason, "see its runs"), Fix: "mvscheduler show " + words.ShellQuote(s.Name)}
		if s.AutoPaused || s.Freshness == "missing" {
			f.Severity = Error
		}
		switch {
		case s.HasData():
			f.Fix = "mvscheduler resume " + words.ShellQuote(s.Name)
		case s.Freshness == "missing":
			f.What += "; import is for whoever wrote the query, in whose session it is parsed"
			f.Fix = "mvscheduler export | mvscheduler import -"
		case s.AutoPaused && !slices.ContainsFunc(moved, func(m Finding) bool { return m.Subject == s.Name }): // whose fix resumes it
			f.What = strings.TrimSuffix(f.What, ".") + "; the fix is for when the cause is mended"
			f.Fix = "mvscheduler resume " + words.ShellQuote(s.Name)
		}
		found = append(found, f)
	}
	return append(found, moved...), nil
}

// movedByHand finds views that were renamed or given away by hand.
func movedByHand(ctx context.Context, conn *pgx.Conn) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', v.name, 'it was renamed by hand to ' || mvscheduler.shown_name(c.oid), format('UPDATE mvscheduler.views SET name = %L WHERE id = %s', mvscheduler.shown_name(c.oid), v.view_id)
  FROM mvscheduler.visible_views AS v
  JOIN pg_class AS c ON c.oid = v.relation::oid AND mvscheduler.shown_name(c.oid) <> v.name
UNION ALL
SELECT 'error', v.name, format('it was given to %s by hand', c.relowner::regrole), format('UPDATE mvscheduler.views SET owner = %L WHERE id = %s', c.relowner::regrole, v.view_id)
  FROM mvscheduler.visible_views AS v
  JOIN pg_class AS c ON c.oid = v.relation::oid AND c.relowner <> v.owner::oid
 ORDER BY 2`)
}

// parts finds incremental views without their query, and incremental views and tables of source_retention without the gate through
// which their owner's steps run.
func parts(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'error', t.name,
       'its gate was dropped or given away by hand: ' || CASE t.kind WHEN 'source' THEN 'no partition leaves the table' ELSE 'it cannot be refreshed' END || '; the fix makes it anew',
       CASE t.kind WHEN 'source' THEN format('UPDATE mvscheduler.source_retention SET enabled = enabled WHERE id = %s', t.id) ELSE format('SELECT mvscheduler.resume_view(%L)', t.name) END
  FROM mvscheduler.visible_targets AS t
  JOIN pg_class AS face ON face.oid = t.face::oid
 WHERE NOT EXISTS (SELECT FROM pg_class AS g WHERE g.oid = t.gate::oid AND g.relkind = 'm' AND g.relowner = t.owner::oid)
UNION ALL
SELECT 'error', v.name, 'its query was dropped, perhaps with what it reads: it cannot be refreshed; the fix makes it again', format('SELECT mvscheduler.resume_view(%L)', v.name)
  FROM mvscheduler.visible_views AS v
  JOIN pg_class AS face ON face.oid = v.relation::oid
 WHERE v.method = 'incremental'
   AND NOT EXISTS (SELECT FROM pg_class AS q WHERE q.oid = v.query_relation::oid)
 ORDER BY 2`)
}

// indexes finds managed views that lock out their readers, and indexes that a failed build left invalid.
func indexes(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', v.name, format('its index %s is invalid: an interrupted CREATE INDEX CONCURRENTLY left it; after the fix, create it again', i.indexrelid::regclass),
       format('DROP INDEX CONCURRENTLY %s', i.indexrelid::regclass)
  FROM mvscheduler.visible_views AS v
  JOIN pg_index AS i ON i.indrelid = v.relation::oid AND NOT i.indisvalid
UNION ALL
SELECT 'note', v.name, 'it has no unique index that REFRESH CONCURRENTLY can use: readers wait while it is refreshed; the fix takes all columns for the key, and fewer, where they tell rows apart, make a smaller index',
       format('UPDATE mvscheduler.views SET unique_key = %L WHERE name = %L',
              (SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attnum BETWEEN 1 AND 32 AND NOT a.attisdropped
                  AND a.atttypid <> ALL ('{json,xml,point,line,lseg,box,path,polygon,circle}'::regtype[])), v.name)   -- an index has no more, and none of these
  FROM mvscheduler.visible_views AS v
  JOIN pg_class AS c ON c.oid = v.relation::oid AND c.relkind = 'm'
 WHERE NOT EXISTS (SELECT
                     FROM pg_index AS i
                    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL)
 ORDER BY 1, 2`)
}

// replacedQueries finds views that do not hold the query of their row any more, as far as their text tells.
func replacedQueries(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', v.name, format('%s does not say what the query of the row said when it was parsed: it was replaced by hand, or something that it reads was renamed; the fix is its owner''s, in whose session the text is parsed (where a name in it is gone: mvscheduler edit --editor)', coalesce(v.query_relation, v.relation)),
       format('UPDATE mvscheduler.views SET query = query || '' '' WHERE name = %L', v.name)
  FROM mvscheduler.visible_views AS v
 WHERE substr(mvscheduler.seal_of(coalesce(v.query_relation::oid, v.relation::oid)), 33) <> substr(v.query_seal, 33)   -- of the text alone: a redefinition below changes the rule
 ORDER BY 2`)
}

// unmanaged finds materialized views that are in no catalog and in no crontab that can be read.
func unmanaged(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	commands, err := RefreshCommands(ctx, conn)
	if err != nil {
		return nil, err
	}
	found, err := rowsOf(ctx, conn, `
SELECT 'note', format('%I.%I', n.nspname, c.relname),
       'no mvscheduler row refreshes this materialized view' || CASE WHEN c.relispopulated THEN '' ELSE ', and it is empty' END,
       format('SELECT mvscheduler.adopt_view(%L)', format('%I.%I', n.nspname, c.relname))
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind = 'm'
   AND n.nspname !~ '^(pg_|_timescaledb|timescaledb)'
   AND NOT EXISTS (SELECT FROM mvscheduler.visible_views AS v WHERE v.relation::oid = c.oid)
   AND NOT EXISTS (SELECT FROM mvscheduler.visible_pieces AS p WHERE p.relation::oid = c.oid)
   AND coalesce(obj_description(c.oid, 'pg_class'), '') NOT LIKE 'mvscheduler: %'
   AND (SELECT mvscheduler.sees_all() OR pg_has_role(current_user, c.relowner, 'MEMBER'))   -- rows of others are not seen
 ORDER BY 2`)
	if err != nil {
		return nil, err
	}
	var lonely []Finding
	for _, f := range found {
		if !refreshedBy(commands, f.Subject) {
			lonely = append(lonely, f)
		}
	}
	return lonely, nil
}

// leftovers finds pieces that mvscheduler made and no row stands for, versions that could not be dropped when others took
// their place, and triggers that serve no view any more. What a materialized view reads is not to be dropped.
func leftovers(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'note', format('%I.%I', n.nspname, c.relname),
       'mvscheduler made it, and no row of the catalog stands for it any more (' || CASE WHEN reader.name IS NULL THEN 'its row was deleted without its triggers, or restored elsewhere'
            ELSE format('%s, whose query it holds, was released, or its row was deleted without its triggers: it can stay', reader.name) END || ')',
       CASE WHEN reader.name IS NULL THEN format('DROP %s %I.%I', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'p' THEN 'TABLE' ELSE 'VIEW' END, n.nspname, c.relname)
            ELSE format('SELECT mvscheduler.adopt_view(%L)', reader.name) END
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
        SELECT format('%I.%I', m.relnamespace::regnamespace::name, m.relname) AS name
          FROM pg_depend AS d
          JOIN pg_rewrite AS w ON w.oid = d.objid
          JOIN pg_class AS m ON m.oid = w.ev_class AND m.relkind = 'm'
         WHERE d.classid = 'pg_rewrite'::regclass
           AND d.refclassid = 'pg_class'::regclass
           AND d.refobjid = c.oid
         ORDER BY m.oid
         LIMIT 1) AS reader ON c.relkind = 'v'
 WHERE c.relkind IN ('v', 'm', 'p')
   AND obj_description(c.oid, 'pg_class') LIKE 'mvscheduler: %'
   AND (SELECT mvscheduler.sees_all() OR pg_has_role(current_user, c.relowner, 'MEMBER'))
   AND NOT EXISTS (SELECT FROM mvscheduler.visible_views AS v WHERE c.oid IN (v.relation::oid, v.query_relation::oid))
   AND NOT EXISTS (SELECT FROM mvscheduler.visible_pieces AS p WHERE c.oid = p.relation::oid)
   AND NOT EXISTS (SELECT FROM mvscheduler.visible_targets AS t WHERE c.oid = t.gate::oid)
UNION ALL
SELECT 'note', format('%I.%I', n.nspname, c.relname),
       format('it is what was left when a new version of %s took its place, and goes with the next refresh in which nothing holds it', v.name)
           || coalesce(': ' || (SELECT string_agg(DISTINCT format('%I.%I', u.relnamespace::regnamespace::name, u.relname), ', ')
                                  FROM pg_depend AS d
                                  JOIN pg_rewrite AS w ON w.oid = d.objid
                                  JOIN pg_class AS u ON u.oid = w.ev_class AND u.oid <> c.oid
                                 WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                                   AND NOT EXISTS (SELECT FROM mvscheduler.visible_pieces AS q WHERE q.relation::oid = u.oid)) || format(' reads it, and has to read %s first, or to go', v.name), ''),
       format('SELECT mvscheduler.refresh_view(%L)', v.name)
  FROM mvscheduler.visible_pieces AS p
  JOIN mvscheduler.visible_views AS v ON v.view_id = p.view_id
  JOIN pg_class AS c ON c.oid = p.relation::oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE p.kind IN ('old', 'old_query')
UNION ALL
SELECT 'note', g.name,
       format('%s of its triggers note what changes for views, and none reads it any more: each statement that writes to it pays for them', count(*)),
       string_agg(format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname), '; ' ORDER BY c.oid, t.tgname)
  FROM pg_trigger AS t
  JOIN pg_proc AS f ON f.oid = t.tgfoid AND f.pronamespace = 'mvscheduler'::regnamespace AND f.proname LIKE 'changed%'
  JOIN pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (SELECT format('%I.%I', r.relnamespace::regnamespace::name, r.relname) AS name FROM pg_class AS r WHERE r.oid = coalesce(pg_partition_root(c.oid), c.oid)) AS g
 WHERE (SELECT mvscheduler.sees_all())  -- others may read it
   AND t.tgparentid = 0
   AND NOT EXISTS (SELECT FROM mvscheduler.visible_kept AS k WHERE k.relation::oid = coalesce(pg_partition_root(c.oid), c.oid))  -- which is dropped, or comes back
   AND NOT EXISTS (WITH RECURSIVE above AS (SELECT c.oid UNION SELECT i.inhparent FROM above AS a JOIN pg_inherits AS i ON i.inhrelid = a.oid)
                   SELECT FROM above AS a JOIN mvscheduler.visible_sources AS s ON s.relation::oid = a.oid)
   AND NOT EXISTS (SELECT FROM mvscheduler.visible_views AS v, mvscheduler.missing_rights(v.owner::oid, v.query_relation::oid) AS m   -- see viewGrants
                    WHERE v.method = 'incremental' AND m.name = g.name)
 GROUP BY g.name
 ORDER BY 2`)
}

// starvedTables finds tables of mvscheduler whose dead rows nobody removes: every claim reads them.
func starvedTables(ctx context.Context, conn *pgx.Conn, _ server) ([]Finding, error) {
	return rowsOf(ctx, conn, `
SELECT 'warning', format('mvscheduler.%I', t.relname), format('it has %s dead rows beside %s live ones, and autovacuum was last there %s; the fix also shows who holds back the horizon', t.n_dead_tup, t.n_live_tup, coalesce('at ' || date_trunc('second', t.last_autovacuum), 'never')),
       format('VACUUM ANALYZE mvscheduler.%I; SELECT pid, usename, backend_xmin FROM pg_stat_activity ORDER BY age(backend_xmin) DESC NULLS LAST', t.relname)
  FROM pg_stat_all_tables AS t
 WHERE t.schemaname = 'mvscheduler'
   AND t.n_dead_tup > 20000
   AND t.n_dead_tup > 2 * t.n_live_tup
 ORDER BY t.n_dead_tup DESC`)
}
