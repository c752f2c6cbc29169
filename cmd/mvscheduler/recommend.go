package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/jobs"
)

type recommendCmd struct {
	List   recommendListCmd   `cmd:"" help:"What is recommended now."`
	Show   recommendShowCmd   `cmd:"" help:"One recommendation with its evidence, what it is expected to change, and the statement that does it."`
	Accept recommendAcceptCmd `cmd:"" help:"Do what is recommended."`
	Reject recommendRejectCmd `cmd:"" help:"Not this, and not again for 90 days."`
	Snooze recommendSnoozeCmd `cmd:"" help:"Not now."`
	Undo   recommendUndoCmd   `cmd:"" help:"Take back what was applied."`
	Report recommendReportCmd `cmd:"" help:"What refreshes cost and how old the data was that readers saw, before and after."`
}

type recommendListCmd struct {
	zoned
	Name string `arg:"" optional:"" complete:"view" help:"Only those for this view."`
	All  bool   `help:"Also those that were decided about, snoozed or are not true any more."`
}

func (recommendListCmd) Help() string {
	return `What the optimizer recommends: the interval or calendar that serves the readers of a view at the least cost, what nobody reads, how much of an incremental view nobody looks back to, and what would make refreshes cheaper. It takes a week of samples at least; the sidecar thinks about each view once a day.

Nothing is done by itself, but for the interval of views with optimize = auto.

Examples:

  mvscheduler recommend list
  mvscheduler recommend list analytics.hourly_delays --all -o json

The same in SQL: SELECT * FROM mvscheduler.recommendations

` + exitCodesHelp
}

// Run lists recommendations.
func (c *recommendListCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		var view int64
		if c.Name != "" {
			id, err := a.find(ctx, conn, c.Name)
			if err != nil {
				return err
			}
			view = id
		}
		found, err := catalog.Recommendations(ctx, conn, view, 0, c.All)
		if err != nil {
			return err
		}
		return emit(a, found, []column[catalog.RecommendationRecord]{
			{title: "id", cell: func(r catalog.RecommendationRecord) string { return strconv.FormatInt(r.ID, 10) }, right: true},
			{title: "view", cell: func(r catalog.RecommendationRecord) string { return r.ViewName }},
			{title: "kind", cell: func(r catalog.RecommendationRecord) string { return r.Kind }},
			{title: "state", cell: stateOf},
			{title: "now", cell: func(r catalog.RecommendationRecord) string { return r.Current }, spare: true},
			{title: "proposed", cell: func(r catalog.RecommendationRecord) string { return r.Proposed }, wrap: true},
		}, "Nothing is recommended. It takes a week of samples and 30 reads of a view.")
	})
}

func stateOf(r catalog.RecommendationRecord) string {
	switch {
	case r.State != "applied":
		return r.State
	case r.Automatic:
		return "applied by itself"
	case r.DidNotHelp():
		return "applied, did not help"
	}
	return r.State
}

type recommendShowCmd struct {
	zoned
	ID recommendationID `arg:"" name:"id" help:"Number of the recommendation, from mvscheduler recommend list."`
}

func (recommendShowCmd) Help() string {
	return `Everything about one recommendation: why, on what evidence, what it is expected to change a day, and the statement that does it. An index that is proposed is tried as a hypothetical one in your own session, where HypoPG is installed and the view is yours.

Examples:

  mvscheduler recommend show 12
  mvscheduler recommend show 12 -o json

` + exitCodesHelp
}

// Run shows a recommendation.
func (c *recommendShowCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		found, err := catalog.Recommendations(ctx, conn, 0, int64(c.ID), true)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return &exitError{code: exitNotFound, err: fmt.Errorf("recommendation %d does not exist, or is not for a view of yours: mvscheduler recommend list", c.ID)}
		}
		r := shownRecommendation{RecommendationRecord: found[0]}
		if r.Kind == "index" && (r.State == "proposed" || r.State == "snoozed") {
			if err := conn.QueryRow(ctx, `SELECT mvscheduler.try_index($1)`, r.ID).Scan(&r.Tried); err != nil {
				return fmt.Errorf("try the index of recommendation %d: %w", c.ID, err)
			}
		}
		if a.Output != "table" {
			return a.emitData(r)
		}
		var b strings.Builder
		line := func(title, text string) {
			if text != "" {
				fmt.Fprintf(&b, "%-10s %s\n", title, indentRest(sanitizeLines(text), strings.Repeat(" ", 11)))
			}
		}
		line("view", r.ViewName)
		line("kind", r.Kind)
		line("state", stateOf(r.RecommendationRecord)+decidedWords(a, r.RecommendationRecord))
		line("now", r.Current)
		line("proposed", r.Proposed)
		line("why", r.Reason)
		line("evidence", string(r.Evidence))
		line("predicted", string(r.Predicted))
		line("tried", string(r.Tried))
		line("measured", string(r.Measured))
		line("does it", r.Command)
		_, err = fmt.Fprint(a.stdout, b.String())
		return err
	})
}

