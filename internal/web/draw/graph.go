package draw

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// Node is a view of the graph. Upstream are the names of the nodes that it reads; names that are no nodes are left out.
type Node struct {
	Name     string
	Upstream []string
}

// Box is a node in its place, in pixels.
type Box struct {
	Name       string
	X, Y, W, H int
	Depth      int // 0 reads no other node
}

// Room is how many letters of its name a box has room for.
func (b Box) Room() int { return (b.W - boxEdges) / boxLetter }

// boxWidth is that of all boxes: the longest name fits, unless it is very long.
func boxWidth(nodes []Node) int {
	longest := 0
	for _, n := range nodes {
		longest = max(longest, utf8.RuneCountInString(n.Name))
	}
	return min(max(boxEdges+boxLetter*longest, boxLeast), boxMost)
}

// Edge leads from the box that is read to the one that reads it, as a cubic curve.
type Edge struct {
	From, To       string
	X1, Y1, X2, Y2 int
	Bend           int // x of both control points
}

// Graph is a picture of views in layers: what is read stands left of what reads it.
type Graph struct {
	W, H  int
	Boxes []Box
	Edges []Edge
}

const (
	boxH         = 66
	boxLeast     = 236 // wide
	boxMost      = 436
	boxEdges     = 36 // of the width that a name does not have
	boxLetter    = 8  // pixels
	gapX, gapY   = 72, 18
	graphMargin  = 8
	graphSweeps  = 4   // passes that bring boxes close to what they read
	nodesAPage   = 120 // a picture with more of them shows nobody anything
	noDepthKnown = -1
)

// Layers places the nodes. The depth of a node is the length of the longest way down from it. Nodes of a circle, which
// PostgreSQL does not allow, are placed all the same.
func Layers(nodes []Node) Graph {
	index := indexOf(nodes)
	depth := depths(nodes, index)
	layers := make([][]int, 1)
	for i, d := range depth {
		for len(layers) <= d {
			layers = append(layers, nil)
		}
		layers[d] = append(layers[d], i)
	}
	place := order(nodes, index, layers)

	boxW, tallest := boxWidth(nodes), 0
	for _, layer := range layers {
		tallest = max(tallest, len(layer))
	}
	height := func(n int) int { return max(0, n*(boxH+gapY)-gapY) }
	g := Graph{H: 2*graphMargin + height(tallest), W: 2*graphMargin + len(layers)*(boxW+gapX) - gapX}
	for i, n := range nodes {
		d := depth[i]
		g.Boxes = append(g.Boxes, Box{
			Name: n.Name, Depth: d, W: boxW, H: boxH,
			X: graphMargin + d*(boxW+gapX),
			Y: graphMargin + (height(tallest)-height(len(layers[d])))/2 + place[i]*(boxH+gapY),
		})
	}
	for i, n := range nodes {
		for _, up := range n.Upstream {
			u, known := index[up]
			if !known || u == i {
				continue
			}
			from, to := g.Boxes[u], g.Boxes[i]
			e := Edge{From: up, To: n.Name, X1: from.X + boxW, Y1: from.Y + boxH/2, X2: to.X, Y2: to.Y + boxH/2}
			e.Bend = (e.X1 + e.X2) / 2
			g.Edges = append(g.Edges, e)
		}
	}
	return g
}

func indexOf(nodes []Node) map[string]int {
	index := make(map[string]int, len(nodes))
	for i, n := range nodes {
		index[n.Name] = i
	}
	return index
}

func depths(nodes []Node, index map[string]int) []int {
	depth := make([]int, len(nodes))
	for i := range depth {
		depth[i] = noDepthKnown
	}
	var of func(i int) int
	of = func(i int) int {
		if depth[i] != noDepthKnown {
			return depth[i]
		}
		depth[i] = 0 // ends a circle
		deepest := 0
		for _, up := range nodes[i].Upstream {
			if u, known := index[up]; known && u != i {
				deepest = max(deepest, of(u)+1)
			}
		}
		depth[i] = deepest
		return deepest
	}
	for i := range nodes {
		of(i)
	}
	return depth
}

