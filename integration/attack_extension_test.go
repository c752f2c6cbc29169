package integration

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/jobs"
)

// Bob owns the schema of an extension. No lock on what is in it keeps him from renaming it, and from putting functions of his own where
// it was.
func TestNothingIsCalledInASchemaThatSomebodyCanRename(t *testing.T) {
	t.Parallel()
	s := withQuals(t)
	needExtension(t, "hypopg")
	name := s.db.User(t, "bob")
	bob := s.db.Conn(t, name)
	pgtest.Exec(t, s.root, `CREATE SCHEMA ext AUTHORIZATION `+name, `GRANT USAGE ON SCHEMA ext TO PUBLIC`, `CREATE EXTENSION pg_stat_statements SCHEMA ext`, `CREATE EXTENSION pg_qualstats SCHEMA ext`, `CREATE EXTENSION hypopg SCHEMA ext`,
		`DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO PUBLIC', current_database()); END $$`)
	pool, err := jobs.NewControlPool(t.Context(), s.db.URLAs(s.db.Worker(t)))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	swapped := func(lookAlike ...string) { // and back
		t.Helper()
		pgtest.Exec(t, bob, append([]string{`ALTER SCHEMA ext RENAME TO was`, `CREATE SCHEMA ext`, `GRANT USAGE ON SCHEMA ext TO PUBLIC`, `CREATE TABLE ext.callers (name text)`, `GRANT ALL ON ext.callers TO PUBLIC`}, lookAlike...)...)
	}
	callers := func() string {
		t.Helper()
		defer pgtest.Exec(t, bob, `DROP SCHEMA ext CASCADE`, `ALTER SCHEMA was RENAME TO ext`)
		return ask[string](t, bob, `SELECT coalesce(string_agg(DISTINCT name, ' '), '') FROM ext.callers`)
	}

	statements, err := catalog.FindStatements(t.Context(), pool)
	require.NoError(t, err)
	require.NoError(t, catalog.HoldStatements(t.Context(), pool, statements, func(q catalog.Querier, found catalog.StatementSource) error {
		swapped(`CREATE FUNCTION ext.pg_stat_statements(boolean) RETURNS TABLE (queryid bigint, userid oid, dbid oid, toplevel boolean, calls bigint) LANGUAGE plpgsql AS 'BEGIN INSERT INTO ext.callers VALUES (CURRENT_USER); END'`,
			`CREATE FUNCTION ext.pg_stat_statements_info() RETURNS TABLE (dealloc bigint, stats_reset timestamptz) LANGUAGE plpgsql AS 'BEGIN INSERT INTO ext.callers VALUES (CURRENT_USER); END'`)
		_, err := catalog.ReadCalls(t.Context(), q, found)
		return err
	}))
	require.Empty(t, callers(), "of the function in the place of pg_stat_statements")
	require.Contains(t, statements.Missing, "pg_stat_statements is in a schema of "+name+", who could put functions of her or his own in its place; a DBA runs: ALTER EXTENSION pg_stat_statements SET SCHEMA public")

	quals, err := catalog.FindQuals(t.Context(), pool)
	require.NoError(t, err)
	require.Contains(t, quals.Missing, "pg_qualstats is in a schema of "+name)

	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('v', 'SELECT id, amount FROM sales', 'manual')`)
	s.recommended(t)
	require.Contains(t, ask[string](t, s.alice, `SELECT mvscheduler.try_index(id) ->> 'not_tried' FROM mvscheduler.recommendations`), "HypoPG is in a schema of "+name)

	// The owner of the database can do more than that.
	pgtest.Exec(t, s.root, `ALTER EXTENSION pg_stat_statements SET SCHEMA public`, `ALTER EXTENSION pg_qualstats SET SCHEMA public`, `ALTER EXTENSION hypopg SET SCHEMA public`)
	for _, owner := range []string{"postgres", name} {
		pgtest.Exec(t, s.root, `ALTER DATABASE `+pgx.Identifier{s.root.Config().Database}.Sanitize()+` OWNER TO `+owner)
		statements, err = catalog.FindStatements(t.Context(), pool)
		require.NoError(t, err)
		require.Empty(t, statements.Missing)
		quals, err = catalog.FindQuals(t.Context(), pool)
		require.NoError(t, err)
		require.False(t, strings.Contains(quals.Missing, "schema"), quals.Missing)
	}
}
