package optimizer

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// View is what the optimizer knows of a view when it reviews it.
type View struct {
	Name     string
	Now      time.Time
	History  History       // Cost and Kappa are filled in by Review
	Runs     []Run         // of the method in force, the oldest first
	Kappa    float64       // of the fleet, see [FleetKappa], after the price of its budget
	Short    []string      // why that has one, see [ShareBudget]; nil = it has none
	Interval time.Duration // in force; zero = it has no interval (cron, upstream, manual): nothing is proposed for its clock
	Row      time.Duration // refresh_interval of its row; zero = it has none
	Calendar Calendar      // in force in the place of Interval; nil = none
	Patience float64       // in force, see [Schedule]; zero = none
	Adaptive bool          // that mode can be had
	NoRules  bool          // the mode CalendarMode cannot
	Bounds   Bounds
	Level    string // of the evidence: L0, L1, L2
	Sources  string // of the reads, in words

	LastChange, FrozenUntil time.Time // of its schedule
	Usage                   Usage
	UsageKnown              bool // the reads of the silent time are known

	Method    string // in force: full, concurrent or incremental
	RefreshOn string // schedule, upstream or manual
	Adopted   bool   // the materialized view is its owner's
	Auto      bool   // what is proposed for the clock is applied without asking
}

// Recommendation is what a person is asked, with the columns of the row of views that accepting it sets.
type Recommendation struct {
	Kind              string
	Current, Proposed string
	Reason            string            // a sentence
	Command           string            // what a person runs, where Change is nil or does not say it; %s stands for the name as SQL
	Basis, Change     map[string]string // columns of the row; "" = NULL; nil = a person runs Command
	Every             time.Duration     // the new interval of the kinds "interval" and "adaptive"; zero = a person decides
	Patience          float64           // of the kind "adaptive", see [Schedule]
	Rules             string            // of the kind "calendar": it as JSON
	Keep              time.Duration     // of the kind "retention": a longer one, to be put in force without asking; zero = a person decides
	Evidence          map[string]any
	Predicted         map[string]any
}

// Review says what to recommend for a view. Nothing is recommended for a view that was never refreshed.
func Review(v View) (recommendations []Recommendation, why []string) {
	refresh, ok := Expect(v.Method, v.Runs)
	if !ok {
		return nil, []string{"it was not refreshed yet: what a refresh costs is not known"}
	}
	last := v.Runs[len(v.Runs)-1]
	study := v.History.study(v.Bounds)
	defer studies.Put(study)
	reads := study.all
	rate := reads.MeanRate()
	duration, cost := refresh.Whole, refresh.Cost
	if v.Method == "full" {
		cost += Blocking(v.Kappa, rate, last.Duration.Seconds())
	}
	study.price(v.Kappa, cost)
	evidence := func(more map[string]any) map[string]any {
		e := map[string]any{"level": v.Level, "sources": v.Sources, "days": round(float64(len(v.History.Reads))*v.History.Grid.Width.Hours()/24, 1),
			"reads": math.Round(study.read), "reads_in_7_days": math.Round(reads.RecentReads()),
			"unknown_share": round(v.History.unknown(), 3), "refresh_seconds": round(refresh.Whole, 3), "refresh_seconds_p90": round(refresh.P90, 3), "runs": refresh.Runs}
		if refresh.PerRow > 0 {
			e["refresh_seconds_fixed"], e["refresh_seconds_a_row"] = round(refresh.Cost, 3), refresh.PerRow
		}
		for k, x := range more {
			e[k] = x
		}
		return e
	}

	v.Usage.RefreshSeconds = 0
	if v.Interval > 0 {
		v.Usage.RefreshSeconds = duration * v.clock().PerDay()
	}
	if a, unused := v.Usage.Unused(); unused && v.UsageKnown && (v.RefreshOn != "manual" || v.Usage.OnDemand) {
		r := Recommendation{
			Kind: a.Kind, Current: "refreshed by its clock", Proposed: a.Proposed, Reason: v.Name + ": " + strings.Join(a.Why, "; ") + ". Evidence: " + v.Sources + ".",
			Evidence: evidence(nil), Predicted: map[string]any{"refresh_seconds_a_day": map[string]any{"before": round(v.Usage.RefreshSeconds, 1), "after": 0}},
		}
		switch {
		case v.Usage.OnDemand:
			r.Current, r.Command, r.Predicted = "refreshed on demand only", v.drop(), map[string]any{"bytes_freed": v.Usage.Bytes}
		case v.RefreshOn == "upstream":
			r.Current = "refreshed after what it reads"
			fallthrough
		default:
			r.Basis, r.Change = map[string]string{"refresh_on": v.RefreshOn}, map[string]string{"refresh_on": "manual"}
		}
		return []Recommendation{r}, a.Why
	}
	recommendations, why = v.schedule(study, refresh, evidence)
	days := v.Now.Sub(v.Usage.CreatedAt).Hours() / 24
	rare := reads.RecentReads() < minReads
	if v.Interval > 0 && v.Method != "incremental" && last.Duration < time.Second && days > 0 && v.UsageKnown {
		worth := Worth{Span: v.Now.Sub(v.Usage.CreatedAt), Reads: rate * 86400, SavedPerRead: last.Duration.Seconds(), Refreshes: v.clock().PerDay(), Cost: duration}
		if a, ok := worth.PlainView(); ok && (rare || v.Interval >= v.Bounds.most()/2) { // else a longer interval is better, where there is one
			rare = false
			recommendations = append(recommendations, Recommendation{
				Kind: a.Kind, Current: "a materialized view", Proposed: a.Proposed,
				Reason:   v.Name + ": " + strings.Join(a.Why, "; ") + ". What a read saves is at most what a refresh takes. Its owner runs the command, and then GRANTs what others may.",
				Command:  v.plain(),
				Evidence: evidence(nil),
			})
		}
	}
	if rare && v.Interval > 0 {
		r, reasons := v.rare(study, refresh, evidence)
		if why = append(why, reasons...); r != nil {
			recommendations = append(recommendations, *r)
		}
	}
	return recommendations, why
}

