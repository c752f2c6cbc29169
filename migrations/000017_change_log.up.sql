-- What incremental views read, and how it is known which times change there.
--
-- Whoever writes to a table that a view reads adds a row, in the same transaction, and nobody ever updates or takes
-- one: it is dirt for a view as long as the last refresh of the view has not seen its transaction. So no writer waits
-- for a refresh and no refresh for a writer, and what commits late is late dirt.

CREATE TABLE mvscheduler.view_source (
    view_id  bigint NOT NULL,
    relation regclass NOT NULL,
    col      smallint NOT NULL,
    counts   boolean NOT NULL DEFAULT true,
    target   bigint,
    PRIMARY KEY (view_id, relation, col)
);
CREATE INDEX view_source_relation ON mvscheduler.view_source (relation);
COMMENT ON TABLE mvscheduler.view_source IS 'Private: which tables each incremental view reads; triggers write to the change log for these alone.';
COMMENT ON COLUMN mvscheduler.view_source.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.view_source.relation IS 'The table.';
COMMENT ON COLUMN mvscheduler.view_source.col IS 'Number of its column that in_window is asked about; 0 = none, any change concerns every bucket.';
COMMENT ON COLUMN mvscheduler.view_source.counts IS 'The owner of the view may make triggers on the table, so writers note its column. Who may read alone makes no writer pay: what is noted for others he shares.';
COMMENT ON COLUMN mvscheduler.view_source.target IS 'The incremental view (views.id) that kept a version of its contents there; NULL = it is another table.';

CREATE VIEW mvscheduler.visible_sources WITH (security_barrier) AS
    SELECT v.view_id, v.relation, v.col, v.counts, v.counts OR o.by IS NOT NULL AS noted, o.by AS noted_by
      FROM mvscheduler.view_source AS v
      LEFT JOIN LATERAL (SELECT x.xmin::text AS by FROM mvscheduler.view_source AS x WHERE x.relation = v.relation AND x.col = v.col AND x.counts AND NOT v.counts ORDER BY x.view_id LIMIT 1) AS o ON true
      JOIN mvscheduler.view_state AS s ON s.view_id = v.view_id
     WHERE (SELECT mvscheduler.sees_all())
        OR s.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));
COMMENT ON VIEW mvscheduler.visible_sources IS 'Which tables each incremental view reads that the caller may see.';
COMMENT ON COLUMN mvscheduler.visible_sources.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.visible_sources.relation IS 'The table.';
COMMENT ON COLUMN mvscheduler.visible_sources.col IS 'Number of its column that in_window is asked about; 0 = none, any change concerns every bucket.';
COMMENT ON COLUMN mvscheduler.visible_sources.counts IS 'The owner of the view could make triggers on the table when it was asked last.';
COMMENT ON COLUMN mvscheduler.visible_sources.noted IS 'Triggers note changes by it: the owner of the view, or of another one that asks about it, may make them on the table.';
COMMENT ON COLUMN mvscheduler.visible_sources.noted_by IS 'Where counts is false: the transaction that has had them noted for another view; another one = for a while nobody may have.';
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
CREATE INDEX dirt_source_xid ON mvscheduler.dirt (source, xid);   -- one for all, and narrow: writers pay for each, for each column and for each condition of one
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
    seen_at           timestamptz NOT NULL,
    system_identifier bigint NOT NULL,
    filled_from       timestamptz NOT NULL,
    leaves            jsonb NOT NULL,
    tracking          text NOT NULL,
    reason            text,
    fill              jsonb,
    parts             jsonb,
    unit              text,
    built_from        timestamptz NOT NULL DEFAULT '-infinity',
    never_from        timestamptz NOT NULL DEFAULT '-infinity',
    straddle          interval NOT NULL DEFAULT '0',
    whole_from        timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (view_id, data)
) WITH (fillfactor = 50);
COMMENT ON TABLE mvscheduler.increment_state IS 'Private: what the last refresh of an incremental view has seen; written by the run that fills or completes it, and by nobody else.';
COMMENT ON COLUMN mvscheduler.increment_state.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.increment_state.data IS 'The table with the contents: of the version that is served, or of the one that is being built.';
COMMENT ON COLUMN mvscheduler.increment_state.taken IS 'Snapshot of the last refresh: what it saw is not dirt any more.';
COMMENT ON COLUMN mvscheduler.increment_state.seen_at IS 'Right before that: with change_tracking none, lateness counts from here, so that nothing is missed however long ago the last refresh was.';
COMMENT ON COLUMN mvscheduler.increment_state.system_identifier IS 'Cluster to which the snapshot belongs; in another one everything is dirty.';
COMMENT ON COLUMN mvscheduler.increment_state.filled_from IS 'Buckets whose labels are before this instant (labels without a zone as if they were UTC) have not been built yet; -infinity = all are.';
COMMENT ON COLUMN mvscheduler.increment_state.leaves IS 'Tables and partitions below, with file, bounds, triggers and counters. since: what is watched there is known to who sees all transactions before this one.';
COMMENT ON COLUMN mvscheduler.increment_state.tracking IS 'change_tracking in force: trigger, counters or none.';
COMMENT ON COLUMN mvscheduler.increment_state.reason IS 'Why, where it was auto.';
COMMENT ON COLUMN mvscheduler.increment_state.built_from IS 'Labels before this were too old already when the first fill began, and are neither built nor followed; without a zone as if they were UTC.';
COMMENT ON COLUMN mvscheduler.increment_state.never_from IS 'built_from of the incremental view that it read when it was filled, and straddle, or never_from of that: what is older it never got, unless it could follow a later version of that.';
COMMENT ON COLUMN mvscheduler.increment_state.straddle IS 'How much later than built_from rows of buckets can be that are called after earlier instants, see straddle().';
COMMENT ON COLUMN mvscheduler.increment_state.whole_from IS 'Labels before this may lack rows that had left what the view reads, or that had never been there, when it was filled or began to read it; without a zone as if they were UTC.';
COMMENT ON COLUMN mvscheduler.increment_state.fill IS 'How far the first fill is; NULL when it is done.';
COMMENT ON COLUMN mvscheduler.increment_state.parts IS 'Partitions of its contents after the last refresh, with file and bounds: what is gone or rewritten by the next one somebody has touched.';
COMMENT ON COLUMN mvscheduler.increment_state.unit IS 'partition_unit of the row when its contents were filled first, whatever the data made of it then; NULL when they were not filled partition by partition.';

