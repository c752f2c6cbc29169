package web

import (
	"context"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// viewsAtMost bounds the number of label values; the views that lag most come first.
const viewsAtMost = 1000

// Collector reads the state of the deployment at each scrape.
type Collector struct {
	DB     catalog.Querier
	Logger *slog.Logger
}

var (
	viewLag = prometheus.NewDesc("mvscheduler_view_lag_seconds",
		"Age of what the view shows. The views that lag most against their target come first, at most 1000.", []string{"view"}, nil)
	viewTarget = prometheus.NewDesc("mvscheduler_view_target_seconds",
		"Staleness that the view's schedule promises; none while it is paused.", []string{"view"}, nil)
	viewCount = prometheus.NewDesc("mvscheduler_views",
		"Managed views by freshness: fresh, late, stale, never, missing.", []string{"freshness"}, nil)
	alertCount = prometheus.NewDesc("mvscheduler_alerts",
		"Alerts that are open, by kind: stale, paused, failing, missing.", []string{"kind"}, nil)
	queueDepth = prometheus.NewDesc("mvscheduler_queue_depth",
		"Runs that wait for a worker.", nil, nil)
)

// Describe sends what Collect may send.
func (c Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{viewLag, viewTarget, viewCount, alertCount, queueDepth} {
		out <- d
	}
}

// Collect reads the database. When that fails nothing is sent and the failure is logged.
func (c Collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	if err := c.collect(ctx, out); err != nil {
		c.Logger.WarnContext(ctx, "metrics of the database could not be read", "err", err)
	}
}

func (c Collector) collect(ctx context.Context, out chan<- prometheus.Metric) error {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	rows, err := c.DB.Query(ctx, `
SELECT name, extract(epoch FROM lag)::float8, CASE WHEN activity <> 'paused' THEN extract(epoch FROM target)::float8 END
  FROM mvscheduler.status
 ORDER BY extract(epoch FROM lag) / nullif(extract(epoch FROM target), 0) DESC NULLS LAST
 LIMIT $1`, viewsAtMost)
	if err != nil {
		return err
	}
	var (
		name        string
		lag, target *float64
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &lag, &target}, func() error {
		label := printable(name)
		if lag != nil {
			gauge(viewLag, *lag, label)
		}
		if target != nil {
			gauge(viewTarget, *target, label)
		}
		return nil
	})
	if err != nil {
		return err
	}

	rows, err = c.DB.Query(ctx, `
SELECT f.freshness, count(s.name)
  FROM unnest('{fresh,late,stale,never,missing}'::text[]) AS f(freshness)
  LEFT JOIN mvscheduler.status AS s ON s.freshness = f.freshness
 GROUP BY f.freshness`)
	if err != nil {
		return err
	}
	var (
		freshness string
		count     int64
	)
	_, err = pgx.ForEachRow(rows, []any{&freshness, &count}, func() error {
		gauge(viewCount, float64(count), freshness)
		return nil
	})
	if err != nil {
		return err
	}

	rows, err = c.DB.Query(ctx, `
SELECT k.kind, count(a.id)
  FROM unnest('{stale,paused,failing,missing}'::text[]) AS k(kind)
  LEFT JOIN mvscheduler.alert AS a ON a.kind = k.kind AND a.resolved_at IS NULL
 GROUP BY k.kind`)
	if err != nil {
		return err
	}
	var kind string
	_, err = pgx.ForEachRow(rows, []any{&kind, &count}, func() error {
		gauge(alertCount, float64(count), kind)
		return nil
	})
	if err != nil {
		return err
	}

	var depth int64
	if err := c.DB.QueryRow(ctx, `SELECT count(*) FROM mvscheduler.run WHERE state = 'queued'`).Scan(&depth); err != nil {
		return err
	}
	gauge(queueDepth, float64(depth))
	return nil
}

// printable replaces what the text format of the metrics would pass on to a terminal; quotes and line
// feeds it escapes itself.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}
