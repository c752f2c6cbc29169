package integration

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// with is the program with further environment variables.
func with(t testing.TB, url string, env []string, args ...string) result {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(append(os.Environ(), "DATABASE_URL="+url, "TZ=UTC", "NO_COLOR=1"), env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

func TestEditSaysWhatItChangedAndWhatCameFromTheEnvironment(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`, "refresh_interval", nil, "cron", "*/5 * * * *")
	name, db := s.owner+".v", s.db.URLAs(s.owner)
	edited := with(t, db, []string{"MVSCHEDULER_INTERVAL=1min"}, "edit", "v", "--priority", "3")
	require.Zero(t, edited.code, edited.stderr)
	require.Contains(t, edited.stderr, "refresh_interval from MVSCHEDULER_INTERVAL")
	require.Contains(t, edited.stderr, "changed "+name+": ")
	for _, change := range []string{"cron '*/5 * * * *' -> none", "refresh_interval none -> 1 minute", "priority 2 -> 3"} {
		require.Contains(t, edited.stderr, change)
	}
	typed := with(t, db, []string{"MVSCHEDULER_INTERVAL=1min"}, "edit", "v", "--interval", "90 s", "-q", "SELECT id FROM sales WHERE true", "--max-size", "10MB")
	require.NotContains(t, typed.stderr, "from MVSCHEDULER")
	require.Contains(t, typed.stderr, "another query, refresh_interval 1 minute -> 90 seconds, max_size_bytes none -> 10.0 MB")
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "edit", "v", "--priority", "3").stderr, "nothing was changed: "+name+" has these values already")
	require.Contains(t, with(t, db, []string{"MVSCHEDULER_CRON=0 6 * * *"}, "create", "w", "-q", "SELECT 1 AS a").stderr, "cron from MVSCHEDULER_CRON")
	pgtest.Exec(t, s.alice, `CREATE MATERIALIZED VIEW old AS SELECT 1 AS a`)
	require.Contains(t, with(t, db, []string{"MVSCHEDULER_VIEW_TIMEZONE=UTC"}, "adopt", "old").stderr, "timezone from MVSCHEDULER_VIEW_TIMEZONE")
}

func TestWhatWasWrittenInTheEditorOutlivesAnError(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`)
	tmp, db := t.TempDir(), s.db.URLAs(s.owner)
	editor := func(script string) []string { return []string{"TMPDIR=" + tmp, "VISUAL=f() { " + script + "; }; f"} }
	left := func() []string {
		files, err := filepath.Glob(tmp + "/*.sql")
		require.NoError(t, err)
		return files
	}
	failed := with(t, db, editor(`echo 'SELECT ID2 FROM sales' > "$1"`), "edit", "v", "--editor")
	require.Equal(t, 1, failed.code)
	require.Len(t, left(), 1)
	require.Contains(t, failed.stderr, "Your text is kept: mend it in "+left()[0]+", then: mvscheduler edit v -f "+left()[0])
	text, err := os.ReadFile(left()[0])
	require.NoError(t, err)
	require.Equal(t, "SELECT ID2 FROM sales\n", string(text))
	require.NoError(t, os.Remove(left()[0]))

	crashed := with(t, db, editor(`echo 'SELECT 1 AS id' > "$1"; return 3`), "edit", "v", "--editor")
	require.Contains(t, crashed.stderr, "Your text is kept")
	require.NoError(t, os.Remove(left()[0]))
	require.Contains(t, with(t, db, editor(`true`), "edit", "v", "--editor").stderr, "nothing was changed")
	require.Zero(t, with(t, db, editor(`echo 'SELECT id FROM sales WHERE true' > "$1"`), "edit", "v", "--editor").code)
	require.Contains(t, with(t, db, editor(`: > "$1"`), "edit", "v", "--editor").stderr, "the query is empty")
	require.Empty(t, left())
}

func TestAPauseOfEveryViewIsSeenWhereverPeopleLook(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`, "refresh_interval", nil, "cron", "0 * * * *", "timezone", "Etc/UTC")
	admin := func(args ...string) string {
		r := mvscheduler(t, s.db, "", "", args...)
		require.Zero(t, r.code, r.stderr)
		return r.stderr
	}
	owner := func(args ...string) result { return mvscheduler(t, s.db, s.owner, "", args...) }
	require.NotContains(t, owner("status").stderr, "paused")
	require.Contains(t, admin("resume", "--all"), "nothing was to be done")
	first := admin("pause", "--all", "--from", "2099-01-02 01:00", "--until", "2099-01-02 03:00", "--reason", "upgrade")
	require.NotContains(t, first, "instead of")
	const window = "from 2099-01-02 01:00:00 UTC"
	require.Contains(t, owner("status").stderr, "every view will be paused "+window)
	require.Contains(t, owner("status").stderr, ": upgrade")
	require.Empty(t, owner("status", "-o", "json").stderr)
	require.Contains(t, owner("next", "v").stderr, "every view will be paused "+window)
	found, _ := examine(t, s.db, s.owner)
	require.Contains(t, about(found, "pause")[0].What, "will be paused from 2099-01-02")
	require.Contains(t, admin("pause", "--all", "--from", "2099-02-02 01:00"), "instead of the pause "+window)
	require.Contains(t, admin("resume", "--all"), "cancelled the pause of every view from 2099-02-02")
	require.Regexp(t, `from 2099-03-02 01:00:00 .* until 2099-03-02 03:00:00 `, admin("pause", "--all", "--from", "2099-03-02 01:00", "--for", "2h"), "from then on, not from now")
	require.Contains(t, admin("resume", "--all"), "cancelled the pause of every view from 2099-03-02")

	require.NotContains(t, admin("pause", "--all", "--for", "150 min"), "instead of")
	require.Contains(t, owner("status").stderr, "every view is paused from")
	next := owner("next", "v", "-n", "3")
	require.NotContains(t, next.stderr, "nothing runs until")
	end := ask[string](t, s.root, `SELECT to_char(date_bin('1 hour', paused_until, 'epoch') + interval '1 hour', 'YYYY-MM-DD HH24:MI:SS') FROM mvscheduler.settings`)
	slots := strings.Split(next.stdout, "\n")
	require.Contains(t, slots[0], "IN Etc/UTC", "the zone as it is spelled")
	require.Contains(t, slots[1], end)
	require.Contains(t, slots[1], "every view is paused until")
	require.NotContains(t, slots[2], "paused")
	require.Contains(t, owner("show", "v").stdout, "mvscheduler resume --all")
	require.Contains(t, admin("resume", "--all"), "ended the pause from")

	require.Zero(t, owner("pause", "v", "--for", "150 min").code)
	next = owner("next", "v", "-n", "1")
	require.Contains(t, next.stderr, "the view is paused until")
	require.NotContains(t, next.stderr, "nothing runs until")
	require.Contains(t, next.stdout, end)
	require.Zero(t, owner("pause", "v").code)
	require.Contains(t, owner("next", "v", "-n", "1").stderr, "nothing runs until: mvscheduler resume "+s.owner+".v")
}

func TestHintsFitTheError(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`)
	for _, c := range []struct {
		args string
		want []string
		not  string
	}{
		{"adopt sales", []string{"is not a materialized view", "do:  Only materialized views can be adopted"}, ""},
		{"edit v --interval abc", []string{"do:  Write an interval as"}, ""},
		{"edit v --max-size huge", []string{"do:  Write a size with its unit"}, ""},
		{"edit v --unique-key nope", []string{"do:  --unique-key and --index name columns that the query returns"}, ""},
		{"edit v --min-interval 1h --max-interval 10min", []string{"the shortest interval is longer than the longest", "do:  Give intervals above zero, the shortest no longer than the longest."}, ""},
		{"recommend report --since 0", []string{"--since must be longer than zero"}, "sampled"},
		{"recommend report --since 100000000years", []string{"--since \"100000000years\" is longer than the server's calendar: write for example"}, "SQLSTATE"},
		{"recommend report --since 9e99years", []string{"--since \"9e99years\" is"}, "SQLSTATE"},
		{"recommend report --since soon", []string{"--since \"soon\" is no interval: write for example"}, "SQLSTATE"},
		{"recommend snooze 1 --for 100000000years", []string{"--for \"100000000years\" is longer than the server's calendar"}, "SQLSTATE"},
		{"runs --since 9e99years", []string{"--since \"9e99years\" is"}, "SQLSTATE"},
		{"pause v --for 100000000years", []string{"--for \"100000000years\" is longer than the server's calendar"}, "SQLSTATE"},
		{"simulate --view v --since 0", []string{"--since: must be longer than zero"}, "sampled"},
		{"simulate --view v --target 0s", []string{"--target: must be longer than zero; leave it out to have the default"}, "sampled"},
		{"list --json", []string{"do: use -o json"}, ""},
		{"cancel abc", []string{"is no number of a run: mvscheduler runs lists them"}, "64 bit"},
		{"serve --workers 0", []string{"--workers must be 1 to 200"}, ""},
		{"health --listen 127.0.0.1:1", []string{"no sidecar answers", "do:  Start it (mvscheduler serve)"}, ""},
	} {
		r := mvscheduler(t, s.db, s.owner, "", strings.Fields(c.args)...)
		require.NotZero(t, r.code, c.args)
		for _, want := range c.want {
			require.Contains(t, r.stderr, want, c.args)
		}
		if c.not != "" {
			require.NotContains(t, r.stderr, c.not, c.args)
		}
	}
	stranger := s.db.Role(t, "stranger")
	for _, args := range []string{"recommend list", "recommend show 1", "recommend accept 1", "recommend report"} {
		r := mvscheduler(t, s.db, stranger, "", strings.Fields(args)...)
		require.Regexp(t, "permission denied for view (recommendations|status)", r.stderr, args) // which is looked at first the version decides
		require.Contains(t, r.stderr, "do:  Ask a DBA for: GRANT mvscheduler_user TO", args)
	}
	for args, want := range map[string]string{
		"migrate status": "do:  The version is for administrators", "migrate down -y": "do:  Connect as a superuser, or as a member of mvscheduler_owner.",
	} {
		r := mvscheduler(t, s.db, stranger, "", strings.Fields(args)...)
		require.Contains(t, r.stderr, "permission denied for table schema_migrations", args)
		require.Contains(t, r.stderr, want)
		require.NotContains(t, r.stderr, "GRANT mvscheduler_user", args)
	}
	empty := pgtest.NewEmpty(t)
	up := mvscheduler(t, empty, empty.Role(t, "nobody"), "", "migrate", "up")
	require.Contains(t, up.stderr, "SQLSTATE 42501")
	require.NotContains(t, up.stderr, "GRANT mvscheduler_user")
}

