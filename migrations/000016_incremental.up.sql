-- What an incremental view is made of, and what becomes of it when its row is changed.
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
    IF v.adopted AND op = 'UPDATE' AND NOT was.adopted THEN   -- release_view adopts what it lets go
        RAISE EXCEPTION 'incremental view % cannot be released', v.name USING ERRCODE = 'feature_not_supported',
            DETAIL = 'Nothing but mvscheduler can refresh it.',
            HINT = format('UPDATE mvscheduler.views SET method = ''auto'' WHERE name = %L makes it a materialized view, which can be released when it has taken its place.', v.name);
    ELSIF v.adopted THEN
        RAISE EXCEPTION 'managed view % was adopted, and method "incremental" is for views that mvscheduler made', v.name USING ERRCODE = 'feature_not_supported',
            HINT = format('Keep its query, then: SELECT mvscheduler.release_view(%L); DROP MATERIALIZED VIEW %s; and INSERT a row with method "incremental" and that query, in which in_window is asked.', v.name, v.name);
    ELSIF v.time_column IS NULL OR v.bucket_width IS NULL THEN
        RAISE EXCEPTION 'method "incremental" needs %', CASE WHEN v.time_column IS NULL THEN 'time_column' ELSE 'bucket_width' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'time_column names the output column that holds the start of the bucket, bucket_width says how wide it is, for example 1 hour.';
    ELSIF NOT isfinite(v.bucket_width) OR v.bucket_width < interval '1 second' OR v.bucket_width > interval '100 years' OR v.bucket_width::text ~ '-' THEN
        RAISE EXCEPTION 'invalid bucket_width: %', v.bucket_width USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval from 1 second to 100 years.';
    ELSIF v.lateness IS NULL OR NOT isfinite(v.lateness) OR v.lateness < interval '0' OR v.lateness > interval '100 years' THEN
        RAISE EXCEPTION 'invalid lateness: %', coalesce(v.lateness::text, 'NULL') USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval of at most 100 years that is not negative.';
    ELSIF v.change_tracking = 'none' AND v.lateness = interval '0'
      AND (op = 'INSERT' OR (was.method, was.change_tracking, was.lateness) IS DISTINCT FROM (v.method, v.change_tracking, v.lateness)) THEN
        RAISE NOTICE 'managed view % looks for no late rows', v.name USING DETAIL = 'With change_tracking "none" and lateness 0 only what is newer than the last refresh is computed.',
            HINT = 'Set lateness to how long after its time a row may be committed, or change_tracking to auto.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.check_incremental(text, mvscheduler.views, mvscheduler.views) IS 'Raises where the columns of a row do not make an incremental view, or change what such a view is.';

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
    ours name;
BEGIN
    PERFORM mvscheduler.create_query_view(v, place, query_name);
    query := format('%I.%I', place, query_name)::regclass;
    EXECUTE format('COMMENT ON VIEW %I.%I IS %L', place, query_name, 'mvscheduler: query of ' || v.name);
    PERFORM mvscheduler.check_time_column(v, query);
    PERFORM mvscheduler.check_cut(v, query);
    SELECT a.attname INTO ours FROM pg_attribute AS a WHERE a.attrelid = query AND a.attnum > 0 AND a.attname ~ '^mvscheduler ' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a column of managed view % is named %', v.name, quote_ident(ours) USING ERRCODE = 'reserved_name',
            HINT = 'Names that begin with "mvscheduler " are those by which its rows are compared: choose another one in the query.';
    END IF;
    -- What its owner may not read is no source, and a WARNING says so.
    IF NOT EXISTS (SELECT FROM mvscheduler.sources_of(query, v.time_column) AS s WHERE s.col > 0)
       AND NOT mvscheduler.asks_in_window(query) THEN
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
    cuts    text[];
    new     oid;
BEGIN
    PERFORM set_config('mvscheduler.cuts', '', true);
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
    IF before IS DISTINCT FROM after OR v.time_column <> mvscheduler.partition_column(data)
       OR after IS DISTINCT FROM (SELECT mvscheduler.columns_of(n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = data)   -- altered by hand
       OR mvscheduler.other_key(v, data, key)
       OR (v.bucket_width <> was.bucket_width OR pending IS NOT NULL) AND mvscheduler.partition_unit(v.bucket_width, v.retention_period)
                                                                                      <> coalesce((SELECT i.served_unit FROM mvscheduler.visible_increments AS i WHERE i.view_id = v.id), mvscheduler.unit_in_force(data)) THEN
        RETURN mvscheduler.redefine_incremental(v, relation, query_relation, data);
    END IF;
    cuts := mvscheduler.cuts_in(query_relation, v.time_column);
    PERFORM mvscheduler.create_query_view(v, helper.nspname, helper.relname);
    PERFORM mvscheduler.demand_same(to_regclass(format('%I.%I', helper.nspname, helper.relname)) = query_relation, v.name);
    PERFORM mvscheduler.sources_of(query_relation, v.time_column), mvscheduler.check_cut(v, query_relation);   -- or raise
    PERFORM set_config('mvscheduler.cuts', 'other', true) WHERE cuts IS DISTINCT FROM mvscheduler.cuts_in(query_relation, v.time_column);
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
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT (SELECT array_agg(a.attname::text ORDER BY k.n)
                      FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
                      JOIN pg_attribute AS a ON a.attrelid = data AND a.attnum = k.attnum)
              FROM pg_index AS i
              JOIN pg_description AS d ON d.objoid = i.indexrelid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0   -- obj_description is planned in each statement
             WHERE i.indrelid = data AND i.indisunique AND d.description = 'mvscheduler: unique_key'
             LIMIT 1);
END $$;
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
