package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// lastRun says when the last successful run of a view began and ended.
func lastRun(t testing.TB, s *scene, view string) (began, ended time.Time) {
	t.Helper()
	err := s.root.QueryRow(t.Context(), `
SELECT started_at, finished_at FROM mvscheduler.run WHERE view_name = $1 AND state = 'succeeded' ORDER BY id DESC LIMIT 1`, s.owner+"."+view).Scan(&began, &ended)
	require.NoError(t, err)
	return began, ended
}

func TestADiamondOfViewsIsRefreshedUpstreamFirstAndSiblingsInParallel(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "top", quick, "refresh_on", "manual", "refresh_interval", nil)
	pgtest.Exec(t, s.alice, `CREATE VIEW plain AS SELECT id, amount FROM top`, `CREATE VIEW plainer AS SELECT * FROM plain`)
	s.manage(t, "lefty", "SELECT id, amount, slow(0.02) AS paused FROM plainer", "refresh_on", "upstream")
	s.manage(t, "righty", "SELECT id, amount, slow(0.02) AS paused FROM top", "refresh_on", "upstream")
	s.manage(t, "bottom", "SELECT l.id, l.amount + r.amount AS amount, slow(0) AS paused FROM lefty AS l JOIN righty AS r ON r.id = l.id", "refresh_on", "upstream")
	require.Equal(t, []string{s.owner + ".lefty", s.owner + ".righty"}, ask[[]string](t, s.alice, `SELECT upstream FROM mvscheduler.status WHERE name LIKE '%bottom'`))
	require.Equal(t, []string{s.owner + ".top"}, ask[[]string](t, s.alice, `SELECT upstream FROM mvscheduler.status WHERE name LIKE '%lefty'`), "through ordinary views")
	replicas := []*sidecar{startSidecar(t, s.db), startSidecar(t, s.db)}
	refreshed(t, s.alice, "top")
	until(t, s.alice, `SELECT count(*) = 100 FROM top`)
	until(t, s.root, `SELECT count(*) = 4 FROM mvscheduler.view_health WHERE refreshes > 0`)
	settled := func() {
		t.Helper()
		until(t, s.root, `
SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))
   AND NOT EXISTS (
       SELECT FROM mvscheduler.view_state AS v
        WHERE v.refresh_on = 'upstream'
          AND v.upstream_seen < (SELECT sum(h.refreshes) FROM mvscheduler.view_health AS h WHERE h.view_id = ANY (v.upstream)))`)
	}
	settled()

	for n := range 3 {
		pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1`)
		before := ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run`)
		refreshed(t, s.alice, "top")
		until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE view_name = $1 AND cause = 'upstream' AND state = 'succeeded' AND id > $2)`, s.owner+".bottom", before)
		settled()
		_, top := lastRun(t, s, "top")
		left, leftEnd := lastRun(t, s, "lefty")
		right, rightEnd := lastRun(t, s, "righty")
		bottom, _ := lastRun(t, s, "bottom")
		require.True(t, !left.Before(top) && !right.Before(top), "upstream first")
		require.True(t, !bottom.Before(leftEnd) && !bottom.Before(rightEnd), "both siblings first")
		require.True(t, left.Before(rightEnd) && right.Before(leftEnd), "siblings run in parallel")
		require.Equal(t, 4, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run`)-before, "each once, round %d", n)
		require.Equal(t, int64(0), ask[int64](t, s.alice, `SELECT count(*) FROM bottom AS b JOIN sales USING (id) WHERE b.amount <> 2 * sales.amount`))
	}
	require.Zero(t, ask[int](t, s.root, `
SELECT count(*) FROM mvscheduler.view_health AS h JOIN mvscheduler.view_state AS v USING (view_id) JOIN mvscheduler.view_health AS u ON u.view_id = ANY (v.upstream)
 WHERE h.data_as_of > u.data_as_of`), "a view is as old as its oldest upstream")
	for _, replica := range replicas {
		require.Zero(t, replica.stop())
	}
	s.noRefreshesOverlap(t)
	s.nothingIsLeft(t)
}

