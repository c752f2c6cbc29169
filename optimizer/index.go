package optimizer

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Indexable is what the advice on an index of a view depends on.
type Indexable struct {
	Name      string
	Reads     float64  // while Tested was recorded
	Days      float64  // that it was
	Rows      float64  // of the view
	Refreshes float64  // a day
	Written   float64  // rows that a refresh adds to each index; all of them where it builds the indexes anew
	Leading   []string // first columns of the indexes there are
	Sources   string
}

// price is what an index on the columns of a condition saves its readers, and what it costs in refreshes, seconds a day. A
// read saves that the rows which its conditions removed are looked at.
func (v Indexable) price(t Tested) (saved, spent float64) {
	removed := t.Removed / v.Days * scannedRowSeconds
	return removed, v.Refreshes * v.Written * indexedRowSeconds * math.Sqrt(float64(len(t.Columns)))
}

// Index advises the index that saves most (spec 3g): at least a fifth of the reads have its condition, which selects less
// than 5 % of the rows, and no index begins with one of its columns. It is never made without a person.
func (v Indexable) Index(tested []Tested) (best Recommendation, ok bool) {
	var most float64
	for _, t := range tested {
		if v.Reads <= 0 || v.Days <= 0 || t.Examined <= 0 || slices.ContainsFunc(t.Columns, func(c string) bool { return slices.Contains(v.Leading, c) }) {
			continue
		}
		share, selectivity := min(1, t.Reads/v.Reads), 1-t.Removed/t.Examined
		saved, spent := v.price(t)
		if t.Reads < minReads || share < indexCalls || selectivity >= indexSelectivity || saved-spent <= most || saved < indexWorth {
			continue
		}
		most, ok = saved-spent, true
		best = v.recommend(t, share, selectivity, saved, spent)
	}
	return best, ok
}

func (v Indexable) recommend(t Tested, share, selectivity, saved, spent float64) Recommendation {
	quoted := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		quoted[i] = quoteIdent(c)
	}
	definition := "(" + strings.Join(quoted, ", ") + ")"
	words := strings.Join(t.Columns, ", ")
	if t.Range {
		words = strings.TrimPrefix(strings.Join(t.Columns[:len(t.Columns)-1], ", ")+" and by a range of "+t.Columns[len(t.Columns)-1], " and by ")
	}
	perRead := t.Examined / t.Reads
	r := Recommendation{
		Kind: "index", Current: "no index serves it", Proposed: "add an index on " + definition,
		Reason: fmt.Sprintf("%s: add an index on %s. In %.0f days %.0f %% of the reads looked for rows by %s, with no index that serves it, and kept %.2g %% of the %.0f rows that each looked at: it saves them some %.1f s a day and costs refreshes some %.1f s. Evidence: %s.",
			v.Name, definition, v.Days, 100*share, words, 100*selectivity, perRead, saved, spent, v.Sources),
		Evidence: map[string]any{"level": "L2", "sources": v.Sources, "columns": t.Columns, "ranged": t.Range, "selectivity": round(selectivity, 6), "share_of_reads": round(share, 3),
			"reads": math.Round(t.Reads), "all_reads": math.Round(v.Reads), "days": round(v.Days, 1), "rows_a_read": math.Round(perRead)},
		Predicted: map[string]any{"read_seconds_saved_a_day": round(saved, 2), "refresh_seconds_added_a_day": round(spent, 2), "rows_a_read": map[string]any{"before": math.Round(perRead), "after": math.Round(perRead * selectivity)}},
	}
	literal := "'" + strings.ReplaceAll(definition, "'", "''") + "'"
	r.Command = "UPDATE mvscheduler.views SET indexes = array_append(indexes, " + strings.ReplaceAll(literal, "%", "%%") + ") WHERE name = %s"
	if columns, err := json.Marshal(t.Columns); err == nil {
		r.Basis, r.Change = map[string]string{}, map[string]string{"add_index": string(columns)}
	}
	return r
}

// quoteIdent quotes a name always: no list of reserved words is needed.
func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
