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
COMMENT ON COLUMN mvscheduler.pass_range.staged IS 'It is so much that it is computed in one pass: what differs, into a table of its own first.';
GRANT SELECT, INSERT, DELETE ON mvscheduler.pass_range TO mvscheduler_worker;

CREATE FUNCTION mvscheduler.increment_at_hand(view_id bigint, OUT owner oid, OUT query oid, OUT data oid, OUT time_column text, OUT width interval, OUT zone text,
                                              OUT source oid, OUT source_type oid, OUT alone boolean, OUT filled_from timestamptz, OUT starts timestamptz[], OUT ends timestamptz[], OUT staged boolean[], OUT retention interval)
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
    SELECT s.owner::oid, w.query, w.data, s.time_column, s.bucket_width, s.timezone, coalesce(i.filled_from, '-infinity'), s.retention_period
      INTO owner, query, data, time_column, width, zone, filled_from, retention
      FROM mvscheduler.view_state AS s
     CROSS JOIN LATERAL mvscheduler.version_at_work(s.view_id) AS w
      LEFT JOIN mvscheduler.increment_state AS i ON i.view_id = s.view_id AND i.data::oid = w.data
     WHERE s.view_id = increment_at_hand.view_id;
    SELECT v.relation::oid, a.atttypid, NOT EXISTS (SELECT FROM mvscheduler.view_source AS o WHERE o.view_id = v.view_id AND o.col <> v.col) INTO source, source_type, alone
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
    rel    record;
    resume text;
BEGIN
    FOR rel IN SELECT p.kind, c.oid, c.relkind, c.relowner FROM (VALUES ('v', query), ('p', data)) AS p(kind, oid) LEFT JOIN pg_class AS c ON c.oid = p.oid LOOP
        IF rel.oid IS NULL THEN
            resume := format('SELECT mvscheduler.resume_view(%L)', (SELECT o.name FROM mvscheduler.visible_views AS o JOIN mvscheduler.visible_pieces AS p ON p.view_id = o.view_id WHERE p.relation::oid = data));
            RAISE EXCEPTION '%', format('the %s of the view does not exist any more', CASE rel.kind WHEN 'v' THEN 'plain view with the query' ELSE 'table with the data' END)
                USING ERRCODE = 'undefined_table', HINT = CASE rel.kind WHEN 'v' THEN resume || ' makes it anew.' ELSE 'DELETE the row and INSERT it anew; a new version that is being built is made anew by ' || resume || '.' END;
        ELSIF rel.relkind::text <> rel.kind OR rel.relowner <> owner THEN
            RAISE EXCEPTION '%', format('%s is not a part of the view any more', mvscheduler.shown_name(rel.oid)) USING ERRCODE = 'wrong_object_type', DETAIL = 'It was given to another owner by hand.';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_increment(oid, oid, oid) IS 'Raises unless query and data of an incremental view are there and the owner''s.';

-- The data is its owner's table, and what he hangs on it runs as him. But where rows would be stored other than the query gives
-- them, or not be seen, nobody would notice. Policies of partitions do not count, since rows are reached through the table.
CREATE FUNCTION mvscheduler.demand_faithful(query oid, data oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d    text := mvscheduler.shown_name(data);
    what text;
    way  text;
BEGIN
    SELECT CASE WHEN q.attname IS NULL THEN format('column %I of %s is none that the query gives', o.attname, d)
                WHEN o.attname IS NULL THEN format('%s has no column %I, which the query gives', d, q.attname)
                ELSE format('column %I %s of %s is %I %s of %s', o.attname, format_type(o.atttypid, o.atttypmod), d, q.attname, format_type(q.atttypid, q.atttypmod), mvscheduler.shown_name(query)) END,
           CASE WHEN q.attname IS NULL THEN format('ALTER TABLE %s DROP COLUMN %I.', d, o.attname)
                WHEN o.attname IS NULL THEN 'UPDATE the query of the view: with other columns a new version is built. Or DELETE the row and INSERT it anew.'
                ELSE 'One of them was altered by hand: make it again what it was.' END
      INTO what, way
      FROM (SELECT a.* FROM pg_attribute AS a WHERE a.attrelid = query AND a.attnum > 0) AS q
      FULL JOIN (SELECT a.* FROM pg_attribute AS a WHERE a.attrelid = data AND a.attnum > 0 AND NOT a.attisdropped) AS o ON o.attnum = q.attnum
     WHERE (q.attname, q.atttypid, q.atttypmod, q.attcollation) IS DISTINCT FROM (o.attname, o.atttypid, o.atttypmod, o.attcollation)
     ORDER BY q.attnum
     LIMIT 1;
    IF what IS NULL THEN
        WITH RECURSIVE part(oid, pending) AS (
            SELECT data, false
            UNION ALL
            SELECT i.inhrelid, i.inhdetachpending FROM part AS p JOIN pg_inherits AS i ON i.inhparent = p.oid
        )
        SELECT h.what, h.way INTO what, way
          FROM part AS p
          JOIN pg_class AS c ON c.oid = p.oid
         CROSS JOIN LATERAL (
               SELECT format('partition %s is detached by half', mvscheduler.shown_name(c.oid)), format('ALTER TABLE %s DETACH PARTITION %s FINALIZE.', d, mvscheduler.shown_name(c.oid)) WHERE p.pending
               UNION ALL
               SELECT format('trigger %I on %s comes before the row', g.tgname, mvscheduler.shown_name(c.oid)), format('DROP TRIGGER %I ON %s; one that comes AFTER may stay.', g.tgname, mvscheduler.shown_name(c.oid))
                 FROM pg_trigger AS g
                WHERE c.relhastriggers AND g.tgrelid = c.oid AND g.tgtype & 3 = 3 AND g.tgenabled IN ('O', 'A') AND NOT g.tgisinternal
               UNION ALL
               SELECT format('rule %I on %s puts other statements in the place of ours', w.rulename, d), format('DROP RULE %I ON %s.', w.rulename, d)
                 FROM pg_rewrite AS w WHERE c.relhasrules AND c.oid = data AND w.ev_class = c.oid AND w.ev_enabled IN ('O', 'A')
               UNION ALL
               SELECT format('row-level security of %s holds for its owner too', d), format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY.', d)
                WHERE c.relforcerowsecurity AND c.oid = data AND row_security_active(c.oid)) AS h(what, way)
         LIMIT 1;
    END IF;
    IF what IS NOT NULL THEN
        RAISE EXCEPTION '%', what USING ERRCODE = 'wrong_object_type', DETAIL = 'The view would not be what its query gives; it stays as it is.', HINT = way;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_faithful(oid, oid) IS 'Raises where the data of an incremental view would not store, or show, what is written to it.';

-- How much time a partition holds. Partitions leave as a whole, so one holds at most a tenth of what is kept, where that is
-- a day or more; and what is kept for long is in no more than some hundreds of them.
CREATE FUNCTION mvscheduler.partition_units() RETURNS TABLE (unit text, span interval)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ VALUES ('day', interval '24 hours'), ('week', interval '168 hours'), ('month', interval '744 hours'), ('year', interval '8928 hours'), ('century', interval '892800 hours') $$;
COMMENT ON FUNCTION mvscheduler.partition_units() IS 'Units by which partitions are made, and the time that one holds at most.';

CREATE FUNCTION mvscheduler.widest_partition(width interval, retention interval) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN retention IS NULL THEN interval '892800 hours' ELSE greatest(mvscheduler.longest(retention) / 10, mvscheduler.longest(width), interval '24 hours') END;
COMMENT ON FUNCTION mvscheduler.widest_partition(interval, interval) IS 'How much time a partition may hold whose buckets are this wide and are kept for this long (NULL = for ever): it leaves as a whole.';

CREATE FUNCTION mvscheduler.partition_unit(width interval, retention interval) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT u.unit
              FROM mvscheduler.partition_units() AS u
             WHERE u.span <= greatest(CASE WHEN mvscheduler.longest(width) < interval '1 hour' THEN interval '24 hours'
                                           WHEN mvscheduler.longest(width) < interval '24 hours' THEN interval '744 hours'
                                           WHEN mvscheduler.longest(width) < interval '600 hours' THEN interval '8928 hours'
                                           ELSE interval '892800 hours' END, mvscheduler.longest(retention) / 100)
               AND u.span <= mvscheduler.widest_partition(width, retention)
             ORDER BY u.span DESC
             LIMIT 1);
