package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/web"
)

func TestATreeHoldsEveryViewAndExpandsEachOnce(t *testing.T) {
	t.Parallel()
	lines := treeOf(web.GraphPage{Views: []web.GraphView{
		{Name: "a", Reads: []string{"not yours"}}, {Name: "b", Reads: []string{"a"}}, {Name: "c", Reads: []string{"a", "b"}}, {Name: "d", Reads: []string{"c"}},
		{Name: "x", Reads: []string{"y", "x"}}, {Name: "y", Reads: []string{"x"}},
	}})
	var drawn []string
	for _, l := range lines {
		s := l.branch + l.Name
		if l.again {
			s += "!"
		}
		drawn = append(drawn, s)
	}
	require.Equal(t, []string{"a", "├─ b", "│  └─ c", "│     └─ d", "└─ c!", "x", "└─ y", "   └─ x!"}, drawn)
}
