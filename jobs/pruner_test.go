package jobs

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The owner of a target decides how long it takes to look at it, by what is built upon it. It is not for others to wait for.
func TestTargetsThatTakeLongToLookAtKeepNoOtherFromBeingLookedAt(t *testing.T) {
	t.Parallel()
	costs := map[int64]time.Duration{1: 30 * time.Second, 2: 30 * time.Second, 3: 20 * time.Second, 4: 30 * time.Second}
	for cheap := range int64(20) {
		costs[100+cheap] = 50 * time.Millisecond
	}
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	looks := make(map[int64]int)
	order := make(turns)
	const rounds = 40
	for round := range rounds {
		var ids []int64
		for id := range costs {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		began := clock
		require.NoError(t, order.each(ids, func() time.Time { return clock }, func(id int64) error {
			looks[id]++
			clock = clock.Add(costs[id])
			return nil
		}))
		require.Less(t, clock.Sub(began), 2*pruneRound)
		for id := range costs {
			if id >= 100 && round > 4 { // by then it is known what each takes
				require.GreaterOrEqual(t, looks[id], round-4, "round %d, target %d", round, id)
			}
		}
	}
	for id := range costs {
		require.GreaterOrEqual(t, looks[id], rounds/8, "target %d has its turn, too", id)
	}
}
