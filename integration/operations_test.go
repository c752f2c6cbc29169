package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestEveryClockStandsStillWhileEverythingIsPaused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice, admin := db.Conn(t, user), db.Conn(t, "")
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('v', 'SELECT clock_timestamp() AS at', '1 second')`)
	startSidecar(t, db)
	until(t, alice, `SELECT freshness = 'fresh' FROM mvscheduler.status`)

	require.Contains(t, mvscheduler(t, db, user, "", "pause", "--all").stderr, "permission denied")
	require.Zero(t, mvscheduler(t, db, "", "", "pause", "--all", "--reason", "upgrade", "--for", "1h").code)
	until(t, alice, `SELECT activity = 'paused' AND reason LIKE '%every view is paused until 20%: upgrade%' FROM mvscheduler.status`)
	until(t, alice, `SELECT NOT EXISTS (SELECT FROM mvscheduler.runs WHERE state IN ('queued', 'running'))`)
	paused := ask[time.Time](t, admin, `SELECT clock_timestamp()`)
	until(t, admin, `SELECT clock_timestamp() > $1::timestamptz + interval '2 seconds'`, paused) // a tick may have been under way
	last := ask[int64](t, alice, `SELECT max(id) FROM mvscheduler.runs`)
	refreshed(t, alice, "v") // what people ask for is done
	require.Equal(t, last+1, ask[int64](t, alice, `SELECT max(id) FROM mvscheduler.runs`), "and nothing else was")
	require.Zero(t, mvscheduler(t, db, "", "", "resume", "--all").code)
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.runs WHERE id > $1 AND state = 'succeeded')`, last+1)
	require.Contains(t, ask[string](t, alice, `SELECT coalesce(reason, '') FROM mvscheduler.runs WHERE id > $1 ORDER BY id LIMIT 1`, last+1), "the first run since the clock was stopped", "what passed was not missed")
	require.Equal(t, int64(2), ask[int64](t, admin, `SELECT count(*) FROM mvscheduler.audit_log WHERE action = 'settings' AND role = 'postgres'`))

	pgtest.Exec(t, admin, `SELECT mvscheduler.pause_all('tonight', now() + '2 hours', now() + '1 hour')`)
	require.NotEqual(t, "paused", ask[string](t, alice, `SELECT activity FROM mvscheduler.status`), "a window that is to come stops nothing")
	_, err := admin.Exec(t.Context(), `SELECT mvscheduler.pause_all('no', now() + '1 hour', now() + '2 hours')`)
	require.ErrorContains(t, err, "would end before it begins")
}

// A maintenance window opens and closes by itself, and what passed in it was not missed.
func TestAMaintenanceWindowOpensAndCloses(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice, admin := db.Conn(t, user), db.Conn(t, "")
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, refresh_interval, catchup) VALUES
		('latest', 'SELECT clock_timestamp() AS at', '1 second', 'latest'), ('every', 'SELECT clock_timestamp() AS at', '1 second', 'all')`)
	sidecar := startSidecar(t, db)
	until(t, alice, `SELECT bool_and(freshness = 'fresh') FROM mvscheduler.status`)
	pgtest.Exec(t, admin, `SELECT mvscheduler.pause_all('backup', now() + '8 seconds', now() + '2 seconds')`)
	until(t, alice, `SELECT bool_and(activity = 'paused') FROM mvscheduler.status`)
	require.Zero(t, mvscheduler(t, db, user, "", "next", "latest").code)
	until(t, alice, `SELECT bool_and(activity <> 'paused') FROM mvscheduler.status`)
	until(t, alice, `SELECT count(DISTINCT view_name) = 2 FROM mvscheduler.runs WHERE state = 'succeeded' AND started_at > (SELECT paused_until FROM mvscheduler.settings)`)
	require.Equal(t, int64(0), ask[int64](t, alice, `
SELECT count(*) FROM mvscheduler.runs, mvscheduler.settings AS g WHERE started_at > g.paused_from + interval '1 second' AND started_at < g.paused_until`), "nothing ran in the window")
	require.Equal(t, "every the first run since the clock was stopped, latest the first run since the clock was stopped", ask[string](t, alice, `
