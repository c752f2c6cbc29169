package catalog

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog/schedule"
)

// Due is a view whose clock has come, or whose refresh somebody asked for. Its row in view_state is
// locked by the claiming transaction.
type Due struct {
	ViewID          int64
	Name            string
	Owner           uint32
	RefreshInterval *time.Duration // or the one that the optimizer has put in its place
	Cron            *string
	Calendar        *string // as JSON; or what the optimizer has put in the place of the interval
	Timezone        string
	RefreshOn       string
	Catchup         string
	Priority        int16
	JitterKey       int64
	NextSlot        *time.Time
	NextDue         *time.Time
	NextCause       *string
	Reschedule      bool
	HeldUntil       *time.Time // end of the last pause, of the view or of all; nil = there was none
	Paused          bool       // or disabled: only what was asked for is run
	ActiveRun       *int64     // the run that is queued or running
	UpstreamMoved   bool       // refresh_on = upstream, and an upstream view was refreshed since the last run
	UpstreamCount   int64
	Requests        []int64 // run ids reserved by requests for a refresh, oldest first
	Readers         *Asked  // what the sidecar asks for in the place of readers; nil = nothing

	requested bool // and no view that it reads has to be refreshed before by a request
}

// Asked is a request of the sidecar's own.
type Asked struct {
	RunID  int64
	Reason string
}

// Spec is the view's clock. A view that is not refreshed on schedule has none.
func (d Due) Spec() (schedule.Spec, error) {
	if d.RefreshOn != "schedule" {
		return schedule.Spec{}, nil
	}
	location, err := time.LoadLocation(d.Timezone)
	if err != nil {
		return schedule.Spec{}, fmt.Errorf("time zone of view %q: %w", d.Name, err)
	}
	spec := schedule.Spec{Location: location, JitterKey: d.JitterKey, Catchup: schedule.Catchup(d.Catchup)}
	if d.HeldUntil != nil {
		spec.HeldUntil = *d.HeldUntil
	}
	switch {
	case d.Cron != nil:
		spec.Cron = *d.Cron
	case d.Calendar != nil:
		spec.Calendar = *d.Calendar
	case d.RefreshInterval != nil:
		spec.Interval = *d.RefreshInterval
	}
	return spec, spec.Validate()
}

// graphAtMost is how many due views of one owner that read other views are looked at in a tick.
const graphAtMost = 1000

// overtakenAtMost is how many requests of one owner that wait for those of views below, the oldest, are looked at whether they do so
// for what was asked later.
const overtakenAtMost = 5