CREATE VIEW mvscheduler.blind_writes WITH (security_barrier) AS
    SELECT i.view_id, i.data, d.source, coalesce((l ->> 'lo')::timestamptz, '-infinity') AS lo, coalesce((l ->> 'hi')::timestamptz, 'infinity') AS hi
      FROM mvscheduler.increment_state AS i
     CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(i.leaves) AS l
      JOIN mvscheduler.dirt AS d ON d.source = (l ->> 'oid')::oid::regclass AND d.view_id IS NULL AND d.col = -1
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
GRANT UPDATE (counts) ON mvscheduler.view_source TO mvscheduler_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON mvscheduler.increment_state TO mvscheduler_worker;

-- Triggers on the tables. Whoever creates one needs EXECUTE, so everybody has it; they write about the table that they
-- are on, by TG_RELID, so on a table of one's own they say nothing about anybody else's. A column can be
-- named in dynamic SQL only; the name is PostgreSQL's own record of a registered column, quoted, and its type is looked
-- at on every call, or decides which time_of is called: a cast, an operator or a function of a user's would run with our rights.

-- The time of a row by a column, whatever its type is by then; NULL of every other type. Which of these is called says the type alone, and never a cast that its owner has made from it, also an implicit one: then
-- the last one fits better, by its second argument (1 is an integer); of types that have a function of their own it fits worse,
-- since double precision is what numbers prefer.
CREATE FUNCTION mvscheduler.time_of(t timestamptz, double precision) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN t;
CREATE FUNCTION mvscheduler.time_of(t timestamp, double precision) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN t AT TIME ZONE 'UTC';
CREATE FUNCTION mvscheduler.time_of(t date, double precision) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN (CASE WHEN isfinite(t) THEN least(greatest(t, '4000-01-01 BC'::date), '200000-01-01'::date) END)::timestamp AT TIME ZONE 'UTC';
CREATE FUNCTION mvscheduler.time_of(t anyelement, integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE
AS 'SELECT NULL::pg_catalog.timestamptz';
COMMENT ON FUNCTION mvscheduler.time_of(timestamptz, double precision) IS 'Time of a row by a column.';
COMMENT ON FUNCTION mvscheduler.time_of(timestamp, double precision) IS 'Time of a row by a column.';
COMMENT ON FUNCTION mvscheduler.time_of(date, double precision) IS 'Time of a row by a column.';
COMMENT ON FUNCTION mvscheduler.time_of(anyelement, integer) IS 'Time of a row by a column that is no time: NULL.';
REVOKE ALL ON FUNCTION mvscheduler.time_of(timestamptz, double precision), mvscheduler.time_of(timestamp, double precision), mvscheduler.time_of(date, double precision), mvscheduler.time_of(anyelement, integer) FROM PUBLIC;

CREATE FUNCTION mvscheduler.instant_of(column_name name, type oid) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN type IN ('timestamptz'::pg_catalog.regtype, 'timestamp'::pg_catalog.regtype, 'date'::pg_catalog.regtype)
            THEN pg_catalog.format('mvscheduler.time_of(%I, 1)', column_name) END;
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
    FOR source, col IN SELECT DISTINCT s.relation::oid, s.col FROM mvscheduler.view_source AS s WHERE s.relation = ANY (above::regclass[]) AND s.counts LOOP
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
    lo    timestamptz;
    hi    timestamptz;
    tried boolean;
BEGIN
    -- an INSERT by a known column, which is most of what there is: see change_function
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN   -- its snapshot may be older than what it looks up
        INSERT INTO mvscheduler.dirt (source, col, lo, hi, snapshot) VALUES (TG_RELID, -1, '-infinity', 'infinity', pg_current_snapshot());
    END IF;
    IF TG_OP = 'DELETE' THEN   -- what the server has not counted into shared memory is in the counts of the next transaction too: see deleted
        PERFORM pg_stat_force_next_flush() FROM pg_class AS c WHERE c.oid = TG_RELID AND (c.relkind = 'p' OR c.relispartition);
    END IF;
    -- whatever it is, by a known column
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
            IF TG_OP = 'TRUNCATE' THEN
                INSERT INTO mvscheduler.dirt (source, col, lo, hi) SELECT w.source, w.col, coalesce(p.lo, '-infinity'), coalesce(p.hi, 'infinity') FROM mvscheduler.part_times(TG_RELID, w.source, w.col) AS p;
                CONTINUE;
            ELSIF coalesce(shown, 0) < deleted OR deleted IS NULL OR NOT known OR w.expression IS NULL THEN
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
-- watched by one column alone, and is part of no other, gets a function for the number and name of that column: changed()
-- with a way through that names it, whose plans the session keeps. Whether a view reads the table is not asked: that costs
-- as much again, and what no view reads the housekeeper deletes. A
-- table that is watched by more since then has the wrong function, which tables_below tells, and gets the right one.
CREATE FUNCTION mvscheduler.change_function(relation oid, OUT function name, OUT column_number smallint, OUT column_name name)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    column_type oid;
    full_name   text;
BEGIN
    SELECT a.attnum, a.attname, a.atttypid, concat_ws('_', 'changed', a.attnum, a.attname) INTO column_number, column_name, column_type, full_name
      FROM (SELECT min(s.col) AS col FROM mvscheduler.view_source AS s WHERE s.relation = change_function.relation AND s.counts HAVING min(s.col) = max(s.col)) AS s
      JOIN pg_attribute AS a ON a.attrelid = change_function.relation AND a.attnum = s.col AND NOT a.attisdropped AND a.attgenerated <> 'v'
     WHERE NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = change_function.relation);
    function := CASE WHEN mvscheduler.instant_of(column_name, column_type) IS NOT NULL AND octet_length(full_name) < 64 THEN full_name ELSE 'changed' END;
