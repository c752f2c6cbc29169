package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The hours never got what is older than the first version of the minutes kept, and do not keep it any more; the days would, and have
// it from nobody, though the minutes have it now.
func TestRawDataStayThatTheViewAboveOneThatNeverGotThemWouldKeep(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins", "retention_period", olderThan(5))
	s.incremental(t, "hours", `SELECT date_trunc('hour', minute) AS hour, device, sum(n) AS n FROM mins WHERE mvscheduler.in_window(minute) GROUP BY 1, 2`, "time_column", "hour", "bucket_width", "1 hour")
	s.incremental(t, "daily", `SELECT date_trunc('day', hour) AS day, device, sum(n) AS n FROM hours WHERE mvscheduler.in_window(hour) GROUP BY 1, 2`, "time_column", "day", "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "mins", "hours", "daily")
	s.minutelyAnew(t, olderThan(3), "max(value) AS most")
	s.incremented(t, "hours", "daily") // which read this version, and are frozen by it
	s.minutelyKeepingAll(t, "max(value) AS most, min(value) AS least")
	s.incremented(t, "hours", "daily")
	all := ask[int64](t, s.alice, `SELECT count(*) FROM readings`)
	require.Equal(t, all, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM mins`))
	require.Less(t, ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily`), all)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '`+olderThan(4)+`' WHERE name LIKE '%.hours'`)
	s.incremented(t, "hours", "daily")
	s.allStay(t, olderThan(3), `view \S+\.daily may lack rows of \S+\.readings_m6, which it would keep`)
}
