-- Retention of plain materialized views: the query is wrapped in a filter on its time column, so that old rows
-- leave at the next refresh and the period can be changed without touching the definition. The cutoff stands
-- in a sub-select, which is evaluated once; the bare call would be evaluated for every row.

-- In steps, so that a refresh which would only move the border by a moment can be skipped.
CREATE FUNCTION mvscheduler.cutoff_at(retention interval, instant timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT pg_catalog.to_timestamp(floor(extract(epoch FROM instant - retention) / s.step) * s.step)
      FROM (SELECT extract(epoch FROM least(interval '1 day', greatest(interval '1 minute', retention / 100))) AS step) AS s;
END;
COMMENT ON FUNCTION mvscheduler.cutoff_at(interval, timestamptz) IS 'Where a retention period has its border at an instant: rows before it leave.';

CREATE FUNCTION mvscheduler.cutoff(view_id bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    border timestamptz := (SELECT mvscheduler.cutoff_at(s.retention_period, now()) FROM mvscheduler.view_state AS s WHERE s.view_id = cutoff.view_id);
BEGIN
    IF border IS NULL THEN   -- never an empty view by mistake
        RAISE EXCEPTION 'managed view % has no retention period', view_id USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Its catalog row is gone, or was restored without its triggers: INSERT it anew, or replace the plain view that holds the query.';
    END IF;
    RETURN border;
END $$;
COMMENT ON FUNCTION mvscheduler.cutoff(bigint) IS 'Border of the retention of a view now; used by the plain view that holds its query.';

CREATE FUNCTION mvscheduler.check_time_column(v mvscheduler.views, relation oid) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    col record;
BEGIN
    SELECT a.atttypid, format_type(a.atttypid, a.atttypmod) AS type INTO col
      FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attname = v.time_column AND a.attnum > 0 AND NOT a.attisdropped;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'time_column "%" is no column of managed view %', v.time_column, v.name USING ERRCODE = 'undefined_column',
            HINT = (SELECT format('Its columns: %s.', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum))
                      FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped);
    ELSIF col.atttypid NOT IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) THEN
        RAISE EXCEPTION 'time_column "%" of managed view % has type %', v.time_column, v.name, col.type USING ERRCODE = 'datatype_mismatch',
            HINT = 'It has to be timestamptz, timestamp or date: cast it in the query.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.check_time_column(mvscheduler.views, oid) IS 'Raises unless time_column is a column of the query that holds a time.';

