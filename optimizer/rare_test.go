package optimizer

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seldom is a view that is refreshed in ten minutes, every 15, and read on some days of the week at noon, so many times.
func seldom(reads float64, days ...int) View {
	bins := make([]float64, 63*dayBins)
	for week := range 9 {
		for _, day := range days {
			bins[(7*week+day)*dayBins+dayBins/2] = reads
		}
	}
	v := reviewed(bins, 15*time.Minute)
	for i := range v.Runs {
		v.Runs[i].Duration = 10 * time.Minute
	}
	v.Row = v.Interval
	v.Kappa = KappaFor(15*time.Minute, 30, 500./86400) // of a fleet of which the median view is read 500 times a day
	return v
}

func TestARarelyReadViewThatIsDearIsAdvisedALongerInterval(t *testing.T) {
	t.Parallel()
	v := seldom(1, 1, 4)
	found, why := Review(v)
	require.Equal(t, []string{"interval"}, kindsOf(found), "%v", why)
	r := found[0]
	require.Equal(t, "1 day", r.Change["refresh_interval"], "in one step: a person decides")
	require.Equal(t, "15 minutes", r.Basis["refresh_interval"])
	require.Zero(t, r.Every, "nothing is applied by itself")
	require.Equal(t, true, r.Evidence["rarely_read"])
	require.Contains(t, r.Reason, "v: every 15 minutes -> every 1 day. Rarely read: 8 reads in 8 different hours of 30 days, less than 0.9 a day with 95 % confidence. A refresh takes 10 min (nine in ten at most 10 min). Expected a day: 57600 -> 600 s of refreshes; what readers see is at most 1 day old instead of 15 minutes.")

	v.Bounds.Max = 6 * time.Hour
	found, _ = Review(v)
	require.Equal(t, "6 hours", found[0].Change["refresh_interval"], "its owner allows no more")
}

func TestARarelyReadViewIsLeftAloneOnThinEvidence(t *testing.T) {
	t.Parallel()
	for why, change := range map[string]func(*View){
		"known for 30 days": func(v *View) {
			v.History.Reads = v.History.Reads[len(v.History.Reads)-25*dayBins:]
		},
		"have to be known": func(v *View) { v.UsageKnown = false },
		"of which a tenth of the month is not known": func(v *View) {
			for i := range 3 * dayBins {
				v.History.Reads[len(v.History.Reads)-10*dayBins+i] = math.NaN()
			}
		},
		"read elsewhere":    func(v *View) { v.Usage.ServersAll = 2 },
		"which is little":   func(v *View) { setRuns(v, time.Second); v.Interval, v.Row = 30*time.Minute, 30*time.Minute },
		"frozen until":      func(v *View) { v.FrozenUntil = v.Now.Add(time.Hour) },
		"changed 60 min":    func(v *View) { v.LastChange = v.Now.Add(-time.Hour) },
		"as there may be":   func(v *View) { v.Kappa *= 10_000 },
		"its row says":      func(v *View) { v.Row = 24 * time.Hour },
		"no interval is":    func(v *View) { v.Bounds = Bounds{Min: 3 * time.Hour, Max: time.Hour} },
		"sidecar's to tune": func(v *View) { v.Adaptive, v.Patience = true, 100 },
		"less than the 5 %": func(v *View) { v.History.Changes = make([]float64, len(v.History.Reads)) }, // a refresh that finds nothing is skipped
	} {
		v := seldom(1, 1, 4)
		change(&v)
		found, reasons := Review(v)
		require.NotContains(t, kindsOf(found), "interval", why)
		if why != "of which a tenth of the month is not known" {
			require.Contains(t, reasons[len(reasons)-1], why)
		}
	}
}

func setRuns(v *View, took time.Duration) {
	for i := range v.Runs {
		v.Runs[i].Duration = took
	}
}

// Twenty reads in one hour say less about how often somebody comes than one read in each of twenty hours; a rate that rose
// in the last week counts as it is now.
func TestTheLimitOfARateGoesByVisitsAndByTheLastWeek(t *testing.T) {
	t.Parallel()
	at := func(n int, every, reads int) History {
		h := History{Grid: fiveMinutes(), Reads: make([]float64, 30*dayBins)}
		for i := range n {
			h.Reads[len(h.Reads)-1-i*every] = float64(reads)
		}
		return h
	}
	spread, crowded := at(20, dayBins, 1).rateLimit(unusedFor), at(1, dayBins, 20).rateLimit(unusedFor)
	require.InEpsilon(t, 29.06/30/86400, spread, 0.01) // half of the 95 % quantile of chi-squared with 42 degrees of freedom
	require.InEpsilon(t, 20*4.74/30/86400, crowded, 0.01)
	require.InEpsilon(t, 3.0/30/86400, at(0, 1, 1).rateLimit(unusedFor), 0.01, "the rule of three")
	require.True(t, math.IsInf(History{Grid: fiveMinutes(), Reads: []float64{math.NaN()}}.rateLimit(unusedFor), 1))

	v := seldom(1, 1, 4)
	quiet, _ := Review(v)
	for i := range 20 { // a new dashboard, the last three days
		v.History.Reads[len(v.History.Reads)-1-i*40] = 1
	}
	risen, _ := Review(v)
	require.Equal(t, "1 day", quiet[0].Change["refresh_interval"])
	require.Equal(t, "12 hours", risen[0].Change["refresh_interval"], "it is read more often now")
}

func TestTheLimitOfARateIsExceededOnceInTwentyTimes(t *testing.T) {
	t.Parallel()
	const runs, perDay = 400, 0.4
	over := 0
	for seed := range uint64(runs) {
		h := History{Grid: fiveMinutes(), Reads: draw(seed, fiveMinutes(), 30, perDay, flat)}
		if h.rateLimit(unusedFor) < perDay/86400 {
			over++
		}
	}
	require.LessOrEqual(t, float64(over)/runs, 0.05+3*math.Sqrt(0.05*0.95/runs))
}
