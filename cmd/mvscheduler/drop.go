package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type dropCmd struct {
	Names []string `arg:"" name:"name" complete:"view" help:"The views."`
}

func (dropCmd) Help() string {
	return `Drops views and what mvscheduler made for them, all of them or none; a view that was adopted is released instead and stays. Objects of others that depend on one keep it from being dropped and are named in the error. Asks first, unless -y is given.

Examples:

  mvscheduler drop analytics.daily
  mvscheduler drop -y analytics.daily analytics.weekly

The same in SQL: SELECT mvscheduler.drop_view('analytics.daily')

` + exitCodesHelp
}

// Run drops the views.
func (c *dropCmd) Run(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		ids := make([]int64, len(c.Names))
		names := make([]string, len(c.Names))
		done := make([]string, len(c.Names))
		var effect strings.Builder
		for i, name := range c.Names {
			id, err := a.find(ctx, conn, name)
			if err != nil {
				return err
			}
			s, err := catalog.StatusByID(ctx, conn, id)
			if err != nil {
				return err
			}
			ids[i], names[i] = id, s.Name
			switch {
			case s.Adopted:
				done[i] = "released " + s.Name + ": it was adopted, so it stays, and nothing refreshes it any more"
				fmt.Fprintf(&effect, "Lets go of %s of %s, which was adopted: it stays, and nothing refreshes it any more.\n", s.Name, s.Owner)
			case s.Freshness == "missing":
				done[i] = "dropped " + s.Name
				fmt.Fprintf(&effect, "Deletes the row of %s of %s, whose materialized view is gone.\n", s.Name, s.Owner)
			default:
				done[i] = "dropped " + s.Name
				kind := "materialized"
				if s.Method == "incremental" {
					kind = "incremental"
				}
				fmt.Fprintf(&effect, "Drops %s view %s of %s: %s rows, %s.\n", kind, s.Name, s.Owner, countOf(s.RowsEstimate), bytesOf(s.SizeBytes))
				before, err := catalog.Irreplaceable(ctx, conn, id)
				if err != nil {
					return err
				}
				if before != nil {
					fmt.Fprintf(&effect, "What it shows before %s cannot be computed again: the rows that it was made of have left by retention.\n", a.clock(*before, time.Now()))
				}
			}
		}
		if err := a.confirm(strings.TrimRight(effect.String(), "\n")); err != nil {
			return err
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, `
DELETE FROM mvscheduler.views
 WHERE id = ANY ($1)   -- one statement: those that read another of them go first
RETURNING id`, ids)
			if err != nil {
				return fmt.Errorf("drop %s: %w", strings.Join(names, ", "), err)
			}
			gone, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			if err != nil {
				return fmt.Errorf("drop %s: %w", strings.Join(names, ", "), err)
			}
			for i, id := range ids {
				if !slices.Contains(gone, id) {
					return &exitError{code: exitConflict, err: fmt.Errorf("drop view %q: it is gone already, or only its owner may drop it", names[i])}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, words := range done {
			a.say("%s", words)
		}
		return nil
	})
}
