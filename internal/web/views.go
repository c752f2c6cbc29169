package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// viewsBody is a page of the list of views.
type viewsBody struct {
	All      int // views that there are
	Found    int // of them, those that the filter lets through
	Views    []catalog.ViewStatus
	Filters  []filter
	Schemas  []filter
	Pages    pager
	Filtered bool
}

// filter is a link that narrows the list down.
type filter struct {
	Label  string
	N      int
	Link   string
	Chosen bool
}

// pager links to the pages around.
type pager struct {
	Number, Last   int // from 1
	Previous, Next string
}

const (
	viewsAPage    = 100
	schemasAtMost = 40 // so many links to schemas are of use
)

func (s *Server) viewsPage(ctx context.Context, r *http.Request) (page, error) {
	all, err := catalog.Statuses(ctx, s.DB)
	if err != nil {
		return page{}, err
	}
	p := page{Title: "Views", JSON: "/api/v1/views", Body: listOf(all, r.URL.Query())}
	if len(all) > 0 {
		p.AsOf = all[0].AsOf
	}
	return p, nil
}

// listOf is pure: filters, counts and cuts a page out.
func listOf(all []catalog.ViewStatus, query url.Values) viewsBody {
	b := viewsBody{All: len(all)}
	state, schema := query.Get("state"), query.Get("schema")
	link := func(state, schema string, page int) string {
		q := url.Values{}
		if state != "" {
			q.Set("state", state)
		}
		if schema != "" {
			q.Set("schema", schema)
		}
		if page > 1 {
			q.Set("page", strconv.Itoa(page))
		}
		if query.Get("refresh") != "" {
			q.Set("refresh", "1")
		}
		if len(q) == 0 {
			return "/views"
		}
		return "/views?" + q.Encode()
	}
	states, schemas := map[string]int{}, map[string]int{}
	var found []catalog.ViewStatus
	for _, v := range all {
		inState := state == "" || state == v.Freshness || state == v.Activity || state == "unhealthy" && v.Unhealthy()
		inSchema := schema == "" || schema == schemaOf(v.Name)
		if inSchema {
			states[v.Freshness]++
			states[v.Activity]++
			if v.Unhealthy() {
				states["unhealthy"]++
			}
			states[""]++
		}
		if inState {
			schemas[schemaOf(v.Name)]++
		}
		if inState && inSchema {
			found = append(found, v)
		}
	}
	for _, name := range slices.Concat([]string{"", "unhealthy"}, freshnesses, activities) {
		if states[name] > 0 || name == "" || name == state {
			b.Filters = append(b.Filters, filter{Label: name, N: states[name], Link: link(name, schema, 1), Chosen: name == state})
		}
	}
	if len(schemas) > 1 || schema != "" {
		b.Schemas = append(b.Schemas, filter{Label: "", Link: link(state, "", 1), Chosen: schema == ""})
		names := sortedKeys(schemas)
		for _, name := range names[:min(len(names), schemasAtMost)] {
			b.Schemas = append(b.Schemas, filter{Label: name, N: schemas[name], Link: link(state, name, 1), Chosen: name == schema})
		}
	}
	b.Filtered = state != "" || schema != ""
	b.Found = len(found)
	b.Views, b.Pages = cut(found, viewsAPage, query.Get("page"), func(n int) string { return link(state, schema, n) })
	return b
}

// cut takes the page of that number, the nearest that there is.
func cut[T any](all []T, size int, number string, link func(int) string) ([]T, pager) {
	last := max(1, (len(all)+size-1)/size)
	n, err := strconv.Atoi(number)
	if err != nil {
		n = 1
	}
	n = min(max(n, 1), last)
	p := pager{Number: n, Last: last}
	if n > 1 {
		p.Previous = link(n - 1)
	}
	if n < last {
		p.Next = link(n + 1)
	}
	return all[(n-1)*size : min(n*size, len(all))], p
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// schemaOf is the part before the dot of a qualified name, as it is quoted there.
func schemaOf(name string) string {
	if !strings.HasPrefix(name, `"`) {
		schema, _, _ := strings.Cut(name, ".")
		return schema
	}
	for i := 1; i < len(name); i++ {
		if name[i] != '"' {
			continue
		}
		if i+1 == len(name) || name[i+1] != '"' {
			return name[:i+1]
		}
		i++ // a doubled quote is one of the name
	}
	return name
}
