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

func TestAHintSaysWhatIsWrongWithAValue(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	require.Equal(t, "invalid lateness: -1 days: Give an interval of at most 100 years that is not negative.", says(t, s.alice, "22023", `UPDATE mvscheduler.views SET lateness = '-1 day'`))
	pgtest.Exec(t, s.alice, `CREATE TABLE listed (k int, ts timestamptz) PARTITION BY LIST (k)`, `CREATE TABLE numbered (k int, ts timestamptz) PARTITION BY RANGE (k)`,
		`CREATE TABLE two (ts timestamptz, k int) PARTITION BY RANGE (ts, k)`)
	for insert, want := range map[string]string{
		`("table", retention_period) VALUES ('listed', '7 days')`:                      "42809 " + s.owner + ".listed is not partitioned by a range of a time",
		`("table", retention_period, time_column) VALUES ('listed', '7 days', 'ts')`:   "42809 " + s.owner + ".listed is not partitioned by a range of a time",
		`("table", retention_period) VALUES ('two', '7 days')`:                         "22023 " + s.owner + ".two is not partitioned by a range of a time",
		`("table", retention_period) VALUES ('numbered', '7 days')`:                    "22023 " + s.owner + ".numbered is not partitioned by a range of a time",
		`("table", retention_period, time_column) VALUES ('numbered', '7 days', 'ts')`: "22023 " + s.owner + ".numbered is not partitioned by a range of a time",
	} {
		require.Equal(t, want[6:]+": Partition it by a range of one column of type timestamptz, timestamp or date: only then the bounds of a partition tell how old its rows are.",
			says(t, s.alice, want[:5], `INSERT INTO mvscheduler.source_retention `+insert))
	}
	pgtest.Exec(t, s.alice, `CREATE TABLE parts (ts timestamptz, born timestamptz) PARTITION BY RANGE (ts)`, `CREATE TABLE part PARTITION OF parts DEFAULT`)
	require.Equal(t, s.owner+".part is not partitioned: It is a partition: name the table that has it, "+s.owner+".parts.", says(t, s.alice, "42809", `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('part', '7 days')`))
	require.Equal(t, s.owner+".parts is not partitioned by a range of born: Leave time_column out, or name ts.", says(t, s.alice, "22023", `INSERT INTO mvscheduler.source_retention ("table", retention_period, time_column) VALUES ('parts', '7 days', 'born')`))
}

func TestInWindowOfAnOutputColumnIsExplained(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	const hint = "in_window asks about the column of the table from which the time of a bucket comes, not about an output column of the query: mvscheduler.in_window(column)."
	register := func(query string) string {
		return says(t, s.alice, "42703", `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES ('v', `+quote(query)+`, 'incremental', 'hour', '1 hour')`)
	}
	require.Equal(t, `column "hour" does not exist: `+hint, register(`SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM metrics WHERE mvscheduler.in_window(hour) GROUP BY 1`))
	require.Equal(t, `column m.Hour does not exist: `+hint, register(`SELECT date_trunc('hour', ts) AS "Hour", count(*) AS n FROM metrics AS m WHERE mvscheduler.in_window( m."Hour" ) GROUP BY 1`))
	require.Equal(t, `column "nosuch" does not exist: `, register(`SELECT date_trunc('hour', ts) AS hour, count(nosuch) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`))
	require.Contains(t, register(`SELECT date_trunc('hour', ts) AS hour, count(values) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`), `column "metrics.value"`, "PostgreSQL's own")
}
