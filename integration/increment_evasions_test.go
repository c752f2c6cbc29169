package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A time column that is called like a variable of the trigger function.
func TestWritersOfATableWhoseColumnIsCalledLikeAVariableAreNotRefused(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	columns := []string{"at", "lo", "hi", "found", "tg_op", "t", "r", "new", "old", "s", "a"}
	for _, c := range columns {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`CREATE TABLE of_%[1]s (%[1]s timestamptz, k int)`, c))
		s.incremental(t, "v_"+c, fmt.Sprintf(`SELECT date_trunc('hour', %[1]s) AS hour, count(*) AS n FROM of_%[1]s WHERE mvscheduler.in_window(%[1]s) GROUP BY 1`, c))
	}
	startSidecar(t, s.db)
	for _, c := range columns {
		s.incremented(t, "v_"+c)
	}
	for _, c := range columns {
		for _, statement := range []string{`INSERT INTO of_%[1]s VALUES ('2026-03-01 10:00+00', 1)`, `UPDATE of_%[1]s SET k = 2`, `DELETE FROM of_%[1]s`} {
			if _, err := s.alice.Exec(t.Context(), fmt.Sprintf(statement, c)); err != nil {
				t.Errorf("column %s: %s: %v", c, statement, err)
				break
			}
		}
	}
}

// A writer whose snapshot is older than the view, and who writes after its first refresh.
func TestWhatAWriterWithAnOldSnapshotWritesIsNotMissed(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			writer := s.db.Conn(t, s.owner)
			pgtest.Exec(t, writer, `BEGIN ISOLATION LEVEL `+level, `SELECT 1 FROM pg_class`)
			s.incremental(t, "v", hourly)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			pgtest.Exec(t, writer, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, `COMMIT`)
			s.incremented(t, "v")
			t.Log(s.last(t, "v", "reason"))
			same(t, s.alice, "v")
		})
	}
}

// As before, but the partition is attached after the snapshot of the writer.
func TestWhatAWriterWithAnOldSnapshotWritesToAPartitionThatWasAttachedSinceIsNotMissed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY RANGE (ts)`, `CREATE TABLE p1 (LIKE metrics)`)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT 1 FROM pg_class`)
	pgtest.Exec(t, s.alice, `ALTER TABLE metrics ATTACH PARTITION p1 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')`)
	s.incremented(t, "v")
	pgtest.Exec(t, writer, `INSERT INTO p1 VALUES ('2026-03-02 10:05+00', 1, 100)`, `COMMIT`)
	s.incremented(t, "v")
	t.Log(s.last(t, "v", "reason"))
	same(t, s.alice, "v")
}

// A bulk load disables triggers, as the manual of PostgreSQL and ETL tools do, and refreshes go on meanwhile.
func TestWhatIsWrittenWhileTriggersAreDisabledIsNotMissedByTheSecondRefresh(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `ALTER TABLE metrics DISABLE TRIGGER USER`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-03 10:05+00', 1, 100)`, `SELECT pg_stat_force_next_flush()`) // counters are late
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "ENABLE TRIGGER USER")
	same(t, s.alice, "v")
}

// ENABLE TRIGGER USER makes a trigger of every session of the one that is for rows of logical replication: all writers would pay for each row, and that would be noted no more.
func TestTriggersThatWereDisabledForALoadNoteWhatReplicationSessionsWriteAsBefore(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `ALTER TABLE metrics DISABLE TRIGGER USER`, `ALTER TABLE metrics ENABLE TRIGGER USER`)
	s.incremented(t, "v")
	pgtest.Exec(t, s.root, `SET session_replication_role = replica`, `INSERT INTO `+s.owner+`.metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, `RESET session_replication_role`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT '2026-03-02 10:05+00', n, n FROM generate_series(1, 1000) AS n`)
	require.Less(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.dirt WHERE source = '`+s.owner+`.metrics'::regclass`), int64(10), "one for a statement")
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, "trigger", ask[string](t, s.root, `SELECT tracking FROM mvscheduler.increment_state`))
}

// Who may make triggers on a table of somebody else was first; what replication sessions write to it its owner is told nevertheless.
func TestTheOwnerOfATableThatAnotherHasWatchedIsToldWhatReplicationSessionsWrite(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int)`, a.sql(`GRANT SELECT, TRIGGER ON base TO mallory`))
	a.as(fmt.Sprintf(sumByHour, "mallory.v", "alice.base"))
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	pgtest.Exec(t, alice, a.sql(fmt.Sprintf(sumByHour, "alice.w", "alice.base")))
	refreshed(t, alice, a.sql("alice.w"))
	pgtest.Exec(t, a.root, `SET session_replication_role = replica`, a.sql(`INSERT INTO alice.base VALUES ('2026-03-01 00:10+00', 1)`), `RESET session_replication_role`)
	refreshed(t, alice, a.sql("alice.w"))
	require.Equal(t, int64(1), ask[int64](t, alice, a.sql(`SELECT coalesce(sum(n), 0)::bigint FROM alice.w`)))
}

