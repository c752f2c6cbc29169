package jobs

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// A bin is written again where the sidecar was not told that it was written, or failed at what comes after.
func TestABinIsCountedOnceHoweverOftenItIsWritten(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (id bigint)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT id FROM t')`)
	root := db.Conn(t, "")
	var view int64
	require.NoError(t, root.QueryRow(t.Context(), `SELECT view_id FROM mvscheduler.view_state`).Scan(&view))
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = catalog.TakeLease(t.Context(), pool, "me", time.Minute)
	require.NoError(t, err)
	bin := time.Now().UTC().Truncate(catalog.BinWidth).Add(-catalog.BinWidth)
	c := &collector{pool: pool, log: slog.New(slog.DiscardHandler), name: "me", sampling: sampling{evidence: evidence{level: "L0"}}}
	fill := func() {
		c.bin, c.from, c.until = bin, bin, bin.Add(catalog.BinWidth)
		b := &optimizer.Bin{}
		b.Add(optimizer.Metered{Reads: 10, LookBacks: map[optimizer.LookedBack]float64{{Days: 8}: 10}}, 10, catalog.BinWidth)
		c.bins = map[int64]*optimizer.Bin{view: b}
	}
	counted := func() (reads, unknown float64) {
		require.NoError(t, root.QueryRow(t.Context(), `SELECT reads, extract(epoch FROM unknown)::float8 FROM mvscheduler.view_usage`).Scan(&reads, &unknown))
		return reads, unknown
	}
	lookedBack := func() (reads float64) {
		require.NoError(t, root.QueryRow(t.Context(), `SELECT coalesce(sum(reads), 0) FROM mvscheduler.looked_back`).Scan(&reads))
		return reads
	}
	without := func(table string) {
		pgtest.Exec(t, root, `ALTER TABLE mvscheduler.`+table+` RENAME TO away`)
		require.Error(t, c.flush(t.Context()))
		pgtest.Exec(t, root, `ALTER TABLE mvscheduler.away RENAME TO `+table)
	}
	fill()
	without("sampled") // a bin that could not be written is tried again
	without("looked_back")
	require.NoError(t, c.flush(t.Context()))
	reads, unknown := counted()
	require.Equal(t, 10.0, reads, "what failed comes after it")
	require.Zero(t, unknown)
	require.Zero(t, lookedBack(), "they may be written already, and add up")
	fill() // as if nobody had said that it is there
	require.NoError(t, c.flush(t.Context()))
	reads, _ = counted()
	require.Equal(t, 10.0, reads, "its connection was lost at the commit")
	bin = bin.Add(3 * catalog.BinWidth)
	fill()
	require.NoError(t, c.flush(t.Context()))
	reads, unknown = counted()
	require.Equal(t, 20.0, reads)
	require.Equal(t, 600.0, unknown, "two bins are not there")
}

// In containers the process is number 1, and hosts may have one name.
func TestTwoSidecarsOfOneNameDoNotBothSample(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pgtest.Exec(t, db.Conn(t, db.User(t, "alice")), `CREATE TABLE t (id bigint)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT id FROM t')`)
	pool, err := NewControlPool(t.Context(), db.URLAs(db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	sampled := 0
	for range 2 {
		r, err := New(pool, nil, Config{Name: "host/1", SampleEvery: time.Minute})
		require.NoError(t, err)
		require.NoError(t, r.collector.tick(t.Context()))
		if r.collector.samples > 0 {
			sampled++
		}
	}
	require.Equal(t, 1, sampled)
}