// lockDue takes a row lock (FOR UPDATE) on each row of view_state that it returns and passes over rows
// that another replica or a user's open transaction holds; they are found again at the next tick.
//
// A view is left where it is while one of its upstream views is due or being refreshed, for at most half
// its target or five minutes, so that a graph is refreshed in order (a view with a clock looks through
// upstream views that have none); and while its owner has as many runs under way as
// settings.max_runs_per_owner allows. What is unready is found once for all candidates, upwards, and handed
// down again: the work grows with the edges of the graph and not with the paths through it. The batch goes round
// the owners, so that thousands of one owner's do not fill it. Of the views about which nothing speaks against a
// run, an owner has only so many looked at as may run: a thousand that are due cost little more than ten. Requests
// are found view by view, so that a heap of them for one view costs no more than one.
//
// A request waits for those of views below, and for their runs, however long, so that who asks for several sees in
// each what was there when he asked. It takes nobody's turn meanwhile. It does not wait again for what is asked for
// once that was had, else it could wait for ever for a view that is asked for all the time.
//
// The planner, which knows no instants, takes a third of all views for due and would read the table whole once
// for each join: where few rows are wanted they are named by = ANY (ARRAY(...)).
const lockDue = `
WITH RECURSIVE failing AS MATERIALIZED (
    SELECT h.view_id, h.auto_paused_version AS version FROM mvscheduler.view_health AS h WHERE h.auto_paused_version IS NOT NULL
), requested AS MATERIALIZED (
    SELECT r.view_id FROM mvscheduler.requested_view AS r
), asked AS MATERIALIZED (   -- and not had yet, since a request with the number of this run; a run that answers one of others has none of its own
    SELECT r.view_id, (SELECT q.run_id FROM mvscheduler.request AS q WHERE q.view_id = r.view_id AND q.kind = 'refresh' ORDER BY q.id LIMIT 1) AS since, true AS waits
      FROM requested AS r
    UNION ALL
    SELECT a.view_id, CASE WHEN a.cause = 'manual' THEN a.id ELSE 0 END, false
      FROM mvscheduler.run AS a
     WHERE (a.state = 'running' OR a.state = 'queued' AND a.counted = 0)
       AND (a.cause = 'manual' OR EXISTS (SELECT FROM mvscheduler.run AS j WHERE j.joined_run = a.id))
), below_requested AS (
    SELECT r.view_id FROM requested AS r
    UNION
    SELECT u.view_id
      FROM below_requested AS b
      JOIN mvscheduler.view_state AS v ON v.view_id = b.view_id,
           unnest(v.upstream) AS u(view_id)
), reads AS MATERIALIZED (
    SELECT v.view_id, u.view_id AS upstream
      FROM mvscheduler.view_state AS v, unnest(v.upstream) AS u(view_id)
     WHERE v.view_id = ANY (ARRAY(SELECT b.view_id FROM below_requested AS b))
), behind_asked AS (
    SELECT r.view_id FROM reads AS r WHERE r.upstream IN (SELECT a.view_id FROM asked AS a)
    UNION
    SELECT r.view_id FROM behind_asked AS b JOIN reads AS r ON r.upstream = b.view_id
), behind_others AS (   -- not what is asked for in a circle alone, since views read each other by plain views that were replaced
    SELECT r.view_id FROM reads AS r WHERE r.upstream IN (SELECT a.view_id FROM asked AS a WHERE a.view_id NOT IN (SELECT b.view_id FROM behind_asked AS b))
    UNION
    SELECT r.view_id FROM behind_others AS b JOIN reads AS r ON r.upstream = b.view_id
), longest AS MATERIALIZED (   -- an owner's that wait for longest
    SELECT l.view_id, l.since
      FROM (SELECT a.view_id, a.since, row_number() OVER (PARTITION BY s.owner ORDER BY a.since) AS place
              FROM asked AS a
              JOIN mvscheduler.view_state AS s ON s.view_id = a.view_id
             WHERE a.waits
               AND a.view_id IN (SELECT b.view_id FROM behind_others AS b)) AS l
     WHERE l.place <= $5
), awaited AS (
    SELECT l.view_id, l.since, r.upstream FROM longest AS l JOIN reads AS r ON r.view_id = l.view_id
    UNION
    SELECT w.view_id, w.since, r.upstream FROM awaited AS w JOIN reads AS r ON r.view_id = w.upstream
), overtaken AS (   -- whatever they wait for was refreshed since they were asked for, and is asked for once more
    SELECT l.view_id
      FROM longest AS l
     WHERE NOT EXISTS (SELECT
                         FROM awaited AS w
                         JOIN asked AS a ON a.view_id = w.upstream
                        WHERE w.view_id = l.view_id
                          AND a.view_id <> l.view_id
                          AND NOT EXISTS (SELECT
                                            FROM mvscheduler.run AS h
                                           WHERE h.view_id = a.view_id
                                             AND h.id > l.since
                                             AND h.id < a.since
                                             AND h.cause = 'manual'
                                             AND h.state NOT IN ('queued', 'running')))
), in_turn AS MATERIALIZED (
    SELECT r.view_id
      FROM requested AS r
     WHERE r.view_id NOT IN (SELECT b.view_id FROM behind_others AS b)
        OR r.view_id IN (SELECT o.view_id FROM overtaken AS o)
), waiting AS MATERIALIZED (
    SELECT s.view_id, s.owner, s.priority, s.next_due, cardinality(s.upstream) > 0 AS reads_views
      FROM mvscheduler.view_state AS s
     WHERE s.next_due <= $1
       AND s.enabled
       AND (s.paused_at IS NULL OR coalesce(s.paused_until, 'infinity') <= $1)
       AND (s.view_id, s.rearmed_at) NOT IN (SELECT f.view_id, f.version FROM failing AS f)
), candidate AS (
    SELECT p.view_id
      FROM (SELECT w.view_id, row_number() OVER (PARTITION BY w.owner ORDER BY w.priority, w.next_due, w.view_id) AS place
              FROM waiting AS w
             WHERE NOT w.reads_views
               AND w.view_id NOT IN (SELECT a.view_id FROM mvscheduler.run AS a WHERE a.state IN ('queued', 'running'))) AS p
     WHERE p.place <= $2
    UNION
    SELECT g.view_id
      FROM (SELECT w.view_id, row_number() OVER (PARTITION BY w.owner ORDER BY w.priority, w.next_due, w.view_id) AS place
              FROM waiting AS w
             WHERE w.reads_views) AS g
     WHERE g.place <= $4
    UNION
    SELECT a.view_id
      FROM mvscheduler.run AS a
      JOIN mvscheduler.view_state AS s ON s.view_id = a.view_id
     WHERE a.state IN ('queued', 'running')
       AND s.next_due <= $1
    UNION
    SELECT view_id FROM mvscheduler.view_state WHERE reschedule
    UNION
    SELECT view_id FROM in_turn
    UNION
    SELECT s.view_id
      FROM mvscheduler.view_state AS s
     WHERE s.refresh_on = 'upstream'
       AND s.upstream_seen < (SELECT sum(h.refreshes) FROM mvscheduler.view_health AS h WHERE h.view_id = ANY (s.upstream))
), patient AS MATERIALIZED (
    SELECT s.view_id, s.refresh_on, s.upstream
      FROM mvscheduler.view_state AS s
      LEFT JOIN mvscheduler.view_health AS h ON h.view_id = s.view_id
     WHERE s.view_id = ANY (ARRAY(SELECT c.view_id FROM candidate AS c))
       AND cardinality(s.upstream) > 0
       AND (coalesce(s.next_due,   -- one that follows others is due from when the first of them moved
                     (SELECT min(f.finished_at)
                        FROM unnest(s.upstream) AS u(view_id)
                       CROSS JOIN LATERAL (SELECT r.finished_at
                                             FROM mvscheduler.run AS r
                                            WHERE r.view_id = u.view_id AND r.id > coalesce(h.last_run_id, 0) AND r.state IN ('succeeded', 'skipped')
                                            ORDER BY r.id
                                            LIMIT 1) AS f))
            > $1 - least(coalesce(s.target, s.refresh_interval, '1 hour') / 2, '5 minutes')) IS NOT FALSE
), above AS (
    SELECT u.view_id
      FROM patient AS p, unnest(p.upstream) AS u(view_id)
    UNION
    SELECT u.view_id
      FROM above AS b
      JOIN mvscheduler.view_state AS v ON v.view_id = b.view_id AND v.refresh_on = 'upstream',
           unnest(v.upstream) AS u(view_id)
), unready AS MATERIALIZED (
    SELECT u.view_id, ua.id IS NOT NULL OR u.next_due <= $1 AS itself
      FROM above AS b
      JOIN mvscheduler.view_state AS u ON u.view_id = b.view_id
      LEFT JOIN mvscheduler.view_health AS uh ON uh.view_id = u.view_id
      LEFT JOIN mvscheduler.run AS ua ON ua.view_id = u.view_id AND ua.state IN ('queued', 'running')
     WHERE ua.state = 'running' OR ua.counted = 0
        OR ua.id IS NULL AND u.enabled AND u.paused_at IS NULL AND NOT coalesce(uh.auto_paused_version = u.rearmed_at, false)
           AND (u.next_due <= $1
                OR u.refresh_on = 'upstream'
                   AND u.upstream_seen < (SELECT sum(h.refreshes) FROM mvscheduler.view_health AS h WHERE h.view_id = ANY (u.upstream)))
), held AS (
    SELECT y.view_id FROM unready AS y
    UNION
    SELECT v.view_id
      FROM held AS e
      JOIN mvscheduler.view_state AS v ON v.upstream @> ARRAY[e.view_id] AND v.refresh_on = 'upstream'
), behind AS MATERIALIZED (
    SELECT p.view_id
      FROM patient AS p
     WHERE p.refresh_on <> 'schedule' AND p.upstream && ARRAY(SELECT y.view_id FROM unready AS y WHERE y.itself)
        OR p.refresh_on = 'schedule' AND p.upstream && ARRAY(SELECT e.view_id FROM held AS e)
), known AS (
    SELECT s.view_id, s.owner, s.priority, s.next_due, a.id AS active_run,
           NOT s.enabled
             OR s.paused_at IS NOT NULL AND coalesce(s.paused_until, 'infinity') > $1
             OR (SELECT mvscheduler.paused_at($1))
             OR coalesce(h.auto_paused_version = s.rearmed_at, false) AS paused,
           s.view_id IN (SELECT i.view_id FROM in_turn AS i) AS requested,
           CASE WHEN s.refresh_on = 'upstream' THEN
               coalesce((SELECT sum(u.refreshes) FROM mvscheduler.view_health AS u WHERE u.view_id = ANY (s.upstream)), 0)
           ELSE 0 END AS upstream_count,
           s.view_id IN (SELECT b.view_id FROM behind AS b) AS behind_upstream
      FROM mvscheduler.view_state AS s
      LEFT JOIN mvscheduler.view_health AS h ON h.view_id = s.view_id
      LEFT JOIN mvscheduler.run AS a ON a.view_id = s.view_id AND a.state IN ('queued', 'running')
     WHERE s.view_id = ANY (ARRAY(SELECT c.view_id FROM candidate AS c))
), eligible AS (
    SELECT k.*, row_number() OVER (PARTITION BY k.owner, k.active_run IS NOT NULL ORDER BY k.priority, k.next_due NULLS FIRST, k.view_id) AS place
      FROM known AS k
     WHERE (k.requested AND k.active_run IS NULL) OR (NOT k.paused AND NOT k.behind_upstream)
), load AS (
    SELECT r.owner, count(*) AS runs
      FROM mvscheduler.run AS r
     WHERE r.state IN ('queued', 'running')
       AND (r.state = 'running' OR r.counted = 0)
     GROUP BY r.owner
), chosen AS MATERIALIZED (
    SELECT e.*
      FROM eligible AS e
      LEFT JOIN load AS l ON l.owner = e.owner
     WHERE e.active_run IS NOT NULL
        OR e.place <= $2 - coalesce(l.runs, 0)
)
SELECT s.view_id, s.name, s.owner::oid AS owner, extract(epoch FROM coalesce(s.tuned_interval, s.refresh_interval))::float8 AS interval_seconds,
       s.cron, coalesce(s.tuned_calendar, s.calendar)::text, s.timezone, s.refresh_on, s.catchup, s.priority, s.jitter_key, s.next_slot, s.next_due, s.next_cause,
       s.reschedule, e.paused, e.requested, e.active_run, e.upstream_count > s.upstream_seen AS upstream_moved, e.upstream_count,
       greatest(s.resumed_at, CASE WHEN s.paused_until <= $1 THEN nullif(s.paused_until, '-infinity') END, g.resumed_at, CASE WHEN g.paused_until <= $1 THEN nullif(g.paused_until, '-infinity') END) AS held_until
  FROM mvscheduler.settings AS g, chosen AS e
  JOIN mvscheduler.view_state AS s ON s.view_id = e.view_id
 WHERE s.view_id = ANY (ARRAY(SELECT c.view_id FROM chosen AS c))
   AND (e.requested AND e.active_run IS NULL
        OR s.reschedule
        OR s.next_due <= $1 AND (e.active_run IS NULL OR s.catchup <> 'all' AND s.next_cause IS NULL)
        OR e.upstream_count > s.upstream_seen AND e.active_run IS NULL)
 ORDER BY e.place, s.priority, s.next_due
 LIMIT $3
   FOR UPDATE OF s SKIP LOCKED`

