package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// ownerRuns is how many of the 8 workers one owner's runs get at most.
const ownerRuns = 7

// overhead compares one managed refresh with the same REFRESH on a bare connection, in turns.
func overhead(ctx context.Context, b *bench) error {
	if err := b.views(ctx, 1, "concurrent"); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	const rounds = 200
	var bare, attempt, whole []time.Duration
	for i := range rounds + 10 {
		began := time.Now()
		var run int64
		if err := b.owner.QueryRow(ctx, `SELECT mvscheduler.refresh_view('app.v1')`).Scan(&run); err != nil {
			return err
		}
		took, err := b.waitForRun(ctx, run)
		if err != nil {
			return err
		}
		done := time.Since(began)
		began = time.Now()
		if _, err := b.owner.Exec(ctx, `REFRESH MATERIALIZED VIEW CONCURRENTLY app.v1`); err != nil {
			return err
		}
		if i >= 10 { // warm
			bare, attempt, whole = append(bare, time.Since(began)), append(attempt, took), append(whole, done)
		}
	}
	over := median(attempt) - median(bare)
	b.report.add(figure{"overhead", "one managed refresh over the same REFRESH, median", ms(median(bare)), ms(median(attempt)), times(median(attempt), median(bare)), "under 10 ms more", over < 10*time.Millisecond})
	b.report.add(figure{"overhead", "from asking for a refresh to seeing it done, median", ms(median(bare)), ms(median(whole)), times(median(whole), median(bare)), "-", true})
	return nil
}

// waitForRun returns how long the last attempt of a run took.
func (b *bench) waitForRun(ctx context.Context, run int64) (time.Duration, error) {
	for {
		var took *float64
		err := b.admin.QueryRow(ctx, `SELECT extract(epoch FROM finished_at - started_at)::float8 FROM mvscheduler.run WHERE id = $1 AND state = 'succeeded'`, run).Scan(&took)
		switch {
		case err == nil && took != nil:
			return time.Duration(*took * float64(time.Second)), nil
		case err != nil && !errors.Is(err, pgx.ErrNoRows):
			return 0, err
		case ctx.Err() != nil:
			return 0, ctx.Err()
		}
	}
}

// dueToStart measures the time from the instant at which views are due to the start of their attempts, and beside it
// the time after which a loop of bare REFRESH on as many connections as one owner may have runs begins each.
func dueToStart(ctx context.Context, b *bench) error {
	aims := map[int][2]time.Duration{1: {5 * time.Millisecond, 0}, 50: {50 * time.Millisecond, 100 * time.Millisecond}, 200: {200 * time.Millisecond, 500 * time.Millisecond}}
	if err := b.views(ctx, 1000, "full"); err != nil {
		return err
	}
	if err := b.scheduled(ctx); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.warmUp(ctx, 1000); err != nil {
		return err
	}
	for _, n := range []int{1, 50, 200, 1000} {
		rounds := max(3, min(30, 300/n))
		var delays []time.Duration
		for range rounds {
			if err := b.mark(ctx); err != nil {
				return err
			}
			at, err := b.due(ctx, n)
			if err != nil {
				return err
			}
			if err := b.ended(ctx, "succeeded", n); err != nil {
				return err
			}
			rows, err := b.admin.Query(ctx, `SELECT extract(epoch FROM started_at - $2)::float8 FROM mvscheduler.run WHERE state = 'succeeded' AND id > $1`, b.since, at)
			if err != nil {
				return err
			}
			seconds, err := pgx.CollectRows(rows, pgx.RowTo[float64])
			if err != nil {
				return err
			}
			for _, s := range seconds {
				delays = append(delays, time.Duration(s*float64(time.Second)))
			}
		}
		p50, p95 := percentile(delays, 0.5), percentile(delays, 0.95)
		bare, ratio := "-", "-"
		var half time.Duration
		if n > ownerRuns { // else none waits for another
			waited, err := b.bareStarts(ctx, n, rounds)
			if err != nil {
				return err
			}
			half = percentile(waited, 0.5)
			bare, ratio = fmt.Sprintf("p50 %s, p95 %s", ms(half), ms(percentile(waited, 0.95))), times(p50, half)
		}
		aim, met := "-", true
		if a, ok := aims[n]; ok {
			aim, met = fmt.Sprintf("p50 %s", ms(a[0])), p50 <= a[0]
			if a[1] > 0 {
				aim += ", p95 " + ms(a[1])
				met = met && p95 <= a[1]
			}
			if share := half.Seconds() / a[0].Seconds(); !met && share > 0.5 {
				aim += fmt.Sprintf(" (the bare loop: %.0f %% of p50)", 100*share)
			}
		}
		b.report.add(figure{"start", fmt.Sprintf("%d views due at once: from due to start", n), bare, fmt.Sprintf("p50 %s, p95 %s", ms(p50), ms(p95)), ratio, aim, met})
		b.report.starts = append(b.report.starts, start{n, p50, p95})
	}
	return nil
}

