package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/web/draw"
)

// GraphPage is what /api/v1/graph answers: which managed view reads which.
type GraphPage struct {
	Views []GraphView `json:"views"`
}

// GraphView is a view and what it reads.
type GraphView struct {
	Name      string           `json:"name"`
	Freshness string           `json:"freshness"`
	Activity  string           `json:"activity"`
	Lag       *catalog.Seconds `json:"lag_seconds"`
	Target    *catalog.Seconds `json:"target_seconds"`
	Reads     []string         `json:"reads"`
}

// GraphOf is the graph of all views.
func GraphOf(all []catalog.ViewStatus) GraphPage {
	g := GraphPage{Views: []GraphView{}}
	for _, v := range all {
		g.Views = append(g.Views, GraphView{v.Name, v.Freshness, v.Activity, v.Lag, v.Target, v.Upstream})
	}
	return g
}

// Around keeps a view, all that it reads and all that reads it, near and far; no view when there is none of that name.
func (g GraphPage) Around(name string) GraphPage {
	kept := GraphPage{Views: []GraphView{}}
	near := map[string]bool{}
	for _, n := range draw.Around(g.nodes(), name) {
		near[n.Name] = true
	}
	for _, v := range g.Views {
		if near[v.Name] {
			kept.Views = append(kept.Views, v)
		}
	}
	return kept
}

func (g GraphPage) nodes() []draw.Node {
	nodes := make([]draw.Node, len(g.Views))
	for i, v := range g.Views {
		nodes[i] = draw.Node{Name: v.Name, Upstream: v.Reads}
	}
	return nodes
}

// graphBody is the picture of some of the views.
type graphBody struct {
	All    int
	View   string // around which it is drawn; empty = all
	Boxes  []graphBox
	Graph  draw.Graph
	Lonely []string
	More   int // lonely views that are not listed
	Pages  pager
}

type graphBox struct {
	draw.Box
	catalog.ViewStatus
}

const lonelyAtMost = 60

func (s *Server) graphPage(ctx context.Context, r *http.Request) (page, error) {
	all, err := catalog.Statuses(ctx, s.DB)
	if err != nil {
		return page{}, err
	}
	b, err := drawGraph(all, r.URL.Query())
	p := page{Title: "Graph", JSON: "/api/v1/graph", Body: b}
	if len(all) > 0 {
		p.AsOf = all[0].AsOf
	}
	return p, err
}

// drawGraph is pure: one page of connected views, or what is connected with one view.
func drawGraph(all []catalog.ViewStatus, query url.Values) (graphBody, error) {
	b := graphBody{All: len(all), View: query.Get("view")}
	nodes := GraphOf(all).nodes()
	byName := make(map[string]catalog.ViewStatus, len(all))
	for _, v := range all {
		byName[v.Name] = v
	}
	var shown []draw.Node
	if b.View != "" {
		if shown = draw.Around(nodes, b.View); shown == nil {
			return b, &catalog.NotFoundError{Kind: "managed view", Name: b.View}
		}
		b.Pages = pager{Number: 1, Last: 1}
	} else {
		pages, lonely := draw.Pages(nodes)
		one, p := cut(pages, 1, query.Get("page"), func(n int) string { return "/graph?page=" + strconv.Itoa(n) })
		b.Pages = p
		if len(one) > 0 {
			shown = one[0]
		}
		for _, n := range lonely[:min(len(lonely), lonelyAtMost)] {
			b.Lonely = append(b.Lonely, n.Name)
		}
		b.More = len(lonely) - len(b.Lonely)
	}
	b.Graph = draw.Layers(shown)
	for _, box := range b.Graph.Boxes {
		b.Boxes = append(b.Boxes, graphBox{box, byName[box.Name]})
	}
	return b, nil
}
