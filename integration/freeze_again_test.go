package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// everythingDirty has all buckets computed that are not frozen.
const everythingDirty = `INSERT INTO mvscheduler.dirt (view_id, lo, hi) SELECT view_id, '-infinity', 'infinity' FROM mvscheduler.view_state`

// What the view never had comes back by hand, and leaves by another row of source_retention: then it has it, and keeps it.
func TestAYoungViewKeepsWhatLeavesByASecondRowOfSourceRetention(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	startSidecar(t, s.db)
	retention := fmt.Sprintf(leaveReadings, olderThan(5))
	pgtest.Exec(t, s.alice, retention)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	s.incremental(t, "hourly", hourlyReadings)
	s.incremented(t, "hourly")
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.frozen WHERE times > '-infinity'`)

	attach := ask[[]string](t, s.root, `SELECT array_agg(format('ALTER TABLE readings ATTACH PARTITION %s %s', relation, bound)) FROM mvscheduler.kept`)
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.source_retention`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept`)
	pgtest.Exec(t, s.alice, attach...)
	s.incremented(t, "hourly")
	same(t, s.alice, "hourly")
	s.snapshotOf(t, "hourly", "before")

	pgtest.Exec(t, s.alice, retention)
	until(t, s.root, fmt.Sprintf(`SELECT count(*) = %d FROM mvscheduler.kept`, len(attach)))
	s.pruned(t)
	pgtest.Exec(t, s.root, everythingDirty)
	s.incremented(t, "hourly")
	require.Zero(t, s.lost(t, "before", "hourly", "true"))
}

// It reads one table, then the other; of both partitions have left, and those of one come back.
func TestAViewThatIsFrozenByTwoTablesStaysSoByEach(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	texts := ask[[]string](t, s.alice, `SELECT array_agg(format('CREATE TABLE other_%s PARTITION OF other %s', c.relname, pg_get_expr(c.relpartbound, c.oid))) FROM pg_class AS c JOIN pg_inherits AS i ON i.inhrelid = c.oid WHERE i.inhparent = 'readings'::regclass`)
	pgtest.Exec(t, s.alice, `CREATE TABLE other (LIKE readings) PARTITION BY RANGE (ts)`)
	pgtest.Exec(t, s.alice, texts...)
	pgtest.Exec(t, s.alice, `INSERT INTO other SELECT * FROM readings`, `CREATE VIEW between_them AS SELECT ts, device, value FROM other WHERE mvscheduler.in_window(ts)`)
	s.incremental(t, "v", strings.Replace(hourlyReadings, "readings WHERE mvscheduler.in_window(ts)", "between_them", 1))
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.snapshotOf(t, "v", "before")
	const leave = `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('%s', '%s')`
	pgtest.Exec(t, s.alice, fmt.Sprintf(leave, "other", "2 days"))
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT ts, device, value FROM readings WHERE mvscheduler.in_window(ts)`)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leave, "readings", "5 days"))
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('other')`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.pruning WHERE action = 'restore'`)
	pgtest.Exec(t, s.root, everythingDirty)
	s.incremented(t, "v")
	require.Zero(t, s.lost(t, "before", "v", "true"))
}

// A view that reads something else by now is frozen as far as it was, while more leaves and a part of that comes back.
func TestAViewThatReadsSomethingElseStaysFrozenWhenNewerPartitionsComeBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	pgtest.Exec(t, s.alice, `CREATE VIEW between_them AS SELECT ts, device, value FROM readings WHERE mvscheduler.in_window(ts)`,
		`CREATE TABLE other AS SELECT * FROM readings WHERE ts > now() - interval '1 day'`)
	s.incremental(t, "v", strings.Replace(hourlyReadings, "readings WHERE mvscheduler.in_window(ts)", "between_them", 1))
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.snapshotOf(t, "v", "before")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '5 days')`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	was := ask[string](t, s.root, `SELECT times::text FROM mvscheduler.frozen WHERE target > 0`)
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT ts, device, value FROM other WHERE mvscheduler.in_window(ts)`)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = '2 days'`)
	until(t, s.root, `SELECT count(*) > 5 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_partitions(k.target, k.relation) FROM mvscheduler.visible_kept AS k ORDER BY k.bound DESC LIMIT 1`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.pruning WHERE action = 'restore'`)
	pgtest.Exec(t, s.root, everythingDirty)
	s.incremented(t, "v")
	require.Zero(t, s.lost(t, "before", "v", "hour < '"+was+"'"))
	require.Equal(t, was, ask[string](t, s.root, `SELECT times::text FROM mvscheduler.frozen WHERE target > 0`))
}

// A view that waits to be filled is told what has left like any other, and has nothing of it.
func TestAYoungViewThatWaitsToBeFilledIsWhatItsQueryGives(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '5 days')`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN`, `INSERT INTO readings VALUES (now(), 1, 1)`) // for whom the triggers wait
	s.incremental(t, "hourly", hourlyReadings, "max_attempts", 20)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.frozen WHERE times > '-infinity'`)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.increment_state`))
	pgtest.Exec(t, writer, `COMMIT`)
	s.incremented(t, "hourly")
	same(t, s.alice, "hourly")
	pgtest.Exec(t, s.alice, `UPDATE hourly__data SET n = n + 1 WHERE hour = (SELECT min(hour) FROM hourly__data)`)
	v, _ := s.verify(t, 5, "hourly", "--all")
	require.Equal(t, 1, v.Wrong, "the oldest bucket, that at the edge")
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1`, `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total, max(value) AS most FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
	require.NoError(t, err)
}
