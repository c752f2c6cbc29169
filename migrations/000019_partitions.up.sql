-- Retention by partitions: of incremental views, and of tables whose owner wrote a row into source_retention. What
-- leaves, and why, package retention decides from the view prune_facts; a step of the owner's gate puts one partition
-- aside, and another one drops it when its grace period is over.

ALTER TABLE mvscheduler.settings ADD COLUMN grace_period interval NOT NULL DEFAULT '1 day' CHECK (grace_period >= interval '0' AND grace_period <= interval '100 years');
COMMENT ON COLUMN mvscheduler.settings.grace_period IS 'How long a partition of an incremental view is kept aside, restorable, before it is dropped. Of other tables see source_retention.';

-- What there is ---------------------------------------------------------------------------------------

-- Numbers below zero, so that one number names a view or a table in runs and steps.
CREATE TABLE mvscheduler.source_retention (
    id               bigint GENERATED ALWAYS AS IDENTITY (START WITH -1 INCREMENT BY -1) PRIMARY KEY,
    "table"          regclass NOT NULL UNIQUE,
    owner            regrole,
    time_column      text,
    retention_period interval NOT NULL,
    grace_period     interval NOT NULL DEFAULT '7 days',
    legal_hold       boolean NOT NULL DEFAULT false,
    enabled          boolean NOT NULL DEFAULT true,
    timezone         text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE mvscheduler.source_retention IS 'Tables of which old partitions leave, one row each, written by the owner of the table. A partition that a view still needs stays.';
COMMENT ON COLUMN mvscheduler.source_retention.id IS 'Below zero; view_id in runs.';
COMMENT ON COLUMN mvscheduler.source_retention."table" IS 'The table, partitioned by range of its time column.';
COMMENT ON COLUMN mvscheduler.source_retention.owner IS 'Owner of the table, filled in: the row belongs to that role.';
COMMENT ON COLUMN mvscheduler.source_retention.time_column IS 'Column that holds the time of a row; NULL = the one by which it is partitioned.';
COMMENT ON COLUMN mvscheduler.source_retention.retention_period IS 'A partition leaves when its last row is older than this, and no view needs it.';
COMMENT ON COLUMN mvscheduler.source_retention.grace_period IS 'How long it is kept aside, restorable, before it is dropped.';
COMMENT ON COLUMN mvscheduler.source_retention.legal_hold IS 'Nothing leaves and nothing is dropped, whatever else is said.';
COMMENT ON COLUMN mvscheduler.source_retention.enabled IS 'False: nothing leaves and nothing is dropped for now.';
COMMENT ON COLUMN mvscheduler.source_retention.timezone IS 'Zone in which months and days are counted; NULL = the inserter''s.';
COMMENT ON COLUMN mvscheduler.source_retention.created_at IS 'When the row was made.';
COMMENT ON COLUMN mvscheduler.source_retention.updated_at IS 'When it was changed last.';

CREATE TABLE mvscheduler.source_state (
    id               bigint PRIMARY KEY,
    name             text NOT NULL,
    relation         regclass NOT NULL,
    owner            regrole NOT NULL,
    gate             regclass NOT NULL,
    time_column      text NOT NULL,
    retention_period interval NOT NULL,
    grace_period     interval NOT NULL,
    legal_hold       boolean NOT NULL,
    enabled          boolean NOT NULL,
    timezone         text NOT NULL,
    asked_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE mvscheduler.source_state IS 'Private: what the sidecar needs of each row of source_retention, copied by a trigger.';
COMMENT ON COLUMN mvscheduler.source_state.id IS 'source_retention.id';
COMMENT ON COLUMN mvscheduler.source_state.name IS 'Qualified name of the table when the row was written.';
COMMENT ON COLUMN mvscheduler.source_state.relation IS 'source_retention.table';
COMMENT ON COLUMN mvscheduler.source_state.owner IS 'source_retention.owner';
COMMENT ON COLUMN mvscheduler.source_state.gate IS 'The one-row materialized view through which the owner''s own steps run.';
COMMENT ON COLUMN mvscheduler.source_state.time_column IS 'source_retention.time_column';
COMMENT ON COLUMN mvscheduler.source_state.retention_period IS 'source_retention.retention_period';
COMMENT ON COLUMN mvscheduler.source_state.grace_period IS 'source_retention.grace_period';
COMMENT ON COLUMN mvscheduler.source_state.legal_hold IS 'source_retention.legal_hold';
COMMENT ON COLUMN mvscheduler.source_state.enabled IS 'source_retention.enabled';
COMMENT ON COLUMN mvscheduler.source_state.timezone IS 'source_retention.timezone';
COMMENT ON COLUMN mvscheduler.source_state.asked_at IS 'Last change of the row: the sidecar looks at once.';

CREATE TABLE mvscheduler.frozen (
    target   bigint PRIMARY KEY,
    labels   timestamptz NOT NULL DEFAULT '-infinity',
    times    timestamptz NOT NULL DEFAULT '-infinity',
    gone     timestamptz NOT NULL DEFAULT '-infinity',
    unasked  timestamptz NOT NULL DEFAULT '-infinity',
    relation regclass
);
COMMENT ON TABLE mvscheduler.frozen IS 'Private: horizons below which partitions have left. Written in the transaction in which a partition leaves; they move back when what has left is back, see thaw.';
COMMENT ON COLUMN mvscheduler.frozen.gone IS 'Its own partitions below this were dropped, or are used for other times or by another table: labels never moves back further.';
COMMENT ON COLUMN mvscheduler.frozen.target IS 'views.id, or source_retention.id; that row may be deleted since.';
COMMENT ON COLUMN mvscheduler.frozen.labels IS 'Its own partitions below this have left; labels without a zone as if they were UTC.';
COMMENT ON COLUMN mvscheduler.frozen.times IS 'Of a view: rows of what it reads below this may have left, so buckets called after earlier instants keep what they have. Times without a zone as if they were UTC.';
COMMENT ON COLUMN mvscheduler.frozen.unasked IS 'Of a view: rows below this have left what it reads when it kept none of these itself, or are there again below what it is frozen for: what came late for them it may not have taken, and lacks it for who reads it, also when its own partitions are back.';
COMMENT ON COLUMN mvscheduler.frozen.relation IS 'The table of source_retention: as long as it is there, so is this, also when its row was deleted; NULL = a view.';

CREATE TABLE mvscheduler.frozen_by (
    view_id bigint NOT NULL,
    target  bigint NOT NULL,
    below   timestamptz NOT NULL,
    built   timestamptz NOT NULL DEFAULT '-infinity',
    before  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (view_id, target)
);
CREATE INDEX frozen_by_target ON mvscheduler.frozen_by (target);
COMMENT ON TABLE mvscheduler.frozen_by IS 'Private: what frozen.times of a view is the latest of.';
COMMENT ON COLUMN mvscheduler.frozen_by.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.frozen_by.target IS 'views.id or source_retention.id of what it reads; the row may be deleted since.';
COMMENT ON COLUMN mvscheduler.frozen_by.below IS 'Rows of the target before this instant may have left; -infinity = that has frozen nothing yet.';
COMMENT ON COLUMN mvscheduler.frozen_by.built IS 'That part of below which is so because a version of the target was not built so far back, or was filled when what it reads had left: neither partitions that are back nor a later version change anything of it.';
COMMENT ON COLUMN mvscheduler.frozen_by.before IS 'All that has left the target had left before the view was filled: it has nothing of it, and follows what is there.';

CREATE TABLE mvscheduler.pruning (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target    bigint NOT NULL,
    name      text NOT NULL,
    owner     regrole NOT NULL,
    run_id    bigint,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    action    text NOT NULL CHECK (action IN ('detach', 'drop', 'restore')),
    partition text NOT NULL,
    bound     text NOT NULL,
    rows      bigint,
    bytes     bigint,
    reason    text NOT NULL
);
CREATE INDEX pruning_target ON mvscheduler.pruning (target, id DESC);
COMMENT ON TABLE mvscheduler.pruning IS 'Private: what became of partitions, shown by the view prunings.';
COMMENT ON COLUMN mvscheduler.pruning.id IS 'Order of the entries.';
COMMENT ON COLUMN mvscheduler.pruning.target IS 'views.id, or source_retention.id.';
COMMENT ON COLUMN mvscheduler.pruning.name IS 'Name of the view or table.';
COMMENT ON COLUMN mvscheduler.pruning.owner IS 'Its owner then: who may read the entry.';
COMMENT ON COLUMN mvscheduler.pruning.run_id IS 'The run that did it; NULL = a person.';
COMMENT ON COLUMN mvscheduler.pruning.at IS 'When.';
COMMENT ON COLUMN mvscheduler.pruning.action IS 'detach (put aside), drop (for good) or restore.';
COMMENT ON COLUMN mvscheduler.pruning.partition IS 'Qualified name that it had before.';
COMMENT ON COLUMN mvscheduler.pruning.bound IS 'What it holds, as kept.bound.';
COMMENT ON COLUMN mvscheduler.pruning.rows IS 'Estimated rows; NULL = unknown.';
COMMENT ON COLUMN mvscheduler.pruning.bytes IS 'Total size.';
COMMENT ON COLUMN mvscheduler.pruning.reason IS 'Why, in a sentence.';

CREATE TABLE mvscheduler.pass_partition (
    run_id   bigint PRIMARY KEY,
    relation oid NOT NULL
);
COMMENT ON TABLE mvscheduler.pass_partition IS 'Private: the partition that a step is to move; written and taken back with the row of pass.';
COMMENT ON COLUMN mvscheduler.pass_partition.run_id IS 'pass.run_id';
COMMENT ON COLUMN mvscheduler.pass_partition.relation IS 'OID of the partition.';

REVOKE ALL ON mvscheduler.source_retention, mvscheduler.source_state, mvscheduler.frozen, mvscheduler.frozen_by, mvscheduler.kept, mvscheduler.pruning, mvscheduler.pass_partition FROM PUBLIC;
GRANT SELECT ON mvscheduler.source_state TO mvscheduler_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON mvscheduler.frozen, mvscheduler.frozen_by, mvscheduler.kept TO mvscheduler_worker;
GRANT SELECT, INSERT, DELETE ON mvscheduler.pruning, mvscheduler.pass_partition TO mvscheduler_worker;

ALTER TABLE mvscheduler.source_retention ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_owner ON mvscheduler.source_retention
    USING (owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles())))
    WITH CHECK (owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles())));
GRANT SELECT, DELETE ON mvscheduler.source_retention TO mvscheduler_user;
GRANT INSERT ("table", time_column, retention_period, grace_period, legal_hold, enabled, timezone),
      UPDATE (time_column, retention_period, grace_period, legal_hold, enabled, timezone) ON mvscheduler.source_retention TO mvscheduler_user;

-- What the caller may see -----------------------------------------------------------------------------

CREATE VIEW mvscheduler.visible_targets WITH (security_barrier) AS
    SELECT t.id, t.name, t.owner, t.relation, t.face, t.gate, t.kind
      FROM (SELECT s.view_id AS id, s.name, s.owner, d.relation, s.relation AS face, g.relation AS gate, 'view' AS kind
              FROM mvscheduler.view_state AS s
              JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
              LEFT JOIN mvscheduler.piece AS g ON g.view_id = s.view_id AND g.kind = 'gate'
            UNION ALL
            SELECT r.id, r.name, r.owner, r.relation, r.relation, r.gate, 'source' FROM mvscheduler.source_state AS r) AS t
     WHERE (SELECT mvscheduler.sees_all())
        OR t.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));
