package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/doctor"
)

type adoptCmd struct {
	Names      []string `arg:"" optional:"" name:"name" help:"Materialized views to take over."`
	Interval   *string  `column:"refresh_interval" placeholder:"INTERVAL" help:"Target staleness. Default: 1 hour."`
	Cron       *string  `column:"cron" placeholder:"CRON" help:"Five cron fields, instead of --interval."`
	Timezone   *string  `column:"timezone" env:"MVSCHEDULER_VIEW_TIMEZONE" placeholder:"ZONE" help:"Zone of --cron. Default: TimeZone of this connection. Its variable has another name, since MVSCHEDULER_TIMEZONE is the zone in which times are shown."`
	RefreshOn  *string  `column:"refresh_on" placeholder:"WHEN" help:"schedule, upstream or manual."`
	Method     *string  `column:"method" placeholder:"METHOD" help:"auto, full or concurrent."`
	FromPgCron bool     `name:"from-pg-cron" help:"Read cron.job instead: take over every view that a job there refreshes, with its schedule."`
	DryRun     bool     `help:"Only print what would be done."`
}

func (adoptCmd) Help() string {
	return `Takes over materialized views that exist: their data, indexes, grants and comments stay as they are, and from now on the sidecar refreshes them. The view's own query is read from PostgreSQL. Give it back with: mvscheduler release. When its query is edited meanwhile, the new version is a pair as of any managed view: NAME, with the same indexes, grants and comments, and the plain view NAME__query that it reads.

--from-pg-cron finds the jobs of pg_cron that refresh materialized views, shows who refreshes what today, and registers the views with the same schedule in the zone of pg_cron (in --timezone, where you may not see cron.timezone). The jobs go on until you stop them: the statement for it is printed with each.

Examples:

  mvscheduler adopt analytics.daily --interval 10min
  mvscheduler adopt --from-pg-cron --dry-run
  mvscheduler adopt --from-pg-cron

The same in SQL: SELECT mvscheduler.adopt_view('analytics.daily', '10 minutes')

` + exitCodesHelp
}

// adoption is one view and what is to be done with it.
type adoption struct {
	View      string `json:"view"`
	Schedule  string `json:"schedule"`
	Timezone  string `json:"timezone"`
	Today     string `json:"today"`  // who refreshes it today; empty when nobody does
	Stop      string `json:"stop"`   // the statement that ends that; empty when it would end more
	Result    string `json:"result"` // adopted, would be adopted, or why not
	interval  *string
	cron      *string
	refreshOn *string
}

// Run adopts.
func (c *adoptCmd) Run(ctx context.Context, a *app) error {
	if c.FromPgCron == (len(c.Names) > 0) {
		return usagef("name the views to take over, or give --from-pg-cron; mvscheduler doctor lists those that nobody refreshes")
	}
	a.sayVariables()
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		plans := make([]adoption, 0, len(c.Names))
		for _, name := range c.Names {
			plans = append(plans, adoption{View: name, interval: c.Interval, cron: c.Cron, refreshOn: c.RefreshOn})
		}
		if c.FromPgCron {
			var err error
			if plans, err = c.fromPgCron(ctx, a, conn); err != nil {
				return err
			}
		}
		failed := 0
		needed := make(map[string]bool) // jobs that refresh a view which is not taken over
		taken := make(map[string]bool)
		for i := range plans {
			err := c.adopt(ctx, a, conn, &plans[i])
			var pg *pgconn.PgError
			switch {
			case err == nil && taken[plans[i].View]: // a dry run takes nothing over
				plans[i].Result = "would be managed already"
			case err == nil:
				taken[plans[i].View] = true
			case !c.FromPgCron:
				return err
			case errors.As(err, &pg):
				plans[i].Result = pg.Message
			default:
				plans[i].Result = err.Error()
			}
			if err != nil && (pg == nil || pg.Code != "42710") { // managed already: a repeated run changes nothing, but the job still runs
				needed[plans[i].Today] = true
				failed++
			}
		}
		for i := range plans {
			if needed[plans[i].Today] {
				plans[i].Stop = ""
			}
		}
		err := emit(a, plans, []column[adoption]{
			{title: "view", cell: func(p adoption) string { return p.View }},
			{title: "refreshed", cell: func(p adoption) string { return p.Schedule }},
			{title: "zone", cell: func(p adoption) string { return p.Timezone }},
			{title: "today", cell: func(p adoption) string { return p.Today }},
			{title: "result", cell: func(p adoption) string { return p.Result }, wrap: true},
		}, "No job of pg_cron refreshes a materialized view of this database.")
		if err != nil {
			return err
		}
		for _, p := range plans {
			switch {
			case a.Output != "table" || !strings.HasSuffix(p.Result, "adopted") && !strings.HasSuffix(p.Result, "managed already"):
			case p.Stop != "":
				a.say("when the sidecar refreshes %s, stop the job: %s", p.View, p.Stop)
			case p.Today != "":
				a.say("when the sidecar refreshes %s, take the REFRESH out of the job, which does more (cron.alter_job): %s", p.View, p.Today)
			}
		}
		if failed > 0 {
			return &exitError{code: exitFailure}
		}
		return nil
	})
}

