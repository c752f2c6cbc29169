package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func serve(s *Server, method, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	s.Ready = func(context.Context) error { return nil }
	s.Metrics = prometheus.NewRegistry()
	s.Logger = slog.New(slog.DiscardHandler)
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(context.Background(), method, path, nil)
	request.Host = "127.0.0.1:8787"
	for _, f := range change {
		f(request)
	}
	s.Handler().ServeHTTP(recorder, request)
	return recorder
}

func TestATokenOpensThePagesAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef0123456789abcdef"
	header := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	anyName := func(r *http.Request) { r.Host = "sidecar.example:8787" }
	s := &Server{Token: token}
	require.Equal(t, http.StatusUnauthorized, serve(s, http.MethodGet, "/metrics").Code)
	require.NotEmpty(t, serve(s, http.MethodGet, "/metrics").Header().Get("WWW-Authenticate"))
	for _, wrong := range []func(*http.Request){header("Bearer "), header("Bearer " + token + "x"), header(token), basic("x", "y"), header("Bearer " + token[:31])} {
		require.Equal(t, http.StatusUnauthorized, serve(s, http.MethodGet, "/metrics", wrong).Code)
	}
	require.Equal(t, http.StatusOK, serve(s, http.MethodGet, "/metrics", header("Bearer "+token), anyName).Code)
	require.Equal(t, http.StatusOK, serve(s, http.MethodGet, "/metrics", basic("anybody", token)).Code)
	require.Equal(t, http.StatusOK, serve(s, http.MethodGet, "/healthz", anyName).Code, "health is open")
	require.Equal(t, http.StatusOK, serve(s, http.MethodGet, "/readyz", anyName).Code)
}

func TestWithoutATokenOnlyThisMachineByItsOwnNameIsAnswered(t *testing.T) {
	t.Parallel()
	for host, code := range map[string]int{
		"localhost:8787": 200, "127.0.0.1": 200, "[::1]:8787": 200, "127.0.0.2:1": 200,
		"rebound.example:8787": http.StatusMisdirectedRequest, "": http.StatusMisdirectedRequest, "192.0.2.1": http.StatusMisdirectedRequest,
	} {
		require.Equal(t, code, serve(&Server{}, http.MethodGet, "/metrics", func(r *http.Request) { r.Host = host }).Code, host)
	}
}

func TestNoMethodThatChangesReachesAPage(t *testing.T) {
	t.Parallel()
	asked := 0
	s := &Server{River: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ })}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, "PROPFIND"} {
		require.Equal(t, http.StatusMethodNotAllowed, serve(s, method, "/river/api/jobs/cancel").Code)
	}
	require.Zero(t, asked)
	require.Equal(t, http.StatusOK, serve(s, http.MethodGet, "/river/").Code)
	require.Equal(t, 1, asked)
	require.Contains(t, serve(s, http.MethodGet, "/river/").Header().Get("Content-Security-Policy"), "script-src 'self'")
	require.NotContains(t, serve(s, http.MethodGet, "/").Header().Get("Content-Security-Policy"), "script-src")
}

func TestATokenFileHoldsAtLeast128Bits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write("  " + strings.Repeat("x", 22) + " \nignored\n")
	token, err := ReadToken("token", path)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", 22), token)
	write("secret\n")
	_, err = ReadToken("token", path)
	require.ErrorContains(t, err, "openssl rand")
	require.NotContains(t, err.Error(), "secret")
	_, err = ReadToken("token", path+".nix")
	require.Error(t, err)
	token, err = ReadToken("token", "")
	require.NoError(t, err)
	require.Empty(t, token)
}
