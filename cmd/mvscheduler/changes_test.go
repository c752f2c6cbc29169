package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestChangesAreToldInTheWordsOfTheFlags(t *testing.T) {
	t.Parallel()
	before := catalog.View{ID: 1, Name: "a.v", Query: "SELECT 1", Cron: new("0 6 * * *"), StatementTimeout: "00:30:00", UniqueKey: []string{"a"}, Enabled: true}
	after := before
	require.Empty(t, changesOf(&before, &after))
	after.Name, after.Query, after.Cron, after.StatementTimeout, after.Enabled = "a.w", "SELECT 2", nil, "1 day 02:00:00", false
	after.RefreshInterval, after.UniqueKey, after.MaxSizeBytes = new("00:00:01.5"), []string{"a", "b"}, new(int64(1<<20))
	require.Equal(t, []string{
		"name a.v -> a.w", "another query", "refresh_interval none -> 1.5s", "cron '0 6 * * *' -> none", "unique_key (a) -> (a; b)",
		"statement_timeout 30 minutes -> '1 day 02:00:00'", "max_size_bytes none -> 1.0 MB", "enabled true -> false",
	}, changesOf(&before, &after))
	before, after = catalog.View{Tracking: new("trigger"), TrackingReason: new("changes are noted by triggers")}, catalog.View{BucketWidth: new("02:00:00")}
	require.Equal(t, []string{"bucket_width none -> 2 hours"}, changesOf(&before, &after), "how changes were known at the last refresh is no setting")
	before, after = catalog.View{}, catalog.View{Calendar: []byte(`[{"days": "sat", "at": "06:45"}]`)}
	require.Equal(t, []string{`calendar none -> '[{"days": "sat", "at": "06:45"}]'`}, changesOf(&before, &after))
}
