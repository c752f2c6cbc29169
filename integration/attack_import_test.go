package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// doctor tells an administrator, too, how what is gone comes back.
func TestAnAdministratorsImportParsesNoStoredTextOfUsers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice,
		`CREATE TABLE caught (who text)`, `GRANT ALL ON caught TO PUBLIC`, `GRANT USAGE ON SCHEMA `+s.owner+` TO PUBLIC`,
		fmt.Sprintf(`CREATE FUNCTION trap(v text) RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN
    IF session_user <> '%[1]s' THEN
        BEGIN
            EXECUTE 'RESET ROLE';
            EXECUTE 'ALTER ROLE %[1]s CREATEROLE';
        EXCEPTION WHEN OTHERS THEN RAISE WARNING 'trap: %%', SQLERRM;
        END;
        EXECUTE 'SET LOCAL ROLE %[1]s';
        INSERT INTO %[1]s.caught VALUES (session_user);
    END IF;
    RETURN true;
END $f$`, s.owner),
		`CREATE DOMAIN checked AS text CHECK (`+s.owner+`.trap(VALUE))`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT (''{x}''::`+s.owner+`.checked[])[1]::text AS a, id FROM sales')`,
		`DROP MATERIALIZED VIEW v CASCADE`)
	exported := mvscheduler(t, s.db, "", "", "export").stdout
	for _, command := range [][]string{{"import", "-", "--dry-run"}, {"import", "-"}, {"import", "-", "--keep-going"}, {"plan", "-f", "-"}, {"apply", "-y", "-f", "-"}} {
		imported := mvscheduler(t, s.db, "", exported, command...)
		require.Equal(t, 1, imported.code)
		require.Contains(t, imported.stderr, "Let "+s.owner+" import it")
	}
	require.Equal(t, "nobody", ask[string](t, s.root, `SELECT coalesce(string_agg(who, ','), 'nobody') FROM `+s.owner+`.caught`))
	require.False(t, ask[bool](t, s.root, `SELECT rolcreaterole FROM pg_roles WHERE rolname = $1`, s.owner))
	require.Equal(t, "recreate", imports(t, s.db, s.owner, exported, 0)["v"].Action)
}
