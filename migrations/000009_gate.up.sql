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
GRANT UPDATE (filled_run, filled_as_of, filled_rows, filled_bytes, filled_method, lacking) ON mvscheduler.redefinition TO mvscheduler_worker;
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
LANGUAGE plpgsql STABLE   -- which keeps its plan: it is asked a few times in many statements
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT CASE WHEN n.nspname = 'pg_catalog' OR c.relpersistence = 't' THEN mvscheduler.qualified_name(n.nspname, c.relname)   -- which need no schema on this path
                        ELSE c.oid::regclass::text END
              FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation);
END $$;
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
    place regnamespace := (SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = beside);
    made  text := format('%s.%I', coalesce(place::text, 'pg_temp'), 'mvscheduler ' || gen_random_uuid());
BEGIN
    IF NOT has_schema_privilege(place, 'CREATE') THEN   -- which PostgreSQL's own message does not name
        RAISE EXCEPTION 'permission denied for schema %', place USING ERRCODE = 'insufficient_privilege', HINT = format('The owner of the schema runs: GRANT CREATE ON SCHEMA %s TO %I;', place, CURRENT_USER);
    END IF;
    EXECUTE concat_ws(' ', 'CREATE', kind, made, body);
    GET DIAGNOSTICS rows = ROW_COUNT;
    relation := made::regclass;
END $$;
COMMENT ON FUNCTION mvscheduler.create_unnamed(oid, text, text) IS 'Makes a relation in the schema of another one (NULL = a temporary one), by a name that nobody knows; rows is how many it was filled with. Who calls it drops or renames it.';

CREATE FUNCTION mvscheduler.is_name_ours(relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT coalesce(bool_and(mvscheduler.can_become(CASE r.role WHEN 'pg_database_owner'::regrole THEN d.datdba ELSE r.role END, quote_ident(CURRENT_USER)::regrole)), false)
              FROM pg_class AS c
              JOIN pg_namespace AS n ON n.oid = c.relnamespace
              JOIN pg_database AS d ON d.datname = current_database()
             CROSS JOIN LATERAL (SELECT c.relowner UNION SELECT n.nspowner UNION SELECT x.grantee FROM aclexplode(n.nspacl) AS x WHERE x.privilege_type = 'CREATE') AS r(role)
             WHERE c.oid = relation);
END $$;
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
        RAISE EXCEPTION 'a new version of managed view % cannot take its place', view_name
            USING ERRCODE = 'dependent_objects_still_exist',
                  DETAIL = array_to_string(obstacles[1:20], '; ') || CASE WHEN cardinality(obstacles) > 20 THEN format('; and %s more', cardinality(obstacles) - 20) ELSE '' END || '.',
                  HINT = 'Drop these first and make them again afterwards. A plain view can stay when it reads the view itself and names the columns that it needs, and these stay.';
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
