package optimizer

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waiting is a view whose row asks for full refreshes, each of which locks readers out for two seconds.
func waiting() Methods {
	return Methods{
		Name: "v", Wanted: "full", Now: "full", Unique: true, Full: MethodCost{Runs: 20, Took: 2 * time.Second, Seconds: 2.1}, Waits: 5,
		Every: 15 * time.Minute, Level: "L0", Source: "the refreshes that ran",
	}
}

func TestConcurrentIsAdvisedWhereReadersWait(t *testing.T) {
	t.Parallel()
	r, why := waiting().Advise()
	require.Nil(t, why)
	require.Equal(t, "method", r.Kind)
	require.Equal(t, map[string]string{"method": "full"}, r.Basis)
	require.Equal(t, map[string]string{"method": "concurrent"}, r.Change)
	require.Contains(t, r.Reason, "A full refresh locks readers out for 2 s, and they were seen waiting for 5 of the last 20. A concurrent one takes some 8.6 s (as it is elsewhere: it never ran)")

	for name, change := range map[string]func(*Methods){
		"too few waits":      func(m *Methods) { m.Waits = 2 },
		"nobody notices":     func(m *Methods) { m.Full.Took, m.Full.Seconds = 50*time.Millisecond, 0.05 },
		"too few runs":       func(m *Methods) { m.Full.Runs, m.Waits = 4, 4 },
		"no time for it":     func(m *Methods) { m.Every = 5 * time.Second },
		"auto does it":       func(m *Methods) { m.Wanted = "auto" },
		"as it is":           func(m *Methods) { m.Wanted, m.Now = "concurrent", "concurrent" },
		"no time, as it ran": func(m *Methods) { m.Conc = MethodCost{Runs: 3, Took: time.Hour, Seconds: 3600} },
	} {
		m := waiting()
		change(&m)
		_, why := m.Advise()
		require.NotNil(t, why, name)
	}

	// Nobody was seen, and the two costs decide (spec 3g): those of readers who wait are in that of a full one.
	m := waiting()
	m.Waits, m.Conc, m.Kappa = 0, MethodCost{Runs: 5, Took: 3 * time.Second, Seconds: 3}, 0.01
	_, why = m.Advise()
	require.NotNil(t, why)
	m.Rate = 5 // 10 * 0.01 * 5 * 2^2 / 2
	r, why = m.Advise()
	require.Nil(t, why)
	require.Contains(t, r.Reason, "(as measured)")
	m.Conc.Runs = 0
	_, why = m.Advise()
	require.NotNil(t, why, "an estimate is no measurement")
}

func TestAUniqueIndexIsAdvisedWhereReadersWaitForWantOfOne(t *testing.T) {
	t.Parallel()
	m := waiting()
	m.Wanted, m.Unique = "auto", false
	r, why := m.Advise()
	require.Nil(t, why)
	require.Equal(t, "unique_index", r.Kind)
	require.Nil(t, r.Change, "a person knows the key")
	require.NotContains(t, r.Command, "method")
	m.Wanted = "full"
	r, _ = m.Advise()
	require.Contains(t, r.Command, "method = 'concurrent'", "a key alone would change nothing")

	m.Waits = 0
	_, why = m.Advise()
	require.NotNil(t, why)
	m.Kappa, m.Rate, m.Reads = 0.01, 5, 100
	r, why = m.Advise()
	require.Nil(t, why, "readers must be waiting")
	require.Equal(t, "unique_index", r.Kind)
	m.Reads = 20
	_, why = m.Advise()
	require.NotNil(t, why, "the rate is not known")
}

func TestFullIsAdvisedWhereItCostsLessAndNobodyReadsMeanwhile(t *testing.T) {
	t.Parallel()
	night := Methods{
		Name: "v", Wanted: "auto", Now: "concurrent", Unique: true, Full: MethodCost{Runs: 1, Took: 4 * time.Minute, Seconds: 250},
		Conc: MethodCost{Runs: 20, Took: 20 * time.Minute, Seconds: 1200}, Undisturbed: 20, Quiet: 20 * 20 * time.Minute, Kappa: 1e-5, Source: "the refreshes that ran",
	}
	r, why := night.Advise()
	require.Nil(t, why)
	require.Equal(t, "method", r.Kind)
	require.Equal(t, map[string]string{"method": "auto"}, r.Basis)
	require.Equal(t, map[string]string{"method": "full"}, r.Change)
	require.Contains(t, r.Reason, "A concurrent refresh costs 1200.0 refresh-seconds, a full one 250.0, and nobody read it during the last 20 refreshes. It would lock out who comes meanwhile for 4 min.")
	for name, change := range map[string]func(*Methods){
		"standby":     func(m *Methods) { m.Standby = true },
		"unknown":     func(m *Methods) { m.Full.Runs = 0 },
		"few runs":    func(m *Methods) { m.Conc.Runs = 4 },
		"waited once": func(m *Methods) { m.Waits = 1 },
		"quick":       func(m *Methods) { m.Full.Seconds, m.Conc.Seconds = 0.1, 0.9 },
		"not half":    func(m *Methods) { m.Full.Seconds = 700 },
		"read":        func(m *Methods) { m.Undisturbed = 19 },
		"who may come all the same would wait for too dear a time": func(m *Methods) { m.Kappa = 20 },
	} {
		m := night
		change(&m)
		_, why := m.Advise()
		require.NotNil(t, why, name)
	}
}

func TestARefreshIsUndisturbedWhenItIsKnownThatNobodyRead(t *testing.T) {
	t.Parallel()
	h := History{Grid: fiveMinutes(), Reads: make([]float64, 7*dayBins)}
	var began []time.Time
	var took []time.Duration
	for day := range 6 { // the newest first
		began, took = append(began, h.Grid.Start.Add(time.Duration(6-day)*oneDay+3*time.Hour)), append(took, 20*time.Minute)
	}
	runs, quiet := h.Undisturbed(began, took)
	require.Equal(t, 6, runs)
	require.Equal(t, 2*time.Hour, quiet)
	h.Reads[3*dayBins+3*12+4] = 1 // at 03:20, when it ends
	runs, _ = h.Undisturbed(began, took)
	require.Equal(t, 3, runs)
	h.Reads[5*dayBins+3*12] = math.NaN()
	runs, _ = h.Undisturbed(began, took)
	require.Equal(t, 1, runs, "what is not known is not quiet")
	runs, _ = h.Undisturbed([]time.Time{h.Grid.At(len(h.Reads) - 1)}, []time.Duration{10 * time.Minute})
	require.Zero(t, runs, "nor what is not sampled yet")
	runs, _ = h.Undisturbed([]time.Time{h.Grid.Start.Add(-time.Minute)}, []time.Duration{10 * time.Minute})
	require.Zero(t, runs)
}
