package pgtest

import (
	"bufio"
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
	"time"

	"github.com/jackc/pgx/v5"
)

// ImageVariable names the environment variable that chooses an image of PostgreSQL, which testcontainers
// runs in place of the binaries of this machine.
const ImageVariable = "MVSCHEDULER_TEST_IMAGE"

// imageServer is a PostgreSQL in a container; it ends with the process that keeps it, and that with its
// standard input. Nobody can stop or restart it.
type imageServer struct {
	dir     string // holds the log
	keeper  *exec.Cmd
	stdin   io.Closer
	address string // host:port
	version int
}

// keeperModule is where the program is that talks to testcontainers.
const keeperModule = "internal/pgtest/container"

func startImage(ctx context.Context, image string, settings map[string]string) (*imageServer, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/mvscheduler/mvscheduler").Output()
	if err != nil {
		return nil, fmt.Errorf("find this module: %w", err)
	}
	dir, err := os.MkdirTemp("", "mvs")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the server's log: %w", err)
	}
	s := &imageServer{dir: dir}
	if err := os.Chmod(dir, 0o777); err != nil { // the server is another user
		return nil, errors.Join(err, s.remove())
	}
	args := []string{"run", "-C", filepath.Join(strings.TrimSpace(string(root)), keeperModule), ".", dir, image}
	all := map[string]string{
		"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200",
		"shared_buffers": "64MB", "max_prepared_transactions": "5",
	}
	maps.Copy(all, settings)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	s.keeper = exec.CommandContext(context.WithoutCancel(ctx), "go", args...)
	s.keeper.Stderr = os.Stderr
	stdin, errIn := s.keeper.StdinPipe()
	stdout, errOut := s.keeper.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", keeperModule, err), s.remove())
	}
	if err := s.keeper.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", keeperModule, err), s.remove())
	}
	s.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s=%s: no server came up", ImageVariable, image), s.Close())
	}
	s.address = strings.TrimSpace(line)
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// await asks until the server answers: its port is open a little earlier.
func (s *imageServer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&s.version)
			return errors.Join(err, conn.Close(ctx))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the server of the image: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Version is server_version_num.
func (s *imageServer) Version() int { return s.version }

// URL is for the superuser.
func (s *imageServer) URL(database string) string { return s.URLAs("postgres", database) }

// URLAs is for a role.
func (s *imageServer) URLAs(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Host: s.address, Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// LogFile is what the server wrote to its standard error.
func (s *imageServer) LogFile() string { return filepath.Join(s.dir, "log") }

// Close removes the container and the log.
func (s *imageServer) Close() error {
	err := errors.Join(s.stdin.Close(), s.keeper.Wait())
	if err != nil {
		err = fmt.Errorf("end %s: %w", keeperModule, err)
	}
	return errors.Join(err, s.remove())
}

func (s *imageServer) remove() error { return os.RemoveAll(s.dir) }