END $$;
COMMENT ON FUNCTION mvscheduler.change_function(oid) IS 'Name of the trigger function that is right for a table below incremental views, besides changed(), which is right for all.';

CREATE FUNCTION mvscheduler.make_change_function(relation oid) RETURNS name
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own  record;
    body text;
BEGIN
    SELECT * INTO own FROM mvscheduler.change_function(relation);
    IF own.function <> 'changed' THEN
        -- The longer mark last: no column can be called that.
        SELECT replace(replace(p.prosrc, '-- whatever it is, by a known column', k.on_any), '-- an INSERT by a known column, which is most of what there is: see change_function', k.on_insert) INTO body
          FROM pg_proc AS p, mvscheduler.known_column(own.column_number, own.column_name) AS k
         WHERE p.oid = 'mvscheduler.changed()'::regprocedure;
        IF EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = to_regprocedure(format('mvscheduler.%I()', own.function)) AND p.prosrc = body) THEN   -- and not of an older changed()
            RETURN own.function;
        END IF;
        EXECUTE format('CREATE OR REPLACE FUNCTION mvscheduler.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L', own.function, body);
        EXECUTE format('COMMENT ON FUNCTION mvscheduler.%I() IS %L', own.function, format('changed() for tables that are watched by their column %s, %I, alone. What it notes of others nobody looks for, and it is deleted.', own.column_number, own.column_name));
    END IF;
    RETURN own.function;
EXCEPTION WHEN duplicate_function OR unique_violation THEN   -- another step was first
    RETURN own.function;
END $$;
COMMENT ON FUNCTION mvscheduler.make_change_function(oid) IS 'Makes the trigger function that is right for a table below incremental views, where it does not exist yet, or was made from another text of changed(). A migration that replaces changed() calls it for every relation of view_source.';
REVOKE ALL ON FUNCTION mvscheduler.make_change_function(oid) FROM PUBLIC;

CREATE FUNCTION mvscheduler.note_narrow(column_number smallint, column_name name, VARIADIC tables text[]) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $sql$
SELECT format($note$INSERT INTO mvscheduler.dirt (source, col, view_id, lo, hi, xid, why, snapshot)   -- all of them, as the table has them, or PostgreSQL puts a node of the plan between
            SELECT TG_RELID::regclass, %1$s::smallint, NULL::bigint, min(r.t), max(r.t), pg_current_xact_id(), NULL::text, NULL::pg_snapshot
              FROM (SELECT x.t FROM (SELECT NULL::timestamptz AS %2$I) AS missing,   -- which the name means where the tables have no such column any more
                                    LATERAL (%3$s) AS x) AS r
            HAVING max(r.t) < least(min(r.t), '200000-01-01 00:00:00+00') + interval '1 hour';   -- least: what comes out is a time whatever the rows have
            IF FOUND THEN   -- by itself: PL/pgSQL makes a query of what comes next
                RETURN NEW;   -- which is NULL, and NULL would be an expression
            ELSIF %4$s THEN
                RETURN NEW;
            END IF;$note$, column_number, column_name,
              string_agg(format('SELECT mvscheduler.time_of(%I, 1) AS t FROM %s', column_name, r), ' UNION ALL ' ORDER BY n),
              string_agg(format('NOT EXISTS (SELECT FROM %s)', r), ' AND ' ORDER BY n))
  FROM unnest(tables) WITH ORDINALITY AS r(r, n)
