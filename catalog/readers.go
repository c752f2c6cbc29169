package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// AdaptiveView is one whose readers ask for refreshes between two slots.
type AdaptiveView struct {
	ViewID   int64
	Owner    uint32
	Now      time.Time
	Patience float64 // view_state.tuned_patience
	AsOf     time.Time
	NextDue  time.Time
	Took     float64 // seconds, of its last refresh
	Ready    bool    // a refresh may be asked for now
	Spent    float64 // seconds, of refreshes that readers asked for in the last hour
}

// LoadAdaptive reads the views whose readers ask for refreshes, and what all such refreshes may take in an hour. None is
// asked for while the clock of the view does not run, a run of it is under way, the last one did not come through, it was
// refreshed less than its shortest interval ago, or it reads managed views, than which it is no fresher.
func LoadAdaptive(ctx context.Context, q Querier) (views []AdaptiveView, budget time.Duration, err error) {
	rows, err := q.Query(ctx, `
SELECT s.view_id, s.owner::oid AS owner, clock_timestamp() AS now, s.tuned_patience AS patience, h.data_as_of AS as_of, coalesce(s.next_due, clock_timestamp()) AS next_due,
       coalesce(extract(epoch FROM h.last_duration), 0)::float8 AS took,
       coalesce(s.enabled
         AND (s.paused_at IS NULL OR coalesce(s.paused_until, 'infinity') <= clock_timestamp())
         AND NOT mvscheduler.paused_at(clock_timestamp())
         AND NOT coalesce(h.auto_paused_version = s.rearmed_at, false)
         AND NOT s.reschedule
         AND s.next_cause IS NULL
         AND s.next_due > clock_timestamp()
         AND s.upstream = '{}'
         AND h.consecutive_failures = 0
         AND l.state IN ('succeeded', 'skipped')
         AND clock_timestamp() >= coalesce(l.started_at, l.finished_at) + greatest(g.min_refresh_interval, s.min_interval, '1 minute')
         AND s.view_id <> ALL (ARRAY(SELECT r.view_id FROM mvscheduler.requested_view AS r)), false) AS ready,
       coalesce((SELECT sum(extract(epoch FROM r.finished_at - r.started_at))
                   FROM (SELECT x.cause, x.started_at, x.finished_at FROM mvscheduler.run AS x WHERE x.view_id = s.view_id ORDER BY x.id DESC LIMIT 100) AS r
                  WHERE r.cause = 'readers'
                    AND r.finished_at > clock_timestamp() - interval '1 hour'), 0)::float8 AS spent
  FROM mvscheduler.settings AS g, mvscheduler.view_state AS s
  JOIN mvscheduler.view_health AS h ON h.view_id = s.view_id
  LEFT JOIN LATERAL (SELECT r.state, r.started_at, r.finished_at FROM mvscheduler.run AS r WHERE r.view_id = s.view_id ORDER BY r.id DESC LIMIT 1) AS l ON true
 WHERE s.tuned_patience IS NOT NULL
   AND h.data_as_of IS NOT NULL`)
	if err != nil {
		return nil, 0, fmt.Errorf("read whose readers ask for refreshes: %w", err)
	}
	views, err = pgx.CollectRows(rows, pgx.RowToStructByName[AdaptiveView])
	if err != nil {
		return nil, 0, fmt.Errorf("read whose readers ask for refreshes: %w", err)
	}
	if len(views) == 0 {
		return nil, 0, nil
	}
	share, err := LoadBudget(ctx, q)
	return views, time.Duration(share * float64(time.Hour)), err
}

// LoadBudget reads settings.optimizer_budget, a share of one backend.
func LoadBudget(ctx context.Context, q Querier) (share float64, err error) {
	if err := q.QueryRow(ctx, `SELECT optimizer_budget FROM mvscheduler.settings`).Scan(&share); err != nil {
		return 0, fmt.Errorf("read the budget of refreshes: %w", err)
	}
	return share, nil
}

// Asking is a refresh that is asked for in the place of readers.
type Asking struct {
	ViewID int64
	Reason string
}

// AskForReaders asks for refreshes, as the sampler whose lease has not passed on; else it does nothing.
func AskForReaders(ctx context.Context, q Querier, sampler string, asked []Asking) error {
	if len(asked) == 0 {
		return nil
	}
	views, reasons := make([]int64, len(asked)), make([]string, len(asked))
	for i, a := range asked {
		views[i], reasons[i] = a.ViewID, a.Reason
	}
	_, err := q.Exec(ctx, `
INSERT INTO mvscheduler.request (kind, view_id, cause, reason)
SELECT 'refresh', a.view_id, 'readers', a.reason
  FROM unnest($1::bigint[], $2::text[]) AS a(view_id, reason)
 WHERE EXISTS (SELECT FROM mvscheduler.collector AS c WHERE c.sampler = $3)
   AND EXISTS (SELECT FROM mvscheduler.view_state AS s WHERE s.view_id = a.view_id AND s.tuned_patience IS NOT NULL)
   AND NOT EXISTS (SELECT FROM mvscheduler.run AS r WHERE r.view_id = a.view_id AND r.state IN ('queued', 'running'))`, views, reasons, sampler)
	if err != nil {
		return fmt.Errorf("ask for refreshes in the place of readers: %w", err)
	}
	return nil
}

// ReadUpstream is which managed views each view reads that reads any. Anybody may name the view of another one in a query; reads
// of his view count for those alone of which its owner may read something.
func ReadUpstream(ctx context.Context, q Querier) (map[int64][]int64, error) {
	rows, err := q.Query(ctx, `
SELECT s.view_id, array_agg(u.view_id ORDER BY u.view_id)
  FROM mvscheduler.view_state AS s
  JOIN mvscheduler.view_state AS u ON u.view_id = ANY (s.upstream)
 WHERE s.upstream <> '{}'
   AND has_any_column_privilege(s.owner::oid, u.relation::oid, 'SELECT')
 GROUP BY s.view_id`)
	if err != nil {
		return nil, fmt.Errorf("read what views read: %w", err)
	}
	upstream := make(map[int64][]int64)
	var view int64
	var reads []int64
	_, err = pgx.ForEachRow(rows, []any{&view, &reads}, func() error {
		upstream[view] = append([]int64(nil), reads...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what views read: %w", err)
	}
	return upstream, nil
}
