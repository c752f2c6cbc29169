package words

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// Nothing stands where there is no value.
const Nothing = "-"

// Span writes a length of time in two units at most: "38 ms", "0.4 s", "12 s", "5m 03s", "2h 05m", "3d 04h".
func Span(d time.Duration) string {
	if d < 0 {
		return "-" + Span(opposite(d))
	}
	switch {
	case 0 < d && d < 100*time.Millisecond:
		return fmt.Sprintf("%d ms", max(1, d.Round(time.Millisecond).Milliseconds()))
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

// opposite is -d for d < 0. The shortest length has none, and it is what lies between now and a year that somebody made up.
func opposite(d time.Duration) time.Duration { return -max(d, -math.MaxInt64) }

// SpanOf is Span of what may be missing.
func SpanOf(s *catalog.Seconds) string {
	if s == nil {
		return Nothing
	}
	return Span(s.Duration())
}

// ExactSpan writes an interval without rounding it: "1h30m", "2 days", "90 s".
func ExactSpan(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return Plural(int64(d/(24*time.Hour)), "day")
	}
	switch {
	case d%time.Hour == 0:
		return Plural(int64(d/time.Hour), "hour")
	case d%time.Minute == 0 && d < time.Hour:
		return Plural(int64(d/time.Minute), "minute")
	case d%time.Second == 0 && d < 2*time.Minute:
		return Plural(int64(d/time.Second), "second")
	}
	return d.String()
}

// Plural counts: "1 day", "2 days".
func Plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Ago relates an instant to now: "12 s ago", "in 5m 03s".
func Ago(t, now time.Time) string {
	d := now.Sub(t).Round(time.Second)
	switch {
	case d < 0:
		return "in " + Span(opposite(d))
	case d == 0:
		return "now"
	}
	return Span(d) + " ago"
}

// BytesOf writes a size in powers of 1024: "12.0 kB".
func BytesOf(n *int64) string {
	if n == nil {
		return Nothing
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

// CountOf groups thousands.
func CountOf(n *int64) string {
	if n == nil {
		return Nothing
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

// TextOf is a text that may be missing or empty.
func TextOf(s *string) string {
	if s == nil || *s == "" {
		return Nothing
	}
	return *s
}