COMMENT ON VIEW mvscheduler.visible_targets IS 'Partitioned tables that retention concerns and that the caller may see: the data of incremental views, and tables of source_retention.';
COMMENT ON COLUMN mvscheduler.visible_targets.id IS 'views.id, or source_retention.id.';
COMMENT ON COLUMN mvscheduler.visible_targets.name IS 'Name of the view or table.';
COMMENT ON COLUMN mvscheduler.visible_targets.owner IS 'Its owner.';
COMMENT ON COLUMN mvscheduler.visible_targets.relation IS 'The partitioned table.';
COMMENT ON COLUMN mvscheduler.visible_targets.face IS 'What people read: the view, or the table itself.';
COMMENT ON COLUMN mvscheduler.visible_targets.gate IS 'The materialized view through which the owner''s steps run.';
COMMENT ON COLUMN mvscheduler.visible_targets.kind IS 'view or source.';

-- By xmin, which VACUUM and ANALYZE leave as it is: they write the statistics of pg_class in place. Indexes by what they
-- are, so that REINDEX is no alteration. Triggers of ours come and go as views do.
CREATE FUNCTION mvscheduler.kept_mark(relation oid) RETURNS bytea
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
    WITH RECURSIVE tree(oid, link) AS (
        SELECT relation, '0'::xid
        UNION
        SELECT i.inhrelid, i.xmin FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid
    ), part(text) AS (   -- by arrays, for which indexes are used whatever the planner thinks of the tree
        SELECT concat_ws(' ', 'part', t.oid, t.link) FROM tree AS t
        UNION ALL
        SELECT concat_ws(' ', 'relation', c.oid, c.xmin) FROM pg_class AS c WHERE c.oid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'column', a.attrelid, a.attnum, a.xmin) FROM pg_attribute AS a WHERE a.attrelid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'default', d.oid, d.xmin) FROM pg_attrdef AS d WHERE d.adrelid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'constraint', n.oid, n.xmin) FROM pg_constraint AS n WHERE n.conrelid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'index', c.relname, c.reloptions, c.reltablespace, obj_description(c.oid, 'pg_class'), to_jsonb(i) - '{indexrelid,indcheckxmin}'::text[])
          FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'trigger', g.oid, g.xmin)
          FROM pg_trigger AS g JOIN pg_proc AS f ON f.oid = g.tgfoid AND f.pronamespace <> 'mvscheduler'::regnamespace WHERE g.tgrelid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'rule', w.oid, w.xmin) FROM pg_rewrite AS w WHERE w.ev_class = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'policy', y.oid, y.xmin) FROM pg_policy AS y WHERE y.polrelid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'statistics', e.oid, e.xmin) FROM pg_statistic_ext AS e WHERE e.stxrelid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'publication', r.oid, r.xmin) FROM pg_publication_rel AS r WHERE r.prrelid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
        UNION ALL
        SELECT concat_ws(' ', 'comment', d.objoid, d.objsubid, d.xmin) FROM pg_description AS d WHERE d.classoid = 'pg_class'::regclass AND d.objoid = ANY (ARRAY(SELECT t.oid FROM tree AS t))
    )
    SELECT sha256(convert_to(string_agg(p.text, E'\n' ORDER BY p.text COLLATE "C"), 'UTF8')) FROM part AS p
$$;
COMMENT ON FUNCTION mvscheduler.kept_mark(oid) IS 'Digest of what the catalog says of a table, its partitions and what hangs on them: another one when somebody has altered any of it.';

CREATE FUNCTION mvscheduler.shape_of(relation oid) RETURNS text
LANGUAGE sql STABLE
RETURN (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attname, a.atttypid::oid, a.atttypmod, a.attcollation, a.attnotnull), ',' ORDER BY a.attname)
          FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped);
COMMENT ON FUNCTION mvscheduler.shape_of(oid) IS 'What a partition has in common with its table: its columns by name.';

CREATE VIEW mvscheduler.visible_kept WITH (security_barrier) AS
    SELECT k.target, t.name, k.relation, k.name AS was, k.bound, k.detached_at, k.rows, k.bytes, t.relation AS parent, t.owner, mvscheduler.kept_mark(c.oid) IS DISTINCT FROM k.mark AS altered
      FROM mvscheduler.kept AS k
      JOIN mvscheduler.visible_targets AS t ON t.id = k.target
      JOIN pg_catalog.pg_class AS c ON c.oid = k.relation::oid AND c.relowner = t.owner::oid AND NOT c.relispartition
     WHERE k.detached_at IS NOT NULL;
COMMENT ON VIEW mvscheduler.visible_kept IS 'Partitions that are kept aside and can be restored.';
COMMENT ON COLUMN mvscheduler.visible_kept.target IS 'views.id, or source_retention.id.';
COMMENT ON COLUMN mvscheduler.visible_kept.name IS 'The view or table that it was a part of.';
COMMENT ON COLUMN mvscheduler.visible_kept.relation IS 'The partition, under the name that it has aside.';
COMMENT ON COLUMN mvscheduler.visible_kept.was IS 'Its name while it was attached.';
COMMENT ON COLUMN mvscheduler.visible_kept.bound IS 'What it holds.';
COMMENT ON COLUMN mvscheduler.visible_kept.detached_at IS 'When it was put aside.';
COMMENT ON COLUMN mvscheduler.visible_kept.rows IS 'Estimated rows.';
COMMENT ON COLUMN mvscheduler.visible_kept.bytes IS 'Total size.';
COMMENT ON COLUMN mvscheduler.visible_kept.parent IS 'The partitioned table.';
COMMENT ON COLUMN mvscheduler.visible_kept.owner IS 'Its owner.';
COMMENT ON COLUMN mvscheduler.visible_kept.altered IS 'Somebody renamed or altered it, or put something upon it, since: it can be restored, and is never dropped.';

CREATE VIEW mvscheduler.prunings WITH (security_barrier) AS
    SELECT p.id, p.name, p.run_id, p.at, p.action, p.partition, p.bound, p.rows, p.bytes, p.reason
      FROM mvscheduler.pruning AS p
     WHERE (SELECT mvscheduler.sees_all())
        OR p.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));
COMMENT ON VIEW mvscheduler.prunings IS 'What became of partitions that were old enough: put aside, dropped, restored.';
COMMENT ON COLUMN mvscheduler.prunings.id IS 'Order of the entries.';
COMMENT ON COLUMN mvscheduler.prunings.name IS 'The view or table.';
COMMENT ON COLUMN mvscheduler.prunings.run_id IS 'The run that did it; NULL = a person.';
COMMENT ON COLUMN mvscheduler.prunings.at IS 'When.';
COMMENT ON COLUMN mvscheduler.prunings.action IS 'detach (put aside), drop (for good) or restore.';
COMMENT ON COLUMN mvscheduler.prunings.partition IS 'Name that the partition had before.';
COMMENT ON COLUMN mvscheduler.prunings.bound IS 'What it holds: its bound as PostgreSQL deparses it, in UTC.';
COMMENT ON COLUMN mvscheduler.prunings.rows IS 'Estimated rows; NULL = unknown.';
COMMENT ON COLUMN mvscheduler.prunings.bytes IS 'Total size.';
COMMENT ON COLUMN mvscheduler.prunings.reason IS 'Why, in a sentence.';
GRANT SELECT ON mvscheduler.visible_targets, mvscheduler.visible_kept, mvscheduler.prunings TO PUBLIC;

