package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/catalog"
)

// apiTimeout bounds one request, whatever the database does.
const apiTimeout = 10 * time.Second

// Overview is what /api/v1/status answers: all views in numbers.
type Overview struct {
	Views     int                  `json:"views"`
	Freshness map[string]int       `json:"freshness"` // number of views by freshness
	Activity  map[string]int       `json:"activity"`
	Unhealthy []catalog.ViewStatus `json:"unhealthy"` // those that a person has to look at
	AsOf      *time.Time           `json:"as_of"`     // the database's clock; nil when there is no view
}

// RunPage is what /api/v1/runs/{id} answers.
type RunPage struct {
	Run      catalog.RunRecord       `json:"run"`
	Attempts []catalog.AttemptRecord `json:"attempts"`
}

// problem is the body of an answer that is none.
type problem struct {
	Error    string `json:"error"`
	SQLState string `json:"sqlstate,omitempty"`
}

const (
	runsByDefault = 100
	runsAtMost    = 10_000
)

func (s *Server) api(mux *http.ServeMux, limit limiter) {
	route := func(pattern string, answer func(context.Context, *http.Request) (any, error)) {
		mux.HandleFunc("GET /api/v1/"+pattern, func(w http.ResponseWriter, r *http.Request) {
			var body any
			err := limit(r.Context(), func(ctx context.Context) (err error) {
				body, err = answer(ctx, r)
				return err
			})
			s.answer(w, r, body, err)
		})
	}
	route("status", func(ctx context.Context, _ *http.Request) (any, error) {
		all, err := catalog.Statuses(ctx, s.DB)
		return overview(all), err
	})
	route("views", func(ctx context.Context, _ *http.Request) (any, error) { return catalog.Statuses(ctx, s.DB) })
	route("views/{name}", func(ctx context.Context, r *http.Request) (any, error) {
		return s.view(ctx, r.PathValue("name"))
	})
	route("runs", func(ctx context.Context, r *http.Request) (any, error) {
		filter, err := runFilter(ctx, s.DB, r)
		if err != nil {
			return nil, err
		}
		return catalog.Runs(ctx, s.DB, filter)
	})
	route("runs/{id}", func(ctx context.Context, r *http.Request) (any, error) {
		return s.run(ctx, r)
	})
	route("graph", func(ctx context.Context, _ *http.Request) (any, error) {
		all, err := catalog.Statuses(ctx, s.DB)
		return GraphOf(all), err
	})
	route("timeline", func(ctx context.Context, r *http.Request) (any, error) { return s.timeline(ctx, r.URL.Query()) })
	route("recommendations", func(ctx context.Context, r *http.Request) (any, error) { return s.recommendations(ctx, r.URL.Query()) })
	if s.Examine != nil {
		route("doctor", func(ctx context.Context, _ *http.Request) (any, error) { return s.Examine(ctx) })
	}
	mux.HandleFunc("GET /api/", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, nil, &catalog.NotFoundError{Kind: "page", Name: r.URL.Path})
	})
}

func overview(all []catalog.ViewStatus) Overview {
	o := Overview{Views: len(all), Freshness: map[string]int{}, Activity: map[string]int{}, Unhealthy: []catalog.ViewStatus{}}
	for i, v := range all {
		o.Freshness[v.Freshness]++
		o.Activity[v.Activity]++
		if v.Unhealthy() {
			o.Unhealthy = append(o.Unhealthy, v)
		}
		o.AsOf = &all[i].AsOf
	}
	return o
}

// badRequest says which parameter cannot be read.
type badRequest struct{ why string }

func (e *badRequest) Error() string { return e.why }

func runFilter(ctx context.Context, db catalog.Querier, r *http.Request) (catalog.RunFilter, error) {
	query := r.URL.Query()
	f := catalog.RunFilter{Since: query.Get("since"), Limit: runsByDefault}
	if limit := query.Get("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 || n > runsAtMost {
			return f, &badRequest{"limit is a number from 1 to 10000"}
		}
		f.Limit = n
	}
	if failed := query.Get("failed"); failed != "" {
		only, err := strconv.ParseBool(failed)
		if err != nil {
			return f, &badRequest{"failed is true or false"}
		}
		f.Failed = only
	}
	if name := query.Get("view"); name != "" {
		id, err := catalog.FindView(ctx, db, name)
		if err != nil {
			return f, err
		}
		f.ViewID = id
	}
	return f, nil
}

// answer writes JSON.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, body any, err error) {
	status := http.StatusOK
	if err != nil {
		status, body = s.problemOf(r, err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(body) // the client went away
}

// problemOf says what to answer instead. What went wrong inside is logged and not told in full.
func (s *Server) problemOf(r *http.Request, err error) (int, problem) {
	var (
		missing *catalog.NotFoundError
		bad     *badRequest
		pg      *pgconn.PgError
	)
	switch {
	case errors.As(err, &missing):
		return http.StatusNotFound, problem{Error: missing.Error()}
	case errors.As(err, &bad):
		return http.StatusBadRequest, problem{Error: bad.Error()}
	case errors.As(err, &pg) && (pg.Code[:2] == "22" || pg.Code == "42602" || pg.Code == "42622"): // a value or a name that cannot be read
		return http.StatusBadRequest, problem{Error: pg.Message, SQLState: pg.Code}
	}
	s.Logger.WarnContext(r.Context(), "a request could not be answered", "path", r.URL.Path, "err", err)
	return http.StatusServiceUnavailable, problem{Error: "the database did not answer; the log of the sidecar says why"}
}
