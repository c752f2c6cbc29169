DROP FUNCTION mvscheduler.cancel_run(bigint);
DROP VIEW mvscheduler.audit_log;
DROP VIEW mvscheduler.attempts;
DROP VIEW mvscheduler.runs;
DROP VIEW mvscheduler.requested_runs;
DROP VIEW mvscheduler.begun_runs;
DROP VIEW mvscheduler.status;
