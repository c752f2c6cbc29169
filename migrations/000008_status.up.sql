-- What is: read-only views. They read private tables as mvscheduler_owner and show each role the rows
-- of views that it owns or could become the owner of.


CREATE VIEW mvscheduler.status WITH (security_barrier) AS
    WITH known AS (
        SELECT s.*, h.last_run_id, h.last_refresh_at, h.data_as_of, h.last_duration, h.method AS method_in_force, h.rows_estimate,
               h.size_bytes, h.consecutive_failures, h.last_sqlstate, h.last_error, h.auto_pause_reason,
               h.auto_paused_version = s.rearmed_at AS auto_paused,
               s.method = 'incremental' AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS q WHERE q.oid = s.query_relation::oid) AS without_query,
               s.paused_at IS NOT NULL AND coalesce(s.paused_until, 'infinity') > now() AS paused,
               (SELECT coalesce(' until ' || pg_catalog.date_trunc('second', nullif(g.paused_until, 'infinity'))::text, '') || coalesce(': ' || g.pause_reason, '') FROM mvscheduler.settings AS g WHERE g.paused_from <= now() AND coalesce(g.paused_until, 'infinity') > now()) AS all_paused,
               c.oid IS NOT NULL AS present,
               c.relowner, c.relname, n.nspname, c.relispopulated AS populated,
               greatest(coalesce(s.target, s.refresh_interval), CASE WHEN s.upstream <> '{}' THEN
                   (SELECT max(coalesce(u.target, u.refresh_interval)) FROM mvscheduler.view_state AS u WHERE u.view_id = ANY (s.upstream) AND u.refresh_on <> 'manual') END) AS goal,
               clock_timestamp() - h.data_as_of AS age,
               d.view_id IS NOT NULL AS redefined, d.method AS next_method,
               coalesce(a.id, q.run_id) AS run_id, a.state AS run_state, a.started_at AS run_started_at, q.requested_at AS asked_at,
               a.state = 'running' AND EXISTS (SELECT FROM mvscheduler.attempt AS t
                                                WHERE t.run_id = a.id AND t.outcome = 'running' AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(t.backend_pid))) AS lost, a.progress, a.sqlstate AS run_sqlstate, a.reason AS run_reason, a.attempts AS run_attempts
          FROM mvscheduler.view_state AS s
          LEFT JOIN mvscheduler.view_health AS h ON h.view_id = s.view_id
          LEFT JOIN mvscheduler.run AS a ON a.view_id = s.view_id AND a.state IN ('queued', 'running')
          LEFT JOIN LATERAL (SELECT p.run_id, p.requested_at FROM mvscheduler.request AS p WHERE p.view_id = s.view_id AND p.kind = 'refresh' ORDER BY p.id LIMIT 1) AS q ON true
          LEFT JOIN mvscheduler.redefinition AS d ON d.view_id = s.view_id
          LEFT JOIN pg_catalog.pg_class AS c ON c.oid = s.relation::oid AND c.relkind = CASE s.method WHEN 'incremental' THEN 'v' ELSE 'm' END
          LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE (SELECT mvscheduler.sees_all())
            OR s.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()))
    ), judged AS (
        SELECT k.*,
               CASE WHEN NOT k.present THEN 'missing'
                    WHEN k.data_as_of IS NULL OR NOT k.populated THEN 'never'
                    WHEN k.goal IS NULL OR k.refresh_on = 'manual' THEN 'fresh'
                    WHEN k.age <= k.goal + coalesce(k.last_duration, '0') + interval '10 seconds' THEN 'fresh'
                    WHEN k.age <= 2 * k.goal + coalesce(k.last_duration, '0') + interval '10 seconds' THEN 'late'
                    ELSE 'stale'
               END AS freshness,
               CASE WHEN k.run_state = 'running' AND k.progress ? 'waiting_for' THEN 'waiting'
                    WHEN k.run_state = 'running' THEN 'running'
                    WHEN k.paused OR k.auto_paused OR NOT k.enabled OR k.all_paused IS NOT NULL THEN 'paused'
                    WHEN k.run_state = 'queued' OR k.asked_at IS NOT NULL THEN 'queued'
                    ELSE 'idle'
               END AS activity
          FROM known AS k
    ), crowded AS (   -- owners of whom as many runs are under way as may be
        SELECT w.owner, pg_catalog.format('waits for another run of %s to end, since settings.max_runs_per_owner is %s', w.owner, g.max_runs_per_owner) AS reason
          FROM mvscheduler.settings AS g
         CROSS JOIN mvscheduler.run AS w
         WHERE w.state = 'running' OR w.state = 'queued' AND w.counted = 0
         GROUP BY w.owner, g.max_runs_per_owner
        HAVING count(*) >= g.max_runs_per_owner
           AND EXISTS (SELECT FROM mvscheduler.attempt AS t WHERE t.owner = w.owner AND t.outcome = 'running' AND EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(t.backend_pid)))
    )
    SELECT j.view_id AS id,
           j.name,
           j.freshness,
           j.activity,
           pg_catalog.concat_ws('; ',
               CASE WHEN NOT j.present AND EXISTS (SELECT FROM mvscheduler.piece AS p JOIN pg_catalog.pg_class AS t ON t.oid = p.relation::oid AND t.relkind = 'p' WHERE p.view_id = j.view_id AND p.kind = 'data')
                    THEN pg_catalog.format('the view was dropped or replaced by hand, and its data is still there: SELECT mvscheduler.resume_view(%L) makes it again, when nothing else has its name', j.name)
                    WHEN NOT j.present THEN pg_catalog.format('the view was dropped or replaced by hand: mvscheduler export | mvscheduler import - creates it again, SELECT mvscheduler.drop_view(%L) gives it up', j.name) END,
               CASE WHEN j.present AND j.without_query
                    THEN pg_catalog.format('its query was dropped, perhaps with what it reads, and it cannot be refreshed: SELECT mvscheduler.resume_view(%L) makes it anew', j.name) END,
               CASE WHEN NOT j.enabled THEN 'disabled' END,
               CASE WHEN j.paused THEN 'paused' || coalesce(' until ' || pg_catalog.date_trunc('second', j.paused_until)::text, '') || coalesce(': ' || j.pause_reason, '') END,
               CASE WHEN j.all_paused IS NOT NULL THEN 'every view is paused' || j.all_paused END,
               CASE WHEN j.auto_paused AND j.present THEN 'paused by mvscheduler' || CASE WHEN j.without_query THEN '' ELSE ': ' || j.auto_pause_reason END END,
               CASE WHEN j.redefined THEN pg_catalog.format('a new version%s %s, the old one is served until then', CASE WHEN (j.next_method = 'incremental') <> (j.method = 'incremental') THEN pg_catalog.format(' by method "%s"', j.next_method) WHEN j.method <> 'incremental' THEN ' with other columns' END,
                                                            CASE WHEN j.run_state = 'running' THEN 'is being built' || coalesce(' (' || (j.progress ->> 'phase') || coalesce(': ' || (j.progress ->> 'what') || ', ' || (j.progress ->> 'percent') || ' %', '') || ')', '')
                                                                 WHEN j.refresh_on = 'manual' AND j.run_state IS NULL THEN 'waits for a refresh to be asked for'
                                                                 ELSE 'waits to be built' END) END,
               CASE WHEN NOT j.redefined AND j.run_state = 'running' AND j.progress ? 'what' THEN pg_catalog.format('%s: %s, %s %%', j.progress ->> 'phase', j.progress ->> 'what', j.progress ->> 'percent') END,
               CASE WHEN j.progress ? 'waiting_for' THEN j.progress ->> 'waiting_for' END,
               CASE WHEN j.present AND mvscheduler.qualified_name(j.nspname, j.relname) <> j.name
                    THEN pg_catalog.format('it is now called %s: UPDATE its name', mvscheduler.qualified_name(j.nspname, j.relname)) END,
               CASE WHEN j.present AND j.relowner <> j.owner::oid THEN 'it was given to another owner by hand: UPDATE its owner' END,
               CASE WHEN NOT j.auto_paused IS TRUE AND j.consecutive_failures > 0
                    THEN pg_catalog.format('%s failed attempt%s (%s): %s', j.consecutive_failures, CASE WHEN j.consecutive_failures > 1 THEN 's' ELSE '' END,
                                           j.last_sqlstate, pg_catalog.left(j.last_error, 500))
                         || coalesce('; ' || (SELECT r.reason FROM mvscheduler.run AS r WHERE r.id = j.last_run_id), '') END,
               CASE WHEN j.lost THEN 'the sidecar that ran it is gone, and another has not taken it up yet: is mvscheduler serve running?' END,
               CASE WHEN j.run_state IS NULL AND j.asked_at < clock_timestamp() - interval '5 seconds'
                    THEN coalesce((WITH RECURSIVE below(view_id) AS (
                                       SELECT pg_catalog.unnest(j.upstream)
                                       UNION
                                       SELECT pg_catalog.unnest(v.upstream) FROM below AS b JOIN mvscheduler.view_state AS v ON v.view_id = b.view_id)
                                   SELECT 'waits for the refresh of ' || pg_catalog.string_agg(u.name, ', ' ORDER BY u.name) || ', which was asked for as well'
                                     FROM mvscheduler.view_state AS u
                                    WHERE u.view_id IN (SELECT b.view_id FROM below AS b)
                                      AND u.view_id <> j.view_id
                                      AND (u.view_id = ANY (ARRAY(SELECT q.view_id FROM mvscheduler.requested_view AS q))   -- EXISTS would be hashed: of all requests that there are
                                           OR EXISTS (SELECT FROM mvscheduler.run AS w WHERE w.view_id = u.view_id AND w.state IN ('queued', 'running')
                                                      AND (w.cause = 'manual' OR EXISTS (SELECT FROM mvscheduler.run AS q WHERE q.joined_run = w.id))))),
                                  (SELECT c.reason FROM crowded AS c WHERE c.owner = j.owner),
                                  'no sidecar has taken up the refresh that was asked for: is mvscheduler serve running?')
                    WHEN j.freshness IN ('never', 'late', 'stale') AND coalesce(j.consecutive_failures, 0) = 0 AND j.activity IN ('idle', 'queued')
                         AND coalesce(j.next_due, CASE WHEN j.reschedule THEN j.rearmed_at END) < now() - interval '15 seconds'
                    THEN coalesce((SELECT 'waits until it can be filled from ' || pg_catalog.string_agg(u.name, ', ' ORDER BY u.name) FROM mvscheduler.view_state AS u LEFT JOIN mvscheduler.view_health AS uh ON uh.view_id = u.view_id
                                    WHERE j.freshness = 'never' AND u.view_id = ANY (j.upstream) AND u.view_id <> j.view_id AND uh.data_as_of IS NULL),
                                  (SELECT c.reason FROM crowded AS c WHERE c.owner = j.owner),
                                  'no sidecar has taken it up: is mvscheduler serve running?')
                    WHEN j.freshness = 'stale' AND coalesce(j.consecutive_failures, 0) = 0 AND j.last_duration > j.goal
                    THEN pg_catalog.format('a refresh takes %s and its target is %s: give it a longer interval, or make its query faster', pg_catalog.date_trunc('second', j.last_duration), j.goal)
                    WHEN j.freshness = 'stale' AND coalesce(j.consecutive_failures, 0) = 0 AND j.run_state = 'running' AND (j.progress ? 'waiting_for') IS NOT TRUE
                    THEN pg_catalog.format('the refresh that runs began at %s', pg_catalog.date_trunc('second', j.run_started_at))
                    WHEN j.freshness = 'stale' AND coalesce(j.consecutive_failures, 0) = 0 AND j.activity = 'idle' AND j.data_as_of < j.last_refresh_at - 2 * j.goal
                    THEN 'it was refreshed, and what it shows is older: a managed view below it is stale, or a long transaction keeps the proof back that nothing changed' END,
               CASE WHEN j.freshness = 'never' AND j.data_as_of IS NOT NULL THEN pg_catalog.format('it was emptied by hand: SELECT mvscheduler.refresh_view(%L) fills it again, and so does its next refresh', j.name) END,
               CASE WHEN j.freshness = 'never' AND j.data_as_of IS NULL AND j.activity = 'idle' AND coalesce(j.consecutive_failures, 0) = 0
                         AND (SELECT r.state FROM mvscheduler.run AS r WHERE r.view_id = j.view_id ORDER BY r.id DESC LIMIT 1) = 'cancelled'
                    THEN pg_catalog.format('its first refresh was cancelled: SELECT mvscheduler.refresh_view(%L) fills it, and so does its next refresh', j.name) END,
               CASE WHEN j.freshness = 'never' AND j.data_as_of IS NULL AND j.adopted AND j.last_refresh_at IS NULL THEN 'adopted: how old its contents are is known after its first refresh' END,
               CASE WHEN j.freshness = 'never' AND j.data_as_of IS NULL AND j.last_refresh_at IS NOT NULL
                    THEN pg_catalog.format('it was refreshed, but how old its contents are is known only when %s was refreshed too',
                                           (SELECT pg_catalog.string_agg(u.name, ', ' ORDER BY u.name) FROM mvscheduler.view_state AS u LEFT JOIN mvscheduler.view_health AS uh ON uh.view_id = u.view_id
                                             WHERE u.view_id = ANY (j.upstream) AND uh.data_as_of IS NULL)) END,
               CASE WHEN j.present AND NOT coalesce(j.auto_paused, false) AND j.refresh_on = 'upstream' AND NOT EXISTS (SELECT FROM mvscheduler.view_state AS u WHERE u.view_id = ANY (j.upstream))
                    THEN 'it reads no managed view, so nothing refreshes it: name one in its query, or set refresh_on to ''schedule''' END,
               CASE WHEN j.freshness = 'never' AND j.refresh_on = 'manual' THEN pg_catalog.format('refreshed only when asked: SELECT mvscheduler.refresh_view(%L)', j.name) END
           ) AS reason,
           j.data_as_of,
           j.age AS lag,
           CASE WHEN j.refresh_on <> 'manual' THEN j.goal END AS target,
           j.last_refresh_at,
           j.last_duration,
           CASE WHEN j.enabled AND NOT coalesce(j.auto_paused, false) AND j.all_paused IS NULL AND (NOT j.paused OR j.paused_until IS NOT NULL) THEN greatest(j.next_due, CASE WHEN j.paused THEN j.paused_until END) END AS next_refresh_at,
           coalesce(j.consecutive_failures, 0) AS consecutive_failures,
           j.last_sqlstate,
           j.last_error,
           j.size_bytes,
           j.rows_estimate,
           coalesce(j.method_in_force, j.method) AS method,
           j.adopted,
           ARRAY(SELECT u.name FROM mvscheduler.view_state AS u WHERE u.view_id = ANY (j.upstream) ORDER BY u.name) AS upstream,
           j.owner,
           j.refresh_on,
           j.refresh_interval,
           j.cron,
           j.calendar,
           j.timezone,
           j.enabled,
           j.paused_until,
           j.progress ->> 'waiting_for' AS waiting_for,
           j.run_id,
           (SELECT count(*) FROM mvscheduler.kept AS k WHERE k.target = j.view_id AND k.detached_at IS NOT NULL) AS kept_partitions,
           j.tuned_interval,
           j.tuned_patience,
           CASE WHEN j.retention_period > j.row_retention THEN j.retention_period END AS tuned_retention,
           j.tuned_calendar
      FROM judged AS j;

