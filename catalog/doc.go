// Package catalog is the source of truth: which views there are, when they are due, which run is under
// way and what became of it.
//
// # Tables
//
// Users write mvscheduler.views. A trigger copies each row to the private table view_state, which holds
// the clock (next_slot, next_due) too; nothing that the sidecar does reads views, because whoever may delete a
// row from a table may also LOCK it. ([ViewByID], which shows a row to a person, does.) What became of the runs is written by the sidecar alone, to view_health, run
// and attempt, so that no open transaction of a user makes a finished refresh wait.
//
// # Life of a run
//
//	            claim                open an attempt             complete
//	view is due ─────► run queued ──────────────────► running ─────────────► succeeded
//	                    ▲      │                        │  │
//	                    │      └── cancel ─► cancelled ◄┘  ├── attempts spent, permanent error ─► failed
//	                    └─ failed attempt, busy, lost ◄────┘
//	view is due while a run is active ─► run skipped
//
// One run is one slot of one view and ends in exactly one terminal state. The partial unique index
// run_active is the guarantee that two runs of a view never overlap, whatever the dispatchers believe. An attempt is one try on one
// backend, named by (pid, backend_start); each attempt raises the run's fencing token, and everything
// that an attempt writes demands the token, so a worker that was stopped and goes on can mark nothing
// that is another's.
//
// # Clocks
//
// All instants are the database's. Package schedule, a pure function of values, decides which slot is
// next; the SQL here only stores what it said.
package catalog
