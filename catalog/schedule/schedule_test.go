package schedule

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func utc(text string) time.Time {
	at, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		panic(err)
	}
	return at
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

func TestAnIntervalIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(1, MaxInterval.Microseconds()).Draw(t, "interval µs")) * time.Microsecond
		after := time.UnixMicro(rapid.Int64Range(-1<<50, 1<<52).Draw(t, "after"))
		s := Spec{Interval: interval}
		next := s.Next(after)
		require.True(t, next.After(after))
		require.LessOrEqual(t, next.Sub(after), interval)
		require.Zero(t, next.UnixMicro()%interval.Microseconds())
		require.Equal(t, interval, s.Next(next).Sub(next))
	})
}

func TestJitterIsFixedSmallAndSpread(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := Spec{
			Interval:  time.Duration(rapid.Int64Range(1, MaxInterval.Microseconds()).Draw(t, "interval µs")) * time.Microsecond,
			JitterKey: rapid.Int64().Draw(t, "key"),
		}
		slot := s.Next(utc("2026-03-01 00:00:00"))
		jitter := s.DueAt(slot).Sub(slot)
		require.GreaterOrEqual(t, jitter, time.Duration(0))
		require.LessOrEqual(t, jitter, min(s.Interval/10, maxJitter))
		require.Equal(t, jitter, s.DueAt(s.Next(slot)).Sub(s.Next(slot)), "the same for every slot")
	})
	tenths := map[time.Duration]int{}
	for key := range int64(1000) {
		tenths[Spec{Interval: time.Hour, JitterKey: key}.jitter().Truncate(time.Second)]++
	}
	require.Len(t, tenths, 10)
	for _, n := range tenths {
		require.InDelta(t, 100, n, 50)
	}
	require.Zero(t, Spec{Cron: "0 6 * * *", JitterKey: 7}.jitter())
}

func TestCronFollowsTheWallClockThroughDaylightSaving(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, cron, zone, after string
		want                    []string // in UTC
	}{
		{"a skipped wall time fires once, at the jump", "30 2 * * *", "Europe/Berlin", "2026-03-28 12:00:00",
			[]string{"2026-03-29 01:00:00", "2026-03-30 00:30:00"}},
		{"several skipped wall times are one instant", "0,15,30,45 2 * * *", "Europe/Berlin", "2026-03-29 00:00:00",
			[]string{"2026-03-29 01:00:00", "2026-03-30 00:00:00"}},
		{"a skipped wall time and the one at the jump are one instant", "30 2,3 * * *", "Europe/Berlin", "2026-03-29 00:00:00",
			[]string{"2026-03-29 01:00:00", "2026-03-29 01:30:00"}},
		{"a repeated wall time fires once, the first time", "30 2 * * *", "Europe/Berlin", "2026-10-24 12:00:00",
			[]string{"2026-10-25 00:30:00", "2026-10-26 01:30:00"}},
		{"every hour means elapsed hours", "30 * * * *", "Europe/Berlin", "2026-10-24 23:40:00",
			[]string{"2026-10-25 00:30:00", "2026-10-25 01:30:00", "2026-10-25 02:30:00"}},
		{"every hour does not make up for a skipped one", "30 * * * *", "Europe/Berlin", "2026-03-29 00:00:00",
			[]string{"2026-03-29 00:30:00", "2026-03-29 01:30:00"}},
		{"half an hour of daylight saving", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00:00",
			[]string{"2026-10-03 15:30:00", "2026-10-04 15:15:00"}},
		{"a zone that jumps at midnight", "0 0 * * *", "America/Santiago", "2026-09-05 12:00:00",
			[]string{"2026-09-06 04:00:00", "2026-09-07 03:00:00"}},
		{"a zone that goes back over midnight", "30 23 * * *", "America/Santiago", "2026-04-04 12:00:00",
			[]string{"2026-04-05 02:30:00", "2026-04-06 03:30:00"}},
		{"leap days", "0 0 29 2 *", "UTC", "2096-03-01 00:00:00", []string{"2104-02-29 00:00:00"}},
		{"both day fields restricted: either will do", "0 0 13 * 5", "UTC", "2026-02-07 00:00:00",
			[]string{"2026-02-13 00:00:00", "2026-02-20 00:00:00", "2026-02-27 00:00:00", "2026-03-06 00:00:00", "2026-03-13 00:00:00"}},
		{"Sunday is 0 and 7", "0 0 * * 7", "UTC", "2026-02-07 00:00:00", []string{"2026-02-08 00:00:00", "2026-02-15 00:00:00"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := Spec{Cron: tt.cron, Location: zone(t, tt.zone)}
			require.NoError(t, s.Validate())
			at := utc(tt.after)
			for _, want := range tt.want {
				at = s.Next(at)
				require.Equal(t, want, at.UTC().Format("2006-01-02 15:04:05"))
			}
		})
	}
}

