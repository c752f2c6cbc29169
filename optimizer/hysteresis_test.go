package optimizer

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSettle(t *testing.T) {
	t.Parallel()
	now := monday
	fixed := func(d time.Duration) Schedule { return Schedule{Mode: Fixed, Interval: d} }
	base := Change{Old: fixed(time.Hour), New: fixed(15 * time.Minute), OldCost: 100, NewCost: 60, Now: now, Reads: 500}
	tests := []struct {
		name   string
		change func(*Change)
		want   Schedule // zero = nothing is changed
		why    string
	}{
		{"one step at a time", func(*Change) {}, fixed(30 * time.Minute), "one step"},
		{"and up", func(c *Change) { c.New = fixed(24 * time.Hour) }, fixed(2 * time.Hour), "one step"},
		{"within a step", func(c *Change) { c.New = fixed(30 * time.Minute) }, fixed(30 * time.Minute), "saves 40 %"},
		{"too near", func(c *Change) { c.New = fixed(45 * time.Minute) }, Schedule{}, "within a factor"},
		{"too little to gain", func(c *Change) { c.NewCost = 96 }, Schedule{}, "less than the 5 %"},
		{"worse", func(c *Change) { c.NewCost = 120 }, Schedule{}, "-20.0 %"},
		{"nothing known", func(c *Change) { c.OldCost, c.NewCost = 0, 0 }, Schedule{}, "less than the 5 %"},
		{"rarely read", func(c *Change) { c.Reads = 29 }, Schedule{}, "rarely read"},
		{"cooling down", func(c *Change) { c.LastChange = now.Add(-23 * time.Hour) }, Schedule{}, "next step"},
		{"cooled down", func(c *Change) { c.LastChange = now.Add(-25 * time.Hour) }, fixed(30 * time.Minute), ""},
		{"just shifted", func(c *Change) { c.Alarm = now.Add(-time.Hour) }, Schedule{}, "watched"},
		{"frozen", func(c *Change) { c.FrozenUntil = now.Add(time.Hour) }, Schedule{}, "frozen"},
		{"to a calendar at once", func(c *Change) {
			c.New = Schedule{Mode: CalendarMode, Calendar: Calendar{{Days: Weekdays, From: 540, To: 1020, Every: IntervalWords(time.Hour)}}}
		},
			Schedule{Mode: CalendarMode, Calendar: Calendar{{Days: Weekdays, From: 540, To: 1020, Every: IntervalWords(time.Hour)}}}, "every 1 hour, mon-fri 09:00-17:00"},
		{"an odd interval", func(c *Change) {
			c.Old, c.New, c.Bounds.Max = fixed(100*time.Hour), fixed(24*time.Hour), 100*time.Hour
		}, fixed(50 * time.Hour), "one step"},
		{"a step that ends outside of the bounds", func(c *Change) { c.Old, c.New = fixed(72*time.Hour), fixed(24*time.Hour) }, fixed(24 * time.Hour), "within its bounds"},
		{"from below them", func(c *Change) { c.Old, c.New, c.Bounds.Min = fixed(5*time.Minute), fixed(2*time.Hour), time.Hour }, fixed(time.Hour), "within its bounds"},
		{"bounds that leave none", func(c *Change) { c.Bounds = Bounds{Min: 2 * time.Hour, Max: time.Hour} }, Schedule{}, "no interval is within its bounds"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := base
			tt.change(&c)
			v := c.Settle()
			require.Contains(t, fmt.Sprint(v.Why), tt.why)
			if tt.want.Mode == Fixed && tt.want.Interval == 0 {
				require.False(t, v.Act)
				require.Equal(t, c.Old, v.Schedule)
				return
			}
			require.True(t, v.Act)
			require.Equal(t, tt.want, v.Schedule)
		})
	}
}

func TestStepsReachTheirTargetAndStop(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := Change{
			Old:     Schedule{Mode: Fixed, Interval: rapid.SampledFrom(niceIntervals).Draw(t, "old")},
			New:     Schedule{Mode: Fixed, Interval: rapid.SampledFrom(niceIntervals).Draw(t, "new")},
			OldCost: 2, NewCost: 1, Now: monday, Reads: 100,
		}
		for range 12 {
			v := c.Settle()
			if !v.Act {
				break
			}
			ratio := v.Schedule.Interval.Seconds() / c.Old.Interval.Seconds()
			require.LessOrEqual(t, math.Abs(math.Log2(ratio)), 1.0001)
			require.Equal(t, c.New.Interval > c.Old.Interval, ratio > 1, "in the right direction")
			c.Old = v.Schedule
		}
		require.Less(t, math.Abs(math.Log2(c.New.Interval.Seconds()/c.Old.Interval.Seconds())), minStep)
	})
}
