package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// A step locks the gate before all else. What else an edit held while it waits for that would be a deadlock.
func TestAnEditWaitsForAStepWithNothingInItsHands(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.manage(t, "v", `SELECT id, 0 AS c0 FROM sales`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET query = 'SELECT id, 0 AS c1 FROM sales'`) // makes the gate
	pgtest.Exec(t, s.root, `BEGIN`, `REFRESH MATERIALIZED VIEW `+s.owner+`.v__gate`)
	for _, edit := range []string{`indexes = '{(id)}'`, `query = 'SELECT id, 0 AS c2 FROM sales'`, `name = 'w'`} {
		editor := s.db.Conn(t, s.owner)
		done := make(chan error, 1)
		go func() {
			_, err := editor.Exec(context.Background(), `UPDATE mvscheduler.views SET `+edit)
			done <- err
		}()
		pid := int(editor.PgConn().PID())
		look := s.db.Conn(t, "")
		until(t, look, `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)`, pid)
		require.Equal(t, "", ask[string](t, look, `
SELECT coalesce(string_agg(l.relation::regclass || ' ' || l.mode, ', '), '')
  FROM pg_locks AS l
  JOIN pg_class AS c ON c.oid = l.relation AND (c.relname ~ '^v(__|$)' OR c.relname IN ('view_state', 'piece'))
 WHERE l.pid = $1 AND l.granted AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')`, pid), edit)
		_, err := look.Exec(t.Context(), `SELECT pg_cancel_backend($1)`, pid)
		require.NoError(t, err)
		require.Error(t, <-done)
	}
	pgtest.Exec(t, s.root, `ROLLBACK`)
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET indexes = '{(id)}'`)
}

func TestEditsThatRaceWithSwapsEndInWhatTheRowSays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s.manage(t, "v", `SELECT id, 0 AS c0 FROM sales`, "refresh_interval", "1 second")
	pgtest.Exec(t, s.alice, `CREATE VIEW direct AS SELECT id FROM v`)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	rounds := 25
	if long {
		rounds = 300
	}
	var group sync.WaitGroup
	for n := range 2 {
		conn, random := s.db.Conn(t, s.owner), rand.New(rand.NewPCG(seed, uint64(n)))
		group.Go(func() {
			for range rounds {
				sql := []string{
					fmt.Sprintf(`UPDATE mvscheduler.views SET query = 'SELECT id, %[1]d AS c%[1]d FROM sales'`, random.IntN(4)),
					fmt.Sprintf(`UPDATE mvscheduler.views SET query = 'SELECT id, %[1]d AS c%[1]d FROM sales'`, random.IntN(4)),
					`UPDATE mvscheduler.views SET name = 'v'`, `UPDATE mvscheduler.views SET name = 'w'`,
					fmt.Sprintf(`UPDATE mvscheduler.views SET indexes = '{"(id DESC) WHERE id > %d"}'`, random.IntN(9)),
					`INSERT INTO mvscheduler.request (kind, view_id) SELECT 'refresh', id FROM mvscheduler.status`, // the name may be another by now
				}[random.IntN(6)]
				_, err := conn.Exec(context.Background(), sql)
				var failed *pgconn.PgError
				if err != nil && (!errors.As(err, &failed) || !slices.Contains([]string{"55P03", "40001"}, failed.Code)) {
					t.Errorf("%s: %v", sql, err)
				}
				time.Sleep(time.Duration(random.IntN(120)) * time.Millisecond)
			}
		})
	}
	group.Wait()
	pgtest.Exec(t, s.alice, `UPDATE mvscheduler.views SET name = 'v', query = 'SELECT id, 9 AS c9 FROM sales', indexes = '{(c9)}'`)
	s.oneVersion(t, "v")
	refreshed(t, s.alice, "v")
	require.Equal(t, "id integer, c9 integer", s.columns(t, "v"))
	require.Equal(t, 2, ask[int](t, s.alice, `SELECT count(*)::int FROM pg_index WHERE indrelid = 'v'::regclass`))
	require.Equal(t, int64(100), ask[int64](t, s.alice, `SELECT count(id) FROM direct`))
	pgtest.Exec(t, s.alice, `DROP VIEW direct`, `DELETE FROM mvscheduler.views`)
	require.Equal(t, "", ask[string](t, s.alice, `SELECT coalesce(string_agg(relname, ' '), '') FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('m', 'v')`))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*)::int FROM mvscheduler.view_health WHERE auto_paused_at IS NOT NULL`))
}
