package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgserver"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// outcomeOf asks for a refresh and returns how it ended: its state, error and reason.
func (s *scene) outcomeOf(t testing.TB, view string) string {
	t.Helper()
	run := ask[int64](t, s.root, `SELECT mvscheduler.refresh_view($1)`, s.owner+"."+view)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.runs AS r LEFT JOIN mvscheduler.runs AS j ON j.id = r.joined_run WHERE r.id = $1 AND coalesce(j.state, r.state) NOT IN ('queued', 'running'))`, run)
	return ask[string](t, s.root, `SELECT concat_ws(' ', coalesce(j.state, r.state), coalesce(j.error, r.error), coalesce(j.reason, r.reason)) FROM mvscheduler.runs AS r LEFT JOIN mvscheduler.runs AS j ON j.id = r.joined_run WHERE r.id = $1`, run)
}

// wide has the next refresh of every view be one pass over everything.
func (s *scene) wide(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.dirt (view_id, lo, hi) SELECT view_id, '-infinity', 'infinity' FROM mvscheduler.view_state`, `UPDATE mvscheduler.view_health SET rows_estimate = 10000000`)
}

func hourlyWith(column string) string {
	return strings.Replace(hourly, " FROM metrics", ", "+column+" FROM metrics", 1)
}

func splitStatements(text string) []string { return strings.Split(text, "; ") }

// What its owner has made of the data so that other rows would be written than the query gives: the view is paused, by name,
// with its old contents, and goes on when that is undone.
func TestWhatWouldWriteOtherRowsThanTheQueryGivesIsNamed(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `CREATE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`,
		`CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := 4711; RETURN NEW; END $$`,
		`CREATE FUNCTION after() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`, `CREATE TABLE elsewhere (hour timestamptz, device int, n bigint, total numeric)`)
	cases := []struct{ view, do, undo, says string }{
		{"before_row", `CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON %s__data FOR EACH ROW EXECUTE FUNCTION lost()`, `DROP TRIGGER t ON %s__data`, "trigger t on "},
		{"of_partition", `CREATE TRIGGER t BEFORE UPDATE ON %s__data_20260301 FOR EACH ROW EXECUTE FUNCTION other()`, `ALTER TABLE %s__data_20260301 DISABLE TRIGGER t`, "of_partition__data_20260301"},
		{"rule", `CREATE RULE r AS ON INSERT TO %s__data DO INSTEAD INSERT INTO elsewhere VALUES (NEW.*) RETURNING *`, `DROP RULE r ON %s__data`, "rule r on "},
		{"secured", `ALTER TABLE %[1]s__data ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON %[1]s__data FOR SELECT USING (true)`, `ALTER TABLE %s__data NO FORCE ROW LEVEL SECURITY`, "row-level security of "},
		{"added", `ALTER TABLE %s__data ADD COLUMN extra int`, `ALTER TABLE %s__data DROP COLUMN extra`, "column extra of "},
		{"renamed", `ALTER TABLE %s__data RENAME COLUMN n TO m`, `ALTER TABLE %s__data RENAME COLUMN m TO n`, "column m bigint of "},
		{"rounded", `DROP VIEW %[1]s; ALTER TABLE %[1]s__data ALTER total TYPE numeric(9, 1)`, `ALTER TABLE %s__data ALTER total TYPE numeric`, "column total numeric(9,1) of "},
		{"more", `CREATE OR REPLACE VIEW %s__query AS ` + hourlyWith("max(value) AS most"), `DROP VIEW %s__query`, "has no column most"},
		{"harmless", `CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON %s__data FOR EACH ROW EXECUTE FUNCTION after()`, ``, ""},
	}
	for _, c := range cases {
		s.incremental(t, c.view, hourly, "max_attempts", 1)
	}
	startSidecar(t, s.db)
	before := map[string]string{}
	contents := `SELECT md5(string_agg(x::text, ' ' ORDER BY hour, device)) FROM %s__data AS x`
	for _, c := range cases {
		s.incremented(t, c.view)
		pgtest.Exec(t, s.alice, splitStatements(fmt.Sprintf(c.do, c.view))...)
		before[c.view] = ask[string](t, s.alice, fmt.Sprintf(contents, c.view))
	}
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100.25), ('2026-03-02 12:05+00', 77, 100)`, `DELETE FROM metrics WHERE ts >= '2026-03-02 14:00+00' AND ts < '2026-03-02 15:00+00' AND device = 2`)
	for _, c := range cases {
		how := s.outcomeOf(t, c.view)
		if c.says == "" {
			require.Contains(t, how, "succeeded")
			same(t, s.alice, c.view)
			continue
		}
		require.Contains(t, how, "failed ", c.view)
		status := ask[string](t, s.alice, `SELECT activity || ': ' || reason FROM mvscheduler.status WHERE name LIKE '%.' || $1`, c.view)
		require.Contains(t, status, "paused: ")
		require.Contains(t, how, c.says)
		require.NotContains(t, how, "CONTEXT", "what is not the reader's")
		require.Equal(t, before[c.view], ask[string](t, s.alice, fmt.Sprintf(contents, c.view)), "the old contents stay")
	}
	for _, c := range cases[:len(cases)-1] {
		pgtest.Exec(t, s.alice, fmt.Sprintf(c.undo, c.view), `SELECT mvscheduler.resume_view(`+quote(c.view)+`)`)
		s.incremented(t, c.view)
		same(t, s.alice, c.view)
	}
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM elsewhere`))
}

