package integration

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Triggers are made by users of a function that writes as the owner of the catalog. It may not be brought to read
// anything of theirs, nor to write about what is not theirs.
func TestTheChangeLogRunsNothingOfTheWriterAndTellsNothingOfOthers(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	view := `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on) VALUES ('%s', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM %[2]s WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', NULL, 'manual')`
	pgtest.Exec(t, alice, `CREATE TABLE base (ts timestamptz, k int)`, fmt.Sprintf(view, "theirs", "base"))
	a.as(`CREATE TABLE mallory.base (ts timestamptz, k int)`, fmt.Sprintf(view, "mallory.own", "mallory.base"))
	startSidecar(t, a.db)
	refreshed(t, alice, "theirs")
	refreshed(t, a.m, a.sql("mallory.own"))
	dirt := func() string {
		return ask[string](t, a.root, `SELECT coalesce(string_agg(source::oid::regclass::text, ' ' ORDER BY xid), '') FROM mvscheduler.dirt WHERE source IS NOT NULL`)
	}
	require.Equal(t, "", dirt())
	// Transition tables under other names, and a view of the expected name that runs code.
	a.as(`CREATE FUNCTION mallory.payload() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.steal('trigger'); RETURN now(); END $$`,
		`GRANT USAGE ON SCHEMA mallory TO PUBLIC`,
		`CREATE TEMP VIEW new_rows AS SELECT mallory.payload() AS ts`, `CREATE TEMP VIEW old_rows AS SELECT mallory.payload() AS ts`)
	for _, function := range []string{"changed", "changed_1_ts"} {
		a.as(`CREATE TRIGGER a AFTER INSERT ON mallory.base REFERENCING NEW TABLE AS others FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.`+function+`()`,
			`CREATE TRIGGER b AFTER UPDATE ON mallory.base FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.`+function+`()`,
			`CREATE TRIGGER c AFTER DELETE ON mallory.base REFERENCING OLD TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.`+function+`()`,
			`CREATE TRIGGER d BEFORE INSERT ON mallory.base FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.`+function+`()`,
			`CREATE TRIGGER e AFTER INSERT ON mallory.base FOR EACH ROW EXECUTE FUNCTION mvscheduler.`+function+`()`,
			`INSERT INTO mallory.base VALUES (now(), 1)`, `UPDATE mallory.base SET k = 2`, `DELETE FROM mallory.base`,
			`DROP TRIGGER a ON mallory.base`, `DROP TRIGGER b ON mallory.base`, `DROP TRIGGER c ON mallory.base`, `DROP TRIGGER d ON mallory.base`, `DROP TRIGGER e ON mallory.base`)
	}
	a.nothingStolen("")
	// A column that became something else.
	a.as(`CREATE TYPE mallory.evil AS (t timestamptz)`, `CREATE FUNCTION mallory.cast_evil(mallory.evil) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('cast'); RETURN ($1).t; END $$`,
		`CREATE CAST (mallory.evil AS timestamptz) WITH FUNCTION mallory.cast_evil(mallory.evil) AS IMPLICIT`,
		`INSERT INTO mallory.base VALUES (now(), 1)`, `DROP VIEW new_rows, old_rows`, `INSERT INTO mallory.base VALUES (now(), 1)`, // with plans of the right type
		`DELETE FROM mvscheduler.views WHERE name = 'mallory.own'`, `ALTER TABLE mallory.base ALTER ts TYPE mallory.evil USING ROW(ts)::mallory.evil`,
		`INSERT INTO mallory.base VALUES (ROW(now())::mallory.evil, 1)`, `UPDATE mallory.base SET k = 3`, `DELETE FROM mallory.base`)
	a.nothingStolen("")
	// A table that nobody has registered, also under alice's names.
	a.as(`CREATE TABLE mallory.other (ts timestamptz)`, `CREATE TRIGGER a AFTER INSERT ON mallory.other REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.changed()`,
		`CREATE TRIGGER b AFTER INSERT ON mallory.other REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mvscheduler.changed_1_ts()`,
		`INSERT INTO mallory.other VALUES (now())`)
	require.NotContains(t, dirt(), a.alice)
	until(t, a.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.dirt WHERE source::oid = $1::text::regclass)`, a.sql("mallory.other")) // what nobody reads is not kept
	for _, statement := range []string{`INSERT INTO mvscheduler.dirt (source, col, lo, hi) VALUES ('pg_class', 1, now(), now())`, `INSERT INTO mvscheduler.view_source VALUES (1, 'pg_class', 1)`,
		`SELECT * FROM mvscheduler.dirt`, `SELECT * FROM mvscheduler.increment_state`, `SELECT * FROM mvscheduler.watched(1)`, `SELECT mvscheduler.make_change_function(1)`} {
		a.refused(a.m, "42501", statement)
	}
	require.Zero(t, ask[int64](t, a.m, `SELECT count(*) FROM mvscheduler.tables_below($1)`, ask[int64](t, a.root, `SELECT view_id FROM mvscheduler.view_state WHERE name = $1`, a.alice+".theirs")))
}

// What the owner of an incremental view hangs on it runs as the owner, in the sandbox, or not at all.
func TestNothingOfAnIncrementalViewRunsAsSomebodyElse(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	define := func(name, arguments, returns string) string {
		value := "RETURN 1;"
		switch returns {
		case "trigger":
			value = "RETURN NEW;"
		case "boolean":
			value = "RETURN true;"
		}
		return `CREATE FUNCTION mallory.` + name + `(` + arguments + `) RETURNS ` + returns + ` LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.steal('` + name + `'); ` + value + ` END $$`
	}
	a.as(define("in_query", "", "int"), define("in_trigger", "", "trigger"), define("in_index", "int", "int"), define("in_check", "int", "boolean"), define("in_statistics", "int", "int"),
		`CREATE TABLE mallory.base (ts timestamptz, k int)`, `INSERT INTO mallory.base SELECT '2026-03-01 00:00+00'::timestamptz + g * interval '1 hour', g % 3 FROM generate_series(1, 1100) AS g`,
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on, max_attempts, indexes)
		 VALUES ('mallory.v', 'SELECT date_trunc(''hour'', ts) AS hour, k, count(*) + 0 * max(mallory.in_query() + k) AS n FROM mallory.base WHERE mvscheduler.in_window(ts) GROUP BY 1, 2', 'incremental', 'hour', '1 hour', NULL, 'manual', 2, '{(mallory.in_index(k))}')`,
		`CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON mallory.v__data FOR EACH STATEMENT EXECUTE FUNCTION mallory.in_trigger()`,
		`ALTER TABLE mallory.v__data ADD CHECK (mallory.in_check(k))`, `CREATE STATISTICS mallory.s ON (mallory.in_statistics(k)), n FROM mallory.v__data`)
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	a.as(`INSERT INTO mallory.base SELECT '2026-03-05 10:00+00', g FROM generate_series(10, 300) AS g`, `UPDATE mallory.base SET k = 5 WHERE ts = '2026-03-06 10:00+00'`)
	refreshed(t, a.m, a.sql("mallory.v"))
	until(t, a.root, `SELECT reltuples > 1000 FROM pg_class WHERE oid = $1::text::regclass`, a.mallory+".v__data")
	a.nothingStolen(sidecar.role, "in_query", "in_trigger", "in_index", "in_check", "in_statistics")
	require.Equal(t, int64(1391), ask[int64](t, a.m, a.sql(`SELECT sum(n)::bigint FROM mallory.v`)))
}

