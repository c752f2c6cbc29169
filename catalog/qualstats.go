package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Qual is an entry of pg_qualstats about a column of a managed view.
type Qual struct {
	ViewID                  int64
	Relation                uint32 // the materialized view, or a partition of an incremental one
	UserID                  uint32
	QueryID                 int64
	GroupID                 int64 // of the conditions that are tested together; zero = there is one alone
	NodeID                  int64
	ColumnName              string
	Strategy                int // of a btree; zero = none
	Indexed                 bool
	IsTime                  bool
	Constant                string
	Seen, Examined, Removed int64
}

// QualSource is the schema of pg_qualstats, or what is missing.
type QualSource struct {
	Schema  string
	Absent  bool    // it is not installed, which is nothing that anybody has to be told
	Missing string  // why it says nothing; empty when it does
	Rate    float64 // share of the statements that are looked at
}

// FindQuals looks for pg_qualstats. Only the extension's own functions are ever called, and only when the server has
// loaded it at its start: else a call would load it into this session, which would then watch itself.
func FindQuals(ctx context.Context, q Querier) (s QualSource, err error) {
	var allowed, callable, identified, texts bool
	var owner string
	err = q.QueryRow(ctx, `
SELECT n.nspname, coalesce(mvscheduler.renamer(n.oid), ''), pg_has_role('pg_read_all_stats', 'USAGE'),
       r.rolsuper AND count(p.oid) = 2 AND bool_and(has_function_privilege(p.oid, 'EXECUTE')) AND has_schema_privilege(n.oid, 'USAGE'),
       current_setting('compute_query_id') = 'on' OR current_setting('compute_query_id') <> 'off' AND EXISTS (SELECT FROM pg_settings AS g WHERE g.name = 'pg_stat_statements.max'),
       current_setting('pg_qualstats.track_constants', true) IS DISTINCT FROM 'off',
       coalesce((SELECT g.setting::float8 FROM pg_settings AS g WHERE g.name = 'pg_qualstats.sample_rate' AND g.setting::float8 > 0), 1 / current_setting('max_connections')::float8)
  FROM pg_extension AS e
  JOIN pg_namespace AS n ON n.oid = e.extnamespace
  JOIN pg_roles AS r ON r.oid = e.extowner
  LEFT JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  LEFT JOIN pg_proc AS p ON p.oid = d.objid AND p.pronamespace = n.oid
                        AND p.proname IN ('pg_qualstats', 'pg_qualstats_example_queries') AND p.pronargs = 0
 WHERE e.extname = 'pg_qualstats'
 GROUP BY n.nspname, n.oid, r.rolsuper`).Scan(&s.Schema, &owner, &allowed, &callable, &identified, &texts, &s.Rate)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		s.Absent, s.Missing = true, "pg_qualstats is not installed in this database"
	case err != nil:
		return s, fmt.Errorf("look for pg_qualstats: %w", err)
	case owner != "":
		s.Missing = inSchemaOf(owner, "pg_qualstats")
	case !allowed:
		s.Missing = "pg_qualstats hides what others ask; a DBA runs: GRANT pg_read_all_stats TO mvscheduler_worker"
	case !callable:
		s.Missing = "pg_qualstats may not be called; a DBA runs: GRANT USAGE ON SCHEMA " + pgx.Identifier{s.Schema}.Sanitize() + " TO mvscheduler_worker"
	case !identified:
		s.Missing = "pg_qualstats cannot tell statements apart: compute_query_id = on, or pg_stat_statements in shared_preload_libraries, lets it"
	case !texts: // which tell our own steps from reads
		s.Missing = "pg_qualstats keeps no texts: pg_qualstats.track_constants is off"
	}
	if owner != "" || !allowed || !callable { // to see what follows takes the same role
		return s, nil
	}
	var loaded bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_shmem_allocations AS m WHERE m.name = 'pg_qualstats')`).Scan(&loaded); err != nil {
		return s, fmt.Errorf("look whether pg_qualstats is loaded: %w", err)
	}
	if !loaded {
		s.Missing = "pg_qualstats is not in shared_preload_libraries"
	}
	return s, nil
}

// mostQuals bounds what is read at once; pg_qualstats.max is 1,000 unless somebody raised it.
const mostQuals = 20_000

// ReadQuals reads the conditions of statements of others on columns of managed views. A REFRESH has no queryid, conditions
// between two columns need no constant, and the sidecar's own are left out.
func ReadQuals(ctx context.Context, q Querier, s QualSource) ([]Qual, error) {
	rows, err := q.Query(ctx, fmt.Sprintf(`
