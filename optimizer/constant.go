package optimizer

import (
	"strings"
	"time"
)

// ParseConstant reads a constant of a time as pg_qualstats writes it: '2026-11-20 06:00:00+00'::timestamp with time zone, or
// a timestamp or date, which is one in the zone. False where it is something else, not finite, or not in the format ISO.
func ParseConstant(constant string, zone *time.Location) (time.Time, bool) {
	text, kind, ok := strings.Cut(strings.TrimPrefix(constant, "'"), "'::")
	if !ok {
		return time.Time{}, false
	}
	if name, rest, typmod := strings.Cut(kind, "("); typmod {
		_, rest, _ = strings.Cut(rest, ")")
		kind = name + rest
	}
	var layouts []string
	switch kind {
	case "date":
		layouts = []string{time.DateOnly}
	case "timestamp without time zone":
		layouts = []string{time.DateTime}
	case "timestamp with time zone":
		layouts = []string{"2006-01-02 15:04:05Z07", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07:00:00"}
	}
	for _, layout := range layouts {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
