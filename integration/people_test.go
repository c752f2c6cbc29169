package integration

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// peoplesPages are the paths of the pages for people, with a view and a run to show.
func peoplesPages(view, run string) []string {
	return []string{"/", "/views", "/views/" + url.PathEscape(view), "/runs/" + run, "/graph", "/graph?view=" + url.QueryEscape(view),
		"/timeline", "/timeline?hours=24&view=" + url.QueryEscape(view), "/doctor", "/views?state=stale", "/views?page=9"}
}

var (
	tags     = regexp.MustCompile(`<(/?)([a-zA-Z][a-zA-Z0-9]*)`)
	links    = regexp.MustCompile(`href="([^"]*)"`)
	handlers = regexp.MustCompile(`(?i)<[^>]*\s(on[a-z]+|style|src|srcset|action|formaction)=`)
)

func TestWhatUsersWriteIsTextOnEveryPageForPeople(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const hostile = "<script>alert(1)</script>\"\n' onload=x {{.}}\u202e\x1b[31m"
	pgtest.Exec(t, s.alice, `CREATE FUNCTION shout() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION E'<img src=x onerror=alert(1)>\x1b[2J\x1b]0;title\x07 "gone"\n</pre>'; END $$`)
	_, err := s.alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query, max_attempts) VALUES (quote_ident($1), 'SELECT shout() AS a', 1)`, hostile)
	require.NoError(t, err)
	name := ask[string](t, s.alice, `SELECT name FROM mvscheduler.status`)
	_, err = s.alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query) VALUES ('reader', 'SELECT a FROM ' || $1::text)`, name)
	require.NoError(t, err)
	_, err = s.alice.Exec(t.Context(), `SELECT mvscheduler.pause_view('reader', $1)`, hostile)
	require.NoError(t, err)
	sidecar := startSidecar(t, s.db)
	until(t, s.alice, `SELECT count(*) > 0 FROM mvscheduler.runs WHERE state = 'failed'`)
	run := ask[string](t, s.alice, `SELECT max(id)::text FROM mvscheduler.runs WHERE state = 'failed'`)

	for _, path := range append(peoplesPages(name, run), "/views/"+url.PathEscape(ask[string](t, s.alice, `SELECT max(name) FROM mvscheduler.status WHERE name LIKE '%reader'`))) {
		code, body := sidecar.get(path)
		require.Equal(t, 200, code, path)
		require.False(t, strings.ContainsAny(body, "\x1b\x07\u202e"), path)
		require.NotRegexp(t, handlers, body, path)
		for _, tag := range tags.FindAllStringSubmatch(body, -1) {
			require.NotContains(t, []string{"script", "img", "iframe", "object", "form", "style"}, strings.ToLower(tag[2]), path)
		}
		for _, link := range links.FindAllStringSubmatch(body, -1) {
			require.True(t, strings.HasPrefix(link[1], "/"), "%s links to %s", path, link[1])
		}
	}
	_, body := sidecar.get("/runs/" + run)
	require.Contains(t, body, "&lt;img src=x onerror=alert(1)&gt;")
	_, list := sidecar.get("/views")
	followed := false
	for _, link := range links.FindAllStringSubmatch(list, -1) {
		if strings.HasPrefix(link[1], "/views/") && strings.Contains(link[1], "script") {
			code, body := sidecar.get(strings.ReplaceAll(link[1], "&amp;", "&"))
			require.Equal(t, 200, code)
			require.Contains(t, body, "Tries that had trouble")
			followed = true
		}
	}
	require.True(t, followed, "the link of a hostile name leads to its page")
}

func TestPagesSayWhatToDoWithoutAViewAndWhatIsNotThere(t *testing.T) {
	t.Parallel()
	sidecar := startSidecar(t, pgtest.New(t))
	for _, path := range []string{"/", "/views", "/graph", "/timeline", "/doctor"} {
		code, body := sidecar.get(path)
		require.Equal(t, 200, code, path)
		require.True(t, path == "/doctor" || strings.Contains(body, "There is no managed view yet"), path)
	}
	for path, code := range map[string]int{"/views/nix": 404, "/runs/0": 404, "/runs/x": 404, "/graph?view=nix": 404, "/timeline?hours=x": 400, "/nix": 404, "/style.css": 200} {
		got, _ := sidecar.get(path)
		require.Equal(t, code, got, path)
	}
}

func TestManyViewsAreShownPageByPage(t *testing.T) {
	t.Parallel()
	heavy(t)
	s := newScene(t)
	pages := 3 // of 100 views
	if long {
		pages = 10
	}
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on) VALUES ('v0', 'SELECT 1 AS a', NULL, 'manual')`,
		fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query, refresh_interval, refresh_on) SELECT 'v' || i, CASE WHEN i <= 200 THEN 'SELECT a FROM v' || i / 2 ELSE 'SELECT 1 AS a' END, NULL, 'manual' FROM generate_series(1, %d) AS i`, 100*pages-1))
	sidecar := startSidecar(t, s.db)
	seen := map[string]bool{}
	for n := 1; n <= pages; n++ {
		_, body := sidecar.get(fmt.Sprintf("/views?page=%d", n))
		require.Contains(t, body, fmt.Sprintf("page %d of %d", n, pages))
		for _, link := range links.FindAllStringSubmatch(body, -1) {
			if strings.HasPrefix(link[1], "/views/") {
				seen[link[1]] = true
			}
		}
	}
	require.Len(t, seen, 100*pages)
	for _, path := range []string{"/", "/graph", "/timeline", "/doctor"} {
		code, body := sidecar.get(path)
		require.Equal(t, 200, code, path)
		require.Less(t, len(body), 1<<20, path)
	}
}

func TestPagesAnswer503AsAPageWhenTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	db := pgtest.Dedicated(t, nil)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	sidecar := startSidecar(t, db)
	refreshed(t, conn, "v")
	require.NoError(t, db.Server(t).Stop(pgserver.Fast))
	for _, path := range peoplesPages(alice+".v", "1") {
		code, body := sidecar.get(path)
		require.Equal(t, 503, code, path)
		require.Contains(t, body, "the database did not answer", path)
		require.Contains(t, body, `<nav aria-label="Pages">`, path)
	}
	code, _ := sidecar.get("/healthz")
	require.Equal(t, 200, code)
	require.NoError(t, db.Server(t).Restart(t.Context(), pgserver.Fast)) // roles are dropped at the end
}