func TestPiecesOfAnIncrementalViewThatAreNotWhatTheyWereEndInAClearState(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	bob := s.db.User(t, "bob")
	s.db.Exec(t, `GRANT USAGE, CREATE ON SCHEMA `+s.owner+` TO `+bob)
	cases := map[string]struct {
		by     *pgx.Conn
		do     []string
		reason string
	}{
		"gate_dropped":   {s.alice, []string{`DROP MATERIALIZED VIEW gate_dropped__gate`}, "its gate"},
		"data_given":     {s.root, []string{`ALTER TABLE ` + s.owner + `.data_given__data OWNER TO ` + bob}, "is not a part of the view any more"},
		"data_replaced":  {s.alice, []string{`DROP TABLE data_replaced__data CASCADE`, `CREATE TABLE data_replaced__data (hour timestamptz, device int, n bigint, total numeric)`}, "does not exist any more"},
		"query_given":    {s.root, []string{`ALTER VIEW ` + s.owner + `.query_given__query OWNER TO ` + bob}, "was given to another owner by hand"},
		"query_replaced": {s.alice, []string{`DROP VIEW query_replaced__query`, `CREATE VIEW query_replaced__query AS SELECT 1 AS hour`}, "does not exist"},
		"column_dropped": {s.alice, []string{`ALTER TABLE column_dropped__data DROP COLUMN total CASCADE`}, "has no column total, which the query gives"},
		"column_retaken": {s.alice, []string{`ALTER TABLE column_retaken__data DROP COLUMN total CASCADE`, `ALTER TABLE column_retaken__data ADD COLUMN total numeric DEFAULT payload()`,
			`ALTER TABLE column_retaken__data ADD CHECK (payload() = 1)`, `CREATE VIEW column_retaken AS SELECT * FROM column_retaken__data`}, "has no column total, which the query gives"},
	}
	pgtest.Exec(t, s.alice, `CREATE FUNCTION payload() RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'RAN|payload|%|%', session_user, current_user; RETURN 1; END $$`)
	contents := func(name string) string {
		return ask[string](t, s.root, `SELECT string_agg(concat_ws(' ', hour, device, n), ', ' ORDER BY hour, device) FROM `+s.owner+`.`+name+`__data`)
	}
	for name := range cases {
		s.incremental(t, name, hourly, "max_attempts", 1)
	}
	startSidecar(t, s.db)
	for name := range cases {
		s.incremented(t, name)
	}
	before := contents("gate_dropped")
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`)
	for name, c := range cases {
		for _, statement := range c.do {
			pgtest.Exec(t, c.by, statement)
		}
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('`+name+`')`)
		until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE view_name LIKE '%.' || $1 AND state = 'failed')`, name)
		require.Contains(t, ask[string](t, s.root, `SELECT error FROM mvscheduler.run WHERE view_name LIKE '%.' || $1 AND state = 'failed' ORDER BY id LIMIT 1`, name), c.reason, name)
		require.NotEqual(t, "", ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.' || $1`, name))
		switch name {
		case "data_replaced":
			require.Zero(t, ask[int64](t, s.alice, `SELECT count(*) FROM data_replaced__data`), "nothing is written to the look-alike")
		case "column_dropped", "column_retaken": // the view that people read went with its column, and another may have its name
			until(t, s.alice, `SELECT freshness = 'missing' AND activity = 'paused' AND strpos(reason, 'its data is still there') > 0 FROM mvscheduler.status WHERE name LIKE '%.' || $1`, name)
			fallthrough
		default:
			require.Equal(t, before, contents(name), "%s: what it had is kept", name)
		}
	}
	ran := 0
	for _, line := range s.db.Log(t) {
		if who, ok := strings.CutPrefix(line.Message, "LOG:  RAN|payload|"); ok {
			require.Equal(t, s.owner+"|"+s.owner, position.ReplaceAllString(who, ""), "in the session of its owner alone")
			ran++
		}
	}
	require.NotZero(t, ran)
}

