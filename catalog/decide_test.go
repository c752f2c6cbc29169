package catalog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	var (
		noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		minute = time.Minute
		run    = int64(41)
	)
	hourly := func(change func(*Due)) Due {
		d := Due{
			ViewID: 7, Name: "app.v", Owner: 10, RefreshInterval: new(time.Hour), Timezone: "UTC", RefreshOn: "schedule",
			Catchup: "latest", Priority: 2, JitterKey: 7, NextSlot: new(noon), NextDue: new(noon),
		}
		change(&d)
		return d
	}
	tests := []struct {
		name string
		due  Due
		now  time.Time
		want func(*testing.T, Decision)
	}{
		{
			"a slot that is due is queued and the clock moves to the next", hourly(func(*Due) {}), noon.Add(minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "schedule", d.Run.Cause)
				require.Equal(t, noon, d.Run.Slot.UTC())
				require.Equal(t, noon.Add(time.Hour), d.Clock.Slot.UTC())
				require.Equal(t, time.Hour, d.Clock.Target)
				require.Nil(t, d.Skipped)
			},
		},
		{
			"the last slot of office hours allows for the night", hourly(func(d *Due) {
				d.RefreshInterval, d.Calendar = nil, new(`[{"from": "07:00", "to": "12:30", "every": "30 minutes"}]`)
			}), noon.Add(time.Second),
			func(t *testing.T, d Decision) {
				require.Equal(t, "schedule", d.Run.Cause)
				require.Equal(t, noon.Add(19*time.Hour), d.Clock.Slot.UTC())
				require.Equal(t, 19*time.Hour, d.Clock.Target)
			},
		},
		{
			"and the first one of the morning does not", hourly(func(d *Due) {
				d.RefreshInterval, d.Cron = nil, new("*/30 12-13 * * *")
			}), noon.Add(time.Second),
			func(t *testing.T, d Decision) { require.Equal(t, 30*time.Minute, d.Clock.Target) },
		},
		{
			"slots missed while nobody ran become one run that says how many", hourly(func(*Due) {}), noon.Add(3*time.Hour + minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "catchup", d.Run.Cause)
				require.Equal(t, 3, d.Run.MissedSlots)
				require.Equal(t, noon.Add(3*time.Hour), d.Run.Slot.UTC())
			},
		},
		{
			"a slot that comes while a run is under way waits for its end where every slot is made up for",
			hourly(func(d *Due) { d.ActiveRun, d.Catchup = &run, "all" }), noon.Add(minute),
			func(t *testing.T, d Decision) { require.Equal(t, Decision{}, d) },
		},
		{
			"a slot that comes while a run is under way is skipped with the reason", hourly(func(d *Due) { d.ActiveRun = &run }), noon.Add(minute),
			func(t *testing.T, d Decision) {
				require.Nil(t, d.Run)
				require.Contains(t, d.Skipped.Reason, "run 41")
				require.Equal(t, noon.Add(time.Hour), d.Clock.Slot.UTC())
			},
		},
		{
			"catchup skip passes over a late slot", hourly(func(d *Due) { d.Catchup = "skip" }), noon.Add(30 * minute),
			func(t *testing.T, d Decision) {
				require.Nil(t, d.Run)
				require.NotNil(t, d.Skipped)
				require.Equal(t, noon.Add(time.Hour), d.Clock.Slot.UTC())
			},
		},
		{
			"the first run is made at once and starts the clock", hourly(func(d *Due) { d.NextCause = new("initial") }), noon.Add(minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "initial", d.Run.Cause)
				require.Equal(t, noon.Add(time.Hour), d.Clock.Slot.UTC())
			},
		},
		{
			"a changed clock is computed anew without a run", hourly(func(d *Due) { d.Reschedule = true; d.RefreshInterval = new(10 * minute) }), noon.Add(minute),
			func(t *testing.T, d Decision) {
				require.Nil(t, d.Run)
				require.Nil(t, d.Skipped)
				require.Equal(t, noon.Add(10*minute), d.Clock.Slot.UTC())
			},
		},
		{
			"a request makes a manual run with the reserved id and leaves the clock", hourly(func(d *Due) { d.Requests = []int64{9, 8} }), noon.Add(-minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "manual", d.Run.Cause)
				require.Equal(t, int64(8), d.Run.ID)
				require.Equal(t, []int64{9}, d.Joined)
				require.Nil(t, d.Clock)
			},
		},
		{
			"a request joins the slot that is due", hourly(func(d *Due) { d.Requests = []int64{8} }), noon.Add(minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "schedule", d.Run.Cause)
				require.Zero(t, d.Run.ID)
				require.Equal(t, []int64{8}, d.Joined)
			},
		},
		{
			"a paused view does what people ask and nothing else", hourly(func(d *Due) { d.Paused = true; d.Requests = []int64{8} }), noon.Add(minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "manual", d.Run.Cause)
				require.Nil(t, d.Clock)
			},
		},
		{
			"what is asked for in the place of readers makes a run with its reason and leaves the clock", hourly(func(d *Due) { d.Readers = &Asked{8, "they paid"} }), noon.Add(-minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "readers they paid", d.Run.Cause+" "+d.Run.Reason)
				require.Equal(t, int64(8), d.Run.ID)
				require.Nil(t, d.Clock)
			},
		},
		{
			"a slot that is due answers readers too", hourly(func(d *Due) { d.Readers = &Asked{8, "they paid"} }), noon.Add(minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "schedule", d.Run.Cause)
				require.Empty(t, d.Joined)
			},
		},
		{
			"and so does what people ask", hourly(func(d *Due) { d.Requests, d.Readers = []int64{7}, &Asked{8, "they paid"} }), noon.Add(-minute),
			func(t *testing.T, d Decision) {
				require.Equal(t, "manual", d.Run.Cause)
				require.Empty(t, d.Joined)
			},
		},
		{
			"readers do not end a pause", hourly(func(d *Due) { d.Paused, d.Readers = true, &Asked{8, "they paid"} }), noon.Add(minute),
			func(t *testing.T, d Decision) { require.Equal(t, Decision{}, d) },
		},
		{
			"a view that was given another clock meanwhile is left alone", hourly(func(d *Due) { d.RefreshOn, d.Readers = "manual", &Asked{8, "they paid"} }), noon.Add(-minute),
			func(t *testing.T, d Decision) { require.Nil(t, d.Run) },
		},
		{
			"a view refreshed on upstream follows it and has no clock",
			hourly(func(d *Due) {
				d.RefreshOn, d.NextSlot, d.NextDue, d.UpstreamMoved, d.UpstreamCount = "upstream", nil, nil, true, 5
			}), noon,
			func(t *testing.T, d Decision) {
				require.Equal(t, "upstream", d.Run.Cause)
				require.True(t, d.Clock.Slot.IsZero())
				require.Equal(t, int64(5), d.Clock.UpstreamCount)
			},
		},
		{
			"a clock that cannot be read is reported", hourly(func(d *Due) { d.Timezone = "Mars/Olympus" }), noon,
			func(t *testing.T, d Decision) {
				require.Contains(t, d.Pause.Reason, "unknown time zone Mars/Olympus")
				require.Nil(t, d.Run)
				require.Nil(t, d.Clock)
			},
		},
		{
			"and does not keep from being done what was asked for", hourly(func(d *Due) { d.Timezone, d.Requests = "Mars/Olympus", []int64{7} }), noon,
			func(t *testing.T, d Decision) {
				require.Equal(t, "manual", d.Run.Cause)
				require.Nil(t, d.Clock)
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Jitter is at most 10 s; the cases look a minute after the slot.
			tt.want(t, Decide(tt.due, tt.now))
		})
	}
}
