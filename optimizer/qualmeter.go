package optimizer

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Comparison is how a column is compared, as a strategy of a btree: zero = as no index of that kind serves.
type Comparison int

// The strategies of a btree.
const (
	Less Comparison = 1 + iota
	LessOrEqual
	Equal
	GreaterOrEqual
	Greater
)

// Qual is a condition on a column of a view that statements tested, as pg_qualstats counts it since it began.
type Qual struct {
	View     int64
	Relation uint32 // the materialized view, or a partition of an incremental one
	User     uint32
	Query    int64
	Group    int64 // conditions of a scan that all hold; zero = this one is alone, or a part of an OR
	Node     int64 // the condition itself, with its constant
	Column   string
	Compared Comparison
	Indexed  bool   // an index was asked
	Time     bool   // it is the time_column of the view
	Constant string // as SQL; empty = an expression, or a parameter

	Seen, Examined, Removed int64 // statements, rows that the scan looked at, rows that all its conditions removed
}

type qualKey struct {
	user        uint32
	query       int64
	group, node int64
	indexed     bool
}

func (q Qual) key() qualKey { return qualKey{q.User, q.Query, q.Group, q.Node, q.Indexed} }

// QualMeter remembers the counters of the sample before.
type QualMeter struct{ before map[qualKey]Qual }

// Take is what came since the sample before; nil the first time. A counter that is lower than it was, or was not there,
// began anew meanwhile: all of it is new. What was forgotten in between (pg_qualstats keeps the most used entries) is
// missed, so there are never too many.
func (m *QualMeter) Take(now []Qual) []Qual {
	before := m.before
	m.before = make(map[qualKey]Qual, len(now))
	var since []Qual
	for _, q := range now {
		m.before[q.key()] = q
		if was, there := before[q.key()]; there && was.Seen <= q.Seen {
			q.Seen, q.Examined, q.Removed = q.Seen-was.Seen, q.Examined-was.Examined, q.Removed-was.Removed
		}
		if before != nil && q.Seen > 0 {
			since = append(since, q)
		}
	}
	return since
}

// Tested are reads that looked for rows by a condition which no index served.
type Tested struct {
	Columns           []string // compared with =, by name, and then at most one by a range
	Range             bool     // the last one is
	Reads             float64
	Examined, Removed float64 // rows
}

// indexColumns is how many columns of a condition are looked at.
const indexColumns = 4

// Key tells conditions apart.
func (t Tested) Key() string {
	key := strings.Join(t.Columns, "\x00")
	if t.Range {
		key += "\x00"
	}
	return key
}

// scan are the conditions of one scan of a relation by a statement.
type scan struct {
	user     uint32
	query    int64
	relation uint32
	group    int64
}

// TestedBy are the conditions of views' reads that could have used an index. Left out is a statement that asked any index
// of the view, since what it tested besides says little, and a condition that may be a part of an OR. A read of several
// partitions is one.
func TestedBy(since []Qual) map[int64][]Tested {
	type statement struct {
		user  uint32
		query int64
		view  int64
	}
	served := make(map[statement]bool)
	scans := make(map[scan][]Qual)
	for _, q := range since {
		if q.Indexed {
			served[statement{q.User, q.Query, q.View}] = true
		}
		s := scan{q.User, q.Query, q.Relation, q.Group}
		scans[s] = append(scans[s], q)
	}
	type found struct {
		statement
		key string
	}
	perLeaf := make(map[found]map[uint32]Tested)
	for s, quals := range scans {
		of := statement{s.user, s.query, quals[0].View}
		t, ok := conditionOf(quals)
		if !ok || served[of] {
			continue
		}
		f := found{of, t.Key()}
		if perLeaf[f] == nil {
			perLeaf[f] = make(map[uint32]Tested)
		}
		was := perLeaf[f][s.relation]
		t.Reads, t.Examined, t.Removed = t.Reads+was.Reads, t.Examined+was.Examined, t.Removed+was.Removed
		perLeaf[f][s.relation] = t
	}
	tested := make(map[int64][]Tested)
	for f, leaves := range perLeaf {
		var all Tested
		for _, t := range leaves {
			all.Columns, all.Range = t.Columns, t.Range
			all.Reads = max(all.Reads, t.Reads)
			all.Examined += t.Examined
			all.Removed += t.Removed
		}
		tested[f.view] = Together(tested[f.view], all)
	}
	return tested
}

