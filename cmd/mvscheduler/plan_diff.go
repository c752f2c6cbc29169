package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/jedib0t/go-pretty/v6/text"
)

// show prints what changes as a diff, or every row in a format for machines.
func (p plan) show(a *app) error {
	if a.Output != "table" {
		return a.emitData(p.rows)
	}
	var b strings.Builder
	for _, r := range p.rows {
		r.diff(&b, a)
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// diff writes a row and the columns that change.
func (r planned) diff(b *strings.Builder, a *app) {
	line := func(indent int, sign, words string) {
		words = strings.TrimRight(sign+" "+sanitize(words), " ")
		if colours := signColours[sign]; a.colour && colours != nil {
			words = colours.Sprint(words)
		}
		fmt.Fprintf(b, "%*s%s\n", indent, "", words)
	}
	sign, head := "+", r.Kind+" "+r.Name
	switch r.Action {
	case "none":
		return
	case "update":
		sign = "~"
	case "adopt":
		head += ", which exists and is adopted"
	case "recreate":
		head += ", which is gone and is created anew"
	}
	line(0, sign, head)
	widest := 0
	for _, c := range r.Changes {
		if c.Column != "query" {
			widest = max(widest, len(c.Column))
		}
	}
	for _, c := range r.Changes {
		if c.Column == "query" {
			line(4, sign, c.Column)
			for _, l := range queryDiff(c.Was, c.Now) {
				line(6, l.sign, l.text)
			}
			continue
		}
		value := valueWords(c.Column, c.Now)
		if sign == "~" {
			value = valueWords(c.Column, c.Was) + " -> " + value
		}
		line(4, sign, fmt.Sprintf("%-*s  %s", widest, c.Column, value))
	}
}

var signColours = map[string]text.Colors{"+": {text.FgGreen}, "~": {text.FgYellow}, "-": {text.FgRed}}

// diffLine is a line that comes (+), goes (-), or stays (a blank).
type diffLine struct{ sign, text string }

// contextLines is how many lines that stay are shown before and after those that do not.
const contextLines = 3

// queryDiff compares two queries by lines; nil has none. Lines that stay and are far from a change are left out.
func queryDiff(was, now *string) []diffLine {
	before, after := linesOf(was), linesOf(now)
	unified, err := udiff.ToUnifiedDiff("", "", before, udiff.Lines(before, after), contextLines)
	if err != nil { // the edits fit the text that they were made of
		panic(err)
	}
	var lines []diffLine
	for i, hunk := range unified.Hunks {
		if i > 0 {
			lines = append(lines, diffLine{" ", "..."})
		}
		for _, l := range hunk.Lines {
			sign := map[udiff.OpKind]string{udiff.Insert: "+", udiff.Delete: "-", udiff.Equal: " "}[l.Kind]
			lines = append(lines, diffLine{sign, strings.TrimSuffix(l.Content, "\n")})
		}
	}
	if len(lines) == 0 {
		lines = append(lines, diffLine{" ", "(but for the end of its last line)"})
	}
	return lines
}

// linesOf ends every line, the last one too.
func linesOf(query *string) string {
	if query == nil {
		return ""
	}
	return strings.TrimSuffix(*query, "\n") + "\n"
}
