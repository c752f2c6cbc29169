package integration

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// makeDue makes every view due now.
const makeDue = `UPDATE mvscheduler.view_state SET next_slot = clock_timestamp(), next_due = clock_timestamp() WHERE refresh_on = 'schedule'`

func TestWhatHasNotChangedIsNotRefreshed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	db.Exec(t, `UPDATE mvscheduler.settings SET max_skips = 100`)
	admin := db.Conn(t, "")
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice,
		`CREATE TABLE sales (at timestamptz NOT NULL, shop int, amount int)`,
		`CREATE TABLE shops (id int PRIMARY KEY, city text)`,
		`INSERT INTO sales SELECT '2026-01-01'::timestamptz + i * interval '7 min', i % 5, i FROM generate_series(1, 1000) AS i`,
		`INSERT INTO shops SELECT i, 'city ' || i FROM generate_series(0, 4) AS i`,
		`SELECT pg_stat_force_next_flush()`, // so that the first tokens know of these rows
		`INSERT INTO mvscheduler.views (name, query) VALUES
		 ('hourly', 'SELECT date_trunc(''hour'', at) AS hour, shop, sum(amount) AS amount FROM sales GROUP BY 1, 2'),
		 ('by_city', 'WITH s AS (SELECT shop, sum(amount) AS amount FROM sales GROUP BY 1) SELECT city, amount FROM s JOIN shops ON id = shop'),
		 ('clock', 'SELECT now() AS at')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('daily', 'SELECT hour::date AS day, sum(amount) AS amount FROM hourly GROUP BY 1', 'upstream')`)
	startSidecar(t, db)
	until(t, alice, `SELECT count(*) = 4 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	refreshes := func() (n int) {
		for _, line := range db.Log(t) {
			if strings.Contains(line.Message, ": REFRESH MATERIALIZED VIEW") && !strings.Contains(line.Message, `"clock"`) {
				n++
			}
		}
		return n
	}
	before := refreshes()
	for round := range 3 {
		pgtest.Exec(t, admin, makeDue)
		until(t, alice, `SELECT count(*) = 3 FROM (SELECT view_name FROM mvscheduler.runs WHERE state = 'skipped' AND reason LIKE '%nothing changed%' GROUP BY 1 HAVING count(*) > $1) AS x`, round)
	}
	require.Equal(t, before, refreshes(), "no REFRESH reached the server")
	require.Contains(t, ask[string](t, alice, `SELECT max(reason) FROM mvscheduler.runs WHERE view_name LIKE '%by_city' AND state = 'skipped'`), "the 2 relations below, up to ")
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE view_name LIKE '%clock' AND state = 'succeeded' AND reason LIKE '%never skipped: function now()%')`)

	pgtest.Exec(t, alice, `INSERT INTO sales VALUES ('2026-01-01 00:00', 1, 1000000)`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	pgtest.Exec(t, admin, makeDue)
	until(t, alice, `SELECT sum(amount) = 1500500 FROM daily`)
	until(t, alice, `SELECT sum(amount) = 1500500 FROM by_city`)

	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET change_tracking = 'none' WHERE name LIKE '%by_city'`)
	pgtest.Exec(t, admin, makeDue)
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE view_name LIKE '%by_city' AND state = 'succeeded' AND reason LIKE '%change_tracking is none%')`)
	run := ask[int64](t, alice, `SELECT mvscheduler.refresh_view('hourly')`)
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id = $1 AND state = 'succeeded')`, run)
}

func TestASkipMovesDataAsOfToWhatItProves(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	once := func(sql string) (at time.Time) { // no session of ours is open when the sidecar looks
		conn, err := pgx.Connect(t.Context(), db.URL())
		require.NoError(t, err)
		defer conn.Close(t.Context())
		require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&at))
		return at
	}
	setUp := db.Conn(t, user)
	pgtest.Exec(t, setUp, `CREATE TABLE t (a int)`, `SELECT pg_stat_force_next_flush()`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('w', 'SELECT a FROM v', 'upstream')`)
	startSidecar(t, db)
	until(t, setUp, `SELECT bool_and(freshness = 'fresh' AND activity = 'idle') FROM mvscheduler.status`)
	require.NoError(t, setUp.Close(t.Context()))
	const oldest = `SELECT min(data_as_of) FROM mvscheduler.status`
	before := once(oldest)
	require.Eventually(t, func() bool {
		db.Exec(t, makeDue)
		return once(oldest).After(before.Add(time.Second))
	}, patience, 300*time.Millisecond, "also of the view that follows")
	skipped := once(`SELECT max(finished_at) FROM mvscheduler.runs WHERE state = 'skipped' AND view_name LIKE '%w'`)
	require.True(t, skipped.After(before))
}

