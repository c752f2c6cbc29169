package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// often has a sidecar sample so often that a test need not wait.
var often = []string{"--sample-every", "200ms"}

// reported has a session report what it counted.
func reported(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	pgtest.Exec(t, conn, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
}

// sampledTwice waits until what happened before is in a sample.
func sampledTwice(t testing.TB, root *pgx.Conn) {
	t.Helper()
	for range 2 {
		lease := ask[string](t, root, `SELECT lease_until::text FROM mvscheduler.collector`)
		until(t, root, `SELECT lease_until::text > $1 FROM mvscheduler.collector`, lease)
	}
}

// collecting waits until a sidecar has something to compare its next sample with.
func collecting(t testing.TB, root *pgx.Conn) {
	t.Helper()
	until(t, root, `SELECT lease_until IS NOT NULL FROM mvscheduler.collector`)
	sampledTwice(t, root)
}

// readAndSampled reads view v so many times, and waits until a sidecar has seen it.
func (s *scene) readAndSampled(t testing.TB, times int) {
	t.Helper()
	for range times {
		pgtest.Exec(t, s.alice, `SELECT * FROM v`)
	}
	reported(t, s.alice)
	sampledTwice(t, s.root)
}

const usage = `SELECT coalesce((SELECT round(u.reads)::bigint FROM mvscheduler.view_usage AS u JOIN mvscheduler.view_state AS s ON s.view_id = u.view_id WHERE s.name LIKE '%.' || $1), -1)`

func TestReadsAreCountedAndOurOwnRefreshesAreNot(t *testing.T) { // alone: samples and reads keep to the clock
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE t (id int PRIMARY KEY, g int)`, `INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 1000) AS i`,
		`INSERT INTO mvscheduler.views (name, query, method, indexes, enabled) VALUES
			('full_', 'SELECT g, count(*) AS n FROM t GROUP BY g', 'full', '{(n)}', false),
			('conc', 'SELECT g, count(*) AS n FROM t GROUP BY g', 'concurrent', NULL, false),
			('unread', 'SELECT count(*) AS n FROM t', 'full', NULL, false)`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on, enabled) VALUES ('above', 'SELECT sum(n) AS n FROM full_', 'upstream', false)`,
		`CREATE VIEW shown AS SELECT * FROM conc WHERE n > 0`,
		`CREATE FUNCTION hidden() RETURNS bigint LANGUAGE sql AS 'SELECT max(n) FROM conc'`)
	reported(t, s.alice) // an index that is made scans too
	side := startSidecar(t, s.db, often...)
	collecting(t, s.root)
	refreshed(t, s.alice, "full_", "conc", "unread", "above")
	for round := range 5 {
		for range 4 {
			pgtest.Exec(t, s.alice, `SELECT * FROM full_`)
		}
		pgtest.Exec(t, s.alice, `SELECT * FROM shown WHERE g = 3`, `SELECT hidden()`, `EXPLAIN SELECT * FROM full_`, fmt.Sprintf(`UPDATE t SET g = g + 1 WHERE id = %d`, round+1))
		reported(t, s.alice)
		refreshed(t, s.alice, "full_", "conc", "unread", "above")
	}
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	require.Equal(t, int64(20), ask[int64](t, s.root, usage, "full_"))
	require.Equal(t, int64(10), ask[int64](t, s.root, usage, "conc"))
	require.Equal(t, int64(0), ask[int64](t, s.root, usage, "unread"))
	require.Equal(t, int64(0), ask[int64](t, s.root, usage, "above"))
	require.Equal(t, "L0", ask[string](t, s.root, `SELECT level FROM mvscheduler.collector`))
	require.Contains(t, ask[string](t, s.root, `SELECT sources FROM mvscheduler.collector`), "pg_stat_statements is not installed")
	require.Equal(t, "0 parts", ask[string](t, s.root, `SELECT count(*) || ' parts' FROM mvscheduler.view_usage WHERE note <> ''`))
}

