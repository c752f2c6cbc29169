package integration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// columnOf is one column of a table that was printed, in lines; its first line is the title.
func columnOf(table string, from, to string) []string {
	lines := strings.Split(strings.TrimRight(table, "\n"), "\n")
	head := []rune(lines[0])
	start, end := len([]rune(lines[0][:strings.Index(lines[0], from)])), len(head)
	if to != "" {
		end = len([]rune(lines[0][:strings.Index(lines[0], to)]))
	}
	var cells []string
	for _, line := range lines {
		runes := []rune(line)
		cells = append(cells, strings.TrimRight(string(runes[min(start, len(runes)):min(end, len(runes))]), " "))
	}
	return cells
}

func TestTheGraphIsATreeOfWhatReadsWhat(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, v := range [][2]string{
		{"base", `SELECT id, amount FROM sales`}, {"east", `SELECT id, amount FROM base`}, {"west", `SELECT id FROM base`},
		{"joined", `SELECT id FROM east JOIN west USING (id)`}, {"top", `SELECT count(*) AS n FROM joined`}, {"lonely", `SELECT 1 AS a`},
	} {
		s.manage(t, s.owner+"."+v[0], v[1])
	}
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('lonely')`)
	name := func(view string) string { return s.owner + "." + view }
	graph := func(code int, args ...string) result {
		r := mvscheduler(t, s.db, s.owner, "", append([]string{"graph"}, args...)...)
		require.Equal(t, code, r.code, r.stderr)
		return r
	}
	all := graph(0).stdout
	require.Equal(t, []string{
		"VIEW",
		name("base"),
		"├─ " + name("east"),
		"│  └─ " + name("joined"),
		"│     └─ " + name("top"),
		"└─ " + name("west"),
		"   └─ " + name("joined") + " (see above)",
		name("lonely"),
	}, columnOf(all, "VIEW", "FRESHNESS"))
	require.Contains(t, columnOf(all, "FRESHNESS", "ACTIVITY")[1], "∅ never")
	require.Equal(t, "‖ paused", columnOf(all, "ACTIVITY", "LAG")[7])

	require.Equal(t, []string{"VIEW", name("base"), "└─ " + name("east"), "   └─ " + name("joined"), "      └─ " + name("top")},
		columnOf(graph(0, "east").stdout, "VIEW", "FRESHNESS"), "what it reads and what reads it, by the name as the search_path finds it")
	require.Equal(t, []string{"VIEW", name("lonely")}, columnOf(graph(0, s.owner+".lonely").stdout, "VIEW", "FRESHNESS"))

	missing := graph(3, "nowhere.joined")
	require.Contains(t, missing.stderr, "Did you mean "+name("joined"))

	at := startSidecar(t, s.db)
	until(t, s.alice, `SELECT bool_and(freshness = 'fresh' OR activity = 'paused') FROM mvscheduler.status`)
	type view struct {
		Name, Freshness, Activity string
		Reads                     []string
	}
	var page, printed struct{ Views []view }
	code, body := at.get("/api/v1/graph")
	require.Equal(t, 200, code)
	require.NoError(t, json.Unmarshal([]byte(body), &page))
	require.NoError(t, json.Unmarshal([]byte(graph(0, "-o", "json").stdout), &printed))
	require.Len(t, printed.Views, 6)
	require.Equal(t, page, printed)
	require.NoError(t, json.Unmarshal([]byte(graph(0, "east", "-o", "json").stdout), &printed))
	require.Len(t, printed.Views, 4)
	require.Contains(t, graph(0, "-o", "csv").stdout, "name,freshness,activity,lag_seconds,target_seconds,reads\n")
	require.Contains(t, graph(0, "-o", "yaml").stdout, "- name: "+name("base"))
}

func TestTheGraphOfNothingSaysHowToBegin(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := mvscheduler(t, s.db, s.owner, "", "graph")
	require.Zero(t, r.code)
	require.Contains(t, r.stderr, "mvscheduler create --help")
	require.JSONEq(t, `{"views": []}`, mvscheduler(t, s.db, s.owner, "", "graph", "-o", "json").stdout)
}
