package integration

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// manual registers a view that is refreshed only when asked.
func (a *arena) manual(conn *pgx.Conn, name, query string) {
	a.t.Helper()
	pgtest.Exec(a.t, conn, a.sql(`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on, max_attempts) VALUES (`+quote(name)+`, `+quote(query)+`, NULL, 'manual', 1)`))
}

// ended asks for a refresh and returns how the run ended.
func (a *arena) ended(conn *pgx.Conn, view string) (state, sqlstate string) {
	a.t.Helper()
	run := ask[int64](a.t, conn, `SELECT mvscheduler.refresh_view($1)`, a.sql(view))
	return a.end(run)
}

func (a *arena) end(run int64) (state, sqlstate string) {
	a.t.Helper()
	until(a.t, a.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE id = $1 AND state IN ('succeeded', 'failed', 'cancelled'))`, run)
	return ask[string](a.t, a.root, `SELECT state FROM mvscheduler.run WHERE id = $1`, run), ask[string](a.t, a.root, `SELECT coalesce(sqlstate, '') FROM mvscheduler.run WHERE id = $1`, run)
}

func TestALookAlikeIsNeverTakenForTheView(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for _, v := range []string{"to_view", "to_table", "to_other", "renamed", "swapped", "other", "given"} {
		a.manual(a.m, "mallory."+v, "SELECT 1 AS id, clock_timestamp() AS at")
	}
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.other"))
	was := ask[time.Time](t, a.m, a.sql(`SELECT at FROM mallory.other`))

	a.as(`DROP MATERIALIZED VIEW mallory.to_view`, `CREATE VIEW mallory.to_view AS SELECT mallory.steal('view') AS id, now() AS at`,
		`DROP MATERIALIZED VIEW mallory.to_table`, `CREATE TABLE mallory.to_table (id int, at timestamptz)`,
		`DROP MATERIALIZED VIEW mallory.to_other`, `GRANT CREATE ON SCHEMA mallory TO alice`)
	pgtest.Exec(t, a.db.Conn(t, a.alice), a.sql(`CREATE MATERIALIZED VIEW mallory.to_other AS SELECT 1 AS id WITH NO DATA`))
	for _, v := range []string{"to_view", "to_table", "to_other"} {
		state, sqlstate := a.ended(a.m, "mallory."+v)
		require.Equal(t, []string{"failed", "42P01"}, []string{state, sqlstate}, v)
	}
	require.False(t, ask[bool](t, a.root, `SELECT relispopulated FROM pg_class WHERE oid = $1::text::regclass`, a.sql("mallory.to_other")))

	// While the refresh waits for its lock the name passes on to another view.
	other := a.db.Conn(t, a.mallory)
	pgtest.Exec(t, other, a.sql(`BEGIN; ALTER MATERIALIZED VIEW mallory.swapped RENAME TO gone; ALTER MATERIALIZED VIEW mallory.other RENAME TO swapped`))
	run := ask[int64](t, a.m, `SELECT mvscheduler.refresh_view($1)`, a.sql("mallory.swapped"))
	until(t, a.root, `SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS s USING (pid) WHERE NOT l.granted AND s.usename = $1`, sidecar.role)
	pgtest.Exec(t, other, `COMMIT`)
	a.end(run)
	require.Equal(t, was, ask[time.Time](t, a.m, a.sql(`SELECT at FROM mallory.swapped`)), "the view of that name is another one and keeps its contents")

	// While the refresh waits for its lock the view is given to alice: the query would run as her.
	pgtest.Exec(t, a.root, a.sql(`BEGIN; ALTER MATERIALIZED VIEW mallory.given OWNER TO alice`))
	run = ask[int64](t, a.m, `SELECT mvscheduler.refresh_view($1)`, a.sql("mallory.given"))
	until(t, a.db.Conn(t, ""), `SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS s USING (pid) WHERE NOT l.granted AND s.usename = $1`, sidecar.role)
	pgtest.Exec(t, a.root, `COMMIT`)
	state, _ := a.end(run)
	require.Equal(t, "failed", state)
	require.False(t, ask[bool](t, a.root, `SELECT relispopulated FROM pg_class WHERE oid = $1::text::regclass`, a.sql("mallory.given")))

	// Renamed by hand: by its OID it is the view.
	a.as(`ALTER MATERIALIZED VIEW mallory.renamed RENAME TO "re""named"`)
	state, _ = a.ended(a.m, "mallory.renamed")
	require.Equal(t, "succeeded", state)
	a.nothingStolen("")
}

func TestAnAdministratorWhoWritesAUsersRowDoesNotRunTheUsersCode(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(immutable("admin", "int"), `CREATE TABLE mallory.base AS SELECT g AS a, 'x'::text AS b FROM generate_series(1, 50) AS g`,
		`CREATE INDEX ON mallory.base (mallory.admin(a)) WHERE mallory.admin(1) = 1`, `CREATE INDEX ON mallory.base (a) WHERE a = mallory.admin(1)`,
		`CREATE STATISTICS mallory.s ON mallory.admin(a), (a + mallory.admin(2)) FROM mallory.base`, `ANALYZE mallory.base`,
		`CREATE FUNCTION mallory.checked(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('path'); RETURN true; END $$`,
		`CREATE DOMAIN mallory.label AS text CHECK (mallory.checked(VALUE))`)
	pgtest.Exec(t, a.root, `CREATE TYPE public.label AS ENUM ('x')`,
		a.sql(`INSERT INTO mvscheduler.views (name, query, owner, refresh_interval) VALUES ('mallory.v', 'SELECT a, b FROM mallory.base WHERE a = 1', 'mallory', '1 hour')`),
		// "$user" is the administrator's schema, not mallory's.
		a.sql(`INSERT INTO mvscheduler.views (name, query, owner, refresh_interval) VALUES ('mallory.w', 'SELECT 1 AS a, (''{x}''::label[])[1]::text AS b', 'mallory', '1 hour')`),
		a.sql(`UPDATE mvscheduler.views SET query = 'SELECT a, b FROM mallory.base WHERE a > 1' WHERE name = 'mallory.v'`),
		a.sql(`UPDATE mvscheduler.views SET unique_key = '{a}', indexes = '{(b)}', method = 'concurrent' WHERE name = 'mallory.v'`),
		a.sql(`UPDATE mvscheduler.views SET name = 'mallory.x', paused_at = now() WHERE name = 'mallory.v'`))
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.x"))
	pgtest.Exec(t, a.root, a.sql(`UPDATE mvscheduler.views SET indexes = ARRAY['(a, b)'] WHERE name = 'mallory.x'`),
		a.sql(`UPDATE mvscheduler.views SET query = 'SELECT a, b FROM mallory.base WHERE a < 9' WHERE name = 'mallory.x'`),
		a.sql(`SELECT count(*) FROM mvscheduler.status`), a.sql(`SELECT mvscheduler.refresh_view('mallory.x')`), a.sql(`DELETE FROM mvscheduler.views WHERE owner = 'mallory'::regrole`))
	a.as(`INSERT INTO mvscheduler.views (name, query, retention_period, time_column) VALUES ('mallory.kept', 'SELECT now() - interval ''1 day'' AS at, 1 AS a', '1 hour', 'at')`)
	refreshed(t, a.m, a.sql("mallory.kept"))
	a.as(`CREATE INDEX ON mallory.kept (mallory.admin(a)) WHERE mallory.admin(1) = 1`, `CREATE STATISTICS mallory.s2 ON mallory.admin(a), (a + 1) FROM mallory.kept`, `ANALYZE mallory.kept`,
		`CREATE MATERIALIZED VIEW mallory.found AS SELECT a, b FROM mallory.base WHERE a = 1`, `CREATE UNIQUE INDEX ON mallory.found (a)`, `CREATE INDEX ON mallory.found (mallory.admin(a)) WHERE mallory.admin(1) = 1`)
	pgtest.Exec(t, a.root, a.sql(`SELECT mvscheduler.prune_view('mallory.kept')`), a.sql(`SELECT mvscheduler.prune_view('mallory.kept', false)`),
		a.sql(`SELECT mvscheduler.adopt_view('mallory.found')`))
	a.refused(a.root, "42501", `UPDATE mvscheduler.views SET query = 'SELECT a, b FROM mallory.base WHERE a < 5' WHERE name = 'mallory.found'`)
	pgtest.Exec(t, a.root, a.sql(`SELECT mvscheduler.release_view('mallory.found')`), a.sql(`DELETE FROM mvscheduler.views WHERE owner = 'mallory'::regrole`))
	for _, args := range [][]string{{"list"}, {"status"}, {"runs"}, {"grants"}} {
		require.Contains(t, []int{0, 6}, mvscheduler(t, a.db, "", "", args...).code, args)
	}
	a.nothingStolen(sidecar.role, "admin")
	_, ran := a.loot()
	require.NotContains(t, ran["admin"], "postgres", "the administrator's session ran mallory's code")
	require.NotContains(t, ran, "path")
}

func TestTextOfAUserIsOneStatementOrNone(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`CREATE TABLE mallory.canary AS SELECT 1 AS a`)
	for _, text := range []string{
		`'mallory."x"; DROP TABLE mallory.canary; --"', 'SELECT 1 AS a', NULL, NULL`,
		`'mallory."a""; DROP TABLE mallory.canary; --"', 'SELECT 1 AS a', NULL, NULL`,
		`'mallory.q1', 'SELECT 1 AS a; DROP TABLE mallory.canary', NULL, NULL`,
		`'mallory.q2', 'SELECT 1 AS a WITH NO DATA; DROP TABLE mallory.canary; CREATE TABLE mallory.z AS SELECT 1', NULL, NULL`,
		`'mallory.q3', 'SELECT 1 AS a; DROP TABLE mallory.canary; CREATE MATERIALIZED VIEW mallory.q9 AS SELECT 1', NULL, NULL`,
		`'mallory.q4', E'SELECT 1 AS a /*', NULL, NULL`, `'mallory.q5', 'SELECT 1 AS a) q; DROP TABLE mallory.canary; --', NULL, NULL`,
		`'mallory.q6', 'WITH d AS (DELETE FROM mallory.canary RETURNING a) SELECT * FROM d', NULL, NULL`, `'mallory.q7', 'TABLE mallory.canary; DELETE FROM mallory.canary', NULL, NULL`,
		`'mallory.k1', 'SELECT 1 AS a', '{"a) ; DROP TABLE mallory.canary; --"}', NULL`, `'mallory.k2', 'SELECT 1 AS a', '{"a\"); DROP TABLE mallory.canary; --"}', NULL`,
		`'mallory.i1', 'SELECT 1 AS a', NULL, '{"(a); DROP TABLE mallory.canary"}'`, `'mallory.i2', 'SELECT 1 AS a', NULL, '{"(a); CREATE INDEX ON mallory.canary (a)"}'`, `'mallory.i5', 'SELECT 1 AS a', NULL, '{"(a); TRUNCATE mallory.canary"}'`,
		`'mallory.i3', 'SELECT 1 AS a', NULL, '{"(a) TABLESPACE nowhere"}'`, `'mallory.i4', 'SELECT 1 AS a', NULL, '{"(a) --"}'`,
	} {
		_, err := a.m.Exec(t.Context(), a.sql(`INSERT INTO mvscheduler.views (name, query, unique_key, indexes) VALUES (`+text+`)`))
		t.Logf("%s: %v", text, err)
		require.Equal(t, 1, ask[int](t, a.m, a.sql(`SELECT count(*)::int FROM mallory.canary`)), text)
		require.Equal(t, 0, ask[int](t, a.m, `SELECT count(*)::int FROM pg_indexes WHERE tablename = 'canary'`), text)
		require.Equal(t, 0, ask[int](t, a.m, `SELECT count(*)::int FROM pg_class WHERE relname IN ('z', 'q9')`), text)
	}
	sidecar := startSidecar(t, a.db)
	until(t, a.m, `SELECT count(*) > 0 AND bool_and(freshness = 'fresh') FROM mvscheduler.status`)
	a.as(`DELETE FROM mvscheduler.views`)
	require.Zero(t, sidecar.stop())
	require.Equal(t, 1, ask[int](t, a.m, a.sql(`SELECT count(*)::int FROM mallory.canary`)))
}

func TestTextThatAnOwnerWroteIsNotParsedAgainInAnAdministratorsSession(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.as(`CREATE FUNCTION mallory.checked(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('stored'); RETURN true; END $$`,
		`CREATE DOMAIN mallory.dom AS int CHECK (mallory.checked(VALUE))`,
		`INSERT INTO mvscheduler.views (name, query, indexes) VALUES ('mallory.v', 'SELECT now() AS at, (''{1}''::mallory.dom[])[1]::int AS a', ARRAY['((a + (''{2}''::mallory.dom[])[1]))']),
		    ('mallory.w', 'SELECT now() AS at, 1 AS a', ARRAY['(a) WHERE a > (''{2}''::mallory.dom[])[1]'])`)
	for _, change := range []string{
		`retention_period = '1 day', time_column = 'at'`, `query = 'SELECT now() AS at, 2 AS a, 3 AS b'`, `query = 'SELECT now() AS at, 2 AS a'`, `query = 'SELECT now() AS at, 2 AS a', indexes = NULL`,
	} {
		a.refused(a.root, "42501", `UPDATE mvscheduler.views SET `+change+` WHERE name = 'mallory.v'`)
		a.refused(a.root, "42501", `UPDATE mvscheduler.views SET `+change+` WHERE name = 'mallory.w'`)
	}
	a.as(`UPDATE mvscheduler.views SET retention_period = '1 day', time_column = 'at'`)
	for _, change := range []string{`retention_period = NULL, time_column = NULL`, `unique_key = '{a}'`, `method = 'full'`} {
		a.refused(a.root, "42501", `UPDATE mvscheduler.views SET `+change)
	}
	pgtest.Exec(t, a.root, `UPDATE mvscheduler.views SET retention_period = '2 days', priority = 3, enabled = false`, a.sql(`UPDATE mvscheduler.views SET name = 'mallory.x' WHERE name = 'mallory.v'`),
		`UPDATE mvscheduler.views SET indexes = '{(a)}'`, `DELETE FROM mvscheduler.views`)
	_, ran := a.loot()
	require.Equal(t, []string{a.mallory}, ran["stored"])
	a.nothingStolen(a.mallory, "stored")
}
