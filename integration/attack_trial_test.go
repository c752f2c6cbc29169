package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What was paused was not refreshed, and runs that are forgotten are not known of: neither is the fault of the new clock.
func TestAChangeIsNotTakenBackForWhatWasPausedOrForgotten(t *testing.T) {
	heavy(t)
	t.Parallel()
	for name, change := range map[string][]string{
		"it was paused":   {`UPDATE mvscheduler.view_state SET resumed_at = now() - interval '2 days' WHERE name LIKE '%.hot'`},
		"it is paused":    {`UPDATE mvscheduler.view_state SET paused_at = now() - interval '6 days' WHERE name LIKE '%.hot'`},
		"all was paused":  {`ALTER TABLE mvscheduler.settings DISABLE TRIGGER USER`, `UPDATE mvscheduler.settings SET resumed_at = now() - interval '2 days'`},
		"all is paused":   {`ALTER TABLE mvscheduler.settings DISABLE TRIGGER USER`, `UPDATE mvscheduler.settings SET paused_from = now() - interval '6 days'`},
		"it is forgotten": {`ALTER TABLE mvscheduler.settings DISABLE TRIGGER USER`, `UPDATE mvscheduler.settings SET keep_runs = '2 days'`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			startSidecar(t, s.db, often...)
			s.fleet(t, "optimize")
			pgtest.Exec(t, s.root, change...) // first: a plan of the sidecar's own may come at any time
			s.tunedFor(t, "hot", "15 minutes", "2 hours", 8)
			pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.run WHERE view_name LIKE '%.hot' AND started_at BETWEEN now() - interval '6 days' AND now() - interval '2 days'`)
			s.planned(t)
			require.Equal(t, "applied", ask[string](t, s.root, `SELECT state FROM mvscheduler.recommendation WHERE reason = 'because'`), name)
		})
	}
}

// A view that is paused now and then is not observed for ever.
func TestAChangeIsUnderObservationForFourWeeksAtMost(t *testing.T) {
	t.Parallel()
	for days, final := range map[string]string{"27 days": "false", "29 days": "true"} {
		t.Run(days, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			startSidecar(t, s.db, often...)
			s.fleet(t, "optimize")
			pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET resumed_at = now() - interval '2 days' WHERE name LIKE '%.hot'`)
			s.tunedFor(t, "hot", "15 minutes", "2 hours", 8)
			pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET decided_at = now() - interval '`+days+`', measured = NULL WHERE reason = 'because'`)
			s.planned(t)
			require.Equal(t, "applied "+final, ask[string](t, s.root, `SELECT state || ' ' || (measured ->> 'final') FROM mvscheduler.recommendation WHERE reason = 'because'`))
		})
	}
}
