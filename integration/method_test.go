package integration

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

// last is the method of the last refresh of v and why.
func last(t *testing.T, s *scene) (method, reason string) {
	t.Helper()
	err := s.root.QueryRow(t.Context(), `SELECT method, reason FROM mvscheduler.run WHERE view_name = $1 AND state = 'succeeded' ORDER BY id DESC LIMIT 1`, s.owner+".v").Scan(&method, &reason)
	require.NoError(t, err)
	require.Equal(t, method, ask[string](t, s.alice, `SELECT method FROM mvscheduler.status`))
	return method, reason
}

// refreshUntil refreshes v until its method is the wanted one, changing the sales before each time, and
// returns the reason.
func refreshUntil(t *testing.T, s *scene, want string, atMost int, change string) string {
	t.Helper()
	var method, reason string
	for range atMost {
		if change != "" {
			pgtest.Exec(t, s.alice, change)
		}
		refreshed(t, s.alice, "v")
		if method, reason = last(t, s); method == want {
			return reason
		}
	}
	t.Fatalf("it never became %s: %s", want, reason)
	return ""
}

const replaceAll = `UPDATE sales SET amount = amount + 1`

// wal is counted on the whole server, so these tests have one of their own.
func methodScene(t *testing.T, rows int, query string, columns ...any) *scene {
	t.Helper()
	s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"autovacuum": "off"}))
	pgtest.Exec(t, s.alice, fmt.Sprintf(`INSERT INTO sales SELECT i, i FROM generate_series(101, %d) AS i`, rows))
	s.manage(t, "v", query, append([]any{"refresh_on", "manual", "refresh_interval", nil, "unique_key", []string{"id"}}, columns...)...)
	startSidecar(t, s.db)
	refreshed(t, s.alice, "v")
	method, reason := last(t, s)
	require.Equal(t, "full", method)
	require.Contains(t, reason, "the first refresh fills the view")
	return s
}

// It has contents, so no first refresh shows what a full one takes.
func TestAutoLearnsFullOfAnAdoptedViewToo(t *testing.T) {
	t.Parallel()
	s := sceneOn(t, pgtest.Dedicated(t, map[string]string{"autovacuum": "off"}))
	pgtest.Exec(t, s.alice, `INSERT INTO sales SELECT i, i FROM generate_series(101, 10000) AS i`, `CREATE MATERIALIZED VIEW v AS SELECT id, amount FROM sales`, `CREATE UNIQUE INDEX ON v (id)`,
		`SELECT mvscheduler.adopt_view('v')`, `UPDATE mvscheduler.views SET refresh_on = 'manual', refresh_interval = NULL, lock_timeout = '10 seconds'`)
	startSidecar(t, s.db)
	reason := refreshUntil(t, s, "full", 7, replaceAll)
	require.Contains(t, reason, "is measured after 5 concurrent refreshes")
	refreshed(t, s.alice, "v")
	pgtest.Exec(t, s.alice, replaceAll)
	require.Contains(t, refreshUntil(t, s, "full", 1, replaceAll), "where concurrent takes")
}

