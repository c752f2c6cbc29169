-- verify: are the contents what the query gives? Whoever asks computes the query, in the own session and with the own
-- rights; the sidecar has no part in it and reads nothing. What the last refresh had not seen yet is told apart.

CREATE VIEW mvscheduler.visible_increments WITH (security_barrier) AS
    SELECT s.view_id, s.name, s.owner, coalesce(nq.relation, s.query_relation) AS query_relation, coalesce(n.relation, d.relation) AS data, n.relation IS NOT NULL AS building,
           (SELECT p.relation FROM mvscheduler.piece AS p WHERE p.view_id = s.view_id AND p.kind = 'gate') AS gate,
           s.time_column, s.bucket_width, s.timezone, s.change_tracking, s.lateness, s.rearmed_at,
           coalesce(i.system_identifier = (SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c), false) AS seen,
           i.seen_at, i.tracking, i.leaves, i.fill,
           greatest(f.labels, i.built_from) AS frozen_labels, (SELECT max(b.below) FROM mvscheduler.frozen_by AS b WHERE b.view_id = s.view_id AND NOT b.before) AS frozen_times,   -- as frozen_times(), which nobody else may call
           (SELECT v.unit FROM mvscheduler.increment_state AS v WHERE v.view_id = s.view_id AND v.data = d.relation) AS served_unit,
           i.reason AS tracking_reason,
           ARRAY(SELECT e.target
                   FROM (SELECT s.view_id AS target UNION SELECT b.target FROM mvscheduler.frozen_by AS b WHERE b.view_id = s.view_id) AS e
                  WHERE EXISTS (SELECT FROM mvscheduler.kept AS k JOIN mvscheduler.visible_targets AS t ON t.id = k.target
                                  JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = k.relation::oid AND h.inhparent = t.relation::oid
                                 WHERE k.target = e.target AND k.detached_at IS NOT NULL)
                     OR EXISTS (SELECT FROM mvscheduler.frozen AS l   -- as still_left(): it is recorded already, and the horizons have to move
                                 WHERE l.target = e.target
                                   AND l.labels > greatest(l.gone, (SELECT max(k.until) FROM mvscheduler.kept AS k WHERE k.target = e.target AND k.detached_at IS NOT NULL)))) AS restored
      FROM mvscheduler.view_state AS s   -- see version_at_work
      LEFT JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
      LEFT JOIN mvscheduler.redefinition AS r ON r.view_id = s.view_id AND r.method = 'incremental'
      LEFT JOIN mvscheduler.piece AS n ON n.view_id = r.view_id AND n.kind = 'next'
      LEFT JOIN mvscheduler.piece AS nq ON nq.view_id = r.view_id AND nq.kind = 'next_query'
      LEFT JOIN mvscheduler.increment_state AS i ON i.view_id = s.view_id AND i.data::oid = coalesce(n.relation, d.relation)::oid
      LEFT JOIN mvscheduler.frozen AS f ON f.target = s.view_id
     WHERE 'incremental' IN (s.method, r.method)
       AND ((SELECT mvscheduler.sees_all()) OR s.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles())));
