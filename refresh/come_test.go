package refresh

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestWhatIsBelowIsOtherWhereSomethingIsNewOrGoneOrAnotherOne(t *testing.T) {
	t.Parallel()
	leaf := func(kind, identity string) Leaf { return catalog.Leaf{Kind: kind, Identity: identity} }
	before := map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "a")}
	for name, c := range map[string]struct {
		after                  map[uint32]Leaf
		other, views, replaced bool
	}{
		"the same":            {map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "a")}, false, false, false},
		"a partition is new":  {map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "a"), 4: leaf("p", "")}, true, false, false},
		"a table is another":  {map[uint32]Leaf{1: leaf("r", "b"), 2: leaf("v", "a")}, true, false, false},
		"a partition is gone": {map[uint32]Leaf{2: leaf("v", "a")}, true, false, false},
		"a view was replaced": {map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "b")}, true, true, true},
		"a view has come":     {map[uint32]Leaf{1: leaf("r", "a"), 2: leaf("v", "a"), 5: leaf("v", "a")}, true, true, true},
		"the views are gone":  {map[uint32]Leaf{1: leaf("r", "a")}, true, true, true},
		"everything at first": {nil, true, true, true},
	} {
		require.Equal(t, c.other, Changed(before, c.after), name)
		require.Equal(t, c.other, Changed(c.after, before), name)
		require.Equal(t, c.views, OtherViews(before, c.after), name)
		require.Equal(t, c.replaced, Replaced(before, c.after), name)
	}
	none := map[uint32]Leaf{1: leaf("r", "a")}
	require.True(t, Replaced(none, none), "of which nothing is known")
	require.False(t, OtherViews(none, none))
}
