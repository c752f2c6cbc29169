package optimizer

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// chooseSchedule chooses among all modes that a view may have.
func chooseSchedule(h History, bounds Bounds) (Choice, bool) {
	return h.study(bounds).choose(Fixed, CalendarMode, Adaptive)
}

func choose14(t *testing.T, reads []float64, target time.Duration, bounds Bounds) Choice {
	t.Helper()
	choice, ok := chooseSchedule(history(fiveMinutes(), reads, target), bounds)
	require.True(t, ok)
	require.NotEmpty(t, choice.Why)
	return choice
}

func TestAFlatViewGetsAnInterval(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		choice := choose14(t, draw(seed, fiveMinutes(), 42, 400, flat), time.Hour, Bounds{})
		require.Equal(t, Schedule{Mode: Fixed, Interval: time.Hour}, choice.Schedule, "%v", choice.Why)
	}
}

func TestABurstyViewIsSteered(t *testing.T) {
	t.Parallel()
	choice := choose14(t, bursty(1, 42, 2000), time.Hour, Bounds{})
	require.Equal(t, Adaptive, choice.Schedule.Mode, "%v", choice.Why)
}

func TestAnOfficeHoursViewGetsACalendarThatHalvesItsRefreshes(t *testing.T) {
	t.Parallel()
	for perDay, least := range map[float64]float64{5000: 2.5, 100: 2.2} { // the bars of spec 5.6
		h := history(fiveMinutes(), draw(1, fiveMinutes(), 63, perDay, office), time.Hour)
		learnt := h
		learnt.Reads = h.Reads[:42*dayBins]
		choice, ok := chooseSchedule(learnt, Bounds{})
		require.True(t, ok)
		require.Equal(t, CalendarMode, choice.Schedule.Mode, "%v", choice.Why)
		require.LessOrEqual(t, len(choice.Schedule.Calendar), 3, "%s", choice.Schedule)

		lo, hi := 42*dayBins, len(h.Reads) // three weeks that nobody has seen yet
		for _, s := range []Schedule{choice.Schedule, {Mode: Piloted}} {
			ratio := equalAgeRatio(h.World(), h.Refreshes(s, Bounds{}, lo, hi), lo, hi)
			require.Greater(t, ratio, least, "%s, %g reads a day", s, perDay)
		}
	}
}

func TestThereIsNoChoiceWithoutReads(t *testing.T) {
	t.Parallel()
	_, ok := chooseSchedule(History{Grid: fiveMinutes(), Reads: make([]float64, 42*dayBins), Cost: 30, Kappa: 1}, Bounds{})
	require.False(t, ok)
	_, ok = chooseSchedule(history(fiveMinutes(), draw(1, fiveMinutes(), 3, 400, flat), time.Hour), Bounds{})
	require.False(t, ok, "three days")
}

func TestBoundsHoldForProposals(t *testing.T) {
	t.Parallel()
	choice := choose14(t, draw(1, fiveMinutes(), 42, 400, flat), time.Hour, Bounds{Min: 2 * time.Hour})
	require.Equal(t, 2*time.Hour, choice.Schedule.Interval)
	choice = choose14(t, draw(1, fiveMinutes(), 42, 400, flat), time.Hour, Bounds{MaxStaleness: 10 * time.Minute})
	require.LessOrEqual(t, choice.Schedule.Interval, 10*time.Minute)

	h := history(fiveMinutes(), draw(1, fiveMinutes(), 42, 5000, office), time.Hour)
	rates, _ := h.learn(len(h.Reads)).Week(0)
	for _, limit := range []time.Duration{time.Hour, 3 * time.Hour, 12 * time.Hour} {
		calendar := FitCalendar(rates, h.Cost, h.Kappa, Bounds{MaxStaleness: limit})
		require.NotEmpty(t, calendar)
		due := dueBins(calendar, fiveMinutes(), 0, 2*weekBins)
		for i := 1; i < len(due); i++ {
			require.LessOrEqual(t, time.Duration(due[i]-due[i-1])*5*time.Minute, limit)
		}
	}
}

func TestTheCalendarOfOfficeHoursIsWhatAPersonWouldWrite(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 42, 5000, office), time.Hour)
	rates, _ := h.learn(len(h.Reads)).Week(0)
	calendar := FitCalendar(rates, h.Cost, h.Kappa, Bounds{})
	text, err := json.Marshal(calendar)
	require.NoError(t, err)
	require.JSONEq(t, `[{"days": "mon-fri", "from": "09:00", "to": "17:00", "every": "30 minutes"}, {"days": "sat,sun", "from": "03:00", "to": "24:00", "every": "12 hours"}]`, string(text))
	require.Equal(t, "every 30 minutes, mon-fri 09:00-17:00; every 12 hours, sat,sun 03:00-24:00", calendar.String())
	require.Empty(t, FitCalendar([hoursOfWeek]float64{}, 30, 1e-3, Bounds{}), "nobody reads it")
}

