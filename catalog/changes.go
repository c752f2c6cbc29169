package catalog

import (
	"context"
	"fmt"
)

// MostChanges is how many entries of the change log a view may leave unseen, one that is paused for long, say.
const MostChanges = 100_000

// GiveUpChanges makes everything dirty for views that have left more than so many entries of the change log unseen,
// which then can be deleted. The estimate that the server has of the log's size spares us the counting.
func GiveUpChanges(ctx context.Context, q Querier, most int) error {
	_, err := q.Exec(ctx, `
WITH behind AS MATERIALIZED (
    SELECT i.view_id, i.data
      FROM mvscheduler.increment_state AS i
     WHERE pg_stat_get_live_tuples('mvscheduler.dirt'::regclass) > $1
       AND NOT EXISTS (SELECT FROM mvscheduler.run AS r WHERE r.view_id = i.view_id AND r.state = 'running')
       AND (SELECT count(*)
              FROM (SELECT
                      FROM (SELECT r.relation FROM mvscheduler.view_source AS r WHERE r.view_id = i.view_id
                            UNION
                            SELECT (l ->> 'oid')::oid::regclass FROM jsonb_array_elements(i.leaves) AS l) AS v
                      JOIN mvscheduler.dirt AS d ON d.source = v.relation AND d.view_id IS NULL AND d.xid >= pg_snapshot_xmin(i.taken) AND NOT pg_visible_in_snapshot(d.xid, i.taken)
                     LIMIT $1 + 1) AS unseen) > $1
), seen AS (
    UPDATE mvscheduler.increment_state AS i
       SET taken = pg_current_snapshot()
      FROM behind AS b
     WHERE i.view_id = b.view_id
       AND i.data = b.data
       AND i.system_identifier = (SELECT c.system_identifier FROM pg_control_system() AS c)
    RETURNING i.view_id
)
INSERT INTO mvscheduler.dirt (view_id, lo, hi, why)
SELECT s.view_id, '-infinity', 'infinity', 'more than ' || $1 || ' changes were waiting, which were forgotten'
  FROM seen AS s`, most)
	if err != nil {
		return fmt.Errorf("give up changes that nobody looks at: %w", err)
	}
	return nil
}

// ForgetChanges deletes entries of the change log that every view has seen which reads the table, and what belongs
// to views that are gone. The tables come from the index, one look for each: the log itself is never read as a whole. So many
// entries at most go in one statement, of tables and of views each; less than that were gone means that these were all.
func ForgetChanges(ctx context.Context, q Querier, limit int) (gone int64, err error) {
	err = q.QueryRow(ctx, `
WITH RECURSIVE alive AS (
    SELECT s.view_id FROM mvscheduler.view_state AS s LEFT JOIN mvscheduler.redefinition AS r ON r.view_id = s.view_id WHERE 'incremental' IN (s.method, r.method)
), sources AS (
    DELETE FROM mvscheduler.view_source AS v WHERE v.view_id NOT IN (SELECT a.view_id FROM alive AS a)
), states AS (
    DELETE FROM mvscheduler.increment_state AS i
     WHERE NOT EXISTS (SELECT FROM alive AS a JOIN mvscheduler.piece AS p ON p.view_id = a.view_id AND p.kind IN ('data', 'next') WHERE a.view_id = i.view_id AND p.relation = i.data)
), seen AS MATERIALIZED (
    SELECT i.view_id, CASE WHEN i.system_identifier = (SELECT c.system_identifier FROM pg_control_system() AS c) THEN pg_snapshot_xmin(i.taken)::text::numeric ELSE 0 END AS xid
      FROM mvscheduler.increment_state AS i JOIN mvscheduler.piece AS p ON p.view_id = i.view_id AND p.relation = i.data AND p.kind IN ('data', 'next')
     WHERE i.view_id IN (SELECT a.view_id FROM alive AS a)
), read AS MATERIALIZED (   -- of what is no source itself there are the entries that tell with which snapshot it was written to
    SELECT v.view_id, v.relation::oid AS relation FROM mvscheduler.view_source AS v
    UNION
    SELECT i.view_id, (l ->> 'oid')::oid FROM mvscheduler.increment_state AS i, jsonb_array_elements(i.leaves) AS l
), oldest AS MATERIALIZED (   -- as one value: a join of few views with many entries, of which nothing is known, could be done in any order
    SELECT jsonb_object_agg(s.view_id, s.xid) AS xids FROM (SELECT s.view_id, min(s.xid) AS xid FROM seen AS s GROUP BY s.view_id) AS s
), needed AS MATERIALIZED (   -- as one value, too: for each table that somebody writes to all that are read would be gone through
    SELECT jsonb_object_agg(n.relation, n.xid) AS xids FROM (SELECT v.relation, min(((SELECT o.xids FROM oldest AS o) ->> v.view_id::text)::numeric) AS xid FROM read AS v GROUP BY v.relation) AS n WHERE n.xid IS NOT NULL
), logged(source) AS (
    (SELECT d.source::oid FROM mvscheduler.dirt AS d WHERE d.source IS NOT NULL ORDER BY d.source LIMIT 1)
    UNION ALL
    SELECT (SELECT d.source::oid FROM mvscheduler.dirt AS d WHERE d.source > l.source ORDER BY d.source LIMIT 1) FROM logged AS l WHERE l.source IS NOT NULL
), of_tables AS (
    DELETE FROM mvscheduler.dirt AS d
     WHERE d.ctid = ANY (ARRAY(
           SELECT e.ctid
             FROM (SELECT l.source, least(pg_snapshot_xmin(pg_current_snapshot())::text::numeric, ((SELECT n.xids FROM needed AS n) ->> l.source::text)::numeric)::text::xid8 AS xid
                     FROM logged AS l WHERE l.source IS NOT NULL) AS o
             JOIN mvscheduler.dirt AS e ON e.source = o.source AND e.view_id IS NULL AND e.xid < o.xid
            LIMIT $1))
    RETURNING 1
), of_views AS (
    DELETE FROM mvscheduler.dirt AS d
     WHERE d.ctid = ANY (ARRAY(
           SELECT e.ctid
             FROM mvscheduler.dirt AS e
            WHERE e.source IS NULL AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
              AND e.xid < coalesce(((SELECT o.xids FROM oldest AS o) ->> e.view_id::text)::xid8, pg_snapshot_xmin(pg_current_snapshot()))
            LIMIT $1))
    RETURNING 1
)
SELECT greatest((SELECT count(*) FROM of_tables), (SELECT count(*) FROM of_views))`, limit).Scan(&gone)
	if err != nil {
		return 0, fmt.Errorf("delete what is not needed of the change log: %w", err)
	}
	return gone, nil
}
