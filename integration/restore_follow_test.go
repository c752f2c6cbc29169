package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// restoredScene has two days of readings, m8 and m9, that had left and were restored, and hours and days that have taken them.
func restoredScene(t testing.TB) *scene {
	t.Helper()
	s := newScene(t)
	s.readings(t, 9)
	s.chain(t)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, olderThan(7)))
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('readings')`)
	s.incremented(t, "hourly", "daily")
	return s
}

// Who restores raw data corrects them. The next day another partition is old enough; were it to leave, everything older would be
// frozen again, and what is written to what is back would be in no view, and dropped.
func TestWhatIsWrittenToARestoredPartitionIsCountedForAsLongAsItStays(t *testing.T) {
	t.Parallel()
	s := restoredScene(t)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = '`+olderThan(6)+`'`) // the next day
	out := mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
	require.Zero(t, out.code, out.stderr)
	require.Regexp(t, `m7 .*keep .*hourly follows what is written to \S+\.readings_m9, which is older, was restored and stays until`, out.stdout)
	pgtest.Exec(t, s.alice, `INSERT INTO readings SELECT min(ts), 7, 700 FROM readings`)
	s.incremented(t, "hourly", "daily")
	for _, view := range []string{"hourly", "daily"} {
		require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM `+view+` WHERE device = 7`), view)
	}
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET grace_period = '0'`)
	until(t, s.root, `SELECT count(*) = 3 FROM mvscheduler.pruning WHERE action = 'drop'`)
	s.pruned(t)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT sum(n)::bigint FROM daily WHERE device = 7`))
}
