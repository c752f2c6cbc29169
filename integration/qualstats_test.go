package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// needExtension skips a test where the server comes without an extension.
func needExtension(t *testing.T, name string) {
	t.Helper()
	if ask[int](t, pgtest.NewEmpty(t).Conn(t, ""), `SELECT count(*)::int FROM pg_available_extensions WHERE name = $1`, name) == 0 {
		t.Skipf("this PostgreSQL comes without %s (package postgresql-NN-%s)", name, strings.ReplaceAll(name, "_", "-"))
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
	s.manage(t, "timeless", "SELECT id, amount FROM sales")
	pgtest.Exec(t, s.alice, `CREATE VIEW shown AS SELECT origin AS place, hour FROM m`,
		`CREATE FUNCTION hidden(o text) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM m WHERE origin = o'`)
	side := startSidecar(t, s.db, often...)
	s.incremented(t, "v")
	until(t, s.alice, `SELECT count(*) = 3 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	collecting(t, s.root)
	for range 6 { // what is below and above the views is looked for now and then
		sampledTwice(t, s.root)
	}
	withinOneDay()
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
	read(2, `SELECT * FROM timeless WHERE amount = 3`)
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
	require.Equal(t, "{amount} 2", ask[string](t, s.alice, `SELECT columns::text || ' ' || reads FROM mvscheduler.conditions WHERE view_name LIKE '%.timeless'`))
	require.True(t, ask[bool](t, s.alice, `SELECT coalesce(bool_and(columns = '{minute}') AND sum(reads) <= 4, true) FROM mvscheduler.conditions WHERE view_name LIKE '%.v'`), "its readers alone, where they did not take the index")
	require.True(t, ask[bool](t, s.root, `SELECT count(*) > 2 FROM pg_qualstats() JOIN pg_qualstats_example_queries() USING (queryid) WHERE lrelid::regclass::text LIKE '%v__data%' AND query LIKE 'WITH fresh %'`), "our steps are there")
	require.Equal(t, "7.00", ask[string](t, s.alice, `SELECT sum(removed / examined * 7 / 0.99)::numeric(10, 2)::text FROM mvscheduler.conditions WHERE columns = '{origin}'`))
}

// searched makes as if pg_qualstats had seen, for twenty days, 100 reads a day of a view of 100,000 rows that look for one in
// a thousand of them.
func (s *scene) searched(t *testing.T, view, columns string, ranged bool) {
	t.Helper()
	pgtest.Exec(t, s.root, fmt.Sprintf(`
INSERT INTO mvscheduler.tested (view_id, at, columns, ranged, reads, examined, removed)
SELECT s.view_id, d, '%s', %t, 100, 1e7, 9.99e6 FROM mvscheduler.view_state AS s, generate_series(now() - interval '20 days', now() - interval '1 day', '1 day') AS d WHERE s.name LIKE '%%.%s'`, columns, ranged, view))
}

func TestAnIndexIsAdvisedTriedInTheOwnersSessionAndMadeByAPerson(t *testing.T) {
	t.Parallel()
	needExtension(t, "hypopg")
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE flights AS SELECT i AS id, 'o' || i % 1000 AS origin, timestamptz '2026-01-01' + i * interval '1 minute' AS hour FROM generate_series(1, 100000) AS i`)
	startSidecar(t, s.db, often...)
	s.manage(t, "v", "SELECT id, origin, hour FROM flights", "indexes", []string{"(hour)"}, "refresh_interval", "1 day")
	s.readings(t, 3)
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT now() - i * interval '1 minute', i % 50, 1 FROM generate_series(1, 3000) AS i`)
	s.minutely(t, "i")
	s.incremented(t, "i")
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "v", 1, "true")
	s.history(t, "i", 1, "true")
	s.searched(t, "v", "{origin}", false)
	s.searched(t, "v", "{hour}", true) // an index serves it
	s.searched(t, "i", "{device}", false)
	pgtest.Exec(t, s.alice, `ANALYZE v`, `ANALYZE v__query`, `ANALYZE i__data`)
	s.planned(t)
	index := func(view string) int64 {
		return ask[int64](t, s.alice, `SELECT id FROM mvscheduler.recommendations WHERE kind = 'index' AND view_name LIKE '%.' || $1`, view)
	}
	id := index("v")
	require.Equal(t, `add an index on ("origin")`, ask[string](t, s.alice, `SELECT proposed FROM mvscheduler.recommendations WHERE id = $1`, id))
	require.Equal(t, `UPDATE mvscheduler.views SET indexes = array_append(indexes, '("origin")') WHERE name = '`+s.owner+`.v'`, ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations WHERE id = $1`, id))
	require.Equal(t, "L2", ask[string](t, s.alice, `SELECT evidence ->> 'level' FROM mvscheduler.recommendations WHERE id = $1`, id))
	tried := func(role string, id int64) string {
		t.Helper()
		return ask[string](t, s.db.Conn(t, role), `
SELECT coalesce(r ->> 'not_tried', format('%s, used: %s, cheaper: %s', r ->> 'condition', r ->> 'index_is_used', (r ->> 'plan_cost_after')::float8 < (r ->> 'plan_cost_before')::float8)) FROM mvscheduler.try_index($1) AS r`, id)
	}
	require.Equal(t, "HypoPG is not installed in this database", tried(s.owner, id))
	pgtest.Exec(t, s.root, `CREATE SCHEMA ext`, `CREATE EXTENSION hypopg SCHEMA ext`)
	require.Equal(t, "you may not use HypoPG: GRANT USAGE ON SCHEMA ext TO "+s.owner, tried(s.owner, id))
	pgtest.Exec(t, s.root, `GRANT USAGE ON SCHEMA ext TO PUBLIC`)
	require.Equal(t, "origin = ?, used: true, cheaper: t", tried(s.owner, id))
	require.Equal(t, "device = ?, used: true, cheaper: t", tried(s.owner, index("i")), "of every partition")
	require.Equal(t, "to plan can run functions of "+s.owner+" in your session: let "+s.owner+" do it", tried("", id), "not in a superuser's session")
	requireSQLState(t, s.db.Conn(t, s.db.User(t, "bob")), "P0002", fmt.Sprintf(`SELECT mvscheduler.try_index(%d)`, id))
	requireSQLState(t, s.alice, "P0002", `SELECT mvscheduler.try_index(id + 1000) FROM mvscheduler.recommendations`)

	// The program shows it before one decides; nothing of it is left.
	out := mvscheduler(t, s.db, s.owner, "", "recommend", "show", fmt.Sprint(id))
	require.Zero(t, out.code, out.stderr)
	require.Regexp(t, `(?m)^(tried| {5}) +index is used: true$`, out.stdout)
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.try_index(%d)`, id))
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM ext.hypopg()`))
	require.Nil(t, ask[*string](t, s.alice, `SELECT measured::text FROM mvscheduler.recommendations WHERE id = $1`, id))

	// A sidecar that was taken over cannot have a person's session parse its text.
	pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.recommendation SET change = '{"add_index": ["slow(1)) WHERE (slow(1) > 0"]}' WHERE id = %d`, id))
	requireSQLState(t, s.alice, "42703", fmt.Sprintf(`SELECT mvscheduler.accept_recommendation(%d)`, id))
	pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.recommendation SET change = '{"add_index": ["origin"]}' WHERE id = %d`, id))

	for _, id := range []int64{id, index("i")} {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.accept_recommendation(%d)`, id))
		require.Equal(t, "applied true", ask[string](t, s.alice, `SELECT state || ' ' || (measured ->> 'index_is_used') FROM mvscheduler.recommendations WHERE id = $1`, id))
	}
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM ext.hypopg()`))
	require.Equal(t, `{(hour),"(\"origin\")"}`, ask[string](t, s.alice, `SELECT indexes::text FROM mvscheduler.views WHERE name LIKE '%.v'`))
	const made = `SELECT count(*)::int FROM pg_indexes WHERE tablename ~ '^(v|i__data_.*)$' AND indexdef ~ '\((origin|device)\)$'`
	require.Equal(t, 5, ask[int](t, s.root, made), "of the view, and of the four partitions")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET indexes = array_append(indexes, '(id)') WHERE name LIKE '%.v'`, fmt.Sprintf(`SELECT mvscheduler.undo_recommendation(%d)`, id))
	require.Equal(t, `{(hour),(id)}`, ask[string](t, s.alice, `SELECT indexes::text FROM mvscheduler.views WHERE name LIKE '%.v'`), "what was added since stays")
	s.planned(t)
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.recommendations WHERE kind = 'index' AND state = 'proposed'`), "undone, and served")
}

