package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
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
	for column := range r.columns {
		if !slices.Contains(known, column) {
			return usagef("%s of %s, %s: there is no column %q; there are %s", r.place, r.file, name, column, strings.Join(known, ", "))
		}
	}
	return nil
}

// checkNames refuses a row that is there twice: which of them would hold?
func checkNames(rows []*importRow) error {
	seen := map[string]*importRow{}
	for _, r := range rows {
		if first := seen[r.name]; first != nil {
			return usagef("%s is in the files twice: %s of %s and %s of %s", r.name, first.place, first.file, r.place, r.file)
		}
		seen[r.name] = r
	}
	return nil
}
