package optimizer

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog/schedule"
)

// reviewed is a view with nine weeks of reads at an interval.
func reviewed(reads []float64, every time.Duration) View {
	h := history(fiveMinutes(), reads, 15*time.Minute)
	now := h.Grid.At(len(reads))
	runs := make([]Run, 20)
	for i := range runs {
		runs[i] = Run{Duration: 30 * time.Second, Rows: 1000}
	}
	return View{
		Name: "v", Now: now, History: h, Runs: runs, Kappa: h.Kappa, Interval: every, Level: "L0", Sources: "counters of scans", Method: "concurrent", UsageKnown: true, RefreshOn: "schedule",
		Usage: Usage{Now: now, CreatedAt: h.Grid.Start, LastRead: now, Servers: 1, ServersAll: 1},
	}
}

func kindsOf(recommendations []Recommendation) (kinds []string) {
	for _, r := range recommendations {
		kinds = append(kinds, r.Kind)
	}
	return kinds
}

func TestAReviewIsRightInKind(t *testing.T) {
	t.Parallel()
	flatReads, officeReads := draw(1, fiveMinutes(), 63, 400, flat), draw(1, fiveMinutes(), 63, 400, office)
	for i := range officeReads { // nobody at all is there at night
		if h := fiveMinutes().hourOfWeek(i); h >= 5*24 || h%24 < 8 || h%24 > 17 {
			officeReads[i] = 0
		}
	}
	found, why := Review(reviewed(flatReads, 15*time.Minute))
	require.Empty(t, found, "%v", why)

	found, _ = Review(reviewed(flatReads, 4*time.Hour))
	require.Equal(t, []string{"interval"}, kindsOf(found))
	require.Equal(t, "2 hours", found[0].Change["refresh_interval"], "one step")
	require.Equal(t, 2*time.Hour, found[0].Every)
	require.NotEmpty(t, found[0].Evidence["reasons"])

	fresh := reviewed(flatReads, 4*time.Hour)
	fresh.Runs = fresh.Runs[:2]
	found, _ = Review(fresh)
	require.Equal(t, []string{"interval"}, kindsOf(found), "a person may say what he thinks of two refreshes")
	fresh.Auto = true
	found, why = Review(fresh)
	require.Empty(t, found)
	require.Contains(t, why[0], "known of 2 alone")

	found, _ = Review(reviewed(officeReads, 15*time.Minute))
	require.Equal(t, []string{"calendar"}, kindsOf(found))
	require.Contains(t, found[0].Change["cron"], "* * 1-5")

	unread := reviewed(make([]float64, len(flatReads)), 15*time.Minute)
	unread.Usage.LastRead = time.Time{}
	found, _ = Review(unread)
	require.Equal(t, []string{"unused"}, kindsOf(found))
	require.Equal(t, "schedule", found[0].Basis["refresh_on"])
	unread.UsageKnown = false
	found, why = Review(unread)
	require.NotContains(t, kindsOf(found), "unused", "it may have been read: %v", why)
	unread.UsageKnown = true
	unread.RefreshOn, unread.Interval = "upstream", 0
	found, _ = Review(unread)
	require.Equal(t, []string{"unused"}, kindsOf(found))
	require.Equal(t, "upstream", found[0].Basis["refresh_on"], "and undo takes it back to that")
	require.NotContains(t, found[0].Reason, "a day")
	unread.RefreshOn = "manual"
	found, _ = Review(unread)
	require.Empty(t, found, "its owner asks for it")
	unread.Usage.OnDemand, unread.Usage.Since = true, unread.Now.Add(-31*24*time.Hour)
	found, _ = Review(unread)
	require.Equal(t, []string{"unused"}, kindsOf(found))
	require.Nil(t, found[0].Change, "a person drops it")
	require.Equal(t, "DELETE FROM mvscheduler.views WHERE name = %s", found[0].Command)
	unread.Adopted = true
	found, _ = Review(unread)
	require.Contains(t, found[0].Command, "DROP MATERIALIZED VIEW")
	unread.RefreshOn, unread.Usage.OnDemand = "schedule", false
	unread.Usage.ServersAll = 2
	found, _ = Review(unread)
	require.Empty(t, found, "a standby may be read")

	rare := reviewed(draw(1, fiveMinutes(), 63, 3, flat), 5*time.Minute)
	for i := range rare.Runs {
		rare.Runs[i].Duration = 200 * time.Millisecond
	}
	found, why = Review(rare)
	require.Equal(t, []string{"plain_view"}, kindsOf(found), "%v", why)
	require.Contains(t, found[0].Reason, "3.3 reads a day saved 1 s, and refreshes took 58 s")
	rare.UsageKnown = false
	found, _ = Review(rare)
	require.NotContains(t, kindsOf(found), "plain_view", "more reads may have come than are known")
	rare.UsageKnown = true
	for i := range rare.Runs {
		rare.Runs[i].Duration = 2 * time.Second
	}
	found, _ = Review(rare)
	require.NotContains(t, kindsOf(found), "plain_view", "its readers would wait for the query")

	never := reviewed(flatReads, 15*time.Minute)
	never.Runs = nil
	found, why = Review(never)
	require.Empty(t, found)
	require.NotEmpty(t, why)
}

