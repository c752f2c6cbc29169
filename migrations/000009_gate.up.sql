-- The gate. What needs the rights of a view's owner and is no REFRESH of the view is done by a step: a
-- function that the owner's own one-row materialized view calls, so that REFRESH of it runs the step as the
-- owner in PostgreSQL's security-restricted operation. Used here for the redefinition of a view with other
-- columns: the swap of the new version, and the drop of what a swap left.
--
-- A step is SECURITY INVOKER and can do what the owner can; what it is to do it asks functions that run as
-- mvscheduler_owner. Those cannot know whose gate calls them, and everybody may call them. So they answer
-- only in the transaction in which the sidecar let the running attempt of this very view through, by a row
-- of pass that nobody outside of that transaction can see or write. Everywhere else (a restore, somebody's
-- own REFRESH of the gate, a plain call, a function of the query during the refresh itself) a step does
-- nothing and returns 0.

CREATE FUNCTION mvscheduler.is_piece(kind text, relkind "char") RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN kind = 'gate' THEN relkind = 'm' WHEN kind = 'data' THEN relkind = 'p' WHEN kind IN ('next', 'old') THEN relkind IN ('m', 'p') ELSE relkind = 'v' END;
COMMENT ON FUNCTION mvscheduler.is_piece(text, "char") IS 'Whether a relation of this pg_class.relkind can be a piece of this kind.';

CREATE VIEW mvscheduler.visible_pieces WITH (security_barrier) AS
    SELECT p.view_id, p.kind, p.relation,
           CASE p.kind WHEN 'next_query' THEN (SELECT r.query_seal FROM mvscheduler.redefinition AS r WHERE r.view_id = p.view_id) END AS query_seal
      FROM mvscheduler.piece AS p
     WHERE EXISTS (SELECT FROM mvscheduler.visible_views AS v WHERE v.view_id = p.view_id);
COMMENT ON VIEW mvscheduler.visible_pieces IS 'Relations besides the pair of each managed view that the caller may see.';
COMMENT ON COLUMN mvscheduler.visible_pieces.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.visible_pieces.kind IS 'gate, data, next, next_query, old or old_query; see piece.';
COMMENT ON COLUMN mvscheduler.visible_pieces.relation IS 'The relation.';
COMMENT ON COLUMN mvscheduler.visible_pieces.query_seal IS 'What seal_of said of next_query when its text was parsed.';
GRANT SELECT ON mvscheduler.visible_pieces TO PUBLIC;
GRANT SELECT ON mvscheduler.piece, mvscheduler.redefinition TO mvscheduler_worker;
GRANT UPDATE (filled_run, filled_as_of, filled_rows, filled_bytes, filled_method) ON mvscheduler.redefinition TO mvscheduler_worker;
GRANT SELECT, INSERT (run_id, token, view_id, step), DELETE ON mvscheduler.pass TO mvscheduler_worker;

-- What a step is told, as mvscheduler_owner ---------------------------------------------------------

-- The transaction id proves this session and more: backend_pid and backend_start are the same for as long
-- as a transaction lasts. (backend_start itself can be read only with rights that the owner of this schema
-- may not have.)
CREATE FUNCTION mvscheduler.step_at_hand(view_id bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT p.step
              FROM mvscheduler.pass AS p
              JOIN mvscheduler.run AS r ON r.id = p.run_id AND r.view_id = p.view_id AND r.token = p.token AND r.state = 'running'
              JOIN mvscheduler.attempt AS a ON a.run_id = r.id AND a.view_id = r.view_id AND a.token = r.token AND a.outcome = 'running'
             WHERE p.view_id = step_at_hand.view_id
               AND p.xid = pg_current_xact_id_if_assigned()
               AND a.backend_pid = pg_backend_pid());
END $$;
COMMENT ON FUNCTION mvscheduler.step_at_hand(bigint) IS 'The step for which the attempt that runs in this very transaction was let through the gate of this view; NULL everywhere else.';

