package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A view is made incremental, and is filled still: what is noted for it belongs to nobody that is gone.
func TestWhatIsNotedForAViewThatIsMadeIncrementalIsNotForgotten(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 9)
	s.incremental(t, "other", hourlyReadings) // has made the triggers
	startSidecar(t, s.db)
	s.incremented(t, "other")
	pgtest.Exec(t, s.alice, fmt.Sprintf(leaveReadings, "5 days"))
	until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.kept`)
	s.pruned(t)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = true`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('hourly', 'SELECT date_trunc(''hour'', ts) AS hour, device, count(*) AS n FROM readings GROUP BY 1, 2')`)
	s.incremented(t, "hourly")
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `LOCK readings_m1 IN ACCESS EXCLUSIVE MODE`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET method = 'incremental', time_column = 'hour', bucket_width = '1 hour', max_attempts = 20,
		query = 'SELECT date_trunc(''hour'', ts) AS hour, device, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1, 2' WHERE name LIKE '%.hourly'`)
	const noted = `SELECT count(*) = 1 FROM mvscheduler.frozen_by AS b JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.hourly' AND b.before`
	until(t, s.root, noted)
	require.NoError(t, catalog.ForgetPrunings(t.Context(), s.root))
	require.True(t, ask[bool](t, s.root, noted))
	pgtest.Exec(t, holder, `COMMIT`)
	s.incremented(t, "hourly")
	same(t, s.alice, "hourly")
}
