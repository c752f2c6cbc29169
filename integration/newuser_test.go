package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// What was asked for is seen, and can be cancelled, before any sidecar runs.
func TestARefreshThatWaitsForASidecarIsListedAndCanBeCancelled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	first := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	require.Equal(t, "queued waits for a sidecar to take it up", ask[string](t, s.alice, `SELECT state || ' ' || reason FROM mvscheduler.runs WHERE id = $1`, first))
	require.Equal(t, "queued", ask[string](t, s.alice, `SELECT activity FROM mvscheduler.status`))
	require.Equal(t, first, ask[int64](t, s.alice, `SELECT run_id FROM mvscheduler.status`))
	listed := mvscheduler(t, s.db, s.owner, "", "runs", "-o", "json")
	require.Zero(t, listed.code, listed.stderr)
	require.Contains(t, listed.stdout, "waits for a sidecar")
	until(t, s.alice, `SELECT reason LIKE '%is mvscheduler serve running?%' FROM mvscheduler.status`)
	bob := s.db.User(t, "bob")
	require.Zero(t, ask[int](t, s.db.Conn(t, bob), `SELECT count(*)::int FROM mvscheduler.runs`))

	require.Zero(t, mvscheduler(t, s.db, s.owner, "", "cancel", "1").code)
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.runs`), "which will cancel it")
	startSidecar(t, s.db)
	until(t, s.alice, `SELECT state = 'cancelled' FROM mvscheduler.runs WHERE id = $1`, first)
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.run WHERE state = 'succeeded'`))
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.request)`)
	refreshed(t, s.alice, "v")
}

// The only sidecar was killed: a run that nobody runs does not look like one that goes on.
func TestARunWhoseSidecarIsGoneSaysSo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, slow(0.1) FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	sidecar := startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	s.working(t, "v")
	require.NotContains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "is gone")
	sidecar.kill()
	until(t, s.alice, `SELECT activity = 'running' AND reason LIKE '%the sidecar that ran it is gone%' FROM mvscheduler.status`)
}

// A table that the owner may not read yet takes the window, of which a query is told to have none, from no query.
func TestAQueryIsToldToAskInWindowOnlyWhenItDoesNot(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	carol := s.db.User(t, "carol")
	pgtest.Exec(t, s.db.Conn(t, carol), `CREATE TABLE secret (ts timestamptz NOT NULL)`, `GRANT USAGE ON SCHEMA `+carol+` TO `+s.owner)
	conn, said := connNoticing(t, s.db.URLAs(s.owner))
	for name, where := range map[string]string{"asks": "WHERE mvscheduler.in_window(ts)", "forgets": ""} {
		*said = nil
		pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query, method, time_column, bucket_width)
			VALUES ('`+name+`', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM `+carol+`.secret `+where+` GROUP BY 1', 'incremental', 'hour', '1 hour')`)
		told := slices.ContainsFunc(*said, func(n *pgconn.Notice) bool { return strings.Contains(n.Message, "does not ask in_window") })
		require.Equal(t, name == "forgets", told, name)
	}
	pgtest.Exec(t, conn, `CREATE TABLE mine (day date)`)
	for name, where := range map[string]string{"whole": "", "windowed": "WHERE mvscheduler.in_window(day)"} {
		*said = nil
		pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('`+name+`', 'SELECT day, count(*) AS n FROM mine `+where+` GROUP BY 1')`)
		told := slices.ContainsFunc(*said, func(n *pgconn.Notice) bool { return strings.Contains(n.Hint, "Set method to incremental") })
		require.Equal(t, name == "windowed", told, name)
	}
}

func TestARegistrationSaysWhatWouldGoWrongLater(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	carol := s.db.User(t, "carol")
	pgtest.Exec(t, s.db.Conn(t, carol), `CREATE TABLE secret (id int, name text)`, `CREATE VIEW shown AS SELECT id FROM secret`, `CREATE TABLE half (id int, name text)`,
		`GRANT SELECT ON shown TO `+s.owner, `GRANT SELECT (id) ON half TO `+s.owner, `GRANT USAGE ON SCHEMA `+carol+` TO `+s.owner)
	conn, said := connNoticing(t, s.db.URLAs(s.owner))
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('w', 'SELECT s.id FROM `+carol+`.shown AS s JOIN `+carol+`.half AS h USING (id) JOIN `+carol+`.secret AS x ON x.id = h.id')`)
	var warnings []string
	for _, n := range *said {
		if n.Severity == "WARNING" {
			warnings = append(warnings, n.Message+" | "+n.Hint)
		}
	}
	require.Equal(t, []string{"role " + s.owner + " may not read " + carol + ".secret, so managed view " + s.owner + ".w cannot be refreshed | Its owner runs: GRANT SELECT ON " + carol + ".secret TO " + s.owner + ";"}, warnings)

	pgtest.Exec(t, s.alice, `CREATE MATERIALIZED VIEW there AS SELECT 1 AS id`, `CREATE TABLE taken (id int)`)
	hint := func(sql string) string {
		var refusal *pgconn.PgError
		_, err := s.alice.Exec(t.Context(), sql)
		require.ErrorAs(t, err, &refusal)
		return refusal.Code + " " + refusal.Message + ": " + refusal.Hint
	}
	require.Equal(t, `42P07 relation "there" already exists: To have the materialized view that exists refreshed as it is: SELECT mvscheduler.adopt_view('`+s.owner+`.there');`,
		hint(`INSERT INTO mvscheduler.views (name, query) VALUES ('there', 'SELECT 1 AS id')`))
	require.Equal(t, `42P07 relation "taken" already exists: Choose another name.`, hint(`INSERT INTO mvscheduler.views (name, query) VALUES ('taken', 'SELECT 1 AS id')`))
	require.Equal(t, `42501 permission denied for schema `+carol+`: The owner of the schema runs: GRANT USAGE, CREATE ON SCHEMA `+carol+` TO `+s.owner+`;`,
		hint(`INSERT INTO mvscheduler.views (name, query) VALUES ('`+carol+`.x', 'SELECT 1 AS id')`))
}

