package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Alert is one change that people are told about.
type Alert struct {
	ID       int64     `json:"id"`
	Event    string    `json:"event"` // opened or resolved
	Kind     string    `json:"kind"`  // stale, paused, failing or missing
	ViewName string    `json:"view"`
	Owner    string    `json:"owner"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"` // when it was raised, or when it was over
}

// judgedAlerts says of each view and kind of alert whether it is to be raised (holds) and whether one that is open goes on
// (stays). An alert that a view is stale is over when it is fresh, not when it is late, so that it does not flutter; after
// a pause it counts from the end of that, which a run has to follow first. $1 is how many failures in a row are told of.
const judgedAlerts = `
WITH seen AS (
    SELECT v.id AS view_id, v.name, v.owner, v.freshness, v.activity, v.consecutive_failures,
           coalesce(h.auto_paused_version = s.rearmed_at, false) AS auto_paused,
           coalesce(greatest(s.resumed_at, g.resumed_at, CASE WHEN s.paused_until <= now() THEN s.paused_until END, CASE WHEN g.paused_until <= now() THEN g.paused_until END)
                    > clock_timestamp() - 2 * v.target - coalesce(v.last_duration, '0') - interval '10 seconds', false) AS resumed
      FROM mvscheduler.settings AS g, mvscheduler.status AS v
      JOIN mvscheduler.view_state AS s ON s.view_id = v.id
      LEFT JOIN mvscheduler.view_health AS h ON h.view_id = v.id
), judged AS (
    SELECT s.*, k.kind, k.holds, k.stays
      FROM seen AS s
     CROSS JOIN LATERAL (VALUES
            ('stale', s.freshness = 'stale' AND s.activity <> 'paused' AND NOT s.resumed, s.freshness IN ('stale', 'late') AND s.activity <> 'paused'),
            ('paused', s.auto_paused AND s.freshness <> 'missing', s.auto_paused AND s.freshness <> 'missing'),
            ('failing', s.consecutive_failures >= $1 AND NOT s.auto_paused, s.consecutive_failures > 0 AND NOT s.auto_paused),
            ('missing', s.freshness = 'missing', s.freshness = 'missing')) AS k(kind, holds, stays)
)`

// anyAlert is true when raiseAlerts has something to do. Mostly it has not, and to plan it takes several times as long.
const anyAlert = judgedAlerts + `
SELECT EXISTS (SELECT
                 FROM judged AS j
                WHERE j.holds
                  AND NOT EXISTS (SELECT FROM mvscheduler.alert AS o WHERE o.view_id = j.view_id AND o.kind = j.kind AND o.resolved_at IS NULL))
       OR EXISTS (SELECT
                    FROM mvscheduler.alert AS a
                   WHERE a.resolved_at IS NULL
                     AND NOT EXISTS (SELECT FROM judged AS j WHERE j.view_id = a.view_id AND j.kind = a.kind AND j.stays))`

// raiseAlerts opens and closes alerts and tells whoever listens on mvscheduler_alert. Any number of
// sidecars may run it at once: the unique index alert_open lets each alert be raised once.
const raiseAlerts = judgedAlerts + `, opened AS (
    INSERT INTO mvscheduler.alert (view_id, view_name, owner, kind, reason)
    SELECT j.view_id, j.name, j.owner, j.kind, left(v.reason, 2000)
      FROM judged AS j
     CROSS JOIN LATERAL (SELECT coalesce(nullif(o.reason, ''), format('its contents are %s old, its target is %s', date_trunc('second', o.lag), o.target)) AS reason
                           FROM mvscheduler.status AS o WHERE o.id = j.view_id OFFSET 0) AS v  -- which is long to put together
     WHERE j.holds
       AND NOT EXISTS (SELECT FROM mvscheduler.alert AS o WHERE o.view_id = j.view_id AND o.kind = j.kind AND o.resolved_at IS NULL)
    ON CONFLICT (view_id, kind) WHERE resolved_at IS NULL DO NOTHING
    RETURNING id, 'opened' AS event, kind, view_name, owner::text AS owner, reason, opened_at AS at
), resolved AS (
    UPDATE mvscheduler.alert AS a
       SET resolved_at = clock_timestamp(),
           tries = 0,
           next_try = clock_timestamp()
     WHERE a.resolved_at IS NULL
       AND NOT EXISTS (SELECT FROM judged AS j WHERE j.view_id = a.view_id AND j.kind = a.kind AND j.stays)
    RETURNING a.id, 'resolved' AS event, a.kind, a.view_name, a.owner::text AS owner, a.reason, a.resolved_at AS at
), told AS (
    SELECT * FROM opened
    UNION ALL
    SELECT * FROM resolved
)
SELECT t.id, t.event, t.kind, t.view_name, t.owner, t.reason, t.at,
       CASE WHEN pg_notification_queue_usage() < 0.5  -- a transaction that notifies fails when the queue is full
            THEN pg_notify('mvscheduler_alert', jsonb_build_object('id', t.id, 'event', t.event)::text)::text END
  FROM told AS t
 ORDER BY t.id`