func TestReadsOfAnIncrementalViewAreCountedOnItsPartitions(t *testing.T) { // alone: samples and reads keep to the clock
	s := newScene(t)
	s.readings(t, 3)
	s.minutely(t, "v")
	side := startSidecar(t, s.db, often...)
	s.incremented(t, "v")
	collecting(t, s.root)
	reported(t, s.alice)
	sampledTwice(t, s.root)
	before := ask[int64](t, s.root, `SELECT coalesce(sum(u.reads), 0)::bigint FROM mvscheduler.view_usage AS u`)
	for range 3 {
		pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT max(ts), 7, 7 FROM readings`)
		s.incremented(t, "v")
		pgtest.Exec(t, s.alice, `SELECT count(*) FROM v`, `SELECT count(*) FROM v WHERE minute >= date_trunc('day', now(), 'UTC')`)
		reported(t, s.alice)
	}
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	require.InDelta(t, 6, ask[int64](t, s.root, usage, "v")-before, 1) // the first fill is not measured
}

func TestStatementsTellReadsApartFromScansAndResetsAreNoReads(t *testing.T) { // alone: samples and reads keep to the clock
	if !long {
		t.Skip("20 s in which nothing else may run: MVSCHEDULER_LONG=1")
	}
	s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_stat_statements", "min_parallel_table_scan_size": "0", "parallel_setup_cost": "0", "parallel_tuple_cost": "0"}))
	pgtest.Exec(t, s.root, `CREATE SCHEMA ext`, `CREATE EXTENSION pg_stat_statements SCHEMA ext`)
	side := startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.root, `GRANT USAGE ON SCHEMA ext TO mvscheduler_worker`)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, enabled, unique_key) VALUES ('v', 'SELECT id, amount FROM sales', false, '{id}'), ('w', 'SELECT id, amount FROM sales', false, '{id}')`,
		`CREATE VIEW shown AS SELECT * FROM v WHERE amount > 0`, `CREATE FUNCTION hidden() RETURNS bigint LANGUAGE sql AS 'SELECT max(amount) FROM w'`)
	collecting(t, s.root)
	refreshed(t, s.alice, "v", "w")
	until(t, s.root, `SELECT s.calls > 0 FROM (SELECT sum(calls) AS calls FROM ext.pg_stat_statements) AS s`)
	// Every tenth sample looks what is above the views: graphEvery in jobs.
	for range 6 {
		sampledTwice(t, s.root)
	}
	for round := range 4 {
		pgtest.Exec(t, s.alice, `SELECT count(*) FROM v`, fmt.Sprintf(`SELECT * FROM shown WHERE id = %d`, round), `WITH w AS (SELECT 1) SELECT * FROM w`, `SELECT hidden()`)
		reported(t, s.alice)
		sampledTwice(t, s.root)
		if round%2 == 1 { // as some tools do all the time
			pgtest.Exec(t, s.root, `SELECT ext.pg_stat_statements_reset()`)
			sampledTwice(t, s.root)
		}
	}
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	require.InDelta(t, 8, ask[int64](t, s.root, usage, "v"), 1)
	require.InDelta(t, 4, ask[int64](t, s.root, usage, "w"), 1)
	require.Equal(t, "L1 counters of scans and pg_stat_statements", ask[string](t, s.root, `SELECT level || ' ' || sources FROM mvscheduler.collector`))
}

func TestWhenTheServersCountersAreResetReadsAreUnknownAndNothingIsRecommended(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	side := startSidecar(t, s.db, often...)
	s.fleet(t, "")
	collecting(t, s.root)
	for range 3 {
		pgtest.Exec(t, s.root, `SELECT pg_stat_reset()`)
		sampledTwice(t, s.root)
	}
	require.Zero(t, side.stop())
	require.Equal(t, "the server's counters were reset", ask[string](t, s.root, `SELECT DISTINCT note FROM mvscheduler.view_usage`))
	// A view that was unread for as long as was looked, but was not looked at for a tenth of the time.
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET unknown = '5 days' WHERE reads = 0`)
	startSidecar(t, s.db, often...)
	s.planned(t)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.recommendation WHERE kind = 'unused'`))
	require.Contains(t, ask[string](t, s.root, `SELECT evidence ->> 'sources' FROM mvscheduler.recommendation WHERE kind = 'interval'`), "once the server's counters were reset")
}

func TestOneSidecarSamplesAtATimeAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	a := startSidecar(t, s.db, often...)
	collecting(t, s.root)
	startSidecar(t, s.db, often...)
	first := ask[string](t, s.root, `SELECT sampler FROM mvscheduler.collector`)
	for range 3 {
		sampledTwice(t, s.root)
		require.Equal(t, first, ask[string](t, s.root, `SELECT sampler FROM mvscheduler.collector`))
	}
	require.Zero(t, a.stop())
	until(t, s.root, `SELECT sampler <> $1 FROM mvscheduler.collector`, first)
}

