package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// Whatever is chosen, the oldest and the newest bucket are among it, nothing is compared twice, and all of it together
// leaves no gap.
func TestWhatIsVerifiedHasBothEndsAndNoGaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		buckets := make([]catalog.Bucket, rapid.IntRange(0, 50).Draw(r, "buckets"))
		var rows int64
		for n := range buckets {
			buckets[n] = catalog.Bucket{Label: fmt.Sprintf("%03d", n), Instant: time.Unix(int64(n), 0), Rows: rapid.Int64Range(1, spanRows*2).Draw(r, "rows")}
			rows += buckets[n].Rows
		}
		sample := rapid.IntRange(0, 60).Draw(r, "sample")
		spans := spansOf(buckets, sample, spanRows)
		whole := sample == 0 || sample >= len(buckets)
		compared, sum := 0, int64(0)
		for n, s := range spans {
			compared, sum = compared+s.Buckets, sum+s.Rows
			if n > 0 && whole {
				require.Equal(r, spans[n-1].Last, s.First)
			} else if n > 0 {
				require.LessOrEqual(r, spans[n-1].Last, s.First)
			}
			require.True(r, s.Buckets <= 1 || s.Rows <= spanRows)
		}
		require.Equal(r, "infinity", spans[len(spans)-1].Last)
		if whole || sample > 1 {
			require.Equal(r, "-infinity", spans[0].First)
		}
		if whole {
			require.Equal(r, len(buckets), compared)
			require.Equal(r, rows, sum)
		} else {
			require.Equal(r, sample, compared)
		}
	})
}
