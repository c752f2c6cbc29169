package demo

import (
	"bytes"
	"encoding/csv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheSampleIsInOrderOfDepartureAndNamesOnlyKnownAirports(t *testing.T) {
	t.Parallel()
	airports, err := csv.NewReader(bytes.NewReader(airportsCSV)).ReadAll()
	require.NoError(t, err)
	known := map[string]bool{}
	for _, a := range airports[1:] {
		known[a[0]] = true
	}
	require.Len(t, known, 15)

	flights, err := OpenFlights()
	require.NoError(t, err)
	history, before, err := flights.TakeBefore(historyEnd)
	require.NoError(t, err)
	rest, after, err := flights.Take(2 * Total)
	require.NoError(t, err)
	require.Equal(t, Total, before+after)
	require.Greater(t, before, 50_000)

	rows, err := csv.NewReader(bytes.NewReader(append(history, rest...))).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, Total)
	last := ""
	for i, row := range rows {
		require.LessOrEqual(t, last, row[0])
		require.Equal(t, i < before, row[0] < historyEnd)
		require.True(t, known[row[3]] && known[row[4]], "row %d: %v", i, row)
		last = row[0]
	}
}

func TestTheSampleStaysSmall(t *testing.T) {
	t.Parallel()
	require.Less(t, len(flightsGz)+len(airportsCSV), 2<<20)
}

func TestAFeedGoesOnAfterWhatWasTaken(t *testing.T) {
	t.Parallel()
	whole, err := OpenFlights()
	require.NoError(t, err)
	want, _, err := whole.Take(100)
	require.NoError(t, err)

	parts, err := OpenFlights()
	require.NoError(t, err)
	var got []byte
	for range 10 {
		lines, n, err := parts.Take(10)
		require.NoError(t, err)
		require.Equal(t, 10, n)
		got = append(got, lines...)
	}
	require.Equal(t, string(want), string(got))
}
