package catalog

import (
	"math"
	"testing"

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
