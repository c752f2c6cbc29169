package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// victim registers a view of alice's that is refreshed each second, and returns her connection.
func (a *arena) victim() *pgx.Conn {
	a.t.Helper()
	alice := a.db.Conn(a.t, a.alice)
	pgtest.Exec(a.t, alice, a.sql(`INSERT INTO mvscheduler.views (name, query, refresh_interval, priority) VALUES ('alice.watched', 'SELECT clock_timestamp() AS at', '1 second', 4)`))
	return alice
}

// staysFresh wants so many more refreshes of alice's view, each due every second, in thrice that time.
func (a *arena) staysFresh(times int) {
	a.t.Helper()
	before := ask[int64](a.t, a.root, `SELECT coalesce(max(refreshes), 0) FROM mvscheduler.view_health AS h JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.watched'`)
	untilWithin(a.t, time.Duration(times)*3*time.Second+2*time.Second, a.root,
		`SELECT coalesce(max(refreshes), 0) >= $1 FROM mvscheduler.view_health AS h JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.watched'`, before+int64(times))
}

func TestNobodysLocksOrOpenTransactionsStopTheOthers(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.victim()
	for _, v := range []string{"a", "b", "c"} {
		a.manual(a.m, "mallory."+v, "SELECT 1 AS id")
	}
	sidecar := startSidecar(t, a.db)
	a.staysFresh(1)

	// The strongest lock that mallory gets on each relation of ours.
	modes := []string{"ACCESS EXCLUSIVE", "EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE", "SHARE UPDATE EXCLUSIVE", "ROW EXCLUSIVE", "ROW SHARE", "ACCESS SHARE"}
	var relations []string
	require.NoError(t, a.root.QueryRow(t.Context(), `SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE relnamespace = 'mvscheduler'::regnamespace AND relkind IN ('r', 'p', 'v')`).Scan(&relations))
	got := map[string]string{}
	a.as(`BEGIN`, `UPDATE mvscheduler.views SET priority = 1`, `DELETE FROM mvscheduler.views WHERE name = 'mallory.c'`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.open', 'SELECT 1 AS id')`, `SELECT mvscheduler.refresh_view('mallory.a')`)
	for _, relation := range relations {
		for _, mode := range modes {
			a.as(`SAVEPOINT s`)
			if _, err := a.m.Exec(t.Context(), fmt.Sprintf(`LOCK TABLE mvscheduler.%s IN %s MODE NOWAIT`, relation, mode)); err == nil {
				got[relation] = mode
				break
			}
			a.as(`ROLLBACK TO s`)
		}
	}
	for relation, mode := range got {
		if relation == "verify_scan" && mode == "ROW EXCLUSIVE" { // whoever verifies writes there, and a sidecar takes no lock that would wait for it
			continue
		}
		if relation != "views" && relation != "source_retention" { // of which the sidecar reads private copies
			require.Equal(t, "ACCESS SHARE", mode, relation)
		}
	}
	require.Equal(t, "ACCESS EXCLUSIVE", got["views"])

	a.staysFresh(3)
	refreshed(t, alice, a.sql("alice.watched"))
	require.Equal(t, "fresh", ask[string](t, alice, `SELECT freshness FROM mvscheduler.status`))
	require.Zero(t, mvscheduler(t, a.db, a.alice, "", "status").code)
	require.Zero(t, mvscheduler(t, a.db, a.alice, "", "runs").code)
	code, body := sidecar.get("/readyz")
	require.Equal(t, 200, code, body)
	_, body = sidecar.get("/metrics")
	require.Contains(t, body, a.sql(`view="alice.watched"`))
	a.as(`ROLLBACK`)
	require.Zero(t, sidecar.stop())
}

func TestForgedNotificationsAreHintsAtMost(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.victim()
	sidecar := startSidecar(t, a.db)
	a.staysFresh(1)
	began := time.Now()
	for _, channel := range []string{"river_control", "mvscheduler.river_control", "river_leadership", "mvscheduler.river_leadership", "mvscheduler_due", "mvscheduler.river_insert", "river_insert"} {
		for _, payload := range []string{
			`{"action":"pause","queue":"*"}`, `{"action":"pause","queue":"refresh"}`, `{"action":"request_resign"}`, `{"action":"resigned","leader_id":"x"}`,
			`{"action":"cancel","job_id":1,"queue":"refresh"}`, `{"action":"queue_metadata_changed","queue":"refresh"}`, `{`, ``, strings.Repeat("x", 7999),
		} {
			pgtest.Exec(t, a.m, `SELECT pg_notify(`+quote(channel)+`, `+quote(payload)+`)`)
		}
		a.as(`DO $$ BEGIN FOR j IN 1..20 LOOP PERFORM pg_notify(` + quote(channel) + `, format('{"action":"cancel","job_id":%s,"queue":"refresh"}', g)) FROM generate_series(j * 1000, j * 1000 + 999) AS g; COMMIT; END LOOP; END $$`)
	}
	a.staysFresh(3)
	require.Zero(t, ask[int](t, alice, `SELECT count(*)::int FROM mvscheduler.runs WHERE state = 'cancelled'`))
	took := time.Since(began).Seconds() + 1
	require.Zero(t, sidecar.stop())

	ticks, fetches := 0, 0
	for _, line := range a.db.Log(t) {
		if strings.HasPrefix(line.Application, "mvscheduler control") {
			if strings.Contains(line.Message, "clock_timestamp(), max_runs_per_owner") {
				ticks++
			}
			if strings.Contains(line.Message, "JobGetAvailable") {
				fetches++
			}
		}
	}
	t.Logf("%d ticks of the dispatcher and %d looks for jobs in %.1f s", ticks, fetches, took)
	require.NotZero(t, ticks)
	require.Less(t, float64(ticks), took*25)
	require.Less(t, float64(fetches), took*220)
}

func TestAnAdvisoryLockOfAUserStopsNothing(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.victim()
	migrate, err := database.GenerateAdvisoryLockId(a.db.Name, "mvscheduler", "schema_migrations")
	require.NoError(t, err)
	a.as(`SELECT pg_advisory_lock(`+migrate+`)`, `SELECT pg_advisory_lock(30811010422564196)`,
		`SELECT pg_advisory_lock(g) FROM generate_series(0, 100) AS g`, `SELECT pg_advisory_lock(0, g) FROM generate_series(0, 100) AS g`)
	began := time.Now()
	require.Zero(t, mvscheduler(t, a.db, "", "", "migrate", "up").code, "there is nothing to migrate")
	require.Less(t, time.Since(began), 20*time.Second)
	startSidecar(t, a.db)
	a.staysFresh(2)

	empty := pgtest.NewEmpty(t)
	mallory := empty.Conn(t, empty.Role(t, "mallory"))
	migrate, err = database.GenerateAdvisoryLockId(empty.Name, "mvscheduler", "schema_migrations")
	require.NoError(t, err)
	pgtest.Exec(t, mallory, `SELECT pg_advisory_lock(`+migrate+`)`)
	require.Zero(t, mvscheduler(t, empty, "", "", "migrate", "up").code, "the lock of the library")
}

func TestOneOwnersSlowAndFailingViewsLeaveWorkersToOthers(t *testing.T) {
	t.Parallel()
	heavy(t)
	a := newArena(t)
	a.victim()
	a.as(`CREATE FUNCTION mallory.fail_once(s regclass) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
	          IF nextval(s) <= 2 THEN RAISE EXCEPTION 'not yet'; END IF;
	          PERFORM pg_sleep(600); RETURN 1; END $$`,
		`DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE SEQUENCE mallory.s%s', i); END LOOP; END $$`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, priority, max_attempts)
		 SELECT 'mallory.slow' || i, format('SELECT mallory.fail_once(''mallory.s%s''::regclass) AS id', i), '1 second', 1, 100 FROM generate_series(1, 300) AS i`)
	startSidecar(t, a.db)
	until(t, a.root, `SELECT count(*) >= 6 FROM mvscheduler.attempt AS t JOIN mvscheduler.view_state AS s USING (view_id) WHERE t.attempt >= 3 AND s.name LIKE 'mallory%'`)
	a.staysFresh(6)
	const mallorys = `FROM mvscheduler.run AS r JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE 'mallory%' AND `
	require.LessOrEqual(t, ask[int](t, a.root, `SELECT count(*)::int `+mallorys+`r.state = 'queued' AND r.counted = 0`), 7, "more are not even claimed")
	require.LessOrEqual(t, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.attempt AS t JOIN mvscheduler.view_state AS s USING (view_id) WHERE t.outcome = 'running' AND s.name LIKE 'mallory%'`), 6)
}

func TestTenThousandRequestsOfOneUserDelayNobody(t *testing.T) {
	t.Parallel()
	heavy(t)
	a := newArena(t)
	a.victim()
	a.manual(a.m, "mallory.v", "SELECT 1 AS id")
	startSidecar(t, a.db)
	a.staysFresh(1)
	n := 10_000 // more are refused
	a.as(fmt.Sprintf(`INSERT INTO mvscheduler.request (kind, view_id) SELECT 'refresh', view_id FROM mvscheduler.visible_views CROSS JOIN generate_series(1, %d)`, n))
	a.staysFresh(4)
	until(t, a.root, `SELECT count(*) = 0 FROM mvscheduler.request`)
	require.Equal(t, n, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.run AS r JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name = $1`, a.sql("mallory.v")))
	a.staysFresh(1)
}
