package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A database has hundreds of thousands of dependencies: with 8,000 views most of the time of an INSERT went into reading them.
func TestARegistrationDoesNotReadAllDependencies(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "first", "SELECT id, amount FROM sales", "enabled", false)
	pgtest.Exec(t, s.root, `VACUUM ANALYZE pg_catalog.pg_depend`, `VACUUM ANALYZE pg_catalog.pg_rewrite`)
	tx, err := s.alice.Begin(t.Context())
	require.NoError(t, err)
	const read = `SELECT pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid) FROM pg_class WHERE oid = 'pg_depend'::regclass`
	before := ask[int64](t, s.alice, read)
	_, err = tx.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, enabled) VALUES ('second', 'SELECT id, amount FROM sales', false)`)
	require.NoError(t, err)
	require.Less(t, ask[int64](t, s.alice, read)-before, int64(300))
	require.NoError(t, tx.Rollback(t.Context()))
}
