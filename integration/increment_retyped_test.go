package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Triggers outlive their view, and what a column becomes then must not keep anybody from writing, nor lead to wrong times.
func TestAColumnThatBecomesAnotherOneKeepsNobodyFromWriting(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'Asia/Kathmandu'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, value float8)`,
		`CREATE TYPE pair AS (t timestamptz)`, `CREATE FUNCTION cast_pair(pair) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS 'SELECT ($1).t'`, `CREATE CAST (pair AS timestamptz) WITH FUNCTION cast_pair(pair) AS IMPLICIT`,
		`CREATE TYPE mood AS ENUM ('good', 'bad')`, `CREATE DOMAIN instant AS timestamptz`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Zero(t, sidecar.stop()) // so that it is still known which column was watched
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
	require.Equal(t, "changed_1_ts", ask[string](t, s.alice, `SELECT string_agg(DISTINCT f.proname, ' ') FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid WHERE t.tgrelid = 'metrics'::regclass AND t.tgtype & 1 = 0`))
	for _, c := range []struct{ becomes, insert, lo string }{
		{``, `'2026-03-01 10:00+00'`, "2026-03-01 10:00:00"},
		{`ALTER ts TYPE date`, `'2026-03-01'`, "2026-03-01 00:00:00"},
		{`ALTER ts TYPE timestamp`, `'2026-03-01 10:00'`, "2026-03-01 10:00:00"},
		{`ALTER ts TYPE timestamptz`, `'2026-03-01 10:00+00'`, "2026-03-01 10:00:00"},
		{`ALTER ts TYPE instant`, `'2026-03-01 10:00+00'`, "2026-03-01 10:00:00"},
		{`ALTER ts TYPE text`, `'2026-03-01 10:00+00'`, "-infinity"},
		{`ALTER ts TYPE json USING to_json(ts)`, `'{}'`, "-infinity"},
		{`ALTER ts TYPE mood USING 'good'`, `'bad'`, "-infinity"},
		{`ALTER ts TYPE timestamptz[] USING ARRAY[now()]`, `'{2026-03-01}'`, "-infinity"},
		{`ALTER ts TYPE tstzrange USING tstzrange(now(), now())`, `'[2026-03-01,2026-03-02]'`, "-infinity"},
		{`ALTER ts TYPE time USING now()::time`, `'10:00'`, "-infinity"},
		{`ALTER ts TYPE pair USING ROW(now())::pair`, `ROW(now())::pair`, "-infinity"},
		{`RENAME ts TO other`, `ROW(now())::pair`, "-infinity"},
		{`DROP other`, ``, "-infinity"},
	} {
		if c.becomes != "" {
			pgtest.Exec(t, s.alice, `ALTER TABLE metrics `+c.becomes)
		}
		pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.dirt`)
		insert := `INSERT INTO metrics VALUES (` + c.insert + `, 1)`
		if c.insert == "" {
			insert = `INSERT INTO metrics VALUES (1)`
		}
		fresh := s.db.Conn(t, s.owner)
		pgtest.Exec(t, s.alice, insert) // with the plans of what the column was
		pgtest.Exec(t, fresh, `SET TimeZone = 'America/Havana'`, insert, `UPDATE metrics SET value = 2 WHERE value = 1`, `DELETE FROM metrics WHERE value = 2`)
		require.Equal(t, c.lo, ask[string](t, s.root, `SELECT string_agg(DISTINCT (lo AT TIME ZONE 'UTC')::text, ' ') FROM mvscheduler.dirt`), c.becomes)
	}
}

// On 18 a column can be made of others whenever it is read, and transition tables do not have it.
func TestAVirtualColumnOfTheSameNameKeepsNobodyFromWriting(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if s.db.Version() < 180000 {
		t.Skip("virtual columns are new in PostgreSQL 18")
	}
	pgtest.Exec(t, s.alice, `CREATE TABLE m (ts timestamp NOT NULL, k int)`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, sum(k) AS s FROM m WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Zero(t, sidecar.stop())
	pgtest.Exec(t, s.alice, `ALTER TABLE m RENAME ts TO was`, `ALTER TABLE m ADD ts date GENERATED ALWAYS AS (was::date) VIRTUAL`)
	for range 2 { // of one session, and of its plans
		pgtest.Exec(t, s.alice, `INSERT INTO m (was, k) VALUES ('2026-03-01 10:00', 1), ('2026-03-01 11:00', 2)`, `UPDATE m SET k = 3 WHERE k = 1`, `UPDATE m SET was = '2026-03-02 10:00' WHERE k = 3`, `DELETE FROM m WHERE k = 2`,
			`MERGE INTO m USING (VALUES (1)) AS n(k) ON true WHEN MATCHED THEN UPDATE SET k = 4`)
	}
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// The names are those of variables and aliases of the trigger function, and of what PL/pgSQL calls its own.
func TestAWatchedColumnMayHaveAnyName(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	names := []string{"t", "r", "x", "n", "missing", "new_rows", "old_rows", "tried", "lo", "hi", "tg_relid", "tg_op", "found", "source", "col", "min", "w", `a "b" %I $1 'c'`, "-- whatever it is, by a known column"}
	for i, name := range names {
		column := pgx.Identifier{name}.Sanitize()
		pgtest.Exec(t, s.alice, fmt.Sprintf(`CREATE TABLE m%d (%s timestamptz NOT NULL, k int)`, i, column))
		s.incremental(t, fmt.Sprintf("v%d", i), fmt.Sprintf(`SELECT date_trunc('hour', m.%s) AS hour, sum(k) AS s FROM m%d AS m WHERE mvscheduler.in_window(m.%[1]s) GROUP BY 1`, column, i))
	}
	startSidecar(t, s.db)
	for i, name := range names {
		view, table, column := fmt.Sprintf("v%d", i), fmt.Sprintf("m%d", i), pgx.Identifier{name}.Sanitize()
		s.incremented(t, view)
		require.Equal(t, "changed_1_"+name, ask[string](t, s.alice, `SELECT string_agg(DISTINCT f.proname, ' ') FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid WHERE t.tgrelid = $1::text::regclass AND t.tgtype & 1 = 0`, table))
		for _, sql := range []string{`INSERT INTO %s VALUES ('2026-03-01 10:00+00', 1), ('2026-03-01 10:20+00', 2)`, `UPDATE %s SET k = 3 WHERE k = 1`, `UPDATE %s SET %s = '2026-03-01 12:00+00' WHERE k = 2`, `DELETE FROM %s WHERE k = 3`} {
			if strings.Count(sql, "%s") == 2 {
				sql = fmt.Sprintf(sql, table, column)
			} else {
				sql = fmt.Sprintf(sql, table)
			}
			pgtest.Exec(t, s.alice, sql)
			s.incremented(t, view)
			same(t, s.alice, view)
			require.NotContains(t, s.last(t, view, "reason"), "everything", name)
		}
	}
}