func TestWhyPgQualstatsSaysNothingIsTold(t *testing.T) {
	t.Parallel()
	needExtension(t, "pg_qualstats")
	evidence := func(s *scene, want string) {
		t.Helper()
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.collector SET sources = ''`)
		side := startSidecar(t, s.db, often...)
		collecting(t, s.root)
		require.Zero(t, side.stop())
		require.Contains(t, ask[string](t, s.root, evidenceNow), want)
	}
	s := newScene(t)
	s.manage(t, "m", "SELECT id, amount FROM sales")
	evidence(s, "L0 counters of scans; pg_stat_statements is not installed in this database")
	require.NotContains(t, ask[string](t, s.root, evidenceNow), "pg_qualstats", "who does not have it is not told of it")
	pgtest.Exec(t, s.root, `CREATE EXTENSION pg_qualstats`)
	evidence(s, "; pg_qualstats is not in shared_preload_libraries")
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.tested`))

	s = sceneOn(t, pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_qualstats", "pg_qualstats.sample_rate": "1"}))
	s.manage(t, "m", "SELECT id, amount FROM sales")
	pgtest.Exec(t, s.root, `CREATE SCHEMA ext`, `CREATE EXTENSION pg_qualstats SCHEMA ext`, `REVOKE pg_read_all_stats FROM mvscheduler_worker`)
	evidence(s, "; pg_qualstats hides what others ask; a DBA runs: GRANT pg_read_all_stats TO mvscheduler_worker")
	pgtest.Exec(t, s.root, `GRANT pg_read_all_stats TO mvscheduler_worker`)
	evidence(s, "; pg_qualstats may not be called; a DBA runs: GRANT USAGE ON SCHEMA \"ext\" TO mvscheduler_worker")
	pgtest.Exec(t, s.root, `GRANT USAGE ON SCHEMA ext TO mvscheduler_worker`)
	evidence(s, "; pg_qualstats cannot tell statements apart: compute_query_id = on, or pg_stat_statements in shared_preload_libraries, lets it")
	pgtest.Exec(t, s.root, `ALTER SYSTEM SET compute_query_id = on`, `SELECT pg_reload_conf()`)
	evidence(s, "L2 counters of scans; pg_stat_statements is not installed in this database; pg_qualstats")
	pgtest.Exec(t, s.root, `ALTER SYSTEM SET pg_qualstats.track_constants = off`, `SELECT pg_reload_conf()`)
	evidence(s, "; pg_qualstats keeps no texts: pg_qualstats.track_constants is off")
}

