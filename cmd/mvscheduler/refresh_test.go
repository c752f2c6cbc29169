package main

import (
	"encoding/json"
	"regexp"
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

func TestALogIsNotFilledWithHowFarARunIs(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := progress{a: &app{stderr: &out}, began: time.Now(), taken: time.Now()}
	fills := requested{Name: "v", State: "running", run: &catalog.RunRecord{ID: 1, Kind: "refresh", State: "running", StartedAt: new(time.Now())}}
	far := func(percent string) {
		fills.run.Progress = json.RawMessage(`{"phase": "filling the view", "what": "` + percent + ` of about 100 buckets", "percent": ` + percent + `}`)
		p.show([]requested{fills, {Name: "w", State: "queued"}})
	}
	for _, percent := range []string{"1", "2", "3"} {
		far(percent)
	}
	p.said = p.said.Add(-time.Minute)
	far("40")
	p.show([]requested{fills, {Name: "w", State: "running"}})
	require.Equal(t, []string{"1 of", "40 of", "40 of"}, regexp.MustCompile(`\d+ of`).FindAllString(out.String(), -1))
	require.Contains(t, out.String(), "w ▶ running")
}
