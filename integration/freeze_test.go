package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func contains(s *sidecar, text string) bool { return strings.Contains(s.log.String(), text) }

func outcomes(t testing.TB, s *scene, run int64) []string {
	t.Helper()
	return ask[[]string](t, s.root, `SELECT array_agg(outcome ORDER BY attempt) FROM mvscheduler.attempt WHERE run_id = $1`, run)
}

// The backend of a stopped sidecar finishes its REFRESH and then waits in its transaction, with the lock.
func TestASidecarThatWasStoppedInARefreshAndGoesOnMarksNothingOfAnother(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", slowQuery(4*time.Second), "refresh_interval", "1 day", "method", "full")
	frozen := startSidecar(t, s.db)
	pid := s.working(t, "v")
	run := s.running(t, "v")
	frozen.signal(syscall.SIGSTOP)
	stopped := time.Now()
	startSidecar(t, s.db)

	until(t, s.root, `SELECT max(attempt) = 2 FROM mvscheduler.attempt WHERE run_id = $1`, run)
	t.Logf("the run passed on after %s", time.Since(stopped))
	require.Less(t, time.Since(stopped), 50*time.Second)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid)
	s.working(t, "v")
	frozen.signal(syscall.SIGCONT)
	require.Eventually(t, func() bool { return contains(frozen, "passed on to another attempt") }, patience, 20*time.Millisecond)
	require.Equal(t, "running", ask[string](t, s.root, `SELECT state FROM mvscheduler.run WHERE id = $1`, run), "the other attempt goes on")
	require.Equal(t, "succeeded", s.ended(t, run))
	require.Equal(t, []string{"lost", "succeeded"}, outcomes(t, s, run))
	s.noRefreshesOverlap(t)

	// It is fit for work.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET method = 'auto'`)
	refreshed(t, s.alice, "v")
	require.Zero(t, frozen.stop())
}

// A sidecar that is stopped while it waits to try a lock again leaves a backend that does nothing, for ever.
func TestASidecarThatWasStoppedBetweenTwoTriesKeepsItsRunNotForEver(t *testing.T) {
	t.Parallel()
	heavy(t)
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_interval", "1 day", "method", "full")
	frozen := startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `SELECT count(*) FROM v`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	require.Eventually(t, func() bool {
		frozen.signal(syscall.SIGSTOP)
		idle := ask[bool](t, s.root, `
SELECT EXISTS (
    SELECT
      FROM mvscheduler.attempt AS a
      JOIN mvscheduler.run AS r ON r.id = a.run_id AND r.state = 'running'
      JOIN pg_stat_activity AS b ON b.pid = a.backend_pid
     WHERE a.run_id = $1 AND a.outcome = 'running' AND b.state = 'idle' AND r.progress IS NOT NULL)`, run)
		if !idle {
			frozen.signal(syscall.SIGCONT)
		}
		return idle
	}, patience, 50*time.Millisecond)
	stopped := time.Now()
	pgtest.Exec(t, holder, `COMMIT`)
	startSidecar(t, s.db)
	require.Equal(t, "succeeded", s.ended(t, run))
	t.Logf("the run passed on after %s", time.Since(stopped))
	time.Sleep(time.Until(stopped.Add(time.Minute))) // so long that no connection of it is left
	frozen.signal(syscall.SIGCONT)
	require.Eventually(t, func() bool { return contains(frozen, "passed on to another attempt") }, patience, 20*time.Millisecond)
	require.Equal(t, []string{"lost", "succeeded"}, outcomes(t, s, run))
	require.Zero(t, frozen.stop())
}

// What a stopped dispatcher has locked is free again soon.
func TestASidecarThatIsStoppedDoesNotStopTheClocks(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		s.manage(t, name, quick, "refresh_interval", "1 second")
	}
	replicas := []*sidecar{startSidecar(t, s.db), startSidecar(t, s.db)}
	stops := 3
	if long {
		stops = 30
	}
	for n := range stops {
		until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.view_health WHERE data_as_of > clock_timestamp() - interval '3 seconds'`)
		frozen := replicas[n%2]
		frozen.signal(syscall.SIGSTOP)
		now := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
		untilWithin(t, 60*time.Second, s.root, `SELECT count(*) = 4 FROM mvscheduler.view_health WHERE data_as_of > $1::timestamptz + interval '2 seconds'`, now)
		frozen.signal(syscall.SIGCONT)
	}
	s.endsWell(t, replicas...)
}

// Whoever can become another role without having its rights may not end its sessions.
func TestAReplicaThatMayNotEndTheSessionsOfAnotherStillCleansUp(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if s.db.Version() < 160000 {
		t.Skip("GRANT ... WITH INHERIT FALSE is of PostgreSQL 16")
	}
	s.manage(t, "long", slowQuery(30*time.Second), "refresh_interval", "1 day")
	other, one := s.db.Worker(t), s.db.Worker(t)
	s.db.Exec(t, "GRANT "+other+" TO "+one+" WITH INHERIT FALSE, SET TRUE")
	frozen := startSidecarAs(t, s.db, other)
	s.working(t, "long")
	run := s.running(t, "long")
	frozen.signal(syscall.SIGSTOP)
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.cancel_run(%d)`, run))
	startSidecarAs(t, s.db, one)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.attempt WHERE run_id = $1 AND stop = 'cancel'`, run)
	s.manage(t, "v", quick, "refresh_on", "manual", "refresh_interval", nil)
	orphan := ask[int64](t, s.root, `
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state)
SELECT view_id, name, owner, 'manual', now(), now(), 'queued' FROM mvscheduler.view_state WHERE name LIKE '%.v' RETURNING id`)
	require.Equal(t, "succeeded", s.ended(t, orphan))
	frozen.signal(syscall.SIGCONT)
	require.Equal(t, "cancelled", s.ended(t, run))
}
