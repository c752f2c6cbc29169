package optimizer

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A clock may be finer than the bins that reads are known in: all of its refreshes are paid for.
func TestRefreshesWithinABinAreCounted(t *testing.T) {
	t.Parallel()
	const minutely = time.Minute
	h := history(fiveMinutes(), slices.Repeat([]float64{200}, 42*dayBins), 15*time.Minute)
	officeHours := Schedule{Mode: CalendarMode, Calendar: Calendar{{Days: EveryDay, From: 8 * 60, To: 18 * 60, Every: IntervalWords(minutely)}}}
	predict := func(changes []float64, s Schedule) Prediction {
		h.Changes = changes
		return h.study(Bounds{}).predict(s)
	}
	always, onceABin := slices.Repeat([]float64{1000}, 42*dayBins), slices.Repeat([]float64{1}, 42*dayBins)
	for _, changes := range [][]float64{nil, always} {
		require.InDelta(t, 24*60, predict(changes, Schedule{Interval: minutely}).Refreshes, 0.1)
		require.InDelta(t, 24*60*h.Cost, predict(changes, Schedule{Interval: minutely}).RefreshSeconds, h.Cost)
		require.InDelta(t, 10*60, predict(changes, officeHours).Refreshes, 0.1)
	}
	require.InDelta(t, 30, predict(nil, Schedule{Interval: minutely}).MeanAge, 0.1)
	require.InDelta(t, 30, predict(nil, Schedule{Interval: minutely}).P95Age, 0.1)
	require.InDelta(t, 288, predict(onceABin, Schedule{Interval: minutely}).Refreshes, 0.1, "no more refreshes than changes")
	require.InDelta(t, 288, predict(always, Schedule{Interval: 5 * time.Minute}).Refreshes, 0.1)
	require.Greater(t, predict(always, officeHours).Cost, predict(always, Schedule{Interval: 5 * time.Minute}).Cost)
}

// A clock that is finer than what reads and changes are known by is judged as any other.
func TestAClockThatIsTooFineIsMadeCoarserWhetherChangesAreCountedOrNot(t *testing.T) {
	t.Parallel()
	proposed := func(changes float64, cost float64) string {
		v := reviewed(draw(1, fiveMinutes(), 63, 400, flat), time.Minute)
		v.History.Changes = slices.Repeat([]float64{changes}, len(v.History.Reads))
		for i := range v.Runs {
			v.Runs[i].Duration = time.Duration(cost * float64(time.Second))
		}
		recommendations, _ := Review(v)
		if len(recommendations) == 0 {
			return ""
		}
		return recommendations[0].Proposed
	}
	require.Equal(t, "every 2 minutes", proposed(1000, 30))
	require.Empty(t, proposed(1000, 0.05), "a refresh costs next to nothing")
	require.Empty(t, proposed(0, 30), "it is not refreshed in vain")
}

// Both clocks are judged by what they really refresh and show.
func TestAChangeOfAClockThatIsFinerThanBinsIsJudgedByAllRefreshes(t *testing.T) {
	t.Parallel()
	minutely, slower := Schedule{Interval: time.Minute}, Schedule{Interval: 5 * time.Minute}
	judge := func(kappa float64, was, is Schedule) Judgement {
		h, _, _ := measured(14, 20, 100, time.Minute)
		h.Kappa = kappa
		changed := 7 * dayBins
		return Trial{History: h, Changed: changed, Old: was, Refreshes: h.Refreshes(is, Bounds{}, changed, len(h.Reads))}.Judge()
	}
	j := judge(1e-5, minutely, slower)
	require.False(t, j.RollBack, j.Why)
	require.Equal(t, 7*288, j.New.Refreshes)
	require.InDelta(t, 7*1440, j.Old.Refreshes, 10)
	require.InDelta(t, 147, j.New.MeanAge, 5)
	require.InDelta(t, 27, j.Old.MeanAge, 5)
	require.True(t, judge(1, minutely, slower).RollBack, "readers would rather pay for four more refreshes")
	require.True(t, judge(1e-5, slower, minutely).RollBack)
	require.False(t, judge(1, slower, minutely).RollBack)
}

