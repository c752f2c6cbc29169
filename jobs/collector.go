package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/optimizer"
	"github.com/mvscheduler/mvscheduler/optimizer/attribution"
	"github.com/mvscheduler/mvscheduler/retention"
)

const (
	collectPatience = 30 * time.Second // one sample may take no longer
	graphEvery      = 10               // samples between two looks at what is below and above the views
	rollUpEvery     = time.Hour
	keepFine        = 21 * 24 * time.Hour // bins of five minutes
	keepHours       = 70 * 24 * time.Hour // ten weeks: the optimizer looks nine back
	keepLookBacks   = optimizer.LookBackMemory
	textsAtOnce     = 200             // statements that are attributed in one sample
	textsFor        = 2 * time.Second // and for how long: what is left is for the next; and texts of pg_qualstats, of which the rest is not known
	textsKnown      = 20000
	callsUnknown    = 0.05               // share of the calls of a sample that may be left for the next
	standbyAway     = 7 * 24 * time.Hour // a standby that is away for no longer may be back, and what it counted with it
)

// collector samples how often views are read and what changes below them. One sidecar does at a time: what it compares
// the counters with it keeps in memory, so another one that takes over begins with a gap.
type collector struct {
	pool     *pgxpool.Pool
	log      *slog.Logger
	name     string
	every    time.Duration // zero = never
	plan     func(context.Context, evidence) error
	standbys []*pgxpool.Pool // that are read as well

	sampling // what it knows while it has the lease
	rolled   time.Time
}

// evidence is what reads rest on.
type evidence struct {
	level    string // L0 (counters of scans), L1 (pg_stat_statements as well) or L2 (pg_qualstats as well)
	words    string
	standbys int // whose reads are not counted
	servers  int // that may be read
}

type sampling struct {
	meter  optimizer.Meter
	others []optimizer.Meter // of the standbys
	last   time.Time         // of the database's clock; zero = there is nothing to compare with
	bin    time.Time         // that is being filled
	from   time.Time         // since when, of the database's clock
	until  time.Time         // and until when it is
	bins   map[int64]*optimizer.Bin
	ratios map[int64]*optimizer.Ratio
	bounds map[uint32]time.Time // where partitions begin; zero = that is not known
	evidence

	samples  int
	below    map[int64][]uint32
	tables   []uint32
	readable map[attribution.Name][]catalog.Readable
	mayRead  map[catalog.Reader]bool
	source   catalog.StatementSource
	calls    catalog.Statements
	reads    map[int64][]attribution.Name // of statements, by queryid
	quals    qualSampling
	zones    map[int64]*time.Location // of the views that have a time_column
	upstream map[int64][]int64        // managed views that views read
	cluster  int64                    // system identifier
	unread   int                      // standbys there are now whose reads are not counted

	standbySeen *time.Time       // when there was one last, see catalog.Lease
	spans       map[int64][]span // since the last refresh, of the views whose readers ask for refreshes
}

// Run samples until ctx ends, which is not an error.
func (c *collector) Run(ctx context.Context) error {
	if c.every <= 0 {
		return nil
	}
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	for {
		if err := c.tick(ctx); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "reads could not be sampled, will retry", "err", err, "retry_in", c.every)
		}
		select {
		case <-ctx.Done():
			c.leave(ctx)
			return nil
		case <-ticker.C:
		}
	}
}

// leave writes what was sampled last and lets another sidecar sample at once.
func (c *collector) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeepingTime)
	defer cancel()
	err := c.flush(ctx)
	if err == nil {
		err = catalog.LeaveLease(ctx, c.pool, c.name)
	}
	if err != nil {
		c.log.WarnContext(ctx, "the last samples are lost", "err", err)
	}
}

