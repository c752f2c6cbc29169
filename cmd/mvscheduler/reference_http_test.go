package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// paths says what each route answers. A route that is not here fails the test, and so does one that is gone.
var paths = [][2]string{
	{"/", "For people: how many views are how fresh, what has to be looked at, what failed."},
	{"/views", "Every view, 100 a page. `?state=` a freshness, an activity or `unhealthy`, `?schema=`, `?page=`."},
	{"/views/{name}", "One view: state, settings, next slots, staleness against its target, its last runs and their troubles. Not its query, which no sidecar reads."},
	{"/runs/{id}", "One run: what it did, its progress, attempts and errors. Loads itself anew until it has ended."},
	{"/graph", "Which view reads which, by depth. `?view=NAME`: what it reads and what reads it."},
	{"/timeline", "The runs of the last hours: outcomes, waits for locks, skips, pauses. `?hours=` 1 to 168 (6, or 1 while that has every run), `?view=NAME`."},
	{"/recommendations", "What the optimizer would change, why, when the view is read, and the statement. `?view=NAME`, `?past=1` also what was decided about."},
	{"/doctor", "What `mvscheduler doctor` finds with the sidecar's rights, with the fixes. What would read or lock relations of users is left out, and said."},
	{"/style.css", "The style of these pages."},
	{"/healthz", "200 `ok` while the process runs. Never asks for the token."},
	{"/readyz", "200 `ready` when the database answers and its schema fits the program, else 503 with the reason. Never asks for the token."},
	{"/metrics", "[Metrics](#metrics) as Prometheus reads them."},
	{"/api/v1/status", "All views in numbers: `views`, `freshness` and `activity` (how many of each), `unhealthy` (rows of `mvscheduler.status`), `as_of`."},
	{"/api/v1/views", "Every view: the rows of `mvscheduler.status`."},
	{"/api/v1/views/{name}", "One view: `status`, `settings`, `next` slots, its last 50 `runs` and their `attempts`."},
	{"/api/v1/runs", "The last 100 runs. `?view=NAME`, `?failed=true`, `?since=` an instant or an interval such as `1h`, `?limit=` up to 10000."},
	{"/api/v1/runs/{id}", "One run: `run` and its `attempts`."},
	{"/api/v1/graph", "`views`: name, state and what each `reads`."},
	{"/api/v1/timeline", "`from`, `to`, and of a page of `views` the `runs`, `attempts` and `pauses` in between. Parameters as of `/timeline`."},
	{"/api/v1/recommendations", "Rows of `mvscheduler.recommendations`. Parameters as of `/recommendations`."},
	{"/api/v1/doctor", "The findings of `/doctor`, as `mvscheduler doctor -o json` prints them."},
	{"/api/", "Anything else below it: 404."},
	{"/river/", "River's own pages about its jobs, read-only."},
}

var routes = []*regexp.Regexp{
	regexp.MustCompile(`\.Handle(?:Func)?\("GET (/[^"]*[^"/]|/[^"]*/)"(\+?)`),
	regexp.MustCompile(`\broute\("([^"]+)"`),
	regexp.MustCompile(`\.Handle\((riverPrefix)\+"/"`),
	regexp.MustCompile(`\bpage\("([^"]+)"`),
}

func (p *page) http(t *testing.T) {
	t.Helper()
	var found []string
	sources, err := filepath.Glob("../../internal/web/*.go")
	require.NoError(t, err)
	for _, source := range sources {
		text, err := os.ReadFile(source)
		require.NoError(t, err)
		for i, route := range routes {
			for _, m := range route.FindAllSubmatch(text, -1) {
				switch path := string(m[1]); {
				case i == 0 && string(m[2]) == "+": // the prefix of the next ones
				case i == 1:
					found = append(found, "/api/v1/"+path)
				case i == 2:
					found = append(found, "/river/")
				case path == "/{$}":
					found = append(found, "/")
				default:
					found = append(found, path)
				}
			}
		}
	}
	var rows [][]string
	var described []string
	for _, path := range paths {
		described = append(described, path[0])
		rows = append(rows, []string{code(path[0]), path[1]})
	}
	slices.Sort(found)
	require.ElementsMatch(t, found, described, "describe the routes of package web in reference_http_test.go")

	p.line("## HTTP")
	p.line("`serve --listen` (127.0.0.1:8787). GET and HEAD only: nothing can be changed here. With `--token-file` every path but two asks for `Authorization: Bearer TOKEN`, or for the token as password; without it only this machine is answered. `/api/v1` answers JSON; an error is `{\"error\": ..., \"sqlstate\": ...}` with 400, 404 or 503. API and pages show every view, whoever owns it, but no query. The pages run no script, ask the database a few at a time, show times in UTC, and with `?refresh=1` load themselves anew.")
	p.table([]string{"path", "answers"}, rows)
}
