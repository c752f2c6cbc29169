DROP FUNCTION mvscheduler.calendar_error(jsonb);
DROP FUNCTION mvscheduler.wall_minute(text, integer);
DROP FUNCTION mvscheduler.cron_error(text);
DROP FUNCTION mvscheduler.cron_field(text, text, integer, integer, text[]);
DROP FUNCTION mvscheduler.timezone_error(text);
DROP FUNCTION mvscheduler.interval_error(interval);
