DROP FUNCTION mvscheduler.step_track(bigint);
DROP FUNCTION mvscheduler.track_at_hand(bigint);
DROP FUNCTION mvscheduler.tables_below(bigint);
DROP FUNCTION mvscheduler.noted_events(smallint, name, name);
DROP FUNCTION mvscheduler.plain_views_below(oid);
DROP FUNCTION mvscheduler.bound_instant(text, oid);
DROP FUNCTION mvscheduler.range_bounds(text);
DROP FUNCTION mvscheduler.changed_row() CASCADE;   -- with its triggers, which stay on users' tables when views go
DO $$
DECLARE
    made regprocedure;
BEGIN
    FOR made IN SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'mvscheduler'::regnamespace AND p.proname ~ '^changed_[0-9]+_' LOOP
        EXECUTE 'DROP FUNCTION ' || made || ' CASCADE';
    END LOOP;
END $$;
DROP FUNCTION mvscheduler.known_column(smallint, name);
DROP FUNCTION mvscheduler.note_narrow(smallint, name, text[]);
DROP FUNCTION mvscheduler.make_change_function(oid);
DROP FUNCTION mvscheduler.change_function(oid);
DROP FUNCTION mvscheduler.changed() CASCADE;
DROP FUNCTION mvscheduler.partition_cuts(oid, text);
DROP FUNCTION mvscheduler.part_times(oid, oid, smallint);
DROP FUNCTION mvscheduler.watched(oid);
DROP FUNCTION mvscheduler.time_of(timestamptz, double precision);
DROP FUNCTION mvscheduler.time_of(timestamp, double precision);
DROP FUNCTION mvscheduler.time_of(date, double precision);
DROP FUNCTION mvscheduler.time_of(anyelement, integer);
DROP FUNCTION mvscheduler.instant_of(name, oid);
DROP FUNCTION mvscheduler.version_at_work(bigint);
DROP VIEW mvscheduler.blind_writes;
DROP TABLE mvscheduler.increment_state;
DROP TABLE mvscheduler.dirt;
DROP VIEW mvscheduler.visible_sources;
DROP TABLE mvscheduler.view_source;
