package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// TunedView is what the optimizer is told about a view, but for its samples.
type TunedView struct {
	ViewID                   int64
	Name, NameSQL            string // NameSQL is quoted as a literal
	Timezone                 string
	Optimize                 string
	RefreshOn                string
	Interval, Least, Most    *float64 // seconds; Interval is the one in force, or that of the row where TunedCalendar is
	Cron, Calendar           *string  // of the row, where it is refreshed on schedule; Calendar as JSON
	TunedCalendar            *string  // in force in the place of Interval, as JSON
	RowInterval              *float64 // seconds; of the row
	Patience                 *float64 // view_state.tuned_patience
	Refused                  []string // kinds of recommendations that were rejected or taken back not long ago
	Upstream                 []int64
	Active                   bool   // its clock runs
	NeverSkips               bool   // it is refreshed whether anything changed or not
	Method                   string // in force
	Wanted                   string // by its row
	Unique                   bool
	Adopted                  bool
	Stopped                  *time.Time // when its refreshes were, since nobody reads it, as was recommended; nil = they are not
	Dependants               int
	Published                bool
	SizeBytes                int64
	Since, LastRead, Planned *time.Time
	LongestPause             float64 // seconds
	Unknown, UnreadUnknown   float64 // of the time that it was watched, and of what passed since it was read last; seconds
	Rate                     float64 // reads a second, of all that was sampled
	Note                     string
	Durations, WAL, Rows     []float64 // of the last runs by the method in force, the newest first; seconds, bytes, and the rows of the view, or that changed where it is incremental
	LastChange               *time.Time
	Written                  time.Time   // of the row of views, when it was written last
	Undone                   []time.Time // changes of its schedule that were taken back

	// What there is to look at; where there is nothing, nothing else is asked of the server.
	Incremental bool // the row says so
	Concurrent  bool // the row says so
	Timed       bool // it is computed as a whole, and has a time_column
	WasFull     bool // what a full refresh takes is known
	Indexed     bool // it has an index that is not unique, or had one
	Asked       bool // it is known what was asked for, and there is a retention
	Tested      bool // it is known by what readers look for rows
	Open        bool // something is proposed
	ShrinkSince *time.Time
}

// OptimizerFacts hold for all views.
type OptimizerFacts struct {
	Now            time.Time
	Target, Budget float64 // settings, seconds and share of a backend
	Least          float64 // settings.min_refresh_interval, seconds
	MaxSkips       int     // settings.max_skips
	Level, Sources string  // of the reads
	Standbys       int     // whose reads are not counted
	Servers        int     // that may be read
}

// planned is when a view was thought about last, in SQL. What a person has just let the sidecar do need not wait for tomorrow.
const planned = `CASE WHEN NOT EXISTS (SELECT
                               FROM mvscheduler.recommendation AS x
                              WHERE x.view_id = u.view_id AND x.kind = 'adaptive' AND x.state = 'applied' AND NOT x.automatic AND x.decided_at > u.planned_at) THEN u.planned_at END`

// AnyToThinkAbout says whether there is a view that was not thought about for so long.
func AnyToThinkAbout(ctx context.Context, q Querier, every time.Duration) (due bool, err error) {
	err = q.QueryRow(ctx, `
SELECT EXISTS (SELECT
                 FROM mvscheduler.view_usage AS u
                 JOIN mvscheduler.view_state AS s ON s.view_id = u.view_id
                WHERE NOT coalesce(`+planned+`, '-infinity') BETWEEN clock_timestamp() - make_interval(secs => $1) AND clock_timestamp())`, every.Seconds()).Scan(&due)
	if err != nil {
		return false, fmt.Errorf("look for views to think about: %w", err)
	}
	return due, nil
}

