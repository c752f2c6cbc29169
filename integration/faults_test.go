package integration

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// long says that the randomized tests take their time.
var long = os.Getenv("MVSCHEDULER_LONG") != ""

// heavy skips a test that takes more than seven seconds of the machine unless it is the long run, or it is asked for by its name,
// as .ci/run does for all of them: make test shall be done within ten minutes.
func heavy(t testing.TB) {
	t.Helper()
	if !long && !strings.Contains(flag.Lookup("test.run").Value.String(), strings.SplitN(t.Name(), "/", 2)[0]) {
		t.Skip("takes long: MVSCHEDULER_LONG=1 or its name in -run")
	}
}

// drawn are so many of the cases of a test, others each time; all of them in the long run, and where one is asked for by
// its name.
func drawn[C any](t testing.TB, count int, cases []C) []C {
	t.Helper()
	if long || count >= len(cases) || strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		return cases
	}
	some := slices.Clone(cases)
	rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	t.Logf("%d of %d cases", count, len(cases))
	return some[:count]
}

// scene is a database with a user who owns a schema and the functions of these tests.
type scene struct {
	db    *pgtest.DB
	owner string
	alice *pgx.Conn
	root  *pgx.Conn // the superuser, who sees private tables
}

func newScene(t testing.TB) *scene {
	t.Helper()
	return sceneOn(t, pgtest.New(t))
}

func sceneOn(t testing.TB, db *pgtest.DB) *scene {
	t.Helper()
	s := &scene{db: db, owner: db.User(t, "alice")}
	s.alice, s.root = db.Conn(t, s.owner), db.Conn(t, "")
	pgtest.Exec(t, s.alice,
		`CREATE FUNCTION slow(seconds float8) RETURNS integer LANGUAGE plpgsql VOLATILE AS 'BEGIN PERFORM pg_sleep(seconds); RETURN 1; END'`,
		`CREATE TABLE sales (id integer PRIMARY KEY, amount integer NOT NULL)`,
		`INSERT INTO sales SELECT i, i FROM generate_series(1, 100) AS i`)
	return s
}

// quick reads the sales at once. A view that calls a volatile function is refreshed even if nothing changed.
const quick = "SELECT id, amount, slow(0) AS paused FROM sales"

// slowQuery reads the 100 sales and takes this long.
func slowQuery(took time.Duration) string {
	return fmt.Sprintf("SELECT id, amount, slow(%g) AS paused FROM sales", took.Seconds()/100)
}

// manage inserts a row of the catalog. Columns come as name, value, name, value.
func (s *scene) manage(t testing.TB, name, query string, columns ...any) {
	t.Helper()
	names, places, values := []string{"name", "query"}, []string{"$1", "$2"}, []any{name, query}
	for i := 0; i < len(columns); i += 2 {
		names = append(names, fmt.Sprintf("%q", columns[i]))
		values = append(values, columns[i+1])
		places = append(places, fmt.Sprintf("$%d", len(values)))
	}
	sql := fmt.Sprintf(`INSERT INTO mvscheduler.views (%s) VALUES (%s)`, strings.Join(names, ", "), strings.Join(places, ", "))
	_, err := s.alice.Exec(t.Context(), sql, values...)
	require.NoError(t, err)
}

// running waits until an attempt of the view is under way and returns its run.
func (s *scene) running(t testing.TB, view string) int64 {
	t.Helper()
	until(t, s.root, `SELECT EXISTS (SELECT FROM mvscheduler.run WHERE view_name = $1 AND state = 'running')`, s.owner+"."+view)
	return ask[int64](t, s.root, `SELECT id FROM mvscheduler.run WHERE view_name = $1 AND state = 'running'`, s.owner+"."+view)
}

// ended waits until a run is in a terminal state and returns that.
func (s *scene) ended(t testing.TB, run int64) string {
	t.Helper()
	until(t, s.root, `SELECT count(*) = 1 FROM mvscheduler.run WHERE id = $1 AND state NOT IN ('queued', 'running')`, run)
	return ask[string](t, s.root, `SELECT state FROM mvscheduler.run WHERE id = $1`, run)
}

