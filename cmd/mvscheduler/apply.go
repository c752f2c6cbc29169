package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"
)

type applyCmd struct{ declared }

func (applyCmd) Help() string {
	return `Shows what plan shows, asks, and does it, in one transaction: all of it or nothing. With -y it does not ask. When nothing would change there is nothing to ask.

What is done is what was shown: when somebody has changed the same meanwhile nothing is done, and the exit code is 6. Nothing is ever deleted. For the rules of the files see mvscheduler import --help; import takes single files, does not ask, and with --keep-going leaves out what fails.

Examples:

  mvscheduler apply -f views/
  mvscheduler apply -y -f views/                 # in a pipeline, where nobody can be asked
  mvscheduler apply -f views/ -f tables.yaml

` + exitCodesHelp
}

// errPlanMoved says that the rows became something else than what was shown.
var errPlanMoved = errors.New("somebody changed the same meanwhile, so what was shown is not what would be done: nothing was applied")

// Run shows the plan, asks and does it.
func (c *applyCmd) Run(ctx context.Context, a *app) error {
	rows, err := c.read(a, "apply")
	if err != nil {
		return err
	}
	a.told = map[string]bool{}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		shown, err := planOf(ctx, a, conn, rows)
		if err != nil {
			return err
		}
		if err := shown.show(a); err != nil {
			return err
		}
		shown.sayRest(a)
		if shown.empty() {
			a.say("nothing was to be done: %s", shown.count(false))
			return nil
		}
		if err := a.confirm(shown.count(true)); err != nil { // no transaction is open while a person reads
			return err
		}
		_, err = together(ctx, a, conn, rows, false, func(ctx context.Context, tx pgx.Tx) error {
			now, err := readPlan(ctx, tx, rows)
			if err != nil {
				return err
			}
			if !reflect.DeepEqual(shown.rows, now.rows) {
				return &exitError{code: exitConflict, err: &adviceError{err: errPlanMoved, do: "Look at it again: repeat the command."}}
			}
			if err := tx.Commit(ctx); err != nil {
				return fmt.Errorf("apply: %w", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		a.say("%s", shown.count(false))
		return nil
	})
}
