DROP TABLE mvscheduler.audit_entry;
DROP TABLE mvscheduler.request;
DROP TABLE mvscheduler.attempt;
DROP TABLE mvscheduler.run;
DROP TABLE mvscheduler.view_health;
DROP TABLE mvscheduler.view_state;
DROP TABLE mvscheduler.views;
DROP TABLE mvscheduler.settings;
