package main

import (
	"encoding/json"
	"testing"

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
		{run("running", `{"phase": "filling the view", "what": "3 partitions", "percent": 47}`), "████░░░░░░ "},
		{run("running", `{"phase": "filling the view", "what": "0 partitions", "percent": 0}`), "░░░░░░░░░░ "},
		{run("running", `{"phase": "filling the view", "what": "9 partitions", "percent": 100}`), "██████████ "},
		{run("running", `{"phase": "refreshing"}`), ""},
		{run("running", `{"waiting_for": "a lock"}`), ""},
		{run("running", ``), ""},
		{run("succeeded", `{"phase": "filling the view", "what": "9 partitions", "percent": 100}`), ""},
	} {
		require.Equal(t, c.want, runBar(c.run, true), "%s", c.run.Progress)
		require.Empty(t, runBar(c.run, false))
	}
}
