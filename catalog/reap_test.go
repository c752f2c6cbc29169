package catalog_test

import (
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
		return catalog.Succeed(t.Context(), tx, a, catalog.Success{Method: "full", DataAsOf: time.Now()})
	})
}
