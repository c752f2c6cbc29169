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

func TestRowsOfSourceRetentionAreExportedAfterTheViews(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.chain(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, legal_hold, timezone) VALUES ('readings', '7 days', true, 'Europe/Berlin')`)
	want := strings.TrimSpace(`
---
table: ` + s.owner + `.readings
owner: ` + s.owner + `
time_column: ts
retention_period: 7 days
legal_hold: true
timezone: Europe/Berlin`)
	all := mvscheduler(t, s.db, s.owner, "", "export")
	require.Zero(t, all.code, all.stderr)
	require.Equal(t, 3, strings.Count(all.stdout, "---\n"), all.stdout)

	require.Equal(t, want, strings.TrimSpace(all.stdout[strings.LastIndex(all.stdout, "---"):]))
	one := mvscheduler(t, s.db, s.owner, "", "export", "readings")
	require.Equal(t, want, strings.TrimSpace(one.stdout), one.stderr)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "export", "readings", "-o", "json").stdout, `"retention_period":`)
	full := mvscheduler(t, s.db, s.owner, "", "export", "readings", "--full")
	require.Zero(t, full.code, full.stderr)
	for _, part := range []string{"about:", "PostgreSQL ", "facts:", "Partitions:", "action: insert"} {
		require.Contains(t, full.stdout, part)
	}
	bob := s.db.User(t, "bob")
	require.Equal(t, 3, mvscheduler(t, s.db, bob, "", "export", s.owner+".readings").code)
	require.Empty(t, mvscheduler(t, s.db, bob, "", "export").stdout)
}
