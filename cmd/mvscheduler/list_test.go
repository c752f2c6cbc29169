package main

import (
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestTheListFitsEightyColumns(t *testing.T) {
	t.Parallel()
	all := []catalog.ViewStatus{{
		Name: "analytics.flights_by_airport_and_hour", Owner: "analytics_owner", Method: "concurrent", RowsEstimate: new(int64(123456789)), SizeBytes: new(int64(1 << 33)),
		Enabled: true, RefreshOn: "schedule", Cron: new("0,15,30,45 6-22 * * 1-5"), Timezone: "America/Argentina/Buenos_Aires",
	}}
	drawn := renderTable(&app{width: 80}, all, listColumns())
	for _, line := range strings.Split(drawn, "\n") {
		require.LessOrEqual(t, text.StringWidth(line), 80, "%q", line)
	}
	require.Contains(t, drawn, "analytics.flights_by_airport_and_hour")
	require.Contains(t, drawn, "cron 0,15,30,45")
	require.Contains(t, strings.Split(renderTable(&app{}, all, listColumns()), "\n")[0], "OWNER")
}
