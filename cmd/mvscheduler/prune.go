package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

type pruneCmd struct {
	zoned
	Name   string `arg:"" complete:"view" help:"The view."`
	DryRun bool   `help:"Only count what would leave."`
}

func (pruneCmd) Help() string {
	return `Counts the rows that leave a view for its retention_period, with your own rights, and unless --dry-run is given asks for the refresh that lets them go.

Examples:

  mvscheduler prune analytics.daily --dry-run
  mvscheduler prune analytics.daily

The same in SQL: SELECT * FROM mvscheduler.prune_view('analytics.daily', dry_run => true)

` + exitCodesHelp
}

// pruning is what leaves a view.
type pruning struct {
	Relation string     `json:"relation"`
	Border   *time.Time `json:"border"` // rows before it leave; nil = none do
	Rows     *int64     `json:"rows"`   // nil = not counted: the caller is not the owner
	Bytes    *int64     `json:"bytes"`
	Reason   string     `json:"reason"`
	Run      *int64     `json:"run"` // that lets them go; nil = none was asked for
}

// Run prunes.
func (c *pruneCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		if _, err := a.find(ctx, conn, c.Name); err != nil {
			return err
		}
		var found []pruning
		err := a.inPath(ctx, conn, func() error {
			rows, err := conn.Query(ctx, `SELECT relation, border, rows, bytes, reason, run FROM mvscheduler.prune_view($1, dry_run => $2)`, c.Name, c.DryRun)
			if err != nil {
				return err
			}
			found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[pruning])
			return err
		})
		if err != nil {
			return fmt.Errorf("prune view %q: %w", c.Name, err)
		}
		return emit(a, found, []column[pruning]{
			{title: "view", cell: func(p pruning) string { return p.Relation }},
			{title: "rows that leave", cell: func(p pruning) string { return countOf(p.Rows) }, right: true},
			{title: "bytes", cell: func(p pruning) string { return bytesOf(p.Bytes) }, right: true},
			{title: "run", cell: func(p pruning) string {
				if p.Run == nil {
					return nothing
				}
				return strconv.FormatInt(*p.Run, 10)
			}},
			{title: "why", cell: func(p pruning) string { return p.Reason }, wrap: true},
		}, "")
	})
}