// shownRecommendation is a recommendation and, of an index that is proposed, what the planner says of it.
type shownRecommendation struct {
	catalog.RecommendationRecord
	Tried json.RawMessage `json:"tried,omitempty"`
}

func decidedWords(a *app, r catalog.RecommendationRecord) (words string) {
	if r.DecidedBy != nil {
		words = ", by " + *r.DecidedBy + " at " + a.full(r.DecidedAt, r.AsOf)
	}
	if r.Decision != nil && *r.Decision != "" {
		words += ": " + *r.Decision
	}
	if r.State == "snoozed" && r.SnoozedUntil != nil {
		words += ", until " + a.full(r.SnoozedUntil, r.AsOf)
	}
	return words
}

// recommendationID is the number of a recommendation.
type recommendationID int64

// UnmarshalText reads it.
func (id *recommendationID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of a recommendation: mvscheduler recommend list has them", text)
	}
	*id = recommendationID(n)
	return nil
}

// decide runs a statement about a recommendation and shows what has become of it.
func (a *app) decide(ctx context.Context, id recommendationID, verb, sql string, args ...any) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, sql, append([]any{int64(id)}, args...)...); err != nil {
			return fmt.Errorf("%s recommendation %d: %w", verb, id, err)
		}
		found, err := catalog.Recommendations(ctx, conn, 0, int64(id), true)
		if err != nil || len(found) == 0 {
			return err
		}
		r := found[0]
		if a.Output != "table" {
			return a.emitData(r)
		}
		switch {
		case r.State == "applied" && r.Kind == "adaptive" && !r.Automatic:
			a.say("the sidecar may tune %s: within the hour it applies %s\n  undo: mvscheduler recommend undo %d", r.ViewName, r.Proposed, id)
		case r.State == "accepted":
			a.say("accepted; this is for a person to run:\n  %s", r.Command)
		case r.State == "applied":
			a.say("applied to %s: %s\n  undo: mvscheduler recommend undo %d", r.ViewName, r.Proposed, id)
		default:
			a.say("recommendation %d for %s is %s", id, r.ViewName, r.State)
		}
		return nil
	})
}

type recommendAcceptCmd struct {
	ID recommendationID `arg:"" name:"id" help:"Number of the recommendation."`
}

func (recommendAcceptCmd) Help() string {
	return `Does what is recommended, in your session and with your rights, where it is a change of the view's row. What is more than that is only noted: its statement is printed, for you to run. It refuses when the row was changed meanwhile.

Examples:

  mvscheduler recommend accept 12

The same in SQL: SELECT mvscheduler.accept_recommendation(12)

` + exitCodesHelp
}

// Run accepts.
func (c *recommendAcceptCmd) Run(ctx context.Context, a *app) error {
	return a.decide(ctx, c.ID, "accept", `SELECT mvscheduler.accept_recommendation($1)`)
}

type recommendRejectCmd struct {
	ID     recommendationID `arg:"" name:"id" help:"Number of the recommendation."`
	Reason *string          `placeholder:"WORDS" help:"Why; kept with it."`
}

func (recommendRejectCmd) Help() string {
	return `The same is not proposed again for 90 days.

Examples:

  mvscheduler recommend reject 12 --reason 'the board meets on Sundays'

The same in SQL: SELECT mvscheduler.reject_recommendation(12, 'the board meets on Sundays')

` + exitCodesHelp
}

// Run rejects.
func (c *recommendRejectCmd) Run(ctx context.Context, a *app) error {
	return a.decide(ctx, c.ID, "reject", `SELECT mvscheduler.reject_recommendation($1, $2)`, c.Reason)
}

type recommendSnoozeCmd struct {
	ID     recommendationID `arg:"" name:"id" help:"Number of the recommendation."`
	For    string           `default:"7 days" placeholder:"INTERVAL" help:"For how long, for example 24h or '30 days'."`
	Reason *string          `placeholder:"WORDS" help:"Why; kept with it."`
}

func (recommendSnoozeCmd) Help() string {
	return `It is out of the list for some time, and back then if it is still true.

Examples:

  mvscheduler recommend snooze 12 --for '30 days'

The same in SQL: SELECT mvscheduler.snooze_recommendation(12, now() + '30 days')

` + exitCodesHelp
}

// Run snoozes.
func (c *recommendSnoozeCmd) Run(ctx context.Context, a *app) error {
	return a.decide(ctx, c.ID, "snooze", `SELECT mvscheduler.snooze_recommendation($1, clock_timestamp() + $2::text::interval, $3)`, c.For, c.Reason)
}

type recommendUndoCmd struct {
	ID     recommendationID `arg:"" name:"id" help:"Number of the recommendation."`
	Reason *string          `placeholder:"WORDS" help:"Why; kept with it."`
}

