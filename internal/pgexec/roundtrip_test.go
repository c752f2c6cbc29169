package pgexec

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// counted is a connection that counts how often something is sent.
type counted struct {
	net.Conn

	sent *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	c.sent.Add(1)
	return c.Conn.Write(b)
}

// counting is a session of a superuser, and how often it has sent something.
func counting(t *testing.T, db *pgtest.DB) (*Session, *atomic.Int64) {
	t.Helper()
	config, err := pgxpool.ParseConfig(db.URL())
	require.NoError(t, err)
	var sent atomic.Int64
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return counted{conn, &sent}, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(conn.Release)
	return &Session{conn: conn}, &sent
}

// What begins a transaction, its settings and what is read first of its snapshot go together.
func TestATransactionBeginsInOneRoundTrip(t *testing.T) {
	t.Parallel()
	s, sent := counting(t, pgtest.New(t))
	var level, zone string
	first := func(batch *pgx.Batch) {
		batch.Queue(`SELECT current_setting('transaction_isolation')`).QueryRow(func(row pgx.Row) error { return row.Scan(&level) })
		batch.Queue(`SELECT current_setting('TimeZone')`).QueryRow(func(row pgx.Row) error { return row.Scan(&zone) })
	}
	var before, begun int64
	for range 2 { // the first time statements are prepared
		before = sent.Load()
		require.NoError(t, s.InSnapshot(t.Context(), Settings{TimeZone: "Asia/Kathmandu"}, first, func(*Tx) error {
			begun = sent.Load()
			return nil
		}))
	}
	require.EqualValues(t, 1, begun-before)
	require.Equal(t, "repeatable read", level)
	require.Equal(t, "Asia/Kathmandu", zone)

	failing := func(batch *pgx.Batch) { batch.Queue(`SELECT 1 / 0`) }
	err := s.InSnapshot(t.Context(), Settings{}, failing, func(*Tx) error { t.Error("it has not begun"); return nil })
	require.ErrorContains(t, err, "division by zero")
	require.Equal(t, byte('I'), s.conn.Conn().PgConn().TxStatus(), "it was rolled back")
}

// It is looked at twice what is refreshed; the second look goes with what closes cursors.
func TestARefreshTakesThreeRoundTrips(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	db.Exec(t, `CREATE MATERIALIZED VIEW public.m AS SELECT 1 AS a`)
	s, sent := counting(t, db)
	var target Target
	require.NoError(t, s.conn.QueryRow(t.Context(), `SELECT c.oid, c.relowner FROM pg_class AS c WHERE c.oid = 'public.m'::regclass`).Scan(&target.OID, &target.Owner))
	var before, done int64
	for range 2 { // the first time statements are prepared
		require.NoError(t, s.InTx(t.Context(), Settings{}, func(tx *Tx) error {
			before = sent.Load()
			err := tx.Refresh(t.Context(), target, false)
			done = sent.Load()
			return err
		}))
	}
	require.EqualValues(t, 3, done-before)
	require.Error(t, s.InTx(t.Context(), Settings{}, func(tx *Tx) error {
		_, err := tx.refreshed(t.Context(), target, "m", false)
		return err
	}), "without a lock")
}

// To empty a gate takes two more: the look that ends its refresh begins the other.
func TestToRefreshAndEmptyTakesFiveRoundTrips(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	db.Exec(t, `CREATE MATERIALIZED VIEW public.m AS SELECT 1 AS a`)
	s, sent := counting(t, db)
	var target Target
	require.NoError(t, s.conn.QueryRow(t.Context(), `SELECT c.oid, c.relowner FROM pg_class AS c WHERE c.oid = 'public.m'::regclass`).Scan(&target.OID, &target.Owner))
	var before, done int64
	for range 2 { // the first time statements are prepared
		require.NoError(t, s.InTx(t.Context(), Settings{}, func(tx *Tx) error {
			before = sent.Load()
			err := tx.RefreshAndEmpty(t.Context(), target)
			done = sent.Load()
			return err
		}))
	}
	require.EqualValues(t, 5, done-before)
}

// The lock of the refresh is held, so it does not prove what was emptied. A schema can be renamed whatever is locked in it.
func TestNothingElseIsEmptied(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	root := db.Conn(t, "postgres")
	pgtest.Exec(t, root, `CREATE SCHEMA a`, `CREATE MATERIALIZED VIEW a.m AS SELECT 1 AS a`, `CREATE SCHEMA b`, `CREATE MATERIALIZED VIEW b.m AS SELECT 2 AS a`)
	s, _ := counting(t, db)
	var target Target
	require.NoError(t, s.conn.QueryRow(t.Context(), `SELECT c.oid, c.relowner FROM pg_class AS c WHERE c.oid = 'a.m'::regclass`).Scan(&target.OID, &target.Owner))
	err := s.InTx(t.Context(), Settings{}, func(tx *Tx) error {
		name, err := tx.refresh(t.Context(), target, false)
		require.NoError(t, err)
		pgtest.Exec(t, root, `ALTER SCHEMA a RENAME TO c`, `ALTER SCHEMA b RENAME TO a`)
		_, err = tx.Exec(t.Context(), `SELECT FROM pg_largeobject_metadata`) // with a lock that is new the session hears of it
		require.NoError(t, err)
		return tx.empty(t.Context(), target, name)
	})
	var notIt *NotItError
	require.ErrorAs(t, err, &notIt)
	var kept int
	require.NoError(t, s.conn.QueryRow(t.Context(), `SELECT a FROM a.m`).Scan(&kept))
	require.Equal(t, 2, kept)
}
