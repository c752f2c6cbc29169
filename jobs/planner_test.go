package jobs

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
	"github.com/mvscheduler/mvscheduler/retention"
)

func TestAViewIsTunedNoSlowerThanWhatReadsItPromises(t *testing.T) {
	t.Parallel()
	minutes := func(n float64) *float64 { return new(n * 60) }
	view := func(id int64, every, row *float64, upstream ...int64) catalog.TunedView {
		return catalog.TunedView{ViewID: id, Optimize: "advise", Interval: every, RowInterval: row, Upstream: upstream}
	}
	fleetOf := func(views ...catalog.TunedView) fleet {
		f := fleet{views: views, upstream: make(map[int64][]int64)}
		for _, v := range views {
			f.upstream[v.ViewID] = v.Upstream
		}
		return f
	}
	below := view(1, minutes(10), minutes(10))
	middle := view(2, minutes(60), minutes(15), 1)
	above := view(3, minutes(30), minutes(30), 2)
	most := func(views ...catalog.TunedView) time.Duration {
		return boundsAmong(catalog.OptimizerFacts{}, middle, fleetOf(views...)).Max
	}
	require.Equal(t, optimizer.Bounds{Min: 10 * time.Minute}, boundsAmong(catalog.OptimizerFacts{}, middle, fleetOf(below, middle)))
	require.Equal(t, 30*time.Minute, most(below, middle, above))
	require.Equal(t, 20*time.Minute, most(below, middle, above, view(4, minutes(20), minutes(20), 3)), "it reads it through another")
	require.Equal(t, 15*time.Minute, most(below, middle, view(3, minutes(1), minutes(1), 2)), "as its own row says")
	require.Zero(t, most(below, middle, view(3, nil, nil, 2)), "it follows")
	clocked := view(3, nil, nil, 2)
	clocked.Cron = new("*/20 8-17 * * 1-5")
	require.Equal(t, 20*time.Minute, most(below, middle, clocked), "while it is awake")
	clocked.Cron, clocked.Calendar = nil, new(`[{"days": "mon-fri", "at": "08:00"}, {"days": "mon", "at": "08:25"}]`)
	require.Equal(t, 25*time.Minute, most(below, middle, clocked))
	tuned := below
	tuned.TunedCalendar = new(`[{"days": "mon-fri", "from": "08:00", "to": "18:00", "every": "30 minutes"}]`)
	require.Equal(t, optimizer.Bounds{Min: 30 * time.Minute}, boundsAmong(catalog.OptimizerFacts{}, middle, fleetOf(tuned, middle)))
	require.Zero(t, most(below, middle, view(9, minutes(1), minutes(1), 1)), "that reads another")

	above.Optimize = "auto"
	require.Zero(t, most(below, middle, above), "it follows within its bounds")
	above.Most = minutes(45)
	require.Equal(t, 45*time.Minute, most(below, middle, above))
	middle.Most = minutes(20)
	require.Equal(t, 20*time.Minute, most(below, middle, above), "its own bound is tighter")
	middle.RowInterval = nil
	middle.Most = nil
	require.Zero(t, most(below, middle, above), "it has no interval to be tuned")
}

