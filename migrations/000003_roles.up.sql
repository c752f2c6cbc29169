-- Who may see and become what. SQL-standard bodies are parsed once, here, so no search_path can bend them.

CREATE FUNCTION mvscheduler.my_roles() RETURNS SETOF oid
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT r.oid
      FROM pg_catalog.pg_roles AS r
     WHERE pg_catalog.pg_has_role(r.oid,
               CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END);
END;
COMMENT ON FUNCTION mvscheduler.my_roles() IS 'Roles that current_user can become (SET ROLE). A role that was dropped is simply absent.';

CREATE FUNCTION mvscheduler.can_become(role oid, other oid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = role)
   AND pg_catalog.pg_has_role(role, other, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END);
COMMENT ON FUNCTION mvscheduler.can_become(oid, oid) IS 'True when a role can become another one (SET ROLE) or is it; false when it was dropped.';

CREATE FUNCTION mvscheduler.sees_all() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN pg_catalog.pg_has_role('mvscheduler_owner', 'USAGE') OR pg_catalog.pg_has_role('mvscheduler_worker', 'USAGE');
COMMENT ON FUNCTION mvscheduler.sees_all() IS 'True for administrators (members of mvscheduler_owner) and for the sidecar.';

-- Names and owners of the views that the caller may see; reads the private copy, so nobody's LOCK on views is felt.
CREATE VIEW mvscheduler.visible_views WITH (security_barrier) AS
    SELECT s.view_id, s.name, s.owner, s.relation, s.query_relation, s.upstream, s.adopted, s.retention_period, s.time_column,
           s.text_author, s.query_seal, s.method, s.timezone
      FROM mvscheduler.view_state AS s
     WHERE (SELECT mvscheduler.sees_all())
        OR s.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));
COMMENT ON VIEW mvscheduler.visible_views IS 'Identity of each managed view that the caller may see.';
COMMENT ON COLUMN mvscheduler.visible_views.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.visible_views.name IS 'views.name';
COMMENT ON COLUMN mvscheduler.visible_views.owner IS 'views.owner';
COMMENT ON COLUMN mvscheduler.visible_views.relation IS 'The materialized view.';
COMMENT ON COLUMN mvscheduler.visible_views.query_relation IS 'The plain view that holds its query.';
COMMENT ON COLUMN mvscheduler.visible_views.adopted IS 'views.adopted';
COMMENT ON COLUMN mvscheduler.visible_views.retention_period IS 'The one in force: see status.tuned_retention.';
COMMENT ON COLUMN mvscheduler.visible_views.time_column IS 'views.time_column';
COMMENT ON COLUMN mvscheduler.visible_views.text_author IS 'Role that wrote the query, its search_path and the indexes last.';
COMMENT ON COLUMN mvscheduler.visible_views.query_seal IS 'What seal_of said of the query when its text was parsed.';
COMMENT ON COLUMN mvscheduler.visible_views.method IS 'views.method';
COMMENT ON COLUMN mvscheduler.visible_views.timezone IS 'views.timezone';
COMMENT ON COLUMN mvscheduler.visible_views.upstream IS 'views.id of the managed views that it reads.';

CREATE FUNCTION mvscheduler.may_manage(view_id bigint) RETURNS boolean
LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM mvscheduler.visible_views AS v WHERE v.view_id = $1);
COMMENT ON FUNCTION mvscheduler.may_manage(bigint) IS 'True when the caller may manage this view.';

ALTER TABLE mvscheduler.views ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_owner ON mvscheduler.views
    USING (owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles())))
    WITH CHECK (owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles())));
ALTER TABLE mvscheduler.request ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_view ON mvscheduler.request
    USING (mvscheduler.may_manage(view_id))
    WITH CHECK (mvscheduler.may_manage(view_id));
CREATE POLICY of_the_sidecar ON mvscheduler.request TO mvscheduler_worker   -- also those whose view is gone
    USING (true);

-- A query may call functions of this schema (with the rights of its owner), hence USAGE for everybody.
GRANT USAGE ON SCHEMA mvscheduler TO PUBLIC, mvscheduler_user, mvscheduler_worker;   -- an administrator may take it from everybody
REVOKE ALL ON ALL TABLES IN SCHEMA mvscheduler FROM PUBLIC;
GRANT SELECT ON mvscheduler.visible_views TO PUBLIC;

GRANT SELECT, UPDATE, DELETE ON mvscheduler.views TO mvscheduler_user;
DO $$   -- INSERT, but not of a chosen id: it could be another's next, or that of a view whose history is still here
BEGIN
    EXECUTE (SELECT format('GRANT INSERT (%s) ON mvscheduler.views TO mvscheduler_user', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum))
               FROM pg_attribute AS a
              WHERE a.attrelid = 'mvscheduler.views'::regclass AND a.attnum > 0 AND a.attname <> 'id');
END $$;
GRANT SELECT ON mvscheduler.settings TO mvscheduler_user, mvscheduler_worker;
GRANT SELECT, INSERT (kind, view_id, target_run) ON mvscheduler.request TO mvscheduler_user;
GRANT USAGE ON SEQUENCE mvscheduler.run_id_seq TO mvscheduler_user, mvscheduler_worker;

GRANT SELECT, UPDATE (next_slot, next_due, next_cause, reschedule, target, upstream, upstream_seen) ON mvscheduler.view_state TO mvscheduler_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON mvscheduler.view_health TO mvscheduler_worker;
GRANT SELECT, INSERT, UPDATE ON mvscheduler.run, mvscheduler.attempt TO mvscheduler_worker;
GRANT SELECT, DELETE, INSERT (kind, view_id, cause, reason) ON mvscheduler.request TO mvscheduler_worker;
GRANT SELECT ON mvscheduler.requested_view TO mvscheduler_worker;