// conditionOf is the condition of a scan.
func conditionOf(quals []Qual) (t Tested, ok bool) {
	var equal, ranged []string
	for _, q := range quals {
		switch {
		case q.Compared == Equal && !slices.Contains(equal, q.Column):
			equal = append(equal, q.Column)
		case q.Compared != Equal && q.Compared != 0 && !slices.Contains(ranged, q.Column):
			ranged = append(ranged, q.Column)
		}
	}
	if quals[0].Group == 0 && len(equal)+len(ranged) > 1 {
		return t, false
	}
	slices.Sort(equal)
	slices.Sort(ranged)
	t.Columns = equal[:min(len(equal), indexColumns)]
	if len(ranged) > 0 && len(t.Columns) < indexColumns {
		t.Columns, t.Range = append(t.Columns, ranged[0]), true
	}
	for _, q := range quals {
		seen, examined, removed := float64(q.Seen), float64(q.Examined), float64(q.Removed)
		if q.Group == 0 {
			t.Reads, t.Examined, t.Removed = t.Reads+seen, t.Examined+examined, t.Removed+removed
		} else { // its conditions are tested together, and each counts the same
			t.Reads, t.Examined, t.Removed = max(t.Reads, seen), max(t.Examined, examined), max(t.Removed, removed)
		}
	}
	return t, len(t.Columns) > 0
}

// Together adds a condition to a list, in which each stands once.
func Together(list []Tested, t Tested) []Tested {
	for i := range list {
		if list[i].Key() == t.Key() {
			list[i].Reads += t.Reads
			list[i].Examined += t.Examined
			list[i].Removed += t.Removed
			return list
		}
	}
	return append(list, t)
}

// MostRead are the n conditions that most reads have.
func MostRead(list []Tested, n int) []Tested {
	slices.SortFunc(list, func(a, b Tested) int {
		return cmp.Or(cmp.Compare(b.Reads, a.Reads), strings.Compare(a.Key(), b.Key()))
	})
	return list[:min(n, len(list))]
}

// AskedBy is how far back reads asked, by the lower bounds of their conditions on the time_column, also for what is not kept
// any more. A read without one asked for everything. Where from tells no lower bound of one (false), nothing is known of it.
func AskedBy(since []Qual, now time.Time, from func(Qual) (time.Time, bool)) map[int64]map[LookedBack]float64 {
	type statement struct {
		user  uint32
		query int64
		view  int64
	}
	statements := make(map[statement][]Qual)
	for _, q := range since {
		s := statement{q.User, q.Query, q.View}
		statements[s] = append(statements[s], q)
	}
	end := now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	asked := make(map[int64]map[LookedBack]float64)
	for s, quals := range statements {
		reads := make(map[LookedBack]map[uint32]float64) // by relation: a read of several partitions is one
		add := func(l LookedBack, q Qual) {
			if reads[l] == nil {
				reads[l] = make(map[uint32]float64)
			}
			if l.Entire { // conditions that are tested together
				reads[l][q.Relation] = max(reads[l][q.Relation], float64(q.Seen))
			} else {
				reads[l][q.Relation] += float64(q.Seen)
			}
		}
		bounded := false
		for _, q := range quals {
			if q.Time && q.Compared >= Equal {
				bounded = true
				if bound, ok := from(q); ok {
					add(LookedBack{Days: DaysBack(max(0.01, end.Sub(bound).Hours()/24))}, q)
				}
			}
		}
		if !bounded {
			for _, q := range quals {
				add(LookedBack{Days: farthest, Entire: true}, q)
			}
		}
		for l, perRelation := range reads {
			if asked[s.view] == nil {
				asked[s.view] = make(map[LookedBack]float64)
			}
			var most float64
			for _, n := range perRelation {
				most = max(most, n)
			}
			asked[s.view][l] += most
		}
	}
	return asked
}
