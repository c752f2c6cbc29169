package words

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSpanHasTwoUnitsAtMost(t *testing.T) {
	t.Parallel()
	for d, says := range map[time.Duration]string{
		0: "0 s", 40 * time.Microsecond: "1 ms", 38400 * time.Microsecond: "38 ms", 440 * time.Millisecond: "0.4 s", time.Second: "1 s", 12500 * time.Millisecond: "12 s",
		303 * time.Second: "5m 03s", 125 * time.Minute: "2h 05m", 76 * time.Hour: "3d 04h", -38 * time.Millisecond: "-38 ms",
		math.MaxInt64: "106751d 23h", math.MinInt64: "-106751d 23h",
	} {
		require.Equal(t, says, Span(d), d.String())
	}
}

func TestAnInstantThatSomebodyMadeUpHasWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	require.Equal(t, "in 106751d 23h", Ago(now.AddDate(18000, 0, 0), now))
	require.Equal(t, "106751d 23h ago", Ago(now.AddDate(-6000, 0, 0), now))
}
