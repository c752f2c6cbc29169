package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/words"
	"github.com/mvscheduler/mvscheduler/jobs"
	"github.com/mvscheduler/mvscheduler/retention"
)

type pruneCmd struct {
	zoned
	Name   string `arg:"" complete:"view" help:"The view, or the table of source_retention."`
	DryRun bool   `help:"Only say what would leave, and why what stays does."`
	Wait   bool   `short:"w" help:"Wait for at most 30 s until the sidecar has let it go. Exit with 1 when it has not."`

	RetentionPeriod string `placeholder:"INTERVAL" help:"With --dry-run: if it were kept so long, as '30 days'."`
}

func (pruneCmd) Help() string {
	return `Says what leaves for a retention_period, and unless --dry-run is given asks the sidecar to let it go. The sidecar plans anew and does it; mvscheduler runs NAME says what became of it, and so does --wait.

Of incremental views, and of tables of source_retention, whole partitions leave: they are put aside, can be brought back by restore, and are dropped when their grace period is over. Each is listed with the reason. Of other views rows leave at a refresh; they are counted with your own rights.

Examples:

  mvscheduler prune analytics.daily --dry-run
  mvscheduler prune analytics.daily --dry-run --retention-period '90 days'
  mvscheduler prune analytics.daily
  mvscheduler prune app.flights --dry-run
  mvscheduler prune app.flights --wait

The same in SQL: SELECT * FROM mvscheduler.prune_view('analytics.daily', dry_run => true)

` + exitCodesHelp
}

// pruning is what leaves a view.
type pruning struct {
	Relation string     `json:"relation"`
	Border   *time.Time `json:"border"` // rows before it leave; nil = none do
	Rows     *int64     `json:"rows"`   // nil = not counted: the caller is not the owner
	Bytes    *int64     `json:"bytes"`
	Reason   string     `json:"reason"`
	Run      *int64     `json:"run"` // that lets them go; nil = none was asked for
}

// Run prunes.
func (c *pruneCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(a); err != nil {
		return err
	}
	if c.RetentionPeriod != "" && !c.DryRun {
		return usagef("--retention-period is for --dry-run: what is kept is said by the row of the view, or of source_retention")
	}
	if c.Wait && c.DryRun {
		return usagef("--wait is for what is done: leave out --dry-run")
	}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		id, err := a.findTarget(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		last, lastRun, err := pruneRun(ctx, conn, id, 0) // before the facts are read: what is done in between counts as done
		if err != nil {
			return err
		}
		target, err := c.target(ctx, conn, id)
		if err != nil {
			return err
		}
		if target != nil {
			return c.partitions(ctx, a, conn, *target, last, lastRun)
		}
		var found []pruning
		err = a.inPath(ctx, conn, func() error {
			rows, err := conn.Query(ctx, `SELECT relation, border, rows, bytes, reason, run FROM mvscheduler.prune_view($1, dry_run => $2, retention_period => nullif($3, '')::interval)`, c.Name, c.DryRun, c.RetentionPeriod)
			if err != nil {
				return err
			}
			found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[pruning])
			return err
		})
		if err != nil {
			return fmt.Errorf("prune view %q: %w", c.Name, err)
		}
		if c.Wait {
			var asked []requested
			for _, p := range found {
				if p.Run != nil {
					asked = append(asked, requested{Name: p.Relation, RunID: *p.Run, State: "requested"})
				}
			}
			if err := a.waitFor(ctx, conn, asked, pruneWait); err != nil {
				return err
			}
		}
		return emit(a, found, []column[pruning]{
			{title: "view", cell: func(p pruning) string { return p.Relation }},
			{title: "rows that leave", cell: func(p pruning) string { return countOf(p.Rows) }, right: true},
			{title: "bytes", cell: func(p pruning) string { return bytesOf(p.Bytes) }, right: true},
			{title: "run", cell: func(p pruning) string {
				if p.Run == nil {
					return nothing
				}
				return strconv.FormatInt(*p.Run, 10)
			}},
			{title: "why", cell: func(p pruning) string { return p.Reason }, wrap: true},
		}, "")
	})
}