// drop is the statement that drops it.
func (v View) drop() string {
	statement := "DELETE FROM mvscheduler.views WHERE name = %s"
	if v.Adopted {
		statement += "; then DROP MATERIALIZED VIEW, which that only releases"
	}
	return statement
}

// plain is the statement that makes it an ordinary view, in one transaction.
func (v View) plain() string {
	released := ""
	if v.Adopted {
		released = " EXECUTE 'DROP MATERIALIZED VIEW ' || v.name;"
	}
	return "DO $do$ DECLARE v mvscheduler.views; BEGIN SELECT * INTO STRICT v FROM mvscheduler.views WHERE name = %s; DELETE FROM mvscheduler.views WHERE id = v.id;" + released +
		" PERFORM set_config('search_path', v.search_path, true); EXECUTE format('CREATE VIEW %%s AS %%s', v.name, v.query); END $do$"
}

// clock is what is in force.
func (v View) clock() Schedule {
	switch {
	case v.Calendar != nil:
		return Schedule{Mode: CalendarMode, Calendar: v.Calendar}
	case v.Adaptive && v.Patience > 0:
		return Schedule{Mode: Adaptive, Interval: v.Interval, Patience: v.Patience}
	}
	return Schedule{Mode: Fixed, Interval: v.Interval}
}

// schedule are proposals for the clock, or why there is none. Where the sidecar may not apply them, and readers should ask
// for refreshes, there is also what a person can have without.
func (v View) schedule(study *study, refresh Expected, evidence func(map[string]any) map[string]any) (found []Recommendation, why []string) {
	if v.Interval == 0 {
		return nil, []string{"it is not refreshed at an interval"}
	}
	if !study.enough() {
		return nil, []string{"less than a week of reads, or none"}
	}
	if v.Auto && refresh.Runs < minRuns {
		return nil, []string{fmt.Sprintf("what a refresh costs is known of %d alone: its clock is not changed by itself before it is of %d", refresh.Runs, minRuns)}
	}
	if why := v.change(study).wait(); why != "" { // and nothing has to be chosen
		return nil, []string{why}
	}
	modes := []Mode{Fixed}
	if !v.NoRules {
		modes = append(modes, CalendarMode)
	}
	own := modes
	if v.Adaptive {
		modes = append(modes, Adaptive)
	}
	choice, _ := study.choose(modes...)
	if choice.Schedule.Mode == Adaptive && !v.Auto {
		if r, _ := v.propose(study, choice, refresh, evidence); r != nil {
			found = append(found, *r)
		}
		choice, _ = study.choose(own...)
	}
	if rules := choice.Schedule.Calendar; choice.Schedule.Mode == CalendarMode && len(rules) > 1 {
		if line, ok := study.oneLine(rules); ok {
			choice.Schedule.Calendar = line
			choice.Why = append(choice.Why, fmt.Sprintf("%s alone costs at most %.0f %% more than all %d rules", line, 100*simplerLoss, len(rules)))
		}
	}
	r, why := v.propose(study, choice, refresh, evidence)
	if r != nil {
		found = append(found, *r)
	}
	return found, why
}