func TestOldSamplesAreRolledUpAndForgotten(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	pgtest.Exec(t, s.root, `
INSERT INTO mvscheduler.sampled (view_id, at, reads, changes)
SELECT s.view_id, h, CASE WHEN extract(hour FROM h AT TIME ZONE 'UTC') = 5 THEN array_fill(NULL::real, ARRAY[12]) ELSE array_fill(2::real, ARRAY[12]) END, array_fill(1::real, ARRAY[12])
  FROM mvscheduler.view_state AS s, generate_series(date_trunc('day', now(), 'UTC') - interval '80 days', date_trunc('hour', now()), '1 hour') AS h`,
		`INSERT INTO mvscheduler.looked_back (view_id, at, days_back, entire, reads) SELECT s.view_id, d, b, false, 2 FROM mvscheduler.view_state AS s, generate_series(now() - interval '450 days', now(), '1 day') AS d, unnest('{4,8}'::int[]) AS b`,
		`INSERT INTO mvscheduler.sampled (view_id, at, reads, changes) SELECT 0, now(), array_fill(2::real, ARRAY[12]), array_fill(2::real, ARRAY[12])`)
	startSidecar(t, s.db, often...)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.samples WHERE width = 300 AND at < now() - interval '23 days') AND NOT EXISTS (SELECT FROM mvscheduler.sampled WHERE view_id = 0) AND NOT EXISTS (SELECT FROM mvscheduler.sampled_days WHERE view_id = 0)`)
	require.Equal(t, "{24 1}", ask[string](t, s.root, `SELECT format('{%s %s}', count(*) FILTER (WHERE n = 24), count(*) FILTER (WHERE n = 0) + 1) FROM (SELECT cardinality(reads) AS n FROM mvscheduler.samples WHERE width = 3600 ORDER BY at DESC LIMIT 24) AS x`))
	require.Equal(t, 552.0, ask[float64](t, s.root, `SELECT (SELECT sum(x) FROM unnest(reads) AS x)::float8 FROM mvscheduler.samples WHERE width = 3600 ORDER BY at DESC LIMIT 1`), "an hour that is not known stays so")
	const days = `
SELECT format('%s %s %s %s', count(*) >= 20, count(*) = count(*) FILTER (WHERE n = 288), sum(reads) - 552 * count(*), sum(changes) - 288 * count(*))
  FROM (SELECT cardinality(d.reads) AS n, (SELECT sum(x) FROM unnest(d.reads) AS x) AS reads, (SELECT sum(x) FROM unnest(d.changes) AS x) AS changes
          FROM mvscheduler.samples AS d WHERE width = 300 AND at < date_trunc('day', now() - interval '1 hour', 'UTC')) AS x`
	require.Equal(t, "t t 0 0", ask[string](t, s.root, days), "a day that is over is one row")
	pgtest.Exec(t, s.root, `
INSERT INTO mvscheduler.sampled (view_id, at, reads, changes)
SELECT view_id, date_trunc('day', now(), 'UTC') - interval '3 days' + h * interval '1 hour', array_fill(7::real, ARRAY[12]), array_fill(7::real, ARRAY[12])
  FROM mvscheduler.view_state, unnest('{4,5}'::int[]) AS h`)
	require.NoError(t, catalog.RollUp(t.Context(), s.root, 21*24*time.Hour, 70*24*time.Hour, 10000*time.Hour))
	require.Equal(t, "t t 84 0", ask[string](t, s.root, days), "what comes late fills what was not known")
	late := ask[time.Time](t, s.root, `UPDATE mvscheduler.sampled_days SET reads = ((reads::real[])[1:2] || NULL::real || (reads::real[])[4:])::text WHERE day = date_trunc('day', now(), 'UTC') - interval '4 days' RETURNING day`)
	sampler, view := ask[string](t, s.root, `SELECT sampler FROM mvscheduler.collector`), ask[int64](t, s.root, `SELECT view_id FROM mvscheduler.view_state`)
	for n := range 4 { // the bin that is not known, and those beside it
		require.NoError(t, catalog.WriteSamples(t.Context(), s.root, catalog.Sampled{Sampler: sampler, Bin: late.Add(time.Duration(n) * catalog.BinWidth), Level: "L0"}, []catalog.SampleBin{{ViewID: view, Reads: 50, Changes: 50}}))
	}
	require.NoError(t, catalog.RollUp(t.Context(), s.root, 21*24*time.Hour, 70*24*time.Hour, 10000*time.Hour))
	require.Equal(t, "t t 132 0", ask[string](t, s.root, days), "in the first hour of a day too, which begins as the day")
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.looked_back WHERE at < now() - interval '397 days') AND EXISTS (SELECT FROM mvscheduler.looked_back WHERE monthly)`)
	require.Equal(t, "true true", ask[string](t, s.root, `
SELECT bool_and(monthly = (at < date_trunc('month', (now() - interval '70 days') AT TIME ZONE 'UTC'))) || ' ' || bool_and(reads = 2 * days AND days = CASE WHEN monthly AND at > now() - interval '12 months' THEN extract(day FROM at + interval '1 month - 1 day')::int ELSE days END)
  FROM mvscheduler.looked_back`))
	require.InDelta(t, 381, ask[int](t, s.root, `SELECT round(extract(epoch FROM now() - min(at)) / 86400)::int FROM mvscheduler.looked_back`), 16, "13 months, by whole ones")
	require.InDelta(t, 70, ask[int](t, s.root, `SELECT round(extract(epoch FROM now() - min(at)) / 86400)::int FROM mvscheduler.samples`), 1)
}