SELECT string_agg(split_part(view_name, '.', 2) || ' ' || split_part(reason, ';', 1), ', ' ORDER BY view_name)
  FROM (SELECT DISTINCT ON (view_name) view_name, reason FROM mvscheduler.runs, mvscheduler.settings AS g WHERE started_at > g.paused_until ORDER BY view_name, id) AS f`))

	// By hand, for one view.
	pgtest.Exec(t, alice, `SELECT mvscheduler.pause_view('latest')`, `SELECT pg_sleep(3)`, `SELECT mvscheduler.resume_view('latest')`)
	until(t, alice, `SELECT count(*) >= 2 FROM mvscheduler.runs WHERE view_name LIKE '%latest' AND reason LIKE '%the first run since the clock was stopped%'`)
	_, page := sidecar.get("/metrics")
	var missed float64
	_, err := fmt.Sscanf(page[strings.Index(page, "\nmvscheduler_slots_missed_total ")+1:], "mvscheduler_slots_missed_total %f", &missed)
	require.NoError(t, err)
	require.Less(t, missed, 4.0)
}

// delivery is what the receiver of a webhook got.
type delivery struct {
	id, event, kind, view string
	signed                bool
}

func TestAlertsAreRaisedOnceToldToWhoListensAndClosedWhenAllIsWell(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.New(t)
	user := db.User(t, "alice")
	alice := db.Conn(t, user)
	const secret = "a secret of at least 22 characters"
	var (
		mu       sync.Mutex
		got      []delivery
		refusals = 2
	)
	var slow sync.Once
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		taken := false
		defer func() {
			if taken {
				slow.Do(func() { time.Sleep(7 * time.Second) }) // longer than the other replica waits between two looks
			}
		}()
		mu.Lock()
		defer mu.Unlock()
		if refusals > 0 {
			refusals--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(r.Header.Get("X-Mvscheduler-Timestamp") + "." + string(body)))
		var alert struct{ Event, Kind, View string }
		_ = json.Unmarshal(body, &alert)
		got = append(got, delivery{r.Header.Get("X-Mvscheduler-Delivery"), alert.Event, alert.Kind, alert.View, r.Header.Get("X-Mvscheduler-Signature") == "v1="+hex.EncodeToString(mac.Sum(nil))})
		taken = true
	}))
	defer receiver.Close()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))

	listener := db.Conn(t, user)
	pgtest.Exec(t, listener, `LISTEN mvscheduler_alert`)
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`, `CREATE TABLE lost (a int)`, `INSERT INTO t VALUES (0)`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval) VALUES ('failing', 'SELECT 1 / a AS a FROM t', '1 second'), ('mended', 'SELECT a FROM lost', '1 second')`)
	for range 2 { // two replicas tell each alert once
		startSidecar(t, db, "--webhook-url", receiver.URL, "--webhook-secret-file", file)
	}
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.alerts WHERE kind = 'failing' AND view_name = $1)`, user+".failing")
	require.Contains(t, ask[string](t, alice, `SELECT reason FROM mvscheduler.alerts WHERE kind = 'failing'`), "division by zero")
	notification, err := listener.WaitForNotification(t.Context())
	require.NoError(t, err)
	require.Regexp(t, `^\{"id": \d+, "event": "opened"\}$`, notification.Payload, "any role can listen")

	until(t, alice, `SELECT freshness = 'fresh' FROM mvscheduler.status WHERE name LIKE '%mended'`)
	pgtest.Exec(t, alice, `ALTER TABLE lost RENAME COLUMN a TO b`, `REVOKE SELECT ON lost FROM `+user)
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.alerts WHERE kind = 'paused' AND resolved_at IS NULL)`)
	pgtest.Exec(t, alice, `GRANT SELECT ON lost TO `+user, `SELECT mvscheduler.resume_view('mended')`, `UPDATE t SET a = 1`)
	until(t, alice, `SELECT bool_and(resolved_at IS NOT NULL) FROM mvscheduler.alerts`)

	want := ask[int64](t, alice, `SELECT count(*) * 2 FROM mvscheduler.alerts`)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return int64(len(got)) >= want
	}, patience, 100*time.Millisecond)
	seen := map[string]bool{}
	for _, d := range got {
		require.True(t, d.signed)
		require.False(t, seen[d.id], "%s was told twice", d.id)
		seen[d.id] = true
	}
	require.Len(t, seen, int(want))
	require.Zero(t, ask[int64](t, db.Conn(t, db.User(t, "bob")), `SELECT count(*) FROM mvscheduler.alerts`), "others see none of it")
}

func TestAStaleViewAndAMissingOneRaiseAlertsUnlessTheViewIsPaused(t *testing.T) {
	heavy(t)
	t.Parallel()
	db := pgtest.New(t)
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `CREATE TABLE t (a int)`,
		`INSERT INTO mvscheduler.views (name, query, refresh_interval) SELECT v, 'SELECT a FROM t', '1 hour' FROM unnest('{old,asleep,gone}'::text[]) AS v`)
	startSidecar(t, db)
	until(t, alice, `SELECT bool_and(freshness = 'fresh') FROM mvscheduler.status`)
	pgtest.Exec(t, alice, `SELECT mvscheduler.pause_view('asleep', 'on purpose')`, `DROP MATERIALIZED VIEW gone`)
	db.Exec(t, `UPDATE mvscheduler.view_health SET data_as_of = data_as_of - interval '5 hours'`)
	until(t, alice, `SELECT count(*) = 2 FROM mvscheduler.alerts WHERE resolved_at IS NULL`)
	require.Equal(t, "missing gone, stale old", ask[string](t, alice, `SELECT string_agg(kind || ' ' || split_part(view_name, '.', 2), ', ' ORDER BY kind) FROM mvscheduler.alerts`))

	// It is over when the view is fresh, and not as soon as it is only late.
	pgtest.Exec(t, alice, `UPDATE mvscheduler.views SET refresh_interval = '4 hours' WHERE name LIKE '%.old'`)
	until(t, alice, `SELECT freshness = 'late' FROM mvscheduler.status WHERE name LIKE '%.old'`)
	looked := ask[string](t, alice, `SELECT clock_timestamp()::text`)
	pgtest.Exec(t, alice, `DROP MATERIALIZED VIEW asleep`) // of which the same look tells
	until(t, alice, `SELECT EXISTS (SELECT FROM mvscheduler.alerts WHERE kind = 'missing' AND opened_at > $1::text::timestamptz)`, looked)
	require.True(t, ask[bool](t, alice, `SELECT resolved_at IS NULL FROM mvscheduler.alerts WHERE kind = 'stale'`))

	refreshed(t, alice, "old")
	pgtest.Exec(t, alice, `SELECT mvscheduler.drop_view('gone')`, `SELECT mvscheduler.drop_view('asleep')`)
	until(t, alice, `SELECT bool_and(resolved_at IS NOT NULL) FROM mvscheduler.alerts`)
}

// After a maintenance window every view is old for a moment, which nobody has to be woken for.
func TestNoAlertIsRaisedForWhatWasPausedAMomentAgo(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE pace (seconds float8)`, `INSERT INTO pace VALUES (0)`)
	views := []string{"paused", "everything"}
	for _, view := range append(views, "dropped_1", "dropped_2") {
		s.manage(t, view, `SELECT slow(seconds) AS a FROM pace`, "refresh_interval", "1 day")
	}
	startSidecar(t, s.db)
	until(t, s.alice, `SELECT bool_and(freshness = 'fresh' AND activity = 'idle') FROM mvscheduler.status`)
	pgtest.Exec(t, s.alice, `UPDATE pace SET seconds = 300`)
	for i, pause := range []struct {
		by       *pgx.Conn
		from, to string
	}{
		{s.alice, `SELECT mvscheduler.pause_view('paused')`, `SELECT mvscheduler.resume_view('paused')`},
		{s.root, `SELECT mvscheduler.pause_all('backup')`, `SELECT mvscheduler.resume_all()`},
	} {
		pgtest.Exec(t, pause.by, pause.from)
		s.db.Exec(t, `UPDATE mvscheduler.view_health SET data_as_of = data_as_of - interval '9 days' WHERE view_id = (SELECT view_id FROM mvscheduler.view_state WHERE name LIKE '%.' || $1)`, views[i])
		pgtest.Exec(t, pause.by, pause.to)
		pgtest.Exec(t, s.alice, `SELECT mvscheduler.refresh_view('`+views[i]+`')`)
		until(t, s.alice, `SELECT freshness = 'stale' AND activity = 'running' AND reason LIKE 'the refresh that runs began at%' FROM mvscheduler.status WHERE name LIKE '%.' || $1`, views[i])
		gone := fmt.Sprintf("dropped_%d", i+1)
		pgtest.Exec(t, s.alice, `DROP MATERIALIZED VIEW `+gone)
		until(t, s.alice, `SELECT EXISTS (SELECT FROM mvscheduler.alerts WHERE kind = 'missing' AND view_name LIKE '%.' || $1)`, gone) // who looked saw both
		require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.alerts WHERE kind <> 'missing'`), pause.to)
	}
}

// The owner of one view can do what he likes with it: the others' alerts are raised and told, and history goes.
func TestAlertsOfOneOwnerHoldUpNobodyElse(t *testing.T) {
	heavy(t)
	t.Parallel()
	a := newArena(t)
	var told atomic.Bool
	release := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), ".gone") {
			told.Store(true)
			return
		}
		select { // the receiver hangs for as long as it is about mallory
		case <-release:
		case <-r.Context().Done():
		case <-time.After(time.Second):
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer receiver.Close()
	defer close(release)
	a.refused(a.m, "22001", `INSERT INTO mvscheduler.views (name, query, refresh_on, pause_reason) VALUES ('mallory.bomb', 'SELECT 1 AS a', 'manual', repeat(chr(1), 3000))`)
	a.as(`INSERT INTO mvscheduler.views (name, query, refresh_on, pause_reason) SELECT 'mallory.bomb' || i, 'SELECT 1 AS a', 'manual', repeat(chr(1), 1000) FROM generate_series(1, 60) AS i`,
		`DO $$ BEGIN FOR i IN 1..60 LOOP EXECUTE 'DROP MATERIALIZED VIEW mallory.bomb' || i; END LOOP; END $$`)
	s := startSidecar(t, a.db, "--webhook-url", receiver.URL)
	alice := a.db.Conn(t, a.alice)
	until(t, a.m, `SELECT count(*) = 60 FROM mvscheduler.alerts`)
	pgtest.Exec(t, alice, a.sql(`INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('alice.gone', 'SELECT 1 AS a', 'manual')`), a.sql(`DROP MATERIALIZED VIEW alice.gone`))
	until(t, alice, `SELECT count(*) = 1 FROM mvscheduler.alerts`)
	require.Eventually(t, told.Load, 25*time.Second, 50*time.Millisecond, "at one of mallory's a second it would be after them all")
	a.db.Exec(t, `INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, finished_at) VALUES (-1, 'x', 'postgres', 'manual', now(), now(), 'succeeded', now() - interval '1000 days')`)
	root := a.db.Conn(t, "")
	until(t, root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE view_id = -1)`)
	require.NotContains(t, s.log.String(), "housekeeping failed")
}

