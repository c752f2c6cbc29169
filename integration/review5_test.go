package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A subscription between two databases of one server: the initial copy, and what is applied afterwards.
func TestRowsThatARealSubscriptionAppliesAreNotMissed(t *testing.T) {
	t.Parallel()
	db := pgtest.Dedicated(t, map[string]string{"wal_level": "logical"})
	s := sceneOn(t, db)
	const upstream = "upstream"
	pgtest.Exec(t, s.root, `CREATE DATABASE `+upstream)
	publisher, err := pgx.Connect(t.Context(), strings.Replace(db.URL(), "/"+db.Name, "/"+upstream, 1))
	require.NoError(t, err)
	defer publisher.Close(context.WithoutCancel(t.Context()))
	tables := []string{`CREATE SCHEMA IF NOT EXISTS ` + s.owner,
		`CREATE TABLE ` + s.owner + `.metrics (id int PRIMARY KEY, ts timestamptz NOT NULL, device int, value numeric)`,
		`CREATE TABLE ` + s.owner + `.parted (id int, ts timestamptz NOT NULL, device int, value numeric, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts)`,
		`CREATE TABLE ` + s.owner + `.p1 PARTITION OF ` + s.owner + `.parted FOR VALUES FROM (MINVALUE) TO ('2026-03-02 00:00+00')`,
		`CREATE TABLE ` + s.owner + `.p2 PARTITION OF ` + s.owner + `.parted FOR VALUES FROM ('2026-03-02 00:00+00') TO (MAXVALUE)`}
	pgtest.Exec(t, publisher, tables...)
	pgtest.Exec(t, publisher, `SET search_path = `+s.owner, `SET TimeZone = 'UTC'`,
		`INSERT INTO metrics SELECT g, '2026-03-01 00:00+00'::timestamptz + g * interval '1 hour', g % 3, g FROM generate_series(1, 48) AS g`, `INSERT INTO parted TABLE metrics`,
		`CREATE PUBLICATION p FOR TABLE metrics, parted WITH (publish_via_partition_root = true)`, `SELECT pg_create_logical_replication_slot('s', 'pgoutput')`)
	pgtest.Exec(t, s.alice, append([]string{`SET TimeZone = 'UTC'`}, tables[1:]...)...)
	s.incremental(t, "v", hourly)
	s.incremental(t, "w", strings.Replace(hourly, "metrics", "parted", 1))
	startSidecar(t, db)
	s.incremented(t, "v", "w")
	config := publisher.Config()
	pgtest.Exec(t, s.root, fmt.Sprintf(`CREATE SUBSCRIPTION s CONNECTION 'host=%s port=%d user=%s dbname=%s' PUBLICATION p WITH (create_slot = false, slot_name = 's')`, config.Host, config.Port, config.User, upstream))
	defer pgtest.Exec(t, s.root, `ALTER SUBSCRIPTION s DISABLE`, `ALTER SUBSCRIPTION s SET (slot_name = NONE)`, `DROP SUBSCRIPTION s`)
	applied := func() {
		t.Helper()
		lsn := ask[string](t, publisher, `SELECT pg_current_wal_lsn()::text`)
		until(t, publisher, `SELECT coalesce(bool_and(confirmed_flush_lsn >= $1::text::pg_lsn), false) FROM pg_replication_slots WHERE slot_name = 's'`, lsn)
		for _, table := range []string{"metrics", "parted"} {
			count := `SELECT coalesce(string_agg(x::text, ' ' ORDER BY id), '') FROM (SELECT * FROM ` + s.owner + `.` + table + `) AS x`
			pgtest.Exec(t, s.root, `SET TimeZone = 'UTC'`)
			want := ask[string](t, publisher, count)
			require.Eventually(t, func() bool { return ask[string](t, s.root, count) == want }, patience, 100*time.Millisecond)
		}
	}
	check := func(what string) {
		t.Helper()
		applied()
		s.incremented(t, "v", "w")
		for _, v := range []string{"v", "w"} {
			t.Log(what, v, s.last(t, v, "concat_ws(' | ', buckets, changed, reason)"))
			same(t, s.alice, v)
		}
	}
	until(t, s.root, `SELECT bool_and(srsubstate = 'r') AND count(*) > 1 FROM pg_subscription_rel`)
	check("copy")
	for _, statement := range []string{`INSERT INTO %s VALUES (100, '2026-03-05 10:10+00', 1, 7)`, `UPDATE %s SET value = value + 1 WHERE id = 5`, `UPDATE %s SET ts = ts + '1 day' WHERE id = 7`,
		`DELETE FROM %s WHERE id IN (9, 40)`, `TRUNCATE %s`, `INSERT INTO %s VALUES (1, '2026-03-01 10:10+00', 1, 7)`} {
		for _, table := range []string{"metrics", "parted"} {
			pgtest.Exec(t, publisher, fmt.Sprintf(statement, table))
		}
		check(statement)
	}
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

// Every change of clocks of ten years, in each of the odd zones and by each way to make buckets: what changed at a point
// beside it is computed to exactly what the query gives.
func TestBucketsAreRightAtEveryChangeOfClocksInTenYears(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn, `SET jit = off`, `CREATE TABLE src_timestamptz AS SELECT generate_series('2013-11-01 00:00+00'::timestamptz, '2026-03-01', '30 minutes') AS at`, `CREATE INDEX ON src_timestamptz (at)`,
		`CREATE TABLE src_timestamp AS SELECT at AT TIME ZONE 'UTC' AS at FROM src_timestamptz`, `CREATE INDEX ON src_timestamp (at)`,
		`CREATE TABLE src_date AS SELECT DISTINCT (at AT TIME ZONE 'UTC')::date AS at FROM src_timestamptz`, `CREATE INDEX ON src_date (at)`, `ANALYZE`,
		`CREATE FUNCTION wrong(label text, source text, width interval, unit text, zone text) RETURNS TABLE (points bigint, difference text) LANGUAGE plpgsql AS $f$
DECLARE
    p timestamptz; w record; lo text; hi text; n bigint := 0; got text; want text; missed bigint;
BEGIN
    FOR p IN SELECT c.at + d.shift FROM (SELECT g AS at FROM generate_series('2015-01-01 00:00+00'::timestamptz, '2025-01-01', '30 minutes') AS g
               WHERE (g AT TIME ZONE zone) - ((g - interval '30 minutes') AT TIME ZONE zone) <> interval '30 minutes') AS c,
             unnest(ARRAY['-1 day', '-30 minutes', '0', '30 minutes', '2 hours']::interval[]) AS d(shift)
    LOOP
        n := n + 1;
        SELECT o.window_start, o.window_end, o.label_start, o.label_end INTO w FROM mvscheduler.window_of(p, p, width, zone, unit) AS o;
        EXECUTE format('SELECT mvscheduler.label_text($1, pg_typeof(%1$s)::oid, pg_typeof(at)::oid, $3), mvscheduler.label_text($2, pg_typeof(%1$s)::oid, pg_typeof(at)::oid, $3) FROM %2$s LIMIT 1', label, source) INTO lo, hi USING w.label_start, w.label_end, zone;
        PERFORM set_config('mvscheduler.window_start', w.window_start::text, false), set_config('mvscheduler.window_end', w.window_end::text, false);
        EXECUTE format('SELECT string_agg(q::text, '' '' ORDER BY label) FROM (SELECT %1$s AS label, count(*) AS n, min(at) AS least, max(at) AS most FROM %2$s WHERE mvscheduler.in_window(at) GROUP BY 1) AS q WHERE label >= %3$L AND label < %4$L', label, source, lo, hi) INTO got;
        PERFORM set_config('mvscheduler.window_start', (w.window_start - 1.2 * width - interval '3 days')::text, false), set_config('mvscheduler.window_end', (w.window_end + 1.2 * width + interval '3 days')::text, false);
        EXECUTE format('SELECT string_agg(q::text, '' '' ORDER BY label) FROM (SELECT %1$s AS label, count(*) AS n, min(at) AS least, max(at) AS most FROM %2$s WHERE mvscheduler.in_window(at) GROUP BY 1) AS q WHERE label >= %3$L AND label < %4$L', label, source, lo, hi) INTO want;
        EXECUTE format('SELECT count(*) FROM %2$s WHERE at = $1 %5$s AND NOT (%1$s >= %3$L AND %1$s < %4$L)', label, source, lo, hi, CASE WHEN source = 'src_timestamptz' THEN '' ELSE 'AT TIME ZONE ''UTC''' END) INTO missed USING p;
        IF got IS DISTINCT FROM want OR missed > 0 THEN
            points := n; difference := format('%s: labels %s to %s, %s missed, got %s, want %s', p, lo, hi, missed, left(got, 200), left(want, 200)); RETURN NEXT; RETURN;
        END IF;
    END LOOP;
    points := n; RETURN NEXT;
END $f$`)
	total := int64(0)
	for _, zone := range oddZones {
		pgtest.Exec(t, conn, `SET TimeZone = '`+zone+`'`)
		for _, c := range cuttings {
			if strings.HasSuffix(c.width, "year") && !long { // half a second each
				continue
			}
			for _, unit := range []string{"", c.unit} {
				if unit == "" && c.unit != "" && !long {
					continue
				}
				var n int64
				var difference *string
				require.NoError(t, conn.QueryRow(t.Context(), `SELECT * FROM wrong($1, $2, $3::text::interval, nullif($4, ''), $5)`, c.label, "src_"+c.source, c.width, unit, zone).Scan(&n, &difference))
				if difference != nil {
					t.Errorf("%s of %s in %s: %s", c.label, c.source, zone, *difference)
				}
				total += n
			}
		}
	}
	t.Log(total, "points")
	require.Greater(t, total, int64(1000))
}