func TestAutoBecomesFullWhereThatIsQuickAndMuchCheaperAndShowSaysWhy(t *testing.T) {
	t.Parallel()
	s := methodScene(t, 10_000, `SELECT id, amount FROM sales`, "lock_timeout", "10 seconds")
	refreshed(t, s.alice, "v")
	method, reason := last(t, s)
	require.Equal(t, "concurrent", method)
	require.Contains(t, reason, "what it costs is not known yet")
	reason = refreshUntil(t, s, "full", 6, replaceAll)
	require.Regexp(t, `^full: it takes \S+ m?s and \S+ [kM]B of WAL where concurrent takes \S+ m?s and \S+ [kM]B and replaces 100 % of the rows, and no reader waited for it`, reason)

	out := mvscheduler(t, s.db, s.owner, "", "show", s.owner+".v")
	require.Zero(t, out.code, out.stderr)
	require.Contains(t, out.stdout, reason)
	require.Contains(t, out.stdout, "100 % of the rows changed")
	out = mvscheduler(t, s.db, s.owner, "", "show", s.owner+".v", "-o", "json")
	var report struct {
		Method struct {
			Method, Reason   string
			Full, Concurrent struct {
				Runs int
				Took float64 `json:"took_seconds"`
				WAL  int64   `json:"wal_bytes"`
			}
			ChangeRatio   float64 `json:"change_ratio"`
			ReadersWaited int     `json:"readers_waited"`
			Storage       struct {
				SizeBytes int64 `json:"size_bytes"`
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out.stdout), &report))
	m := report.Method
	require.Equal(t, "full", m.Method)
	require.Equal(t, reason, m.Reason)
	require.Equal(t, 5, m.Concurrent.Runs)
	require.Positive(t, m.Full.Took)
	require.Greater(t, m.Concurrent.WAL, m.Full.WAL)
	require.InDelta(t, 1, m.ChangeRatio, 0.01)
	require.Zero(t, m.ReadersWaited)
	require.Positive(t, m.Storage.SizeBytes)

	// A reader that waits ends it. The refresh is held up by a base table that somebody has locked, which a
	// full one meets only when it already holds the view.
	reader, blocker := s.db.Conn(t, s.owner), s.db.Conn(t, s.owner)
	pgtest.Exec(t, s.alice, replaceAll)
	pgtest.Exec(t, blocker, `BEGIN`, `LOCK TABLE sales IN ACCESS EXCLUSIVE MODE`)
	run := ask[int64](t, s.alice, `SELECT mvscheduler.refresh_view('v')`)
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' AND relation = $1::regclass)`, s.owner+".v")
	done := make(chan error, 1)
	go func() {
		var n int
		done <- reader.QueryRow(t.Context(), `SELECT count(*) FROM v`).Scan(&n)
	}()
	until(t, s.root, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock' AND relation = $1::regclass)`, s.owner+".v")
	pgtest.Exec(t, blocker, `COMMIT`)
	require.Equal(t, "succeeded", s.ended(t, run))
	require.NoError(t, <-done)
	require.Equal(t, 1, ask[int](t, s.alice, `SELECT readers_waiting FROM mvscheduler.runs WHERE id = $1`, run))
	refreshed(t, s.alice, "v")
	method, reason = last(t, s)
	require.Equal(t, "concurrent", method)
	require.Contains(t, reason, "readers waited for a full refresh (1 of them")
}

func TestAFullRefreshThatAReaderHoldsUpIsGivenUpForAConcurrentOne(t *testing.T) {
	heavy(t)
	t.Parallel()
	s := methodScene(t, 10_000, `SELECT id, amount FROM sales`, "lock_timeout", "3 seconds")
	refreshUntil(t, s, "full", 7, replaceAll)
	holder := s.db.Conn(t, s.owner)
	pgtest.Exec(t, holder, `BEGIN`, `SELECT count(*) FROM v`)
	probe := startReader(t, s.db, s.owner, `SELECT count(*) FROM v`)
	pgtest.Exec(t, s.alice, replaceAll)
	refreshed(t, s.alice, "v") // while the reader is still in its transaction
	probe.end(t)
	require.Less(t, probe.worst, 6*time.Second)
	method, reason := last(t, s)
	require.Equal(t, "concurrent", method)
	require.Contains(t, reason, "a full refresh was given up, since readers would have waited for longer than lock_timeout (3.0 s)")
	require.Equal(t, "full", ask[string](t, s.alice, `SELECT gave_up FROM mvscheduler.runs ORDER BY id DESC LIMIT 1`))
	refreshed(t, s.alice, "v")
	_, reason = last(t, s)
	require.Contains(t, reason, "given up for the readers' sake 1 run")
}

func TestAutoStaysConcurrentWhereLittleChangesOrAFullRefreshIsLong(t *testing.T) {
	heavy(t)
	t.Parallel()
	t.Run("little changes", func(t *testing.T) {
		t.Parallel()
		s := methodScene(t, 2_000, `SELECT id, amount, repeat(md5(id::text), 30) AS wide FROM sales`, "lock_timeout", "1 minute")
		for range 8 {
			pgtest.Exec(t, s.alice, `UPDATE sales SET amount = amount + 1 WHERE id = 7`)
			refreshed(t, s.alice, "v")
			method, reason := last(t, s)
			require.Equal(t, "concurrent", method, reason)
		}
		_, reason := last(t, s)
		require.Contains(t, reason, "which is not 2 times as cheap")
	})
	t.Run("long", func(t *testing.T) {
		t.Parallel()
		s := methodScene(t, 100, slowQuery(time.Second), "lock_timeout", "100 milliseconds")
		for range 7 {
			pgtest.Exec(t, s.alice, replaceAll)
			refreshed(t, s.alice, "v")
			method, reason := last(t, s)
			require.Equal(t, "concurrent", method)
			require.Contains(t, reason, "a full refresh would lock readers out for about 1.")
		}
	})
}

func TestBloatLeadsToOneFullRefresh(t *testing.T) {
	t.Parallel()
	// What a full refresh writes is wide, what changes is little each time: only bloat speaks for it.
	s := methodScene(t, 3_000, `SELECT id, amount, CASE WHEN id > 600 THEN repeat(md5(id::text), 20) END AS wide FROM sales`, "lock_timeout", "1 minute")
	change := `UPDATE sales SET amount = amount + 1 WHERE id <= 600`
	for n := range 5 {
		pgtest.Exec(t, s.alice, change)
		refreshed(t, s.alice, "v")
		until(t, s.root, `SELECT pg_stat_get_dead_tuples($1::regclass) >= $2`, s.owner+".v", 600*(n+1))
	}
	pgtest.Exec(t, s.alice, change)
	refreshed(t, s.alice, "v")
	until(t, s.root, `SELECT pg_stat_get_dead_tuples($1::regclass) <> 3000`, s.owner+".v")
	reason := refreshUntil(t, s, "full", 1, change)
	require.Regexp(t, `^full: it has 3\d00 dead rows beside 3000 live ones, and it takes`, reason)
	for range 3 {
		pgtest.Exec(t, s.alice, change)
		refreshed(t, s.alice, "v")
		method, reason := last(t, s)
		require.Equal(t, "concurrent", method, reason)
	}
}

func TestAViewWithoutRoomForAConcurrentRefreshIsRefreshedInFull(t *testing.T) {
	t.Parallel()
	s := methodScene(t, 10_000, `SELECT id, amount FROM sales`, "lock_timeout", "10 seconds")
	limit := ask[int64](t, s.root, `SELECT pg_total_relation_size($1::regclass) * 3 / 2`, s.owner+".v")
	_, err := s.alice.Exec(t.Context(), `UPDATE mvscheduler.views SET max_size_bytes = $1`, pgx.QueryExecModeSimpleProtocol, limit)
	require.NoError(t, err)
	pgtest.Exec(t, s.alice, replaceAll)
	refreshed(t, s.alice, "v")
	method, reason := last(t, s)
	require.Equal(t, "full", method)
	require.Contains(t, reason, "a concurrent refresh needs more than max_size_bytes")
	require.Equal(t, "concurrent", ask[string](t, s.alice, `SELECT gave_up FROM mvscheduler.runs ORDER BY id DESC LIMIT 1`))
	pgtest.Exec(t, s.alice, replaceAll)
	refreshed(t, s.alice, "v")
	method, reason = last(t, s)
	require.Equal(t, "full", method)
	require.Contains(t, reason, "a concurrent refresh needed more than max_size_bytes")
	require.Nil(t, ask[*string](t, s.alice, `SELECT gave_up FROM mvscheduler.runs ORDER BY id DESC LIMIT 1`))
	require.Zero(t, ask[int](t, s.root, `SELECT count(*) FROM mvscheduler.run WHERE state = 'failed'`))
}
