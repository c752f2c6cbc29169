package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What was decided more than thirteen months ago is forgotten, but for what is in force.
func TestWhatWasDecidedLongAgoIsForgottenAndWhatIsInForceIsNot(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false, "refresh_interval", "1 hour", "optimize", "auto")
	for _, was := range []string{"expired 500", "rejected 500", "undone 500", "accepted 500", "applied 600", "applied 500", "rejected 300", "undone 300", "accepted 300"} {
		s.recommended(t)
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation AS r SET reason = $$`+was+`$$, state = split_part($$`+was+`$$, ' ', 1), decided_at = now() - split_part($$`+was+`$$, ' ', 2)::int * interval '1 day' WHERE state = 'proposed'`)
	}
	s.recommendedAs(t, "interval", "tuned 500")
	s.recommendedAs(t, "interval", "applied 400")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET tuned_interval = '2 hours', tuned_by = (SELECT id FROM mvscheduler.recommendation WHERE reason = 'tuned 500')`)
	startSidecar(t, s.db, often...)
	until(t, s.root, `SELECT count(*) <= 6 FROM mvscheduler.recommendation`)
	require.Equal(t, "accepted 300, applied 400, applied 500, rejected 300, tuned 500, undone 300", ask[string](t, s.root, `SELECT string_agg(reason, ', ' ORDER BY reason) FROM mvscheduler.recommendation`))
}

// recommendedAs gives view v a recommendation of a kind that was applied before some days.
func (s *scene) recommendedAs(t testing.TB, kind, was string) {
	t.Helper()
	s.recommended(t)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation AS r SET kind = '`+kind+`', reason = $$`+was+`$$, state = 'applied', decided_at = now() - split_part($$`+was+`$$, ' ', 2)::int * interval '1 day' WHERE state = 'proposed' AND reason = 'why'`)
}
