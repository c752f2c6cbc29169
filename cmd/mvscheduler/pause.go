package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type pauseCmd struct {
	zoned
	Names  []string `arg:"" optional:"" name:"name" complete:"view" help:"The views."`
	All    bool     `help:"Every view of the database; for administrators."`
	From   string   `placeholder:"WHEN" help:"With --all: begin at this instant, for a maintenance window that is to come."`
	Reason *string  `placeholder:"WORDS" help:"Why; shown in status."`
	Until  string   `placeholder:"WHEN" xor:"until" help:"End the pause by itself at this instant, for example '2027-01-02 06:00'. Read in --timezone."`
	For    string   `placeholder:"INTERVAL" xor:"until" help:"End the pause by itself this long after it began, for example 2h."`
}

func (pauseCmd) Help() string {
	return `Stops the clock of views. A run under way goes on, "mvscheduler refresh" still works, readers see the old contents.

Of a view that is paused already it changes when the pause ends, and the reason where --reason is given; it says what the pause was before.

Of --all there is one at a time, now or to come: another one replaces it, and says which.

Examples:

  mvscheduler pause analytics.daily --reason 'loading history' --for 2h
  mvscheduler pause analytics.daily --until '2027-01-02 06:00' --timezone Europe/Berlin
  mvscheduler pause --all --from '2027-01-02 01:00' --until '2027-01-02 03:00' --reason 'upgrade of the server'

The same in SQL: SELECT mvscheduler.pause_view('analytics.daily', 'loading history', now() + '2 hours')
                 SELECT mvscheduler.pause_all('upgrade', '2027-01-02 03:00', '2027-01-02 01:00')

` + exitCodesHelp
}

// Run pauses the views, all of them or none.
func (c *pauseCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	if c.All == (len(c.Names) > 0) {
		return usagef("name the views to pause, or give --all")
	}
	if c.From != "" && !c.All {
		return usagef("--from needs --all")
	}
	var from, until *time.Time
	if c.From != "" {
		t, err := parseInstant(c.From, a.zone)
		if err != nil {
			return err
		}
		from = &t
	}
	if c.Until != "" {
		t, err := parseInstant(c.Until, a.zone)
		if err != nil {
			return err
		}
		until = &t
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		var now time.Time
		var after *time.Time
		if c.For == "" {
			if err := conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
				return fmt.Errorf("read the database's clock: %w", err)
			}
		} else if err := conn.QueryRow(ctx, `SELECT clock_timestamp(), coalesce($2, clock_timestamp()) + $1::text::interval`, c.For, from).Scan(&now, &after); err != nil {
			return badInterval(fmt.Errorf("read --for: %w", err), "--for", c.For)
		}
		if after != nil {
			until = after
		}
		if until != nil && !until.After(now) {
			return usagef("the pause would end in the past: %s", a.full(until, now))
		}
		if c.All {
			replaced, err := changeWindow(ctx, conn, `SELECT mvscheduler.pause_all($1, $2, $3)`, c.Reason, until, from)
			if err != nil {
				return fmt.Errorf("pause every view: %w", err)
			}
			words := "paused every view"
			if from != nil {
				words = "every view will be paused from " + a.full(from, now)
			}
			if until != nil {
				words += " until " + a.full(until, now)
			}
			if replaced != nil {
				words += "\n  instead of the pause " + a.windowTimes(replaced)
			}
			a.say("%s\n  undo: mvscheduler resume --all", words)
			return nil
		}
		return eachView(ctx, a, conn, c.Names, "pause", func(tx pgx.Tx, name string) (string, error) {
			before, err := c.before(ctx, a, tx, name, until)
			if err != nil {
				return "", err
			}
			if _, err := tx.Exec(ctx, `SELECT mvscheduler.pause_view($1, $2, $3)`, name, c.Reason, until); err != nil {
				return "", err
			}
			if until != nil {
				return fmt.Sprintf("paused %s until %s%s", name, a.full(until, now), before), nil
			}
			return fmt.Sprintf("paused %s%s\n  undo: mvscheduler resume %s", name, before, shellQuote(name)), nil
		})
	})
}

