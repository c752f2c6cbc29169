// Package web is what the sidecar shows over HTTP: health, readiness and metrics.
//
//	/healthz   200 while the process runs
//	/readyz    200 when the database answers and its schema fits this program; 503 with the reason otherwise
//	/metrics   Prometheus: what this process did, and how fresh the views of the database are
//
// Nothing here changes anything. Names of views are the users': they reach a client only as label values
// and plain text, escaped by the libraries that write them.
package web