func TestViewsOnTheSameClockAreRefreshedUpstreamFirst(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "a", slowQuery(time.Second), "refresh_interval", "5 seconds")
	s.manage(t, "b", "SELECT id, amount, slow(0) AS paused FROM a", "refresh_interval", "5 seconds")
	s.manage(t, "c", "SELECT id, amount, slow(0) AS paused FROM b", "refresh_interval", "5 seconds")
	startSidecar(t, s.db)
	until(t, s.root, `
SELECT count(*) >= 3 FROM mvscheduler.run WHERE state = 'succeeded' AND cause IN ('schedule', 'catchup') AND view_name = $1`, s.owner+".c")
	s.idle(t)
	out := ask[int](t, s.root, `
SELECT count(*)
  FROM mvscheduler.run AS d
  JOIN mvscheduler.view_state AS v ON v.view_id = d.view_id
  JOIN mvscheduler.run AS u ON u.view_id = ANY (v.upstream) AND u.slot = d.slot AND u.state = 'succeeded' AND u.cause IN ('schedule', 'catchup')
 WHERE d.state = 'succeeded' AND d.cause IN ('schedule', 'catchup') AND d.started_at < u.finished_at`)
	require.Zero(t, out, "runs that did not wait for their upstream")
	s.everySlotHasOneEnd(t)
}

func TestAViewWithAClockWaitsForTheWholeChainAboveIt(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.manage(t, "a", slowQuery(time.Second), "refresh_interval", "6 seconds")
	s.manage(t, "b", "SELECT id, amount, slow(0.005) AS paused FROM a", "refresh_on", "upstream")
	s.manage(t, "c", "SELECT id, amount, slow(0) AS paused FROM b", "refresh_interval", "6 seconds")
	startSidecar(t, s.db)
	until(t, s.root, `
SELECT count(*) >= 3 FROM mvscheduler.run WHERE state = 'succeeded' AND cause IN ('schedule', 'catchup') AND view_name = $1`, s.owner+".c")
	s.idle(t)
	require.Zero(t, ask[int](t, s.root, `
SELECT count(*)
  FROM mvscheduler.run AS c
  JOIN mvscheduler.run AS a ON a.slot = c.slot AND a.view_name = $1
 WHERE c.view_name = $2 AND c.cause IN ('schedule', 'catchup') AND c.state = 'succeeded'
   AND c.data_as_of < a.data_as_of`, s.owner+".a", s.owner+".c"), "runs that show less than the slot has")
	s.everySlotHasOneEnd(t)
}

func TestAViewGoesOnWhenItsUpstreamFails(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "a", "SELECT id, 1 / amount AS amount FROM sales", "refresh_interval", "1 second")
	s.manage(t, "b", "SELECT id, amount, slow(0) AS paused FROM a", "refresh_interval", "1 second")
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.view_health WHERE refreshes > 0`)
	pgtest.Exec(t, s.alice, `UPDATE sales SET amount = 0 WHERE id = 1`)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.view_health WHERE consecutive_failures > 0`)
	until(t, s.root, `SELECT count(*) >= 3 FROM mvscheduler.run WHERE view_name = $1 AND state = 'succeeded' AND started_at > $2`,
		s.owner+".b", ask[time.Time](t, s.root, `SELECT clock_timestamp()`))
	require.True(t, ask[bool](t, s.root, fmt.Sprintf(`
SELECT b.data_as_of <= a.data_as_of FROM mvscheduler.status AS a, mvscheduler.status AS b WHERE a.name = '%[1]s.a' AND b.name = '%[1]s.b'`, s.owner)))
}

