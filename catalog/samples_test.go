package catalog

import (
	"math"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
)

func TestCountsAreReadFromWhatTheServerSendsOfAnArray(t *testing.T) {
	t.Parallel()
	array, err := pgtype.NewMap().Encode(pgtype.Float4ArrayOID, pgtype.BinaryFormatCode, []*float32{new(float32(1.5)), nil, new(float32(0))}, nil)
	require.NoError(t, err)
	var c Counts
	require.NoError(t, c.ScanBytes(array))
	require.Len(t, c, 3)
	require.Equal(t, []float32{1.5, 0}, []float32{c[0], c[2]})
	require.True(t, math.IsNaN(float64(c[1])), "NULL is unknown")
	for n := range array {
		require.Error(t, c.ScanBytes(array[:n]), "cut off after %d bytes", n)
	}
	require.Error(t, c.ScanBytes(nil))
	empty, err := pgtype.NewMap().Encode(pgtype.Float4ArrayOID, pgtype.BinaryFormatCode, []float32{}, nil)
	require.NoError(t, err)
	require.NoError(t, c.ScanBytes(empty))
	require.Empty(t, c)
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
