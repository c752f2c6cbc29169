package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/mvscheduler/mvscheduler/optimizer"
)

// tale is a view of the test from end to end: how often it is refreshed and read, and what it reads.
type tale struct {
	view, interval, query string
	rate                  float64 // reads in five minutes
	office                bool    // in office hours only
	tracked               bool    // what is below it changes every 45 minutes, and that is known
}

// The function has a refresh take a minute and more. What it reads is not known, so that its views are never skipped.
const napping = `SELECT nap(id) AS id, amount FROM sales`

var tales = []tale{
	{view: "flat", interval: "30m", query: napping, rate: 3},
	{view: "hot", interval: "2h", query: napping, rate: 24},
	{view: "office", interval: "30m", query: napping, rate: 4, office: true},
	{view: "quiet", interval: "30m", query: `SELECT id, amount FROM ledger`, rate: 3, tracked: true},
	{view: "unread", interval: "1h", query: napping},
}

// rhythm is how often the view is read at an instant.
func (v tale) rhythm(at time.Time) float64 {
	if v.office && (at.Weekday() == time.Saturday || at.Weekday() == time.Sunday || at.Hour() < 8 || at.Hour() >= 18) {
		return 0
	}
	return v.rate
}

// remember writes six weeks of samples of the view, up to an hour, as the collector would have.
func (v tale) remember(t testing.TB, s *scene, until time.Time) {
	t.Helper()
	hours, changes := "true", "NULL"
	if v.office {
		hours = strings.ReplaceAll(office, "h ", "b ")
	}
	if v.tracked {
		changes = "CASE WHEN extract(epoch FROM b)::bigint % 2700 = 0 THEN 1 ELSE 0 END"
	}
	pgtest.Exec(t, s.root, fmt.Sprintf(`
WITH written AS (
    INSERT INTO mvscheduler.sampled (view_id, at, reads, changes)
    SELECT s.view_id, h, x.reads, x.changes
      FROM mvscheduler.view_state AS s
     CROSS JOIN generate_series('%[2]s'::timestamptz - interval '42 days', '%[2]s'::timestamptz - interval '1 hour', '1 hour') AS h
     CROSS JOIN LATERAL (SELECT array_agg(CASE WHEN %[4]s THEN round(2 * %[3]g * random()) ELSE 0 END::real ORDER BY b) AS reads, array_agg((%[5]s)::real ORDER BY b) AS changes
                           FROM generate_series(h, h + interval '55 minutes', '5 minutes') AS b) AS x
     WHERE s.name LIKE '%%.%[1]s'
    RETURNING view_id, at, (SELECT sum(r) FROM unnest(reads) AS r) AS reads)
INSERT INTO mvscheduler.view_usage (view_id, since, last_read_at, reads, sampled_until)   -- else nothing is known of the days from ours to that one
SELECT view_id, min(at), max(at) FILTER (WHERE reads > 0), sum(reads), '%[2]s'::timestamptz - interval '10 minutes' FROM written GROUP BY view_id`,
		v.view, until.Format(time.RFC3339), v.rate, hours, changes))
}

// collected are the reads of a view that were sampled from one hour to another.
func (s *scene) collected(t testing.TB, view string, from, to time.Time) float64 {
	t.Helper()
	return ask[float64](t, s.alice, `
SELECT coalesce(sum(r), 0)::float8
  FROM mvscheduler.samples AS d
  JOIN mvscheduler.views AS v ON v.id = d.view_id AND v.name LIKE '%.' || $1, unnest(d.reads) WITH ORDINALITY AS x(r, n)
 WHERE d.at + (n - 1) * d.width * interval '1 second' >= $2
   AND d.at + (n - 1) * d.width * interval '1 second' < $3`, view, from, to)
}

