-- Bookkeeping, as mvscheduler_owner: no dynamic SQL, pinned search_path, EXECUTE for nobody else
-- (a user could otherwise attach the function to a table of their own and forge entries).
-- A hint is left out when the queue of notifications is half full: full, which any role can make it, it
-- would be an error.

CREATE FUNCTION mvscheduler.changed_columns(v jsonb, other jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT pg_catalog.jsonb_object_agg(e.key, e.value)
      FROM pg_catalog.jsonb_each(v) AS e
     WHERE e.key <> ALL ('{updated_at,updated_by,created_at}'::text[])
       AND (other IS NULL OR e.value IS DISTINCT FROM other -> e.key)
       AND (other IS NOT NULL OR e.value <> 'null'::jsonb);
END;
COMMENT ON FUNCTION mvscheduler.changed_columns(jsonb, jsonb) IS 'Members of v that differ from other; all that are not null when there is no other.';

CREATE FUNCTION mvscheduler.views_bookkeeping() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
AS $$
DECLARE
    actor    text := current_setting('mvscheduler.actor');
    relid    oid;
    reads    bigint[];
    mended   boolean;
    slower   record;
    shorter  record;
    author   regrole;
    served   text := NEW.method;  -- of the relations that there are
    made     text[];              -- the view and its plain view with the query, where they were made again
    width    interval := NEW.bucket_width;   -- of what is served
    ceases   boolean := false;    -- to be incremental: what is served is so until the swap
    parsed   boolean;             -- whether the text of the row went into <name>__query
    reader   oid;                 -- the plain view with the query; an adopted view has none
    same_clock boolean := false;  -- the row says what it said of its clock and of the bounds: what the optimizer put in its place stays
    populated boolean := false;   -- a view that was adopted with its contents waits for its clock
    old_row  jsonb;
    new_row  jsonb;
BEGIN
    -- A function that ran while the text was parsed may have changed or deleted this very row: nothing is recorded
    -- but what it says now.
    IF TG_OP <> 'DELETE' AND NOT EXISTS (SELECT FROM mvscheduler.views AS x WHERE x.id = NEW.id AND x IS NOT DISTINCT FROM NEW) THEN
        RAISE EXCEPTION 'the row of managed view % was changed by what its own change runs', NEW.name USING ERRCODE = 'triggered_data_change_violation';
    END IF;
    IF TG_OP <> 'INSERT' THEN old_row := to_jsonb(OLD); END IF;
    IF TG_OP <> 'DELETE' THEN new_row := to_jsonb(NEW); END IF;
    INSERT INTO mvscheduler.audit_entry (role, action, view_id, view_name, owner, old, new)
    VALUES (actor, lower(TG_OP),
            CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END,
            CASE WHEN TG_OP = 'DELETE' THEN OLD.name ELSE NEW.name END,
            CASE WHEN TG_OP = 'DELETE' THEN OLD.owner ELSE NEW.owner END,
            mvscheduler.changed_columns(old_row, new_row), mvscheduler.changed_columns(new_row, old_row));

    IF TG_OP = 'DELETE' THEN
        DELETE FROM mvscheduler.view_state AS s WHERE s.view_id = OLD.id;
        PERFORM pg_notify('mvscheduler_due', '') WHERE pg_notification_queue_usage() < 0.5;
        RETURN NULL;
    END IF;

    IF TG_OP = 'INSERT' THEN
        author := CASE WHEN NEW.adopted THEN NEW.owner ELSE quote_ident(actor)::regrole END;
        parsed := true;
        relid := current_setting('mvscheduler.relation')::oid;
        reader := mvscheduler.query_relation_of(relid);
        IF NEW.method = 'incremental' THEN
            reader := mvscheduler.query_relation_told(NEW.owner);
        END IF;
        populated := NEW.adopted AND (SELECT c.relispopulated FROM pg_class AS c WHERE c.oid = relid);
    ELSE
        SELECT s.relation::oid, s.query_relation::oid, h.auto_paused_version = s.rearmed_at, s.text_author, s.method, s.bucket_width INTO relid, reader, mended, author, served, width
          FROM mvscheduler.view_state AS s
          LEFT JOIN mvscheduler.view_health AS h ON h.view_id = s.view_id
         WHERE s.view_id = NEW.id;
    END IF;
    ceases := served = 'incremental' AND NEW.method <> 'incremental';
    IF TG_OP = 'UPDATE' THEN
        -- Who wrote all of it anew is its author; so is who added to what an author wrote that can become that role.
        IF NEW.query <> OLD.query
           OR (NEW.search_path, NEW.indexes) IS DISTINCT FROM (OLD.search_path, OLD.indexes) AND mvscheduler.can_become(author, quote_ident(actor)::regrole) THEN
            author := quote_ident(actor)::regrole;
        END IF;
        parsed := CASE current_setting('mvscheduler.pieces', true)
                       WHEN '' THEN mvscheduler.parses_query(OLD, NEW)
                       ELSE current_setting('mvscheduler.pieces', true) NOT LIKE '% %'
                  END;
        made := string_to_array(nullif(current_setting('mvscheduler.mended', true), ''), ' ', 'none');
        IF EXISTS (SELECT FROM unnest(made) AS m WHERE m IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = m::oid AND c.relkind = 'v' AND c.relowner = NEW.owner::oid)) THEN
            RAISE EXCEPTION 'what managed view % is made of is not what it should be', NEW.name USING ERRCODE = 'wrong_object_type';
        END IF;
        relid := coalesce(made[1]::oid, relid);
        reader := coalesce(made[2]::oid, reader);
        parsed := parsed OR made[2] IS NOT NULL;
        same_clock := (NEW.refresh_interval, NEW.cron, NEW.calendar, NEW.timezone, NEW.refresh_on, NEW.optimize, NEW.min_interval, NEW.max_interval)
                      IS NOT DISTINCT FROM (OLD.refresh_interval, OLD.cron, OLD.calendar, OLD.timezone, OLD.refresh_on, OLD.optimize, OLD.min_interval, OLD.max_interval);
    END IF;
    reads := mvscheduler.upstream_of(CASE WHEN served = 'incremental' THEN reader ELSE relid END);   -- which reads its data alone

    INSERT INTO mvscheduler.view_state AS s (
        view_id, name, relation, query_relation, owner, text_author, query_seal, method, refresh_interval, cron, calendar, timezone, refresh_on, catchup, priority,
        statement_timeout, lock_timeout, work_mem, max_attempts, max_size_bytes, change_tracking, "analyze", enabled, adopted, row_retention, retention_period, time_column, bucket_width, lateness,
        optimize, min_interval, max_interval, min_retention, max_retention, paused_at, paused_until, pause_reason, rearmed_at, upstream, jitter_key, next_slot, next_due, next_cause)
    VALUES (
        NEW.id, NEW.name, relid, reader, NEW.owner, author, CASE TG_OP WHEN 'INSERT' THEN mvscheduler.seal_of(coalesce(reader, CASE WHEN NEW.adopted THEN relid END)) END, NEW.method, NEW.refresh_interval, NEW.cron, NEW.calendar,
        NEW.timezone, NEW.refresh_on, NEW.catchup, NEW.priority, NEW.statement_timeout, NEW.lock_timeout, NEW.work_mem,
        NEW.max_attempts, NEW.max_size_bytes, NEW.change_tracking, NEW."analyze", NEW.enabled, NEW.adopted, NEW.retention_period, NEW.retention_period, NEW.time_column, NEW.bucket_width, NEW.lateness,
        NEW.optimize, NEW.min_interval, NEW.max_interval, NEW.min_retention, NEW.max_retention, NEW.paused_at, NEW.paused_until, NEW.pause_reason, clock_timestamp(), reads,
        coalesce((SELECT min(u.jitter_key) FROM mvscheduler.view_state AS u WHERE u.view_id = ANY (reads)), NEW.id),
        CASE WHEN NEW.refresh_on <> 'manual' THEN clock_timestamp() END,
        CASE WHEN NEW.refresh_on <> 'manual' THEN clock_timestamp() END,
        CASE WHEN NEW.refresh_on <> 'manual' AND NOT populated THEN 'initial' END)
    ON CONFLICT (view_id) DO UPDATE
       SET name = EXCLUDED.name,
           relation = CASE WHEN made[1] IS NOT NULL THEN EXCLUDED.relation ELSE s.relation END,
           query_relation = CASE WHEN made[2] IS NOT NULL THEN EXCLUDED.query_relation ELSE s.query_relation END,
           owner = EXCLUDED.owner,
           text_author = EXCLUDED.text_author,
           query_seal = CASE WHEN parsed THEN mvscheduler.seal_of(coalesce(made[2]::oid, s.query_relation, CASE WHEN EXCLUDED.adopted THEN s.relation END)) ELSE s.query_seal END,
           method = CASE WHEN (EXCLUDED.method = 'incremental') = (s.method = 'incremental') THEN EXCLUDED.method ELSE s.method END,   -- the swap changes what it is made of
           refresh_interval = EXCLUDED.refresh_interval,
           cron = EXCLUDED.cron,
           calendar = EXCLUDED.calendar,
           timezone = EXCLUDED.timezone,
           refresh_on = EXCLUDED.refresh_on,
           catchup = EXCLUDED.catchup,
           priority = EXCLUDED.priority,
           statement_timeout = EXCLUDED.statement_timeout,
           lock_timeout = EXCLUDED.lock_timeout,
           work_mem = EXCLUDED.work_mem,
           max_attempts = EXCLUDED.max_attempts,
           max_size_bytes = EXCLUDED.max_size_bytes,
           change_tracking = EXCLUDED.change_tracking,
           "analyze" = EXCLUDED."analyze",
           enabled = EXCLUDED.enabled,
           adopted = EXCLUDED.adopted,
           row_retention = EXCLUDED.row_retention,
           retention_period = CASE WHEN (EXCLUDED.row_retention, EXCLUDED.optimize, EXCLUDED.max_retention)
                                        IS NOT DISTINCT FROM (s.row_retention, s.optimize, s.max_retention) THEN s.retention_period ELSE EXCLUDED.row_retention END,
           time_column = CASE WHEN ceases THEN s.time_column ELSE EXCLUDED.time_column END,
           bucket_width = CASE WHEN ceases THEN s.bucket_width ELSE EXCLUDED.bucket_width END,
           lateness = CASE WHEN ceases THEN s.lateness ELSE EXCLUDED.lateness END,
           optimize = EXCLUDED.optimize,
           min_interval = EXCLUDED.min_interval,
           max_interval = EXCLUDED.max_interval,
           min_retention = EXCLUDED.min_retention,
           max_retention = EXCLUDED.max_retention,
           tuned_interval = CASE WHEN same_clock THEN s.tuned_interval END,
           tuned_patience = CASE WHEN same_clock THEN s.tuned_patience END,
           tuned_calendar = CASE WHEN same_clock THEN s.tuned_calendar END,
           paused_at = EXCLUDED.paused_at,
           paused_until = EXCLUDED.paused_until,
           pause_reason = EXCLUDED.pause_reason,
           resumed_at = CASE WHEN s.paused_at IS NOT NULL AND EXCLUDED.paused_at IS NULL OR NOT s.enabled AND EXCLUDED.enabled OR mended
                             THEN EXCLUDED.rearmed_at ELSE s.resumed_at END,
           rearmed_at = EXCLUDED.rearmed_at,
           upstream = EXCLUDED.upstream,
           jitter_key = EXCLUDED.jitter_key,
           reschedule = s.reschedule OR (EXCLUDED.refresh_interval, EXCLUDED.cron, EXCLUDED.calendar, EXCLUDED.timezone, EXCLUDED.refresh_on)
                                        IS DISTINCT FROM (s.refresh_interval, s.cron, s.calendar, s.timezone, s.refresh_on)
                        OR num_nonnulls(s.tuned_interval, s.tuned_calendar) > 0 AND NOT same_clock;
    IF NEW.refresh_on = 'upstream' AND coalesce(cardinality(reads), 0) = 0
       AND (TG_OP = 'INSERT' OR (NEW.refresh_on, NEW.query) IS DISTINCT FROM (OLD.refresh_on, OLD.query)) THEN
        RAISE WARNING 'view "%" has refresh_on = ''upstream'' and reads no managed view: nothing will refresh it after the first time', NEW.name
            USING HINT = 'Name a managed view in its query, or set refresh_on to ''schedule''.';
    END IF;
    IF NEW.refresh_on = 'schedule' AND cardinality(reads) > 0 AND (TG_OP = 'INSERT' OR (NEW.refresh_interval, NEW.query) IS DISTINCT FROM (OLD.refresh_interval, OLD.query)) THEN
        FOR slower IN
            SELECT u.name, u.refresh_interval FROM mvscheduler.view_state AS u
             WHERE u.view_id = ANY (reads) AND u.refresh_on = 'schedule' AND u.refresh_interval > NEW.refresh_interval
             ORDER BY u.refresh_interval DESC, u.name LIMIT 1
        LOOP
            RAISE WARNING 'view "%" is refreshed every %, and reads % which is refreshed every %', NEW.name, NEW.refresh_interval, slower.name, slower.refresh_interval
                USING DETAIL = 'It cannot be younger than what it reads, and most of its refreshes find nothing new.', HINT = 'Set refresh_on to ''upstream'', or give it no shorter an interval.';
        END LOOP;
    END IF;
    IF TG_OP = 'INSERT' AND NEW.method = 'incremental' AND cardinality(reads) > 0 THEN
        FOR shorter IN
            SELECT u.name, u.retention_period FROM mvscheduler.view_state AS u
             WHERE u.view_id = ANY (reads) AND u.method = 'incremental' AND u.retention_period IS NOT NULL
               AND (NEW.retention_period IS NULL OR now() - u.retention_period > now() - NEW.retention_period)
             ORDER BY now() - u.retention_period DESC, u.name LIMIT 1
        LOOP
            RAISE NOTICE 'managed view % begins with what % has, which keeps %', NEW.name, shorter.name, shorter.retention_period
                USING DETAIL = format('What is older below %s never gets into %s. Where there is any, no retention lets rows below go as long as that view keeps them.', shorter.name, NEW.name),
                      HINT = format('Where it shall be in it, INSERT %s without retention_period, and set retention_period of %1$s when %s is filled.', shorter.name, NEW.name);
        END LOOP;
    END IF;
    IF NEW.optimize = 'auto' AND (NEW.cron IS NOT NULL OR NEW.calendar IS NOT NULL OR NEW.refresh_on <> 'schedule')
       AND (TG_OP = 'INSERT' OR (NEW.optimize, NEW.cron IS NULL, NEW.calendar IS NULL, NEW.refresh_on) IS DISTINCT FROM (OLD.optimize, OLD.cron IS NULL, OLD.calendar IS NULL, OLD.refresh_on)) THEN
        RAISE NOTICE 'managed view % has optimize = ''auto'', and a clock that is not tuned', NEW.name
            USING DETAIL = 'Only a refresh_interval is tuned: cron, a calendar and refresh_on say when to refresh, and stay as they are.',
                  HINT = 'To let the sidecar choose, give it a refresh_interval.';
    END IF;
    IF populated THEN
        UPDATE mvscheduler.view_state AS s
           SET next_slot = NULL, next_due = NULL, reschedule = true
         WHERE s.view_id = NEW.id;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.method = 'incremental'
       AND (NEW.query, NEW.search_path, NEW.bucket_width, NEW.timezone, NEW.owner) IS DISTINCT FROM (OLD.query, OLD.search_path, width, OLD.timezone, OLD.owner) THEN
        INSERT INTO mvscheduler.dirt (view_id, lo, hi) VALUES (NEW.id, '-infinity', 'infinity');
    END IF;
    -- What was edited is tried at once: a new query becomes visible at the next refresh, and so should it be
    -- soon; and who ends an automatic pause wants to see that it works.
    IF TG_OP = 'UPDATE' AND NEW.refresh_on <> 'manual'
       AND (mended OR made IS NOT NULL OR current_setting('mvscheduler.pieces', true) <> '' OR (NEW.query, NEW.search_path, NEW.owner, NEW.retention_period, NEW.time_column)
                     IS DISTINCT FROM (OLD.query, OLD.search_path, OLD.owner, OLD.retention_period, OLD.time_column)) THEN
        UPDATE mvscheduler.view_state AS s
           SET next_slot = clock_timestamp(), next_due = clock_timestamp(), next_cause = 'initial', reschedule = false
         WHERE s.view_id = NEW.id;
    END IF;
    PERFORM pg_notify('mvscheduler_due', '') WHERE pg_notification_queue_usage() < 0.5;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.views_bookkeeping() IS 'Trigger c_bookkeeping on views: copies the row to view_state and writes the audit log.';
