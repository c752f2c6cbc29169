package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const (
	toMins     = `CREATE OR REPLACE VIEW between_them AS SELECT minute AS ts, device, n FROM mins WHERE mvscheduler.in_window(minute)`
	editedBack = `UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''day'', ts) AS day, device, sum(n) AS n FROM between_them GROUP BY 1, 2' WHERE name LIKE '%.daily'`
	lateInDays = `SELECT count(*) FROM daily WHERE device = 77`
)

// minsLetGo has the minutes let go of old partitions, for one of which a row comes late, which the hours take, and the days that read them.
func (s *scene) minsLetGo(t testing.TB) {
	t.Helper()
	s.daysByView(t)
	s.minutely(t, "mins")
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '84 hours' WHERE name LIKE '%.mins'`)
	until(t, s.root, `SELECT count(*) >= 5 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '7 days', 77, 1)`)
	s.incremented(t, "hourly", "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, lateInDays))
}

// keptTheLateRow says that the days have what they had, and the row that came late.
func (s *scene) keptTheLateRow(t testing.TB) {
	t.Helper()
	s.incremented(t, "hourly", "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, lateInDays))
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
}

const (
	tableLeft = `SELECT count(*) >= 5 FROM mvscheduler.kept WHERE detached_at IS NOT NULL AND target < 0`
	minsBack  = `SELECT NOT EXISTS (SELECT FROM mvscheduler.kept WHERE detached_at IS NOT NULL AND target > 0)`
)

// The row leaves the table without having been in the view, which kept nothing of that time. Then what that had is back, without the row.
func TestTheDaysKeepARowThatTheViewWhichTheyBeginToReadHadLetGoOf(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.minsLetGo(t)
	s.readingsLeave(t, 84, 10)
	require.True(t, ask[bool](t, s.root, tableLeft))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('mins')`)
	until(t, s.root, minsBack)
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, toMins)
	s.keptTheLateRow(t)
}

// They begin to read it before.
func TestTheDaysKeepARowThatWhatIsBackOfTheViewTheyReadNeverHad(t *testing.T) {
	heavy(t)
	t.Parallel()
	for name, back := range map[string]string{
		"by hand":            `SELECT mvscheduler.restore_view('mins')`,
		"by a longer period": `UPDATE mvscheduler.views SET retention_period = '100 days' WHERE name LIKE '%.mins'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.minsLetGo(t)
			pgtest.Exec(t, s.alice, toMins)
			s.keptTheLateRow(t)
			s.readingsLeave(t, 84, 10)
			require.True(t, ask[bool](t, s.root, tableLeft))
			pgtest.Exec(t, s.alice, back)
			until(t, s.root, minsBack)
			s.keptTheLateRow(t)
		})
	}
}

// And of what the table has still they have it all when the view is whole again.
func TestTheDaysFollowWhatIsBackOfTheViewTheyReadWhereTheTableHasEverything(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.minsLetGo(t)
	pgtest.Exec(t, s.alice, toMins)
	s.keptTheLateRow(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('mins')`)
	until(t, s.root, minsBack)
	s.keptTheLateRow(t)
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '6 days', 77, 1)`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(2), ask[int64](t, s.alice, lateInDays))
}

// refusedVersion has a new version of the days fill itself from the minutes, which are not enabled yet, and be refused, as they lack what the days have.
func (s *scene) refusedVersion(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''day'', minute) AS day, device, sum(n) AS n, sum(total) AS total FROM mins WHERE mvscheduler.in_window(minute) GROUP BY 1, 2' WHERE name LIKE '%.daily'`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.view_health AS h WHERE (h.last_error LIKE '%mins has not been filled yet%')`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET enabled = true WHERE name LIKE '%.mins'`)
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('daily')`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.view_health AS h WHERE (h.last_error LIKE '%had left what it reads%')`)
}

// lackingVersion has a new version of the days fail that reads minutes which were not built so far back.
func (s *scene) lackingVersion(t testing.TB) {
	t.Helper()
	s.daysByView(t)
	s.minutely(t, "mins", "enabled", false, "retention_period", "3 days")
	s.refusedVersion(t)
}

