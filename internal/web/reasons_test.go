package web

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func body(t *testing.T, template string, body any) string {
	t.Helper()
	var page bytes.Buffer
	require.NoError(t, templates[template].ExecuteTemplate(&page, "body", body))
	return page.String()
}

// What to do stands at the end of a reason or in the middle of it. In a list of runs there is no room, and each has its page.
func TestTheHintOfAReasonIsShown(t *testing.T) {
	t.Parallel()
	reason := "paused by mvscheduler: a row between 2026-03-02 and 2026-03-03 has 2026-03-02, " + strings.Repeat("which is not the start of a bucket, ", 20) + "HINT: Set bucket_width. " + strings.Repeat("And so on. ", 70)
	view, run := catalog.ViewStatus{Name: "a.v", Reason: reason}, catalog.RunRecord{ID: 1, State: "failed", Kind: "refresh", Error: &reason}
	for name, page := range map[string]string{
		"overview":      body(t, "overview", overviewBody{API: true, Overview: Overview{Views: 1, Unhealthy: []catalog.ViewStatus{view}}}),
		"that failed":   body(t, "overview", overviewBody{API: true, Overview: Overview{Views: 1}, Failed: []runOf{{run, "a.v"}}}),
		"list of views": body(t, "views", listOf([]catalog.ViewStatus{view}, nil)),
	} {
		require.Contains(t, page, "HINT: Set bucket_width.", name)
	}
}

func TestRunsThatPruneTellNoSizeOfTheView(t *testing.T) {
	t.Parallel()
	size, left := int64(1000), int64(900000)
	bars, largest := sizesOf([]catalog.RunRecord{{ID: 3, State: "succeeded", Kind: "refresh", SizeBytes: &size}, {ID: 2, State: "succeeded", Kind: "prune", SizeBytes: &left}, {ID: 1, State: "succeeded", Kind: "refresh", SizeBytes: &size}})
	require.Len(t, bars, 2)
	require.Equal(t, "1000 B", largest)
}