REVOKE ALL ON FUNCTION mvscheduler.views_bookkeeping() FROM PUBLIC;

CREATE FUNCTION mvscheduler.request_bookkeeping() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO mvscheduler.audit_entry (role, action, view_id, view_name, owner, new)
    SELECT r.rolname, NEW.kind, s.view_id, s.name, s.owner,
           jsonb_build_object('run', CASE NEW.kind WHEN 'refresh' THEN NEW.run_id ELSE NEW.target_run END)
      FROM mvscheduler.view_state AS s
      JOIN pg_roles AS r ON r.oid = NEW.requested_by::oid
     WHERE s.view_id = NEW.view_id
       AND NEW.cause = 'manual';
    PERFORM pg_notify('mvscheduler_due', '') WHERE pg_notification_queue_usage() < 0.5;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.request_bookkeeping() IS 'Trigger on request: audit log and a hint to the sidecar.';
REVOKE ALL ON FUNCTION mvscheduler.request_bookkeeping() FROM PUBLIC;

-- Each is a row that a run has to answer.
CREATE FUNCTION mvscheduler.request_limit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT
                 FROM (SELECT DISTINCT m.kind, m.view_id FROM made AS m) AS d
                WHERE EXISTS (SELECT FROM mvscheduler.request AS q WHERE q.kind = d.kind AND q.view_id = d.view_id OFFSET 10000)) THEN
        RAISE EXCEPTION 'more than 10000 requests for one view wait to be answered' USING ERRCODE = 'program_limit_exceeded',
            HINT = 'One is enough: a run that begins after it answers it. Is mvscheduler serve running?';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.request_limit() IS 'Trigger on request: bounds how many wait for one view.';
