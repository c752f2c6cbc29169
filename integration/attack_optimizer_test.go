package integration

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/jobs"
)

// recommended gives view v a recommendation of an index, which is there to be decided about.
func (s *scene) recommended(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `
INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, basis, change, evidence)
SELECT view_id, name, 'index', 'none', 'one', 'why', 'do', '{}', '{"add_index": "[\"amount\"]"}', '{}' FROM mvscheduler.view_state`)
}

// An index that is tried is told by whoever accepts it, in words of his own if he likes.
func TestWhatAUserSaysThatHeTriedStopsNobody(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	s.recommended(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.recommendation_decision (recommendation_id, view_id, action, tried) SELECT id, view_id, 'accept', '{"final": "perhaps", "helped": "perhaps"}' FROM mvscheduler.recommendations`)
	side := startSidecar(t, s.db, often...)
	s.planned(t)
	code, body := side.get("/api/v1/recommendations")
	require.Equal(t, 200, code, body)
	out := mvscheduler(t, s.db, s.owner, "", "recommend", "list", "--all")
	require.Zero(t, out.code, out.stderr)
}

func TestATimeInTheYear20000IsShownAndEndsNoSidecar(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	s.recommended(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.snooze_recommendation(id, '20000-01-01') FROM mvscheduler.recommendations`)
	side := startSidecar(t, s.db)
	for _, pause := range [][2]string{{"now", "20000-01-01"}, {"-infinity", "infinity"}, {"20000-01-01", "20001-01-01"}, {"infinity", "infinity"}, {"4000-01-01 BC", "3000-01-01 BC"}} {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET paused_at = '`+pause[0]+`', paused_until = '`+pause[1]+`'`)
		for _, path := range []string{"/", "/views", "/views/" + url.PathEscape(s.owner+".v"), "/recommendations", "/timeline", "/api/v1/views", "/api/v1/views/" + url.PathEscape(s.owner+".v"), "/api/v1/recommendations", "/api/v1/timeline"} {
			code, body := side.get(path)
			require.Equal(t, 200, code, "%s, paused %s: %.300s", path, pause, body)
		}
		for _, args := range [][]string{{"recommend", "list", "--all"}, {"recommend", "show", "1"}, {"status"}, {"show", s.owner + ".v"}, {"next", s.owner + ".v"}} {
			for _, format := range []string{"table", "json"} {
				out := mvscheduler(t, s.db, s.owner, "", append(args, "-o", format)...)
				require.Zero(t, out.code, "%s -o %s, paused %s: %.500s", args, format, pause, out.stderr)
			}
		}
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET paused_at = NULL, paused_until = NULL`)
		code, body := side.get("/timeline")
		require.Equal(t, 200, code, "%.300s", body)
	}
}

// What was written while the clock was a year ahead must not hold anything up for a year.
func TestAClockThatWasAheadHoldsUpNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	first := startSidecar(t, s.db, often...)
	collecting(t, s.root)
	require.Zero(t, first.stop())
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.collector SET sampler = 'killed', lease_until = now() + interval '1 year', planned_at = now() + interval '1 year'`,
		`UPDATE mvscheduler.view_usage SET since = now() + interval '1 year', planned_at = now() + interval '1 year'`)
	second := startSidecar(t, s.db, often...)
	until(t, s.root, `SELECT sampler <> 'killed' AND lease_until < now() + interval '1 hour' AND planned_at <= now() FROM mvscheduler.collector`)
	until(t, s.root, `SELECT planned_at <= now() FROM mvscheduler.view_usage`)
	collecting(t, s.root)
	require.Zero(t, second.stop())
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.view_usage WHERE since <= now()`))
}

// The clock of a day is exact, and what it was is compared with what it is when somebody accepts: 14 days are 1.2096e+06 s.
func TestAnIntervalOfWeeksCanBeAccepted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval, timezone, unique_key) VALUES ('hot', 'SELECT id, amount FROM sales', '14 days', 'UTC', '{id}')`)
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "hot", 160, "true")
	s.planned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'interval'`)
	require.Equal(t, "applied", ask[string](t, s.alice, `SELECT state FROM mvscheduler.recommendations WHERE kind = 'interval'`))
}

// After a failover the URL of the standby leads to the primary, whose reads count already.
func TestAStandbyURLThatLeadsToNoStandbyIsNotCounted(t *testing.T) { // alone: samples and reads keep to the clock
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	worker := s.db.Worker(t)
	first := startSidecarAs(t, s.db, worker, often...)
	refreshed(t, s.alice, "v")
	require.Zero(t, first.stop())
	side := startSidecarAs(t, s.db, worker, append([]string{"--standby-url", s.db.URLAs(worker)}, often...)...)
	collecting(t, s.root)
	s.readAndSampled(t, 10)
	require.Zero(t, side.stop())
	require.Equal(t, "a standby could not be read", ask[string](t, s.root, `SELECT note FROM mvscheduler.view_usage`))
	require.LessOrEqual(t, ask[int64](t, s.root, usage, "v"), int64(10))
	require.Contains(t, side.log.String(), "it is no standby, or not any more")
}

