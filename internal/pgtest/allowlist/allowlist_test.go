package allowlist

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheAllowListTellsWhatASidecarMayNotRun(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		`SELECT * FROM app.sales`, `SELECT sales.amount FROM sales`, `EXPLAIN SELECT 1`, `SET ROLE alice`, `INSERT INTO app.sales VALUES (1)`,
		`REFRESH MATERIALIZED VIEW app.v`, `CREATE TABLE x (a int)`, `SELECT app.evil()`, `BEGIN; SELECT 1`, `ANALYZE "app"."v" (c)`,
		`WITH x AS (DELETE FROM app.sales RETURNING *) SELECT * FROM x`, `SELECT (SELECT count(*) FROM app.sales) FROM mvscheduler.run`,
		`ALTER TABLE app.p DETACH PARTITION app.q`, `PREPARE p AS SELECT 1`, `FETCH ALL FROM c`,
		`SELECT query_to_xml('SELECT app.evil()', true, true, '')`, `SELECT table_to_xml($1::regclass, true, true, '')`, `SELECT set_config('role', 'alice', true)`,
		`SELECT '{1}'::app.dom[]`, `SELECT 1 OPERATOR(app.+) 1`, `SELECT set_config('search_path', $1, true)`, `SELECT $1::app.dom`, `SELECT set_config($1, $2, true)`, `DO 'BEGIN END'`,
	} {
		require.NotEmpty(t, Unexpected(statement), statement)
	}
	for _, statement := range []string{
		`REFRESH MATERIALIZED VIEW CONCURRENTLY "a""b"."v"`, `ANALYZE (SKIP_LOCKED) "a"."v"`, `CLOSE ALL`, `begin isolation level read committed`, `DISCARD ALL`,
		`WITH x AS (SELECT q.* FROM ext.pg_qualstats() AS q) SELECT x.lrelid FROM x JOIN pg_attribute AS a ON a.attrelid = x.lrelid`,
		`WITH x AS (SELECT * FROM mvscheduler.run) UPDATE mvscheduler.attempt AS a SET stop = 'cancel' FROM x WHERE x.id = a.run_id`,
	} {
		require.Empty(t, Unexpected(statement), statement)
	}
}

func TestTheLogIsSearchedForWhatIsOnlyParsedAndForWhatFails(t *testing.T) {
	t.Parallel()
	const prefix = "2026-11-26 07:00:00.000 UTC [17] worker_x@test "
	Watch("worker_x")
	for message, good := range map[string]bool{
		"mvscheduler run 7 LOG:  execute stmt: REFRESH MATERIALIZED VIEW \"app\".\"v\"":   true,
		"mvscheduler run 7 LOG:  statement: REFRESH MATERIALIZED VIEW \"app\".\"v\"":      false,
		"mvscheduler run 7 LOG:  duration: 0.123 ms  parse stmt: SELECT 1 FROM app.sales": false,
		"mvscheduler run 7 LOG:  duration: 0.123 ms  bind stmt: SELECT 1 FROM app.sales":  false,
		"mvscheduler run 7 LOG:  duration: 0.123 ms":                                      true,
		"something else STATEMENT:  SELECT 1 FROM app.sales":                              false,
		"something else LOG:  execute stmt: SELECT 1\n\t  FROM app.sales":                 false,
		"mvscheduler cli LOG:  execute stmt: SELECT 1 FROM app.sales":                     true,
		"mvscheduler control LOG:  statement: UPDATE app.sales\n\tSET a = 1":              false,
	} {
		path := filepath.Join(t.TempDir(), "log")
		require.NoError(t, os.WriteFile(path, []byte(prefix+message+"\n"), 0o600))
		_, err := Search(path)
		require.Equal(t, good, err == nil, "%s: %v", message, err)
	}
}
