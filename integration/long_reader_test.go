package integration

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// prober repeats a statement every few milliseconds on a connection of its own.
type prober struct {
	name  string
	end   func() error
	count int
}

func (s *scene) probe(t testing.TB, name, sql string) *prober {
	t.Helper()
	conn := s.db.Conn(t, s.owner)
	pgtest.Exec(t, conn, `SET application_name = 'probe `+name+`'`)
	p := &prober{name: name}
	var (
		stop = make(chan struct{})
		done = make(chan error, 1)
	)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			case <-time.After(5 * time.Millisecond):
			}
			if _, err := conn.Exec(context.WithoutCancel(t.Context()), sql); err != nil {
				done <- err
				return
			}
			p.count++
		}
	}()
	p.end = sync.OnceValue(func() error { close(stop); return <-done })
	t.Cleanup(func() { _ = p.end() })
	return p
}

var acquired = regexp.MustCompile(`^LOG:  process \d+ acquired \S+ on .* after ([0-9.]+) ms`)

// waits are the longest times that a statement of each probe has waited for its locks together, as the server's log has them: waits
// of less than deadlock_timeout, 200 ms, are not in it.
func (s *scene) waits(t testing.TB) map[string]time.Duration {
	t.Helper()
	worst, now := map[string]time.Duration{}, map[string]time.Duration{}
	for _, line := range s.db.Log(t) {
		name, ok := strings.CutPrefix(line.Application, "probe ")
		if !ok {
			continue
		}
		if line.Executed() != "" {
			now[name] = 0
		}
		if m := acquired.FindStringSubmatch(line.Message); m != nil {
			ms, err := strconv.ParseFloat(m[1], 64)
			require.NoError(t, err)
			now[name] += time.Duration(ms * float64(time.Millisecond))
			worst[name] = max(worst[name], now[name])
		}
	}
	return worst
}

