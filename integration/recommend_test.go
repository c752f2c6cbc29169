package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// history gives a view six weeks of samples, reads every five minutes where the condition on the hour h (timestamptz)
// holds, and 20 refreshes that took 10 s each.
func (s *scene) history(t testing.TB, view string, readsPerBin float64, condition string) {
	t.Helper()
	pgtest.Exec(t, s.root, fmt.Sprintf(`
INSERT INTO mvscheduler.sampled (view_id, at, reads, changes)
SELECT s.view_id, h, array_fill(CASE WHEN %[3]s THEN %[2]g ELSE 0 END::real, ARRAY[12]), array_fill(1::real, ARRAY[12])
  FROM mvscheduler.view_state AS s, generate_series(date_trunc('hour', now()) - interval '42 days', date_trunc('hour', now()) - interval '1 hour', '1 hour') AS h
 WHERE s.name LIKE '%%.%[1]s'`, view, readsPerBin, condition),
		fmt.Sprintf(`
INSERT INTO mvscheduler.view_usage (view_id, since, last_read_at, reads)
SELECT d.view_id, min(d.at), max(d.at) FILTER (WHERE d.reads[1] > 0), sum(d.reads[1]) * 12
  FROM mvscheduler.sampled AS d JOIN mvscheduler.view_state AS s ON s.view_id = d.view_id AND s.name LIKE '%%.%s'
 GROUP BY d.view_id
ON CONFLICT (view_id) DO UPDATE SET since = EXCLUDED.since, last_read_at = EXCLUDED.last_read_at, reads = EXCLUDED.reads`, view),
		fmt.Sprintf(`
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, started_at, finished_at, method, took, rows, size_bytes, wal_bytes)
SELECT s.view_id, s.name, s.owner, 'manual', now() - i * interval '1 hour', now(), 'succeeded', now(), now(), 'concurrent', '10 seconds', 100, 8192, 0
  FROM mvscheduler.view_state AS s, generate_series(1, 20) AS i WHERE s.name LIKE '%%.%s'`, view),
		fmt.Sprintf(`UPDATE mvscheduler.view_health SET method = 'concurrent' WHERE view_id = (SELECT view_id FROM mvscheduler.view_state WHERE name LIKE '%%.%s')`, view))
}