// refreshes are those of a view that really ran from one instant to another.
func (s *scene) refreshes(t testing.TB, view string, from, to time.Time) float64 {
	t.Helper()
	return ask[float64](t, s.alice, `SELECT count(*)::float8 FROM mvscheduler.runs WHERE view_name LIKE '%.' || $1 AND state = 'succeeded' AND started_at >= $2 AND started_at < $3`, view, from, to)
}

// simulated is how often the simulator would have refreshed a view on what was recorded of it since an instant, as users ask
// for it. It begins with a refresh, whatever the schedule, which is one more where nothing is skipped; a view that is skipped has
// what changed before in it. Until the program is there the clock goes on by some minutes, by which what it judges begins and
// ends later: let no slot of a long interval lie there.
func (s *scene) simulated(t testing.TB, v tale, clock fastClock, since, until time.Time) float64 {
	t.Helper()
	span := until.Sub(since)
	out := mvscheduler(t, s.db, s.owner, "", "simulate", "--view", s.owner+"."+v.view, "--since", fmt.Sprint(clock.now().Sub(since)+span), "--warm-up", fmt.Sprint(span), "--span", fmt.Sprint(span), "--interval", v.interval, "--policy", "fixed", "-o", "json")
	require.Zero(t, out.code, out.stderr)
	var found []optimizer.PolicyResult
	require.NoError(t, json.Unmarshal([]byte(out.stdout), &found))
	require.Len(t, found, 1)
	if !v.tracked {
		return float64(found[0].Refreshes - 1)
	}
	return float64(found[0].Refreshes)
}

