package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// numbered makes readings of 20 days in partitions of 6 hours, with an id.
func (s *scene) numbered(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`,
		`CREATE TABLE readings (id bigint GENERATED ALWAYS AS IDENTITY, ts timestamptz NOT NULL, device int, value numeric) PARTITION BY RANGE (ts)`,
		`DO $$ DECLARE t timestamptz := date_trunc('day', now(), 'UTC') - interval '20 days'; BEGIN
			WHILE t < now() + interval '1 day' LOOP
				EXECUTE format('CREATE TABLE readings_%s PARTITION OF readings FOR VALUES FROM (%L) TO (%L)', to_char(t AT TIME ZONE 'UTC', 'MMDD_HH24'), t, t + interval '6 hours');
				t := t + interval '6 hours';
			END LOOP; END $$`,
		`CREATE INDEX ON readings (ts)`, `CREATE UNIQUE INDEX ON readings (id, ts)`)
}

const numberedRows = `INSERT INTO readings (ts, device, value) SELECT t, d, d FROM generate_series(date_trunc('day', now(), 'UTC') - interval '20 days', now(), '47 minutes') AS t, generate_series(1, 3) AS d`

// mirrored is a scene with readings in partitions of 6 hours, and a mirror of every row that was ever written to it,
// which no retention touches; and the rollups by hour and day.
func mirrored(t testing.TB) *scene {
	t.Helper()
	s := newScene(t)
	s.numbered(t)
	pgtest.Exec(t, s.alice,
		`CREATE TABLE mirror (LIKE readings)`, `CREATE INDEX ON mirror (id)`,
		`CREATE FUNCTION reflect() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF TG_OP <> 'INSERT' THEN DELETE FROM mirror AS m WHERE m.id = OLD.id; END IF;
			IF TG_OP <> 'DELETE' THEN INSERT INTO mirror VALUES (NEW.*); END IF;
			RETURN NULL; END $$`,
		`CREATE TRIGGER reflect AFTER INSERT OR UPDATE OR DELETE ON readings FOR EACH ROW EXECUTE FUNCTION reflect()`,
		numberedRows)
	s.incremental(t, "hourly", hourlyReadings)
	s.incremental(t, "daily", dailyOfHourly, "time_column", "day", "bucket_width", "1 day")
	return s
}

// nothingLost compares the rollups with what they would be if no partition had ever left.
func (s *scene) nothingLost(t require.TestingT, conn *pgx.Conn) {
	const differ = `
SELECT coalesce(string_agg(r, E'\n'), '') FROM (
    (SELECT 'missing in %[1]s ' || w::text AS r FROM (%[2]s) AS w EXCEPT ALL SELECT 'missing in %[1]s ' || w::text FROM %[1]s AS w)
    UNION ALL
    (SELECT 'too much in %[1]s ' || w::text FROM %[1]s AS w EXCEPT ALL SELECT 'too much in %[1]s ' || w::text FROM (%[2]s) AS w)
    LIMIT 10) AS d`
	for view, query := range map[string]string{
		"hourly": `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n, sum(value) AS total FROM mirror GROUP BY 1, 2`,
		"daily":  `SELECT date_trunc('day', ts) AS day, device, count(*)::numeric AS n, sum(value) AS total FROM mirror GROUP BY 1, 2`,
	} {
		var difference string
		require.NoError(t, conn.QueryRow(context.Background(), fmt.Sprintf(differ, view, query)).Scan(&difference))
		require.Empty(t, difference)
	}
}

// insideTheHorizon counts partitions that have left although a row of them may be younger than so many hours.
const insideTheHorizon = `SELECT count(*) FROM mvscheduler.kept AS k WHERE (regexp_match(k.bound, 'TO \(''(.*)''\)'))[1]::timestamptz > now() - make_interval(hours => $1)`

// write is one statement on the readings of so many hours.
func write(r *rapid.T, hours int) string {
	young := func() string {
		return fmt.Sprintf("now() - interval '%d hours' + interval '%d minutes'", hours, rapid.IntRange(1, hours*60).Draw(r, "at"))
	}
	some := func() string {
		return fmt.Sprintf("ts >= now() - interval '%d hours' AND ts >= %s AND ts < %s", hours, young(), young())
	}
	upsert := func(kind string) func() string { return func() string { return upsertReadings(r, hours, kind) } }
	return rapid.SampledFrom([]func() string{
		upsert(kindNothing), upsert(kindUpdate), upsert(kindMove), upsert(kindCopy),
		func() string {
			return fmt.Sprintf(`INSERT INTO readings (ts, device, value) VALUES (%s, %d, 10)`, young(), rapid.IntRange(1, 5).Draw(r, "device"))
		},
		func() string {
			return fmt.Sprintf(`INSERT INTO readings (ts, device, value) SELECT t, 4, 1 FROM generate_series(%s, now(), '97 minutes') AS t`, young())
		},
		func() string { return `UPDATE readings SET value = value + 1 WHERE ` + some() },
		func() string {
			return fmt.Sprintf(`UPDATE readings SET ts = %s WHERE device = 2 AND `, young()) + some()
		},
		func() string { return `DELETE FROM readings WHERE device = 3 AND ` + some() },
		func() string {
			return fmt.Sprintf(`MERGE INTO readings AS r USING (SELECT id AS i FROM readings WHERE device < 4 AND %s) AS n ON r.id = n.i WHEN MATCHED AND r.device = 3 THEN DELETE WHEN MATCHED THEN UPDATE SET ts = %s`, some(), young())
		},
		func() string { // away for a moment
			return fmt.Sprintf(`DO $$ DECLARE p regclass; b text; BEGIN
				SELECT c.oid, pg_get_expr(c.relpartbound, c.oid) INTO p, b FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE inhparent = 'readings'::regclass ORDER BY c.oid DESC OFFSET %d LIMIT 1;
				EXECUTE format('ALTER TABLE readings DETACH PARTITION %%s', p);
				EXECUTE format('ALTER TABLE readings ATTACH PARTITION %%s %%s', p, b); END $$`, rapid.IntRange(2, 6).Draw(r, "which"))
		},
	}).Draw(r, "statement")()
}

// upsertReadings is a statement of a kind. Rows that move stay in their partition, and become younger: none shall fall behind the hours.
func upsertReadings(r *rapid.T, hours int, kind string) string {
	at := rapid.IntRange(1, hours*60).Draw(r, "at")
	if kind == kindCopy {
		rows := make([]string, rapid.IntRange(1, 20).Draw(r, "copied"))
		for n := range rows {
			ago := time.Duration(max(0, at-11*n-5)) * time.Minute // before now, and drawn a while before it is copied
			rows[n] = fmt.Sprintf("%s\t%d\t4", clockTime(time.Now().Add(-ago), "timestamptz", nil), 1+n%5)
		}
		return copied("readings", "ts, device, value", rows...)
	}
	return upserts{table: "readings", key: "id, ts", columns: "id, ts, device, value", fresh: "nextval(pg_get_serial_sequence('readings', 'id')), ts, 5, 2", add: "value = readings.value + 1",
		move: fmt.Sprintf("least(readings.ts + interval '%d minutes', date_bin('6 hours', readings.ts, '2000-01-01 00:00+00') + interval '6 hours' - interval '1 microsecond')", rapid.IntRange(1, 350).Draw(r, "by")),
	}.upsert(r, kind, fmt.Sprintf("ts >= now() - interval '%d hours' + interval '%d minutes' ORDER BY ts", hours, at))
}

// writers are two sessions of the owner that a round is written by.
func (s *scene) writers(t testing.TB) [2]*pgx.Conn {
	t.Helper()
	writers := [2]*pgx.Conn{s.db.Conn(t, s.owner), s.db.Conn(t, s.owner)}
	for _, w := range writers {
		pgtest.Exec(t, w, `SET lock_timeout = '5s'`)
	}
	return writers
}

// round has writers write to the last hours while a statement changes what is kept, with or without a refresh of a view, and
// perhaps a session of the sidecar is killed.
func (s *scene) round(t testing.TB, r *rapid.T, writers [2]*pgx.Conn, hours int, statement, view string, told *tally) {
	histories := make([][]string, len(writers))
	for n := range writers {
		for range rapid.IntRange(1, 6).Draw(r, "statements") {
			histories[n] = append(histories[n], write(r, hours))
		}
	}
	strewn(r, histories, func(kind string) string { return upsertReadings(r, hours, kind) })
	var group sync.WaitGroup
	for n, w := range writers {
		group.Go(func() { told.play(r, w, histories[n], concurrently) })
	}
	if _, err := s.alice.Exec(context.Background(), statement); err != nil {
		r.Fatal(err)
	}
	if rapid.Bool().Draw(r, "meanwhile") {
		s.incremented(t, view)
	}
	if rapid.IntRange(0, 2).Draw(r, "kill") == 0 {
		told.kill(t, s, view)
	}
	group.Wait()
}

// Whatever is written to what is younger than the horizon, while partitions leave and the sidecar's sessions are killed,
// the rollups are as if none had left. They go by triggers: what a view may have missed that goes by the server's counters, or
// by lateness alone, nobody can exclude, so below one no partition leaves.
func TestNoRowIsEverLostToRollupsOfWhatLeaves(t *testing.T) {
	t.Parallel()
	s := mirrored(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	s.nothingLost(t, s.alice)
	hours := 20 * 24
	var told tally
	pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '%d hours')`, hours))
	writers := s.writers(t)
	rapid.Check(t, func(r *rapid.T) {
		hours = max(48, hours-rapid.IntRange(0, 30).Draw(r, "hours"))
		s.round(t, r, writers, hours, fmt.Sprintf(`UPDATE mvscheduler.source_retention SET retention_period = '%d hours'`, hours), "hourly", &told)
		s.incremented(t, "hourly", "daily")
		s.nothingLost(r, s.alice)
		require.Zero(r, ask[int64](t, s.root, insideTheHorizon, hours))
	})
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.kept)`) // they leave when the sidecar comes to it
	t.Logf("%d partitions left, retention at the end %d hours", ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept`), hours)
	told.sound(t, s)
	// All of it can come back, once nothing else leaves.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.run WHERE state IN ('queued', 'running')`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM (SELECT * FROM mirror EXCEPT ALL SELECT * FROM readings) AS gone`))
	s.incremented(t, "hourly", "daily")
	s.nothingLost(t, s.alice)
}
