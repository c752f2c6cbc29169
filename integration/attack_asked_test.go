package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Where a subquery or an alias calls something else as a column of the table is called, the changes of that column would
// be looked for, and its windows would be of something else.
func TestInWindowIsNotAskedAboutWhatIsOnlyCalledLikeAColumn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE orders (id int, created timestamptz)`, `CREATE TABLE payments ("order" int, ts timestamptz, born timestamptz)`)
	for name, from := range map[string]string{
		"another table":     `(SELECT id, created AS ts FROM orders) AS o JOIN payments AS p ON p."order" = o.id AND p.ts > '2020-01-01' WHERE mvscheduler.in_window(o.ts)`,
		"computed":          `(SELECT ts + interval '9 hours' AS ts FROM payments) AS o WHERE mvscheduler.in_window(o.ts)`,
		"a CTE":             `(WITH x AS (SELECT ts AT TIME ZONE 'Asia/Tokyo' AS ts FROM payments) SELECT x.ts FROM x WHERE mvscheduler.in_window(x.ts)) AS o`,
		"laterally":         `payments AS p CROSS JOIN LATERAL (SELECT p.ts + interval '3 days' AS ts) AS o WHERE mvscheduler.in_window(o.ts)`,
		"values":            `payments AS p CROSS JOIN LATERAL (VALUES (p.ts), (p.ts + interval '3 days')) AS o(ts) WHERE mvscheduler.in_window(o.ts)`,
		"the first of each": `(SELECT DISTINCT ON (born) ts FROM payments ORDER BY born, ts) AS o WHERE mvscheduler.in_window(o.ts)`,
		"the last":          `(SELECT ts FROM payments ORDER BY ts DESC LIMIT 2) AS o WHERE mvscheduler.in_window(o.ts)`,
		"numbered":          `(SELECT ts, row_number() OVER (ORDER BY ts) AS nth FROM payments) AS o WHERE mvscheduler.in_window(o.ts) AND o.nth > 0`,
		"other names":       `payments AS o("order", born, ts) WHERE mvscheduler.in_window(o.ts) AND o.born > '2020-01-01'`,
	} {
		_, err := s.alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES ('v', $1, 'incremental', 'hour', '1 hour')`,
			`SELECT date_trunc('hour', o.ts) AS hour, count(*) AS n FROM `+from+` GROUP BY 1`)
		require.ErrorContains(t, err, "of which table column in_window is asked about cannot be told", name)
		require.Contains(t, errorText(err), "in the subquery that reads it", name)
	}
	for name, from := range map[string]string{
		"another name":     `payments AS o WHERE mvscheduler.in_window(o.ts)`,
		"in the subquery":  `(SELECT ts FROM payments WHERE mvscheduler.in_window(ts)) AS o`,
		"a join by a name": `(payments AS p JOIN orders AS q ON q.id = p."order") AS o WHERE mvscheduler.in_window(o.ts)`,
	} {
		pgtest.Exec(t, s.alice, `DROP VIEW IF EXISTS q`, `CREATE VIEW q AS SELECT date_trunc('hour', o.ts) AS hour, count(*) AS n FROM `+from+` GROUP BY 1`)
		require.Equal(t, "payments 2", ask[string](t, s.alice, `SELECT string_agg(relation::regclass || ' ' || col, ', ') FROM mvscheduler.sources_of('q'::regclass, 'hour') WHERE col > 0`), name)
	}
}

func TestAColumnThatIsCalledLikeDateTruncIsNoCut(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE m (ts timestamptz)`)
	cut := func(query string) string {
		pgtest.Exec(t, s.alice, `DROP VIEW IF EXISTS q`, `CREATE VIEW q AS `+query)
		return ask[string](t, s.alice, `SELECT concat_ws(' ', unit, zone) FROM mvscheduler.cut_of('q'::regclass, 'hour', '1 hour', 'timestamptz'::regtype, 'UTC')`)
	}
	const bins = `SELECT date_bin('1 hour', ts, '2000-01-01 00:30+00') AS hour, count(*) AS `
	require.Equal(t, "", cut(bins+`"x,
    date_trunc('hour'::text, m.ts) AS hour,
    z" FROM m WHERE mvscheduler.in_window(ts) GROUP BY 1`))
	require.Equal(t, "", cut(`SELECT count(*) AS "x,
    date_trunc('hour'::text, m.ts) AS hour
   FROM", date_bin('1 hour', ts, '2000-01-01 00:30+00') AS hour FROM m WHERE mvscheduler.in_window(ts) GROUP BY 2`))
	require.Equal(t, "hour UTC", cut(`SELECT count(*) AS "x, y", date_trunc('hour', ts) AS hour, max(ts) AS last FROM m WHERE mvscheduler.in_window(ts) GROUP BY 2`))
}

// The trigger of an UPDATE in a transaction that deleted rows reads the bounds of all partitions.
func TestAWriterWaitsForNobodyWhoHoldsAnotherPartition(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE readings (ts timestamptz NOT NULL, device int) PARTITION BY RANGE (ts)`,
		`CREATE TABLE january PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')`, `CREATE TABLE february PARTITION OF readings FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`,
		`INSERT INTO readings SELECT at, 1 FROM generate_series('2026-01-02'::timestamptz, '2026-02-20', '1 day') AS at`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n, sum(device) AS s FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1`, "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `LOCK TABLE january IN ACCESS EXCLUSIVE MODE`)
	pgtest.Exec(t, s.alice, `SET lock_timeout = '2s'`, `BEGIN`, `DELETE FROM readings WHERE ts = '2026-02-02'`, `UPDATE readings SET device = 2 WHERE ts = '2026-02-03'`, `COMMIT`)
	pgtest.Exec(t, holder, `ROLLBACK`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}