// working waits until the backend of the view's attempt executes a REFRESH, and returns its pid.
func (s *scene) working(t testing.TB, view string) int32 {
	t.Helper()
	const found = `
  FROM mvscheduler.run AS r
  JOIN mvscheduler.attempt AS a ON a.run_id = r.id AND a.token = r.token
  JOIN pg_stat_activity AS b ON b.pid = a.backend_pid AND b.backend_start = a.backend_start
 WHERE r.view_name = $1 AND r.state = 'running' AND b.state = 'active' AND b.query LIKE 'REFRESH%'`
	until(t, s.root, `SELECT EXISTS (SELECT`+found+`)`, s.owner+"."+view)
	return ask[int32](t, s.root, `SELECT coalesce((SELECT a.backend_pid`+found+`), 0)`, s.owner+"."+view)
}

// idle stops every clock and waits until no run is queued or running.
func (s *scene) idle(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, s.root, `UPDATE mvscheduler.view_state SET enabled = false`)
	until(t, s.root, `
SELECT NOT EXISTS (SELECT FROM mvscheduler.run WHERE state IN ('queued', 'running'))
   AND NOT EXISTS (SELECT FROM mvscheduler.river_job WHERE state = 'running')`)
}

// endsWell waits until all is done, stops the sidecars and looks back.
func (s *scene) endsWell(t testing.TB, sidecars ...*sidecar) {
	t.Helper()
	s.idle(t)
	for _, sidecar := range sidecars {
		require.Zero(t, sidecar.stop())
	}
	s.everySlotHasOneEnd(t)
	s.noRefreshesOverlap(t)
	s.nothingIsLeft(t)
}

// nothingIsLeft says that stopped sidecars left nothing on the server.
func (s *scene) nothingIsLeft(t testing.TB) {
	t.Helper()
	until(t, s.root, `
SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'mvscheduler%')`)
	require.Zero(t, ask[int](t, s.root, `
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.river_job WHERE state = 'running'`), "jobs that nobody works")
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE state = 'running'`))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.attempt WHERE outcome = 'running'`))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()`))
}

// everySlotHasOneEnd checks the chain of slots of each view with an interval: each slot is one run in a
// terminal state, or is counted as missed by the run after it. An edit, and the end of an automatic pause, begin a
// new chain: the view is refreshed at once, and its clock goes on from there.
func (s *scene) everySlotHasOneEnd(t testing.TB) {
	t.Helper()
	type link struct {
		ID, View int64
		Gap      float64 // slots since the run before
		Missed   int
		State    string
	}
	rows, err := s.root.Query(t.Context(), `
