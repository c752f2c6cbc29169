package integration

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Twelve views of two owners, half of them refreshed concurrently, are under way at staggered points of a
// refresh of 3 s whenever one of the two sidecars is killed.
func TestAWorkerKilledAtAnyPointOfARefreshLosesNoSlot(t *testing.T) {
	t.Parallel()
	points := 3
	if long {
		points = 30
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	s := newScene(t)
	other := sceneOn(t, s.db)
	for i := range 12 {
		owner := []*scene{s, other}[i%2]
		name, took := fmt.Sprintf("v%d", i), 3*time.Second
		if i%4 < 2 {
			owner.manage(t, name, slowQuery(took), "refresh_interval", "2 seconds", "unique_key", []string{"id"}, "max_attempts", 1)
		} else {
			owner.manage(t, name, slowQuery(took), "refresh_interval", "2 seconds", "method", "full")
		}
	}
	replicas := []*sidecar{startSidecar(t, s.db), startSidecar(t, s.db)}
	until(t, s.root, `SELECT count(*) = 12 FROM mvscheduler.view_health WHERE refreshes > 0`)
	concurrent := startReader(t, s.db, s.owner, `SELECT count(*) FROM v0`)
	plain := startReader(t, other.db, other.owner, `SELECT count(*) FROM v3`)

	hit, slowest := 0, time.Duration(0)
	for n, kills := 0, 0; kills < points; n++ {
		victim := replicas[n%2]
		worker := fmt.Sprintf("%%/%d", victim.cmd.Process.Pid)
		until(t, s.root, `SELECT count(*) >= 2 FROM mvscheduler.run WHERE state = 'running' AND worker LIKE $1`, worker)
		time.Sleep(time.Duration(random.Int64N(int64(3200 * time.Millisecond)))) // the point of the kill
		victim.kill()
		killed := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
		struck := ask[[]int64](t, s.root, `
SELECT coalesce(array_agg(r.id), '{}')
  FROM mvscheduler.run AS r
  JOIN mvscheduler.attempt AS a ON a.run_id = r.id AND a.token = r.token
 WHERE a.outcome = 'running' AND a.worker LIKE $1`, worker)
		replicas[n%2] = startSidecar(t, s.db)
		until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.run AS r WHERE r.id = ANY ($1) AND r.state IN ('queued', 'running')`, struck)
		if len(struck) == 0 {
			continue
		}
		kills++
		hit += len(struck)
		// A commit that was under way when the sidecar died may have ended well after it.
		require.Equal(t, len(struck), ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE id = ANY ($1) AND state = 'succeeded'`, struck),
			"every slot that was hit is run again")
		again := ask[float64](t, s.root, `
SELECT coalesce(max(extract(epoch FROM started_at - $2)), 0)::float8 FROM mvscheduler.run WHERE id = ANY ($1)`, struck, killed)
		slowest = max(slowest, time.Duration(again*float64(time.Second)))
	}
	t.Logf("%d refreshes were hit; the slowest began again after %s", hit, slowest)
	require.Less(t, slowest, 40*time.Second, "15 s are promised")

	concurrent.end(t)
	plain.end(t)
	t.Logf("the worst of %d concurrent reads took %s, of %d plain ones %s", concurrent.queries, concurrent.worst, plain.queries, plain.worst)
	require.Equal(t, int64(100), concurrent.fewest, "old contents are there throughout")
	require.Equal(t, int64(100), plain.fewest, "old contents are there throughout")
	require.Less(t, concurrent.worst, 10*time.Second, "nobody waits for a concurrent refresh, least of all a dead one")
	require.Less(t, plain.worst, 20*time.Second, "a dead refresh lets go of its lock")

	s.endsWell(t, replicas...)
}

func TestASidecarKilledWhileItClaimsLosesNoSlot(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	for i := range 20 {
		s.manage(t, fmt.Sprintf("v%d", i), quick, "refresh_interval", "1 second")
	}
	kills := 4
	if long {
		kills = 40
	}
	for range kills {
		doomed := startSidecar(t, s.db)
		done := ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.run`)
		until(t, s.root, `SELECT count(*) > $1 + 5 FROM mvscheduler.run`, done)
		time.Sleep(rand.N(500 * time.Millisecond)) // the point of the kill
		doomed.kill()
	}
	survivor := startSidecar(t, s.db)
	now := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
	until(t, s.root, `SELECT count(*) = 20 FROM mvscheduler.view_health WHERE data_as_of > $1`, now)
	s.endsWell(t, survivor)
}

// The moment between the fetch of a job and the first attempt is too short to be hit: its traces are made by hand.
func TestARunWhoseJobWasFetchedByADeadSidecarIsRunWithinFifteenSeconds(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_on", "manual", "refresh_interval", nil)
	run := ask[int64](t, s.root, `
WITH job AS (
    INSERT INTO mvscheduler.river_job (kind, queue, state, args, max_attempts, attempted_at, attempted_by, attempt)
    VALUES ('refresh', 'refresh', 'running', '{}', 10000, now(), '{dead}', 1)
    RETURNING id)
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, job_id)
SELECT v.view_id, v.name, v.owner, 'manual', now(), now(), 'queued', job.id FROM mvscheduler.view_state AS v, job RETURNING id`)
	sidecar := startSidecar(t, s.db)
	require.Equal(t, "succeeded", s.ended(t, run))
	took := ask[float64](t, s.root, `SELECT extract(epoch FROM started_at - queued_at)::float8 FROM mvscheduler.run WHERE id = $1`, run)
	t.Logf("it was run after %.1f s", took)
	require.Less(t, took, 40.0, "15 s are promised")
	s.idle(t)
	require.Zero(t, sidecar.stop())
	s.nothingIsLeft(t)
}

// The server looks every second whether its client is still there.
func TestARefreshEndsSoonAfterItsSidecarWasKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "endless", slowQuery(10*time.Minute), "refresh_interval", "1 hour")
	sidecar := startSidecar(t, s.db)
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'REFRESH%endless%')`)
	sidecar.kill()
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'REFRESH%endless%')`)

	next := startSidecar(t, s.db)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.attempt WHERE outcome = 'lost')`)
	_, body := next.get("/metrics")
	require.InDelta(t, 1, metric(t, body, "mvscheduler_lost_attempts_total"), 0)
}
