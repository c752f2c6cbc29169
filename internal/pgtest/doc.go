// Package pgtest gives each test a fresh database on a private PostgreSQL.
//
// One server is shared by the tests of a process; a database is made from a template that has the
// migrations applied, in some 100 ms. Roles belong to the whole cluster, so [DB.Role] makes their names
// unique. When a test fails its database is kept and the way to it is logged.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestX(t *testing.T) {
//		t.Parallel()
//		db := pgtest.New(t)
//		alice := db.User(t, "alice")
//		conn := db.Conn(t, alice)
//		...
//
// MVSCHEDULER_TEST_PG_BINDIR chooses the PostgreSQL. MVSCHEDULER_TEST_IMAGE, such as postgres:17, has
// testcontainers run that image instead; tests that restart or kill their server are skipped then.
//
// Servers' files are in /dev/shm where that has 4 GB to spare, and else, or where TMPDIR is set, where temporary files are.
// A run that is killed leaves its mvs* directory there.
package pgtest
