package optimizer

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// longVariable asks for many more seeds.
const longVariable = "MVSCHEDULER_LONG"

func seeds(few, many int) uint64 {
	if os.Getenv(longVariable) != "" {
		return uint64(many)
	}
	return uint64(few)
}

// observed judges a change from the old to the new interval day by day for a week, and says on which day it was
// taken back; zero = never.
func observed(t *testing.T, h History, changed int, was, is time.Duration) int {
	t.Helper()
	for day := 1; day <= 7; day++ {
		n := changed + day*dayBins
		so := h
		so.Reads = h.Reads[:n]
		trial := Trial{
			History: so, Changed: changed, Old: Schedule{Mode: Fixed, Interval: was},
			Refreshes: so.Refreshes(Schedule{Mode: Fixed, Interval: is}, Bounds{}, changed, n),
		}
		j := trial.Judge()
		require.NotEmpty(t, j.Reasons())
		if j.RollBack {
			return day
		}
		require.Equal(t, day == 7, j.Final)
	}
	return 0
}

// traffic are the reads of some days.
func traffic(seed uint64, kind string, days int, perDay float64) []float64 {
	switch kind {
	case "office":
		return draw(seed, fiveMinutes(), days, perDay, office)
	case "bursts":
		return bursty(seed, days, perDay)
	}
	return draw(seed, fiveMinutes(), days, perDay, flat)
}

func TestAWrongIntervalIsTakenBackWithinAWeekAndAGoodOneIsKept(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"flat", "office", "bursts"} {
		for _, perDay := range []float64{50, 2000} {
			for _, target := range []time.Duration{20 * time.Minute, time.Hour, 4 * time.Hour} {
				good, lost := 0, 0
				for seed := range seeds(12, 100) {
					h := history(fiveMinutes(), traffic(seed, kind, 14, perDay), target)
					for _, wrong := range []time.Duration{4 * target, target / 4} {
						require.NotZero(t, observed(t, h, 7*dayBins, target, wrong), "%s, %g reads a day, seed %d: %s -> %s", kind, perDay, seed, target, wrong)
						good++
						if observed(t, h, 7*dayBins, wrong, target) > 0 {
							lost++
						}
					}
				}
				require.Less(t, float64(lost), 0.05*float64(good), "%s, %g reads a day, %s", kind, perDay, target)
			}
		}
	}
}

func TestAWrongIntervalIsTakenBackAndAGoodOneIsKeptWhereSamplesAreMissing(t *testing.T) {
	t.Parallel()
	good, lost := 0, 0
	for seed := range seeds(12, 100) {
		for _, kind := range []string{"flat", "office", "bursts"} {
			h := history(fiveMinutes(), traffic(seed, kind, 14, 400), time.Hour)
			random := rand.New(rand.NewPCG(seed, 2))
			for from := 0; from < len(h.Reads); from += dayBins { // six hours of each day, and a tenth of the others
				at := random.IntN(dayBins - 72)
				for i := range dayBins {
					if i >= at && i < at+72 || random.IntN(10) == 0 {
						h.Reads[from+i] = math.NaN()
					}
				}
			}
			for _, wrong := range []time.Duration{4 * time.Hour, 15 * time.Minute} {
				require.NotZero(t, observed(t, h, 7*dayBins, time.Hour, wrong), "%s, seed %d: %s", kind, seed, wrong)
				good++
				if observed(t, h, 7*dayBins, wrong, time.Hour) > 0 {
					lost++
				}
			}
		}
	}
	require.Less(t, float64(lost), 0.05*float64(good))
}

func TestASmallImprovementIsKept(t *testing.T) {
	t.Parallel()
	good, lost := 0, 0
	for seed := range seeds(40, 1000) {
		h := history(fiveMinutes(), traffic(seed, "flat", 14, 100), time.Hour)
		for _, was := range []time.Duration{30 * time.Minute, 2 * time.Hour} { // one step: saves 20 %
			good++
			if observed(t, h, 7*dayBins, was, time.Hour) > 0 {
				lost++
			}
		}
	}
	require.Less(t, float64(lost), 0.05*float64(good))
}

