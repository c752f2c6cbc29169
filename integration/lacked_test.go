package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const completeDays = "day < date_trunc('day', now(), 'UTC')"

func (s *scene) youngOnMins(t testing.TB) {
	t.Helper()
	s.incremental(t, "young", strings.NewReplacer("ts", "minute", "readings", "mins", "count(*)", "sum(n)", "value", "total").Replace(hourlyReadings))
}

const toYoung = `CREATE OR REPLACE VIEW between_them AS SELECT hour AS ts, device, n::bigint FROM young WHERE mvscheduler.in_window(hour)`

// The view that the days begin to read is upon another one, which was not built further back than its retention_period. Nothing has left.
func TestTheDaysKeepWhatAViewBelowTheOneThatTheyBeginToReadWasNotBuiltFor(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.minutely(t, "mins", "retention_period", "3 days")
	s.youngOnMins(t)
	s.incremented(t, "mins", "young")
	pgtest.Exec(t, s.alice, toYoung)
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '1 day', 77, 1)`)
	s.incremented(t, "mins", "young", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
	require.Zero(t, s.lost(t, "before", "daily", completeDays+" AND day <> date_trunc('day', now() - interval '1 day', 'UTC')"))
}

// As above, and what had left the table besides is back before they begin to: the view in the middle follows none of it.
func TestTheDaysKeepWhatWasNotBuiltAlsoWhenTheTableHasEverythingAgain(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.readingsLeave(t, 156, 2)
	s.minutely(t, "mins", "retention_period", "3 days")
	s.youngOnMins(t)
	s.incremented(t, "mins", "young")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`, `SELECT mvscheduler.restore_view('readings')`)
	s.incremented(t, "hourly", "mins", "young", "daily")
	pgtest.Exec(t, s.alice, toYoung)
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
}

// The view that the days begin to read is empty, as it was never filled: they keep what they show until it is, and what it lacks then.
func TestTheDaysWaitUntilWhatTheyBeginToReadIsFilled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.readingsLeave(t, 84, 5)
	s.minutely(t, "mins", "enabled", false)
	pgtest.Exec(t, s.alice, toMins)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('daily')`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.view_health AS h WHERE (h.last_error LIKE '%mins has not been filled yet%')`)
	require.Zero(t, s.lost(t, "before", "daily", "true"), "as it was")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET enabled = true WHERE name LIKE '%.mins'`)
	s.incremented(t, "mins", "daily")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '1 day', 77, 1)`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
}

// A new version reads a view that is not filled when it is asked for, and that lacks what has left: it does not take the place.
func TestANewVersionThatReadsWhatIsNotFilledYetDoesNotTakeThePlace(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.readingsLeave(t, 84, 5)
	s.minutely(t, "mins", "enabled", false)
	s.refusedVersion(t)
	require.Zero(t, s.lost(t, "before", "daily", "true"), "as it was")
	pgtest.Exec(t, s.alice, editedBack)
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
}

// A view that is being filled begins to read another one, which lacks what the first had: who begins to read it in turn keeps that.
func TestAViewThatReadsAnotherOneInTheMiddleOfItsFillLacksWhatThatLacks(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.minutely(t, "mins", "retention_period", "3 days")
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, `CREATE VIEW below_young AS SELECT ts AS minute, device, 1::bigint AS n, value AS total FROM readings WHERE mvscheduler.in_window(ts)`)
	s.incremental(t, "young", `SELECT date_trunc('hour', minute) AS hour, device, sum(n)::bigint + slow(0.02) - 1 AS n FROM below_young GROUP BY 1, 2`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.increment_state AS i WHERE i.fill ->> 'partitions' >= '1')`)
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW below_young AS SELECT minute, device, n, total FROM mins WHERE mvscheduler.in_window(minute)`)
	s.incremented(t, "young")
	same(t, s.alice, "young") // of what it reads it has everything, also where that begins
	pgtest.Exec(t, s.alice, toYoung)
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
}

// The view that the days begin to read has kept what it had since it began to read another one itself, and has not followed what came late since.
func TestTheDaysKeepARowThatCameLateToTheirHoursAndNotToAViewThatIsFrozen(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.minutely(t, "mins", "retention_period", "3 days")
	pgtest.Exec(t, s.alice, `CREATE VIEW below_other AS SELECT ts, device, 1::bigint AS n FROM readings WHERE mvscheduler.in_window(ts)`)
	s.incremental(t, "other", `SELECT date_trunc('hour', ts) AS hour, device, sum(n) AS n FROM below_other GROUP BY 1, 2`)
	s.incremented(t, "mins", "other")
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW below_other AS SELECT minute AS ts, device, n FROM mins WHERE mvscheduler.in_window(minute)`)
	s.incremented(t, "other")
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '7 days', 77, 1)`)
	s.incremented(t, "hourly", "mins", "other", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
	pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW between_them AS SELECT hour AS ts, device, n::bigint FROM other WHERE mvscheduler.in_window(hour)`)
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))
}

// The view that the days begin to read is in the middle of its first fill: what it has so far is not all of it.
func TestTheDaysWaitUntilTheFillOfWhatTheyBeginToReadHasEnded(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.incremental(t, "mins", strings.Replace(everyMinute, "count(*) AS n", "count(*) + slow(0.01) - 1 AS n", 1), "time_column", "minute", "bucket_width", "1 minute")
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.increment_state AS i WHERE i.fill ->> 'partitions' >= '1')`)
	pgtest.Exec(t, s.alice, toMins, `SELECT mvscheduler.refresh_view('daily')`)
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.view_health AS h WHERE h.last_error LIKE '%mins has not been filled yet%'`)
	require.Zero(t, s.lost(t, "before", "daily", "true"), "as it was")
	s.incremented(t, "mins", "daily")
	require.Zero(t, s.lost(t, "before", "daily", completeDays))
	same(t, s.alice, "daily")
}
