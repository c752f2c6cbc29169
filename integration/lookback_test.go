package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// lookedBack is how far back a view was read: days, whether that was all there is, and how many reads did.
const lookedBack = `
SELECT coalesce(string_agg(format('%s%s: %s', l.days_back, CASE WHEN l.entire THEN ' (all)' ELSE '' END, l.reads), ', ' ORDER BY l.days_back), 'nothing')
  FROM mvscheduler.looked_back AS l JOIN mvscheduler.view_state AS s ON s.view_id = l.view_id WHERE s.name LIKE '%.' || $1`

// lookBack reads a view of the last days, today among them, in a statement that the planner cannot prune.
func lookBack(t testing.TB, conn *pgx.Conn, view string, days ...int) {
	t.Helper()
	for _, d := range days {
		pgtest.Exec(t, conn, fmt.Sprintf(`SELECT sum(n), sum(total) FROM %s WHERE minute >= date_trunc('day', now(), 'UTC') - interval '%d days'`, view, d))
	}
	reported(t, conn)
}

// vacuumed marks all pages of a partitioned table as visible to all, which waits for older transactions to end.
func (s *scene) vacuumed(t testing.TB, table string) {
	t.Helper()
	for range 200 {
		pgtest.Exec(t, s.alice, `VACUUM (ANALYZE) `+table)
		if ask[bool](t, s.alice, `SELECT bool_and(c.relallvisible = c.relpages) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = $1::text::regclass`, table) {
			return
		}
	}
	t.Fatal("a transaction that is older does not end")
}

// withinOneDay waits for midnight where it is near: look-backs are counted in days, so all of them have to be of one.
func withinOneDay() {
	if left := time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)); left < 4*time.Minute {
		time.Sleep(left + time.Second)
	}
}

func TestHowFarBackAnIncrementalViewIsReadIsSeenAndOurOwnStepsAreNot(t *testing.T) { // alone: samples and reads keep to the clock
	heavy(t)
	s := newScene(t)
	s.readings(t, 20)
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT t, 5, 1 FROM generate_series(date_trunc('day', now(), 'UTC') - interval '20 days', date_trunc('day', now(), 'UTC'), '1 minute') AS t`)
	s.minutely(t, "v")
	side := startSidecar(t, s.db, often...)
	s.incremented(t, "v")
	collecting(t, s.root)
	s.vacuumed(t, "v__data")
	reported(t, s.alice)
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.looked_back`)
	withinOneDay()

	side = startSidecar(t, s.db, often...)
	collecting(t, s.root)
	for range 3 {
		pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT max(ts), 7, 7 FROM readings`, `INSERT INTO readings SELECT min(ts) + interval '2 days', 7, 7 FROM readings`)
		s.incremented(t, "v")
		s.vacuumed(t, "v__data") // the planner looks at the ends of a column that has statistics
		lookBack(t, s.alice, "v", 0, 0, 3, 10)
		sampledTwice(t, s.root)
	}
	out := mvscheduler(t, s.db, s.owner, "", "verify", s.owner+".v", "--all")
	require.Zero(t, out.code, out.stderr)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '15 days'`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded')`)
	sampledTwice(t, s.root)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL`, `SELECT mvscheduler.restore_view('v')`)
	reported(t, s.alice)
	sampledTwice(t, s.root)
	require.True(t, ask[bool](t, s.root, `SELECT sum(pg_stat_get_numscans(i.indexrelid)) > 30 FROM pg_inherits AS p JOIN pg_index AS i ON i.indrelid = p.inhrelid WHERE p.inhparent = '`+s.owner+`.v__data'::regclass`), "it did look there")
	require.Zero(t, side.stop())
	require.Equal(t, "1: 6, 4: 3, 12: 3", ask[string](t, s.root, lookedBack, "v"))
	require.Equal(t, 12, ask[int](t, s.root, `SELECT furthest FROM mvscheduler.usage`))
	require.Equal(t, "12", ask[string](t, s.alice, `SELECT sum(reads)::text FROM mvscheduler.look_backs`), "the owner sees it")
	bob := s.db.Conn(t, s.db.User(t, "bob"))
	require.Zero(t, ask[int](t, bob, `SELECT count(*)::int FROM mvscheduler.look_backs`))
	take := `INSERT INTO mvscheduler.verify_scan SELECT i.inhrelid, 1, 1, 1, 1, 1 FROM pg_inherits AS i WHERE i.inhparent = '` + ask[string](t, s.root, `SELECT p.relation::oid::text FROM mvscheduler.piece AS p WHERE p.kind = 'data'`) + `'::oid ON CONFLICT DO NOTHING`
	requireSQLState(t, bob, "42501", take) // reads of others' views cannot be taken away
	pgtest.Exec(t, s.alice, take, take)
	require.Equal(t, ask[int64](t, s.root, `SELECT count(*) FROM pg_inherits WHERE inhparent = '`+s.owner+`.v__data'::regclass`), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.verify_scan`), "one row a relation and session, however often")
}

