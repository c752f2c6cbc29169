package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var update = flag.Bool("update", false, "rewrite docs/reference.md")

const referenceFile = "../../docs/reference.md"

// The reference is made of the command line's own model, of the comments in a migrated database, of the
// metrics as they are gathered, of the routes of package web and of the table of errors of package refresh.
func TestTheReferenceSaysWhatTheProgramIs(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var p page
	p.line("# Reference")
	p.line("Generated from the code and from a migrated database by `make docs`; a test fails when it is out of date. What the words mean is in [concepts.md](concepts.md).")
	p.line("* [Commands](#commands): flags, exit codes\n* [SQL](#sql): tables, views, functions, roles\n* [HTTP](#http)\n* [Metrics](#metrics)\n* [Errors of refreshes](#errors-of-refreshes): SQLSTATEs, what the sidecar does, what to do")
	p.commands(t)
	p.sql(t, db.Conn(t, ""))
	p.http(t)
	p.metrics(t, db)
	p.errors(t)

	got := strings.TrimRight(p.String(), "\n") + "\n"
	if *update {
		require.NoError(t, os.WriteFile(referenceFile, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(referenceFile)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "docs/reference.md is out of date: make docs")
}

// page is Markdown in the making.
type page struct{ strings.Builder }

// line writes a block of text.
func (p *page) line(s string) { p.WriteString(s + "\n\n") }

// table writes a table. Cells are Markdown already; columns that are empty in every row are left out.
func (p *page) table(head []string, rows [][]string) {
	var keep []int
	for i := range head {
		for _, row := range rows {
			if row[i] != "" {
				keep = append(keep, i)
				break
			}
		}
	}
	write := func(cells []string) {
		p.WriteString("|")
		for _, i := range keep {
			p.WriteString(" " + strings.TrimSpace(strings.ReplaceAll(cells[i], "|", `\|`)) + " |")
		}
		p.WriteString("\n")
	}
	write(head)
	p.WriteString(strings.Repeat("|---", len(keep)) + "|\n")
	for _, row := range rows {
		write(row)
	}
	p.WriteString("\n")
}

// prose makes plain text safe in Markdown.
func prose(s string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "\n", " ", " __", ` \_\_`).Replace(s)
}

// code is a code span; of nothing it is nothing.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
