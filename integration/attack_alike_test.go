package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Where everybody may create in the schema of an extension, as in public before PostgreSQL 15, a function of the same name that fits as
// well makes each call fail. It is never called, and keeps nobody's reads from being counted.
func TestAFunctionThatFitsAsWellAsThatOfAnExtensionStopsNothing(t *testing.T) {
	t.Parallel()
	s := withQuals(t)
	needExtension(t, "hypopg")
	pgtest.Exec(t, s.root, `CREATE SCHEMA ext`, `GRANT ALL ON SCHEMA ext TO PUBLIC`, `CREATE EXTENSION pg_stat_statements SCHEMA ext`, `CREATE EXTENSION pg_qualstats SCHEMA ext`, `CREATE EXTENSION hypopg SCHEMA ext`)
	bob := s.db.Conn(t, s.db.User(t, "bob"))
	pgtest.Exec(t, bob, `CREATE TABLE ext.callers (name text)`, `GRANT ALL ON ext.callers TO PUBLIC`)
	for _, f := range []string{`pg_stat_statements(boolean, integer DEFAULT 1)`, `pg_stat_statements_info(integer DEFAULT 1)`, `pg_qualstats(integer DEFAULT 1)`, `pg_qualstats_example_queries(integer DEFAULT 1)`,
		`pg_qualstats(VARIADIC integer[] DEFAULT '{}')`, `hypopg_create_index(text, integer DEFAULT 1)`, `hypopg_drop_index(oid, integer DEFAULT 1)`} {
		pgtest.Exec(t, bob, `CREATE FUNCTION ext.`+f+` RETURNS void LANGUAGE plpgsql AS 'BEGIN INSERT INTO ext.callers VALUES (CURRENT_USER); END'`)
	}
	pgtest.Exec(t, s.alice, `INSERT INTO sales (id, amount) SELECT i, i % 900 FROM generate_series(100000, 105000) AS i`)
	s.manage(t, "v", "SELECT id, amount FROM sales", "refresh_on", "manual")
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v`)
	reported(t, s.alice)
	side := startSidecar(t, s.db, often...)
	collecting(t, s.root)
	s.readAndSampled(t, 7)
	require.Zero(t, side.stop())
	require.Equal(t, 7, ask[int](t, s.root, `SELECT round(reads)::int FROM mvscheduler.view_usage`))
	s.recommended(t)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET evidence = $${"columns": ["amount"], "ranged": false, "selectivity": 0.01}$$`)
	pgtest.Exec(t, s.alice, `ANALYZE v`)
	require.Contains(t, ask[string](t, s.root, `SELECT sources FROM mvscheduler.collector`), "pg_qualstats could not be read (SQLSTATE 42725")
	const tried = `SELECT mvscheduler.try_index(id) ->> 'not_tried' FROM mvscheduler.recommendations`
	require.Contains(t, ask[string](t, s.alice, tried), "DROP FUNCTION ext.hypopg_create_index(text,integer)")
	pgtest.Exec(t, bob, `DROP FUNCTION ext.hypopg_create_index(text, integer)`)
	require.Contains(t, ask[string](t, s.alice, tried), "DROP FUNCTION ext.hypopg_drop_index(oid,integer)")
	pgtest.Exec(t, bob, `DROP FUNCTION ext.hypopg_drop_index(oid, integer)`)
	require.True(t, ask[bool](t, s.alice, `SELECT mvscheduler.try_index(id) ? 'plan_cost_after' FROM mvscheduler.recommendations`))
	require.Zero(t, ask[int](t, bob, `SELECT count(*)::int FROM ext.callers`))
}
