package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// In another zone rows of the first bucket that is computed belong to one that is frozen.
func TestAnotherTimezoneLosesNothingThatRetentionHasTakenFromUnderIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "v", `SELECT date_trunc('day', ts) AS hour, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1`, "bucket_width", "1 day", "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	all := ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`)
	zone := func(name string) string {
		return `UPDATE mvscheduler.views SET timezone = ` + quote(name) + ` WHERE name LIKE '%.v'`
	}
	pgtest.Exec(t, s.alice, zone("Asia/Tokyo")) // nothing has left yet
	s.incremented(t, "v")
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '5 days')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.readings')`)
	require.Contains(t, s.refusal(t, zone("America/Los_Angeles")), "cannot be built anew: what it showed before")
	s.incremented(t, "v")
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET refresh_on = 'schedule', refresh_interval = '1 day', lateness = '1 hour' WHERE name LIKE '%.v'`)
}

// So do they when the query cuts elsewhere, whichever way: one that computes the same times is another matter.
func TestAnotherCutLosesNothingThatRetentionHasTakenFromUnderIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "v", `SELECT x.born AS hour, count(*) AS n, sum(x.value) AS total FROM (SELECT date_bin('2 days', ts, '2026-01-01 05:00+00') AS born, value FROM readings WHERE mvscheduler.in_window(ts)) AS x GROUP BY 1`,
		"bucket_width", "2 days", "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	all := ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`)
	query := func(old, new string) string {
		return `UPDATE mvscheduler.views SET query = replace(query, ` + quote(old) + `, ` + quote(new) + `) WHERE name LIKE '%.v'`
	}
	pgtest.Exec(t, s.alice, query("01 05:00", "01 06:00")) // nothing has left yet
	s.incremented(t, "v")
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '3 days')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.readings')`)
	require.Contains(t, s.refusal(t, query("01 06:00", "02 03:00")), "cannot be built anew: what it showed before")
	require.Contains(t, s.refusal(t, query("ts, '2026", "ts + interval '1 hour', '2026")), "cannot be built anew")
	pgtest.Exec(t, s.alice, query("sum(x.value)", "max(x.value)"), query("GROUP BY 1", "GROUP BY x.born"))
	s.incremented(t, "v")
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM v`))
}