// findTarget finds an incremental view or a table of source_retention, or any managed view.
func (a *app) findTarget(ctx context.Context, conn *pgx.Conn, name string) (id int64, err error) {
	var kind, quoted string
	err = a.inPath(ctx, conn, func() error {
		return conn.QueryRow(ctx, `
SELECT coalesce((SELECT t.id FROM mvscheduler.visible_targets AS t WHERE t.face::oid = to_regclass($1)::oid LIMIT 1), 0),
       coalesce((SELECT c.relkind::text FROM pg_class AS c WHERE c.oid = to_regclass($1)::oid), ''), quote_literal($1)`, name).Scan(&id, &kind, &quoted)
	})
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "42501" { // the schema is not for the caller, so nothing in it is
		err = nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for %q: %w", name, err)
	}
	switch {
	case id != 0:
		return id, nil
	case kind == "r":
		return 0, &exitError{code: exitNotFound, err: fmt.Errorf("table %s is not partitioned: what leaves are partitions, of incremental views and of tables that are partitioned by a range of their time", name)}
	case kind == "p":
		return 0, &exitError{code: exitNotFound, err: fmt.Errorf("table %s has no row in mvscheduler.source_retention: its owner writes INSERT INTO mvscheduler.source_retention (\"table\", retention_period, legal_hold) VALUES (%s, '90 days', true), which lets nothing go yet", name, quoted)}
	}
	return a.find(ctx, conn, name)
}

// target reads the facts about partitions; nil where there are none.
func (c *pruneCmd) target(ctx context.Context, conn *pgx.Conn, id int64) (*catalog.PruneTarget, error) {
	if _, err := conn.Exec(ctx, `SELECT set_config('jit', 'off', false)`); err != nil { // it would take longer than the query
		return nil, fmt.Errorf("prune %q: %w", c.Name, err)
	}
	return catalog.LoadPruneTarget(ctx, conn, id)
}

// leaving is one partition and what becomes of it.
type leaving struct {
	Name      string           `json:"name"` // of the view or table
	Partition string           `json:"partition"`
	Action    retention.Action `json:"action"`
	Rows      *int64           `json:"rows"` // estimated; nil = unknown
	Bytes     int64            `json:"bytes"`
	Reason    string           `json:"reason"`
	holds     string
	why       string // the reason without what the other columns say
	Blocker   string `json:"blocker,omitempty"` // the view, table or role that needs it
	Run       *int64 `json:"run"`               // that was asked for; nil = none
}

// partitions shows the plan and, unless it is only to be shown, has it carried out. last is the run that pruned the target last
// and had ended before the facts were read.
func (c *pruneCmd) partitions(ctx context.Context, a *app, conn *pgx.Conn, target catalog.PruneTarget, last int64, lastRun catalog.RunRecord) error {
	facts, readers, err := retention.Decode(target.Facts)
	if err != nil {
		return err
	}
	if err := jobs.AddUnseen(ctx, conn, &facts, readers); err != nil {
		return err
	}
	facts.Witness = new(retention.At(time.Now()))
	if c.RetentionPeriod != "" {
		if facts.Policy.RetentionPeriod, err = period(ctx, conn, c.RetentionPeriod); err != nil {
			return err
		}
		facts.Policy.Enabled = true
	}
	plan := retention.Plan(facts)
	without := plan // the legal hold
	if facts.Policy.LegalHold {
		free := facts
		free.Policy.LegalHold = false
		without = retention.Plan(free)
	}
	var run *int64
	asked := !c.DryRun && !plan.Empty()
	if asked {
		if run, err = c.ask(ctx, conn, target); err != nil {
			return fmt.Errorf("prune %q: %w", target.Name, err)
		}
	}
	all := make([]leaving, 0, len(plan.Decisions))
	for i, d := range plan.Decisions {
		l := leaving{Name: target.Name, Partition: d.Partition.Name, Action: d.Action, Bytes: d.Partition.Bytes, Reason: d.Reason, holds: nothing, why: d.Why, Blocker: d.Blocker, Run: run}
		if d.Partition.Rows >= 0 {
			l.Rows = &d.Partition.Rows
		}
		if d.Bound != (retention.Bound{}) {
			l.holds = d.Bound.String()
		}
		if why := without.Decisions[i].Why; why != l.why && c.DryRun {
			l.why += "; without that: " + why
		}
		all = append(all, l)
	}
	err = emit(a, all, []column[leaving]{
		{title: "partition", cell: func(l leaving) string { return l.Partition }},
		{title: "holds", cell: func(l leaving) string { return l.holds }},
		{title: "action", cell: func(l leaving) string { return string(l.Action) }},
		{title: "rows", cell: func(l leaving) string { return countOf(l.Rows) }, right: true},
		{title: "bytes", cell: func(l leaving) string { return bytesOf(&l.Bytes) }, right: true},
		{title: "why", cell: func(l leaving) string { return l.why }, wrap: true},
	}, target.Name+" has no partitions.")
	if err != nil {
		return err
	}
	switch {
	case c.DryRun:
		sayTotals(a, plan, "would be")
	case asked:
		sayTotals(a, plan, "asked for, to be")
	case facts.Policy.LegalHold:
		a.say("nothing leaves: there is a legal hold")
	default:
		a.say("nothing leaves now")
	}
	if facts.Policy.LegalHold {
		sayTotals(a, without, "without the legal hold would be")
	}
	for _, note := range plan.Notes {
		a.say("%s", note)
	}
	switch {
	case c.DryRun:
		a.say("nothing was changed: --dry-run")
		if lastRun.State == "failed" && !plan.Empty() {
			a.say("the last try did not come through: %s", runWords(lastRun))
		}
	case asked && c.Wait:
		return a.waitForPrune(ctx, conn, target, last)
	case asked:
		return a.sayWhoPrunes(ctx, conn, target)
	}
	return nil
}

