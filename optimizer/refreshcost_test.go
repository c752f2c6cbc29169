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
	require.NotEmpty(t, m.Reasons())
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

func TestBusyHoursAreDear(t *testing.T) {
	t.Parallel()
	var load [hoursOfWeek]float64
	for h := range load {
		load[h] = 1
		if office(h) > 1 {
			load[h] = 10
		}
	}
	price := LoadPrice(load)
	require.InEpsilon(t, busyPrice, price[10], 1e-9)
	require.Equal(t, 1.0, price[3])
	require.Equal(t, 1.0, LoadPrice([hoursOfWeek]float64{})[10], "no load known")
}
