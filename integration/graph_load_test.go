package integration

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// hundredsDeep makes a chain of views that follow each other, and as many views with a clock that read the last: what
// they wait for is the same for all of them. Six runs that do not end keep their owner from having more.
func hundredsDeep(a *arena) {
	a.as(`CREATE FUNCTION mallory.sleep() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(36000); RETURN 1; END $$`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, enabled) VALUES ('mallory.c0', 'SELECT 1 AS id', '1 hour', false)`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on) SELECT 'mallory.c' || i, 'SELECT id FROM mallory.c' || i - 1, NULL, 'upstream' FROM generate_series(1, 300) AS i`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval) SELECT 'mallory.d' || i, 'SELECT id FROM mallory.c300', '1 hour' FROM generate_series(1, 300) AS i`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, priority) SELECT 'mallory.s' || i, 'SELECT mallory.sleep() AS a', '1 hour', 1 FROM generate_series(1, 7) AS i`)
}

func TestADeepGraphOfOneOwnerDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	heavy(t)
	a := newArena(t)
	a.victim()
	hundredsDeep(a)
	startSidecar(t, a.db)
	until(t, a.root, `SELECT count(*) = 6 FROM mvscheduler.attempt WHERE outcome = 'running'`)
	a.staysFresh(5)
}

// What cannot be taken up lies there; it must cost no more than one request.
func TestAHeapOfRequestsDoesNotSlowTheOthersDown(t *testing.T) {
	t.Parallel()
	heavy(t)
	heap := 300_000
	if long {
		heap = 1_000_000
	}
	a := newArena(t)
	a.victim()
	a.as(`CREATE FUNCTION mallory.sleep() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(36000); RETURN 1; END $$`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval) SELECT 'mallory.s' || i, 'SELECT mallory.sleep() AS a', '1 hour' FROM generate_series(1, 7) AS i`)
	a.manual(a.m, "mallory.v", "SELECT 1 AS id")
	startSidecar(t, a.db)
	until(t, a.root, `SELECT count(*) = 6 FROM mvscheduler.attempt WHERE outcome = 'running'`)
	a.as(`INSERT INTO mvscheduler.request (kind, view_id) SELECT 'refresh', view_id FROM mvscheduler.visible_views CROSS JOIN generate_series(1, 10000) WHERE name LIKE '%.v'`)
	a.refused(a.m, "54000", `SELECT mvscheduler.refresh_view('mallory.v')`)
	pgtest.Exec(t, a.root, `ALTER TABLE mvscheduler.request DISABLE TRIGGER USER`, // as if they had come in over days
		a.sql(`INSERT INTO mvscheduler.request (kind, view_id, requested_by) SELECT 'refresh', view_id, 'mallory'::regrole FROM mvscheduler.view_state CROSS JOIN generate_series(1, `+strconv.Itoa(heap)+`) WHERE name = 'mallory.v'`),
		`ALTER TABLE mvscheduler.request ENABLE TRIGGER USER`)
	pgtest.Exec(t, a.root, `VACUUM ANALYZE mvscheduler.request`)
	const read = `SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes AS i WHERE i.relid = t.relid) FROM pg_stat_user_tables AS t WHERE relid = 'mvscheduler.request'::regclass`
	until(t, a.root, `SELECT `+"("+read+") >= 0")
	before := ask[int64](t, a.root, read)
	a.staysFresh(5)
	require.Less(t, ask[int64](t, a.root, read)-before, int64(100_000), "rows of request that five claims and more read")
}
