-- The relations of a view, made, changed and dropped in the session of the user who writes the row.

-- The grants that the sidecar needs: on 17 and later MAINTAIN on the one relation, given by its owner;
-- on 15 and 16 membership in the owner, which only a DBA can give, once per owner.
CREATE FUNCTION mvscheduler.grant_to_worker(v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts     text[] := mvscheduler.split_name(v.name);
    version   int := current_setting('server_version_num')::int;
    superuser boolean := (SELECT r.rolsuper FROM pg_roles AS r WHERE r.oid = v.owner::oid);
BEGIN
    IF superuser THEN
        RAISE WARNING 'managed view % belongs to the superuser %', v.name, v.owner
            USING DETAIL = 'Its query runs with unlimited rights at every refresh.',
                  HINT = 'Set the column owner to an application role.';
    ELSIF pg_has_role(v.owner::oid, 'mvscheduler_worker', 'USAGE') THEN
        RAISE EXCEPTION 'role % cannot own a managed view: it is a role of the sidecar', v.owner
            USING ERRCODE = 'insufficient_privilege', HINT = 'Set the column owner to an application role.';
    END IF;
    IF version >= 170000 THEN
        EXECUTE format('GRANT MAINTAIN ON TABLE %I.%I TO mvscheduler_worker', parts[1], parts[2]);
    ELSIF NOT pg_has_role('mvscheduler_worker', v.owner::oid, 'USAGE') AND NOT superuser THEN
        RAISE EXCEPTION 'the sidecar cannot refresh for role %', v.owner
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = 'Before PostgreSQL 17 the right to REFRESH comes with membership in the owner.',
                  HINT = format(CASE WHEN version >= 160000
                                     THEN 'A DBA runs once: GRANT %s TO mvscheduler_worker WITH INHERIT TRUE, SET FALSE'
                                     ELSE 'A DBA runs once: GRANT %s TO mvscheduler_worker' END, v.owner);
    END IF;
    IF NOT has_schema_privilege('mvscheduler_worker', parts[1], 'USAGE') THEN
        BEGIN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO mvscheduler_worker', parts[1]);
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
        IF NOT has_schema_privilege('mvscheduler_worker', parts[1], 'USAGE') THEN
            RAISE EXCEPTION 'the sidecar has no access to schema %', quote_ident(parts[1])
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('The owner of the schema runs: GRANT USAGE ON SCHEMA %I TO mvscheduler_worker', parts[1]);
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.grant_to_worker(mvscheduler.views) IS 'Gives the sidecar the least right that lets it REFRESH the view, or raises with the GRANT that is missing.';

-- The query in plain form, exactly as a user would run it, so that what is wrong with it is said by
-- PostgreSQL in its own words. It ends with a newline, which a comment in the query cannot eat.
-- EXECUTE takes several statements, a cursor does not: that closes the door to stacked ones, and
-- everything they did is undone with the error.
CREATE FUNCTION mvscheduler.probe_query(v mvscheduler.views, probe_schema text, probe_name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body      text := mvscheduler.query_body(v.query);
    statement text := format(E'CREATE MATERIALIZED VIEW %I.%I AS\n', probe_schema, probe_name) || body || E'\nWITH NO DATA';
    cur       refcursor;
BEGIN
    PERFORM set_config('search_path', v.search_path, true);
    EXECUTE statement;
    BEGIN
        OPEN cur FOR EXECUTE body;
        CLOSE cur;
    EXCEPTION WHEN invalid_cursor_definition THEN
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        RAISE EXCEPTION 'the query of a managed view must be one SELECT' USING ERRCODE = 'syntax_error',
            DETAIL = 'It contains more than one statement.', HINT = 'Remove the semicolon and what follows it.';
    WHEN OTHERS THEN NULL;  -- one statement that cannot be opened yet, since a view below is still empty
    END;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
END $$;
COMMENT ON FUNCTION mvscheduler.probe_query(mvscheduler.views, text, text) IS 'Creates the query as a plain materialized view, so that its errors are PostgreSQL''s own.';

CREATE FUNCTION mvscheduler.query_body(query text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.regexp_replace(query, '[\s;]+$', '');
COMMENT ON FUNCTION mvscheduler.query_body(text) IS 'The query without trailing semicolons and blanks.';

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

CREATE FUNCTION mvscheduler.create_index(v mvscheduler.views, definition text, is_unique boolean, mark text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts    text[] := mvscheduler.split_name(v.name);
    relation oid := mvscheduler.relation_named(v.name);
    before   oid[];
    made     oid[];
BEGIN
    SELECT array_agg(i.indexrelid) INTO before FROM pg_index AS i WHERE i.indrelid = relation;
    PERFORM set_config('search_path', v.search_path, true);
    EXECUTE pg_catalog.format('CREATE %s INDEX ON %I.%I %s', CASE WHEN is_unique THEN 'UNIQUE' ELSE '' END, parts[1], parts[2], definition);
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
COMMENT ON FUNCTION mvscheduler.create_index(mvscheduler.views, text, boolean, text) IS 'Creates one index on a view and marks it.';

-- The unique index: as given, or as derived, or none with a word about what is lost.
CREATE FUNCTION mvscheduler.create_unique_index(v mvscheduler.views, query_relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    derived text[];
    columns text;
BEGIN
    IF v.unique_key IS NOT NULL THEN
        SELECT string_agg(quote_ident(k), ', ' ORDER BY o) INTO columns FROM unnest(v.unique_key) WITH ORDINALITY AS u(k, o);
        PERFORM mvscheduler.create_index(v, '(' || columns || ')', true, 'mvscheduler: unique_key');
        RETURN;
    END IF;
    derived := mvscheduler.derived_key(query_relation);
    IF derived IS NOT NULL THEN
        BEGIN
            SELECT string_agg(quote_ident(k), ', ' ORDER BY o) INTO columns FROM unnest(derived) WITH ORDINALITY AS u(k, o);
            PERFORM mvscheduler.create_index(v, '(' || columns || ')', true, 'mvscheduler: derived key');
            RETURN;
        EXCEPTION WHEN undefined_object OR unique_violation OR program_limit_exceeded THEN
            RAISE NOTICE 'the key (%) of managed view % cannot have a unique index: %', columns, v.name, SQLERRM;
        END;
    END IF;
    IF v.method = 'concurrent' THEN
        RAISE EXCEPTION 'managed view % has no key for method "concurrent"', v.name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'REFRESH MATERIALIZED VIEW CONCURRENTLY needs a unique index, and the query proves no key.',
                  HINT = 'Name the columns that identify a row in unique_key, or use method "auto".';
    END IF;
    RAISE NOTICE 'managed view % has no unique index', v.name
        USING DETAIL = 'Each refresh locks out its readers while it runs (ACCESS EXCLUSIVE).',
              HINT = 'Name the columns that identify a row in unique_key; then readers never wait.';
END $$;
COMMENT ON FUNCTION mvscheduler.create_unique_index(mvscheduler.views, oid) IS 'The unique index of a view, given or derived; a NOTICE where there is none.';

CREATE FUNCTION mvscheduler.create_indexes(v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    definition text;
BEGIN
    IF v.indexes IS NOT NULL THEN
        FOREACH definition IN ARRAY v.indexes LOOP
            PERFORM mvscheduler.create_index(v, definition, false, 'mvscheduler: indexes');
        END LOOP;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.create_indexes(mvscheduler.views) IS 'The indexes named in the column indexes.';

CREATE FUNCTION mvscheduler.create_relations(v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts      text[] := mvscheduler.split_name(v.name);
    helper     text := mvscheduler.helper_name(parts[2], '__query');
    existing   oid := mvscheduler.relation_named(v.name);
    n          int := 0;
    body       text;
BEGIN
    -- A data-only restore: the relations are here, the row arrives.
    IF existing IS NOT NULL AND mvscheduler.query_relation_of(existing) IS NOT NULL
       AND (SELECT c.relowner FROM pg_class AS c WHERE c.oid = existing) = v.owner::oid
       AND NOT EXISTS (SELECT FROM mvscheduler.visible_views AS o WHERE o.relation::oid = existing) THEN
        RAISE NOTICE 'materialized view % exists and is taken over as it is', v.name;
        PERFORM mvscheduler.grant_to_worker(v);
        RETURN;
    END IF;

    PERFORM mvscheduler.probe_query(v, parts[1], parts[2]);
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', parts[1], parts[2]);

    WHILE to_regclass(format('%I.%I', parts[1], helper)) IS NOT NULL LOOP
        n := n + 1;
        helper := mvscheduler.helper_name(parts[2], '__query' || n);
    END LOOP;
    body := format(E'CREATE VIEW %I.%I AS\n', parts[1], helper) || mvscheduler.query_body(v.query);
    PERFORM set_config('search_path', v.search_path, true);
    EXECUTE body;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    EXECUTE format('COMMENT ON VIEW %I.%I IS %L', parts[1], helper, 'mvscheduler: query of ' || v.name);
    EXECUTE format('CREATE MATERIALIZED VIEW %1$I.%2$I AS SELECT * FROM %1$I.%3$I WITH NO DATA', parts[1], parts[2], helper);

    PERFORM mvscheduler.create_unique_index(v, format('%I.%I', parts[1], helper)::regclass);
    PERFORM mvscheduler.create_indexes(v);
    PERFORM mvscheduler.grant_to_worker(v);
END $$;
COMMENT ON FUNCTION mvscheduler.create_relations(mvscheduler.views) IS 'Makes the pair of a view: <name>__query and the empty <name>.';

-- By OID: the relations of a row may have been renamed, moved or dropped by hand.
CREATE FUNCTION mvscheduler.drop_relations(v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known record;
    rel   record;
BEGIN
    SELECT o.relation::oid AS relation, o.query_relation::oid AS query_relation
      INTO known FROM mvscheduler.visible_views AS o WHERE o.view_id = v.id;
    SELECT n.nspname, c.relname INTO rel FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = known.relation AND c.relkind = 'm';
    IF NOT FOUND THEN
        RAISE NOTICE 'materialized view % does not exist any more, only its catalog row is deleted', v.name;
    ELSE
        EXECUTE format('DROP MATERIALIZED VIEW %I.%I', rel.nspname, rel.relname);
    END IF;
    SELECT n.nspname, c.relname INTO rel FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = known.query_relation AND c.relkind = 'v';
    IF FOUND THEN
        EXECUTE format('DROP VIEW %I.%I', rel.nspname, rel.relname);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.drop_relations(mvscheduler.views) IS 'Drops the pair of a view (RESTRICT).';

CREATE FUNCTION mvscheduler.rename_relations(was mvscheduler.views, v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target text[] := mvscheduler.split_name(v.name);
    helper text := mvscheduler.helper_name(target[2], '__query');
    rel    record;
BEGIN
    FOR rel IN
        SELECT n.nspname, c.relname, c.relkind, CASE c.relkind WHEN 'm' THEN target[2] ELSE helper END AS new_name,
               CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind
          FROM mvscheduler.visible_views AS o
          JOIN pg_class AS c ON c.oid IN (o.relation::oid, o.query_relation::oid) AND c.relkind IN ('m', 'v')
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE o.view_id = v.id
         ORDER BY c.relkind
    LOOP
        IF rel.relname <> rel.new_name THEN
            EXECUTE format('ALTER %s %I.%I RENAME TO %I', rel.kind, rel.nspname, rel.relname, rel.new_name);
        END IF;
        IF rel.nspname <> target[1] THEN
            EXECUTE format('ALTER %s %I.%I SET SCHEMA %I', rel.kind, rel.nspname, rel.new_name, target[1]);
        END IF;
        IF rel.kind = 'VIEW' THEN
            EXECUTE format('COMMENT ON VIEW %I.%I IS %L', target[1], rel.new_name, 'mvscheduler: query of ' || v.name);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.rename_relations(mvscheduler.views, mvscheduler.views) IS 'Renames or moves the pair of a view.';

CREATE FUNCTION mvscheduler.change_query(v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known   record;
    helper  record;
    probe   text;
    before  text[];
    after   text[];
    body    text;
BEGIN
    SELECT o.relation::oid AS relation, o.query_relation::oid AS query_relation
      INTO known FROM mvscheduler.visible_views AS o WHERE o.view_id = v.id;
    SELECT n.nspname, c.relname INTO helper FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = known.query_relation AND c.relkind = 'v';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the plain view that holds the query of % does not exist any more', v.name
            USING ERRCODE = 'undefined_table', HINT = 'DELETE the row and INSERT it anew.';
    END IF;
    probe := mvscheduler.helper_name(helper.relname, '__probe');
    PERFORM mvscheduler.probe_query(v, helper.nspname, probe);
    before := mvscheduler.columns_of(helper.nspname, helper.relname);
    after := mvscheduler.columns_of(helper.nspname, probe);
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', helper.nspname, probe);
    IF before IS DISTINCT FROM after THEN
        RAISE EXCEPTION 'the new query of managed view % has other columns', v.name
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = format('Columns now: %s. Columns of the new query: %s.', array_to_string(before, ', '), array_to_string(after, ', ')),
                  HINT = 'This version cannot redefine columns in place: DELETE the row and INSERT it anew (grants and dependents are lost), or keep the columns.';
    END IF;
    body := format(E'CREATE OR REPLACE VIEW %I.%I AS\n', helper.nspname, helper.relname) || mvscheduler.query_body(v.query);
    PERFORM set_config('search_path', v.search_path, true);
    EXECUTE body;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    IF v.unique_key IS NULL THEN
        PERFORM mvscheduler.drop_indexes(known.relation, 'mvscheduler: derived key');
        PERFORM mvscheduler.create_unique_index(v, known.query_relation);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.change_query(mvscheduler.views) IS 'Gives a view another query with the same columns; the old contents stay until the next refresh.';

CREATE FUNCTION mvscheduler.change_owner(was mvscheduler.views, v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel record;
BEGIN
    FOR rel IN
        SELECT n.nspname, c.relname, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind
          FROM mvscheduler.visible_views AS o
          JOIN pg_class AS c ON c.oid IN (o.relation::oid, o.query_relation::oid) AND c.relkind IN ('m', 'v') AND c.relowner <> v.owner::oid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE o.view_id = v.id
         ORDER BY c.relkind
    LOOP
        EXECUTE format('ALTER %s %I.%I OWNER TO %s', rel.kind, rel.nspname, rel.relname, v.owner);
    END LOOP;
    PERFORM mvscheduler.grant_to_worker(v);
END $$;
COMMENT ON FUNCTION mvscheduler.change_owner(mvscheduler.views, mvscheduler.views) IS 'Gives the pair of a view to another owner.';

CREATE FUNCTION mvscheduler.alter_relations(was mvscheduler.views, v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation       oid;
    query_relation oid;
BEGIN
    IF v.name <> was.name THEN
        PERFORM mvscheduler.rename_relations(was, v);
    END IF;
    IF v.query <> was.query THEN
        PERFORM mvscheduler.change_query(v);
    END IF;
    SELECT o.relation::oid, o.query_relation::oid INTO relation, query_relation
      FROM mvscheduler.visible_views AS o WHERE o.view_id = v.id;
    IF v.unique_key IS DISTINCT FROM was.unique_key THEN
        PERFORM mvscheduler.drop_indexes(relation, 'mvscheduler: unique_key');
        PERFORM mvscheduler.drop_indexes(relation, 'mvscheduler: derived key');
        PERFORM mvscheduler.create_unique_index(v, query_relation);
    ELSIF v.method = 'concurrent' AND was.method <> 'concurrent' AND NOT EXISTS (
            SELECT FROM pg_index AS i
             WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL) THEN
        PERFORM mvscheduler.create_unique_index(v, query_relation);
    END IF;
    IF v.indexes IS DISTINCT FROM was.indexes THEN
        PERFORM mvscheduler.drop_indexes(relation, 'mvscheduler: indexes');
        PERFORM mvscheduler.create_indexes(v);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.alter_relations(mvscheduler.views, mvscheduler.views) IS 'Brings the pair of a view in line with its changed row, except for the owner.';

-- SET ROLE is used in the session of a user who may do so anyway, and only to act for an owner that
-- the user named; PostgreSQL refuses it inside SECURITY DEFINER functions.
CREATE FUNCTION mvscheduler.views_ddl() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '3s'
AS $$
DECLARE
    actor      text := CURRENT_USER;
    saved_role text := current_setting('role');
    act_as     oid := CASE TG_OP WHEN 'INSERT' THEN NEW.owner::oid ELSE OLD.owner::oid END;
    needs_ddl  boolean := TG_OP <> 'UPDATE';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        needs_ddl := (NEW.name, NEW.query, NEW.method, NEW.unique_key, NEW.indexes)
                     IS DISTINCT FROM (OLD.name, OLD.query, OLD.method, OLD.unique_key, OLD.indexes);
    END IF;
    IF needs_ddl THEN
        BEGIN
            IF act_as <> (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = CURRENT_USER)
               AND EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = act_as) THEN
                PERFORM set_config('role', (SELECT r.rolname::text FROM pg_roles AS r WHERE r.oid = act_as), true);
            END IF;
            CASE TG_OP
                WHEN 'INSERT' THEN PERFORM mvscheduler.create_relations(NEW);
                WHEN 'UPDATE' THEN PERFORM mvscheduler.alter_relations(OLD, NEW);
                ELSE PERFORM mvscheduler.drop_relations(OLD);
            END CASE;
            IF CURRENT_USER <> actor THEN
                PERFORM set_config('role', saved_role, true);
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            RAISE EXCEPTION '%', SQLERRM USING ERRCODE = 'lock_not_available',
                DETAIL = format('A refresh of %s, or somebody who reads it, holds a lock.', CASE TG_OP WHEN 'INSERT' THEN NEW.name ELSE OLD.name END),
                HINT = 'Nothing was changed. Try again, or stop the refresh first: SELECT mvscheduler.cancel_run(id) with the id from mvscheduler.runs.';
        END;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.owner <> OLD.owner THEN
        PERFORM mvscheduler.change_owner(OLD, NEW);
    END IF;
    -- For c_bookkeeping, which fires next and cannot see who the user is.
    PERFORM set_config('mvscheduler.actor', actor, true);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.views_ddl() IS 'Trigger b_ddl on views: all DDL, as the user.';
