package optimizer

import (
	"math"
	"time"
)

// Sample is what a server's counters said at an instant. Counters only grow; where one did not, it was reset.
type Sample struct {
	At           time.Time // by the server's clock
	Epoch        string    // changes when the counters of the database are reset, by hand or by a crash
	Transactions int64     // of the database that ended, before relations were looked at
	Later        int64     // the same, after that: what is reported in between shows in relations already; zero = as before
	Merged       bool      // pg_stat_statements may count statements on several tables as one: PostgreSQL 18 and later
	Workers      int       // that a parallel scan may have beside its leader
	Relations    []RelationCounters
	Sources      []SourceCounters
	Own          []OwnScans // by refreshes that committed since the sample before, read after the counters
	Doubtful     []int64    // views with an attempt that failed since: what it scanned is not known
}

// RelationCounters are those of a relation in which reads of a view show.
type RelationCounters struct {
	View     int64
	Relation uint32
	Seq, Idx int64   // scans
	Tuples   int64   // that sequential scans returned
	Rows     float64 // that the relation holds; zero = unknown, or none; negative = nobody has looked yet
	Large    bool    // enough to be scanned in parallel
	Keys     int64   // that scans of its indexes returned
	Fetched  int64   // rows that were fetched for them
	// From is where the times begin that it holds, when it is a partition; zero = it is none, or that is not known.
	From time.Time
}

// SourceCounters are those of a table below a view.
type SourceCounters struct {
	Relation uint32
	File     uint32 // another one after TRUNCATE and whatever else rewrites it
	Writes   int64  // rows inserted, updated and deleted; those of transactions that rolled back count
	Modified int64  // the same, without those that rolled back, since it was analyzed
	Analyses int64
}

// OwnScans are scans that our own refreshes made of a relation in which reads show.
type OwnScans struct {
	Relation                        uint32
	Seq, Idx, Tuples, Keys, Fetched int64
}

// Metered is what happened to a view between two samples. NaN = unknown.
type Metered struct {
	Reads, Changes float64
	Merged         bool    // see [Sample]
	Scans          float64 // where Merged, of others, workers of parallel ones and loops included: no fewer than calls that were reads
	Elsewhere      float64 // reads on standbys
	Why            string  // the reads are not known; empty when they are
	LookBacks      map[LookedBack]float64
}

// Scans of our own are waited for in the counters for ownPatience, and in ownSamples samples however far apart: a session
// reports them when it has been idle for ten seconds at the latest, later on a busy machine.
const (
	ownPatience = time.Minute
	ownSamples  = 3
)

// Meter turns the counters of one server into reads and changes. What it knows is the sample before: after a
// restart the first sample tells nothing. The zero value is ready. Not for concurrent use.
type Meter struct {
	before    Sample
	relations map[uint32]RelationCounters
	sources   map[uint32]SourceCounters
	debts     map[uint32]debt
	young     map[uint32]time.Time // when relations that came between two samples were first seen
}

// debt are scans of our own that are not in the counters yet.
type debt struct {
	seq, idx, tuples, keys, fetched float64
	fresh                           []OwnScans // that are to be added once the relation is as they left it
	since                           time.Time
	samples                         int // since
}

// Take compares a sample with the one before. Below says which tables each view reads; a view that is not in it
// reads something that has no counters. The result has every view of the sample; it is nil for the first one.
func (m *Meter) Take(s Sample, below map[int64][]uint32) map[int64]Metered {
	before, relations, sources := m.before, m.relations, m.sources
	m.remember(s)
	if before.At.IsZero() {
		return nil
	}
	metered := make(map[int64]Metered)
	if before.Epoch != s.Epoch || s.Transactions < before.Transactions || !s.At.After(before.At) {
		m.debts = nil
		for _, r := range s.Relations {
			metered[r.View] = Metered{Reads: math.NaN(), Changes: math.NaN(), Why: "the server's counters were reset"}
		}
		return metered
	}
	m.owe(s)
	most := float64(max(s.Later, s.Transactions) - before.Transactions)
	parts := make(map[int64][]scanned)
	for _, r := range s.Relations {
		v, seen := metered[r.View]
		if !seen {
			v.Changes = changesOf(m.sources, sources, below[r.View])
		}
		if was, known := relations[r.Relation]; known { // else it is new: a partition, or another version of the view
			did := m.scans(was, r, s.Workers)
			reads := did.full + did.idx
			if math.IsNaN(reads) {
				v.Why = "the counters of the view were reset"
			}
			if !r.From.IsZero() && s.At.Sub(m.young[r.Relation]) > ownPatience { // who attaches a partition scans it
				parts[r.View] = append(parts[r.View], did)
			}
			// A read of a partitioned table scans each partition that it cannot leave out. A loop in a query scans
			// many times, but there are no more reads than transactions, but for those of long ones.
			v.Reads = math.Max(v.Reads, math.Min(reads, most))
			if v.Merged = s.Merged; s.Merged {
				v.Scans += did.all
			}
		}
		metered[r.View] = v
	}
	m.forgive(s.At)
	m.age(s, relations)
	for view, p := range parts {
		if v := metered[view]; !math.IsNaN(v.Reads) {
			v.LookBacks = lookBacksOf(p, s.At, most)
			metered[view] = v
		}
	}
	for _, view := range s.Doubtful {
		if v, ok := metered[view]; ok {
			v.Reads, v.Why, v.LookBacks = math.NaN(), "a refresh failed, what it scanned is not known", nil
			metered[view] = v
		}
	}
	return metered
}

