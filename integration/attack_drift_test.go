package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// SQL on the catalogs goes by the snapshot of the transaction, and DDL does not.
func TestAHandoverLooksAtThePresent(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(immutable("hidden", "int"))
	a.manual(a.m, "mallory.v", "SELECT 1 AS v")
	for _, level := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
		pgtest.Exec(t, admin, `BEGIN ISOLATION LEVEL `+level, `SELECT query FROM mvscheduler.views`)
		a.as(`CREATE INDEX ON mallory.v ((v + mallory.hidden(1)))`)
		for _, change := range []string{handover, `UPDATE mvscheduler.views SET query = 'SELECT 2 AS v', search_path = 'pg_catalog' WHERE name = 'mallory.v'`} {
			pgtest.Exec(t, admin, `SAVEPOINT s`)
			a.refused(admin, "0A000", change)
			pgtest.Exec(t, admin, `ROLLBACK TO s`)
		}
		pgtest.Exec(t, admin, `ROLLBACK`)
		a.as(`DROP INDEX mallory.v_expr_idx`)
	}
	a.as(`SET default_transaction_isolation = 'repeatable read'`, `UPDATE mvscheduler.views SET query = 'SELECT 3 AS v'`) // one's own
	pgtest.Exec(t, admin, a.sql(handover))
	a.nothingStolen(a.mallory, "hidden")
}

// pg_temp is searched first for types, and a permanent view may use them.
func TestTypesOfASessionAreNotTakenForOthers(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	sidecar := startSidecar(t, a.db)
	a.as(`CREATE FUNCTION mallory.chk(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('temporary'); RETURN true; END $$`,
		`CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (mallory.chk(VALUE))`, `CREATE DOMAIN pg_temp.email AS pg_catalog.text CHECK (mallory.chk(VALUE))`,
		`SET search_path = public`)
	a.manual(a.m, "mallory.v", "SELECT g::text AS v FROM generate_series(1, 3) AS g")
	require.Equal(t, "text", ask[string](t, admin, a.sql(`SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'mallory.v'::regclass AND attname = 'v'`)))
	pgtest.Exec(t, admin, a.sql(handover))
	refreshed(t, admin, a.sql("mallory.v"))
	sidecar.stop()
	for _, query := range []string{"SELECT g::pg_temp.text AS v FROM generate_series(1, 3) AS g", "SELECT 1 AS v WHERE ''{x}''::pg_temp.text[] IS NOT NULL"} {
		a.refused(a.m, "42P17", `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.w', '`+query+`')`)
	}
	a.as(`CREATE MATERIALIZED VIEW mallory.w AS SELECT g::text::email AS v FROM generate_series(1, 1) AS g WITH NO DATA`)
	a.refused(a.m, "42P17", `SELECT mvscheduler.adopt_view('mallory.w')`)
	a.nothingStolen(a.mallory, "temporary")
}

// A rule goes by OID: what its text names can be renamed, and something harmless take the name.
func TestWhatTheTextOfARowNamesIsWhatIsHandedOver(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	pgtest.Exec(t, a.root, `CREATE SCHEMA app`, a.sql(`GRANT ALL ON SCHEMA app TO alice, mallory`))
	pgtest.Exec(t, a.db.Conn(t, a.alice), `CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'`)
	a.as(`CREATE FUNCTION app.f(smallint) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN mallory.steal('drift'); END $$`)
	a.manual(a.m, "mallory.v", "SELECT app.f(g::smallint) AS v FROM generate_series(1, 1) AS g")
	a.as(`CREATE MATERIALIZED VIEW mallory.adopted AS SELECT app.f(g::smallint) AS v FROM generate_series(1, 1) AS g WITH NO DATA`, `SELECT mvscheduler.adopt_view('mallory.adopted')`,
		`ALTER FUNCTION app.f(smallint) RENAME TO g`)
	for _, view := range []string{"mallory.v", "mallory.adopted"} {
		a.refused(admin, "55000", `UPDATE mvscheduler.views SET owner = 'alice' WHERE name = '`+view+`'`)
	}
	found, _ := examine(t, a.db, "")
	require.Len(t, about(found, "query"), 2)
	a.as(`ALTER FUNCTION app.g(smallint) RENAME TO f`)
	pgtest.Exec(t, admin, a.sql(handover)) // it says what the row says
	found, _ = examine(t, a.db, "")
	require.Empty(t, about(found, "query"))
}