// CREATE OR REPLACE gives ours other names of its rows, or another event: writers fail, or tell nothing.
func TestATriggerThatWasReplacedByHandIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	for _, instead := range []string{`INSERT ON metrics REFERENCING NEW TABLE AS others`, `DELETE ON metrics REFERENCING OLD TABLE AS old_rows`} {
		pgtest.Exec(t, s.alice, ask[string](t, s.alice, `SELECT 'CREATE OR REPLACE TRIGGER mvscheduler_changed_insert AFTER `+instead+` FOR EACH STATEMENT EXECUTE FUNCTION ' || tgfoid::regproc || '()'
			FROM pg_trigger WHERE tgrelid = 'metrics'::regclass AND tgname = 'mvscheduler_changed_insert'`))
		s.incremented(t, "v")
		pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
		require.NotZero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.dirt WHERE source::text LIKE '%.metrics'`), "a trigger has noted it")
		s.incremented(t, "v")
		require.Equal(t, "trigger", ask[string](t, s.root, `SELECT tracking FROM mvscheduler.increment_state`))
		same(t, s.alice, "v")
	}
}

// A name of our triggers that is taken.
func TestATriggerOfTheSameNameHidesNoChanges(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`,
		`CREATE TRIGGER mvscheduler_changed_insert AFTER INSERT ON metrics FOR EACH STATEMENT EXECUTE FUNCTION nothing()`)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-03 10:05+00', 1, 100)`, `SELECT pg_stat_force_next_flush()`) // counters are late
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "ENABLE TRIGGER USER")
	same(t, s.alice, "v")
}

// A table of somebody else to which a subscription applies rows.
func TestRowsThatASubscriptionAppliesToATableOfSomebodyElseAreNotMissed(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int)`, a.sql(`GRANT SELECT, TRIGGER ON base TO mallory`))
	a.as(fmt.Sprintf(sumByHour, "mallory.v", "alice.base"))
	pgtest.Exec(t, a.root, a.sql(`INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) VALUES (1, 'alice.base'::regclass, 'r')`))
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	pgtest.Exec(t, a.root, `SET session_replication_role = replica`, a.sql(`INSERT INTO alice.base VALUES ('2026-03-01 00:10+00', 1)`), `RESET session_replication_role`, `SELECT pg_stat_force_next_flush()`) // counters are late
	refreshed(t, a.m, a.sql("mallory.v"))
	t.Log(ask[string](t, a.root, a.sql(`SELECT reason FROM mvscheduler.run WHERE view_name = 'mallory.v' ORDER BY id DESC LIMIT 1`)))
	require.Equal(t, int64(1), ask[int64](t, a.m, a.sql(`SELECT coalesce(sum(n), 0)::bigint FROM mallory.v`)))
}

// A table that a view reads is for a moment a part of another one, through which it is written.
func TestWhatIsWrittenThroughATableAboveThatWasThereForAMomentIsNotMissed(t *testing.T) {
	t.Parallel()
	for name, as := range map[string]struct{ above, on, off string }{
		"partition": {`CREATE TABLE above (ts timestamptz NOT NULL, device int NOT NULL, value numeric) PARTITION BY RANGE (ts)`, `ALTER TABLE above ATTACH PARTITION metrics DEFAULT`, `ALTER TABLE above DETACH PARTITION metrics`},
		"child":     {`CREATE TABLE above (ts timestamptz, device int, value numeric)`, `ALTER TABLE metrics INHERIT above`, `ALTER TABLE metrics NO INHERIT above`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			pgtest.Exec(t, s.alice, as.above)
			s.incremental(t, "v", hourly)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			pgtest.Exec(t, s.alice, as.on, `UPDATE above SET value = 100 WHERE ts = '2026-03-02 10:00+00'`, as.off)
			s.incremented(t, "v")
			t.Log(s.last(t, "v", "reason"))
			same(t, s.alice, "v")
		})
	}
}

// An attacker hides a change of a table below somebody else's view by inheritance, in one transaction.
func TestTheOwnerOfATableHidesNoChangeFromAnothersView(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int)`, `INSERT INTO base VALUES ('2026-03-01 00:10+00', 1)`, a.sql(`GRANT SELECT, TRIGGER ON base TO mallory`))
	for _, name := range []string{"v", "w"} {
		a.as(`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on) VALUES ('mallory.` + name + `', 'SELECT date_trunc(''hour'', ts) AS hour, sum(k) AS n FROM alice.base WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', NULL, 'manual')`)
	}
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	shown := func() string {
		refreshed(t, a.m, a.sql("mallory.v"))
		return ask[string](t, a.m, a.sql(`SELECT (SELECT sum(n) FROM mallory.v) || ' of ' || (SELECT sum(n) FROM mallory.v__query)`))
	}
	for n, statements := range [][]string{
		{`BEGIN`, `ALTER TABLE base DISABLE TRIGGER ALL`, `UPDATE base SET k = k + 10`, `ALTER TABLE base ENABLE TRIGGER ALL`, `COMMIT`},
		{`BEGIN`, `ALTER TRIGGER mvscheduler_changed_update ON base RENAME TO x`, `UPDATE base SET k = k + 10`, `ALTER TRIGGER x ON base RENAME TO mvscheduler_changed_update`, `COMMIT`},
		{`CREATE TEMP TABLE old_rows (ts timestamptz)`, `UPDATE base SET k = k + 10`, `DROP TABLE old_rows`},
		{`BEGIN`, `SAVEPOINT a`, `UPDATE base SET k = k + 10`, `ROLLBACK TO a`, `UPDATE base SET k = k + 20`, `COMMIT`},
		{`CREATE RULE r AS ON INSERT TO base DO INSTEAD UPDATE base SET k = k + 10`, `INSERT INTO base VALUES (now(), 1)`, `DROP RULE r ON base`},
		{`BEGIN`, `ALTER TABLE base SET UNLOGGED`, `UPDATE base SET k = k + 10`, `COMMIT`},
		{`BEGIN`, `DROP TRIGGER mvscheduler_changed_update ON base`, `UPDATE base SET k = k + 10`, `COMMIT`},
		{`BEGIN`, `CREATE TABLE other (LIKE base)`, `ALTER TABLE base INHERIT other`, `UPDATE other SET k = k + 10`, `ALTER TABLE base NO INHERIT other`, `COMMIT`},
	} {
		pgtest.Exec(t, alice, statements...)
		got := shown()
		left, right, _ := strings.Cut(got, " of ")
		require.Equal(t, right, left, "%d: %s", n, statements)
	}
}

