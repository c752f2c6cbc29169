package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What the command verify asks runs in the session of a user, never in one of the sidecar's: it computes the query
// of a view.

// Bucket is a bucket of time that an incremental view holds.
type Bucket struct {
	Label   string    `db:"bucket"` // in the zone of the session
	Instant time.Time // the label; one without a zone as UTC
	Rows    int64
	Frozen  bool // what it was made of has left, so nobody can compute it any more
}

// LoadBuckets reads which buckets an incremental view holds, the oldest first.
func LoadBuckets(ctx context.Context, q Querier, viewID int64) ([]Bucket, error) {
	rows, err := q.Query(ctx, `SELECT b.bucket, b.instant, b.rows, b.frozen FROM mvscheduler.buckets_of($1) AS b`, viewID)
	if err != nil {
		return nil, fmt.Errorf("list the buckets: %w", err)
	}
	buckets, err := pgx.CollectRows(rows, pgx.RowToStructByName[Bucket])
	if err != nil {
		return nil, fmt.Errorf("list the buckets: %w", err)
	}
	return buckets, nil
}

// FrozenBefore is the label before which buckets of an incremental view cannot be computed any more, one without a zone as
// UTC; nil = all can be.
func FrozenBefore(ctx context.Context, q Querier, viewID int64) (*time.Time, error) {
	var horizon *time.Time
	err := q.QueryRow(ctx, `
SELECT nullif(mvscheduler.bound_instant(mvscheduler.latest_label('-infinity', c.frozen_labels, c.frozen_times, c.label_type, c.source_type, c.timezone), c.label_type), '-infinity')
  FROM mvscheduler.compared($1) AS c`, viewID).Scan(&horizon)
	if err != nil {
		return nil, fmt.Errorf("read from where on the buckets can be computed: %w", err)
	}
	return horizon, nil
}

// Irreplaceable is the time of its source before which an incremental view holds buckets of rows that have left; nil = it holds none.
func Irreplaceable(ctx context.Context, q Querier, viewID int64) (*time.Time, error) {
	var before *time.Time
	err := q.QueryRow(ctx, `
SELECT max(i.frozen_times)
  FROM mvscheduler.visible_increments AS i
 WHERE i.view_id = $1
   AND i.frozen_times > '-infinity'
   AND EXISTS (SELECT FROM mvscheduler.partitions_of(i.data::oid) AS p WHERE p.lo AT TIME ZONE 'UTC' < i.frozen_times)`, viewID).Scan(&before)
	if err != nil {
		return nil, fmt.Errorf("read what cannot be computed again: %w", err)
	}
	return before, nil
}

// Difference is a bucket that is not what the query gives.
type Difference struct {
	Label     string    `db:"bucket"`
	Instant   time.Time // the label; one without a zone as UTC
	At        time.Time // a time of the source within it
	Missing   int64     // rows that the query gives and the view does not hold
	Extra     int64     // the other way round
	Different int64     // rows of the same key
}

// CompareBuckets computes the buckets with labels from first up to last and compares them with what is stored.
func CompareBuckets(ctx context.Context, q Querier, viewID int64, first, last string) ([]Difference, error) {
	rows, err := q.Query(ctx, `SELECT d.bucket, d.instant, d.at, d.missing, d.extra, d.different FROM mvscheduler.compare_buckets($1, $2, $3) AS d`, viewID, first, last)
	if err != nil {
		return nil, fmt.Errorf("compare the buckets from %s to %s: %w", first, last, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Difference])
	if err != nil {
		return nil, fmt.Errorf("compare the buckets from %s to %s: %w", first, last, err)
	}
	return found, nil
}

// CompareContents computes what a REFRESH of a materialized view would give and compares it with what is stored.
// A row that says something else is missing and extra.
func CompareContents(ctx context.Context, q Querier, viewID int64) (missing, extra int64, err error) {
	err = q.QueryRow(ctx, `SELECT c.missing, c.extra FROM mvscheduler.compare_contents($1) AS c`, viewID).Scan(&missing, &extra)
	if err != nil {
		return 0, 0, fmt.Errorf("compare the contents: %w", err)
	}
	return missing, extra, nil
}

// Labels is a range of labels, those without a zone as UTC; nil = unbounded.
type Labels struct {
	First  *time.Time
	Beyond *time.Time
}

// Contain says whether a label is in the range.
func (l Labels) Contain(label time.Time) bool {
	return (l.First == nil || !label.Before(*l.First)) && (l.Beyond == nil || label.Before(*l.Beyond))
}