END $$;
COMMENT ON FUNCTION mvscheduler.partition_unit(interval, interval) IS 'How much time a partition holds whose buckets are this wide and are kept for this long (NULL = for ever), before the data is looked at: see finer_unit and coarser_unit.';

-- What the data says is seen when the view is filled, by the step that reads it anyway. Sizes rather than statistics: a table that was just
-- loaded has none, and times that make no sense cannot make a partition narrow, since what lies between is taken for evenly spread.
CREATE FUNCTION mvscheduler.partition_bytes() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 8::bigint << 30;
COMMENT ON FUNCTION mvscheduler.partition_bytes() IS 'How much of the source one partition is made of at most, where a narrower one is possible: a step of the first fill reads it in one go.';

CREATE FUNCTION mvscheduler.bytes_below(relation oid) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE node(oid) AS (
        SELECT bytes_below.relation
        UNION
        SELECT i.inhrelid FROM node AS n JOIN pg_inherits AS i ON i.inhparent = n.oid
    )
    SELECT coalesce(sum(pg_relation_size(n.oid)), 0)::bigint FROM node AS n
$$;
COMMENT ON FUNCTION mvscheduler.bytes_below(oid) IS 'Size of a table with its partitions, without indexes.';

CREATE FUNCTION mvscheduler.finer_unit(unit text, width interval, bytes bigint, extent interval) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce((SELECT u.unit
                       FROM mvscheduler.partition_units() AS u
                      CROSS JOIN LATERAL (SELECT bytes * least(1, extract(epoch FROM u.span) / nullif(extract(epoch FROM extent), 0)) <= mvscheduler.partition_bytes() AS fits) AS f
                      WHERE u.span <= (SELECT r.span FROM mvscheduler.partition_units() AS r WHERE r.unit = finer_unit.unit)
                        AND u.span >= mvscheduler.longest(width)
                      ORDER BY f.fits DESC, CASE WHEN f.fits THEN -extract(epoch FROM u.span) ELSE extract(epoch FROM u.span) END
                      LIMIT 1), unit);
END $$;
COMMENT ON FUNCTION mvscheduler.finer_unit(text, interval, bigint, interval) IS 'The unit, or a narrower one where a partition would be made of more than partition_bytes of a source that has so many bytes for so much time.';

CREATE FUNCTION mvscheduler.partitions_of_a_unit() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 100;
COMMENT ON FUNCTION mvscheduler.partitions_of_a_unit() IS 'After twice so many partitions of the first fill wider ones are built, and after each so many more wider ones again.';

CREATE FUNCTION mvscheduler.coarser_unit(unit text, width interval, retention interval, built bigint) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    units text[] := ARRAY(SELECT u.unit FROM mvscheduler.partition_units() AS u
                           WHERE u.unit = coarser_unit.unit
                              OR u.span > (SELECT r.span FROM mvscheduler.partition_units() AS r WHERE r.unit = coarser_unit.unit) AND u.span <= mvscheduler.widest_partition(width, retention)
                           ORDER BY u.span);
BEGIN
    RETURN units[least(greatest(built / mvscheduler.partitions_of_a_unit(), 1), cardinality(units))];
END $$;
COMMENT ON FUNCTION mvscheduler.coarser_unit(text, interval, interval, bigint) IS 'The unit, or a wider one where so many partitions have been built already, the newest first: see partitions_of_a_unit.';

-- What is farther away than two centuries are times that make no sense, of which there can be any number: they share
-- partitions of up to a thousand years, which end where the others begin.
CREATE FUNCTION mvscheduler.partition_extent(unit text, label timestamp) RETURNS tsrange
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN label < '4000-01-01 BC' THEN tsrange('4400-01-01 BC', '4000-01-01 BC')   -- the calendar begins within a millennium; what is called so is a bucket's width before the first rows
                WHEN label < f.first THEN tsrange(date_trunc('millennium', label), least(date_trunc('millennium', label) + interval '1 millennium', f.first))
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

CREATE FUNCTION mvscheduler.partitions_of(data oid) RETURNS TABLE (relation oid, file text, lo timestamp, hi timestamp)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET DateStyle = 'ISO, YMD'
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT i.inhrelid,
               concat_ws('/', c.relfilenode, CASE WHEN c.relpersistence = 'u' THEN extract(epoch FROM (SELECT g.stats_reset FROM pg_stat_bgwriter AS g)) END),   -- a crash empties it, and resets that
               mvscheduler.bound_instant(m.bound[1], a.atttypid) AT TIME ZONE 'UTC', mvscheduler.bound_instant(m.bound[2], a.atttypid) AT TIME ZONE 'UTC'
          FROM pg_inherits AS i
          JOIN pg_class AS c ON c.oid = i.inhrelid
          JOIN pg_partitioned_table AS p ON p.partrelid = data
          JOIN pg_attribute AS a ON a.attrelid = data AND a.attnum = p.partattrs[0]
         CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, 0) OFFSET 0) AS e(text)
         CROSS JOIN LATERAL (SELECT mvscheduler.range_bounds(e.text) OFFSET 0) AS m(bound)
         WHERE i.inhparent = data AND NOT i.inhdetachpending;   -- queries do not see it any more