func (c *collector) tick(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, collectPatience)
	defer cancel()
	lease, err := catalog.TakeLease(ctx, c.pool, c.name, 3*c.every+collectPatience)
	if err != nil {
		return err
	}
	if lease == nil {
		c.sampling = sampling{}
		return nil
	}
	if !lease.Held { // another one may have counted meanwhile, or the clock was set ahead
		c.sampling = sampling{}
	}
	c.standbySeen = lease.StandbySeen
	if err := c.sample(ctx); err != nil {
		return err
	}
	if passed(c.rolled, lease.Now, rollUpEvery) {
		if err := catalog.RollUp(ctx, c.pool, keepFine, keepHours, keepLookBacks); err != nil {
			return err
		}
		c.rolled = lease.Now
	}
	if c.plan != nil && (lease.Planned == nil || passed(*lease.Planned, lease.Now, planEvery)) {
		if err := c.plan(ctx, c.evidence); err != nil { // which does not end with this sample
			c.log.WarnContext(ctx, "recommendations could not be made, will retry", "err", err)
		}
	}
	return nil
}

// passed says that so much time has passed. An instant that is still to come was told by a clock that has been put back since.
func passed(since, now time.Time, every time.Duration) bool {
	return now.Sub(since) >= every || since.After(now)
}

// sample reads the counters and adds what they tell to the bin in the middle of the time since the sample before.
func (c *collector) sample(ctx context.Context) error {
	if c.samples%graphEvery == 0 {
		if err := c.lookAround(ctx); err != nil {
			return err
		}
	}
	c.samples++
	calls, err := c.called(ctx)
	if err != nil {
		return err
	}
	counters, err := catalog.ReadCounters(ctx, c.pool, c.tables, c.last)
	if err != nil {
		return err
	}
	c.cluster = counters.Cluster
	c.describe(counters)
	if err := c.lookAt(ctx, counters); err != nil {
		return err
	}
	metered := c.meter.Take(c.sampleOf(counters), c.below)
	before := c.last
	c.last = counters.At
	if before.IsZero() || metered == nil || !counters.At.After(before) { // the clock was put back
		return nil
	}
	took := counters.At.Sub(before)
	if bin := before.Add(took / 2).Truncate(catalog.BinWidth); !bin.Equal(c.bin) {
		if err := c.flush(ctx); err != nil {
			return err
		}
		c.bin, c.from = bin, before
	}
	c.until = counters.At
	if err := c.qualify(ctx, counters); err != nil {
		return err
	}
	c.elsewhere(ctx, metered)
	reads := make(map[int64]float64)
	for view, m := range metered {
		if c.bins[view] == nil {
			c.bins[view] = &optimizer.Bin{}
		}
		n := math.NaN()
		if calls != nil && !math.IsNaN(m.Reads+m.Elsewhere) {
			n = calls[view]
		}
		reads[view] = c.add(view, m, n, took)
	}
	return c.heed(ctx, before, took, reads, metered)
}

// add puts what was metered into the bin, and says how many reads of it are new; NaN = that is not known.
func (c *collector) add(view int64, m optimizer.Metered, calls float64, took time.Duration) float64 {
	b := c.bins[view]
	counted := func() float64 {
		var ratio optimizer.Ratio // learns a bin once, when it is whole
		if r := c.ratios[view]; r != nil {
			ratio = *r
		}
		return b.Reads(&ratio)
	}
	before := counted()
	b.Add(m, calls, took)
	if math.IsNaN(m.Reads) && math.IsNaN(calls) {
		return math.NaN()
	}
	return max(0, counted()-before)
}

// lookAt reads where partitions begin that are new. A bound never changes while a partition is attached.
func (c *collector) lookAt(ctx context.Context, counters catalog.Counters) error {
	known := make(map[uint32]time.Time)
	var unknown []uint32
	for _, r := range counters.Relations {
		if !r.Partition {
			continue
		}
		from, there := c.bounds[r.Relation]
		if !there {
			unknown = append(unknown, r.Relation)
		}
		known[r.Relation] = from
	}
	c.bounds = known
	if len(unknown) == 0 {
		return nil
	}
	bounds, err := catalog.ReadBounds(ctx, c.pool, unknown)
	if err != nil {
		c.bounds = nil
		return err
	}
	for _, b := range bounds {
		bound, err := retention.ParseBound(b.Bound, retention.KeyType(b.Type))
		if err != nil || !bound.From.Finite() {
			continue
		}
		from := bound.From.Time()
		if b.Type != string(retention.TypeTimestamptz) { // a label without a zone stands in that of the view
			if zone, err := time.LoadLocation(b.Timezone); err == nil {
				from = time.Date(from.Year(), from.Month(), from.Day(), from.Hour(), from.Minute(), from.Second(), from.Nanosecond(), zone)
			}
		}
		c.bounds[b.Relation] = from
	}
	return nil
}

