package draw

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noon = time.Date(2027, 1, 2, 12, 0, 0, 0, time.UTC)

func at(minutes float64) time.Time { return noon.Add(time.Duration(minutes * float64(time.Minute))) }

func TestWhatIsReadStandsLeftOfWhatReadsItAndNoBoxesMeet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "n")
		nodes := make([]Node, n)
		for i := range nodes {
			nodes[i].Name = fmt.Sprint(i)
			for range rapid.IntRange(0, min(i, 3)).Draw(t, "reads") {
				nodes[i].Upstream = append(nodes[i].Upstream, fmt.Sprint(rapid.IntRange(0, i-1).Draw(t, "up")))
			}
		}
		g := Layers(nodes)
		require.Len(t, g.Boxes, n)
		for i, b := range g.Boxes {
			require.True(t, b.X >= 0 && b.Y >= 0 && b.X+b.W <= g.W && b.Y+b.H <= g.H, "%+v in %d x %d", b, g.W, g.H)
			for _, c := range g.Boxes[:i] {
				require.False(t, b.X < c.X+c.W && c.X < b.X+b.W && b.Y < c.Y+c.H && c.Y < b.Y+b.H, "%+v meets %+v", b, c)
			}
		}
		for _, e := range g.Edges {
			require.Less(t, e.X1, e.X2)
		}
		pages, lonely := Pages(nodes)
		count := len(lonely)
		for _, page := range pages {
			count += len(page)
		}
		require.Equal(t, n, count, "every view is on one page, or apart")
	})
}

func TestABoxIsAsWideAsTheLongestName(t *testing.T) {
	t.Parallel()
	for letters, room := range map[int]int{3: 25, 25: 25, 26: 26, 40: 40, 200: 50} {
		require.Equal(t, room, Layers([]Node{{Name: "x"}, {Name: strings.Repeat("ü", letters)}}).Boxes[0].Room())
	}
}

func TestTheDepthIsTheLongestWayAndACircleEnds(t *testing.T) {
	t.Parallel()
	g := Layers([]Node{{Name: "c", Upstream: []string{"a", "b"}}, {Name: "b", Upstream: []string{"a", "elsewhere"}}, {Name: "a"}})
	require.Equal(t, []int{2, 1, 0}, []int{g.Boxes[0].Depth, g.Boxes[1].Depth, g.Boxes[2].Depth})
	require.Len(t, g.Edges, 3)
	require.Len(t, Layers([]Node{{Name: "x", Upstream: []string{"y", "x"}}, {Name: "y", Upstream: []string{"x"}}}).Boxes, 2)
}

func TestConnectedViewsStayOnOnePage(t *testing.T) {
	t.Parallel()
	var nodes []Node
	for i := range 3 * nodesAPage {
		n := Node{Name: fmt.Sprint(i)}
		if i%3 != 0 {
			n.Upstream = []string{fmt.Sprint(i - 1)}
		}
		nodes = append(nodes, n)
	}
	pages, lonely := Pages(append(nodes, Node{Name: "alone", Upstream: []string{"gone"}}))
	require.Len(t, pages, 3)
	require.Equal(t, "alone", lonely[0].Name)
	require.Len(t, pages[0], nodesAPage)
}

func TestAroundAViewIsAllThatItReadsAndAllThatReadsIt(t *testing.T) {
	t.Parallel()
	nodes := []Node{{Name: "a"}, {Name: "b", Upstream: []string{"a"}}, {Name: "c", Upstream: []string{"b"}}, {Name: "sibling", Upstream: []string{"a"}}}
	var names []string
	for _, n := range Around(nodes, "b") {
		names = append(names, n.Name)
	}
	require.Equal(t, []string{"a", "b", "c"}, names)
	require.Nil(t, Around(nodes, "nix"))
}

func kinds(marks []Mark) (kinds []string) {
	for _, m := range marks {
		kinds = append(kinds, m.Kind)
	}
	return kinds
}

