package integration

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// crowd has somebody read a view all the time, until the end is called.
func (s *scene) crowd(t testing.TB, view string) (end func()) {
	t.Helper()
	conn := s.db.Conn(t, s.owner)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			_, err = conn.Exec(context.WithoutCancel(ctx), `SELECT count(*) FROM `+view)
			time.Sleep(time.Millisecond) // between two reads somebody else gets the lock
		}
		done <- err
	}()
	end = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(end)
	return end
}

// slow registers v, of which a refresh takes half a second, and has it refreshed six times while somebody reads.
func (s *scene) slow(t testing.TB, columns ...any) {
	t.Helper()
	pgtest.Exec(t, s.alice, `CREATE FUNCTION nap(id integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS 'BEGIN IF id = 1 THEN PERFORM pg_sleep(0.5); END IF; RETURN id; END'`)
	s.manage(t, "v", `SELECT nap(id) AS id, amount FROM sales`, append([]any{"refresh_interval", "1 hour"}, columns...)...)
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	end := s.crowd(t, "v")
	for range 6 {
		refreshed(t, s.alice, "v")
	}
	end()
	pgtest.Exec(t, s.root, `INSERT INTO mvscheduler.view_usage (view_id, since) SELECT view_id, now() - interval '1 hour' FROM mvscheduler.view_state ON CONFLICT (view_id) DO UPDATE SET since = EXCLUDED.since`) // as the collector will in five minutes
	s.planned(t)
}

// meanwhile has v refreshed while somebody reads, and says by which method, and how many waited.
func (s *scene) meanwhile(t testing.TB) string {
	t.Helper()
	end := s.crowd(t, "v")
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	require.Equal(t, "succeeded", s.ended(t, run))
	end()
	return ask[string](t, s.alice, `SELECT format('%s, %s wait', method, readers_waiting) FROM mvscheduler.runs WHERE id = $1`, run)
}

func TestReadersWhoWaitForFullRefreshesGetConcurrentOnes(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.slow(t, "method", "full", "unique_key", []string{"id"})
	require.Equal(t, "method: refresh it concurrently (proposed)", ask[string](t, s.alice, `SELECT string_agg(format('%s: %s (%s)', kind, proposed, state), ', ') FROM mvscheduler.recommendations`))
	require.Regexp(t, `A full refresh locks readers out for \S+ s, and they were seen waiting for [3-6] of the last 7\. A concurrent one takes some \S+ s \(as it is elsewhere: it never ran\)`, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations`))
	require.Equal(t, fmt.Sprintf(`UPDATE mvscheduler.views SET method = 'concurrent' WHERE name = '%s.v'`, s.owner), ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations`))

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
	require.Equal(t, "concurrent applied", ask[string](t, s.alice, `SELECT v.method || ' ' || r.state FROM mvscheduler.views AS v, mvscheduler.recommendations AS r`))
	require.Equal(t, "concurrent, 0 wait", s.meanwhile(t))
	s.planned(t)
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.recommendations`), "it is as it should be")

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations`)
	require.Equal(t, "full undone", ask[string](t, s.alice, `SELECT v.method || ' ' || r.state FROM mvscheduler.views AS v, mvscheduler.recommendations AS r`))
	s.planned(t)
	require.Equal(t, "undone", ask[string](t, s.alice, `SELECT string_agg(state, ', ') FROM mvscheduler.recommendations`), "a person said no")
}

func TestReadersWhoWaitForWantOfAKeyGetOne(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.slow(t)
	require.Equal(t, "unique_index: add a unique index, so that it can be refreshed concurrently (proposed)", ask[string](t, s.alice, `SELECT string_agg(format('%s: %s (%s)', kind, proposed, state), ', ') FROM mvscheduler.recommendations`))

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations`)
	require.Equal(t, "accepted", ask[string](t, s.alice, `SELECT state FROM mvscheduler.recommendations`))
	command := ask[string](t, s.alice, `SELECT command FROM mvscheduler.recommendations`)
	const blank = `<columns that tell its rows apart>`
	require.Contains(t, command, blank)
	pgtest.Exec(t, s.alice, strings.Replace(command, blank, "id", 1))
	require.Equal(t, "concurrent, 0 wait", s.meanwhile(t))
	s.planned(t)
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT count(*)::int FROM mvscheduler.recommendations`), "it is as it should be")
}

// At night a concurrent refresh takes ten seconds, a full one a tenth of one, and nobody comes.
func TestAViewThatNobodyReadsWhileItIsRefreshedIsAdvisedToDoWithoutConcurrency(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	startSidecar(t, s.db, often...)
	s.manage(t, "v", "SELECT id, amount FROM sales", "refresh_interval", nil, "cron", "0 3 * * *", "timezone", "UTC", "method", "concurrent", "unique_key", []string{"id"})
	until(t, s.alice, `SELECT count(*) = 1 FROM mvscheduler.status WHERE freshness = 'fresh' AND activity = 'idle'`)
	s.history(t, "v", 12, office)
	pgtest.Exec(t, s.root, `
UPDATE mvscheduler.run
   SET started_at = date_trunc('day', now(), 'UTC') - (SELECT count(*) FROM mvscheduler.run AS n WHERE n.id > run.id) * interval '1 day' - interval '21 hours', finished_at = started_at + took
 WHERE method = 'concurrent'`)
	advised := `SELECT coalesce(string_agg(format('%s: %s (%s)', kind, proposed, state), ', '), 'nothing') FROM mvscheduler.recommendations WHERE kind = 'method'`
	read := func(reads string) {
		pgtest.Exec(t, s.root, fmt.Sprintf(`UPDATE mvscheduler.sampled SET reads = array_fill(%s::real, ARRAY[12]) WHERE at = (SELECT date_trunc('hour', max(started_at)) FROM mvscheduler.run WHERE method = 'concurrent')`, reads))
		s.planned(t)
	}
	read("1")
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "somebody came last night")
	read("NULL")
	require.Equal(t, "nothing", ask[string](t, s.alice, advised), "whether somebody came is not known")
	read("0")
	require.Equal(t, "method: refresh it fully (proposed)", ask[string](t, s.alice, advised))
	require.Contains(t, ask[string](t, s.alice, `SELECT reason FROM mvscheduler.recommendations WHERE kind = 'method'`), "nobody read it during the last 20 refreshes")

	pgtest.Exec(t, s.alice, `SELECT mvscheduler.accept_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'method'`)
	refreshed(t, s.alice, "v")
	require.Equal(t, "full full", ask[string](t, s.alice, `SELECT v.method || ' ' || s.method FROM mvscheduler.views AS v JOIN mvscheduler.status AS s ON s.name = v.name`))
	pgtest.Exec(t, s.alice, `SELECT mvscheduler.undo_recommendation(id) FROM mvscheduler.recommendations WHERE kind = 'method'`)
	refreshed(t, s.alice, "v")
	require.Equal(t, "concurrent concurrent", ask[string](t, s.alice, `SELECT v.method || ' ' || s.method FROM mvscheduler.views AS v JOIN mvscheduler.status AS s ON s.name = v.name`))
}