-- Facts -----------------------------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.micros(instant timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN instant = 'infinity' THEN 9223372036854775807
            WHEN instant = '-infinity' THEN -9223372036854775808
            ELSE ((extract(epoch FROM instant) - 946684800) * 1000000)::bigint END;
COMMENT ON FUNCTION mvscheduler.micros(timestamptz) IS 'An instant as PostgreSQL stores it: microseconds since 2000; the infinities are the ends of bigint.';

CREATE FUNCTION mvscheduler.parts(span interval) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN span IS NOT NULL THEN
       pg_catalog.jsonb_build_object('Months', (extract(year FROM span) * 12 + extract(month FROM span))::int, 'Days', extract(day FROM span)::int,
                                     'Microseconds', ((extract(hour FROM span) * 60 + extract(minute FROM span)) * 60000000 + extract(microseconds FROM span))::bigint) END;
COMMENT ON FUNCTION mvscheduler.parts(interval) IS 'An interval as the three numbers that PostgreSQL stores.';

-- The value of a bound is printed for a partition by one column whose type is PostgreSQL's own, and for no other: the
-- output function of another type would be somebody's code. With the table's OID
-- pg_get_expr locks it, from 17 on, and whoever holds it would be waited for.
CREATE FUNCTION mvscheduler.bound_of(partition oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD'
AS $$
    SELECT pg_get_expr(c.relpartbound, 0)
      FROM pg_class AS c
      JOIN pg_inherits AS i ON i.inhrelid = c.oid
      JOIN pg_partitioned_table AS p ON p.partrelid = i.inhparent AND p.partstrat = 'r' AND p.partnatts = 1
      JOIN pg_attribute AS a ON a.attrelid = i.inhparent AND a.attnum = p.partattrs[0]
                            AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
     WHERE c.oid = partition AND c.relispartition
$$;
COMMENT ON FUNCTION mvscheduler.bound_of(oid) IS 'Bound of a partition by a range of time, as PostgreSQL deparses it with UTC and ISO; NULL for others.';

-- As the owner of this schema reads the private tables, and whoever asks is checked by row: see visible_targets. No
-- function is called here that touches private tables or takes a lock but for pg_total_relation_size, of which those
-- that somebody holds or asks for are left out: nobody would learn that it is he whom a partition waits for.
CREATE VIEW mvscheduler.prune_facts WITH (security_barrier) AS
WITH target AS (
    SELECT s.view_id AS id, s.name, s.owner, 'view' AS kind, d.relation::oid AS relation, s.time_column, s.enabled, false AS legal_hold,
           s.retention_period, g.grace_period, s.timezone
      FROM mvscheduler.view_state AS s
      JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
     CROSS JOIN mvscheduler.settings AS g
     WHERE (SELECT mvscheduler.sees_all()) OR s.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()))
    UNION ALL
    SELECT r.id, r.name, r.owner, 'source', r.relation::oid, r.time_column, r.enabled, r.legal_hold, r.retention_period, r.grace_period, r.timezone
      FROM mvscheduler.source_state AS r
     WHERE (SELECT mvscheduler.sees_all()) OR r.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()))
), foreign_key AS MATERIALIZED (   -- no index has them
    SELECT x.conrelid, x.confrelid, x.conname FROM pg_catalog.pg_constraint AS x WHERE x.contype = 'f' AND x.conparentid = 0
), held AS MATERIALIZED (   -- by somebody, or asked for: the size of these would be waited for
    SELECT coalesce(x.indrelid, l.relation) AS oid
      FROM pg_catalog.pg_locks AS l
      LEFT JOIN pg_catalog.pg_index AS x ON x.indexrelid = l.relation
     WHERE l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
       AND l.database = (SELECT y.oid FROM pg_catalog.pg_database AS y WHERE y.datname = pg_catalog.current_database())
), lost AS MATERIALIZED (   -- views whose query was dropped, with a table that it joined, say: what they read is what was noted
    SELECT s.query_relation::oid AS query,
           ARRAY(SELECT v.relation::oid FROM mvscheduler.view_source AS v WHERE v.view_id = s.view_id
                  UNION
                 SELECT (l ->> 'oid')::oid FROM mvscheduler.increment_state AS i CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(i.leaves) AS l WHERE i.view_id = s.view_id) AS read
      FROM mvscheduler.view_state AS s
     WHERE s.method = 'incremental' AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS q WHERE q.oid = s.query_relation::oid)
), never AS MATERIALIZED (   -- what a view did not get when it was filled, and did not from a later version of what it reads, since it was frozen by then
    SELECT i.view_id, i.data::oid AS data, least(i.never_from, max(b.below)) AS until
      FROM mvscheduler.increment_state AS i
      JOIN mvscheduler.frozen_by AS b ON b.view_id = i.view_id AND NOT b.before AND b.target > 0
     WHERE i.never_from > '-infinity'
     GROUP BY i.view_id, i.data, i.never_from
), planned AS MATERIALIZED (   -- what a plan before this transaction's locks has seen of the change log, see OnlySince; of no other transaction
    SELECT (SELECT nullif(pg_catalog.split_part(g.by, ' ', 2), '')::pg_catalog.pg_snapshot WHERE pg_catalog.split_part(g.by, ' ', 1) = pg_catalog.pg_current_xact_id_if_assigned()::text) AS seen
      FROM pg_catalog.current_setting('mvscheduler.planned', true) AS g(by)
)
SELECT t.id, t.name, t.relation, b.partitions, pg_catalog.jsonb_build_object(
       'Now', mvscheduler.micros(clock_timestamp()),
       'Zone', t.timezone,
       'Relation', pg_catalog.jsonb_build_object(
           'Name', t.name, 'Kind', t.kind, 'TimeColumn', t.time_column, 'Strategy', coalesce(pt.partstrat::text, ''),
           'Key', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('Name', coalesce(a.attname, ''), 'Type', CASE WHEN y.typnamespace = 'pg_catalog'::regnamespace THEN y.typname ELSE pg_catalog.format_type(y.oid, NULL) END) ORDER BY k.n), '[]')
                     FROM pg_catalog.unnest(pt.partattrs::int2[]) WITH ORDINALITY AS k(attnum, n)
                     LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.relation AND a.attnum = k.attnum AND k.attnum > 0
                     LEFT JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid),
           'Frozen', CASE WHEN f.labels > '-infinity' THEN mvscheduler.micros(f.labels) END,
           'PartOf', coalesce(u.name, ''),
           'Partitions', coalesce(b.partitions, '[]')),
       'Policy', pg_catalog.jsonb_build_object('Enabled', t.enabled, 'LegalHold', t.legal_hold, 'RetentionPeriod', mvscheduler.parts(t.retention_period), 'GracePeriod', mvscheduler.parts(t.grace_period)),
       'Readers', coalesce(r.readers, '[]')) AS facts
  FROM target AS t
  JOIN pg_catalog.pg_class AS rel ON rel.oid = t.relation AND rel.relowner = t.owner::oid
  LEFT JOIN pg_catalog.pg_partitioned_table AS pt ON pt.partrelid = t.relation
  LEFT JOIN mvscheduler.frozen AS f ON f.target = t.id
 CROSS JOIN LATERAL (
       WITH RECURSIVE up(oid) AS (   -- also while it is aside: every row of it is to come back
           SELECT t.relation
           UNION
           SELECT x.oid FROM up AS u CROSS JOIN LATERAL (SELECT i.inhparent AS oid FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = u.oid
                                                          UNION ALL
                                                         SELECT r.relation::oid FROM mvscheduler.kept AS k JOIN mvscheduler.source_state AS r ON r.id = k.target WHERE k.relation::oid = u.oid AND k.detached_at IS NOT NULL) AS x
       )
       SELECT min(r.name) AS name FROM up AS u JOIN mvscheduler.source_state AS r ON r.relation::oid = u.oid AND r.id <> t.id) AS u
 CROSS JOIN LATERAL (
       SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                  'OID', c.oid::bigint, 'Name', mvscheduler.qualified_name(n.nspname, c.relname), 'Bound', coalesce(p.bound, ''),
                  'DetachedAt', mvscheduler.micros(p.detached_at), 'RestoredAt', CASE WHEN p.restored_at IS NOT NULL AND p.was = p.bound THEN mvscheduler.micros(p.restored_at) END,   -- else it is attached for other times
                  'Altered', p.detached_at IS NOT NULL AND mvscheduler.kept_mark(c.oid) IS DISTINCT FROM p.mark,
                  'Misfit', p.detached_at IS NOT NULL AND mvscheduler.shape_of(c.oid) IS DISTINCT FROM mvscheduler.shape_of(t.relation),
                  'Former', coalesce(p.parent::oid <> t.relation, false),
                  'SubPartitions', CASE WHEN c.relkind = 'p' THEN below.leaves ELSE 0 END, 'DetachPending', p.pending, 'Foreign', below.far,
                  'OtherOwner', coalesce(below.stranger, ''),
                  'Held', coalesce((SELECT min(r.name) FROM mvscheduler.source_state AS r WHERE r.legal_hold AND r.relation::oid = ANY (below.oids)), ''),
                  'ReferencedBy', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('Table', mvscheduler.shown_name(x.conrelid), 'Name', pg_catalog.quote_ident(x.conname)))
                                     FROM foreign_key AS x WHERE x.confrelid = t.relation OR x.confrelid = ANY (below.oids)),
                  'Rows', below.rows, 'Bytes', below.bytes) ORDER BY c.oid) AS partitions
         FROM (SELECT i.inhrelid AS oid, i.inhdetachpending AS pending, mvscheduler.bound_of(i.inhrelid) AS bound, NULL::timestamptz AS detached_at, CASE WHEN k.detached_at IS NOT NULL THEN clock_timestamp() ELSE k.restored_at END AS restored_at, k.bound AS was, k.mark, NULL::regclass AS parent   -- which the sidecar has not noticed yet
                 FROM pg_catalog.pg_inherits AS i
                 LEFT JOIN mvscheduler.kept AS k ON k.target = t.id AND k.relation::oid = i.inhrelid
                WHERE i.inhparent = t.relation AND coalesce(pg_catalog.current_setting('mvscheduler.detached', true), '') = ''   -- see IsAside
               UNION ALL
               SELECT k.relation::oid, false, k.bound, CASE WHEN k.xid IS DISTINCT FROM pg_catalog.pg_current_xact_id_if_assigned() THEN k.detached_at END, k.restored_at, k.bound, k.mark, k.parent
                 FROM mvscheduler.kept AS k
                WHERE k.target = t.id AND k.detached_at IS NOT NULL
                  AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = k.relation::oid)) AS p
         JOIN pg_catalog.pg_class AS c ON c.oid = p.oid AND (p.detached_at IS NULL OR c.relowner = t.owner::oid)
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL (
              WITH RECURSIVE tree(oid, kind) AS (
                  SELECT p.oid, c.relkind
                  UNION SELECT x.oid, x.kind FROM tree AS u   -- OFFSET: not at all for a leaf
                         CROSS JOIN LATERAL (SELECT l.oid, l.relkind AS kind FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS l ON l.oid = i.inhrelid WHERE i.inhparent = u.oid AND u.kind = 'p' OFFSET 0) AS x)
              SELECT pg_catalog.array_agg(l.oid) AS oids, (count(*) FILTER (WHERE l.relkind <> 'p'))::int AS leaves, bool_or(l.relkind = 'f') AS far,
                     min(l.relowner::regrole::text) FILTER (WHERE l.relowner <> t.owner::oid) AS stranger,
                     CASE WHEN bool_or(l.relkind <> 'p' AND l.reltuples < 0) THEN -1 ELSE coalesce(sum(l.reltuples) FILTER (WHERE l.relkind <> 'p'), 0)::bigint END AS rows,
                     coalesce(sum(CASE WHEN EXISTS (SELECT FROM held AS o WHERE o.oid IN (l.oid, l.reltoastrelid)) THEN l.relpages::bigint * pg_catalog.current_setting('block_size')::bigint
                                       ELSE pg_catalog.pg_total_relation_size(l.oid) END) FILTER (WHERE l.relkind NOT IN ('p', 'f')), 0)::bigint AS bytes
                FROM tree AS u JOIN pg_catalog.pg_class AS l ON l.oid = u.oid) AS below) AS b
 CROSS JOIN LATERAL (
       WITH RECURSIVE own(oid) AS (
           SELECT t.relation UNION SELECT i.inhrelid FROM own AS o JOIN pg_catalog.pg_inherits AS i ON i.inhparent = o.oid
       ), above(oid) AS (   -- who reads a table above reads this one
           SELECT i.inhparent FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = t.relation
           UNION SELECT i.inhparent FROM above AS a JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.oid
       ), reach(class, oid, kind, direct, stored, hidden, through, asks, built, built_by) AS (   -- stored: what is stored first on the way is the data of an incremental view. hidden: by a function or policy on the way. asks: what the next owner needs SELECT on (0 = nothing), or has read once; who may not read it holds nothing. built: from when on the incremental views on the way were filled at all, and the last of them
           SELECT 'pg_catalog.pg_class'::regclass::oid, o.oid, 'r'::"char", true, false, false, 0::oid, o.oid, '-infinity'::timestamptz, 0::bigint FROM own AS o
           UNION ALL
           SELECT 'pg_catalog.pg_class'::regclass::oid, a.oid, 'r'::"char", false, false, false, a.oid, a.oid, '-infinity', 0 FROM above AS a
           UNION
           SELECT x.class, x.oid, x.kind, reach.direct AND reach.kind NOT IN ('m', 'd'), reach.stored OR reach.direct AND reach.kind = 'd', reach.hidden OR x.hidden, reach.through, x.asks,
                  greatest(reach.built, x.built), CASE WHEN x.built > reach.built THEN x.built_by ELSE reach.built_by END
             FROM reach
            CROSS JOIN LATERAL (
                  SELECT n.*
                    FROM pg_catalog.pg_depend AS d
                   CROSS JOIN LATERAL (
                         SELECT 'pg_catalog.pg_class'::regclass::oid AS class, c.oid, c.relkind AS kind, false AS hidden, CASE WHEN u.invoker THEN reach.asks ELSE c.oid END AS asks, c.relowner AS owner,
                                u.invoker OR reach.asks = 0 OR pg_catalog.has_any_column_privilege(c.relowner, reach.asks, 'SELECT')
                                OR reach.oid = reach.asks AND EXISTS (SELECT FROM mvscheduler.view_state AS s JOIN mvscheduler.view_health AS h ON h.view_id = s.view_id WHERE coalesce(s.query_relation, s.relation)::oid = c.oid AND h.read_rule = w.xmin)
                                OR EXISTS (SELECT FROM mvscheduler.view_state AS s JOIN mvscheduler.increment_state AS i ON i.view_id = s.view_id WHERE s.query_relation::oid = c.oid AND i.fill IS NULL AND i.leaves @> pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('oid', reach.asks::bigint))) AS may,
                                NULL::timestamptz AS built, NULL::bigint AS built_by
                           FROM pg_catalog.pg_rewrite AS w
                           JOIN pg_catalog.pg_class AS c ON c.oid = w.ev_class AND c.relkind IN ('v', 'm') AND c.oid <> reach.oid
                          CROSS JOIN LATERAL (SELECT c.relkind = 'v' AND EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'security_invoker' AND o.option_value::boolean) AS invoker) AS u
                          WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND w.oid = d.objid
                         UNION ALL   -- with a body in standard SQL; of others nobody knows what they read
                         SELECT d.classid, p.oid, 'f', true, CASE WHEN p.prosecdef AND pg_catalog.has_any_column_privilege(p.proowner, reach.asks, 'SELECT') THEN 0 ELSE reach.asks END, p.proowner, true, NULL, NULL
                           FROM pg_catalog.pg_proc AS p
                          WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objid
                         UNION ALL
                         SELECT d.classid, d.objid, 'o', true, reach.asks, NULL, true, NULL, NULL WHERE d.classid = 'pg_catalog.pg_operator'::regclass
                         UNION ALL
                         SELECT 'pg_catalog.pg_class'::regclass::oid, c.oid, 'r', true, CASE WHEN reach.asks = 0 OR pg_catalog.has_any_column_privilege(c.relowner, reach.asks, 'SELECT') THEN c.oid ELSE reach.asks END, c.relowner, true, NULL, NULL
                           FROM pg_catalog.pg_policy AS y
                           JOIN pg_catalog.pg_class AS c ON c.oid = y.polrelid AND c.relrowsecurity AND c.oid <> reach.oid
                          WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND y.oid = d.objid) AS n
                   WHERE d.refclassid = reach.class AND d.refobjid = reach.oid AND d.deptype = 'n'
                     AND n.may AND (reach.kind <> 'f' OR n.owner IS NULL OR pg_catalog.has_function_privilege(n.owner, reach.oid, 'EXECUTE'))
                  UNION ALL   -- from the query of an incremental view on to its data
                  SELECT reach.class, q.relation::oid, 'd'::"char", false, q.relation::oid, NULL, true, greatest(i.built_from + i.straddle, (SELECT n.until FROM never AS n WHERE n.view_id = s.view_id AND n.data = q.relation::oid)), s.view_id
                    FROM mvscheduler.view_state AS s JOIN mvscheduler.piece AS q ON q.view_id = s.view_id AND q.kind = 'data'
                    LEFT JOIN mvscheduler.increment_state AS i ON i.view_id = s.view_id AND i.data = q.relation
                   WHERE s.query_relation::oid = reach.oid AND s.method = 'incremental' AND reach.kind = 'v') AS x
       ), reader AS MATERIALIZED (
           SELECT h.*, s.view_id
             FROM ((SELECT DISTINCT ON (reach.oid, reach.kind, reach.direct, reach.stored, reach.hidden, reach.through)
                           reach.oid, reach.kind, reach.direct, reach.stored, reach.hidden, reach.through, false AS self, reach.built, reach.built_by
                      FROM reach WHERE reach.kind IN ('v', 'm')
                     ORDER BY reach.oid, reach.kind, reach.direct, reach.stored, reach.hidden, reach.through, reach.built DESC, reach.built_by)
                    UNION ALL   -- what a view itself has not taken yet, its readers will not have
                   SELECT s.query_relation::oid, 'v', false, false, false, 0::oid, true, '-infinity', 0 FROM mvscheduler.view_state AS s WHERE s.view_id = t.id AND t.kind = 'view'
                    UNION ALL
                   SELECT l.query, 'v', true, false, false, 0::oid, false, '-infinity', 0 FROM lost AS l WHERE l.read && ARRAY(SELECT o.oid FROM own AS o UNION ALL SELECT a.oid FROM above AS a)) AS h
             LEFT JOIN mvscheduler.view_state AS s ON h.kind = 'm' AND s.relation::oid = h.oid
                                                      OR h.kind = 'v' AND (s.method = 'incremental' AND s.query_relation::oid = h.oid
                                                                           OR EXISTS (SELECT FROM mvscheduler.piece AS n JOIN mvscheduler.redefinition AS r ON r.view_id = n.view_id
                                                                                       WHERE n.view_id = s.view_id AND n.kind = 'next_query' AND n.relation::oid = h.oid AND 'incremental' IN (s.method, r.method)))
            WHERE h.kind = 'm' OR s.view_id IS NOT NULL
       ), taken AS MATERIALIZED (   -- how far those are of which that can be said; the others need everything
           SELECT i.view_id, i.taken, i.leaves
             FROM mvscheduler.piece AS q
             JOIN mvscheduler.increment_state AS i ON i.view_id = q.view_id AND i.data = q.relation
            WHERE q.kind = 'data' AND q.view_id = ANY (ARRAY(SELECT h.view_id FROM reader AS h))
              AND i.fill IS NULL
              AND NOT EXISTS (SELECT FROM mvscheduler.redefinition AS n WHERE n.view_id = i.view_id)   -- a new version needs everything
              AND i.system_identifier = (SELECT y.system_identifier FROM pg_catalog.pg_control_system() AS y)
       ), concern AS MATERIALIZED (   -- which entries of the change log concern whom: of which table or for which view, by which column (0 = any), and for which times (NULL = those of the entry)
           SELECT k.view_id, k.taken, v.relation::oid AS source, 0::bigint AS only, v.col, NULL::xid8 AS since, CASE WHEN v.col <= 0 THEN '-infinity'::timestamptz END AS lo, CASE WHEN v.col <= 0 THEN 'infinity'::timestamptz END AS hi
             FROM taken AS k JOIN mvscheduler.view_source AS v ON v.view_id = k.view_id
           UNION ALL   -- as blind_writes
           SELECT k.view_id, k.taken, (l ->> 'oid')::oid, 0, -1, (l ->> 'since')::xid8, coalesce((l ->> 'lo')::timestamptz, '-infinity'), coalesce((l ->> 'hi')::timestamptz, 'infinity')
             FROM taken AS k CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(k.leaves) AS l
           UNION ALL
           SELECT k.view_id, k.taken, 0, k.view_id, 0, NULL, NULL, NULL FROM taken AS k
       ), cut AS MATERIALIZED (   -- between two of these transactions every view has taken all or nothing
           SELECT greatest(min(b.xid), (SELECT pg_catalog.pg_snapshot_xmin(p.seen) FROM planned AS p)) AS since, pg_catalog.array_agg(DISTINCT b.xid ORDER BY b.xid) AS bounds
             FROM taken AS k
            CROSS JOIN LATERAL (SELECT pg_catalog.pg_snapshot_xmin(k.taken) UNION ALL SELECT pg_catalog.pg_snapshot_xmax(k.taken) UNION ALL SELECT pg_catalog.pg_snapshot_xip(k.taken)) AS b(xid)
       ), entry AS MATERIALIZED (   -- the change log, read once for all of them; those of a day and between two cuts as one
           SELECT coalesce(d.source::oid, 0) AS source, coalesce(d.view_id, 0) AS only, d.col, min(d.xid) AS xid, min(pg_catalog.pg_snapshot_xmin(d.snapshot)) AS oldest, min(d.lo) AS lo, max(d.hi) AS hi
             FROM (SELECT x.*, pg_catalog.width_bucket(x.xid, (SELECT c.bounds FROM cut AS c)) AS place
                     FROM mvscheduler.dirt AS x
                    WHERE x.source = ANY (ARRAY(SELECT n.source::regclass FROM concern AS n)) AND x.view_id IS NULL
                    UNION ALL
                   SELECT x.*, pg_catalog.width_bucket(x.xid, (SELECT c.bounds FROM cut AS c))
                     FROM mvscheduler.dirt AS x
                    WHERE x.source IS NULL AND x.view_id = ANY (ARRAY(SELECT k.view_id FROM taken AS k))) AS d
            WHERE d.xid >= (SELECT c.since FROM cut AS c)   -- which the index finds
              AND pg_catalog.pg_visible_in_snapshot(d.xid, (SELECT p.seen FROM planned AS p)) IS NOT TRUE
            GROUP BY d.source, d.view_id, d.col, pg_catalog.floor(extract(epoch FROM d.lo) / 86400), pg_catalog.floor(extract(epoch FROM d.hi) / 86400), d.place, d.xid = (SELECT c.bounds FROM cut AS c)[d.place]
       ), untaken AS MATERIALIZED (
           SELECT g.view_id, pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('From', mvscheduler.micros(g.lo), 'To', mvscheduler.micros(g.hi)) ORDER BY g.lo, g.hi) AS ranges
             FROM (SELECT u.view_id, min(u.lo) AS lo, max(u.hi) AS hi
                     FROM (SELECT n.view_id, coalesce(n.lo, d.lo) AS lo, coalesce(n.hi, d.hi) AS hi
                             FROM concern AS n
                             JOIN entry AS d ON d.source = n.source AND d.only = n.only AND (n.col = 0 OR d.col = n.col)
                            WHERE NOT pg_catalog.pg_visible_in_snapshot(d.xid, n.taken) AND (n.col <> -1 OR d.oldest < n.since)) AS u
                    GROUP BY u.view_id, pg_catalog.floor(extract(epoch FROM u.lo) / 86400), pg_catalog.floor(extract(epoch FROM u.hi) / 86400)) AS g
            GROUP BY g.view_id
       )
       SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                  'ID', coalesce(s.view_id, 0),
                  'Name', coalesce(s.name, mvscheduler.shown_name(h.oid)),
                  'Method', CASE WHEN s.view_id IS NULL THEN '' WHEN h.kind = 'v' THEN 'incremental' ELSE coalesce(e.method, s.method) END,
                  'Self', h.self, 'Direct', h.direct, 'Stored', h.stored,
                  'Relied', EXISTS (SELECT FROM mvscheduler.view_source AS v WHERE v.relation::oid = z.relation::oid AND v.view_id <> s.view_id),
                  'Gone', (SELECT mvscheduler.micros(greatest(w.labels, i.built_from)) FROM (SELECT (SELECT o.labels FROM mvscheduler.frozen AS o WHERE o.target = s.view_id) AS labels) AS w WHERE greatest(w.labels, i.built_from) > '-infinity'), 'Lost', h.kind = 'v' AND EXISTS (SELECT FROM lost AS l WHERE l.query = h.oid), 'Through', CASE WHEN h.through <> 0 THEN mvscheduler.shown_name(h.through) ELSE '' END,
                  'Windowed', NOT h.hidden AND EXISTS (SELECT FROM mvscheduler.view_source AS v JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.relation AND a.attnum = v.col AND a.attname = t.time_column
                                       WHERE v.view_id = s.view_id AND v.relation::oid = t.relation AND v.col > 0)
                              AND NOT EXISTS (SELECT FROM mvscheduler.view_source AS v JOIN own AS o ON o.oid = v.relation::oid WHERE v.view_id = s.view_id AND v.col = 0),
                  'Label', coalesce((SELECT y.typname FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid
                                      WHERE a.attrelid = coalesce(z.relation, s.relation)::oid AND a.attname = s.time_column AND NOT a.attisdropped), ''),
                  'BucketWidth', coalesce(mvscheduler.parts(s.bucket_width), '{}'), 'RetentionPeriod', mvscheduler.parts(s.retention_period), 'Zone', coalesce(s.timezone, ''),
                  'Paused', CASE WHEN NOT s.enabled THEN 'it is disabled'
                                 WHEN s.paused_at IS NOT NULL AND coalesce(s.paused_until, 'infinity') > now() THEN coalesce(s.pause_reason, 'by hand')
                                 WHEN e.auto_paused_version = s.rearmed_at THEN e.auto_pause_reason ELSE '' END,
                  'Failures', coalesce(e.consecutive_failures, 0),
                  'Tracking', replace(coalesce(i.tracking, s.change_tracking, 'auto'), 'auto', 'trigger'),
                  'FilledFrom', CASE WHEN i.filled_from < 'infinity' THEN mvscheduler.micros(i.filled_from) END,
                  'Unbuilt', CASE WHEN greatest(h.built, n.until, o.built) > '-infinity' THEN mvscheduler.micros(greatest(h.built, n.until, o.built)) END,
                  'UnbuiltBy', CASE WHEN o.built > greatest(h.built, n.until) THEN s.name WHEN n.until > h.built THEN '' ELSE coalesce((SELECT v.name FROM mvscheduler.view_state AS v WHERE v.view_id = h.built_by), '') END,
                  'MaterializedUntil', CASE WHEN i.view_id IS NOT NULL THEN mvscheduler.micros(e.data_as_of) END,
                  'Frozen', CASE WHEN z.times > '-infinity' THEN mvscheduler.micros(z.times) END,
                  'Left', (SELECT mvscheduler.micros(max(w.labels)) FROM mvscheduler.frozen_by AS b JOIN mvscheduler.frozen AS w ON w.target = b.target   -- while the table had another row
                            WHERE b.view_id = s.view_id AND b.target <> t.id AND NOT b.before AND w.relation::oid = t.relation AND w.labels > '-infinity'),
                  'Dirt', CASE WHEN k.view_id IS NULL THEN pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('From', mvscheduler.micros('-infinity'), 'To', mvscheduler.micros('infinity')))
                               ELSE coalesce(d.ranges, '[]') END)
                  ORDER BY s.name, h.direct, h.stored, h.hidden, h.through) AS readers
         FROM reader AS h
         LEFT JOIN mvscheduler.view_state AS s ON s.view_id = h.view_id
         LEFT JOIN mvscheduler.view_health AS e ON e.view_id = s.view_id
         LEFT JOIN LATERAL (SELECT (SELECT q.relation FROM mvscheduler.piece AS q WHERE q.view_id = s.view_id AND q.kind = 'data') AS relation,
                                   (SELECT max(w.below) FROM mvscheduler.frozen_by AS w WHERE w.view_id = s.view_id AND (w.target = t.id OR h.self AND NOT w.before)) AS times) AS z ON true   -- by this target: what another has frozen can move back
         LEFT JOIN mvscheduler.increment_state AS i ON i.view_id = s.view_id AND i.data = z.relation
         LEFT JOIN LATERAL (SELECT i.built_from AS built WHERE NOT h.self) AS o ON true   -- its own: it keeps more than when it was filled
         LEFT JOIN never AS n ON n.view_id = s.view_id AND n.data = z.relation::oid AND NOT h.direct AND NOT h.self
         LEFT JOIN taken AS k ON k.view_id = s.view_id
         LEFT JOIN untaken AS d ON d.view_id = s.view_id) AS r;
