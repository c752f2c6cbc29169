// Package retention is the room of time-partition pruning: what leaves, when, and why. [Plan] is pure: no clock,
// no database; the same facts give the same plan. The shell reads the facts, shows or carries out the plan, and
// records what came of it.
//
// # What leaves
//
// Whole partitions only, by their bounds as PostgreSQL's catalog has them, never by their names. Two kinds of
// relations have a retention period: the data of an incremental view ([View]), and a table whose owner wrote a
// row into source_retention ([Source]). A partition is old enough when its upper bound is at or below the
// horizon, now minus retention_period; a time without zone has to be a day older, for it can stand in any zone.
//
// # Life of a partition
//
//	attached --Detach--> aside (renamed, restorable) --Drop after grace_period--> gone
//	    ^------ restore ------'
//
// A restored partition stays for another grace period. What cannot be judged stays, with the reason: DEFAULT, no
// upper bound, a bound that cannot be read, LIST, HASH, several key columns, foreign keys that point at it.
//
// # The interlock
//
// When a partition leaves, the views that read it can never again compute what is older than its end. They are
// frozen there ([Freeze]): buckets with labels below that keep what they have, whatever is asked for. Hence what
// has to be true before it leaves:
//
//   - every view that reads it is healthy, incremental and tracks changes by triggers. One that reads it through other views
//     counts too, and one whose own retention_period has let go of these buckets does not, unless others read them there: then
//     they have to have left. Nor does one that is not incremental and reads only what such a view has stored: that stays;
//   - the view whose partition it is has taken itself what others are to have of it;
//   - each has been filled from the oldest row on, has looked at all that is older than the end of the
//     partition, and has taken every change of it, older partitions included: those are frozen as well;
//   - the bucket in which the partition ends is over and older than the horizon: it will be frozen half full.
//     A view by month that reads raw data directly so keeps it for a month longer. By way of a view by hour
//     and a view by day it does not.
//
// So no change of a row younger than the horizon is ever lost to a view that reads the table when its partitions leave. The
// first view for which one of this is not so is named as the blocker. A view that begins to read the table later is frozen as
// far, and by what a label can be later than its rows further: an hour, or a day where a zone is on one side only. A bucket
// that is called after an instant in there keeps what it has from then on, also when it is not over yet.
//
// A longer retention period does not move the frozen horizon back, nor does a partition that is attached by hand: rows
// below it that are there again have been seen, or are named and stay. What [Attach] brings back does, as far as
// nothing older is aside or gone, and so does, in the views that read a view, a new version of it, as far back as that was built and has rows.
//
// # What the shell owes
//
// Facts of one snapshot; a second plan under the lock that DETACH takes, for a writer may have committed
// meanwhile; the oldest partition first, and with its DETACH, in one transaction, the frozen horizons; both
// clocks.
package retention
