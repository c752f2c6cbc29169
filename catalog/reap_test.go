package catalog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/mvscheduler/mvscheduler/catalog"
	"github.com/mvscheduler/mvscheduler/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestARunWhoseAttemptHasJustEndedKeepsItsJobAndItsBackOff(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn,
		`INSERT INTO mvscheduler.river_job (id, kind, queue, state, args, max_attempts, attempted_at, attempt)
		 VALUES (7, 'refresh', 'refresh', 'running', '{}', 10, now() - interval '10 minutes', 1)`,
		`INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state, job_id, attempts)
		 VALUES (1, 1, 'app.v', 'postgres', 'manual', now(), now(), 'queued', 7, 1)`,
		`INSERT INTO mvscheduler.attempt (run_id, attempt, view_id, owner, token, backend_pid, backend_start, worker, outcome, started_at, finished_at)
		 VALUES (1, 1, 1, 'postgres', 1, 1, now(), 'w', 'failed', now() - interval '10 minutes', now())`)
	orphans := func() (found []catalog.Orphan) {
		require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) (err error) {
			found, err = catalog.LockOrphans(t.Context(), tx, 10*time.Second, 10)
			return err
		}))
		return found
	}
	require.Empty(t, orphans(), "its worker has not told River yet when to try again")
	pgtest.Exec(t, conn, `UPDATE mvscheduler.attempt SET finished_at = now() - interval '11 seconds'`)
	require.Len(t, orphans(), 1, "its worker died in between")
}

func TestAJobThatCarriesNoRunIsEnded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn,
		`INSERT INTO mvscheduler.river_job (id, kind, queue, state, args, max_attempts, attempted_at, attempt)
		 SELECT i, 'refresh', 'refresh', 'running', '{}', 10, now(), 1 FROM generate_series(7, 9) AS i`,
		`INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state, job_id)
		 VALUES (1, 1, 'app.v', 'postgres', 'manual', now(), now(), 'queued', 7), (2, 1, 'app.v', 'postgres', 'manual', now(), now(), 'failed', 8)`)
	require.NoError(t, catalog.BuryJobs(t.Context(), conn))
	var left []int64
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT array_agg(id) FROM mvscheduler.river_job WHERE state = 'running'`).Scan(&left))
	require.Equal(t, []int64{7}, left)
}

// Without pg_read_all_stats the start of another role's backend is hidden: nobody can say that it is another one.
func TestABackendThatCannotBeSeenIsNotLost(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, other := db.Conn(t, ""), db.Conn(t, db.Role(t, "other"))
	blind := db.Role(t, "blind")
	pgtest.Exec(t, conn, `GRANT USAGE ON SCHEMA mvscheduler TO `+blind, `GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA mvscheduler TO `+blind,
		`INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state, attempts, token, started_at)
		 SELECT i, i, 'app.v', 'postgres', 'manual', now(), now(), 'running', 1, 1, now() FROM generate_series(1, 2) AS i`,
		fmt.Sprintf(`INSERT INTO mvscheduler.attempt (run_id, attempt, view_id, owner, token, backend_pid, backend_start, worker, outcome, started_at)
		 SELECT 1, 1, 1, 'postgres'::regrole, 1, pid, backend_start, 'w', 'running', now() FROM pg_stat_activity WHERE pid = %d
		 UNION ALL SELECT 2, 1, 2, 'postgres'::regrole, 1, pid, backend_start - interval '1 hour', 'w', 'running', now() FROM pg_stat_activity WHERE pid = %[1]d`, other.PgConn().PID()))
	lost := func(conn *pgx.Conn) (runs []int64) {
		require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			found, err := catalog.LockLost(t.Context(), tx, 10)
			for _, l := range found {
				runs = append(runs, l.RunID)
			}
			return err
		}))
		return runs
	}
	require.Equal(t, []int64{2}, lost(conn), "a backend that began at another time is another one")
	require.Empty(t, lost(db.Conn(t, blind)), "who cannot see when it began does not know")
}

// A worker that was frozen and goes on holds the token of an attempt which another one has followed.
func TestAnAttemptWithAnOldTokenEndsNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn,
		`INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state, job_id, attempts, token, started_at)
		 VALUES (1, 1, 'app.v', 'postgres', 'manual', now(), now(), 'running', 7, 2, 2, now())`,
		`INSERT INTO mvscheduler.attempt (run_id, attempt, view_id, owner, token, backend_pid, backend_start, worker, outcome, started_at)
		 VALUES (1, 1, 1, 'postgres', 1, 1, now(), 'frozen', 'running', now()), (1, 2, 1, 'postgres', 2, 1, now(), 'w', 'running', now())`)
	old := catalog.Attempt{RunID: 1, ViewID: 1, Number: 1, Token: 1}
	require.ErrorIs(t, succeed(t, conn, old), catalog.ErrFenced)
	require.ErrorIs(t, catalog.Fail(t.Context(), conn, old, catalog.Failure{Outcome: "failed", RunState: "failed"}), catalog.ErrFenced)
	var state string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT r.state || ' ' || a.outcome FROM mvscheduler.run AS r JOIN mvscheduler.attempt AS a ON a.attempt = 2`).Scan(&state))
	require.Equal(t, "running running", state)
	require.NoError(t, succeed(t, conn, catalog.Attempt{RunID: 1, ViewID: 1, Number: 2, Token: 2}))
}

func succeed(t *testing.T, conn *pgx.Conn, a catalog.Attempt) error {
	t.Helper()
	return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		return catalog.Succeed(t.Context(), tx, a, catalog.Success{Method: "full", DataAsOf: new(time.Now())})
	})
}

// An edit takes the time of its row before it commits; an attempt that fails in between still began with the old one.
func TestAPauseHoldsForTheVersionOfTheRowThatFailed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t, "")
	pgtest.Exec(t, conn, `INSERT INTO mvscheduler.views (name, query) VALUES ('public.v', 'SELECT 1 AS a')`)
	version := func() (at *time.Time) {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT rearmed_at FROM mvscheduler.view_state`).Scan(&at))
		return at
	}
	before := version()
	pgtest.Exec(t, conn, `UPDATE mvscheduler.views SET statement_timeout = '1 minute'`)
	activity := func(run int64, began *time.Time) (now string) {
		pgtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO mvscheduler.run (id, view_id, view_name, owner, cause, slot, due_at, state, attempts, token, started_at)
			SELECT %d, view_id, name, owner, 'manual', now(), now(), 'running', 1, 1, now() FROM mvscheduler.view_state`, run))
		require.NoError(t, catalog.Fail(t.Context(), conn, catalog.Attempt{RunID: run, Number: 1, Token: 1, RearmedAt: began},
			catalog.Failure{Outcome: "failed", RunState: "failed", Counts: true, Pause: "why"}))
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT activity FROM mvscheduler.status`).Scan(&now))
		return now
	}
	require.NotEqual(t, "paused", activity(1, before))
	require.Equal(t, "paused", activity(2, version()))
	pgtest.Exec(t, conn, `SELECT mvscheduler.resume_view('public.v')`)
	require.Equal(t, "paused", activity(3, nil), "nil is the version of now")
}
