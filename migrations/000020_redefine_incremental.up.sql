-- Another version of an incremental view: other columns, another time column, key or width of partitions. The UPDATE
-- makes v__next, a table like v__data, and v__next__query. Runs work on these (version_at_work): the first fill, then
-- an increment for what changed meanwhile, and then the step swap_data puts them in the place of v__data and v__query. v
-- itself is replaced in place where columns are only appended; else by a new view, and its dependents follow.

-- What is served ----------------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.column_list(relation oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped);
COMMENT ON FUNCTION mvscheduler.column_list(oid) IS 'Columns of a relation, quoted where needed, as SELECT takes them.';

CREATE FUNCTION mvscheduler.partition_column(data oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT a.attname FROM pg_partitioned_table AS p JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] WHERE p.partrelid = data);
COMMENT ON FUNCTION mvscheduler.partition_column(oid) IS 'Column by which the data of an incremental view is partitioned.';

-- Far away there are others: years where too many were needed at once (cover_range), and those of partition_extent.
CREATE FUNCTION mvscheduler.unit_in_force(data oid) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT CASE WHEN p.hi - p.lo <= interval '1 day' THEN 'day' WHEN p.hi - p.lo <= interval '7 days' THEN 'week' WHEN p.hi - p.lo <= interval '31 days' THEN 'month' WHEN p.hi - p.lo <= interval '366 days' THEN 'year' ELSE 'century' END
              FROM mvscheduler.partitions_of(data) AS p
             WHERE p.hi - p.lo <= interval '36525 days'
             ORDER BY abs(extract(epoch FROM p.lo - now() AT TIME ZONE 'UTC'))
             LIMIT 1);
END $$;
COMMENT ON FUNCTION mvscheduler.unit_in_force(oid) IS 'How much time the partition of an incremental view holds that begins the nearest to now; NULL when it has none.';

CREATE FUNCTION mvscheduler.other_key(v mvscheduler.views, data oid, key text[]) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN key IS DISTINCT FROM mvscheduler.key_of(data) AND (v.unique_key IS NOT NULL OR mvscheduler.key_of(data) IS NOT NULL);   -- without a key anything goes
COMMENT ON FUNCTION mvscheduler.other_key(mvscheduler.views, oid, text[]) IS 'True when the rows of an incremental view are to be told apart by others columns than its data has a key for.';

