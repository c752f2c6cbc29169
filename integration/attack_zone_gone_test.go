package integration

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Zones come and go with tzdata, on the server and in the program, each on its own.
func TestAZoneThatNobodyKnowsAnyMoreStopsItsViewAlone(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval) SELECT concat('gone', nullif(i, 0)), 'SELECT id, amount FROM sales', '1 minute' FROM generate_series(0, 20) AS i`)
	s.manage(t, "croned", "SELECT id, amount FROM sales", "refresh_interval", nil, "cron", "* * * * *")
	s.manage(t, "fine", "SELECT id, amount FROM sales", "refresh_interval", "1 minute")
	s.incremental(t, "hourly", hourlyReadings, "retention_period", "1 day")
	first := startSidecar(t, s.db, often...)
	refreshed(t, s.alice, "gone", "fine", "croned")
	s.incremented(t, "hourly")
	require.Zero(t, first.stop())
	pgtest.Exec(t, s.root, `ALTER TABLE mvscheduler.views DISABLE TRIGGER USER`, `UPDATE mvscheduler.views SET timezone = 'Mars/Base' WHERE name !~ 'fine'`, `ALTER TABLE mvscheduler.views ENABLE TRIGGER USER`,
		`UPDATE mvscheduler.view_state SET timezone = 'Mars/Base' WHERE name !~ 'fine'`, `UPDATE mvscheduler.view_state SET next_due = now() - CASE WHEN name LIKE '%.fine' THEN interval '1 minute' ELSE '1 hour' END`)
	before := ask[string](t, s.root, `SELECT clock_timestamp()::text`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET next_due = clock_timestamp() WHERE name LIKE '%.fine'`)
	s.history(t, "gone", 160, "true")
	s.history(t, "fine", 160, "true")
	side := startSidecar(t, s.db, often...)
	until(t, s.root, `SELECT count(*) FILTER (WHERE cause <> 'manual' AND queued_at > $1::timestamptz) > 0 FROM mvscheduler.run WHERE view_name LIKE '%.fine' AND state IN ('succeeded', 'skipped')`, before)
	until(t, s.alice, `SELECT activity = 'paused' AND reason LIKE 'paused by mvscheduler: its clock cannot be read: %unknown time zone Mars/Base%' FROM mvscheduler.status WHERE name LIKE '%.gone'`)
	s.planned(t)
	for _, path := range []string{"/", "/views", "/views/" + url.PathEscape(s.owner+".gone"), "/views/" + url.PathEscape(s.owner+".croned"), "/recommendations", "/timeline", "/doctor", "/metrics", "/graph", "/api/v1/views", "/api/v1/views/" + url.PathEscape(s.owner+".gone"), "/api/v1/recommendations", "/api/v1/timeline", "/api/v1/doctor"} {
		code, body := side.get(path)
		require.Equal(t, 200, code, "%s: %.300s", path, body)
	}
	for _, args := range [][]string{{"recommend", "list", "--all"}, {"recommend", "report"}, {"status"}, {"list"}, {"show", s.owner + ".gone"}, {"show", s.owner + ".fine"}, {"next", s.owner + ".fine"}, {"runs"}, {"graph"}, {"export"}} {
		out := mvscheduler(t, s.db, s.owner, "", args...)
		require.Zero(t, out.code, "%s: %.500s", args, out.stderr)
	}
	require.Equal(t, 1, mvscheduler(t, s.db, s.owner, "", "next", s.owner+".gone").code)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "doctor").stdout, "unknown time zone Mars/Base")
	// What was wrong can be mended, and everything else be changed meanwhile.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('gone', 'why', now() + interval '1 day')`, `SELECT mvscheduler.resume_view('gone')`, `UPDATE mvscheduler.views SET refresh_interval = '2 minutes' WHERE name LIKE '%.gone'`, `UPDATE mvscheduler.views SET timezone = 'UTC' WHERE name LIKE '%.gone'`)
	refreshed(t, s.alice, "gone")
}
