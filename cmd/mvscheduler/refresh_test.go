package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestWhoWaitsBehindAnotherRunSeesHowFarThatOneIs(t *testing.T) {
	t.Parallel()
	now := time.Now()
	waits := catalog.RunRecord{ID: 2, State: "queued", Reason: new("asked for by hand; begins after run 1, which will cancel it")}
	id, behind := beginsAfter(waits)
	require.True(t, behind)
	require.Equal(t, int64(1), id)
	_, behind = beginsAfter(catalog.RunRecord{State: "succeeded", Reason: waits.Reason})
	require.False(t, behind)
	_, behind = beginsAfter(catalog.RunRecord{State: "queued"})
	require.False(t, behind)

	fills := &catalog.RunRecord{ID: 1, State: "running", StartedAt: new(now.Add(-time.Minute)), AsOf: now, Progress: json.RawMessage(`{"phase": "filling the view", "what": "3 of about 6 buckets", "percent": 50}`)}
	var out strings.Builder
	p := progress{a: &app{stderr: &out, errTerminal: true, width: 200}, began: now.Add(-time.Minute), taken: now.Add(-time.Minute)}
	p.show([]requested{{Name: "v", State: "queued", run: &waits, ahead: fills}})
	require.Contains(t, out.String(), "begins after run 1 ▶ running 1m 00s: █████░░░░░ filling the view: 3 of about 6 buckets, 50 %")

	// When that one has ended, a sidecar needs a moment for the next.
	p.show([]requested{{Name: "v", State: "queued", run: &catalog.RunRecord{ID: 2, State: "queued"}}})
	require.NotContains(t, out.String(), "no sidecar has taken it up")
	p.taken = now.Add(-time.Minute)
	p.show([]requested{{Name: "v", State: "queued", run: &waits, ahead: &catalog.RunRecord{ID: 1, State: "queued"}}})
	require.Contains(t, out.String(), "no sidecar has taken it up", "of the one before neither")
}
