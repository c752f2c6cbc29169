package integration

import (
	"testing"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// An administrator takes from everybody what he thinks is too much: the sidecar and those who may have views need it all the same.
func TestNothingStopsWhereTheSchemaIsNotOpenToEverybody(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	s.manage(t, "plain", `SELECT device, count(*) AS n FROM metrics GROUP BY 1`, "refresh_on", "manual")
	startSidecar(t, s.db)
	s.incremented(t, "v", "plain")
	pgtest.Exec(t, s.root, `REVOKE USAGE ON SCHEMA mvscheduler FROM PUBLIC`)
	pgtest.Exec(t, s.root, `INSERT INTO `+s.owner+`.metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	s.incremented(t, "v", "plain")
	same(t, s.alice, "v")
}