WITH strategy AS MATERIALIZED (
    SELECT o.amopopr AS operator, min(o.amopstrategy)::int AS n
      FROM pg_amop AS o
      JOIN pg_am AS m ON m.oid = o.amopmethod AND m.amname = 'btree'
     WHERE o.amoppurpose = 's'
       AND EXISTS (SELECT FROM pg_opclass AS c WHERE c.opcfamily = o.amopfamily AND c.opcdefault)
     GROUP BY o.amopopr
), ours AS MATERIALIZED (
    SELECT r.oid FROM pg_roles AS r WHERE NOT r.rolsuper AND pg_has_role(r.oid, 'mvscheduler_worker', 'MEMBER')
), qual AS MATERIALIZED (
    SELECT x.*
      FROM %s.pg_qualstats() AS x
      JOIN pg_database AS d ON d.oid = x.dbid AND d.datname = current_database()
     WHERE x.rrelid IS NULL
       AND x.queryid IS NOT NULL
     ORDER BY x.occurences DESC
     LIMIT $1
), counted AS MATERIALIZED (
    SELECT k.view_id, k.relation, s.time_column
      FROM mvscheduler.counted AS k
      JOIN mvscheduler.view_state AS s ON s.view_id = k.view_id
)
SELECT k.view_id, x.lrelid AS relation, x.userid AS user_id, x.queryid AS query_id, coalesce(x.uniquequalid, 0) AS group_id, x.uniquequalnodeid AS node_id,
       a.attname::text AS column_name, coalesce(y.n, 0) AS strategy,
       coalesce(x.eval_type = 'i', false) AS indexed, coalesce(a.attname = k.time_column, false) AS is_time, coalesce(x.constvalue, '') AS constant,
       x.occurences AS seen, x.execution_count AS examined, x.nbfiltered AS removed
  FROM qual AS x
  JOIN counted AS k ON k.relation = x.lrelid
  JOIN pg_attribute AS a ON a.attrelid = x.lrelid AND a.attnum = x.lattnum AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN strategy AS y ON y.operator = x.opno
 WHERE x.userid NOT IN (SELECT o.oid FROM ours AS o)`, pgx.Identifier{s.Schema}.Sanitize()), mostQuals)
	if err != nil {
		return nil, fmt.Errorf("read pg_qualstats: %w", err)
	}
	quals, err := pgx.CollectRows(rows, pgx.RowToStructByName[Qual])
	if err != nil {
		return nil, fmt.Errorf("read pg_qualstats: %w", err)
	}
	return quals, nil
}

// ReadExamples reads one text of each statement with its constants, as far as one is kept.
func ReadExamples(ctx context.Context, q Querier, s QualSource, ids []int64) (map[int64]string, error) {
	rows, err := q.Query(ctx, fmt.Sprintf(`
SELECT x.queryid, left(x.query, 16384)
  FROM %s.pg_qualstats_example_queries() AS x
 WHERE x.queryid = ANY ($1) AND x.query IS NOT NULL`, pgx.Identifier{s.Schema}.Sanitize()), ids)
	if err != nil {
		return nil, fmt.Errorf("read the examples of pg_qualstats: %w", err)
	}
	texts := make(map[int64]string)
	var id int64
	var text string
	_, err = pgx.ForEachRow(rows, []any{&id, &text}, func() error {
		texts[id] = text
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the examples of pg_qualstats: %w", err)
	}
	return texts, nil
}

// Tested are reads of a view that looked for rows by a condition which no index served.
type Tested struct {
	ViewID   int64    `json:"view_id"`
	Columns  []string `json:"columns"`
	Ranged   bool     `json:"ranged"` // the last column is compared by a range, the others with =
	Reads    float64  `json:"reads"`
	Examined float64  `json:"examined"` // rows
	Removed  float64  `json:"removed"`
}

// MostTested is how many conditions of a view are remembered of a day, KeepTested for how long.
const (
	MostTested = 20
	KeepTested = 28 * 24 * time.Hour
)

// WriteTested adds what was tested, as the sampler whose lease has not passed on; else it does nothing.
func WriteTested(ctx context.Context, q Querier, sampler string, at time.Time, tested []Tested) error {
	document, err := json.Marshal(tested)
	if err != nil {
		return fmt.Errorf("record by what views were read: %w", err)
	}
	_, err = q.Exec(ctx, `
