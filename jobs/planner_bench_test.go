package jobs

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// allowed is what planning 1,000 views may take of CPU, sidecar and server together.
const allowed = 2 * time.Second

// BenchmarkPlanningAThousandViews is what a go of the planner costs, sidecar and server together, with ten weeks of samples of
// each view: office hours, flat and rare. Each view is thought about once a day. A view whose clock cannot be touched anyway, for
// a change a day ago or fewer than 30 reads a week, costs less.
func BenchmarkPlanningAThousandViews(b *testing.B) {
	const views = 1000
	db := pgtest.Dedicated(b, map[string]string{"max_locks_per_transaction": "256", "log_statement": "none"})
	alice := db.Conn(b, db.User(b, "alice"))
	pgtest.Exec(b, alice, `SET client_min_messages = error`, `CREATE TABLE t AS SELECT n AS id, n % 20 AS shop, n AS amount FROM generate_series(1, 100) AS n`)
	for i := 0; i < views; i += 100 {
		pgtest.Exec(b, alice, fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, refresh_interval, unique_key) SELECT format('v%%s', i), 'SELECT id, shop, amount FROM t', '15 minutes', '{id}' FROM generate_series(%d, %d) AS i`, i+1, i+100))
	}
	const reads = `CASE WHEN s.view_id % 3 = 0 THEN 10 WHEN s.view_id % 3 = 1 THEN 12 * (extract(isodow FROM h) < 6 AND extract(hour FROM h) BETWEEN 8 AND 17)::int ELSE 0.05 END::real`
	db.Exec(b, `
INSERT INTO mvscheduler.sampled (view_id, at, reads, changes)
SELECT s.view_id, h, array_fill(`+reads+`, ARRAY[12]), array_fill(1::real, ARRAY[12])
  FROM mvscheduler.view_state AS s, generate_series(date_trunc('day', now(), 'UTC') - interval '21 days', now() - interval '1 hour', '1 hour') AS h`)
	db.Exec(b, `
INSERT INTO mvscheduler.sampled_days (view_id, day, width, reads, changes)
SELECT s.view_id, d, 3600, (SELECT array_agg(12 * `+reads+` ORDER BY h) FROM generate_series(d, d + interval '23 hours', '1 hour') AS h), array_fill(12::real, ARRAY[24])
  FROM mvscheduler.view_state AS s, generate_series(date_trunc('day', now(), 'UTC') - interval '70 days', date_trunc('day', now(), 'UTC') - interval '22 days', '1 day') AS d`)
	require.NoError(b, catalog.RollUp(b.Context(), db.Conn(b, ""), keepFine, keepHours, keepLookBacks)) // days that are over are one row each
	db.Exec(b, `INSERT INTO mvscheduler.view_usage (view_id, since, last_read_at, reads) SELECT view_id, now() - interval '70 days', now(), 1000 FROM mvscheduler.view_state`)
	db.Exec(b, `
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, started_at, finished_at, method, took, rows, size_bytes, wal_bytes)
SELECT s.view_id, s.name, s.owner, 'manual', now() - i * interval '1 hour', now(), 'succeeded', now(), now(), 'concurrent', '1 second', 100, 8192, 0
  FROM mvscheduler.view_state AS s, generate_series(1, 50) AS i`)
	db.Exec(b, `INSERT INTO mvscheduler.view_health (view_id, refreshes, data_as_of, method) SELECT view_id, 1, now(), 'concurrent' FROM mvscheduler.view_state ON CONFLICT (view_id) DO UPDATE SET method = 'concurrent'`)
	db.Exec(b, `VACUUM ANALYZE`)

	pool, backend := watchedPool(b, db)
	p := &planner{pool: pool, log: slog.New(slog.NewTextHandler(io.Discard, nil)), name: "bench"}
	think := func() {
		db.Exec(b, `UPDATE mvscheduler.view_usage SET planned_at = NULL`)
		require.NoError(b, p.plan(b.Context(), evidence{level: "L0", words: "counters of scans", servers: 1}))
	}
	think()
	var advised int
	require.NoError(b, db.Conn(b, "").QueryRow(b.Context(), `SELECT count(DISTINCT view_id) FROM mvscheduler.recommendation WHERE kind = 'calendar'`).Scan(&advised))
	require.Greater(b, advised, views/4)

	began, ours := backendTime(b, backend), ownTime(b)
	n := 0
	for b.Loop() {
		think()
		n++
	}
	own, server := (ownTime(b) - ours).Seconds(), (backendTime(b, backend) - began).Seconds()
	b.ReportMetric(own*1000/float64(n*views), "ms-sidecar/view")
	b.ReportMetric(server*1000/float64(n*views), "ms-server/view")
	sum := (own + server) * 1000 / float64(n*views)
	b.ReportMetric(sum, "s/1,000-views")
	b.Logf("planning 1,000 views takes %.2f s of CPU, %.2f s of it in the sidecar and %.2f s on the server: %.2f times the %s that are allowed",
		sum, own*1000/float64(n*views), server*1000/float64(n*views), sum/allowed.Seconds(), allowed)

	facts, all, err := catalog.LoadOptimizer(b.Context(), pool)
	require.NoError(b, err)
	below := fleet{views: all, upstream: make(map[int64][]int64), kappa: 1}
	for _, v := range all[1:] {
		below.upstream[v.ViewID] = []int64{all[0].ViewID}
	}
	b.ReportMetric(mostLive(func() {
		_, err = p.view(b.Context(), facts, all[0], below, facts.Now)
	})/(1<<20), "MB-live-below-1,000-views")
	require.NoError(b, err)
}

// mostLive is by how many bytes the live objects of the heap grow at most while something is done.
func mostLive(do func()) float64 {
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	read := func() float64 {
		metrics.Read(live)
		return float64(live[0].Value.Uint64())
	}
	runtime.GC()
	before := read()
	most, done := before, make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	for {
		select {
		case <-done:
			return max(most, read()) - before
		case <-time.After(time.Millisecond):
			most = max(most, read())
		}
	}
}
