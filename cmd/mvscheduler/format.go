package main

import (
	"time"
)

// moment writes an instant twice: as the clock shows it in the chosen zone, and in relation to now.
func (a *app) moment(t *time.Time, now time.Time) string {
	if t == nil {
		return nothing
	}
	return a.clock(*t, now) + " (" + ago(*t, now) + ")"
}

// due is when something begins; what could not begin when it was to says since when it waits.
func (a *app) due(t *time.Time, now time.Time) string {
	if t == nil || t.After(now) {
		return a.moment(t, now)
	}
	return "due since " + a.clock(*t, now)
}

// clock leaves the date out on the same day.
func (a *app) clock(t, now time.Time) string {
	t, now = t.In(a.zone), now.In(a.zone)
	if y, m, d := t.Date(); func() bool { ny, nm, nd := now.Date(); return y == ny && m == nm && d == nd }() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// full writes an instant with date and zone, and in relation to now.
func (a *app) full(t *time.Time, now time.Time) string {
	if t == nil {
		return nothing
	}
	return t.In(a.zone).Format("2006-01-02 15:04:05 MST") + " (" + ago(*t, now) + ")"
}

// zoneName is how the chosen zone is called at an instant.
func (a *app) zoneName(at time.Time) string {
	name, _ := at.In(a.zone).Zone()
	return name
}
