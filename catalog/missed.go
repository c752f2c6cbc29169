package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// KeptRecord is the retention of a view.
type KeptRecord struct {
	Period      string  // in force
	Seconds     float64 // the same
	RowPeriod   string  // of the row
	RowSeconds  float64 // the same
	Most        *float64
	Incremental bool
}

// LoadAsked reads the retention of a view, and how far back its readers asked within a time; nil where it has none.
func LoadAsked(ctx context.Context, q Querier, viewID int64, within time.Duration) (*KeptRecord, []LookBack, error) {
	rows, err := q.Query(ctx, `
SELECT s.retention_period::text AS period, extract(epoch FROM s.retention_period)::float8 AS seconds,
       s.row_retention::text AS row_period, extract(epoch FROM s.row_retention)::float8 AS row_seconds, extract(epoch FROM s.max_retention)::float8 AS most,
       s.method = 'incremental' AS incremental
  FROM mvscheduler.view_state AS s
 WHERE s.view_id = $1
   AND s.retention_period IS NOT NULL
   AND EXISTS (SELECT FROM mvscheduler.looked_back AS l WHERE l.view_id = $1 AND l.asked)`, viewID)
	if err != nil {
		return nil, nil, fmt.Errorf("read the retention of view %d: %w", viewID, err)
	}
	records, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[KeptRecord])
	if err != nil || len(records) == 0 {
		return nil, nil, err
	}
	rows, err = q.Query(ctx, `
SELECT view_id, at, monthly, days_back, entire, asked, days, reads
  FROM mvscheduler.looked_back
 WHERE view_id = $1
   AND asked
   AND NOT monthly
   AND at >= (clock_timestamp() - make_interval(secs => $2)) AT TIME ZONE 'UTC'
 ORDER BY at, days_back, entire`, viewID, within.Seconds())
	if err != nil {
		return nil, nil, fmt.Errorf("read how far back view %d was asked for: %w", viewID, err)
	}
	asked, err := pgx.CollectRows(rows, pgx.RowToStructByName[LookBack])
	if err != nil {
		return nil, nil, fmt.Errorf("read how far back view %d was asked for: %w", viewID, err)
	}
	return records[0], asked, nil
}
