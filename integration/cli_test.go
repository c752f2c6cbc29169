package integration

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestEveryCommandTeachesWithExamplesAndItsExitCodes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	help := mvscheduler(t, db, "", "", "--help")
	require.Zero(t, help.code)
	commands := []string{
		"demo", "migrate up", "migrate down", "migrate status", "serve", "grants", "status", "list", "show", "graph", "runs", "next", "plan", "apply",
		"create", "edit", "adopt", "release", "prune", "drop", "pause", "resume", "refresh", "cancel", "health", "doctor", "export", "import", "simulate", "version", "completion",
	}
	for _, command := range commands {
		require.Contains(t, help.stdout, command)
		r := mvscheduler(t, db, "", "", append(strings.Fields(command), "--help")...)
		require.Zero(t, r.code, command)
		require.Contains(t, r.stdout, "Examples:", command)
		require.Contains(t, r.stdout, "Exit codes:", command)
	}
	require.Equal(t, help.stdout, mvscheduler(t, db, "", "").stdout, "without a command there is help")
}

func TestEveryFormatOfEveryCommandThatPrintsData(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE MATERIALIZED VIEW old AS SELECT 1 AS a`, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	startSidecar(t, db)
	until(t, conn, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	for _, command := range []string{"status", "list", "show v", "graph", "graph v", "runs", "next v", "refresh v", "refresh --wait v", "adopt --dry-run old", "adopt old", "prune --dry-run v", "health", "doctor", "export v", "migrate status", "version", "grants"} {
		for _, format := range []string{"json", "csv", "yaml"} {
			r := mvscheduler(t, db, alice, "", append(strings.Fields(command), "-o", format)...)
			require.NotContains(t, r.stderr, "panic", "%s -o %s", command, format)
			switch {
			case command == "export v" && format == "csv":
				require.Equal(t, 2, r.code, command)
			case command == "adopt old": // once
				require.Equal(t, format == "json", r.code == 0, "%s -o %s: %s", command, format, r.stderr)
			default:
				require.Contains(t, []int{0, 5}, r.code, "%s -o %s: %s", command, format, r.stderr)
			}
			if r.code == 0 && format == "json" && command != "grants" {
				require.True(t, json.Valid([]byte(r.stdout)), "%s: %s", command, r.stdout)
			}
		}
	}
	require.Contains(t, mvscheduler(t, db, alice, "", "drop", "-y", "old").stderr, "it stays")
	pgtest.Exec(t, conn, `SELECT a FROM old`)
}

func TestTheLifeOfAViewOnTheCommandLine(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE TABLE sales (day date, amount int)`, `INSERT INTO sales SELECT '2026-01-01'::date + i % 10, i FROM generate_series(1, 100) AS i`)
	s := startSidecar(t, db)
	cli := func(stdin string, args ...string) result { return mvscheduler(t, db, alice, stdin, args...) }
	ok := func(r result) result {
		t.Helper()
		require.Zero(t, r.code, r.stderr)
		return r
	}

	require.Contains(t, ok(cli("", "status")).stderr, "mvscheduler create --help")
	require.Contains(t, ok(cli("SELECT day, sum(amount) AS amount FROM sales GROUP BY day;\n", "create", "daily", "--interval", "10min")).stderr, "created "+alice+".daily")
	until(t, conn, `SELECT last_refresh_at IS NOT NULL FROM mvscheduler.status`) // what is asked for earlier joins the first refresh
	waited := ok(cli("", "refresh", "--wait", "daily"))
	require.Contains(t, waited.stdout, "✓ succeeded")

	var status []map[string]any
	require.NoError(t, json.Unmarshal([]byte(ok(cli("", "status", "-o", "json")).stdout), &status))
	require.Equal(t, alice+".daily", status[0]["name"])
	require.Equal(t, "fresh", status[0]["freshness"])
	require.InDelta(t, 600, status[0]["target_seconds"], 0)
	rows, err := csv.NewReader(strings.NewReader(ok(cli("", "runs", "daily", "-o", "csv")).stdout)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, "id", rows[0][0])
	require.GreaterOrEqual(t, len(rows), 2)
	require.Contains(t, ok(cli("", "runs", "-o", "yaml")).stdout, "state: succeeded")
	require.Contains(t, ok(cli("", "list")).stdout, "every 10 minutes")
	require.Equal(t, alice+".daily\n", ok(cli("", "list", "--names")).stdout)
	shown := ok(cli("", "show", "daily")).stdout
	for _, want := range []string{"✓ fresh", "sum(amount)", "rows           10", "method         concurrent", "Last runs", "search_path " + alice + ", public", "optimize       advise\n"} {
		require.Contains(t, shown, want)
	}

	ok(cli("", "edit", "daily", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"))
	require.Contains(t, ok(cli("", "next", "daily", "-n", "370", "-o", "csv")).stdout, "the clocks went forward by 1 hour on 2027-03-28")
	ok(cli("", "edit", "daily", "-q", "SELECT day, max(amount)::bigint AS amount FROM sales GROUP BY day"))
	ok(cli("", "refresh", "--wait", "daily"))
	require.Equal(t, int64(100), ask[int64](t, conn, `SELECT max(amount) FROM daily`))

	require.Contains(t, ok(cli("", "pause", "daily", "--for", "2h", "--reason", "loading history")).stderr, "(in 2h 00m)")
	require.Contains(t, ok(cli("", "status")).stdout, "loading history")
	require.Contains(t, ok(cli("", "resume", "daily")).stderr, "resumed")
	require.Contains(t, ok(cli("", "edit", "daily", "--rename", "by_day")).stderr, alice+".by_day")

	ok(cli("SELECT count(*) AS days FROM by_day", "create", "days", "--refresh-on", "upstream"))
	require.Contains(t, ok(cli("", "edit", "days", "--cron", "0 6 * * *")).stderr, "edit "+alice+".days --refresh-on schedule", "the clock is not followed")
	require.NotContains(t, ok(cli("", "edit", "days", "--cron", "0 7 * * *", "--refresh-on", "schedule")).stderr, "note:")
	ok(cli("", "drop", "-y", "days"))

	refused := cli("", "drop", "by_day")
	require.Equal(t, 2, refused.code, "nobody can be asked without a terminal")
	require.Contains(t, refused.stderr, "repeat the command with -y")
	pgtest.Exec(t, conn, `CREATE VIEW on_top AS SELECT * FROM by_day`)
	conflict := cli("", "drop", "-y", "by_day")
	require.Equal(t, 6, conflict.code)
	require.Contains(t, conflict.stderr, "on_top")
	pgtest.Exec(t, conn, `DROP VIEW on_top`)
	ok(cli("", "drop", "-y", "by_day"))
	require.Equal(t, "[]\n", ok(cli("", "status", "-o", "json")).stdout)
	require.Zero(t, s.stop())
}

func TestErrorsSayWhatWhyAndWhatToDoWithTheirExitCode(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	pgtest.Exec(t, db.Conn(t, alice), `CREATE TABLE sales (day date, amount int)`, `INSERT INTO mvscheduler.views (name, query) VALUES ('daily', 'SELECT day FROM sales')`)
	stranger := db.Role(t, "stranger")
	tests := []struct {
		name, role, stdin string
		args              []string
		code              int
		want              []string
	}{
		{"a wrong query shows its caret", alice, "SELECT day,\n       amuont\n  FROM sales", []string{"create", "v"}, 1,
			[]string{"SQLSTATE 42703", "LINE 2:        amuont", "\n                 ^", `"sales.amount"`}},
		{"in_window without its schema", alice, "SELECT day FROM sales WHERE in_window(day)", []string{"create", "v"}, 1, []string{"SQLSTATE 42883", "in_window(date) does not exist", "mvscheduler.in_window(column)", "timestamptz, timestamp or date"}},
		{"in_window of no time", alice, "SELECT day FROM sales WHERE mvscheduler.in_window(amount)", []string{"create", "v"}, 1, []string{"SQLSTATE 42883", "mvscheduler.in_window(column)", "timestamptz, timestamp or date"}},
		{"a syntax error at the end", alice, "SELECT day FROM sales GROUP", []string{"create", "v"}, 1, []string{"SQLSTATE 42601", "syntax error"}},
		{"a stacked statement", alice, "SELECT 1; DROP TABLE sales", []string{"create", "v"}, 1, []string{"SQLSTATE 42601"}},
		{"an unknown view", alice, "", []string{"show", "nix"}, 3, []string{"managed view nix does not exist", "mvscheduler list"}},
		{"a view of another schema", alice, "", []string{"refresh", "public.daily"}, 3, []string{"managed view public.daily does not exist", "Did you mean " + alice + ".daily?"}},
		{"an unknown run", alice, "", []string{"cancel", "4711"}, 3, []string{"run 4711 does not exist"}},
		{"a typo in a command", alice, "", []string{"statsu"}, 2, []string{`did you mean "status"`}},
		{"a typo in a flag", alice, "", []string{"status", "--chekc"}, 2, []string{"--check", "mvscheduler status --help"}},
		{"no query", alice, "", []string{"create", "v"}, 2, []string{"no query", "--query"}},
		{"a wrong interval", alice, "SELECT 1 AS a", []string{"create", "v", "--interval", "1 month"}, 1, []string{"months and years have no fixed length"}},
		{"a wrong zone", alice, "SELECT 1 AS a", []string{"create", "v", "--timezone", "europe/berlin"}, 1, []string{"Europe/Berlin"}},
		{"a sample of no buckets", alice, "", []string{"verify", "v", "--sample", "0"}, 2, []string{"--sample is at least 1"}},
		{"nothing to edit", alice, "", []string{"edit", "v"}, 2, []string{"nothing to change"}},
		{"no right", stranger, "SELECT 1 AS a", []string{"create", "public.v"}, 1, []string{"SQLSTATE 42501", "GRANT mvscheduler_user TO"}},
		{"a column of another method", alice, "SELECT day FROM sales", []string{"create", "v", "--bucket-width", "1 day"}, 1, []string{"bucket_width", `is for method "incremental" only`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := mvscheduler(t, db, tt.role, tt.stdin, tt.args...)
			require.Equal(t, tt.code, r.code, r.stderr)
			require.Empty(t, r.stdout, "data only")
			for _, want := range tt.want {
				require.Contains(t, r.stderr, want)
			}
		})
	}
}

func TestAServerThatDoesNotAnswerIsNamedWithTheWayOut(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	r := mvscheduler(t, db, "", "", "status", "--database-url", "postgres://nobody@127.0.0.1:1/nix?connect_timeout=2")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "DATABASE_URL")
	require.Contains(t, r.stderr, "mvscheduler demo")
	for _, url := range []string{"postgres://bob:q7:z9/q7@host/db", "postgres://bob:p@q7:z9/q7`: x@host:bad/db", "host=x password=x q7 z9", "host=x password='q7 z9"} {
		r = mvscheduler(t, db, "", "", "status", "--database-url", url)
		require.Equal(t, 2, r.code)
		require.Contains(t, r.stderr, "the URL of the database cannot be read")
		require.NotRegexp(t, "q7|z9", r.stderr, "no part of a password")
	}
	empty := pgtest.NewEmpty(t)
	r = mvscheduler(t, empty, "", "", "status")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "mvscheduler migrate status")
}

