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
	doubts map[string]string // by Token.rules
}

// rememberedAtMost bounds the memory; a definition that is forgotten is looked at again.
const rememberedAtMost = 50_000

func (d *Definitions) doubt(ctx context.Context, q querier, view uint32, rules string) (string, error) {
	d.mu.Lock()
	doubt, known := d.doubts[rules]
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
	d.doubts[rules] = doubt
	return doubt, nil
}

// readDoubt looks for what is not a function of rows, arguments and pinned settings alone, in the parsed
// queries of the view and of the views that it reads (pg_rewrite.ev_action; pg_depend leaves built-in
// functions out). Within strings that format escapes braces and colons' blanks, so a name can at worst
// make it doubt what is certain.
//
// Built-in functions qualify when they are IMMUTABLE, or STABLE only because they read settings which are
// pinned or part of the token. Functions, operators, domains, ranges and base types of users and of
// extensions do not qualify: their code can change.
const readDoubt = below + `, action AS MATERIALIZED (
    SELECT w.ev_action::text AS tree
      FROM pg_rewrite AS w
     WHERE w.ev_class = $1
        OR w.ev_class IN (SELECT r.rel FROM reads AS r WHERE r.kind = 'v')
), node AS (
    SELECT DISTINCT m[1] AS name
      FROM action, regexp_matches(tree, '\{(SQLVALUEFUNCTION|TABLESAMPLECLAUSE|NEXTVALUEEXPR|COERCETODOMAIN|XMLEXPR|TABLEFUNC|JSONEXPR|CURRENTOFEXPR)', 'g') AS m
), coercion AS (
    SELECT DISTINCT m[1]::bigint::oid AS type  -- those of other nodes too: that is on the safe side
      FROM action, regexp_matches(tree, ':resulttype ([0-9]+)', 'g') AS m
     WHERE tree LIKE '%{COERCEVIAIO %'
), number AS (
    SELECT DISTINCT m[1] AS field, m[2]::bigint::oid AS id
      FROM action, regexp_matches(tree, ':(\w*funcid|aggfnoid|winfnoid|opno|eqop|sortop|minmaxop|opnos|opfamilies|consttype|vartype|funcresulttype|aggtype|wintype|opresulttype|resulttype|array_typeid|row_typeid|typeId|coltypes|relid) (?:\(o )?([0-9]+)', 'g') AS m
     WHERE m[2] <> '0'
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
), typed AS (
    SELECT t.typname, t.typtype, t.typelem, t.oid
      FROM number AS n
      JOIN pg_type AS y ON y.oid = n.id
      JOIN pg_type AS t ON t.oid = CASE WHEN y.typcategory = 'A' THEN y.typelem ELSE y.oid END
     WHERE n.field NOT IN ('aggfnoid', 'winfnoid', 'opno', 'eqop', 'sortop', 'minmaxop', 'opnos', 'opfamilies')
       AND n.field NOT LIKE '%funcid'
       AND n.field <> 'relid'
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
    (SELECT CASE WHEN p.oid >= 16384 THEN format('function %s is not built in', p.oid::regprocedure)
                 ELSE format('function %s does not depend on its arguments alone', p.oid::regprocedure) END
       FROM called AS c
       JOIN pg_proc AS p ON p.oid = c.id
      WHERE NOT (p.pronamespace = 'mvscheduler'::regnamespace AND p.proname IN ('cutoff', 'cutoff_at'))  -- the token has its value
        AND (p.oid >= 16384
         OR p.provolatile = 'v'
         OR p.proname ~ '^(json|jsonb)?_?(to_ts|ts_headline|.*to_tsvector)'
         OR p.provolatile = 's'
            AND p.proname !~ ('^(extract|overlaps|date|time|timestamp|timetz|anytextcat|textanycat|array_to_json|array_to_string|concat|concat_ws|format|date_part|date_trunc'
                              || '|(date|timestamp|timestamptz)_(cmp|eq|ne|lt|le|gt|ge)_(date|timestamp|timestamptz)|timestamptz_(pl|mi)_interval|interval_pl_timestamptz|timestamptz'
                              || '|generate_series|in_range|make_timestamptz|quote_literal|quote_nullable|row_to_json|to_char|to_date|to_json|to_jsonb|to_number|to_timestamp'
                              || '|jsonb?_(build_array|build_object|populate_record|populate_recordset|to_record|to_recordset|path_\w+_tz)|jsonb?_(object_)?agg\w*|enum_(first|last|range))$')
            AND NOT (p.proname = 'age' AND p.pronargs = 2))
      ORDER BY p.oid DESC LIMIT 1),
    (SELECT format('type %s is a user''s, and so is the code of its values', t.typname)
       FROM typed AS t
      WHERE t.oid >= 16384 AND (t.typtype IN ('d', 'r', 'm') OR t.typtype = 'b')
      ORDER BY t.typname LIMIT 1),
    (SELECT format('it reads values of type %s from text', format_type(c.type, NULL))
       FROM coercion AS c
      WHERE c.type >= 16384
         OR c.type IN ('date'::regtype, 'time'::regtype, 'timetz'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
         OR format_type(c.type, NULL) LIKE 'reg%'
      ORDER BY c.type LIMIT 1),
    (SELECT format('it shows values of type %s', format_type(n.id, NULL))
       FROM number AS n
      WHERE n.field IN ('vartype', 'funcresulttype', 'resulttype', 'consttype')
        AND n.id < 16384
        AND format_type(n.id, NULL) LIKE 'reg%'
      ORDER BY n.id LIMIT 1),
    '')`
