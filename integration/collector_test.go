package integration

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// often has a sidecar sample so often that a test need not wait.
var often = []string{"--sample-every", "200ms"}

// reported has a session report what it counted.
func reported(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	pgtest.Exec(t, conn, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
}

// sampledTwice waits until what happened before is in a sample.
func sampledTwice(t testing.TB, root *pgx.Conn) {
	t.Helper()
	for range 2 {
		lease := ask[string](t, root, `SELECT lease_until::text FROM mvscheduler.collector`)
		until(t, root, `SELECT lease_until::text > $1 FROM mvscheduler.collector`, lease)
	}
}

// collecting waits until a sidecar has something to compare its next sample with.
func collecting(t testing.TB, root *pgx.Conn) {
	t.Helper()
	until(t, root, `SELECT lease_until IS NOT NULL FROM mvscheduler.collector`)
	sampledTwice(t, root)
}

const usage = `SELECT coalesce((SELECT round(u.reads)::bigint FROM mvscheduler.view_usage AS u JOIN mvscheduler.view_state AS s ON s.view_id = u.view_id WHERE s.name LIKE '%.' || $1), -1)`

func TestReadsAreCountedAndOurOwnRefreshesAreNot(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	side := startSidecar(t, s.db, often...)
	collecting(t, s.root)
	pgtest.Exec(t, s.alice, `CREATE TABLE t (id int PRIMARY KEY, g int)`, `INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 1000) AS i`,
		`INSERT INTO mvscheduler.views (name, query, method, indexes, enabled) VALUES
			('full_', 'SELECT g, count(*) AS n FROM t GROUP BY g', 'full', '{(n)}', false),
			('conc', 'SELECT g, count(*) AS n FROM t GROUP BY g', 'concurrent', NULL, false),
			('unread', 'SELECT count(*) AS n FROM t', 'full', NULL, false)`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on, enabled) VALUES ('above', 'SELECT sum(n) AS n FROM full_', 'upstream', false)`,
		`CREATE VIEW shown AS SELECT * FROM conc WHERE n > 0`,
		`CREATE FUNCTION hidden() RETURNS bigint LANGUAGE sql AS 'SELECT max(n) FROM conc'`)
	reported(t, s.alice)
	sampledTwice(t, s.root)
	refreshed(t, s.alice, "full_", "conc", "unread", "above")
	for round := range 5 {
		for range 4 {
			pgtest.Exec(t, s.alice, `SELECT * FROM full_`)
		}
		pgtest.Exec(t, s.alice, `SELECT * FROM shown WHERE g = 3`, `SELECT hidden()`, `EXPLAIN SELECT * FROM full_`, fmt.Sprintf(`UPDATE t SET g = g + 1 WHERE id = %d`, round+1))
		reported(t, s.alice)
		refreshed(t, s.alice, "full_", "conc", "unread", "above")
	}
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	require.Equal(t, int64(20), ask[int64](t, s.root, usage, "full_"))
	require.Equal(t, int64(10), ask[int64](t, s.root, usage, "conc"))
	require.Equal(t, int64(0), ask[int64](t, s.root, usage, "unread"))
	require.Equal(t, int64(0), ask[int64](t, s.root, usage, "above"))
	require.Equal(t, "L0", ask[string](t, s.root, `SELECT level FROM mvscheduler.collector`))
	require.Contains(t, ask[string](t, s.root, `SELECT sources FROM mvscheduler.collector`), "pg_stat_statements is not installed")
	require.Equal(t, "0 parts", ask[string](t, s.root, `SELECT count(*) || ' parts' FROM mvscheduler.view_usage WHERE note <> ''`))
}