func (c *collector) sampleOf(counters catalog.Counters) optimizer.Sample {
	s := optimizer.Sample{At: counters.At, Epoch: counters.Epoch, Transactions: counters.Transactions, Later: counters.Later, Merged: counters.Merged, Workers: counters.Workers, Doubtful: counters.Failed}
	for _, r := range counters.Relations {
		s.Relations = append(s.Relations, optimizer.RelationCounters{
			View: r.ViewID, Relation: r.Relation, Seq: r.Seq, Idx: r.Idx, Tuples: r.Tuples, Keys: r.Keys, Fetched: r.Fetched, Rows: r.Rows, Large: r.Large, From: c.bounds[r.Relation],
		})
	}
	for _, r := range counters.Sources {
		s.Sources = append(s.Sources, optimizer.SourceCounters(r))
	}
	for _, r := range counters.Own {
		s.Own = append(s.Own, optimizer.OwnScans(r))
	}
	return s
}

// lookAround reads what is below the views, and by what they are read.
func (c *collector) lookAround(ctx context.Context) (err error) {
	if c.below, err = catalog.ReadTables(ctx, c.pool); err != nil {
		return err
	}
	if c.upstream, err = catalog.ReadUpstream(ctx, c.pool); err != nil {
		return err
	}
	known := make(map[uint32]bool)
	c.tables = c.tables[:0]
	for _, tables := range c.below {
		for _, t := range tables {
			if !known[t] {
				known[t] = true
				c.tables = append(c.tables, t)
			}
		}
	}
	if c.quals.source, err = catalog.FindQuals(ctx, c.pool); err != nil {
		return err
	}
	if c.zones, err = catalog.ReadZones(ctx, c.pool); err != nil {
		return err
	}
	if c.source, err = catalog.FindStatements(ctx, c.pool); err != nil || c.source.Missing != "" {
		return err
	}
	readable, err := catalog.ReadReadable(ctx, c.pool)
	if err != nil {
		return err
	}
	c.readable, c.mayRead = make(map[attribution.Name][]catalog.Readable), make(map[catalog.Reader]bool)
	for _, r := range readable {
		names := []attribution.Name{{Schema: r.Schema, Relation: r.Name}}
		if r.Alone {
			names = append(names, attribution.Name{Relation: r.Name})
		}
		for _, n := range names {
			c.readable[n] = append(c.readable[n], r)
		}
	}
	return nil
}

// called is how often statements that name each view were called since the last sample; nil when that is not known.
func (c *collector) called(ctx context.Context) (map[int64]float64, error) {
	var now catalog.Statements
	err := catalog.HoldStatements(ctx, c.pool, c.source, func(q catalog.Querier, s catalog.StatementSource) (err error) {
		now, err = catalog.ReadCalls(ctx, q, s)
		return err
	})
	if err != nil {
		if now, err = c.without(ctx, err); err != nil {
			return nil, err
		}
	}
	before := c.calls
	c.calls = now
	if now.Missing != "" || before.Calls == nil || before.Epoch != now.Epoch {
		return nil, nil
	}
	more := make(map[catalog.Call]int64)
	var unread []int64
	for call, n := range now.Calls {
		switch d := n - before.Calls[call]; {
		case d < 0: // this statement alone was reset
			return nil, nil
		case d > 0:
			more[call] = d
			if _, known := c.reads[call.Statement]; !known && len(unread) < textsAtOnce {
				unread = append(unread, call.Statement)
			}
		}
	}
	if err := c.attribute(ctx, unread); err != nil {
		c.calls, err = c.without(ctx, err)
		return nil, err
	}
	if !c.understood(more) {
		return nil, nil
	}
	if err := c.lookWhoMayRead(ctx, more); err != nil {
		return nil, err
	}
	calls := make(map[int64]float64)
	for call, d := range more {
		counted := make(map[int64]bool)
		for _, name := range c.reads[call.Statement] {
			for _, r := range c.readable[name] {
				if c.mayRead[catalog.Reader{User: call.User, Relation: r.Relation}] && !counted[r.ViewID] {
					counted[r.ViewID] = true
					calls[r.ViewID] += float64(d)
				}
			}
		}
	}
	return calls, nil
}

