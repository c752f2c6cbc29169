package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// lateForWhatIsAside has partitions of a view put aside, and a row of device 77 come late for one of them.
func (s *scene) lateForWhatIsAside(t testing.TB) {
	t.Helper()
	s.readings(t, 6)
	s.minutely(t, "v")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '1 day'`)
	until(t, s.root, `SELECT count(*) >= 4 FROM mvscheduler.visible_kept`)
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '4 days', 77, 100)`)
}

// The first refresh after what is aside came back computes what was written meanwhile: nobody waits for the sidecar to notice.
func TestTheFirstRefreshAfterARestoreFollowsWhatIsBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	for range 3 { // as the sidecar may have noticed by chance
		t.Run("of the view", func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.lateForWhatIsAside(t)
			s.incremented(t, "v")
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = NULL`, `SELECT mvscheduler.restore_view('v')`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
		})
		for name, back := range map[string]string{
			"of the table":          `SELECT mvscheduler.restore_view('raw')`,
			"of the table, by hand": `ALTER TABLE raw ATTACH PARTITION old__kept FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				s.hourlyOfOldYear(t)
				until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.visible_kept`)
				pgtest.Exec(t, s.alice, `INSERT INTO old__kept VALUES ('2020-05-05', 2)`, `UPDATE mvscheduler.source_retention SET legal_hold = true`, back)
				s.incremented(t, "v")
				same(t, s.alice, "v")
			})
		}
	}
}

// What comes back when a run has looked below already, and has no snapshot yet, that very run follows: it ends after the restore,
// and nobody would see that it knew nothing of it.
func TestARunFollowsWhatComesBackBetweenItsLookAndItsSnapshot(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.lateForWhatIsAside(t)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))`)
	holder := s.db.Conn(t, "")
	pgtest.Exec(t, holder, `BEGIN`, `LOCK TABLE mvscheduler.attempt IN SHARE MODE`)
	s.db.Exec(t, makeDue) // so that it looks first, whether the run can be skipped
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO mvscheduler.attempt %')
		AND EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'refresh' AND state = 'queued')`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_view('v')`)
	pgtest.Exec(t, holder, `COMMIT`)
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'refresh' AND state IN ('queued', 'running'))`)
	s.committed(t)
	require.Equal(t, "schedule succeeded", s.last(t, "v", "CASE WHEN kind = 'refresh' THEN cause || ' ' || state END"))
	require.True(t, ask[bool](t, s.alice, `SELECT EXISTS (SELECT FROM v WHERE device = 77)`))
}
