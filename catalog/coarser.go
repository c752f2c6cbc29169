package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ShapeRecord are the columns of an incremental view, quoted where needed.
type ShapeRecord struct {
	ColumnName   string // of the time, as the row has it
	TimeColumn   string
	Keys, Values []string
	Coarse       string // a name for a view of coarser buckets
}

// LoadShape reads that; nil where another managed view with coarser buckets reads the view already.
func LoadShape(ctx context.Context, q Querier, viewID int64, suffix string) (*ShapeRecord, error) {
	rows, err := q.Query(ctx, `
SELECT s.time_column AS column_name, quote_ident(s.time_column) AS time_column,
       ARRAY(SELECT quote_ident(a.attname)
               FROM pg_attribute AS a
              WHERE a.attrelid = p.relation::oid AND a.attnum = ANY (k.indkey::int2[]) AND a.attname <> s.time_column ORDER BY a.attnum) AS keys,
       ARRAY(SELECT quote_ident(a.attname)
               FROM pg_attribute AS a
              WHERE a.attrelid = p.relation::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnum <> ALL (k.indkey::int2[]) AND a.attname <> s.time_column ORDER BY a.attnum) AS values,
       mvscheduler.qualified_name(n.nspname, left(c.relname, 55) || '_' || $2) AS coarse
  FROM mvscheduler.view_state AS s
  JOIN mvscheduler.piece AS p ON p.view_id = s.view_id AND p.kind = 'data'
  JOIN pg_index AS k ON k.indrelid = p.relation::oid AND k.indisunique
  JOIN pg_class AS c ON c.oid = s.relation::oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE s.view_id = $1
   AND NOT EXISTS (SELECT FROM mvscheduler.view_state AS u WHERE s.view_id = ANY (u.upstream) AND u.bucket_width > s.bucket_width)
 LIMIT 1`, viewID, suffix)
	if err != nil {
		return nil, fmt.Errorf("look at the columns of view %d: %w", viewID, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[ShapeRecord])
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}
