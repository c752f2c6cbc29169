package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/demo"
	"github.com/mvscheduler/mvscheduler/internal/pgserver"
)

type demoCmd struct {
	Once    bool          `help:"One full cycle: fill every view, let flights arrive, refresh, let an old partition go, print the status table and exit. With --load: load and exit."`
	Load    bool          `help:"Load the sample and register its views in the database of --database-url, and let flights arrive there. No private server, no sidecar."`
	Every   time.Duration `default:"200ms" placeholder:"DURATION" help:"How often 50 flights arrive."`
	DataDir string        `type:"path" placeholder:"DIR" help:"Keep the data here, and go on with what is there. Default: a temporary directory that is removed at the end."`
	BinDir  string        `name:"bindir" env:"MVSCHEDULER_BINDIR,MVSCHEDULER_TEST_PG_BINDIR" type:"path" placeholder:"DIR" help:"Where initdb and postgres are. Default: pg_config's, or the newest of the usual places."`
	Listen  string        `placeholder:"ADDR" help:"Address of the HTTP server. Default: 127.0.0.1:8787; with --once a free port."`
}

func (demoCmd) Help() string {
	return `Starts a private PostgreSQL from the binaries of this machine (as root too), loads real flights, registers five views, one of them incremental, runs the sidecar and lets more flights arrive, so that you can watch the views stay fresh. Nothing outside its directory is touched; Ctrl-C ends it.

With --load it does the part of the application in a database of yours, for a sidecar that runs beside it: tables public.airports and public.flights, five views in schema analytics, and flights that keep arriving until all are there. The login needs membership in mvscheduler_user and CREATE on schema public.

Examples:

  mvscheduler demo
  mvscheduler demo --once
  mvscheduler demo --data-dir ~/mvscheduler-demo --listen 127.0.0.1:9000
  DATABASE_URL=postgres://analyst@db/app mvscheduler demo --load --every 1s

` + exitCodesHelp
}

