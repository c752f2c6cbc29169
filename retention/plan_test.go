package retention

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite testdata/plan_*.txt")

// text writes a plan as the golden files have it.
func (o Outcome) text() string {
	var s strings.Builder
	moment := func(t *Timestamp) string {
		if t == nil {
			return "none"
		}
		return t.String()
	}
	fmt.Fprintf(&s, "%s: horizon %s, frozen below %s\n", o.Relation, moment(o.Horizon), moment(o.Frozen))
	for _, action := range []Action{Keep, Detach, Hold, Drop, Attach} {
		if total := o.Total(action); total.Partitions > 0 {
			fmt.Fprintf(&s, "%-6s  %s\n", action, total)
		}
	}
	for _, d := range o.Decisions {
		fmt.Fprintf(&s, "\n%s\n", d.Reason)
		if d.Blocker != "" {
			fmt.Fprintf(&s, "    blocker: %s\n", d.Blocker)
		}
		for _, f := range d.Freezes {
			fmt.Fprintf(&s, "    freeze %s below %s\n", f.View, f.Below)
		}
	}
	for _, f := range o.Freezes {
		fmt.Fprintf(&s, "\nfreeze %s below %s\n", f.View, f.Below)
	}
	for _, note := range o.Notes {
		fmt.Fprintf(&s, "\nnote: %s\n", note)
	}
	return s.String()
}

// builder makes facts for the golden plans. Its clock stands at noon of 2026-06-15.
type builder struct {
	t     *testing.T
	facts Facts
}

func table(t *testing.T, kind Kind, name string, period Interval) *builder {
	return &builder{t: t, facts: Facts{
		Now: at(t, "2026-06-15 12:00:00"),
		Relation: Relation{
			Name: name, Kind: kind, Strategy: "r", TimeColumn: "ts", Key: []Column{{Name: "ts", Type: TypeTimestamptz}},
		},
		Policy: Policy{Enabled: true, RetentionPeriod: &period, GracePeriod: Days(3)},
	}}
}

func (b *builder) at(text string) *Timestamp {
	if len(text) == len(time.DateOnly) {
		text += " 00:00:00"
	}
	return new(at(b.t, text))
}

// partition adds one with these changes.
func (b *builder) partition(suffix, bound string, change ...func(*Partition)) *builder {
	p := Partition{OID: uint32(len(b.facts.Relation.Partitions) + 1), Name: b.facts.Relation.Name + "_" + suffix, Bound: bound, Rows: 1000, Bytes: 1 << 20}
	for _, f := range change {
		f(&p)
	}
	b.facts.Relation.Partitions = append(b.facts.Relation.Partitions, p)
	return b
}

// span adds a partition of timestamptz.
func (b *builder) span(from, to string, change ...func(*Partition)) *builder {
	bound := Bound{From: *b.at(from), To: *b.at(to)}
	return b.partition(strings.ReplaceAll(from, "-", "_"), boundText(bound, TypeTimestamptz), change...)
}

// days adds a partition for each of n days.
func (b *builder) days(first string, n int) *builder {
	begin := *b.at(first)
	for i := range n {
		from := begin.Add(time.Duration(i) * day)
		b.span(from.String(), from.Add(day).String())
	}
	return b
}

// reader adds an incremental view that reads the relation itself and has taken everything, with these changes.
func (b *builder) reader(name string, width Interval, change ...func(*Reader)) *builder {
	r := Reader{
		Name: name, Method: Incremental, Direct: true, Windowed: true, Label: TypeTimestamptz, BucketWidth: width, Tracking: "trigger",
		FilledFrom: new(NegInfinity), MaterializedUntil: new(b.facts.Now),
	}
	for _, f := range change {
		f(&r)
	}
	b.facts.Readers = append(b.facts.Readers, r)
	return b
}

var (
	hourly  = Interval{Microseconds: 3600 * second}
	daily   = Days(1)
	monthly = Interval{Months: 1}
)

func indirect(r *Reader) { r.Direct = false }

func stored(r *Reader) { r.Stored = true }

