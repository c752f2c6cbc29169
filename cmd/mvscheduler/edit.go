package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mvscheduler/mvscheduler/catalog"
)

type editCmd struct {
	Name   string  `arg:"" complete:"view" help:"The view."`
	Editor bool    `group:"query" help:"Open the query in $VISUAL or $EDITOR. So does edit without any other flag on a terminal."`
	Rename *string `column:"name" placeholder:"NAME" group:"query" help:"Give the view another name or schema."`
	querySource
	viewColumns
}

func (editCmd) Help() string {
	return `Changes the columns that are given and nothing else. A query with the same columns takes effect at the next refresh, which comes at once; with other columns a new version is built, and takes the place of the old one when it is whole. The old contents stay until then.

Examples:

  mvscheduler edit analytics.daily --interval 1min
  mvscheduler edit analytics.daily --cron '0 6 * * *' --timezone Europe/Berlin
  mvscheduler edit analytics.daily --editor
  mvscheduler edit analytics.daily -f daily.sql --unique-key day

The same in SQL: UPDATE mvscheduler.views SET ... WHERE name = 'analytics.daily'

` + exitCodesHelp
}

// newName is a name in full; without a schema it stays in the one where the view is, as with ALTER ... RENAME.
func newName(ctx context.Context, conn *pgx.Conn, id int64, name string) (full string, err error) {
	err = conn.QueryRow(ctx, `
SELECT CASE cardinality(mvscheduler.split_name($1))
            WHEN 1 THEN mvscheduler.qualified_name((mvscheduler.split_name(v.name))[1], (mvscheduler.split_name($1))[1])
            ELSE $1::text
       END
  FROM mvscheduler.visible_views AS v
 WHERE v.view_id = $2`, name, id).Scan(&full)
	return full, err
}

// Run updates the row.
func (c *editCmd) Run(ctx context.Context, a *app) error {
	columns := c.given()
	query, given, err := c.read(a)
	if err != nil {
		return err
	}
	if c.Editor && given {
		return usagef("--editor and --query or --file exclude each other")
	}
	if !c.Editor && !given && c.Rename == nil && len(columns) == 0 {
		if !a.inTerminal {
			return usagef("nothing to change: give the settings to change, a query, or --editor")
		}
		c.Editor = true
	}
	a.sayVariables()
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		id, err := a.find(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		if c.Rename != nil {
			name, err := newName(ctx, conn, id, *c.Rename)
			if err != nil {
				return fmt.Errorf("edit view %q: %w", c.Name, err)
			}
			columns = append(columns, assignment{column: "name", expr: "%s", value: name})
		}
		if given {
			return c.update(ctx, a, conn, id, &query, columns)
		}
		if !c.Editor {
			return c.update(ctx, a, conn, id, nil, columns)
		}
		v, err := catalog.ViewByID(ctx, conn, id)
		if err != nil {
			return err
		}
		if v == nil {
			return fmt.Errorf("edit view %q: only its owner may read its query", c.Name)
		}
		d, err := newDraft(v.Query)
		if err != nil {
			return fmt.Errorf("edit view %q: %w", c.Name, err)
		}
		if err := d.edit(ctx, a); err != nil {
			return d.end(c.Name, fmt.Errorf("edit view %q: %w", c.Name, err))
		}
		if d.text == v.Query && len(columns) == 0 {
			a.say("nothing was changed")
			return d.end(c.Name, nil)
		}
		return d.end(c.Name, c.update(ctx, a, conn, id, &d.text, columns))
	})
}

// update writes the row and says what is different now.
func (c *editCmd) update(ctx context.Context, a *app, conn *pgx.Conn, id int64, query *string, columns []assignment) error {
	text := ""
	if query != nil {
		text = *query
		columns = append(columns, assignment{column: "query", expr: "%s", value: text})
	}
	var before, after *catalog.View
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		if before, err = catalog.ViewByID(ctx, tx, id); err != nil {
			return err
		}
		if before == nil {
			return errNotOwner
		}
		var name string
		sql, args := updateView(id, columns)
		if err = a.inPath(ctx, tx, func() error { return tx.QueryRow(ctx, sql, args...).Scan(&name) }); err != nil {
			return err
		}
		after, err = catalog.ViewByID(ctx, tx, id)
		return err
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.Is(err, errNotOwner):
		return fmt.Errorf("edit view %q: %w", c.Name, errNotOwner)
	case err != nil:
		return fmt.Errorf("edit view %q: %w", c.Name, &queryError{text, err})
	case after == nil: // given to another role
		after = before
	}
	if a.Output != "table" {
		return a.emitData(created{ID: id, Name: after.Name})
	}
	return c.sayChanges(a, before, after, columns)
}

var errNotOwner = errors.New("only its owner may change it")

// sayChanges tells the old values and the new ones.
func (c *editCmd) sayChanges(a *app, before, after *catalog.View, columns []assignment) error {
	shown := shellQuote(after.Name)
	changes := changesOf(before, after)
	if len(changes) == 0 {
		a.say("nothing was changed: %s has these values already", after.Name)
	} else {
		a.say("changed %s: %s\n  see: mvscheduler show %s", before.Name, strings.Join(changes, ", "), shown)
	}
	noInterval := func(c assignment) bool { return c.column == "refresh_interval" && c.value == nil }
	if after.Cron != nil && slices.ContainsFunc(columns, noInterval) {
		a.say("  note: its clock is the cron %q, which goes on; to stop it: mvscheduler edit %s --cron none", *after.Cron, shown)
	}
	if after.Calendar != nil && slices.ContainsFunc(columns, noInterval) {
		a.say("  note: its clock is its calendar, which goes on; to stop it: mvscheduler edit %s --calendar none", shown)
	}
	clock := func(c assignment) bool {
		return c.value != nil && (c.column == "refresh_interval" || c.column == "cron" || c.column == "calendar")
	}
	if after.RefreshOn == "upstream" && slices.ContainsFunc(columns, clock) {
		a.say("  note: it is refreshed after what it reads, and this says only how old it may be; to follow the clock: mvscheduler edit %s --refresh-on schedule", shown)
	}
	return nil
}
