package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"riverqueue.com/riverui"

	"github.com/mvscheduler/mvscheduler/internal/doctor"
	"github.com/mvscheduler/mvscheduler/internal/pgexec"
	"github.com/mvscheduler/mvscheduler/internal/web"
	"github.com/mvscheduler/mvscheduler/jobs"
	"github.com/mvscheduler/mvscheduler/migrations"
)

const (
	defaultWorkers = 8
	connectPatient = time.Minute // how long a sidecar that starts waits for the server
	connectRetry   = 2 * time.Second
)

// serveConfig is what the sidecar needs. The zero value connects by the libpq variables.
type serveConfig struct {
	DatabaseURL    string
	Listen         string        // address of HTTP; empty = none
	Token          string        // that HTTP asks for; empty = none, and loopback addresses only
	Webhook        *jobs.Webhook // is told of alerts; nil = none
	Migrate        bool
	Workers        int           // 0 = 8
	Grace          time.Duration // 0 = 20 s
	SampleEvery    time.Duration // 0 = never
	StandbyURLs    []string      // whose reads count too
	AllowSuperuser bool
	Logger         *slog.Logger
}

// runServe runs the sidecar until ctx ends, which is not an error.
func runServe(ctx context.Context, cfg serveConfig) error {
	cfg.Workers = cmp.Or(cfg.Workers, defaultWorkers)
	control, err := jobs.NewControlPool(ctx, cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer control.Close()
	if err := awaitServer(ctx, control, cfg.Logger); err != nil {
		return err
	}
	if cfg.Migrate {
		report, err := migrations.Up(ctx, cfg.DatabaseURL, migrations.Options{Logger: cfg.Logger})
		if err != nil {
			return fmt.Errorf("migrate up: %w", err)
		}
		for _, note := range report.Notes {
			cfg.Logger.WarnContext(ctx, note)
		}
	}
	if err := preflight(ctx, control); err != nil {
		return err
	}
	runs, err := pgexec.NewPool(ctx, cfg.DatabaseURL, pgexec.Config{MaxConns: int32(cfg.Workers), AllowSuperuser: cfg.AllowSuperuser})
	if err != nil {
		return err
	}
	defer runs.Close()

	standbys := make([]*pgxpool.Pool, len(cfg.StandbyURLs))
	for i, url := range cfg.StandbyURLs {
		if standbys[i], err = jobs.NewControlPool(ctx, url); err != nil {
			return fmt.Errorf("standby %d: %w", i+1, err)
		}
		defer standbys[i].Close()
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(),
		web.Collector{DB: control, Logger: cfg.Logger})
	runner, err := jobs.New(control, runs, jobs.Config{
		Workers: cfg.Workers, Grace: cfg.Grace, Logger: cfg.Logger, Metrics: jobs.NewMetrics(registry), Webhook: cfg.Webhook,
		SampleEvery: cfg.SampleEvery, Standbys: standbys,
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if cfg.Listen != "" {
		pages, err := riverPages(ctx, runner, cfg.Logger)
		if err != nil {
			return err
		}
		server := web.Server{
			Ready:   func(ctx context.Context) error { return migrations.Check(ctx, control) },
			Metrics: registry,
			DB:      control,
			Examine: func(ctx context.Context) (found []doctor.Finding, err error) {
				err = control.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
					found, err = doctor.ExamineAsSidecar(ctx, c.Conn())
					return err
				})
				return found, err
			},
			River:  pages,
			Token:  cfg.Token,
			Logger: cfg.Logger,
		}
		listening, err := listen(ctx, &server, cfg.Listen) // before a refresh begins
		if err != nil {
			return err
		}
		group.Go(func() error { return server.Serve(ctx, listening) })
	}
	group.Go(func() error { return runner.Run(ctx) })
	return group.Wait()
}

func listen(ctx context.Context, server *web.Server, address string) (net.Listener, error) {
	listening, err := server.Listen(ctx, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w: another sidecar or a demo listens there; choose another address with --listen, 127.0.0.1:0 for any that is free", err)
	}
	return listening, err
}

// tryListen finds out whether a sidecar without a token could listen there.
func tryListen(ctx context.Context, address string) error {
	listening, err := listen(ctx, &web.Server{}, address)
	if err != nil {
		return err
	}
	return listening.Close()
}

// awaitServer waits a while for a server that is not up yet, as when both were started together. What
// waiting does not mend is returned at once.
func awaitServer(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
	for began := time.Now(); ; {
		err := pool.Ping(ctx)
		var pg *pgconn.PgError
		if err == nil || errors.As(err, &pg) && pg.Code != "57P03" && pg.Code != "53300" || time.Since(began) > connectPatient {
			return err
		}
		log.WarnContext(ctx, "the server that DATABASE_URL or the PG* variables name does not answer, will retry", "err", err, "retry_in", connectRetry)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(connectRetry):
		}
	}
}

// preflight finds what would make every refresh fail, and says what to do.
func preflight(ctx context.Context, pool *pgxpool.Pool) error {
	var (
		version, login             string
		number                     int
		standby, installed, member bool
	)
	err := pool.QueryRow(ctx, `
SELECT current_setting('server_version'), current_setting('server_version_num')::int, pg_is_in_recovery(), current_user::text,
       to_regclass('mvscheduler.schema_migrations') IS NOT NULL,
       coalesce((SELECT pg_has_role(r.oid, 'USAGE') FROM pg_roles AS r WHERE r.rolname = 'mvscheduler_worker'), false)`).
		Scan(&version, &number, &standby, &login, &installed, &member)
	switch {
	case err != nil:
		return fmt.Errorf("look at the server: %w", err)
	case number < 150000:
		return fmt.Errorf("this server is PostgreSQL %s; mvscheduler needs 15 or later", version)
	case standby:
		return errors.New("this server is a standby, where nothing can be refreshed: connect to the primary (target_session_attrs=read-write in the URL finds it)")
	case installed && !member:
		return fmt.Errorf("the login %s is not a member of mvscheduler_worker; if it is the sidecar's own, a DBA runs: GRANT mvscheduler_worker TO %s; if it owns views, run the sidecar with another (mvscheduler grants makes one)", login, pgx.Identifier{login}.Sanitize())
	}
	return migrations.Check(ctx, pool)
}

// riverPages are River's own pages about its jobs. What they could change is refused by package web.
func riverPages(ctx context.Context, runner *jobs.Runner, log *slog.Logger) (http.Handler, error) {
	pages, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(runner.Client(), nil),
		Logger:    log,
		Prefix:    "/river",
	})
	if err != nil {
		return nil, fmt.Errorf("make River's pages: %w", err)
	}
	return pages, pages.Start(ctx)
}

// buildInfo is the metric that tells which program this is.
func buildInfo() prometheus.Collector {
	v := buildVersion()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "mvscheduler_build_info",
		Help:        "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": v.Version, "revision": v.Revision, "goversion": v.Go},
	}, func() float64 { return 1 })
}
