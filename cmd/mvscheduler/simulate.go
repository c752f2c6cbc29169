package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/jobs"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

type simulateCmd struct {
	View        string    `placeholder:"NAME" complete:"view" help:"Replay what was recorded of a managed view, instead of a trace."`
	Since       traceSpan `default:"70d" placeholder:"TIME" help:"With --view: of this time, for example 14d."`
	Reads       string    `placeholder:"FILE" help:"Trace of the reads of a view: CSV, gzipped or not, with the header t,count (t = epoch seconds of the start of a bin) or t (one event a line)."`
	Changes     string    `placeholder:"FILE" help:"Trace of the changes of its sources, in the same form. Without it they change all the time."`
	RefreshCost traceSpan `placeholder:"TIME" help:"How long one refresh takes, for example 30s. With --view the median of its refreshes is the default."`
	Target      traceSpan `placeholder:"TIME" help:"Interval that is right at the mean rate of the reads: it sets the price of old data. Default: 1h, with --view settings.optimizer_target, by which is recommended for the median view."`
	Policy      []string  `default:"all" placeholder:"NAME|all" help:"Policy to try; several with commas."`
	Interval    traceSpan `placeholder:"TIME" help:"Interval of the policy fixed. Default: with --view its own, or the tuned one, else that of --target."`
	WarmUp      traceSpan `placeholder:"TIME" help:"Part of the trace that is only learnt from. Default: 21d, or half of a shorter trace; with --view what is before the last --span."`
	Timezone    string    `env:"MVSCHEDULER_VIEW_TIMEZONE" default:"UTC" placeholder:"ZONE" help:"Zone of the clock that readers live by, an IANA name. Default: UTC, which is right for traces that record local time as if it were UTC."`
	Span        traceSpan `placeholder:"TIME" help:"Part after it that is judged. Default: 21d, or what there is."`
}

func (simulateCmd) Help() string {
	var names strings.Builder
	for _, name := range optimizer.PolicyNames() {
		fmt.Fprintf(&names, "  %-14s %s\n", name, optimizer.PolicyAbout(name))
	}
	return `Replays a trace of reads under several ways to schedule refreshes, with the code of the optimizer, and says what each would have cost. Nothing is refreshed, and without --view no database is needed.

The cost J, in seconds of refreshes, counts those and, at the price that --target sets, the age of the data that every read saw. Regret is J relative to that of clairvoyant, minus 1: how much foresight would have saved.

` + names.String() + `
Examples:

  mvscheduler simulate --reads reads.csv.gz --refresh-cost 30s --target 1h
  mvscheduler simulate --reads reads.csv.gz --refresh-cost 30s --policy mvscheduler,fixed --interval 5m
  mvscheduler simulate --view analytics.hourly_delays --since 14d --interval 10m
  mvscheduler simulate --reads reads.csv.gz --changes changes.csv.gz --refresh-cost 2m --target 4h -o json

` + exitCodesHelp
}

// Run prints one line for each policy.
func (c *simulateCmd) Run(ctx context.Context, a *app) error {
	if (c.View == "") == (c.Reads == "") {
		return usagef("give either --reads or --view")
	}
	if c.View != "" {
		return c.recorded(ctx, a)
	}
	if c.RefreshCost == 0 {
		return usagef("--reads needs --refresh-cost")
	}
	zone, err := time.LoadLocation(c.Timezone)
	if err != nil {
		return usagef("unknown time zone %q: write an IANA name such as Europe/Berlin", c.Timezone)
	}
	sim := optimizer.Simulation{
		RefreshCost: time.Duration(c.RefreshCost), Target: cmp.Or(time.Duration(c.Target), time.Hour), Interval: time.Duration(c.Interval),
		WarmUp: time.Duration(c.WarmUp), Span: time.Duration(c.Span), Zone: zone,
	}
	if len(c.Policy) != 1 || c.Policy[0] != "all" {
		sim.Policies = c.Policy
	}
	if sim.Reads, err = readTrace(c.Reads); err != nil {
		return err
	}
	if c.Changes != "" {
		changes, err := readTrace(c.Changes)
		if err != nil {
			return err
		}
		sim.Changes = &changes
	}
	return simulate(ctx, a, sim)
}