func TestBoundsOfTheRowComeBeforeThoseOfOtherViews(t *testing.T) {
	t.Parallel()
	minutes := func(n float64) *float64 { return new(n * 60) }
	f := fleet{views: []catalog.TunedView{{ViewID: 1, Interval: minutes(72 * 60), RowInterval: minutes(72 * 60)}, {ViewID: 3, Upstream: []int64{2}, Interval: minutes(30), RowInterval: minutes(30)}}}
	f.upstream = map[int64][]int64{2: {1}, 3: {2}}
	least := func(least, most *float64) optimizer.Bounds {
		return boundsAmong(catalog.OptimizerFacts{}, catalog.TunedView{ViewID: 2, Upstream: []int64{1}, Interval: minutes(60), RowInterval: minutes(10), Least: least, Most: most}, f)
	}
	require.Equal(t, optimizer.Bounds{Min: 24 * time.Hour, Max: 24 * time.Hour}, least(nil, nil), "it reads one of three days, and a day is the longest that is put in force by itself")
	require.Equal(t, optimizer.Bounds{Min: 45 * time.Minute, Max: 45 * time.Minute}, least(nil, minutes(45)))
	require.Equal(t, optimizer.Bounds{Min: 48 * time.Hour, Max: 48 * time.Hour}, least(minutes(48*60), nil), "unless the row says more")
	require.Equal(t, optimizer.Bounds{Min: 72 * time.Hour, Max: 72 * time.Hour}, least(nil, minutes(96*60)))
	slow := catalog.TunedView{ViewID: 2, Interval: minutes(72 * 60), RowInterval: minutes(72 * 60)}
	require.Equal(t, 24*time.Hour, boundsAmong(catalog.OptimizerFacts{}, slow, f).Max, "what its own row has is longer than what may be put in force")
}

// The longest span that there is stands for all that are longer: 292 years.
func TestSpansThatAreLongerThanAComputersAreTheLongest(t *testing.T) {
	t.Parallel()
	const year = 365.25 * 86400
	require.Equal(t, time.Duration(math.MaxInt64), duration(5000*year))
	require.Equal(t, time.Duration(math.MaxInt64), duration(math.Inf(1)))
	require.Equal(t, time.Duration(math.MinInt64), duration(-5000*year))
	require.Equal(t, 290*365.25*24*time.Hour, duration(290*year))
	require.Zero(t, duration(math.NaN()))
	v, least := catalog.TunedView{Since: new(time.Now())}, 5000*year
	require.Positive(t, retentionView(catalog.OptimizerFacts{}, v, &catalog.RetentionRecord{Least: &least}, nil, retention.Facts{}).Min, "min_retention")
}

func TestWhatMayLeaveRestsOnWhatIsThereAndCanBeMadeAgain(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	ago := func(days int) *time.Time { return new(now.AddDate(0, 0, -days)) }
	part := func(days int, aside bool) retention.Partition {
		p := retention.Partition{Bytes: 1000, Bound: "FOR VALUES FROM ('" + ago(days).Format(time.DateOnly) + "') TO ('" + ago(days-1).Format(time.DateOnly) + "')"}
		if aside {
			p.DetachedAt = new(retention.At(now))
		}
		return p
	}
	facts := catalog.OptimizerFacts{Now: now}
	parts := retention.Facts{Relation: retention.Relation{
		Key:        []retention.Column{{Name: "day", Type: retention.TypeDate}},
		Partitions: []retention.Partition{part(90, true), part(10, false), part(9, false), {Bound: "DEFAULT", Bytes: 8000}},
	}}
	seen := func(change func(*catalog.TunedView, *catalog.RetentionRecord)) optimizer.RetentionView {
		v, r := catalog.TunedView{Since: ago(400)}, catalog.RetentionRecord{LookedSince: ago(200)}
		if change != nil {
			change(&v, &r)
		}
		return retentionView(facts, v, &r, nil, parts)
	}
	v := seen(nil)
	require.Equal(t, 10*day, v.Kept, "what was put aside has left")
	require.InDelta(t, 1000, v.BytesPerDay, 1e-9)
	require.Equal(t, 200*day, v.Age, "before it was not seen how far back it is read")
	require.Equal(t, 20*day, seen(func(v *catalog.TunedView, _ *catalog.RetentionRecord) { v.Since = ago(20) }).Age)
	require.Zero(t, seen(func(_ *catalog.TunedView, r *catalog.RetentionRecord) { r.LookedSince = nil }).Age)
	require.Equal(t, 300*day, seen(func(_ *catalog.TunedView, r *catalog.RetentionRecord) { r.Furthest = 300 }).LookBacks.Longest)

	require.Zero(t, v.RawHorizon, "all of it can be made again")
	require.False(t, v.AllowIrrecoverable)
	require.Equal(t, 30*day, seen(func(_ *catalog.TunedView, r *catalog.RetentionRecord) { r.Rebuildable = new(30 * day.Seconds()) }).RawHorizon)
	require.Positive(t, seen(func(_ *catalog.TunedView, r *catalog.RetentionRecord) { r.Rebuildable = new(0.) }).RawHorizon, "nothing of it can: zero would be all of it")
	require.Positive(t, seen(func(_ *catalog.TunedView, r *catalog.RetentionRecord) { r.Rebuildable = new(-5.) }).RawHorizon, "what left ends in the future")
	require.True(t, seen(func(_ *catalog.TunedView, r *catalog.RetentionRecord) { r.Least = new(30 * day.Seconds()) }).AllowIrrecoverable, "min_retention is how the owner allows it")
}