// By TCP pgx asks for TLS first: what the server answered without it is the reason.
func TestAServerWithoutTLSIsToldApartFromOneThatIsAway(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	db := pgtest.Dedicated(t, map[string]string{"listen_addresses": "127.0.0.1", "port": strconv.Itoa(port)})
	byTCP := func(mode string) string {
		u, err := url.Parse(db.URLAs("nobody_of_that_name"))
		require.NoError(t, err)
		u.Host, u.RawQuery = "127.0.0.1:"+strconv.Itoa(port), "sslmode="+mode
		return u.String()
	}
	required := with(t, byTCP("require"), nil, "status")
	require.Contains(t, required.stderr, "The server runs and has no TLS")
	require.NotContains(t, required.stderr, "Check that the server runs")
	answered := with(t, byTCP("prefer"), nil, "status")
	require.Regexp(t, `role "nobody_of_that_name" does not exist|no pg_hba.conf entry`, answered.stderr)
	require.NotContains(t, answered.stderr, "tls error")
}

func TestADemoWhosePortIsTakenSaysSoBeforeItStarts(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	r := with(t, "", nil, "demo", "--listen", listener.Addr().String())
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "choose another address with --listen")
	require.NotContains(t, r.stderr, "PostgreSQL")
}

func TestWhoWaitsForARefreshIsToldOfEachTryThatFailed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT 1 / amount AS n FROM sales`, "max_attempts", 3, "refresh_interval", nil, "refresh_on", "manual")
	startSidecar(t, s.db)
	pgtest.Exec(t, s.alice, `INSERT INTO sales (id, amount) VALUES (1000, 0)`)
	r := mvscheduler(t, s.db, s.owner, "", "refresh", "--wait", "v")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `attempt 1 failed: division by zero \(SQLSTATE 22012\); next try in [0-9]+s`, r.stderr)
	require.Regexp(t, `attempt 2 failed: division by zero \(SQLSTATE 22012\); next try in [0-9]+s`, r.stderr)
	require.NotContains(t, r.stderr, "attempt 3 failed: ")
	require.Len(t, regexp.MustCompile(`attempt 1 failed`).FindAllString(r.stderr, -1), 1, r.stderr)
}

func TestReleaseSaysThatThePlainViewStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id FROM sales`, "refresh_interval", nil, "refresh_on", "manual")
	pgtest.Exec(t, s.alice, `CREATE MATERIALIZED VIEW old AS SELECT 1 AS id`, `SELECT mvscheduler.adopt_view('old')`)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "release", "v").stderr, s.owner+".v__query stays too")
	require.NotContains(t, mvscheduler(t, s.db, s.owner, "", "release", "old").stderr, "__query")
}

