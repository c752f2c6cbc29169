package integration

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestNoErrorThatAFunctionRaisesStopsTheOthersOrIsTriedHotly(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	a.victim()
	a.as(`CREATE FUNCTION mallory.fail(state text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = state; END $$`,
		`CREATE FUNCTION mallory.die() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('transaction_timeout', '1ms', true), pg_sleep(1); RETURN 1; END $$`)
	codes := []string{"57P01", "57P02", "57P03", "57P05", "57014", "40001", "40P01", "55P03", "53300", "53100", "53200", "XX000", "XX001", "08006", "08000", "25P03", "25P04", "25006", "42501", "42P01", "0A000", "55000", "22012", "P0001", "00001", "ZZZZZ"}
	for _, code := range codes {
		a.as(`INSERT INTO mvscheduler.views (name, query, refresh_interval, max_attempts) VALUES ('mallory."` + code + `"', 'SELECT mallory.fail(''` + code + `'') AS a', '1 second', 100)`)
	}
	if a.db.Version() >= 170000 { // the only way to a FATAL
		a.as(`INSERT INTO mvscheduler.views (name, query, refresh_interval, max_attempts) VALUES ('mallory."fatal"', 'SELECT mallory.die() AS a', '1 second', 100)`)
	}
	began := time.Now()
	sidecar := startSidecar(t, a.db)
	a.staysFresh(8)
	until(t, a.m, `SELECT bool_and(attempts > 0) FROM mvscheduler.runs WHERE state <> 'skipped'`)
	require.Zero(t, ask[int](t, a.root, `SELECT count(*)::int FROM mvscheduler.run AS r JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.watched' AND r.state = 'failed'`))
	require.Zero(t, sidecar.stop())
	seconds := time.Since(began).Seconds()
	refreshes := map[string]int{}
	for _, line := range a.db.Log(t) {
		if m := regexp.MustCompile(`REFRESH MATERIALIZED VIEW "mallory_[^"]*"."([^"]+)"`).FindStringSubmatch(line.Message); m != nil && strings.HasPrefix(line.Message, "LOG:") {
			refreshes[m[1]]++
		}
	}
	for view, n := range refreshes {
		if view == "fatal" {
			require.Less(t, n, 2+int(seconds/2), "each costs a connection")
		}
		require.Less(t, n, 4+int(seconds*1.3), "%s in %.0f s", view, seconds)
	}
	require.Len(t, refreshes, ask[int](t, a.m, `SELECT count(*)::int FROM mvscheduler.views`))
}

func TestHugeMessagesDoNotFillTheSidecarsMemory(t *testing.T) {
	t.Parallel()
	heavy(t)
	a := arm(t, pgtest.Dedicated(t, map[string]string{"log_min_messages": "panic", "log_min_error_statement": "panic", "log_statement": "none"}))
	a.victim()
	const megabytes = 300
	for name, body := range map[string]string{
		"notice":  fmt.Sprintf(`PERFORM set_config('client_min_messages', 'notice', true); RAISE NOTICE '%%', repeat('x', %d * 1000000);`, megabytes),
		"notices": `PERFORM set_config('client_min_messages', 'debug5', true); FOR i IN 1..300 LOOP RAISE NOTICE '%', repeat('x', 900000); END LOOP;`,
		"error":   fmt.Sprintf(`RAISE EXCEPTION '%%', repeat('x', %d * 1000000);`, megabytes),
		"detail":  `RAISE EXCEPTION 'short' USING DETAIL = repeat('y', 900000), HINT = repeat(E'\x1b[31m', 10000);`,
		"latin":   `PERFORM set_config('client_encoding', 'LATIN1', true); RAISE EXCEPTION 'a%', repeat('é', 1000);`,
		"ok":      `NULL;`,
	} {
		a.as(`CREATE FUNCTION mallory.say_`+name+`() RETURNS int LANGUAGE plpgsql AS $$ BEGIN `+body+` RETURN 1; END $$`,
			`INSERT INTO mvscheduler.views (name, query, refresh_interval, max_attempts) VALUES ('mallory.say_`+name+`', 'SELECT mallory.say_`+name+`() AS a', '1 second', 3)`)
	}
	sidecar := startSidecar(t, a.db)
	until(t, a.m, `SELECT count(*) = 4 FROM mvscheduler.status WHERE consecutive_failures > 0`)
	a.staysFresh(2)
	require.LessOrEqual(t, ask[int](t, a.m, `SELECT max(octet_length(last_error)) FROM mvscheduler.status`), 8<<10)
	require.Zero(t, ask[int](t, a.m, `SELECT count(*)::int FROM mvscheduler.status WHERE last_error ~ '[\x01-\x1f]'`))
	require.Less(t, peakMemory(t, sidecar), 200<<20)
	for _, line := range strings.Split(sidecar.log.String(), "\n") {
		require.Less(t, len(line), 32<<10, "a line of the log")
	}
}

// peakMemory of a sidecar in bytes.
func peakMemory(t testing.TB, s *sidecar) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, m)
	kilobytes, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return kilobytes << 10
}

