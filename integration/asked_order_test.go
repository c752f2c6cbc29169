package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
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

// asked is which of the views the dispatcher would take up at once, of those whose refresh was asked for.
func (s *scene) asked(t testing.TB) []string {
	t.Helper()
	tx, err := s.root.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	found, err := catalog.LockDue(t.Context(), tx, ask[time.Time](t, s.root, `SELECT clock_timestamp()`), 6, 100)
	require.NoError(t, err)
	var names []string
	for _, d := range found {
		if len(d.Requests) > 0 {
			names = append(names, strings.TrimPrefix(d.Name, s.owner+"."))
		}
	}
	slices.Sort(names)
	return names
}

// asking is a scene without a sidecar, of views that are refreshed when they are asked for, each with those that it reads.
func asking(t testing.TB, views ...[2]string) *scene {
	t.Helper()
	s := newScene(t)
	for _, v := range views {
		s.manage(t, v[0], quick, "refresh_on", "manual", "refresh_interval", nil)
	}
	for _, v := range views {
		_, err := s.root.Exec(t.Context(), `UPDATE mvscheduler.view_state SET next_due = NULL, next_slot = NULL, next_cause = NULL, reschedule = false,
			upstream = ARRAY(SELECT o.view_id FROM mvscheduler.view_state AS o WHERE split_part(o.name, '.', 2) = ANY (string_to_array($2, ' '))) WHERE name = $1`, s.owner+"."+v[0], v[1])
		require.NoError(t, err)
	}
	return s
}

func (s *scene) asks(t testing.TB, views ...string) (run int64) {
	t.Helper()
	for _, view := range views {
		run = ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view($1)`, view)
	}
	return run
}

// takenUp makes the run of a view that answers all its requests, as the dispatcher does.
func (s *scene) takenUp(t testing.TB, view, cause string) {
	t.Helper()
	_, err := s.root.Exec(t.Context(), `
WITH asked AS (
    DELETE FROM mvscheduler.request AS q USING mvscheduler.view_state AS v WHERE v.view_id = q.view_id AND v.name = $1 RETURNING q.run_id, v.view_id, v.name, v.owner
), made AS (
    INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state)
    SELECT CASE $2 WHEN 'manual' THEN min(a.run_id) ELSE nextval('mvscheduler.run_id_seq') END, a.view_id, a.name, a.owner, $2, now(), now(), 'running' FROM asked AS a GROUP BY 2, 3, 4
    RETURNING id
)
INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state, joined_run, finished_at)
SELECT a.run_id, a.view_id, a.name, a.owner, 'manual', now(), now(), 'skipped', m.id, now() FROM asked AS a, made AS m WHERE a.run_id <> m.id`, s.owner+"."+view, cause)
	require.NoError(t, err)
}

func (s *scene) ends(t testing.TB, view string) {
	t.Helper()
	_, err := s.root.Exec(t.Context(), `UPDATE mvscheduler.run SET state = 'succeeded', finished_at = clock_timestamp() WHERE view_name = $1 AND state = 'running'`, s.owner+"."+view)
	require.NoError(t, err)
}

// The clock of the view below has come when it is asked for: the run of that slot answers, and is waited for as any other.
func TestARequestWaitsForTheRunOfASlotThatAnswersOneBelow(t *testing.T) {
	t.Parallel()
	s := asking(t, [2]string{"top", ""}, [2]string{"middle", "top"}, [2]string{"bottom", "middle"})
	s.asks(t, "bottom", "top")
	require.Equal(t, []string{"top"}, s.asked(t))
	s.takenUp(t, "top", "schedule")
	require.Empty(t, s.asked(t))
	until(t, s.alice, `SELECT reason LIKE '%waits for the refresh of `+s.owner+`.top, which was asked for as well%' FROM mvscheduler.status WHERE name LIKE '%.bottom'`)
	s.ends(t, "top")
	require.Equal(t, []string{"bottom"}, s.asked(t))
}

// A view below is asked for again and again, so that there is always a run or a request of it: who waits does so for what was asked before,
// and is not overtaken for ever.
func TestARequestIsNotOvertakenForEverByThoseOfAViewBelow(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"asked for before": false, "asked for after it, in one statement": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := asking(t, [2]string{"top", ""}, [2]string{"middle", "top"}, [2]string{"bottom", "middle"})
			s.asks(t, "top") // and had before
			s.takenUp(t, "top", "manual")
			s.ends(t, "top")
			if after {
				s.asks(t, "bottom", "top")
			} else {
				s.asks(t, "top", "bottom")
			}
			require.Equal(t, []string{"top"}, s.asked(t))
			for runs := 0; !slices.Contains(s.asked(t), "bottom"); runs++ {
				require.Less(t, runs, 5, "it waits for ever")
				s.takenUp(t, "top", "manual")
				s.asks(t, "top")
				require.True(t, runs > 0 || len(s.asked(t)) == 0, "for the run that answers what was asked for with it")
				s.ends(t, "top")
			}
		})
	}
}

// Who waits for a circle, or is one, does not wait for what others ask for elsewhere.
func TestViewsThatReadEachOtherInACircleDoNotWaitForOthers(t *testing.T) {
	t.Parallel()
	s := asking(t, [2]string{"chicken", "egg"}, [2]string{"egg", "chicken"}, [2]string{"omelette", "egg"}, [2]string{"top", ""}, [2]string{"bottom", "top"})
	s.asks(t, "chicken", "egg", "omelette", "top", "bottom")
	require.Equal(t, []string{"chicken", "egg", "omelette", "top"}, s.asked(t))
	s.takenUp(t, "top", "manual")
	require.Equal(t, []string{"chicken", "egg", "omelette"}, s.asked(t))
}