END $$;
COMMENT ON FUNCTION mvscheduler.partitions_of(oid) IS 'Partitions of the data of an incremental view, what they are stored in and the labels that they hold; NULL = all that no other holds.';

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

-- A few partitions are made for labels that may come; which of many are needed the query itself says (its handle), or the table that has its rows: fresh.
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

-- Readers are not locked out by ATTACH, and PostgreSQL tells sessions of a partition right after it shows them the other rows of the
-- transaction: who reads in that moment misses those of the partition. So it is there before it is needed, in what comes as time goes on.
CREATE FUNCTION mvscheduler.cover_next(data oid, time_column text, unit text, touched timestamp, covered tsmultirange) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '50ms'
AS $$
BEGIN
    PERFORM mvscheduler.cover_range(NULL, data, time_column, unit, mvscheduler.bound_text(u.next, a.atttypid), mvscheduler.bound_text(u.next + u.one, a.atttypid), covered)
      FROM (SELECT date_trunc(unit, now() AT TIME ZONE 'UTC') AS this, date_trunc(unit, now() AT TIME ZONE 'UTC') + ('1 ' || unit)::interval AS next, ('1 ' || unit)::interval AS one) AS u
      JOIN pg_attribute AS a ON a.attrelid = data AND a.attname = time_column
      JOIN pg_class AS c ON c.oid = data
      JOIN pg_partitioned_table AS p ON p.partrelid = data
     WHERE touched > u.this AND covered @> u.this AND NOT covered @> tsrange(u.next, u.next + u.one)
       AND has_schema_privilege(c.relnamespace, 'CREATE') AND p.partdefid = 0;   -- nothing fails for what is not needed yet
EXCEPTION WHEN lock_not_available OR disk_full THEN   -- the next refresh makes it, or the one that needs it
END $$;
COMMENT ON FUNCTION mvscheduler.cover_next(oid, text, text, timestamp, tsmultirange) IS 'Makes the partition after that of now, where labels up to touched were computed and now has one.';

CREATE FUNCTION mvscheduler.rows_handle(data oid, beside oid) RETURNS oid
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
RETURN mvscheduler.handle(data, beside, '*, tableoid AS "mvscheduler part", ctid AS "mvscheduler place"');
COMMENT ON FUNCTION mvscheduler.rows_handle(oid, oid) IS 'A handle of a table or materialized view that tells where a row lies.';

