package refresh

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestWhatHasComeBelowIsNewOrAnotherOneThanBefore(t *testing.T) {
	t.Parallel()
	leaf := func(kind, identity string) catalog.Leaf { return catalog.Leaf{Kind: kind, Identity: identity} }
	before := map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("r", "a"), 3: leaf("v", "a"), 4: leaf("r", "gone")}
	come := Come(before, map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("r", "b"), 3: leaf("v", "b"), 5: leaf("p", "new")})
	slices.Sort(come)
	require.Equal(t, []uint32{2, 5}, come)
	require.Len(t, Come(nil, before), 3, "at first everything but views")
}
