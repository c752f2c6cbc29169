// Package jobs is everything that is River's: it makes jobs of due views, works them, and cleans up
// after workers that died. The catalog is the clock, River is the executor.
//
//	kind     queue    made by                            worked by      retried
//	refresh  refresh  Dispatcher, in the transaction     RefreshWorker  by snoozing the job: attempts are
//	                  that claims the slot; Reaper                      counted in the catalog, not by River
//
// These loops run on every replica; each is safe beside any number of others:
//
//   - [Dispatcher] claims due views (FOR UPDATE SKIP LOCKED), writes a run, inserts its River job and
//     moves the clock in one transaction. LISTEN is a hint to look sooner; polling is the truth.
//   - [Reaper] finds attempts whose backend is gone, runs that no job carries, backends past their
//     deadline, cancelled runs, DDL that waits behind a refresh, and retries that need not wait any longer.
//   - The skipper watches which sessions are idle, so that runs can be skipped when nothing changed.
//   - The housekeeper raises alerts, tells the webhook and deletes old runs.
//   - The pruner finds partitions that are old enough to leave.
//   - The collector samples how views are read, on one replica at a time, and has the planner make recommendations.
//   - River's client fetches jobs and runs [RefreshWorker].
//
// A worker that is killed at any point costs its slot at most 15 s: the reaper looks every two seconds,
// and a job that was fetched but not begun is given up after ten.
//
// River's periodic jobs, uniqueness and rescuer are not relied upon: a slot is made unique by the
// catalog's indexes, and liveness is judged by the backend, not by age.
package jobs