func TestAFunctionThatSwallowsCancelsIsTerminated(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	a.victim()
	a.as(`CREATE FUNCTION mallory.stubborn() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
	          PERFORM set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true);
	          LOOP BEGIN PERFORM pg_sleep(3600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$`)
	a.manual(a.m, "mallory.cancelled", "SELECT mallory.stubborn() AS a")
	a.manual(a.m, "mallory.timed_out", "SELECT mallory.stubborn() AS a")
	a.as(`UPDATE mvscheduler.views SET statement_timeout = '100 ms' WHERE name = 'mallory.timed_out'`)
	sidecar := startSidecar(t, a.db)
	cancelled, timedOut := ask[int64](t, a.m, `SELECT mvscheduler.refresh_view($1)`, a.sql("mallory.cancelled")), ask[int64](t, a.m, `SELECT mvscheduler.refresh_view($1)`, a.sql("mallory.timed_out"))
	until(t, a.m, `SELECT count(*) = 2 FROM mvscheduler.attempts WHERE outcome = 'running'`)
	a.as(fmt.Sprintf(`SELECT mvscheduler.cancel_run(%d)`, cancelled))
	state, _ := a.end(cancelled)
	require.Equal(t, "cancelled", state)
	a.staysFresh(3)
	state, sqlstate := a.end(timedOut) // statement_timeout and half a minute
	require.Equal(t, []string{"failed", "57014"}, []string{state, sqlstate})
	until(t, a.root, `SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = $1 AND application_name = 'mvscheduler run' AND state = 'active'`, sidecar.role)
	a.staysFresh(2)
}

func TestARefreshLeavesNothingBehindOnItsConnection(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	alice := a.db.Conn(t, a.alice)
	a.as(`CREATE FUNCTION mallory.litter(fails boolean) RETURNS int LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'litter'; s record; BEGIN
	          OPEN c FOR SELECT 1;
	          PERFORM pg_advisory_lock(4711), pg_advisory_lock_shared(4712);
	          FOR s IN SELECT * FROM (VALUES ('search_path', 'mallory'), ('TimeZone', 'Asia/Tokyo'), ('DateStyle', 'German'), ('IntervalStyle', 'sql_standard'), ('work_mem', '1GB'),
	              ('statement_timeout', '1'), ('lock_timeout', '1'), ('idle_in_transaction_session_timeout', '1'), ('extra_float_digits', '-15'), ('bytea_output', 'escape'),
	              ('app.tenant', 'spoofed'), ('default_transaction_read_only', 'on'), ('enable_seqscan', 'off'), ('client_min_messages', 'debug5'), ('application_name', 'innocent'),
	              ('synchronous_commit', 'off'), ('session_replication_role', 'replica'), ('log_statement', 'none'), ('row_security', 'off'), ('client_encoding', 'LATIN1')) AS v(name, value) LOOP
	              BEGIN PERFORM set_config(s.name, s.value, false); EXCEPTION WHEN OTHERS THEN NULL; END;
	          END LOOP;
	          PERFORM setseed(0.5);
	          IF fails THEN RAISE EXCEPTION 'done'; END IF; RETURN 1; END $$`)
	a.manual(a.m, "mallory.litter", "SELECT mallory.litter(false) AS a")
	a.manual(a.m, "mallory.litter_and_fail", "SELECT mallory.litter(true) AS a")
	a.manual(alice, "alice.seen", `SELECT (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name NOT LIKE 'transaction%' AND name NOT LIKE 'plpgsql.%') AS settings, coalesce(current_setting('app.tenant', true), '') AS tenant,
	    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory') AS locks, (SELECT count(*) FROM pg_cursors WHERE name <> '') AS cursors, pg_backend_pid() AS pid`)
	startSidecar(t, a.db, "--workers", "1")
	refreshed(t, alice, a.sql("alice.seen"))
	const seen = `SELECT string_agg(key || '=' || value, E'\n' ORDER BY key) || ROW(tenant, locks, cursors)::text FROM alice.seen, jsonb_each_text(settings) GROUP BY tenant, locks, cursors`
	before, pid := ask[string](t, alice, a.sql(seen)), ask[int](t, alice, a.sql(`SELECT pid FROM alice.seen`))
	for _, v := range []string{"litter", "litter_and_fail"} {
		a.ended(a.m, "mallory."+v)
		refreshed(t, alice, a.sql("alice.seen"))
		require.Equal(t, pid, ask[int](t, alice, a.sql(`SELECT pid FROM alice.seen`)), "the same session")
		require.Equal(t, before, ask[string](t, alice, a.sql(seen)), v)
	}
}

func TestAHogOfTemporaryFilesIsStoppedBySettingsOfTheSidecarsRole(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	a.victim()
	a.manual(a.m, "mallory.hog", "SELECT count(DISTINCT repeat(g::text, 50)) AS id FROM generate_series(1, 300000) AS g")
	worker := a.db.Worker(t)
	a.db.Exec(t, "ALTER ROLE "+worker+" SET temp_file_limit = '1MB'")
	startSidecarAs(t, a.db, worker)
	state, sqlstate := a.ended(a.m, "mallory.hog")
	require.Equal(t, []string{"failed", "53400"}, []string{state, sqlstate})
	a.staysFresh(2)
}

