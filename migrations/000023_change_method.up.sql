-- Another method. A materialized view and an incremental view are made of other relations, so a change from the one to the
-- other is a new version (000011_redefine, 000020_redefine_incremental): the UPDATE makes v__next and v__next__query of the
-- other kind, the sidecar fills them, and the step swap_method puts them in the place of what is served. Until then
-- view_state.method is the method of what is served, and redefinition.method the one that is wanted; time_column,
-- bucket_width and lateness of a view that ceases to be incremental, which retention goes by, stay as well.

-- In the session of the user who changes the row --------------------------------------------------------

CREATE FUNCTION mvscheduler.change_method(was mvscheduler.views, v mvscheduler.views, relation oid, query_relation oid, broken boolean) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    data    oid := (SELECT p.relation::oid FROM mvscheduler.visible_pieces AS p WHERE p.view_id = v.id AND p.kind = 'data');
    pending oid := (mvscheduler.pending_version(v.id)).relation;
    aside   bigint := (SELECT count(*) FROM mvscheduler.visible_kept AS k WHERE k.target = v.id);
    place   record;
    probe   text;
    new     oid;
    made    record;
    pieces  text;
    loses   text;
BEGIN
    IF v.indexes IS DISTINCT FROM was.indexes THEN
        PERFORM mvscheduler.drop_indexes(pending, 'mvscheduler: indexes');
    END IF;
    IF NOT broken AND NOT mvscheduler.parses_query(was, v)
       AND (v.method <> 'incremental' OR (v.time_column, v.unique_key, v.bucket_width) IS NOT DISTINCT FROM (was.time_column, was.unique_key, was.bucket_width)) THEN
        RETURN '';
    END IF;
    SELECT n.nspname, c.relname INTO place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation AND c.relkind = CASE WHEN data IS NULL THEN 'm' ELSE 'v' END;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = query_relation AND c.relkind = 'v') OR data IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = data AND c.relkind = 'p') THEN
        RAISE EXCEPTION 'a part of managed view % does not exist any more', v.name USING ERRCODE = 'undefined_table', HINT = 'DELETE the row and INSERT it anew.';
    END IF;
    probe := mvscheduler.free_name(place.nspname, place.relname, '__probe');
    PERFORM mvscheduler.probe_query(v, place.nspname, probe);
    new := format('%I.%I', place.nspname, probe)::regclass;
    IF mvscheduler.reads(new, query_relation) OR mvscheduler.reads(new, data) OR mvscheduler.reads(new, pending) THEN
        RAISE EXCEPTION 'the new query of managed view % reads the view itself', v.name USING ERRCODE = 'invalid_object_definition';
    END IF;
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', place.nspname, probe);

    IF v.method = 'incremental' THEN
        PERFORM mvscheduler.drop_pieces(v.id, 'gate', 'next', 'next_query');
        SELECT * INTO made FROM mvscheduler.create_version(v, place.nspname, mvscheduler.free_name(place.nspname, place.relname, '__next__query'), mvscheduler.free_name(place.nspname, place.relname, '__next'));
        pieces := concat_ws(' ', mvscheduler.create_gate(v, place.nspname, mvscheduler.free_name(place.nspname, place.relname, '__gate')), made.data, made.query);
        PERFORM mvscheduler.demand_no_obstacles(v.name, relation, query_relation, made.data);
        PERFORM mvscheduler.copy_settings(relation, made.data);
        loses := (SELECT string_agg(format('%I.%I', n.nspname, s.stxname), ', ' ORDER BY s.oid) FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace WHERE s.stxrelid = relation);
        IF loses IS NOT NULL THEN
            RAISE NOTICE 'extended statistics of managed view % go with its old version: %', v.name, loses;
        END IF;
        RAISE NOTICE 'a new version of managed view % is built and then takes its place', v.name
            USING DETAIL = 'Until then the old version is served and not refreshed. The view gets another OID then; views that read it, grants and comments follow.',
                  HINT = 'See mvscheduler.status for how far it is; an UPDATE back to what it was cancels it.';
        RETURN pieces;
    END IF;
    PERFORM mvscheduler.refuse_version(v.name, VARIADIC ARRAY(SELECT format('managed view %s asks in_window about it', o.name)   -- which only an incremental view answers
                                                                FROM mvscheduler.visible_sources AS s JOIN mvscheduler.visible_views AS o ON o.view_id = s.view_id
                                                               WHERE s.relation::oid = data AND s.col > 0 ORDER BY o.name));
    pieces := mvscheduler.redefine(v, relation, query_relation);
    PERFORM mvscheduler.demand_replaceable(v.name, relation, query_relation, data, split_part(pieces, ' ', 2)::oid);
    IF aside > 0 THEN
        RAISE NOTICE '% partitions that are kept aside for managed view % stay as tables of yours when the new version takes its place', aside, v.name
            USING HINT = 'Drop them when you need them no more; mvscheduler.restore_view brings them back only until then.';
    END IF;
    RETURN pieces;
