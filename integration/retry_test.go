package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestAFailingSlotIsTriedAgainEverLaterAndTheNextSlotAnew(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = 0 WHERE id = 1`)
	s.manage(t, "v", "SELECT id, 1 / amount AS a FROM sales", "refresh_interval", "10 seconds", "max_attempts", 3)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) >= 1 FROM mvscheduler.run WHERE state = 'failed'`)
	first := ask[int64](t, s.root, `SELECT min(id) FROM mvscheduler.run WHERE state = 'failed'`)
	require.Equal(t, []string{"failed", "failed", "failed"}, outcomes(t, s, first))
	pauses := ask[[]float64](t, s.root, `
SELECT array_agg(extract(epoch FROM a.started_at - b.finished_at)::float8 ORDER BY a.attempt)
  FROM mvscheduler.attempt AS a JOIN mvscheduler.attempt AS b ON b.run_id = a.run_id AND b.attempt = a.attempt - 1 WHERE a.run_id = $1`, first)
	t.Logf("pauses between the attempts: %v s", pauses)
	require.GreaterOrEqual(t, pauses[0], 0.5)
	require.GreaterOrEqual(t, pauses[1], 1.2)
	require.Equal(t, "22012", ask[string](t, s.root, `SELECT sqlstate FROM mvscheduler.run WHERE id = $1`, first))
	reason := ask[string](t, s.root, `SELECT reason FROM mvscheduler.run WHERE id = $1`, first)
	require.Contains(t, reason, "gave up after 3 attempts; the next slot tries again")
	require.Contains(t, reason, "Mend the data")
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE id > $1 AND attempts > 0)`, first)
	require.NotEqual(t, "paused", ask[string](t, s.alice, `SELECT activity FROM mvscheduler.status`), "data mend themselves")

	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = 1 WHERE id = 1`)
	until(t, s.alice, `SELECT freshness = 'fresh' AND consecutive_failures = 0 AND reason = '' FROM mvscheduler.status`)
}

func TestWhoMendsAViewOrAsksForItDoesNotWaitForTheNextTry(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE divisor (by int NOT NULL)`, `INSERT INTO divisor VALUES (0)`)
	s.manage(t, "big", "SELECT id FROM sales", "refresh_interval", "1 day", "max_size_bytes", 1)
	s.manage(t, "divided", "SELECT id, 1 / by AS a FROM sales CROSS JOIN divisor", "refresh_interval", "1 day")
	startSidecar(t, s.db)
	for _, v := range []struct{ name, mend, hasten string }{
		{"big", `SELECT`, `UPDATE mvscheduler.views SET max_size_bytes = NULL WHERE id = mvscheduler.view_id('big')`},
		{"divided", `UPDATE divisor SET by = 1`, `SELECT mvscheduler.refresh_view('divided')`},
	} {
		// The next try is far away, as it is after some that failed.
		until(t, s.root, `
WITH later AS (
    UPDATE mvscheduler.river_job AS j
       SET state = 'scheduled', scheduled_at = now() + interval '1 hour'
      FROM mvscheduler.run AS r
     WHERE r.job_id = j.id AND r.state = 'queued' AND r.attempts > 0 AND j.state IN ('available', 'scheduled') AND r.view_name LIKE '%.' || $1
    RETURNING 1)
SELECT EXISTS (SELECT FROM later)`, v.name)
		pgtest.Exec(t, s.alice, v.mend, v.hasten)
		until(t, s.alice, `SELECT freshness = 'fresh' FROM mvscheduler.status WHERE name LIKE '%.' || $1`, v.name)
	}
}

func autoPauses(t *testing.T, s *scene) int {
	t.Helper()
	return ask[int](t, s.alice, `SELECT count(*) FROM mvscheduler.audit_log WHERE action = 'auto_pause'`)
}

func TestAViewThatLosesARightIsPausedOnceWithTheReasonAndResumed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	other := sceneOn(t, s.db)
	pgtest.Exec(t, other.alice, "GRANT USAGE ON SCHEMA "+other.owner+" TO "+s.owner, "GRANT SELECT ON sales TO "+s.owner)
	s.manage(t, "v", "SELECT id, amount, slow(0) AS paused FROM "+other.owner+".sales", "refresh_interval", "1 second")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, other.alice, "REVOKE SELECT ON sales FROM "+s.owner)
	until(t, s.alice, `SELECT activity = 'paused' FROM mvscheduler.status`)
	reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`)
	for _, want := range []string{"paused by mvscheduler: permission denied for table sales", "42501", "Grant the owner", "Then: SELECT mvscheduler.resume_view('" + s.owner + ".v')"} {
		require.Contains(t, reason, want)
	}
	require.Equal(t, 1, strings.Count(reason, "permission denied"), "said once: %s", reason)
	runs := ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run`)
	until(t, s.root, `SELECT clock_timestamp() > $1::timestamptz + interval '3 seconds'`, ask[time.Time](t, s.root, `SELECT clock_timestamp()`))
	require.Equal(t, runs, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run`), "not tried again")
	require.Equal(t, 1, autoPauses(t, s))
	require.Equal(t, int64(100), ask[int64](t, s.alice, `SELECT count(*) FROM v`), "old contents stay")

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`) // too early
	until(t, s.root, `SELECT count(*) >= 2 FROM mvscheduler.run WHERE state = 'failed'`)
	require.Equal(t, 2, autoPauses(t, s))
	pgtest.Exec(t, other.alice, "GRANT SELECT ON sales TO "+s.owner)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`)
	until(t, s.alice, `SELECT freshness = 'fresh' AND reason = '' AND activity <> 'paused' AND last_refresh_at > $1 FROM mvscheduler.status`,
		ask[time.Time](t, s.root, `SELECT clock_timestamp()`))
	require.Equal(t, 2, autoPauses(t, s))
	s.idle(t)
	s.everySlotHasOneEnd(t)
}

