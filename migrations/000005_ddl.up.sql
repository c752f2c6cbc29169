-- The relations of a view, made, changed and dropped in the session of the user who writes the row.

-- The grants that the sidecar needs: on 17 and later MAINTAIN on the one relation, given by its owner;
-- on 15 and 16 membership in the owner, which only a DBA can give, once per owner.
CREATE FUNCTION mvscheduler.grant_to_worker(v mvscheduler.views, relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    schema    name := (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation);
    version   int := current_setting('server_version_num')::int;
    superuser boolean := (SELECT r.rolsuper FROM pg_roles AS r WHERE r.oid = v.owner::oid);
    cause     text;
BEGIN
    IF superuser THEN
        RAISE WARNING 'managed view % belongs to the superuser %', v.name, v.owner
            USING DETAIL = CASE WHEN version >= 170000 OR pg_has_role('mvscheduler_worker', v.owner::oid, 'USAGE')
                                THEN 'Its query runs with unlimited rights at every refresh.'
                                ELSE 'Before PostgreSQL 17 the sidecar, which is no superuser, cannot refresh it.' END,
                  HINT = 'Set the column owner to an application role.';
    ELSIF pg_has_role(v.owner::oid, 'mvscheduler_worker', 'USAGE') THEN
        RAISE EXCEPTION 'role % cannot own a managed view: it is a role of the sidecar', v.owner
            USING ERRCODE = 'insufficient_privilege', HINT = 'Set the column owner to an application role.';
    END IF;
    IF version >= 170000 THEN
        EXECUTE format('GRANT MAINTAIN ON TABLE %s TO mvscheduler_worker', relation::regclass);
    ELSIF NOT pg_has_role('mvscheduler_worker', v.owner::oid, 'USAGE') AND NOT superuser THEN
        RAISE EXCEPTION 'the sidecar cannot refresh for role %', v.owner
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = 'Before PostgreSQL 17 the right to REFRESH comes with membership in the owner.',
                  HINT = format(CASE WHEN version >= 160000
                                     THEN 'A DBA runs once: GRANT %s TO mvscheduler_worker WITH INHERIT TRUE, SET FALSE'
                                     ELSE 'A DBA runs once: GRANT %s TO mvscheduler_worker' END, v.owner);
    END IF;
    IF NOT has_schema_privilege('mvscheduler_worker', schema, 'USAGE') THEN
        BEGIN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO mvscheduler_worker', schema);
        EXCEPTION
            WHEN insufficient_privilege THEN NULL;
            WHEN lock_not_available OR internal_error THEN   -- "tuple concurrently updated": who gave it first has committed
                cause := SQLERRM;
        END;
        IF cause IS NOT NULL THEN
            IF NOT EXISTS (SELECT FROM pg_namespace AS n CROSS JOIN LATERAL aclexplode(n.nspacl) AS a   -- has_schema_privilege may still see what was cached
                            WHERE n.nspname = schema AND a.grantee = 'mvscheduler_worker'::regrole AND a.privilege_type = 'USAGE') THEN
                RAISE EXCEPTION 'the sidecar has no access to schema % yet', quote_ident(schema)
                    USING ERRCODE = 'object_in_use',
                          DETAIL = format('Another transaction is changing the privileges of the schema, by registering a view for example: %s.', cause),
                          HINT = format('Try again when it has ended. Or, once and for all, the owner of the schema runs: GRANT USAGE ON SCHEMA %I TO mvscheduler_worker', schema);
            END IF;
        ELSIF NOT has_schema_privilege('mvscheduler_worker', schema, 'USAGE') THEN
            RAISE EXCEPTION 'the sidecar has no access to schema %', quote_ident(schema)
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('The owner of the schema runs: GRANT USAGE ON SCHEMA %I TO mvscheduler_worker', schema);
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.grant_to_worker(mvscheduler.views, oid) IS 'Gives the sidecar the least right that lets it REFRESH the view, or raises with the GRANT that is missing.';

-- Unless it is named, pg_temp comes first: a type of the session would be taken for one that the row shows.
CREATE FUNCTION mvscheduler.parsing_path(v mvscheduler.views) RETURNS text
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT CASE WHEN v.search_path ~ '\mpg_temp\M' THEN v.search_path
                ELSE pg_catalog.concat_ws(', ', nullif(pg_catalog.btrim(v.search_path), ''), 'pg_temp')
           END;
END;
COMMENT ON FUNCTION mvscheduler.parsing_path(mvscheduler.views) IS 'search_path in which the text of a row is parsed.';

-- The query in plain form, exactly as a user would run it, so that what is wrong with it is said by
-- PostgreSQL in its own words. It ends with a newline, which a comment in the query cannot eat.
CREATE FUNCTION mvscheduler.probe_query(v mvscheduler.views, probe_schema text, probe_name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on   -- a text means what whoever reads the row takes it for
SET quote_all_identifiers = off
SET transform_null_equals = off
SET array_nulls = on
AS $$
DECLARE
    statement text := format(E'CREATE MATERIALIZED VIEW %I.%I AS\n', probe_schema, probe_name) || mvscheduler.query_body(v.query) || E'\n';
    empty     text := statement || 'WITH NO DATA';   -- it is parsed and never planned, which runs functions
    said      text;
    alone     text;
BEGIN
    PERFORM set_config('search_path', mvscheduler.parsing_path(v), true);
    EXECUTE empty;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
EXCEPTION WHEN syntax_error THEN
    said := SQLERRM;
    IF said NOT SIMILAR TO '%"(WITH|NO|DATA)"' THEN
        RAISE;
    END IF;
    BEGIN   -- Perhaps at our own words. PL/pgSQL reads the statement without them, and runs nothing of it.
        EXECUTE format('DO %L', 'BEGIN IF false THEN ' || statement || '; END IF; END');
    EXCEPTION WHEN syntax_error THEN alone := SQLERRM;
    END;
    IF alone = said THEN
        RAISE;
    ELSIF alone LIKE '%at end of input' THEN
        RAISE EXCEPTION 'syntax error at end of input' USING ERRCODE = 'syntax_error';
    END IF;
    RAISE EXCEPTION 'the query of a managed view must be one SELECT' USING ERRCODE = 'syntax_error',
        DETAIL = 'It would end before its last word.', HINT = 'Remove the semicolon and what follows it, and WITH DATA or WITH NO DATA.';
WHEN undefined_function THEN
    IF strpos(SQLERRM, 'in_window(') = 0 THEN
        RAISE;
    END IF;
    RAISE EXCEPTION '%', SQLERRM USING ERRCODE = SQLSTATE,
        HINT = 'Write it with its schema, and with the bare column of the table that holds the time, as timestamptz, timestamp or date: mvscheduler.in_window(column).';
WHEN undefined_column THEN
    PERFORM FROM regexp_matches(v.query, 'in_window\s*\(\s*((?:[^()"]|"(?:[^"]|"")*")+?)\s*\)', 'gi') AS call(argument)
     WHERE strpos(lower(SQLERRM), lower(format('"%s"', call.argument[1]))) > 0   -- "hour", or t.hour
        OR strpos(lower(SQLERRM), lower(format(' %s ', replace(call.argument[1], '"', '')))) > 0 OR strpos(lower(SQLERRM), format(' %s ', lower(call.argument[1]))) > 0;
    IF NOT FOUND THEN
        RAISE;
    END IF;
    RAISE EXCEPTION '%', SQLERRM USING ERRCODE = SQLSTATE,
        HINT = 'in_window asks about the column of the table from which the time of a bucket comes, not about an output column of the query: mvscheduler.in_window(column).';
END $$;
COMMENT ON FUNCTION mvscheduler.probe_query(mvscheduler.views, text, text) IS 'Creates the query as a plain materialized view, so that its errors are PostgreSQL''s own.';

CREATE FUNCTION mvscheduler.view_options(relation oid) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT 'WITH (' || string_agg(format('%I = %L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ') || ')'
          FROM pg_class AS c, unnest(c.reloptions) AS o
         WHERE c.oid = relation AND c.relkind = 'v');
END $$;
COMMENT ON FUNCTION mvscheduler.view_options(oid) IS 'The WITH clause of a plain view; NULL when it has none.';

CREATE FUNCTION mvscheduler.asks_in_window(query_relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT EXISTS (SELECT
                         FROM pg_rewrite AS w
                         JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_proc'::regclass
                         JOIN pg_proc AS p ON p.oid = d.refobjid
                        WHERE w.ev_class = query_relation AND p.pronamespace = 'mvscheduler'::regnamespace AND p.proname = 'in_window'));
END $$;
COMMENT ON FUNCTION mvscheduler.asks_in_window(oid) IS 'Whether the query of a view asks in_window, whoever may read what about.';

-- EXECUTE takes several statements. One that passes the probe has its semicolons outside of brackets, and
-- inside of brackets it has none: no text of several statements is correct both ways. What the first
-- way ran of it is undone with the error.
CREATE FUNCTION mvscheduler.create_query_view(v mvscheduler.views, view_schema text, view_name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on   -- a text means what whoever reads the row takes it for
SET quote_all_identifiers = off
SET transform_null_equals = off
SET array_nulls = on
AS $$
DECLARE
    options   text := mvscheduler.view_options(to_regclass(format('%I.%I', view_schema, view_name)));   -- replacing a view resets them
    statement text := format(E'CREATE OR REPLACE VIEW %I.%I %s AS (\n', view_schema, view_name, options) || mvscheduler.query_body(v.query) || E'\n)';
BEGIN
    PERFORM set_config('search_path', mvscheduler.parsing_path(v), true);
    EXECUTE statement;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    IF v.retention_period IS NOT NULL AND v.method <> 'incremental' THEN   -- of these whole partitions leave
        PERFORM mvscheduler.check_time_column(v, format('%I.%I', view_schema, view_name)::regclass);
        statement := format(E'CREATE OR REPLACE VIEW %I.%I %s AS SELECT q.* FROM (\n', view_schema, view_name, options) || mvscheduler.query_body(v.query)
                     || format(E'\n) AS q WHERE q.%I OPERATOR(pg_catalog.>=) (SELECT mvscheduler.cutoff(%s))', v.time_column, v.id);
        PERFORM set_config('search_path', mvscheduler.parsing_path(v), true);
        EXECUTE statement;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END IF;
    PERFORM mvscheduler.demand_nothing_temporary(v, format('%I.%I', view_schema, view_name)::regclass);
    PERFORM mvscheduler.warn_of_missing_rights(v, format('%I.%I', view_schema, view_name)::regclass);
    IF v.method <> 'incremental' AND mvscheduler.asks_in_window(format('%I.%I', view_schema, view_name)::regclass) THEN
        RAISE NOTICE 'the query of managed view % asks in_window, but the view is computed as a whole', v.name
            USING DETAIL = format('in_window is always true with method "%s".', v.method),
                  HINT = 'Set method to incremental, time_column and bucket_width to compute only the buckets that changed.';
    END IF;
EXCEPTION WHEN syntax_error THEN
    RAISE EXCEPTION 'the query of a managed view must be one SELECT' USING ERRCODE = 'syntax_error',
        DETAIL = 'It contains more than one statement.', HINT = 'Remove the semicolon and what follows it.';
END $$;
COMMENT ON FUNCTION mvscheduler.create_query_view(mvscheduler.views, text, text) IS 'Makes or replaces the plain view that holds a query which has passed the probe.';

CREATE FUNCTION mvscheduler.demand_nothing_temporary(v mvscheduler.views, relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    strange text := (SELECT t.used FROM mvscheduler.temporary_below(relation) AS t LIMIT 1);
BEGIN
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'the query of managed view % uses the temporary %', v.name, strange
            USING ERRCODE = 'invalid_object_definition', DETAIL = 'The view would go with the session that made it.', HINT = 'Create it in a schema.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_nothing_temporary(mvscheduler.views, oid) IS 'Raises where a view uses a temporary type or function.';

CREATE FUNCTION mvscheduler.missing_rights(owner oid, query_relation oid) RETURNS TABLE (name text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT mvscheduler.qualified_name(n.nspname, c.relname)
      FROM pg_rewrite AS w
      JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'
      JOIN pg_class AS c ON c.oid = d.refobjid AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid <> query_relation
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE w.ev_class = query_relation AND NOT has_any_column_privilege(owner, c.oid, 'SELECT');
END $$;
COMMENT ON FUNCTION mvscheduler.missing_rights(oid, oid) IS 'Relations that a query reads and a role may not.';

-- PostgreSQL looks at these rights when the query runs: at the first refresh, in somebody else's log.
CREATE FUNCTION mvscheduler.warn_of_missing_rights(v mvscheduler.views, query_relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missing record;
BEGIN
    FOR missing IN SELECT m.name FROM mvscheduler.missing_rights(v.owner::oid, query_relation) AS m ORDER BY m.name
    LOOP
        RAISE WARNING 'role % may not read %, so managed view % cannot be refreshed', v.owner, missing.name, v.name
            USING HINT = format('Its owner runs: GRANT SELECT ON %s TO %s;', missing.name, v.owner);
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.warn_of_missing_rights(mvscheduler.views, oid) IS 'A WARNING for each relation that a query reads and the owner of the view may not.';

-- ALTER DEFAULT PRIVILEGES would let readers past the grants of the view itself.
CREATE FUNCTION mvscheduler.keep_to_owner(relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    given oid;
BEGIN
    FOR given IN
        SELECT x.grantee FROM pg_class AS c, aclexplode(c.relacl) AS x WHERE c.oid = relation AND x.grantee <> c.relowner
         UNION
        SELECT x.grantee FROM pg_class AS c, pg_attribute AS a, aclexplode(a.attacl) AS x WHERE c.oid = relation AND a.attrelid = relation AND x.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM %s CASCADE', mvscheduler.shown_name(relation), CASE given WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given)) END);
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.keep_to_owner(oid) IS 'Takes from everybody but the owner what they may do with a relation and its columns; ALTER DEFAULT PRIVILEGES gives it.';

CREATE FUNCTION mvscheduler.columns_of(schema_name text, relation_name text) RETURNS text[]
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT pg_catalog.array_agg(pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
               || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || pg_catalog.quote_ident(l.collname) ELSE '' END
               ORDER BY a.attnum)
      FROM pg_catalog.pg_attribute AS a
      JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
      LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
     WHERE n.nspname = schema_name AND c.relname = relation_name AND a.attnum > 0 AND NOT a.attisdropped;
END;
COMMENT ON FUNCTION mvscheduler.columns_of(text, text) IS 'Columns of a relation with type and collation, in order.';

-- Indexes that mvscheduler made carry a comment that says which column of views they stand for.
CREATE FUNCTION mvscheduler.drop_indexes(relation oid, mark text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    idx record;
BEGIN
    FOR idx IN
        SELECT n.nspname, c.relname
          FROM pg_index AS i
          JOIN pg_class AS c ON c.oid = i.indexrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE i.indrelid = relation AND obj_description(c.oid, 'pg_class') = mark
         ORDER BY c.relname
    LOOP
        EXECUTE format('DROP INDEX %I.%I', idx.nspname, idx.relname);
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.drop_indexes(oid, text) IS 'Drops the indexes of a relation that carry this mark as their comment.';

CREATE FUNCTION mvscheduler.create_index(v mvscheduler.views, relation oid, definition text, is_unique boolean, mark text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on   -- a text means what whoever reads the row takes it for
SET quote_all_identifiers = off
SET transform_null_equals = off
SET array_nulls = on
AS $$
DECLARE
    statement text := format(E'CREATE %s INDEX ON %s %s\n', CASE WHEN is_unique THEN 'UNIQUE' END, relation::regclass, definition);
    before    oid[];
    made      oid[];
BEGIN
    BEGIN   -- between FOR and LOOP no semicolon passes the parser
        EXECUTE format('DO %L', 'DECLARE r record; BEGIN IF false THEN FOR r IN ' || statement || ' LOOP END LOOP; END IF; END');
    EXCEPTION WHEN syntax_error THEN
        IF definition LIKE '%;%' THEN
            RAISE EXCEPTION 'invalid value for indexes: %', quote_literal(left(definition, 200)) USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Each element is one column list, without a semicolon.';
        END IF;
    END;
    SELECT array_agg(i.indexrelid) INTO before FROM pg_index AS i WHERE i.indrelid = relation;
    PERFORM set_config('search_path', mvscheduler.parsing_path(v), true);
    EXECUTE statement;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT array_agg(i.indexrelid) INTO made
      FROM pg_index AS i
     WHERE i.indrelid = relation AND i.indexrelid <> ALL (coalesce(before, '{}'));
    IF cardinality(made) IS DISTINCT FROM 1 THEN
        RAISE EXCEPTION 'invalid value for indexes: %', quote_literal(left(definition, 200)) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Each element makes one index.';
    END IF;
    EXECUTE format('COMMENT ON INDEX %s IS %L', made[1]::regclass, mark);
END $$;
COMMENT ON FUNCTION mvscheduler.create_index(mvscheduler.views, oid, text, boolean, text) IS 'Creates one index on a view and marks it.';

-- The unique index: as given, or as derived, or none with a word about what is lost. One that is there
-- already and has the same columns is kept.
CREATE FUNCTION mvscheduler.create_unique_index(v mvscheduler.views, relation oid, query_relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mark    text := CASE WHEN v.unique_key IS NULL THEN 'mvscheduler: derived key' ELSE 'mvscheduler: unique_key' END;
    wanted  text[] := nullif(coalesce(v.unique_key, mvscheduler.derived_key_of(v, query_relation)), '{}');
    columns text := (SELECT string_agg(quote_ident(k), ', ' ORDER BY o) FROM unnest(wanted) WITH ORDINALITY AS u(k, o));
    by_hand boolean;
BEGIN
    IF EXISTS (SELECT
                 FROM pg_index AS i
                WHERE i.indrelid = relation AND i.indisvalid AND obj_description(i.indexrelid, 'pg_class') = mark
                  AND wanted = (SELECT array_agg(a.attname::text ORDER BY k.o)
                                  FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, o)
                                  JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = k.attnum)) THEN
        RETURN;
    END IF;
    PERFORM mvscheduler.drop_indexes(relation, 'mvscheduler: unique_key');
    PERFORM mvscheduler.drop_indexes(relation, 'mvscheduler: derived key');
    by_hand := EXISTS (SELECT FROM pg_index AS i
                        WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL);
    IF v.unique_key IS NULL AND by_hand THEN
        RETURN;
    ELSIF v.unique_key IS NOT NULL AND wanted IS NOT NULL THEN
        PERFORM mvscheduler.create_index(v, relation, '(' || columns || ')', true, mark);
        RETURN;
    ELSIF wanted IS NOT NULL THEN
        BEGIN
            PERFORM mvscheduler.create_index(v, relation, '(' || columns || ')', true, mark);
            RETURN;
        EXCEPTION WHEN undefined_object OR unique_violation OR program_limit_exceeded THEN
            RAISE NOTICE 'the key (%) of managed view % cannot have a unique index: %', columns, v.name, SQLERRM;
        END;
    END IF;
    IF by_hand THEN
        RETURN;
    END IF;
    IF v.method = 'concurrent' THEN
        RAISE EXCEPTION 'managed view % has no key for method "concurrent"', v.name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'REFRESH MATERIALIZED VIEW CONCURRENTLY needs a unique index, and the query proves no key.',
                  HINT = 'Name the columns that identify a row in unique_key, or use method "auto".';
    END IF;
    RAISE NOTICE 'managed view % has no unique index', v.name
        USING DETAIL = 'Each refresh locks out its readers while it runs (ACCESS EXCLUSIVE).',
              HINT = 'Name the columns that identify a row in unique_key; then it can be refreshed CONCURRENTLY, and readers go on meanwhile.';
END $$;
COMMENT ON FUNCTION mvscheduler.create_unique_index(mvscheduler.views, oid, oid) IS 'The unique index of a view, given or derived; a NOTICE where there is none.';

CREATE FUNCTION mvscheduler.create_indexes(v mvscheduler.views, relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    definition text;
BEGIN
    PERFORM mvscheduler.drop_indexes(relation, 'mvscheduler: indexes');
    FOREACH definition IN ARRAY coalesce(v.indexes, '{}') LOOP
        PERFORM mvscheduler.create_index(v, relation, definition, false, 'mvscheduler: indexes');
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.create_indexes(mvscheduler.views, oid) IS 'The indexes named in the column indexes, in place of those that were.';

CREATE FUNCTION mvscheduler.change_query(v mvscheduler.views, relation oid, query_relation oid) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    helper record;
    probe  text;
    before text[];
    after  text[];
    pieces text;
BEGIN
    SELECT n.nspname, c.relname INTO helper FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = query_relation AND c.relkind = 'v';
    IF query_relation IS NULL AND v.adopted THEN
        RETURN mvscheduler.pair_adopted(v, relation);
    ELSIF NOT FOUND THEN
        RAISE EXCEPTION 'the plain view that holds the query of % does not exist any more', v.name
            USING ERRCODE = 'undefined_table', HINT = 'DELETE the row and INSERT it anew.';
    END IF;
    probe := mvscheduler.free_name(helper.nspname, helper.relname, '__probe');
    PERFORM mvscheduler.probe_query(v, helper.nspname, probe);
    IF mvscheduler.reads(format('%I.%I', helper.nspname, probe)::regclass, query_relation) THEN
        RAISE EXCEPTION 'the new query of managed view % reads the view itself', v.name
            USING ERRCODE = 'invalid_object_definition',
                  DETAIL = 'Directly, or through other views: it would never see anything new, and could not be dropped.';
    END IF;
    before := mvscheduler.columns_of(helper.nspname, helper.relname);
    after := mvscheduler.columns_of(helper.nspname, probe);
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', helper.nspname, probe);
    IF before IS DISTINCT FROM after AND NOT EXISTS (SELECT FROM mvscheduler.visible_views AS o WHERE o.view_id = v.id) THEN
        RAISE EXCEPTION 'materialized view % exists already and has other columns', v.name
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = format('Its columns: %s. Columns of the query: %s.', array_to_string(before, ', '), array_to_string(after, ', ')),
                  HINT = 'Register it with the query that it has; then UPDATE the query.';
    ELSIF before IS DISTINCT FROM after THEN
        RETURN mvscheduler.redefine(v, relation, query_relation);
    END IF;
    pieces := mvscheduler.cancel_redefinition(v.id);
    PERFORM mvscheduler.create_query_view(v, helper.nspname, helper.relname);
    PERFORM mvscheduler.demand_same(to_regclass(format('%I.%I', helper.nspname, helper.relname)) = query_relation, v.name);
    RETURN pieces;
END $$;
COMMENT ON FUNCTION mvscheduler.change_query(mvscheduler.views, oid, oid) IS 'Gives a view another query: in place where the columns stay the same, so that the old contents stay until the next refresh; as a new version otherwise. Returns what to tell d_pieces (see tell_pieces).';

-- DDL goes by names, and a schema can be renamed under it, which no lock of ours prevents.
CREATE FUNCTION mvscheduler.demand_same(same boolean, view_name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF same IS NOT TRUE THEN
        RAISE EXCEPTION 'something of managed view % was renamed or replaced meanwhile', view_name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Nothing was changed. Try again.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_same(boolean, text) IS 'Raises unless what was looked at by name is what it was.';

-- What UPDATE of these columns cannot do without parsing the query again.
CREATE FUNCTION mvscheduler.parses_query(was mvscheduler.views, v mvscheduler.views) RETURNS boolean
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT (v.query, v.search_path) IS DISTINCT FROM (was.query, was.search_path)
           OR (v.method = 'incremental') <> (was.method = 'incremental')
           OR v.method <> 'incremental' AND ((v.retention_period IS NULL) <> (was.retention_period IS NULL)
                                             OR v.retention_period IS NOT NULL AND v.time_column <> was.time_column);
END;
COMMENT ON FUNCTION mvscheduler.parses_query(mvscheduler.views, mvscheduler.views) IS 'True when a changed row needs its plain view with the query made anew.';

CREATE FUNCTION mvscheduler.create_relations(v mvscheduler.views) RETURNS oid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts          text[] := mvscheduler.split_name(v.name);
    place          oid := (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = parts[1]);
    helper         text;
    relid          oid := mvscheduler.relation_named(v.name);
    query_relation oid := mvscheduler.query_relation_of(relid);
BEGIN
    IF v.adopted THEN
        PERFORM mvscheduler.adopt_relation(v, relid);
        RETURN relid;
    ELSIF v.method = 'incremental' THEN
        RETURN mvscheduler.create_incremental(v);
    END IF;
    -- The pair without its row, as a restore leaves it: it is taken over and becomes what the row says.
    IF query_relation IS NOT NULL
       AND (SELECT c.relowner FROM pg_class AS c WHERE c.oid = relid) = v.owner::oid
       AND NOT EXISTS (SELECT FROM mvscheduler.visible_views AS o WHERE o.relation::oid = relid) THEN
        RAISE NOTICE 'materialized view % exists and is taken over', v.name;
        PERFORM mvscheduler.hold(relid, query_relation);
        PERFORM mvscheduler.demand_same(mvscheduler.relation_named(v.name) = relid AND mvscheduler.query_relation_of(relid) = query_relation
                                        AND (SELECT c.relowner FROM pg_class AS c WHERE c.oid = relid) = v.owner::oid, v.name);
        PERFORM mvscheduler.change_query(v, relid, query_relation);
        PERFORM mvscheduler.grant_to_worker(v, relid);
        RETURN relid;
    END IF;

    BEGIN
        PERFORM mvscheduler.probe_query(v, parts[1], parts[2]);
    EXCEPTION WHEN duplicate_table THEN
        RAISE EXCEPTION '%', SQLERRM USING ERRCODE = 'duplicate_table',
            HINT = CASE WHEN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relid AND c.relkind = 'm')
                        THEN format('To have the materialized view that exists refreshed as it is: SELECT mvscheduler.adopt_view(%L);', v.name)
                        ELSE 'Choose another name.' END;
    END;
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', parts[1], parts[2]);

    helper := mvscheduler.free_name(parts[1], parts[2], '__query');
    PERFORM mvscheduler.create_query_view(v, parts[1], helper);
    PERFORM mvscheduler.keep_to_owner(format('%I.%I', parts[1], helper)::regclass);
    EXECUTE format('COMMENT ON VIEW %I.%I IS %L', parts[1], helper, 'mvscheduler: query of ' || v.name);
    EXECUTE format('CREATE MATERIALIZED VIEW %1$I.%2$I AS SELECT * FROM %1$I.%3$I WITH NO DATA', parts[1], parts[2], helper);

    relid := mvscheduler.relation_named(v.name);
    PERFORM mvscheduler.grant_to_worker(v, relid);
    PERFORM mvscheduler.demand_same((SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = relid) = place
                                    AND mvscheduler.relation_named(mvscheduler.qualified_name(parts[1], helper)) = mvscheduler.query_relation_of(relid), v.name);
    RETURN relid;
END $$;
COMMENT ON FUNCTION mvscheduler.create_relations(mvscheduler.views) IS 'Makes the pair of a view, without indexes: <name>__query and the empty <name>; returns the latter.';

-- By OID: the relations of a row may have been renamed, moved or dropped by hand. together: rows that the
-- same statement deletes; those that read this view go first.
CREATE FUNCTION mvscheduler.drop_relations(view_id bigint, together bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known  record;
    rel    record;
    reader bigint;
    done   text := coalesce(current_setting('mvscheduler.dropped', true), '');
    cause  text;
    dependents text;
BEGIN
    PERFORM mvscheduler.settle(view_id);
    SELECT o.name, o.owner, o.relation::oid AS relation, o.query_relation::oid AS query_relation, o.adopted, o.method
      INTO known FROM mvscheduler.visible_views AS o WHERE o.view_id = drop_relations.view_id;
    FOR reader IN
        SELECT o.view_id FROM mvscheduler.visible_views AS o
         WHERE o.view_id = ANY (together) AND drop_relations.view_id = ANY (o.upstream) AND o.owner = known.owner
         ORDER BY o.view_id
    LOOP
        PERFORM mvscheduler.drop_relations(reader, array_remove(together, drop_relations.view_id));   -- views can read each other in a circle
    END LOOP;
    PERFORM mvscheduler.drop_pieces(view_id, 'gate', 'next', 'next_query', 'old', 'old_query');
    IF known.adopted THEN
        PERFORM mvscheduler.release_relation(known.relation, known.query_relation);
        RETURN;
    END IF;
    SELECT n.nspname, c.relname, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind INTO rel FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = known.relation AND c.relkind = CASE known.method WHEN 'incremental' THEN 'v' ELSE 'm' END;
    IF FOUND THEN
        BEGIN
            EXECUTE format('DROP %s %I.%I', rel.kind, rel.nspname, rel.relname);
        EXCEPTION WHEN dependent_objects_still_exist THEN   -- whose hint is CASCADE, behind the catalog's back
            GET STACKED DIAGNOSTICS cause = MESSAGE_TEXT, dependents = PG_EXCEPTION_DETAIL;
            RAISE EXCEPTION '%', cause USING ERRCODE = 'dependent_objects_still_exist', DETAIL = dependents,
                HINT = 'Drop or change these first. Managed views among them can go in one statement: DELETE FROM mvscheduler.views WHERE name IN (...)';
        END;
    ELSIF known.relation::text <> ALL (string_to_array(done, ' ')) THEN
        RAISE NOTICE 'materialized view % does not exist any more, only its catalog row is deleted', known.name;
    END IF;
    PERFORM mvscheduler.drop_pieces(view_id, 'data');   -- which the view reads
    PERFORM mvscheduler.drop_kept(view_id);
    SELECT n.nspname, c.relname INTO rel FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = known.query_relation AND c.relkind = 'v';
    IF FOUND THEN
        EXECUTE format('DROP VIEW %I.%I', rel.nspname, rel.relname);
    END IF;
    IF together <> '{}' THEN
        PERFORM set_config('mvscheduler.dropped', concat_ws(' ', current_setting('mvscheduler.dropped', true), known.relation), true);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.drop_relations(bigint, bigint[]) IS 'Drops the pair of a view and its pieces (RESTRICT).';

CREATE FUNCTION mvscheduler.rename_relations(v mvscheduler.views, relation oid, query_relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target text[] := mvscheduler.split_name(v.name);
    served text := (SELECT o.method FROM mvscheduler.visible_views AS o WHERE o.view_id = v.id);
    rel    record;
    wanted text;
BEGIN
    FOR rel IN
        SELECT n.nspname, c.relname, c.relkind, c.oid = query_relation AS helper,
               CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.oid = relation AND c.relkind = CASE served WHEN 'incremental' THEN 'v' ELSE 'm' END OR c.oid = query_relation AND c.relkind = 'v'
         ORDER BY c.oid = query_relation
    LOOP
        wanted := target[2];
        IF rel.helper THEN
            wanted := mvscheduler.helper_name(target[2], '__query');
            IF rel.relname <> wanted OR rel.nspname <> target[1] THEN
                wanted := mvscheduler.free_name(target[1], target[2], '__query');
            END IF;
        END IF;
        IF rel.nspname <> target[1] THEN
            EXECUTE format('ALTER %s %I.%I SET SCHEMA %I', rel.kind, rel.nspname, rel.relname, target[1]);
        END IF;
        IF rel.relname <> wanted THEN
            EXECUTE format('ALTER %s %I.%I RENAME TO %I', rel.kind, target[1], rel.relname, wanted);
        END IF;
        IF rel.helper THEN
            EXECUTE format('COMMENT ON VIEW %I.%I IS %L', target[1], wanted, 'mvscheduler: query of ' || v.name);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.rename_relations(mvscheduler.views, oid, oid) IS 'Renames or moves the pair of a view.';

CREATE FUNCTION mvscheduler.change_owner(v mvscheduler.views) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel   record;
    given boolean := false;
BEGIN
    FOR rel IN
        SELECT c.oid::regclass AS named, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind
          FROM mvscheduler.visible_views AS o
          JOIN pg_class AS c ON c.oid IN (o.relation::oid, o.query_relation::oid) AND c.relkind IN ('m', 'v') AND c.relowner <> v.owner::oid
         WHERE o.view_id = v.id
         ORDER BY c.relkind
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO %s', rel.kind, rel.named, v.owner);
        given := true;
    END LOOP;
    RETURN given;
END $$;
COMMENT ON FUNCTION mvscheduler.change_owner(mvscheduler.views) IS 'Gives the pair of a view to another owner; false where it belonged to that role already.';

CREATE FUNCTION mvscheduler.alter_relations(was mvscheduler.views, v mvscheduler.views, broken boolean, mended oid[]) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation       oid;
    query_relation oid;
    served         text;
    renamed        record;
BEGIN
    SELECT coalesce(mended[1], o.relation::oid), coalesce(mended[2], o.query_relation::oid), o.method INTO relation, query_relation, served
      FROM mvscheduler.visible_views AS o WHERE o.view_id = v.id;
    IF v.name <> was.name THEN
        PERFORM mvscheduler.rename_pieces(v);
        PERFORM mvscheduler.rename_relations(v, relation, query_relation);
    END IF;
    IF served = 'incremental' THEN
        RETURN CASE v.method WHEN 'incremental' THEN mvscheduler.alter_incremental(was, v, relation, query_relation, broken)
                             ELSE mvscheduler.change_method(was, v, relation, query_relation, broken) END;
    END IF;
    IF NOT broken AND (v.query, v.search_path, v.method, v.unique_key, v.indexes, v.retention_period IS NULL, v.time_column, v.bucket_width)
                      IS NOT DISTINCT FROM (was.query, was.search_path, was.method, was.unique_key, was.indexes, was.retention_period IS NULL, was.time_column, was.bucket_width) THEN
        RETURN '';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relkind = 'm') THEN
        RAISE EXCEPTION 'the materialized view % does not exist any more', v.name
            USING ERRCODE = 'undefined_table', HINT = 'DELETE the row and INSERT it anew.';
    END IF;
    SELECT a.attname AS now, b.attname AS was INTO renamed
      FROM pg_attribute AS a
      JOIN pg_attribute AS b ON b.attrelid = query_relation AND b.attnum = a.attnum
     WHERE a.attrelid = relation AND a.attnum > 0 AND a.attname <> b.attname
     ORDER BY a.attnum
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'column % of managed view % was renamed by hand to %', quote_ident(renamed.was), v.name, quote_ident(renamed.now)
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('Rename it back, then change the query: ALTER MATERIALIZED VIEW %s RENAME COLUMN %I TO %I;', v.name, renamed.now, renamed.was);
    END IF;
    IF v.method = 'incremental' THEN
        RETURN mvscheduler.change_method(was, v, relation, query_relation, broken);
    END IF;
    IF v.indexes IS DISTINCT FROM was.indexes THEN
        PERFORM mvscheduler.drop_indexes(r, 'mvscheduler: indexes') FROM unnest(ARRAY[relation, (mvscheduler.pending_version(v.id)).relation]) AS r;
    END IF;
    RETURN CASE WHEN broken OR mvscheduler.parses_query(was, v) THEN mvscheduler.change_query(v, relation, query_relation) ELSE '' END;
END $$;
COMMENT ON FUNCTION mvscheduler.alter_relations(mvscheduler.views, mvscheduler.views, boolean, oid[]) IS 'Brings the pair of a view, of which mend_parts has just made what mended says, in line with its changed row, except for its owner and its indexes; returns what to tell d_pieces.';

-- Where the named role is somebody else whom the session's user can become.
CREATE FUNCTION mvscheduler.act_as(role oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named text := (SELECT r.rolname FROM pg_roles AS r WHERE r.oid = role);
BEGIN
    IF named <> CURRENT_USER THEN
        PERFORM set_config('role', named, true);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.act_as(oid) IS 'SET LOCAL ROLE, unless the role is the current one or does not exist any more.';

-- Parsing a text can run code of whoever owns what it names, and here it would run in the session of who
-- writes the row, who may be an administrator: SET ROLE is no wall, the code can RESET it. What is written
-- now is the writer's own risk; what is stored is parsed only where its author could act anyway.
CREATE FUNCTION mvscheduler.demand_owned(view_id bigint, wanted regrole) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    strange record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = wanted::oid) THEN
        RAISE EXCEPTION 'the role that owned this managed view was dropped' USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'UPDATE its owner first, and nothing else with it.';
    END IF;
    SELECT c.oid::regclass AS name, pg_get_userbyid(c.relowner) AS role INTO strange
      FROM mvscheduler.visible_views AS o
      JOIN pg_class AS c ON c.oid IN (o.relation::oid, o.query_relation::oid)
     WHERE o.view_id = demand_owned.view_id AND c.relowner <> wanted::oid
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% belongs to % and not to %', strange.name, quote_ident(strange.role), wanted USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = format('It was given away, or replaced, by hand: ALTER TABLE %s OWNER TO %s, or UPDATE the owner of the row.', strange.name, wanted);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_owned(bigint, regrole) IS 'Raises unless a view and the plain view with its query belong to a role that exists: whoever owns a relation wrote the text that hangs on it.';

-- Called under the lock of settle: an index that the owner is making would come in sight later otherwise.
CREATE FUNCTION mvscheduler.refuse_stored_text(was mvscheduler.views, v mvscheduler.views, broken boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    me         oid := quote_ident(CURRENT_USER)::regrole;
    author     regrole := (SELECT o.text_author FROM mvscheduler.visible_views AS o WHERE o.view_id = was.id);
    anew       boolean := broken OR v.search_path <> was.search_path OR (v.method = 'incremental') <> (was.method = 'incremental')
                          OR (v.retention_period IS NULL) <> (was.retention_period IS NULL)
                          OR v.time_column IS DISTINCT FROM was.time_column
                          OR v.method = 'incremental' AND (v.unique_key, v.bucket_width) IS DISTINCT FROM (was.unique_key, was.bucket_width);
    wrapped    boolean := coalesce(v.retention_period, was.retention_period) IS NOT NULL
                          AND (v.unique_key, v.method) IS DISTINCT FROM (was.unique_key, was.method);
    column_pattern text := '("[^"]+"|[A-Za-z_][A-Za-z0-9_]*)(\s+(asc|desc))?';
    distrusted regrole;
    hidden     text;
    same       boolean := regexp_replace(v.query, '\s+', '', 'g') = regexp_replace(was.query, '\s+', '', 'g');   -- a space more is no other text
BEGIN
    IF NOT mvscheduler.can_become(author, me)
       AND (same AND (v.query <> was.query OR anew OR wrapped)
            OR (v.query <> was.query OR anew OR v.indexes IS DISTINCT FROM was.indexes)   -- by the search_path of the author
               AND NOT (v.query <> was.query AND v.indexes IS DISTINCT FROM was.indexes)    -- which goes with the query
               AND EXISTS (SELECT FROM unnest(v.indexes) AS i WHERE i !~* ('^\s*\(\s*' || column_pattern || '(\s*,\s*' || column_pattern || ')*\s*\)\s*$'))) THEN
        distrusted := author;
    ELSIF NOT (mvscheduler.can_become(author, me) AND mvscheduler.can_become(was.owner, me)) AND (v.query <> was.query OR anew) THEN
        SELECT was.owner, string_agg(h.what, ', ' ORDER BY h.what) INTO distrusted, hidden   -- who can make an index by hand
          FROM mvscheduler.visible_views AS o, mvscheduler.hidden_text(o.relation::oid) AS h
         WHERE o.view_id = was.id
        HAVING count(*) > 0;
    END IF;
    IF distrusted IS NULL THEN
        IF NOT mvscheduler.can_become(author, me) THEN
            PERFORM mvscheduler.demand_present(v.name);
        END IF;
        RETURN;
    END IF;
    RAISE EXCEPTION 'only % can change this of managed view %', distrusted, was.name
        USING ERRCODE = 'insufficient_privilege',
              DETAIL = format('It parses text which %1$s wrote, or by the search_path of %1$s, and that can run code of %1$s in your session.', distrusted) || coalesce(' That text is in ' || hidden || '.', ''),
              HINT = format('Let %1$s do it. '
                            || CASE WHEN hidden IS NULL THEN 'Or write a query of your own, in full, in the same UPDATE: it is parsed in your session, so write nothing that you have not read. ' ELSE '' END
                            || 'Or SET ROLE %1$s first, if you trust that role with everything that your session may do.', distrusted);
END $$;
COMMENT ON FUNCTION mvscheduler.refuse_stored_text(mvscheduler.views, mvscheduler.views, boolean) IS 'Raises where a change would parse stored text in the session of somebody whom its author cannot become.';

-- Locks show what others have committed to DDL, but SQL on the catalogs goes by the transaction's snapshot.
CREATE FUNCTION mvscheduler.demand_present(view_name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION 'this cannot be changed of managed view % in a transaction that is %', view_name, current_setting('transaction_isolation')
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'It would not see what others have changed of the view since its snapshot.',
                  HINT = 'BEGIN ISOLATION LEVEL READ COMMITTED, or SET default_transaction_isolation = ''read committed''.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_present(text) IS 'Raises where the catalogs would be read as they were.';

-- What ALTER ... OWNER TO would hand over unseen: from then on it would run with the rights of the new owner.
-- parsed: this very statement has put the text of the row into the plain view, under the lock of settle.
CREATE FUNCTION mvscheduler.demand_nothing_hidden(was mvscheduler.views, v mvscheduler.views, parsed boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    hidden record;
BEGIN
    SELECT t.what, t.hint INTO hidden
      FROM (SELECT o.relation::oid AS oid, o.query_relation::oid AS query, o.query_seal AS seal, true AS main FROM mvscheduler.visible_views AS o WHERE o.view_id = v.id
            UNION ALL
            SELECT p.relation, p.query_relation, p.query_seal, false FROM mvscheduler.pending_version(v.id) AS p WHERE p.relation IS NOT NULL
            UNION ALL
            SELECT p.relation::oid, NULL, NULL, false FROM mvscheduler.visible_pieces AS p WHERE p.view_id = v.id AND p.kind = 'gate') AS r
     CROSS JOIN LATERAL (SELECT h.what || ' has an expression or a predicate, which the row does not show' AS what, 'Drop it first: DROP ' || h.what || ';' AS hint
                           FROM mvscheduler.hidden_text(r.oid) AS h
                         UNION ALL
                         SELECT 'column ' || quote_ident(m.attname) || ' was renamed by hand', format('Rename it back: ALTER MATERIALIZED VIEW %s RENAME COLUMN %I TO %I;', mvscheduler.shown_name(r.oid), m.attname, q.attname)
                           FROM pg_attribute AS m JOIN pg_attribute AS q ON q.attrelid = r.query AND q.attnum = m.attnum
                          WHERE m.attrelid = r.oid AND m.attnum > 0 AND m.attname <> q.attname
                         UNION ALL
                         -- Rules, triggers, defaults, casts of a row, functions that take one, sequences, and what PostgreSQL will
                         -- have next: but for who reads it, nothing may depend on it. Indexes and statistics: see hidden_text.
                         SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' hangs on it, which the row does not show', 'Drop it first.'
                           FROM pg_class AS c
                           JOIN pg_type AS t ON t.oid = c.reltype
                           JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
                          WHERE c.oid IN (r.oid, r.query)
                            AND d.deptype IN ('n', 'a')
                            AND NOT (d.classid = 'pg_rewrite'::regclass AND EXISTS (SELECT FROM pg_rewrite AS w WHERE w.oid = d.objid AND (w.ev_type = '1' OR w.ev_class NOT IN (r.oid, r.query))))
                            AND NOT (d.classid = 'pg_policy'::regclass AND EXISTS (SELECT FROM pg_policy AS p WHERE p.oid = d.objid AND p.polrelid NOT IN (r.oid, r.query)))
                            AND NOT (d.classid = 'pg_class'::regclass AND d.objsubid > 0 AND d.objid NOT IN (r.oid, r.query))
                            AND NOT (d.classid = 'pg_proc'::regclass AND EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = d.objid AND NOT p.proargtypes::oid[] && ARRAY[t.oid, t.typarray]))
                            AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_index AS i WHERE i.indexrelid = d.objid))
                            AND d.classid <> 'pg_statistic_ext'::regclass
                         UNION ALL
                         SELECT 'the plain view with its query is not known', 'DELETE the row and INSERT it anew.'
                          WHERE r.query IS NULL AND NOT v.adopted AND r.seal IS NULL AND r.main
                         UNION ALL
                         SELECT mvscheduler.shown_name(coalesce(r.query, r.oid)) || ' may not hold the query of the row: it was replaced, or something that it reads was renamed or redefined',
                                format('Let %s UPDATE the query first, which makes it right (a blank more is enough); or take the row over by DELETE and INSERT.', was.owner)
                          WHERE mvscheduler.seal_of(coalesce(r.query, r.oid)) <> r.seal AND NOT (parsed AND r.main)
                         UNION ALL
                         SELECT mvscheduler.shown_name(coalesce(r.query, r.oid)) || ' uses ' || t.used || ', which goes with the session that made it', 'Let its owner register it without.'
                           FROM mvscheduler.temporary_below(coalesce(r.query, r.oid)) AS t(used)
                         UNION ALL   -- a version that is being built
                         SELECT 'it still serves the query that it had before, which the row does not show', 'Wait for the new version, or let its owner cancel it by an UPDATE back to the old columns.'
                          WHERE NOT r.main AND r.query IS NOT NULL) AS t
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'managed view % cannot be given to %: %', v.name, v.owner, hidden.what
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = hidden.hint;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_nothing_hidden(mvscheduler.views, mvscheduler.views, boolean) IS 'Raises where a new owner would get code that the row does not show.';

CREATE FUNCTION mvscheduler.wait_or_say_busy(view_name text, message text, began timestamptz) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF clock_timestamp() < began + interval '10 seconds' THEN
        PERFORM pg_sleep(0.2);
        RETURN;
    END IF;
    RAISE EXCEPTION '%', message USING ERRCODE = 'lock_not_available',
        DETAIL = format('A refresh of %s, or somebody who reads it, holds a lock.', view_name),
        HINT = 'Nothing was changed. Try again, or stop the refresh first: SELECT mvscheduler.cancel_run(id) with the id from mvscheduler.runs.';
END $$;
COMMENT ON FUNCTION mvscheduler.wait_or_say_busy(text, text, timestamptz) IS 'A pause with nothing held before DDL is tried again; after 10 seconds lock_not_available with the way out.';

-- SET ROLE is used in the session of a user who may do so anyway, and only to act for an owner that
-- the user named; PostgreSQL refuses it inside SECURITY DEFINER functions. Readers queue behind a lock that
-- DDL waits for, so it waits briefly, lets go and tries again.
-- Text of indexes is not touched here: CREATE INDEX runs functions of its author, and must not come before the
-- other triggers have recorded what was made, nor set what this one tells them. See e_indexes.
CREATE FUNCTION mvscheduler.views_ddl() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
SET standard_conforming_strings = on   -- a text means what whoever reads the row takes it for
SET quote_all_identifiers = off
SET transform_null_equals = off
SET array_nulls = on
AS $$
DECLARE
    began      timestamptz := clock_timestamp();
    actor      text := CURRENT_USER;
    saved_role text := current_setting('role');
    together   bigint[] := '{}';
    relation   oid;
    broken     boolean;
    trusted    boolean;
    given      boolean;
    pieces     text := '';
    increment  text := '';
    gone       text[];
    mended     oid[];
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT FROM mvscheduler.visible_views AS o WHERE OLD.id = ANY (o.upstream)) THEN
        SELECT coalesce(array_agg(o.view_id), '{}') INTO together
          FROM mvscheduler.visible_views AS o
         WHERE o.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()))
           AND NOT EXISTS (SELECT FROM mvscheduler.views AS x WHERE x.id = o.view_id);
    END IF;
    LOOP
    BEGIN
        CASE TG_OP
            WHEN 'INSERT' THEN
                PERFORM mvscheduler.act_as(NEW.owner::oid);
                relation := mvscheduler.create_relations(NEW);
                IF NEW.method = 'incremental' THEN
                    increment := current_setting('mvscheduler.increment');   -- set after the last text of the user's was parsed
                END IF;
            WHEN 'DELETE' THEN
                PERFORM mvscheduler.act_as(OLD.owner::oid);
                PERFORM mvscheduler.drop_relations(OLD.id, together);
            ELSE
                IF (NEW.name, NEW.query, NEW.search_path, NEW.method, NEW.unique_key, NEW.indexes, NEW.retention_period IS NULL, NEW.time_column, NEW.bucket_width)
                   IS DISTINCT FROM (OLD.name, OLD.query, OLD.search_path, OLD.method, OLD.unique_key, OLD.indexes, OLD.retention_period IS NULL, OLD.time_column, OLD.bucket_width)
                   OR OLD.owner = quote_ident(actor)::regrole AND (mvscheduler.pending_version_broken(OLD) OR mvscheduler.missing_parts(OLD) <> '{}') THEN
                    PERFORM mvscheduler.act_as(OLD.owner::oid);
                    PERFORM mvscheduler.settle(OLD.id);
                    PERFORM mvscheduler.demand_owned(OLD.id, OLD.owner);
                    broken := mvscheduler.pending_version_broken(OLD);
                    gone := mvscheduler.missing_parts(OLD);
                    IF CURRENT_USER <> actor THEN
                        PERFORM set_config('role', saved_role, true);
                    END IF;
                    PERFORM mvscheduler.refuse_stored_text(OLD, NEW, broken OR 'query' = ANY (gone));
                    PERFORM mvscheduler.act_as(OLD.owner::oid);
                    mended := mvscheduler.mend_parts(OLD, gone);
                    pieces := mvscheduler.alter_relations(OLD, NEW, broken, mended);
                    IF CURRENT_USER <> actor THEN
                        PERFORM set_config('role', saved_role, true);
                    END IF;
                END IF;
                IF NEW.owner <> OLD.owner THEN
                    PERFORM mvscheduler.demand_present(NEW.name);
                    IF pieces NOT IN ('', 'none') THEN
                        RAISE EXCEPTION 'the owner and the columns or method of managed view % cannot be changed at once', NEW.name USING ERRCODE = 'feature_not_supported',
                            HINT = 'Leave the owner first; when the new version is in place, change the owner.';
                    END IF;
                    trusted := mvscheduler.all_can_become(OLD.id, NEW.owner);
                    given := mvscheduler.change_owner(NEW);
                    given := mvscheduler.change_owner_of_pieces(NEW) OR given;
                    PERFORM mvscheduler.demand_owned(OLD.id, NEW.owner);   -- another relation may have taken the name
                    PERFORM mvscheduler.demand_same(NOT EXISTS (SELECT FROM mvscheduler.visible_pieces AS p
                                                           CROSS JOIN LATERAL (SELECT p.relation::oid AS oid UNION SELECT t.relid FROM pg_partition_tree(p.relation) AS t) AS m
                                                             JOIN pg_class AS c ON c.oid = m.oid
                                                                 WHERE p.view_id = OLD.id AND p.kind NOT IN ('old', 'old_query') AND c.relowner <> NEW.owner::oid), OLD.name);
                    IF NOT trusted THEN
                        PERFORM mvscheduler.demand_no_hidden_data(NEW);
                        PERFORM mvscheduler.demand_nothing_hidden(OLD, NEW, pieces = 'none' OR pieces = '' AND mvscheduler.parses_query(OLD, NEW));   -- now nobody else can add to it
                    END IF;
                END IF;
                IF NEW.owner <> OLD.owner OR NEW.name <> OLD.name THEN
                    SELECT coalesce(g.relation::oid, o.relation::oid) INTO relation   -- what is refreshed: of an incremental view its gate
                      FROM mvscheduler.visible_views AS o
                      LEFT JOIN mvscheduler.visible_pieces AS g ON g.view_id = o.view_id AND g.kind = 'gate' AND o.method = 'incremental'
                     WHERE o.view_id = NEW.id AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = coalesce(g.relation::oid, o.relation::oid) AND c.relkind = 'm');
                    IF FOUND THEN
                        PERFORM mvscheduler.act_as(NEW.owner::oid);
                        PERFORM mvscheduler.grant_to_worker(NEW, relation);
                    END IF;
                END IF;
        END CASE;
        IF CURRENT_USER <> actor THEN
            PERFORM set_config('role', saved_role, true);
        END IF;
        EXIT;
    EXCEPTION WHEN lock_not_available THEN
        PERFORM mvscheduler.wait_or_say_busy(CASE TG_OP WHEN 'INSERT' THEN NEW.name ELSE OLD.name END, SQLERRM, began);
    END;
    END LOOP;
    -- For the next triggers, which cannot see it. Last of all: text of the user's has run above.
    PERFORM mvscheduler.tell_pieces(pieces);
    PERFORM set_config('mvscheduler.increment', increment, true);
    PERFORM set_config('mvscheduler.mended', array_to_string(mended, ' ', 'none'), true);
    PERFORM set_config('mvscheduler.relation', relation::text, true);   -- read after an INSERT
    PERFORM set_config('mvscheduler.actor', actor, true);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.views_ddl() IS 'Trigger b_ddl on views: all DDL but that of indexes, as the user.';
