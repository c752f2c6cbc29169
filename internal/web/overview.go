package web

import (
	"context"
	"net/http"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// overviewBody is the first page: how many views are how fresh, and what a person has to look at.
type overviewBody struct {
	API bool // there is a database to ask
	Overview
	States []stateCount // of freshness, the worst first
	Doing  []stateCount // of activity
	More   int          // unhealthy views that are not in the list
	Window *catalog.Window
	Failed []runOf // the last one of a view
}

type stateCount struct {
	State string
	N     int
}

const (
	unhealthyAtMost = 20
	failedAtMost    = 8
)

var (
	freshnesses = []string{"missing", "stale", "never", "late", "fresh"}
	activities  = []string{"running", "waiting", "queued", "paused", "idle"}
)

func (s *Server) overviewPage(ctx context.Context, _ *http.Request) (page, error) {
	p := page{Title: "Overview"}
	b := overviewBody{API: s.DB != nil}
	if s.DB == nil {
		p.Body = b
		return p, nil
	}
	all, err := catalog.Statuses(ctx, s.DB)
	if err != nil {
		return p, err
	}
	if b.Window, err = catalog.ReadWindow(ctx, s.DB); err != nil {
		return p, err
	}
	failed, err := catalog.Runs(ctx, s.DB, catalog.RunFilter{Failed: true, Since: "24 hours"})
	if err != nil {
		return p, err
	}
	names := map[int64]string{}
	for _, v := range all {
		names[v.ID] = v.Name
	}
	for _, r := range lastOfEach(failed, failedAtMost) {
		b.Failed = append(b.Failed, runOf{r, names[r.ViewID]})
	}
	b.Overview = overview(all)
	if n := len(b.Unhealthy); n > unhealthyAtMost {
		b.Unhealthy, b.More = b.Unhealthy[:unhealthyAtMost], n-unhealthyAtMost
	}
	b.States, b.Doing = counts(freshnesses, b.Freshness), counts(activities, b.Activity)
	p.JSON, p.Body = "/api/v1/status", b
	if b.AsOf != nil {
		p.AsOf = *b.AsOf
	}
	return p, nil
}

// lastOfEach takes the newest run of each view, of runs that are sorted so.
func lastOfEach(runs []catalog.RunRecord, most int) []catalog.RunRecord {
	var last []catalog.RunRecord
	seen := map[int64]bool{}
	for _, r := range runs {
		if !seen[r.ViewID] && len(last) < most {
			seen[r.ViewID] = true
			last = append(last, r)
		}
	}
	return last
}

func counts(order []string, n map[string]int) []stateCount {
	var all []stateCount
	for _, state := range order {
		if n[state] > 0 {
			all = append(all, stateCount{state, n[state]})
		}
	}
	return all
}
