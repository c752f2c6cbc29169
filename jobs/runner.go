package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/errgroup"

	"github.com/mvscheduler/mvscheduler/internal/pgexec"
)

// Schema is where the catalog and River's tables live.
const Schema = "mvscheduler"

// Config of a [Runner]. The zero value of each field stands for its default.
type Config struct {
	// Workers is how many refreshes run at once in this process. Defaults to 8.
	Workers int
	// Grace is how long a shutdown waits for refreshes that are under way before it cancels them.
	// Defaults to 20 s.
	Grace time.Duration
	// YieldAfter is how long somebody's DDL may wait behind a refresh before the refresh makes way.
	// Defaults to 3 s.
	YieldAfter time.Duration
	// Name of this sidecar in runs.worker. Defaults to host and process id.
	Name string
	// SampleEvery is how often it is sampled how views are read; zero = never.
	SampleEvery time.Duration
	// Standbys are read for how views are read there, see [NewControlPool]. They are not closed by the runner.
	Standbys []*pgxpool.Pool
	// Logger defaults to one that discards.
	Logger *slog.Logger
	// Webhook is told of alerts; nil means that only those who listen on the channel mvscheduler_alert are.
	Webhook *Webhook
	// Metrics defaults to metrics that nobody reads.
	Metrics *Metrics
}

func (c Config) withDefaults() Config {
	c.Workers = cmp.Or(c.Workers, 8)
	c.Grace = cmp.Or(c.Grace, 20*time.Second)
	c.YieldAfter = cmp.Or(c.YieldAfter, 3*time.Second)
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown-host"
		}
		c.Name = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Runner is the sidecar's worker: dispatcher, reaper and River's client.
type Runner struct {
	config     Config
	dispatcher *Dispatcher
	reaper     *Reaper
	listener   *listener
	worker     *RefreshWorker
	skipper    *skipper
	keeper     *housekeeper
	pruner     *pruner
	collector  *collector
	client     *river.Client[pgx.Tx]
}

// New makes a runner. The control pool, of [NewControlPool], is for the catalog and for River; the pool of
// runs, which needs a connection for each of config.Workers, for refreshes. Neither is closed by the runner.
func New(control *pgxpool.Pool, runs *pgexec.Pool, config Config) (*Runner, error) {
	config = config.withDefaults()
	hints, hint := bell()
	ends, ended := bell()

	skipper := &skipper{control: control, log: config.Logger}
	ownerCap := max(1, config.Workers-1)
	pruner := newPruner(control, config.Logger)
	workers := river.NewWorkers()
	worker := &RefreshWorker{
		control: control, below: control, runs: runs, log: config.Logger, metrics: config.Metrics, name: config.Name, skipper: skipper, ownerCap: ownerCap, ended: ended, pruner: pruner,
	}
	river.AddWorker(workers, worker)
	client, err := river.NewClient(driver{riverpgxv5.New(control)}, &river.Config{
		Schema:  Schema,
		Queues:  map[string]river.QueueConfig{refreshQueue: {MaxWorkers: config.Workers}},
		Workers: workers,
		Logger:  quiet(config.Logger),
		// Forged hints make River look at most this often.
		FetchCooldown:     5 * time.Millisecond,
		FetchPollInterval: pollInterval,
		SoftStopTimeout:   config.Grace,
		// The catalog keeps the history; River's needs owner's rights to REINDEX, which we have not.
		CompletedJobRetentionPeriod: time.Hour,
		CancelledJobRetentionPeriod: time.Hour,
		ReindexerSchedule:           river.NeverSchedule(),
	})
	if err != nil {
		return nil, fmt.Errorf("make River's client: %w", err)
	}
	pruner.river = client
	sampler := fmt.Sprintf("%s/%08x", config.Name, rand.Uint32()) // names of hosts and processes need not differ between containers
	return &Runner{
		config: config,
		dispatcher: &Dispatcher{
			pool: control, river: client, log: config.Logger, metrics: config.Metrics,
			ownerCap: ownerCap, hints: hints, ends: ends,
		},
		reaper: &Reaper{
			pool: control, river: client, log: config.Logger, metrics: config.Metrics, yieldPatience: config.YieldAfter,
		},
		listener: &listener{config: control.Config().ConnConfig, log: config.Logger, hint: hint},
		worker:   worker,
		skipper:  skipper,
		keeper:   &housekeeper{pool: control, own: control, webhook: config.Webhook, log: config.Logger},
		pruner:   pruner,
		collector: &collector{pool: control, log: config.Logger, name: sampler, every: config.SampleEvery, standbys: config.Standbys,
			plan: (&planner{pool: control, log: config.Logger, name: sampler}).plan},
		client: client,
	}, nil
}

// bell is a channel that holds one signal, and what rings it without ever waiting.
func bell() (<-chan struct{}, func()) {
	signals := make(chan struct{}, 1)
	return signals, func() {
		select {
		case signals <- struct{}{}:
		default:
		}
	}
}

// Client is River's client, for its web interface.
func (r *Runner) Client() *river.Client[pgx.Tx] { return r.client }

// Run works until ctx ends. Then it claims nothing more, lets refreshes that are under way finish for
// the grace period, cancels the rest on the server, and gives their slots back at once.
func (r *Runner) Run(ctx context.Context) error {
	for pool, most := range map[**pgxpool.Pool]int32{&r.dispatcher.pool: 1, &r.reaper.pool: 1, &r.keeper.own: 1, &r.worker.below: lookConnections} {
		own, err := ownConnections(context.WithoutCancel(ctx), *pool, most)
		if err != nil {
			return err
		}
		defer own.Close()
		*pool = own
	}
	if err := r.client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start River's client: %w", err)
	}
	r.config.Logger.InfoContext(ctx, "worker started", "worker", r.config.Name, "workers", r.config.Workers)

	reaping, stopReaping := context.WithCancel(context.WithoutCancel(ctx))
	var reaper errgroup.Group
	reaper.Go(func() error { return r.reaper.Run(reaping) })

	loops, loopsCtx := errgroup.WithContext(ctx)
	loops.Go(func() error { return r.dispatcher.Run(loopsCtx) })
	loops.Go(func() error { return r.listener.Run(loopsCtx) })
	loops.Go(func() error { return r.skipper.Run(loopsCtx) })
	loops.Go(func() error { return r.keeper.Run(loopsCtx) })
	loops.Go(func() error { return r.pruner.Run(loopsCtx) })
	loops.Go(func() error { return r.collector.Run(loopsCtx) })
	err := loops.Wait()

	r.config.Logger.InfoContext(ctx, "worker stopping", "worker", r.config.Name, "grace", r.config.Grace)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.Grace+2*bookkeepingTime)
	defer cancel()
	err = errors.Join(err, r.client.Stop(stopping))
	stopReaping()
	err = errors.Join(err, reaper.Wait())
	r.config.Logger.InfoContext(ctx, "worker stopped", "worker", r.config.Name)
	return err
}