func TestATableThatAFunctionMissesPausesTheView(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, fmt.Sprintf(`CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT sum(amount) FROM %s.sales); END'`, s.owner))
	s.manage(t, "by_function", "SELECT total() AS total", "refresh_interval", "1 second")
	s.manage(t, "direct", quick, "refresh_interval", "1 second")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "by_function", "direct")
	pgtest.Exec(t, s.alice, `DROP TABLE sales CASCADE`)
	until(t, s.alice, `SELECT bool_and(activity = 'paused') FROM mvscheduler.status`)
	require.Equal(t, "missing", ask[string](t, s.alice, `SELECT freshness FROM mvscheduler.status WHERE name LIKE '%direct'`))
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%function'`), `relation "`+s.owner+`.sales" does not exist`)
	require.Equal(t, 2, autoPauses(t, s), "one for each")
}

func TestMaxSizeKeepsTheOldContents(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_on", "manual", "refresh_interval", nil, "max_size_bytes", 200_000, "max_attempts", 1, "method", "full")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO sales SELECT i, i FROM generate_series(1000, 20000) AS i`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	require.Equal(t, "failed", s.ended(t, run))
	require.Equal(t, "53400", ask[string](t, s.root, `SELECT sqlstate FROM mvscheduler.run WHERE id = $1`, run))
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.runs WHERE id = $1`, run), "Raise max_size_bytes")
	require.Equal(t, int64(100), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
	require.Less(t, ask[int64](t, s.alice, `SELECT pg_total_relation_size('v')`), int64(200_000))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET max_size_bytes = NULL`)
	refreshed(t, s.alice, "v")
	require.Equal(t, int64(19_101), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
}

func TestStatisticsAreGatheredAfterMuchChangeAndNotAfterLittle(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `INSERT INTO sales SELECT i, i FROM generate_series(101, 2000) AS i`)
	s.manage(t, "v", quick, "refresh_on", "manual", "refresh_interval", nil, "unique_key", []string{"id"})
	s.manage(t, "never", quick, "refresh_on", "manual", "refresh_interval", nil, "analyze", false)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v", "never")
	analyzed := func(want int) {
		t.Helper()
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))`)
		require.Eventually(t, func() bool { return len(s.statements(t, "ANALYZE (SKIP_LOCKED)")) >= want }, patience, 100*time.Millisecond)
		require.Len(t, s.statements(t, "ANALYZE (SKIP_LOCKED)"), want)
	}
	analyzed(1)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.view_health WHERE analyzed_rows = 2000`)
	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1 WHERE id <= 20`)
	refreshed(t, s.alice, "v")
	analyzed(1)
	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1`)
	refreshed(t, s.alice, "v", "never")
	analyzed(2)
	require.NotContains(t, fmt.Sprint(s.statements(t, "ANALYZE (SKIP_LOCKED)")), "never")
}

func TestTheSettingsOfAViewReachItsRefresh(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT current_setting('work_mem') AS work_mem, current_setting('TimeZone') AS zone, current_setting('search_path') AS path, slow(0) AS paused`,
		"work_mem", "7MB", "timezone", "Pacific/Chatham", "statement_timeout", "77 seconds", "lock_timeout", "333 milliseconds")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	require.Equal(t, "7MB Pacific/Chatham pg_catalog, pg_temp", ask[string](t, s.alice, `SELECT work_mem || ' ' || zone || ' ' || path FROM v`))
	logged := strings.Join(s.statements(t, "set_config('statement_timeout'"), "\n")
	for _, want := range []string{"'77000ms'", "'333ms'", "'Pacific/Chatham'", "'7MB'"} {
		require.Contains(t, logged, want)
	}
}

func TestAQueryThatSwallowsItsTimeoutIsTerminated(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, stubborn, `CREATE TABLE gate (seconds integer)`, `INSERT INTO gate VALUES (0)`)
	s.manage(t, "v", "SELECT stubborn(seconds) AS a FROM gate", "refresh_on", "manual", "refresh_interval", nil,
		"statement_timeout", "1 second", "max_attempts", 1)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `UPDATE gate SET seconds = 600`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	began := time.Now()
	pid := s.working(t, "v")
	require.Equal(t, "failed", s.ended(t, run))
	t.Logf("terminated after %s", time.Since(began))
	require.Less(t, time.Since(began), 60*time.Second)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid)
	require.Equal(t, "57014", ask[string](t, s.root, `SELECT sqlstate FROM mvscheduler.run WHERE id = $1`, run))
	require.Contains(t, ask[string](t, s.root, `SELECT error FROM mvscheduler.run WHERE id = $1`, run), "its backend was terminated")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM v`), "old contents stay")
}
