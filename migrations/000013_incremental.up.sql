-- The method incremental: a view that is recomputed bucket by bucket of time. Its query says with in_window which
-- column of which table holds the time; a step in the gate sets the window and replaces what the query gives for it.

-- Windows ------------------------------------------------------------------------------------------
--
-- All of these are SQL functions of one expression, so that the planner puts them in line: a condition on the bare
-- column, which indexes and partitions answer. Unbounded, they still leave out what is no time at all, so that the
-- query by hand and the view agree: an infinite time belongs to no bucket.

CREATE FUNCTION mvscheduler.window_start() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(nullif(pg_catalog.current_setting('mvscheduler.window_start', true), ''), '4714-11-24 00:00:00+00 BC')::timestamptz;
COMMENT ON FUNCTION mvscheduler.window_start() IS 'Where the window of the step that runs begins; everywhere else the first instant that there is.';

CREATE FUNCTION mvscheduler.window_end() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(nullif(pg_catalog.current_setting('mvscheduler.window_end', true), ''), 'infinity')::timestamptz;
COMMENT ON FUNCTION mvscheduler.window_end() IS 'Where the window of the step that runs ends, exclusive; everywhere else infinity.';

CREATE FUNCTION mvscheduler.in_window(instant timestamptz) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN instant >= mvscheduler.window_start() AND instant < mvscheduler.window_end();
COMMENT ON FUNCTION mvscheduler.in_window(timestamptz) IS 'For the WHERE clause of an incremental view: true for the rows whose buckets are computed. By hand it is true for every time that is finite.';

-- Through the zone of the session some of these would fall out of every window on the day on which clocks change.
CREATE FUNCTION mvscheduler.in_window(instant timestamp) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN instant >= mvscheduler.window_start() AT TIME ZONE 'UTC' AND instant < mvscheduler.window_end() AT TIME ZONE 'UTC';
COMMENT ON FUNCTION mvscheduler.in_window(timestamp) IS 'For the WHERE clause of an incremental view: true for the rows whose buckets are computed. By hand it is true for every time that is finite.';

CREATE FUNCTION mvscheduler.in_window(day date) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN day >= mvscheduler.window_start() AT TIME ZONE 'UTC' AND day < mvscheduler.window_end() AT TIME ZONE 'UTC';
COMMENT ON FUNCTION mvscheduler.in_window(date) IS 'For the WHERE clause of an incremental view: true for the rows whose buckets are computed. By hand it is true for every time that is finite.';

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
    window_start := CASE WHEN isfinite(lo) THEN label_start - slack ELSE '4714-11-24 00:00:00+00 BC' END;
    window_end := CASE WHEN isfinite(hi) THEN label_end + w + slack ELSE hi END;
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
