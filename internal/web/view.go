package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/web/draw"
	"github.com/mvscheduler/mvscheduler/internal/words"
)

// ViewPage is what /api/v1/views/{name} answers. The query, the indexes and the key are not in it: they stand in
// the table views, which a user can lock, so nothing of the sidecar reads it.
type ViewPage struct {
	Status   catalog.ViewStatus      `json:"status"`
	Settings catalog.Settings        `json:"settings"`
	Next     []words.FireTime        `json:"next"` // slots of its clock; empty without one
	Runs     []catalog.RunRecord     `json:"runs"`
	Attempts []catalog.AttemptRecord `json:"attempts"`
	window   *catalog.Window
}

const (
	runsOfView  = 50
	runsInTable = 15
	nextSlots   = 5
)

func (s *Server) view(ctx context.Context, name string) (ViewPage, error) {
	var p ViewPage
	id, err := catalog.FindView(ctx, s.DB, name)
	if err != nil {
		return p, err
	}
	if p.Status, err = catalog.StatusByID(ctx, s.DB, id); err != nil {
		return p, err
	}
	if p.Settings, err = catalog.SettingsByID(ctx, s.DB, id); err != nil {
		return p, err
	}
	if p.window, err = catalog.ReadWindow(ctx, s.DB); err != nil {
		return p, err
	}
	p.Next = []words.FireTime{}
	if spec, err := words.Spec(p.Status); err == nil { // a zone that this machine does not know has no slots here
		p.Next = append(p.Next, words.FireTimes(spec, p.Status.Timezone, p.Status.AsOf, nextSlots, words.Pauses(p.Status, p.window))...)
	}
	if p.Runs, err = catalog.Runs(ctx, s.DB, catalog.RunFilter{ViewID: id, Limit: runsOfView}); err != nil {
		return p, err
	}
	ids := make([]int64, len(p.Runs))
	for i, r := range p.Runs {
		ids[i] = r.ID
	}
	p.Attempts, err = catalog.Attempts(ctx, s.DB, ids)
	return p, err
}

// viewBody is the page of a view.
type viewBody struct {
	ViewPage
	State, Settings []fact
	Staleness       draw.Staleness
	Durations       []draw.Bar
	Sizes           []draw.Bar
	Longest         string // of the durations
	Largest         string // of the sizes
	Table           []catalog.RunRecord
	Troubles        []catalog.AttemptRecord
	Show            string // the command that tells more
	Window          *catalog.Window
}

const troublesAtMost = 5

// troublesOf takes the first try, of the newest run, of each trouble.
func troublesOf(attempts []catalog.AttemptRecord) []catalog.AttemptRecord {
	var troubles []catalog.AttemptRecord
	seen := map[string]bool{}
	for _, a := range attempts {
		what := a.Outcome + words.TextOf(a.Error)
		if a.Outcome != "succeeded" && a.Outcome != "running" && !seen[what] && len(troubles) < troublesAtMost {
			seen[what] = true
			troubles = append(troubles, a)
		}
	}
	return troubles
}

func (s *Server) viewPage(ctx context.Context, r *http.Request) (page, error) {
	found, err := s.view(ctx, r.PathValue("name"))
	if err != nil {
		return page{}, err
	}
	v := found.Status
	b := viewBody{
		ViewPage: found, State: stateFacts(v), Settings: settingFacts(found.Settings, v.Timezone, v.AsOf), Table: found.Runs[:min(len(found.Runs), runsInTable)],
		Show: "mvscheduler show " + words.ShellQuote(v.Name), Window: found.window,
	}
	b.Troubles = troublesOf(found.Attempts)
	b.Staleness = draw.Sawtooth(refreshesOf(found.Runs), targetOf(v), v.AsOf)
	b.Durations, b.Longest = barsOf(found.Runs, durationOf, func(v float64) string { return words.Span(time.Duration(v)) })
	b.Sizes, b.Largest = sizesOf(found.Runs)
	return page{Title: words.Line(v.Name), Path: "/views", JSON: "/api/v1" + viewPath(v.Name), AsOf: v.AsOf, Body: b}, nil
}

func stateFacts(v catalog.ViewStatus) []fact {
	lag := words.SpanOf(v.Lag)
	if v.Target != nil {
		lag += " of " + words.SpanOf(v.Target)
	}
	return facts(
		"refreshed", words.Schedule(v),
		"lag of target", lag,
		"data as of", moment(v.DataAsOf, v.AsOf),
		"last refresh", moment(v.LastRefreshAt, v.AsOf),
		"it took", words.SpanOf(v.LastDuration),
		"next refresh", moment(v.NextRefreshAt, v.AsOf),
		"or earlier", words.Earlier(v),
		"waits for", words.TextOf(v.WaitingFor),
		"method in force", v.Method,
		"rows", words.CountOf(v.RowsEstimate),
		"size", words.BytesOf(v.SizeBytes),
		"owner", v.Owner,
		"kept aside", kept(v),
	)
}

