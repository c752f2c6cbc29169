package optimizer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheCostModelFindsTheLawDespiteOutliers(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 6))
	var runs []Run
	for i := range 60 {
		rows := math.Exp(8 + 4*random.Float64())
		took := 1e-3 * math.Pow(rows, 0.8) * math.Exp(0.1*random.NormFloat64())
		if i%8 == 0 {
			took *= 30 // waited for a lock
		}
		runs = append(runs, Run{Duration: seconds(took), Rows: rows})
	}
	m, ok := FitCost(runs)
	require.True(t, ok)
	require.InDelta(t, 0.8, m.B, 0.1)
	want := 1e-3 * math.Pow(50_000, 0.8)
	require.InEpsilon(t, want, m.Median(50_000), 0.15)
	require.Greater(t, m.P90(50_000), m.Median(50_000))
	require.Less(t, m.P90(50_000), 2*want)
}

func TestWithoutSizesTheCostIsTheRecentMedian(t *testing.T) {
	t.Parallel()
	_, ok := FitCost(nil)
	require.False(t, ok)
	one, ok := FitCost([]Run{{Duration: 7 * time.Second}})
	require.True(t, ok)
	require.InEpsilon(t, 7, one.Median(0), 1e-6)

	var runs []Run
	for i := range 60 { // it became twice as slow half-way
		took := 10 * time.Second
		if i >= 30 {
			took = 20 * time.Second
		}
		runs = append(runs, Run{Duration: took})
	}
	m, _ := FitCost(runs)
	require.InEpsilon(t, 20, m.Median(0), 0.1)
}

func TestWALHasItsPrice(t *testing.T) {
	t.Parallel()
	require.InEpsilon(t, 10+100*walSeconds, Run{Duration: 10 * time.Second, WALBytes: 100 << 20}.Seconds(), 1e-9)
}

func TestAnIncrementalRefreshHasAFixedAndAVariablePart(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(2, 6))
	var runs []Run
	for i := range 80 {
		rows := 1e5 * random.Float64()
		took := 2 + 1e-4*rows + 0.1*random.NormFloat64()
		if i%5 == 0 {
			took += 60
		}
		runs = append(runs, Run{Duration: seconds(took), Rows: rows})
	}
	c, ok := FitIncremental(runs)
	require.True(t, ok)
	require.InEpsilon(t, 2, c.Fixed, 0.25)
	require.InEpsilon(t, 1e-4, c.PerRow, 0.15)
	_, ok = FitIncremental(nil)
	require.False(t, ok)
	same, _ := FitIncremental([]Run{{Duration: time.Second, Rows: 5}, {Duration: 3 * time.Second, Rows: 5}})
	require.InEpsilon(t, 2, same.Fixed, 1e-9)
}

// The interval is chosen for the part that each refresh costs; what grows with the rows is paid at any.
func TestAnIncrementalRefreshIsExpectedToCostTheIntervalItsFixedPart(t *testing.T) {
	t.Parallel()
	runs := make([]Run, 50)
	for i := range runs {
		rows := float64(1000 * (i%5 + 1))
		runs[i] = Run{Duration: seconds(2 + rows/100), Rows: rows}
	}
	e, ok := Expect("incremental", runs)
	require.True(t, ok)
	require.InEpsilon(t, 2, e.Cost, 1e-6)
	require.InEpsilon(t, 0.01, e.PerRow, 1e-6)
	require.Equal(t, 3000.0, e.Rows)
	require.InEpsilon(t, 32, e.Whole, 0.1)
	full, _ := Expect("full", runs)
	require.Equal(t, full.Whole, full.Cost, "all of it")
	require.Zero(t, full.PerRow)

	for i := range runs {
		runs[i] = Run{Duration: seconds(runs[i].Rows / 1000), Rows: runs[i].Rows}
	}
	e, _ = Expect("incremental", runs)
	require.Equal(t, stepSeconds, e.Cost, "the steps cost something")
	_, ok = Expect("incremental", nil)
	require.False(t, ok)

	// Twice as long is no reason to take a change back: each refresh has twice the rows.
	slower := make([]Run, 50)
	for i := range slower {
		rows := float64(2000 * (i%5 + 1))
		slower[i] = Run{Duration: seconds(2 + rows/100), Rows: rows}
	}
	after, _ := Expect("incremental", slower)
	require.Greater(t, after.Whole, dearer*32)
	require.InEpsilon(t, 2, after.Cost, 1e-6)
}