// Range types, statistics and GiST indexes below and on an incremental view: their functions run as the owner.
func TestCodeOfTypesAndStatisticsOfAnIncrementalViewRunsAsItsOwner(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	quiet := func(name, arguments, returns, value string) string {
		return `CREATE FUNCTION mallory.` + name + `(` + arguments + `) RETURNS ` + returns + ` LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE LOG 'RAN|` + name + `|%|%', session_user, current_user; RETURN ` + value + `; END $$`
	}
	a.as(quiet("subtype_diff", "float8, float8", "float8", "$1 - $2"), `CREATE TYPE mallory.span AS RANGE (subtype = float8, subtype_diff = mallory.subtype_diff)`,
		quiet("in_statistics", "int", "int", "$1"), quiet("in_base_statistics", "int", "int", "$1"), quiet("in_key", "timestamptz", "int", "1"),
		quiet("compare", "int, int", "int", "btint4cmp($1, $2)"), quiet("in_domain", "int", "boolean", "true"), `CREATE DOMAIN mallory.dom AS int CHECK (mallory.in_domain(VALUE))`,
		`CREATE TABLE mallory.base (ts timestamptz, k int, r mallory.span) PARTITION BY RANGE (mallory.in_key(ts))`, `CREATE TABLE mallory.base1 PARTITION OF mallory.base FOR VALUES FROM (0) TO (10)`,
		`CREATE STATISTICS mallory.bs ON (mallory.in_base_statistics(k)), ts FROM mallory.base1`, `CREATE INDEX ON mallory.base1 USING gist (r)`,
		`INSERT INTO mallory.base SELECT '2026-03-01 00:00+00'::timestamptz + g * interval '1 hour', g % 3, mallory.span(g, g + 1) FROM generate_series(1, 1500) AS g`, `ANALYZE mallory.base1`,
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on, max_attempts, unique_key)
		 VALUES ('mallory.v', 'SELECT date_trunc(''hour'', ts) AS hour, k, r, k::mallory.dom AS d, count(*) AS n FROM mallory.base WHERE mvscheduler.in_window(ts) AND mallory.in_base_statistics(k) < 10 GROUP BY 1, 2, 3', 'incremental', 'hour', '1 hour', NULL, 'manual', 2, '{hour,k,r}')`,
		`CREATE STATISTICS mallory.s ON (mallory.in_statistics(k)), n FROM mallory.v__data`, `CREATE INDEX ON mallory.v__data USING gist (r)`)
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	a.as(`INSERT INTO mallory.base SELECT '2026-03-05 10:00+00', g, mallory.span(g, g + 1) FROM generate_series(10, 900) AS g`, `UPDATE mallory.base SET k = 5 WHERE ts = '2026-03-06 10:00+00'`)
	refreshed(t, a.m, a.sql("mallory.v"))
	until(t, a.root, `SELECT reltuples > 1000 FROM pg_class WHERE oid = $1::text::regclass`, a.mallory+".v__data")
	a.nothingStolen(sidecar.role, "subtype_diff", "in_statistics", "in_base_statistics", "in_domain")
}

// The disk of the contents is full in the middle of a fill, and in the middle of an increment.
func TestAnIncrementalViewWhoseDiskIsFullKeepsWhatItHasAndGoesOn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	db := pgtest.Dedicated(t, nil)
	s := sceneOn(t, db)
	dir, err := os.MkdirTemp("", "review5")
	require.NoError(t, err)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run(); _ = os.Remove(dir) })
	data := ask[string](t, s.root, `SHOW data_directory`)
	require.NoError(t, exec.Command("chown", "--reference="+data, dir).Run())
	require.NoError(t, os.Chmod(dir, 0o700))
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 10<<20), 0o600))
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, d, d FROM generate_series('2025-09-01 00:00+00'::timestamptz, '2026-03-04 23:50+00', '1 hour') AS t, generate_series(1, 10) AS d`)
	pgtest.Exec(t, s.root, `CREATE TABLESPACE small LOCATION '`+dir+`'`, `GRANT CREATE ON TABLESPACE small TO PUBLIC`, `ALTER DATABASE `+db.Name+` SET default_tablespace = small`)
	s.incremental(t, "v", hourly, "max_attempts", 100)
	startSidecar(t, db)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	full := `SELECT EXISTS (SELECT FROM mvscheduler.attempt WHERE sqlstate = '53100')`
	until(t, s.root, full)
	t.Log(ask[string](t, s.alice, `SELECT concat_ws(' | ', freshness, activity, reason) FROM mvscheduler.status`))
	some := ask[int64](t, s.alice, `SELECT count(*) FROM v`)
	require.NoError(t, os.Remove(ballast))
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'succeeded')`)
	t.Log("rows while the disk was full", some)
	same(t, s.alice, "v")
	free := make([]byte, 64<<10)
	f, err := os.Create(ballast)
	require.NoError(t, err)
	for _, err = f.Write(free); err == nil; _, err = f.Write(free) {
	}
	_ = f.Close()
	before := ask[int64](t, s.alice, `SELECT count(*) FROM v`)
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.attempt WHERE outcome <> 'running'`)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT '2026-03-05 10:00+00', g, 1 FROM generate_series(1, 20000) AS g`, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, full)
	require.Equal(t, before, ask[int64](t, s.alice, `SELECT count(*) FROM v`))
	require.NoError(t, os.Remove(ballast))
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	s.whole(t, "v")
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`, `DROP TABLE metrics`)
	pgtest.Exec(t, s.root, `ALTER DATABASE `+db.Name+` RESET default_tablespace`, `DROP TABLESPACE small`)
}

