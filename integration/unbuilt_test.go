package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Hours that keep four days were never built further back, so the days upon them, for ever, never got what is older: raw data are
// all that there is of it.
func TestRawDataStayThatAViewWouldKeepAndNeverGotThroughAnother(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings, "retention_period", "4 days")
	s.incremental(t, "daily", dailyOfHourly, "time_column", "day", "bucket_width", "1 day", "refresh_on", "upstream")
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	require.Less(t, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`), ask[int64](t, s.alice, `SELECT count(*) FROM readings`))

	s.allStay(t, olderThan(3), `view \S+\.daily may lack rows of \S+\.readings_m5, which it would keep, since view \S+\.hourly, through which it reads them, was filled from \S+ only`)

	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
	s.incremental(t, "hourly", hourlyReadings)
	s.incremental(t, "daily", dailyOfHourly, "time_column", "day", "bucket_width", "1 day", "refresh_on", "upstream")
	s.incremented(t, "hourly", "daily")
	all := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '4 days' WHERE name LIKE '%.hourly'`)
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.kept AS k JOIN mvscheduler.source_state AS r ON r.id = k.target WHERE k.detached_at IS NOT NULL`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`))
}

// A view keeps more than when it was filled, and what it never was built of is in the table still.
func TestRawDataStayThatAViewWasNotBuiltOfAndKeepsFromNowOn(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", olderThan(5))
	startSidecar(t, s.db)
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL`)
	s.incremented(t, "mins")
	all := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
	require.Less(t, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM mins`), all)
	s.allStay(t, olderThan(3), `m9 .*keep .*view \S+\.mins lacks rows of \S+\.readings_m6, which it would keep, since it was filled from \S+ only, by the retention_period of then: UPDATE its query with a column more`)
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1`, strings.Replace(everyMinute, "AS total", "AS total, max(value) AS most", 1))
	require.NoError(t, err)
	until(t, s.root, `SELECT count(*) = 6 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM mins`))
}

// allStay lets readings go that are older than a period, and finds that none does, for this reason; nor does what is younger, which a view
// would lose when it is made anew.
func (s *scene) allStay(t testing.TB, period, reason string) {
	t.Helper()
	before := s.leaves(t)
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, period))
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
	require.Zero(t, out.code, out.stderr)
	require.Regexp(t, reason, out.stdout)
	require.Equal(t, before, s.leaves(t))
}
