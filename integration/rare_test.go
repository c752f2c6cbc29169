package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A refresh of ten minutes, every 15, for somebody who comes on Tuesdays and Fridays at noon.
func TestADearViewThatIsRarelyReadIsAdvisedALongerIntervalAndAPersonDecides(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	for _, view := range []string{"flat", "flatter", "rare"} {
		s.manage(t, view, "SELECT id, amount FROM sales", "refresh_interval", "15 minutes", "optimize", "auto", "unique_key", []string{"id"})
	}
	until(t, s.alice, `SELECT count(*) = 3 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "flat", 10, "true")
	s.history(t, "flatter", 10, "true")
	s.history(t, "rare", 1, `extract(isodow FROM h AT TIME ZONE 'UTC') IN (2, 5) AND extract(hour FROM h AT TIME ZONE 'UTC') = 12`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET took = '10 minutes' WHERE view_name LIKE '%.rare'`)
	s.planned(t)
	require.Equal(t, "rare interval every 15 minutes -> every 1 day proposed", ask[string](t, s.alice, `SELECT string_agg(split_part(view_name, '.', 2) || ' ' || kind || ' ' || current || ' -> ' || proposed || ' ' || state, ', ') FROM mvscheduler.recommendations`))
	require.Regexp(t, `Rarely read: \d+ reads in \d+ different hours of 30 days, less than \d+ a day with 95 % confidence\. A refresh takes 10 min .* Expected a day: 57\d+ -> 6\d+ s of refreshes; what readers see is at most 1 day old instead of 15 minutes\.`, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations`))
	require.Equal(t, "none", ask[string](t, s.alice, `SELECT coalesce(tuned_interval::text, 'none') FROM mvscheduler.status WHERE name LIKE '%.rare'`), "too few reads to do it without asking")

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
	until(t, s.alice, `SELECT target = '1 day' AND next_refresh_at >= date_trunc('day', now(), 'UTC') + '1 day' FROM mvscheduler.status WHERE name LIKE '%.rare'`)
	s.planned(t)
	require.Equal(t, "1 day applied", ask[string](t, s.alice, `SELECT string_agg(proposed || ' ' || state, ', ') FROM (SELECT substr(proposed, 7) AS proposed, state FROM mvscheduler.recommendations) AS r`), "and nothing more")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations`)
	until(t, s.alice, `SELECT target = '15 minutes' FROM mvscheduler.status WHERE name LIKE '%.rare'`)
}
