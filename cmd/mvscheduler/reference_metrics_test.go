package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/internal/web"
	"github.com/mvscheduler/mvscheduler/jobs"
)

// observed registers metrics and makes those with labels appear, as the first refresh would.
type observed struct{ *prometheus.Registry }

func (r observed) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		switch v := c.(type) {
		case *prometheus.CounterVec:
			v.WithLabelValues("succeeded")
		case *prometheus.HistogramVec:
			v.WithLabelValues("succeeded")
		}
	}
	r.Registry.MustRegister(all...)
}

// metrics writes what /metrics shows of a sidecar with a view that was refreshed.
func (p *page) metrics(t *testing.T, db *pgtest.DB) {
	t.Helper()
	pgtest.Exec(t, db.Conn(t, db.User(t, "alice")), `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	db.Exec(t, `INSERT INTO mvscheduler.view_health (view_id, data_as_of) SELECT id, now() FROM mvscheduler.views
	            ON CONFLICT (view_id) DO UPDATE SET data_as_of = now()`)
	registry := prometheus.NewRegistry()
	registry.MustRegister(buildInfo(), web.Collector{DB: db.Pool(t, ""), Logger: slog.New(slog.DiscardHandler)})
	jobs.NewMetrics(observed{registry})
	families, err := registry.Gather()
	require.NoError(t, err)

	p.line("## Metrics")
	p.line("`/metrics` of each sidecar. What is counted (`_total`, histograms) is this process's own work; the gauges but `mvscheduler_build_info` show the whole deployment, the same on every replica. The Go runtime's `go_*` and `process_*` are there as well. Alert rules and a dashboard: [operations.md](operations.md#prometheus-and-grafana).")
	var rows [][]string
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, code(l.GetName()))
		}
		rows = append(rows, []string{code(f.GetName()), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), prose(f.GetHelp())})
	}
	for _, name := range []string{"mvscheduler_view_lag_seconds", "mvscheduler_view_target_seconds", "mvscheduler_refresh_duration_seconds"} {
		require.True(t, slices.Contains(names, name), "%s was not gathered", name)
	}
	p.table([]string{"metric", "type", "labels", "is"}, rows)
}
