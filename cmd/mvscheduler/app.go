package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/term"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/migrations"
)

// app is what a command has besides its own flags: the streams, what is known about them, and the way
// to the database.
type app struct {
	*globals
	parser *kong.Kong
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	inTerminal  bool // stdin is a terminal: questions can be asked
	outTerminal bool // stdout is a terminal
	errTerminal bool // stderr is a terminal: progress can be drawn
	width       int  // columns of the terminal; 0 when stdout is none
	colour      bool
	zone        *time.Location  // in which instants are shown to people
	path        string          // search_path of the user's session, see inPath
	told        map[string]bool // notices that were shown; nil = each is shown as often as it comes
	fromEnv     []envValue      // what this command takes from environment variables
}

func newApp(g *globals, parser *kong.Kong, stdin io.Reader, stdout, stderr io.Writer) *app {
	a := &app{globals: g, parser: parser, stdin: stdin, stdout: stdout, stderr: stderr, zone: time.Local}
	a.inTerminal = isTerminal(stdin)
	a.outTerminal = isTerminal(stdout)
	a.errTerminal = isTerminal(stderr)
	if a.outTerminal {
		a.width = 100
		if w, _, err := term.GetSize(int(stdout.(*os.File).Fd())); err == nil && w > 0 {
			a.width = w
		}
	}
	a.colour = a.outTerminal && !g.NoColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return a
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && f != nil && term.IsTerminal(int(f.Fd()))
}

// zoned is embedded in the commands that show instants.
type zoned struct {
	Timezone string `placeholder:"ZONE" group:"output" help:"Zone in which times are shown, an IANA name such as Europe/Berlin. Default: that of this machine."`
}

func (z zoned) apply(a *app) error {
	if z.Timezone == "" {
		return nil
	}
	loc, err := time.LoadLocation(z.Timezone)
	if err != nil {
		return usagef("unknown time zone %q: write an IANA name such as Europe/Berlin", z.Timezone)
	}
	a.zone = loc
	return nil
}

// connect opens the one connection of a command; the caller closes it. Notices of the server are talk. Its
// search_path is PostgreSQL's own: in any other schema somebody may have put a function that fits a call of ours
// better than the one that is meant, and an administrator's session would run it.
func (a *app) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(a.DatabaseURL)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	for name, value := range map[string]string{
		"application_name": "mvscheduler cli",
		"jit":              "off", // compiling a query of the catalog takes longer than running it
		"lock_timeout":     "10s", // whoever may register views can LOCK the table of rows
		"row_security":     "on",  // each role sees its own views

		"quote_all_identifiers": "off",
	} {
		if _, set := cfg.RuntimeParams[name]; !set {
			cfg.RuntimeParams[name] = value
		}
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { a.notice((*pgconn.PgError)(n)) }
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	err = conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('search_path')`).Scan(&a.path)
	if err == nil {
		err = setPath(ctx, conn, pinnedPath)
	}
	if err == nil {
		err = migrations.CheckOwner(ctx, conn)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

const pinnedPath = "pg_catalog, pg_temp"

func setPath(ctx context.Context, q catalog.Querier, path string) error {
	_, err := q.Exec(ctx, `SELECT pg_catalog.set_config('search_path', $1, false)`, path)
	return err
}

// inPath runs f, which takes names as the user writes them, with the user's search_path.
func (a *app) inPath(ctx context.Context, q catalog.Querier, f func() error) error {
	if err := setPath(ctx, q, a.path); err != nil {
		return err
	}
	if err := f(); err != nil {
		_ = setPath(ctx, q, pinnedPath) // fails in a transaction that has failed, at whose end the path is as before
		return err
	}
	return setPath(ctx, q, pinnedPath)
}

// find is catalog.FindView by the user's search_path; its error also names what may have been meant.
func (a *app) find(ctx context.Context, q catalog.Querier, name string) (id int64, err error) {
	err = a.inPath(ctx, q, func() error {
		id, err = catalog.FindView(ctx, q, name)
		return err
	})
	var missing *catalog.NotFoundError
	if errors.As(err, &missing) {
		missing.Near, _ = catalog.ViewsLike(ctx, q, name) // nothing can be asked in a transaction that has failed
	}
	return id, err
}

// findAny is find where a name may be left out: zero then.
func (a *app) findAny(ctx context.Context, q catalog.Querier, name string) (int64, error) {
	if name == "" {
		return 0, nil
	}
	return a.find(ctx, q, name)
}

// withConn runs f on a connection of its own.
func (a *app) withConn(ctx context.Context, f func(conn *pgx.Conn) error) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return f(conn)
}

// say writes one line of talk.
func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.stderr, sanitizeLines(fmt.Sprintf(format, args...)))
}

// confirm asks a yes-or-no question. Without a terminal there is nobody to ask, and -y is needed.
func (a *app) confirm(effect string) error {
	if a.Yes {
		return nil
	}
	if !a.inTerminal {
		return usagef("%s\nThere is no terminal to ask on: repeat the command with -y", effect)
	}
	fmt.Fprintf(a.stderr, "%s\nGo on? [y/N] ", sanitizeLines(effect))
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return &exitError{code: exitFailure, err: fmt.Errorf("nothing was changed")}
}
