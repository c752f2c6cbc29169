package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/doctor"
)

// Server serves the pages of one sidecar.
type Server struct {
	// Ready reports why the sidecar is not ready, nil when it is.
	Ready func(context.Context) error
	// Metrics is what /metrics shows.
	Metrics prometheus.Gatherer
	// DB is what the pages and /api/v1 read; nil means that there are none but an index.
	DB catalog.Querier
	// Examine is what /doctor shows; nil means that there is no such page.
	Examine func(context.Context) ([]doctor.Finding, error)
	// River answers below /river/, for GET and HEAD only; nil means that nothing does.
	River http.Handler
	// Token has to be given by whoever asks; empty means that only this machine is served, without one.
	Token  string
	Logger *slog.Logger
}

const riverPrefix = "/river"

// Handler routes the requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		if err := s.Ready(ctx); err != nil {
			why := "not ready"
			if s.admits(r) {
				why += ": " + err.Error()
			}
			plain(w, http.StatusServiceUnavailable, why)
			return
		}
		plain(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError,
		Timeout:       10 * time.Second,
	}))
	limit := newLimiter()
	s.pages(mux, limit)
	if s.DB != nil {
		s.api(mux, limit)
	}
	if s.River != nil {
		mux.Handle(riverPrefix+"/", s.River)
	}
	return headers(s.guard(readOnly(mux)))
}

// Listen takes the address. Without a token only loopback addresses are taken.
func (s *Server) Listen(ctx context.Context, address string) (net.Listener, error) {
	if s.Token == "" {
		if err := loopback(address); err != nil {
			return nil, err
		}
	}
	listening, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return listening, nil
}

// Serve answers on the listener until ctx ends, which is not an error.
func (s *Server) Serve(ctx context.Context, listening net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(closing)
	})
	defer stopped()
	s.Logger.InfoContext(ctx, "listening", "address", listening.Addr().String())
	if err := server.Serve(listening); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", listening.Addr(), err)
	}
	return nil
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text)
}