func (recommendUndoCmd) Help() string {
	return `Takes back what was applied, by you or by the sidecar: the row is as it was before. It refuses when the row was changed meanwhile. For 30 days nothing of the kind is applied by itself.

Examples:

  mvscheduler recommend undo 12

The same in SQL: SELECT mvscheduler.undo_recommendation(12)

` + exitCodesHelp
}

// Run undoes.
func (c *recommendUndoCmd) Run(ctx context.Context, a *app) error {
	return a.decide(ctx, c.ID, "undo", `SELECT mvscheduler.undo_recommendation($1, $2)`, c.Reason)
}

type recommendReportCmd struct {
	zoned
	Name  string `arg:"" optional:"" complete:"view" help:"Only this view."`
	Since string `default:"14 days" placeholder:"INTERVAL" help:"Of this time, for example '30 days'."`
}

func (recommendReportCmd) Help() string {
	return `What the refreshes of each view took, and how old the data was that its readers saw: every read that was sampled, against the refreshes that really ran. Where a recommendation was applied meanwhile there is a line for the time before and one for the time after, each for a day.

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
	WALBytes       int64    `json:"wal_bytes_a_day"` // of the whole server meanwhile, an upper bound; over all the time
	SizeBytes      *int64   `json:"size_bytes"`
	MeanAge        *float64 `json:"mean_age_seconds"` // that readers saw; nil = nobody read, or it is not known
	P95Age         *float64 `json:"p95_age_seconds"`
}

// Run reports.
func (c *recommendReportCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		var view int64
		if c.Name != "" {
			id, err := a.find(ctx, conn, c.Name)
			if err != nil {
				return err
			}
			view = id
		}
		spent, err := catalog.SpentSince(ctx, conn, view, c.Since)
		if err != nil {
			return err
		}
		var since time.Time
		if err := conn.QueryRow(ctx, `SELECT now() - $1::text::interval`, c.Since).Scan(&since); err != nil {
			return fmt.Errorf("read --since: %w", err)
		}
		var lines []reported
		for _, s := range spent {
			samples, err := catalog.VisibleSamples(ctx, conn, []int64{s.ViewID}, since)
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
		return emit(a, lines, []column[reported]{
			{title: "view", cell: func(r reported) string { return r.ViewName }},
			{title: "time", cell: func(r reported) string { return r.Period + ", " + daysOf(r.Days) }},
			{title: "reads/day", cell: func(r reported) string { return fmt.Sprintf("%.0f", r.Reads) }, right: true},
			{title: "refreshes/day", cell: func(r reported) string { return fmt.Sprintf("%.1f", r.Refreshes) }, right: true},
			{title: "took/day", cell: func(r reported) string { return spanOfSeconds(r.RefreshSeconds) }, right: true},
			{title: "WAL/day", cell: func(r reported) string { return bytesOf(&r.WALBytes) }, right: true, spare: true},
			{title: "size", cell: func(r reported) string { return bytesOf(r.SizeBytes) }, right: true, spare: true},
			{title: "mean age", cell: func(r reported) string { return age(r.MeanAge) }, right: true},
			{title: "p95 age", cell: func(r reported) string { return age(r.P95Age) }, right: true},
		}, "Nothing was sampled yet.")
	})
}

// daysOf is a time in days, or in smaller units where it is less than one.
func daysOf(days float64) string {
	if days < 1 {
		return spanOfSeconds(days * 86400)
	}
	return fmt.Sprintf("%.1f days", days)
}

// reportOf replays what was read against the refreshes that ran.
func reportOf(s catalog.Spent, samples []catalog.Samples) (lines []reported) {
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
	part := func(period string, lo, hi int) {
		if hi <= lo {
			return
		}
		refreshes := []int{lo}
		var count float64
		for _, at := range s.Began {
			if bin := int(at.Sub(h.Grid.Start) / h.Grid.Width); bin >= lo && bin < hi {
				count++
				if !slices.Contains(refreshes, bin) {
					refreshes = append(refreshes, bin)
				}
			}
		}
		slices.Sort(refreshes)
		out := world.Replay(refreshes, lo, hi)
		days := float64(hi-lo) * h.Grid.Width.Hours() / 24
		line := reported{ViewName: s.ViewName, Period: period, Days: days, Reads: out.Reads / days, Refreshes: count / days, SizeBytes: s.SizeBytes}
		if s.Refreshes > 0 {
			line.RefreshSeconds = s.RefreshSeconds / float64(s.Refreshes) * count / days
			line.WALBytes = int64(float64(s.WALBytes) / float64(s.Refreshes) * count / days)
		}
		if out.Reads > 0 {
			line.MeanAge, line.P95Age = &out.MeanAge, &out.P95Age
		}
		lines = append(lines, line)
	}
	if cut > 0 && cut < n {
		part("before", 0, cut)
		part("after", cut, n)
		return lines
	}
	part("all", 0, n)
	return lines
}