// Run runs the demonstration until ctx ends, or for one cycle.
func (c *demoCmd) Run(ctx context.Context, a *app) error {
	if c.Every <= 0 {
		return usagef("--every must be positive")
	}
	if c.Load {
		return c.load(ctx, a)
	}
	listen := cmp.Or(c.Listen, "127.0.0.1:8787")
	if c.Once && c.Listen == "" {
		listen = "127.0.0.1:0"
	}
	if err := tryListen(ctx, listen); err != nil {
		return err
	}
	d, err := demo.Start(ctx, demo.Config{BinDir: c.BinDir, Dir: c.DataDir}, func(step string) { a.say("%s", step) })
	if errors.Is(err, pgserver.ErrNoBinaries) {
		return &exitError{code: exitFailure, err: fmt.Errorf("%w\n  (make demo does that by itself on Debian and Ubuntu, as root)", err)}
	}
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(d.Dir(), "mvscheduler.log"))
	if err != nil {
		return errors.Join(err, d.Close())
	}
	defer log.Close()

	live, stop := context.WithCancel(ctx)
	defer stop()
	group, live := errgroup.WithContext(live)
	group.Go(func() error {
		return runServe(live, serveConfig{
			DatabaseURL: d.SidecarURL(), Listen: listen, Workers: 4, Grace: 2 * time.Second, SampleEvery: time.Minute,
			Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
	})
	group.Go(func() error {
		defer stop()
		return c.watch(live, a, d, listen)
	})
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if !c.Once && err == nil {
		a.say("\nstopped")
	}
	return errors.Join(err, d.Close())
}

// load is the application's part of the demonstration, in a database that somebody else looks after.
func (c *demoCmd) load(ctx context.Context, a *app) error {
	err := a.withConn(ctx, func(conn *pgx.Conn) error {
		if _, err := demo.Install(ctx, conn, func(step string) { a.say("%s", step) }); err != nil || c.Once {
			return err
		}
		feed, err := demo.NewFeed(ctx, conn)
		if err != nil {
			return err
		}
		a.say("%d flights arrive every %s", demo.BatchSize, c.Every)
		if err := feed.Run(ctx, c.Every); err != nil {
			return err
		}
		a.say("all flights have arrived")
		return nil
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		a.say("stopped")
		return nil
	}
	return err
}

// watch is what the person sees while the sidecar works.
func (c *demoCmd) watch(ctx context.Context, a *app, d *demo.Demo, listen string) error {
	conn, err := pgx.Connect(ctx, d.AnalystURL())
	if err != nil {
		return fmt.Errorf("connect to the private server: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	feeder, err := pgx.Connect(ctx, d.AnalystURL())
	if err != nil {
		return fmt.Errorf("connect to the private server: %w", err)
	}
	defer func() { _ = feeder.Close(context.WithoutCancel(ctx)) }()
	feed, err := demo.NewFeed(ctx, feeder)
	if err != nil {
		return err
	}
	if c.Once {
		return a.demoOnce(ctx, conn, feed)
	}

	program := "mvscheduler"
	if self, err := os.Executable(); err == nil {
		program = self
	}
	a.say(`
Flights keep arriving. Look from another terminal:

  %s
      SELECT name, freshness, lag, target, reason FROM mvscheduler.status;
      SELECT * FROM analytics.worst_airports ORDER BY place;
      \d+ mvscheduler.views

  export DATABASE_URL='%s'
  %s status
  %s show analytics.hourly_delays
  %s refresh --wait analytics.route_reliability

  http://%s/        http://%s/metrics

  logs: %s (sidecar), %s (PostgreSQL)

Ctrl-C ends it.
`, d.Psql(), d.AnalystURL(), program, program, program, listen, listen, filepath.Join(d.Dir(), "mvscheduler.log"), d.LogFile())

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return feed.Run(ctx, c.Every) })
	group.Go(func() error { return a.watchStatus(ctx, conn) })
	return group.Wait()
}

// demoOnce fills the views, lets a day of flights arrive, refreshes, lets an old partition go and prints the table.
func (a *app) demoOnce(ctx context.Context, conn *pgx.Conn, feed *demo.Feed) error {
	const batch = 3000
	for round := range 2 {
		if round == 1 {
			n, err := feed.Send(ctx, batch)
			if err != nil {
				return err
			}
			a.say("%d more flights arrived", n)
		}
		if err := a.refreshDemo(ctx, conn); err != nil {
			return err
		}
	}
	if err := a.forgetDemo(ctx, conn); err != nil {
		return err
	}
	arrived, err := demo.Count(ctx, conn)
	if err != nil {
		return err
	}
	shown, err := demo.Shown(ctx, conn)
	if err != nil {
		return err
	}
	all, err := catalog.Statuses(ctx, conn)
	if err != nil {
		return err
	}
	if err := emit(a, all, a.statusColumns(all), ""); err != nil {
		return err
	}
	if shown != arrived {
		return fmt.Errorf("%d flights have arrived, and analytics.hourly_delays shows %d", arrived, shown)
	}
	a.say("%s flights have arrived and analytics.hourly_delays shows every one of them", countOf(&arrived))
	return nil
}

// refreshDemo asks for a refresh of each view, one after the other as they read each other, and waits.
func (a *app) refreshDemo(ctx context.Context, conn *pgx.Conn) error {
	for _, v := range demo.Views {
		r := requested{Name: v.Name, State: "requested"}
		if err := conn.QueryRow(ctx, `SELECT mvscheduler.refresh_view($1)`, v.Name).Scan(&r.RunID); err != nil {
			return fmt.Errorf("refresh view %q: %w", v.Name, err)
		}
		if err := a.waitFor(ctx, conn, []requested{r}, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// forgetDemo lets January leave the incremental view, and waits until it is put aside.
func (a *app) forgetDemo(ctx context.Context, conn *pgx.Conn) error {
	if err := demo.Forget(ctx, conn); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		partitions, rows, err := demo.Forgotten(ctx, conn)
		if err != nil {
			return err
		}
		if partitions > 0 {
			a.say("January left %s: %s rows are kept aside for its grace period, mvscheduler restore brings them back", demo.Incremental, countOf(&rows))
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s still has January after a minute: mvscheduler runs --view %[1]s tells why", demo.Incremental)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// watchStatus draws the status table: again and again on a terminal, every ten seconds elsewhere.
func (a *app) watchStatus(ctx context.Context, conn *pgx.Conn) error {
	every, lines := 10*time.Second, 0
	if a.outTerminal {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		all, err := catalog.Statuses(ctx, conn)
		if err != nil {
			return err
		}
		arrived, err := demo.Count(ctx, conn)
		if err != nil {
			return err
		}
		shown, err := demo.Shown(ctx, conn)
		if err != nil && !isUnpopulated(err) {
			return err
		}
		table := renderTable(a, all, a.statusColumns(all))
		head := fmt.Sprintf("%s flights of %s have arrived, analytics.hourly_delays shows %s", countOf(&arrived), countOf(new(int64(demo.Total))), countOf(&shown))
		if a.outTerminal && lines > 0 {
			fmt.Fprintf(a.stdout, "\x1b[%dA\x1b[J", lines) // up to where the table began, and clear
		}
		text := head + "\n" + table + "\n"
		fmt.Fprint(a.stdout, text)
		lines = strings.Count(text, "\n")
	}
}
