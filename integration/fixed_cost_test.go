package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// An incremental refresh that takes two seconds, and a hundredth for each row that changed: some 30 more, which is paid at any
// interval. So five minutes are right where a view of which each refresh takes ten seconds gets fifteen.
func TestTheIntervalOfAnIncrementalViewIsChosenForWhatEachRefreshCosts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.minutely(t, "v", "refresh_interval", "30 minutes")
	startSidecar(t, s.db, often...)
	s.incremented(t, "v")
	s.manage(t, "flat", "SELECT id, amount FROM sales", "refresh_interval", "15 minutes", "unique_key", []string{"id"})
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "v", 10, "true")
	s.history(t, "flat", 10, "true")
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.run WHERE view_name LIKE '%.v' AND method = 'incremental'`,
		`UPDATE mvscheduler.run SET method = 'incremental', rows = 1000000, changed = 1000 * (1 + id % 5), took = (2 + 10 * (1 + id % 5)) * interval '1 second' WHERE view_name LIKE '%.v'`,
		`UPDATE mvscheduler.view_health SET method = 'incremental' WHERE view_id = (SELECT view_id FROM mvscheduler.view_state WHERE name LIKE '%.v')`)
	s.planned(t)
	require.Equal(t, "v interval", ask[string](t, s.alice, `SELECT string_agg(split_part(view_name, '.', 2) || ' ' || kind, ', ') FROM mvscheduler.recommendations`))
	require.Equal(t, "2 0.01", ask[string](t, s.alice, `SELECT format('%s %s', round((evidence ->> 'refresh_seconds_fixed')::numeric, 2)::float8, round((evidence ->> 'refresh_seconds_a_row')::numeric, 4)::float8) FROM mvscheduler.recommendations`))
	require.Contains(t, ask[string](t, s.alice, `SELECT evidence ->> 'reasons' FROM mvscheduler.recommendations`), "every 30 minutes -> every 5 minutes saves")
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations`), "A refresh takes 2 s, and as it is 30 s more for the rows that change, which are paid for at any interval and left out here.")

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
	until(t, s.alice, `SELECT target = '15 minutes' FROM mvscheduler.status WHERE name LIKE '%.v'`)
}
