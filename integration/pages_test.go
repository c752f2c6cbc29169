package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestTheAPIAnswersWhatTheCommandsPrint(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	s := startSidecar(t, db)
	refreshed(t, conn, "v")
	name := ask[string](t, conn, `SELECT name FROM mvscheduler.status`)
	get := func(path string, into any) int {
		t.Helper()
		code, body := s.get(path)
		require.NoError(t, json.Unmarshal([]byte(body), into), body)
		return code
	}
	var status struct {
		Views     int
		Freshness map[string]int
	}
	require.Equal(t, 200, get("/api/v1/status", &status))
	require.Equal(t, 1, status.Freshness["fresh"])
	_, index := s.get("/")
	require.Contains(t, index, "/api/v1/status</a>: how many views are fresh")
	require.Contains(t, index, "/api/v1/views</a>: how fresh every view is")
	require.Contains(t, index, "all 1 views are as they should be")
	var views []map[string]any
	require.Equal(t, 200, get("/api/v1/views", &views))
	require.Equal(t, name, views[0]["name"])
	var view struct {
		Status, Settings map[string]any
		Next             []map[string]any
		Runs             []struct{ ID int64 }
	}
	require.Equal(t, 200, get("/api/v1/views/"+url.PathEscape(name), &view))
	require.Equal(t, "fresh", view.Status["freshness"])
	require.NotEmpty(t, view.Runs)
	require.Len(t, view.Next, 5)
	require.Equal(t, "auto", view.Settings["method"])
	require.NotContains(t, view.Settings, "query")
	var graph struct{ Views []map[string]any }
	require.Equal(t, 200, get("/api/v1/graph", &graph))
	require.Equal(t, name, graph.Views[0]["name"])
	var timeline struct {
		Runs   []map[string]any
		Pauses []struct{ From time.Time }
	}
	require.Equal(t, 200, get("/api/v1/timeline?hours=1", &timeline))
	require.NotEmpty(t, timeline.Runs)
	require.Empty(t, timeline.Pauses, "nobody paused it")
	pgtest.Exec(t, conn, `SELECT mvscheduler.pause_view('v')`)
	require.Equal(t, 200, get("/api/v1/timeline?hours=1", &timeline))
	require.Len(t, timeline.Pauses, 1)
	require.Equal(t, ask[time.Time](t, conn, `SELECT paused_at FROM mvscheduler.views`).UTC(), timeline.Pauses[0].From.UTC())
	pgtest.Exec(t, conn, `SELECT mvscheduler.resume_view('v')`)
	var findings []map[string]any
	require.Equal(t, 200, get("/api/v1/doctor", &findings))
	var left []string
	for _, f := range findings {
		if what := fmt.Sprint(f["what"]); strings.HasPrefix(what, "a sidecar does not ") {
			left = append(left, what)
		}
	}
	require.Equal(t, []string{"a sidecar does not check query, scheduler, unmanaged, retention: it reads nobody's relations and waits for nobody's locks"}, left, "once")
	var run struct {
		Run      map[string]any
		Attempts []map[string]any
	}
	require.Equal(t, 200, get("/api/v1/runs/"+ask[string](t, conn, `SELECT max(id)::text FROM mvscheduler.runs`), &run))
	require.Equal(t, "succeeded", run.Run["state"])
	require.Len(t, run.Attempts, 1)
	var runs []map[string]any
	require.Equal(t, 200, get("/api/v1/runs?limit=1&view="+url.QueryEscape(name), &runs))
	require.Len(t, runs, 1)

	var problem struct{ Error string }
	for path, code := range map[string]int{
		"/api/v1/views/nix": 404, "/api/v1/runs/0": 404, "/api/v1/runs/x": 404, "/api/v1/nix": 404,
		"/api/v1/runs?limit=0": 400, "/api/v1/runs?since=soon": 400, "/api/v1/views/%22": 400, "/api/v1/runs?failed=x": 400, "/api/v1/timeline?hours=0": 400, "/api/v1/timeline?view=nix": 404,
	} {
		require.Equal(t, code, get(path, &problem), path)
		require.NotEmpty(t, problem.Error)
	}
	code, body := s.get("/river/")
	require.Equal(t, 200, code)
	require.Contains(t, body, "<html")
}

