package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A day can lie between a recommendation and the next look at it.
func TestAShorterRetentionThatCannotBeHadAgainOrIsOutOfBoundsByNowIsNotAccepted(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := keeping(t)
	proposed := func() string {
		t.Helper()
		s.readForYears(t, "v", 1, 2, 4, 7, 8, 10)
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_usage SET shrink_since = now() - interval '60 days'`, `DELETE FROM mvscheduler.recommendation`)
		return s.retention(t, "v")
	}
	const keep40, accept = "50 days are kept -> keep 40 days proposed", `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'retention'`
	refused := func(why string) {
		t.Helper()
		requireSQLState(t, s.alice, "55000", accept)
		require.Contains(t, errorText(execError(t, s.alice, accept)), why)
		require.Equal(t, "50 days", ask[string](t, s.alice, `SELECT retention_period::text FROM mvscheduler.views`))
	}
	require.Equal(t, keep40, proposed())
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET min_retention = '45 days'`)
	refused("it is shorter than min_retention by now")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET min_retention = NULL, max_retention = '39 days'`)
	refused("it is longer than max_retention by now")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET max_retention = NULL`)

	require.Equal(t, keep40, proposed())
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '45 days')`)
	refused("the tables below can give again what is younger than")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET min_retention = '35 days'`, accept)
	require.Equal(t, "40 days", ask[string](t, s.alice, `SELECT retention_period::text FROM mvscheduler.views`), "the owner lets it")
}