func TestStatusCheckTellsAMonitorWhenAPersonHasToLook(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.User(t, "alice")
	conn := db.Conn(t, alice)
	pgtest.Exec(t, conn, `CREATE TABLE sales (amount int)`, `INSERT INTO sales VALUES (0)`,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('good', 'SELECT 1 AS a'), ('bad', 'SELECT 1 / amount AS a FROM sales')`)
	startSidecar(t, db)
	until(t, conn, `SELECT bool_and(consecutive_failures > 0 OR last_refresh_at IS NOT NULL) FROM mvscheduler.status`)
	r := mvscheduler(t, db, alice, "", "status", "--check")
	require.Equal(t, 5, r.code)
	require.Contains(t, r.stderr, alice+".bad")
	require.NotContains(t, r.stderr, alice+".good")
	require.Contains(t, r.stdout, "22012")
}

func TestGrantsPrintWhatIsMissingAndRunningThemMakesItWork(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := db.Role(t, "app_owner")
	db.Exec(t, "CREATE SCHEMA "+owner+" AUTHORIZATION "+owner)
	login := owner + "_sidecar"
	t.Cleanup(func() { db.Exec(t, "DROP ROLE IF EXISTS "+login) })
	for range 2 { // running it twice is harmless
		for _, args := range [][]string{{"grants", "--login", login}, {"grants", "--for", owner, "--login", login}} {
			script := mvscheduler(t, db, "", "", args...)
			require.Zero(t, script.code, script.stderr)
			db.Exec(t, script.stdout)
		}
	}
	require.Contains(t, mvscheduler(t, db, "", "", "grants", "--for", owner).stdout, "-- in force: GRANT mvscheduler_user TO")
	startSidecarAs(t, db, login)
	conn := db.Conn(t, owner)
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`)
	until(t, conn, `SELECT freshness = 'fresh' FROM mvscheduler.status`)
	require.Equal(t, 3, mvscheduler(t, db, "", "", "grants", "--for", "nobody_of_that_name").code)
}

