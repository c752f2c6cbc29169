// Package retention is the room of time-partition pruning: a pure plan of which partitions leave and why,
// and the steps that carry it out. It imports no database driver in its core.
package retention
