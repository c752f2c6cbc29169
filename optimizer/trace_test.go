package optimizer

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func readTestTrace(t testing.TB, name string) Trace {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".csv.gz"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	trace, err := ReadTrace(f)
	require.NoError(t, err)
	return trace
}

// records are the lines of a CSV file under testdata by column name.
func records(t testing.TB, name string) []map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	lines, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	var out []map[string]string
	for _, line := range lines[1:] {
		record := map[string]string{}
		for i, field := range line {
			record[lines[0][i]] = field
		}
		out = append(out, record)
	}
	return out
}

func number(t testing.TB, text string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return x
}

func TestTheFiguresAreThoseOfTheReferenceSimulator(t *testing.T) {
	t.Parallel()
	for _, r := range records(t, "reference.csv") {
		sim := Simulation{
			Reads: readTestTrace(t, r["reads"]), RefreshCost: 30 * time.Second,
			Target: seconds(number(t, r["target_seconds"])), Policies: []string{r["policy"]},
		}
		if r["changes"] != "" {
			changes := readTestTrace(t, r["changes"])
			sim.Changes = &changes
		}
		report, err := Simulate(t.Context(), sim)
		require.NoError(t, err)
		got := report.Results[0]
		require.InEpsilon(t, number(t, r["cost_j"]), got.Cost, 1e-6, "%v", r)
		require.InEpsilon(t, number(t, r["mean_age_seconds"]), got.MeanAge, 1e-6, "%v", r)
		require.InDelta(t, number(t, r["p95_age_seconds"]), got.P95Age, 1e-6, "%v", r)
		require.Equal(t, r["refreshes"], strconv.Itoa(got.Refreshes), "%v", r)
	}
}

func TestTheGeneratorGivesTheNumbersOfPython(t *testing.T) {
	t.Parallel()
	m := newMersenne(1)
	for _, want := range []int{1, 4, 0, 2, 0, 3, 3, 3, 5, 3} {
		require.Equal(t, want, m.below(6))
	}
	m = newMersenne(7)
	for _, want := range []float64{0.32383276483316237, 0.15084917392450192, 0.6509344730398537} {
		require.Equal(t, want, m.float())
	}
	for _, want := range []float64{1.112914852545535, 0.5446590190449835, -0.22972548234202542} {
		require.InDelta(t, want, m.normal(), 1e-15)
	}
}

func counts(t *testing.T, text string, width time.Duration) (int64, []float64) {
	t.Helper()
	trace, err := ReadTrace(strings.NewReader(text))
	require.NoError(t, err)
	start, counts := trace.Counts(width)
	return start.Unix(), counts
}

func TestATraceIsBinnedOrSpread(t *testing.T) {
	t.Parallel()
	start, got := counts(t, "t,count\n600,2\n660,3\n720,1\n900,0\n1500,4\n", 5*time.Minute)
	require.EqualValues(t, 600, start)
	require.Equal(t, []float64{6, 0, 0, 4}, got, "finer bins are added up")

	start, got = counts(t, "t\n1501\n700\n 701 \n\n", 5*time.Minute)
	require.EqualValues(t, 600, start)
	require.Equal(t, []float64{2, 0, 0, 1}, got, "events may come in any order")

	_, got = counts(t, "t,count\n0,302\n900,0\n1800,450\n", 5*time.Minute)
	require.Equal(t, []float64{101, 101, 100, 0, 0, 0, 150, 150, 150}, got, "busy bins are spread evenly")

	_, got = counts(t, "t,count\n0,7\n1800,8\n3600,9\n", 5*time.Minute)
	var sum float64
	for _, n := range got {
		sum += n
	}
	require.Equal(t, 24.0, sum, "sparse ones at random, and nothing is lost")

	_, before := counts(t, "t\n-1\n1\n", time.Minute)
	require.Equal(t, []float64{1, 1}, before, "before 1970 too")
}

