package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const sumByHour = `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on)
	VALUES ('%s', 'SELECT date_trunc(''hour'', ts) AS hour, sum(k) AS n FROM %s WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', NULL, 'manual')`

// While a child or a partition is away no trigger tells of it; and a plain view below can be replaced.
func TestWhatLeavesChangesAndComesBackIsComputedAnew(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int)`, `CREATE TABLE child () INHERITS (base)`, `INSERT INTO child VALUES ('2026-03-01 00:10+00', 1)`,
		`CREATE TABLE pt (ts timestamptz, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE p1 PARTITION OF pt FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`, `INSERT INTO pt VALUES ('2026-03-01 00:10+00', 1)`,
		`CREATE TABLE b2 (ts timestamptz, k int)`, `INSERT INTO b2 VALUES ('2026-03-01 00:10+00', 1)`, `CREATE VIEW between_ AS SELECT ts, k FROM b2 WHERE mvscheduler.in_window(b2.ts)`,
		a.sql(`GRANT ALL ON pt, p1 TO mallory`), fmt.Sprintf(sumByHour, "inherits", "base"), fmt.Sprintf(sumByHour, "parted", "pt"),
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on)
		 VALUES ('through', 'SELECT date_trunc(''hour'', ts) AS hour, sum(k) AS n FROM between_ GROUP BY 1', 'incremental', 'hour', '1 hour', NULL, 'manual')`)
	a.as(fmt.Sprintf(sumByHour, "mallory.theirs", "alice.pt"))
	startSidecar(t, a.db)
	views := []string{a.sql("alice.inherits"), a.sql("alice.parted"), a.sql("alice.through"), a.sql("mallory.theirs")}
	shows := func(want string) {
		t.Helper()
		refreshed(t, alice, views[:3]...)
		refreshed(t, a.m, views[3])
		for _, view := range views {
			require.Equal(t, want, ask[string](t, a.root, `SELECT coalesce(string_agg(n::text, ' '), '') FROM `+view), view)
		}
	}
	shows("1")
	pgtest.Exec(t, alice, `ALTER TABLE child NO INHERIT base`, `UPDATE child SET k = 2`, `ALTER TABLE child INHERIT base`,
		`ALTER TABLE pt DETACH PARTITION p1`, `UPDATE p1 SET k = 2`, `ALTER TABLE pt ATTACH PARTITION p1 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`,
		`CREATE OR REPLACE VIEW between_ AS SELECT ts, k + 1 AS k FROM b2 WHERE mvscheduler.in_window(b2.ts)`)
	shows("2")
	require.Contains(t, ask[string](t, a.root, `SELECT reason FROM mvscheduler.run WHERE view_name LIKE '%.through' ORDER BY id DESC LIMIT 1`), "between_ was replaced")
	shows("2")
}

