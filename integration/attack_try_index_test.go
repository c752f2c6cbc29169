package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Mallory, in whose schema alice has a view, puts another relation in its place while the index of a recommendation is tried:
// planning what has the name by then would run her function in alice's session.
func TestTryingAnIndexPlansNoLookAlikeOfTheView(t *testing.T) {
	t.Parallel()
	needExtension(t, "hypopg")
	a := newArena(t)
	alice, mallory := a.db.Conn(t, a.alice), a.db.Conn(t, a.mallory)
	pgtest.Exec(t, a.root, `CREATE SCHEMA ext`, `CREATE EXTENSION hypopg SCHEMA ext`, `GRANT USAGE ON SCHEMA ext TO PUBLIC`, a.sql(`GRANT ALL ON SCHEMA mallory TO alice`))
	pgtest.Exec(t, alice, a.sql(`CREATE TABLE flights AS SELECT i AS id, 'o' || i % 100 AS origin FROM generate_series(1, 1000) AS i`), a.sql(`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on) VALUES ('mallory.v', 'SELECT id, origin FROM flights', NULL, 'manual')`))
	startSidecar(t, a.db)
	refreshed(t, alice, a.sql("mallory.v"))
	pgtest.Exec(t, alice, a.sql(`ANALYZE mallory.v`))
	pgtest.Exec(t, a.root, a.sql(`INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, evidence) SELECT view_id, name, 'index', '', '', '', '', '{"columns": ["origin"], "ranged": false}' FROM mvscheduler.view_state WHERE name = 'mallory.v'`))
	pgtest.Exec(t, mallory, a.sql(`CREATE FUNCTION mallory.planned() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN mallory.steal('planned'); END $$`), `BEGIN`,
		a.sql(`DROP MATERIALIZED VIEW mallory.v`), a.sql(`CREATE VIEW mallory.v AS SELECT 1 AS id, 'o1'::text AS origin WHERE mallory.planned() = 1`), a.sql(`GRANT SELECT ON mallory.v TO PUBLIC`))
	tried := make(chan string, 1)
	pid := alice.PgConn().PID()
	go func() {
		var got string
		if err := alice.QueryRow(t.Context(), `SELECT coalesce(mvscheduler.try_index(id) ->> 'not_tried', 'tried') FROM mvscheduler.recommendations`).Scan(&got); err != nil {
			got = err.Error()
		}
		tried <- got
	}()
	var got string
	until(t, a.root, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Lock')`, pid)
	pgtest.Exec(t, mallory, `COMMIT`)
	got = <-tried
	t.Log(got)
	achieved, _ := a.loot()
	require.Empty(t, achieved, "mallory's code achieved something")
	require.Contains(t, got, "could give the name of")
}