func TestNothingIsShrunkAfterAMissOrAnUndo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	ago := func(days int) *time.Time { return new(now.AddDate(0, 0, -days)) }
	s := stateOf(&catalog.RetentionRecord{ShrinkSince: ago(27), LastApplied: ago(50), LastUndone: ago(40), LastMissed: ago(20)}, now)
	require.Equal(t, optimizer.RetentionState{WeeksBelow: 3, LastShrink: *ago(50), FrozenUntil: optimizer.FreezeAfterMiss(*ago(20))}, s)
	s = stateOf(&catalog.RetentionRecord{LastUndone: ago(20), LastMissed: ago(40)}, now)
	require.Equal(t, optimizer.RetentionState{FrozenUntil: optimizer.FreezeAfterMiss(*ago(20))}, s, "the later of the two")
}

func TestAStandbyWhoseReadsAreNotCountedMayReadAView(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	v := catalog.TunedView{Since: new(now.AddDate(0, 0, -90)), Interval: new(3600.)}
	_, unused := usedAs(catalog.OptimizerFacts{Now: now}, v).Unused()
	require.True(t, unused)
	_, unused = usedAs(catalog.OptimizerFacts{Now: now, Standbys: 1}, v).Unused()
	require.False(t, unused)
	for why, change := range map[string]func(*catalog.TunedView){
		"it was read":             func(v *catalog.TunedView) { v.LastRead = new(now.AddDate(0, 0, -5)) },
		"that is not known":       func(v *catalog.TunedView) { v.UnreadUnknown = 70 * 86400 },
		"it is read so seldom":    func(v *catalog.TunedView) { v.LongestPause = 40 * 86400 },
		"something depends on it": func(v *catalog.TunedView) { v.Dependants = 1 },
		"it is published":         func(v *catalog.TunedView) { v.Published = true },
		"only since ten days":     func(v *catalog.TunedView) { v.Stopped = new(now.AddDate(0, 0, -10)) },
	} {
		changed := v
		change(&changed)
		_, unused := usedAs(catalog.OptimizerFacts{Now: now}, changed).Unused()
		require.False(t, unused, why)
	}
}

func TestAFullRefreshCostsMoreSinceTheViewHasGrown(t *testing.T) {
	t.Parallel()
	run := func(method string, rows int64) catalog.Measured {
		return catalog.Measured{Method: method, Took: 10 * time.Second, Rows: &rows}
	}
	took := func(past ...catalog.Measured) time.Duration {
		m := methodsOf(catalog.OptimizerFacts{}, catalog.TunedView{}, past)
		require.Equal(t, 10*time.Second, m.Conc.Took)
		require.InEpsilon(t, m.Full.Took.Seconds(), m.Full.Seconds, 1e-9)
		return m.Full.Took
	}
	require.Equal(t, 30*time.Second, took(run("concurrent", 3000), run("full", 1000)))
	require.Equal(t, 10*time.Second, took(run("concurrent", 500), run("full", 1000)), "it may be full again tomorrow")
	require.Equal(t, 10*time.Second, took(catalog.Measured{Method: "concurrent", Took: 10 * time.Second}, run("full", 1000)), "that is not known")
}