CREATE FUNCTION mvscheduler.differs(column_name text, type oid, collation_id oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN type IN ('bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'oid'::regtype, 'uuid'::regtype, 'bytea'::regtype, 'date'::regtype, 'time'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
              OR type IN ('text'::regtype, 'varchar'::regtype) AND (SELECT c.collisdeterministic FROM pg_collation AS c WHERE c.oid = collation_id)
            THEN format('n.%1$I IS DISTINCT FROM o.%1$I', column_name)
            WHEN type IN ('float4'::regtype, 'float8'::regtype)   -- 0 equals -0
            THEN format('n.%1$I IS DISTINCT FROM o.%1$I OR n.%1$I = 0 AND n.%1$I::text <> o.%1$I::text', column_name) END;
COMMENT ON FUNCTION mvscheduler.differs(text, oid, oid) IS 'SQL that says whether a column of n and o is stored differently, where its type lets its own operator tell; NULL where only the stored rows can be compared, which takes several times as long.';

-- Rows are compared as they are stored: NULLs, json and floats as well. Without a key the row itself is one, as text, and
-- beside it how many of the same came before: then rows only come and go.
CREATE FUNCTION mvscheduler.difference(data oid, handle oid, key text[], solid text[], fresh text, time_column text, label_start text, label_end text, shown text,
                                       odd text DEFAULT 'false', part text DEFAULT 'true') RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t      text := quote_ident(time_column);
    inside text := CASE WHEN time_column IS NULL THEN '' ELSE format(' WHERE x.%1$s >= %2$L AND x.%1$s < %3$L', t, label_start, label_end) END;
    finite text := CASE WHEN time_column IS NULL THEN '' ELSE format(' AND isfinite(x.%s)', t) END;
    whole  text;      -- x.a, x.b
    differ text;      -- n.a IS DISTINCT FROM o.a OR ROW(n.b)::record *<> ROW(o.b)::record: without the casts it would be column by column
    same   text;
    extra  text := '';   -- more to be told apart by, of x
BEGIN
    -- What is joined by its own operator, which lets its type tell, is stored the same.
    SELECT string_agg('x.' || quote_ident(a.attname), ', ' ORDER BY a.attnum),
           concat_ws(' OR ', string_agg(d.plain, ' OR ' ORDER BY a.attnum) FILTER (WHERE a.attname = ANY (key) IS NOT TRUE OR a.atttypid IN ('float4'::regtype, 'float8'::regtype)),
               CASE WHEN bool_or(d.plain IS NULL) THEN format('ROW(%s)::record OPERATOR(pg_catalog.*<>) ROW(%s)::record', string_agg('n.' || quote_ident(a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE d.plain IS NULL),
                                                              string_agg('o.' || quote_ident(a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE d.plain IS NULL)) END)
      INTO whole, differ
      FROM pg_attribute AS a CROSS JOIN LATERAL mvscheduler.differs(a.attname, a.atttypid, a.attcollation) AS d(plain) WHERE a.attrelid = data AND a.attnum > 0 AND NOT a.attisdropped;
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
        || format(' FROM (SELECT x.*, true AS "mvscheduler fresh"%s FROM %s AS x%s) AS n', extra, fresh,
                  CASE WHEN odd = mvscheduler.is_strange('x.' || t, label_start, label_end) AND label_start <> '-infinity' THEN ''   -- inside or not: all of them
                       ELSE inside || finite || CASE WHEN odd <> 'false' THEN format(' OR %s', odd) ELSE '' END END)
        || format(' FULL JOIN (SELECT %sx.*%s FROM %s AS x%s) AS o ON %s', CASE WHEN handle = data THEN 'x.tableoid AS "mvscheduler part", x.ctid AS "mvscheduler place", ' END, extra, mvscheduler.shown_name(handle), inside || CASE WHEN part <> 'true' THEN format(' AND %s', part) ELSE '' END, same)
        || format(' WHERE n."mvscheduler fresh" IS NULL OR o."mvscheduler place" IS NULL OR %s', coalesce(nullif(differ, ''), 'false'));
END $$;
COMMENT ON FUNCTION mvscheduler.difference(oid, oid, text[], text[], text, text, text, text, text, text, text) IS 'A statement that gives, of each row in which the relation data and fresh differ, what shown says of n (the row of fresh) and o (that of data, with its "mvscheduler place"). data is read through its handle. Of times from label_start up to label_end, or without a time_column of all; and rows of fresh for which odd holds, of all times. Of data only rows for which part holds. Both are SQL about x.';

-- A row without a time, or with an infinite one, would be in no partition. Without a window they are left out, as the time of a row is where there is one.
CREATE FUNCTION mvscheduler.is_strange(label text, least_label text, most_label text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN least_label IS NULL THEN 'false' ELSE format('(%1$s >= %2$L AND %1$s < %3$L) IS NOT TRUE', label, least_label, most_label) END;
COMMENT ON FUNCTION mvscheduler.is_strange(text, text, text) IS 'SQL that says whether a label lies outside of all that the labels of a window can be.';

CREATE FUNCTION mvscheduler.differing_columns(data oid, time_column text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT string_agg(CASE WHEN a.attname = time_column THEN format('coalesce(n.%1$I, o.%1$I) AS %1$I', a.attname) ELSE format('n.%I', a.attname) END, ', ' ORDER BY a.attnum)
                   || ', o."mvscheduler part", o."mvscheduler place", n."mvscheduler fresh" IS NULL AS "mvscheduler gone"'
              FROM pg_attribute AS a WHERE a.attrelid = data AND a.attnum > 0 AND NOT a.attisdropped);
END $$;
COMMENT ON FUNCTION mvscheduler.differing_columns(oid, text) IS 'What difference shows of a row that is to be written.';

-- Where a bucket of a group has few rows, to sort these and to group them by that takes less than to group them by hashes and then
-- to sort almost as many groups for the join, and the planner, which cannot tell how many there are, is to weigh both. It would be wrong
-- where there are few groups, or values that compare slowly.
CREATE FUNCTION mvscheduler.is_dense(data oid, source oid) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM unnest(mvscheduler.key_of(data)) AS k(name) JOIN pg_attribute AS a ON a.attrelid = data AND a.attname = k.name
                        WHERE NOT a.attbyval OR a.atttypid IN ('float4'::regtype, 'float8'::regtype))   -- of 0 and -0 the first one would be shown
           AND mvscheduler.bytes_below(data) * 5 >= mvscheduler.bytes_below(source);
END $$;
COMMENT ON FUNCTION mvscheduler.is_dense(oid, oid) IS 'Whether the data of a view is so large beside the table that it is computed from, and its key so simple, that the query had better be sorted as a whole.';

-- The window is set. What the query gives goes into the join as it comes: to write it down first and to read it again costs an
-- eighth of the whole. OFFSET: else its labels would be compared before it groups them, of each row that it reads.
-- That columns of the key are NULL in no row saves half of the join, and cannot be known before. So they are taken for such unless
-- ANALYZE has found others, and rows in which one is NULL (hollow), which have found no other, are compared once more among themselves.
CREATE FUNCTION mvscheduler.find_difference(query oid, data oid, handle oid, time_column text, label_start text, label_end text, least_label text, most_label text, dense boolean,
                                            OUT differ oid, OUT differing bigint, OUT strange text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t       text := quote_ident(time_column);
    key     text[] := mvscheduler.key_of(data);
    sorted  text := CASE WHEN dense THEN (SELECT ' ORDER BY ' || string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(key) WITH ORDINALITY AS u(k, n)) ELSE '' END;
    shown   text := mvscheduler.differing_columns(data, time_column);
    solid   text[];
    missing text;   -- in which of them, in a row of neither side
    hollow  bigint;
    others  oid;
    merged  oid;
BEGIN
    SELECT array_agg(k.name), string_agg(format('n.%1$I IS NOT DISTINCT FROM NULL AND o.%1$I IS NOT DISTINCT FROM NULL', k.name), ' OR ') INTO solid, missing
      FROM unnest(key) AS k(name) JOIN pg_attribute AS a ON a.attrelid = data AND a.attname = k.name JOIN pg_type AS y ON y.oid = a.atttypid
     WHERE k.name <> time_column AND y.typnamespace = 'pg_catalog'::regnamespace
       AND NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS p ON p.oid = c.relnamespace JOIN pg_stats AS s ON s.schemaname = p.nspname AND s.tablename = c.relname
                        WHERE c.oid = data AND s.attname = k.name AND s.null_frac > 0.01);   -- as far as is known
    differ := (mvscheduler.create_unnamed(data, 'UNLOGGED TABLE', 'AS ' || mvscheduler.difference(data, handle, key, solid, format('(SELECT * FROM %s%s OFFSET 0)', mvscheduler.shown_name(query), sorted),
                  time_column, label_start, label_end, format('%s, %s AS "mvscheduler hollow"', shown, coalesce(missing, 'false')), mvscheduler.is_strange('x.' || t, least_label, most_label)))).relation;
    EXECUTE format('SELECT count(*), count(*) FILTER (WHERE d."mvscheduler hollow"), min(coalesce(d.%1$s::text, ''NULL'')) FILTER (WHERE %2$s) FROM %3$s AS d',
                   t, mvscheduler.is_strange('d.' || t, least_label, most_label), mvscheduler.shown_name(differ)) INTO differing, hollow, strange;
    IF hollow > 0 AND strange IS NULL THEN
        others := (mvscheduler.create_unnamed(data, 'UNLOGGED TABLE', 'AS ' || mvscheduler.difference(data, handle, key, NULL, format('(SELECT * FROM %s WHERE "mvscheduler hollow" AND NOT "mvscheduler gone")', mvscheduler.shown_name(differ)),
                      time_column, label_start, label_end, shown || ', true AS "mvscheduler hollow"', 'false', (SELECT '(' || string_agg(format('x.%I IS NOT DISTINCT FROM NULL', s), ' OR ') || ')' FROM unnest(solid) AS s)))).relation;
        SELECT m.relation, m.rows INTO merged, differing
          FROM mvscheduler.create_unnamed(data, 'UNLOGGED TABLE', format('AS SELECT * FROM %s WHERE NOT "mvscheduler hollow" UNION ALL SELECT * FROM %s', mvscheduler.shown_name(differ), mvscheduler.shown_name(others))) AS m;
        EXECUTE format('DROP TABLE %s, %s', mvscheduler.shown_name(differ), mvscheduler.shown_name(others));
        differ := merged;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.find_difference(oid, oid, oid, text, text, text, text, text, boolean) IS 'Makes a table of the rows with labels from label_start up to label_end in which the query and data, which has a key, differ; differing is how many. query and handle are handles. strange is a label of the window that lies outside of all that it could have, from least_label up to most_label (both NULL where there is no window). dense is of is_dense.';

-- The window is set. What did not change is not written.
CREATE FUNCTION mvscheduler.replace_buckets(query oid, data oid, handle oid, time_column text, label_start text, label_end text, least_label text, most_label text, staged oid, given oid, differing bigint, alone boolean,
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
    key       text[] := mvscheduler.key_of(data);
    shown     text := mvscheduler.differing_columns(data, time_column);
    look      text;      -- what is to be known of the rows of the query
    differ    oid := given;
    rows      bigint;
    twice     text;      -- SQL for a key that several rows of the query have
    doubled   text;
    plans     text[] := ARRAY[current_setting('enable_hashjoin'), current_setting('enable_mergejoin'), current_setting('enable_indexscan')];
    statement text;
BEGIN
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), string_agg('x.' || quote_ident(a.attname), ', ' ORDER BY a.attnum),
           string_agg(format('%1$I = x.%1$I', a.attname), ', ' ORDER BY a.attnum)
      INTO columns, fresh, assign
      FROM pg_attribute AS a WHERE a.attrelid = data AND a.attnum > 0 AND NOT a.attisdropped;
    IF key IS NOT NULL AND given IS NULL THEN   -- else one of them would be left out, since the other is what is there
        twice := (SELECT format('(SELECT ROW(%1$s)::text FROM %2$s AS d WHERE %3$s GROUP BY %1$s HAVING count(*) > 1 LIMIT 1)', string_agg(format('d.%I', k), ', ' ORDER BY n), source, inside) FROM unnest(key) WITH ORDINALITY AS u(k, n));
    END IF;
    look := format('count(*) FILTER (WHERE %s), min(coalesce(d.%s::text, ''NULL'')) FILTER (WHERE %s)', inside, t, mvscheduler.is_strange('d.' || t, least_label, most_label));
    IF staged IS NULL AND given IS NULL THEN
        statement := format('WITH fresh AS MATERIALIZED (SELECT %s FROM %s AS q), differ AS MATERIALIZED (%s), ', columns, q, mvscheduler.difference(data, handle, key, NULL, source, time_column, label_start, label_end, shown));
        look := format(', %s, %s FROM (SELECT f.%3$s FROM fresh AS f GROUP BY f.%3$s) AS d', look, coalesce(twice, 'NULL::text'), t);
        -- What came last lies together, and not in the order of its times: it is read page by page, not row by row, with which the query takes
        -- half as much time again. Where more than this table is read, that could take from the query what it looks other rows up by.
        PERFORM set_config('enable_indexscan', 'off', true) WHERE alone;
    ELSE
        IF staged IS NOT NULL THEN   -- in parallel as far as nothing is written
            IF key IS NOT NULL THEN
                EXECUTE format('SELECT %s', twice) INTO doubled;
            END IF;
            EXECUTE format('SELECT %s, sum(d."mvscheduler n") FROM (SELECT f.%s, count(*) AS "mvscheduler n" FROM %s AS f GROUP BY 1) AS d', look, t, source) INTO buckets, strange, rows;
            SELECT m.relation, m.rows INTO differ, differing
              FROM mvscheduler.create_unnamed(data, 'UNLOGGED TABLE', 'AS ' || mvscheduler.difference(data, handle, key, NULL, source, time_column, label_start, label_end, shown)) AS m;
        ELSE
            rows := (SELECT sum(greatest(c.reltuples, 0)) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = data);
        END IF;
        statement := format('WITH differ AS NOT MATERIALIZED (SELECT * FROM %s), ', mvscheduler.shown_name(differ));
        same := format('d.%1$s = x.%1$s AND %2$s', t, same);
        look := format(', %L::bigint, %L, %L', buckets, strange, doubled);
        -- A few rows are looked up where they lie. What that costs is not known to the planner, which would read everything.
        PERFORM set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true) WHERE differing < rows / 20;
    END IF;
    statement := statement
        || format('gone AS (DELETE FROM %1$s AS d USING differ AS x WHERE x."mvscheduler gone" AND %6$s AND %2$s RETURNING 1)'
                  ', changed AS (UPDATE %1$s AS d SET %3$s FROM differ AS x WHERE NOT x."mvscheduler gone" AND %6$s AND %2$s RETURNING 1)'
                  ', come AS (INSERT INTO %1$s (%4$s) SELECT %5$s FROM differ AS x WHERE x."mvscheduler place" IS NULL RETURNING 1)', d, inside, assign, columns, fresh, same)
        || ' SELECT (SELECT count(*) FROM come), (SELECT count(*) FROM changed), (SELECT count(*) FROM gone)' || look;
    EXECUTE statement INTO inserted, updated, deleted, buckets, strange, doubled;
    IF doubled IS NOT NULL THEN
        RAISE EXCEPTION 'the query gives several rows with one key' USING ERRCODE = 'unique_violation', DETAIL = format('Key (%s)=%s is there more than once.', array_to_string(key, ', '), doubled);
    END IF;
    PERFORM set_config('enable_hashjoin', plans[1], true), set_config('enable_mergejoin', plans[2], true), set_config('enable_indexscan', plans[3], true);
    IF differ IS NOT NULL THEN
        EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(differ));
    END IF;
    IF buckets IS NULL THEN   -- by now there are those that the query has given
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %s AS d WHERE %s GROUP BY d.%s) AS b', d, inside, t) INTO buckets;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.replace_buckets(oid, oid, oid, text, text, text, text, text, oid, oid, bigint, boolean) IS 'Brings the rows with labels from label_start up to label_end in line with the query, whose window is set, and writes only what differs. query is its handle, handle that of data. staged is a table that has the rows of the query already, where there is one; given is one of find_difference, with differing rows, which is dropped. alone = the query reads one table. strange is a label of the window that lies outside of all that it could have, from least_label up to most_label (both NULL where there is no window).';

-- What is replaced, and what of it is whole, follows from how far labels are from the rows that they come from. That nobody can tell of an
-- expression, so rows are looked at: of an increment those of the first and of the last bucket's width of a range, which of a statement that wrote
-- one row is this row; of a range and of a fill also those that are left out, on either side: where a bucket is called after an instant more
-- than an hour from its start, the row that changed may have a label that it can have, and a bucket beside it be cut off by the window.
CREATE FUNCTION mvscheduler.demand_no_strange(strange text, lo timestamptz, hi timestamptz, time_column text, width interval) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'a row between % and % has % in column %, which is not the start of a bucket of %', lo, hi, strange, quote_ident(time_column), width
            USING ERRCODE = CASE WHEN strange IN ('NULL', 'infinity', '-infinity') THEN 'invalid_parameter_value' ELSE 'invalid_column_definition' END,   -- of data, or of the row of the view
                  HINT = 'Set bucket_width to how wide the query cuts, let the time_column be the start of the bucket, and timezone be the zone in which the query cuts; or change the query.';
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
$$;
COMMENT ON FUNCTION mvscheduler.demand_near_labels(oid, text, oid, oid, timestamptz, timestamptz, interval, text) IS 'Raises where rows at the ends of a range have labels under which changes of them would not be looked for. query is its handle. Leaves the window changed.';

CREATE FUNCTION mvscheduler.demand_no_labels_within(query oid, time_column text, label_type oid, source_type oid, lo timestamptz, hi timestamptz, width interval, zone text) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
    SELECT mvscheduler.demand_labels(query, time_column, width, w.window_start - mvscheduler.longest(width), w.window_start, NULL, mvscheduler.label_text(w.label_start, label_type, source_type, zone))
      FROM mvscheduler.window_of(lo, hi, width, zone, NULL) AS w WHERE isfinite(lo);
    SELECT mvscheduler.demand_labels(query, time_column, width, w.window_end, w.window_end + mvscheduler.longest(width), mvscheduler.label_text(w.label_end, label_type, source_type, zone), NULL)
      FROM mvscheduler.window_of(lo, hi, width, zone, NULL) AS w WHERE isfinite(hi);
$$;
COMMENT ON FUNCTION mvscheduler.demand_no_labels_within(oid, text, oid, oid, timestamptz, timestamptz, interval, text) IS 'Raises where rows beside the window of a range have labels that are replaced. query is its handle. Leaves the window changed.';

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
    apart  record;  -- rows that differ
    unit   text;
    covered tsmultirange;
    touched timestamp;
    memory text := current_setting('work_mem');
    total  bigint[] := '{0,0,0,0}';
BEGIN
    SELECT * INTO work FROM mvscheduler.increment_at_hand(view_id);
    IF work.owner IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_increment(work.owner, work.query, work.data), mvscheduler.demand_faithful(work.query, work.data);
    label_type := (SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = work.data AND a.attname = work.time_column);
    source := coalesce(work.source_type, label_type);
    cut := mvscheduler.cut_of(work.query, work.time_column, work.width, work.source_type, work.zone);
    query := mvscheduler.handle(work.query, work.data);
    data := mvscheduler.rows_handle(work.data, work.data);
    unit := coalesce(mvscheduler.unit_in_force(work.data), mvscheduler.partition_unit(work.width, work.retention));
    covered := coalesce((SELECT range_agg(tsrange(p.lo, p.hi)) FROM mvscheduler.partitions_of(work.data) AS p WHERE p.lo IS NOT NULL), '{}');
    FOR span IN
        SELECT w.*, r.*, mvscheduler.unfrozen_label(view_id, mvscheduler.label_text(w.label_start, label_type, source, work.zone), label_type, source, work.zone) AS first, mvscheduler.label_text(w.label_end, label_type, source, work.zone) AS last,
               CASE WHEN work.source_type IS NOT NULL THEN mvscheduler.label_text(CASE WHEN w.exact THEN w.label_start ELSE w.window_start - mvscheduler.longest(work.width) - w.slack END, label_type, source, work.zone) END AS least_label,
               CASE WHEN work.source_type IS NOT NULL THEN mvscheduler.label_text(CASE WHEN w.exact THEN w.label_end ELSE w.window_end + w.slack END, label_type, source, work.zone) END AS most_label
          FROM (SELECT CASE WHEN isfinite(u.lo) THEN mvscheduler.clamp(u.lo) ELSE u.lo END AS lo, CASE WHEN isfinite(u.hi) THEN mvscheduler.clamp(u.hi) ELSE u.hi END AS hi, u.staged
                  FROM unnest(work.starts, work.ends, work.staged) AS u(lo, hi, staged)
                 WHERE u.hi >= '4000-01-01 00:00:00+00 BC' AND u.lo < '200000-01-01 00:00:00+00') AS r   -- what is beyond is in no window
         CROSS JOIN LATERAL mvscheduler.window_of(r.lo, r.hi, work.width, coalesce(cut.zone, work.zone), cut.unit) AS w
    LOOP
        CONTINUE WHEN mvscheduler.bound_instant(span.first, label_type) >= mvscheduler.bound_instant(span.last, label_type);   -- frozen
        IF cut.unit IS NULL AND work.source_type IS NOT NULL THEN   -- else all rows are given, whatever the window is
            PERFORM mvscheduler.demand_near_labels(query, work.time_column, label_type, source, span.lo, span.hi, work.width, work.zone),
                    mvscheduler.demand_no_labels_within(query, work.time_column, label_type, source, span.lo, span.hi, work.width, work.zone);
        END IF;
        PERFORM set_config('mvscheduler.window_start', span.window_start::text, true), set_config('mvscheduler.window_end', span.window_end::text, true);
        -- Of much at once what differs, or without a key that the query proves all rows, is computed into a table of its own first, by statements that may
        -- run in parallel, which what writes may not, and with the memory in which a full refresh builds its indexes. It lasts no
        -- longer than the step, so nothing of it is logged, and readers of the data wait for nothing.
        staged := NULL;
        SELECT NULL::oid AS differ, NULL::bigint AS differing, NULL::text AS strange INTO apart;
        IF span.staged AND has_schema_privilege((SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = work.data), 'CREATE') THEN
            PERFORM set_config('work_mem', current_setting('maintenance_work_mem'), true) WHERE pg_size_bytes(current_setting('maintenance_work_mem')) > pg_size_bytes(current_setting('work_mem'));
            IF NOT coalesce(mvscheduler.derived_key(work.query) <@ mvscheduler.key_of(work.data), false) THEN   -- what the query does not prove is looked at
                staged := (mvscheduler.create_unnamed(work.data, 'UNLOGGED TABLE', format('AS SELECT * FROM %s', mvscheduler.shown_name(query)))).relation;
                EXECUTE format('ANALYZE %s (%I)', mvscheduler.shown_name(staged), work.time_column);   -- else a range of times is taken for a few rows
            ELSE
                SELECT * INTO apart FROM mvscheduler.find_difference(query, work.data, data, work.time_column, span.first, span.last, span.least_label, span.most_label, work.alone AND mvscheduler.is_dense(work.data, work.source));
                PERFORM mvscheduler.demand_no_strange(apart.strange, span.window_start, span.window_end, work.time_column, work.width);
            END IF;
        END IF;
        covered := mvscheduler.cover_range(coalesce(staged, apart.differ, query), work.data, work.time_column, unit, span.first, span.last, covered);
        touched := greatest(touched, mvscheduler.bound_instant(span.last, label_type) AT TIME ZONE 'UTC');
        SELECT * INTO did FROM mvscheduler.replace_buckets(query, work.data, data, work.time_column, span.first, span.last, span.least_label, span.most_label, staged, apart.differ, apart.differing, work.alone);
        IF staged IS NOT NULL THEN
            EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(staged));
        END IF;
        PERFORM set_config('work_mem', memory, true);
        PERFORM mvscheduler.demand_no_strange(did.strange, span.window_start, span.window_end, work.time_column, work.width);
        total := ARRAY[total[1] + did.buckets, total[2] + did.inserted, total[3] + did.updated, total[4] + did.deleted];
    END LOOP;
    PERFORM mvscheduler.cover_next(work.data, work.time_column, unit, touched, covered);
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

