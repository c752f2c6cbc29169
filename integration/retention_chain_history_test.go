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
	// How many hours before now rows may come that the hours and the days follow. What has left has frozen the bucket in which the hour after
	// it lies, of the days a whole one whose rows are still there, and all of that was older than the period of then. When the period is
	// longer again, but not so long that what has left comes back, the bucket stays frozen: it keeps what it has, and a row that comes then is
	// too late for it, although it is younger than the period of now.
	const followed = `SELECT coalesce(floor(extract(epoch FROM now() - max(date_trunc(w.bucket, b.below - interval '1 microsecond', 'UTC') + ('1 ' || w.bucket)::interval)) / 3600), 480)::int
		FROM mvscheduler.frozen_by AS b JOIN mvscheduler.view_state AS s ON s.view_id = b.view_id CROSS JOIN LATERAL (SELECT CASE split_part(s.name, '.', 2) WHEN 'daily' THEN 'day' ELSE 'hour' END AS bucket) AS w WHERE isfinite(b.below) AND NOT b.before`
	between := 20 * 24
	rapid.Check(t, func(r *rapid.T) {
		raw, was := hours, between
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.kept SET restored_at = restored_at - interval '30 days'`) // what is back may leave again
		hours = rapid.IntRange(100, 350).Draw(r, "hours")
		do(r, "before")
		do(r, "and before")
		between = hours + rapid.IntRange(-60, 100).Draw(r, "between")
		young := min(raw, was, hours, between, ask[int](t, s.root, followed)) // a run may still go by what was said before
		s.round(t, r, writers, young, fmt.Sprintf(`WITH raw AS (UPDATE mvscheduler.source_retention SET retention_period = '%d hours') UPDATE mvscheduler.views SET retention_period = '%d hours'`+ofHourly, hours, between), "daily", &told)
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