func TestAnOrdinaryViewIsOfferedWhereALongerIntervalIsNone(t *testing.T) {
	t.Parallel()
	v := reviewed(draw(1, fiveMinutes(), 63, 6, flat), 3*time.Hour)
	for i := range v.Runs {
		v.Runs[i].Duration = 200 * time.Millisecond
	}
	found, _ := Review(v)
	require.NotContains(t, kindsOf(found), "plain_view")
	v.Bounds.Max = 6 * time.Hour
	found, why := Review(v)
	require.Contains(t, kindsOf(found), "plain_view", "%v", why)
}

func TestAFullRefreshCostsReadersWhoWaitForIt(t *testing.T) {
	t.Parallel()
	cost := func(method string) float64 {
		v := reviewed(draw(1, fiveMinutes(), 63, 400, flat), 4*time.Hour)
		v.Method = method
		setRuns(&v, 10*time.Minute)
		v.Interval = 15 * time.Minute
		found, why := Review(v)
		require.Len(t, found, 1, "%v", why)
		return found[0].Predicted["before"].(map[string]any)["cost_a_day"].(float64)
	}
	require.Greater(t, cost("full"), cost("concurrent"))
}

func TestWhatOneLineOfCronCannotSayBecomesACalendar(t *testing.T) {
	t.Parallel()
	grid := fiveMinutes()
	reads := draw(1, grid, 63, 400, func(hour int) float64 {
		switch h := hour % 24; {
		case hour < 5*24 && h >= 8 && h < 18:
			return 2
		case hour >= 5*24 && h >= 10 && h < 14: // as often, at other hours
			return 4
		}
		return 0
	})
	v := reviewed(reads, 15*time.Minute)
	found, why := Review(v)
	require.Equal(t, []string{"calendar"}, kindsOf(found), "%v", why)
	require.Equal(t, map[string]string{"refresh_interval": "15 minutes", "calendar": ""}, found[0].Basis)
	rules, err := schedule.ParseCalendar(found[0].Change["calendar"])
	require.NoError(t, err)
	require.Greater(t, len(rules), 1)
	require.Equal(t, rules.String(), found[0].Proposed)
	require.Empty(t, found[0].Change["refresh_interval"])
	require.NotContains(t, found[0].Change, "cron")

	require.JSONEq(t, found[0].Change["calendar"], found[0].Rules)

	v.Auto, v.Interval = true, 2*time.Hour
	found, _ = Review(v)
	require.Equal(t, []string{"calendar"}, kindsOf(found), "one change at a time")
}

func TestACalendarInForceIsReviewedAsAnIntervalIs(t *testing.T) {
	t.Parallel()
	v := reviewed(draw(1, fiveMinutes(), 63, 400, office), 15*time.Minute)
	v.Auto = true
	found, _ := Review(v)
	require.Equal(t, []string{"calendar"}, kindsOf(found))
	rules, err := schedule.ParseCalendar(found[0].Rules)
	require.NoError(t, err)
	require.Equal(t, found[0].Proposed, rules.String(), "what one line of cron says is a rule too")

	v.Calendar = rules
	again, why := Review(v)
	require.Empty(t, again, "it is in force: %v", why)
	v.NoRules = true
	found, why = Review(v)
	require.Empty(t, found, "an interval is worse: %v", why)
	v.Calendar, v.Interval = nil, 4*time.Hour
	found, _ = Review(v)
	require.Equal(t, []string{"interval"}, kindsOf(found), "it was taken back")

	// Readers come at any time by now.
	v = reviewed(draw(1, fiveMinutes(), 63, 400, flat), 2*time.Hour)
	v.Auto, v.Calendar = true, rules
	found, why = Review(v)
	require.Equal(t, []string{"interval"}, kindsOf(found), "%v", why)
	require.Equal(t, "every 15 minutes", found[0].Proposed)
	require.Equal(t, rules.String(), found[0].Current)
	require.Equal(t, rules, found[0].Evidence["calendar_before"])
	require.InDelta(t, 50./7, Schedule{Mode: CalendarMode, Calendar: Calendar{{Days: Weekdays, From: 480, To: 18 * 60, Every: IntervalWords(time.Hour)}}}.PerDay(), 1e-9)
}

