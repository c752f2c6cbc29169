package integration

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// whole says that an incremental view holds what its query gives, and that nothing is left of what made it.
func (s *scene) whole(t testing.TB, view string) {
	t.Helper()
	same(t, s.alice, view)
	require.Equal(t, fmt.Sprintf("%[1]s v, %[1]s__data p, %[1]s__gate m, %[1]s__query v", view), ask[string](t, s.root, `
SELECT string_agg(c.relname || ' ' || c.relkind::text, ', ' ORDER BY c.relname)
  FROM pg_class AS c
 WHERE c.relnamespace = $1::text::regnamespace AND c.relname ~ ('^' || $2 || '($|__)') AND c.relkind NOT IN ('i', 'I') AND NOT c.relispartition`, s.owner, view))
	require.Equal(t, "data gate", ask[string](t, s.root, `SELECT string_agg(p.kind, ' ' ORDER BY p.kind) FROM mvscheduler.piece AS p JOIN mvscheduler.view_state AS v USING (view_id) WHERE v.name = $1`, s.owner+"."+view))
	require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.increment_state AS i JOIN mvscheduler.view_state AS v USING (view_id) JOIN mvscheduler.piece AS p USING (view_id) WHERE v.name = $1 AND p.kind = 'data' AND i.data = p.relation AND i.fill IS NULL`, s.owner+"."+view))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.pass`)+ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.pass_range`))
	require.False(t, ask[bool](t, s.root, `SELECT relispopulated FROM pg_class WHERE oid = $1::text::regclass`, s.owner+"."+view+"__gate"))
}

// A first fill, increments and new versions are killed, by turns through the sidecar and through the backend.
func TestAnIncrementalViewThatIsKilledAtAnyPointIsWholeInTheEnd(t *testing.T) {
	heavy(t)
	t.Parallel()
	points := 4
	if long {
		points = 20
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newScene(t)
	pgtest.Exec(t, s.alice, append(slowToParse, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, d, d FROM generate_series('2025-08-01 00:00+00'::timestamptz, '2026-03-04 23:50+00', '12 hours') AS t, generate_series(1, 2) AS d`)...)
	const query = `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value + slow(0.001)) AS total, 0 AS only_in_%d FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`
	const swap = `SELECT FROM pg_locks AS l JOIN mvscheduler.attempt AS a ON a.backend_pid = l.pid AND a.outcome = 'running' WHERE l.relation = to_regclass($1) AND l.mode = 'AccessExclusiveLock' AND l.granted`
	replicas := []*sidecar{startSidecar(t, s.db), startSidecar(t, s.db)}
	var (
		seen *watch
		rows int // when the view was filled first
	)
	look := func() {
		t.Helper()
		for said := range seen.end(t) {
			require.Contains(t, []string{fmt.Sprint(rows), fmt.Sprint(rows + 1)}, said, "readers find it whole")
		}
	}
	did, kills, effective, swapping := map[string]int{}, 0, 0, 0
	for round := 0; effective < points; round++ {
		work := []string{"first fill", "increment", "new version"}[round%3]
		did[work]++
		switch work {
		case "first fill":
			if seen != nil {
				look()
				pgtest.Exec(t, s.alice, `DROP VIEW deep`, `DELETE FROM mvscheduler.views`)
			}
			pgtest.Exec(t, s.alice, `DELETE FROM metrics WHERE device > 2`)
			s.incremental(t, "v", fmt.Sprintf(query, round), "max_attempts", 3)
		case "increment":
			pgtest.Exec(t, s.alice, fmt.Sprintf(`UPDATE metrics SET value = value + 1 WHERE extract(day FROM ts) IN (%d, 20)`, 1+round%20),
				fmt.Sprintf(`INSERT INTO metrics VALUES ('2025-09-05 10:05+00', %d, 1)`, 3+round), `SELECT mvscheduler.refresh_view('v')`)
		case "new version":
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = `+quote(fmt.Sprintf(query, round)), `SELECT mvscheduler.refresh_view('v')`)
		}
		for again := range 2 {
			if pause := 1500 * time.Millisecond; work == "new version" && again == 1 { // in the swap
				until(t, s.root, `SELECT EXISTS (`+swap+`) OR NOT EXISTS (SELECT FROM mvscheduler.redefinition)`, s.owner+".v")
				time.Sleep(time.Duration(random.Int64N(int64(pause / 5))))
			} else {
				time.Sleep(time.Duration(random.Int64N(int64(pause)))) // the point of the kill
			}
			victim := replicas[kills%2]
			sidecarDies := kills%3 != 0 && (work != "new version" || again == 0 || round%2 == 1)
			var struck, inSwap int
			err := s.root.QueryRow(t.Context(), `
SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.backend_pid AND l.relation = to_regclass($3) AND l.mode = 'AccessExclusiveLock'))
  FROM mvscheduler.attempt AS a JOIN pg_stat_activity AS b ON b.pid = a.backend_pid
 WHERE a.outcome = 'running' AND (NOT $1 OR a.worker LIKE $2)`, sidecarDies, fmt.Sprintf("%%/%d", victim.cmd.Process.Pid), s.owner+".v").Scan(&struck, &inSwap)
			require.NoError(t, err)
			if sidecarDies {
				victim.kill()
				replicas[kills%2] = startSidecar(t, s.db)
			} else {
				pgtest.Exec(t, s.root, `SELECT pg_terminate_backend(a.backend_pid) FROM mvscheduler.attempt AS a JOIN pg_stat_activity AS b ON b.pid = a.backend_pid AND b.backend_start = a.backend_start WHERE a.outcome = 'running'`)
			}
			kills++
			effective += min(1, struck)
			swapping += inSwap
		}
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition) AND NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running')) AND NOT EXISTS (SELECT FROM mvscheduler.request) AND EXISTS (SELECT FROM mvscheduler.view_health WHERE data_as_of IS NOT NULL)`)
		s.whole(t, "v")
		if work == "first fill" { // a dependent that keeps a swap open for a moment
			pgtest.Exec(t, s.alice, `CREATE VIEW deep WITH (security_barrier) AS SELECT sum(n) AS n, max(('{1}'::moment[])[1]::int) AS one FROM v`, `GRANT SELECT ON v, deep TO PUBLIC`)
			rows = ask[int](t, s.alice, `SELECT count(*)::int FROM metrics`)
			seen = startWatch(t, s, `SELECT n::text FROM deep`)
		}
		require.True(t, ask[bool](t, s.root, `SELECT has_table_privilege('public', $1 || '.v', 'SELECT') AND has_table_privilege('public', $1 || '.deep', 'SELECT')`, s.owner))
		require.Equal(t, "{security_barrier=true}", ask[string](t, s.root, `SELECT reloptions::text FROM pg_class WHERE oid = ($1 || '.deep')::regclass`, s.owner))
	}
	t.Logf("%v: %d of %d kills hit, %d of them a swap", did, effective, kills, swapping)
	look()
	s.idle(t)
	for _, replica := range replicas {
		require.Zero(t, replica.stop())
	}
	s.nothingIsLeft(t)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE state NOT IN ('succeeded', 'skipped')`))
}
