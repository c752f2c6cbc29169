package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog/schedule"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

const tunedCalendar = `SELECT coalesce(tuned_calendar::text, 'none') FROM mvscheduler.status WHERE name LIKE '%.'||$1`

func TestAViewWithOfficeHoursGetsItsCalendarByItselfAndTheIntervalComesBackOnUndo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "optimize")
	s.planned(t)
	changes := `SELECT string_agg(kind || ' ' || state || CASE WHEN automatic THEN ' by itself' ELSE '' END, ', ' ORDER BY id) FROM mvscheduler.recommendations WHERE view_name LIKE '%.office'`
	require.Equal(t, "calendar applied by itself", ask[string](t, s.alice, changes), "one change")
	require.Equal(t, "00:15:00 none", ask[string](t, s.alice, `SELECT refresh_interval || ' ' || coalesce(tuned_interval::text, 'none') FROM mvscheduler.status WHERE name LIKE '%.office'`))
	rules, err := schedule.ParseCalendar(ask[string](t, s.alice, tunedCalendar, "office"))
	require.NoError(t, err)
	require.Equal(t, ask[string](t, s.alice, `SELECT proposed FROM mvscheduler.recommendations WHERE kind = 'calendar'`), rules.String())
	require.Regexp(t, `^every \d+ minutes, mon-fri 08:00-18:00$`, rules.String())
	require.Equal(t, "optimize", ask[string](t, s.alice, `SELECT action FROM mvscheduler.audit_log WHERE view_name LIKE '%.office' AND role = 'mvscheduler' AND new ->> 'kind' = 'calendar'`))
	require.Equal(t, "900 seconds", ask[string](t, s.alice, `SELECT basis ->> 'refresh_interval' FROM mvscheduler.recommendations WHERE kind = 'calendar'`))

	// It is the clock that is in force, and what people see.
	cli := func(args ...string) string {
		t.Helper()
		out := mvscheduler(t, s.db, s.owner, "", args...)
		require.Zero(t, out.code, out.stderr)
		return out.stdout
	}
	require.Contains(t, cli("show", "office"), rules.String()+" (UTC; tuned from every 15 minutes)")
	require.Contains(t, cli("recommend", "show", ask[string](t, s.alice, `SELECT id::text FROM mvscheduler.recommendations WHERE kind = 'calendar'`)), "applied")
	until(t, s.root, `SELECT NOT bool_or(reschedule) FROM mvscheduler.view_state`)
	var slots []struct {
		At time.Time `json:"at"`
	}
	require.NoError(t, json.Unmarshal([]byte(cli("next", "office", "-n", "700", "-o", "json")), &slots))
	require.Equal(t, ask[time.Time](t, s.alice, `SELECT next_refresh_at FROM mvscheduler.status WHERE name LIKE '%.office'`).UTC(), slots[0].At)
	for _, slot := range slots {
		require.False(t, slot.At.Weekday() == time.Saturday || slot.At.Weekday() == time.Sunday || slot.At.Hour() < 8 || slot.At.Hour() >= 18, slot.At)
	}
	exported := cli("export", "office")
	require.Contains(t, exported, "refresh_interval: 00:15:00")
	require.NotContains(t, exported, "calendar", "the row is what it was")

	s.planned(t)
	require.Equal(t, "calendar applied by itself", ask[string](t, s.alice, changes))

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'calendar'`)
	require.Equal(t, "none", ask[string](t, s.alice, tunedCalendar, "office"))
	until(t, s.alice, `SELECT target = '15 minutes' AND next_refresh_at < now() + interval '16 minutes' FROM mvscheduler.status WHERE name LIKE '%.office'`)
	s.planned(t)
	require.NotContains(t, strings.TrimPrefix(ask[string](t, s.alice, changes), "calendar undone by itself"), "calendar", "and it is not proposed again")
	require.Equal(t, "none", ask[string](t, s.alice, tunedCalendar, "office"))
}

func TestACalendarThatTheSidecarSetsIsWithinTheBoundsOfTheRowAndEndsWithThem(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.manage(t, "v", "SELECT id, amount FROM sales", "refresh_interval", "15 minutes", "optimize", "auto", "timezone", "UTC", "min_interval", "10 minutes", "unique_key", []string{"id"})
	s.manage(t, "advised", "SELECT id, amount FROM sales", "refresh_interval", "15 minutes")
	s.manage(t, "own", "SELECT id, amount FROM sales", "cron", "0 4 * * *", "refresh_interval", nil, "optimize", "auto")
	until(t, s.alice, `SELECT count(*) = 3 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	worker := s.db.Conn(t, s.db.Worker(t))
	set := func(view, rules string) string {
		return fmt.Sprintf(`UPDATE mvscheduler.view_state SET tuned_calendar = '%s', reschedule = true WHERE name LIKE '%%.%s'`, rules, view)
	}
	for _, rules := range []string{`[]`, `{}`, `[{"at": "25:00"}]`, `[{"days": "mon", "at": "06:00", "every": "1 hour"}]`,
		`[{"every": "9 minutes"}]`, `[{"at": "08:00"}, {"at": "08:09"}]`, `[{"days": "mon", "at": "00:05"}, {"days": "sun", "at": "23:59"}]`} {
		requireSQLState(t, worker, "23514", set("v", rules))
	}
	const once = `[{"at": "08:00", "days": "mon"}]`
	requireSQLState(t, worker, "23514", set("advised", once))
	requireSQLState(t, worker, "23514", set("own", once))
	pgtest.Exec(t, worker, set("v", once)) // a week is the longest pause of all
	requireSQLState(t, worker, "23514", `UPDATE mvscheduler.view_state SET tuned_interval = '1 hour' WHERE name LIKE '%.v'`)
	until(t, s.alice, `SELECT target = '7 days' AND extract(isodow FROM next_refresh_at AT TIME ZONE 'UTC') = 1 AND (next_refresh_at AT TIME ZONE 'UTC')::time = '08:00' FROM mvscheduler.status WHERE name LIKE '%.v'`)

	// Whatever the owner writes of its clock ends it; what he writes besides does not.
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET priority = 3 WHERE name LIKE '%.v'`)
	require.Equal(t, once, ask[string](t, s.alice, tunedCalendar, "v"))
	for _, change := range []string{`timezone = 'Asia/Tokyo'`, `max_interval = '30 minutes'`, `refresh_interval = '20 minutes'`, `min_interval = NULL`, `optimize = 'advise'`} {
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET `+change+` WHERE name LIKE '%.v'`)
		require.Equal(t, "none", ask[string](t, s.alice, tunedCalendar, "v"), change)
		until(t, s.alice, `SELECT target <= '20 minutes' FROM mvscheduler.status WHERE name LIKE '%.v'`)
		pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET max_interval = NULL, optimize = 'auto' WHERE name LIKE '%.v'`)
		pgtest.Exec(t, worker, set("v", once))
		until(t, s.alice, `SELECT target = '7 days' FROM mvscheduler.status WHERE name LIKE '%.v'`)
	}
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET max_interval = '1 hour' WHERE name LIKE '%.v'`)
	requireSQLState(t, worker, "23514", set("v", `[{"from": "01:00", "every": "1 hour"}, {"days": "sun-fri", "at": "00:00"}]`)) // two hours in one of the nights
	pgtest.Exec(t, worker, set("v", `[{"from": "01:00", "every": "1 hour"}, {"at": "00:00"}]`))
}

