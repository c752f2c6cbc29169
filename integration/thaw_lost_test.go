package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The days read the hours, which have everything, and then, by a plain view, a view by minute that was made when partitions of the table had left.
func TestTheDaysKeepWhatAViewThatTheyBeginToReadNeverHad(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.readingsLeave(t, 84, 5)
	s.minutely(t, "mins")
	s.incremented(t, "mins")
	pgtest.Exec(t, s.alice, toMins)
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '1 day', 77, 1)`)
	s.incremented(t, "mins", "daily")
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE device = 77`))

	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`, `SELECT mvscheduler.restore_view('readings')`)
	s.incremented(t, "hourly", "mins", "daily")
	require.NoError(t, catalog.ForgetPrunings(t.Context(), s.root))
	pgtest.Exec(t, s.root, everythingDirty)
	s.incremented(t, "mins", "daily")
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC') AND day <> date_trunc('day', now() - interval '1 day', 'UTC')"))
}

// The view that the days begin to read was made when a part had left, and has lost another part since: it has nothing of the first.
func TestTheDaysKeepWhatAViewThatTheyBeginToReadNeverHadWhenMoreHasLeftSince(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.youngOfTwoParts(t)
	s.incremented(t, "mins", "young")
	pgtest.Exec(t, s.alice, toYoung)
	s.incremented(t, "daily")
	require.NoError(t, catalog.ForgetPrunings(t.Context(), s.root))
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))

	// One of the same age has nothing to lose by it.
	s.incremental(t, "weekly", `SELECT date_trunc('week', hour) AS week, device, sum(n) AS n FROM young WHERE mvscheduler.in_window(hour) GROUP BY 1, 2`, "time_column", "week", "bucket_width", "7 days")
	s.incremented(t, "weekly")
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1 WHERE name LIKE '%.mins'`, strings.Replace(everyMinute, "AS total", "AS total, max(value) AS most", 1))
	require.ErrorContains(t, err, "mins cannot be built anew") // which has of the second part
	for _, view := range []string{"young", "weekly"} {
		_, err = s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = replace(query, 'sum(n) AS n', 'sum(n) AS n, max(n) AS most') WHERE name LIKE '%.' || $1`, view)
		require.NoError(t, err)
		until(t, s.root, `SELECT count(*) = 0 FROM mvscheduler.redefinition`)
		s.incremented(t, "young", "weekly")
		same(t, s.alice, "weekly")
	}
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
}

// The view that the days begin to read is upon another one that was made when parts had left, of which one is back since.
func TestTheDaysKeepWhatAViewThatTheyBeginToReadNeverHadWhenSomeOfItIsBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.daysByView(t)
	s.youngOfTwoParts(t)
	s.incremented(t, "hourly", "mins", "young", "daily")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_partitions(k.target, k.relation) FROM (SELECT * FROM mvscheduler.visible_kept AS k WHERE k.name LIKE '%.readings' ORDER BY k.bound DESC LIMIT 1) AS k`)
	s.incremented(t, "hourly", "mins", "young", "daily")
	require.NoError(t, catalog.ForgetPrunings(t.Context(), s.root))
	s.incremented(t, "hourly", "mins", "young", "daily")
	pgtest.Exec(t, s.alice, toYoung)
	s.incremented(t, "daily")
	require.Zero(t, s.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
}

// daysByView has days that read hours by a plain view, as they were before anything left.
func (s *scene) daysByView(t testing.TB) {
	t.Helper()
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	pgtest.Exec(t, s.alice, `CREATE VIEW between_them AS SELECT hour AS ts, device, n FROM hourly WHERE mvscheduler.in_window(hour)`)
	s.incremental(t, "daily", `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n FROM between_them GROUP BY 1, 2`, "time_column", "day", "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	s.snapshotOf(t, "daily", "before")
}

// readingsLeave waits until at least so many partitions of the table have left by a period in hours.
func (s *scene) readingsLeave(t testing.TB, hours, parts int) {
	t.Helper()
	pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '%d hours')`, hours))
	until(t, s.root, `SELECT count(*) >= $1 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`, parts)
	s.pruned(t)
}

// youngOfTwoParts makes the view young, upon one that was made when parts of the table had left, of which more leave then.
func (s *scene) youngOfTwoParts(t testing.TB) {
	t.Helper()
	s.readingsLeave(t, 156, 2)
	s.minutely(t, "mins")
	s.youngOnMins(t)
	s.incremented(t, "mins", "young")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = '84 hours'`)
	until(t, s.root, `SELECT count(*) >= 5 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
}
