DROP FUNCTION mvscheduler.resume_view(text);
DROP FUNCTION mvscheduler.pause_view(text, text, timestamptz);
DROP FUNCTION mvscheduler.refresh_view(text);
DROP FUNCTION mvscheduler.drop_view(text);
DROP FUNCTION mvscheduler.create_view;
DROP FUNCTION mvscheduler.view_id(text);
