package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/words"
	"github.com/mvscheduler/mvscheduler/jobs"
)

type recommendReportCmd struct {
	zoned
	Name  string `arg:"" optional:"" complete:"view" help:"Only this view."`
	Since string `default:"14 days" placeholder:"INTERVAL" help:"Of this time, for example '30 days'."`
}

func (recommendReportCmd) Help() string {
	return `What the refreshes of each view took, what it stores, and how old the data was that its readers saw: every read that was sampled, against the refreshes that really ran; until one is over, readers see what was there before. Where a recommendation was applied or taken back meanwhile there is a line for the time before and one for the time after, each for a day, and what was saved since; with a minus, what was spent on fresher data. That needs a day before and a day after. Reads and changes are known by five minutes, and are taken to be spread evenly within them.

The last line is what the refreshes of all take together, and the share of one backend that the optimizer plans for them.

WAL is that of the whole server while a refresh ran, an upper bound. What retention let go is put aside for a while before it is dropped.

Examples:

  mvscheduler recommend report
  mvscheduler recommend report analytics.hourly_delays --since '30 days' -o json

` + exitCodesHelp
}

// reported is a view in a time, a day.
type reported struct {
	ViewName       string   `json:"view_name"`
	Period         string   `json:"period"` // all, before or after a recommendation was applied
	Days           float64  `json:"days"`
	Reads          float64  `json:"reads_a_day"`
	Refreshes      float64  `json:"refreshes_a_day"`
	RefreshSeconds float64  `json:"refresh_seconds_a_day"`
	WALBytes       int64    `json:"wal_bytes_a_day"`  // of the whole server meanwhile, an upper bound
	SizeBytes      *int64   `json:"size_bytes"`       // after the last refresh; nil = there was none
	PrunedBytes    int64    `json:"pruned_bytes"`     // that retention let go, in all of the time
	MeanAge        *float64 `json:"mean_age_seconds"` // that readers saw; nil = nobody read, or it is not known
	P95Age         *float64 `json:"p95_age_seconds"`
	Saved          *saved   `json:"saved"` // since before; nil = this is no time after, either time is less than a day, or what was before is not known
}

// saved is how much less is spent than before; below zero, how much more.
type saved struct {
	RefreshSeconds float64 `json:"refresh_seconds_a_day"`
	WALBytes       int64   `json:"wal_bytes_a_day"`
	SizeBytes      *int64  `json:"size_bytes"`
}

func (s *saved) words() string {
	if s == nil {
		return nothing
	}
	sign := func(negative bool, words string) string {
		if negative {
			return "-" + words
		}
		return words
	}
	size := func(bytes int64) string {
		return sign(bytes < 0, bytesOf(new(max(bytes, -bytes))))
	}
	words := sign(s.RefreshSeconds < 0, spanOfSeconds(math.Abs(s.RefreshSeconds))) + " and " + size(s.WALBytes) + " WAL a day"
	if s.SizeBytes != nil && *s.SizeBytes != 0 {
		words += ", " + size(*s.SizeBytes)
	}
	return words
}

// Run reports.
func (c *recommendReportCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		view, err := a.findAny(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		var past bool
		var since time.Time
		if err := conn.QueryRow(ctx, `SELECT $1::text::interval > '0', now() - $1::text::interval`, c.Since).Scan(&past, &since); err != nil {
			return badInterval(fmt.Errorf("read --since: %w", err), "--since", c.Since)
		}
		if !past {
			return usagef("--since must be longer than zero")
		}
		spent, err := catalog.SpentSince(ctx, conn, view, c.Since)
		if err != nil {
			return err
		}
		var lines []reported
		for _, s := range spent {
			samples, err := catalog.VisibleSamples(ctx, conn, s.ViewID, since)
			if err != nil {
				return err
			}
			lines = append(lines, reportOf(s, samples)...)
		}
		age := func(s *float64) string {
			if s == nil {
				return nothing
			}
			return spanOfSeconds(*s)
		}
		if err := emit(a, lines, []column[reported]{
			{title: "view", cell: func(r reported) string { return r.ViewName }},
			{title: "time", cell: func(r reported) string { return r.Period + ", " + daysOf(r.Days) }},
			{title: "reads/day", cell: func(r reported) string { return fmt.Sprintf("%.0f", r.Reads) }, right: true},
			{title: "refreshes/day", cell: func(r reported) string { return fmt.Sprintf("%.1f", r.Refreshes) }, right: true},
			{title: "took/day", cell: func(r reported) string { return spanOfSeconds(r.RefreshSeconds) }, right: true},
			{title: "WAL/day", cell: func(r reported) string { return bytesOf(&r.WALBytes) }, right: true, spare: true},
			{title: "size", cell: func(r reported) string { return bytesOf(r.SizeBytes) }, right: true, spare: true},
			{title: "let go", cell: func(r reported) string { return bytesOf(&r.PrunedBytes) }, right: true, spare: true},
			{title: "mean age", cell: func(r reported) string { return age(r.MeanAge) }, right: true},
			{title: "p95 age", cell: func(r reported) string { return age(r.P95Age) }, right: true},
			{title: "saved", cell: func(r reported) string { return r.Saved.words() }},
		}, "Nothing was sampled yet."); err != nil || a.Output != "table" || view != 0 {
			return err
		}
		budget, err := catalog.LoadBudget(ctx, conn)
		if err != nil {
			return err
		}
		if spent := spentWords(lines, budget); spent != "" {
			a.say("%s", spent)
		}
		return nil
	})
}

