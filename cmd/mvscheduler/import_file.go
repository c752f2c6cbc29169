package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/jackc/pgx/v5"
)

// importRow is one document of a file, and then what became of it.
type importRow struct {
	verb    string            // of the command that does it: import, plan, apply
	file    string            // with its line: "views.yaml:12"
	place   string            // "document 3"
	lines   map[string]string // of each column, as file
	name    string
	full    string // the name as the catalog has it
	source  bool   // a row of source_retention
	columns map[string]any

	again   bool           // its row was deleted, since its relation is gone
	paused  map[string]any // the pause of that row
	action  string
	changes []columnChange
	err     error
}

// readRows reads the documents of a file for a command; a list is as many documents.
func readRows(a *app, verb, file string) ([]*importRow, error) {
	in, shown := a.stdin, "stdin"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", verb, err)
		}
		defer func() { _ = f.Close() }()
		in, shown = f, file
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("%s: read %s: %w", verb, shown, err)
	}
	docs, err := parseDocuments(text)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			shown = lineIn(shown, at.GetToken())
		}
		return nil, usagef("%s is not YAML: %w", shown, err)
	}
	rows := make([]*importRow, len(docs))
	for i, doc := range docs {
		r := &importRow{verb: verb, file: lineIn(shown, doc.node.GetToken()), place: fmt.Sprintf("document %d", i+1), lines: map[string]string{}}
		var ok bool
		if r.columns, ok = doc.value.(map[string]any); !ok {
			return nil, usagef("%s of %s is not a list of columns and values", r.place, r.file)
		}
		if node, ok := doc.node.(ast.MapNode); ok {
			for pair := node.MapRange(); pair.Next(); {
				r.lines[pair.Key().GetToken().Value] = lineIn(shown, pair.Key().GetToken())
			}
		}
		if err := r.check(); err != nil {
			return nil, err
		}
		rows[i] = r
	}
	return rows, nil
}

func lineIn(file string, t *token.Token) string {
	return fmt.Sprintf("%s:%d", file, t.Position.Line)
}

// document is one of a file, and where it stands.
type document struct {
	value any
	node  ast.Node
}

func parseDocuments(text []byte) ([]document, error) {
	file, err := parser.Parse(tokensOf(text), 0)
	if err != nil {
		return nil, err
	}
	var docs []document
	for _, doc := range file.Docs {
		if doc.Body == nil { // between two lines of dashes
			continue
		}
		var value any
		if err := yaml.NodeToValue(doc.Body, &value); err != nil {
			return nil, err
		}
		switch value := value.(type) {
		case nil:
		case []any:
			list, ok := doc.Body.(*ast.SequenceNode)
			for i, v := range value {
				node := doc.Body
				if ok && len(list.Values) == len(value) {
					node = list.Values[i]
				}
				docs = append(docs, document{v, node})
			}
		default:
			docs = append(docs, document{value, doc.Body})
		}
	}
	return docs, nil
}

// tokensOf leaves out the line of dashes of a document that is empty, or has comments only: the parser would drop what
// follows it, without an error (goccy/go-yaml issue 870).
func tokensOf(text []byte) token.Tokens {
	var kept token.Tokens
	for _, t := range lexer.Tokenize(strings.TrimPrefix(string(text), "\ufeff")) {
		if last := len(kept) - 1; last >= 0 && kept[last].Type == token.DocumentHeaderType && t.Type == token.DocumentHeaderType {
			kept = kept[:last]
		}
		if t.Type != token.CommentType {
			kept = append(kept, t)
		}
	}
	return kept
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
	for _, column := range slices.Sorted(maps.Keys(r.columns)) {
		if !slices.Contains(known, column) {
			return usagef("%s of %s, %s: there is no column %q; there are %s", r.place, r.lineOf(column), name, column, strings.Join(known, ", "))
		}
		if value := r.columns[column]; column != "calendar" && deeper(value, 1) || deeper(value, 3) {
			return usagef("%s of %s, %s: %s is neither a value nor a list of values", r.place, r.lineOf(column), name, column)
		}
	}
	return nil
}

// lineOf is where a column stands; one that an alias brings stands where its document does.
func (r *importRow) lineOf(column string) string { return cmp.Or(r.lines[column], r.file) }

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
		seen[name], r.full = r, name
	}
	return nil, nil
}
