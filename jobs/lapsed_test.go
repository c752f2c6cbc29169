package jobs

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// sampler is a collector on a database of its own, whose clock is ahead of the true one by skew.ahead, with a view v of alice's.
func sampler(t *testing.T) (c *collector, db *pgtest.DB, read func(times int)) {
	t.Helper()
	db = pgtest.New(t)
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	db.Exec(t, `CREATE TABLE public.skew (ahead interval)`)
	db.Exec(t, `INSERT INTO public.skew VALUES ('0')`)
	db.Exec(t, `CREATE FUNCTION public.ahead() RETURNS interval LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT s.ahead FROM public.skew AS s); END'`)
	db.Exec(t, `CREATE FUNCTION pg_catalog.true_clock_timestamp() RETURNS timestamptz LANGUAGE internal VOLATILE PARALLEL SAFE AS 'clock_timestamp'`)
	db.Exec(t, `CREATE OR REPLACE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.true_clock_timestamp() + public.ahead()'`) // it is inlined
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `SELECT set_config('search_path', CURRENT_USER, false)`, `CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 10) AS i`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on, unique_key) VALUES ('v', 'SELECT id FROM t', 'manual', '{id}')`, `REFRESH MATERIALIZED VIEW v`)
	read = func(times int) {
		t.Helper()
		for range times {
			pgtest.Exec(t, alice, `SELECT * FROM v`)
		}
		pgtest.Exec(t, alice, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	}
	read(1)
	return &collector{pool: pool, log: slog.New(slog.NewTextHandler(io.Discard, nil)), name: "test", every: time.Minute}, db, read
}

func usageOf(t *testing.T, db *pgtest.DB) (reads int, unread time.Duration, unknown time.Duration) {
	t.Helper()
	var r, u float64
	require.NoError(t, db.Conn(t, "").QueryRow(t.Context(), `
SELECT round(reads)::int, extract(epoch FROM unread_unknown)::float8, extract(epoch FROM unknown)::float8 FROM mvscheduler.view_usage`).Scan(&reads, &r, &u))
	return reads, duration(r), duration(u)
}

// While the lease was over another sidecar may have counted, and a clock that was set ahead by weeks saw nobody not read for weeks.
func TestWhatWasReadWhileTheLeaseWasOverIsUnknown(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	c, db, read := sampler(t)
	tick := func() {
		t.Helper()
		require.NoError(t, c.tick(t.Context()))
	}
	flushed := func() (int, time.Duration, time.Duration) {
		t.Helper()
		require.NoError(t, c.flush(t.Context()))
		return usageOf(t, db)
	}
	tick()
	read(3)
	tick()
	reads, unread, unknown := flushed()
	require.Equal(t, 3, reads)
	require.Less(t, max(unread, unknown), time.Hour)

	db.Exec(t, `UPDATE public.skew SET ahead = '40 days'`)
	read(3)
	tick()
	tick()
	reads, unread, unknown = flushed()
	require.Equal(t, 3, reads)
	require.InDelta(t, (40 * day).Hours(), unread.Hours(), 1)
	require.InDelta(t, (40 * day).Hours(), unknown.Hours(), 1)
	read(2)
	tick()
	reads, unread, _ = flushed()
	require.Equal(t, 5, reads)
	require.Zero(t, unread)

	db.Exec(t, `UPDATE public.skew SET ahead = '0'`)
	tick()
	tick()
	reads, unread, unknown = flushed()
	require.Equal(t, 5, reads)
	require.Less(t, max(unread, unknown), time.Hour, "what the clock was ahead was no time")
}