COMMENT ON VIEW mvscheduler.prune_facts IS 'What the plan of retention depends on, for each incremental view and each table of source_retention that the caller may see: see retention.Facts.';
COMMENT ON COLUMN mvscheduler.prune_facts.id IS 'views.id, or source_retention.id.';
COMMENT ON COLUMN mvscheduler.prune_facts.name IS 'The view or table.';
COMMENT ON COLUMN mvscheduler.prune_facts.relation IS 'OID of the partitioned table.';
COMMENT ON COLUMN mvscheduler.prune_facts.partitions IS 'Its partitions; also in facts.';
COMMENT ON COLUMN mvscheduler.prune_facts.facts IS 'Everything, as of one snapshot.';
GRANT SELECT ON mvscheduler.prune_facts TO PUBLIC;

-- Steps -----------------------------------------------------------------------------------------------

-- Its bound cannot be read any more when a partition is detached, so it is recorded here, in the same transaction.
CREATE FUNCTION mvscheduler.partition_at_hand(view_id bigint, OUT owner oid, OUT parent oid, OUT partition oid, OUT mark bytea, OUT bound text, OUT was text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at_hand text := mvscheduler.step_at_hand(view_id);
    work record;
BEGIN
    IF at_hand IS NULL OR at_hand NOT IN ('detach', 'drop_kept', 'attach') THEN
        RETURN;
    END IF;
    UPDATE mvscheduler.pass AS p SET taken = true WHERE p.view_id = partition_at_hand.view_id AND NOT p.taken;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT t.owner::oid AS owner, t.relation::oid AS parent, x.relation AS part, c.relname, mvscheduler.bound_of(x.relation) AS bound INTO work
      FROM mvscheduler.pass AS p
      JOIN mvscheduler.pass_partition AS x ON x.run_id = p.run_id
      JOIN (SELECT s.view_id AS id, s.owner, d.relation FROM mvscheduler.view_state AS s JOIN mvscheduler.piece AS d ON d.view_id = s.view_id AND d.kind = 'data'
            UNION ALL
            SELECT r.id, r.owner, r.relation FROM mvscheduler.source_state AS r) AS t ON t.id = p.view_id
      JOIN pg_class AS c ON c.oid = x.relation
     WHERE p.view_id = partition_at_hand.view_id
       AND CASE at_hand WHEN 'detach' THEN EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = x.relation AND i.inhparent = t.relation::oid)
                     ELSE EXISTS (SELECT FROM mvscheduler.kept AS k WHERE k.target = p.view_id AND k.relation::oid = x.relation AND k.detached_at IS NOT NULL) END;
    IF work.part IS NULL OR at_hand = 'detach' AND work.bound IS NULL THEN
        RETURN;
    END IF;
    IF at_hand <> 'attach' THEN   -- a legal hold that somebody sets and has not committed is waited for, as for a lock, and who comes later waits for this
        PERFORM FROM mvscheduler.source_state AS s
         WHERE s.id = partition_at_hand.view_id
            OR s.relation::oid IN (WITH RECURSIVE tree(oid) AS (SELECT work.part UNION SELECT i.inhrelid FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid) SELECT t.oid FROM tree AS t)
           FOR SHARE;
    END IF;
    IF at_hand = 'drop_kept' THEN   -- so is a longer retention_period of a view
        PERFORM FROM mvscheduler.view_state AS s WHERE s.view_id = partition_at_hand.view_id FOR SHARE;
    END IF;
    IF at_hand = 'detach' THEN
        -- What it has left before, and was not brought back to but attached elsewhere, an archive, say, has lost it for good.
        UPDATE mvscheduler.frozen AS f SET gone = greatest(f.gone, k.until)
          FROM mvscheduler.kept AS k
         WHERE k.relation::oid = work.part AND k.detached_at IS NOT NULL AND f.target = k.target AND (k.target, k.bound) <> (partition_at_hand.view_id, work.bound);
        INSERT INTO mvscheduler.kept AS k (target, relation, name, bound, detached_at, xid, parent)
        VALUES (partition_at_hand.view_id, work.part::regclass, work.relname, work.bound, clock_timestamp(), pg_current_xact_id(), work.parent::regclass)
        ON CONFLICT ON CONSTRAINT kept_pkey DO UPDATE
           SET target = EXCLUDED.target, name = EXCLUDED.name, bound = EXCLUDED.bound, detached_at = EXCLUDED.detached_at, xid = EXCLUDED.xid, parent = EXCLUDED.parent,
               restored_at = CASE WHEN (k.target, k.bound) = (EXCLUDED.target, EXCLUDED.bound) THEN k.restored_at END;   -- that of other times says nothing
    END IF;
    owner := work.owner;
    parent := work.parent;
    partition := work.part;
    SELECT k.mark, k.bound, k.name INTO mark, bound, was FROM mvscheduler.kept AS k WHERE k.relation::oid = work.part;
