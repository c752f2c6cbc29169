package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// One worker, which is busy. What is urgent overtakes what was claimed before it (River's queue), and what the
// same owner has due as well (the claim).
func TestPriorityOneComesFirst(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	bob := s.db.User(t, "bob")
	s.manage(t, "low", `SELECT 1 AS id`, "refresh_interval", "1 day", "priority", 4)
	s.manage(t, "high", `SELECT 1 AS id`, "refresh_interval", "1 day", "priority", 1)
	pgtest.Exec(t, s.db.Conn(t, bob), `INSERT INTO mvscheduler.views (name, query, refresh_interval, priority) VALUES ('middle', 'SELECT 1 AS id', '1 day', 3)`)
	carol := sceneOn(t, s.db)
	carol.manage(t, "busy", slowQuery(4*time.Second), "refresh_interval", nil, "refresh_on", "manual")
	sidecar := startSidecar(t, s.db, "--workers", "1")
	until(t, s.root, `SELECT count(*) = 3 FROM mvscheduler.view_health WHERE refreshes = 1`)
	pgtest.Exec(t, carol.alice, `SELECT mvscheduler.refresh_view('busy')`)
	carol.working(t, "busy")

	last := ask[int64](t, s.root, `SELECT max(id) FROM mvscheduler.run`)
	due := `UPDATE mvscheduler.view_state SET next_slot = now(), next_due = now() WHERE name LIKE `
	pgtest.Exec(t, s.root, due+`'%.middle'`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE state = 'queued'`)
	pgtest.Exec(t, s.root, due+`ANY ('{%.low,%.high}')`)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.run WHERE state = 'queued'`)
	_, body := sidecar.get("/metrics")
	require.InDelta(t, 2, metric(t, body, "mvscheduler_queue_depth"), 0)
	until(t, s.root, `SELECT count(*) = 3 FROM mvscheduler.run WHERE id > $1 AND state IN ('succeeded', 'skipped')`, last)
	var order []string
	for _, name := range ask[[]string](t, s.root, `SELECT array_agg(view_name ORDER BY started_at, id) FROM mvscheduler.run WHERE id > $1`, last) {
		order = append(order, name[strings.LastIndexByte(name, '.')+1:])
	}
	require.Equal(t, []string{"high", "middle", "low"}, order)
}
