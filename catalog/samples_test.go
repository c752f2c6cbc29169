package catalog

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCountsAreReadFromTheTextOfAnArray(t *testing.T) {
	t.Parallel()
	unknown := float32(math.NaN())
	for text, counts := range map[string]Counts{
		"{}": {}, "{7}": {7}, "{0,12,NULL}": {0, 12, unknown}, "{NULL,1.5,9999999,1e+06}": {unknown, 1.5, 9999999, 1e6},
		"{0.8333333,16777216,123456789,1e-45,-3}": {0.8333333, 16777216, 123456789, 1e-45, -3},
	} {
		c := Counts{5, 5}
		require.NoError(t, c.ScanBytes([]byte(text)), text)
		require.Equal(t, fmt.Sprint(counts), fmt.Sprint(c), text) // NaN is not itself
	}
	for _, text := range []string{"", "{", "}", "{1", "1}", "{1,}", "{,1}", "{1,,2}", "{{1}}", "{1;2}", "{1e99}", "{null}"} {
		require.Error(t, new(Counts).ScanBytes([]byte(text)), text)
	}
	require.Error(t, new(Counts).ScanBytes(nil))
}

func TestSamplesSinceAnInstantAreCutAtABin(t *testing.T) {
	t.Parallel()
	midnight := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	day := Samples{At: midnight, Width: 3600, Reads: make(Counts, 24), Changes: make(Counts, 24)}
	for after, hours := range map[time.Duration]int{-time.Hour: 24, 0: 24, time.Minute: 23, time.Hour: 23, 23 * time.Hour: 1, 24 * time.Hour: 0, 48 * time.Hour: 0} {
		s := day.since(midnight.Add(after))
		require.Len(t, s.Reads, hours, after)
		require.Len(t, s.Changes, hours)
		if hours > 0 {
			require.Equal(t, midnight.Add(24*time.Hour), s.At.Add(time.Duration(hours)*time.Hour), after)
		}
	}
}