func TestAdoptNamesTheClockAsListDoes(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE MATERIALIZED VIEW below AS SELECT 1 AS a`, `CREATE MATERIALIZED VIEW above AS SELECT a FROM below`)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"below", "--interval", "30s"}, "every 30 seconds"},
		{[]string{"above", "--refresh-on", "upstream"}, "after " + s.owner + ".below"},
	} {
		out := mvscheduler(t, s.db, s.owner, "", append([]string{"adopt"}, c.args...)...)
		require.Zero(t, out.code, out.stderr)
		require.Contains(t, out.stdout, c.want)
		require.Contains(t, mvscheduler(t, s.db, s.owner, "", "list").stdout, c.want)
	}
}

func TestADryRunTellsWhatALegalHoldKeeps(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.readings(t, 6)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, legal_hold) VALUES ('readings', '2 days', true)`)
	dry := mvscheduler(t, s.db, s.owner, "", "prune", "readings", "--dry-run")
	require.Zero(t, dry.code, dry.stderr)
	require.NotContains(t, dry.stdout, "detach")
	require.Regexp(t, `without the legal hold would be put aside: [3-5] partitions`, dry.stderr)
	done := mvscheduler(t, s.db, s.owner, "", "prune", "readings", "--wait") // there is nothing to wait for
	require.Zero(t, done.code, done.stderr)
	require.Regexp(t, `nothing leaves: there is a legal hold\nwithout the legal hold would be put aside: [3-5] partitions`, done.stderr)

	s.incremental(t, "waited", `SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM readings WHERE mvscheduler.in_window(ts) GROUP BY 1`, "refresh_on", "manual")
	dry = mvscheduler(t, s.db, s.owner, "", "prune", "readings", "--dry-run")
	require.Zero(t, dry.code, dry.stderr)
	require.Regexp(t, `(?s)there is a legal hold on.*without that:.*waited`, dry.stdout)
	require.NotContains(t, dry.stderr, "would be put aside")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET legal_hold = false`)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "prune", "readings").stderr, "nothing leaves now")
}

func TestASecondPauseKeepsTheReasonOfTheFirstOrSaysWhatItReplaces(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_interval", "1 day")
	pause := func(args ...string) string {
		r := mvscheduler(t, s.db, s.owner, "", append([]string{"pause", "v", "--timezone", "UTC"}, args...)...)
		require.Zero(t, r.code, r.stderr)
		return r.stderr
	}
	shown := func() string {
		return ask[string](t, s.alice, `SELECT concat_ws(' ', paused_at, pause_reason, paused_until) FROM mvscheduler.views`)
	}
	require.NotContains(t, pause("--reason", "loading history"), "instead of")
	first := ask[string](t, s.alice, `SELECT paused_at || ' loading history' FROM mvscheduler.views`)
	require.Contains(t, pause(), "it was paused already")
	require.Equal(t, first, shown())
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view('v', until => '2100-01-01 00:00+00')`)
	require.Contains(t, shown(), first+" 2100-01-01")
	require.Regexp(t, `instead of the pause from .* until 2100-01-01 00:00:00 .*: loading history`, pause("--reason", "upgrade"))
	require.Regexp(t, ` upgrade$`, shown())
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET paused_until = now() - interval '1 minute'`) // over
	require.NotRegexp(t, "instead of|already", pause())
	require.NotContains(t, shown(), "upgrade")
	pause("--reason", "") // none
	require.True(t, ask[bool](t, s.alice, `SELECT pause_reason IS NULL FROM mvscheduler.views`))
	require.Equal(t, "paused", ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status`))
}

