package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const storedQuery = `SELECT now() AS at, 1 AS a, (''{1}''::mallory.dom[])[1]::int AS b`

// An administrator takes a view over, and changes what has nothing to do with its text.
func TestTextOfTheOldOwnerIsNotParsedAfterATakeover(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	admin := a.db.Conn(t, "")
	a.as(storedText, storedDomain,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', '`+storedQuery+`')`,
		`INSERT INTO mvscheduler.views (name, query, retention_period, time_column) VALUES ('mallory.kept', '`+storedQuery+`', '1 day', 'at')`)
	pgtest.Exec(t, admin, `UPDATE mvscheduler.views SET owner = 'postgres'`)
	for _, change := range []string{
		`retention_period = '2 days', time_column = 'at' WHERE name = 'mallory.v'`,
		`search_path = 'public' WHERE name = 'mallory.v'`,
		`retention_period = NULL WHERE name = 'mallory.kept'`,
		`unique_key = '{a}' WHERE name = 'mallory.kept'`,
	} {
		a.refused(admin, "42501", `UPDATE mvscheduler.views SET `+change)
		a.refused(admin, "42501", `UPDATE mvscheduler.views SET owner = 'alice', `+change)
	}
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET owner = 'alice'`)) // handing it on does not make it postgres's
	for _, conn := range []string{a.alice, ""} {
		a.refused(a.db.Conn(t, conn), "42501", `UPDATE mvscheduler.views SET retention_period = '2 days', time_column = 'at' WHERE name = 'mallory.v'`)
	}
	pgtest.Exec(t, admin, `UPDATE mvscheduler.views SET owner = 'postgres'`)
	a.refused(admin, "42501", `UPDATE mvscheduler.views SET query = query || ' ' WHERE name = 'mallory.v'`) // that is no text of his own
	a.nothingStolen(a.mallory, "stored text")

	// Who has read the query and writes it in her own name is its author from then on.
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET query = 'SELECT now() AS at, 1 AS a, 2 AS b' WHERE name = 'mallory.v'`))
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET retention_period = '2 days', time_column = 'at' WHERE name = 'mallory.v'`))
	pgtest.Exec(t, admin, `GRANT USAGE, CREATE ON SCHEMA `+a.mallory+` TO `+a.alice, a.sql(`UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.v'`))
	pgtest.Exec(t, alice, a.sql(`UPDATE mvscheduler.views SET retention_period = NULL WHERE name = 'mallory.v'`)) // a superuser can do anything in her name anyway
	a.nothingStolen(a.mallory, "stored text")
}

// What cannot be seen in the row is not handed over.
func TestATakeoverDoesNotHandOverWhatTheRowDoesNotSay(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	admin, sidecar := a.db.Conn(t, ""), startSidecar(t, a.db)
	a.as(storedText, storedDomain, immutable("hidden", "int"))
	for _, view := range []string{"expression", "predicate", "statistic", "replaced", "pending", "plain"} {
		a.manual(a.m, "mallory."+view, "SELECT g AS a, g AS b FROM generate_series(1, 9) AS g")
	}
	refreshed(t, a.m, a.sql("mallory.expression"))
	a.as(`CREATE INDEX ON mallory.expression`+storedIndex, `CREATE INDEX ON mallory.predicate (a) WHERE mallory.hidden(1) = 1`,
		`CREATE STATISTICS mallory.s ON (mallory.hidden(a)) FROM mallory.statistic`,
		`CREATE OR REPLACE VIEW mallory.replaced__query AS SELECT 1 AS a, mallory.steal('hidden') AS b`,
		`UPDATE mvscheduler.views SET priority = 1, time_column = 'a' WHERE name = 'mallory.replaced'`, // which does not make it right
		`UPDATE mvscheduler.views SET query = 'SELECT 1 AS a' WHERE name = 'mallory.pending'`,
		`CREATE OR REPLACE VIEW mallory.pending__next__query AS SELECT mallory.steal('hidden') AS a`)
	for view, word := range map[string]string{"expression": "index", "predicate": "index", "statistic": "mallory.s", "replaced": "replaced__query", "pending": "pending__next__query"} {
		_, err := admin.Exec(t.Context(), a.sql(`UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.`+view+`'`))
		require.ErrorContains(t, err, "cannot be given to "+a.alice, view)
		require.ErrorContains(t, err, a.sql(word), view)
	}
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.plain'`))

	// The way out that the hints name.
	a.as(`DROP INDEX mallory.predicate_a_idx`, `DROP STATISTICS mallory.s`, `UPDATE mvscheduler.views SET query = query || ' ' WHERE name IN ('mallory.replaced', 'mallory.pending')`)
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET owner = 'alice' WHERE name IN ('mallory.predicate', 'mallory.statistic', 'mallory.replaced')`))
	a.refused(admin, "55000", `UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.pending'`) // the old version is served
	refreshed(t, a.m, a.sql("mallory.pending"))
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.pending'`))
	// A new version that was swapped in is what the row says, and stays it.
	pgtest.Exec(t, admin, `GRANT USAGE, CREATE ON SCHEMA `+a.mallory+` TO `+a.alice)
	refreshed(t, a.db.Conn(t, a.alice), a.sql("mallory.pending"))
	require.Equal(t, "a", ask[string](t, a.root, `SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0`, a.sql("mallory.pending")))
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET owner = 'mallory' WHERE name = 'mallory.pending'`))
	a.as(`CREATE OR REPLACE VIEW mallory.pending__query AS SELECT mallory.steal('hidden') AS a`)
	a.refused(admin, "55000", `UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.pending'`)
	require.Zero(t, sidecar.stop())
	a.nothingStolen(a.mallory, "stored text")
}

