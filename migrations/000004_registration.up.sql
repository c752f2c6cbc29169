-- Life of a catalog row. Triggers on views, in the order of their names:
--   a_normalize   BEFORE row, as the user: checks the columns and fills what the user left out; no side effect
--   b_ddl         AFTER row, as the user: creates, changes or drops the relations in the user's own session,
--                 so that no text of a user is ever parsed with another's rights
--   c_bookkeeping AFTER row, as mvscheduler_owner: copies the row to view_state and writes the audit log
--   d_pieces      (000011) AFTER row, as mvscheduler_owner: records the relations that b_ddl made for a redefinition
--   e_indexes     (000011) AFTER row, as the user: indexes, whose functions run here and find everything recorded
--   no_truncate   refuses TRUNCATE, which fires no row trigger
-- Functions that run as the user pin search_path and qualify everything; those that run as the owner
-- have no dynamic SQL and nobody else may EXECUTE them.

-- Names ------------------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.split_name(name text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text[];
    part  text;
BEGIN
    BEGIN
        parts := parse_ident(name);
    EXCEPTION WHEN invalid_parameter_value THEN
        RAISE EXCEPTION 'invalid name for a managed view: %', quote_literal(left(name, 200))
            USING ERRCODE = 'invalid_name', DETAIL = SQLERRM,
                  HINT = 'Write schema.view; quote what is not lower-case letters, digits and underscores: analytics."Hourly Delays".';
    END;
    IF cardinality(parts) > 2 THEN
        RAISE EXCEPTION 'cross-database references are not implemented: %', quote_literal(left(name, 200))
            USING ERRCODE = 'feature_not_supported', HINT = 'Write schema.view.';
    END IF;
    FOREACH part IN ARRAY parts LOOP
        IF part = '' THEN
            RAISE EXCEPTION 'zero-length identifier in the name of a managed view' USING ERRCODE = 'invalid_name';
        END IF;
        IF octet_length(part) > 63 THEN
            RAISE EXCEPTION 'identifier "%" is too long', part
                USING ERRCODE = 'name_too_long',
                      DETAIL = format('It has %s bytes, PostgreSQL keeps 63.', octet_length(part)),
                      HINT = 'Choose a shorter name; mvscheduler never cuts one silently.';
        END IF;
    END LOOP;
    RETURN parts;
END $$;
COMMENT ON FUNCTION mvscheduler.split_name(text) IS 'Parts of a possibly qualified and quoted name, checked for length.';

-- A session may have quote_all_identifiers on; a name is stored in one form only.
CREATE FUNCTION mvscheduler.qualified_name(schema_name text, relation_name text) RETURNS text
LANGUAGE sql IMMUTABLE
SET quote_all_identifiers = off
RETURN pg_catalog.format('%I.%I', schema_name, relation_name);
COMMENT ON FUNCTION mvscheduler.qualified_name(text, text) IS 'schema.relation, quoted where needed, as views.name has it.';

CREATE FUNCTION mvscheduler.helper_name(view_name text, suffix text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    base text := view_name;
BEGIN
    WHILE octet_length(base) + octet_length(suffix) > 63 LOOP
        base := left(base, -1);
    END LOOP;
    RETURN base || suffix;
END $$;
COMMENT ON FUNCTION mvscheduler.helper_name(text, text) IS 'Name of a helper object of a view, shortened to 63 bytes as PostgreSQL shortens index names.';

CREATE FUNCTION mvscheduler.free_name(schema_name text, view_name text, suffix text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    candidate text := mvscheduler.helper_name(view_name, suffix);
    n         int := 0;
BEGIN
    -- A view brings a type of its name. The helper of a name that ends in the suffix may be that name.
    WHILE candidate = view_name
          OR EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = c.relnamespace WHERE s.nspname = schema_name AND c.relname = candidate)
          OR EXISTS (SELECT FROM pg_type AS c JOIN pg_namespace AS s ON s.oid = c.typnamespace WHERE s.nspname = schema_name AND c.typname = candidate) LOOP
        n := n + 1;
        candidate := mvscheduler.helper_name(view_name, suffix || n);
    END LOOP;
    RETURN candidate;
END $$;
COMMENT ON FUNCTION mvscheduler.free_name(text, text, text) IS 'Name of a new helper object of a view that nothing in the schema has yet.';

CREATE FUNCTION mvscheduler.query_body(query text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.rtrim(query, E' \t\n\r\f;');
COMMENT ON FUNCTION mvscheduler.query_body(text) IS 'The query without trailing semicolons and what PostgreSQL takes for blanks.';

-- Checks -----------------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.check_reserved(v mvscheduler.views) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    col text := CASE
        WHEN v.real_time THEN 'real_time'
        WHEN v.refresh_group IS NOT NULL THEN 'refresh_group'
    END;
    incremental text := CASE
        WHEN v.method = 'incremental' THEN NULL
        WHEN v.bucket_width IS NOT NULL THEN 'bucket_width'
        WHEN v.change_tracking = 'trigger' THEN 'change_tracking'
        WHEN v.lateness <> '0' THEN 'lateness'
    END;
BEGIN
    IF incremental IS NOT NULL THEN
        RAISE EXCEPTION 'column "%" of a managed view is for method "incremental" only', incremental
            USING ERRCODE = 'feature_not_supported',
                  HINT = format('Leave %I at its default, or set method to incremental.', incremental);
    END IF;
    IF col IS NOT NULL THEN
        RAISE EXCEPTION 'column "%" of a managed view cannot be set in this version', col
            USING ERRCODE = 'feature_not_supported',
                  HINT = format('Leave %I at its default. Nothing was created.', col);
    END IF;
    IF v.method = 'continuous_aggregate' THEN
        RAISE EXCEPTION 'method "%" is not supported in this version', v.method
            USING ERRCODE = 'feature_not_supported', HINT = 'Use auto, full, concurrent or incremental.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.check_reserved(mvscheduler.views) IS 'Raises where a column asks for what this version cannot do.';

CREATE FUNCTION mvscheduler.check_choice(col text, value text, VARIADIC choices text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL OR value <> ALL (choices) THEN
        RAISE EXCEPTION 'invalid value for %: %', col, coalesce(quote_literal(value), 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Use one of: %s.', array_to_string(choices, ', '));
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.check_choice(text, text, text[]) IS 'Raises unless value is one of the choices.';

CREATE FUNCTION mvscheduler.check_timeout(col text, value interval, least_value interval, most_value interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL OR value < least_value OR value > most_value OR extract(year FROM value) <> 0 OR extract(month FROM value) <> 0 THEN
        RAISE EXCEPTION 'invalid value for %: %', col, coalesce(value::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Give an interval from %s to %s, without months and years.', least_value, most_value);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.check_timeout(text, interval, interval, interval) IS 'Raises unless value lies within the bounds.';

-- Months and days of opposite sign can be any time at all, whatever they compare as.
CREATE FUNCTION mvscheduler.is_period(value interval) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
RETURN isfinite(value) AND value <= interval '5000 years'
       AND least(extract(year FROM value), extract(month FROM value), extract(day FROM value), extract(epoch FROM value)) >= 0;
COMMENT ON FUNCTION mvscheduler.is_period(interval) IS 'True for a time of at most 5000 years that is not negative in any part.';

CREATE FUNCTION mvscheduler.memory_bytes(setting text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    m text[] := regexp_match(btrim(setting), '^([0-9]{1,9}) *(B|kB|MB|GB|TB)$');
BEGIN
    IF m IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN m[1]::bigint * CASE m[2] WHEN 'B' THEN 1 WHEN 'kB' THEN 1024 WHEN 'MB' THEN 1024^2 WHEN 'GB' THEN 1024^3 ELSE 1024^4 END::bigint;
END $$;
COMMENT ON FUNCTION mvscheduler.memory_bytes(text) IS 'Bytes of a memory setting such as 64MB; NULL when it is not one.';

-- Column by column. The clock columns first decide which clock is meant: setting one unsets the other.
CREATE FUNCTION mvscheduler.normalize(op text, was mvscheduler.views, v mvscheduler.views, caller_path text, caller_schema text)
RETURNS mvscheduler.views
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET quote_all_identifiers = off
AS $$
DECLARE
    parts  text[];
    caps   mvscheduler.settings;
    reason text;
    schema_oid oid;
BEGIN
    SELECT s.* INTO caps FROM mvscheduler.settings AS s;

    IF op = 'UPDATE' AND v.id <> was.id THEN
        RAISE EXCEPTION 'column "id" of a managed view cannot be changed' USING ERRCODE = 'feature_not_supported';
    END IF;

    IF v.name IS NULL OR btrim(v.name) = '' THEN
        RAISE EXCEPTION 'a managed view needs a name' USING ERRCODE = 'invalid_name', HINT = 'Write schema.view.';
    END IF;
    parts := mvscheduler.split_name(v.name);
    IF cardinality(parts) = 1 THEN
        IF caller_schema IS NULL THEN
            RAISE EXCEPTION 'no schema has been selected to create in' USING ERRCODE = 'invalid_schema_name',
                HINT = 'Write schema.view, or set search_path.';
        END IF;
        parts := ARRAY[caller_schema, parts[1]];
    END IF;
    IF parts[1] ~ '^pg_(temp|toast)' THEN
        RAISE EXCEPTION 'a managed view cannot be temporary' USING ERRCODE = 'invalid_table_definition',
            HINT = 'Name a permanent schema.';
    END IF;
    IF parts[1] IN ('pg_catalog', 'information_schema', 'mvscheduler') THEN
        RAISE EXCEPTION 'schema "%" is reserved', parts[1] USING ERRCODE = 'reserved_name',
            HINT = 'Name a schema of your own.';
    END IF;
    v.name := mvscheduler.qualified_name(parts[1], parts[2]);

    IF v.adopted IS NULL THEN
        RAISE EXCEPTION 'adopted is true or false' USING ERRCODE = 'null_value_not_allowed';
    ELSIF op = 'UPDATE' AND was.adopted AND NOT v.adopted THEN
        RAISE EXCEPTION 'managed view % was adopted and stays so', v.name USING ERRCODE = 'feature_not_supported',
            HINT = format('SELECT mvscheduler.release_view(%L) lets go of it; DROP MATERIALIZED VIEW drops it then.', v.name);
    ELSIF op = 'INSERT' AND v.adopted THEN
        SELECT a.query, a.owner INTO v.query, v.owner FROM mvscheduler.adoptable(v.name) AS a;
    END IF;
    IF v.retention_period IS NOT NULL THEN
        IF NOT mvscheduler.is_period(v.retention_period) OR v.retention_period = interval '0' THEN
            RAISE EXCEPTION 'invalid retention_period: %', v.retention_period USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a positive interval of at most 5000 years, or NULL to keep all rows.';
        ELSIF v.time_column IS NULL THEN
            RAISE EXCEPTION 'retention_period needs time_column' USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Name the output column that holds the time of a row.';
        END IF;
    END IF;

    IF v.query IS NULL OR mvscheduler.query_body(v.query) = '' THEN
        RAISE EXCEPTION 'a managed view needs a query' USING ERRCODE = 'syntax_error', HINT = 'Write a SELECT.';
    END IF;
    IF octet_length(v.query) > 10 * 1024 * 1024 THEN
        RAISE EXCEPTION 'query is too long' USING ERRCODE = 'program_limit_exceeded',
            DETAIL = format('It has %s bytes, at most 10 MB are taken.', octet_length(v.query));
    END IF;
    IF v.owner IS NULL THEN
        v.owner := quote_ident(CURRENT_USER)::regrole;
    ELSIF pg_get_userbyid(v.owner::oid) IN ('mvscheduler_owner', 'mvscheduler_user', 'mvscheduler_worker') THEN
        RAISE EXCEPTION 'role % cannot own a managed view: it is a group of mvscheduler', v.owner USING ERRCODE = 'insufficient_privilege', HINT = 'Set the column owner to an application role.';
    ELSIF (op = 'INSERT' OR v.owner IS DISTINCT FROM was.owner)
          AND EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = v.owner::oid) AND v.owner::oid NOT IN (SELECT mvscheduler.my_roles()) THEN
        RAISE EXCEPTION 'permission denied to make a view of role %', v.owner USING ERRCODE = 'insufficient_privilege',
            HINT = CASE WHEN (SELECT r.rolsuper FROM pg_roles AS r WHERE r.oid = v.owner::oid) THEN 'Name an owner that you can become.'
                        ELSE format('Name an owner that you can become, or have it granted: GRANT %s TO %I;', v.owner, CURRENT_USER) END;
    END IF;
    IF v.timezone IS NULL THEN
        v.timezone := current_setting('TimeZone');
    END IF;

    -- Before the row takes the name in the unique index, where others would find it taken.
    IF op = 'INSERT' OR v.name <> was.name THEN
        SELECT n.oid INTO schema_oid FROM pg_namespace AS n WHERE n.nspname = parts[1];
        IF schema_oid IS NULL THEN
            RAISE EXCEPTION 'schema "%" does not exist', parts[1] USING ERRCODE = 'invalid_schema_name',
                HINT = format('Name one that does, or: CREATE SCHEMA %I AUTHORIZATION %s;', parts[1], v.owner);
        ELSIF NOT has_schema_privilege(v.owner::oid, schema_oid, 'CREATE')
              AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = schema_oid AND c.relname = parts[2] AND c.relowner = v.owner::oid) THEN
            RAISE EXCEPTION 'permission denied for schema %', parts[1] USING ERRCODE = 'insufficient_privilege',
                HINT = format('The owner of the schema runs: GRANT USAGE, CREATE ON SCHEMA %I TO %s;', parts[1], v.owner);
        END IF;
    END IF;

    IF op = 'UPDATE' AND was.method = 'incremental' AND v.method <> 'incremental' THEN   -- what that alone has goes with it
        v.bucket_width := CASE WHEN v.bucket_width IS DISTINCT FROM was.bucket_width THEN v.bucket_width END;
        v.lateness := CASE WHEN v.lateness IS DISTINCT FROM was.lateness THEN v.lateness ELSE '0' END;
        v.change_tracking := CASE WHEN v.change_tracking <> was.change_tracking OR v.change_tracking <> 'trigger' THEN v.change_tracking ELSE 'auto' END;
    END IF;
    IF v.method IS DISTINCT FROM 'continuous_aggregate' THEN
        PERFORM mvscheduler.check_choice('method', v.method, 'auto', 'full', 'concurrent', 'incremental');
    END IF;
    PERFORM mvscheduler.check_reserved(v);
    PERFORM mvscheduler.check_incremental(op, was, v);
    PERFORM mvscheduler.check_choice('refresh_on', v.refresh_on, 'schedule', 'upstream', 'manual');
    PERFORM mvscheduler.check_choice('catchup', v.catchup, 'latest', 'skip', 'all');
    PERFORM mvscheduler.check_choice('change_tracking', v.change_tracking, VARIADIC CASE WHEN v.method = 'incremental' THEN '{auto,trigger,counters,none}' ELSE '{auto,counters,none}' END::text[]);
    PERFORM mvscheduler.check_choice('optimize', v.optimize, 'off', 'advise', 'auto');

    -- A row has one clock: the one that was written takes the place of the one that was there.
    IF num_nonnulls(v.refresh_interval, v.cron, v.calendar) > 1 THEN
        IF op = 'INSERT' THEN
            v.refresh_interval := nullif(v.refresh_interval, interval '1 hour');
        ELSE
            v.refresh_interval := CASE WHEN v.refresh_interval IS DISTINCT FROM was.refresh_interval THEN v.refresh_interval END;
            v.cron := CASE WHEN v.cron IS DISTINCT FROM was.cron THEN v.cron END;
            v.calendar := CASE WHEN v.calendar IS DISTINCT FROM was.calendar THEN v.calendar END;
        END IF;
        IF num_nonnulls(v.refresh_interval, v.cron, v.calendar) > 1 THEN
            RAISE EXCEPTION 'give one of refresh_interval, cron and calendar' USING ERRCODE = 'invalid_parameter_value',
                HINT = 'A row has one clock: leave the others out, or set them to NULL.';
        END IF;
    END IF;
    IF v.refresh_interval IS NOT NULL THEN
        reason := mvscheduler.interval_error(v.refresh_interval);
        IF reason IS NULL AND v.refresh_interval < caps.min_refresh_interval THEN
            reason := format('it is below settings.min_refresh_interval, %s', caps.min_refresh_interval);
        END IF;
        IF reason IS NOT NULL THEN
            RAISE EXCEPTION 'invalid refresh_interval: %', v.refresh_interval
                USING ERRCODE = 'invalid_parameter_value', DETAIL = reason;
        END IF;
    END IF;
    reason := coalesce(mvscheduler.interval_error(v.min_interval), mvscheduler.interval_error(v.max_interval));
    IF reason IS NULL AND v.min_interval > v.max_interval THEN
        reason := 'the shortest interval is longer than the longest';
    END IF;
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'invalid min_interval or max_interval: %, %', coalesce(v.min_interval::text, 'NULL'), coalesce(v.max_interval::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', DETAIL = reason, HINT = 'Give intervals above zero, the shortest no longer than the longest.';
    END IF;
    IF NOT coalesce(v.min_retention > '0' AND isfinite(v.min_retention), true) OR NOT coalesce(v.max_retention > '0' AND isfinite(v.max_retention), true) OR v.min_retention > v.max_retention THEN
        RAISE EXCEPTION 'invalid min_retention or max_retention: %, %', coalesce(v.min_retention::text, 'NULL'), coalesce(v.max_retention::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give intervals above zero, the shortest no longer than the longest.';
    END IF;
    IF v.cron IS NOT NULL THEN
        reason := mvscheduler.cron_error(v.cron);
        IF reason IS NOT NULL THEN
            RAISE EXCEPTION 'invalid cron: %', quote_literal(left(v.cron, 200))
                USING ERRCODE = 'invalid_parameter_value', DETAIL = reason,
                      HINT = 'Write five fields: minute hour day-of-month month day-of-week, for example ''30 6 * * 1-5''.';
        END IF;
    END IF;
    IF v.calendar IS NOT NULL THEN
        reason := mvscheduler.calendar_error(v.calendar);
        IF reason IS NOT NULL THEN
            RAISE EXCEPTION 'invalid calendar: %', quote_literal(left(v.calendar::text, 200))
                USING ERRCODE = 'invalid_parameter_value', DETAIL = reason,
                      HINT = 'Write rules such as [{"days": "mon-fri", "from": "07:00", "to": "19:00", "every": "30 minutes"}, {"days": "sat,sun", "at": "06:45"}].';
        END IF;
    END IF;
    IF op = 'INSERT' OR v.timezone IS DISTINCT FROM was.timezone THEN
        reason := mvscheduler.timezone_error(v.timezone);
        IF reason IS NOT NULL AND op = 'INSERT' AND v.timezone = current_setting('TimeZone') THEN
            RAISE NOTICE 'time zone % of this session has no IANA name, managed view % gets UTC', quote_literal(v.timezone), v.name
                USING HINT = 'Set the column timezone to choose another.';
            v.timezone := 'UTC';
        ELSIF reason IS NOT NULL THEN
            RAISE EXCEPTION 'invalid timezone: %', quote_literal(left(v.timezone, 200))
                USING ERRCODE = 'invalid_parameter_value', DETAIL = reason, HINT = 'Write an IANA name such as Europe/Berlin.';
        END IF;
    END IF;

    IF v.priority IS NULL OR v.priority NOT BETWEEN 1 AND 4 THEN
        RAISE EXCEPTION 'invalid value for priority: %', v.priority
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 1 (first) to 4 (last).';
    END IF;
    IF v.max_attempts IS NULL OR v.max_attempts NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'invalid value for max_attempts: %', v.max_attempts
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 1 to 100.';
    END IF;
    IF v.max_size_bytes <= 0 THEN
        RAISE EXCEPTION 'invalid value for max_size_bytes: %', v.max_size_bytes
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a positive number of bytes, or NULL for no limit.';
    END IF;
    PERFORM mvscheduler.check_timeout('statement_timeout', v.statement_timeout, '100 milliseconds', '7 days');
    PERFORM mvscheduler.check_timeout('lock_timeout', v.lock_timeout, '10 milliseconds', '1 minute');
    IF v.work_mem IS NOT NULL THEN
        IF mvscheduler.memory_bytes(v.work_mem) IS NULL OR mvscheduler.memory_bytes(v.work_mem) < 65536 THEN
            RAISE EXCEPTION 'invalid value for work_mem: %', quote_literal(left(v.work_mem, 100))
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a number with a unit, at least 64kB, for example 64MB.';
        ELSIF mvscheduler.memory_bytes(v.work_mem) > mvscheduler.memory_bytes(caps.max_work_mem) THEN
            RAISE EXCEPTION 'work_mem % is more than this deployment allows', v.work_mem
                USING ERRCODE = 'invalid_parameter_value', DETAIL = format('settings.max_work_mem is %s.', caps.max_work_mem);
        END IF;
    END IF;
    IF EXISTS (SELECT FROM unnest(v.unique_key) AS k WHERE k IS NULL) THEN
        RAISE EXCEPTION 'unique_key names columns' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use NULL to let it be derived from the query, or {} for no unique index.';
    END IF;
    IF EXISTS (SELECT FROM unnest(v.indexes) AS i WHERE i IS NULL OR i !~* '^\s*(\(|using\M)') THEN
        RAISE EXCEPTION 'invalid value for indexes' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Each element is what follows CREATE INDEX ON view: a column list such as (origin, hour DESC), or USING brin (hour).';
    END IF;
    IF v.enabled IS NULL OR v."analyze" IS NULL THEN
        RAISE EXCEPTION 'enabled and analyze are true or false' USING ERRCODE = 'null_value_not_allowed';
    END IF;

    v.pause_reason := nullif(v.pause_reason, '');
    -- One of the three is enough to pause; taking paused_at away resumes.
    IF v.paused_at IS NULL AND op = 'UPDATE' AND was.paused_at IS NOT NULL THEN
        v.paused_until := NULL;
        v.pause_reason := NULL;
    ELSIF v.paused_at IS NULL AND (v.paused_until IS NOT NULL OR v.pause_reason IS NOT NULL) THEN
        v.paused_at := now();
    END IF;
    IF length(v.pause_reason) > 1000 THEN
        RAISE EXCEPTION 'pause_reason is longer than 1000 characters' USING ERRCODE = 'string_data_right_truncation';
    END IF;

    -- "$user" is the writer, also where the relations are made as another role. A restore brings the path with it.
    caller_path := regexp_replace(caller_path, '((?:^|,)\s*)("\$user"|\$user)(?=\s*(?:,|$))',
                                  '\1' || replace(quote_ident(CURRENT_USER), '\', '\\'), 'g');
    IF op = 'INSERT' THEN
        v.created_at := now();
        v.search_path := coalesce(nullif(v.search_path, ''), caller_path);
    ELSE
        v.created_at := was.created_at;
        v.search_path := CASE WHEN v.search_path IS DISTINCT FROM was.search_path THEN coalesce(v.search_path, caller_path)
                              WHEN v.query IS DISTINCT FROM was.query THEN caller_path
                              ELSE was.search_path END;
    END IF;
    v.updated_at := now();
    v.updated_by := quote_ident(CURRENT_USER)::regrole;
    RETURN v;
END $$;
COMMENT ON FUNCTION mvscheduler.normalize(text, mvscheduler.views, mvscheduler.views, text, text) IS 'Checks a row of views and completes it; no side effect.';

-- No SET clause: the function has to see the caller's search_path before it pins its own.
CREATE FUNCTION mvscheduler.views_normalize() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    caller_path   pg_catalog.text := pg_catalog.current_setting('search_path');
    caller_schema pg_catalog.text := pg_catalog.current_schema();
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    NEW := mvscheduler.normalize(TG_OP, OLD, NEW, caller_path, caller_schema);
    PERFORM pg_catalog.set_config('search_path', caller_path, true);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION mvscheduler.views_normalize() IS 'Trigger a_normalize on views.';

CREATE FUNCTION mvscheduler.views_no_truncate() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'mvscheduler.views cannot be truncated' USING ERRCODE = 'feature_not_supported',
        HINT = 'DELETE the rows: that drops the views which they stand for.';
END $$;
COMMENT ON FUNCTION mvscheduler.views_no_truncate() IS 'Trigger no_truncate on views.';

-- What the query reads ---------------------------------------------------------------------------

-- The relation's own rule, the relations it names, and so on through ordinary views. Every run asks: the session keeps
-- the plan, which takes several times as long as what it finds.
CREATE FUNCTION mvscheduler.upstream_of(relation oid) RETURNS bigint[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan   -- it goes by OIDs, of which one is like another
AS $$
BEGIN
    RETURN (
        WITH RECURSIVE reads(rel) AS (
            SELECT upstream_of.relation
            UNION
            SELECT d.refobjid
              FROM reads AS r
              JOIN pg_rewrite AS w ON w.ev_class = r.rel
              JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass
                                 AND d.objid = w.oid
                                 AND d.refclassid = 'pg_class'::regclass
                                 AND d.deptype = 'n'
              JOIN pg_class AS c ON c.oid = r.rel
             WHERE r.rel = upstream_of.relation OR c.relkind = 'v'
        )
        SELECT coalesce(array_agg(s.view_id ORDER BY s.view_id), '{}')
          FROM reads AS r
          JOIN mvscheduler.view_state AS s ON s.relation::oid = r.rel
         WHERE r.rel <> upstream_of.relation);
END $$;
COMMENT ON FUNCTION mvscheduler.upstream_of(oid) IS 'views.id of the managed views that a relation reads, directly or through ordinary views.';

CREATE FUNCTION mvscheduler.reads(reader oid, relation oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH RECURSIVE chain(rel) AS (
        SELECT reader
        UNION
        SELECT d.refobjid
          FROM chain AS r
          JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = r.rel
          JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass
                                        AND d.objid = w.oid
                                        AND d.refclassid = 'pg_catalog.pg_class'::regclass
                                        AND d.deptype = 'n'
    )
    SELECT EXISTS (SELECT FROM chain AS r WHERE r.rel = relation AND r.rel <> reader);
END;
COMMENT ON FUNCTION mvscheduler.reads(oid, oid) IS 'True when a view reads another relation, directly or through views and materialized views.';

-- By the nodes of its rule, as PostgreSQL writes them: built-in functions leave no trace in pg_depend, and some
-- of them run a text. It, and what registrations ask besides, is PL/pgSQL: the session keeps the plans.
CREATE FUNCTION mvscheduler.only_reads(relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
BEGIN
    RETURN (
        SELECT count(*) FILTER (WHERE node.label[1] = 'TARGETENTRY') = (   -- each column n is column n
                   SELECT count(*) FILTER (WHERE entry.n[1] = entry.n[2])
                     FROM pg_rewrite AS t
                    CROSS JOIN LATERAL regexp_matches(t.ev_action::text, '(?<!\\)\{TARGETENTRY :expr \{VAR :varno \d+ :varattno (\d+) [^{}]*\} :resno (\d+) ', 'g') AS entry(n)
                    WHERE t.ev_class = relation)
               AND count(*) FILTER (WHERE node.label[1] = 'QUERY') = 1
               AND count(*) FILTER (WHERE node.label[1] = 'RANGETBLREF') = 1
               AND bool_and(node.label[1] = ANY ('{QUERY,RTE,RANGETBLENTRY,RTEPERMISSIONINFO,PERMISSIONINFO,ALIAS,FROMEXPR,RANGETBLREF,TARGETENTRY,VAR}'::text[]))
          FROM pg_rewrite AS w
         CROSS JOIN LATERAL regexp_matches(w.ev_action::text, '(?<!\\)\{([A-Z_]+)', 'g') AS node(label)   -- a brace in a name has a backslash
         WHERE w.ev_class = relation);
END $$;
COMMENT ON FUNCTION mvscheduler.only_reads(oid) IS 'True when a view is a SELECT of the columns of one relation, in their order, and nothing else: no second one, no function, condition, order or limit.';

CREATE FUNCTION mvscheduler.reads_query(relation oid, query_relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT
                     FROM pg_rewrite AS w
                     JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass
                                        AND d.objid = w.oid
                                        AND d.refclassid = 'pg_class'::regclass
                     JOIN pg_class AS c ON c.oid = d.refobjid AND c.relkind = 'v'
                     JOIN pg_class AS m ON m.oid = w.ev_class AND m.relkind = 'm' AND m.relowner = c.relowner AND m.relnamespace = c.relnamespace
                    WHERE w.ev_class = relation AND c.oid = query_relation) THEN
        RETURN false;
    END IF;
    RETURN mvscheduler.only_reads(relation);
END $$;
COMMENT ON FUNCTION mvscheduler.reads_query(oid, oid) IS 'True when a materialized view and a plain view are a pair: the one reads the columns of the other and does nothing else, and both have one owner and one schema.';

-- Where no row says which it is: after a restore, and when a view is adopted that was released. Only there does the
-- comment count.
CREATE FUNCTION mvscheduler.query_relation_of(relation oid) RETURNS oid
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    candidate oid;
BEGIN
    IF relation IS NULL THEN
        RETURN NULL;
    END IF;
    FOR candidate IN
        SELECT DISTINCT d.refobjid
          FROM pg_rewrite AS w
          JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass
                             AND d.objid = w.oid
                             AND d.refclassid = 'pg_class'::regclass
         WHERE w.ev_class = relation
           AND obj_description(d.refobjid, 'pg_class') LIKE 'mvscheduler: query of %'
    LOOP
        IF mvscheduler.reads_query(relation, candidate) THEN
            RETURN candidate;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.query_relation_of(oid) IS 'The plain view with the mark of a query that a materialized view reads; NULL when it has none.';

-- The rule goes by OIDs and holds casts that no text shows; the text shows what was renamed. What decides how
-- constants are written is fixed.
CREATE FUNCTION mvscheduler.seal_of(relation oid) RETURNS bytea
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
SET standard_conforming_strings = on
SET quote_all_identifiers = off
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
SET bytea_output = 'hex'
SET extra_float_digits = 1
AS $$
    SELECT sha256(convert_to(w.ev_action::text || named.columns, 'UTF8')) || sha256(convert_to(pg_get_viewdef(relation) || named.columns, 'UTF8'))
      FROM pg_rewrite AS w,
           LATERAL (SELECT coalesce(string_agg(a.attname, E'\n' ORDER BY a.attnum), '') AS columns FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0) AS named
     WHERE w.ev_class = relation AND w.rulename = '_RETURN'
$$;
COMMENT ON FUNCTION mvscheduler.seal_of(oid) IS 'Two digests of what a view does, each with the names of its columns: of the rule as PostgreSQL has stored it, and of the text that PostgreSQL makes of it. NULL when there is none.';

CREATE FUNCTION mvscheduler.temporary_below(relation oid) RETURNS TABLE (used text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT i.type || ' ' || i.identity
      FROM pg_depend AS d,
           LATERAL pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) AS i
     WHERE (d.classid, d.objid) IN (SELECT 'pg_class'::regclass::oid, relation   -- an OR would read all dependencies that there are
                                     UNION ALL
                                    SELECT 'pg_rewrite'::regclass::oid, w.oid FROM pg_rewrite AS w WHERE w.ev_class = relation)
       AND (d.refclassid, d.refobjid) <> ('pg_class'::regclass, relation)
       AND i.schema LIKE 'pg\_temp%';
END $$;
COMMENT ON FUNCTION mvscheduler.temporary_below(oid) IS 'Temporary types and functions that a view uses: PostgreSQL refuses temporary relations alone, and drops the view with the rest when their session ends.';

CREATE FUNCTION mvscheduler.relation_named(name text) RETURNS oid
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text[] := mvscheduler.split_name(name);
BEGIN
    RETURN (SELECT c.oid
              FROM pg_class AS c
              JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = parts[1] AND c.relname = parts[2]);
END $$;
COMMENT ON FUNCTION mvscheduler.relation_named(text) IS 'OID of a qualified name from the catalog itself, since the owner of this schema has no USAGE on users'' schemas.';

-- The key that the query proves ----------------------------------------------------------------------
--
-- pg_rewrite.ev_action holds the parsed query. Its fields are read at nesting depth: "({QUERY" opens
-- depth 2, so the query's own fields stand at depth 2, the target entries at depth 4. Within strings
-- the node format escapes brackets and blanks with a backslash.
CREATE FUNCTION mvscheduler.derived_key(query_relation oid) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan   -- it goes by OIDs, of which one is like another
SET standard_conforming_strings = on
SET quote_all_identifiers = off
AS $$
DECLARE
    q        record;
    grouped  boolean;
    columns  text[];
    base     oid;
    idx      record;
BEGIN
    IF (SELECT sum(length(w.ev_action::text)) FROM pg_rewrite AS w WHERE w.ev_class = query_relation) > 2000000 THEN
        RETURN NULL;   -- seconds of work: such a query states its key by hand
    END IF;
    WITH action AS (
        SELECT w.ev_action::text AS t
          FROM pg_rewrite AS w
         WHERE w.ev_class = query_relation AND w.ev_type = '1'
    ), token AS (
        SELECT m.o AS ord, m.x[1] AS tok
          FROM action, regexp_matches(action.t, '(\\.|[{}()]|:[a-zA-Z_]+ (?:\\.|[^\s{}()\\])*)', 'g') WITH ORDINALITY AS m(x, o)
    ), depth AS (
        SELECT ord, tok,
               sum(CASE WHEN tok IN ('{', '(') THEN 1 WHEN tok IN ('}', ')') THEN -1 ELSE 0 END) OVER (ORDER BY ord) AS lvl
          FROM token
    ), field AS (
        SELECT ord, lvl, split_part(tok, ' ', 1) AS key, substr(tok, strpos(tok, ' ') + 1) AS val
          FROM depth
         WHERE tok LIKE ':%'
    ), section AS (          -- each field of the query itself, with where it ends
        SELECT key, val, ord AS first, coalesce(lead(ord) OVER (ORDER BY ord), 2147483647) AS last
          FROM field
         WHERE lvl = 2
    ), grp AS (
        SELECT f.val::int AS ref
          FROM field AS f, section AS s
         WHERE s.key = ':groupClause' AND f.ord > s.first AND f.ord < s.last AND f.lvl = 4 AND f.key = ':tleSortGroupRef'
    ), dist AS (
        SELECT f.val::int AS ref
          FROM field AS f, section AS s
         WHERE s.key = ':distinctClause' AND f.ord > s.first AND f.ord < s.last AND f.lvl = 4 AND f.key = ':tleSortGroupRef'
    ), entry AS (
        SELECT f.ord, f.key, f.val, count(*) FILTER (WHERE f.key = ':resno') OVER (ORDER BY f.ord) AS n
          FROM field AS f, section AS s
         WHERE s.key = ':targetList' AND f.ord > s.first AND f.ord < s.last AND f.lvl = 4
           AND f.key IN (':resno', ':resname', ':ressortgroupref', ':resorigtbl', ':resorigcol', ':resjunk')
    ), target AS (
        SELECT n,
               max(val) FILTER (WHERE key = ':resno')::int AS resno,
               max(val) FILTER (WHERE key = ':ressortgroupref')::int AS ref,
               max(val) FILTER (WHERE key = ':resorigtbl')::bigint::oid AS tbl,
               max(val) FILTER (WHERE key = ':resorigcol')::int AS col,
               max(val) FILTER (WHERE key = ':resjunk') = 'true' AS junk
          FROM entry
         GROUP BY n
    )
    SELECT (SELECT bool_or(key = ':setOperations' AND val = '<>') FROM section) AS no_set_operation,
           (SELECT bool_or(key = ':groupingSets' AND val = '<>') FROM section) AS no_grouping_sets,
           (SELECT bool_or(key = ':hasTargetSRFs' AND val = 'false') FROM section) AS no_set_returning,
           (SELECT bool_or(key = ':hasDistinctOn' AND val = 'false') FROM section) AS no_distinct_on,
           (SELECT bool_or(key = ':hasAggs' AND val = 'true') FROM section) AS aggregates,
           (SELECT count(*) FROM grp) AS grouped_by,
           (SELECT count(*) FROM dist) AS distinct_on,
           (SELECT count(DISTINCT g.ref) FROM grp AS g JOIN target AS t ON t.ref = g.ref AND NOT t.junk) AS grouped_shown,
           (SELECT count(DISTINCT g.ref) FROM grp AS g) AS grouped_refs,
           (SELECT array_agg(DISTINCT t.resno) FROM target AS t JOIN grp AS g ON g.ref = t.ref WHERE NOT t.junk
               AND t.resno = (SELECT min(u.resno) FROM target AS u WHERE u.ref = t.ref AND NOT u.junk)) AS group_columns,
           (SELECT array_agg(t.resno ORDER BY t.resno) FROM target AS t WHERE NOT t.junk) AS all_columns,
           (SELECT count(*) FROM field AS f, section AS s
             WHERE s.key = ':jointree' AND f.ord > s.first AND f.ord < s.last AND f.lvl = 5 AND f.key = ':rtindex') AS from_items,
           (SELECT count(*) FROM field AS f, section AS s
             WHERE s.key = ':jointree' AND f.ord > s.first AND f.ord < s.last AND f.lvl = 5 AND f.key = ':jointype') AS from_joins,
           (SELECT bool_and(f.val = '0') FROM field AS f, section AS s
             WHERE s.key = ':rtable' AND f.ord > s.first AND f.ord < s.last AND f.lvl = 4 AND f.key = ':rtekind') AS only_tables,
           (SELECT jsonb_object_agg(t.tbl || '.' || t.col, t.resno) FROM target AS t WHERE NOT t.junk AND t.tbl <> 0 AND t.col > 0) AS origin,
           (SELECT array_agg(DISTINCT t.tbl) FROM target AS t WHERE NOT t.junk AND t.tbl <> 0 AND t.col > 0) AS tables
      INTO q;

    IF NOT coalesce(q.no_set_operation AND q.no_grouping_sets AND q.no_set_returning AND q.no_distinct_on, false) THEN
        RETURN NULL;
    END IF;
    grouped := q.grouped_by > 0;
    IF grouped AND q.grouped_shown = q.grouped_refs THEN
        columns := q.group_columns;
    ELSIF NOT grouped AND q.aggregates THEN
        columns := q.all_columns[1:1];
    ELSIF q.distinct_on > 0 THEN
        columns := q.all_columns;
    ELSIF NOT grouped AND q.from_items = 1 AND q.from_joins = 0 AND q.only_tables AND cardinality(q.tables) = 1 THEN
        -- One table, no join: a unique index on columns that are shown and cannot be NULL.
        base := q.tables[1];
        FOR idx IN
            SELECT i.indkey::int2[] AS keys, i.indnkeyatts AS n
              FROM pg_index AS i
              JOIN pg_class AS c ON c.oid = i.indrelid AND c.relkind IN ('r', 'p')
             WHERE i.indrelid = base AND i.indisunique AND i.indisvalid AND i.indimmediate
               AND i.indpred IS NULL AND i.indexprs IS NULL
               AND NOT EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhparent = base AND c.relkind = 'r')
               -- Unique in the sense of another collation or operator class is not unique in that of the view's index.
               AND NOT EXISTS (SELECT FROM unnest(i.indclass::oid[]) AS u(opclass) JOIN pg_opclass AS p ON p.oid = u.opclass WHERE NOT p.opcdefault)
               AND NOT EXISTS (SELECT
                                 FROM unnest(i.indkey::int2[], i.indcollation::oid[]) AS u(attnum, coll)
                                 JOIN pg_attribute AS a ON a.attrelid = base AND a.attnum = u.attnum
                                WHERE u.coll <> 0 AND u.coll <> a.attcollation)
               -- From 18 on a column may be NOT NULL for new rows only.
               AND NOT EXISTS (SELECT FROM pg_constraint AS n
                                WHERE n.conrelid = base AND n.contype = 'n' AND NOT n.convalidated AND n.conkey && i.indkey::int2[])
             ORDER BY i.indisprimary DESC, i.indnkeyatts
        LOOP
            SELECT array_agg((q.origin ->> (base || '.' || k))::text)
              INTO columns
              FROM unnest(idx.keys[0:idx.n - 1]) AS k
              JOIN pg_attribute AS a ON a.attrelid = base AND a.attnum = k AND a.attnotnull
             WHERE q.origin ? (base || '.' || k);
            EXIT WHEN cardinality(columns) = idx.n;
            columns := NULL;
        END LOOP;
    END IF;
    IF columns IS NULL OR cardinality(columns) > 32 THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT array_agg(a.attname::text ORDER BY a.attnum)
              FROM pg_attribute AS a
             WHERE a.attrelid = query_relation AND a.attnum = ANY (columns::int[]) AND NOT a.attisdropped);
END $$;
COMMENT ON FUNCTION mvscheduler.derived_key(oid) IS 'Columns that identify a row of a view, as far as its own query proves it: GROUP BY, DISTINCT, one aggregate row, or a unique index of the only table. NULL when nothing is proved.';
