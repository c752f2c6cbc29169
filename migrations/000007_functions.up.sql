-- The functions that users call: all SECURITY INVOKER, so row-level security decides what they may touch.

-- No SET clause: names are looked up in the caller's search_path.
CREATE FUNCTION mvscheduler.view_id(name text) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    parts pg_catalog.text[] := mvscheduler.split_name(name);
    path  pg_catalog.name[] := pg_catalog.current_schemas(false);
    found pg_catalog.int8;
BEGIN
    IF pg_catalog.cardinality(parts) OPERATOR(pg_catalog.=) 2 THEN
        SELECT v.view_id INTO found
          FROM mvscheduler.visible_views AS v
         WHERE v.name OPERATOR(pg_catalog.=) mvscheduler.qualified_name(parts[1], parts[2]);
    ELSE
        SELECT v.view_id INTO found
          FROM pg_catalog.unnest(path) WITH ORDINALITY AS p(schema_name, n)
          JOIN mvscheduler.visible_views AS v ON v.name OPERATOR(pg_catalog.=) mvscheduler.qualified_name(p.schema_name, parts[1])
         ORDER BY p.n
         LIMIT 1;
    END IF;
    IF found IS NULL AND pg_catalog.to_regclass('mvscheduler.visible_targets') IS NOT NULL   -- which a later migration makes
       AND EXISTS (SELECT FROM mvscheduler.visible_targets AS t WHERE t.kind OPERATOR(pg_catalog.=) 'source'
                      AND t.name OPERATOR(pg_catalog.=) ANY (CASE WHEN pg_catalog.cardinality(parts) OPERATOR(pg_catalog.=) 2 THEN ARRAY[mvscheduler.qualified_name(parts[1], parts[2])]
                                                                  ELSE ARRAY(SELECT mvscheduler.qualified_name(n, parts[1]) FROM pg_catalog.unnest(path) AS n) END)) THEN
        RAISE EXCEPTION '% is no managed view: it is a table of mvscheduler.source_retention', pg_catalog.quote_literal(name)
            USING ERRCODE = 'wrong_object_type', HINT = pg_catalog.format('What leaves it and why: mvscheduler prune %1$s --dry-run. What was done: mvscheduler runs %1$s.', name);
    ELSIF found IS NULL THEN
        RAISE EXCEPTION 'managed view % does not exist', pg_catalog.quote_literal(name)
            USING ERRCODE = 'undefined_table', HINT = 'List the views that you may see: SELECT name FROM mvscheduler.status.';
    END IF;
    RETURN found;
END $$;
COMMENT ON FUNCTION mvscheduler.view_id(text) IS 'views.id of a managed view that the caller may see.';

CREATE FUNCTION mvscheduler.create_view(
    name text, query text,
    refresh_interval interval DEFAULT '1 hour', retention_period interval DEFAULT NULL, time_column text DEFAULT NULL,
    method text DEFAULT 'auto', cron text DEFAULT NULL, timezone text DEFAULT NULL, refresh_on text DEFAULT 'schedule',
    catchup text DEFAULT 'latest', unique_key text[] DEFAULT NULL, indexes text[] DEFAULT NULL, owner regrole DEFAULT NULL,
    priority smallint DEFAULT 2, statement_timeout interval DEFAULT '30 minutes', lock_timeout interval DEFAULT '500 milliseconds',
    work_mem text DEFAULT NULL, max_attempts smallint DEFAULT 8, max_size_bytes bigint DEFAULT NULL,
    "analyze" boolean DEFAULT true, enabled boolean DEFAULT true, change_tracking text DEFAULT 'auto',
    bucket_width interval DEFAULT NULL, lateness interval DEFAULT '0', calendar jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO mvscheduler.views (name, query, refresh_interval, retention_period, time_column, method, cron, timezone, refresh_on,
                                   catchup, unique_key, indexes, owner, priority, statement_timeout, lock_timeout, work_mem,
                                   max_attempts, max_size_bytes, "analyze", enabled, change_tracking, bucket_width, lateness, calendar)
    VALUES (name, query, refresh_interval, retention_period, time_column, method, cron,
            coalesce(timezone, pg_catalog.current_setting('TimeZone')), refresh_on,
            catchup, unique_key, indexes, coalesce(owner, pg_catalog.quote_ident(CURRENT_USER)::regrole), priority,
            statement_timeout, lock_timeout, work_mem, max_attempts, max_size_bytes, "analyze", enabled, change_tracking, bucket_width, lateness, calendar)
    RETURNING id;
END;
COMMENT ON FUNCTION mvscheduler.create_view IS 'INSERT INTO mvscheduler.views as a function; returns views.id.';

CREATE FUNCTION mvscheduler.drop_view(name text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM mvscheduler.views AS v WHERE v.id = mvscheduler.view_id(drop_view.name);
END;
COMMENT ON FUNCTION mvscheduler.drop_view(text) IS 'DELETE FROM mvscheduler.views as a function; an unknown name is an error.';

CREATE FUNCTION mvscheduler.refresh_view(name text) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO mvscheduler.request (kind, view_id)
    VALUES ('refresh', mvscheduler.view_id(refresh_view.name))
    RETURNING run_id;
END;
COMMENT ON FUNCTION mvscheduler.refresh_view(text) IS 'Asks for a refresh that starts after this transaction has committed, and after the run that is under way, if any; returns the run''s id. Works for paused and disabled views too.';

CREATE FUNCTION mvscheduler.pause_view(name text, reason text DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    UPDATE mvscheduler.views AS v
       SET paused_at = CASE WHEN coalesce(v.paused_until, 'infinity') > now() THEN coalesce(v.paused_at, now()) ELSE now() END,
           pause_reason = coalesce(pause_view.reason, CASE WHEN coalesce(v.paused_until, 'infinity') > now() THEN v.pause_reason END), paused_until = pause_view.until
     WHERE v.id = mvscheduler.view_id(pause_view.name);
END;
COMMENT ON FUNCTION mvscheduler.pause_view(text, text, timestamptz) IS 'Stops the clock of a view until resume_view, or until the given instant. A run under way goes on. Of a view that is paused already it changes when that ends, and the reason where one is given.';

CREATE FUNCTION mvscheduler.resume_view(name text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    UPDATE mvscheduler.views AS v
       SET paused_at = NULL, pause_reason = NULL, paused_until = NULL
     WHERE v.id = mvscheduler.view_id(resume_view.name);
END;
COMMENT ON FUNCTION mvscheduler.resume_view(text) IS 'Ends a pause, whether a person or the sidecar began it.';
