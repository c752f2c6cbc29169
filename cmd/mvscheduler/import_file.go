package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/jackc/pgx/v5"
)

// importRow is one document of a file, and then what became of it.
type importRow struct {
	file, place string // "views.yaml", "document 3"
	name        string
	source      bool // a row of source_retention
	columns     map[string]any

	again   bool           // its row was deleted, since its relation is gone
	paused  map[string]any // the pause of that row
	action  string
	changes []string
	err     error
}

// readRows reads the documents of a file; a list is as many documents.
func readRows(a *app, file string) ([]*importRow, error) {
	in, shown := a.stdin, "stdin"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("import: %w", err)
		}
		defer func() { _ = f.Close() }()
		in, shown = f, file
	}
	var docs []any
	for decoder := yaml.NewDecoder(in); ; {
		var doc any
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, usagef("%s is not YAML: %w", shown, err)
		}
		switch doc := doc.(type) {
		case nil: // between two lines of dashes
		case []any:
			docs = append(docs, doc...)
		default:
			docs = append(docs, doc)
		}
	}
	rows := make([]*importRow, len(docs))
	for i, doc := range docs {
		place := fmt.Sprintf("document %d", i+1)
		columns, ok := doc.(map[string]any)
		if !ok {
			return nil, usagef("%s of %s is not a list of columns and values", place, shown)
		}
		r := &importRow{file: shown, place: place, columns: columns}
		if err := r.check(); err != nil {
			return nil, err
		}
		rows[i] = r
	}
	return rows, nil
}

// check finds the name and columns that there are not.
func (r *importRow) check() error {
	key, known := "name", exportColumns
	if _, r.source = r.columns["table"]; r.source {
		key, known = "table", sourceColumns
	}
	name, ok := r.columns[key].(string)
	if !ok || name == "" {
		return usagef(`%s of %s has neither "name" nor "table"`, r.place, r.file)
	}
	r.name = name
	delete(r.columns, "about") // of export --full
	for column, value := range r.columns {
		if !slices.Contains(known, column) {
			return usagef("%s of %s, %s: there is no column %q; there are %s", r.place, r.file, name, column, strings.Join(known, ", "))
		}
		if column != "calendar" && deeper(value, 1) || deeper(value, 3) {
			return usagef("%s of %s, %s: %s is neither a value nor a list of values", r.place, r.file, name, column)
		}
	}
	return nil
}

// deeper says whether there are more lists in lists than that; aliases can make them endless.
func deeper(value any, than int) bool {
	switch value := value.(type) {
	case []any:
		return than == 0 || slices.ContainsFunc(value, func(v any) bool { return deeper(v, than-1) })
	case map[string]any:
		return than == 0 || slices.ContainsFunc(slices.Collect(maps.Values(value)), func(v any) bool { return deeper(v, than-1) })
	}
	return false
}

// checkNames refuses a row that is there twice, in whatever spelling: which of them would hold?
func checkNames(ctx context.Context, tx pgx.Tx, rows []*importRow) (bad *importRow, err error) {
	seen := map[string]*importRow{}
	for _, r := range rows {
		name := r.name
		err := tx.QueryRow(ctx, `
SELECT coalesce(CASE WHEN $2 THEN mvscheduler.shown_name(to_regclass($1)::oid)
                     ELSE (SELECT CASE WHEN cardinality(p) = 2 THEN mvscheduler.qualified_name(p[1], p[2]) END FROM mvscheduler.split_name($1) AS p) END, $1)`, r.name, r.source).Scan(&name)
		if err != nil {
			return r, r.failed(err)
		}
		if first := seen[name]; first != nil {
			return nil, usagef("%s is in the files twice: %s of %s and %s of %s", r.name, first.place, first.file, r.place, r.file)
		}
		seen[name] = r
	}
	return nil, nil
}
