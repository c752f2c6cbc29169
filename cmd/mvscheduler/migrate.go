package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/migrations"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Install or upgrade the schema."`
	Down   migrateDownCmd   `cmd:"" help:"Remove the schema; roles and users' data stay."`
	Status migrateStatusCmd `cmd:"" help:"Which version the database has and which one this program needs."`
}

type migrateUpCmd struct {
	PrintSQL    bool   `name:"print-sql" help:"Print the SQL for a DBA instead of running it."`
	FromVersion string `help:"With --print-sql: only what an existing schema lacks. Its version, as migrate status prints it: 12.6 is 12 (River 6)." placeholder:"VERSION"`
}

func (migrateUpCmd) Help() string {
	return `Installs or upgrades schema mvscheduler, River's tables and the roles mvscheduler_owner, mvscheduler_user and mvscheduler_worker. Needs CREATEROLE and CREATE on the database, or a superuser. Safe to repeat, and for two at once.

Examples:

  mvscheduler migrate up
  mvscheduler migrate up --print-sql | psql -v ON_ERROR_STOP=1
  mvscheduler migrate up --print-sql --from-version 12.6 > upgrade.sql

` + exitCodesHelp
}

// Run migrates up.
func (c *migrateUpCmd) Run(ctx context.Context, a *app) error {
	if c.PrintSQL {
		from, err := parseVersion(c.FromVersion)
		if err != nil {
			return err
		}
		return a.printScript(migrations.UpScript(from))
	} else if c.FromVersion != "" {
		return &exitError{code: exitUsage, err: errors.New("--from-version goes with --print-sql; without it the version is read from the database")}
	}
	report, err := migrations.Up(ctx, a.DatabaseURL, migrations.Options{})
	if err != nil {
		return withoutRights(fmt.Errorf("migrate up: %w", err), "Repeat it with such a login: DATABASE_URL=postgres://ADMIN@HOST/DATABASE mvscheduler migrate up")
	}
	if a.Output != "table" {
		return a.emitData(report)
	}
	for _, note := range report.Notes {
		a.say("note: %s", note)
	}
	words := fmt.Sprintf("schema mvscheduler is at version %s", report.After)
	if report.Before == report.After {
		words += ", nothing was to be done"
	}
	a.say("%s\n  next: mvscheduler grants", words)
	return nil
}

type migrateDownCmd struct {
	PrintSQL bool `name:"print-sql" help:"Print the SQL for a DBA instead of running it."`
}

func (migrateDownCmd) Help() string {
	return `Removes schema mvscheduler with the catalog and its history. The materialized views, their data and the roles stay. Asks first, unless -y is given.

Examples:

  mvscheduler migrate down -y
  mvscheduler migrate down --print-sql

` + exitCodesHelp
}

// Run migrates down.
func (c *migrateDownCmd) Run(ctx context.Context, a *app) error {
	if c.PrintSQL {
		return a.printScript(migrations.DownScript())
	}
	if err := a.confirm("Removes schema mvscheduler: every schedule, setting and the whole history. The materialized views and their data stay, but nothing refreshes them any more."); err != nil {
		return err
	}
	if err := migrations.Down(ctx, a.DatabaseURL, migrations.Options{}); err != nil {
		return withoutRights(fmt.Errorf("migrate down: %w", err), "Connect as a superuser, or as a member of mvscheduler_owner.")
	}
	a.say("schema mvscheduler is removed; roles and materialized views stay")
	return nil
}

type migrateStatusCmd struct{}

func (migrateStatusCmd) Help() string {
	return `Prints the version of schema mvscheduler in the database and the one that this program needs. Exits with 5 when they differ.

Examples:

  mvscheduler migrate status || mvscheduler migrate up

` + exitCodesHelp
}

// migrationStatus is what migrate status prints.
type migrationStatus struct {
	Have    migrations.Version `json:"have"`
	Want    migrations.Version `json:"want"`
	Current bool               `json:"current"` // the schema fits this program
}

// Run prints the versions.
func (c *migrateStatusCmd) Run(ctx context.Context, a *app) error {
	have, want, err := migrations.Status(ctx, a.DatabaseURL)
	if err != nil {
		return withoutRights(fmt.Errorf("migrate status: %w", err),
			"The version is for administrators: connect as a superuser, as a member of mvscheduler_owner or as the sidecar's login. Your views: mvscheduler status")
	}
	status := migrationStatus{Have: have, Want: want, Current: have == want}
	if a.Output != "table" {
		if err := a.emitData(status); err != nil {
			return err
		}
	} else if status.Current {
		fmt.Fprintf(a.stdout, "schema mvscheduler is at version %s, as this program needs it\n", have)
	}
	if !status.Current {
		return &exitError{code: exitUnhealthy, err: &migrations.VersionError{Have: have, Want: want}}
	}
	return nil
}

// withoutRights says what to do where a role lacks a right: to register views, of which explain would tell, is
// another one.
func withoutRights(err error, do string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" {
		return &adviceError{err: err, do: do, instead: true}
	}
	return err
}

// parseVersion reads "12.6", or "12" for River's first; empty = no schema.
func parseVersion(text string) (migrations.Version, error) {
	var v migrations.Version
	if text == "" {
		return v, nil
	}
	ours, river, _ := strings.Cut(text, ".")
	var err error
	if v.Catalog, err = strconv.Atoi(ours); err == nil && river != "" {
		v.River, err = strconv.Atoi(river)
	}
	if err != nil || v.Catalog < 0 || v.River < 0 {
		return v, &exitError{code: exitUsage, err: fmt.Errorf("--from %q is no version: write 12.6 for what migrate status calls 12 (River 6)", text)}
	}
	return v, nil
}

func (a *app) printScript(script string, err error) error {
	if err != nil {
		return fmt.Errorf("print the migrations: %w", err)
	}
	_, err = io.WriteString(a.stdout, script)
	return err
}
