package refresh

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Definitions remembers for each definition why its result may change although no row below it does.
// Safe for concurrent use; the zero value is ready.
type Definitions struct {
	mu     sync.Mutex
	doubts map[string]string // by Token.definitions
}

// rememberedAtMost bounds the memory; a definition that is forgotten is looked at again.
const rememberedAtMost = 50_000

func (d *Definitions) doubt(ctx context.Context, q querier, view uint32, definitions string) (string, error) {
	d.mu.Lock()
	doubt, known := d.doubts[definitions]
	d.mu.Unlock()
	if known {
		return doubt, nil
	}
	rows, err := q.Query(ctx, readDoubt, view)
	if err != nil {
		return "", err
	}
	if doubt, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[string]); err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.doubts == nil || len(d.doubts) >= rememberedAtMost {
		d.doubts = make(map[string]string)
	}
	d.doubts[definitions] = doubt
	return doubt, nil
}

// readDoubt looks for what is not a function of rows, arguments and pinned settings alone, in the parsed
// queries of the view and of the views that it reads and in virtual columns (pg_rewrite.ev_action and
// pg_attrdef.adbin; pg_depend leaves built-in functions out). Within strings that format escapes braces and
// colons' blanks, so a name can at worst make it doubt what is certain.
//
// Built-in functions qualify when they are IMMUTABLE, or STABLE only because they read settings which are
// pinned or part of the token. Functions, operators, domains, ranges and base types of users and of
// extensions do not qualify: their code can change. Types are looked at with all that they are made of. The
// call of cutoff that stands in the plain view of a managed view with retention qualifies, since the token has
// its value.
//
// OFFSET 0 and the casts after ORDER BY keep the planner from walking all functions, rules or types: a
// database with a thousand views has thousands of them.
const readDoubt = below + `, tree AS MATERIALIZED (
    SELECT w.ev_action::text AS tree
      FROM reads AS r
     CROSS JOIN LATERAL (SELECT ev_action FROM pg_rewrite WHERE ev_class = r.rel OFFSET 0) AS w
     WHERE r.kind = 'v' OR r.rel = $1
     UNION ALL
    SELECT d.adbin::text
      FROM reads AS r
     CROSS JOIN LATERAL (SELECT adrelid, adnum, adbin FROM pg_attrdef WHERE adrelid = r.rel OFFSET 0) AS d
      JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
     WHERE a.attgenerated = 'v'
), action AS MATERIALIZED (
    SELECT t.tree, t.tree LIKE '%{COERCEVIAIO %' AS reads_text FROM tree AS t
), node AS (
    SELECT DISTINCT m[1] AS name
      FROM action, regexp_matches(tree, '\{(SQLVALUEFUNCTION|TABLESAMPLECLAUSE|NEXTVALUEEXPR|COERCETODOMAIN|XMLEXPR|TABLEFUNC|JSONEXPR|CURRENTOFEXPR)', 'g') AS m
), number AS (
    SELECT m[1] AS field, m[2]::bigint::oid AS id, reads_text AND m[1] = 'resulttype' AS from_text, count(*) AS times
      FROM action, regexp_matches(tree, ':(\w*funcid|aggfnoid|winfnoid|opno|eqop|sortop|minmaxop|opnos|opfamilies|consttype|vartype|funcresulttype|aggtype|wintype|opresulttype|resulttype|array_typeid|row_typeid|typeId|coltypes|relid) (?:\(o )?([0-9]+)', 'g') AS m
     WHERE m[2] <> '0'
     GROUP BY 1, 2, 3
), called AS (
    SELECT n.id FROM number AS n WHERE n.field IN ('aggfnoid', 'winfnoid') OR n.field LIKE '%funcid'
    UNION
    SELECT o.oprcode::oid
      FROM number AS n
      JOIN pg_operator AS o ON o.oid = n.id
     WHERE n.field IN ('opno', 'eqop', 'sortop', 'minmaxop', 'opnos')
    UNION
    SELECT x.id::oid
      FROM number AS n
      JOIN pg_aggregate AS g ON g.aggfnoid = n.id
     CROSS JOIN LATERAL unnest(ARRAY[g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn]::oid[]) AS x(id)
     WHERE x.id <> 0
), typed(oid, from_text) AS (  -- from_text: perhaps, resulttype is of other nodes too
    SELECT n.id, n.from_text
      FROM number AS n
     WHERE n.field NOT IN ('aggfnoid', 'winfnoid', 'opno', 'eqop', 'sortop', 'minmaxop', 'opnos', 'opfamilies', 'relid')
       AND n.field NOT LIKE '%funcid'
     UNION
    SELECT part.oid, t.from_text
      FROM typed AS t
     CROSS JOIN LATERAL (SELECT oid, typelem, typrelid FROM pg_type WHERE oid = t.oid OFFSET 0) AS y
     CROSS JOIN LATERAL (
            SELECT y.typelem AS oid WHERE y.typelem <> 0
             UNION ALL
            SELECT g.rngsubtype FROM pg_range AS g WHERE y.oid IN (g.rngtypid, g.rngmultitypid)
             UNION ALL
            SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS part
)
SELECT coalesce(
    (SELECT CASE name WHEN 'SQLVALUEFUNCTION' THEN 'it asks for the time or the user (CURRENT_DATE, CURRENT_USER, ...)'
                      WHEN 'TABLESAMPLECLAUSE' THEN 'TABLESAMPLE takes rows at random'
                      WHEN 'COERCETODOMAIN' THEN 'it casts to a domain, whose check is a user''s'
                      ELSE 'it uses ' || lower(name) END
       FROM node ORDER BY name LIMIT 1),
    (SELECT 'it reads the system catalog ' || n.id::regclass  -- which pg_depend leaves out
       FROM number AS n
      WHERE n.field = 'relid' AND n.id < 16384
      ORDER BY n.id LIMIT 1),
    (SELECT 'it shows xmin, cmin, xmax or cmax, which locks of rows change'
       FROM action WHERE tree ~ ':varattno -[2-5] ' LIMIT 1),
    (SELECT format('function %s does not depend on its arguments alone', p.oid::regprocedure)
       FROM number AS n
       JOIN pg_proc AS p ON p.oid = n.id
      WHERE n.field LIKE '%funcid'
        AND p.pronamespace = 'mvscheduler'::regnamespace
        AND p.proname = 'cutoff'
        AND (SELECT sum(c.times) FROM number AS c WHERE c.id = p.oid AND c.field LIKE '%funcid')
            > (SELECT count(*) FROM mvscheduler.view_state AS x WHERE x.retention_period IS NOT NULL AND x.query_relation::oid IN (SELECT r.rel FROM reads AS r))
      LIMIT 1),
    (SELECT CASE WHEN p.oid >= 16384 THEN format('function %s is not built in', p.oid::regprocedure)
                 ELSE format('function %s does not depend on its arguments alone', p.oid::regprocedure) END
       FROM called AS c
      CROSS JOIN LATERAL (SELECT * FROM pg_proc WHERE oid = c.id OFFSET 0) AS p
      WHERE NOT (p.pronamespace = 'mvscheduler'::regnamespace AND p.proname = 'cutoff')
        AND (p.oid >= 16384
         OR p.provolatile = 'v'
         OR p.proname ~ '^(json|jsonb)?_?(to_ts|ts_headline|.*to_tsvector)'
         OR p.provolatile = 's'
            AND p.proname !~ ('^(extract|overlaps|date|time|timestamp|timetz|anytextcat|textanycat|array_to_json|array_to_string|concat|concat_ws|format|date_part|date_trunc'
                              || '|(date|timestamp|timestamptz)_(cmp|eq|ne|lt|le|gt|ge)_(date|timestamp|timestamptz)|timestamptz_(pl|mi)_interval|interval_pl_timestamptz|timestamptz'
                              || '|generate_series|in_range|make_timestamptz|quote_literal|quote_nullable|row_to_json|to_char|to_date|to_json|to_jsonb|to_number|to_timestamp'
                              || '|jsonb?_(build_array|build_object)|jsonb?_(object_)?agg\w*|enum_(first|last|range))$')
            AND NOT (p.proname = 'age' AND p.pronargs = 2)
         OR p.proname = 'timetz' AND p.proargtypes[0] = 'time'::regtype)  -- with the offset of today
      ORDER BY p.oid::bigint DESC LIMIT 1),
    (SELECT format('type %s is a user''s, and so is the code of its values', y.typname)
       FROM typed AS t
      CROSS JOIN LATERAL (SELECT oid, typname, typtype, typelem FROM pg_type WHERE oid = t.oid OFFSET 0) AS y
      WHERE y.oid >= 16384
        AND y.typtype IN ('d', 'r', 'm', 'b')
        AND y.oid IS DISTINCT FROM (SELECT e.typarray FROM pg_type AS e WHERE e.oid = y.typelem)
      ORDER BY y.typname::text LIMIT 1),
    (SELECT format('type %s has a cast to json, which a user can change', format_type(c.castsource, NULL))
       FROM pg_cast AS c
      WHERE c.casttarget = 'json'::regtype
        AND c.castsource >= 16384
        AND c.castsource IN (SELECT t.oid FROM typed AS t)
      ORDER BY 1 LIMIT 1),
    (SELECT format('type %s has attributes that can change', y.typname)
       FROM typed AS t
      CROSS JOIN LATERAL (SELECT typname, typtype, typrelid FROM pg_type WHERE oid = t.oid OFFSET 0) AS y
      WHERE y.typtype = 'c'
        AND y.typrelid NOT IN (SELECT r.rel FROM reads AS r)
      ORDER BY y.typname::text LIMIT 1),
    (SELECT format('it reads values of type %s from text', format_type(t.oid, NULL))
       FROM typed AS t
      WHERE t.from_text
        AND t.oid IN ('date'::regtype, 'time'::regtype, 'timetz'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
      ORDER BY t.oid LIMIT 1),
    (SELECT format('it shows values of type %s', format_type(t.oid, NULL))
       FROM typed AS t
      WHERE t.oid < 16384
        AND (format_type(t.oid, NULL) LIKE 'reg%' OR t.oid = 'aclitem'::regtype)
      ORDER BY t.oid LIMIT 1),
    '')`