-- The filter hides the query's own grouping: the key is derived from the query in plain form.
CREATE FUNCTION mvscheduler.derived_key_of(v mvscheduler.views, query_relation oid) RETURNS text[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place record;
    probe text;
    key   text[];
BEGIN
    IF v.retention_period IS NULL OR v.method = 'incremental' OR query_relation IS NULL THEN
        RETURN mvscheduler.derived_key(query_relation);
    END IF;
    SELECT n.nspname, c.relname INTO place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = query_relation;
    probe := mvscheduler.free_name(place.nspname, place.relname, '__probe');
    PERFORM mvscheduler.probe_query(v, place.nspname, probe);
    key := mvscheduler.derived_key(format('%I.%I', place.nspname, probe)::regclass);
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', place.nspname, probe);
    RETURN key;
END $$;
COMMENT ON FUNCTION mvscheduler.derived_key_of(mvscheduler.views, oid) IS 'derived_key of the query of a row, whether it is wrapped by a retention filter or not.';

-- Planning a SELECT runs code of whoever owns the relation (from the predicate of an index, say) with the
-- rights of whoever asks. So only the owner counts; for others, administrators too, the numbers are NULL.
CREATE FUNCTION mvscheduler.prunable(view_id bigint, keep interval, dry_run boolean, OUT relation text, OUT border timestamptz, OUT rows bigint, OUT bytes bigint, OUT reason text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known mvscheduler.visible_views;
    stored oid;
    handle oid;
    zone  text := current_setting('TimeZone');
    kept  text := 'retention_period';
BEGIN
    SELECT v.* INTO known FROM mvscheduler.visible_views AS v WHERE v.view_id = prunable.view_id;
    relation := known.name;
    rows := 0;
    bytes := 0;
    IF keep IS NOT NULL THEN
        IF NOT dry_run THEN
            RAISE EXCEPTION 'retention_period is for a dry run' USING ERRCODE = 'invalid_parameter_value', HINT = format('UPDATE mvscheduler.views SET retention_period = %L WHERE name = %L', keep, known.name);
        ELSIF NOT mvscheduler.is_period(keep) OR keep = interval '0' THEN
            RAISE EXCEPTION 'invalid retention_period: %', keep USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a positive interval of at most 5000 years.';
        ELSIF known.time_column IS NULL THEN
            RAISE EXCEPTION 'managed view % has no time_column', known.name USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Set time_column, the column that holds the time of a row: as long as retention_period is NULL nothing leaves.';
        END IF;
        known.retention_period := keep;
        kept := 'if retention_period were';
    END IF;
    IF known.retention_period IS NULL THEN
        reason := 'it has no retention_period: all rows are kept';
        RETURN;
    END IF;
    border := mvscheduler.cutoff_at(known.retention_period, now());
    IF known.method = 'incremental' THEN   -- which partitions leave the sidecar plans; no query is planned here
        border := now() - known.retention_period;
        SELECT coalesce(sum(c.reltuples) FILTER (WHERE c.reltuples > 0), 0), coalesce(sum(pg_total_relation_size(c.oid)), 0) INTO rows, bytes
          FROM mvscheduler.visible_pieces AS p
         CROSS JOIN LATERAL mvscheduler.partitions_of(p.relation::oid) AS d
          JOIN pg_class AS c ON c.oid = d.relation
         WHERE p.view_id = prunable.view_id AND p.kind = 'data' AND d.hi <= border AT TIME ZONE 'UTC';
        reason := format('partitions that end before %s leave after the next refresh (%s %s), unless a view needs them: mvscheduler prune %s --dry-run names each', border, kept, known.retention_period, known.name);
        RETURN;
    END IF;
    stored := (SELECT c.oid FROM pg_class AS c WHERE c.oid = known.relation::oid AND c.relkind = 'm' AND c.relispopulated);
    IF stored IS NULL THEN
        reason := 'it has no contents yet';
        RETURN;
    END IF;
    reason := format('rows with %I before %s, or NULL, leave at the next refresh (%s %s)', known.time_column, border, kept, known.retention_period);
    IF known.owner <> quote_ident(CURRENT_USER)::regrole THEN
        rows := NULL;
        bytes := NULL;
        reason := format('%s; only %s, who owns them, can count them', reason, known.owner);
        RETURN;
    END IF;
    PERFORM set_config('TimeZone', known.timezone, true);   -- that of the refresh: a time without zone is compared in it
    handle := mvscheduler.handle(stored, NULL);
    EXECUTE format('SELECT count(*), coalesce(sum(pg_column_size(t)), 0) FROM %s AS t WHERE (t.%I >= $1) IS NOT TRUE', mvscheduler.shown_name(handle), known.time_column)
       INTO rows, bytes USING border;
    PERFORM mvscheduler.drop_handle(handle, stored);
    PERFORM pg_catalog.set_config('TimeZone', zone, true);
END $$;
COMMENT ON FUNCTION mvscheduler.prunable(bigint, interval, boolean) IS 'What a view would lose now for its retention_period, or if it were another one (NULL = its own); counted for its owner only.';

CREATE FUNCTION mvscheduler.prune_view(name text, dry_run boolean DEFAULT true, retention_period interval DEFAULT NULL)
RETURNS TABLE (relation text, border timestamptz, rows bigint, bytes bigint, reason text, run bigint)
LANGUAGE sql
BEGIN ATOMIC
    SELECT p.relation, p.border, p.rows, p.bytes, p.reason, CASE WHEN NOT dry_run AND coalesce(p.rows, 1) > 0 THEN mvscheduler.refresh_view(p.relation) END
      FROM mvscheduler.prunable(mvscheduler.view_id(prune_view.name), prune_view.retention_period, dry_run) AS p;
END;
COMMENT ON FUNCTION mvscheduler.prune_view(text, boolean, interval) IS 'Rows and bytes that would leave a view for its retention_period, or if it were another one, counted for its owner only (NULL for others); with dry_run false also asks for the refresh that lets them go, and returns its run.';
