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
    RETURN greatest(nullif(current_setting('mvscheduler.window_start', true), '')::timestamptz, '4000-01-01 00:00:00+00 BC');   -- also where a step reads around a time beyond
END $$;
COMMENT ON FUNCTION mvscheduler.window_start() IS 'Where the window of the step that runs begins; everywhere else the year 4000 BC.';

CREATE FUNCTION mvscheduler.window_end() RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN least(nullif(current_setting('mvscheduler.window_end', true), '')::timestamptz, '200000-01-01 00:00:00+00');
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
RETURN pg_catalog.make_interval(secs => 86400.0 * (31 * (12 * extract(year FROM pg_catalog.justify_interval(width)) + extract(month FROM pg_catalog.justify_interval(width))) + extract(day FROM pg_catalog.justify_interval(width)))
                                      + 3600.0 * extract(hour FROM pg_catalog.justify_interval(width)) + 60.0 * extract(minute FROM pg_catalog.justify_interval(width)) + extract(second FROM pg_catalog.justify_interval(width)));
COMMENT ON FUNCTION mvscheduler.longest(interval) IS 'An interval as hours, with months of 31 days, and 30 days as a month: a bucket of this width is no longer, but for the change of clocks.';

CREATE FUNCTION mvscheduler.clock_moves(lo timestamptz, hi timestamptz, zone text) RETURNS interval
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT max(o.shift) - min(o.shift)
              FROM (SELECT (t.at AT TIME ZONE zone) - (t.at AT TIME ZONE 'UTC') AS shift
                      FROM (SELECT lo + n * greatest(interval '6 hours', (hi - lo) / 200) AS at FROM generate_series(0, 200) AS n) AS t
                     WHERE t.at < hi
                    UNION ALL
                    SELECT (hi AT TIME ZONE zone) - (hi AT TIME ZONE 'UTC')) AS o);
END $$;
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

-- Which queries can be computed window by window ------------------------------------------------------------

-- What PostgreSQL has stored of a query is a text of nodes, {NAME :field value ...}, and of lists, (...). Here it becomes
-- JSON, one document for each SELECT in it, in which another SELECT is {"level": number}. A field comes with its value in
-- one piece, and in names spaces, brackets and braces are escaped, so no name looks like any of this. A node that is not
-- there is an empty list, as it is to PostgreSQL. Left out is what differs where one thing is written twice.
CREATE FUNCTION mvscheduler.stored_selects(reader oid) RETURNS TABLE (level int, parent int, node jsonb)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
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

-- Through what a join, and from PostgreSQL 18 on a GROUP BY, calls them; of a function in FROM what it is called with.
CREATE FUNCTION mvscheduler.columns_named(node jsonb, expr jsonb) RETURNS TABLE (up int, place int, col int, type oid)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
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
    SELECT DISTINCT (n.node ->> 'varlevelsup')::int, (n.node ->> 'varno')::int, (n.node ->> 'varattno')::int, (n.node ->> 'vartype')::oid
      FROM var AS n
     CROSS JOIN LATERAL (SELECT $1 -> 'rtable' -> ((n.node ->> 'varno')::int - 1)) AS t(rte)
     WHERE n.node ->> 'varlevelsup' <> '0'
        OR t.rte ->> 'rtekind' NOT IN ('2', '9') AND NOT jsonb_path_exists(coalesce(t.rte -> 'functions', t.rte -> 'values_lists', '[]'), 'strict $.**?(@.node == "VAR")');
END $$;
COMMENT ON FUNCTION mvscheduler.columns_named(jsonb, jsonb) IS 'The columns that an expression of a SELECT names: how many SELECTs further out they are read, at which place of its range table what they are columns of is, their numbers, and their types.';

