// Package doctor looks for what keeps mvscheduler from working well and says how to mend it.
//
// Each check is one function that reads PostgreSQL's catalogs and statistics, and mvscheduler's own views,
// with the rights of the caller; it changes nothing and takes no lock but that of reading a catalog. A
// check that may not read what it needs is itself a finding. The severity says how soon to act: an error
// keeps views from being refreshed safely, a warning will hurt, a note is worth knowing.
package doctor