// planned has the planner think about everything now, and waits until it has.
func (s *scene) planned(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET planned_at = NULL`, `UPDATE mvscheduler.collector SET planned_at = NULL`)
	until(t, s.root, `SELECT planned_at IS NOT NULL FROM mvscheduler.collector`)
}

// office is when people work; everything below is in UTC.
const office = `extract(isodow FROM h AT TIME ZONE 'UTC') < 6 AND extract(hour FROM h AT TIME ZONE 'UTC') BETWEEN 8 AND 17`

// fleet registers views that are read in four ways, beside a flat one which is right as it is.
func (s *scene) fleet(t testing.TB, columns string) {
	t.Helper()
	for _, v := range [][2]string{{"flat", "15 minutes"}, {"hot", "2 hours"}, {"office", "15 minutes"}, {"unread", "5 minutes"}} {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, refresh_interval, timezone, unique_key%s) VALUES ('%s', 'SELECT id, amount FROM sales', '%s', 'UTC', '{id}'%s)`,
			strings.Join(append([]string{""}, strings.Fields(columns)...), ", "), v[0], v[1], strings.Repeat(`, 'auto'`, len(strings.Fields(columns)))))
	}
	until(t, s.alice, `SELECT count(*) = 4 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "flat", 10, "true")
	s.history(t, "hot", 160, "true")
	s.history(t, "office", 12, office)
	s.history(t, "unread", 0, "true")
}

func TestRecommendationsAreRightInKindAndAPersonDecides(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "")
	s.planned(t)
	require.Equal(t, []string{"hot interval every 2 hours -> every 1 hour proposed", "office calendar every 15 minutes proposed", "unread unused refresh it on demand only proposed"}, ask[[]string](t, s.alice, `
SELECT array_agg(substr(view_name, strpos(view_name, '.') + 1) || ' ' || kind || ' ' || CASE kind WHEN 'interval' THEN current || ' -> ' || proposed WHEN 'calendar' THEN current ELSE proposed END || ' ' || state ORDER BY view_name)
  FROM mvscheduler.recommendations`))
	require.Equal(t, "L0", ask[string](t, s.alice, `SELECT DISTINCT evidence ->> 'level' FROM mvscheduler.recommendations`))
	reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations WHERE kind = 'interval'`)
	require.Contains(t, reason, "every 2 hours -> every 1 hour")
	require.Contains(t, reason, "pg_stat_statements is not installed")
	var predicted struct {
		Before, After struct {
			Cost float64 `json:"cost_a_day"`
		}
	}
	require.NoError(t, json.Unmarshal(ask[[]byte](t, s.alice, `SELECT predicted FROM mvscheduler.recommendations WHERE kind = 'interval'`), &predicted))
	require.Less(t, predicted.After.Cost, predicted.Before.Cost)

	// The planner repeats itself in the rows that are there.
	s.planned(t)
	require.Equal(t, 3, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.recommendation`))

	// Nobody else sees them or decides.
	bob := s.db.Conn(t, s.db.User(t, "bob"))
	id := ask[int64](t, s.alice, `SELECT id FROM mvscheduler.recommendations WHERE kind = 'interval'`)
	require.Zero(t, ask[int](t, bob, `SELECT count(*)::int FROM mvscheduler.recommendations`))
	requireSQLState(t, bob, "P0002", fmt.Sprintf(`SELECT mvscheduler.accept_recommendation(%d)`, id))
	requireSQLState(t, bob, "42501", fmt.Sprintf(`INSERT INTO mvscheduler.recommendation_decision (recommendation_id, view_id, action) SELECT %d, view_id, 'reject' FROM mvscheduler.visible_views UNION ALL SELECT %[1]d, 1, 'reject'`, id))
	requireSQLState(t, s.alice, "P0002", fmt.Sprintf(`INSERT INTO mvscheduler.recommendation_decision (recommendation_id, view_id, action) SELECT %d, view_id, 'reject' FROM mvscheduler.visible_views WHERE name LIKE '%%.flat'`, id))

	// Accepting changes the row, undoing changes it back.
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.accept_recommendation(%d)`, id))
	require.Equal(t, "01:00:00 applied", ask[string](t, s.alice, `SELECT v.refresh_interval || ' ' || r.state FROM mvscheduler.views AS v, mvscheduler.recommendations AS r WHERE v.name LIKE '%.hot' AND r.id = $1`, id))
	requireSQLState(t, s.alice, "55000", fmt.Sprintf(`SELECT mvscheduler.accept_recommendation(%d)`, id))
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.undo_recommendation(%d, 'too often')`, id))
	require.Equal(t, "02:00:00 undone "+s.owner+" too often", ask[string](t, s.alice, `SELECT v.refresh_interval || ' ' || r.state || ' ' || r.decided_by || ' ' || r.decision FROM mvscheduler.views AS v, mvscheduler.recommendations AS r WHERE v.name LIKE '%.hot' AND r.id = $1`, id))
	require.Equal(t, "accept,update,undo,update", ask[string](t, s.alice, `SELECT string_agg(action, ',' ORDER BY id) FROM mvscheduler.audit_log WHERE view_name LIKE '%.hot' AND action <> 'insert'`))

	// What was rejected is not proposed again; what was snoozed stays one row.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.reject_recommendation(id, 'it is for emergencies') FROM mvscheduler.recommendations WHERE kind = 'unused'`,
		`SELECT mvscheduler.snooze_recommendation(id, now() + '1 day') FROM mvscheduler.recommendations WHERE kind = 'calendar'`)
	s.planned(t)
	require.Equal(t, "calendar snoozed, interval undone, unused rejected", ask[string](t, s.alice, `SELECT string_agg(kind || ' ' || state, ', ' ORDER BY kind) FROM mvscheduler.recommendations`))

	// A rejection is taken back: it is open again, and changes nothing of the row. Where another of its kind is open by then, that one stays.
	unused := ask[int64](t, s.alice, `SELECT id FROM mvscheduler.recommendations WHERE kind = 'unused'`)
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.undo_recommendation(%d, 'changed my mind')`, unused))
	require.Equal(t, "proposed schedule", ask[string](t, s.alice, `SELECT concat_ws(' ', r.state, r.decided_by, r.decision, v.refresh_on) FROM mvscheduler.views AS v, mvscheduler.recommendations AS r WHERE v.name LIKE '%.unread' AND r.id = $1`, unused))
	require.Equal(t, "reject,undo", ask[string](t, s.alice, `SELECT string_agg(action, ',' ORDER BY id) FROM mvscheduler.audit_log WHERE view_name LIKE '%.unread' AND action <> 'insert'`))
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.reject_recommendation(%d)`, unused))
	pgtest.Exec(t, s.root, fmt.Sprintf(`INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, evidence) SELECT view_id, view_name, kind, current, 'drop it', reason, command, evidence FROM mvscheduler.recommendation WHERE id = %d`, unused))
	pgtest.Exec(t, s.alice, fmt.Sprintf(`SELECT mvscheduler.undo_recommendation(%d)`, unused))
	require.Equal(t, "expired", ask[string](t, s.alice, `SELECT state FROM mvscheduler.recommendations WHERE id = $1`, unused))

	// A calendar becomes a cron line in the zone of the view.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'calendar'`)
	require.Regexp(t, `^\S+ 8-17\S* \* \* 1-5$`, ask[string](t, s.alice, `SELECT cron FROM mvscheduler.views WHERE name LIKE '%.office' AND refresh_interval IS NULL`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET cron = '0 9 * * *' WHERE name LIKE '%.office'`)
	requireSQLState(t, s.alice, "55000", fmt.Sprintf(`SELECT mvscheduler.undo_recommendation(%d)`, ask[int64](t, s.alice, `SELECT id FROM mvscheduler.recommendations WHERE kind = 'calendar'`)))
	require.Equal(t, "applied", ask[string](t, s.alice, `SELECT state FROM mvscheduler.recommendations WHERE kind = 'calendar'`))
	_, err := s.alice.Exec(t.Context(), `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'calendar'`)
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	_, statement, _ := strings.Cut(refused.Hint, ": ")
	pgtest.Exec(t, s.alice, statement)
	require.Equal(t, "interval", ask[string](t, s.alice, `SELECT CASE WHEN cron IS NULL AND refresh_interval IS NOT NULL THEN 'interval' ELSE cron END FROM mvscheduler.views WHERE name LIKE '%.office'`), "the hint of an undo leads back")
}

// The id of a recommendation stands for what was shown under it.
func TestAnotherProposalHasAnotherId(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "")
	s.planned(t)
	open := func() string {
		return ask[string](t, s.alice, `SELECT string_agg(id || ' ' || substr(view_name, strpos(view_name, '.') + 1) || ' ' || proposed || ' ' || state, ', ' ORDER BY id) FROM mvscheduler.recommendations WHERE kind IN ('interval', 'calendar') AND state IN ('proposed', 'snoozed')`)
	}
	hot := ask[int64](t, s.alice, `SELECT id FROM mvscheduler.recommendations WHERE kind = 'interval'`)
	before := open()
	s.planned(t)
	require.Equal(t, before, open(), "what is proposed again keeps its id")

	// Another interval is in force, and another one is proposed.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.snooze_recommendation(id, now() + '1 day') FROM mvscheduler.recommendations WHERE kind = 'calendar'`,
		`UPDATE mvscheduler.views SET refresh_interval = '6 hours' WHERE name LIKE '%.hot'`, `UPDATE mvscheduler.views SET min_interval = '30 minutes' WHERE name LIKE '%.office'`)
	s.planned(t)
	require.Regexp(t, `^\d+ office .*30 minutes.* snoozed, \d+ hot every 3 hours proposed$|^\d+ hot every 3 hours proposed, \d+ office .*30 minutes.* snoozed$`, open())
	require.Equal(t, "expired another one has taken its place", ask[string](t, s.alice, `SELECT state || ' ' || decision FROM mvscheduler.recommendations WHERE id = $1`, hot))
	_, err := s.alice.Exec(t.Context(), `SELECT mvscheduler.accept_recommendation($1)`, hot)
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "55000", refused.Code)
	next := ask[int64](t, s.alice, `SELECT id FROM mvscheduler.recommendations WHERE kind = 'interval' AND state = 'proposed'`)
	require.Equal(t, fmt.Sprintf("Recommendation %d has taken its place: mvscheduler recommend show %[1]d", next), refused.Hint)
	require.Equal(t, "06:00:00", ask[string](t, s.alice, `SELECT refresh_interval::text FROM mvscheduler.views WHERE name LIKE '%.hot'`))
	require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.recommendation WHERE kind = 'calendar' AND state = 'snoozed' AND snoozed_until > now()`))
}

// What is refreshed only when something changed is looked at more often than what is always refreshed.
func TestAViewThatIsLoadedNowAndThenIsLookedAtMoreOftenUnlessItIsRefreshedAllTheSame(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	for _, v := range [][3]string{{"flat", "15 minutes", "auto"}, {"flat_too", "15 minutes", "auto"}, {"flat_as_well", "15 minutes", "auto"}, {"loaded", "1 hour", "auto"}, {"always", "1 hour", "none"}} {
		pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, refresh_interval, timezone, unique_key, change_tracking) VALUES ('%s', 'SELECT id, amount FROM sales', '%s', 'UTC', '{id}', '%s')`, v[0], v[1], v[2]))
	}
	until(t, s.alice, `SELECT count(*) = 5 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	for _, usual := range []string{"flat", "flat_too", "flat_as_well"} {
		s.history(t, usual, 10, "true")
	}
	s.history(t, "loaded", 1, "true")
	s.history(t, "always", 1, "true")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET max_skips = 100000`, `
UPDATE mvscheduler.sampled AS d
   SET changes = CASE WHEN extract(hour FROM d.at) = extract(hour FROM now() - interval '12 hours') THEN array_fill(0::real, ARRAY[5]) || 1e6::real || array_fill(0::real, ARRAY[6]) ELSE array_fill(0::real, ARRAY[12]) END
  FROM mvscheduler.view_state AS s
 WHERE s.view_id = d.view_id AND s.name NOT LIKE '%.flat%'`)
	const proposed = `SELECT coalesce(string_agg(substr(view_name, strpos(view_name, '.') + 1) || ' ' || current || ' -> ' || proposed, ', '), '') FROM mvscheduler.recommendations WHERE kind = 'interval' AND state = 'proposed'`
	s.planned(t)
	require.Equal(t, "loaded every 1 hour -> every 30 minutes", ask[string](t, s.alice, proposed))
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations WHERE kind = 'interval'`), "11 -> 11 s of refreshes")

	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET max_skips = 0`)
	s.planned(t)
	require.Empty(t, ask[string](t, s.alice, proposed))
}