// A retention of a week: hours that are much older leave.
func TestHoursOfAWeekAreKeptForAboutAWeek(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value numeric)`, `CREATE INDEX ON metrics (ts)`,
		`INSERT INTO metrics SELECT t, d, d FROM generate_series(now() - interval '90 days', now(), '6 hours') AS t, generate_series(1, 3) AS d`)
	s.incremental(t, "v", hourly, "retention_period", "7 days")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	time.Sleep(3 * time.Second) // a look every second
	t.Log(ask[string](t, s.alice, `SELECT (now() - min(hour))::text FROM v`))
	require.True(t, ask[bool](t, s.alice, `SELECT min(hour) > now() - interval '9 days' FROM v`), "partitions hold a tenth of what is kept, or a day")
}

// One row of a partitioned table moves to another partition.
func TestARowThatMovesToAnotherPartitionMakesTwoBucketsDirty(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "v", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `UPDATE readings SET ts = ts + '1 day' WHERE device = 1 AND ts = date_trunc('day', now(), 'UTC') - interval '5 days'`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	t.Log(s.last(t, "v", "concat_ws(' | ', buckets, changed, reason)"))
	require.Equal(t, "2", s.last(t, "v", "buckets"))
}

// Times that make no sense, thousands of them.
func TestManyAbsurdTimesDoNotBreakARunAndAreNamed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "max_attempts", 1)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT '3000-01-01 00:00+00'::timestamptz + g * interval '40 days', 1, 1 FROM generate_series(1, 2500) AS g`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	untilWithin(t, 3*patience, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE id = $1 AND state NOT IN ('queued', 'running'))`, run)
	t.Log(s.last(t, "v", "concat_ws(' | ', state, took, error, reason)"))
	require.Equal(t, "succeeded", s.last(t, "v", "state"))
	same(t, s.alice, "v")
}

// A table of a thousand partitions: what an increment of one bucket locks and takes.
func TestAnIncrementBelowAThousandPartitionsLocksFew(t *testing.T) {
	s := newScene(t)
	s.manyParts(t, 1000)
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
	locks := ask[int64](t, s.root, `SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE a.application_name = 'mvscheduler run' AND a.wait_event = 'PgSleep' AND l.locktype = 'relation'`)
	t.Log(locks, "relations are locked")
	require.Less(t, locks, int64(200))
}

// Two points that the test above found, through the sidecar. Where clocks skip midnight the label of a time that does not
// exist is an hour after it; and a month of 31 days is longer than the 30 days that are equal to a month.
func TestBucketsThatBeginWhereClocksSkipAnHourOrLastLongerThanTheirWidthAreComputed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE local (ts timestamp NOT NULL, k int)`, `CREATE TABLE metrics (ts timestamptz NOT NULL, k int)`)
	s.incremental(t, "days", `SELECT date_trunc('day', ts AT TIME ZONE 'Africa/Cairo') AS hour, count(*) AS n FROM local WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "1 day", "timezone", "Africa/Cairo")
	s.incremental(t, "months", `SELECT date_trunc('month', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "30 days", "timezone", "Europe/Berlin")
	startSidecar(t, s.db)
	s.incremented(t, "days", "months")
	pgtest.Exec(t, s.alice, `INSERT INTO local VALUES ('2023-04-28 00:00', 1)`, `INSERT INTO metrics VALUES ('2019-03-31 01:30+01', 1)`)
	s.incremented(t, "days", "months")
	for view, zone := range map[string]string{"days": "Africa/Cairo", "months": "Europe/Berlin"} {
		pgtest.Exec(t, s.alice, `SET TimeZone = '`+zone+`'`)
		differ := ask[string](t, s.alice, fmt.Sprintf(`SELECT concat_ws(' / ', (SELECT string_agg(q::text, ' ') FROM %[1]s__query AS q), (SELECT coalesce(string_agg(q::text, ' '), 'nothing') FROM %[1]s AS q))`, view))
		left, right, _ := strings.Cut(differ, " / ")
		if left != right {
			t.Errorf("%s: the query gives %s, the view has %s; %s", view, left, right, s.last(t, view, "reason"))
		}
	}
}