// LoadOptimizer reads what the optimizer has to know of all views. It reads private tables alone.
func LoadOptimizer(ctx context.Context, q Querier) (f OptimizerFacts, views []TunedView, err error) {
	err = q.QueryRow(ctx, `
SELECT clock_timestamp(), extract(epoch FROM g.optimizer_target)::float8, g.optimizer_budget, extract(epoch FROM g.min_refresh_interval)::float8, g.max_skips
  FROM mvscheduler.settings AS g`).Scan(&f.Now, &f.Target, &f.Budget, &f.Least, &f.MaxSkips)
	if err != nil {
		return f, nil, fmt.Errorf("read what the optimizer needs: %w", err)
	}
	rows, err := q.Query(ctx, `
SELECT s.view_id, s.name, quote_literal(s.name) AS name_sql, s.timezone, s.optimize, s.refresh_on, s.rearmed_at AS written,
       extract(epoch FROM CASE WHEN s.cron IS NULL AND s.calendar IS NULL AND s.refresh_on = 'schedule' THEN coalesce(s.tuned_interval, s.refresh_interval) END)::float8 AS interval,
       extract(epoch FROM s.min_interval)::float8 AS least, extract(epoch FROM s.max_interval)::float8 AS most,
       extract(epoch FROM s.refresh_interval)::float8 AS row_interval, s.upstream, s.tuned_patience AS patience,
       CASE WHEN s.refresh_on = 'schedule' THEN s.cron END AS cron, CASE WHEN s.refresh_on = 'schedule' THEN s.calendar::text END AS calendar, s.tuned_calendar::text AS tuned_calendar,
       ARRAY(SELECT DISTINCT x.kind
               FROM mvscheduler.recommendation AS x
              WHERE x.view_id = s.view_id
                AND (x.state = 'rejected' AND x.decided_at > clock_timestamp() - make_interval(secs => $1)
                     OR x.state = 'undone' AND x.decided_at > clock_timestamp() - make_interval(secs => $2))) AS refused,
       s.enabled AND s.paused_at IS NULL AND NOT coalesce(h.auto_paused_version = s.rearmed_at, false) AS active,
       s.change_tracking = 'none' AS never_skips, coalesce(h.method, '') AS method, s.method AS wanted,
       EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = s.relation::oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL) AS "unique",
       s.adopted,
       (SELECT max(x.decided_at)
          FROM mvscheduler.recommendation AS x
         WHERE x.view_id = s.view_id AND x.kind = 'unused' AND x.state = 'applied' AND s.refresh_on = 'manual') AS stopped,
       (SELECT count(DISTINCT w.ev_class)::int
          FROM pg_depend AS d
          JOIN pg_rewrite AS w ON w.oid = d.objid
         WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.relation::oid AND w.ev_class <> s.relation::oid) AS dependants,
       EXISTS (SELECT FROM pg_publication_rel AS p WHERE p.prrelid = s.relation::oid) AS published,
       coalesce(h.size_bytes, 0) AS size_bytes,
       u.since, u.last_read_at AS last_read,
       `+planned+` AS planned,
       coalesce(extract(epoch FROM u.longest_pause), 0)::float8 AS longest_pause, coalesce(extract(epoch FROM u.unknown + g.gap), 0)::float8 AS unknown,
       coalesce(extract(epoch FROM u.unread_unknown + g.gap), 0)::float8 AS unread_unknown,
       coalesce(u.reads / greatest(60, extract(epoch FROM clock_timestamp() - u.since - u.unknown - g.gap)::float8), 0) AS rate, coalesce(u.note, '') AS note,
       coalesce(r.durations, '{}') AS durations, coalesce(r.wal, '{}') AS wal, coalesce(r.rows, '{}') AS rows,
       (SELECT max(x.decided_at)
          FROM mvscheduler.recommendation AS x
         WHERE x.view_id = s.view_id AND x.state IN ('applied', 'undone')
           AND (x.kind IN ('interval', 'calendar') OR x.kind = 'adaptive' AND x.automatic)) AS last_change,
       ARRAY(SELECT x.decided_at FROM mvscheduler.recommendation AS x WHERE x.view_id = s.view_id AND x.kind IN ('interval', 'calendar', 'adaptive') AND x.state = 'undone') AS undone,
       s.method = 'incremental' AS incremental, s.method = 'concurrent' AS concurrent,
       s.method IN ('auto', 'full', 'concurrent') AND s.time_column IS NOT NULL AND NOT s.adopted AS timed,
       EXISTS (SELECT FROM mvscheduler.run AS x WHERE x.view_id = s.view_id AND x.method = 'full' AND x.took IS NOT NULL) AS was_full,
       EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = s.relation::oid AND NOT i.indisunique)
       OR EXISTS (SELECT FROM mvscheduler.watched_index AS w WHERE w.view_id = s.view_id) AS indexed,
       s.retention_period IS NOT NULL AND EXISTS (SELECT FROM mvscheduler.looked_back AS l WHERE l.view_id = s.view_id AND l.asked) AS asked,
       EXISTS (SELECT FROM mvscheduler.tested AS t WHERE t.view_id = s.view_id) AS tested,
       EXISTS (SELECT FROM mvscheduler.recommendation AS x WHERE x.view_id = s.view_id AND x.state IN ('proposed', 'snoozed')) AS open,
       u.shrink_since
  FROM mvscheduler.view_state AS s
  LEFT JOIN mvscheduler.view_health AS h ON h.view_id = s.view_id
  LEFT JOIN mvscheduler.view_usage AS u ON u.view_id = s.view_id
 CROSS JOIN LATERAL (SELECT greatest(clock_timestamp() - u.sampled_until, '0')) AS g(gap)   -- since then nobody has sampled
  LEFT JOIN LATERAL (
        SELECT array_agg(date_part('epoch', l.took)) AS durations,
               array_agg(least(coalesce(l.wal_bytes, 0), 4 * coalesce(l.size_bytes, 0))::float8) AS wal,   -- WAL is that of the whole server
               array_agg(coalesce(l.rows, 0)::float8) AS rows
          FROM (SELECT x.took, x.wal_bytes, x.size_bytes, CASE x.method WHEN 'incremental' THEN x.changed ELSE x.rows END AS rows
                  FROM mvscheduler.run AS x
                 WHERE x.view_id = s.view_id AND x.method = h.method AND x.took IS NOT NULL
                 ORDER BY x.id DESC
                 LIMIT 50) AS l) AS r ON true
 ORDER BY u.planned_at NULLS FIRST, s.view_id`, KeepRejected.Seconds(), keepUndone.Seconds())
	if err != nil {
		return f, nil, fmt.Errorf("read what the optimizer needs: %w", err)
	}
	views, err = pgx.CollectRows(rows, pgx.RowToStructByName[TunedView])
	if err != nil {
		return f, nil, fmt.Errorf("read what the optimizer needs: %w", err)
	}
	return f, views, nil
}

