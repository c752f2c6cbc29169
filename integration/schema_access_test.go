package integration

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The first registration in a schema gives the sidecar access to it, and another one that comes before its COMMIT cannot
// see that. Before 17 the sidecar is a member of the owner.
func TestTwoTransactionsThatRegisterInANewSchemaAtOnceAreToldApart(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if s.db.Version() < 170000 {
		t.Skip("the sidecar has access by its membership")
	}
	s.oldYear(t)
	first := s.db.Conn(t, s.owner)
	pgtest.Exec(t, first, `BEGIN`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS x')`)
	for _, second := range []string{keepAYear, `INSERT INTO mvscheduler.views (name, query) VALUES ('w', 'SELECT 1 AS x')`} {
		_, err := s.alice.Exec(t.Context(), second)
		var pg *pgconn.PgError
		require.ErrorAs(t, err, &pg)
		require.Equal(t, "55006", pg.Code)
		require.Contains(t, pg.Detail, "Another transaction is changing the privileges of the schema")
		require.Contains(t, pg.Hint, "GRANT USAGE ON SCHEMA "+s.owner)
	}

	// It commits while the other one waits.
	pgtest.Exec(t, s.alice, `SET lock_timeout = 0`, `CREATE MATERIALIZED VIEW m AS SELECT 1 AS x`)
	done := make(chan error, 1)
	go func() {
		_, err := s.alice.Exec(t.Context(), fmt.Sprintf(`SELECT mvscheduler.grant_to_worker(jsonb_populate_record(NULL::mvscheduler.views, '{"name": "m", "owner": "%s"}'), 'm'::regclass)`, s.owner))
		done <- err
	}()
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database() AND locktype IN ('transactionid', 'tuple'))`)
	pgtest.Exec(t, first, `COMMIT`)
	require.NoError(t, <-done)

	// From now on nobody waits.
	pgtest.Exec(t, first, `BEGIN`, `INSERT INTO mvscheduler.views (name, query) VALUES ('u', 'SELECT 1 AS x')`)
	pgtest.Exec(t, s.alice, keepAYear)
	pgtest.Exec(t, first, `COMMIT`)
}