// RaiseAlerts opens the alerts that are called for, closes those that are over, and returns both.
func RaiseAlerts(ctx context.Context, q Querier) ([]Alert, error) {
	var anything bool
	if err := q.QueryRow(ctx, anyAlert, failingAfter).Scan(&anything); err != nil {
		return nil, fmt.Errorf("look for alerts: %w", err)
	}
	if !anything {
		return nil, nil
	}
	rows, err := q.Query(ctx, raiseAlerts, failingAfter)
	if err != nil {
		return nil, fmt.Errorf("raise alerts: %w", err)
	}
	alerts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Alert, error) {
		var (
			a    Alert
			void *string
		)
		return a, row.Scan(&a.ID, &a.Event, &a.Kind, &a.ViewName, &a.Owner, &a.Reason, &a.At, &void)
	})
	if err != nil {
		return nil, fmt.Errorf("raise alerts: %w", err)
	}
	return alerts, nil
}

// untold is what the webhook has to be told of, by alert n.
const untold = `(n.told = 'nothing' OR n.told = 'opened' AND n.resolved_at IS NOT NULL)
                  AND n.next_try <= clock_timestamp()
                  AND coalesce(n.resolved_at, n.opened_at) > clock_timestamp() - interval '1 day'`

// ClaimAlert takes a change that the webhook has not been told of for the time of a lease, after which
// another sidecar may take it: the oldest of an owner who is drawn by lot, so that one who has thousands
// delays nobody else. It returns nil when there is none. What is more than a day old is not told any more.
func ClaimAlert(ctx context.Context, q Querier, lease time.Duration) (*Alert, error) {
	rows, err := q.Query(ctx, `
UPDATE mvscheduler.alert AS a
   SET tries = a.tries + 1,
       next_try = clock_timestamp() + make_interval(secs => $1)
 WHERE a.id = (SELECT n.id
                 FROM mvscheduler.alert AS n
                WHERE `+untold+`
                  AND n.owner = (SELECT n.owner
                                   FROM mvscheduler.alert AS n
                                  WHERE `+untold+`
                                  GROUP BY n.owner
                                  ORDER BY random()
                                  LIMIT 1)
                ORDER BY n.next_try
                LIMIT 1
                  FOR UPDATE SKIP LOCKED)
RETURNING a.id, CASE WHEN a.told = 'nothing' THEN 'opened' ELSE 'resolved' END, a.kind, a.view_name, a.owner::text, a.reason,
          CASE WHEN a.told = 'nothing' THEN a.opened_at ELSE a.resolved_at END`, lease.Seconds())
	if err != nil {
		return nil, fmt.Errorf("claim an alert: %w", err)
	}
	alerts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Alert])
	if err != nil {
		return nil, fmt.Errorf("claim an alert: %w", err)
	}
	if len(alerts) == 0 {
		return nil, nil
	}
	return &alerts[0], nil
}

// AlertTold records that the webhook took a change, or when it did not that it is tried again later, after
// 30 seconds at first and an hour at most.
func AlertTold(ctx context.Context, q Querier, a Alert, taken bool) error {
	_, err := q.Exec(ctx, `
UPDATE mvscheduler.alert
   SET told = CASE WHEN $3 THEN $2 ELSE told END,
       tries = CASE WHEN $3 THEN 0 ELSE tries END,
       next_try = clock_timestamp() + CASE WHEN $3 THEN interval '0' ELSE least(interval '1 hour', interval '30 seconds' * 2 ^ least(tries, 10)) END
 WHERE id = $1`, a.ID, a.Event, taken)
	if err != nil {
		return fmt.Errorf("record that alert %d was told: %w", a.ID, err)
	}
	return nil
}