// DirtyBuckets are the labels that a refresh computes for changes of these ranges.
func DirtyBuckets(ctx context.Context, q Querier, viewID int64, starts, ends []*time.Time) ([]Labels, error) {
	rows, err := q.Query(ctx, `
SELECT CASE WHEN isfinite(b.first) THEN b.first END AS first, CASE WHEN isfinite(b.beyond) THEN b.beyond END AS beyond
  FROM mvscheduler.dirty_buckets($1, ARRAY(SELECT coalesce(t, '-infinity') FROM unnest($2::timestamptz[]) WITH ORDINALITY AS u(t, n) ORDER BY n),
                                     ARRAY(SELECT coalesce(t, 'infinity') FROM unnest($3::timestamptz[]) WITH ORDINALITY AS u(t, n) ORDER BY n)) AS b`, viewID, starts, ends)
	if err != nil {
		return nil, fmt.Errorf("read which buckets the next refresh computes: %w", err)
	}
	labels, err := pgx.CollectRows(rows, pgx.RowToStructByName[Labels])
	if err != nil {
		return nil, fmt.Errorf("read which buckets the next refresh computes: %w", err)
	}
	return labels, nil
}

// Verifiable is what is known of a view before it is verified.
type Verifiable struct {
	Name           string
	Owner          string
	Method         string
	Timezone       string
	ChangeTracking string // empty = it is not incremental
}

// LoadVerifiable reads what is known of a view before it is verified.
func LoadVerifiable(ctx context.Context, q Querier, viewID int64) (Verifiable, error) {
	rows, err := q.Query(ctx, `
SELECT v.name, v.owner::text AS owner, v.method, v.timezone, coalesce(CASE v.method WHEN 'incremental' THEN i.change_tracking END, '') AS change_tracking
  FROM mvscheduler.visible_views AS v
  LEFT JOIN mvscheduler.visible_increments AS i ON i.view_id = v.view_id
 WHERE v.view_id = $1`, viewID)
	if err != nil {
		return Verifiable{}, fmt.Errorf("read view %d: %w", viewID, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Verifiable])
	if err != nil {
		return Verifiable{}, fmt.Errorf("read view %d: %w", viewID, err)
	}
	return v, nil
}

// MarkDirty has the next refresh of an incremental view compute the buckets around these times anew; ends belong to
// starts, and nil = unbounded.
func MarkDirty(ctx context.Context, q Querier, viewID int64, starts, ends []*time.Time) error {
	_, err := q.Exec(ctx, `
INSERT INTO mvscheduler.marked_dirty (view_id, lo, hi)
SELECT $1, coalesce(r.lo, '-infinity'), coalesce(r.hi, 'infinity')
  FROM unnest($2::timestamptz[], $3::timestamptz[]) AS r(lo, hi)`, viewID, starts, ends)
	if err != nil {
		return fmt.Errorf("mark buckets of view %d as dirty: %w", viewID, err)
	}
	return nil
}

// ScansHere are the scans of views that this session has made and not reported yet; none on a standby, where they could
// not be left to anybody.
func ScansHere(ctx context.Context, q Querier) ([]OwnScans, error) {
	rows, err := q.Query(ctx, `SELECT relation, seq, idx, tuples, keys, fetched FROM mvscheduler.scans_here WHERE NOT pg_is_in_recovery()`)
	if err != nil {
		return nil, fmt.Errorf("read the session's own scans: %w", err)
	}
	scans, err := pgx.CollectRows(rows, pgx.RowToStructByName[OwnScans])
	if err != nil {
		return nil, fmt.Errorf("read the session's own scans: %w", err)
	}
	return scans, nil
}

// NoteVerified rolls the transaction back in which the session made these scans, and leaves them to the collector, which takes
// them for no reads. Both are sent at once: between two messages a session reports its scans, and they would be seen before they are
// noted. The caller does not roll back again: PostgreSQL would warn the user that there is nothing.
func NoteVerified(ctx context.Context, tx pgx.Tx, scans []OwnScans) error {
	n := len(scans)
	if n == 0 {
		return nil
	}
	relations, seq, idx, tuples, keys, fetched := make([]uint32, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, s := range scans {
		relations[i], seq[i], idx[i], tuples[i], keys[i], fetched[i] = s.Relation, s.Seq, s.Idx, s.Tuples, s.Keys, s.Fetched
	}
	var batch pgx.Batch
	batch.Queue(`ROLLBACK`)
	batch.Queue(`
INSERT INTO mvscheduler.verify_scan (relation, seq, idx, tuples, keys, fetched)
SELECT s.relation, s.seq, s.idx, s.tuples, s.keys, s.fetched
  FROM unnest($1::oid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) AS s(relation, seq, idx, tuples, keys, fetched)
ON CONFLICT DO NOTHING`, relations, seq, idx, tuples, keys, fetched)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("note the session's own scans: %w", err)
	}
	return nil
}
