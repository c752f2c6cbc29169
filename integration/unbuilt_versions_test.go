package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The first version of the view between keeps five days, the second three, which freezes the days below that, and the third one
// everything: what is older than five days the days never got, and do not follow, whatever the view between has now.
func TestRawDataStayThatAViewNeverGotAndDoesNotFollowAnyMoreThoughALaterVersionOfTheViewBetweenHasThem(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", olderThan(5))
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	s.minutelyAnew(t, olderThan(3), "max(value) AS most")
	s.minutelyKeepingAll(t, "max(value) AS most, min(value) AS least")
	all := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM mins`))
	require.Less(t, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`), all)
	s.allStay(t, olderThan(3), `view \S+\.daily may lack rows of \S+\.readings_m6, which it would keep: what it read when it was filled went back to \S+ only, and what that has got since it does not follow\. DELETE its row and INSERT it again`)

	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views WHERE name LIKE '%.daily'`)
	s.daysOfMinutes(t)
	s.incremented(t, "daily")
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`))
}

// A later version of the view between that keeps everything brings the days what they never got, where nothing has frozen them.
func TestALaterVersionOfTheViewBetweenBringsWhatAViewNeverGot(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", olderThan(5))
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	s.minutelyKeepingAll(t, "max(value) AS most")
	all := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`))
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '`+olderThan(3)+`')`)
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`))
}

// The days have all from the first version of the view between, as far as anybody knows: the second one is not built so far back. What the
// reason says ends that, and takes nothing from the days.
func TestWhatTheReasonSaysOfAViewBetweenThatWasMadeAnewLetsRawDataLeave(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	s.minutelyAnew(t, olderThan(4), "max(value) AS most")
	all := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`))
	s.allStay(t, olderThan(3), `view \S+\.daily may lack rows of \S+\.readings_m5, which it would keep, since view \S+\.mins, .* UPDATE \S+\.mins, its query with a column more and without retention_period until \S+\.daily has taken that`)
	s.minutelyKeepingAll(t, "max(value) AS most, min(value) AS least")
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`))
}

// In a chain of four the hours never got what is older than five days, and so the days neither. The second version of the hours freezes the
// days, before the minutes have everything, and the third one of the hours has it from them.
func TestRawDataStayThatAViewNeverGotSinceWhatItReadsDidNotGetThem(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", olderThan(5))
	const hours = `SELECT date_trunc('hour', minute) AS hour, device, sum(n) AS n%s FROM mins WHERE mvscheduler.in_window(minute) GROUP BY 1, 2`
	s.incremental(t, "hourly", fmt.Sprintf(hours, ""))
	s.incremental(t, "daily", `SELECT date_trunc('day', hour) AS day, device, sum(n) AS n FROM hourly WHERE mvscheduler.in_window(hour) GROUP BY 1, 2`, "time_column", "day", "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "mins", "hourly", "daily")
	anew := func(view, period, query string) {
		_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET retention_period = nullif($1, '')::interval, query = $2 WHERE split_part(name, '.', 2) = $3`, period, query, view)
		require.NoError(t, err)
		until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.redefinition`)
		s.incremented(t, "mins", "hourly", "daily")
	}
	anew("hourly", olderThan(3), fmt.Sprintf(hours, ", max(n) AS most"))
	anew("mins", "", strings.Replace(everyMinute, "AS total", "AS total, max(value) AS most", 1))
	anew("hourly", "", fmt.Sprintf(hours, ", max(n) AS most, min(n) AS least"))
	all := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM hourly`))
	require.Less(t, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`), all)
	s.allStay(t, olderThan(3), `view \S+\.daily may lack rows of \S+\.readings_m6, which it would keep: what it read when it was filled went back to \S+ only`)
}

// What is written to a partition that was restored does not come to the days through a version of the minutes that does not go so far back.
func TestWhatWasRestoredStaysWhereAViewKeepsItAndDoesNotFollowItAnyMore(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", "20 days")
	s.daysOfMinutes(t)
	startSidecar(t, s.db)
	s.incremented(t, "mins", "daily")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, grace_period) VALUES ('readings', '`+olderThan(5)+`', '1 day')`)
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`)
	s.incremented(t, "mins", "daily")
	s.minutelyAnew(t, olderThan(5), "max(value) AS most")
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT min(ts), 7, 700 FROM readings_m9`)
	s.incremented(t, "mins", "daily")
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 7`))
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.kept SET restored_at = restored_at - interval '30 days'`) // its grace is over
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
	require.Zero(t, out.code, out.stderr)
	require.Regexp(t, `m9 .*keep .*view \S+\.daily may lack rows of \S+\.readings_m6, which it would keep, since view \S+\.mins`, out.stdout)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM readings WHERE device = 7`))
}

// minutelyKeepingAll is minutelyAnew without a period.
func (s *scene) minutelyKeepingAll(t testing.TB, columns string) {
	t.Helper()
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET retention_period = NULL, query = $1 WHERE name LIKE '%.mins'`, strings.Replace(everyMinute, "AS total", "AS total, "+columns, 1))
	require.NoError(t, err)
	until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.redefinition`)
	s.incremented(t, "mins", "daily")
}