// Who may not see what the senders of WAL do sees that they are there.
func TestAStandbyIsKnownOfWithoutTheRightToSeeIt(t *testing.T) {
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, nil))
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	standby(t, s.db.Server(t))
	pgtest.Exec(t, s.root, `REVOKE pg_read_all_stats, pg_monitor FROM mvscheduler_worker`)
	side := startSidecar(t, s.db, often...)
	collecting(t, s.root)
	require.Zero(t, side.stop())
	require.Equal(t, 1, ask[int](t, s.root, `SELECT standbys FROM mvscheduler.collector`))
	require.Contains(t, ask[string](t, s.root, `SELECT sources FROM mvscheduler.collector`), "reads on standbys are not counted")
}

// Finished days are kept as text: neither digits nor what is unknown may depend on what somebody set for the role.
func TestSettingsOfTheRoleDoNotChangeWhatIsRolledUp(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	worker := s.db.Worker(t)
	pgtest.Exec(t, s.root, `ALTER ROLE `+worker+` SET extra_float_digits = -15`, `ALTER ROLE `+worker+` SET array_nulls = off`, `
INSERT INTO mvscheduler.sampled (view_id, at, reads, changes)
SELECT view_id, date_trunc('day', now(), 'UTC') - interval '30 days', '{1234.567,NULL,0.1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL}'::real[], array_fill(NULL::real, ARRAY[12]) FROM mvscheduler.view_state`, `
INSERT INTO mvscheduler.sampled (view_id, at, reads, changes)
SELECT view_id, date_trunc('day', now(), 'UTC') - interval '3 days', '{1234.567,NULL,0.1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL}'::real[], array_fill(NULL::real, ARRAY[12]) FROM mvscheduler.view_state`)
	side := startSidecarAs(t, s.db, worker, often...)
	until(t, s.root, `SELECT count(*) = 2 AND bool_or(width = 3600) FROM mvscheduler.sampled_days`) // hours are made after days
	require.Zero(t, side.stop())
	require.Equal(t, "1234.567 0.1", ask[string](t, s.root, `SELECT r[1] || ' ' || r[3] FROM (SELECT reads::real[] AS r FROM mvscheduler.sampled_days WHERE width = 300) AS d`))
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.sampled_days WHERE width = 3600`))
}

// Since PostgreSQL 18 pg_stat_statements takes these two for one statement, and keeps the text of the first.
func TestReadsOfAnotherTableByTheSameAliasAreNoReads(t *testing.T) { // alone: samples and reads keep to the clock
	s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_stat_statements"}))
	pgtest.Exec(t, s.root, `CREATE EXTENSION pg_stat_statements`)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	side := startSidecar(t, s.db, often...)
	refreshed(t, s.alice, "v")
	collecting(t, s.root)
	pgtest.Exec(t, s.alice, `SELECT count(*) FROM v AS d`)
	reported(t, s.alice)
	sampledTwice(t, s.root)
	for range 50 {
		pgtest.Exec(t, s.alice, `SELECT count(*) FROM sales AS d`)
	}
	reported(t, s.alice)
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	require.LessOrEqual(t, ask[int64](t, s.root, usage, "v"), int64(2))
	require.Equal(t, "L1", ask[string](t, s.root, `SELECT level FROM mvscheduler.collector`))
}

// What is not true any more is not kept for good, nor what people said of views that are gone.
func TestOldRecommendationsAndDecisionsAreForgotten(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "gone", "SELECT id, amount FROM sales", "enabled", false)
	s.recommended(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.reject_recommendation(id) FROM mvscheduler.recommendations`, `DELETE FROM mvscheduler.views`)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	for range 2 {
		s.recommended(t)
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET state = 'expired', decided_at = now() - interval '1 year' WHERE state = 'proposed'`)
	}
	s.recommended(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.snooze_recommendation(id, now() + '1 day') FROM mvscheduler.recommendations WHERE state = 'proposed'`)
	startSidecar(t, s.db, often...)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.recommendation`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.recommendation_decision`)
	require.Equal(t, "snooze", ask[string](t, s.root, `SELECT action FROM mvscheduler.recommendation_decision`))
}

