-- What a new version takes over ---------------------------------------------------------------------

-- What follows "CREATE INDEX name ON relation", as PostgreSQL deparses it: equal texts are equal indexes.
CREATE FUNCTION mvscheduler.index_body(index_relation oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN starts_with(x.def, x.head) THEN substr(x.def, length(x.head) + 1) END
      FROM (SELECT pg_get_indexdef(i.indexrelid) AS def,
                   format('CREATE %sINDEX %I ON %s%I.%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, c.relname, CASE c.relkind WHEN 'I' THEN 'ONLY ' END, n.nspname, t.relname) AS head
              FROM pg_index AS i
              JOIN pg_class AS c ON c.oid = i.indexrelid
              JOIN pg_class AS t ON t.oid = i.indrelid
              JOIN pg_namespace AS n ON n.oid = t.relnamespace
             WHERE i.indexrelid = index_relation) AS x
$$;
COMMENT ON FUNCTION mvscheduler.index_body(oid) IS 'Definition of an index without its name and its relation''s.';

-- Indexes that somebody made by hand; those of the columns unique_key and indexes are made from these.
CREATE FUNCTION mvscheduler.copy_indexes(source oid, target oid, without_text boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    idx  record;
    made text;
BEGIN
    FOR idx IN
        SELECT c.relname, i.indisunique, mvscheduler.index_body(i.indexrelid) AS body, obj_description(i.indexrelid, 'pg_class') AS words
          FROM pg_index AS i
          JOIN pg_class AS c ON c.oid = i.indexrelid
         WHERE i.indrelid = source AND i.indisvalid AND NOT (without_text AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)) AND coalesce(obj_description(i.indexrelid, 'pg_class'), '') NOT LIKE 'mvscheduler: %'
           AND NOT EXISTS (SELECT FROM pg_index AS o WHERE o.indrelid = target AND o.indisunique = i.indisunique
                                                       AND mvscheduler.index_body(o.indexrelid) = mvscheduler.index_body(i.indexrelid))
         ORDER BY c.relname
    LOOP
        BEGIN
            made := mvscheduler.free_name((SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target),
                                          idx.relname, '__next');
            EXECUTE format('CREATE %s INDEX %I ON %s ', CASE WHEN idx.indisunique THEN 'UNIQUE' END, made, mvscheduler.shown_name(target)) || idx.body;
            EXECUTE format('COMMENT ON INDEX %I.%I IS %L', (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target), made, idx.words);
        EXCEPTION WHEN undefined_column OR undefined_function OR undefined_object OR ambiguous_function OR datatype_mismatch OR wrong_object_type OR feature_not_supported THEN   -- the last: a partitioned table has no unique index without its time
            RAISE NOTICE 'index % does not fit the new version and goes with the old one: %', quote_ident(idx.relname), SQLERRM;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.copy_indexes(oid, oid, boolean) IS 'Makes the indexes of a relation that carry no mark of ours on another one, as far as its columns are there; without those that have an expression or a predicate, if told.';

CREATE FUNCTION mvscheduler.needed_extensions(relation oid) RETURNS TABLE (extname name)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.extname FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
     WHERE d.classid = 'pg_class'::regclass AND d.objid = relation AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x'
$$;
COMMENT ON FUNCTION mvscheduler.needed_extensions(oid) IS 'Extensions with which a materialized view or index goes (DEPENDS ON EXTENSION).';

-- What CREATE INDEX does not say, for indexes of equal definition.
CREATE FUNCTION mvscheduler.copy_index_settings(source oid, target oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pair record;
    col  record;
    extension name;
BEGIN
    FOR pair IN
        SELECT o.indexrelid AS was, mvscheduler.shown_name(i.indexrelid) AS named, i.indexrelid AS now, c.relname, o.indisclustered AND NOT i.indisclustered AS clustered,
               CASE WHEN oc.reltablespace <> c.reltablespace THEN t.spcname END AS place
          FROM pg_index AS o
          JOIN pg_class AS oc ON oc.oid = o.indexrelid
          JOIN pg_index AS i ON i.indrelid = target AND i.indisunique = o.indisunique AND mvscheduler.index_body(i.indexrelid) = mvscheduler.index_body(o.indexrelid)
          JOIN pg_class AS c ON c.oid = i.indexrelid
          JOIN pg_database AS d ON d.datname = current_database()
          LEFT JOIN pg_tablespace AS t ON t.oid = CASE oc.reltablespace WHEN 0 THEN d.dattablespace ELSE oc.reltablespace END
         WHERE o.indrelid = source
         ORDER BY o.indexrelid, i.indexrelid
    LOOP
        IF pair.place IS NOT NULL AND has_tablespace_privilege(pair.place, 'CREATE') THEN
            EXECUTE format('ALTER INDEX %s SET TABLESPACE %I', pair.named, pair.place);
        END IF;
        FOR col IN
            SELECT a.attnum, coalesce(a.attstattarget::int, -1) AS goal
              FROM pg_attribute AS a
              JOIN pg_attribute AS b ON b.attrelid = pair.now AND b.attnum = a.attnum
             WHERE a.attrelid = pair.was AND a.attstattarget::int IS DISTINCT FROM b.attstattarget::int
        LOOP
            EXECUTE format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', pair.named, col.attnum, col.goal);
        END LOOP;
        FOR extension IN SELECT x.extname FROM mvscheduler.needed_extensions(pair.was) AS x LOOP
            EXECUTE format('ALTER INDEX %s DEPENDS ON EXTENSION %I', pair.named, extension);
        END LOOP;
        IF pair.clustered THEN
            EXECUTE format('ALTER MATERIALIZED VIEW %s CLUSTER ON %I', mvscheduler.shown_name(target), pair.relname);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.copy_index_settings(oid, oid) IS 'Gives the indexes of a materialized view the tablespace, statistics targets, DEPENDS ON EXTENSION and CLUSTER ON of those of another one that have the same definition.';

-- Storage and statistics targets, which have to be there before the new version is filled and analyzed.
CREATE FUNCTION mvscheduler.copy_settings(source oid, target oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    named text := mvscheduler.shown_name(target);
    option text;
    col   record;
BEGIN
    FOR option IN
        SELECT format('%I = %L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)) FROM pg_class AS c, unnest(c.reloptions) AS o
         WHERE c.oid = source AND NOT EXISTS (SELECT FROM pg_class AS p WHERE p.oid = target AND p.relkind = 'p')   -- which has none
    LOOP
        EXECUTE format('ALTER TABLE %s SET (%s)', named, option);
    END LOOP;
    FOR option IN
        SELECT format('toast.%I = %L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1))
          FROM pg_class AS c JOIN pg_class AS t ON t.oid = c.reltoastrelid, unnest(t.reloptions) AS o
         WHERE c.oid = source AND NOT EXISTS (SELECT FROM pg_class AS p WHERE p.oid = target AND p.relkind = 'p')
    LOOP
        EXECUTE format('ALTER TABLE %s SET (%s)', named, option);
    END LOOP;
    FOR col IN
        SELECT b.attname, a.attstattarget::int AS goal, a.atttypid = b.atttypid AND a.attstorage <> b.attstorage AS stored_otherwise, a.attstorage, a.attoptions,
               a.atttypid = b.atttypid AND a.attcompression <> b.attcompression AS compressed_otherwise, a.attcompression
          FROM pg_attribute AS a
          JOIN pg_attribute AS b ON b.attrelid = target AND b.attname = a.attname AND NOT b.attisdropped
         WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped
           AND (a.attstattarget::int IS DISTINCT FROM b.attstattarget::int OR a.attoptions IS DISTINCT FROM b.attoptions OR a.attstorage <> b.attstorage OR a.attcompression <> b.attcompression)
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', named, col.attname, coalesce(col.goal, -1));
        IF col.stored_otherwise THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE %s', named, col.attname,
                           CASE col.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END);
        END IF;
        IF col.compressed_otherwise THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET COMPRESSION %s', named, col.attname,
                           CASE col.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END);
        END IF;
        FOREACH option IN ARRAY coalesce(col.attoptions, '{}') LOOP
            CONTINUE WHEN option LIKE 'pg\_%';   -- which the server keeps there itself, since 17.12
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', named, col.attname,
                           format('%I = %L', split_part(option, '=', 1), substr(option, strpos(option, '=') + 1)));
        END LOOP;
    END LOOP;
    FOR option IN
        SELECT x.extname FROM mvscheduler.needed_extensions(source) AS x WHERE EXISTS (SELECT FROM pg_class AS c WHERE c.oid = target AND c.relkind = 'm')
    LOOP
        EXECUTE format('ALTER MATERIALIZED VIEW %s DEPENDS ON EXTENSION %I', named, option);
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.copy_settings(oid, oid) IS 'Gives a relation the storage parameters of another one, its DEPENDS ON EXTENSION and, column by column, its statistics targets and options.';

CREATE FUNCTION mvscheduler.grants_on(relation oid) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN ARRAY(SELECT DISTINCT concat_ws(' ', x.grantee, x.privilege_type) FROM pg_class AS c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x WHERE c.oid = relation ORDER BY 1);
COMMENT ON FUNCTION mvscheduler.grants_on(oid) IS 'Who may do what with a relation.';

-- Exactly the rights on the source, given by the owner; what default privileges gave to the target goes.
CREATE FUNCTION mvscheduler.copy_grants(source oid, target oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named text := mvscheduler.shown_name(target);
    given record;
BEGIN
    PERFORM mvscheduler.keep_to_owner(target);
    EXECUTE format('REVOKE ALL ON TABLE %s FROM %I CASCADE', named, (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = target));
    FOR given IN
        SELECT x.grantee, NULL::name AS attname, x.is_grantable, string_agg(DISTINCT x.privilege_type, ', ') AS privileges
          FROM pg_class AS c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x
         WHERE c.oid = source
         GROUP BY x.grantee, x.is_grantable
         UNION ALL
        SELECT x.grantee, a.attname, x.is_grantable, string_agg(DISTINCT format('%s (%I)', x.privilege_type, a.attname), ', ')
          FROM pg_attribute AS a
          JOIN pg_attribute AS b ON b.attrelid = target AND b.attname = a.attname AND NOT b.attisdropped,
               aclexplode(a.attacl) AS x
         WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped
         GROUP BY x.grantee, a.attname, x.is_grantable
    LOOP
        EXECUTE format('GRANT %s ON TABLE %s TO %s %s', given.privileges, named,
                       CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END,
                       CASE WHEN given.is_grantable AND given.grantee <> 0 AND given.grantee <> (SELECT c.relowner FROM pg_class AS c WHERE c.oid = target) THEN 'WITH GRANT OPTION' END);
    END LOOP;
    IF mvscheduler.grants_on(target) IS DISTINCT FROM mvscheduler.grants_on(source) THEN
        RAISE EXCEPTION 'another relation took the name of % meanwhile, or somebody granted something', named USING ERRCODE = 'lock_not_available';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.copy_grants(oid, oid) IS 'Gives a relation the grants of another one, and its columns those of the columns of the same name.';

CREATE FUNCTION mvscheduler.copy_comments(source oid, target oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named text := mvscheduler.shown_name(target);
    col   record;
BEGIN
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = target AND c.relkind = 'm') THEN   -- the comment on a plain view is ours
        EXECUTE format('COMMENT ON MATERIALIZED VIEW %s IS %L', named, obj_description(source, 'pg_class'));
    END IF;
    FOR col IN
        SELECT b.attname, col_description(source, a.attnum) AS words
          FROM pg_attribute AS a
          JOIN pg_attribute AS b ON b.attrelid = target AND b.attname = a.attname AND NOT b.attisdropped
         WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped AND col_description(source, a.attnum) IS NOT NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', named, col.attname, col.words);
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.copy_comments(oid, oid) IS 'Gives a materialized view the comments of another one, and a plain view those of the columns.';
