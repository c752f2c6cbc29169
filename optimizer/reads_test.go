package optimizer

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// learnt is a read model of the reads.
func learnt(grid Grid, reads []float64) *ReadModel {
	return History{Grid: grid, Reads: reads}.learn(len(reads))
}

func TestTheForecastFollowsTheWeek(t *testing.T) {
	t.Parallel()
	m := learnt(fiveMinutes(), draw(1, fiveMinutes(), 42, 400, office))
	week := m.Forecast(monday.AddDate(0, 0, 42), weekBins, 5*time.Minute)
	var in, out float64
	for i, r := range week {
		if office(fiveMinutes().hourOfWeek(i)) > 1 {
			in += r
		} else {
			out += r
		}
	}
	require.InEpsilon(t, 7*400, in, 0.06)
	require.InDelta(t, 21, out, 15)
	require.InEpsilon(t, 400/86400.0, m.MeanRate(), 0.06)
	require.InEpsilon(t, 7*400, m.RecentReads(), 0.06)
}

func TestWithoutEvidenceTheForecastIsSilent(t *testing.T) {
	t.Parallel()
	m := NewReadModel(nil)
	for _, r := range m.Forecast(monday, 10, time.Minute) {
		require.Zero(t, r)
	}
	require.Zero(t, m.MeanRate())
	rates, evidence := m.Week(calendarGain)
	require.Zero(t, rates)
	require.Equal(t, FlatRate, evidence.Resolution)
	require.NotEmpty(t, evidence.Reasons())
}

func TestAGapIsNotASilence(t *testing.T) {
	t.Parallel()
	reads := draw(2, fiveMinutes(), 28, 400, flat)
	whole := learnt(fiveMinutes(), reads).MeanRate()
	for i := range reads { // the collector was down half of the time
		if i/dayBins%2 == 1 {
			reads[i] = math.NaN()
		}
	}
	require.InEpsilon(t, whole, learnt(fiveMinutes(), reads).MeanRate(), 0.05)
}

func TestARareViewShrinksToOneRateAndABusyOneDoesNot(t *testing.T) {
	t.Parallel()
	spread := func(perDay float64) float64 {
		var p profile
		reads := draw(3, fiveMinutes(), 14, perDay, office)
		for i, r := range reads {
			p.observe(fiveMinutes().hourOfWeek(i), r, 300)
		}
		rates := p.rates(HourOfWeekRates)
		return rates[10] / rates[3]
	}
	require.Greater(t, spread(2000), 100.0)
	require.Less(t, spread(0.3), 6.0)
}

func TestOldWeeksCountLess(t *testing.T) {
	t.Parallel()
	var p profile
	p.observe(5, 100, 3600)
	for range int(profileHalfLife) {
		p.endWeek()
	}
	require.InEpsilon(t, 50, p.reads[5], 1e-9)
	require.InEpsilon(t, 1800, p.seconds[5], 1e-9)
}

func TestHoursAreThoseOfTheReadersClock(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	winter, summer := time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC), time.Date(2026, 7, 6, 7, 0, 0, 0, time.UTC)
	require.Equal(t, 9, HourOfWeek(winter, berlin))
	require.Equal(t, 9, HourOfWeek(summer, berlin), "an hour earlier in UTC, after the change of the clocks")
	require.Equal(t, 8, HourOfWeek(winter, nil))

	grid := Grid{Start: time.Date(2026, 2, 23, 0, 0, 0, 0, berlin), Width: 5 * time.Minute, Zone: berlin}
	m := learnt(grid, draw(4, grid, 33, 400, office)) // to the Friday before the clocks change
	tuesday := m.Forecast(time.Date(2026, 3, 31, 9, 0, 0, 0, berlin), 12, 5*time.Minute)
	require.Greater(t, tuesday[0], 1.0, "nine o'clock is nine o'clock in summer time")
	early := m.Forecast(time.Date(2026, 3, 31, 8, 0, 0, 0, berlin), 12, 5*time.Minute)
	require.Less(t, early[0], 0.5)
}