// A day takes one and a half minutes: the database's clock runs that fast. Six weeks are written as the collector would have, then it
// is Monday, five in the morning: a sidecar starts, and there are real readers until six in the evening; in the long run they
// stay for two days, and for another one when the recommendations were accepted or applied.
func aDayOfFiveViewsIsCountedSimulatedAndAdvisedAsItWas(t *testing.T) {
	set, stays := newScene, 13*time.Hour
	if long {
		set, stays = func(t testing.TB) *scene {
			t.Helper()
			return sceneOn(t, pgtest.Dedicated(t, map[string]string{"shared_preload_libraries": "pg_stat_statements"}))
		}, 49*time.Hour
	}
	s := set(t)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	begin := today.AddDate(0, 0, 1+(7-int(today.Weekday()))%7).Add(5 * time.Hour) // on a Monday to come
	if long {
		pgtest.Exec(t, s.root, `CREATE EXTENSION pg_stat_statements`)
	}
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.settings SET optimizer_target = '30 minutes', optimizer_budget = 1`)
	pgtest.Exec(t, s.alice, `CREATE TABLE ledger (LIKE sales)`, `INSERT INTO ledger SELECT * FROM sales`,
		`CREATE FUNCTION nap(id integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS 'BEGIN IF id = 1 THEN PERFORM pg_sleep(0.05); END IF; RETURN id; END'`)
	for _, v := range tales {
		s.manage(t, v.view, v.query, "refresh_interval", v.interval, "timezone", "UTC", "unique_key", []string{"id"})
		v.remember(t, s, begin)
	}
	reported(t, s.alice) // an index that is made scans too
	clock := s.hurry(t, begin.Add(-10*time.Minute), 960)
	startSidecar(t, s.db, "--sample-every", "50ms")
	until(t, s.alice, `SELECT count(*) = 5 FROM mvscheduler.status WHERE freshness <> 'never' AND activity = 'idle'`)

	visitors := map[string]*visitor{}
	for _, v := range tales {
		visitors[v.view] = s.visit(t, clock, "SELECT count(*) FROM "+v.view, v.rhythm)
	}
	s.visit(t, clock, `UPDATE ledger SET amount = amount + 1 WHERE id = 1`, constantly(5./45))
	s.visit(t, clock, `NOTIFY mvscheduler_due`, constantly(5)) // else it is looked once a second of ours whether a view is due
	from, to := begin.Add(3*time.Hour), begin.Add(stays)
	require.True(t, clock.now().Before(from), "the machine is too slow for this")
	clock.await(t, to.Add(40*time.Minute))
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET optimize = 'auto' WHERE name LIKE '%.office'`) // what was recommended so far waited for a person
	s.planned(t)

	for _, v := range tales {
		sent, seen := float64(visitors[v.view].visits(from, to)), s.collected(t, v.view, from, to)
		t.Logf("%s: %g reads were sent and %.1f collected, %g refreshes", v.view, sent, seen, s.refreshes(t, v.view, from, to))
		require.InDelta(t, sent, seen, 0.1*sent, "%s: reads", v.view)
		if v.rate == 0 {
			continue
		}
		aside := 20 * time.Minute // of the slots at whole hours
		ran, replayed := s.refreshes(t, v.view, from.Add(aside), to.Add(aside)), s.simulated(t, v, clock, from.Add(aside), to.Add(aside))
		t.Logf("%s: the simulator says %g refreshes", v.view, replayed)
		require.InDelta(t, replayed, ran, 0.15*replayed, "%s: refreshes", v.view)
	}
	for at := from; at.Before(from.Add(9 * time.Hour)); at = at.Add(3 * time.Hour) {
		sent := float64(visitors["office"].visits(at, at.Add(3*time.Hour)))
		require.InDelta(t, sent, s.collected(t, "office", at, at.Add(3*time.Hour)), max(5, 0.1*sent), "office: reads from %s on", at)
	}
	// Whether it is worth a word that the quiet view may be looked at more often for nothing is up to the machine.
	require.Equal(t, []string{"hot interval proposed every 2 hours -> every 1 hour", "office calendar applied", "unread unused proposed"}, ask[[]string](t, s.alice, `
SELECT array_agg(substr(view_name, strpos(view_name, '.') + 1) || ' ' || kind || ' ' || state || CASE kind WHEN 'interval' THEN ' ' || current || ' -> ' || proposed ELSE '' END ORDER BY view_name)
  FROM mvscheduler.recommendations WHERE state IN ('proposed', 'applied') AND view_name NOT LIKE '%.quiet'`))
	until(t, s.alice, `
SELECT refresh_interval = '30 minutes' AND tuned_calendar IS NOT NULL AND extract(isodow FROM next_refresh_at AT TIME ZONE 'UTC') < 6 AND extract(hour FROM next_refresh_at AT TIME ZONE 'UTC') BETWEEN 7 AND 17
  FROM mvscheduler.status WHERE name LIKE '%.office'`) // it is after six in the evening, and nobody comes in the night
	if !long {
		return
	}

	require.Equal(t, "L1", ask[string](t, s.root, `SELECT level FROM mvscheduler.collector`))
	from, to = to.Add(4*time.Hour), to.Add(28*time.Hour)
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE state = 'proposed' AND kind = 'interval' AND view_name NOT LIKE '%.quiet'`)
	require.True(t, clock.now().Before(from), "the machine is too slow for this")
	clock.await(t, to.Add(40*time.Minute))
	hot := tales[1]
	hot.interval = "1h"
	ran, replayed := s.refreshes(t, "hot", from, to), s.simulated(t, hot, clock, from, to)
	t.Logf("hot: the simulator says %g refreshes, there were %g", replayed, ran)
	require.InDelta(t, replayed, ran, 0.15*replayed, "hot: refreshes")
	// The prediction is that of two weeks, and this is one of their ten days with readers.
	ran, replayed = s.refreshes(t, "office", from, to), 14./10*ask[float64](t, s.alice, `SELECT (predicted #>> '{after,refreshes_a_day}')::float8 FROM mvscheduler.recommendations WHERE kind = 'calendar' AND state = 'applied'`)
	t.Logf("office: the simulator says %g refreshes, there were %g", replayed, ran)
	require.InDelta(t, replayed, ran, 0.15*replayed, "office: refreshes")
}
