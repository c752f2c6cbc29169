package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A view of who may only read a table shares what triggers note for another one. That one goes, rows come of which nobody notes anything,
// and another one comes, which has them noted again.
func TestWhatCameWhileNobodyHadItNotedIsFound(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice, writer, old := a.db.Conn(t, a.alice), a.db.Conn(t, a.alice), a.db.Conn(t, a.alice)
	const hourly = `INSERT INTO mvscheduler.views (name, method, time_column, bucket_width, refresh_on, query) VALUES ('hourly', 'incremental', 'hour', '1 hour', 'manual',
		'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1')`
	pgtest.Exec(t, alice, `CREATE TABLE readings (ts timestamptz)`, a.sql(`GRANT SELECT ON readings TO mallory`),
		`INSERT INTO readings SELECT t FROM generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-03 00:00+00', '10 minutes') AS t`, hourly)
	startSidecar(t, a.db)
	refreshed(t, alice, a.sql("alice.hourly"))
	a.as(`INSERT INTO mvscheduler.views (name, method, time_column, bucket_width, refresh_on, query) VALUES ('same', 'incremental', 'hour', '1 hour', 'manual',
		'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM alice.readings WHERE mvscheduler.in_window(ts) GROUP BY 1')`)
	refreshed(t, a.m, a.sql("mallory.same"))
	whole := func(when string) {
		t.Helper()
		require.Equal(t, int64(0), ask[int64](t, a.root, a.sql(`SELECT (SELECT count(*) FROM alice.readings) - sum(n)::bigint FROM mallory.same`)), when)
		require.Equal(t, "trigger", ask[string](t, a.root, `SELECT i.tracking FROM mvscheduler.increment_state AS i JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name = $1`, a.sql("mallory.same")))
	}
	whole("at first")
	pgtest.Exec(t, alice, `DELETE FROM mvscheduler.views`)
	until(t, a.root, `SELECT count(*) = 0 FROM mvscheduler.view_source WHERE counts`)
	const late = `INSERT INTO readings VALUES ('2026-03-01 05:05+00'), ('2026-03-02 05:05+00')`
	pgtest.Exec(t, old, `BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT 1 FROM readings LIMIT 1`)
	pgtest.Exec(t, writer, `BEGIN`, late)
	pgtest.Exec(t, alice, late, hourly)
	refreshed(t, alice, a.sql("alice.hourly"))
	refreshed(t, a.m, a.sql("mallory.same"))
	whole("what had been committed")
	pgtest.Exec(t, writer, `COMMIT`)
	refreshed(t, a.m, a.sql("mallory.same"))
	whole("what was open")
	pgtest.Exec(t, old, late, `COMMIT`)
	refreshed(t, a.m, a.sql("mallory.same"))
	whole("what had not begun to write, and knew of nobody")
	pgtest.Exec(t, alice, late)
	refreshed(t, a.m, a.sql("mallory.same"))
	whole("what came later")
}

// Between the plan and the lock of what leaves, a view comes to be one of who may only read, and nobody has changes noted for it.
func TestAPlanDoesNotHoldWhenNobodyHasChangesNotedAnyMore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 1)
	s.incremental(t, "hourly", hourlyReadings)
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "hourly")
	require.Zero(t, sidecar.stop())
	id := ask[int64](t, s.root, `SELECT view_id FROM mvscheduler.view_state`)
	before, err := catalog.LoadLeafMarks(t.Context(), s.root, []int64{id})
	require.NoError(t, err)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_source SET counts = false`) // as SyncSources does
	after, err := catalog.LoadLeafMarks(t.Context(), s.root, []int64{id})
	require.NoError(t, err)
	table := ask[uint32](t, s.alice, `SELECT 'readings'::regclass::oid`)
	require.NotEqual(t, before[table], after[table])
}
