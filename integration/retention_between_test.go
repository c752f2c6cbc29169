package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const (
	leaveReadings = `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '%s')`
	leaveMinutes  = `UPDATE mvscheduler.views SET retention_period = '%s' WHERE name LIKE '%%.mins'`
)

// A row comes late to the table while the view by minute is paused. When everything of that day is old enough to leave, the days, which
// are kept for ever, do not have it, and nobody but the view by minute can bring it to them.
func TestWhatTheViewBetweenHasNotTakenStaysForTheViewThatReadsIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('mins')`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.run WHERE state IN ('queued', 'running')`)
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '108 hours', 77, 1)`)
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveMinutes, olderThan(2)), fmt.Sprintf(leaveReadings, olderThan(2)))
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.mins'`)
	s.pruned(t)
	s.incremented(t, "daily") // takes that they have left
	for target, why := range map[string]string{"mins": "daily reads it, and " + s.owner + ".mins itself has not taken the changes from ", "readings": "mins reads it and is paused (by hand)"} {
		out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+"."+target, "--dry-run")
		require.Zero(t, out.code, out.stderr)
		require.Contains(t, out.stdout, why)
	}
	require.Equal(t, int64(3), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.kept WHERE name LIKE 'mins%'`), "what is older than the row leaves")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('mins')`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept WHERE name LIKE 'mins%'`)
	s.incremented(t, "mins", "daily") // which takes that they have left: until then the table is held for it
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept WHERE name LIKE 'readings%'`)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
}

// Of a foreign table nobody knows what changed since it was read last. That keeps no partition of the view that reads it.
func TestWhatNobodyCanKnowOfAForeignTableKeepsNoPartitionOfTheViewBetween(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.foreignServer(t)
	s.readings(t, 9)
	pgtest.Exec(t, s.alice, `CREATE TABLE remote (device int, name text)`, `INSERT INTO remote VALUES (1, 'one'), (2, 'two')`,
		`CREATE FOREIGN TABLE devices (device int, name text) SERVER here OPTIONS (schema_name '`+s.owner+`', table_name 'remote')`)
	s.incremental(t, "mins", `SELECT date_trunc('minute', ts) AS minute, device, count(*) AS n FROM readings JOIN devices USING (device) WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "time_column", "minute", "bucket_width", "1 minute")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	s.snapshotOf(t, "daily", "before")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveMinutes, olderThan(3)))
	s.incremented(t, "mins", "daily") // the UPDATE has the minutes refreshed, which the days have to take
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept WHERE name LIKE 'mins%'`)
	s.incremented(t, "mins", "daily")
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
}

// The view between finds changes by the server's counters: a row that came while it was paused it has not taken either.
func TestWhatTheViewBetweenHasNotCountedStaysForTheViewThatReadsIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "change_tracking", "counters")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('mins')`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.run WHERE state IN ('queued', 'running')`)
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '108 hours', 77, 1)`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveMinutes, olderThan(2)))
	s.incremented(t, "daily") // has it looked what can leave
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.mins'`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('mins')`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept WHERE name LIKE 'mins%'`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
}

// A new version of the view between has just taken its place, and the days read it, but have not been refreshed since: nobody has noted yet
// that they read the new one.
func TestWhatTheNewVersionOfTheViewBetweenHasNotTakenStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins")
	s.daysOfMinutes(t, "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	s.redefine(t, "mins", strings.Replace(everyMinute, "AS total", "AS total, max(value) AS most", 1))
	s.incremented(t, "mins")
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.redefinition`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('mins')`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.run WHERE state IN ('queued', 'running')`)
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '108 hours', 77, 1)`)
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveMinutes, olderThan(2)), fmt.Sprintf(leaveReadings, olderThan(2)))
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--dry-run")
	require.Contains(t, out.stdout, "daily has not taken changes yet that may concern all of it")
	require.Zero(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait").code)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('mins')`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
}

