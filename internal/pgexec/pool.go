package pgexec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrSuperuser refuses a login that could do everything.
	ErrSuperuser = errors.New("the sidecar's login is a superuser: make one that is only a member of mvscheduler_worker (mvscheduler grants), or allow it with --allow-superuser")

	// ErrPooler refuses a connection that goes through a transaction pooler.
	ErrPooler = errors.New("the connection goes through a pooler, which shares sessions between clients: give the sidecar a direct connection to PostgreSQL")
)

const (
	maxMessage     = 1 << 20 // bytes; a function can raise a notice or an error of 300 MB
	cancelDelay    = 100 * time.Millisecond
	deadlineDelay  = 15 * time.Second // after a cancel that is not heeded the connection is given up
	scrubTime      = 5 * time.Second
	idleAtMost     = "20s" // a session that is out and idle for longer has lost its sidecar; see settle
	connectTimeout = 10 * time.Second
)

// sessionSettings hold for every run, whatever the defaults of server, database and role are.
var sessionSettings = map[string]string{
	"search_path":                         "pg_catalog, pg_temp",
	"DateStyle":                           "ISO, MDY",
	"IntervalStyle":                       "postgres",
	"standard_conforming_strings":         "on",
	"quote_all_identifiers":               "off",
	"row_security":                        "on",
	"client_min_messages":                 "error",
	"client_encoding":                     "UTF8",
	"client_connection_check_interval":    "1s",  // a refresh whose sidecar died ends
	"idle_in_transaction_session_timeout": "10s", // a sidecar that is stopped lets go of its locks
	"idle_session_timeout":                "0",   // until it is acquired
	"tcp_keepalives_idle":                 "10",
	"tcp_keepalives_interval":             "5",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    "30000",
}

// Config of a [Pool].
type Config struct {
	// MaxConns is how many sessions there may be. Defaults to 8.
	MaxConns int32
	// ApplicationName as pg_stat_activity shows it. Defaults to "mvscheduler run".
	ApplicationName string
	// AllowSuperuser lets the login be a superuser.
	AllowSuperuser bool
}

// Pool holds the sessions of one sidecar.
type Pool struct{ pool *pgxpool.Pool }

// NewPool connects once, to find out what is wrong with the login or the way to the server.
func NewPool(ctx context.Context, databaseURL string, config Config) (*Pool, error) {
	parsed, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	parsed.MaxConns = cmp.Or(config.MaxConns, 8)
	parsed.MinConns = 0
	parsed.MaxConnLifetimeJitter = 10 * time.Minute
	conn := parsed.ConnConfig
	// Our own few statements are prepared once a session. No function of a user's can put others in their place:
	// PREPARE and DEALLOCATE are refused in the security-restricted operation in which REFRESH and ANALYZE run it.
	conn.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	conn.StatementCacheCapacity, conn.DescriptionCacheCapacity = 64, 0
	conn.MaxProtocolMessageBodyLen = maxMessage
	conn.OnNotice = nil
	conn.ConnectTimeout = cmp.Or(conn.ConnectTimeout, connectTimeout)
	conn.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, CancelRequestDelay: cancelDelay, DeadlineDelay: deadlineDelay}
	}
	for name, value := range sessionSettings {
		conn.RuntimeParams[name] = value
	}
	conn.RuntimeParams["application_name"] = cmp.Or(config.ApplicationName, "mvscheduler run")
	parsed.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { return inspect(ctx, c, config.AllowSuperuser) }

	parsed.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // settle finds out as well
	parsed.PrepareConn = settle

	pool, err := pgxpool.NewWithConfig(ctx, parsed)
	if err != nil {
		return nil, fmt.Errorf("make the pool of runs: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return &Pool{pool: pool}, nil
}

const (
	startKey    = "mvscheduler backend_start"
	settingsKey = "mvscheduler settings"
)

// inspect looks at a new connection before it is used.
func inspect(ctx context.Context, c *pgx.Conn, allowSuperuser bool) error {
	var (
		pid       int32
		start     time.Time
		superuser bool
	)
	err := c.QueryRow(ctx, `
SELECT a.pid, a.backend_start, current_setting('is_superuser')::boolean
  FROM pg_stat_get_activity(pg_backend_pid()) AS a`).Scan(&pid, &start, &superuser)
	switch {
	case err != nil:
		return fmt.Errorf("inspect the session: %w", err)
	case uint32(pid) != c.PgConn().PID(): // a pooler makes up the key that cancels
		return ErrPooler
	case superuser && !allowSuperuser:
		return ErrSuperuser
	}
	c.PgConn().CustomData()[startKey] = start
	return nil
}

// settle makes a connection ready for an attempt, and reads the settings that built-in functions read. One that the
// server has closed is dropped, and the pool takes another.
//
// To compile or to plan a query of the catalog takes longer than to run it, and a plan is kept that was made while a
// table was small; users' queries are another matter, see identify.
func settle(ctx context.Context, c *pgx.Conn) (bool, error) {
	var settings string
	err := c.QueryRow(ctx, `
SELECT concat_ws('|', current_setting('lc_time'), current_setting('lc_numeric'), current_setting('lc_monetary'),
                 current_setting('extra_float_digits'), current_setting('bytea_output'), current_setting('default_text_search_config'),
                 current_setting('xmlbinary'), current_setting('xmloption'), current_setting('timezone_abbreviations'),
                 current_setting('array_nulls'), current_setting('gin_fuzzy_search_limit'), current_setting('server_version_num')),
       set_config('idle_session_timeout', $1, false),
       set_config('jit', 'off', false),
       set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('enable_seqscan', 'off', false)`, idleAtMost).Scan(&settings, nil, nil, nil, nil)
	switch {
	case err != nil && c.IsClosed() && ctx.Err() == nil:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("make the session ready: %w", err)
	}
	c.PgConn().CustomData()[settingsKey] = settings
	return true, nil
}

// Close waits for sessions that are out and closes all.
func (p *Pool) Close() { p.pool.Close() }

// Acquire takes a session, and waits for one when all are out. It has to be released or destroyed. The
// server ends it when it is not used for 20 s (10 s in a transaction): a sidecar that is stopped, or cut
// off, must not keep what it was doing for ever.
func (p *Pool) Acquire(ctx context.Context) (*Session, error) {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("acquire a session: %w", err)
	}
	start, ok := conn.Conn().PgConn().CustomData()[startKey].(time.Time)
	if !ok {
		conn.Release()
		return nil, errors.New("acquire a session: it was never inspected")
	}
	settings, _ := conn.Conn().PgConn().CustomData()[settingsKey].(string)
	return &Session{conn: conn, start: start, settings: settings}, nil
}
