DROP FUNCTION mvscheduler.prune_view(text, boolean, interval);
DROP FUNCTION mvscheduler.prunable(bigint, interval, boolean);
DROP FUNCTION mvscheduler.derived_key_of(mvscheduler.views, oid);
DROP FUNCTION mvscheduler.check_time_column(mvscheduler.views, oid);
DROP FUNCTION mvscheduler.cutoff(bigint);
DROP FUNCTION mvscheduler.cutoff_at(interval, timestamptz);
