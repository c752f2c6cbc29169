package pgtest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
)

// shared is the server of this test process.
var shared struct {
	once   sync.Once
	server server
	admins *pgxpool.Pool
	err    error
	failed atomic.Bool
}

// settings make the log of a test server a witness of every statement, and leave it no time for compiling statements that
// run once.
var settings = map[string]string{
	"jit_above_cost": "-1", "shared_preload_libraries": "plpgsql",
	"log_statement": "all", "log_line_prefix": "%m [%p] %u@%d %a ", "log_min_messages": "warning",
	"log_lock_waits": "on", "deadlock_timeout": "200ms", "log_timezone": "UTC",
}

func sharedServer(t testing.TB) server {
	t.Helper()
	shared.once.Do(func() {
		if shared.server, shared.err = startShared(context.Background()); shared.err == nil {
			shared.admins, shared.err = pgxpool.New(context.Background(), shared.server.URL("postgres")+"&pool_max_conns=8")
		}
		if shared.err == nil {
			admins.Store(shared.server, shared.admins)
		}
	})
	if shared.err != nil {
		t.Fatalf("start a PostgreSQL for the tests: %v", shared.err)
	}
	return shared.server
}

func startShared(ctx context.Context) (server, error) {
	settings := maps.Clone(settings)
	settings["max_connections"] = "400" // a sidecar has a dozen
	if image := os.Getenv(ImageVariable); image != "" {
		s, err := startImage(ctx, image, settings)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := pgserver.Start(ctx, pgserver.Config{TempDir: inMemory(), Settings: settings})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// inMemory is a directory in memory for the files of a server, where the machine has plenty and nobody has chosen another
// by TMPDIR; else empty. A database is a thousand files, and some file systems take half a second of processor time to
// make them where others were deleted a moment ago.
func inMemory() string {
	const dir, plenty = "/dev/shm", 4 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(dir, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < plenty {
		return ""
	}
	return dir
}

// Main is the body of TestMain: it runs the tests, looks for leaked goroutines and stops the server. The
// further functions run after the tests, while the server is still there, and may return an error.
func Main(m *testing.M, after ...func() error) {
	code := m.Run()
	for _, f := range after {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if stem.server != nil {
		if err := stem.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if shared.admins != nil {
		shared.admins.Close()
	}
	if s := shared.server; s != nil {
		if private, ok := s.(*pgserver.Server); ok && (code != 0 || shared.failed.Load()) {
			private.Keep()
			fmt.Fprintf(os.Stderr, "the server's data and log are kept: start it with\n  su postgres -c '%s/postgres -D %s -k %s -c listen_addresses='\n", private.BinDir(), private.DataDir(), private.SocketDir())
		}
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(ignored...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Goroutines that libraries leave behind for the life of the process.
var ignored = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck"),
	goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).triggerHealthCheck.func1"),
	goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"),
	goleak.IgnoreAnyFunction("github.com/golang-migrate/migrate/v4.(*Migration).Buffer"), // after a file that fails
	goleak.IgnoreAnyFunction("github.com/golang-migrate/migrate/v4.(*Migrate).readUp"),
}
