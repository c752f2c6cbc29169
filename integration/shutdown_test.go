package integration

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestTheFirstSignalLetsShortRunsFinish(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", slowQuery(2*time.Second), "refresh_interval", "1 day")
	sidecar := startSidecar(t, s.db)
	s.working(t, "v")
	run := s.running(t, "v")
	require.Zero(t, sidecar.stop())
	require.Equal(t, "succeeded", ask[string](t, s.root, `SELECT state FROM mvscheduler.run WHERE id = $1`, run))
	require.Equal(t, 1, ask[int](t, s.root, `SELECT attempts FROM mvscheduler.run WHERE id = $1`, run))
	s.nothingIsLeft(t)
}

func TestAfterTheGraceRunsAreCancelledAndGoOnElsewhereWithNoAttemptCounted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE gate (seconds float8)`, `INSERT INTO gate VALUES (0)`)
	s.manage(t, "v", "SELECT id, amount, slow(seconds / 100) AS paused FROM sales, gate", "refresh_interval", "1 day", "max_attempts", 1)
	first := startSidecar(t, s.db, "--grace", "1s")
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `UPDATE gate SET seconds = 60`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	pid := s.working(t, "v")

	began := time.Now()
	require.Zero(t, first.stop())
	t.Logf("it ended after %s", time.Since(began))
	require.Less(t, time.Since(began), 30*time.Second)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid)
	require.Equal(t, "queued", ask[string](t, s.root, `SELECT state FROM mvscheduler.run WHERE id = $1`, run))
	require.Zero(t, ask[int](t, s.root, `SELECT counted FROM mvscheduler.run WHERE id = $1`, run))
	require.Equal(t, "cancelled", ask[string](t, s.root, `SELECT outcome FROM mvscheduler.attempt WHERE run_id = $1`, run))
	require.Equal(t, "available", ask[string](t, s.root, `
SELECT j.state::text FROM mvscheduler.river_job AS j JOIN mvscheduler.run AS r ON r.job_id = j.id WHERE r.id = $1`, run), "its slot is due again at once")
	s.nothingIsLeft(t)
	require.Equal(t, int64(100), ask[int64](t, s.alice, `SELECT count(*) FROM v`), "old contents stay")

	pgtest.Exec(t, s.alice, `UPDATE gate SET seconds = 0`)
	began = time.Now()
	second := startSidecar(t, s.db)
	require.Equal(t, "succeeded", s.ended(t, run), "although max_attempts is 1")
	t.Logf("the next sidecar finished it after %s", time.Since(began))
	require.Zero(t, second.stop())
	s.nothingIsLeft(t)
	s.noRefreshesOverlap(t)
}

func TestAShutdownEndsARefreshThatSwallowsTheCancel(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, stubborn)
	s.manage(t, "v", "SELECT stubborn(120) AS a", "refresh_interval", "1 day")
	sidecar := startSidecar(t, s.db, "--grace", "1s")
	s.working(t, "v")
	run := s.running(t, "v")
	began := time.Now()
	require.Zero(t, sidecar.stop())
	t.Logf("it ended after %s", time.Since(began))
	require.Less(t, time.Since(began), 60*time.Second)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'mvscheduler%')`)
	require.Zero(t, ask[int](t, s.root, `SELECT counted FROM mvscheduler.run WHERE id = $1`, run))
}

// stubborn is a function that a cancel or a timeout does not end.
const stubborn = `
CREATE FUNCTION stubborn(seconds integer) RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    FOR i IN 1..seconds * 10 LOOP
        BEGIN
            PERFORM pg_sleep(0.1);
        EXCEPTION WHEN query_canceled THEN NULL;
        END;
    END LOOP;
    RETURN 1;
END $$`

func TestTheSecondSignalKillsAndTheRunGoesOnElsewhere(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", slowQuery(8*time.Second), "refresh_interval", "1 day")
	first := startSidecar(t, s.db)
	s.working(t, "v")
	run := s.running(t, "v")
	startSidecar(t, s.db)
	first.signal(syscall.SIGTERM)
	require.Eventually(t, func() bool { return contains(first, "worker stopping") }, patience, 10*time.Millisecond)
	first.signal(syscall.SIGINT)
	began := time.Now()
	first.wait()
	require.Less(t, time.Since(began), 20*time.Second, "the grace alone is 20 s")
	status, ok := first.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled())
	require.Equal(t, "succeeded", s.ended(t, run))
	require.Equal(t, []string{"lost", "succeeded"}, ask[[]string](t, s.root, `SELECT array_agg(outcome ORDER BY attempt) FROM mvscheduler.attempt WHERE run_id = $1`, run))
	s.noRefreshesOverlap(t)
}
