package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Whatever is written, to what a view keeps and to what it does not keep any more, while its partitions leave, come back
// and its sessions are killed: what is younger than its retention_period is what the query gives. Of what is older only
// what a longer retention_period brings back is looked at, when it has.
func TestAfterAnyHistoryAViewIsWhatItsQueryGivesOfWhatItKeeps(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.numbered(t)
	pgtest.Exec(t, s.alice, numberedRows)
	hours, killed := 20*24, 0
	s.incremental(t, "v", hourlyReadings, "retention_period", fmt.Sprintf("%d hours", hours), "max_attempts", 20)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	writers := []*pgx.Conn{s.db.Conn(t, s.owner), s.db.Conn(t, s.owner)}
	for _, w := range writers {
		pgtest.Exec(t, w, `SET lock_timeout = '5s'`)
	}
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
	// All that is old enough has left, but for what was back once, and nothing that is not is still aside.
	const settled = `SELECT NOT EXISTS (SELECT FROM mvscheduler.partitions_of($1::text::regclass) AS p WHERE p.hi AT TIME ZONE 'UTC' < now() - make_interval(hours => $2)
			AND NOT EXISTS (SELECT FROM mvscheduler.kept AS k WHERE k.relation::oid = p.relation AND k.restored_at IS NOT NULL))
		AND NOT EXISTS (SELECT FROM mvscheduler.kept AS k WHERE k.detached_at IS NOT NULL AND (regexp_match(k.bound, 'TO \(''(.*)''\)'))[1]::timestamptz > now() - make_interval(hours => $2))`
	settle := func(hours int) {
		for ended := time.Now().Add(2 * patience); !ask[bool](t, s.root, settled, s.owner+".v__data", hours); time.Sleep(50 * time.Millisecond) {
			pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET finished_at = '2026-01-01' WHERE kind = 'prune' AND state = 'failed'`) // else it is looked a minute later
			pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)                                                           // after which it is looked at once
			require.True(t, time.Now().Before(ended), "partitions neither left nor came back")
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		before := hours
		hours = rapid.SampledFrom([]int{26, 50, 100, 150, 200, 250, 300, 350, 400, 450, 20 * 24}).Draw(r, "hours")
		histories := [2][]string{}
		for n := range writers {
			for range rapid.IntRange(1, 6).Draw(r, "statements") {
				histories[n] = append(histories[n], write(r, 20*24))
			}
		}
		var group sync.WaitGroup
		for n, w := range writers {
			group.Go(func() { play(r, w, histories[n]) })
		}
		if _, err := s.alice.Exec(context.Background(), fmt.Sprintf(`UPDATE mvscheduler.views SET retention_period = '%d hours'`, hours)); err != nil {
			r.Fatal(err)
		}
		if rapid.Bool().Draw(r, "meanwhile") {
			s.incremented(t, "v")
		}
		if rapid.IntRange(0, 2).Draw(r, "kill") == 0 { // the first session that does something, be it a refresh or a prune
			pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
			for before, look := killed, 0; killed == before && look < 500; look++ {
				time.Sleep(2 * time.Millisecond)
				killed += ask[int](t, s.root, `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE application_name = 'mvscheduler run' AND datname = current_database() AND state <> 'idle'`)
			}
		}
		group.Wait()
		if hours > before || rapid.Bool().Draw(r, "settled") {
			settle(hours)
		}
		s.incremented(t, "v")
		kept(r)
	})
	t.Logf("%d partitions left, %d sessions killed, retention at the end %d hours", ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'detach'`), killed, hours)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '600 hours'`)
	settle(600)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, ask[string](t, s.alice, `SELECT date_trunc('hour', min(ts))::text FROM readings`), ask[string](t, s.alice, `SELECT min(hour)::text FROM v`), "all of it is back")
}