// Kills that hit: DDL of the sidecar takes a while, so a kill comes while a partition is being put aside or dropped.
// TestAPruneThatIsKilledAtAnyPointIsFinishedByTheNext takes the run that its first kill left for a new one, and kills
// nineteen sidecars more that do nothing yet.
func TestAPruneThatIsKilledWithinItsStepsIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	points := 4
	if long {
		points = 20
	}
	s := mirrored(t)
	worker := startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.root, `CREATE FUNCTION linger() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF session_user LIKE 'worker%' THEN PERFORM pg_sleep(0.15); END IF; END $$`,
		`CREATE EVENT TRIGGER linger ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'DROP TABLE') EXECUTE FUNCTION linger()`)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period) VALUES ('readings', '480 hours', '0')`)
	hit := map[string]int{}
	hours := 480
	for n := 0; (hit["detach"] < points || hit["drop"] < points) && hours > 60; n++ {
		hours -= 12
		pgtest.Exec(t, s.alice, fmt.Sprintf(`UPDATE mvscheduler.source_retention SET retention_period = '%d hours'`, hours))
		want := []string{"detach", "drop"}[n%2]
		const within = `SELECT coalesce(max(CASE WHEN EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND l.relation = $1::text::regclass AND l.mode = 'AccessExclusiveLock' AND l.granted) THEN 'detach' ELSE 'drop' END), '')
			FROM pg_stat_activity AS a WHERE a.application_name = 'mvscheduler run' AND a.wait_event = 'PgSleep' AND a.datname = current_database()`
		until(t, s.root, `SELECT (`+within+`) = $2`, s.owner+".readings", want)
		time.Sleep(time.Duration(n*37%200) * time.Millisecond)
		if at := ask[string](t, s.root, within, s.owner+".readings"); at != "" {
			hit[at]++
		}
		if n%4 < 2 {
			worker.kill()
			worker = startSidecar(t, s.db)
		} else {
			pgtest.Exec(t, s.root, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mvscheduler run' AND datname = current_database() AND state <> 'idle'`)
		}
		require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM pg_class AS c WHERE c.relkind = 'r' AND c.relname LIKE 'readings\_%' AND NOT c.relispartition AND NOT EXISTS (SELECT FROM mvscheduler.kept AS k WHERE k.relation::oid = c.oid AND k.detached_at IS NOT NULL)`))
	}
	t.Log(hit)
	require.GreaterOrEqual(t, min(hit["detach"], hit["drop"]), points)
	pgtest.Exec(t, s.root, `DROP EVENT TRIGGER linger`)
	untilWithin(t, 2*patience, s.root, fmt.Sprintf(`SELECT NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = $1::text::regclass AND (regexp_match(mvscheduler.bound_of(i.inhrelid), 'TO \(''(.*)''\)'))[1]::timestamptz < now() - interval '%d hours')`, hours+7), s.owner+".readings")
	s.incremented(t, "hourly", "daily")
	s.nothingLost(t, s.alice)
	untilWithin(t, 2*patience, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept`)
	require.Equal(t, "", ask[string](t, s.root, `SELECT coalesce(string_agg(DISTINCT action || ' ' || partition, ', '), '') FROM (SELECT action, partition FROM mvscheduler.pruning GROUP BY 1, 2 HAVING count(*) > 1) AS twice`))
	require.Zero(t, ask[int64](t, s.root, insideTheHorizon, hours))
}

// A writer of an old partition commits while the DETACH waits for its lock: no view has the row, so the partition stays.
func TestAPartitionThatWasWrittenToWhileItsDetachWaitedStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.oldYear(t)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN`, `INSERT INTO raw VALUES ('2020-05-06', 1)`)
	pgtest.Exec(t, s.alice, keepAYear)
	until(t, s.root, dropWaits)
	pgtest.Exec(t, writer, `COMMIT`)
	s.pruned(t)
	require.Zero(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept WHERE detached_at IS NOT NULL`), "no view has its last row")
	s.incremented(t, "v")
	require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
}
