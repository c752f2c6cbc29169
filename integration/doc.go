// Package integration tests mvscheduler from outside: the real binary as a process of its own, a real
// PostgreSQL, and SQL. It imports nothing of the program but the private server of the tests.
//
// The server logs every statement, and that log is the witness: what the sidecar ran, when, and on what.
// After the tests of this package the whole log is searched for statements of a sidecar that are not on
// the allow-list (allowlist_test.go).
//
// MVSCHEDULER_TEST_PG_BINDIR chooses the PostgreSQL, MVSCHEDULER_LONG=1 adds the long randomized runs, every
// case where a list of them is long, and the tests of load and of half a minute.
package integration