func TestNoLinkLeadsToAViewThatIsGone(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE TABLE zero AS SELECT 0 AS n`, `INSERT INTO mvscheduler.views (name, query, max_attempts) SELECT name, 'SELECT 1 / n AS a FROM zero', 1 FROM unnest('{gone,was}'::text[]) AS name`)
	s := startSidecar(t, db)
	until(t, conn, `SELECT count(DISTINCT view_id) = 2 FROM mvscheduler.runs WHERE state = 'failed'`)
	pgtest.Exec(t, conn, `SELECT mvscheduler.drop_view('gone')`, `UPDATE mvscheduler.views SET name = `+quote(alice+".renamed"))

	pages := map[string]string{}
	follow := func(path string) (body string) {
		code, body := s.get(path)
		require.Equal(t, 200, code, path)
		pages[path] = body
		return body
	}
	for _, link := range regexp.MustCompile(`href="(/(?:runs|views)/[^"]+)"`).FindAllStringSubmatch(follow("/"), -1) {
		for _, further := range regexp.MustCompile(`href="(/views/[^"]+)"`).FindAllStringSubmatch(follow(link[1]), -1) {
			follow(further[1])
		}
	}
	for name, link := range map[string]string{"gone": "", "was": "/views/" + alice + ".renamed"} {
		run := "/runs/" + ask[string](t, conn, `SELECT max(id)::text FROM mvscheduler.runs WHERE view_name = $1 AND state = 'failed'`, alice+"."+name)
		for _, page := range []string{"/", run} {
			require.Contains(t, pages[page], alice+"."+name, "it is named all the same")
			require.NotContains(t, pages[page], "/views/"+alice+"."+name)
			require.Contains(t, pages[page], link)
			require.Equal(t, page == "/" || link == "", strings.Contains(pages[page], "dropped since"), page)
		}
	}
}

func TestWhatUsersWriteIsShownAsTextEverywhere(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	const evil = "<script>alert(1)</script>\"\n{x=\"1\"} \x1b[31mred\x1b[0m"
	pgtest.Exec(t, conn, `CREATE FUNCTION shout() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION E'<b>\x1b[2J\x1b]0;title\x07 gone'; END $$`)
	_, err := conn.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, max_attempts) VALUES (quote_ident($1), $2, 1)`, evil, "SELECT "+alice+".shout() AS a")
	require.NoError(t, err)
	s := startSidecar(t, db)
	until(t, conn, `SELECT consecutive_failures > 0 FROM mvscheduler.status`)

	for _, path := range []string{"/metrics", "/api/v1/views", "/api/v1/runs", "/api/v1/status", "/api/v1/graph", "/api/v1/timeline", "/api/v1/recommendations", "/api/v1/doctor"} {
		_, body := s.get(path)
		require.False(t, strings.ContainsAny(body, "\x1b\x07"), path)
		require.False(t, path != "/metrics" && strings.Contains(body, "<"), path)
	}
	_, metrics := s.get("/metrics")
	require.True(t, strings.Contains(metrics, `</script>\"\"\n{x=\"`), "a label stays one label")
	for _, args := range [][]string{{"status"}, {"runs"}, {"list"}, {"status", "-o", "json"}} {
		r := mvscheduler(t, db, alice, "", args...)
		require.Zero(t, r.code)
		require.NotContains(t, r.stdout, "\x1b", args)
	}
	require.NotContains(t, s.log.String(), "\x1b")
	require.Contains(t, ask[string](t, conn, `SELECT last_error FROM mvscheduler.status`), "<b>[2J]0;title gone", "control characters are gone, the text stays")
}

func TestWithATokenAnyAddressIsServedAndWithoutItNobodyIs(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("0123456789abcdefghijklmn\n"), 0o600))
	s := startSidecar(t, db, "--listen", "0.0.0.0:0", "--token-file", file)
	code, _ := s.get("/readyz")
	require.Equal(t, 200, code)
	code, _ = s.get("/api/v1/views")
	require.Equal(t, 401, code)
}
