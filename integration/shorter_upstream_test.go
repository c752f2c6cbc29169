package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A rollup that gets a new version and a shorter retention at once is not built as far back as it was: what is rolled up from it keeps
// what it has.
func TestARollupOfWhatIsBuiltLessFarBackLosesNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 20)
	s.incremental(t, "hourly", hourlyReadings)
	s.incremental(t, "daily", dailyOfHourly, "time_column", "day", "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	s.snapshotOf(t, "daily", "before")
	require.Greater(t, ask[int64](t, s.alice, `SELECT count(*) FROM daily WHERE day < now() - interval '10 days'`), int64(5))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '5 days', query = regexp_replace(query, ' FROM ', ', max(ts) AS latest FROM ') WHERE name LIKE '%.hourly'`)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)`)
	t.Log(ask[string](t, s.alice, `SELECT min(hour)::text FROM hourly`), ask[string](t, s.root, `SELECT coalesce(string_agg(f::text, '; '), '') FROM mvscheduler.frozen_by AS f`))
	s.incremented(t, "hourly", "daily", "daily")
	require.Zero(t, s.lost(t, "before", "daily", `day < date_trunc('day', now()) - interval '7 days'`))
}