// Whoever writes times that calendars cannot be computed with may do so where a view watches, and take them away again.
func TestAbsurdTimesAreNoErrorOfTheWriter(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int)`, fmt.Sprintf(sumByHour, "own", "base"))
	startSidecar(t, db)
	refreshed(t, alice, "own")
	pgtest.Exec(t, alice, `INSERT INTO base VALUES ('4713-01-01 00:00+00 BC', 1), ('294276-12-31 00:00+00', 1)`, `UPDATE base SET k = 2`, `INSERT INTO base VALUES ('infinity', 1), ('-infinity', 1)`,
		`INSERT INTO base VALUES ('294276-12-31 23:59:59.999999+00', 1)`, `INSERT INTO base VALUES ('infinity', 1)`, `INSERT INTO base VALUES ('-infinity', 1)`, `INSERT INTO base VALUES ('4714-11-24 00:00+00 BC', 1)`, // each within an hour
		`UPDATE base SET k = 3`, `DELETE FROM base`, `INSERT INTO base VALUES ('2026-01-01 00:00+00', 1), ('2026-05-01 00:00+00', 4)`)
	refreshed(t, alice, "own")
	require.Equal(t, "1 4", ask[string](t, alice, `SELECT string_agg(n::text, ' ' ORDER BY hour) FROM own`))
}

// A trigger that is renamed while its statement runs has the name of another one, which has transition tables.
func TestATriggerOfAnotherNameReadsNothingOfTheWriters(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`CREATE TABLE mallory.base (ts timestamptz, k int)`, fmt.Sprintf(sumByHour, "mallory.own", "mallory.base"))
	startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.own"))
	a.as(`CREATE FUNCTION mallory.payload() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('renamed'); RETURN now(); END $$`, `GRANT USAGE ON SCHEMA mallory TO PUBLIC`,
		`CREATE TEMP VIEW new_rows AS SELECT mallory.payload() AS ts`, `GRANT SELECT ON new_rows TO PUBLIC`, `SELECT * FROM new_rows`,
		`CREATE FUNCTION mallory.swap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			ALTER TRIGGER b ON mallory.base RENAME TO x; ALTER TRIGGER c ON mallory.base RENAME TO b; RETURN NULL; END $$`,
		`CREATE TRIGGER a BEFORE INSERT ON mallory.base FOR EACH STATEMENT EXECUTE FUNCTION mallory.swap()`,
		`CREATE TRIGGER b AFTER INSERT ON mallory.base FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.changed()`,
		`CREATE TRIGGER c AFTER INSERT ON mallory.base REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.changed()`,
		`INSERT INTO mallory.base VALUES (now(), 1)`)
	a.nothingStolen(a.mallory, "renamed")
	refreshed(t, a.m, a.sql("mallory.own"))
	require.Equal(t, int64(1), ask[int64](t, a.m, a.sql(`SELECT sum(n)::int8 FROM mallory.own`)), "what cannot be told is everything")
}

// Partitions go to the new owner by name, and schemas can be exchanged while that waits for a lock.
func TestAHandoverOfPartitionsTakesNoTableOfSomebodyElse(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	pgtest.Exec(t, a.root, a.sql(`CREATE ROLE mallory_team`), a.sql(`GRANT mallory_team TO mallory, mvscheduler_worker`), a.sql(`CREATE SCHEMA m1 AUTHORIZATION mallory`), a.sql(`CREATE SCHEMA m2 AUTHORIZATION mallory`),
		a.sql(`GRANT ALL ON SCHEMA m1, m2 TO alice, mallory_team`), `GRANT CREATE ON DATABASE `+a.db.Name+` TO PUBLIC`)
	t.Cleanup(func() {
		a.db.Exec(t, a.sql(`DROP OWNED BY mallory_team CASCADE`))
		a.db.Exec(t, a.sql(`DROP ROLE mallory_team`))
	})
	pgtest.Exec(t, a.db.Conn(t, a.alice), `CREATE TABLE m2.foo AS SELECT 'secret of alice'::text AS s`)
	a.as(`CREATE TABLE m1.base (ts timestamptz, k int)`, `INSERT INTO m1.base VALUES ('2026-03-01 00:00+00', 1)`, fmt.Sprintf(sumByHour, "m1.v", "m1.base"))
	startSidecar(t, a.db)
	refreshed(t, a.m, "m1.v")
	part := ask[string](t, a.m, `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'm1.v__data'::regclass LIMIT 1`)
	a.as(`ALTER TABLE `+part+` RENAME TO foo`, `BEGIN`, `LOCK TABLE m1.foo IN ACCESS SHARE MODE`)
	err := a.whileAdminWaits(`UPDATE mvscheduler.views SET owner = 'mallory_team' WHERE name = 'm1.v'`, `ALTER SCHEMA m1 RENAME TO m3`, `ALTER SCHEMA m2 RENAME TO m1`, `COMMIT`)
	require.ErrorContains(t, err, "was renamed or replaced meanwhile")
	require.Equal(t, a.alice, ask[string](t, a.root, `SELECT relowner::regrole::text FROM pg_class WHERE oid = 'm1.foo'::regclass`))
}

// A table that one column watches has a trigger function that names it; what the table becomes later has to fit.
func TestTheChangeLogFollowsWhatBecomesOfAWatchedTable(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	odd := `"a $$ of 'odd' %I"`
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, sold date, k int)`, `CREATE TABLE strange (`+odd+` timestamp, k int)`, `CREATE TABLE days (d date, k int)`,
		`CREATE TABLE parts (ts timestamptz, sold date, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE later (ts timestamptz, sold date, k int)`)
	register := func(name, from, column string, tracking ...string) {
		pgtest.Exec(t, alice, fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on, change_tracking)
			VALUES ('%s', $q$SELECT date_trunc('day', %s::timestamp) AS day, sum(k) AS n FROM %s WHERE mvscheduler.in_window(%[2]s) GROUP BY 1$q$, 'incremental', 'day', '1 day', NULL, 'manual', '%[4]s')`, name, column, from, append(tracking, "trigger")[0]))
	}
	equal := func(names ...string) {
		t.Helper()
		for _, name := range names {
			refreshed(t, alice, name)
			// A commit is seen before the partition that it attached.
			until(t, alice, fmt.Sprintf(`SELECT NOT EXISTS (SELECT FROM ((TABLE %[1]s EXCEPT ALL TABLE %[1]s__query) UNION ALL (TABLE %[1]s__query EXCEPT ALL TABLE %[1]s)) AS d)`, name))
		}
	}
	functions := func(table string) string {
		return ask[string](t, alice, `SELECT string_agg(DISTINCT f.proname, ' ' ORDER BY f.proname) FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid WHERE t.tgrelid = $1::text::regclass AND f.proname <> 'changed_row'`, table)
	}
	startSidecar(t, db)
	register("by_ts", "base", "ts")
	register("by_odd", "strange", odd)
	register("by_day", "days", "d")
	register("by_part", "parts", "ts")
	register("by_later", "later", "ts", "auto")
	everything := []string{"by_ts", "by_odd", "by_day", "by_part", "by_later"}
	equal(everything...)
	require.Equal(t, "changed_1_ts", functions("base"))
	require.Equal(t, "changed_1_ts", functions("parts"))
	require.Equal(t, "changed_1_d", functions("days"))
	require.Contains(t, functions("strange"), "changed_1_")
	for _, table := range []string{"base", "later"} {
		pgtest.Exec(t, alice, `INSERT INTO `+table+` VALUES ('2026-03-01 10:00+00', '2026-01-01', 1), ('2026-03-05 10:00+00', '2026-01-07', 2)`, `INSERT INTO `+table+` VALUES ('2026-03-01 10:10+00', '2026-01-01', 4)`,
			`UPDATE `+table+` SET k = 7 WHERE k = 1`, `UPDATE `+table+` SET ts = '2026-03-09 00:00+00' WHERE k = 2`, `DELETE FROM `+table+` WHERE k = 4`, `UPDATE `+table+` SET k = 0 WHERE false`, `INSERT INTO `+table+` VALUES ('infinity', NULL, 1), (NULL, NULL, 1)`)
	}
	pgtest.Exec(t, alice, `DELETE FROM base WHERE NOT isfinite(ts) OR ts IS NULL`, `DELETE FROM later WHERE NOT isfinite(ts) OR ts IS NULL`,
		`INSERT INTO strange VALUES ('2026-03-01 23:59', 1)`, `UPDATE strange SET k = 2`, `INSERT INTO days VALUES ('2026-03-01', 1)`, `UPDATE days SET d = '2026-03-02'`)
	equal(everything...)

	pgtest.Exec(t, alice, `ALTER TABLE parts ATTACH PARTITION later FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-04-01 00:00+00')`, `INSERT INTO later VALUES ('2026-03-07 10:10+00', '2026-01-01', 4)`)
	register("by_sold", "base", "sold")
	everything = []string{"by_ts", "by_odd", "by_day", "by_part", "by_sold"} // counters are reported when the session likes to
	equal(everything...)
	refreshed(t, alice, "by_later")
	require.Equal(t, "changed", functions("base"), "watched by two columns")
	require.Equal(t, "changed", functions("later"), "a partition now")
	pgtest.Exec(t, alice, `INSERT INTO base VALUES ('2026-03-01 10:10+00', '2026-01-03', 4)`, `UPDATE base SET sold = '2026-01-11'`, `INSERT INTO later VALUES ('2026-03-08 10:10+00', '2026-01-01', 4)`, `INSERT INTO parts VALUES ('2026-03-09 10:10+00', '2026-01-01', 4)`)
	equal(everything...)

	tracking := func(name string) string {
		return ask[string](t, db.Conn(t, ""), `SELECT i.tracking || ' ' || coalesce(i.reason, '') FROM mvscheduler.increment_state AS i JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.' || $1`, name)
	}
	require.Contains(t, tracking("by_later"), "counters changes are found by the server's counters, since triggers do not see what is written through the table of which ")
	require.Contains(t, tracking("by_part"), "trigger")

	// In one session, whose plans are of the column as it was.
	pgtest.Exec(t, alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.by_day'`, `ALTER TABLE days RENAME d TO e`, `INSERT INTO days VALUES ('2026-03-01', 1)`, `ALTER TABLE days RENAME e TO d`, `ALTER TABLE days ALTER d TYPE timestamptz`,
		`INSERT INTO days VALUES ('2026-03-01', 1)`, `ALTER TABLE days ADD e int, DROP d`, `INSERT INTO days VALUES (1, 1)`)
}

