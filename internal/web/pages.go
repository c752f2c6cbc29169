package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

//go:embed templates/*.html style.css
var files embed.FS

// page is what a template shows: Body is its own, the rest is the frame.
type page struct {
	Title   string
	Path    string    // of the page, without parameters: marks its link in the navigation
	JSON    string    // address of its twin; empty = none
	AsOf    time.Time // the database's clock; zero = unknown
	Again   string    // address of this page that is loaded anew by itself; empty = none
	Refresh int       // seconds after which the page is loaded anew; 0 = never
	API     bool      // there are pages of views
	Doctor  bool
	River   bool
	Body    any
}

// templates by file name; each is the frame with one body.
var templates = parse()

func parse() map[string]*template.Template {
	frame := template.Must(template.New("frame.html").Funcs(functions).ParseFS(files, "templates/frame.html", "templates/parts.html"))
	entries, err := files.ReadDir("templates")
	if err != nil {
		panic(err) // the files are in the program
	}
	all := map[string]*template.Template{}
	for _, entry := range entries {
		if name := entry.Name(); name != "frame.html" && name != "parts.html" {
			all[strings.TrimSuffix(name, ".html")] = template.Must(template.Must(frame.Clone()).ParseFS(files, "templates/"+name))
		}
	}
	return all
}

const refreshSeconds = 15

// pages are for people. Each has the database's answer ready before it writes a byte, so an error is a page too.
func (s *Server) pages(mux *http.ServeMux, limit limiter) {
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		http.ServeFileFS(w, r, files, "style.css")
	})
	page := func(path, template string, answer func(context.Context, *http.Request) (page, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			var p page
			err := limit(r.Context(), func(ctx context.Context) (err error) {
				p, err = answer(ctx, r)
				return err
			})
			if err != nil {
				s.errorPage(w, r, err)
				return
			}
			if r.URL.Query().Get("refresh") != "" && p.Refresh == 0 {
				p.Refresh = refreshSeconds
			}
			query := r.URL.Query()
			query.Set("refresh", "1")
			p.Again = r.URL.EscapedPath() + "?" + query.Encode()
			s.write(w, r, http.StatusOK, template, p)
		})
	}
	page("/{$}", "overview", s.overviewPage)
	if s.DB == nil {
		return
	}
	page("/views", "views", s.viewsPage)
	page("/views/{name}", "view", s.viewPage)
	page("/runs/{id}", "run", s.runPage)
	page("/graph", "graph", s.graphPage)
	page("/timeline", "timeline", s.timelinePage)
	page("/recommendations", "recommendations", s.recommendationsPage)
	if s.Examine != nil {
		page("/doctor", "doctor", s.doctorPage)
	}
}

func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, err error) {
	status, body := s.problemOf(r, err)
	p := page{Title: http.StatusText(status), Body: body}
	var missing *catalog.NotFoundError
	if errors.As(err, &missing) {
		p.Title = "Not found"
	}
	s.write(w, r, status, "error", p)
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	p.API, p.Doctor, p.River = s.DB != nil, s.DB != nil && s.Examine != nil, s.River != nil
	if p.Path == "" {
		p.Path = r.URL.Path
	}
	var b bytes.Buffer
	if err := templates[name].Execute(&b, p); err != nil {
		s.Logger.ErrorContext(r.Context(), "a page could not be written", "path", r.URL.Path, "err", err)
		plain(w, http.StatusInternalServerError, "this page could not be written; the log of the sidecar says why")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client went away
}

// limiter runs what asks the database, a few at a time: the connections are those that refreshes keep their books with.
type limiter func(context.Context, func(context.Context) error) error

const requestsAtOnce = 2

func newLimiter() limiter {
	busy := make(chan struct{}, requestsAtOnce)
	return func(ctx context.Context, ask func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
			return ask(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
