package integration

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// says is the message and the hint of a refusal.
func says(t testing.TB, conn *pgx.Conn, sqlstate, sql string) string {
	t.Helper()
	failed := refused(t, conn, sqlstate, sql)
	return failed.Message + ": " + failed.Hint
}

func TestAMethodThatThereIsNotIsNamedFirst(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	const want = "invalid value for method: 'incrementel': Use one of: auto, full, concurrent, incremental."
	require.Equal(t, want, says(t, s.alice, "22023", `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES ('v', 'SELECT 1 AS a', 'incrementel', 'hour', '1 hour')`))
	s.incremental(t, "v", hourly)
	require.Equal(t, want, says(t, s.alice, "22023", `UPDATE mvscheduler.views SET method = 'incrementel', lateness = '1 hour'`))
	require.Contains(t, says(t, s.alice, "0A000", `UPDATE mvscheduler.views SET method = 'continuous_aggregate'`), "not supported in this version")
}
