package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/catalog/schedule"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

const (
	planEvery     = time.Hour           // some views are thought about so often
	thinkEvery    = 23 * time.Hour      // and each of them
	thinkAtOnce   = 1000                // views in one go
	noteAtOnce    = 20                  // of them are noted, so that those after them come first after a go that ends early
	planPatience  = 5 * time.Minute     // one go may take no longer
	trialPatience = 28 * 24 * time.Hour // nor a change be under observation, where pauses or settings.keep_runs leave no whole week
	lookBack      = 63 * 24 * time.Hour // nine weeks: the last two of them modes are compared on,
	changesBack   = 15 * 24 * time.Hour // and for that it is looked at what changed
)

// planner makes recommendations of what was sampled, and applies those that a row lets it.
type planner struct {
	pool     *pgxpool.Pool
	log      *slog.Logger
	name     string
	patience time.Duration // of one go; zero = planPatience

	recorder recorder
	zones    map[string]*time.Location // that were looked up
}

// plan thinks about the views whose turn it is. The lease of the collector makes it the only one.
func (p *planner) plan(ctx context.Context, seen evidence) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(p.patience, planPatience))
	defer cancel()
	trials, err := catalog.LoadTrials(ctx, p.pool)
	if err != nil {
		return err
	}
	if due, err := catalog.AnyToThinkAbout(ctx, p.pool, thinkEvery); err != nil {
		return err
	} else if !due && len(trials) == 0 {
		return catalog.Planned(ctx, p.pool, p.name)
	}
	facts, views, err := catalog.LoadOptimizer(ctx, p.pool)
	if err != nil {
		return err
	}
	facts.Level, facts.Sources, facts.Standbys, facts.Servers = seen.level, seen.words, seen.standbys, seen.servers
	upstream, err := catalog.ReadUpstream(ctx, p.pool)
	if err != nil {
		return err
	}
	f := fleet{views: views, upstream: upstream}
	f.kappa, f.short = fleetKappa(facts, views)
	if f.short != nil {
		p.log.InfoContext(ctx, "the budget of refreshes is short", "why", f.short)
	}
	err = p.judge(ctx, facts, f, trials)
	done := 0
	var t thoughts
	for _, v := range views {
		if done == thinkAtOnce {
			break
		}
		if v.Since == nil || v.Planned != nil && !passed(*v.Planned, facts.Now, thinkEvery) {
			continue
		}
		if ctx.Err() != nil { // the others come first next time
			break
		}
		done++
		err = errors.Join(err, p.think(ctx, facts, v, f, &t))
		if len(t.views) == noteAtOnce {
			err = errors.Join(err, p.note(ctx, facts.Now, &t))
		}
	}
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeepingTime)
	defer cancel()
	return errors.Join(err, p.note(ctx, facts.Now, &t), catalog.Planned(noting, p.pool, p.name))
}

// fleet are all views, among which each is thought about.
type fleet struct {
	views    []catalog.TunedView
	upstream map[int64][]int64 // see catalog.ReadUpstream
	kappa    float64           // see fleetKappa
	short    []string          // why the budget is; nil = it is not
}

// fleetKappa is what a second of age is worth to a read, as the settings say, after the price of the budget, and why that has
// one.
func fleetKappa(facts catalog.OptimizerFacts, views []catalog.TunedView) (kappa float64, short []string) {
	var members []optimizer.Member
	for _, v := range views {
		if refresh, ok := optimizer.Expect(v.Method, runsOf(v)); ok && v.Active && v.Interval != nil {
			members = append(members, optimizer.Member{Name: v.Name, Cost: refresh.Cost, Paid: refresh.PerRow * refresh.Rows / *v.Interval, Rate: v.Rate, Bounds: boundsOf(facts, v)})
		}
	}
	kappa = optimizer.FleetKappa(members, duration(facts.Target))
	share := optimizer.ShareBudget(members, kappa, facts.Budget)
	if share.Price > 0 {
		short = share.Why
	}
	return kappa / (1 + share.Price), short
}

