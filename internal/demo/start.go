package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/migrations"
)

// database of the demonstration on its private server.
const database = "demo"

// Config of a [Demo]. The zero value of each field stands for its default.
type Config struct {
	// BinDir holds the binaries of PostgreSQL. Defaults to what is found on this machine.
	BinDir string
	// Dir keeps the data. Defaults to a temporary directory, which Close removes.
	Dir string
}

// Demo is a private PostgreSQL with the sample, the schema of mvscheduler and the managed views on it.
// Nothing refreshes them until a sidecar connects to SidecarURL.
type Demo struct {
	server *pgserver.Server
	// Flights is how many have arrived already.
	Flights int64
}

// Start starts the server and sets everything up. With a directory that an earlier demonstration left it
// goes on there. say hears of each step.
func Start(ctx context.Context, config Config, say func(string)) (*Demo, error) {
	server, err := pgserver.Start(ctx, pgserver.Config{BinDir: config.BinDir, Dir: config.Dir})
	if err != nil {
		return nil, fmt.Errorf("start a private PostgreSQL: %w", err)
	}
	d := &Demo{server: server}
	say(fmt.Sprintf("PostgreSQL %d.%d of %s is up, with its data in %s", server.Version()/10000, server.Version()%10000, server.BinDir(), server.SocketDir()))
	if err := d.setUp(ctx, say); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Demo) setUp(ctx context.Context, say func(string)) error {
	if err := d.createDatabase(ctx); err != nil {
		return err
	}
	report, err := migrations.Up(ctx, d.server.URL(database), migrations.Options{})
	if err != nil {
		return fmt.Errorf("install schema mvscheduler: %w", err)
	}
	say("schema mvscheduler is at version " + report.After.String())
	if err := with(ctx, d.server.URL(database), func(admin *pgx.Conn) error { return SetUpRoles(ctx, admin) }); err != nil {
		return err
	}
	return with(ctx, d.AnalystURL(), func(analyst *pgx.Conn) error {
		var err error
		d.Flights, err = Install(ctx, analyst, say)
		return err
	})
}

// Install loads the sample and registers the views, as the connection's role, which has to be a member of
// mvscheduler_user. It leaves alone what is there already and returns how many flights there are.
func Install(ctx context.Context, conn *pgx.Conn, say func(string)) (int64, error) {
	arrived, err := Load(ctx, conn)
	if err != nil {
		return 0, err
	}
	say(fmt.Sprintf("%d flights of %d are loaded, the rest arrives bit by bit", arrived, Total))
	if err := Register(ctx, conn); err != nil {
		return 0, err
	}
	for _, v := range Views {
		say(fmt.Sprintf("registered %-28s %s", v.Name, v.Says))
	}
	return arrived, nil
}

func (d *Demo) createDatabase(ctx context.Context) error {
	return with(ctx, d.server.URL("postgres"), func(conn *pgx.Conn) error {
		var exists bool
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&exists); err != nil {
			return fmt.Errorf("look for the database: %w", err)
		}
		if exists {
			return nil
		}
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+database); err != nil {
			return fmt.Errorf("create the database: %w", err)
		}
		return nil
	})
}

// with runs f on a connection of its own.
func with(ctx context.Context, url string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the private server: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return f(conn)
}

// AnalystURL is for the role that owns the tables and the views.
func (d *Demo) AnalystURL() string { return d.server.URLAs(Analyst, database) }

// SidecarURL is for the login of the sidecar.
func (d *Demo) SidecarURL() string { return d.server.URLAs(Sidecar, database) }

// Psql is the command line that looks at it with psql.
func (d *Demo) Psql() string {
	return fmt.Sprintf("psql -h %s -U %s %s", d.server.SocketDir(), Analyst, database)
}

// LogFile is the log of the server.
func (d *Demo) LogFile() string { return d.server.LogFile() }

// Dir holds the data and the logs.
func (d *Demo) Dir() string { return d.server.SocketDir() }

// Close stops the server, and removes its directory when that was temporary.
func (d *Demo) Close() error { return d.server.Close() }
