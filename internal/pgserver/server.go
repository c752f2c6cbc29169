package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Config of a [Server]. The zero value of each field stands for its default.
type Config struct {
	// BinDir holds initdb and postgres. Defaults to FindBinDir.
	BinDir string
	// Dir holds the data, the log and the socket; it is made when missing, and a cluster that is there
	// already is used. Defaults to a new temporary directory, which Close removes.
	Dir string
	// TempDir is where the temporary directory is made. Defaults to os.TempDir.
	TempDir string
	// Like is a server that was stopped, of the same version: a cluster that is made is a copy of its.
	Like *Server
	// Settings of postgresql.conf, over the defaults of this package (fsync is off).
	Settings map[string]string
}

// Server is a running PostgreSQL.
type Server struct {
	binDir    string
	dir       string
	temporary bool
	settings  map[string]string
	account   *account
	version   int

	process *exec.Cmd
	exited  chan struct{}
}

const startTimeout = 60 * time.Second

// memoryKept has a backend keep what it frees, of the C library of Linux: to plan a large statement takes megabytes for
// milliseconds, and to get them from the system each time anew costs as much as to plan.
var memoryKept = []string{"MALLOC_TRIM_THRESHOLD_=33554432", "MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TOP_PAD_=1048576"}

// Start makes a cluster if there is none, starts the server and waits until it answers.
func Start(ctx context.Context, config Config) (*Server, error) {
	s := &Server{binDir: config.BinDir, dir: config.Dir}
	var err error
	if s.binDir == "" {
		if s.binDir, err = FindBinDir(); err != nil {
			return nil, err
		}
	}
	if s.account, err = serverAccount(); err != nil {
		return nil, err
	}
	if s.dir == "" {
		// Every parent has to be searchable for the server's user, which t.TempDir's are not for root.
		if s.dir, err = os.MkdirTemp(config.TempDir, "mvs"); err != nil {
			return nil, fmt.Errorf("make a directory for the server: %w", err)
		}
		s.temporary = true
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return nil, fmt.Errorf("find the server's directory: %w", err)
	}
	if len(s.dir)+len("/.s.PGSQL.5432") > 106 {
		return nil, fmt.Errorf("the path %s is too long for a unix socket, at most 92 bytes will do", s.dir)
	}
	s.settings = map[string]string{
		"listen_addresses": "", "unix_socket_directories": s.dir, "port": "5432", "fsync": "off",
		"synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200", "shared_buffers": "64MB",
		"max_prepared_transactions": "5", "logging_collector": "off", "cluster_name": "mvscheduler-private",
	}
	maps.Copy(s.settings, config.Settings)
	if err := s.create(ctx, config.Like); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) create(ctx context.Context, like *Server) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the server's directory: %w", err)
	}
	if err := s.account.own(s.dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.DataDir(), "PG_VERSION")); err == nil {
		return nil
	}
	command := []string{filepath.Join(s.binDir, "initdb"), "-D", s.DataDir(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"}
	if like != nil {
		command = []string{"cp", "-R", like.DataDir(), s.DataDir()}
	}
	makes := exec.CommandContext(ctx, command[0], command[1:]...)
	makes.SysProcAttr = s.account.as(&syscall.SysProcAttr{})
	makes.Dir = s.dir
	if out, err := makes.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command[0], err, bytes.TrimSpace(out))
	}
	return nil
}

func (s *Server) start(ctx context.Context) error {
	args := []string{"-D", s.DataDir()}
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		args = append(args, "-c", name+"="+s.settings[name])
	}
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()

	//nolint:noctx // the server outlives the context of its start
	s.process = exec.Command(filepath.Join(s.binDir, "postgres"), args...)
	s.process.Stdout, s.process.Stderr = log, log
	s.process.Dir = s.dir
	s.process.Env = append(os.Environ(), memoryKept...)
	s.process.SysProcAttr = s.account.as(tied())
	s.exited = make(chan struct{})
	if err := startTied(s.process, s.exited); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&s.version)
			return errors.Join(err, conn.Close(ctx))
		}
		select {
		case <-s.exited:
			return fmt.Errorf("postgres ended while it was starting:\n%s", s.tail())
		case <-ctx.Done():
			return fmt.Errorf("postgres did not answer: %w\n%s", errors.Join(context.Cause(ctx), err), s.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) tail() string {
	content, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// URL of a database, for the superuser postgres.
func (s *Server) URL(database string) string { return s.URLAs("postgres", database) }

// URLAs is the URL of a database for a role.
func (s *Server) URLAs(role, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(role), Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}, "port": {s.settings["port"]}, "sslmode": {"disable"}}.Encode(),
	}
	return u.String()
}

// BinDir holds the programs of this server's version.
func (s *Server) BinDir() string { return s.binDir }

// DataDir is the cluster.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// SocketDir is what psql -h takes.
func (s *Server) SocketDir() string { return s.dir }

// LogFile is the server's log.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "log") }

// Version is server_version_num, for example 150018.
func (s *Server) Version() int { return s.version }

// PID is the postmaster's.
func (s *Server) PID() int { return s.process.Process.Pid }

// Mode of a shutdown, as pg_ctl names them.
type Mode string

const (
	Fast      Mode = "fast"      // disconnects everybody, writes a checkpoint
	Immediate Mode = "immediate" // as if it crashed: recovery at the next start
)

// Stop ends the server and waits for it. It may be started again by Restart.
func (s *Server) Stop(mode Mode) error {
	if s.process == nil || s.process.Process == nil {
		return nil
	}
	signal := syscall.SIGINT
	if mode == Immediate {
		signal = syscall.SIGQUIT
	}
	if err := s.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop postgres: %w", err)
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(startTimeout):
		return errors.Join(errors.New("postgres did not stop"), s.process.Process.Kill())
	}
}

// Restart stops the server and starts it again.
func (s *Server) Restart(ctx context.Context, mode Mode) error {
	if err := s.Stop(mode); err != nil {
		return err
	}
	return s.start(ctx)
}

// Close stops the server and removes its directory if the server made it.
func (s *Server) Close() error {
	return errors.Join(s.Stop(Immediate), s.remove())
}

// Keep leaves the directory of a temporary server where it is.
func (s *Server) Keep() { s.temporary = false }

func (s *Server) remove() error {
	if !s.temporary {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// Command runs one of the programs of this server's version (psql, pg_dump) against a database and
// returns what it printed. Not every distribution of the binaries has every program.
func (s *Server) Command(ctx context.Context, stdin io.Reader, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.binDir, program), args...)
	cmd.Stdin = stdin
	cmd.Env = append(os.Environ(), "PGHOST="+s.dir, "PGPORT="+s.settings["port"], "PGUSER=postgres")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return string(out), nil
}
