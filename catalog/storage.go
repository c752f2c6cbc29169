package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// StorageRecord is what a materialized view takes; all zero for an incremental view.
type StorageRecord struct {
	Live, Dead float64 // rows
	Name       string  // the view, quoted where needed
}

// LoadStorage looks at that.
func LoadStorage(ctx context.Context, q Querier, viewID int64) (s StorageRecord, err error) {
	err = q.QueryRow(ctx, `
SELECT coalesce(pg_stat_get_live_tuples(c.oid), 0)::float8, coalesce(pg_stat_get_dead_tuples(c.oid), 0)::float8, s.name
  FROM mvscheduler.view_state AS s
  LEFT JOIN pg_class AS c ON c.oid = s.relation::oid AND c.relkind = 'm'
 WHERE s.view_id = $1`, viewID).Scan(&s.Live, &s.Dead, &s.Name)
	if err != nil {
		return s, fmt.Errorf("look at the storage of view %d: %w", viewID, err)
	}
	return s, nil
}

// IdleIndex is an index of a materialized view that is not unique, and since when its counter of scans did not move.
type IdleIndex struct {
	Name  string // qualified and quoted
	Bytes int64
	Since time.Time
}

// WatchIndexes looks at the counters of a view's indexes and compares them with what they said when it was looked last.
// Counters that were reset since begin anew.
func WatchIndexes(ctx context.Context, q Querier, viewID int64) ([]IdleIndex, error) {
	rows, err := q.Query(ctx, `
WITH there AS (
    SELECT i.indexrelid AS index_, pg_stat_get_numscans(i.indexrelid) AS scans
      FROM mvscheduler.view_state AS s
      JOIN pg_class AS c ON c.oid = s.relation::oid AND c.relkind = 'm'
      JOIN pg_index AS i ON i.indrelid = c.oid
     WHERE s.view_id = $1
       AND NOT i.indisunique
       AND i.indisvalid
), gone AS (
    DELETE FROM mvscheduler.watched_index AS w
     WHERE w.view_id = $1
       AND NOT EXISTS (SELECT FROM there AS t WHERE t.index_ = w.index_)
), watched AS (
    INSERT INTO mvscheduler.watched_index AS w (index_, view_id, scans)
    SELECT t.index_, $1, t.scans FROM there AS t
    ON CONFLICT (index_) DO UPDATE
       SET view_id = EXCLUDED.view_id,
           scans = EXCLUDED.scans,
           looked_at = EXCLUDED.looked_at,
           since = CASE WHEN w.scans = EXCLUDED.scans AND w.view_id = EXCLUDED.view_id
                         AND w.looked_at > coalesce((SELECT greatest(pg_stat_get_db_stat_reset_time(d.oid), pg_stat_get_bgwriter_stat_reset_time()) FROM pg_database AS d WHERE d.datname = current_database()), '-infinity')
                        THEN w.since ELSE EXCLUDED.since END
    RETURNING w.index_, w.since
)
SELECT mvscheduler.qualified_name(n.nspname, c.relname) AS name, coalesce(pg_relation_size(c.oid), 0) AS bytes, w.since
  FROM watched AS w
  JOIN pg_class AS c ON c.oid = w.index_
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 ORDER BY bytes DESC, name`, viewID)
	if err != nil {
		return nil, fmt.Errorf("look at the indexes of view %d: %w", viewID, err)
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByName[IdleIndex])
	if err != nil {
		return nil, fmt.Errorf("look at the indexes of view %d: %w", viewID, err)
	}
	return indexes, nil
}
