package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/migrations"
)

// DB is a database of one test.
type DB struct {
	Name   string
	server server
	roles  []string // go when the database went
	log    logReader
}

// server is a private one of this machine's binaries, or one in a container.
type server interface {
	URL(database string) string
	URLAs(role, database string) string
	Version() int
	LogFile() string
	Close() error
}

const templateName = "mvscheduler_template"

var template struct {
	once sync.Once
	err  error
}

// New returns a fresh database with the migrations applied.
func New(t testing.TB) *DB {
	t.Helper()
	server := sharedServer(t)
	template.once.Do(func() { template.err = makeTemplate(server) })
	if template.err != nil {
		t.Fatalf("make the template database: %v", template.err)
	}
	return create(t, server, templateName)
}

// NewEmpty returns a fresh database without anything of ours.
func NewEmpty(t testing.TB) *DB {
	t.Helper()
	return create(t, sharedServer(t), "template0")
}

// Dedicated returns a database with the migrations applied on a server of its own, which the test may
// stop, restart and kill: what it has committed outlives the crash of a backend. The others are added to
// the settings of postgresql.conf.
func Dedicated(t testing.TB, others map[string]string) *DB {
	t.Helper()
	if image := os.Getenv(ImageVariable); image != "" {
		t.Skipf("this test needs a server of its own that it can reach, and %s=%s is run by testcontainers", ImageVariable, image)
	}
	all := map[string]string{"synchronous_commit": "on"}
	maps.Copy(all, settings)
	maps.Copy(all, others)
	stem.once.Do(func() { stem.err = makeStem() })
	if stem.err != nil {
		t.Fatalf("make the cluster that this test's is copied from: %v", stem.err)
	}
	server, err := pgserver.Start(t.Context(), pgserver.Config{TempDir: inMemory(), Like: stem.server, Settings: all})
	if err != nil {
		t.Fatalf("start a PostgreSQL for this test: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			server.Keep()
			t.Logf("the server of this test is kept in %s", server.SocketDir())
		}
		if err := server.Close(); err != nil {
			t.Errorf("stop the server of this test: %v", err)
		}
	})
	return create(t, server, templateName)
}

// stem is a server that was stopped when it had the template: each dedicated one begins as a copy.
var stem struct {
	once   sync.Once
	server *pgserver.Server
	err    error
}

func makeStem() (err error) {
	if stem.server, err = pgserver.Start(context.Background(), pgserver.Config{TempDir: inMemory()}); err != nil {
		return err
	}
	return errors.Join(makeTemplate(stem.server), stem.server.Stop(pgserver.Fast))
}

func makeTemplate(server server) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+templateName+" TEMPLATE template0"); err != nil {
		return err
	}
	if _, err = migrations.Up(ctx, server.URL(templateName), migrations.Options{}); err != nil {
		return err
	}
	return tidy(ctx, server.URL(templateName))
}

// tidy does for the catalogs of the template what autovacuum does in a database that has been there for a while, so
// that it is not done in each copy: dead rows go, and each page says that what it shows has committed.
func tidy(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND NOT c.relisshared`)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "VACUUM (FREEZE, ANALYZE) "+strings.Join(names, ", "))
	return err
}

// lastBackend waits a moment until the sessions of processes that were killed have ended by themselves: PostgreSQL 15
// can hang in one that is told to end while it says that its client is gone, and then CREATE and DROP DATABASE hang too.
const lastBackend = `
DO $$ BEGIN
    FOR n IN 1..100 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = '%s' AND backend_type = 'client backend');
        PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
    END LOOP;
