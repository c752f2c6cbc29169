package integration

import (
	"strings"
	"testing"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// ALTER DATABASE ... SET is what the sessions of the sidecar begin with. A step fails by these, with an error that nobody understands,
// or nothing is refreshed at all.
func TestDefaultsOfADatabaseStopNothing(t *testing.T) {
	heavy(t)
	t.Parallel()
	for _, setting := range []string{`standard_conforming_strings = off`, `quote_all_identifiers = on`, `row_security = off`} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			s := newMetrics(t)
			s.incremental(t, "v", hourly)
			s.manage(t, "f", `SELECT device, count(*) AS n FROM metrics GROUP BY 1`, "refresh_interval", "1 day")
			pgtest.Exec(t, s.root, `DO $q$ BEGIN EXECUTE format('ALTER DATABASE %I SET `+strings.ReplaceAll(setting, "'", "''")+`', current_database()); END $q$`)
			s.alice = s.db.Conn(t, s.owner)                  // a session that begins with them
			pgtest.Exec(t, s.alice, `SET row_security = on`) // PostgreSQL refuses the INSERT itself
			s.incremental(t, "w", `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`)
			s.manage(t, "g", `SELECT hour::date AS day, sum(n) AS n FROM w GROUP BY 1`, "refresh_on", "upstream")
			startSidecar(t, s.db)
			s.incremented(t, "v", "f", "w", "g")
			pgtest.Exec(t, s.alice, `UPDATE metrics SET value = value + 1 WHERE device = 2`, `DELETE FROM metrics WHERE ts > '2026-03-04 10:00+00'`)
			s.incremented(t, "v", "f")
			same(t, s.alice, "v")
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'device, count(*)', 'device, min(value) AS least, count(*)') WHERE name LIKE '%.v'`)
			until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)`)
			s.incremented(t, "v")
			same(t, s.alice, "v")
		})
	}
}

// A name that is too long for any view is a fault of the request, and no trouble of the server (503).
func TestNamesThatAreTooLongAreNoTroubleOfTheServer(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	side := startSidecar(t, s.db)
	s.incremented(t, "v")
	for _, path := range []string{"/views/" + strings.Repeat("a", 9000), "/api/v1/views/" + strings.Repeat("a", 9000)} {
		code, body := side.get(path)
		if code >= 500 {
			t.Errorf("%.30s...: %d %s", path, code, body[:min(60, len(body))])
		}
	}
}
