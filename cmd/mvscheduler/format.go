package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

const nothing = "-"

// span writes a length of time in two units at most: "0.4 s", "12 s", "5m 03s", "2h 05m", "3d 04h".
func span(d time.Duration) string {
	if d < 0 {
		return "-" + span(-d)
	}
	switch {
	case d < 10*time.Second && d%time.Second != 0:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd %02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

func spanOf(s *catalog.Seconds) string {
	if s == nil {
		return nothing
	}
	return span(s.Duration())
}

// exactSpan writes an interval without rounding it: "1h30m", "2 days", "90 s".
func exactSpan(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return plural(int64(d/(24*time.Hour)), "day")
	}
	switch {
	case d%time.Hour == 0:
		return plural(int64(d/time.Hour), "hour")
	case d%time.Minute == 0 && d < time.Hour:
		return plural(int64(d/time.Minute), "minute")
	case d%time.Second == 0 && d < 2*time.Minute:
		return plural(int64(d/time.Second), "second")
	}
	return d.String()
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ago relates an instant to now: "12 s ago", "in 5m 03s".
func ago(t, now time.Time) string {
	d := now.Sub(t).Round(time.Second)
	switch {
	case d < 0:
		return "in " + span(-d)
	case d == 0:
		return "now"
	}
	return span(d) + " ago"
}

// moment writes an instant twice: as the clock shows it in the chosen zone, and in relation to now.
func (a *app) moment(t *time.Time, now time.Time) string {
	if t == nil {
		return nothing
	}
	return a.clock(*t, now) + " (" + ago(*t, now) + ")"
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

func bytesOf(n *int64) string {
	if n == nil {
		return nothing
	}
	const units = "kMGTPE"
	if *n < 1024 {
		return fmt.Sprintf("%d B", *n)
	}
	value, unit := float64(*n)/1024, 0
	for value >= 1023.95 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %cB", value, units[unit])
}

// countOf groups thousands.
func countOf(n *int64) string {
	if n == nil {
		return nothing
	}
	digits := fmt.Sprint(*n)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func textOf(s *string) string {
	if s == nil || *s == "" {
		return nothing
	}
	return *s
}

// scheduleWords says in words when a view is refreshed.
func scheduleWords(s catalog.ViewStatus) string {
	switch {
	case s.RefreshOn == "manual":
		return "only when asked"
	case s.RefreshOn == "upstream" && len(s.Upstream) > 0:
		return "after " + strings.Join(s.Upstream, ", ")
	case s.RefreshOn == "upstream":
		return "after the managed views it reads (none)"
	case s.Cron != nil:
		return fmt.Sprintf("cron %s (%s)", *s.Cron, s.Timezone)
	case s.TunedInterval != nil:
		return "every " + exactSpan(s.TunedInterval.Duration()) + " (tuned from " + exactSpan(s.RefreshInterval.Duration()) + ")"
	case s.RefreshInterval != nil:
		return "every " + exactSpan(s.RefreshInterval.Duration())
	}
	return "only when asked, since it has no clock"
}

// mark is a state as sign and word, so that neither colour nor font carries the meaning alone.
func mark(state string) string {
	signs := map[string]string{
		"fresh": "✓", "late": "◷", "stale": "✕", "never": "∅", "missing": "?",
		"idle": "·", "queued": "◌", "running": "▶", "waiting": "‖", "paused": "⏸",
		"succeeded": "✓", "skipped": "↷", "failed": "✕", "cancelled": "⊘", "busy": "‖", "lost": "?",
	}
	if sign, ok := signs[state]; ok {
		return sign + " " + state
	}
	return state
}

// shellQuote makes a word that can be pasted into a shell.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/:@%+=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