func TestPruneAndRestoreSayOfATableWhatWouldLetItLeave(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE whole (ts timestamptz)`, `CREATE TABLE parts (ts timestamptz) PARTITION BY RANGE (ts)`)
	for _, command := range []string{"prune", "restore"} {
		require.Contains(t, mvscheduler(t, s.db, s.owner, "", command, "whole").stderr, "table whole is not partitioned")
		require.Contains(t, mvscheduler(t, s.db, s.owner, "", command, "parts").stderr, `INSERT INTO mvscheduler.source_retention ("table", retention_period, legal_hold) VALUES ('parts', '90 days', true), which lets nothing go yet`)
		require.Contains(t, mvscheduler(t, s.db, s.owner, "", command, "none").stderr, `managed view none does not exist`)
	}
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period, legal_hold) VALUES ('parts', '90 days', true)`)
	for _, name := range []string{"parts", s.owner + ".parts"} {
		for _, command := range []string{"show", "refresh", "pause", "verify", "drop"} {
			r := mvscheduler(t, s.db, s.owner, "", command, name)
			require.Equal(t, 3, r.code, command)
			require.Contains(t, r.stderr, "'"+name+"' is no managed view: it is a table of mvscheduler.source_retention", command)
			require.Contains(t, r.stderr, "mvscheduler prune "+name+" --dry-run", command)
			require.NotContains(t, r.stderr, "List the views", command)
		}
	}
	require.Contains(t, says(t, s.alice, "42809", `SELECT mvscheduler.refresh_view('parts')`), "mvscheduler prune parts --dry-run")
	says(t, s.root, "42P01", `SELECT mvscheduler.refresh_view('parts')`) // not in his search_path
	require.Contains(t, mvscheduler(t, s.db, s.db.User(t, "mallory"), "", "show", s.owner+".parts").stderr, "does not exist")
}
