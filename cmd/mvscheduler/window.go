package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// changeWindow runs a statement about the pause of every view, and returns the pause that there was before.
func changeWindow(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (before *catalog.Window, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT FROM mvscheduler.settings FOR NO KEY UPDATE`); err != nil { // two at once would say the same
			return err
		}
		if before, err = catalog.ReadWindow(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sql, args...)
		return err
	})
	return before, err
}

// windowTimes is "from A until B: reason".
func (a *app) windowTimes(w *catalog.Window) string {
	words := "from " + a.full(&w.From, w.AsOf)
	if w.Until != nil {
		words += " until " + a.full(w.Until, w.AsOf)
	}
	if w.Reason != nil && *w.Reason != "" {
		words += ": " + *w.Reason
	}
	return words
}

// sayWindow tells of a pause of every view that is in force or to come.
func (a *app) sayWindow(w *catalog.Window) {
	switch {
	case w == nil:
	case w.InForce():
		a.say("note: every view is paused %s; sooner: mvscheduler resume --all", a.windowTimes(w))
	default:
		a.say("note: every view will be paused %s; to cancel it: mvscheduler resume --all", a.windowTimes(w))
	}
}
