// Command bench measures what mvscheduler costs, against the same statements on a bare connection in the
// same run: make bench. It starts a private PostgreSQL and the real binary, prints a table and draws a plot.
//
// Figures are medians and percentiles of this machine at this moment; only ratios are worth comparing.
// durability is on (fsync, synchronous_commit), as it would be in production.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	var c config
	flag.StringVar(&c.program, "program", "bin/mvscheduler", "the binary to measure")
	flag.StringVar(&c.out, "out", "docs", "directory for benchmark.md and benchmark.svg; empty = print only")
	flag.IntVar(&c.idleViews, "idle-views", 10_000, "views of the idle measurement")
	flag.IntVar(&c.runs, "runs", 100_000, "runs of the bloat measurement")
	flag.IntVar(&c.rows, "rows", 1_000_000, "rows of the table below the incremental view")
	flag.IntVar(&c.rounds, "rounds", 5, "times that each refresh of the incremental view is measured")
	flag.StringVar(&c.only, "only", "", "phases to run, separated by commas: overhead, start, rate, skip, idle, bloat, incremental")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type config struct {
	program   string
	out       string
	idleViews int
	runs      int
	rows      int
	rounds    int
	only      string
}

// figure is one line of the table.
type figure struct {
	Phase, What, Bare, Ours, Ratio, Aim string
	Met                                 bool
}

// phase measures something on a bench of its own.
type phase struct {
	name    string
	measure func(context.Context, *bench) error
}

func run(ctx context.Context, c config) error {
	phases := []phase{{"overhead", overhead}, {"start", dueToStart}, {"rate", rate}, {"skip", skipCost}, {"idle", idle}, {"bloat", bloat}, {"incremental", incremental}}
	var report report
	for _, p := range phases {
		if c.only != "" && !strings.Contains(","+c.only+",", ","+p.name+",") {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s ...\n", p.name)
		b, err := setUp(ctx, c, &report)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		err = p.measure(ctx, b)
		b.close()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s took %s\n", p.name, time.Since(began).Round(time.Second))
	}
	text := report.markdown()
	fmt.Fprint(os.Stdout, text)
	if c.out == "" || c.only != "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(c.out, "benchmark.md"), []byte(text), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.out, "benchmark.svg"), []byte(report.plot()), 0o644)
}