-- Once a transaction: what a swap parses may call the step again. Takes the row lock of the view's state
-- first, before any lock that readers could feel.
CREATE FUNCTION mvscheduler.swap_at_hand(view_id bigint, OUT owner oid, OUT relation oid, OUT query_relation oid, OUT next oid, OUT next_query oid)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS DISTINCT FROM 'swap' THEN
        RETURN;
    END IF;
    UPDATE mvscheduler.pass AS p SET taken = true WHERE p.view_id = swap_at_hand.view_id AND NOT p.taken;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT s.owner::oid, s.relation::oid, s.query_relation::oid INTO owner, relation, query_relation
      FROM mvscheduler.view_state AS s WHERE s.view_id = swap_at_hand.view_id FOR NO KEY UPDATE;
    SELECT p.relation::oid INTO next FROM mvscheduler.piece AS p WHERE p.view_id = swap_at_hand.view_id AND p.kind = 'next';
    SELECT p.relation::oid INTO next_query FROM mvscheduler.piece AS p WHERE p.view_id = swap_at_hand.view_id AND p.kind = 'next_query';
END $$;
COMMENT ON FUNCTION mvscheduler.swap_at_hand(bigint) IS 'What the attempt that was let through has to swap; all NULL everywhere else.';

-- Takes no word of the step for it but that it is done: the relations are those on record.
CREATE FUNCTION mvscheduler.swap_done(view_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    work record;
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS DISTINCT FROM 'swap' THEN
        RETURN;
    END IF;
    SELECT s.relation::oid AS relation, s.query_relation::oid AS query_relation, n.oid AS next, q.oid AS next_query INTO work
      FROM mvscheduler.pass AS x
      JOIN mvscheduler.view_state AS s ON s.view_id = x.view_id
      JOIN mvscheduler.piece AS np ON np.view_id = s.view_id AND np.kind = 'next'
      JOIN mvscheduler.piece AS qp ON qp.view_id = s.view_id AND qp.kind = 'next_query'
      JOIN pg_class AS n ON n.oid = np.relation::oid AND n.relkind = 'm' AND n.relowner = s.owner::oid
      JOIN pg_class AS q ON q.oid = qp.relation::oid AND q.relkind = 'v' AND q.relowner = s.owner::oid
     WHERE x.view_id = swap_done.view_id AND x.taken;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM mvscheduler.piece AS p WHERE p.view_id = swap_done.view_id AND p.kind IN ('next', 'next_query');
    UPDATE mvscheduler.view_state AS s SET query_seal = r.query_seal FROM mvscheduler.redefinition AS r WHERE r.view_id = swap_done.view_id AND s.view_id = r.view_id;
    DELETE FROM mvscheduler.redefinition AS r WHERE r.view_id = swap_done.view_id;
    INSERT INTO mvscheduler.piece (view_id, kind, relation)
    SELECT swap_done.view_id, CASE c.relkind WHEN 'm' THEN 'old' ELSE 'old_query' END, c.oid::regclass
      FROM pg_class AS c
     WHERE c.oid IN (work.relation, work.query_relation);
    UPDATE mvscheduler.view_state AS s
       SET relation = work.next, query_relation = work.next_query, upstream = mvscheduler.upstream_of(work.next)
     WHERE s.view_id = swap_done.view_id;
END $$;
COMMENT ON FUNCTION mvscheduler.swap_done(bigint) IS 'Makes the new version the view, in the transaction of the swap; what is left of the old one becomes a piece to be dropped.';

CREATE FUNCTION mvscheduler.leftovers_at_hand(view_id bigint) RETURNS TABLE (owner oid, relation oid)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) = 'drop_leftover' THEN
        RETURN QUERY
        SELECT s.owner::oid, p.relation::oid
          FROM mvscheduler.piece AS p
          JOIN mvscheduler.view_state AS s ON s.view_id = p.view_id
         WHERE p.view_id = leftovers_at_hand.view_id AND p.kind IN ('old', 'old_query')
         ORDER BY p.kind, p.relation::oid;
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.leftovers_at_hand(bigint) IS 'What the attempt that was let through has to drop; nothing everywhere else.';

-- What was dropped, or given away by hand and so is nobody's leftover any more.
CREATE FUNCTION mvscheduler.leftovers_done(view_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) = 'drop_leftover' THEN
        DELETE FROM mvscheduler.piece AS p
         USING mvscheduler.view_state AS s
         WHERE p.view_id = leftovers_done.view_id AND s.view_id = p.view_id AND p.kind IN ('old', 'old_query')
           AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = p.relation::oid AND c.relowner = s.owner::oid AND mvscheduler.is_piece(p.kind, c.relkind));
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.leftovers_done(bigint) IS 'Forgets the leftovers that are gone, in the transaction of their drop.';