// runsOf are the last ones, the oldest first.
func runsOf(v catalog.TunedView) []optimizer.Run {
	runs := make([]optimizer.Run, len(v.Durations))
	for i := range runs {
		runs[len(runs)-1-i] = optimizer.Run{Duration: duration(v.Durations[i]), WALBytes: v.WAL[i], Rows: v.Rows[i]}
	}
	return runs
}

func boundsOf(facts catalog.OptimizerFacts, v catalog.TunedView) optimizer.Bounds {
	b := optimizer.Bounds{Min: duration(facts.Least)}
	if v.Least != nil {
		b.Min = max(b.Min, duration(*v.Least))
	}
	if v.Most != nil {
		b.Max = duration(*v.Most)
	}
	return b
}

// think reviews one view and adds what comes of it to the thoughts, unless it is to be applied.
func (p *planner) think(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView, f fleet, t *thoughts) error {
	of := len(t.views)
	t.views, t.clocks = append(t.views, v.ViewID), append(t.clocks, clockOf(v)) // where it fails too, lest those that come first come first for ever
	var found []optimizer.Recommendation
	if v.Optimize != "off" && v.Active && f.kappa > 0 || v.Optimize != "off" && v.Active && v.LastRead == nil {
		view, err := p.view(ctx, facts, v, f, facts.Now)
		if err != nil {
			return err
		}
		var why []string
		found, why = optimizer.Review(view)
		t.clocks[of] = strings.Join(why, "; ")
		p.log.DebugContext(ctx, "thought about a view", "view", v.Name, "recommendations", len(found), "why", why)
	}
	var recommendations []catalog.Recommendation
	for _, r := range found {
		recommendations = append(recommendations, recommendationOf(v, r))
	}
	kept, err := p.retention(ctx, facts, v)
	if err != nil {
		return err
	}
	if len(kept.why) > 0 {
		t.clocks[of] = strings.TrimPrefix(t.clocks[of]+"; retention: "+strings.Join(kept.why, ", "), "; ")
	}
	more, err := p.missed(ctx, facts, v)
	if err != nil {
		return err
	}
	if more != nil { // and nothing is to leave meanwhile
		kept.found, kept.since = []optimizer.Recommendation{*more}, nil
	}
	for _, r := range kept.found {
		recommendations = append(recommendations, recommendationOf(v, r))
	}
	stored, err := p.storage(ctx, facts, v)
	if err != nil {
		return err
	}
	recommendations = append(recommendations, stored...)
	indexed, err := p.index(ctx, facts, v)
	if err != nil {
		return err
	}
	refreshed, err := p.method(ctx, facts, v, f.kappa)
	if err != nil {
		return err
	}
	for _, r := range []*optimizer.Recommendation{indexed, refreshed} {
		if r != nil {
			recommendations = append(recommendations, recommendationOf(v, *r))
		}
	}
	advice := v.Advised(recommendations...)
	noted := kept.since == nil && v.ShrinkSince == nil || kept.since != nil && v.ShrinkSince != nil && kept.since.Equal(*v.ShrinkSince)
	switch {
	case !noted || slices.ContainsFunc(recommendations, catalog.Recommendation.Applies):
		return p.apply(ctx, advice, kept.since)
	case len(recommendations) > 0 || v.Open:
		t.advice = append(t.advice, advice)
	}
	return nil
}

// clockOf is what there is to say of a clock that is not reviewed.
func clockOf(v catalog.TunedView) string {
	switch {
	case v.Optimize == "off":
		return "optimize is off"
	case !v.Active:
		return "it is paused or disabled"
	}
	return "what reads are worth is not known: no view with an interval has been read and refreshed"
}

