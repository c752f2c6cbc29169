package refresh

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
)

func TestTrackingIsChosenByWhatTriggersSee(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		asked                 string
		leaf                  catalog.Leaf
		tracking, reason, err string
	}{
		"triggers there":    {"auto", catalog.Leaf{Kind: "r", Covered: true}, ByTrigger, "changes are noted by triggers", ""},
		"triggers allowed":  {ByTrigger, catalog.Leaf{Kind: "p", Trackable: true}, ByTrigger, "", ""},
		"not allowed":       {"auto", catalog.Leaf{Kind: "r"}, ByCounters, "role alice may not make triggers on sales", ""},
		"asked for":         {ByTrigger, catalog.Leaf{Kind: "r"}, "", "", "GRANT TRIGGER ON sales TO alice"},
		"a part":            {"auto", catalog.Leaf{Kind: "r", Covered: true, Trackable: true, Hidden: true}, ByCounters, "through the table of which sales is a part", ""},
		"a part, asked":     {ByTrigger, catalog.Leaf{Kind: "r", Trackable: true, Hidden: true}, "", "", "take counters"},
		"a far part":        {"auto", catalog.Leaf{Kind: "p", Covered: true, Trackable: true, Far: true}, ByCounters, "would keep foreign tables that are parts of sales from being written to", ""},
		"a far part, asked": {ByTrigger, catalog.Leaf{Kind: "p", Trackable: true, Far: true}, "", "", "take counters"},
		"counters":          {ByCounters, catalog.Leaf{Kind: "r"}, ByCounters, "", ""},
		"made, yet off":     {"auto", catalog.Leaf{Kind: "r", Trackable: true}, ByCounters, "ALTER TABLE sales ENABLE TRIGGER USER", ""},
		"made, asked":       {ByTrigger, catalog.Leaf{Kind: "r", Trackable: true}, "", "", "ALTER TABLE sales ENABLE TRIGGER USER"},
		"made":              {"auto", catalog.Leaf{Kind: "r", Trackable: true, Covered: true}, ByTrigger, "changes are noted by triggers", ""},
		"a view between":    {"auto", catalog.Leaf{Kind: "v"}, ByTrigger, "changes are noted by triggers", ""},
	} {
		c.leaf.Name = "sales"
		tracking, reason, err := ChooseTracking(c.asked, "alice", map[uint32]catalog.Leaf{1: c.leaf}, strings.HasPrefix(name, "made"))
		require.Equal(t, c.tracking, tracking, name)
		if c.reason != "" {
			require.Contains(t, reason, c.reason, name)
		}
		if c.err != "" {
			require.ErrorContains(t, err, c.err, name)
			require.Contains(t, Advice(Classify(err), SQLState(err), err), "change_tracking", name)
		} else {
			require.NoError(t, err, name)
		}
	}
}