// INSERT ... ON CONFLICT on the tables that a view reads, also where one statement inserts and updates.
func TestWhatOnConflictWritesIsNotMissed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int, value numeric, PRIMARY KEY (ts, device))`,
		`CREATE TABLE keyed (k int PRIMARY KEY, ts timestamptz NOT NULL, device int, value numeric)`,
		`CREATE TABLE parted (ts timestamptz NOT NULL, device int, value numeric, PRIMARY KEY (ts, device)) PARTITION BY RANGE (ts)`,
		`CREATE TABLE p1 PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('2026-03-02 00:00+00')`, `CREATE TABLE p2 PARTITION OF parted FOR VALUES FROM ('2026-03-02 00:00+00') TO (MAXVALUE)`)
	for _, table := range []string{"metrics", "keyed", "parted"} {
		s.incremental(t, "v_"+table, strings.Replace(hourly, "metrics", table, 1))
	}
	startSidecar(t, s.db)
	check := func(statements ...string) {
		t.Helper()
		pgtest.Exec(t, s.alice, statements...)
		for _, table := range []string{"metrics", "keyed", "parted"} {
			s.incremented(t, "v_"+table)
			same(t, s.alice, "v_"+table)
			t.Log(s.last(t, "v_"+table, "concat_ws(' | ', buckets, changed, reason)"))
		}
	}
	const some = `SELECT '2026-03-01 20:00+00'::timestamptz + g * interval '20 minutes', g %% 3, 1 FROM generate_series(%d, %d) AS g`
	check()
	for _, table := range []string{"metrics", "parted"} {
		check(fmt.Sprintf(`INSERT INTO %s `+some+` ON CONFLICT DO NOTHING`, table, 1, 20))
		check(fmt.Sprintf(`INSERT INTO %s `+some+` ON CONFLICT (ts, device) DO UPDATE SET value = EXCLUDED.value + 10`, table, 10, 30))
		check(fmt.Sprintf(`INSERT INTO %s `+some+` ON CONFLICT (ts, device) DO UPDATE SET value = 3 WHERE EXCLUDED.device = 1`, table, 1, 3))
	}
	check(`INSERT INTO keyed VALUES (1, '2026-03-01 10:10+00', 1, 1), (2, '2026-03-09 10:10+00', 1, 1)`)
	check(`INSERT INTO keyed VALUES (1, '2026-04-01 10:10+00', 1, 1), (3, '2026-05-09 10:10+00', 1, 1) ON CONFLICT (k) DO UPDATE SET ts = EXCLUDED.ts`) // to another bucket
}

// A writer that commits before, during or after the snapshot of an increment, by each way to find changes.
func TestAWriterThatCommitsBeforeDuringOrAfterTheSnapshotOfAnIncrementIsNotMissed(t *testing.T) {
	t.Parallel()
	for _, tracking := range []string{"trigger", "counters", "none"} {
		t.Run(tracking, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`)
			s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) + slow(CASE WHEN device = 99 THEN 2 ELSE 0 END) AS total FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`,
				"change_tracking", tracking, "lateness", "10 days")
			startSidecar(t, s.db)
			s.incremented(t, "v")
			writers := map[string]*pgx.Conn{}
			for n, when := range []string{"before", "during", "after"} {
				writers[when] = s.db.Conn(t, s.owner)
				pgtest.Exec(t, writers[when], `BEGIN`, fmt.Sprintf(`INSERT INTO metrics VALUES (date_trunc('hour', now()) - interval '%d hours', 1, 1)`, 30*(n+1)), fmt.Sprintf(`INSERT INTO metrics VALUES (date_trunc('hour', now()) - interval '4 hours', %d, 1)`, n))
			}
			commit := func(when string) {
				pgtest.Exec(t, writers[when], `COMMIT`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
			}
			pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES (now() - interval '2 hours', 99, 1)`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
			commit("before")
			run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
			until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'mvscheduler run' AND wait_event = 'PgSleep' AND datname = current_database())`)
			commit("during")
			until(t, s.root, `SELECT state = 'succeeded' FROM mvscheduler.run WHERE id = $1`, run)
			require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE device <> 99`), "of one snapshot")
			commit("after")
			s.incremented(t, "v")
			t.Log(s.last(t, "v", "reason"))
			same(t, s.alice, "v")
		})
	}
}
