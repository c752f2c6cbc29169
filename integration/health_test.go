package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// health runs the command against an address, with nothing in its environment that names a database.
func health(t testing.TB, address string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"health", "--listen", address}, args...)...)
	cmd.Env = append(os.Environ(), "DATABASE_URL=", "PGHOST=/nowhere")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run mvscheduler health: %v", err)
	}
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

func TestHealthTellsByItsExitCodeWhetherTheSidecarIsReady(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := startSidecar(t, db)
	address := listening.FindStringSubmatch(s.log.String())[1]
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	for _, same := range []string{address, "0.0.0.0:" + port, ":" + port} {
		r := health(t, same)
		require.Zero(t, r.code, r.stderr)
		require.Equal(t, "ready\n", r.stdout)
		require.Empty(t, r.stderr)
	}

	db.Exec(t, `UPDATE mvscheduler.schema_migrations SET version = version + 1`)
	r := health(t, address)
	require.Equal(t, 5, r.code)
	require.Contains(t, r.stderr, "/readyz answers 503: not ready")
	require.Contains(t, r.stderr, "upgrade the program")
	r = health(t, address, "--live")
	require.Zero(t, r.code, "the process lives")

	var answer struct {
		Healthy     bool
		URL, Answer string
		Status      int
	}
	r = health(t, address, "-o", "json")
	require.Equal(t, 5, r.code)
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &answer))
	require.False(t, answer.Healthy)
	require.Equal(t, "http://"+address+"/readyz", answer.URL)
	require.Equal(t, 503, answer.Status)

	s.signal(syscall.SIGSTOP)
	r = health(t, address, "--live", "--timeout", "200ms")
	s.signal(syscall.SIGCONT)
	require.Equal(t, 5, r.code)
	require.Contains(t, r.stderr, "no answer within 200ms")

	require.Zero(t, s.stop())
	r = health(t, address, "--live")
	require.Equal(t, 5, r.code)
	require.Contains(t, r.stderr, "no sidecar answers at")
}

func TestHealthBelievesOnlyTheSidecarItself(t *testing.T) {
	healthy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") }))
	defer healthy.Close()
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			http.Redirect(w, r, healthy.URL, http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "\x1b[31m"+strings.Repeat("x", 1<<20))
	}))
	defer stranger.Close()
	t.Setenv("HTTP_PROXY", healthy.URL)
	t.Setenv("http_proxy", healthy.URL)

	address := strings.TrimPrefix(stranger.URL, "http://")
	require.Equal(t, 5, health(t, address).code, "a redirect is no answer")
	r := health(t, address, "--live")
	require.Equal(t, 5, r.code)
	require.NotContains(t, r.stderr, "\x1b")
	require.Less(t, len(r.stderr), 8<<10)

	for _, wrong := range []string{"127.0.0.1", "127.0.0.1:0", "", "a:b:c"} {
		require.Equal(t, 2, health(t, wrong).code, wrong)
	}
	require.Equal(t, 2, health(t, address, "--timeout", "0s").code)
	help := health(t, address, "--help")
	require.Contains(t, help.stdout, "Examples:")
	require.Contains(t, help.stdout, "Exit codes:")
}
