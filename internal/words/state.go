package words

import (
	"fmt"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/catalog/schedule"
)

// Schedule says in words when a view is refreshed.
func Schedule(s catalog.ViewStatus) string {
	switch {
	case s.RefreshOn == "manual":
		return "only when asked"
	case s.RefreshOn == "upstream" && len(s.Upstream) > 0:
		return "after " + strings.Join(s.Upstream, ", ")
	case s.RefreshOn == "upstream":
		return "after the managed views it reads (none)"
	case s.Cron != nil:
		return fmt.Sprintf("cron %s (%s)", *s.Cron, s.Timezone)
	case s.Calendar != nil:
		return fmt.Sprintf("%s (%s)", calendarWords(string(s.Calendar)), s.Timezone)
	case s.TunedCalendar != nil:
		return fmt.Sprintf("%s (%s; tuned from every %s)", calendarWords(string(s.TunedCalendar)), s.Timezone, ExactSpan(s.RefreshInterval.Duration()))
	case s.TunedInterval != nil:
		tuned := "every " + ExactSpan(s.TunedInterval.Duration()) + " (tuned from " + ExactSpan(s.RefreshInterval.Duration()) + ")"
		if s.TunedPatience != nil {
			tuned += ", and when readers saw enough old data"
		}
		return tuned
	case s.RefreshInterval != nil:
		return "every " + ExactSpan(s.RefreshInterval.Duration())
	}
	return "only when asked, since it has no clock"
}

// Earlier says when a view is refreshed before its next slot; empty when only a person can have that.
func Earlier(s catalog.ViewStatus) string {
	if s.TunedPatience == nil || s.Activity == "paused" {
		return ""
	}
	return "when the age of what readers saw since the last refresh adds up to " + Span(time.Duration(*s.TunedPatience*float64(time.Second))) + ", unless the next slot is near"
}

// calendarWords says a calendar in a line: "every 30 minutes, mon-fri 07:00-19:00; sat,sun at 06:45".
func calendarWords(text string) string {
	calendar, err := schedule.ParseCalendar(text)
	if err != nil { // the catalog takes none that is wrong
		return text
	}
	return calendar.String()
}

// Mark is a state as sign and word, so that neither colour nor font carries the meaning alone.
func Mark(state string) string {
	signs := map[string]string{
		"fresh": "✓", "late": "◷", "stale": "✕", "never": "∅", "missing": "?",
		"idle": "·", "queued": "◌", "running": "▶", "waiting": "…", "paused": "‖",
		"succeeded": "✓", "skipped": "↷", "failed": "✕", "cancelled": "⊘", "busy": "…", "lost": "?",
	}
	if sign, ok := signs[state]; ok {
		return sign + " " + state
	}
	return state
}

// ShellQuote makes a word that can be pasted into a shell.
func ShellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/:@%+=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// NextStep is what a person does about the state of a view; empty when nothing needs doing.
func NextStep(s catalog.ViewStatus) string {
	switch {
	case s.HasData():
		return "mvscheduler resume " + ShellQuote(s.Name) + ", which makes it again over its data"
	case s.Freshness == "missing":
		return "mvscheduler export | mvscheduler import -, which creates again what is gone; or give it up: mvscheduler drop " + ShellQuote(s.Name)
	case s.AutoPaused:
		return "mend the cause, then: mvscheduler resume " + ShellQuote(s.Name)
	case !s.Enabled:
		return "mvscheduler edit " + ShellQuote(s.Name) + " --enabled"
	case strings.HasPrefix(s.Reason, "every view is paused"):
		return "mvscheduler resume --all, as an administrator"
	case s.Activity == "paused":
		return "mvscheduler resume " + ShellQuote(s.Name)
	case s.ConsecutiveFailures > 0:
		return "mend the cause, then: mvscheduler refresh --wait " + ShellQuote(s.Name)
	case s.Freshness == "never" && s.RefreshOn == "manual":
		return "mvscheduler refresh --wait " + ShellQuote(s.Name)
	case (s.Freshness == "late" || s.Freshness == "stale") && s.Activity == "idle":
		return "check that a sidecar runs: mvscheduler serve"
	}
	return ""
}
