package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestASlotThatComesWhileARunIsUnderWayIsSkippedWithTheReason(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", slowQuery(3*time.Second), "refresh_interval", "1 second")
	sidecar := startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) >= 2 FROM mvscheduler.run WHERE state = 'skipped'`)
	run := s.running(t, "v")
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'skipped' AND reason = $1)`,
		fmt.Sprintf("run %d was still under way when this slot came", run))
	s.idle(t)
	require.Zero(t, sidecar.stop())
	s.everySlotHasOneEnd(t)
}

// Days without a sidecar are simulated by setting the clocks back by three days.
func TestSlotsOfAnOutageAreMadeUpForAsThePolicySays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, catchup := range []string{"latest", "skip", "all"} {
		s.manage(t, "v_"+catchup, quick, "refresh_interval", "1 day", "catchup", catchup)
	}
	sidecar := startSidecar(t, s.db)
	refreshed(t, s.alice, "v_latest", "v_skip", "v_all")
	until(t, s.root, `SELECT bool_and(next_cause IS NULL) FROM mvscheduler.view_state`)
	require.Zero(t, sidecar.stop())
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET next_slot = next_slot - interval '4 days', next_due = next_due - interval '4 days'`)
	overdue := ask[int](t, s.root, `SELECT floor(extract(epoch FROM clock_timestamp() - next_due) / 86400)::int + 1 FROM mvscheduler.view_state LIMIT 1`)
	require.Equal(t, 4, overdue)

	startSidecar(t, s.db)
	ends := func(view string) string {
		return ask[string](t, s.root, `
SELECT coalesce(string_agg(state || ' ' || cause || ' ' || missed_slots, ', ' ORDER BY slot), '')
  FROM mvscheduler.run WHERE cause IN ('schedule', 'catchup') AND view_name = $1`, s.owner+"."+view)
	}
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.run WHERE cause IN ('schedule', 'catchup') AND state IN ('succeeded', 'skipped')`)
	require.Equal(t, "succeeded catchup 3", ends("v_latest"))
	require.Equal(t, "skipped catchup 3", ends("v_skip"))
	require.Equal(t, "succeeded catchup 0, succeeded catchup 0, succeeded catchup 0, succeeded schedule 0", ends("v_all"))
	require.Contains(t, ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE state = 'skipped' AND cause = 'catchup'`), "catchup is skip")
	until(t, s.root, `SELECT bool_and(next_due > clock_timestamp()) FROM mvscheduler.view_state`)
	s.everySlotHasOneEnd(t)
}

func TestARequestDuringARunIsAnsweredByARunThatStartsAfterwards(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", slowQuery(3*time.Second), "refresh_on", "manual", "refresh_interval", nil)
	startSidecar(t, s.db)
	first := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	s.working(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO sales VALUES (200, 1)`)
	second := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	third := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE id = $1 AND state = 'succeeded'`, second)
	require.Equal(t, "succeeded", ask[string](t, s.root, `SELECT state FROM mvscheduler.run WHERE id = $1`, first))
	require.True(t, ask[bool](t, s.root, `
SELECT b.started_at >= a.finished_at FROM mvscheduler.run AS a, mvscheduler.run AS b WHERE a.id = $1 AND b.id = $2`, first, second))
	require.Equal(t, int64(101), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
	require.Equal(t, second, ask[int64](t, s.root, `SELECT joined_run FROM mvscheduler.run WHERE id = $1`, third), "one run answers both")

	pgtest.Exec(t, s.alice, `INSERT INTO sales VALUES (201, 1)`)
	waited := mvscheduler(t, s.db, s.owner, "", "refresh", "--wait", "v")
	require.Zero(t, waited.code, waited.stderr)
	require.Equal(t, int64(102), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE cause <> 'manual'`), "nothing else refreshes it")
	s.noRefreshesOverlap(t)
}

// An owner has so many places; views that wait for a person take none.
func TestPausedViewsTakeNoPlaceFromTheOthersOfTheirOwner(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for i := range 8 {
		name := fmt.Sprintf("still%d", i)
		s.manage(t, name, quick, "refresh_interval", "1 second", "priority", 1)
		switch i % 3 {
		case 0:
			pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('`+name+`')`)
		case 1:
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET enabled = false WHERE name LIKE '%.`+name+`'`)
		case 2:
			s.db.Exec(t, `INSERT INTO mvscheduler.view_health (view_id, auto_paused_at, auto_paused_version, auto_pause_reason)
				SELECT view_id, now(), rearmed_at, 'as tested' FROM mvscheduler.view_state WHERE name LIKE '%.`+name+`'`)
		}
	}
	s.manage(t, "moving", quick, "refresh_interval", "1 second", "priority", 4)
	s.db.Exec(t, `UPDATE mvscheduler.settings SET max_runs_per_owner = 2`)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) > 2 FROM mvscheduler.run WHERE view_name LIKE '%.moving' AND state IN ('succeeded', 'skipped')`)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.run WHERE view_name LIKE '%.still%'`))
}

