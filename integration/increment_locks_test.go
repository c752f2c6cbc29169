package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Triggers of a partitioned table are made on every partition, each of which is waited for with all locks held: the
// budget of the step (here 100 ms, 500 ms by default) holds for each of them anew.
func TestWritersDoNotWaitForTheTriggersOfManyPartitionsLongerThanLockTimeout(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	const parts = 25
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY RANGE (ts)`,
		fmt.Sprintf(`DO $$ BEGIN FOR n IN 1..%d LOOP EXECUTE format('CREATE TABLE p%%1$s PARTITION OF metrics FOR VALUES FROM (''2026-01-%%2$s 00:00+00'') TO (''2026-01-%%3$s 00:00+00'')', n, n, n + 1); END LOOP; END $$`, parts))
	busy := make([]*pgx.Conn, parts)
	for n := range busy { // each partition has a writer, who ends a little after we have begun to wait for him
		busy[n] = s.db.Conn(t, s.owner)
		pgtest.Exec(t, busy[n], `BEGIN`, fmt.Sprintf(`INSERT INTO p%[1]d VALUES ('2026-01-%[1]d 00:00+00', 1, 1)`, n+1))
	}
	writer := s.db.Conn(t, s.owner)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	longest := time.Duration(0)
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			began := time.Now()
			_, _ = writer.Exec(t.Context(), `INSERT INTO metrics VALUES ('2026-01-05 00:00+00', 1, 1)`)
			longest = max(longest, time.Since(began))
			time.Sleep(5 * time.Millisecond)
		}
	}()
	for n, conn := range busy {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && !ask[bool](t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock' AND relation = $1::text::regclass)`, fmt.Sprintf("%s.p%d", s.owner, n+1)); time.Sleep(2 * time.Millisecond) {
		}
		time.Sleep(50 * time.Millisecond)
		pgtest.Exec(t, conn, `COMMIT`)
	}
	s.incremented(t, "v")
	close(stop)
	<-done
	t.Log("a writer waited for", longest)
	require.Less(t, longest, 700*time.Millisecond, "lock_timeout is 500 ms")
}

func TestAViewThatCannotMakeItsTriggersOrFillSaysWhoHoldsTheLock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ tracking, holds, says string }{
		"triggers": {"trigger", `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 1)`, "RowExclusiveLock on metrics"},
		"fill":     {"none", `LOCK TABLE v__data IN SHARE UPDATE EXCLUSIVE MODE`, "ShareUpdateExclusiveLock on v__data"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			writer := s.db.Conn(t, s.owner)
			pgtest.Exec(t, writer, `SET application_name = 'nightly load'`)
			s.incremental(t, "v", hourly, "change_tracking", c.tracking, "lateness", "1 day")
			pgtest.Exec(t, writer, `BEGIN`, c.holds)
			startSidecar(t, s.db)
			until(t, s.alice, `SELECT reason ~* 'lock' FROM mvscheduler.status`)
			reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`)
			require.Contains(t, reason, c.says)
			require.Contains(t, reason, "nightly load")
			pgtest.Exec(t, writer, `COMMIT`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
		})
	}
}

// An UPDATE of one partition of a watched table waits for whoever has locked another partition.
func TestAnUpdateOfOnePartitionDoesNotLockTheOthers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY RANGE (ts)`,
		`CREATE TABLE p1 PARTITION OF metrics FOR VALUES FROM ('2026-03-01') TO ('2026-03-02')`, `CREATE TABLE p2 PARTITION OF metrics FOR VALUES FROM ('2026-03-02') TO ('2026-03-03')`,
		`INSERT INTO metrics VALUES ('2026-03-01 05:00+00', 1, 1)`)
	maintenance := s.db.Conn(t, s.owner)
	update := `UPDATE metrics SET value = 2 WHERE ts = '2026-03-01 05:00+00'::timestamptz`
	pgtest.Exec(t, s.alice, `SET lock_timeout = '1s'`, `SET plan_cache_mode = force_custom_plan`)
	locked := func(statement string) error {
		pgtest.Exec(t, maintenance, `BEGIN`, `LOCK TABLE p2`)
		_, err := s.alice.Exec(t.Context(), statement)
		pgtest.Exec(t, maintenance, `ROLLBACK`)
		return err
	}
	insert := `INSERT INTO metrics VALUES ('2026-03-01 06:00+00', 1, 1)`
	t.Log("before: UPDATE ", locked(update), "INSERT", locked(insert), "UPDATE of the partition", locked(`UPDATE p1 SET value = 3`))
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	require.NoError(t, locked(insert))
	require.NoError(t, locked(`UPDATE p1 SET value = 3`))
	require.NoError(t, locked(update))
}

