package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// declared is embedded in the commands that take views from files.
type declared struct {
	File []string `short:"f" required:"" sep:"none" placeholder:"DIR" help:"A folder: each *.yaml and *.yml in it, by name, but none that begins with a dot and none of its own folders. Or a file; - is stdin. Can be repeated."`
}

// read reads the documents of all files.
func (d declared) read(a *app, verb string) ([]*importRow, error) {
	var rows []*importRow
	for _, path := range d.File {
		files, err := filesIn(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", verb, err)
		}
		for _, file := range files {
			more, err := readRows(a, verb, file)
			if err != nil {
				return nil, err
			}
			rows = append(rows, more...)
		}
	}
	return rows, nil
}

// filesIn are the files of a folder in the order of their names; a file is itself.
func filesIn(path string) ([]string, error) {
	if info, err := os.Stat(path); path == "-" || err == nil && !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		kind := filepath.Ext(e.Name())
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && (kind == ".yaml" || kind == ".yml") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, usagef("there is no *.yaml and no *.yml in %s", path)
	}
	return files, nil
}

type planCmd struct{ declared }

func (planCmd) Help() string {
	return `Shows what apply would change, and changes nothing. The exit code is 4 when something would change, 0 when nothing would.

  mvscheduler plan -f views/
  + view analytics.daily, which is gone and is created anew
      + priority  1
      + query
        + SELECT day
  ~ view analytics.hourly
      ~ priority  2 -> 1
      ~ query
          SELECT hour
        - FROM old
        + FROM new

A row that is missing, or whose view is gone, is made (+); one that differs is changed (~), with each column before and after. What is right already is not shown, but for -o json, yaml and csv. Nothing is ever deleted: rows that are in no file stay as they are, and are named; mvscheduler drop drops one. A column that a file leaves out gets its default, but for those that import --help names.

It is found out by doing it, with every check of the catalog, in a transaction that is undone: what plan shows works, and an error names file and line. Queries are parsed in your session: read what others have written.

Examples:

  mkdir views && mvscheduler export > views/all.yaml
  mvscheduler plan -f views/                     # in a pipeline: 4 asks for an apply
  mvscheduler plan -f views/ -o json | jq -r '.[] | select(.action != "none") | .file'
  git show main:views.yaml | mvscheduler plan -f -

` + exitCodesHelp
}

// Run shows the plan.
func (c *planCmd) Run(ctx context.Context, a *app) error {
	rows, err := c.read(a, "plan")
	if err != nil {
		return err
	}
	a.told = map[string]bool{}
	return a.withConn(ctx, func(conn *pgx.Conn) error {
		p, err := planOf(ctx, a, conn, rows)
		if err != nil {
			return err
		}
		if err := p.show(a); err != nil {
			return err
		}
		p.sayRest(a)
		if p.empty() {
			a.say("nothing would change: %s", p.count(true))
			return nil
		}
		a.say("%s", p.count(true))
		return &exitError{code: exitPending}
	})
}

// plan is what the files change.
type plan struct {
	rows []planned
	rest []string // names of the rows that you may see and no file names
}

// planned is what becomes of one document.
type planned struct {
	Name    string         `json:"name"`
	Kind    string         `json:"kind"`   // view or table
	Action  string         `json:"action"` // insert, adopt, update, recreate or none
	File    string         `json:"file"`   // with the line
	Changes []columnChange `json:"changes"`
}

// planOf does it all and undoes it.
func planOf(ctx context.Context, a *app, conn *pgx.Conn, rows []*importRow) (p plan, err error) {
	_, err = together(ctx, a, conn, rows, false, func(ctx context.Context, tx pgx.Tx) error {
		p, err = readPlan(ctx, tx, rows)
		return err
	})
	return p, err
}

// readPlan reads what the rows have become in the transaction that wrote them.
func readPlan(ctx context.Context, tx pgx.Tx, rows []*importRow) (plan, error) {
	p := plan{rows: make([]planned, len(rows))}
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.full
		changes := r.changes
		if r.action != "update" && r.action != "none" {
			var err error
			if changes, err = r.made(ctx, tx); err != nil {
				return p, r.failed(err)
			}
		}
		p.rows[i] = planned{Name: r.full, Kind: "view", Action: r.action, File: r.file, Changes: slices.Concat([]columnChange{}, changes)}
		if r.source {
			p.rows[i].Kind = "table"
		}
	}
	rest, err := tx.Query(ctx, `
SELECT v.name
  FROM mvscheduler.views AS v
 WHERE v.name <> ALL ($1)
UNION ALL
SELECT s.name
  FROM (SELECT coalesce(mvscheduler.shown_name(r."table"::oid), r."table"::text) AS name FROM mvscheduler.source_retention AS r) AS s
 WHERE s.name <> ALL ($1)
 ORDER BY 1`, names)
	if err != nil {
		return p, fmt.Errorf("read what is in no file: %w", err)
	}
	if p.rest, err = pgx.CollectRows(rest, pgx.RowTo[string]); err != nil {
		return p, fmt.Errorf("read what is in no file: %w", err)
	}
	return p, nil
}

// made are the columns of a new row that the document or the session has given.
func (r *importRow) made(ctx context.Context, tx pgx.Tx) ([]columnChange, error) {
	id, err := r.find(ctx, tx)
	if err != nil {
		return nil, err
	}
	names := exportColumns
	if r.source {
		names = sourceColumns
	}
	var pairs []string
	for _, column := range names {
		_, given := r.columns[column]
		if column != "name" && column != "table" && column != "adopted" && (given || r.paused[column] != nil || always[column] || column == "search_path" || column == "time_column") {
			pairs = append(pairs, fmt.Sprintf("('%s', o.%s::text)", column, pgx.Identifier{column}.Sanitize()))
		}
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(`
SELECT c.name, NULL, c.now
  FROM %s AS o, LATERAL (VALUES %s) AS c (name, now)
 WHERE o.id = $1 AND c.now IS NOT NULL`, r.table(), strings.Join(pairs, ", ")), id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[columnChange])
}

func (p plan) empty() bool {
	return !slices.ContainsFunc(p.rows, func(r planned) bool { return r.Action != "none" })
}

// count is the plan in a line: what would be done, or what was.
func (p plan) count(would bool) string {
	counts := map[string]int{}
	for _, r := range p.rows {
		counts[r.Action]++
	}
	var words []string
	for _, action := range []string{"insert", "recreate", "adopt", "update", "none"} {
		n := counts[action]
		said := actionWords[action][0]
		if would {
			said = actionWords[action][1]
		}
		if action == "none" && n != 1 {
			said = "as they are"
		}
		if n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, said))
		}
	}
	if len(words) == 0 {
		return "the files have no documents"
	}
	return strings.Join(words, ", ")
}

// restAtMost is how many names of rows in no file are shown.
const restAtMost = 10

// sayRest names what no file does.
func (p plan) sayRest(a *app) {
	stay := "stay as they are"
	switch len(p.rest) {
	case 0:
		return
	case 1:
		stay = "stays as it is"
	}
	more := ""
	if n := len(p.rest) - restAtMost; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	a.say("in no file, and %s: %s%s", stay, strings.Join(p.rest[:min(len(p.rest), restAtMost)], ", "), more)
}