func TestAViewThatIsTunedByItselfStaysWithinTheBoundsOfItsRow(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "optimize")
	// The row of a user who holds it is left for the next time, and nobody waits.
	tx, err := s.alice.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE mvscheduler.views; UPDATE mvscheduler.views SET priority = 3 WHERE name LIKE '%.hot'`)
	require.NoError(t, err)
	s.planned(t)
	require.Equal(t, "proposed", ask[string](t, s.root, `SELECT state FROM mvscheduler.recommendation WHERE kind = 'interval'`))
	require.NoError(t, tx.Commit(t.Context()))
	s.planned(t)
	require.Equal(t, "applied true", ask[string](t, s.alice, `SELECT state || ' ' || automatic FROM mvscheduler.recommendations WHERE kind = 'interval'`))
	require.Equal(t, "02:00:00 01:00:00", ask[string](t, s.alice, `SELECT refresh_interval || ' ' || tuned_interval FROM mvscheduler.status WHERE name LIKE '%.hot'`))
	until(t, s.alice, `SELECT target = '1 hour' AND next_refresh_at < now() + '1 hour 1 minute' FROM mvscheduler.status WHERE name LIKE '%.hot'`)
	require.Equal(t, "mvscheduler optimize", ask[string](t, s.alice, `SELECT role || ' ' || action FROM mvscheduler.audit_log WHERE action = 'optimize' AND view_name LIKE '%.hot'`))
	require.Equal(t, "calendar applied true, unused proposed false", ask[string](t, s.alice, `SELECT string_agg(kind || ' ' || state || ' ' || automatic, ', ' ORDER BY kind) FROM mvscheduler.recommendations WHERE kind <> 'interval'`), "what is more than a clock waits for a person")
	out := mvscheduler(t, s.db, s.owner, "", "next", s.owner+".hot")
	require.Zero(t, out.code, out.stderr)

	// The sidecar can write nothing but an interval within the bounds.
	worker := s.db.Conn(t, s.db.Worker(t))
	requireSQLState(t, worker, "23514", `UPDATE mvscheduler.view_state SET tuned_interval = '1 second' WHERE name LIKE '%.hot'`)
	requireSQLState(t, worker, "42501", `UPDATE mvscheduler.view_state SET refresh_interval = '1 hour'`)

	// Undoing it is the owner's, at once, and it is not applied again.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'interval'`)
	require.Equal(t, "none", ask[string](t, s.alice, `SELECT coalesce(tuned_interval::text, 'none') FROM mvscheduler.status WHERE name LIKE '%.hot'`))
	until(t, s.alice, `SELECT target = '2 hours' FROM mvscheduler.status WHERE name LIKE '%.hot'`)
	s.planned(t)
	require.Equal(t, "undone", ask[string](t, s.alice, `SELECT string_agg(state, ' ') FROM mvscheduler.recommendations WHERE kind = 'interval'`))

	// What the owner writes ends it as well.
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET tuned_interval = '30 minutes' WHERE name LIKE '%.flat'`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET max_interval = '20 minutes' WHERE name LIKE '%.flat'`)
	require.Equal(t, "none", ask[string](t, s.alice, `SELECT coalesce(tuned_interval::text, 'none') FROM mvscheduler.status WHERE name LIKE '%.flat'`))
	requireSQLState(t, worker, "23514", `UPDATE mvscheduler.view_state SET tuned_interval = '30 minutes' WHERE name LIKE '%.flat'`)
}