func (m *Meter) remember(s Sample) {
	m.before = s
	m.relations = make(map[uint32]RelationCounters, len(s.Relations))
	for _, r := range s.Relations {
		m.relations[r.Relation] = r
	}
	m.sources = make(map[uint32]SourceCounters, len(s.Sources))
	for _, r := range s.Sources {
		m.sources[r.Relation] = r
	}
}

// owe takes note of our own scans, which reach the counters up to ten seconds after they were recorded.
func (m *Meter) owe(s Sample) {
	for _, o := range s.Own {
		if m.debts == nil {
			m.debts = make(map[uint32]debt)
		}
		d := m.debts[o.Relation]
		d.fresh, d.since, d.samples = append(d.fresh, o), s.At, 0
		m.debts[o.Relation] = d
	}
}

// withWorkers are the sequential scans, and what they returned, with those of parallel workers, which count for
// themselves. Leader and workers return about the same: what the leader did not tells how many there were.
func (o OwnScans) withWorkers(r RelationCounters, workers int) (seq, tuples float64) {
	seq, tuples = float64(o.Seq), float64(o.Tuples)
	whole := seq * r.Rows
	if !r.Large || r.Rows <= 0 || tuples >= 0.9*whole {
		return seq, tuples
	}
	return seq * (1 + min(float64(workers), math.Round(whole/max(tuples, 1)-1))), whole
}

// age keeps in mind which relations are new.
func (m *Meter) age(s Sample, before map[uint32]RelationCounters) {
	young := make(map[uint32]time.Time)
	for _, r := range s.Relations {
		since, is := m.young[r.Relation]
		if _, known := before[r.Relation]; !known {
			since, is = s.At, true
		}
		if is && s.At.Sub(since) <= ownPatience {
			young[r.Relation] = since
		}
	}
	m.young = young
}

// forgive gives up what has not come: a reset may have swallowed it.
func (m *Meter) forgive(now time.Time) {
	for relation, d := range m.debts {
		if d.seq+d.idx == 0 && len(d.fresh) == 0 || now.Sub(d.since) >= ownPatience && d.samples >= ownSamples {
			delete(m.debts, relation)
			continue
		}
		d.samples++
		m.debts[relation] = d
	}
}

// scanned is what queries did with a relation between two samples.
type scanned struct {
	from      time.Time // of [RelationCounters]
	full, idx float64   // scans of all of it, and of its indexes
	all       float64   // both, workers of parallel scans included
	// peeked says that the scans of its indexes found no row and one key each at most.
	peeked bool
}

// scans are those of the queries of others; NaN after a reset.
func (m *Meter) scans(was, is RelationCounters, workers int) scanned {
	seq, idx, tuples := float64(is.Seq-was.Seq), float64(is.Idx-was.Idx), float64(is.Tuples-was.Tuples)
	keys, fetched := float64(is.Keys-was.Keys), float64(is.Fetched-was.Fetched)
	if seq < 0 || idx < 0 || tuples < 0 {
		delete(m.debts, is.Relation)
		return scanned{from: is.From, full: math.NaN(), idx: math.NaN(), all: math.NaN()}
	}
	if d, ok := m.debts[is.Relation]; ok && seq+idx > 0 {
		for _, o := range d.fresh {
			ownSeq, ownTuples := o.withWorkers(is, workers)
			d.seq, d.idx, d.tuples, d.keys, d.fetched = d.seq+ownSeq, d.idx+float64(o.Idx), d.tuples+ownTuples, d.keys+float64(o.Keys), d.fetched+float64(o.Fetched)
		}
		d.fresh = nil
		pay(&d.seq, &seq)
		pay(&d.idx, &idx)
		pay(&d.tuples, &tuples)
		pay(&d.keys, &keys)
		pay(&d.fetched, &fetched)
		m.debts[is.Relation] = d
	}
	return scanned{is.From, fullScans(seq, tuples, is, workers), idx, seq + idx, fetched <= 0 && keys <= idx}
}

// pay takes what is owed from what was counted.
func pay(owed, counted *float64) {
	paid := min(*owed, *counted)
	*owed -= paid
	*counted -= paid
}