// A view that keeps nothing of what leaves was not asked whether it had it.
func TestAViewThatKeepsNothingOfWhatLeavesMayLackIt(t *testing.T) {
	t.Parallel()
	unasked := func(change func(*Reader)) []*Timestamp {
		b := table(t, Source, "app.metrics", Days(7)).span("2026-06-01", "2026-06-02").span("2026-06-14", "2026-06-15").reader("app.hourly", hourly, change)
		b.facts.Readers[0].Frozen = b.at("2026-06-05")
		var all []*Timestamp
		for _, d := range Plan(b.facts).Decisions {
			for _, f := range d.Freezes {
				require.Equal(t, Detach, d.Action)
				all = append(all, f.Unasked)
			}
		}
		return all
	}
	settled := new(at(t, "2026-06-02 01:00:00"))
	require.Empty(t, unasked(func(*Reader) {}), "it was asked, and knows already that what is older has left")
	require.Equal(t, []*Timestamp{settled}, unasked(func(r *Reader) { r.RetentionPeriod = new(Days(10)) }))
	require.Empty(t, unasked(func(r *Reader) { r.RetentionPeriod = new(Days(14)) }))
	require.Empty(t, unasked(func(r *Reader) { r.RetentionPeriod, r.Relied = new(Days(10)), true }), "of what it has still others have more")
	require.Equal(t, []*Timestamp{settled}, unasked(func(r *Reader) {
		r.RetentionPeriod, r.Relied, r.Gone = new(Days(10)), true, new(at(t, "2026-06-04 00:00:00"))
	}))
	require.Empty(t, unasked(func(r *Reader) { r.RetentionPeriod, r.FilledFrom = new(Days(10)), nil }), "BeginFill notes it")
}

// Labels can be later than their rows: by an hour, and by a day where a zone is on one side only.
func TestAViewIsFrozenAsMuchFurtherAsALabelCanBeLaterThanItsRow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key, label KeyType
		below      string
	}{
		"both with a zone": {TypeTimestamptz, TypeTimestamptz, "2026-06-01 01:00:00"},
		"the row without":  {TypeTimestamp, TypeTimestamptz, "2026-06-02 00:00:00"},
		"the label is":     {TypeTimestamptz, TypeTimestamp, "2026-06-02 00:00:00"},
		"neither":          {TypeTimestamp, TypeDate, "2026-06-02 00:00:00"},
	} {
		b := table(t, Source, "app.metrics", Days(7)).reader("app.hourly", hourly, func(r *Reader) { r.Label = c.label })
		b.facts.Relation.Key[0].Type, b.facts.Relation.Frozen = c.key, b.at("2026-06-01")
		require.Equal(t, []Freeze{{View: "app.hourly", Below: *b.at(c.below), Horizon: *b.at("2026-06-01")}}, Plan(b.facts).Freezes, name)
	}
}

// It need not be filled from further back than where it is not frozen.
func TestAViewThatIsFilledFromWhereItIsFrozenLetsGo(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(7)).days("2026-06-01", 2).reader("app.hourly", hourly)
	b.facts.Relation.Frozen = b.at("2026-06-01")
	b.facts.Readers[0].FilledFrom = b.at("2026-06-01 01:00:00")
	require.Equal(t, 2, Plan(b.facts).Total(Detach).Partitions)
	b.facts.Readers[0].FilledFrom = b.at("2026-06-01 01:00:01")
	require.Contains(t, Plan(b.facts).Decisions[0].Reason, "is filled from 2026-06-01 01:00:01 UTC only")
}

// What left the table by a row of source_retention that was deleted since has frozen the view as well.
func TestWhatHasLeftByAnEarlierRowCountsForTheViewThatHadIt(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(7)).days("2026-06-01", 2).reader("app.hourly", hourly)
	require.Equal(t, 2, Plan(b.facts).Total(Detach).Partitions)
	b.facts.Readers[0].Left = b.at("2026-06-02")
	out := Plan(b.facts)
	require.Contains(t, out.Decisions[0].Reason, "app.hourly is not recomputed below 2026-06-02", "it may never have seen what was attached there since")
	b.facts.Readers[0].Left = b.at("2026-06-01")
	require.Equal(t, 2, Plan(b.facts).Total(Detach).Partitions)
}

func TestOnlyViewsThatReadWithinInWindowAreToldWhatHasLeftAlready(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(7)).days("2026-06-05", 1).reader("app.hourly", hourly).reader("app.other", hourly, func(r *Reader) { r.Windowed = false })
	b.facts.Relation.Frozen = b.at("2026-06-01")
	out := Plan(b.facts)
	require.Len(t, out.Freezes, 1)
	require.Equal(t, "app.hourly", out.Freezes[0].View)
	require.Equal(t, "app.other", out.Decisions[0].Blocker)
}