func TestALongerRetentionIsAdvisedWhereReadersAskedForWhatHasLeft(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `CREATE TABLE flights AS SELECT i AS id, now() - i * interval '1 day' AS day FROM generate_series(1, 100) AS i`)
	s.manage(t, "m", "SELECT id, day FROM flights", "time_column", "day", "retention_period", "30 days")
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "m", 1, "true")
	asked := func(days int, entire bool) {
		pgtest.Exec(t, s.root, fmt.Sprintf(`INSERT INTO mvscheduler.looked_back (view_id, at, days_back, entire, asked, reads)
SELECT s.view_id, d, %d, %t, true, 5 FROM mvscheduler.view_state AS s, generate_series(now() - interval '3 days', now() - interval '1 day', '1 day') AS d`, days, entire))
	}
	advised := `SELECT coalesce(string_agg(current || ' -> ' || proposed || ' ' || state, ', '), 'nothing') FROM mvscheduler.recommendations WHERE kind = 'retention'`
	asked(32, false)    // thirty days, perhaps
	asked(16384, true)  // all of it
	asked(16384, false) // since 1970
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, advised))
	asked(64, false)
	s.planned(t)
	require.Equal(t, "30 days are kept -> keep 96 days proposed", ask[string](t, s.alice, advised), "and a person decides")
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations WHERE kind = 'retention'`), "On 3 days 15 reads of 60 asked for what is older than the 30 days that are kept, as far back as 64 days")
	require.Equal(t, 30, ask[int](t, s.alice, `SELECT count(*)::int FROM m`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'retention'`)
	require.Equal(t, "96 days", ask[string](t, s.alice, `SELECT retention_period::text FROM mvscheduler.views`))
	refreshed(t, s.alice, "m")
	require.Equal(t, 96, ask[int](t, s.alice, `SELECT count(*)::int FROM m`), "as far as the table has it")
	s.planned(t)
	require.Equal(t, "30 days are kept -> keep 96 days applied", ask[string](t, s.alice, advised))
}