// fullScans takes the workers of parallel scans away, each of which counts as a scan: together they return the
// rows of the relation once. A scan that ended early (LIMIT) returns fewer, one at least, so there is a lower limit as
// well.
func fullScans(seq, tuples float64, r RelationCounters, workers int) float64 {
	if r.Rows < 0 { // it is not filled yet, while its indexes are made
		seq = min(seq, tuples)
	}
	if !r.Large || workers == 0 || r.Rows <= 0 {
		return seq
	}
	return min(seq, max(min(seq/float64(1+workers), tuples), math.Round(tuples/r.Rows)))
}

// changesOf is how many rows were written to tables; NaN when it is not known, and for nil.
func changesOf(is, was map[uint32]SourceCounters, tables []uint32) float64 {
	if tables == nil {
		return math.NaN()
	}
	var sum float64
	for _, relation := range tables {
		now, there := is[relation]
		before, seen := was[relation]
		if !there || !seen {
			return math.NaN()
		}
		sum += now.changedSince(before)
	}
	return sum
}

// changedSince is how many rows were written, at least 1 when the table was rewritten; NaN after a reset. Rows of
// transactions that rolled back count as written, but not as modified: where nothing was modified and nothing
// analyzed, which would hide it, nothing was written.
func (s SourceCounters) changedSince(was SourceCounters) float64 {
	writes := float64(s.Writes - was.Writes)
	switch {
	case writes < 0:
		return math.NaN()
	case s.File != was.File:
		return max(1, writes)
	case s.Modified == was.Modified && s.Analyses == was.Analyses:
		return 0
	}
	return writes
}

// Bin collects what was metered until it is over.
type Bin struct {
	scans, calls, changes    float64
	scanned, called, changed time.Duration // for which they are known
	seen, longest            time.Duration // all spans, and the longest of them
	beside, most             float64       // scans while calls were known, and the most calls that these can be
	elsewhere                float64       // reads on standbys
	Unknown                  time.Duration // for which neither scans nor calls are
	Why                      string        // that is so; empty when it is not
	LookBacks                map[LookedBack]float64
}

// Add adds what happened in a span of the bin: scans and changes as a [Meter] tells, and the calls of statements that
// name the view, NaN when they are not known.
func (b *Bin) Add(m Metered, calls float64, span time.Duration) {
	add := func(sum *float64, known *time.Duration, n float64) {
		if !math.IsNaN(n) {
			*sum += n
			*known += span
		}
	}
	b.seen, b.longest = b.seen+span, max(b.longest, span)
	b.elsewhere += m.Elsewhere
	b.LookBacks = addLookBacks(b.LookBacks, m.LookBacks)
	add(&b.scans, &b.scanned, m.Reads)
	if !math.IsNaN(m.Reads) && !math.IsNaN(calls) {
		b.beside += m.Reads
	}
	switch {
	case math.IsNaN(calls):
	case m.Merged && !math.IsNaN(m.Reads):
		b.most += m.Scans
	default:
		b.most += calls
	}
	add(&b.calls, &b.called, calls)
	add(&b.changes, &b.changed, m.Changes)
	if math.IsNaN(m.Reads) && math.IsNaN(calls) {
		b.Unknown += span
		b.Why = m.Why
	}
}

// Reads are those that were seen in the bin. Calls of statements are reads; scans are what is left where no statement
// names the view, as in functions, and where the calls are not known: then they are divided by what a read is known to
// scan. Both are compared over a whole bin, since the server reports scans later than calls. Where calls may be those of other
// tables, there are no more reads than scans.
func (b *Bin) Reads(ratio *Ratio) float64 {
	reads := b.beside
	if calls := min(b.calls, b.most); calls > 0 {
		ratio.learn(b.beside, calls)
		reads = calls
	}
	return reads + (b.scans-b.beside)/ratio.scansPerCall() + b.elsewhere
}

// Counts are the reads and changes of the whole bin, when at least half of it was observed; else NaN. What is missing of
// it, when that is a span at most, is in a bin beside it: a span belongs to one bin.
func (b *Bin) Counts(width time.Duration, reads float64) (wholeReads, wholeChanges float64) {
	all := width
	if b.seen+b.longest >= width {
		all = b.seen
	}
	whole := func(count float64, known time.Duration) float64 {
		if known < width/2 {
			return math.NaN()
		}
		return count * float64(all) / float64(known)
	}
	return whole(reads, max(b.scanned, b.called)), whole(b.changes, b.changed)
}

// Ratio learns how many scans of a view a read makes. The zero value knows nothing, which means one.
type Ratio struct{ scans, calls float64 }

// ratioForget is the weight of a bin relative to the next one.
const ratioForget = 0.99

func (r *Ratio) learn(scans, calls float64) {
	r.scans, r.calls = ratioForget*r.scans+scans, ratioForget*r.calls+calls
}

func (r *Ratio) scansPerCall() float64 {
	if r == nil || r.calls == 0 {
		return 1
	}
	return min(max(r.scans/r.calls, 1), 8)
}
