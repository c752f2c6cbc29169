package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// tunedFor makes as if the sidecar had put an interval in the place of the row's, some days ago.
func (s *scene) tunedFor(t testing.TB, view, interval, was string, days int) {
	t.Helper()
	pgtest.Exec(t, s.root,
		fmt.Sprintf(`DELETE FROM mvscheduler.run WHERE view_name LIKE '%%.%s'`, view),
		fmt.Sprintf(`
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, started_at, finished_at, method, took, rows, size_bytes, wal_bytes)
SELECT s.view_id, s.name, s.owner, 'manual', h, h, 'succeeded', h, h, 'concurrent', '10 seconds', 100, 8192, 0
  FROM mvscheduler.view_state AS s, generate_series(now() - interval '%[3]d days', now(), '%[2]s') AS h WHERE s.name LIKE '%%.%[1]s'`, view, interval, days),
		fmt.Sprintf(`
WITH made AS (
    INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, basis, change, evidence, automatic, state, decided_at, decided_by)
    SELECT view_id, name, 'interval', 'every %[3]s', 'every %[2]s', 'because', 'UPDATE', '{"refresh_interval": "%[3]s"}', '{"refresh_interval": "%[2]s"}',
           '{"interval_before": "%[3]s", "refresh_seconds": 10}', true, 'applied', now() - interval '%[4]d days', 'mvscheduler'
      FROM mvscheduler.view_state WHERE name LIKE '%%.%[1]s'
    RETURNING id, view_id)
UPDATE mvscheduler.view_state AS s SET tuned_interval = '%[2]s', tuned_by = m.id FROM made AS m WHERE m.view_id = s.view_id`, view, interval, was, days))
}

func TestAChangeThatDidNotHelpIsTakenBackAndAGoodOneIsKept(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "optimize")
	s.tunedFor(t, "flat", "4 hours", "15 minutes", 8)   // four times as slow would do
	s.tunedFor(t, "hot", "15 minutes", "2 hours", 8)    // right
	s.tunedFor(t, "office", "4 hours", "15 minutes", 0) // too early to say
	s.planned(t)
	require.Equal(t, "flat undone true, hot applied true, office applied false", ask[string](t, s.alice, `
SELECT string_agg(substr(view_name, strpos(view_name, '.') + 1) || ' ' || state || ' ' || (measured ->> 'final'), ', ' ORDER BY view_name) FROM mvscheduler.recommendations WHERE measured IS NOT NULL`))
	require.Equal(t, "none", ask[string](t, s.alice, `SELECT coalesce(tuned_interval::text, 'none') FROM mvscheduler.status WHERE name LIKE '%.flat'`))
	require.Contains(t, ask[string](t, s.alice, `SELECT decision FROM mvscheduler.recommendations WHERE state = 'undone'`), "the old one would have cost")
	require.Equal(t, "mvscheduler undo", ask[string](t, s.alice, `SELECT role || ' ' || action FROM mvscheduler.audit_log WHERE view_name LIKE '%.flat' AND action = 'undo'`))
	s.planned(t)
	require.Equal(t, 1, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.recommendation WHERE view_name LIKE '%.flat' AND state IN ('applied', 'undone')`), "and not applied again")
}

func TestAViewOfWhichTwoChangesWereTakenBackIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "optimize")
	takenBack := func(days int) {
		t.Helper()
		pgtest.Exec(t, s.root, fmt.Sprintf(`
INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, evidence, automatic, state, decided_at, decided_by)
SELECT view_id, name, 'interval', 'every 2 hours', 'every 7 hours', 'because', 'UPDATE', '{}', true, 'undone', now() - interval '%d days', 'mvscheduler'
  FROM mvscheduler.view_state WHERE name LIKE '%%.hot'`, days))
	}
	proposed := `SELECT coalesce(string_agg(proposed, ', '), 'nothing') FROM mvscheduler.recommendations WHERE view_name LIKE '%.hot' AND state IN ('proposed', 'applied')`
	takenBack(20)
	s.planned(t)
	require.Equal(t, "every 1 hour", ask[string](t, s.alice, proposed), "one says nothing, though nothing is applied by itself")
	takenBack(3)
	s.planned(t)
	require.Equal(t, "nothing", ask[string](t, s.alice, proposed))
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET decided_at = decided_at - interval '28 days' WHERE state = 'undone'`)
	s.planned(t)
	require.Equal(t, "every 1 hour", ask[string](t, s.alice, proposed), "for 30 days")
	require.Equal(t, "01:00:00", ask[string](t, s.alice, `SELECT tuned_interval::text FROM mvscheduler.status WHERE name LIKE '%.hot'`))
}

