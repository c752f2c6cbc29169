package optimizer

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawRates draws a week: rates of any size, many of them equal, some of them zero.
func drawRates(t *rapid.T) (rates [hoursOfWeek]float64) {
	levels := rapid.SliceOfN(rapid.Float64Range(0, 0.5), 1, 5).Draw(t, "levels")
	byDay := rapid.Bool().Draw(t, "the same every day")
	for h := range rates {
		if byDay && h >= 24 {
			rates[h] = rates[h-24]
			continue
		}
		rates[h] = rapid.SampledFrom(append(levels, 0)).Draw(t, "rate")
	}
	return rates
}

func drawBounds(t *rapid.T) Bounds {
	spans := []time.Duration{0, 0, 5 * time.Minute, 20 * time.Minute, time.Hour, 7 * time.Hour, 30 * time.Hour}
	return Bounds{Min: rapid.SampledFrom(spans).Draw(t, "min"), Max: rapid.SampledFrom(spans).Draw(t, "max"), MaxStaleness: rapid.SampledFrom(spans).Draw(t, "staleness")}
}

func TestTheFastCalendarIsTheSlowOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rates, bounds := drawRates(t), drawBounds(t)
		target := rapid.SampledFrom([]time.Duration{2 * time.Minute, 15 * time.Minute, time.Hour, 5 * time.Hour}).Draw(t, "target")
		var mean float64
		for _, r := range rates {
			mean += r / hoursOfWeek
		}
		kappa := KappaFor(target, 30, max(mean, 1e-6))
		fast, slow := FitCalendar(rates, 30, kappa, bounds), slowCalendar(rates, 30, kappa, bounds)
		week := slowWeek(rates, 30, kappa).World()
		if slices.Equal(dueBins(fast, week.Grid, 0, week.reads.len()), dueBins(slow, week.Grid, 0, week.reads.len())) {
			return
		}
		// Two calendars may cost the same but for rounding.
		require.Len(t, fast, len(slow), "%s instead of %s", fast, slow)
		require.InEpsilon(t, week.costOfWeek(slow, bounds), week.costOfWeek(fast, bounds), 1e-9, "%s instead of %s", fast, slow)
	})
}

func TestTheFastCostOfAWeekIsThatOfItsReplay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rates, bounds := drawRates(t), drawBounds(t)
		week, replayed := newTypicalWeek(rates, 30, 1e-3, bounds), slowWeek(rates, 30, 1e-3).World()
		for _, routine := range [][]Days{{EveryDay}, {Weekdays, saturday, sunday}} {
			var options []daysOptions
			for _, days := range routine {
				options = append(options, week.options(days, planDay(typicalDay(rates, days), 30, 1e-3, bounds)))
			}
			for i, f := range week.combine(nil, fit{}, options) {
				if i%9 > 0 {
					continue // a replay takes its time
				}
				if cost := replayed.costOfWeek(f.calendar(), bounds); cost != f.cost { // both may be infinite
					require.InEpsilon(t, 1+cost, 1+f.cost, 1e-9, "%s", f.calendar())
				}
			}
		}
	})
}

func TestSlotsOfACalendarAreFoundInAnyZone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawCalendar(t)
		zone, err := time.LoadLocation(rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo"}).Draw(t, "zone"))
		require.NoError(t, err)
		grid := Grid{Start: time.Date(2018, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), 1, 0, 0, 0, 0, time.UTC), Width: 5 * time.Minute, Zone: zone}
		require.Equal(t, slowRefreshes(c, grid, 0, 40*dayBins), dueBins(c, grid, 0, 40*dayBins))
	})
}