func kept(v catalog.ViewStatus) string {
	if v.KeptPartitions == 0 {
		return ""
	}
	return fmt.Sprintf("%s, restorable by: mvscheduler restore %s", words.Plural(v.KeptPartitions, "partition"), words.ShellQuote(v.Name))
}

func settingFacts(s catalog.Settings, zone string, now time.Time) []fact {
	limits := []string{"statement " + s.StatementTimeout, "lock " + s.LockTimeout, words.Plural(int64(s.MaxAttempts), "attempt")}
	if s.WorkMem != nil {
		limits = append(limits, "work_mem "+*s.WorkMem)
	}
	if s.MaxSizeBytes != nil {
		limits = append(limits, "size "+words.BytesOf(s.MaxSizeBytes))
	}
	paused := ""
	if s.PausedAt != nil {
		paused = "since " + moment(s.PausedAt, now)
		if s.PausedUntil != nil {
			paused += ", until " + moment(s.PausedUntil, now)
		}
		if s.PauseReason != nil {
			paused += ": " + *s.PauseReason
		}
	}
	retention := words.TextOf(s.RetentionPeriod)
	if s.RetentionPeriod != nil {
		retention = "data older than " + retention + " leaves"
	}
	if s.Method != "incremental" {
		zone = "" // that of a clock is told with it
	}
	lateness := ""
	if s.Method == "incremental" && s.ChangeTracking == "none" {
		lateness = s.Lateness
	}
	optimize := s.Optimize
	if s.MinInterval != nil {
		optimize += ", min_interval " + *s.MinInterval
	}
	if s.MaxInterval != nil {
		optimize += ", max_interval " + *s.MaxInterval
	}
	return facts(
		"method", s.Method,
		"time column", words.TextOf(s.TimeColumn),
		"bucket width", words.TextOf(s.BucketWidth),
		"time zone", zone,
		"lateness", lateness,
		"retention", retention,
		"change tracking", catalog.TrackingWords(s.ChangeTracking, s.Tracking, s.TrackingReason),
		"catch-up", s.Catchup,
		"priority", fmt.Sprintf("%d (1 first, 4 last)", s.Priority),
		"limits", strings.Join(limits, ", "),
		"optimize", optimize,
		"paused", paused,
	)
}

// facts are pairs of a key and a value, without those that have no value.
func facts(pairs ...string) []fact {
	var all []fact
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" && pair[1] != words.Nothing {
			all = append(all, fact{pair[0], words.Line(pair[1])})
		}
	}
	return all
}

func targetOf(v catalog.ViewStatus) time.Duration {
	if v.Target == nil {
		return 0
	}
	return v.Target.Duration()
}

// refreshesOf are the runs that told how old the contents are: refreshes, and skips that proved that nothing changed.
func refreshesOf(runs []catalog.RunRecord) []draw.Refresh {
	var all []draw.Refresh
	for _, r := range runs {
		if r.FinishedAt != nil && r.DataAsOf != nil && (r.State == "succeeded" || r.State == "skipped") {
			all = append(all, draw.Refresh{At: *r.FinishedAt, AsOf: *r.DataAsOf})
		}
	}
	return all
}

func durationOf(r catalog.RunRecord) (float64, bool) {
	return float64(r.Took()), r.StartedAt != nil && r.State != "skipped"
}

// sizesOf draws the size of the view after each run. Runs that prune measure what left.
func sizesOf(runs []catalog.RunRecord) ([]draw.Bar, string) {
	runs = slices.DeleteFunc(slices.Clone(runs), func(r catalog.RunRecord) bool { return r.Kind == "prune" })
	return barsOf(runs, sizeOf, func(v float64) string { n := int64(v); return words.BytesOf(&n) })
}

func sizeOf(r catalog.RunRecord) (float64, bool) {
	if r.SizeBytes == nil {
		return 0, false
	}
	return float64(*r.SizeBytes), true
}

// barsOf draws a number of each run, the oldest first; without one it stays a tick. No run that has it, no bars.
func barsOf(runs []catalog.RunRecord, number func(catalog.RunRecord) (float64, bool), say func(float64) string) ([]draw.Bar, string) {
	var values []draw.Value
	highest, any := 0.0, false
	for _, r := range slices.Backward(runs) {
		v := draw.Value{ID: r.ID, Kind: r.State, V: -1, Title: runTitle(r)}
		if n, known := number(r); known {
			v.V, any, highest = n, true, max(highest, n)
			v.Title = say(n) + ", " + v.Title
		}
		values = append(values, v)
	}
	if !any {
		return nil, ""
	}
	return draw.Bars(values), say(highest)
}
