package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A refresh of some milliseconds every minute, for one read a day.
func TestAViewThatCostsMoreThanItSavesBecomesAPlainOneByItsCommand(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.root, `CREATE SCHEMA elsewhere AUTHORIZATION `+s.owner)
	pgtest.Exec(t, s.alice, `CREATE TABLE elsewhere.rates AS SELECT 1 AS rate`, `SET search_path = "$user", elsewhere`)
	s.manage(t, `"odd 'name' 100%"`, "SELECT id, amount * rate AS amount FROM sales, rates;", "refresh_interval", "1 minute", "unique_key", []string{"id"})
	s.manage(t, "flat", "SELECT id, amount FROM sales", "refresh_interval", "5 minutes", "unique_key", []string{"id"}, "optimize", "off") // what is best for it hangs on how long the other one takes
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	odd := ask[string](t, s.alice, `SELECT name FROM mvscheduler.views WHERE name LIKE '%odd%'`)
	refreshed(t, s.alice, odd)
	s.history(t, "flat", 10, "true")
	s.history(t, `"odd ''name'' 100%%"`, 0.05, `extract(hour FROM h AT TIME ZONE 'UTC') = 12`)
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.run WHERE view_name LIKE '%odd%' AND started_at = finished_at`) // the two that ran are enough
	s.planned(t)
	require.Equal(t, "plain_view: make it an ordinary view (proposed)", ask[string](t, s.alice, `SELECT string_agg(format('%s: %s (%s)', kind, proposed, state), ', ') FROM mvscheduler.recommendations`))
	require.Regexp(t, `0\.6 reads a day saved 0 s, and refreshes took \d+ s`, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations`))

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
	require.Equal(t, "accepted m", ask[string](t, s.alice, `SELECT format('%s %s', r.state, c.relkind) FROM mvscheduler.recommendations AS r JOIN pg_class AS c ON c.oid = r.view_name::regclass`), "a person runs the command")
	command := ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations`)
	pgtest.Exec(t, s.alice, `RESET search_path`, command)
	require.Equal(t, "v "+s.owner, ask[string](t, s.alice, `SELECT format('%s %s', relkind, relowner::regrole) FROM pg_class WHERE oid = $1::regclass`, odd))
	require.Equal(t, 100, ask[int](t, s.alice, `SELECT count(*)::int FROM `+odd))
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.views`))
	pgtest.Exec(t, s.alice, `INSERT INTO sales VALUES (101, 1)`)
	require.Equal(t, 101, ask[int](t, s.alice, `SELECT count(*)::int FROM `+odd), "it is never old")
}
