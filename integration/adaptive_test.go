package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// adaptive makes as if the optimizer had let the readers of a view ask for refreshes: they may see data whose age adds up
// to so many seconds. Its next slot is far away, whatever time it is.
func (s *scene) adaptive(t testing.TB, view string, patience int) {
	t.Helper()
	pgtest.Exec(t, s.root, fmt.Sprintf(`
WITH made AS (
    INSERT INTO mvscheduler.recommendation (view_id, view_name, kind, current, proposed, reason, command, basis, change, evidence, automatic, state, decided_at, decided_by)
    SELECT view_id, name, 'adaptive', 'every 4 hours', 'every 4 hours and when readers saw enough old data', 'because', 'UPDATE', '{"optimize": "auto"}', '{"optimize": "auto"}', '{}', true, 'applied', clock_timestamp(), 'mvscheduler'
      FROM mvscheduler.view_state WHERE name LIKE '%%.%s'
    RETURNING id, view_id)
UPDATE mvscheduler.view_state AS s SET tuned_interval = '4 hours', tuned_patience = %d, tuned_by = m.id, next_slot = clock_timestamp() + interval '3 hours', next_due = clock_timestamp() + interval '3 hours'
  FROM made AS m WHERE m.view_id = s.view_id`, view, patience))
}

// anHourAgo makes as if the views had been refreshed an hour ago.
func (s *scene) anHourAgo(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET data_as_of = data_as_of - interval '1 hour'`,
		`UPDATE mvscheduler.run SET started_at = started_at - interval '1 hour', finished_at = finished_at - interval '1 hour'`)
}

const askedByReaders = `SELECT coalesce(string_agg(substr(view_name, strpos(view_name, '.') + 1), ' ' ORDER BY view_name), 'none') FROM mvscheduler.runs WHERE cause = 'readers'`

func TestReadersThatSawEnoughOldDataGetARefreshBetweenTwoSlots(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	// What depends on the time of the day is never skipped, and its age counts from the last refresh on.
	s.manage(t, "v", "SELECT id, amount, clock_timestamp() AS at FROM sales", "refresh_interval", "1 hour", "optimize", "auto", "unique_key", []string{"id"})
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle' AND next_refresh_at > now()`)
	s.adaptive(t, "v", 30000)
	collecting(t, s.root)
	s.anHourAgo(t)
	slot := ask[time.Time](t, s.alice, `SELECT next_refresh_at FROM mvscheduler.status`)
	s.readAndSampled(t, 5)
	sampledTwice(t, s.root)
	require.Equal(t, "none", ask[string](t, s.alice, askedByReaders), "five hours are less than 30000 seconds")
	s.readAndSampled(t, 5)
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.runs WHERE cause = 'readers' AND state = 'succeeded'`)
	require.Regexp(t, `^\d+ reads since the last refresh saw data that was 60 min old on average, which adds up to [0-9.]+ h where 8.3 h are allowed`, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.runs WHERE cause = 'readers'`))
	require.Equal(t, slot, ask[time.Time](t, s.alice, `SELECT next_refresh_at FROM mvscheduler.status`), "the clock stands where it stood")
	require.Zero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.audit_log WHERE action = 'refresh'`), "nobody asked by hand")
	require.Equal(t, 30000., ask[float64](t, s.alice, `SELECT tuned_patience FROM mvscheduler.status`))
	out := mvscheduler(t, s.db, s.owner, "", "show", s.owner+".v")
	require.Contains(t, out.stdout, "every 4 hours (tuned from 1 hour), and when readers saw enough old data")
	const earlier = "when the age of what readers saw since the last refresh adds up to 8h 20m, unless the next slot is near"
	require.Contains(t, out.stdout, "or earlier     "+earlier)
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "next", s.owner+".v").stderr, "note: the view may be refreshed earlier: "+earlier)

	// They have been answered.
	s.readAndSampled(t, 10)
	sampledTwice(t, s.root)
	require.Equal(t, "v", ask[string](t, s.alice, askedByReaders))

	// What the owner takes back ends at once.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'adaptive'`)
	require.Equal(t, "none", ask[string](t, s.alice, `SELECT coalesce(tuned_patience::text, 'none') FROM mvscheduler.status`))
	require.NotContains(t, mvscheduler(t, s.db, s.owner, "", "show", s.owner+".v").stdout, "or earlier")
	require.Empty(t, mvscheduler(t, s.db, s.owner, "", "next", s.owner+".v").stderr)
	s.anHourAgo(t)
	s.readAndSampled(t, 20)
	sampledTwice(t, s.root)
	require.Equal(t, "v", ask[string](t, s.alice, askedByReaders))

	worker := s.db.Conn(t, s.db.Worker(t))
	requireSQLState(t, worker, "23514", `UPDATE mvscheduler.view_state SET tuned_patience = 1`)
	requireSQLState(t, s.alice, "42501", `INSERT INTO mvscheduler.request (kind, view_id, cause) SELECT 'refresh', id, 'readers' FROM mvscheduler.status`)
}

