package web

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/web/draw"
	"github.com/mvscheduler/mvscheduler/internal/words"
)

// TimelinePage is what /api/v1/timeline answers: what some views did in the last hours.
type TimelinePage struct {
	From     time.Time               `json:"from"`
	To       time.Time               `json:"to"`    // the database's clock
	Views    []string                `json:"views"` // of this page: those that did something come first
	Pages    int                     `json:"pages"`
	Runs     []catalog.RunRecord     `json:"runs"`     // the newest first
	Attempts []catalog.AttemptRecord `json:"attempts"` // of the runs that had several, or trouble
	Pauses   []catalog.PauseRecord   `json:"pauses"`   // of single views
	All      *pauseOfAll             `json:"pause_of_all"`
	LeftOut  bool                    `json:"left_out"` // there are more runs than 3000: the oldest are left out
	pager    pager
	hours    int
}

type pauseOfAll struct {
	From   time.Time  `json:"from"`
	Until  *time.Time `json:"until"`
	Reason *string    `json:"reason"`
}

const (
	lanesAPage     = 40
	timelineAtMost = 3000 // runs
	hoursByDefault = 6
	hoursAtMost    = 24 * 7
)

var hourChoices = []int{1, 6, 24, 72}

// timeline reads the runs of a page of views by five queries, however many views there are.
func (s *Server) timeline(ctx context.Context, query url.Values) (TimelinePage, error) {
	t := TimelinePage{Views: []string{}, hours: hoursByDefault}
	if given := query.Get("hours"); given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 || n > hoursAtMost {
			return t, &badRequest{"hours is a number from 1 to 168"}
		}
		t.hours = n
	}
	all, err := catalog.Statuses(ctx, s.DB)
	if err != nil {
		return t, err
	}
	if name := query.Get("view"); name != "" {
		id, err := catalog.FindView(ctx, s.DB, name)
		if err != nil {
			return t, err
		}
		for _, v := range all {
			if v.ID == id {
				all = []catalog.ViewStatus{v}
				break
			}
		}
	}
	t.To = time.Now()
	if len(all) > 0 {
		t.To = all[0].AsOf
	}
	ago := time.Duration(t.hours) * time.Hour
	t.From = t.To.Add(-ago)
	slices.SortStableFunc(all, func(a, b catalog.ViewStatus) int { return cmp.Compare(rank(a, t.From), rank(b, t.From)) })
	views, pages := cut(all, lanesAPage, query.Get("page"), func(n int) string { return timelineLink(query, "page", n) })
	t.pager, t.Pages = pages, pages.Last
	ids := make([]int64, len(views))
	for i, v := range views {
		ids[i] = v.ID
		t.Views = append(t.Views, v.Name)
	}
	if t.Runs, err = catalog.RunsSince(ctx, s.DB, ids, ago, timelineAtMost); err != nil {
		return t, err
	}
	t.LeftOut = len(t.Runs) == timelineAtMost
	if query.Get("hours") == "" && t.holdsAll(time.Hour) {
		t.hours, t.From = 1, t.To.Add(-time.Hour)
	}
	var troubled []int64
	for _, r := range t.Runs {
		if r.Attempts > 1 || r.State == "failed" || r.State == "running" {
			troubled = append(troubled, r.ID)
		}
	}
	if t.Attempts, err = catalog.Attempts(ctx, s.DB, troubled); err != nil {
		return t, err
	}
	if t.Pauses, err = catalog.PausesSince(ctx, s.DB, ids, t.To.Sub(t.From)); err != nil {
		return t, err
	}
	window, err := catalog.ReadWindow(ctx, s.DB)
	if window != nil {
		t.All = &pauseOfAll{window.From, window.Until, window.Reason}
	}
	return t, err
}

// holdsAll says whether every run was queued within the last of the time, as where views are new.
func (t TimelinePage) holdsAll(last time.Duration) bool {
	return len(t.Runs) > 0 && !slices.ContainsFunc(t.Runs, func(r catalog.RunRecord) bool { return r.QueuedAt.Before(t.To.Add(-last)) })
}

// rank puts the views that did something since then before those that did nothing.
func rank(v catalog.ViewStatus, since time.Time) int {
	if v.Activity != "idle" || v.ConsecutiveFailures > 0 || v.LastRefreshAt != nil && v.LastRefreshAt.After(since) {
		return 0
	}
	return 1
}

