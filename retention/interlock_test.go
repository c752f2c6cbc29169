package retention

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachBlockerIsNamed(t *testing.T) {
	t.Parallel()
	for why, change := range map[string]func(*builder, *Reader){
		"view app.hourly reads it and is paused (by alice)":                                                func(_ *builder, r *Reader) { r.Paused = "by alice" },
		"view app.hourly reads it and its last run failed":                                                 func(_ *builder, r *Reader) { r.Failures = 1 },
		"view app.hourly reads it and its last 4 runs failed":                                              func(_ *builder, r *Reader) { r.Failures = 4 },
		"the query of view app.hourly reads it not only within in_window, so that it may need all rows":    func(_ *builder, r *Reader) { r.Windowed, r.RetentionPeriod = false, new(Days(1)) },
		"view app.hourly reads it, and its query was dropped: when that is made again it is computed anew": func(_ *builder, r *Reader) { r.Lost, r.Windowed = true, false },
		"view app.hourly reads it and was never filled: mvscheduler refresh app.hourly":                    func(_ *builder, r *Reader) { r.FilledFrom = nil },
		"view app.hourly reads it and is filled from 2026-06-02 only: its first fill goes on by itself":    func(b *builder, r *Reader) { r.FilledFrom = b.at("2026-06-02") },
		"view app.hourly may lack rows of app.metrics_2026_06_01, which it would keep, since view app.minutes, through which it reads them, was filled from 2026-06-01 06:00:00 UTC only: UPDATE app.minutes, its query with a column more and without retention_period until app.hourly has taken that; or, when nobody needs what it lacks, detach it by hand": func(b *builder, r *Reader) {
			r.Direct, r.Unbuilt, r.UnbuiltBy = false, b.at("2026-06-01 06:00:00"), "app.minutes"
		},
		"view app.hourly reads it without tracking changes, so that rows that came late may be missing in it":                                                               func(_ *builder, r *Reader) { r.Tracking = "none" },
		"view app.hourly reads it and finds changes by the server's counters, which come late, so that rows may be missing in it":                                           func(_ *builder, r *Reader) { r.Tracking = "counters" },
		"view app.hourly reads it and is not incremental (method concurrent): it would lose its rows at the next refresh":                                                   func(_ *builder, r *Reader) { r.Method = "concurrent" },
		"materialized view app.hourly reads it, is not managed and would lose its rows at the next refresh":                                                                 func(_ *builder, r *Reader) { r.Method = "" },
		"view app.hourly reads it and has materialized until 2026-06-02, where 2026-06-02 03:00:00 UTC is needed":                                                           func(b *builder, r *Reader) { r.MaterializedUntil = b.at("2026-06-02") },
		"view app.hourly has not taken the changes from 2026-05-20 to 2026-05-20 01:00:00 UTC yet":                                                                          func(b *builder, r *Reader) { r.Dirt = []Range{{*b.at("2026-05-20"), *b.at("2026-05-20 01:00:00")}} },
		"view app.hourly has not taken changes yet that may concern all of it, of a table that it joins, of a query, or an UPDATE that moved rows to other partitions, say": func(_ *builder, r *Reader) { r.Dirt = []Range{{NegInfinity, Infinity}} },
		"view app.hourly has not taken the changes from 2026-06-02 01:30:00 UTC to 2026-06-02 01:30:00 UTC yet": func(b *builder, r *Reader) {
			r.Dirt = []Range{{*b.at("2026-06-02 01:30:00"), *b.at("2026-06-02 01:30:00")}}
		},
	} {
		b := table(t, Source, "app.metrics", Days(7)).span("2026-06-01", "2026-06-02")
		b.reader("app.hourly", hourly, func(r *Reader) { change(b, r) })
		d := Plan(b.facts).Decisions[0]
		require.Equal(t, Keep, d.Action, why)
		require.Equal(t, "app.hourly", d.Blocker)
		require.Equal(t, "app.metrics_2026_06_01 (2026-06-01 to 2026-06-02) stays: "+why, d.Reason)
	}
}