REVOKE ALL ON FUNCTION mvscheduler.request_limit() FROM PUBLIC;

CREATE FUNCTION mvscheduler.record_auto_pause() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO mvscheduler.audit_entry (role, action, view_id, view_name, owner, new)
    SELECT 'mvscheduler', 'auto_pause', s.view_id, s.name, s.owner, jsonb_build_object('reason', NEW.auto_pause_reason)
      FROM mvscheduler.view_state AS s
     WHERE s.view_id = NEW.view_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.record_auto_pause() IS 'Trigger on view_health: an automatic pause is an entry of the audit log.';
REVOKE ALL ON FUNCTION mvscheduler.record_auto_pause() FROM PUBLIC;

CREATE TRIGGER a_normalize BEFORE INSERT OR UPDATE ON mvscheduler.views
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.views_normalize();
CREATE TRIGGER b_ddl AFTER INSERT OR UPDATE OR DELETE ON mvscheduler.views
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.views_ddl();
CREATE TRIGGER c_bookkeeping AFTER INSERT OR UPDATE OR DELETE ON mvscheduler.views
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.views_bookkeeping();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON mvscheduler.views
    FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.views_no_truncate();
CREATE TRIGGER bookkeeping AFTER INSERT ON mvscheduler.request
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.request_bookkeeping();
CREATE TRIGGER bound AFTER INSERT ON mvscheduler.request REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.request_limit();
CREATE TRIGGER audit_auto_pause_insert AFTER INSERT ON mvscheduler.view_health
    FOR EACH ROW WHEN (NEW.auto_paused_at IS NOT NULL) EXECUTE FUNCTION mvscheduler.record_auto_pause();
CREATE TRIGGER audit_auto_pause AFTER UPDATE ON mvscheduler.view_health
    FOR EACH ROW WHEN (NEW.auto_paused_at IS NOT NULL AND NEW.auto_paused_at IS DISTINCT FROM OLD.auto_paused_at)
    EXECUTE FUNCTION mvscheduler.record_auto_pause();
