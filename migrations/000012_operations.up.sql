-- What operating many views needs: a pause of everything, alerts, and history that does not grow for ever.

CREATE FUNCTION mvscheduler.paused_at(instant timestamptz) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(g.paused_from <= instant AND coalesce(g.paused_until, 'infinity') > instant, false)
      FROM mvscheduler.settings AS g;
END;
COMMENT ON FUNCTION mvscheduler.paused_at(timestamptz) IS 'True when every clock stands still at this instant.';

CREATE FUNCTION mvscheduler.pause_all(reason text DEFAULT NULL, until timestamptz DEFAULT NULL, starting timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF until <= greatest(clock_timestamp(), starting) THEN
        RAISE EXCEPTION 'the pause would end before it begins: %', until USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE mvscheduler.settings
       SET paused_from = coalesce(starting, clock_timestamp()), paused_until = until, pause_reason = nullif(reason, '');
END $$;
COMMENT ON FUNCTION mvscheduler.pause_all(text, timestamptz, timestamptz) IS 'Stops every clock: from now or the instant starting, until resume_all or the instant given (a maintenance window). What people ask for is still refreshed; runs under way go on. For administrators.';

CREATE FUNCTION mvscheduler.resume_all() RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    UPDATE mvscheduler.settings SET paused_from = NULL, paused_until = NULL, pause_reason = NULL;
END;
COMMENT ON FUNCTION mvscheduler.resume_all() IS 'Ends or cancels a pause of everything. Views that were paused one by one stay so. For administrators.';

CREATE FUNCTION mvscheduler.settings_bookkeeping() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO mvscheduler.audit_entry (role, action, old, new)
    VALUES (coalesce(NEW.changed_by, 'unknown'), 'settings',
            mvscheduler.changed_columns(to_jsonb(OLD) - 'changed_by', to_jsonb(NEW) - 'changed_by'),
            mvscheduler.changed_columns(to_jsonb(NEW) - 'changed_by', to_jsonb(OLD) - 'changed_by'));
    IF pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('mvscheduler_due', '');
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.settings_bookkeeping() IS 'Trigger bookkeeping on settings: audit log and a hint to the sidecar.';
REVOKE ALL ON FUNCTION mvscheduler.settings_bookkeeping() FROM PUBLIC;

CREATE FUNCTION mvscheduler.settings_normalize() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.changed_by := CURRENT_USER;
    NEW.resumed_at := CASE WHEN OLD.paused_from <= clock_timestamp() AND NEW.paused_from IS NULL THEN clock_timestamp() ELSE OLD.resumed_at END;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION mvscheduler.settings_normalize() IS 'Trigger a_normalize on settings: notes who changes them, as the definer of the next trigger cannot see it, and when a pause ends.';
CREATE TRIGGER a_normalize BEFORE UPDATE ON mvscheduler.settings
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.settings_normalize();
CREATE TRIGGER bookkeeping AFTER UPDATE ON mvscheduler.settings
    FOR EACH ROW EXECUTE FUNCTION mvscheduler.settings_bookkeeping();

-- History ---------------------------------------------------------------------------------------------

CREATE INDEX run_finished ON mvscheduler.run (finished_at) WHERE state <> 'skipped';
CREATE INDEX run_skipped ON mvscheduler.run (finished_at) WHERE state = 'skipped';

-- Alerts ----------------------------------------------------------------------------------------------

CREATE TABLE mvscheduler.alert (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view_id     bigint NOT NULL,
    view_name   text NOT NULL,
    owner       regrole NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('stale', 'paused', 'failing', 'missing')),
    reason      text NOT NULL,
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    told        text NOT NULL DEFAULT 'nothing' CHECK (told IN ('nothing', 'opened', 'resolved')),
    tries       integer NOT NULL DEFAULT 0,
    next_try    timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- An alert is raised once, however many sidecars look and however long it lasts.
CREATE UNIQUE INDEX alert_open ON mvscheduler.alert (view_id, kind) WHERE resolved_at IS NULL;
CREATE INDEX alert_untold ON mvscheduler.alert (next_try) WHERE told = 'nothing' OR told = 'opened' AND resolved_at IS NOT NULL;
COMMENT ON TABLE mvscheduler.alert IS 'Private: what a person has to know, shown by the view alerts.';
COMMENT ON COLUMN mvscheduler.alert.id IS 'Identifier of the alert.';
COMMENT ON COLUMN mvscheduler.alert.view_id IS 'views.id';
COMMENT ON COLUMN mvscheduler.alert.view_name IS 'Name of the view when the alert was raised.';
COMMENT ON COLUMN mvscheduler.alert.owner IS 'Owner of the view when the alert was raised.';
COMMENT ON COLUMN mvscheduler.alert.kind IS 'stale (older than twice its target), paused (by mvscheduler, since only a person can mend it), failing (three failed attempts in a row) or missing (dropped by hand).';
COMMENT ON COLUMN mvscheduler.alert.reason IS 'status.reason at that time.';
COMMENT ON COLUMN mvscheduler.alert.opened_at IS 'When it was raised.';
COMMENT ON COLUMN mvscheduler.alert.resolved_at IS 'When it was over; NULL = it is not.';
COMMENT ON COLUMN mvscheduler.alert.told IS 'What the webhook has taken so far: nothing, opened or resolved.';
COMMENT ON COLUMN mvscheduler.alert.tries IS 'Tries to tell the webhook since it last took something.';
COMMENT ON COLUMN mvscheduler.alert.next_try IS 'When the webhook is tried next.';

CREATE VIEW mvscheduler.alerts WITH (security_barrier) AS
    SELECT a.id, a.view_name, a.kind, a.reason, a.opened_at, a.resolved_at
      FROM mvscheduler.alert AS a
     WHERE (SELECT mvscheduler.sees_all())
        OR a.owner::oid = ANY (ARRAY(SELECT mvscheduler.my_roles()));
COMMENT ON VIEW mvscheduler.alerts IS 'What a person has to know, and when it was over. Each change is also a NOTIFY on channel mvscheduler_alert.';
COMMENT ON COLUMN mvscheduler.alerts.id IS 'Identifier of the alert.';
COMMENT ON COLUMN mvscheduler.alerts.view_name IS 'Name of the view when the alert was raised.';
COMMENT ON COLUMN mvscheduler.alerts.kind IS 'stale, paused, failing or missing.';
COMMENT ON COLUMN mvscheduler.alerts.reason IS 'status.reason at that time.';
COMMENT ON COLUMN mvscheduler.alerts.opened_at IS 'When it was raised.';
COMMENT ON COLUMN mvscheduler.alerts.resolved_at IS 'When it was over; NULL = it is not.';

REVOKE ALL ON mvscheduler.alert FROM PUBLIC;
GRANT SELECT ON mvscheduler.alerts TO mvscheduler_user, mvscheduler_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON mvscheduler.alert TO mvscheduler_worker;
GRANT DELETE ON mvscheduler.run, mvscheduler.attempt TO mvscheduler_worker;
