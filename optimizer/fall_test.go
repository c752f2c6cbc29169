package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// burst adds thirty times the mean rate at first, dying away within some hours.
func burst(random *rand.Rand, reads []float64, perDay float64) {
	for i, rate := 0, 30.0; rate > 0.01; i++ {
		reads[i] += poisson(random, perDay/dayBins*rate)
		rate *= 0.93
	}
}

// keep leaves a share of the readers.
func keep(random *rand.Rand, reads []float64, share float64) {
	for i, n := range reads {
		reads[i] = 0
		for range int(n) {
			if random.Float64() < share {
				reads[i]++
			}
		}
	}
}

// sawAFall says whether a right change to twice the interval is taken back within a week, judged every day, for the sake
// of readers who stay away. What happens to the reads before and since is up to spoil.
func sawAFall(t *testing.T, seed uint64, kind string, weeks int, spoil func(random *rand.Rand, reads []float64, changed int)) bool {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 4))
	changed := weeks*weekBins + random.IntN(dayBins)
	h := history(fiveMinutes(), traffic(seed, kind, 7*weeks+8, 400)[:changed+weekBins], time.Hour)
	spoil(random, h.Reads, changed)
	was, is := Schedule{Interval: 30 * time.Minute}, Schedule{Interval: time.Hour}
	for day := 1; day <= 7; day++ {
		so, n := h, changed+day*dayBins
		so.Reads = h.Reads[:n]
		j := Trial{History: so, Changed: changed, Old: was, Refreshes: so.Refreshes(is, Bounds{}, changed, n)}.Judge()
		if j.RollBack {
			require.Contains(t, j.Reasons()[0], "stay away", "%s, seed %d, day %d", kind, seed, day)
			return true
		}
	}
	return false
}

func TestReadsThatVaryByThemselvesDoNotTakeAChangeBack(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(random *rand.Rand, reads []float64, changed int){
		"nothing": func(*rand.Rand, []float64, int) {},
		"a burst up to twelve hours before": func(random *rand.Rand, reads []float64, changed int) {
			burst(random, reads[changed-random.IntN(144):], 400)
		},
		"half of the readers left five days before": func(random *rand.Rand, reads []float64, changed int) {
			keep(random, reads[changed-5*dayBins:], 0.5)
		},
		"ten hours of each day since are not known": func(_ *rand.Rand, reads []float64, changed int) {
			for i := changed; i < len(reads); i++ {
				if i%dayBins < 120 {
					reads[i] = math.NaN()
				}
			}
		},
	} {
		judged, lost := 0, 0
		for seed := range seeds(12, 100) {
			for _, kind := range []string{"flat", "office", "bursts"} {
				for _, weeks := range []int{1, 4} {
					judged++
					if sawAFall(t, seed, kind, weeks, spoil) {
						lost++
					}
				}
			}
		}
		require.Less(t, float64(lost), 0.05*float64(judged), what)
	}
}

func TestReadersWhoStayAwayTakeAChangeBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind  string
		stays float64
		least float64 // share of the seeds
	}{
		{"flat", 0, 1}, {"flat", 0.5, 1}, {"office", 0, 1}, {"office", 0.33, 1},
		{"office", 0.5, 0.95},
		{"bursts", 0, 0.95}, {"bursts", 0.1, 0.85}, {"bursts", 0.33, 0.8}, {"bursts", 0.5, 0.4},
	} {
		for _, weeks := range []int{1, 4} {
			judged, found := 0, 0
			for seed := range seeds(12, 100) {
				judged++
				if sawAFall(t, seed, c.kind, weeks, func(random *rand.Rand, reads []float64, changed int) { keep(random, reads[changed:], c.stays) }) {
					found++
				}
			}
			require.GreaterOrEqual(t, float64(found), c.least*float64(judged), "%s, %d weeks, %.0f %% stay", c.kind, weeks, 100*c.stays)
		}
	}
}

func TestAFallIsExplained(t *testing.T) {
	t.Parallel()
	h := history(fiveMinutes(), draw(1, fiveMinutes(), 21, 400, flat), time.Hour)
	f := h.fall(14 * dayBins)
	require.InDelta(t, 2800, f.Expected, 150)
	require.Less(t, f.Deviations, 1.0)
	require.False(t, f.Fell())

	for i := range 7 * dayBins { // what is not known is not expected
		if i%2 == 0 {
			h.Reads[14*dayBins+i] = math.NaN()
		}
	}
	require.InDelta(t, f.Expected/2, h.fall(14*dayBins).Expected, 10)
	require.Zero(t, h.fall(6*dayBins), "less than a week before")
	require.Zero(t, h.fall(21*dayBins), "nothing since")
	require.Zero(t, History{Grid: fiveMinutes(), Reads: make([]float64, 14*dayBins)}.fall(7*dayBins).Came)
	require.False(t, History{Grid: fiveMinutes(), Reads: make([]float64, 14*dayBins)}.fall(7*dayBins).Fell(), "nobody ever read it")
}
