package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
	"github.com/mvscheduler/mvscheduler/optimizer/attribution"
)

// qualSampling is what the collector knows of pg_qualstats while it has the lease.
type qualSampling struct {
	source   catalog.QualSource
	meter    optimizer.QualMeter
	examples map[int64]string // of statements, by queryid; empty = none was kept
	tested   map[int64][]optimizer.Tested
	asked    map[int64]map[optimizer.LookedBack]float64
}

// qualify adds what readers asked for since the sample before to the bin that is being filled, extrapolated from the
// statements that pg_qualstats looks at.
func (c *collector) qualify(ctx context.Context, counters catalog.Counters) error {
	k := &c.quals
	if k.source.Missing != "" || k.source.Schema == "" {
		k.meter = optimizer.QualMeter{}
		return nil
	}
	err := catalog.HoldQuals(ctx, c.pool, k.source, func(q catalog.Querier, s catalog.QualSource) error {
		if k.source = s; s.Missing != "" {
			return nil
		}
		return c.qualifyBy(ctx, q, counters.At)
	})
	var pg *pgconn.PgError
	if ctx.Err() != nil || !errors.As(err, &pg) {
		return err
	}
	c.log.WarnContext(ctx, "reads are sampled without pg_qualstats", "err", err)
	k.meter = optimizer.QualMeter{}
	k.source.Missing = "pg_qualstats could not be read (SQLSTATE " + pg.Code + ", see the log of the sidecar)"
	c.describe(counters)
	return nil
}

func (c *collector) qualifyBy(ctx context.Context, querier catalog.Querier, now time.Time) error {
	k := &c.quals
	read, err := catalog.ReadQuals(ctx, querier, k.source)
	if err != nil {
		return err
	}
	quals := make([]optimizer.Qual, len(read))
	for i, q := range read {
		quals[i] = optimizer.Qual{
			View: q.ViewID, Relation: q.Relation, User: q.UserID, Query: q.QueryID, Group: q.GroupID, Node: q.NodeID, Column: q.ColumnName,
			Compared: optimizer.Comparison(q.Strategy), Indexed: q.Indexed, Time: q.IsTime, Constant: q.Constant, Seen: q.Seen, Examined: q.Examined, Removed: q.Removed,
		}
	}
	since := k.meter.Take(quals)
	if err := c.exemplify(ctx, querier, since); err != nil {
		return err
	}
	since = slices.DeleteFunc(since, func(q optimizer.Qual) bool { return ours(k.examples[q.Query]) })
	timed := slices.DeleteFunc(slices.Clone(since), func(q optimizer.Qual) bool { return c.zones[q.View] == nil })
	if k.tested == nil {
		k.tested, k.asked = make(map[int64][]optimizer.Tested), make(map[int64]map[optimizer.LookedBack]float64)
	}
	for view, conditions := range optimizer.TestedBy(since) {
		for _, t := range conditions {
			t.Reads, t.Examined, t.Removed = t.Reads/k.source.Rate, t.Examined/k.source.Rate, t.Removed/k.source.Rate
			k.tested[view] = optimizer.Together(k.tested[view], t)
		}
		k.tested[view] = optimizer.MostRead(k.tested[view], catalog.MostTested)
	}
	bounds := make(map[int64]attribution.Bound) // by statement, of which there may be many constants
	until := time.Now().Add(textsFor)
	for view, reads := range optimizer.AskedBy(timed, now, func(q optimizer.Qual) (time.Time, bool) { return c.lowerBound(q, now, bounds, until) }) {
		if k.asked[view] == nil {
			k.asked[view] = make(map[optimizer.LookedBack]float64)
		}
		for l, n := range reads {
			k.asked[view][l] += n / k.source.Rate
		}
	}
	return nil
}

// exemplify reads the texts of statements that are new.
func (c *collector) exemplify(ctx context.Context, querier catalog.Querier, since []optimizer.Qual) error {
	k := &c.quals
	if k.examples == nil || len(k.examples) > textsKnown {
		k.examples = make(map[int64]string)
	}
	var unread []int64
	for _, q := range since {
		if _, known := k.examples[q.Query]; !known {
			k.examples[q.Query] = ""
			unread = append(unread, q.Query)
		}
	}
	if len(unread) == 0 {
		return nil
	}
	texts, err := catalog.ReadExamples(ctx, querier, k.source, unread)
	if err != nil {
		return err
	}
	for id, text := range texts {
		k.examples[id] = text
	}
	return nil
}

// ours says that a statement is one of our steps, or of verify: their subqueries have such names. A wide view may have the
// first of them after the end of what is kept of a text, so some are known by how they begin. A statement of which no
// text is kept may be ours, and is left out as well.
func ours(text string) bool {
	return text == "" || strings.Contains(text, "mvscheduler") || strings.HasPrefix(text, "WITH fresh AS MATERIALIZED (") || strings.HasPrefix(text, "WITH differ AS NOT MATERIALIZED (")
}

// lowerBound is the lower bound that a condition on the time_column has: its constant, or what its text says. Texts are
// parsed until an instant of this machine's clock.
func (c *collector) lowerBound(q optimizer.Qual, now time.Time, known map[int64]attribution.Bound, until time.Time) (time.Time, bool) {
	zone := c.zones[q.View]
	bound, there := known[q.Query]
	if !there {
		err := context.DeadlineExceeded
		if time.Now().Before(until) {
			bound, err = attribution.LowerBound(c.quals.examples[q.Query], q.Column, now, zone)
		}
		if err != nil {
			bound = attribution.Bound{Flipped: true} // nobody knows
		}
		known[q.Query] = bound
	}
	switch {
	case bound.Flipped:
		return time.Time{}, false
	case q.Constant != "":
		return optimizer.ParseConstant(q.Constant, zone)
	}
	return bound.At, bound.Known
}

// tellQuals records what was asked for in the bin.
func (c *collector) tellQuals(ctx context.Context) error {
	k := &c.quals
	var tested []catalog.Tested
	for view, conditions := range k.tested {
		for _, t := range conditions {
			tested = append(tested, catalog.Tested{ViewID: view, Columns: t.Columns, Ranged: t.Range, Reads: t.Reads, Examined: t.Examined, Removed: t.Removed})
		}
	}
	var asked []catalog.LookBack
	for view, reads := range k.asked {
		for l, n := range reads {
			asked = append(asked, catalog.LookBack{ViewID: view, DaysBack: l.Days, Entire: l.Entire, Asked: true, Reads: n})
		}
	}
	k.tested, k.asked = nil, nil
	if len(tested) > 0 {
		if err := catalog.WriteTested(ctx, c.pool, c.name, c.bin, tested); err != nil {
			return err
		}
	}
	if len(asked) == 0 {
		return nil
	}
	return catalog.WriteLookBacks(ctx, c.pool, c.name, c.bin, asked)
}
