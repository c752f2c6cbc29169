package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestARowInsertedWithSQLBecomesAViewThatStaysFresh(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice,
		`CREATE TABLE sales (day date, amount int)`,
		`INSERT INTO sales VALUES ('2026-01-01', 1), ('2026-01-01', 2), ('2026-01-02', 4)`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval)
		 VALUES ('daily', 'SELECT day, sum(amount) AS amount FROM sales GROUP BY day', '1 second')`)
	s := startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	require.Equal(t, int64(7), ask[int64](t, alice, `SELECT sum(amount)::bigint FROM daily`))

	pgtest.Exec(t, alice, `INSERT INTO sales VALUES ('2026-01-03', 8)`)
	until(t, alice, `SELECT sum(amount) = 15 FROM daily`)
	require.Equal(t, "concurrent", ask[string](t, alice, `SELECT method FROM mvscheduler.status`), "GROUP BY proves a key")

	code, body := s.get("/readyz")
	require.Equal(t, 200, code, body)
	code, body = s.get("/metrics")
	require.Equal(t, 200, code)
	require.Contains(t, body, `mvscheduler_refresh_total{result="succeeded"}`)
	require.Contains(t, body, `mvscheduler_view_lag_seconds{view="`)
	require.Contains(t, body, `mvscheduler_build_info{`)
	require.Zero(t, s.stop())
}

func TestTheAllowListTellsWhatASidecarMayNotRun(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		`SELECT * FROM app.sales`, `SELECT sales.amount FROM sales`, `EXPLAIN SELECT 1`, `SET ROLE alice`, `INSERT INTO app.sales VALUES (1)`,
		`REFRESH MATERIALIZED VIEW app.v`, `CREATE TABLE x (a int)`, `SELECT app.evil()`, `BEGIN; SELECT 1`, `ANALYZE "app"."v" (c)`,
		`WITH x AS (DELETE FROM app.sales RETURNING *) SELECT * FROM x`, `SELECT (SELECT count(*) FROM app.sales) FROM mvscheduler.run`,
		`ALTER TABLE app.p DETACH PARTITION app.q`, `PREPARE p AS SELECT 1`, `FETCH ALL FROM c`,
		`SELECT query_to_xml('SELECT app.evil()', true, true, '')`, `SELECT table_to_xml($1::regclass, true, true, '')`, `SELECT set_config('role', 'alice', true)`,
		`SELECT '{1}'::app.dom[]`, `SELECT 1 OPERATOR(app.+) 1`, `SELECT set_config('search_path', $1, true)`, `SELECT $1::app.dom`, `SELECT set_config($1, $2, true)`, `DO 'BEGIN END'`,
	} {
		require.NotEmpty(t, unexpected(statement), statement)
	}
	for _, statement := range []string{
		`REFRESH MATERIALIZED VIEW CONCURRENTLY "a""b"."v"`, `ANALYZE (SKIP_LOCKED) "a"."v"`, `CLOSE ALL`, `begin isolation level read committed`, `DISCARD ALL`,
		`WITH x AS (SELECT * FROM mvscheduler.run) UPDATE mvscheduler.attempt AS a SET stop = 'cancel' FROM x WHERE x.id = a.run_id`,
	} {
		require.Empty(t, unexpected(statement), statement)
	}
}
