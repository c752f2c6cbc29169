package main

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestTheReportSaysWhatWasSpentBeforeAndAfterAChangeAndWhatThatSaved(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	s := catalog.Spent{ViewID: 7, ViewName: "app.v", Timezone: "UTC", ChangedAt: new(start.AddDate(0, 0, 4)), AsOf: start.AddDate(0, 0, 8)}
	early := start.Add(-time.Minute) // before anything was sampled: it does not count
	s.Began, s.Took, s.WAL, s.Sizes = []time.Time{early}, []float64{1000}, []int64{1 << 20}, []int64{9000}
	var samples []catalog.Samples
	for hour := range 8 * 24 {
		at := start.Add(time.Duration(hour) * time.Hour)
		reads, changes := make(catalog.Counts, 12), make(catalog.Counts, 12)
		for i := range reads {
			reads[i], changes[i] = 1, 1
		}
		samples = append(samples, catalog.Samples{ViewID: 7, At: at, Width: 300, Reads: reads, Changes: changes})
		switch {
		case hour < 4*24:
			s.Began, s.Took, s.WAL, s.Sizes = append(s.Began, at), append(s.Took, 10), append(s.WAL, 1000), append(s.Sizes, 5000)
		case hour%2 == 0:
			s.Began, s.Took, s.WAL, s.Sizes = append(s.Began, at), append(s.Took, 25), append(s.WAL, 100), append(s.Sizes, 2000)
		}
	}
	s.Pruned, s.PrunedBytes = []time.Time{start.AddDate(0, 0, 5)}, []int64{3000}
	lines := reportOf(s, samples)
	require.Len(t, lines, 2)
	before, after := lines[0], lines[1]
	require.Equal(t, []any{"before", 24., 240., int64(24000), int64(5000), int64(0)}, []any{before.Period, before.Refreshes, before.RefreshSeconds, before.WALBytes, *before.SizeBytes, before.PrunedBytes}, "of its own refreshes")
	require.Equal(t, []any{"after", 12., 300., int64(1200), int64(2000), int64(3000)}, []any{after.Period, after.Refreshes, after.RefreshSeconds, after.WALBytes, *after.SizeBytes, after.PrunedBytes})
	require.Greater(t, *after.MeanAge, *before.MeanAge)
	require.Nil(t, before.Saved)
	require.Equal(t, saved{RefreshSeconds: -60, WALBytes: 22800, SizeBytes: new(int64(3000))}, *after.Saved)
	require.Equal(t, "-1m 00s and 22.3 kB WAL a day, 2.9 kB", after.Saved.words())

	// A run that waited long may begin after one that was due later.
	s.Began[0], s.Began[len(s.Began)-1] = s.Began[len(s.Began)-1], s.Began[0]
	s.Took[0], s.Took[len(s.Took)-1] = s.Took[len(s.Took)-1], s.Took[0]
	require.Equal(t, *after.MeanAge, *reportOf(s, samples)[1].MeanAge)

	// All refreshes of five minutes count for how old data was.
	began, changes := s.Began, make(catalog.Counts, 12)
	for i := range changes {
		changes[i] = 100
	}
	s.Began = nil
	for minute := range 8 * 24 * 60 {
		s.Began = append(s.Began, start.Add(time.Duration(minute)*time.Minute))
	}
	s.Took, s.WAL, s.Sizes = make([]float64, len(s.Began)), make([]int64, len(s.Began)), make([]int64, len(s.Began))
	often := slices.Clone(samples)
	for i := range often {
		often[i].Changes = changes
	}
	require.InDelta(t, 27, *reportOf(s, often)[0].MeanAge, 1)
	require.InDelta(t, 27, *reportOf(s, often)[0].P95Age, 3)
	s.Began, s.Took, s.WAL, s.Sizes = began, make([]float64, len(began)), make([]int64, len(began)), make([]int64, len(began))

	// Until a refresh is over readers see what was there before it.
	at := *reportOf(s, samples)[0].MeanAge
	for i := range s.Took {
		s.Took[i] = 20 * 60
	}
	require.InDelta(t, at+20*60, *reportOf(s, samples)[0].MeanAge, 20)
	s.Took = make([]float64, len(began))

	// Five minutes say nothing of a day.
	s.ChangedAt = new(s.AsOf.Add(-5 * time.Minute))
	require.Nil(t, reportOf(s, samples)[1].Saved)
	s.ChangedAt = new(start.AddDate(0, 0, 4))

	s.Began, s.Took, s.WAL, s.Sizes = nil, nil, nil, nil
	lines = reportOf(s, samples)
	require.Nil(t, lines[1].Saved, "runs of that time are not kept any more")
	require.Nil(t, lines[1].SizeBytes)
}

func TestTheReportSaysWhatAllRefreshesTakeOfTheirBudget(t *testing.T) {
	t.Parallel()
	lines := []reported{{Period: "before", Days: 3, RefreshSeconds: 10000}, {Period: "after", Days: 3, RefreshSeconds: 864}, {Period: "all", Days: 14, RefreshSeconds: 432}, {Period: "all", Days: 0.1, RefreshSeconds: 50000}}
	require.Equal(t, "refreshes of 2 views take 21m 36s a day, 1.5 % of one backend; settings.optimizer_budget plans 10 % for those with an interval", spentWords(lines, 0.1))
	require.Empty(t, spentWords(lines[3:], 0.1))
}