// bareStarts refreshes the first n views some times over, each time on as many connections as one owner may have runs, and
// returns how long each view waited for its turn.
func (b *bench) bareStarts(ctx context.Context, n, rounds int) ([]time.Duration, error) {
	conns := make([]*pgx.Conn, ownerRuns)
	for i := range conns {
		conn, err := pgx.Connect(ctx, b.server.URLAs("owner", database))
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		conns[i] = conn
	}
	waited := make([]time.Duration, n*rounds)
	for round := range rounds {
		var (
			group errgroup.Group
			next  atomic.Int64
			began = time.Now()
		)
		for _, conn := range conns {
			group.Go(func() error {
				for {
					i := int(next.Add(1))
					if i > n {
						return nil
					}
					waited[round*n+i-1] = time.Since(began)
					if _, err := conn.Exec(ctx, fmt.Sprintf("REFRESH MATERIALIZED VIEW app.v%d", i)); err != nil {
						return err
					}
				}
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
	}
	return waited, nil
}

// rate compares how many small views are refreshed a second with a loop of REFRESH on one connection.
func rate(ctx context.Context, b *bench) error {
	const n = 1000
	for _, method := range []string{"full", "concurrent"} {
		if method == "full" {
			if err := b.views(ctx, n, method); err != nil {
				return err
			}
			if err := b.start(ctx); err != nil {
				return err
			}
		} else if _, err := b.owner.Exec(ctx, `UPDATE mvscheduler.views SET method = 'concurrent'`); err != nil {
			return err
		}
		if err := b.scheduled(ctx); err != nil {
			return err
		}
		if err := b.warmUp(ctx, n); err != nil {
			return err
		}
		var bare, ours []float64
		for range 3 {
			word := map[string]string{"full": "", "concurrent": "CONCURRENTLY "}[method]
			if method == "full" { // contents for both
				word = ""
			}
			began := time.Now()
			for i := 1; i <= n; i++ {
				if _, err := b.owner.Exec(ctx, fmt.Sprintf("REFRESH MATERIALIZED VIEW %sapp.v%d", word, i)); err != nil {
					return err
				}
			}
			bare = append(bare, n/time.Since(began).Seconds())
			if err := b.mark(ctx); err != nil {
				return err
			}
			at, err := b.due(ctx, n)
			if err != nil {
				return err
			}
			if err := b.ended(ctx, "succeeded", n); err != nil {
				return err
			}
			var seconds float64
			if err := b.admin.QueryRow(ctx, `SELECT extract(epoch FROM max(finished_at) - $2)::float8 FROM mvscheduler.run WHERE id > $1`, b.since, at).Scan(&seconds); err != nil {
				return err
			}
			ours = append(ours, n/seconds)
		}
		ratio := medianOf(ours) / medianOf(bare)
		b.report.add(figure{"rate", fmt.Sprintf("refreshes a second of small views, %s", method), fmt.Sprintf("%.0f/s", medianOf(bare)), fmt.Sprintf("%.0f/s", medianOf(ours)), fmt.Sprintf("%.0f %%", 100*ratio), "at least 40 %", ratio >= 0.4})
	}
	return nil
}

// skipCost measures the processor time that all processes of the server take for a run that is skipped, and for a bare
// REFRESH of the same views. Durations would count how long statements wait for a processor.
func skipCost(ctx context.Context, b *bench) error {
	const n, rounds = 1000, 3
	if err := b.views(ctx, n, "full"); err != nil {
		return err
	}
	if _, err := b.admin.Exec(ctx, `UPDATE mvscheduler.settings SET max_skips = 1000000`); err != nil {
		return err
	}
	if err := b.scheduled(ctx); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	var ours, bare []time.Duration
	var rates []float64
	for range rounds {
		if err := b.warmUp(ctx, n); err != nil { // refreshes what was refreshed by hand
			return err
		}
		if err := b.mark(ctx); err != nil {
			return err
		}
		took, err := b.serverTime(func() error {
			at, err := b.due(ctx, n)
			if err != nil {
				return err
			}
			if err := b.ended(ctx, "skipped", n); err != nil {
				return err
			}
			var wall float64
			err = b.admin.QueryRow(ctx, `SELECT extract(epoch FROM max(finished_at) - $1)::float8 FROM mvscheduler.run WHERE id > $2`, at, b.since).Scan(&wall)
			rates = append(rates, n/wall)
			return err
		})
		if err != nil {
			return err
		}
		ours = append(ours, took/n)
		took, err = b.serverTime(func() error {
			for i := 1; i <= n; i++ {
				if _, err := b.owner.Exec(ctx, fmt.Sprintf("REFRESH MATERIALIZED VIEW app.v%d", i)); err != nil {
					return err
				}
			}
			// Else it reports the last ones when it has been idle for a while, which looks as if they were refreshed by hand then.
			_, err := b.owner.Exec(ctx, `SELECT pg_stat_force_next_flush()`)
			return err
		})
		if err != nil {
			return err
		}
		bare = append(bare, took/n)
	}
	each := median(ours)
	b.report.add(figure{"skip", "processor time of the server for a run that is skipped, claim and bookkeeping included, over that of REFRESH", ms(median(bare)), ms(each), times(each, median(bare)), "under 3 ms", each < 3*time.Millisecond})
	b.report.add(figure{"skip", "skipped runs a second", "-", fmt.Sprintf("%.0f/s", medianOf(rates)), "-", "-", true})
	return nil
}

// idle measures the sidecar, and all processes of the server, while nothing is due.
func idle(ctx context.Context, b *bench) error {
	if err := b.views(ctx, b.idleViews, "full"); err != nil {
		return err
	}
	if err := b.scheduled(ctx); err != nil {
		return err
	}
	if _, err := b.admin.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	time.Sleep(10 * time.Second)
	const span = 30 * time.Second
	cpu, err := cpuTime(b.sidecar.Process.Pid)
	if err != nil {
		return err
	}
	server, err := b.serverTime(func() error {
		time.Sleep(span)
		return nil
	})
	if err != nil {
		return err
	}
	after, err := cpuTime(b.sidecar.Process.Pid)
	if err != nil {
		return err
	}
	resident, err := residentBytes(b.sidecar.Process.Pid)
	if err != nil {
		return err
	}
	percent := 100 * float64(after-cpu) / float64(span)
	what := fmt.Sprintf("idle with %d views", b.idleViews)
	b.report.add(figure{"idle", what + ": CPU", "-", fmt.Sprintf("%.2f %% of a core", percent), "-", "under 1 %", percent < 1})
	b.report.add(figure{"idle", what + ": CPU of the server", "-", fmt.Sprintf("%.2f %% of a core", 100*float64(server)/float64(span)), "-", "-", true})
	b.report.add(figure{"idle", what + ": memory", "-", fmt.Sprintf("%.0f MB", float64(resident)/1e6), "-", "under 80 MB", resident < 80e6})
	return nil
}

// bloat looks at the tables of mvscheduler after many runs.
func bloat(ctx context.Context, b *bench) error {
	const n = 1000
	if err := b.views(ctx, n, "full"); err != nil {
		return err
	}
	if _, err := b.admin.Exec(ctx, `UPDATE mvscheduler.settings SET max_skips = 20, keep_skipped_runs = '1 hour'`); err != nil {
		return err
	}
	if err := b.scheduled(ctx); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	// Every view is due again as soon as it has run: the clock is set back all the time.
	began := time.Now()
	for done := 0; done < b.runs; {
		if _, err := b.admin.Exec(ctx, `
UPDATE mvscheduler.view_state
   SET next_slot = clock_timestamp(), next_due = clock_timestamp()
 WHERE next_due > clock_timestamp() + interval '1 minute'`); err != nil {
			return err
		}
		if err := b.admin.QueryRow(ctx, `SELECT count(*) FROM mvscheduler.run WHERE finished_at IS NOT NULL`).Scan(&done); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.report.add(figure{"bloat", fmt.Sprintf("%d runs of %d views, most of them skipped", b.runs, n), "-", fmt.Sprintf("%.0f runs/s", float64(b.runs)/time.Since(began).Seconds()), "-", "-", true})
	rows, err := b.admin.Query(ctx, `
SELECT c.relname, pg_total_relation_size(c.oid), t.n_live_tup, t.n_dead_tup
  FROM pg_class AS c
  JOIN pg_stat_all_tables AS t ON t.relid = c.oid
 WHERE c.relnamespace = 'mvscheduler'::regnamespace
   AND c.relname IN ('view_state', 'view_health', 'run', 'attempt', 'river_job')
 ORDER BY c.relname`)
	if err != nil {
		return err
	}
	var (
		name             string
		size, live, dead int64
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &size, &live, &dead}, func() error {
		what := fmt.Sprintf("table %s afterwards: size, live and dead rows", name)
		aim, met := "-", true
		if name == "view_state" || name == "view_health" { // the tables that every claim reads
			aim, met = "under 10 kB a view", size < n*10_000
		}
		b.report.add(figure{"bloat", what, "-", fmt.Sprintf("%.1f MB, %d, %d", float64(size)/1e6, live, dead), "-", aim, met})
		return nil
	})
	return err
}