// readForYears makes as if a view was watched for 500 days, and read every day by people who look back so many days.
func (s *scene) readForYears(t testing.TB, view string, days ...int) {
	t.Helper()
	pgtest.Exec(t, s.root, fmt.Sprintf(`
INSERT INTO mvscheduler.view_usage AS u (view_id, since, last_read_at, reads, furthest, looked_since)
SELECT s.view_id, now() - interval '500 days', now(), 10000, 12, now() - interval '500 days' FROM mvscheduler.view_state AS s WHERE s.name LIKE '%%.%s'
ON CONFLICT (view_id) DO UPDATE SET since = EXCLUDED.since, last_read_at = EXCLUDED.last_read_at, reads = EXCLUDED.reads, furthest = EXCLUDED.furthest, looked_since = EXCLUDED.looked_since, unknown = '0'`, view),
		fmt.Sprintf(`DELETE FROM mvscheduler.looked_back WHERE view_id = (SELECT view_id FROM mvscheduler.view_state WHERE name LIKE '%%.%s')`, view))
	for _, d := range days {
		pgtest.Exec(t, s.root, fmt.Sprintf(`
INSERT INTO mvscheduler.looked_back (view_id, at, days_back, entire, reads)
SELECT s.view_id, d, %d, false, 20 FROM mvscheduler.view_state AS s, generate_series(now() - interval '390 days', now() - interval '1 day', '1 day') AS d WHERE s.name LIKE '%%.%s'`, d, view))
	}
}

// retention is what is recommended about it, and what became of that.
func (s *scene) retention(t testing.TB, view string) string {
	t.Helper()
	s.planned(t)
	return ask[string](t, s.alice, `
SELECT coalesce(string_agg(current || ' -> ' || proposed || ' ' || state, ', ' ORDER BY id), 'nothing') FROM mvscheduler.recommendations WHERE kind = 'retention' AND view_name LIKE '%.' || $1`, view)
}

// keeping is a scene with a view of 60 days of data, so much that it matters, that keeps 50 of them.
func keeping(t *testing.T) *scene {
	s := newScene(t)
	s.readings(t, 60)
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT t, 5, 1 FROM generate_series(date_trunc('day', now(), 'UTC') - interval '55 days', date_trunc('day', now(), 'UTC') - interval '30 days', '30 seconds') AS t`)
	s.minutely(t, "v", "retention_period", "50 days")
	startSidecar(t, s.db, often...)
	s.incremented(t, "v")
	return s
}

func TestARetentionThatNobodyReadsIsRecommendedAndUndoneWithEveryRow(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := keeping(t)
	s.readForYears(t, "v", 1, 2, 4, 7, 8, 10)

	// It takes four weeks that speak for it.
	require.Equal(t, "nothing", s.retention(t, "v"))
	require.True(t, ask[bool](t, s.alice, `SELECT shrink_since > now() - interval '1 hour' FROM mvscheduler.usage`))
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET shrink_since = now() - interval '20 days'`)
	require.Equal(t, "nothing", s.retention(t, "v"))
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET shrink_since = now() - interval '22 days'`)
	require.Equal(t, "50 days are kept -> keep 40 days proposed", s.retention(t, "v"))
	require.Equal(t, "50 days are kept -> keep 40 days proposed", s.retention(t, "v"), "it stays as long as it is true")
	reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations WHERE kind = 'retention'`)
	require.Contains(t, reason, ".v: keep 40 days. Of 46800 reads in 13 months, which count as ")
	require.Regexp(t, `99.0 % look back 10 days at most \(95 % confidence\)\. 10 partitions leave, .* MB; they can be restored for .*\. Readers need 30 days: the next step can follow 30 days later\.`, reason)
	require.Equal(t, "UPDATE mvscheduler.views SET retention_period = '40 days' WHERE name = '"+s.owner+".v'", ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations WHERE kind = 'retention'`))
	require.True(t, ask[bool](t, s.alice, `
SELECT (evidence ->> 'effective_reads')::float8 > 299 AND evidence ->> 'level' = 'partitions' AND (predicted ->> 'bytes_freed')::bigint > 1000000 AND (predicted ->> 'reads_missed_share')::float8 = 0
  FROM mvscheduler.recommendations WHERE kind = 'retention'`))

	// What leaves is put aside, and every row of it comes back.
	s.snapshotOf(t, "v", "before")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'retention'`)
	require.Equal(t, "40 days", ask[string](t, s.alice, `SELECT retention_period::text FROM mvscheduler.views`))
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded')`)
	require.Equal(t, int64(10), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.visible_kept`), "as many as was said")
	require.Positive(t, s.lost(t, "before", "v", "true"))
	require.Equal(t, "50 days are kept -> keep 40 days applied", s.retention(t, "v"), "30 days lie between two steps")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id, 'the auditors came') FROM mvscheduler.recommendations WHERE kind = 'retention'`, `SELECT mvscheduler.restore_view('v')`)
	require.Equal(t, "50 days", ask[string](t, s.alice, `SELECT retention_period::text FROM mvscheduler.views`))
	require.Zero(t, s.lost(t, "before", "v", "true"))
	require.Equal(t, "50 days are kept -> keep 40 days undone", s.retention(t, "v"), "and it is not proposed again")
}

