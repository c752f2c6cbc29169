package main

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type statusCmd struct {
	zoned
	Check bool `help:"Exit with 5 when a person has to look: a view is stale or missing, was paused after failures, fails for the third time in a row, or never had a successful refresh and fails."`
}

func (statusCmd) Help() string {
	return `One line a view: how fresh its contents are, what is going on, and why.

  ✓ fresh    lag within target and grace    · idle     nothing to do
  ◷ late     up to twice the target         ◌ queued   waits for a worker
  ✕ stale    more than that                 ▶ running  is being refreshed
  ∅ never    no contents yet                … waiting  for a lock
  ? missing  dropped by hand                ‖ paused   its clock is stopped

Examples:

  mvscheduler status
  mvscheduler status --check || alert
  mvscheduler status -o json | jq '.[] | select(.freshness == "stale") | .name'

The same in SQL: SELECT * FROM mvscheduler.status

` + exitCodesHelp
}

// Run prints the status table.
func (c *statusCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		all, err := catalog.Statuses(ctx, conn)
		if err != nil {
			return err
		}
		if err := emit(a, all, a.statusColumns(all), "There is no managed view that you may see. Make one: mvscheduler create --help"); err != nil {
			return err
		}
		if a.Output == "table" {
			window, err := catalog.ReadWindow(ctx, conn)
			if err != nil {
				return err
			}
			a.sayWindow(window)
		}
		var unhealthy []string
		for _, s := range all {
			if s.Unhealthy() {
				unhealthy = append(unhealthy, s.Name)
			}
		}
		if c.Check && len(unhealthy) > 0 {
			a.say("%s unhealthy: %s\n  do:  mvscheduler show NAME", plural(int64(len(unhealthy)), "view")+" "+map[bool]string{true: "is", false: "are"}[len(unhealthy) == 1], strings.Join(unhealthy, ", "))
			return &exitError{code: exitUnhealthy}
		}
		return nil
	})
}

// statusColumns is the status table; demo draws it too. The zone's name stands in the heading.
func (a *app) statusColumns(all []catalog.ViewStatus) []column[catalog.ViewStatus] {
	zone := ""
	if len(all) > 0 {
		zone = "(" + a.zoneName(all[0].AsOf) + ")"
	}
	return []column[catalog.ViewStatus]{
		{title: "view", cell: func(s catalog.ViewStatus) string { return s.Name }},
		{title: "freshness", cell: func(s catalog.ViewStatus) string { return mark(s.Freshness) }, state: func(s catalog.ViewStatus) text.Colors { return stateColours(s.Freshness) }},
		{title: "activity", cell: func(s catalog.ViewStatus) string { return mark(s.Activity) }, state: func(s catalog.ViewStatus) text.Colors { return stateColours(s.Activity) }},
		{title: "lag / target", cell: func(s catalog.ViewStatus) string { return spanOf(s.Lag) + " / " + spanOf(s.Target) }},
		{title: "last refresh", zone: zone, cell: func(s catalog.ViewStatus) string { return a.moment(s.LastRefreshAt, s.AsOf) }, spare: true},
		{title: "next", zone: zone, cell: func(s catalog.ViewStatus) string { return a.due(s.NextRefreshAt, s.AsOf) }, spare: true},
		{title: "reason", cell: func(s catalog.ViewStatus) string { return s.Reason }, wrap: true},
	}
}
