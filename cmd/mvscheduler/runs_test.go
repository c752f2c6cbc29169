package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestARunShowsHowFarItIsOnATerminal(t *testing.T) {
	t.Parallel()
	run := func(state, progress string) catalog.RunRecord {
		return catalog.RunRecord{State: state, Progress: json.RawMessage(progress)}
	}
	for _, c := range []struct {
		run  catalog.RunRecord
		want string
	}{
		{run("running", `{"phase": "filling the view", "what": "3 of about 6 buckets", "percent": 47}`), "████░░░░░░ "},
		{run("running", `{"phase": "filling the view", "what": "0 buckets", "percent": 0}`), "░░░░░░░░░░ "},
		{run("running", `{"phase": "filling the view", "what": "9 of about 9 buckets", "percent": 100}`), "██████████ "},
		{run("running", `{"phase": "refreshing"}`), ""},
		{run("running", `{"waiting_for": "a lock"}`), ""},
		{run("running", ``), ""},
		{run("succeeded", `{"phase": "filling the view", "what": "9 of about 9 buckets", "percent": 100}`), ""},
	} {
		require.Equal(t, c.want, runBar(c.run, true), "%s", c.run.Progress)
		require.Empty(t, runBar(c.run, false))
	}
}

func TestARunOfAnIncrementalViewSaysHowManyBucketsItComputed(t *testing.T) {
	t.Parallel()
	run := catalog.RunRecord{State: "succeeded", Reason: new("changed: 2026-03-01 10:05:00 UTC"), Buckets: new(int64(1))}
	require.Equal(t, "1 bucket computed; changed: 2026-03-01 10:05:00 UTC", runWords(run))
	run.Buckets = new(int64(0))
	require.Equal(t, "changed: 2026-03-01 10:05:00 UTC", runWords(run))
}

func TestAnErrorThatEndsASentenceIsFollowedByTheNextOne(t *testing.T) {
	t.Parallel()
	run := catalog.RunRecord{State: "failed", Error: new("no start of a bucket HINT: Set bucket_width."), SQLState: new("42611"), Reason: new("Or change the query.")}
	require.Equal(t, "[42611] no start of a bucket HINT: Set bucket_width. Or change the query.", runWords(run))
}

func TestAPauseThatIsOverIsNotShown(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := &app{zone: time.UTC}
	v := &catalog.View{PausedAt: new(now.Add(-time.Hour)), PausedUntil: new(now.Add(time.Hour)), PauseReason: new("loading")}
	require.Contains(t, pauseWords(a, v, now), "loading")
	v.PausedUntil = new(now.Add(-time.Minute))
	require.Empty(t, pauseWords(a, v, now))
}