// change is what has to be known of a view to touch its schedule, but for the schedules.
func (v View) change(study *study) Change {
	return Change{Now: v.Now, LastChange: v.LastChange, FrozenUntil: v.FrozenUntil, Alarm: study.all.shift.alarm, Reads: study.all.RecentReads(), Bounds: v.Bounds}
}

// propose is a proposal for the clock, or why it is left as it is.
func (v View) propose(study *study, choice Choice, refresh Expected, evidence func(map[string]any) map[string]any) (*Recommendation, []string) {
	old := v.clock()
	p := study.propose(v.Name, old, choice, refresh, v.Sources)
	change := v.change(study)
	change.Old, change.New, change.OldCost, change.NewCost = old, choice.Schedule, p.Before.Cost, p.After.Cost
	verdict := change.Settle()
	if !verdict.Act {
		return nil, verdict.Why
	}
	if choice.Schedule = verdict.Schedule; choice.Schedule.Mode == Fixed {
		p.New, p.After = choice.Schedule, study.predict(choice.Schedule)
	}
	r := &Recommendation{
		Every: choice.Schedule.Interval,
		Kind:  "interval", Current: old.String(), Proposed: choice.Schedule.String(), Reason: strings.Join(append([]string{p.Sentence()}, v.short()...), " "),
		Basis:  map[string]string{"refresh_interval": words(v.Interval)},
		Change: map[string]string{"refresh_interval": words(choice.Schedule.Interval)},
		Evidence: evidence(map[string]any{"interval_before": words(v.Interval), "patience_before": round(old.Patience, 1), "rhythm": choice.Evidence.Resolution.String(), "gain_out_of_sample": round(choice.Evidence.Gain, 3), "weeks": choice.Evidence.Weeks,
			"reasons": slices.Concat(choice.Why, v.Short, verdict.Why)}),
		Predicted: map[string]any{"before": p.Before.figures(), "after": p.After.figures()},
	}
	if old.Mode == CalendarMode {
		r.Evidence["calendar_before"] = old.Calendar
	}
	if choice.Schedule.Mode == Adaptive { // what readers pay is the sidecar's to watch: a person allows it
		r.Kind, r.Patience = "adaptive", choice.Schedule.Patience
		r.Evidence["patience"] = round(r.Patience, 1)
		r.Basis, r.Change = map[string]string{"optimize": "advise"}, map[string]string{"optimize": "auto"}
		if v.Auto {
			r.Basis["optimize"] = "auto"
		}
	}
	if choice.Schedule.Mode == CalendarMode {
		// One line of cron where it can say it: everybody reads that.
		rules, _ := json.Marshal(choice.Schedule.Calendar)
		column, value := "calendar", string(rules)
		if line, ok := choice.Schedule.Calendar.Cron(); ok {
			column, value = "cron", line
		}
		r.Kind, r.Rules = "calendar", string(rules)
		r.Change = map[string]string{column: value, "refresh_interval": ""}
		r.Basis[column] = ""
	}
	return r, verdict.Why
}

// short tells that the budget of all views has a part in it.
func (v View) short() (sentences []string) {
	for _, why := range v.Short {
		sentences = append(sentences, "The budget is short: "+why+".")
	}
	return sentences
}

func (p Prediction) figures() map[string]any {
	return map[string]any{"refresh_seconds_a_day": round(p.RefreshSeconds, 1), "refreshes_a_day": round(p.Refreshes, 1), "mean_age_seconds": math.Round(p.MeanAge),
		"p95_age_seconds": math.Round(p.P95Age), "cost_a_day": round(p.Cost, 1), "cost_low": round(p.Low, 1), "cost_high": round(p.High, 1)}
}

// unknown is the share of the bins whose reads are not known.
func (h History) unknown() float64 {
	var n int
	for _, r := range h.Reads {
		if math.IsNaN(r) {
			n++
		}
	}
	return float64(n) / float64(max(1, len(h.Reads)))
}

func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
