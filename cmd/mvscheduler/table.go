package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// column is one column of a table for people. Cells are sanitized when they are printed.
type column[T any] struct {
	title string // shown in capitals
	zone  string // follows the title as it is spelled
	cell  func(T) string
	right bool                // align right, for numbers
	wrap  bool                // takes what is left of the terminal's width and wraps; the last column only
	spare bool                // is left out on a narrow terminal
	state func(T) text.Colors // colours of the cell; nil = none
}

func (c column[T]) heading() string {
	return strings.TrimSpace(strings.ToUpper(c.title) + " " + c.zone)
}

// narrowest is the width below which a wrapping column stands under its row instead.
const narrowest = 40

// renderTable draws a table without frames. On a terminal that is too narrow spare columns are left out, the last
// one first; the wrapping column takes the width that the others leave, or lines of its own below each row.
func renderTable[T any](a *app, rows []T, columns []column[T]) string {
	cells := cellsOf(rows, columns)
	columns, cells = fit(a.width, columns, cells)
	w := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault // heading does it
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	w.SetStyle(style)

	header := table.Row{}
	var configs []table.ColumnConfig
	used, below := 0, -1
	for i, c := range columns {
		cfg := table.ColumnConfig{Number: i + 1}
		if c.right {
			cfg.Align, cfg.AlignHeader = text.AlignRight, text.AlignRight
		}
		if c.wrap {
			if a.width > 0 && a.width-used < narrowest && i == len(columns)-1 {
				below = i
				continue
			}
			cfg.WidthMaxEnforcer = text.WrapSoft
			if a.width > 0 {
				cfg.WidthMax = max(24, a.width-used)
			}
		}
		header = append(header, c.heading())
		used += widthOf(c, cells, i) + 2
		configs = append(configs, cfg)
	}
	w.SetColumnConfigs(configs)
	w.AppendHeader(header)
	for r, row := range rows {
		line := table.Row{}
		for i, c := range columns {
			cell := cells[r][i]
			if a.colour && c.state != nil {
				if colours := c.state(row); len(colours) > 0 {
					cell = colours.Sprint(cell)
				}
			}
			if i != below {
				line = append(line, cell)
			}
		}
		w.AppendRow(line)
	}
	drawn := trimLines(w.Render())
	if below < 0 {
		return drawn
	}
	var b strings.Builder
	for r, line := range strings.Split(drawn, "\n") { // each row is one line, the first one the header
		fmt.Fprintln(&b, line)
		if r > 0 && cells[r-1][below] != "" {
			fmt.Fprintln(&b, "    "+indentRest(trimLines(text.WrapSoft(cells[r-1][below], max(24, a.width-4))), "    "))
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func cellsOf[T any](rows []T, columns []column[T]) [][]string {
	cells := make([][]string, len(rows))
	for r, row := range rows {
		for _, c := range columns {
			cells[r] = append(cells[r], sanitize(c.cell(row)))
		}
	}
	return cells
}

// widthOf is the width of the widest cell of a column, the title included.
func widthOf[T any](c column[T], cells [][]string, i int) int {
	widest := text.StringWidth(c.heading())
	for _, row := range cells {
		widest = max(widest, text.StringWidth(row[i]))
	}
	return widest
}

// fit leaves spare columns out until the others, but for one that wraps, have their width; width 0 has no end.
func fit[T any](width int, columns []column[T], cells [][]string) ([]column[T], [][]string) {
	for width > 0 {
		used, spare := 0, -1
		for i, c := range columns {
			if !c.wrap {
				used += widthOf(c, cells, i) + 2
			}
			if c.spare {
				spare = i
			}
		}
		if used-2 <= width || spare < 0 {
			return columns, cells
		}
		columns = slices.Delete(slices.Clone(columns), spare, spare+1)
		for r := range cells {
			cells[r] = slices.Delete(cells[r], spare, spare+1)
		}
	}
	return columns, cells
}

// trimLines takes the padding off the ends of lines.
func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// stateColours is green for what is well, yellow for what needs time, red for what needs a person.
func stateColours(state string) text.Colors {
	switch state {
	case "fresh", "succeeded":
		return text.Colors{text.FgGreen}
	case "late", "never", "queued", "waiting", "paused", "skipped", "busy", "cancelled":
		return text.Colors{text.FgYellow}
	case "stale", "missing", "failed", "lost":
		return text.Colors{text.FgRed, text.Bold}
	case "running":
		return text.Colors{text.FgCyan}
	}
	return nil
}
