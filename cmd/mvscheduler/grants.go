package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type grantsCmd struct {
	For   string `placeholder:"ROLE" help:"Only what this owner of views needs."`
	Login string `placeholder:"ROLE" help:"Name of the login that the sidecar gets. Default: any that is there already, else mvscheduler_sidecar."`
}

func (grantsCmd) Help() string {
	return `Prints the script of roles and GRANTs that the connected server needs, for a DBA to read and run with psql. What is in force already is commented out. Nothing is changed.

PostgreSQL 17 and later: the INSERT that registers a view grants MAINTAIN on it by itself. Before that, the right to REFRESH comes only with membership in the owner, which a DBA grants once per owner.

Examples:

  mvscheduler grants
  mvscheduler grants --for app_owner | psql
  mvscheduler grants -o json

` + exitCodesHelp
}

// grant is one statement of the script.
type grant struct {
	Purpose   string `json:"purpose"`
	Statement string `json:"statement"`
	Needed    bool   `json:"needed"`   // false = optional
	InForce   bool   `json:"in_force"` // has been run already
}

// Run prints the script.
func (c *grantsCmd) Run(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		server, err := readServer(ctx, conn, c.Login)
		if err != nil {
			return err
		}
		owners, err := readOwners(ctx, conn, c.For)
		if err != nil {
			return err
		}
		if c.For != "" && len(owners) == 0 {
			return &catalog.NotFoundError{Kind: "role", Name: fmt.Sprintf("%q", c.For)}
		}
		grants := grantsFor(server, owners, c.For)
		if a.Output != "table" {
			return a.emitData(grants)
		}
		_, err = io.WriteString(a.rawOut(), grantScript(server, grants, c.For))
		return err
	})
}

// grantServer is what the script depends on, besides the owners.
type grantServer struct {
	Version    int    `db:"version"` // server_version_num
	Shown      string `db:"shown"`   // server_version
	Database   string `db:"database"`
	Login      string `db:"login"`
	LoginReady bool   `db:"login_ready"` // it exists and is a member of mvscheduler_worker
	LoginThere bool   `db:"login_there"`
	AnyLogin   bool   `db:"any_login"` // no login was named, and there is one that is a member of mvscheduler_worker
	Connects   bool   `db:"connects"`
	ReadsStats bool   `db:"reads_stats"`
	SetsLimit  bool   `db:"sets_limit"`
}

func readServer(ctx context.Context, conn *pgx.Conn, login string) (grantServer, error) {
	var ready bool
	if err := conn.QueryRow(ctx, `SELECT to_regrole('mvscheduler_worker') IS NOT NULL AND to_regclass('mvscheduler.status') IS NOT NULL`).Scan(&ready); err != nil {
		return grantServer{}, fmt.Errorf("read roles: %w", err)
	}
	if !ready {
		return grantServer{}, errors.New("this database has no mvscheduler schema yet; first run: mvscheduler migrate up")
	}
	rows, err := conn.Query(ctx, `
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS shown, current_database()::text AS database,
       $1::text AS login,
       EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = $1) AS login_there,
       EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = $1 AND r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, 'mvscheduler_worker', 'USAGE')) AS login_ready,
       $2 AND EXISTS (SELECT FROM pg_roles AS r WHERE r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, 'mvscheduler_worker', 'USAGE')) AS any_login,
       has_database_privilege('mvscheduler_worker', current_database(), 'CONNECT') AS connects,
       pg_has_role('mvscheduler_worker', 'pg_read_all_stats', 'USAGE') AS reads_stats,
       has_parameter_privilege('mvscheduler_worker', 'temp_file_limit', 'SET') AS sets_limit`, cmp.Or(login, "mvscheduler_sidecar"), login == "")
	if err != nil {
		return grantServer{}, fmt.Errorf("read roles: %w", err)
	}
	server, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[grantServer])
	if err != nil {
		return grantServer{}, fmt.Errorf("read roles: %w", err)
	}
	return server, nil
}

// grantOwner is a role that owns views, or shall.
type grantOwner struct {
	Role      string `db:"role"`
	Super     bool   `db:"super"`
	Registers bool   `db:"registers"` // may insert into mvscheduler.views
	Refreshed bool   `db:"refreshed"` // the sidecar has its rights
}

