package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestOldRowsLeaveAtTheNextRefreshAndTheDryRunSaysWhich(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE sales (at timestamptz, amount int)`,
		`INSERT INTO sales SELECT now() - i * interval '1 day', i FROM generate_series(0, 99) AS i`, `INSERT INTO sales VALUES (NULL, 5)`,
		`INSERT INTO mvscheduler.views (name, query, retention_period, time_column) VALUES
		 ('daily', 'SELECT date_trunc(''day'', at) AS day, sum(amount) AS amount FROM sales GROUP BY 1 -- a comment', '30 days', 'day'),
		 ('plain', 'SELECT at::timestamp AS at, amount FROM sales', '30 days', 'at'), ('dates', 'SELECT at::date AS d, count(*) AS n FROM sales GROUP BY 1', '30 days', 'd')`)
	startSidecar(t, db)
	refreshed(t, alice, "daily", "plain", "dates")
	for _, view := range []string{"daily", "plain", "dates"} {
		n := ask[int64](t, alice, `SELECT count(*) FROM `+view)
		require.True(t, n >= 30 && n <= 32, "%s has %d rows: the border moves in steps of 7.2 hours", view, n)
	}
	require.True(t, ask[bool](t, alice, `SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = 'daily'::regclass AND indisunique)`), "the key is derived through the filter")

	oid := ask[uint32](t, alice, `SELECT 'daily'::regclass::oid`)
	would := ask[int64](t, alice, `SELECT rows FROM mvscheduler.prune_view('daily', retention_period => '10 days')`)
	require.True(t, would >= 19 && would <= 21, would)
	preview := mvscheduler(t, db, user, "", "prune", "daily", "--dry-run", "--retention-period", "10 days")
	require.Contains(t, preview.stdout, "if retention_period were 10 days", preview.stderr)
	require.Equal(t, 2, mvscheduler(t, db, user, "", "prune", "daily", "--retention-period", "10 days").code)
	for period, refusal := range map[string]string{"0": "invalid retention_period", "-1 day": "invalid retention_period", "x": "invalid input syntax"} {
		require.Contains(t, mvscheduler(t, db, user, "", "prune", "daily", "--dry-run", "--retention-period="+period).stderr, refusal)
	}
	_, err := alice.Exec(t.Context(), `SELECT mvscheduler.prune_view('daily', false, '10 days')`)
	require.ErrorContains(t, err, "retention_period is for a dry run")
	pgtest.Exec(t, alice, `SELECT mvscheduler.pause_view('daily')`, `UPDATE mvscheduler.views SET retention_period = '10 days' WHERE name LIKE '%daily'`)
	require.Regexp(t, `\( SELECT mvscheduler\.cutoff\(`, ask[string](t, alice, `SELECT pg_get_viewdef('daily__query'::regclass)`), "once a query, not once a row")
	require.Equal(t, "s", ask[string](t, alice, `SELECT proparallel::text FROM pg_proc WHERE oid = 'mvscheduler.cutoff'::regproc`))
	rows := ask[int64](t, alice, `SELECT rows FROM mvscheduler.prune_view('daily')`)
	require.True(t, rows >= 19 && rows <= 21, rows)
	require.Contains(t, mvscheduler(t, db, user, "", "prune", "daily", "--dry-run").stdout, "leave at the next refresh")
	require.Greater(t, ask[int64](t, alice, `SELECT count(*) FROM daily`), int64(29), "a dry run changes nothing")
	require.Zero(t, mvscheduler(t, db, user, "", "prune", "daily").code)
	until(t, alice, `SELECT count(*) BETWEEN 10 AND 12 FROM daily`)
	require.True(t, ask[bool](t, alice, `SELECT run IS NULL FROM mvscheduler.prune_view('daily', false)`), "nothing is left to leave")
	require.Equal(t, oid, ask[uint32](t, alice, `SELECT 'daily'::regclass::oid`))

	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET retention_period = NULL WHERE name LIKE '%daily'`)
	require.Contains(t, ask[string](t, alice, `SELECT reason FROM mvscheduler.prune_view('daily')`), "all rows are kept")
	refreshed(t, alice, "daily")
	require.Equal(t, int64(101), ask[int64](t, alice, `SELECT count(*) FROM daily`), "nothing was lost: the base rows are there")
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''day'', at) AS day, max(amount)::bigint AS amount FROM sales GROUP BY 1', retention_period = '5 days', time_column = 'day' WHERE name LIKE '%daily'`)
	refreshed(t, alice, "daily")
	until(t, alice, `SELECT count(*) BETWEEN 5 AND 7 FROM daily`)
}

