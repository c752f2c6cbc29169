package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/internal/words"
)

// Severity of a finding.
type Severity string

const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Severity Severity `json:"severity"`
	Check    string   `json:"check"`   // name of the check
	Subject  string   `json:"subject"` // a view, a role, a table; empty when it is the whole server
	What     string   `json:"what"`
	Fix      string   `json:"fix"` // SQL or a command
}

// check is one look.
type check struct {
	name    string
	look    func(ctx context.Context, conn *pgx.Conn, s server) ([]Finding, error)
	reaches bool // for relations of users, to read or to lock them, which a sidecar never does
}

// checks are run in this order; those of schema need mvscheduler's schema.
var (
	checks = []check{
		{name: "version", look: knownHoles}, {name: "standby", look: standby}, {name: "pooler", look: pooler}, {name: "clock", look: clockSkew}, {name: "statistics", look: statistics},
	}
	schemaChecks = []check{
		{name: "login", look: logins}, {name: "sidecar", look: sidecars}, {name: "grants", look: viewGrants}, {name: "owner", look: superuserOwners}, {name: "pause", look: pauses},
		{name: "view", look: unwell}, {name: "part", look: parts}, {name: "index", look: indexes}, {name: "query", look: replacedQueries, reaches: true}, {name: "scheduler", look: otherSchedulers, reaches: true},
		{name: "unmanaged", look: unmanaged, reaches: true}, {name: "retention", look: partmanRetention, reaches: true}, {name: "pruning", look: starvedRetention}, {name: "leftover", look: leftovers}, {name: "tracking", look: countedViews}, {name: "source", look: slowSources}, {name: "partition", look: lastPartitions}, {name: "vacuum", look: starvedTables},
	}
)

// Examine runs every check that can be run on this database. The checks that could not be run for want of
// a right are findings too; an error is that of the connection.
func Examine(ctx context.Context, conn *pgx.Conn) ([]Finding, error) {
	return examine(ctx, conn, false)
}

// ExamineAsSidecar leaves out the checks that read relations of others, where the code of whoever made them would
// run with the sidecar's rights, or wait for their locks; a note says which.
func ExamineAsSidecar(ctx context.Context, conn *pgx.Conn) ([]Finding, error) {
	return examine(ctx, conn, true)
}

func examine(ctx context.Context, conn *pgx.Conn, sidecar bool) ([]Finding, error) {
	s, err := readServer(ctx, conn)
	if err != nil {
		return nil, err
	}
	all := checks
	if s.Installed {
		all = append(slices.Clip(all), schemaChecks...)
	}
	found := []Finding{}
	if !s.Installed {
		found = append(found, Finding{Error, "schema", "", "this database has no mvscheduler schema", "mvscheduler migrate up"})
	}
	var left []string // checks that a sidecar leaves out
	for _, c := range all {
		if sidecar && c.reaches {
			left = append(left, c.name)
			continue
		}
		findings, err := c.look(ctx, conn, s)
		var pg *pgconn.PgError
		switch {
		case errors.As(err, &pg) && pg.Code == "42501":
			findings = []Finding{{Note, c.name, "", "this could not be checked: " + pg.Message + "; a superuser can, and a member of mvscheduler_owner", "PGUSER=" + words.ShellQuote(s.Admin) + " mvscheduler doctor"}}
		case err != nil:
			return found, fmt.Errorf("check %s: %w", c.name, err)
		}
		for _, f := range findings {
			f.Check = c.name
			found = append(found, f)
		}
	}
	if len(left) > 0 {
		found = append(found, Finding{Note, "sidecar", "", "a sidecar does not check " + strings.Join(left, ", ") + ": it reads nobody's relations and waits for nobody's locks", "mvscheduler doctor"})
	}
	slices.SortStableFunc(found, func(a, b Finding) int { return rank(a.Severity) - rank(b.Severity) })
	return found, nil
}

func rank(s Severity) int { return slices.Index([]Severity{Error, Warning, Note}, s) }

// rowsOf runs a query whose rows are findings: severity, subject, what, fix.
func rowsOf(ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]Finding, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Finding, error) {
		var f Finding
		err := row.Scan(&f.Severity, &f.Subject, &f.What, &f.Fix)
		f.What, f.Fix = strings.TrimSpace(f.What), strings.TrimSpace(f.Fix)
		return f, err
	})
}
