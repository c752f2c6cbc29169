package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Steps of incremental views; the functions are in the migrations 000017_change_log and 000018_increment.
const (
	StepTrack     = "track"
	StepIncrement = "increment"
	StepBuild     = "build"
)

// Leaf is a table or partition below an incremental view.
type Leaf struct {
	OID       uint32     `db:"leaf" json:"oid"`
	Name      string     `json:"name"`
	Kind      string     `json:"kind"` // of pg_class
	Lo        *time.Time `json:"lo"`   // times that it can hold; nil = unbounded
	Hi        *time.Time `json:"hi"`
	Identity  string     `json:"identity"`     // its file and the triggers that watch it
	Columns   string     `json:"columns"`      // transactions that wrote their descriptions, in their order
	Counters  string     `json:"counters"`     // of rows written; what the server has counted
	Since     string     `json:"since" db:"-"` // transaction: who sees all before it knows who reads this, and through what
	Covered   bool       `json:"covered"`      // triggers note what changes
	Trackable bool       `json:"-"`            // the owner of the view may make them
	Hidden    bool       `json:"hidden"`       // it is written through a table above as well, whose statements no trigger of its own sees
	Far       bool       `json:"-"`            // foreign tables are parts of it, and no trigger may have transition tables; then covered = none has
	Root      uint32     `json:"-"`            // the table that the query names, of which it is a part
}

// Incremental is what there is to know of an incremental view before it is refreshed.
type Incremental struct {
	LastRefresh
	Query    uint32 // of the version that runs work on: the one that is being built, or that is served
	Data     uint32
	Building bool // a new version is being built
	Gate     uint32
	Width    time.Duration // of the longest bucket
	Lateness time.Duration
	Bound    bool      // in_window is asked about a column of a table
	Turned   bool      // its owner may make triggers where he could not, or the other way round
	At       time.Time // it was read after this instant, and so is what is read after it
}

// LastRefresh is what the last refresh of an incremental view has left behind, and by what it is seen that the view is another one since.
type LastRefresh struct {
	SeenAt   *time.Time `db:"seen_at"` // what was committed before it the last refresh has seen
	Seen     bool       // a refresh has completed, in this cluster
	Tracking *string    // at the last refresh
	Leaves   *string    // at the last refresh, as JSON
	Rearmed  time.Time  // last change of the catalog row
	Restored []int64    // targets by which the view is frozen and for which [NoteRestored] has something to record; until then it does not follow what is back
	Fill     *string    // how far the first fill is, as JSON; nil = it is done, or has not begun
}

// Before are the leaves that the last refresh has seen.
func (i LastRefresh) Before() (map[uint32]Leaf, error) {
	if i.Leaves == nil {
		return nil, nil
	}
	var leaves []Leaf
	if err := json.Unmarshal([]byte(*i.Leaves), &leaves); err != nil {
		return nil, fmt.Errorf("read what the last refresh has seen: %w", err)
	}
	return byOID(leaves), nil
}

func byOID(leaves []Leaf) map[uint32]Leaf {
	found := make(map[uint32]Leaf, len(leaves))
	for _, l := range leaves {
		found[l.OID] = l
	}
	return found
}

func marshal(leaves map[uint32]Leaf) (string, error) {
	text, err := json.Marshal(slices.AppendSeq(make([]Leaf, 0, len(leaves)), maps.Values(leaves)))
	return string(text), err
}

// LoadIncremental reads what is known of an incremental view. In a REPEATABLE READ transaction it is what belongs
// to the snapshot.
func LoadIncremental(ctx context.Context, q Querier, viewID int64) (i Incremental, err error) {
	err = ReadIncremental(viewID, &i).Alone(ctx, q)
	return i, err
}

