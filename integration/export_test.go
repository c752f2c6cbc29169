package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestAViewIsExportedAsWhatItsRowSays(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `SET TimeZone = 'Europe/Berlin'`,
		`INSERT INTO mvscheduler.views (name, query, cron, unique_key, priority) VALUES ('v', E'SELECT a\n  FROM t', '30 2 * * *', '{a}', 1), ('w', 'SELECT 1 AS a', NULL, NULL, 2)`)
	startSidecar(t, db)
	until(t, alice, `SELECT bool_and(freshness = 'fresh') FROM mvscheduler.status`)
	r := mvscheduler(t, db, user, "", "export", "v")
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, strings.TrimSpace(`
---
name: `+user+`.v
owner: `+user+`
cron: 30 2 * * *
timezone: Europe/Berlin
unique_key:
  - a
priority: 1
search_path: `+user+`, public
query: |-
  SELECT a
    FROM t`), strings.TrimSpace(r.stdout))
	require.Equal(t, 2, strings.Count(mvscheduler(t, db, user, "", "export").stdout, "---\n"))
	pgtest.Exec(t, alice, `COMMENT ON COLUMN v.a IS 'the column'`, `GRANT SELECT (a) ON v TO PUBLIC`, `CREATE VIEW upon AS SELECT a FROM v`, `CREATE VIEW high AS SELECT a FROM upon`,
		`ALTER MATERIALIZED VIEW v ALTER COLUMN a SET STATISTICS 321`, `COMMENT ON MATERIALIZED VIEW v IS 'the view'`)
	full := mvscheduler(t, db, user, "", "export", "--full", "v")
	require.Zero(t, full.code, full.stderr)
	for _, want := range []string{"about:", "freshness: fresh", "state: succeeded", "CREATE UNIQUE INDEX", "action: insert", "PostgreSQL ", "the column", "the view", "=r/" + user, "321", user + ".upon", user + ".high", "role: query"} {
		require.Contains(t, full.stdout, want)
	}
	require.Equal(t, 3, mvscheduler(t, db, user, "", "export", "nix").code)
}
