package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A view reads a table, and then, by a plain view, another owner's view of which partitions have left.
func TestAViewThatReadsALeftViewOfAnotherOwnerKeepsWhatItHas(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.minutely(t, "mins")
	bob := s.db.User(t, "bob")
	b := s.db.Conn(t, bob)
	pgtest.Exec(t, s.alice, fmt.Sprintf(`GRANT USAGE ON SCHEMA %s TO %s`, s.owner, bob), `GRANT SELECT, TRIGGER ON readings TO `+bob)
	pgtest.Exec(t, b, `SET TimeZone = 'UTC'`, fmt.Sprintf(`CREATE VIEW between_them AS SELECT ts, device, 1::numeric AS n FROM %s.readings WHERE mvscheduler.in_window(ts)`, s.owner))
	bobs := &scene{db: s.db, owner: bob, alice: b, root: s.root}
	bobs.incremental(t, "daily", `SELECT date_trunc('day', ts) AS day, device, sum(n) AS n FROM between_them GROUP BY 1, 2`, "time_column", "day", "bucket_width", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "mins")
	bobs.incremented(t, "daily")
	bobs.snapshotOf(t, "daily", "before")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '3 days' WHERE name LIKE '%.mins'`)
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `GRANT SELECT ON mins TO `+bob, `INSERT INTO readings VALUES (now(), 77, 5)`)
	pgtest.Exec(t, b, fmt.Sprintf(`CREATE OR REPLACE VIEW between_them AS SELECT minute AS ts, device, n::numeric AS n FROM %s.mins WHERE mvscheduler.in_window(minute)`, s.owner))
	s.incremented(t, "mins")
	bobs.incremented(t, "daily")
	require.Zero(t, bobs.lost(t, "before", "daily", "day < date_trunc('day', now(), 'UTC')"))
	require.Equal(t, int64(1), ask[int64](t, b, `SELECT count(*) FROM daily WHERE device = 77`))
}

// What has left stays frozen in a database that is restored from a dump, in another cluster, where everything is computed; and so does what is aside.
func TestADumpKeepsFrozenViewsWhatTheyAre(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	s.incremental(t, "daily", dailyOfHourly, "time_column", "day", "bucket_width", "1 day")
	to := pgtest.NewEmpty(t)
	sidecar := startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	s.snapshotOf(t, "hourly", "before")
	s.snapshotOf(t, "daily", "before_days")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, "3 days"))
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET retention_period = '2 days' WHERE name LIKE '%.hourly'`)
	require.Zero(t, sidecar.stop())
	dump := client(t, s.db, "", "pg_dump", "-d", s.db.URL())
	client(t, to, dump, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.URL(), "-f", "-")
	there := &scene{db: to, owner: s.owner, alice: to.Conn(t, s.owner), root: to.Conn(t, "")}
	pgtest.Exec(t, there.alice, `SET TimeZone = 'UTC'`)
	pgtest.Exec(t, there.root, `UPDATE mvscheduler.increment_state SET system_identifier = 1`) // another cluster
	startSidecar(t, to)
	there.incremented(t, "hourly", "daily")
	pgtest.Exec(t, there.root, everythingDirty)
	there.incremented(t, "hourly", "daily")
	require.Zero(t, there.lost(t, "before", "hourly", "hour > now() - interval '40 hours' AND hour < date_trunc('hour', now())"))
	require.Zero(t, there.lost(t, "before_days", "daily", "day < date_trunc('day', now(), 'UTC')"))
	pgtest.Exec(t, there.alice, `SELECT mvscheduler.restore_view('readings')`)
	there.incremented(t, "hourly", "daily")
	require.Zero(t, there.lost(t, "before_days", "daily", "day < date_trunc('day', now(), 'UTC')"))
	require.Equal(t, int64(11), there.leaves(t))
}

// What came while a view did not track changes it has taken before anything leaves that it tracks again.
func TestNothingLeavesThatCameWhileAViewDidNotTrack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET change_tracking = 'none', lateness = '1 hour'`)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, `INSERT INTO readings VALUES (now() - interval '5 days', 77, 1)`)
	s.incremented(t, "hourly")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, "2 days"), `UPDATE mvscheduler.views SET change_tracking = 'trigger'`)
	s.incremented(t, "hourly")
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept`)
	require.Equal(t, int64(1), ask[int64](t, s.alice, `SELECT count(*) FROM hourly WHERE device = 77`))
}

// A young view has not been told yet what has left, and a part of that comes back: it has nothing of the rest.
func TestAYoungViewForWhichAPartComesBackCanBeBuiltAnew(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, "5 days"))
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND state = 'succeeded'`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`)
	s.pruned(t)
	s.incremental(t, "hourly", hourlyReadings)
	s.incremented(t, "hourly")
	s.pruned(t)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.frozen_by SET below = '-infinity'`) // as BeginFill has noted it, before the next plan
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.restore_partitions(k.target, k.relation) FROM mvscheduler.visible_kept AS k ORDER BY k.bound DESC LIMIT 1`)
	s.incremented(t, "hourly")
	same(t, s.alice, "hourly")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = false`)
	require.Zero(t, mvscheduler(t, s.db, s.owner, "", "prune", s.owner+".readings", "--wait").code)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.frozen_by WHERE below > '-infinity'`)
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1`, strings.Replace(hourlyReadings, "AS total", "AS total, max(value) AS most", 1))
	require.NoError(t, err)
}
