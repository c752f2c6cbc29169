package catalog

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What sessions report between two statements of a sample shows in its relations: their transactions are counted once more after
// that, here and on a standby.
func TestTransactionsAreCountedOnceMoreAfterTheRelations(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	config, err := pgxpool.ParseConfig(db.URL())
	require.NoError(t, err)
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	writer, other := db.Conn(t, ""), db.Conn(t, "")
	first, err := ReadCounters(t.Context(), pool, nil, time.Time{})
	require.NoError(t, err)
	for name, read := range map[string]func() (Counters, error){
		"primary": func() (Counters, error) { return ReadCounters(t.Context(), pool, nil, time.Time{}) },
		"standby": func() (Counters, error) {
			c, err := ReadStandby(t.Context(), pool, first.Cluster)
			require.EqualError(t, err, "it is no standby, or not any more") // but the same counters
			return c, nil
		},
	} {
		_, err := read() // statements are parsed once, before all of them
		require.NoError(t, err)
		tx, err := other.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), `ALTER VIEW mvscheduler.counted SET (security_barrier)`) // what says which relations are looked at waits
		require.NoError(t, err)
		var c Counters
		done := make(chan error)
		go func() (err error) {
			defer func() { done <- err }()
			c, err = read()
			return err
		}()
		require.Eventually(t, func() (waits bool) {
			err := writer.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'mvscheduler.counted'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits)
			return err == nil && waits
		}, time.Minute, 10*time.Millisecond)
		for range 100 {
			pgtest.Exec(t, writer, `SELECT 1`)
		}
		pgtest.Exec(t, writer, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
		require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context())))
		require.NoError(t, <-done)
		require.GreaterOrEqual(t, c.Later, c.Transactions+100, name)
	}
}