func TestPlansReadAsTheyShould(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(t *testing.T) *builder{
		"view": func(t *testing.T) *builder {
			b := table(t, View, "app.hourly", Days(90)).
				span("2026-02-01", "2026-03-01").span("2026-03-01", "2026-04-01").span("2026-04-01", "2026-06-01").span("2026-06-01", "2026-07-01").span("2026-07-01", "2026-08-01")
			b.facts.Relation.Frozen = b.at("2026-02-01")
			return b.span("2025-12-01", "2026-01-01", func(p *Partition) { p.DetachedAt = b.at("2026-06-10") }).
				span("2026-01-01", "2026-02-01", func(p *Partition) { p.DetachedAt = b.at("2026-06-13") })
		},
		"source": func(t *testing.T) *builder {
			return table(t, Source, "app.metrics", Days(7)).days("2026-06-05", 12).reader("app.hourly", hourly)
		},
		"chain": func(t *testing.T) *builder {
			return table(t, Source, "app.metrics", Days(7)).days("2026-06-05", 4).
				reader("app.hourly", hourly).reader("app.daily", daily, indirect).reader("app.monthly", monthly, indirect)
		},
		"chain_behind": func(t *testing.T) *builder {
			b := table(t, Source, "app.metrics", Days(7)).days("2026-06-05", 4).reader("app.hourly", hourly)
			return b.reader("app.daily", daily, indirect, func(r *Reader) { r.Dirt = []Range{{*b.at("2026-06-06"), *b.at("2026-06-06 23:00:00")}} })
		},
		"month_from_raw": func(t *testing.T) *builder {
			return table(t, Source, "app.metrics", Days(7)).span("2026-04-01", "2026-05-01").span("2026-05-01", "2026-06-01").reader("app.monthly", monthly)
		},
		"rollup_of_rollup": func(t *testing.T) *builder {
			return table(t, View, "app.hourly", Days(90)).span("2026-01-01", "2026-02-01").span("2026-02-01", "2026-03-01").span("2026-03-01", "2026-04-01").
				reader("app.daily", daily, func(r *Reader) { r.RetentionPeriod = new(Interval{Months: 24}) }).
				reader("app.top", Interval{}, func(r *Reader) { r.Method = "full" }).
				reader("bob.top", Interval{}, func(r *Reader) { r.Method = "" })
		},
		"shorter_reader": func(t *testing.T) *builder {
			return table(t, Source, "app.metrics", Days(7)).days("2026-05-10", 1).days("2026-06-05", 1).
				reader("app.lately", hourly, func(r *Reader) { r.RetentionPeriod, r.Paused = new(Days(14)), "by alice" })
		},
		"blockers": func(t *testing.T) *builder {
			b := table(t, Source, "app.metrics", Days(7)).span("2026-06-01", "2026-06-02")
			return b.reader("app.b_paused", hourly, func(r *Reader) { r.Paused = "by alice" }).
				reader("app.a_fine", hourly).
				reader("app.c_failing", hourly, func(r *Reader) { r.Failures = 3 })
		},
		"held_by_bounds": func(t *testing.T) *builder {
			return table(t, Source, "app.metrics", Days(7)).
				partition("default", "DEFAULT").
				partition("past", "FOR VALUES FROM (MINVALUE) TO ('2026-01-01 00:00:00+00')").
				partition("future", "FOR VALUES FROM ('2026-07-01 00:00:00+00') TO (MAXVALUE)").
				partition("absurd", "FOR VALUES FROM ('2026-05-01 00:00:00+00') TO ('294276-12-31 00:00:00+00')").
				partition("german", "FOR VALUES FROM ('01.03.2026 00:00:00 CET') TO ('01.04.2026 00:00:00 CEST')").
				span("2026-06-01", "2026-06-11")
		},
		"held_by_others": func(t *testing.T) *builder {
			return table(t, Source, "app.metrics", Days(7)).
				span("2026-01-01", "2026-02-01", func(p *Partition) {
					p.ReferencedBy = []ForeignKey{{"app.notes", "notes_ts_fkey"}, {"app.alarms", `"Old key"`}, {"app.alarms", "alarms_ts_fkey"}}
				}).
				span("2026-02-01", "2026-03-01", func(p *Partition) { p.OtherOwner = "bob" }).
				span("2026-03-01", "2026-04-01", func(p *Partition) { p.Foreign = true }).
				span("2026-04-01", "2026-05-01", func(p *Partition) { p.DetachPending = true }).
				span("2026-05-01", "2026-06-01", func(p *Partition) { p.SubPartitions, p.Rows = 16, -1 })
		},
		"by_date": func(t *testing.T) *builder {
			b := table(t, Source, "app.sales", Days(14))
			b.facts.Relation.Key[0].Type = TypeDate
			return b.partition("may30", "FOR VALUES FROM ('2026-05-30') TO ('2026-05-31')").partition("may31", "FOR VALUES FROM ('2026-05-31') TO ('2026-06-01')")
		},
		"restored": func(t *testing.T) *builder {
			b := table(t, Source, "app.metrics", Days(7)).reader("app.hourly", hourly)
			b.facts.Relation.Frozen = b.at("2026-06-05")
			return b.span("2026-06-01", "2026-06-02", func(p *Partition) { p.RestoredAt = b.at("2026-06-10") }).
				span("2026-06-02", "2026-06-03", func(p *Partition) { p.RestoredAt = b.at("2026-06-14") }).
				span("2026-06-03", "2026-06-04"). // attached by somebody
				span("2026-06-05", "2026-06-06")
		},
		"restored_whole": func(t *testing.T) *builder { // what is written to it comes to the view until a younger one leaves
			b := table(t, Source, "app.metrics", Days(7)).reader("app.hourly", hourly)
			return b.span("2026-06-01", "2026-06-02", func(p *Partition) { p.RestoredAt = b.at("2026-06-14") }).
				span("2026-06-02", "2026-06-03", func(p *Partition) { p.RestoredAt = b.at("2026-06-10") }).
				span("2026-06-05", "2026-06-06")
		},
		"lengthened": func(t *testing.T) *builder {
			b := table(t, View, "app.hourly", Days(365))
			b.facts.Relation.Frozen = b.at("2026-02-01")
			return b.span("2026-01-01", "2026-02-01", func(p *Partition) { p.DetachedAt = b.at("2026-05-01") })
		},
		"lengthened_of_a_table": func(t *testing.T) *builder {
			b := table(t, Source, "app.metrics", Days(365))
			return b.span("2026-01-01", "2026-02-01", func(p *Partition) { p.DetachedAt = b.at("2026-05-01") })
		},
		"lengthened_and_redefined": func(t *testing.T) *builder {
			b := table(t, View, "app.hourly", Days(365))
			return b.span("2026-01-01", "2026-02-01", func(p *Partition) { p.DetachedAt, p.Misfit = b.at("2026-05-01"), true }).
				span("2025-01-01", "2025-02-01", func(p *Partition) { p.DetachedAt, p.Misfit = b.at("2026-05-01"), true })
		},
		"lengthened_and_built_anew": func(t *testing.T) *builder {
			b := table(t, View, "app.hourly", Days(365))
			return b.span("2026-01-01", "2026-02-01", func(p *Partition) { p.DetachedAt, p.Former = b.at("2026-05-01"), true }).
				span("2025-01-01", "2025-02-01", func(p *Partition) { p.DetachedAt, p.Former = b.at("2026-05-01"), true })
		},
		"built_anew_to_keep_everything": func(t *testing.T) *builder {
			b := table(t, View, "app.hourly", Days(365))
			b.facts.Policy.RetentionPeriod = nil
			return b.span("2016-01-01", "2016-02-01", func(p *Partition) { p.DetachedAt, p.Former = b.at("2026-05-01"), true })
		},
		"nothing_leaves_any_more": func(t *testing.T) *builder {
			b := table(t, View, "app.hourly", Days(365))
			b.facts.Policy.RetentionPeriod = nil
			return b.span("2016-01-01", "2016-02-01", func(p *Partition) { p.DetachedAt = b.at("2026-05-01") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden := filepath.Join("testdata", "plan_"+name+".txt")
			got := Plan(f(t).facts).text()
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestNothingLeavesARelationThatCannotBeJudged(t *testing.T) {
	t.Parallel()
	for why, change := range map[string]func(*builder){
		"there is a legal hold on app.metrics":                         func(b *builder) { b.facts.Policy.LegalHold = true },
		"retention of app.metrics is not enabled":                      func(b *builder) { b.facts.Policy.Enabled = false },
		"app.metrics has no retention_period":                          func(b *builder) { b.facts.Policy.RetentionPeriod = nil },
		"the retention_period of app.metrics, -1 day, is not positive": func(b *builder) { b.facts.Policy.RetentionPeriod = new(Days(-1)) },
		"the clocks of the database (2026-06-15 12:00:00 UTC) and of mvscheduler (2026-06-15 11:49:00 UTC) disagree": func(b *builder) {
			b.facts.Witness = b.at("2026-06-15 11:49:00")
		},
		"the clocks of the database (2026-06-15 12:00:00 UTC) and of mvscheduler (2027-01-01) disagree": func(b *builder) { b.facts.Witness = b.at("2027-01-01") },
		"the time is not known":                                                     func(b *builder) { b.facts.Now = Infinity },
		"app.metrics is not partitioned":                                            func(b *builder) { b.facts.Relation.Strategy, b.facts.Relation.Key = "", nil },
		"app.metrics is partitioned by LIST and not by a range of time":             func(b *builder) { b.facts.Relation.Strategy = "l" },
		"app.metrics is partitioned by HASH and not by a range of time":             func(b *builder) { b.facts.Relation.Strategy = "h" },
		"app.metrics is partitioned by 2 columns, so that a bound is no time":       func(b *builder) { b.facts.Relation.Key = make([]Column, 2) },
		"app.metrics is partitioned by an expression and not by its time column ts": func(b *builder) { b.facts.Relation.Key[0].Name = "" },
		`app.metrics is partitioned by received and not by its time column ts; if that was renamed: UPDATE mvscheduler.source_retention SET time_column = 'received' WHERE "table" = 'app.metrics'::regclass`: func(b *builder) { b.facts.Relation.Key[0].Name = "received" },
		"app.metrics is partitioned by a column of type int8: a time column is timestamptz, timestamp or date":                                                                                                func(b *builder) { b.facts.Relation.Key[0].Type = "int8" },
	} {
		b := table(t, Source, "app.metrics", Days(7)).span("2026-06-01", "2026-06-02")
		b.span("2026-05-01", "2026-05-02", func(p *Partition) { p.DetachedAt = b.at("2026-05-20") })
		require.Equal(t, 1, Plan(b.facts).Total(Detach).Partitions)
		require.Equal(t, 1, Plan(b.facts).Total(Drop).Partitions)
		change(b)
		out := Plan(b.facts)
		require.True(t, out.Empty())
		require.Nil(t, out.Horizon)
		for _, d := range out.Decisions {
			require.Regexp(t, `stays( aside)?: `, d.Reason)
			require.True(t, strings.HasSuffix(d.Reason, ": "+why), d.Reason)
		}
	}
}

func TestAnUnanalysedPartitionIsNotCountedAsEmpty(t *testing.T) {
	t.Parallel()
	b := table(t, View, "app.hourly", Days(7)).span("2026-05-01", "2026-06-01").span("2026-04-01", "2026-05-01", func(p *Partition) { p.Rows = -1 })
	require.Equal(t, "2 partitions, about 1000 rows, 2 MB (rows of 1 unknown)", Plan(b.facts).Total(Detach).String())
}

func TestTheEarlierOfTwoClocksCounts(t *testing.T) {
	t.Parallel()
	b := table(t, View, "app.hourly", Days(14)).span("2026-05-01", "2026-06-01")
	b.facts.Now = at(t, "2026-06-15 00:00:00")
	for _, witness := range []string{"2026-06-15 00:00:00", "2026-06-15 00:05:00"} {
		b.facts.Witness = b.at(witness)
		require.Equal(t, 1, Plan(b.facts).Total(Detach).Partitions)
	}
	b.facts.Witness = b.at("2026-06-14 23:59:59")
	require.Equal(t, 0, Plan(b.facts).Total(Detach).Partitions)
}

func TestOnlyAViewThatLosesRowsWithAnotherOneIsNamedInANote(t *testing.T) {
	t.Parallel()
	b := table(t, View, "app.hourly", Days(7)).days("2026-06-05", 1).reader("app.daily", daily).
		reader("app.of_days", Interval{}, indirect, stored, func(r *Reader) { r.Method = "full" }).
		reader("app.of_hours", Interval{}, func(r *Reader) { r.Method = "full" })
	require.Equal(t, []string{"view app.of_hours is not incremental: at its next refresh it shows only what app.hourly still has"}, Plan(b.facts).Notes)
}

func TestWhatWasAlteredWhileItWasAsideIsNotDropped(t *testing.T) {
	t.Parallel()
	b := table(t, Source, "app.metrics", Days(7)).span("2026-05-01", "2026-05-02", func(p *Partition) { p.Altered = true })
	b.facts.Relation.Partitions[0].DetachedAt = b.at("2026-05-20")
	require.Equal(t, Hold, Plan(b.facts).Decisions[0].Action)
	b.facts.Relation.Partitions[0].Altered = false
	require.Equal(t, Drop, Plan(b.facts).Decisions[0].Action)
}
