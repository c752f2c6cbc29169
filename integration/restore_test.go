package integration

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// client runs a client program of the server's distribution as the superuser.
func client(t testing.TB, db *pgtest.DB, stdin, program string, args ...string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(db.Server(t).BinDir(), program)); err != nil {
		t.Skipf("these binaries of PostgreSQL come without %s", program)
	}
	out, err := db.Server(t).Command(context.WithoutCancel(t.Context()), strings.NewReader(stdin), program, args...)
	require.NoError(t, err, "%s %s: %s", program, strings.Join(args, " "), out)
	return out
}

// restored is a database with views of alice and its double, made from a dump.
func restored(t *testing.T, dumpArgs ...string) (from, to *pgtest.DB, alice string, dump string) {
	t.Helper()
	from, to = pgtest.New(t), pgtest.NewEmpty(t)
	alice = from.User(t, "alice")
	if _, err := os.Stat(filepath.Join(from.Server(t).BinDir(), "pg_dump")); err != nil {
		t.Skip("these binaries of PostgreSQL come without pg_dump")
	}
	conn := from.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE TABLE t (id int PRIMARY KEY, g int, b text)`, `INSERT INTO t SELECT i, i % 3, 'x' || i FROM generate_series(1, 10) AS i`,
		`INSERT INTO mvscheduler.views (name, query, indexes, refresh_interval) VALUES
			('v', 'SELECT g, count(*) AS n FROM t GROUP BY g', '{(n)}', '1 hour'),
			('w', 'SELECT sum(n) AS n FROM v', NULL, '5 minutes'),
			('"Odd "".name"', 'SELECT id, b FROM t GROUP BY id', NULL, '1 hour'),
			('gone', 'SELECT 1 AS a', NULL, '1 hour')`,
		`REFRESH MATERIALIZED VIEW v`, `REFRESH MATERIALIZED VIEW w`, `DROP MATERIALIZED VIEW gone`)
	dump = client(t, from, "", "pg_dump", append([]string{"-d", from.URL()}, dumpArgs...)...)
	return from, to, alice, dump
}

// alive holds when the views of a restored database are refreshed, changed and dropped like any others.
func alive(t *testing.T, db *pgtest.DB, alice string) {
	t.Helper()
	conn := db.Conn(t, alice)
	require.Equal(t, []string{`"Odd "".name"`, "gone missing", "v", "w"}, ask[[]string](t, conn, `
SELECT array_agg(substr(name, strpos(name, '.') + 1) || CASE freshness WHEN 'missing' THEN ' missing' ELSE '' END ORDER BY name COLLATE "C") FROM mvscheduler.status`))
	require.Zero(t, mvscheduler(t, db, "", "", "migrate", "status").code)
	pgtest.Exec(t, conn, `INSERT INTO t SELECT i, 7, 'y' FROM generate_series(11, 20) AS i`)
	s := startSidecar(t, db)
	refreshed(t, conn, "v", "w", `"Odd "".name"`)
	require.Equal(t, int64(20), ask[int64](t, conn, `SELECT n::bigint FROM w`))
	require.Equal(t, 20, ask[int](t, conn, `SELECT count(*)::int FROM "Odd "".name"`))
	require.Equal(t, []string{alice + ".v"}, ask[[]string](t, conn, `SELECT upstream FROM mvscheduler.status WHERE name LIKE '%.w'`))
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET query = 'SELECT g, 2 * count(*) AS n FROM t GROUP BY g' WHERE name LIKE '%.v'`)
	require.Equal(t, 2, ask[int](t, conn, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass`))
	refreshed(t, conn, "v", "w")
	require.Equal(t, int64(40), ask[int64](t, conn, `SELECT n::bigint FROM w`))
	require.Nil(t, send(t, conn, register, "fresh", "SELECT 1 AS a"), "ids go on")
	pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views`)
	require.Zero(t, ask[int](t, conn, `SELECT count(*)::int FROM pg_class WHERE relkind IN ('m', 'v') AND relnamespace = current_schema()::regnamespace`))
	require.Zero(t, s.stop())
}