// Whoever holds the oldest partition for long: the pruner, restore, refreshes and the swap try again and again, and nobody else waits
// behind them for longer than lock_timeout, which is 500 ms for all of them.
func TestNobodyWaitsLongWhileAReaderHoldsTheOldestPartition(t *testing.T) {
	heavy(t)
	t.Parallel()
	held := 15 * time.Second
	if long {
		held = 3 * time.Minute
	}
	for name, hold := range map[string][]string{
		"that it has read": {`SELECT count(*) FROM %[1]s`, `SELECT count(*) FROM %[2]s`, `SELECT count(*) FROM %[3]s`, `SELECT count(*) FROM w`},
		"by a cursor":      {`DECLARE c CURSOR FOR SELECT * FROM readings`, `FETCH 1 FROM c`, `DECLARE d CURSOR FOR SELECT * FROM v`, `FETCH 1 FROM d`, `DECLARE e CURSOR FOR SELECT * FROM w`, `FETCH 1 FROM e`},
		"by its table":     {`LOCK TABLE ONLY readings IN ACCESS SHARE MODE`, `LOCK TABLE ONLY v__data IN ACCESS SHARE MODE`, `LOCK TABLE ONLY w__data IN ACCESS SHARE MODE`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.readings(t, 14)
			pgtest.Exec(t, s.alice, `CREATE TABLE readings_rest PARTITION OF readings DEFAULT`)
			s.minutely(t, "v", "refresh_interval", "1 second")
			s.metrics(t) // of which nothing has left, so that what reads it can be built anew
			s.incremental(t, "w", hourly, "max_attempts", 100)
			startSidecar(t, s.db)
			s.incremented(t, "v", "w")
			pgtest.Exec(t, s.alice, `INSERT INTO mvscheduler.source_retention ("table", retention_period) VALUES ('readings', '11 days')`, `UPDATE mvscheduler.views SET retention_period = '11 days' WHERE name LIKE '%.v'`)
			until(t, s.root, `SELECT count(*) FILTER (WHERE target < 0) >= 2 AND count(*) FILTER (WHERE target > 0) >= 2 FROM mvscheduler.visible_kept`)
			s.pruned(t)
			oldest := func(table string) string {
				return ask[string](t, s.alice, `SELECT p.relation::regclass::text FROM mvscheduler.partitions_of($1::text::regclass) AS p ORDER BY p.hi LIMIT 1`, table)
			}
			aside := ask[string](t, s.alice, `SELECT relation::text FROM mvscheduler.visible_kept WHERE target < 0 ORDER BY bound LIMIT 1`)

			reader := s.db.Conn(t, s.owner)
			pid := reader.PgConn().PID()
			pgtest.Exec(t, reader, `SET application_name = 'the reader'`, `BEGIN`)
			for _, sql := range hold {
				if strings.Contains(sql, "%[") {
					sql = strings.SplitN(fmt.Sprintf(sql, oldest("readings"), oldest("v__data"), aside), "%!", 2)[0]
				}
				pgtest.Exec(t, reader, sql)
			}
			began := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
			probes := []*prober{
				s.probe(t, "reads v", `SELECT count(*) FROM v`), s.probe(t, "reads w", `SELECT count(*) FROM w`), s.probe(t, "reads raw", `SELECT count(*) FROM readings`),
				s.probe(t, "writes", `INSERT INTO readings VALUES (now(), 1, 1)`),
			}
			pgtest.Exec(t, s.alice, `UPDATE mvscheduler.source_retention SET retention_period = '6 days'`, `UPDATE mvscheduler.views SET retention_period = '6 days' WHERE name LIKE '%.v'`, another2)
			for n := 0; ask[bool](t, s.root, `SELECT clock_timestamp() < $1::timestamptz + $2::interval`, began, held); n++ {
				out := mvscheduler(t, s.db, s.owner, "", "restore", s.owner+".readings")
				require.Contains(t, []int{0, 6}, out.code, out.stderr)
				if out.code == 6 {
					require.Contains(t, out.stderr, fmt.Sprintf("pid %d (%s, the reader, idle in transaction)", pid, s.owner))
				}
				if n%10 == 0 { // else it is tried again in a minute
					pgtest.Exec(t, s.root, `UPDATE mvscheduler.run SET finished_at = '2026-01-01' WHERE kind = 'prune' AND state = 'failed' AND finished_at > '2026-01-01'`, lookAtTables)
				}
				time.Sleep(500 * time.Millisecond)
			}
			who := fmt.Sprintf(`pid %d \(%s, the reader, idle in transaction\)`, pid, s.owner)
			until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND view_id < 0 AND state = 'failed' AND reason ~ $1`, who)
			until(t, s.root, `SELECT count(*) > 0 FROM mvscheduler.run WHERE kind = 'prune' AND view_id > 0 AND state = 'failed' AND reason ~ $1`, who)
			until(t, s.alice, `SELECT activity = 'waiting' AND reason ~ $1 FROM mvscheduler.status WHERE name LIKE '%.w'`, who)
			for _, of := range []string{".readings", ".v"} {
				require.Eventually(t, func() bool { // the next try, if the last one was made an old one
					found, _ := examine(t, s.db, "")
					return slices.ContainsFunc(about(found, "pruning"), func(f finding) bool {
						return strings.HasSuffix(f.Subject, of) && regexp.MustCompile(who).MatchString(f.What)
					})
				}, patience, 500*time.Millisecond, "doctor does not name who holds %s", of)
			}
			// Refreshes go on.
			now := ask[time.Time](t, s.root, `SELECT clock_timestamp()`)
			until(t, s.root, `SELECT h.data_as_of > $1 FROM mvscheduler.view_health AS h JOIN mvscheduler.view_state AS s USING (view_id) WHERE s.name LIKE '%.v'`, now)
			require.Greater(t, ask[int64](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE view_name LIKE '%.v' AND kind = 'refresh' AND state = 'succeeded' AND changed > 0 AND started_at > $1`, began), int64(3))
			for _, p := range probes {
				require.NoError(t, p.end(), p.name)
				require.Greater(t, p.count, 100, p.name)
			}
			tries := map[string]int{}
			for _, line := range s.db.Log(t) {
				if strings.HasPrefix(line.Message, "ERROR:  canceling statement due to lock timeout") {
					tries[line.Application]++
				}
			}
			worst := s.waits(t)
			t.Log("locks that were not had:", tries, "longest waits of more than 200 ms:", worst)
			require.NotEmpty(t, tries)
			for name, waited := range worst {
				require.Less(t, waited, 500*time.Millisecond+2*time.Second, name)
			}
			pgtest.Exec(t, reader, `COMMIT`)
			until(t, s.root, `SELECT NOT EXISTS (SELECT FROM mvscheduler.redefinition)`)
			s.incremented(t, "v", "w")
			same(t, s.alice, "w")
		})
	}
}

const another2 = `UPDATE mvscheduler.views SET query = replace(query, 'AS total', 'AS total, max(value) AS most') WHERE name LIKE '%.w'`
