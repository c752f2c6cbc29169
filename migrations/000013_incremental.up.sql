-- The method incremental: a view that is recomputed bucket by bucket of time. Its query says with in_window which
-- column of which table holds the time; a step in the gate sets the window and replaces what the query gives for it.

-- Windows ------------------------------------------------------------------------------------------
--
-- in_window is an SQL function of one expression, so that the planner puts it in line: a condition on the bare column,
-- which indexes and partitions answer. Unbounded, it still leaves out what is no sensible time, so that the query by hand
-- and the view agree: an infinite time, or one that calendars cannot be computed with, is in no bucket.
--
-- The bounds change from one statement to the next, so IMMUTABLE is not what they are. It is what makes the planner ask
-- once and plan with literals, where a STABLE function is called for every row of a sequential scan, which takes ten times
-- what the scan takes, and partitions are pruned one by one while it runs. Steps plan each statement anew. Only a plan that
-- a session keeps would be wrong: of a function that asks in_window itself, so that is refused. Elsewhere the bounds do
-- not change.

CREATE FUNCTION mvscheduler.window_start() RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce(nullif(current_setting('mvscheduler.window_start', true), ''), '4000-01-01 00:00:00+00 BC');
END $$;
COMMENT ON FUNCTION mvscheduler.window_start() IS 'Where the window of the step that runs begins; everywhere else the year 4000 BC.';

CREATE FUNCTION mvscheduler.window_end() RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce(nullif(current_setting('mvscheduler.window_end', true), ''), '200000-01-01 00:00:00+00');
END $$;
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
-- nothing is aligned. With w the width and s as far as clocks ever move, a row at t is in the bucket that is called
-- after an instant from t - w - s to t + s, both included: where clocks skip midnight the day begins at one. For changes from lo to hi the labels of those instants are replaced, and
-- to have all of them whole their rows from w + 2s before to w + 2s after are read.