func TestAWholeDumpRestoresViewsThatLiveOn(t *testing.T) {
	t.Parallel()
	_, to, alice, dump := restored(t)
	client(t, to, dump, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")
	alive(t, to, alice)
}

func TestSchemaFirstAndDataWithoutTriggersRestoreViewsThatLiveOn(t *testing.T) {
	t.Parallel()
	from, to, alice, schema := restored(t, "--schema-only")
	data := client(t, from, "", "pg_dump", "-d", from.URL(), "--data-only", "--disable-triggers")
	for _, dump := range []string{schema, data} {
		// settings has its row from the migration when the schema was migrated; here the dump brings it.
		client(t, to, dump, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")
	}
	alive(t, to, alice)
}

func TestASchemaOnlyDumpBringsPairsThatRowsAdopt(t *testing.T) {
	t.Parallel()
	_, to, alice, dump := restored(t, "--schema-only", "--exclude-schema=mvscheduler")
	client(t, to, dump, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")
	migrated := mvscheduler(t, to, "", "", "migrate", "up")
	require.Zero(t, migrated.code, migrated.stderr)
	conn := to.Conn(t, alice)
	pgtest.Exec(t, conn, `INSERT INTO t SELECT i, i % 3, 'x' || i FROM generate_series(1, 10) AS i`)
	oid := ask[uint32](t, conn, `SELECT 'v'::regclass::oid`)
	// The downstream view first; then v with another query than the one that it was dumped with.
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('w', 'SELECT sum(n) AS n FROM v')`,
		`INSERT INTO mvscheduler.views (name, query, indexes) VALUES ('v', 'SELECT g, 3 * count(*) AS n FROM t GROUP BY g', '{(n)}')`)
	require.Equal(t, oid, ask[uint32](t, conn, `SELECT 'v'::regclass::oid`), "taken over, not made again")
	require.Equal(t, 2, ask[int](t, conn, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass`))
	refused(t, conn, "0A000", register, `"Odd "".name"`, "SELECT 1 AS a")
	s := startSidecar(t, to)
	refreshed(t, conn, "v", "w")
	require.Equal(t, []string{alice + ".v"}, ask[[]string](t, conn, `SELECT upstream FROM mvscheduler.status WHERE name LIKE '%.w'`), "found by its first run")
	require.Equal(t, int64(30), ask[int64](t, conn, `SELECT n::bigint FROM w`), "the view shows what the row says")
	require.Zero(t, s.stop())
}

func TestADataOnlyDumpOfTheRowsAdoptsWhatIsThere(t *testing.T) {
	t.Parallel()
	from, to, alice, schema := restored(t, "--schema-only")
	rows := client(t, from, "", "pg_dump", "-d", from.URL(), "--data-only", "-t", "mvscheduler.views", "-t", "mvscheduler.settings",
		"-t", "mvscheduler.schema_migrations", "-t", "mvscheduler.river_migration")
	client(t, to, schema, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")
	pgtest.Exec(t, to.Conn(t, alice), `INSERT INTO t SELECT i, i % 3, 'x' || i FROM generate_series(1, 10) AS i`)
	// The triggers fire: the rows find their relations, and what was missing is made again.
	client(t, to, rows, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")
	conn := to.Conn(t, alice)
	const kept = `SELECT string_agg(v::text, E'\n' ORDER BY id) FROM (SELECT id, name, query, owner, search_path FROM mvscheduler.views) AS v`
	require.Equal(t, ask[string](t, from.Conn(t, ""), kept), ask[string](t, to.Conn(t, ""), kept))
	require.Equal(t, alice, ask[string](t, conn, `SELECT relowner::regrole::text FROM pg_class WHERE oid = 'gone'::regclass`))
	s := startSidecar(t, to)
	refreshed(t, conn, "v", "w", "gone")
	require.Equal(t, int64(10), ask[int64](t, conn, `SELECT n::bigint FROM w`))
	require.Zero(t, s.stop())
}

func TestPgRestoreOfACustomDumpInParallelWorks(t *testing.T) {
	t.Parallel()
	from, to, alice, _ := restored(t)
	file := filepath.Join(from.Server(t).SocketDir(), "dump_"+from.Name)
	client(t, from, "", "pg_dump", "-d", from.URL(), "-Fc", "-f", file)
	client(t, to, "", "pg_restore", "--exit-on-error", "-j", "2", "-d", to.URL(), file)
	alive(t, to, alice)
}

func TestADumpWithQuotedIdentifiersWorks(t *testing.T) {
	t.Parallel()
	_, to, alice, dump := restored(t, "--quote-all-identifiers")
	client(t, to, dump, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")
	alive(t, to, alice)
}