func TestAnIntervalThatIsOutOfBoundsIsTunedIntoThem(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	side := startSidecar(t, s.db, often...)
	s.manage(t, "base", "SELECT id, amount FROM sales", "refresh_interval", "3 days", "optimize", "off", "unique_key", []string{"id"})
	s.manage(t, "hot", "SELECT id, amount FROM sales", "refresh_interval", "3 days", "optimize", "off", "unique_key", []string{"id"})                                  // a day is the longest
	s.manage(t, "long", "SELECT id, amount FROM sales", "refresh_interval", "5 days", "optimize", "off", "min_interval", "2 days", "unique_key", []string{"id"})       // or min_interval
	s.manage(t, "rare", "SELECT id, amount FROM base", "refresh_interval", "12 hours", "optimize", "off", "unique_key", []string{"id"})                                // what it reads is three days old
	s.manage(t, "limited", "SELECT id, amount FROM base", "refresh_interval", "1 hour", "optimize", "off", "max_interval", "90 minutes", "unique_key", []string{"id"}) // here too
	until(t, s.alice, `SELECT count(*) = 5 FROM mvscheduler.status WHERE freshness <> 'never' AND activity = 'idle'`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET optimizer_target = '12 hours'`)
	for view, reads := range map[string]float64{"base": 10, "hot": 160, "long": 160, "rare": 0.02, "limited": 0.02} {
		s.history(t, view, reads, "true")
	}
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET optimize = 'auto'`) // now that the planner sees all of them
	for _, want := range []string{"base 1 day, hot 1 day, limited 01:30:00, long 2 days, rare 1 day", "base 12:00:00, hot 12:00:00, limited 01:30:00, long 2 days, rare 1 day"} {
		got := ""
		for n := 0; n < 10 && got != want; n++ { // a row that the dispatcher holds is left for the next time
			s.planned(t)
			got = ask[string](t, s.alice, `SELECT string_agg(split_part(name, '.', 2) || ' ' || justify_hours(tuned_interval), ', ' ORDER BY name) FROM mvscheduler.status`)
		}
		require.Equal(t, want, got, side.log.String())
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET decided_at = decided_at - interval '25 hours'`)
	}
	require.NotContains(t, side.log.String(), "tuned_interval_check")
}

func TestAViewThatNobodyReadsIsStoppedAndThenDroppedByAPerson(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "")
	unused := `SELECT string_agg(proposed || ' ' || state, ', ' ORDER BY id) FROM mvscheduler.recommendations WHERE kind = 'unused'`
	s.planned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'unused'`)
	require.Equal(t, "manual", ask[string](t, s.alice, `SELECT refresh_on FROM mvscheduler.views WHERE name LIKE '%.unread'`))
	s.planned(t)
	require.Equal(t, "refresh it on demand only applied", ask[string](t, s.alice, unused), "it has 30 days")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET decided_at = now() - interval '31 days' WHERE kind = 'unused'`)
	s.planned(t)
	require.Equal(t, "refresh it on demand only applied, drop it; its row stays in the audit log proposed", ask[string](t, s.alice, unused))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'unused' AND state = 'applied'`)
	require.Equal(t, "schedule", ask[string](t, s.alice, `SELECT refresh_on FROM mvscheduler.views WHERE name LIKE '%.unread'`))
	s.planned(t)
	require.Equal(t, "refresh it on demand only undone, drop it; its row stays in the audit log expired", ask[string](t, s.alice, unused))

	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET state = 'applied', decided_at = now() - interval '31 days' WHERE kind = 'unused' AND state = 'undone'`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET refresh_on = 'manual' WHERE name LIKE '%.unread'`)
	s.planned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'unused' AND state = 'proposed'`)
	pgtest.Exec(t, s.alice, ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations WHERE kind = 'unused' AND state = 'accepted'`))
	require.Equal(t, "SELECT id, amount FROM sales", ask[string](t, s.alice, `SELECT old ->> 'query' FROM mvscheduler.audit_log WHERE action = 'delete' AND view_name LIKE '%.unread'`))
}