-- What can follow a new version ---------------------------------------------------------------------

-- What reads by name reads what is called so now. In an old snapshot the relation may have a name that somebody else's has
-- by now, since whoever owns its schema can rename that; a regclass is written as of now.
CREATE FUNCTION mvscheduler.shown_name(relation oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT CASE WHEN n.nspname = 'pg_catalog' OR c.relpersistence = 't' THEN mvscheduler.qualified_name(n.nspname, c.relname)   -- which need no schema on this path
                    ELSE c.oid::regclass::text END
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation);
COMMENT ON FUNCTION mvscheduler.shown_name(oid) IS 'schema.relation, quoted where needed, as it is called now.';

-- Names that nobody can take -------------------------------------------------------------------------
--
-- No statement takes an OID. Each looks its names up itself, after a wait for a lock once more, and no lock keeps a schema
-- from being renamed. So it is not enough to look before it at what a name leads to, and too late to look afterwards where
-- a look-alike would have run its owner's code with our rights: planning alone can. What reads or writes rows therefore
-- goes by handles: plain views that are made for it.
--   * The name: made in this very transaction, so nobody sees it, and a random number, so nobody guesses it. Whatever
--     becomes of the schema, it leads to the handle or nowhere.
--   * What it stands for: to make a view runs nothing of what is met under a name, and its rule holds the OID that was met.
--     That is looked at before anything is done with it (demand_reads), and stays.
-- What a step makes and fills has such a name as long as it works.
-- DDL goes by the names that things have. It demands the owner of what it meets, so it runs nothing of others', and what it
-- did is looked at afterwards, in the same transaction. What it drops by mistake the owner of the schema could have dropped.

CREATE FUNCTION mvscheduler.create_unnamed(beside oid, kind text, body text, OUT relation oid, OUT rows bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made text := format('%s.%I', coalesce((SELECT c.relnamespace::regnamespace::text FROM pg_class AS c WHERE c.oid = beside), 'pg_temp'), 'mvscheduler ' || gen_random_uuid());
BEGIN
    EXECUTE concat_ws(' ', 'CREATE', kind, made, body);
    GET DIAGNOSTICS rows = ROW_COUNT;
    relation := made::regclass;
END $$;
COMMENT ON FUNCTION mvscheduler.create_unnamed(oid, text, text) IS 'Makes a relation in the schema of another one (NULL = a temporary one), by a name that nobody knows; rows is how many it was filled with. Who calls it drops or renames it.';

CREATE FUNCTION mvscheduler.is_name_ours(relation oid) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(bool_and(mvscheduler.can_become(CASE r.role WHEN 'pg_database_owner'::regrole THEN d.datdba ELSE r.role END, quote_ident(CURRENT_USER)::regrole)), false)
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_database AS d ON d.datname = current_database()
     CROSS JOIN LATERAL (SELECT c.relowner UNION SELECT n.nspowner UNION SELECT x.grantee FROM aclexplode(n.nspacl) AS x WHERE x.privilege_type = 'CREATE') AS r(role)
     WHERE c.oid = relation
$$;
COMMENT ON FUNCTION mvscheduler.is_name_ours(oid) IS 'True when all who could give the name of a relation to another one (its owner, the owner of the schema, and who may create in it) can become the current role anyway.';

-- Without what is PostgreSQL's own, which cannot be renamed.
CREATE FUNCTION mvscheduler.names_in(class regclass, object oid, own oid) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN ARRAY(SELECT DISTINCT concat_ws(' ', d.refclassid, d.refobjid) FROM pg_depend AS d
              WHERE d.classid = class AND d.objid = object AND NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid = own)
              ORDER BY 1);
COMMENT ON FUNCTION mvscheduler.names_in(regclass, oid, oid) IS 'Class and OID of each relation, function, type and so on that a rule or a constraint names, besides its own relation.';

