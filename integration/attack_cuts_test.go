package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What a bucket is cut by is not in functions of times alone, and not all of those are in it.
func TestWhatABucketIsCutByIsFollowedThroughTheQuery(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	pgtest.Exec(t, s.alice, `CREATE TABLE calendar AS SELECT d, d + interval '1 day' AS next_d
		FROM generate_series(date_trunc('day', now(), 'UTC') - interval '30 days', now() + interval '20 days', '1 day') AS d`)
	const where = ` FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1`
	const joined = `, count(*) AS n FROM readings AS r JOIN calendar AS c ON r.ts >= c.d AND r.ts < c.next_d WHERE mvscheduler.in_window(r.ts) GROUP BY 1`
	views := []struct{ name, query, old, new string }{
		{"swapped", `SELECT date_trunc('day', ts) AS hour, date_trunc('hour', max(date_trunc('day', ts))) AS other, count(*) AS n` + where, `date_trunc('day', ts) AS hour, date_trunc('hour', max(date_trunc('day', ts)))`, `date_trunc('hour', date_trunc('day', ts)) AS hour, max(date_trunc('day', ts))`},
		{"cased", `SELECT CASE WHEN ts > '2020-01-01' THEN date_trunc('day', ts) ELSE date_trunc('hour', ts) END AS hour, count(*) AS n` + where, `ts > '2020`, `ts < '2020`},
		{"least_of", `SELECT least(date_trunc('day', ts), '2100-01-01') AS hour, count(*) AS n` + where, `2100`, `2020`},
		{"labelled", `SELECT c.d AS hour` + joined, `c.d AS hour`, `c.next_d AS hour`},
		{"compared", `SELECT c.d AS hour` + joined, `r.ts >= c.d AND r.ts < c.next_d`, `r.ts > c.d AND r.ts <= c.next_d`},
		{"united", `SELECT x.b AS hour, count(*) AS n FROM (SELECT date_trunc('day', ts) AS b FROM readings WHERE mvscheduler.in_window(ts) UNION ALL SELECT date_trunc('day', ts) FROM readings WHERE mvscheduler.in_window(ts) AND device = 7) AS x GROUP BY 1`,
			`'day', ts) FROM`, `'hour', ts) FROM`},
		{"shared", `WITH x AS (SELECT ts AS b FROM readings WHERE mvscheduler.in_window(ts)) SELECT date_trunc('day', x.b) AS hour, count(*) AS n FROM x GROUP BY 1`, `SELECT ts AS b`, `SELECT ts - interval '1 hour' AS b`},
	}
	for _, v := range views {
		s.incremental(t, v.name, v.query, "bucket_width", "1 day", "refresh_on", "manual")
	}
	startSidecar(t, s.db)
	for _, v := range views {
		s.incremented(t, v.name)
	}
	all := ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM swapped`)
	query := func(v, old, new string) string {
		return `UPDATE mvscheduler.views SET query = replace(query, ` + quote(old) + `, ` + quote(new) + `) WHERE name LIKE '%.` + v + `'`
	}
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '5 days')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.readings')`)
	for _, v := range views {
		require.Contains(t, s.refusal(t, query(v.name, v.old, v.new)), "cannot be built anew", v.name)
	}
	conn, said := connNoticing(t, s.db.URLAs(s.owner))
	for _, v := range [][3]string{ // the same, in other words or of fewer rows
		{"shared", "WITH x AS (SELECT ts AS b FROM readings WHERE mvscheduler.in_window(ts)) SELECT date_trunc('day', x.b)", "WITH y AS (SELECT 1 AS one), x AS (SELECT r.ts AS born FROM y, readings AS r WHERE mvscheduler.in_window(r.ts)) SELECT date_trunc('day', x.born)"},
		{"least_of", "in_window(ts)", "in_window(ts) AND ts > timestamptz '2020-01-01' + interval '1 day'"},
		{"labelled", "readings AS r JOIN calendar AS c", "calendar AS c JOIN readings AS r"},
	} {
		*said = nil
		pgtest.Exec(t, conn, query(v[0], v[1], v[2]))
		require.True(t, slices.ContainsFunc(*said, func(n *pgconn.Notice) bool {
			return strings.Contains(n.Message, "keeps what it shows before ") && strings.Contains(n.Hint, "restore")
		}), "%s: the old buckets keep what the old query said", v[0])
		s.incremented(t, v[0])
		require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM `+v[0]), v[0])
	}
}

// The table is partitioned by another column, or has partitions without a bound or with one of which JSON has no form.
func TestDaysOfAPartitionedTableAreFollowedWhateverItsBoundsAre(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE by_kind (kind int, day date) PARTITION BY LIST (kind)`, `CREATE TABLE by_kind_1 PARTITION OF by_kind FOR VALUES IN (1)`,
		`CREATE TABLE by_day (day date) PARTITION BY RANGE (day)`, `CREATE TABLE by_day_old PARTITION OF by_day FOR VALUES FROM ('-infinity') TO ('2026-01-01')`,
		`CREATE TABLE by_day_new PARTITION OF by_day FOR VALUES FROM ('2026-01-01') TO ('infinity')`,
		`CREATE TABLE by_default (day date) PARTITION BY RANGE (day)`, `CREATE TABLE by_default_all PARTITION OF by_default DEFAULT`,
		`CREATE TABLE by_time (day timestamptz) PARTITION BY RANGE (day)`, `CREATE TABLE by_time_all PARTITION OF by_time FOR VALUES FROM ('0044-03-15 BC') TO ('20000-01-01')`)
	startSidecar(t, s.db)
	for _, table := range []string{"by_kind", "by_day", "by_default", "by_time"} {
		add := `INSERT INTO ` + table + ` (day) SELECT d FROM generate_series(timestamp '2025-12-20', '2026-01-20', '1 day') AS d`
		if table == "by_kind" {
			add = `INSERT INTO by_kind SELECT 1, d FROM generate_series(timestamp '2025-12-20', '2026-01-20', '1 day') AS d`
		}
		pgtest.Exec(t, s.alice, add)
		s.incremental(t, "v_"+table, `SELECT day AS hour, count(*) AS n FROM `+table+` WHERE mvscheduler.in_window(day) GROUP BY 1`, "bucket_width", "1 day", "refresh_on", "manual")
		s.incremented(t, "v_"+table)
		pgtest.Exec(t, s.alice, add)
		s.incremented(t, "v_"+table)
		require.Equal(t, int64(64), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v_`+table), table)
	}
}
