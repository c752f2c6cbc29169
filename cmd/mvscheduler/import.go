package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

type importCmd struct {
	Files     []string `arg:"" name:"file" help:"YAML or JSON as export writes it; - is stdin."`
	KeepGoing bool     `help:"Leave what fails as it is, and import the rest. The exit code is 1 all the same."`
	DryRun    bool     `help:"Do it all, show it, and undo it. The exit code is 4 when something would change."`
}

func (importCmd) Help() string {
	return `Makes the catalog what the files say, all of it or nothing: INSERTs rows that are missing, UPDATEs those that differ, in any order of the files. Rows that no file names stay as they are. Names are schema.view in full. plan and apply do the same with a folder: they show a diff, and apply asks.

A column that a file leaves out gets its default, as export leaves it out; but owner, timezone, search_path, enabled, legal_hold and a pause stay as they are. A pause is paused_at, paused_until and pause_reason, of which one is enough; "paused_at: null" ends it.

A view whose materialized view was dropped behind the catalog's back is created anew: its row goes and comes again, and its pause with it unless the file has another. An incremental one whose data is still there is not, since its buckets may be made of rows that have left: resume makes it again over them. A view that was adopted and is gone is created as any other.

Queries are parsed in your session, as with create, and can run code of whoever wrote them there: read what others have written. What somebody else stored is not created anew in your session.

Examples:

  mvscheduler import --dry-run views.yaml
  mvscheduler import views.yaml tables.yaml
  mvscheduler export | mvscheduler import -      # after a DROP ... CASCADE: what is gone comes back

Plain views between managed ones that went too are yours to make again: import --keep-going, make them, import the rest.

` + exitCodesHelp
}

// imported is what became of one document.
type imported struct {
	Name    string   `json:"name"`
	Action  string   `json:"action"` // insert, adopt, update, recreate or none
	Changes []string `json:"changes"`
	DryRun  bool     `json:"dry_run"`
}

// actionWords are for people: what was done, and what would be.
var actionWords = map[string][2]string{
	"insert":   {"inserted", "would be inserted"},
	"adopt":    {"adopted", "would be adopted"},
	"update":   {"changed", "would be changed"},
	"recreate": {"created anew", "would be created anew"},
	"none":     {"as it is", "as it is"},
}

// Run imports in one transaction.
func (c *importCmd) Run(ctx context.Context, a *app) error {
	var rows []*importRow
	for _, file := range c.Files {
		more, err := readRows(a, "import", file)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	a.told = map[string]bool{}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		failed := false
		for {
			bad, err := together(ctx, a, conn, rows, c.KeepGoing, c.finish)
			if err == nil {
				break
			}
			if !c.KeepGoing || bad == nil {
				return err
			}
			explain(err).write(a.stderr)
			failed = true
			rows = slices.DeleteFunc(slices.Clone(rows), func(r *importRow) bool { return r == bad })
		}
		err := c.show(a, rows)
		if failed {
			return &exitError{code: exitFailure}
		}
		return err
	})
}

// finish ends the transaction, which is undone when it is not committed.
func (c *importCmd) finish(ctx context.Context, tx pgx.Tx) error {
	if c.DryRun {
		return nil
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// together writes the rows in one transaction, which finish commits or not; bad is the one because of which it was undone,
// alone says that the others may be written without it.
func together(ctx context.Context, a *app, conn *pgx.Conn, rows []*importRow, alone bool, finish func(context.Context, pgx.Tx) error) (bad *importRow, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if bad, err = checkNames(ctx, tx, rows); err != nil {
		return bad, err
	}
	if bad, err = deleteMissing(ctx, tx, rows); err != nil {
		return bad, err
	}
	if bad, err = importRows(ctx, a, tx, rows); err != nil {
		return bad, bad.explained(alone)
	}
	return nil, finish(ctx, tx)
}

func (c *importCmd) show(a *app, rows []*importRow) error {
	done := make([]imported, len(rows))
	changed := false
	for i, r := range rows {
		done[i] = imported{Name: r.name, Action: r.action, DryRun: c.DryRun}
		for _, change := range r.changes {
			done[i].Changes = append(done[i].Changes, change.words())
		}
		changed = changed || r.action != "none"
	}
	err := emit(a, done, []column[imported]{
		{title: "name", cell: func(d imported) string { return d.Name }},
		{title: "result", cell: func(d imported) string {
			if d.DryRun {
				return actionWords[d.Action][1]
			}
			return actionWords[d.Action][0]
		}},
		{title: "changes", cell: func(d imported) string { return strings.Join(d.Changes, ", ") }, wrap: true},
	}, "The files have no documents.")
	if err != nil {
		return err
	}
	if c.DryRun {
		a.say("nothing was changed: --dry-run")
		if changed {
			return &exitError{code: exitPending}
		}
	}
	return nil
}

// importRows writes the rows in an order that the server finds: what reads something that is not there yet comes again
// after the others, as long as there is progress.
func importRows(ctx context.Context, a *app, tx pgx.Tx, rows []*importRow) (bad *importRow, err error) {
	for left := rows; len(left) > 0; {
		var later []*importRow
		for _, r := range left {
			r.err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return r.write(ctx, a, tx) })
			switch {
			case r.err == nil:
			case isUndefined(r.err):
				later = append(later, r)
			default:
				return r, r.err
			}
		}
		if len(later) == len(left) {
			bad = firstCause(later)
			return bad, bad.err
		}
		left = later
	}
	return nil, nil
}

// isUndefined says that a query names a table or a column that another document may still bring.
func isUndefined(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42703")
}

// firstCause is the first of the rows that miss something which none of the others would bring.
func firstCause(stuck []*importRow) *importRow {
	for _, r := range stuck {
		waits := false
		for _, other := range stuck {
			waits = waits || other != r && strings.Contains(r.err.Error(), `"`+other.name+`"`)
		}
		if !waits {
			return r
		}
	}
	return stuck[0]
}

// explained is the error of a row with its place in the files.
func (r *importRow) explained(alone bool) error {
	query, _ := r.columns["query"].(string)
	done := "Nothing was " + map[string]string{"import": "imported", "plan": "planned", "apply": "applied"}[r.verb] + "."
	if alone {
		done = "It was left as it is."
	}
	do := fmt.Sprintf("%s Mend the %s of %s, then %s again.", done, r.place, r.file, r.verb)
	if isUndefined(r.err) {
		do = fmt.Sprintf("%s What a query reads and no file brings, tables and plain views, is made first; those that read managed views after import --keep-going. Or mend the %s of %s.", done, r.place, r.file)
	}
	return &adviceError{err: fmt.Errorf("%s %s: %w", r.verb, r.name, &queryError{query, r.err}), do: do}
}
