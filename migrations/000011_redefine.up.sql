-- Steps ---------------------------------------------------------------------------------------------

-- All locks of a swap together may take so long. Half the time after which the server looks for a
-- deadlock, since it must never be the reader who is chosen.
CREATE FUNCTION mvscheduler.lock_budget() RETURNS interval
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN least(nullif(current_setting('lock_timeout')::interval, '0'), current_setting('deadlock_timeout')::interval / 2);
COMMENT ON FUNCTION mvscheduler.lock_budget() IS 'Longest time that the locks of one step may take together.';

CREATE FUNCTION mvscheduler.lock_until(instant timestamptz) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('lock_timeout', greatest(1, ceil(extract(epoch FROM instant - clock_timestamp()) * 1000))::bigint || 'ms', true);
END $$;
COMMENT ON FUNCTION mvscheduler.lock_until(timestamptz) IS 'Sets lock_timeout to what is left until the instant.';

-- A pair is what it was recorded as, or nothing is done with it.
CREATE FUNCTION mvscheduler.demand_pair(owner oid, relation oid, query_relation oid, what text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel record;
BEGIN
    FOR rel IN
        SELECT p.kind, c.oid, c.relkind, c.relowner, c.relnamespace
          FROM (VALUES ('m', relation), ('v', query_relation)) AS p(kind, oid)
          LEFT JOIN pg_class AS c ON c.oid = p.oid
         WHERE p.oid IS NOT NULL
    LOOP
        IF rel.oid IS NULL THEN
            RAISE EXCEPTION '%', format('the %s of %s does not exist any more', CASE rel.kind WHEN 'm' THEN 'materialized view' ELSE 'query view' END, what)
                USING ERRCODE = 'undefined_table';
        ELSIF rel.relkind::text <> rel.kind OR rel.relowner <> owner THEN
            RAISE EXCEPTION '%', format('%s is not a part of %s any more', mvscheduler.shown_name(rel.oid), what)
                USING ERRCODE = 'wrong_object_type', DETAIL = 'It was given to another owner by hand.';
        END IF;
    END LOOP;
    IF relation IS NULL OR query_relation IS NOT NULL AND NOT mvscheduler.reads_query(relation, query_relation) THEN
        RAISE EXCEPTION '%', format('the pair of %s does not belong together any more', what)
            USING ERRCODE = 'wrong_object_type', DETAIL = 'A part of it was moved, renamed or re-created by hand.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_pair(oid, oid, oid, text) IS 'Raises unless a materialized view and its query view are there, belong to the owner and to each other.';

-- Locks from the outside inwards, as readers take them, by a change of owner that changes nothing.
CREATE FUNCTION mvscheduler.step_swap(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    deadline  timestamptz := clock_timestamp() + mvscheduler.lock_budget();
    work      record;
    old       record;     -- names of the relations as they are now
    fresh     record;
    idx       record;
    dependent oid;
    bound     oid[];
    redefined text[];     -- the statements that make the dependents again
    meant     text[];     -- and what they mean
    extended  text[];
    statement text;
    place     text;
    left_over boolean := false;
BEGIN
    SELECT * INTO work FROM mvscheduler.swap_at_hand(view_id);
    IF work.next IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_pair(work.owner, work.relation, work.query_relation, 'the view');
    PERFORM mvscheduler.demand_pair(work.owner, work.next, work.next_query, 'its new version');
    IF NOT (SELECT c.relispopulated FROM pg_class AS c WHERE c.oid = work.next) THEN
        RAISE EXCEPTION 'the new version is empty' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- Nobody reads the new version yet, so what takes long comes first.
    PERFORM mvscheduler.copy_indexes(work.relation, work.next, false);
    PERFORM mvscheduler.copy_index_settings(work.relation, work.next);

    deadline := clock_timestamp() + mvscheduler.lock_budget();
    bound := mvscheduler.dependents(work.relation);
    FOREACH dependent IN ARRAY bound LOOP
        IF (SELECT c.relowner FROM pg_class AS c WHERE c.oid = dependent) = work.owner THEN
            PERFORM mvscheduler.lock_until(deadline);
            EXECUTE format('ALTER VIEW %s OWNER TO CURRENT_USER', mvscheduler.shown_name(dependent));
        END IF;
    END LOOP;
    PERFORM mvscheduler.lock_until(deadline);
    EXECUTE format('ALTER MATERIALIZED VIEW %s OWNER TO CURRENT_USER', mvscheduler.shown_name(work.relation));
    IF work.query_relation IS NOT NULL THEN
        PERFORM mvscheduler.lock_until(deadline);
        EXECUTE format('ALTER VIEW %s OWNER TO CURRENT_USER', mvscheduler.shown_name(work.query_relation));
    END IF;
    PERFORM mvscheduler.lock_until(deadline);
    EXECUTE format('ALTER MATERIALIZED VIEW %s OWNER TO CURRENT_USER', mvscheduler.shown_name(work.next));

    -- Under these locks nothing changes any more: names, dependents, owners.
    PERFORM mvscheduler.demand_pair(work.owner, work.relation, work.query_relation, 'the view');
    PERFORM mvscheduler.demand_pair(work.owner, work.next, work.next_query, 'its new version');
    IF mvscheduler.dependents(work.relation) <> bound THEN
        RAISE EXCEPTION 'views that read it were made or dropped meanwhile' USING ERRCODE = 'lock_not_available';
    END IF;
    PERFORM mvscheduler.demand_no_obstacles(mvscheduler.shown_name(work.relation), work.relation, work.query_relation, work.next);
    redefined := ARRAY(SELECT format(E'CREATE OR REPLACE VIEW %s %s AS\n%s', mvscheduler.shown_name(b.oid), mvscheduler.view_options(b.oid), pg_get_viewdef(b.oid))
                         FROM unnest(bound) WITH ORDINALITY AS b(oid, place) ORDER BY b.place);
    meant := mvscheduler.follow(mvscheduler.shown_name(work.relation), bound, redefined, work.relation, NULL);
    SELECT n.nspname, c.relname, q.relname AS query_name INTO old
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace LEFT JOIN pg_class AS q ON q.oid = work.query_relation
     WHERE c.oid = work.relation;
    SELECT n.nspname, c.relname, q.relname AS query_name INTO fresh
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_class AS q ON q.oid = work.next_query
     WHERE c.oid = work.next;
    extended := ARRAY(SELECT x.statement
                        FROM pg_statistic_ext AS s
                        JOIN pg_namespace AS n ON n.oid = s.stxnamespace
                       CROSS JOIN LATERAL (VALUES (1, pg_get_statisticsobjdef(s.oid)),
                                                  (2, format('ALTER STATISTICS %I.%I SET STATISTICS %s', n.nspname, s.stxname, nullif(s.stxstattarget::int, -1))),
                                                  (3, format('COMMENT ON STATISTICS %I.%I IS %L', n.nspname, s.stxname, obj_description(s.oid, 'pg_statistic_ext')))) AS x(place, statement)
                       WHERE s.stxrelid = work.relation AND s.stxowner = work.owner
                         AND (x.place <> 2 OR nullif(s.stxstattarget::int, -1) IS NOT NULL)
                       ORDER BY s.oid, x.place);

    -- Indexes of equal definition exchange their names through names that are free.
    FOR idx IN
        SELECT DISTINCT ON (o.indexrelid) oc.relname AS old_name, nc.relname AS new_name
          FROM pg_index AS o
          JOIN pg_class AS oc ON oc.oid = o.indexrelid
          JOIN pg_index AS i ON i.indrelid = work.next AND i.indisunique = o.indisunique AND mvscheduler.index_body(i.indexrelid) = mvscheduler.index_body(o.indexrelid)
          JOIN pg_class AS nc ON nc.oid = i.indexrelid
         WHERE o.indrelid = work.relation
         ORDER BY o.indexrelid, nc.relname
    LOOP
        place := mvscheduler.free_name(old.nspname, idx.old_name, '__old');
        EXECUTE format('ALTER INDEX %I.%I RENAME TO %I', old.nspname, idx.old_name, place);
        IF EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = work.next AND c.relname = idx.new_name) THEN
            EXECUTE format('ALTER INDEX %I.%I RENAME TO %I', fresh.nspname, idx.new_name, idx.old_name);
        END IF;
    END LOOP;

    place := mvscheduler.free_name(old.nspname, old.relname, '__old');
    EXECUTE format('ALTER MATERIALIZED VIEW %I.%I RENAME TO %I', old.nspname, old.relname, place);
    IF work.query_relation IS NOT NULL THEN
        EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', old.nspname, old.query_name, mvscheduler.free_name(old.nspname, place, '__query'));
    END IF;
    EXECUTE format('ALTER MATERIALIZED VIEW %I.%I RENAME TO %I', fresh.nspname, fresh.relname, old.relname);
    EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', fresh.nspname, fresh.query_name,
                   coalesce(old.query_name, mvscheduler.free_name(fresh.nspname, old.relname, '__query')));
    PERFORM mvscheduler.follow(format('%I.%I', old.nspname, old.relname), bound, redefined, work.next, meant);

    PERFORM mvscheduler.copy_settings(work.relation, work.next);
    PERFORM mvscheduler.copy_grants(work.relation, work.next);
    PERFORM mvscheduler.copy_comments(work.relation, work.next);
    IF work.query_relation IS NOT NULL THEN
        PERFORM mvscheduler.copy_grants(work.query_relation, work.next_query);
        PERFORM mvscheduler.copy_comments(work.query_relation, work.next_query);
        IF mvscheduler.view_options(work.query_relation) IS NOT NULL THEN
            EXECUTE format('ALTER VIEW %s SET %s', mvscheduler.shown_name(work.next_query), substr(mvscheduler.view_options(work.query_relation), length('WITH ') + 1));
        END IF;
    END IF;

    BEGIN
        EXECUTE format('DROP MATERIALIZED VIEW %s', mvscheduler.shown_name(work.relation));
        IF work.query_relation IS NOT NULL THEN
            EXECUTE format('DROP VIEW %s', mvscheduler.shown_name(work.query_relation));
        END IF;
    EXCEPTION WHEN dependent_objects_still_exist OR lock_not_available THEN
        left_over := true;
    END;
    IF left_over THEN   -- its statistics keep their names as well
        FOR idx IN SELECT n.nspname, s.stxname FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace WHERE s.stxrelid = work.relation AND s.stxowner = work.owner LOOP
            EXECUTE format('ALTER STATISTICS %I.%I RENAME TO %I', idx.nspname, idx.stxname, mvscheduler.helper_name(idx.stxname, '__old'));
        END LOOP;
    END IF;
    FOREACH statement IN ARRAY extended LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN undefined_column OR undefined_object OR undefined_function OR feature_not_supported OR invalid_column_reference THEN
            NULL;   -- of columns that are gone
        END;
    END LOOP;
    -- The other indexes were named by PostgreSQL after the new version.
    FOR idx IN
        SELECT c.relname AS new_name, old.relname || substr(c.relname, length(fresh.relname) + 1) AS wanted
          FROM pg_index AS i
          JOIN pg_class AS c ON c.oid = i.indexrelid
         WHERE i.indrelid = work.next AND starts_with(c.relname::text, fresh.relname::text)
         ORDER BY c.relname
    LOOP
        IF octet_length(idx.wanted) <= 63 AND NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                                                            WHERE n.nspname = fresh.nspname AND c.relname = idx.wanted) THEN
            EXECUTE format('ALTER INDEX %I.%I RENAME TO %I', fresh.nspname, idx.new_name, idx.wanted);
        END IF;
    END LOOP;
    PERFORM mvscheduler.swap_done(view_id);
    RETURN 1;