CREATE FUNCTION mvscheduler.uses(reader oid) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT mvscheduler.names_in('pg_rewrite', w.oid, w.ev_class) FROM pg_rewrite AS w WHERE w.ev_class = reader AND w.rulename = '_RETURN');
COMMENT ON FUNCTION mvscheduler.uses(oid) IS 'Class and OID of each relation, function, type and so on that the query of a view or materialized view names.';

CREATE FUNCTION mvscheduler.demand_reads(reader oid, relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.uses(reader) IS DISTINCT FROM ARRAY[concat_ws(' ', 'pg_class'::regclass::oid, relation)] THEN
        RAISE EXCEPTION 'another relation took the name of % meanwhile', coalesce(mvscheduler.shown_name(relation), relation::text)
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Nothing was changed. Try again.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_reads(oid, oid) IS 'Raises unless a view that was made by the name of a relation reads this one, and nothing else.';

-- A view is some dozens of rows in the catalogs, dead as soon as it is dropped: none where nobody else could take the name.
CREATE FUNCTION mvscheduler.handle(relation oid, beside oid, columns text DEFAULT '*') RETURNS oid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    handle oid;
BEGIN
    IF mvscheduler.is_name_ours(relation) THEN
        RETURN relation;
    END IF;
    handle := (mvscheduler.create_unnamed(beside, 'VIEW', format('AS SELECT %s FROM %s', columns, mvscheduler.shown_name(relation)))).relation;
    PERFORM mvscheduler.demand_reads(handle, relation);
    RETURN handle;
END $$;
COMMENT ON FUNCTION mvscheduler.handle(oid, oid, text) IS 'What to read and write a relation through: a plain view over it that nobody else can know, in the schema of beside (NULL = a temporary one), or the relation itself where nobody else could give its name to another one. Who calls it drops it (drop_handle).';

CREATE FUNCTION mvscheduler.drop_handle(handle oid, relation oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF handle <> relation THEN
        EXECUTE format('DROP VIEW %s', mvscheduler.shown_name(handle));
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.drop_handle(oid, oid) IS 'Drops the handle of a relation, where it is not the relation itself.';

-- The row shows the indexes that it names, but the mark of one can be forged.
CREATE FUNCTION mvscheduler.hidden_text(relation oid) RETURNS TABLE (what text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'index ' || mvscheduler.shown_name(i.indexrelid) FROM pg_index AS i
     WHERE i.indrelid = relation AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
    UNION ALL
    SELECT format('statistics %I.%I', n.nspname, s.stxname) FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace
     WHERE s.stxrelid = relation AND s.stxexprs IS NOT NULL
$$;
COMMENT ON FUNCTION mvscheduler.hidden_text(oid) IS 'Indexes and extended statistics of a relation that hold an expression or a predicate of its owner''s.';

-- The views that read a relation themselves, those first that read others of them: in this order readers
-- lock them too.
CREATE FUNCTION mvscheduler.dependents(relation oid) RETURNS oid[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH found AS (
        SELECT DISTINCT w.ev_class AS oid
          FROM pg_depend AS d
          JOIN pg_rewrite AS w ON w.oid = d.objid AND w.ev_type = '1'
          JOIN pg_class AS c ON c.oid = w.ev_class AND c.relkind = 'v'
         WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = relation AND d.deptype = 'n'
           AND w.ev_class <> relation
    )
    SELECT coalesce(array_agg(f.oid ORDER BY (SELECT count(*) FROM found AS o WHERE mvscheduler.reads(f.oid, o.oid)) DESC, f.oid), '{}')
      FROM found AS f
$$;
COMMENT ON FUNCTION mvscheduler.dependents(oid) IS 'Plain views that read a relation directly, in the order in which readers lock them.';

-- CREATE OR REPLACE VIEW can append columns and do nothing else.
CREATE FUNCTION mvscheduler.extends(relation oid, next oid) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT EXISTS (
        SELECT FROM pg_attribute AS a
         WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
           AND NOT EXISTS (SELECT FROM pg_attribute AS b
                            WHERE b.attrelid = next AND b.attnum = a.attnum AND NOT b.attisdropped
                              AND (b.attname, b.atttypid, b.atttypmod, b.attcollation) = (a.attname, a.atttypid, a.atttypmod, a.attcollation)))
$$;
COMMENT ON FUNCTION mvscheduler.extends(oid, oid) IS 'True when a relation has the columns of a view, in their order, and perhaps more after them.';

-- A dependent is made again from its text, in which PostgreSQL names columns, but for these places where a name is what
-- stands in a certain position, or only as long as no other column has it. Nothing is parsed here, for the text may be a stranger's;
-- what is left to prove the swap proves, by follow.
CREATE FUNCTION mvscheduler.positional(reader oid, relation oid, next oid) RETURNS TABLE (what text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET quote_all_identifiers = off
AS $$
    WITH rule AS (
        SELECT pg_get_viewdef(w.ev_class) AS said, w.ev_action::text AS tree FROM pg_rewrite AS w WHERE w.ev_class = reader AND w.ev_type = '1'
    ), added AS (
        SELECT quote_ident(a.attname) AS name FROM pg_attribute AS a
         WHERE a.attrelid = next AND a.attnum > 0 AND NOT a.attisdropped
           AND NOT EXISTS (SELECT FROM pg_attribute AS b WHERE b.attrelid = relation AND b.attname = a.attname AND b.attnum > 0 AND NOT b.attisdropped)
    )
    SELECT 'gives columns other names by their position'   -- PostgreSQL does so itself where names would be ambiguous
      FROM rule AS r
     WHERE r.said ~ ('(?<![^\s(])' || regexp_replace(mvscheduler.shown_name(relation), '(\W)', '\\\1', 'g') || ' (?:"(?:[^"]|"")*"|[^\s"(),]+)\(')
       AND NOT (mvscheduler.extends(relation, next) AND NOT EXISTS (SELECT FROM added AS a WHERE r.said ~ ('(^|[^[:alnum:]_$])' || regexp_replace(quote_ident(a.name), '(\W)', '\\\1', 'g') || '([^[:alnum:]_$]|$)')))
     UNION ALL
    SELECT 'names a join, which gives columns names by their position'
      FROM rule AS r
     WHERE r.tree ~ ':alias \{ALIAS (?:[^{}\\]|\\.)*\} :eref \{ALIAS (?:[^{}\\]|\\.)*\} :rtekind 2 '
     UNION ALL
    SELECT format('joins USING (%s), and a column of that name is added', a.name)
      FROM rule AS r, added AS a
     WHERE EXISTS (SELECT FROM regexp_matches(r.said, ' USING \(([^()]*)\)', 'g') AS u(columns) WHERE a.name = ANY (string_to_array(u.columns[1], ', ')))
     UNION ALL
    SELECT 'uses whole rows other than for JSON and count, and their columns change'
      FROM rule AS r, pg_class AS c
     WHERE c.oid = relation
       AND (SELECT count(*) FROM regexp_matches(r.tree, ':varattno 0 :vartype ' || c.reltype || ' ', 'g')) <>
           (SELECT count(*) FROM regexp_matches(r.tree, format('\{(?:FUNCEXPR :funcid|AGGREF :aggfnoid) (?:%s) [^{}]*:args \((?:\{TARGETENTRY :expr )?\{VAR :varno \d+ :varattno 0 :vartype %s ',
                (SELECT string_agg(p.oid::text, '|') FROM pg_proc AS p
                  WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN ('to_json', 'to_jsonb', 'row_to_json', 'json_agg', 'jsonb_agg', 'count')), c.reltype), 'g'))
$$;
COMMENT ON FUNCTION mvscheduler.positional(oid, oid, oid) IS 'Why a plain view that reads a relation would not read the same columns of another one that takes its name, or could not be made; nothing when it does.';

-- PostgreSQL's own record of dependencies, column by column. A dependent view can follow when it belongs to
-- the same owner and uses no column that goes or changes its type; everything else that names the relation
-- is bound to it for good.
CREATE FUNCTION mvscheduler.obstacles(relation oid, query_relation oid, next oid) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH old AS (
        SELECT c.oid, c.relowner, c.relname, t.oid AS rowtype, t.typarray
          FROM pg_class AS c
          JOIN pg_type AS t ON t.typrelid = c.oid
         WHERE c.oid IN (relation, query_relation)
    ), dependent AS (
        SELECT o.oid AS used, o.relowner AS owner, false AS by_type, d.classid, d.objid, d.objsubid, d.refobjsubid
          FROM old AS o
          JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid AND d.deptype = 'n'
        UNION
        SELECT o.oid, o.relowner, true, d.classid, d.objid, d.objsubid, 0
          FROM old AS o
          JOIN pg_depend AS d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (o.rowtype, o.typarray) AND d.deptype = 'n'
    ), ruled AS (
        SELECT d.*, w.rulename, w.ev_type, c.oid AS reader, c.relkind, c.relowner, n.nspname,
               coalesce('managed view ' || substring(obj_description(c.oid, 'pg_class') FROM '^mvscheduler: query of (.*)$'),
                        'view ' || mvscheduler.shown_name(c.oid)) AS shown
          FROM dependent AS d
          JOIN pg_rewrite AS w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
          JOIN pg_class AS c ON c.oid = w.ev_class AND c.oid <> relation AND c.oid IS DISTINCT FROM query_relation
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
    ), said AS (
        SELECT CASE
                   WHEN r.relkind = 'm' THEN format('materialized view %s reads it directly', mvscheduler.shown_name(r.reader))
                   WHEN r.relkind <> 'v' OR r.ev_type <> '1' THEN format('rule %I on %s uses it', r.rulename, mvscheduler.shown_name(r.reader))
                   WHEN r.by_type THEN format('%s uses its row type', r.shown)
                   WHEN r.used <> relation THEN format('%s reads %s', r.shown, mvscheduler.shown_name(r.used))
                   WHEN r.relowner <> r.owner THEN format('%s belongs to %s', r.shown, r.relowner::regrole)
                   WHEN NOT has_schema_privilege(r.owner, r.nspname, 'CREATE')
                       THEN format('%s is in schema %I, where %s may create nothing', r.shown, r.nspname, r.owner::regrole)
                   WHEN was.attnum IS NOT NULL AND is_.attnum IS NULL THEN format('%s uses column %I, which goes', r.shown, was.attname)
                   WHEN (was.atttypid, was.atttypmod, was.attcollation) IS DISTINCT FROM (is_.atttypid, is_.atttypmod, is_.attcollation)
                       THEN format('%s uses column %I, whose type changes from %s to %s', r.shown, was.attname,
                                   format_type(was.atttypid, was.atttypmod), format_type(is_.atttypid, is_.atttypmod))
               END AS text
          FROM ruled AS r
          LEFT JOIN pg_attribute AS was ON was.attrelid = relation AND was.attnum = r.refobjsubid AND r.refobjsubid > 0 AND r.used = relation
          LEFT JOIN pg_attribute AS is_ ON is_.attrelid = next AND is_.attname = was.attname AND is_.attnum > 0 AND NOT is_.attisdropped
        UNION
        SELECT r.shown || ' ' || p.what
          FROM (SELECT DISTINCT r.reader, r.shown FROM ruled AS r WHERE r.relkind = 'v' AND r.ev_type = '1' AND NOT r.by_type AND r.used = relation AND r.relowner = r.owner) AS r
         CROSS JOIN LATERAL mvscheduler.positional(r.reader, relation, next) AS p
        UNION
        SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' uses it'
          FROM dependent AS d
         WHERE d.classid <> 'pg_rewrite'::regclass
        UNION
        SELECT format('it belongs to extension %I', e.extname)
          FROM old AS o
          JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = o.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
          JOIN pg_extension AS e ON e.oid = d.refobjid
        UNION
        SELECT format('rule %I on %s would be lost', w.rulename, mvscheduler.shown_name(w.ev_class))
          FROM pg_rewrite AS w WHERE w.ev_class IN (relation, query_relation) AND w.ev_type <> '1'
        UNION
        SELECT format('the default of column %I of %s would be lost', a.attname, mvscheduler.shown_name(a.attrelid))
          FROM pg_attribute AS a WHERE a.attrelid IN (relation, query_relation) AND a.atthasdef
        UNION
        SELECT format('trigger %I on %s would be lost', g.tgname, mvscheduler.shown_name(g.tgrelid))
          FROM pg_trigger AS g WHERE g.tgrelid IN (relation, query_relation) AND NOT g.tgisinternal
    )
    SELECT coalesce(array_agg(s.text ORDER BY s.text), '{}') FROM said AS s WHERE s.text IS NOT NULL
$$;
COMMENT ON FUNCTION mvscheduler.obstacles(oid, oid, oid) IS 'What cannot follow when the relation next takes the place of another one, each in words; empty when everything can.';

CREATE FUNCTION mvscheduler.refuse_version(view_name text, VARIADIC obstacles text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF obstacles <> '{}' THEN
        RAISE EXCEPTION 'a new version of managed view % with other columns cannot take its place', view_name
            USING ERRCODE = 'dependent_objects_still_exist',
                  DETAIL = array_to_string(obstacles[1:20], '; ') || CASE WHEN cardinality(obstacles) > 20 THEN format('; and %s more', cardinality(obstacles) - 20) ELSE '' END || '.',
                  HINT = 'Drop these first, or change them so that they name the columns that they need and these stay.';
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.refuse_version(text, text[]) IS 'Raises with what cannot follow a new version, if there is anything.';

CREATE FUNCTION mvscheduler.demand_no_obstacles(view_name text, relation oid, query_relation oid, next oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM mvscheduler.refuse_version(view_name, VARIADIC mvscheduler.obstacles(relation, query_relation, next));
END $$;
COMMENT ON FUNCTION mvscheduler.demand_no_obstacles(text, oid, oid, oid) IS 'Raises and names what cannot follow a new version.';

-- The rule as PostgreSQL has stored it, without what only tells how it was written. Node by node, since a column is a number
-- of one of the tables of its query or of an outer one. A brace in a name has a backslash.
CREATE FUNCTION mvscheduler.meaning(reader oid, relation oid) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET quote_all_identifiers = off
AS $$
DECLARE
    names   jsonb;              -- of the columns of the relation, by number
    tree    text;
    token   text;
    nodes   text[] := '{}';     -- those that are open
    level   int := 0;           -- of the query at hand
    entries int[] := '{}';      -- how many tables each query has so far
    reads   jsonb := '{}';      -- level.table of those that are the relation
    of_join boolean := false;   -- within the columns of a join, which follow from what it joins
    var     text[];
    said    text := '';
BEGIN
    SELECT jsonb_object_agg(a.attnum, a.attname) INTO names FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped;
    SELECT w.ev_action::text INTO tree FROM pg_rewrite AS w WHERE w.ev_class = reader AND w.ev_type = '1';
    tree := regexp_replace(tree, ' :(?:alias|eref) (?:<>|\{ALIAS (?:[^{}\\]|\\.)*\})| :[a-z_]*(?:location|stmt_len|resorigtbl|resorigcol|varnosyn|varattnosyn) -?\d+| :[a-zA-Z]+Cols \(b[ \d]*\)', '', 'g');
    tree := regexp_replace(tree, '( :relid )' || relation || '((?: :inh [a-z]+)?)(?: :relkind [a-z])?(?= )', '\1relation\2', 'g');   -- a new version may be of another kind
    tree := regexp_replace(tree, '( :vartype | \(o )' || (SELECT c.reltype FROM pg_class AS c WHERE c.oid = relation) || '(?=[ )])', '\1row', 'g');
    tree := regexp_replace(tree, '( :consttype 2205 [^{}]* :constvalue )\d+ \[[^]]*\]', '\1', 'g');   -- 'relation'::regclass
    FOR token IN SELECT m[1] FROM regexp_matches(tree, '(\{VAR (?:[^{}\\]|\\.)*\}|\{[A-Z_]*|\}|(?:[^{}\\]|\\.)+)', 'g') AS m LOOP
        IF token LIKE '{VAR %' THEN
            CONTINUE WHEN of_join AND nodes[cardinality(nodes)] = '{RANGETBLENTRY';
            var := regexp_match(token, '^\{VAR :varno (\d+) :varattno (-?\d+) .*:varlevelsup (\d+)');
            IF reads ? (level - var[3]::int || '.' || var[1]) AND var[2]::int > 0 THEN
                token := regexp_replace(token, ':varattno \d+', ':column ') || (names->>var[2]);
            END IF;
        ELSIF token = '}' THEN
            level := level - (nodes[cardinality(nodes)] = '{QUERY')::int;
            nodes := trim_array(nodes, 1);
        ELSIF token LIKE '{%' THEN
            nodes := nodes || token;
            IF token = '{QUERY' THEN
                level := level + 1;
                entries[level] := 0;
            ELSIF token = '{RANGETBLENTRY' THEN
                entries[level] := entries[level] + 1;
                reads := reads - (level || '.' || entries[level]);
            END IF;
        ELSIF nodes[cardinality(nodes)] = '{RANGETBLENTRY' THEN
            IF token LIKE '% :relid relation %' THEN
                reads := reads || jsonb_build_object(level || '.' || entries[level], true);
            END IF;
            of_join := token LIKE '% :joinaliasvars (' OR of_join AND token NOT LIKE '% :joinleftcols %';
            CONTINUE WHEN of_join AND token = ' ';
            token := regexp_replace(token, ' :join(?:left|right)cols \(i[ \d]*\)', '', 'g');
        END IF;
        said := said || token;
    END LOOP;
    RETURN said;
END $$;
COMMENT ON FUNCTION mvscheduler.meaning(oid, oid) IS 'The parsed query of a view, with the columns of one relation by name: equal texts read equal columns.';

-- Whether a text means the same is known when PostgreSQL has parsed it both upon the old version and upon the new one. The text
-- itself is no measure, for what is parsed again may be written in another way than what was parsed first.
CREATE FUNCTION mvscheduler.follow(view_name text, dependents oid[], statements text[], relation oid, meant text[]) RETURNS text[]
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    said text[] := '{}';
    used text[];
BEGIN
    FOR n IN 1..cardinality(dependents) LOOP
        used := mvscheduler.uses(dependents[n]);
        BEGIN
            EXECUTE statements[n];
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR feature_not_supported THEN
            PERFORM mvscheduler.refuse_version(view_name, format('view %s cannot be made again (%s)', mvscheduler.shown_name(dependents[n]), SQLERRM));
        END;
        IF meant IS NULL AND mvscheduler.uses(dependents[n]) IS DISTINCT FROM used THEN   -- a text says names
            PERFORM mvscheduler.refuse_version(view_name, format('something that view %s uses was renamed or replaced meanwhile', mvscheduler.shown_name(dependents[n])));
        END IF;
        said := said || mvscheduler.meaning(dependents[n], relation);
        IF said[n] <> meant[n] THEN
            PERFORM mvscheduler.refuse_version(view_name, format('view %s would read other columns than it does', mvscheduler.shown_name(dependents[n])));
        END IF;
    END LOOP;
    RETURN said;
END $$;
COMMENT ON FUNCTION mvscheduler.follow(text, oid[], text[], oid, text[]) IS 'Makes dependents of a relation again and returns what they mean; raises, with the name, where one cannot be made or does not mean what it meant before, if that is given.';

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

-- What CREATE INDEX does not say, for indexes of equal definition.
CREATE FUNCTION mvscheduler.copy_index_settings(source oid, target oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pair record;
    col  record;
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
        IF pair.clustered THEN
            EXECUTE format('ALTER MATERIALIZED VIEW %s CLUSTER ON %I', mvscheduler.shown_name(target), pair.relname);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.copy_index_settings(oid, oid) IS 'Gives the indexes of a materialized view the tablespace, statistics targets and CLUSTER ON of those of another one that have the same definition.';

-- Storage and statistics targets, which have to be there before the new version is filled and analyzed.
CREATE FUNCTION mvscheduler.copy_settings(source oid, target oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
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
END $$;
COMMENT ON FUNCTION mvscheduler.copy_settings(oid, oid) IS 'Gives a relation the storage parameters of another one and, column by column, its statistics targets and options.';

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
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (SELECT p.relation::oid FROM mvscheduler.visible_pieces AS p WHERE p.view_id = $1 AND p.kind = 'next'),
           q.relation::oid, q.query_seal
      FROM (SELECT 1) AS one
      LEFT JOIN mvscheduler.visible_pieces AS q ON q.view_id = $1 AND q.kind = 'next_query'
$$;
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
            INSERT INTO mvscheduler.redefinition (view_id, query_seal, frozen_times, method, time_column) VALUES (NEW.id, mvscheduler.seal_of(told[3]::oid), (SELECT f.times FROM mvscheduler.frozen AS f WHERE f.target = NEW.id), NEW.method, NEW.time_column);
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
