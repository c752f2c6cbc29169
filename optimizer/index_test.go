package optimizer

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnIndexIsAdvisedWhereItSavesMoreThanItCosts(t *testing.T) {
	t.Parallel()
	view := Indexable{Name: "app.v", Reads: 10_000, Days: 10, Rows: 1e6, Refreshes: 30, Written: 1e6, Leading: []string{"id"}, Sources: "counters"}
	byOrigin := Tested{Columns: []string{"origin"}, Reads: 3000, Examined: 3e9, Removed: 2.99e9}
	byDay := Tested{Columns: []string{"origin", "day"}, Range: true, Reads: 2500, Examined: 2.5e9, Removed: 2.49e9}
	advise := func(change func(*Indexable, *Tested)) (Recommendation, bool) {
		v, c := view, byOrigin
		if change != nil {
			change(&v, &c)
		}
		return v.Index([]Tested{c})
	}
	_, ok := advise(nil)
	require.False(t, ok, "51 s of reads a day are not worth 60 s of refreshes")
	r, ok := advise(func(v *Indexable, _ *Tested) { v.Refreshes = 2 })
	require.True(t, ok)
	require.Equal(t, "index", r.Kind)
	require.Equal(t, map[string]string{"add_index": `["origin"]`}, r.Change)
	require.Equal(t, `UPDATE mvscheduler.views SET indexes = array_append(indexes, '("origin")') WHERE name = %s`, r.Command)
	require.Equal(t, `app.v: add an index on ("origin"). In 10 days 30 % of the reads looked for rows by origin, with no index that serves it, and kept 0.33 % of the 1000000 rows that each looked at: it saves them some 50.8 s a day and costs refreshes some 4.0 s. Evidence: counters.`, r.Reason)
	require.Equal(t, []string{"origin"}, r.Evidence["columns"])

	view.Refreshes = 2
	for why, change := range map[string]func(*Indexable, *Tested){
		"an index begins with it":  func(v *Indexable, _ *Tested) { v.Leading = []string{"origin"} },
		"a fifth is needed":        func(_ *Indexable, c *Tested) { c.Reads = 1900 },
		"it selects 5 %":           func(_ *Indexable, c *Tested) { c.Removed = 0.95 * c.Examined },
		"a few reads say little":   func(v *Indexable, c *Tested) { v.Reads, c.Reads = 100, 29 },
		"it saves next to nothing": func(v *Indexable, c *Tested) { v.Refreshes, c.Examined, c.Removed = 0, 3e7, 2.99e7 },
		"no reads are known":       func(v *Indexable, _ *Tested) { v.Reads = 0 },
	} {
		_, ok := advise(change)
		require.False(t, ok, why)
	}
	best, ok := view.Index([]Tested{byDay, byOrigin})
	require.True(t, ok)
	require.Equal(t, `add an index on ("origin")`, best.Proposed, "the one that saves most")
	best, ok = view.Index([]Tested{byDay})
	require.True(t, ok)
	require.Contains(t, best.Reason, `looked for rows by origin and by a range of day, with`)
	odd, ok := view.Index([]Tested{{Columns: []string{`100% "odd"`}, Reads: 3000, Examined: 3e9, Removed: 2.99e9}})
	require.True(t, ok)
	require.Equal(t, `["100% \"odd\""]`, odd.Change["add_index"])
	require.Contains(t, odd.Command, `'("100%% ""odd""")'`, "it is a format")
}
