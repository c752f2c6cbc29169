package integration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const workdays = `[{"days": "mon-fri", "from": "07:00", "to": "19:00", "every": "30 minutes"}, {"days": "sat,sun", "at": "06:45"}]`

func TestAViewWithACalendarIsRefreshedWhenItIsDue(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, calendar, timezone) VALUES ('v', 'SELECT count(*) AS n FROM sales', '`+workdays+`', 'Europe/Berlin')`)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	until(t, s.root, `SELECT next_cause IS NULL FROM mvscheduler.view_state`)
	// Whatever day it is: half past or full on a working day, or a quarter to seven.
	local := `to_char(next_refresh_at AT TIME ZONE 'Europe/Berlin', 'HH24:MI')`
	require.True(t, ask[bool](t, s.alice, `
SELECT next_refresh_at > now() AND CASE WHEN extract(isodow FROM next_refresh_at AT TIME ZONE 'Europe/Berlin') < 6
                                        THEN `+local+` ~ ':[03]0$' AND `+local+` BETWEEN '07:00' AND '18:30' ELSE `+local+` = '06:45' END
  FROM mvscheduler.status`), "%s", ask[string](t, s.alice, `SELECT next_refresh_at::text FROM mvscheduler.status`))

	runs := `SELECT count(*)::int FROM mvscheduler.runs WHERE cause IN ('schedule', 'catchup') AND state = 'succeeded'`
	require.Zero(t, ask[int](t, s.alice, runs))
	pgtest.Exec(t, s.alice, `INSERT INTO sales (id, amount) VALUES (1000, 1)`, `SELECT pg_stat_force_next_flush()`, `SELECT 1`)
	pgtest.Exec(t, s.root, makeDue)
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.runs WHERE cause = 'schedule' AND state = 'succeeded'`)
	require.Equal(t, int64(101), ask[int64](t, s.alice, `SELECT n FROM v`))
	until(t, s.alice, `SELECT next_refresh_at > now() FROM mvscheduler.status`)

	cli := func(args ...string) result { return mvscheduler(t, s.db, s.owner, "", args...) }
	for _, args := range [][]string{{"show", "v"}, {"list"}} {
		require.Contains(t, cli(args...).stdout, "every 30 minutes, mon-fri 07:00-19:00; sat,sun at 06:45 (Europe/Berlin)")
	}
	var statuses []struct {
		Calendar json.RawMessage `json:"calendar"`
	}
	require.NoError(t, json.Unmarshal([]byte(cli("status", "-o", "json").stdout), &statuses))
	require.JSONEq(t, workdays, string(statuses[0].Calendar))
	next := cli("next", "v", "-n", "400", "-o", "csv").stdout
	require.Contains(t, next, " 06:45:00 CE")
	require.Contains(t, next, " 18:30:00 CE")
	require.NotContains(t, next, " 19:00:00 CE")
}

