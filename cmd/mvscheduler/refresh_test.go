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
	waits := catalog.RunRecord{ID: 3, Kind: "refresh", State: "queued"}
	fills := catalog.RunRecord{ID: 1, Kind: "refresh", State: "running", StartedAt: new(now.Add(-time.Minute)), AsOf: now, Progress: json.RawMessage(`{"phase": "filling the view", "what": "3 of about 6 buckets", "percent": 50}`)}
	prunes := catalog.RunRecord{ID: 2, Kind: "prune", State: "running"}
	require.Equal(t, &fills, runAhead(waits, []catalog.RunRecord{waits, prunes, fills}))
	require.Nil(t, runAhead(fills, []catalog.RunRecord{waits, prunes, fills}), "nor what comes after it")
	require.Nil(t, runAhead(waits, []catalog.RunRecord{waits, {ID: 1, Kind: "refresh", State: "succeeded"}}))

	var out strings.Builder
	p := progress{a: &app{stderr: &out, errTerminal: true, width: 200}, began: now.Add(-time.Minute), taken: now.Add(-time.Minute)}
	p.show([]requested{{Name: "v", State: "queued", run: &waits, ahead: &fills}})
	require.Contains(t, out.String(), "begins after run 1 ▶ running 1m 00s: █████░░░░░ filling the view: 3 of about 6 buckets, 50 %")

	// When that one has ended, a sidecar needs a moment for the next.
	p.show([]requested{{Name: "v", State: "queued", run: &catalog.RunRecord{ID: 2, State: "queued"}}})
	require.NotContains(t, out.String(), "no sidecar has taken it up")
	p.taken = now.Add(-time.Minute)
	p.show([]requested{{Name: "v", State: "queued", run: &waits, ahead: &catalog.RunRecord{ID: 1, State: "queued"}}})
	require.Contains(t, out.String(), "no sidecar has taken it up", "of the one before neither")
}
