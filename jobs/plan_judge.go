package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/catalog/schedule"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// judge looks what became of changes, and takes back those that did not help, where they were applied by themselves.
func (p *planner) judge(ctx context.Context, facts catalog.OptimizerFacts, f fleet, trials []catalog.TrialRecord) (err error) {
	for _, t := range trials {
		i := slices.IndexFunc(f.views, func(v catalog.TunedView) bool { return v.ViewID == t.ViewID })
		if i < 0 || f.views[i].Since == nil || f.kappa == 0 {
			continue
		}
		back, judgeErr := p.judgeOne(ctx, facts, f.views[i], f, t)
		if judgeErr != nil {
			err = errors.Join(err, judgeErr)
		}
		if back { // it is not thought about on the same day
			f.views[i].LastChange = &facts.Now
		}
	}
	return err
}

func (p *planner) judgeOne(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView, f fleet, t catalog.TrialRecord) (back bool, err error) {
	view, err := p.view(ctx, facts, v, f, t.AppliedAt)
	if err != nil {
		return false, err
	}
	refresh, ok := optimizer.Expect(v.Method, view.Runs)
	if !ok || len(view.History.Reads) == 0 && t.Kind != "retention" {
		return false, nil
	}
	view.History.Kappa, view.History.Cost = f.kappa, refresh.Cost
	if t.Kind == "retention" {
		view.History.Cost = refresh.Whole
	}
	old, err := clockBefore(t)
	if err != nil {
		return false, fmt.Errorf("calendar of view %q before: %w", v.Name, err)
	}
	bin := func(at time.Time) int { return int(at.Sub(view.History.Grid.Start) / view.History.Grid.Width) }
	trial := optimizer.Trial{
		History: view.History, Changed: min(max(0, bin(t.AppliedAt)), len(view.History.Reads)), Old: old, Bounds: view.Bounds,
		PredictedCost: t.PredictedCost, MeasuredCost: view.History.Cost, Ended: t.Ended, Failures: t.Failed, FailuresWere: t.Before,
	}
	for _, at := range t.Began {
		if b := bin(at); b < len(view.History.Reads) {
			trial.Refreshes = append(trial.Refreshes, b)
		}
	}
	var verdict optimizer.Judgement
	var measured map[string]any
	if t.Kind == "retention" {
		verdict = trial.JudgeLonger(facts.Now.Sub(t.AppliedAt))
		measured = map[string]any{"refresh_seconds": trial.MeasuredCost}
	} else {
		verdict = trial.Judge()
		measured = map[string]any{"cost": verdict.New.Cost, "cost_of_the_old": verdict.Old.Cost, "reads": verdict.New.Reads,
			"mean_age_seconds": verdict.New.MeanAge, "mean_age_seconds_of_the_old": verdict.Old.MeanAge}
	}
	verdict.Final = verdict.Final || facts.Now.Sub(t.DecidedAt) > trialPatience
	why := strings.Join(verdict.Reasons(), "; ")
	measured["final"], measured["why"] = verdict.Final, why
	if verdict.Final {
		measured["helped"] = !verdict.RollBack
	}
	if !t.Automatic {
		return false, catalog.NoteMeasured(ctx, p.pool, t.ID, measured)
	}
	err = pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		done, err := catalog.Judged(ctx, tx, t.ID, t.ViewID, measured, verdict.RollBack, why)
		if back = done && verdict.RollBack; back {
			p.log.WarnContext(ctx, "took a change back", "view", v.Name, "recommendation", t.ID, "why", why)
		}
		return err
	})
	return back, err
}

// clockBefore is the clock that a change took the place of.
func clockBefore(t catalog.TrialRecord) (optimizer.Schedule, error) {
	old := optimizer.Schedule{Mode: optimizer.Fixed, Interval: duration(t.RowSeconds)}
	if t.Was != nil {
		var words optimizer.IntervalWords
		if words.UnmarshalText([]byte(*t.Was)) == nil {
			old.Interval = time.Duration(words)
		}
		if t.Patience > 0 {
			old.Mode, old.Patience = optimizer.Adaptive, t.Patience
		}
	}
	if t.WasCalendar != nil {
		rules, err := schedule.ParseCalendar(*t.WasCalendar)
		if err != nil {
			return optimizer.Schedule{}, err
		}
		old = optimizer.Schedule{Mode: optimizer.CalendarMode, Calendar: rules}
	}
	return old, nil
}