func TestARestartOfTheServerIsAGapAndReadsAreCountedOn(t *testing.T) { // alone: samples and reads keep to the clock
	if !long {
		t.Skip("20 s in which nothing else may run: MVSCHEDULER_LONG=1")
	}
	for mode, note := range map[pgserver.Mode]string{pgserver.Fast: "", pgserver.Immediate: "the server's counters were reset"} {
		s := sceneOn(t, pgtest.Dedicated(t, nil))
		s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
		side := startSidecar(t, s.db, often...)
		refreshed(t, s.alice, "v")
		collecting(t, s.root)
		reported(t, s.alice)
		sampledTwice(t, s.root)
		s.readAndSampled(t, 20)
		require.NoError(t, s.db.Server(t).Restart(t.Context(), mode))
		s.alice, s.root = s.db.Conn(t, s.owner), s.db.Conn(t, "")
		sampledTwice(t, s.root)
		s.readAndSampled(t, 20)
		require.Zero(t, side.stop())
		require.InDelta(t, 40, ask[int64](t, s.root, usage, "v"), 4, mode)
		require.Equal(t, note, ask[string](t, s.root, `SELECT string_agg(DISTINCT note, ',') FROM mvscheduler.view_usage`), mode)
	}
}

func TestReadsAreCountedThatAreReportedInTheMidstOfASample(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	side := startSidecar(t, s.db, often...)
	refreshed(t, s.alice, "v")
	collecting(t, s.root)
	reported(t, s.alice)
	sampledTwice(t, s.root)

	for range 3 { // another statement may be the one that waits
		tx, err := s.root.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), `ALTER VIEW mvscheduler.counted SET (security_barrier)`) // what says which relations are looked at waits
		require.NoError(t, err)
		until(t, s.db.Conn(t, ""), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'mvscheduler.counted'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`)
		for range 200 {
			pgtest.Exec(t, s.alice, `SELECT * FROM v`)
		}
		reported(t, s.alice)
		require.NoError(t, tx.Rollback(t.Context()))
		sampledTwice(t, s.root)
	}
	require.Zero(t, side.stop())
	require.InDelta(t, 600, ask[int64](t, s.root, usage, "v"), 6)
}

func TestReadsAreCountedWhereStatementsAreEvictedOrHiddenAndItIsSaid(t *testing.T) { // alone: samples and evictions keep to the clock
	s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.max": "100"}))
	pgtest.Exec(t, s.root, `CREATE EXTENSION pg_stat_statements`)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	side := startSidecar(t, s.db, often...)
	refreshed(t, s.alice, "v")
	collecting(t, s.root)
	reported(t, s.alice)
	sampledTwice(t, s.root)
	for range 3 {
		for n := range 150 { // each of them is another one
			pgtest.Exec(t, s.alice, `SELECT 1`+strings.Repeat(`, 1`, n))
		}
		s.readAndSampled(t, 5)
	}
	require.Positive(t, ask[int](t, s.root, `SELECT dealloc::int FROM pg_stat_statements_info`))
	pgtest.Exec(t, s.root, `REVOKE pg_read_all_stats, pg_monitor FROM mvscheduler_worker`)
	for range 6 { // what it may read a sidecar asks again in every tenth sample
		sampledTwice(t, s.root)
	}
	s.readAndSampled(t, 5)
	require.Zero(t, side.stop())
	require.InDelta(t, 20, ask[int64](t, s.root, usage, "v"), 2)
	require.Equal(t, "L0 counters of scans; pg_stat_statements hides what others run; a DBA runs: GRANT pg_read_all_stats TO mvscheduler_worker", ask[string](t, s.root, `SELECT level || ' ' || sources FROM mvscheduler.collector`))
}
