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
	alice := a.victim()
	a.as(`CREATE FUNCTION mallory.sleep() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(36000); RETURN 1; END $$`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval) SELECT 'mallory.s' || i, 'SELECT mallory.sleep() AS a', '1 hour' FROM generate_series(1, 7) AS i`)
	a.manual(a.m, "mallory.v", "SELECT 1 AS id")
	startSidecar(t, a.db)
	until(t, a.root, `SELECT count(*) = 6 FROM mvscheduler.attempt WHERE outcome = 'running'`)
	a.as(`INSERT INTO mvscheduler.request (kind, view_id) SELECT 'refresh', view_id FROM mvscheduler.visible_views CROSS JOIN generate_series(1, 10000) WHERE name LIKE '%.v'`)
	a.refused(a.m, "54000", `SELECT mvscheduler.refresh_view('mallory.v')`)
	a.as(`SELECT pg_stat_force_next_flush()`) // what she read herself
	answered := func(times int) {
		for range times {
			run := ask[int64](t, alice, a.sql(`SELECT mvscheduler.refresh_view('alice.watched')`))
			until(t, a.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE id = $1)`, run)
		}
	}
	answered(8) // by plans that are kept from here on; and what was read while hers were not committed, which no index leaves out, is counted by then
	const read = `SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes AS i WHERE i.relid = t.relid) FROM pg_stat_user_tables AS t WHERE relid = 'mvscheduler.request'::regclass`
	before := ask[int64](t, a.root, read)
	pgtest.Exec(t, a.root, `SET session_replication_role = replica`, // as if they had come in over days, without triggers; ALTER TABLE would have all plans made again
		a.sql(`INSERT INTO mvscheduler.request (kind, view_id, requested_by) SELECT 'refresh', view_id, 'mallory'::regrole FROM mvscheduler.view_state CROSS JOIN generate_series(1, `+strconv.Itoa(heap)+`) WHERE name = 'mallory.v'`),
		`RESET session_replication_role`)
	answered(3)
	a.staysFresh(5)
	pgtest.Exec(t, a.root, `VACUUM ANALYZE mvscheduler.request`)
	a.staysFresh(5)
	require.Less(t, ask[int64](t, a.root, read)-before, int64(100_000), "rows of request that a dozen claims and more read, while the heap was made and after it")
}

func TestRequestsForAViewThatIsGoneAreForgotten(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "there", quick, "refresh_on", "manual", "refresh_interval", nil)
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.request (kind, view_id) SELECT 'refresh', (SELECT max(view_id) FROM mvscheduler.view_state) + 1 + g % 2 FROM generate_series(1, 10) AS g`)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.request)`)
}