func TestLastRunsDoNotKeepOldRunsFromBeingForgotten(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	db.Exec(t, `INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, finished_at) SELECT 1000 + i % 5, 'x', 'postgres', 'manual', now() + i * interval '1 s', now(), 'succeeded', now() - interval '1000 days' FROM generate_series(1, 20) AS i`)
	db.Exec(t, `INSERT INTO mvscheduler.view_health (view_id, last_run_id) SELECT view_id, min(id) FROM mvscheduler.run GROUP BY view_id`)
	worker := db.Pool(t, db.Worker(t))
	for left := 15; left > 0; left -= 3 { // the five that stay are the oldest
		gone, err := catalog.Forget(t.Context(), worker, 3)
		require.NoError(t, err)
		require.Equal(t, int64(3), gone)
	}
	gone, err := catalog.Forget(t.Context(), worker, 3)
	require.NoError(t, err)
	require.Zero(t, gone)
	require.Equal(t, int64(5), ask[int64](t, db.Conn(t, ""), `SELECT count(*) FROM mvscheduler.run`))
}

func TestOldRunsAreForgottenAndTheLastOfEachViewIsKept(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := db.Conn(t, "")
	alice := db.Conn(t, db.User(t, "alice"))
	pgtest.Exec(t, alice, `INSERT INTO mvscheduler.views (name, query, refresh_on) VALUES ('v', 'SELECT 1 AS a', 'manual'), ('w', 'SELECT 1 AS a', 'manual')`)
	startSidecar(t, db)
	refreshed(t, alice, "v", "v", "v", "w")
	pgtest.Exec(t, admin, `UPDATE mvscheduler.run SET finished_at = finished_at - interval '20 days'`)
	refreshed(t, alice, "w")
	before := ask[int64](t, alice, `SELECT count(*) FROM mvscheduler.runs`)
	// Skipped runs and alerts that are over, one old enough of each and one that is not.
	pgtest.Exec(t, admin, `INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, finished_at)
		SELECT view_id, name, owner, 'schedule', now() - d, now() - d, 'skipped', now() - d FROM mvscheduler.view_state, unnest('{5 days,1 day}'::interval[]) AS d WHERE name LIKE '%.v'`,
		`INSERT INTO mvscheduler.alert (view_id, view_name, owner, kind, reason, opened_at, resolved_at)
		SELECT view_id, name, owner, k, '', now() - d, now() - d FROM mvscheduler.view_state, (VALUES ('stale', interval '20 days'), ('failing', interval '5 days')) AS x(k, d) WHERE name LIKE '%.v'`)
	pgtest.Exec(t, admin, `UPDATE mvscheduler.settings SET keep_runs = '10 days'`)
	until(t, alice, `SELECT count(*) < $1 FROM mvscheduler.runs`, before)
	until(t, admin, `SELECT count(*) = 1 AND bool_and(finished_at > now() - interval '2 days') FROM mvscheduler.run WHERE state = 'skipped'`)
	until(t, admin, `SELECT count(*) = 1 AND bool_and(kind = 'failing') FROM mvscheduler.alert`)
	pgtest.Exec(t, admin, `DELETE FROM mvscheduler.run WHERE state = 'skipped'`)
	require.Equal(t, "v 1, w 1", ask[string](t, alice, `SELECT string_agg(v || ' ' || n, ', ' ORDER BY v) FROM (SELECT split_part(view_name, '.', 2) AS v, count(*) AS n FROM mvscheduler.runs GROUP BY 1) AS x`))
	require.Equal(t, int64(2), ask[int64](t, alice, `SELECT count(*) FROM mvscheduler.attempts`))
}
