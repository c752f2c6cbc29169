package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/migrations"
)

// bench is a fresh server with the schema, an owner of views and, once started, a sidecar.
type bench struct {
	config
	report  *report
	server  *pgserver.Server
	admin   *pgx.Conn
	owner   *pgx.Conn
	sidecar *exec.Cmd
	since   int64 // see mark
	log     *os.File
}

const database = "bench"

func setUp(ctx context.Context, c config, r *report) (*bench, error) {
	server, err := pgserver.Start(ctx, pgserver.Config{Settings: map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "512MB", "max_wal_size": "4GB",
		"log_line_prefix": "%a|", "max_locks_per_transaction": "256",
	}})
	if err != nil {
		return nil, err
	}
	b := &bench{config: c, report: r, server: server}
	if err := b.prepare(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) prepare(ctx context.Context) error {
	admin, err := pgx.Connect(ctx, b.server.URL("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+database); err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, b.server.URL(database), migrations.Options{}); err != nil {
		return err
	}
	if b.admin, err = pgx.Connect(ctx, b.server.URL(database)); err != nil {
		return err
	}
	grant := "GRANT owner TO mvscheduler_worker"
	if b.server.Version() >= 160000 {
		grant += " WITH INHERIT TRUE, SET FALSE"
	}
	for _, sql := range []string{
		`CREATE ROLE owner LOGIN IN ROLE mvscheduler_user`, `CREATE ROLE sidecar LOGIN IN ROLE mvscheduler_worker`, grant,
		`CREATE SCHEMA app AUTHORIZATION owner`, `UPDATE mvscheduler.settings SET max_runs_per_owner = 100000, max_skips = 0`,
	} {
		if _, err := b.admin.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	if b.owner, err = pgx.Connect(ctx, b.server.URLAs("owner", database)); err != nil {
		return err
	}
	_, err = b.owner.Exec(ctx, `
CREATE TABLE app.sales (at timestamptz NOT NULL, shop int, amount numeric);
INSERT INTO app.sales SELECT '2026-01-01'::timestamptz + i * interval '1 minute', i % 20, i FROM generate_series(1, 2000) AS i;
ANALYZE app.sales`)
	return err
}

// views registers n small views, each an hourly rollup of its own slice, and fills them.
func (b *bench) views(ctx context.Context, n int, method string) error {
	_, err := b.owner.Exec(ctx, `SET client_min_messages = error`)
	if err != nil {
		return err
	}
	for from := 1; from <= n; from += 500 {
		_, err := b.owner.Exec(ctx, `
INSERT INTO mvscheduler.views (name, query, refresh_on, method, "analyze")
SELECT format('app.v%s', i), format('SELECT shop, count(*) AS n, sum(amount) AS amount FROM app.sales WHERE shop >= %s GROUP BY shop', i % 20), 'manual', $3, false
  FROM generate_series($1::int, $2::int) AS i`, from, min(n, from+499), method)
		if err != nil {
			return err
		}
	}
	return nil
}

// scheduled gives every view a clock that has an hour to go.
func (b *bench) scheduled(ctx context.Context) error {
	_, err := b.admin.Exec(ctx, `
UPDATE mvscheduler.view_state
   SET refresh_on = 'schedule', refresh_interval = '10 years', next_slot = now() + '1 hour', next_due = now() + '1 hour', next_cause = NULL, reschedule = false, target = '10 years'`)
	return err
}

// due makes the first n views due in a second, all at once, and says when that is. Their runs say something
// else: the slot of the schedule and its jitter.
func (b *bench) due(ctx context.Context, n int) (at time.Time, err error) {
	if err := b.admin.QueryRow(ctx, `SELECT clock_timestamp() + interval '1 second'`).Scan(&at); err != nil {
		return at, err
	}
	_, err = b.admin.Exec(ctx, `UPDATE mvscheduler.view_state SET next_slot = $2, next_due = $2 WHERE view_id <= $1`, n, at)
	return at, err
}

// mark lets ended count only runs that are made from now on.
func (b *bench) mark(ctx context.Context) error {
	return b.admin.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM mvscheduler.run`).Scan(&b.since)
}

// ended waits until so many runs since the mark are in the state.
func (b *bench) ended(ctx context.Context, state string, n int) error {
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		var count int
		err := b.admin.QueryRow(ctx, `SELECT count(*) FROM mvscheduler.run WHERE state = $1 AND id > $2`, state, b.since).Scan(&count)
		if err != nil {
			return err
		}
		if count >= n {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d runs are %s", count, n, state)
		}
	}
}

// serverTime is the processor time that all processes of the server take while something is done.
func (b *bench) serverTime(do func() error) (time.Duration, error) {
	before, err := familyTime(b.server.PID())
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := familyTime(b.server.PID())
	return after - before, err
}

// warmUp refreshes n views once: a sidecar looks once at the functions of each definition, and autovacuum knows
// our tables after a while.
func (b *bench) warmUp(ctx context.Context, n int) error {
	if err := b.mark(ctx); err != nil {
		return err
	}
	if _, err := b.due(ctx, n); err != nil {
		return err
	}
	if err := b.ended(ctx, "succeeded", n); err != nil {
		return err
	}
	_, err := b.admin.Exec(ctx, `VACUUM ANALYZE`)
	return err
}

// start runs the sidecar.
func (b *bench) start(ctx context.Context) error {
	log, err := os.Create(filepath.Join(b.server.SocketDir(), "sidecar.log"))
	if err != nil {
		return err
	}
	b.log = log
	b.sidecar = exec.CommandContext(context.WithoutCancel(ctx), b.program, "serve", "--listen", "127.0.0.1:0")
	b.sidecar.Env = append(os.Environ(), "DATABASE_URL="+b.server.URLAs("sidecar", database))
	b.sidecar.Stderr = log
	if err := b.sidecar.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "worker started") {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the sidecar did not start:\n%s", text)
		}
	}
}

func (b *bench) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if b.sidecar != nil && b.sidecar.Process != nil {
		_ = b.sidecar.Process.Signal(syscall.SIGTERM)
		_ = b.sidecar.Wait()
		_ = b.log.Close()
	}
	for _, conn := range []*pgx.Conn{b.admin, b.owner} {
		if conn != nil {
			_ = conn.Close(ctx)
		}
	}
	_ = b.server.Close()
}
