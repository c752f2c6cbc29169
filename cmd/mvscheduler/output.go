package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// emit prints rows in the chosen format. The machine formats print every field of T under its JSON name;
// empty is what to say when there is nothing to show in a table.
func emit[T any](a *app, rows []T, columns []column[T], empty string) error {
	if a.Output != "table" {
		if rows == nil {
			rows = []T{}
		}
		return a.emitData(rows)
	}
	if len(rows) == 0 {
		a.say("%s", empty)
		return nil
	}
	_, err := io.WriteString(a.stdout, renderTable(a, rows, columns)+"\n")
	return err
}

// emitData prints v, a struct or a slice of structs, in one of the machine formats.
func (a *app) emitData(v any) error {
	switch a.Output {
	case "csv":
		return a.emitCSV(v)
	case "yaml":
		doc, err := yamlOf(v)
		if err != nil {
			return err
		}
		_, err = a.rawOut().Write(doc)
		return err
	}
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err := io.WriteString(a.stdout, jsonSafe(doc.Bytes()))
	return err
}

// rawOut keeps control characters away from a terminal, and leaves the data alone otherwise.
func (a *app) rawOut() io.Writer {
	if a.outTerminal {
		return terminalWriter{a.stdout}
	}
	return a.stdout
}

// yamlOf goes through JSON, so that names and forms are the same in both.
func yamlOf(v any) ([]byte, error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	var ordered any
	if err := yaml.UnmarshalWithOptions(doc, &ordered, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return marshalYAML(ordered)
}

func marshalYAML(v any) ([]byte, error) {
	out, err := yaml.MarshalWithOptions(escaped(v), yaml.UseLiteralStyleIfMultiline(true), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out, nil
}

// escaped is v with its strings that hold control characters written with escapes, which the library does not do by
// itself: YAML refuses them as they are.
func escaped(v any) any {
	switch v := v.(type) {
	case string:
		if !isText(v) || hasBlankEdge(v) {
			return quotedYAML(v)
		}
	case yaml.MapSlice:
		for i := range v {
			v[i].Key, v[i].Value = escaped(v[i].Key), escaped(v[i].Value)
		}
	case []any:
		for i := range v {
			v[i] = escaped(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = escaped(v[key])
		}
	}
	return v
}

// isText says that v holds no control characters but line feeds.
func isText(v string) bool {
	return strings.IndexFunc(v, func(r rune) bool { return !plain(r) && r != '\n' }) < 0
}

// hasBlankEdge says that v has several lines and its first or its last, but for empty ones, begins or ends with a blank, as
// queries do that PostgreSQL writes and that stand between $$: the reader would take the blanks of the first line for the
// indentation of all, and the library loses those at the end. Nor can it read empty lines alone.
func hasBlankEdge(v string) bool {
	lines := strings.Trim(v, "\n")
	return strings.Contains(v, "\n") && (lines == "" || lines[0] == ' ' || strings.HasSuffix(lines, " "))
}

// indentedYAML is such a text as a block that says its indentation. The library takes one as a value of a document's
// own mapping only, without empty lines and without blanks at the end.
type indentedYAML string

func (t indentedYAML) MarshalYAML() ([]byte, error) {
	return []byte("|2-\n" + indent(string(t), "  ")), nil
}

// topYAML is a value of a document's own mapping: a query that can be shown as a block is one.
func topYAML(value any) any {
	text, ok := value.(string)
	if !ok || !isText(text) || !hasBlankEdge(text) || strings.HasSuffix(text, " ") {
		return value
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimSpace(line) == "" {
			return value
		}
	}
	return indentedYAML(text)
}

// quotedYAML is a string in double quotes. JSON's escapes are YAML's.
type quotedYAML string

func (q quotedYAML) MarshalYAML() ([]byte, error) {
	doc, err := json.Marshal(string(q))
	if err != nil {
		return nil, err
	}
	return []byte(jsonSafe(doc)), nil
}

func (a *app) emitCSV(v any) error {
	rows := reflect.ValueOf(v)
	if rows.Kind() != reflect.Slice {
		one := reflect.MakeSlice(reflect.SliceOf(rows.Type()), 0, 1)
		rows = reflect.Append(one, rows)
	}
	w := csv.NewWriter(terminalWriter{a.stdout}) // CSV has no escapes, and is looked at as it is
	of := rows.Type().Elem()
	var (
		header []string
		fields []int
	)
	for i := range of.NumField() {
		if name := jsonName(of.Field(i)); of.Field(i).IsExported() && name != "-" {
			header, fields = append(header, name), append(fields, i)
		}
	}
	if err := w.Write(header); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	for r := range rows.Len() {
		record := make([]string, len(fields))
		for i, field := range fields {
			cell, err := csvCell(rows.Index(r).Field(field))
			if err != nil {
				return fmt.Errorf("write CSV: column %q: %w", header[i], err)
			}
			record[i] = cell
		}
		if err := w.Write(record); err != nil {
			return fmt.Errorf("write CSV: %w", err)
		}
	}
	w.Flush()
	return w.Error()
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// csvCell is the JSON form of a field without the quotes of a string; NULL is empty.
func csvCell(f reflect.Value) (string, error) {
	doc, err := json.Marshal(f.Interface())
	if err != nil {
		return "", err
	}
	if string(doc) == "null" {
		return "", nil
	}
	var s string
	if json.Unmarshal(doc, &s) == nil {
		return s, nil
	}
	return string(doc), nil
}
