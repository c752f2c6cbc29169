package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// controlConnections is how many connections the control pool may open: River's notifier holds one for
// good, its leader, fetcher and completer, the collector and progress reports one each now and then, and
// /metrics, /readyz and the pages of package web four more in all, which wait for one when there is none.
const controlConnections = 8

// controlSettings keep users' objects out of sight and dead peers short.
var controlSettings = map[string]string{
	"application_name":                    "mvscheduler control",
	"search_path":                         "pg_catalog, pg_temp",
	"TimeZone":                            "UTC",
	"DateStyle":                           "ISO, MDY",
	"IntervalStyle":                       "postgres",
	"standard_conforming_strings":         "on",
	"quote_all_identifiers":               "off",
	"extra_float_digits":                  "1",  // samples lie as text
	"array_nulls":                         "on", // and what is not known of them is NULL
	"row_security":                        "on",
	"idle_in_transaction_session_timeout": "10s", // a sidecar that is stopped lets go of its locks
	"client_connection_check_interval":    "5s",
	"tcp_keepalives_idle":                 "10",
	"tcp_keepalives_interval":             "5",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    "30000",
	"statement_timeout":                   "60s",                // what hangs on the size of somebody's query must not hold a connection for good
	"lock_timeout":                        "1s",                 // the size of a relation waits for whoever holds it
	"jit":                                 "off",                // compiling a claim takes a second, running it milliseconds
	"plan_cache_mode":                     "force_generic_plan", // and planning it longer than running it
	"enable_seqscan":                      "off",                // a plan is kept that was made while a table was empty, and without knowing the instant
	"parallel_setup_cost":                 "1e15",               // what enable_seqscan adds to a cost would pay for workers; how many readers may have says max_parallel_workers_per_gather
}

// NewControlPool makes the pool on which a [Runner] keeps its books: the catalog of mvscheduler and
// River's tables, nothing of users'. It does not connect yet.
func NewControlPool(ctx context.Context, databaseURL string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	config.MaxConns = controlConnections
	config.ConnConfig.ConnectTimeout = max(config.ConnConfig.ConnectTimeout, 10*time.Second)
	for name, value := range controlSettings {
		config.ConnConfig.RuntimeParams[name] = value
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("make the control pool: %w", err)
	}
	return pool, nil
}

// ownConnections makes a pool of so many connections at most like those of the control pool, for what runs the same large
// statements again and again: a connection that is any of several plans each of them several times. It does not connect yet.
func ownConnections(ctx context.Context, control *pgxpool.Pool, most int32) (*pgxpool.Pool, error) {
	config := control.Config()
	config.MaxConns = most
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("make a pool of its own for what is run again and again: %w", err)
	}
	return pool, nil
}