// The triggers of all partitions are made in one transaction, which locks writers out until the last is made.
func TestWritersDoNotWaitUntilTheTriggersOfAllPartitionsAreMade(t *testing.T) {
	heavy(t)
	s := newScene(t)
	const parts = 600
	s.manyParts(t, parts)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
	writer := s.db.Conn(t, s.owner)
	startSidecar(t, s.db)
	longest, ended := time.Duration(0), false
	for deadline := time.Now().Add(80 * time.Second); time.Now().Before(deadline) && !ended; time.Sleep(5 * time.Millisecond) {
		began := time.Now()
		pgtest.Exec(t, writer, `INSERT INTO raw VALUES (now(), 1, 1)`)
		longest = max(longest, time.Since(began))
		ended = ask[bool](t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('succeeded', 'failed'))`)
	}
	t.Log("a writer waited for", longest, ask[string](t, s.root, `SELECT string_agg(concat_ws(' ', state, reason, error, progress::text), '; ') FROM mvscheduler.run`), ask[string](t, s.root, `SELECT string_agg(concat_ws(' ', outcome, error), '; ') FROM mvscheduler.attempt`))
	require.Less(t, longest, time.Second, "lock_timeout is 500 ms")
}

// manyParts is a table of partitions by day.
func (s *scene) manyParts(t testing.TB, parts int) {
	t.Helper()
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY RANGE (ts)`)
	for from := 0; from < parts; from += 100 {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`DO $$ DECLARE d date; BEGIN FOR n IN %d..%d LOOP d := (now() AT TIME ZONE 'UTC')::date + 2 - n; EXECUTE format('CREATE TABLE p%%s PARTITION OF raw FOR VALUES FROM (%%L) TO (%%L)', n, d || ' 00:00+00', (d + 1) || ' 00:00+00'); END LOOP; END $$`, from, from+99))
	}
	pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO raw SELECT (now() AT TIME ZONE 'UTC')::date + 2 - n, 1, 1 FROM generate_series(0, %d, 50) AS n`, parts-1))
}

// A table of many partitions: what an increment of one bucket locks and takes.
func TestAnIncrementBelowManyPartitionsLocksFew(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	parts := 300
	if long {
		parts = 1000
	}
	s.manyParts(t, parts)
	pgtest.Exec(t, s.alice, `CREATE INDEX ON raw (ts)`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) + slow(CASE WHEN device = 99 THEN 3 ELSE 0 END) AS total FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "change_tracking", "none", "lateness", "1 hour")
	startSidecar(t, s.db)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	untilWithin(t, 3*patience, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE id = $1 AND state NOT IN ('queued', 'running'))`, run)
	for range 3 {
		s.incremented(t, "v")
		t.Log(s.last(t, "v", "concat_ws(' | ', took, buckets, changed, reason)"))
	}
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES (now(), 99, 1)`, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'mvscheduler run' AND wait_event = 'PgSleep' AND datname = current_database())`)
	locks := ask[int64](t, s.root, `SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE a.application_name = 'mvscheduler run' AND a.wait_event = 'PgSleep' AND a.datname = current_database() AND l.locktype = 'relation'`)
	t.Log(locks, "relations are locked")
	require.Less(t, locks, int64(200))
}

// A refresh that waits names who holds a lock that it needs, and nobody who only reads.
func TestARefreshThatWaitsForAForeignKeyNamesWhoWritesThere(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `CREATE TABLE note (hour timestamptz, device int, FOREIGN KEY (hour, device) REFERENCES v__data (hour, device))`)
	pgtest.Exec(t, s.db.Conn(t, s.owner), `SET application_name = 'innocent'`, `BEGIN`, `SELECT count(*) FROM v`)
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `SET application_name = 'annotator'`, `BEGIN`, `INSERT INTO note SELECT hour, device FROM v__data LIMIT 1`)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2031-03-09 23:10+00', 3, NULL)`, `SELECT mvscheduler.refresh_view('v')`) // of a partition that is to be attached
	until(t, s.alice, `SELECT activity = 'waiting' AND waiting_for LIKE '%annotator%holds RowExclusiveLock on note%' FROM mvscheduler.status`)
	pgtest.Exec(t, writer, `COMMIT`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}
