package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What is aside is attached to an archive, a table with a row of source_retention of its own, which puts it aside in its turn. With that it is
// not back where it came from.
func TestWhatIsAsideAndLeavesAnArchiveIsNotBack(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "hourly", hourlyReadings)
	startSidecar(t, s.db)
	s.incremented(t, "hourly")
	s.snapshotOf(t, "hourly", "before")
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '84 hours')`)
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept WHERE detached_at IS NOT NULL`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE archive (LIKE readings) PARTITION BY RANGE (ts)`,
		`DO $$ DECLARE k record; BEGIN FOR k IN SELECT * FROM mvscheduler.visible_kept LOOP EXECUTE format('ALTER TABLE archive ATTACH PARTITION %s %s', k.relation, k.bound); END LOOP; END $$`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('archive', '84 hours')`)
	until(t, s.root, `SELECT count(*) > 4 FROM mvscheduler.kept WHERE target = -2 AND detached_at IS NOT NULL`)
	s.pruned(t)
	require.NoError(t, catalog.ForgetPrunings(t.Context(), s.root))
	pgtest.Exec(t, s.root, everythingDirty)
	s.incremented(t, "hourly")
	require.Zero(t, s.lost(t, "before", "hourly", "hour < date_trunc('day', now(), 'UTC')"))
	require.NotEqual(t, "-infinity", ask[string](t, s.root, `SELECT labels::text FROM mvscheduler.frozen WHERE target = -1`))
}