$sql$;
COMMENT ON FUNCTION mvscheduler.note_narrow(smallint, name, VARIADIC text[]) IS 'PL/pgSQL that notes the times of rows by a column as one range and returns, where they are within an hour, or where there are no rows. One statement: to begin another costs the writer of single rows more than what it does.';

CREATE FUNCTION mvscheduler.known_column(column_number smallint, column_name name, OUT on_insert text, OUT on_any text)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In one condition, and a short one: PL/pgSQL makes it ready anew in every transaction. Without a transition table there is no new_rows.
    on_insert := format($way$
    IF TG_OP = 'INSERT' AND pg_my_temp_schema() = 0 AND current_setting('transaction_isolation') = 'read committed' THEN
            %1$s
            tried := true;
    END IF;$way$, mvscheduler.note_narrow(column_number, column_name, 'new_rows'));
    on_any := format($way$
    IF tried IS NULL AND TG_OP <> 'TRUNCATE' AND TG_LEVEL = 'STATEMENT' AND TG_WHEN = 'AFTER'
       AND (pg_my_temp_schema() = 0 OR NOT starts_with(TG_TABLE_SCHEMA, 'pg_temp_') AND to_regclass('pg_temp.old_rows') IS NULL AND to_regclass('pg_temp.new_rows') IS NULL) THEN
        IF TG_OP = 'INSERT' THEN
            %1$s
        ELSIF TG_OP = 'DELETE' THEN
            %2$s
        ELSIF TG_OP = 'UPDATE' AND (SELECT c.relkind <> 'p'   -- of a partitioned table: see deleted
                                       AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = %4$L AND a.attgenerated = 'v')   -- UNION ALL cannot read those
                                      FROM pg_class AS c WHERE c.oid = TG_RELID) THEN
            %3$s
        END IF;
    END IF;$way$, mvscheduler.note_narrow(column_number, column_name, 'new_rows'), mvscheduler.note_narrow(column_number, column_name, 'old_rows'),
                  mvscheduler.note_narrow(column_number, column_name, 'old_rows', 'new_rows'), column_name);
END $$;
COMMENT ON FUNCTION mvscheduler.known_column(smallint, name) IS 'The ways through changed() for tables that are watched by this column alone: of an INSERT, which is what there is most of, and of whatever it is.';

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

-- Every refresh asks for the bounds of all partitions: a regular expression takes twenty times what this does.
CREATE FUNCTION mvscheduler.range_bounds(bounds text) RETURNS text[]
LANGUAGE sql IMMUTABLE   -- without a search_path of its own it becomes a part of the query that calls it
RETURN CASE WHEN starts_with(bounds, 'FOR VALUES FROM (') THEN string_to_array(substr(bounds, 18, length(bounds) - 18), ') TO (') END;
COMMENT ON FUNCTION mvscheduler.range_bounds(text) IS 'The two bounds of a partition, as PostgreSQL deparses them; NULL where it is none of a range.';