WITH came AS (
    SELECT b.*, ($2::timestamptz AT TIME ZONE 'UTC')::date AS day
      FROM jsonb_to_recordset($3::jsonb) AS b(view_id bigint, columns text[], ranged boolean, reads float8, examined float8, removed float8)
     WHERE EXISTS (SELECT FROM mvscheduler.collector AS c WHERE c.sampler = $1)
       AND EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = b.view_id)
), placed AS (   -- those that are there already first, then those with most reads
    SELECT c.*, o.view_id IS NOT NULL AS there,
           (SELECT count(*) FROM mvscheduler.tested AS x WHERE x.view_id = c.view_id AND x.at = c.day)
           + row_number() OVER (PARTITION BY c.view_id, o.view_id IS NULL ORDER BY c.reads DESC) AS place
      FROM came AS c
      LEFT JOIN mvscheduler.tested AS o ON o.view_id = c.view_id AND o.at = c.day AND o.columns = c.columns AND o.ranged = c.ranged
)
INSERT INTO mvscheduler.tested AS t (view_id, at, columns, ranged, reads, examined, removed)
SELECT p.view_id, p.day, p.columns, p.ranged, p.reads, p.examined, p.removed
  FROM placed AS p
 WHERE p.there OR p.place <= $4
ON CONFLICT (view_id, at, columns, ranged) DO UPDATE
   SET reads = t.reads + EXCLUDED.reads, examined = t.examined + EXCLUDED.examined, removed = t.removed + EXCLUDED.removed`, sampler, at, string(document), MostTested)
	if err != nil {
		return fmt.Errorf("record by what views were read: %w", err)
	}
	return nil
}

// ReadZones is the zone of each view that has a time_column.
func ReadZones(ctx context.Context, q Querier) (map[int64]*time.Location, error) {
	rows, err := q.Query(ctx, `SELECT s.view_id, s.timezone FROM mvscheduler.view_state AS s WHERE s.time_column IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("read the zones of views: %w", err)
	}
	zones := make(map[int64]*time.Location)
	var view int64
	var name string
	_, err = pgx.ForEachRow(rows, []any{&view, &name}, func() error {
		if zone, err := time.LoadLocation(name); err == nil {
			zones[view] = zone
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the zones of views: %w", err)
	}
	return zones, nil
}

// IndexRecord is what the advice on an index of a view depends on.
type IndexRecord struct {
	First     time.Time // day of which there are conditions
	Rows      float64   // of the view, estimated
	Written   float64   // rows that a refresh adds to each index
	Refreshes float64   // a day, since then
	Leading   []string  // first columns of its indexes
}

// LoadTested reads by which conditions a view was read, and what else the advice on an index depends on; nil when none was
// recorded.
func LoadTested(ctx context.Context, q Querier, viewID int64) (*IndexRecord, []Tested, error) {
	rows, err := q.Query(ctx, `
SELECT t.view_id, t.columns, t.ranged, sum(t.reads) AS reads, sum(t.examined) AS examined, sum(t.removed) AS removed
  FROM mvscheduler.tested AS t
 WHERE t.view_id = $1
 GROUP BY t.view_id, t.columns, t.ranged
 ORDER BY reads DESC`, viewID)
	if err != nil {
		return nil, nil, fmt.Errorf("read by what view %d was read: %w", viewID, err)
	}
	tested, err := pgx.CollectRows(rows, pgx.RowToStructByName[Tested])
	if err != nil || len(tested) == 0 {
		return nil, nil, err
	}
	rows, err = q.Query(ctx, `
WITH stored AS (
    SELECT coalesce(p.relation::oid, s.relation::oid) AS relation
      FROM mvscheduler.view_state AS s
      LEFT JOIN mvscheduler.piece AS p ON p.view_id = s.view_id AND p.kind = 'data' AND s.method = 'incremental'
     WHERE s.view_id = $1
), day AS (
    SELECT min(t.at)::timestamp AT TIME ZONE 'UTC' AS first FROM mvscheduler.tested AS t WHERE t.view_id = $1
)
SELECT d.first,
       coalesce((SELECT sum(greatest(c.reltuples, 0)) FROM pg_class AS c WHERE c.oid = t.relation AND c.relkind = 'm' OR c.oid IN (SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = t.relation)), 0)::float8 AS rows,
       coalesce(r.written, 0) AS written, r.refreshes / greatest(1, extract(epoch FROM clock_timestamp() - d.first) / 86400)::float8 AS refreshes,
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE i.indrelid = t.relation AND i.indpred IS NULL ORDER BY 1) AS leading
  FROM day AS d
 CROSS JOIN stored AS t
 CROSS JOIN LATERAL (
        SELECT count(*)::float8 AS refreshes, avg(CASE WHEN x.method = 'full' THEN x.rows ELSE coalesce(x.changed, x.rows) END)::float8 AS written
          FROM mvscheduler.run AS x
         WHERE x.view_id = $1 AND x.took IS NOT NULL AND x.finished_at >= d.first) AS r`, viewID)
	if err != nil {
		return nil, nil, fmt.Errorf("look at the indexes of view %d: %w", viewID, err)
	}
	records, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[IndexRecord])
	if err != nil || len(records) == 0 {
		return nil, nil, err
	}
	return records[0], tested, nil
}