func TestEmptiedTablesNeverEmptyAView(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, query string
		tables              []string
		empty, refill       string // in one transaction
	}{
		{name: "plain", method: "full", query: "SELECT id, amount, slow(0) AS paused FROM facts",
			tables: []string{`CREATE TABLE facts (id integer PRIMARY KEY, amount integer)`, `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
			empty:  `TRUNCATE facts`, refill: `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
		{name: "concurrent", method: "concurrent", query: "SELECT id, amount, slow(0) AS paused FROM facts",
			tables: []string{`CREATE TABLE facts (id integer PRIMARY KEY, amount integer)`, `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
			empty:  `TRUNCATE facts`, refill: `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
		{name: "a partition", method: "full", query: "SELECT id, amount, slow(0) AS paused FROM facts",
			tables: []string{
				`CREATE TABLE facts (id integer, amount integer) PARTITION BY RANGE (id)`,
				`CREATE TABLE facts_1 PARTITION OF facts FOR VALUES FROM (1) TO (51)`, `CREATE TABLE facts_2 PARTITION OF facts FOR VALUES FROM (51) TO (101)`,
				`INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
			empty: `TRUNCATE facts_2`, refill: `INSERT INTO facts SELECT i, i FROM generate_series(51, 100) AS i`},
		{name: "attach and detach", method: "full", query: "SELECT id, amount, slow(0) AS paused FROM facts",
			tables: []string{
				`CREATE TABLE facts (id integer, amount integer) PARTITION BY RANGE (id)`,
				`CREATE TABLE facts_1 PARTITION OF facts FOR VALUES FROM (1) TO (51)`, `CREATE TABLE facts_2 PARTITION OF facts FOR VALUES FROM (51) TO (101)`,
				`INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
			empty: `ALTER TABLE facts DETACH PARTITION facts_2`,
			refill: `DO $$ BEGIN
    DROP TABLE facts_2;
    CREATE TABLE facts_2 (id integer, amount integer);
    INSERT INTO facts_2 SELECT i, i FROM generate_series(51, 100) AS i;
    ALTER TABLE facts ATTACH PARTITION facts_2 FOR VALUES FROM (51) TO (101);
END $$`},
		{name: "through views", method: "full", query: "SELECT id, amount, slow(0) AS paused FROM facts_seen",
			tables: []string{`CREATE TABLE facts (id integer PRIMARY KEY, amount integer)`, `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`,
				`CREATE VIEW facts_raw AS SELECT * FROM facts`, `CREATE VIEW facts_seen AS SELECT * FROM facts_raw`},
			empty: `TRUNCATE facts`, refill: `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
		{name: "inheritance", method: "full", query: "SELECT id, amount, slow(0) AS paused FROM facts",
			tables: []string{`CREATE TABLE facts (id integer, amount integer)`, `CREATE TABLE facts_1 () INHERITS (facts)`, `INSERT INTO facts_1 SELECT i, i FROM generate_series(1, 100) AS i`},
			empty:  `TRUNCATE facts_1`, refill: `INSERT INTO facts_1 SELECT i, i FROM generate_series(1, 100) AS i`},
		{name: "a materialized view below", method: "full", query: "SELECT id, amount, slow(0) AS paused FROM below",
			tables: []string{`CREATE TABLE facts (id integer PRIMARY KEY, amount integer)`, `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`,
				`CREATE MATERIALIZED VIEW below AS SELECT * FROM facts`},
			empty: `REFRESH MATERIALIZED VIEW below WITH NO DATA`, refill: `REFRESH MATERIALIZED VIEW below`},
		{name: "a function", method: "full", query: "SELECT id, amount, slow(0) AS paused FROM all_facts()",
			tables: []string{`CREATE TABLE facts (id integer PRIMARY KEY, amount integer)`, `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`,
				`CREATE FUNCTION all_facts() RETURNS TABLE (id int, amount int) STABLE LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN RETURN QUERY SELECT f.id, f.amount FROM facts AS f; END $$`},
			empty: `TRUNCATE facts`, refill: `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
		{name: "a function, in a savepoint", method: "concurrent", query: "SELECT id, amount, slow(0) AS paused FROM all_facts()",
			tables: []string{`CREATE TABLE facts (id integer PRIMARY KEY, amount integer)`, `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`,
				`CREATE FUNCTION all_facts() RETURNS TABLE (id int, amount int) STABLE LANGUAGE sql SET search_path FROM CURRENT AS 'SELECT f.id, f.amount FROM facts AS f'`},
			empty: `DO $$ BEGIN BEGIN TRUNCATE facts; EXCEPTION WHEN division_by_zero THEN END; END $$`, refill: `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`},
		{name: "a policy", method: "full", query: "SELECT id, amount, slow(0) AS paused FROM facts",
			tables: []string{`CREATE TABLE facts (id integer PRIMARY KEY, amount integer)`, `INSERT INTO facts SELECT i, i FROM generate_series(1, 100) AS i`, `CREATE TABLE allowed AS SELECT 1 AS yes`, `CREATE POLICY p ON facts USING (EXISTS (SELECT FROM allowed))`,
				`ALTER TABLE facts ENABLE ROW LEVEL SECURITY`, `ALTER TABLE facts FORCE ROW LEVEL SECURITY`},
			empty: `TRUNCATE allowed`, refill: `INSERT INTO allowed VALUES (1)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, tt.tables...)
			columns := []any{"refresh_on", "manual", "refresh_interval", nil, "method", tt.method, "lock_timeout", "2 seconds"}
			if tt.method == "concurrent" {
				columns = append(columns, "unique_key", []string{"id"})
			}
			s.manage(t, "v", tt.query, columns...)
			startSidecar(t, s.db)
			refreshed(t, s.alice, "v")
			writer := s.db.Conn(t, s.owner)
			waits := `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'REFRESH%' AND application_name LIKE 'mvscheduler run%' AND wait_event_type = 'Lock')`
			for range 3 {
				pgtest.Exec(t, writer, `BEGIN`, tt.empty, tt.refill)
				run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
				until(t, s.root, waits) // its snapshot is older than the commit that comes
				pgtest.Exec(t, writer, `COMMIT`)
				require.Equal(t, "succeeded", s.ended(t, run))
				require.Equal(t, int64(100), ask[int64](t, s.alice, `SELECT count(*) FROM v`))
			}
			require.GreaterOrEqual(t, len(s.statements(t, "REFRESH MATERIALIZED VIEW")), 1+3*2, "each was rolled back and repeated")
		})
	}
}

// A function that rewrites a table of its own is no reason to begin again.
func TestAFunctionThatRewritesATableOfItsOwnDoesNotRepeatTheRefresh(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE scratch (id int)`,
		`CREATE FUNCTION scratched() RETURNS SETOF int LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN BEGIN TRUNCATE scratch; EXCEPTION WHEN division_by_zero THEN END; INSERT INTO scratch VALUES (1), (2); RETURN QUERY SELECT id FROM scratch; END $$`)
	s.manage(t, "v", `SELECT id FROM scratched() AS id`, "refresh_on", "manual", "refresh_interval", nil)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	refreshed(t, s.alice, "v")
	require.Equal(t, 2, ask[int](t, s.alice, `SELECT count(*)::int FROM v`))
	require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT sum(attempts) FROM mvscheduler.runs`))
	require.Len(t, s.statements(t, "REFRESH MATERIALIZED VIEW"), 2)
}

// The hole that the comparison of filenodes closes: without it PostgreSQL itself leaves the view empty.
func TestAPlainRefreshByHandHasTheHole(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE MATERIALIZED VIEW m AS SELECT id FROM sales`)
	writer := s.db.Conn(t, s.owner)
	pgtest.Exec(t, writer, `BEGIN`, `TRUNCATE sales`, `INSERT INTO sales SELECT i, i FROM generate_series(1, 100) AS i`)
	done := make(chan error, 1)
	go func() {
		_, err := s.alice.Exec(t.Context(), `REFRESH MATERIALIZED VIEW m`)
		done <- err
	}()
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'REFRESH%' AND wait_event_type = 'Lock')`)
	pgtest.Exec(t, writer, `COMMIT`)
	require.NoError(t, <-done)
	require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM m`))
	require.Equal(t, int64(100), ask[int64](t, s.alice, `SELECT count(*) FROM sales`))
}

func TestAViewThatFollowsNothingIsAcceptedWithAWarning(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, said := connNoticing(t, db.URLAs(db.User(t, "alice")))
	warnings := func(sql string) (found []string) {
		*said = nil
		pgtest.Exec(t, conn, sql)
		for _, n := range *said {
			if n.Severity == "WARNING" {
				found = append(found, n.Message+" "+n.Hint)
			}
		}
		return found
	}
	require.Empty(t, warnings(`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('v', 'SELECT 1 AS a', 'manual')`))
	require.Empty(t, warnings(`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('w', 'SELECT a FROM v', 'upstream')`))
	alone := warnings(`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('x', 'SELECT 1 AS a', 'upstream')`)
	require.Len(t, alone, 1)
	require.Contains(t, alone[0], "reads no managed view")
	require.Contains(t, alone[0], "'schedule'")
	require.Empty(t, warnings(`UPDATE mvscheduler.views SET priority = 3`))
	reason := `SELECT coalesce(reason, '') LIKE '%reads no managed view%' FROM mvscheduler.status WHERE name LIKE $1`
	require.True(t, ask[bool](t, conn, reason, "%.x"))
	require.False(t, ask[bool](t, conn, reason, "%.w"))
	require.Len(t, warnings(`UPDATE mvscheduler.views SET refresh_on = 'upstream' WHERE query = 'SELECT 1 AS a'`), 1, "v; x follows already")
	pgtest.Exec(t, conn, `SELECT mvscheduler.release_view('v')`)
	require.True(t, ask[bool](t, conn, reason, "%.w"), "what it followed was released")
}