// As before, with a refresh while it is a part.
func TestWhatCountersWouldHaveToldIsNotMissedWhenTriggersTakeOver(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE above (ts timestamptz NOT NULL, device int NOT NULL, value numeric, sold date) PARTITION BY RANGE (ts)`, `ALTER TABLE metrics ADD sold date`)
	s.incremental(t, "v", hourly)
	s.incremental(t, "w", `SELECT sold AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(sold) GROUP BY 1`, "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "v", "w", "v")
	pgtest.Exec(t, s.alice, `ALTER TABLE above ATTACH PARTITION metrics DEFAULT`)
	s.incremented(t, "v", "w", "v")
	t.Log(s.last(t, "v", "reason"))
	pgtest.Exec(t, s.alice, `UPDATE above SET value = 100 WHERE ts = '2026-03-02 10:00+00'`, `ALTER TABLE above DETACH PARTITION metrics`)
	s.incremented(t, "v")
	t.Log(s.last(t, "v", "reason"))
	same(t, s.alice, "v")
}

// A query reads a table within a window, and one of its parts as a whole. What is written through the table runs no triggers of the part.
func TestAPartThatAQueryReadsBesideItsTableIsNotMissed(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{
		"partition": `CREATE TABLE whole (ts timestamptz NOT NULL, id int, v int) PARTITION BY RANGE (ts); CREATE TABLE part PARTITION OF whole FOR VALUES FROM ('2026-03-01') TO ('2026-03-03'); CREATE TABLE rest PARTITION OF whole DEFAULT`,
		"child":     `CREATE TABLE whole (ts timestamptz NOT NULL, id int, v int); CREATE TABLE part () INHERITS (whole)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`)
			pgtest.Exec(t, s.alice, strings.Split(part, "; ")...)
			pgtest.Exec(t, s.alice, `INSERT INTO part VALUES ('2026-03-01 10:00+00', 1, 1)`, `INSERT INTO whole VALUES ('2026-03-05 10:00+00', 1, 1)`)
			s.incremental(t, "v", `SELECT date_trunc('hour', w.ts) AS hour, sum(w.v) AS n, max(p.v) AS most FROM whole AS w LEFT JOIN part AS p ON p.id = w.id WHERE mvscheduler.in_window(w.ts) GROUP BY 1`)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			pgtest.Exec(t, s.alice, `UPDATE whole SET v = 100 WHERE ts = '2026-03-01 10:00+00'`, `SELECT pg_stat_force_next_flush()`) // counters are late
			s.incremented(t, "v")
			t.Log(s.last(t, "v", "reason"))
			same(t, s.alice, "v")
		})
	}
}

// What the owner of the view may see of a table is changed by the owner of the table.
func TestAPolicyThatIsChangedChangesTheView(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int)`, `INSERT INTO base VALUES ('2026-03-01 00:10+00', 1), ('2026-03-01 00:10+00', 2)`,
		a.sql(`GRANT SELECT, TRIGGER ON base TO mallory`), `ALTER TABLE base ENABLE ROW LEVEL SECURITY`, `CREATE POLICY p ON base USING (true)`)
	a.as(fmt.Sprintf(sumByHour, "mallory.v", "alice.base"))
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	require.Equal(t, int64(3), ask[int64](t, a.m, a.sql(`SELECT sum(n)::bigint FROM mallory.v`)))
	pgtest.Exec(t, alice, `ALTER POLICY p ON base USING (k = 1)`)
	refreshed(t, a.m, a.sql("mallory.v"))
	require.Equal(t, int64(1), ask[int64](t, a.m, a.sql(`SELECT sum(n)::bigint FROM mallory.v__query`)))
	require.Equal(t, int64(1), ask[int64](t, a.m, a.sql(`SELECT sum(n)::bigint FROM mallory.v`)), "rows that its owner may not see any more")
}