// without goes on with the scans alone where the server answers that it can say nothing of statements: one text of another database
// that the encoding of this one cannot write is enough. Texts may be in the message, so that the evidence has the code alone.
func (c *collector) without(ctx context.Context, err error) (catalog.Statements, error) {
	var pg *pgconn.PgError
	if ctx.Err() != nil || !errors.As(err, &pg) {
		return catalog.Statements{}, err
	}
	c.log.WarnContext(ctx, "reads are sampled without pg_stat_statements", "err", err)
	return catalog.Statements{Missing: "pg_stat_statements could not be read (SQLSTATE " + pg.Code + ", see the log of the sidecar)"}, nil
}

// lookWhoMayRead finds out whether those who called statements may read what these name.
func (c *collector) lookWhoMayRead(ctx context.Context, calls map[catalog.Call]int64) error {
	var unknown []catalog.Reader
	for call := range calls {
		for _, name := range c.reads[call.Statement] {
			for _, r := range c.readable[name] {
				reader := catalog.Reader{User: call.User, Relation: r.Relation}
				if _, known := c.mayRead[reader]; !known {
					c.mayRead[reader] = false
					unknown = append(unknown, reader)
				}
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	may, err := catalog.MayRead(ctx, c.pool, unknown)
	maps.Copy(c.mayRead, may)
	return err
}

// attribute finds out what statements read. What cannot be parsed reads nothing that is known of.
func (c *collector) attribute(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	var texts map[int64]string
	err := catalog.HoldStatements(ctx, c.pool, c.source, func(q catalog.Querier, s catalog.StatementSource) (err error) {
		if s.Missing == "" {
			texts, err = catalog.ReadTexts(ctx, q, s, ids, attribution.Longest)
		}
		return err
	})
	if err != nil {
		return err
	}
	if c.reads == nil || len(c.reads) > textsKnown {
		c.reads = make(map[int64][]attribution.Name)
	}
	c.understand(ids, texts, time.Now)
	return nil
}

// understood says that it is known of nearly all calls what they read. Else the scans are the better count: calls of new statements
// are left out while there are too many of these.
func (c *collector) understood(calls map[catalog.Call]int64) bool {
	var all, unknown float64
	for call, n := range calls {
		all += float64(n)
		if _, known := c.reads[call.Statement]; !known {
			unknown += float64(n)
		}
	}
	return unknown <= callsUnknown*all
}

// understand parses texts of statements until the time for that is over.
func (c *collector) understand(ids []int64, texts map[int64]string, now func() time.Time) {
	began := now()
	for _, id := range ids {
		if now().Sub(began) > textsFor {
			break
		}
		c.reads[id] = nil
		if text, ok := texts[id]; ok {
			if names, err := attribution.Relations(text); err == nil {
				c.reads[id] = names
			}
		}
	}
}

// describe says what the reads rest on.
func (c *collector) describe(counters catalog.Counters) {
	c.level, c.words = "L1", "counters of scans and pg_stat_statements"
	if c.calls.Missing != "" {
		c.level, c.words = "L0", "counters of scans; "+c.calls.Missing
	}
	if c.quals.source.Missing == "" {
		c.level = "L2"
		c.words += "; pg_qualstats"
	} else if !c.quals.source.Absent {
		c.words += "; " + c.quals.source.Missing
	}
	c.unread = max(0, counters.Standbys-len(c.standbys))
	c.evidence.standbys = c.unread
	if len(c.standbys) > 0 {
		c.words += fmt.Sprintf(", and of %d standbys", len(c.standbys))
	}
	switch seen := c.standbySeen; {
	case c.unread > 0:
		c.words += "; reads on standbys are not counted, and there are some"
	case seen != nil && counters.At.Sub(*seen) < standbyAway:
		c.evidence.standbys = 1
		c.words += "; reads on standbys are not counted, and there was one at " + seen.UTC().Format("2006-01-02 15:04 MST")
	}
	c.servers = 1 + max(counters.Standbys, len(c.standbys)+c.evidence.standbys)
}