// sayTotals says how much a plan moves.
func sayTotals(a *app, plan retention.Outcome, how string) {
	for _, move := range []struct {
		action retention.Action
		words  string
	}{{retention.Detach, "put aside"}, {retention.Drop, "dropped for good"}, {retention.Attach, "brought back"}} {
		if total := plan.Total(move.action); total.Partitions > 0 {
			a.say("%s %s: %s", how, move.words, total)
		}
	}
}

const pruneWait = 30 * time.Second

// pruneRun is the newest run after a number that pruned a target and has ended; zero when there is none.
func pruneRun(ctx context.Context, conn *pgx.Conn, target, after int64) (id int64, r catalog.RunRecord, err error) {
	runs, err := catalog.Runs(ctx, conn, catalog.RunFilter{ViewID: target, Limit: 100})
	for _, r := range runs {
		if r.Kind == "prune" && r.Ended() && r.ID > after {
			return r.ID, r, err
		}
	}
	return 0, r, err
}

// waitForPrune waits until a run that ended after the last one has pruned a target.
func (a *app) waitForPrune(ctx context.Context, conn *pgx.Conn, target catalog.PruneTarget, last int64) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for began := time.Now(); ; {
		id, run, err := pruneRun(ctx, conn, target.ID, last)
		switch {
		case err != nil:
			return err
		case id != 0 && run.State == "succeeded":
			a.say("run %d: %s", id, runWords(run))
			return nil
		case id != 0:
			return &exitError{code: exitFailure, err: fmt.Errorf("prune %q: run %d %s: %s", target.Name, id, run.State, runWords(run))}
		case time.Since(began) > pruneWait:
			if err := a.sayWhoPrunes(ctx, conn, target); err != nil {
				return err
			}
			return &exitError{code: exitFailure, err: fmt.Errorf("prune %q: not done after %s; what keeps its partitions says: mvscheduler prune %s --dry-run", target.Name, pruneWait, words.ShellQuote(target.Name))}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

// sayWhoPrunes says who does what was asked for, and where to see it.
func (a *app) sayWhoPrunes(ctx context.Context, conn *pgx.Conn, target catalog.PruneTarget) error {
	there, err := catalog.SidecarConnected(ctx, conn)
	if err != nil {
		return err
	}
	if !there {
		a.say("no sidecar is connected to this database, and it is the sidecar that does it: mvscheduler serve --help")
	}
	a.say("what the sidecar does of it:  mvscheduler runs %s", shellQuote(target.Name))
	return nil
}

// period reads an interval as PostgreSQL does.
func period(ctx context.Context, conn *pgx.Conn, text string) (*retention.Interval, error) {
	var (
		i     pgtype.Interval
		valid bool
	)
	err := conn.QueryRow(ctx, `SELECT i, mvscheduler.is_period(i) FROM CAST($1::text AS interval) AS i`, text).Scan(&i, &valid)
	if err == nil && !valid {
		err = usagef("%q is no time of at most 5000 years", text)
	}
	if err != nil {
		return nil, fmt.Errorf("read --retention-period: %w", err)
	}
	return &retention.Interval{Months: i.Months, Days: i.Days, Microseconds: i.Microseconds}, nil
}

// ask has the sidecar plan again and do it: after a refresh of a view, and at once for a table.
func (c *pruneCmd) ask(ctx context.Context, conn *pgx.Conn, target catalog.PruneTarget) (run *int64, err error) {
	if target.ID > 0 {
		err = conn.QueryRow(ctx, `SELECT mvscheduler.refresh_view($1)`, target.Name).Scan(&run)
		return run, err
	}
	_, err = conn.Exec(ctx, `UPDATE mvscheduler.source_retention SET enabled = enabled WHERE id = $1`, target.ID)
	return nil, err
}
