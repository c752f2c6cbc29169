package integration

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// neverAhead makes slots due until idleForGood is long over, and watches that no run which leaves the row out says that
// the view is as young as the row.
func neverAhead(t *testing.T, db *pgtest.DB) {
	t.Helper()
	admin := db.Conn(t, "")
	runs := ask[int](t, admin, `SELECT count(*)::int FROM mvscheduler.run`)
	for end := time.Now().Add(25 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		pgtest.Exec(t, admin, makeDue)
		require.True(t, ask[bool](t, admin, `SELECT coalesce(h.data_as_of <= (SELECT max(at) FROM t), true) OR (SELECT count(*) FROM v) = (SELECT count(*) FROM t) FROM mvscheduler.view_health AS h`),
			"the view is reported younger than a row that it lacks")
	}
	require.Greater(t, ask[int](t, admin, `SELECT count(*)::int FROM mvscheduler.run`), runs+5, "runs were made meanwhile")
}

func hiddenArena(t *testing.T, db *pgtest.DB) (user string) {
	t.Helper()
	user = db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (at timestamptz)`, `CREATE TABLE other (a int)`, `INSERT INTO t VALUES (now())`, `SELECT pg_stat_force_next_flush()`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v', 'SELECT at FROM t', '4 hours')`)
	db.Exec(t, `ALTER ROLE postgres IN DATABASE `+db.Name+` SET search_path = `+user)
	startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' AND activity = 'idle' FROM mvscheduler.status`)
	db.Exec(t, makeDue)
	until(t, alice, `SELECT count(*) > 1 FROM mvscheduler.runs WHERE state IN ('skipped', 'succeeded')`)
	time.Sleep(2 * time.Second) // the writer's first commit is reported at once when it has reported nothing for a second
	return user
}

func TestATransactionThatADescribeOpensHidesNothing(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.New(t)
	user := hiddenArena(t, db)
	w := db.Conn(t, user)
	_, err := w.Prepare(t.Context(), "ps", "SELECT 1")
	require.NoError(t, err)
	time.Sleep(2 * time.Second) // as in hiddenArena, for this session
	pgtest.Exec(t, w, `INSERT INTO other VALUES (1)`, `INSERT INTO t VALUES (clock_timestamp())`)
	f := w.PgConn().Frontend()
	f.SendDescribe(&pgproto3.Describe{ObjectType: 'S', Name: "ps"})
	f.Send(&pgproto3.Flush{})
	require.NoError(t, f.Flush())
	admin := db.Conn(t, "")
	until(t, admin, `SELECT state = 'idle' AND xact_start IS NOT NULL FROM pg_stat_activity WHERE pid = $1`, int32(w.PgConn().PID()))
	neverAhead(t, db)
}

func TestWhatAReplicationSessionWroteBeforeItStreamsIsNotHidden(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.Dedicated(t, map[string]string{"max_wal_senders": "4", "wal_level": "replica"})
	user := hiddenArena(t, db)
	db.Exec(t, `ALTER ROLE `+user+` REPLICATION`)
	config, err := pgconn.ParseConfig(db.URLAs(user))
	require.NoError(t, err)
	config.RuntimeParams["replication"] = "database"
	w, err := pgconn.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.Close(context.Background()) })
	admin := db.Conn(t, "")
	lsn := ask[string](t, admin, `SELECT pg_current_wal_flush_lsn()::text`)
	for _, s := range []string{`INSERT INTO other VALUES (1)`, `INSERT INTO t VALUES (clock_timestamp())`} {
		_, err := w.Exec(t.Context(), s).ReadAll()
		require.NoError(t, err)
	}
	w.Frontend().Send(&pgproto3.Query{String: "START_REPLICATION PHYSICAL " + lsn})
	require.NoError(t, w.Frontend().Flush())
	go func() { // read what it streams, and answer now and then
		for {
			if _, err := w.Frontend().Receive(); err != nil {
				return
			}
		}
	}()
	until(t, admin, `SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'`)
	neverAhead(t, db)
	until(t, admin, `SELECT count(*) = 2 FROM v`) // one refresh for the new stream; then runs are skipped again
	until(t, admin, `SELECT state = 'skipped' FROM mvscheduler.run WHERE state NOT IN ('queued', 'running') ORDER BY id DESC LIMIT 1`)
}

// How old an adopted view's contents are, nobody knows before its first refresh.
func TestAViewOnAnAdoptedViewIsOfUnknownAgeUntilThatIsRefreshed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `INSERT INTO t VALUES (1)`, `CREATE MATERIALIZED VIEW below AS SELECT a FROM t`, `INSERT INTO t VALUES (2)`,
		`SELECT mvscheduler.adopt_view('below', refresh_interval => '1 day')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('upon', 'SELECT a FROM below', '1 second')`)
	startSidecar(t, db)
	until(t, alice, `SELECT count(*) > 2 FROM mvscheduler.runs WHERE view_name LIKE '%.upon' AND state = 'succeeded'`)
	const upon = ` FROM mvscheduler.status WHERE name LIKE '%.upon'`
	require.True(t, ask[bool](t, alice, `SELECT data_as_of IS NULL AND freshness = 'never'`+upon))
	require.Contains(t, ask[string](t, alice, `SELECT reason`+upon), "known only when "+user+".below was refreshed too")
	require.Zero(t, ask[int](t, alice, `SELECT count(*)::int FROM mvscheduler.runs WHERE view_name LIKE '%.upon' AND (state = 'skipped' AND reason LIKE '%nothing changed%' OR data_as_of IS NOT NULL)`))
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET query = 'SELECT a, 1 AS b FROM below' WHERE name LIKE '%.upon'`) // another way to be filled
	until(t, alice, `SELECT count(*) > 1 FROM pg_attribute WHERE attrelid = 'upon'::regclass AND attnum > 0`)
	require.True(t, ask[bool](t, alice, `SELECT data_as_of IS NULL`+upon))
	pgtest.Exec(t, alice, `SELECT mvscheduler.refresh_view('below')`)
	until(t, alice, `SELECT freshness = 'fresh' AND data_as_of IS NOT NULL`+upon)
	require.Equal(t, 2, ask[int](t, alice, `SELECT count(*)::int FROM upon`))
}
