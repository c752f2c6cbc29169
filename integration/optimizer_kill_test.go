package integration

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// decided are the rules of what the sidecar and people decide, each with what breaks it.
const decided = `
SELECT format('%s is tuned by what is not applied', s.name) FROM mvscheduler.view_state AS s
  LEFT JOIN mvscheduler.recommendation AS r ON r.id = s.tuned_by AND r.view_id = s.view_id AND r.state = 'applied' AND r.automatic
 WHERE num_nonnulls(s.tuned_interval, s.tuned_calendar) > 0 AND r.id IS NULL
 UNION ALL
SELECT format('recommendation %s is %s and the audit log has %s and %s', r.id, r.state, a.applied, a.undone)
  FROM mvscheduler.recommendation AS r
 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE e.action = 'optimize') AS applied, count(*) FILTER (WHERE e.action = 'undo') AS undone
                       FROM mvscheduler.audit_entry AS e WHERE e.new ->> 'recommendation' = r.id::text) AS a
 WHERE r.automatic AND (a.applied, a.undone) <> (1, (r.state = 'undone')::int)
 UNION ALL
SELECT format('recommendation %s is %s and its decisions are %s', r.id, r.state, d.n)
  FROM mvscheduler.recommendation AS r
 CROSS JOIN LATERAL (SELECT count(*) AS n FROM mvscheduler.recommendation_decision AS d WHERE d.recommendation_id = r.id) AS d
 WHERE NOT r.automatic AND r.state IN ('applied', 'undone', 'accepted', 'rejected') AND d.n = 0`

// Two sidecars sample, roll up, think, apply, judge and take back, people undo, and at random points one is killed, or a session
// of its ends.
func TestAKillAtAnyPointLosesNoDecisionAndCountsNothingTwice(t *testing.T) {
	heavy(t)
	t.Parallel()
	points := 8
	if long {
		points = 100
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newScene(t)
	sides := []*sidecar{startSidecar(t, s.db, often...), startSidecar(t, s.db, often...)}
	s.fleet(t, "optimize")
	const counted = `SELECT sum(reads) FROM mvscheduler.view_usage`
	were := ask[float64](t, s.root, counted)
	const sampled = `
SELECT sum(n)::float8 FROM (SELECT (SELECT sum(x) FROM unnest(d.reads) AS x) AS n FROM mvscheduler.samples AS d
                             WHERE d.at < date_trunc('hour', now() - interval '1 hour')) AS x`
	before := ask[float64](t, s.root, sampled)
	read := 0
	for n := range points {
		victim := n % 2
		// Everybody's turn has come, and what was applied did not help, or is to be judged.
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET planned_at = NULL`, `UPDATE mvscheduler.collector SET planned_at = NULL, lease_until = NULL`,
			`UPDATE mvscheduler.recommendation SET decided_at = decided_at - interval '31 days' WHERE state IN ('applied', 'undone') AND random() < 0.3`)
		for range random.IntN(5) {
			pgtest.Exec(t, s.alice, `SELECT count(*) FROM hot`)
			read++
		}
		if random.IntN(3) == 0 {
			_, err := s.alice.Exec(t.Context(), `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE state = 'applied' ORDER BY random() LIMIT 1`)
			if err != nil {
				t.Log(err)
			}
		}
		time.Sleep(time.Duration(random.Int64N(int64(900 * time.Millisecond)))) // the point of the kill
		if random.IntN(2) == 0 {
			pgtest.Exec(t, s.root, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'mvscheduler%' AND pid <> pg_backend_pid()`)
		} else {
			sides[victim].kill()
			sides[victim] = startSidecar(t, s.db, often...)
		}
		require.Empty(t, ask[[]string](t, s.root, `SELECT coalesce(array_agg(x), '{}') FROM (`+decided+`) AS y(x)`), fmt.Sprintf("after kill %d", n))
	}
	s.planned(t)
	until(t, s.root, `SELECT bool_and(planned_at IS NOT NULL) FROM mvscheduler.view_usage`)
	for _, side := range sides {
		require.Zero(t, side.stop())
	}
	require.Empty(t, ask[[]string](t, s.root, `SELECT coalesce(array_agg(x), '{}') FROM (`+decided+`) AS y(x)`))
	require.InDelta(t, before, ask[float64](t, s.root, sampled), 0.001*before)
	require.LessOrEqual(t, ask[float64](t, s.root, counted)-were, float64(read))
	t.Log(ask[string](t, s.root, `SELECT string_agg(format('%s %s', n, state), ', ') FROM (SELECT state, count(*) AS n FROM mvscheduler.recommendation GROUP BY state) AS x`), read, ask[float64](t, s.root, counted)-were)
}