-- Two views, each a barrier of its own: in a view that is a UNION ALL the planner mixes the user's conditions
-- with ours.
CREATE VIEW mvscheduler.begun_runs WITH (security_barrier) AS
    SELECT r.id, r.view_name, r.kind, r.cause, r.slot, r.state, r.attempts, r.queued_at, r.started_at, r.finished_at, r.method,
           r.rows, r.buckets, r.size_bytes, r.wal_bytes, r.sqlstate, r.error, r.reason, r.worker, r.progress,
           r.due_at, r.data_as_of, r.missed_slots, r.joined_run, r.owner, r.view_id, r.took, r.changed, r.readers_waiting, r.gave_up
      FROM mvscheduler.run AS r
     WHERE (SELECT mvscheduler.sees_all())
        OR r.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));

CREATE VIEW mvscheduler.requested_runs WITH (security_barrier) AS
    SELECT q.run_id AS id, s.name AS view_name, q.requested_at, s.owner, q.view_id, q.cause,
           coalesce(q.reason || '; ', '') || coalesce('begins after run ' || (SELECT min(a.id) FROM mvscheduler.run AS a WHERE a.view_id = q.view_id AND a.state IN ('queued', 'running')), 'waits for a sidecar to take it up')
               || CASE WHEN EXISTS (SELECT FROM mvscheduler.request AS c WHERE c.kind = 'cancel' AND c.view_id = q.view_id AND c.target_run = q.run_id) THEN ', which will cancel it' ELSE '' END AS reason
      FROM mvscheduler.request AS q
      JOIN mvscheduler.view_state AS s ON s.view_id = q.view_id
     WHERE q.kind = 'refresh'
       AND ((SELECT mvscheduler.sees_all()) OR s.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles())));