END $$;
COMMENT ON FUNCTION mvscheduler.step_swap(bigint) IS 'The new version of a view takes the place of the one that is served, in one transaction; dependents, grants, comments and names follow.';

CREATE FUNCTION mvscheduler.step_drop_leftover(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + mvscheduler.lock_budget();
    rel      record;
    dropped  bigint := 0;
BEGIN
    FOR rel IN
        SELECT c.oid, c.relkind
          FROM mvscheduler.leftovers_at_hand(view_id) AS l
          JOIN pg_class AS c ON c.oid = l.relation AND c.relowner = l.owner AND c.relkind IN ('m', 'v', 'p')
    LOOP
        PERFORM mvscheduler.lock_until(deadline);
        EXECUTE format('DROP %s %s', CASE rel.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'p' THEN 'TABLE' ELSE 'VIEW' END, mvscheduler.shown_name(rel.oid));
        dropped := dropped + 1;
    END LOOP;
    PERFORM mvscheduler.leftovers_done(view_id);
    RETURN dropped;
END $$;
COMMENT ON FUNCTION mvscheduler.step_drop_leftover(bigint) IS 'Drops what a swap could not (RESTRICT).';

-- The registry of steps. A gate is SELECT mvscheduler.step(id).
CREATE FUNCTION mvscheduler.step(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CASE mvscheduler.step_at_hand(view_id)
        WHEN 'swap' THEN
            RETURN mvscheduler.step_swap(view_id);
        WHEN 'swap_data' THEN
            RETURN mvscheduler.step_swap_data(view_id);
        WHEN 'swap_method' THEN
            RETURN mvscheduler.step_swap_method(view_id);
        WHEN 'drop_leftover' THEN
            RETURN mvscheduler.step_drop_leftover(view_id);
        WHEN 'track' THEN
            RETURN mvscheduler.step_track(view_id);
        WHEN 'increment' THEN
            RETURN mvscheduler.step_increment(view_id);
        WHEN 'build' THEN
            RETURN mvscheduler.step_build(view_id);
        WHEN 'detach' THEN
            RETURN mvscheduler.step_detach(view_id);
        WHEN 'drop_kept' THEN
            RETURN mvscheduler.step_drop_kept(view_id);
        WHEN 'attach' THEN
            RETURN mvscheduler.step_attach(view_id);
        ELSE
            RETURN 0;
    END CASE;
END $$;
COMMENT ON FUNCTION mvscheduler.step(bigint) IS 'What the gate of a view calls: does the step for which the running attempt was let through, as the owner of the gate, and nothing everywhere else.';

-- In the session of the user who changes the row ------------------------------------------------------

-- A comment, written as it is, takes a lock that readers do not feel and that everything else of DDL waits for.
-- It is waited for longer than a refresh lets DDL wait before it makes way.
CREATE FUNCTION mvscheduler.hold(VARIADIC relations oid[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
AS $$
DECLARE
    rel record;
BEGIN
    FOR rel IN
        SELECT c.oid, mvscheduler.shown_name(c.oid) AS name, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'p' THEN 'TABLE' ELSE 'VIEW' END AS kind
          FROM unnest(relations) WITH ORDINALITY AS r(oid, place)
          JOIN pg_class AS c ON c.oid = r.oid AND c.relkind IN ('m', 'v', 'p')
         ORDER BY r.place
    LOOP
        BEGIN
            EXECUTE format('COMMENT ON %s %s IS %L', rel.kind, rel.name, obj_description(rel.oid, 'pg_class'));
        EXCEPTION WHEN undefined_table OR wrong_object_type THEN NULL;   -- swapped away while we waited
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.hold(oid[]) IS 'Locks relations of the current role against DDL until the end of the transaction, in this order. The caller looks afterwards whether they are still what they were.';

-- A swap gives the pair other OIDs, and its owner other names. A step locks the gate before all else, and REFRESH
-- the view before its query; so does everything here.
CREATE FUNCTION mvscheduler.settle(view_id bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    known record;
    held  text;
BEGIN
    LOOP
        SELECT array_agg(c.oid ORDER BY m.place) AS oids, string_agg(concat_ws(' ', c.oid, mvscheduler.shown_name(c.oid)), E'\n' ORDER BY c.oid) AS said INTO known
          FROM mvscheduler.visible_views AS o
         CROSS JOIN LATERAL (SELECT 1 AS place, p.relation::oid AS oid, 'm' AS kind FROM mvscheduler.visible_pieces AS p WHERE p.view_id = o.view_id AND p.kind = 'gate'
                             UNION ALL
                             VALUES (2, o.relation::oid, CASE o.method WHEN 'incremental' THEN 'v' ELSE 'm' END), (3, o.query_relation::oid, 'v')) AS m
          JOIN pg_class AS c ON c.oid = m.oid AND c.relkind = m.kind
          JOIN pg_roles AS r ON r.oid = c.relowner AND r.rolname = CURRENT_USER
         WHERE o.view_id = settle.view_id;
        EXIT WHEN known.oids IS NULL OR known.said = held;
        PERFORM mvscheduler.hold(VARIADIC known.oids);
        held := known.said;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.settle(bigint) IS 'Makes sure, by locks on the gate, the view and the plain view with its query, that they stay what the catalog says until the end of the transaction. A step locks the gate first, too, so the two never meet in a deadlock.';

CREATE FUNCTION mvscheduler.drop_pieces(view_id bigint, VARIADIC kinds text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel record;
BEGIN
    PERFORM mvscheduler.hold(p.relation::oid)   -- the build of one makes way
       FROM mvscheduler.visible_pieces AS p
       JOIN pg_class AS c ON c.oid = p.relation::oid
       JOIN pg_roles AS r ON r.oid = c.relowner AND r.rolname = CURRENT_USER
      WHERE p.view_id = drop_pieces.view_id AND p.kind = ANY (kinds);
    FOR rel IN
        SELECT c.oid, c.relkind,
               EXISTS (SELECT FROM pg_depend AS d
                         JOIN pg_rewrite AS w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
                         JOIN pg_class AS m ON m.oid = w.ev_class AND m.relkind = 'm' AND m.relowner <> c.relowner
                        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid) AS given_away
          FROM mvscheduler.visible_pieces AS p
          JOIN pg_class AS c ON c.oid = p.relation::oid AND mvscheduler.is_piece(p.kind, c.relkind)
          JOIN pg_roles AS r ON r.oid = c.relowner AND r.rolname = CURRENT_USER
         WHERE p.view_id = drop_pieces.view_id AND p.kind = ANY (kinds)
         ORDER BY array_position(kinds, p.kind)
    LOOP
        IF rel.given_away THEN
            RAISE NOTICE '% is left, since its materialized view was given to another owner by hand', mvscheduler.shown_name(rel.oid);
        ELSE
            EXECUTE format('DROP %s %s', CASE rel.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'p' THEN 'TABLE' ELSE 'VIEW' END, mvscheduler.shown_name(rel.oid));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.drop_pieces(bigint, text[]) IS 'Drops pieces of a view, by OID and only those that its owner still owns.';

CREATE FUNCTION mvscheduler.pending_version(view_id bigint, OUT relation oid, OUT query_relation oid, OUT query_seal bytea)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT v.kind, v.relation::oid AS oid, v.query_seal AS seal FROM mvscheduler.visible_pieces AS v WHERE v.view_id = $1 AND v.kind IN ('next', 'next_query') LOOP
        IF p.kind = 'next' THEN
            relation := p.oid;
        ELSE
            query_relation := p.oid;
            query_seal := p.seal;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.pending_version(bigint) IS 'The pair of a view that is being built; NULL when there is none.';

CREATE FUNCTION mvscheduler.all_can_become(view_id bigint, other regrole) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(bool_and(mvscheduler.can_become(r.role, other)), true)
      FROM (SELECT o.owner::oid AS role FROM mvscheduler.visible_views AS o WHERE o.view_id = $1
            UNION ALL
            SELECT c.relowner FROM mvscheduler.visible_views AS o JOIN pg_class AS c ON c.oid IN (o.relation::oid, o.query_relation::oid) WHERE o.view_id = $1
            UNION ALL
            SELECT c.relowner FROM mvscheduler.visible_pieces AS p JOIN pg_class AS c ON c.oid = p.relation::oid WHERE p.view_id = $1) AS r
$$;
COMMENT ON FUNCTION mvscheduler.all_can_become(bigint, regrole) IS 'True when every role that owns the row or a relation of a view, given to it by hand perhaps, can become another role.';

-- A piece of it was dropped, given away or replaced by hand: the next UPDATE makes it anew.
CREATE FUNCTION mvscheduler.pending_version_broken(v mvscheduler.views) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*) > 0 AND count(c.oid) < 3
           OR v.method = 'incremental' AND NOT EXISTS (SELECT FROM mvscheduler.visible_pieces AS g JOIN pg_class AS m ON m.oid = g.relation::oid AND m.relkind = 'm' AND m.relowner = v.owner::oid
                                                        WHERE g.view_id = v.id AND g.kind = 'gate')
      FROM mvscheduler.visible_pieces AS p
      LEFT JOIN pg_class AS c ON c.oid = p.relation::oid AND c.relowner = v.owner::oid AND mvscheduler.is_piece(p.kind, c.relkind)
     WHERE p.view_id = v.id AND p.kind IN ('gate', 'next', 'next_query')
       AND EXISTS (SELECT FROM mvscheduler.visible_pieces AS n WHERE n.view_id = v.id AND n.kind = 'next')
$$;
COMMENT ON FUNCTION mvscheduler.pending_version_broken(mvscheduler.views) IS 'True when a new version is to be built whose relations are not all there, or an incremental view has no gate.';

-- For the trigger d_pieces, which fires next.
CREATE FUNCTION mvscheduler.tell_pieces(pieces text) RETURNS text
LANGUAGE sql
RETURN pg_catalog.set_config('mvscheduler.pieces', pieces, true);
COMMENT ON FUNCTION mvscheduler.tell_pieces(text) IS 'Says what the DDL of this row made: OIDs of gate, next and next_query, or of a gate alone; none when these were dropped; empty when they stay what they were.';

CREATE FUNCTION mvscheduler.cancel_redefinition(view_id bigint) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM mvscheduler.visible_pieces AS p WHERE p.view_id = cancel_redefinition.view_id AND p.kind = 'next') THEN
        PERFORM mvscheduler.drop_pieces(view_id, 'gate', 'next', 'next_query');
        RETURN 'none';
    END IF;
    RETURN '';
END $$;
COMMENT ON FUNCTION mvscheduler.cancel_redefinition(bigint) IS 'Drops a new version that is not in place yet; returns what to tell d_pieces.';

CREATE FUNCTION mvscheduler.redefine(v mvscheduler.views, relation oid, query_relation oid) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place      record;
    next_name  text;
    query_name text;
    gate_name  text;
    next       oid;
    next_query oid;
    gate       oid;
BEGIN
    PERFORM mvscheduler.drop_pieces(v.id, 'gate', 'next', 'next_query');
    SELECT n.nspname, c.relname INTO place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation;
    query_name := mvscheduler.free_name(place.nspname, place.relname, '__next__query');
    PERFORM mvscheduler.create_query_view(v, place.nspname, query_name);
    EXECUTE format('COMMENT ON VIEW %I.%I IS %L', place.nspname, query_name, 'mvscheduler: query of ' || v.name);
    next_name := mvscheduler.free_name(place.nspname, place.relname, '__next');
    EXECUTE format('CREATE MATERIALIZED VIEW %1$I.%2$I AS SELECT * FROM %1$I.%3$I WITH NO DATA', place.nspname, next_name, query_name);
    gate_name := mvscheduler.free_name(place.nspname, place.relname, '__gate');
    EXECUTE format('CREATE MATERIALIZED VIEW %I.%I AS SELECT mvscheduler.step(%s) AS step WITH NO DATA', place.nspname, gate_name, v.id);
    EXECUTE format('COMMENT ON MATERIALIZED VIEW %I.%I IS %L', place.nspname, gate_name, 'mvscheduler: gate of ' || v.name);
    next := format('%I.%I', place.nspname, next_name)::regclass;
    next_query := format('%I.%I', place.nspname, query_name)::regclass;
    gate := format('%I.%I', place.nspname, gate_name)::regclass;
    PERFORM mvscheduler.demand_same((SELECT bool_and(c.relnamespace = m.relnamespace) FROM pg_class AS m, pg_class AS c WHERE m.oid = relation AND c.oid IN (next, next_query, gate))
                                    AND mvscheduler.query_relation_of(next) = next_query, v.name);
    PERFORM mvscheduler.keep_to_owner(r) FROM unnest(ARRAY[next_query, next, gate]) AS r;

    PERFORM mvscheduler.demand_no_obstacles(v.name, relation, query_relation, next);
    IF (SELECT c.reltablespace FROM pg_class AS c WHERE c.oid = relation) <> (SELECT c.reltablespace FROM pg_class AS c WHERE c.oid = next) THEN
        EXECUTE format('ALTER MATERIALIZED VIEW %I.%I SET TABLESPACE %I', place.nspname, next_name,
                       (SELECT t.spcname FROM pg_class AS c, pg_database AS d, pg_tablespace AS t
                         WHERE c.oid = relation AND d.datname = current_database() AND t.oid = CASE c.reltablespace WHEN 0 THEN d.dattablespace ELSE c.reltablespace END));
    END IF;
    IF current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE format('GRANT MAINTAIN ON TABLE %I.%I, %I.%I TO mvscheduler_worker', place.nspname, next_name, place.nspname, gate_name);
    END IF;
    RAISE NOTICE 'a new version of managed view % is built and then takes its place', v.name
        USING DETAIL = 'Until then the old version is served and not refreshed.',
              HINT = 'See mvscheduler.status for how far it is; an UPDATE back to the old columns cancels it.';
    RETURN concat_ws(' ', gate, next, next_query);
END $$;
COMMENT ON FUNCTION mvscheduler.redefine(mvscheduler.views, oid, oid) IS 'Makes the pair of a new version with other columns, empty and without indexes, and the gate through which it will be swapped in; raises where a dependent cannot follow. Returns what to tell d_pieces.';

-- Text of a stranger's is left to the gate, which acts for the owner alone. A key that the owner made by hand
-- is enough, unless the row names one.
CREATE FUNCTION mvscheduler.equip_version(v mvscheduler.views, relation oid, next oid, next_query oid, without_text boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF v.unique_key IS NULL THEN
        PERFORM mvscheduler.copy_indexes(relation, next, without_text);
    END IF;
    PERFORM mvscheduler.create_unique_index(v, next, next_query);
    PERFORM mvscheduler.create_indexes(v, next);
    PERFORM mvscheduler.copy_indexes(relation, next, without_text);
    PERFORM mvscheduler.copy_index_settings(relation, next);
    PERFORM mvscheduler.copy_settings(relation, next);
END $$;
COMMENT ON FUNCTION mvscheduler.equip_version(mvscheduler.views, oid, oid, oid, boolean) IS 'Makes the indexes of a new version, and gives it the storage parameters and statistics targets of the old one.';

CREATE FUNCTION mvscheduler.rename_pieces(v mvscheduler.views) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target text[] := mvscheduler.split_name(v.name);
    rel    record;
    wanted text;
BEGIN
    FOR rel IN
        SELECT c.oid, n.nspname, c.relname, p.kind AS piece, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'p' THEN 'TABLE' ELSE 'VIEW' END AS kind
          FROM mvscheduler.visible_pieces AS p
          JOIN pg_class AS c ON c.oid = p.relation::oid AND c.relkind IN ('m', 'v', 'p')
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE p.view_id = v.id
         ORDER BY p.kind, c.oid
    LOOP
        wanted := mvscheduler.free_name(target[1], target[2],
            CASE rel.piece WHEN 'gate' THEN '__gate' WHEN 'data' THEN '__data' WHEN 'next' THEN '__next' WHEN 'next_query' THEN '__next__query' WHEN 'old' THEN '__old' ELSE '__old__query' END);
        IF rel.nspname <> target[1] THEN   -- under a name that is free in both schemas
            EXECUTE format('ALTER %s %I.%I RENAME TO %I', rel.kind, rel.nspname, rel.relname, 'mvscheduler moves ' || rel.oid);
            rel.relname := 'mvscheduler moves ' || rel.oid;
            EXECUTE format('ALTER %s %I.%I SET SCHEMA %I', rel.kind, rel.nspname, rel.relname, target[1]);
        END IF;
        EXECUTE format('ALTER %s %I.%I RENAME TO %I', rel.kind, target[1], rel.relname, wanted);
        IF rel.kind = 'TABLE' THEN
            PERFORM mvscheduler.rename_partitions(rel.oid, target[1], wanted, true);
        END IF;
        IF rel.piece IN ('gate', 'data', 'next_query') THEN
            EXECUTE format('COMMENT ON %s %I.%I IS %L', rel.kind, target[1], wanted,
                           CASE rel.piece WHEN 'gate' THEN 'mvscheduler: gate of ' WHEN 'data' THEN 'mvscheduler: data of ' ELSE 'mvscheduler: query of ' END || v.name);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.rename_pieces(mvscheduler.views) IS 'Renames or moves the pieces of a view after it.';

CREATE FUNCTION mvscheduler.change_owner_of_pieces(v mvscheduler.views) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel     record;
    pending record;
    served  record;
    given   boolean := false;
BEGIN
    FOR rel IN
        SELECT c.oid, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind
          FROM mvscheduler.visible_pieces AS p
         CROSS JOIN LATERAL (SELECT p.relation::oid AS oid UNION SELECT t.relid FROM pg_partition_tree(p.relation) AS t WHERE p.kind IN ('data', 'next')
                             UNION SELECT k.relation::oid FROM mvscheduler.visible_kept AS k WHERE k.target = v.id AND NOT k.altered AND p.kind = 'data') AS m
          JOIN pg_class AS c ON c.oid = m.oid AND c.relkind IN ('m', 'v', 'p', 'r') AND c.relowner <> v.owner::oid
         WHERE p.view_id = v.id AND p.kind NOT IN ('old', 'old_query')   -- what is left of a swap stays with whom it served
         ORDER BY c.relkind, c.oid
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO %s', rel.kind, mvscheduler.shown_name(rel.oid), v.owner);
        given := true;
    END LOOP;
    SELECT * INTO pending FROM mvscheduler.pending_version(v.id);
    SELECT o.relation::oid AS relation, o.query_relation::oid AS query_relation, o.method INTO served FROM mvscheduler.visible_views AS o WHERE o.view_id = v.id;
    IF pending.relation IS NOT NULL AND NOT (v.method = 'incremental' AND served.method = 'incremental' AND mvscheduler.extends(served.relation, pending.relation)) THEN
        PERFORM mvscheduler.demand_no_obstacles(v.name, served.relation, served.query_relation, pending.relation);
    END IF;
    RETURN given;
END $$;
COMMENT ON FUNCTION mvscheduler.change_owner_of_pieces(mvscheduler.views) IS 'Gives the pieces of a view to its new owner; false where they belonged to that role already.';

-- Records what b_ddl made. Whatever it is told, only relations of the view's owner become its pieces.
CREATE FUNCTION mvscheduler.views_pieces() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    told text[] := string_to_array(nullif(current_setting('mvscheduler.pieces', true), ''), ' ');
    also text[] := string_to_array(nullif(current_setting('mvscheduler.increment', true), ''), ' ');
    made int;
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM mvscheduler.piece AS p WHERE p.view_id = OLD.id;
        DELETE FROM mvscheduler.redefinition AS r WHERE r.view_id = OLD.id;
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' AND NEW.method = 'incremental' THEN
        INSERT INTO mvscheduler.piece (view_id, kind, relation)
        SELECT NEW.id, k.kind, c.oid::regclass
          FROM (VALUES ('gate', 'm', also[2]), ('data', 'p', also[3])) AS k(kind, relkind, oid)
          JOIN pg_class AS c ON c.oid = k.oid::oid AND c.relowner = NEW.owner::oid AND c.relkind::text = k.relkind;
        GET DIAGNOSTICS made = ROW_COUNT;
        IF made <> 2 THEN
            RAISE EXCEPTION 'what managed view % is made of is not what it should be', NEW.name USING ERRCODE = 'wrong_object_type';
        END IF;
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.owner <> OLD.owner THEN
        DELETE FROM mvscheduler.piece AS p WHERE p.view_id = NEW.id AND p.kind IN ('old', 'old_query');   -- see change_owner_of_pieces
        UPDATE mvscheduler.kept AS k SET mark = mvscheduler.kept_mark(c.oid) FROM pg_class AS c WHERE k.target = NEW.id AND c.oid = k.relation::oid AND c.relowner = NEW.owner::oid;
    END IF;
    IF TG_OP = 'UPDATE' AND told IS NOT NULL AND EXISTS (SELECT FROM mvscheduler.piece AS p WHERE p.view_id = NEW.id AND p.kind = 'next') THEN   -- what that version alone has read nobody has
        DELETE FROM mvscheduler.view_source AS v
         WHERE v.view_id = NEW.id
           AND NOT EXISTS (SELECT FROM mvscheduler.piece AS d JOIN mvscheduler.increment_state AS i ON i.view_id = d.view_id AND i.data = d.relation
                            WHERE d.view_id = NEW.id AND d.kind = 'data' AND i.leaves @> jsonb_build_array(jsonb_build_object('oid', v.relation::oid::bigint)));
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.method = 'incremental' AND OLD.method = 'incremental' AND NEW.query <> OLD.query THEN
        PERFORM mvscheduler.freeze_read(NEW.id, array_agg(r.relation), array_agg(r.col), ARRAY(SELECT v.target FROM mvscheduler.view_source AS v WHERE v.view_id = NEW.id), NULL)
           FROM mvscheduler.view_state AS s, mvscheduler.sources_of(coalesce(told[3]::oid, s.query_relation::oid), NEW.time_column) AS r
          WHERE s.view_id = NEW.id AND NOT EXISTS (SELECT FROM mvscheduler.view_source AS v WHERE v.view_id = NEW.id AND v.relation::oid = r.relation AND v.col = r.col);
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.method = 'incremental' AND (NEW.timezone <> OLD.timezone OR current_setting('mvscheduler.cuts', true) = 'other') THEN   -- rows would move between buckets that are computed and those that are frozen
        PERFORM mvscheduler.demand_nothing_frozen(NEW.id, NEW.name);
    ELSIF TG_OP = 'UPDATE' AND NEW.method = 'incremental' AND OLD.method = 'incremental' AND NEW.query <> OLD.query AND (told IS NULL OR told[1] = 'none') THEN
        PERFORM mvscheduler.tell_of_frozen(NEW.id, NEW.name);
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.method = 'incremental' AND OLD.method = 'incremental' AND now() - NEW.retention_period > coalesce(now() - OLD.retention_period, '-infinity') THEN
        PERFORM mvscheduler.tell_of_leaving(d.relation::oid, NEW.name, NEW.retention_period, g.grace_period)
           FROM mvscheduler.piece AS d, mvscheduler.settings AS g WHERE d.view_id = NEW.id AND d.kind = 'data';
    END IF;
    PERFORM set_config('mvscheduler.cuts', '', true);   -- of the next row
    IF told IS NULL THEN
        UPDATE mvscheduler.redefinition AS r SET method = NEW.method, time_column = NEW.time_column WHERE r.view_id = NEW.id AND (r.method, r.time_column) IS DISTINCT FROM (NEW.method, NEW.time_column);
        RETURN NULL;
    END IF;
    DELETE FROM mvscheduler.piece AS p WHERE p.view_id = NEW.id AND p.kind IN ('gate', 'next', 'next_query') AND NOT (NEW.method = 'incremental' AND p.kind = 'gate' AND told[1] = 'none');
    DELETE FROM mvscheduler.redefinition AS r WHERE r.view_id = NEW.id;
    IF told[1] <> 'none' THEN
        INSERT INTO mvscheduler.piece (view_id, kind, relation)
        SELECT NEW.id, k.kind, c.oid::regclass
          FROM unnest(ARRAY['gate', 'next', 'next_query'], told) AS k(kind, oid)
          JOIN pg_class AS c ON c.oid = k.oid::oid AND c.relowner = NEW.owner::oid AND c.relkind = CASE WHEN k.kind = 'next_query' THEN 'v' WHEN k.kind = 'next' AND NEW.method = 'incremental' THEN 'p' ELSE 'm' END;
        GET DIAGNOSTICS made = ROW_COUNT;
        IF made <> cardinality(told) THEN
            RAISE EXCEPTION 'the new version of managed view % is not what it should be', NEW.name USING ERRCODE = 'wrong_object_type';
        END IF;
        IF made = 3 THEN
            INSERT INTO mvscheduler.redefinition (view_id, query_seal, frozen_times, method, time_column) VALUES (NEW.id, mvscheduler.seal_of(told[3]::oid), mvscheduler.frozen_times(NEW.id), NEW.method, NEW.time_column);
            PERFORM mvscheduler.demand_nothing_frozen(NEW.id, NEW.name);
        END IF;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.views_pieces() IS 'Trigger d_pieces on views: records the pieces that the DDL of the row made.';
REVOKE ALL ON FUNCTION mvscheduler.views_pieces() FROM PUBLIC;

-- The last trigger, in the session of the user like b_ddl: the author's functions run here, in CREATE INDEX,
-- and find everything recorded. What may be parsed for whom b_ddl has looked at, under its locks.
CREATE FUNCTION mvscheduler.views_indexes() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
SET standard_conforming_strings = on
SET quote_all_identifiers = off
SET transform_null_equals = off
SET array_nulls = on
AS $$
DECLARE
    began      timestamptz := clock_timestamp();
    actor      text := CURRENT_USER;
    saved_role text := current_setting('role');
    pieces     text := current_setting('mvscheduler.pieces');
    served     record;
    pending    record;
    data       oid;
    source     oid;   -- of indexes that were made by hand
BEGIN
    IF TG_OP = 'UPDATE' AND pieces = ''
       AND NOT mvscheduler.parses_query(OLD, NEW) AND (NEW.method, NEW.unique_key, NEW.indexes) IS NOT DISTINCT FROM (OLD.method, OLD.unique_key, OLD.indexes) THEN
        RETURN NULL;
    END IF;
    SELECT o.relation::oid AS relation, o.query_relation::oid AS query_relation INTO served FROM mvscheduler.visible_views AS o WHERE o.view_id = NEW.id;
    SELECT * INTO pending FROM mvscheduler.pending_version(NEW.id);
    LOOP
    BEGIN
        PERFORM mvscheduler.act_as(NEW.owner::oid);
        data := (SELECT p.relation::oid FROM mvscheduler.visible_pieces AS p WHERE p.view_id = NEW.id AND p.kind = 'data');
        source := coalesce(data, served.relation);
        IF NEW.method = 'incremental' THEN   -- its key was made with its data
            IF pieces LIKE '% %' THEN
                PERFORM mvscheduler.create_indexes(NEW, pending.relation);
                PERFORM mvscheduler.copy_indexes(source, pending.relation, NEW.owner <> OLD.owner OR quote_ident(actor)::regrole <> NEW.owner);
            ELSIF TG_OP = 'INSERT' OR pieces = 'none' OR NEW.indexes IS DISTINCT FROM OLD.indexes THEN
                PERFORM mvscheduler.create_indexes(NEW, coalesce(pending.relation, data));
            END IF;
        ELSIF TG_OP = 'INSERT' THEN
            PERFORM mvscheduler.create_unique_index(NEW, served.relation, served.query_relation);
            -- Those that a restore has made already stay.
            IF NEW.adopted OR coalesce(cardinality(NEW.indexes), 0) <> (SELECT count(*) FROM pg_index AS i
                                                                         WHERE i.indrelid = served.relation AND obj_description(i.indexrelid, 'pg_class') = 'mvscheduler: indexes') THEN
                PERFORM mvscheduler.create_indexes(NEW, served.relation);
            END IF;
        ELSIF pieces = 'none' THEN   -- what was changed meanwhile went to the new version
            PERFORM mvscheduler.create_unique_index(NEW, served.relation, served.query_relation);
            PERFORM mvscheduler.create_indexes(NEW, served.relation);
        ELSIF pieces <> '' THEN
            PERFORM mvscheduler.equip_version(NEW, source, pending.relation, pending.query_relation,
                                              NEW.owner <> OLD.owner OR quote_ident(actor)::regrole <> NEW.owner);
        ELSE
            IF pending.relation IS NOT NULL THEN
                served := pending;
            END IF;
            IF NEW.unique_key IS DISTINCT FROM OLD.unique_key
               OR NEW.unique_key IS NULL AND NEW.query <> OLD.query
               OR NEW.method = 'concurrent' AND OLD.method <> 'concurrent' THEN
                PERFORM mvscheduler.create_unique_index(NEW, served.relation, served.query_relation);
            END IF;
            IF NEW.indexes IS DISTINCT FROM OLD.indexes THEN
                PERFORM mvscheduler.create_indexes(NEW, served.relation);
            END IF;
        END IF;
        IF CURRENT_USER <> actor THEN
            PERFORM set_config('role', saved_role, true);
        END IF;
        EXIT;
    EXCEPTION WHEN lock_not_available THEN
        PERFORM mvscheduler.wait_or_say_busy(NEW.name, SQLERRM, began);
    END;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.views_indexes() IS 'Trigger e_indexes on views: the unique index and those of the column indexes, as the user.';

CREATE TRIGGER d_pieces AFTER INSERT OR UPDATE OR DELETE ON mvscheduler.views
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.views_pieces();
CREATE TRIGGER e_indexes AFTER INSERT OR UPDATE ON mvscheduler.views
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.views_indexes();