func TestBigQueriesAndOddValuesDoNotStopTheOthers(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	a.victim()
	startSidecar(t, a.db)
	var columns, values []string
	for i := range 1600 {
		columns = append(columns, fmt.Sprintf("%d AS column_%d", i, i))
	}
	size := 30_000
	if long {
		size = 100_000
	}
	for i := range size {
		values = append(values, strconv.Itoa(i))
	}
	a.manual(a.m, "mallory.wide", "SELECT "+strings.Join(columns, ", "))
	a.manual(a.m, "mallory.large", "SELECT 1 AS id WHERE 5 IN ("+strings.Join(values, ", ")+")")
	accepted := 0
	for _, set := range []string{
		"refresh_interval = 'infinity'", "refresh_interval = '-infinity'", "refresh_interval = '178000000 years'", "refresh_interval = '292 years 1 second'", "refresh_interval = '100000 days'",
		"refresh_interval = '1 day -23:59:59'", "refresh_interval = '-1 month 31 days'", "refresh_interval = '1.000001 s'", "refresh_interval = '0'", "refresh_interval = '-1 s'",
		"cron = '0 0 30 2 *'", "cron = '0 0 29 2 *'", "cron = '* * * * * *'", "cron = '@reboot'", "cron = '0 0 31 2,4,6,9,11 *'", "cron = repeat('1,', 100000) || '1 * * * *'",
		"timezone = '../../etc/passwd'", "timezone = 'posixrules'", "timezone = 'localtime'", "timezone = 'Factory'", "timezone = 'posix/Europe/Berlin'", "timezone = 'right/Europe/Berlin'", "timezone = 'EST5EDT'", "timezone = '<x>+5'",
		"paused_until = 'infinity', paused_at = '-infinity'", "paused_until = '-infinity', paused_at = now()", "pause_reason = repeat('x', 50000000), paused_at = now()",
		"statement_timeout = '-1 month 31 days'", "statement_timeout = 'infinity'", "lock_timeout = '0.0100001 s'", "work_mem = '999999999TB'", "max_size_bytes = 9223372036854775807", "max_attempts = 100", "priority = 1",
		"refresh_on = 'upstream'", "refresh_on = 'upstream', refresh_interval = NULL", "catchup = 'all'", "created_at = '-infinity'", "search_path = 'x'",
	} {
		accepted++
		sql := a.sql(fmt.Sprintf(`INSERT INTO mvscheduler.views (name, query) VALUES ('mallory.odd%d', 'SELECT 1 AS id')`, accepted))
		pgtest.Exec(t, a.m, sql)
		_, err := a.m.Exec(t.Context(), a.sql(fmt.Sprintf(`UPDATE mvscheduler.views SET %s WHERE name = 'mallory.odd%d'`, set, accepted)))
		t.Logf("%.80s: %v", set, err)
	}
	a.staysFresh(3)
	until(t, a.root, `SELECT count(*) = 0 FROM mvscheduler.view_state WHERE reschedule`)
	for _, v := range []string{"wide", "large"} {
		state, _ := a.ended(a.m, "mallory."+v)
		require.Equal(t, "succeeded", state)
	}
	a.staysFresh(1)
}

func TestHostileNamesAreHarmlessInLogsMetricsAndOnTerminals(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	a.victim()
	names := []string{"\x1b[31mred\x1b[0m\x1b]0;title\x07", "two\nlines", "<script>alert(1)</script>", `quo"te\`, "time=2020 level=ERROR msg=forged", "a{b=\"c\"} 1", "\u202egnp.exe", "%s%n'); DROP"}
	for _, name := range names {
		a.manual(a.m, `mallory."`+strings.ReplaceAll(name, `"`, `""`)+`"`, "SELECT 1 AS id")
	}
	sidecar := startSidecar(t, a.db)
	refreshed(t, a.m, ask[[]string](t, a.m, `SELECT array_agg(name) FROM mvscheduler.views`)...)
	a.staysFresh(1)
	code, body := sidecar.get("/metrics")
	require.Equal(t, 200, code)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	require.NoError(t, err)
	require.Len(t, families["mvscheduler_view_lag_seconds"].GetMetric(), len(names)+1)
	raw := regexp.MustCompile("[\x00-\x08\x0b-\x1f\x7f\u202e]")
	for _, args := range [][]string{{"list"}, {"status"}, {"runs"}, {"list", "-o", "json"}, {"status", "-o", "json"}} {
		out := mvscheduler(t, a.db, a.mallory, "", args...)
		require.NotRegexp(t, raw, out.stdout+out.stderr, args)
		require.NotContains(t, out.stdout, "\nlines", args)
	}
	require.NotRegexp(t, raw, sidecar.log.String())
	for _, line := range strings.Split(strings.TrimSpace(sidecar.log.String()), "\n") {
		require.True(t, strings.HasPrefix(line, "time="+time.Now().UTC().Format("2006-01")), line)
	}
}
