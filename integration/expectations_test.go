package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// Nobody may have started a sidecar; that is what a new view says then, and what status --check finds.
func TestAViewThatNobodyTakesUpSaysSo(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query) VALUES ('v', 'SELECT 1 AS a')`, `CREATE MATERIALIZED VIEW m AS SELECT 1 AS a`, `SELECT mvscheduler.adopt_view('m')`)
	require.NotContains(t, ask[string](t, alice, `SELECT string_agg(reason, ' ') FROM mvscheduler.status`), "sidecar", "not at once")
	db.Exec(t, `UPDATE mvscheduler.view_state SET next_slot = next_slot - interval '2 minutes', next_due = next_due - interval '2 minutes', rearmed_at = rearmed_at - interval '2 minutes'`)
	for _, view := range []string{"v", "m"} {
		require.Contains(t, ask[string](t, alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.`+view+`'`), "no sidecar has taken it up: is mvscheduler serve running?", view)
	}
	r := mvscheduler(t, db, "", "", "status", "--check")
	require.Equal(t, 5, r.code)
	require.Contains(t, r.stderr, "1 view is unhealthy")
}

// What is filled after another view waits for that one, however long it takes: to start a sidecar would be the wrong advice.
func TestAViewThatWaitsForWhatItReadsNamesIt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice,
		`INSERT INTO mvscheduler.views (name, query) VALUES ('hours', 'SELECT 1 AS a')`,
		`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('days', 'SELECT a FROM hours', 'upstream')`)
	db.Exec(t, `UPDATE mvscheduler.view_state SET next_slot = next_slot - interval '2 minutes', next_due = next_due - interval '2 minutes', rearmed_at = rearmed_at - interval '2 minutes'`)
	reason := func(view string) string {
		return ask[string](t, alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.`+view+`'`)
	}
	require.Equal(t, "no sidecar has taken it up: is mvscheduler serve running?", reason("hours"))
	require.Regexp(t, `^waits until it can be filled from \w+\.hours$`, reason("days"))
}

// Of an owner with many views only so many run at a time: to start a sidecar would be the wrong advice to who has a dozen to fill.
func TestAViewThatWaitsForOthersOfItsOwnerSaysSo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET max_runs_per_owner = 1`)
	s.manage(t, "long", slowQuery(10*time.Minute))
	sidecar := startSidecar(t, s.db)
	s.working(t, "long")
	s.manage(t, "v", quick)
	reason := func() string {
		return ask[string](t, s.alice, `SELECT reason FROM mvscheduler.status WHERE name LIKE '%.v'`)
	}
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET next_slot = next_slot - interval '2 minutes', next_due = next_due - interval '2 minutes', rearmed_at = rearmed_at - interval '2 minutes' WHERE name LIKE '%.v'`)
	require.Equal(t, "waits for another run of "+s.owner+" to end, since settings.max_runs_per_owner is 1", reason())
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.request SET requested_at = requested_at - interval '2 minutes'`)
	require.Equal(t, "waits for another run of "+s.owner+" to end, since settings.max_runs_per_owner is 1", reason())
	sidecar.kill()
	until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.attempt AS a JOIN pg_stat_activity AS b ON b.pid = a.backend_pid WHERE a.outcome = 'running')`)
	require.Contains(t, reason(), "is mvscheduler serve running?", "when it is gone")
}

// A view cannot be younger than what it reads: the one that asks for it hears of it, and is not called stale for ever.
func TestAViewPromisesNoMoreThanWhatItReads(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice, said := connNoticing(t, db.URLAs(user))
	heard := func() (warnings []string) {
		for _, n := range *said {
			if n.Severity == "WARNING" {
				warnings = append(warnings, n.Message)
			}
		}
		return warnings
	}
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('below', 'SELECT a FROM t', '1 day')`)
	require.Empty(t, heard())
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('upon', 'SELECT a FROM below', '5 seconds')`)
	require.Len(t, heard(), 1)
	require.Contains(t, heard()[0], "reads "+user+".below which is refreshed every 1 day")
	startSidecar(t, db)
	until(t, alice, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh'`)
	db.Exec(t, `UPDATE mvscheduler.view_health SET data_as_of = data_as_of - interval '1 hour'`)
	require.Equal(t, 24*time.Hour, ask[time.Duration](t, alice, `SELECT target FROM mvscheduler.status WHERE name LIKE '%.upon'`))
	require.Equal(t, 2, ask[int](t, alice, `SELECT count(*)::int FROM mvscheduler.status WHERE freshness = 'fresh'`))
}
