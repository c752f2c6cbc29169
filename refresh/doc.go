// Package refresh is one refresh of one view: which method, the statement, what makes sure that it may be
// kept, and what its errors mean.
//
//	filenodes of everything the view reads
//	BEGIN; settings; REFRESH; filenodes again; size; the caller's completion; COMMIT
//
// # Empty by a race
//
// REFRESH takes its snapshot before it waits for locks. A TRUNCATE + INSERT that commits while it waits
// leaves its snapshot with neither the old rows nor the new ones, and the view empty. So the physical
// files of all tables below the view are noted before the transaction and compared after REFRESH, whose
// locks hold them by then: when one changed, the transaction is rolled back and the refresh repeated.
//
// # Locks
//
// lock_timeout is short, since readers queue behind a REFRESH that waits. A lock that is not had in time
// is tried again after a pause with jitter, with nothing held meanwhile, until [Policy.BusyDeadline].
//
// # Errors
//
// [Classify] sorts errors by what helps: waiting, a setting, other data, a person. Code of the view's
// owner can raise any SQLSTATE, so nothing here concludes from an ERROR that the whole server is in
// trouble: that takes a FATAL or a dead connection.
package refresh
