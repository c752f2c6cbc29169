package main

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/web"
)

type graphCmd struct {
	Name string `arg:"" optional:"" complete:"view" help:"Only this view, what it reads and what reads it, near and far. Default: every view that you may see."`
}

func (graphCmd) Help() string {
	return `Which managed view reads which, as a tree: a view stands below what it reads, so what is stale above explains what is stale below. A view that reads several stands below each of them; from the second time on it says "see above", and what reads it is not repeated. The words are those of status.

What a view reads through plain views counts as well; these and tables are not drawn. -o json is what /api/v1/graph answers: each view and what it reads.

Examples:

  mvscheduler graph
  mvscheduler graph analytics.hourly_delays      # before you change or drop it
  mvscheduler graph -o json | jq -r '.views[] | select(.reads == []) | .name'

` + exitCodesHelp
}

// Run prints the graph.
func (c *graphCmd) Run(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		id, err := a.findAny(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		all, err := catalog.Statuses(ctx, conn)
		if err != nil {
			return err
		}
		g, name := web.GraphOf(all), ""
		if c.Name != "" {
			i := slices.IndexFunc(all, func(s catalog.ViewStatus) bool { return s.ID == id })
			if i < 0 { // it went meanwhile
				return &catalog.NotFoundError{Kind: "managed view", Name: c.Name}
			}
			name = all[i].Name
			g = g.Around(name)
		}
		switch a.Output {
		case "table":
			return emit(a, treeOf(g), treeColumns(name), "There is no managed view that you may see. Make one: mvscheduler create --help")
		case "csv":
			return a.emitData(g.Views)
		}
		return a.emitData(g)
	})
}

// treeLine is a view in its place in the tree.
type treeLine struct {
	web.GraphView
	branch string // what leads to it from what it reads
	again  bool   // it stands further up as well
}

// treeOf puts every view below each of those that it reads, and what reads it below its first place only.
func treeOf(g web.GraphPage) []treeLine {
	byName := make(map[string]web.GraphView, len(g.Views))
	for _, v := range g.Views {
		byName[v.Name] = v
	}
	readers := map[string][]web.GraphView{}
	var roots []web.GraphView
	for _, v := range g.Views {
		root := true
		for _, read := range v.Reads {
			if _, known := byName[read]; known && read != v.Name {
				readers[read] = append(readers[read], v)
				root = false
			}
		}
		if root {
			roots = append(roots, v)
		}
	}
	var lines []treeLine
	seen := map[string]bool{}
	var walk func(v web.GraphView, branch, below string)
	walk = func(v web.GraphView, branch, below string) {
		lines = append(lines, treeLine{v, branch, seen[v.Name]})
		if seen[v.Name] {
			return
		}
		seen[v.Name] = true
		for i, reader := range readers[v.Name] {
			if i < len(readers[v.Name])-1 {
				walk(reader, below+"├─ ", below+"│  ")
			} else {
				walk(reader, below+"└─ ", below+"   ")
			}
		}
	}
	for _, v := range slices.Concat(roots, g.Views) { // the latter for a circle, which PostgreSQL does not allow
		if !seen[v.Name] {
			walk(v, "", "")
		}
	}
	return lines
}

// treeColumns are those of a tree around a view, empty = all.
func treeColumns(around string) []column[treeLine] {
	return []column[treeLine]{
		{title: "view", cell: func(l treeLine) string {
			if l.again {
				return l.branch + l.Name + " (see above)"
			}
			return l.branch + l.Name
		}, state: func(l treeLine) text.Colors {
			if l.Name == around {
				return text.Colors{text.Bold}
			}
			return nil
		}},
		{title: "freshness", cell: func(l treeLine) string { return mark(l.Freshness) }, state: func(l treeLine) text.Colors { return stateColours(l.Freshness) }},
		{title: "activity", cell: func(l treeLine) string { return mark(l.Activity) }, state: func(l treeLine) text.Colors { return stateColours(l.Activity) }},
		{title: "lag / target", cell: func(l treeLine) string { return spanOf(l.Lag) + " / " + spanOf(l.Target) }, spare: true},
	}
}