// view puts together what the optimizer has to know, with what changed since an instant at least. Reads of what is above a view
// are reads of it too: they are as old as it is.
func (p *planner) view(ctx context.Context, facts catalog.OptimizerFacts, v catalog.TunedView, f fleet, changed time.Time) (optimizer.View, error) {
	zone, err := p.zone(v.Timezone)
	if err != nil {
		return optimizer.View{}, fmt.Errorf("zone of view %q: %w", v.Name, err)
	}
	history, err := p.history(ctx, facts, withAbove(v.ViewID, f.upstream), zone, changed)
	if err != nil {
		return optimizer.View{}, err
	}
	view := optimizer.View{
		Name: v.Name, Now: facts.Now, History: skipping(history, facts, v), Runs: runsOf(v), Kappa: f.kappa, Short: f.short,
		Bounds: boundsAmong(facts, v, f), Level: facts.Level, Sources: facts.Sources, Method: v.Method, RefreshOn: v.RefreshOn, Adopted: v.Adopted, Auto: v.Optimize == "auto",
		UsageKnown: usageKnown(facts, v),
		Adaptive:   len(v.Upstream) == 0 && !slices.Contains(v.Refused, "adaptive"), // what reads managed views is no fresher than they are
		NoRules:    slices.Contains(v.Refused, "calendar"),
		Usage:      usedAs(facts, v),
	}
	if v.Note != "" {
		view.Sources += "; once " + v.Note
	}
	if v.Interval != nil {
		view.Interval = duration(*v.Interval)
	}
	if v.RowInterval != nil {
		view.Row = duration(*v.RowInterval)
	}
	if v.Patience != nil {
		view.Patience = *v.Patience
	}
	if view.Calendar, err = calendarOf(v); err != nil {
		return optimizer.View{}, err
	}
	if v.LastChange != nil {
		view.LastChange = *v.LastChange
	}
	view.FrozenUntil, _ = optimizer.Freeze(v.Undone, facts.Now)
	return view, nil
}

// skipping says how often a view is refreshed though nothing changed. Where nothing is skipped that is as if it changed all the time.
func skipping(h optimizer.History, facts catalog.OptimizerFacts, v catalog.TunedView) optimizer.History {
	if h.MaxSkips = facts.MaxSkips; v.NeverSkips || facts.MaxSkips == 0 {
		h.Changes = nil
	}
	return h
}

// usedAs is how a view was used.
func usedAs(facts catalog.OptimizerFacts, v catalog.TunedView) optimizer.Usage {
	u := optimizer.Usage{
		Now: facts.Now, CreatedAt: *v.Since, LongestPause: duration(v.LongestPause), Unknown: duration(v.UnreadUnknown), RateBefore: v.Rate,
		Servers: 1, ServersAll: 1 + facts.Standbys, Dependants: v.Dependants, Published: v.Published, Bytes: float64(v.SizeBytes),
	}
	if v.LastRead != nil {
		u.LastRead = *v.LastRead
	}
	if v.Stopped != nil {
		u.OnDemand, u.Since = true, *v.Stopped
	}
	return u
}

// calendarOf is what is in force in the place of an interval; nil = none.
func calendarOf(v catalog.TunedView) (schedule.Calendar, error) {
	if v.TunedCalendar == nil {
		return nil, nil
	}
	calendar, err := schedule.ParseCalendar(*v.TunedCalendar)
	if err != nil {
		return nil, fmt.Errorf("calendar of view %q: %w", v.Name, err)
	}
	return calendar, nil
}

func (p *planner) zone(name string) (*time.Location, error) {
	zone, known := p.zones[name]
	if known {
		return zone, nil
	}
	zone, err := time.LoadLocation(name)
	if err == nil {
		if p.zones == nil {
			p.zones = make(map[string]*time.Location)
		}
		p.zones[name] = zone
	}
	return zone, err
}

// history is what was sampled of a view, the first, with the reads of those above it, and what changed on the last days, or since
// an instant before. It holds until the next one is asked for.
func (p *planner) history(ctx context.Context, facts catalog.OptimizerFacts, views []int64, zone *time.Location, changed time.Time) (optimizer.History, error) {
	if least := facts.Now.Add(-changesBack); changed.After(least) {
		changed = least
	}
	return p.recorder.record(ctx, p.pool, views, zone, facts.Now.Add(-lookBack).Truncate(24*time.Hour), changed, facts.Now)
}