func TestACalendarTakesThePlaceOfTheOtherClocks(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	clocks := `SELECT concat_ws(' ', refresh_interval, cron, calendar) FROM mvscheduler.views`
	s.manage(t, "v", quick, "refresh_interval", "5 minutes")
	for _, change := range [][2]string{
		{`calendar = '[{"at": "06:45"}]'`, `[{"at": "06:45"}]`}, {`cron = '0 6 * * *'`, `0 6 * * *`}, {`calendar = '[{"at": "06:46"}]'`, `[{"at": "06:46"}]`},
		{`refresh_interval = '1 hour'`, `01:00:00`}, {`calendar = '[{"at": "06:45"}]', refresh_interval = NULL`, `[{"at": "06:45"}]`},
	} {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET `+change[0])
		require.Equal(t, change[1], ask[string](t, s.alice, clocks))
	}
	for _, both := range []string{`calendar = '[{"at": "06:47"}]', refresh_interval = '5 minutes'`, `calendar = '[{"at": "06:47"}]', cron = '0 6 * * *'`} {
		require.Contains(t, refused(t, s.alice, "22023", `UPDATE mvscheduler.views SET `+both).Message, "give one of refresh_interval, cron and calendar")
	}
	wrong := refused(t, s.alice, "22023", `UPDATE mvscheduler.views SET calendar = '[{"at": "06:45"}, {"days": "fri-mon", "at": "07:00"}]'`)
	require.Equal(t, `rule 2: days: "fri-mon" is no day and no range of days from mon to sun: write them such as mon-fri or sat,sun`, wrong.Detail)
	require.Contains(t, wrong.Hint, `"every": "30 minutes"`)

	cli := func(args ...string) result { return mvscheduler(t, s.db, s.owner, "", args...) }
	require.Zero(t, cli("edit", "v", "--calendar", workdays).code)
	require.Contains(t, cli("edit", "v", "--interval", "none").stderr, "its clock is its calendar, which goes on")
	refusal := cli("edit", "v", "--calendar", `[{"at": "25:00"}]`)
	require.Equal(t, 1, refusal.code)
	require.Contains(t, refusal.stderr, `rule 1: at: "25:00" is no time of day up to 23:59`)
	require.Zero(t, cli("create", "w", "-q", "SELECT 1 AS a", "--calendar", `[{"every": "1 hour"}]`).code)
	ask[int64](t, s.alice, `SELECT mvscheduler.create_view('x', 'SELECT 1 AS a', calendar => '[{"at": "06:45"}]')`)
	require.Equal(t, 3, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.views WHERE calendar IS NOT NULL AND refresh_interval IS NULL AND cron IS NULL`))
	require.Zero(t, cli("edit", "v", "--calendar", "none").code)
	require.Empty(t, ask[string](t, s.alice, clocks+` WHERE name LIKE '%.v'`))
}

func TestACalendarIsExportedAsItIsWritten(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", quick, "refresh_interval", nil, "calendar", workdays)
	exported := mvscheduler(t, s.db, s.owner, "", "export", "v")
	require.Zero(t, exported.code, exported.stderr)
	require.NotContains(t, exported.stdout, "cron")
	require.Contains(t, strings.Join(strings.Fields(exported.stdout), " "), "every: 30 minutes")
	var docs []struct {
		Calendar json.RawMessage `json:"calendar"`
	}
	require.NoError(t, json.Unmarshal([]byte(mvscheduler(t, s.db, s.owner, "", "export", "v", "-o", "json").stdout), &docs))
	require.JSONEq(t, workdays, string(docs[0].Calendar), "in JSON, which is made of the YAML")
	require.Nil(t, send(t, s.alice, `UPDATE mvscheduler.views SET calendar = $1::text::jsonb`, string(docs[0].Calendar)))
}

func TestARecommendedCalendarIsSetByAcceptAndTakenBackByUndo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval, timezone, unique_key) VALUES ('v', 'SELECT id, amount FROM sales', '15 minutes', 'UTC', '{id}')`)
	refreshed(t, s.alice, "v")
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE activity = 'idle'`)
	s.history(t, "v", 12, `(`+office+`) OR extract(isodow FROM h AT TIME ZONE 'UTC') > 5 AND extract(hour FROM h AT TIME ZONE 'UTC') BETWEEN 19 AND 22`)
	s.planned(t)
	require.Equal(t, "calendar proposed", ask[string](t, s.alice, `SELECT string_agg(kind || ' ' || state, ', ') FROM mvscheduler.recommendations`))
	require.Regexp(t, `^UPDATE mvscheduler.views SET refresh_interval = NULL, calendar = '\[.*\]' WHERE name = '.*\.v'$`, ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations`))
	id := ask[int64](t, s.alice, `SELECT id FROM mvscheduler.recommendations`)
	clocks := `SELECT concat_ws(' ', refresh_interval, cron, jsonb_array_length(calendar) > 1) FROM mvscheduler.views`
	cli := func(args ...string) string {
		r := mvscheduler(t, s.db, s.owner, "", args...)
		require.Zero(t, r.code, r.stderr)
		return r.stdout
	}
	number := ask[string](t, s.alice, `SELECT $1::bigint::text`, id)
	require.Regexp(t, `(?m)^kind +calendar$`, cli("recommend", "show", number), "a line for each")
	cli("recommend", "accept", number)
	require.Equal(t, "t", ask[string](t, s.alice, clocks))
	until(t, s.alice, `SELECT next_refresh_at > now() FROM mvscheduler.status`)
	cli("recommend", "undo", number)
	require.Equal(t, "00:15:00", ask[string](t, s.alice, clocks))
}
