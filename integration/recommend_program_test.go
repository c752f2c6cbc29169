package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestRecommendationsAreListedAndDecidedAboutByTheProgram(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "")
	s.planned(t)
	program := func(args ...string) result {
		return mvscheduler(t, s.db, s.owner, "", append([]string{"recommend"}, args...)...)
	}
	var listed []struct {
		ID                   int64
		Kind, State, Command string
		Evidence, Predicted  map[string]any
		ViewName             string `json:"view_name"`
	}
	out := program("list", "-o", "json")
	require.Zero(t, out.code, out.stderr)
	require.NoError(t, json.Unmarshal([]byte(out.stdout), &listed))
	require.Len(t, listed, 3)
	ids := map[string]string{}
	for _, r := range listed {
		ids[r.Kind] = fmt.Sprint(r.ID)
		require.Equal(t, "proposed", r.State)
		require.Equal(t, "L0", r.Evidence["level"])
		require.NotEmpty(t, r.Predicted)
	}
	require.Contains(t, program("list").stdout, "every 1 hour")
	require.Regexp(t, ids["interval"]+` .* every 1 hour +refreshes \S.* -> \S.* a day, data \S.* -> \S.* old`, program("list").stdout, "what it is expected to change")
	require.Regexp(t, `^thought: every 2 hours -> .* saves \d+ % of the cost`, program("list", s.owner+".hot").stderr, "of a view that is named always")
	require.Empty(t, program("list", s.owner+".hot", "-o", "json").stderr)
	out = program("show", ids["interval"])
	require.Contains(t, out.stdout, "UPDATE mvscheduler.views SET refresh_interval = '1 hour' WHERE name = '"+s.owner+".hot'")
	require.Contains(t, out.stdout, "s of refreshes")
	require.Regexp(t, `(?m)^reasons +\d+ reads in \d+ weeks\n {11}\S`, out.stdout, "a line for each")
	require.NotContains(t, out.stdout, `"reasons"`)
	require.Regexp(t, `(?m)^predicted +age of what .*: \d+[hm] \d\d[ms] -> \d+[hm] \d\d[ms]\n {11}cost a day, old data included, in seconds of refreshes: [\d.]+ -> [\d.]+$`, out.stdout)

	out = program("accept", ids["interval"])
	require.Zero(t, out.code, out.stderr)
	require.Contains(t, out.stderr, "undo: mvscheduler recommend undo "+ids["interval"])
	require.Equal(t, "01:00:00", ask[string](t, s.alice, `SELECT refresh_interval::text FROM mvscheduler.views WHERE name LIKE '%.hot'`))
	out = program("accept", ids["interval"])
	require.Equal(t, 6, out.code)
	require.Contains(t, out.stderr, "do:  To take it back: mvscheduler recommend undo "+ids["interval"])
	require.Contains(t, program("undo", ids["interval"], "--reason", "no").stderr, "is undone: every 2 hours again")
	require.Equal(t, "02:00:00", ask[string](t, s.alice, `SELECT refresh_interval::text FROM mvscheduler.views WHERE name LIKE '%.hot'`))
	require.Contains(t, program("accept", ids["interval"]).stderr, "do:  To do it all the same, run its statement: mvscheduler recommend show "+ids["interval"], "after undo")
	require.Contains(t, program("undo", ids["interval"]).stderr, "do:  Nothing of it is in force.")
	require.Contains(t, program("undo", ids["calendar"]).stderr, "do:  Nothing of it was done. To say no: mvscheduler recommend reject "+ids["calendar"])
	require.Regexp(t, `is snoozed, until \d{4}-`, program("snooze", ids["calendar"], "--for", "1 day").stderr)
	require.Contains(t, program("undo", ids["calendar"]).stderr, fmt.Sprintf("do:  It comes back by itself. To decide now: mvscheduler recommend accept %s, or reject %[1]s\n", ids["calendar"]))
	require.Contains(t, program("reject", ids["unused"], "--reason", "for emergencies").stderr, "is rejected, and not proposed again for 90 days\n  undo: mvscheduler recommend undo "+ids["unused"])
	require.Contains(t, program("accept", ids["unused"]).stderr, "do:  To take the rejection back: mvscheduler recommend undo "+ids["unused"])
	require.Contains(t, program("list").stderr, "Nothing is recommended that is not decided about or snoozed: mvscheduler recommend list --all has those.")
	require.Regexp(t, `^Nothing is recommended\.\n  `+s.owner+`\.flat: the best schedule would save 0\.0 % of the cost, less than the 5 % that a change is worth\n$`, program("list", s.owner+".flat").stderr, "why not")
	out = program("list", s.owner+".unread", "--all")
	require.Contains(t, out.stdout, "rejected")
	require.NotContains(t, out.stdout, "snoozed")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET snoozed_until = now() - interval '1 second' WHERE state = 'snoozed'`)
	require.Regexp(t, `\n +`+ids["calendar"]+` .* proposed `, program("list").stdout, "the snooze is over")
	require.Contains(t, program("snooze", ids["calendar"], "--for=-1 day").stderr, "snooze needs a time that is to come")
	require.Regexp(t, `is snoozed, until \d{4}-`, program("snooze", ids["calendar"]).stderr, "again")
	require.NotContains(t, program("list").stdout, "calendar")
	require.Regexp(t, `for emergencies; not proposed again before \d{4}-`, program("show", ids["unused"]).stdout)
	require.Contains(t, program("undo", ids["unused"]).stderr, "the rejection of recommendation "+ids["unused"]+" for "+s.owner+".unread is taken back: it is proposed again")
	require.Contains(t, program("list").stdout, "unused")
	require.Zero(t, program("reject", ids["unused"]).code)
	require.Equal(t, 3, program("show", "999999").code)
	require.Equal(t, 3, program("reject", "999999").code)
	require.Equal(t, 2, program("reject", "x").code)

	out = program("report", "--since", "10 days", "-o", "json")
	require.Zero(t, out.code, out.stderr)
	var report []struct {
		ViewName string `json:"view_name"`
		Period   string
		Reads    float64  `json:"reads_a_day"`
		MeanAge  *float64 `json:"mean_age_seconds"`
	}
	require.NoError(t, json.Unmarshal([]byte(out.stdout), &report))
	reads := map[string]float64{}
	for _, r := range report {
		reads[strings.TrimPrefix(r.ViewName, s.owner+".")+" "+r.Period] = r.Reads
		require.Equal(t, r.Reads > 0, r.MeanAge != nil, r.ViewName)
	}
	require.InDelta(t, 10*288, reads["flat all"], 288)
	require.Zero(t, reads["unread all"])
	require.Contains(t, program("report").stdout, "P95 AGE")
	require.Regexp(t, `^refreshes of \d views take \S.* a day, \S+ % of one backend; settings\.optimizer_budget plans \S+ % for those with an interval\n$`, program("report").stderr)
	require.Empty(t, program("report", s.owner+".flat").stderr)

	simulated := mvscheduler(t, s.db, s.owner, "", "simulate", "--view", s.owner+".office", "--since", "28d", "--interval", "10m", "--policy", "fixed,mvscheduler,clairvoyant", "-o", "json")
	require.Zero(t, simulated.code, simulated.stderr)
	require.Equal(t, 3, strings.Count(simulated.stdout, `"policy"`))
	simulated = mvscheduler(t, s.db, s.owner, "", "simulate", "--view", s.owner+".office", "--since", "70d", "--span", "7d", "--policy", "fixed", "-o", "json")
	require.Zero(t, simulated.code, simulated.stderr)
	require.Regexp(t, `after 3[45]d \d\dh to learn from`, simulated.stderr, "it is the last week")
	require.Contains(t, simulated.stderr, "old data costs so much that 15m 00s is the best interval at the mean rate of these reads", "as settings.optimizer_target says")
	require.Regexp(t, `"refreshes": 67[234],`, simulated.stdout, "every 15 minutes, as the row says")
	unread := mvscheduler(t, s.db, s.owner, "", "simulate", "--view", s.owner+".unread", "--since", "14d")
	require.Equal(t, 1, unread.code, "that is no wrong use of it")
	require.Contains(t, unread.stderr, "nobody read view \""+s.owner+".unread\" in that time")
}
