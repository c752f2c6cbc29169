package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// meddle is a function that an index calls when it is made, in the same statement as the registration: it
// replaces the plain view with the query, takes its mark away and forges what the triggers tell each other.
const meddle = `
CREATE FUNCTION mallory.meddle() RETURNS void LANGUAGE plpgsql AS $meddle$
DECLARE
    q text;
BEGIN
    PERFORM set_config('mvscheduler.actor', 'alice', true), set_config('mvscheduler.pieces', 'none', true);
    FOR q IN SELECT relname FROM pg_class WHERE relnamespace = 'mallory'::regnamespace AND relkind = 'v' LOOP
        BEGIN
            EXECUTE format('CREATE OR REPLACE VIEW mallory.%I AS SELECT mallory.steal(''meddled'') AS a', q);
            EXECUTE format('COMMENT ON VIEW mallory.%I IS NULL', q);
            RAISE LOG 'RAN|meddle|%|%', session_user, current_user;
        EXCEPTION WHEN invalid_table_definition THEN NULL;   -- it has other columns
        END;
    END LOOP;
END $meddle$;
CREATE FUNCTION mallory.meddle(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.meddle(); RETURN 1; END $$`

func TestTextOfAnIndexCannotMeddleWithTheRegistrationThatMakesIt(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	admin := a.db.Conn(t, "")
	a.as(meddle,
		`INSERT INTO mvscheduler.views (name, query, indexes) VALUES ('mallory.made', 'SELECT 1 AS a', '{"((a + mallory.meddle(1)))"}')`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.edited', 'SELECT 1 AS a'), ('mallory.redefined', 'SELECT 1 AS a, 2 AS b')`,
		`UPDATE mvscheduler.views SET query = 'SELECT 2 AS a', indexes = '{"((a + mallory.meddle(1)))"}' WHERE name = 'mallory.edited'`,
		`UPDATE mvscheduler.views SET query = 'SELECT 1 AS a', indexes = '{"((a + mallory.meddle(1)))"}' WHERE name = 'mallory.redefined'`)
	a.nothingStolen(a.mallory, "meddle")
	require.Equal(t, 3, ask[int](t, admin, `SELECT count(*)::int FROM mvscheduler.piece`), "the new version was recorded in spite of mvscheduler.pieces")
	require.Equal(t, a.mallory, ask[string](t, admin, `SELECT string_agg(DISTINCT role, ' ') FROM mvscheduler.audit_log`))
	for _, view := range []string{"made", "edited", "redefined"} {
		for _, shown := range []string{"", `, indexes = NULL`} { // with the index that the row shows, and without
			_, err := admin.Exec(t.Context(), a.sql(`UPDATE mvscheduler.views SET owner = 'alice'`+shown+` WHERE name = 'mallory.`+view+`'`))
			require.ErrorContains(t, err, "cannot be given to "+a.alice, view)
		}
	}
	a.nothingStolen(a.mallory, "meddle")
}

// alice may become the team, so what is hers may go there as it is. What mallory has made meanwhile may not.
func TestWhatCountsIsWhoOwnsTheRelationsAndNotWhoTheRowNames(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	admin := a.db.Conn(t, "")
	pgtest.Exec(t, a.root, a.sql(`GRANT alice TO mvscheduler_worker`), a.sql(`CREATE ROLE alice_team`), a.sql(`GRANT alice_team TO alice, mvscheduler_worker`), a.sql(`GRANT ALL ON SCHEMA alice TO alice_team`))
	t.Cleanup(func() {
		a.db.Exec(t, a.sql(`DROP OWNED BY alice_team`))
		a.db.Exec(t, a.sql(`DROP ROLE alice_team`))
	})
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('indexed', 'SELECT 1 AS a'), ('replaced', 'SELECT 1 AS a'), ('kept', 'SELECT 1 AS a')`)
	a.as(immutable("hidden", "int"))
	pgtest.Exec(t, admin, a.sql(`GRANT USAGE, CREATE ON SCHEMA alice TO mallory`), a.sql(`ALTER MATERIALIZED VIEW alice.indexed OWNER TO mallory`), a.sql(`ALTER VIEW alice.replaced__query OWNER TO mallory`))
	a.as(`CREATE INDEX ON alice.indexed ((a + mallory.hidden(1)))`, `CREATE OR REPLACE VIEW alice.replaced__query AS SELECT mallory.steal('replaced') AS a`)
	for _, view := range []string{"indexed", "replaced"} {
		_, err := admin.Exec(t.Context(), a.sql(`UPDATE mvscheduler.views SET owner = 'alice_team' WHERE name = 'alice.`+view+`'`))
		require.ErrorContains(t, err, "cannot be given to "+a.sql("alice_team"), view)
	}
	pgtest.Exec(t, admin, a.sql(`UPDATE mvscheduler.views SET owner = 'alice_team' WHERE name = 'alice.kept'`))
	_, ran := a.loot()
	require.Contains(t, ran, "hidden")
	require.NotContains(t, ran, "replaced")
}

// What a released view became meanwhile is what its row says when it is adopted.
func TestAnAdoptedPairShowsTheQueryThatItHas(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	admin := a.db.Conn(t, "")
	a.as(`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`, `SELECT mvscheduler.release_view('mallory.v')`,
		`CREATE OR REPLACE VIEW mallory.v__query AS SELECT mallory.steal('adopted') AS a`, `SELECT mvscheduler.adopt_view('mallory.v')`)
	require.Contains(t, ask[string](t, admin, `SELECT query FROM mvscheduler.views`), a.sql("mallory.steal('adopted'"))
	a.as(`CREATE OR REPLACE VIEW mallory.v__query AS SELECT 0 * mallory.steal('replaced') AS a`)
	a.refused(admin, "55000", `UPDATE mvscheduler.views SET owner = 'alice'`)
}

// The plain view with the query is held like the view itself while an administrator writes.
func TestNoLookAlikeOfTheQueryIsReplaced(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.v', 'SELECT 1 AS a')`,
		`CREATE VIEW mallory.other AS SELECT 7 AS a`, `BEGIN`, `ALTER VIEW mallory.v__query RENAME TO kept`, `ALTER VIEW mallory.other RENAME TO v__query`)
	require.NoError(t, a.whileAdminWaits(`UPDATE mvscheduler.views SET query = 'SELECT 2 AS a' WHERE name = 'mallory.v'`, `COMMIT`))
	require.Contains(t, ask[string](t, a.root, a.sql(`SELECT pg_get_viewdef('mallory.kept'::regclass)`)), "2", "the view by its OID has the new query")
	require.Contains(t, ask[string](t, a.root, a.sql(`SELECT pg_get_viewdef('mallory.v__query'::regclass)`)), "7", "the look-alike is left alone")
}