func TestAnAdoptedViewWithAKeyGetsNoSecondOne(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id % 10 AS tenth, count(*) AS n FROM sales GROUP BY 1`, "refresh_interval", nil, "refresh_on", "manual")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.release_view('v')`, `SELECT mvscheduler.adopt_view('v', refresh_interval => NULL, refresh_on => 'manual')`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = 'SELECT id % 10 AS tenth, count(*) AS n, sum(amount) AS sum FROM sales GROUP BY 1'`)
	refreshed(t, s.alice, "v")
	s.oneVersion(t, "v")
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass AND indisunique`))
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass`))
}

func TestWhatAFailingViewNeedsIsInItsStatus(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT 1 / amount AS n FROM sales`, "max_attempts", 8, "refresh_interval", "1 hour")
	sidecar := startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, `INSERT INTO sales (id, amount) VALUES (1000, 0)`, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.alice, `SELECT reason ~ '1 failed attempt .22012.: division by zero; attempt 1 of 8 failed, next try in' FROM mvscheduler.status`)
	require.Zero(t, sidecar.stop())
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET data_as_of = now(), consecutive_failures = 2`)
	require.Zero(t, mvscheduler(t, s.db, s.owner, "", "status", "--check").code)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET consecutive_failures = 3`)
	require.Equal(t, 5, mvscheduler(t, s.db, s.owner, "", "status", "--check").code)

	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = 'SELECT 1 AS n', cron = '0 6 * * *'`)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "edit", "v", "--interval", "none").stderr, `its clock is the cron "0 6 * * *", which goes on`)
	require.NotContains(t, mvscheduler(t, s.db, s.owner, "", "edit", "v", "--interval", "1h").stderr, "goes on")
	gone := mvscheduler(t, s.db, "", "", "grants", "--for", "nobody")
	require.Equal(t, 3, gone.code)
	require.NotContains(t, gone.stderr, "mvscheduler list")
}

func TestTheCommandLineDoesWhatPeopleTry(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`, "refresh_interval", nil)
	for _, args := range [][]string{{"help"}, {"help", "edit"}, {"--version"}} {
		require.Zero(t, mvscheduler(t, s.db, s.owner, "", args...).code, args)
	}
	succeeds := func(args ...string) {
		done := mvscheduler(t, s.db, "", "", args...)
		require.Zero(t, done.code, done.stderr)
	}
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "help", "edit").stdout, "--rename")
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "next", "v").stderr, "is refreshed only when asked, since it has no clock")

	// A new name without a schema is one in the same schema, whatever the search_path says.
	succeeds("edit", s.owner+".v", "--rename", `"Odd name"`)
	require.Equal(t, s.owner+`."Odd name"`, ask[string](t, s.alice, `SELECT name FROM mvscheduler.views`))
	succeeds("edit", s.owner+`."Odd name"`, "--rename", s.owner+".w")
	require.Equal(t, s.owner+`.w`, ask[string](t, s.alice, `SELECT name FROM mvscheduler.views`))

	// Nobody waits for a lock for ever without a word.
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `LOCK TABLE mvscheduler.views`)
	held := mvscheduler(t, s.db, s.owner, "", "show", "w")
	require.Equal(t, 6, held.code, held.stderr)
	require.Contains(t, held.stderr, "holds a lock")
}