// minute is what the wall clock shows at an instant, and what it skipped just before.
type minute struct {
	at      time.Time
	wall    time.Time // the wall time, as if it were UTC
	skipped []time.Time
	again   bool // the wall clock showed it before
}

// walk goes through real time minute by minute and looks at the wall clock; it knows nothing of offsets.
func walk(loc *time.Location, from, to time.Time) []minute {
	var minutes []minute
	var highest time.Time
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		local := at.In(loc)
		m := minute{at: at, wall: time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), 0, 0, time.UTC)}
		m.again = !m.wall.After(highest)
		for s := highest.Add(time.Minute); !highest.IsZero() && s.Before(m.wall); s = s.Add(time.Minute) {
			m.skipped = append(m.skipped, s)
		}
		if !m.again {
			highest = m.wall
		}
		minutes = append(minutes, m)
	}
	return minutes
}

// byHand is what a clock on the wall fires on after the given instant.
func byHand(l wall, minutes []minute, after time.Time) []time.Time {
	matches := func(w time.Time) bool {
		t := l.on(w.Date())
		return t != nil && t[w.Hour()]>>w.Minute()&1 == 1
	}
	var fires []time.Time
	for _, m := range minutes {
		fire := matches(m.wall) && (l.elapsed || !m.again)
		fire = fire || !l.elapsed && slices.ContainsFunc(m.skipped, matches)
		if fire && m.at.After(after) {
			fires = append(fires, m.at)
		}
	}
	return fires
}

func TestClocksAgreeWithAWalkThroughTheMinutesAroundEveryChangeOfTheClock(t *testing.T) {
	t.Parallel()
	zones := []string{
		"Europe/Berlin", "Europe/London", "America/New_York", "America/Santiago", "America/Havana", "Australia/Lord_Howe",
		"Australia/Sydney", "Asia/Tehran", "Africa/Cairo", "Africa/Casablanca", "Asia/Gaza", "Pacific/Chatham",
	}
	clocks := []Spec{
		{Cron: "30 2 * * *"}, {Cron: "*/15 0-3 * * *"}, {Cron: "0 0 * * *"}, {Cron: "59 23 * * 0"}, {Cron: "7 * * * *"}, {Cron: "0 0,1,2,3 1-7 * 1"}, {Cron: "*/20 22-1 * * *"},
		{Calendar: `[{"at": "02:30"}]`}, {Calendar: `[{"every": "30 minutes"}]`}, {Calendar: `[{"from": "01:10", "to": "03:20", "every": "40 minutes"}, {"days": "sat,sun", "at": "02:00"}]`},
		{Calendar: `[{"days": "sun", "to": "04:00", "every": "25 minutes"}, {"days": "sun", "from": "00:10", "every": "1 hour"}, {"at": "00:00"}]`},
	}
	for _, name := range zones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loc := zone(t, name)
			offset := func(at time.Time) int { _, o := at.In(loc).Zone(); return o }
			for at := utc("2020-01-01 00:00:00"); at.Year() <= 2040; at = at.Add(time.Hour) {
				if end := at.Add(time.Hour); offset(at) != offset(end) {
					from, after, to := minuteOf(end, -52), minuteOf(end, -26), minuteOf(end, 26)
					minutes := walk(loc, from, to)
					for _, clock := range clocks {
						requireByHand(t, clock, loc, minutes, after, to)
					}
				}
			}
		})
	}
}