// Who may create in the schema of an extension waits until it is dropped, and gives its name to a function of his own.
func TestAFunctionInThePlaceOfADroppedExtensionIsNotCalled(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_stat_statements"}))
	bob := s.db.Conn(t, s.db.User(t, "bob"))
	pgtest.Exec(t, s.root, `CREATE SCHEMA ext`, `GRANT ALL ON SCHEMA ext TO PUBLIC`, `CREATE EXTENSION pg_stat_statements SCHEMA ext`)
	pgtest.Exec(t, bob, `CREATE TABLE ext.callers (name text)`, `GRANT ALL ON ext.callers TO PUBLIC`)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	startSidecar(t, s.db, often...)
	until(t, s.root, `SELECT level = 'L0' FROM mvscheduler.collector`)
	collecting(t, s.root)
	for range 4 {
		pgtest.Exec(t, s.root, `DROP EXTENSION pg_stat_statements`)
		pgtest.Exec(t, bob, `CREATE FUNCTION ext.pg_stat_statements(boolean) RETURNS TABLE (queryid bigint, userid oid, dbid oid, toplevel boolean, calls bigint) LANGUAGE plpgsql AS 'BEGIN INSERT INTO ext.callers VALUES (CURRENT_USER); END'`,
			`CREATE FUNCTION ext.pg_stat_statements_info() RETURNS TABLE (dealloc bigint, stats_reset timestamptz) LANGUAGE sql AS 'SELECT 1::bigint, now()'`)
		sampledTwice(t, s.root)
		pgtest.Exec(t, bob, `DROP FUNCTION ext.pg_stat_statements, ext.pg_stat_statements_info`)
		pgtest.Exec(t, s.root, `CREATE EXTENSION pg_stat_statements SCHEMA ext`)
		for range 6 {
			sampledTwice(t, s.root)
		}
	}
	require.Empty(t, ask[string](t, bob, `SELECT coalesce(string_agg(DISTINCT name, ' '), '') FROM ext.callers`))
}

// While functions of an extension are called it cannot be dropped, nor anything be put in its place.
func TestAnExtensionIsHeldWhileItsFunctionsAreCalled(t *testing.T) {
	t.Parallel()
	s := withQuals(t)
	pgtest.Exec(t, s.root, `CREATE EXTENSION pg_stat_statements`, `CREATE EXTENSION pg_qualstats`, `SET lock_timeout = '100ms'`)
	pool, err := jobs.NewControlPool(t.Context(), s.db.URLAs(s.db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	calls := 0
	dropped := func(extension, missing string) error {
		calls++
		require.Empty(t, missing)
		requireSQLState(t, s.root, "55P03", `DROP EXTENSION `+extension)
		return nil
	}
	statements, err := catalog.FindStatements(t.Context(), pool)
	require.NoError(t, err)
	require.NoError(t, catalog.HoldStatements(t.Context(), pool, statements, func(_ catalog.Querier, s catalog.StatementSource) error {
		return dropped("pg_stat_statements", s.Missing)
	}))
	quals, err := catalog.FindQuals(t.Context(), pool)
	require.NoError(t, err)
	require.NoError(t, catalog.HoldQuals(t.Context(), pool, quals, func(_ catalog.Querier, s catalog.QualSource) error {
		return dropped("pg_qualstats", s.Missing)
	}))
	require.Equal(t, 2, calls)
	pgtest.Exec(t, s.root, `DROP EXTENSION pg_qualstats`, `CREATE SCHEMA ext`, `GRANT USAGE ON SCHEMA ext TO PUBLIC`, `CREATE EXTENSION pg_qualstats SCHEMA ext`)
	require.NoError(t, catalog.HoldQuals(t.Context(), pool, quals, func(_ catalog.Querier, s catalog.QualSource) error {
		calls++
		require.Equal(t, "pg_qualstats was moved to another schema a moment ago", s.Missing)
		return nil
	}))
	require.Equal(t, 3, calls)
}

// The planner makes a recommendation anew in the row that is there. Who accepts it at that moment has read the one before.
func TestWhatWasMadeAnewMeanwhileIsNotAccepted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	s.recommended(t)
	tx, err := s.root.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `UPDATE mvscheduler.recommendation SET proposed = 'another', change = '{"add_index": "[\"id\"]"}'`)
	require.NoError(t, err)
	failed := make(chan error, 1)
	pid := s.alice.PgConn().PID()
	go func() {
		_, err := s.alice.Exec(t.Context(), `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
		failed <- err
	}()
	until(t, s.db.Conn(t, ""), `SELECT wait_event_type IS NOT DISTINCT FROM 'Lock' FROM pg_stat_activity WHERE pid = $1`, pid)
	require.NoError(t, tx.Commit(t.Context()))
	require.ErrorContains(t, <-failed, "was made anew meanwhile")
	require.Equal(t, "proposed", ask[string](t, s.alice, `SELECT state FROM mvscheduler.recommendations`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
	require.Equal(t, `{"(\"id\")"}`, ask[string](t, s.alice, `SELECT indexes::text FROM mvscheduler.views`))
}
