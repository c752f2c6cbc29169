package migrations

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"
)

// Schema is where everything of ours lives.
const Schema = "mvscheduler"

const (
	ownerRole    = "mvscheduler_owner"
	versionTable = "schema_migrations"

	// lockKey serialises migrations of one database: the bytes of "mvsched" as a number.
	lockKey int64 = 0x6d767363686564

	// A migration waits this long for a lock of somebody else's and then fails without a trace.
	lockTimeout = "10s"
)

//go:embed *.sql
var files embed.FS

// Options of Up and Down.
type Options struct {
	// LockWait is how long to wait for another migration to end. Defaults to 60 s.
	LockWait time.Duration
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.LockWait = cmp.Or(o.LockWait, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Version of a schema. Zero values mean that nothing is there.
type Version struct {
	Catalog int  `json:"catalog"` // newest numbered file applied
	River   int  `json:"river"`
	Dirty   bool `json:"dirty"` // a migration failed half-way
}

func (v Version) String() string {
	s := fmt.Sprintf("%d (River %d)", v.Catalog, v.River)
	if v.Dirty {
		s += ", dirty"
	}
	return s
}

// Report is what Up found and did.
type Report struct {
	Before, After Version
	// Notes are for a DBA: rights that could not be granted.
	Notes []string
}

// VersionError says that the schema does not fit this program.
type VersionError struct{ Have, Want Version }

func (e *VersionError) Error() string {
	switch {
	case e.Have == (Version{}):
		return "this database has no mvscheduler schema yet: run `mvscheduler migrate up`"
	case e.Have.Dirty:
		return fmt.Sprintf("the mvscheduler schema is at version %s: a migration failed half-way; mend what it said, then run `mvscheduler migrate up`", e.Have)
	case e.Have.Catalog > e.Want.Catalog || e.Have.River > e.Want.River:
		return fmt.Sprintf("the mvscheduler schema is at version %s, newer than this program knows (%s): upgrade the program", e.Have, e.Want)
	}
	return fmt.Sprintf("the mvscheduler schema is at version %s, this program needs %s: run `mvscheduler migrate up`", e.Have, e.Want)
}

// Querier is what Check needs of a connection or pool.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Latest is the version that this program needs.
func Latest() (Version, error) {
	names, err := fs.Glob(files, "*.up.sql")
	if err != nil {
		return Version{}, fmt.Errorf("list migrations: %w", err)
	}
	var v Version
	for _, name := range names {
		number, err := numberOf(name)
		if err != nil {
			return Version{}, err
		}
		v.Catalog = max(v.Catalog, number)
	}
	river, err := riverMigrations()
	if err != nil {
		return Version{}, err
	}
	for _, m := range river {
		v.River = max(v.River, m.Version)
	}
	return v, nil
}

func numberOf(file string) (int, error) {
	number, err := strconv.Atoi(file[:strings.IndexByte(file, '_')])
	if err != nil {
		return 0, fmt.Errorf("number of migration %s: %w", file, err)
	}
	return number, nil
}

// CheckOwner returns an error when schema mvscheduler is there and is not ours. Whoever can create schemas can make
// one of this name first, and what is in it would run as whoever looks at it.
func CheckOwner(ctx context.Context, q Querier) error {
	var squatter string
	err := q.QueryRow(ctx, `
SELECT coalesce((SELECT pg_catalog.pg_get_userbyid(n.nspowner)::pg_catalog.text
                   FROM pg_catalog.pg_namespace AS n
                  WHERE n.nspname OPERATOR(pg_catalog.=) 'mvscheduler'
                    AND pg_catalog.pg_get_userbyid(n.nspowner) OPERATOR(pg_catalog.<>) 'mvscheduler_owner'), '')`).Scan(&squatter)
	if err != nil {
		return fmt.Errorf("look for the schema: %w", err)
	}
	if squatter != "" {
		return fmt.Errorf("schema mvscheduler belongs to role %q and not to mvscheduler_owner: it is not ours; rename or drop it before anything else", squatter)
	}
	return nil
}

// Current is the version of the schema in the database; the zero Version when there is none.
func Current(ctx context.Context, q Querier) (Version, error) {
	var v Version
	if err := CheckOwner(ctx, q); err != nil {
		return v, err
	}
	// Two statements, since a table that is missing is an error when the statement is parsed.
	var catalogTable, riverTable bool
	err := q.QueryRow(ctx, `
SELECT to_regclass('mvscheduler.schema_migrations') IS NOT NULL, to_regclass('mvscheduler.river_migration') IS NOT NULL`).
		Scan(&catalogTable, &riverTable)
	if err != nil {
		return v, fmt.Errorf("look for the schema: %w", err)
	}
	if catalogTable {
		err := q.QueryRow(ctx, `SELECT coalesce(max(version), 0)::int, coalesce(bool_or(dirty), false) FROM mvscheduler.schema_migrations`).
			Scan(&v.Catalog, &v.Dirty)
		if err != nil {
			return v, fmt.Errorf("read the schema's version: %w", err)
		}
	}
	if riverTable {
		err := q.QueryRow(ctx, `SELECT coalesce(max(version), 0)::int FROM mvscheduler.river_migration WHERE line = 'main'`).Scan(&v.River)
		if err != nil {
			return v, fmt.Errorf("read the version of River's tables: %w", err)
		}
	}
	return v, nil
}

// Check returns nil when the schema fits this program, and a [*VersionError] when it does not.
func Check(ctx context.Context, q Querier) error {
	have, err := Current(ctx, q)
	if err != nil {
		return err
	}
	want, err := Latest()
	if err != nil {
		return err
	}
	if have != want {
		return &VersionError{Have: have, Want: want}
	}
	return nil
}

// Up creates the roles and the schema where they are missing and applies every migration. It may be
// called by any number of replicas at once.
func Up(ctx context.Context, databaseURL string, options Options) (Report, error) {
	options = options.withDefaults()
	var report Report
	// What is up to date needs no lock: every role can take an advisory lock and keep it.
	// What goes wrong here is said below.
	if have, want, err := Status(ctx, databaseURL); err == nil && have == want {
		return Report{Before: have, After: have}, nil
	}
	err := locked(ctx, databaseURL, options, func(conn *pgx.Conn) error {
		notes, err := bootstrap(ctx, conn)
		if err != nil {
			return err
		}
		report.Notes = notes
		if report.Before, err = Current(ctx, conn); err != nil {
			return err
		}
		want, err := Latest()
		if err != nil {
			return err
		}
		if report.Before.Catalog > want.Catalog || report.Before.River > want.River {
			return &VersionError{Have: report.Before, Want: want}
		}
		if err := runCatalog(ctx, databaseURL, options); err != nil {
			return err
		}
		err = asOwner(databaseURL, func(db *sql.DB) error {
			if err := runRiver(ctx, db, options); err != nil {
				return err
			}
			if _, err := db.ExecContext(ctx, afterRiver); err != nil {
				return fmt.Errorf("grant River's tables to the sidecar: %w", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		report.After, err = Current(ctx, conn)
		return err
	})
	return report, err
}

// Down removes the schema, all of it or nothing. The roles belong to the whole cluster and stay, and so do users' views.
func Down(ctx context.Context, databaseURL string, options Options) error {
	options = options.withDefaults()
	return locked(ctx, databaseURL, options, func(conn *pgx.Conn) error {
		have, err := Current(ctx, conn)
		if err != nil || have == (Version{}) {
			return err
		}
		if err := refuseForeign(ctx, conn); err != nil {
			return err
		}
		body, err := downBody(have)
		if err != nil {
			return err
		}
		return asOwner(databaseURL, func(db *sql.DB) error {
			// Statements that are sent together are one transaction.
			if _, err := db.ExecContext(ctx, body); err != nil {
				return fmt.Errorf("drop schema mvscheduler, of which nothing was changed: %w", err)
			}
			return nil
		})
	})
}

// refuseForeign names what others built on our schema before anything is dropped.
func refuseForeign(ctx context.Context, conn *pgx.Conn) error {
	var dependents, managed, tables *string
	err := conn.QueryRow(ctx, `
WITH ours AS (
    SELECT 'pg_class'::regclass AS classid, c.oid FROM pg_class AS c WHERE c.relnamespace = 'mvscheduler'::regnamespace
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid FROM pg_proc AS p WHERE p.pronamespace = 'mvscheduler'::regnamespace
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid FROM pg_type AS t WHERE t.typnamespace = 'mvscheduler'::regnamespace
), dependent AS (
    SELECT CASE WHEN d.classid = 'pg_rewrite'::regclass THEN 'pg_class'::regclass ELSE d.classid::regclass END AS classid,
           CASE WHEN d.classid = 'pg_rewrite'::regclass THEN (SELECT w.ev_class FROM pg_rewrite AS w WHERE w.oid = d.objid) ELSE d.objid END AS objid
      FROM pg_depend AS d
      JOIN ours AS o ON o.classid = d.refclassid AND o.oid = d.refobjid
     WHERE d.deptype = 'n'
)
SELECT string_agg(DISTINCT c.oid::regclass::text, ', '),
       string_agg(DISTINCT i.name, ', ') FILTER (WHERE NOT i.retained),
       string_agg(DISTINCT i.name, ', ') FILTER (WHERE i.retained)
  FROM dependent AS d
  JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
 CROSS JOIN LATERAL (SELECT o.name, EXISTS (SELECT   -- of source_retention, which the caller may not be allowed to read
                                             FROM pg_class AS t JOIN pg_namespace AS n ON n.oid = t.relnamespace
                                            WHERE t.relkind = 'p' AND format('%I.%I', n.nspname, t.relname) = o.name) AS retained
                       FROM substring(obj_description(c.oid, 'pg_class') FROM '^mvscheduler: (?:gate|query) of (.*)$') AS o(name)) AS i
 WHERE c.relnamespace <> 'mvscheduler'::regnamespace`).Scan(&dependents, &managed, &tables)
	if err != nil {
		return fmt.Errorf("look for what depends on schema mvscheduler: %w", err)
	}
	if dependents == nil {
		return nil
	}
	said := fmt.Sprintf("schema mvscheduler cannot be dropped, these depend on it: %s; nothing was changed.", *dependents)
	if managed != nil {
		said += " Most belong to managed views, which go with mvscheduler drop, or stay when they are given back with mvscheduler release (incremental ones, when method = 'auto' has made materialized views of them): " + *managed + "."
	}
	if tables != nil {
		said += " Gates of tables with retention, which stay, go with their rows: DELETE FROM mvscheduler.source_retention (" + *tables + ")."
	}
	if managed == nil && tables == nil {
		return errors.New(said + " Drop them, then repeat")
	}
	return errors.New(said + " Drop by hand what is left then, and repeat")
}

// Status is the version that the database has and the one that this program needs.
func Status(ctx context.Context, databaseURL string) (have, want Version, err error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return have, want, fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(ctx)
	if have, err = Current(ctx, conn); err != nil {
		return have, want, err
	}
	want, err = Latest()
	return have, want, err
}

// locked runs f while a session of ours holds the lock of migrations.
func locked(ctx context.Context, databaseURL string, options Options, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // which gives the lock back
	if err := refuseStandby(ctx, conn); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, options.LockWait)
	defer cancel()
	for {
		var got bool
		if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, lockKey).Scan(&got); err != nil {
			return fmt.Errorf("take the lock of migrations: %w", err)
		}
		if got {
			return f(conn)
		}
		select {
		case <-waiting.Done():
			return lockHeld(ctx, conn, options.LockWait)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func refuseStandby(ctx context.Context, conn *pgx.Conn) error {
	var standby bool
	if err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err != nil {
		return fmt.Errorf("ask the server for its state: %w", err)
	}
	if standby {
		return errors.New("this server is a standby: connect to the primary")
	}
	return nil
}

func lockHeld(ctx context.Context, conn *pgx.Conn, waited time.Duration) error {
	var (
		pid  *int32
		user *string
	)
	err := conn.QueryRow(ctx, `
SELECT l.pid, a.usename
  FROM pg_locks AS l
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE locktype = 'advisory'
   AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (classid::bigint << 32) | objid::bigint = $1
 LIMIT 1`, lockKey).Scan(&pid, &user)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("look for who holds the lock of migrations: %w", err)
	}
	if pid == nil {
		return fmt.Errorf("the lock of migrations was not had within %s", waited)
	}
	by := "somebody"
	if user != nil {
		by = *user
	}
	return fmt.Errorf("another migration has been under way for more than %s (backend %d of %s): wait for it, or, if that is no administrator, end it with SELECT pg_terminate_backend(%d)", waited, *pid, by, *pid)
}

// ownerDB opens connections that act as mvscheduler_owner from their start on.
func ownerDB(databaseURL string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	config.RuntimeParams["role"] = ownerRole
	config.RuntimeParams["search_path"] = "pg_catalog, pg_temp"
	config.RuntimeParams["lock_timeout"] = lockTimeout
	config.RuntimeParams["application_name"] = "mvscheduler migrate"
	return stdlib.OpenDB(*config), nil
}

// asOwner runs f on such connections.
func asOwner(databaseURL string, f func(*sql.DB) error) (err error) {
	db, err := ownerDB(databaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return f(db)
}

func runCatalog(ctx context.Context, databaseURL string, options Options) (err error) {
	source, err := iofs.New(files, ".")
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	db, err := ownerDB(databaseURL) // the driver closes it
	if err != nil {
		return err
	}
	// One transaction a file, so that a file which fails leaves nothing behind.
	// The library computes the key of an advisory lock of its own from the names. Ours is held already, and
	// any role could take a key that can be known and stop the migration: hence a name that nobody guesses.
	driver, err := migratepgx.WithInstance(db, &migratepgx.Config{SchemaName: Schema, MigrationsTable: versionTable, DatabaseName: rand.Text()})
	if err != nil {
		return errors.Join(fmt.Errorf("prepare the migrations: %w", err), db.Close())
	}
	migrator, err := migrate.NewWithInstance("iofs", source, "pgx5", driver)
	if err != nil {
		return errors.Join(fmt.Errorf("prepare the migrations: %w", err), driver.Close())
	}
	defer func() {
		sourceErr, driverErr := migrator.Close()
		err = errors.Join(err, sourceErr, driverErr)
	}()
	stop := context.AfterFunc(ctx, func() { migrator.GracefulStop <- true })
	defer stop()
	if version, dirty, err := migrator.Version(); err == nil && dirty {
		// The file ran in one transaction, so what failed left nothing: go on from the one before.
		options.Logger.WarnContext(ctx, "a migration failed earlier and is tried again", "version", version)
		before := int(version) - 1
		if before == 0 {
			before = database.NilVersion
		}
		if err := migrator.Force(before); err != nil {
			return fmt.Errorf("go back to version %d: %w", version-1, err)
		}
	}
	if err := migrator.Up(); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		version, _, _ := migrator.Version()
		return located(int(version), err)
	}
	return nil
}

// located says where a migration failed. The library's own message repeats the whole file.
func located(version int, err error) error {
	var failed database.Error
	if !errors.As(err, &failed) {
		return fmt.Errorf("migrate to version %d: %w", version, err)
	}
	if failed.Line > 0 {
		return fmt.Errorf("migrate: %s, line %d: %w", fileOf(version), failed.Line, failed.OrigErr)
	}
	return fmt.Errorf("migrate: %s: %w", fileOf(version), failed.OrigErr)
}

func fileOf(version int) string {
	names, err := fs.Glob(files, fmt.Sprintf("%06d_*.up.sql", version))
	if err != nil || len(names) == 0 {
		return fmt.Sprintf("version %d", version)
	}
	return names[0]
}

func runRiver(ctx context.Context, db *sql.DB, options Options) error {
	migrator, err := rivermigrate.New(riverdatabasesql.New(db), &rivermigrate.Config{Schema: Schema, Logger: options.Logger})
	if err != nil {
		return fmt.Errorf("prepare River's migrations: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate River's tables: %w", err)
	}
	return nil
}
