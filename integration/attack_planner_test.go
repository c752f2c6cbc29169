package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// It reads what is refreshed less often than its max_interval allows: it is thought about like any other.
func TestAViewOfWhatIsOlderThanItsMaxIntervalIsTunedWithinIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval, timezone, unique_key) VALUES ('below', 'SELECT id, amount FROM sales', '2 hours', 'UTC', '{id}')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, max_interval, timezone, unique_key, optimize) VALUES ('above', 'SELECT id, amount FROM below', '20 minutes', '25 minutes', 'UTC', '{id}', 'auto')`)
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "below", 1000, "true")
	s.history(t, "above", 1, "true")
	s.planned(t)
	require.True(t, ask[bool](t, s.root, `SELECT u.planned_at IS NOT NULL FROM mvscheduler.view_state AS s JOIN mvscheduler.view_usage AS u USING (view_id) WHERE s.name LIKE '%.above'`))
}

// Those that come first come first for ever otherwise, a thousand an hour, and nobody else is thought about.
func TestAViewThatCannotBeThoughtAboutWaitsForItsNextTurn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval, timezone, unique_key) VALUES ('v', 'SELECT id, amount FROM sales', '2 hours', 'UTC', '{id}')`)
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "v", 10, "true")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET enabled = true, timezone = 'Nowhere/Land'`)
	s.planned(t)
	require.True(t, ask[bool](t, s.root, `SELECT planned_at IS NOT NULL FROM mvscheduler.view_usage`))
}
