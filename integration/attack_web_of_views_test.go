package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// web makes plain views upon a table, layer upon layer and each of all those below, which read with the rights of who reads them:
// to find out who reads the table takes many seconds.
func (a *arena) web(t testing.TB, table string) {
	t.Helper()
	var sql []string
	below := make([]string, 0, 100)
	for i := range 100 {
		below = append(below, fmt.Sprintf(`SELECT ts FROM mallory.web_%d`, i))
		sql = append(sql, fmt.Sprintf(`CREATE VIEW mallory.web_%d AS SELECT ts FROM %s`, i, table))
	}
	for layer := range 5 {
		var made []string
		for i := range 24 {
			sql = append(sql, fmt.Sprintf(`CREATE VIEW mallory.web_%d_%d WITH (security_invoker) AS %s`, layer, i, strings.Join(below, " UNION ALL ")))
			made = append(made, fmt.Sprintf(`SELECT ts FROM mallory.web_%d_%d`, layer, i))
		}
		below = made
	}
	for _, s := range sql {
		_, err := a.m.Exec(t.Context(), a.sql(s))
		require.NoError(t, err)
	}
}

// Whoever may read a table makes it costly to find out who reads it. That is not done while everybody waits for the table.
func TestNobodyWaitsForATableWhileItIsFoundOutWhoReadsIt(t *testing.T) {
	t.Parallel()
	heavy(t)
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE old PARTITION OF raw FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
		a.sql(`GRANT SELECT ON raw TO mallory`), keepAYear)
	a.web(t, "alice.raw")
	startSidecar(t, a.db)
	reader := a.db.Conn(t, a.alice)
	pgtest.Exec(t, reader, `SET lock_timeout = '4s'`)
	for !ask[bool](t, a.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE kind = 'prune' AND state IN ('failed', 'succeeded'))`) {
		_, err := reader.Exec(t.Context(), `SELECT FROM raw`)
		require.NoError(t, err)
	}
	require.Regexp(t, a.sql(`(old was not|nothing was) put aside: to find out who reads it takes .*: 220 views and functions are built upon it, most of them, 220, by mallory`), ask[string](t, a.root, pruneReason))
}