// boundsAmong are those of a view between the others. It is no fresher than what it reads. What reads it is no fresher
// than it is, so that it gets no longer interval than a view above has (spec 3d.7), and no longer pause than the shortest
// one of a view above with a cron or a calendar, unless its own row has a longer interval; of a view above that is tuned as
// well only max_interval is promised. Where that cannot all be, the bounds of its row come first, and then what it reads.
func boundsAmong(facts catalog.OptimizerFacts, v catalog.TunedView, f fleet) optimizer.Bounds {
	own := boundsOf(facts, v)
	b := own
	above := withAbove(v.ViewID, f.upstream)[1:]
	if len(v.Upstream)+len(above) == 0 {
		return own
	}
	for _, u := range f.views {
		if slices.Contains(v.Upstream, u.ViewID) && u.Interval != nil {
			b.Min = max(b.Min, own.Clamp(shortestGap(facts.Now, u)))
		}
	}
	for _, u := range f.views {
		if v.RowInterval == nil || !slices.Contains(above, u.ViewID) {
			continue
		}
		promised := shortestGap(facts.Now, u)
		if u.Optimize == "auto" && u.Interval != nil {
			promised = 0
			if u.Most != nil {
				promised = duration(*u.Most)
			}
		}
		if promised == 0 {
			continue
		}
		if most := own.Clamp(max(promised, duration(*v.RowInterval), b.Min)); b.Max == 0 || most < b.Max {
			b.Max = most
		}
	}
	return b
}

// shortestGap is the shortest time between two slots of the clock that is in force for a view; zero = it has none.
func shortestGap(now time.Time, v catalog.TunedView) time.Duration {
	var spec schedule.Spec
	switch {
	case v.Cron != nil:
		spec.Cron = *v.Cron
	case v.Calendar != nil:
		spec.Calendar = *v.Calendar
	case v.TunedCalendar != nil:
		spec.Calendar = *v.TunedCalendar
	case v.Interval != nil:
		spec.Interval = duration(*v.Interval)
	}
	return spec.ShortestGap(now)
}

// withAbove are a view and those that read it, directly or not.
func withAbove(view int64, upstream map[int64][]int64) []int64 {
	ids := []int64{view}
	readers := make(map[int64][]int64, len(upstream))
	for id, reads := range upstream {
		for _, read := range reads {
			readers[read] = append(readers[read], id)
		}
	}
	seen := map[int64]bool{view: true}
	for i := 0; i < len(ids); i++ {
		for _, id := range readers[ids[i]] {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// recommendationOf writes a recommendation as the catalog has it, with its command.
func recommendationOf(v catalog.TunedView, r optimizer.Recommendation) catalog.Recommendation {
	c := catalog.Recommendation{Kind: r.Kind, Current: r.Current, Proposed: r.Proposed, Reason: r.Reason, Evidence: r.Evidence, Predicted: r.Predicted}
	if r.Change == nil {
		c.Command = fmt.Sprintf(r.Command, v.NameSQL)
		return c
	}
	c.Basis, c.Change = columns(r.Basis), columns(r.Change)
	if r.Command != "" {
		c.Command = fmt.Sprintf(r.Command, v.NameSQL)
		return c
	}
	if v.RowInterval != nil && r.Basis["refresh_interval"] != "" { // the row may say something else than what is in force
		c.Basis["refresh_interval"] = new(strconv.FormatFloat(*v.RowInterval, 'f', -1, 64) + " seconds")
	}
	var sets string
	for _, name := range []string{"refresh_interval", "cron", "calendar", "refresh_on", "method", "retention_period", "optimize"} {
		value, there := r.Change[name]
		if !there {
			continue
		}
		if sets != "" {
			sets += ", "
		}
		if value == "" {
			sets += name + " = NULL"
		} else {
			sets += name + " = '" + value + "'"
		}
	}
	c.Command = "UPDATE mvscheduler.views SET " + sets + " WHERE name = " + v.NameSQL
	switch {
	case v.Optimize != "auto":
	case r.Kind == "calendar":
		c.Rules = &r.Rules
	case r.Every > 0:
		c.Apply, c.Patience = &r.Every, r.Patience
	}
	if r.Keep > 0 {
		c.Keep = &r.Keep
	}
	return c
}

func columns(from map[string]string) map[string]*string {
	to := make(map[string]*string, len(from))
	for name, value := range from {
		to[name] = nil
		if value != "" {
			to[name] = &value
		}
	}
	return to
}