// ReadIncremental is [LoadIncremental], to be asked with others.
func ReadIncremental(viewID int64, into *Incremental) Read {
	return Read{What: fmt.Sprintf("load incremental view %d", viewID), Args: []any{viewID}, Collect: func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Incremental])
		return err
	}, SQL: `
SELECT coalesce(i.query_relation::oid, 0::oid) AS query, coalesce(i.data::oid, 0::oid) AS data, i.building, coalesce(i.gate::oid, 0::oid) AS gate,
       mvscheduler.longest(i.bucket_width) AS width,
       mvscheduler.longest(i.lateness) + CASE WHEN i.change_tracking = 'none' AND 'timestamptz'::regtype IS DISTINCT FROM (   -- times without a zone count as UTC, and those of a zone behind it look older
           SELECT a.atttypid FROM mvscheduler.visible_sources AS v JOIN pg_attribute AS a ON a.attrelid = v.relation::oid AND a.attnum = v.col WHERE v.view_id = i.view_id AND v.col > 0 LIMIT 1)
           THEN greatest((now() AT TIME ZONE 'UTC') - (now() AT TIME ZONE i.timezone), '0') ELSE '0' END AS lateness,
       EXISTS (SELECT FROM mvscheduler.visible_sources AS v WHERE v.view_id = i.view_id AND v.col > 0) AS bound,
       EXISTS (SELECT FROM mvscheduler.visible_sources AS v JOIN mvscheduler.visible_views AS o ON o.view_id = v.view_id
                WHERE v.view_id = i.view_id AND v.counts <> has_table_privilege(o.owner::oid, v.relation::oid, 'TRIGGER')) AS turned,
       now() AS at, ` + lastRefresh}
}

// lastRefresh is of each of the two.
const lastRefresh = `
       i.seen, i.seen_at, i.tracking, i.leaves::text AS leaves, i.rearmed_at AS rearmed, i.restored, i.fill::text AS fill
  FROM mvscheduler.visible_increments AS i
 WHERE i.view_id = $1`

// ReadLastRefresh reads of [ReadIncremental] what may be another thing with each refresh.
func ReadLastRefresh(viewID int64, into *LastRefresh) Read {
	return Read{What: fmt.Sprintf("load what the last refresh of view %d has left", viewID), Args: []any{viewID}, SQL: `SELECT` + lastRefresh, Collect: func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[LastRefresh])
		return err
	}}
}

