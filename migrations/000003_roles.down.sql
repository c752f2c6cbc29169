REVOKE USAGE ON SCHEMA mvscheduler FROM PUBLIC, mvscheduler_user, mvscheduler_worker;
DROP POLICY of_the_sidecar ON mvscheduler.request;
DROP POLICY by_view ON mvscheduler.request;
DROP POLICY by_owner ON mvscheduler.views;
DROP FUNCTION mvscheduler.may_manage(bigint);
DROP VIEW mvscheduler.visible_views;
DROP FUNCTION mvscheduler.sees_all();
DROP FUNCTION mvscheduler.can_become(oid, oid);
DROP FUNCTION mvscheduler.my_roles();
