-- The method incremental: a view that is recomputed bucket by bucket of time. Its query says with in_window which
-- column of which table holds the time; a step in the gate sets the window and replaces what the query gives for it.

-- Windows ------------------------------------------------------------------------------------------
--
-- All of these are SQL functions of one expression, so that the planner puts them in line: a condition on the bare
-- column, which indexes and partitions answer. Unbounded, they still leave out what is no sensible time, so that the
-- query by hand and the view agree: an infinite time, or one that calendars cannot be computed with, is in no bucket.

CREATE FUNCTION mvscheduler.window_start() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(nullif(pg_catalog.current_setting('mvscheduler.window_start', true), ''), '4000-01-01 00:00:00+00 BC')::timestamptz;
COMMENT ON FUNCTION mvscheduler.window_start() IS 'Where the window of the step that runs begins; everywhere else the year 4000 BC.';

CREATE FUNCTION mvscheduler.window_end() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(nullif(pg_catalog.current_setting('mvscheduler.window_end', true), ''), '200000-01-01 00:00:00+00')::timestamptz;
COMMENT ON FUNCTION mvscheduler.window_end() IS 'Where the window of the step that runs ends, exclusive; everywhere else the year 200000.';

CREATE FUNCTION mvscheduler.in_window(instant timestamptz) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN instant >= mvscheduler.window_start() AND instant < mvscheduler.window_end();
COMMENT ON FUNCTION mvscheduler.in_window(timestamptz) IS 'For the WHERE clause of an incremental view: true for the rows whose buckets are computed. By hand it is true for every time from 4000 BC to the year 200000.';

-- Through the zone of the session some of these would fall out of every window on the day on which clocks change.
CREATE FUNCTION mvscheduler.in_window(instant timestamp) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN instant >= mvscheduler.window_start() AT TIME ZONE 'UTC' AND instant < mvscheduler.window_end() AT TIME ZONE 'UTC';
COMMENT ON FUNCTION mvscheduler.in_window(timestamp) IS 'For the WHERE clause of an incremental view: true for the rows whose buckets are computed. By hand it is true for every time from 4000 BC to the year 200000.';

CREATE FUNCTION mvscheduler.in_window(day date) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN day >= mvscheduler.window_start() AT TIME ZONE 'UTC' AND day < mvscheduler.window_end() AT TIME ZONE 'UTC';
COMMENT ON FUNCTION mvscheduler.in_window(date) IS 'For the WHERE clause of an incremental view: true for the rows whose buckets are computed. By hand it is true for every time from 4000 BC to the year 200000.';

-- Windows of a range of changes -------------------------------------------------------------------------
--
-- Where a bucket begins cannot be told from its width and a zone: clocks change, and queries cut as they like. So
-- nothing is aligned. With w the width and s more than clocks ever move, a row at t is in the bucket that is called
-- after an instant from t - w - s to t + s. For changes from lo to hi the labels of those instants are replaced, and
-- to have all of them whole their rows from w + 2s before to w + 2s after are read.