-- Partitions are cut by UTC, or by labels without a zone, and buckets by the zone of the view or of the query, or by an origin. Of a
-- query that does not show how it cuts any border may lie within a bucket.
CREATE FUNCTION mvscheduler.straddle(query oid, time_column text, border timestamptz, width interval, view_zone text, label_type oid, source_type oid) RETURNS interval
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
SET standard_conforming_strings = on
AS $$
DECLARE
    cut   record := mvscheduler.cut_of(query, time_column, width, source_type, view_zone);
    zone  text := coalesce(cut.zone, view_zone);
    bare  timestamp := border AT TIME ZONE 'UTC';
    label timestamp := border AT TIME ZONE CASE WHEN label_type = 'timestamptz'::regtype THEN zone ELSE 'UTC' END;
    bin   text[] := regexp_match(mvscheduler.label_of(pg_get_viewdef(query), time_column), '^date_bin\(''([^'']+)''::interval, [^()]+, ''([^'']+)''::timestamp (with|without) time zone\)$');
    whole boolean;
    later interval := '0';
BEGIN
    IF border IS NULL OR NOT isfinite(border) THEN
        RETURN '0';
    END IF;
    whole := CASE WHEN bin[3] = 'with' THEN date_bin(bin[1]::interval, border, bin[2]::timestamptz) = border
                  WHEN bin[3] = 'without' THEN date_bin(bin[1]::interval, bare, bin[2]::timestamp) = bare
                  WHEN cut.unit IS NOT NULL THEN date_trunc(cut.unit, label) = label
                  ELSE label_type = 'date'::regtype AND width = interval '1 day' END;
    IF label_type <> 'timestamptz'::regtype AND source_type = 'timestamptz'::regtype THEN
        later := (bare AT TIME ZONE zone) - border;
    ELSIF label_type = 'timestamptz'::regtype AND source_type <> 'timestamptz'::regtype THEN
        later := (border AT TIME ZONE zone) - bare;
    END IF;
    RETURN greatest(later, interval '0') + CASE WHEN whole THEN interval '0' ELSE mvscheduler.longest(width) END;