func TestNoShorterRetentionIsRecommendedWhereItIsNotCertainThatNobodyMissesIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := keeping(t)
	ready := `UPDATE mvscheduler.view_usage SET shrink_since = now() - interval '60 days'`
	proposed := func(change ...string) string {
		t.Helper()
		s.readForYears(t, "v", 1, 2, 4, 7, 8, 10)
		pgtest.Exec(t, s.root, append([]string{ready}, change...)...)
		defer pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.recommendation`)
		return s.retention(t, "v")
	}
	why := func(words string) { // and people can read why
		t.Helper()
		require.Contains(t, ask[string](t, s.alice, `SELECT thought FROM mvscheduler.usage`), words)
	}
	const keep40, nothing = "50 days are kept -> keep 40 days proposed", "nothing"
	require.Equal(t, keep40, proposed())
	require.Equal(t, nothing, proposed(`DELETE FROM mvscheduler.looked_back WHERE days_back > 2`), "fewer than 299 effective reads")
	why("; retention: ")
	why("effective reads, 299 are needed to shrink")
	require.Equal(t, nothing, proposed(`UPDATE mvscheduler.looked_back SET entire = true WHERE days_back = 10`), "some read everything")
	require.Equal(t, nothing, proposed(`UPDATE mvscheduler.looked_back SET days_back = 38 WHERE days_back = 10`), "they need what there is")
	why("readers need 76.0 days of the 50.0 days that are kept: it stays")
	require.Equal(t, nothing, proposed(`UPDATE mvscheduler.view_usage SET furthest = 181`), "somebody once looked back further than half a year")
	require.Equal(t, nothing, proposed(`UPDATE mvscheduler.view_usage SET since = now() - interval '300 days'`), "yearly reads may be to come")
	became := []string{`DELETE FROM mvscheduler.looked_back WHERE at < now() - interval '100 days'`}
	require.Equal(t, keep40, proposed(became...), "it was read in no other way before")
	require.Equal(t, nothing, proposed(append(became, `UPDATE mvscheduler.view_usage SET looked_since = now() - interval '100 days'`)...), "it became incremental then, and nobody knows how it was read before")
	require.Equal(t, nothing, proposed(`UPDATE mvscheduler.view_usage SET unknown = '100 days'`), "reads are not known for a fifth of the time")
	why("; retention: reads are not known for more than 5 % of the time: it stays")
	require.Equal(t, nothing, proposed(`UPDATE mvscheduler.collector SET standby_seen_at = now()`), "who reads the standby may look back further")
	why("; retention: reads on a standby that is not sampled are not known: it stays")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.collector SET standby_seen_at = NULL`)
	require.Equal(t, nothing, proposed(`DELETE FROM mvscheduler.looked_back`), "nobody was seen to look back")
	why("; retention: how far back readers look is not known yet: it stays")

	s.readForYears(t, "v", 1, 2, 4, 7, 8, 10)
	pgtest.Exec(t, s.root, ready, `UPDATE mvscheduler.view_usage SET planned_at = now() - interval '8 days'`, `UPDATE mvscheduler.collector SET planned_at = NULL`)
	until(t, s.root, `SELECT planned_at > now() - interval '1 day' FROM mvscheduler.view_usage`)
	until(t, s.root, `SELECT planned_at IS NOT NULL FROM mvscheduler.collector`)
	require.Equal(t, "0 t", ask[string](t, s.root, `SELECT (SELECT count(*) FROM mvscheduler.recommendation WHERE kind = 'retention') || ' ' || left((shrink_since > now() - interval '1 day')::text, 1) FROM mvscheduler.view_usage`), "nobody looked for a week, so that the four weeks begin again")

	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET optimize = 'off'`)
	require.Equal(t, nothing, proposed())
	require.Equal(t, "optimize is off", ask[string](t, s.alice, `SELECT thought FROM mvscheduler.usage`))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET optimize = 'auto'`)
	require.Equal(t, keep40, proposed(), "which nobody but a person does")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET retention_period = '56 days' WHERE name LIKE '%.v'`)
	require.Equal(t, nothing, proposed(), "the sidecar lengthened it, since readers asked for more")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET retention_period = row_retention WHERE name LIKE '%.v'`)

	// What the table below cannot give again does not leave, unless the owner says how much may. Its old partitions leave meanwhile.
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '45 days')`)
	require.Equal(t, nothing, proposed())
	why("the source goes back")
	require.Contains(t, errorText(execError(t, s.alice, `UPDATE mvscheduler.views SET min_retention = '45 days', max_retention = '40 days'`)), "invalid min_retention or max_retention")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET min_retention = '45 days'`)
	require.Equal(t, nothing, proposed(), "nearly all of it")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET min_retention = '35 days'`)
	require.Equal(t, keep40, proposed())
}

// What a view above gives up can be had again of what the row below keeps for good, and not of what the sidecar has it keep for now.
func TestALongerRetentionThatTheSidecarAppliedIsNothingToRelyOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.incremental(t, "hourly", hourlyReadings, "retention_period", "40 days", "optimize", "auto", "max_retention", "100 days")
	s.incremental(t, "daily", dailyOfHourly, "time_column", "day", "bucket_width", "1 day", "retention_period", "90 days")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET retention_period = '80 days' WHERE name LIKE '%.hourly'`)
	r, _, err := catalog.LoadRetention(t.Context(), s.root, ask[int64](t, s.root, `SELECT view_id FROM mvscheduler.view_state WHERE name LIKE '%.daily'`))
	require.NoError(t, err)
	require.InDelta(t, 40*86400, *r.Rebuildable, 1)
}

