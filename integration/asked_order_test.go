package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Who asks for views that read each other waits until each shows what was committed before: those below first, also one of
// which a run is under way, which its own has to follow.
func TestViewsThatAreAskedForTogetherAreRefreshedInTheOrderInWhichTheyReadEachOther(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "top", slowQuery(time.Second), "refresh_on", "manual", "refresh_interval", nil)
	s.manage(t, "middle", "SELECT sum(amount) AS amount, slow(0) AS paused FROM top", "refresh_on", "manual", "refresh_interval", nil)
	s.manage(t, "between", "SELECT amount, slow(0) AS paused FROM middle", "refresh_on", "manual", "refresh_interval", nil)
	s.manage(t, "bottom", "SELECT amount, slow(0) AS paused FROM between", "refresh_on", "manual", "refresh_interval", nil)
	startSidecar(t, s.db)
	for _, view := range []string{"top", "middle", "between", "bottom"} {
		refreshed(t, s.alice, view)
	}
	shown := func() bool {
		return ask[bool](t, s.alice, `SELECT (SELECT amount FROM bottom) = (SELECT sum(amount) FROM sales)`)
	}
	require.True(t, shown())
	for _, underWay := range []bool{false, true} {
		if underWay {
			pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('top')`)
			until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'REFRESH MATERIALIZED VIEW %top%' AND state = 'active' AND pid <> pg_backend_pid())`)
		}
		pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1`)
		out := mvscheduler(t, s.db, s.owner, "", "refresh", "--wait", "bottom", "between", "middle", "top")
		require.Zero(t, out.code, out.stderr)
		require.True(t, shown(), out.stderr)
	}
	// Who waits for another is told so.
	pgtest.Exec(t, s.root, `BEGIN`, `LOCK TABLE `+s.owner+`.sales`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view(v) FROM unnest('{bottom,top}'::text[]) AS v`)
	until(t, s.alice, `SELECT reason = 'waits for the refresh of `+s.owner+`.top, which was asked for as well' FROM mvscheduler.status WHERE name LIKE '%.bottom'`)
	pgtest.Exec(t, s.root, `COMMIT`)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.request) AND NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))`)
	// Of one in the middle that nobody asked for there is no run.
	before := ask[int64](t, s.root, `SELECT coalesce(max(id), 0) FROM mvscheduler.run WHERE kind = 'refresh' AND view_name LIKE '%.between'`)
	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1`)
	out := mvscheduler(t, s.db, s.owner, "", "refresh", "--wait", "bottom", "middle", "top")
	require.Zero(t, out.code, out.stderr)
	require.Equal(t, before, ask[int64](t, s.root, `SELECT coalesce(max(id), 0) FROM mvscheduler.run WHERE kind = 'refresh' AND view_name LIKE '%.between'`))
	_, top := lastRun(t, s, "top")
	began, _ := lastRun(t, s, "bottom")
	require.False(t, began.Before(top))
}

// What waits for a view below takes nobody's turn, whatever its priority: else the owner's only run would wait for itself.
func TestARequestThatWaitsForAViewBelowDoesNotTakeItsTurn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "top", quick, "refresh_on", "manual", "refresh_interval", nil, "priority", 4)
	for _, view := range []string{"left_of", "right_of"} {
		s.manage(t, view, "SELECT sum(amount) AS amount, slow(0) AS paused FROM top", "refresh_on", "manual", "refresh_interval", nil, "priority", 1)
	}
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET max_runs_per_owner = 1`)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "top")
	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1`)
	out := mvscheduler(t, s.db, s.owner, "", "refresh", "--wait", "--timeout", "60s", "left_of", "right_of", "top")
	require.Zero(t, out.code, out.stderr)
	require.True(t, ask[bool](t, s.alice, `SELECT (SELECT amount FROM left_of) = (SELECT sum(amount) FROM sales)`))
}

// By plain views that are replaced views can come to read each other in a circle: nobody waits for himself.
func TestViewsThatReadEachOtherInACircleDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, view := range []string{"chicken", "egg"} {
		s.manage(t, view, quick, "refresh_on", "manual", "refresh_interval", nil)
	}
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state AS s SET upstream = ARRAY(SELECT o.view_id FROM mvscheduler.view_state AS o WHERE o.view_id <> s.view_id)`)
	startSidecar(t, s.db)
	out := mvscheduler(t, s.db, s.owner, "", "refresh", "--wait", "--timeout", "60s", "chicken", "egg")
	require.Zero(t, out.code, out.stderr)
}
