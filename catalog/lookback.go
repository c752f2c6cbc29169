package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// LeafBound is the bound of a partition of an incremental view's data.
type LeafBound struct {
	Relation uint32
	Bound    string // for retention.ParseBound
	Type     string // of the labels
	Timezone string // of the view
}

// ReadBounds reads the bounds of partitions of incremental views; of others, and of those that are gone, there is none.
func ReadBounds(ctx context.Context, q Querier, relations []uint32) ([]LeafBound, error) {
	rows, err := q.Query(ctx, `
SELECT r.relation, mvscheduler.bound_of(r.relation) AS bound, y.typname::text AS type, s.timezone
  FROM unnest($1::oid[]) AS r(relation)
  JOIN pg_inherits AS i ON i.inhrelid = r.relation
  JOIN mvscheduler.piece AS d ON d.relation::oid = i.inhparent AND d.kind = 'data'
  JOIN mvscheduler.view_state AS s ON s.view_id = d.view_id
  JOIN pg_partitioned_table AS t ON t.partrelid = i.inhparent
  JOIN pg_attribute AS a ON a.attrelid = i.inhparent AND a.attnum = t.partattrs[0]
  JOIN pg_type AS y ON y.oid = a.atttypid
 WHERE mvscheduler.bound_of(r.relation) IS NOT NULL`, relations)
	if err != nil {
		return nil, fmt.Errorf("read the bounds of partitions: %w", err)
	}
	bounds, err := pgx.CollectRows(rows, pgx.RowToStructByName[LeafBound])
	if err != nil {
		return nil, fmt.Errorf("read the bounds of partitions: %w", err)
	}
	return bounds, nil
}

// LookBack is how many reads of a view looked back so far, on a day or in a month.
type LookBack struct {
	ViewID   int64
	At       time.Time // the day, or the first of the month, in UTC
	Monthly  bool
	DaysBack int
	Entire   bool    // they read the oldest partition that there was; where asked, they had no lower bound
	Asked    bool    // by their conditions, as pg_qualstats saw them; else by what they scanned
	Days     int     // on how many of them
	Reads    float64 // all of them
}

// WriteLookBacks adds reads of a day, as the sampler whose lease has not passed on; else it does nothing.
func WriteLookBacks(ctx context.Context, q Querier, sampler string, at time.Time, reads []LookBack) error {
	n := len(reads)
	views, back, entire, asked, count := make([]int64, n), make([]int32, n), make([]bool, n), make([]bool, n), make([]float64, n)
	for i, r := range reads {
		views[i], back[i], entire[i], asked[i], count[i] = r.ViewID, int32(r.DaysBack), r.Entire, r.Asked, r.Reads
	}
	_, err := q.Exec(ctx, `
WITH seen AS (
    SELECT b.*
      FROM unnest($3::bigint[], $4::int[], $5::boolean[], $6::float8[], $7::boolean[]) AS b(view_id, days_back, entire, reads, asked)
     WHERE EXISTS (SELECT FROM mvscheduler.collector AS c WHERE c.sampler = $1)
       AND EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = b.view_id)
), furthest AS (
    UPDATE mvscheduler.view_usage AS u
       SET furthest = greatest(u.furthest, m.days_back)
      FROM (SELECT s.view_id, max(s.days_back) AS days_back FROM seen AS s WHERE NOT s.asked OR NOT s.entire GROUP BY s.view_id) AS m
     WHERE u.view_id = m.view_id
       AND u.furthest IS DISTINCT FROM greatest(u.furthest, m.days_back)
)
INSERT INTO mvscheduler.looked_back AS l (view_id, at, days_back, entire, asked, reads)
SELECT s.view_id, $2::timestamptz AT TIME ZONE 'UTC', s.days_back, s.entire, s.asked, s.reads
  FROM seen AS s
ON CONFLICT (view_id, at, monthly, days_back, entire, asked) DO UPDATE SET reads = l.reads + EXCLUDED.reads`, sampler, at, views, back, entire, count, asked)
	if err != nil {
		return fmt.Errorf("record how far back was read: %w", err)
	}
	return nil
}

