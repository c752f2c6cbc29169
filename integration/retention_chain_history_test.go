package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// The view between has a retention period of its own, is paused, tracks changes or does not, and is built anew, while what it reads and what it
// holds leaves, comes back, and sessions are killed. The days, which are kept for ever, have every row.
func TestTheDaysHaveEveryRowWhateverBecomesOfTheViewBetween(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := mirrored(t)
	hours := 12 * 24
	pgtest.Exec(t, s.alice, fmt.Sprintf(`UPDATE mvscheduler.views SET retention_period = '%d hours' WHERE name LIKE '%%.hourly'`, 20*24)) // by which its partitions are made
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	var told tally
	did := make(map[string]int)
	pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '%d hours')`, hours))
	writers := s.writers(t)
	const ofHourly, ofDaily = ` WHERE split_part(name, '.', 2) = 'hourly'`, ` WHERE split_part(name, '.', 2) = 'daily'`
	deeds := map[string]string{
		"pause":         `SELECT mvscheduler.pause_view('hourly')`,
		"resume":        `SELECT mvscheduler.resume_view('hourly')`,
		"pause days":    `SELECT mvscheduler.pause_view('daily')`,
		"resume days":   `SELECT mvscheduler.resume_view('daily')`,
		"no tracking":   `UPDATE mvscheduler.views SET change_tracking = 'none', lateness = '30 days'` + ofHourly,
		"tracking":      `UPDATE mvscheduler.views SET change_tracking = 'trigger'` + ofHourly,
		"disable":       `UPDATE mvscheduler.views SET enabled = NOT enabled` + ofHourly,
		"query dropped": `DROP VIEW hourly__query`,
		"restore":       `SELECT mvscheduler.restore_view('hourly')`,
		"restore raw":   `SELECT mvscheduler.restore_view('readings')`,
		"the days":      `SELECT mvscheduler.refresh_view('daily')`,
		"the hours":     `SELECT mvscheduler.refresh_view('hourly')`,
		"built anew":    `UPDATE mvscheduler.views SET unique_key = CASE WHEN unique_key IS NULL THEN '{device,hour}'::text[] END` + ofHourly,
		"days anew":     `UPDATE mvscheduler.views SET unique_key = CASE WHEN unique_key IS NULL THEN '{device,day}'::text[] END` + ofDaily,
		"everything":    `UPDATE mvscheduler.views SET query = query || ' '` + ofHourly,
	}
	names := []string{"pause", "resume", "pause days", "resume days", "no tracking", "tracking", "disable", "query dropped", "restore", "restore raw", "the days", "the hours", "built anew", "days anew", "everything"}
	do := func(r *rapid.T, when string) {
		name := rapid.SampledFrom(names).Draw(r, when)
		if _, err := s.alice.Exec(t.Context(), deeds[name]); err != nil {
			name += " fails"
		}
		did[name]++
	}
	rapid.Check(t, func(r *rapid.T) {
		hours = max(100, hours-rapid.IntRange(0, 24).Draw(r, "hours"))
		do(r, "before")
		do(r, "and before")
		between := hours - 60 // never longer than before: what comes back then is another story
		s.round(t, r, writers, between, fmt.Sprintf(`WITH raw AS (UPDATE mvscheduler.source_retention SET retention_period = '%d hours') UPDATE mvscheduler.views SET retention_period = '%d hours'`+ofHourly, hours, between), "daily", &told)
		do(r, "after")
		if rapid.Bool().Draw(r, "looked") {
			s.incremented(t, "daily")
			_ = mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait")
			s.pruned(t)
		}
		do(r, "and after")
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET enabled = true`, `SELECT mvscheduler.resume_view(name) FROM mvscheduler.views`)
		s.incremented(t, "hourly", "daily")
		s.incremented(t, "hourly", "daily")
		require.Equal(r, "", ask[string](t, s.alice, `SELECT coalesce(string_agg(d::text, ' '), '') FROM (SELECT date_trunc('day', ts) AS day, device, count(*)::numeric AS n, sum(value) AS total FROM mirror GROUP BY 1, 2 EXCEPT SELECT day, device, n, total FROM daily) AS d`))
	})
	t.Logf("%d put aside, %d restored; retention at the end %d hours; %v", ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'detach'`),
		ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.pruning WHERE action = 'restore'`), hours, did)
	told.sound(t, s)
}
