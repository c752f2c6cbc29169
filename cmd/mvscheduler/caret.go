package main

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jedib0t/go-pretty/v6/text"
)

// caretWidth is how much of a long line is shown.
const caretWidth = 100

// caret shows where in a query an error is: the line with its number, and a mark below it. PostgreSQL
// counts positions in characters from 1. query is what the user wrote, empty when unknown: an internal
// statement that contains it is counted from where it begins. Empty when the error has no position.
func caret(e *pgconn.PgError, query string) string {
	source, position := query, int(e.Position)
	if e.InternalQuery != "" && e.InternalPosition > 0 {
		source, position = e.InternalQuery, int(e.InternalPosition)
		body := strings.TrimRight(query, "; \t\r\n")
		if at := strings.Index(source, body); body != "" && at >= 0 {
			if within := position - utf8.RuneCountInString(source[:at]); within >= 1 {
				source, position = query, within
			}
		} else if first, rest, ok := strings.Cut(source, "\n"); ok && strings.HasSuffix(first, " AS") {
			// CREATE MATERIALIZED VIEW x AS, a line that the catalog wrote.
			if within := position - utf8.RuneCountInString(first) - 1; within >= 1 {
				source, position = strings.TrimSuffix(rest, "\nWITH NO DATA"), within
			}
		}
	}
	if source == "" || position < 1 {
		return ""
	}
	return pointAt(source, position)
}

// pointAt draws the line of source that holds the given character.
func pointAt(source string, position int) string {
	runes := []rune(source)
	at := min(position-1, len(runes))
	line, start := 1, 0
	for i, r := range runes[:at] {
		if r == '\n' {
			line, start = line+1, i+1
		}
	}
	end := start
	for end < len(runes) && runes[end] != '\n' {
		end++
	}
	from, to := start, end
	if to-from > caretWidth {
		from = max(start, at-caretWidth*2/3)
		to = min(end, from+caretWidth)
	}
	clean := func(rs []rune) string { return sanitize(strings.ReplaceAll(string(rs), "\t", " ")) }
	before, lead, tail := clean(runes[from:at]), "", ""
	if from > start {
		lead = "..."
	}
	if to < end {
		tail = "..."
	}
	label := "LINE " + strconv.Itoa(line) + ": " + lead
	rest := ""
	if at < to {
		rest = clean(runes[at:to])
	}
	return label + before + rest + tail + "\n" +
		strings.Repeat(" ", len(label)+text.StringWidth(before)) + "^"
}
