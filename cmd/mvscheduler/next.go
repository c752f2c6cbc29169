package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type nextCmd struct {
	zoned
	Name  string `arg:"" complete:"view" help:"The view."`
	Count int    `short:"n" default:"10" help:"So many times."`
}

func (nextCmd) Help() string {
	return `The next slots of a view's clock, in the view's zone and in yours, with a note where daylight saving begins or ends. A slot of an interval clock starts up to 10 s later than shown, by an offset that is always the same for a view. Slots within a pause that ends by itself are left out, with a note; what was due meanwhile follows the catchup of the view. Where readers who see old data have the view refreshed between two slots (adaptive, under optimize = 'auto'), a note says when.

Examples:

  mvscheduler next analytics.worst
  mvscheduler next analytics.worst -n 400 -o csv

` + exitCodesHelp
}

// Run prints the slots.
func (c *nextCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	if c.Count < 1 || c.Count > 10000 {
		return usagef("--count must be 1 to 10000")
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		id, err := a.find(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		s, err := catalog.StatusByID(ctx, conn, id)
		if err != nil {
			return err
		}
		spec, err := specOf(s)
		if err != nil {
			return fmt.Errorf("next runs of view %q: %w", s.Name, err)
		}
		window, err := catalog.ReadWindow(ctx, conn)
		if err != nil {
			return err
		}
		a.sayStandstill(s, window)
		if when := earlier(s); when != "" {
			a.say("note: the view may be refreshed earlier: %s", when)
		}
		times := fireTimes(spec, s.Timezone, s.AsOf, c.Count, pausesOf(s, window))
		return emit(a, times, []column[fireTime]{
			{title: "in", zone: s.Timezone, cell: func(t fireTime) string { return t.InZone }},
			{title: "here", zone: "(" + a.zoneName(s.AsOf) + ")", cell: func(t fireTime) string { return a.full(&t.At, s.AsOf) }},
			{title: "note", cell: func(t fireTime) string { return t.Note }, wrap: true},
		}, s.Name+" is refreshed "+scheduleWords(s)+".")
	})
}

// sayStandstill tells why the clock stands still, and what makes it go on.
func (a *app) sayStandstill(s catalog.ViewStatus, window *catalog.Window) {
	a.sayWindow(window)
	switch {
	case !s.Enabled:
		a.say("note: the view is disabled; nothing runs until: %s", nextStep(s))
	case s.AutoPaused:
		a.say("note: the view is paused by mvscheduler; nothing runs until: %s", nextStep(s))
	case s.PausedUntil != nil && s.PausedUntil.After(s.AsOf):
		a.say("note: the view is paused until %s; sooner: mvscheduler resume %s", a.full(s.PausedUntil, s.AsOf), shellQuote(s.Name))
	case s.Activity == "paused" && !window.InForce():
		a.say("note: the view is paused; nothing runs until: %s", nextStep(s))
	}
}