END $$;
COMMENT ON FUNCTION mvscheduler.straddle(oid, text, timestamptz, interval, text, oid, oid) IS 'How much later than a border among labels, those without a zone as if they were UTC, rows can be of buckets of this query that are called after earlier instants: nothing where the border is known to be one of buckets.';

CREATE FUNCTION mvscheduler.build_at_hand(view_id bigint, OUT owner oid, OUT query oid, OUT data oid, OUT time_column text, OUT width interval, OUT zone text,
                                          OUT source oid, OUT source_column text, OUT source_type oid, OUT filled_from timestamptz, OUT unit text, OUT retention interval, OUT built bigint)
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
    SELECT s.owner::oid, w.query, w.data, s.time_column, s.bucket_width, s.timezone, v.relation::oid, a.attname, a.atttypid, i.filled_from, mvscheduler.partition_unit(s.bucket_width, s.retention_period),
           s.retention_period, coalesce((i.fill ->> 'partitions')::bigint, 0)
      INTO owner, query, data, time_column, width, zone, source, source_column, source_type, filled_from, unit, retention, built
      FROM mvscheduler.view_state AS s
     CROSS JOIN LATERAL mvscheduler.version_at_work(s.view_id) AS w
      JOIN mvscheduler.increment_state AS i ON i.view_id = s.view_id AND i.data::oid = w.data
      JOIN mvscheduler.view_source AS v ON v.view_id = s.view_id AND v.col > 0
      JOIN pg_attribute AS a ON a.attrelid = v.relation AND a.attnum = v.col
     WHERE s.view_id = build_at_hand.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.build_at_hand(bigint) IS 'Of what the attempt that was let through has to build the next partition, once; all NULL everywhere else.';

