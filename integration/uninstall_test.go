package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/doctor"
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

func TestTheDoctorNamesTriggersThatServeNoViewAnyMore(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.chain(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	idle := func() map[string]string {
		t.Helper()
		findings, err := doctor.Examine(t.Context(), s.root)
		require.NoError(t, err)
		fixes := map[string]string{}
		for _, f := range findings {
			if f.Check == "leftover" {
				fixes[strings.TrimPrefix(f.Subject, s.owner+".")] = f.Fix
			}
		}
		return fixes
	}
	require.Empty(t, idle())
	for n, gone := range []struct{ view, table string }{{"daily", "hourly__data"}, {"hourly", "readings"}} {
		pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.`+gone.view+`'`)
		until(t, s.root, `SELECT count(DISTINCT view_id) = $1 FROM mvscheduler.view_source`, 1-n)
		fixes := idle()
		require.Len(t, fixes, 1)
		pgtest.Exec(t, s.alice, strings.Split(fixes[gone.table], "; ")...)
		require.Empty(t, idle())
	}
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid WHERE f.pronamespace = 'mvscheduler'::regnamespace AND f.proname LIKE 'changed%'`))
}