// order sorts each layer by the mean place of the neighbours in the other layers (the barycentre heuristic of Sugiyama
// et al. 1981), sweeping to and fro, and returns the place of each node in its layer.
func order(nodes []Node, index map[string]int, layers [][]int) []int {
	place := make([]int, len(nodes))
	up, down := make([][]int, len(nodes)), make([][]int, len(nodes))
	for i, n := range nodes {
		for _, name := range n.Upstream {
			if u, known := index[name]; known && u != i {
				up[i] = append(up[i], u)
				down[u] = append(down[u], i)
			}
		}
	}
	sortBy := func(layer []int, weight func(i int) float64) {
		slices.SortStableFunc(layer, func(a, b int) int { return cmp.Compare(weight(a), weight(b)) })
		for p, i := range layer {
			place[i] = p
		}
	}
	mean := func(neighbours []int, i int) float64 {
		if len(neighbours) == 0 {
			return float64(place[i])
		}
		sum := 0
		for _, n := range neighbours {
			sum += place[n]
		}
		return float64(sum) / float64(len(neighbours))
	}
	for _, layer := range layers {
		for p, i := range layer {
			place[i] = p
		}
	}
	for range graphSweeps {
		for _, layer := range layers {
			sortBy(layer, func(i int) float64 { return mean(up[i], i) })
		}
		for _, layer := range slices.Backward(layers) {
			sortBy(layer, func(i int) float64 { return mean(down[i], i) })
		}
	}
	for _, layer := range layers[min(1, len(layers)):] {
		sortBy(layer, func(i int) float64 { return mean(up[i], i) })
	}
	return place
}

// Pages splits the nodes into pages of whole connected parts, the largest part first, and returns those that are
// connected to none apart. A part larger than a page has a page of its own.
func Pages(nodes []Node) (pages [][]Node, lonely []Node) {
	index := indexOf(nodes)
	parent := make([]int, len(nodes))
	for i := range parent {
		parent[i] = i
	}
	root := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for i, n := range nodes {
		for _, name := range n.Upstream {
			if u, known := index[name]; known {
				parent[root(i)] = root(u)
			}
		}
	}
	parts := map[int][]Node{}
	var roots []int
	for i, n := range nodes {
		r := root(i)
		if parts[r] == nil {
			roots = append(roots, r)
		}
		parts[r] = append(parts[r], n)
	}
	slices.SortStableFunc(roots, func(a, b int) int { return cmp.Compare(len(parts[b]), len(parts[a])) })
	for _, r := range roots {
		part := parts[r]
		last := len(pages) - 1
		switch {
		case len(part) == 1:
			lonely = append(lonely, part...)
		case last >= 0 && len(pages[last])+len(part) <= nodesAPage:
			pages[last] = append(pages[last], part...)
		default:
			pages = append(pages, part)
		}
	}
	return pages, lonely
}

// Around keeps a node, all that it reads and all that reads it, near and far; nil when there is no such node.
func Around(nodes []Node, name string) []Node {
	index := indexOf(nodes)
	start, known := index[name]
	if !known {
		return nil
	}
	down := map[string][]int{}
	for i, n := range nodes {
		for _, up := range n.Upstream {
			down[up] = append(down[up], i)
		}
	}
	keep := make([]bool, len(nodes))
	walk := func(next func(i int) []int) {
		seen := map[int]bool{start: true}
		for todo := []int{start}; len(todo) > 0; {
			i := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			keep[i] = true
			for _, n := range next(i) {
				if !seen[n] {
					seen[n] = true
					todo = append(todo, n)
				}
			}
		}
	}
	walk(func(i int) (ups []int) {
		for _, name := range nodes[i].Upstream {
			if u, known := index[name]; known {
				ups = append(ups, u)
			}
		}
		return ups
	})
	walk(func(i int) []int { return down[nodes[i].Name] })
	var kept []Node
	for i, n := range nodes {
		if keep[i] {
			kept = append(kept, n)
		}
	}
	return kept
}
