// Package web is what the sidecar shows over HTTP.
//
//	/ ...      pages for people: overview, views, a view, a run, graph, timeline, doctor
//	/healthz   200 while the process runs
//	/readyz    200 when the database answers and its schema fits this program; 503 with the reason otherwise
//	/metrics   Prometheus: what this process did, and how fresh the views of the database are
//	/api/v1/   status, views, views/{name}, runs, runs/{id}, graph, timeline, doctor as JSON
//	/river/    River's own pages about its jobs
//
// A page is an answer of the database as a value, which is also its JSON; a pure function that makes of it what the
// template shows; and the template. Pictures are laid out by package draw and written as SVG by the templates.
//
// # Access
//
// Nothing here changes anything: methods other than GET and HEAD are refused before any page is asked.
// Without a token only loopback addresses are listened on, and only requests for this machine by its own
// name are answered.
//
// Names, queries and errors are the users': they reach a client only as label values, plain text and
// JSON, escaped by the libraries that write them, under a policy that runs no script in them.
package web