// before says which pause of a view is in force already, and whether the new one takes its place.
func (c *pauseCmd) before(ctx context.Context, a *app, tx pgx.Tx, name string, until *time.Time) (string, error) {
	var was catalog.Window
	err := tx.QueryRow(ctx, `
SELECT v.paused_at, nullif(v.paused_until, 'infinity'), v.pause_reason, now()
  FROM mvscheduler.views AS v
 WHERE v.id = mvscheduler.view_id($1) AND v.paused_at IS NOT NULL AND coalesce(v.paused_until, 'infinity') > now()`, name).Scan(&was.From, &was.Until, &was.Reason, &was.AsOf)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", nil
	case err != nil:
		return "", err
	case c.Reason == nil && until == nil && was.Until == nil:
		return "\n  it was paused already, " + a.windowTimes(&was), nil
	}
	return "\n  instead of the pause " + a.windowTimes(&was), nil
}

// parseInstant reads RFC 3339, or date and time in the given zone.
func parseInstant(s string, zone *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("cannot read the instant %q: write '2027-01-02 06:00' or 2027-01-02T06:00:00+01:00", s)
}

type resumeCmd struct {
	Names []string `arg:"" optional:"" name:"name" complete:"view" help:"The views."`
	All   bool     `help:"End or cancel the pause of every view; for administrators."`
}

func (resumeCmd) Help() string {
	return `Ends a pause, whether a person began it or mvscheduler did after failures. --all ends the pause of every view, or cancels the one that is to come; views that were paused one by one stay so.

Examples:

  mvscheduler resume analytics.daily
  mvscheduler resume --all

The same in SQL: SELECT mvscheduler.resume_view('analytics.daily')

` + exitCodesHelp
}

// Run resumes the views, all of them or none.
func (c *resumeCmd) Run(ctx context.Context, a *app) error {
	if c.All == (len(c.Names) > 0) {
		return usagef("name the views to resume, or give --all")
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		if c.All {
			ended, err := changeWindow(ctx, conn, `SELECT mvscheduler.resume_all()`)
			switch {
			case err != nil:
				return fmt.Errorf("resume every view: %w", err)
			case ended == nil:
				a.say("nothing was to be done: no pause of every view is in force or planned")
			case ended.InForce():
				a.say("resumed every view: ended the pause %s\n  views that were paused one by one stay so: mvscheduler status", a.windowTimes(ended))
			default:
				a.say("cancelled the pause of every view %s", a.windowTimes(ended))
			}
			return nil
		}
		return eachView(ctx, a, conn, c.Names, "resume", func(tx pgx.Tx, name string) (string, error) {
			if _, err := tx.Exec(ctx, `SELECT mvscheduler.resume_view($1)`, name); err != nil {
				return "", err
			}
			return resumedWords(ctx, tx, name)
		})
	})
}

// resumedWords says that a view was resumed, and what keeps it from being refreshed all the same.
func resumedWords(ctx context.Context, tx pgx.Tx, name string) (string, error) {
	id, err := catalog.FindView(ctx, tx, name)
	if err != nil {
		return "", err
	}
	s, err := catalog.StatusByID(ctx, tx, id)
	if err != nil {
		return "", err
	}
	if s.Freshness == "missing" {
		return "resumed " + name + ", but it cannot be refreshed: its materialized view is gone\n  do:  " + nextStep(s), nil
	}
	return "resumed " + name, nil
}

// eachView looks every name up and then calls act with the qualified names, in one transaction. What act
// returns is said when it has committed.
func eachView(ctx context.Context, a *app, conn *pgx.Conn, names []string, verb string, act func(tx pgx.Tx, name string) (string, error)) error {
	var done []string
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var qualified []string
		for _, name := range names {
			id, err := a.find(ctx, tx, name)
			if err != nil {
				return err
			}
			s, err := catalog.StatusByID(ctx, tx, id)
			if err != nil {
				return err
			}
			qualified = append(qualified, s.Name)
		}
		for _, name := range qualified {
			words, err := act(tx, name)
			if err != nil {
				return fmt.Errorf("%s view %q: %w", verb, name, err)
			}
			done = append(done, words)
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
}
