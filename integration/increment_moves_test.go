package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Of a statement that moves rows to other partitions the transition tables tell all when it is UPDATE, and nothing when
// it is MERGE.
func TestAnUpdateThatMovesRowsBetweenPartitionsComputesTheirBucketsAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	pgtest.Exec(t, s.alice, `CREATE TABLE readings_rest PARTITION OF readings DEFAULT`,
		`INSERT INTO readings SELECT date_trunc('day', now(), 'UTC') - interval '20 days' - n * interval '1 day', n, n FROM generate_series(0, 5) AS n`)
	s.incremental(t, "v", hourlyReadings, "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	const (
		day  = `date_trunc('day', now(), 'UTC')`
		some = `ts = ` + day + ` - interval '3 days'`
	)
	merge := func(condition, to string) string {
		return `MERGE INTO readings AS r USING (SELECT tableoid AS t, ctid AS c FROM readings WHERE ` + condition + `) AS n ON r.tableoid = n.t AND r.ctid = n.c WHEN MATCHED THEN UPDATE SET ts = ` + to
	}
	for _, c := range []struct {
		statements []string
		all        bool
	}{
		{[]string{`UPDATE readings SET ts = ts + interval '2 days 5 minutes' WHERE ` + some}, false},
		{[]string{`UPDATE readings SET ts = ts - interval '7 days 5 minutes', value = 5 WHERE ts >= ` + day + ` - interval '1 day' AND ts < ` + day + ` - interval '23 hours'`}, false},
		{[]string{`UPDATE readings SET ts = ts + interval '1 minute', value = value + 1 WHERE ts >= ` + day + ` - interval '5 days' AND ts < ` + day + ` - interval '5 days' + interval '1 hour'`}, false},
		{[]string{`UPDATE readings SET ts = ts + interval '25 days' WHERE device = 4 AND ts < now() - interval '15 days'`}, false}, // out of DEFAULT
		{[]string{`UPDATE readings SET ts = ts - interval '30 days 7 minutes' WHERE ts = ` + day + ` - interval '2 days' AND device = 1`}, false},

		{[]string{`DELETE FROM readings WHERE ts = ` + day + ` - interval '2 days' + interval '10 hours'`, `COMMIT`, `BEGIN`, `UPDATE readings SET value = 9 WHERE ts = ` + day + ` - interval '2 days' + interval '8 hours'`}, false}, // one after the other

		// As many come as go: these may be other ones.
		{[]string{`UPDATE readings SET ts = ts - interval '1 day' WHERE ts >= ` + day + ` - interval '6 days' AND ts < ` + day + ` - interval '4 days'`}, true},
		// What else was deleted in the transaction.
		{[]string{`DELETE FROM readings WHERE ts = ` + day + ` - interval '2 days' + interval '20 minutes'`, `UPDATE readings SET ts = ts + interval '1 day' WHERE ts = ` + day + ` - interval '2 days' + interval '40 minutes'`}, true},
		{[]string{merge(`ts = `+day+` - interval '4 days' + interval '20 minutes'`, `ts + interval '1 day'`)}, true},
		{[]string{merge(`ts >= `+day+` - interval '4 days' AND ts < `+day+` - interval '3 days' + interval '2 hours'`, `ts + interval '1 day 1 minute'`)}, true},
		{[]string{`UPDATE readings SET ts = ts + interval '1 day' WHERE ts = ` + day + ` - interval '7 days' + interval '20 minutes'`, merge(`ts = `+day+` - interval '7 days' + interval '40 minutes'`, `ts + interval '1 day'`)}, true},
		{[]string{merge(`ts = `+day+` - interval '7 days' + interval '2 hours'`, `ts + interval '1 day'`), `UPDATE readings SET ts = ts + interval '1 day' WHERE ts = ` + day + ` - interval '7 days' + interval '3 hours'`}, true},
		// Within DEFAULT rows stay in their partition, however far they go: as many as MERGE hides.
		{[]string{`MERGE INTO readings AS r USING (VALUES (3, NULL::timestamptz), (2, ` + day + ` - interval '8 days' + interval '4 hours')) AS n(d, was) ON r.device = n.d AND (r.ts = n.was OR n.was IS NULL AND r.ts < now() - interval '15 days')
			WHEN MATCHED AND r.device = 3 THEN UPDATE SET ts = ts + interval '3 years' WHEN MATCHED THEN UPDATE SET ts = ts + interval '1 day'`}, true},
		{[]string{`MERGE INTO readings AS r USING (SELECT ts AS was, device AS d FROM readings WHERE ts = ` + day + ` - interval '8 days' + interval '6 hours') AS n ON r.ts = n.was AND r.device = n.d
			WHEN MATCHED AND n.d = 1 THEN UPDATE SET ts = ts + interval '1 day' WHEN MATCHED THEN DELETE`}, true},
		{[]string{`MERGE INTO readings AS r USING (SELECT ts AS was, device AS d FROM readings WHERE ts = ` + day + ` - interval '8 days' + interval '8 hours' UNION ALL SELECT now(), 77) AS n ON r.ts = n.was AND r.device = n.d
			WHEN MATCHED THEN UPDATE SET ts = ts + interval '1 day' WHEN NOT MATCHED THEN INSERT VALUES (n.was, n.d, 1)`}, true},
	} {
		pgtest.Exec(t, s.alice, `BEGIN`)
		pgtest.Exec(t, s.alice, c.statements...)
		pgtest.Exec(t, s.alice, `COMMIT`)
		s.incremented(t, "v")
		same(t, s.alice, "v")
		reason := s.last(t, "v", "reason")
		t.Log(s.last(t, "v", "buckets"), reason)
		require.Positive(t, ask[int](t, s.root, `SELECT changed::int FROM mvscheduler.run ORDER BY id DESC LIMIT 1`), c.statements)
		if c.all {
			require.Contains(t, reason, "everything", c.statements)
		} else {
			require.NotContains(t, reason, "everything", c.statements)
		}
	}
}

// What was truncated and filled again is empty in a snapshot from before. A refresh that has waited for who did it reads anew, and takes no bucket for empty.
func TestATableThatIsTruncatedAndFilledWhileARefreshWaitsIsReadAnew(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "refresh_on", "manual", "lock_timeout", "1 minute")
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `CREATE TABLE copied AS SELECT * FROM metrics`, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	other := s.db.Conn(t, s.owner)
	pgtest.Exec(t, other, `BEGIN`, `LOCK TABLE metrics`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND l.relation = $2::text::regclass AND a.usename = $1)`, sidecar.role, s.owner+".metrics")
	pgtest.Exec(t, other, `TRUNCATE metrics`, `INSERT INTO metrics SELECT * FROM copied`, `COMMIT`)
	require.Equal(t, "succeeded", s.ended(t, run))
	require.NotZero(t, ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE hour = '2026-03-02 10:00+00'`))
	same(t, s.alice, "v")
}
