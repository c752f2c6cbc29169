package optimizer

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestACoarserBucketIsOfferedBeyondWhatIsRead(t *testing.T) {
	t.Parallel()
	v, _ := weekly()
	view := Coarsened{
		Name: "app.v", Coarse: "app.v_by_day", TimeColumn: "hour", ColumnName: "hour", Keys: []string{"origin"}, Values: []string{"flights", `"late"`}, Timezone: "UTC",
		Bucket: time.Hour, Kept: 365 * oneDay, LookBacks: v.LookBacks, BytesPerDay: 1 << 30, Source: "partitions",
	}
	r, ok := view.Coarser()
	require.True(t, ok)
	require.Equal(t, "keep buckets of 1 day beyond 31 days", r.Proposed)
	require.Nil(t, r.Change)
	require.Equal(t, `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, timezone, refresh_on) VALUES ('app.v_by_day', 'SELECT date_trunc(''day'', hour) AS hour, origin, sum(flights) AS flights, sum("late") AS "late" FROM app.v WHERE mvscheduler.in_window(hour) GROUP BY 1, 2', 'incremental', 'hour', '1 day', 'UTC', 'upstream'); when that is fresh: UPDATE mvscheduler.views SET retention_period = '31 days' WHERE name = %s`, r.Command)
	require.Contains(t, r.Reason, "sum() is right for counts and sums")
	for why, change := range map[string]func(*Coarsened){
		"it saves nothing":     func(c *Coarsened) { c.BytesPerDay = 1 << 10 },
		"there are no reads":   func(c *Coarsened) { c.LookBacks = LookBacks{} },
		"nothing is older":     func(c *Coarsened) { c.Kept = 31 * oneDay },
		"no coarser one":       func(c *Coarsened) { c.Bucket = 31 * oneDay },
		"some read everything": func(c *Coarsened) { c.LookBacks.Unbounded = 0.02 },
		"many read everything": func(c *Coarsened) {
			c.LookBacks.spans = append([]weighted(nil), c.LookBacks.spans...)
			for i := range 100 {
				c.LookBacks.spans[i].span = math.Inf(1)
			}
		},
	} {
		c := view
		change(&c)
		_, ok := c.Coarser()
		require.False(t, ok, why)
	}
	far := view
	far.LookBacks.spans = []weighted{{(40 * oneDay).Seconds(), 4000}}
	r, ok = far.Coarser()
	require.True(t, ok)
	require.Equal(t, "keep buckets of 1 day beyond 81 days", r.Proposed, "twice what is read")
	view.Bucket, view.Kept = oneDay, 5*365*oneDay
	r, ok = view.Coarser()
	require.True(t, ok)
	require.Contains(t, r.Command, "date_trunc(''month'', hour)")
}