func TestNobodyAsksForReadersWhereThatIsNotWanted(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	first := startSidecar(t, s.db, often...)
	pgtest.Exec(t, s.alice, `CREATE TABLE fuse (id int)`,
		`CREATE FUNCTION boom() RETURNS int LANGUAGE plpgsql AS 'BEGIN IF EXISTS (SELECT FROM `+s.owner+`.fuse) THEN RAISE EXCEPTION $$boom$$; END IF; RETURN 1; END'`)
	views := map[string]string{"control": "clock_timestamp()", "paused": "clock_timestamp()", "disabled": "clock_timestamp()", "failing": "boom()", "still": "1"}
	for view, column := range views {
		s.manage(t, view, "SELECT id, amount, "+column+" AS c FROM sales", "refresh_interval", "4 hours", "optimize", "auto", "max_attempts", 1, "unique_key", []string{"id"})
	}
	s.manage(t, "above", "SELECT id, clock_timestamp() AS c FROM control", "refresh_interval", "4 hours", "optimize", "auto", "unique_key", []string{"id"})
	until(t, s.alice, `SELECT count(*) = 6 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle' AND next_refresh_at > now()`)
	for range 6 { // it is looked now and then what is below the views
		sampledTwice(t, s.root)
	}
	read := func(times int) {
		t.Helper()
		for range times {
			for view := range views {
				pgtest.Exec(t, s.alice, "SELECT * FROM "+view)
			}
			pgtest.Exec(t, s.alice, "SELECT * FROM above")
		}
		reported(t, s.alice)
		sampledTwice(t, s.root)
		sampledTwice(t, s.root)
		until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running')) AND NOT EXISTS (SELECT FROM mvscheduler.request)`)
	}
	readers := func(states string) string {
		t.Helper()
		return ask[string](t, s.alice, `SELECT coalesce(string_agg(substr(view_name, strpos(view_name, '.') + 1) || ' ' || state, ', ' ORDER BY id), 'none') FROM mvscheduler.runs WHERE cause = 'readers' AND state = ANY (string_to_array($1, ' '))`, states)
	}
	for view := range views {
		s.adaptive(t, view, 100000)
	}
	s.adaptive(t, "above", 100000)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.pause_view(name) FROM mvscheduler.status WHERE name LIKE '%.paused'`,
		`UPDATE mvscheduler.views SET enabled = false WHERE name LIKE '%.disabled'`, `INSERT INTO fuse VALUES (1)`)
	s.anHourAgo(t)
	require.NotContains(t, mvscheduler(t, s.db, s.owner, "", "next", s.owner+".paused").stderr, "earlier", "nothing runs")

	// While every view is paused nothing is asked for; and it has not been forgotten afterwards.
	pgtest.Exec(t, s.root, `SELECT mvscheduler.pause_all('maintenance')`)
	read(40)
	require.Equal(t, "none", readers("queued running succeeded skipped failed"))
	pgtest.Exec(t, s.root, `SELECT mvscheduler.resume_all()`)
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.runs WHERE cause = 'readers' AND state IN ('succeeded', 'failed')`)
	require.Equal(t, "control succeeded", readers("succeeded"))
	require.Equal(t, "failing failed", readers("failed"))

	// A view that fails waits for its clock.
	s.anHourAgo(t)
	read(40)
	require.Equal(t, "control succeeded, control succeeded", readers("queued running succeeded skipped"))
	require.Equal(t, "failing failed", readers("failed"))

	// What was read while nobody looked is not known.
	require.Zero(t, first.stop())
	s.anHourAgo(t)
	for range 200 {
		pgtest.Exec(t, s.alice, `SELECT * FROM control`)
	}
	reported(t, s.alice)
	startSidecar(t, s.db, often...)
	collecting(t, s.root)
	sampledTwice(t, s.root)
	require.Equal(t, "control succeeded, control succeeded", readers("queued running succeeded skipped"))

	// Nor is more asked for than the budget allows.
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET started_at = clock_timestamp() - interval '400 seconds', finished_at = clock_timestamp() WHERE cause = 'readers' AND state = 'succeeded'`)
	read(40)
	require.Equal(t, "control succeeded, control succeeded", readers("queued running succeeded skipped"))
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET optimizer_budget = 1`)
	until(t, s.alice, `SELECT count(*) = 3 FROM mvscheduler.runs WHERE cause = 'readers' AND state = 'succeeded'`)
	require.Equal(t, "control succeeded, control succeeded, control succeeded", readers("queued running succeeded skipped"))
}

