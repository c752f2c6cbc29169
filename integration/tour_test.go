package integration

import (
	"regexp"
	"strconv"
	"strings"
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
	require.GreaterOrEqual(t, metric(t, body, `mvscheduler_refresh_total{result="succeeded"}`), 2.0)
	require.GreaterOrEqual(t, metric(t, body, `mvscheduler_refresh_duration_seconds_count{result="succeeded"}`), 2.0)
	require.GreaterOrEqual(t, metric(t, body, `mvscheduler_dispatch_delay_seconds_count`), 2.0)
	view := `{view="` + ask[string](t, alice, `SELECT name FROM mvscheduler.views`) + `"}`
	require.InDelta(t, 1, metric(t, body, `mvscheduler_view_target_seconds`+view), 0)
	require.Positive(t, metric(t, body, `mvscheduler_view_lag_seconds`+view))
	require.Less(t, metric(t, body, `mvscheduler_view_lag_seconds`+view), patience.Seconds())
	require.Contains(t, body, `mvscheduler_build_info{`)
	require.True(t, ask[bool](t, alice, `SELECT bool_and(wal_bytes > 0) FROM mvscheduler.runs WHERE state = 'succeeded'`))
	require.Zero(t, s.stop())

	// The refresh, its record and the end of its job are one transaction.
	whole := 0
	inside := map[int][]string{}
	for _, line := range db.Log(t) {
		if !strings.HasPrefix(line.Application, "mvscheduler run") {
			continue
		}
		switch text := line.Executed(); {
		case strings.HasPrefix(text, "begin"):
			inside[line.PID] = nil
		case strings.HasPrefix(text, "REFRESH"), strings.Contains(text, "JobSetStateIfRunning"), strings.Contains(text, "UPDATE mvscheduler.run\n"):
			inside[line.PID] = append(inside[line.PID], strings.Fields(text)[0])
		case text == "commit" && len(inside[line.PID]) > 0:
			require.Equal(t, []string{"REFRESH", "WITH", "--"}, inside[line.PID])
			whole++
		}
	}
	require.GreaterOrEqual(t, whole, 2)
}

// metric is the value of one series of /metrics.
func metric(t *testing.T, body, series string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(body)
	require.NotNil(t, m, "there is no %s", series)
	value, err := strconv.ParseFloat(m[1], 64)
	require.NoError(t, err)
	return value
}