// byCalendar makes as if the sidecar had put rules in the place of the row's interval eight days ago, and had refreshed the view
// every so often in office hours since.
func (s *scene) byCalendar(t testing.TB, view, rules, every string) {
	t.Helper()
	s.tunedFor(t, view, every, "15 minutes", 8)
	pgtest.Exec(t, s.root,
		fmt.Sprintf(`UPDATE mvscheduler.view_state SET tuned_interval = NULL, tuned_calendar = '%s' WHERE name LIKE '%%.%s'`, rules, view),
		fmt.Sprintf(`UPDATE mvscheduler.recommendation SET kind = 'calendar' WHERE view_name LIKE '%%.%s'`, view),
		fmt.Sprintf(`UPDATE mvscheduler.run SET started_at = date_bin('%s', started_at, 'epoch') WHERE view_name LIKE '%%.%s'`, every, view), // on the hour, whatever time it is
		fmt.Sprintf(`DELETE FROM mvscheduler.run WHERE view_name LIKE '%%.%s' AND NOT (%s)`, view, strings.ReplaceAll(office, "h ", "started_at ")))
}

func TestACalendarThatDidNotHelpIsTakenBackAndAGoodOneIsKept(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "optimize")
	s.byCalendar(t, "office", `[{"days": "mon-fri", "from": "08:00", "to": "18:00", "every": "15 minutes"}]`, "15 minutes")
	s.byCalendar(t, "flat", `[{"days": "mon-fri", "from": "08:00", "to": "18:00", "every": "1 hour"}]`, "1 hour") // its readers never sleep
	// An interval is judged by the calendar that it took the place of. It was better than once in twelve hours.
	s.tunedFor(t, "hot", "3 hours", "12 hours", 8)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET evidence = evidence || '{"calendar_before": [{"every": "15 minutes"}]}' WHERE view_name LIKE '%.hot'`)
	s.planned(t)
	require.Equal(t, "flat undone true, hot undone true, office applied true", ask[string](t, s.alice, `
SELECT string_agg(substr(view_name, strpos(view_name, '.') + 1) || ' ' || state || ' ' || (measured ->> 'final'), ', ' ORDER BY view_name) FROM mvscheduler.recommendations WHERE measured IS NOT NULL`))
	require.Equal(t, "none", ask[string](t, s.alice, tunedCalendar, "flat"))
	require.NotEqual(t, "none", ask[string](t, s.alice, tunedCalendar, "office"))
	require.Contains(t, ask[string](t, s.alice, `SELECT decision FROM mvscheduler.recommendations WHERE state = 'undone' AND kind = 'calendar'`), "the old one would have cost")
	until(t, s.alice, `SELECT target = '15 minutes' FROM mvscheduler.status WHERE name LIKE '%.flat'`)
}