// requireByHand compares the slots of a clock with those that a walk through the minutes finds.
func requireByHand(t require.TestingT, clock Spec, loc *time.Location, minutes []minute, after, to time.Time) {
	walls, err := clock.walls()
	require.NoError(t, err)
	var want, got []string
	for _, w := range walls {
		for _, at := range byHand(w, minutes, after) {
			want = append(want, at.UTC().Format(time.DateTime))
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for next, _ := firstOf(walls, after, loc); next.Before(to); next, _ = firstOf(walls, next, loc) {
		got = append(got, next.Format(time.DateTime))
	}
	require.Equal(t, want, got, "%+v in %s after %s", clock, loc, after)
}

func minuteOf(at time.Time, hours int) time.Time {
	return at.UTC().Truncate(time.Minute).Add(time.Duration(hours) * time.Hour)
}

func TestNextIsTheFirstSlotAfter(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"}
	rapid.Check(t, func(t *rapid.T) {
		loc, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		require.NoError(t, err)
		text := rapid.StringMatching(`(\*|[0-5]?[0-9]|\*/(5|7|15)) (\*|1?[0-9]|\*/3) (\*|[1-9]|2[0-9]) (\*|[1-9]) (\*|[0-7])`).Draw(t, "cron")
		s := Spec{Cron: text, Location: loc}
		if s.Validate() != nil {
			t.Skip()
		}
		after := time.Unix(rapid.Int64Range(1577836800, 2208988800).Draw(t, "after"), 0)
		next := s.Next(after)
		require.True(t, next.After(after))
		between := after.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(after)-1)).Draw(t, "between")))
		require.Equal(t, next, s.Next(between), "no slot lies between")
	})
}

func TestCronLinesThatCannotBeMeantAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"* * * *", "* * * * * *", "@hourly", "@every 5m", "TZ=Europe/Berlin 0 0 * * *", "CRON_TZ=UTC 0 0 * * *", "60 * * * *", "* 24 * * *",
		"* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "*/60 * * * *", "1,,2 * * * *", ", * * * *", "-1 * * * *",
		"+1 * * * *", "1-2-3 * * * *", "1/2/3 * * * *", "* * 30 2 *", "0 0 31 4,6,9,11 *", "L * * * *", "0 0 L * *", "0 0 * * 5#2", "H * * * *",
		"a * * * *", "0 0 * foo *", "0\u00a00 * * *", "",
	} {
		_, err := parseCron(text)
		require.Error(t, err, text)
	}
	for _, text := range []string{"*/5 * * * *", " 0\t6 * * mon-fri ", "0 0 * JAN sun", "0 0 31 * *", "0 0 30 2 1", "0-30/10 8-18 * * 1-5", "0 22-2 * * *", "5/15 * * * *", "? * ? * ?"} {
		_, err := parseCron(text)
		require.NoError(t, err, text)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	noon := utc("2026-03-01 12:00:00")
	hourly := Spec{Interval: time.Hour}
	with := func(s Spec, c Catchup) Spec { s.Catchup = c; return s }
	held := func(c Catchup, until time.Duration) Spec {
		s := with(hourly, c)
		s.HeldUntil = noon.Add(until)
		return s
	}
	tests := []struct {
		name string
		spec Spec
		slot time.Time
		now  time.Time
		want Decision
	}{
		{"on time", hourly, noon, noon.Add(20 * time.Second), Decision{Slot: noon, Run: true, Cause: "schedule", Next: noon.Add(time.Hour)}},
		{"latest: one run for all", hourly, noon, noon.Add(150 * time.Minute),
			Decision{Slot: noon.Add(2 * time.Hour), Run: true, Cause: "catchup", Missed: 2, Next: noon.Add(3 * time.Hour), Reason: "stands for 2 earlier slots that nobody could claim"}},
		{"skip: late, so not", with(hourly, Skip), noon, noon.Add(30 * time.Minute),
			Decision{Slot: noon, Cause: "schedule", Next: noon.Add(time.Hour), Reason: "nobody could claim it in time (it was due 29m51s ago) and catchup is skip"}},
		{"skip: the newest is on time", with(hourly, Skip), noon, noon.Add(2*time.Hour + 30*time.Second),
			Decision{Slot: noon.Add(2 * time.Hour), Run: true, Cause: "schedule", Missed: 2, Next: noon.Add(3 * time.Hour), Reason: "2 earlier slots were passed over, catchup is skip"}},
		{"all: the oldest first", with(hourly, All), noon, noon.Add(150 * time.Minute),
			Decision{Slot: noon, Run: true, Cause: "catchup", Next: noon.Add(time.Hour), Reason: "making up for missed slots, 2 more to come"}},
		{"all: the last of them is ordinary", with(hourly, All), noon.Add(2 * time.Hour), noon.Add(150 * time.Minute),
			Decision{Slot: noon.Add(2 * time.Hour), Run: true, Cause: "schedule", Next: noon.Add(3 * time.Hour)}},
		{"held: what passed on purpose is not missed", held(Latest, 150*time.Minute), noon, noon.Add(150 * time.Minute),
			Decision{Slot: noon.Add(2 * time.Hour), Run: true, Cause: "catchup", Missed: 2, Held: 2, Next: noon.Add(3 * time.Hour), Reason: "the first run since the clock was stopped"}},
		{"held: what came afterwards is", held(Latest, 30*time.Minute), noon, noon.Add(150 * time.Minute),
			Decision{Slot: noon.Add(2 * time.Hour), Run: true, Cause: "catchup", Missed: 2, Held: 1, Next: noon.Add(3 * time.Hour), Reason: "stands for an earlier slot that nobody could claim"}},
		{"held: all makes up for what came afterwards", held(All, 30*time.Minute), noon, noon.Add(150 * time.Minute),
			Decision{Slot: noon.Add(time.Hour), Run: true, Cause: "catchup", Missed: 1, Held: 1, Next: noon.Add(2 * time.Hour), Reason: "making up for missed slots, 1 more to come"}},
		{"held: skip waits for the next slot", held(Skip, 30*time.Minute), noon, noon.Add(30 * time.Minute),
			Decision{Slot: noon, Cause: "catchup", Next: noon.Add(time.Hour), Reason: "it passed while the clock was stopped, and catchup is skip"}},
		{"held: long ago is nothing", held(Latest, -time.Minute), noon, noon.Add(20 * time.Second), Decision{Slot: noon, Run: true, Cause: "schedule", Next: noon.Add(time.Hour)}},
	}
	jitter := hourly.jitter().Round(time.Second)
	require.Equal(t, 9*time.Second, jitter, "the cases count on a jitter of key 0")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, tt.spec.Decide(tt.slot, tt.now))
		})
	}
}

