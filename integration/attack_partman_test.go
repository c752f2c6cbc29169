package integration

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/doctor"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Bob owns the schema of pg_partman, and gives its name to another one with a view of his while a superuser asks the doctor.
func TestTheDoctorReadsNothingInASchemaOfAnExtensionThatSomebodyCanRename(t *testing.T) {
	t.Parallel()
	needExtension(t, "pg_partman")
	s := newScene(t)
	name := s.db.User(t, "bob")
	pgtest.Exec(t, s.root, `CREATE SCHEMA ext AUTHORIZATION `+name, `CREATE EXTENSION pg_partman SCHEMA ext`, `GRANT ALL ON ALL TABLES IN SCHEMA ext TO PUBLIC`,
		`DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO PUBLIC', current_database()); END $$`)
	bob := s.db.Conn(t, name)
	pgtest.Exec(t, bob, `CREATE SCHEMA other`, `CREATE SCHEMA loot`, `CREATE TABLE loot.callers (name text)`, `CREATE FUNCTION other.told() RETURNS text LANGUAGE plpgsql AS 'BEGIN INSERT INTO loot.callers VALUES (CURRENT_USER); RETURN ''1 day''; END'`,
		`CREATE VIEW other.part_config AS SELECT 'x' AS parent_table, (SELECT other.told()) AS retention`, `GRANT ALL ON ALL TABLES IN SCHEMA other TO PUBLIC`, `GRANT USAGE ON SCHEMA other TO PUBLIC`)
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
			}
			_, _ = bob.Exec(t.Context(), `ALTER SCHEMA ext RENAME TO was; ALTER SCHEMA other RENAME TO ext`)
			_, _ = bob.Exec(t.Context(), `ALTER SCHEMA ext RENAME TO other; ALTER SCHEMA was RENAME TO ext`)
		}
	}()
	said := ""
	for range 20 {
		found, err := doctor.Examine(t.Context(), s.root)
		require.NoError(t, err)
		at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Check == "retention" })
		if at >= 0 {
			said = found[at].What
		}
	}
	close(done)
	<-stopped
	require.Contains(t, said, "pg_partman is in a schema of "+name)
	require.Equal(t, "", ask[string](t, bob, `SELECT coalesce(string_agg(DISTINCT name, ' '), '') FROM loot.callers`))
}

func TestTheDoctorDoesNotLookAtATableOfASchedulerInASchemaThatSomebodyCanRename(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	name := s.db.User(t, "bob")
	pgtest.Exec(t, s.root, `CREATE SCHEMA cron AUTHORIZATION `+name, `CREATE TABLE cron.job (nothing int)`) // to read it as pg_cron's is an error
	found, err := doctor.Examine(t.Context(), s.root)
	require.NoError(t, err)
	at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Subject == "cron.job" })
	require.GreaterOrEqual(t, at, 0)
	require.Contains(t, found[at].What, "it belongs to "+name+", whose code would run in your session")
}