END $$;
COMMENT ON FUNCTION mvscheduler.change_method(mvscheduler.views, mvscheduler.views, oid, oid, boolean) IS 'Makes query and empty contents of a new version that is incremental where the view is not, or the other way round; raises where a dependent cannot follow. Returns what to tell d_pieces.';

-- The step swap_method ----------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.swap_method_at_hand(view_id bigint, OUT owner oid, OUT relation oid, OUT query_relation oid, OUT data oid, OUT next oid, OUT next_query oid, OUT method text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS DISTINCT FROM 'swap_method' THEN
        RETURN;
    END IF;
    UPDATE mvscheduler.pass AS p SET taken = true WHERE p.view_id = swap_method_at_hand.view_id AND NOT p.taken;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM FROM mvscheduler.view_state AS s WHERE s.view_id = swap_method_at_hand.view_id FOR NO KEY UPDATE;
    PERFORM mvscheduler.demand_nothing_left(view_id);
    SELECT s.owner::oid, s.relation::oid, s.query_relation::oid, d.relation::oid, n.relation::oid, q.relation::oid, r.method
      INTO owner, relation, query_relation, data, next, next_query, method
      FROM mvscheduler.view_state AS s
      JOIN mvscheduler.redefinition AS r ON r.view_id = s.view_id AND (r.method = 'incremental') <> (s.method = 'incremental')
      JOIN mvscheduler.pass AS p ON p.view_id = s.view_id AND p.run_id = r.filled_run
      JOIN mvscheduler.piece AS n ON n.view_id = s.view_id AND n.kind = 'next'
      JOIN mvscheduler.piece AS q ON q.view_id = s.view_id AND q.kind = 'next_query'
      LEFT JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
     WHERE s.view_id = swap_method_at_hand.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.swap_method_at_hand(bigint) IS 'What the attempt that was let through has to swap of a view whose method changes, and which its run has filled; all NULL everywhere else.';

-- Of the step it believes only which view of the owner's shows the new contents.
CREATE FUNCTION mvscheduler.swap_method_done(view_id bigint, face oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    work record;
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS DISTINCT FROM 'swap_method' THEN
        RETURN;
    END IF;
    SELECT d.relation::oid AS data, s.relation::oid AS relation, s.query_relation::oid AS query_relation, n.relation AS next, q.relation AS next_query, f.oid AS face, r.method INTO work
      FROM mvscheduler.pass AS x
      JOIN mvscheduler.view_state AS s ON s.view_id = x.view_id
      JOIN mvscheduler.redefinition AS r ON r.view_id = s.view_id AND r.filled_run = x.run_id AND (r.method = 'incremental') <> (s.method = 'incremental')
      JOIN mvscheduler.piece AS n ON n.view_id = s.view_id AND n.kind = 'next'
      JOIN mvscheduler.piece AS q ON q.view_id = s.view_id AND q.kind = 'next_query'
      JOIN pg_class AS t ON t.oid = n.relation::oid AND t.relkind = CASE r.method WHEN 'incremental' THEN 'p' ELSE 'm' END AND t.relowner = s.owner::oid
      JOIN pg_class AS u ON u.oid = q.relation::oid AND u.relkind = 'v' AND u.relowner = s.owner::oid
      JOIN pg_class AS f ON f.oid = swap_method_done.face AND f.relowner = s.owner::oid
      LEFT JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
     WHERE x.view_id = swap_method_done.view_id AND x.taken
       AND CASE r.method WHEN 'incremental' THEN f.relkind = 'v' AND EXISTS (SELECT FROM pg_rewrite AS w JOIN pg_depend AS e ON e.classid = 'pg_rewrite'::regclass AND e.objid = w.oid AND e.refclassid = 'pg_class'::regclass AND e.refobjid = t.oid
                                                                              WHERE w.ev_class = f.oid)
                         ELSE f.oid = t.oid END;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM mvscheduler.piece AS p WHERE p.view_id = swap_method_done.view_id AND p.kind IN ('data', 'next', 'next_query');
    INSERT INTO mvscheduler.piece (view_id, kind, relation) SELECT swap_method_done.view_id, 'data', work.next WHERE work.method = 'incremental';
    INSERT INTO mvscheduler.piece (view_id, kind, relation)
    SELECT swap_method_done.view_id, CASE c.relkind WHEN 'v' THEN 'old_query' ELSE 'old' END, c.oid::regclass
      FROM pg_class AS c
     WHERE c.oid = work.query_relation OR c.oid = coalesce(work.data, work.relation);
    UPDATE mvscheduler.view_state AS s
       SET relation = work.face::regclass, query_relation = work.next_query, upstream = mvscheduler.upstream_of(work.next_query::oid), query_seal = r.query_seal, method = r.method,
           time_column = r.time_column, bucket_width = CASE WHEN r.method = 'incremental' THEN s.bucket_width END, lateness = CASE WHEN r.method = 'incremental' THEN s.lateness ELSE '0' END
      FROM mvscheduler.redefinition AS r
     WHERE s.view_id = swap_method_done.view_id AND r.view_id = s.view_id;
    DELETE FROM mvscheduler.redefinition AS r WHERE r.view_id = swap_method_done.view_id;
    DELETE FROM mvscheduler.increment_state AS i WHERE i.view_id = swap_method_done.view_id AND NOT (work.method = 'incremental' AND i.data = work.next);
    DELETE FROM mvscheduler.view_source AS o WHERE o.view_id = swap_method_done.view_id AND work.method <> 'incremental';   -- so that writers note nothing for it
END $$;
COMMENT ON FUNCTION mvscheduler.swap_method_done(bigint, oid) IS 'Makes the new version by another method the one that is served, in the transaction of the swap.';

CREATE FUNCTION mvscheduler.demand_versions(work record) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF work.method = 'incremental' THEN
        PERFORM mvscheduler.demand_pair(work.owner, work.relation, work.query_relation, 'the view'), mvscheduler.demand_increment(work.owner, work.next_query, work.next);
    ELSE
        PERFORM mvscheduler.demand_increment(work.owner, work.query_relation, work.data), mvscheduler.demand_increment(work.owner, work.relation, work.data),   -- the latter is the view itself
                mvscheduler.demand_pair(work.owner, work.next, work.next_query, 'its new version');
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_versions(record) IS 'Raises unless the two versions of a view whose method changes are what they were recorded as.';

-- Locks from the outside inwards, as readers take them; see step_swap.
CREATE FUNCTION mvscheduler.step_swap_method(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    deadline  timestamptz;
    work      record;
    old       record;     -- names of the relations as they are now
    fresh     record;
    rel       record;
    bound     oid[];
    redefined text[];     -- the statements that make the dependents again
    meant     text[];     -- and what they mean
    named     jsonb;      -- which index is to have which name
    stored    text;       -- name of the contents
    aside     text;
    face      oid;
BEGIN
    SELECT * INTO work FROM mvscheduler.swap_method_at_hand(view_id);
    IF work.next IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_versions(work);
    IF work.method <> 'incremental' AND NOT (SELECT c.relispopulated FROM pg_class AS c WHERE c.oid = work.next) THEN
        RAISE EXCEPTION 'the new version is empty' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM mvscheduler.copy_indexes(coalesce(work.data, work.relation), work.next, false);   -- nobody reads it yet, so what takes long comes first
    bound := mvscheduler.dependents(work.relation);

    deadline := clock_timestamp() + mvscheduler.lock_budget();
    FOR rel IN
        SELECT c.oid, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'p' THEN 'TABLE' ELSE 'VIEW' END AS kind
          FROM unnest(bound || ARRAY[work.relation, work.query_relation, work.next, work.next_query, work.data]) WITH ORDINALITY AS u(oid, place)
          JOIN pg_class AS c ON c.oid = u.oid AND c.relowner = work.owner
         ORDER BY u.place
    LOOP
        PERFORM mvscheduler.lock_until(deadline);
        EXECUTE format('ALTER %s %s OWNER TO CURRENT_USER', rel.kind, mvscheduler.shown_name(rel.oid));
    END LOOP;

    -- Under these locks nothing changes any more: names, dependents, owners.
    PERFORM mvscheduler.demand_versions(work);
    IF mvscheduler.dependents(work.relation) <> bound THEN
        RAISE EXCEPTION 'views that read it were made or dropped meanwhile' USING ERRCODE = 'lock_not_available';
    END IF;
    PERFORM mvscheduler.demand_no_obstacles(mvscheduler.shown_name(work.relation), work.relation, work.query_relation, work.next);
    IF work.data IS NOT NULL THEN
        PERFORM mvscheduler.demand_replaceable(mvscheduler.shown_name(work.relation), work.relation, work.query_relation, work.data, work.next);
    END IF;
    redefined := ARRAY(SELECT format(E'CREATE OR REPLACE VIEW %s %s AS\n%s', mvscheduler.shown_name(b.oid), mvscheduler.view_options(b.oid), pg_get_viewdef(b.oid))
                         FROM unnest(bound) WITH ORDINALITY AS b(oid, place) ORDER BY b.place);
    meant := mvscheduler.follow(mvscheduler.shown_name(work.relation), bound, redefined, work.relation, NULL);
    SELECT n.nspname, f.relname, qn.nspname AS query_schema, q.relname AS query_name INTO old
      FROM pg_class AS f JOIN pg_namespace AS n ON n.oid = f.relnamespace,
           pg_class AS q JOIN pg_namespace AS qn ON qn.oid = q.relnamespace
     WHERE f.oid = work.relation AND q.oid = work.query_relation;
    SELECT n.nspname, c.relname, qn.nspname AS query_schema, q.relname AS query_name INTO fresh
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
           pg_class AS q JOIN pg_namespace AS qn ON qn.oid = q.relnamespace
     WHERE c.oid = work.next AND q.oid = work.next_query;
    stored := CASE work.method WHEN 'incremental' THEN mvscheduler.free_name(fresh.nspname, old.relname, '__data') ELSE old.relname END;
    named := mvscheduler.index_names(coalesce(work.data, work.relation), work.next, stored);

    -- What was served makes way.
    aside := mvscheduler.free_name(old.nspname, old.relname, '__old');
    IF work.data IS NULL THEN
        EXECUTE format('ALTER MATERIALIZED VIEW %I.%I RENAME TO %I', old.nspname, old.relname, aside);
    ELSE
        EXECUTE format('ALTER TABLE %s RENAME TO %I', mvscheduler.shown_name(work.data), aside);
    END IF;
    EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', old.query_schema, old.query_name, mvscheduler.free_name(old.query_schema, aside, '__query'));
    IF work.data IS NOT NULL THEN
        EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', old.nspname, old.relname, mvscheduler.free_name(old.nspname, old.relname, '__old'));
    END IF;
    -- And what is new takes its place.
    EXECUTE format('ALTER %s %I.%I RENAME TO %I', CASE work.method WHEN 'incremental' THEN 'TABLE' ELSE 'MATERIALIZED VIEW' END, fresh.nspname, fresh.relname, stored);
    EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', fresh.query_schema, fresh.query_name, old.query_name);
    IF work.method = 'incremental' THEN
        EXECUTE format('CREATE VIEW %I.%I AS SELECT %s FROM %I.%I', old.nspname, old.relname, mvscheduler.column_list(work.next), fresh.nspname, stored);
        face := format('%I.%I', old.nspname, old.relname)::regclass;
        PERFORM mvscheduler.demand_reads(face, work.next);
        EXECUTE format('COMMENT ON VIEW %I.%I IS %L', old.nspname, old.relname, obj_description(work.relation, 'pg_class'));
    ELSE
        face := work.next;
    END IF;
    PERFORM mvscheduler.follow(format('%I.%I', old.nspname, old.relname), bound, redefined, face, meant);

    PERFORM mvscheduler.copy_grants(work.relation, face), mvscheduler.copy_comments(work.relation, face);
    IF current_setting('server_version_num')::int >= 170000 THEN   -- which REFRESH needs, and a plain view does not
        EXECUTE format('%s MAINTAIN ON TABLE %s %s mvscheduler_worker', CASE work.method WHEN 'incremental' THEN 'REVOKE' ELSE 'GRANT' END, mvscheduler.shown_name(face), CASE work.method WHEN 'incremental' THEN 'FROM' ELSE 'TO' END);
    END IF;
    PERFORM mvscheduler.copy_grants(work.query_relation, work.next_query), mvscheduler.copy_comments(work.query_relation, work.next_query);
    IF mvscheduler.view_options(work.query_relation) IS NOT NULL THEN
        EXECUTE format('ALTER VIEW %s SET %s', mvscheduler.shown_name(work.next_query), substr(mvscheduler.view_options(work.query_relation), length('WITH ') + 1));
    END IF;

    IF work.data IS NOT NULL THEN
        EXECUTE format('DROP VIEW %s', mvscheduler.shown_name(work.relation));
    END IF;
    BEGIN
        PERFORM mvscheduler.lock_until(deadline);
        EXECUTE format('DROP %s %s', CASE WHEN work.data IS NULL THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, mvscheduler.shown_name(coalesce(work.data, work.relation)));
        EXECUTE format('DROP VIEW %s', mvscheduler.shown_name(work.query_relation));
    EXCEPTION WHEN dependent_objects_still_exist OR lock_not_available THEN NULL;   -- swap_method_done sees what is left
    END;
    IF work.method = 'incremental' THEN
        PERFORM mvscheduler.rename_partitions(work.next, fresh.nspname, stored, false);
    END IF;
    PERFORM mvscheduler.rename_indexes(named), mvscheduler.swap_method_done(view_id, face);
    RETURN 1;
END $$;
COMMENT ON FUNCTION mvscheduler.step_swap_method(bigint) IS 'The new version of a view by another method takes the place of the one that is served, in one transaction; dependents, grants, comments and names follow.';
