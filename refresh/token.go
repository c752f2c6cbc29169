package refresh

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Token stands for everything that the contents of a view depend on. Two equal tokens mean that the query
// would return what it returned before, as far as the server's counters have been reported: see [Horizon].
type Token struct {
	// Value is a hash of, for every relation with storage below the view, through views and partitions:
	// its OID, its file, and the numbers of rows inserted, updated and deleted; of the times at which the
	// counters were reset; of xmin of the rules, columns and enumerations of what the query names and of casts
	// to json; of the borders of retention; and of the settings that built-in functions read.
	Value string
	// Relations is how many relations with storage stand below the view.
	Relations int
	// Unknown says why no token can stand for this view; empty when one can.
	Unknown string
	// Populated is false when the view has no contents: somebody can have taken them by hand.
	Populated bool
	// Contents is what [Result] says of it, as it is now: another value means that not our last refresh wrote
	// what the view holds.
	Contents string
	// definitions is a hash of the definitions alone: what functions and types they use is looked up once
	// for each.
	definitions string
}

// readToken reads PostgreSQL's catalogs and statistics alone, by OID. xmin changes whenever a catalog row
// is replaced; VACUUM and ANALYZE change theirs in place. OFFSET 0 makes the planner look up each relation: it
// thinks that a recursion returns thousands.
const readToken = below + `, rel AS MATERIALIZED (
    SELECT c.*
      FROM reads AS r
     CROSS JOIN LATERAL (SELECT oid, relkind, relfilenode, xmin::text::bigint AS version, relrowsecurity, relname FROM pg_class WHERE oid = r.rel OFFSET 0) AS c
     WHERE r.rel <> $1
), stored AS (
    SELECT count(*)::int AS relations,
           string_agg(concat_ws(' ', oid, relfilenode, pg_stat_get_tuples_inserted(oid), pg_stat_get_tuples_updated(oid), pg_stat_get_tuples_deleted(oid)), ',' ORDER BY oid) AS counters
      FROM rel
     WHERE relkind IN ('r', 'm')
), defined AS (
    SELECT md5(string_agg(concat_ws(' ', w.ev_class, w.oid, w.xmin), ',' ORDER BY w.oid)) AS rules
      FROM reads AS r
     CROSS JOIN LATERAL (SELECT ev_class, oid, xmin FROM pg_rewrite WHERE ev_class = r.rel OFFSET 0) AS w
     WHERE r.kind = 'v' OR r.rel = $1
), shaped AS (
    SELECT (SELECT string_agg(oid || ' ' || version, ',' ORDER BY oid) FROM rel) AS relations,
           concat_ws(' ', count(*), sum(a.xmin::text::bigint), count(d.oid), sum(d.xmin::text::bigint)) AS columns
      FROM rel
     CROSS JOIN LATERAL (SELECT attrelid, attnum, attgenerated, xmin FROM pg_attribute WHERE attrelid = rel.oid OFFSET 0) AS a
      LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = 'v'
), kept AS (
    SELECT string_agg(x.view_id || ' ' || mvscheduler.cutoff_at(x.retention_period, now()), ',' ORDER BY x.view_id) AS cutoffs
      FROM mvscheduler.view_state AS x
     WHERE x.retention_period IS NOT NULL
       AND x.query_relation::oid IN (SELECT oid FROM rel)
), enumerated AS (
    SELECT concat_ws(' ', count(*), sum(xmin::text::bigint)) AS labels
      FROM pg_enum
), cast_to_json AS (  -- which to_json and its like look up when they run
    SELECT concat_ws(' ', count(*), sum(xmin::text::bigint)) AS casts
      FROM pg_cast
     WHERE casttarget = 'json'::regtype
)
SELECT md5(concat_ws('|', s.counters, d.rules, c.relations, c.columns, e.labels, j.casts, k.cutoffs,
                     pg_stat_get_db_stat_reset_time(b.oid), pg_stat_get_bgwriter_stat_reset_time(),
                     $2::text, $3::text)),
       s.relations,
       coalesce((SELECT CASE WHEN r.relrowsecurity THEN format('%I has row-level security', r.relname)
                             WHEN r.relkind = 'f' THEN format('%I is a foreign table', r.relname)
                             ELSE format('%I is neither a table nor a view', r.relname)
                        END
                   FROM rel AS r
                  WHERE r.relrowsecurity OR r.relkind NOT IN ('r', 'p', 'm', 'v')
                  ORDER BY r.oid
                  LIMIT 1),
                CASE WHEN NOT current_setting('track_counts')::boolean
                       OR EXISTS (SELECT FROM pg_db_role_setting AS x, unnest(x.setconfig) AS g
                                   WHERE x.setdatabase IN (0, b.oid) AND g ~ '^track_counts=' AND g !~* '=(on|t|tr|tru|true|y|ye|yes|1)$')
                     THEN 'track_counts is off, for some role or database' END,
                ''),
       md5(concat_ws('|', d.rules, c.columns, j.casts)),
       coalesce(v.relispopulated, false),
       concat_ws(' ', v.relfilenode, pg_stat_get_tuples_inserted(v.oid), pg_stat_get_tuples_updated(v.oid), pg_stat_get_tuples_deleted(v.oid))
  FROM stored AS s, defined AS d, shaped AS c, kept AS k, enumerated AS e, cast_to_json AS j
  LEFT JOIN pg_class AS v ON v.oid = $1
  JOIN pg_database AS b ON b.datname = current_database()`

// ReadToken reads the token of a view that will be refreshed with these settings, which are those of
// [pgexec.Session.Settings]. A pool that keeps prepared statements saves most of the cost, which is that of planning. It
// has to be read before the refresh takes its snapshot.
func ReadToken(ctx context.Context, catalogs querier, settings string, view View, known *Definitions) (Token, error) {
	rows, err := catalogs.Query(ctx, readToken, view.Target.OID, view.TimeZone, settings)
	if err != nil {
		return Token{}, fmt.Errorf("read the change token of view %q: %w", view.Name, err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (Token, error) {
		var t Token
		return t, row.Scan(&t.Value, &t.Relations, &t.Unknown, &t.definitions, &t.Populated, &t.Contents)
	})
	if err != nil {
		return Token{}, fmt.Errorf("read the change token of view %q: %w", view.Name, err)
	}
	if t.Unknown == "" {
		if t.Unknown, err = known.doubt(ctx, catalogs, view.Target.OID, t.definitions); err != nil {
			return Token{}, fmt.Errorf("look at the functions of view %q: %w", view.Name, err)
		}
	}
	return t, nil
}