-- Instants are kept within what all three types can hold after some hundred years are added or taken away.
CREATE FUNCTION mvscheduler.clamp(instant timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN least(greatest(instant, '4000-01-01 00:00:00+00 BC'::timestamptz), '200000-01-01 00:00:00+00'::timestamptz);
COMMENT ON FUNCTION mvscheduler.clamp(timestamptz) IS 'The instant, or the nearest one with which every type of time can be computed.';

-- 30 days are equal to a month, so who says them may mean one.
CREATE FUNCTION mvscheduler.longest(width interval) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT pg_catalog.make_interval(secs => 86400.0 * (31 * (12 * extract(year FROM w.i) + extract(month FROM w.i)) + extract(day FROM w.i)) + 3600.0 * extract(hour FROM w.i) + 60.0 * extract(minute FROM w.i) + extract(second FROM w.i))
      FROM (SELECT pg_catalog.justify_interval(width) AS i) AS w;
END;
COMMENT ON FUNCTION mvscheduler.longest(interval) IS 'An interval as hours, with months of 31 days, and 30 days as a month: a bucket of this width is no longer, but for the change of clocks.';

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

-- How wide date_trunc cuts; an interval is equal to others that are something else (30 days and 1 month).
CREATE FUNCTION mvscheduler.unit_width(unit text) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN unit = 'quarter' THEN interval '3 months' WHEN unit IN ('minute', 'hour', 'day', 'week', 'month', 'year') THEN ('1 ' || unit)::interval END;
COMMENT ON FUNCTION mvscheduler.unit_width(text) IS 'Width of the buckets that date_trunc makes by a unit; NULL for units of which edges are not computed.';

-- Only where the clocks of an edge stand still for a day around it is it known that what comes before it has labels
-- before it.
CREATE FUNCTION mvscheduler.window_of(lo timestamptz, hi timestamptz, width interval, zone text, unit text,
                                      OUT window_start timestamptz, OUT window_end timestamptz, OUT label_start timestamptz, OUT label_end timestamptz, OUT slack interval, OUT exact boolean)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    w interval := mvscheduler.longest(width);
BEGIN
    IF mvscheduler.unit_width(unit) IS NOT NULL AND lo = mvscheduler.clamp(lo) AND hi = mvscheduler.clamp(hi) THEN   -- the query cuts by date_trunc in this zone
        window_start := date_trunc(unit, lo, zone);
        window_end := (date_trunc(unit, hi AT TIME ZONE zone) + mvscheduler.unit_width(unit)) AT TIME ZONE zone;
        exact := mvscheduler.clock_moves(window_start - interval '1 day', window_start + interval '1 day', zone) = interval '0'
                 AND mvscheduler.clock_moves(window_end - interval '1 day', window_end + interval '1 day', zone) = interval '0';
        IF exact THEN
            slack := interval '0';
            label_start := window_start;
            label_end := window_end;
            RETURN;
        END IF;
    END IF;
    exact := false;
    slack := greatest(interval '1 hour', mvscheduler.clock_moves(mvscheduler.clamp(lo) - w - interval '1 day', mvscheduler.clamp(hi) + w + interval '1 day', zone));
    label_start := CASE WHEN isfinite(lo) THEN mvscheduler.clamp(lo) - w - slack ELSE lo END;
    label_end := CASE WHEN isfinite(hi) THEN mvscheduler.clamp(hi) + slack + interval '1 microsecond' ELSE hi END;
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
BEGIN
    IF v.method <> 'incremental' THEN
        RETURN;
    END IF;
    IF v.adopted THEN
        RAISE EXCEPTION 'an adopted view cannot have method "incremental"' USING ERRCODE = 'feature_not_supported', HINT = 'INSERT a row with the query.';
    ELSIF v.time_column IS NULL OR v.bucket_width IS NULL THEN
        RAISE EXCEPTION 'method "incremental" needs %', CASE WHEN v.time_column IS NULL THEN 'time_column' ELSE 'bucket_width' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'time_column names the output column that holds the start of the bucket, bucket_width says how wide it is, for example 1 hour.';
    ELSIF NOT isfinite(v.bucket_width) OR v.bucket_width < interval '1 second' OR v.bucket_width > interval '100 years' OR v.bucket_width::text ~ '-' THEN
        RAISE EXCEPTION 'invalid bucket_width: %', v.bucket_width USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval from 1 second to 100 years.';
    ELSIF v.lateness IS NULL OR NOT isfinite(v.lateness) OR v.lateness < interval '0' OR v.lateness > interval '100 years' THEN
        RAISE EXCEPTION 'invalid lateness: %', coalesce(v.lateness::text, 'NULL') USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval of at most 100 years.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.check_incremental(text, mvscheduler.views, mvscheduler.views) IS 'Raises where the columns of a row do not make an incremental view, or change what such a view is.';

-- What PostgreSQL has stored of a query is a text of nodes, {NAME :field value ...}, and of lists, (...). Here it becomes
-- JSON, one document for each SELECT in it, in which another SELECT is {"level": number}. A field comes with its value in
-- one piece, and in names spaces, brackets and braces are escaped, so no name looks like any of this. A node that is not
-- there is an empty list, as it is to PostgreSQL. Left out is what differs where one thing is written twice.
CREATE FUNCTION mvscheduler.stored_selects(reader oid) RETURNS TABLE (level int, parent int, node jsonb)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    token   text[];
    before  text := '';     -- kind of the token before: {, }, (, ), field or word
    piece   text;
    selects int := 0;
    open    int[] := '{}';   -- SELECTs that have not ended,
    parents int[] := '{}';
    began   int[] := '{}';   -- and how deep each of them began
    depth   int := 0;
    at      int[] := '{}';
    pieces  text[] := '{}';
BEGIN
    FOR token IN
        SELECT m.parts
          FROM pg_rewrite AS w
         CROSS JOIN LATERAL regexp_matches(w.ev_action::text, '([{][A-Z_0-9]+|[})(]|:([A-Za-z_]+)(?: ([0-9]+ \[[^]]*\]|(?:\\.|[^ (){}\\])+))?|(?:\\.|[^ (){}\\])+)', 'g') AS m(parts)
         WHERE w.ev_class = reader
    LOOP
        piece := CASE WHEN before IN ('}', ')', 'word') AND token[1] !~ '^[:})]' THEN ',' ELSE '' END;
        IF token[1] = '{QUERY' THEN
            depth := depth + 1;
            selects := selects + 1;
            at := at || open[cardinality(open)];
            pieces := pieces || (piece || '{"level":' || selects || '}');
            parents := parents || coalesce(open[cardinality(open)], 0);
            open := open || selects;
            began := began || depth;
            piece := '{"node":"QUERY"';
            before := '{';
        ELSIF token[1] LIKE '{%' THEN
            depth := depth + 1;
            piece := piece || '{"node":' || to_json(substr(token[1], 2));
            before := '{';
        ELSIF token[2] IS NOT NULL AND token[3] IS NULL THEN
            piece := ',"' || token[2] || '":';
            before := 'field';
        ELSIF token[2] IS NOT NULL THEN
            CONTINUE WHEN token[2] IN ('location', 'stmt_location', 'stmt_len', 'varnosyn', 'varattnosyn');
            piece := ',"' || token[2] || '":' || CASE token[3] WHEN '<>' THEN '[]' ELSE to_json(regexp_replace(token[3], '\\(.)', '\1', 'g'))::text END;
            before := 'value';
        ELSIF token[1] = '(' THEN
            piece := piece || '[';
            before := '(';
        ELSIF token[1] = ')' THEN
            piece := ']';
            before := ')';
        ELSIF token[1] = '}' THEN
            piece := '}';
            before := '}';
        ELSE
            CONTINUE WHEN before = 'value';
            piece := piece || CASE token[1] WHEN '<>' THEN '[]' ELSE to_json(regexp_replace(token[1], '\\(.)', '\1', 'g'))::text END;
            before := 'word';
        END IF;
        at := at || open[cardinality(open)];
        pieces := pieces || piece;
        IF token[1] = '}' THEN
            IF depth = began[cardinality(began)] THEN
                open := trim_array(open, 1);
                began := trim_array(began, 1);
            END IF;
            depth := depth - 1;
        END IF;
    END LOOP;
    RETURN QUERY
    SELECT p.at, parents[p.at], string_agg(p.piece, '' ORDER BY p.place)::jsonb
      FROM unnest(at, pieces) WITH ORDINALITY AS p(at, piece, place)
     WHERE p.at IS NOT NULL
     GROUP BY p.at;
END $$;
COMMENT ON FUNCTION mvscheduler.stored_selects(oid) IS 'The SELECTs of a plain view as PostgreSQL has stored them: which of them stands in which, 0 for none, and their nodes, whose fields are called as in PostgreSQL''s parsenodes.h and primnodes.h.';

-- Through what a join, and from PostgreSQL 18 on a GROUP BY, calls them; of a function in FROM also what it is called with.
CREATE FUNCTION mvscheduler.columns_named(node jsonb, expr jsonb) RETURNS TABLE (up int, place int, col int)
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE var(node) AS (
        SELECT v FROM jsonb_path_query($2, 'strict $.**?(@.node == "VAR")') AS v
        UNION
        SELECT v.node
          FROM var AS n
         CROSS JOIN LATERAL (SELECT $1 -> 'rtable' -> ((n.node ->> 'varno')::int - 1)) AS t(rte)
         CROSS JOIN LATERAL jsonb_path_query(coalesce(t.rte -> 'functions', t.rte -> 'values_lists', coalesce(t.rte -> 'joinaliasvars', t.rte -> 'groupexprs') -> ((n.node ->> 'varattno')::int - 1)),
                                             'strict $.**?(@.node == "VAR")') AS v(node)
         WHERE n.node ->> 'varlevelsup' = '0' AND t.rte ->> 'rtekind' IN ('2', '3', '5', '9')
    )
    SELECT DISTINCT (n.node ->> 'varlevelsup')::int, (n.node ->> 'varno')::int, (n.node ->> 'varattno')::int
      FROM var AS n
     WHERE n.node ->> 'varlevelsup' <> '0' OR $1 #>> ARRAY['rtable', ((n.node ->> 'varno')::int - 1)::text, 'rtekind'] NOT IN ('2', '9')
$$;
COMMENT ON FUNCTION mvscheduler.columns_named(jsonb, jsonb) IS 'The columns that an expression of a SELECT names: how many SELECTs further out they are read, at which place of its range table what they are columns of is, and their numbers.';

CREATE FUNCTION mvscheduler.times_named(node jsonb, expr jsonb) RETURNS TABLE (up int, place int, col int)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH named AS MATERIALIZED (
        SELECT n.* FROM mvscheduler.columns_named($1, $2) AS n
    ), comparison AS (
        SELECT q.node -> 'args' AS args
          FROM jsonb_path_query($1 -> 'jointree', 'strict $.**?(@.node == "OPEXPR")') AS q(node)
          JOIN pg_operator AS o ON o.oid = (q.node ->> 'opno')::oid AND o.oprname IN ('=', '<', '<=', '>', '>=') AND o.oprnamespace = 'pg_catalog'::regnamespace
                               AND o.oprleft IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
    )
    SELECT n.* FROM named AS n
    UNION
    SELECT y.*
      FROM comparison AS e
     CROSS JOIN (VALUES (0, 1), (1, 0)) AS s(one, other)
     CROSS JOIN LATERAL mvscheduler.columns_named($1, e.args -> s.other) AS y
     WHERE EXISTS (SELECT FROM mvscheduler.columns_named($1, e.args -> s.one) AS x JOIN named AS n ON n.up = x.up AND n.place = x.place AND n.col = x.col)
$$;
COMMENT ON FUNCTION mvscheduler.times_named(jsonb, jsonb) IS 'columns_named, and the columns of the times that the SELECT compares with one of them where it joins and filters: a calendar is tied so to what is counted.';

CREATE FUNCTION mvscheduler.determine(keys jsonb[], expr jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rest text := expr::text;
    key  text;
BEGIN
    FOR key IN SELECT k::text FROM unnest(keys) AS k ORDER BY length(k::text) DESC LOOP
        rest := replace(rest, key, '"key"');
    END LOOP;
    RETURN strpos(rest, '"key"') > 0 AND rest !~ '"node": "(VAR|AGGREF|WINDOWFUNC|SUBLINK|PARAM)"';
END $$;
COMMENT ON FUNCTION mvscheduler.determine(jsonb[], jsonb) IS 'Whether an expression of a SELECT is one of these expressions, or computed from them and nothing else that differs from row to row.';

-- Computed window by window the query has to be what it is as a whole. So no row may meet rows of other windows: LIMIT and
-- grouping sets are refused around in_window, and two windows but in the arms of a UNION or the like, and so are
-- expressions of a subquery with a window. What the time_column is made of is followed from column to column (tied).
-- What brings rows together, GROUP BY, DISTINCT and windows of window functions, has to determine what it is made of there,
-- and this has to be a time of each thing with a window that is read there.
-- Returns whether all that is read of what in_window is asked about (targets) is read within windows.
CREATE FUNCTION mvscheduler.check_windows(query_relation oid, readers oid[], targets oid[], parsed int, time_column text) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    windows oid[] := ARRAY(SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'mvscheduler'::regnamespace AND p.proname = 'in_window');
    verdict record;
BEGIN
    WITH RECURSIVE levels AS MATERIALIZED (
        SELECT r.oid AS reader, s.level, s.parent, s.node, w.calls, w.asks,
               ARRAY(SELECT CASE t.rte ->> 'rtekind' WHEN '0' THEN (t.rte ->> 'relid')::oid ELSE 0 END FROM jsonb_array_elements(s.node -> 'rtable') WITH ORDINALITY AS t(rte, place) ORDER BY t.place) AS reads
          FROM unnest(readers) AS r(oid)
         CROSS JOIN LATERAL mvscheduler.stored_selects(r.oid) AS s
         CROSS JOIN LATERAL (SELECT count(*) AS calls, array_agg(DISTINCT CASE WHEN f.node #>> '{args,0,node}' = 'VAR' AND f.node #>> '{args,0,varlevelsup}' = '0' THEN (f.node #>> '{args,0,varno}')::int ELSE -1 END) AS asks
                               FROM jsonb_path_query(s.node, 'strict $.**?(@.node == "FUNCEXPR")') AS f(node)
                              WHERE (f.node ->> 'funcid')::oid = ANY (windows)) AS w
    ), around(reader, level, up, outer_level) AS (
        SELECT l.reader, l.level, 0, l.level FROM levels AS l
        UNION ALL
        SELECT a.reader, a.level, a.up + 1, l.parent FROM around AS a JOIN levels AS l ON l.reader = a.reader AND l.level = a.outer_level WHERE l.parent > 0
    ), cte AS (
        SELECT a.reader, a.level, a.up, k.node ->> 'ctename' AS name, (k.node #>> '{ctequery,level}')::int AS query, k.node ->> 'cterefcount' NOT IN ('0', '1') AS shared
          FROM around AS a JOIN levels AS l ON l.reader = a.reader AND l.level = a.outer_level
         CROSS JOIN LATERAL jsonb_array_elements(l.node -> 'cteList') AS k(node)
    ), place AS (   -- what is read there
        SELECT l.reader, l.level, t.place::int AS place,
               CASE t.rte ->> 'rtekind' WHEN '0' THEN (t.rte ->> 'relid')::oid ELSE l.reader END AS from_reader,
               CASE t.rte ->> 'rtekind' WHEN '0' THEN 1 WHEN '1' THEN (t.rte #>> '{subquery,level}')::int
                    WHEN '6' THEN (SELECT k.query FROM cte AS k WHERE k.reader = l.reader AND k.level = l.level AND k.up = (t.rte ->> 'ctelevelsup')::int AND k.name = t.rte ->> 'ctename') END AS from_level
          FROM levels AS l CROSS JOIN LATERAL jsonb_array_elements(l.node -> 'rtable') WITH ORDINALITY AS t(rte, place)
         WHERE t.rte ->> 'rtekind' IN ('1', '6') OR t.rte ->> 'rtekind' = '0' AND (t.rte ->> 'relid')::oid <> l.reader
    ), expression AS (   -- SELECTs that are read in no FROM
        SELECT l.reader, l.level, l.parent
          FROM levels AS l
         WHERE l.parent > 0
           AND NOT EXISTS (SELECT FROM place AS p WHERE p.from_reader = l.reader AND p.from_level = l.level)
           AND NOT EXISTS (SELECT FROM cte AS k WHERE k.reader = l.reader AND k.query = l.level)
    ), input AS (   -- which SELECT reads which
        SELECT p.reader, p.level, p.from_reader, p.from_level FROM place AS p
        UNION ALL
        SELECT e.reader, e.parent, e.reader, e.level FROM expression AS e
    ), windowed(reader, level) AS (   -- in which, or below which, in_window is asked
        SELECT l.reader, l.level FROM levels AS l WHERE l.calls > 0
        UNION
        SELECT i.reader, i.level FROM windowed AS w JOIN input AS i ON i.from_reader = w.reader AND i.from_level = w.level
    ), label AS (   -- the time_column
        SELECT l.reader, l.level, t.place::int AS col
          FROM levels AS l CROSS JOIN LATERAL jsonb_array_elements(l.node -> 'targetList') WITH ORDINALITY AS t(target, place)
         WHERE l.reader = query_relation AND l.level = 1 AND t.target ->> 'resname' = time_column AND t.target ->> 'resjunk' = 'false'
    ), tied(reader, level, place, col, from_reader, from_level) AS (   -- the columns that it is made of, of what is read
        SELECT b.reader, NULL::int, NULL::int, b.col, b.reader, b.level FROM label AS b
        UNION
        SELECT n.reader, n.level, n.place, n.col, p.from_reader, p.from_level
          FROM tied AS m
          JOIN levels AS l ON l.reader = m.from_reader AND l.level = m.from_level AND m.col > 0   -- 0 is a whole row
         CROSS JOIN LATERAL (SELECT l.reader, l.level, t.place::int, m.col   -- the arms of a UNION
                               FROM jsonb_array_elements(l.node -> 'rtable') WITH ORDINALITY AS t(rte, place)
                              WHERE l.node -> 'setOperations' <> '[]' AND t.rte ->> 'rtekind' = '1'
                             UNION ALL
                             SELECT l.reader, a.outer_level, c.place, c.col
                               FROM mvscheduler.times_named(l.node, l.node -> 'targetList' -> (m.col - 1) -> 'expr') AS c
                               JOIN around AS a ON a.reader = l.reader AND a.level = l.level AND a.up = c.up
                              WHERE l.node -> 'setOperations' = '[]') AS n(reader, level, place, col)
          LEFT JOIN place AS p ON p.reader = n.reader AND p.level = n.level AND p.place = n.place
    ), together AS (   -- each clause that brings rows together, by which expressions, and what the time_column is made of there
        SELECT l.reader, l.level, ARRAY(SELECT t.target -> 'expr' FROM jsonb_array_elements(l.node -> 'targetList') AS t(target)
                                         WHERE t.target ->> 'ressortgroupref' IN (SELECT k.node ->> 'tleSortGroupRef' FROM jsonb_array_elements(c.clause) AS k(node))) AS keys,
               ARRAY(SELECT CASE WHEN m.col > 0 THEN l.node -> 'targetList' -> (m.col - 1) -> 'expr' ELSE 'null' END FROM tied AS m WHERE m.from_reader = l.reader AND m.from_level = l.level) AS labels
          FROM levels AS l
         CROSS JOIN LATERAL (SELECT l.node -> 'groupClause' AS clause WHERE l.node ->> 'hasAggs' = 'true' OR l.node -> 'groupClause' <> '[]' OR l.node -> 'havingQual' <> '[]'
                             UNION ALL
                             SELECT l.node -> 'distinctClause' WHERE l.node -> 'distinctClause' <> '[]'
                             UNION ALL
                             SELECT w.node -> 'partitionClause' FROM jsonb_array_elements(l.node -> 'windowClause') AS w(node)) AS c
    ), mixed AS (
        SELECT t.reader, t.level
          FROM together AS t
         WHERE t.labels = '{}'
            OR EXISTS (SELECT FROM unnest(t.labels) AS b WHERE NOT mvscheduler.determine(t.keys, b))
            OR EXISTS (SELECT FROM (SELECT p.place FROM place AS p JOIN windowed AS w ON w.reader = p.from_reader AND w.level = p.from_level WHERE p.reader = t.reader AND p.level = t.level
                                    UNION ALL
                                    SELECT a FROM levels AS l CROSS JOIN unnest(l.asks) AS a WHERE l.reader = t.reader AND l.level = t.level AND a > 0) AS w(place)
                        WHERE NOT EXISTS (SELECT FROM tied AS m WHERE m.reader = t.reader AND m.level = t.level AND m.place = w.place))
        UNION
        SELECT e.reader, e.level FROM expression AS e
    ), judged AS (
        SELECT l.*,
               l.node -> 'setOperations' <> '[]' AS combines,
               l.node -> 'limitOffset' <> '[]' OR l.node -> 'limitCount' <> '[]' OR l.node -> 'groupingSets' <> '[]' AS cuts,
               EXISTS (SELECT FROM mixed AS m WHERE m.reader = l.reader AND m.level = l.level) AS mixes,
               EXISTS (SELECT FROM cte AS k WHERE k.reader = l.reader AND k.query = l.level AND k.shared) AS shared,
               (SELECT count(*) FROM unnest(l.asks) AS a WHERE a > 0)   -- windows that meet here
               + (SELECT count(*) FROM input AS i JOIN windowed AS w ON w.reader = i.from_reader AND w.level = i.from_level WHERE i.reader = l.reader AND i.level = l.level) AS meeting,
               (SELECT count(*) FROM unnest(l.reads) AS r WHERE r = ANY (targets) AND l.reader <> ALL (targets)) AS readings,
               (SELECT count(*) FROM unnest(l.asks) AS a WHERE l.reads[a] = ANY (targets)) AS within
          FROM levels AS l
    )
    SELECT coalesce(sum(j.calls), 0) AS calls, coalesce(sum(j.readings), 0) AS readings, coalesce(sum(j.within), 0) AS within,
           bool_or(-1 = ANY (j.asks) OR EXISTS (SELECT FROM unnest(j.asks) AS a WHERE a > 0 AND j.reads[a] <> 0 AND j.reads[a] <> ALL (targets))) AS elsewhere,
           bool_or(w.level IS NOT NULL AND j.cuts) AS cuts,
           bool_or(w.level IS NOT NULL AND j.mixes AND time_column IS NOT NULL) AS mixes,
           bool_or(w.level IS NOT NULL AND (j.shared OR j.meeting > 1 AND NOT j.combines)) AS meet
      INTO verdict
      FROM judged AS j LEFT JOIN windowed AS w ON w.reader = j.reader AND w.level = j.level;
    IF verdict.calls <> parsed OR verdict.elsewhere THEN
        RAISE EXCEPTION 'of which table column in_window is asked about cannot be told' USING ERRCODE = 'ambiguous_column',
            HINT = 'Write in_window(table.column) right where the table is read, without giving a table the name of another one, and nowhere in a text.';
    ELSIF verdict.cuts THEN
        RAISE EXCEPTION 'LIMIT, OFFSET, FETCH and grouping sets cannot be computed window by window' USING ERRCODE = 'feature_not_supported',
            HINT = 'Leave them out, and let those who read the view ask for them. ORDER BY has no effect on a view.';
    ELSIF verdict.mixes THEN
        RAISE EXCEPTION 'rows of several buckets would be aggregated, compared or numbered together' USING ERRCODE = 'feature_not_supported',
            HINT = 'GROUP BY, DISTINCT ON and OVER (PARTITION BY ...) have to name the time that is the bucket, such as date_trunc(''hour'', ts). Running totals and the like belong into a view or query that reads this one.';
    ELSIF verdict.meet THEN
        RAISE EXCEPTION 'in_window is asked about two readings that are joined' USING ERRCODE = 'feature_not_supported',
            HINT = 'Ask it about one of them: the other one is then read as a whole, and whenever it changes all is computed. Only the arms of a UNION have a window each.';
    END IF;
    RETURN verdict.readings <= greatest(verdict.within, (verdict.calls > 0)::int);
END $$;
COMMENT ON FUNCTION mvscheduler.check_windows(oid, oid[], oid[], int, text) IS 'Raises unless a query can be computed window by window, as far as what is stored of it can tell. parsed is how often in_window was found in its text.';

-- The tables that a query reads, through plain views, and of the one that in_window is asked about the column. What
-- PostgreSQL has stored says it: the text is deparsed from the rule, never what the user wrote. A row with col 0 is
-- a table of which any change may concern every bucket.
CREATE FUNCTION mvscheduler.sources_of(query_relation oid, time_column text DEFAULT NULL) RETURNS TABLE (relation oid, col smallint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET standard_conforming_strings = on
SET quote_all_identifiers = off
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
    asked   oid[];
    windows int := 0;
    within  boolean;
    master  oid := (SELECT c.relowner FROM pg_class AS c WHERE c.oid = query_relation);
    hidden  oid[];
    inner_window boolean;
BEGIN
    -- What its reader may not read is not read: else anybody could have triggers write for the table of anybody.
    WITH RECURSIVE chain(rel, kind, owner) AS (
        SELECT c.oid, c.relkind, c.relowner FROM pg_class AS c WHERE c.oid = query_relation
        UNION
        SELECT c.oid, c.relkind, c.relowner
          FROM chain AS r
          JOIN pg_rewrite AS w ON w.ev_class = r.rel
          JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
          JOIN pg_class AS c ON c.oid = d.refobjid
         WHERE r.kind = 'v' AND (has_any_column_privilege(r.owner, c.oid, 'SELECT') OR has_any_column_privilege(master, c.oid, 'SELECT'))
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
        asked := asked || matched;
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
    within := source IS NULL OR mvscheduler.check_windows(query_relation, readers, asked || source, windows, time_column);
    -- By functions of which PostgreSQL has stored the body, and by policies.
    WITH RECURSIVE used(classid, objid, owner) AS (
        SELECT d.refclassid, d.refobjid, p.proowner
          FROM pg_rewrite AS w
          JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_proc'::regclass
          JOIN pg_proc AS p ON p.oid = d.refobjid
         WHERE w.ev_class = ANY (readers)
        UNION
        SELECT 'pg_policy'::regclass, y.oid, c.relowner FROM pg_policy AS y JOIN pg_class AS c ON c.oid = y.polrelid AND c.relrowsecurity WHERE c.oid = ANY (tables)
        UNION
        SELECT n.classid, n.objid, n.owner
          FROM used AS u
         CROSS JOIN LATERAL (SELECT d.refclassid, d.refobjid, coalesce(p.proowner, c.relowner)
                               FROM pg_depend AS d
                               LEFT JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
                               LEFT JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
                              WHERE d.classid = u.classid AND d.objid = u.objid AND u.classid <> 'pg_class'::regclass AND d.deptype = 'n'
                                AND (p.oid IS NOT NULL OR has_any_column_privilege(u.owner, c.oid, 'SELECT') OR has_any_column_privilege(master, c.oid, 'SELECT'))
                                AND NOT EXISTS (SELECT FROM pg_policy AS y WHERE u.classid = 'pg_policy'::regclass AND y.oid = u.objid AND y.polrelid = d.refobjid)
                             UNION ALL
                             SELECT 'pg_rewrite'::regclass, w.oid, u.owner FROM pg_rewrite AS w WHERE u.classid = 'pg_class'::regclass AND w.ev_class = u.objid) AS n(classid, objid, owner)
    )
    SELECT array_agg(DISTINCT c.oid) FILTER (WHERE c.oid IS NOT NULL), bool_or(EXISTS (SELECT FROM pg_depend AS d JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
                                                       WHERE d.classid = u.classid AND d.objid = u.objid AND p.pronamespace = 'mvscheduler'::regnamespace AND p.proname = 'in_window'))
      INTO hidden, inner_window
      FROM used AS u LEFT JOIN pg_class AS c ON u.classid = 'pg_class'::regclass AND c.oid = u.objid AND c.relkind IN ('r', 'p', 'm', 'f');
    IF inner_window THEN
        RAISE EXCEPTION 'in_window is asked in a function or policy that the query depends on' USING ERRCODE = 'feature_not_supported',
            HINT = 'Ask it in the query itself: a session keeps the plan of a function, and in it the window of another time.';
    END IF;
    FOR relation, col IN
        SELECT t.oid, 0 FROM unnest(tables || hidden) AS t(oid) WHERE t.oid <> coalesce(source, 0::oid) OR NOT within OR t.oid = ANY (hidden)
        UNION
        SELECT source, at WHERE source = ANY (tables)
        ORDER BY 1, 2 DESC
    LOOP
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.sources_of(oid, text) IS 'Tables that a query reads, itself, through plain views, or by what it depends on: col is the column that in_window is asked about, 0 for the others. Raises where that cannot be told.';

-- Whether the labels are date_trunc of the very column that in_window is asked about, as PostgreSQL deparses it: a
-- target of the one SELECT that the query is, so that nothing stands between the two. Unqualified, date_trunc is
-- PostgreSQL's own; a cast would stand there too. A column without a zone is cut as if in UTC.
CREATE FUNCTION mvscheduler.cut_of(query oid, time_column text, width interval, source_type oid, view_zone text, OUT unit text, OUT zone text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET quote_all_identifiers = off
AS $$
DECLARE
    definition text := pg_get_viewdef(query);
    part       text;
    pattern    text := 'date_trunc\(''([a-z]+)''::text, ((?:(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)\.)?(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*))(?:, ''([A-Za-z0-9_/+-]+)''::text)?\)';
    found_     text[];
BEGIN
    IF definition !~ '^ *SELECT ' OR definition ~ '\( *SELECT|\m(UNION|INTERSECT|EXCEPT|WITH|WINDOW|OVER)\M' OR strpos(definition, ' AS ' || quote_ident(time_column)) = 0 THEN
        RETURN;
    END IF;
    FOREACH part IN ARRAY string_to_array(split_part(regexp_replace(definition, '^ *SELECT (DISTINCT )?', ''), E'\n   FROM ', 1), E',\n    ') LOOP
        IF right(part, length(' AS ' || quote_ident(time_column))) = ' AS ' || quote_ident(time_column) THEN
            found_ := regexp_match(left(part, -length(' AS ' || quote_ident(time_column))), '^' || pattern || '$');
        END IF;
    END LOOP;
    IF mvscheduler.unit_width(found_[1]) = width AND strpos(definition, 'mvscheduler.in_window(' || found_[2] || ')') > 0
       AND source_type IN ('timestamptz'::regtype, 'timestamp'::regtype) THEN
        unit := found_[1];
        zone := CASE WHEN source_type = 'timestamptz'::regtype THEN coalesce(found_[3], view_zone) ELSE 'UTC' END;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.cut_of(oid, text, interval, oid, text) IS 'The unit and the zone by which the query of an incremental view cuts its time with date_trunc; NULL where that is not known.';

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

-- Makes the plain view with a query and the empty table for its contents.
CREATE FUNCTION mvscheduler.create_version(v mvscheduler.views, place text, query_name text, data_name text, OUT query oid, OUT data oid)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key  text[];
    made text;
BEGIN
    PERFORM mvscheduler.create_query_view(v, place, query_name);
    query := format('%I.%I', place, query_name)::regclass;
    EXECUTE format('COMMENT ON VIEW %I.%I IS %L', place, query_name, 'mvscheduler: query of ' || v.name);
    PERFORM mvscheduler.check_time_column(v, query);
    IF NOT EXISTS (SELECT FROM mvscheduler.sources_of(query, v.time_column) AS s WHERE s.col > 0) THEN
        RAISE NOTICE 'the query of managed view % does not ask in_window', v.name
            USING DETAIL = 'Whenever anything changes below it, all of it is computed.',
                  HINT = 'Add WHERE mvscheduler.in_window(column) with the column of the table from which the time of a bucket comes.';
    END IF;

    EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I) PARTITION BY RANGE (%4$I)', place, data_name, query_name, v.time_column);
    data := format('%I.%I', place, data_name)::regclass;
    PERFORM mvscheduler.demand_same(NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid IN (query, data) AND a.attnum > 0 GROUP BY a.attnum, a.attname, a.atttypid HAVING count(*) <> 2), v.name);   -- a domain runs its CHECK
    EXECUTE format('COMMENT ON TABLE %I.%I IS %L', place, data_name, 'mvscheduler: data of ' || v.name);
    key := mvscheduler.increment_key(v, query);
    IF key IS NOT NULL THEN
        BEGIN
            made := mvscheduler.free_name(place, data_name, '_key');
            EXECUTE format('CREATE UNIQUE INDEX %I ON %I.%I (%s) NULLS NOT DISTINCT', made, place, data_name, (SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(key) WITH ORDINALITY AS u(k, n)));
            EXECUTE format('COMMENT ON INDEX %I.%I IS %L', place, made, 'mvscheduler: unique_key');
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
        made := mvscheduler.free_name(place, data_name, '_buckets');
        EXECUTE format('CREATE INDEX %I ON %I.%I (%I)', made, place, data_name, v.time_column);
        EXECUTE format('COMMENT ON INDEX %I.%I IS %L', place, made, 'mvscheduler: buckets');
    END IF;
    PERFORM mvscheduler.keep_to_owner(r) FROM unnest(ARRAY[query, data]) AS r;
    IF current_setting('server_version_num')::int >= 170000 THEN   -- for ANALYZE
        EXECUTE format('GRANT MAINTAIN ON TABLE %I.%I TO mvscheduler_worker', place, data_name);
    END IF;
    PERFORM mvscheduler.demand_same((SELECT bool_and(n.nspname = place) AND count(*) = 2 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid IN (query, data)), v.name);
END $$;
COMMENT ON FUNCTION mvscheduler.create_version(mvscheduler.views, text, text, text) IS 'Makes the plain view with the query of an incremental view and the empty table for its contents, with its key.';

CREATE FUNCTION mvscheduler.create_gate(v mvscheduler.views, place text, gate_name text) RETURNS oid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gate oid;
BEGIN
    EXECUTE format('CREATE MATERIALIZED VIEW %I.%I AS SELECT mvscheduler.step(%s) AS step WITH NO DATA', place, gate_name, v.id);
    gate := format('%I.%I', place, gate_name)::regclass;
    EXECUTE format('COMMENT ON MATERIALIZED VIEW %I.%I IS %L', place, gate_name, 'mvscheduler: gate of ' || v.name);
    PERFORM mvscheduler.keep_to_owner(gate);
    PERFORM mvscheduler.grant_to_worker(v, gate);
    RETURN gate;
END $$;
COMMENT ON FUNCTION mvscheduler.create_gate(mvscheduler.views, text, text) IS 'Makes the gate of an incremental view.';

-- What a dump brings without its row is not taken over: nobody knows what it has seen.
CREATE FUNCTION mvscheduler.orphan_hint(view_name text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'It seems to be what is left of a managed view without its row. What it holds is computed again, so drop it first: '
           || string_agg(format('DROP %s %s;', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'p' THEN 'TABLE' ELSE 'MATERIALIZED VIEW' END, mvscheduler.shown_name(c.oid)), ' ' ORDER BY c.oid = to_regclass(view_name)::oid DESC, c.relkind)
      FROM pg_class AS c
     WHERE c.relkind IN ('v', 'p', 'm')
       AND (c.oid = to_regclass(view_name)::oid OR obj_description(c.oid, 'pg_class') IN ('mvscheduler: query of ' || view_name, 'mvscheduler: data of ' || view_name, 'mvscheduler: gate of ' || view_name))
    HAVING count(*) FILTER (WHERE c.relkind = 'p') > 0 AND count(*) FILTER (WHERE c.oid = to_regclass(view_name)::oid AND c.relkind = 'v') > 0
$$;
COMMENT ON FUNCTION mvscheduler.orphan_hint(text) IS 'How to drop the relations of an incremental view that has no row; NULL when that is not what bears the name.';

CREATE FUNCTION mvscheduler.create_incremental(v mvscheduler.views) RETURNS oid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text[] := mvscheduler.split_name(v.name);
    place oid := (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = parts[1]);
    names text[];
    made  record;
    gate  oid;
    relid oid;
BEGIN
    BEGIN
        PERFORM mvscheduler.probe_query(v, parts[1], parts[2]);
    EXCEPTION WHEN duplicate_table THEN
        RAISE EXCEPTION '%', SQLERRM USING ERRCODE = 'duplicate_table', HINT = coalesce(mvscheduler.orphan_hint(v.name), 'Choose another name.');
    END;
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', parts[1], parts[2]);
    names := ARRAY(SELECT mvscheduler.free_name(parts[1], parts[2], s) FROM unnest('{__query,__data,__gate}'::text[]) WITH ORDINALITY AS u(s, n) ORDER BY n);
    SELECT * INTO made FROM mvscheduler.create_version(v, parts[1], names[1], names[2]);
    gate := mvscheduler.create_gate(v, parts[1], names[3]);
    EXECUTE format('CREATE VIEW %1$I.%2$I AS SELECT %3$s FROM %1$I.%4$I', parts[1], parts[2], mvscheduler.column_list(made.data), names[2]);
    relid := mvscheduler.relation_named(v.name);
    PERFORM mvscheduler.demand_reads(relid, made.data);
    PERFORM mvscheduler.demand_same((SELECT bool_and(c.relnamespace = place) AND count(*) = 4 FROM pg_class AS c WHERE c.oid IN (relid, made.query, made.data, gate)), v.name);
    PERFORM set_config('mvscheduler.increment', concat_ws(' ', made.query, gate, made.data), true);
    RETURN relid;
END $$;
COMMENT ON FUNCTION mvscheduler.create_incremental(mvscheduler.views) IS 'Makes what an incremental view is made of, empty; returns the view that people read, and tells c_bookkeeping and d_pieces of the others.';

-- What holds nothing and was dropped by hand, or with what it read. Where something else has its name the view stays missing.
CREATE FUNCTION mvscheduler.missing_parts(v mvscheduler.views) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(SELECT p.part
                   FROM mvscheduler.visible_views AS o
                   JOIN mvscheduler.visible_pieces AS d ON d.view_id = o.view_id AND d.kind = 'data'
                   JOIN pg_class AS t ON t.oid = d.relation::oid AND t.relkind = 'p' AND t.relowner = v.owner::oid
                  CROSS JOIN LATERAL (VALUES ('view', o.relation::oid), ('query', o.query_relation::oid)) AS p(part, oid)
                  WHERE o.view_id = v.id AND o.method = 'incremental'
                    AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = p.oid)
                    AND NOT (p.part = 'view' AND mvscheduler.relation_named(v.name) IS NOT NULL))
$$;
COMMENT ON FUNCTION mvscheduler.missing_parts(mvscheduler.views) IS 'view and query, where an incremental view has its data and lacks them.';

CREATE FUNCTION mvscheduler.mend_parts(v mvscheduler.views, gone text[]) RETURNS oid[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text[] := mvscheduler.split_name(v.name);
    data  oid := (SELECT p.relation::oid FROM mvscheduler.visible_pieces AS p WHERE p.view_id = v.id AND p.kind = 'data');
    view  oid;
    query oid;
    named text;
BEGIN
    IF 'query' = ANY (gone) THEN   -- first: what it reads may be gone as well
        named := mvscheduler.free_name(parts[1], parts[2], '__probe');
        PERFORM mvscheduler.probe_query(v, parts[1], named);
        EXECUTE format('DROP MATERIALIZED VIEW %I.%I', parts[1], named);
        named := mvscheduler.free_name(parts[1], parts[2], '__query');
        PERFORM mvscheduler.create_query_view(v, parts[1], named);
        query := format('%I.%I', parts[1], named)::regclass;
        EXECUTE format('COMMENT ON VIEW %I.%I IS %L', parts[1], named, 'mvscheduler: query of ' || v.name);
        PERFORM mvscheduler.keep_to_owner(query), mvscheduler.sources_of(query, v.time_column);
        IF mvscheduler.reads(query, data) THEN
            RAISE EXCEPTION 'the query of managed view % reads the view itself', v.name USING ERRCODE = 'invalid_object_definition';
        ELSIF NOT (mvscheduler.extends(query, data) AND mvscheduler.extends(data, query)) THEN
            RAISE EXCEPTION 'the query of managed view % gives other columns than it did', v.name USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'UPDATE the query so that it gives the columns of ' || mvscheduler.shown_name(data) || '.';
        END IF;
    END IF;
    IF 'view' = ANY (gone) THEN
        EXECUTE format('CREATE VIEW %I.%I AS SELECT %s FROM %s', parts[1], parts[2], mvscheduler.column_list(data), mvscheduler.shown_name(data));
        view := mvscheduler.relation_named(v.name);
        PERFORM mvscheduler.demand_reads(view, data);
        RAISE NOTICE 'view % is there again, over the data that it had', v.name USING DETAIL = 'Privileges, comments and views that hung on it are gone.';
    END IF;
    RETURN CASE WHEN gone <> '{}' THEN ARRAY[view, query] END;
END $$;
COMMENT ON FUNCTION mvscheduler.mend_parts(mvscheduler.views, text[]) IS 'Makes the missing parts of an incremental view again, empty-handed: its data is there. Returns view and plain view with the query, NULL for what was not missing.';

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

-- What people see, the rows of a version and where they lie stay only where columns, time column, key and partitions do.
CREATE FUNCTION mvscheduler.alter_incremental(was mvscheduler.views, v mvscheduler.views, relation oid, query_relation oid, broken boolean) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    data    oid := (SELECT p.relation::oid FROM mvscheduler.visible_pieces AS p WHERE p.view_id = v.id AND p.kind = 'data');
    pending oid := (mvscheduler.pending_version(v.id)).relation;
    helper  record;
    probe   text;
    before  text[];
    after   text[];
    key     text[];
    new     oid;
BEGIN
    IF v.indexes IS DISTINCT FROM was.indexes THEN
        PERFORM mvscheduler.drop_indexes(r, 'mvscheduler: indexes') FROM unnest(ARRAY[data, pending]) AS r;
    END IF;
    IF NOT broken AND NOT mvscheduler.parses_query(was, v) AND (v.time_column, v.unique_key, v.bucket_width) IS NOT DISTINCT FROM (was.time_column, was.unique_key, was.bucket_width) THEN
        RETURN '';
    END IF;
    SELECT n.nspname, c.relname INTO helper FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = query_relation AND c.relkind = 'v';
    IF NOT FOUND OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = data AND c.relkind = 'p') OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relkind = 'v') THEN
        RAISE EXCEPTION 'a part of managed view % does not exist any more', v.name USING ERRCODE = 'undefined_table', HINT = 'DELETE the row and INSERT it anew.';
    END IF;
    probe := mvscheduler.free_name(helper.nspname, helper.relname, '__probe');
    PERFORM mvscheduler.probe_query(v, helper.nspname, probe);
    new := format('%I.%I', helper.nspname, probe)::regclass;
    IF mvscheduler.reads(new, query_relation) OR mvscheduler.reads(new, data) OR pending IS NOT NULL AND mvscheduler.reads(new, pending) THEN
        RAISE EXCEPTION 'the new query of managed view % reads the view itself', v.name USING ERRCODE = 'invalid_object_definition';
    END IF;
    before := mvscheduler.columns_of(helper.nspname, helper.relname);
    after := mvscheduler.columns_of(helper.nspname, probe);
    key := mvscheduler.increment_key(v, new);
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', helper.nspname, probe);
    IF before IS DISTINCT FROM after OR v.time_column <> mvscheduler.partition_column(data) OR mvscheduler.other_key(v, data, key)
       OR (v.bucket_width <> was.bucket_width OR pending IS NOT NULL) AND mvscheduler.partition_unit(v.bucket_width, v.retention_period) <> mvscheduler.unit_in_force(data) THEN
        RETURN mvscheduler.redefine_incremental(v, relation, query_relation, data);
    END IF;
    PERFORM mvscheduler.create_query_view(v, helper.nspname, helper.relname);
    PERFORM mvscheduler.demand_same(to_regclass(format('%I.%I', helper.nspname, helper.relname)) = query_relation, v.name);
    PERFORM mvscheduler.sources_of(query_relation, v.time_column);   -- or raises
    IF pending IS NOT NULL THEN
        PERFORM mvscheduler.drop_version(v.id);
    END IF;
    IF NOT EXISTS (SELECT FROM mvscheduler.visible_pieces AS p JOIN pg_class AS c ON c.oid = p.relation::oid AND c.relkind = 'm' AND c.relowner = v.owner::oid WHERE p.view_id = v.id AND p.kind = 'gate') THEN
        RETURN mvscheduler.create_gate(v, helper.nspname, mvscheduler.free_name(helper.nspname, (SELECT c.relname FROM pg_class AS c WHERE c.oid = relation), '__gate'));
    END IF;
    RETURN CASE WHEN pending IS NULL THEN '' ELSE 'none' END;
END $$;
COMMENT ON FUNCTION mvscheduler.alter_incremental(mvscheduler.views, mvscheduler.views, oid, oid, boolean) IS 'Brings an incremental view in line with its changed row: in place where nothing but values changes, else as a new version. Returns what to tell d_pieces.';

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

-- A name is no more than a name: who is told to go on without waits for nobody, autovacuum for example.
CREATE FUNCTION mvscheduler.rename_partitions(data oid, schema_name text, data_name text, waits boolean) RETURNS void
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
        IF NOT waits THEN
            PERFORM mvscheduler.lock_until(clock_timestamp() + interval '10 milliseconds');
        END IF;
        BEGIN
            EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', rel.nspname, rel.relname, rel.passing);
            IF rel.nspname <> schema_name THEN
                EXECUTE format('ALTER TABLE %I.%I SET SCHEMA %I', rel.nspname, rel.passing, schema_name);
            END IF;
            EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', schema_name, rel.passing, mvscheduler.free_name(schema_name, data_name, rel.suffix));
        EXCEPTION WHEN lock_not_available THEN
            IF waits THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.rename_partitions(oid, text, text, boolean) IS 'Renames or moves the partitions of the data of an incremental view after it.';

-- The change log ---------------------------------------------------------------------------------------
--
-- Whoever writes to a table that a view reads adds a row, in the same transaction, and nobody ever updates or takes
-- one: it is dirt for a view as long as the last refresh of the view has not seen its transaction. So no writer waits
-- for a refresh and no refresh for a writer, and what commits late is late dirt.

CREATE TABLE mvscheduler.view_source (
    view_id  bigint NOT NULL,
    relation regclass NOT NULL,
    col      smallint NOT NULL,
    PRIMARY KEY (view_id, relation, col)
);
CREATE INDEX view_source_relation ON mvscheduler.view_source (relation);
COMMENT ON TABLE mvscheduler.view_source IS 'Private: which tables each incremental view reads; triggers write to the change log for these alone.';
COMMENT ON COLUMN mvscheduler.view_source.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.view_source.relation IS 'The table.';
COMMENT ON COLUMN mvscheduler.view_source.col IS 'Number of its column that in_window is asked about; 0 = none, any change concerns every bucket.';

CREATE VIEW mvscheduler.visible_sources WITH (security_barrier) AS
    SELECT v.view_id, v.relation, v.col
      FROM mvscheduler.view_source AS v
      JOIN mvscheduler.view_state AS s ON s.view_id = v.view_id
     WHERE (SELECT mvscheduler.sees_all())
        OR s.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));
COMMENT ON VIEW mvscheduler.visible_sources IS 'Which tables each incremental view reads that the caller may see.';
COMMENT ON COLUMN mvscheduler.visible_sources.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.visible_sources.relation IS 'The table.';
COMMENT ON COLUMN mvscheduler.visible_sources.col IS 'Number of its column that in_window is asked about; 0 = none, any change concerns every bucket.';
GRANT SELECT ON mvscheduler.visible_sources TO PUBLIC;

CREATE TABLE mvscheduler.dirt (
    source  regclass,
    col     smallint,
    view_id bigint,
    lo      timestamptz NOT NULL,
    hi      timestamptz NOT NULL,
    xid     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    why     text,
    snapshot pg_snapshot
) WITH (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE mvscheduler.dirt REPLICA IDENTITY FULL;   -- else a publication of all tables keeps the housekeeper from deleting
CREATE INDEX dirt_source ON mvscheduler.dirt (source, xid) WHERE source IS NOT NULL;
CREATE INDEX dirt_blind ON mvscheduler.dirt (source, xid) WHERE col = -1;
CREATE INDEX dirt_view ON mvscheduler.dirt (view_id, xid) WHERE view_id IS NOT NULL;
COMMENT ON TABLE mvscheduler.dirt IS 'Private: the change log of incremental views. Only inserted into; the housekeeper deletes what every view has seen.';
COMMENT ON COLUMN mvscheduler.dirt.source IS 'The table that changed; NULL = the entry is for one view.';
COMMENT ON COLUMN mvscheduler.dirt.col IS 'Number of the column whose times are meant; 0 = none; -1 = the entry says only with which snapshot the table was written to.';
COMMENT ON COLUMN mvscheduler.dirt.view_id IS 'The view that the entry is for; NULL = whoever reads the table.';
COMMENT ON COLUMN mvscheduler.dirt.lo IS 'First instant that changed; -infinity with hi infinity = everything. Times without a zone count as UTC.';
COMMENT ON COLUMN mvscheduler.dirt.hi IS 'Last instant that changed.';
COMMENT ON COLUMN mvscheduler.dirt.xid IS 'Transaction that changed it.';
COMMENT ON COLUMN mvscheduler.dirt.snapshot IS 'Of col -1: what the writer saw. Who registered or attached the table and is not in it was unknown to the trigger.';
COMMENT ON COLUMN mvscheduler.dirt.why IS 'Of an entry for one view, what happened; NULL = its row was changed, or it reads other tables.';

CREATE TABLE mvscheduler.increment_state (
    view_id           bigint NOT NULL,
    data              regclass NOT NULL,
    taken             pg_snapshot NOT NULL,
    system_identifier bigint NOT NULL,
    filled_from       timestamptz NOT NULL,
    leaves            jsonb NOT NULL,
    tracking          text NOT NULL,
    reason            text,
    fill              jsonb,
    parts             jsonb,
    PRIMARY KEY (view_id, data)
) WITH (fillfactor = 50);
COMMENT ON TABLE mvscheduler.increment_state IS 'Private: what the last refresh of an incremental view has seen; written by the run that fills or completes it, and by nobody else.';
COMMENT ON COLUMN mvscheduler.increment_state.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.increment_state.data IS 'The table with the contents: of the version that is served, or of the one that is being built.';
COMMENT ON COLUMN mvscheduler.increment_state.taken IS 'Snapshot of the last refresh: what it saw is not dirt any more.';
COMMENT ON COLUMN mvscheduler.increment_state.system_identifier IS 'Cluster to which the snapshot belongs; in another one everything is dirty.';
COMMENT ON COLUMN mvscheduler.increment_state.filled_from IS 'Buckets whose labels are before this instant (labels without a zone as if they were UTC) have not been built yet; -infinity = all are.';
COMMENT ON COLUMN mvscheduler.increment_state.leaves IS 'Tables and partitions below, with file, bounds, triggers and counters. since: what is watched there is known to who sees all transactions before this one.';
COMMENT ON COLUMN mvscheduler.increment_state.tracking IS 'change_tracking in force: trigger, counters or none.';
COMMENT ON COLUMN mvscheduler.increment_state.reason IS 'Why, where it was auto.';
COMMENT ON COLUMN mvscheduler.increment_state.fill IS 'How far the first fill is; NULL when it is done.';
COMMENT ON COLUMN mvscheduler.increment_state.parts IS 'Partitions of its contents after the last refresh, with file and bounds: what is gone or rewritten by the next one somebody has touched.';

CREATE VIEW mvscheduler.blind_writes WITH (security_barrier) AS
    SELECT i.view_id, i.data, d.source, coalesce((l ->> 'lo')::timestamptz, '-infinity') AS lo, coalesce((l ->> 'hi')::timestamptz, 'infinity') AS hi
      FROM mvscheduler.increment_state AS i
     CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(i.leaves) AS l
      JOIN mvscheduler.dirt AS d ON d.source = (l ->> 'oid')::oid::regclass AND d.col = -1
     WHERE d.xid >= pg_catalog.pg_snapshot_xmin(i.taken) AND NOT pg_catalog.pg_visible_in_snapshot(d.xid, i.taken) AND pg_catalog.pg_snapshot_xmin(d.snapshot) < (l ->> 'since')::xid8;
COMMENT ON VIEW mvscheduler.blind_writes IS 'Private: of what each version of an incremental view reads, what somebody has written to since its last refresh whose snapshot may be older than the row, the trigger or the partition by which his trigger would have known.';
COMMENT ON COLUMN mvscheduler.blind_writes.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.blind_writes.data IS 'The table with the contents of the version.';
COMMENT ON COLUMN mvscheduler.blind_writes.source IS 'The table or partition.';
COMMENT ON COLUMN mvscheduler.blind_writes.lo IS 'Times that it holds, from ...';
COMMENT ON COLUMN mvscheduler.blind_writes.hi IS '... to.';

CREATE FUNCTION mvscheduler.version_at_work(view_id bigint, OUT query oid, OUT data oid)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    SELECT coalesce(nq.relation, s.query_relation)::oid, coalesce(n.relation, d.relation)::oid INTO query, data
      FROM mvscheduler.view_state AS s
      LEFT JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
      LEFT JOIN mvscheduler.piece AS n ON n.view_id = s.view_id AND n.kind = 'next'
      LEFT JOIN mvscheduler.piece AS nq ON nq.view_id = s.view_id AND nq.kind = 'next_query'
     WHERE s.view_id = version_at_work.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.version_at_work(bigint) IS 'Query and contents of an incremental view that runs work on: of the version that is being built, else of the one that is served.';
REVOKE ALL ON FUNCTION mvscheduler.version_at_work(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mvscheduler.version_at_work(bigint) TO mvscheduler_worker;
GRANT SELECT, INSERT, DELETE ON mvscheduler.view_source, mvscheduler.dirt TO mvscheduler_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON mvscheduler.increment_state TO mvscheduler_worker;

-- Triggers on the tables. Whoever creates one needs EXECUTE, so everybody has it; they write for registered tables
-- alone and know theirs by TG_RELID, so on a table of one's own they say nothing about anybody else's. A column can be
-- named in dynamic SQL only; the name is PostgreSQL's own record of a registered column, quoted, and its type is looked
-- at on every call: a cast, an operator or a function of a user's would run with our rights.

CREATE FUNCTION mvscheduler.instant_of(column_name name, type oid) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE type
    WHEN 'timestamptz'::pg_catalog.regtype THEN pg_catalog.format('%I', column_name)
    WHEN 'timestamp'::pg_catalog.regtype THEN pg_catalog.format('%I AT TIME ZONE ''UTC''', column_name)
    WHEN 'date'::pg_catalog.regtype THEN pg_catalog.format('(CASE WHEN isfinite(%1$I) THEN least(greatest(%1$I, ''4000-01-01 BC''::date), ''200000-01-01''::date) END)::timestamp AT TIME ZONE ''UTC''', column_name)
END;
COMMENT ON FUNCTION mvscheduler.instant_of(name, oid) IS 'SQL for the time of a row by a column; NULL where its type is none of time.';

-- Each statement of a writer pays for it: plans that the session keeps, and look-ups by index one after the other. As
-- one query the planner takes the few rows of a recursion for many and reads all of pg_attribute.
CREATE FUNCTION mvscheduler.watched(relation oid, OUT source oid, OUT col smallint, OUT expression text) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    level   oid[] := ARRAY[relation];
    above   oid[] := level;
    at      record;
    written oid;
BEGIN
    LOOP
        level := ARRAY(SELECT i.inhparent FROM pg_inherits AS i WHERE i.inhrelid = ANY (level) AND i.inhparent <> ALL (above));
        EXIT WHEN level = '{}';
        above := above || level;
    END LOOP;
    FOR source, col IN SELECT DISTINCT s.relation::oid, s.col FROM mvscheduler.view_source AS s WHERE s.relation = ANY (above::regclass[]) LOOP
        expression := NULL;
        SELECT a.attname, a.atttypid INTO at FROM pg_attribute AS a WHERE a.attrelid = source AND a.attnum = watched.col AND a.attnum > 0 AND NOT a.attisdropped;
        SELECT t.atttypid INTO written FROM pg_attribute AS t WHERE t.attrelid = watched.relation AND t.attname = at.attname AND NOT t.attisdropped AND t.attgenerated <> 'v';
        IF written = at.atttypid THEN   -- of both the table that is registered and the one that is written to
            expression := mvscheduler.instant_of(at.attname, written);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.watched(oid, OUT oid, OUT smallint, OUT text) IS 'Registered tables that a table is or is a part of; expression is the time of a row of it, NULL where there is none to be had.';
REVOKE ALL ON FUNCTION mvscheduler.watched(oid) FROM PUBLIC;

-- Times as one range, or where that is wide as at most some two hundred.
CREATE FUNCTION mvscheduler.changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column   -- whatever the columns of tables are called
DECLARE
    at smallint;
    lo timestamptz;
    hi timestamptz;
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN   -- its snapshot may be older than what it looks up
        INSERT INTO mvscheduler.dirt (source, col, lo, hi, snapshot) VALUES (TG_RELID, -1, '-infinity', 'infinity', pg_current_snapshot());
    END IF;
    IF TG_OP = 'DELETE' THEN   -- what the server has not counted into shared memory is in the counts of the next transaction too: see deleted
        PERFORM pg_stat_force_next_flush() FROM pg_class AS c WHERE c.oid = TG_RELID AND (c.relkind = 'p' OR c.relispartition);
    END IF;
    -- by a known column: see change_function
    DECLARE
        w     record;
        rows_ text := CASE TG_OP WHEN 'INSERT' THEN 'SELECT %1$s AS t FROM new_rows' WHEN 'DELETE' THEN 'SELECT %1$s AS t FROM old_rows'
                                 ELSE 'SELECT %1$s AS t FROM old_rows UNION ALL SELECT %1$s FROM new_rows' END;
        -- Under other names the transition tables are not there, and a table or a view of the writer's could be.
        -- And a trigger can be renamed while it runs, so that its name tells of another one.
        known boolean := to_regclass('pg_temp.old_rows') IS NULL AND to_regclass('pg_temp.new_rows') IS NULL
                         AND EXISTS (SELECT FROM pg_trigger AS t
                                  WHERE t.tgrelid = TG_RELID AND t.tgname = TG_NAME AND TG_LEVEL = 'STATEMENT' AND TG_WHEN = 'AFTER'
                                    AND (TG_OP = 'INSERT' OR t.tgoldtable IS NOT DISTINCT FROM 'old_rows') AND (TG_OP = 'DELETE' OR t.tgnewtable IS NOT DISTINCT FROM 'new_rows'));
        -- MERGE tells UPDATE triggers nothing of rows that it moves to another partition, and nobody tells that it was MERGE.
        -- But each row that is moved counts as deleted. So nothing is hidden where the transaction has deleted no more rows
        -- than the transition tables show to have left their partition. NULL = nobody has counted.
        deleted bigint := CASE WHEN TG_OP <> 'UPDATE' OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = TG_RELID AND c.relkind = 'p') THEN 0
                               WHEN current_setting('track_counts')::boolean
                               THEN (WITH RECURSIVE part(oid) AS (   -- pg_partition_tree would lock all of them
                                         SELECT TG_RELID UNION ALL SELECT i.inhrelid FROM part AS p JOIN pg_inherits AS i ON i.inhparent = p.oid
                                     ) SELECT sum(pg_stat_get_xact_tuples_deleted(p.oid)) FROM part AS p) END;
        cuts    record;
        shown   bigint;
    BEGIN
        FOR w IN SELECT * FROM mvscheduler.watched(TG_RELID) LOOP
            shown := 0;
            IF deleted > 0 THEN
                PERFORM pg_stat_force_next_flush();
            END IF;
            IF deleted > 0 AND known AND w.expression IS NOT NULL THEN
                SELECT * INTO cuts FROM mvscheduler.partition_cuts(TG_RELID, w.expression);
                -- At least so many left: of rows that come and go others may have stayed. In no partition of its own is what DEFAULT holds.
                EXECUTE format('SELECT CASE WHEN bool_and(sane) THEN sum(greatest(n, 0)) END
                                  FROM (SELECT sum(x) AS n, bool_and(coalesce(t > ''4000-01-01 00:00:00+00 BC'' AND t < ''200000-01-01 00:00:00+00'', false)) AS sane
                                          FROM (SELECT %1$s AS t, 1 AS x FROM old_rows UNION ALL SELECT %1$s, -1 FROM new_rows) AS r
                                         GROUP BY CASE WHEN $2[width_bucket(t, $1)] THEN width_bucket(t, $1) END) AS p', w.expression)
                   INTO shown USING cuts.bounds, cuts.begins;
            END IF;
            IF TG_OP = 'TRUNCATE' OR coalesce(shown, 0) < deleted OR deleted IS NULL OR NOT known OR w.expression IS NULL THEN
                INSERT INTO mvscheduler.dirt (source, col, lo, hi) VALUES (w.source, w.col, '-infinity', 'infinity');
                CONTINUE;
            END IF;
            EXECUTE format('SELECT min(t), max(t) FROM (' || rows_ || ') AS r WHERE isfinite(t)', w.expression) INTO lo, hi;
            IF lo > '4000-01-01 00:00:00+00 BC' AND hi < '200000-01-01 00:00:00+00' AND hi - lo < interval '1 hour' THEN
                INSERT INTO mvscheduler.dirt (source, col, lo, hi) VALUES (w.source, w.col, lo, hi);
            ELSIF lo > '4000-01-01 00:00:00+00 BC' AND hi < '200000-01-01 00:00:00+00' THEN
                EXECUTE format('INSERT INTO mvscheduler.dirt (source, col, lo, hi) SELECT $1, $2, min(t), max(t) FROM (' || rows_ || ') AS r WHERE isfinite(t) '
                               'GROUP BY date_bin($3, t, $4)', w.expression)
                  USING w.source, w.col, greatest(interval '1 hour', make_interval(secs => extract(epoch FROM hi - lo) / 200)), lo;
            ELSIF lo IS NOT NULL THEN
                INSERT INTO mvscheduler.dirt (source, col, lo, hi) VALUES (w.source, w.col, lo, hi);
            END IF;
        END LOOP;
    END;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.changed() IS 'Statement trigger on tables that incremental views read: notes which times changed. Everybody may call it, on other tables it does nothing.';

-- With SQL that is made for each call a writer of single rows pays several times what the rest costs. So a table that is
-- watched by one column alone, and is part of no other, gets a function for the name and type of that column: changed()
-- with a way through that names it, whose plans the session keeps. The type is looked at on every call all the same. A
-- table that is watched by more since then has the wrong function, which leaves_of tells, and gets the right one.
CREATE FUNCTION mvscheduler.change_function(relation oid) RETURNS name
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    column_name name;
    column_type oid;
    function    text;
BEGIN
    SELECT a.attname, a.atttypid, concat_ws('_', 'changed', t.typname, a.attname) INTO column_name, column_type, function
      FROM (SELECT min(s.col) AS col FROM mvscheduler.view_source AS s WHERE s.relation = change_function.relation HAVING min(s.col) = max(s.col)) AS s
      JOIN pg_attribute AS a ON a.attrelid = change_function.relation AND a.attnum = s.col AND NOT a.attisdropped AND a.attgenerated <> 'v'
      JOIN pg_type AS t ON t.oid = a.atttypid
     WHERE NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = change_function.relation);
    RETURN CASE WHEN mvscheduler.instant_of(column_name, column_type) IS NOT NULL AND octet_length(function) < 64 THEN function ELSE 'changed' END;
END $$;
COMMENT ON FUNCTION mvscheduler.change_function(oid) IS 'Name of the trigger function that is right for a table below incremental views, besides changed(), which is right for all.';

CREATE FUNCTION mvscheduler.make_change_function(relation oid) RETURNS name
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    function    name := mvscheduler.change_function(relation);
    column_name name;
    column_type oid;
    body        text;
BEGIN
    IF function <> 'changed' THEN
        SELECT a.attname, a.atttypid INTO column_name, column_type
          FROM mvscheduler.view_source AS s
          JOIN pg_attribute AS a ON a.attrelid = s.relation::oid AND a.attnum = s.col
         WHERE s.relation = make_change_function.relation;
        body := replace((SELECT p.prosrc FROM pg_proc AS p WHERE p.oid = 'mvscheduler.changed()'::regprocedure), '-- by a known column: see change_function',
                        mvscheduler.known_column(column_name, column_type));
        IF EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = to_regprocedure(format('mvscheduler.%I()', function)) AND p.prosrc = body) THEN   -- and not of an older changed()
            RETURN function;
        END IF;
        EXECUTE format('CREATE OR REPLACE FUNCTION mvscheduler.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L', function, body);
        EXECUTE format('COMMENT ON FUNCTION mvscheduler.%I() IS %L', function, format('changed() for tables that are watched by a column %I of this type alone.', column_name));
    END IF;
    RETURN function;
EXCEPTION WHEN duplicate_function OR unique_violation THEN   -- another step was first
    RETURN function;
END $$;
COMMENT ON FUNCTION mvscheduler.make_change_function(oid) IS 'Makes the trigger function that is right for a table below incremental views, where it does not exist yet, or was made from another text of changed(). A migration that replaces changed() calls it for every relation of view_source.';
REVOKE ALL ON FUNCTION mvscheduler.make_change_function(oid) FROM PUBLIC;

CREATE FUNCTION mvscheduler.known_column(column_name name, type oid) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $sql$
SELECT format($way$
    IF TG_OP <> 'TRUNCATE' AND TG_LEVEL = 'STATEMENT' AND TG_WHEN = 'AFTER' AND to_regclass('pg_temp.old_rows') IS NULL AND to_regclass('pg_temp.new_rows') IS NULL THEN
        SELECT s.col INTO at
          FROM pg_attribute AS a, mvscheduler.view_source AS s
         WHERE a.attrelid = TG_RELID AND a.attname = %1$L AND a.atttypid = %2$s AND s.relation = TG_RELID AND s.col = a.attnum
         LIMIT 1;
        IF TG_OP = 'UPDATE' AND at IS NOT NULL THEN   -- of a partitioned table: see moved
            at := (SELECT at FROM pg_class AS c WHERE c.oid = TG_RELID AND c.relkind <> 'p');
        END IF;
        IF at IS NULL THEN
            lo := NULL;
        ELSIF TG_OP = 'INSERT' THEN
            SELECT min(t), max(t) INTO lo, hi FROM (SELECT %3$s AS t FROM new_rows) AS r WHERE isfinite(t);
        ELSIF TG_OP = 'DELETE' THEN
            SELECT min(t), max(t) INTO lo, hi FROM (SELECT %3$s AS t FROM old_rows) AS r WHERE isfinite(t);
        ELSE
            SELECT min(t), max(t) INTO lo, hi FROM (SELECT %3$s AS t FROM old_rows UNION ALL SELECT %3$s FROM new_rows) AS r WHERE isfinite(t);
        END IF;
        IF lo > '4000-01-01 00:00:00+00 BC' AND hi < '200000-01-01 00:00:00+00' AND hi - lo < interval '1 hour' THEN
            INSERT INTO mvscheduler.dirt (source, col, lo, hi) VALUES (TG_RELID, at, lo, hi);
            RETURN NULL;
        ELSIF at IS NOT NULL AND lo IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;$way$, column_name, type, mvscheduler.instant_of(column_name, type))
$sql$;
COMMENT ON FUNCTION mvscheduler.known_column(name, oid) IS 'The way through changed() for tables that are watched by a column of this name and type alone.';

-- A subscription applies changes row by row, without statement triggers.
CREATE FUNCTION mvscheduler.changed_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    w  record;
    lo timestamptz;
    hi timestamptz;
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN   -- its snapshot may be older than what it looks up
        INSERT INTO mvscheduler.dirt (source, col, lo, hi, snapshot) VALUES (TG_RELID, -1, '-infinity', 'infinity', pg_current_snapshot());
    END IF;
    FOR w IN SELECT * FROM mvscheduler.watched(TG_RELID) LOOP
        IF w.expression IS NULL THEN
            INSERT INTO mvscheduler.dirt (source, col, lo, hi) VALUES (w.source, w.col, '-infinity', 'infinity');
            CONTINUE;
        END IF;
        IF TG_OP <> 'INSERT' THEN
            EXECUTE format('SELECT %s FROM (SELECT ($1).*) AS r', w.expression) INTO lo USING OLD;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            EXECUTE format('SELECT %s FROM (SELECT ($1).*) AS r', w.expression) INTO hi USING NEW;
        END IF;
        INSERT INTO mvscheduler.dirt (source, col, lo, hi) SELECT w.source, w.col, t, t FROM unnest(ARRAY[lo, hi]) AS t WHERE isfinite(t);
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.changed_row() IS 'Row trigger for rows that logical replication applies: notes which times changed. Everybody may call it, on other tables it does nothing.';

-- What is below a view ----------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.bound_instant(bound text, column_type oid) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN bound = 'MINVALUE' THEN '-infinity'::timestamptz
                WHEN bound = 'MAXVALUE' THEN 'infinity'
                WHEN column_type = 'timestamptz'::regtype THEN trim(bound, '''')::timestamptz
                WHEN column_type = 'date'::regtype THEN least(greatest(trim(bound, '''')::date, '4000-01-01 BC'::date), '200000-01-01'::date)::timestamp AT TIME ZONE 'UTC'
                ELSE trim(bound, '''')::timestamp AT TIME ZONE 'UTC' END
$$;
COMMENT ON FUNCTION mvscheduler.bound_instant(text, oid) IS 'Instant of one bound of a partition, as PostgreSQL deparses it.';

CREATE FUNCTION mvscheduler.partition_cuts(relation oid, expression text, OUT bounds timestamptz[], OUT begins boolean[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD'
AS $$
    SELECT array_agg(c.at ORDER BY c.at), array_agg(c.begins ORDER BY c.at)
      FROM (SELECT b.at, bool_or(b.begins) AS begins
              FROM pg_partitioned_table AS p
              JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND mvscheduler.instant_of(a.attname, a.atttypid) = partition_cuts.expression
              JOIN pg_opclass AS o ON o.oid = p.partclass[0] AND o.opcdefault AND o.opcnamespace = 'pg_catalog'::regnamespace
              JOIN pg_inherits AS i ON i.inhparent = p.partrelid
              JOIN pg_class AS l ON l.oid = i.inhrelid
             CROSS JOIN LATERAL regexp_match(pg_get_expr(l.relpartbound, l.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS m(bound)
             CROSS JOIN LATERAL (VALUES (mvscheduler.bound_instant(m.bound[1], a.atttypid), true), (mvscheduler.bound_instant(m.bound[2], a.atttypid), false)) AS b(at, begins)
             WHERE p.partrelid = partition_cuts.relation AND p.partstrat = 'r' AND p.partnatts = 1 AND b.at IS NOT NULL
             GROUP BY b.at) AS c
$$;
COMMENT ON FUNCTION mvscheduler.partition_cuts(oid, text) IS 'Bounds of the partitions of a table that is partitioned by ranges of this time, in their order, and whether one begins there; NULL for other tables.';
REVOKE ALL ON FUNCTION mvscheduler.partition_cuts(oid, text) FROM PUBLIC;

-- Everything that PostgreSQL knows a query to be made of, from rules on through what they name: columns, functions, with the bodies that
-- are stored, operators, types, row-level security. Whatever of that is replaced has another xmin. Our own functions change with
-- us alone. OFFSET makes the planner look up each object.
CREATE FUNCTION mvscheduler.plain_views_below(query_relation oid) RETURNS TABLE (relation oid, rule text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE used(classid, objid, objsubid) AS (
            SELECT 'pg_class'::regclass::oid, query_relation, 0
            UNION
            SELECT n.classid, n.objid, n.objsubid
              FROM used AS u
             CROSS JOIN LATERAL (
                   SELECT d.refclassid, d.refobjid, d.refobjsubid
                     FROM pg_depend AS d
                    WHERE d.classid = u.classid AND d.objid = u.objid AND d.objsubid = u.objsubid AND d.deptype IN ('n', 'i')   -- i: of an array on its elements
                      AND d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)
                    UNION ALL
                   SELECT 'pg_rewrite'::regclass, w.oid, 0
                     FROM pg_class AS c JOIN pg_rewrite AS w ON w.ev_class = c.oid
                    WHERE u.classid = 'pg_class'::regclass AND c.oid = u.objid AND c.relkind = 'v'
                    UNION ALL
                   SELECT 'pg_policy'::regclass, y.oid, 0
                     FROM pg_class AS c JOIN pg_policy AS y ON y.polrelid = c.oid
                    WHERE u.classid = 'pg_class'::regclass AND c.oid = u.objid AND c.relrowsecurity
                   OFFSET 0) AS n(classid, objid, objsubid)
        ), object AS MATERIALIZED (
            SELECT DISTINCT u.classid, u.objid FROM used AS u
        ), depends AS (
            SELECT md5(concat_ws('/', string_agg(concat_ws(' ', o.objid, x.identity), ',' ORDER BY o.classid, o.objid),
                                 CASE WHEN bool_or(x.whole) THEN string_agg(x.columns::text, ',' ORDER BY o.objid) END,   -- rows as a whole have the columns that are added
                                 CASE WHEN bool_or(x.guarded) THEN string_agg(x.owner::text, ',' ORDER BY o.objid) END)) AS identity   -- an owner may see all rows
              FROM object AS o
              LEFT JOIN LATERAL (
                   SELECT p.xmin::text AS identity, p.prosqlbody::text LIKE '%:varattno 0 %' AS whole, false AS guarded, NULL::int2 AS columns, NULL::oid AS owner
                     FROM pg_proc AS p
                    WHERE o.classid = 'pg_proc'::regclass AND p.oid = o.objid AND p.pronamespace <> 'mvscheduler'::regnamespace
                    UNION ALL
                   SELECT p.xmin::text, false, false, NULL, NULL FROM pg_operator AS p WHERE o.classid = 'pg_operator'::regclass AND p.oid = o.objid
                    UNION ALL
                   SELECT string_agg(e.oid || ' ' || e.xmin, ' ' ORDER BY e.oid), false, false, NULL, NULL FROM pg_enum AS e
                    WHERE o.classid = 'pg_type'::regclass AND e.enumtypid = o.objid
                   HAVING count(*) > 0
                    UNION ALL
                   SELECT y.xmin::text, y.polqual::text LIKE '%:varattno 0 %', true, NULL, NULL FROM pg_policy AS y WHERE o.classid = 'pg_policy'::regclass AND y.oid = o.objid
                    UNION ALL
                   SELECT NULL, w.ev_action::text LIKE '%:varattno 0 %', false, NULL, NULL FROM pg_rewrite AS w WHERE o.classid = 'pg_rewrite'::regclass AND w.oid = o.objid
                    UNION ALL
                   SELECT concat_ws(' ', c.relrowsecurity, c.relforcerowsecurity), false, c.relrowsecurity, CASE WHEN c.relkind <> 'v' THEN c.relnatts END, c.relowner FROM pg_class AS c
                    WHERE o.classid = 'pg_class'::regclass AND c.oid = o.objid
                   OFFSET 0) AS x ON true
        )
        SELECT c.oid, concat_ws('/', string_agg(w.oid || ' ' || w.xmin, ',' ORDER BY w.oid), c.reloptions::text, CASE WHEN c.oid = query_relation THEN (SELECT d.identity FROM depends AS d) END)
          FROM object AS o
         CROSS JOIN LATERAL (SELECT r.oid, r.reloptions FROM pg_class AS r WHERE r.oid = o.objid AND r.relkind = 'v' OFFSET 0) AS c
         CROSS JOIN LATERAL (SELECT r.oid, r.xmin FROM pg_rewrite AS r WHERE r.ev_class = o.objid OFFSET 0) AS w
         WHERE o.classid = 'pg_class'::regclass
         GROUP BY c.oid, c.reloptions;
END $$;
COMMENT ON FUNCTION mvscheduler.plain_views_below(oid) IS 'Plain views that a query is made of, itself included, and what tells that one was replaced; of itself also whether anything else was that it depends on, through any number of functions: code of functions, operators and aggregates, labels of enumerations, row-level security and where there is some who owns what, and columns where rows are named as a whole.';

-- What every run asks is PL/pgSQL, here and below: the session keeps the plans, which take longer than what they find.
-- Bounds are read only of partitions by the very column, whose type is PostgreSQL's own: printing the value of
-- another type would run its code.
CREATE FUNCTION mvscheduler.leaves_of(view_id bigint) RETURNS TABLE (
    leaf oid, name text, kind text, lo timestamptz, hi timestamptz, identity text, columns text, counters text, covered boolean, trackable boolean, hidden boolean, far boolean)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
SET jit = off   -- to compile it takes ten times what it takes
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE node(root, leaf, link, kind, attname, atttypid, lo, hi) AS (
            SELECT s.relation::oid, c.oid, ''::text, c.relkind, a.attname, a.atttypid, '-infinity'::timestamptz, 'infinity'::timestamptz
              FROM mvscheduler.visible_sources AS s
              JOIN pg_class AS c ON c.oid = s.relation::oid
              LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = s.col AND s.col > 0
             WHERE s.view_id = leaves_of.view_id
            UNION
            SELECT n.root, c.oid, concat_ws(',', n.link, i.xmin), c.relkind, n.attname, n.atttypid,   -- what left and came back has another one
                   coalesce(greatest(n.lo, mvscheduler.bound_instant(b.bound[1], n.atttypid)), n.lo), coalesce(least(n.hi, mvscheduler.bound_instant(b.bound[2], n.atttypid)), n.hi)
              FROM node AS n
              JOIN pg_inherits AS i ON i.inhparent = n.leaf AND NOT i.inhdetachpending
              JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relpersistence <> 't'   -- which its session alone reads
              LEFT JOIN pg_partitioned_table AS p ON p.partrelid = n.leaf AND p.partstrat = 'r' AND p.partnatts = 1
              LEFT JOIN pg_attribute AS k ON k.attrelid = n.leaf AND k.attnum = p.partattrs[0] AND k.attname = n.attname AND k.atttypid = n.atttypid
                                         AND k.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
             CROSS JOIN LATERAL (SELECT CASE WHEN k.attname IS NOT NULL THEN regexp_match(pg_get_expr(c.relpartbound, 0), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') END AS bound) AS b
        ), far(oid) AS (   -- what foreign tables are parts of
            SELECT n.leaf FROM node AS n WHERE n.kind = 'f'
            UNION
            SELECT i.inhparent FROM far AS f JOIN pg_inherits AS i ON i.inhrelid = f.oid
        ), held AS (
            SELECT t.tgrelid, string_agg(t.oid || ' ' || t.xmin, ',' ORDER BY t.oid) AS identity,
                   bit_or(CASE WHEN f.proname <> 'changed_row' AND t.tgenabled IN ('O', 'A') AND t.tgtype & 3 = 0   -- after the statement
                               THEN (t.tgtype & 4) | (t.tgtype & 8) | (t.tgtype & 16) | (t.tgtype & 32) ELSE 0 END) AS events,   -- insert, delete, update, truncate
                   bool_or(f.proname = 'changed_row' AND t.tgenabled IN ('R', 'A')) AS applied
              FROM pg_trigger AS t
              JOIN pg_proc AS f ON f.oid = t.tgfoid AND f.pronamespace = 'mvscheduler'::regnamespace
             WHERE CASE WHEN f.proname IN ('changed', 'changed_row') THEN true
                        WHEN has_table_privilege('mvscheduler.view_source', 'SELECT') THEN f.proname = mvscheduler.change_function(t.tgrelid)
                        ELSE f.proname ~ '^changed_' END   -- verify, by users
               AND t.tgqual IS NULL AND t.tgattr::text = ''
               AND t.tgrelid IN (SELECT n.leaf FROM node AS n)
             GROUP BY t.tgrelid
        )
        SELECT n.leaf, mvscheduler.shown_name(n.leaf), n.kind::text, min(n.lo), max(n.hi),
               concat_ws('/', c.relfilenode, h.identity, string_agg(DISTINCT n.link, ' '),
                         CASE WHEN c.relpersistence = 'u' THEN extract(epoch FROM (SELECT g.stats_reset FROM pg_stat_bgwriter AS g)) END),   -- a crash empties it, and resets that
               (SELECT string_agg(CASE WHEN a.xmin = a.left_one THEN '' ELSE a.xmin::text END, ',' ORDER BY a.attnum)
                  FROM (SELECT k.attnum, k.xmin, lag(k.xmin) OVER (ORDER BY k.attnum) AS left_one FROM pg_attribute AS k WHERE k.attrelid = n.leaf AND k.attnum > 0) AS a),
               concat_ws('/', pg_stat_get_tuples_inserted(n.leaf), pg_stat_get_tuples_updated(n.leaf), pg_stat_get_tuples_deleted(n.leaf),
                         extract(epoch FROM (SELECT d.stats_reset FROM pg_stat_database AS d WHERE d.datname = current_database())), extract(epoch FROM (SELECT g.stats_reset FROM pg_stat_bgwriter AS g))),
               CASE WHEN n.kind IN ('r', 'p') AND n.leaf IN (SELECT f.oid FROM far AS f)   -- nothing of ours stands in the way of who writes to them
                    THEN NOT EXISTS (SELECT FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid AND f.pronamespace = 'mvscheduler'::regnamespace
                                      WHERE t.tgrelid = n.leaf AND coalesce(t.tgoldtable, t.tgnewtable) IS NOT NULL)
                    ELSE coalesce(h.events = 60 AND (h.applied OR n.kind = 'p' OR NOT EXISTS (SELECT FROM pg_subscription_rel AS u WHERE u.srrelid IN (SELECT m.leaf FROM node AS m))), false) END,
               n.kind IN ('r', 'p') AND has_table_privilege(o.owner::oid, n.leaf, 'TRIGGER'),
               bool_or(EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = n.leaf AND i.inhparent NOT IN (SELECT m.leaf FROM node AS m))),   -- a statement on the table above runs triggers of that one alone
               n.kind IN ('r', 'p') AND n.leaf IN (SELECT f.oid FROM far AS f)
          FROM node AS n
          JOIN pg_class AS c ON c.oid = n.leaf
          JOIN mvscheduler.visible_views AS o ON o.view_id = leaves_of.view_id AND EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = o.owner::oid)
          LEFT JOIN held AS h ON h.tgrelid = n.leaf
         GROUP BY n.leaf, n.kind, c.relfilenode, c.relpersistence, h.identity, h.events, h.applied, o.owner
        UNION ALL
        SELECT b.relation, mvscheduler.shown_name(b.relation), 'v', '-infinity', 'infinity', b.rule, '', '', true, false, false, false
          FROM mvscheduler.visible_views AS o
         CROSS JOIN LATERAL mvscheduler.plain_views_below(coalesce((SELECT p.relation FROM mvscheduler.visible_pieces AS p WHERE p.view_id = o.view_id AND p.kind = 'next_query'), o.query_relation)::oid) AS b
         WHERE o.view_id = leaves_of.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.leaves_of(bigint) IS 'Tables and partitions below an incremental view, and the plain views between: the times that they can hold, what they are stored in and watched by (identity), what wrote the rows of their columns (each that is part of another table for a moment writes them), what the server counted, whether triggers watch them or may be made, whether that would hide what is written through a table above, and whether foreign tables are parts of them (far): then PostgreSQL lets nobody write to those while a trigger of the table has transition tables, so none may, and covered says that none has.';

-- The step track ----------------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.track_at_hand(view_id bigint) RETURNS TABLE (relation oid, is_partition boolean, function name, far boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) = 'track' THEN
        RETURN QUERY
        SELECT l.leaf, c.relispartition, CASE WHEN l.far THEN 'changed' ELSE mvscheduler.make_change_function(l.leaf) END, l.far
          FROM (SELECT a.*, bool_or(a.far) OVER () AS by_counters FROM mvscheduler.leaves_of(track_at_hand.view_id) AS a) AS l
          JOIN pg_class AS c ON c.oid = l.leaf
         WHERE l.trackable AND NOT l.covered AND l.far = l.by_counters
         ORDER BY c.relispartition, l.leaf;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.track_at_hand(bigint) IS 'Tables on which the attempt that was let through has to make triggers, or those of which foreign tables are parts (far) and whose triggers have to go; nothing everywhere else.';

CREATE FUNCTION mvscheduler.step_track(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    deadline timestamptz;   -- from the first lock on
    rel      record;
    kind     record;
    made     bigint := 0;
BEGIN
    FOR rel IN SELECT t.*, mvscheduler.shown_name(t.relation) AS name, pg_has_role(c.relowner, 'USAGE') AS ours, c.relkind AS kind FROM mvscheduler.track_at_hand(view_id) AS t JOIN pg_class AS c ON c.oid = t.relation LOOP
        deadline := coalesce(deadline, clock_timestamp() + mvscheduler.lock_budget());
        EXIT WHEN made > 0 AND clock_timestamp() > deadline;   -- writers of what has got its triggers wait for the end of the step; the next one goes on
        FOR kind IN
            SELECT * FROM (VALUES ('insert', 'REFERENCING NEW TABLE AS new_rows'), ('update', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
                                  ('delete', 'REFERENCING OLD TABLE AS old_rows'), ('truncate', '')) AS k(event, tables)
             WHERE NOT EXISTS (SELECT FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid
                                WHERE t.tgrelid = rel.relation AND t.tgname = 'mvscheduler_changed_' || k.event
                                  AND (f.pronamespace <> 'mvscheduler'::regnamespace
                                       OR NOT rel.far AND t.tgqual IS NULL AND f.proname IN ('changed', rel.function)
                                       OR rel.far AND coalesce(t.tgoldtable, t.tgnewtable) IS NULL))
               AND (NOT rel.far OR EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = rel.relation AND t.tgname = 'mvscheduler_changed_' || k.event))
        LOOP
            PERFORM mvscheduler.lock_until(deadline);
            BEGIN
                -- To drop one takes the owner of the table.
                EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT %s EXECUTE FUNCTION mvscheduler.%I()', 'mvscheduler_changed_' || kind.event, kind.event, rel.name,
                               CASE WHEN NOT rel.far THEN kind.tables END, CASE WHEN rel.far THEN 'WHEN (false)' END, rel.function);
                made := made + 1;
            EXCEPTION WHEN duplicate_object THEN NULL;   -- another view that reads the table was first
            END;
        END LOOP;
        -- On a partitioned table it would be made on all partitions in one statement, which waits for each of them anew.
        IF rel.ours AND rel.kind <> 'p' AND NOT rel.far AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = rel.relation AND t.tgfoid = 'mvscheduler.changed_row()'::regprocedure) THEN
            PERFORM mvscheduler.lock_until(deadline);
            BEGIN
                EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION mvscheduler.changed_row()', 'mvscheduler_changed_row_' || rel.relation, rel.name);   -- a table can become a partition of another that has one
                EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER %I', rel.name, 'mvscheduler_changed_row_' || rel.relation);
                made := made + 1;
            EXCEPTION WHEN duplicate_object THEN NULL;
            END;
        END IF;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION mvscheduler.step_track(bigint) IS 'Makes the triggers that note which times change, on tables and partitions below the view that have none, as many as there is time for; of tables that foreign tables became parts of it makes them ones that never run.';

-- The step increment ------------------------------------------------------------------------------------

CREATE TABLE mvscheduler.pass_range (
    run_id  bigint NOT NULL,
    n       integer NOT NULL,
    lo      timestamptz NOT NULL,
    hi      timestamptz NOT NULL,
    staged  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run_id, n)
);
COMMENT ON TABLE mvscheduler.pass_range IS 'Private: the changes that a step is to follow; written and taken back with the row of pass.';
COMMENT ON COLUMN mvscheduler.pass_range.run_id IS 'pass.run_id';
COMMENT ON COLUMN mvscheduler.pass_range.n IS 'Number of the range, from 1.';
COMMENT ON COLUMN mvscheduler.pass_range.lo IS 'First instant that changed.';
COMMENT ON COLUMN mvscheduler.pass_range.hi IS 'Last instant that changed.';
COMMENT ON COLUMN mvscheduler.pass_range.staged IS 'It is so much that it is computed in one pass into a table of its own first.';
GRANT SELECT, INSERT, DELETE ON mvscheduler.pass_range TO mvscheduler_worker;

CREATE FUNCTION mvscheduler.increment_at_hand(view_id bigint, OUT owner oid, OUT query oid, OUT data oid, OUT time_column text, OUT width interval, OUT zone text,
                                              OUT source_type oid, OUT filled_from timestamptz, OUT starts timestamptz[], OUT ends timestamptz[], OUT staged boolean[], OUT unit text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS DISTINCT FROM 'increment' THEN
        RETURN;
    END IF;
    UPDATE mvscheduler.pass AS p SET taken = true WHERE p.view_id = increment_at_hand.view_id AND NOT p.taken;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT s.owner::oid, w.query, w.data, s.time_column, s.bucket_width, s.timezone, coalesce(i.filled_from, '-infinity'), mvscheduler.partition_unit(s.bucket_width, s.retention_period)
      INTO owner, query, data, time_column, width, zone, filled_from, unit
      FROM mvscheduler.view_state AS s
     CROSS JOIN LATERAL mvscheduler.version_at_work(s.view_id) AS w
      LEFT JOIN mvscheduler.increment_state AS i ON i.view_id = s.view_id AND i.data::oid = w.data
     WHERE s.view_id = increment_at_hand.view_id;
    SELECT a.atttypid INTO source_type
      FROM mvscheduler.view_source AS v JOIN pg_attribute AS a ON a.attrelid = v.relation AND a.attnum = v.col
     WHERE v.view_id = increment_at_hand.view_id AND v.col > 0;
    SELECT array_agg(r.lo ORDER BY r.n), array_agg(r.hi ORDER BY r.n), array_agg(r.staged ORDER BY r.n) INTO starts, ends, staged
      FROM mvscheduler.pass_range AS r JOIN mvscheduler.pass AS p ON p.run_id = r.run_id AND p.view_id = increment_at_hand.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.increment_at_hand(bigint) IS 'What the attempt that was let through has to recompute, once; all NULL everywhere else.';

CREATE FUNCTION mvscheduler.increment_done(view_id bigint, buckets bigint, inserted bigint, updated bigint, deleted bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) IN ('increment', 'build') THEN
        UPDATE mvscheduler.pass AS p
           SET done = ARRAY[increment_done.buckets, increment_done.inserted, increment_done.updated, increment_done.deleted]
         WHERE p.view_id = increment_done.view_id;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.increment_done(bigint, bigint, bigint, bigint, bigint) IS 'Tells the attempt that was let through what the step has done.';

-- A step touches nothing but relations of its owner that are what they were recorded as.
CREATE FUNCTION mvscheduler.demand_increment(owner oid, query oid, data oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel record;
BEGIN
    FOR rel IN SELECT p.kind, c.oid, c.relkind, c.relowner FROM (VALUES ('v', query), ('p', data)) AS p(kind, oid) LEFT JOIN pg_class AS c ON c.oid = p.oid LOOP
        IF rel.oid IS NULL THEN
            RAISE EXCEPTION '%', format('the %s of the view does not exist any more', CASE rel.kind WHEN 'v' THEN 'plain view with the query' ELSE 'table with the data' END)
                USING ERRCODE = 'undefined_table', HINT = CASE rel.kind WHEN 'v' THEN 'SELECT mvscheduler.resume_view(name) makes it anew.' ELSE 'DELETE the row and INSERT it anew; a new version that is being built mvscheduler.resume_view makes anew.' END;
        ELSIF rel.relkind::text <> rel.kind OR rel.relowner <> owner THEN
            RAISE EXCEPTION '%', format('%s is not a part of the view any more', mvscheduler.shown_name(rel.oid)) USING ERRCODE = 'wrong_object_type', DETAIL = 'It was given to another owner by hand.';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_increment(oid, oid, oid) IS 'Raises unless query and data of an incremental view are there and the owner''s.';

-- Partitions leave as a whole, so one holds at most a tenth of what is kept, where that is a day or more.
CREATE FUNCTION mvscheduler.partition_unit(width interval, retention interval) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT u.unit
      FROM (VALUES ('day', interval '24 hours'), ('week', interval '168 hours'), ('month', interval '744 hours'), ('year', interval '8928 hours'), ('century', interval '892800 hours')) AS u(unit, span)
     WHERE u.span <= CASE WHEN mvscheduler.longest(width) < interval '1 hour' THEN interval '24 hours'
                          WHEN mvscheduler.longest(width) < interval '24 hours' THEN interval '744 hours'
                          WHEN mvscheduler.longest(width) < interval '600 hours' THEN interval '8928 hours'
                          ELSE interval '892800 hours' END
       AND (retention IS NULL OR u.span <= greatest(mvscheduler.longest(retention) / 10, mvscheduler.longest(width), interval '24 hours'))
     ORDER BY u.span DESC
     LIMIT 1;
END;
COMMENT ON FUNCTION mvscheduler.partition_unit(interval, interval) IS 'How much time a partition holds whose buckets are this wide and are kept for this long; NULL = for ever.';

-- What is farther away than two centuries are times that make no sense, of which there can be any number: they share
-- partitions of up to a thousand years, which end where the others begin.
CREATE FUNCTION mvscheduler.partition_extent(unit text, label timestamp) RETURNS tsrange
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN label < f.first THEN tsrange(date_trunc('millennium', label), least(date_trunc('millennium', label) + interval '1 millennium', f.first))
                WHEN label >= f.beyond THEN tsrange(greatest(date_trunc('millennium', label), f.beyond), date_trunc('millennium', label) + interval '1 millennium')
                ELSE tsrange(date_trunc(unit, label), date_trunc(unit, label) + ('1 ' || unit)::interval) END
      FROM (SELECT date_trunc('century', now() AT TIME ZONE 'UTC' - interval '200 years') AS first, date_trunc('century', now() AT TIME ZONE 'UTC' + interval '200 years') AS beyond) AS f
$$;
COMMENT ON FUNCTION mvscheduler.partition_extent(text, timestamp) IS 'Labels that belong into one partition with this one, where partitions are made by a unit.';

-- Labels as times without a zone: with one they count as UTC, so that no zone matters for partitions.
CREATE FUNCTION mvscheduler.bare_label(column_name text, column_type oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN column_type = 'timestamptz'::regtype THEN format('(%s AT TIME ZONE ''UTC'')', column_name) ELSE format('%s::timestamp', column_name) END;
COMMENT ON FUNCTION mvscheduler.bare_label(text, oid) IS 'SQL for a label as a timestamp without zone.';

CREATE FUNCTION mvscheduler.partitions_of(data oid) RETURNS TABLE (relation oid, lo timestamp, hi timestamp)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT i.inhrelid, mvscheduler.bound_instant(m.bound[1], a.atttypid) AT TIME ZONE 'UTC', mvscheduler.bound_instant(m.bound[2], a.atttypid) AT TIME ZONE 'UTC'
          FROM pg_inherits AS i
          JOIN pg_class AS c ON c.oid = i.inhrelid
          JOIN pg_partitioned_table AS p ON p.partrelid = data
          JOIN pg_attribute AS a ON a.attrelid = data AND a.attnum = p.partattrs[0]
         CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, 0), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS m(bound)
         WHERE i.inhparent = data;
END $$;
COMMENT ON FUNCTION mvscheduler.partitions_of(oid) IS 'Partitions of the data of an incremental view and the labels that they hold.';

CREATE FUNCTION mvscheduler.parts_of(data oid) RETURNS TABLE (relation oid, file oid, lo timestamp, hi timestamp)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT p.relation, c.relfilenode, p.lo, p.hi FROM mvscheduler.partitions_of(data) AS p JOIN pg_class AS c ON c.oid = p.relation WHERE p.lo IS NOT NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.parts_of(oid) IS 'Partitions of the data of an incremental view, what they are stored in and the labels that they hold.';

-- Whatever has the name of the one or the other by then, its owner is us, or nothing is done.
CREATE FUNCTION mvscheduler.attach_partition(data oid, part oid, lo timestamp, hi timestamp, label_type oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', mvscheduler.shown_name(data), mvscheduler.shown_name(part), mvscheduler.bound_text(lo, label_type), mvscheduler.bound_text(hi, label_type));
    IF NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = part AND i.inhparent = data) THEN
        RAISE EXCEPTION 'another table took the name of the data meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.attach_partition(oid, oid, timestamp, timestamp, oid) IS 'Makes a table of ours the partition for labels from lo up to hi.';

CREATE FUNCTION mvscheduler.name_partition(data oid, part oid, suffix text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE (SELECT format('ALTER TABLE %s RENAME TO %I', mvscheduler.shown_name(part), mvscheduler.free_name(n.nspname, c.relname, suffix)) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = data);
    PERFORM mvscheduler.keep_to_owner(part);
END $$;
COMMENT ON FUNCTION mvscheduler.name_partition(oid, oid, text) IS 'Names a table that create_unnamed has made, and that becomes a partition, after its parent.';

CREATE FUNCTION mvscheduler.make_partition(data oid, lo timestamp, hi timestamp) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    handle oid := mvscheduler.handle(data, data);
    part   oid;
BEGIN
    -- Not PARTITION OF: that would lock readers out until the step ends.
    part := (mvscheduler.create_unnamed(data, 'TABLE', format('(LIKE %s)', mvscheduler.shown_name(handle)))).relation;
    PERFORM mvscheduler.name_partition(data, part, '_' || to_char(lo, CASE WHEN lo = lo::date THEN 'FMYYYYMMDD' ELSE 'FMYYYYMMDDHH24MI' END)),
            mvscheduler.equip_partition(data, part),
            mvscheduler.attach_partition(data, part, lo, hi, (SELECT a.atttypid FROM pg_partitioned_table AS p JOIN pg_attribute AS a ON a.attrelid = data AND a.attnum = p.partattrs[0] WHERE p.partrelid = data)),
            mvscheduler.drop_handle(handle, data);
END $$;
COMMENT ON FUNCTION mvscheduler.make_partition(oid, timestamp, timestamp) IS 'Makes an empty partition for labels from lo up to hi.';

CREATE FUNCTION mvscheduler.bound_text(label timestamp, column_type oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
SET TimeZone = 'UTC'
RETURN CASE WHEN column_type = 'timestamptz'::regtype THEN (label AT TIME ZONE 'UTC')::text WHEN column_type = 'date'::regtype THEN label::date::text ELSE label::text END;
COMMENT ON FUNCTION mvscheduler.bound_text(timestamp, oid) IS 'A bound of a partition in the type of its labels.';

-- A few partitions are made ahead; which of many are needed the query itself says (its handle), or the table that has its rows: fresh.
-- Of more than one transaction can lock those that are the farthest from now become years. Partitions of other widths
-- that are there already stay, and what is new fills the gaps between them.
CREATE FUNCTION mvscheduler.cover_range(fresh oid, data oid, time_column text, unit text, label_start text, label_end text, INOUT covered tsmultirange)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
    type    oid := (SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = data AND a.attname = time_column);
    bare    text := mvscheduler.bare_label(format('q.%I', time_column), type);
    one     interval := ('1 ' || unit)::interval;
    first   timestamp := mvscheduler.bound_instant(label_start, type) AT TIME ZONE 'UTC';
    last    timestamp := mvscheduler.bound_instant(label_end, type) AT TIME ZONE 'UTC';
    missing timestamp[];
    label   timestamp;
    extent  tsrange;
    gap     tsrange;
    n       int := 0;
BEGIN
    IF isfinite(first) AND isfinite(last) AND last - first < 1000 * one THEN
        missing := ARRAY(SELECT u.start FROM generate_series(date_trunc(unit, first), last, one) AS u(start) WHERE u.start < last AND NOT covered @> tsrange(u.start, u.start + one));
    END IF;
    IF missing IS NULL OR cardinality(missing) > 2 THEN
        EXECUTE format('SELECT array_agg(l.start ORDER BY abs(extract(epoch FROM l.start - now() AT TIME ZONE ''UTC'')))'
                       ' FROM (SELECT DISTINCT date_trunc(%1$L, %2$s) AS start FROM %3$s AS q WHERE q.%4$I >= %5$L AND q.%4$I < %6$L AND isfinite(q.%4$I)) AS l'
                       ' WHERE NOT $1 @> tsrange(l.start, l.start + $2)', unit, bare, mvscheduler.shown_name(fresh), time_column, label_start, label_end) INTO missing USING covered, one;
    END IF;
    FOREACH label IN ARRAY coalesce(missing, '{}') LOOP
        n := n + 1;
        extent := mvscheduler.partition_extent(unit, label);
        IF n > 200 AND unit <> 'century' THEN
            extent := range_merge(extent, mvscheduler.partition_extent('year', label));
        END IF;
        FOR gap IN SELECT g FROM unnest(tsmultirange(extent) - covered) AS g WHERE g && tsrange(label, label + one) LOOP
            PERFORM mvscheduler.make_partition(data, lower(gap), upper(gap));
            covered := covered + tsmultirange(gap);
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.cover_range(oid, oid, text, text, text, text, tsmultirange) IS 'Makes the partitions that the labels of a range need; covered are the labels that have one.';

CREATE FUNCTION mvscheduler.rows_handle(data oid, beside oid) RETURNS oid
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
RETURN mvscheduler.handle(data, beside, '*, tableoid AS "mvscheduler part", ctid AS "mvscheduler place"');
COMMENT ON FUNCTION mvscheduler.rows_handle(oid, oid) IS 'A handle of a table or materialized view that tells where a row lies.';

-- Rows are compared as they are stored: NULLs, json and floats as well. Without a key the row itself is one, as text, and
-- beside it how many of the same came before: then rows only come and go.
CREATE FUNCTION mvscheduler.difference(data oid, handle oid, key text[], solid text[], fresh text, time_column text, label_start text, label_end text, shown text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t      text := quote_ident(time_column);
    inside text := CASE WHEN time_column IS NULL THEN '' ELSE format(' WHERE x.%1$s >= %2$L AND x.%1$s < %3$L', t, label_start, label_end) END;
    finite text := CASE WHEN time_column IS NULL THEN '' ELSE format(' AND isfinite(x.%s)', t) END;
    whole  text;      -- x.a, x.b
    differ text;      -- ROW(n.a, n.b)::record *<> ROW(o.a, o.b)::record: without the casts it would be column by column
    same   text;
    extra  text := '';   -- more to be told apart by, of x
BEGIN
    SELECT string_agg('x.' || quote_ident(a.attname), ', ' ORDER BY a.attnum),
           format('ROW(%s)::record OPERATOR(pg_catalog.*<>) ROW(%s)::record', string_agg('n.' || quote_ident(a.attname), ', ' ORDER BY a.attnum), string_agg('o.' || quote_ident(a.attname), ', ' ORDER BY a.attnum))
      INTO whole, differ
      FROM pg_attribute AS a WHERE a.attrelid = data AND a.attnum > 0 AND NOT a.attisdropped;
    IF key IS NULL THEN
        extra := format(', ROW(%1$s)::text AS "mvscheduler row", row_number() OVER (PARTITION BY %2$s ROW(%1$s)::text) AS "mvscheduler copy"', whole, 'x.' || t || ',');
        same := concat_ws(' AND ', 'n.' || t || ' = o.' || t, 'n."mvscheduler row" = o."mvscheduler row" AND n."mvscheduler copy" = o."mvscheduler copy"');
    ELSE
        -- NULL is a key like any other. Arrays in an array would be one of more dimensions, so they are compared in a row.
        -- Where none is NULL half the time is saved, with an operator that no search_path can choose.
        SELECT string_agg(CASE WHEN k.name = time_column OR k.name = ANY (solid) AND y.typnamespace = 'pg_catalog'::regnamespace THEN format('n.%1$I OPERATOR(pg_catalog.=) o.%1$I', k.name)
                               WHEN y.typcategory = 'A' THEN format('n."mvscheduler %1$s" OPERATOR(pg_catalog.=) o."mvscheduler %1$s"', k.n)
                               ELSE format('ARRAY[n.%1$I] OPERATOR(pg_catalog.=) ARRAY[o.%1$I]', k.name) END, ' AND ' ORDER BY k.n),
               coalesce(string_agg(format(', ROW(x.%I) AS "mvscheduler %s"', k.name, k.n), '') FILTER (WHERE y.typcategory = 'A'), '')
          INTO same, extra
          FROM unnest(key) WITH ORDINALITY AS k(name, n) JOIN pg_attribute AS a ON a.attrelid = data AND a.attname = k.name JOIN pg_type AS y ON y.oid = a.atttypid;
    END IF;
    RETURN format('SELECT %s', shown)
        || format(' FROM (SELECT x.*, true AS "mvscheduler fresh"%s FROM %s AS x%s) AS n', extra, fresh, inside || finite)
        || format(' FULL JOIN (SELECT %sx.*%s FROM %s AS x%s) AS o ON %s', CASE WHEN handle = data THEN 'x.tableoid AS "mvscheduler part", x.ctid AS "mvscheduler place", ' END, extra, mvscheduler.shown_name(handle), inside, same)
        || format(' WHERE n."mvscheduler fresh" IS NULL OR o."mvscheduler place" IS NULL OR %s', differ);
END $$;
COMMENT ON FUNCTION mvscheduler.difference(oid, oid, text[], text[], text, text, text, text, text) IS 'A statement that gives, of each row in which the relation data and fresh differ, what shown says of n (the row of fresh) and o (that of data, with its "mvscheduler place"). data is read through its handle. Of times from label_start up to label_end, or without a time_column of all.';

CREATE FUNCTION mvscheduler.solid_keys(handle oid, key text[], time_column text, fresh text, label_start text, label_end text) RETURNS text[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    solid text[];
BEGIN
    IF key IS NOT NULL THEN
        EXECUTE format('SELECT ARRAY[%1$s]::text[] FROM (SELECT %2$s FROM %3$s UNION ALL SELECT %2$s FROM %4$s AS o WHERE o.%5$I >= %6$L AND o.%5$I < %7$L) AS x',
                       (SELECT string_agg(format('CASE WHEN bool_and(x.%1$I IS NOT NULL) THEN %1$L END', k.name), ', ') FROM unnest(key) AS k(name)),
                       (SELECT string_agg(quote_ident(k.name), ', ') FROM unnest(key) AS k(name)), fresh, mvscheduler.shown_name(handle), time_column, label_start, label_end) INTO solid;
    END IF;
    RETURN solid;
END $$;
COMMENT ON FUNCTION mvscheduler.solid_keys(oid, text[], text, text, text, text) IS 'The columns of a key that are NULL in no row of fresh, and none of the data with labels from label_start up to label_end.';

-- The window is set. What did not change is not written.
CREATE FUNCTION mvscheduler.replace_buckets(query oid, data oid, handle oid, time_column text, label_start text, label_end text, least_label text, most_label text, staged oid,
                                            OUT buckets bigint, OUT inserted bigint, OUT updated bigint, OUT deleted bigint, OUT strange text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    q         text := mvscheduler.shown_name(query);
    d         text := mvscheduler.shown_name(handle);
    same      text := CASE WHEN handle = data THEN 'd.tableoid = x."mvscheduler part" AND d.ctid = x."mvscheduler place"'
                           ELSE 'd."mvscheduler part" = x."mvscheduler part" AND d."mvscheduler place" = x."mvscheduler place"' END;
    t         text := quote_ident(time_column);
    source    text := coalesce(mvscheduler.shown_name(staged), 'fresh');
    columns   text;      -- a, b
    fresh     text;      -- x.a, x.b
    assign    text;
    inside    text := format('d.%1$s >= %2$L AND d.%1$s < %3$L', t, label_start, label_end);
    differing text;
    key       text[] := mvscheduler.key_of(data);
    solid     text[] := CASE WHEN staged IS NOT NULL THEN mvscheduler.solid_keys(handle, key, time_column, mvscheduler.shown_name(staged), label_start, label_end) END;
    differ    oid;
    memory    text := current_setting('work_mem');
    statement text;
BEGIN
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), string_agg('x.' || quote_ident(a.attname), ', ' ORDER BY a.attnum),
           string_agg(format('%1$I = x.%1$I', a.attname), ', ' ORDER BY a.attnum),
           mvscheduler.difference(data, handle, key, solid, source, time_column, label_start, label_end,
               string_agg('n.' || quote_ident(a.attname), ', ' ORDER BY a.attnum) || ', o."mvscheduler part", o."mvscheduler place", n."mvscheduler fresh" IS NULL AS "mvscheduler gone"')
      INTO columns, fresh, assign, differing
      FROM pg_attribute AS a WHERE a.attrelid = data AND a.attnum > 0 AND NOT a.attisdropped;
    IF staged IS NULL THEN
        statement := format('WITH fresh AS MATERIALIZED (SELECT %s FROM %s AS q), differ AS MATERIALIZED (%s), ', columns, q, differing);
    ELSE   -- as indexes of a full refresh are built
        PERFORM set_config('work_mem', current_setting('maintenance_work_mem'), true);
        differ := (mvscheduler.create_unnamed(data, 'UNLOGGED TABLE', 'AS ' || differing)).relation;
        EXECUTE format('ANALYZE %s', mvscheduler.shown_name(differ));
        statement := format('WITH differ AS NOT MATERIALIZED (SELECT * FROM %s), ', mvscheduler.shown_name(differ));
    END IF;
    statement := statement
        || format('gone AS (DELETE FROM %1$s AS d USING differ AS x WHERE x."mvscheduler gone" AND %6$s AND %2$s RETURNING 1)'
                  ', changed AS (UPDATE %1$s AS d SET %3$s FROM differ AS x WHERE NOT x."mvscheduler gone" AND %6$s AND %2$s RETURNING 1)'
                  ', come AS (INSERT INTO %1$s (%4$s) SELECT %5$s FROM differ AS x WHERE x."mvscheduler place" IS NULL RETURNING 1)', d, inside, assign, columns, fresh, same)
        || format(' SELECT (SELECT count(*) FROM come), (SELECT count(*) FROM changed), (SELECT count(*) FROM gone), count(*) FILTER (WHERE %2$s), '
                  'min(d.%1$s) FILTER (WHERE isfinite(d.%1$s) AND (d.%1$s < %3$L OR d.%1$s >= %4$L))::text FROM (SELECT f.%1$s FROM %5$s AS f GROUP BY f.%1$s) AS d', t, inside, least_label, most_label, source);
    EXECUTE statement INTO inserted, updated, deleted, buckets, strange;
    IF staged IS NOT NULL THEN
        EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(differ));
        PERFORM set_config('work_mem', memory, true);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.replace_buckets(oid, oid, oid, text, text, text, text, text, oid) IS 'Brings the rows with labels from label_start up to label_end in line with the query, whose window is set, and writes only what differs. query is its handle, handle that of data. staged is a table that has the rows of the query already, where there is one. strange is a label of the window that lies outside of all that it could have.';

-- What is replaced, and what of it is whole, follows from how far labels are from the rows that they come from. That nobody can tell of an
-- expression, so rows are looked at: of an increment those of the first and of the last bucket's width of a range, which of a statement that wrote
-- one row is this row; of a wide range and of a fill also those that are left out, on either side.
CREATE FUNCTION mvscheduler.demand_no_strange(strange text, lo timestamptz, hi timestamptz, time_column text, width interval) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'a row between % and % has % in column %, which is not the start of a bucket of %', lo, hi, strange, quote_ident(time_column), width
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Set bucket_width to how wide the query cuts, let the time_column be the start of the bucket, and timezone be the zone in which the query cuts.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_no_strange(text, timestamptz, timestamptz, text, interval) IS 'Raises where rows of a range were found to have a label that they cannot have.';

CREATE FUNCTION mvscheduler.demand_labels(query oid, time_column text, width interval, lo timestamptz, hi timestamptz, first text, beyond text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    strange text;
BEGIN
    PERFORM set_config('mvscheduler.window_start', lo::text, true), set_config('mvscheduler.window_end', hi::text, true);
    EXECUTE format('SELECT q.%1$I::text FROM %2$s AS q WHERE isfinite(q.%1$I) AND (q.%1$I < %3$L OR q.%1$I >= %4$L) LIMIT 1', time_column, mvscheduler.shown_name(query), coalesce(first, '-infinity'), coalesce(beyond, 'infinity')) INTO strange;
    PERFORM mvscheduler.demand_no_strange(strange, lo, hi, time_column, width);
END $$;
COMMENT ON FUNCTION mvscheduler.demand_labels(oid, text, interval, timestamptz, timestamptz, text, text) IS 'Raises where rows from lo up to hi have a label before first (NULL = no matter), or one that is not before beyond. query is its handle. Leaves the window at lo and hi.';

CREATE FUNCTION mvscheduler.demand_near_labels(query oid, time_column text, label_type oid, source_type oid, lo timestamptz, hi timestamptz, width interval, zone text) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
    SELECT mvscheduler.demand_labels(query, time_column, width, p.lo, p.hi + interval '1 microsecond', mvscheduler.label_text(w.label_start, label_type, source_type, zone), mvscheduler.label_text(w.label_end, label_type, source_type, zone))
      FROM (SELECT lo, least(hi, lo + mvscheduler.longest(width)) UNION SELECT greatest(lo, hi - mvscheduler.longest(width)), hi) AS p(lo, hi)
     CROSS JOIN LATERAL mvscheduler.window_of(p.lo, p.hi, width, zone, NULL) AS w
     WHERE isfinite(p.lo) AND isfinite(p.hi);
    SELECT mvscheduler.demand_labels(query, time_column, width, w.window_start - mvscheduler.longest(width), w.window_start, NULL, mvscheduler.label_text(w.label_start, label_type, source_type, zone))
      FROM mvscheduler.window_of(lo, hi, width, zone, NULL) AS w WHERE isfinite(lo) AND hi >= lo + mvscheduler.longest(width);
    SELECT mvscheduler.demand_labels(query, time_column, width, w.window_end, w.window_end + mvscheduler.longest(width), mvscheduler.label_text(w.label_end, label_type, source_type, zone), NULL)
      FROM mvscheduler.window_of(lo, hi, width, zone, NULL) AS w WHERE isfinite(hi) AND hi >= lo + mvscheduler.longest(width);
$$;
COMMENT ON FUNCTION mvscheduler.demand_near_labels(oid, text, oid, oid, timestamptz, timestamptz, interval, text) IS 'Raises where rows at the ends of a range have labels under which changes of them would not be looked for, or rows beside the window of a wide range labels that are replaced. query is its handle. Leaves the window changed.';

CREATE FUNCTION mvscheduler.step_increment(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
    work   record;
    span   record;
    did    record;
    label_type oid;
    source oid;
    cut    record;
    query  oid;     -- handles
    data   oid;
    staged oid;
    unit   text;
    covered tsmultirange;
    total  bigint[] := '{0,0,0,0}';
BEGIN
    SELECT * INTO work FROM mvscheduler.increment_at_hand(view_id);
    IF work.owner IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_increment(work.owner, work.query, work.data);
    label_type := (SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = work.data AND a.attname = work.time_column);
    source := coalesce(work.source_type, label_type);
    cut := mvscheduler.cut_of(work.query, work.time_column, work.width, work.source_type, work.zone);
    query := mvscheduler.handle(work.query, work.data);
    data := mvscheduler.rows_handle(work.data, work.data);
    unit := coalesce(mvscheduler.unit_in_force(work.data), work.unit);
    covered := coalesce((SELECT range_agg(tsrange(p.lo, p.hi)) FROM mvscheduler.partitions_of(work.data) AS p WHERE p.lo IS NOT NULL), '{}');
    FOR span IN
        SELECT w.*, r.*, mvscheduler.unfrozen_label(view_id, mvscheduler.label_text(w.label_start, label_type, source, work.zone), label_type, source, work.zone) AS first, mvscheduler.label_text(w.label_end, label_type, source, work.zone) AS last,
               mvscheduler.label_text(CASE WHEN w.exact THEN w.label_start WHEN isfinite(r.lo) AND work.source_type IS NOT NULL THEN w.window_start - mvscheduler.longest(work.width) - w.slack ELSE '-infinity' END, label_type, source, work.zone) AS least_label,
               mvscheduler.label_text(CASE WHEN w.exact THEN w.label_end WHEN isfinite(r.hi) AND work.source_type IS NOT NULL THEN w.window_end + w.slack ELSE 'infinity' END, label_type, source, work.zone) AS most_label
          FROM unnest(work.starts, work.ends, work.staged) AS r(lo, hi, staged)
         CROSS JOIN LATERAL mvscheduler.window_of(r.lo, r.hi, work.width, coalesce(cut.zone, work.zone), cut.unit) AS w
    LOOP
        CONTINUE WHEN mvscheduler.bound_instant(span.first, label_type) >= mvscheduler.bound_instant(span.last, label_type);   -- frozen
        IF cut.unit IS NULL AND work.source_type IS NOT NULL THEN   -- else all rows are given, whatever the window is
            PERFORM mvscheduler.demand_near_labels(query, work.time_column, label_type, source, span.lo, span.hi, work.width, work.zone);
        END IF;
        PERFORM set_config('mvscheduler.window_start', span.window_start::text, true), set_config('mvscheduler.window_end', span.window_end::text, true);
        -- Much at once is computed into a table of its own first, by statements that may run in parallel, which what writes
        -- may not. It lasts no longer than the step, so nothing of it is logged, and readers of the data wait for nothing.
        staged := CASE WHEN span.staged AND has_schema_privilege((SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = work.data), 'CREATE')
                       THEN (mvscheduler.create_unnamed(work.data, 'UNLOGGED TABLE', format('AS SELECT * FROM %s', mvscheduler.shown_name(query)))).relation END;
        covered := mvscheduler.cover_range(coalesce(staged, query), work.data, work.time_column, unit, span.first, span.last, covered);
        SELECT * INTO did FROM mvscheduler.replace_buckets(query, work.data, data, work.time_column, span.first, span.last, span.least_label, span.most_label, staged);
        IF staged IS NOT NULL THEN
            EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(staged));
        END IF;
        PERFORM mvscheduler.demand_no_strange(did.strange, span.window_start, span.window_end, work.time_column, work.width);
        total := ARRAY[total[1] + did.buckets, total[2] + did.inserted, total[3] + did.updated, total[4] + did.deleted];
    END LOOP;
    PERFORM mvscheduler.drop_handle(query, work.query), mvscheduler.drop_handle(data, work.data);
    PERFORM mvscheduler.increment_done(view_id, total[1], total[2], total[3], total[4]);
    RETURN total[2] + total[3] + total[4];
END $$;
COMMENT ON FUNCTION mvscheduler.step_increment(bigint) IS 'Recomputes the buckets of the ranges that the attempt was let through for.';

-- The step build ----------------------------------------------------------------------------------------
--
-- The first contents come partition by partition, the newest first, each in a transaction of its own: CREATE TABLE AS,
-- which runs in parallel, and ATTACH at its end. All of them are younger than the snapshot that was taken before the
-- first, so the increment that follows brings what changed meanwhile.

CREATE FUNCTION mvscheduler.build_at_hand(view_id bigint, OUT owner oid, OUT query oid, OUT data oid, OUT time_column text, OUT width interval, OUT zone text,
                                          OUT source oid, OUT source_column text, OUT source_type oid, OUT filled_from timestamptz, OUT unit text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS DISTINCT FROM 'build' THEN
        RETURN;
    END IF;
    UPDATE mvscheduler.pass AS p SET taken = true WHERE p.view_id = build_at_hand.view_id AND NOT p.taken;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT s.owner::oid, w.query, w.data, s.time_column, s.bucket_width, s.timezone, v.relation::oid, a.attname, a.atttypid, i.filled_from, mvscheduler.partition_unit(s.bucket_width, s.retention_period)
      INTO owner, query, data, time_column, width, zone, source, source_column, source_type, filled_from, unit
      FROM mvscheduler.view_state AS s
     CROSS JOIN LATERAL mvscheduler.version_at_work(s.view_id) AS w
      JOIN mvscheduler.increment_state AS i ON i.view_id = s.view_id AND i.data::oid = w.data
      JOIN mvscheduler.view_source AS v ON v.view_id = s.view_id AND v.col > 0
      JOIN pg_attribute AS a ON a.attrelid = v.relation AND a.attnum = v.col
     WHERE s.view_id = build_at_hand.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.build_at_hand(bigint) IS 'Of what the attempt that was let through has to build the next partition, once; all NULL everywhere else.';

CREATE FUNCTION mvscheduler.build_done(view_id bigint, filled_from timestamptz, oldest timestamptz, rows bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) = 'build' THEN
        UPDATE mvscheduler.increment_state AS i
           SET filled_from = least(i.filled_from, build_done.filled_from),
               fill = jsonb_build_object('newest', coalesce(i.fill ->> 'newest', build_done.filled_from::text), 'oldest', coalesce(build_done.oldest::text, i.fill ->> 'oldest'),
                                         'partitions', coalesce((i.fill ->> 'partitions')::bigint, 0) + (build_done.rows > 0)::int, 'rows', coalesce((i.fill ->> 'rows')::bigint, 0) + build_done.rows)
         WHERE i.view_id = build_done.view_id AND i.data::oid = (mvscheduler.version_at_work(build_done.view_id)).data;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.build_done(bigint, timestamptz, timestamptz, bigint) IS 'Records from where on the view is filled, in the transaction that built a partition.';

-- The other way round than label_text.
CREATE FUNCTION mvscheduler.source_instant(label timestamp, label_type oid, source_type oid, zone text) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN (label_type = 'timestamptz'::regtype) = (source_type = 'timestamptz'::regtype) THEN label AT TIME ZONE 'UTC'
            WHEN source_type = 'timestamptz'::regtype THEN label AT TIME ZONE zone
            ELSE ((label AT TIME ZONE 'UTC') AT TIME ZONE zone) AT TIME ZONE 'UTC' END;
COMMENT ON FUNCTION mvscheduler.source_instant(timestamp, oid, oid, text) IS 'A bound of a partition as an instant among the times of a source.';

CREATE FUNCTION mvscheduler.step_build(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
    work       record;
    label_type oid;
    unit       text;
    slack      interval;
    border     timestamptz;   -- of what is filled, among the times of the source
    newest     timestamptz;   -- of what may not be
    oldest     timestamptz;
    instant    text;
    extent     tsrange;       -- labels of the partition
    first      timestamp;
    beyond     timestamp;
    begins     timestamptz;   -- of the rows that are read for it
    ends       timestamptz;
    handle     oid;
    part       oid;
    rows       bigint;
    bounds     text;
BEGIN
    SELECT * INTO work FROM mvscheduler.build_at_hand(view_id);
    IF work.owner IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_increment(work.owner, work.query, work.data);
    label_type := (SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = work.data AND a.attname = work.time_column);
    unit := coalesce(mvscheduler.unit_in_force(work.data), work.unit);
    slack := greatest(interval '1 hour', mvscheduler.clock_moves('2000-01-01', '2040-01-01', work.zone));
    border := CASE WHEN isfinite(work.filled_from) THEN mvscheduler.source_instant(work.filled_from AT TIME ZONE 'UTC', label_type, work.source_type, work.zone) + mvscheduler.longest(work.width) + slack END;
    instant := CASE work.source_type WHEN 'timestamptz'::regtype THEN format('s.%I', work.source_column) ELSE format('s.%I::timestamp AT TIME ZONE ''UTC''', work.source_column) END;
    PERFORM set_config('mvscheduler.window_start', '', true), set_config('mvscheduler.window_end', coalesce(border::text, ''), true);
    handle := mvscheduler.handle(work.source, work.data, quote_ident(work.source_column));
    EXECUTE format('SELECT (SELECT %1$s FROM %2$s AS s WHERE mvscheduler.in_window(s.%3$I) ORDER BY s.%3$I DESC LIMIT 1), (SELECT %1$s FROM %2$s AS s WHERE mvscheduler.in_window(s.%3$I) ORDER BY s.%3$I LIMIT 1)',
                   instant, mvscheduler.shown_name(handle), work.source_column) INTO newest, oldest;
    PERFORM mvscheduler.drop_handle(handle, work.source);
    IF newest IS NULL THEN
        PERFORM mvscheduler.build_done(view_id, '-infinity', NULL, 0), mvscheduler.increment_done(view_id, 0, 0, 0, 0);
        RETURN 0;
    END IF;
    extent := mvscheduler.partition_extent(unit, mvscheduler.bound_instant(mvscheduler.label_text(newest + slack, label_type, work.source_type, work.zone), label_type) AT TIME ZONE 'UTC');
    IF isfinite(work.filled_from) AND lower(extent) >= work.filled_from AT TIME ZONE 'UTC' THEN
        extent := mvscheduler.partition_extent(unit, (work.filled_from AT TIME ZONE 'UTC') - interval '1 microsecond');
    END IF;
    first := lower(extent);
    beyond := upper(extent);
    IF beyond AT TIME ZONE 'UTC' <= mvscheduler.bound_instant(mvscheduler.unfrozen_label(view_id, mvscheduler.bound_text('4000-01-01 00:00:00 BC', label_type), label_type, work.source_type, work.zone), label_type) THEN
        PERFORM mvscheduler.build_done(view_id, '-infinity', NULL, 0), mvscheduler.increment_done(view_id, 0, 0, 0, 0);   -- too old
        RETURN 0;
    END IF;

    -- Labels of the partition, whole.
    begins := mvscheduler.source_instant(first, label_type, work.source_type, work.zone) - slack;
    ends := mvscheduler.source_instant(beyond, label_type, work.source_type, work.zone) + mvscheduler.longest(work.width) + slack;
    handle := mvscheduler.handle(work.query, work.data);
    IF (mvscheduler.cut_of(work.query, work.time_column, work.width, work.source_type, work.zone)).unit IS NULL THEN
        PERFORM mvscheduler.demand_near_labels(handle, work.time_column, label_type, work.source_type, newest, newest, work.width, work.zone),
                mvscheduler.demand_labels(handle, work.time_column, work.width, begins - mvscheduler.longest(work.width), begins, NULL, mvscheduler.bound_text(first, label_type)),
                mvscheduler.demand_labels(handle, work.time_column, work.width, ends, ends + mvscheduler.longest(work.width), mvscheduler.bound_text(beyond, label_type), NULL);
    END IF;
    PERFORM set_config('mvscheduler.window_start', begins::text, true), set_config('mvscheduler.window_end', ends::text, true);
    bounds := format('%1$I >= %2$L AND %1$I < %3$L', work.time_column, mvscheduler.bound_text(first, label_type), mvscheduler.bound_text(beyond, label_type));
    SELECT m.relation, m.rows INTO part, rows FROM mvscheduler.create_unnamed(work.data, 'TABLE', format('AS SELECT * FROM %s WHERE %s', mvscheduler.shown_name(handle), bounds)) AS m;
    PERFORM mvscheduler.drop_handle(handle, work.query);
    IF rows = 0 THEN
        EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(part));
    ELSE
        PERFORM mvscheduler.name_partition(work.data, part, '_' || to_char(first, 'FMYYYYMMDD'));
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT bounds CHECK (%I IS NOT NULL AND %s)', mvscheduler.shown_name(part), work.time_column, bounds);   -- known when it is attached
        PERFORM mvscheduler.equip_partition(work.data, part), mvscheduler.attach_partition(work.data, part, first, beyond, label_type);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT bounds', mvscheduler.shown_name(part));
    END IF;
    PERFORM mvscheduler.build_done(view_id, first AT TIME ZONE 'UTC', oldest, rows), mvscheduler.increment_done(view_id, 0, rows, 0, 0);
    RETURN rows;
END $$;
COMMENT ON FUNCTION mvscheduler.step_build(bigint) IS 'Builds the newest partition that an incremental view does not have yet; where there is nothing left to build, says so.';

-- Before it is attached, when nobody waits for the table yet.
CREATE FUNCTION mvscheduler.equip_partition(data oid, part oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    idx record;
    con record;
    col record;
BEGIN
    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', mvscheduler.shown_name(part));   -- else a publication of all tables keeps us from writing
    FOR idx IN
        SELECT i.indisunique, regexp_replace(pg_get_indexdef(i.indexrelid), '^.*? USING ', 'USING ') AS body
          FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
         WHERE i.indrelid = data AND coalesce(obj_description(i.indexrelid, 'pg_class'), '') IN ('mvscheduler: unique_key', 'mvscheduler: buckets')
         ORDER BY i.indexrelid
    LOOP
        EXECUTE format('CREATE %s INDEX ON %s %s', CASE WHEN idx.indisunique THEN 'UNIQUE' END, mvscheduler.shown_name(part), idx.body);
    END LOOP;
    FOR con IN   -- by hand; nothing of them runs before they are known to be the same
        SELECT n.conname, regexp_replace(pg_get_constraintdef(n.oid), '( NOT VALID)?$', ' NOT VALID') AS body, mvscheduler.names_in('pg_constraint', n.oid, data) AS uses FROM pg_constraint AS n WHERE n.conrelid = data AND n.contype = 'c' ORDER BY n.conname
    LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', mvscheduler.shown_name(part), con.conname, con.body);
        IF con.uses IS DISTINCT FROM (SELECT mvscheduler.names_in('pg_constraint', n.oid, part) FROM pg_constraint AS n WHERE n.conrelid = part AND n.conname = con.conname) THEN
            RAISE EXCEPTION 'something that constraint % uses was renamed or replaced meanwhile', quote_ident(con.conname) USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        CONTINUE WHEN con.body LIKE '% NOT ENFORCED NOT VALID';
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', mvscheduler.shown_name(part), con.conname);
    END LOOP;
    FOR col IN SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = data AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped LOOP
        EXECUTE format('ALTER TABLE %s ALTER %I SET NOT NULL', mvscheduler.shown_name(part), col.attname);
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.equip_partition(oid, oid) IS 'Makes the index of the key on a table that becomes a partition, the constraints that ATTACH demands and what a publication does; indexes that are missing ATTACH makes.';
