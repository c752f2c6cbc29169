package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// A statement is known by its text, in which anybody can say any name: mallory reads tables of her own that are called
// like alice's view, or like a view of hers above it, which she may not read.
func TestStatementsOfWhoMayNotReadAViewAreNoReadsOfIt(t *testing.T) {
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_stat_statements"}))
	mallory := s.db.Conn(t, s.db.User(t, "mallory"))
	pgtest.Exec(t, s.root, `CREATE SCHEMA ext`, `CREATE EXTENSION pg_stat_statements SCHEMA ext`, `GRANT USAGE ON SCHEMA ext TO mvscheduler_worker`)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, enabled, unique_key) VALUES ('noted', 'SELECT id, amount FROM sales', false, '{id}')`, `CREATE VIEW shown AS SELECT * FROM noted`,
		`GRANT USAGE ON SCHEMA `+s.owner+` TO PUBLIC`)
	pgtest.Exec(t, mallory, `CREATE VIEW above AS SELECT * FROM `+s.owner+`.noted`)
	side := startSidecar(t, s.db, often...)
	refreshed(t, s.alice, "noted")
	for range 12 { // every tenth sample looks what is above the views: graphEvery in jobs
		sampledTwice(t, s.root)
	}
	pgtest.Exec(t, mallory, `BEGIN`, `CREATE TEMP TABLE noted (id int)`, `ALTER VIEW above RENAME TO below`, `CREATE TABLE above (id int)`)
	for range 40 {
		pgtest.Exec(t, mallory, `SELECT * FROM noted`, `SELECT * FROM above`)
	}
	pgtest.Exec(t, mallory, `ROLLBACK`)
	for range 3 {
		pgtest.Exec(t, s.alice, `SELECT * FROM noted`, `SELECT amount FROM shown`)
	}
	reported(t, s.alice)
	sampledTwice(t, s.root)
	require.Zero(t, side.stop())
	require.InDelta(t, 6, ask[int64](t, s.root, usage, "noted"), 1)
}