// SyncSources records which tables a view reads, the version of it that runs work on. Where they are others than were
// recorded, everything is dirty; where its query was dropped, what it did read stays noted. Who wrote to one of them before, and
// has not committed, did not know of the view: what he may have written is noted in his name, and is dirt from when he commits.
// He can be told by his locks, which he holds until then, once everybody who comes later sees what was recorded: hence two
// statements, and both each time. Where partitions of what it reads now have left before, it keeps what it has of them. It is
// an error (55000) when an incremental view among them is not filled yet.
func SyncSources(ctx context.Context, q Querier, viewID int64) error {
	_, err := q.Exec(ctx, `
WITH now AS MATERIALIZED (
    SELECT s.relation, s.col, coalesce((SELECT has_table_privilege(r.oid, s.relation, 'TRIGGER') FROM pg_roles AS r WHERE r.oid = v.owner::oid), false) AS counts
      FROM mvscheduler.view_state AS v, mvscheduler.sources_of((mvscheduler.version_at_work($1)).query, v.time_column) AS s WHERE v.view_id = $1
), known AS MATERIALIZED (
    SELECT array_agg(v.target) AS targets FROM mvscheduler.view_source AS v WHERE v.view_id = $1
), gone AS (
    DELETE FROM mvscheduler.view_source AS v
     WHERE v.view_id = $1
       AND EXISTS (SELECT FROM pg_class AS q WHERE q.oid = (mvscheduler.version_at_work($1)).query)
       AND NOT EXISTS (SELECT FROM now AS n WHERE n.relation = v.relation::oid AND n.col = v.col)
    RETURNING 1
), come AS (
    INSERT INTO mvscheduler.view_source (view_id, relation, col, counts, target)
    SELECT $1, n.relation::regclass, n.col, n.counts, (SELECT d.view_id FROM mvscheduler.piece AS d WHERE d.relation::oid = n.relation AND d.kind = 'data')
      FROM now AS n
     WHERE NOT EXISTS (SELECT FROM mvscheduler.view_source AS v WHERE v.view_id = $1 AND v.relation::oid = n.relation AND v.col = n.col)
        ON CONFLICT DO NOTHING   -- an attempt that came too late looks as well
    RETURNING relation, col
), turned AS (
    UPDATE mvscheduler.view_source AS v SET counts = n.counts
      FROM now AS n WHERE v.view_id = $1 AND v.relation::oid = n.relation AND v.col = n.col AND v.counts <> n.counts
    RETURNING v.counts
), dirty AS (
    INSERT INTO mvscheduler.dirt (view_id, lo, hi)
    SELECT $1, '-infinity', 'infinity' FROM (SELECT 1 FROM gone UNION ALL SELECT 1 FROM come UNION ALL SELECT 1 FROM turned AS t WHERE t.counts) AS other LIMIT 1
)
SELECT mvscheduler.demand_filled(array_agg(c.relation::oid), array_agg(c.col)), mvscheduler.freeze_read($1, array_agg(c.relation::oid), array_agg(c.col), (SELECT k.targets FROM known AS k),
       (SELECT p.relation::oid FROM mvscheduler.piece AS p WHERE p.view_id = $1 AND p.kind = 'next')) FROM come AS c HAVING count(*) > 0`, viewID)
	if err != nil {
		return fmt.Errorf("record which tables view %d reads: %w", viewID, err)
	}
	_, err = q.Exec(ctx, `
WITH lock AS MATERIALIZED (
    SELECT k.virtualtransaction, k.locktype, k.relation, k.transactionid::text::bigint AS xid
      FROM pg_locks AS k
     WHERE k.granted
       AND (k.locktype = 'relation' AND k.mode = 'RowExclusiveLock' AND k.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            OR k.locktype = 'transactionid' AND k.mode = 'ExclusiveLock')
), writer AS (   -- the first of its numbers is that of the transaction, others are of its savepoints
    SELECT k.virtualtransaction, min(s.next - ((s.next - k.xid + (1::bigint << 31)) % (1::bigint << 32) - (1::bigint << 31)))::text::xid8 AS xid
      FROM lock AS k, (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) AS s
     WHERE k.locktype = 'transactionid'
     GROUP BY k.virtualtransaction
)
INSERT INTO mvscheduler.dirt (view_id, lo, hi, xid, why)
SELECT $1, l.lo, l.hi, w.xid, l.name || ' was written to by a transaction that did not know of the view yet'
  FROM mvscheduler.tables_below($1) AS l
  JOIN lock AS k ON k.relation = l.leaf
  JOIN writer AS w ON w.virtualtransaction = k.virtualtransaction
 WHERE l.kind = 'r'
   AND NOT EXISTS (SELECT FROM mvscheduler.dirt AS d WHERE d.source IS NULL AND d.view_id = $1 AND d.xid = w.xid AND d.lo = l.lo AND d.hi = l.hi)`, viewID)
	if err != nil {
		return fmt.Errorf("note who writes to what view %d reads: %w", viewID, err)
	}
	return nil
}

// Change is an entry of the change log, or several that are near to each other.
type Change struct {
	Lo, Hi *time.Time // nil = unbounded
	Why    string     // empty = rows were written
}

// LoadChanges reads the entries of the change log that the last refresh of a view has not seen.
func LoadChanges(ctx context.Context, q Querier, viewID int64) (changes []Change, err error) {
	err = ReadChanges(viewID, &changes).Alone(ctx, q)
	return changes, err
}

