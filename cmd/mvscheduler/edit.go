package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
		if c.Editor {
			v, err := catalog.ViewByID(ctx, conn, id)
			if err != nil {
				return err
			}
			if v == nil {
				return fmt.Errorf("edit view %q: only its owner may read its query", c.Name)
			}
			if query, err = editText(ctx, a, v.Query); err != nil {
				return fmt.Errorf("edit view %q: %w", c.Name, err)
			}
			if query == v.Query && len(columns) == 0 {
				a.say("nothing was changed")
				return nil
			}
			given = true
		}
		if given {
			columns = append(columns, assignment{column: "query", expr: "%s", value: query})
		}
		var name string
		sql, args := updateView(id, columns)
		err = a.inPath(ctx, conn, func() error { return conn.QueryRow(ctx, sql, args...).Scan(&name) })
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("edit view %q: only its owner may change it", c.Name)
		}
		if err != nil {
			return fmt.Errorf("edit view %q: %w", c.Name, &queryError{query, err})
		}
		if a.Output != "table" {
			return a.emitData(created{ID: id, Name: name})
		}
		a.say("changed %s\n  see: mvscheduler show %s", name, shellQuote(name))
		if slices.ContainsFunc(columns, func(c assignment) bool { return c.column == "refresh_interval" && c.value == nil }) {
			if v, err := catalog.ViewByID(ctx, conn, id); err == nil && v != nil && v.Cron != nil {
				a.say("  note: its clock is the cron %q, which goes on; to stop it: mvscheduler edit %s --cron none", *v.Cron, shellQuote(name))
			}
		}
		return nil
	})
}

// editText lets the user change a text in the editor of VISUAL or EDITOR; vi when neither is set. The
// variables hold a shell command, as elsewhere.
func editText(ctx context.Context, a *app, text string) (string, error) {
	f, err := os.CreateTemp("", "mvscheduler-*.sql")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(strings.TrimRight(text, "\n") + "\n")
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", err
	}
	editor := "vi"
	for _, name := range []string{"EDITOR", "VISUAL"} {
		if v := os.Getenv(name); v != "" {
			editor = v
		}
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", f.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w", editor, err)
	}
	changed, err := os.ReadFile(f.Name())
	if err != nil {
		return "", err
	}
	if strings.TrimRight(string(changed), "\n") == strings.TrimRight(text, "\n") {
		return text, nil
	}
	if strings.TrimSpace(string(changed)) == "" {
		return "", errors.New("the query is empty, nothing was changed")
	}
	return string(changed), nil
}