// RetentionRecord is what a recommendation about the retention of an incremental view depends on, but for its partitions.
type RetentionRecord struct {
	Tuned       bool     // a longer period than that of the row is in force
	Period      *string  // of the row
	Seconds     *float64 // of the one in force
	Least, Most *float64 // bounds of the row, seconds
	Bucket      float64  // seconds
	Lateness    float64  // seconds
	// Rebuildable is how far back, in seconds, what it reads can give it again; nil = as far as it goes itself.
	Rebuildable   *float64
	Furthest      int        // days that a read ever looked back; zero = not known
	LookedSince   *time.Time // since when it is seen how far back it is read; nil = it is not
	ShrinkSince   *time.Time // nil where nobody thought about it for a week meanwhile
	LastApplied   *time.Time
	LastUndone    *time.Time
	LastMissed    *time.Time // when reads were last seen to ask for what had left
	DatabaseBytes float64    // estimated
}

// LoadRetention reads that, and how far back the view was read, by what was scanned. A view that is not incremental gives nil.
func LoadRetention(ctx context.Context, q Querier, viewID int64) (*RetentionRecord, []LookBack, error) {
	rows, err := q.Query(ctx, `
SELECT coalesce(s.retention_period > s.row_retention, false) AS tuned, s.row_retention::text AS period, extract(epoch FROM s.retention_period)::float8 AS seconds,
       extract(epoch FROM s.min_retention)::float8 AS least, extract(epoch FROM s.max_retention)::float8 AS most,
       extract(epoch FROM s.bucket_width)::float8 AS bucket, extract(epoch FROM s.lateness)::float8 AS lateness,
       mvscheduler.rebuildable(s.view_id) AS rebuildable,
       coalesce(u.furthest, 0) AS furthest, u.looked_since,
       CASE WHEN NOT coalesce(u.planned_at < clock_timestamp() - interval '7 days', false) THEN u.shrink_since END AS shrink_since,
       (SELECT max(x.decided_at) FROM mvscheduler.recommendation AS x WHERE x.view_id = s.view_id AND x.kind = 'retention' AND x.state = 'applied') AS last_applied,
       (SELECT max(x.decided_at) FROM mvscheduler.recommendation AS x WHERE x.view_id = s.view_id AND x.kind = 'retention' AND x.state = 'undone') AS last_undone,
       (SELECT max(x.seen_at) FROM mvscheduler.recommendation AS x WHERE x.view_id = s.view_id AND x.kind = 'retention' AND x.evidence ? 'reads_missed') AS last_missed,
       (SELECT coalesce(sum(c.relpages::float8), 0) * current_setting('block_size')::float8 FROM pg_class AS c WHERE c.relkind IN ('r', 'm', 't', 'i')) AS database_bytes
  FROM mvscheduler.view_state AS s
  LEFT JOIN mvscheduler.view_usage AS u ON u.view_id = s.view_id
 WHERE s.view_id = $1
   AND s.method = 'incremental'`, viewID)
	if err != nil {
		return nil, nil, fmt.Errorf("read what the retention of view %d depends on: %w", viewID, err)
	}
	records, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[RetentionRecord])
	if err != nil {
		return nil, nil, fmt.Errorf("read what the retention of view %d depends on: %w", viewID, err)
	}
	if len(records) == 0 {
		return nil, nil, nil
	}
	rows, err = q.Query(ctx, `
SELECT view_id, at, monthly, days_back, entire, asked, days, reads
  FROM mvscheduler.looked_back
 WHERE view_id = $1
   AND NOT asked
 ORDER BY at, days_back, entire`, viewID)
	if err != nil {
		return nil, nil, fmt.Errorf("read how far back view %d was read: %w", viewID, err)
	}
	reads, err := pgx.CollectRows(rows, pgx.RowToStructByName[LookBack])
	if err != nil {
		return nil, nil, fmt.Errorf("read how far back view %d was read: %w", viewID, err)
	}
	return records[0], reads, nil
}

// NoteShrink notes since when everything spoke for a shorter retention of a view; nil = it does not.
func NoteShrink(ctx context.Context, q Querier, viewID int64, since *time.Time) error {
	_, err := q.Exec(ctx, `UPDATE mvscheduler.view_usage SET shrink_since = $2 WHERE view_id = $1 AND shrink_since IS DISTINCT FROM $2`, viewID, since)
	if err != nil {
		return fmt.Errorf("note what speaks for a shorter retention of view %d: %w", viewID, err)
	}
	return nil
}