SELECT r.id, r.view_id,
       extract(epoch FROM r.slot - lag(r.slot) OVER (PARTITION BY r.view_id, r.chain ORDER BY r.slot))::float8 / extract(epoch FROM v.refresh_interval)::float8,
       r.missed_slots, r.state
  FROM (SELECT *, count(*) FILTER (WHERE cause = 'initial') OVER (PARTITION BY view_id ORDER BY id) AS chain FROM mvscheduler.run) AS r
  JOIN mvscheduler.view_state AS v ON v.view_id = r.view_id
 WHERE r.cause IN ('schedule', 'catchup')
 ORDER BY r.view_id, r.slot`)
	require.NoError(t, err)
	links, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l link, err error) {
		var gap *float64
		err = row.Scan(&l.ID, &l.View, &gap, &l.Missed, &l.State)
		l.Gap = 1 + float64(l.Missed)
		if gap != nil {
			l.Gap = *gap
		}
		return l, err
	})
	require.NoError(t, err)
	require.NotEmpty(t, links)
	for _, l := range links {
		require.Contains(t, []string{"succeeded", "skipped", "failed", "cancelled"}, l.State, "run %d", l.ID)
		require.InDelta(t, 1+float64(l.Missed), l.Gap, 1e-6, "view %d lost or doubled slots before run %d", l.View, l.ID)
	}
	t.Logf("%d slots are accounted for, one by one", len(links))
}

// span is one REFRESH as the server's log tells it.
type span struct {
	pid        int
	from, to   time.Time
	concurrent bool
}

var (
	refreshOf = regexp.MustCompile(`^LOG:  (?:statement|execute [^:]+): REFRESH MATERIALIZED VIEW (CONCURRENTLY )?("(?:[^"]|"")+"\."(?:[^"]|"")+")`)
	lockWait  = regexp.MustCompile(`^(LOG:  process \d+ (still waiting|acquired|avoided|detected)|DETAIL:  |CONTEXT:  |STATEMENT:  |HINT:  )`)
)

// spans are the refreshes of each view: from the statement to the next line of that session, which is
// its next statement, its error or its end.
func (s *scene) spans(t testing.TB) map[string][]span {
	t.Helper()
	type open struct {
		view string
		at   int
	}
	all, under := map[string][]span{}, map[int]open{}
	for _, line := range s.db.Log(t) {
		if !strings.HasPrefix(line.Application, "mvscheduler run") || lockWait.MatchString(line.Message) {
			continue
		}
		if o, ok := under[line.PID]; ok {
			all[o.view][o.at].to = line.Time
			delete(under, line.PID)
		}
		if m := refreshOf.FindStringSubmatch(line.Message); m != nil {
			all[m[2]] = append(all[m[2]], span{pid: line.PID, from: line.Time, concurrent: m[1] != ""})
			under[line.PID] = open{m[2], len(all[m[2]]) - 1}
		}
	}
	return all
}

// noRefreshesOverlap asks the server's log whether two refreshes of a view were ever under way at once.
func (s *scene) noRefreshesOverlap(t testing.TB) {
	t.Helper()
	total := 0
	for view, spans := range s.spans(t) {
		slices.SortStableFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
		for i, now := range spans {
			total++
			if i == 0 || spans[i-1].pid == now.pid {
				continue
			}
			before := spans[i-1]
			require.False(t, before.to.IsZero(), "refresh of %s by %d from %s never ended, and the next began at %s", view, before.pid, before.from, now.from)
			require.False(t, now.from.Before(before.to), "refreshes of %s overlap: %v and %v", view, before, now)
		}
	}
	require.NotZero(t, total)
	t.Logf("%d refreshes in the server's log, none overlaps another of its view", total)
}

// statements are the statements in the server's log of this database that contain a text, with their parameters.
func (s *scene) statements(t testing.TB, text string) []string {
	t.Helper()
	var found []string
	lines := s.db.Log(t)
	for i, line := range lines {
		if line.Executed() == "" || !strings.Contains(line.Message, text) {
			continue
		}
		whole := line.Message
		for _, next := range lines[i+1:] {
			if next.PID == line.PID {
				if strings.HasPrefix(next.Message, "DETAIL:") {
					whole += "\n" + next.Message
				}
				break
			}
		}
		found = append(found, whole)
	}
	return found
}

// reader polls a query that returns one number, on a connection of its own.
type reader struct {
	cancel  context.CancelFunc
	done    chan struct{}
	worst   time.Duration
	queries int
	fewest  int64
	err     error
}

func startReader(t testing.TB, db *pgtest.DB, role, sql string) *reader {
	t.Helper()
	conn := db.Conn(t, role)
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{cancel: cancel, done: make(chan struct{}), fewest: 1 << 62}
	go func() {
		defer close(r.done)
		for ctx.Err() == nil {
			began := time.Now()
			var n int64
			if err := conn.QueryRow(context.WithoutCancel(ctx), sql).Scan(&n); err != nil {
				r.err = err
				return
			}
			r.queries++
			r.worst = max(r.worst, time.Since(began))
			r.fewest = min(r.fewest, n)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { r.end(t) })
	return r
}

// end stops the reader.
func (r *reader) end(t testing.TB) {
	t.Helper()
	r.cancel()
	<-r.done
	require.NoError(t, r.err, "a reader failed")
}
