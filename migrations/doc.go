// Package migrations brings the schema mvscheduler of a database up and down: roles and schema, the
// numbered SQL files of this folder through golang-migrate, then River's own migrations.
//
// Everything happens under one session lock of ours, since neither migrator is safe against a second
// replica that starts at the same moment, and River's cannot run in one transaction. Objects belong to
// the role mvscheduler_owner: the migrating sessions act as it from their first statement on.
package migrations
