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
	return `The next slots of a view's clock, in the view's zone and in yours, with a note where daylight saving begins or ends. A slot of an interval clock starts up to 10 s later than shown, by an offset that is always the same for a view.

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
		times := fireTimes(spec, s.Timezone, s.AsOf, c.Count)
		switch {
		case !s.Enabled:
			a.say("note: the view is disabled; nothing runs until: %s", nextStep(s))
		case s.Activity == "paused":
			a.say("note: the view is paused; nothing runs until: %s", nextStep(s))
		}
		return emit(a, times, []column[fireTime]{
			{title: "in " + s.Timezone, cell: func(t fireTime) string { return t.InZone }},
			{title: "here (" + a.zoneName(s.AsOf) + ")", cell: func(t fireTime) string { return a.full(&t.At, s.AsOf) }},
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
	case s.RefreshInterval != nil:
		spec.Interval = s.RefreshInterval.Duration().Round(time.Microsecond)
	}
	return spec, nil
}

// fireTimes lists slots after now. A note says that the offset of the view's zone has changed since the slot
// before, or since now for the first, and what daylight saving does to the slot itself.
func fireTimes(spec schedule.Spec, zoneName string, now time.Time, count int) []fireTime {
	zone := spec.Location
	if zone == nil {
		zone = time.UTC
	}
	var out []fireTime
	before := now.In(zone)
	for _, fire := range spec.Upcoming(now, count) {
		local := fire.Slot.In(zone)
		out = append(out, fireTime{
			At: local.UTC(), InZone: local.Format("Mon 2006-01-02 15:04:05 MST"), Timezone: zoneName,
			Note: strings.Join(slices.DeleteFunc([]string{offsetNote(before, local), fire.Note}, func(s string) bool { return s == "" }), "; "),
		})
		before = local
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