func TestEverySlotIsRunOrCountedExactlyOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := Spec{
			JitterKey: rapid.Int64().Draw(t, "key"),
			Catchup:   rapid.SampledFrom([]Catchup{Latest, Skip, All}).Draw(t, "catchup"),
			Location:  time.UTC,
		}
		if rapid.Bool().Draw(t, "cron") {
			s.Cron = rapid.SampledFrom([]string{"* * * * *", "*/15 * * * *", "0 6 * * *", "30 */2 * * 1-5"}).Draw(t, "line")
		} else {
			s.Interval = rapid.SampledFrom([]time.Duration{time.Second, 7 * time.Minute, time.Hour, 36 * time.Hour}).Draw(t, "interval")
		}
		start := utc("2026-01-05 03:00:00")
		slot := s.Next(start)
		now := start
		served := 0
		for range 20 {
			// somebody looks again after a while, at the earliest when the slot is due
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(12*time.Hour)).Draw(t, "pause")))
			if now.Before(s.DueAt(slot)) {
				now = s.DueAt(slot)
			}
			d := s.Decide(slot, now)
			require.False(t, s.DueAt(d.Slot).After(now), "nothing is run before it is due")
			require.Equal(t, s.Next(d.Slot), d.Next)
			served += 1 + d.Missed
			slot = d.Next
		}
		total := 0
		for at := s.Next(start); at.Before(slot); at = s.Next(at) {
			total++
		}
		require.Equal(t, total, served)
	})
}

func TestAVeryLongOutageIsCaughtUpWithQuickly(t *testing.T) {
	t.Parallel()
	now := utc("2026-03-01 12:00:30")
	d := Spec{Cron: "* * * * *"}.Decide(now.AddDate(-5, 0, 0), now)
	require.Equal(t, utc("2026-03-01 12:00:00"), d.Slot)
	require.GreaterOrEqual(t, d.Missed, counted)

	d = Spec{Interval: time.Second, Catchup: All}.Decide(now.AddDate(-5, 0, 0).Truncate(time.Second), now)
	require.WithinDuration(t, now, d.Slot, (keptMissed+2)*time.Second)
	require.Greater(t, d.Missed, 100_000_000)
}

func TestUpcomingSaysWhatDaylightSavingDoes(t *testing.T) {
	t.Parallel()
	s := Spec{Cron: "30 2 * * *", Location: zone(t, "Europe/Berlin")}
	fires := s.Upcoming(utc("2026-03-28 12:00:00"), 2)
	require.Len(t, fires, 2)
	require.Equal(t, "02:30 is skipped that day: it fires when the clock jumps to 03:00", fires[0].Note)
	require.Empty(t, fires[1].Note)
	require.Empty(t, Spec{}.Upcoming(utc("2026-03-28 12:00:00"), 2))
}
