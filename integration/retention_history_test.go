package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Whatever is written, to what a view keeps and to what it does not keep any more, while its partitions leave, come back
// and its sessions are killed: what is younger than its retention_period is what the query gives. Of what is older only
// what a longer retention_period brings back is looked at, when it has. Without tracking that is promised as far back as
// lateness, which here is further than anybody writes.
func TestAfterAnyHistoryAViewIsWhatItsQueryGivesOfWhatItKeeps(t *testing.T) {
	t.Parallel()
	for tracking, settings := range map[string][]any{"trigger": nil, "counters": nil, "none": {"lateness", "21 days"}} {
		t.Run(tracking, func(t *testing.T) {
			t.Parallel()
			keptThroughHistories(t, tracking, settings...)
		})
	}
}

func keptThroughHistories(t *testing.T, tracking string, settings ...any) {
	s := newScene(t)
	s.numbered(t)
	pgtest.Exec(t, s.alice, numberedRows)
	hours := 20 * 24
	var told tally
	s.incremental(t, "v", hourlyReadings, append(settings, "retention_period", fmt.Sprintf("%d hours", hours), "max_attempts", 20, "change_tracking", tracking)...)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, tracking, ask[string](t, s.root, `SELECT tracking FROM mvscheduler.increment_state`))
	writers := s.writers(t)
	// In one snapshot, since partitions leave meanwhile.
	const differ = `
SELECT coalesce(string_agg(r, E'\n'), '') FROM (
    (SELECT 'missing ' || w::text AS r FROM v__query AS w WHERE hour >= $1 EXCEPT ALL SELECT 'missing ' || w::text FROM v AS w)
    UNION ALL
    (SELECT 'too much ' || w::text FROM v AS w WHERE hour >= $1 EXCEPT ALL SELECT 'too much ' || w::text FROM v__query AS w)
    LIMIT 10) AS d`
	kept := func(r require.TestingT) {
		var difference string
		require.NoError(r, s.alice.QueryRow(context.Background(), differ, time.Now().Add(-time.Duration(hours)*time.Hour)).Scan(&difference))
		require.Empty(r, difference)
	}
	// All that is old enough has left, but for what was back once, and nothing that is not is still aside. It is looked at once after
	// a refresh, and a minute later after what failed.
	const settled = `WITH failed AS (UPDATE mvscheduler.run SET finished_at = '2026-01-01' WHERE kind = 'prune' AND state = 'failed' AND finished_at > '2026-01-01')
		SELECT CASE WHEN mvscheduler.refresh_view($3) > 0 THEN
			NOT EXISTS (SELECT FROM mvscheduler.partitions_of($1::text::regclass) AS p WHERE p.hi AT TIME ZONE 'UTC' < now() - make_interval(hours => $2)
				AND NOT EXISTS (SELECT FROM mvscheduler.kept AS k WHERE k.relation::oid = p.relation AND k.restored_at IS NOT NULL))
			AND NOT EXISTS (SELECT FROM mvscheduler.kept AS k WHERE k.detached_at IS NOT NULL AND (regexp_match(k.bound, 'TO \(''(.*)''\)'))[1]::timestamptz > now() - make_interval(hours => $2)) END`
	settle := func(hours int) { untilWithin(t, 2*patience, s.root, settled, s.owner+".v__data", hours, s.owner+".v") }
	rapid.Check(t, func(r *rapid.T) {
		before := hours
		hours = rapid.SampledFrom([]int{26, 50, 100, 150, 200, 250, 300, 350, 400, 450, 20 * 24}).Draw(r, "hours")
		s.round(t, r, writers, 20*24, fmt.Sprintf(`UPDATE mvscheduler.views SET retention_period = '%d hours'`, hours), "v", &told)
		if hours > before || rapid.Bool().Draw(r, "settled") {
			settle(hours)
		}
		for _, w := range writers { // what the server's counters do not tell yet, a refresh cannot know
			pgtest.Exec(t, w, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
		}
		s.incremented(t, "v")
		kept(r)
	})
	t.Logf("%d partitions left, retention at the end %d hours", ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'detach'`), hours)
	told.sound(t, s)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '600 hours'`)
	settle(600)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, ask[string](t, s.alice, `SELECT date_trunc('hour', min(ts))::text FROM readings`), ask[string](t, s.alice, `SELECT min(hour)::text FROM v`), "all of it is back")
}