func TestEveryHundredthRunRefreshesAllTheSame(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	db.Exec(t, `UPDATE mvscheduler.settings SET max_skips = 2`)
	admin := db.Conn(t, "")
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`)
	startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' AND activity = 'idle' FROM mvscheduler.status`)
	for runs := 2; runs <= 7; runs++ {
		pgtest.Exec(t, admin, makeDue)
		until(t, alice, `SELECT count(*) = $1 FROM mvscheduler.runs WHERE state IN ('succeeded', 'skipped')`, runs)
	}
	require.Equal(t, "succeeded,skipped,skipped,succeeded,skipped,skipped,succeeded", ask[string](t, alice, `SELECT string_agg(state, ',' ORDER BY id) FROM mvscheduler.runs`))
	require.Contains(t, ask[string](t, alice, `SELECT reason FROM mvscheduler.runs ORDER BY id DESC LIMIT 1`), "after 2 skips")
}

func TestAfterACrashOfABackendNothingIsSkippedUntilItWasRefreshed(t *testing.T) {
	t.Parallel()
	db := pgtest.Dedicated(t, nil)
	db.Exec(t, `UPDATE mvscheduler.settings SET max_skips = 100`)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT a FROM t')`)
	startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' AND activity = 'idle' FROM mvscheduler.status`)
	db.Exec(t, makeDue)
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE state = 'skipped')`)

	victim := db.Conn(t, user)
	pgtest.Exec(t, victim, `SELECT 1`)
	require.NoError(t, syscall.Kill(int(victim.PgConn().PID()), syscall.SIGKILL))
	var again *pgx.Conn
	require.Eventually(t, func() bool {
		if alice.Ping(t.Context()) == nil { // the postmaster has not noticed yet: whoever connects now is ended too
			return false
		}
		conn, err := pgx.Connect(t.Context(), db.URLAs(user))
		again = conn
		return err == nil
	}, patience, 50*time.Millisecond)
	defer again.Close(context.Background())
	last := ask[int64](t, again, `SELECT max(id) FROM mvscheduler.runs`)
	until(t, again, `SELECT true`)
	db.Exec(t, makeDue)
	until(t, again, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id > $1 AND state IN ('succeeded', 'skipped'))`, last)
	require.Equal(t, "succeeded", ask[string](t, again, `SELECT state FROM mvscheduler.runs WHERE id > $1 AND state IN ('succeeded', 'skipped') ORDER BY id LIMIT 1`, last), "the counters are gone")
}

