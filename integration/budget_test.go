package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Four views of which a refresh takes so many seconds, and that are read so many times in five minutes. The best interval goes
// by the square root of one over the other: a quarter, a half, one and two times the 15 minutes of the median view.
var budgeted = []struct {
	view    string
	seconds int
	reads   float64
}{{"a_hot", 10, 160}, {"b_warm", 10, 40}, {"c_median", 40, 40}, {"d_cold", 40, 10}}

func TestABudgetThatIsShortStretchesIntervalsAtOnePrice(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET optimizer_budget = 1`)
	for _, v := range budgeted {
		s.manage(t, v.view, "SELECT id, amount FROM sales", "refresh_interval", "15 minutes", "optimize", "auto", "unique_key", []string{"id"})
	}
	until(t, s.alice, `SELECT count(*) = 4 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	for _, v := range budgeted {
		s.history(t, v.view, v.reads, "true")
		pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.run SET took = '%d seconds' WHERE view_name LIKE '%%.%s'`, v.seconds, v.view))
	}
	settled := func() string {
		for range 3 { // an interval changes by a factor of two at most, once a day
			s.planned(t)
			pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET decided_at = decided_at - interval '25 hours', measured = '{"final": true, "helped": true}'`) // no refresh ran in that time
		}
		return ask[string](t, s.alice, `SELECT string_agg(split_part(name, '.', 2) || ' ' || coalesce(tuned_interval, refresh_interval), ', ' ORDER BY name) FROM mvscheduler.status`)
	}
	load := func() float64 {
		return ask[float64](t, s.alice, `SELECT sum(CASE WHEN name ~ '[ab]_' THEN 10 ELSE 40 END / extract(epoch FROM target))::float8 FROM mvscheduler.status`)
	}
	require.Equal(t, "a_hot 00:05:00, b_warm 00:10:00, c_median 00:15:00, d_cold 00:30:00", settled(), "there is enough for all")
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.recommendations WHERE reason LIKE '%budget%'`))
	const budget = 0.0333 // a quarter of what they take
	require.Greater(t, load(), 3*budget)

	pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.settings SET optimizer_budget = %g`, budget))
	require.Equal(t, "a_hot 00:15:00, b_warm 00:30:00, c_median 01:00:00, d_cold 02:00:00", settled(), "all of them four times as long")
	until(t, s.alice, `SELECT bool_and(target = tuned_interval AND next_refresh_at <= now() + tuned_interval + interval '1 minute') FROM mvscheduler.status`)
	require.InEpsilon(t, budget, load(), 0.1)
	require.Regexp(t, `The budget is short: alone, the views would take 0\.13\d refresh-seconds per second, 0\.033 are allowed: a refresh-second is priced 1[56]\.\d+ times, which makes intervals (4\.0|3\.9)\d times as long`,
		ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations WHERE state = 'applied' AND view_name LIKE '%.d_cold' ORDER BY id DESC LIMIT 1`))

	// What may be at most ten minutes old stays so, and the others pay for it.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET refresh_interval = '10 minutes', max_interval = '10 minutes' WHERE name LIKE '%.b_warm'`)
	require.Equal(t, "a_hot 00:30:00, b_warm 00:10:00, c_median 02:00:00, d_cold 03:00:00", settled())
}
