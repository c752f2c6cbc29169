package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// RebuiltRecord is what is known of a materialized view with a time_column that may be better off as an incremental one.
type RebuiltRecord struct {
	TimeColumn   string
	ChangedShare *float64 // of the rows, in the mean of the last concurrent refreshes; nil = these are fewer than five
}

// LoadRebuilt reads that; nil where the view cannot become incremental.
func LoadRebuilt(ctx context.Context, q Querier, viewID int64) (*RebuiltRecord, error) {
	rows, err := q.Query(ctx, `
SELECT s.time_column, r.share AS changed_share
  FROM mvscheduler.view_state AS s
  LEFT JOIN LATERAL (   -- a row that is another one counts as one deleted and one inserted
        SELECT avg(least(1, x.changed / 2.0 / greatest(x.rows, 1)))::float8 AS share
          FROM (SELECT n.changed, n.rows
                  FROM mvscheduler.run AS n
                 WHERE n.view_id = s.view_id AND n.method = 'concurrent' AND n.took IS NOT NULL AND n.changed IS NOT NULL AND n.rows IS NOT NULL
                 ORDER BY n.id DESC
                 LIMIT $2) AS x
        HAVING count(*) >= 5) AS r ON true
 WHERE s.view_id = $1
   AND s.method IN ('auto', 'full', 'concurrent')
   AND s.time_column IS NOT NULL
   AND NOT s.adopted`, viewID, RememberedRuns)
	if err != nil {
		return nil, fmt.Errorf("look at the method of view %d: %w", viewID, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[RebuiltRecord])
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}