CREATE FUNCTION mvscheduler.build_done(view_id bigint, filled_from timestamptz, newest timestamptz, oldest timestamptz, buckets bigint, rows bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) = 'build' THEN
        UPDATE mvscheduler.increment_state AS i
           SET filled_from = least(i.filled_from, build_done.filled_from),
               built_from = CASE WHEN isfinite(build_done.filled_from) THEN least(i.built_from, build_done.filled_from) ELSE i.built_from END,   -- what is built is followed: the partition in which the border lies may begin before it
               parts = CASE WHEN build_done.rows > 0   -- what is done to it while the others are built
                            THEN coalesce(i.parts, '[]') || (SELECT coalesce(jsonb_agg(p), '[]') FROM mvscheduler.partitions_of(i.data::oid) AS p
                                                              WHERE p.lo AT TIME ZONE 'UTC' >= build_done.filled_from AND p.hi AT TIME ZONE 'UTC' <= i.filled_from)
                            ELSE i.parts END,
               fill = jsonb_build_object('newest', coalesce(i.fill ->> 'newest', build_done.newest::text), 'oldest', coalesce(build_done.oldest::text, i.fill ->> 'oldest'),
                                         'partitions', coalesce((i.fill ->> 'partitions')::bigint, 0) + (build_done.rows > 0)::int,
                                         'buckets', coalesce((i.fill ->> 'buckets')::bigint, 0) + build_done.buckets, 'rows', coalesce((i.fill ->> 'rows')::bigint, 0) + build_done.rows)
         WHERE i.view_id = build_done.view_id AND i.data::oid = (mvscheduler.version_at_work(build_done.view_id)).data;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.build_done(bigint, timestamptz, timestamptz, timestamptz, bigint, bigint) IS 'Records from where on the view is filled, what time there is to fill (NULL = as before) and what was built, in the transaction that built a partition.';

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
    buckets    bigint := 0;
    too_old    timestamptz;   -- labels before this are not built
    bounds     text;
    odd        text := 'false';   -- rows that are not of this partition, nor of one beside it
    strange    text;