func TestWhatHasLeftBelowAViewAndWhatComesTooLateCannotBeHadAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.incremental(t, "hourly", hourlyReadings, "lateness", "3 days")
	again := func(change string) string {
		t.Helper()
		pgtest.Exec(t, s.root, change)
		return ask[string](t, s.root, `SELECT coalesce(round(mvscheduler.rebuildable(view_id) / 86400)::text, 'all') FROM mvscheduler.view_state`)
	}
	require.Equal(t, "all", again(`
INSERT INTO mvscheduler.increment_state (view_id, data, taken, seen_at, system_identifier, filled_from, leaves, tracking)
SELECT view_id, relation, pg_current_snapshot(), now(), 1, now(), '[]', 'trigger' FROM mvscheduler.view_state`))
	require.Equal(t, "20", again(`INSERT INTO mvscheduler.frozen (target, times) SELECT view_id, now() - interval '20 days' FROM mvscheduler.view_state`), "partitions below it have left")
	require.Equal(t, "all", again(`UPDATE mvscheduler.frozen SET times = '-infinity', labels = now()`), "its own have")
	require.Equal(t, "3", again(`UPDATE mvscheduler.increment_state SET tracking = 'none'`), "what comes later is not looked for")
	require.Equal(t, "all", again(`UPDATE mvscheduler.increment_state SET tracking = 'trigger'`))
	require.Equal(t, "3", again(`UPDATE mvscheduler.view_state SET change_tracking = 'none'`))
}

