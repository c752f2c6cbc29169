package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// fastClock is the clock of a database that runs faster than ours.
type fastClock struct {
	real, fast time.Time // the same instant on both
	speed      float64
}

// hurry has the clock of the database go so many times as fast from now on, when it shows the given instant. Whatever
// the sidecar decides it decides by that clock, and is not told. The server looks into the body of a function in SQL
// whenever it plans a statement that calls one, so that clock_timestamp() and now() can be replaced, in this database.
// The instant shall lie in the future, since River compares that clock with that of the process. Sessions from before
// may have plans from before: those of the scene are new ones. A session reports what it counted up to ten seconds later, which would be hours:
// one that looks at the clock does so at once.
func (s *scene) hurry(t testing.TB, shows time.Time, speed float64) fastClock {
	t.Helper()
	for name, volatility := range map[string]string{"now": "STABLE", "clock_timestamp": "VOLATILE"} {
		pgtest.Exec(t, s.root, fmt.Sprintf(`CREATE FUNCTION pg_catalog.true_%[1]s() RETURNS timestamptz LANGUAGE internal %[2]s PARALLEL SAFE AS '%[1]s'`, name, volatility))
	}
	// The lease of who samples is some thirty seconds longer than it has to be, which is next to nothing here.
	pgtest.Exec(t, s.root, `CREATE FUNCTION longer() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.lease_until := NEW.lease_until + interval ''1 hour''; RETURN NEW; END'`,
		`CREATE TRIGGER longer BEFORE UPDATE OF lease_until ON mvscheduler.collector FOR EACH ROW EXECUTE FUNCTION longer()`)
	return s.pace(t, shows, speed)
}

// pace sets a clock that hurries already anew, for sessions that begin from now on: others may have plans with the old one.
func (s *scene) pace(t testing.TB, shows time.Time, speed float64) fastClock {
	t.Helper()
	c := fastClock{real: time.Now().Truncate(time.Millisecond), fast: shows, speed: speed}
	replace := func(name, volatility, instant string) {
		pgtest.Exec(t, s.root, fmt.Sprintf(`
CREATE OR REPLACE FUNCTION pg_catalog.%[1]s() RETURNS timestamptz LANGUAGE sql %[2]s PARALLEL SAFE
AS 'SELECT pg_catalog.to_timestamp(%[3]d + (extract(epoch FROM %[4]s)::float8 - %[5]d.%03[6]d) * %[7]g)'`, name, volatility, c.fast.Unix(), instant, c.real.Unix(), c.real.Nanosecond()/1e6, speed))
	}
	replace("now", "STABLE", "pg_catalog.true_now()")
	replace("clock_timestamp", "VOLATILE", "CASE WHEN pg_catalog.pg_stat_force_next_flush() IS NOT NULL THEN pg_catalog.true_clock_timestamp() END")
	s.alice, s.root = s.db.Conn(t, s.owner), s.db.Conn(t, "")
	return c
}

// now is what it shows.
func (c fastClock) now() time.Time {
	return c.fast.Add(time.Duration(float64(time.Since(c.real)) * c.speed))
}

// lasts is how long a span of it takes us.
func (c fastClock) lasts(span time.Duration) time.Duration {
	return time.Duration(float64(span) / c.speed)
}

// await waits until it shows an instant.
func (c fastClock) await(t testing.TB, at time.Time) {
	t.Helper()
	select {
	case <-time.After(c.lasts(at.Sub(c.now()))):
	case <-t.Context().Done():
	}
}

// visitor does something as often as a rhythm says, and keeps the book of it.
type visitor struct {
	mu   sync.Mutex
	book map[time.Time]int // by hour
	end  func() error
}

// visit runs a statement so many times in five minutes of the clock, as the rhythm says, until the visitor is ended.
// The session reports at once what it did.
func (s *scene) visit(t testing.TB, clock fastClock, sql string, rhythm func(time.Time) float64) *visitor {
	t.Helper()
	conn := s.db.Conn(t, s.owner)
	ctx, cancel := context.WithCancel(context.Background())
	v := &visitor{book: make(map[time.Time]int)}
	done := make(chan error, 1)
	v.end = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = v.end() })
	go func() {
		var due float64
		for before := clock.now(); ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			now := clock.now()
			due += rhythm(before.Add(now.Sub(before)/2)) * float64(now.Sub(before)) / float64(5*time.Minute)
			if before = now; due < 1 {
				continue
			}
			for ; due >= 1; due-- {
				if _, err := conn.Exec(context.WithoutCancel(ctx), sql); err != nil {
					done <- fmt.Errorf("%s: %w", sql, err)
					return
				}
				v.mu.Lock()
				v.book[clock.now().Truncate(time.Hour)]++
				v.mu.Unlock()
			}
			if _, err := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_stat_force_next_flush()`); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return v
}

// visits are those from one hour to another.
func (v *visitor) visits(from, to time.Time) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for hour, visits := range v.book {
		if !hour.Before(from) && hour.Before(to) {
			n += visits
		}
	}
	return n
}

// constantly is a rhythm.
func constantly(perFiveMinutes float64) func(time.Time) float64 {
	return func(time.Time) float64 { return perFiveMinutes }
}

func TestADatabaseWhoseClockIsHurriedHurriesEverywhere(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	clock := s.hurry(t, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), 3600)
	pgtest.Exec(t, s.root, `CREATE TABLE x (id int, made timestamptz DEFAULT now(), seen timestamptz DEFAULT clock_timestamp())`)
	for i := range 2 {
		pgtest.Exec(t, s.root, fmt.Sprintf(`DO $$BEGIN INSERT INTO x VALUES (%d); PERFORM pg_sleep(0.1); UPDATE x SET seen = clock_timestamp() WHERE id = %[1]d AND made = now(); END$$`, i))
	}
	require.True(t, ask[bool](t, s.root, `SELECT min(seen - made) > '6 minutes' AND max(made) - min(made) > '6 minutes' AND min(made) > '2100-01-01' FROM x`))
	require.WithinDuration(t, clock.now(), ask[time.Time](t, s.root, `SELECT clock_timestamp()`), 3*time.Hour)
}

// Beside one another, and beside no other test: they keep to the clock.
func TestWhereTheClockHurries(t *testing.T) {
	heavy(t)
	t.Run("a day of five views is counted, simulated and advised as it was", func(t *testing.T) {
		t.Parallel()
		aDayOfFiveViewsIsCountedSimulatedAndAdvisedAsItWas(t)
	})
	t.Run("readers that come in bursts ask for refreshes as often as the simulator says", func(t *testing.T) {
		t.Parallel()
		readersThatComeInBurstsAskForRefreshesAsOftenAsTheSimulatorSays(t)
	})
}
