package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What is too old to be built is so of one version: one that keeps less and is taken back freezes nothing of the one that
// is served, and one that keeps more holds what was too old for the one before.
func TestHowFarBackAVersionIsBuiltIsItsOwnMatter(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE readings (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON readings (ts)`,
		`INSERT INTO readings SELECT t, d, d FROM generate_series(date_trunc('day', now(), 'UTC') - interval '90 days', now(), '12 hours') AS t, generate_series(1, 2) AS d`)
	s.minutely(t, "v", "retention_period", "100 days")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '20 days', query = replace(query, 'count(*) AS n', 'count(*) + slow(0.2) - 1 AS other')`, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.increment_state AS i WHERE i.fill ->> 'partitions' >= '1')`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '100 days', query = `+quote(everyMinute))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`))
	pgtest.Exec(t, s.alice, `UPDATE readings SET value = value + 1`)
	s.incremented(t, "v")
	same(t, s.alice, "v")

	s.minutely(t, "w", "retention_period", "20 days")
	s.incremented(t, "w")
	require.Less(t, ask[int](t, s.alice, `SELECT count(*)::int FROM w`), 90)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '100 days', query = replace(query, 'AS n', 'AS other') WHERE name LIKE '%.w'`)
	s.incremented(t, "w")
	same(t, s.alice, "w")
}