func readOwners(ctx context.Context, conn *pgx.Conn, only string) ([]grantOwner, error) {
	rows, err := conn.Query(ctx, `
SELECT r.rolname::text AS role, r.rolsuper AS super,
       pg_has_role(r.oid, 'mvscheduler_user', 'MEMBER') AS registers,
       pg_has_role('mvscheduler_worker', r.oid, 'USAGE') AS refreshed
  FROM pg_roles AS r
 WHERE CASE WHEN $1 = '' THEN r.oid IN (SELECT s.owner::oid FROM mvscheduler.status AS s) ELSE r.rolname = $1 END
 ORDER BY r.rolname`, only)
	if err != nil {
		return nil, fmt.Errorf("read owners: %w", err)
	}
	owners, err := pgx.CollectRows(rows, pgx.RowToStructByName[grantOwner])
	if err != nil {
		return nil, fmt.Errorf("read owners: %w", err)
	}
	return owners, nil
}

// grantsFor decides which statements a server of this version needs.
func grantsFor(server grantServer, owners []grantOwner, only string) []grant {
	quote := func(name string) string { return pgx.Identifier{name}.Sanitize() }
	var out []grant
	if only == "" {
		login := quote(server.Login)
		const purpose = "the sidecar's login; set its password with \\password"
		out = append(out,
			grant{Purpose: purpose, Statement: "CREATE ROLE " + login + " LOGIN;", Needed: true, InForce: server.LoginThere || server.AnyLogin},
			grant{Purpose: purpose, Statement: "GRANT mvscheduler_worker TO " + login + ";", Needed: true, InForce: server.LoginReady || server.AnyLogin && !server.LoginThere},
			grant{Purpose: purpose, Statement: "GRANT CONNECT ON DATABASE " + quote(server.Database) + " TO mvscheduler_worker;", Needed: true, InForce: server.Connects},
			grant{Purpose: "the sidecar tells lost workers from slow ones by pg_stat_activity", Statement: "GRANT pg_read_all_stats TO mvscheduler_worker;", Needed: true, InForce: server.ReadsStats},
			grant{Purpose: "optional: the sidecar may bound the temporary files of a refresh", Statement: "GRANT SET ON PARAMETER temp_file_limit TO mvscheduler_worker;", InForce: server.SetsLimit})
	}
	for _, o := range owners {
		role := quote(o.Role)
		if o.Super {
			continue // nobody can be given a superuser's rights, and the sidecar refuses them
		}
		out = append(out, grant{Purpose: "role " + o.Role + " may register views", Statement: "GRANT mvscheduler_user TO " + role + ";", Needed: true, InForce: o.Registers})
		membership := grant{Purpose: "the sidecar may refresh what " + o.Role + " owns", Needed: true, InForce: o.Refreshed}
		switch {
		case server.Version >= 170000: // MAINTAIN is granted by the INSERT
			continue
		case server.Version >= 160000:
			membership.Statement = "GRANT " + role + " TO mvscheduler_worker WITH INHERIT TRUE, SET FALSE;"
		default:
			membership.Statement = "GRANT " + role + " TO mvscheduler_worker;"
		}
		out = append(out, membership)
	}
	return out
}

// grantScript is the script as psql takes it; owners names whom it is for, empty = all who own views now.
func grantScript(server grantServer, grants []grant, owners string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- Roles and GRANTs of mvscheduler for PostgreSQL %s, database %s.\n", sanitize(server.Shown), sanitize(server.Database))
	b.WriteString("-- For a superuser, or a role that may grant the roles named here. Lines marked \"in force\" need not be run.\n")
	purpose := ""
	for _, g := range grants {
		if g.Purpose != purpose {
			purpose = g.Purpose
			fmt.Fprintf(&b, "\n-- %s\n", sanitize(purpose))
		}
		switch {
		case g.InForce:
			fmt.Fprintf(&b, "-- in force: %s\n", sanitize(g.Statement))
		case !g.Needed:
			fmt.Fprintf(&b, "-- %s\n", sanitize(g.Statement))
		default:
			fmt.Fprintln(&b, g.Statement)
		}
	}
	if owners == "" {
		b.WriteString("\n-- For each role that shall own views, once, before its first view: mvscheduler grants --for ROLE\n")
	}
	if server.Version >= 170000 {
		b.WriteString("\n-- Nothing else per owner: on PostgreSQL 17 and later the INSERT that registers a view grants MAINTAIN on it\n-- and USAGE on its schema to mvscheduler_worker.\n")
	} else {
		b.WriteString("\n-- USAGE on the schema of a view is granted to mvscheduler_worker by the INSERT that registers it.\n")
	}
	return b.String()
}
