-- Materialized views that exist already. A row with adopted = true stands for one that its owner made: its
-- query is read from PostgreSQL, nothing of it is changed, and DELETE lets go of it. When its query is edited
-- or it gets a retention period, a pair is built beside it and swapped in through the gate, as for any
-- redefinition.

CREATE FUNCTION mvscheduler.adoptable(name text, OUT query text, OUT owner regrole)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    relid oid := mvscheduler.relation_named(name);
    kind  "char";
BEGIN
    SELECT c.relkind, c.relowner::regrole INTO kind, owner FROM pg_class AS c WHERE c.oid = relid;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'materialized view % does not exist', name USING ERRCODE = 'undefined_table',
            HINT = 'A view that does not exist yet is created: by mvscheduler create, or by a row without adopted = true.';
    ELSIF kind <> 'm' THEN
        RAISE EXCEPTION '% is not a materialized view', name USING ERRCODE = 'wrong_object_type';
    ELSIF EXISTS (SELECT FROM mvscheduler.visible_views AS o WHERE o.relation::oid = relid) THEN
        RAISE EXCEPTION 'materialized view % is managed already', name USING ERRCODE = 'duplicate_object';
    END IF;
    query := regexp_replace(pg_get_viewdef(coalesce(mvscheduler.query_relation_of(relid), relid)), ';\s*$', '');   -- of what release_view gave back
END $$;
COMMENT ON FUNCTION mvscheduler.adoptable(text) IS 'Query and owner of a materialized view that can be taken over; raises where there is none.';

CREATE FUNCTION mvscheduler.adopt_relation(v mvscheduler.views, relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    idx record;
BEGIN
    IF v.retention_period IS NOT NULL THEN
        RAISE EXCEPTION 'a view cannot be adopted and given a retention_period at once' USING ERRCODE = 'feature_not_supported',
            HINT = 'Adopt it first; then UPDATE retention_period and time_column: a new version is built beside it.';
    END IF;
    -- a_normalize has read the query, which its owner can replace until it is held.
    PERFORM mvscheduler.hold(relation, mvscheduler.query_relation_of(relation));
    PERFORM mvscheduler.demand_same(mvscheduler.relation_named(v.name) = relation AND (SELECT (a.query, a.owner) IS NOT DISTINCT FROM (v.query, v.owner) FROM mvscheduler.adoptable(v.name) AS a), v.name);
    PERFORM mvscheduler.demand_nothing_temporary(v, coalesce(mvscheduler.query_relation_of(relation), relation));
    -- Indexes of an earlier registration that the row does not name are the owner's now.
    FOR idx IN
        SELECT n.nspname, c.relname
          FROM pg_index AS i
          JOIN pg_class AS c ON c.oid = i.indexrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE i.indrelid = relation
           AND CASE obj_description(c.oid, 'pg_class')
                    WHEN 'mvscheduler: derived key' THEN true
                    WHEN 'mvscheduler: unique_key' THEN v.unique_key IS NULL
                    WHEN 'mvscheduler: indexes' THEN coalesce(cardinality(v.indexes), 0) = 0
                END
         ORDER BY c.relname
    LOOP
        EXECUTE format('COMMENT ON INDEX %I.%I IS NULL', idx.nspname, idx.relname);
    END LOOP;
    PERFORM mvscheduler.grant_to_worker(v, relation);
END $$;
COMMENT ON FUNCTION mvscheduler.adopt_relation(mvscheduler.views, oid) IS 'Takes a materialized view over as it is, and grants the sidecar what it needs.';

-- USAGE on the schema stays, since other views may need it.
CREATE FUNCTION mvscheduler.release_relation(relation oid, query_relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel record;
BEGIN
    SELECT n.nspname, c.relname INTO rel FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = relation AND c.relkind = 'm';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF query_relation IS NULL THEN
        PERFORM mvscheduler.drop_indexes(relation, 'mvscheduler: unique_key');
        PERFORM mvscheduler.drop_indexes(relation, 'mvscheduler: indexes');
    END IF;
    IF current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE format('REVOKE MAINTAIN ON TABLE %I.%I FROM mvscheduler_worker', rel.nspname, rel.relname);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.release_relation(oid, oid) IS 'Lets go of a materialized view: what mvscheduler added to an adopted one goes, its contents stay.';

CREATE FUNCTION mvscheduler.pair_adopted(v mvscheduler.views, relation oid) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place record;
    probe text;
    reads boolean;
BEGIN
    SELECT n.nspname, c.relname INTO place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation;
    probe := mvscheduler.free_name(place.nspname, place.relname, '__probe');
    PERFORM mvscheduler.probe_query(v, place.nspname, probe);
    reads := mvscheduler.reads(format('%I.%I', place.nspname, probe)::regclass, relation);
    EXECUTE format('DROP MATERIALIZED VIEW %I.%I', place.nspname, probe);
    IF reads THEN
        RAISE EXCEPTION 'the new query of managed view % reads the view itself', v.name
            USING ERRCODE = 'invalid_object_definition', DETAIL = 'Directly, or through other views.';
    END IF;
    RETURN mvscheduler.redefine(v, relation, NULL);
END $$;
COMMENT ON FUNCTION mvscheduler.pair_adopted(mvscheduler.views, oid) IS 'Builds a pair that will take the place of an adopted materialized view; returns what to tell d_pieces.';

CREATE FUNCTION mvscheduler.adopt_view(
    name text, refresh_interval interval DEFAULT '1 hour', method text DEFAULT 'auto', cron text DEFAULT NULL, timezone text DEFAULT NULL,
    refresh_on text DEFAULT 'schedule', catchup text DEFAULT 'latest', unique_key text[] DEFAULT NULL, priority smallint DEFAULT 2,
    enabled boolean DEFAULT true, calendar jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO mvscheduler.views (name, query, adopted, refresh_interval, method, cron, timezone, refresh_on, catchup, unique_key, priority, enabled, calendar)
    VALUES (coalesce((SELECT mvscheduler.qualified_name(n.nspname, c.relname)
                        FROM pg_catalog.pg_class AS c
                        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                       WHERE c.oid = pg_catalog.to_regclass(adopt_view.name)), adopt_view.name),
            'adopted', true, adopt_view.refresh_interval, adopt_view.method, adopt_view.cron,
            coalesce(adopt_view.timezone, pg_catalog.current_setting('TimeZone')), adopt_view.refresh_on, adopt_view.catchup,
            adopt_view.unique_key, adopt_view.priority, adopt_view.enabled, adopt_view.calendar)
    RETURNING id;
END;
COMMENT ON FUNCTION mvscheduler.adopt_view IS 'Takes over a materialized view that exists, with its data, indexes, grants and comments as they are, for its owner or a role that can become the owner; returns views.id.';

CREATE FUNCTION mvscheduler.release_view(name text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    UPDATE mvscheduler.views AS v
       SET adopted = true, retention_period = NULL
     WHERE v.id = mvscheduler.view_id(release_view.name) AND (NOT v.adopted OR v.retention_period IS NOT NULL);
    DELETE FROM mvscheduler.views AS v WHERE v.id = mvscheduler.view_id(release_view.name);
END;
COMMENT ON FUNCTION mvscheduler.release_view(text) IS 'Gives a view back: the row goes, the materialized view stays with its contents, indexes and grants, and so does the plain view that holds the query of one which mvscheduler made.';