// A subscriber (Debezium, say) keeps a WAL sender active for ever.
func TestRunsAreSkippedWhileASubscriberStreams(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.Dedicated(t, map[string]string{"wal_level": "logical"})
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE TABLE t (a int)`, `INSERT INTO t VALUES (1)`, `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v', 'SELECT a FROM t', '4 hours')`)
	root := db.Conn(t, "")
	pgtest.Exec(t, root, `CREATE PUBLICATION p FOR ALL TABLES`)
	config, err := pgconn.ParseConfig(db.URL())
	require.NoError(t, err)
	config.RuntimeParams["replication"] = "database"
	subscriber, err := pgconn.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer subscriber.Close(context.WithoutCancel(t.Context()))
	_, err = subscriber.Exec(t.Context(), `CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL pgoutput`).ReadAll()
	require.NoError(t, err)
	subscriber.Frontend().SendQuery(&pgproto3.Query{String: `START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')`})
	require.NoError(t, subscriber.Frontend().Flush())
	until(t, root, `SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'`)

	startSidecar(t, db)
	refreshed(t, conn, "v")
	require.Eventually(t, func() bool { // by a refresh it would be before its end
		pgtest.Exec(t, root, makeDue)
		return ask[bool](t, root, `SELECT h.data_as_of > (SELECT max(finished_at) FROM mvscheduler.run WHERE state = 'succeeded') FROM mvscheduler.view_health AS h`)
	}, 90*time.Second, time.Second, "no skip proves anything")
}

// The session that applies a subscription waits for the publisher, not for a client, and reports when nothing comes for a second.
func TestRunsAreSkippedWhereASubscriptionIsQuiet(t *testing.T) {
	t.Parallel()
	heavy(t)
	upstream := pgtest.Dedicated(t, map[string]string{"wal_level": "logical"})
	publisher := upstream.Conn(t, "")
	s := sceneOn(t, pgtest.Dedicated(t, nil))
	table := `CREATE TABLE ` + s.owner + `.t (a int PRIMARY KEY)`
	pgtest.Exec(t, publisher, `CREATE SCHEMA `+s.owner, table, `CREATE PUBLICATION p FOR TABLE `+s.owner+`.t`)
	pgtest.Exec(t, s.alice, table)
	config := publisher.Config()
	pgtest.Exec(t, s.root, fmt.Sprintf(`CREATE SUBSCRIPTION s CONNECTION 'host=%s port=%d user=%s dbname=%s' PUBLICATION p`, config.Host, config.Port, config.User, upstream.Name))
	defer pgtest.Exec(t, s.root, `DROP SUBSCRIPTION s`)
	until(t, s.root, `SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel`)
	pgtest.Exec(t, publisher, `INSERT INTO `+s.owner+`.t VALUES (1)`, `INSERT INTO `+s.owner+`.t VALUES (2)`)
	until(t, s.alice, `SELECT count(*) = 2 FROM t`)

	s.manage(t, "v", `SELECT a FROM t`, "refresh_interval", "4 hours")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	proves := func() {
		t.Helper()
		require.Eventually(t, func() bool { // by a refresh it would be before its end
			pgtest.Exec(t, s.root, makeDue)
			return ask[bool](t, s.root, `SELECT h.data_as_of > (SELECT max(finished_at) FROM mvscheduler.run WHERE state = 'succeeded') FROM mvscheduler.view_health AS h`)
		}, 90*time.Second, time.Second, "no skip proves anything")
	}
	proves()
	pgtest.Exec(t, publisher, `INSERT INTO `+s.owner+`.t VALUES (3)`, `INSERT INTO `+s.owner+`.t VALUES (4)`)
	applied := ask[time.Time](t, publisher, `SELECT clock_timestamp()`)
	until(t, s.alice, `SELECT count(*) = 4 FROM t`)
	require.Eventually(t, func() bool {
		pgtest.Exec(t, s.root, makeDue)
		return ask[bool](t, s.root, `SELECT data_as_of > $1 FROM mvscheduler.view_health`, applied.Add(time.Second))
	}, patience, 500*time.Millisecond)
	require.Equal(t, 4, ask[int](t, s.alice, `SELECT count(*)::int FROM v`), "what was applied is not passed over")
}