func TestNothingShorterIsRecommendedForNinetyDaysAfterSomethingWasMissed(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := keeping(t)
	s.readForYears(t, "v", 1, 2, 4, 7, 8, 10)
	advised := func(change string) string { // as if everything had spoken for a shorter one for two months
		t.Helper()
		pgtest.Exec(t, s.root, change, `UPDATE mvscheduler.view_usage SET shrink_since = now() - interval '60 days'`)
		return s.retention(t, "v")
	}
	const missed = "50 days are kept -> keep 96 days proposed"
	require.Equal(t, missed, advised(`
INSERT INTO mvscheduler.looked_back (view_id, at, days_back, entire, asked, reads)
SELECT s.view_id, d, 64, false, true, 5 FROM mvscheduler.view_state AS s, generate_series(now() - interval '3 days', now() - interval '1 day', '1 day') AS d`), "reads asked for what had left")
	expired := strings.Replace(missed, "proposed", "expired", 1)
	require.Equal(t, expired, advised(`DELETE FROM mvscheduler.looked_back WHERE asked`), "they have not come again")
	require.Equal(t, expired, advised(`UPDATE mvscheduler.recommendation SET seen_at = now() - interval '89 days'`))
	require.Equal(t, expired+", 50 days are kept -> keep 40 days proposed", advised(`UPDATE mvscheduler.recommendation SET seen_at = now() - interval '91 days'`))

	// So it is when a person took it back.
	undone := expired + ", 50 days are kept -> keep 40 days undone"
	require.Equal(t, undone, advised(`UPDATE mvscheduler.recommendation SET state = 'undone', decided_at = now() - interval '89 days' WHERE state = 'proposed'`))
	require.Equal(t, undone+", 50 days are kept -> keep 40 days proposed", advised(`UPDATE mvscheduler.recommendation SET decided_at = now() - interval '91 days' WHERE state = 'undone'`))
}

func execError(t testing.TB, conn *pgx.Conn, sql string) error {
	_, err := conn.Exec(t.Context(), sql)
	return err
}

func TestCoarserBucketsAreAdvisedBeyondWhatReadersLookBackTo(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := keeping(t)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL`)
	advised := `SELECT coalesce(string_agg(current || ' -> ' || proposed, ', '), 'nothing') FROM mvscheduler.recommendations WHERE kind = 'bucket' AND state = 'proposed'`
	s.readForYears(t, "v", 40)
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "all of it is read")
	s.readForYears(t, "v", 1, 2, 4, 7, 8, 10)
	s.planned(t)
	kept := ask[int](t, s.alice, `SELECT round(extract(epoch FROM now() - min(minute)) / 86400)::int FROM v`)
	require.Equal(t, fmt.Sprintf("buckets of 1 minute are kept for %d days -> keep buckets of 1 day beyond 31 days", kept), ask[string](t, s.alice, advised))
	command := ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations WHERE kind = 'bucket'`)
	first, then, found := strings.Cut(command, "; when that is fresh: ")
	require.True(t, found, command)

	// Both statements do what they say, and then there is a coarser view.
	pgtest.Exec(t, s.alice, first)
	s.incremented(t, "v_by_day")
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM (SELECT date_trunc('day', minute) AS d, device, sum(n), sum(total) FROM v GROUP BY 1, 2 EXCEPT SELECT minute, device, n, total FROM v_by_day) AS x`))
	days := ask[int](t, s.alice, `SELECT count(DISTINCT minute)::int FROM v_by_day`)
	pgtest.Exec(t, s.alice, then)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded')`)
	require.Less(t, ask[int](t, s.alice, `SELECT count(DISTINCT minute::date)::int FROM v`), days)
	require.Equal(t, days, ask[int](t, s.alice, `SELECT count(DISTINCT minute)::int FROM v_by_day`))
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, advised))
}

// A view that becomes incremental was watched before, and nobody knows how far back it was read then.
func TestHowFarBackAViewIsReadIsKnownSinceItIsIncremental(t *testing.T) { // alone: samples and reads keep to the clock
	s := newMetrics(t)
	s.manage(t, "v", hourly, "refresh_interval", "1 day", "timezone", "UTC")
	worker := s.db.Worker(t)
	sampled := func() string {
		t.Helper()
		side := startSidecarAs(t, s.db, worker, often...)
		s.incremented(t, "v")
		collecting(t, s.root)
		require.Zero(t, side.stop())
		return ask[string](t, s.root, `SELECT CASE WHEN looked_since IS NULL THEN 'never' WHEN looked_since < now() - interval '1 day' THEN 'long' ELSE 'now' END FROM mvscheduler.usage`)
	}
	require.Equal(t, "never", sampled())
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET since = now() - interval '500 days', looked_since = now() - interval '500 days'`)
	require.Equal(t, "never", sampled())
	pgtest.Exec(t, s.alice, toIncremental)
	require.Equal(t, "now", sampled())
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET looked_since = now() - interval '2 days'`)
	require.Equal(t, "long", sampled())
}
