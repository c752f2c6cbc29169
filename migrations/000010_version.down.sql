DROP FUNCTION mvscheduler.copy_comments(oid, oid);
DROP FUNCTION mvscheduler.copy_grants(oid, oid);
DROP FUNCTION mvscheduler.grants_on(oid);
DROP FUNCTION mvscheduler.copy_settings(oid, oid);
DROP FUNCTION mvscheduler.copy_index_settings(oid, oid);
DROP FUNCTION mvscheduler.needed_extensions(oid);
DROP FUNCTION mvscheduler.copy_indexes(oid, oid, boolean);
DROP FUNCTION mvscheduler.index_body(oid);
