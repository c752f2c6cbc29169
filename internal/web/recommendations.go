package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/web/draw"
	"github.com/mvscheduler/mvscheduler/internal/words"
)

// recommendationsOnPage are shown at a time.
const recommendationsOnPage = 20

type recommendationsBody struct {
	All     int
	Past    bool // those that were decided about are shown as well
	Decided bool // of none that are shown: there are such
	Pages   pager
	Items   []recommendationItem

	Thoughts []catalog.Thought // of views, also of those for which nothing is recommended
	Unsaid   int               // thoughts that are not shown
}

// thoughtsOnPage are shown; with 1,000 views they would be most of the page.
const thoughtsOnPage = 100

// recommendationItem is one of them, with the week of its view.
type recommendationItem struct {
	catalog.RecommendationRecord

	Zone string     // of the week
	Week *draw.Week // when the view is read; nil = nothing is known
	Open bool       // a person can decide about it
}

// Reasons are the sentences of the evidence.
func (i recommendationItem) Reasons() []string {
	reasons, _ := words.Reasons(i.Evidence)
	return reasons
}

// Seen is the evidence without them, as people read it.
func (i recommendationItem) Seen() string {
	_, rest := words.Reasons(i.Evidence)
	return words.Figures(rest)
}

// askedFor is the view that a page is for; zero = all.
func (s *Server) askedFor(ctx context.Context, query url.Values) (view int64, err error) {
	if name := query.Get("view"); name != "" {
		return catalog.FindView(ctx, s.DB, name)
	}
	return 0, nil
}

func (s *Server) recommendations(ctx context.Context, query url.Values) ([]catalog.RecommendationRecord, error) {
	view, err := s.askedFor(ctx, query)
	if err != nil {
		return nil, err
	}
	return catalog.Recommendations(ctx, s.DB, view, 0, query.Get("past") != "")
}

func (s *Server) recommendationsPage(ctx context.Context, r *http.Request) (page, error) {
	query := r.URL.Query()
	view, err := s.askedFor(ctx, query)
	if err != nil {
		return page{}, err
	}
	b := recommendationsBody{Past: query.Get("past") != ""}
	all, err := catalog.Recommendations(ctx, s.DB, view, 0, b.Past)
	if err != nil {
		return page{}, err
	}
	b.All = len(all)
	shown, pages := cut(all, recommendationsOnPage, query.Get("page"), func(n int) string {
		query.Set("page", strconv.Itoa(n))
		return "/recommendations?" + query.Encode()
	})
	b.Pages = pages
	p := page{Title: "Recommendations", JSON: "/api/v1/recommendations?" + r.URL.RawQuery}
	names := make([]string, len(shown))
	for i, one := range shown {
		names[i] = one.ViewName
	}
	weeks, err := catalog.WeeksOfReads(ctx, s.DB, names)
	if err != nil {
		return page{}, err
	}
	for _, one := range shown {
		item := recommendationItem{RecommendationRecord: one, Open: one.State == "proposed"}
		if week, known := weeks[one.ViewName]; known {
			item.Zone, item.Week = week.Timezone, new(draw.Hours(week.Reads, "reads"))
		}
		b.Items = append(b.Items, item)
		p.AsOf = one.AsOf
	}
	if b.Thoughts, err = catalog.Thoughts(ctx, s.DB, view); err != nil {
		return page{}, err
	}
	if n := len(b.Thoughts); n > thoughtsOnPage {
		b.Thoughts, b.Unsaid = b.Thoughts[:thoughtsOnPage], n-thoughtsOnPage
	}
	if len(all) == 0 && !b.Past {
		past, err := catalog.Recommendations(ctx, s.DB, view, 0, true)
		if err != nil {
			return page{}, err
		}
		b.Decided = len(past) > 0
	}
	p.Body = b
	return p, nil
}
