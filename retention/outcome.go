package retention

import "fmt"

// Action is what happens to a partition.
type Action string

// Actions. The first two concern attached partitions, the others those that were put aside.
const (
	Keep   Action = "keep"   // stays attached
	Detach Action = "detach" // is put aside: detached and renamed; it can be restored until it is dropped
	Hold   Action = "hold"   // stays aside
	Attach Action = "attach" // is attached again: the retention period reaches it now
	Drop   Action = "drop"   // is dropped for good
)

// Decision says what happens to one partition, and why.
type Decision struct {
	Partition Partition
	Bound     Bound // zero where it cannot be read
	Action    Action
	Reason    string     // a sentence for people
	Why       string     // the end of it, without what is decided about what
	Blocker   string     // the view, table or role that keeps it although it is old enough; empty = none does
	Until     *Timestamp // of Detach and Hold: it can be restored at least until then; nil = no end is in sight
	// Freezes of Detach are the views whose horizon moves when it leaves. They are to be recorded in the
	// transaction of the DETACH, and so is the end of Bound as the relation's own horizon.
	Freezes []Freeze
}

// Freeze tells a view from when on it is recomputed only: buckets with earlier labels keep what they have,
// since rows that belong to them are gone from what it reads.
type Freeze struct {
	View    string
	Below   Timestamp // in the frame of the change log
	Horizon Timestamp // of the relation, from which it follows
	// Unasked is up to where it may lack what came late for what leaves, since it keeps none of that itself and so was not asked
	// whether it had taken it; nil = it was asked.
	Unasked *Timestamp
}

// Outcome is a plan: one decision for each partition, the oldest first. It is carried out in that order, each
// partition in a transaction of its own, up to the first for which a lock is not had: one that is left behind
// below the frozen horizon would stay for good. What is interrupted is finished by the next plan.
type Outcome struct {
	Relation  string
	Horizon   *Timestamp // rows that are older may leave; nil = none may
	Decisions []Decision
	// Frozen is the horizon below which partitions have left once all is carried out; nil = none has. No plan
	// moves it back. A view writes nothing below it any more, or late rows would make the partition anew.
	Frozen *Timestamp
	// Freezes are the views that do not know yet of what has left already, for example new ones.
	Freezes []Freeze
	Notes   []string // what the owner should know besides; sentences
}

// Empty says whether there is nothing to do.
func (o Outcome) Empty() bool {
	return o.Total(Detach).Partitions+o.Total(Drop).Partitions+o.Total(Attach).Partitions+len(o.Freezes) == 0
}

// Total adds up what an action concerns.
type Total struct {
	Partitions int
	Rows       int64 // estimated
	Bytes      int64
	Uncounted  int // partitions whose rows are unknown and missing in Rows
}

// Total of one action.
func (o Outcome) Total(action Action) Total {
	var t Total
	for _, d := range o.Decisions {
		if d.Action != action {
			continue
		}
		t.Partitions++
		t.Rows += max(0, d.Partition.Rows)
		t.Bytes += d.Partition.Bytes
		if d.Partition.Rows < 0 {
			t.Uncounted++
		}
	}
	return t
}

// String writes t for people.
func (t Total) String() string {
	text := fmt.Sprintf("%s, about %d rows, %s", plural(t.Partitions, "partition"), t.Rows, size(t.Bytes))
	if t.Uncounted > 0 {
		text += fmt.Sprintf(" (rows of %d unknown)", t.Uncounted)
	}
	return text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func size(bytes int64) string {
	n := float64(bytes)
	for _, unit := range []string{"bytes", "kB", "MB", "GB"} {
		if n < 1024 {
			return fmt.Sprintf("%.3g %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.1f TB", n)
}