END $$;
COMMENT ON FUNCTION mvscheduler.partition_at_hand(bigint) IS 'The partition that the attempt which was let through has to move, once; all NULL everywhere else.';

CREATE FUNCTION mvscheduler.demand_partition(owner oid, parent oid, partition oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel record;
BEGIN
    FOR rel IN SELECT c.oid, c.relowner, c.relkind FROM pg_class AS c WHERE c.oid IN (parent, partition) LOOP
        IF rel.relowner <> owner OR rel.relkind NOT IN ('r', 'p') THEN
            RAISE EXCEPTION '%', format('%s is not what it was any more', mvscheduler.shown_name(rel.oid))
                USING ERRCODE = 'wrong_object_type', DETAIL = 'It was given to another owner, or replaced, by hand.';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_partition(oid, oid, oid) IS 'Raises unless a table and its partition are the owner''s.';

-- DDL goes by names, and what was meant by OID: afterwards it is looked at, under its locks.
CREATE FUNCTION mvscheduler.step_detach(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    work  record;
    place record;
    aside text;
BEGIN
    SELECT * INTO work FROM mvscheduler.partition_at_hand(view_id);
    IF work.partition IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_partition(work.owner, work.parent, work.partition);
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', mvscheduler.shown_name(work.parent), mvscheduler.shown_name(work.partition));
    SELECT n.nspname, c.relname INTO place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = work.partition AND NOT c.relispartition;
    IF place.relname IS NOT NULL THEN
        aside := mvscheduler.free_name(place.nspname, place.relname, '__kept');
        EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', place.nspname, place.relname, aside);
    END IF;
    IF aside IS NULL OR (SELECT c.relname FROM pg_class AS c WHERE c.oid = work.partition) IS DISTINCT FROM aside THEN
        RAISE EXCEPTION 'another table took the name of the partition meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM mvscheduler.demand_partition(work.owner, work.parent, work.partition);
    RETURN 1;
END $$;
COMMENT ON FUNCTION mvscheduler.step_detach(bigint) IS 'Puts one partition aside: detached and renamed.';

CREATE FUNCTION mvscheduler.step_drop_kept(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    work record;
BEGIN
    SELECT * INTO work FROM mvscheduler.partition_at_hand(view_id);
    IF work.partition IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_partition(work.owner, work.parent, work.partition);
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', mvscheduler.shown_name(work.partition));
    IF NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_locks AS l ON l.relation = c.oid AND l.pid = pg_backend_pid() AND l.mode = 'AccessExclusiveLock' AND l.granted
                    WHERE c.oid = work.partition AND c.relowner = work.owner AND NOT c.relispartition AND mvscheduler.kept_mark(c.oid) = work.mark) THEN
        RETURN 0;   -- somebody has attached it again, or has made it something else
    END IF;
    EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(work.partition));
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = work.partition) THEN
        RAISE EXCEPTION 'another table took the name of the partition meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN 1;
END $$;
COMMENT ON FUNCTION mvscheduler.step_drop_kept(bigint) IS 'Drops one partition that was put aside (RESTRICT).';

-- ATTACH looks at every row, also of a DEFAULT partition, unless a constraint says where they are. A look-alike under the name of the partition would
-- have to be the owner's too, and is found out by its OID.
CREATE FUNCTION mvscheduler.attach_kept(parent oid, partition oid, bound text, was text) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'   -- of bounds
SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
    place   record;
    wanted  text := was;
    code    text;
    cause   text;
    culprit text;   -- the relation in which PostgreSQL has found what is in the way
    rest    record;
BEGIN
    SELECT n.nspname, c.relname INTO place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = partition;
    BEGIN
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I ', mvscheduler.shown_name(parent), place.nspname, place.relname) || bound;
    EXCEPTION WHEN datatype_mismatch OR check_violation OR invalid_table_definition OR invalid_object_definition OR wrong_object_type OR feature_not_supported OR not_null_violation THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, cause = MESSAGE_TEXT, culprit = TABLE_NAME;
        SELECT mvscheduler.shown_name(c.oid) AS name, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE a.attgenerated = '') AS columns,
               min(quote_ident(a.attname)) FILTER (WHERE a.attname = k.attname) AS key, mvscheduler.range_bounds(bound) AS ends INTO rest
          FROM pg_partitioned_table AS p JOIN pg_class AS c ON c.oid = p.partdefid
          JOIN pg_attribute AS k ON k.attrelid = p.partrelid AND k.attnum = p.partattrs[0]
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE p.partrelid = parent AND c.relname = culprit
         GROUP BY c.oid;
        IF code = '23514' AND rest.ends IS NOT NULL THEN
            RAISE EXCEPTION '% cannot be attached to % again: %', mvscheduler.shown_name(partition), mvscheduler.shown_name(parent), cause USING ERRCODE = code,
                DETAIL = 'Rows that came late for it are in the DEFAULT partition. It was not restored, and is dropped when its grace_period is over, unless it is renamed or altered.',
                HINT = format('Move them into it and try again: WITH late AS (DELETE FROM %s WHERE %s RETURNING %s) INSERT INTO %s (%3$s) SELECT %3$s FROM late', rest.name,
                              concat_ws(' AND ', rest.key || ' >= ' || nullif(rest.ends[1], 'MINVALUE'), rest.key || ' < ' || nullif(rest.ends[2], 'MAXVALUE')), rest.columns, mvscheduler.shown_name(partition));
        END IF;
        RAISE EXCEPTION '% cannot be attached to % again: %', mvscheduler.shown_name(partition), mvscheduler.shown_name(parent), cause USING ERRCODE = code,
            DETAIL = 'Something was changed while it was aside. It was not restored, and is dropped when its grace_period is over, unless it is renamed or altered.',
            HINT = format('Alter it to match the table and try again. Or bring its rows back by hand: make a partition %s of %s, INSERT INTO %2$s (...) SELECT ... FROM %3$s, and drop %3$s.',
                          bound, mvscheduler.shown_name(parent), mvscheduler.shown_name(partition));
    END;
    IF EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = place.nspname AND c.relname = wanted) THEN
        wanted := mvscheduler.free_name(place.nspname, wanted, '__restored');
    END IF;
    EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', place.nspname, place.relname, wanted);
    IF NOT EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhrelid = partition AND i.inhparent = parent AND c.relname = wanted) THEN
        RAISE EXCEPTION 'another table took the name of the partition meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN mvscheduler.qualified_name(place.nspname, wanted);