BEGIN
    SELECT * INTO work FROM mvscheduler.build_at_hand(view_id);
    IF work.owner IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_increment(work.owner, work.query, work.data), mvscheduler.demand_faithful(work.query, work.data);
    label_type := (SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = work.data AND a.attname = work.time_column);
    too_old := mvscheduler.bound_instant(mvscheduler.unfrozen_label(view_id, mvscheduler.bound_text('4400-01-01 00:00:00 BC', label_type), label_type, work.source_type, work.zone), label_type);
    slack := greatest(interval '1 hour', mvscheduler.clock_moves('2000-01-01', '2040-01-01', work.zone));
    border := CASE WHEN isfinite(work.filled_from) THEN mvscheduler.source_instant(work.filled_from AT TIME ZONE 'UTC', label_type, work.source_type, work.zone) + mvscheduler.longest(work.width) + slack END;
    instant := CASE work.source_type WHEN 'timestamptz'::regtype THEN format('s.%I', work.source_column) ELSE format('s.%I::timestamp AT TIME ZONE ''UTC''', work.source_column) END;
    PERFORM set_config('mvscheduler.window_start', '', true), set_config('mvscheduler.window_end', coalesce(border::text, ''), true);
    handle := mvscheduler.handle(work.source, work.data, quote_ident(work.source_column));
    EXECUTE format('SELECT (SELECT %1$s FROM %2$s AS s WHERE mvscheduler.in_window(s.%3$I) ORDER BY s.%3$I DESC LIMIT 1), (SELECT %1$s FROM %2$s AS s WHERE mvscheduler.in_window(s.%3$I) ORDER BY s.%3$I LIMIT 1)',
                   instant, mvscheduler.shown_name(handle), work.source_column) INTO newest, oldest;
    PERFORM mvscheduler.drop_handle(handle, work.source);
    IF newest IS NULL THEN
        PERFORM mvscheduler.build_done(view_id, '-infinity', NULL, NULL, 0, 0), mvscheduler.increment_done(view_id, 0, 0, 0, 0);
        RETURN 0;
    END IF;
    oldest := greatest(oldest, too_old);
    unit := mvscheduler.coarser_unit(coalesce(mvscheduler.unit_in_force(work.data), mvscheduler.finer_unit(work.unit, work.width, mvscheduler.bytes_below(work.source), newest - oldest)), work.width, work.retention, work.built);
    extent := mvscheduler.partition_extent(unit, mvscheduler.bound_instant(mvscheduler.label_text(newest + slack, label_type, work.source_type, work.zone), label_type) AT TIME ZONE 'UTC');
    IF isfinite(work.filled_from) AND lower(extent) >= work.filled_from AT TIME ZONE 'UTC' THEN
        extent := mvscheduler.partition_extent(unit, (work.filled_from AT TIME ZONE 'UTC') - interval '1 microsecond');
    END IF;
    first := lower(extent);
    beyond := CASE WHEN isfinite(work.filled_from) THEN least(upper(extent), work.filled_from AT TIME ZONE 'UTC') ELSE upper(extent) END;   -- the one before may be narrower
    IF beyond AT TIME ZONE 'UTC' <= too_old THEN
        PERFORM mvscheduler.build_done(view_id, '-infinity', NULL, NULL, 0, 0), mvscheduler.increment_done(view_id, 0, 0, 0, 0);   -- too old
        RETURN 0;
    END IF;

    -- Labels of the partition, whole.
    begins := mvscheduler.source_instant(first, label_type, work.source_type, work.zone) - slack;
    ends := mvscheduler.source_instant(beyond, label_type, work.source_type, work.zone) + mvscheduler.longest(work.width) + slack;
    handle := mvscheduler.handle(work.query, work.data);
    IF (mvscheduler.cut_of(work.query, work.time_column, work.width, work.source_type, work.zone)).unit IS NULL THEN
        odd := mvscheduler.is_strange(quote_ident(work.time_column), mvscheduler.label_text(begins - mvscheduler.longest(work.width) - slack, label_type, work.source_type, work.zone),
                                      mvscheduler.label_text(ends + slack, label_type, work.source_type, work.zone));
        PERFORM mvscheduler.demand_near_labels(handle, work.time_column, label_type, work.source_type, newest, newest, work.width, work.zone),
                mvscheduler.demand_labels(handle, work.time_column, work.width, begins - mvscheduler.longest(work.width), begins, NULL, mvscheduler.bound_text(first, label_type)),
                mvscheduler.demand_labels(handle, work.time_column, work.width, ends, ends + mvscheduler.longest(work.width), mvscheduler.bound_text(beyond, label_type), NULL);
    END IF;
    PERFORM set_config('mvscheduler.window_start', begins::text, true), set_config('mvscheduler.window_end', ends::text, true);
    bounds := format('%1$I >= %2$L AND %1$I < %3$L', work.time_column, mvscheduler.bound_text(first, label_type), mvscheduler.bound_text(beyond, label_type));
    SELECT m.relation, m.rows INTO part, rows FROM mvscheduler.create_unnamed(work.data, 'TABLE', format('AS SELECT * FROM %s WHERE %s OR %s', mvscheduler.shown_name(handle), bounds, odd)) AS m;
    PERFORM mvscheduler.drop_handle(handle, work.query);
    IF odd <> 'false' THEN
        EXECUTE format('SELECT coalesce(%I::text, ''NULL'') FROM %s WHERE %s LIMIT 1', work.time_column, mvscheduler.shown_name(part), odd) INTO strange;
        PERFORM mvscheduler.demand_no_strange(strange, begins, ends, work.time_column, work.width);
    END IF;
    IF rows = 0 THEN
        EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(part));
    ELSE
        EXECUTE format('SELECT count(*) FROM (SELECT p.%I FROM %s AS p GROUP BY 1) AS b', work.time_column, mvscheduler.shown_name(part)) INTO buckets;
        PERFORM mvscheduler.name_partition(work.data, part, '_' || to_char(first, 'FMYYYYMMDD'));
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT bounds CHECK (%I IS NOT NULL AND %s)', mvscheduler.shown_name(part), work.time_column, bounds);   -- known when it is attached
        PERFORM mvscheduler.equip_partition(work.data, part), mvscheduler.attach_partition(work.data, part, first, beyond, label_type);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT bounds', mvscheduler.shown_name(part));
    END IF;
    -- How far it is is told of the times that make sense: from those to the others there is nothing.
    PERFORM mvscheduler.build_done(view_id, first AT TIME ZONE 'UTC', CASE WHEN upper(extent) - lower(extent) <= interval '36525 days' THEN least(newest, beyond AT TIME ZONE 'UTC') END, oldest, buckets, rows),
            mvscheduler.increment_done(view_id, buckets, rows, 0, 0);
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
