package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

type importedRow struct {
	Name    string
	Action  string
	Changes []string
	DryRun  bool `json:"dry_run"`
}

// imports runs import over one text and returns what became of each document.
func imports(t *testing.T, db *pgtest.DB, role, text string, code int, flags ...string) map[string]importedRow {
	t.Helper()
	r := mvscheduler(t, db, role, text, append([]string{"import", "-", "-o", "json"}, flags...)...)
	require.Equal(t, code, r.code, "%s\n%s", r.stdout, r.stderr)
	var rows []importedRow
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &rows), r.stdout)
	byName := map[string]importedRow{}
	for _, row := range rows {
		_, short, _ := strings.Cut(row.Name, ".")
		byName[short] = row
	}
	return byName
}

func TestWhatWasExportedIsImportedIntoAnEmptyCatalogInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'Europe/Berlin'`,
		`CREATE MATERIALIZED VIEW old AS SELECT id FROM sales WHERE id < 10 GROUP BY id`,
		`SELECT mvscheduler.adopt_view('old', cron => '5 4 * * *')`,
		`INSERT INTO mvscheduler.views (name, query, calendar, unique_key, indexes, priority, work_mem, max_size_bytes, enabled)
		 VALUES ('b', E'SELECT id, amount\n  FROM sales', '[{"days": "mon-fri", "at": "06:30"}]', '{id}', '{(amount DESC)}', 1, '64MB', 1234567890123, false)`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('a', E'  SELECT sum(amount) AS "the sum"\n  FROM b -- it''s: "quoted"', 'upstream')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval, retention_period, time_column)
		 VALUES ('late', 'SELECT date_trunc(''hour'', ts) AS hour, count(*) AS n FROM readings GROUP BY 1', NULL, '30 days', 'hour')`,
		`INSERT INTO mvscheduler.source_retention ("table", retention_period, legal_hold) VALUES ('readings', '7 days', true)`)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('b', 'a move: see #12', '2100-01-01 00:00+01'), mvscheduler.pause_view('old'), mvscheduler.pause_view('late', 'it is over', now() - interval '1 second')`)
	exported := mvscheduler(t, s.db, s.owner, "", "export")
	require.Zero(t, exported.code, exported.stderr)
	require.NotContains(t, exported.stdout, "it is over")
	paused := `SELECT string_agg(concat_ws(' ', substring(name FROM '[^.]*$'), paused_at, paused_until, pause_reason), '; ' ORDER BY name) FROM mvscheduler.views WHERE name NOT LIKE '%.late'`
	pauses := ask[string](t, s.alice, paused)
	require.Contains(t, pauses, "2100-01-01 00:00:00+01 a move: see #12; old 20")
	for name, row := range imports(t, s.db, s.owner, exported.stdout, 0, "--dry-run") {
		require.Equal(t, "none", row.Action, "%s: %v", name, row.Changes)
	}
	asJSON := mvscheduler(t, s.db, s.owner, "", "export", "-o", "json")
	require.Equal(t, "none", imports(t, s.db, s.owner, asJSON.stdout, 0)["a"].Action)

	pgtest.Exec(t, s.alice, `DELETE FROM mvscheduler.views`, `DELETE FROM mvscheduler.source_retention`, `SET TimeZone = 'UTC'`)
	tried := imports(t, s.db, s.owner, exported.stdout, 4, "--dry-run")
	require.Equal(t, importedRow{Name: s.owner + ".a", Action: "insert", DryRun: true}, tried["a"])
	require.Equal(t, "adopt", tried["old"].Action)
	require.Equal(t, int64(0), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.views`))
	require.Equal(t, "insert", imports(t, s.db, s.owner, exported.stdout, 0)["b"].Action)
	require.Equal(t, exported.stdout, mvscheduler(t, s.db, s.owner, "", "export").stdout)
	pgtest.Exec(t, s.alice, `SET TimeZone = 'Europe/Berlin'`)
	require.Equal(t, pauses, ask[string](t, s.alice, paused))

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.release_view('old')`, `DROP MATERIALIZED VIEW old`)
	again := imports(t, s.db, s.owner, exported.stdout, 0)
	require.Equal(t, "insert", again["old"].Action, "it cannot be adopted, since it is gone")
	require.Equal(t, "none", imports(t, s.db, s.owner, exported.stdout, 0)["old"].Action)
}

func TestImportChangesWhatDiffersAndNothingElse(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice,
		`INSERT INTO mvscheduler.views (name, query, cron, priority, enabled) VALUES ('v', 'SELECT id FROM sales', '30 2 * * *', 1, false)`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('other', 'SELECT 1 AS a')`,
		`SELECT mvscheduler.pause_view('v', 'a person')`)
	doc := "name: " + s.owner + ".v\nrefresh_interval: 10 minutes\nquery: SELECT id FROM sales WHERE id > 1\n"
	want := []string{"cron '30 2 * * *' -> none", "priority 1 -> 2", "refresh_interval none -> 10 minutes", "another query"}
	require.ElementsMatch(t, want, imports(t, s.db, s.owner, doc, 4, "--dry-run")["v"].Changes)
	before := ask[string](t, s.alice, `SELECT string_agg(v::text, ' ') FROM mvscheduler.views AS v`)
	require.Contains(t, before, "30 2 * * *")
	row := imports(t, s.db, s.owner, doc, 0)["v"]
	require.Equal(t, "update", row.Action)
	require.ElementsMatch(t, want, row.Changes)
	require.Equal(t, "00:10:00 2 f a person", ask[string](t, s.alice,
		`SELECT concat_ws(' ', refresh_interval, cron, priority, enabled, pause_reason) FROM mvscheduler.views WHERE name LIKE '%.v'`))
	require.Equal(t, importedRow{Name: s.owner + ".v", Action: "none"}, imports(t, s.db, s.owner, doc, 0)["v"])
	require.Equal(t, int64(2), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.views`))
	pause := `SELECT coalesce((paused_at IS NOT NULL)::text, '') || coalesce(' ' || extract(year FROM paused_until), '') || coalesce(' ' || pause_reason, '') FROM mvscheduler.views WHERE name LIKE '%.v'`
	for _, c := range []struct{ lines, action, pause string }{
		{"pause_reason: another\n", "update", "true another"},
		{"pause_reason: another\n", "none", "true another"},
		{"paused_until: 2100-02-03 04:05+00\n", "update", "true 2100 another"},
		{"", "none", "true 2100 another"},
		{"paused_at: 2026-01-02 03:04:05+00\n", "update", "true"},
		{"paused_at: null\n", "update", "false"},
		{"pause_reason: again\n", "update", "true again"},
	} {
		require.Equal(t, c.action, imports(t, s.db, s.owner, doc+c.lines, 0)["v"].Action, c.lines)
		require.Equal(t, c.pause, ask[string](t, s.alice, pause), c.lines)
	}

	r := mvscheduler(t, s.db, s.owner, doc, "import", "--dry-run", "-")
	require.Zero(t, r.code)
	require.Contains(t, r.stdout, "as it is")
	require.Contains(t, r.stderr, "nothing was changed")
}

func TestViewsThatWentWithDropCascadeComeBackInOneStep(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('z_base', 'SELECT id, amount FROM sales'), ('m_mid', 'SELECT id, amount FROM z_base'), ('a_top', 'SELECT sum(amount) AS s FROM m_mid')`,
		`SELECT mvscheduler.pause_view('a_top', 'not yet')`)
	startSidecar(t, s.db)
	until(t, s.alice, `SELECT bool_and(freshness = 'fresh' OR activity = 'paused') FROM mvscheduler.status`)
	pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW z_base CASCADE`)
	require.Equal(t, int64(3), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.status WHERE freshness = 'missing'`))
	finding := mvscheduler(t, s.db, s.owner, "", "doctor")
	require.Contains(t, finding.stdout, "mvscheduler export | mvscheduler import -")
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "resume", "m_mid").stderr, "resumed "+s.owner+".m_mid, but it cannot be refreshed")
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "show", "m_mid").stdout, "mvscheduler export | mvscheduler import -")
	reason := ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.m_mid'`)
	require.Contains(t, reason, "mvscheduler export | mvscheduler import - creates it again, SELECT mvscheduler.drop_view('"+s.owner+".m_mid') gives it up", "one advice everywhere")

	rows := imports(t, s.db, s.owner, mvscheduler(t, s.db, s.owner, "", "export").stdout, 0)
	for _, name := range []string{"z_base", "m_mid", "a_top"} {
		require.Equal(t, "recreate", rows[name].Action)
	}
	until(t, s.alice, `SELECT bool_and(freshness = 'fresh' OR activity = 'paused') FROM mvscheduler.status`)
	require.Equal(t, "not yet", ask[string](t, s.alice, `SELECT pause_reason FROM mvscheduler.views WHERE name LIKE '%.a_top'`))

	// A file without the pause leaves it, one with another has its way.
	again := func(pause string) string {
		pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW a_top`)
		require.Equal(t, "recreate", imports(t, s.db, s.owner, "name: "+s.owner+".a_top\nquery: SELECT sum(amount) AS s FROM m_mid\n"+pause, 0)["a_top"].Action)
		return ask[string](t, s.alice, `SELECT concat_ws(' ', paused_until::date, pause_reason) FROM mvscheduler.views WHERE name LIKE '%.a_top'`)
	}
	require.Equal(t, "not yet", again(""))
	require.Equal(t, "2100-02-03", again("paused_until: 2100-02-03 04:05+00\n"))
}

func TestAnIncrementalViewOfWhichNothingIsLeftComesBackByTheSameStep(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly)
	pgtest.Exec(t, s.alice, `DROP VIEW v`)
	exported := mvscheduler(t, s.db, s.owner, "", "export").stdout
	refused := mvscheduler(t, s.db, s.owner, exported, "import", "-")
	require.Contains(t, refused.stderr, "mvscheduler resume "+s.owner+".v", "what it holds may not be had again")

	pgtest.Exec(t, s.alice, `DROP TABLE v__data`)
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`), "mvscheduler export | mvscheduler import - creates it again")
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "show", "v").stdout, "mvscheduler export | mvscheduler import -")
	found, _ := examine(t, s.db, s.owner)
	require.Equal(t, "mvscheduler export | mvscheduler import -", about(found, "view")[0].Fix)
	require.Equal(t, "recreate", imports(t, s.db, s.owner, exported, 0)["v"].Action)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	s.whole(t, "v")
}

