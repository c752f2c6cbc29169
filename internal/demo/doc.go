// Package demo is what mvscheduler shows of itself: real flights that keep arriving, and five managed
// views over them.
//
// The embedded flights are split by time. The older part is loaded at once; the rest arrives in small
// batches, in order, so that a few minutes of watching are two months of traffic. How far the feed has
// come is the number of rows in public.flights, so that a kept data directory goes on where it stopped.
//
// The views show what can be asked for: an interval clock with a derived key (analytics.hourly_delays), a
// view on top of another (analytics.daily_traffic), a key named by hand (analytics.route_reliability) and a
// cron clock in a zone (analytics.worst_airports).
package demo
