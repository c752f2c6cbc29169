package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Each way to write to a partitioned table, alone between two refreshes, so that no other change of the same partition
// hides that it was not seen.
func TestEachWayToWriteIsSeenByItself(t *testing.T) {
	t.Parallel()
	ways := []string{
		`INSERT INTO src VALUES ('2026-03-01 10:05+00', 1, 1)`,
		`UPDATE src SET v = v + 1 WHERE ts = '2026-03-01 10:05+00'`,
		`UPDATE src SET ts = '2026-03-01 15:05+00' WHERE ts = '2026-03-01 10:05+00'`, // to another bucket
		`UPDATE src SET ts = '2026-03-03 15:05+00' WHERE ts = '2026-03-01 15:05+00'`, // and another partition
		`DELETE FROM src WHERE ts = '2026-03-03 15:05+00'`,
		`COPY src FROM PROGRAM 'echo 2026-03-02 10:05+00,1,1' WITH (FORMAT csv)`,
		`INSERT INTO src VALUES ('2026-03-02 10:05+00', 1, 1) ON CONFLICT (ts, k) DO UPDATE SET v = src.v + 5`,
		`MERGE INTO src AS s USING (VALUES (1)) AS n(k) ON s.k = n.k AND s.ts = '2026-03-02 10:05+00' WHEN MATCHED THEN UPDATE SET v = 9`,
		`MERGE INTO src AS s USING (VALUES (1)) AS n(k) ON s.k = n.k AND s.ts = '2026-03-02 10:05+00' WHEN MATCHED THEN UPDATE SET ts = '2026-03-03 10:05+00'`,
		`MERGE INTO src AS s USING (VALUES (1)) AS n(k) ON s.k = n.k AND s.ts = '2026-03-03 10:05+00' WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING`,
		`INSERT INTO a VALUES ('2026-03-01 11:05+00', 7, 1)`, // past the table above
		`UPDATE b_rest SET v = v + 1 WHERE ts = '2026-03-02 05:00+00'`,
		`DELETE FROM b_one WHERE ts = '2026-03-02 06:00+00'`,
		`TRUNCATE b_rest`,
		`ALTER TABLE src DETACH PARTITION a`,
		`UPDATE a SET v = v + 100; ALTER TABLE src ATTACH PARTITION a FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-03-02 00:00+00')`,
		`ALTER TABLE src DETACH PARTITION c CONCURRENTLY`,
		`ALTER TABLE src ATTACH PARTITION c FOR VALUES FROM ('2026-03-03 00:00+00') TO ('2026-03-04 00:00+00')`,
		`CREATE TABLE d PARTITION OF src FOR VALUES FROM ('2026-03-04 00:00+00') TO ('2026-03-05 00:00+00'); INSERT INTO d VALUES ('2026-03-04 10:05+00', 1, 1)`,
		`DELETE FROM d`, // of a leaf that nobody has been told of
		`DROP TABLE c`,
		`TRUNCATE src`,
	}
	for _, tracking := range []string{"trigger", "counters"} {
		t.Run(tracking, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE src (ts timestamptz NOT NULL, k int NOT NULL, v numeric, PRIMARY KEY (ts, k)) PARTITION BY RANGE (ts)`,
				`CREATE TABLE a PARTITION OF src FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-03-02 00:00+00')`,
				`CREATE TABLE b PARTITION OF src FOR VALUES FROM ('2026-03-02 00:00+00') TO ('2026-03-03 00:00+00') PARTITION BY LIST (k)`,
				`CREATE TABLE b_one PARTITION OF b FOR VALUES IN (1)`, `CREATE TABLE b_rest PARTITION OF b DEFAULT`,
				`CREATE TABLE c PARTITION OF src FOR VALUES FROM ('2026-03-03 00:00+00') TO ('2026-03-04 00:00+00')`,
				`INSERT INTO src SELECT t, k, 1 FROM generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-03 23:00+00', '1 hour') AS t, generate_series(1, 3) AS k`)
			s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, k, count(*) AS n, sum(v) AS total FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "change_tracking", tracking, "refresh_on", "manual")
			startSidecar(t, s.db)
			s.incremented(t, "v")
			pgtest.Exec(t, s.root, `SET search_path = `+s.owner)
			for _, way := range ways {
				writer := s.alice
				if way[:4] == "COPY" {
					writer = s.root
				}
				pgtest.Exec(t, writer, way)
				pgtest.Exec(t, writer, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
				s.incremented(t, "v")
				require.NotContains(t, []string{"", "0"}, s.last(t, "v", "changed"), way)
				same(t, s.alice, "v")
			}
			require.Equal(t, tracking, ask[string](t, s.root, `SELECT tracking FROM mvscheduler.increment_state`))
		})
	}
}

// A DETACH CONCURRENTLY of a table below that was given up: queries see nothing of the partition from then on.
func TestWhatIsDetachedByHalfBelowIsNotInTheViewAnyMore(t *testing.T) {
	t.Parallel()
	for _, tracking := range []string{"trigger", "counters"} {
		t.Run(tracking, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE src (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`,
				`CREATE TABLE a PARTITION OF src FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-03-02 00:00+00')`,
				`CREATE TABLE b PARTITION OF src FOR VALUES FROM ('2026-03-02 00:00+00') TO ('2026-03-03 00:00+00')`,
				`INSERT INTO src SELECT t, 1 FROM generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-02 23:00+00', '1 hour') AS t`)
			s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1`, "change_tracking", tracking, "refresh_on", "manual")
			startSidecar(t, s.db)
			s.incremented(t, "v")
			reader := s.db.Conn(t, s.owner)
			pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM src`)
			pgtest.Exec(t, s.alice, `SET statement_timeout = '300ms'`)
			requireSQLState(t, s.alice, "57014", `ALTER TABLE src DETACH PARTITION a CONCURRENTLY`)
			pgtest.Exec(t, s.alice, `RESET statement_timeout`)
			pgtest.Exec(t, reader, `COMMIT`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			require.Equal(t, 24, ask[int](t, s.alice, `SELECT count(*)::int FROM v`))
			pgtest.Exec(t, s.alice, `ALTER TABLE src DETACH PARTITION a FINALIZE`, `ALTER TABLE src ATTACH PARTITION a FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-03-02 00:00+00')`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			require.Equal(t, 48, ask[int](t, s.alice, `SELECT count(*)::int FROM v`))
		})
	}
}