func TestReadersOfOneOwnerDoNotUseUpWhatThoseOfOthersMayAskFor(t *testing.T) {
	t.Parallel()
	heavy(t)
	s := newScene(t)
	startSidecar(t, s.db, often...)
	bob := s.db.Conn(t, s.db.User(t, "bob"))
	s.manage(t, "v", "SELECT id, amount, clock_timestamp() AS at FROM sales", "refresh_interval", "1 hour", "optimize", "auto", "unique_key", []string{"id"})
	pgtest.Exec(t, bob, `INSERT INTO mvscheduler.views (name, query, refresh_interval, optimize, unique_key) VALUES ('w', 'SELECT i, clock_timestamp() AS at FROM generate_series(1, 9) AS i', '1 hour', 'auto', '{i}')`)
	until(t, s.root, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle' AND next_refresh_at > now()`)
	s.adaptive(t, "v", 30000)
	s.adaptive(t, "w", 30000)
	collecting(t, s.root)
	s.anHourAgo(t)
	// Alice's readers have asked for all that there is, which is a tenth of an hour.
	pgtest.Exec(t, s.root, `
INSERT INTO mvscheduler.run (view_id, view_name, owner, cause, slot, due_at, state, started_at, finished_at)
SELECT view_id, name, owner, 'readers', now(), now(), 'succeeded', clock_timestamp() - interval '400 seconds', clock_timestamp() FROM mvscheduler.view_state WHERE name LIKE '%.v'`)
	for range 10 {
		pgtest.Exec(t, bob, `SELECT * FROM w`)
	}
	reported(t, bob)
	s.readAndSampled(t, 10)
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.runs WHERE cause = 'readers' AND state = 'succeeded' AND view_name LIKE '%.w'`)
	sampledTwice(t, s.root)
	require.Equal(t, "v w", ask[string](t, s.root, askedByReaders), "and hers get no more")
}

// inBursts has a view with a history be read a hundred times as often for an hour of each day, always another one. They are
// counted back from now, so that what comes right before a change is the same at any time of the day.
func (s *scene) inBursts(t testing.TB, view string) {
	t.Helper()
	pgtest.Exec(t, s.root, fmt.Sprintf(`
UPDATE mvscheduler.sampled AS d
   SET reads = ARRAY(SELECT 100 * r FROM unnest(d.reads) AS r)::real[]
  FROM mvscheduler.view_state AS s
 WHERE s.view_id = d.view_id AND s.name LIKE '%%.%s'
   AND extract(epoch FROM date_trunc('hour', now()) - d.at)::int / 3600 %% 24 = 4 + extract(epoch FROM date_trunc('hour', now()) - d.at)::int / 86400 * 7 %% 20`, view))
}

func TestAPersonLetsReadersAskAndWhatDoesNotHelpIsTakenBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET optimizer_target = '2 hours'`)
	startSidecar(t, s.db, often...)
	for view, optimize := range map[string]string{"person": "advise", "wrong": "auto"} {
		s.manage(t, view, "SELECT id, amount FROM sales", "refresh_interval", "1 hour", "optimize", optimize, "timezone", "UTC", "unique_key", []string{"id"})
	}
	until(t, s.alice, `SELECT count(*) = 2 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	for _, view := range []string{"person", "wrong"} {
		s.history(t, view, 4, "true")
		s.inBursts(t, view)
	}
	// As if readers had been far too patient for eight days, so that it was refreshed at its interval alone.
	s.tunedFor(t, "wrong", "12 hours", "1 hour", 8)
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.recommendation SET kind = 'adaptive', basis = '{"optimize": "auto"}', change = '{"optimize": "auto"}'`,
		`UPDATE mvscheduler.view_state SET tuned_patience = 1e12 WHERE tuned_interval IS NOT NULL`)
	s.planned(t)
	decided := func() string {
		t.Helper()
		return ask[string](t, s.alice, `
SELECT coalesce(string_agg(substr(view_name, strpos(view_name, '.') + 1) || ' ' || state || CASE WHEN automatic THEN ' by itself' ELSE '' END, ', ' ORDER BY view_name, id), 'nothing')
  FROM mvscheduler.recommendations WHERE kind = 'adaptive'`)
	}
	require.Equal(t, "person proposed, wrong undone by itself", decided())
	require.Contains(t, ask[string](t, s.alice, `SELECT decision FROM mvscheduler.recommendations WHERE state = 'undone'`), "the old one would have cost")
	require.Equal(t, "none", ask[string](t, s.alice, `SELECT coalesce(tuned_patience::text, 'none') FROM mvscheduler.status WHERE name LIKE '%.wrong'`))
	require.Equal(t, "every 1 hour -> every 4 hours and when readers saw enough old data", ask[string](t, s.alice, `SELECT current || ' -> ' || proposed FROM mvscheduler.recommendations WHERE state = 'proposed' AND kind = 'adaptive'`))
	require.Contains(t, mvscheduler(t, s.db, s.owner, "", "recommend", "show", ask[string](t, s.alice, `SELECT id::text FROM mvscheduler.recommendations WHERE state = 'proposed' AND kind = 'adaptive'`)).stdout,
		"UPDATE mvscheduler.views SET optimize = 'auto' WHERE name = '"+s.owner+".person'")

	// Who accepts it need not wait for the next day.
	accepted := mvscheduler(t, s.db, s.owner, "", "recommend", "accept", ask[string](t, s.alice, `SELECT id::text FROM mvscheduler.recommendations WHERE state = 'proposed' AND kind = 'adaptive'`))
	require.Contains(t, accepted.stdout+accepted.stderr, "the sidecar may tune "+s.owner+".") // nothing else has changed yet
	require.Equal(t, "auto", ask[string](t, s.alice, `SELECT optimize FROM mvscheduler.views WHERE name LIKE '%.person'`))
	again := func() {
		t.Helper()
		pgtest.Exec(t, s.root, `UPDATE mvscheduler.collector SET planned_at = NULL`)
		until(t, s.root, `SELECT planned_at IS NOT NULL FROM mvscheduler.collector`)
	}
	again()
	require.Equal(t, "person applied, person applied by itself, wrong undone by itself", decided())
	require.Equal(t, "04:00:00 true", ask[string](t, s.alice, `SELECT tuned_interval || ' ' || (tuned_patience > 100) FROM mvscheduler.status WHERE name LIKE '%.person'`))
	again()
	require.Equal(t, "person applied, person applied by itself, wrong undone by itself", decided(), "once")

	// An interval takes its place as a whole, and so does what the owner takes back.
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'adaptive' AND state = 'applied' AND NOT automatic`)
	require.Equal(t, "advise none none", ask[string](t, s.alice, `
SELECT v.optimize || ' ' || coalesce(s.tuned_interval::text, 'none') || ' ' || coalesce(s.tuned_patience::text, 'none') FROM mvscheduler.status AS s JOIN mvscheduler.views AS v ON v.id = s.id AND v.name LIKE '%.person'`))
	s.planned(t)
	require.Equal(t, "person undone, person applied by itself, wrong undone by itself", decided(), "what was taken back is not proposed again")
}

// A day takes three minutes. For six weeks readers came in bursts, an hour long and at another time each day; the
// sidecar finds out what suits them, and then they come again: on this day from eight to nine. In the middle of that
// another sidecar takes over. It is planned while the clock does not hurry yet, and what readers ask for may take any part
// of an hour, so that what a refresh costs is not up to the machine.
func readersThatComeInBurstsAskForRefreshesAsOftenAsTheSimulatorSays(t *testing.T) {
	s := newScene(t)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	begin := today.AddDate(0, 0, 1+(7-int(today.Weekday()))%7).Add(6 * time.Hour) // on a Monday to come
	const seldom, burst = 2., 100.
	v := tale{view: "bursty", interval: "2h", query: napping, rate: 1}
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET optimizer_target = '2 hours', optimizer_budget = 100`)
	pgtest.Exec(t, s.alice, `CREATE FUNCTION nap(id integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS 'BEGIN IF id = 1 THEN PERFORM pg_sleep(0.05); END IF; RETURN id; END'`)
	s.manage(t, v.view, v.query, "refresh_interval", v.interval, "timezone", "UTC", "optimize", "auto", "unique_key", []string{"id"})
	v.remember(t, s, begin)
	pgtest.Exec(t, s.root, fmt.Sprintf(`
UPDATE mvscheduler.sampled AS d
   SET reads = ARRAY(SELECT round(2 * %g * random()) FROM generate_series(1, 12))::real[]
 WHERE extract(hour FROM at AT TIME ZONE 'UTC')::int <> extract(doy FROM at AT TIME ZONE 'UTC')::int * 7 %% 24`, seldom), fmt.Sprintf(`
UPDATE mvscheduler.sampled AS d
   SET reads = ARRAY(SELECT round(2 * %g * random()) FROM generate_series(1, 12))::real[]
 WHERE extract(hour FROM at AT TIME ZONE 'UTC')::int = extract(doy FROM at AT TIME ZONE 'UTC')::int * 7 %% 24`, burst))
	reported(t, s.alice)
	s.hurry(t, begin.Add(-100*time.Minute), 1)
	side := startSidecar(t, s.db, "--sample-every", "50ms")
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE freshness <> 'never' AND activity = 'idle'`)
	refreshed(t, s.alice, v.view, v.view, v.view) // what one costs by the method in force has to be known of three
	s.planned(t)
	require.Equal(t, "adaptive applied true", ask[string](t, s.alice, `SELECT string_agg(kind || ' ' || state || ' ' || automatic, ', ') FROM mvscheduler.recommendations`))
	schedule := optimizer.Schedule{Mode: optimizer.Adaptive, Patience: ask[float64](t, s.alice, `SELECT tuned_patience FROM mvscheduler.status`),
		Interval: time.Duration(ask[float64](t, s.alice, `SELECT extract(epoch FROM tuned_interval)::float8 FROM mvscheduler.status`)) * time.Second}
	require.Zero(t, side.stop())

	clock := s.pace(t, begin.Add(-70*time.Minute), 480) // the lease of the first sidecar is over before the day begins
	side = startSidecar(t, s.db, "--sample-every", "50ms")
	s.visit(t, clock, "SELECT count(*) FROM "+v.view, func(at time.Time) float64 {
		if at.Hour() == 8 {
			return burst
		}
		return seldom
	})
	s.visit(t, clock, `NOTIFY mvscheduler_due`, constantly(5))
	from, half, to := begin.Add(90*time.Minute), begin.Add(150*time.Minute), begin.Add(5*time.Hour-5*time.Minute)
	require.True(t, clock.now().Before(from), "the machine is too slow for this")
	clock.await(t, half)
	require.Zero(t, side.stop())
	startSidecar(t, s.db, "--sample-every", "50ms")
	clock.await(t, to.Add(10*time.Minute)) // and what was sampled is written down

	// The sidecar looks every half minute, and would look in vain twice or thrice in a bin: the simulator has the bins by the minute.
	h := optimizer.History{Grid: optimizer.Grid{Start: from.Truncate(time.Hour), Width: time.Minute}, Cost: 1, Kappa: 1}
	h.Reads = ask[[]float64](t, s.alice, `