// recorded replays what was sampled of a view.
func (c *simulateCmd) recorded(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		id, err := a.find(ctx, conn, c.View)
		if err != nil {
			return err
		}
		status, err := catalog.StatusByID(ctx, conn, id)
		if err != nil {
			return err
		}
		zone, err := time.LoadLocation(status.Timezone)
		if err != nil {
			return fmt.Errorf("zone of view %q: %w", status.Name, err)
		}
		if c.Target == 0 {
			target, err := catalog.OptimizerTarget(ctx, conn)
			if err != nil {
				return err
			}
			c.Target = traceSpan(target)
		}
		if inForce := cmp.Or(status.TunedInterval, status.RefreshInterval); c.Interval == 0 && inForce != nil && status.RefreshOn == "schedule" {
			c.Interval = traceSpan(inForce.Duration())
		}
		samples, err := catalog.VisibleSamples(ctx, conn, id, status.AsOf.Add(-time.Duration(c.Since)))
		if err != nil {
			return err
		}
		sim := optimizer.Simulation{
			RefreshCost: time.Duration(c.RefreshCost), Target: time.Duration(c.Target), Interval: time.Duration(c.Interval),
			WarmUp: time.Duration(c.WarmUp), Span: time.Duration(c.Span), Latest: true, Zone: zone,
		}
		if len(c.Policy) != 1 || c.Policy[0] != "all" {
			sim.Policies = c.Policy
		}
		history := jobs.HistoryOf(id, samples, zone, status.AsOf)
		if sim.Reads, sim.Changes, err = history.Trace(); err != nil {
			return &exitError{code: exitFailure, err: fmt.Errorf("nothing was sampled of view %q yet: reads are written down every five minutes while mvscheduler serve runs", status.Name)}
		}
		if sim.RefreshCost == 0 {
			took, err := catalog.TookLately(ctx, conn, id)
			if err != nil {
				return err
			}
			if len(took) == 0 {
				return usagef("no refresh of view %s is known: give --refresh-cost", status.Name)
			}
			slices.Sort(took)
			sim.RefreshCost = took[len(took)/2]
			a.say("a refresh of %s takes %s", status.Name, span(sim.RefreshCost))
		}
		err = simulate(ctx, a, sim)
		if errors.Is(err, optimizer.ErrNoReads) {
			return &exitError{code: exitFailure, err: fmt.Errorf("nobody read view %q in that time, as far as it was sampled", status.Name)}
		}
		return err
	})
}

// simulate prints what each policy would have cost.
func simulate(ctx context.Context, a *app, sim optimizer.Simulation) error {
	zone := sim.Zone
	report, err := optimizer.Simulate(ctx, sim)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return usagef("simulate: %w", err)
	}
	a.say("%.0f reads from %s to %s, after %s to learn from; a bin is %s", report.Reads, traceTime(report.From, zone), traceTime(report.To, zone), span(report.WarmUp), exactSpan(report.Width))
	a.say("old data costs so much that %s is the best interval at the mean rate of these reads; costs are in seconds of refreshes", span(report.Target))
	for _, note := range report.Notes {
		a.say("note: %s", note)
	}
	age := func(seconds float64) string { // what is younger than a bin is not told apart
		if seconds == 0 {
			return "< " + exactSpan(report.Width)
		}
		return spanOfSeconds(seconds)
	}
	return emit(a, report.Results, []column[optimizer.PolicyResult]{
		{title: "policy", cell: func(r optimizer.PolicyResult) string { return r.Policy }},
		{title: "refreshes", cell: func(r optimizer.PolicyResult) string { return strconv.Itoa(r.Refreshes) }, right: true},
		{title: "refresh time", cell: func(r optimizer.PolicyResult) string { return spanOfSeconds(r.RefreshSeconds) }, right: true},
		{title: "mean age", cell: func(r optimizer.PolicyResult) string { return age(r.MeanAge) }, right: true},
		{title: "p95 age", cell: func(r optimizer.PolicyResult) string { return age(r.P95Age) }, right: true},
		{title: "cost J", cell: func(r optimizer.PolicyResult) string { return fmt.Sprintf("%.0f", r.Cost) }, right: true},
		{title: "regret", cell: func(r optimizer.PolicyResult) string { return fmt.Sprintf("%.1f %%", 100*r.Regret) }, right: true},
		{title: "what it does", cell: func(r optimizer.PolicyResult) string { return optimizer.PolicyAbout(r.Policy) }, wrap: true},
	}, "")
}

func readTrace(file string) (optimizer.Trace, error) {
	f, err := os.Open(file)
	if err != nil {
		return optimizer.Trace{}, err
	}
	trace, err := optimizer.ReadTrace(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return optimizer.Trace{}, fmt.Errorf("%s: %w", file, err)
	}
	return trace, nil
}

func traceTime(t time.Time, zone *time.Location) string { return t.In(zone).Format("2006-01-02 15:04") }

func spanOfSeconds(s float64) string {
	return span(time.Duration(s * float64(time.Second)).Round(time.Second))
}

// traceSpan is a length of time as Go writes it, or as PostgreSQL does in one unit: 30s, 1h30m, 10min, '14 days'. Zero = it was not
// given: nobody can give it.
type traceSpan time.Duration

var (
	oneUnit   = regexp.MustCompile(`^([0-9]{1,8}(?:\.[0-9]+)?) *([a-z]+)$`)
	spanUnits = map[string]time.Duration{
		"sec": time.Second, "second": time.Second, "min": time.Minute, "minute": time.Minute, "hour": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour, "w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour,
	}
)

// UnmarshalText reads it.
func (s *traceSpan) UnmarshalText(text []byte) error {
	if parts := oneUnit.FindStringSubmatch(string(text)); parts != nil {
		if unit, known := spanUnits[strings.TrimSuffix(parts[2], "s")]; known {
			n, err := strconv.ParseFloat(parts[1], 64)
			if days := n * unit.Hours() / 24; err != nil || days > 36525 {
				return fmt.Errorf("%q is more than a hundred years", text)
			}
			return s.set(time.Duration(n * float64(unit)))
		}
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no length of time: write for example 30s, 1h30m, 10min or 14d", text)
	}
	return s.set(d)
}

func (s *traceSpan) set(d time.Duration) error {
	if d == 0 {
		return errors.New("must be longer than zero; leave it out to have the default")
	}
	*s = traceSpan(d)
	return nil
}