// LockDue locks up to limit views that need a decision at the instant now and returns them with the
// requests that wait for them, which it takes. It must run in the transaction that makes their runs and
// moves their clocks: all of it happens or nothing.
func LockDue(ctx context.Context, tx pgx.Tx, now time.Time, runsPerOwner, limit int) ([]Due, error) {
	rows, err := tx.Query(ctx, lockDue, now, runsPerOwner, limit, graphAtMost, overtakenAtMost)
	if err != nil {
		return nil, fmt.Errorf("find due views: %w", err)
	}
	due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Due, error) {
		var (
			d       Due
			seconds *float64
		)
		err := row.Scan(&d.ViewID, &d.Name, &d.Owner, &seconds, &d.Cron, &d.Calendar, &d.Timezone, &d.RefreshOn, &d.Catchup,
			&d.Priority, &d.JitterKey, &d.NextSlot, &d.NextDue, &d.NextCause, &d.Reschedule, &d.Paused, &d.requested, &d.ActiveRun,
			&d.UpstreamMoved, &d.UpstreamCount, &d.HeldUntil)
		if seconds != nil {
			d.RefreshInterval = new(time.Duration(math.Round(*seconds*1e6)) * time.Microsecond)
		}
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("find due views: %w", err)
	}
	if len(due) == 0 {
		return nil, nil
	}
	if err := readActive(ctx, tx, due); err != nil {
		return nil, err
	}
	return due, takeRequests(ctx, tx, due)
}

