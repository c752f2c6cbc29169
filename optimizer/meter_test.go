package optimizer

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// meterScene is a server with one view, relation 10, that reads table 20.
type meterScene struct {
	Sample
	meter Meter
}

func newMeterScene() *meterScene {
	s := &meterScene{Sample: Sample{
		At: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Epoch: "a", Workers: 2, Transactions: 1000,
		Relations: []RelationCounters{{View: 1, Relation: 10, Seq: 7, Tuples: 700, Rows: 100}},
		Sources:   []SourceCounters{{Relation: 20, File: 1, Writes: 50, Modified: 50}},
	}}
	s.take()
	return s
}

// take is a minute and a hundred transactions later.
func (s *meterScene) take() Metered {
	s.At = s.At.Add(time.Minute)
	s.Transactions += 100
	copied := s.Sample
	copied.Relations = append([]RelationCounters(nil), s.Relations...)
	copied.Sources = append([]SourceCounters(nil), s.Sources...)
	m := s.meter.Take(copied, map[int64][]uint32{1: {20}})
	s.Own, s.Doubtful = nil, nil
	return m[1]
}

func (s *meterScene) scan(n int64) { s.Relations[0].Seq += n; s.Relations[0].Tuples += 100 * n }

func TestTheFirstSampleTellsNothing(t *testing.T) {
	t.Parallel()
	s := newMeterScene()
	require.Equal(t, Metered{}, s.take())
	s.scan(3)
	s.Relations[0].Idx += 2
	require.InDelta(t, 5, s.take().Reads, 0)
}

func TestOurOwnScansAreNoReadsWheneverTheyAreReported(t *testing.T) {
	t.Parallel()
	own := []OwnScans{{Relation: 10, Seq: 2, Tuples: 200}}
	s := newMeterScene()
	s.Own = own
	s.scan(2 + 3)
	require.InDelta(t, 3, s.take().Reads, 0, "recorded and reported together")
	s.Own = own
	require.InDelta(t, 0, s.take().Reads, 0, "recorded first")
	s.scan(2 + 4)
	require.InDelta(t, 4, s.take().Reads, 0, "and reported later")
	s.Own = own
	for range 1 + ownSamples {
		s.take()
	}
	s.scan(5)
	require.InDelta(t, 5, s.take().Reads, 0, "what does not come within three samples is given up")
	s.Own = own
	s.take()
	s.At = s.At.Add(time.Hour)
	s.scan(2 + 4)
	require.InDelta(t, 4, s.take().Reads, 0, "however far apart they are")
	for range 10 { // within a minute
		s.Own = own
		s.take()
	}
	for range 10 {
		s.At = s.At.Add(5*time.Second - time.Minute)
		s.take()
	}
	s.scan(20 + 4)
	require.InDelta(t, 4, s.take().Reads, 0, "and for a minute")
}

func TestWorkersOfOurOwnParallelScansAreNoReads(t *testing.T) {
	t.Parallel()
	s := newMeterScene()
	s.Relations[0].Large = true
	s.Own = []OwnScans{{Relation: 10, Seq: 2, Tuples: 70}} // an index build by a leader and two workers, twice
	s.Relations[0].Seq += 6
	s.Relations[0].Tuples += 200
	require.Zero(t, s.take().Reads)
	s.Own = []OwnScans{{Relation: 10, Seq: 1, Tuples: 48}} // one worker only, and a read
	s.Relations[0].Seq += 2 + 1
	s.Relations[0].Tuples += 100 + 100
	require.InDelta(t, 1, s.take().Reads, 0)
	s.Own = []OwnScans{{Relation: 10, Seq: 1, Tuples: 100}} // no worker
	s.scan(1 + 2)
	require.InDelta(t, 2, s.take().Reads, 0)
	s.Relations[0].Rows = -1 // recorded before the relation was seen as the first fill left it
	s.Own = []OwnScans{{Relation: 10, Seq: 1, Tuples: 34}}
	require.Zero(t, s.take().Reads)
	s.Relations[0].Rows = 100
	s.Relations[0].Seq += 3 + 1 // and a worker that came too late to find a row
	s.Relations[0].Tuples += 100
	require.Zero(t, s.take().Reads)
}

func TestWhoMakesAnIndexOfWhatIsNotFilledReadsNothing(t *testing.T) {
	t.Parallel()
	s := newMeterScene()
	s.Relations[0].Rows, s.Relations[0].Large = -1, true
	s.Relations[0].Seq += 3
	require.Zero(t, s.take().Reads)
	s.scan(2) // it was filled, and has no index
	require.InDelta(t, 2, s.take().Reads, 0)
}

func TestWorkersOfAParallelScanAreNoReads(t *testing.T) {
	t.Parallel()
	s := newMeterScene()
	s.Relations[0].Large = true
	s.Relations[0].Seq += 3 * 4 // four scans by a leader and two workers each
	s.Relations[0].Tuples += 4 * 100
	require.InDelta(t, 4, s.take().Reads, 0)
	s.Relations[0].Seq += 5 // LIMIT: each a read
	s.Relations[0].Tuples += 5
	require.InDelta(t, 5.0/3, s.take().Reads, 1e-9, "no fewer than one in three")
}

func TestALoopOverAnIndexIsNoMoreReadsThanThereWereTransactions(t *testing.T) {
	t.Parallel()
	s := newMeterScene()
	s.Relations[0].Idx += 100_000
	require.InDelta(t, 100, s.take().Reads, 0)
}

func TestReadsThatAreReportedWhileRelationsAreLookedAtAreCounted(t *testing.T) {
	t.Parallel()
	s := newMeterScene()
	s.Relations[0].Idx += 300
	s.Later = s.Transactions + 350
	require.InDelta(t, 300, s.take().Reads, 0)
}