func TestALongerRetentionIsAppliedByItselfWithinTheBoundsOfTheRow(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `CREATE TABLE flights AS SELECT i AS id, now() - i * interval '1 day' AS day FROM generate_series(1, 100) AS i`)
	for view, most := range map[string]any{"unbound": nil, "bound": "45 days", "free": "200 days", "failing": "200 days"} {
		s.manage(t, view, "SELECT id, day FROM flights", "time_column", "day", "retention_period", "30 days", "max_retention", most, "optimize", "auto")
	}
	until(t, s.alice, `SELECT count(*) = 4 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	for _, view := range []string{"unbound", "bound", "free", "failing"} {
		s.history(t, view, 1, "true")
	}
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.looked_back (view_id, at, days_back, entire, asked, reads)
SELECT s.view_id, d, CASE WHEN s.name LIKE '%.unbound' THEN 128 ELSE 64 END, false, true, 5 FROM mvscheduler.view_state AS s, generate_series(now() - interval '3 days', now() - interval '1 day', '1 day') AS d`)
	s.planned(t)
	kept := func() string {
		t.Helper()
		return ask[string](t, s.alice, `
SELECT string_agg(substr(s.name, strpos(s.name, '.') + 1) || ' ' || v.retention_period || ' ' || coalesce(s.tuned_retention::text, 'none'), ', ' ORDER BY s.name) FROM mvscheduler.status AS s JOIN mvscheduler.views AS v USING (id)`)
	}
	require.Equal(t, "bound 30 days 45 days, failing 30 days 96 days, free 30 days 96 days, unbound 30 days 60 days", kept(), "twice as long at most, unless the row says")
	require.Equal(t, "30 days are kept -> keep 96 days, applied, true", ask[string](t, s.alice, `SELECT current || ' -> ' || proposed || ', ' || state || ', ' || automatic FROM mvscheduler.recommendations WHERE view_name LIKE '%.free' AND kind = 'retention'`))
	require.Equal(t, "mvscheduler optimize", ask[string](t, s.alice, `SELECT role || ' ' || action FROM mvscheduler.audit_log WHERE view_name LIKE '%.free' AND action = 'optimize'`))
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "show", s.owner+".free").stdout, "96 days (tuned from 30 days)")
	for view, rows := range map[string]int{"bound": 45, "free": 96, "unbound": 60} {
		refreshed(t, s.alice, view)
		require.Equal(t, rows, ask[int](t, s.alice, `SELECT count(*)::int FROM `+view), "as far as the table has it")
	}

	// The sidecar cannot have anything leave, nor keep more than the row allows.
	worker := s.db.Conn(t, s.db.Worker(t))
	for _, period := range []string{"29 days", "201 days"} {
		requireSQLState(t, worker, "23514", `UPDATE mvscheduler.view_state SET retention_period = '`+period+`' WHERE name LIKE '%.free'`)
	}
	requireSQLState(t, worker, "42501", `UPDATE mvscheduler.view_state SET row_retention = '1 day'`)

	// What goes beyond it is for a person; refreshes that fail since then take it back, and so does the owner.
	pgtest.Exec(t, s.root, `
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, started_at, finished_at)
SELECT s.view_id, s.name, s.owner, 'manual', clock_timestamp(), clock_timestamp(), 'failed', clock_timestamp(), clock_timestamp() FROM mvscheduler.view_state AS s, generate_series(1, 3) WHERE s.name LIKE '%.failing'`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE view_name LIKE '%.free' AND kind = 'retention'`,
		`UPDATE mvscheduler.views SET max_retention = '40 days' WHERE name LIKE '%.bound'`)
	require.Equal(t, "bound 30 days none, failing 30 days 96 days, free 30 days none, unbound 30 days 60 days", kept())
	s.planned(t)
	require.Equal(t, "bound 30 days 40 days, failing 30 days none, free 30 days none, unbound 30 days 60 days", kept())
	require.Contains(t, ask[string](t, s.alice, `SELECT decision FROM mvscheduler.recommendations WHERE view_name LIKE '%.failing' AND kind = 'retention' AND state = 'undone'`), "100 % of the refreshes fail")
	require.Equal(t, "60 days are kept -> keep 192 days", ask[string](t, s.alice, `SELECT current || ' -> ' || proposed FROM mvscheduler.recommendations WHERE kind = 'retention' AND state = 'proposed'`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'retention' AND state = 'proposed'`)
	require.Equal(t, "bound 30 days 40 days, failing 30 days none, free 30 days none, unbound 192 days none", kept())
}

func TestReadersWhoMissedWhatHasLeftGetItBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "v", "max_retention", "30 days", "optimize", "auto")
	startSidecar(t, s.db, often...)
	s.incremented(t, "v")
	s.snapshotOf(t, "v", "before")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '3 days'`)
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.visible_kept`)
	s.history(t, "v", 1, "true")
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.looked_back (view_id, at, days_back, entire, asked, reads)
SELECT s.view_id, d, 8, false, true, 5 FROM mvscheduler.view_state AS s, generate_series(now() - interval '3 days', now() - interval '1 day', '1 day') AS d`)
	s.planned(t)
	require.Equal(t, "12 days", ask[string](t, s.alice, `SELECT tuned_retention::text FROM mvscheduler.status`))
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.pruning WHERE action = 'restore'`)
	require.Zero(t, s.lost(t, "before", "v", "true"))
}
