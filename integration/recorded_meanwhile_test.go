package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The plain view that the query is made of is replaced, and replaced again while it is recorded what it reads. What has come last is recorded
// by the same refresh: the next one computes what changed alone, and misses nothing.
func TestWhatAViewReadsIsRecordedAnewWhenItIsReplacedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`)
	for _, table := range []string{"one", "two", "three"} {
		pgtest.Exec(t, s.alice, `CREATE TABLE `+table+` (ts timestamptz NOT NULL)`, `INSERT INTO `+table+` SELECT generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-02 00:00+00', '10 minutes')`)
	}
	read := func(table string) {
		t.Helper()
		pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT ts, '`+table+`' AS of FROM `+table+` WHERE mvscheduler.in_window(ts)`)
	}
	for _, table := range []string{"two", "three"} { // which are watched for others, so that nothing makes the refresh look again
		s.incremental(t, "of_"+table, `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM `+table+` WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	}
	read("one")
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, max(of) AS of, count(*) AS n FROM between_them GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "of_two", "of_three", "v")
	follows := func(table string) {
		t.Helper()
		same(t, s.alice, "v")
		require.Equal(t, table, ask[string](t, s.alice, `SELECT max(of) FROM v`))
		pgtest.Exec(t, s.alice, `INSERT INTO `+table+` VALUES ('2026-03-01 05:05+00')`)
		s.incremented(t, "v")
		same(t, s.alice, "v")
		require.Equal(t, "changed: 2026-03-01 05:05:00 UTC; changes are noted by triggers", s.last(t, "v", "reason"))
	}
	follows("one")

	// What is read cannot be replaced while it is found out, but right after it, before it is looked at what is below.
	first, second := s.db.Conn(t, ""), s.db.Conn(t, "")
	waits := func(query string) {
		t.Helper()
		until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE $1)`, "%"+query+"%")
	}
	pgtest.Exec(t, first, `BEGIN`, `SELECT FROM mvscheduler.view_source WHERE relation = '`+s.owner+`.one'::regclass FOR UPDATE`)
	read("two")
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	waits("DELETE FROM mvscheduler.view_source AS v")
	pgtest.Exec(t, second, `BEGIN`, `ALTER VIEW mvscheduler.visible_sources SET (security_barrier)`)
	pgtest.Exec(t, first, `COMMIT`)
	waits("WITH lock AS MATERIALIZED")
	read("three")
	pgtest.Exec(t, second, `ROLLBACK`)
	until(t, s.alice, `SELECT state NOT IN ('queued', 'running') FROM mvscheduler.runs WHERE id = $1`, run)
	require.Equal(t, "succeeded", ask[string](t, s.alice, `SELECT concat_ws(' ', state, error) FROM mvscheduler.runs WHERE id = $1`, run))
	s.committed(t)
	follows("three")
	read("two")
	s.incremented(t, "v")
	follows("two")
}

// A new version of a view is asked for, and not built yet: what it has not read does not leave, though the present one has.
func TestNoPartitionLeavesThatANewVersionHasYetToRead(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 5)
	s.incremental(t, "hourly", hourlyReadings)
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "hourly")
	require.Zero(t, sidecar.stop())
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET unique_key = '{}'`) // another query, after which everything counts as changed, would be held anyway
	require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`))
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '2 days')`)
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run", "-o", "json")
	require.Zero(t, out.code, out.stderr)
	require.NotContains(t, out.stdout, `"action": "detach"`)
	require.Contains(t, out.stdout, "hourly has not taken changes yet that may concern all of it")
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM generate_series(date_trunc('day', now(), 'UTC') - interval '5 days', now(), '1 hour') AS h WHERE NOT EXISTS (SELECT FROM hourly AS v WHERE v.hour = h)`), "the new version has all of it")
}
