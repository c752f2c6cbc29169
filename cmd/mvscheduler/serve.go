package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mvscheduler/mvscheduler/internal/web"
	"github.com/mvscheduler/mvscheduler/jobs"
)

// serveCmd is the command line of the sidecar; runServe is the sidecar.
type serveCmd struct {
	Listen            string        `default:"127.0.0.1:8787" placeholder:"ADDR" help:"Address of the HTTP server: pages for people, /healthz, /readyz, /metrics, /api/v1, /river/. Other than loopback addresses need --token-file."`
	TokenFile         string        `type:"path" placeholder:"PATH" help:"File whose first line is the token that HTTP asks for: Authorization: Bearer TOKEN, or as password. /healthz and /readyz stay open."`
	Migrate           bool          `help:"Upgrade the schema first, as \"migrate up\" would; needs the rights for that."`
	Workers           int           `default:"8" placeholder:"N" help:"Refreshes at the same time, a connection each: 1 to 200."`
	Grace             time.Duration `default:"20s" placeholder:"DURATION" help:"How long a shutdown waits for refreshes under way before it cancels them; their slots are due again at once."`
	SampleEvery       time.Duration `default:"1m" placeholder:"DURATION" help:"How often it is sampled how views are read, for the optimizer; 0 = never."`
	StandbyURL        []string      `name:"standby-url" sep:"none" placeholder:"URL" help:"Standby on which views are read too; its counters are added. May be given several times."`
	AllowSuperuser    bool          `help:"Run although the login is a superuser. Only for a database that nobody else writes queries to."`
	WebhookURL        string        `name:"webhook-url" placeholder:"URL" help:"Post alerts (stale, paused, failing, missing, and when they are over) here as JSON."`
	WebhookSecretFile string        `type:"path" placeholder:"PATH" help:"File whose first line is the key with which deliveries are signed (HMAC-SHA256)."`
	LogFormat         string        `enum:"text,json" default:"text" placeholder:"FORMAT" help:"text or json; the log goes to stderr."`
	LogLevel          string        `enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
}

func (serveCmd) Help() string {
	return `Runs the sidecar until it gets SIGINT or SIGTERM: it claims views that are due, refreshes them and serves HTTP. Run as many replicas as you like. The login needs membership in mvscheduler_worker and nothing else (see: mvscheduler grants); superusers are refused.

It uses a direct connection: not through a transaction pooler. It refuses a schema that is too old or too new.
The first signal stops claiming and lets short runs end; the second one kills.

Examples:

  DATABASE_URL=postgres://mvscheduler_sidecar@db/app mvscheduler serve
  mvscheduler serve --migrate --log-format json

` + exitCodesHelp
}

// Run runs the sidecar.
func (c *serveCmd) Run(ctx context.Context, a *app) error {
	if c.Workers < 1 || c.Workers > 200 {
		return usagef("--workers must be 1 to 200")
	}
	if c.Grace <= 0 {
		return usagef("--grace must be positive")
	}
	if c.SampleEvery < 0 {
		return usagef("--sample-every must not be negative")
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return usagef("unknown log level %q", c.LogLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(a.stderr, options)
	if c.LogFormat == "json" {
		handler = slog.NewJSONHandler(a.stderr, options)
	}
	token, err := web.ReadToken("token", c.TokenFile)
	if err != nil {
		return err
	}
	webhook, err := c.webhook()
	if err != nil {
		return err
	}
	err = runServe(ctx, serveConfig{
		DatabaseURL:    a.DatabaseURL,
		Listen:         c.Listen,
		Token:          token,
		Webhook:        webhook,
		Migrate:        c.Migrate,
		Workers:        c.Workers,
		Grace:          c.Grace,
		SampleEvery:    c.SampleEvery,
		StandbyURLs:    c.StandbyURL,
		AllowSuperuser: c.AllowSuperuser,
		Logger:         slog.New(handler),
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // asked to stop before it was up
	}
	return err
}

// webhook is nil when none is asked for.
func (c *serveCmd) webhook() (*jobs.Webhook, error) {
	if c.WebhookURL == "" {
		if c.WebhookSecretFile != "" {
			return nil, usagef("--webhook-secret-file needs --webhook-url")
		}
		return nil, nil
	}
	secret, err := web.ReadToken("webhook secret", c.WebhookSecretFile)
	if err != nil {
		return nil, err
	}
	return jobs.NewWebhook(c.WebhookURL, secret)
}
