package integration

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// recommended gives view v a recommendation of an index, which is there to be decided about.
func (s *scene) recommended(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `
INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, basis, change, evidence)
SELECT view_id, name, 'index', 'none', 'one', 'why', 'do', '{}', '{"add_index": "[\"amount\"]"}', '{}' FROM mvscheduler.view_state`)
}

// An index that is tried is told by whoever accepts it, in words of his own if he likes.
func TestWhatAUserSaysThatHeTriedStopsNobody(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	s.recommended(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.recommendation_decision (recommendation_id, view_id, action, tried) SELECT id, view_id, 'accept', '{"final": "perhaps", "helped": "perhaps"}' FROM mvscheduler.recommendations`)
	side := startSidecar(t, s.db, often...)
	s.planned(t)
	code, body := side.get("/api/v1/recommendations")
	require.Equal(t, 200, code, body)
	out := mvscheduler(t, s.db, s.owner, "", "recommend", "list", "--all")
	require.Zero(t, out.code, out.stderr)
}

func TestATimeInTheYear20000IsShownAndEndsNoSidecar(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", "SELECT id, amount FROM sales", "enabled", false)
	s.recommended(t)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.snooze_recommendation(id, '20000-01-01') FROM mvscheduler.recommendations`)
	side := startSidecar(t, s.db)
	for _, pause := range [][2]string{{"now", "20000-01-01"}, {"-infinity", "infinity"}, {"20000-01-01", "20001-01-01"}, {"infinity", "infinity"}, {"4000-01-01 BC", "3000-01-01 BC"}} {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET paused_at = '`+pause[0]+`', paused_until = '`+pause[1]+`'`)
		for _, path := range []string{"/", "/views", "/views/" + url.PathEscape(s.owner+".v"), "/recommendations", "/timeline", "/api/v1/views", "/api/v1/views/" + url.PathEscape(s.owner+".v"), "/api/v1/recommendations", "/api/v1/timeline"} {
			code, body := side.get(path)
			require.Equal(t, 200, code, "%s, paused %s: %.300s", path, pause, body)
		}
		for _, args := range [][]string{{"recommend", "list", "--all"}, {"recommend", "show", "1"}, {"status"}, {"show", s.owner + ".v"}, {"next", s.owner + ".v"}} {
			for _, format := range []string{"table", "json"} {
				out := mvscheduler(t, s.db, s.owner, "", append(args, "-o", format)...)
				require.Zero(t, out.code, "%s -o %s, paused %s: %.500s", args, format, pause, out.stderr)
			}
		}
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET paused_at = NULL, paused_until = NULL`)
		code, body := side.get("/timeline")
		require.Equal(t, 200, code, "%.300s", body)
	}
}
