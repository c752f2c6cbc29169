package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestReadersNeverQueueLongBehindAPlainRefreshThatWaits(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_interval", "1 second", "method", "full", "lock_timeout", "300 milliseconds")
	sidecar := startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.view_health WHERE refreshes > 0`)
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `SELECT count(*) FROM v`)
	pid := ask[int32](t, holder, `SELECT pg_backend_pid()`)
	probes := []*reader{}
	for range 4 {
		probes = append(probes, startReader(t, s.db, s.owner, `SELECT count(*) FROM v`))
	}
	until(t, s.alice, `SELECT activity = 'waiting' FROM mvscheduler.status`)
	reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`)
	require.Contains(t, reason, fmt.Sprintf("pid %d (%s", pid, s.owner))
	require.Contains(t, reason, "AccessShareLock on v")
	require.Contains(t, reason, "idle in transaction")
	began := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
	until(t, s.root, `SELECT clock_timestamp() > $1::timestamptz + interval '6 seconds'`, began)
	var worst time.Duration
	for _, probe := range probes {
		probe.end(t)
		worst = max(worst, probe.worst)
		require.Greater(t, probe.queries, 10)
	}
	t.Logf("the worst read took %s beside a lock_timeout of 300 ms", worst)
	require.Less(t, worst, 2500*time.Millisecond)
	pgtest.Exec(t, holder, `COMMIT`)
	until(t, s.root, `SELECT data_as_of > $1 FROM mvscheduler.view_health`, ask[time.Time](t, s.root, `SELECT clock_timestamp()`))
	until(t, s.alice, `SELECT waiting_for IS NULL FROM mvscheduler.status`)
	_, metrics := sidecar.get("/metrics")
	require.Greater(t, metric(t, metrics, "mvscheduler_lock_wait_seconds_sum"), 3.0, "of the six that the reader was there")

	waits := s.statements(t, "set_config('lock_timeout'")
	require.NotEmpty(t, waits)
	for _, statement := range waits {
		require.Contains(t, statement, "$2 = '300ms'")
	}
	require.NotEmpty(t, s.spans(t))
	s.noRefreshesOverlap(t)
}

func TestReadersNeverWaitForAConcurrentRefresh(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", slowQuery(2*time.Second), "refresh_interval", "1 second")
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.view_health WHERE refreshes > 0`)
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `SELECT count(*) FROM v`)
	probe := startReader(t, s.db, s.owner, `SELECT count(*) FROM v`)
	until(t, s.root, `SELECT refreshes > 3 FROM mvscheduler.view_health`) // a reader in a transaction stops nothing
	probe.end(t)
	t.Logf("the worst of %d reads took %s", probe.queries, probe.worst)
	require.Less(t, probe.worst, 10*time.Second, "a refresh takes 2 s, five of them ran")
	require.Equal(t, int64(100), probe.fewest)
	concurrent := 0
	for _, refresh := range s.spans(t)[fmt.Sprintf(`"%s"."v"`, s.owner)] {
		if refresh.concurrent {
			concurrent++
		}
	}
	require.GreaterOrEqual(t, concurrent, 3)
}

func TestARefreshMakesWayForDDLThatWaitsBehindItThreeTimesARun(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", slowQuery(7*time.Second), "refresh_interval", "1 day", "max_attempts", 1)
	startSidecar(t, s.db)
	run := s.running(t, "v")
	ddl := s.db.Conn(t, s.owner)
	for n := range 4 {
		until(t, s.root, `SELECT attempts = $2 AND state = 'running' FROM mvscheduler.run WHERE id = $1`, run, n+1)
		pid := s.working(t, "v")
		until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND granted AND relation = $2::regclass)`, pid, s.owner+".sales")
		began := time.Now()
		pgtest.Exec(t, ddl, fmt.Sprintf(`ALTER TABLE sales ADD COLUMN c%d integer`, n))
		waited := time.Since(began)
		t.Logf("the DDL waited %s", waited)
		if n < 3 {
			require.Greater(t, waited, 2500*time.Millisecond, "not for nothing")
			require.Less(t, waited, 30*time.Second)
		}
	}
	require.Equal(t, "succeeded", s.ended(t, run))
	require.Equal(t, []string{"busy", "busy", "busy", "succeeded"}, outcomes(t, s, run), "a run that makes way for ever is never fresh")
	require.Zero(t, ask[int](t, s.root, `SELECT counted FROM mvscheduler.run WHERE id = $1`, run))
}

func TestAReaderIsNotDDLAndARefreshDoesNotMakeWayForIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", slowQuery(6*time.Second), "refresh_interval", "1 day", "method", "full")
	startSidecar(t, s.db)
	s.working(t, "v")
	run := s.running(t, "v")
	pgtest.Exec(t, s.db.Conn(t, s.owner), `SELECT count(*) FROM sales`, `INSERT INTO sales VALUES (1000, 1)`)
	require.Equal(t, "succeeded", s.ended(t, run))
	require.Equal(t, []string{"succeeded"}, outcomes(t, s, run))
}

// lock_timeout bounds one lock, and a plain refresh that waits for the tables below one after the other makes
// readers wait all the time.
func TestAPlainRefreshStepsBackWhenItsLocksTogetherTakeTooLong(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const tables = 5
	query := `SELECT 1 AS one`
	for i := range tables {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`CREATE TABLE t%d AS SELECT 1 AS id`, i))
		query += fmt.Sprintf(`, (SELECT count(*) FROM t%d) AS n%[1]d`, i)
	}
	s.manage(t, "v", query, "refresh_on", "manual", "refresh_interval", nil, "method", "full", "lock_timeout", "1 second")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	var holders []*pgx.Conn
	for i := range tables {
		holders = append(holders, s.db.Conn(t, s.owner))
		pgtest.Exec(t, holders[i], `BEGIN`, fmt.Sprintf(`LOCK TABLE t%d`, i))
	}
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'REFRESH%' AND wait_event_type = 'Lock')`)
	for _, holder := range holders { // each is held for less than lock_timeout after the one before: no event to wait for
		time.Sleep(700 * time.Millisecond)
		pgtest.Exec(t, holder, `COMMIT`)
	}
	require.Equal(t, "succeeded", s.ended(t, run))
	require.Greater(t, len(s.statements(t, `REFRESH MATERIALIZED VIEW "`)), 2, "it stepped back at least once")
	require.NotEmpty(t, s.statements(t, "pg_cancel_backend"), "since all of them together took too long")
}

// DDL waits longer for a lock than a refresh lets it wait, and not for ever.
func TestADeleteBehindAReaderGivesUpAndSaysHow(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `SELECT count(*) FROM v`)
	for _, statement := range []string{`DELETE FROM mvscheduler.views`, `UPDATE mvscheduler.views SET name = 'w'`} {
		var refusal *pgconn.PgError
		_, err := s.alice.Exec(t.Context(), statement)
		require.ErrorAs(t, err, &refusal, statement)
		require.Equal(t, "55P03", refusal.Code, statement)
		require.Contains(t, refusal.Hint, "cancel_run", statement)
	}
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.views`))
}
