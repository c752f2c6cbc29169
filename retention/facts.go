package retention

import "time"

// Kind is what a relation is to mvscheduler.
type Kind string

// Kinds of relations that partitions leave.
const (
	View   Kind = "view"   // the data of an incremental view
	Source Kind = "source" // a user's table with a row in source_retention
)

// Facts are what a plan depends on.
type Facts struct {
	Now      Timestamp  // the database's clock
	Witness  *Timestamp // another clock, read at the same moment; nil = there is none to compare with
	Relation Relation
	Policy   Policy
	Readers  []Reader // all views that read the relation, also through ordinary views and other readers
}

// Relation is a partitioned table.
type Relation struct {
	Name       string // qualified; for a view its public name
	Kind       Kind
	Strategy   string   // pg_partitioned_table.partstrat: r, l or h; empty = not partitioned
	Key        []Column // of the partition key
	TimeColumn string   // the column that holds a row's time
	// Partitions are those directly below, and those that were put aside and not dropped yet. The next level
	// leaves with the partition that it belongs to.
	Partitions []Partition
	// Frozen is the horizon below which partitions have left, as an earlier plan has found it; nil = none has.
	Frozen *Timestamp
	// PartOf is a table above of which partitions leave by a row of source_retention, with all that is in them; empty = there is none.
	PartOf string
}

// Column of a partition key.
type Column struct {
	Name string // empty = an expression
	Type KeyType
}

// Policy is what the owner wishes.
type Policy struct {
	Enabled         bool
	LegalHold       bool           // nothing leaves and nothing is dropped
	RetentionPeriod *Interval      // nil = everything is kept
	GracePeriod     Interval       // that a partition is kept aside; zero = the plan after the one that detached it drops it
	Zone            *time.Location // in which months and days are counted; nil = UTC
}

// Partition is a table that is, or was, a partition of the relation.
type Partition struct {
	OID   uint32
	Name  string // qualified
	Bound string // as pg_get_expr(relpartbound, oid) prints it; when put aside, as it was

	// DetachedAt is when we put it aside; nil = it is attached.
	DetachedAt *Timestamp
	// RestoredAt is when it was last brought back; nil = never. It stays for another grace period then.
	RestoredAt *Timestamp

	Altered       bool         // somebody has altered it since we put it aside: it is the owner's now
	Misfit        bool         // it is aside, and its columns are not those of the relation any more: it cannot come back
	Former        bool         // it is aside, and an earlier version of the view has computed it
	SubPartitions int          // leaves below it; zero = it is a leaf
	DetachPending bool         // pg_inherits.inhdetachpending: somebody's DETACH CONCURRENTLY is not finished
	Foreign       bool         // it, or one below it, is a foreign table
	OtherOwner    string       // role that owns it, or one below it; empty = the relation's owner
	Held          string       // it, or one below it, that has a legal hold of its own; empty = none has
	ReferencedBy  []ForeignKey // that point at it or at the relation

	Rows  int64 // as estimated in pg_class.reltuples, of all leaves; -1 = unknown
	Bytes int64 // pg_total_relation_size, of all leaves
}

// ForeignKey is a constraint of a table.
type ForeignKey struct{ Table, Name string }

// Incremental is the method of a reader that keeps what it has computed.
const Incremental = "incremental"

// Reader is a materialized view that reads the relation. One that reads it directly and through another view
// as well is there twice, with what it has not taken yet from either. Its times are in the frame of the change
// log: timestamp and date are read as UTC.
type Reader struct {
	Name   string
	Method string // as in views.method, when auto the one in force; empty = mvscheduler does not manage it
	Direct bool   // it reads the relation itself, through ordinary views at most; else through other readers
	// Self says that it is the view whose data the relation is: nothing of it holds a partition, but what it has not taken itself
	// those that read it do not have.
	Self bool
	// Stored says of one that is not Direct that the first of these is incremental and reads the relation itself: of what leaves it
	// reads only what that one has stored and keeps. Such a view is there once more where it reads the relation in another way too.
	Stored bool
	// Lost says that its query was dropped. It has read the relation, and when the query is made again all that it reads is computed.
	Lost bool
	// Through is a table above, of which the relation is a part and that is read instead; empty = none. What else
	// that table holds has other horizons, so such a reader is never frozen.
	Through string
	// Windowed says that it reads the relation itself within in_window(TimeColumn) only, so that a bucket depends
	// on the rows of its own time alone. It means nothing where Direct is false.
	Windowed bool
	Label    KeyType // type of its time_column

	BucketWidth     Interval
	RetentionPeriod *Interval      // nil = it keeps everything
	Zone            *time.Location // of the view; nil = UTC

	Paused   string // why it is paused or disabled; empty = it is not
	Failures int    // consecutive, up to now
	Tracking string // views.change_tracking in force: trigger, counters or none

	// FilledFrom is from when on its buckets were ever computed; nil = it was never filled. A first fill that
	// reached the oldest row of the source ends with NegInfinity.
	FilledFrom *Timestamp
	// Unbuilt is from when on the incremental views through which it reads the relation were built at all, since what is older was past
	// their own retention_period then; nil = all of it. UnbuiltBy is the one that begins last, which may be the reader itself; empty = it does not any more, but did when the
	// reader was filled, which was frozen there before a later version could bring it the rest.
	Unbuilt   *Timestamp
	UnbuiltBy string
	// MaterializedUntil is the end of what its last successful refresh had looked at; nil = none has succeeded.
	MaterializedUntil *Timestamp
	// Dirt are changes of what it reads that it has not taken yet, and those that cannot be excluded.
	Dirt []Range
	// Frozen is the horizon below which it is not recomputed for what has left this relation, as an earlier plan has set it; nil = none.
	Frozen *Timestamp
	// Relied says that other incremental views read what it has stored: until that has left, by Gone, they rely on it, whatever its
	// RetentionPeriod is. Gone is the horizon below which its own buckets have left, or were never built; nil = none.
	Relied bool
	Gone   *Timestamp
	// Left is the horizon below which partitions of the table left it by a row of source_retention that was deleted since; nil = none.
	Left *Timestamp
}

// Range of times, both ends belong to it.
type Range struct{ From, To Timestamp }