func TestTheLevelFollowsADoublingWithinDays(t *testing.T) {
	t.Parallel()
	reads := append(draw(5, fiveMinutes(), 28, 400, flat), draw(6, fiveMinutes(), 3, 800, flat)...)
	require.InEpsilon(t, 800/86400.0, learnt(fiveMinutes(), reads).MeanRate(), 0.15)
}

func TestALastingChangeRaisesAnAlarmAndABurstDoesNot(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		quiet := draw(seed, fiveMinutes(), 28, 400, flat)
		require.Zero(t, learnt(fiveMinutes(), quiet).shift.alarm, "seed %d: nothing happened", seed)

		burst := draw(seed, fiveMinutes(), 30, 400, flat)
		for i := range 6 * 12 {
			burst[28*dayBins+i] *= 5
		}
		require.Zero(t, learnt(fiveMinutes(), burst).shift.alarm, "seed %d: a burst of six hours", seed)

		for _, factor := range []float64{0.25, 4} {
			m := learnt(fiveMinutes(), append(quiet, draw(seed+100, fiveMinutes(), 3, 400*factor, flat)...))
			changed := monday.AddDate(0, 0, 28)
			require.WithinRange(t, m.shift.alarm, changed, changed.Add(60*time.Hour), "seed %d, factor %g", seed, factor)
			require.WithinDuration(t, changed, m.shift.since, 24*time.Hour)
		}
	}
}

func TestTheGateLetsARhythmPassAndRejectsNoise(t *testing.T) {
	t.Parallel()
	passed := 0
	for seed := range uint64(50) {
		_, busy := learnt(fiveMinutes(), draw(seed, fiveMinutes(), 42, 400, office)).Week(calendarGain)
		require.Equal(t, HourOfWeekRates, busy.Resolution, "seed %d", seed)
		require.Greater(t, busy.Gain, 1.5)

		if _, noise := learnt(fiveMinutes(), draw(seed, fiveMinutes(), 42, 20, flat)).Week(calendarGain); noise.Resolution > FlatRate {
			passed++
		}
	}
	require.LessOrEqual(t, passed, 1, "of 50 flat views")
}

func TestTheGateAsksForEvidence(t *testing.T) {
	t.Parallel()
	resolution := func(days int, perDay float64) Resolution {
		_, e := learnt(fiveMinutes(), draw(7, fiveMinutes(), days, perDay, office)).Week(calendarGain)
		return e.Resolution
	}
	require.Equal(t, FlatRate, resolution(10, 400), "less than two weeks")
	require.Equal(t, HourOfDayRates, resolution(18, 400), "less than three")
	require.Equal(t, HourOfWeekRates, resolution(28, 400))
	require.Equal(t, FlatRate, resolution(28, 1), "28 reads")
}

func TestAModelLearnsTheSameHourByHourAndBinByBin(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"} {
		zone, err := time.LoadLocation(name)
		require.NoError(t, err)
		grid := Grid{Start: time.Date(2026, 2, 20, 3, 25, 0, 0, time.UTC), Width: 5 * time.Minute, Zone: zone}
		reads := draw(3, grid, 63, 300, office)
		for i := range reads {
			if i/7%11 == 3 {
				reads[i] = math.NaN()
			}
			if i > 40*dayBins {
				reads[i] *= 5 // and the rate changes
			}
		}
		h := History{Grid: grid, Reads: reads}
		single := NewReadModel(zone)
		for i, r := range reads {
			single.Observe(grid.At(i), grid.Width, r)
		}
		whole := h.learn(len(reads))
		end := grid.At(len(reads))
		require.InDeltaSlice(t, single.Forecast(end, weekBins, grid.Width), whole.Forecast(end, weekBins, grid.Width), 1e-12, name)
		_, evidence := single.Week(calendarGain)
		_, same := whole.Week(calendarGain)
		require.InDelta(t, evidence.Gain, same.Gain, 1e-12, name)
		require.InDelta(t, evidence.EffectiveReads, same.EffectiveReads, 1e-6, name)
		require.Equal(t, evidence.Alarm, same.Alarm, name)
		require.Equal(t, evidence.Resolution, same.Resolution, name)
		require.False(t, evidence.Alarm.IsZero(), "there was an alarm to agree on")
	}
}