END $$;
COMMENT ON FUNCTION mvscheduler.attach_kept(oid, oid, text, text) IS 'Attaches a partition that was put aside again and returns its name, which is the old one where that is free.';

CREATE FUNCTION mvscheduler.step_attach(view_id bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    work record;
BEGIN
    SELECT * INTO work FROM mvscheduler.partition_at_hand(view_id);
    IF work.partition IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM mvscheduler.demand_partition(work.owner, work.parent, work.partition);
    IF mvscheduler.kept_mark(work.partition) IS DISTINCT FROM work.mark OR EXISTS (SELECT FROM pg_class AS c WHERE c.oid = work.partition AND c.relispartition) THEN
        RETURN 0;   -- somebody has attached it already, or has made it something else
    END IF;
    PERFORM mvscheduler.attach_kept(work.parent, work.partition, work.bound, work.was);
    PERFORM mvscheduler.demand_partition(work.owner, work.parent, work.partition);
    RETURN 1;
END $$;
COMMENT ON FUNCTION mvscheduler.step_attach(bigint) IS 'Attaches one partition again that was put aside.';

CREATE FUNCTION mvscheduler.latest_label(label text, own timestamptz, below timestamptz, label_type oid, source_type oid, zone text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
AS $$
BEGIN
    RETURN (SELECT b.text
              FROM unnest(ARRAY[label, CASE WHEN own > '-infinity' THEN mvscheduler.bound_text(own AT TIME ZONE 'UTC', label_type) END,
                                CASE WHEN below > '-infinity' THEN mvscheduler.label_text(below, label_type, source_type, zone) END]) AS b(text)
             WHERE b.text IS NOT NULL
             ORDER BY mvscheduler.bound_instant(b.text, label_type) DESC
             LIMIT 1);
END $$;
COMMENT ON FUNCTION mvscheduler.latest_label(text, timestamptz, timestamptz, oid, oid, text) IS 'The label, or the first one that is not frozen where that is later: own is a horizon among the labels, below one among the times of the source.';

CREATE FUNCTION mvscheduler.frozen_times(view_id bigint) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT max(b.below) FROM mvscheduler.frozen_by AS b WHERE b.view_id = frozen_times.view_id AND NOT b.before
$$;
COMMENT ON FUNCTION mvscheduler.frozen_times(bigint) IS 'Before which times of its source a view has what cannot be computed again: frozen.times without what it never had.';
REVOKE ALL ON FUNCTION mvscheduler.frozen_times(bigint) FROM PUBLIC;

-- Called by step_increment for where a range begins, and by step_build for where all ends. In the snapshot of the refresh: what a partition that leaves
-- meanwhile freezes is not seen, but that it has left is, by the leaves that are compared before and after.
CREATE FUNCTION mvscheduler.unfrozen_label(view_id bigint, label text, label_type oid, source_type oid, zone text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF mvscheduler.step_at_hand(view_id) IS NULL THEN
        RETURN label;
    END IF;
    RETURN (SELECT mvscheduler.latest_label(label, greatest(f.labels, i.built_from), mvscheduler.frozen_times(unfrozen_label.view_id), label_type, source_type, zone)
              FROM mvscheduler.version_at_work(view_id) AS w
              LEFT JOIN mvscheduler.increment_state AS i ON i.view_id = unfrozen_label.view_id AND i.data::oid = w.data
              LEFT JOIN mvscheduler.frozen AS f ON f.target = unfrozen_label.view_id);
END $$;
COMMENT ON FUNCTION mvscheduler.unfrozen_label(bigint, text, oid, oid, text) IS 'The label, or the first one that is not frozen where that is later: buckets below keep what they have, since what they were made of has left.';

CREATE FUNCTION mvscheduler.still_left(target bigint) RETURNS timestamptz
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT greatest(f.gone, (SELECT max(k.until) FROM mvscheduler.kept AS k WHERE k.target = f.target AND k.detached_at IS NOT NULL)) FROM mvscheduler.frozen AS f WHERE f.target = still_left.target
$$;
COMMENT ON FUNCTION mvscheduler.still_left(bigint) IS 'Until where partitions of a target are aside or were dropped; -infinity = none. Where frozen.labels is later, partitions have been brought back since.';
REVOKE ALL ON FUNCTION mvscheduler.still_left(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mvscheduler.still_left(bigint) TO mvscheduler_worker;

-- One target in a transaction: that of another would be locked after the views of the first, while a run that puts a partition aside locks them in this order.
-- Rows of frozen are locked, the target's first, as a run that puts a partition aside does, and then it is looked anew:
-- what it has written is seen, or it comes later and counts.
CREATE FUNCTION mvscheduler.thaw(target bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
AS $$
DECLARE
    was     timestamptz;
    horizon timestamptz;
    part    record;
BEGIN
    IF NOT EXISTS (SELECT FROM mvscheduler.frozen AS f WHERE f.target = thaw.target AND f.labels > mvscheduler.still_left(f.target)) THEN
        RETURN;
    END IF;
    PERFORM FROM mvscheduler.frozen AS f WHERE f.target = thaw.target FOR UPDATE;
    SELECT f.labels, mvscheduler.still_left(f.target) INTO was, horizon FROM mvscheduler.frozen AS f WHERE f.target = thaw.target;
    IF was IS NULL OR was <= horizon THEN
        RETURN;
    END IF;
    UPDATE mvscheduler.frozen AS f SET labels = horizon WHERE f.target = thaw.target;
    FOR part IN SELECT b.view_id, b.below FROM mvscheduler.frozen_by AS b WHERE b.target = thaw.target ORDER BY b.view_id LOOP
        PERFORM FROM mvscheduler.frozen AS f WHERE f.target = part.view_id FOR UPDATE;
        UPDATE mvscheduler.frozen_by AS b   -- a view that has not read it since is not frozen as far as the target
           SET below = greatest(b.built, CASE WHEN isfinite(horizon) AND isfinite(b.below) THEN least(b.below, horizon + CASE WHEN b.below > was THEN b.below - was ELSE interval '1 day' END) ELSE '-infinity' END)
         WHERE b.view_id = part.view_id AND b.target = thaw.target;
        UPDATE mvscheduler.frozen AS f SET times = b.below, unasked = least(f.unasked, b.below)   -- what it is not frozen for it has computed
          FROM (SELECT max(b.below) AS below FROM mvscheduler.frozen_by AS b WHERE b.view_id = part.view_id) AS b WHERE f.target = part.view_id;
    END LOOP;
    INSERT INTO mvscheduler.dirt (view_id, lo, hi, why)   -- the margins are of zones and buckets, which the calendar has no room for at its beginning
    SELECT s.view_id, CASE WHEN horizon > '4000-01-01 00:00:00+00 BC' THEN horizon - interval '2 days' - mvscheduler.longest(s.bucket_width) ELSE '-infinity' END,
           was + interval '2 days' + mvscheduler.longest(s.bucket_width), 'partitions were brought back'
      FROM mvscheduler.view_state AS s
     WHERE s.method = 'incremental'
       AND (s.view_id = thaw.target OR s.view_id IN (SELECT b.view_id FROM mvscheduler.frozen_by AS b WHERE b.target = thaw.target));
    DELETE FROM mvscheduler.frozen_by AS b WHERE b.target = thaw.target AND b.below = '-infinity' AND (NOT b.before OR horizon = '-infinity');   -- what is gone still it never had
END $$;
COMMENT ON FUNCTION mvscheduler.thaw(bigint) IS 'Moves the horizons of a target, and of the views that read it, back to what is still aside or was dropped, and has computed what is followed again.';
REVOKE ALL ON FUNCTION mvscheduler.thaw(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mvscheduler.thaw(bigint) TO mvscheduler_worker;

CREATE FUNCTION mvscheduler.parts_read(relations oid[], cols smallint[]) RETURNS TABLE (relation oid, root oid, col smallint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE read(relation, root, col) AS (
        SELECT s.relation, s.relation, s.col FROM unnest(relations, cols) AS s(relation, col)
        UNION
        SELECT i.inhrelid, r.root, r.col FROM read AS r JOIN pg_inherits AS i ON i.inhparent = r.relation
    )
    SELECT r.relation, r.root, r.col FROM read AS r
$$;
COMMENT ON FUNCTION mvscheduler.parts_read(oid[], smallint[]) IS 'These relations, of which a view reads these columns, and all that is a part of them.';
REVOKE ALL ON FUNCTION mvscheduler.parts_read(oid[], smallint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mvscheduler.parts_read(oid[], smallint[]) TO mvscheduler_worker;

-- The margin is that of retention.Plan. What leaves or comes back meanwhile is waited for, as in FreezeView, tables before views: also what leaves
-- as the first of its target, by a run that has looked who reads it and has not committed. So there has to be a row to wait for.
CREATE FUNCTION mvscheduler.lacking(relations oid[], cols smallint[], label_type oid) RETURNS TABLE (target bigint, gone timestamptz, built timestamptz, whole timestamptz, margin interval)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO mvscheduler.frozen (target, relation)
    SELECT t.id, o.relation
      FROM (SELECT DISTINCT r.relation FROM mvscheduler.parts_read(relations, cols) AS r) AS r
      JOIN mvscheduler.visible_targets AS t ON t.relation::oid = r.relation
      LEFT JOIN mvscheduler.source_state AS o ON o.id = t.id
     ORDER BY t.id
        ON CONFLICT (target) DO NOTHING;
    WITH read AS (
        SELECT t.id, t.relation::oid AS relation, bool_and(label_type = 'timestamptz'::regtype AND a.atttypid = 'timestamptz'::regtype) AS zoned
          FROM mvscheduler.parts_read(relations, cols) AS r
          JOIN (SELECT v.id, v.relation FROM mvscheduler.visible_targets AS v
                UNION   -- tables whose row of source_retention was deleted
                SELECT f.target, f.relation FROM mvscheduler.frozen AS f WHERE f.relation IS NOT NULL) AS t ON t.relation::oid = r.relation
          JOIN pg_attribute AS a ON a.attrelid = r.root AND a.attnum = r.col   -- not what is read as a whole
         GROUP BY t.id, t.relation
    ), gone AS MATERIALIZED (
        SELECT f.target, f.labels, f.unasked FROM mvscheduler.frozen AS f WHERE f.target IN (SELECT r.id FROM read AS r) ORDER BY f.target FOR SHARE
    )
    SELECT r.id, coalesce(g.labels, '-infinity'), coalesce(i.built_from, '-infinity'), coalesce(greatest(i.whole_from, g.unasked), '-infinity'), CASE WHEN r.zoned THEN interval '1 hour' ELSE interval '1 day' END
      FROM read AS r
      LEFT JOIN gone AS g ON g.target = r.id
      LEFT JOIN mvscheduler.increment_state AS i ON i.view_id = r.id AND i.data::oid = r.relation
     WHERE greatest(g.labels, g.unasked, i.built_from, i.whole_from) > '-infinity'
$$;
COMMENT ON FUNCTION mvscheduler.lacking(oid[], smallint[], oid) IS 'What the relations of which a view reads these columns may lack: rows of the target before gone, as they have left, before built, as that was too old when it was filled, and before whole. Labels of the view can be later by the margin.';
REVOKE ALL ON FUNCTION mvscheduler.lacking(oid[], smallint[], oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mvscheduler.lacking(oid[], smallint[], oid) TO mvscheduler_worker;

CREATE FUNCTION mvscheduler.demand_filled(relations oid[], cols smallint[]) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    empty text := (SELECT s.name
                     FROM mvscheduler.parts_read(relations, cols) AS r
                     JOIN mvscheduler.piece AS d ON d.relation::oid = r.relation AND d.kind = 'data'
                     JOIN mvscheduler.view_state AS s ON s.view_id = d.view_id
                    WHERE NOT EXISTS (SELECT FROM mvscheduler.increment_state AS i WHERE i.view_id = d.view_id AND i.data = d.relation AND i.fill IS NULL)
                    ORDER BY s.name LIMIT 1);
BEGIN
    IF empty IS NOT NULL THEN
        RAISE EXCEPTION 'managed view % has not been filled yet', empty USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'What reads it keeps what it shows until then.', HINT = format('mvscheduler refresh %s --wait fills it, when it is enabled.', empty);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.demand_filled(oid[], smallint[]) IS 'Raises and names an incremental view among what is read of which the first fill has not ended.';
REVOKE ALL ON FUNCTION mvscheduler.demand_filled(oid[], smallint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mvscheduler.demand_filled(oid[], smallint[]) TO mvscheduler_worker;

-- What a view reads from now on may have lost partitions before: nobody would freeze it before its next refresh, which would take
-- its old buckets for empty. From now on it lacks the same, or follows nothing of it. Of a view that is known a former version was read: what this one was filled
-- without that did not have either, since it could not have been replaced then. A version that is being built freezes nothing of what is served, which it may never be.
CREATE FUNCTION mvscheduler.freeze_read(view_id bigint, relations oid[], cols smallint[], known bigint[], building oid) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    WITH served AS MATERIALIZED (   -- it has read them all the time, also where another version was being built for a while
        SELECT o.view_id
          FROM mvscheduler.piece AS d
          JOIN mvscheduler.increment_state AS i ON i.view_id = d.view_id AND i.data = d.relation
          JOIN mvscheduler.piece AS o ON o.kind = 'data' AND i.leaves @> jsonb_build_array(jsonb_build_object('oid', o.relation::oid::bigint))
         WHERE d.view_id = freeze_read.view_id AND d.kind = 'data' AND building IS NULL
    ), lacked AS MATERIALIZED (
        SELECT l.target, l.gone, l.gone + l.margin AS left_before, n.never + l.margin AS never, greatest(l.gone, l.built, l.whole) + l.margin AS whole
          FROM mvscheduler.view_state AS v
          JOIN mvscheduler.piece AS d ON d.view_id = v.view_id AND d.kind = 'data'
          LEFT JOIN pg_attribute AS label ON label.attrelid = d.relation::oid AND label.attname = v.time_column
         CROSS JOIN LATERAL mvscheduler.lacking(relations, cols, label.atttypid) AS l
         CROSS JOIN LATERAL (SELECT CASE WHEN l.target IN (SELECT o.view_id FROM served AS o) THEN '-infinity' WHEN l.target = ANY (known) THEN l.built ELSE greatest(l.built, l.whole) END) AS n(never)
         WHERE v.view_id = freeze_read.view_id
    ), noted AS (
        UPDATE mvscheduler.increment_state AS i
           SET whole_from = l.whole
          FROM (SELECT max(l.whole) AS whole FROM lacked AS l) AS l
         WHERE i.view_id = freeze_read.view_id AND l.whole > i.whole_from AND (building IS NULL OR i.data::oid = building)
    ), kept AS MATERIALIZED (
        SELECT l.* FROM lacked AS l
         WHERE greatest(l.gone, l.never) > '-infinity'
           AND EXISTS (SELECT FROM mvscheduler.piece AS d JOIN mvscheduler.increment_state AS i ON i.view_id = d.view_id AND i.data = d.relation
                        WHERE d.view_id = freeze_read.view_id AND d.kind = 'data' AND i.fill IS NULL)
    ), stopped AS (
        UPDATE mvscheduler.redefinition AS r SET lacking = true
         WHERE r.view_id = freeze_read.view_id AND NOT r.lacking AND building IS NOT NULL AND EXISTS (SELECT FROM kept)
    ), by AS (
        INSERT INTO mvscheduler.frozen_by AS b (view_id, target, below, built)
        SELECT freeze_read.view_id, l.target, greatest(l.left_before, l.never), l.never
          FROM kept AS l
         WHERE building IS NULL
            ON CONFLICT ON CONSTRAINT frozen_by_pkey DO UPDATE SET below = greatest(b.below, EXCLUDED.below), built = greatest(b.built, EXCLUDED.built), before = false   -- it has buckets of what it read until now
        RETURNING b.below
    )
    INSERT INTO mvscheduler.frozen AS f (target, times)
    SELECT freeze_read.view_id, max(b.below) FROM by AS b HAVING count(*) > 0
        ON CONFLICT (target) DO UPDATE SET times = greatest(f.times, EXCLUDED.times)
$$;
COMMENT ON FUNCTION mvscheduler.freeze_read(bigint, oid[], smallint[], bigint[], oid) IS 'Freezes a view that is filled below what the relations may lack of which it reads these columns; known are views of which it has read a former version. Where it is a version that is being built which reads them, by its contents, that is not served then.';
REVOKE ALL ON FUNCTION mvscheduler.freeze_read(bigint, oid[], smallint[], bigint[], oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mvscheduler.freeze_read(bigint, oid[], smallint[], bigint[], oid) TO mvscheduler_worker;

-- In the session of the owner ---------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.drop_kept(target bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
BEGIN
    FOR part IN SELECT k.relation::oid AS oid FROM mvscheduler.visible_kept AS k WHERE k.target = drop_kept.target AND NOT k.altered AND k.owner = quote_ident(CURRENT_USER)::regrole LOOP
        EXECUTE format('DROP TABLE %s', mvscheduler.shown_name(part.oid));
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.drop_kept(bigint) IS 'Drops the partitions that are kept aside for a view, with it.';

CREATE FUNCTION mvscheduler.target_id(name text) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    target pg_catalog.int8 := (SELECT t.id FROM mvscheduler.visible_targets AS t WHERE t.face::pg_catalog.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(target_id.name)::pg_catalog.oid LIMIT 1);
BEGIN
    RETURN coalesce(target, mvscheduler.view_id(target_id.name));
END $$;
COMMENT ON FUNCTION mvscheduler.target_id(text) IS 'Of an incremental view views.id, of a table source_retention.id.';

CREATE FUNCTION mvscheduler.restore_partitions(target bigint, only_this oid DEFAULT NULL) RETURNS TABLE (partition text, bound text, rows bigint, bytes bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
AS $$
DECLARE
    actor      text := CURRENT_USER;
    saved_role text := current_setting('role');
    k          record;
BEGIN
    FOR k IN SELECT v.* FROM mvscheduler.visible_kept AS v WHERE v.target = restore_partitions.target AND (only_this IS NULL OR v.relation::oid = only_this) ORDER BY v.detached_at, v.bound LOOP
        IF NOT mvscheduler.can_become(k.owner, quote_ident(CURRENT_USER)::regrole) THEN   -- SET ROLE is no wall, see refuse_stored_text
            RAISE EXCEPTION 'only % can restore partitions of %', k.owner, mvscheduler.shown_name(k.parent) USING ERRCODE = 'insufficient_privilege',
                DETAIL = format('ATTACH checks foreign keys, which can call functions of %s in your session.', k.owner),
                HINT = format('Let %1$s do it. Or SET ROLE %1$s first, if you trust that role with everything that your session may do.', k.owner);
        END IF;
        PERFORM mvscheduler.act_as(k.owner::oid);
        BEGIN
            partition := mvscheduler.attach_kept(k.parent::oid, k.relation::oid, k.bound, k.was);
        EXCEPTION WHEN lock_not_available THEN
            RAISE EXCEPTION '%', SQLERRM USING ERRCODE = SQLSTATE,
                DETAIL = format('Somebody holds a lock on %s, or on what is kept aside of it, for more than half a second.', mvscheduler.shown_name(k.parent)),
                HINT = 'Try again when that transaction has ended. The command "mvscheduler restore" says whose it is, and brings back each partition in a transaction of its own.';
        END;
        IF CURRENT_USER <> actor THEN
            PERFORM set_config('role', saved_role, true);
        END IF;
        bound := k.bound;
        rows := k.rows;
        bytes := k.bytes;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.restore_partitions(bigint, oid) IS 'Attaches again what is kept aside for a view or table, all of it or one partition, in the session of its owner.';

CREATE FUNCTION mvscheduler.restore_view(name text) RETURNS TABLE (partition text, bound text, rows bigint, bytes bigint)
LANGUAGE sql
BEGIN ATOMIC
    SELECT r.partition, r.bound, r.rows, r.bytes FROM mvscheduler.restore_partitions(mvscheduler.target_id(restore_view.name)) AS r;
END;
COMMENT ON FUNCTION mvscheduler.restore_view(text) IS 'Brings back the partitions that are kept aside for an incremental view, or for a table of source_retention: every row of them. They stay for another grace period.';

-- A row of source_retention -----------------------------------------------------------------------------

CREATE FUNCTION mvscheduler.source_normalize() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rel record;
BEGIN
    SELECT c.relkind, c.relowner, mvscheduler.shown_name(c.oid) AS name, p.partstrat, a.attname AS key, a.atttypid AS key_type INTO rel
      FROM pg_class AS c
      LEFT JOIN pg_partitioned_table AS p ON p.partrelid = c.oid
      LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0] AND a.attnum > 0 AND p.partnatts = 1
     WHERE c.oid = NEW."table"::oid;
    IF rel.name IS NULL THEN
        RAISE EXCEPTION 'the table does not exist any more' USING ERRCODE = 'undefined_table', HINT = 'DELETE the row.';
    ELSIF rel.relkind <> 'p' THEN
        RAISE EXCEPTION '% is not partitioned', rel.name USING ERRCODE = 'wrong_object_type',
            HINT = CASE WHEN rel.relkind IN ('v', 'm') THEN 'Of a managed view set the retention_period.'
                        WHEN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = NEW."table"::oid AND c.relispartition)
                        THEN format('It is a partition: name the table that has it, %s.', mvscheduler.shown_name((SELECT i.inhparent FROM pg_inherits AS i WHERE i.inhrelid = NEW."table"::oid)))
                        ELSE 'Only whole partitions leave: partition it by a range of its time column.' END;
    ELSIF EXISTS (SELECT FROM mvscheduler.visible_pieces AS p WHERE p.kind = 'data' AND p.relation::oid = NEW."table"::oid) THEN
        RAISE EXCEPTION '% is the data of a managed view', rel.name USING ERRCODE = 'wrong_object_type', HINT = 'Set the retention_period of the view.';
    ELSIF TG_OP = 'UPDATE' AND NEW."table" <> OLD."table" THEN
        RAISE EXCEPTION 'column "table" cannot be changed' USING ERRCODE = 'feature_not_supported', HINT = 'DELETE the row and INSERT it anew.';
    END IF;
    NEW.owner := quote_ident(pg_get_userbyid(rel.relowner))::regrole;
    IF TG_OP = 'UPDATE' AND NEW.owner <> OLD.owner THEN   -- its gate would run as the old one
        RAISE EXCEPTION '% was given to %', rel.name, NEW.owner USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'DELETE the row and INSERT it anew as the new owner.';
    END IF;
    IF NOT mvscheduler.can_become(quote_ident(CURRENT_USER)::regrole, rel.relowner) THEN
        RAISE EXCEPTION 'must be owner of table %', rel.name USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF rel.partstrat <> 'r' OR NOT coalesce(rel.key_type IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype), false) THEN
        RAISE EXCEPTION '% is not partitioned by a range of a time', rel.name USING ERRCODE = CASE WHEN rel.partstrat = 'r' THEN 'invalid_parameter_value' ELSE 'wrong_object_type' END,
            HINT = 'Partition it by a range of one column of type timestamptz, timestamp or date: only then the bounds of a partition tell how old its rows are.';
    END IF;
    NEW.time_column := coalesce(NEW.time_column, rel.key);
    IF NEW.time_column <> rel.key THEN
        RAISE EXCEPTION '% is not partitioned by a range of %', rel.name, quote_ident(NEW.time_column) USING ERRCODE = 'invalid_parameter_value',
            HINT = format('Leave time_column out, or name %I.', rel.key);
    ELSIF NOT mvscheduler.is_period(NEW.retention_period) OR NEW.retention_period = interval '0' THEN
        RAISE EXCEPTION 'invalid retention_period: %', NEW.retention_period USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a positive interval of at most 5000 years.';
    ELSIF NOT mvscheduler.is_period(NEW.grace_period) THEN
        RAISE EXCEPTION 'invalid grace_period: %', NEW.grace_period USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval of at most 5000 years that is not negative.';
    END IF;
    NEW.timezone := coalesce(NEW.timezone, current_setting('TimeZone'));
    IF mvscheduler.timezone_error(NEW.timezone) IS NOT NULL THEN
        RAISE EXCEPTION 'invalid timezone: %', quote_literal(left(NEW.timezone, 200)) USING ERRCODE = 'invalid_parameter_value',
            DETAIL = mvscheduler.timezone_error(NEW.timezone), HINT = 'Write an IANA name such as Europe/Berlin.';
    END IF;
    NEW.updated_at := now();
    PERFORM set_config('mvscheduler.actor', CURRENT_USER, true);   -- for the audit log
    RETURN NEW;
END $$;
COMMENT ON FUNCTION mvscheduler.source_normalize() IS 'Trigger a_normalize on source_retention: checks every column and completes the row.';

CREATE FUNCTION mvscheduler.source_ddl() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
AS $$
DECLARE
    began      timestamptz := clock_timestamp();
    actor      text := CURRENT_USER;
    saved_role text := current_setting('role');
    place      record;
    name       text;
    gate       oid;
    who        mvscheduler.views;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT c.oid INTO gate
          FROM mvscheduler.visible_targets AS t
          JOIN pg_class AS c ON c.oid = t.gate::oid AND c.relkind = 'm' AND c.relowner = OLD.owner::oid
         WHERE t.id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' AND gate IS NULL THEN   -- at an UPDATE it was dropped, or given away, by hand
        PERFORM mvscheduler.act_as(NEW.owner::oid);
        SELECT n.nspname, c.relname INTO place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = NEW."table"::oid;
        name := mvscheduler.free_name(place.nspname, place.relname, '__gate');
        WHILE TG_OP = 'INSERT' LOOP   -- until a row of a part of a table is committed, and holds, that part is not dropped
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', mvscheduler.shown_name(NEW."table"::oid));
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM mvscheduler.wait_or_say_busy(mvscheduler.shown_name(NEW."table"::oid), SQLERRM, began);
        END;
        END LOOP;
        EXECUTE format('CREATE MATERIALIZED VIEW %I.%I AS SELECT mvscheduler.step(%s) AS step WITH NO DATA', place.nspname, name, NEW.id);
        gate := format('%I.%I', place.nspname, name)::regclass;
        EXECUTE format('COMMENT ON MATERIALIZED VIEW %I.%I IS %L', place.nspname, name, 'mvscheduler: gate of ' || mvscheduler.shown_name(NEW."table"::oid));
        PERFORM mvscheduler.keep_to_owner(gate);
        who.name := mvscheduler.shown_name(NEW."table"::oid);
        who.owner := NEW.owner;
        PERFORM mvscheduler.grant_to_worker(who, gate);
    ELSIF TG_OP = 'DELETE' THEN
        WHILE gate IS NOT NULL LOOP   -- as in views_ddl
        BEGIN
            PERFORM mvscheduler.act_as(OLD.owner::oid);
            EXECUTE format('DROP MATERIALIZED VIEW %s', mvscheduler.shown_name(gate));
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM mvscheduler.wait_or_say_busy(mvscheduler.shown_name(OLD."table"::oid), SQLERRM, began);
        END;
        END LOOP;
        FOR place IN SELECT mvscheduler.shown_name(k.relation::oid) AS name FROM mvscheduler.visible_kept AS k WHERE k.target = OLD.id LOOP
            RAISE NOTICE 'table %, which was put aside, stays', place.name;
        END LOOP;
    END IF;
    IF CURRENT_USER <> actor THEN
        PERFORM set_config('role', saved_role, true);
    END IF;
    PERFORM set_config('mvscheduler.gate', coalesce(gate, 0)::text, true), set_config('mvscheduler.actor', actor, true);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.source_ddl() IS 'Trigger b_ddl on source_retention: makes the gate of the table, anew at an UPDATE where it is missing, and drops it, as its owner.';

-- As mvscheduler_owner. Which of them really leave, and when, the sidecar plans: here it is what their bounds say. No lock is taken.
CREATE FUNCTION mvscheduler.tell_of_leaving(relation oid, name text, retention_period interval, grace_period interval) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    border timestamptz := now() - retention_period;
    n      bigint := (SELECT count(*) FROM mvscheduler.partitions_of(relation) AS p WHERE p.hi <= border AT TIME ZONE 'UTC');
BEGIN
    IF n > 0 THEN
        RAISE NOTICE '% of % before % and will leave as soon as no view needs what is in them', n || CASE n WHEN 1 THEN ' partition' ELSE ' partitions' END, name || CASE n WHEN 1 THEN ' ends' ELSE ' end' END, border
            USING DETAIL = format('What has left is kept aside for another %s, and dropped then.', grace_period),
                  HINT = format('mvscheduler prune %s --dry-run names each, mvscheduler restore %1$s brings back what has left.', name);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.tell_of_leaving(oid, text, interval, interval) IS 'Says how many partitions a retention_period lets go.';
REVOKE ALL ON FUNCTION mvscheduler.tell_of_leaving(oid, text, interval, interval) FROM PUBLIC;

-- What could be restored a moment ago: the statement that ends that is the last chance to say so.
CREATE FUNCTION mvscheduler.tell_of_dropping(target bigint, name text, grace_period interval) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    n bigint := (SELECT count(*) FROM mvscheduler.kept AS k WHERE k.target = tell_of_dropping.target AND k.detached_at < clock_timestamp() - tell_of_dropping.grace_period);
BEGIN
    IF n > 0 THEN
        RAISE NOTICE '% put aside longer ago than % and will be dropped for good', CASE n WHEN 1 THEN format('1 partition of %s was', name) ELSE format('%s partitions of %s were', n, name) END, grace_period
            USING HINT = format('mvscheduler restore %s brings %s back until then; legal_hold = true keeps %2$s aside.', name, CASE n WHEN 1 THEN 'it' ELSE 'them' END);
    END IF;
END $$;
COMMENT ON FUNCTION mvscheduler.tell_of_dropping(bigint, text, interval) IS 'Says how many partitions that are aside a grace_period ends for.';
REVOKE ALL ON FUNCTION mvscheduler.tell_of_dropping(bigint, text, interval) FROM PUBLIC;

CREATE FUNCTION mvscheduler.source_bookkeeping() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
AS $$
DECLARE
    made    oid;
    old_row jsonb;
    new_row jsonb;
BEGIN
    IF TG_OP <> 'INSERT' THEN old_row := to_jsonb(OLD); END IF;
    IF TG_OP <> 'DELETE' THEN new_row := to_jsonb(NEW); END IF;
    INSERT INTO mvscheduler.audit_entry (role, action, view_id, view_name, owner, old, new)
    SELECT coalesce(nullif(current_setting('mvscheduler.actor', true), ''), r.owner::text), lower(TG_OP), r.id, coalesce(mvscheduler.shown_name(r.relation), r.relation::text), r.owner,
           mvscheduler.changed_columns(old_row, new_row), mvscheduler.changed_columns(new_row, old_row)
      FROM (SELECT CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END AS id, CASE TG_OP WHEN 'DELETE' THEN OLD."table" ELSE NEW."table" END::oid AS relation,
                   CASE TG_OP WHEN 'DELETE' THEN OLD.owner ELSE NEW.owner END AS owner) AS r;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM mvscheduler.source_state AS s WHERE s.id = OLD.id;
        -- What is aside stays, as tables of the owner; the sidecar forgets them. What is back is not gone, unless for other times.
        UPDATE mvscheduler.kept AS k SET detached_at = NULL, restored_at = clock_timestamp()
          FROM pg_inherits AS i WHERE k.target = OLD.id AND i.inhrelid = k.relation::oid AND i.inhparent = OLD."table"::oid AND k.detached_at IS NOT NULL
                                  AND k.bound = mvscheduler.bound_of(k.relation::oid);
        RETURN NULL;
    END IF;
    SELECT c.oid INTO made FROM pg_class AS c WHERE c.oid = current_setting('mvscheduler.gate')::oid AND c.relkind = 'm' AND c.relowner = NEW.owner::oid;
    IF made IS NULL THEN
        RAISE EXCEPTION 'the gate of the table is not what it should be' USING ERRCODE = 'wrong_object_type';
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO mvscheduler.source_state (id, name, relation, owner, gate, time_column, retention_period, grace_period, legal_hold, enabled, timezone)
        VALUES (NEW.id, mvscheduler.shown_name(NEW."table"::oid), NEW."table", NEW.owner, made::regclass, NEW.time_column, NEW.retention_period, NEW.grace_period, NEW.legal_hold, NEW.enabled, NEW.timezone);
    ELSE
        UPDATE mvscheduler.source_state AS s
           SET name = mvscheduler.shown_name(NEW."table"::oid), owner = NEW.owner, gate = made::regclass, time_column = NEW.time_column, retention_period = NEW.retention_period,
               grace_period = NEW.grace_period, legal_hold = NEW.legal_hold, enabled = NEW.enabled, timezone = NEW.timezone, asked_at = clock_timestamp()
         WHERE s.id = NEW.id;
    END IF;
    IF NEW.enabled AND NOT NEW.legal_hold AND (TG_OP = 'INSERT' OR NOT OLD.enabled OR OLD.legal_hold OR now() - NEW.retention_period > now() - OLD.retention_period) THEN
        PERFORM mvscheduler.tell_of_leaving(NEW."table"::oid, mvscheduler.shown_name(NEW."table"::oid), NEW.retention_period, NEW.grace_period);
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.enabled AND NOT NEW.legal_hold AND (NOT OLD.enabled OR OLD.legal_hold OR now() - NEW.grace_period > now() - OLD.grace_period) THEN
        PERFORM mvscheduler.tell_of_dropping(NEW.id, mvscheduler.shown_name(NEW."table"::oid), NEW.grace_period);
    END IF;
    PERFORM pg_notify('mvscheduler_due', '') WHERE pg_notification_queue_usage() < 0.5;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.source_bookkeeping() IS 'Trigger c_bookkeeping on source_retention: copies the row to source_state and writes the audit log.';
REVOKE ALL ON FUNCTION mvscheduler.source_bookkeeping() FROM PUBLIC;

CREATE TRIGGER a_normalize BEFORE INSERT OR UPDATE ON mvscheduler.source_retention
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.source_normalize();
CREATE TRIGGER b_ddl AFTER INSERT OR UPDATE OR DELETE ON mvscheduler.source_retention
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.source_ddl();
CREATE TRIGGER c_bookkeeping AFTER INSERT OR UPDATE OR DELETE ON mvscheduler.source_retention
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.source_bookkeeping();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON mvscheduler.source_retention
    FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.views_no_truncate();