// Planned notes that recommendations were made.
func Planned(ctx context.Context, q Querier, sampler string) error {
	if _, err := q.Exec(ctx, `UPDATE mvscheduler.collector SET planned_at = clock_timestamp() WHERE sampler = $1`, sampler); err != nil {
		return fmt.Errorf("note that recommendations were made: %w", err)
	}
	return nil
}

// Recommendation is one that the planner makes.
type Recommendation struct {
	Kind      string             `json:"kind"`
	Current   string             `json:"current"`
	Proposed  string             `json:"proposed"`
	Reason    string             `json:"reason"`
	Command   string             `json:"command"`
	Basis     map[string]*string `json:"basis"`
	Change    map[string]*string `json:"change"` // nil = a person runs the command
	Evidence  map[string]any     `json:"evidence"`
	Predicted map[string]any     `json:"predicted"`

	Apply    *time.Duration `json:"-"` // not nil: optimize = 'auto' lets the sidecar refresh at this interval
	Patience float64        `json:"-"` // with Apply: view_state.tuned_patience; zero = none
	Rules    *string        `json:"-"` // not nil: optimize = 'auto' lets the sidecar refresh by this calendar, as JSON
	Keep     *time.Duration `json:"-"` // not nil: optimize = 'auto' lets the sidecar keep data for so long, within the bounds of the row
}

// KeepRejected is how long what was rejected is not proposed again, keepUndone what was taken back not applied.
const KeepRejected, keepUndone = 90 * 24 * time.Hour, 30 * 24 * time.Hour

// Applies says whether optimize = 'auto' lets the sidecar put it in force.
func (r Recommendation) Applies() bool { return r.Keep != nil || r.Apply != nil || r.Rules != nil }

// Advice is what is recommended for a view now.
type Advice struct {
	ViewID          int64
	Name            string
	Recommendations []Recommendation

	written time.Time // see TunedView; only what is advised for a view as it was loaded is put in force
}

// Advised is what is recommended for a view as it was loaded.
func (v TunedView) Advised(r ...Recommendation) Advice {
	return Advice{ViewID: v.ViewID, Name: v.Name, Recommendations: r, written: v.Written}
}

