package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestThreeReplicasUnderLoadNeitherLoseNorDoubleASlot(t *testing.T) {
	t.Parallel()
	heavy(t)
	s := newScene(t)
	lasting := 20 * time.Second
	if long {
		lasting = 3 * time.Minute
	}
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET max_runs_per_owner = 20`)
	for i, catchup := range []string{"latest", "skip", "all"} {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`
INSERT INTO mvscheduler.views (name, query, refresh_interval, catchup, method)
SELECT 'v%d_' || i, 'SELECT id, amount, slow(0) AS paused FROM sales WHERE id <= 3', '1 second', '%s', 'full' FROM generate_series(1, 67) AS i`, i, catchup))
	}
	var replicas []*sidecar
	for range 3 {
		replicas = append(replicas, startSidecar(t, s.db))
	}
	began := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
	until(t, s.root, `SELECT clock_timestamp() > $1`, began.Add(lasting))
	s.endsWell(t, replicas...)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE cause IN ('schedule', 'catchup') AND state NOT IN ('succeeded', 'skipped')`))
	t.Logf("%d refreshes in %s", ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE state = 'succeeded'`), lasting)
}
