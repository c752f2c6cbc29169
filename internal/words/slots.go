package words

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/catalog/schedule"
)

// Spec is the clock of a view; the zero Spec, which never fires, for a view without one.
func Spec(s catalog.ViewStatus) (schedule.Spec, error) {
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
	case s.Calendar != nil:
		spec.Calendar = string(s.Calendar)
	case s.TunedCalendar != nil:
		spec.Calendar = string(s.TunedCalendar)
	case s.TunedInterval != nil:
		spec.Interval = s.TunedInterval.Duration().Round(time.Microsecond)
	case s.RefreshInterval != nil:
		spec.Interval = s.RefreshInterval.Duration().Round(time.Microsecond)
	}
	return spec, nil
}

// FireTime is one slot.
type FireTime struct {
	At       time.Time `json:"at"`
	InZone   string    `json:"in_zone"` // as the clocks of the view's zone show it
	Timezone string    `json:"timezone"`
	Note     string    `json:"note"`
}

// Pause is a time in which a clock stands still, from included and until not.
type Pause struct {
	from, until time.Time
	what        string
}

// Pauses are those that end by themselves.
func Pauses(s catalog.ViewStatus, window *catalog.Window) []Pause {
	var pauses []Pause
	if s.PausedUntil != nil {
		pauses = append(pauses, Pause{until: *s.PausedUntil, what: "the view is paused"})
	}
	if window != nil && window.Until != nil {
		pauses = append(pauses, Pause{window.From, *window.Until, "every view is paused"})
	}
	return pauses
}

// FireTimes lists slots after now, without those in a pause. A note says which pause was left out before the
// slot, that the offset of the view's zone has changed since the slot before, or since now for the first, and what
// daylight saving does to the slot itself.
func FireTimes(spec schedule.Spec, zoneName string, now time.Time, count int, pauses []Pause) []FireTime {
	zone := spec.Location
	if zone == nil {
		zone = time.UTC
	}
	var out []FireTime
	var left []string
	before := now.In(zone)
	for after := now; len(out) < count; {
		next := spec.Upcoming(after, 1)
		if len(next) == 0 {
			break
		}
		fire := next[0]
		after = fire.Slot
		if i := slices.IndexFunc(pauses, func(p Pause) bool { return !fire.Slot.Before(p.from) && fire.Slot.Before(p.until) }); i >= 0 {
			after = pauses[i].until.Add(-time.Microsecond)
			left = append(left, pauses[i].what+" until "+pauses[i].until.In(zone).Format("2006-01-02 15:04:05 MST"))
			continue
		}
		local := fire.Slot.In(zone)
		notes := append(left, offsetNote(before, local), fire.Note)
		out = append(out, FireTime{
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
	return fmt.Sprintf("the clocks went %s by %s on %s", direction, ExactSpan(change), since.Add(-time.Second).Format("2006-01-02"))
}