func TestWhatWasResetIsUnknownAndNotZero(t *testing.T) {
	t.Parallel()
	for name, reset := range map[string]func(*meterScene){
		"by hand":      func(s *meterScene) { s.Epoch = "b"; s.Relations[0].Seq = 0 },
		"by a crash":   func(s *meterScene) { s.Transactions = 3; s.Relations[0].Seq = 0 },
		"one relation": func(s *meterScene) { s.Relations[0].Seq = 1 },
		"our failure":  func(s *meterScene) { s.Doubtful = []int64{1} },
		"by its clock": func(s *meterScene) { s.At = s.At.Add(-time.Hour) },
	} {
		s := newMeterScene()
		s.scan(2)
		reset(s)
		m := s.take()
		require.True(t, math.IsNaN(m.Reads), name)
		require.NotEmpty(t, m.Why, name)
		s.scan(2)
		require.InDelta(t, 2, s.take().Reads, 0, name)
	}
}

func TestAReadOfAPartitionedTableIsOne(t *testing.T) {
	t.Parallel()
	s := newMeterScene()
	for r := uint32(11); r < 14; r++ {
		s.Relations = append(s.Relations, RelationCounters{View: 1, Relation: r})
	}
	require.InDelta(t, 0, s.take().Reads, 0, "new partitions")
	for i := range s.Relations {
		s.Relations[i].Idx += int64(2 * (i + 1)) // older ones are left out by some
	}
	require.InDelta(t, 8, s.take().Reads, 0)
}

func TestChangesAreWhatWasCommitted(t *testing.T) {
	t.Parallel()
	s := newMeterScene()
	source := &s.Sources[0]
	source.Writes, source.Modified = source.Writes+10, source.Modified+10
	require.InDelta(t, 10, s.take().Changes, 0)
	source.Writes += 777
	require.InDelta(t, 0, s.take().Changes, 0, "rolled back")
	source.Writes, source.Modified, source.Analyses = source.Writes+5, 0, source.Analyses+1
	require.InDelta(t, 5, s.take().Changes, 0, "analyzed, which hides what was modified")
	source.File++
	require.InDelta(t, 1, s.take().Changes, 0, "TRUNCATE")
	source.Writes = 0
	require.True(t, math.IsNaN(s.take().Changes), "reset")
	s.Sources = nil
	require.True(t, math.IsNaN(s.take().Changes), "dropped")
}

func TestCallsAreReadsAndScansAreWhatIsLeft(t *testing.T) {
	t.Parallel()
	known, unknown := Metered{Reads: 30, Changes: 1}, Metered{Reads: math.NaN(), Changes: math.NaN(), Why: "reset"}
	none := math.NaN()
	for i, c := range []struct {
		add     func(*Bin)
		reads   float64
		unknown time.Duration
	}{
		{func(b *Bin) { b.Add(known, none, 5*time.Minute) }, 30, 0},
		{func(b *Bin) { b.Add(known, 10, 5*time.Minute) }, 10, 0},
		{func(b *Bin) { b.Add(known, 0, 5*time.Minute) }, 30, 0}, // hidden in functions
		{func(b *Bin) { b.Add(unknown, 10, 5*time.Minute) }, 10, 0},
		{func(b *Bin) { b.Add(known, none, 3*time.Minute); b.Add(unknown, none, 2*time.Minute) }, 50, 2 * time.Minute},
		{func(b *Bin) { b.Add(known, none, 2*time.Minute); b.Add(unknown, none, 3*time.Minute) }, none, 3 * time.Minute},
		{func(b *Bin) { b.Add(known, none, 2*time.Minute) }, none, 0},
		{func(b *Bin) { // it began within the bin
			for range 3 {
				b.Add(known, none, time.Minute)
			}
		}, 150, 0},
	} {
		var b Bin
		c.add(&b)
		reads, _ := b.Counts(5*time.Minute, b.Reads(&Ratio{}))
		require.Equal(t, fmt.Sprint(c.reads), fmt.Sprint(reads), i)
		require.Equal(t, c.unknown, b.Unknown, i)
	}
	// Where calls were known for a while, scans stand for as many reads as then.
	var ratio Ratio
	var b Bin
	b.Add(known, 10, 5*time.Minute)
	b.Reads(&ratio)
	b = Bin{}
	b.Add(known, none, 5*time.Minute)
	require.InDelta(t, 10, b.Reads(&ratio), 0)
}

func TestReadsAddUpWhereverSamplesFallInTheirBins(t *testing.T) {
	t.Parallel()
	for _, spans := range [][]int{{5, 5, 5}, {4, 6, 5}, {6, 4, 5}, {4, 7, 4}} { // of a minute, in each of three bins
		var sum float64
		for _, n := range spans {
			var b Bin
			for range n {
				b.Add(Metered{Reads: 10, Changes: 1}, math.NaN(), time.Minute)
			}
			reads, changes := b.Counts(5*time.Minute, b.Reads(&Ratio{}))
			require.InDelta(t, reads, 10*changes, 1e-9)
			sum += reads
		}
		require.InDelta(t, 150, sum, 1e-9, "%v", spans)
	}
}

func TestCallsThatMayBeOfOtherTablesAreNoMoreReadsThanScans(t *testing.T) {
	t.Parallel()
	var b Bin
	b.Add(Metered{Reads: 2, Merged: true, Scans: 3}, 40, time.Minute)
	b.Add(Metered{Reads: math.NaN(), Merged: true, Scans: math.NaN()}, 4, time.Minute)
	require.Equal(t, 7.0, b.Reads(&Ratio{}))
	b.Add(Metered{Reads: 2}, 40, time.Minute)
	require.Equal(t, 47.0, b.Reads(&Ratio{}))
}
