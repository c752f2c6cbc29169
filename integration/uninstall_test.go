package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/migrations"
)

func TestTheSchemaGoesWithTheTriggersThatIncrementalViewsLeftOnTables(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.chain(t)
	worker := startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	worker.stop()
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.daily'`, `DELETE FROM mvscheduler.views WHERE name LIKE '%.hourly'`)
	triggers := `SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'mvscheduler%' AND tgrelid IN (SELECT oid FROM pg_class WHERE relowner = 'mvscheduler_owner'::regrole) IS FALSE`
	require.NotZero(t, ask[int64](t, s.root, triggers), "or this tests nothing")
	require.NoError(t, migrations.Down(t.Context(), s.db.URL(), migrations.Options{}))
	require.Zero(t, ask[int64](t, s.root, triggers))
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (date_trunc('hour', now()), 1, 1000)`)
	_, err := migrations.Up(t.Context(), s.db.URL(), migrations.Options{})
	require.NoError(t, err)
}
