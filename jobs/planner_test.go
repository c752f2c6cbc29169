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