func TestATrialIsJudgedOnMoreThanItsCost(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 14, 400, flat), time.Hour)
	slower := Schedule{Mode: Fixed, Interval: time.Hour}
	base := Trial{
		History: h, Changed: 7 * dayBins, Old: Schedule{Mode: Fixed, Interval: 30 * time.Minute},
		Refreshes: h.Refreshes(slower, Bounds{}, 7*dayBins, 14*dayBins), PredictedCost: 30, MeasuredCost: 33,
	}
	require.False(t, base.Judge().RollBack)
	for why, spoil := range map[string]func(*Trial){
		"were predicted":   func(b *Trial) { b.MeasuredCost = 46 },
		"of the refreshes": func(b *Trial) { b.Ended, b.Failures, b.FailuresWere = 168, 0.1, 0.01 },
		"100 % of":         func(b *Trial) { b.Refreshes, b.Ended, b.Failures = nil, 3, 1 },
		"the limit is":     func(b *Trial) { b.Bounds.MaxStaleness = 50 * time.Minute },
	} {
		b := base
		spoil(&b)
		j := b.Judge()
		require.True(t, j.RollBack, why)
		require.Contains(t, j.Reasons()[0], why)
	}
	quick := base // an incremental refresh counts as 0.05 s at least, and was predicted to take what it takes
	quick.PredictedCost, quick.MeasuredCost = 0.007, stepSeconds
	require.False(t, quick.Judge().RollBack)
	quick.MeasuredCost = 0.08
	require.Contains(t, quick.Judge().Reasons()[0], "a refresh takes 0.08 s, 0.007 s were predicted", "in figures that tell")
	early := base
	early.History.Reads = h.Reads[:7*dayBins+dayBins/2]
	require.False(t, early.Judge().Final)
	require.Contains(t, early.Judge().Reasons()[0], "under observation")
}

// A daily refresh is twelve in no week: what became of the change is said at its end all the same.
func TestAChangeToFewRefreshesIsJudgedWhenItsWeekIsOver(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 14, 400, flat), 24*time.Hour)
	rarer := h.Refreshes(Schedule{Mode: Fixed, Interval: 96 * time.Hour}, Bounds{}, 7*dayBins, 14*dayBins)
	trial := Trial{History: h, Changed: 7 * dayBins, Old: Schedule{Mode: Fixed, Interval: 24 * time.Hour}, Refreshes: rarer}
	j := trial.Judge()
	require.True(t, j.RollBack, "%v", j.Why)
	trial.History.Reads = h.Reads[:13*dayBins]
	j = trial.Judge()
	require.False(t, j.Final)
	require.Contains(t, j.Why[0], "12 are needed for an early judgement")
}

func TestTwoRollBacksFreezeAView(t *testing.T) {
	t.Parallel()
	now := monday
	until, _ := Freeze([]time.Time{now.AddDate(0, 0, -3)}, now)
	require.Zero(t, until)
	until, why := Freeze([]time.Time{now.AddDate(0, 0, -20), now.AddDate(0, 0, -3)}, now)
	require.Equal(t, now.AddDate(0, 0, 27), until)
	require.NotEmpty(t, why)
	until, _ = Freeze([]time.Time{now.AddDate(0, 0, -40), now.AddDate(0, 0, -3)}, now)
	require.Zero(t, until, "the first one is forgotten")
}

// Reads between a change and the first refresh after it count: data is taken to be fresh at the change, under both schedules.
func TestTheTimeBeforeTheFirstRefreshAfterAChangeIsJudgedToo(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 28, 2000, flat), time.Hour)
	changed, n := 21*dayBins, 28*dayBins
	late := make([]int, 0, 7*24)
	for bin := changed + 3*dayBins; bin < n; bin += dayBins / 24 {
		late = append(late, bin)
	}
	trial := Trial{History: h, Changed: changed, Old: Schedule{Mode: Fixed, Interval: time.Hour}, Refreshes: late}
	j := trial.Judge()
	require.Greater(t, j.New.MeanAge, 12*time.Hour.Seconds())
	trial.Refreshes = append([]int{changed}, late...)
	require.Equal(t, trial.Judge(), j)
}

// Readers do not stay away from data that became fresher.
func TestAFasterScheduleIsNotTakenBackForFewerReads(t *testing.T) {
	t.Parallel()
	changed, n := 21*dayBins, 28*dayBins
	judge := func(was, is time.Duration) Judgement {
		h := history(fiveMinutes(), draw(1, fiveMinutes(), 28, 2000, flat), time.Hour)
		for i := changed; i < n; i++ {
			h.Reads[i] = math.Floor(h.Reads[i] * 0.4)
		}
		return Trial{History: h, Changed: changed, Old: Schedule{Interval: was}, Refreshes: h.Refreshes(Schedule{Interval: is}, Bounds{}, changed, n)}.Judge()
	}
	require.False(t, judge(4*time.Hour, 2*time.Hour).RollBack)
	slower := judge(2*time.Hour, 3*time.Hour)
	require.True(t, slower.RollBack)
	require.Contains(t, slower.Why[0], "readers may stay away")
}