// A time without zone is compared in the zone of the view, whoever asks; and rows without a time leave.
func TestADryRunCountsInTheZoneOfTheView(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE sales (at timestamp)`, `INSERT INTO sales SELECT now() AT TIME ZONE 'Asia/Tokyo' - i * interval '1 hour' FROM generate_series(0, 480) AS i`, `INSERT INTO sales VALUES (NULL), (NULL)`)
	manage := func(name, column string) {
		pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, retention_period, time_column, timezone, refresh_on) VALUES ('`+name+`', 'SELECT `+column+` AS at FROM sales', '10 days', 'at', 'Asia/Tokyo', 'manual')`)
	}
	manage("stamps", "at")
	manage("dates", "at::date")
	startSidecar(t, db)
	refreshed(t, alice, "stamps", "dates")
	for _, view := range []string{"stamps", "dates"} {
		for _, zone := range []string{"Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Tokyo"} {
			pgtest.Exec(t, alice, `SET TimeZone = '`+zone+`'`)
			require.Zero(t, ask[int64](t, alice, `SELECT rows FROM mvscheduler.prune_view('`+view+`')`), "%s, asked in %s", view, zone)
			require.Equal(t, zone, ask[string](t, alice, `SELECT current_setting('TimeZone')`))
		}
	}
	pgtest.Exec(t, alice, `SET TimeZone = 'Pacific/Pago_Pago'`, `UPDATE mvscheduler.views SET retention_period = NULL`)
	refreshed(t, alice, "stamps")
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET retention_period = '10 days'`)
	leave := ask[int64](t, alice, `SELECT rows FROM mvscheduler.prune_view('stamps')`)
	old := ask[int64](t, alice, `SELECT count(*) FROM sales WHERE at IS NULL OR at < (SELECT border FROM mvscheduler.prune_view('stamps')) AT TIME ZONE 'Asia/Tokyo'`)
	require.InDelta(t, 242, old, 4, "the border moves in steps of 2.4 hours")
	before := ask[int64](t, alice, `SELECT count(*) FROM stamps`)
	refreshed(t, alice, "stamps")
	require.Equal(t, before-leave, ask[int64](t, alice, `SELECT count(*) FROM stamps`), "as many leave as were announced")
	require.Zero(t, ask[int64](t, alice, `SELECT count(*) FROM stamps WHERE at IS NULL`))
	require.Equal(t, old, leave)
}

func TestAWrongRetentionIsAnErrorOfTheRow(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	for values, want := range map[string]string{
		`'SELECT 1 AS a', '1 day', NULL`:                                                  "retention_period needs time_column",
		`'SELECT 1 AS a', '1 day', 'b'`:                                                   `"b" is no column`,
		`'SELECT 1 AS a', '1 day', 'a'`:                                                   "has type integer",
		`'SELECT now() AS a', '-1 day', 'a'`:                                              "invalid retention_period",
		`'SELECT now() AS a) q UNION ALL SELECT * FROM (SELECT now() AS a', '1 day', 'a'`: "syntax error",
	} {
		_, err := alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, retention_period, time_column) VALUES ('v', `+values+`)`)
		require.Contains(t, errorText(err), want)
	}
	require.Zero(t, ask[int64](t, alice, `SELECT count(*) FROM pg_class WHERE relname LIKE 'v%' AND relnamespace = current_schema()::regnamespace`))
}

func TestAnAdoptedViewGetsARetentionByBeingRebuilt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE sales (at timestamptz, amount int)`, `INSERT INTO sales SELECT now() - i * interval '1 day', i FROM generate_series(0, 99) AS i`,
		`CREATE MATERIALIZED VIEW v AS SELECT at, amount FROM sales`, `SELECT mvscheduler.adopt_view('v')`,
		`UPDATE mvscheduler.views SET retention_period = '10 days', time_column = 'at'`)
	startSidecar(t, db)
	require.Equal(t, int64(100), ask[int64](t, alice, `SELECT count(*) FROM v`), "the old contents are served")
	until(t, alice, `SELECT count(*) BETWEEN 10 AND 12 FROM v`)
}

func TestARetentionFilterWithoutItsRowRaisesInsteadOfEmptyingTheView(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice, admin := db.Conn(t, user), db.Conn(t, "")
	pgtest.Exec(t, alice, `CREATE TABLE sales (at timestamptz)`, `INSERT INTO sales VALUES (now())`,
		`INSERT INTO mvscheduler.views (name, query, retention_period, time_column) VALUES ('v', 'SELECT at FROM sales', '1 day', 'at')`, `REFRESH MATERIALIZED VIEW v`)
	pgtest.Exec(t, admin, `SET session_replication_role = replica`, `DELETE FROM mvscheduler.views`, `DELETE FROM mvscheduler.view_state`)
	_, err := alice.Exec(t.Context(), `REFRESH MATERIALIZED VIEW v`)
	require.Contains(t, errorText(err), "has no retention period")
	require.Equal(t, int64(1), ask[int64](t, alice, `SELECT count(*) FROM v`))
}

func TestARefreshThatWouldOnlyMoveTheBorderByAMomentIsSkipped(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	db.Exec(t, `UPDATE mvscheduler.settings SET max_skips = 100`)
	admin, alice := db.Conn(t, ""), db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE sales (at timestamptz)`, `INSERT INTO mvscheduler.views (name, query, retention_period, time_column) VALUES ('v', 'SELECT at FROM sales', '100 days', 'at')`)
	startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' AND activity = 'idle' FROM mvscheduler.status`)
	pgtest.Exec(t, admin, makeDue)
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE state = 'skipped')`)
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET retention_period = '50 days'`)
	until(t, alice, `SELECT count(*) = 2 FROM mvscheduler.runs WHERE state = 'succeeded'`)
}
