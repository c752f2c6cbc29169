package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/internal/pgtest/allowlist"
)

// patience is the ceiling of every wait: machines are shared and slow.
const patience = 90 * time.Second

// sidecar is a running `mvscheduler serve`.
type sidecar struct {
	t    testing.TB
	cmd  *exec.Cmd
	role string
	log  *lockedBuffer
	done chan struct{}
}

// startSidecar runs `mvscheduler serve` as a login of its own until the test ends, and waits until it is
// ready. Further arguments are added to its command line.
func startSidecar(t testing.TB, db *pgtest.DB, args ...string) *sidecar {
	t.Helper()
	return startSidecarAs(t, db, db.Worker(t), args...)
}

// startSidecarAs is startSidecar with a login that the test has made.
func startSidecarAs(t testing.TB, db *pgtest.DB, role string, args ...string) *sidecar {
	t.Helper()
	s := &sidecar{t: t, role: role, log: new(lockedBuffer), done: make(chan struct{})}
	s.cmd = exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0", "--log-level", "debug"}, args...)...)
	s.cmd.Env = append(os.Environ(), "DATABASE_URL="+db.URLAs(role))
	s.cmd.Stderr = s.log
	// A sidecar must not outlive the tests.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !strings.Contains(db.URL(), "//"+role+"@") { // the superuser does the tests' own work too
		allowlist.Watch(role)
	}
	require.NoError(t, s.cmd.Start())
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		s.signal(syscall.SIGCONT)
		s.signal(syscall.SIGKILL)
		<-s.done
		if path := db.LogFile(); path != pgtest.SharedLogFile() {
			if _, err := allowlist.Search(path); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("log of sidecar %d (%s):\n%s", s.cmd.Process.Pid, role, tail(s.log.String(), 60))
		}
	})
	require.Eventually(t, func() bool {
		select {
		case <-s.done:
			t.Fatalf("the sidecar ended while it was starting:\n%s", s.log)
		default:
		}
		return strings.Contains(s.log.String(), "listening") && strings.Contains(s.log.String(), "worker started")
	}, patience, 20*time.Millisecond)
	return s
}

// signal sends a signal; a process that has ended takes none.
func (s *sidecar) signal(signal syscall.Signal) {
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("signal sidecar: %v", err)
	}
}

// stop sends SIGTERM and returns the exit code.
func (s *sidecar) stop() int {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	return s.wait()
}

// kill sends SIGKILL and waits.
func (s *sidecar) kill() {
	s.signal(syscall.SIGKILL)
	<-s.done
}

// wait returns the exit code once the process has ended.
func (s *sidecar) wait() int {
	s.t.Helper()
	select {
	case <-s.done:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		s.t.Fatalf("the sidecar did not end:\n%s", tail(s.log.String(), 60))
		return -1
	}
}

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

// get fetches a page and returns status and body.
func (s *sidecar) get(path string) (int, string) {
	s.t.Helper()
	m := listening.FindStringSubmatch(s.log.String())
	require.NotNil(s.t, m, "the sidecar does not listen")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m[1]+path, nil)
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, string(body)
}

// result of a command.
type result struct {
	stdout, stderr string
	code           int
}

// mvscheduler runs a command of the program as a role ("" = superuser), with stdin.
func mvscheduler(t testing.TB, db *pgtest.DB, role, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	url := db.URL()
	if role != "" {
		url = db.URLAs(role)
	}
	cmd.Env = append(os.Environ(), "DATABASE_URL="+url, "TZ=UTC", "NO_COLOR=1")
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run mvscheduler %s: %v", strings.Join(args, " "), err)
	}
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// lockedBuffer is written by a process and read by a test.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// ask reads one value as the connection's role.
func ask[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(context.WithoutCancel(t.Context()), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// until polls a query that returns one boolean until it is true.
func until(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	untilWithin(t, patience, conn, sql, args...)
}

// untilWithin is until with another ceiling.
func untilWithin(t testing.TB, within time.Duration, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		if ask[bool](t, conn, sql, args...) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never became true within %s: %s %v", within, sql, args)
		}
	}
}

// refreshed asks for a refresh of each view and waits until a run that began afterwards has succeeded.
func refreshed(t testing.TB, conn *pgx.Conn, views ...string) {
	t.Helper()
	for _, view := range views {
		run := ask[int64](t, conn, `SELECT mvscheduler.refresh_view($1)`, view)
		until(t, conn, `
SELECT EXISTS (
    SELECT
      FROM mvscheduler.runs AS r
      LEFT JOIN mvscheduler.runs AS j ON j.id = r.joined_run
     WHERE r.id = $1
       AND coalesce(j.state, r.state) = 'succeeded')`, run)
	}
}

// errorText is all that the server said about an error.
func errorText(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Sprint(err)
	}
	return strings.Join([]string{pg.Message, pg.Detail, pg.Hint}, "\n")
}

// despiteDeadlocks runs a statement that locks in an order of its own, until it meets no work of a sidecar in a deadlock.
func despiteDeadlocks(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	for {
		_, err := conn.Exec(t.Context(), sql)
		if !strings.Contains(errorText(err), "deadlock detected") {
			require.NoError(t, err, sql)
			return
		}
	}
}
