package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Lease says whether a sidecar is the one that samples.
type Lease struct {
	Now         time.Time  // the database's clock
	Held        bool       // it had the lease before, and until now by that clock
	Planned     *time.Time // when recommendations were made last; nil = never
	StandbySeen *time.Time // when there was a standby last whose counters are not known; nil = never
}

// TakeLease makes a sidecar the one that samples, for so long; nil when another one is. It locks a row that users'
// transactions never touch. A lease of days was written by a clock that was ahead.
func TakeLease(ctx context.Context, q Querier, sampler string, lease time.Duration) (*Lease, error) {
	rows, err := q.Query(ctx, `
UPDATE mvscheduler.collector AS c
   SET sampler = $1,
       lease_until = clock_timestamp() + make_interval(secs => $2)
  FROM (SELECT w.sampler, coalesce(w.lease_until, '-infinity') BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(days => 1, secs => $2) AS valid
          FROM mvscheduler.collector AS w
           FOR UPDATE) AS was
 WHERE was.sampler = $1
    OR NOT was.valid
RETURNING clock_timestamp() AS now, was.valid AND was.sampler = $1 AS held, c.planned_at AS planned, c.standby_seen_at AS standby_seen`, sampler, lease.Seconds())
	if err != nil {
		return nil, fmt.Errorf("take the lease of the collector: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Lease])
	if err != nil {
		return nil, fmt.Errorf("take the lease of the collector: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found[0], nil
}

// LeaveLease lets another sidecar sample at once.
func LeaveLease(ctx context.Context, q Querier, sampler string) error {
	if _, err := q.Exec(ctx, `UPDATE mvscheduler.collector SET lease_until = NULL WHERE sampler = $1`, sampler); err != nil {
		return fmt.Errorf("leave the lease of the collector: %w", err)
	}
	return nil
}

// Counters are what one look at a server's counters told.
type Counters struct {
	At           time.Time
	Epoch        string
	Transactions int64 // before the relations were looked at
	Later        int64 // transactions after that
	Workers      int
	Standbys     int   // physical ones that stream from it
	Cluster      int64 // system identifier
	Standby      bool  // it is one itself
	Merged       bool  // see optimizer.Sample
	Relations    []RelationCounters
	Sources      []SourceCounters
	Own          []OwnScans
	Failed       []int64
}

// RelationCounters are those of a relation in which reads of a view show.
type RelationCounters struct {
	ViewID                          int64
	Relation                        uint32
	Seq, Idx, Tuples, Keys, Fetched int64
	Rows                            float64
	Large                           bool // may be scanned in parallel
	Partition                       bool
}

// SourceCounters are those of a table below views.
type SourceCounters struct {
	Relation, File             uint32
	Writes, Modified, Analyses int64
}

// OwnScans are scans by our own refreshes.
type OwnScans struct {
	Relation                        uint32
	Seq, Idx, Tuples, Keys, Fetched int64
}

const readRelations = `
SELECT k.view_id, k.relation, pg_stat_get_numscans(k.relation) AS seq,
       i.idx, pg_stat_get_tuples_returned(k.relation) AS tuples, i.keys, i.fetched + pg_stat_get_tuples_fetched(k.relation) AS fetched, c.relispartition AS partition, c.reltuples::float8 AS rows,
       c.relpages::bigint * current_setting('block_size')::bigint >= pg_size_bytes(current_setting('min_parallel_table_scan_size')) AS large
  FROM %s AS k
  JOIN pg_class AS c ON c.oid = k.relation
 CROSS JOIN LATERAL (
        SELECT coalesce(sum(pg_stat_get_numscans(i.indexrelid)), 0)::bigint AS idx, coalesce(sum(pg_stat_get_tuples_returned(i.indexrelid)), 0)::bigint AS keys,
               coalesce(sum(pg_stat_get_tuples_fetched(i.indexrelid)), 0)::bigint AS fetched
          FROM pg_index AS i
         WHERE i.indrelid = k.relation) AS i`

const readHeader = `
SELECT clock_timestamp(),
       concat_ws(' ', pg_stat_get_db_stat_reset_time(d.oid), pg_stat_get_bgwriter_stat_reset_time()),
       pg_stat_get_db_xact_commit(d.oid) + pg_stat_get_db_xact_rollback(d.oid),
       greatest(current_setting('max_parallel_workers_per_gather')::int, current_setting('max_parallel_maintenance_workers')::int),
       (SELECT count(*)::int
          FROM pg_stat_get_wal_senders() AS w
         WHERE w.pid NOT IN (SELECT s.active_pid FROM pg_replication_slots AS s WHERE s.slot_type = 'logical' AND s.active_pid IS NOT NULL)),
       (SELECT s.system_identifier FROM pg_control_system() AS s), pg_is_in_recovery(), current_setting('server_version_num')::int >= 180000
  FROM pg_database AS d
 WHERE d.datname = current_database()`

// countLater counts the transactions once more: those counters are kept for the length of a transaction else.
func countLater(batch *pgx.Batch, c *Counters) {
	batch.Queue(`SELECT pg_stat_clear_snapshot()`)
	batch.Queue(`SELECT pg_stat_get_db_xact_commit(d.oid) + pg_stat_get_db_xact_rollback(d.oid) FROM pg_database AS d WHERE d.datname = current_database()`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&c.Later)
	})
}

// ReadCounters looks at the counters of every view and of the given tables in one round trip, and takes the scans that
// refreshes recorded. These come last: what is in the counters has been recorded by then. Since is when that was done last.
func ReadCounters(ctx context.Context, pool *pgxpool.Pool, tables []uint32, since time.Time) (c Counters, err error) {
	batch := &pgx.Batch{}
	batch.Queue(`SELECT view_id FROM mvscheduler.view_health WHERE last_failure_at >= $1`, since).Query(func(rows pgx.Rows) (err error) {
		c.Failed, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	batch.Queue(readHeader).QueryRow(func(row pgx.Row) error {
		return row.Scan(&c.At, &c.Epoch, &c.Transactions, &c.Workers, &c.Standbys, &c.Cluster, &c.Standby, &c.Merged)
	})
	batch.Queue(fmt.Sprintf(readRelations, "mvscheduler.counted")).Query(func(rows pgx.Rows) (err error) {
		c.Relations, err = pgx.CollectRows(rows, pgx.RowToStructByName[RelationCounters])
		return err
	})
	countLater(batch, &c)
	batch.Queue(`
SELECT c.oid AS relation, c.relfilenode AS file,
       pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid) AS writes,
       pg_stat_get_mod_since_analyze(c.oid) AS modified, pg_stat_get_analyze_count(c.oid) + pg_stat_get_autoanalyze_count(c.oid) AS analyses
  FROM unnest($1::oid[]) AS t(oid)
  JOIN pg_class AS c ON c.oid = t.oid`, tables).Query(func(rows pgx.Rows) (err error) {
		c.Sources, err = pgx.CollectRows(rows, pgx.RowToStructByName[SourceCounters])
		return err
	})
	batch.Queue(`
WITH refreshed AS (
    DELETE FROM mvscheduler.own_scan RETURNING relation, seq, idx, tuples, keys, fetched
), verified AS (
    DELETE FROM mvscheduler.verify_scan RETURNING relation, seq, idx, tuples, keys, fetched
)
SELECT relation, seq, idx, tuples, keys, fetched FROM refreshed UNION ALL SELECT relation, seq, idx, tuples, keys, fetched FROM verified`).Query(func(rows pgx.Rows) (err error) {
		c.Own, err = pgx.CollectRows(rows, pgx.RowToStructByName[OwnScans])
		return err
	})
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return c, fmt.Errorf("read the server's counters: %w", err)
	}
	return c, nil
}

// ReadStandby looks at the counters of a standby of a cluster, which has its own of the same relations. A server that is none, or
// not any more, is an error: its counters are those of the primary, or of other views.
func ReadStandby(ctx context.Context, pool *pgxpool.Pool, cluster int64) (c Counters, err error) {
	batch := &pgx.Batch{}
	batch.Queue(readHeader).QueryRow(func(row pgx.Row) error {
		return row.Scan(&c.At, &c.Epoch, &c.Transactions, &c.Workers, &c.Standbys, &c.Cluster, &c.Standby, &c.Merged)
	})
	batch.Queue(fmt.Sprintf(readRelations, "mvscheduler.counted")).Query(func(rows pgx.Rows) (err error) {
		c.Relations, err = pgx.CollectRows(rows, pgx.RowToStructByName[RelationCounters])
		return err
	})
	countLater(batch, &c)
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return c, fmt.Errorf("read the counters of a standby: %w", err)
	}
	switch {
	case c.Cluster != cluster:
		return c, errors.New("it is a server of another cluster")
	case !c.Standby:
		return c, errors.New("it is no standby, or not any more")
	}
	return c, nil
}

// ReadTables is which tables each view reads, through views and partitions. A view that reads what has no counters, or
// whose contents depend on more than tables, is not in it.
func ReadTables(ctx context.Context, q Querier) (map[int64][]uint32, error) {
	rows, err := q.Query(ctx, `
WITH RECURSIVE reads(view_id, rel, kind, root) AS (
    SELECT s.view_id, c.oid, c.relkind, true
      FROM mvscheduler.view_state AS s
      JOIN pg_class AS c ON c.oid = CASE s.method WHEN 'incremental' THEN s.query_relation::oid ELSE s.relation::oid END
    UNION
    SELECT r.view_id, c.oid, c.relkind, false
      FROM reads AS r
     CROSS JOIN LATERAL (
            SELECT d.refobjid AS oid
              FROM pg_rewrite AS w
              JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass
                                 AND d.objid = w.oid
                                 AND d.refclassid = 'pg_class'::regclass
                                 AND d.deptype = 'n'
             WHERE w.ev_class = r.rel
               AND (r.kind = 'v' OR r.root)
               AND d.refobjid <> r.rel
             UNION ALL
            SELECT i.inhrelid
              FROM pg_inherits AS i
             WHERE i.inhparent = r.rel
               AND r.kind IN ('r', 'p', 'f')) AS below
      JOIN pg_class AS c ON c.oid = below.oid
)
SELECT r.view_id, array_agg(r.rel) FILTER (WHERE r.kind IN ('r', 'm'))
  FROM reads AS r
  LEFT JOIN mvscheduler.view_health AS h ON h.view_id = r.view_id
 WHERE NOT r.root
 GROUP BY r.view_id, h.change_token, h.method
HAVING bool_and(r.kind IN ('r', 'm', 'p', 'v'))
   AND (h.change_token IS NOT NULL OR h.method = 'incremental')
   AND count(*) FILTER (WHERE r.kind IN ('r', 'm')) > 0`)
	if err != nil {
		return nil, fmt.Errorf("read which tables are below views: %w", err)
	}
	below := make(map[int64][]uint32)
	var view int64
	var tables []uint32
	_, err = pgx.ForEachRow(rows, []any{&view, &tables}, func() error {
		below[view] = append([]uint32(nil), tables...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which tables are below views: %w", err)
	}
	return below, nil
}

// SampleBin is what happened to a view in a bin of five minutes. NaN = unknown.
type SampleBin struct {
	ViewID         int64
	Seen           float64       // reads that were counted
	Reads, Changes float64       // of the whole bin
	Unknown        time.Duration // of which the reads are not known
	Why            string        // empty = they are
}

// BinWidth is the width of the bins that are recorded.
const BinWidth = 5 * time.Minute

// Sampled says of a bin who sampled it, what of it, and how.
type Sampled struct {
	Sampler        string
	Bin            time.Time // its start
	From, Until    time.Time // what was sampled, by spans of which the middle is in the bin
	Level, Sources string    // what it rests on
	Standbys       int       // that were there and whose reads are not counted
}

// WriteSamples records a bin of each view, as the sampler whose lease has not passed on; else it does nothing. What nobody sampled
// before is time of which reads are not known.
func WriteSamples(ctx context.Context, q Querier, s Sampled, bins []SampleBin) error {
	hour := s.Bin.Truncate(time.Hour)
	n := len(bins)
	views, seen, reads, changes, unknown, why := make([]int64, n), make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n), make([]string, n)
	for i, b := range bins {
		views[i], seen[i], reads[i], changes[i], unknown[i], why[i] = b.ViewID, b.Seen, b.Reads, b.Changes, b.Unknown.Seconds(), b.Why
	}
	_, err := q.Exec(ctx, `
WITH ours AS (
    UPDATE mvscheduler.collector
       SET sampled_at = clock_timestamp(), level = $9, sources = $10, standbys = $12, standby_seen_at = CASE WHEN $12 > 0 THEN clock_timestamp() ELSE standby_seen_at END
     WHERE sampler = $1
    RETURNING true
), bin AS (
    SELECT b.*
      FROM unnest($4::bigint[], $5::float8[], $6::float8[], $7::float8[], $8::text[], $11::float8[]) AS b(view_id, reads, changes, unknown, why, seen)
     WHERE EXISTS (SELECT FROM ours)
       AND EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = b.view_id)
), written AS (
    INSERT INTO mvscheduler.sampled AS d (view_id, at, reads, changes)
    SELECT b.view_id, $2,
           ARRAY(SELECT CASE WHEN i = $3 THEN nullif(b.reads, 'NaN')::real END FROM generate_series(1, 12) AS i ORDER BY i),
           ARRAY(SELECT CASE WHEN i = $3 THEN nullif(b.changes, 'NaN')::real END FROM generate_series(1, 12) AS i ORDER BY i)
      FROM bin AS b
    ON CONFLICT (view_id, at) DO UPDATE
       SET reads[$3] = coalesce(d.reads[$3], EXCLUDED.reads[$3]), changes[$3] = coalesce(d.changes[$3], EXCLUDED.changes[$3])
)
INSERT INTO mvscheduler.view_usage AS u (view_id, since, last_read_at, reads, unknown, unread_unknown, sampled_until, note, looked_since)
SELECT b.view_id, $2::timestamptz + make_interval(secs => ($3 - 1) * 300),
       CASE WHEN b.seen > 0 THEN $2::timestamptz + make_interval(secs => $3 * 300) END,
       b.seen, make_interval(secs => b.unknown), make_interval(secs => b.unknown), $14::timestamptz, b.why,
       CASE WHEN EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = b.view_id AND s.method = 'incremental') THEN $13::timestamptz END
  FROM bin AS b
ON CONFLICT (view_id) DO UPDATE
   SET since = least(u.since, EXCLUDED.since),   -- the clock was ahead
       last_read_at = coalesce(EXCLUDED.last_read_at, u.last_read_at),
       longest_pause = greatest(u.longest_pause, CASE WHEN EXCLUDED.last_read_at IS NOT NULL THEN EXCLUDED.since - u.last_read_at END),
       reads = u.reads + EXCLUDED.reads,
       -- Where the clock was put back, what it had been ahead was no time.
       unknown = greatest(u.unknown + EXCLUDED.unknown + ($13 - u.sampled_until), EXCLUDED.unknown),
       unread_unknown = CASE WHEN EXCLUDED.last_read_at IS NULL THEN greatest(u.unread_unknown + EXCLUDED.unknown + ($13 - u.sampled_until), EXCLUDED.unknown) ELSE '0' END,
       sampled_until = EXCLUDED.sampled_until,
       looked_since = CASE WHEN EXCLUDED.looked_since IS NOT NULL THEN least(u.looked_since, EXCLUDED.looked_since) END,
       note = CASE WHEN EXCLUDED.note <> '' THEN EXCLUDED.note ELSE u.note END
 WHERE u.sampled_until IS DISTINCT FROM EXCLUDED.sampled_until   -- it is written already, and the sampler was not told`,
		s.Sampler, hour, int(s.Bin.Sub(hour)/BinWidth)+1, views, reads, changes, unknown, why, s.Level, s.Sources, seen, s.Standbys, s.From, s.Until)
	if err != nil {
		return fmt.Errorf("record what was read: %w", err)
	}
	return nil
}