func TestTheReportHasWhatWasSpentBeforeAndSinceAndWhatThatSaved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "optimize")
	s.tunedFor(t, "hot", "15 minutes", "2 hours", 8)
	pgtest.Exec(t, s.root, `
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, started_at, finished_at, method, took, rows, size_bytes, wal_bytes)
SELECT s.view_id, s.name, s.owner, 'manual', h, h, 'succeeded', h, h, 'full', '1 minute', 100, 16384, 1000000
  FROM mvscheduler.view_state AS s, generate_series(now() - interval '13 days', now() - interval '8 days 1 hour', '2 hours') AS h WHERE s.name LIKE '%.hot'`, `
INSERT INTO mvscheduler.run (view_id, view_name, owner, kind, cause, slot, due_at, state, started_at, finished_at, size_bytes)
SELECT s.view_id, s.name, s.owner, 'prune', 'schedule', now(), now(), 'succeeded', now() - interval '2 days', now() - interval '2 days', 4096
  FROM mvscheduler.view_state AS s WHERE s.name LIKE '%.hot'`)
	out := mvscheduler(t, s.db, s.owner, "", "recommend", "report", s.owner+".hot", "-o", "json")
	require.Zero(t, out.code, out.stderr)
	var lines []struct {
		Period         string
		Refreshes      float64 `json:"refreshes_a_day"`
		RefreshSeconds float64 `json:"refresh_seconds_a_day"`
		SizeBytes      int64   `json:"size_bytes"`
		PrunedBytes    int64   `json:"pruned_bytes"`
		Saved          *struct {
			RefreshSeconds float64 `json:"refresh_seconds_a_day"`
			WALBytes       int64   `json:"wal_bytes_a_day"`
			SizeBytes      int64   `json:"size_bytes"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out.stdout), &lines))
	require.Len(t, lines, 2)
	before, after := lines[0], lines[1]
	require.InDelta(t, 60, before.RefreshSeconds/before.Refreshes, 0.01)
	require.InDelta(t, 10, after.RefreshSeconds/after.Refreshes, 0.01)
	require.Equal(t, []int64{16384, 0, 8192, 4096}, []int64{before.SizeBytes, before.PrunedBytes, after.SizeBytes, after.PrunedBytes})
	require.Nil(t, before.Saved)
	require.InDelta(t, before.RefreshSeconds-after.RefreshSeconds, after.Saved.RefreshSeconds, 0.01)
	require.Positive(t, after.Saved.WALBytes)
	require.Equal(t, int64(8192), after.Saved.SizeBytes)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "recommend", "report", s.owner+".hot").stdout, "SAVED")
}

func TestWhatAPersonAcceptedIsMeasuredAndIsListedWhereItDidNotHelp(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.fleet(t, "")
	accepted := func(view, kind, change, was, refreshed string) {
		t.Helper()
		pgtest.Exec(t, s.root, fmt.Sprintf(`DELETE FROM mvscheduler.run WHERE view_name LIKE '%%.%s'`, view), fmt.Sprintf(`
INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, basis, change, evidence, state, decided_at, decided_by)
SELECT view_id, name, '%[2]s', 'every %[4]s', 'another', 'because', 'UPDATE', '{"refresh_interval": "%[4]s", "cron": null}', '%[3]s',
       '{"interval_before": "%[4]s", "refresh_seconds": 10}', 'applied', now() - interval '8 days', 'alice'
  FROM mvscheduler.view_state WHERE name LIKE '%%.%[1]s'`, view, kind, change, was), fmt.Sprintf(`
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, started_at, finished_at, method, took, rows, size_bytes, wal_bytes)
SELECT s.view_id, s.name, s.owner, 'manual', h, h, 'succeeded', h, h, 'concurrent', '10 seconds', 100, 8192, 0
  FROM mvscheduler.view_state AS s, generate_series(now() - interval '8 days', now(), '%[2]s') AS h WHERE s.name LIKE '%%.%[1]s'`, view, refreshed))
	}
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET cron = '0 4 * * *', refresh_interval = NULL WHERE name LIKE '%.office'`,
		`UPDATE mvscheduler.views SET refresh_interval = '15 minutes' WHERE name LIKE '%.hot'`)
	accepted("office", "calendar", `{"cron": "0 4 * * *", "refresh_interval": null}`, "15 minutes", "1 day") // before anybody comes, and never again
	accepted("hot", "interval", `{"refresh_interval": "15 minutes"}`, "2 hours", "15 minutes")               // right
	accepted("flat", "interval", `{"refresh_interval": "4 hours"}`, "15 minutes", "4 hours")                 // wrong, but her row says something else by now
	s.planned(t)
	require.Equal(t, "flat applied unknown, hot applied true, office applied false", ask[string](t, s.alice, `
SELECT string_agg(substr(view_name, strpos(view_name, '.') + 1) || ' ' || state || ' ' || coalesce(measured ->> 'helped', 'unknown'), ', ' ORDER BY view_name) FROM mvscheduler.recommendations WHERE state = 'applied'`))
	require.Equal(t, "0 4 * * *", ask[string](t, s.alice, `SELECT cron FROM mvscheduler.views WHERE name LIKE '%.office'`), "a person decided, and a person takes it back")
	listed := mvscheduler(t, s.db, s.owner, "", "recommend", "list").stdout
	require.Contains(t, listed, "applied, did not help")
	require.Equal(t, 1, strings.Count(listed, "applied"))
	require.Contains(t, ask[string](t, s.alice, `SELECT measured ->> 'why' FROM mvscheduler.recommendations WHERE view_name LIKE '%.office' AND state = 'applied'`), "the old one would have cost")
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE view_name LIKE '%.office' AND state = 'applied'`)
	require.Equal(t, "00:15:00", ask[string](t, s.alice, `SELECT refresh_interval::text FROM mvscheduler.views WHERE name LIKE '%.office'`))
	require.NotContains(t, mvscheduler(t, s.db, s.owner, "", "recommend", "list").stdout, "applied")
}

func TestWhatAnotherRecommendationHasReplacedCannotBeUndone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE t (a int)`)
	s.manage(t, "v", "SELECT a FROM t", "refresh_interval", "1 hour", "optimize", "auto")
	s.tunedFor(t, "v", "30 minutes", "1 hour", 2)
	s.tunedFor(t, "v", "15 minutes", "30 minutes", 1)
	first, second := ask[int64](t, s.alice, `SELECT min(id) FROM mvscheduler.recommendations`), ask[int64](t, s.alice, `SELECT max(id) FROM mvscheduler.recommendations`)
	undo := func(id int64) string { return fmt.Sprintf(`SELECT mvscheduler.undo_recommendation(%d)`, id) }
	require.Contains(t, s.refusal(t, undo(first)), "is not in force any more")
	require.Contains(t, s.refusal(t, undo(first)), undo(second))
	require.Equal(t, "00:15:00", ask[string](t, s.alice, `SELECT tuned_interval::text FROM mvscheduler.status`))
	pgtest.Exec(t, s.alice, undo(second))
	require.Equal(t, "none", ask[string](t, s.alice, `SELECT coalesce(tuned_interval::text, 'none') FROM mvscheduler.status`))
	require.Contains(t, s.refusal(t, undo(first)), "A change of the row has ended it")
}
