package demo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// View is one of the managed views, with the statement that registers it, as a user would type it.
type View struct {
	Name string
	Says string // what it shows, in a line
	SQL  string
}

// Views are in the order in which they have to be registered.
var Views = []View{
	{
		Name: "analytics.hourly_delays",
		Says: "by hour and airport, every 5 seconds; its key comes from GROUP BY, so readers go on meanwhile",
		SQL: `
INSERT INTO mvscheduler.views (name, query, refresh_interval)
VALUES ('analytics.hourly_delays', $$
SELECT date_trunc('hour', scheduled_departure) AS hour,
       origin,
       count(*) AS flights,
       count(*) FILTER (WHERE delay_minutes >= 15) AS late_flights,
       round(avg(delay_minutes), 1) AS avg_delay
  FROM public.flights
 GROUP BY 1, 2$$,
        '5 seconds')
ON CONFLICT (name) DO NOTHING`,
	},
	{
		Name: "analytics.daily_traffic",
		Says: "by day, on top of hourly_delays, refreshed after it",
		SQL: `
INSERT INTO mvscheduler.views (name, query, refresh_on)
VALUES ('analytics.daily_traffic', $$
SELECT hour::date AS day,
       sum(flights)::bigint AS flights,
       round(sum(avg_delay * flights) / sum(flights), 1) AS avg_delay,
       round(100.0 * sum(late_flights) / sum(flights), 1) AS late_percent
  FROM analytics.hourly_delays
 GROUP BY 1$$,
        'upstream')
ON CONFLICT (name) DO NOTHING`,
	},
	{
		Name: "analytics.route_reliability",
		Says: "by route, every 10 seconds, with joins; its key is named by hand",
		SQL: `
INSERT INTO mvscheduler.views (name, query, refresh_interval, unique_key, indexes)
VALUES ('analytics.route_reliability', $$
SELECT r.origin,
       r.destination,
       o.city AS from_city,
       d.city AS to_city,
       r.flights,
       r.on_time_percent,
       r.median_delay,
       r.p95_delay
  FROM (SELECT origin,
               destination,
               count(*) AS flights,
               round(100.0 * count(*) FILTER (WHERE delay_minutes < 15) / count(*), 1) AS on_time_percent,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY delay_minutes) AS median_delay,
               percentile_disc(0.95) WITHIN GROUP (ORDER BY delay_minutes) AS p95_delay
          FROM public.flights
         GROUP BY 1, 2) AS r
  JOIN public.airports AS o ON o.iata = r.origin
  JOIN public.airports AS d ON d.iata = r.destination$$,
        '10 seconds',
        '{origin,destination}',
        ARRAY['(on_time_percent)'])
ON CONFLICT (name) DO NOTHING`,
	},
	{
		Name: "analytics.worst_airports",
		Says: "last seven days of traffic, by cron every minute on New York's clock",
		SQL: `
INSERT INTO mvscheduler.views (name, query, cron, timezone)
VALUES ('analytics.worst_airports', $$
SELECT rank() OVER (ORDER BY avg(f.delay_minutes) DESC) AS place,
       a.iata,
       a.city,
       count(*) AS flights,
       round(avg(f.delay_minutes), 1) AS avg_delay,
       round(100.0 * count(*) FILTER (WHERE f.delay_minutes >= 15) / count(*), 1) AS late_percent
  FROM public.flights AS f
  JOIN public.airports AS a ON a.iata = f.origin
 WHERE f.scheduled_departure >= (SELECT max(scheduled_departure) FROM public.flights) - interval '7 days'
 GROUP BY a.iata, a.city$$,
        '* * * * *',
        'America/New_York')
ON CONFLICT (name) DO NOTHING`,
	},
	{
		Name: Incremental,
		Says: "by hour and route, every 5 seconds, incremental: only the hours in which flights arrived are computed anew",
		SQL: `
INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval)
VALUES ('analytics.route_hours', $$
SELECT date_trunc('hour', scheduled_departure) AS hour,
       origin,
       destination,
       count(*) AS flights,
       avg(delay_minutes) AS avg_delay
  FROM public.flights
 WHERE mvscheduler.in_window(scheduled_departure)
 GROUP BY 1, 2, 3$$,
        'incremental',
        'hour',
        '1 hour',
        '5 seconds')
ON CONFLICT (name) DO NOTHING`,
	},
}

// Incremental is the view of which [Forget] lets the older partitions go.
const Incremental = "analytics.route_hours"

// Forget gives the incremental view a retention_period, so that its partition with January leaves. The period is
// counted from now, as always, and the sample is of 2001.
func Forget(ctx context.Context, analyst *pgx.Conn) error {
	_, err := analyst.Exec(ctx, `UPDATE mvscheduler.views SET retention_period = make_interval(days => current_date - '2001-02-02'::date) WHERE name = $1`, Incremental)
	if err != nil {
		return fmt.Errorf("set retention_period of %q: %w", Incremental, err)
	}
	return nil
}

// Forgotten is what has left the incremental view: how many partitions and rows are kept aside for it.
func Forgotten(ctx context.Context, analyst *pgx.Conn) (partitions, rows int64, err error) {
	err = analyst.QueryRow(ctx, `SELECT count(*), coalesce(sum(rows), 0)::bigint FROM mvscheduler.visible_kept WHERE name = $1`, Incremental).Scan(&partitions, &rows)
	if err != nil {
		return 0, 0, fmt.Errorf("read what %q keeps aside: %w", Incremental, err)
	}
	return partitions, rows, nil
}

// Register inserts the views, as the analyst. Views that are there already stay as they are.
func Register(ctx context.Context, analyst *pgx.Conn) error {
	for _, v := range Views {
		if _, err := analyst.Exec(ctx, v.SQL); err != nil {
			return fmt.Errorf("register view %q: %w", v.Name, err)
		}
	}
	return nil
}

// Shown is how many flights analytics.hourly_delays counts; it equals Count when the view is up to date.
func Shown(ctx context.Context, conn *pgx.Conn) (int64, error) {
	var n int64
	if err := conn.QueryRow(ctx, `SELECT coalesce(sum(flights), 0)::bigint FROM analytics.hourly_delays`).Scan(&n); err != nil {
		return 0, fmt.Errorf("read analytics.hourly_delays: %w", err)
	}
	return n, nil
}
