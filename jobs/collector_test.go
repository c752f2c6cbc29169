package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/optimizer/attribution"
)

// BenchmarkAnHourOfTheCollector is what it costs to sample 1,000 views every minute: 60 samples, and what is written
// down, looked up and rolled up meanwhile. Between two samples 1,000 of 5,000 statements are called, 20 of which are new.
// The bar is 0.2 % of a core, sidecar and server together, which are 120 ms a sample.
func BenchmarkAnHourOfTheCollector(b *testing.B) {
	const views, shapes = 1000, 5
	db := pgtest.Dedicated(b, map[string]string{"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.max": "10000", "max_locks_per_transaction": "256", "log_statement": "none"})
	user := db.User(b, "alice")
	alice := db.Conn(b, user)
	db.Exec(b, `CREATE EXTENSION pg_stat_statements`)
	pgtest.Exec(b, alice, `SET client_min_messages = error`, `SELECT set_config('search_path', CURRENT_USER, false)`,
		`DO $$ BEGIN FOR i IN 1..200 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT n AS id, n %% 20 AS shop, n AS amount FROM generate_series(1, 100) AS n', i); END LOOP; END $$`)
	for from := 1; from <= views; from += 250 {
		pgtest.Exec(b, alice, fmt.Sprintf(`
INSERT INTO mvscheduler.views (name, query, refresh_on, unique_key)
SELECT format('v%%s', i), format('SELECT id, shop, amount FROM t%%s', 1 + i %% 200), 'manual', '{id}' FROM generate_series(%d, %d) AS i`, from, from+249),
			fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE format('REFRESH MATERIALIZED VIEW v%%s', i); END LOOP; END $$`, from, from+249))
	}
	db.Exec(b, `
INSERT INTO mvscheduler.view_health (view_id, refreshes, data_as_of, method, change_token)
SELECT view_id, 1, now(), 'full', 'x' FROM mvscheduler.view_state ON CONFLICT (view_id) DO UPDATE SET change_token = EXCLUDED.change_token`)
	db.Exec(b, `VACUUM ANALYZE`)
	statement := func(view, shape int) string {
		return fmt.Sprintf("SELECT count(*) FROM v%d WHERE shop = 1%s", view, strings.Repeat(" AND amount > 0", shape))
	}
	called := func(sql func(view int) string) {
		batch := &pgx.Batch{}
		for view := 1; view <= views; view++ {
			batch.Queue(sql(view))
		}
		batch.Queue(`SELECT pg_stat_force_next_flush()`)
		require.NoError(b, alice.SendBatch(b.Context(), batch).Close())
	}

	pool, backend := watchedPool(b, db)
	c := &collector{pool: pool, log: slog.New(slog.NewTextHandler(io.Discard, nil)), name: "bench", every: time.Minute}
	minute, ours := 0, time.Duration(0)
	sample := func() {
		minute++
		called(func(view int) string { return statement(view, (view+minute)%shapes) })
		for i := range 20 {
			pgtest.Exec(b, alice, statement(1+(20*minute+i)%views, shapes+20*minute/views))
		}
		before := ownTime(b)
		require.NoError(b, c.tick(b.Context()))
		if minute%5 == 0 {
			require.NoError(b, c.flush(b.Context()))
		}
		ours += ownTime(b) - before
	}
	for range 2 * shapes * views / textsAtOnce { // until every statement is known
		sample()
	}
	require.Equal(b, "L1", c.level)
	require.Greater(b, len(c.reads), shapes*views-views/10)

	ours = 0
	began := backendTime(b, backend)
	for b.Loop() {
		c.rolled = time.Time{}
		for range 60 {
			sample()
		}
	}
	samples := float64(60 * b.N)
	server := backendTime(b, backend) - began
	perSample := func(d time.Duration) float64 { return d.Seconds() * 1000 / samples }
	b.ReportMetric(perSample(ours), "ms-sidecar/sample")
	b.ReportMetric(perSample(server), "ms-server/sample")
	const allowed = 0.2 // per cent of a core
	share := 100 * (ours + server).Seconds() / samples / c.every.Seconds()
	b.ReportMetric(share, "%-of-a-core")
	b.Logf("sampling 1,000 views takes %.3f %% of a core: %.2f times the %.1f %% that are allowed", share, share/allowed, allowed)
}

func TestWhenThePlannerFailsTheLogSaysThatAndReadsAreSampledOn(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	var lines strings.Builder
	c := &collector{pool: pool, log: slog.New(slog.NewTextHandler(&lines, nil)), name: "test", every: time.Minute,
		plan: func(context.Context, evidence) error { return errors.New("out of ideas") }}
	require.NoError(t, c.tick(t.Context()))
	require.Contains(t, lines.String(), `msg="recommendations could not be made, will retry" err="out of ideas"`)
	require.Equal(t, 1, c.samples)
}

// One text of another database that the encoding of this one cannot write makes an error of pg_stat_statements.
func TestWherePgStatStatementsFailsScansAreCounted(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	c := &collector{pool: pool, log: slog.New(slog.NewTextHandler(io.Discard, nil)), name: "test", every: time.Minute}
	require.NoError(t, c.sample(t.Context()))
	c.calls, err = c.without(t.Context(), fmt.Errorf("read pg_stat_statements: %w", &pgconn.PgError{Code: "22P05", Message: "a text of somebody"}))
	require.NoError(t, err)
	c.describe(catalog.Counters{})
	require.Equal(t, "L0", c.level)
	_, err = c.without(t.Context(), errors.New("the connection is lost"))
	require.Error(t, err)
	require.Contains(t, c.words, "pg_stat_statements could not be read (SQLSTATE 22P05")
}

// What a sample has no time for is for the next, and until then its calls are not taken for none.
func TestTextsThatThereIsNoTimeForAreLeftForTheNextSample(t *testing.T) {
	t.Parallel()
	texts := map[int64]string{1: "SELECT * FROM a", 2: "SELECT * FROM b", 3: "SELECT * FROM c", 4: "no statement"}
	c := collector{sampling: sampling{reads: make(map[int64][]attribution.Name)}}
	clock := time.Now()
	slowly := func() time.Time {
		clock = clock.Add(800 * time.Millisecond)
		return clock
	}
	c.understand([]int64{4, 1, 2, 3}, texts, slowly)
	require.Equal(t, map[int64][]attribution.Name{4: nil, 1: {{Relation: "a"}}}, c.reads)
	calls := map[catalog.Call]int64{{Statement: 1}: 90, {Statement: 4}: 5, {Statement: 2}: 5}
	require.True(t, c.understood(calls), "a few do not matter")
	calls[catalog.Call{Statement: 3}] = 1
	require.False(t, c.understood(calls))
	c.understand([]int64{2, 3}, texts, time.Now)
	require.True(t, c.understood(calls))
	require.Equal(t, []attribution.Name{{Relation: "c"}}, c.reads[3])
	require.True(t, c.understood(nil))
}

// A server that takes connections and says nothing is one that was stopped, or that a firewall hides.
func TestAStandbyThatHangsDoesNotKeepSamplesFromBeingRolledUp(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	mute, err := NewControlPool(t.Context(), "postgres://nobody@"+listener.Addr().String()+"/nothing?sslmode=disable&connect_timeout=60")
	require.NoError(t, err)
	t.Cleanup(mute.Close)
	c := &collector{pool: pool, log: slog.New(slog.NewTextHandler(io.Discard, nil)), name: "test", every: time.Minute, standbys: []*pgxpool.Pool{mute}}
	require.NoError(t, c.tick(t.Context()))
	c.rolled = time.Time{}
	require.NoError(t, c.tick(t.Context()))
	require.NotZero(t, c.rolled)
}

// ownTime is what this process has used.
func ownTime(t testing.TB) time.Duration {
	var used syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// watchedPool is a control pool of one connection, and the process of the server whose time is looked at.
func watchedPool(t testing.TB, db *pgtest.DB) (pool *pgxpool.Pool, backend int) {
	control, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	config := control.Config()
	control.Close()
	config.MaxConns = 1
	pool, err = pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&backend))
	return pool, backend
}

// backendTime is what a process of the server has used (proc(5): fields 14 and 15 of stat, in ticks of 10 ms).
func backendTime(t testing.TB, pid int) (sum time.Duration) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	for _, field := range strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))[11:13] {
		ticks, err := strconv.Atoi(field)
		require.NoError(t, err)
		sum += time.Duration(ticks) * 10 * time.Millisecond
	}
	return sum
}
