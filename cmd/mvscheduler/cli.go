package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// globals are the flags of every command.
type globals struct {
	DatabaseURL string `name:"database-url" env:"DATABASE_URL,MVSCHEDULER_DATABASE_URL" placeholder:"URL" group:"connection" help:"Database, as URL or key=value words. Empty: the libpq variables PGHOST, PGUSER, ... and their defaults. Prefer the variable for URLs with a password: others can see a command line."`
	Output      string `short:"o" enum:"table,json,yaml,csv" default:"table" placeholder:"FORMAT" group:"output" help:"table, json, yaml or csv."`
	NoColor     bool   `name:"no-color" group:"output" help:"No colours; so does a non-empty NO_COLOR."`
	Yes         bool   `short:"y" group:"output" help:"Do not ask."`
}

// grammar is the whole command line.
type grammar struct {
	globals

	Demo demoCmd `cmd:"" group:"start" help:"Show it all on real flights, in a private PostgreSQL that needs no set-up."`

	Migrate migrateCmd `cmd:"" group:"start" help:"Install, upgrade or remove schema mvscheduler."`
	Serve   serveCmd   `cmd:"" group:"start" help:"Run the sidecar: refresh views when they are due."`
	Grants  grantsCmd  `cmd:"" group:"start" help:"Print the GRANTs that this server needs."`

	Doctor doctorCmd `cmd:"" group:"look" help:"Look for what is wrong, with the fix for each."`
	Status statusCmd `cmd:"" group:"look" help:"How fresh every view is, and why."`
	List   listCmd   `cmd:"" group:"look" help:"The managed views and their schedules."`
	Show   showCmd   `cmd:"" group:"look" help:"Everything about one view."`
	Graph  graphCmd  `cmd:"" group:"look" help:"Which view reads which."`
	Runs   runsCmd   `cmd:"" group:"look" help:"What ran, when, and how it ended."`
	Next   nextCmd   `cmd:"" group:"look" help:"When a view will be refreshed next."`
	Health healthCmd `cmd:"" group:"look" help:"Whether the sidecar on this machine is ready, for health checks."`

	Plan     planCmd     `cmd:"" group:"look" help:"What apply would change, as a diff."`
	Export   exportCmd   `cmd:"" group:"look" help:"Views as YAML, or everything about them."`
	Simulate simulateCmd `cmd:"" group:"look" help:"What each way to schedule refreshes would have cost on a recorded trace of reads."`

	Recommend recommendCmd `cmd:"" group:"look" help:"What the optimizer recommends, and decide about it."`

	Create  createCmd  `cmd:"" group:"act" help:"Register a query as a managed materialized view."`
	Edit    editCmd    `cmd:"" group:"act" help:"Change a view's query or settings."`
	Adopt   adoptCmd   `cmd:"" group:"act" help:"Take over materialized views that exist."`
	Release releaseCmd `cmd:"" group:"act" help:"Give views back: they stay, nothing refreshes them any more."`
	Prune   pruneCmd   `cmd:"" group:"act" help:"Let go of rows that are older than retention_period."`
	Restore restoreCmd `cmd:"" group:"act" help:"Bring back partitions that retention has put aside."`
	Verify  verifyCmd  `cmd:"" group:"act" help:"Compute a view anew and compare, without touching it."`
	Apply   applyCmd   `cmd:"" group:"act" help:"Make views what a folder of YAML files says: show the diff, ask, do it."`
	Import  importCmd  `cmd:"" group:"act" help:"Make views what files of export say."`
	Drop    dropCmd    `cmd:"" group:"act" help:"Drop a view and what mvscheduler made for it."`
	Pause   pauseCmd   `cmd:"" group:"act" help:"Stop the clock of a view."`
	Resume  resumeCmd  `cmd:"" group:"act" help:"Start the clock of a view again."`
	Refresh refreshCmd `cmd:"" group:"act" help:"Refresh views now."`
	Cancel  cancelCmd  `cmd:"" group:"act" help:"Cancel a run; the old contents stay."`

	Version    versionCmd    `cmd:"" group:"other" help:"Print the version."`
	Completion completionCmd `cmd:"" group:"other" help:"Print a script that completes this command line in your shell."`
}

const description = `Keeps the materialized views of a PostgreSQL database fresh.

A view is one row of mvscheduler.views: INSERT it with SQL or with "mvscheduler create", and the sidecar ("mvscheduler serve") keeps it fresh.
Try it without a database of your own: "mvscheduler demo".

Every flag is also an environment variable: --no-color is MVSCHEDULER_NO_COLOR (but --timezone of create, edit and adopt, the zone of a view, is MVSCHEDULER_VIEW_TIMEZONE: MVSCHEDULER_TIMEZONE is the zone in which times are shown).

` + exitCodesHelp

// helpExit carries the exit code that kong asks for after --help out of its parser.
type helpExit int

// run is the whole program: it parses args, runs the command and returns the exit code. Cancelling ctx
// ends it early.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		if e := recover(); e != nil {
			asked, ok := e.(helpExit)
			if !ok {
				panic(e)
			}
			code = int(asked)
		}
	}()
	var g grammar
	parser, err := newParser(&g, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return exitFailure
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help": // as many programs have it
		args = append(args[1:], "--help")
	case args[0] == "--version":
		args[0] = "version"
	}
	parsed, err := parser.Parse(args)
	a := newApp(&g.globals, parser, stdin, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "error: %s\n  do: %s\n", sanitize(err.Error()), helpFor(err))
		return exitUsage
	}
	a.fromEnv = envValues(parsed)
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(a); err != nil {
		return a.report(ctx, err)
	}
	return exitOK
}

// withDefault is the help of a flag, with its default where it has one and does not say so itself.
func withDefault(v *kong.Value) string {
	if v.Default == "" || strings.Contains(v.Help, "Default: ") {
		return kong.DefaultHelpValueFormatter(v)
	}
	said := *v
	said.Help = strings.TrimSuffix(v.Help, ".") + ". Default: " + v.Default + "."
	return kong.DefaultHelpValueFormatter(&said)
}

func newParser(g *grammar, stdout, stderr io.Writer) (*kong.Kong, error) {
	return kong.New(g,
		kong.Name("mvscheduler"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(helpExit(code)) }),
		kong.DefaultEnvars("MVSCHEDULER"),
		kong.ValueFormatter(withDefault),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "start", Title: "Start:"},
			{Key: "look", Title: "Look:"},
			{Key: "act", Title: "Act:"},
			{Key: "other", Title: "Other:"},
			{Key: "query", Title: "Query:"},
			{Key: "clock", Title: "Clock:"},
			{Key: "refresh", Title: "Refresh:"},
			{Key: "limits", Title: "Limits:"},
			{Key: "retention", Title: "Retention:"},
			{Key: "optimizer", Title: "Optimizer:"},
			{Key: "connection", Title: "Connection:"},
			{Key: "output", Title: "Output:"},
		}),
	)
}

// helpFor names the command that explains what was typed wrongly.
func helpFor(err error) string {
	for _, format := range []string{"json", "yaml", "csv"} {
		if strings.HasPrefix(err.Error(), "unknown flag --"+format) {
			return "use -o " + format
		}
	}
	if strings.HasPrefix(err.Error(), "unexpected argument report") {
		return "mvscheduler recommend report"
	}
	var pe *kong.ParseError
	if errors.As(err, &pe) && pe.Context != nil {
		if node := pe.Context.Selected(); node != nil {
			return strings.TrimSpace(node.FullPath()) + " --help"
		}
	}
	return "mvscheduler --help"
}