// ReadChanges is [LoadChanges], to be asked with others.
func ReadChanges(viewID int64, into *[]Change) Read {
	return Read{What: fmt.Sprintf("read what changed below view %d", viewID), Args: []any{viewID}, Collect: func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByName[Change])
		return err
	}, SQL: `
SELECT min(c.lo) FILTER (WHERE isfinite(c.lo)) AS lo, max(c.hi) FILTER (WHERE isfinite(c.hi)) AS hi, c.why
  FROM mvscheduler.visible_changes AS c
 WHERE c.view_id = $1
 GROUP BY c.why, isfinite(c.lo), isfinite(c.hi), CASE WHEN isfinite(c.lo) THEN floor(extract(epoch FROM c.lo) / 3600) END, CASE WHEN isfinite(c.hi) THEN floor(extract(epoch FROM c.hi) / 3600) END`}
}

// NextTransaction is the number of the first transaction that has not begun, by the snapshot of q.
func NextTransaction(ctx context.Context, q Querier) (xid string, err error) {
	if err := q.QueryRow(ctx, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text`).Scan(&xid); err != nil {
		return "", fmt.Errorf("read the number of the next transaction: %w", err)
	}
	return xid, nil
}

// LoadSpan reads for how much time a view has partitions, but for those of times that make no sense or have yet to come, and where
// the last of them ends, by its labels; zero when there is none. The day is for zones.
func LoadSpan(ctx context.Context, q Querier, data uint32) (span time.Duration, end time.Time, _ error) {
	var (
		seconds float64
		last    *time.Time
	)
	err := q.QueryRow(ctx, `
SELECT coalesce(sum(extract(epoch FROM least(p.hi, tomorrow) - p.lo)), 0)::float8, max(least(p.hi, tomorrow)) AT TIME ZONE 'UTC'
  FROM mvscheduler.partitions_of($1::oid) AS p
 CROSS JOIN LATERAL (SELECT now() AT TIME ZONE 'UTC' + interval '1 day') AS t(tomorrow)
 WHERE isfinite(p.hi)
   AND isfinite(p.lo)
   AND p.lo < tomorrow
   AND p.hi - p.lo <= interval '36525 days'`, data).Scan(&seconds, &last)
	if err != nil {
		return 0, end, fmt.Errorf("read the partitions of relation %d: %w", data, err)
	}
	if last != nil {
		end = *last
	}
	return time.Duration(min(seconds, 9e9) * float64(time.Second)), end, nil
}

// Stretch is a table or partition that a view reads by its window.
type Stretch struct {
	Lo, Hi *time.Time // times that it can hold; nil = unbounded
	Rows   int64      // as the server estimates them; 0 = not known
}

// LoadStretches reads how many rows are in those tables and partitions below a view of which its window takes a part.
func LoadStretches(ctx context.Context, q Querier, viewID int64, leaves map[uint32]Leaf) (stretches []Stretch, _ error) {
	oids, roots := make([]uint32, 0, len(leaves)), make([]uint32, 0, len(leaves))
	for oid, leaf := range leaves {
		oids, roots = append(oids, oid), append(roots, leaf.Root)
	}
	rows, err := q.Query(ctx, `
SELECT c.oid, greatest(c.reltuples, pg_stat_get_live_tuples(c.oid))::bigint
  FROM mvscheduler.visible_sources AS s
  JOIN unnest($2::oid[], $3::oid[]) AS l(leaf, root) ON l.root = s.relation::oid
 CROSS JOIN LATERAL (SELECT x.oid, x.reltuples FROM pg_class AS x WHERE x.oid = l.leaf AND x.relkind IN ('r', 'm', 'f') OFFSET 0) AS c   -- by the index
 WHERE s.view_id = $1
   AND s.col > 0`, viewID, oids, roots)
	if err == nil {
		var (
			oid uint32
			n   int64
		)
		_, err = pgx.ForEachRow(rows, []any{&oid, &n}, func() error {
			if n > 0 {
				stretches = append(stretches, Stretch{Lo: leaves[oid].Lo, Hi: leaves[oid].Hi, Rows: n})
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read how many rows are below view %d: %w", viewID, err)
	}
	return stretches, nil
}

// ReadIncrementLocks reads which locks a refresh of an incremental view may ask for on its contents: to write rows, to attach a
// partition, and then of tables whose foreign keys point at them, and of the DEFAULT partition where there is one.
func ReadIncrementLocks(data uint32, into *[]Lock) Read {
	return Read{What: fmt.Sprintf("look for the locks that a refresh of relation %d needs", data), Args: []any{data}, Collect: func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Lock])
		return err
	}, SQL: `
SELECT $1::oid, 'ShareUpdateExclusiveLock'
 UNION ALL
SELECT i.inhrelid, CASE WHEN i.inhrelid = p.partdefid THEN 'AccessExclusiveLock' ELSE 'RowExclusiveLock' END
  FROM pg_inherits AS i
  JOIN pg_partitioned_table AS p ON p.partrelid = i.inhparent
 WHERE i.inhparent = $1
 UNION
SELECT x.conrelid, 'ShareRowExclusiveLock'
  FROM pg_constraint AS x
 WHERE x.contype = 'f'
   AND x.confrelid = $1`}
}

// PassRange is a range of times that a step recomputes.
type PassRange struct {
	Lo, Hi *time.Time // nil = unbounded
	Staged bool       // into a table of its own first
}

// GiveRanges hands the ranges to the step that the attempt was let through for.
func GiveRanges(a Attempt, ranges []PassRange) Read {
	lo, hi, staged := make([]*time.Time, len(ranges)), make([]*time.Time, len(ranges)), make([]bool, len(ranges))
	for n, r := range ranges {
		lo[n], hi[n], staged[n] = r.Lo, r.Hi, r.Staged
	}
	return Read{What: fmt.Sprintf("hand %d ranges to run %d", len(ranges), a.RunID), Args: []any{a.RunID, lo, hi, staged}, Collect: func(rows pgx.Rows) error {
		rows.Close()
		return rows.Err()
	}, SQL: `
INSERT INTO mvscheduler.pass_range (run_id, n, lo, hi, staged)
SELECT $1, r.n, coalesce(r.lo, '-infinity'), coalesce(r.hi, 'infinity'), r.staged
  FROM unnest($2::timestamptz[], $3::timestamptz[], $4::boolean[]) WITH ORDINALITY AS r(lo, hi, staged, n)`}
}

// StepResult is what a step of an incremental view did.
type StepResult struct{ Buckets, Inserted, Updated, Deleted int64 }

// TakeBack takes the pass and its ranges back, in the transaction that gave them, and tells what the step did.
func TakeBack(a Attempt, into *StepResult) Read {
	return Read{What: fmt.Sprintf("close the gate behind run %d", a.RunID), Args: []any{a.RunID}, Collect: func(rows pgx.Rows) error {
		done, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]int64])
		if err == nil && len(done) != 4 {
			err = errors.New("the step did nothing")
		}
		if err != nil {
			return err
		}
		*into = StepResult{Buckets: done[0], Inserted: done[1], Updated: done[2], Deleted: done[3]}
		return nil
	}, SQL: `
WITH ranges AS (
    DELETE FROM mvscheduler.pass_range WHERE run_id = $1
)
DELETE FROM mvscheduler.pass WHERE run_id = $1 RETURNING coalesce(done, '{}')`}
}

// Incremented records what a refresh has seen: everything that its snapshot shows. It belongs to the transaction
// of the refresh, which is REPEATABLE READ, and writes a row that no other writes.
func Incremented(ctx context.Context, tx pgx.Tx, viewID int64, data uint32, leaves map[uint32]Leaf, tracking, reason string) error {
	text, err := marshal(leaves)
	if err != nil {
		return fmt.Errorf("record what view %d has seen: %w", viewID, err)
	}
	_, err = tx.Exec(ctx, `
INSERT INTO mvscheduler.increment_state AS i (view_id, data, taken, seen_at, system_identifier, filled_from, leaves, tracking, reason, parts)
SELECT $1, $5::oid::regclass, pg_current_snapshot(), now(), c.system_identifier, '-infinity', $2::jsonb, $3, nullif($4, ''),
       (SELECT coalesce(jsonb_agg(p), '[]') FROM mvscheduler.partitions_of($5) AS p)
  FROM pg_control_system() AS c
ON CONFLICT (view_id, data) DO UPDATE
   SET taken = EXCLUDED.taken,
       seen_at = EXCLUDED.seen_at,
       system_identifier = EXCLUDED.system_identifier,
       filled_from = EXCLUDED.filled_from,
       leaves = EXCLUDED.leaves,
       tracking = EXCLUDED.tracking,
       reason = EXCLUDED.reason,
       parts = EXCLUDED.parts,
       fill = NULL`, viewID, text, tracking, reason, data)
	if err != nil {
		return fmt.Errorf("record what view %d has seen: %w", viewID, err)
	}
	return nil
}

// BeginFill notes the snapshot before the first partition is built: what commits later is dirt for the increment that
// ends the fill. Leaves were read before. The row comes first with a snapshot that has seen nothing, so that nobody
// deletes entries of the change log which the real one has not seen (see ForgetChanges). Partitions that would leave at once
// are not built; a day is left for labels without a zone, which can stand in any. What has left already of what it reads the
// view will have nothing of, which is noted as well, and what it may lack, for who reads it.
func BeginFill(ctx context.Context, q Querier, viewID int64, data uint32, leaves map[uint32]Leaf, tracking, reason string) error {
	text, err := marshal(leaves)
	if err != nil {
		return fmt.Errorf("begin to fill view %d: %w", viewID, err)
	}
	_, err = q.Exec(ctx, `
WITH lacked AS MATERIALIZED (
    SELECT l.*
      FROM mvscheduler.view_state AS s
      LEFT JOIN pg_attribute AS a ON a.attrelid = $5::oid AND a.attname = s.time_column
     CROSS JOIN LATERAL (SELECT array_agg(v.relation::oid) AS relations, array_agg(v.col) AS cols FROM mvscheduler.view_source AS v WHERE v.view_id = $1) AS r
     CROSS JOIN LATERAL mvscheduler.lacking(r.relations, r.cols, a.atttypid) AS l
     WHERE s.view_id = $1
), nothing_of AS (
    INSERT INTO mvscheduler.frozen_by (view_id, target, below, before)
    SELECT $1, l.target, '-infinity', true FROM lacked AS l WHERE l.gone > '-infinity'
        ON CONFLICT (view_id, target) DO NOTHING
)
INSERT INTO mvscheduler.increment_state AS i (view_id, data, taken, seen_at, system_identifier, filled_from, leaves, tracking, reason, fill, unit, built_from, whole_from, never_from)
SELECT $1, $5::oid::regclass, '3:3:', now(), c.system_identifier, 'infinity', $2::jsonb, $3, nullif($4, ''), '{}',
       mvscheduler.partition_unit(s.bucket_width, s.retention_period),
       coalesce(date_trunc(mvscheduler.partition_unit(s.bucket_width, s.retention_period),
                           (now() - s.retention_period - CASE a.atttypid WHEN 'timestamptz'::regtype THEN interval '0' ELSE interval '1 day' END) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', '-infinity'),
       coalesce((SELECT max(greatest(l.gone, l.built, l.whole) + l.margin) FROM lacked AS l), '-infinity'),
       coalesce((SELECT max(greatest(l.built + u.straddle, u.never_from)) FROM lacked AS l JOIN mvscheduler.piece AS d ON d.view_id = l.target AND d.kind = 'data' JOIN mvscheduler.increment_state AS u ON u.view_id = d.view_id AND u.data = d.relation), '-infinity')
  FROM pg_control_system() AS c, mvscheduler.view_state AS s
  LEFT JOIN pg_attribute AS a ON a.attrelid = $5::oid AND a.attname = s.time_column
 WHERE s.view_id = $1
ON CONFLICT (view_id, data) DO NOTHING`, viewID, text, tracking, reason, data)
	if err != nil {
		return fmt.Errorf("begin to fill view %d: %w", viewID, err)
	}
	_, err = q.Exec(ctx, `
UPDATE mvscheduler.increment_state AS i
   SET taken = pg_current_snapshot(),
       seen_at = now(),
       straddle = coalesce((
           SELECT max(mvscheduler.straddle(w.query, s.time_column, i.built_from, s.bucket_width, s.timezone, a.atttypid, f.atttypid))
             FROM mvscheduler.view_state AS s
            CROSS JOIN LATERAL mvscheduler.version_at_work(s.view_id) AS w
             JOIN pg_attribute AS a ON a.attrelid = i.data::oid AND a.attname = s.time_column
             JOIN mvscheduler.view_source AS v ON v.view_id = s.view_id AND v.col > 0
             JOIN pg_attribute AS f ON f.attrelid = v.relation::oid AND f.attnum = v.col
            WHERE s.view_id = i.view_id AND isfinite(i.built_from)), '0')
 WHERE i.view_id = $1
   AND i.data::oid = $2
   AND i.fill = '{}'`, viewID, data)
	if err != nil {
		return fmt.Errorf("begin to fill view %d: %w", viewID, err)
	}
	return nil
}

// Filling is how far the first fill of a view is.
type Filling struct {
	Done       bool
	Partitions int64
	Buckets    int64 // that have rows
	Rows       int64
	From       *time.Time // the contents begin here
	Share      float64    // of the time from the newest to the oldest row, 0 to 1
}

// Percent is how far the fill is.
func (f Filling) Percent() int { return int(100 * f.Share) }

// Total is how many buckets there will be if those that are left are as dense as those that are filled; counting them
// would be computing the query. Zero = nobody knows yet.
func (f Filling) Total() int64 {
	if f.Share <= 0 {
		return 0
	}
	return max(f.Buckets, int64(math.Round(float64(f.Buckets)/f.Share)))
}

// LoadFilling reads how far the first fill of a view is.
func LoadFilling(ctx context.Context, q Querier, viewID int64, data uint32) (Filling, error) {
	rows, err := q.Query(ctx, `
SELECT i.filled_from = '-infinity' AS done,
       coalesce((i.fill ->> 'partitions')::bigint, 0) AS partitions,
       coalesce((i.fill ->> 'buckets')::bigint, 0) AS buckets,
       coalesce((i.fill ->> 'rows')::bigint, 0) AS rows,
       CASE WHEN isfinite(i.filled_from) THEN i.filled_from END AS "from",
       coalesce(CASE WHEN NOT isfinite(i.filled_from) THEN 0
                     WHEN i.filled_from <= (i.fill ->> 'oldest')::timestamptz THEN 1
                     ELSE least(1, greatest(0, extract(epoch FROM (i.fill ->> 'newest')::timestamptz - i.filled_from)
                                               / nullif(extract(epoch FROM (i.fill ->> 'newest')::timestamptz - (i.fill ->> 'oldest')::timestamptz), 0))) END, 0)::float8 AS share
  FROM mvscheduler.increment_state AS i
 WHERE i.view_id = $1
   AND i.data::oid = $2`, viewID, data)
	if err != nil {
		return Filling{}, fmt.Errorf("read how far view %d is filled: %w", viewID, err)
	}
	f, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Filling])
	if err != nil {
		return Filling{}, fmt.Errorf("read how far view %d is filled: %w", viewID, err)
	}
	return f, nil
}
