package integration

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// reconnected replaces the connections of a scene that its server ended.
func (s *scene) reconnected(t testing.TB) {
	t.Helper()
	connect := func(role string, to **pgx.Conn) {
		require.Eventually(t, func() bool {
			url := s.db.URL()
			if role != "" {
				url = s.db.URLAs(role)
			}
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				return false
			}
			*to = conn
			return conn.Ping(t.Context()) == nil
		}, patience, 50*time.Millisecond)
		conn := *to
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	connect("", &s.root)
	connect(s.owner, &s.alice)
}

func TestAServerThatRestartsOrCrashesIsTakenUpAgainByPolicy(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.Dedicated(t, nil)
	s := sceneOn(t, db)
	for _, catchup := range []string{"latest", "skip", "all"} {
		s.manage(t, "v_"+catchup, quick, "refresh_interval", "1 second", "catchup", catchup)
	}
	s.manage(t, "long", slowQuery(3*time.Second), "refresh_interval", "2 seconds", "max_attempts", 1)
	replicas := []*sidecar{startSidecar(t, db), startSidecar(t, db)}
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.view_health WHERE refreshes > 0`)

	faults := []struct {
		name string
		do   func()
	}{
		{"a fast restart", func() { require.NoError(t, db.Server(t).Restart(t.Context(), pgserver.Fast)) }},
		{"an immediate restart", func() { require.NoError(t, db.Server(t).Restart(t.Context(), pgserver.Immediate)) }},
		{"a backend killed", func() {
			pid := s.working(t, "long")
			require.NotZero(t, pid)
			require.NoError(t, syscall.Kill(int(pid), syscall.SIGKILL))
			require.Eventually(t, func() bool { return s.root.Ping(t.Context()) != nil }, patience, 10*time.Millisecond, "the server ends every session")
		}},
		{"an outage", func() {
			require.NoError(t, db.Server(t).Stop(pgserver.Fast))
			time.Sleep(6 * time.Second) // as long as the outage lasts
			require.NoError(t, db.Server(t).Restart(t.Context(), pgserver.Fast))
		}},
	}
	rounds := 1
	if long {
		rounds = 10
	}
	for range rounds {
		for _, fault := range faults {
			s.working(t, "long")
			fault.do()
			s.reconnected(t)
			back := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
			untilWithin(t, 60*time.Second, s.root, `SELECT count(*) = 4 FROM mvscheduler.view_health WHERE last_refresh_at > $1 AND data_as_of > $1`, back)
			first := ask[float64](t, s.root, `
SELECT extract(epoch FROM min(finished_at) - $1)::float8 FROM mvscheduler.run WHERE state = 'succeeded' AND finished_at > $1`, back)
			all := ask[float64](t, s.root, `
SELECT extract(epoch FROM max(first) - $1)::float8
  FROM (SELECT min(finished_at) AS first FROM mvscheduler.run WHERE state = 'succeeded' AND finished_at > $1 GROUP BY view_id) AS f`, back)
			t.Logf("after %s the first refresh ended after %.1f s, each view was refreshed after %.1f s", fault.name, first, all)
			require.Less(t, first, 30.0, "10 s are promised")
		}
	}
	require.NotZero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE cause = 'catchup' AND missed_slots > 3 AND view_name = $1`, s.owner+".v_latest"))
	require.NotZero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE cause = 'catchup' AND missed_slots = 0 AND view_name = $1`, s.owner+".v_all"))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE missed_slots > 0 AND view_name = $1`, s.owner+".v_all"), "every slot is made up for")
	require.NotZero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE missed_slots > 3 AND (reason LIKE '%catchup is skip%' OR state = 'skipped') AND view_name = $1`, s.owner+".v_skip"))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE state = 'failed'`), "no slot is given up because the server went away")
	s.idle(t)
	for _, replica := range replicas {
		require.Zero(t, replica.stop())
	}
	s.everySlotHasOneEnd(t)
	s.nothingIsLeft(t)
}

func TestATerminatedBackendCostsNoSlot(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "long", slowQuery(2*time.Second), "refresh_interval", "1 second", "max_attempts", 1)
	s.manage(t, "short", quick, "refresh_interval", "1 second")
	replicas := []*sidecar{startSidecar(t, s.db), startSidecar(t, s.db)}
	const terminate = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%s'`
	for _, application := range []string{"mvscheduler run%", "mvscheduler control%", "mvscheduler%"} {
		until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.view_health WHERE refreshes > 0`)
		s.working(t, "long")
		pgtest.Exec(t, s.root, fmt.Sprintf(terminate, application))
		now := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
		until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.view_health WHERE data_as_of > $1`, now)
		t.Logf("after the end of %s each view was refreshed within %.1f s", application,
			ask[float64](t, s.root, `SELECT extract(epoch FROM clock_timestamp() - $1)::float8`, now))
	}
	s.idle(t)
	for _, replica := range replicas {
		require.Zero(t, replica.stop())
	}
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE state = 'failed'`))
	s.everySlotHasOneEnd(t)
	s.noRefreshesOverlap(t)
	s.nothingIsLeft(t)
}

// COPY ... TO PROGRAM ends its own backend, as the kernel does when memory runs out.
func TestAQueryThatCrashesTheServerIsGivenUpAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	if !long {
		t.Skip("needs the back-off of some ten crashes: MVSCHEDULER_LONG=1")
	}
	db := pgtest.Dedicated(t, nil)
	s := sceneOn(t, db)
	db.Exec(t, `CREATE FUNCTION public.crash() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    EXECUTE 'COPY (SELECT 1) TO PROGRAM ''kill -9 $PPID''';
    PERFORM pg_sleep(10);
    RETURN 1;
END $$`)
	s.manage(t, "poison", "SELECT public.crash() AS a", "refresh_interval", "1 day", "max_attempts", 2)
	s.manage(t, "good", quick, "refresh_interval", "1 second")
	startSidecar(t, db)
	s.reconnected(t)
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), db.URL())
		if err != nil {
			return false
		}
		defer conn.Close(context.Background())
		var state string
		return conn.QueryRow(t.Context(), `SELECT state FROM mvscheduler.run WHERE view_name LIKE '%poison'`).Scan(&state) == nil && state == "failed"
	}, 10*time.Minute, time.Second)
	s.reconnected(t)
	require.LessOrEqual(t, ask[int](t, s.root, `SELECT attempts FROM mvscheduler.run WHERE view_name LIKE '%poison'`), 8)
	until(t, s.root, `SELECT freshness = 'fresh' FROM mvscheduler.status WHERE name LIKE '%good'`)
}