func TestAPausedOrDisabledViewIsRefreshedOnlyWhenAsked(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_interval", "1 second")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	still := func() {
		t.Helper()
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'mvscheduler control' AND datname = current_database() AND xact_start < $1)`,
			ask[time.Time](t, s.root, `SELECT clock_timestamp()`)) // a tick may have been under way
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))`)
		count := ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run`)
		until(t, s.root, `SELECT clock_timestamp() > $1::timestamptz + interval '2500 milliseconds'`, ask[time.Time](t, s.root, `SELECT clock_timestamp()`))
		require.Equal(t, count, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run`), "no slot is claimed")
		refreshed(t, s.alice, "v")
	}
	moves := func() {
		t.Helper()
		until(t, s.root, `SELECT count(*) > $1 FROM mvscheduler.run WHERE cause IN ('schedule', 'catchup')`,
			ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE cause IN ('schedule', 'catchup')`))
	}
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('v', 'loading')`)
	require.Equal(t, "paused: loading", ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`))
	still()
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`)
	moves()
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET enabled = false`)
	still()
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET enabled = true`)
	moves()
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('v', until => now() + interval '3 seconds')`)
	ends := ask[time.Time](t, s.root, `SELECT paused_until FROM mvscheduler.view_state`)
	moves()
	require.True(t, ask[bool](t, s.root, `SELECT NOT EXISTS (
    SELECT FROM mvscheduler.run WHERE cause IN ('schedule', 'catchup') AND queued_at BETWEEN $1::timestamptz - interval '2500 milliseconds' AND $1)`, ends),
		"the pause lasted until its end")
	require.Equal(t, "idle", ask[string](t, s.root, `SELECT CASE WHEN activity = 'paused' THEN activity ELSE 'idle' END FROM mvscheduler.status`))
	s.idle(t)
	s.everySlotHasOneEnd(t)
}

func TestQueuedAndRunningRunsCanBeCancelled(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, stubborn)
	s.manage(t, "busy", slowQuery(60*time.Second), "refresh_on", "manual", "refresh_interval", nil)
	s.manage(t, "other", quick, "refresh_on", "manual", "refresh_interval", nil)
	s.manage(t, "stubborn", "SELECT stubborn(60) AS a", "refresh_on", "manual", "refresh_interval", nil)
	sidecar := startSidecar(t, s.db, "--workers", "1")
	running := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('busy')`)
	s.working(t, "busy")
	queued := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('other')`)
	cancel := func(run int64) time.Duration {
		began := time.Now()
		until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE id = $1`, run)
		r := mvscheduler(t, s.db, s.owner, "", "cancel", fmt.Sprint(run))
		require.Zero(t, r.code, r.stderr)
		require.Equal(t, "cancelled", s.ended(t, run))
		return time.Since(began)
	}
	t.Logf("the running run was cancelled within %s", cancel(running))
	require.Equal(t, "succeeded", s.ended(t, queued), "its worker is free")
	require.Contains(t, fmt.Sprint(s.db.Log(t)), "canceling statement due to user request")

	running = ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('stubborn')`)
	s.working(t, "stubborn")
	t.Logf("the stubborn run was cancelled within %s", cancel(running))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.request`))
	require.Zero(t, ask[int](t, s.root, `SELECT coalesce(sum(consecutive_failures), 0) FROM mvscheduler.view_health`), "a cancel is no failure")
	require.Zero(t, sidecar.stop())
	s.nothingIsLeft(t)
}

func TestAQueuedRunIsCancelledBeforeItBegins(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_on", "manual", "refresh_interval", nil)
	first := startSidecar(t, s.db)
	require.Zero(t, first.stop())
	// A run that waits: no sidecar is there to begin it.
	run := ask[int64](t, s.root, `
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state)
SELECT view_id, name, owner, 'manual', now(), now(), 'queued' FROM mvscheduler.view_state RETURNING id`)
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.cancel_run(%d)`, run))
	startSidecar(t, s.db)
	require.Equal(t, "cancelled", s.ended(t, run))
	require.Equal(t, "cancelled by "+s.owner, ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE id = $1`, run))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.attempt`))
}

func TestARunWhoseJobWasDeletedByHandIsReconciled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "slow", slowQuery(4*time.Second), "refresh_interval", "1 day")
	s.manage(t, "failing", "SELECT id, 1 / (amount - 1) AS a FROM sales", "refresh_interval", "1 day")
	startSidecar(t, s.db)
	// Of a run under way: the job is only what carried it to the worker.
	s.working(t, "slow")
	run := s.running(t, "slow")
	pgtest.Exec(t, s.root, fmt.Sprintf(`DELETE FROM mvscheduler.river_job WHERE id = (SELECT job_id FROM mvscheduler.run WHERE id = %d)`, run))
	require.Equal(t, "succeeded", s.ended(t, run))
	require.Equal(t, []string{"succeeded"}, outcomes(t, s, run), "the work is not thrown away")
	// Of a run that waits for its next try.
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'queued' AND counted >= 3)`)
	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1`)
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.river_job WHERE state <> 'running'`)
	failing := ask[int64](t, s.root, `SELECT id FROM mvscheduler.run WHERE view_name = $1`, s.owner+".failing")
	require.Equal(t, "succeeded", s.ended(t, failing))
}

func TestPollingGoesOnWhenTheListenerIsLost(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	sidecar := startSidecar(t, s.db)
	const listeners = `FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen%mvscheduler_due%'`
	until(t, s.root, `SELECT count(*) = 1 `+listeners)
	for n := range 3 {
		pgtest.Exec(t, s.root, `SELECT pg_terminate_backend(pid) `+listeners)
		s.manage(t, fmt.Sprintf("v%d", n), quick, "refresh_interval", "1 day")
		until(t, s.root, `SELECT count(*) = $1 FROM mvscheduler.view_health WHERE refreshes = 1`, n+1)
		until(t, s.root, `SELECT count(*) = 1 `+listeners)
	}
	require.Eventually(t, func() bool { return strings.Count(sidecar.log.String(), "listening for hints failed") >= 3 }, patience, 50*time.Millisecond)
	// River's listener as well.
	pgtest.Exec(t, s.root, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen%'`)
	s.manage(t, "v9", quick, "refresh_interval", "1 day")
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.view_health WHERE refreshes = 1`)
	require.Zero(t, sidecar.stop())
	s.nothingIsLeft(t)
}