func TestContentsThatWereTouchedByHandAreComputedAgain(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT t, 1, 1 FROM generate_series('2025-10-01 00:00+00'::timestamptz, '2026-02-28', '7 hours') AS t`)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	for _, c := range []struct{ statement, says string }{
		{`DROP TABLE v__data_20251201`, "by hand"},
		{`TRUNCATE v__data_20260101`, "by hand"},
		{`ALTER TABLE v__data DETACH PARTITION v__data_20260201`, "by hand"},
		{`TRUNCATE v__data`, "by hand"},
		{`DROP INDEX v__data_key`, "nothing changed"},
		{`ALTER TABLE v__data_20251001 RENAME TO elsewhere`, "nothing changed"},
		{`ALTER TABLE v__data RENAME TO other`, "nothing changed"},
		{`ALTER MATERIALIZED VIEW v__gate RENAME TO door`, "nothing changed"},
		// Look-alikes are not taken for what was meant.
		{`CREATE TABLE v__data (LIKE v__query)`, "nothing changed"},
		{`CREATE TABLE v__data_20270101 (LIKE v__query)`, "nothing changed"},
		{`CREATE MATERIALIZED VIEW v__gate AS SELECT 1 AS step`, "nothing changed"},
		{`CREATE MATERIALIZED VIEW v__next AS SELECT 1 AS hour`, "nothing changed"},
	} {
		pgtest.Exec(t, s.alice, c.statement)
		s.incremented(t, "v")
		same(t, s.alice, "v")
		require.Contains(t, s.last(t, "v", "reason"), c.says, c.statement)
	}
	pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2027-01-02 10:05+00', 1, 100), ('2026-03-02 10:05+00', 1, 100)`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'sum(value)', 'max(value)')`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS total, 1 AS one')`)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM v__data`), "the look-alike is what it was")
}

func TestAnIncrementalViewThatLostAPartSaysSoAndWhatHelps(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	paused := func(says string) {
		t.Helper()
		pgtest.Exec(t, s.alice, `INSERT INTO metrics VALUES ('2026-03-02 10:05+00', 1, 100)`, `SELECT mvscheduler.refresh_view('v')`)
		until(t, s.alice, `SELECT activity = 'paused' AND strpos(reason, $1) > 0 FROM mvscheduler.status`, says)
		require.Equal(t, 1, strings.Count(ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "makes it anew"), "once")
	}
	// The gate is made again by any UPDATE.
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW v__gate`)
	paused("Resuming the view makes it anew")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`)
	s.incremented(t, "v")
	s.whole(t, "v")

	// The query too.
	pgtest.Exec(t, s.alice, `DROP VIEW v__query`)
	paused("SELECT mvscheduler.resume_view('" + s.owner + ".v') makes it anew; paused by mvscheduler")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`)
	s.incremented(t, "v")
	s.whole(t, "v")

	// And so is the view that people read, over the data that it had; what has left by now stays what it is.
	pgtest.Exec(t, s.alice, `UPDATE v__data SET n = 77 WHERE hour = '2026-03-01 05:00+00'`, `DROP VIEW v`)
	require.Contains(t, ask[string](t, s.alice, `SELECT freshness || ' ' || reason FROM mvscheduler.status`), "missing the view was dropped or replaced by hand, and its data is still there: SELECT mvscheduler.resume_view('"+s.owner+".v')")
	r := mvscheduler(t, s.db, s.owner, "", "show", s.owner+".v")
	require.Contains(t, r.stdout, "mvscheduler resume "+s.owner+".v")
	found, _ := examine(t, s.db, s.owner)
	gone := about(found, "view")
	require.Len(t, gone, 1)
	require.Equal(t, "mvscheduler resume "+s.owner+".v", gone[0].Fix)
	r = mvscheduler(t, s.db, s.owner, "", "resume", s.owner+".v")
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, int64(3), ask[int64](t, s.alice, `SELECT count(*) FROM v WHERE n = 77`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.mark_dirty('v')`, `DROP VIEW v, v__query`, `UPDATE mvscheduler.views SET name = `+quote(s.owner+".w"), `UPDATE mvscheduler.views SET name = `+quote(s.owner+".v")+`, priority = 1`)
	s.incremented(t, "v")
	s.whole(t, "v")
	pgtest.Exec(t, s.alice, `DROP VIEW v, v__query`, another)
	s.incremented(t, "v")
	s.whole(t, "v")
	require.Contains(t, s.columns(t, "v"), "most")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, ', max(value) AS most', '')`)
	s.incremented(t, "v")

	// Another view under the name of the one that people read is not ours: nothing is read from it, nor done to it.
	pgtest.Exec(t, s.alice, `DROP VIEW v`, `CREATE VIEW v AS SELECT 1 AS hour`)
	require.Equal(t, "missing", ask[string](t, s.alice, `SELECT freshness FROM mvscheduler.status`))
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "when nothing else has its name")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.resume_view('v')`)
	require.Equal(t, "missing", ask[string](t, s.alice, `SELECT freshness FROM mvscheduler.status`))
	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
	require.Equal(t, "v v", s.relations(t))

	// Relations without a row, as a dump without it brings them.
	pgtest.Exec(t, s.alice, `DROP VIEW v`)
	s.incremental(t, "v", hourly)
	pgtest.Exec(t, s.root, `SET session_replication_role = replica`, `DELETE FROM mvscheduler.views`, `DELETE FROM mvscheduler.view_state`, `DELETE FROM mvscheduler.piece`, `RESET session_replication_role`)
	says := s.refusal(t, `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width) VALUES ('v', `+quote(hourly)+`, 'incremental', 'hour', '1 hour')`)
	require.Contains(t, says, "already exists")
	way := regexp.MustCompile(`DROP VIEW .*;`).FindString(says)
	require.NotEmpty(t, way, says)
	pgtest.Exec(t, s.alice, way)
	require.Equal(t, "", s.relations(t))
	s.incremental(t, "v", hourly)
	s.incremented(t, "v")

	// DROP OWNED leaves rows that are missing, which an administrator DELETEs.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS total, 1 AS one')`)
	despiteDeadlocks(t, s.root, `DROP OWNED BY `+s.owner+` CASCADE`)
	require.Equal(t, "missing", ask[string](t, s.root, `SELECT freshness FROM mvscheduler.status`))
	pgtest.Exec(t, s.root, `DELETE FROM mvscheduler.views`)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.piece`)+ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.redefinition`))
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))`)
}

// A step runs in a snapshot that shows the names of its time. Who owns the schema of somebody else's view can rename it
// meanwhile, and put look-alikes in its place.
func TestAStepReadsNoLookAlikeOfASchemaThatWasRenamedMeanwhile(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	pgtest.Exec(t, a.root, `GRANT CREATE ON DATABASE `+a.db.Name+` TO `+a.mallory)
	a.as(`CREATE SCHEMA lent`, `GRANT ALL ON SCHEMA lent TO alice`, `GRANT USAGE ON SCHEMA lent TO mvscheduler_worker`)
	alice := a.db.Conn(t, a.alice)
	pgtest.Exec(t, alice, `CREATE TABLE metrics (ts timestamptz, value int)`, `CREATE FUNCTION slow(seconds float8) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(seconds); RETURN 1; END'`,
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_on, max_attempts) VALUES ('lent.v', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n, slow(CASE WHEN count(*) > 5 THEN 3 ELSE 0 END) AS s FROM metrics WHERE mvscheduler.in_window(ts) GROUP BY 1', 'incremental', 'hour', '1 hour', 'manual', 1)`)
	pgtest.Exec(t, alice, `INSERT INTO metrics SELECT t, 1 FROM generate_series('2016-01-01'::timestamptz, '2026-06-01', '10 days') AS t`, `SET search_path = lent, `+a.alice)
	startSidecar(t, a.db)
	refreshed(t, alice, "v")
	for _, day := range []string{"2026-01-01", "2026-02-01", "2026-03-01"} { // a range each
		pgtest.Exec(t, alice, `INSERT INTO metrics SELECT '`+day+`'::timestamptz, 1 FROM generate_series(1, 20)`)
	}
	pgtest.Exec(t, a.root, `UPDATE mvscheduler.view_health SET rows_estimate = 1000000`) // else they are computed as one
	run := ask[int64](t, alice, `SELECT mvscheduler.refresh_view('lent.v')`)
	until(t, a.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'mvscheduler run' AND wait_event = 'PgSleep' AND datname = current_database())`)
	a.as(`ALTER SCHEMA lent RENAME TO taken`, `CREATE SCHEMA lent`, `GRANT ALL ON SCHEMA lent TO PUBLIC`)
	a.as(`CREATE VIEW lent.v__query AS SELECT '2026-02-01'::timestamptz AS hour, mallory.steal('query')::bigint AS n, 1 AS s`, `GRANT ALL ON lent.v__query TO PUBLIC`,
		`CREATE TABLE lent.v__data (hour timestamptz, n bigint, s int)`, `GRANT ALL ON lent.v__data TO PUBLIC`)
	require.True(t, ask[bool](t, a.root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'mvscheduler run' AND wait_event = 'PgSleep' AND datname = current_database())`), "it is all over already")
	until(t, a.root, `SELECT state NOT IN ('queued', 'running') FROM mvscheduler.run WHERE id = $1`, run)
	t.Log(ask[string](t, a.root, `SELECT concat_ws(' ', state, error, reason) FROM mvscheduler.run WHERE id = $1`, run))
	a.nothingStolen(a.mallory)
}