// REASSIGN OWNED has handed the relations over, unseen; the row is what makes the sidecar refresh them again.
func TestARowFollowsReassignedRelationsOnlyWhereTheyAreWhatItSays(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.manual(a.m, "mallory.v", "SELECT 1 AS v")
	a.manual(a.m, "mallory.w", "SELECT 1 AS v")
	a.as(`CREATE OR REPLACE VIEW mallory.v__query AS SELECT mallory.steal('replaced') AS v`)
	pgtest.Exec(t, a.root, a.sql(`REASSIGN OWNED BY mallory TO alice`))
	a.refused(admin, "55000", handover)
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.w'`))
	_, ran := a.loot()
	require.Empty(t, ran)
}

// A function that runs while the text is parsed for the first time decides nothing about the second.
func TestSettingsOfAParsedTextAreNotItsOwn(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`CREATE FUNCTION mallory.chk(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('standard_conforming_strings', 'off', false); RETURN true; END $$`,
		`CREATE DOMAIN mallory.dom AS int CHECK (mallory.chk(VALUE))`, `SET escape_string_warning = off`)
	a.manual(a.m, "mallory.v", `SELECT 'a\\b'::text AS a, '{1}'::mallory.dom[] AS b`)
	require.Contains(t, ask[string](t, admin, a.sql(`SELECT pg_get_viewdef('mallory.v__query'::regclass)`)), `'a\\b'`)
}

// What only reads the view, or names its columns, hands nothing over.
func TestAHandoverAllowsWhatOnlyReads(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.as(`CREATE TABLE mallory.src (a int, arr int[])`, `GRANT SELECT ON mallory.src TO alice`)
	a.manual(a.m, "mallory.v", "SELECT a, arr FROM mallory.src")
	a.as(`CREATE FUNCTION mallory.rows() RETURNS SETOF mallory.v LANGUAGE sql AS $$ SELECT * FROM mallory.v $$`,
		`CREATE FUNCTION mallory.counted() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM mallory.v; END`,
		`CREATE TABLE mallory.guarded (a int, r mallory.v)`, `ALTER TABLE mallory.guarded ENABLE ROW LEVEL SECURITY`,
		`CREATE POLICY p ON mallory.guarded USING (a IN (SELECT x.a FROM mallory.v AS x))`,
		`CREATE RULE r AS ON INSERT TO mallory.guarded WHERE NEW.a IN (SELECT x.a FROM mallory.v AS x) DO INSTEAD NOTHING`,
		`CREATE VIEW mallory.reader AS SELECT NULL::mallory.v AS whole, x.a FROM mallory.v AS x`,
		`CREATE INDEX ON mallory.v USING gin (arr)`, `CREATE STATISTICS mallory.st ON a, arr FROM mallory.v`)
	pgtest.Exec(t, admin, a.sql(handover))
	require.Equal(t, a.alice, ask[string](t, admin, `SELECT owner FROM mvscheduler.views`))
}

// An administrator's own query and indexes in the statement that gives the view away are the administrator's affair.
func TestAnAdministratorReplacesTheTextAndGivesTheViewAwayAtOnce(t *testing.T) {
	t.Parallel()
	a, admin := handoverArena(t)
	a.manual(a.m, "mallory.v", "SELECT 1 AS a")
	a.as(`CREATE OR REPLACE VIEW mallory.v__query AS SELECT mallory.steal('replaced') AS a`)
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET query = 'SELECT 5 AS a', search_path = 'pg_catalog', indexes = '{"(abs(a))"}', owner = 'alice' WHERE name = 'mallory.v'`))
	require.Equal(t, a.alice, ask[string](t, admin, `SELECT owner FROM mvscheduler.views`))
	found, _ := examine(t, a.db, "")
	require.Empty(t, about(found, "query"))
	_, ran := a.loot()
	require.Empty(t, ran)
}
