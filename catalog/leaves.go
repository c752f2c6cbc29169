package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// LoadLeaves reads what is below an incremental view now: tables, their partitions, and the plain views between.
func LoadLeaves(ctx context.Context, q Querier, viewID int64) (map[uint32]Leaf, error) {
	var tables, views []Leaf
	for _, read := range []Read{ReadTablesBelow(viewID, &tables), ReadViewsBelow(viewID, &views)} {
		if err := read.Alone(ctx, q); err != nil {
			return nil, err
		}
	}
	return Leaves(tables, views), nil
}

// Leaves are tables and plain views by their OIDs.
func Leaves(tables, views []Leaf) map[uint32]Leaf {
	return byOID(append(tables, views...))
}

// ReadTablesBelow reads the tables and partitions below an incremental view, to be asked with others.
func ReadTablesBelow(viewID int64, into *[]Leaf) Read {
	return Read{What: fmt.Sprintf("read which tables are below view %d", viewID), Args: []any{viewID}, Collect: func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByName[Leaf])
		return err
	}, SQL: `
SELECT l.leaf, l.name, l.kind, CASE WHEN l.lo BETWEEN '0001-01-02 UTC' AND '9999-12-30 UTC' THEN l.lo END AS lo, CASE WHEN l.hi BETWEEN '0001-01-02 UTC' AND '9999-12-30 UTC' THEN l.hi END AS hi, -- of which JSON has a form
       l.identity, coalesce(l.columns, '') AS columns, l.counters, l.covered, l.trackable, l.hidden, l.far, l.root
  FROM mvscheduler.tables_below($1) AS l`}
}

// fromViewsBelow are the plain views b that the queries of views o are made of.
const fromViewsBelow = `
  FROM mvscheduler.visible_views AS o
 CROSS JOIN LATERAL mvscheduler.plain_views_below(coalesce((SELECT p.relation FROM mvscheduler.visible_pieces AS p WHERE p.view_id = o.view_id AND p.kind = 'next_query'), o.query_relation)::oid) AS b`

// ReadViewsBelow reads the plain views that the query of an incremental view is made of, to be asked with others.
func ReadViewsBelow(viewID int64, into *[]Leaf) Read {
	return Read{What: fmt.Sprintf("read which views are below view %d", viewID), Args: []any{viewID}, Collect: func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByNameLax[Leaf])
		return err
	}, SQL: `
SELECT b.relation AS leaf, mvscheduler.shown_name(b.relation) AS name, 'v' AS kind, b.rule AS identity, true AS covered` + fromViewsBelow + `
 WHERE o.view_id = $1`}
}

// ReadNow reads when the server began to answer, to be asked with others.
func ReadNow(into *time.Time) Read {
	return Read{What: "read the time", Collect: func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[time.Time])
		return err
	}, SQL: `SELECT now()`}
}

// LoadLeafMarks are what is below views and a mark of each relation: where marks are equal, so are leaves. They cost a
// small part of [LoadLeaves].
func LoadLeafMarks(ctx context.Context, q Querier, viewIDs []int64) (map[uint32]string, error) {
	rows, err := q.Query(ctx, `
WITH RECURSIVE node(oid, link) AS (
    SELECT s.relation::oid, concat_ws(' ', s.noted, s.noted_by)
      FROM mvscheduler.visible_sources AS s
     WHERE s.view_id = ANY ($1::bigint[])
     UNION
    SELECT i.inhrelid, concat_ws(',', n.link, i.xmin)
      FROM node AS n
      JOIN pg_inherits AS i ON i.inhparent = n.oid AND NOT i.inhdetachpending
      JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relpersistence <> 't'
), watched AS (
    SELECT t.tgrelid, string_agg(t.oid || ' ' || t.xmin, ',' ORDER BY t.oid) AS mark
      FROM pg_trigger AS t
     WHERE NOT t.tgisinternal
     GROUP BY t.tgrelid
)
SELECT n.oid, concat_ws('/', c.relfilenode, string_agg(DISTINCT n.link, ' '), w.mark,
                        CASE WHEN c.relkind = 'm' THEN concat_ws(' ', pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid)) END,
                        CASE WHEN c.relpersistence = 'u' THEN extract(epoch FROM (SELECT g.stats_reset FROM pg_stat_bgwriter AS g)) END) AS mark
  FROM node AS n
  JOIN pg_class AS c ON c.oid = n.oid
  LEFT JOIN watched AS w ON w.tgrelid = n.oid
 GROUP BY n.oid, c.oid, c.relfilenode, c.relkind, c.relpersistence, w.mark
 UNION ALL
SELECT DISTINCT b.relation, b.rule`+fromViewsBelow+`
 WHERE o.view_id = ANY ($1::bigint[])`, viewIDs)
	if err != nil {
		return nil, fmt.Errorf("look at what is below views: %w", err)
	}
	marks := make(map[uint32]string)
	var oid uint32
	var mark string
	_, err = pgx.ForEachRow(rows, []any{&oid, &mark}, func() error {
		marks[oid] = mark
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at what is below views: %w", err)
	}
	return marks, nil
}