func TestMigrateStatusKnowsBothVersionsAndPrintsTheSQLForADBA(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmpty(t)
	r := mvscheduler(t, db, "", "", "migrate", "status")
	require.Equal(t, 5, r.code)
	require.Contains(t, r.stderr, "mvscheduler migrate up")
	require.Contains(t, mvscheduler(t, db, "", "", "migrate", "up", "--print-sql").stdout, "CREATE TABLE mvscheduler.views")
	require.Zero(t, mvscheduler(t, db, "", "", "migrate", "up").code)
	again := mvscheduler(t, db, "", "", "migrate", "up")
	require.Contains(t, again.stderr, "nothing was to be done")
	require.Zero(t, mvscheduler(t, db, "", "", "migrate", "status", "-o", "json").code)
	require.Equal(t, 2, mvscheduler(t, db, "", "", "migrate", "down").code, "it asks first")
	require.Zero(t, mvscheduler(t, db, "", "", "migrate", "down", "-y").code)
	require.Equal(t, 5, mvscheduler(t, db, "", "", "migrate", "status").code)
}

func TestCompletionScriptsComplete(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := mvscheduler(t, db, "", "", "completion", shell)
		require.Zero(t, r.code)
		require.Contains(t, r.stdout, "refresh", shell)
		if path, err := exec.LookPath(shell); err == nil {
			check := exec.CommandContext(t.Context(), path, "-n")
			check.Stdin = strings.NewReader(r.stdout)
			out, err := check.CombinedOutput()
			require.NoError(t, err, "%s: %s", shell, out)
		}
	}
	script := mvscheduler(t, db, "", "", "completion", "bash").stdout
	out := shell(t, fmt.Sprintf("set -e\n%s\nCOMP_WORDS=(mvscheduler re); COMP_CWORD=1; COMP_LINE='mvscheduler re'; COMP_POINT=14\n"+
		"f=$(complete -p mvscheduler | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); $f; echo ${COMPREPLY[@]}", script))
	require.Contains(t, out, "refresh")
	require.Contains(t, out, "resume")
}
