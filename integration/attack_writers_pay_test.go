package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Who may only read a table makes nobody pay who writes to it: what his view asks about is noted where others have it noted, or when he may make
// triggers there, and until then the server's counters tell him.
func TestAViewOfWhoMayOnlyReadMakesNoWriterPay(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE readings (ts timestamptz, arrived timestamptz, device int)`, a.sql(`GRANT SELECT ON readings TO mallory`),
		`INSERT INTO readings SELECT t, t, 1 FROM generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-03 00:00+00', '10 minutes') AS t`,
		`INSERT INTO mvscheduler.views (name, method, time_column, bucket_width, query) VALUES ('hourly', 'incremental', 'hour', '1 hour',
			'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1')`)
	startSidecar(t, a.db)
	refreshed(t, alice, a.sql("alice.hourly"))
	triggers := func() string {
		return ask[string](t, a.root, a.sql(`SELECT string_agg(DISTINCT tgfoid::regproc::text, ' ' ORDER BY tgfoid::regproc::text) FROM pg_trigger WHERE tgrelid = 'alice.readings'::regclass AND tgname !~ 'row'`))
	}
	const fast = "mvscheduler.changed_1_ts"
	require.Equal(t, fast, triggers())
	a.as(`INSERT INTO mvscheduler.views (name, method, time_column, bucket_width, query) VALUES ('arrivals', 'incremental', 'hour', '1 hour',
		'SELECT date_trunc(''hour'', arrived) AS hour, count(*) AS n FROM alice.readings WHERE mvscheduler.in_window(arrived) GROUP BY 1')`,
		`INSERT INTO mvscheduler.views (name, method, time_column, bucket_width, query) VALUES ('same', 'incremental', 'hour', '1 hour',
		'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM alice.readings WHERE mvscheduler.in_window(ts) GROUP BY 1')`)
	write := func(instant string) {
		t.Helper()
		pgtest.Exec(t, alice, `INSERT INTO readings VALUES ('`+instant+`', '`+instant+`', 2)`, `SELECT pg_stat_force_next_flush()`) // counters are late
		refreshed(t, alice, a.sql("alice.hourly"))
		refreshed(t, a.m, a.sql("mallory.arrivals"), a.sql("mallory.same"))
		for _, view := range []string{"alice.hourly", "mallory.arrivals", "mallory.same"} {
			require.True(t, ask[bool](t, a.root, a.sql(`SELECT sum(n) = (SELECT count(*) FROM alice.readings) FROM `+view)), "%s after %s", view, instant)
		}
	}
	tracking := func(view string) string {
		return ask[string](t, a.root, `SELECT i.tracking FROM mvscheduler.increment_state AS i JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name = $1`, a.sql(view))
	}
	for _, instant := range []string{"2026-03-02 10:05+00", "2026-03-01 10:05+00"} {
		write(instant)
		require.Equal(t, fast, triggers())
	}
	require.Equal(t, "counters", tracking("mallory.arrivals"))
	require.Equal(t, "trigger", tracking("mallory.same"), "what is noted for others is shared")
	pgtest.Exec(t, alice, a.sql(`GRANT TRIGGER ON readings TO mallory`))
	write("2026-03-02 11:05+00")
	require.Equal(t, "mvscheduler.changed", triggers())
	require.Equal(t, "trigger", tracking("mallory.arrivals"))
	write("2026-03-02 12:05+00")
	pgtest.Exec(t, alice, a.sql(`REVOKE TRIGGER ON readings FROM mallory`))
	write("2026-03-02 13:05+00")
	require.Equal(t, "counters", tracking("mallory.arrivals"))
	write("2026-03-02 14:05+00")
	pgtest.Exec(t, alice, `DELETE FROM mvscheduler.views`)
	for _, view := range []string{"mallory.arrivals", "mallory.same"} {
		refreshed(t, a.m, a.sql(view))
		pgtest.Exec(t, alice, `INSERT INTO readings VALUES ('2026-03-02 15:05+00', '2026-03-02 15:05+00', 2)`, `SELECT pg_stat_force_next_flush()`)
		refreshed(t, a.m, a.sql(view))
		require.True(t, ask[bool](t, a.root, a.sql(`SELECT sum(n) = (SELECT count(*) FROM alice.readings) FROM `+view)), view)
	}
}
