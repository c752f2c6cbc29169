package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// RecommendationRecord is one row of mvscheduler.recommendations. Nil means NULL.
type RecommendationRecord struct {
	ID           int64           `db:"id" json:"id"`
	ViewName     string          `db:"view_name" json:"view_name"`
	Kind         string          `db:"kind" json:"kind"`
	Current      string          `db:"current" json:"current"`
	Proposed     string          `db:"proposed" json:"proposed"`
	Reason       string          `db:"reason" json:"reason"`
	State        string          `db:"state" json:"state"`
	Command      string          `db:"command" json:"command"`
	Automatic    bool            `db:"automatic" json:"automatic"` // applied by the sidecar
	Evidence     json.RawMessage `db:"evidence" json:"evidence"`
	Predicted    json.RawMessage `db:"predicted" json:"predicted"`
	Measured     json.RawMessage `db:"measured" json:"measured"`
	CreatedAt    time.Time       `db:"created_at" json:"created_at"`
	DecidedAt    *time.Time      `db:"decided_at" json:"decided_at"`
	DecidedBy    *string         `db:"decided_by" json:"decided_by"`
	Decision     *string         `db:"decision" json:"decision"`
	SnoozedUntil *time.Time      `db:"snoozed_until" json:"snoozed_until"`
	Helped       *bool           `db:"helped" json:"-"`    // of what is applied; nil = not known, or not yet
	AsOf         time.Time       `db:"as_of" json:"as_of"` // the database's clock when this was read
}

// DidNotHelp says that it was applied, and that what really came was better off before. A person can undo it.
func (r RecommendationRecord) DidNotHelp() bool {
	return r.State == "applied" && r.Helped != nil && !*r.Helped
}

// Thought is what was thought of the clock of a view when it was thought about last.
type Thought struct {
	ViewName string `db:"view_name"`
	Thought  string `db:"thought"`
}

// Thoughts are those of the views that the caller may see, or of one of them where view is not zero; of views that were never thought
// about there is none.
func Thoughts(ctx context.Context, q Querier, view int64) ([]Thought, error) {
	rows, err := q.Query(ctx, `SELECT u.view_name, u.thought FROM mvscheduler.usage AS u WHERE $1::bigint IN (0, u.view_id) AND u.thought <> '' ORDER BY u.view_name`, view)
	if err != nil {
		return nil, fmt.Errorf("read what was thought of views: %w", err)
	}
	thoughts, err := pgx.CollectRows(rows, pgx.RowToStructByName[Thought])
	if err != nil {
		return nil, fmt.Errorf("read what was thought of views: %w", err)
	}
	return thoughts, nil
}

// Recommendations reads those that the caller may see: of one view or, for zero, of all; one by its id, or, for zero,
// all that are open, among them what did not help and can be undone, and with past the others too. The newest comes first.
func Recommendations(ctx context.Context, q Querier, view, id int64, past bool) ([]RecommendationRecord, error) {
	rows, err := q.Query(ctx, `
SELECT id, view_name, kind, current, proposed, reason, state, command, automatic, evidence, predicted, measured, created_at,
       decided_at, decided_by, decision, CASE measured ->> 'helped' WHEN 'true' THEN true WHEN 'false' THEN false END AS helped, `+writable("snoozed_until")+` AS snoozed_until, clock_timestamp() AS as_of
  FROM mvscheduler.recommendations
 WHERE ($1 = 0 OR view_id = $1)
   AND ($2 = 0 OR id = $2)
   AND ($2 > 0 OR $3 OR state IN ('proposed', 'accepted') OR state = 'applied' AND measured ->> 'helped' = 'false' AND decided_at > now() - interval '60 days')
 ORDER BY id DESC`, view, id, past)
	if err != nil {
		return nil, fmt.Errorf("read recommendations: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[RecommendationRecord])
	if err != nil {
		return nil, fmt.Errorf("read recommendations: %w", err)
	}
	return found, nil
}

// Spent is what the refreshes of a view took since an instant, one by one, and what retention let go.
type Spent struct {
	ViewID      int64
	ViewName    string
	Timezone    string
	Began       []time.Time // successful refreshes, in order
	Took        []float64   // each of them, seconds
	WAL         []int64     // of the whole server meanwhile, an upper bound
	Sizes       []int64     // of the view afterwards
	Pruned      []time.Time // runs that took partitions out of the view
	PrunedBytes []int64     // each of them
	ChangedAt   *time.Time  // when a recommendation for its row was last applied or taken back
	AsOf        time.Time
}

// SpentSince reads what refreshes of the views that the caller may see took within an interval, in PostgreSQL's words.
func SpentSince(ctx context.Context, q Querier, view int64, since string) ([]Spent, error) {
	rows, err := q.Query(ctx, `
SELECT s.id AS view_id, s.name AS view_name, s.timezone, coalesce(r.began, '{}') AS began, coalesce(r.took, '{}') AS took, coalesce(r.wal, '{}') AS wal, coalesce(r.sizes, '{}') AS sizes,
       coalesce(p.pruned, '{}') AS pruned, coalesce(p.pruned_bytes, '{}') AS pruned_bytes,
       (SELECT max(x.decided_at)
          FROM mvscheduler.recommendations AS x
         WHERE x.view_id = s.id AND x.state IN ('applied', 'undone')
           AND x.change IS NOT NULL AND (x.kind <> 'adaptive' OR x.automatic)) AS changed_at,
       clock_timestamp() AS as_of
  FROM mvscheduler.status AS s
  LEFT JOIN LATERAL (
        SELECT array_agg(r.started_at ORDER BY r.started_at, r.id) AS began, array_agg(extract(epoch FROM r.took)::float8 ORDER BY r.started_at, r.id) AS took,
               array_agg(coalesce(r.wal_bytes, 0) ORDER BY r.started_at, r.id) AS wal, array_agg(coalesce(r.size_bytes, 0) ORDER BY r.started_at, r.id) AS sizes
          FROM mvscheduler.runs AS r
         WHERE r.view_id = s.id AND r.state = 'succeeded' AND r.took IS NOT NULL AND r.started_at >= now() - $2::text::interval) AS r ON true
  LEFT JOIN LATERAL (
        SELECT array_agg(r.started_at ORDER BY r.id) AS pruned, array_agg(r.size_bytes ORDER BY r.id) AS pruned_bytes
          FROM mvscheduler.runs AS r
         WHERE r.view_id = s.id AND r.state = 'succeeded' AND r.kind = 'prune' AND r.size_bytes > 0 AND r.started_at >= now() - $2::text::interval) AS p ON true
 WHERE $1 = 0 OR s.id = $1
 ORDER BY s.name`, view, since)
	if err != nil {
		return nil, fmt.Errorf("read what refreshes took: %w", err)
	}
	spent, err := pgx.CollectRows(rows, pgx.RowToStructByName[Spent])
	if err != nil {
		return nil, fmt.Errorf("read what refreshes took: %w", err)
	}
	return spent, nil
}