func TestARunIsItsTimeInTheQueueItsWorkAndItsWaits(t *testing.T) {
	t.Parallel()
	lane := Lane{Name: "v", Pauses: []Stretch{{at(-500), at(-90)}, {at(-30), at(-15)}}, Runs: []Run{
		{ID: 1, State: "succeeded", Queued: at(-60), Started: at(-59), Ended: at(-50), Tries: []Try{{"wait", Stretch{at(-58), at(-57)}}}},
		{ID: 2, State: "skipped", Queued: at(-20), Ended: at(-20)},
		{ID: 3, State: "running", Queued: at(-5), Started: at(-5)},
		{ID: 4, State: "succeeded", Queued: at(-300), Started: at(-300), Ended: at(-200)},
		{ID: 5, State: "queued", Queued: at(-1)},
		{ID: 6, State: "cancelled", Queued: at(-4), Ended: at(-3)},
	}}
	timeline := Lanes([]Lane{lane}, at(-60), at(0))
	marks := timeline.Rows[0].Marks
	require.Equal(t, []string{"pause", "queued", "succeeded", "wait", "skipped", "running", "queued", "queued", "cancelled"}, kinds(marks), "pauses are behind, what is outside is left out")
	require.Equal(t, Mark{ID: 1, Kind: "succeeded", X: 1.67, W: 15}, marks[2])
	require.Equal(t, 100.0, marks[5].X+marks[5].W, "a run under way reaches until now")
	require.Equal(t, Mark{ID: 2, Kind: "skipped", X: 66.67}, marks[4])
	require.Equal(t, "15%", marks[2].Width())
	require.Equal(t, "2", Mark{W: 0.01}.Width(), "what is short is seen all the same")
	require.Zero(t, Lanes(nil, at(-60), at(0)).Rows)
}

func TestTheAxisHasFewRoundInstants(t *testing.T) {
	t.Parallel()
	for _, minutes := range []float64{0, 0.5, 1, 60, 180, 1440, 10_000, 1e6} {
		ticks := scale{at(-minutes), at(0)}.ticks()
		require.LessOrEqual(t, len(ticks), ticksAtMost, minutes)
	}
	require.Equal(t, []Tick{{X: 16.67, Text: "11:10"}, {X: 33.33, Text: "11:20"}, {X: 50, Text: "11:30"}, {X: 66.67, Text: "11:40"}, {X: 83.33, Text: "11:50"}}, scale{at(-60), at(0)}.ticks())
}

func TestStalenessGrowsWithTheClockAndDropsWithEachRefresh(t *testing.T) {
	t.Parallel()
	p := Sawtooth([]Refresh{{At: at(-5), AsOf: at(-6)}, {At: at(-20), AsOf: at(-20)}}, 10*time.Minute, at(0))
	require.Equal(t, 15*time.Minute, p.Highest)
	require.Len(t, p.Lines, 4)
	require.False(t, p.Lines[0].Over)
	require.True(t, p.Lines[1].Over, "from the crossing on")
	require.Equal(t, p.TargetY, p.Lines[1].Y1)
	require.Equal(t, p.Lines[2].X1, p.Lines[2].X2, "a refresh drops it")
	require.Equal(t, 100.0, p.Lines[3].X2)
	for _, l := range p.Lines {
		require.True(t, l.Y1 >= 0 && l.Y1 <= staleH && l.Y2 >= 0 && l.Y2 <= staleH)
	}
	require.Empty(t, Sawtooth(nil, time.Hour, at(0)).Lines)
	require.Zero(t, Sawtooth([]Refresh{{at(0), at(0)}}, 0, at(0)).TargetY)
}

func TestBarsAreAsHighAsTheirValues(t *testing.T) {
	t.Parallel()
	bars := Bars([]Value{{V: 10}, {V: 5}, {V: -1}, {V: 0}})
	require.Equal(t, []float64{68, 34, 3, 3}, []float64{bars[0].H, bars[1].H, bars[2].H, bars[3].H})
	for _, b := range bars {
		require.InDelta(t, barsH, b.Y+b.H, 0.01)
	}
	require.Empty(t, Bars(nil))
}

func TestAWeekIsDrawnByItsHours(t *testing.T) {
	t.Parallel()
	var reads [168]float64
	reads[0], reads[167], reads[25] = 1920, 0.5, -1
	w := Hours(reads, "reads")
	require.Len(t, w.Cells, 168)
	require.Equal(t, "1920", w.Most)
	require.Equal(t, []float64{1, 0, -1}, []float64{w.Cells[0].Share, w.Cells[1].Share, w.Cells[25].Share})
	require.Equal(t, "Mon 00:00: 1920 reads", w.Cells[0].Title)
	require.Equal(t, "Sun 23:00: 0.5 reads", w.Cells[167].Title)
	require.Equal(t, "Tue 01:00: not known", w.Cells[25].Title)
	for _, c := range w.Cells {
		require.True(t, c.X >= 0 && c.X+c.W <= 100 && c.Y >= 0 && c.Y+weekRow <= float64(w.H), "%+v", c)
	}
	require.Equal(t, "0", Hours([168]float64{}, "reads").Most)
}