// That version was never served: it says nothing of the days.
func TestTheDaysFollowRowsThatComeLateAfterAVersionThatLackedThemWasCancelled(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.lackingVersion(t)
	pgtest.Exec(t, s.alice, editedBack,
		`INSERT INTO readings VALUES (now() - interval '7 days', 77, 1)`)
	s.keptTheLateRow(t)
}

// The days themselves begin to read the minutes then, which they had not, though that version had.
func TestTheDaysKeepWhatTheyHaveWhenTheyBeginToReadWhatAVersionReadThatWasNeverServed(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.lackingVersion(t)
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''day'', minute) AS day, device, sum(n) AS n FROM mins WHERE mvscheduler.in_window(minute) GROUP BY 1, 2' WHERE name LIKE '%.daily'`)
	require.ErrorContains(t, err, "daily cannot be built anew: what it showed before ")
	pgtest.Exec(t, s.alice, toMins, editedBack,
		`INSERT INTO readings VALUES (now() - interval '1 day', 77, 1)`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, lateInDays))
	require.Zero(t, s.lost(t, "before", "daily", completeDays+" AND day <> date_trunc('day', now() - interval '1 day', 'UTC')"))
}

// What the minutes lacked when they were filled is back, and they follow it, and so do the days that read them since, also after a version of the days
// was cancelled that read something else.
func TestTheDaysFollowWhatTheyHaveReadAllTheTimeAfterAVersionThatReadSomethingElseWasCancelled(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.readingsLeave(t, 84, 5)
	s.minutely(t, "mins", "retention_period", "100 days")
	days := `SELECT date_trunc('day', minute) AS day, device, sum(n) AS n FROM mins WHERE mvscheduler.in_window(minute) GROUP BY 1, 2`
	s.incremental(t, "days", days, "time_column", "day", "bucket_width", "1 day")
	s.incremented(t, "mins", "days")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`, `SELECT mvscheduler.restore_view('readings')`, `INSERT INTO readings VALUES (now() - interval '7 days', 77, 1)`)
	s.incremented(t, "mins", "days")
	late := `SELECT coalesce(sum(n), 0)::bigint FROM days WHERE device = 77`
	require.Equal(t, int64(1), ask[int64](t, s.alice, late))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = 'SELECT date_trunc(''day'', ts) AS day, device, count(*) + slow(0.01)::bigint - 1 AS n, sum(value) AS total FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2' WHERE name LIKE '%.days'`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.view_source AS v JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.days' AND v.relation::text LIKE '%readings')`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = `+quote(days)+` WHERE name LIKE '%.days'`, `INSERT INTO readings VALUES (now() - interval '6 days', 77, 1)`)
	s.incremented(t, "mins", "days")
	require.Equal(t, int64(2), ask[int64](t, s.alice, late))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = `+quote(strings.Replace(days, "AS n", "AS n, sum(total) AS total", 1))+` WHERE name LIKE '%.days'`)
	s.incremented(t, "days")
	require.Equal(t, int64(2), ask[int64](t, s.alice, late))
}

// One partition of the table is back, older than those that are aside still: the hours are frozen there, and follow no row of it. The minutes,
// which were made since, do, and the days that read them.
func TestTheDaysKeepARowThatCameLateForWhatIsBackBelowTheHorizonOfTheViewThatTheyBeginToRead(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.readingsLeave(t, 84, 5)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_partitions(k.target, k.relation) FROM mvscheduler.visible_kept AS k WHERE k.relation::text LIKE '%readings_m8%'`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.kept WHERE detached_at IS NULL`)
	s.minutely(t, "mins")
	pgtest.Exec(t, s.alice, `CREATE VIEW of_minutes AS SELECT minute AS ts, device, n FROM mins WHERE mvscheduler.in_window(minute)`)
	s.incremental(t, "days", `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n FROM of_minutes GROUP BY 1, 2`, "time_column", "day", "bucket_width", "1 day")
	s.incremented(t, "mins", "days")
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (date_trunc('day', now(), 'UTC') - interval '190 hours', 77, 1)`)
	s.incremented(t, "mins", "days", "hourly")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM days WHERE device = 77`))
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW of_minutes AS SELECT hour AS ts, device, n FROM hourly WHERE mvscheduler.in_window(hour)`)
	s.incremented(t, "days")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM days WHERE device = 77`))
}
