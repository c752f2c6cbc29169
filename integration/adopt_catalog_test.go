package integration

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// described is all that PostgreSQL's catalogs say of the relations of a schema: what pg_dump would write, for servers whose
// binaries come without it. Rights of the sidecar are left out.
const described = `
SELECT string_agg(said, E'\n' ORDER BY said)
  FROM (SELECT concat_ws(' ', 'relation', c.relname, c.relkind, pg_get_userbyid(c.relowner), c.relpersistence, c.reltablespace, c.relispopulated, c.reloptions,
                         regexp_replace(c.relacl::text, ',?mvscheduler_worker=[a-zA-Z*]+/[^,}]+', ''), obj_description(c.oid, 'pg_class'), pg_get_viewdef(c.oid)) AS said
          FROM pg_class AS c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind <> 'i'
        UNION ALL
        SELECT concat_ws(' ', 'column', a.attrelid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation, a.attstattarget, a.attstorage, a.attcompression, a.attoptions, a.attacl,
                         col_description(a.attrelid, a.attnum))
          FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace = current_schema()::regnamespace AND a.attnum > 0
        UNION ALL
        SELECT concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid), i.indisclustered, i.indisvalid, obj_description(i.indexrelid, 'pg_class'))
          FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid WHERE c.relnamespace = current_schema()::regnamespace
        UNION ALL
        SELECT concat_ws(' ', 'statistics', pg_get_statisticsobjdef(s.oid), s.stxstattarget) FROM pg_statistic_ext AS s WHERE s.stxnamespace = current_schema()::regnamespace) AS x`

func TestAdoptionAndReleaseChangeNothingInTheCatalogs(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	existing(t, db, user)
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE STATISTICS daily_both ON day, amount FROM daily`, `ALTER MATERIALIZED VIEW daily CLUSTER ON daily_day`)
	look := func(conn *pgx.Conn) string { return ask[string](t, conn, described) }
	before := look(alice)
	startSidecar(t, db)
	pgtest.Exec(t, alice, `SELECT mvscheduler.adopt_view('daily', '1 day')`)
	require.Equal(t, before, look(alice), "adopted")
	refreshed(t, alice, "daily")
	require.Equal(t, before, look(alice), "refreshed")
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET indexes = '{(day DESC)}', unique_key = '{day}', refresh_interval = '1 hour'`)
	require.NotEqual(t, before, look(alice), "what the row says is there meanwhile")
	pgtest.Exec(t, alice, `SELECT mvscheduler.release_view('daily')`)
	require.Equal(t, before, look(alice), "released")
}