// What was put beside the query of the row by hand is found.
func TestATakeoverDoesNotHandOverWhatStandsBesideTheQuery(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	admin := a.db.Conn(t, "")
	a.as(immutable("istep", "bigint"), `CREATE VIEW mallory.made__query AS SELECT 1 AS a`, `COMMENT ON VIEW mallory.made__query IS 'mvscheduler: query of mallory.made'`,
		`CREATE MATERIALIZED VIEW mallory.made AS SELECT q.a + 0 * mallory.steal('made') AS a FROM mallory.made__query AS q WITH NO DATA`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.gated', 'SELECT 1 AS a'), ('mallory.gone', 'SELECT 1 AS a')`,
		`UPDATE mvscheduler.views SET query = 'SELECT 1 AS a, 2 AS b' WHERE name IN ('mallory.gated', 'mallory.gone')`,
		`CREATE INDEX ON mallory.gated__gate (mallory.istep(step))`,
		`CREATE OR REPLACE VIEW mallory.gone__next__query AS SELECT 1 AS a, mallory.steal('made') AS b`, `DROP MATERIALIZED VIEW mallory.gone`, `DROP VIEW mallory.gone__query`)
	a.refused(a.m, "42P07", `INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.made', 'SELECT 1 AS a')`) // it is no pair
	for _, view := range []string{"gated", "gone"} {
		_, err := admin.Exec(t.Context(), a.sql(`UPDATE mvscheduler.views SET owner = 'alice' WHERE name = 'mallory.`+view+`'`))
		require.ErrorContains(t, err, "cannot be given to "+a.alice, view)
	}
}

// A registration parses, and never plans: planning runs functions, in the session of who registers.
func TestARegistrationNeverPlansTheQuery(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(immutable("planned", "int"), `CREATE TABLE mallory.bait (a int)`, `CREATE INDEX ON mallory.bait (a) WHERE mallory.planned(1) = 1`, `GRANT SELECT ON mallory.bait TO PUBLIC`)
	before, ran := a.loot()
	require.Empty(t, before)
	was := len(ran["planned"])
	admin := a.db.Conn(t, "")
	for _, end := range []string{"WITH DATA", "WITH NO DATA", "WHERE", "WITH"} {
		a.refused(admin, "42601", `INSERT INTO mvscheduler.views (name, owner, query) VALUES ('alice.e', 'alice', 'SELECT a FROM mallory.bait `+end+`')`)
	}
	pgtest.Exec(t, admin, a.sql(`INSERT INTO mvscheduler.views (name, owner, query) VALUES ('alice.e', 'alice', 'SELECT a FROM mallory.bait')`))
	_, ran = a.loot()
	require.Len(t, ran["planned"], was)
	a.nothingStolen("")
}

// To a role that the old owner can become, everything may go.
func TestAViewGoesToARoleOfItsOwnerWithAllThatHangsOnIt(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	pgtest.Exec(t, a.root, `CREATE ROLE `+a.alice+`_team`, `GRANT `+a.alice+`_team TO `+a.alice+`, mvscheduler_worker`, `GRANT ALL ON SCHEMA `+a.alice+` TO `+a.alice+`_team`, `GRANT mvscheduler_user TO `+a.alice+`_team`)
	t.Cleanup(func() {
		a.db.Exec(t, `DROP OWNED BY `+a.alice+`_team`)
		a.db.Exec(t, `DROP ROLE `+a.alice+`_team`)
	})
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, indexes) VALUES ('v', 'SELECT now() AS at, 1 AS a', '{(a) WHERE a > 0}'), ('w', 'SELECT now() AS at', NULL)`,
		`CREATE OR REPLACE VIEW v__query AS SELECT now() AS at, 1 AS a WHERE true`,
		a.sql(`UPDATE mvscheduler.views SET owner = 'alice_team'`))
	// Her text is parsed in her session, and in the team's, where she may act herself. An index on the team's view may be another member's.
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET search_path = 'public' WHERE name LIKE '%.w'`)
	a.refused(alice, "42501", `UPDATE mvscheduler.views SET search_path = 'public' WHERE name LIKE '%.v'`)
	pgtest.Exec(t, alice, a.sql(`SET ROLE alice_team`), `UPDATE mvscheduler.views SET retention_period = '1 day', time_column = 'at'`)
}

// Whoever owns the plain view can replace it.
func TestTheSidecarRunsNoQueryThatBelongsToAnotherRole(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.victim()
	sidecar := startSidecar(t, a.db)
	a.staysFresh(1)
	pgtest.Exec(t, a.root, a.sql(`ALTER VIEW alice.watched__query OWNER TO mallory`), `GRANT USAGE, CREATE ON SCHEMA `+a.alice+` TO `+a.mallory)
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE state = 'failed')`)
	a.as(`CREATE OR REPLACE VIEW alice.watched__query AS SELECT clock_timestamp() + mallory.steal('given away') * interval '0' AS at`)
	require.Contains(t, ask[string](t, alice, `SELECT reason FROM mvscheduler.status`), "watched__query")
	pgtest.Exec(t, alice, `SELECT mvscheduler.resume_view('watched')`)
	until(t, alice, `SELECT count(*) > 1 FROM mvscheduler.runs WHERE state = 'failed'`)
	require.Zero(t, sidecar.stop())
	_, ran := a.loot()
	require.NotContains(t, ran, "given away")
}
