package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type runsCmd struct {
	zoned
	Name   string `arg:"" optional:"" complete:"view" help:"Only runs of this view, or of this table of source_retention."`
	Failed bool   `help:"Only runs that failed."`
	Since  string `placeholder:"INTERVAL" help:"Only runs queued within this time, for example 24h or '7 days'."`
	Limit  int    `short:"n" default:"30" help:"At most so many, the newest."`
}

func (runsCmd) Help() string {
	return `One line a slot: when it was due, why, and what became of it. The newest comes first.

Examples:

  mvscheduler runs
  mvscheduler runs analytics.hourly_delays --failed --since '7 days'
  mvscheduler runs -o json -n 1000

The same in SQL: SELECT * FROM mvscheduler.runs, and mvscheduler.attempts for every try.

` + exitCodesHelp
}

// Run prints the runs.
func (c *runsCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	if c.Limit < 1 {
		return usagef("--limit must be at least 1")
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		filter := catalog.RunFilter{Failed: c.Failed, Since: c.Since, Limit: c.Limit}
		if c.Name != "" {
			id, err := a.findTarget(ctx, conn, c.Name)
			if err != nil {
				return err
			}
			filter.ViewID = id
		}
		runs, err := catalog.Runs(ctx, conn, filter)
		if err != nil {
			return badInterval(err, "--since", c.Since)
		}
		return emit(a, runs, a.runColumns(runs), "No run matches.")
	})
}

func (a *app) runColumns(runs []catalog.RunRecord) []column[catalog.RunRecord] {
	zone := ""
	if len(runs) > 0 {
		zone = "(" + a.zoneName(runs[0].AsOf) + ")"
	}
	return []column[catalog.RunRecord]{
		{title: "run", cell: func(r catalog.RunRecord) string { return strconv.FormatInt(r.ID, 10) }, right: true},
		{title: "view", cell: func(r catalog.RunRecord) string { return r.ViewName }},
		{title: "state", cell: func(r catalog.RunRecord) string { return mark(r.State) }, state: func(r catalog.RunRecord) text.Colors { return stateColours(r.State) }},
		{title: "cause", cell: func(r catalog.RunRecord) string { return r.Cause }, spare: true},
		{title: "due", zone: zone, cell: func(r catalog.RunRecord) string { return a.moment(&r.DueAt, r.AsOf) }},
		{title: "took", cell: runTook, right: true},
		{title: "tries", cell: func(r catalog.RunRecord) string { return strconv.Itoa(r.Attempts) }, right: true, spare: true},
		{title: "method", cell: func(r catalog.RunRecord) string { return textOf(r.Method) }, spare: true},
		{title: "rows", cell: func(r catalog.RunRecord) string { return countOf(r.Rows) }, right: true, spare: true},
		{title: "why", cell: func(r catalog.RunRecord) string { return runBar(r, a.outTerminal) + runWords(r) }, wrap: true},
	}
}

func runTook(r catalog.RunRecord) string {
	if r.StartedAt == nil {
		return nothing
	}
	return span(r.Took())
}

// runBar draws how far a run is, on a terminal; empty where that is not known.
func runBar(r catalog.RunRecord, terminal bool) string {
	const cells = 10
	percent, known := r.Percent()
	if !known || !terminal || r.Ended() {
		return ""
	}
	done := max(0, min(percent*cells/100, cells))
	return strings.Repeat("█", done) + strings.Repeat("░", cells-done) + " "
}

// runWords is the error of a run, or the lock it waits for, or the reason that was recorded.
func runWords(r catalog.RunRecord) string {
	words := r.WaitingFor()
	add := func(s string) {
		switch {
		case s == "" || words == "":
		case strings.HasSuffix(words, "."):
			words += " "
		default:
			words += "; "
		}
		words += s
	}
	if r.Error != nil {
		if r.SQLState != nil {
			add("[" + *r.SQLState + "] " + *r.Error)
		} else {
			add(*r.Error)
		}
	}
	if r.Buckets != nil && *r.Buckets > 0 {
		add(plural(*r.Buckets, "bucket") + " computed")
	}
	if r.Reason != nil {
		add(*r.Reason)
	}
	if r.MissedSlots > 0 && !strings.Contains(words, "earlier slot") {
		add("stands for " + plural(int64(r.MissedSlots), "earlier slot") + " too")
	}
	return words
}