// A request and the clock may meet in one run.
func TestWhatSomebodyAskedForIsNotSkippedWhenItsSlotIsDueAsWell(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`, "refresh_interval", "1 day")
	sidecar := startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	require.Eventually(t, func() bool { // when the server has counted what was inserted
		pgtest.Exec(t, s.root, makeDue)
		return ask[bool](t, s.alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE state = 'skipped' AND reason LIKE 'nothing changed%')`)
	}, patience, 500*time.Millisecond)
	until(t, s.alice, `SELECT activity = 'idle' FROM mvscheduler.status`)
	require.Zero(t, sidecar.stop())
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	pgtest.Exec(t, s.root, makeDue)
	startSidecar(t, s.db)
	until(t, s.alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id = $1 AND joined_run IS NOT NULL)`, run)
	until(t, s.alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE state = 'succeeded' AND cause = 'schedule' AND id = (SELECT joined_run FROM mvscheduler.runs WHERE id = $1))`, run)
}

// What somebody else wrote into the view is not what its last refresh proved.
func TestAViewThatWasRefreshedByHandIsNotSkipped(t *testing.T) {
	t.Parallel()
	for _, concurrently := range []string{"", "CONCURRENTLY "} {
		t.Run("REFRESH "+concurrently, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE moments (id int PRIMARY KEY, at timestamptz)`, `INSERT INTO moments VALUES (1, '2026-01-01 12:00')`)
			s.manage(t, "v", `SELECT id, at::text AS shown FROM moments`, "refresh_interval", "1 day")
			startSidecar(t, s.db)
			refreshed(t, s.alice, "v")
			next := func(state string) {
				t.Helper()
				last := ask[int64](t, s.alice, `SELECT max(id) FROM mvscheduler.runs`)
				pgtest.Exec(t, s.root, makeDue)
				until(t, s.alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id > $1 AND state IN ('skipped', 'succeeded'))`, last)
				require.Equal(t, state, ask[string](t, s.alice, `SELECT state FROM mvscheduler.runs ORDER BY id DESC LIMIT 1`), ask[string](t, s.alice, `SELECT reason FROM mvscheduler.runs ORDER BY id DESC LIMIT 1`))
			}
			until(t, s.alice, `SELECT pg_stat_get_tuples_inserted('moments'::regclass) = 1`)
			refreshed(t, s.alice, "v")
			next("skipped")

			hand := s.db.Conn(t, s.owner)
			pgtest.Exec(t, hand, `SET TimeZone = 'Asia/Tokyo'`, `REFRESH MATERIALIZED VIEW `+concurrently+`v`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
			require.Equal(t, "2026-01-01 21:00:00+09", ask[string](t, s.alice, `SELECT shown FROM v`))
			next("succeeded")
			require.Equal(t, "2026-01-01 12:00:00+00", ask[string](t, s.alice, `SELECT shown FROM v`))
			next("skipped")

			if concurrently != "" { // which compares with the view as it was then
				return
			}
			pgtest.Exec(t, hand, `RESET TimeZone`, `BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT 1 FROM moments`)
			pgtest.Exec(t, s.alice, `INSERT INTO moments VALUES (2, '2026-01-02 12:00')`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
			next("succeeded")
			pgtest.Exec(t, hand, `REFRESH MATERIALIZED VIEW v`, `COMMIT`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
			require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM v`), "as it was in the old snapshot")
			next("succeeded")
			require.Equal(t, 2, ask[int](t, s.alice, `SELECT count(*)::int FROM v`))
			next("skipped")
		})
	}
}

func TestAViewThatWasEmptiedByHandIsNotSkipped(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_interval", "1 day")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `REFRESH MATERIALIZED VIEW v WITH NO DATA`)
	require.Equal(t, "never", ask[string](t, s.alice, `SELECT freshness FROM mvscheduler.status`))
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "emptied by hand: SELECT mvscheduler.refresh_view('"+s.owner+".v')")
	pgtest.Exec(t, s.root, makeDue)
	until(t, s.alice, `SELECT relispopulated FROM pg_class WHERE oid = 'v'::regclass`)
}