CREATE FUNCTION mvscheduler.times_named(node jsonb, expr jsonb) RETURNS TABLE (up int, place int, col int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE named AS MATERIALIZED (
        SELECT n.* FROM mvscheduler.columns_named($1, $2) AS n
    ), conjunct(node) AS (
        SELECT q FROM jsonb_path_query($1 -> 'jointree', 'strict $.**?(@.node == "FROMEXPR" || @.node == "JOINEXPR").quals') AS q
        UNION ALL
        SELECT a FROM conjunct AS c CROSS JOIN LATERAL jsonb_array_elements(c.node -> 'args') AS a WHERE c.node ->> 'node' = 'BOOLEXPR' AND c.node ->> 'boolop' = 'and'
    ), comparison AS (
        SELECT q.node -> 'args' AS args, CASE o.oprname WHEN '=' THEN 0 WHEN '<' THEN -1 WHEN '<=' THEN -1 ELSE 1 END AS way
          FROM conjunct AS q
          JOIN pg_operator AS o ON o.oid = (q.node ->> 'opno')::oid AND o.oprname IN ('=', '<', '<=', '>', '>=') AND o.oprnamespace = 'pg_catalog'::regnamespace
                               AND o.oprleft IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
         WHERE q.node ->> 'node' = 'OPEXPR'
    ), tie AS (
        SELECT y.up, y.place, y.col, x.up AS to_up, x.place AS to_place, x.col AS to_col, e.way * s.sign AS way
          FROM comparison AS e
         CROSS JOIN (VALUES (0, 1, 1), (1, 0, -1)) AS s(one, other, sign)
         CROSS JOIN LATERAL mvscheduler.columns_named($1, e.args -> s.one) AS x
         CROSS JOIN LATERAL mvscheduler.columns_named($1, e.args -> s.other) AS y
         WHERE EXISTS (SELECT FROM named AS n WHERE n.up = x.up AND n.place = x.place)
    )
    SELECT n.up, n.place, n.col FROM named AS n
    UNION
    SELECT t.up, t.place, t.col
      FROM tie AS t
     GROUP BY t.up, t.place, t.col, t.to_up, t.to_place
    HAVING bool_or(EXISTS (SELECT FROM named AS n WHERE n.up = t.to_up AND n.place = t.to_place AND n.col = t.to_col))
       AND (bool_or(t.way = 0) OR bool_or(t.way < 0) AND bool_or(t.way > 0));
END $$;
COMMENT ON FUNCTION mvscheduler.times_named(jsonb, jsonb) IS 'columns_named, and the columns of the times that the SELECT demands to be equal to one of them, or after one and before one of the same relation: a calendar is tied so to what is counted.';

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

CREATE FUNCTION mvscheduler.demands_window(windows oid[], quals jsonb, place int) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN quals ->> 'node' = 'FUNCEXPR' THEN (quals ->> 'funcid')::oid = ANY (windows) AND quals #>> '{args,0,varno}' = place::text
                WHEN quals ->> 'boolop' = 'and' THEN EXISTS (SELECT FROM jsonb_array_elements(quals -> 'args') AS a(node) WHERE mvscheduler.demands_window(windows, a.node, place))
                WHEN quals ->> 'boolop' = 'or' THEN NOT EXISTS (SELECT FROM jsonb_array_elements(quals -> 'args') AS a(node) WHERE NOT mvscheduler.demands_window(windows, a.node, place))
                ELSE false END;
END $$;
COMMENT ON FUNCTION mvscheduler.demands_window(oid[], jsonb, int) IS 'Whether no row meets a condition whose time, at this place of the range table, in_window leaves out: it stands beside AND, or on each side of OR.';

-- Computed window by window the query has to be what it is as a whole. So no row may meet rows of other windows: LIMIT and
-- grouping sets are refused around in_window, and two windows but in the arms of a UNION or the like, and so are
-- expressions of a subquery with a window. What the time_column is made of is followed from column to column (tied).
-- It is computed from the column that in_window is asked about and from no other column, which could put a row into any
-- bucket, but for the name of a zone; or a calendar has it, and is compared with what is read within a window.
-- Every row comes from within a window: what an outer join keeps where nothing matches does not (loose), nor what another condition
-- than in_window lets through (optional).
-- What brings rows together, GROUP BY, DISTINCT and windows of window functions, has to determine what it is made of there,
-- and this has to be a time of each thing with a window that is read there.
-- A refresh fails when it finds a row whose label is far from its window. So where such a label is possible (spread), no
-- row may be left out for what it was brought together with (hides): nothing would tell.
-- Returns whether all that is read of what in_window is asked about (targets) is read within windows.
CREATE FUNCTION mvscheduler.check_windows(query_relation oid, readers oid[], targets oid[], asked_column text, parsed int, time_column text) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    windows oid[] := ARRAY(SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'mvscheduler'::regnamespace AND p.proname = 'in_window');
    -- Without a zone the time_column is read by the zone of the view alone.
    zoned   boolean := (SELECT a.atttypid = 'timestamptz'::regtype FROM pg_attribute AS a WHERE a.attrelid = query_relation AND a.attname = time_column);
    verdict record;
BEGIN
    WITH RECURSIVE levels AS MATERIALIZED (
        SELECT r.oid AS reader, s.level, s.parent, s.node,
               ARRAY(SELECT CASE t.rte ->> 'rtekind' WHEN '0' THEN (t.rte ->> 'relid')::oid ELSE 0 END FROM jsonb_array_elements(s.node -> 'rtable') WITH ORDINALITY AS t(rte, place) ORDER BY t.place) AS reads
          FROM unnest(readers) AS r(oid)
         CROSS JOIN LATERAL mvscheduler.stored_selects(r.oid) AS s
    ), call AS MATERIALIZED (   -- of in_window: about which column of what is read there; -1 for anything else, as what a subquery or an alias calls so
        SELECT l.reader, l.level, CASE WHEN a.attrelid IS NOT NULL THEN v.place ELSE -1 END AS place, v.col
          FROM levels AS l CROSS JOIN LATERAL jsonb_path_query(l.node, 'strict $.**?(@.node == "FUNCEXPR")') AS f(node)
         CROSS JOIN LATERAL (SELECT (f.node #>> '{args,0,varno}')::int AS place, (f.node #>> '{args,0,varattno}')::int AS col) AS v
          LEFT JOIN pg_attribute AS a ON f.node #>> '{args,0,node}' = 'VAR' AND f.node #>> '{args,0,varlevelsup}' = '0'
                                     AND a.attrelid = l.reads[v.place] AND a.attrelid = ANY (targets) AND a.attnum = v.col AND quote_ident(a.attname) = asked_column
         WHERE (f.node ->> 'funcid')::oid = ANY (windows)
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
        SELECT c.reader, c.level FROM call AS c
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
    ), within AS (   -- what is read within a window, and of a table itself the column
        SELECT p.reader, p.level, p.place, NULL::int AS col FROM place AS p JOIN windowed AS w ON w.reader = p.from_reader AND w.level = p.from_level
        UNION ALL
        SELECT c.reader, c.level, c.place, c.col FROM call AS c WHERE c.place > 0
    ), named AS MATERIALIZED (   -- by each expression that the time_column is made of; place 0 = by a SELECT in it, or computed from several rows
        SELECT l.reader, l.level, m.col AS target, n.up, a.outer_level, n.place, n.col, w.reader AS from_reader, w.level AS from_level
          FROM (SELECT DISTINCT m.from_reader, m.from_level, m.col FROM tied AS m) AS m
          JOIN levels AS l ON l.reader = m.from_reader AND l.level = m.from_level AND l.node -> 'setOperations' = '[]' AND m.col > 0
         CROSS JOIN LATERAL (SELECT l.node -> 'targetList' -> (m.col - 1) -> 'expr' AS expr) AS x
         CROSS JOIN LATERAL (SELECT jsonb_agg(y.expr) AS expr   -- with those of a GROUP BY that it goes by, from PostgreSQL 18 on
                               FROM (SELECT x.expr
                                     UNION ALL
                                     SELECT t.rte -> 'groupexprs' -> ((v.node ->> 'varattno')::int - 1)
                                       FROM jsonb_path_query(x.expr, 'strict $.**?(@.node == "VAR" && @.varlevelsup == "0")') AS v(node)
                                      CROSS JOIN LATERAL (SELECT l.node -> 'rtable' -> ((v.node ->> 'varno')::int - 1)) AS t(rte)
                                      WHERE t.rte ->> 'rtekind' = '9') AS y) AS e
         CROSS JOIN LATERAL (SELECT c.up, c.place, c.col
                               FROM mvscheduler.columns_named(l.node, e.expr) AS c
                               JOIN pg_type AS t ON t.oid = c.type
                              WHERE NOT (zoned AND t.typcategory = 'S'
                                         AND EXISTS (SELECT FROM jsonb_path_query(e.expr, 'strict $.**?(@.node == "FUNCEXPR")') AS f(node)
                                                       JOIN (VALUES ('timezone(text,timestamptz)'::regprocedure, 0), ('timezone(text,timestamp)'::regprocedure, 0), ('date_trunc(text,timestamptz,text)'::regprocedure, 2)) AS z(oid, arg)
                                                         ON z.oid = (f.node ->> 'funcid')::oid
                                                      CROSS JOIN LATERAL mvscheduler.columns_named(l.node, f.node -> 'args' -> z.arg) AS zone
                                                      WHERE zone.up = c.up AND zone.place = c.place AND zone.col = c.col))
                             UNION ALL
                             SELECT 0, 0, 0
                              WHERE jsonb_path_exists(e.expr, 'strict $.**?(@.node == "AGGREF" || @.node == "WINDOWFUNC")')
                                 OR EXISTS (SELECT FROM jsonb_path_query(e.expr, 'strict $.**?(exists(@.level)).level') AS n(level)
                                              JOIN around AS i ON i.reader = l.reader AND i.outer_level = n.level::int
                                              JOIN levels AS s ON s.reader = i.reader AND s.level = i.level AND jsonb_path_exists(s.node, 'strict $.**?(@.node == "VAR")'))) AS n
          JOIN around AS a ON a.reader = l.reader AND a.level = l.level AND a.up = n.up
          LEFT JOIN place AS p ON p.reader = l.reader AND p.level = a.outer_level AND p.place = n.place
          LEFT JOIN windowed AS w ON w.reader = p.from_reader AND w.level = p.from_level
    ), leaf(reader, level, target, up, place, col, at_reader, at_level, at_place, at_col, from_reader, from_level) AS (   -- down to where it comes from
        SELECT n.reader, n.level, n.target, n.up, n.place, n.col, n.reader, n.outer_level, n.place, n.col, n.from_reader, n.from_level FROM named AS n
        UNION
        SELECT f.reader, f.level, f.target, f.up, f.place, f.col, d.*
          FROM leaf AS f
         CROSS JOIN LATERAL (SELECT n.reader, n.outer_level, n.place, n.col, n.from_reader, n.from_level FROM named AS n WHERE n.reader = f.from_reader AND n.level = f.from_level AND n.target = f.at_col
                             UNION ALL
                             SELECT p.reader, p.level, p.place, f.at_col, w.reader, w.level   -- the arms of a UNION
                               FROM levels AS l JOIN place AS p ON p.reader = l.reader AND p.level = l.level LEFT JOIN windowed AS w ON w.reader = p.from_reader AND w.level = p.from_level
                              WHERE l.reader = f.from_reader AND l.level = f.from_level AND l.node -> 'setOperations' <> '[]') AS d
         WHERE NOT EXISTS (SELECT FROM call AS c WHERE c.reader = f.at_reader AND c.level = f.at_level AND c.place = f.at_place AND c.col = f.at_col)
    ), held(reader, level, node) AS (   -- parts of FROM of which every row of the SELECT has one: not what an outer join leaves NULL
        SELECT l.reader, l.level, l.node -> 'jointree' FROM levels AS l WHERE l.node -> 'setOperations' = '[]'
        UNION ALL
        SELECT h.reader, h.level, p.node
          FROM held AS h
         CROSS JOIN LATERAL (SELECT f.node FROM jsonb_array_elements(h.node -> 'fromlist') AS f(node)
                             UNION ALL
                             SELECT h.node -> 'larg' WHERE h.node ->> 'jointype' IN ('0', '1')   -- inner, left
                             UNION ALL
                             SELECT h.node -> 'rarg' WHERE h.node ->> 'jointype' IN ('0', '3')) AS p(node)   -- inner, right
    ), loose AS (   -- a table or SELECT with a window, of which rows are given that no window leaves out
        SELECT w.reader, w.level
          FROM within AS w
          JOIN levels AS l ON l.reader = w.reader AND l.level = w.level AND l.node -> 'setOperations' = '[]'
         WHERE NOT EXISTS (SELECT
                             FROM held AS h
                            WHERE h.reader = w.reader AND h.level = w.level
                              AND (w.col IS NULL AND h.node ->> 'rtindex' = w.place::text
                                   OR (h.node ->> 'node' = 'FROMEXPR' OR h.node ->> 'jointype' = '0')
                                      AND EXISTS (SELECT FROM mvscheduler.columns_named(l.node, h.node -> 'quals') AS c WHERE c.up = 0 AND c.place = w.place)))
    ), optional AS (   -- where in_window is asked, and its answer leaves nothing out
        SELECT c.reader, c.level
          FROM call AS c
         WHERE c.place > 0
           AND NOT EXISTS (SELECT FROM held AS h WHERE h.reader = c.reader AND h.level = c.level AND mvscheduler.demands_window(windows, h.node -> 'quals', c.place))
    ), made_of AS (
        SELECT f.reader, f.level, f.target, f.up, f.place, f.col, c.place IS NOT NULL AS windowed
          FROM leaf AS f
          LEFT JOIN call AS c ON c.reader = f.at_reader AND c.level = f.at_level AND c.place = f.at_place AND c.col = f.at_col
         WHERE c.place IS NOT NULL OR f.from_level IS NULL OR f.at_col = 0
    ), stray AS (
        SELECT w.reader, w.level   -- nothing ties the time_column to it
          FROM within AS w
         WHERE NOT EXISTS (SELECT FROM tied AS m WHERE m.reader = w.reader AND m.level = w.level AND m.place = w.place AND m.col = coalesce(w.col, m.col))
        UNION
        SELECT m.reader, m.level   -- something else is in it
          FROM made_of AS m
          JOIN made_of AS o ON o.reader = m.reader AND o.level = m.level AND o.target = m.target AND (o.up, o.place, o.col) <> (m.up, m.place, m.col)
         WHERE m.windowed AND NOT o.windowed
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
        UNION
        SELECT e.reader, e.level FROM expression AS e
    ), stored AS MATERIALIZED (
        SELECT l.reader, jsonb_object_agg(l.level, jsonb_build_object('parent', l.parent, 'node', l.node)) AS selects FROM levels AS l GROUP BY l.reader
    ), spread(reader, level) AS (   -- in which, or below which, a time may have labels far from it: by a calendar, a function that gives several, or arms that cut differently
        SELECT m.from_reader, m.from_level
          FROM tied AS m
          JOIN windowed AS w ON w.reader = m.from_reader AND w.level = m.from_level
          JOIN levels AS l ON l.reader = m.from_reader AND l.level = m.from_level AND m.col > 0
         WHERE CASE WHEN l.node -> 'setOperations' <> '[]'
                    THEN (SELECT count(DISTINCT mvscheduler.resolved_column(t.selects, p.from_level::text, m.col))
                            FROM stored AS t JOIN place AS p ON p.reader = t.reader JOIN windowed AS x ON x.reader = p.from_reader AND x.level = p.from_level
                           WHERE t.reader = l.reader AND p.level = l.level) > 1
                    ELSE EXISTS (SELECT FROM made_of AS o WHERE o.reader = l.reader AND o.level = l.level AND o.target = m.col AND NOT o.windowed)
                         OR EXISTS (WITH RECURSIVE part(node) AS (   -- with what a join, and from PostgreSQL 18 on a GROUP BY, calls so
                                        SELECT l.node -> 'targetList' -> (m.col - 1) -> 'expr'
                                        UNION ALL
                                        SELECT coalesce(t.rte -> 'joinaliasvars', t.rte -> 'groupexprs') -> ((v.node ->> 'varattno')::int - 1)
                                          FROM part CROSS JOIN LATERAL jsonb_path_query(part.node, 'strict $.**?(@.node == "VAR" && @.varlevelsup == "0")') AS v(node)
                                         CROSS JOIN LATERAL (SELECT l.node -> 'rtable' -> ((v.node ->> 'varno')::int - 1)) AS t(rte))
                                    SELECT
                                      FROM part CROSS JOIN LATERAL (SELECT part.node
                                                                    UNION ALL
                                                                    SELECT l.node -> 'rtable' -> ((v.node ->> 'varno')::int - 1)   -- functions and SELECTs that are no windows themselves
                                                                      FROM jsonb_path_query(part.node, 'strict $.**?(@.node == "VAR" && @.varlevelsup == "0")') AS v(node)
                                                                     WHERE NOT EXISTS (SELECT FROM within AS x WHERE x.reader = l.reader AND x.level = l.level AND x.place::text = v.node ->> 'varno')) AS e(node)
                                     WHERE coalesce(e.node ->> 'rtekind', '') NOT IN ('2', '9') AND jsonb_path_exists(e.node, 'strict $.**?(@.funcretset == "true" || exists(@.level))')) END
        UNION
        SELECT i.reader, i.level FROM spread AS s JOIN input AS i ON i.from_reader = s.reader AND i.from_level = s.level
    ), gathered(reader, level) AS (   -- in which, or below which, such rows are brought together
        SELECT s.reader, s.level FROM spread AS s JOIN together AS t ON t.reader = s.reader AND t.level = s.level
        UNION
        SELECT s.reader, s.level FROM spread AS s JOIN levels AS l ON l.reader = s.reader AND l.level = s.level AND jsonb_path_exists(l.node -> 'setOperations', 'strict $.**?(@.op <> "1")')   -- INTERSECT, EXCEPT
        UNION
        SELECT i.reader, i.level FROM gathered AS g JOIN input AS i ON i.from_reader = g.reader AND i.from_level = g.level
    ), hides AS (   -- and left out by what became of them, so that no row tells that its label is far from what it was made of
        SELECT g.reader, g.level
          FROM gathered AS g JOIN levels AS l ON l.reader = g.reader AND l.level = g.level
         WHERE jsonb_path_exists(l.node -> 'havingQual', 'strict $.**?(@.node == "AGGREF")')
            OR jsonb_path_exists(l.node -> 'setOperations', 'strict $.**?(@.op <> "1")')
            OR EXISTS (SELECT FROM mvscheduler.columns_named(l.node, l.node -> 'jointree') AS c
                         JOIN place AS p ON p.reader = l.reader AND p.level = l.level AND p.place = c.place AND c.up = 0
                         JOIN gathered AS b ON b.reader = p.from_reader AND b.level = p.from_level
                         JOIN levels AS d ON d.reader = b.reader AND d.level = b.level
                        WHERE d.node -> 'groupClause' = '[]' OR jsonb_path_exists(d.node -> 'targetList' -> (c.col - 1), 'strict $.**?(@.node == "AGGREF" || @.node == "WINDOWFUNC")'))
    ), judged AS (
        SELECT l.reader, l.level, c.calls, c.asks, l.reads,
               l.node -> 'setOperations' <> '[]' AS combines,
               l.node -> 'limitOffset' <> '[]' OR l.node -> 'limitCount' <> '[]' OR l.node -> 'groupingSets' <> '[]' AS cuts,
               EXISTS (SELECT FROM loose AS o WHERE o.reader = l.reader AND o.level = l.level) AS loose,
               EXISTS (SELECT FROM mixed AS m WHERE m.reader = l.reader AND m.level = l.level) AS mixes,
               EXISTS (SELECT FROM stray AS y WHERE y.reader = l.reader AND y.level = l.level) AS strays,
               EXISTS (SELECT FROM cte AS k WHERE k.reader = l.reader AND k.query = l.level AND k.shared) AS shared,
               (SELECT count(*) FROM unnest(c.asks) AS a WHERE a > 0)   -- windows that meet here
               + (SELECT count(*) FROM input AS i JOIN windowed AS w ON w.reader = i.from_reader AND w.level = i.from_level WHERE i.reader = l.reader AND i.level = l.level) AS meeting,
               (SELECT count(*) FROM unnest(l.reads) AS r WHERE r = ANY (targets) AND l.reader <> ALL (targets)) AS readings,
               (SELECT count(*) FROM unnest(c.asks) AS a WHERE l.reads[a] = ANY (targets)) AS within
          FROM levels AS l
         CROSS JOIN LATERAL (SELECT count(*) AS calls, array_agg(DISTINCT c.place) AS asks FROM call AS c WHERE c.reader = l.reader AND c.level = l.level) AS c
    )
    SELECT coalesce(sum(j.calls), 0) AS calls, coalesce(sum(j.readings), 0) AS readings, coalesce(sum(j.within), 0) AS within,
           bool_or(-1 = ANY (j.asks)) AS elsewhere,
           bool_or(w.level IS NOT NULL AND j.cuts) AS cuts,
           bool_or(w.level IS NOT NULL AND j.loose) AS loose,
           EXISTS (SELECT FROM optional) AS optional,
           bool_or(w.level IS NOT NULL AND j.mixes AND time_column IS NOT NULL) AS mixes,
           bool_or(w.level IS NOT NULL AND j.strays AND time_column IS NOT NULL) AS strays,
           bool_or(w.level IS NOT NULL AND (j.shared OR j.meeting > 1 AND NOT j.combines)) AS meet,
           EXISTS (SELECT FROM hides) AND time_column IS NOT NULL AS hides
      INTO verdict
      FROM judged AS j LEFT JOIN windowed AS w ON w.reader = j.reader AND w.level = j.level;
    IF verdict.calls <> parsed OR verdict.elsewhere THEN
        RAISE EXCEPTION 'of which table column in_window is asked about cannot be told' USING ERRCODE = 'ambiguous_column',
            HINT = 'Write in_window(table.column) right where the table is read, in the subquery that reads it, without giving a table the name of another one or its columns other names, and nowhere in a text.';
    ELSIF verdict.cuts THEN
        RAISE EXCEPTION 'LIMIT, OFFSET, FETCH and grouping sets cannot be computed window by window' USING ERRCODE = 'feature_not_supported',
            HINT = 'Leave them out, and let those who read the view ask for them. ORDER BY has no effect on a view.';
    ELSIF verdict.loose THEN
        RAISE EXCEPTION 'the query gives rows that in_window does not leave out' USING ERRCODE = 'feature_not_supported',
            DETAIL = 'What an outer join keeps where nothing matches is there in every window.',
            HINT = 'Ask in_window in WHERE, and write JOIN where a calendar is joined. Buckets without rows are filled in by who reads the view: FROM calendar LEFT JOIN the view.';
    ELSIF verdict.optional THEN
        RAISE EXCEPTION 'the query gives rows that in_window does not leave out' USING ERRCODE = 'feature_not_supported',
            DETAIL = 'in_window stands beside OR, below NOT or in an expression, so that a row may come without it.',
            HINT = 'Ask it in WHERE by itself, and put brackets around what stands beside it: WHERE mvscheduler.in_window(ts) AND (... OR ...).';
    ELSIF verdict.mixes THEN
        RAISE EXCEPTION 'rows of several buckets would be aggregated, compared or numbered together' USING ERRCODE = 'feature_not_supported',
            HINT = 'GROUP BY, DISTINCT ON and OVER (PARTITION BY ...) have to name the time that is the bucket, such as date_trunc(''hour'', ts). Running totals and the like belong into a view or query that reads this one.';
    ELSIF verdict.strays THEN
        RAISE EXCEPTION 'column % is not computed from the column that in_window is asked about alone', quote_ident(time_column) USING ERRCODE = 'feature_not_supported',
            HINT = 'Compute it from that column, such as date_trunc(''hour'', ts), and from no other column; or take it from a calendar that the query compares with that column. What else is in it could put a row into any bucket.';
    ELSIF verdict.meet THEN
        RAISE EXCEPTION 'in_window is asked about two readings that are joined' USING ERRCODE = 'feature_not_supported',
            HINT = 'Ask it about one of them: the other one is then read as a whole, and whenever it changes all is computed. Only the arms of a UNION have a window each.';
    ELSIF verdict.hides THEN
        RAISE EXCEPTION 'rows of several buckets may be aggregated or compared together, and then be left out' USING ERRCODE = 'feature_not_supported',
            DETAIL = 'By a calendar, a function that gives several times, or arms of a UNION that compute it differently, a time may have a bucket that is far from it, and by HAVING, EXCEPT, INTERSECT or a condition on the result no row is left that tells.',
            HINT = 'Compute the time in the same way everywhere, or let the view give all rows and who reads it leave some out. What is compared with another bucket, as this week with the last one, belongs into a view or query that reads this one.';
    END IF;
    RETURN verdict.readings <= greatest(verdict.within, (verdict.calls > 0)::int);
END $$;
COMMENT ON FUNCTION mvscheduler.check_windows(oid, oid[], oid[], text, int, text) IS 'Raises unless a query can be computed window by window, as far as what is stored of it can tell. By its text in_window is asked about a column of this name, quoted where needed, of one of targets, as often as parsed says.';

-- Columns by OID and number, whatever they are called on the way and in whichever order FROM has the tables.
CREATE FUNCTION mvscheduler.resolved(selects jsonb, level text, node jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at  text := level;
    rte jsonb;
    col int;
BEGIN
    IF jsonb_typeof(node) = 'array' THEN
        RETURN (SELECT jsonb_agg(mvscheduler.resolved(selects, level, e.node) ORDER BY e.n) FROM jsonb_array_elements(node) WITH ORDINALITY AS e(node, n));
    ELSIF jsonb_typeof(node) <> 'object' THEN
        RETURN node;
    ELSIF node ? 'level' THEN   -- a SELECT in an expression
        RETURN jsonb_build_object('select', mvscheduler.resolved(selects, node ->> 'level', jsonb_path_query_array(selects -> (node ->> 'level'), '$.node.*')));
    ELSIF node ->> 'node' <> 'VAR' THEN
        RETURN (SELECT jsonb_object_agg(e.key, mvscheduler.resolved(selects, level, e.value))
                  FROM jsonb_each(node - '{funcformat,coerceformat,relabelformat,opfuncid,eref,alias,resname}'::text[]) AS e);
    END IF;
    FOR up IN 1 .. (node ->> 'varlevelsup')::int LOOP
        at := selects #>> ARRAY[at, 'parent'];
    END LOOP;
    rte := selects #> ARRAY[at, 'node', 'rtable', ((node ->> 'varno')::int - 1)::text];
    col := (node ->> 'varattno')::int;
    IF rte ->> 'rtekind' = '0' THEN
        RETURN jsonb_build_object('relation', rte ->> 'relid', 'column', col);
    ELSIF rte ->> 'rtekind' = '1' THEN
        RETURN mvscheduler.resolved_column(selects, rte #>> '{subquery,level}', col);
    ELSIF rte ->> 'rtekind' = '6' AND rte ->> 'self_reference' = 'false' THEN
        FOR up IN 1 .. (rte ->> 'ctelevelsup')::int LOOP
            at := selects #>> ARRAY[at, 'parent'];
        END LOOP;
        RETURN mvscheduler.resolved_column(selects, (SELECT k.node #>> '{ctequery,level}' FROM jsonb_array_elements(selects #> ARRAY[at, 'node', 'cteList']) AS k(node) WHERE k.node ->> 'ctename' = rte ->> 'ctename'), col);
    ELSIF rte ->> 'rtekind' IN ('2', '9') AND col > 0 THEN
        RETURN mvscheduler.resolved(selects, at, coalesce(rte -> 'joinaliasvars', rte -> 'groupexprs') -> (col - 1));
    END IF;
    RETURN jsonb_build_object('from', mvscheduler.resolved(selects, at, rte), 'column', col);
END $$;
COMMENT ON FUNCTION mvscheduler.resolved(jsonb, text, jsonb) IS 'An expression of a stored SELECT in which columns of subqueries are what they compute.';

CREATE FUNCTION mvscheduler.resolved_column(selects jsonb, level text, col int) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN s.node -> 'setOperations' = '[]'
                THEN mvscheduler.resolved(selects, level, CASE WHEN col > 0 THEN s.node -> 'targetList' -> (col - 1) -> 'expr' ELSE s.node -> 'targetList' END)
                ELSE (SELECT jsonb_agg(DISTINCT mvscheduler.resolved_column(selects, t.rte #>> '{subquery,level}', col))   -- the arms of a UNION
                        FROM jsonb_array_elements(s.node -> 'rtable') AS t(rte) WHERE t.rte ->> 'rtekind' = '1') END
      FROM (SELECT selects #> ARRAY[level, 'node'] AS node) AS s
$$;
COMMENT ON FUNCTION mvscheduler.resolved_column(jsonb, text, int) IS 'What a column of a stored SELECT computes, see resolved.';

CREATE FUNCTION mvscheduler.cuts_in(query_relation oid, time_column text) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH stored AS MATERIALIZED (
        SELECT jsonb_object_agg(s.level, jsonb_build_object('parent', s.parent, 'node', s.node)) AS selects FROM mvscheduler.stored_selects(query_relation) AS s
    ), label AS MATERIALIZED (
        SELECT t.selects, mvscheduler.resolved_column(t.selects, '1', a.attnum) AS expr
          FROM stored AS t JOIN pg_attribute AS a ON a.attrelid = query_relation AND a.attname = time_column
    ), asked AS (
        SELECT mvscheduler.resolved(l.selects, s.level, f.node #> '{args,0}') AS col
          FROM label AS l
         CROSS JOIN LATERAL jsonb_each(l.selects) AS s(level, parts)
         CROSS JOIN LATERAL jsonb_path_query(s.parts -> 'node', 'strict $.**?(@.node == "FUNCEXPR")') AS f(node)
          JOIN pg_proc AS p ON p.oid = (f.node ->> 'funcid')::oid AND p.proname = 'in_window' AND p.pronamespace = 'mvscheduler'::regnamespace
    )
    SELECT ARRAY(SELECT l.expr::text FROM label AS l
                 UNION
                 SELECT mvscheduler.resolved(l.selects, s.level, q.node)::text   -- a calendar has it: what ties rows to it counts
                   FROM label AS l
                  CROSS JOIN LATERAL jsonb_each(l.selects) AS s(level, parts)
                  CROSS JOIN LATERAL jsonb_path_query(s.parts #> '{node,jointree}', 'strict $.**?(exists(@.quals)).quals') AS q(node)
                  WHERE EXISTS (SELECT FROM jsonb_path_query(l.expr, 'strict $.**?(exists(@.column))') AS c(col) WHERE c.col NOT IN (SELECT a.col FROM asked AS a))
                 ORDER BY 1)
$$;
COMMENT ON FUNCTION mvscheduler.cuts_in(oid, text) IS 'What the time_column of a query is computed from, and how: where this stays, buckets are cut as before.';

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
    asked_column text;
    windows int := 0;
    within  boolean;
    selects bigint;
    most_selects CONSTANT int := 128;
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
    SELECT array_agg(r.rel ORDER BY r.rel) FILTER (WHERE r.kind IN ('r', 'p', 'm', 'f', 'S')), array_agg(r.rel ORDER BY r.rel) FILTER (WHERE r.kind = 'v')
      INTO tables, readers FROM chain AS r;
    -- For each of them it is looked at what it is made of, and that for each refresh.
    SELECT sum(regexp_count(w.ev_action::text, '[{]QUERY ')) INTO selects FROM pg_rewrite AS w WHERE w.ev_class = ANY (readers);
    IF selects > most_selects THEN
        RAISE EXCEPTION 'the query consists of % SELECTs, % are followed at most', selects, most_selects USING ERRCODE = 'program_limit_exceeded',
            HINT = 'Those of the plain views that it reads count. Keep what they list in a table, or in another managed view.';
    END IF;
    FOR call IN
        SELECT r.oid AS reader, m.parts[2] AS alias, m.parts[3] AS name, m.parts[1] AS argument
          FROM unnest(readers) AS r(oid)
          JOIN pg_rewrite AS w ON w.ev_class = r.oid
         CROSS JOIN LATERAL regexp_matches(pg_get_viewdef(r.oid), 'mvscheduler\.in_window\(((?:' || name_pattern || '\.)?' || name_pattern || ')\)|mvscheduler\.in_window\(', 'g') AS m(parts)
         WHERE EXISTS (SELECT FROM pg_depend AS d JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
                        WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND p.pronamespace = 'mvscheduler'::regnamespace AND p.proname = 'in_window')
    LOOP
        IF call.argument IS NULL THEN
            SELECT mvscheduler.shown_name(c.oid) AS name, quote_ident(a.attname) AS col, format_type(y.oid, NULL) AS domain, format_type(y.typbasetype, y.typtypmod) AS base INTO place
              FROM pg_rewrite AS w
              JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
              JOIN pg_class AS c ON c.oid = d.refobjid AND c.relkind IN ('r', 'p')
              JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
              JOIN pg_type AS y ON y.oid = a.atttypid AND y.typtype = 'd'
             CROSS JOIN LATERAL regexp_matches(pg_get_viewdef(call.reader), 'mvscheduler\.in_window\(\(?(?:' || name_pattern || '\.)?' || name_pattern || '\)?::', 'g') AS m(parts)
             WHERE w.ev_class = call.reader AND quote_ident(a.attname) = m.parts[2]
             LIMIT 1;
            IF place.name IS NOT NULL THEN
                RAISE EXCEPTION 'in_window asks about % of %, whose type % is a domain', place.col, place.name, place.domain USING ERRCODE = 'feature_not_supported',
                    HINT = format('Give the column the type below: ALTER TABLE %s ALTER COLUMN %s TYPE %s; where it is the key of partitions that takes a new table. Or leave in_window out: the view then reads all of %1$s whenever it changes.',
                                  place.name, place.col, place.base);
            END IF;
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
        asked_column := call.name;
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
    within := source IS NULL OR mvscheduler.check_windows(query_relation, readers, asked || source, asked_column, windows, time_column);
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
      FROM used AS u LEFT JOIN pg_class AS c ON u.classid = 'pg_class'::regclass AND c.oid = u.objid AND c.relkind IN ('r', 'p', 'm', 'f', 'S');
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

-- What the labels are, as PostgreSQL deparses it: a target of the one SELECT that the query is, so that nothing stands between it and
-- the columns of tables. Unqualified, a function is PostgreSQL's own.
CREATE FUNCTION mvscheduler.label_of(definition text, time_column text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    named text := ' AS ' || quote_ident(time_column);
BEGIN
    IF definition !~ '^ *SELECT ' OR definition ~ '\( *SELECT|\m(UNION|INTERSECT|EXCEPT|WITH|WINDOW|OVER)\M' OR strpos(definition, named) = 0
       OR EXISTS (SELECT FROM regexp_matches(definition, '''(?:[^'']|'''')*''|"(?:[^"]|"")*"', 'g') AS m(quoted) WHERE m.quoted[1] LIKE E'"%\n%') THEN   -- a name that looks like columns
        RETURN NULL;
    END IF;
    RETURN (SELECT left(t.part, -length(named))
              FROM string_to_table(split_part(regexp_replace(definition, '^ *SELECT (DISTINCT )?', ''), E'\n   FROM ', 1), E',\n    ') AS t(part)
             WHERE right(t.part, length(named)) = named
             LIMIT 1);
END $$;
COMMENT ON FUNCTION mvscheduler.label_of(text, text) IS 'The expression of the time_column in a query with this definition, as PostgreSQL deparses it; NULL where that is not known.';

-- Whether the labels are date_trunc of the very column that in_window is asked about; a cast would stand there too. A column without a
-- zone is cut as if in UTC.
CREATE FUNCTION mvscheduler.trunc_of(query oid, time_column text, OUT unit text, OUT zone text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET quote_all_identifiers = off
AS $$
DECLARE
    definition text := pg_get_viewdef(query);
    pattern    text := 'date_trunc\(''([a-z]+)''::text, ((?:(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)\.)?(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*))(?:, ''([A-Za-z0-9_/+-]+)''::text)?\)';
    found_     text[];
BEGIN
    found_ := regexp_match(mvscheduler.label_of(definition, time_column), '^' || pattern || '$');
    IF strpos(definition, 'mvscheduler.in_window(' || found_[2] || ')') > 0 THEN
        unit := found_[1];
        zone := found_[3];
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.trunc_of(oid, text) IS 'The unit by which the query of an incremental view cuts its time with date_trunc, and the zone that it names; NULL where that is not known.';

CREATE FUNCTION mvscheduler.cut_of(query oid, time_column text, width interval, source_type oid, view_zone text, OUT unit text, OUT zone text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT t.unit, CASE WHEN source_type = 'timestamptz'::regtype THEN coalesce(t.zone, view_zone) ELSE 'UTC' END INTO unit, zone
      FROM mvscheduler.trunc_of(query, time_column) AS t
     WHERE mvscheduler.unit_width(t.unit) = width AND source_type IN ('timestamptz'::regtype, 'timestamp'::regtype);
END $$;
COMMENT ON FUNCTION mvscheduler.cut_of(oid, text, interval, oid, text) IS 'The unit and the zone by which the query of an incremental view cuts its time with date_trunc; NULL where that is not known.';

-- As long as clocks set back make a bucket, see window_of, it may be. Of more, rows of a bucket would be left out, and no step notices
-- before it reads one that is late in its bucket.
CREATE FUNCTION mvscheduler.check_cut(v mvscheduler.views, query oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET IntervalStyle = 'postgres'
SET standard_conforming_strings = on
SET quote_all_identifiers = off
AS $$
DECLARE
    label text := regexp_replace(mvscheduler.label_of(pg_get_viewdef(query), v.time_column), '^\((date_.*)\)::date$', '\1');
    rest  text := ', [^()]*(?:\([^()]*\))?[^()]*\)$';   -- nothing but that call
    unit  text := (regexp_match(label, '^date_trunc\(''([a-z]+)''::text' || rest))[1];
    cut   interval := coalesce(mvscheduler.unit_width(unit), (regexp_match(label, '^date_bin\(''([^'']+)''::interval' || rest))[1]::interval, CASE WHEN label ~ '^(?:[^()]*|\([^()]*\)|\(\([^()]*\)\))::date$' THEN interval '1 day' END);
BEGIN
    IF cut > mvscheduler.longest(v.bucket_width) + interval '1 hour' THEN
        RAISE EXCEPTION 'the query of managed view % cuts % by %, and bucket_width is %', v.name, quote_ident(v.time_column), coalesce(unit, cut::text), v.bucket_width
            USING ERRCODE = 'invalid_parameter_value', HINT = format('Set bucket_width to %L, or cut by what it says.', CASE unit WHEN 'quarter' THEN '3 months' ELSE coalesce('1 ' || unit, cut::text) END);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.check_cut(mvscheduler.views, oid) IS 'Raises where the query is known to make longer buckets than bucket_width says.';
