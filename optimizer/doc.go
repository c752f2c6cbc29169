// Package optimizer tunes when a view is refreshed, and how long its data is kept, from how it is read. It is
// pure: no clock, no database, no goroutine, and the same values give the same decision.
//
// # One number
//
// Everything is measured in refresh-seconds:
//
//	J = cost of the refreshes + kappa * sum over all reads of the age of what they saw
//
// Kappa, the price of a second of age to one read, is the only knob. Users set it as a target: the interval
// that is right at the mean load ([KappaFor], [FleetKappa]). Reads do not depend on refreshes, so J of any
// schedule on recorded reads is exact ([World.Replay]); that is how policies are compared, how modes are
// chosen and how a change that did not help is found ([Trial.Judge]).
//
// # From counters to a schedule
//
//	ReadModel    how often a view will be read: by hour of the week, shrunk, with levels and change points
//	ChangeModel  how long after a refresh the sources change again
//	CostModel    what a refresh will cost
//	Outlook      the three together; Plan solves it by dynamic programming
//	Pilot        plans again and again, guards the plan, skips what did not change: what could be had at best
//	Tab          what readers have paid since the last refresh: the mode adaptive refreshes when it is full
//
// People are shown the simplest schedule that is nearly as good (see [Review]): an interval, a calendar of
// a few windows, or an interval with a [Tab]. [Change.Settle] says whether it is worth changing what is there, [ShareBudget]
// stretches intervals when all views together would take too much, [Retention] does for space what the rest
// does for time, and [Advice] is what is left to a person.
//
// Every decision comes with its reasons, in sentences with numbers. The constants and where they come from are
// in constants.go.
//
// # Causality
//
// A bin of reads is known at its end. Nothing that decides looks further; only [World.Clairvoyant], the bound
// that policies are measured against, does.
package optimizer
