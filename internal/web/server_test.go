package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestOnlyLoopbackAddressesAreListenedOn(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"127.0.0.1:8787", "[::1]:8787", "localhost:0", "127.0.0.53:1"} {
		require.NoError(t, loopback(ok), ok)
	}
	for _, bad := range []string{"0.0.0.0:8787", ":8787", "[::]:8787", "192.0.2.1:80", "example.org:80", "127.0.0.1"} {
		require.Error(t, loopback(bad), bad)
	}
}

func TestHealthReadinessAndMetrics(t *testing.T) {
	t.Parallel()
	var why error
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "mvscheduler_test_total", Help: "For this test."})
	registry.MustRegister(counter)
	s := &Server{Ready: func(context.Context) error { return why }, Metrics: registry, Logger: slog.New(slog.DiscardHandler)}
	get := func(method, path string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		request.Host = "localhost"
		s.Handler().ServeHTTP(recorder, request)
		return recorder
	}
	require.Equal(t, http.StatusOK, get(http.MethodGet, "/readyz").Code)
	why = errors.New("no server")
	require.Equal(t, http.StatusServiceUnavailable, get(http.MethodGet, "/readyz").Code)
	require.Contains(t, get(http.MethodGet, "/readyz").Body.String(), "no server")
	require.Equal(t, http.StatusOK, get(http.MethodGet, "/healthz").Code)
	require.Contains(t, get(http.MethodGet, "/metrics").Body.String(), "mvscheduler_test_total 0")
	require.Equal(t, http.StatusNotFound, get(http.MethodGet, "/metricsx").Code)
	require.Equal(t, http.StatusMethodNotAllowed, get(http.MethodPost, "/metrics").Code)
	index := get(http.MethodGet, "/")
	require.Contains(t, index.Header().Get("Content-Security-Policy"), "default-src 'none'")
	for header, value := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"} {
		for _, path := range []string{"/", "/metrics", "/nowhere"} {
			require.Equal(t, value, get(http.MethodGet, path).Header().Get(header), "%s of %s", header, path)
		}
	}
	require.Contains(t, index.Body.String(), `href="/metrics"`)
	require.NotContains(t, index.Body.String(), `href="/api`, "there is no database")
	for _, link := range regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(index.Body.String(), -1) {
		require.NotEqual(t, http.StatusNotFound, get(http.MethodGet, link[1]).Code, link[1])
	}
}
