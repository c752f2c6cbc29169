package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/catalog/schedule"
)

type nextCmd struct {
	zoned
	Name  string `arg:"" complete:"view" help:"The view."`
	Count int    `short:"n" default:"10" help:"So many times."`
}

func (nextCmd) Help() string {
	return `The next slots of a view's clock, in the view's zone and in yours, with a note where daylight saving begins or ends. A slot of an interval clock starts up to 10 s later than shown, by an offset that is always the same for a view. Slots within a pause that ends by itself are left out, with a note; what was due meanwhile follows the catchup of the view.

Examples:

  mvscheduler next analytics.worst
  mvscheduler next analytics.worst -n 400 -o csv

` + exitCodesHelp
}

// fireTime is one slot.
type fireTime struct {
	At       time.Time `json:"at"`
	InZone   string    `json:"in_zone"` // as the clocks of the view's zone show it
	Timezone string    `json:"timezone"`
	Note     string    `json:"note"`
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
		times := fireTimes(spec, s.Timezone, s.AsOf, c.Count, pausesOf(s, window))
		return emit(a, times, []column[fireTime]{
			{title: "in", zone: s.Timezone, cell: func(t fireTime) string { return t.InZone }},
			{title: "here", zone: "(" + a.zoneName(s.AsOf) + ")", cell: func(t fireTime) string { return a.full(&t.At, s.AsOf) }},
			{title: "note", cell: func(t fireTime) string { return t.Note }, wrap: true},
		}, s.Name+" is refreshed "+scheduleWords(s)+".")
	})
}

// specOf is the clock of a view; the zero Spec, which never fires, for a view without one.
func specOf(s catalog.ViewStatus) (schedule.Spec, error) {
	if s.RefreshOn != "schedule" {
		return schedule.Spec{}, nil
	}
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return schedule.Spec{}, fmt.Errorf("zone %q: %w", s.Timezone, err)
	}
	spec := schedule.Spec{Location: zone}
	switch {
	case s.Cron != nil:
		spec.Cron = *s.Cron
	case s.TunedInterval != nil:
		spec.Interval = s.TunedInterval.Duration().Round(time.Microsecond)
	case s.RefreshInterval != nil:
		spec.Interval = s.RefreshInterval.Duration().Round(time.Microsecond)
	}
	return spec, nil
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

// pause is a time in which a clock stands still, from included and until not.
type pause struct {
	from, until time.Time
	what        string
}

// pausesOf are those that end by themselves.
func pausesOf(s catalog.ViewStatus, window *catalog.Window) []pause {
	var pauses []pause
	if s.PausedUntil != nil {
		pauses = append(pauses, pause{until: *s.PausedUntil, what: "the view is paused"})
	}
	if window != nil && window.Until != nil {
		pauses = append(pauses, pause{window.From, *window.Until, "every view is paused"})
	}
	return pauses
}

// fireTimes lists slots after now, without those in a pause. A note says which pause was left out before the
// slot, that the offset of the view's zone has changed since the slot before, or since now for the first, and what
// daylight saving does to the slot itself.
func fireTimes(spec schedule.Spec, zoneName string, now time.Time, count int, pauses []pause) []fireTime {
	zone := spec.Location
	if zone == nil {
		zone = time.UTC
	}
	var out []fireTime
	var left []string
	before := now.In(zone)
	for after := now; len(out) < count; {
		next := spec.Upcoming(after, 1)
		if len(next) == 0 {
			break
		}
		fire := next[0]
		after = fire.Slot
		if i := slices.IndexFunc(pauses, func(p pause) bool { return !fire.Slot.Before(p.from) && fire.Slot.Before(p.until) }); i >= 0 {
			after = pauses[i].until.Add(-time.Microsecond)
			left = append(left, pauses[i].what+" until "+pauses[i].until.In(zone).Format("2006-01-02 15:04:05 MST"))
			continue
		}
		local := fire.Slot.In(zone)
		notes := append(left, offsetNote(before, local), fire.Note)
		out = append(out, fireTime{
			At: local.UTC(), InZone: local.Format("Mon 2006-01-02 15:04:05 MST"), Timezone: zoneName,
			Note: strings.Join(slices.DeleteFunc(notes, func(s string) bool { return s == "" }), "; "),
		})
		before, left = local, nil
	}
	return out
}

func offsetNote(before, after time.Time) string {
	_, was := before.Zone()
	_, is := after.Zone()
	if was == is {
		return ""
	}
	change := time.Duration(is-was) * time.Second
	direction := "forward"
	if change < 0 {
		direction, change = "back", -change
	}
	since, _ := after.ZoneBounds()
	return fmt.Sprintf("the clocks went %s by %s on %s", direction, exactSpan(change), since.Add(-time.Second).Format("2006-01-02"))
}