-- Instants are kept within what all three types can hold after some hundred years are added or taken away.
CREATE FUNCTION mvscheduler.clamp(instant timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN least(greatest(instant, '4000-01-01 00:00:00+00 BC'::timestamptz), '200000-01-01 00:00:00+00'::timestamptz);
COMMENT ON FUNCTION mvscheduler.clamp(timestamptz) IS 'The instant, or the nearest one with which every type of time can be computed.';

CREATE FUNCTION mvscheduler.longest(width interval) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.make_interval(secs => 86400.0 * (31 * (12 * extract(year FROM width) + extract(month FROM width)) + extract(day FROM width)) + 3600.0 * extract(hour FROM width) + 60.0 * extract(minute FROM width) + extract(second FROM width));
COMMENT ON FUNCTION mvscheduler.longest(interval) IS 'An interval as hours, with months of 31 days: a bucket of this width is no longer, but for the change of clocks.';

CREATE FUNCTION mvscheduler.clock_moves(lo timestamptz, hi timestamptz, zone text) RETURNS interval
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT pg_catalog.max(o.shift) - pg_catalog.min(o.shift)
      FROM (SELECT (t.at AT TIME ZONE zone) - (t.at AT TIME ZONE 'UTC') AS shift
              FROM (SELECT lo + n * greatest(interval '6 hours', (hi - lo) / 200) AS at FROM pg_catalog.generate_series(0, 200) AS n) AS t
             WHERE t.at < hi
            UNION ALL
            SELECT (hi AT TIME ZONE zone) - (hi AT TIME ZONE 'UTC')) AS o;
END;
COMMENT ON FUNCTION mvscheduler.clock_moves(timestamptz, timestamptz, text) IS 'How far the clocks of a zone move between two instants; 0 where they do not.';

CREATE FUNCTION mvscheduler.window_of(lo timestamptz, hi timestamptz, width interval, zone text, unit text,
                                      OUT window_start timestamptz, OUT window_end timestamptz, OUT label_start timestamptz, OUT label_end timestamptz, OUT slack interval)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    w interval := mvscheduler.longest(width);
BEGIN
    slack := greatest(interval '1 hour', mvscheduler.clock_moves(mvscheduler.clamp(lo) - w - interval '1 day', mvscheduler.clamp(hi) + w + interval '1 day', zone));
    IF unit IS NOT NULL AND isfinite(lo) AND isfinite(hi) THEN   -- the query cuts by date_trunc in this zone
        window_start := date_trunc(unit, lo, zone);
        window_end := date_trunc(unit, hi, zone) + w;
        IF mvscheduler.clock_moves(window_start - interval '1 day', window_end + interval '1 day', zone) = interval '0' THEN
            window_end := (date_trunc(unit, hi AT TIME ZONE zone) + width) AT TIME ZONE zone;
            label_start := window_start;
            label_end := window_end;
            RETURN;
        END IF;
    END IF;
    label_start := CASE WHEN isfinite(lo) THEN mvscheduler.clamp(lo) - w - slack ELSE lo END;
    label_end := CASE WHEN isfinite(hi) THEN mvscheduler.clamp(hi) + slack ELSE hi END;
    window_start := CASE WHEN isfinite(lo) THEN label_start - slack ELSE '4000-01-01 00:00:00+00 BC' END;
    window_end := CASE WHEN isfinite(hi) THEN label_end + w + slack ELSE '200000-01-01 00:00:00+00' END;
END $$;
COMMENT ON FUNCTION mvscheduler.window_of(timestamptz, timestamptz, interval, text, text) IS 'For changes from lo to hi: the rows that are read (window), and the labels that are replaced, both without their ends. unit, where the query is known to cut by date_trunc: exact edges, unless clocks change nearby.';

-- Times of sources and labels without a zone count as if it were UTC; where one has a zone and the other has not, the
-- zone of the view is between them.
CREATE FUNCTION mvscheduler.label_text(instant timestamptz, label_type oid, source_type oid, zone text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
SET TimeZone = 'UTC'
AS $$
DECLARE
    bare timestamp;
BEGIN
    IF label_type = 'timestamptz'::regtype THEN
        IF source_type <> 'timestamptz'::regtype AND isfinite(instant) THEN
            instant := (instant AT TIME ZONE 'UTC') AT TIME ZONE zone;
        END IF;
        RETURN instant::text;
    END IF;
    bare := instant AT TIME ZONE CASE WHEN source_type = 'timestamptz'::regtype AND isfinite(instant) THEN zone ELSE 'UTC' END;
    IF label_type = 'date'::regtype THEN
        RETURN (CASE WHEN isfinite(bare) AND bare > bare::date THEN bare::date + 1 ELSE bare::date END)::text;   -- a day is called after its midnight
    END IF;
    RETURN bare::text;
END $$;
COMMENT ON FUNCTION mvscheduler.label_text(timestamptz, oid, oid, text) IS 'An instant among the times of a source as a bound for the labels of buckets, in the type that these have.';

-- Registration -----------------------------------------------------------------------------------------
--
-- An incremental view is  v__query  a plain view with the query
--                         v__data   a table with its columns, partitioned by time
--                         v         a plain view over v__data: what people read, grant and build upon
--                         v__gate   the gate through which the steps run
-- All of them belong to the user and are made in the user's session.

CREATE FUNCTION mvscheduler.check_incremental(op text, was mvscheduler.views, v mvscheduler.views) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
SET IntervalStyle = 'postgres'
AS $$
DECLARE
    col text;
BEGIN
    IF op = 'UPDATE' AND (v.method = 'incremental') <> (was.method = 'incremental') THEN
        RAISE EXCEPTION 'method of managed view % cannot be changed from "%" to "%"', v.name, was.method, v.method
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'An incremental view is made of other relations.',
                  HINT = 'DELETE the row and INSERT it anew with the other method.';
    END IF;
    IF v.method <> 'incremental' THEN
        RETURN;
    END IF;
    IF v.adopted THEN
        RAISE EXCEPTION 'an adopted view cannot have method "incremental"' USING ERRCODE = 'feature_not_supported', HINT = 'INSERT a row with the query.';
    ELSIF v.retention_period IS NOT NULL THEN
        RAISE EXCEPTION 'retention_period of a view with method "incremental" is not supported in this version' USING ERRCODE = 'feature_not_supported', HINT = 'Leave it at NULL.';
    ELSIF v.time_column IS NULL OR v.bucket_width IS NULL THEN
        RAISE EXCEPTION 'method "incremental" needs %', CASE WHEN v.time_column IS NULL THEN 'time_column' ELSE 'bucket_width' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'time_column names the output column that holds the start of the bucket, bucket_width says how wide it is, for example 1 hour.';
    ELSIF NOT isfinite(v.bucket_width) OR v.bucket_width < interval '1 second' OR v.bucket_width > interval '100 years' OR v.bucket_width::text ~ '-' THEN
        RAISE EXCEPTION 'invalid bucket_width: %', v.bucket_width USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval from 1 second to 100 years.';
    ELSIF v.lateness IS NULL OR NOT isfinite(v.lateness) OR v.lateness < interval '0' OR v.lateness > interval '100 years' THEN
        RAISE EXCEPTION 'invalid lateness: %', coalesce(v.lateness::text, 'NULL') USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval of at most 100 years.';
    END IF;
    col := CASE WHEN op <> 'UPDATE' THEN NULL
                WHEN v.time_column <> was.time_column THEN 'time_column'
                WHEN v.unique_key IS DISTINCT FROM was.unique_key THEN 'unique_key' END;
    IF col IS NOT NULL THEN
        RAISE EXCEPTION 'column "%" of a view with method "incremental" cannot be changed in this version', col
            USING ERRCODE = 'feature_not_supported', HINT = 'DELETE the row and INSERT it anew.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.check_incremental(text, mvscheduler.views, mvscheduler.views) IS 'Raises where the columns of a row do not make an incremental view, or change what such a view is.';

-- The tables that a query reads, through plain views, and of the one that in_window is asked about the column. What
-- PostgreSQL has stored says it: the text is deparsed from the rule, never what the user wrote. A row with col 0 is
-- a table of which any change may concern every bucket.
CREATE FUNCTION mvscheduler.sources_of(query_relation oid) RETURNS TABLE (relation oid, col smallint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    name_pattern text := '("(?:[^"]|"")+"|[a-z_][a-z0-9_]*)';
    tables  oid[];
    readers oid[];
    source  oid;
    at      smallint;
    call    record;
    place   record;
    matched oid[];
    windows int := 0;
    uses    int;
BEGIN
    WITH RECURSIVE chain(rel, kind) AS (
        SELECT c.oid, c.relkind FROM pg_class AS c WHERE c.oid = query_relation
        UNION
        SELECT c.oid, c.relkind
          FROM chain AS r
          JOIN pg_rewrite AS w ON w.ev_class = r.rel
          JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
          JOIN pg_class AS c ON c.oid = d.refobjid
         WHERE r.kind = 'v'
    )
    SELECT array_agg(r.rel ORDER BY r.rel) FILTER (WHERE r.kind IN ('r', 'p', 'm', 'f')), array_agg(r.rel ORDER BY r.rel) FILTER (WHERE r.kind = 'v')
      INTO tables, readers FROM chain AS r;
    FOR call IN
        SELECT r.oid AS reader, m.parts[2] AS alias, m.parts[3] AS name, m.parts[1] AS argument
          FROM unnest(readers) AS r(oid)
          JOIN pg_rewrite AS w ON w.ev_class = r.oid
         CROSS JOIN LATERAL regexp_matches(pg_get_viewdef(r.oid), 'mvscheduler\.in_window\(((?:' || name_pattern || '\.)?' || name_pattern || ')\)|mvscheduler\.in_window\(', 'g') AS m(parts)
         WHERE EXISTS (SELECT FROM pg_depend AS d JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
                        WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND p.pronamespace = 'mvscheduler'::regnamespace AND p.proname = 'in_window')
    LOOP
        IF call.argument IS NULL THEN
            RAISE EXCEPTION 'in_window is asked about an expression' USING ERRCODE = 'feature_not_supported',
                HINT = 'Write in_window(column) with the bare column of the table that holds the time, as timestamptz, timestamp or date.';
        END IF;
        windows := windows + 1;
        SELECT array_agg(DISTINCT c.oid) AS oids, min(c.relkind::text) AS kind, min(a.attnum) AS attnum INTO place
          FROM pg_rewrite AS w
          JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
          JOIN pg_class AS c ON c.oid = d.refobjid
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid AND quote_ident(a.attname) = call.name
         WHERE w.ev_class = call.reader AND c.oid <> call.reader
           AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
           AND (call.alias IS NULL OR quote_ident(c.relname) = call.alias
                OR NOT EXISTS (SELECT FROM pg_depend AS o JOIN pg_class AS n ON n.oid = o.refobjid
                                WHERE o.classid = 'pg_rewrite'::regclass AND o.objid = w.oid AND o.refclassid = 'pg_class'::regclass AND quote_ident(n.relname) = call.alias));
        matched := place.oids;
        IF cardinality(matched) IS DISTINCT FROM 1 THEN
            RAISE EXCEPTION '%', CASE WHEN matched IS NULL THEN format('in_window(%s) asks about no column of a table', call.argument)
                                      ELSE format('of which table column %s is that in_window asks about cannot be told', call.argument) END
                USING ERRCODE = CASE WHEN matched IS NULL THEN 'undefined_column' ELSE 'ambiguous_column' END,
                      HINT = 'Write in_window(table.column) right where the table is read, without giving the table another name.';
        END IF;
        IF place.kind = 'v' THEN   -- of another incremental view: it shows the columns of its data
            SELECT p.relation::oid AS oid, a.attnum INTO place
              FROM mvscheduler.visible_views AS o
              JOIN mvscheduler.visible_pieces AS p ON p.view_id = o.view_id AND p.kind = 'data'
              JOIN pg_attribute AS a ON a.attrelid = p.relation::oid AND quote_ident(a.attname) = call.name
             WHERE o.relation::oid = matched[1];
            IF place.oid IS NULL THEN
                RAISE EXCEPTION 'in_window(%) asks about a column of the view %', call.argument, mvscheduler.shown_name(matched[1]) USING ERRCODE = 'feature_not_supported',
                    HINT = 'Write in_window where the table below is read: in that view, or read the table itself.';
            END IF;
            matched := ARRAY[place.oid];
        ELSIF place.kind NOT IN ('r', 'p') THEN
            RAISE EXCEPTION 'in_window(%) asks about %, which is no table', call.argument, mvscheduler.shown_name(matched[1]) USING ERRCODE = 'feature_not_supported',
                HINT = 'Only of tables, and of incremental views, it is known which times change.';
        END IF;
        IF (source, at) IS DISTINCT FROM (matched[1], place.attnum) AND source IS NOT NULL THEN
            RAISE EXCEPTION 'in_window is asked about several columns' USING ERRCODE = 'feature_not_supported', HINT = 'One table gives the time of a row; other tables are joined to it.';
        END IF;
        source := matched[1];
        at := place.attnum;
    END LOOP;
    FOR place IN SELECT t.oid FROM unnest(tables) AS t(oid) LOOP
        relation := place.oid;
        col := 0;
        IF relation = source THEN
            col := at;
            RETURN NEXT;
            -- Read more often than in_window is asked: there it is a table like any other.
            SELECT count(*) INTO uses FROM pg_rewrite AS w, regexp_matches(w.ev_action::text, ':rtekind 0 :relid ' || relation || ' ', 'g') WHERE w.ev_class = ANY (readers);
            CONTINUE WHEN uses <= windows;
            col := 0;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.sources_of(oid) IS 'Tables that a query reads: col is the column that in_window is asked about, 0 for the others. Raises where that cannot be told.';

-- Columns that identify a row, with the time first: rows of one bucket stand together.
CREATE FUNCTION mvscheduler.increment_key(v mvscheduler.views, query_relation oid) RETURNS text[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key     text[] := nullif(coalesce(v.unique_key, mvscheduler.derived_key_of(v, query_relation)), '{}');
    strange text := (SELECT k FROM unnest(key) AS k WHERE NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = query_relation AND a.attname = k AND a.attnum > 0) LIMIT 1);
BEGIN
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'column "%" named in key does not exist', strange USING ERRCODE = 'undefined_column', HINT = 'unique_key names columns of the query.';
    ELSIF v.unique_key <> '{}' AND v.time_column <> ALL (key) THEN
        RAISE EXCEPTION 'unique_key of managed view % does not contain its time_column %', v.name, quote_ident(v.time_column)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Rows are told apart within their bucket: add it.';
    ELSIF v.time_column <> ALL (key) THEN
        RETURN NULL;
    END IF;
    RETURN CASE WHEN key IS NOT NULL THEN ARRAY[v.time_column] || array_remove(key, v.time_column) END;
END $$;
COMMENT ON FUNCTION mvscheduler.increment_key(mvscheduler.views, oid) IS 'Columns that identify a row of an incremental view, given or derived, the time first; NULL when nothing is proved.';

CREATE FUNCTION mvscheduler.create_incremental(v mvscheduler.views) RETURNS oid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text[] := mvscheduler.split_name(v.name);
    place oid := (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = parts[1]);
    names text[];
    query oid;
    data  oid;
    gate  oid;
    relid oid;
    key   text[];
    made  text;
BEGIN
    BEGIN
        PERFORM mvscheduler.probe_query(v, parts[1], parts[2]);
    EXCEPTION WHEN duplicate_table THEN
        RAISE EXCEPTION '%', SQLERRM USING ERRCODE = 'duplicate_table', HINT = 'Choose another name.';
    END;
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', parts[1], parts[2]);
    names := ARRAY(SELECT mvscheduler.free_name(parts[1], parts[2], s) FROM unnest('{__query,__data,__gate}'::text[]) WITH ORDINALITY AS u(s, n) ORDER BY n);
    PERFORM mvscheduler.create_query_view(v, parts[1], names[1]);
    query := format('%I.%I', parts[1], names[1])::regclass;
    EXECUTE format('COMMENT ON VIEW %I.%I IS %L', parts[1], names[1], 'mvscheduler: query of ' || v.name);
    PERFORM mvscheduler.check_time_column(v, query);
    IF NOT EXISTS (SELECT FROM mvscheduler.sources_of(query) AS s WHERE s.col > 0) THEN
        RAISE NOTICE 'the query of managed view % does not ask in_window', v.name
            USING DETAIL = 'Whenever anything changes below it, all of it is computed.',
                  HINT = 'Add WHERE mvscheduler.in_window(column) with the column of the table from which the time of a bucket comes.';
    END IF;

    EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I) PARTITION BY RANGE (%4$I)', parts[1], names[2], names[1], v.time_column);
    data := format('%I.%I', parts[1], names[2])::regclass;
    EXECUTE format('COMMENT ON TABLE %I.%I IS %L', parts[1], names[2], 'mvscheduler: data of ' || v.name);
    key := mvscheduler.increment_key(v, query);
    IF key IS NOT NULL THEN
        BEGIN
            made := mvscheduler.free_name(parts[1], names[2], '_key');
            EXECUTE format('CREATE UNIQUE INDEX %I ON %I.%I (%s) NULLS NOT DISTINCT', made, parts[1], names[2], (SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(key) WITH ORDINALITY AS u(k, n)));
            EXECUTE format('COMMENT ON INDEX %I.%I IS %L', parts[1], made, 'mvscheduler: unique_key');
        EXCEPTION WHEN undefined_object THEN   -- json, say
            IF v.unique_key IS NOT NULL THEN
                RAISE;
            END IF;
            key := NULL;
        END;
    END IF;
    IF key IS NULL THEN
        RAISE NOTICE 'managed view % has no key', v.name USING DETAIL = 'A bucket that changed is replaced as a whole.',
            HINT = 'Name the columns that identify a row in unique_key, the time_column among them; then only rows that differ are written.';
        made := mvscheduler.free_name(parts[1], names[2], '_buckets');
        EXECUTE format('CREATE INDEX %I ON %I.%I (%I)', made, parts[1], names[2], v.time_column);
        EXECUTE format('COMMENT ON INDEX %I.%I IS %L', parts[1], made, 'mvscheduler: buckets');
    END IF;
    EXECUTE format('CREATE MATERIALIZED VIEW %I.%I AS SELECT mvscheduler.step(%s) AS step WITH NO DATA', parts[1], names[3], v.id);
    gate := format('%I.%I', parts[1], names[3])::regclass;
    EXECUTE format('COMMENT ON MATERIALIZED VIEW %I.%I IS %L', parts[1], names[3], 'mvscheduler: gate of ' || v.name);
    EXECUTE format('CREATE VIEW %1$I.%2$I AS SELECT %3$s FROM %1$I.%4$I', parts[1], parts[2],
                   (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a WHERE a.attrelid = data AND a.attnum > 0), names[2]);
    PERFORM mvscheduler.keep_to_owner(r) FROM unnest(ARRAY[query, data, gate]) AS r;
    relid := mvscheduler.relation_named(v.name);
    PERFORM mvscheduler.grant_to_worker(v, gate);
    PERFORM mvscheduler.demand_same((SELECT bool_and(c.relnamespace = place) AND count(*) = 4 FROM pg_class AS c WHERE c.oid IN (relid, query, data, gate)), v.name);
    PERFORM set_config('mvscheduler.increment', concat_ws(' ', query, gate, data), true);
    RETURN relid;
END $$;
COMMENT ON FUNCTION mvscheduler.create_incremental(mvscheduler.views) IS 'Makes what an incremental view is made of, empty; returns the view that people read, and tells c_bookkeeping and d_pieces of the others.';

-- c_bookkeeping believes only in a plain view of the owner.
CREATE FUNCTION mvscheduler.query_relation_told(owner regrole) RETURNS oid
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    told oid := split_part(current_setting('mvscheduler.increment'), ' ', 1)::oid;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = told AND c.relkind = 'v' AND c.relowner = owner::oid) THEN
        RAISE EXCEPTION 'the plain view with the query is not what it should be' USING ERRCODE = 'wrong_object_type';
    END IF;
    RETURN told;
END $$;
COMMENT ON FUNCTION mvscheduler.query_relation_told(regrole) IS 'The plain view with the query that b_ddl has just made for an incremental view.';

CREATE FUNCTION mvscheduler.alter_incremental(was mvscheduler.views, v mvscheduler.views, relation oid, query_relation oid) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    data   oid := (SELECT p.relation::oid FROM mvscheduler.visible_pieces AS p WHERE p.view_id = v.id AND p.kind = 'data');
    helper record;
    probe  text;
    before text[];
    after  text[];
    key    text[];
    new    oid;
BEGIN
    IF v.indexes IS DISTINCT FROM was.indexes THEN
        PERFORM mvscheduler.drop_indexes(data, 'mvscheduler: indexes');
    END IF;
    IF NOT mvscheduler.parses_query(was, v) THEN
        RETURN '';
    END IF;
    SELECT n.nspname, c.relname INTO helper FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = query_relation AND c.relkind = 'v';
    IF NOT FOUND OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = data AND c.relkind = 'p') THEN
        RAISE EXCEPTION 'a part of managed view % does not exist any more', v.name USING ERRCODE = 'undefined_table', HINT = 'DELETE the row and INSERT it anew.';
    END IF;
    probe := mvscheduler.free_name(helper.nspname, helper.relname, '__probe');
    PERFORM mvscheduler.probe_query(v, helper.nspname, probe);
    new := format('%I.%I', helper.nspname, probe)::regclass;
    IF mvscheduler.reads(new, query_relation) OR mvscheduler.reads(new, data) THEN
        RAISE EXCEPTION 'the new query of managed view % reads the view itself', v.name USING ERRCODE = 'invalid_object_definition';
    END IF;
    before := mvscheduler.columns_of(helper.nspname, helper.relname);
    after := mvscheduler.columns_of(helper.nspname, probe);
    key := mvscheduler.increment_key(v, new);
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', helper.nspname, probe);
    IF before IS DISTINCT FROM after THEN
        RAISE EXCEPTION 'the new query of managed view % has other columns', v.name USING ERRCODE = 'feature_not_supported',
            DETAIL = format('Its columns: %s. Columns of the query: %s.', array_to_string(before, ', '), array_to_string(after, ', ')),
            HINT = 'With method "incremental" that is not supported in this version: DELETE the row and INSERT it anew.';
    ELSIF mvscheduler.key_of(data) IS NOT NULL AND key IS DISTINCT FROM mvscheduler.key_of(data) THEN   -- without a key anything goes
        RAISE EXCEPTION 'rows of the new query of managed view % are told apart by other columns', v.name USING ERRCODE = 'feature_not_supported',
            HINT = 'With method "incremental" that is not supported in this version: name the columns in unique_key, or DELETE the row and INSERT it anew.';
    END IF;
    PERFORM mvscheduler.create_query_view(v, helper.nspname, helper.relname);
    PERFORM mvscheduler.demand_same(to_regclass(format('%I.%I', helper.nspname, helper.relname)) = query_relation, v.name);
    PERFORM mvscheduler.sources_of(query_relation);   -- or raises
    RETURN '';