COMMENT ON VIEW mvscheduler.visible_increments IS 'What the last refresh of each incremental view that the caller may see has seen; while a new version is built, of that one.';
COMMENT ON COLUMN mvscheduler.visible_increments.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.visible_increments.name IS 'views.name';
COMMENT ON COLUMN mvscheduler.visible_increments.owner IS 'views.owner';
COMMENT ON COLUMN mvscheduler.visible_increments.query_relation IS 'The plain view that holds its query.';
COMMENT ON COLUMN mvscheduler.visible_increments.data IS 'The table with its contents.';
COMMENT ON COLUMN mvscheduler.visible_increments.building IS 'A new version is being built.';
COMMENT ON COLUMN mvscheduler.visible_increments.gate IS 'The materialized view through which its steps run.';
COMMENT ON COLUMN mvscheduler.visible_increments.time_column IS 'views.time_column';
COMMENT ON COLUMN mvscheduler.visible_increments.bucket_width IS 'views.bucket_width';
COMMENT ON COLUMN mvscheduler.visible_increments.timezone IS 'views.timezone';
COMMENT ON COLUMN mvscheduler.visible_increments.change_tracking IS 'views.change_tracking';
COMMENT ON COLUMN mvscheduler.visible_increments.lateness IS 'views.lateness';
COMMENT ON COLUMN mvscheduler.visible_increments.rearmed_at IS 'Last change of its row.';
COMMENT ON COLUMN mvscheduler.visible_increments.seen IS 'A refresh has begun in this cluster; false = everything is to be computed.';
COMMENT ON COLUMN mvscheduler.visible_increments.seen_at IS 'Everything that was committed before this instant the last refresh has seen.';
COMMENT ON COLUMN mvscheduler.visible_increments.tracking IS 'change_tracking in force at the last refresh.';
COMMENT ON COLUMN mvscheduler.visible_increments.leaves IS 'Tables and partitions below as the last refresh has seen them.';
COMMENT ON COLUMN mvscheduler.visible_increments.fill IS 'How far the first fill is; NULL when it is done or has not begun.';
COMMENT ON COLUMN mvscheduler.visible_increments.frozen_labels IS 'Buckets before this instant have left, or were never built.';
COMMENT ON COLUMN mvscheduler.visible_increments.frozen_times IS 'Rows that the view reads before this instant may have left.';
COMMENT ON COLUMN mvscheduler.visible_increments.tracking_reason IS 'Why that is in force, where change_tracking is auto.';
COMMENT ON COLUMN mvscheduler.visible_increments.restored IS 'Targets by which the view is frozen with partitions that are attached again, which nobody has noted yet.';
COMMENT ON COLUMN mvscheduler.visible_increments.served_unit IS 'Width of partitions that bucket_width and retention_period gave the version that is served: day, week, month, year or century; NULL = see unit_in_force.';

CREATE VIEW mvscheduler.visible_changes WITH (security_barrier) AS
    SELECT i.view_id, c.lo, c.hi, c.why
      FROM mvscheduler.increment_state AS i
     CROSS JOIN LATERAL (
            SELECT CASE WHEN v.col > 0 THEN d.lo ELSE '-infinity' END AS lo, CASE WHEN v.col > 0 THEN d.hi ELSE 'infinity' END AS hi,
                   CASE WHEN v.col = 0 THEN mvscheduler.shown_name(v.relation) || ' changed, and any bucket may depend on it' ELSE '' END AS why
              FROM mvscheduler.view_source AS v
             CROSS JOIN LATERAL (SELECT e.lo, e.hi, e.col   -- OFFSET: by the index, whatever the planner expects of snapshots
                                   FROM mvscheduler.dirt AS e
                                  WHERE e.source = v.relation AND e.view_id IS NULL AND e.xid >= pg_catalog.pg_snapshot_xmin(i.taken) AND NOT pg_catalog.pg_visible_in_snapshot(e.xid, i.taken)
                                 OFFSET 0) AS d
             WHERE v.view_id = i.view_id AND (v.col = 0 AND d.col >= 0 OR d.col = v.col)
            UNION ALL
            SELECT b.lo, b.hi, mvscheduler.shown_name(b.source) || ' was written to with a snapshot that may be older than what watches it'
              FROM mvscheduler.blind_writes AS b
             WHERE b.view_id = i.view_id AND b.data = i.data
            UNION ALL
            SELECT d.lo, d.hi, coalesce(d.why, 'the view was changed, or reads other tables')
              FROM mvscheduler.dirt AS d
             WHERE d.source IS NULL AND d.view_id = i.view_id AND d.xid >= pg_catalog.pg_snapshot_xmin(i.taken) AND NOT pg_catalog.pg_visible_in_snapshot(d.xid, i.taken)
               AND pg_catalog.pg_visible_in_snapshot(d.xid, pg_catalog.pg_current_snapshot())   -- some are made in the name of one who has not committed
            UNION ALL
            SELECT t.lo AT TIME ZONE 'UTC' - interval '1 day', t.hi AT TIME ZONE 'UTC' + interval '1 day' + mvscheduler.longest(s.bucket_width),
                   'its own contents were dropped, emptied, rewritten or attached by hand'
              FROM mvscheduler.view_state AS s
              LEFT JOIN mvscheduler.frozen AS f ON f.target = s.view_id
             CROSS JOIN LATERAL (SELECT coalesce(p.lo, '-infinity') AS lo, coalesce(p.hi, 'infinity') AS hi   -- of a DEFAULT partition
                                   FROM (SELECT p.relation, p.file, p.lo, p.hi, true AS was FROM pg_catalog.jsonb_to_recordset(i.parts) AS p(relation oid, file text, lo timestamp, hi timestamp)
                                         UNION ALL
                                         SELECT p.relation, p.file, p.lo, p.hi, false FROM mvscheduler.partitions_of(i.data::oid) AS p WHERE i.parts IS NOT NULL) AS p
                                  GROUP BY p.relation, p.file, p.lo, p.hi
                                 HAVING bool_and(p.was) = bool_or(p.was)) AS t
             WHERE s.view_id = i.view_id AND t.hi AT TIME ZONE 'UTC' > coalesce(f.labels, '-infinity')) AS c
     WHERE i.view_id IN (SELECT v.view_id FROM mvscheduler.visible_views AS v)
       AND i.data::oid = coalesce((SELECT n.relation FROM mvscheduler.redefinition AS r JOIN mvscheduler.piece AS n ON n.view_id = r.view_id AND n.kind = 'next' WHERE r.view_id = i.view_id AND r.method = 'incremental'),
                                  (SELECT d.relation FROM mvscheduler.piece AS d WHERE d.view_id = i.view_id AND d.kind = 'data'))::oid;   -- of the version that runs work on