END $$`

// creating serialises CREATE DATABASE: a template can be copied by one session at a time.
var creating sync.Mutex

func create(t testing.TB, server server, from string) *DB {
	t.Helper()
	db := &DB{Name: "test_" + suffix(), server: server}
	creating.Lock()
	defer creating.Unlock()
	if err := admin(server, "CREATE DATABASE "+db.Name+" TEMPLATE "+from+" STRATEGY file_copy"); err != nil {
		t.Fatalf("create a database for this test: %v", err)
	}
	if log, err := os.Stat(server.LogFile()); err == nil {
		db.log.offset = log.Size() // what came before is about others
	}
	t.Cleanup(func() {
		if t.Failed() {
			shared.failed.Store(true)
			t.Logf("the database of this test is kept: %s", db.URL())
			return
		}
		statements := []string{fmt.Sprintf(lastBackend, db.Name), "DROP DATABASE IF EXISTS " + db.Name + " WITH (FORCE)"}
		if len(db.roles) > 0 {
			roles := strings.Join(db.roles, ", ")
			statements = append(statements, "DROP OWNED BY "+roles, "DROP ROLE "+roles) // what is shared by databases may know them
		}
		if err := admin(server, statements...); err != nil {
			t.Errorf("drop the database of this test and its roles: %v", err)
		}
	})
	return db
}

// admins are pools of connections to database postgres, by server: each test has a few words for it.
var admins sync.Map

// admin runs statements one after the other in database postgres.
func admin(server server, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if pool, ok := admins.Load(server); ok {
		return pool.(*pgxpool.Pool).AcquireFunc(ctx, func(c *pgxpool.Conn) error { return each(ctx, c.Conn(), statements) })
	}
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return each(ctx, conn, statements)
}

func each(ctx context.Context, conn *pgx.Conn, statements []string) error {
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func suffix() string { return strings.ToLower(rand.Text()[:8]) }

// Server is the private PostgreSQL that the database lives on, for tests that reach for its files, programs and
// processes. With MVSCHEDULER_TEST_IMAGE there is none, and the test is skipped.
func (d *DB) Server(t testing.TB) *pgserver.Server {
	t.Helper()
	private, ok := d.server.(*pgserver.Server)
	if !ok {
		t.Skipf("this test needs a server that it can reach, and %s=%s is run by testcontainers", ImageVariable, os.Getenv(ImageVariable))
	}
	return private
}

// Version is server_version_num.
func (d *DB) Version() int { return d.server.Version() }

// URL is for the superuser.
func (d *DB) URL() string { return d.server.URL(d.Name) }

// URLAs is for a role.
func (d *DB) URLAs(role string) string { return d.server.URLAs(role, d.Name) }

func (d *DB) urlFor(role string) string {
	if role == "" {
		return d.URL()
	}
	return d.URLAs(role)
}

// Conn connects as a role, or as the superuser when role is empty, until the test ends.
func (d *DB) Conn(t testing.TB, role string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.urlFor(role))
	if err != nil {
		t.Fatalf("connect as %q: %v", role, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// Pool connects as a role, or as the superuser when role is empty, until the test ends.
func (d *DB) Pool(t testing.TB, role string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), d.urlFor(role))
	if err != nil {
		t.Fatalf("connect as %q: %v", role, err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Exec runs a statement as the superuser.
func (d *DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, d.URL())
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Role creates a login role with a unique name that begins with base; options follow CREATE ROLE name.
// It goes with the database at the end, and shall own nothing in another one by then.
func (d *DB) Role(t testing.TB, base string, options ...string) string {
	t.Helper()
	name := base + "_" + suffix()
	if err := admin(d.server, "CREATE ROLE "+name+" LOGIN "+strings.Join(options, " ")); err != nil {
		t.Fatalf("create role %s: %v", name, err)
	}
	d.roles = append(d.roles, name)
	return name
}

// User creates a role that may register views, with a schema of its name, and with the membership that
// the sidecar needs before PostgreSQL 17.
func (d *DB) User(t testing.TB, base string) string {
	t.Helper()
	name := d.Role(t, base)
	sql := "GRANT mvscheduler_user TO " + name + "; CREATE SCHEMA " + name + " AUTHORIZATION " + name
	switch version := d.Version(); {
	case version >= 170000:
	case version >= 160000:
		sql += "; GRANT " + name + " TO mvscheduler_worker WITH INHERIT TRUE, SET FALSE"
	default:
		sql += "; GRANT " + name + " TO mvscheduler_worker"
	}
	d.Exec(t, sql)
	return name
}

// Worker creates a login for a sidecar.
func (d *DB) Worker(t testing.TB) string {
	t.Helper()
	return d.Role(t, "worker", "IN ROLE mvscheduler_worker")
}

// LogParsing has the server log what is only parsed or bound too, in sessions of this database that begin from
// now on. It doubles the log.
func (d *DB) LogParsing(t testing.TB) {
	t.Helper()
	d.Exec(t, "ALTER DATABASE "+d.Name+" SET log_min_duration_statement = 0")
}

// Exec runs statements on a connection that the test has already, one after the other.
func Exec(t testing.TB, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(context.WithoutCancel(t.Context()), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}
