DROP FUNCTION mvscheduler.step_swap_method(bigint);
DROP FUNCTION mvscheduler.demand_versions(record);
DROP FUNCTION mvscheduler.swap_method_done(bigint, oid);
DROP FUNCTION mvscheduler.swap_method_at_hand(bigint);
DROP FUNCTION mvscheduler.change_method(mvscheduler.views, mvscheduler.views, oid, oid, boolean);
