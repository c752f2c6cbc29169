package main

import (
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/require"
)

func TestATableFitsItsTerminal(t *testing.T) {
	t.Parallel()
	type row struct{ name, state, spare, why string }
	rows := []row{{"analytics.hourly_delays", "fresh", strings.Repeat("s", 20), ""}, {"analytics.daily", "stale", "s", strings.Repeat("a long reason ", 12)}}
	columns := []column[row]{
		{title: "view", cell: func(r row) string { return r.name }},
		{title: "state", cell: func(r row) string { return r.state }},
		{title: "more", cell: func(r row) string { return r.spare }, spare: true},
		{title: "why", cell: func(r row) string { return r.why }, wrap: true},
	}
	for width, want := range map[int]struct{ header, reason string }{
		0:   {"VIEW STATE MORE WHY", "analytics.daily stale s a long reason"},
		120: {"VIEW STATE MORE WHY", "analytics.daily stale s a long reason"},
		80:  {"VIEW STATE MORE", "a long reason"},
		50:  {"VIEW STATE", "a long reason"},
	} {
		drawn := renderTable(&app{width: width}, rows, columns)
		lines := strings.Split(drawn, "\n")
		require.Equal(t, want.header, strings.Join(strings.Fields(lines[0]), " "), width)
		found := false
		for _, line := range lines {
			found = found || strings.HasPrefix(strings.Join(strings.Fields(line), " "), want.reason)
			if width > 0 {
				require.LessOrEqual(t, text.StringWidth(line), width, "%q", line)
			}
		}
		require.True(t, found, "%d:\n%s", width, drawn)
		require.Equal(t, 12, strings.Count(strings.Join(strings.Fields(drawn), " "), "long reason"), "%d:\n%s", width, drawn)
	}
}