// Recommend writes what is recommended for a view, and puts in force what optimize = 'auto' lets the sidecar. It returns the
// recommendations that it applied.
func Recommend(ctx context.Context, tx pgx.Tx, a Advice) (applied []int64, err error) {
	written, err := WriteAdvice(ctx, tx, a)
	if err != nil {
		return nil, err
	}
	for _, r := range a.Recommendations {
		id, there := written[Advised{a.ViewID, r.Kind}]
		if !there || !r.Applies() {
			continue
		}
		var did bool
		if r.Keep != nil {
			did, err = applyKeep(ctx, tx, a, id, *r.Keep)
		} else {
			did, err = applyClock(ctx, tx, a, id, r)
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("apply recommendation %d for view %q: %w", id, a.Name, err)
		}
		if did {
			applied = append(applied, id)
		}
	}
	return applied, nil
}

// Advised is what a recommendation is about: there is one of them open at most.
type Advised struct {
	ViewID int64
	Kind   string
}

// WriteAdvice writes what is recommended for views in one statement, and gives the ids of what is open now. What was proposed before
// and is not any more expires, also where another one of the kind takes its place: an id stands for one proposal for good. What a
// person is deciding about at this moment is left alone, and what a person said no to not long ago is not proposed again.
func WriteAdvice(ctx context.Context, q Querier, advice ...Advice) (written map[Advised]int64, err error) {
	type row struct {
		ViewID int64  `json:"view_id"`
		Name   string `json:"view_name"`
		Recommendation
	}
	rows, views := []row{}, []int64{}
	var names []string
	for _, a := range advice {
		views, names = append(views, a.ViewID), append(names, a.Name)
		for _, r := range a.Recommendations {
			rows = append(rows, row{a.ViewID, a.Name, r})
		}
	}
	written = make(map[Advised]int64)
	document, err := json.Marshal(rows)
	if err == nil {
		var found pgx.Rows
		if found, err = q.Query(ctx, writeAdvice, views, string(document), KeepRejected.Seconds(), keepUndone.Seconds()); err == nil {
			var to Advised
			var id int64
			_, err = pgx.ForEachRow(found, []any{&to.ViewID, &to.Kind, &id}, func() error {
				written[to] = id
				return nil
			})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write the recommendations for %q: %w", names, err)
	}
	return written, nil
}

const writeAdvice = `
WITH now AS (
    SELECT p.*
      FROM jsonb_to_recordset($2::jsonb) AS p (view_id bigint, view_name text, kind text, current text, proposed text, reason text, command text,
                                               basis jsonb, change jsonb, evidence jsonb, predicted jsonb)
), open AS (
    SELECT o.id, o.view_id, o.kind, o.proposed, o.change, o.state, o.snoozed_until, l.id IS NOT NULL AS locked
      FROM mvscheduler.recommendation AS o
      LEFT JOIN LATERAL (SELECT x.id FROM mvscheduler.recommendation AS x WHERE x.id = o.id AND x.state IN ('proposed', 'snoozed') FOR UPDATE SKIP LOCKED) AS l ON true
     WHERE o.view_id = ANY ($1)
       AND o.state IN ('proposed', 'snoozed')
), wanted AS (
    SELECT n.*, o.id AS was, CASE WHEN o.proposed = n.proposed AND o.change IS NOT DISTINCT FROM n.change THEN o.id END AS id, o.state, o.snoozed_until
      FROM now AS n
      LEFT JOIN open AS o ON o.view_id = n.view_id AND o.kind = n.kind
     WHERE o.locked IS NOT false
       AND NOT EXISTS (SELECT
                         FROM mvscheduler.recommendation AS x
                        WHERE x.view_id = n.view_id AND x.kind = n.kind AND x.proposed = n.proposed
                          AND (x.state IN ('rejected', 'accepted') AND x.decided_at > clock_timestamp() - make_interval(secs => $3)
                               OR x.state = 'undone' AND x.decided_at > clock_timestamp() - make_interval(secs => $4)))
), expired AS (
    UPDATE mvscheduler.recommendation AS r
       SET state = 'expired', decided_at = clock_timestamp(), decided_by = 'mvscheduler',
           decision = CASE WHEN EXISTS (SELECT FROM wanted AS w WHERE w.was = o.id) THEN 'another one has taken its place' ELSE 'it is not true any more' END
      FROM open AS o
     WHERE r.view_id = ANY ($1)
       AND r.state IN ('proposed', 'snoozed')
       AND r.id = o.id
       AND o.locked
       AND NOT EXISTS (SELECT FROM wanted AS w WHERE w.id = o.id)
    RETURNING r.id
), changed AS (
    UPDATE mvscheduler.recommendation AS r
       SET view_name = w.view_name, current = w.current, proposed = w.proposed, reason = w.reason, command = w.command, basis = w.basis, change = w.change,
           evidence = w.evidence, predicted = w.predicted, seen_at = clock_timestamp()
      FROM wanted AS w
     WHERE r.view_id = ANY ($1)
       AND r.state IN ('proposed', 'snoozed')
       AND r.id = w.id
    RETURNING r.view_id, r.kind, r.id
), made AS (
    INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, basis, change, evidence, predicted, state, snoozed_until)
    SELECT w.view_id, w.view_name, w.kind, w.current, w.proposed, w.reason, w.command, w.basis, w.change, w.evidence, w.predicted, coalesce(w.state, 'proposed'), w.snoozed_until
      FROM wanted AS w
     WHERE w.id IS NULL
       AND (SELECT count(*) FROM expired) >= 0   -- first: one of a kind is open
    RETURNING view_id, kind, id
)
SELECT view_id, kind, id FROM changed UNION ALL SELECT view_id, kind, id FROM made`

// NoteThought notes that views were thought about, by what was known at an instant, and what was thought of the clock of each.
func NoteThought(ctx context.Context, q Querier, at time.Time, views []int64, thoughts []string) error {
	if _, err := q.Exec(ctx, `
UPDATE mvscheduler.view_usage AS u
   SET planned_at = $1, thought = left(t.thought, 1000)
  FROM unnest($2::bigint[], $3::text[]) AS t (view_id, thought)
 WHERE u.view_id = t.view_id`, at, views, thoughts); err != nil {
		return fmt.Errorf("note that views were thought about: %w", err)
	}
	return nil
}

// TrialRecord is a recommendation that was applied and that is under observation.
type TrialRecord struct {
	ID             int64
	Automatic      bool // the sidecar applied it by itself, and takes it back
	ViewID         int64
	Kind           string
	DecidedAt      time.Time
	AppliedAt      time.Time   // the same, or since when its refreshes are known and none was paused
	RowSeconds     float64     // the interval of the row; zero = none
	Was            *string     // the interval before, as the proposal has it
	Patience       float64     // and the patience; zero = none
	WasCalendar    *string     // what was in force in the place of the interval, as JSON; nil = nothing
	PredictedCost  float64     // of a refresh, in seconds; zero = unknown
	Began          []time.Time // successful refreshes since, in order
	Ended          int         // runs since
	Failed, Before float64     // failed runs per run that ended, since and in as long a time before
}

// LoadTrials reads what is under observation: applied by the sidecar, or a clock that a person accepted, still in force,
// not judged for good, and of a view that is not paused.
func LoadTrials(ctx context.Context, q Querier) ([]TrialRecord, error) {
	rows, err := q.Query(ctx, `
SELECT r.id, r.automatic, r.view_id, r.kind, r.decided_at, k.since AS applied_at, coalesce(extract(epoch FROM s.refresh_interval), 0)::float8 AS row_seconds,
       r.evidence ->> 'interval_before' AS was, coalesce((r.evidence ->> 'patience_before')::float8, 0) AS patience, r.evidence ->> 'calendar_before' AS was_calendar,
       coalesce((CASE r.kind WHEN 'retention' THEN r.predicted ->> 'refresh_seconds' ELSE coalesce(r.evidence ->> 'refresh_seconds_fixed', r.evidence ->> 'refresh_seconds') END)::float8, 0) AS predicted_cost,
       coalesce(x.began, '{}') AS began, x.ended, coalesce(x.failed, 0) AS failed, coalesce(y.failed, 0) AS before
  FROM mvscheduler.recommendation AS r
  JOIN mvscheduler.view_state AS s ON s.view_id = r.view_id
                                  AND (s.tuned_by = r.id AND num_nonnulls(s.tuned_interval, s.tuned_calendar) > 0 OR s.retained_by = r.id AND s.retention_period > s.row_retention
                                       OR NOT r.automatic AND r.kind IN ('interval', 'calendar') AND s.refresh_on = 'schedule' AND num_nulls(s.tuned_interval, s.tuned_calendar) = 2
                                          AND s.refresh_interval IS NOT DISTINCT FROM (r.change ->> 'refresh_interval')::interval
                                          AND s.cron IS NOT DISTINCT FROM r.change ->> 'cron'
                                          AND s.calendar IS NOT DISTINCT FROM (r.change ->> 'calendar')::jsonb)
 CROSS JOIN mvscheduler.settings AS g
 CROSS JOIN LATERAL (SELECT greatest(r.decided_at, s.resumed_at, g.resumed_at, clock_timestamp() - g.keep_runs,
                                     CASE WHEN s.paused_until <= clock_timestamp() THEN s.paused_until END, CASE WHEN g.paused_until <= clock_timestamp() THEN g.paused_until END) AS since) AS k
 CROSS JOIN LATERAL (SELECT array_agg(n.started_at ORDER BY n.started_at) FILTER (WHERE n.state = 'succeeded' AND n.took IS NOT NULL) AS began,
                            count(*)::int AS ended, avg((n.state = 'failed')::int)::float8 AS failed
                       FROM mvscheduler.run AS n
                      WHERE n.view_id = r.view_id AND n.started_at >= k.since AND n.finished_at IS NOT NULL AND n.state <> 'skipped') AS x
 CROSS JOIN LATERAL (SELECT avg((n.state = 'failed')::int)::float8 AS failed
                       FROM mvscheduler.run AS n
                      WHERE n.view_id = r.view_id AND n.started_at < r.decided_at AND n.started_at >= r.decided_at - (clock_timestamp() - r.decided_at)
                        AND n.finished_at IS NOT NULL AND n.state <> 'skipped') AS y
 WHERE r.state = 'applied'
   AND r.measured ->> 'final' IS DISTINCT FROM 'true'
   AND s.enabled
   AND NOT (s.paused_at IS NOT NULL AND coalesce(s.paused_until, 'infinity') > clock_timestamp())
   AND NOT mvscheduler.paused_at(clock_timestamp())`)
	if err != nil {
		return nil, fmt.Errorf("read what is under observation: %w", err)
	}
	trials, err := pgx.CollectRows(rows, pgx.RowToStructByName[TrialRecord])
	if err != nil {
		return nil, fmt.Errorf("read what is under observation: %w", err)
	}
	return trials, nil
}

// NoteMeasured records what a change that a person accepted has come to so far.
func NoteMeasured(ctx context.Context, q Querier, id int64, measured map[string]any) error {
	document, err := json.Marshal(measured)
	if err == nil {
		_, err = q.Exec(ctx, `UPDATE mvscheduler.recommendation SET measured = $2::jsonb WHERE id = $1 AND state = 'applied' AND NOT automatic`, id, string(document))
	}
	if err != nil {
		return fmt.Errorf("measure recommendation %d: %w", id, err)
	}
	return nil
}

// Judged records what a change that the sidecar applied came to, and takes it back where that is asked: then what the row
// says is in force again. A row that a user's transaction holds is left for the next time.
func Judged(ctx context.Context, tx pgx.Tx, id, viewID int64, measured map[string]any, takeBack bool, why string) (bool, error) {
	document, err := json.Marshal(measured)
	if err != nil {
		return false, fmt.Errorf("judge recommendation %d: %w", id, err)
	}
	var done bool
	err = tx.QueryRow(ctx, `
WITH free AS (
    SELECT s.view_id
      FROM mvscheduler.view_state AS s
      JOIN mvscheduler.recommendation AS r ON r.id = $1 AND r.view_id = s.view_id AND r.state = 'applied'
     WHERE s.view_id = $2
       AND (s.tuned_by = $1 OR s.retained_by = $1)
       FOR UPDATE SKIP LOCKED
), back AS (
    UPDATE mvscheduler.view_state AS s
       SET tuned_interval = NULL, tuned_patience = NULL, tuned_calendar = NULL, tuned_by = NULL, reschedule = true
      FROM free AS f
     WHERE $4
       AND s.view_id = f.view_id
       AND s.tuned_by = $1
), shorter AS (
    UPDATE mvscheduler.view_state AS s
       SET retention_period = s.row_retention, retained_by = NULL
      FROM free AS f
     WHERE $4
       AND s.view_id = f.view_id
       AND s.retained_by = $1
)
UPDATE mvscheduler.recommendation AS r
   SET measured = $3::jsonb,
       state = CASE WHEN $4 THEN 'undone' ELSE r.state END,
       decided_at = CASE WHEN $4 THEN clock_timestamp() ELSE r.decided_at END,
       decision = CASE WHEN $4 THEN $5 ELSE r.decision END
  FROM free AS f
 WHERE r.id = $1
RETURNING true`, id, viewID, string(document), takeBack, why).Scan(&done)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("judge recommendation %d: %w", id, err)
	}
	return done, nil
}