CREATE FUNCTION mvscheduler.bound_instant(bound text, column_type oid) RETURNS timestamptz
LANGUAGE sql STABLE   -- without a search_path of its own it becomes a part of the query that calls it
RETURN CASE WHEN bound IS NULL THEN NULL::timestamptz   -- greatest and least pass over it
            WHEN bound = 'MINVALUE' THEN '-infinity'
            WHEN bound = 'MAXVALUE' THEN 'infinity'
            WHEN column_type = 'timestamptz'::regtype THEN trim(bound, '''')::timestamptz
            WHEN column_type = 'date'::regtype THEN least(greatest(trim(bound, '''')::date, '4400-01-01 BC'::date), '201000-01-01'::date)::timestamp AT TIME ZONE 'UTC'
            ELSE trim(bound, '''')::timestamp AT TIME ZONE 'UTC' END;
COMMENT ON FUNCTION mvscheduler.bound_instant(text, oid) IS 'Instant of one bound of a partition, as PostgreSQL deparses it.';

-- For a writer, who shall wait for nobody: with the OID of a partition pg_get_expr locks it.
CREATE FUNCTION mvscheduler.partition_cuts(relation oid, expression text, OUT bounds timestamptz[], OUT begins boolean[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
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
             CROSS JOIN LATERAL (SELECT pg_get_expr(l.relpartbound, 0) OFFSET 0) AS e(text)
             CROSS JOIN LATERAL (SELECT mvscheduler.range_bounds(e.text) OFFSET 0) AS m(bound)
             CROSS JOIN LATERAL (VALUES (mvscheduler.bound_instant(m.bound[1], a.atttypid), true), (mvscheduler.bound_instant(m.bound[2], a.atttypid), false)) AS b(at, begins)
             WHERE p.partrelid = partition_cuts.relation AND p.partstrat = 'r' AND p.partnatts = 1 AND b.at IS NOT NULL
             GROUP BY b.at) AS c
$$;
COMMENT ON FUNCTION mvscheduler.partition_cuts(oid, text) IS 'Bounds of the partitions of a table that is partitioned by ranges of this time, in their order, and whether one begins there; NULL for other tables.';
REVOKE ALL ON FUNCTION mvscheduler.partition_cuts(oid, text) FROM PUBLIC;

-- As mvscheduler.tables_below has them, from the partition upwards.
CREATE FUNCTION mvscheduler.part_times(relation oid, source oid, col smallint, OUT lo timestamptz, OUT hi timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD'
AS $$
    WITH RECURSIVE part(oid, lo, hi) AS (
        SELECT relation, '-infinity'::timestamptz, 'infinity'::timestamptz
         UNION ALL
        SELECT i.inhparent, greatest(p.lo, mvscheduler.bound_instant(m.bound[1], k.atttypid)), least(p.hi, mvscheduler.bound_instant(m.bound[2], k.atttypid))
          FROM part AS p
          JOIN pg_class AS c ON c.oid = p.oid AND c.relispartition AND c.oid <> part_times.source
          JOIN pg_inherits AS i ON i.inhrelid = p.oid
          JOIN pg_attribute AS a ON a.attrelid = part_times.source AND a.attnum = part_times.col
          LEFT JOIN pg_partitioned_table AS t ON t.partrelid = i.inhparent AND t.partstrat = 'r' AND t.partnatts = 1
                                             AND EXISTS (SELECT FROM pg_opclass AS o WHERE o.oid = t.partclass[0] AND o.opcdefault AND o.opcnamespace = 'pg_catalog'::regnamespace)   -- by another order what is less is not earlier
          LEFT JOIN pg_attribute AS k ON k.attrelid = i.inhparent AND k.attnum = t.partattrs[0] AND k.attname = a.attname AND k.atttypid = a.atttypid
                                     AND k.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
         CROSS JOIN LATERAL (SELECT CASE WHEN k.attname IS NOT NULL THEN pg_get_expr(c.relpartbound, 0) END OFFSET 0) AS e(text)
         CROSS JOIN LATERAL (SELECT mvscheduler.range_bounds(e.text) OFFSET 0) AS m(bound)
    )
    SELECT p.lo, p.hi FROM part AS p WHERE p.oid = part_times.source
$$;
COMMENT ON FUNCTION mvscheduler.part_times(oid, oid, smallint) IS 'Which times rows of a table can have, by its bounds, as a partition, at any depth, of another one and by a column of that; NULL where it is no partition of it.';
REVOKE ALL ON FUNCTION mvscheduler.part_times(oid, oid, smallint) FROM PUBLIC;

-- Everything that PostgreSQL knows a query to be made of, from rules on through what they name: columns, functions, with the bodies that
-- are stored, operators, types, row-level security. Whatever of that is replaced has another xmin. Our own functions change with
-- us alone. OFFSET makes the planner look up each object.
CREATE FUNCTION mvscheduler.plain_views_below(query_relation oid) RETURNS TABLE (relation oid, rule text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    reader oid := (SELECT c.relowner FROM pg_class AS c WHERE c.oid = query_relation);   -- what he may not read is no source, until he may
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
                    UNION ALL
                   SELECT 'pg_class'::regclass, w.attrelid, w.attnum   -- rows as a whole have all columns
                     FROM (SELECT DISTINCT d.refobjid
                             FROM pg_depend AS d
                            WHERE u.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass)
                              AND d.classid = u.classid AND d.objid = u.objid AND d.refclassid = 'pg_class'::regclass) AS d
                     JOIN pg_attribute AS w ON w.attrelid = d.refobjid AND w.attnum > 0 AND w.atttypid >= 16384
                    WHERE CASE WHEN w.attnum > 0   -- so that it comes last
                               THEN EXISTS (SELECT FROM pg_rewrite AS r WHERE u.classid = 'pg_rewrite'::regclass AND r.oid = u.objid AND r.ev_action::text LIKE '%:varattno 0 %'
                                             UNION ALL
                                            SELECT FROM pg_proc AS p WHERE u.classid = 'pg_proc'::regclass AND p.oid = u.objid AND p.prosqlbody::text LIKE '%:varattno 0 %'
                                             UNION ALL
                                            SELECT FROM pg_policy AS y WHERE u.classid = 'pg_policy'::regclass AND y.oid = u.objid AND y.polqual::text LIKE '%:varattno 0 %') END
                    UNION ALL
                   SELECT 'pg_type'::regclass, a.atttypid, 0
                     FROM pg_type AS t JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND a.atttypid >= 16384
                    WHERE u.classid = 'pg_type'::regclass AND t.oid = u.objid
                    UNION ALL
                   SELECT 'pg_proc'::regclass, k.castfunc, 0   -- which to_json and its like look up when they run
                     FROM pg_cast AS k
                    WHERE u.classid = 'pg_type'::regclass AND k.castsource = u.objid AND k.casttarget = 'json'::regtype AND k.castfunc <> 0
                   OFFSET 0) AS n(classid, objid, objsubid)
        ), object AS MATERIALIZED (
            SELECT DISTINCT u.classid, u.objid FROM used AS u
        ), depends AS (
            SELECT md5(concat_ws('/', string_agg(concat_ws(' ', o.objid, x.identity), ',' ORDER BY o.classid, o.objid),
                                 CASE WHEN bool_or(x.whole) THEN string_agg(x.columns, ',' ORDER BY o.objid) END,   -- rows as a whole have the columns that are added
                                 CASE WHEN bool_or(x.guarded) THEN string_agg(x.owner::text, ',' ORDER BY o.objid) END)) AS identity   -- an owner may see all rows
              FROM object AS o
              LEFT JOIN LATERAL (
                   SELECT p.xmin::text AS identity, p.prosqlbody::text LIKE '%:varattno 0 %' AS whole, false AS guarded, NULL::text AS columns, NULL::oid AS owner
                     FROM pg_proc AS p
                    WHERE o.classid = 'pg_proc'::regclass AND p.oid = o.objid AND p.pronamespace <> 'mvscheduler'::regnamespace
                    UNION ALL
                   SELECT p.xmin::text, false, false, NULL, NULL FROM pg_operator AS p WHERE o.classid = 'pg_operator'::regclass AND p.oid = o.objid
                    UNION ALL
                   SELECT string_agg(e.oid || ' ' || e.xmin, ' ' ORDER BY e.oid), false, false, NULL, NULL FROM pg_enum AS e
                    WHERE o.classid = 'pg_type'::regclass AND e.enumtypid = o.objid
                   HAVING count(*) > 0
                    UNION ALL
                   SELECT string_agg(a.attname || ' ' || a.atttypid, ' ' ORDER BY a.attnum), false, false, NULL, NULL
                     FROM pg_type AS t JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0
                    WHERE o.classid = 'pg_type'::regclass AND t.oid = o.objid
                   HAVING count(*) > 0
                    UNION ALL
                   SELECT y.xmin::text, y.polqual::text LIKE '%:varattno 0 %', true, NULL, NULL FROM pg_policy AS y WHERE o.classid = 'pg_policy'::regclass AND y.oid = o.objid
                    UNION ALL
                   SELECT NULL, w.ev_action::text LIKE '%:varattno 0 %', false, NULL, NULL FROM pg_rewrite AS w WHERE o.classid = 'pg_rewrite'::regclass AND w.oid = o.objid
                    UNION ALL
                   SELECT concat_ws(' ', c.relrowsecurity, c.relforcerowsecurity, has_any_column_privilege(reader, c.oid, 'SELECT')), false, c.relrowsecurity, CASE WHEN c.relkind <> 'v' THEN c.relnatts::text ELSE (SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0) END, c.relowner FROM pg_class AS c
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
COMMENT ON FUNCTION mvscheduler.plain_views_below(oid) IS 'Plain views that a query is made of, itself included, and what tells that one was replaced; of itself also whether anything else was that it depends on, through any number of functions: code of functions, operators, aggregates and casts to json, labels of enumerations, attributes of composite types, row-level security and where there is some who owns what, and columns where rows are named as a whole.';

CREATE FUNCTION mvscheduler.noted_events(kind smallint, old name, new name) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN kind & 3 <> 0 THEN 0   -- not after the statement
            ELSE CASE WHEN new = 'new_rows' THEN kind & 4 ELSE 0 END | CASE WHEN old = 'old_rows' THEN kind & 8 ELSE 0 END
                 | CASE WHEN old = 'old_rows' AND new = 'new_rows' THEN kind & 16 ELSE 0 END | (kind & 32) END;
COMMENT ON FUNCTION mvscheduler.noted_events(smallint, name, name) IS 'Of which events (bits of pg_trigger.tgtype: 4 INSERT, 8 DELETE, 16 UPDATE, 32 TRUNCATE) a trigger with our function notes what it has to; under other names of its transition tables it would fail.';

-- What every run asks is PL/pgSQL, here and below: the session keeps the plans, which take longer than what they find.
-- Bounds are read only of partitions by the very column, whose type is PostgreSQL's own: printing the value of
-- another type would run its code.
CREATE FUNCTION mvscheduler.tables_below(view_id bigint) RETURNS TABLE (
    leaf oid, name text, kind text, lo timestamptz, hi timestamptz, identity text, columns text, counters text, covered boolean, trackable boolean, hidden boolean, far boolean, root oid)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET DateStyle = 'ISO, YMD'
SET jit = off   -- to compile it takes ten times what it takes
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE node(root, noted, by, leaf, link, kind, attname, atttypid, lo, hi) AS (
            SELECT c.oid, s.noted, s.noted_by, c.oid, ''::text, c.relkind, a.attname, a.atttypid, '-infinity'::timestamptz, 'infinity'::timestamptz
              FROM mvscheduler.visible_sources AS s
             CROSS JOIN LATERAL (SELECT x.oid, x.relkind FROM pg_class AS x WHERE x.oid = s.relation::oid OFFSET 0) AS c   -- by the index, here and below: the planner expects many
              LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = s.col AND s.col > 0
             WHERE s.view_id = tables_below.view_id
            UNION
            SELECT n.root, n.noted, n.by, c.oid, concat_ws(',', n.link, i.xmin), c.relkind, n.attname, n.atttypid,   -- what left and came back has another one
                   coalesce(greatest(n.lo, mvscheduler.bound_instant(b.bound[1], n.atttypid)), n.lo), coalesce(least(n.hi, mvscheduler.bound_instant(b.bound[2], n.atttypid)), n.hi)
              FROM node AS n
             CROSS JOIN LATERAL (SELECT x.inhrelid, x.xmin FROM pg_inherits AS x WHERE x.inhparent = n.leaf AND NOT x.inhdetachpending OFFSET 0) AS i
             CROSS JOIN LATERAL (SELECT x.oid, x.relkind, x.relpartbound FROM pg_class AS x WHERE x.oid = i.inhrelid AND x.relpersistence <> 't' OFFSET 0) AS c   -- not what its session alone reads
              LEFT JOIN pg_partitioned_table AS p ON p.partrelid = n.leaf AND p.partstrat = 'r' AND p.partnatts = 1
              LEFT JOIN pg_attribute AS k ON k.attrelid = n.leaf AND k.attnum = p.partattrs[0] AND k.attname = n.attname AND k.atttypid = n.atttypid
                                         AND k.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
             CROSS JOIN LATERAL (SELECT CASE WHEN k.attname IS NOT NULL THEN pg_get_expr(c.relpartbound, 0) END OFFSET 0) AS e(text)
             CROSS JOIN LATERAL (SELECT mvscheduler.range_bounds(e.text) OFFSET 0) AS b(bound)
        ), far(oid) AS (   -- what foreign tables are parts of
            SELECT n.leaf FROM node AS n WHERE n.kind = 'f'
            UNION
            SELECT i.inhparent FROM far AS f JOIN pg_inherits AS i ON i.inhrelid = f.oid
        ), held AS (
            SELECT t.tgrelid, string_agg(t.oid || ' ' || t.xmin, ',' ORDER BY t.oid) AS identity,
                   bit_or(CASE WHEN f.proname <> 'changed_row' AND t.tgenabled IN ('O', 'A') THEN mvscheduler.noted_events(t.tgtype, t.tgoldtable, t.tgnewtable) ELSE 0 END) AS events,
                   bool_or(f.proname = 'changed_row' AND t.tgenabled IN ('R', 'A')) AS applied
              FROM (SELECT n.leaf,   -- what its function is called, asked once; NULL for users, who verify
                           CASE WHEN NOT has_table_privilege('mvscheduler.view_source', 'SELECT') THEN NULL
                                WHEN bool_or(n.link = '') THEN (mvscheduler.change_function(n.leaf)).function ELSE 'changed' END AS named
                      FROM node AS n GROUP BY n.leaf OFFSET 0) AS n
             CROSS JOIN LATERAL (SELECT x.oid, x.xmin, x.tgrelid, x.tgfoid, x.tgenabled, x.tgtype, x.tgoldtable, x.tgnewtable FROM pg_trigger AS x WHERE x.tgrelid = n.leaf AND x.tgqual IS NULL AND x.tgattr::text = '' OFFSET 0) AS t   -- and not those of all tables
             CROSS JOIN LATERAL (SELECT x.proname, x.pronamespace FROM pg_proc AS x WHERE x.oid = t.tgfoid OFFSET 0) AS f   -- nor all functions
             WHERE f.pronamespace = 'mvscheduler'::regnamespace
               AND CASE WHEN f.proname IN ('changed', 'changed_row') THEN true
                        ELSE coalesce(f.proname = n.named, f.proname ~ '^changed_') END
             GROUP BY t.tgrelid
        )
        SELECT n.leaf, mvscheduler.shown_name(n.leaf), n.kind::text, min(n.lo), max(n.hi),
               concat_ws('/', c.relfilenode, h.identity, string_agg(DISTINCT n.link, ' '), 'by ' || string_agg(DISTINCT n.by, ' '),   -- what is noted for others may not have been for a while
                         CASE WHEN c.relpersistence = 'u' THEN extract(epoch FROM (SELECT g.stats_reset FROM pg_stat_bgwriter AS g)) END),   -- a crash empties it, and resets that
               (SELECT string_agg(CASE WHEN a.xmin = a.left_one THEN '' ELSE a.xmin::text END, ',' ORDER BY a.attnum)
                  FROM (SELECT k.attnum, k.xmin, lag(k.xmin) OVER (ORDER BY k.attnum) AS left_one FROM pg_attribute AS k WHERE k.attrelid = n.leaf AND k.attnum > 0) AS a),
               concat_ws('/', pg_stat_get_tuples_inserted(n.leaf), pg_stat_get_tuples_updated(n.leaf), pg_stat_get_tuples_deleted(n.leaf),
                         extract(epoch FROM pg_stat_get_db_stat_reset_time((SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))), extract(epoch FROM (SELECT g.stats_reset FROM pg_stat_bgwriter AS g))),
               CASE WHEN n.kind IN ('r', 'p') AND n.leaf IN (SELECT f.oid FROM far AS f)   -- nothing of ours stands in the way of who writes to them
                    THEN NOT EXISTS (SELECT FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid AND f.pronamespace = 'mvscheduler'::regnamespace
                                      WHERE t.tgrelid = n.leaf AND coalesce(t.tgoldtable, t.tgnewtable) IS NOT NULL)
                    ELSE bool_and(n.noted) AND coalesce(h.events = 60 AND (h.applied OR n.kind = 'p' OR NOT pg_has_role(o.owner::oid, c.relowner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_subscription_rel AS u WHERE u.srrelid IN (SELECT m.leaf FROM node AS m))), false) END,
               n.kind IN ('r', 'p') AND bool_and(n.noted) AND has_table_privilege(o.owner::oid, n.leaf, 'TRIGGER'),
               bool_or(EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = n.leaf   -- a statement on the table above runs triggers of that one alone, which say nothing about others that the query reads
                                  AND NOT EXISTS (SELECT FROM node AS m WHERE m.leaf = i.inhparent AND (m.root = n.root OR m.attname IS NULL)))),
               n.kind IN ('r', 'p') AND n.leaf IN (SELECT f.oid FROM far AS f), min(n.root)
          FROM node AS n
         CROSS JOIN LATERAL (SELECT x.relfilenode, x.relpersistence, x.relowner FROM pg_class AS x WHERE x.oid = n.leaf OFFSET 0) AS c   -- not all of them
          JOIN mvscheduler.visible_views AS o ON o.view_id = tables_below.view_id AND EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = o.owner::oid)
          LEFT JOIN held AS h ON h.tgrelid = n.leaf
         GROUP BY n.leaf, n.kind, c.relfilenode, c.relpersistence, c.relowner, h.identity, h.events, h.applied, o.owner;
END $$;
COMMENT ON FUNCTION mvscheduler.tables_below(bigint) IS 'Tables and partitions below an incremental view: the times that they can hold, what they are stored in and watched by (identity), what wrote the rows of their columns (each that is part of another table for a moment writes them), what the server counted, whether triggers watch them or may be made, whether that would hide what is written through a table above, and whether foreign tables are parts of them (far): then PostgreSQL lets nobody write to those while a trigger of the table has transition tables, so none may, and covered says that none has; root is the table that the query names.';

-- The step track ----------------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.track_at_hand(view_id bigint) RETURNS TABLE (relation oid, is_partition boolean, function name, far boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) = 'track' THEN
        RETURN QUERY
        SELECT l.leaf, c.relispartition, CASE WHEN l.far THEN 'changed' ELSE mvscheduler.make_change_function(l.leaf) END, l.far
          FROM (SELECT a.*, bool_or(a.far) OVER () AS by_counters FROM mvscheduler.tables_below(track_at_hand.view_id) AS a) AS l
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
            SELECT * FROM (VALUES (4, 'insert', 'REFERENCING NEW TABLE AS new_rows'), (16, 'update', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
                                  (8, 'delete', 'REFERENCING OLD TABLE AS old_rows'), (32, 'truncate', '')) AS k(bit, event, tables)
             WHERE NOT EXISTS (SELECT FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid
                                WHERE t.tgrelid = rel.relation AND t.tgname = 'mvscheduler_changed_' || k.event
                                  AND (f.pronamespace <> 'mvscheduler'::regnamespace
                                       OR NOT rel.far AND t.tgqual IS NULL AND f.proname IN ('changed', rel.function) AND mvscheduler.noted_events(t.tgtype, t.tgoldtable, t.tgnewtable) = k.bit
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
        IF rel.ours AND rel.kind <> 'p' AND NOT rel.far THEN   -- ENABLE TRIGGER USER has made it one of every session
            FOR kind IN SELECT t.tgname FROM pg_trigger AS t WHERE t.tgrelid = rel.relation AND t.tgfoid = 'mvscheduler.changed_row()'::regprocedure AND t.tgenabled = 'O' AND t.tgparentid = 0 LOOP
                PERFORM mvscheduler.lock_until(deadline);
                EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER %I', rel.name, kind.tgname);
                made := made + 1;
            END LOOP;
        END IF;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION mvscheduler.step_track(bigint) IS 'Makes the triggers that note which times change, on tables and partitions below the view that have none, as many as there is time for; of tables that foreign tables became parts of it makes them ones that never run.';