COMMENT ON VIEW mvscheduler.visible_changes IS 'Entries of the change log that the last refresh of an incremental view had not seen, of the views that the caller may see.';
COMMENT ON COLUMN mvscheduler.visible_changes.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.visible_changes.lo IS 'First instant that changed, among the times of the source; -infinity = unknown.';
COMMENT ON COLUMN mvscheduler.visible_changes.hi IS 'Last instant that changed; infinity = unknown.';
COMMENT ON COLUMN mvscheduler.visible_changes.why IS 'Why, where it was not that rows were written.';

-- To compute a query runs the functions that its owner named, in the session of whoever asks: SET ROLE is no wall.
CREATE FUNCTION mvscheduler.demand_own_query(view_id bigint) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known mvscheduler.visible_views;
BEGIN
    SELECT v.* INTO known FROM mvscheduler.visible_views AS v WHERE v.view_id = demand_own_query.view_id;
    IF known.view_id IS NULL THEN
        RAISE EXCEPTION 'managed view % does not exist', view_id USING ERRCODE = 'undefined_table', HINT = 'List the views that you may see: SELECT name FROM mvscheduler.status.';
    ELSIF NOT mvscheduler.can_become(known.owner::oid, quote_ident(CURRENT_USER)::regrole::oid) THEN
        RAISE EXCEPTION 'only % can verify %', known.owner, known.name USING ERRCODE = 'insufficient_privilege',
            DETAIL = format('The query is computed in your session, and may call functions of %s with your rights.', known.owner),
            HINT = format('Let %1$s do it. Or SET ROLE %1$s first (PGOPTIONS=''-c role=%1$s''), if you trust that role with everything that your session may do.', known.owner);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_own_query(bigint) IS 'Raises unless the owner of a view could act as the caller anyway.';

CREATE FUNCTION mvscheduler.buckets_of(view_id bigint) RETURNS TABLE (bucket text, instant timestamptz, rows bigint, frozen boolean)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
    work   record;
    first  text;
    handle oid;
BEGIN
    PERFORM mvscheduler.demand_own_query(view_id);
    SELECT * INTO work FROM mvscheduler.compared(view_id);
    first := mvscheduler.latest_label('-infinity', work.frozen_labels, work.frozen_times, work.label_type, work.source_type, work.timezone);
    handle := mvscheduler.handle(work.data, NULL);
    RETURN QUERY EXECUTE format('SELECT x.%1$I::text, mvscheduler.bound_instant(x.%1$I::text, %3$s), count(*), x.%1$I < %4$L FROM %2$s AS x GROUP BY x.%1$I ORDER BY x.%1$I', work.time_column, mvscheduler.shown_name(handle), work.label_type, first);
    PERFORM mvscheduler.drop_handle(handle, work.data);