END $$;
COMMENT ON FUNCTION mvscheduler.alter_incremental(mvscheduler.views, mvscheduler.views, oid, oid) IS 'Brings an incremental view in line with its changed row: another query of the same columns in place, anything else is refused.';

CREATE FUNCTION mvscheduler.key_of(data oid) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (SELECT array_agg(a.attname::text ORDER BY k.n)
              FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
              JOIN pg_attribute AS a ON a.attrelid = data AND a.attnum = k.attnum)
      FROM pg_index AS i
     WHERE i.indrelid = data AND i.indisunique AND obj_description(i.indexrelid, 'pg_class') = 'mvscheduler: unique_key'
     LIMIT 1
$$;
COMMENT ON FUNCTION mvscheduler.key_of(oid) IS 'Columns of the key of an incremental view, by the index on its data; NULL when it has none.';

-- Triggers, defaults, constraints and indexes of a table would run as the new owner, and the row shows none of them.
CREATE FUNCTION mvscheduler.demand_no_hidden_data(v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF v.method = 'incremental' THEN
        RAISE EXCEPTION 'managed view % cannot be given to %: what hangs on its data would run with the rights of %', v.name, v.owner, v.owner
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Give it to a role that its owner can become, or DELETE the row and INSERT it as the other role.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_no_hidden_data(mvscheduler.views) IS 'Raises where an incremental view would go to a role that its old owner cannot become.';

CREATE FUNCTION mvscheduler.rename_partitions(data oid, schema_name text, data_name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel record;
BEGIN
    FOR rel IN
        SELECT c.oid, n.nspname, c.relname, 'mvscheduler moves ' || c.oid AS passing, coalesce(substring(c.relname FROM '_[0-9]+[bc0-9]*$'), '_1') AS suffix
          FROM pg_partition_tree(data::regclass) AS t
          JOIN pg_class AS c ON c.oid = t.relid AND c.oid <> data
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         ORDER BY c.oid
    LOOP
        EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', rel.nspname, rel.relname, rel.passing);
        IF rel.nspname <> schema_name THEN
            EXECUTE format('ALTER TABLE %I.%I SET SCHEMA %I', rel.nspname, rel.passing, schema_name);
        END IF;
        EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', schema_name, rel.passing, mvscheduler.free_name(schema_name, data_name, rel.suffix));
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.rename_partitions(oid, text, text) IS 'Renames or moves the partitions of the data of an incremental view after it.';
