package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A view is made upon one of which partitions have left, and is told so before it is filled: it has nothing of those, and everything of
// what is there, also where a label without a zone could be a day later than its row.
func TestAYoungViewHasWhatIsLeftOfAViewThatHasLostPartitions(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins")
	startSidecar(t, s.db)
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '3 days'`)
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept`)
	s.pruned(t)
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN`, `LOCK mins__data IN ROW EXCLUSIVE MODE`) // for whom the triggers wait
	s.incremental(t, "bare", `SELECT date_trunc('minute', minute AT TIME ZONE 'UTC') AS m, device, sum(n) AS n FROM mins WHERE mvscheduler.in_window(minute) GROUP BY 1, 2`,
		"time_column", "m", "bucket_width", "1 minute", "max_attempts", 20)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.view_source AS v JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.bare'`)
	require.Zero(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".mins", "--wait").code)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.frozen_by AS b JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.bare'`)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.increment_state AS i JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.bare'`))
	pgtest.Exec(t, writer, `COMMIT`)
	s.incremented(t, "bare")
	same(t, s.alice, "bare")
	require.NotZero(t, ask[int64](t, s.alice, `SELECT count(*) FROM bare`))

	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT min(minute), 77, 1 FROM mins`)
	s.incremented(t, "mins", "bare")
	same(t, s.alice, "bare")
	s.snapshotOf(t, "bare", "before")

	// What leaves from now on it has, and keeps; what comes back it follows.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '2 days' WHERE name LIKE '%.mins'`)
	s.incremented(t, "mins", "bare")
	until(t, s.root, `SELECT count(*) > 5 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.root, everythingDirty)
	s.incremented(t, "mins", "bare")
	require.Zero(t, s.lost(t, "before", "bare", "true"))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL WHERE name LIKE '%.mins'`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.incremented(t, "mins", "bare")
	same(t, s.alice, "bare")
}