END $$;
COMMENT ON FUNCTION mvscheduler.buckets_of(bigint) IS 'The buckets that an incremental view holds, oldest first; instant takes a time without a zone as UTC. What a frozen one was made of has left.';

CREATE FUNCTION mvscheduler.compared(view_id bigint, OUT query oid, OUT data oid, OUT time_column text, OUT width interval, OUT timezone text, OUT label_type oid, OUT source_type oid,
                                     OUT bound boolean, OUT frozen_labels timestamptz, OUT frozen_times timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known mvscheduler.visible_increments;
BEGIN
    SELECT i.* INTO known FROM mvscheduler.visible_increments AS i WHERE i.view_id = compared.view_id;
    IF known.view_id IS NULL THEN
        RAISE EXCEPTION 'managed view % has no buckets', view_id USING ERRCODE = 'wrong_object_type', DETAIL = 'Its method is not "incremental".';
    END IF;
    IF known.building THEN
        RAISE EXCEPTION 'a new version of view % is being built', known.name USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'What is served meanwhile is the old one, which is not refreshed.', HINT = 'Verify it when the new one has taken its place; mvscheduler status says how far it is.';
    END IF;
    query := known.query_relation;
    data := known.data;
    time_column := known.time_column;
    width := known.bucket_width;
    timezone := known.timezone;
    frozen_labels := known.frozen_labels;
    frozen_times := known.frozen_times;
    PERFORM mvscheduler.demand_increment(known.owner, query, data);
    SELECT a.atttypid INTO label_type FROM pg_attribute AS a WHERE a.attrelid = data AND a.attname = time_column;
    SELECT a.atttypid INTO source_type
      FROM mvscheduler.visible_sources AS s JOIN pg_attribute AS a ON a.attrelid = s.relation::oid AND a.attnum = s.col
     WHERE s.view_id = compared.view_id AND s.col > 0;
    bound := source_type IS NOT NULL;
    source_type := coalesce(source_type, label_type);
END $$;
COMMENT ON FUNCTION mvscheduler.compared(bigint) IS 'What there is to compare of an incremental view.';

-- The order in which rows are added up decides on the last digits of a sum of floats, and is another in each plan.
CREATE FUNCTION mvscheduler.is_rounding(a double precision, b double precision, most double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN sign(a) = sign(b) AND greatest(abs(a), abs(b)) BETWEEN 1e-290 AND 1.79e308   -- beyond that arithmetic raises errors
            THEN a <> b AND abs(a - b) <= most * greatest(abs(a), abs(b)) ELSE false END;
COMMENT ON FUNCTION mvscheduler.is_rounding(double precision, double precision, double precision) IS 'Whether two numbers are not the same, and differ by no more than so much of the larger one.';

-- The window is that of step_build: labels of the range, whole.
CREATE FUNCTION mvscheduler.compare_buckets(view_id bigint, first text, last text) RETURNS TABLE (bucket text, instant timestamptz, at timestamptz, missing bigint, extra bigint, different bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
    work    record;
    slack   interval;
    begins  timestamptz;
    ends    timestamptz;
    columns text;
    rounded text;   -- that rows differ by rounding of their floats alone
    differ  text;
    query   oid;   -- handles
    data    oid;
BEGIN
    PERFORM mvscheduler.demand_own_query(view_id);
    SELECT * INTO work FROM mvscheduler.compared(view_id);
    first := mvscheduler.latest_label(first, work.frozen_labels, work.frozen_times, work.label_type, work.source_type, work.timezone);
    begins := mvscheduler.bound_instant(first, work.label_type);
    ends := mvscheduler.bound_instant(last, work.label_type);
    slack := greatest(interval '1 hour', mvscheduler.clock_moves('2000-01-01', '2040-01-01', work.timezone));
    PERFORM set_config('mvscheduler.window_start', CASE WHEN work.bound AND begins = mvscheduler.clamp(begins) THEN mvscheduler.clamp(mvscheduler.source_instant(begins AT TIME ZONE 'UTC', work.label_type, work.source_type, work.timezone) - slack)::text ELSE '' END, true),
            set_config('mvscheduler.window_end', CASE WHEN work.bound AND ends = mvscheduler.clamp(ends) THEN mvscheduler.clamp(mvscheduler.source_instant(ends AT TIME ZONE 'UTC', work.label_type, work.source_type, work.timezone) + mvscheduler.longest(work.width) + slack)::text ELSE '' END, true);
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
           string_agg(format('(ROW(n.%1$I)::record OPERATOR(pg_catalog.*=) ROW(o.%1$I)::record%2$s)', a.attname,
                             CASE a.atttypid WHEN 'float8'::regtype THEN format(' OR mvscheduler.is_rounding(n.%1$I, o.%1$I, 1e-9)', a.attname)
                                             WHEN 'float4'::regtype THEN format(' OR mvscheduler.is_rounding(n.%1$I, o.%1$I, 1e-4)', a.attname) END), ' AND ' ORDER BY a.attnum)
      INTO columns, rounded
      FROM pg_attribute AS a WHERE a.attrelid = work.data AND a.attnum > 0 AND NOT a.attisdropped;
    query := mvscheduler.handle(work.query, NULL);
    data := mvscheduler.rows_handle(work.data, NULL);
    differ := mvscheduler.difference(work.data, data, mvscheduler.key_of(work.data), NULL, 'fresh', work.time_column, first, last,
        format('CASE WHEN n."mvscheduler fresh" THEN n.%1$I ELSE o.%1$I END AS bucket, CASE WHEN o."mvscheduler place" IS NULL THEN ''missing'' WHEN n."mvscheduler fresh" IS NULL THEN ''extra'' WHEN %2$s THEN ''rounded'' ELSE ''different'' END AS what', work.time_column, rounded));
    RETURN QUERY EXECUTE format('WITH fresh AS MATERIALIZED (SELECT %s FROM %s AS q), differ AS MATERIALIZED (%s) ', columns, mvscheduler.shown_name(query), differ)
        || format('SELECT d.bucket::text, i.instant, mvscheduler.source_instant(i.instant AT TIME ZONE ''UTC'', %1$s, %2$s, %3$L), count(*) FILTER (WHERE d.what = ''missing''), count(*) FILTER (WHERE d.what = ''extra''), count(*) FILTER (WHERE d.what = ''different'')'
                  ' FROM differ AS d CROSS JOIN LATERAL mvscheduler.bound_instant(d.bucket::text, %1$s) AS i(instant) WHERE d.what <> ''rounded'' GROUP BY d.bucket, i.instant ORDER BY d.bucket', work.label_type, work.source_type, work.timezone);
    PERFORM mvscheduler.drop_handle(query, work.query), mvscheduler.drop_handle(data, work.data);
    PERFORM set_config('mvscheduler.window_start', '', true), set_config('mvscheduler.window_end', '', true);
END $$;
COMMENT ON FUNCTION mvscheduler.compare_buckets(bigint, text, text) IS 'Computes the buckets of an incremental view from first up to last, without frozen ones, and counts for each that is not what is stored the rows that are missing, that should not be there, and that say something else, by more than rounding of floats. at is a time of the source within it.';

-- Without a key, since the unique index of a materialized view lets NULLs in more than once.
CREATE FUNCTION mvscheduler.compare_contents(view_id bigint, OUT missing bigint, OUT extra bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known  record;
    stored oid;   -- handles
    query  oid;
BEGIN
    PERFORM mvscheduler.demand_own_query(view_id);
    SELECT c.oid AS stored, CASE WHEN mvscheduler.reads_query(c.oid, v.query_relation::oid) THEN v.query_relation::oid END AS query INTO known
      FROM mvscheduler.visible_views AS v JOIN pg_class AS c ON c.oid = v.relation::oid AND c.relkind = 'm' AND c.relowner = v.owner::oid WHERE v.view_id = compare_contents.view_id;
    IF known.stored IS NULL THEN
        RAISE EXCEPTION 'the materialized view does not exist any more' USING ERRCODE = 'undefined_table';
    END IF;
    stored := mvscheduler.rows_handle(known.stored, NULL);
    IF known.query IS NOT NULL THEN
        query := mvscheduler.handle(known.query, NULL);
    ELSE   -- a text says names
        query := (mvscheduler.create_unnamed(NULL, 'VIEW', 'AS ' || pg_get_viewdef(known.stored))).relation;
        IF mvscheduler.uses(query) IS DISTINCT FROM mvscheduler.uses(known.stored) THEN
            RAISE EXCEPTION 'something that it reads was renamed or replaced meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Try again.';
        END IF;
    END IF;
    EXECUTE 'SELECT count(*) FILTER (WHERE d.what = ''missing''), count(*) FILTER (WHERE d.what = ''extra'') FROM ('
        || mvscheduler.difference(known.stored, stored, NULL, NULL, mvscheduler.shown_name(query), NULL, NULL, NULL,
               'CASE WHEN o."mvscheduler place" IS NULL THEN ''missing'' ELSE ''extra'' END AS what') || ') AS d'
       INTO missing, extra;
    PERFORM mvscheduler.drop_handle(stored, known.stored), mvscheduler.drop_handle(query, coalesce(known.query, known.stored));
END $$;
COMMENT ON FUNCTION mvscheduler.compare_contents(bigint) IS 'Computes what a REFRESH of a materialized view would give, and counts the rows that are missing and those that should not be there; a row that says something else is both.';

CREATE FUNCTION mvscheduler.dirty_buckets(view_id bigint, starts timestamptz[], ends timestamptz[]) RETURNS TABLE (first timestamptz, beyond timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
    work record;
    cut  record;
BEGIN
    SELECT * INTO work FROM mvscheduler.compared(view_id);
    cut := mvscheduler.cut_of(work.query, work.time_column, work.width, work.source_type, work.timezone);
    RETURN QUERY
    SELECT mvscheduler.bound_instant(mvscheduler.label_text(w.label_start, work.label_type, work.source_type, work.timezone), work.label_type),
           mvscheduler.bound_instant(mvscheduler.label_text(w.label_end, work.label_type, work.source_type, work.timezone), work.label_type)
      FROM unnest(starts, ends) AS r(lo, hi)
     CROSS JOIN LATERAL mvscheduler.window_of(r.lo, r.hi, work.width, coalesce(cut.zone, work.timezone), cut.unit) AS w;
END $$;
COMMENT ON FUNCTION mvscheduler.dirty_buckets(bigint, timestamptz[], timestamptz[]) IS 'Which buckets a refresh computes for changes of these ranges: labels from first up to beyond, those without a zone as UTC.';

-- An entry of the change log for one view. Nobody may write to the log itself; through this view its own condition says
-- for which views, and the rest of an entry is not for the caller to say.
CREATE VIEW mvscheduler.marked_dirty WITH (security_barrier) AS
    SELECT d.view_id, d.lo, d.hi, d.why
      FROM mvscheduler.dirt AS d
     WHERE d.source IS NULL
       AND d.lo <= d.hi
       AND d.view_id IN (SELECT i.view_id FROM mvscheduler.visible_increments AS i)
  WITH CASCADED CHECK OPTION;
ALTER VIEW mvscheduler.marked_dirty ALTER COLUMN why SET DEFAULT 'marked as dirty by hand';
COMMENT ON VIEW mvscheduler.marked_dirty IS 'Changes that were noted for one incremental view alone; INSERT marks some of its buckets as dirty.';
COMMENT ON COLUMN mvscheduler.marked_dirty.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.marked_dirty.lo IS 'First instant, among the times of what the view reads.';
COMMENT ON COLUMN mvscheduler.marked_dirty.hi IS 'Last instant.';
COMMENT ON COLUMN mvscheduler.marked_dirty.why IS 'Why.';

CREATE FUNCTION mvscheduler.mark_dirty(name text, lo timestamptz DEFAULT '-infinity', hi timestamptz DEFAULT 'infinity') RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO mvscheduler.marked_dirty (view_id, lo, hi) VALUES (mvscheduler.view_id(mark_dirty.name), mark_dirty.lo, mark_dirty.hi);
END;
COMMENT ON FUNCTION mvscheduler.mark_dirty(text, timestamptz, timestamptz) IS 'Has the next refresh of an incremental view compute the buckets of rows from lo to hi anew, the whole view by default.';

GRANT SELECT ON mvscheduler.visible_increments, mvscheduler.visible_changes TO PUBLIC;
GRANT INSERT (view_id, lo, hi) ON mvscheduler.marked_dirty TO mvscheduler_user;