// Range types, statistics and GiST indexes below and on an incremental view: their functions run as the owner.
func TestCodeOfTypesAndStatisticsOfAnIncrementalViewRunsAsItsOwner(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	quiet := func(name, arguments, returns, value string) string {
		return `CREATE FUNCTION mallory.` + name + `(` + arguments + `) RETURNS ` + returns + ` LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE LOG 'RAN|` + name + `|%|%', session_user, current_user; RETURN ` + value + `; END $$`
	}
	a.as(quiet("subtype_diff", "float8, float8", "float8", "$1 - $2"), `CREATE TYPE mallory.span AS RANGE (subtype = float8, subtype_diff = mallory.subtype_diff)`,
		quiet("in_statistics", "int", "int", "$1"), quiet("in_base_statistics", "int", "int", "$1"), quiet("in_key", "timestamptz", "int", "1"),
		quiet("compare", "int, int", "int", "btint4cmp($1, $2)"), quiet("in_domain", "int", "boolean", "true"), `CREATE DOMAIN mallory.dom AS int CHECK (mallory.in_domain(VALUE))`,
		`CREATE TABLE mallory.base (ts timestamptz, k int, r mallory.span) PARTITION BY RANGE (mallory.in_key(ts))`, `CREATE TABLE mallory.base1 PARTITION OF mallory.base FOR VALUES FROM (0) TO (10)`,
		`CREATE STATISTICS mallory.bs ON (mallory.in_base_statistics(k)), ts FROM mallory.base1`, `CREATE INDEX ON mallory.base1 USING gist (r)`,
		`INSERT INTO mallory.base SELECT '2026-03-01 00:00+00'::timestamptz + g * interval '1 hour', g % 3, mallory.span(g, g + 1) FROM generate_series(1, 1500) AS g`, `ANALYZE mallory.base1`,
		`INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width, refresh_interval, refresh_on, max_attempts, unique_key)
		 VALUES ('mallory.v', 'SELECT date_trunc(''hour'', ts) AS hour, k, r, k::mallory.dom AS d, count(*) AS n FROM mallory.base WHERE mvscheduler.in_window(ts) AND mallory.in_base_statistics(k) < 10 GROUP BY 1, 2, 3', 'incremental', 'hour', '1 hour', NULL, 'manual', 2, '{hour,k,r}')`,
		`CREATE STATISTICS mallory.s ON (mallory.in_statistics(k)), n FROM mallory.v__data`, `CREATE INDEX ON mallory.v__data USING gist (r)`)
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, a.sql("mallory.v"))
	a.as(`INSERT INTO mallory.base SELECT '2026-03-05 10:00+00', g, mallory.span(g, g + 1) FROM generate_series(10, 900) AS g`, `UPDATE mallory.base SET k = 5 WHERE ts = '2026-03-06 10:00+00'`)
	refreshed(t, a.m, a.sql("mallory.v"))
	until(t, a.root, `SELECT reltuples > 1000 FROM pg_class WHERE oid = $1::text::regclass`, a.mallory+".v__data")
	a.nothingStolen(sidecar.role, "subtype_diff", "in_statistics", "in_base_statistics", "in_domain")
}
