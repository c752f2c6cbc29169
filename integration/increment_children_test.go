package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// PostgreSQL refuses rows of a foreign partition while a trigger of the table above has transition tables (since 2025). So a table
// with such a partition goes by counters.
func TestAForeignPartitionCanBeWrittenToAsBefore(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.foreignServer(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE near PARTITION OF raw FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`, `CREATE TABLE remote (ts timestamptz NOT NULL, k int)`,
		`CREATE FOREIGN TABLE far PARTITION OF raw FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') SERVER here OPTIONS (schema_name '`+s.owner+`', table_name 'remote')`, `INSERT INTO raw VALUES ('2025-05-05', 1), ('2026-05-05', 1)`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, sum(k) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	t.Log(s.last(t, "v", "reason"))
	for _, statement := range []string{`INSERT INTO raw VALUES ('2026-06-05', 1)`, `INSERT INTO raw VALUES ('2025-06-05', 1)`, `UPDATE raw SET k = 2 WHERE ts = '2025-06-05'`, `DELETE FROM raw WHERE ts = '2025-06-05'`} {
		if _, err := s.alice.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	s.counted(t)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// A table of metrics has a child that is a temporary table of somebody's session, which no other session reads: it is no leaf.
func TestATemporaryChildOfATableStopsNoView(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	session := s.db.Conn(t, s.owner)
	pgtest.Exec(t, session, `CREATE TEMP TABLE kid () INHERITS (metrics)`, `INSERT INTO kid VALUES ('2026-03-01 10:00+00', 9, 9)`)
	s.incremental(t, "v", hourly)
	s.manage(t, "f", `SELECT device, count(*) AS n FROM metrics GROUP BY 1`, "refresh_interval", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "v", "f")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	s.incremented(t, "v")
	t.Log(s.last(t, "v", "reason"))
	same(t, s.alice, "v")
	pgtest.Exec(t, session, `DROP TABLE kid`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
}

// counted has alice's session report what it wrote.
func (s *scene) counted(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.alice, `SELECT pg_stat_force_next_flush()`)
}

// A foreign table becomes a partition of a table that has its triggers already: they go, and when it leaves they are back.
func TestATableThatGetsAForeignPartitionLosesItsTriggers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.foreignServer(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE raw (ts timestamptz NOT NULL, k int) PARTITION BY RANGE (ts)`, `CREATE TABLE near PARTITION OF raw FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`, `CREATE TABLE remote (ts timestamptz NOT NULL, k int)`,
		`CREATE FOREIGN TABLE far (ts timestamptz NOT NULL, k int) SERVER here OPTIONS (schema_name '`+s.owner+`', table_name 'remote')`, `INSERT INTO raw VALUES ('2026-05-05', 1)`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, sum(k) AS n FROM raw WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changes are noted by triggers")
	pgtest.Exec(t, s.alice, `ALTER TABLE raw ATTACH PARTITION far FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changes are found by the server's counters, since triggers would keep foreign tables that are parts of")
	require.Regexp(t, `tracking +auto: counters, changes are found by the server's counters, since triggers would keep foreign tables`, mvscheduler(t, s.db, s.owner, "", "show", "v").stdout)
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES ('2026-06-05', 1), ('2025-06-05', 1)`, `UPDATE raw SET k = 2 WHERE ts = '2025-06-05'`)
	s.counted(t)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changed: 2025-01-01 00:00:00 to 2026-01-01 00:00:00 UTC (", "what is near is not computed each time")
	pgtest.Exec(t, s.alice, `ALTER TABLE raw DETACH PARTITION far`, `INSERT INTO raw VALUES ('2026-06-06', 1)`)
	s.counted(t)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changes are noted by triggers")
	pgtest.Exec(t, s.alice, `INSERT INTO raw VALUES ('2026-06-07', 1)`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "changed: 2026-06-07 00:00:00 UTC;")
	same(t, s.alice, "v")
}

// foreignServer is the same database once more, over postgres_fdw, by the name here.
func (s *scene) foreignServer(t testing.TB) {
	t.Helper()
	if _, err := s.root.Exec(t.Context(), `CREATE EXTENSION postgres_fdw WITH SCHEMA public`); err != nil {
		t.Skipf("this PostgreSQL comes without postgres_fdw: %v", err)
	}
	pgtest.Exec(t, s.root, fmt.Sprintf(`CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname '%s', host '%s', port '%s')`, s.db.Name, ask[string](t, s.root, `SELECT split_part(current_setting('unix_socket_directories'), ',', 1)`), ask[string](t, s.root, `SHOW port`)),
		`GRANT USAGE ON FOREIGN SERVER here TO `+s.owner, `CREATE USER MAPPING FOR PUBLIC SERVER here OPTIONS (user '`+s.owner+`', password_required 'false')`)
}
