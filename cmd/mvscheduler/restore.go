package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

type restoreCmd struct {
	Name string `arg:"" complete:"view" help:"The view, or the table of source_retention."`
}

func (restoreCmd) Help() string {
	return `Brings back the partitions that retention has put aside and not dropped yet, with every row of them. It runs in your session, so only their owner can. They stay for another grace period; to keep them for longer, lengthen retention_period.

Examples:

  mvscheduler restore analytics.hourly_delays
  mvscheduler restore app.flights

The same in SQL: SELECT * FROM mvscheduler.restore_view('analytics.hourly_delays')

` + exitCodesHelp
}

// restored is a partition that was brought back.
type restored struct {
	Partition string `json:"partition"`
	Bound     string `json:"bound"`
	Rows      *int64 `json:"rows"` // estimated; nil = unknown
	Bytes     *int64 `json:"bytes"`
}

// Run restores.
func (c *restoreCmd) Run(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		if _, err := a.findTarget(ctx, conn, c.Name); err != nil {
			return err
		}
		var found []restored
		err := a.inPath(ctx, conn, func() error {
			rows, err := conn.Query(ctx, `SELECT r.partition, r.bound, r.rows, r.bytes FROM mvscheduler.restore_view($1) AS r`, c.Name)
			if err != nil {
				return err
			}
			found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[restored])
			return err
		})
		if err != nil {
			return fmt.Errorf("restore what was put aside of %q: %w", c.Name, err)
		}
		return emit(a, found, []column[restored]{
			{title: "partition", cell: func(r restored) string { return r.Partition }},
			{title: "holds", cell: func(r restored) string { return r.Bound }, wrap: true},
			{title: "rows", cell: func(r restored) string { return countOf(r.Rows) }, right: true},
			{title: "bytes", cell: func(r restored) string { return bytesOf(r.Bytes) }, right: true},
		}, "Nothing is kept aside.")
	})
}