// spentWords say what the refreshes of all views take now, as a share of what settings.optimizer_budget lets them; empty where
// no view was sampled for a day, since an hour is none.
func spentWords(lines []reported, budget float64) string {
	var seconds float64
	views := 0
	for _, line := range lines {
		if line.Period != "before" && line.Days >= 1 {
			seconds, views = seconds+line.RefreshSeconds, views+1
		}
	}
	if views == 0 {
		return ""
	}
	return fmt.Sprintf("refreshes of %s take %s a day, %.2g %% of one backend; settings.optimizer_budget plans %.3g %% for those with an interval", words.Plural(int64(views), "view"), spanOfSeconds(seconds), seconds/864, 100*budget)
}

// daysOf is a time in days, or in smaller units where it is less than one.
func daysOf(days float64) string {
	if days < 1 {
		return spanOfSeconds(days * 86400)
	}
	return fmt.Sprintf("%.1f days", days)
}

// reportOf replays what was read against the refreshes that ran.
func reportOf(s catalog.Spent, samples []catalog.Samples) []reported {
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		zone = time.UTC
	}
	h := jobs.HistoryOf(s.ViewID, samples, zone, s.AsOf)
	n := len(h.Reads)
	if n == 0 {
		return nil
	}
	world := h.World()
	cut := 0
	if s.ChangedAt != nil {
		cut = min(max(0, int(s.ChangedAt.Sub(h.Grid.Start)/h.Grid.Width)), n)
	}
	part := func(period string, lo, hi int) *reported {
		days := float64(hi-lo) * h.Grid.Width.Hours() / 24
		line := &reported{ViewName: s.ViewName, Period: period, Days: days}
		bin := func(at time.Time) (bin int, within bool) {
			bin = int(at.Sub(h.Grid.Start) / h.Grid.Width)
			return bin, !at.Before(h.Grid.Start) && bin >= lo && bin < hi
		}
		var refreshes, shown []int
		var wal float64
		for i, at := range s.Began {
			if bin, within := bin(at); within {
				line.Refreshes += 1 / days
				line.RefreshSeconds += s.Took[i] / days
				wal += float64(s.WAL[i])
				line.SizeBytes = &s.Sizes[i]
				over := bin + int(math.Round(s.Took[i]/h.Grid.Width.Seconds()))
				if over < hi { // until then readers see what was there before
					refreshes, shown = append(refreshes, bin), append(shown, over)
				}
			}
		}
		line.WALBytes = int64(wal / days)
		for i, at := range s.Pruned {
			if _, within := bin(at); within {
				line.PrunedBytes += s.PrunedBytes[i]
			}
		}
		slices.Sort(refreshes) // refreshes of one view do not overlap
		if slices.Sort(shown); len(shown) == 0 || shown[0] > lo {
			refreshes, shown = slices.Insert(refreshes, 0, lo), slices.Insert(shown, 0, lo)
		}
		out := world.ReplayShown(refreshes, shown, lo, hi)
		line.Reads = out.Reads / days
		if out.Reads > 0 {
			line.MeanAge, line.P95Age = &out.MeanAge, &out.P95Age
		}
		return line
	}
	if cut <= 0 || cut >= n {
		return []reported{*part("all", 0, n)}
	}
	before, after := part("before", 0, cut), part("after", cut, n)
	if before.Refreshes > 0 && min(before.Days, after.Days) >= 1 { // an hour at night is no day
		after.Saved = &saved{RefreshSeconds: before.RefreshSeconds - after.RefreshSeconds, WALBytes: before.WALBytes - after.WALBytes}
		if after.SizeBytes != nil {
			after.Saved.SizeBytes = new(*before.SizeBytes - *after.SizeBytes)
		}
	}
	return []reported{*before, *after}
}
