package integration

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Zones come and go with tzdata, on the server and in the program, each on its own.
func TestAZoneThatNobodyKnowsAnyMoreStopsItsViewAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.manage(t, "gone", "SELECT id, amount FROM sales", "refresh_interval", "1 minute")
	s.manage(t, "croned", "SELECT id, amount FROM sales", "refresh_interval", nil, "cron", "* * * * *")
	s.incremental(t, "hourly", hourlyReadings, "retention_period", "1 day")
	s.manage(t, "fine", "SELECT id, amount FROM sales", "refresh_interval", "1 minute")
	first := startSidecar(t, s.db, often...)
	refreshed(t, s.alice, "gone", "fine", "croned")
	s.incremented(t, "hourly")
	require.Zero(t, first.stop())
	pgtest.Exec(t, s.root, `ALTER TABLE mvscheduler.views DISABLE TRIGGER USER`, `UPDATE mvscheduler.views SET timezone = 'Mars/Base' WHERE name !~ 'fine'`, `ALTER TABLE mvscheduler.views ENABLE TRIGGER USER`,
		`UPDATE mvscheduler.view_state SET timezone = 'Mars/Base' WHERE name !~ 'fine'`, `UPDATE mvscheduler.view_state SET next_due = now()`)
	s.history(t, "gone", 160, "true")
	s.history(t, "fine", 160, "true")
	side := startSidecar(t, s.db, often...)
	until(t, s.root, `SELECT count(*) > 1 FROM mvscheduler.run WHERE view_name LIKE '%.fine' AND state = 'succeeded'`)
	refreshed(t, s.alice, "fine")
	s.planned(t)
	for _, path := range []string{"/", "/views", "/views/" + url.PathEscape(s.owner+".gone"), "/views/" + url.PathEscape(s.owner+".croned"), "/recommendations", "/timeline", "/doctor", "/metrics", "/graph", "/api/v1/views", "/api/v1/views/" + url.PathEscape(s.owner+".gone"), "/api/v1/recommendations", "/api/v1/timeline", "/api/v1/doctor"} {
		code, body := side.get(path)
		require.Equal(t, 200, code, "%s: %.300s", path, body)
	}
	for _, args := range [][]string{{"recommend", "list", "--all"}, {"recommend", "report"}, {"status"}, {"list"}, {"show", s.owner + ".gone"}, {"show", s.owner + ".fine"}, {"next", s.owner + ".fine"}, {"runs"}, {"graph"}, {"export"}} {
		out := mvscheduler(t, s.db, s.owner, "", args...)
		require.Zero(t, out.code, "%s: %.500s", args, out.stderr)
	}
	for _, args := range [][]string{{"next", s.owner + ".gone"}, {"next", s.owner + ".croned"}, {"simulate", "--view", s.owner + ".gone"}, {"doctor"}, {"prune", s.owner + ".hourly", "--dry-run"}} {
		out := mvscheduler(t, s.db, s.owner, "", args...)
		t.Logf("%s: %d %.600s %.400s", args, out.code, out.stdout, out.stderr)
	}
	t.Log(ask[string](t, s.alice, `SELECT string_agg(concat_ws(' ', name, freshness, activity, reason, last_error), E'\n' ORDER BY name) FROM mvscheduler.status`))
	// An unrelated change of a view whose zone is gone.
	for _, sql := range []string{`SELECT mvscheduler.pause_view('gone', 'why', now() + interval '1 day')`, `SELECT mvscheduler.resume_view('gone')`, `UPDATE mvscheduler.views SET refresh_interval = '2 minutes' WHERE name LIKE '%.gone'`, `UPDATE mvscheduler.views SET timezone = 'UTC' WHERE name LIKE '%.gone'`} {
		t.Log(sql, " => ", execError(t, s.alice, sql))
	}
	refreshed(t, s.alice, "gone")
	t.Log(side.log.String()[max(0, len(side.log.String())-3000):])
}