func TestIdleIndexesAndDeadRowsAreAdvisedAndAPersonActs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `INSERT INTO sales SELECT 1000000 + i, i FROM generate_series(1, 5000) AS i`,
		`INSERT INTO mvscheduler.views (name, query, method, unique_key, indexes) VALUES ('v', 'SELECT id, amount FROM sales', 'concurrent', '{id}', '{(amount)}')`)
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	pgtest.Exec(t, s.alice, `ALTER MATERIALIZED VIEW v SET (autovacuum_enabled = false)`)
	s.history(t, "v", 10, "extract(hour FROM h AT TIME ZONE 'UTC') <> 4")
	s.planned(t)
	advised := `SELECT coalesce(string_agg(kind || ': ' || proposed, ', ' ORDER BY kind), 'nothing') FROM mvscheduler.recommendations WHERE kind IN ('drop_index', 'rebuild') AND state = 'proposed'`
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "it is looked at for the first time")
	require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.watched_index`), "the unique one has another purpose")

	pgtest.Exec(t, s.root, `UPDATE mvscheduler.watched_index SET since = now() - interval '31 days'`)
	s.planned(t)
	require.Equal(t, "drop_index: drop index "+s.owner+".v_amount_idx", ask[string](t, s.alice, advised))
	require.Equal(t, "DROP INDEX "+s.owner+".v_amount_idx", ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations WHERE kind = 'drop_index'`))
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.collector SET standby_seen_at = now()`)
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "it may be used on the standby")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.collector SET standby_seen_at = NULL`)
	s.planned(t)
	require.Equal(t, "drop_index: drop index "+s.owner+".v_amount_idx", ask[string](t, s.alice, advised))
	pgtest.Exec(t, s.alice, `SET enable_seqscan = off`, `SELECT * FROM v WHERE amount = 3`)
	reported(t, s.alice)
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "it was used")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.watched_index SET since = now() - interval '31 days'`, `SELECT pg_stat_reset()`)
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "counters that were reset do not tell")

	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1`)
	refreshed(t, s.alice, "v")
	until(t, s.root, `SELECT pg_stat_get_dead_tuples('`+s.owner+`.v'::regclass) > 2000`)
	s.planned(t)
	require.Contains(t, ask[string](t, s.alice, advised), "rebuild: refresh it fully once, ")
	require.Contains(t, ask[string](t, s.alice, advised), " 04:00 is its quietest hour")
	require.Equal(t, "REFRESH MATERIALIZED VIEW "+s.owner+".v", ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations WHERE kind = 'rebuild'`))
}

func TestThePageOfRecommendationsShowsWhenAViewIsRead(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	side := startSidecar(t, s.db, often...)
	s.fleet(t, "")
	s.planned(t)
	code, body := side.get("/recommendations")
	require.Equal(t, 200, code, body)
	for _, part := range []string{"mvscheduler recommend accept", ".hot</a>: interval: every 2 hours", "<title>Mon 08:00: 144 reads</title>", "<title>Sun 08:00: 0 reads</title>", "When it is read, in UTC", "what was decided before", "<li>every 2 hours -&gt; every ", "\nrefreshes a day: 12"} {
		require.Contains(t, body, part)
	}
	require.Equal(t, 2, strings.Count(body, `class="chart week"`), "none of one that nobody reads")
	require.Contains(t, body, "Nobody read it in the hours that are known.")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET max_interval = '4 hours' WHERE name LIKE '%.flat'`)
	_, view := side.get("/views/" + s.owner + ".flat")
	require.Regexp(t, `<dt>optimize</dt>\s*<dd>advise, max_interval 04:00:00</dd>`, view)
	require.Contains(t, view, `<a href="/recommendations?view=`+s.owner+`.flat">its recommendations</a>`)
	code, body = side.get("/api/v1/recommendations?view=" + s.owner + ".office")
	require.Equal(t, 200, code, body)
	var found []map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &found))
	require.Len(t, found, 1)
	require.Equal(t, "calendar", found[0]["kind"])
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.reject_recommendation(id, 'no <b>') FROM mvscheduler.recommendations`)
	_, body = side.get("/recommendations")
	require.Contains(t, body, "Nothing is recommended that is not decided about or snoozed.")
	require.Regexp(t, `(?s)<details open><summary>What was thought of each view, .*\.flat</a>: the best schedule would save`, body, "and why not")
	_, body = side.get("/recommendations?view=" + s.owner + ".flat")
	require.Regexp(t, `(?s)✓ Nothing is recommended\.</p>.*\.flat</a>: the best schedule would save`, body)
	require.NotContains(t, body, ".hot</a>")
	_, body = side.get("/recommendations?past=1")
	require.Contains(t, body, "To have it proposed again: <code>mvscheduler recommend undo ")
	require.Contains(t, body, "no &lt;b&gt;")
}

func TestAViewOfWhichLittleChangesIsAdvisedToBecomeIncremental(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `CREATE TABLE flights AS SELECT i AS id, timestamptz '2026-01-01' + i * interval '1 hour' AS hour FROM generate_series(1, 1000) AS i`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, unique_key, time_column) VALUES ('v', 'SELECT id, hour FROM flights', '15 minutes', '{id}', 'hour'), ('w', 'SELECT id, hour FROM flights', '15 minutes', '{id}', NULL)`)
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "v", 10, "true")
	s.history(t, "w", 10, "true")
	advised := `SELECT coalesce(string_agg(view_name || ': ' || proposed, ', ' ORDER BY kind), 'nothing') FROM mvscheduler.recommendations WHERE kind = 'method' AND state = 'proposed'`
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "no refresh told how many rows changed")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET changed = 100 WHERE method = 'concurrent'`)
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "half of the rows change")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET changed = 4 WHERE method = 'concurrent'`)
	s.planned(t)
	require.Equal(t, s.owner+".v: compute only the time buckets that changed", ask[string](t, s.alice, advised), "w has no time_column")
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations WHERE kind = 'method'`), "A refresh costs 10.0 s, and 2 % of its rows change between two refreshes: computing those alone would cost about 0.4 s")
	require.Contains(t, ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations WHERE kind = 'method'`), "UPDATE mvscheduler.views SET method = 'incremental', bucket_width = '<width of a bucket>'")
	aDay := `SELECT predicted -> 'refresh_seconds_a_day' ->> 'before' FROM mvscheduler.recommendations WHERE kind = 'method'`
	require.Equal(t, "960", ask[string](t, s.alice, aDay))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET optimize = 'auto' WHERE name LIKE '%.v'`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET tuned_calendar = '[{"days": "mon-fri", "from": "08:00", "to": "18:00", "every": "15 minutes"}]' WHERE name LIKE '%.v'`)
	s.planned(t)
	require.Equal(t, "285.7", ask[string](t, s.alice, aDay), "200 times a week")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET optimize = 'advise' WHERE name LIKE '%.v'`)

	// Full refreshes do not count what changes. Here three rows are written below the view between two of them, and it has 100.
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, method, refresh_interval, time_column) VALUES ('plain', 'SELECT id, hour FROM flights', 'full', '15 minutes', 'hour')`)
	until(t, s.alice, `SELECT count(*) = 3 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "plain", 10, "true")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET method = 'full' WHERE view_name LIKE '%.plain'`, `UPDATE mvscheduler.view_health SET method = 'full' WHERE view_id = (SELECT view_id FROM mvscheduler.view_state WHERE name LIKE '%.plain')`)
	s.planned(t)
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations WHERE kind = 'method' AND view_name LIKE '%.plain'`), "A refresh costs 10.0 s, and between two refreshes no more rows are written below it than 3 % of its own: computing those alone would cost about 0.")
	for _, table := range []string{"sampled", "sampled_days"} { // whether they were rolled up or not
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.`+table+` SET changes = array_fill(NULL::real, ARRAY[cardinality(reads::real[])]) WHERE view_id = (SELECT view_id FROM mvscheduler.view_state WHERE name LIKE '%.plain')`)
	}
	s.planned(t)
	require.Equal(t, s.owner+".v: compute only the time buckets that changed", ask[string](t, s.alice, advised), "it is not known what is written")

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'method' AND state = 'proposed'`)
	require.Equal(t, "accepted", ask[string](t, s.alice, `SELECT state FROM mvscheduler.recommendations WHERE kind = 'method' AND view_name LIKE '%.v'`), "a person shapes the query")
}

func TestWhoLetsTheSidecarTuneAClockThatItDoesNotTouchIsToldSo(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice, said := connNoticing(t, db.URLAs(db.User(t, "alice")))
	do := func(sql string) (notices []string) {
		*said = nil
		pgtest.Exec(t, alice, sql)
		for _, n := range *said {
			if strings.Contains(n.Message, "optimize") {
				notices = append(notices, n.Message)
			}
		}
		return notices
	}
	register := func(name, columns, values string) []string {
		return do(fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, optimize%s) VALUES ('%s', 'SELECT 1 AS a', 'auto'%s)`, columns, name, values))
	}
	require.Empty(t, register("a", ", refresh_interval", ", '1 hour'"))
	require.Equal(t, []string{`managed view ` + ask[string](t, alice, `SELECT current_schema()`) + `.b has optimize = 'auto', and a clock that is not tuned`}, register("b", ", cron", ", '0 6 * * *'"))
	require.Len(t, register("c", ", calendar", `, '[{"at": "06:00"}]'`), 1)
	require.Len(t, register("d", ", refresh_on", ", 'manual'"), 1)
	require.Empty(t, do(`UPDATE mvscheduler.views SET priority = 3`), "it was told")
	require.Empty(t, do(`UPDATE mvscheduler.views SET optimize = 'advise'`))
	require.Len(t, do(`UPDATE mvscheduler.views SET optimize = 'auto'`), 3)
	require.Len(t, do(`UPDATE mvscheduler.views SET cron = '0 7 * * *' WHERE name LIKE '%.a'`), 1, "it had an interval")
}