// Mallory has no privilege at all on alice's table, but for USAGE on its schema.
func TestSomebodyWithoutPrivilegesDoesNotHaveTheViewsOfOthersComputedAnew(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int, sold date)`, `INSERT INTO base VALUES ('2026-03-01 00:10+00', 1), ('2026-03-02 00:10+00', 2)`, fmt.Sprintf(sumByHour, "own", "base"))
	startSidecar(t, a.db)
	refreshed(t, alice, "own")
	refreshed(t, alice, "own")
	a.as(`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on, max_attempts) VALUES ('mallory.v', 'SELECT sold AS day, count(*) AS n FROM alice.base WHERE mvscheduler.in_window(sold) GROUP BY 1', 'incremental', 'day', '1 day', NULL, 'manual', 1)`)
	a.as(`SELECT mvscheduler.refresh_view('mallory.v')`)
	until(t, a.root, a.sql(`SELECT EXISTS (SELECT FROM mvscheduler.run WHERE view_name = 'mallory.v' AND state = 'failed')`))
	t.Log(ask[string](t, a.root, a.sql(`SELECT error FROM mvscheduler.run WHERE view_name = 'mallory.v' AND state = 'failed' LIMIT 1`)))
	refreshed(t, alice, "own")
	reason := ask[string](t, a.root, a.sql(`SELECT reason FROM mvscheduler.run WHERE view_name = 'alice.own' ORDER BY id DESC LIMIT 1`))
	require.Contains(t, reason, "nothing changed below")
}

// Plain ranges need no privilege on the schema as long as there are partitions.
func TestAWideRangeIsComputedWithoutCreateOnTheSchema(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "max_attempts", 1)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.db.Exec(t, `ALTER SCHEMA `+s.owner+` OWNER TO postgres`)
	s.db.Exec(t, `GRANT USAGE ON SCHEMA `+s.owner+` TO `+s.owner)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	s.incremented(t, "v")
	t.Log(s.last(t, "v", "reason"))
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET rows_estimate = 1000000000`)
	pgtest.Exec(t, s.alice, `UPDATE metrics SET value = value + 1`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// Referential actions, nested triggers, writable WITH.
func TestWhatForeignKeysAndNestedStatementsWriteIsNotMissed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE device (id int PRIMARY KEY)`, `INSERT INTO device SELECT generate_series(1, 5)`,
		`CREATE TABLE metrics (ts timestamptz NOT NULL, device int REFERENCES device ON DELETE CASCADE ON UPDATE CASCADE, value numeric)`, `CREATE TABLE parted (ts timestamptz NOT NULL, device int REFERENCES device ON DELETE CASCADE ON UPDATE CASCADE, value numeric) PARTITION BY RANGE (ts)`,
		`CREATE TABLE p1 PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('2026-03-02 00:00+00')`, `CREATE TABLE p2 PARTITION OF parted FOR VALUES FROM ('2026-03-02 00:00+00') TO (MAXVALUE)`,
		`INSERT INTO metrics SELECT '2026-03-01'::timestamptz + g * interval '3 hours', g % 5 + 1, g FROM generate_series(1, 30) AS g`, `INSERT INTO parted SELECT * FROM metrics`)
	s.incremental(t, "v", hourly)
	s.incremental(t, "p", `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total FROM parted WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
	startSidecar(t, s.db)
	s.incremented(t, "v", "p")
	for _, statement := range []string{`DELETE FROM device WHERE id = 1`, `UPDATE device SET id = 12 WHERE id = 2`, `DELETE FROM device WHERE id IN (3, 4)`,
		`WITH a AS (INSERT INTO metrics VALUES ('2026-03-01 10:00+00', 5, 1) RETURNING 1), b AS (UPDATE metrics SET value = 7 WHERE device = 5 RETURNING 1), c AS (INSERT INTO metrics VALUES ('2026-04-01 10:00+00', 5, 1) RETURNING 1) DELETE FROM metrics WHERE device = 12`,
		`WITH a AS (INSERT INTO parted VALUES ('2026-03-01 10:00+00', 5, 1) RETURNING 1), b AS (UPDATE parted SET ts = ts + '1 day' WHERE device = 5 RETURNING 1) DELETE FROM p2 WHERE device = 12`,
		`DO $$ BEGIN BEGIN INSERT INTO metrics VALUES ('2026-05-01', 5, 1); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN INSERT INTO metrics VALUES ('2026-06-01', 5, 1); END; END $$`} {
		pgtest.Exec(t, s.alice, statement)
		s.incremented(t, "v", "p")
		same(t, s.alice, "v")
		same(t, s.alice, "p")
	}
}