// measured is the truth: reads and changes at instants of their own, and a refresh in each slot before which something changed.
// Changes are so many in five minutes on average.
func measured(days int, reads, changes float64, every time.Duration) (h History, refreshes, meanAge float64) {
	random := rand.New(rand.NewPCG(3, uint64(every)))
	h = History{Grid: fiveMinutes(), Cost: 1, Kappa: 1}
	const width = 300.
	var ages, read float64
	unseen := -1. // the first change that is not shown; negative = none
	slot := every.Seconds()
	for bin := range days * dayBins {
		type event struct {
			at     float64
			change bool
		}
		var events []event
		counts := [2]float64{}
		for kind, rate := range []float64{reads, changes} {
			for at := random.ExpFloat64() / rate; at < 1; at += random.ExpFloat64() / rate {
				events = append(events, event{(float64(bin) + at) * width, kind == 1})
				counts[kind]++
			}
		}
		slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
		h.Reads, h.Changes = append(h.Reads, counts[0]), append(h.Changes, counts[1])
		for _, e := range events {
			if unseen >= 0 && e.at >= math.Ceil(unseen/slot)*slot {
				unseen = -1
				refreshes++
			}
			switch {
			case e.change && unseen < 0:
				unseen = e.at
			case !e.change && unseen >= 0:
				ages += e.at - unseen
			}
			if !e.change {
				read++
			}
		}
	}
	return h, refreshes / float64(days), ages / read
}

func TestPredictionsAreWhatIsMeasuredEventByEvent(t *testing.T) {
	t.Parallel()
	for _, changes := range []float64{0.02, 0.3, 1, 5, 100} {
		for _, every := range []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour} {
			h, refreshes, age := measured(28, 20, changes, every)
			p := h.study(Bounds{}).predict(Schedule{Interval: every})
			require.InDelta(t, age, p.MeanAge, 30, "%g changes in five minutes, every %s", changes, every)
			require.InEpsilon(t, refreshes, p.Refreshes, 0.1, "%g changes in five minutes, every %s", changes, every)
		}
	}
}

// Several refreshes in a bin are priced one way, whoever asks.
func TestJOfSeveralRefreshesInABinIsTheSameSummedUpOrByDays(t *testing.T) {
	t.Parallel()
	const days = 4
	random := rand.New(rand.NewPCG(8, 1))
	reads, changes := make([]float64, days*dayBins), make([]float64, days*dayBins)
	for i := range reads {
		reads[i], changes[i] = float64(random.IntN(40)), float64(random.IntN(12))
	}
	for _, changed := range [][]float64{nil, changes} {
		world := NewWorld(fiveMinutes(), reads, changed, []float64{2}, 1e-3)
		var refreshes []int
		for bin := 0; bin < len(reads); bin += 1 + random.IntN(40) {
			refreshes = append(refreshes, slices.Repeat([]int{bin}, 1+random.IntN(5))...)
		}
		cost := world.Replay(refreshes, 0, len(reads)).Cost
		require.InEpsilon(t, cost, world.costOf(refreshes, len(reads)), 1e-9)
		var sum float64
		for _, day := range world.daily(refreshes, 0, len(reads)) {
			sum += day
		}
		require.InEpsilon(t, cost, sum, 1e-9)
	}
}

// A refresh shows the changes before it, so that the first one after it comes later the fewer there are to a refresh.
func TestAgesWithinABinAreThoseOfItsChanges(t *testing.T) {
	t.Parallel()
	h, _, age := measured(28, 20, 20, time.Minute)
	require.InDelta(t, age, h.study(Bounds{}).predict(Schedule{Interval: time.Minute}).MeanAge, 3)
}

// What a replay is computed in comes from other replays.
func TestAReplayOwesNothingToThoseBeforeIt(t *testing.T) {
	t.Parallel()
	for range 3 {
		for _, every := range []int{1, 500, 7, 2} {
			reads := slices.Repeat([]float64{1}, 1000)
			var refreshes []int
			for bin := 0; bin < len(reads); bin += every {
				refreshes = append(refreshes, bin)
			}
			out := NewWorld(fiveMinutes(), reads, nil, []float64{1}, 1).Replay(refreshes, 0, len(reads))
			require.InDelta(t, (math.Ceil(0.95*float64(every))-0.5)*300, out.P95Age, 300, "every %d bins", every)
			require.InDelta(t, float64(every)*150, out.MeanAge, 2)
		}
	}
}