SELECT array_agg(coalesce(r, 0)::float8 / 5 ORDER BY d.at, n, minute)
  FROM mvscheduler.samples AS d, unnest(d.reads) WITH ORDINALITY AS u(r, n), generate_series(1, 5) AS minute
 WHERE d.at >= $1 AND d.at < $2`, from.Truncate(time.Hour), to)
	since := begin.Add(2 * time.Hour) // from when on it does not matter when it was refreshed before
	var simulated int
	for _, bin := range h.Refreshes(schedule, optimizer.Bounds{}, 0, len(h.Reads)) {
		if !h.Grid.At(bin).Before(since) {
			simulated++
		}
	}
	ran := ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.runs WHERE state = 'succeeded' AND started_at >= $1 AND started_at < $2`, since, to)
	t.Logf("%s, %.0f: the simulator says %d refreshes, there were %d: %s", schedule, schedule.Patience, simulated, ran,
		ask[string](t, s.alice, `SELECT string_agg(cause || ' ' || state || to_char(started_at, ' HH24:MI'), ', ' ORDER BY id) FROM mvscheduler.runs`))
	require.InDelta(t, simulated, ran, 1)
	for _, part := range []struct{ from, to time.Time }{{since, half}, {half, begin.Add(190 * time.Minute)}} { // before the other took over, and after
		require.NotZero(t, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.runs WHERE cause = 'readers' AND state = 'succeeded' AND started_at >= $1 AND started_at < $2`, part.from, part.to))
	}
}