// A key that somebody has stated, or that a unique index proved which is there no more, does not identify a row: no row is
// left out for it.
func TestAKeyThatDoesNotIdentifyARowIsAnErrorAndLosesNone(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE events (ts timestamptz NOT NULL, device int, value numeric)`, `INSERT INTO events VALUES ('2026-03-01 00:00+00', 1, 1), ('2026-03-01 00:30+00', NULL, 1)`,
		`CREATE TABLE unique_events (LIKE events)`, `CREATE UNIQUE INDEX u ON unique_events (ts, device) NULLS NOT DISTINCT`, `INSERT INTO unique_events SELECT * FROM events`)
	s.incremental(t, "stated", `SELECT date_trunc('minute', ts) AS hour, device, value FROM events WHERE mvscheduler.in_window(ts)`, "unique_key", []string{"hour", "device"}, "max_attempts", 1)
	s.incremental(t, "proved", `SELECT ts AS hour, device, value FROM unique_events WHERE mvscheduler.in_window(ts)`, "unique_key", []string{"hour", "device"}, "max_attempts", 1)
	startSidecar(t, s.db)
	s.incremented(t, "stated", "proved")
	pgtest.Exec(t, s.alice, `DROP INDEX u`)
	for table, view := range map[string]string{"events": "stated", "unique_events": "proved"} {
		for _, device := range []string{"1", "NULL"} {
			pgtest.Exec(t, s.alice, `INSERT INTO `+table+` SELECT ts, device, value + 1 FROM `+table+` WHERE device IS NOT DISTINCT FROM `+device)
			for _, pass := range []string{"narrow", "wide"} {
				if pass == "wide" {
					s.wide(t)
				}
				how := s.outcomeOf(t, view)
				require.Contains(t, how, "failed ", "%s %s", view, pass)
				require.Contains(t, how, "The unique_key does not identify a row", "%s %s", view, pass)
				require.Equal(t, 2, ask[int](t, s.alice, `SELECT count(*)::int FROM `+view))
			}
			pgtest.Exec(t, s.alice, `DELETE FROM `+table+` WHERE value > 1`)
			s.incremented(t, view)
			same(t, s.alice, view)
		}
	}
	// Rows that differ in more than a key that is enough are told apart all the same.
	pgtest.Exec(t, s.alice, `INSERT INTO events VALUES ('2026-03-01 00:00+00', 2, 1)`)
	s.wide(t)
	s.incremented(t, "stated")
	require.Contains(t, s.last(t, "stated", "reason"), "in one pass")
	same(t, s.alice, "stated")
}

func TestWhatIsAttachedByHandIsLookedAt(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "max_attempts", 1)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	for _, c := range []struct{ do, says string }{
		{`CREATE TABLE hand (LIKE v__data INCLUDING ALL); INSERT INTO hand VALUES ('2026-05-01', 1, 1, 1); ALTER TABLE v__data ATTACH PARTITION hand FOR VALUES FROM ('2026-04-15') TO ('2026-05-15')`, "by hand"},
		{`DROP TABLE hand`, "by hand"},
		{`CREATE TABLE rest (LIKE v__data INCLUDING ALL); INSERT INTO rest VALUES ('2028-05-01', 1, 1, 1); ALTER TABLE v__data ATTACH PARTITION rest DEFAULT`, "by hand"},
		{`TRUNCATE rest`, "by hand"},
		{`ALTER TABLE v__data DETACH PARTITION rest`, "by hand"},
		{`ALTER TABLE v__data DETACH PARTITION v__data_20260301; CREATE TABLE parted PARTITION OF v__data FOR VALUES FROM ('2026-03-01') TO ('2026-04-01') PARTITION BY LIST (device); CREATE TABLE parted1 PARTITION OF parted DEFAULT`, "by hand"},
	} {
		pgtest.Exec(t, s.alice, splitStatements(c.do)...)
		s.incremented(t, "v")
		require.Contains(t, s.last(t, "v", "reason"), c.says, c.do)
		same(t, s.alice, "v")
		s.incremented(t, "v")
		require.Contains(t, s.last(t, "v", "reason"), "nothing changed", c.do)
	}
}

// A DETACH CONCURRENTLY that was given up leaves a partition of which readers see nothing any more.
func TestAPartitionThatIsDetachedByHalfIsNamed(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "max_attempts", 1)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	reader := s.db.Conn(t, s.owner)
	pgtest.Exec(t, reader, `BEGIN`, `SELECT count(*) FROM v`)
	pgtest.Exec(t, s.alice, `SET statement_timeout = '300ms'`)
	requireSQLState(t, s.alice, "57014", `ALTER TABLE v__data DETACH PARTITION v__data_20260301 CONCURRENTLY`)
	pgtest.Exec(t, s.alice, `RESET statement_timeout`)
	pgtest.Exec(t, reader, `COMMIT`)
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM v`))
	require.Contains(t, s.outcomeOf(t, "v"), "failed ")
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "FINALIZE")
	pgtest.Exec(t, s.alice, `ALTER TABLE v__data DETACH PARTITION v__data_20260301 FINALIZE`, `SELECT mvscheduler.resume_view('v')`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Equal(t, 288, ask[int](t, s.alice, `SELECT count(*)::int FROM v`))
}