func timelineLink(query url.Values, key string, value int) string {
	q := url.Values{key: {strconv.Itoa(value)}}
	for _, keep := range []string{"view", "hours", "refresh"} {
		if v := query.Get(keep); v != "" && keep != key {
			q.Set(keep, v)
		}
	}
	return "/timeline?" + q.Encode()
}

type timelineBody struct {
	TimelinePage
	View  string
	Hours []filter
	draw.Timeline
	Pager pager
}

func (s *Server) timelinePage(ctx context.Context, r *http.Request) (page, error) {
	query := r.URL.Query()
	found, err := s.timeline(ctx, query)
	if err != nil {
		return page{}, err
	}
	b := timelineBody{TimelinePage: found, View: query.Get("view"), Timeline: drawTimeline(found), Pager: found.pager}
	for _, h := range hourChoices {
		b.Hours = append(b.Hours, filter{Label: words.Plural(int64(h), "hour"), Link: timelineLink(query, "hours", h), Chosen: h == found.hours})
	}
	return page{Title: "Timeline", JSON: "/api/v1/timeline?" + query.Encode(), AsOf: found.To, Body: b}, nil
}

// drawTimeline is pure: a lane for each view.
func drawTimeline(t TimelinePage) draw.Timeline {
	tries := map[int64][]draw.Try{}
	for _, a := range t.Attempts {
		kind, trouble := map[string]string{"busy": "wait", "failed": "failed", "lost": "failed", "cancelled": "cancelled"}[a.Outcome]
		if trouble {
			try := draw.Try{Kind: kind, Stretch: draw.Stretch{From: a.StartedAt}}
			if a.FinishedAt != nil {
				try.To = *a.FinishedAt
			}
			tries[a.RunID] = append(tries[a.RunID], try)
		}
	}
	runs, pauses := map[string][]draw.Run{}, map[string][]draw.Stretch{}
	for _, r := range t.Runs {
		run := draw.Run{ID: r.ID, State: r.State, Queued: r.QueuedAt, Tries: tries[r.ID], Title: runTitle(r)}
		if r.StartedAt != nil {
			run.Started = *r.StartedAt
		}
		if r.FinishedAt != nil {
			run.Ended = *r.FinishedAt
		}
		if r.State == "running" && waitsForLock(r) && r.StartedAt != nil {
			run.Tries = append(run.Tries, draw.Try{Kind: "wait", Stretch: draw.Stretch{From: *r.StartedAt}})
		}
		runs[r.ViewName] = append(runs[r.ViewName], run)
	}
	until := func(end *time.Time) time.Time {
		if end == nil || end.After(t.To) {
			return t.To
		}
		return *end
	}
	for _, p := range t.Pauses {
		pauses[p.ViewName] = append(pauses[p.ViewName], draw.Stretch{From: p.From, To: until(p.Until)})
	}
	lanes := make([]draw.Lane, len(t.Views))
	for i, name := range t.Views {
		lanes[i] = draw.Lane{Name: name, Runs: runs[name], Pauses: pauses[name]}
		if t.All != nil && t.All.From.Before(t.To) {
			lanes[i].Pauses = append(lanes[i].Pauses, draw.Stretch{From: t.All.From, To: until(t.All.Until)})
		}
	}
	return draw.Lanes(lanes, t.From, t.To)
}

// runTitle is what a pointer or a screen reader tells of a run.
func runTitle(r catalog.RunRecord) string {
	title := fmt.Sprintf("run %d: %s", r.ID, words.Mark(r.State))
	if r.StartedAt != nil {
		title += ", " + took(r) + " from " + r.StartedAt.UTC().Format(time.DateTime)
	} else if r.FinishedAt != nil {
		title += " at " + r.FinishedAt.UTC().Format(time.DateTime)
	}
	switch {
	case r.Error != nil:
		title += ": " + *r.Error
	case r.Reason != nil:
		title += ": " + *r.Reason
	}
	return short(160, title)
}

func waitsForLock(r catalog.RunRecord) bool {
	var p struct {
		WaitingFor string `json:"waiting_for"`
	}
	return len(r.Progress) > 0 && json.Unmarshal(r.Progress, &p) == nil && p.WaitingFor != ""
}