CREATE VIEW mvscheduler.runs WITH (security_barrier) AS
    SELECT * FROM mvscheduler.begun_runs
    UNION ALL
    SELECT q.id, q.view_name, 'refresh', q.cause, q.requested_at, 'queued', 0, q.requested_at, NULL, NULL, NULL,
           NULL, NULL, NULL, NULL, NULL, NULL, q.reason, NULL, NULL, q.requested_at, NULL, 0, NULL, q.owner, q.view_id, NULL, NULL, NULL, NULL
      FROM mvscheduler.requested_runs AS q;

CREATE VIEW mvscheduler.attempts WITH (security_barrier) AS
    SELECT a.run_id, a.attempt, a.outcome, a.started_at, a.finished_at, a.backend_pid, a.worker, a.sqlstate, a.error
      FROM mvscheduler.attempt AS a
     WHERE (SELECT mvscheduler.sees_all())
        OR a.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));

CREATE VIEW mvscheduler.audit_log WITH (security_barrier) AS
    SELECT e.id, e.at, e.role, e.action, e.view_name, e.old, e.new
      FROM mvscheduler.audit_entry AS e
     WHERE (SELECT mvscheduler.sees_all())
        OR e.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));

CREATE FUNCTION mvscheduler.cancel_run(run bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r record;
BEGIN
    SELECT u.view_id, u.state INTO r FROM mvscheduler.runs AS u WHERE u.id = run;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'run % does not exist', run
            USING ERRCODE = 'no_data_found', HINT = 'List the runs that you may see: SELECT id, view_name, state FROM mvscheduler.runs.';
    ELSIF r.state NOT IN ('queued', 'running') THEN
        RAISE EXCEPTION 'run % has already ended (%)', run, r.state USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO mvscheduler.request (kind, view_id, target_run) VALUES ('cancel', r.view_id, run);
END $$;
COMMENT ON FUNCTION mvscheduler.cancel_run(bigint) IS 'Asks the sidecar to cancel a run; the old contents stay. The slot is not run again.';

COMMENT ON VIEW mvscheduler.status IS 'One row a managed view: how fresh it is, what is going on, and why.';
COMMENT ON COLUMN mvscheduler.status.id IS 'views.id';
COMMENT ON COLUMN mvscheduler.status.name IS 'views.name';
COMMENT ON COLUMN mvscheduler.status.freshness IS 'fresh (lag within the target), late (up to twice the target) or stale (more), each with a grace of last_duration and 10 seconds, never (no contents yet, or nobody knows how old they are) or missing (dropped by hand).';
COMMENT ON COLUMN mvscheduler.status.activity IS 'idle, queued, running, waiting (for a lock) or paused.';
COMMENT ON COLUMN mvscheduler.status.reason IS 'What is wrong and what to do, in a sentence; empty when nothing is.';
COMMENT ON COLUMN mvscheduler.status.data_as_of IS 'The contents show at least everything committed before this instant.';
COMMENT ON COLUMN mvscheduler.status.lag IS 'Age of data_as_of.';
COMMENT ON COLUMN mvscheduler.status.target IS 'Staleness that the schedule in force promises (see tuned_interval and tuned_calendar), no less than that of the managed views that it reads; NULL = no clock.';
COMMENT ON COLUMN mvscheduler.status.last_refresh_at IS 'When the last successful refresh ended.';
COMMENT ON COLUMN mvscheduler.status.last_duration IS 'How long it took.';
COMMENT ON COLUMN mvscheduler.status.next_refresh_at IS 'When the next run is due, unless readers are owed one earlier (see tuned_patience); NULL = no clock, or paused.';
COMMENT ON COLUMN mvscheduler.status.consecutive_failures IS 'Failed attempts since the last success.';
COMMENT ON COLUMN mvscheduler.status.last_sqlstate IS 'SQLSTATE of the last failed attempt; NULL after a success.';
COMMENT ON COLUMN mvscheduler.status.last_error IS 'Message of the last failed attempt; NULL after a success.';
COMMENT ON COLUMN mvscheduler.status.size_bytes IS 'Total size after the last refresh, indexes and TOAST included.';
COMMENT ON COLUMN mvscheduler.status.rows_estimate IS 'Rows after the last refresh.';
COMMENT ON COLUMN mvscheduler.status.method IS 'Method of the last refresh, or the one asked for when there was none.';
COMMENT ON COLUMN mvscheduler.status.adopted IS 'True when the materialized view existed before mvscheduler managed it.';
COMMENT ON COLUMN mvscheduler.status.upstream IS 'Managed views that its query reads.';
COMMENT ON COLUMN mvscheduler.status.owner IS 'views.owner';
COMMENT ON COLUMN mvscheduler.status.refresh_on IS 'views.refresh_on';
COMMENT ON COLUMN mvscheduler.status.refresh_interval IS 'views.refresh_interval';
COMMENT ON COLUMN mvscheduler.status.cron IS 'views.cron';
COMMENT ON COLUMN mvscheduler.status.calendar IS 'views.calendar';
COMMENT ON COLUMN mvscheduler.status.timezone IS 'views.timezone';
COMMENT ON COLUMN mvscheduler.status.enabled IS 'views.enabled';
COMMENT ON COLUMN mvscheduler.status.paused_until IS 'views.paused_until';
COMMENT ON COLUMN mvscheduler.status.waiting_for IS 'Which lock the run waits for and who holds it.';
COMMENT ON COLUMN mvscheduler.status.run_id IS 'The run that is queued or running.';
COMMENT ON COLUMN mvscheduler.status.tuned_interval IS 'The interval that the optimizer has put in the place of refresh_interval, since optimize is auto; NULL = none.';
COMMENT ON COLUMN mvscheduler.status.tuned_calendar IS 'The calendar that the optimizer has put in the place of refresh_interval, since optimize is auto; NULL = none.';
COMMENT ON COLUMN mvscheduler.status.tuned_patience IS 'Between two slots of tuned_interval the view is refreshed as well when the age of what readers saw since the last refresh adds up to so many seconds; NULL = never.';
COMMENT ON COLUMN mvscheduler.status.tuned_retention IS 'The longer period that the optimizer has put in the place of retention_period, since optimize is auto and readers asked for what had left; NULL = none.';
COMMENT ON COLUMN mvscheduler.status.kept_partitions IS 'Partitions that retention has put aside and that can be restored; see restore_view and prunings.';
COMMENT ON VIEW mvscheduler.runs IS 'One row a slot: when it was due, what became of it.';
COMMENT ON VIEW mvscheduler.begun_runs IS 'Private: the runs that a sidecar has taken up.';
COMMENT ON VIEW mvscheduler.requested_runs IS 'Private: the runs that were asked for and no sidecar has taken up yet.';
COMMENT ON COLUMN mvscheduler.requested_runs.id IS 'Identifier that the run will have.';
COMMENT ON COLUMN mvscheduler.requested_runs.view_name IS 'views.name';
COMMENT ON COLUMN mvscheduler.requested_runs.requested_at IS 'When it was asked for.';
COMMENT ON COLUMN mvscheduler.requested_runs.owner IS 'views.owner';
COMMENT ON COLUMN mvscheduler.requested_runs.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.requested_runs.cause IS 'request.cause';
COMMENT ON COLUMN mvscheduler.requested_runs.reason IS 'What it waits for.';
COMMENT ON VIEW mvscheduler.attempts IS 'One row a try of a run.';
COMMENT ON VIEW mvscheduler.audit_log IS 'Who changed what: catalog rows, refresh and cancel requests, automatic pauses.';
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN   -- the columns of these views mean what the columns of their tables mean
        SELECT v.relname AS view_name, a.attname, col_description(t.oid, b.attnum) AS words
          FROM (VALUES ('runs', 'run'), ('begun_runs', 'run'), ('attempts', 'attempt'), ('audit_log', 'audit_entry')) AS p(v, t)
          JOIN pg_class AS v ON v.oid = ('mvscheduler.' || p.v)::regclass
          JOIN pg_class AS t ON t.oid = ('mvscheduler.' || p.t)::regclass
          JOIN pg_attribute AS a ON a.attrelid = v.oid AND a.attnum > 0
          JOIN pg_attribute AS b ON b.attrelid = t.oid AND b.attname = a.attname
    LOOP
        EXECUTE format('COMMENT ON COLUMN mvscheduler.%I.%I IS %L', c.view_name, c.attname, c.words);
    END LOOP;
END $$;

GRANT SELECT ON mvscheduler.status, mvscheduler.runs, mvscheduler.attempts, mvscheduler.audit_log TO mvscheduler_user, mvscheduler_worker;
