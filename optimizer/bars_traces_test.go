package optimizer

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// tracesVariable names the directory of the traces on which the bars of the specification (section 5.6) are
// measured; without it they are not. The traces themselves are not in this repository.
const tracesVariable = "MVSCHEDULER_TRACES"

var barTargets = []time.Duration{15 * time.Minute, time.Hour, 4 * time.Hour}

// barTrace is a trace in bins of five minutes.
type barTrace struct {
	name  string
	grid  Grid
	reads []float64
}

// loadTraces reads the traces. Those of single events are too sparse to stand for reads: they are changes.
func loadTraces(t *testing.T) (reads []barTrace, changes []Trace) {
	t.Helper()
	dir := os.Getenv(tracesVariable)
	if dir == "" {
		t.Skip("set " + tracesVariable + " to a directory of traces")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.csv.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, files, dir)
	for _, file := range files {
		f, err := os.Open(file)
		require.NoError(t, err)
		trace, err := ReadTrace(f)
		require.NoError(t, err, file)
		require.NoError(t, f.Close())
		if strings.Contains(file, "_events") {
			changes = append(changes, trace)
			continue
		}
		grid := fiveMinutes()
		b := barTrace{name: strings.TrimSuffix(filepath.Base(file), ".csv.gz"), grid: grid}
		b.grid.Start, b.reads = trace.Counts(grid.Width)
		reads = append(reads, b)
	}
	return reads, changes
}

// window is the evaluation of the reference simulator: 21 days to learn, or half, then 21 days.
func (b barTrace) window() (lo, hi int) {
	lo = min(21*dayBins, len(b.reads)/2)
	return lo, min(len(b.reads), lo+21*dayBins)
}

func (b barTrace) scenario(t *testing.T, changes []float64, target time.Duration) *scenario {
	t.Helper()
	lo, hi := b.window()
	s, err := newScenario(b.grid, b.reads[:hi], changes, 30*time.Second, target, lo)
	require.NoError(t, err)
	return s
}

// officeHours are many days of a hundred reads in each bin from eight to six, Monday to Friday.
func officeHours(days int) barTrace {
	b := barTrace{"office hours", fiveMinutes(), make([]float64, days*dayBins)}
	for i := range b.reads {
		at := b.grid.Start.Add(time.Duration(i) * b.grid.Width)
		if day := at.Weekday(); day != time.Saturday && day != time.Sunday && at.Hour() >= 8 && at.Hour() < 18 {
			b.reads[i] = 100
		}
	}
	return b
}

func sum(xs []float64) (total float64) {
	for _, x := range xs {
		total += x
	}
	return total
}

// thin keeps reads at random so that a mean of perDay is left, as the reference simulator does.
func (b barTrace) thin(perDay float64) barTrace {
	p := perDay * float64(len(b.reads)) / dayBins / max(1, sum(b.reads))
	if p >= 1 {
		return b
	}
	random := newMersenne(7)
	thinned := make([]float64, len(b.reads))
	for i, n := range b.reads {
		switch m := n * p; {
		case n > 200 && m < 30:
			limit := math.Exp(-m)
			for q := random.float(); q > limit; q *= random.float() {
				thinned[i]++
			}
		case n > 200:
			thinned[i] = max(0, math.RoundToEven(m+math.Sqrt(m)*random.normal()))
		default:
			for range int(n) {
				if random.float() < p {
					thinned[i]++
				}
			}
		}
	}
	return barTrace{fmt.Sprintf("%s @%.0f/d", b.name, perDay), b.grid, thinned}
}

// rateClairvoyant is the cost of the best refreshes for somebody who knows the true intensity of thinned reads,
// but not the reads: the least that any policy can hope for.
func (s *scenario) rateClairvoyant(dense barTrace) float64 {
	rates := make([]float64, s.hi)
	p := sum(s.Reads) / sum(dense.reads[:s.hi])
	for i := range rates {
		rates[i] = dense.reads[i] * p
	}
	refreshes, _ := NewWorld(s.Grid, rates, nil, []float64{s.Cost}, s.Kappa).Clairvoyant(s.lo, s.hi)
	return s.costOf(refreshes)
}

// clockOfAuto is the clock that the optimizer would put in force at lo, and leave.
func (s *scenario) clockOfAuto() []int {
	known := s.History
	known.Reads = s.Reads[:s.lo]
	if s.Changes != nil {
		known.Changes = s.Changes[:s.lo]
	}
	clock := Schedule{Interval: s.interval}
	if choice, ok := known.study(Bounds{}).choose(Fixed, CalendarMode, Adaptive); ok {
		clock = choice.Schedule
	}
	return s.Refreshes(clock, Bounds{}, s.lo, s.hi)
}

func (s *scenario) costOf(refreshes []int) float64 { return s.world.Replay(refreshes, s.lo, s.hi).Cost }

// bars prints what was measured beside what was asked for.
type bars struct {
	t *testing.T
	w *tabwriter.Writer
}

func newBars(t *testing.T, title, header string) *bars {
	t.Helper()
	fmt.Printf("\n%s\n\n", title)
	b := &bars{t, tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)}
	b.row(strings.Fields(header)...)
	t.Cleanup(func() { _ = b.w.Flush() })
	return b
}

func (b *bars) row(cells ...string) { fmt.Fprintln(b.w, strings.Join(cells, "\t")+"\t") }

// most says whether a figure is within its bar.
func (b *bars) most(what string, got, bar float64) {
	b.verdict(what, got, bar, "<=", got <= bar)
}

func (b *bars) least(what string, got, bar float64) {
	b.verdict(what, got, bar, ">=", got >= bar)
}

func (b *bars) verdict(what string, got, bar float64, sign string, met bool) {
	_ = b.w.Flush()
	verdict := "met"
	if !met {
		verdict = "MISSED"
		b.t.Errorf("%s: %.3f, the bar is %s %.3f", what, got, sign, bar)
	}
	fmt.Printf("%-70s %8.3f  (bar %s %.3f) %s\n", what, got, sign, bar, verdict)
}

func percent(x float64) string { return fmt.Sprintf("%.1f", 100*x) }
func ratio(x float64) string   { return fmt.Sprintf("%.3f", x) }
