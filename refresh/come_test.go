package refresh

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestWhatHasComeBelowIsNewOrAnotherOneThanBefore(t *testing.T) {
	t.Parallel()
	leaf := func(kind, identity string) Leaf { return catalog.Leaf{Kind: kind, Identity: identity} }
	before := map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "a"), 3: leaf("r", "gone")}
	for name, c := range map[string]struct {
		after map[uint32]Leaf
		come  bool
	}{
		"the same":            {map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "a")}, false},
		"a partition is new":  {map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "a"), 4: leaf("p", "")}, true},
		"a table is another":  {map[uint32]Leaf{1: leaf("r", "b"), 2: leaf("v", "a")}, true},
		"a view was replaced": {map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "b")}, true},
	} {
		require.Equal(t, c.come, Come(before, c.after), name)
	}
	require.True(t, Come(nil, before), "at first everything")
}