// The view between does not track changes. What came while it was paused it looks at when it is refreshed again, however late that is.
func TestWhatTheViewBetweenHasNotLookedAtStaysForTheViewThatReadsIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "change_tracking", "none", "lateness", "1 hour")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('mins')`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.run WHERE state IN ('queued', 'running')`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.increment_state AS i SET seen_at = seen_at - interval '4 days' WHERE i.tracking = 'none'`) // it has been paused for four days
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '84 hours', 77, 1)`, fmt.Sprintf(leaveMinutes, olderThan(2)))
	s.incremented(t, "daily") // has it looked what can leave
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded' AND view_name LIKE '%.mins'`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('mins')`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
	until(t, s.root, `SELECT count(*) > 5 FROM mvscheduler.kept WHERE name LIKE 'mins%'`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
}

func TestAViewBetweenThatHasLostItsQuerySaysWhyItsPartitionsStay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	pgtest.Exec(t, s.alice, `DROP VIEW mins__query`)
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".mins", "--dry-run", "--retention-period", "2 days", "-o", "json")
	require.Contains(t, out.stdout, "daily reads it, and "+s.owner+".mins itself has not taken changes yet that may concern all of it")
	require.Contains(t, out.stdout, "its query was dropped, and when that is made again it is computed anew")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveMinutes, olderThan(2))) // makes the query again
	s.incremented(t, "mins", "daily")
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept WHERE name LIKE 'mins%'`)
}

// The bucket in which the hour lies that follows what has left is frozen as well, of days a whole one: it keeps what it has. A row that comes for it when
// the period of the view between is longer again was too late for the period by which that has left. When all of it is back, so is the row.
func TestARowForTheDayThatFollowsWhatHasLeftIsTakenWhenThatIsBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", "20 days")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	s.snapshotOf(t, "daily", "before")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveMinutes, olderThan(3)))
	s.incremented(t, "mins", "daily")
	until(t, s.root, `SELECT count(*) >= 4 FROM mvscheduler.kept`)
	s.pruned(t)
	s.incremented(t, "daily")
	s.pruned(t)
	const end = `(SELECT labels FROM mvscheduler.frozen WHERE labels > '-infinity')`
	followed := ask[string](t, s.root, `SELECT `+end+`::text`)
	longer := ask[int](t, s.root, `SELECT floor(extract(epoch FROM now() - `+end+`) / 3600)::int`)
	pgtest.Exec(t, s.alice, fmt.Sprintf(`UPDATE mvscheduler.views SET retention_period = '%d hours' WHERE name LIKE '%%.mins'`, longer), // what has left is older
		fmt.Sprintf(`INSERT INTO readings VALUES (timestamptz '%[1]s' + interval '12 hours', 77, 1), (timestamptz '%[1]s' + interval '36 hours', 78, 1)`, followed))
	s.incremented(t, "mins", "daily")
	s.pruned(t)
	s.incremented(t, "mins", "daily")
	require.Equal(t, "77 78", ask[string](t, s.alice, `SELECT string_agg(device::text, ' ' ORDER BY device) FROM mins WHERE device > 70`))
	require.Equal(t, "78", ask[string](t, s.alice, `SELECT string_agg(device::text, ' ' ORDER BY device) FROM daily WHERE device > 70`))
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '20 days' WHERE name LIKE '%.mins'`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, "77 78", ask[string](t, s.alice, `SELECT string_agg(device::text, ' ' ORDER BY device) FROM daily WHERE device > 70`))
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
}

// minutelyAnew makes a new version of the view between, with a period and columns more, and has the days refreshed after it.
func (s *scene) minutelyAnew(t testing.TB, period, columns string) {
	t.Helper()
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET retention_period = $1::text::interval, query = $2 WHERE name LIKE '%.mins'`, period, strings.Replace(everyMinute, "AS total", "AS total, "+columns, 1))
	require.NoError(t, err)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.redefinition`)
	s.incremented(t, "mins", "daily")
}