func TestChangesOfWhatAReaderHasLetGoDoNotMatter(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(7)).span("2026-06-01", "2026-06-07")
	b.reader("app.hourly", hourly, func(r *Reader) {
		r.RetentionPeriod = new(Days(10)) // from 2026-06-05 12:00 on
		r.Dirt = []Range{{*b.at("2026-06-01"), *b.at("2026-06-05")}}
	})
	require.Equal(t, 1, Plan(b.facts).Total(Detach).Partitions)
	b.facts.Readers[0].Dirt[0].To = *b.at("2026-06-05 12:00:00")
	require.Equal(t, 0, Plan(b.facts).Total(Detach).Partitions)
}

// It would not come to what reads on, until its own buckets have left.
func TestAChangeOfWhatAReaderHasLetGoMattersWhileOthersReadItsBuckets(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(7)).span("2026-06-01", "2026-06-07")
	b.reader("app.hourly", hourly, func(r *Reader) {
		r.RetentionPeriod, r.Relied = new(Days(7)), true
		r.Dirt = []Range{{*b.at("2026-06-01"), *b.at("2026-06-01")}}
	}).reader("app.daily", daily, indirect, stored)
	require.Equal(t, "app.metrics_2026_06_01 (2026-06-01 to 2026-06-07) stays: view app.hourly has not taken the changes from 2026-06-01 to 2026-06-01 yet", Plan(b.facts).Decisions[0].Reason)
	b.facts.Readers[0].Gone = b.at("2026-06-01 00:59:59")
	require.True(t, Plan(b.facts).Empty(), "a label can be an hour later than its row")
	b.facts.Readers[0].Gone = b.at("2026-06-01 01:00:01")
	require.Equal(t, 1, Plan(b.facts).Total(Detach).Partitions)
	b.facts.Readers[0].Gone, b.facts.Readers[0].Dirt = nil, nil
	require.Equal(t, 1, Plan(b.facts).Total(Detach).Partitions)
}

func TestBucketsThatAViewHasNotBroughtUpToDateStayForItsReaders(t *testing.T) {
	t.Parallel()
	b := table(t, View, "app.hourly", Days(7)).span("2026-05-01", "2026-06-01")
	itself := func(r *Reader) {
		r.Direct, r.Windowed, r.Self, r.Paused = false, false, true, "by alice"
		r.Dirt = []Range{{*b.at("2026-05-05"), *b.at("2026-05-05")}}
	}
	b.reader("app.hourly", hourly, itself)
	require.Equal(t, 1, Plan(b.facts).Total(Detach).Partitions, "nobody reads it")
	b.reader("app.daily", daily)
	d := Plan(b.facts).Decisions[0]
	require.Equal(t, "app.hourly_2026_05_01 (2026-05-01 to 2026-06-01) stays: view app.daily reads it, and app.hourly itself has not taken the changes from 2026-05-05 to 2026-05-05 yet: it is paused (by alice)", d.Reason)
	require.Equal(t, "app.daily", d.Blocker)
	for name, change := range map[string]func(){
		"what it reads has left there":  func() { b.facts.Readers[0].Frozen = b.at("2026-05-05 00:00:01") },
		"the reader has let go of it":   func() { b.facts.Readers[1].RetentionPeriod = new(Days(1)) },
		"it is of what is younger":      func() { b.facts.Readers[0].Dirt[0] = Range{*b.at("2026-06-02 02:00:00"), *b.at("2026-06-14")} },
		"the reader is no rollup of it": func() { b.facts.Readers[1].Method = "full" },
	} {
		before := slices.Clone(b.facts.Readers)
		dirt := b.facts.Readers[0].Dirt[0]
		change()
		require.Equal(t, 1, Plan(b.facts).Total(Detach).Partitions, name)
		b.facts.Readers = before
		b.facts.Readers[0].Dirt[0] = dirt
	}
}

