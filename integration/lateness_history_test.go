package integration

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// lateView is a kind of view that looks back as far as lateness, and no further.
type lateView struct {
	name, ts, query, zone, width, lateness string
	past                                   string // before the labels of all buckets that a refresh from now on may compute
	settings                               []any
}

var lateViews = []lateView{
	// What is computed begins with the first bucket that begins within two widths and a change of clocks before lateness.
	{"hours", "timestamptz", `SELECT date_trunc('hour', ts) AS hour, k, count(*) AS n, sum(v) AS total FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "UTC", "1 hour", "2 days",
		`seen_at - interval '2 days' - 2 * interval '1 hour' - interval '1 hour'`, nil},
	{"days of a zone", "timestamptz", `SELECT date_trunc('day', ts) AS hour, k, count(*) AS n, max(v) AS most FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "Australia/Lord_Howe", "1 day", "3 days",
		`seen_at - interval '3 days' - 2 * interval '25 hours' - interval '3 hours'`, nil},
	// Times without a zone are those of the zone of the view, which is ahead of UTC, or behind it by more than a bucket.
	{"rows by the clock of Cairo", "timestamp", `SELECT date_bin('6 hours', ts, '2000-01-01 01:00') AS hour, k, v FROM src WHERE mvscheduler.in_window(ts)`, "Africa/Cairo", "6 hours", "2 days",
		`(seen_at - interval '2 days' - 2 * interval '6 hours' - interval '6 hours')::timestamp`, []any{"unique_key", "{}"}},
	{"hours by the clock of Honolulu", "timestamp", `SELECT date_trunc('hour', ts) AS hour, k, count(*) AS n FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "Pacific/Honolulu", "1 hour", "2 days",
		`(seen_at - interval '2 days' - 2 * interval '1 hour' - interval '6 hours')::timestamp`, nil},
}

func instant(at time.Time) string {
	return fmt.Sprintf("'%s'::timestamptz", at.UTC().Format("2006-01-02 15:04:05.999999Z07:00"))
}

// copied is COPY of rows that are no older than lateness when it begins, by a margin, or older than all that a refresh computes, or of both.
func (l lateView) copied(r *rapid.T, past time.Time) string {
	var days int
	if _, err := fmt.Sscanf(l.lateness, "%d days", &days); err != nil {
		r.Fatal(err)
	}
	zone, err := time.LoadLocation(l.zone)
	if err != nil {
		r.Fatal(err)
	}
	rows := make([]string, rapid.IntRange(1, 9).Draw(r, "copied"))
	for n := range rows {
		at := time.Now().Add(-time.Duration(days) * 24 * time.Hour * time.Duration(rapid.IntRange(0, 980).Draw(r, "young")) / 1000)
		if rapid.Bool().Draw(r, "late") {
			at = past.Add(-time.Duration(rapid.IntRange(60, 10*24*60).Draw(r, "old")) * time.Minute)
		}
		rows[n] = fmt.Sprintf("%s\t%d\t5", clockTime(at, l.ts, zone), 1+n%4)
	}
	return copied("src", "ts, k, v", rows...)
}

// late is one statement on what is no older than lateness, or on what is older than all that a refresh computes, or on both; of a
// kind, or of any where that is empty.
func (l lateView) late(r *rapid.T, past time.Time, kind string) string {
	young := func() string {
		if rapid.IntRange(0, 5).Draw(r, "edge") == 0 {
			return fmt.Sprintf("now() - interval '%s'", l.lateness)
		}
		return fmt.Sprintf("now() - interval '%s' * %d / 1000", l.lateness, rapid.IntRange(0, 1000).Draw(r, "young"))
	}
	edge := instant(past)
	old := func() string {
		if rapid.IntRange(0, 5).Draw(r, "edge") == 0 {
			return edge + " - interval '1 microsecond'"
		}
		return edge + fmt.Sprintf(" - interval '%d minutes'", rapid.IntRange(1, 10*24*60).Draw(r, "old"))
	}
	at := func() string {
		if rapid.Bool().Draw(r, "late") {
			return old()
		}
		return young()
	}
	some := func() string {
		if rapid.Bool().Draw(r, "late") {
			return fmt.Sprintf("ts < %s AND ts >= %s", edge, old())
		}
		return fmt.Sprintf("ts >= now() - interval '%s' AND ts < %s", l.lateness, young())
	}
	key := func() int { return rapid.IntRange(1, 4).Draw(r, "key") }
	upsert := func(kind string) func() string {
		return func() string {
			if kind == kindCopy {
				return l.copied(r, past)
			}
			return upserts{table: "src", key: "c", columns: "ts, k, v, c", fresh: "ts, 5, 5, nextval('numbers')", add: "v = src.v + 1", move: at()}.upsert(r, kind, some())
		}
	}
	if kind != "" {
		return upsert(kind)()
	}
	return rapid.SampledFrom([]func() string{
		upsert(kindNothing), upsert(kindUpdate), upsert(kindMove), upsert(kindCopy),
		func() string { return fmt.Sprintf(`INSERT INTO src VALUES (%s, %d, 5)`, at(), key()) },
		func() string {
			return fmt.Sprintf(`INSERT INTO src SELECT %s, g, g FROM generate_series(1, %d) AS g`, at(), rapid.IntRange(1, 9).Draw(r, "many"))
		},
		func() string { return fmt.Sprintf(`UPDATE src SET v = v + 1 WHERE k = %d AND %s`, key(), some()) },
		func() string { return fmt.Sprintf(`UPDATE src SET ts = %s WHERE k = %d AND %s`, at(), key(), some()) },
		func() string { return fmt.Sprintf(`DELETE FROM src WHERE k = %d AND %s`, key(), some()) },
	}).Draw(r, "statement")()
}

// What is written is found as far back as lateness, to the row. What is older stays as it was, bucket by bucket, also in the
// buckets right before, until verify --repair marks just those that are wrong and a refresh mends them.
func TestWithoutTrackingAViewIsWhatItsQueryGivesAsFarBackAsLateness(t *testing.T) {
	heavy(t)
	t.Parallel()
	for _, l := range lateViews {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			pgtest.Exec(t, s.alice, `SET TimeZone = '`+l.zone+`'`, `CREATE SEQUENCE numbers`, `CREATE TABLE src (ts `+l.ts+`, k int, v numeric, c bigint DEFAULT nextval('numbers') UNIQUE)`, `CREATE INDEX ON src (ts)`,
				`INSERT INTO src SELECT t, d, d FROM generate_series(now() - interval '20 days', now(), '50 minutes') AS t, generate_series(1, 3) AS d`)
			s.incremental(t, "v", l.query, append([]any{"bucket_width", l.width, "timezone", l.zone, "change_tracking", "none", "lateness", l.lateness, "max_attempts", 20}, l.settings...)...)
			startSidecar(t, s.db)
			s.incremented(t, "v")
			same(t, s.alice, "v")
			require.Equal(t, "none", ask[string](t, s.root, `SELECT tracking FROM mvscheduler.increment_state`))
			s.snapshotOf(t, "v", "model")
			writers := s.writers(t)
			for _, w := range writers {
				pgtest.Exec(t, w, `SET TimeZone = '`+l.zone+`'`)
			}
			// Labels of buckets in which one relation has other rows than another.
			const differing = `SELECT coalesce(array_agg(DISTINCT d.hour::text), '{}') FROM ((SELECT * FROM %[1]s EXCEPT ALL SELECT * FROM %[2]s) UNION ALL (SELECT * FROM %[2]s EXCEPT ALL SELECT * FROM %[1]s)) AS d WHERE %[3]s`
			differ := func(a, b, where string) []string {
				labels := ask[[]string](t, s.alice, fmt.Sprintf(differing, a, b, where))
				slices.Sort(labels)
				return labels
			}
			var told tally
			stale, found, repaired := 0, 0, 0
			rapid.Check(t, func(r *rapid.T) {
				past := ask[time.Time](t, s.alice, `SELECT (`+l.past+`)::timestamptz FROM mvscheduler.visible_increments`)
				first := "d.hour >= '" + ask[string](t, s.alice, `SELECT (`+l.past+`)::text FROM mvscheduler.visible_increments`) + "'"
				histories := make([][]string, len(writers))
				for n := range histories {
					for range rapid.IntRange(1, 6).Draw(r, "statements") {
						histories[n] = append(histories[n], l.late(r, past, ""))
					}
				}
				strewn(r, histories, func(kind string) string { return l.late(r, past, kind) })
				var group sync.WaitGroup
				for n, w := range writers {
					group.Go(func() { told.play(r, w, histories[n], concurrently) })
				}
				if rapid.IntRange(0, 2).Draw(r, "kill") == 0 {
					told.kill(t, s, "v")
				}
				if rapid.Bool().Draw(r, "meanwhile") {
					s.incremented(t, "v")
				}
				group.Wait()
				pgtest.Exec(t, writers[0], fmt.Sprintf(`INSERT INTO src VALUES (now() - interval '%s', 8, 1)`, l.lateness), fmt.Sprintf(`INSERT INTO src VALUES (%s - interval '1 microsecond', 9, 1)`, instant(past)))
				if len(differ("v", "v__query", first)) > 0 {
					found++
				}
				s.incremented(t, "v")
				require.Empty(r, differ("v", "v__query", first), "what is written within lateness is found")
				require.Empty(r, differ("v", "model", "NOT "+first), "what is older stays as it was")
				wrong := differ("v", "v__query", "NOT "+first)
				stale += len(wrong)
				if rapid.Bool().Draw(r, "repair") {
					repaired += len(wrong)
					s.repair(t, r, wrong)
					same(t, s.alice, "v")
				}
				pgtest.Exec(t, s.alice, `TRUNCATE model`, `INSERT INTO model SELECT * FROM v`)
			})
			t.Logf("%d buckets were stale, %d of them repaired; a last refresh had something to find in %d histories", stale, repaired, found)
			require.Positive(t, stale)
			require.Positive(t, found)
			s.repair(t, t, differ("v", "v__query", "true"))
			same(t, s.alice, "v")
			told.sound(t, s)
		})
	}
}

// repair has verify find these buckets wrong, and no others, and mend them.
func (s *scene) repair(t testing.TB, r require.TestingT, wrong []string) {
	t.Helper()
	v, _ := s.verify(t, 0, "v", "--all", "--repair")
	labels := []string{}
	for _, d := range v.Differences {
		require.Equal(r, "wrong", d.State)
		labels = append(labels, d.Bucket)
	}
	slices.Sort(labels)
	require.Equal(r, wrong, labels)
	s.incremented(t, "v")
}

// A sidecar that was away for the night, or a view that is refreshed once a day: what came meanwhile was not late.
func TestWithoutTrackingNothingIsMissedHoweverLongAgoTheLastRefreshWas(t *testing.T) {
	t.Parallel()
	s := newMetrics(t)
	s.incremental(t, "v", hourly, "change_tracking", "none", "lateness", "1 hour")
	worker := startSidecar(t, s.db)
	s.incremented(t, "v")
	require.Zero(t, worker.stop())
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.increment_state SET seen_at = seen_at - interval '20 hours'`)
	pgtest.Exec(t, s.alice, `INSERT INTO metrics SELECT now() - n * interval '10 minutes', 1, 1 FROM generate_series(0, 21 * 6) AS n`)
	v, _ := s.verify(t, 0, "v", "--all")
	require.GreaterOrEqual(t, v.Dirty, 21)
	require.Zero(t, v.Wrong)
	startSidecar(t, s.db)
	s.incremented(t, "v")
	same(t, s.alice, "v")
	require.True(t, ask[bool](t, s.root, `SELECT seen_at > now() - interval '1 hour' FROM mvscheduler.increment_state`))
}

// With a view of so many rows that all of it would be computed in one pass, what is no older than lateness still is not: after the
// last partition nothing comes.
func TestWithoutTrackingAWindowIsNotTakenForTheWholeTable(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgtest.Exec(t, s.alice, `CREATE TABLE src (ts timestamptz, k int, v numeric)`, `CREATE INDEX ON src (ts)`,
		`INSERT INTO src SELECT t, d, d FROM generate_series(now() - interval '40 days', now(), '50 minutes') AS t, generate_series(1, 3) AS d`)
	s.incremental(t, "v", `SELECT date_trunc('hour', ts) AS hour, k, count(*) AS n FROM src WHERE mvscheduler.in_window(ts) GROUP BY 1, 2`, "change_tracking", "none", "lateness", "1 day")
	startSidecar(t, s.db)
	s.incremented(t, "v")
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_health SET rows_estimate = 20000`)
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "what is no older than lateness")
	require.NotContains(t, s.last(t, "v", "reason"), "in one pass")
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET lateness = '30 days'`)
	s.incremented(t, "v") // everything, since the row was changed
	s.incremented(t, "v")
	require.Contains(t, s.last(t, "v", "reason"), "in one pass, since they have about ", "a window that takes in much of it is")
}
