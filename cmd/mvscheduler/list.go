package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type listCmd struct {
	Names bool `help:"Print the names only, one a line."`
}

func (listCmd) Help() string {
	return `The managed views that you may see: those of every role that you could become.

Examples:

  mvscheduler list
  mvscheduler list --names | xargs mvscheduler refresh
  mvscheduler list -o csv

The same in SQL: SELECT * FROM mvscheduler.status, or mvscheduler.views for every setting.

` + exitCodesHelp
}

// Run prints the list.
func (c *listCmd) Run(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		all, err := catalog.Statuses(ctx, conn)
		if err != nil {
			return err
		}
		if c.Names {
			for _, s := range all {
				fmt.Fprintln(a.rawOut(), s.Name)
			}
			return nil
		}
		return emit(a, all, listColumns(), "There is no managed view that you may see. Make one: mvscheduler create --help")
	})
}

func enabledSchedule(s catalog.ViewStatus) string {
	words := scheduleWords(s)
	switch {
	case !s.Enabled:
		words += "; disabled"
	case s.Activity == "paused":
		words += "; paused"
	}
	return words
}

func listColumns() []column[catalog.ViewStatus] {
	return []column[catalog.ViewStatus]{
		{title: "view", cell: func(s catalog.ViewStatus) string { return s.Name }},
		{title: "owner", cell: func(s catalog.ViewStatus) string { return s.Owner }, spare: true},
		{title: "method", cell: func(s catalog.ViewStatus) string { return s.Method }, spare: true},
		{title: "rows", cell: func(s catalog.ViewStatus) string { return countOf(s.RowsEstimate) }, right: true, spare: true},
		{title: "size", cell: func(s catalog.ViewStatus) string { return bytesOf(s.SizeBytes) }, right: true, spare: true},
		{title: "refreshed", cell: enabledSchedule, wrap: true},
	}
}