func TestOnlyAutoPutsAnythingInForce(t *testing.T) {
	t.Parallel()
	r := optimizer.Recommendation{Kind: "interval", Every: time.Hour, Basis: map[string]string{"refresh_interval": "15 minutes"}, Change: map[string]string{"refresh_interval": "1 hour"}}
	for optimize, applies := range map[string]bool{"advise": false, "auto": true} {
		v := catalog.TunedView{Optimize: optimize, NameSQL: "'v'", RowInterval: new(1800.)}
		c := recommendationOf(v, r)
		require.Equal(t, applies, c.Applies(), optimize)
		require.Equal(t, "1800 seconds", *c.Basis["refresh_interval"], "as its row says, whatever is in force")
		require.Equal(t, "UPDATE mvscheduler.views SET refresh_interval = '1 hour' WHERE name = 'v'", c.Command)
		rules := r
		rules.Kind, rules.Every, rules.Rules = "calendar", 0, "[]"
		require.Equal(t, applies, recommendationOf(v, rules).Applies(), optimize)
	}
}

func TestAShortBudgetMakesAgeCheaper(t *testing.T) {
	t.Parallel()
	view := func(name string) catalog.TunedView {
		return catalog.TunedView{Name: name, Method: "full", Active: true, Interval: new(900.), Rate: 1, Durations: []float64{60, 60, 60}, WAL: make([]float64, 3), Rows: make([]float64, 3)}
	}
	views := []catalog.TunedView{view("a"), view("b")}
	facts := catalog.OptimizerFacts{Target: 900, Budget: 1}
	enough, short := fleetKappa(facts, views)
	require.Nil(t, short)
	facts.Budget = 2 * 60. / 1800 // twice as long intervals, at four times the price
	dear, short := fleetKappa(facts, views)
	require.InEpsilon(t, enough/4, dear, 1e-6)
	require.NotEmpty(t, short)
	paused := view("c")
	paused.Active = false
	again, _ := fleetKappa(facts, append(views, paused))
	require.InEpsilon(t, dear, again, 1e-9, "what is paused takes nothing of it")
}

func TestAChangeIsComparedWithTheClockThatItTookThePlaceOf(t *testing.T) {
	t.Parallel()
	before := func(r catalog.TrialRecord) optimizer.Schedule {
		s, err := clockBefore(r)
		require.NoError(t, err)
		return s
	}
	require.Equal(t, optimizer.Schedule{Mode: optimizer.Fixed, Interval: time.Hour}, before(catalog.TrialRecord{RowSeconds: 3600}))
	r := catalog.TrialRecord{RowSeconds: 3600, Was: new("30 minutes")}
	require.Equal(t, optimizer.Schedule{Mode: optimizer.Fixed, Interval: 30 * time.Minute}, before(r), "that was in force, whatever the row says")
	r.Patience = 5000
	require.Equal(t, optimizer.Schedule{Mode: optimizer.Adaptive, Interval: 30 * time.Minute, Patience: 5000}, before(r))
	r.WasCalendar = new(`[{"days": "mon-fri", "at": "08:00"}]`)
	require.Equal(t, optimizer.CalendarMode, before(r).Mode)
	r.WasCalendar = new(`[]x`)
	_, err := clockBefore(r)
	require.Error(t, err)
}

func TestAViewThatSkipsNothingIsRefreshedAsIfItChangedAllTheTime(t *testing.T) {
	t.Parallel()
	h := optimizer.History{Changes: []float64{0, 1}}
	require.Equal(t, optimizer.History{Changes: h.Changes, MaxSkips: 9}, skipping(h, catalog.OptimizerFacts{MaxSkips: 9}, catalog.TunedView{}))
	require.Nil(t, skipping(h, catalog.OptimizerFacts{}, catalog.TunedView{}).Changes, "settings.max_skips = 0")
	require.Nil(t, skipping(h, catalog.OptimizerFacts{MaxSkips: 9}, catalog.TunedView{NeverSkips: true}).Changes)
}
