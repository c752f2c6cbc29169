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