func TestATraceMayBeCompressed(t *testing.T) {
	t.Parallel()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write([]byte("t\n1\n2\n"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	trace, err := ReadTrace(bytes.NewReader(zipped.Bytes()))
	require.NoError(t, err)
	require.Len(t, trace.points, 2)

	_, err = ReadTrace(bytes.NewReader(zipped.Bytes()[:zipped.Len()-9]))
	require.Error(t, err, "a truncated file is noticed")
}

func TestATraceThatCannotBeMeantIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	for text, complaint := range map[string]string{
		"":                             "header",
		"time,n\n1,2\n":                "header",
		"t\n":                          "empty",
		"t,count\n1\n":                 "line 2",
		"t,count\n1,2,3\n":             "line 2",
		"t,count\n1,2\nx,2\n":          "line 3",
		"t,count\n2026-01-01,2\n":      "line 2 of a trace: the time \"2026-01-01\" is no number of a sensible size: it is in epoch seconds, such as 1767225600",
		"t,count\n1,-2\n":              "negative",
		"t,count\n1,NaN\n":             "count",
		"t\n1e300\n":                   "sensible",
		"t\n1\n1700000000\n":           "really in seconds",
		"t\n1\n1700000000000\n":        "really in seconds",
		"t,count\n1,99999999999999999": "sensible",
	} {
		_, err := ReadTrace(strings.NewReader(text))
		require.ErrorContains(t, err, complaint, "%q", text)
	}
	var file bytes.Buffer
	zipped := gzip.NewWriter(&file)
	_, err := zipped.Write([]byte("t,count\n1,2\n86400,"))
	require.NoError(t, err)
	require.NoError(t, zipped.Flush())
	_, err = ReadTrace(&file)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a file that was cut off, not its last line")
}

func TestASimulationThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	good := Simulation{Reads: readTestTrace(t, "office_5min"), RefreshCost: time.Second, Target: time.Hour}
	for complaint, spoil := range map[string]func(*Simulation){
		"unknown policy": func(s *Simulation) { s.Policies = []string{"none"} },
		"positive":       func(s *Simulation) { s.RefreshCost = 0 },
		"minute":         func(s *Simulation) { s.Target = time.Second },
		"no reads":       func(s *Simulation) { s.Reads = Trace{} },
		"too short":      func(s *Simulation) { s.Span = time.Minute },
	} {
		sim := good
		spoil(&sim)
		_, err := Simulate(t.Context(), sim)
		require.ErrorContains(t, err, complaint)
	}
}

func TestChangesFromAnotherTimeKeepTheirHourOfTheWeek(t *testing.T) {
	t.Parallel()
	monday := int64(1735516800)
	reads := newTestTrace(monday, 35*288)
	var text strings.Builder
	text.WriteString("t\n")
	for week := range int64(3) { // years before, every Wednesday at 10:00
		text.WriteString(strconv.FormatInt(monday-520*7*86400+week*7*86400+2*86400+10*3600, 10) + "\n")
	}
	changes, err := ReadTrace(strings.NewReader(text.String()))
	require.NoError(t, err)
	s, report, err := Simulation{Reads: reads, Changes: &changes, RefreshCost: time.Second, Target: time.Hour}.scenario()
	require.NoError(t, err)
	require.Len(t, report.Notes, 1)
	for bin, n := range s.Changes {
		if n > 0 {
			require.Equal(t, 2*24+10, s.Grid.hourOfWeek(bin))
		}
	}
}

// newTestTrace has one read in each of n bins of five minutes.
func newTestTrace(start int64, n int) Trace {
	t := Trace{step: 5 * time.Minute}
	for i := range n {
		t.points = append(t.points, point{start + int64(i)*300, 1})
	}
	return t
}

func TestARecordedTraceKeepsPartsOfReadsAndWhatIsUnknownChanged(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	h := History{Grid: fiveMinutes(), Reads: make([]float64, 288), Changes: make([]float64, 288)}
	for i := range h.Reads { // of rare reads only the hour is known
		h.Reads[i], h.Changes[i] = 2./12, 1./12
	}
	copy(h.Reads[12:], []float64{nan, nan, nan})
	copy(h.Changes[24:], []float64{nan, nan, nan})
	reads, changes, err := h.Trace()
	require.NoError(t, err)
	start, of := reads.Counts(5 * time.Minute)
	require.Equal(t, h.Grid.Start, start)
	require.Len(t, of, 288)
	require.InDelta(t, 48-3*2./12, sum(of), 1)
	_, of = changes.Counts(5 * time.Minute)
	require.InDelta(t, 24+3*11./12, sum(of), 1)
	require.InDelta(t, 3, sum(of[24:27]), 0)
	h.Changes = nil
	_, changes, err = h.Trace()
	require.NoError(t, err)
	require.Nil(t, changes)
}

func TestASimulationOfATimeInWhichNobodyReadSaysSo(t *testing.T) {
	t.Parallel()
	trace, err := ReadTrace(strings.NewReader("t,count\n600,5\n900,3\n864000,0\n"))
	require.NoError(t, err)
	report, err := Simulate(t.Context(), Simulation{Reads: trace, RefreshCost: time.Minute, Policies: []string{"fixed"}})
	require.NoError(t, err)
	require.Zero(t, report.Reads)
	require.Contains(t, strings.Join(report.Notes, "; "), "nobody read in the time that is judged")
}