func TestWhoReadsTheTableAboveHoldsAllAndIsNeverFrozen(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.eu", Days(7)).span("2026-06-01", "2026-06-02")
	b.facts.Relation.Frozen = b.at("2026-06-01")
	require.Equal(t, 1, Plan(b.facts).Total(Detach).Partitions)
	b.reader("app.hourly", hourly, indirect, func(r *Reader) { r.Through, r.RetentionPeriod = "app.everywhere", new(Days(1)) })
	out := Plan(b.facts)
	require.True(t, out.Empty())
	require.Contains(t, out.Decisions[0].Reason, "view app.hourly reads it through app.everywhere, of which app.eu is a part, and would lose its rows")
}

// What such a view reads is the rows of the rollup, which are frozen when the partition leaves.
func TestAViewThatReadsOnlyWhatARollupHasStoredHoldsNothing(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"full", "concurrent", ""} {
		b := table(t, Source, "app.metrics", Days(7)).days("2026-06-05", 1).reader("app.hourly", hourly).
			reader("app.daily", daily, indirect, stored).reader("app.whole", Interval{}, indirect, stored, func(r *Reader) {
			r.Method, r.FilledFrom, r.MaterializedUntil, r.Paused, r.Failures = method, nil, nil, "by alice", 3
		})
		out := Plan(b.facts)
		require.Equal(t, Detach, out.Decisions[0].Action, out.Decisions[0].Reason)
		require.Len(t, out.Decisions[0].Freezes, 1)
		require.Equal(t, "app.hourly", out.Decisions[0].Freezes[0].View)

		for name, change := range map[string]func(b *builder){
			"app.hourly": func(b *builder) { b.facts.Readers[0].MaterializedUntil = b.at("2026-06-05") },
			"app.daily":  func(b *builder) { b.facts.Readers[1].Dirt = []Range{{*b.at("2026-06-05"), *b.at("2026-06-05")}} },
			// It reads the table itself as well, or by way of another view that does.
			"app.whole": func(b *builder) {
				b.reader("app.whole", Interval{}, func(r *Reader) { r.Method, r.Windowed = method, false })
			},
			"app.whole ": func(b *builder) {
				b.reader("app.whole", Interval{}, indirect, func(r *Reader) { r.Method = method })
			},
		} {
			again := &builder{t: t, facts: b.facts}
			again.facts.Readers = slices.Clone(b.facts.Readers)
			change(again)
			out := Plan(again.facts)
			require.Equal(t, Keep, out.Decisions[0].Action)
			require.Equal(t, strings.TrimSpace(name), out.Decisions[0].Blocker, out.Decisions[0].Reason)
		}
	}
}

func TestTheOtherViewsThatNeedAPartitionAreNamed(t *testing.T) {
	t.Parallel()
	require.Equal(t, "view b needs", needed([]string{"b"}))
	require.Equal(t, "views b and c need", needed([]string{"b", "c"}))
	require.Equal(t, "views b, c and d need", needed([]string{"b", "c", "d"}))
	require.Equal(t, "views b, c, d and 2 more need", needed([]string{"b", "c", "d", "e", "f"}))
}

// Its owner may make it anew, of all that there is: so nothing younger leaves, either. To what was restored rows may have been written since.
func TestNothingLeavesWhileAViewKeepsWhatItNeverGot(t *testing.T) {
	t.Parallel()
	plan := func(kept int32, change ...func(*Partition)) (detached int) {
		b := table(t, Source, "app.metrics", Days(7)).span("2026-06-01", "2026-06-02", change...).span("2026-06-02", "2026-06-03").span("2026-06-03", "2026-06-04")
		b.reader("app.hourly", hourly, func(r *Reader) { r.RetentionPeriod, r.Relied = new(Days(12)), true }) // from 2026-06-03 12:00 on
		b.reader("app.daily", daily, indirect, func(r *Reader) {
			r.Unbuilt, r.UnbuiltBy, r.RetentionPeriod = b.at("2026-06-02"), "app.hourly", new(Days(kept))
		})
		return Plan(b.facts).Total(Detach).Partitions
	}
	require.Equal(t, 0, plan(15))
	require.Equal(t, 3, plan(12), "it does not keep what it never got")
	require.Equal(t, 0, plan(15, func(p *Partition) { p.RestoredAt = new(Timestamp(0)) }), "what was restored has not left for good")
}