// readActive reads which of the views have a run under way. What lockDue itself saw may be older than its
// locks: another replica could claim a view between the snapshot and the lock. Under our locks nobody
// makes another run.
func readActive(ctx context.Context, tx pgx.Tx, due []Due) error {
	index := make(map[int64]int, len(due))
	ids := make([]int64, len(due))
	for i := range due {
		due[i].ActiveRun = nil
		index[due[i].ViewID], ids[i] = i, due[i].ViewID
	}
	rows, err := tx.Query(ctx, `
SELECT view_id, id
  FROM mvscheduler.run
 WHERE state IN ('queued', 'running')
   AND view_id = ANY ($1)`, ids)
	if err != nil {
		return fmt.Errorf("find runs under way: %w", err)
	}
	var view, run int64
	_, err = pgx.ForEachRow(rows, []any{&view, &run}, func() error {
		due[index[view]].ActiveRun = new(run)
		return nil
	})
	if err != nil {
		return fmt.Errorf("find runs under way: %w", err)
	}
	return nil
}

// takeAtMost bounds the requests that one run answers, so that a flood of them is not one long transaction
// for which everybody's runs wait. The run after answers the rest.
const takeAtMost = 5000

// takeRequests deletes the requests that the runs of this tick will answer. One that is not committed
// yet is not seen and stays for the run after, and so does one that waits for those of views below.
func takeRequests(ctx context.Context, tx pgx.Tx, due []Due) error {
	index := make(map[int64]int)
	ids := make([]int64, 0, len(due))
	for i, d := range due {
		if d.ActiveRun == nil && d.requested {
			index[d.ViewID] = i
			ids = append(ids, d.ViewID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `
DELETE FROM mvscheduler.request AS q
 WHERE q.ctid = ANY (ARRAY(  -- nobody updates a request; and a plan that was made while there were none cannot go astray
        SELECT taken.ctid
          FROM unnest($1::bigint[]) AS v(view_id)
         CROSS JOIN LATERAL (
                SELECT r.ctid
                  FROM mvscheduler.request AS r
                 WHERE r.view_id = v.view_id
                   AND r.kind = 'refresh'
                 ORDER BY r.id
                 LIMIT $2) AS taken))
RETURNING q.view_id, q.run_id, q.cause, coalesce(q.reason, '')`, ids, takeAtMost)
	if err != nil {
		return fmt.Errorf("take refresh requests: %w", err)
	}
	var view, run int64
	var cause, reason string
	_, err = pgx.ForEachRow(rows, []any{&view, &run, &cause, &reason}, func() error {
		d := &due[index[view]]
		if cause == "readers" {
			d.Readers = &Asked{RunID: run, Reason: reason}
		} else {
			d.Requests = append(d.Requests, run)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take refresh requests: %w", err)
	}
	return nil
}

// UntilNextDue is how long it is until the next view becomes due of those that were not at the instant of the
// tick; zero or less when one has become due meanwhile, nil when none will.
func UntilNextDue(ctx context.Context, q Querier, tick time.Time) (*time.Duration, error) {
	var seconds *float64
	err := q.QueryRow(ctx, `
SELECT extract(epoch FROM min(next_due) - clock_timestamp())::float8
  FROM mvscheduler.view_state
 WHERE next_due > $1`, tick).Scan(&seconds)
	if err != nil {
		return nil, fmt.Errorf("find the next due view: %w", err)
	}
	if seconds == nil {
		return nil, nil
	}
	return new(time.Duration(*seconds * float64(time.Second))), nil
}
