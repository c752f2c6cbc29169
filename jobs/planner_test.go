package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
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
