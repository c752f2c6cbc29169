package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// needExtension skips a test where the server comes without an extension.
func needExtension(t *testing.T, name string) {
	t.Helper()
	if ask[int](t, pgtest.NewEmpty(t).Conn(t, ""), `SELECT count(*)::int FROM pg_available_extensions WHERE name = $1`, name) == 0 {
		t.Skipf("this PostgreSQL comes without %s (package postgresql-NN-%[1]s, with a hyphen)", name)
	}
}

// withQuals is a scene on a server where pg_qualstats looks at every statement.
func withQuals(t *testing.T, settings ...string) *scene {
	t.Helper()
	needExtension(t, "pg_qualstats")
	all := map[string]string{"shared_preload_libraries": "pg_stat_statements, pg_qualstats", "pg_qualstats.sample_rate": "1", "pg_qualstats.max": "10000"}
	for i := 0; i < len(settings); i += 2 {
		all[settings[i]] = settings[i+1]
	}
	return sceneOn(t, pgtest.Dedicated(t, all))
}

const evidenceNow = `SELECT level || ' ' || sources FROM mvscheduler.collector`

func TestWhatReadersLookForIsSeenAndOurOwnStepsAreNot(t *testing.T) { // alone: samples and reads keep to the clock
	s := withQuals(t)
	pgtest.Exec(t, s.root, `CREATE EXTENSION pg_stat_statements`, `CREATE EXTENSION pg_qualstats`)
	s.readings(t, 30)
	pgtest.Exec(t, s.alice, `CREATE TABLE flights (hour timestamptz, origin text, note text)`,
		`INSERT INTO flights SELECT now() - i * interval '1 hour', 'o' || i % 100, CASE WHEN i % 7 = 0 THEN 'late' END FROM generate_series(1, 2000) AS i`)
	s.minutely(t, "v")
	s.manage(t, "m", "SELECT hour, origin, note FROM flights", "time_column", "hour", "timezone", "UTC")
	pgtest.Exec(t, s.alice, `CREATE VIEW shown AS SELECT origin AS place, hour FROM m`,
		`CREATE FUNCTION hidden(o text) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM m WHERE origin = o'`)
	side := startSidecar(t, s.db, often...)
	s.incremented(t, "v")
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	collecting(t, s.root)
	for range 6 { // what is below and above the views is looked for now and then
		sampledTwice(t, s.root)
	}
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.tested`, `DELETE FROM mvscheduler.looked_back`)
	read := func(times int, sql string, args ...any) {
		for range times {
			_, err := s.alice.Exec(t.Context(), sql, args...)
			require.NoError(t, err)
		}
	}
	read(7, `SELECT * FROM m WHERE origin = 'o7'`)
	read(3, `SELECT * FROM m WHERE origin = $1`, "o8")
	read(2, `SELECT hidden('o9')`)
	read(4, `SELECT * FROM shown WHERE place = 'o7' AND hour >= now() - interval '6 days'`)
	read(5, `SELECT * FROM m WHERE origin = 'o1' OR note = 'late'`)
	read(2, `SELECT count(*) FROM m WHERE hour >= date_trunc('day', now(), 'UTC') - interval '300 days'`)
	read(3, `SELECT count(*) FROM m AS a JOIN m AS b USING (hour)`)
	read(2, `SELECT count(*) FROM v WHERE minute >= date_trunc('day', now(), 'UTC') - interval '3 days'`)
	read(2, fmt.Sprintf(`SELECT count(*) FROM v WHERE minute >= '%s'`, ask[string](t, s.alice, `SELECT (current_date - 100)::text`)))
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT max(ts), 7, 7 FROM readings`, `INSERT INTO flights VALUES (now(), 'new')`)
	s.incremented(t, "v")
	refreshed(t, s.alice, "m")
	out := mvscheduler(t, s.db, s.owner, "", "verify", s.owner+".v", "--all")
	require.Zero(t, out.code, out.stderr)
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())

	require.Equal(t, "L2 counters of scans and pg_stat_statements; pg_qualstats", ask[string](t, s.root, evidenceNow))
	require.Equal(t, "hour t 2 of 4000, origin f 12 of 24000, origin+hour t 4 of 8000", ask[string](t, s.alice, `
SELECT string_agg(format('%s %s %s of %s', array_to_string(columns, '+'), ranged, reads, examined), ', ' ORDER BY columns) FROM mvscheduler.conditions WHERE view_name LIKE '%.m'`),
		"not by an OR, nor by what an index of the view served")
	require.Equal(t, "m 7: 4, m 305: 2, m all: 17, v 4: 2, v 108: 2", ask[string](t, s.alice, `
SELECT string_agg(format('%s %s: %s', substr(view_name, strpos(view_name, '.') + 1), CASE WHEN entire THEN 'all' ELSE days_back::text END, reads), ', ' ORDER BY view_name, days_back) FROM mvscheduler.look_backs WHERE asked`))
	require.Equal(t, "7.00", ask[string](t, s.alice, `SELECT sum(removed / examined * 7 / 0.99)::numeric(10, 2)::text FROM mvscheduler.conditions WHERE columns = '{origin}'`))
}
