package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/doctor"
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

// away is a database that does not answer.
type away struct{}

var errAway = errors.New("connection refused to 10.0.0.1, password secret")

func (away) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errAway
}
func (away) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, errAway }
func (away) QueryRow(context.Context, string, ...any) pgx.Row        { return awayRow{} }

type awayRow struct{}

func (awayRow) Scan(...any) error { return errAway }

func TestEveryPageForPeopleIsGuardedReadOnlyAndWithoutScript(t *testing.T) {
	t.Parallel()
	examine := func(context.Context) ([]doctor.Finding, error) { return nil, errAway }
	open := &Server{DB: away{}, Examine: examine}
	closed := &Server{DB: away{}, Examine: examine, Token: strings.Repeat("x", 32)}
	for _, path := range []string{"/", "/views", "/views/a.b", "/runs/1", "/graph", "/timeline", "/doctor"} {
		answer := serve(open, http.MethodGet, path)
		require.Equal(t, http.StatusServiceUnavailable, answer.Code, path)
		require.Contains(t, answer.Body.String(), "the database did not answer")
		require.NotContains(t, answer.Body.String(), "secret")
		require.Equal(t, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; style-src 'self'", answer.Header().Get("Content-Security-Policy"))
		require.Equal(t, "text/html; charset=utf-8", answer.Header().Get("Content-Type"))
		require.Equal(t, http.StatusMethodNotAllowed, serve(open, http.MethodPost, path).Code)
		require.Equal(t, http.StatusUnauthorized, serve(closed, http.MethodGet, path).Code)
		require.Equal(t, http.StatusMisdirectedRequest, serve(open, http.MethodGet, path, func(r *http.Request) { r.Host = "rebound.example" }).Code)
	}
	require.Equal(t, "text/css; charset=utf-8", serve(open, http.MethodGet, "/style.css").Header().Get("Content-Type"))
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
