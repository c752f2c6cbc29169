package optimizer

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const oneDay = 24 * time.Hour

// lookBack is one read and how far back it looked.
type lookBack struct {
	At    time.Time
	Query int64
	Span  time.Duration
}

// readsOfADay draws how far back a view is read on a day: dashboards that look back a week at most, reports on
// the first days of a month over the last two, and one in January over the last year.
func readsOfADay(random *rand.Rand, day int, perDay float64) []lookBack {
	at := monday.AddDate(0, 0, day)
	var reads []lookBack
	read := func(query int64, span float64) {
		reads = append(reads, lookBack{At: at, Query: query, Span: time.Duration(span * float64(oneDay))})
	}
	for i := range int(poisson(random, perDay)) {
		read(int64(i), 7*random.Float64())
	}
	if at.Day() <= 3 {
		read(1001, 31+31*random.Float64())
	}
	if at.Month() == time.January && at.Day() <= 2 {
		read(1002, 365+30*random.Float64())
	}
	return reads
}

func TestTheUpperLimitHoldsWithItsConfidence(t *testing.T) {
	t.Parallel()
	for _, n := range []int{299, 1000, 5000} {
		below := 0
		const runs = 1000
		for seed := range uint64(runs) {
			random := rand.New(rand.NewPCG(seed, 5))
			l := LookBacks{Effective: float64(n)}
			for range n {
				l.spans = append(l.spans, weighted{random.ExpFloat64(), 1})
			}
			sortLongestFirst(l.spans)
			limit, ok := l.UpperLimit(0.99)
			require.True(t, ok)
			if limit < -math.Log(0.01) {
				below++
			}
		}
		require.LessOrEqual(t, float64(below)/runs, 0.05+3*math.Sqrt(0.05*0.95/runs), "%d reads", n)
	}
}

func TestTheNumberOfReadsThatALimitNeeds(t *testing.T) {
	t.Parallel()
	for q, need := range map[float64]float64{coarseQuantile: coarseReads, fineQuantile: fineReads} {
		_, ok := exceedances(need, 1-q)
		require.True(t, ok)
		_, ok = exceedances(need-2, 1-q)
		require.False(t, ok)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := float64(rapid.IntRange(299, 20000).Draw(t, "n"))
		m, ok := exceedances(n, 0.01)
		require.True(t, ok)
		require.Less(t, m, 0.01*n)
		more, _ := exceedances(n+100, 0.01)
		require.GreaterOrEqual(t, more, m)
	})
}

// weekly is a view of two years whose readers look back ten days.
func weekly() (RetentionView, RetentionState) {
	l := LookBacks{Effective: 4000, Longest: 10 * oneDay}
	for range 4000 {
		l.spans = append(l.spans, weighted{(10 * oneDay).Seconds(), 1})
	}
	return RetentionView{
		Now: monday, Current: 365 * oneDay, LookBacks: l, Evidence: 2, Age: 800 * oneDay, Bucket: oneDay, BytesPerDay: 1 << 30,
	}, RetentionState{WeeksBelow: 3}
}

func TestRetentionShrinksSlowlyAndOnlyWhenItMay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(*RetentionView, *RetentionState)
		want  time.Duration
		why   string
	}{
		{"the fourth week in a row", func(*RetentionView, *RetentionState) {}, 292 * oneDay, "shrunk from"},
		{"the third", func(_ *RetentionView, s *RetentionState) { s.WeeksBelow = 2 }, 365 * oneDay, "week 3 of 4"},
		{"soon after a step", func(v *RetentionView, s *RetentionState) { s.LastShrink = v.Now.Add(-20 * oneDay) }, 365 * oneDay, "next step"},
		{"thin evidence", func(v *RetentionView, _ *RetentionState) { v.LookBacks.Effective = 298 }, 365 * oneDay, "thin evidence"},
		{"counters alone", func(v *RetentionView, _ *RetentionState) { v.Evidence = 0 }, 365 * oneDay, "counters alone"},
		{"a young view", func(v *RetentionView, _ *RetentionState) { v.Age = 100 * oneDay }, 365 * oneDay, "13 months"},
		{"somebody looked back far", func(v *RetentionView, _ *RetentionState) { v.LookBacks.Longest = 200 * oneDay }, 365 * oneDay, "13 months"},
		{"many ask for everything", func(v *RetentionView, _ *RetentionState) { v.LookBacks.Unbounded = 0.02 }, 365 * oneDay, "left to a person"},
		{"the source forgets sooner", func(v *RetentionView, _ *RetentionState) { v.RawHorizon = 90 * oneDay }, 365 * oneDay, "could not be rebuilt"},
		{"and that is allowed", func(v *RetentionView, _ *RetentionState) { v.RawHorizon, v.AllowIrrecoverable = 90*oneDay, true }, 292 * oneDay, ""},
		{"nothing to save", func(v *RetentionView, _ *RetentionState) { v.BytesPerDay = 1000 }, 365 * oneDay, "would save"},
		{"much of a small database", func(v *RetentionView, _ *RetentionState) { v.BytesPerDay, v.DatabaseBytes = 1000, 1e6 }, 292 * oneDay, ""},
		{"after a miss", func(v *RetentionView, s *RetentionState) { s.FrozenUntil = v.Now.Add(oneDay) }, 365 * oneDay, "missed data"},
		{"the owner's bound", func(v *RetentionView, _ *RetentionState) { v.Min = 350 * oneDay }, 365 * oneDay, "it stays"},
		{"everything is kept", func(v *RetentionView, _ *RetentionState) { v.Current = 0 }, 0, "left to a person"},
		{"readers look back further", func(v *RetentionView, _ *RetentionState) { v.Current = 9 * oneDay }, 30 * oneDay, "lengthened"},
		{"which the owner forbids", func(v *RetentionView, _ *RetentionState) { v.Current, v.Max = 9*oneDay, 9*oneDay }, 9 * oneDay, "allows no more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, s := weekly()
			tt.spoil(&v, &s)
			d := Retention(v, s)
			require.Equal(t, tt.want, d.Period, "%v", d.Why)
			require.Contains(t, strings.Join(d.Why, "; "), tt.why)
		})
	}
}

func TestRowsThatMayComeLateAreNeededBesideWhatIsRead(t *testing.T) {
	t.Parallel()
	v, s := weekly()
	v.Lateness = 20 * oneDay
	require.Equal(t, 300*time.Hour+21*oneDay, Retention(v, s).Need, "and so is the bucket in which a look-back ends")
	s.WeeksBelow = 0
	require.Zero(t, Retention(v, s).Proposed(v), "what is kept is no proposal")
}

func TestARepeatedShrinkEndsAtTheNeed(t *testing.T) {
	t.Parallel()
	v, s := weekly()
	for range 300 {
		d := Retention(v, s)
		v.Current, s = d.Period, d.State
		v.Now = v.Now.Add(7 * oneDay)
	}
	require.InEpsilon(t, float64(retentionFloor), float64(v.Current), 0.26, "the floor, or within its margin")
}
