package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A dependent view whose text takes a moment to parse keeps the swap open: the constant is checked by its
// domain whenever the view is made.
var slowToParse = []string{
	`CREATE FUNCTION takes_a_moment(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN true; END'`,
	`CREATE DOMAIN moment AS int CHECK (takes_a_moment(VALUE))`,
}

// versioned says in every row which version it is, and has columns of its own.
func versioned(n int, took time.Duration) string {
	return fmt.Sprintf(`SELECT id, %d AS version, 0 AS only_in_%[1]d, slow(%g) AS paused FROM sales`, n, took.Seconds()/100)
}

// hang makes dependents two levels deep that say which versions they see.
func (s *scene) hang(t testing.TB, view string, slow bool) {
	t.Helper()
	extra := "1"
	if slow {
		extra = "('{1}'::moment[])[1]::int"
	}
	pgtest.Exec(t, s.alice,
		fmt.Sprintf(`CREATE VIEW %[1]s_direct WITH (security_barrier) AS SELECT id, version, %s AS one FROM %[1]s`, view, extra),
		fmt.Sprintf(`CREATE VIEW %[1]s_deep AS SELECT min(d.version) || '-' || max(d.version) || '-' || (SELECT max(version) FROM %[1]s) || '-' || count(*) AS said FROM %[1]s_direct AS d`, view),
		fmt.Sprintf(`GRANT SELECT ON %[1]s, %[1]s_direct, %[1]s_deep TO PUBLIC`, view))
}

// consistent holds when a reader saw whole versions only, the newest last.
func consistent(t testing.TB, seen map[string]int) {
	t.Helper()
	require.NotEmpty(t, seen)
	for said, times := range seen {
		var low, high, again, count int
		_, err := fmt.Sscanf(said, "%d-%d-%d-%d", &low, &high, &again, &count)
		require.NoError(t, err)
		require.True(t, low == high && high == again && count == 100, "a mixture was seen %d times: %s", times, said)
	}
}

func TestARedefinitionThatIsKilledAtAnyPointLeavesOneVersionInTheEnd(t *testing.T) {
	heavy(t)
	t.Parallel()
	points := 3
	if long {
		points = 30
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newScene(t)
	pgtest.Exec(t, s.alice, slowToParse...)
	views := []string{"v0", "v1", "v2", "v3", "v4", "v5"}
	for i, view := range views {
		s.manage(t, view, versioned(0, 0), "refresh_interval", "1 day", "max_attempts", 3)
		s.hang(t, view, i%2 == 0)
	}
	replicas := []*sidecar{startSidecar(t, s.db), startSidecar(t, s.db)}
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.view_health WHERE refreshes > 0`)
	var watches []*watch
	for _, view := range views[:3] {
		watches = append(watches, startWatch(t, s, `SELECT said FROM `+view+`_deep`))
	}

	hit, swapping, kills, effective := 0, 0, 0, 0
	for round := 1; effective < points || swapping == 0; round++ {
		for _, view := range views {
			s.redefine(t, view, versioned(round, 800*time.Millisecond))
		}
		for range 2 {
			until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'running') OR NOT EXISTS (SELECT FROM mvscheduler.redefinition)`)
			time.Sleep(time.Duration(random.Int64N(int64(1400 * time.Millisecond)))) // the point of the kill
			var struck, inSwap int
			victim := replicas[kills%2]
			sidecarDies := kills%3 == 0
			err := s.root.QueryRow(t.Context(), `
SELECT count(*), count(*) FILTER (WHERE b.query LIKE '%gate%' AND b.state = 'active')
  FROM mvscheduler.attempt AS a JOIN pg_stat_activity AS b ON b.pid = a.backend_pid
 WHERE a.outcome = 'running' AND (NOT $1 OR a.worker LIKE $2)`, sidecarDies, fmt.Sprintf("%%/%d", victim.cmd.Process.Pid)).Scan(&struck, &inSwap)
			require.NoError(t, err)
			if sidecarDies {
				victim.kill()
				replicas[kills%2] = startSidecar(t, s.db)
			} else {
				pgtest.Exec(t, s.root, `SELECT pg_terminate_backend(a.backend_pid) FROM mvscheduler.attempt AS a JOIN pg_stat_activity AS b ON b.pid = a.backend_pid AND b.backend_start = a.backend_start WHERE a.outcome = 'running'`)
			}
			kills++
			if struck > 0 {
				effective++
			}
			hit += struck
			swapping += inSwap
		}
		for _, view := range views {
			s.oneVersion(t, view)
			require.Equal(t, fmt.Sprintf("%d-%[1]d-%[1]d-100", round), ask[string](t, s.alice, `SELECT said FROM `+view+`_deep`))
			require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname LIKE 'only_in_%' AND NOT attisdropped`, view))
			require.Equal(t, "{security_barrier=true}", ask[string](t, s.alice, `SELECT reloptions::text FROM pg_class WHERE oid = $1::text::regclass`, view+"_direct"))
			require.True(t, ask[bool](t, s.alice, `SELECT bool_and(has_table_privilege('public', r, 'SELECT')) FROM unnest(ARRAY[$1, $1 || '_direct', $1 || '_deep']) AS r`, view))
		}
	}
	t.Logf("%d builds were hit by %d of %d kills, %d of them in the swap", hit, effective, kills, swapping)
	for _, w := range watches {
		consistent(t, w.end(t))
	}
	s.idle(t)
	for _, replica := range replicas {
		require.Zero(t, replica.stop())
	}
	s.noRefreshesOverlap(t)
	s.nothingIsLeft(t)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE state NOT IN ('succeeded', 'skipped')`))
}

func TestAServerThatStopsInASwapServesTheOldVersionAndGoesOn(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, nil))
	pgtest.Exec(t, s.alice, slowToParse...)
	s.manage(t, "v", versioned(0, 0), "refresh_interval", "1 day")
	s.hang(t, "v", true)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.view_health WHERE refreshes > 0`)
	for n, mode := range []pgserver.Mode{pgserver.Immediate, pgserver.Fast} {
		s.redefine(t, "v", versioned(n+1, 0))
		until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'REFRESH%gate%')`)
		require.NoError(t, s.db.Server(t).Restart(t.Context(), mode))
		s.reconnected(t)
		require.True(t, strings.HasSuffix(ask[string](t, s.alice, `SELECT said FROM v_deep`), "-100"))
		s.oneVersion(t, "v")
		require.Equal(t, fmt.Sprintf("%d-%[1]d-%[1]d-100", n+1), ask[string](t, s.alice, `SELECT said FROM v_deep`))
	}
}