-- What its owner has made of it a swap would take away without a word.
CREATE FUNCTION mvscheduler.demand_face(relation oid, data oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    wanted text;
BEGIN
    SELECT format(E' SELECT %s\n   FROM %s;', (SELECT string_agg(quote_ident(a.attname), E',\n    ' ORDER BY a.attnum) FROM pg_attribute AS a WHERE a.attrelid = data AND a.attnum > 0 AND NOT a.attisdropped), mvscheduler.shown_name(data))
      INTO wanted;
    IF replace(pg_get_viewdef(relation), (SELECT E' ' || quote_ident(c.relname) || '.' FROM pg_class AS c WHERE c.oid = data), ' ') IS DISTINCT FROM wanted THEN   -- 15 says the table with each column
        RAISE EXCEPTION 'view % is not what it was made as: it was replaced by hand, or a column of it or of its data was renamed', mvscheduler.shown_name(relation)
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('A new version would undo that. It was made as:%s', wanted),
                  HINT = 'Make it again what it was, and what you want more of it in a view of your own that reads it.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_face(oid, oid) IS 'Raises unless the view that people read shows the columns of the data, no more and no less.';

-- Readers are to go through the view. The triggers of the change log come back by themselves; indexes are copied.
CREATE FUNCTION mvscheduler.data_obstacles(relation oid, query_relation oid, data oid) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off   -- to compile it takes ten times what it takes
AS $$
    WITH tree AS (
        SELECT t.relid::oid AS oid FROM pg_partition_tree(data::regclass) AS t
    ), said AS (
        SELECT CASE WHEN d.classid = 'pg_rewrite'::regclass THEN (SELECT mvscheduler.shown_name(w.ev_class) || ' reads it directly' FROM pg_rewrite AS w WHERE w.oid = d.objid AND w.ev_class <> relation)
                    ELSE pg_describe_object(d.classid, d.objid, d.objsubid) || ' hangs on it' END AS text
          FROM pg_class AS c
          JOIN pg_type AS y ON y.oid = c.reltype
          JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray)
         WHERE c.oid IN (SELECT t.oid FROM tree AS t)
           AND d.deptype IN ('n', 'a')
           AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class AS o WHERE o.oid = d.objid AND (o.relkind IN ('i', 'I') OR o.relispartition)))
           AND NOT (d.classid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger AS g JOIN pg_proc AS f ON f.oid = g.tgfoid WHERE g.oid = d.objid AND f.pronamespace = 'mvscheduler'::regnamespace))
           AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint AS n WHERE n.oid = d.objid AND n.conrelid <> data AND n.contype IN ('c', 'n') AND n.conparentid = 0 AND NOT n.conislocal))
        UNION ALL
        SELECT 'index ' || mvscheduler.shown_name(i.indexrelid) || ' hangs on one of its partitions'
          FROM tree AS t JOIN pg_index AS i ON i.indrelid = t.oid AND t.oid <> data JOIN pg_class AS c ON c.oid = i.indexrelid AND NOT c.relispartition
        UNION ALL
        SELECT format('column %I was added to it by hand', a.attname)
          FROM pg_attribute AS a
         WHERE a.attrelid = data AND a.attnum > 0 AND NOT a.attisdropped AND NOT EXISTS (SELECT FROM pg_attribute AS b WHERE b.attrelid = query_relation AND b.attname = a.attname AND b.attnum > 0)
    )
    SELECT coalesce(array_agg(s.text ORDER BY s.text), '{}') FROM said AS s WHERE s.text IS NOT NULL
$$;
COMMENT ON FUNCTION mvscheduler.data_obstacles(oid, oid, oid) IS 'What was made by hand upon the data of an incremental view and would go with it, each in words.';