func TestReadersThatComeInBurstsAreOfferedToAskForRefreshes(t *testing.T) {
	t.Parallel()
	v := reviewed(bursty(1, 63, 2000), 15*time.Minute)
	found, why := Review(v)
	require.Empty(t, found, "%v", why)

	v.Adaptive = true
	found, why = Review(v)
	require.Equal(t, []string{"adaptive"}, kindsOf(found), "%v", why)
	require.Equal(t, map[string]string{"optimize": "advise"}, found[0].Basis)
	require.Equal(t, map[string]string{"optimize": "auto"}, found[0].Change)
	require.Equal(t, "every 1 hour and when readers saw enough old data", found[0].Proposed)
	require.Equal(t, time.Hour, found[0].Every)
	require.Greater(t, found[0].Patience, 1000.)
	v.Interval = 4 * time.Hour
	found, _ = Review(v)
	require.Equal(t, []string{"adaptive", "interval"}, kindsOf(found), "a person may want an interval alone")

	v.Auto = true
	found, _ = Review(v)
	require.Equal(t, []string{"adaptive"}, kindsOf(found))
	v.Interval, v.Patience = found[0].Every, found[0].Patience
	found, why = Review(v)
	require.Empty(t, found, "it is in force: %v", why)
	v.Patience /= 10
	found, _ = Review(v)
	require.Equal(t, []string{"adaptive"}, kindsOf(found), "ten times too often")
	require.InDelta(t, v.Patience, found[0].Evidence["patience_before"], 1)
	v.Adaptive, v.Interval = false, 4*time.Hour
	found, _ = Review(v)
	require.Equal(t, []string{"interval"}, kindsOf(found), "it was taken back")
}

func TestACalendarOfOneRuleIsALineOfCron(t *testing.T) {
	t.Parallel()
	at := TimeOfDay(6*60 + 45)
	for want, c := range map[string]Calendar{
		"*/10 8-17 * * 1-5": {{Days: Weekdays, From: 480, To: 18 * 60, Every: IntervalWords(10 * time.Minute)}},
		"0 8-17/2 * * 6,0":  {{Days: Weekend, From: 480, To: 18 * 60, Every: IntervalWords(2 * time.Hour)}},
		"0 * * * *":         {{Days: EveryDay, From: 0, To: 24 * 60, Every: IntervalWords(time.Hour)}},
		"45 6 * * *":        {{Days: EveryDay, At: &at}},
		"":                  {{Days: EveryDay, At: &at}, {Days: Weekend, At: &at}},
	} {
		line, ok := c.Cron()
		require.Equal(t, want, line)
		require.Equal(t, want != "", ok)
	}
}

// BenchmarkReview is the daily thought about a view, on nine weeks of its reads. The bar is two milliseconds of CPU.
func BenchmarkReview(b *testing.B) {
	steady := draw(1, fiveMinutes(), 63, 400, flat)
	for _, c := range []struct {
		name           string
		reads, changes []float64
	}{{"office", draw(1, fiveMinutes(), 63, 400, office), nil}, {"flat", steady, nil}, {"flat, loaded once a day", steady, nightly(63)}, {"bursts", bursty(1, 63, 400), nil}} {
		b.Run(c.name, func(b *testing.B) {
			v := reviewed(c.reads, 15*time.Minute)
			v.History.Changes, v.Adaptive = c.changes, true
			before := cpu()
			for b.Loop() {
				Review(v)
			}
			b.ReportMetric(float64((cpu()-before).Microseconds())/1000/float64(b.N), "ms-CPU/view")
		})
	}
}

// cpu is what this process has used.
func cpu() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// What a step is predicted to come to is what becomes of that step, and not of what it leads to.
func TestAStepIsPredictedAsItIs(t *testing.T) {
	t.Parallel()
	found, why := Review(reviewed(draw(1, fiveMinutes(), 63, 400, flat), 2*time.Hour))
	require.Equal(t, []string{"interval"}, kindsOf(found), "%v", why)
	require.Equal(t, "every 1 hour", found[0].Proposed)
	require.InDelta(t, 24, found[0].Predicted["after"].(map[string]any)["refreshes_a_day"], 0.2)
	require.Contains(t, found[0].Reason, "every 2 hours -> every 1 hour")
}
