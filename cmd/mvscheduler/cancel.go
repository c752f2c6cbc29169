package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

type cancelCmd struct {
	ID runID `arg:"" name:"run" help:"Number of the run, from mvscheduler runs."`
}

func (cancelCmd) Help() string {
	return `Asks the sidecar to cancel a run that is queued or running. The old contents stay; the slot is not run again, the next one is.

Examples:

  mvscheduler runs
  mvscheduler cancel 4711

The same in SQL: SELECT mvscheduler.cancel_run(4711)

` + exitCodesHelp
}

// runID is the number of a run.
type runID int64

// UnmarshalText reads it.
func (id *runID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of a run: mvscheduler runs lists them", text)
	}
	*id = runID(n)
	return nil
}

// Run asks for the cancellation.
func (c *cancelCmd) Run(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, `SELECT mvscheduler.cancel_run($1)`, int64(c.ID)); err != nil {
			return fmt.Errorf("cancel run %d: %w", c.ID, err)
		}
		a.say("asked the sidecar to cancel run %d", c.ID)
		return nil
	})
}
