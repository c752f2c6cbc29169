package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/words"
)

type recommendCmd struct {
	List   recommendListCmd   `cmd:"" help:"What is recommended now."`
	Show   recommendShowCmd   `cmd:"" help:"One recommendation with its evidence, what it is expected to change, and the statement that does it."`
	Accept recommendAcceptCmd `cmd:"" help:"Do what is recommended."`
	Reject recommendRejectCmd `cmd:"" help:"Not this, and not again for 90 days; undo takes that back."`
	Snooze recommendSnoozeCmd `cmd:"" help:"Not now."`
	Undo   recommendUndoCmd   `cmd:"" help:"Take back what was applied, or a rejection."`
	Report recommendReportCmd `cmd:"" help:"What refreshes and storage cost and how old the data was that readers saw, before and after, and what that saved."`
}

type recommendListCmd struct {
	zoned
	Name string `arg:"" optional:"" complete:"view" help:"Only those for this view."`
	All  bool   `help:"Also those that were decided about, snoozed or are not true any more."`
}

func (recommendListCmd) Help() string {
	return `What the optimizer recommends: the interval or calendar that serves the readers of a view at the least cost, what nobody reads, how much of an incremental view nobody looks back to, and what would make refreshes cheaper. EXPECTED is what it is expected to change; recommend show has more. It takes a week of samples at least; the sidecar thinks about each view once a day.

Nothing is done by itself, but for the clock of views with optimize = auto, and for a longer retention of them.

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
		view, err := a.findAny(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		found, err := catalog.Recommendations(ctx, conn, view, 0, c.All)
		if err != nil {
			return err
		}
		nothing, thought := "", ""
		if len(found) == 0 {
			if nothing, err = whyNothing(ctx, conn, view, c.All); err != nil {
				return err
			}
		} else if view != 0 {
			if thought, err = lastThought(ctx, conn, view); err != nil {
				return err
			}
		}
		if err = emit(a, found, []column[catalog.RecommendationRecord]{
			{title: "id", cell: func(r catalog.RecommendationRecord) string { return strconv.FormatInt(r.ID, 10) }, right: true},
			{title: "view", cell: func(r catalog.RecommendationRecord) string { return r.ViewName }},
			{title: "kind", cell: func(r catalog.RecommendationRecord) string { return r.Kind }},
			{title: "state", cell: stateOf},
			{title: "now", cell: func(r catalog.RecommendationRecord) string { return r.Current }, spare: true},
			{title: "proposed", cell: func(r catalog.RecommendationRecord) string { return r.Proposed }},
			{title: "expected", cell: func(r catalog.RecommendationRecord) string { return words.Expected(r.Predicted) }, wrap: true},
		}, nothing); err == nil && thought != "" && a.Output == "table" {
			a.say("%s", thought)
		}
		return err
	})
}

// lastThought says what was thought of a view, also of what is not recommended; empty = nothing yet.
func lastThought(ctx context.Context, conn *pgx.Conn, view int64) (string, error) {
	thoughts, err := catalog.Thoughts(ctx, conn, view)
	if err != nil || len(thoughts) == 0 {
		return "", err
	}
	return "thought: " + thoughts[0].Thought, nil
}

// whyNothing says why nothing is recommended for a view, or for any where it is zero; all = what was decided about is listed too.
func whyNothing(ctx context.Context, conn *pgx.Conn, view int64, all bool) (string, error) {
	thoughts, err := catalog.Thoughts(ctx, conn, view)
	if err != nil {
		return "", err
	}
	said := "Nothing is recommended."
	if len(thoughts) == 0 {
		said += " It takes a week of samples and 30 reads of a view, or 30 days of one that is rarely read."
	}
	if !all {
		past, err := catalog.Recommendations(ctx, conn, view, 0, true)
		if err != nil {
			return "", err
		}
		if len(past) > 0 {
			said = "Nothing is recommended that is not decided about or snoozed: mvscheduler recommend list --all has those."
		}
	}
	for _, t := range thoughts[:min(len(thoughts), thoughtsListed)] {
		said += fmt.Sprintf("\n  %s: %s", t.ViewName, t.Thought)
	}
	if more := len(thoughts) - thoughtsListed; more > 0 {
		said += fmt.Sprintf("\n  and %d more: SELECT view_name, thought FROM mvscheduler.usage", more)
	}
	return said, nil
}

// thoughtsListed are the views of which it is said why nothing is recommended.
const thoughtsListed = 20

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
		reasons, evidence := words.Reasons(r.Evidence)
		line("reasons", strings.Join(reasons, "\n"))
		line("evidence", words.Figures(evidence))
		line("predicted", words.Figures(r.Predicted))
		line("tried", words.Figures(r.Tried))
		line("measured", words.Figures(r.Measured))
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
	if r.State == "rejected" && r.DecidedAt != nil {
		words += "; not proposed again before " + a.full(new(r.DecidedAt.Add(catalog.KeepRejected)), r.AsOf)
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
		case r.State == "undone" && (r.Kind == "interval" || r.Kind == "calendar"): // others may have changed nothing
			a.say("recommendation %d for %s is undone: %s again", id, r.ViewName, r.Current)
		case r.State == "snoozed" && r.SnoozedUntil != nil:
			a.say("recommendation %d for %s is snoozed, until %s", id, r.ViewName, a.full(r.SnoozedUntil, r.AsOf))
		case r.State == "rejected":
			a.say("recommendation %d for %s is rejected, and not proposed again for 90 days\n  undo: mvscheduler recommend undo %d", id, r.ViewName, id)
		case verb == "undo" && r.State == "proposed":
			a.say("the rejection of recommendation %d for %s is taken back: it is proposed again", id, r.ViewName)
		case verb == "undo" && r.State == "expired" && r.Decision != nil:
			a.say("recommendation %d for %s: %s", id, r.ViewName, *r.Decision)
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
	return `The same is not proposed again for 90 days, unless you take the rejection back: mvscheduler recommend undo.

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
	return badInterval(a.decide(ctx, c.ID, "snooze", `SELECT mvscheduler.snooze_recommendation($1, clock_timestamp() + $2::text::interval, $3)`, c.For, c.Reason), "--for", c.For)
}

type recommendUndoCmd struct {
	ID     recommendationID `arg:"" name:"id" help:"Number of the recommendation."`
	Reason *string          `placeholder:"WORDS" help:"Why; kept with it."`
}

func (recommendUndoCmd) Help() string {
	return `Takes back what was applied, by you or by the sidecar: the row is as it was before. It refuses when the row was changed meanwhile. For 30 days nothing of the kind is applied by itself.

What was rejected is proposed again, and nothing of the row changes.

Examples:

  mvscheduler recommend undo 12

The same in SQL: SELECT mvscheduler.undo_recommendation(12)

` + exitCodesHelp
}

// Run undoes.
func (c *recommendUndoCmd) Run(ctx context.Context, a *app) error {
	return a.decide(ctx, c.ID, "undo", `SELECT mvscheduler.undo_recommendation($1, $2)`, c.Reason)
}