func TestAFirstRefreshThatWasCancelledSaysSo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, slow(0.2) FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	startSidecar(t, s.db)
	command := "SELECT mvscheduler.refresh_view('" + s.owner + ".v')"
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "refreshed only when asked: "+command)
	pgtest.Exec(t, s.alice, command)
	s.working(t, "v")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.cancel_run(id) FROM mvscheduler.runs`)
	until(t, s.alice, `SELECT freshness = 'never' AND activity = 'idle' AND strpos(reason, $1) > 0 FROM mvscheduler.status`, "first refresh was cancelled: "+command)
}

func TestAStaleViewSaysWhyItIs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`, "refresh_interval", "1 minute")
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	for _, c := range []struct{ health, reason string }{
		{`data_as_of = now() - interval '9 minutes', last_duration = '2 minutes'`, "a refresh takes 00:02:00 and its target is 00:01:00"},
		{`last_duration = '1 second', last_refresh_at = now()`, "it was refreshed, and what it shows is older"},
	} {
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET `+c.health)
		require.Contains(t, ask[string](t, s.alice, `SELECT freshness || ': ' || reason FROM mvscheduler.status`), "stale: "+c.reason)
	}
}

func TestViewsOnViewsAreDroppedTogetherInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	conn, said := connNoticing(t, s.db.URLAs(s.owner))
	for _, order := range [][]string{{"x1", "x2", "x3"}, {"x3", "x1", "x2"}} {
		make := []string{`INSERT INTO mvscheduler.views (name, query) VALUES ('x1', 'SELECT id FROM sales')`,
			`INSERT INTO mvscheduler.views (name, query) VALUES ('x2', 'SELECT id FROM x1')`, `INSERT INTO mvscheduler.views (name, query) VALUES ('x3', 'SELECT id FROM x2')`}
		pgtest.Exec(t, s.alice, make...)
		one := mvscheduler(t, s.db, s.owner, "", "drop", "-y", s.owner+".x1")
		require.Equal(t, 6, one.code)
		require.Contains(t, one.stderr, "in any order")
		args := []string{"drop", "-y"}
		for _, name := range order {
			args = append(args, s.owner+"."+name)
		}
		all := mvscheduler(t, s.db, s.owner, "", args...)
		require.Zero(t, all.code, all.stderr)
		require.NotContains(t, all.stderr, "does not exist")
		pgtest.Exec(t, s.alice, make...)
		*said = nil
		pgtest.Exec(t, conn, `DELETE FROM mvscheduler.views WHERE name LIKE '%.x%'`)
		for _, n := range *said {
			require.NotContains(t, n.Message, "does not exist")
		}
	}
}

// Our own words stand behind the query, and are not what is wrong with it.
func TestAQueryThatEndsTooEarlySaysSoInTheUsersWords(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for query, want := range map[string]string{
		`SELECT 1 AS`: `syntax error at end of input`, `SELECT 1 AS a;`: ``, `SELECT 1 AS a; -- done`: `the query of a managed view must be one SELECT`,
		`SELECT 1; SELECT 2`: `the query of a managed view must be one SELECT`, `SELECT 1 AS a WITH DATA`: `the query of a managed view must be one SELECT`,
		`SELECT 1 AS a WITH ties`: `syntax error at or near "ties"`, `SELECT (1`: `syntax error at end of input`, `SELECT 1 -- done`: ``,
	} {
		_, err := s.alice.Exec(t.Context(), `INSERT INTO mvscheduler.views (name, query) VALUES ('v', $1)`, query)
		if want == "" {
			require.NoError(t, err, query)
			pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`)
			continue
		}
		var refusal *pgconn.PgError
		require.ErrorAs(t, err, &refusal, query)
		require.Equal(t, "42601 "+want, refusal.Code+" "+refusal.Message, query)
		require.NotContains(t, refusal.Message, "DATA", query)
	}
}
