package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// StopAt has a session stop when it calls a function of the server the next time, for moments that are too short to meet. stopped waits until
// it is there, resume lets it go on and is called at the end of the test at the latest. Without gdb, or the right to use it on
// the server, the test is skipped.
func StopAt(t testing.TB, session *pgx.Conn, function string) (stopped, resume func()) {
	t.Helper()
	gdb, err := exec.LookPath("gdb")
	if err != nil || os.Getenv(ImageVariable) != "" { // whose processes have other numbers
		t.Skip("needs gdb and a local server, to stop a session of the server at " + function)
	}
	dir := t.TempDir()
	ready, there, gone := filepath.Join(dir, "ready"), filepath.Join(dir, "there"), filepath.Join(dir, "gone")
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), gdb, "-q", "-nx", "-batch", "-p", fmt.Sprint(session.PgConn().PID()),
		"-ex", "handle SIGUSR1 SIGUSR2 SIGURG SIGALRM nostop noprint pass", "-ex", "break "+function,
		"-ex", "shell touch "+ready, "-ex", "continue",
		"-ex", "shell touch "+there+"; while ! test -e "+gone+"; do sleep 0.02; done", "-ex", "delete", "-ex", "detach")
	log, err := os.Create(filepath.Join(dir, "gdb.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
		_ = log.Close()
	}()
	await := func(file string) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(file); err == nil {
				return
			}
			select {
			case <-ended:
				said, _ := os.ReadFile(log.Name())
				t.Skipf("gdb does not stop the session:\n%s", said)
			default:
			}
			if time.Since(began) > time.Minute {
				said, _ := os.ReadFile(log.Name())
				t.Fatalf("the session has not come to %s:\n%s", function, said)
			}
		}
	}
	resume = func() {
		if err := os.WriteFile(gone, nil, 0o600); err != nil {
			t.Error(err)
		}
		<-ended
	}
	t.Cleanup(resume)
	await(ready)
	return func() { t.Helper(); await(there) }, resume
}
