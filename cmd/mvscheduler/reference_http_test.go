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
	{"/", "A page that links to these paths."},
	{"/healthz", "200 `ok` while the process runs. Never asks for the token."},
	{"/readyz", "200 `ready` when the database answers and its schema fits the program, else 503 with the reason. Never asks for the token."},
	{"/metrics", "[Metrics](#metrics) as Prometheus reads them."},
	{"/api/v1/status", "All views in numbers: `views`, `freshness` and `activity` (how many of each), `unhealthy` (rows of `mvscheduler.status`), `as_of`."},
	{"/api/v1/views", "Every view: the rows of `mvscheduler.status`."},
	{"/api/v1/views/{name}", "One view: `status`, its last 20 `runs` and their `attempts`."},
	{"/api/v1/runs", "The last 100 runs. `?view=NAME`, `?failed=true`, `?since=` an instant or an interval such as `1h`, `?limit=` up to 10000."},
	{"/api/v1/runs/{id}", "One run: `run` and its `attempts`."},
	{"/api/", "Anything else below it: 404."},
	{"/river/", "River's own pages about its jobs, read-only."},
}

var routes = []*regexp.Regexp{
	regexp.MustCompile(`\.Handle(?:Func)?\("GET (/[^"]*[^"/]|/[^"]*/)"(\+?)`),
	regexp.MustCompile(`\broute\("([^"]+)"`),
	regexp.MustCompile(`\.Handle\((riverPrefix)\+"/"`),
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
	p.line("`serve --listen` (127.0.0.1:8787). GET and HEAD only: nothing can be changed here. With `--token-file` every path but two asks for `Authorization: Bearer TOKEN`, or for the token as password; without it only this machine is answered. `/api/v1` answers JSON; an error is `{\"error\": ..., \"sqlstate\": ...}` with 400, 404 or 503. The API shows every view, whoever owns it, but no query.")
	p.table([]string{"path", "answers"}, rows)
}