// Two views of one table by several columns, registered and dropped at once, while writers write.
func TestViewsOfOneTableThatComeAndGoMissNothing(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `ALTER TABLE metrics ADD sold date DEFAULT '2026-03-03'`)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	stop, done := make(chan bool), make(chan bool)
	writer := s.db.Conn(t, s.owner)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = writer.Exec(t.Context(), `INSERT INTO metrics SELECT '2026-03-01 00:00+00'::timestamptz + random() * interval '4 days', 1 + (random() * 3)::int, 1`)
				_, _ = writer.Exec(t.Context(), `UPDATE metrics SET value = value + 1, sold = sold + 1 WHERE ts BETWEEN '2026-03-02 10:00+00' AND '2026-03-02 10:10+00' AND device = 1`)
				time.Sleep(3 * time.Millisecond)
			}
		}
	}()
	for range 4 {
		s.incremental(t, "w", `SELECT sold AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(sold) GROUP BY 1`, "bucket_width", "1 day")
		s.incremental(t, "x", hourly)
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
		s.incremented(t, "w", "x", "v")
		pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.x'`)
		s.incremented(t, "v")
		pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.w'`)
		pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.view_source AS v WHERE v.view_id NOT IN (SELECT view_id FROM mvscheduler.view_state)`)
		s.incremented(t, "v")
	}
	close(stop)
	<-done
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// What was written while triggers were disabled no view has taken, and it leaves.
func TestAPartitionWhoseRowsAViewHasNotTakenStaysAlsoWhenTriggersWereDisabled(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `ALTER TABLE raw DISABLE TRIGGER USER`)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES ('2020-05-05', 1)`)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period) VALUES ('raw', '1 year', '0')`)
	time.Sleep(6 * time.Second) // a look every second
	require.NotZero(t, ask[int64](t, s.alice, `SELECT (SELECT count(*) FROM raw) + (SELECT coalesce(sum(n), 0)::bigint FROM v)`), "neither the table nor the view has the row")
}

// The same by a writer with an old snapshot.
func TestAPartitionWhoseRowsAViewHasNotTakenStaysAlsoWhenTheirWriterHadAnOldSnapshot(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`)
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT 1 FROM pg_class`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period, legal_hold) VALUES ('raw', '1 year', '0', true)`)
	pgtest.Exec(t, writer, `INSERT INTO old VALUES ('2020-05-05', 1)`, `COMMIT`) // whose trigger does not know yet who reads it
	const untaken = `SELECT jsonb_array_length(facts #> '{Readers,0,Dirt}') FROM mvscheduler.prune_facts WHERE id < 0`
	require.Equal(t, 1, ask[int](t, s.alice, untaken), "it keeps the partition")
	s.incremented(t, "v")
	require.Zero(t, ask[int](t, s.alice, untaken))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = false`)
	time.Sleep(6 * time.Second) // a look every second
	require.NotZero(t, ask[int64](t, s.alice, `SELECT (SELECT count(*) FROM raw) + (SELECT coalesce(sum(n), 0)::bigint FROM v)`), "neither the table nor the view has the row")
}