CREATE FUNCTION mvscheduler.demand_replaceable(view_name text, relation oid, query_relation oid, data oid, next oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found text[] := mvscheduler.data_obstacles(relation, query_relation, data);
BEGIN
    PERFORM mvscheduler.demand_face(relation, data);
    IF found <> '{}' THEN
        RAISE EXCEPTION 'a new version of managed view % cannot take the place of %', view_name, mvscheduler.shown_name(data)
            USING ERRCODE = 'dependent_objects_still_exist',
                  DETAIL = array_to_string(found[1:20], '; ') || CASE WHEN cardinality(found) > 20 THEN format('; and %s more', cardinality(found) - 20) ELSE '' END || '.',
                  HINT = 'Drop these first; what reads the table can read the view instead.';
    END IF;
    IF NOT mvscheduler.extends(relation, next) THEN
        PERFORM mvscheduler.demand_no_obstacles(view_name, relation, query_relation, next);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_replaceable(text, oid, oid, oid, oid) IS 'Raises and names what cannot follow a new version of an incremental view.';

-- As mvscheduler_owner, which alone reads the horizons. A day is left for labels without a zone.
CREATE FUNCTION mvscheduler.frozen_before(view_id bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    border timestamptz := greatest((SELECT f.labels - interval '1 day' FROM mvscheduler.frozen AS f WHERE f.target = frozen_before.view_id), mvscheduler.frozen_times(view_id));
    oldest timestamptz := (SELECT min(p.lo) AT TIME ZONE 'UTC' FROM mvscheduler.piece AS d, mvscheduler.partitions_of(d.relation::oid) AS p WHERE d.view_id = frozen_before.view_id AND d.kind = 'data');
BEGIN
    RETURN CASE WHEN oldest < border + interval '1 day' AND border > '-infinity' THEN border END;
END $$;
COMMENT ON FUNCTION mvscheduler.frozen_before(bigint) IS 'Before which time an incremental view holds what cannot be computed again; NULL = it holds nothing of that kind.';
REVOKE ALL ON FUNCTION mvscheduler.frozen_before(bigint) FROM PUBLIC;

CREATE FUNCTION mvscheduler.tell_of_frozen(view_id bigint, view_name text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    border timestamptz := mvscheduler.frozen_before(view_id);
BEGIN
    IF border IS NOT NULL THEN
        RAISE NOTICE 'managed view % keeps what it shows before %, as its old query computed it', view_name, border
            USING DETAIL = 'Partitions that these rows were computed from have left by retention; what comes after is computed by the new query.',
                  HINT = 'What is still kept aside comes back with mvscheduler restore, and then it is computed anew.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.tell_of_frozen(bigint, text) IS 'Says what of an incremental view its new query does not compute.';
REVOKE ALL ON FUNCTION mvscheduler.tell_of_frozen(bigint, text) FROM PUBLIC;

CREATE FUNCTION mvscheduler.tell_of_dropped() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    border timestamptz := mvscheduler.frozen_before(OLD.id);
BEGIN
    IF border IS NOT NULL THEN
        RAISE NOTICE 'what managed view % showed before % cannot be computed again', OLD.name, border
            USING DETAIL = 'Partitions that these rows were computed from have left by retention.', HINT = 'ROLLBACK keeps it, where this is within a transaction.';
    END IF;
    RETURN OLD;
END $$;
COMMENT ON FUNCTION mvscheduler.tell_of_dropped() IS 'Says what goes for good with an incremental view.';
REVOKE ALL ON FUNCTION mvscheduler.tell_of_dropped() FROM PUBLIC;
CREATE TRIGGER a_tell_of_dropped BEFORE DELETE ON mvscheduler.views
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.tell_of_dropped();

CREATE FUNCTION mvscheduler.demand_nothing_frozen(view_id bigint, view_name text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    border timestamptz := mvscheduler.frozen_before(view_id);
BEGIN
    IF border IS NOT NULL THEN
        RAISE EXCEPTION 'managed view % cannot be built anew: what it showed before % would be lost', view_name, border
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'Partitions that these rows were computed from, or would be now, or which were brought back, have left by retention.',
                  HINT = 'What is still kept aside comes back with mvscheduler restore, and then it can be built. Else make a second view with the new query, and read both with UNION ALL.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_nothing_frozen(bigint, text) IS 'Raises where an incremental view holds what cannot be computed again.';
REVOKE ALL ON FUNCTION mvscheduler.demand_nothing_frozen(bigint, text) FROM PUBLIC;

-- In the session of the user who changes the row --------------------------------------------------------

CREATE FUNCTION mvscheduler.drop_version(view_id bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM mvscheduler.hold(p.relation::oid)   -- a run that fills it makes way
       FROM mvscheduler.visible_pieces AS p
       JOIN pg_class AS c ON c.oid = p.relation::oid
       JOIN pg_roles AS r ON r.oid = c.relowner AND r.rolname = CURRENT_USER
      WHERE p.view_id = drop_version.view_id AND p.kind = 'gate';
    PERFORM mvscheduler.drop_pieces(view_id, 'next', 'next_query');
END $$;
COMMENT ON FUNCTION mvscheduler.drop_version(bigint) IS 'Drops the version of an incremental view that is being built.';

CREATE FUNCTION mvscheduler.redefine_incremental(v mvscheduler.views, relation oid, query_relation oid, data oid) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place record;
    made  record;
    gate  oid := (SELECT c.oid FROM mvscheduler.visible_pieces AS p JOIN pg_class AS c ON c.oid = p.relation::oid AND c.relkind = 'm' AND c.relowner = v.owner::oid WHERE p.view_id = v.id AND p.kind = 'gate');
    aside bigint := (SELECT count(*) FROM mvscheduler.visible_kept AS k WHERE k.target = v.id);
BEGIN
    PERFORM mvscheduler.drop_version(v.id);
    SELECT n.nspname, c.relname INTO place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation;
    SELECT * INTO made FROM mvscheduler.create_version(v, place.nspname, mvscheduler.free_name(place.nspname, place.relname, '__next__query'), mvscheduler.free_name(place.nspname, place.relname, '__next'));
    gate := coalesce(gate, mvscheduler.create_gate(v, place.nspname, mvscheduler.free_name(place.nspname, place.relname, '__gate')));
    PERFORM mvscheduler.demand_replaceable(v.name, relation, query_relation, data, made.data);
    PERFORM mvscheduler.copy_settings(data, made.data);
    IF aside > 0 THEN
        RAISE NOTICE '% partitions that are kept aside for managed view % will not fit the new version, and go at the end of their grace period', aside, v.name
            USING HINT = 'To have them back, UPDATE the row back to what it was and call mvscheduler.restore_view.';
    END IF;
    RAISE NOTICE 'a new version of managed view % is built and then takes its place', v.name
        USING DETAIL = 'Until then the old version is served and not refreshed.' || CASE WHEN mvscheduler.extends(relation, made.data) THEN '' ELSE ' Columns go or change, so the view gets another OID then; views that read it, grants and comments follow.' END,
              HINT = 'See mvscheduler.status for how far it is; an UPDATE back to what it was cancels it.';
    RETURN concat_ws(' ', gate, made.data, made.query);
END $$;
COMMENT ON FUNCTION mvscheduler.redefine_incremental(mvscheduler.views, oid, oid, oid) IS 'Makes query and empty contents of a new version of an incremental view; raises where a dependent cannot follow. Returns what to tell d_pieces.';

-- The step swap_data ------------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.demand_nothing_left(view_id bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM mvscheduler.redefinition AS r
                WHERE r.view_id = demand_nothing_left.view_id AND (r.lacking OR mvscheduler.frozen_times(r.view_id) > coalesce(r.frozen_times, '-infinity'))) THEN
        RAISE EXCEPTION 'partitions of what the view reads left while its new version was being made, or had left what it reads before that was filled' USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'The new version may lack what the old one has of them.', HINT = 'UPDATE the row back to what it was, which cancels the new version.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_nothing_left(bigint) IS 'Raises where partitions of what a view reads have left since its new version was begun.';

CREATE FUNCTION mvscheduler.swap_data_at_hand(view_id bigint, OUT owner oid, OUT relation oid, OUT query_relation oid, OUT data oid, OUT next oid, OUT next_query oid)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS DISTINCT FROM 'swap_data' THEN
        RETURN;
    END IF;
    UPDATE mvscheduler.pass AS p SET taken = true WHERE p.view_id = swap_data_at_hand.view_id AND NOT p.taken;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM FROM mvscheduler.view_state AS s WHERE s.view_id = swap_data_at_hand.view_id FOR NO KEY UPDATE;
    PERFORM mvscheduler.demand_nothing_left(view_id);
    SELECT s.owner::oid, s.relation::oid, s.query_relation::oid, d.relation::oid, n.relation::oid, q.relation::oid
      INTO owner, relation, query_relation, data, next, next_query
      FROM mvscheduler.view_state AS s
      JOIN mvscheduler.redefinition AS r ON r.view_id = s.view_id
      JOIN mvscheduler.pass AS p ON p.view_id = s.view_id AND p.run_id = r.filled_run
      JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
      JOIN mvscheduler.piece AS n ON n.view_id = s.view_id AND n.kind = 'next'
      JOIN mvscheduler.piece AS q ON q.view_id = s.view_id AND q.kind = 'next_query'
     WHERE s.view_id = swap_data_at_hand.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.swap_data_at_hand(bigint) IS 'What the attempt that was let through has to swap of an incremental view, which its run has filled; all NULL everywhere else.';

-- Of the step it believes only which view of the owner's shows the new contents.
CREATE FUNCTION mvscheduler.swap_data_done(view_id bigint, face oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    work record;
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS DISTINCT FROM 'swap_data' THEN
        RETURN;
    END IF;
    SELECT d.relation::oid AS data, s.query_relation::oid AS query_relation, n.relation AS next, q.relation AS next_query, f.oid AS face INTO work
      FROM mvscheduler.pass AS x
      JOIN mvscheduler.view_state AS s ON s.view_id = x.view_id
      JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
      JOIN mvscheduler.piece AS n ON n.view_id = s.view_id AND n.kind = 'next'
      JOIN mvscheduler.piece AS q ON q.view_id = s.view_id AND q.kind = 'next_query'
      JOIN pg_class AS t ON t.oid = n.relation::oid AND t.relkind = 'p' AND t.relowner = s.owner::oid
      JOIN pg_class AS u ON u.oid = q.relation::oid AND u.relkind = 'v' AND u.relowner = s.owner::oid
      JOIN pg_class AS f ON f.oid = swap_data_done.face AND f.relkind = 'v' AND f.relowner = s.owner::oid
     WHERE x.view_id = swap_data_done.view_id AND x.taken
       AND EXISTS (SELECT FROM pg_rewrite AS w JOIN pg_depend AS e ON e.classid = 'pg_rewrite'::regclass AND e.objid = w.oid AND e.refclassid = 'pg_class'::regclass AND e.refobjid = t.oid
                    WHERE w.ev_class = f.oid);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM mvscheduler.piece AS p WHERE p.view_id = swap_data_done.view_id AND p.kind IN ('data', 'next', 'next_query');
    INSERT INTO mvscheduler.piece (view_id, kind, relation) VALUES (swap_data_done.view_id, 'data', work.next);
    INSERT INTO mvscheduler.piece (view_id, kind, relation)
    SELECT swap_data_done.view_id, CASE c.relkind WHEN 'p' THEN 'old' ELSE 'old_query' END, c.oid::regclass
      FROM pg_class AS c
     WHERE c.oid IN (work.data, work.query_relation);
    UPDATE mvscheduler.view_state AS s
       SET relation = work.face::regclass, query_relation = work.next_query, upstream = mvscheduler.upstream_of(work.next_query::oid), query_seal = r.query_seal
      FROM mvscheduler.redefinition AS r
     WHERE s.view_id = swap_data_done.view_id AND r.view_id = s.view_id;
    DELETE FROM mvscheduler.redefinition AS r WHERE r.view_id = swap_data_done.view_id;
    DELETE FROM mvscheduler.increment_state AS i WHERE i.view_id = swap_data_done.view_id AND i.data <> work.next;
END $$;
COMMENT ON FUNCTION mvscheduler.swap_data_done(bigint, oid) IS 'Makes the new version of an incremental view the one that is served, in the transaction of the swap.';

-- Those of equal definition have the name that their owner gave to the old one, the others are named after the new contents.
CREATE FUNCTION mvscheduler.index_names(source oid, target oid, target_name text) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_object_agg(c.oid, coalesce((SELECT oc.relname::text FROM pg_index AS o JOIN pg_class AS oc ON oc.oid = o.indexrelid
                                              WHERE o.indrelid = source AND o.indisunique = i.indisunique AND mvscheduler.index_body(o.indexrelid) = mvscheduler.index_body(i.indexrelid)
                                                AND (s.relkind = t.relkind OR NOT starts_with(oc.relname, s.relname)) LIMIT 1),
                                            CASE WHEN starts_with(c.relname, t.relname) THEN mvscheduler.helper_name(target_name, substr(c.relname, length(t.relname) + 1)) END))
      FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid, pg_class AS s, pg_class AS t
     WHERE i.indrelid = target AND s.oid = source AND t.oid = target
$$;
COMMENT ON FUNCTION mvscheduler.index_names(oid, oid, text) IS 'Which index of a new version is to have which name, by OID, when that takes the place of another relation.';

CREATE FUNCTION mvscheduler.rename_indexes(named jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    idx record;
BEGIN
    FOR idx IN
        SELECT n.nspname, c.relname, x.value AS wanted
          FROM jsonb_each_text(named) AS x JOIN pg_class AS c ON c.oid = x.key::oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE x.value <> c.relname AND NOT EXISTS (SELECT FROM pg_class AS o WHERE o.relnamespace = n.oid AND o.relname = x.value)
    LOOP
        EXECUTE format('ALTER INDEX %I.%I RENAME TO %I', idx.nspname, idx.relname, idx.wanted);
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.rename_indexes(jsonb) IS 'Gives indexes the names of index_names, as far as these are free.';

-- Locks from the outside inwards, as readers take them; see step_swap.
CREATE FUNCTION mvscheduler.step_swap_data(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    deadline  timestamptz;
    work      record;
    old       record;     -- names of the relations as they are now
    fresh     record;
    options   text;
    in_place  boolean;
    dependent oid;
    bound     oid[];
    redefined text[];     -- the statements that make the dependents again
    meant     text[];     -- and what they mean
    named     jsonb;      -- which index is to have which name
    aside     text;
    face      oid;
BEGIN
    SELECT * INTO work FROM mvscheduler.swap_data_at_hand(view_id);
    IF work.next IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_increment(work.owner, work.query_relation, work.data);
    PERFORM mvscheduler.demand_increment(work.owner, work.next_query, work.next);
    PERFORM mvscheduler.copy_indexes(work.data, work.next, false);   -- nobody reads it yet, so what takes long comes first
    in_place := mvscheduler.extends(work.relation, work.next);
    bound := CASE WHEN in_place THEN '{}' ELSE mvscheduler.dependents(work.relation) END;

    deadline := clock_timestamp() + mvscheduler.lock_budget();
    FOREACH dependent IN ARRAY bound || work.relation || work.query_relation || work.next_query LOOP
        IF (SELECT c.relowner FROM pg_class AS c WHERE c.oid = dependent AND c.relkind = 'v') = work.owner THEN
            PERFORM mvscheduler.lock_until(deadline);
            EXECUTE format('ALTER VIEW %s OWNER TO CURRENT_USER', mvscheduler.shown_name(dependent));
        END IF;
    END LOOP;
    PERFORM mvscheduler.lock_until(deadline);
    EXECUTE format('ALTER TABLE %s OWNER TO CURRENT_USER', mvscheduler.shown_name(work.data));

    -- Under these locks nothing changes any more: names, dependents, owners.
    PERFORM mvscheduler.demand_increment(work.owner, work.query_relation, work.data);
    PERFORM mvscheduler.demand_increment(work.owner, work.next_query, work.next);
    PERFORM mvscheduler.demand_increment(work.owner, work.relation, work.data);   -- the view itself
    IF NOT in_place AND mvscheduler.dependents(work.relation) <> bound THEN
        RAISE EXCEPTION 'views that read it were made or dropped meanwhile' USING ERRCODE = 'lock_not_available';
    END IF;
    PERFORM mvscheduler.demand_replaceable(mvscheduler.shown_name(work.relation), work.relation, work.query_relation, work.data, work.next);
    redefined := ARRAY(SELECT format(E'CREATE OR REPLACE VIEW %s %s AS\n%s', mvscheduler.shown_name(b.oid), mvscheduler.view_options(b.oid), pg_get_viewdef(b.oid))
                         FROM unnest(bound) WITH ORDINALITY AS b(oid, place) ORDER BY b.place);
    meant := mvscheduler.follow(mvscheduler.shown_name(work.relation), bound, redefined, work.relation, NULL);
    SELECT n.nspname, f.relname, d.relname AS data_name, q.relname AS query_name, dn.nspname AS data_schema, qn.nspname AS query_schema,
           obj_description(d.oid, 'pg_class') AS words INTO old
      FROM pg_class AS f JOIN pg_namespace AS n ON n.oid = f.relnamespace,
           pg_class AS d JOIN pg_namespace AS dn ON dn.oid = d.relnamespace,
           pg_class AS q JOIN pg_namespace AS qn ON qn.oid = q.relnamespace
     WHERE f.oid = work.relation AND d.oid = work.data AND q.oid = work.query_relation;
    SELECT dn.nspname AS data_schema, d.relname AS data_name, qn.nspname AS query_schema, q.relname AS query_name INTO fresh
      FROM pg_class AS d JOIN pg_namespace AS dn ON dn.oid = d.relnamespace,
           pg_class AS q JOIN pg_namespace AS qn ON qn.oid = q.relnamespace
     WHERE d.oid = work.next AND q.oid = work.next_query;
    named := mvscheduler.index_names(work.data, work.next, old.data_name);

    aside := mvscheduler.free_name(old.data_schema, old.relname, '__old');
    EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', old.data_schema, old.data_name, aside);
    EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', old.query_schema, old.query_name, mvscheduler.free_name(old.query_schema, aside, '__query'));
    EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', fresh.data_schema, fresh.data_name, old.data_name);
    EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', fresh.query_schema, fresh.query_name, old.query_name);
    EXECUTE format('COMMENT ON TABLE %I.%I IS %L', fresh.data_schema, old.data_name, old.words);
    options := mvscheduler.view_options(work.relation);
    IF in_place THEN
        face := work.relation;
        EXECUTE format('CREATE OR REPLACE VIEW %I.%I %s AS SELECT %s FROM %I.%I', old.nspname, old.relname, options, mvscheduler.column_list(work.next), fresh.data_schema, old.data_name);
    ELSE
        aside := mvscheduler.free_name(old.nspname, old.relname, '__old');
        EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', old.nspname, old.relname, aside);
        EXECUTE format('CREATE VIEW %I.%I %s AS SELECT %s FROM %I.%I', old.nspname, old.relname, options, mvscheduler.column_list(work.next), fresh.data_schema, old.data_name);
        face := format('%I.%I', old.nspname, old.relname)::regclass;
        PERFORM mvscheduler.follow(format('%I.%I', old.nspname, old.relname), bound, redefined, face, meant);
        PERFORM mvscheduler.copy_grants(work.relation, face);
        PERFORM mvscheduler.copy_comments(work.relation, face);
        EXECUTE format('COMMENT ON VIEW %I.%I IS %L', old.nspname, old.relname, obj_description(work.relation, 'pg_class'));
        EXECUTE format('DROP VIEW %I.%I', old.nspname, aside);
    END IF;
    PERFORM mvscheduler.demand_reads(face, work.next);
    PERFORM mvscheduler.copy_grants(work.data, work.next), mvscheduler.copy_grants(work.query_relation, work.next_query);
    PERFORM mvscheduler.copy_comments(work.query_relation, work.next_query);
    IF mvscheduler.view_options(work.query_relation) IS NOT NULL THEN
        EXECUTE format('ALTER VIEW %s SET %s', mvscheduler.shown_name(work.next_query), substr(mvscheduler.view_options(work.query_relation), length('WITH ') + 1));
    END IF;

    BEGIN
        PERFORM mvscheduler.lock_until(deadline);
        EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(work.data));
        EXECUTE format('DROP VIEW %s', mvscheduler.shown_name(work.query_relation));
    EXCEPTION WHEN dependent_objects_still_exist OR lock_not_available THEN NULL;   -- swap_data_done sees what is left
    END;
    PERFORM mvscheduler.rename_partitions(work.next, old.data_schema, old.data_name, false);
    PERFORM mvscheduler.rename_indexes(named), mvscheduler.swap_data_done(view_id, face);
    RETURN 1;
END $$;
COMMENT ON FUNCTION mvscheduler.step_swap_data(bigint) IS 'The new version of an incremental view takes the place of the one that is served, in one transaction.';