func TestImportKeepsGoingPastWhatReadsAPlainViewThatIsGone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	plain := `CREATE VIEW plain AS SELECT sum(amount) AS s FROM base`
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('base', 'SELECT id, amount FROM sales')`, plain,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('a_top', 'SELECT s FROM plain'), ('b_top', 'SELECT s FROM a_top')`, `DROP MATERIALIZED VIEW base CASCADE`)
	exported := mvscheduler(t, s.db, s.owner, "", "export").stdout
	refused := mvscheduler(t, s.db, s.owner, exported, "import", "-")
	require.Equal(t, 1, refused.code)
	require.Contains(t, refused.stderr, "import "+s.owner+".a_top")
	require.Contains(t, refused.stderr, "Nothing was imported")
	missing := `SELECT count(*) FROM mvscheduler.status WHERE freshness = 'missing'`
	require.Equal(t, int64(3), ask[int64](t, s.alice, missing))

	rows := imports(t, s.db, s.owner, exported, 1, "--keep-going")
	require.Len(t, rows, 1)
	require.Equal(t, "recreate", rows["base"].Action)
	require.Equal(t, int64(2), ask[int64](t, s.alice, missing), "the rows of the others are as they were")
	require.Equal(t, int64(3), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.views`))
	pgtest.Exec(t, s.alice, plain)
	require.Equal(t, "recreate", imports(t, s.db, s.owner, exported, 0)["b_top"].Action)
	require.Zero(t, ask[int64](t, s.alice, missing))
}

func TestImportNamesTheViewAndTheFixAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	file := filepath.Join(t.TempDir(), "views.yaml")
	v := s.owner + ".v"
	good := "name: " + s.owner + ".good\nquery: SELECT 1 AS a\n---\n"
	for text, c := range map[string]struct {
		code int
		says []string
	}{
		good + "name: " + v + "\nquery: SELECT nix FROM sales":                                                            {1, []string{"import " + v, `"nix"`, "SELECT nix", "document 2 of " + file, "Nothing was imported"}},
		good + "name: " + v + "\nquery: SELECT FROM FROM":                                                                 {1, []string{"import " + v, "syntax error", "document 2"}},
		good + "name: " + v + "\ncron: nonsense\nquery: SELECT 1 AS a":                                                    {1, []string{"import " + v, "nonsense", "document 2"}},
		"name: " + s.owner + ".a_top\nquery: SELECT * FROM " + v + "\n---\nname: " + v + "\nquery: SELECT * FROM nowhere": {1, []string{"import " + v, "nowhere", "made first"}},
		good + "name: " + v + "\nretension: 1\nquery: SELECT 1 AS a":                                                      {2, []string{v, `"retension"`, "retention_period"}},
		good + "name: v\nquery: SELECT 1 AS a":                                                                            {2, []string{"import v", "write schema.v"}},
		good + "query: SELECT 1 AS a":                                                                                     {2, []string{"document 2", `"name"`}},
		good + good:                                                                                                       {2, []string{"twice", "document 1", "document 2"}},
		good + strings.Replace(good, ".good", `."good"`, 1):                                                               {2, []string{"twice", "document 1", "document 2"}},
		"name: " + v + "\nindexes: [&a [b, b], *a]\nquery: SELECT 1 AS a":                                                 {2, []string{v, "indexes is neither a value nor a list of values"}},
		"name: " + v + "\ncalendar: [[&a [b, b], [*a, [*a]]]]\nquery: SELECT 1 AS a":                                      {2, []string{v, "calendar is neither"}},
		"table: " + s.owner + ".sales\nretention_period: 7 days\n---\nretention_period: 1 day\ntable: '\"" + s.owner + "\".SALES'": {2, []string{"twice"}},
		good + "- 1": {2, []string{"document 2"}},
		"a: b: c":    {2, []string{"not YAML"}},
		"table: nix.nowhere\nretention_period: 7 days": {1, []string{"import nix.nowhere", "does not exist"}},
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		r := mvscheduler(t, s.db, s.owner, "", "import", file)
		require.Equal(t, c.code, r.code, "%s\n%s", text, r.stderr)
		for _, words := range c.says {
			require.Contains(t, r.stderr, words, text)
		}
		require.Equal(t, int64(0), ask[int64](t, s.alice, `SELECT count(*) FROM mvscheduler.views`), text)
	}
	require.Equal(t, 1, mvscheduler(t, s.db, s.owner, "", "import", filepath.Join(t.TempDir(), "none.yaml")).code)
}

func TestImportGivesUpNoBucketsOfAnIncrementalViewThatIsGone(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	s.readings(t, 3)
	s.chain(t)
	exported := mvscheduler(t, s.db, s.owner, "", "export").stdout
	pgtest.Exec(t, s.alice, `DROP VIEW hourly CASCADE`)
	r := mvscheduler(t, s.db, s.owner, exported, "import", "-")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "mvscheduler drop "+s.owner+".hourly")
	require.True(t, ask[bool](t, s.alice, `SELECT to_regclass('hourly__data') IS NOT NULL`))

	// What went with it of the view that reads it is made again as well.
	require.Contains(t, r.stderr, "mvscheduler resume "+s.owner+".hourly")
	for _, view := range []string{"hourly", "daily"} {
		r = mvscheduler(t, s.db, s.owner, "", "resume", s.owner+"."+view)
		require.Zero(t, r.code, r.stderr)
	}
	require.Empty(t, imports(t, s.db, s.owner, exported, 0)["hourly"].Changes)
	startSidecar(t, s.db)
	s.incremented(t, "hourly", "daily")
	s.whole(t, "hourly")
	s.whole(t, "daily")
}

func TestAnImportOfAnotherRolesViewIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	exported := mvscheduler(t, s.db, s.owner, "", "export").stdout
	bob := s.db.User(t, "bob")
	r := mvscheduler(t, s.db, bob, exported, "import", "-")
	require.NotZero(t, r.code)
	require.Contains(t, r.stderr, "permission denied")
	root := imports(t, s.db, "", strings.Replace(exported, "query: ", "priority: 1\nquery: ", 1), 0)
	require.Equal(t, []string{"priority 2 -> 1"}, root["v"].Changes)
	require.Equal(t, s.owner, ask[string](t, s.root, `SELECT owner::text FROM mvscheduler.views`))
}
