package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestANewVersionIsStoredLikeTheOldOne(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.root, `SET allow_in_place_tablespaces = on`, `CREATE TABLESPACE "ts `+s.owner+`" LOCATION ''`, `GRANT CREATE ON TABLESPACE "ts `+s.owner+`" TO `+s.owner)
	s.manage(t, "v", `SELECT 1 AS id, 'x'::text AS word`, "refresh_interval", "1 day")
	pgtest.Exec(t, s.alice, `ALTER MATERIALIZED VIEW v SET TABLESPACE "ts `+s.owner+`"`, `ALTER MATERIALIZED VIEW v ALTER COLUMN word SET COMPRESSION pglz`, `ALTER MATERIALIZED VIEW v ALTER COLUMN word SET STORAGE MAIN`)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	stored := `SELECT format('%s %s %s', t.spcname, a.attcompression, a.attstorage) FROM pg_class AS c JOIN pg_tablespace AS t ON t.oid = c.reltablespace JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'word' WHERE c.oid = 'v'::regclass`
	before := ask[string](t, s.alice, stored)
	require.Equal(t, "ts "+s.owner+" p m", before)
	s.redefine(t, "v", `SELECT 1 AS id, 2 AS two, 'x'::text AS word`)
	s.oneVersion(t, "v")
	require.Equal(t, before, ask[string](t, s.alice, stored))

	// And so are its indexes, its TOAST table and its statistics.
	pgtest.Exec(t, s.alice, `ALTER MATERIALIZED VIEW v SET (toast.autovacuum_vacuum_threshold = 77)`,
		`CREATE INDEX placed ON v (word) TABLESPACE "ts `+s.owner+`"`, `CREATE INDEX expressed ON v (lower(word))`, `ALTER INDEX expressed ALTER COLUMN 1 SET STATISTICS 333`,
		`ALTER MATERIALIZED VIEW v CLUSTER ON placed`, `CREATE STATISTICS kept (mcv) ON id, word FROM v`, `ALTER STATISTICS kept SET STATISTICS 444`, `COMMENT ON STATISTICS kept IS 'why'`,
		`ALTER MATERIALIZED VIEW v DEPENDS ON EXTENSION plpgsql`, `ALTER INDEX expressed DEPENDS ON EXTENSION plpgsql`)
	details := `
SELECT format('%s | %s | %s | %s | %s',
       (SELECT t.reloptions::text FROM pg_class AS c JOIN pg_class AS t ON t.oid = c.reltoastrelid WHERE c.oid = 'v'::regclass),
       (SELECT string_agg(format('%s %s %s', c.relname, i.indisclustered, t.spcname), ', ' ORDER BY c.relname)
          FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid LEFT JOIN pg_tablespace AS t ON t.oid = c.reltablespace WHERE i.indrelid = 'v'::regclass),
       (SELECT a.attstattarget FROM pg_attribute AS a WHERE a.attrelid = 'expressed'::regclass),
       (SELECT string_agg(format('%s %s %s', stxname, stxstattarget, obj_description(oid, 'pg_statistic_ext')), ', ') FROM pg_statistic_ext WHERE stxrelid = 'v'::regclass),
       (SELECT string_agg(objid::regclass::text, ', ' ORDER BY objid::regclass::text) FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'x' AND objid IN ('v'::regclass, 'expressed'::regclass)))`
	before = ask[string](t, s.alice, details)
	require.Contains(t, before, "placed t ts "+s.owner)
	require.Contains(t, before, "| 333 | kept 444 why | expressed, v")
	s.redefine(t, "v", `SELECT 1 AS id, 2 AS two, 3 AS three, 'x'::text AS word`)
	s.oneVersion(t, "v")
	until(t, s.alice, `SELECT (`+details+`) = $1`, before) // a commit is seen before the names that it gave

	// What is set while the new version waits to be built counts as well.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('v')`)
	s.redefine(t, "v", `SELECT 1 AS id, 'x'::text AS word`)
	pgtest.Exec(t, s.alice, `ALTER INDEX expressed ALTER COLUMN 1 SET STATISTICS 99`, `ALTER MATERIALIZED VIEW v CLUSTER ON expressed`, `ALTER STATISTICS kept SET STATISTICS 55`, `SELECT mvscheduler.resume_view('v')`)
	before = ask[string](t, s.alice, details)
	s.oneVersion(t, "v")
	require.Equal(t, before, ask[string](t, s.alice, details))
}

// PostgreSQL tells how far it is with an index and with ANALYZE; a build shows it.
func TestABuildShowsHowFarItIs(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, amount FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `CREATE FUNCTION slowly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.08); RETURN $1; END $$`,
		`CREATE INDEX ON v (slowly(id))`)
	s.redefine(t, "v", `SELECT id, amount, slow(0.05) AS s FROM sales`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.alice, `SELECT reason LIKE '%is being built (filling the new version)%' FROM mvscheduler.status`)
	until(t, s.alice, `SELECT reason ~ 'is being built \((putting the new version in place|analyzing the new version): (building an index|reading a sample), [0-9]+ %\)' FROM mvscheduler.status`)
	require.Regexp(t, `building an index|reading a sample`, mvscheduler(t, s.db, s.owner, "", "runs", "-o", "json").stdout)
	s.oneVersion(t, "v")
	require.Empty(t, ask[string](t, s.alice, `SELECT coalesce(string_agg(progress::text, ''), '') FROM mvscheduler.runs`))
}