// adopt takes one view over in a transaction of its own, which a dry run rolls back.
func (c *adoptCmd) adopt(ctx context.Context, a *app, conn *pgx.Conn, p *adoption) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	timezone := c.Timezone
	if p.Timezone != "" {
		timezone = &p.Timezone
	}
	var id int64
	err = a.inPath(ctx, tx, func() error {
		return tx.QueryRow(ctx, `
SELECT mvscheduler.adopt_view($1, refresh_interval => coalesce($2::text::interval, '1 hour'), cron => $3, timezone => $4,
                              refresh_on => coalesce($5, 'schedule'), method => coalesce($6, 'auto'))`,
			p.View, p.interval, p.cron, timezone, p.refreshOn, c.Method).Scan(&id)
	})
	if err != nil {
		return fmt.Errorf("adopt view %q: %w", p.View, err)
	}
	status, err := catalog.StatusByID(ctx, tx, id)
	if err != nil {
		return fmt.Errorf("adopt view %q: %w", p.View, err)
	}
	p.View, p.Timezone = status.Name, status.Timezone
	p.Schedule = strings.TrimSuffix(scheduleWords(status), " ("+status.Timezone+")") // which has a column
	if c.DryRun {
		p.Result = "would be adopted"
		return nil
	}
	p.Result = "adopted"
	return tx.Commit(ctx)
}

// fromPgCron makes a plan of each REFRESH in cron.job. pg_cron's "N seconds" is an interval; its schedules
// are read in cron.timezone.
func (c *adoptCmd) fromPgCron(ctx context.Context, a *app, conn *pgx.Conn) ([]adoption, error) {
	commands, err := doctor.RefreshCommands(ctx, conn)
	if err != nil || len(commands) == 0 {
		return nil, err
	}
	zone, err := c.cronZone(ctx, a, conn)
	if err != nil {
		return nil, err
	}
	var plans []adoption
	for _, command := range commands {
		if command.Scheduler != "pg_cron" || !command.Active {
			continue
		}
		p := adoption{
			View: command.View, Timezone: zone, Stop: command.Stop,
			Today: fmt.Sprintf("pg_cron job %s, %s, as %s", command.Job, command.Schedule, command.Owner),
		}
		if interval, ok := command.Interval(); ok {
			p.interval = &interval
		} else {
			cron := command.Cron()
			p.cron = &cron
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// cronZone is cron.timezone, which pg_cron since 1.5 shows to members of pg_read_all_settings only.
func (c *adoptCmd) cronZone(ctx context.Context, a *app, conn *pgx.Conn) (zone string, err error) {
	err = conn.QueryRow(ctx, `SELECT coalesce(nullif(nullif(current_setting('cron.timezone', true), ''), 'GMT'), 'UTC')`).Scan(&zone)
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return zone, nil
	case !errors.As(err, &pg) || pg.Code != "42501":
		return "", fmt.Errorf("read cron.timezone: %w", err)
	case c.Timezone != nil:
		return *c.Timezone, nil
	}
	a.say("you may not see cron.timezone, in which pg_cron reads its schedules: its default, GMT, is taken; --timezone names another")
	return "UTC", nil
}

type releaseCmd struct {
	Names []string `arg:"" name:"name" complete:"view" help:"The views."`
}

func (releaseCmd) Help() string {
	return `Gives views back, all of them or none: the rows go and nothing refreshes the views any more; the materialized views stay with their contents, indexes, grants and dependents. Of a view that mvscheduler made, or whose query was edited, the plain view with its query (NAME__query) stays too: the materialized view reads it.

Examples:

  mvscheduler release analytics.daily

The same in SQL: SELECT mvscheduler.release_view('analytics.daily')

` + exitCodesHelp
}

// Run releases the views.
func (c *releaseCmd) Run(ctx context.Context, a *app) error {
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		return eachView(ctx, a, conn, c.Names, "release", func(tx pgx.Tx, name string) (string, error) {
			var kept bool
			if err := tx.QueryRow(ctx, `SELECT retention_period IS NOT NULL FROM mvscheduler.views WHERE name = $1`, name).Scan(&kept); err != nil {
				return "", err
			}
			var query *string
			err := tx.QueryRow(ctx, `
SELECT (SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname) FROM pg_class AS c WHERE c.oid = v.query_relation AND c.relkind = 'v')
  FROM mvscheduler.visible_views AS v
 WHERE v.name = $1`, name).Scan(&query)
			if err != nil {
				return "", err
			}
			if _, err := tx.Exec(ctx, `SELECT mvscheduler.release_view($1)`, name); err != nil {
				return "", err
			}
			words := "released " + name + ": it stays, and nothing refreshes it any more"
			if query != nil {
				words += "; " + *query + " stays too, the plain view with its query, which it reads"
			}
			if kept {
				words += "; its retention_period went with the row, so the next REFRESH brings old rows back"
			}
			return words, nil
		})
	})
}
