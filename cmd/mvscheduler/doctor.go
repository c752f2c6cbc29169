package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/mvscheduler/mvscheduler/internal/doctor"
)

type doctorCmd struct {
	JSON bool `name:"json" help:"The same as -o json."`
}

func (doctorCmd) Help() string {
	return `Looks for what keeps mvscheduler from working well, with the fix for each: known holes of this PostgreSQL version, a standby, a pooler in front, clocks that differ, statistics that are off, missing logins and grants, a superuser at work, a pause of every view, invalid or missing unique indexes, other schedulers (pg_cron, pg_timetable) that refresh the same view, materialized views that nobody refreshes, leftovers (triggers that serve no view any more among them), tables that autovacuum does not reach. Changes nothing.

Exits with 5 when there is an error or a warning; notes are only told. It sees what you may see: run it as a superuser for everything.

Examples:

  mvscheduler doctor
  mvscheduler doctor --json | jq -r '.[] | select(.severity == "error") | .fix'

` + exitCodesHelp
}

// Run prints the findings.
func (c *doctorCmd) Run(ctx context.Context, a *app) error {
	if c.JSON {
		a.Output = "json"
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		found, err := doctor.Examine(ctx, conn)
		if err != nil {
			return err
		}
		err = emit(a, found, []column[doctor.Finding]{
			{title: "severity", cell: func(f doctor.Finding) string { return severityMark(f.Severity) }, state: func(f doctor.Finding) text.Colors { return severityColours(f.Severity) }},
			{title: "check", cell: func(f doctor.Finding) string { return f.Check }},
			{title: "about", cell: func(f doctor.Finding) string { return f.Subject }},
			{title: "what, and the fix", cell: func(f doctor.Finding) string { return f.What + " → " + f.Fix }, wrap: true},
		}, "Nothing is wrong.")
		if err != nil {
			return err
		}
		for _, f := range found {
			if f.Severity != doctor.Note {
				return &exitError{code: exitUnhealthy}
			}
		}
		return nil
	})
}

func severityMark(s doctor.Severity) string {
	return map[doctor.Severity]string{doctor.Error: "✕ error", doctor.Warning: "◷ warning", doctor.Note: "· note"}[s]
}

func severityColours(s doctor.Severity) text.Colors {
	switch s {
	case doctor.Error:
		return text.Colors{text.FgRed, text.Bold}
	case doctor.Warning:
		return text.Colors{text.FgYellow}
	}
	return nil
}