func drawCalendar(t *rapid.T) (c Calendar) {
	for range rapid.IntRange(1, 6).Draw(t, "rules") {
		r := Rule{Days: Days(rapid.IntRange(1, 127).Draw(t, "days"))}
		if rapid.Bool().Draw(t, "once") {
			at := TimeOfDay(rapid.IntRange(0, 1439).Draw(t, "at"))
			r.At = &at
		} else {
			r.From = TimeOfDay(rapid.IntRange(0, 1439).Draw(t, "from"))
			r.To = TimeOfDay(rapid.IntRange(int(r.From)+1, 1440).Draw(t, "to"))
			r.Every = IntervalWords(rapid.SampledFrom(niceIntervals).Draw(t, "every"))
		}
		c = append(c, r)
	}
	return c
}

func TestACalendarSurvivesJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawCalendar(t)
		text, err := json.Marshal(c)
		require.NoError(t, err)
		var back Calendar
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, c, back, string(text))
	})
	for _, bad := range []string{`[{"days":"mon-foo"}]`, `[{"days":"fri-mon"}]`, `[{"days":"mon","at":"24:01"}]`, `[{"days":"mon","at":"7"}]`, `[{"days":"mon","every":"5 weeks"}]`, `[{"days":"mon","every":"x"}]`} {
		require.Error(t, json.Unmarshal([]byte(bad), &Calendar{}), bad)
	}
}

func TestACalendarIsReadOnTheWallClock(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	seven := TimeOfDay(7 * 60)
	c := Calendar{{Days: EveryDay, At: &seven}}
	grid := Grid{Start: time.Date(2026, 3, 28, 0, 0, 0, 0, berlin), Width: 5 * time.Minute, Zone: berlin}
	for _, bin := range dueBins(c, grid, 0, 3*dayBins)[1:] {
		require.Equal(t, "07:00", grid.At(bin).In(berlin).Format("15:04"))
	}
	c = Calendar{{Days: Weekdays, From: 9 * 60, To: 10*60 + 1, Every: IntervalWords(20 * time.Minute)}}
	require.Equal(t, []int{0, 108, 112, 116, 120}, dueBins(c, fiveMinutes(), 0, dayBins))
}

func TestAProposalIsOneSentenceWithItsNumbers(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 42, 100, office), time.Hour)
	choice, ok := chooseSchedule(h, Bounds{})
	require.True(t, ok)
	propose := func(refresh Expected) Proposal {
		return h.study(Bounds{}).propose("analytics.daily", Schedule{Mode: Fixed, Interval: 5 * time.Minute}, choice, refresh, "pg_stat_statements, no resets")
	}
	p := propose(Expected{P90: 41})
	require.Regexp(t, `^analytics.daily: every 5 minutes -> .*every 30 minutes, mon-fri 09:00-17:00.*\. In 42 days 4\d\d\d reads, `+
		`with a weekly rhythm \(one rate for all hours costs [12]\.\d\d times as much\)\. A refresh takes 30 s \(nine in ten at most 41 s\)\. Expected a day: 8640 -> \d{3} s of refreshes; `+
		`mean age seen by readers 2 min -> \d\d min .19 reads in 20: up to .* -> .*.; cost of both, in s of refreshes, \d+ -> \d+ \(8 days in 10: \d+ to \d+\)\. The longest time between two refreshes is [^,]*, \w{3} \d\d:\d\d to \w{3} \d\d:\d\d\. Evidence: pg_stat_statements, no resets\.$`, p.Sentence())
	require.Contains(t, propose(Expected{PerRow: 0.01, Rows: 500}).Sentence(), "A refresh takes 30 s, and as it is 5 s more for the rows that change, which are paid for at any interval and left out here.")
	require.Contains(t, propose(Expected{Whole: 29, Cost: 29, P90: 41}).Sentence(), "A refresh takes 29 s (nine in ten at most 41 s). Expected")
	require.Contains(t, propose(Expected{Whole: 10, Cost: 10, P90: 12}).Sentence(), "A refresh takes 10 s (nine in ten at most 12 s) and counts as 30 s, with readers who wait for its lock. Expected")
	require.Contains(t, propose(Expected{Whole: 0.007, Cost: 30, P90: 0.008}).Sentence(), "A refresh takes 0.007 s (nine in ten at most 0.008 s) and counts as 30 s, what one costs at least. Expected", "of incremental ones")
	require.Less(t, p.After.Cost, p.Before.Cost)
	require.LessOrEqual(t, p.After.Low, p.After.High)
}
