package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPauseGrowsWithinItsBoundsAndIsNeverTheSame(t *testing.T) {
	t.Parallel()
	for tries, middle := range []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond, 2 * time.Second, 2 * time.Second} {
		seen := map[time.Duration]bool{}
		for range 50 {
			pause := pauseAfter(tries)
			require.GreaterOrEqual(t, pause, middle/2)
			require.Less(t, pause, middle*3/2)
			seen[pause] = true
		}
		require.Greater(t, len(seen), 10)
	}
}
