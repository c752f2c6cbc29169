package web

import (
	"io"
	"net/http"
	"strings"
)

// index links to what there is. It has no style of its own, since the policy of the headers allows none: the
// browser's is light or dark as the person likes it.
func (s *Server) index() http.HandlerFunc {
	const head = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>mvscheduler</title>
<h1>mvscheduler</h1>
<p>A sidecar that keeps materialized views fresh. These pages only show; to look at the views as a person, run
<code>mvscheduler status</code>, or in SQL <code>SELECT * FROM mvscheduler.status</code>.</p>
<ul>
`
	var links strings.Builder
	link := func(path, what string) {
		links.WriteString(`<li><a href="` + path + `">` + path + "</a>: " + what + "</li>\n")
	}
	if s.DB != nil {
		link("/api/v1/status", "how many views are fresh, late and stale, and those that a person has to look at, as JSON")
		link("/api/v1/views", "how fresh every view is and what is wrong with it; one of them, with its runs, by /api/v1/views/NAME")
		link("/api/v1/runs", "the last runs; one of them by /api/v1/runs/ID")
	}
	if s.River != nil {
		link(riverPrefix+"/", "River's own pages: the jobs that carry the runs")
	}
	link("/metrics", "for Prometheus")
	link("/readyz", "whether this sidecar is ready")
	link("/healthz", "whether this process lives")
	page := head + links.String() + "</ul>\n"
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	}
}
