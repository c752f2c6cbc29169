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
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	var c config
	flag.StringVar(&c.program, "program", "bin/mvscheduler", "the binary to measure")
	flag.StringVar(&c.out, "out", "", "where to write: this and .md, and .svg where there is a plot; empty = print only")
	flag.IntVar(&c.idleViews, "idle-views", 10_000, "views of the idle measurement")
	flag.IntVar(&c.runs, "runs", 100_000, "runs of the bloat measurement")
	flag.StringVar(&c.sizes, "rows", "1000000", "rows of the table below the incremental view; several separated by commas")
	flag.IntVar(&c.rounds, "rounds", 5, "times that each refresh of the incremental view is measured with a million rows; fewer with more, one at least")
	flag.StringVar(&c.only, "only", "", "phases to run, separated by commas: overhead, start, rate, skip, idle, bloat, incremental")
	flag.StringVar(&c.cases, "cases", "", "words, separated by commas: of the incremental phase only what has one of them in its name, as latest,last,writers; the first fill is measured in any case")
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
	sizes     string
	rows      int // of the phase that is measured
	rounds    int
	only      string
	cases     string
}

// wants says whether a case of the incremental phase is to be measured.
func (c config) wants(name string) bool {
	return c.cases == "" || slices.ContainsFunc(strings.Split(c.cases, ","), func(word string) bool { return strings.Contains(name, word) })
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
	rows    int
}

func run(ctx context.Context, c config) error {
	phases := []phase{{"overhead", overhead, 0}, {"start", dueToStart, 0}, {"rate", rate, 0}, {"skip", skipCost, 0}, {"idle", idle, 0}, {"bloat", bloat, 0}}
	for _, size := range strings.Split(c.sizes, ",") {
		rows, err := strconv.Atoi(size)
		if err != nil || rows < 1 {
			return fmt.Errorf("-rows: %q is no number of rows", size)
		}
		phases = append(phases, phase{"incremental", incremental, rows})
	}
	report := report{first: map[string]time.Duration{}}
	for _, p := range phases {
		if c.only != "" && !strings.Contains(","+c.only+",", ","+p.name+",") {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s ...\n", p.name)
		c.rows = p.rows
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
		if err := report.write(c.out); err != nil { // what was measured is not lost with the phases to come
			return err
		}
	}
	fmt.Fprint(os.Stdout, report.markdown())
	return nil
}
