DROP FUNCTION mvscheduler.release_view(text);
DROP FUNCTION mvscheduler.adopt_view;
DROP FUNCTION mvscheduler.pair_adopted(mvscheduler.views, oid);
DROP FUNCTION mvscheduler.release_relation(oid, oid);
DROP FUNCTION mvscheduler.adopt_relation(mvscheduler.views, oid);
DROP FUNCTION mvscheduler.adoptable(text);