func TestPartitionsThatAreTouchedWhileAViewIsFilledAreComputedAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'UTC'`, `CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL)`,
		`INSERT INTO metrics SELECT t, 1 FROM generate_series('2025-11-01 00:00+00'::timestamptz, '2026-03-04 23:50+00', '1 day') AS t`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, sum(device + slow(0.005)) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1`)
	startSidecar(t, s.db)
	until(t, s.root, `SELECT count(*) > 2 FROM pg_inherits WHERE inhparent = $1::text::regclass`, s.owner+".v__data")
	pgtest.Exec(t, s.alice, `SET lock_timeout = '10s'`, `DROP TABLE v__data_20260301`, `TRUNCATE v__data_20260201`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE state = 'succeeded')`)
	require.Contains(t, s.last(t, "v", "reason"), "by hand")
	same(t, s.alice, "v")
}

func TestAnUnloggedPartitionThatACrashEmptiedIsComputedAgain(t *testing.T) {
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, nil))
	s.metrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.alice, `ALTER TABLE v__data_20260301 SET UNLOGGED`)
	s.incremented(t, "v")
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "nothing changed")
	require.NoError(t, s.db.Server(t).Restart(t.Context(), pgserver.Immediate))
	s.reconnected(t)
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM v`))
	s.incremented(t, "v")
	require.Equal(t, 288, ask[int](t, s.alice, `SELECT count(*)::int FROM v`))
	same(t, s.alice, "v")
}

// However columns of the parts came to differ, an UPDATE of the query gives the view what it names.
func TestAnUpdateOfTheQueryMendsColumnsThatDiffer(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	views := []string{"appended", "undone", "dropped", "again"}
	for _, v := range views {
		s.incremental(t, v, hourly, "max_attempts", 1)
	}
	startSidecar(t, s.db)
	s.incremented(t, views...)
	for _, v := range []string{"appended", "undone"} {
		pgtest.Exec(t, s.alice, `CREATE OR REPLACE VIEW `+v+`__query AS `+hourlyWith("max(value) AS most"))
		require.Contains(t, s.outcomeOf(t, v), "has no column most")
	}
	for _, v := range []string{"dropped", "again"} {
		pgtest.Exec(t, s.alice, `ALTER TABLE `+v+`__data DROP COLUMN total CASCADE`, `SELECT mvscheduler.resume_view(`+quote(v)+`)`)
	}
	for v, query := range map[string]string{
		"appended": hourlyWith("max(value) AS most"), "undone": hourly + " ", "again": hourly + " ",
		"dropped": `SELECT date_trunc('hour', ts) AS hour, device, count(*) AS n FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`,
	} {
		_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET query = $1 WHERE name LIKE '%.' || $2`, query, v)
		require.NoError(t, err)
		s.incremented(t, v)
		same(t, s.alice, v)
		require.Equal(t, s.columns(t, v+"__query"), s.columns(t, v), v)
	}
}