// A version of the view between is not built as far back as the one before it. What leaves it then, and is back, is all that it has: the days
// keep what is older.
func TestTheDaysKeepWhatTheViewBetweenWasNotBuiltForWhenItsPartitionsAreBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", "20 days")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	s.snapshotOf(t, "daily", "before")
	s.minutelyAnew(t, "5 days", "max(value) AS most")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveMinutes, olderThan(2)))
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.kept`)
	s.pruned(t)
	s.incremented(t, "mins", "daily")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '20 days' WHERE name LIKE '%.mins'`)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	s.incremented(t, "mins", "daily")
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))

	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '60 hours', 77, 1)`) // which has been aside
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
	s.minutelyAnew(t, "20 days", "max(value) AS most, min(value) AS least")
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
	same(t, s.alice, "daily")
}

// The owner has deleted old rows of the table by hand, which only the days have any more. A later version of the view between goes as far back as
// the first one, but has nothing of them. What is newer than what the second one was built for the days follow as before.
func TestTheDaysKeepWhatALaterVersionOfTheViewBetweenDoesNotFindAnyMore(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", "20 days")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	s.snapshotOf(t, "daily", "before")
	s.minutelyAnew(t, olderThan(3), "max(value) AS most")
	require.Equal(t, int64(1), ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.frozen_by AS b WHERE b.built > now() - interval '5 days'`))
	pgtest.Exec(t, s.alice, `DELETE FROM readings WHERE ts < date_trunc('day', now(), 'UTC') - interval '180 hours' OR ts BETWEEN date_trunc('day', now(), 'UTC') - interval '130 hours' AND date_trunc('day', now(), 'UTC') - interval '120 hours'`)
	s.incremented(t, "mins", "daily")
	s.minutelyAnew(t, "20 days", "max(value) AS most, min(value) AS least")
	require.NoError(t, catalog.ForgetPrunings(t.Context(), s.root))
	pgtest.Exec(t, s.root, everythingDirty)
	s.incremented(t, "mins", "daily")
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '12 hours', 77, 1)`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
}

// What an earlier version has computed the present one would not: of the same columns, but by another query, say. It does not come back by itself.
func TestWhatAnEarlierVersionHasComputedComesBackByHandAlone(t *testing.T) {
	heavy(t)
	t.Parallel()
	for name, period := range map[string]string{"the period becomes longer": "retention_period", "the new one keeps everything": "NULL"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			comesBackByHandAlone(t, period)
		})
	}
}

// comesBackByHandAlone has new versions built with a period; the table has lost by then what the first one had computed.
func comesBackByHandAlone(t *testing.T, period string) {
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", "20 days")
	startSidecar(t, s.db)
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveMinutes, olderThan(3)))
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, olderThan(5)))
	until(t, s.root, `SELECT count(*) >= 10 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	s.incremented(t, "mins")
	for _, query := range []string{strings.Replace(everyMinute, "AS total", "AS total, max(value) AS most", 1), strings.Replace(everyMinute, "in_window(ts)", "in_window(ts) AND device = 1", 1)} {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = `+period+`, query = `+quote(query))
		until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.redefinition`)
		s.incremented(t, "mins")
	}
	if period != "NULL" {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '20 days'`)
	}
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "prune", "mins", "--dry-run", "-o", "json").stdout, "an earlier version of "+s.owner+".mins has computed it: restore brings it back as it is")
	s.incremented(t, "mins") // after which it is looked
	s.pruned(t)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mins WHERE device = 2`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('mins')`)
	require.NotZero(t, ask[int64](t, s.alice, `SELECT count(*) FROM mins WHERE device = 2`))
}

// daysOfMinutes is the view daily upon the view mins.
func (s *scene) daysOfMinutes(t testing.TB, more ...any) {
	t.Helper()
	s.incremental(t, "daily", `SELECT date_trunc('day', minute) AS day, device, sum(n) AS n FROM mins WHERE mvscheduler.in_window(minute) GROUP BY 1, 2`,
		append([]any{"time_column", "day", "bucket_width", "1 day"}, more...)...)
}
